// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Text to bytes. The upper layer is built first, complete and with its checksum;
 * extension headers go in front; a part of it all is taken; the IP header last.
 */
#include "tests/craft/craft_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>


struct builder *builder_new(char *err, int depth)
{
	struct builder *b = malloc(sizeof(*b));

	if (b) {
		/* the rest is written before it is read */
		memset(b, 0, offsetof(struct builder, l4) + L4_HEAD_MAX);
		b->ws.err = err;
		b->depth = depth;
	}
	return b;
}

/* --- checksums ---------------------------------------------------------------------- */

static int l4_checksum(struct builder *b)
{
	struct word *w = words_find(&b->ws, "csum");
	bool alone = b->pair.family == 4 && b->csum_at == 2; /* ICMP: no pseudo-header */
	uint64_t value;
	uint16_t sum;

	if (!b->csum_at) {
		b->partial = false;
		return w ? words_fail(&b->ws, "csum= of a packet without one") : 0;
	}
	sum = alone ? 0 : pseudo_sum(b->pair.family, b->pair.src, b->pair.dst, b->proto, b->l4_len);
	if (b->partial) {
		value = sum;
	} else {
		value = (uint16_t)~craft_sum(b->l4, b->l4_len, sum);
		if (b->csum_at == 6 && value == 0)
			value = 0xffff;
	}
	if (w) {
		w->used = true;
		if (w->val_len == 3 && memcmp(w->val, "bad", 3) == 0)
			value = value + 1 > 0xffff ? 1 : value + 1; /* one's complement */
		else if (w->val_len == 4 && memcmp(w->val, "zero", 4) == 0)
			value = 0;
		else if (text_number(&b->ws, w->val, w->val_len, 65535, &value) != 0)
			return -EINVAL;
	}
	put16(b->l4 + b->csum_at, (uint32_t)value);
	return 0;
}

/* --- IP ----------------------------------------------------------------------------- */

struct part {
	uint64_t off, len, field_off;
	bool more;
};

/* Which bytes of the fragmentable part, and what the header says about them. */
static int which_part(struct builder *b, size_t total, struct part *p)
{
	struct word *w = words_find(&b->ws, "part");
	size_t plus;

	*p = (struct part){ .len = total };
	if (w) {
		w->used = true;
		plus = text_until(w->val, w->val_len, '+');
		if (plus == w->val_len ||
		    text_number(&b->ws, w->val, plus, 65535, &p->off) != 0 ||
		    text_number(&b->ws, w->val + plus + 1, w->val_len - plus - 1, 65535,
				&p->len) != 0)
			return words_fail(&b->ws, "part=OFFSET+LENGTH");
		if (p->off + p->len > total || p->off % 8)
			return words_fail(&b->ws, "part of %zu bytes: %.*s", total, (int)w->val_len,
					  w->val);
		p->more = p->off + p->len < total;
	}
	p->field_off = p->off;
	if (words_number(&b->ws, "off", 65528, &p->field_off) != 0)
		return -EINVAL;
	if (p->field_off % 8)
		return words_fail(&b->ws, "off= is a multiple of 8");
	if (words_flag(&b->ws, "mf"))
		p->more = true;
	return 0;
}

