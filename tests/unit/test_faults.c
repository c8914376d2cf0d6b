/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hp_374_teardown_leaks: each operation of the seam fails once, at each place of a
 * whole life in turn, until a life goes by in which there was no such place any more.
 * Whatever failed: nothing leaks, nothing crashes, each device ends in a state of the
 * table, a neighbour's packets pass, and the next life is as if nothing had been.
 */
#include "tests/fake/guest.h"
#include "tests/fake/netvm.h"
#include "tests/fake/rig.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdlib.h>

static const struct {
	enum fake_op op;
	int err[2]; /* both are tried; 0: none */
	const char *name;
} ops[] = {
    {FAKE_COPY_CALL, {-EFAULT, -ENOMEM}, "copy call"},
    {FAKE_COPY_OP, {FAKE_GNTST_BAD_GREF, FAKE_GNTST_PERMISSION}, "copy"},
    {FAKE_MAP, {-EINVAL, -ENOMEM}, "map"},
    {FAKE_SHARE, {-ENOSPC, 0}, "share"},
    {FAKE_BIND, {-EINVAL, -ENOSPC}, "bind"},
    {FAKE_NOTIFY, {-EIO, 0}, "notify"},
    {FAKE_STORE_READ, {-EIO, -ENOMEM}, "read"},
    {FAKE_STORE_WRITE, {-ENOSPC, -EACCES}, "write"},
    {FAKE_STORE_RM, {-EIO, -EACCES}, "rm"},
    {FAKE_STORE_LIST, {-EIO, -ENOMEM}, "list"},
    {FAKE_STORE_BEGIN, {-ENOSPC, -EBUSY}, "begin"},
    {FAKE_STORE_END, {-EAGAIN, -EIO}, "end"},
    {FAKE_STORE_WATCH, {-ENOSPC, -EIO}, "watch"},
};

#define OPS (sizeof(ops) / sizeof(ops[0]))

static struct rig r;
static struct guest good, guest;
static struct netvm netvm;
static struct fake_use base;
static uint8_t data[3000], got[3100];

static void run(uint64_t ms)
{
	for (uint64_t end = r.now_ms + ms;;) {
		bool moved;

		do {
			rig_poll(&r);
			moved = guest_run(&good) || (guest.fr.f && guest_run(&guest)) ||
				(netvm.b.f && netvm_run(&netvm));
		} while (moved);
		if (r.now_ms >= end)
			return;
		rig_wait(&r, 100);
	}
}

static bool packet(struct guest *g)
{
	const struct front_packet p = {.data = data, .len = sizeof(data)};
	struct port *port;
	char name[16];
	bool ok;

	snprintf(name, sizeof(name), "vif%u.0", g->fr.domid);
	port = rig_port(&r, name);
	if (!port || !port->link)
		return false;
	data[0]++;
	ok = front_send(&g->fr, &p) && rig_move(&r, port, port) == 1 &&
	     front_recv(&g->fr, got, sizeof(got), NULL, false) == (long)sizeof(data) &&
	     memcmp(got, data, sizeof(data)) == 0;
	front_reap(&g->fr);
	return ok && front_in_flight(&g->fr) == 0 && g->fr.bad == 0;
}

static struct port *uplink(void)
{
	return rig_port(&r, "uplink0");
}

static bool packet_up(void)
{
	const struct front_packet p = {.data = data, .len = sizeof(data)};
	struct port *vif = rig_port(&r, "vif3.0");
	bool ok;

	if (!vif || !vif->link || !uplink() || !uplink()->link)
		return false;
	ok = front_send(&good.fr, &p) && rig_move(&r, vif, uplink()) == 1 &&
	     fake_backend_take(&netvm.b, got, sizeof(got), NULL, false) == (long)sizeof(data);
	front_reap(&good.fr);
	return ok && fake_backend_give(&netvm.b, data, sizeof(data), NULL, NULL) &&
	       rig_move(&r, uplink(), vif) == 1 &&
	       front_recv(&good.fr, got, sizeof(got), NULL, false) == (long)sizeof(data);
}

/* --- a whole life of each kind --------------------------------------------------------- */
static void vif_life(enum guest_kind kind, const char *op, uint32_t nth, int err)
{
	guest_boot(&guest, r.f, kind, 5, 0, "10.137.0.9");
	run(2500);
	/* EINVAL is what a reference or a port of its own making gives */
	if (err != -EINVAL && !CHECK(guest_is_up(&guest) && guest.closes == (kind != GUEST_LINUX)))
		printf("  %s, call %u, %s: states %u/%u\n", op, nth, strerror(-err),
		       front_be_state(&guest.fr), front_state(&guest.fr));
	(void)packet(&guest);
	guest_close(&guest);
	run(4000);
	guest_open(&guest);
	run(1500);
	(void)packet(&guest);
	front_detach(&guest.fr);
	run(10000);
}

