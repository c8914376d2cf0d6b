/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guests and netvms that come and go, seen by the whole daemon: netback over a fake
 * Xen, ports.c, the policy table and the engine, packets from ring to ring. What a
 * flow or a policy of one life may not do is to outlast it.
 */
#include "firewall/daemon.h"
#include "firewall/log.h"
#include "tests/craft/craft.h"
#include "tests/fake/guest.h"
#include "tests/fake/netvm.h"
#include "tests/unit/check.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define SELF 7
#define MAC  "00:16:3e:5e:6c:01"

static const char keys[] = "/qubes-ip = 10.137.0.2\n"
			   "/qubes-gateway = 10.137.0.1\n"
			   "/qubes-netvm-gateway = 10.137.0.2\n";

static struct fake *fake;
static struct daemon d;
static struct options options;
static struct guest guest, other;
static struct netvm netvm;
static uint64_t now_ms;
static char file[] = "/tmp/ringfence-life-XXXXXX";

static void ignore(void *arg)
{
	(void)arg;
}

static void open_db(void)
{
	const struct qubesdb_events events = {.synced = ignore};
	char spec[64], err[256] = "";
	int fd = mkstemp(file);

	if (fd < 0 || write(fd, keys, strlen(keys)) != (ssize_t)strlen(keys) || close(fd))
		abort();
	snprintf(spec, sizeof(spec), "file:%s", file);
	if (qubesdb_new(&d.db, spec, &events, NULL, err, sizeof(err)))
		abort();
	for (int i = 0; i < 10 && qubesdb_state(d.db) != QUBESDB_READY; i++)
		qubesdb_process(d.db, now_ms);
}

static void netback_begin(void)
{
	struct netback_config config = {.event = daemon_port_event, .arg = &d};

	if (netback_new(&d.netback, d.xen, &config))
		abort();
}

static void begin(void)
{
	const struct engine_config config = {.flow_max = 1024};

	memset(&d, 0, sizeof(d));
	memset(&netvm, 0, sizeof(netvm));
	memset(&guest, 0, sizeof(guest));
	memset(&other, 0, sizeof(other));
	now_ms = 1000000;
	d.options = &options;
	d.uplink = PORT_NONE;
	d.env.dns = d.dns;
	if (fake_new(&fake, SELF))
		abort();
	d.xen = fake_xen(fake);
	open_db();
	if (engine_new(&d.engine, &config) ||
	    sources_new(&d.sources, d.engine, &d.env, &d.settings) ||
	    copy_batch_new(&d.batch, d.xen) || forward_new(&d.forward, d.engine, d.batch))
		abort();
	daemon_configure(&d);
	netback_begin();
}

static void end(void)
{
	struct fake_use u;

	netback_free(&d.netback);
	u = fake_use(fake);
	CHECK_INT(u.maps + u.ports + u.shared_pages + u.watches + u.transactions, 0);
	qubesdb_free(&d.db);
	sources_free(&d.sources);
	forward_free(&d.forward);
	copy_batch_free(&d.batch);
	engine_free(&d.engine);
	fake_backend_disconnect(&netvm.b);
	fake_free(&fake);
	unlink(file);
	memcpy(file + sizeof(file) - 7, "XXXXXX", 6);
}

/* The daemon's loop, and the others' turn in between. */
static void run(uint64_t ms)
{
	for (uint64_t until = now_ms + ms;; now_ms += 20) {
		for (int i = 0; i < 6; i++) {
			d.now_ms = now_ms;
			netback_poll_events(d.netback);
			netback_poll_store(d.netback, now_ms);
			while (forward_turn(d.forward, now_ms * 1000) > 0)
				;
			(void)forward_arm(d.forward);
			if (guest.fr.f)
				(void)guest_run(&guest);
			if (other.fr.f)
				(void)guest_run(&other);
			if (netvm.b.f)
				(void)netvm_run(&netvm);
		}
		forward_tick(d.forward, now_ms * 1000);
		engine_check(d.engine);
		if (now_ms >= until)
			return;
	}
}

