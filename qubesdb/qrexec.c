// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * dom0's connection, and who has which slot.
 *
 *	OFF --open()--> LISTEN --dom0 connects--> GREET --both HELLOs--> UP
 *	                  ^                         |                    |
 *	                  +---- closed, or a message that makes no sense -+
 *
 *	OFF     there is no server: rules are not in force
 *	LISTEN  there is one, or the next try to make it has its time
 *	GREET   our HELLO goes out first, then dom0's is awaited, until a deadline
 *	UP      dom0: EXEC_CMDLINE, JUST_EXEC, SERVICE_CONNECT, SERVICE_REFUSED;
 *	        ours: CONNECTION_TERMINATED, TRIGGER_SERVICE3
 *
 * When dom0's daemon goes, data connections go on: they are not its. What it would
 * have been told of them, its successor must not hear: the port may be in use again.
 * So each session knows the link it came over.
 *
 * For each port that dom0 named it hears CONNECTION_TERMINATED exactly once, or the
 * port would be lost to it. There is a place for each in a list, and without a free
 * place nothing more is read from dom0, which cannot name a port then.
 *
 * Our own call: the keys below /features-request/ are written, and once dom0 has
 * them all, TRIGGER_SERVICE3 asks for qubes.FeaturesRequest; dom0 answers with
 * SERVICE_CONNECT or SERVICE_REFUSED. Once for each start of the qube: the keys live
 * as long as dom0's tree does, so finding them means that it was done.
 */
#include "qubesdb/qrexec.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qubesdb/qrexec_session.h"

#define MESSAGES_PER_CALL 32
#define OWED_MAX	  32
#define BACKOFF_MIN_MS	  100
#define BACKOFF_MAX_MS	  5000
#define FEATURES_POLL_MS  100	/* until dom0 has the keys */
#define FEATURES_MS	  60000 /* for dom0 to make up its mind */
#define FEATURES_TRIES	  3	/* when the link breaks on the way */
#define DOMID_MAX	  0x7fef
#define CALL_SLOT	  QREXEC_SESSIONS

static_assert(OWED_MAX > QREXEC_SESSIONS + 1, "what runs can end");

enum link_state { OFF, LISTEN, GREET, UP };

enum features { NOT_ASKED, WRITTEN, ASKED, CALLED, DONE };

struct port {
	uint32_t domain, port;
};

struct qrexec {
	struct qubesdb *db;
	struct qrexec_host host;
	struct qrexec_vchans vchans;

	enum link_state state;
	const struct qdb_vchan_ops *ops;
	void *v; /* the server; NULL: none was made yet */
	unsigned link, version, backoff_ms;
	bool hello_sent;
	uint64_t retry_ms, deadline_ms; /* of LISTEN; of GREET and of a message begun */
	struct qrexec_reader in;

	struct port owed[OWED_MAX];
	size_t owed_n;
	struct qrexec_session session[QREXEC_SESSIONS + 1]; /* the last: our own call */

	enum features features;
	const char *features_said;
	unsigned features_tries;
	uint64_t features_ms;
	struct qrexec_stats stats;
};

static const char features_ident[] = "ringfence-features";

static void __attribute__((format(printf, 3, 4)))
say(struct qrexec *q, int level, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	q->host.log(q->host.arg, level, text);
}

/* --- the link ---------------------------------------------------------------------------- */

static void features_link_lost(struct qrexec *q);

static void drop_server(struct qrexec *q)
{
	if (q->v)
		q->ops->free(q->v);
	q->v = NULL;
	q->link++;
	q->owed_n = 0;
	q->version = 0;
	q->hello_sent = false;
	q->state = LISTEN;
	qrexec_next(&q->in);
}

/* @wary: for what was said, which would be said again: wait in full before a try */
static void link_lost(struct qrexec *q, uint64_t now_ms, const char *why, bool wary)
{
	say(q, wary ? QUBESDB_LOG_WARNING : QUBESDB_LOG_INFO, "qrexec: dom0's connection ended: %s",
	    why);
	drop_server(q);
	features_link_lost(q);
	q->retry_ms = wary ? now_ms + BACKOFF_MAX_MS : now_ms;
}

static void listen_failed(struct qrexec *q, uint64_t now_ms, int err)
{
	if (q->backoff_ms == BACKOFF_MIN_MS)
		say(q, QUBESDB_LOG_WARNING, "qrexec: no vchan server: %s", strerror(-err));
	drop_server(q);
	q->retry_ms = now_ms + q->backoff_ms;
	q->backoff_ms = 2 * q->backoff_ms > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : 2 * q->backoff_ms;
}

