/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine: from a batch of received headers to verdicts and rewritten
 * headers. Pure: no I/O, no clock, no allocation after engine_new(); time is a
 * parameter. The same object code runs under the daemon, the unit tests, the
 * fuzzers and the benchmark.
 *
 * It knows interfaces (one for each port, by the port's index), sources (an
 * address whose traffic is policed, with the policy in force and its epoch) and
 * flows. It does not know ports, rings or QubesDB.
 */
#ifndef FIREWALL_ENGINE_H
#define FIREWALL_ENGINE_H

#include "firewall/drop.h"
#include "firewall/flow.h"
#include "netback/frame.h"
#include "rules/rules.h"

#define ENGINE_IFACE_MAX 160  /* 128 vifs, uplinks, taps, self */
#define ENGINE_SOURCE_MAX 512 /* committed sources, both families */
#define ENGINE_DNS_MAX 2
#define ENGINE_CONNECTED_MAX 400 /* /connected-ips and -ips6: one QubesDB value each */

struct engine;

struct engine_config {
	uint32_t flow_max;   /* flows, a power of two; 0: 65536 */
	uint8_t hash_key[16]; /* secret; from getrandom() */
	uint8_t rng_seed[32]; /* for port choice; from getrandom() */
	uint32_t timeout_s[FLOW_TIMERS]; /* packets.md 2.4; 0: the default */
	uint32_t frag_timeout_s[FAMS];	 /* likewise */
	bool pass_ip_options;	 /* P5: instead of dropping the packet */
	bool no_mss_clamp;	 /* 2.3 */
	bool no_inbound_refresh; /* U2: only the client keeps a UDP flow alive */
};

/** An instant: what the loop read once for this turn. */
struct engine_time {
	uint64_t ms; /* CLOCK_BOOTTIME */
};

enum iface_kind { IFACE_NONE, IFACE_CLIENT, IFACE_UPLINK, IFACE_SELF };

struct engine_iface {
	enum iface_kind kind;
	uint8_t mac[6];	  /* client: its MAC; uplink: our own MAC */
	struct addr ip4;  /* client: its real address; uplink: ours; or none */
	struct addr ip6;
	struct addr gateway4; /* uplink: next hop; client: as it sees us */
	struct addr gateway6; /* a client without one has no IPv6 */
	/* Q11: the address a client with net.fake-ip believes to have; none: ip4.
	 * gateway4 is then its visible gateway, and it has no IPv6 */
	struct addr visible4;
	uint16_t mtu;
};

/** A virtual DNS server as clients know it, and the one it stands for. */
struct engine_dns {
	struct addr virt, real; /* IPv4; real: none: dropped */
};

/** What a source may have beyond its rules. */
struct engine_source_options {
	uint32_t max_flows; /* N4; 0: its fair share */
	bool eim;	    /* endpoint-independent mapping of TCP and UDP */
	bool quiet;	    /* nothing of it is logged */
	bool learn;	    /* addresses from DNS answers to it (learn.h) */
};

/** A first packet that did not pass, for the log. */
struct engine_log {
	struct addr src, dst; /* src: the source's real address; dst: as sent */
	uint8_t proto, icmp_type;
	uint16_t dport;	   /* host order; for TCP and UDP */
	enum drop_reason reason;
	uint32_t rule;	     /* for DROP_REJECTED: RULE_INDEX_* or an index */
	uint32_t suppressed; /* of this source, since its last entry */
};

struct engine_stats {
	/*
	 * Every packet that was judged is counted once: in forwarded, by the reason
	 * of its drop, or, when it was answered for what it asked, in replied.
	 * Packets are the frames that came in and the datagrams that fragments made,
	 * whole or given up (assembled); a frame whose bytes were taken, as a
	 * fragment's are, is a drop of NONE. In replied are errors, too, that were
	 * sent about a packet that was dropped.
	 */
	uint64_t drops[DROP_REASON_MAX]; /* by reason */
	uint64_t forwarded, replied, assembled;
	uint64_t emitted; /* frames handed out by engine_take() */
	uint64_t flows_created, flows_expired, flows_denied; /* denied: by epoch */
	uint32_t flows_active, flow_max;
	uint32_t bytes_per_flow; /* entry and its share of the buckets */
};

/** Per source: address and family. Counters never go backwards. */
struct engine_source_info {
	struct addr addr;
	const struct policy *policy; /* NULL: none committed */
	uint32_t epoch;
	uint64_t accepted, rejected, dropped; /* first packets by verdict */
	uint64_t packets_out, bytes_out;      /* from the client */
	uint64_t packets_in, bytes_in;	      /* to the client */
	uint32_t flows;
};

/** What would become of the first packet of a flow. */
struct engine_first {
	enum rule_verdict verdict;
	uint32_t rule;		  /* index or RULE_INDEX_* */
	bool learned;		  /* the rule matches because of what was learned */
	bool attached;		  /* an interface has the source */
	enum drop_reason stopped; /* it ends, whatever the rules say; DROP_NONE: it does not */
	struct addr from, to;	  /* as it leaves; of family 0 when it does not */
};

int engine_new(struct engine **out, const struct engine_config *config);
void engine_free(struct engine **e);

/* --- interfaces --------------------------------------------------------- */

/**
 * engine_iface_set() - an interface appears or changes
 * @id:		the port's index, below ENGINE_IFACE_MAX
 *
 * A change of a client's or the uplink's address ends the flows that used it.
 */
int engine_iface_set(struct engine *e, uint16_t id,
		     const struct engine_iface *iface);

