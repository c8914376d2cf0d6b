// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Which source a path belongs to, and what was committed for it last.
 *
 * Sources are matched by component, never by prefix: 10.137.0.1 is not
 * 10.137.0.10 (qubesdb.md 5, rule 7). After a resync a plan lists every source
 * that is in the fresh tree or was committed before, and is then worked off a
 * few at a time, so that hundreds of clients do not stop the packets.
 *
 * A source that was committed before and stands otherwise in the fresh tree, or
 * not at all, is held: dom0 may have committed while we did not listen, but it
 * may as well be between its RM and its commit. Nothing in the tree tells these
 * apart; what comes next does. A key below the base key, written or removed,
 * means that an update is under way, and its commit will come (touched). When
 * nothing comes for a while, what stands is the commit that we missed (settled).
 */
#include "qubesdb/commit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOT_LEN (sizeof(QDB_RULES_ROOT) - 1)

struct snapshot {
	struct qdb_source_name name;
	struct qdb_entry **entries; /* in key order; referenced */
	size_t n;
	bool held; /* the tree has something else since the last resync */
};

struct qdb_commits {
	struct snapshot *list; /* by name */
	size_t n, cap, held;
	struct qdb_source_name *plan;
	size_t plan_n, plan_cap, plan_at;
	struct qdb_pair_list pairs;
	size_t pairs_cap;
};

enum qdb_where qdb_where(const char *path, struct qdb_source_name *source)
{
	const char *name, *slash;
	size_t n;

	source->text[0] = '\0';
	if (strncmp(path, QDB_RULES_ROOT, ROOT_LEN) != 0)
		return QDB_OUTSIDE;
	name = path + ROOT_LEN;
	slash = strchr(name, '/');
	n = slash ? (size_t)(slash - name) : strlen(name);
	if (n == 0 || n >= sizeof(source->text))
		return QDB_BELOW;
	memcpy(source->text, name, n);
	source->text[n] = '\0';
	return slash ? QDB_BELOW : QDB_BASE;
}

/* The name of everything below a base key: root, source and a slash. */
static void subtree_name(char out[2 * (QUBESDB_PATH_MAX + 1)], const char *source)
{
	snprintf(out, 2 * (QUBESDB_PATH_MAX + 1), QDB_RULES_ROOT "%s/", source);
}