static void listen_step(struct qrexec *q, uint64_t now_ms)
{
	int err = 0;

	if (now_ms < q->retry_ms)
		return;
	if (!q->v)
		err = q->vchans.listen(q->vchans.arg, &q->ops, &q->v, 0, QREXEC_PORT);
	if (err == 0)
		err = q->ops->connect(q->v);
	if (err == 0) {
		q->state = GREET;
		q->backoff_ms = BACKOFF_MIN_MS;
		q->deadline_ms = now_ms + QREXEC_GREET_MS;
	} else if (err != -EAGAIN) {
		listen_failed(q, now_ms, err);
	}
}

/* Return: 1 sent, 0 no room for all of it yet, -EPIPE. */
static int send_whole(struct qrexec *q, const uint8_t *buf, size_t len)
{
	int room = q->ops->buffer_space(q->v);

	if (room < 0)
		return -EPIPE;
	if ((size_t)room < len)
		return 0;
	return q->ops->write(q->v, buf, len) == (int)len ? 1 : -EPIPE;
}

/* Return: 1 all of it is out, 0 no room for more yet, -EPIPE. */
static int send_owed(struct qrexec *q)
{
	uint8_t buf[QREXEC_OUT_MAX];

	while (q->owed_n) {
		int rc =
		    send_whole(q, buf, qrexec_terminated(buf, q->owed[0].domain, q->owed[0].port));

		if (rc <= 0)
			return rc;
		memmove(q->owed, q->owed + 1, --q->owed_n * sizeof(q->owed[0]));
	}
	return 1;
}

static int flush(struct qrexec *q)
{
	uint8_t buf[QREXEC_OUT_MAX];
	int rc;

	if (!q->hello_sent) {
		rc = send_whole(q, buf, qrexec_hello(buf));
		if (rc <= 0)
			return rc;
		q->hello_sent = true;
	}
	return q->state == UP ? send_owed(q) : 0;
}

/* --- sessions ------------------------------------------------------------------------------ */

static void owe(struct qrexec *q, uint32_t domain, uint32_t port)
{
	assert(q->owed_n < OWED_MAX);
	q->owed[q->owed_n++] = (struct port){domain, port};
}

static bool used(const struct qrexec_session *s)
{
	return s->state != QREXEC_FREE;
}

/* Return: a free slot that @domain may have, or NULL. */
static struct qrexec_session *slot_for(struct qrexec *q, uint32_t domain)
{
	struct qrexec_session *free_slot = NULL;
	unsigned qubes = 0, same = 0;

	for (struct qrexec_session *s = q->session; s < q->session + QREXEC_SESSIONS; s++) {
		if (!used(s) && !free_slot)
			free_slot = s;
		qubes += used(s) && s->domain != 0;
		same += used(s) && s->domain == domain;
	}
	if (domain && (qubes >= QREXEC_SESSIONS_QUBES || same >= QREXEC_SESSIONS_QUBE))
		return NULL;
	return free_slot;
}

/* A domain and a port that a vchan may have. */
static bool is_place(uint32_t domain, uint32_t port)
{
	return domain <= DOMID_MAX && port > 0 && port <= INT32_MAX;
}

static void exec(struct qrexec *q, uint32_t domain, uint32_t port, uint64_t now_ms)
{
	size_t len = qrexec_kept(&q->in) - QREXEC_PARAMS;
	char text[QREXEC_CMDLINE_KEEP];
	const struct qdb_vchan_ops *ops;
	struct qrexec_command c;
	const char *why = NULL;
	struct qrexec_session *s;
	void *v;
	int err;

	memcpy(text, q->in.body + QREXEC_PARAMS, len);
	if (q->in.got > sizeof(q->in.body))
		text[len - 1] = '\0'; /* what is cut off is refused for it below */
	err = qrexec_command(&c, text, len, &why);
	if (q->in.got > sizeof(q->in.body))
		why = "a command line too long";
	else if (err == 0)
		why = NULL;
	s = is_place(domain, port) ? slot_for(q, domain) : NULL;
	err = s ? q->vchans.dial(q->vchans.arg, &ops, &v, (int)domain, (int)port) : -EBUSY;
	if (err < 0) {
		q->stats.busy++;
		say(q, QUBESDB_LOG_WARNING, "qrexec: %.*s from %.*s: no room for it",
		    QREXEC_SERVICE_SHOW, c.service, QREXEC_SERVICE_SHOW, c.source);
		owe(q, domain, port);
		return;
	}
	s->domain = domain;
	s->port = port;
	s->link = q->link;
	qrexec_session_serve(s, ops, v, &q->host, now_ms);
	s->only_status = q->in.type == QREXEC_JUST_EXEC;
	qrexec_session_command(s, &c, why);
	if (s->service)
		return;
	say(q, QUBESDB_LOG_INFO, "qrexec: %.*s from %.*s: refused: %s", QREXEC_SERVICE_SHOW,
	    c.service, QREXEC_SERVICE_SHOW, c.source, why ? why : "no such service");
}

