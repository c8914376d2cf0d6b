/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/name_export.h"

#include "firewall/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int compare_addrs(const void *a, const void *b)
{
	const struct addr *x = a, *y = b;

	return memcmp(x->bytes, y->bytes, sizeof(x->bytes));
}

size_t name_export_text(char out[NAME_EXPORT_TEXT_MAX], uint8_t family, const struct addr *addrs,
			size_t count)
{
	struct addr sorted[NAME_SET_MAX];
	size_t n = 0, len = 0;
	char text[ADDR_STRLEN];

	for (size_t i = 0; i < count && n < NAME_SET_MAX; i++)
		if (addrs[i].family == family)
			sorted[n++] = addrs[i];
	if (n == 0)
		return (size_t)snprintf(out, NAME_EXPORT_TEXT_MAX, "set()");
	qsort(sorted, n, sizeof(sorted[0]), compare_addrs);
	for (size_t i = 0; i < n; i++) {
		size_t before = len;

		if (i > 0 && addr_equal(&sorted[i - 1], &sorted[i]))
			continue;
		len += (size_t)snprintf(out + len, NAME_EXPORT_TEXT_MAX - len, "%s'%s/%d'",
					len == 0 ? "{" : ", ", addr_format(&sorted[i], text),
					family == 4 ? 32 : 128);
		if (len + 1 > QUBESDB_VALUE_MAX) {
			len = before;
			break;
		}
	}
	out[len++] = '}';
	out[len] = '\0';
	return len;
}

struct walk {
	struct name_export *x;
	const struct addr *source;
	const char *prefix;
	size_t wanted, there; /* entries that are wanted; all entries */
	int err;
};

/* The path of a name's entry; false when QubesDB cannot hold it. */
static bool path_of(struct walk *w, const char *name, char path[QUBESDB_PATH_MAX + 1])
{
	int n = snprintf(path, QUBESDB_PATH_MAX + 1, "%s%s", w->prefix, name);

	return n > 0 && n <= QUBESDB_PATH_MAX;
}

static bool resolves(struct walk *w, const char *name, const struct addr **addrs, size_t *count)
{
	return w->x->lookup(w->x->arg, w->source, name, addrs, count) != NAME_UNRESOLVED;
}

static void count_wanted(void *arg, const char *name)
{
	char path[QUBESDB_PATH_MAX + 1];
	struct walk *w = arg;
	const struct addr *addrs;
	size_t count;

	if (path_of(w, name, path) && resolves(w, name, &addrs, &count) &&
	    qubesdb_read(w->x->db, path, NULL) != NULL)
		w->wanted++;
}

static void count_there(void *arg, const char *path, const char *value, size_t len)
{
	struct walk *w = arg;

	(void)path, (void)value, (void)len;
	w->there++;
}

static void write_name(void *arg, const char *name)
{
	char path[QUBESDB_PATH_MAX + 1], text[NAME_EXPORT_TEXT_MAX];
	const struct addr *addrs;
	struct walk *w = arg;
	const char *old;
	size_t count, len, old_len;
	int err;

	if (w->err != 0 || !resolves(w, name, &addrs, &count))
		return;
	if (!path_of(w, name, path)) {
		if (!w->x->too_long_logged)
			log_msg(LOG_LEVEL_WARNING,
				"%s%.64s: longer than QubesDB allows, not written there; the rule "
				"works",
				w->prefix, name);
		w->x->too_long_logged = true;
		return;
	}
	len = name_export_text(text, w->source->family, addrs, count);
	old = qubesdb_read(w->x->db, path, &old_len);
	if (old != NULL && old_len == len && memcmp(old, text, len) == 0)
		return;
	err = qubesdb_write(w->x->db, path, text, len);
	if (err == -ENOBUFS)
		w->err = err;
	else if (err != 0)
		log_msg(LOG_LEVEL_WARNING, "%s: could not be written", path);
}

int name_export_source(struct name_export *x, const struct addr *source,
		       const struct ruleset *rules)
{
	char prefix[ADDR_STRLEN + 8], text[ADDR_STRLEN];
	struct walk w = {.x = x, .source = source, .prefix = prefix};

	snprintf(prefix, sizeof(prefix), "/dns/%s/", addr_format(source, text));
	qubesdb_list(x->db, prefix, count_there, &w);
	if (rules != NULL)
		ruleset_names(rules, count_wanted, &w);
	/* qubesdb_rm() only of what is there: dom0's daemon dies of anything else */
	if (w.there > w.wanted && qubesdb_rm(x->db, prefix) == -ENOBUFS)
		return -ENOBUFS;
	if (rules != NULL)
		ruleset_names(rules, write_name, &w);
	return w.err;
}
