/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside the engine: what its files share.
 *
 *	engine.c	  batches: look up, decide, forward
 *	engine_parse.c	  from bytes to a tuple: Ethernet, ARP, ND, IP, ICMP
 *	engine_judge.c	  first packets: rules, limits, new flows; answers
 *	engine_frag.c	  fragments: in, as one packet, and out
 *	engine_table.c	  interfaces and the uplink in use
 *	engine_source.c	  sources, policies, addresses behind us
 *	engine_tick.c	  time: expiry, sweep, the gateway's MAC
 *	engine_log.c	  entries for the log
 *	engine_learn.c	  DNS messages of sources that learn from them
 *	engine_check.c	  the deep check
 */
#ifndef FIREWALL_ENGINE_IMPL_H
#define FIREWALL_ENGINE_IMPL_H

#include "firewall/arp.h"
#include "firewall/engine.h"
#include "firewall/flow.h"
#include "firewall/frag.h"
#include "firewall/icmp.h"
#include "firewall/learn.h"
#include "firewall/mapping.h"
#include "firewall/nat.h"
#include "firewall/ndp.h"
#include "firewall/rng.h"

#define ENGINE_BATCH 32		/* frames in flight between parse and decision */
#define SOURCE_NONE UINT16_MAX
#define BEHIND_SLOTS 2048u	/* of the index of addresses: about half full at most */
#define MTU_DEFAULT 1500
#define MTU_MIN 576		/* RFC 791: what every host takes; below, not believed */
#define SOURCE_FLOWS 32768u	/* N4: half of the ports towards one end */

/* I8: own errors, for each interface and in all */
#define ERROR_RATE_IFACE 100u /* per second; also the burst */
#define ERROR_RATE_ALL 1000u

#define LOG_RATE 2u	/* entries a second for each source, which is also the burst */
#define LOG_RING 64u	/* entries that wait to be taken */

#define EXPIRE_BUDGET 512u /* flows looked at in one tick (G7) */
#define EXPIRE_SPOT 16u	   /* flows looked at when a new one needs room */
#define EXPIRE_FRAGS 64u   /* datagrams ended in one tick */
#define SWEEP_BUDGET 512u  /* flows judged again in one tick */
#define CLOCK_JUMP_MS 5000u /* D5: a longer pause than this is a suspend */
#define CLOCK_HOLD_MS 1000u /* D5: no expiry for so long after it */
#define CLOCK_STEP_MAX_MS ((FLOW_TIMEOUT_MAX_S + 86400ull) * 1000)

#define PORT_DNS 53

#define NEIGHBOUR_RETRY_MS 1000u
#define NEIGHBOUR_REFRESH_MS 60000u

static_assert((BEHIND_SLOTS & (BEHIND_SLOTS - 1)) == 0, "masked");
static_assert(ENGINE_SOURCE_MAX + ENGINE_IFACE_MAX + ENGINE_CONNECTED_MAX < BEHIND_SLOTS * 3 / 5,
	      "the index always has free slots");
static_assert(LEARN_SOURCES >= ENGINE_SOURCE_MAX, "sources are told by their index");
static_assert(ENGINE_SOURCE_MAX < SOURCE_NONE, "an index fits struct flow");
static_assert(ENGINE_IFACE_MAX < FLOW_ZONE_UPLINK, "an interface is not the uplink's zone");
/* a flow that was not used is gone after twice its timeout, before its 32 bits wrap */
static_assert(2 * FLOW_TIMEOUT_MAX_S * 1000ull + CLOCK_STEP_MAX_MS < UINT32_MAX, "49 days");

struct limit {
	uint32_t milli; /* thousandths of a packet */
	uint64_t at;	/* engine clock */
};

/** The next machine on the uplink, of one family. */
struct neighbour {
	uint8_t mac[6];
	bool asked;    /* an answer is awaited */
	bool announce; /* telling our address is due */
	uint64_t at;   /* engine clock of the next question */
};

struct iface {
	struct engine_iface conf;
	bool link;
	/* client: its address as its packets have it (Q11: the visible one);
	 * uplink: ours. None: the family does not work here */
	struct ipkey addr[FAMS];
	struct ipkey gateway[FAMS];
	uint32_t mtu;
	uint16_t source[FAMS]; /* of a client's real addresses */
	struct limit errors;
	struct frag_owner frags;
	struct neighbour gateway_at[FAMS]; /* uplink */
};

/**
 * An IPv4 or IPv6 address whose traffic is policed: of an attached client
 * (ifaces > 0), of committed rules (known), or both.
 */
struct source {
	const struct policy *policy;
	uint32_t epoch;
	uint32_t flows;
	struct ipkey key;
	uint8_t family;
	bool used, known;
	uint16_t ifaces;
	struct engine_source_options options;
	uint64_t packets[2], bytes[2]; /* by flow_dir */
	uint64_t verdicts[3];	       /* by enum rule_verdict */
	uint64_t special_hits[3];      /* RULE_INDEX_POLICY - index */
	uint64_t *hits;		       /* by rule */
	uint32_t hit_count;
	uint32_t suppressed; /* log entries that its limit swallowed */
	struct limit log;
	struct addr addr;
	struct flow_owner owner;
	struct policy *policy_owned; /* the same as policy */
};