static void session_ended(struct qrexec *q, struct qrexec_session *s)
{
	if (s->call)
		return;
	if (s->why) {
		q->stats.failed++;
		say(q, QUBESDB_LOG_INFO, "qrexec: a call from domain %u broke off: %s", s->domain,
		    s->why);
	} else if (s->reply.status == QREXEC_STATUS_NO_SUCH) {
		q->stats.refused++;
	} else {
		q->stats.served++;
	}
}

static void features_ended(struct qrexec *q, const struct qrexec_session *s);

/* Whoever ended gives its slot back, as soon as dom0's list has a place. */
static void reap(struct qrexec *q)
{
	for (struct qrexec_session *s = q->session; s <= q->session + CALL_SLOT; s++) {
		bool tell = s->link == q->link && q->state == UP;

		if (s->state != QREXEC_END || (tell && q->owed_n == OWED_MAX))
			continue;
		session_ended(q, s);
		if (s->call)
			features_ended(q, s);
		if (tell)
			owe(q, s->domain, s->port);
		s->state = QREXEC_FREE;
	}
}

/* --- our features ---------------------------------------------------------------------------- */

static const struct {
	const char *path, *value;
} feature_keys[] = {
    /* the first one says whether it was done; so it is written last */
    {"/features-request/qubes-firewall", "1"},
    {"/features-request/supported-feature.ipv6", "1"},
    {"/features-request/supported-feature.net.fake-ip", "1"},
};

#define FEATURE_KEYS (sizeof(feature_keys) / sizeof(feature_keys[0]))

static void features_done(struct qrexec *q, int level, const char *said)
{
	q->features = DONE;
	q->features_said = said;
	say(q, level, "qrexec: qubes.FeaturesRequest: %s", said);
}

static void features_link_lost(struct qrexec *q)
{
	if (q->features != ASKED)
		return;
	q->features = WRITTEN;
	if (++q->features_tries >= FEATURES_TRIES)
		features_done(q, QUBESDB_LOG_WARNING, "dom0's connection ended each time");
}

static void features_ended(struct qrexec *q, const struct qrexec_session *s)
{
	if (s->why)
		features_done(q, QUBESDB_LOG_WARNING, s->why);
	else if (s->reply.status != 0)
		features_done(q, QUBESDB_LOG_WARNING, "dom0's service failed");
	else
		features_done(q, QUBESDB_LOG_INFO, "done");
}

static void features_write(struct qrexec *q)
{
	if (qubesdb_read(q->db, feature_keys[0].path, NULL)) {
		features_done(q, QUBESDB_LOG_INFO, "was done since this qube started");
		return;
	}
	for (size_t i = FEATURE_KEYS; i-- > 0;)
		if (qubesdb_write(q->db, feature_keys[i].path, feature_keys[i].value,
				  strlen(feature_keys[i].value)) < 0) {
			features_done(q, QUBESDB_LOG_WARNING, "the keys could not be written");
			return;
		}
	q->features = WRITTEN;
}

static int features_ask(struct qrexec *q, uint64_t now_ms)
{
	uint8_t buf[QREXEC_OUT_MAX];
	int rc;

	if (q->version < 3) {
		features_done(q, QUBESDB_LOG_WARNING, "dom0 speaks a version without it");
		return 0;
	}
	rc = send_whole(q, buf,
			qrexec_trigger(buf, "dom0", features_ident, "qubes.FeaturesRequest"));
	if (rc > 0) {
		q->features = ASKED;
		q->features_ms = now_ms + FEATURES_MS;
	}
	return rc;
}

/* Return: 0 or -EPIPE; @next_ms receives when to look again. */
static int features_step(struct qrexec *q, uint64_t now_ms, uint64_t *next_ms)
{
	int rc = 0;

	*next_ms = UINT64_MAX;
	if (q->features == NOT_ASKED && q->state == UP)
		features_write(q);
	if (q->features == WRITTEN && q->state == UP) {
		if (qubesdb_told(q->db))
			rc = features_ask(q, now_ms);
		if (q->features == WRITTEN)
			*next_ms = now_ms + FEATURES_POLL_MS;
	}
	if (q->features == ASKED) {
		*next_ms = q->features_ms;
		if (now_ms >= q->features_ms)
			features_done(q, QUBESDB_LOG_WARNING, "no answer from dom0");
	}
	return rc < 0 ? rc : 0;
}