static void allow(const char *ip)
{
	static const struct qubesdb_pair pairs[] = {{"policy", "drop", 4},
						    {"0000", "action=accept", 13}};

	sources_commit(d.sources, NULL, ip, pairs, 2);
}

static uint32_t flows(const char *ip)
{
	struct engine_source_info info;
	struct addr a;

	return addr_parse(ip, strlen(ip), &a) == 0 && engine_source_info(d.engine, &a, &info)
		   ? info.flows
		   : 0;
}

static uint8_t buf[66000];

static void send(struct guest *g, const char *text)
{
	static struct craft c;
	struct craft_link link = {.dst = {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff}};
	char err[CRAFT_ERR];

	if (netback_parse_mac(g->fr.mac, link.src))
		abort();
	if (craft_build(&c, text, &link, err))
		printf("%s: %s\n", text, err);
	CHECK(front_send(&g->fr, &(struct front_packet){.data = c.b, .len = c.len}));
	run(20);
	front_reap(&g->fr);
}

/* What arrives at the netvm of a kind; the engine's own questions are skipped. */
static unsigned int arrived(const char *kind, char *text)
{
	static struct craft c;
	unsigned int n = 0;
	long len;

	if (!netvm.b.connected)
		return 0;
	while ((len = fake_backend_take(&netvm.b, buf, sizeof(buf), NULL, false)) > 0) {
		char line[CRAFT_TEXT];

		c = (struct craft){.len = (size_t)len};
		memcpy(c.b, buf, (size_t)len);
		craft_print(&c, line, 0);
		if (strncmp(line, kind, strlen(kind)) != 0)
			continue;
		n++;
		if (text)
			memcpy(text, line, sizeof(line));
	}
	return n;
}

/* A packet from the netvm, addressed to us. */
static void reply(const char *text)
{
	static struct craft c;
	struct craft_link link = {.src = {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff}};
	char err[CRAFT_ERR];

	if (netback_parse_mac(MAC, link.dst))
		abort();
	if (craft_build(&c, text, &link, err))
		printf("%s: %s\n", text, err);
	CHECK(fake_backend_give(&netvm.b, c.b, c.len, NULL, NULL));
	run(20);
}

static unsigned int received(struct guest *g)
{
	unsigned int n = 0;

	while (front_recv(&g->fr, buf, sizeof(buf), NULL, false) > 0)
		n += buf[12] == 0x08 && buf[13] == 0x00;
	return n;
}

/* The translated source port of "UDP 10.137.0.2:PORT>...". */
static unsigned int port_in(const char *line)
{
	const char *p = strchr(line, ':');

	return p ? (unsigned int)strtoul(p + 1, NULL, 10) : 0;
}

static unsigned int fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static void netvm_up(uint16_t domid)
{
	netvm_start(&netvm, fake, domid, 0, MAC);
	run(6000); /* and the gateway has not answered: its MAC is the usual one */
	(void)arrived("", NULL);
	if (!CHECK(netvm_is_up(&netvm)))
		exit(1);
}

static void guest_up(struct guest *g, uint16_t domid, const char *ip)
{
	guest_boot(g, fake, GUEST_LINUX, domid, 0, ip);
	run(40);
	CHECK(guest_is_up(g));
}

static void guest_end(struct guest *g, unsigned int how)
{
	char home[64];

	snprintf(home, sizeof(home), "/local/domain/%u", g->fr.domid);
	switch (how % 3) {
	case 0:
		front_detach(&g->fr);
		run(100);
		break;
	case 1:
		front_detach(&g->fr);
		/* fall through */
	default:
		guest_die(g);
		fake_domain_destroy(fake, g->fr.domid, -EACCES);
		run(40);
		if (how % 3 == 2)
			front_detach(&g->fr);
		break;
	}
	run(40);
	now_ms += 1600;
	run(40);
	CHECK(!fake_store_has(fake, g->fr.be));
	fake_store_del(fake, g->fr.fe);
	fake_store_deny(fake, home, 0);
}

