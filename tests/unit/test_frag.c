// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The fragment table alone: what makes a datagram, what spoils one, whose memory
 * gives way, and what frames of a datagram refer to. frag_check() after each step;
 * at the end a model that keeps intervals in an array, on random histories.
 */
#include "firewall/frag.h"
#include "firewall/rng.h"
#include "tests/unit/check.h"

#include <stdlib.h>

#define OWNERS	 12
#define PART_MAX 65536

static struct frag_table t;
static struct frag_owner owners[OWNERS];
static uint64_t now = 1000000;
static struct frame frame;
static uint8_t tail[PART_MAX];

static void begin(void)
{
	static const uint8_t key[16] = "sixteen bytes ok";

	if (frag_table_init(&t, key, (uint32_t[FAMS]){0, 0}))
		abort();
	for (int i = 0; i < OWNERS; i++)
		frag_owner_init(&owners[i]);
}

static void end(void)
{
	for (int i = 0; i < OWNERS; i++) {
		frag_purge(&t, &owners[i]);
		frag_check(&t);
		CHECK_INT(owners[i].datagrams, 0);
		CHECK_INT(owners[i].blocks, 0);
	}
	CHECK_INT(t.used_datagrams, 0);
	CHECK_INT(t.used_blocks, 0);
	for (unsigned int b = 0; b < t.fresh_block; b++) /* Q7: nothing is left of it */
		for (size_t i = 0; i < t.blocks[b].len; i++)
			CHECK_INT(t.blocks[b].data[i], 0);
	frag_table_fini(&t);
}

/* The byte of a datagram at this offset; never zero, so that end() sees it. */
static uint8_t byte_at(uint32_t seed, size_t i)
{
	return (uint8_t)((i * 31 + (i >> 8) * 7 + seed) | 1);
}

/* A fragment to come. */
struct piece {
	unsigned int owner;
	uint32_t id;
	uint8_t family; /* 0: 4 */
	uint8_t proto;	/* 0: UDP */
	uint32_t off, len;
	bool more, df, remote; /* remote: the bytes are not local */
	uint32_t seed;
	size_t options; /* bytes between the IP header and the data */
};

static struct frag_key key_of(const struct piece *p)
{
	struct frag_key k = {
	    .id = p->id, .iface = (uint16_t)p->owner, .family = p->family ? p->family : 4};

	k.src = ipkey4(0x0509890a);
	k.dst = ipkey4(0x500002c0);
	k.proto = k.family == 6 ? 0 : p->proto ? p->proto : 17;
	return k;
}

static void build(const struct piece *p, struct packet *out)
{
	size_t head = ETH_LEN + (p->family == 6 ? IP6_LEN + IP6_FRAG_LEN : IP4_LEN) + p->options;
	size_t near = p->len < 100 ? p->len / 2 : 100; /* in header[] */

	memset(&frame, 0, offsetof(struct frame, header));
	memset(frame.header, 0xaa, sizeof(frame.header));
	for (size_t i = 0; i < p->len; i++) {
		if (i < near)
			frame.header[head + i] = byte_at(p->seed, p->off + i);
		else
			tail[i - near] = byte_at(p->seed, p->off + i);
	}
	frame.header_len = (uint16_t)(head + near);
	frame.len = (uint32_t)(head + p->len);
	for (size_t done = 0; done < p->len - near; frame.nseg++) {
		size_t n = (p->len - near) / 2 + 1;

		if (n > p->len - near - done)
			n = p->len - near - done;
		frame.seg[frame.nseg] =
		    (struct frame_seg){.local = p->remote ? NULL : tail + done, .len = (uint32_t)n};
		done += n;
	}
	*out = (struct packet){.family = p->family ? p->family : 4,
			       .proto = p->proto ? p->proto : 17,
			       .ip_len = (uint32_t)(head - ETH_LEN + p->len),
			       .frag_off = (uint16_t)p->off,
			       .frag_data = (uint16_t)head,
			       .fragment = true,
			       .more = p->more,
			       .df = p->df};
	if (p->family == 6) {
		out->frag_at = (uint16_t)(head - IP6_FRAG_LEN);
		out->next_at = IP6_NEXT;
	}
}

static struct frag_result add(struct piece p)
{
	struct frag_key key = key_of(&p);
	struct packet packet;
	struct frag_result r;

	build(&p, &packet);
	r = frag_add(&t, &key, &owners[p.owner], &frame, &packet, now);
	frag_check(&t);
	return r;
}

