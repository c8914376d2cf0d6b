// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The packet language itself: against bytes that another program made (scapy
 * 2.5), there and back on random packets, and what it says about wrong ones.
 */
#include "tests/craft/craft.h"
#include "tests/unit/check.h"

#include <stdlib.h>

#define ETH "feffffffffff00163e5e6c01"
#define C4 "10.137.0.5"
#define C6 "[fd09::5]"

static const struct craft_link client = {
	{ 0x00, 0x16, 0x3e, 0x5e, 0x6c, 0x01 },
	{ 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff },
};

static struct craft c, d;
static char text[CRAFT_TEXT];
static uint8_t tail[CRAFT_MAX];

static bool build(const char *line)
{
	char err[CRAFT_ERR];

	if (craft_build(&c, line, &client, err) == 0)
		return true;
	printf("%s: %s\n", line, err);
	return false;
}

static const struct {
	const char *name, *line, *hex;
} known[] = {
	{ "tcp",
	  "TCP " C4 ":1000>192.0.2.80:80 SEC seq=1 win=29200 mss=1460 sackok ts=1/0 nop wscale=7 "
	  "ipid=0x1234 df ttl=63 tos=0xb8",
	  "080045b8003c123440003f065bf20a890005c000025003e800500000000100000000a0c272100418000002"
	  "0405b40402080a000000010000000001030307" },
	{ "udp6", "UDP " C6 ":5000>[2001:db8::53]:53 len=11 ttl=63 tos=0x12 flow=0x54321",
	  "86dd612543210013113ffd09000000000000000000000000000520010db8000000000000000000000053"
	  "138800350013dc31030a11181f262d343b4249" },
	{ "error4",
	  "ICMP 192.0.2.1>10.137.0.2 3/4 mtu=1400 quote(UDP 10.137.0.2:9>192.0.2.80:9 len=4 "
	  "ttl=60 cut=28)",
	  "080045000038000100004001ae38c00002010a8900020304d89e0000057845000020000100003c11b1f1"
	  "0a890002c000025000090009000c1ec7" },
	{ "error6",
	  "ICMP [2001:db8::1]>[fd09::2] too-big mtu=1280 quote(TCP [fd09::2]:9>[2001:db8::80]:80 "
	  "A seq=7 ack=9 len=4 ttl=60)",
	  "86dd6000000000483a4020010db8000000000000000000000001fd0900000000000000000000000000020200"
	  "678100000500600000000018063cfd09000000000000000000000000000220010db800000000000000000000"
	  "00800009005000000007000000095010ffff70010000030a1118" },
	{ "extension_headers",
	  "TCP " C6 ":9>[2001:db8::80]:80 S hbh=010400000000 dopt=010400000000",
	  "86dd6000000000240040fd09000000000000000000000000000520010db80000000000000000000000803c00"
	  "01040000000006000104000000000009005000000000000000005002ffff84420000" },
	{ "ns", "NS " C6 ">[ff02::1:ff00:2] target=[fd09::2] slla=00:16:3e:5e:6c:01",
	  "86dd6000000000203afffd090000000000000000000000000005ff0200000000000000000001ff0000028700"
	  "d50c00000000fd090000000000000000000000000002010100163e5e6c01" },
	{ "na", "NA [fd09::2]>" C6 " target=[fd09::2] nd=RSO tlla=fe:ff:ff:ff:ff:ff",
	  "86dd6000000000203afffd090000000000000000000000000002fd0900000000000000000000000000058800"
	  "9f7ce0000000fd0900000000000000000000000000020201feffffffffff" },
	{ "arp", "ARP request " C4 ">10.137.0.2",
	  "08060001080006040001" "00163e5e6c01" "0a890005" "000000000000" "0a890002" },
	{ "fragment4", "UDP " C4 ":53>192.0.2.53:53 len=40 ipid=7 part=24+24",
	  "08004500002c000700034011adf40a890005c0000235737a81888f969da4abb2b9c0c7ced5dce3eaf1f8ff06"
	  "0d14" },
	{ "fragment6", "UDP " C6 ":53>[2001:db8::53]:53 len=1300 ipid=7 part=1232+76",
	  "86dd6000000000542c40fd09000000000000000000000000000520010db80000000000000000000000531100"
	  "04d0000000077b828990979ea5acb3bac1c8cfd6dde4ebf2f900070e151c232a31383f464d545b626970777e"
	  "858c939aa1a8afb6bdc4cbd2d9e0e7eef5fc030a11181f262d343b424950575e656c737a8188" },
	{ "echo", "ICMP " C4 ">192.0.2.80 echo id=77 seq=3 len=8 ipid=1",
	  "080045000024000100004001adfa0a890005c000025008009733004d0003030a11181f262d34" },
};

