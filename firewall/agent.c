/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/agent.h"

#include "firewall/control.h"
#include "firewall/daemon.h"
#include "firewall/log.h"

#include <errno.h>
#include <stdlib.h>

/* A watch for each descriptor that it may have, and one more for its deadline. */
struct agent {
	struct daemon *d;
	struct qrexec *q;
	struct loop_watch watch[QREXEC_FDS], clock;
};

static char *on_ask(void *arg, char *request, bool *error)
{
	struct agent *a = arg;

	return control_answer(a->d, request, error);
}

static void on_log(void *arg, int level, const char *text)
{
	struct agent *a = arg;

	log_peer(a->d->now_ms, level, text);
}

static void follow(struct agent *a, unsigned int i, int fd)
{
	struct loop_watch *w = &a->watch[i];

	w->fd = fd;
	if (w->fd >= 0 || w->polled_fd >= 0)
		loop_update(a->d->loop, w);
}

static void process(void *arg, uint64_t now_ms)
{
	struct agent *a = arg;

	a->d->now_ms = now_ms;
	a->clock.deadline_ms = qrexec_process(a->q, now_ms);
	/* A number that was closed may be another one's by now: all leave before any comes. */
	for (unsigned int i = 0; i < QREXEC_FDS; i++)
		follow(a, i, -1);
	for (unsigned int i = 0; i < QREXEC_FDS; i++)
		follow(a, i, qrexec_fd(a->q, i));
}

int agent_new(struct agent **out, struct daemon *d, const struct qrexec_vchans *vchans)
{
	struct qrexec_host host = {.ask = on_ask, .log = on_log};
	struct agent *a = calloc(1, sizeof(*a));
	int err;

	if (a == NULL)
		return -ENOMEM;
	host.arg = a;
	a->d = d;
	err = qrexec_new(&a->q, d->db, &host, vchans);
	if (err != 0) {
		free(a);
		return err;
	}
	a->clock =
	    (struct loop_watch){.fd = -1, .deadline_ms = UINT64_MAX, .ready = process, .arg = a};
	err = loop_add(d->loop, &a->clock);
	for (unsigned int i = 0; i < QREXEC_FDS; i++) {
		a->watch[i] = a->clock;
		if (err == 0)
			err = loop_add(d->loop, &a->watch[i]);
	}
	*out = a;
	return err;
}

void agent_free(struct agent **out)
{
	struct agent *a = *out;

	if (a == NULL)
		return;
	loop_remove(a->d->loop, &a->clock);
	for (unsigned int i = 0; i < QREXEC_FDS; i++)
		loop_remove(a->d->loop, &a->watch[i]);
	qrexec_free(&a->q);
	free(a);
	*out = NULL;
}

void agent_open(struct agent *a)
{
	if (a == NULL)
		return;
	qrexec_open(a->q);
	process(a, a->d->now_ms);
}

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)n);
}

json_t *agent_json(const struct agent *a)
{
	struct qrexec_stats st;

	if (a == NULL)
		return json_null();
	st = qrexec_stats(a->q);
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "state", st.state, "version",
			 number(st.version), "sessions", number(st.sessions), "served",
			 number(st.served), "refused", number(st.refused), "failed",
			 number(st.failed), "busy", number(st.busy), "features", st.features);
}