static bool is_ours(const uint8_t *ident, size_t len)
{
	size_t n = strlen(features_ident);

	return len > n && memcmp(ident, features_ident, n) == 0 && ident[n] == '\0';
}

static void service_connect(struct qrexec *q, uint32_t domain, uint32_t port, uint64_t now_ms)
{
	struct qrexec_session *s = &q->session[CALL_SLOT];
	const uint8_t *ident = q->in.body + QREXEC_PARAMS;
	const struct qdb_vchan_ops *ops;
	void *v;

	if (q->features != ASKED || used(s) || !is_place(domain, port) ||
	    !is_ours(ident, qrexec_kept(&q->in) - QREXEC_PARAMS)) {
		say(q, QUBESDB_LOG_WARNING, "qrexec: dom0 accepts a call that was not made");
		owe(q, domain, port);
		return;
	}
	if (q->vchans.listen(q->vchans.arg, &ops, &v, (int)domain, (int)port) < 0) {
		features_done(q, QUBESDB_LOG_WARNING, "out of memory");
		owe(q, domain, port);
		return;
	}
	q->features = CALLED;
	s->domain = domain;
	s->port = port;
	s->link = q->link;
	qrexec_session_call(s, ops, v, now_ms);
}

static void service_refused(struct qrexec *q)
{
	if (q->features == ASKED && is_ours(q->in.body, QREXEC_IDENT))
		features_done(q, QUBESDB_LOG_WARNING, "dom0 refused it");
}

/* --- dom0's messages ------------------------------------------------------------------------- */

static bool legal(const void *arg, uint32_t type, uint32_t len)
{
	const struct qrexec *q = arg;

	if (q->state == GREET)
		return type == QREXEC_HELLO && len == 4;
	switch (type) {
	case QREXEC_EXEC_CMDLINE:
	case QREXEC_JUST_EXEC:
	case QREXEC_SERVICE_CONNECT:
		return len > QREXEC_PARAMS && len <= QREXEC_PARAMS + QREXEC_CMDLINE_MAX;
	case QREXEC_SERVICE_REFUSED:
		return len == QREXEC_IDENT;
	default:
		return false;
	}
}

/* Return: 0 or -EPROTO. */
static int message(struct qrexec *q, uint64_t now_ms)
{
	uint32_t domain = qrexec_get32(q->in.body), port = qrexec_get32(q->in.body + 4);

	switch (q->in.type) {
	case QREXEC_HELLO:
		q->version = qrexec_version(qrexec_get32(q->in.body));
		if (!q->version)
			return -EPROTO;
		q->state = UP;
		return 0;
	case QREXEC_EXEC_CMDLINE:
	case QREXEC_JUST_EXEC:
		exec(q, domain, port, now_ms);
		return 0;
	case QREXEC_SERVICE_CONNECT:
		service_connect(q, domain, port, now_ms);
		return 0;
	case QREXEC_SERVICE_REFUSED:
		service_refused(q);
		return 0;
	default:
		return -EPROTO;
	}
}

/* Return: 1 when the budget ended first, 0 nothing more is there or may be read, -errno. */
static int drain(struct qrexec *q, uint64_t now_ms)
{
	for (int i = 0; i < MESSAGES_PER_CALL; i++) {
		bool begun = q->in.head_len > 0;
		int rc;

		/* Each message may need a place in the list. */
		if (q->owed_n == OWED_MAX)
			return 0;
		rc = qrexec_take(&q->in, q->ops, q->v, legal, q);
		if (rc == 0 && !begun && q->in.head_len > 0 && q->state == UP)
			q->deadline_ms = now_ms + QREXEC_MESSAGE_MS;
		if (rc <= 0)
			return rc;
		rc = message(q, now_ms);
		if (rc < 0)
			return rc;
		qrexec_next(&q->in);
	}
	return 1;
}

/* Return: 1 more to do at once, 0 wait, -errno over. */
static int link_step(struct qrexec *q, uint64_t now_ms)
{
	int open = q->ops->is_open(q->v), more, rc;

	if (open < 0)
		return -EPROTO;
	rc = flush(q);
	if (rc < 0)
		return rc;
	more = drain(q, now_ms);
	if (more < 0)
		return more;
	if ((q->state == GREET || q->in.head_len > 0) && now_ms >= q->deadline_ms)
		return -ETIMEDOUT;
	rc = flush(q);
	if (rc < 0)
		return rc;
	return open == 0 && !more ? -EPIPE : more;
}