static uint16_t find(const struct piece *p)
{
	struct frag_key key = key_of(p);

	for (uint16_t i = 0; i < t.fresh_datagram; i++) {
		const struct datagram *d = &t.datagrams[i];

		if ((d->state == DATAGRAM_WAITING || d->state == DATAGRAM_BAD) &&
		    d->key.id == key.id && d->key.iface == key.iface &&
		    d->key.family == key.family && d->key.proto == key.proto)
			return i;
	}
	return FRAG_NONE;
}

/* The whole is there, byte by byte; then it is dropped. */
static void whole_at(int line, struct frag_result r, uint32_t len, uint32_t seed)
{
	static uint8_t got[PART_MAX];
	const struct datagram *d;

	if (r.reason != DROP_NONE || r.complete == FRAG_NONE) {
		test_fail(__FILE__, line, "the datagram is not complete");
		return;
	}
	d = &t.datagrams[r.complete];
	if (d->total != len || d->size != len || frag_read(&t, d, 0, got, sizeof(got)) != len)
		test_fail(__FILE__, line, "its length is wrong");
	for (uint32_t i = 0; i < len; i++)
		if (got[i] != byte_at(seed, i)) {
			test_fail(__FILE__, line, "its bytes are wrong");
			break;
		}
	frag_drop(&t, r.complete);
	frag_check(&t);
}

#define WHOLE(r, len, seed) whole_at(__LINE__, r, len, seed)

static void taken_at(int line, struct frag_result r)
{
	if (r.reason != DROP_NONE || r.complete != FRAG_NONE || r.given_up)
		test_fail(__FILE__, line, "the fragment was not just taken");
}

#define TAKEN(p)	taken_at(__LINE__, add(p))
#define REFUSED(p, why) CHECK_INT(add(p).reason, why)

/* --- F1, F2 ------------------------------------------------------------------------ */

static void shuffle(struct rng *rng, unsigned int *order, unsigned int n)
{
	for (unsigned int i = n; i > 1; i--) {
		unsigned int k = rng_below(rng, i), swap = order[k];

		order[k] = order[i - 1];
		order[i - 1] = swap;
	}
}

/* Cut @len bytes into @n pieces and add them in this order. */
static void in_order(const unsigned int *order, unsigned int n, uint32_t len, uint8_t family,
		     bool twice)
{
	uint32_t cut = len / n & ~7u;
	static uint32_t id;

	id++;
	for (unsigned int i = 0; i < n; i++) {
		unsigned int k = order[i];
		struct piece p = {.id = id,
				  .family = family,
				  .off = k * cut,
				  .seed = id,
				  .len = k == n - 1 ? len - k * cut : cut,
				  .more = k != n - 1};
		struct frag_result r = add(p);

		if (i == n - 1) {
			WHOLE(r, len, id);
			continue;
		}
		taken_at(__LINE__, r);
		if (twice) /* F2 */
			TAKEN(p);
	}
}

static void test_order(void)
{
	static const uint8_t seed[32] = "the order of fragments";
	unsigned int order[FRAG_FRAGMENTS];
	struct rng rng;

	begin();
	rng_init(&rng, seed);
	test_case("F1_in_order");
	in_order((unsigned int[]){0, 1, 2}, 3, 4001, 4, false);
	test_case("F1_reversed");
	in_order((unsigned int[]){2, 1, 0}, 3, 4001, 4, false);
	test_case("F14_first_fragment_last");
	in_order((unsigned int[]){1, 2, 0}, 3, 4001, 6, false);
	test_case("F1_random_order");
	test_case("F2_exact_duplicates_in_any_order");
	for (int round = 0; round < 300; round++) {
		unsigned int n = 2 + rng_below(&rng, FRAG_FRAGMENTS - 1);
		uint32_t len = n * 8 + rng_below(&rng, 40000);

		for (unsigned int i = 0; i < n; i++)
			order[i] = i;
		shuffle(&rng, order, n);
		in_order(order, n, len, round & 1 ? 4 : 6, round % 3 == 0);
	}

	/* all of its bytes are there: nothing to disagree about */
	test_case("F2_duplicate_with_another_more_flag");
	{
		struct piece p = {.id = 1, .off = 8, .len = 8, .more = false};

		TAKEN(p);
		p.more = true;
		TAKEN(p);
		p.off = 0;
		WHOLE(add(p), 16, 0);
	}
	end();
}

/* --- F3, F4 ------------------------------------------------------------------------ */

