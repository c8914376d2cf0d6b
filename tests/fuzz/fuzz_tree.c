// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A whole tree, from dom0's daemon to the engine: keys are written and removed, bases
 * are committed, vifs come and go, the daemon restarts while its tree changes.
 *
 * After every step each source has in force what a fresh compilation of its last
 * commit gives, so nothing acts on a tree that is half written, no source's bad text
 * touches another one, and a resync changes nothing that is the same. In the end the
 * copy is dom0's tree, and each source what dom0 committed.
 */
#include "firewall/engine.h"
#include "firewall/sources.h"
#include "qubesdb/source.h"
#include "tests/fake/vchan.h"
#include "tests/fuzz/input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One is the beginning of another, and one is written in two ways (qubesdb.md 5). */
static const char *const sources[] = {"10.137.0.1", "10.137.0.10",  "fd09::1",
				      "fd09:0::1",  "10.137.0.010", "rules"};
#define SOURCES (sizeof(sources) / sizeof(sources[0]))

static const char *const below[] = {"policy", "0000",  "0001", "0002",
				    "9999",   "10000", "x",    "0000/1"};
#define BELOW (sizeof(below) / sizeof(below[0]))

static const char *const outside[] = {
    "/qubes-ip",
    "/qubes-netvm-primary-dns",
    "/qubes-primary-dns",
    "/connected-ips",
    "/connected-ips6",
    "/mapped-ip/10.137.0.1/visible-ip",
    "/mapped-ip/10.137.0.1/visible-gateway",
    "/vm-config/ringfence-eim",
    "/vm-config/ringfence-dns-learn",
    "/vm-config/ringfence-quiet",
    "/vm-config/ringfence-flows",
    "/vm-config/ringfence-log-level",
    "/vm-config/ringfence-wildcard-10.137.0.1",
};
#define OUTSIDE (sizeof(outside) / sizeof(outside[0]))

static const char *const values[] = {
    "drop",
    "accept",
    "action=accept",
    "action=drop dst4=10.0.0.0/8",
    "action=accept proto=tcp dstports=80-443",
    "action=accept dsthost=www.example.com",
    "action=drop dsthost=example.org",
    "action=accept specialtarget=dns",
    "action=accept dst6=2001:db8::/32",
    "action=accept proto=icmp icmptype=8",
    "10.137.0.1",
    "10.137.0.1 10.137.0.10 fd09::1",
    "10.137.0.1=100",
    "all",
    "debug",
    "",
};
#define VALUES (sizeof(values) / sizeof(values[0]))

/* What was committed for an address, as it came. */
struct shadow {
	struct addr addr;
	bool committed, malformed;
	struct policy *policy;
};

struct world {
	struct fake_vchan v;
	struct fake_dom0 dom0;
	struct qubesdb *db;
	struct engine *engine;
	struct sources *sources;
	struct settings settings;
	struct policy_env env;
	struct shadow shadow[SOURCES];
	unsigned int attached[SOURCES];
	uint64_t now;
	unsigned int steps;
	bool reconfigure;
};

static enum name_state answer(void *arg, const char *name, const struct addr **addrs, size_t *count)
{
	static const struct addr table[2] = {{4, {192, 0, 2, 1}}, {6, {0x20, 1}}};

	(void)arg;
	if (strlen(name) % 2)
		return NAME_UNRESOLVED;
	*addrs = table;
	*count = 2;
	return strlen(name) % 8 == 0 ? NAME_PARTIAL : NAME_RESOLVED;
}

static struct shadow *shadow_of(struct world *w, const char *text)
{
	struct addr addr;

	if (addr_parse(text, strlen(text), &addr) != 0)
		return NULL;
	for (size_t i = 0; i < SOURCES; i++) {
		if (w->shadow[i].addr.family == 0)
			w->shadow[i].addr = addr;
		if (addr_equal(&w->shadow[i].addr, &addr))
			return &w->shadow[i];
	}
	abort();
}

static void shadow_clear(struct shadow *s)
{
	policy_free(&s->policy);
	s->committed = false;
}

static struct policy *fresh_policy(const struct world *w, uint8_t family,
				   const struct qubesdb_pair *pairs, size_t n, bool *malformed)
{
	struct rule_pair *rules = calloc(n + 1, sizeof(*rules));
	struct ruleset *rs = NULL;
	struct policy *p = NULL;

	REQUIRE(rules);
	for (size_t i = 0; i < n; i++)
		rules[i] = (struct rule_pair){pairs[i].key, pairs[i].value, pairs[i].value_len};
	*malformed = ruleset_parse(&rs, family, rules, n, NULL) != 0;
	if (!*malformed)
		REQUIRE(policy_compile(&p, rs, &w->env) == 0);
	else
		REQUIRE(policy_malformed(&p) == 0);
	ruleset_free(&rs);
	free(rules);
	return p;
}

/* --- events, as the daemon takes them --------------------------------------------- */

