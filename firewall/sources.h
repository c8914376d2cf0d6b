/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The policy table: joins QubesDB's commits, the rules and the engine.
 *
 * A source is one client address of one family. It is here when dom0 committed
 * rules for it, or when a vif has the address, or both. The last committed rule
 * set is kept apart from QubesDB's raw tree, and whatever makes us compile again
 * (DNS servers, names) starts from it.
 */
#ifndef FIREWALL_SOURCES_H
#define FIREWALL_SOURCES_H

#include "firewall/engine.h"
#include "firewall/settings.h"
#include "qubesdb/qubesdb.h"
#include "rules/rules.h"

#define SOURCES_REFRESH_MS 100

struct sources;

enum source_state {
	SOURCE_NONE,	  /* a vif has the address, nothing is committed */
	SOURCE_ACTIVE,	  /* rules are in force */
	SOURCE_MALFORMED, /* committed, does not parse: everything is rejected */
};

/** What status says of a source; pointers are valid until the next change. */
struct source_view {
	struct addr addr;
	enum source_state state;
	size_t rules;
	uint64_t handled;	      /* value of the handled counter */
	const struct rule_error *err; /* for SOURCE_MALFORMED */
	unsigned int attached;	      /* vifs with this address */
	const struct ruleset *ruleset; /* for SOURCE_ACTIVE */
	struct engine_source_options options;
	bool stale; /* names of its rules have changed; not in force yet */
	const char *wildcards; /* settings_wildcards() */
};

/**
 * sources_new() - an empty table
 * @env:	names and DNS servers; kept by reference; the caller calls
 *		sources_recompile() when anything in it has changed
 * @settings:	options of sources; kept by reference; sources_apply_options()
 *		likewise
 */
int sources_new(struct sources **out, struct engine *engine, const struct policy_env *env,
		const struct settings *settings);
void sources_free(struct sources **s);

/**
 * sources_commit() - a source's base key was written
 * @text:	the address as it stands in the path
 * @db:		receives /qubes-firewall-handled/ADDRESS once it is in force;
 *		NULL for a source of our own
 *
 * Malformed text blocks this source (Q9, R10); a list that changes nothing
 * leaves its flows alone (2.5). An address that does not parse is logged once.
 */
void sources_commit(struct sources *s, struct qubesdb *db, const char *text,
		    const struct qubesdb_pair *pairs, size_t n);

/** sources_gone() - the source is missing after a resync: block it */
void sources_gone(struct sources *s, const char *text);

/** sources_recompile() - DNS servers or names changed; unchanged results keep
 *  their epoch */
void sources_recompile(struct sources *s);

/**
 * sources_set_lookup() - how names in a source's rules are looked up
 *
 * In the place of env->lookup, which knows nothing of sources. It must not change
 * anything here.
 */
void sources_set_lookup(struct sources *s,
			enum name_state (*lookup)(void *arg, const struct addr *source,
						  const char *name, const struct addr **addrs,
						  size_t *count),
			void *arg);

/** sources_name_changed() - sources_refresh() compiles the family's sources that have
 *  this name in their rules */
void sources_name_changed(struct sources *s, uint8_t family, const char *name);

/**
 * sources_refresh() - compile one source whose names have changed
 *
 * One a call, so that packets have their turn in between; and each source once in
 * SOURCES_REFRESH_MS, whatever number of its names resolve meanwhile. The first
 * change after a commit, or after a time without any, is worked off at once.
 *
 * Return: when to call it again, UINT64_MAX: there are no more.
 */
uint64_t sources_refresh(struct sources *s, uint64_t now_ms);

/** sources_take_rules_changed() - whether any source got other rules since the last call */
bool sources_take_rules_changed(struct sources *s);

/**
 * sources_each_rules() - the rules of every source, in order of address
 * @fn:		@rules is NULL for a source that has none in force; @fresh: rules or
 *		addresses of names have changed since @fn last said that it has done
 *		what it wanted by returning true
 */
void sources_each_rules(struct sources *s,
			bool (*fn)(void *arg, const struct addr *addr,
				   const struct ruleset *rules, bool fresh),
			void *arg);

/** sources_apply_options() - the settings have changed */
void sources_apply_options(struct sources *s);

/** sources_attach() - a vif with this address appeared */
void sources_attach(struct sources *s, const struct addr *addr);

/**
 * sources_detach() - a vif with this address was removed
 *
 * With the last one the committed policy is forgotten (Q7): a qube that gets the
 * address later inherits nothing; dom0 commits again when one starts.
 */
void sources_detach(struct sources *s, const struct addr *addr);

/** sources_each() - in order of address */
void sources_each(const struct sources *s,
		  void (*fn)(void *arg, const struct source_view *view), void *arg);

/** sources_print() - the compiled policies, for ringfenced -n */
void sources_print(const struct sources *s, void (*line)(void *arg, const char *text), void *arg);

/** sources_malformed() - number of sources that are blocked for bad rules */
unsigned int sources_malformed(const struct sources *s);

#endif