static void vif_gone(const char *op, uint32_t nth, int err)
{
	if (!CHECK(!fake_store_has(r.f, guest.fr.be)))
		printf("  %s, call %u, %s: states %u/%u\n", op, nth, strerror(-err),
		       front_be_state(&guest.fr), front_state(&guest.fr));
	fake_store_del(r.f, guest.fr.fe);
	fake_store_del(r.f, "/local/domain/7/backend/vif/5");
	guest = (struct guest){0};
}

static void uplink_life(void)
{
	netvm_start(&netvm, r.f, 2, 0, "00:16:3e:5e:6c:01");
	run(1500);
	(void)packet_up();
	netvm_reload(&netvm);
	run(4000);
	(void)packet_up();
	netvm_detach(&netvm);
	run(3000);
}

static void uplink_gone(const char *op, uint32_t nth, int err)
{
	unsigned int front = fake_backend_front_state(&netvm.b);

	if (!CHECK(front == 6 || front == 1))
		printf("  %s, call %u, %s: rests in %u\n", op, nth, strerror(-err), front);
	CHECK(!uplink() || !uplink()->link);
	netvm_detached(&netvm);
	netvm = (struct netvm){0};
	run(1500);
	CHECK(!uplink());
}

static void begin(void)
{
	guest = (struct guest){0};
	netvm = (struct netvm){0};
	rig_start(&r);
	guest_boot(&good, r.f, GUEST_LINUX, 3, 0, "10.137.0.3");
	run(0);
	base = fake_use(r.f);
	if (!CHECK(packet(&good)))
		exit(1);
}

static void check_base_line(const char *op, uint32_t nth, int err)
{
	struct fake_use u = fake_use(r.f);

	if (!CHECK(memcmp(&u, &base, sizeof(u)) == 0))
		printf("  %s, call %u, %s: %u maps, %u pages, %u ports, %u watches, "
		       "%u transactions\n",
		       op, nth, strerror(-err), u.maps, u.shared_pages, u.ports, u.watches,
		       u.transactions);
	if (!CHECK(packet(&good)))
		printf("  %s, call %u, %s: no packet of the neighbour\n", op, nth, strerror(-err));
}

static void end(void)
{
	CHECK_INT(good.closes, 0);
	rig_end(&r);
}

/* Return: whether the failure had its place. */
static bool vif_once(size_t i, int err, uint32_t nth, enum guest_kind kind)
{
	uint64_t failed;

	begin();
	fake_fail(r.f, ops[i].op, nth, 1, err);
	failed = fake_failed(r.f);
	vif_life(kind, ops[i].name, nth, err);
	failed = fake_failed(r.f) - failed;
	fake_fail(r.f, ops[i].op, 0, 0, 0);
	vif_gone(ops[i].name, nth, err);
	check_base_line(ops[i].name, nth, err);
	guest_boot(&guest, r.f, kind, 5, 0, "10.137.0.9");
	run(1000);
	if (!CHECK(guest_is_up(&guest) && packet(&guest)))
		printf("  %s, call %u, %s: not up afterwards\n", ops[i].name, nth, strerror(-err));
	end();
	return failed > 0;
}

static bool uplink_once(size_t i, int err, uint32_t nth)
{
	uint64_t failed;

	begin();
	fake_fail(r.f, ops[i].op, nth, 1, err);
	failed = fake_failed(r.f);
	uplink_life();
	failed = fake_failed(r.f) - failed;
	fake_fail(r.f, ops[i].op, 0, 0, 0);
	uplink_gone(ops[i].name, nth, err);
	check_base_line(ops[i].name, nth, err);
	netvm_start(&netvm, r.f, 2, 0, "00:16:3e:5e:6c:01");
	run(1000);
	if (!CHECK(netvm_is_up(&netvm) && packet_up()))
		printf("  %s, call %u, %s: not up afterwards\n", ops[i].name, nth, strerror(-err));
	end();
	return failed > 0;
}

int main(void)
{
	static const char *const kinds[GUEST_KINDS] = {
	    "hp_374_teardown_leaks_linux_guest_each_operation_in_each_place",
	    "hp_374_teardown_leaks_windows_guest_each_operation_in_each_place",
	    "hp_374_teardown_leaks_minios_guest_each_operation_in_each_place",
	};
	unsigned int places = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned int kind = 0; kind < GUEST_KINDS; kind++) {
		test_case(kinds[kind]);
		for (size_t i = 0; i < OPS; i++)
			for (size_t e = 0; e < 2 && ops[i].err[e]; e++)
				for (uint32_t nth = 1;
				     vif_once(i, ops[i].err[e], nth, (enum guest_kind)kind); nth++)
					places++;
	}
	test_case("hp_374_teardown_leaks_uplink_each_operation_in_each_place");
	for (size_t i = 0; i < OPS; i++)
		for (size_t e = 0; e < 2 && ops[i].err[e]; e++)
			for (uint32_t nth = 1; uplink_once(i, ops[i].err[e], nth); nth++)
				places++;
	printf("%u places\n", places);
	CHECK(places > 1000);
	return test_end();
}
