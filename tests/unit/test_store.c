// SPDX-License-Identifier: GPL-2.0-or-later
/* The tree: order, subtrees, bounds, and a random stream against a flat model. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "qubesdb/store.h"
#include "tests/unit/check.h"

static size_t walk_ok(const struct qdb_store *s)
{
	const char *last = "";
	size_t n = 0;

	for (const struct qdb_node *p = qdb_store_seek(s, ""); p; p = p->next[0]) {
		CHECK(strcmp(last, qdb_entry_path(p->entry)) < 0);
		last = qdb_entry_path(p->entry);
		n++;
	}
	CHECK_INT(n, qdb_store_count(s));
	return n;
}

static const char *value_of(const struct qdb_store *s, const char *path)
{
	const struct qdb_entry *e = qdb_store_get(s, path);

	return e ? qdb_entry_value(e) : "(none)";
}

static void test_basics(void)
{
	struct qdb_store *s = NULL, *copy = NULL;

	test_case("insert, replace, get");
	CHECK_INT(qdb_store_new(&s), 0);
	CHECK_INT(qdb_store_set(s, "/b", "2", 1), 0);
	CHECK_INT(qdb_store_set(s, "/a", "1", 1), 0);
	CHECK_INT(qdb_store_set(s, "/b", "three", 5), 0);
	CHECK_STR(value_of(s, "/a"), "1");
	CHECK_STR(value_of(s, "/b"), "three");
	CHECK_STR(value_of(s, "/c"), "(none)");
	CHECK_INT(walk_ok(s), 2);

	test_case("a value may hold any byte");
	CHECK_INT(qdb_store_set(s, "/z", "a\0b", 3), 0);
	CHECK_INT(qdb_store_get(s, "/z")->value_len, 3);
	CHECK(memcmp(qdb_entry_value(qdb_store_get(s, "/z")), "a\0b", 4) == 0);

	test_case("a clone shares entries and nothing else");
	CHECK_INT(qdb_store_clone(&copy, s), 0);
	CHECK(qdb_store_get(copy, "/b") == qdb_store_get(s, "/b"));
	CHECK_INT(qdb_store_rm(s, "/b"), 1);
	CHECK_STR(value_of(copy, "/b"), "three");
	CHECK_STR(value_of(s, "/b"), "(none)");
	CHECK_INT(qdb_store_bytes(copy) > qdb_store_bytes(s), 1);
	qdb_store_free(&copy);
	CHECK(copy == NULL);
	qdb_store_free(&s);
}

static void test_names(void)
{
	static const struct {
		const char *name;
		size_t removed;
		const char *left[6];
	} cases[] = {
		{ "/f/10.1", 1,
		  { "/f/10.1.x", "/f/10.1/0", "/f/10.1/1", "/f/10.10", "/f/10.10/0" } },
		{ "/f/10.1/", 2, { "/f/10.1", "/f/10.1.x", "/f/10.10", "/f/10.10/0" } },
		{ "/f/10.1/0", 1,
		  { "/f/10.1", "/f/10.1.x", "/f/10.1/1", "/f/10.10", "/f/10.10/0" } },
		{ "/f/", 6, { NULL } },
		{ "/", 6, { NULL } },
		{ "/f", 0,
		  { "/f/10.1", "/f/10.1.x", "/f/10.1/0", "/f/10.1/1", "/f/10.10", "/f/10.10/0" } },
		{ "/f/10.10/", 1,
		  { "/f/10.1", "/f/10.1.x", "/f/10.1/0", "/f/10.1/1", "/f/10.10" } },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct qdb_store *s = NULL;
		size_t left = 0;

		test_case(cases[i].name);
		CHECK_INT(qdb_store_new(&s), 0);
		qdb_store_set(s, "/f/10.10/0", "", 0);
		qdb_store_set(s, "/f/10.1/1", "", 0);
		qdb_store_set(s, "/f/10.1/0", "", 0);
		qdb_store_set(s, "/f/10.10", "", 0);
		qdb_store_set(s, "/f/10.1.x", "", 0);
		qdb_store_set(s, "/f/10.1", "", 0);
		CHECK_INT(qdb_store_has(s, cases[i].name), cases[i].removed > 0);
		CHECK_INT(qdb_store_rm(s, cases[i].name), cases[i].removed);
		CHECK(!qdb_store_has(s, cases[i].name));
		for (; left < 6 && cases[i].left[left]; left++)
			CHECK_STR(value_of(s, cases[i].left[left]), "");
		CHECK_INT(walk_ok(s), left);
		qdb_store_free(&s);
	}
}

static void test_bounds(void)
{
	static char big[3071];
	struct qdb_store *s = NULL;
	char path[64];
	size_t n = 0;
	int err = 0;

	test_case("the number of keys is bounded");
	CHECK_INT(qdb_store_new(&s), 0);
	for (; err == 0; n += err == 0) {
		snprintf(path, sizeof(path), "/k/%zu", n);
		err = qdb_store_set(s, path, "", 0);
	}
	CHECK_INT(err, -ENOSPC);
	CHECK_INT(n, QDB_STORE_KEYS_MAX);
	CHECK_INT(qdb_store_set(s, "/k/1", "replaced", 8), 0);
	CHECK_INT(qdb_store_rm(s, "/k/1"), 1);
	CHECK_INT(qdb_store_set(s, "/new", "", 0), 0);
	qdb_store_free(&s);

	test_case("the bytes are bounded");
	CHECK_INT(qdb_store_new(&s), 0);
	for (n = 0, err = 0; err == 0; n += err == 0) {
		snprintf(path, sizeof(path), "/k/%zu", n);
		err = qdb_store_set(s, path, big, sizeof(big));
	}
	CHECK_INT(err, -ENOSPC);
	CHECK(qdb_store_bytes(s) <= QDB_STORE_BYTES_MAX);
	CHECK(n > QDB_STORE_BYTES_MAX / 4096);
	CHECK_INT(qdb_store_set(s, "/k/1", "", 0), 0);
	CHECK_INT(qdb_store_rm(s, "/"), n);
	CHECK_INT(qdb_store_bytes(s), 0);
	qdb_store_free(&s);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A sorted array would take minutes here under the sanitizers, not milliseconds. */
