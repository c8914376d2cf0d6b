/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Start, run, stop. One thread: sleep in the loop, do control work in its
 * callbacks, then turn packets over until there are none.
 */
#include "firewall/daemon.h"

#include "firewall/agent.h"
#include "firewall/control.h"
#include "firewall/log.h"
#include "firewall/packet_log.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TICK_ACTIVE_MS	100  /* flows age this often while there is traffic */
#define TICK_IDLE_MS	1000
#define TURNS_PER_ROUND 64   /* then control work gets a look in, even under load */
#define WAITING_LOG_MS	3000 /* without rules for so long: say why */
#define WAITING_POLL_MS 5    /* a receiver without feature-rx-notify gives no event */

/* --- QubesDB ------------------------------------------------------------- */

static void on_synced(void *arg)
{
	struct daemon *d = arg;

	d->synced = true;
	if (d->resolver != NULL)
		resolver_export(d->resolver);
}

static void on_commit(void *arg, const char *source, const struct qubesdb_pair *pairs, size_t n)
{
	struct daemon *d = arg;

	/* with -n nothing comes into force, so nothing is reported as handled */
	sources_commit(d->sources, d->options->check_only ? NULL : d->db, source, pairs, n);
}

static void on_gone(void *arg, const char *source)
{
	struct daemon *d = arg;

	sources_gone(d->sources, source);
}

static void on_changed(void *arg, const char *path)
{
	struct daemon *d = arg;

	/* what we write ourselves comes back through here; it configures nothing */
	if (path == NULL || (strncmp(path, "/qubes-firewall-handled/", 24) != 0 &&
			     strncmp(path, "/dns/", 5) != 0))
		d->reconfigure = true;
}

static void on_lost(void *arg, const char *reason)
{
	struct daemon *d = arg;
	char text[256];

	snprintf(text, sizeof(text), "QubesDB: connection lost: %s; policies stay in force",
		 reason);
	log_peer(d->now_ms, LOG_LEVEL_WARNING, text);
}

static void on_log(void *arg, int level, const char *text)
{
	struct daemon *d = arg;

	log_peer(d->now_ms, level, text);
}

static const struct qubesdb_events db_events = {
	.synced = on_synced,
	.commit = on_commit,
	.gone = on_gone,
	.changed = on_changed,
	.lost = on_lost,
	.log = on_log,
};

static void process_db(void *arg, uint64_t now_ms)
{
	struct daemon *d = arg;

	d->now_ms = now_ms;
	d->db_watch.deadline_ms = qubesdb_process(d->db, now_ms);
	if (d->reconfigure) {
		d->reconfigure = false;
		daemon_configure(d);
	}
	if (d->resolver != NULL)
		resolver_touch(d->resolver); /* for commits among the events */
	/* the client may have closed and opened a descriptor of the same number */
	d->db_watch.fd = qubesdb_fd(d->db);
	d->db_watch.want_write = qubesdb_want_write(d->db);
	if (d->db_watch.slot >= 0)
		loop_update(d->loop, &d->db_watch);
}

/* --- Xen ------------------------------------------------------------------- */

static void process_store(void *arg, uint64_t now_ms)
{
	struct daemon *d = arg;

	d->now_ms = now_ms;
	d->store_watch.deadline_ms = netback_poll_store(d->netback, now_ms);
	d->stop |= netback_moved(d->netback); /* and a supervisor starts it again */
}

static void process_events(void *arg, uint64_t now_ms)
{
	struct daemon *d = arg;

	(void)now_ms;
	netback_poll_events(d->netback);
}

static int start_xen(struct daemon *d)
{
	struct netback_config config = {.event = daemon_port_event, .log = on_log, .arg = d};
	char err[200];
	int rc;

	if (!d->options->use_xen)
		return 0;
	rc = xen_real_open(&d->xen, err, sizeof(err));
	if (rc != 0)
		log_msg(LOG_LEVEL_ERROR, "%s", err);
	return rc != 0 ? rc : netback_new(&d->netback, d->xen, &config);
}

/* --- signals ----------------------------------------------------------------- */

static void process_signal(void *arg, uint64_t now_ms)
{
	struct daemon *d = arg;
	struct signalfd_siginfo si;

	(void)now_ms;
	while (read(d->signal_watch.fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo == SIGHUP)
			d->reload = true;
		else
			d->stop = true;
	}
}

static int start_signals(struct daemon *d)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	d->signal_watch = (struct loop_watch){.fd = fd, .deadline_ms = UINT64_MAX,
					      .ready = process_signal, .arg = d};
	return loop_add(d->loop, &d->signal_watch);
}

/* --- start ------------------------------------------------------------------- */

/* What failed has said so, unless it was memory or the kernel. */
static int start_said(int err, const char *what)
{
	if (err != 0)
		log_msg(LOG_LEVEL_ERROR, "%s: %s", what, strerror(-err));
	return err;
}