static void test_known(void)
{
	char name[64], hex[1024];

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		size_t n = strlen(ETH);

		snprintf(name, sizeof(name), "craft_known_%s", known[i].name);
		test_case(name);
		if (!CHECK(build(known[i].line)))
			continue;
		/* scapy numbers its packets from 1 */
		if (strstr(known[i].name, "error4"))
			CHECK(build("ICMP 192.0.2.1>10.137.0.2 3/4 mtu=1400 ipid=1 quote(UDP "
				    "10.137.0.2:9>192.0.2.80:9 len=4 ttl=60 ipid=1 cut=28)"));
		for (size_t k = 0; k < c.len && 2 * k + 3 < sizeof(hex); k++)
			snprintf(hex + 2 * k, 3, "%02x", c.b[k]);
		CHECK(memcmp(hex, ETH, n) == 0);
		CHECK_STR(hex + n, known[i].hex);
		/* and back: the same line of words, the same bytes */
		d = c;
		craft_print(&c, text, CRAFT_SHOW_MACS);
		CHECK(craft_build(&c, text, NULL, NULL) == 0 && craft_equal(&c, &d));
	}
}

static const char *shown(const char *line)
{
	return build(line) ? craft_print(&c, text, 0) : "";
}

static void test_print(void)
{
	test_case("craft_says_what_is_wrong");
	CHECK_STR(shown("UDP 1.2.3.4:1>5.6.7.8:2 len=3 csum=bad"),
		  "UDP 1.2.3.4:1>5.6.7.8:2 csum=bad len=3 ttl=64");
	CHECK_STR(shown("UDP 1.2.3.4:1>5.6.7.8:2 csum=zero"),
		  "UDP 1.2.3.4:1>5.6.7.8:2 csum=zero ttl=64");
	CHECK_STR(shown("TCP 1.2.3.4:1>5.6.7.8:2 SA ipcsum=bad csum=bad pad=3"),
		  "TCP 1.2.3.4:1>5.6.7.8:2 SA seq=0 ack=0 win=65535 csum=bad ttl=64 "
		  "ipcsum=bad pad=3");
	CHECK_STR(shown("ICMP [::1]>[::2] echo id=1 csum=bad"),
		  "ICMP [::1]>[::2] 128/0 id=1 seq=0 csum=bad ttl=64");
	CHECK_STR(shown("UDP [::1]:1>[::2]:2 ulen=7"), "UDP [::1]:1>[::2]:2 ulen=7 ttl=64");
	CHECK_STR(shown("IP [::1]>[::2] proto=47 len=4 flow=0x12345"),
		  "IP [::1]>[::2] proto=47 len=4 ttl=64 flow=0x12345");
	test_case("craft_says_how_it_came");
	CHECK_STR(shown("TCP 1.2.3.4:1>5.6.7.8:2 A len=9 gso=4"),
		  "TCP 1.2.3.4:1>5.6.7.8:2 A seq=0 ack=0 win=65535 len=9 ttl=64 "
		  "partial=set gso4=4");
	CHECK_STR(shown("UDP 1.2.3.4:1>5.6.7.8:2 partial csum=bad valid"),
		  "UDP 1.2.3.4:1>5.6.7.8:2 csum=bad ttl=64 partial=set");
	CHECK_STR(shown("TCP 1.2.3.4:1>5.6.7.8:2 A len=9 gso=4 complete"),
		  "TCP 1.2.3.4:1>5.6.7.8:2 A seq=0 ack=0 win=65535 len=9 ttl=64 "
		  "complete gso4=4");
	build("UDP [::1]:1>[::2]:2 partial=set");
	c.csum_offset++;
	CHECK(strstr(craft_print(&c, text, 0), " partial=wrong") != NULL);
	test_case("craft_fragments");
	CHECK_STR(shown("UDP 1.2.3.4:1>5.6.7.8:2 len=24 part=8+16 df"),
		  "IP 1.2.3.4>5.6.7.8 proto=17 len=16 ttl=64 df off=8 mf");
	CHECK_STR(shown("IP [::1]>[::2] proto=17 dopt frag rt=4/1 hbh ipid=9 off=16"),
		  "IP [::1]>[::2] proto=43 hex=00000401000000001100000000000000 "
		  "ttl=64 ipid=9 dopt frag off=16");
}