static size_t build_ip4(struct builder *b, uint8_t *out)
{
	uint64_t ttl = 64, tos = 0, id = 0, ver = 4, ihl, total, csum;
	struct word *opt = words_find(&b->ws, "ipopt"), *bad = words_find(&b->ws, "ipcsum");
	size_t head = 20, n;
	struct part part;
	uint32_t frag;

	memset(out, 0, 60);
	if (opt) {
		opt->used = true;
		if (text_hex(&b->ws, opt->val, opt->val_len, out + 20, 40, &n) != 0)
			return 0;
		head += (n + 3) & ~(size_t)3;
	}
	if (which_part(b, b->l4_len, &part) != 0)
		return 0;
	ihl = head / 4;
	total = head + part.len;
	if (words_number(&b->ws, "ttl", 255, &ttl) || words_number(&b->ws, "tos", 255, &tos) ||
	    words_number(&b->ws, "ipid", 65535, &id) || words_number(&b->ws, "ver", 15, &ver) ||
	    words_number(&b->ws, "ihl", 15, &ihl) || words_number(&b->ws, "tot", 65535, &total))
		return 0;
	if (total > 65535) {
		words_fail(&b->ws, "more than 65535 bytes");
		return 0;
	}
	frag = (uint32_t)part.field_off / 8 | (part.more ? 0x2000 : 0);
	frag |= words_flag(&b->ws, "df") ? 0x4000 : 0;
	frag |= words_flag(&b->ws, "rf") ? 0x8000 : 0;
	out[0] = (uint8_t)(ver << 4 | ihl);
	out[1] = (uint8_t)tos;
	put16(out + 2, (uint32_t)total);
	put16(out + 4, (uint32_t)id);
	put16(out + 6, frag);
	out[8] = (uint8_t)ttl;
	out[9] = b->proto;
	memcpy(out + 12, b->pair.src, 4);
	memcpy(out + 16, b->pair.dst, 4);
	csum = (uint16_t)~craft_sum(out, head, 0);
	if (bad) {
		bad->used = true;
		if (bad->val_len == 3 && memcmp(bad->val, "bad", 3) == 0)
			csum = csum + 1 > 0xffff ? 1 : csum + 1;
		else if (text_number(&b->ws, bad->val, bad->val_len, 65535, &csum) != 0)
			return 0;
	}
	put16(out + 10, (uint32_t)csum);
	memcpy(out + head, b->l4 + part.off, part.len);
	return head + part.len;
}

/* NUMBER[/HEX] of ext=, HEX of the others: the header's bytes behind the first two. */
static int ext_data(struct builder *b, const struct word *w, size_t from, uint8_t *e, size_t *n)
{
	if (from >= w->val_len)
		return 0;
	return text_hex(&b->ws, w->val + from, w->val_len - from, e + *n, 512, n);
}

static int ext_header(struct builder *b, struct word *w, uint8_t *num, uint8_t *e, size_t *len)
{
	size_t at = text_until(w->val, w->val_len, '/'), left, n = 0;
	uint64_t v = 0, sl = 0;

	*len = 0;
	if (word_is(w, "hbh") || word_is(w, "dopt")) {
		*num = w->key[0] == 'h' ? P_HBH : P_DOPT;
		if (text_hex(&b->ws, w->val, w->val_len, e + 2, 512, &n) != 0)
			return -EINVAL;
		n += 2;
	} else if (word_is(w, "rt")) {
		*num = P_RT;
		left = w->val_len > at ? text_until(w->val + at + 1, w->val_len - at - 1, '/') : 0;
		if (text_number(&b->ws, w->val, at, 255, &v) != 0 || left == 0 ||
		    text_number(&b->ws, w->val + at + 1, left, 255, &sl) != 0)
			return words_fail(&b->ws, "rt=TYPE/SEGMENTS_LEFT[/HEX]");
		e[2] = (uint8_t)v;
		e[3] = (uint8_t)sl;
		if (at + left + 2 < w->val_len &&
		    text_hex(&b->ws, w->val + at + left + 2, w->val_len - at - left - 2, e + 4, 512,
			     &n) != 0)
			return -EINVAL;
		n += 4;
	} else if (word_is(w, "ah")) {
		*num = P_AH;
		if (text_hex(&b->ws, w->val, w->val_len, e + 2, 512, &n) != 0)
			return -EINVAL;
		n = n + 2 < 12 ? 12 : n + 2;
		n = (n + 3) & ~(size_t)3;
		e[1] = (uint8_t)(n / 4 - 2);
		*len = n;
		return 0;
	} else if (word_is(w, "ext")) {
		if (text_number(&b->ws, w->val, at, 255, &v) != 0)
			return -EINVAL;
		*num = (uint8_t)v;
		if (ext_data(b, w, at + 1, e + 2, &n) != 0)
			return -EINVAL;
		n += 2;
	} else {
		return 0;
	}
	/* options of zeros are Pad1 */
	n = (n + 7) & ~(size_t)7;
	e[1] = (uint8_t)(n / 8 - 1);
	*len = n;
	return 0;
}