static void test_overlap(void)
{
	static const struct {
		const char *name;
		uint32_t off, len;
		bool more;
		uint32_t seed;
	} table[] = {
	    {"F3_F4_same_range_other_bytes", 800, 800, true, 9},
	    {"F3_F4_beginning_only", 800, 400, true, 1},
	    {"F3_F4_end_only", 1200, 400, true, 1},
	    {"F3_F4_inside", 1000, 200, true, 1},
	    {"F3_F4_all_around", 600, 1600, true, 1},
	    {"F3_F4_across_the_beginning", 600, 400, true, 1},
	    {"F3_F4_across_the_end", 1400, 400, true, 1},
	    {"F3_F4_across_two_fragments", 1200, 1200, true, 1},
	    {"F3_F4_both_as_one", 800, 2400, true, 1},
	    {"F3_F4_into_the_last", 6392, 16, true, 1},
	    {"F3_F4_behind_the_end", 8000, 800, true, 1},
	    {"F3_F4_an_earlier_end", 4000, 100, false, 1},
	    {"F3_F4_a_later_end", 6504, 100, false, 1},
	};

	for (size_t i = 0; i < 2 * sizeof(table) / sizeof(table[0]); i++) {
		size_t k = i / 2;
		struct piece a = {
		    .family = i & 1 ? 6 : 4, .off = 800, .len = 800, .more = true, .seed = 1};
		struct piece bad = a;

		if (i % 2 == 0)
			test_case(table[k].name);
		begin();
		TAKEN(a);
		a.off = 1600;
		a.len = 1600;
		TAKEN(a);
		a.off = 6400;
		a.len = 104;
		a.more = false;
		TAKEN(a);
		bad.off = table[k].off;
		bad.len = table[k].len;
		bad.more = table[k].more;
		bad.seed = table[k].seed;
		REFUSED(bad, DROP_FRAGMENT);
		CHECK_INT(t.datagrams[find(&bad)].state, DATAGRAM_BAD);
		CHECK_INT(t.used_blocks, 0);
		/* RFC 5722: what comes later does not start it afresh */
		a = (struct piece){
		    .family = bad.family, .off = 0, .len = 800, .more = true, .seed = 1};
		REFUSED(a, DROP_FRAGMENT);
		a = (struct piece){.family = bad.family, .off = 800, .len = 100, .seed = 1};
		REFUSED(a, DROP_FRAGMENT);
		CHECK_INT(t.used_datagrams, 1);
		end();
	}

	test_case("F3_poison_lasts_until_the_timeout");
	begin();
	{
		struct piece a = {.off = 0, .len = 800, .more = true, .seed = 1}, b = a;
		uint16_t index;

		TAKEN(a);
		b.seed = 2;
		REFUSED(b, DROP_FRAGMENT);
		now += 29999;
		REFUSED(a, DROP_FRAGMENT);
		CHECK_INT(frag_expired(&t, now), FRAG_NONE); /* later ones do not renew it */
		now++;
		index = frag_expired(&t, now);
		CHECK(index != FRAG_NONE);
		CHECK(!t.datagrams[index].has_first); /* no answer about it */
		frag_drop(&t, index);
		TAKEN(a);
		a.off = 800;
		a.more = false;
		WHOLE(add(a), 1600, 1);
	}
	end();
}

/* --- F6, F7, F16, F17 ---------------------------------------------------------------- */

