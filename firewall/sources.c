/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Life of a source:
 *
 *	commit, no vif	  dom0 writes the rules before it starts the client: kept
 *	vif, no commit	  netvm switch, rules come last: the engine drops silently
 *	commit and vif	  in force
 *	last vif removed  forgotten, whatever was committed
 *
 * The policy itself belongs to the engine once it is in force. This table keeps
 * the parsed ruleset, from which a new policy can be compiled at any time.
 */
#include "firewall/sources.h"

#include "firewall/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct source {
	struct addr addr;
	enum source_state state;
	struct ruleset *rules; /* for SOURCE_ACTIVE */
	struct rule_error err; /* for SOURCE_MALFORMED */
	uint64_t handled;
	uint64_t committed_at; /* order of commits, to find the oldest */
	unsigned int attached;
	bool stale; /* a name of its rules resolves to something else now */
	uint64_t refresh_ms; /* not compiled for that before */
	bool fresh; /* sources_each_rules() */
	bool other; /* not the rules that were in force before: counters start again */
};

struct sources {
	struct engine *engine;
	const struct policy_env *env;
	const struct settings *settings;
	struct source list[ENGINE_SOURCE_MAX]; /* sorted by address */
	size_t count;
	uint64_t commits;
	bool bad_address_logged, rules_changed;
	enum name_state (*lookup)(void *arg, const struct addr *source, const char *name,
				  const struct addr **addrs, size_t *count);
	void *lookup_arg;
};

/* Who asks for a name, while a policy is compiled. */
struct asker {
	const struct sources *s;
	const struct addr *source;
};

int sources_new(struct sources **out, struct engine *engine, const struct policy_env *env,
		const struct settings *settings)
{
	struct sources *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return -ENOMEM;
	s->engine = engine;
	s->env = env;
	s->settings = settings;
	*out = s;
	return 0;
}

void sources_free(struct sources **s)
{
	if (*s == NULL)
		return;
	for (size_t i = 0; i < (*s)->count; i++)
		ruleset_free(&(*s)->list[i].rules);
	free(*s);
	*s = NULL;
}

static int compare(const struct addr *a, const struct addr *b)
{
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	return memcmp(a->bytes, b->bytes, addr_len(a));
}

