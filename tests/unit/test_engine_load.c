// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Many flows: shares between greedy sources, and a flood of a million SYNs. What is
 * looked for is who loses something by it, and what it costs in memory.
 */
#include "firewall/engine_impl.h"
#include "tests/unit/check.h"
#include "tests/unit/lab.h"

/* The sanitizer's, where there is one: bytes that are allocated now. */
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

#define SOURCES 21

static struct lab lab;
static char ips[SOURCES + 1][16];

static void start(uint32_t flow_max)
{
	lab_init(&lab, flow_max, 31);
	for (uint16_t i = 1; i <= SOURCES; i++) {
		snprintf(ips[i], sizeof(ips[i]), "10.137.1.%u", i);
		lab_client(&lab, i, ips[i]);
		lab_rules(&lab, ips[i], "accept", NULL);
	}
}

static void end(void)
{
	CHECK_INT(engine_check(lab.e), 0);
	engine_free(&lab.e);
}

static size_t allocated(void)
{
	return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes()
						       : 0;
}

static uint32_t flows_of(unsigned int i)
{
	struct engine_source_info info;
	struct addr a = lab_to_addr(ips[i]);

	return engine_source_info(lab.e, &a, &info) ? info.flows : 0;
}

/* A packet of source @i, of its flow @n; @dir: out or the answer. */
static bool packet(unsigned int i, uint32_t n, uint8_t proto, uint8_t flags, int dir)
{
	char remote[16];
	struct pk k = {.port = dir ? UP : (uint16_t)i,
		       .proto = proto,
		       .flags = flags,
		       .seq = flags & T_SYN ? 0 : 1,
		       .ack = flags & T_ACK ? 1 : 0};

	snprintf(remote, sizeof(remote), "%u.%u.%u.%u", 60 + i, n >> 16, n >> 8 & 255, n & 255);
	k.src = dir ? remote : ips[i];
	k.dst = dir ? OUR : remote;
	k.sp = dir ? 443 : 40000;
	k.dp = dir ? 40000 : 443;
	return lab_send(&lab, k)->verdict == FRAME_FORWARD;
}

static bool establish(unsigned int i, uint32_t n)
{
	return packet(i, n, 6, T_SYN, 0) && packet(i, n, 6, T_SYN | T_ACK, 1) &&
	       packet(i, n, 6, T_ACK, 0);
}

/* Each side says something in the connection: it is still known. */
static bool lives(unsigned int i, uint32_t n)
{
	return packet(i, n, 6, T_ACK, 0) && packet(i, n, 6, T_ACK, 1);
}

static void test_shares(void)
{
	uint32_t lost = 0;

	test_case("D2_N4_100000_flows_of_20_sources_and_a_21st");
	start(131072);
	for (uint32_t n = 0; n < 5000; n++)
		for (unsigned int i = 1; i <= 20; i++)
			lost += !packet(i, n, 17, 0, 0);
	CHECK_INT(lost, 0);
	CHECK_INT(engine_stats(lab.e)->flows_active, 100000);
	for (uint32_t n = 0; n < 5000; n++)
		lost += !packet(21, n, 17, 0, 0);
	CHECK_INT(lost, 0);
	for (unsigned int i = 1; i <= 21; i++)
		CHECK_INT(flows_of(i), 5000);
	/* G5: what a flow costs is what the table costs */
	CHECK(engine_stats(lab.e)->bytes_per_flow <= 148);
	end();

	test_case("D2_greedy_sources_share_a_small_table");
	start(4096);
	/* each takes half of what is left but for the reserve of 21 times 24 */
	for (unsigned int i = 1; i <= SOURCES; i++) {
		uint32_t others = engine_stats(lab.e)->flows_active;

		for (uint32_t n = 0; n < 5000; n++)
			lost += !packet(i, n, 17, 0, 0); /* its own oldest goes */
		CHECK(engine_stats(lab.e)->flows_active - flows_of(i) == others);
	}
	CHECK_INT(lost, 0);
	CHECK(flows_of(1) == 1796 && flows_of(2) == 898);
	for (unsigned int i = 1; i <= SOURCES; i++)
		CHECK(flows_of(i) >= 24);
	end();

	test_case("D2_N4_hoarders_of_answered_flows_leave_a_reserve");
	start(4096);
	for (unsigned int i = 1; i < SOURCES; i++)
		for (uint32_t n = 0; n < 5000; n++)
			if (packet(i, n, 17, 0, 0))
				packet(i, n, 17, 0, 1);
	for (uint32_t n = 0; n < 24; n++)
		lost += !packet(SOURCES, n, 17, 0, 0);
	CHECK_INT(lost, 0);
	end();

	test_case("D2_answered_flows_are_refused_not_evicted");
	start(4096);
	for (unsigned int i = 1; i <= 4; i++)
		for (uint32_t n = 0; n < 5000; n++)
			if (packet(i, n, 17, 0, 0))
				packet(i, n, 17, 0, 1);
	for (unsigned int i = 1; i <= 4; i++)
		CHECK_INT(flows_of(i), (3592u + (1u << i) - 1) >> i);
	CHECK(packet(1, 0, 17, 0, 1)); /* the first of all is still there */
	CHECK(!packet(1, 9999, 17, 0, 0));
	CHECK_INT(lab.seen.reason, DROP_FLOW_LIMIT);
	CHECK(packet(5, 0, 17, 0, 0)); /* and there is room for somebody else */
	end();
}

static void test_flood(void)
{
	size_t before;
	uint32_t lost = 0;

	test_case("D2_T14_a_million_syns");
	start(65536);
	for (unsigned int i = 1; i <= 20; i++)
		for (uint32_t n = 0; n < 50; n++) {
			lost += !establish(i, n);
			lost += !packet(i, 1000 + n, 6, T_SYN, 0); /* unreplied, but others' */
		}
	CHECK_INT(lost, 0);
	for (uint32_t n = 0; n < 50; n++)
		lost += !establish(21, n);
	before = allocated();
	for (uint32_t n = 0; n < 1000000; n++) {
		lost += !packet(21, 10000 + n, 6, T_SYN, 0);
		if (n % 100000 == 0)
			CHECK_INT(engine_check(lab.e), 0);
	}
	CHECK_INT(lost, 0);		/* the flood is not even hindered, it hinders itself */
	CHECK_INT(allocated(), before); /* D7 */
	for (unsigned int i = 1; i <= 20; i++)
		CHECK_INT(flows_of(i), 100);
	CHECK(flows_of(21) <= SOURCE_FLOWS);
	for (unsigned int i = 1; i <= 21; i++)
		for (uint32_t n = 0; n < 50; n++)
			lost += !lives(i, n);
	CHECK_INT(lost, 0);
	for (unsigned int i = 1; i <= 20; i++)
		for (uint32_t n = 0; n < 50; n++)
			lost += !packet(i, 1000 + n, 6, T_SYN | T_ACK, 1);
	CHECK_INT(lost, 0);
	end();
}

int main(void)
{
	test_shares();
	test_flood();
	return test_end();
}