static void test_alone(void)
{
	static const struct {
		const char *name;
		struct piece p;
		bool ok;
	} table[] = {
	    {"F6_tcp_at_offset_8", {.proto = 6, .off = 8, .len = 64, .more = true}, false},
	    {"F6_tcp_at_offset_16", {.proto = 6, .off = 16, .len = 64, .more = true}, true},
	    {"F6_udp_at_offset_8", {.off = 8, .len = 64, .more = true}, true},
	    {"F7_largest_ipv4", {.off = 65488, .len = 27}, true},
	    {"F7_beyond_ipv4", {.off = 65488, .len = 28}, false},
	    {"F7_beyond_with_options", {.off = 65488, .len = 27, .options = 4}, false},
	    {"F7_largest_offset", {.off = 65528, .len = 8}, false},
	    {"F7_largest_ipv6", {.family = 6, .off = 65528, .len = 7}, true},
	    {"F7_beyond_ipv6", {.family = 6, .off = 65528, .len = 8}, false},
	    {"F16_length_not_of_eight", {.off = 8, .len = 63, .more = true}, false},
	    {"F16_last_of_any_length", {.off = 8, .len = 63}, true},
	    {"F16_empty", {.off = 8, .len = 0}, false},
	    {"F16_empty_more", {.family = 6, .off = 8, .len = 0, .more = true}, false},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		test_case(table[i].name);
		begin();
		if (table[i].ok)
			TAKEN(table[i].p);
		else
			REFUSED(table[i].p, DROP_FRAGMENT);
		CHECK_INT(t.used_datagrams, table[i].ok); /* the bad leave nothing behind */
		end();
	}

	test_case("F7_options_of_the_first_count_for_the_whole");
	begin();
	TAKEN(((struct piece){.off = 65472, .len = 40}));
	for (uint32_t off = 32736; off > 0; off -= 32736)
		TAKEN(((struct piece){.off = off, .len = 32736, .more = true}));
	/* 20 + 40 of options + 65512 > 65535 */
	REFUSED(((struct piece){.off = 0, .len = 32736, .more = true, .options = 40}),
		DROP_FRAGMENT);
	CHECK_INT(t.used_blocks, 0);
	end();

	test_case("F17_keys_tell_interfaces_protocols_and_families_apart");
	begin();
	{
		struct piece p = {.off = 0, .len = 800, .more = true, .seed = 1};

		TAKEN(p);
		p.owner = 1;
		TAKEN(p);
		p.proto = 6;
		TAKEN(p);
		p.family = 6;
		TAKEN(p);
		p.id = 7;
		TAKEN(p);
		CHECK_INT(t.used_datagrams, 5);
	}
	end();

	test_case("F1_bytes_out_of_reach");
	begin();
	TAKEN(((struct piece){.off = 4096, .len = 800, .more = true}));
	REFUSED(((struct piece){.off = 0, .len = 4000, .more = true, .remote = true}),
		DROP_COPY_FAILED);
	CHECK_INT(t.used_blocks, 0);
	end();

	test_case("F15_df_and_the_largest_are_remembered");
	begin();
	{
		struct frag_result r;

		TAKEN(((struct piece){.off = 0, .len = 800, .more = true}));
		TAKEN(((struct piece){.off = 800, .len = 1200, .more = true, .df = true}));
		r = add((struct piece){.off = 2000, .len = 100});
		CHECK(r.complete != FRAG_NONE);
		CHECK(t.datagrams[r.complete].df);
		CHECK_INT(t.datagrams[r.complete].largest, 1220);
		CHECK_INT(t.datagrams[r.complete].head_len, 34);
		frag_drop(&t, r.complete);
	}
	end();
}

/* --- F10 ----------------------------------------------------------------------------- */

static void test_caps(void)
{
	struct piece p = {.off = 0, .len = 8, .more = true};
	struct frag_result r;

	test_case("F10_64_datagrams_then_the_oldest_goes");
	begin();
	TAKEN(((struct piece){.owner = 1, .id = 500, .off = 0, .len = 8, .more = true}));
	for (p.id = 0; p.id < FRAG_OWNER_DATAGRAMS; p.id++)
		TAKEN(p);
	r = add(p);
	CHECK_INT(r.reason, DROP_NONE);
	CHECK_INT(r.given_up, 1);
	CHECK_INT(owners[0].datagrams, FRAG_OWNER_DATAGRAMS);
	CHECK_INT(owners[1].datagrams, 1); /* D4: nobody else's */
	p.id = 0;
	CHECK_INT(find(&p), FRAG_NONE);
	p.id = 1;
	CHECK(find(&p) != FRAG_NONE);
	end();

	test_case("F10_256_KiB");
	begin();
	for (p = (struct piece){.len = 8 * FRAG_BLOCK, .more = true}; p.id < 21; p.id++)
		TAKEN(p);
	CHECK_INT(owners[0].blocks, 168);
	CHECK(owners[0].blocks * FRAG_BLOCK <= 256 * 1024);
	r = add(p);
	CHECK_INT(r.given_up, 1);
	CHECK_INT(owners[0].blocks, 168);
	/* its own bytes do not give way to the rest of it */
	p = (struct piece){.id = 100, .len = 60000, .more = true};
	for (; p.id < 104; p.id++)
		add(p);
	CHECK_INT(owners[0].blocks, 4 * 40 + 8);
	end();

	test_case("F10_64_fragments");
	begin();
	p = (struct piece){.len = 8, .more = true};
	for (unsigned int i = 0; i < FRAG_FRAGMENTS; i++, p.off += 8)
		TAKEN(p);
	REFUSED(p, DROP_FRAGMENT_LIMIT);
	CHECK_INT(t.datagrams[find(&p)].state, DATAGRAM_BAD);
	end();

	test_case("F10_poisoned_datagrams_count_and_go_too");
	begin();
	p = (struct piece){.len = 8, .more = true};
	for (p.id = 0; p.id < FRAG_OWNER_DATAGRAMS; p.id++) {
		struct piece other = p;

		TAKEN(p);
		other.seed = 2;
		REFUSED(other, DROP_FRAGMENT);
	}
	CHECK_INT(add(p).given_up, 1);
	end();
}