static void test_refused(void)
{
	static const char *const lines[] = {
		"", "TCP", "TCP 1.2.3.4:1>5.6.7.8:2", "TCP 1.2.3.4>5.6.7.8 S",
		"TCP 1.2.3.4:1>5.6.7.8:2 SX", "UDP 1.2.3.4:1>5.6.7.8:65536",
		"UDP 1.2.3.4:1>[::1]:2", "UDP 1.2.3:1>5.6.7.8:2", "UDP 1.2.3.4:1 5.6.7.8:2",
		"UDP 1.2.3.4:1>5.6.7.8:2 nonsense", "UDP 1.2.3.4:1>5.6.7.8:2 ttl=256",
		"UDP 1.2.3.4:1>5.6.7.8:2 ttl=-1", "UDP 1.2.3.4:1>5.6.7.8:2 mss=1460",
		"UDP 1.2.3.4:1>5.6.7.8:2 len=65536", "UDP 1.2.3.4:1>5.6.7.8:2 off=4 frag",
		"UDP [::1]:1>[::2]:2 mf", "UDP 1.2.3.4:1>5.6.7.8:2 part=8+9",
		"ICMP 1.2.3.4>5.6.7.8", "ICMP 1.2.3.4>5.6.7.8 3/1 quote(UDP)",
		"ICMP 1.2.3.4>5.6.7.8 3/1 quote(UDP 1.2.3.4:1>5.6.7.8:2", "NS 1.2.3.4>5.6.7.8",
		"IP 1.2.3.4>5.6.7.8 proto=47 csum=1", "IP 1.2.3.4>5.6.7.8 hex=0",
		"IP 1.2.3.4>5.6.7.8 smac=00:11:22:33:44", "GRE 1.2.3.4>5.6.7.8",
	};
	char err[CRAFT_ERR];

	test_case("craft_refuses_with_a_reason");
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		if (!CHECK(craft_build(&c, lines[i], NULL, err) != 0))
			printf("accepted: %s\n", lines[i]);
		CHECK(err[0] != '\0');
	}
}

static void test_merge(void)
{
	test_case("craft_merge");
	CHECK(craft_merge(text, "TCP 1.2.3.4:1>5.6.7.8:2 S seq=1 mss=1460 ttl=64",
			  "TCP 9.9.9.9:1>5.6.7.8:2 ttl=63 !mss df") == 0);
	CHECK_STR(text, "TCP 9.9.9.9:1>5.6.7.8:2 S seq=1 ttl=63 df");
	CHECK(craft_merge(text,
			  "ICMP 1.1.1.1>2.2.2.2 3/1 quote(UDP 1.1.1.1:1>2.2.2.2:2 len=9) ttl=2",
			  "ICMP 1.1.1.1>3.3.3.3 quote(UDP 1.1.1.1:7>2.2.2.2:2 !len cut=28)") == 0);
	CHECK_STR(text, "ICMP 1.1.1.1>3.3.3.3 3/1 quote(UDP 1.1.1.1:7>2.2.2.2:2 cut=28) ttl=2");
	test_case("craft_get");
	CHECK(craft_get("TCP 1.2.3.4:1>5.6.7.8:2 S seq=12", "seq", text, 8) && !strcmp(text, "12"));
	CHECK(craft_get("TCP 1.2.3.4:1>5.6.7.8:2 S", "flags", text, 8) && !strcmp(text, "S"));
	CHECK(!craft_get("TCP 1.2.3.4:1>5.6.7.8:2 S", "seq", text, 8));
}

