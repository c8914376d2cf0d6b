/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which names the rules need, what they resolve to, and when to ask again. Pure:
 * time is a parameter, questions and answers go through the caller.
 */
#ifndef FIREWALL_NAME_TABLE_H
#define FIREWALL_NAME_TABLE_H

#include "firewall/name_answer.h"
#include "rules/rules.h"

#define NAME_ENTRIES_MAX 4096  /* names times families */
#define NAME_ADDRS_MAX	 65536 /* of all names together */

#define NAME_TTL_MIN_S 30   /* a TTL below counts as this */
#define NAME_TTL_MAX_S 3600 /* a TTL above counts as this */
#define NAME_GRACE_S   600  /* addresses stay so long after they left the answer */

#define NAME_RETRY_MIN_MS 1000	     /* after a failure; twice as long after each further one */
#define NAME_RETRY_MAX_MS 60000
#define NAME_STALE_MS	  86400000ull /* a last good answer is used for a day */
#define NAME_LOST_MS	  60000	     /* who has not replied for so long never will */

struct name_table;

/** What the user may choose. */
struct name_times {
	uint32_t ttl_min_s, ttl_max_s, grace_s; /* all 0: the defaults above */
	uint32_t lost_ms;			/* for tests; 0: NAME_LOST_MS */
};

/** What to ask the helper. */
struct name_question {
	uint32_t id; /* never 0 */
	uint8_t family;
	const char *name; /* valid until the next call */
};

/** What status says of a name. */
struct name_view {
	const char *name;
	uint8_t family;
	enum name_state state;
	const struct addr *addrs;
	size_t count, fresh; /* the first @fresh are in the last answer, the rest in grace */
	bool asked;	     /* there has been an outcome at all */
	bool asking;	     /* a question is out */
	bool more, refused;  /* the last answer had more addresses, or some of no use;
			      * with more, the state is NAME_PARTIAL */
	enum dns_outcome last;
	unsigned int failures, users;
	uint64_t resolved_ms; /* when the last good answer came; if there is one */
	uint64_t next_ms;     /* when it is asked again */
};

/** What the table tells, during name_table_answer() and name_table_tick(). */
struct name_events {
	/* the state or the set of addresses is another one now */
	void (*changed)(void *arg, uint8_t family, const char *name);
	/* a question failed; @failures in a row by now */
	void (*failed)(void *arg, uint8_t family, const char *name, enum dns_outcome outcome,
		       unsigned int failures);
};

/**
 * name_table_new() - an empty table; it asks nothing yet
 * @times:	NULL: the defaults
 * @seed:	for the jitter
 * @events:	copied
 */
int name_table_new(struct name_table **out, const struct name_times *times, uint64_t seed,
		   const struct name_events *events, void *arg);
void name_table_free(struct name_table **t);

/**
 * name_table_begin(), name_table_use(), name_table_end() - which names are needed
 *
 * Between begin and end, use() once for each user of each name; end() forgets the
 * names without any. Counting anew each time can not go wrong where the table was
 * full in between. A question about a forgotten name stays out: whoever was asked
 * still has it.
 *
 * Return: 0; -EINVAL for a name that DNS cannot hold (it is never asked for);
 * -ENOSPC when the table is full; -ENOMEM.
 */
void name_table_begin(struct name_table *t);
int name_table_use(struct name_table *t, uint8_t family, const char *name, uint64_t now_ms);
void name_table_end(struct name_table *t);

/** name_table_lookup() - *addrs is valid until the next call that changes the table */
enum name_state name_table_lookup(const struct name_table *t, uint8_t family, const char *name,
				  const struct addr **addrs, size_t *count);

/** name_table_allow() - whether there is somebody to ask at all */
void name_table_allow(struct name_table *t, bool allowed);

/** name_table_ask() - the next question that is due; it counts as asked. False: none,
 *  or NAME_IN_FLIGHT_MAX are out */
bool name_table_ask(struct name_table *t, uint64_t now_ms, struct name_question *out);

/**
 * name_table_answer() - a question has ended
 *
 * Return: whether it was one that is out and of this family; also about a name that
 * has been forgotten since.
 */
bool name_table_answer(struct name_table *t, uint32_t id, uint8_t family,
		       const struct name_answer *answer, uint64_t now_ms);

/** name_table_reset() - whoever was asked has forgotten it: ask again at once */
void name_table_reset(struct name_table *t, uint64_t now_ms);

/**
 * name_table_wake() - whatever has failed may succeed now: ask again at once
 * @before_ms:	those, too, whose answer is older: another network may have other
 *		answers; 0: none
 */
void name_table_wake(struct name_table *t, uint64_t before_ms, uint64_t now_ms);

/**
 * name_table_tick() - let time pass: grace, lost questions, answers too old
 *
 * Return: whether a question was lost: whoever was asked does not work.
 */
bool name_table_tick(struct name_table *t, uint64_t now_ms);

/** name_table_deadline() - when name_table_tick() or name_table_ask() has work */
uint64_t name_table_deadline(const struct name_table *t);

void name_table_each(const struct name_table *t,
		     void (*fn)(void *arg, const struct name_view *view), void *arg);

size_t name_table_count(const struct name_table *t);
size_t name_table_addrs(const struct name_table *t);

/** name_addr_is_useless() - an address that no rule's name stands for: unspecified,
 *  loopback, link-local, multicast, broadcast, reserved, IPv4 inside IPv6 */
bool name_addr_is_useless(const struct addr *addr);

/** name_table_check() - deep check, for tests and fuzzing: aborts */
void name_table_check(const struct name_table *t);

#endif