static int start_engine(struct daemon *d)
{
	struct engine_config config = {
		.flow_max = 1024,
		.pass_ip_options = d->options->pass_ip_options,
		.no_mss_clamp = d->options->no_mss_clamp,
		.no_inbound_refresh = d->options->no_inbound_refresh,
	};
	int err;

	memcpy(config.timeout_s, d->options->timeout_s, sizeof(config.timeout_s));
	memcpy(config.frag_timeout_s, d->options->frag_timeout_s, sizeof(config.frag_timeout_s));
	while (config.flow_max < d->options->flows)
		config.flow_max *= 2;
	if (getrandom(config.hash_key, sizeof(config.hash_key), 0) !=
		    (ssize_t)sizeof(config.hash_key) ||
	    getrandom(config.rng_seed, sizeof(config.rng_seed), 0) !=
		    (ssize_t)sizeof(config.rng_seed))
		return -EIO;
	err = engine_new(&d->engine, &config);
	if (err == 0)
		err = sources_new(&d->sources, d->engine, &d->env, &d->settings);
	if (err == 0)
		err = copy_batch_new(&d->batch, d->xen);
	if (err == 0)
		err = forward_new(&d->forward, d->engine, d->batch);
	return err;
}

static int start_names(struct daemon *d)
{
	int err = names_new(&d->names);

	for (unsigned int i = 0; err == 0 && i < d->options->resolve_count; i++) {
		err = names_add(d->names, d->options->resolve[i]);
		if (err == -EINVAL)
			log_msg(LOG_LEVEL_ERROR, "--resolve: \"%s\" is not NAME=ADDR[,ADDR]...",
				d->options->resolve[i]);
	}
	d->env = (struct policy_env){.dns = d->dns, .lookup = names_lookup,
				     .lookup_arg = d->names};
	if (err != 0 || d->options->check_only)
		return err;
	return start_said(resolver_new(&d->resolver, d->names, d->options->self_device != NULL,
				       &d->options->name_times),
			  "names");
}

static int start_db(struct daemon *d)
{
	char err[256];
	int rc = qubesdb_new(&d->db, d->options->qubesdb, &db_events, d, err, sizeof(err));

	if (rc != 0) {
		log_msg(LOG_LEVEL_ERROR, "%s", err);
		return rc;
	}
	d->db_watch = (struct loop_watch){.fd = -1, .ready = process_db, .arg = d, .slot = -1};
	return 0;
}

static int add_watches(struct daemon *d)
{
	int err = loop_add(d->loop, &d->db_watch);

	process_db(d, loop_now_us() / 1000);
	if (err != 0 || d->netback == NULL)
		return err;
	d->store_watch = (struct loop_watch){.fd = netback_store_fd(d->netback),
					     .ready = process_store, .arg = d};
	d->event_watch = (struct loop_watch){.fd = netback_event_fd(d->netback),
					     .deadline_ms = UINT64_MAX,
					     .ready = process_events, .arg = d};
	err = loop_add(d->loop, &d->store_watch);
	return err != 0 ? err : loop_add(d->loop, &d->event_watch);
}

int daemon_start(struct daemon *d, const struct options *o)
{
	int err;

	memset(d, 0, sizeof(*d));
	d->options = o;
	d->uplink = PORT_NONE;
	d->now_ms = d->started_ms = loop_now_us() / 1000;
	log_set_level(o->log_level);
	if ((err = start_names(d)) != 0 || (err = start_db(d)) != 0)
		return err;
	if (!o->check_only && (err = start_xen(d)) != 0)
		return err;
	if ((err = start_said(start_engine(d), "engine")) != 0)
		return err;
	daemon_configure(d);
	if (o->check_only)
		return 0;
	if ((err = start_said(loop_new(&d->loop), "epoll")) != 0 ||
	    (err = start_said(start_signals(d), "signals")) != 0 ||
	    (err = start_said(resolver_start(d->resolver, d->loop, d->sources, d->db),
			      "names")) != 0 ||
	    (err = control_new(&d->control, d)) != 0 ||
	    (err = o->use_qrexec ? start_said(agent_new(&d->agent, d, NULL), "qrexec") : 0) != 0 ||
	    (err = start_said(add_watches(d), "event loop")) != 0)
		return err;
	return daemon_open_taps(d);
}

/* --- run ----------------------------------------------------------------------- */