/* --- there and back ---------------------------------------------------------------- */

static uint32_t rng = 1;

static uint32_t rnd(uint32_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 17;
	rng ^= rng << 5;
	return rng % n;
}

/* print(x) built again is x, whatever x is, but for shortened payload. */
static bool there_and_back(void)
{
	char err[CRAFT_ERR];

	craft_print(&c, text, CRAFT_SHOW_MACS);
	if (strstr(text, "blob="))
		return true;
	if (craft_build(&d, text, NULL, err) == 0 && c.len == d.len &&
	    memcmp(c.b, d.b, c.len) == 0)
		return true;
	printf("not the same again: %s\n%s\n", text, err);
	for (size_t i = 0; i < c.len; i++)
		printf("%02x%s", c.b[i], i + 1 < c.len ? "" : "\n");
	for (size_t i = 0; i < d.len; i++)
		printf("%02x%s", d.b[i], i + 1 < d.len ? "" : "\n");
	return false;
}

static void test_random(void)
{
	int bad = 0;

	test_case("craft_there_and_back_mutated");
	for (int i = 0; i < 40000 && bad < 5; i++) {
		const char *line = known[rnd(sizeof(known) / sizeof(known[0]))].line;

		build(line);
		for (uint32_t k = rnd(4); k > 0; k--)
			c.b[CRAFT_ETH - 2 + rnd((uint32_t)c.len - CRAFT_ETH + 2)] ^=
				(uint8_t)(1u << rnd(8));
		if (rnd(8) == 0)
			c.len -= rnd((uint32_t)c.len - CRAFT_ETH);
		bad += !CHECK(there_and_back());
	}
	test_case("craft_there_and_back_noise");
	for (int i = 0; i < 20000 && bad < 5; i++) {
		build(known[rnd(sizeof(known) / sizeof(known[0]))].line);
		for (size_t k = CRAFT_ETH + 20 + rnd(40); k < c.len; k++)
			if (rnd(3) == 0)
				c.b[k] = (uint8_t)rnd(256);
		bad += !CHECK(there_and_back());
	}
}

static void test_frame(void)
{
	struct frame f;

	test_case("craft_frame_and_back");
	for (size_t len = 0; len < 60000; len = len * 2 + 1) {
		char line[80];

		snprintf(line, sizeof(line), "UDP [::1]:1>[::2]:2 len=%zu valid", len);
		CHECK(build(line));
		craft_frame(&c, &f, 3, tail);
		CHECK(f.in_port == 3 && f.len == c.len && f.header_len <= FRAME_HEADER_COPY);
		CHECK(f.csum == CSUM_VALID);
		craft_unframe(&d, &f);
		CHECK(craft_equal(&c, &d));
	}
	build("TCP 1.2.3.4:1>5.6.7.8:2 A partial");
	craft_frame(&c, &f, 3, tail);
	CHECK(f.csum == CSUM_PARTIAL && f.csum_start == 0); /* as from a Xen ring */
	build("TCP [::1]:1>[::2]:2 A len=3000 gso=1400 partial=set dopt");
	craft_frame(&c, &f, 3, tail);
	CHECK(f.csum_start == 14 + 40 + 8 && f.csum_offset == 16);
	CHECK(f.gso == GSO_TCPV6 && f.gso_size == 1400);
}

int main(void)
{
	test_known();
	test_print();
	test_refused();
	test_merge();
	test_frame();
	test_random();
	return test_end();
}