/* Place of the address, or where it would stand. */
static size_t place(const struct sources *s, const struct addr *addr, bool *found)
{
	size_t low = 0, high = s->count;

	*found = false;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = compare(&s->list[mid].addr, addr);

		if (c == 0) {
			*found = true;
			return mid;
		}
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct source *find(struct sources *s, const struct addr *addr)
{
	bool found;
	size_t i = place(s, addr, &found);

	return found ? &s->list[i] : NULL;
}

static void forget(struct sources *s, struct source *src)
{
	size_t i = (size_t)(src - s->list);

	engine_source_forget(s->engine, &src->addr);
	ruleset_free(&src->rules);
	s->rules_changed = true;
	s->count--;
	memmove(src, src + 1, (s->count - i) * sizeof(*src));
}

/* Room for one more: the oldest commit that no vif ever used goes first. */
static bool make_room(struct sources *s)
{
	struct source *oldest = NULL;
	char text[ADDR_STRLEN];

	if (s->count < ENGINE_SOURCE_MAX)
		return true;
	for (size_t i = 0; i < s->count; i++)
		if (s->list[i].attached == 0 &&
		    (oldest == NULL || s->list[i].committed_at < oldest->committed_at))
			oldest = &s->list[i];
	if (oldest == NULL)
		return false;
	log_msg(LOG_LEVEL_WARNING,
		"source %s: forgotten until its next commit, more than %d sources",
		addr_format(&oldest->addr, text), ENGINE_SOURCE_MAX);
	forget(s, oldest);
	return true;
}

static struct source *find_or_add(struct sources *s, const struct addr *addr)
{
	struct source *src;
	bool found;
	size_t i = place(s, addr, &found);

	if (found)
		return &s->list[i];
	if (!make_room(s))
		return NULL;
	i = place(s, addr, &found); /* room was made by moving the others */
	src = &s->list[i];
	memmove(src + 1, src, (s->count - i) * sizeof(*src));
	s->count++;
	*src = (struct source){.addr = *addr};
	return src;
}

static void apply_options(struct sources *s, const struct source *src)
{
	struct engine_source_options options = settings_options(s->settings, &src->addr);
	char text[ADDR_STRLEN];

	int err = engine_source_options(s->engine, &src->addr, &options);

	if (err == 0 && options.learn)
		err = engine_learn_rules(s->engine, &src->addr,
					 src->state == SOURCE_ACTIVE ? src->rules : NULL,
					 settings_wildcards(s->settings, &src->addr));
	if (err == -ENOMEM)
		log_msg(LOG_LEVEL_ERROR, "source %s: no memory for its options",
			addr_format(&src->addr, text));
}

void sources_apply_options(struct sources *s)
{
	for (size_t i = 0; i < s->count; i++)
		apply_options(s, &s->list[i]);
}

/*
 * Put a policy in force; takes it over. Without memory or room the source has
 * none, which the engine treats as "nothing committed": closed.
 */
static bool enforce(struct sources *s, struct source *src, struct policy *policy)
{
	struct engine_source_info info;
	char text[ADDR_STRLEN];
	bool known = engine_source_info(s->engine, &src->addr, &info) && info.policy != NULL;
	enum engine_change change = ENGINE_SAME;

	if (src->other || !known)
		change = ENGINE_RULES;
	else if (policy == NULL || !policy_equal(info.policy, policy))
		change = ENGINE_ADDRESSES;
	src->other = false;
	if (engine_source_set(s->engine, &src->addr, policy, change) != 0) {
		policy_free(&policy);
		engine_source_forget(s->engine, &src->addr);
		log_msg(LOG_LEVEL_ERROR, "source %s: blocked, the engine has no room for it",
			addr_format(&src->addr, text));
		return false;
	}
	apply_options(s, src);
	return true;
}

static void block_malformed(struct sources *s, struct source *src)
{
	struct policy *policy = NULL;

	src->stale = false;
	src->other = src->state != SOURCE_MALFORMED;
	src->state = SOURCE_MALFORMED;
	ruleset_free(&src->rules);
	if (policy_malformed(&policy) != 0)
		policy = NULL;
	(void)enforce(s, src, policy);
}

static enum name_state lookup(void *arg, const char *name, const struct addr **addrs,
			      size_t *count)
{
	const struct asker *a = arg;

	return a->s->lookup(a->s->lookup_arg, a->source, name, addrs, count);
}

static bool compile(struct sources *s, struct source *src)
{
	struct asker asker = {s, &src->addr};
	struct policy_env env = *s->env;
	struct policy *policy = NULL;
	char text[ADDR_STRLEN];

	if (s->lookup != NULL) {
		env.lookup = lookup;
		env.lookup_arg = &asker;
	}
	src->stale = false;
	if (policy_compile(&policy, src->rules, &env) != 0) {
		log_msg(LOG_LEVEL_ERROR, "source %s: blocked, no memory for its rules",
			addr_format(&src->addr, text));
		policy = NULL;
	}
	return enforce(s, src, policy) && policy != NULL;
}

/*
 * The counter that scripts and dom0 watch goes up after each commit that is in
 * force, a failed one too. It goes on from the value in QubesDB: our restart must
 * not look like an older commit.
 */
static void report_handled(struct source *src, struct qubesdb *db, const char *text)
{
	char path[QUBESDB_PATH_MAX + 1], value[24];
	const char *old;
	uint64_t before = src->handled;
	int n = snprintf(path, sizeof(path), "/qubes-firewall-handled/%s", text);

	if (n < 0 || (size_t)n >= sizeof(path))
		return;
	old = qubesdb_read(db, path, NULL);
	if (old != NULL && old[0] >= '0' && old[0] <= '9')
		before = strtoull(old, NULL, 10);
	src->handled = before + 1;
	n = snprintf(value, sizeof(value), "%" PRIu64, src->handled);
	if (qubesdb_write(db, path, value, (size_t)n) != 0)
		log_msg(LOG_LEVEL_WARNING, "%s: could not be written", path);
}

void sources_commit(struct sources *s, struct qubesdb *db, const char *text,
		    const struct qubesdb_pair *pairs, size_t n)
{
	struct rule_pair *rules = NULL;
	struct ruleset *parsed = NULL;
	struct source *src;
	struct addr addr;
	int err = -ENOMEM;

	if (addr_parse(text, strlen(text), &addr) != 0) {
		if (!s->bad_address_logged)
			log_msg(LOG_LEVEL_WARNING, "/qubes-firewall/%s: not an address, ignored",
				text);
		s->bad_address_logged = true;
		return;
	}
	src = find_or_add(s, &addr);
	if (src == NULL) {
		log_msg(LOG_LEVEL_ERROR, "source %s: blocked, more than %d sources", text,
			ENGINE_SOURCE_MAX);
		return;
	}
	src->committed_at = ++s->commits;
	rules = calloc(n + 1, sizeof(*rules));
	for (size_t i = 0; rules != NULL && i < n; i++)
		rules[i] = (struct rule_pair){pairs[i].key, pairs[i].value, pairs[i].value_len};
	if (rules != NULL)
		err = ruleset_parse(&parsed, addr.family, rules, n, &src->err);
	free(rules);
	src->fresh = s->rules_changed = true;
	src->refresh_ms = 0; /* the first answer to the new rules counts at once */
	if (err == 0) {
		src->other = src->state != SOURCE_ACTIVE || !ruleset_equal(src->rules, parsed);
		ruleset_free(&src->rules);
		src->rules = parsed;
		src->state = SOURCE_ACTIVE;
		if (compile(s, src))
			log_msg(LOG_LEVEL_INFO, "source %s: %zu rules in force", text,
				ruleset_count(src->rules));
	} else {
		if (err == -ENOMEM)
			src->err = (struct rule_error){.text = "no memory for its rules"};
		block_malformed(s, src);
		log_msg(LOG_LEVEL_WARNING, "source %s: blocked: %s%s%s", text, src->err.key,
			src->err.key[0] ? ": " : "", src->err.text);
	}
	if (db != NULL)
		report_handled(src, db, text);
}

void sources_gone(struct sources *s, const char *text)
{
	struct source *src;
	struct addr addr;

	if (addr_parse(text, strlen(text), &addr) != 0 || (src = find(s, &addr)) == NULL)
		return;
	log_msg(LOG_LEVEL_INFO, "source %s: no rules any more", text);
	if (src->attached == 0) {
		forget(s, src);
		return;
	}
	ruleset_free(&src->rules);
	src->fresh = s->rules_changed = true;
	src->stale = false; /* there is nothing left to compile */
	src->state = SOURCE_NONE;
	engine_source_forget(s->engine, &addr);
}

void sources_recompile(struct sources *s)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->list[i].state == SOURCE_ACTIVE)
			(void)compile(s, &s->list[i]); /* it has said why not */
}