static int build_chain(struct builder *b)
{
	struct chain *c = &b->chain;
	uint8_t *next = &c->first; /* where the next number goes */

	for (size_t i = 0; i < b->ws.n; i++) {
		struct word *w = &b->ws.w[i];
		uint8_t e[600] = { 0 }, num;
		size_t len;

		if (word_is(w, "part") || word_is(w, "frag")) {
			if (c->fragmented)
				continue;
			w->used = true;
			c->fragmented = true;
			c->fixed = c->len;
			*next = P_FRAG;
			next = &c->frag_next;
			continue;
		}
		if (ext_header(b, w, &num, e, &len) != 0)
			return -EINVAL;
		if (len == 0)
			continue;
		w->used = true;
		if (c->len + len > sizeof(c->b))
			return words_fail(&b->ws, "extension headers too long");
		memcpy(c->b + c->len, e, len);
		*next = num;
		next = c->b + c->len;
		c->len += len;
	}
	*next = b->proto;
	if (!c->fragmented)
		c->fixed = c->len;
	return 0;
}

static size_t ip6_fragment_header(struct builder *b, const struct part *part, uint8_t *out)
{
	uint64_t id = 0;

	if (words_number(&b->ws, "ipid", UINT32_MAX, &id) != 0)
		return 0;
	out[0] = b->chain.frag_next;
	out[1] = 0;
	put16(out + 2, (uint32_t)part->field_off | part->more);
	put32(out + 4, (uint32_t)id);
	return 8;
}

static size_t build_ip6(struct builder *b, uint8_t *out)
{
	struct word *kind = words_find(&b->ws, "kind");
	uint64_t ttl = kind->val[0] == 'N' ? 255 : 64, tos = 0, flow = 0, ver = 6, plen;
	struct chain *c = &b->chain;
	size_t movable, head, n;
	struct part part;

	if (build_chain(b) != 0)
		return 0;
	/* the fragmentable part, in one piece */
	movable = c->len - c->fixed;
	if (l4_room(b, movable) != 0)
		return 0;
	memmove(b->l4 + movable, b->l4, b->l4_len);
	memcpy(b->l4, c->b + c->fixed, movable);
	if (which_part(b, movable + b->l4_len, &part) != 0)
		return 0;
	memcpy(out + 40, c->b, c->fixed);
	head = 40 + c->fixed;
	if (c->fragmented) {
		n = ip6_fragment_header(b, &part, out + head);
		if (n == 0)
			return 0;
		head += n;
	}
	if (head - 40 + part.len > 65535) {
		words_fail(&b->ws, "more than 65535 bytes");
		return 0;
	}
	plen = head - 40 + part.len;
	if (words_number(&b->ws, "ttl", 255, &ttl) || words_number(&b->ws, "tos", 255, &tos) ||
	    words_number(&b->ws, "flow", 0xfffff, &flow) ||
	    words_number(&b->ws, "ver", 15, &ver) || words_number(&b->ws, "plen", 65535, &plen))
		return 0;
	if (!c->fragmented && (part.field_off || part.more)) {
		words_fail(&b->ws, "a fragment without frag");
		return 0;
	}
	put32(out, (uint32_t)(ver << 28 | tos << 20 | flow));
	put16(out + 4, (uint32_t)plen);
	out[6] = c->first;
	out[7] = (uint8_t)ttl;
	memcpy(out + 8, b->pair.src, 16);
	memcpy(out + 24, b->pair.dst, 16);
	memcpy(out + head, b->l4 + part.off, part.len);
	return head + part.len;
}