/** engine_iface_clear() - it is gone: its flows, NAT ports end (Q7) */
void engine_iface_clear(struct engine *e, uint16_t id);

/** engine_iface_link() - whether frames can go there now (Q13) */
void engine_iface_link(struct engine *e, uint16_t id, bool up);

/** engine_uplink_in_use() - which of the uplinks packets go to, or PORT_NONE */
uint16_t engine_uplink_in_use(const struct engine *e);

/* --- sources ------------------------------------------------------------ */

/** How a policy differs from the one before. */
enum engine_change {
	ENGINE_SAME,	  /* not at all: flows and counters go on */
	ENGINE_RULES,	  /* other rules: a new epoch, and counters start again */
	ENGINE_ADDRESSES, /* the same rules stand for other addresses: a new epoch */
};

/**
 * engine_source_set() - put a source's policy in force
 * @policy:	taken over; NULL means none committed (silent drop)
 *
 * With a new epoch, flows are judged again at their next packet. The old policy is
 * freed.
 * Return: 0, -ENOMEM or -ENOSPC (then @policy is still the caller's).
 */
int engine_source_set(struct engine *e, const struct addr *addr, struct policy *policy,
		      enum engine_change change);

/** engine_source_forget() - policy and flows of the source end */
void engine_source_forget(struct engine *e, const struct addr *addr);

/** engine_source_options() - of a source that is known; -ENOENT otherwise */
int engine_source_options(struct engine *e, const struct addr *addr,
			  const struct engine_source_options *options);

/**
 * engine_learn_rules() - what a source that learns is interested in
 * @rs:		its rules, in force; NULL: none; nothing of it is kept
 * @wildcards:	names of which subdomains count too, separated by spaces; or NULL
 *
 * Return: 0; -ENOENT: no such source, or it does not learn; -ENOMEM.
 */
int engine_learn_rules(struct engine *e, const struct addr *addr, const struct ruleset *rs,
		       const char *wildcards);

/** engine_learned() - the addresses that a source has learned for a name */
void engine_learned(const struct engine *e, const struct addr *addr, const char *name,
		    void (*fn)(void *arg, const struct addr *learned, uint64_t left_ms),
		    void *arg);

bool engine_source_info(const struct engine *e, const struct addr *addr,
			struct engine_source_info *info);
/** engine_source_hits() - first packets decided by rule @index or RULE_INDEX_* */
uint64_t engine_source_hits(const struct engine *e, const struct addr *addr,
			    uint32_t index);

/**
 * engine_explain() - what would become of a packet; nothing is counted
 * @pkt:	of a new flow, of @src's family
 *
 * Limits (ports, room for flows) and the sizes of packets are not asked.
 */
void engine_explain(const struct engine *e, const struct addr *src, const struct rule_packet *pkt,
		    struct engine_first *out);

/* --- surroundings --------------------------------------------------------- */

/**
 * engine_set_dns() - what packets to a virtual DNS server, port 53, are sent to
 *
 * Flows that were translated otherwise end at their next packet. At most
 * ENGINE_DNS_MAX; a server that stands for itself need not be listed.
 */
void engine_set_dns(struct engine *e, const struct engine_dns *map, size_t n);

/**
 * engine_set_connected() - addresses of all qubes behind us, running or not (Q10)
 *
 * Return: 0, or -ENOSPC with more than ENGINE_CONNECTED_MAX (none is dropped
 * from the set that is in force).
 */
int engine_set_connected(struct engine *e, const struct addr *addrs, size_t n);

/** engine_stir() - mix more secret bytes into the choice of ports (N2) */
void engine_stir(struct engine *e, const void *bytes, size_t len);

/* --- packets ------------------------------------------------------------ */

/**
 * engine_needs_payload() - whether the engine must see the whole packet
 * @f:	headers are there, nothing was judged yet
 *
 * Fragments, and packets that would have to be fragmented. The caller makes all
 * their segments local before engine_process(), or the packet is dropped.
 */
bool engine_needs_payload(const struct engine *e, const struct frame *f);

/**
 * engine_process() - decide on a batch
 * @frames:	from any ports; header[] is rewritten in place; each leaves with
 *		verdict, and out_port or reason
 *
 * Afterwards engine_take() may have frames.
 */
void engine_process(struct engine *e, struct frame **frames, size_t n,
		    struct engine_time now);

/**
 * engine_tick() - expire flows and fragments, resolve the gateway
 *
 * Call at least every 100 ms while there is traffic, every second otherwise. A
 * bounded amount of work each time. Afterwards engine_take() may have frames.
 */
void engine_tick(struct engine *e, struct engine_time now);

/**
 * engine_take() - the next frame that the engine itself has to send
 * @out:	a free frame; becomes one for @out->out_port, from PORT_NONE
 *
 * Fragments of a datagram that was put together or was too big, errors, ARP and
 * neighbour discovery. Segments point into memory of the engine, which stays
 * until engine_done().
 *
 * Return: false when there is none.
 */
bool engine_take(struct engine *e, struct frame *out);

/** engine_done() - a frame from engine_take() was sent or thrown away */
void engine_done(struct engine *e, const struct frame *f);

/** engine_log_take() - the next entry for the log; false when there is none */
bool engine_log_take(struct engine *e, struct engine_log *entry);

const struct engine_stats *engine_stats(const struct engine *e);

/** engine_check() - deep check of all invariants, for tests: 0, or aborts */
int engine_check(const struct engine *e);

#endif
