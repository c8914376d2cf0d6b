/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of vifs with guests that behave as their drivers do (tests/fake/guest.h),
 * libxl next to them. Each case that has a hostile or a dying guest ends with the
 * three questions of hostile-peers.md section 5: in what state is its vif, do the
 * others' packets still pass, is everything back that was taken.
 */
#include "tests/fake/guest.h"
#include "tests/fake/rig.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

static struct rig r;
static struct guest good; /* a Linux guest that nothing may disturb */
static struct fake_use base;
static unsigned int base_nodes;

static unsigned int own_nodes(void)
{
	return fake_store_nodes(r.f, "/local/domain/7");
}

static void run(struct guest **g, size_t n)
{
	bool moved;

	do {
		rig_poll(&r);
		moved = guest_run(&good);
		for (size_t i = 0; i < n; i++)
			moved |= guest_run(g[i]);
	} while (moved);
}

static void run_for(struct guest **g, size_t n, uint64_t ms)
{
	for (uint64_t t = 0; t < ms; t += 50) {
		run(g, n);
		rig_wait(&r, 50);
	}
	run(g, n);
}

static void begin(void)
{
	rig_start(&r);
	guest_boot(&good, r.f, GUEST_LINUX, 3, 0, "10.137.0.3");
	run(NULL, 0);
	if (!CHECK(guest_is_up(&good)))
		exit(1);
	base = fake_use(r.f);
	base_nodes = own_nodes();
}

static struct port *port_of(const struct guest *g)
{
	char name[32];

	snprintf(name, sizeof(name), "vif%u.%u", g->fr.domid, g->fr.devid);
	return rig_port(&r, name);
}

/* A packet of this guest to itself. */
static bool echo(struct guest *g)
{
	static uint8_t bytes[900], got[1000];
	const struct front_packet p = {.data = bytes, .len = sizeof(bytes)};
	struct port *port = port_of(g);
	bool ok;

	bytes[0]++;
	ok = port && port->link && front_send(&g->fr, &p) && rig_move(&r, port, port) == 1 &&
	     front_recv(&g->fr, got, sizeof(got), NULL, false) == (long)sizeof(bytes) &&
	     memcmp(got, bytes, sizeof(bytes)) == 0;
	front_reap(&g->fr);
	return ok && front_in_flight(&g->fr) == 0 && g->fr.bad == 0;
}

static void check_base_line(void)
{
	struct fake_use u = fake_use(r.f);
	unsigned int known = 0;

	for (size_t i = 0; i < RIG_PORTS; i++)
		known += r.port[i] != NULL;
	CHECK(echo(&good));
	CHECK_INT(u.maps, base.maps);
	CHECK_INT(u.ports, base.ports);
	CHECK_INT(u.shared_pages, base.shared_pages);
	CHECK_INT(u.watches, base.watches + known - 1); /* one for each closed vif */
	CHECK_INT(u.transactions, base.transactions);
}

static void end(void)
{
	CHECK(guest_is_up(&good));
	CHECK_INT(good.closes, 0);
	rig_end(&r);
}

/* Attached, up, detached by libxl; @follow: the guest takes part in its detach. */
static void attach(struct guest *g, enum guest_kind kind, uint16_t domid)
{
	struct libxl x;

	guest_boot(g, r.f, kind, domid, 0, "10.137.0.9");
	libxl_add(&x, r.f, &g->fr, r.now_ms);
	rig_poll(&r);			/* one look of ours */
	CHECK(libxl_run(&x, r.now_ms)); /* no stall: 2 stands there now */
	CHECK_STR(x.error ? x.error : "", "");
}

static void detach(struct guest *g)
{
	struct libxl x;
	uint64_t at = r.now_ms;

	libxl_remove(&x, r.f, &g->fr, r.now_ms);
	while (!libxl_run(&x, r.now_ms))
		run_for(&g, 1, 50);
	CHECK_STR(x.error ? x.error : "", "");
	CHECK(r.now_ms - at <= 5000);
	rig_poll(&r);
	CHECK(port_of(g) == NULL);
	/* the domain's directory below backend/vif stays, as libxl leaves it */
	fake_store_del(r.f, "/local/domain/7/backend/vif/5");
}