/* cut= of what is quoted; cut= of a frame is of the frame. */
static size_t cut_quote(struct builder *b, size_t len)
{
	uint64_t cut = len;

	if (words_number(&b->ws, "cut", 65535, &cut) != 0)
		return 0;
	return cut < len ? cut : len;
}

static size_t build_raw(struct builder *b, uint8_t *out)
{
	b->ws.w[0].used = true;
	if (add_payload(b) != 0)
		return 0;
	memcpy(out, b->l4, b->l4_len);
	return b->l4_len;
}

/* The bytes after the Ethernet header; 0: the text is wrong, and said so. */
static size_t build_words(uint8_t *out, struct builder *b)
{
	size_t len;

	if (b->ws.w[0].val_len == 3 && memcmp(b->ws.w[0].val, "RAW", 3) == 0)
		return build_raw(b, out);
	if (build_l4(b) != 0 || l4_checksum(b) != 0)
		return 0;
	len = b->pair.family == 6 ? build_ip6(b, out) : build_ip4(b, out);
	if (len > 65535 + 40)
		return 0;
	return len;
}

size_t build_l3(uint8_t *out, const char *text, size_t len, struct builder *b)
{
	uint8_t *room = malloc(ROOM + 64);
	size_t n = 0;

	if (room && words_split(&b->ws, text, len) == 0)
		n = build_words(room, b);
	if (n)
		n = cut_quote(b, n);
	if (n && (words_unused(&b->ws) != 0 || n > 65535))
		n = 0;
	if (n)
		memcpy(out, room, n < ROOM ? n : ROOM);
	free(room);
	return n;
}

/* --- the frame ---------------------------------------------------------------------- */

static size_t build_arp(struct builder *b, uint8_t *out, const uint8_t sender[6])
{
	struct word *op = words_find(&b->ws, "op"), *addr = words_find(&b->ws, "addr");
	uint64_t code, hw = 1, pr = 0x0800, hln = 6, pln = 4;

	b->ws.w[0].used = true;
	if (!op || text_pair(&b->ws, addr, &b->pair) != 0 || b->pair.family != 4) {
		words_fail(&b->ws, "ARP request|reply SRC>DST");
		return 0;
	}
	op->used = addr->used = true;
	code = op->val_len == 5 ? 2 : 1;
	memset(out, 0, 28);
	memcpy(out + 8, sender, 6);
	memcpy(out + 14, b->pair.src, 4);
	memcpy(out + 24, b->pair.dst, 4);
	if (words_number(&b->ws, "hw", 65535, &hw) || words_number(&b->ws, "pr", 65535, &pr) ||
	    words_number(&b->ws, "hln", 255, &hln) || words_number(&b->ws, "pln", 255, &pln) ||
	    words_number(&b->ws, "opcode", 65535, &code) || words_mac(&b->ws, "sender", out + 8) ||
	    words_mac(&b->ws, "target", out + 18))
		return 0;
	put16(out, (uint32_t)hw);
	put16(out + 2, (uint32_t)pr);
	out[4] = (uint8_t)hln;
	out[5] = (uint8_t)pln;
	put16(out + 6, (uint32_t)code);
	return 28;
}

static int metadata(struct builder *b, struct craft *c)
{
	struct word *partial = words_find(&b->ws, "partial");
	uint64_t size = 0;

	c->csum = CSUM_NONE;
	if (words_flag(&b->ws, "valid"))
		c->csum = CSUM_VALID;
	if (partial) {
		partial->used = true;
		c->csum = CSUM_PARTIAL;
		c->csum_set = partial->val_len == 3;
	}
	for (unsigned int i = 0; i < 3; i++) {
		static const char *const names[3] = { "gso", "gso4", "gso6" };

		if (!words_find(&b->ws, names[i]))
			continue;
		if (words_number(&b->ws, names[i], 65535, &size) != 0)
			return -EINVAL;
		c->gso = GSO_TCPV4; /* "gso": by the family, once it is known */
		if (i == 2)
			c->gso = GSO_TCPV6;
		c->gso_size = (uint16_t)size;
		c->csum = CSUM_PARTIAL;
	}
	if (words_flag(&b->ws, "complete"))
		c->csum = CSUM_NONE;
	c->copy_failed = words_flag(&b->ws, "copyfailed");
	return 0;
}

