/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of vifs with guests that behave as their drivers do (tests/fake/guest.h),
 * libxl next to them.
 */
#include "tests/unit/guest_world.h"

#include <dirent.h>
#include <malloc.h>

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

/* What is allocated now; the sanitizer has its own count. */
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t heap(void)
{
	size_t all = __sanitizer_get_current_allocated_bytes
			 ? __sanitizer_get_current_allocated_bytes()
			 : mallinfo2().uordblks;

	return all - fake_memory(r.f);
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

static void allow_again(uint16_t domid)
{
	char path[64];

	snprintf(path, sizeof(path), "/local/domain/%u", domid);
	fake_store_deny(r.f, path, 0);
	/* libxl leaves the domain's directory there; for the count of nodes */
	snprintf(path, sizeof(path), "/local/domain/7/backend/vif/%u", domid);
	fake_store_del(r.f, path);
}

/* 1000 times through the life of a device: every count is where it was. */
static void test_churn(void)
{
	const struct front_config few = {.rx_post = 1};
	size_t memory = 0;
	unsigned int files = 0;
	struct front fr;

	test_case("X6.9_hp_domid_churn_1000_attach_and_detach_cycles");
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
		allow_again(domid);
		if (i % 100 == 99) {
			check_base_line();
			CHECK_INT(own_nodes(), base_nodes);
		}
		if (i == 99) {
			memory = heap();
			files = fds();
		}
	}
	CHECK_INT(heap(), memory);
	CHECK_INT(fds(), files);
	CHECK_INT(r.added, 1001);
	CHECK_INT(r.removed, 1000);
	CHECK_INT(r.up - r.down, 1);
	end();
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