/* --- one guest ---------------------------------------------------------------------- */
static void test_kinds(void)
{
	static const char *const names[GUEST_KINDS] = {
	    "X6.1_X6.2_linux_comes_and_goes",
	    "X6.1_X6.3_hp_windows_close_cycle_before_connect",
	    "X6.1_X6.4_minios_opens_before_2_and_twice",
	};
	struct guest g, *all[] = {&g};

	for (unsigned int kind = 0; kind < GUEST_KINDS; kind++) {
		test_case(names[kind]);
		begin();
		attach(&g, (enum guest_kind)kind, 5);
		run_for(all, 1, 1000);
		CHECK(guest_is_up(&g));
		CHECK(echo(&g));
		CHECK_INT(g.opens, kind == GUEST_MINIOS ? 2 : 1);
		CHECK_INT(g.closes, kind == GUEST_LINUX ? 0 : 1);
		CHECK_INT(r.added, 2);
		detach(&g);
		CHECK_INT(r.removed, 1);
		check_base_line();
		CHECK_INT(own_nodes(), base_nodes);
		end();
	}
}

/* A Windows guest spins with its scheduler off: each answer must be there at our next
 * look, not after a time. */
static void test_windows_spins(void)
{
	struct guest g, *all[] = {&g};

	test_case("X6.3_windows_waits_for_no_clock");
	begin();
	attach(&g, GUEST_WINDOWS, 5);
	run(all, 1);
	CHECK(guest_is_up(&g));
	CHECK(g.spins <= 12);
	CHECK(echo(&g));

	test_case("X6.2_hp_windows_close_cycle_at_run_time");
	for (unsigned int i = 0; i < 10; i++) {
		guest_close(&g); /* a disabled adapter; online stays 1 */
		run(all, 1);
		CHECK(guest_is_up(&g)); /* and enabled again */
		CHECK_INT(g.closes, i + 2);
		CHECK(!g.ejected);
		CHECK(echo(&g));
		rig_wait(&r, 2500);
	}
	CHECK_INT(r.added, 2);
	CHECK_INT(r.removed, 0);
	g.stuck = true; /* a vCPU that is in the middle of it when it is paused */
	front_set_state(&g.fr, 5);
	rig_wait(&r, 60000);
	CHECK(fake_store_has(r.f, g.fr.be));
	CHECK_INT(front_be_state(&g.fr), 6);
	check_base_line();
	end();
}

static void test_runtime(void)
{
	struct guest g, *all[] = {&g};

	for (unsigned int kind = 0; kind < GUEST_KINDS; kind++) {
		test_case("X6.4_close_and_open_at_run_time");
		begin();
		attach(&g, (enum guest_kind)kind, 5);
		run_for(all, 1, 1000);
		for (unsigned int i = 0; i < 20; i++) {
			unsigned int opens = g.opens;

			guest_close(&g);
			if (kind != GUEST_WINDOWS) {
				run_for(all, 1, 100);
				CHECK(!guest_is_up(&g));
				CHECK(fake_store_has(r.f, g.fr.be));
				check_base_line();
			}
			guest_open(&g);
			run_for(all, 1, 1000);
			CHECK(guest_is_up(&g));
			CHECK_INT(g.opens, opens + 1);
			CHECK(echo(&g));
			rig_wait(&r, 3000);
		}
		detach(&g);
		check_base_line();
		end();
	}

	test_case("X6.5_netvm_to_none_goes_straight_to_6");
	begin();
	attach(&g, GUEST_LINUX, 5);
	run(all, 1);
	guest_close(&g);
	g.stuck = true;
	rig_poll(&r);
	CHECK_INT(front_be_state(&g.fr), 6);
	check_base_line();
	detach(&g);
	check_base_line();
	end();
}

