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
#include "netback/frame.h"
#include "rules/rules.h"

#define ENGINE_IFACE_MAX 160  /* 128 vifs, uplinks, taps, self */
#define ENGINE_SOURCE_MAX 512 /* committed sources, both families */
#define ENGINE_DNS_MAX 4

struct engine;

struct engine_config {
	uint32_t flow_max;   /* flows, a power of two; 0: 65536 */
	uint8_t hash_key[16]; /* secret; from getrandom() */
	uint8_t rng_seed[32]; /* for port choice; from getrandom() */
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
	struct addr gateway6;
	uint16_t mtu;
};

struct engine_stats {
	uint64_t drops[DROP_REASON_MAX]; /* by reason */
	uint64_t forwarded, replied;
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

/**
 * engine_source_set() - put a source's policy in force
 * @policy:	taken over; NULL means none committed (silent drop)
 * @bump:	increment the epoch: flows are judged again at their next packet
 *
 * The old policy is freed. Rule counters start again unless @bump is false.
 * Return: 0 or -ENOSPC (then @policy is still the caller's).
 */
int engine_source_set(struct engine *e, const struct addr *addr,
		      struct policy *policy, bool bump);

/** engine_source_forget() - policy and flows of the source end */
void engine_source_forget(struct engine *e, const struct addr *addr);

bool engine_source_info(const struct engine *e, const struct addr *addr,
			struct engine_source_info *info);
/** engine_source_hits() - first packets decided by rule @index or RULE_INDEX_* */
uint64_t engine_source_hits(const struct engine *e, const struct addr *addr,
			    uint32_t index);

/* --- packets ------------------------------------------------------------ */

/**
 * engine_process() - decide on a batch
 * @frames:	from any ports; header[] is rewritten in place; each leaves with
 *		verdict, and out_port or reason
 */
void engine_process(struct engine *e, struct frame **frames, size_t n,
		    struct engine_time now);

/**
 * engine_tick() - expire flows, resolve the gateway
 * @out:	a free frame for a packet that the engine wants to send
 *
 * Call at least every 100 ms while there is traffic, every second otherwise; and
 * again while it returns true: then @out holds a packet for @out->out_port.
 * A bounded amount of work each time.
 */
bool engine_tick(struct engine *e, struct frame *out, struct engine_time now);

const struct engine_stats *engine_stats(const struct engine *e);

/** engine_check() - deep check of all invariants, for tests: 0, or aborts */
int engine_check(const struct engine *e);

#endif
