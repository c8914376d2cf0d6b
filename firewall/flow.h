/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The flow table. Theory of operation at the head of flow.c.
 */
#ifndef FIREWALL_FLOW_H
#define FIREWALL_FLOW_H

#include "firewall/packet.h"
#include "firewall/siphash.h"

#include <assert.h>
#include <stdint.h>

#define FLOW_NONE UINT32_MAX
#define FLOW_MAX_MIN 64u
#define FLOW_MAX_MAX (1u << 24)
#define FLOW_ZONE_UPLINK 0xffff /* in place of an interface in the inner key */

/** Which way a packet goes: from the client, or towards it. */
enum flow_dir { FLOW_OUT, FLOW_IN };

enum flow_state {
	FLOW_FREE,	  /* not in use; linked in the free list, in no other */
	FLOW_UNREPLIED,	  /* UDP, ICMP, others: only the client has spoken */
	FLOW_REPLIED,	  /* UDP, ICMP, others: both have */
	FLOW_MAPPING,	  /* no flow: a port that a client's flows share (N10) */
	FLOW_TCP_SYN,	  /* SYN from the client */
	FLOW_TCP_OPENING, /* SYN from both sides; the client's ACK is missing */
	FLOW_TCP_OPEN,	  /* established */
	FLOW_TCP_FIN_OUT, /* the client has finished, data may come in */
	FLOW_TCP_FIN_IN,  /* the server has finished, data may go out */
	FLOW_TCP_CLOSING, /* both have, or RST: a new SYN may reopen */
	FLOW_STATES
};

/** Timeout classes (packets.md 2.4). */
enum flow_timer {
	TIMER_TCP_OPENING,
	TIMER_TCP_OPEN,
	TIMER_TCP_HALF,
	TIMER_TCP_CLOSING,
	TIMER_UDP_UNREPLIED,
	TIMER_UDP_REPLIED,
	TIMER_DNS_UNREPLIED,
	TIMER_DNS_REPLIED,
	TIMER_ICMP,
	TIMER_OTHER,
	TIMER_MAPPING, /* after its last flow */
	FLOW_TIMERS
};

/** Which of its source's lists a flow is in: who goes first when it is full. */
enum flow_rank { RANK_OPENING, RANK_CLOSING, RANK_OPEN, FLOW_RANKS };

#define FLOW_DNAT 0x01 /* flags: the client knows the server as orig_dst */

/* The two lists a flow is in. */
enum flow_list_kind { LIST_TIMER, LIST_RANK, FLOW_LISTS };

struct flow_link {
	uint32_t next, prev; /* FLOW_NONE at the ends */
};

/* struct flow_window flags */
#define WINDOW_SEEN 0x01  /* the fields hold something */
#define WINDOW_SCALE 0x02 /* the SYN had a window scale option */
#define WINDOW_ACK 0x04	  /* ack is what its name says; before that, see tcp.c */
#define WINDOW_RESET 0x08 /* an effective RST came from here */

/** What one side of a TCP connection has sent; see tcp.c. */
struct flow_window {
	uint32_t end;	  /* highest sequence number sent, plus one */
	uint32_t max_end; /* highest that the other side's window allows */
	uint32_t ack;	  /* highest acknowledgment sent */
	uint16_t max_win; /* largest window advertised, shifted by scale */
	uint8_t scale;
	uint8_t flags;
};

/**
 * One flow, either family: two cache lines. The client's own address is not
 * here: it is the one of the source. Every packet reads the first line; TCP
 * windows and counters are in the second, with the links that packets do not
 * touch.
 */
struct flow {
	struct ipkey remote;  /* the server, as the uplink sees it */
	uint16_t client_port; /* host order; ICMP: identifier */
	uint16_t remote_port;
	uint16_t iface;	      /* the client's interface: replies go there (Q12) */
	uint8_t proto;
	uint8_t family;
	uint16_t nat_port; /* our side of it */
	uint16_t source;   /* index of the client's address and policy */
	uint16_t ip_delta; /* from the client: of the IP header (P4) */
	uint16_t l4_delta; /* from the client: of the upper layer */
	uint32_t last_seen; /* ms of the engine's clock */
	uint32_t epoch;	    /* of the source's policy that accepted it */
	uint8_t state;	    /* enum flow_state */
	uint8_t timer;	    /* enum flow_timer */
	uint8_t flags;
	uint8_t rank;	  /* enum flow_rank */
	uint32_t queued;  /* ms when it was put at the end of its timer's list */
	uint64_t bytes[2];