/** An address that is behind us, so it is neither a remote nor an uplink's. */
struct behind {
	struct ipkey key;
	uint8_t family; /* 0: a free slot */
};

enum work_kind { WORK_DONE, WORK_FLOW, WORK_ERROR, WORK_FRAGMENT };

/** A frame between parse and decision. */
struct work {
	struct frame *f;
	struct iface *in;
	enum work_kind kind;
	enum flow_dir dir;
	struct packet p;
	struct icmp_inner inner;
	struct flow_key key;
	uint64_t hash;
	uint32_t hint;
	uint16_t datagram; /* the frame stands for this one, or FRAG_NONE */
	bool split;	   /* leaves in pieces */
};

struct engine {
	struct flow_table table;
	uint32_t now;	 /* low bits of clock, as flows store it */
	uint16_t uplink; /* the one in use, or PORT_NONE */
	struct ipkey nat[FAMS]; /* what flows are translated to; outlives a link */
	bool hold;	 /* D5: just resumed, nothing times out */
	bool started;	 /* the caller's clock is known */
	bool jumped;	 /* the last step of the clock was a long one */
	bool pass_ip_options, mss_clamp, inbound_refresh;
	uint32_t mtu_min; /* of all interfaces */
	uint64_t clock;	 /* ms; only goes forward */
	uint64_t last_ms, hold_until;
	struct rng rng;
	struct limit errors;
	struct engine_stats stats;
	uint32_t sweep_at, sweep_left;
	unsigned int expire_first; /* class of timeouts that the next tick begins with */
	struct learn *learn; /* NULL until a source wants it */
	unsigned int learners; /* sources that have it */
	struct port_use *port_use; /* NULL until a source wants its own ports */
	struct engine_dns dns[ENGINE_DNS_MAX];
	size_t dns_count;
	struct frag_table frags;
	struct frame whole; /* a datagram as one packet, while it is judged */
	struct engine_log log[LOG_RING];
	unsigned int log_head, log_count;
	uint64_t behind_salt;
	struct behind behind[BEHIND_SLOTS];
	struct addr connected[ENGINE_CONNECTED_MAX];
	size_t connected_count;
	struct iface ifaces[ENGINE_IFACE_MAX];
	struct source sources[ENGINE_SOURCE_MAX];
	uint32_t attached; /* sources that an interface has */
	uint32_t reserve;  /* flows that each of them is sure of */
	struct work work[ENGINE_BATCH];
};

#define UNLIKELY(x) __builtin_expect(!!(x), 0)

static inline uint16_t iface_id(const struct engine *e, const struct iface *iface)
{
	return (uint16_t)(iface - e->ifaces);
}

static inline struct source *source_of(struct engine *e, const struct work *w)
{
	return &e->sources[w->in->source[packet_fam(&w->p)]];
}

/* --- engine.c ----------------------------------------------------------- */

void engine_advance(struct engine *e, struct engine_time now);
void engine_drop(struct engine *e, struct work *w, enum drop_reason reason);
/* reply with what header[] holds now; @reason: counted when not DROP_NONE */
void engine_reply(struct engine *e, struct work *w, enum drop_reason reason);
/* turn the Ethernet header of a received frame around, for an IP answer */
void engine_reply_ether(struct work *w);
/* whether packets of the family can leave (Q13) */
bool engine_has_uplink(const struct engine *e, enum fam fam);
/* the interface a packet of the client goes out to, or NULL */
struct iface *engine_uplink(struct engine *e, enum fam fam);
/* TTL and MTU of a packet that will go to @out: false when it was answered */
bool engine_path_ok(struct engine *e, struct work *w, const struct iface *out);
/* translate and send; all checks are done */
void engine_forward_out(struct engine *e, struct work *w, struct flow *flow, struct iface *out);
/* decide about a frame that engine_parse() left to the flows */
void engine_decide(struct engine *e, struct work *w);

/* --- engine_parse.c ----------------------------------------------------- */

void engine_parse(struct engine *e, struct work *w);
/* the same for an IP packet that was put together */
void engine_parse_ip(struct engine *e, struct work *w);

/* --- engine_judge.c ----------------------------------------------------- */

/* a client's packet without a flow */
void engine_judge_first(struct engine *e, struct work *w);
/* 2.5: whether the flow is allowed under the policy of now; updates its epoch */
bool engine_judge_again(struct engine *e, struct flow *flow);
void engine_flow_end(struct engine *e, uint32_t index);
void engine_to_firewall(struct engine *e, struct work *w);
/* send an ICMP error about the packet if the rate allows it, and drop it */
void engine_refuse(struct engine *e, struct work *w, enum drop_reason reason,
		   enum icmp_error error, uint32_t mtu);
