/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qrexec agent in the daemon's loop: the right descriptors are polled, however
 * their numbers change hands. Its vchans are in memory, with a descriptor from
 * connect() to free(), as libxenvchan's.
 */
#include "check.h"
#include "firewall/agent.h"
#include "firewall/daemon.h"
#include "firewall/log.h"
#include "qubesdb/qrexec.h"
#include "qubesdb/qrexec_wire.h"
#include "qubesdb/source.h"
#include "tests/fake/vchan.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct fake_vchan dom0, callers[2];
static unsigned int called;
static struct qdb_vchan_ops ops;

static int op_connect(void *arg)
{
	struct fake_vchan *v = arg;

	if (v == &dom0 && v->event < 0)
		v->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->event < 0 && v->announced)
		v->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return fake_vchan_ops.connect(v);
}

static void op_free(void *arg)
{
	struct fake_vchan *v = arg;

	fake_vchan_ops.free(v);
	if (v->event >= 0)
		close(v->event);
	v->event = -1;
}

static int op_fd(const void *arg)
{
	const struct fake_vchan *v = arg;

	return v->event;
}

static bool op_clear(void *arg)
{
	struct fake_vchan *v = arg;

	return v->event >= 0 && fake_vchan_ops.clear_event(v);
}

static void fresh(struct fake_vchan *v)
{
	fake_vchan_init(v);
	close(v->event);
	v->event = -1;
}

static int test_listen(void *arg, const struct qdb_vchan_ops **o, void **v, int domid, int port)
{
	(void)arg;
	CHECK(domid == 0 && port == QREXEC_PORT);
	fresh(&dom0);
	*o = &ops;
	*v = &dom0;
	return 0;
}

static int test_dial(void *arg, const struct qdb_vchan_ops **o, void **v, int domid, int port)
{
	(void)arg;
	(void)domid;
	(void)port;
	fresh(&callers[called]);
	*o = &ops;
	*v = &callers[called++];
	return 0;
}

/* The loop, for so long in real time. */
static void run(struct daemon *d, unsigned int ms)
{
	uint64_t now_us = loop_now_us(), end_ms = now_us / 1000 + ms;

	while (now_us / 1000 < end_ms)
		CHECK(loop_run_once(d->loop, end_ms, &now_us) >= 0);
}

static void call(unsigned int port)
{
	static const char text[] = "u:QUBESRPC ringfence.Explain+x dom0";
	uint8_t m[64] = {0};
	size_t len = qrexec_header(m, QREXEC_EXEC_CMDLINE, 8 + sizeof(text));

	m[len + 4] = (uint8_t)port;
	memcpy(m + len + 8, text, sizeof(text));
	CHECK_INT(fake_vchan_send(&dom0, m, len + 8 + sizeof(text)), len + 8 + sizeof(text));
}

static void hello(struct fake_vchan *v)
{
	uint8_t m[QREXEC_OUT_MAX];
	size_t len = qrexec_hello(m);

	CHECK_INT(fake_vchan_send(v, m, len), len);
}

static void quiet(void *arg, int level, const char *text)
{
	(void)arg;
	(void)level;
	(void)text;
}

int main(void)
{
	static const struct qrexec_vchans vchans = {.listen = test_listen, .dial = test_dial};
	static const struct qubesdb_events events = {.log = quiet};
	static struct daemon d;
	char file[] = "/tmp/ringfence-agent-XXXXXX", spec[64], err[200];
	uint8_t out[8];
	json_t *j;
	int fd = mkstemp(file);

	test_case("agent_has_no_server_before_it_is_opened");
	log_set_level(LOG_LEVEL_ERROR);
	ops = fake_vchan_ops;
	ops.connect = op_connect;
	ops.free = op_free;
	ops.fd = op_fd;
	ops.clear_event = op_clear;
	snprintf(spec, sizeof(spec), "file:%s", file);
	CHECK_INT(qubesdb_new(&d.db, spec, &events, NULL, err, sizeof(err)), 0);
	CHECK_INT(loop_new(&d.loop), 0);
	CHECK_INT(agent_new(&d.agent, &d, &vchans), 0);
	run(&d, 20);
	j = agent_json(d.agent);
	CHECK_STR(json_string_value(json_object_get(j, "state")), "off");
	json_decref(j);

	test_case("agent_hears_dom0_and_a_caller");
	d.now_ms = loop_now_us() / 1000;
	agent_open(d.agent);
	fake_vchan_announce(&dom0);
	run(&d, 20);
	hello(&dom0);
	run(&d, 20);
	call(1);
	run(&d, 20);
	CHECK_INT(called, 1);
	fake_vchan_announce(&callers[0]);
	run(&d, 200);
	hello(&callers[0]);
	run(&d, 20);
	CHECK(callers[0].freed);
	j = agent_json(d.agent);
	CHECK_STR(json_string_value(json_object_get(j, "state")), "connected");
	CHECK_INT(json_integer_value(json_object_get(j, "served")), 1);
	json_decref(j);

	test_case("agent_polls_a_descriptor_that_had_another_owner");
	call(2);
	run(&d, 20);
	CHECK_INT(called, 2);
	/* dom0's descriptor is closed in the very turn in which the caller's gets its number */
	usleep(200000); /* the next try for the caller is due in that turn */
	fake_vchan_announce(&callers[1]);
	memset(out, 0xff, 8);
	CHECK_INT(fake_vchan_send(&dom0, out, 8), 8);
	run(&d, 200);
	CHECK(dom0.freed);
	CHECK(callers[1].connected);
	hello(&callers[1]);
	run(&d, 50);
	CHECK(callers[1].freed);

	agent_free(&d.agent);
	CHECK(d.agent == NULL);
	agent_free(&d.agent);
	j = agent_json(NULL);
	CHECK(json_is_null(j));
	json_decref(j);
	loop_free(&d.loop);
	qubesdb_free(&d.db);
	close(fd);
	unlink(file);
	snprintf(spec, sizeof(spec), "%s.out", file); /* the features that it requests */
	unlink(spec);
	return test_end();
}