/* sd_notify(3), protocol only: a datagram to the socket in the environment. */
static void notify_ready(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	size_t len;
	int fd;

	if (path == NULL || (path[0] != '/' && path[0] != '@'))
		return;
	len = strlen(path);
	if (len >= sizeof(sa.sun_path))
		return;
	memcpy(sa.sun_path, path, len);
	if (path[0] == '@')
		sa.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (sendto(fd, "READY=1", 7, MSG_NOSIGNAL, (struct sockaddr *)&sa,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		log_msg(LOG_LEVEL_WARNING, "NOTIFY_SOCKET: %s", strerror(errno));
	close(fd);
}

/*
 * After work, look at the rings for a while with their events still masked: a
 * peer that is about to send saves both sides an event and a wakeup.
 *
 * Return: whether frames turned up.
 */
static bool spin(struct daemon *d, uint64_t *now_us)
{
	uint64_t start_us = *now_us;

	if (d->netback == NULL)
		return false;
	while (*now_us - start_us < d->options->spin_us) {
		forward_poll(d->forward);
		if (forward_turn(d->forward, *now_us) > 0)
			return true;
		*now_us = loop_now_us();
	}
	return false;
}

/*
 * Packets until there are none; control work waits for at most TURNS_PER_ROUND
 * turns. The clock is read once a turn, but not to find that there is no second.
 *
 * Return: whether there may be more at once.
 */
static bool move_packets(struct daemon *d, uint64_t *now_us)
{
	bool moved = false;

	for (int i = 0; i < TURNS_PER_ROUND; i++) {
		if (i > 1)
			*now_us = loop_now_us();
		if (forward_turn(d->forward, *now_us) == 0 && (!moved || !spin(d, now_us)))
			return forward_arm(d->forward);
		moved = true;
	}
	return true;
}

int daemon_run(struct daemon *d)
{
	uint64_t now_us = loop_now_us(), next_tick = 0;
	bool more = false;

	while (!d->stop) {
		uint64_t until;
		uint32_t flows = engine_stats(d->engine)->flows_active;
		int n;

		if (now_us / 1000 >= next_tick) {
			forward_tick(d->forward, now_us);
			next_tick = now_us / 1000 + (flows > 0 ? TICK_ACTIVE_MS : TICK_IDLE_MS);
		}
		until = next_tick;
		if (forward_waiting(d->forward) && until > now_us / 1000 + WAITING_POLL_MS)
			until = now_us / 1000 + WAITING_POLL_MS;
		n = loop_run_once(d->loop, more ? 0 : until, &now_us);
		if (n < 0)
			return start_said(n, "epoll");
		d->wakeups += !more;
		d->now_ms = now_us / 1000;
		if (d->reload) {
			d->reload = false;
			log_msg(LOG_LEVEL_INFO, "SIGHUP: reading everything again");
			qubesdb_refresh(d->db);
			process_db(d, d->now_ms);
			sources_recompile(d->sources);
			resolver_wake(d->resolver, false);
		}
		if (!d->synced && !d->waiting && d->now_ms - d->started_ms >= WAITING_LOG_MS) {
			d->waiting = true;
			log_msg(LOG_LEVEL_WARNING,
				"QubesDB: still not there: %s; all clients are blocked",
				qubesdb_reason(d->db));
		}
		if (d->synced && !d->ready) {
			d->ready = true;
			log_msg(LOG_LEVEL_INFO, "ready");
			notify_ready();
			agent_open(d->agent);
		}
		more = move_packets(d, &now_us);
		packet_log_drain(d->engine, d->now_ms);
		/* a port that broke in this turn is closed in the next round */
		if (d->netback != NULL && netback_deadline(d->netback) < d->store_watch.deadline_ms)
			d->store_watch.deadline_ms = netback_deadline(d->netback);
	}
	log_msg(LOG_LEVEL_INFO, "stopping");
	return d->netback != NULL && netback_moved(d->netback) ? -ESTALE : 0;
}

static void print_line(void *arg, const char *text)
{
	(void)arg;
	puts(text);
}

int daemon_check(struct daemon *d)
{
	uint64_t start_ms = loop_now_us() / 1000, now_ms = start_ms;

	while (!d->synced && now_ms - start_ms < 5000) {
		process_db(d, now_ms);
		if (!d->synced)
			usleep(1000);
		now_ms = loop_now_us() / 1000;
	}
	if (!d->synced) {
		log_msg(LOG_LEVEL_ERROR, "QubesDB: %s", qubesdb_reason(d->db));
		return -ETIMEDOUT;
	}
	sources_print(d->sources, print_line, NULL);
	return sources_malformed(d->sources) > 0 ? -EBADMSG : 0;
}

/*
 * Forwarding ends with the ports; rules stay in force until no packet can pass
 * any more.
 */
void daemon_stop(struct daemon *d)
{
	if (d->forward != NULL)
		daemon_close_taps(d);
	if (d->netback != NULL)
		netback_free(&d->netback);
	agent_free(&d->agent);
	control_free(&d->control);
	resolver_free(&d->resolver);
	qubesdb_free(&d->db);
	sources_free(&d->sources);
	forward_free(&d->forward);
	copy_batch_free(&d->batch);
	engine_free(&d->engine);
	names_free(&d->names);
	if (d->xen != NULL)
		xen_close(&d->xen);
	if (d->signal_watch.fd > 0)
		close(d->signal_watch.fd);
	loop_free(&d->loop);
}