static void test_share(void)
{
	unsigned int total = 0;

	test_case("D4_greedy_owners_leave_datagrams_for_the_next");
	begin();
	for (unsigned int o = 0; o < OWNERS; o++) {
		struct piece p = {.owner = o, .len = 8, .more = true};
		unsigned int others = 0;

		for (p.id = 0; p.id < 100; p.id++)
			CHECK_INT(add(p).reason, DROP_NONE);
		CHECK(owners[o].datagrams > 0);
		for (unsigned int i = 0; i < o; i++)
			others += owners[i].datagrams;
		CHECK_INT(others, total); /* nobody lost one to it */
		total += owners[o].datagrams;
	}
	CHECK(owners[OWNERS - 1].datagrams >= 1);
	CHECK_INT(owners[0].datagrams, FRAG_OWNER_DATAGRAMS);
	end();

	test_case("D4_greedy_owners_leave_bytes_for_the_next");
	begin();
	total = 0;
	for (unsigned int o = 0; o < OWNERS - 4; o++) {
		struct piece p = {.owner = o, .len = FRAG_BLOCK, .more = true};
		unsigned int others = 0;

		for (unsigned int i = 0; i < 400; i++) {
			p.id = i / 32;
			p.off = i % 32 * FRAG_BLOCK;
			CHECK_INT(add(p).reason, DROP_NONE);
		}
		CHECK(owners[o].blocks > 0);
		for (unsigned int i = 0; i < o; i++)
			others += owners[i].blocks;
		CHECK_INT(others, total);
		total += owners[o].blocks;
	}
	end();

	test_case("D4_large_fragments_leave_room_for_the_next_too");
	begin();
	for (unsigned int o = 0; o < OWNERS - 1; o++)
		for (uint32_t id = 0; id < 5; id++)
			add((struct piece){
			    .owner = o, .id = id, .len = 32 * FRAG_BLOCK, .more = true});
	{
		struct piece p = {.owner = OWNERS - 1, .len = 65024, .more = true};
		unsigned int before = t.used_blocks;

		CHECK(FRAG_BLOCKS - before < 43);
		/* nothing of its own to give up, so it is refused */
		REFUSED(p, DROP_FRAGMENT_LIMIT);
		CHECK_INT(t.used_blocks, before);
		CHECK_INT(owners[p.owner].datagrams, 1);
		p.len = 8;
		p.id = 2; /* a small one has room */
		TAKEN(p);
	}
	end();
}

/* --- F11 ----------------------------------------------------------------------------- */

static void test_time(void)
{
	struct piece p4 = {.id = 1, .len = 8, .more = true};
	struct piece p6 = {.id = 1, .len = 8, .more = true, .family = 6};
	uint16_t index;

	test_case("F11_30_s_and_60_s");
	begin();
	CHECK_INT(frag_expired(&t, now), FRAG_NONE);
	TAKEN(p6);
	now += 10;
	TAKEN(p4);
	now += 10;
	p4.id = 2;
	TAKEN(p4);
	CHECK_INT(frag_expired(&t, now + 29989), FRAG_NONE);
	index = frag_expired(&t, now + 29990);
	CHECK(index != FRAG_NONE);
	CHECK_INT(t.datagrams[index].key.id, 1);
	CHECK_INT(t.datagrams[index].key.family, 4);
	CHECK(t.datagrams[index].has_first);
	frag_drop(&t, index);
	frag_check(&t);
	CHECK_INT(frag_expired(&t, now + 29999), FRAG_NONE);
	index = frag_expired(&t, now + 30000);
	CHECK(index != FRAG_NONE);
	CHECK_INT(t.datagrams[index].key.id, 2);
	frag_drop(&t, index);
	CHECK_INT(frag_expired(&t, now - 20 + 59999), FRAG_NONE);
	index = frag_expired(&t, now - 20 + 60000);
	CHECK(index != FRAG_NONE);
	CHECK_INT(t.datagrams[index].key.family, 6);
	end();

	test_case("F11_whole_ones_do_not_time_out");
	begin();
	TAKEN(p6);
	p6.off = 8;
	p6.more = false;
	index = add(p6).complete;
	CHECK(index != FRAG_NONE);
	CHECK_INT(frag_expired(&t, now + 100000), FRAG_NONE);
	frag_drop(&t, index);
	end();

	test_case("Q7_holes_are_not_read_as_data");
	begin();
	TAKEN(((struct piece){.owner = 1, .id = 9, .len = 1400, .more = true, .seed = 99}));
	TAKEN(((struct piece){.id = 3, .len = 16, .more = true}));
	TAKEN(((struct piece){.id = 3, .off = 40000, .len = 800, .more = true}));
	{
		uint8_t got[200];
		struct piece p = {.id = 3};

		CHECK_INT(frag_read(&t, &t.datagrams[find(&p)], 0, got, sizeof(got)), 16);
		CHECK_INT(got[15], byte_at(0, 15));
	}
	end();
}