int qdb_commits_new(struct qdb_commits **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

static void snapshot_drop(struct snapshot *s)
{
	for (size_t i = 0; i < s->n; i++)
		qdb_entry_drop(s->entries[i]);
	free(s->entries);
	s->entries = NULL;
	s->n = 0;
}

void qdb_commits_free(struct qdb_commits **c)
{
	if (!*c)
		return;
	for (size_t i = 0; i < (*c)->n; i++)
		snapshot_drop(&(*c)->list[i]);
	free((*c)->list);
	free((*c)->plan);
	free((*c)->pairs.pairs);
	free(*c);
	*c = NULL;
}

static size_t position(const struct qdb_commits *c, const char *source)
{
	size_t lo = 0, hi = c->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(c->list[mid].name.text, source) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct snapshot *lookup(struct qdb_commits *c, const char *source)
{
	size_t i = position(c, source);

	return i < c->n && strcmp(c->list[i].name.text, source) == 0 ? &c->list[i] : NULL;
}

static struct snapshot *add(struct qdb_commits *c, const char *source)
{
	size_t i = position(c, source), n = strlen(source);
	struct snapshot *list;

	if (n >= sizeof(list->name.text))
		return NULL;
	if (c->n == c->cap) {
		size_t cap = c->cap ? 2 * c->cap : 32;

		list = realloc(c->list, cap * sizeof(*list));
		if (!list)
			return NULL;
		c->list = list;
		c->cap = cap;
	}
	memmove(c->list + i + 1, c->list + i, (c->n - i) * sizeof(*c->list));
	memset(&c->list[i], 0, sizeof(c->list[i]));
	memcpy(c->list[i].name.text, source, n + 1);
	c->n++;
	return &c->list[i];
}

static int snapshot_make(struct snapshot *out, const struct qdb_store *tree, const char *source)
{
	char prefix[2 * (QUBESDB_PATH_MAX + 1)];
	const struct qdb_node *first, *n;
	size_t count = 0;

	subtree_name(prefix, source);
	first = qdb_store_seek(tree, prefix);
	for (n = first; n && qdb_path_covers(prefix, qdb_entry_path(n->entry)); n = n->next[0])
		count++;
	out->entries = malloc((count ? count : 1) * sizeof(struct qdb_entry *));
	if (!out->entries)
		return -ENOMEM;
	out->n = count;
	n = first;
	for (size_t i = 0; i < count; i++, n = n->next[0])
		out->entries[i] = qdb_entry_hold(n->entry);
	return 0;
}

static bool snapshot_same(const struct snapshot *a, const struct snapshot *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!qdb_entry_same(a->entries[i], b->entries[i]))
			return false;
	return true;
}

static void hold(struct qdb_commits *c, struct snapshot *s, bool held)
{
	if (held && !s->held)
		c->held++;
	else if (!held && s->held)
		c->held--;
	s->held = held;
}

int qdb_commits_take(struct qdb_commits *c, const struct qdb_store *tree, const char *source,
		     bool *changed)
{
	struct snapshot *s = lookup(c, source), now;
	bool is_new = s == NULL;

	if (snapshot_make(&now, tree, source) < 0)
		return -ENOMEM;
	if (is_new)
		s = add(c, source);
	if (!s) {
		snapshot_drop(&now);
		return -ENOMEM;
	}
	*changed = is_new || !snapshot_same(s, &now);
	snapshot_drop(s);
	s->entries = now.entries;
	s->n = now.n;
	hold(c, s, false);
	return 0;
}

bool qdb_commits_forget(struct qdb_commits *c, const char *source)
{
	struct snapshot *s = lookup(c, source);
	size_t i;

	if (!s)
		return false;
	i = (size_t)(s - c->list);
	hold(c, s, false);
	snapshot_drop(s);
	c->n--;
	memmove(c->list + i, c->list + i + 1, (c->n - i) * sizeof(*c->list));
	return true;
}

const struct qdb_pair_list *qdb_commits_pairs(struct qdb_commits *c, const char *source)
{
	const struct snapshot *s = lookup(c, source);
	char prefix[2 * (QUBESDB_PATH_MAX + 1)];
	size_t skip;

	if (!s)
		return NULL;
	if (s->n > c->pairs_cap || !c->pairs.pairs) {
		struct qubesdb_pair *p = realloc(c->pairs.pairs, (s->n + 1) * sizeof(*p));

		if (!p)
			return NULL;
		c->pairs.pairs = p;
		c->pairs_cap = s->n;
	}
	subtree_name(prefix, source);
	skip = strlen(prefix);
	for (size_t i = 0; i < s->n; i++)
		c->pairs.pairs[i] = (struct qubesdb_pair){
			.key = qdb_entry_path(s->entries[i]) + skip,
			.value = qdb_entry_value(s->entries[i]),
			.value_len = s->entries[i]->value_len,
		};
	c->pairs.n = s->n;
	return &c->pairs;
}

/* --- the plan -------------------------------------------------------------- */

static int plan_add(struct qdb_commits *c, const struct qdb_source_name *name)
{
	/* Keys of one source are neighbours but for odd names; the rest is sorted out. */
	if (c->plan_n && strcmp(c->plan[c->plan_n - 1].text, name->text) == 0)
		return 0;
	if (c->plan_n == c->plan_cap) {
		size_t cap = c->plan_cap ? 2 * c->plan_cap : 64;
		struct qdb_source_name *p = realloc(c->plan, cap * sizeof(*p));

		if (!p)
			return -ENOMEM;
		c->plan = p;
		c->plan_cap = cap;
	}
	c->plan[c->plan_n++] = *name;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const struct qdb_source_name *x = a, *y = b;

	return strcmp(x->text, y->text);
}

int qdb_commits_plan(struct qdb_commits *c, const struct qdb_store *tree, bool loose)
{
	struct qdb_source_name name;
	size_t unique = 0;
	int err = 0;

	c->plan_n = c->plan_at = 0;
	for (size_t i = 0; i < c->n && err == 0; i++) {
		hold(c, &c->list[i], false); /* until this tree, too, says otherwise */
		err = plan_add(c, &c->list[i].name);
	}
	for (const struct qdb_node *n = qdb_store_seek(tree, QDB_RULES_ROOT);
	     n && err == 0 && qdb_path_covers(QDB_RULES_ROOT, qdb_entry_path(n->entry));
	     n = n->next[0]) {
		enum qdb_where where = qdb_where(qdb_entry_path(n->entry), &name);

		if (name.text[0] && (where == QDB_BASE || loose))
			err = plan_add(c, &name);
	}
	if (err < 0) {
		c->plan_n = 0;
		return err;
	}
	if (c->plan_n)
		qsort(c->plan, c->plan_n, sizeof(*c->plan), by_name);
	for (size_t i = 0; i < c->plan_n; i++)
		if (!unique || strcmp(c->plan[unique - 1].text, c->plan[i].text) != 0)
			c->plan[unique++] = c->plan[i];
	c->plan_n = unique;
	return 0;
}

static bool is_committed(const struct qdb_store *tree, const char *source, bool loose)
{
	char name[2 * (QUBESDB_PATH_MAX + 1)];

	subtree_name(name, source);
	if (loose && qdb_store_has(tree, name))
		return true;
	name[strlen(name) - 1] = '\0';
	return qdb_store_get(tree, name) != NULL;
}

/* What stands in the tree counts. */
static enum qdb_step judge(struct qdb_commits *c, const struct qdb_store *tree, bool loose,
			   const char *source)
{
	bool changed = false;

	if (!is_committed(tree, source, loose))
		return qdb_commits_forget(c, source) ? QDB_STEP_GONE : QDB_STEP_SAME;
	if (qdb_commits_take(c, tree, source, &changed) < 0)
		return QDB_STEP_NOMEM;
	return changed ? QDB_STEP_COMMIT : QDB_STEP_SAME;
}

/* Return: 1 the tree has the same as the snapshot, 0 it has not, -ENOMEM. */
static int stands(const struct snapshot *s, const struct qdb_store *tree)
{
	struct snapshot now;
	bool same;

	if (!is_committed(tree, s->name.text, false))
		return 0;
	if (snapshot_make(&now, tree, s->name.text) < 0)
		return -ENOMEM;
	same = snapshot_same(s, &now);
	snapshot_drop(&now);
	return same;
}

enum qdb_step qdb_commits_step(struct qdb_commits *c, const struct qdb_store *tree, bool loose,
			       struct qdb_source_name *source)
{
	struct snapshot *s;
	int same;

	if (c->plan_at >= c->plan_n) {
		free(c->plan);
		c->plan = NULL;
		c->plan_n = c->plan_cap = c->plan_at = 0;
		return QDB_STEP_DONE;
	}
	*source = c->plan[c->plan_at++];
	s = loose ? NULL : lookup(c, source->text);
	same = s ? stands(s, tree) : 1;
	if (same < 0)
		return QDB_STEP_NOMEM;
	if (same == 0) {
		hold(c, s, true);
		return QDB_STEP_SAME;
	}
	return judge(c, tree, loose, source->text);
}

/* --- what is held ------------------------------------------------------------ */

bool qdb_commits_held(const struct qdb_commits *c)
{
	return c->held > 0;
}

void qdb_commits_touch(struct qdb_commits *c, const char *source)
{
	struct snapshot *s = source[0] ? lookup(c, source) : NULL;

	if (s)
		hold(c, s, false);
	for (size_t i = 0; !source[0] && i < c->n; i++)
		hold(c, &c->list[i], false);
}

void qdb_commits_stand(struct qdb_commits *c)
{
	c->plan_n = c->plan_at = 0;
	qdb_commits_touch(c, "");
}

enum qdb_step qdb_commits_settle(struct qdb_commits *c, const struct qdb_store *tree,
				 struct qdb_source_name *source)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->list[i].held) {
			*source = c->list[i].name;
			return judge(c, tree, false, source->text);
		}
	return QDB_STEP_DONE;
}