static void on_commit(void *arg, const char *source, const struct qubesdb_pair *pairs, size_t n)
{
	struct world *w = arg;
	struct shadow *s = shadow_of(w, source);

	sources_commit(w->sources, w->db, source, pairs, n);
	if (!s)
		return;
	shadow_clear(s);
	s->committed = true;
	s->policy = fresh_policy(w, s->addr.family, pairs, n, &s->malformed);
}

static void on_gone(void *arg, const char *source)
{
	struct world *w = arg;
	struct shadow *s = shadow_of(w, source);

	sources_gone(w->sources, source);
	if (s)
		shadow_clear(s);
}

static void on_changed(void *arg, const char *path)
{
	struct world *w = arg;

	(void)path;
	w->reconfigure = true;
}

static const struct qubesdb_events events = {
    .commit = on_commit,
    .gone = on_gone,
    .changed = on_changed,
};

static void configure(struct world *w)
{
	struct addr gateway = {0};

	w->reconfigure = false;
	settings_read(&w->settings, w->db, w->now);
	REQUIRE(w->settings.connected_count <= ENGINE_CONNECTED_MAX);
	REQUIRE(w->settings.quota_count <= SETTINGS_SET_MAX);
	REQUIRE(w->settings.dns_count <= ENGINE_DNS_MAX);
	engine_set_dns(w->engine, w->settings.dns, w->settings.dns_count);
	REQUIRE(engine_set_connected(w->engine, w->settings.connected,
				     w->settings.connected_count) == 0);
	(void)settings_visible(w->db, &w->shadow[0].addr, &gateway);
	sources_apply_options(w->sources);
}

/* Until neither side has anything to do now. */
static void pump(struct world *w)
{
	for (int i = 0; i < 20000; i++) {
		bool moved = fake_dom0_run(&w->dom0);
		uint64_t deadline = qubesdb_process(w->db, w->now);

		REQUIRE(w->dom0.dead[0] == '\0');
		if (w->reconfigure)
			configure(w);
		if (!moved && deadline > w->now)
			return;
	}
	abort(); /* it does not come to rest */
}

/* --- what must hold ------------------------------------------------------------------ */

static void check_source(const struct world *w, const struct shadow *s)
{
	struct engine_source_info info = {0};

	if (!engine_source_info(w->engine, &s->addr, &info))
		info.policy = NULL;
	REQUIRE(s->committed == (info.policy != NULL));
	REQUIRE(!s->committed || policy_equal(info.policy, s->policy));
}

static void check_all(const struct world *w)
{
	unsigned int malformed = 0;

	for (size_t i = 0; i < SOURCES && w->shadow[i].addr.family; i++) {
		check_source(w, &w->shadow[i]);
		malformed += w->shadow[i].committed && w->shadow[i].malformed;
	}
	REQUIRE(sources_malformed(w->sources) == malformed);
	engine_check(w->engine);
}

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct qubesdb_pair *)a)->key, ((const struct qubesdb_pair *)b)->key);
}

/* What dom0 has below a base is what it commits. */
static void commit_and_compare(struct world *w, const char *source)
{
	struct shadow *s = shadow_of(w, source);
	struct engine_source_info info = {0};
	struct qubesdb_pair *pairs;
	struct policy *want;
	bool malformed;
	char base[64];
	size_t n = 0, len;

	snprintf(base, sizeof(base), "/qubes-firewall/%s", source);
	fake_dom0_write(&w->dom0, base, "");
	pump(w);
	if (!s)
		return;
	pairs = calloc(w->dom0.n + 1, sizeof(*pairs));
	REQUIRE(pairs);
	len = strlen(base);
	for (size_t i = 0; i < w->dom0.n; i++) {
		const struct fake_key *k = &w->dom0.keys[i];

		if (strncmp(k->path, base, len) == 0 && k->path[len] == '/')
			pairs[n++] = (struct qubesdb_pair){k->path + len + 1, k->value, k->len};
	}
	qsort(pairs, n, sizeof(*pairs), by_key);
	want = fresh_policy(w, s->addr.family, pairs, n, &malformed);
	REQUIRE(engine_source_info(w->engine, &s->addr, &info));
	REQUIRE(info.policy && policy_equal(info.policy, want));
	policy_free(&want);
	free(pairs);
}

/* dom0's daemon runs again. */
static void come_back(struct world *w)
{
	if (!w->v.dom0_open)
		fake_vchan_announce(&w->v);
}

static void check_end(struct world *w)
{
	size_t len;

	w->dom0.send_max = 0;
	come_back(w);
	pump(w); /* it may have to find out first that it lost the old one */
	for (int i = 0; i < 100 && qubesdb_state(w->db) != QUBESDB_READY; i++) {
		w->now += QDB_BACKOFF_MAX_MS;
		pump(w);
	}
	REQUIRE(qubesdb_state(w->db) == QUBESDB_READY);
	for (size_t i = 0; i < SOURCES; i++)
		commit_and_compare(w, sources[i]);
	check_all(w);
	REQUIRE(qdb_store_count(w->db->view) == w->dom0.n);
	for (size_t i = 0; i < w->dom0.n; i++) {
		const struct fake_key *k = &w->dom0.keys[i];
		const char *value = qubesdb_read(w->db, k->path, &len);

		REQUIRE(value && len == k->len && memcmp(value, k->value, len) == 0);
	}
}