/* --- the whole ----------------------------------------------------------------------------------
 */

static const char *link_reason(int err)
{
	switch (err) {
	case -EPROTO:
		return "a message that makes no sense";
	case -ETIMEDOUT:
		return "a message that does not end";
	default:
		return "closed";
	}
}

static uint64_t soonest(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* When the link wants to be looked at, if nothing happens. */
static uint64_t link_deadline(const struct qrexec *q)
{
	switch (q->state) {
	case OFF:
		return UINT64_MAX;
	case LISTEN:
		return q->v ? UINT64_MAX : q->retry_ms;
	case GREET:
		return q->deadline_ms;
	case UP:
		return q->in.head_len > 0 ? q->deadline_ms : UINT64_MAX;
	}
	return UINT64_MAX;
}

/* Return: whether there is more to do at once. */
static bool link_work(struct qrexec *q, uint64_t now_ms)
{
	int rc;

	if (q->v)
		q->ops->clear_event(q->v);
	if (q->state == LISTEN)
		listen_step(q, now_ms);
	if (q->state != GREET && q->state != UP)
		return false;
	rc = link_step(q, now_ms);
	if (rc >= 0)
		return rc > 0;
	link_lost(q, now_ms, link_reason(rc), rc != -EPIPE);
	return !q->v; /* make the next server, unless it has to wait */
}

uint64_t qrexec_process(struct qrexec *q, uint64_t now_ms)
{
	uint64_t next_ms, features_ms;
	bool more = link_work(q, now_ms);

	if (features_step(q, now_ms, &features_ms) < 0)
		link_lost(q, now_ms, link_reason(-EPIPE), false);
	next_ms = features_ms;
	for (size_t i = 0; i <= CALL_SLOT; i++)
		next_ms = soonest(next_ms, qrexec_session_step(&q->session[i], now_ms));
	reap(q);
	if (q->state == UP && send_owed(q) < 0)
		link_lost(q, now_ms, link_reason(-EPIPE), false);
	next_ms = soonest(next_ms, link_deadline(q));
	return more && q->retry_ms <= now_ms ? now_ms : next_ms;
}

void qrexec_open(struct qrexec *q)
{
	if (q->state == OFF)
		q->state = LISTEN;
}

int qrexec_fd(const struct qrexec *q, unsigned i)
{
	if (i < CALL_SLOT + 1)
		return qrexec_session_fd(&q->session[i]);
	return q->v ? q->ops->fd(q->v) : -1;
}

struct qrexec_stats qrexec_stats(const struct qrexec *q)
{
	static const char *const states[] = {
	    [OFF] = "off", [LISTEN] = "waiting", [GREET] = "greeting", [UP] = "connected"};
	struct qrexec_stats st = q->stats;

	st.state = states[q->state];
	st.version = q->version;
	st.features = q->features_said;
	for (size_t i = 0; i < QREXEC_SESSIONS; i++)
		st.sessions += used(&q->session[i]);
	return st;
}

static int real_listen(void *arg, const struct qdb_vchan_ops **ops, void **v, int domid, int port)
{
	(void)arg;
	return qdb_vchan_listen(ops, v, domid, port);
}

static int real_dial(void *arg, const struct qdb_vchan_ops **ops, void **v, int domid, int port)
{
	(void)arg;
	return qdb_vchan_dial(ops, v, domid, port);
}

int qrexec_new(struct qrexec **out, struct qubesdb *db, const struct qrexec_host *host,
	       const struct qrexec_vchans *vchans)
{
	static const struct qrexec_vchans real = {.listen = real_listen, .dial = real_dial};
	struct qrexec *q = calloc(1, sizeof(*q));

	if (!q)
		return -ENOMEM;
	q->db = db;
	q->host = *host;
	q->vchans = vchans ? *vchans : real;
	q->backoff_ms = BACKOFF_MIN_MS;
	q->features_said = "not asked yet";
	*out = q;
	return 0;
}

void qrexec_free(struct qrexec **out)
{
	struct qrexec *q = *out;

	if (!q)
		return;
	for (size_t i = 0; i <= CALL_SLOT; i++)
		if (used(&q->session[i]))
			qrexec_session_end(&q->session[i], NULL);
	if (q->v)
		q->ops->free(q->v);
	free(q);
	*out = NULL;
}