/* --- sending --------------------------------------------------------------------------- */

static uint16_t take(unsigned int owner, uint32_t len, uint32_t seed)
{
	struct piece p = {.owner = owner, .len = len, .seed = seed};
	struct packet packet;
	uint16_t index;

	build(&p, &packet);
	index = frag_take(&t, &owners[owner], &frame, packet.frag_data);
	if (index != FRAG_NONE) {
		t.datagrams[index].key.iface = (uint16_t)owner;
		t.datagrams[index].key.family = 4;
	}
	frag_check(&t);
	return index;
}

static void test_take(void)
{
	struct piece p = {.len = 3000};
	struct packet packet;
	struct datagram *d;
	uint8_t got[4000];
	uint16_t index;

	test_case("P11_take_a_whole_packet");
	begin();
	index = take(0, 3001, 5);
	CHECK(index != FRAG_NONE);
	d = &t.datagrams[index];
	CHECK_INT(d->total, 3001);
	CHECK_INT(d->blocks == FRAG_NONE, 0);
	CHECK_INT(frag_read(&t, d, 0, got, sizeof(got)), 3001);
	CHECK_INT(frag_read(&t, d, 2000, got, 10), 10);
	CHECK_INT(got[9], byte_at(5, 2009));
	CHECK_INT(frag_read(&t, d, 3001, got, 10), 0);
	frag_drop(&t, index);
	CHECK_INT(t.used_blocks, 0);
	end();

	test_case("P11_take_needs_the_bytes");
	begin();
	p.remote = true;
	build(&p, &packet);
	CHECK_INT(frag_take(&t, &owners[0], &frame, packet.frag_data), FRAG_NONE);
	frag_check(&t);
	CHECK_INT(t.used_blocks, 0);
	CHECK_INT(t.used_datagrams, 0);
	frame.len = 34 + 65536;
	CHECK_INT(frag_take(&t, &owners[0], &frame, 34), FRAG_NONE);
	CHECK_INT(t.used_datagrams, 0);
	end();

	test_case("F10_take_gives_up_nothing_that_waits");
	begin();
	for (p = (struct piece){.len = 32 * FRAG_BLOCK, .more = true}; p.id < 5; p.id++)
		add(p);
	CHECK_INT(owners[0].blocks, 160);
	CHECK_INT(take(0, 10 * FRAG_BLOCK + 1, 1), FRAG_NONE);
	CHECK_INT(owners[0].datagrams, 5);
	index = take(0, 10 * FRAG_BLOCK, 1);
	CHECK(index != FRAG_NONE);
	frag_drop(&t, index);
	end();
}

static void test_bytes(void)
{
	static const uint8_t marks[] = {1, 3, 5, 7, 9, 11, 13, 15};
	static uint8_t flat[PART_MAX], got[PART_MAX];
	struct datagram *d;
	struct frag_result r;

	test_case("F15_segments_and_writes_over_uneven_pieces");
	begin();
	for (uint32_t i = 0; i < 20; i++)
		TAKEN(((struct piece){.off = i * 104, .len = 104, .more = true, .seed = 3}));
	r = add((struct piece){.off = 2080, .len = 2001, .seed = 3});
	CHECK(r.complete != FRAG_NONE);
	d = &t.datagrams[r.complete];
	for (uint32_t i = 0; i < 4081; i++)
		flat[i] = byte_at(3, i);
	/* over the edge of two pieces */
	frag_write(&t, d, 100, marks, sizeof(marks));
	memcpy(flat + 100, marks, sizeof(marks));
	for (uint32_t off = 0; off < 4080; off += 8) {
		static const uint32_t want[] = {8, 96, 104, 1480, 4081};

		for (unsigned int w = 0; w < 5; w++) {
			struct frame f = {0};
			uint32_t n = frag_segs(&t, d, off, want[w], &f), sum = 0;
			uint32_t left = want[w] < 4081 - off ? want[w] : 4081 - off;

			for (unsigned int s = 0; s < f.nseg; s++) {
				CHECK(memcmp(f.seg[s].local, flat + off + sum, f.seg[s].len) == 0);
				sum += f.seg[s].len;
			}
			CHECK_INT(sum, n);
			CHECK(n == left || (n < left && n % 8 == 0 && f.nseg == 16));
			CHECK(f.nseg <= FRAME_SEG_MAX);
		}
	}
	for (size_t off = 0; off < 4081; off += 102) {
		uint64_t sum = frag_sum(&t, d, off);
		uint32_t want = 0;

		CHECK_INT(frag_read(&t, d, off, got, sizeof(got)), 4081 - off);
		CHECK(memcmp(got, flat + off, 4081 - off) == 0);
		for (size_t i = off; i < 4081; i++)
			want += (i - off) & 1 ? (uint32_t)flat[i] << 8 : flat[i];
		while (sum >> 16)
			sum = (sum & 0xffff) + (sum >> 16);
		while (want >> 16)
			want = (want & 0xffff) + (want >> 16);
		CHECK_INT(sum % 0xffff, want % 0xffff);
	}
	frag_drop(&t, r.complete);
	end();
}