/* --- steps ------------------------------------------------------------------------------ */

/* A base, something below one, or a key of another kind. */
static void read_path(struct input *in, char path[64])
{
	const char *source = sources[next(in) % SOURCES];
	unsigned int what = next(in) % 32;

	if (what < 16)
		snprintf(path, 64, "/qubes-firewall/%s/%s", source, below[what % BELOW]);
	else if (what == 16)
		snprintf(path, 64, "/qubes-firewall/%s", source);
	else if (what == 17)
		snprintf(path, 64, "/qubes-firewall-handled/%s", source);
	else
		snprintf(path, 64, "%s", outside[what % OUTSIDE]);
}

static size_t read_value(struct input *in, char value[QUBESDB_VALUE_MAX + 1])
{
	unsigned int what = next(in);
	size_t n = 0;

	if (what < 2 * VALUES)
		return (size_t)snprintf(value, 64, "%s", values[what % VALUES]);
	/* text of its own, or long */
	if (what == 255)
		n = QUBESDB_VALUE_MAX;
	memset(value, ' ', n);
	for (what = what % 64; what > 0 && in->n > 0 && n < QUBESDB_VALUE_MAX; what--) {
		value[n] = (char)next(in);
		if (value[n] == '\0')
			break;
		n++;
	}
	value[n] = '\0';
	return n;
}

static void attach(struct world *w, size_t i, bool there)
{
	struct addr addr;
	struct shadow *s = shadow_of(w, sources[i]);

	if (!s)
		return;
	addr = s->addr;
	i = (size_t)(s - w->shadow); /* two texts may be one address */
	if (there && w->attached[i] < 3) {
		sources_attach(w->sources, &addr);
		w->attached[i]++;
	} else if (!there && w->attached[i] > 0) {
		sources_detach(w->sources, &addr);
		if (--w->attached[i] == 0)
			shadow_clear(s); /* Q7 */
	}
}

static void restart(struct world *w, struct input *in)
{
	char path[64], value[QUBESDB_VALUE_MAX + 1];

	for (unsigned int n = next(in) % 8; n > 0; n--) {
		read_path(in, path);
		if (next(in) & 1)
			(void)fake_dom0_unset(&w->dom0, path);
		else
			fake_dom0_set(&w->dom0, path, value, read_value(in, value));
	}
	fake_dom0_restart(&w->dom0);
}

static void step(struct world *w, struct input *in)
{
	char path[64], value[QUBESDB_VALUE_MAX + 1];
	const struct shadow *s;

	switch (next(in) % 8) {
	case 0:
	case 1:
	case 2:
		read_path(in, path);
		(void)read_value(in, value);
		fake_dom0_write(&w->dom0, path, value);
		break;
	case 3:
		snprintf(path, sizeof(path), "/qubes-firewall/%s%s", sources[next(in) % SOURCES],
			 next(in) & 1 ? "/" : "");
		fake_dom0_rm(&w->dom0, path);
		break;
	case 4:
		read_path(in, path);
		fake_dom0_rm(&w->dom0, path);
		break;
	case 5:
		restart(w, in);
		break;
	case 6:
		attach(w, next(in) % SOURCES, next(in) & 1);
		break;
	case 7:
		w->now += 16u * next(in);
		w->dom0.send_max = next(in);
		come_back(w);
		break;
	}
	if (w->dom0.send_max == 0 || next(in) & 1)
		pump(w);
	/* one at a time, the engine looks them up one by one */
	s = &w->shadow[w->steps++ % SOURCES];
	if (s->addr.family)
		check_source(w, s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;
	struct engine_config config = {.flow_max = 64};
	struct input in = {data, size};

	memset(&w, 0, sizeof(w));
	w.env.lookup = answer;
	w.now = 1000;
	for (size_t i = 0; i < SOURCES; i++)
		(void)shadow_of(&w, sources[i]);
	fake_vchan_init(&w.v);
	fake_dom0_init(&w.dom0, &w.v);
	w.dom0.patient = true;
	/* Every qube's tree has it: a tree without a key is one that was lost. */
	fake_dom0_set(&w.dom0, "/name", "fw", 2);
	fake_vchan_announce(&w.v);
	REQUIRE(engine_new(&w.engine, &config) == 0);
	REQUIRE(sources_new(&w.sources, w.engine, &w.env, &w.settings) == 0);
	REQUIRE(qdb_base_new(&w.db, &events, &w) == 0);
	REQUIRE(qdb_client_new(w.db, &fake_vchan_ops, &w.v) == 0);
	pump(&w);
	while (in.n)
		step(&w, &in);
	check_end(&w);
	qubesdb_free(&w.db);
	sources_free(&w.sources);
	engine_free(&w.engine);
	for (size_t i = 0; i < SOURCES; i++)
		shadow_clear(&w.shadow[i]);
	fake_dom0_end(&w.dom0);
	fake_vchan_end(&w.v);
	return 0;
}