/* --- a guest's flows and rules end with it ---------------------------------------------- */
static void test_churn(void)
{
	unsigned int fds_before, old_port;
	char line[CRAFT_TEXT], text[128];
	struct fake_use base;

	test_case("hp_domid_churn_no_flow_and_no_rule_of_the_last_guest_with_the_address");
	begin();
	netvm_up(2);
	guest_up(&other, 4, "10.137.0.4");
	allow("10.137.0.4");
	base = fake_use(fake);
	fds_before = fds();
	for (unsigned int i = 0; i < 100; i++) {
		uint16_t domid = (uint16_t)(20 + i % 5);
		uint64_t denied;

		guest_up(&guest, domid, "10.137.0.9");
		/* a new guest has no rules before dom0 commits some */
		send(&guest, "UDP 10.137.0.9:5000>192.0.2.1:4000 len=20");
		CHECK_INT(arrived("UDP", NULL), 0);
		allow("10.137.0.9");
		send(&guest, "UDP 10.137.0.9:5000>192.0.2.1:4000 len=20");
		CHECK_INT(arrived("UDP", line), 1);
		old_port = port_in(line);
		CHECK_INT(flows("10.137.0.9"), 1);
		snprintf(text, sizeof(text), "UDP 192.0.2.1:4000>10.137.0.2:%u len=30", old_port);
		reply(text);
		CHECK_INT(received(&guest), 1);
		guest_end(&guest, i);
		CHECK(engine_stats(d.engine)->flows_active <= 1); /* the neighbour's */
		CHECK_INT(flows("10.137.0.9"), 0);
		/* the server answers late: nobody gets it, also not who is next */
		denied = engine_stats(d.engine)->forwarded;
		reply(text);
		guest_up(&guest, (uint16_t)(20 + (i + i % 2) % 5), "10.137.0.9");
		reply(text);
		CHECK_INT(received(&guest), 0);
		CHECK_INT(engine_stats(d.engine)->forwarded, denied);
		guest_end(&guest, i);
		/* the neighbour */
		send(&other, "UDP 10.137.0.4:6000>192.0.2.1:4000 len=20");
		CHECK_INT(arrived("UDP 10.137.0.2", line), 1);
		snprintf(text, sizeof(text), "UDP 192.0.2.1:4000>10.137.0.2:%u len=30",
			 port_in(line));
		reply(text);
		CHECK_INT(received(&other), 1);
	}
	run(3000);
	CHECK_INT(fake_use(fake).maps, base.maps);
	CHECK_INT(fake_use(fake).ports, base.ports);
	CHECK_INT(fake_use(fake).watches, base.watches);
	CHECK_INT(fake_use(fake).shared_pages, base.shared_pages);
	CHECK_INT(fds(), fds_before);
	CHECK_INT(other.closes, 0);
	end();
}

/* An HVM guest and its stub domain have one address: the source lives as long as one
 * of the two. */
static void test_pair(void)
{
	test_case("hp_stubdom_pair_the_rules_stay_with_the_second_vif");
	begin();
	netvm_up(2);
	guest_boot(&guest, fake, GUEST_LINUX, 11, 0, "10.137.0.9");
	guest_boot(&other, fake, GUEST_LINUX, 10, 0, "10.137.0.9");
	run(40);
	CHECK(guest_is_up(&guest) && guest_is_up(&other));
	allow("10.137.0.9");
	guest_end(&guest, 1); /* the stub domain goes */
	send(&other, "UDP 10.137.0.9:5000>192.0.2.1:4000 len=20");
	CHECK_INT(arrived("UDP", NULL), 1);
	end();
}