	struct flow_window window[2];
	uint32_t packets[2];
	struct flow_link link[FLOW_LISTS];
	uint32_t orig_dst; /* FLOW_DNAT: IPv4 address as the client knows it */
	/* index of the mapping whose port this flow has, or FLOW_NONE; of a
	 * mapping: how many flows have its port */
	uint32_t mapping;
};

/** A bucket of the hash table: one cache line. */
#define BUCKET_SLOTS 10
struct flow_bucket {
	uint16_t tag[BUCKET_SLOTS]; /* 0: free */
	uint32_t ref[BUCKET_SLOTS]; /* flow << 2 | away from home << 1 | direction */
	uint32_t away; /* keys whose home is here but that live elsewhere */
};

/* Two keys a flow, eight in a bucket when the table is full. */
#define FLOW_KEYS_PER_BUCKET 8
#define FLOW_BYTES (sizeof(struct flow) + 2 * sizeof(struct flow_bucket) / FLOW_KEYS_PER_BUCKET)

static_assert(sizeof(struct flow) == 128, "two cache lines");
static_assert(offsetof(struct flow, window) == 64, "every packet's fields in one line");
static_assert(sizeof(struct flow_bucket) == 64, "one cache line");
static_assert(FLOW_BYTES <= 148, "G5: goal of 148 bytes for each flow, limit 192");

/** What a packet is looked up by. */
struct flow_key {
	uint64_t meta; /* ports, zone, protocol, family, direction */
	struct ipkey remote;
};

struct flow_list {
	uint32_t head, tail, count;
};

struct flow_table {
	struct flow *flows;
	struct flow_bucket *buckets;
	uint32_t flow_max;
	uint32_t bucket_mask;
	uint32_t active;
	uint32_t mappings; /* entries in state FLOW_MAPPING, of those */
	uint32_t fresh; /* flows at and above this index were never used */
	uint32_t free;	/* list of used and freed ones, by their first link */
	struct flow_list timers[FLOW_TIMERS];
	uint32_t timeout_ms[FLOW_TIMERS];
	struct siphash_key hash_key;
};

/** The lists of one source's flows. */
struct flow_owner {
	struct flow_list ranks[FLOW_RANKS];
};

/** flow_timer_name() - as the option of ringfenced names it: "tcp-open" */
const char *flow_timer_name(enum flow_timer timer);

/** flow_timer_default_s() - seconds (packets.md 2.4) */
uint32_t flow_timer_default_s(enum flow_timer timer);

/** FLOW_TIMEOUT_MAX_S: flows keep their time in 32 bits of milliseconds */
#define FLOW_TIMEOUT_MAX_S (14u * 86400)

/**
 * flow_table_init() - an empty table
 * @flow_max:	a power of two, FLOW_MAX_MIN..FLOW_MAX_MAX
 * @timeout_s:	by enum flow_timer; 0: the default
 *
 * Return: 0, -EINVAL or -ENOMEM.
 */
int flow_table_init(struct flow_table *t, uint32_t flow_max, const uint8_t hash_key[16],
		    const uint32_t timeout_s[FLOW_TIMERS]);
void flow_table_fini(struct flow_table *t);
void flow_owner_init(struct flow_owner *owner);

/** flow_key_make() - @local: the client's port (out) or the translated one (in) */
static inline struct flow_key flow_key_make(enum flow_dir dir, uint8_t family, uint8_t proto,
					    uint16_t zone, struct ipkey remote,
					    uint16_t remote_port, uint16_t local)
{
	struct flow_key key;

	key.meta = local | (uint64_t)remote_port << 16 | (uint64_t)zone << 32 |
		   (uint64_t)proto << 48 | (uint64_t)(family << 1 | dir) << 56;
	key.remote = remote;
	return key;
}

static inline enum flow_dir flow_key_dir(const struct flow_key *key)
{
	return (enum flow_dir)(key->meta >> 56 & 1);
}