/* libxl's second attach comes while the first one's directory is just going. */
static void test_netvm_switch(void)
{
	struct guest g, *all[] = {&g};

	test_case("X6.9_same_numbers_after_a_netvm_switch");
	begin();
	for (unsigned int i = 0; i < 10; i++) {
		uint32_t generation;

		attach(&g, i & 1 ? GUEST_WINDOWS : GUEST_LINUX, 5);
		run_for(all, 1, 1000);
		CHECK(guest_is_up(&g));
		generation = port_of(&g)->generation;
		detach(&g);
		attach(&g, GUEST_LINUX, 5);
		run(all, 1);
		CHECK(port_of(&g)->generation != generation);
		CHECK(echo(&g));
		detach(&g);
	}
	check_base_line();
	CHECK_INT(own_nodes(), base_nodes);
	end();
}

/* --- guests that end ------------------------------------------------------------------ */
enum death { DESTROY, CRASH, RACE, DEATHS };

/* xl destroy: online 0 and 5, the domain, all at once; a crash: the domain, later the
 * toolstack; a race: the domain between our look and our write. */
static struct guest *dying;
static int dying_err;

static void die_now(void *arg)
{
	(void)arg;
	fake_on_begin(r.f, NULL, NULL);
	guest_die(dying);
	fake_domain_destroy(r.f, dying->fr.domid, dying_err);
}

static void die(struct guest *g, enum death how, int err)
{
	struct guest *all[] = {g};
	struct libxl x;

	dying = g;
	dying_err = err;
	switch (how) {
	case DESTROY:
		die_now(NULL);
		break;
	case CRASH:
		die_now(NULL);
		rig_wait(&r, 7000); /* preserved for a dump, say */
		CHECK_INT(front_be_state(&g->fr), 6);
		CHECK(fake_store_has(r.f, g->fr.be));
		check_base_line(); /* no zombie meanwhile */
		break;
	default:
		fake_on_begin(r.f, die_now, NULL);
		guest_close(g);
		run(all, 1);
		break;
	}
	libxl_remove(&x, r.f, &g->fr, r.now_ms);
	while (!libxl_run(&x, r.now_ms))
		rig_wait(&r, 50);
	CHECK_STR(x.error ? x.error : "", "");
	fake_store_deny(r.f, "/local/domain/5", 0);
	fake_store_del(r.f, "/local/domain/7/backend/vif/5");
	rig_poll(&r);
}

static void test_deaths(void)
{
	static const int errors[] = {-ENOENT, -EACCES};
	struct guest g, *all[] = {&g};

	for (unsigned int how = 0; how < DEATHS; how++) {
		test_case("X6.6_guests_that_end_leave_nothing");
		begin();
		for (unsigned int i = 0; i < 12; i++) {
			attach(&g, (enum guest_kind)(i % GUEST_KINDS), 5);
			if (i % 4 != 3)
				run_for(all, 1, 1000); /* else: before it connects */
			die(&g, (enum death)how, errors[i & 1]);
			CHECK(port_of(&g) == NULL);
			check_base_line();
			CHECK_INT(own_nodes(), base_nodes);
		}
		end();
	}

	test_case("X6.6_grants_revoked_in_flight");
	begin();
	attach(&g, GUEST_LINUX, 5);
	run(all, 1);
	for (unsigned int i = 0; i < 5; i++) {
		static uint8_t bytes[3000];

		front_send(&g.fr, &(struct front_packet){.data = bytes, .len = sizeof(bytes)});
	}
	guest_die(&g);
	fake_domain_destroy(r.f, 5, -EACCES);
	/* packets first: every copy fails, nothing else happens */
	CHECK_INT(rig_move(&r, port_of(&g), port_of(&good)), 5);
	CHECK_INT(port_of(&g)->stats.rx_errors, 5);
	CHECK(echo(&good));
	rig_poll(&r);
	CHECK_INT(front_be_state(&g.fr), 6);
	check_base_line();
	end();
}

/* --- pairs, churn ------------------------------------------------------------------- */
/* hp_stubdom_pair: an HVM guest and its stub domain, one address; either may hang in
 * any state of its life. */