static void test_send(void)
{
	uint16_t a, b, c;

	test_case("F1_sent_in_order_freed_by_the_last_frame");
	begin();
	a = take(0, 100, 1);
	b = take(1, 100, 2);
	c = take(0, 100, 3);
	CHECK_INT(frag_sending(&t), FRAG_NONE);
	frag_send(&t, a);
	frag_send(&t, b);
	frag_send(&t, c);
	frag_check(&t);
	CHECK_INT(frag_sending(&t), a);
	t.datagrams[a].refs = 2;
	frag_finish(&t);
	CHECK_INT(frag_sending(&t), b);
	CHECK_INT(t.used_datagrams, 3);
	frag_unref(&t, a);
	CHECK_INT(t.used_datagrams, 3);
	frag_unref(&t, a);
	CHECK_INT(t.used_datagrams, 2);
	frag_finish(&t); /* b: no frame of it is out */
	CHECK_INT(t.used_datagrams, 1);
	CHECK_INT(frag_sending(&t), c);
	frag_finish(&t);
	CHECK_INT(frag_sending(&t), FRAG_NONE);
	CHECK_INT(t.used_datagrams, 0);
	a = take(0, 100, 1);
	frag_send(&t, a); /* the list begins anew */
	CHECK_INT(frag_sending(&t), a);
	frag_finish(&t);
	end();

	test_case("Q7_purge_with_frames_on_their_way");
	begin();
	a = take(0, 100, 1);
	b = take(1, 100, 2);
	c = take(0, 100, 3);
	frag_send(&t, a);
	frag_send(&t, b);
	frag_send(&t, c);
	t.datagrams[a].refs = 1; /* a frame of it was handed out */
	TAKEN(((struct piece){.id = 1, .len = 8, .more = true}));
	frag_purge(&t, &owners[0]);
	frag_check(&t);
	CHECK_INT(owners[0].datagrams, 0);
	CHECK_INT(owners[0].blocks, 0);
	CHECK_INT(t.used_datagrams, 2); /* b, and what the frame refers to */
	CHECK_INT(frag_sending(&t), b);
	CHECK_INT(*(uint8_t *)t.blocks[t.datagrams[a].blocks].data, byte_at(1, 0));
	frag_unref(&t, a);
	CHECK_INT(t.used_datagrams, 1);
	CHECK_INT(owners[0].blocks, 0);
	c = take(0, 100, 4); /* behind b, which is the last one of the list */
	frag_send(&t, c);
	frag_finish(&t);
	CHECK_INT(frag_sending(&t), c);
	frag_finish(&t);
	end();

	test_case("F11_an_answer_takes_its_place");
	begin();
	TAKEN(((struct piece){.id = 1, .len = 800, .more = true}));
	a = find(&(struct piece){.id = 1});
	frame.header_len = 90;
	frag_answer(&t, a, &frame);
	frag_send(&t, a);
	frag_check(&t);
	CHECK_INT(t.used_blocks, 0);
	CHECK_INT(t.datagrams[a].head_len, 90);
	CHECK_INT(t.datagrams[a].total, 0);
	CHECK_INT(frag_expired(&t, now + 100000), FRAG_NONE);
	/* its key is free again */
	TAKEN(((struct piece){.id = 1, .len = 800, .more = true}));
	frag_finish(&t);
	end();
}

/* --- the model --------------------------------------------------------------------------- */

#define M_KEYS	12
#define M_PARTS 200

struct model {
	bool used, bad;
	uint8_t family;
	uint64_t since;
	uint32_t seed, end; /* end: 0: not known */
	unsigned int n;
	struct {
		uint32_t off, len, seed;
	} part[M_PARTS];
};

static struct model model[M_KEYS];

/* Return: the reason; *complete: its length when it is whole now. */
static enum drop_reason model_add(struct model *m, const struct piece *p, uint32_t *complete)
{
	uint32_t sum = 0;