/* I8: whether one more error may go to this interface now */
bool engine_may_send_error(struct engine *e, struct iface *in);
/* I8: the address under which the machines there know us */
struct ipkey engine_known_as(const struct engine *e, const struct iface *in, enum fam fam);
bool limit_take(struct limit *limit, uint64_t clock, uint32_t rate);

/* --- engine_frag.c ------------------------------------------------------ */

void engine_fragment(struct engine *e, struct work *w);
/* keep the rewritten packet, to leave in pieces; false: it was dropped */
bool engine_split(struct engine *e, struct work *w, const struct iface *out);
void engine_expire_fragments(struct engine *e);
/* an empty frame of ours for @port */
void engine_take_begin(struct frame *out, uint16_t port);
/* the next frame of a datagram that is being sent */
bool engine_take_fragment(struct engine *e, struct frame *out);

/* --- engine_learn.c ------------------------------------------------------ */

/* a UDP packet of a flow to port 53 passes, not translated yet */
void engine_see_dns(struct engine *e, const struct work *w, const struct flow *flow);
/* the source ends */
void engine_learn_end(struct engine *e, struct source *source);
/* the policy's verdict, or that of an earlier rule because of what was learned */
enum rule_verdict engine_match(const struct engine *e, const struct source *source,
			       const struct rule_packet *pkt, uint32_t *index);

/* --- engine_log.c ------------------------------------------------------- */

/* note a first packet that did not pass */
void engine_log_packet(struct engine *e, const struct work *w, enum drop_reason reason,
		       uint32_t rule);

/* --- engine_table.c ------------------------------------------------------ */

void engine_iface_init(struct engine *e, uint16_t id);

/* --- engine_source.c ----------------------------------------------------- */

/* the source of an address, or SOURCE_NONE */
uint16_t source_find(const struct engine *e, const struct addr *addr);
uint16_t source_get(struct engine *e, const struct addr *addr);
void source_release(struct engine *e, struct source *source);
/* end a source's flows: all of them, or those of one interface */
void source_purge(struct engine *e, struct source *source, uint16_t iface);
void source_drop_policy(struct source *source);
/* after a change of what is behind us: no flow may lead there (Q3, Q10) */
void behind_rebuild(struct engine *e);
/* the server that packets to this one go to: false: itself; none: nowhere */
bool engine_dns_real(const struct engine *e, const struct ipkey *virt, struct ipkey *real);
/* what stops packets to that server */
enum drop_reason engine_dns_check(const struct engine *e, const struct ipkey *real);

static inline struct ipkey ipkey_of(const struct addr *addr)
{
	if (addr->family == 4)
		return ipkey4(get_raw32(addr->bytes));
	if (addr->family == 6)
		return ipkey6(addr->bytes);
	return (struct ipkey){ { 0, 0 } };
}

static inline struct addr addr_of(uint8_t family, const struct ipkey *k)
{
	struct addr addr = { .family = family };

	memcpy(addr.bytes, k->w, addr_len(&addr));
	return addr;
}

static inline uint32_t behind_slot(const struct engine *e, uint8_t family, const struct ipkey *k)
{
	uint64_t h = (k->w[0] ^ e->behind_salt) * 0x9e3779b97f4a7c15ull;

	h = (h ^ k->w[1] ^ h >> 32 ^ family) * 0xc2b2ae3d27d4eb4full;
	return (uint32_t)(h >> 53);
}

static_assert(BEHIND_SLOTS == 1u << (64 - 53), "behind_slot() gives eleven bits");

/* is_behind() - of a client, of committed rules, or of a qube that may come (Q10) */
static inline bool is_behind(const struct engine *e, uint8_t family, const struct ipkey *k)
{
	for (uint32_t i = behind_slot(e, family, k);; i = (i + 1) & (BEHIND_SLOTS - 1)) {
		const struct behind *b = &e->behind[i];

		if (b->family == 0)
			return false;
		if (b->family == family && ipkey_equal(&b->key, k))
			return true;
	}
}

/* RFC 4291 2.5.6: never leaves its link */
static inline bool is_link_local(uint8_t family, const struct ipkey *k)
{
	const uint8_t *b = (const uint8_t *)k->w;

	return family == 6 && b[0] == 0xfe && (b[1] & 0xc0) == 0x80;
}

/* What stops a client's packet to @dst, whatever its rules say. */
static inline enum drop_reason check_destination(const struct engine *e, const struct iface *in,
						 uint8_t family, const struct ipkey *dst)
{
	enum fam fam = family == 6 ? V6 : V4;

	/* Q5, Q3: also by our outer address */
	if (UNLIKELY(ipkey_equal(dst, &in->gateway[fam]) || ipkey_equal(dst, &e->nat[fam])))
		return DROP_TO_FIREWALL;
	if (UNLIKELY(is_link_local(family, dst)))
		return DROP_MARTIAN;
	/* Q3; Q10: a client that is not running is not outside either */
	if (UNLIKELY(is_behind(e, family, dst)))
		return DROP_INTER_CLIENT;
	return DROP_NONE;
}

#endif