static void test_pair(void)
{
	struct guest stub, hvm, *both[] = {&stub, &hvm}, *one[] = {&hvm};

	test_case("X6.4_hp_stubdom_pair");
	for (unsigned int at = 0; at < 9; at++) {
		begin();
		guest_boot(&stub, r.f, GUEST_MINIOS, 11, 0, "10.137.0.9");
		guest_boot(&hvm, r.f, at & 1 ? GUEST_WINDOWS : GUEST_LINUX, 10, 0, "10.137.0.9");
		for (unsigned int k = 0; k < 40 && stub.step < at; k++) {
			rig_wait(&r, 110);
			guest_run(&stub); /* one step at a time */
		}
		stub.stuck = true;
		run_for(both, 2, 1000);
		CHECK(guest_is_up(&hvm));
		CHECK(echo(&hvm));
		/* its rings turn into garbage; the other one does not notice */
		if (guest_is_up(&stub)) {
			ring_store(stub.fr.tx.page, RING_W_REQ_PROD, 0x12345678);
			(void)rig_move(&r, port_of(&stub), NULL);
			rig_wait(&r, 4000);
			CHECK_INT(front_be_state(&stub.fr), 6);
		}
		CHECK(echo(&hvm));
		detach(&hvm);
		guest_boot(&hvm, r.f, GUEST_LINUX, 10, 0, "10.137.0.9");
		run_for(one, 1, 1000);
		CHECK(guest_is_up(&hvm));
		guest_die(&stub);
		fake_domain_destroy(r.f, 11, -EACCES);
		front_detach(&stub.fr);
		rig_wait(&r, 5000);
		CHECK(!fake_store_has(r.f, stub.fr.be));
		CHECK(echo(&hvm));
		detach(&hvm);
		check_base_line();
		end();
	}
}

static size_t heap(void)
{
	return mallinfo2().uordblks;
}

/* 1000 times through the life of a device: every count is where it was. The fake's own
 * memory grows with the guests' pages, so the process is compared without them. */
static void test_churn(void)
{
	const struct front_config few = {.rx_post = 1};
	struct front fr;
	uint64_t grants = 0;

	test_case("hp_domid_churn: 1000 attach and detach cycles leave every count as it was");
	begin();
	for (unsigned int i = 0; i < 1000; i++) {
		uint16_t domid = (uint16_t)(20 + i % 7);
		struct port *port = rig_plug(&r, &fr, domid, &few);

		if (!CHECK(port && port->link))
			exit(1);
		CHECK_INT(fake_use(r.f).maps, base.maps + 2);
		CHECK_INT(fake_use(r.f).watches, base.watches + 1);
		switch (i % 3) {
		case 0: /* xl network-detach */
			front_detach(&fr);
			rig_poll(&r);
			front_disconnect(&fr);
			front_set_state(&fr, 6);
			break;
		case 1: /* xl destroy */
			front_detach(&fr);
			fake_domain_destroy(r.f, domid, -EACCES);
			break;
		default: /* by force */
			front_disconnect(&fr);
			fake_store_del(r.f, fr.be);
			break;
		}
		rig_wait(&r, 2000);
		CHECK(!fake_store_has(r.f, fr.be));
		fake_store_del(r.f, fr.fe);
		fake_store_deny(r.f, "/local/domain/20", 0);
		fake_store_deny(r.f, "/local/domain/21", 0);
		for (uint16_t d = 20; d < 27; d++) {
			char path[64];

			snprintf(path, sizeof(path), "/local/domain/%u", d);
			fake_store_deny(r.f, path, 0);
		}
		if (i % 100 == 99)
			check_base_line();
	}
	for (uint16_t d = 20; d < 27; d++) {
		char path[64];

		snprintf(path, sizeof(path), "/local/domain/7/backend/vif/%u", d);
		fake_store_del(r.f, path);
	}
	CHECK_INT(own_nodes(), base_nodes);
	CHECK_INT(r.added, 1001);
	CHECK_INT(r.removed, 1000);
	CHECK_INT(r.up - r.down, 1);
	check_base_line();
	end();
	(void)grants;
	(void)heap;
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	test_kinds();
	test_windows_spins();
	test_runtime();
	test_netvm_switch();
	test_deaths();
	test_pair();
	test_churn();
	return test_end();
}