/* --- flows over the life of the uplink ------------------------------------------------- */
static void test_uplink(void)
{
	char line[CRAFT_TEXT], text[128];
	unsigned int port;

	test_case("hp_uplink_restart_flows_survive_when_the_address_stays");
	begin();
	guest_up(&guest, 9, "10.137.0.9");
	allow("10.137.0.9");
	/* no uplink yet: an answer, not silence */
	send(&guest, "UDP 10.137.0.9:5000>192.0.2.1:4000 len=20");
	CHECK_INT(received(&guest), 1);
	netvm_up(2);
	send(&guest, "UDP 10.137.0.9:5000>192.0.2.1:4000 len=20");
	CHECK_INT(arrived("UDP", line), 1);
	port = port_in(line);
	for (unsigned int i = 0; i < 6; i++) {
		netvm_die(&netvm, i & 1 ? -ENOENT : -EACCES);
		run(200);
		CHECK(guest_is_up(&guest));
		CHECK_INT(engine_stats(d.engine)->flows_active, 1);
		(void)received(&guest);
		netvm_start(&netvm, fake, (uint16_t)(50 + i), 0, MAC);
		run(6000);
		CHECK(netvm_is_up(&netvm));
		(void)arrived("", NULL);
		/* both directions, the same port on the outside */
		snprintf(text, sizeof(text), "UDP 192.0.2.1:4000>10.137.0.2:%u len=30", port);
		reply(text);
		CHECK_INT(received(&guest), 1);
		send(&guest, "UDP 10.137.0.9:5000>192.0.2.1:4000 len=20");
		CHECK_INT(arrived("UDP", line), 1);
		CHECK_INT(port_in(line), port);
	}
	CHECK_INT(guest.closes, 0);
	end();
}

/* The host sleeps: the clock has jumped, and nothing else has happened. */
static void test_suspend(void)
{
	char line[CRAFT_TEXT], text[128];

	test_case("X7.9_flows_survive_a_suspend_of_the_host");
	begin();
	netvm_up(2);
	guest_up(&guest, 9, "10.137.0.9");
	allow("10.137.0.9");
	send(&guest, "UDP 10.137.0.9:5000>192.0.2.1:4000 len=20");
	CHECK_INT(arrived("UDP", line), 1);
	for (unsigned int i = 0; i < 5; i++) {
		now_ms += 8 * 3600 * 1000;
		run(100);
		CHECK(guest_is_up(&guest) && netvm_is_up(&netvm));
		snprintf(text, sizeof(text), "UDP 192.0.2.1:4000>10.137.0.2:%u len=30",
			 port_in(line));
		reply(text);
		CHECK_INT(received(&guest), 1);
		run(10000); /* long enough that the next jump is one */
	}
	end();
}

/* Our own restart: clients and netvm are there before us; nobody touches them. */
static void test_restart(void)
{
	test_case("X6.8_our_own_restart_with_clients_and_netvm_there");
	begin();
	netvm_up(2);
	guest_up(&guest, 9, "10.137.0.9");
	allow("10.137.0.9");
	for (unsigned int i = 0; i < 10; i++) {
		netback_free(&d.netback);
		fake_backend_disconnect(&netvm.b); /* what it had of us is gone */
		CHECK(guest_is_up(&guest));
		now_ms += 1000;
		netback_begin();
		run(6000);
		CHECK(guest_is_up(&guest));
		CHECK_INT(guest.closes, 0);
		CHECK(netvm_is_up(&netvm));
		allow("10.137.0.9"); /* QubesDB says it again */
		(void)arrived("", NULL);
		send(&guest, "UDP 10.137.0.9:5000>192.0.2.1:4000 len=20");
		CHECK_INT(arrived("UDP", NULL), 1);
	}
	end();
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	log_set_level(LOG_LEVEL_ERROR);
	test_churn();
	test_pair();
	test_uplink();
	test_suspend();
	test_restart();
	return test_end();
}