/* --- names --------------------------------------------------------------------- */

void sources_set_lookup(struct sources *s,
			enum name_state (*fn)(void *arg, const struct addr *source,
					      const char *name, const struct addr **addrs,
					      size_t *count),
			void *arg)
{
	s->lookup = fn;
	s->lookup_arg = arg;
}

struct search {
	const char *name;
	bool found;
};

static void search_name(void *arg, const char *name)
{
	size_t len = strlen(name);
	struct search *search = arg;

	/* one dot may end a name in a rule; the name means the same */
	if (len > 0 && name[len - 1] == '.')
		len--;
	if (strncmp(name, search->name, len) == 0 && search->name[len] == '\0')
		search->found = true;
}

void sources_name_changed(struct sources *s, uint8_t family, const char *name)
{
	for (size_t i = 0; i < s->count; i++) {
		struct source *src = &s->list[i];
		struct search search = {.name = name};

		if (src->state != SOURCE_ACTIVE || src->addr.family != family || src->stale)
			continue;
		ruleset_names(src->rules, search_name, &search);
		src->stale = search.found;
	}
}

/* The one that has waited longest, or will be the first. */
static struct source *next_stale(struct sources *s)
{
	struct source *next = NULL;

	for (size_t i = 0; i < s->count; i++)
		if (s->list[i].stale &&
		    (next == NULL || s->list[i].refresh_ms < next->refresh_ms))
			next = &s->list[i];
	return next;
}

uint64_t sources_refresh(struct sources *s, uint64_t now_ms)
{
	struct source *src = next_stale(s);

	if (src != NULL && src->refresh_ms <= now_ms) {
		src->refresh_ms = now_ms + SOURCES_REFRESH_MS;
		src->fresh = true;
		(void)compile(s, src); /* it has said why not */
		src = next_stale(s);
	}
	return src != NULL ? src->refresh_ms : UINT64_MAX;
}

bool sources_take_rules_changed(struct sources *s)
{
	bool changed = s->rules_changed;

	s->rules_changed = false;
	return changed;
}

void sources_each_rules(struct sources *s,
			bool (*fn)(void *arg, const struct addr *addr,
				   const struct ruleset *rules, bool fresh),
			void *arg)
{
	for (size_t i = 0; i < s->count; i++)
		if (fn(arg, &s->list[i].addr, s->list[i].rules, s->list[i].fresh))
			s->list[i].fresh = false;
}

void sources_attach(struct sources *s, const struct addr *addr)
{
	struct source *src = find_or_add(s, addr);

	if (src != NULL)
		src->attached++;
}

void sources_detach(struct sources *s, const struct addr *addr)
{
	struct source *src = find(s, addr);

	if (src == NULL || src->attached == 0 || --src->attached > 0)
		return;
	forget(s, src);
}

void sources_each(const struct sources *s,
		  void (*fn)(void *arg, const struct source_view *view), void *arg)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct source *src = &s->list[i];
		struct source_view v = {
			.addr = src->addr,
			.state = src->state,
			.rules = src->rules != NULL ? ruleset_count(src->rules) : 0,
			.handled = src->handled,
			.err = src->state == SOURCE_MALFORMED ? &src->err : NULL,
			.attached = src->attached,
			.ruleset = src->state == SOURCE_ACTIVE ? src->rules : NULL,
			.options = settings_options(s->settings, &src->addr),
			.stale = src->stale,
			.wildcards = settings_wildcards(s->settings, &src->addr),
		};

		fn(arg, &v);
	}
}

void sources_print(const struct sources *s, void (*line)(void *arg, const char *text), void *arg)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct source *src = &s->list[i];
		struct engine_source_info info;
		char addr[ADDR_STRLEN], head[ADDR_STRLEN + 16];

		snprintf(head, sizeof(head), "source %s", addr_format(&src->addr, addr));
		line(arg, head);
		if (engine_source_info(s->engine, &src->addr, &info) && info.policy != NULL)
			policy_print(info.policy, line, arg);
	}
}

unsigned int sources_malformed(const struct sources *s)
{
	unsigned int n = 0;

	for (size_t i = 0; i < s->count; i++)
		n += s->list[i].state == SOURCE_MALFORMED;
	return n;
}