static void test_order(void)
{
	struct qdb_store *s = NULL;
	double start = seconds();
	char path[64];

	test_case("60000 keys in reverse order");
	CHECK_INT(qdb_store_new(&s), 0);
	for (int i = 60000; i-- > 0;) {
		snprintf(path, sizeof(path), "/qubes-firewall/10.137.%d.%d/%04d", i / 10000,
			 i / 1000 % 10, i % 1000);
		if (qdb_store_set(s, path, "action=accept", 13) < 0)
			break;
	}
	CHECK_INT(walk_ok(s), 60000);
	CHECK_INT(qdb_store_rm(s, "/qubes-firewall/10.137.3.4/"), 1000);
	CHECK_INT(walk_ok(s), 59000);
	CHECK(seconds() - start < 5);
	qdb_store_free(&s);
}

/* The model: at most 64 names of three letters, present or not, with a number. */
static void name_of(unsigned i, char out[16])
{
	static const char *const parts[] = { "a", "b", "a.b", "ab" };
	size_t n = (size_t)snprintf(out, 16, "/%s", parts[i & 3]);

	if (i & 16)
		n += (size_t)snprintf(out + n, 16 - n, "/%s", parts[i >> 2 & 3]);
	if (i & 32)
		snprintf(out + n, 16 - n, "/x");
}

static void test_random(void)
{
	struct qdb_store *s = NULL;
	int model[64]; /* -1: not there; several i may share a name: see canon */
	unsigned canon[64], seed = 1;
	char a[16], b[16];

	test_case("a random stream against a model");
	for (unsigned i = 0; i < 64; i++) {
		model[i] = -1;
		name_of(i, a);
		for (canon[i] = 0;; canon[i]++) {
			name_of(canon[i], b);
			if (strcmp(a, b) == 0)
				break;
		}
	}
	CHECK_INT(qdb_store_new(&s), 0);
	for (int step = 0; step < 20000; step++) {
		unsigned i, removed = 0;

		seed = seed * 1103515245 + 12345;
		i = canon[seed >> 16 & 63];
		name_of(i, a);
		if (seed >> 24 & 3) {
			model[i] = step;
			snprintf(b, sizeof(b), "%d", step);
			CHECK_INT(qdb_store_set(s, a, b, strlen(b)), 0);
		} else {
			if (seed >> 26 & 1)
				snprintf(a + strlen(a), sizeof(a) - strlen(a), "/");
			for (unsigned k = 0; k < 64; k++) {
				name_of(k, b);
				if (model[k] < 0 || !qdb_path_covers(a, b))
					continue;
				model[k] = -1;
				removed++;
			}
			CHECK_INT(qdb_store_rm(s, a), removed);
		}
		for (unsigned k = 0; k < 64 && step % 16 == 0; k++) {
			char want[16] = "(none)";

			name_of(k, b);
			if (model[canon[k]] >= 0)
				snprintf(want, sizeof(want), "%d", model[canon[k]]);
			CHECK_STR(value_of(s, b), want);
		}
	}
	walk_ok(s);
	qdb_store_free(&s);
}

int main(void)
{
	test_basics();
	test_names();
	test_bounds();
	test_order();
	test_random();
	return test_end();
}
