/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The committed subtrees, one snapshot for each source.
 *
 * Between dom0's RM and its write of the base key the raw tree is inconsistent
 * by design; what is in force is the snapshot of the last commit. The snapshot
 * holds entries by reference, so it costs memory of its own only while it
 * differs from the tree.
 */
#ifndef QUBESDB_COMMIT_H
#define QUBESDB_COMMIT_H

#include "qubesdb/qubesdb.h"
#include "qubesdb/store.h"

#define QDB_RULES_ROOT "/qubes-firewall/"

/** Where a path lies. */
enum qdb_where {
	QDB_OUTSIDE, /* not below /qubes-firewall/ */
	QDB_BASE,    /* the base key of a source: a WRITE of it commits */
	QDB_BELOW,   /* below a base key, or a name that takes in sources */
};

struct qdb_source_name {
	char text[QUBESDB_PATH_MAX + 1];
};

/**
 * qdb_where() - which source a path belongs to, by component
 * @source:	its name; empty when the path names more than one (RM of
 *		/qubes-firewall/) or none
 */
enum qdb_where qdb_where(const char *path, struct qdb_source_name *source);

struct qdb_commits;

int qdb_commits_new(struct qdb_commits **out);
void qdb_commits_free(struct qdb_commits **c);

/**
 * qdb_commits_take() - what stands below a base key now is committed
 * @changed:	receives whether it differs from the last commit
 *
 * Return: 0 or -ENOMEM (the last commit stands).
 */
int qdb_commits_take(struct qdb_commits *c, const struct qdb_store *tree, const char *source,
		     bool *changed);

/** qdb_commits_forget() - Return: whether it had been committed */
bool qdb_commits_forget(struct qdb_commits *c, const char *source);

/**
 * qdb_commits_pairs() - the last committed subtree
 *
 * Return: its pairs, valid until the next call with @c; NULL when the source is
 * not committed or there is no memory.
 */
const struct qdb_pair_list *qdb_commits_pairs(struct qdb_commits *c, const char *source);

struct qdb_pair_list {
	struct qubesdb_pair *pairs;
	size_t n;
};

/**
 * qdb_commits_plan() - collect the sources of a fresh tree and the committed ones
 * @loose:	a source counts as committed without its base key, too (file:)
 *
 * Return: 0 or -ENOMEM (no plan then).
 */
int qdb_commits_plan(struct qdb_commits *c, const struct qdb_store *tree, bool loose);

/** What a step of the plan found. */
enum qdb_step { QDB_STEP_DONE, QDB_STEP_SAME, QDB_STEP_COMMIT, QDB_STEP_GONE, QDB_STEP_NOMEM };

/**
 * qdb_commits_step() - the next source of the plan
 *
 * One that was committed before and stands otherwise now is held, and the same
 * as before for the time being; not if @loose, where a tree is always whole.
 */
enum qdb_step qdb_commits_step(struct qdb_commits *c, const struct qdb_store *tree, bool loose,
			       struct qdb_source_name *source);

/** qdb_commits_held() - whether any source is held */
bool qdb_commits_held(const struct qdb_commits *c);

/** qdb_commits_touch() - an update of a source ("": of any) is under way: not held */
void qdb_commits_touch(struct qdb_commits *c, const char *source);

/** qdb_commits_stand() - nothing is planned or held: the last commits stand */
void qdb_commits_stand(struct qdb_commits *c);

/** qdb_commits_settle() - the next source that is held: what stands is committed */
enum qdb_step qdb_commits_settle(struct qdb_commits *c, const struct qdb_store *tree,
				 struct qdb_source_name *source);

#endif
