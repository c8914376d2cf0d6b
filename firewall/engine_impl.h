/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside the engine: what its files share.
 *
 *	engine.c	batches: parse, look up, forward
 *	engine_judge.c	first packets: rules, limits, new flows; answers
 *	engine_table.c	interfaces, sources, policies
 *	engine_tick.c	time: expiry, sweep, the gateway's MAC
 *	engine_check.c	the deep check
 */
#ifndef FIREWALL_ENGINE_IMPL_H
#define FIREWALL_ENGINE_IMPL_H

#include "firewall/arp.h"
#include "firewall/engine.h"
#include "firewall/flow.h"
#include "firewall/icmp.h"
#include "firewall/nat.h"
#include "firewall/rng.h"

#define ENGINE_BATCH 32		/* frames in flight between parse and decision */
#define SOURCE_NONE UINT16_MAX
#define SOURCE_SLOTS 1024u	/* of the address index: half full at most */
#define MTU_DEFAULT 1500

/* I8: own errors, for each interface and in all */
#define ERROR_RATE_IFACE 100u /* per second; also the burst */
#define ERROR_RATE_ALL 1000u

#define EXPIRE_BUDGET 512u /* flows looked at in one tick (G7) */
#define EXPIRE_SPOT 16u	   /* flows looked at when a new one needs room */
#define SWEEP_BUDGET 512u  /* flows judged again in one tick */
#define CLOCK_JUMP_MS 5000u /* D5: a longer pause than this is a suspend */
#define CLOCK_HOLD_MS 1000u /* D5: no expiry for so long after it */
#define CLOCK_STEP_MAX_MS (2u * 86400 * 1000)

#define ARP_RETRY_MS 1000u
#define ARP_REFRESH_MS 60000u

static_assert((SOURCE_SLOTS & (SOURCE_SLOTS - 1)) == 0, "masked");
static_assert(ENGINE_SOURCE_MAX * 2 <= SOURCE_SLOTS, "the index always has free slots");
static_assert(ENGINE_SOURCE_MAX < SOURCE_NONE, "an index fits struct flow");
static_assert(ENGINE_IFACE_MAX < FLOW_ZONE_UPLINK, "an interface is not the uplink's zone");

struct limit {
	uint32_t milli; /* thousandths of a packet */
	uint64_t at;	/* engine clock */
};

struct iface {
	struct engine_iface conf;
	bool link;
	uint32_t ip4, gateway4; /* as they lie in packets; 0: none */
	uint32_t mtu;
	uint16_t source; /* of a client's IPv4 address */
	struct limit errors;

	/* uplink: the gateway */
	uint8_t gateway_mac[6];
	bool arp_asked;	    /* an answer is awaited */
	bool announce;	    /* gratuitous ARP is due */
	uint64_t arp_at;    /* engine clock of the next question */
};

/**
 * An IPv4 or IPv6 address whose traffic is policed: of an attached client
 * (ifaces > 0), of committed rules (known), or both.
 */
struct source {
	const struct policy *policy;
	uint32_t epoch;
	uint32_t flows;
	uint32_t raw4; /* the address; 0 for IPv6 */
	uint16_t ifaces;
	bool used, known;
	uint64_t packets[2], bytes[2]; /* by flow_dir */
	uint64_t verdicts[3];	       /* by enum rule_verdict */
	uint64_t special_hits[3];      /* RULE_INDEX_POLICY - index */
	uint64_t *hits;		       /* by rule */
	uint32_t hit_count;
	struct addr addr;
	struct flow_owner owner;
	struct policy *policy_owned; /* the same as policy */
};

enum work_kind { WORK_DONE, WORK_FLOW, WORK_ERROR };

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
};

struct engine {
	struct flow_table table;
	uint32_t now;	 /* low bits of clock, as flows store it */
	uint16_t uplink; /* the one in use, or PORT_NONE */
	uint32_t nat4;	 /* address that flows are translated to; outlives a link */
	bool hold;	 /* D5: just resumed, nothing times out */
	bool started;	 /* the caller's clock is known */
	bool jumped;	 /* the last step of the clock was a long one */
	uint64_t clock;	 /* ms; only goes forward */
	uint64_t last_ms, hold_until;
	struct rng rng;
	struct limit errors;
	struct engine_stats stats;
	uint32_t sweep_at, sweep_left;
	uint32_t index_salt;
	uint16_t source_index[SOURCE_SLOTS];
	struct iface ifaces[ENGINE_IFACE_MAX];
	struct source sources[ENGINE_SOURCE_MAX];
	struct work work[ENGINE_BATCH];
};

#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* --- engine.c ----------------------------------------------------------- */

void engine_advance(struct engine *e, struct engine_time now);
void engine_drop(struct engine *e, struct work *w, enum drop_reason reason);
/* reply with what header[] holds now; @reason: counted when not DROP_NONE */
void engine_reply(struct engine *e, struct work *w, enum drop_reason reason);
/* turn the Ethernet header of a received frame around, for an IP answer */
void engine_reply_ether(struct work *w);
/* the interface a packet of the client goes out to, or NULL (Q13) */
struct iface *engine_uplink(struct engine *e);
/* TTL and MTU of a packet that will go to @out: false when it was answered */
bool engine_path_ok(struct engine *e, struct work *w, const struct iface *out);
/* translate and send; all checks are done */
void engine_forward_out(struct engine *e, struct work *w, struct flow *flow, struct iface *out);

/* --- engine_judge.c ----------------------------------------------------- */

/* a client's packet without a flow */
void engine_judge_first(struct engine *e, struct work *w);
/* 2.5: whether the flow is allowed under the policy of now; updates its epoch */
bool engine_judge_again(struct engine *e, struct flow *flow);
void engine_flow_end(struct engine *e, uint32_t index);
void engine_to_firewall(struct engine *e, struct work *w);
/* send an ICMP error about the packet if the rate allows it, and drop it */
void engine_refuse(struct engine *e, struct work *w, enum drop_reason reason, uint8_t type,
		   uint8_t code, uint16_t info);
bool limit_take(struct limit *limit, uint64_t clock, uint32_t rate);

/* --- engine_table.c ----------------------------------------------------- */

static inline uint32_t source_slot(const struct engine *e, uint32_t raw4)
{
	return ((raw4 ^ e->index_salt) * 0x9e3779b1u) >> 22;
}

static_assert(SOURCE_SLOTS == 1u << (32 - 22), "source_slot() gives ten bits");

/* source_of4() - the source with this IPv4 address, or SOURCE_NONE */
static inline uint16_t source_of4(const struct engine *e, uint32_t raw4)
{
	for (uint32_t i = source_slot(e, raw4);; i = (i + 1) & (SOURCE_SLOTS - 1)) {
		uint16_t source = e->source_index[i];

		if (source == SOURCE_NONE || e->sources[source].raw4 == raw4)
			return source;
	}
}

#endif