static inline struct flow_key flow_key_of(const struct flow *flow, enum flow_dir dir)
{
	struct ipkey remote = flow->remote;

	if (dir == FLOW_IN)
		return flow_key_make(FLOW_IN, flow->family, flow->proto, FLOW_ZONE_UPLINK, remote,
				     flow->remote_port, flow->nat_port);
	if (flow->flags & FLOW_DNAT)
		remote = ipkey4(flow->orig_dst);
	return flow_key_make(FLOW_OUT, flow->family, flow->proto, flow->iface, remote,
			     flow->remote_port, flow->client_port);
}

static inline uint64_t flow_hash(const struct flow_table *t, const struct flow_key *key)
{
	const uint64_t words[3] = { key->meta, key->remote.w[0], key->remote.w[1] };

	/* 12 or 24 bytes; an IPv4 address fits the last block beside the length */
	if (key->meta >> 57 == 4)
		return siphash_words(&t->hash_key, words, 1, words[1] | (uint64_t)12 << 56, 1, 3);
	return siphash_words(&t->hash_key, words, 3, (uint64_t)24 << 56, 1, 3);
}

static inline void flow_prefetch_bucket(const struct flow_table *t, uint64_t hash)
{
	__builtin_prefetch(&t->buckets[hash & t->bucket_mask]);
}

/**
 * flow_hint() - where the flow of a hash probably is; prefetches it
 *
 * Return: an index for flow_lookup(), or FLOW_NONE.
 */
uint32_t flow_hint(const struct flow_table *t, uint64_t hash);

/**
 * flow_lookup() - the flow of a key
 * @hint:	from flow_hint(), perhaps stale by now, or FLOW_NONE
 *
 * Return: the index or FLOW_NONE. Looks at two buckets at most.
 */
uint32_t flow_lookup(const struct flow_table *t, const struct flow_key *key, uint64_t hash,
		     uint32_t hint);

/** flow_lookup_in() - the flow that a new one's answers would belong to, or FLOW_NONE */
static inline uint32_t flow_lookup_in(const struct flow_table *t, const struct flow *flow)
{
	struct flow_key key = flow_key_of(flow, FLOW_IN);

	return flow_lookup(t, &key, flow_hash(t, &key), FLOW_NONE);
}

/**
 * flow_insert() - a new flow
 * @init:	its tuple, source, deltas, state, timer and rank; the rest is set here
 * @owner:	of its source
 * @now:	ms of the engine's clock
 *
 * Return: the index, or FLOW_NONE when the table has no room.
 */
uint32_t flow_insert(struct flow_table *t, const struct flow *init, struct flow_owner *owner,
		     uint32_t now);

/** flow_remove() - it ends; both keys and all list entries go */
void flow_remove(struct flow_table *t, uint32_t index, struct flow_owner *owner);

/** flow_set_state() - change state, timer class and rank together */
void flow_set_state(struct flow_table *t, uint32_t index, struct flow_owner *owner,
		    enum flow_state state, enum flow_timer timer, enum flow_rank rank,
		    uint32_t now);

static inline bool flow_timed_out(const struct flow_table *t, const struct flow *flow,
				  uint32_t now)
{
	return now - flow->last_seen >= t->timeout_ms[flow->timer];
}

/** flow_is_over() - timed out, and no mapping that is in use */
static inline bool flow_is_over(const struct flow_table *t, uint32_t index, uint32_t now)
{
	const struct flow *flow = &t->flows[index];

	return flow_timed_out(t, flow, now) && (flow->state != FLOW_MAPPING || flow->mapping == 0);
}

/**
 * flow_expired_next() - find one flow that has timed out
 * @cursor:	timer class to go on with; starts at 0
 * @budget:	flows to look at; counted down
 *
 * Flows that were used meanwhile go to the end of their list.
 * Return: the index of a flow to remove, or FLOW_NONE when done or out of budget.
 */
uint32_t flow_expired_next(struct flow_table *t, uint32_t now, unsigned int *cursor,
			   unsigned int *budget);

/** flow_check() - abort unless all invariants of the table hold; for tests */
void flow_check(const struct flow_table *t);

#endif