/* Ethernet header; returns its length. */
static size_t build_ether(struct builder *b, struct craft *c, uint16_t type)
{
	uint64_t ether = type, vlan = 0;
	size_t at = 12;

	if (words_mac(&b->ws, "smac", c->b + 6) != 0 || words_mac(&b->ws, "dmac", c->b) != 0 ||
	    words_number(&b->ws, "ether", 65535, &ether) != 0)
		return 0;
	if (words_find(&b->ws, "vlan")) {
		if (words_number(&b->ws, "vlan", 65535, &vlan) != 0)
			return 0;
		put16(c->b + at, 0x8100);
		put16(c->b + at + 2, (uint32_t)vlan);
		at += 4;
	}
	put16(c->b + at, (uint32_t)ether);
	return at + 2;
}

static int build_frame(struct builder *b, struct craft *c)
{
	const struct word *kind = &b->ws.w[0];
	bool arp = kind->val_len == 3 && memcmp(kind->val, "ARP", 3) == 0;
	uint8_t *room = malloc(ROOM + 64);
	struct word *padhex = words_find(&b->ws, "padhex");
	uint64_t pad = 0, cut = CRAFT_MAX;
	size_t head, n, offset = 0;
	int err = -EINVAL;

	if (!room || metadata(b, c) != 0 || words_mac(&b->ws, "smac", c->b + 6) != 0)
		goto out;
	b->partial = c->csum == CSUM_PARTIAL;
	n = arp ? build_arp(b, room, c->b + 6) : build_words(room, b);
	if (n == 0 && (b->ws.err[0] || kind->val[0] != 'R'))
		goto out;
	if (c->gso && words_find(&b->ws, "gso") && b->pair.family == 6)
		c->gso = GSO_TCPV6;
	head = build_ether(b, c, arp ? 0x0806 : b->pair.family == 6 ? 0x86dd : 0x0800);
	if (head == 0 || words_number(&b->ws, "pad", 2048, &pad) != 0 ||
	    words_number(&b->ws, "cut", CRAFT_MAX, &cut) != 0)
		goto out;
	if (padhex)
		padhex->used = true;
	if (head + n + (padhex ? padhex->val_len : pad) > CRAFT_MAX) {
		words_fail(&b->ws, "the frame is too long");
		goto out;
	}
	memcpy(c->b + head, room, n);
	memset(c->b + head + n, 0, pad);
	if (padhex && text_hex(&b->ws, padhex->val, padhex->val_len, c->b + head + n, 2048, &pad))
		goto out;
	c->len = head + n + pad;
	if (c->len > cut)
		c->len = cut;
	if (!arp && b->pair.family) {
		offset = head + (b->pair.family == 6 ? 40 + b->chain.len : (room[0] & 15u) * 4);
		c->csum_start = (uint16_t)(b->partial ? offset : 0);
		c->csum_offset = (uint16_t)(b->partial ? b->csum_at : 0);
	}
	err = words_unused(&b->ws);
out:
	free(room);
	return err;
}

int craft_build(struct craft *c, const char *text, const struct craft_link *link, char *err)
{
	char own[CRAFT_ERR];
	struct builder *b;
	int result;

	if (!err)
		err = own;
	err[0] = '\0';
	memset(c, 0, offsetof(struct craft, b) + CRAFT_ETH);
	if (link) {
		memcpy(c->b, link->dst, 6);
		memcpy(c->b + 6, link->src, 6);
	}
	b = builder_new(err, 0);
	if (!b)
		return -ENOMEM;
	result = words_split(&b->ws, text, strlen(text));
	if (result == 0)
		result = build_frame(b, c);
	if (result != 0)
		words_fail(&b->ws, "wrong: %.60s", text);
	free(b);
	return result;
}