	if (p->more && p->len % 8)
		return DROP_FRAGMENT;
	if (!m->used)
		*m = (struct model){.used = true, .since = now, .family = p->family};
	if (m->bad)
		return DROP_FRAGMENT;
	for (unsigned int i = 0; i < m->n; i++)
		if (m->part[i].off == p->off && m->part[i].len == p->len &&
		    m->part[i].seed == p->seed)
			return DROP_NONE;
	for (unsigned int i = 0; i < m->n; i++)
		m->bad |=
		    m->part[i].off < p->off + p->len && p->off < m->part[i].off + m->part[i].len;
	for (unsigned int i = 0; i < m->n && !p->more; i++)
		m->bad |= m->part[i].off + m->part[i].len > p->off + p->len;
	if (m->end)
		m->bad |= p->more ? p->off + p->len >= m->end : p->off + p->len != m->end;
	if (m->bad)
		return DROP_FRAGMENT;
	if (m->n == FRAG_FRAGMENTS) {
		m->bad = true;
		return DROP_FRAGMENT_LIMIT;
	}
	m->part[m->n].off = p->off;
	m->part[m->n].len = p->len;
	m->part[m->n++].seed = p->seed;
	if (!p->more)
		m->end = p->off + p->len;
	for (unsigned int i = 0; i < m->n; i++)
		sum += m->part[i].len;
	if (m->end && sum == m->end) {
		*complete = m->end;
		m->used = false;
	}
	return DROP_NONE;
}

static void model_whole(const struct model *m, uint16_t index, uint32_t len)
{
	static uint8_t got[PART_MAX];

	CHECK_INT(frag_read(&t, &t.datagrams[index], 0, got, sizeof(got)), len);
	for (unsigned int i = 0; i < m->n; i++)
		for (uint32_t k = m->part[i].off; k < m->part[i].off + m->part[i].len; k++)
			CHECK_INT(got[k], byte_at(m->part[i].seed, k));
}

static unsigned int model_step(struct rng *rng)
{
	unsigned int k = rng_below(rng, M_KEYS);
	struct piece p = {.owner = k % 3, .id = k, .family = k & 1 ? 6 : 4, .seed = 1};
	uint32_t size = 8 + 8 * (k % 4) * 20, complete = 0;
	enum drop_reason want;
	struct frag_result r;

	/* mostly parts of one cut, so that some become whole */
	p.off = rng_below(rng, 6) * size;
	p.len = size;
	p.more = p.off != 5 * size;
	if (!p.more)
		p.len = size - 3;
	if (rng_below(rng, 60) == 0)
		p.off += 8;
	if (rng_below(rng, 60) == 0)
		p.len += rng_below(rng, 20);
	if (rng_below(rng, 60) == 0)
		p.seed = 4;
	if (rng_below(rng, 60) == 0)
		p.more = !p.more;
	want = model_add(&model[k], &p, &complete);
	r = add(p);
	CHECK_INT(r.reason, want);
	CHECK_INT(r.given_up, 0);
	CHECK_INT(r.complete != FRAG_NONE, complete != 0);
	if (r.complete != FRAG_NONE) {
		model_whole(&model[k], r.complete, complete);
		frag_drop(&t, r.complete);
	}
	return complete != 0;
}

static void test_model(void)
{
	static const uint8_t seed[32] = "intervals in an array";
	unsigned int wholes = 0, ended = 0;
	struct rng rng;

	test_case("M1_random_fragments_against_a_model");
	begin();
	rng_init(&rng, seed);
	for (int i = 0; i < 60000; i++) {
		uint16_t index;

		now += rng_below(&rng, 200);
		while ((index = frag_expired(&t, now)) != FRAG_NONE) {
			struct model *m = &model[t.datagrams[index].key.id];

			CHECK(m->used);
			CHECK(now - m->since >= (m->family == 6 ? 60000 : 30000));
			CHECK_INT(m->bad, t.datagrams[index].state == DATAGRAM_BAD);
			m->used = false;
			frag_drop(&t, index);
			ended++;
		}
		for (unsigned int k = 0; k < M_KEYS; k++)
			CHECK(!model[k].used || now - model[k].since < (k & 1 ? 60000 : 30000));
		wholes += model_step(&rng);
	}
	CHECK(wholes > 500);
	CHECK(ended > 500);
	end();
}

int main(void)
{
	test_order();
	test_overlap();
	test_alone();
	test_caps();
	test_share();
	test_time();
	test_take();
	test_bytes();
	test_send();
	test_model();
	return test_end();
}
