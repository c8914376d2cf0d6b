// SPDX-License-Identifier: GPL-2.0-or-later
/* Text to bytes: payload, TCP, UDP, ICMP, neighbour discovery. */
#include "tests/craft/craft_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int l4_room(struct builder *b, size_t n)
{
	if (b->l4_len + n <= 65535)
		return 0;
	return words_fail(&b->ws, "more than 65535 bytes");
}

/* --- payload ---------------------------------------------------------------------- */

static int add_quote(struct builder *b)
{
	struct word *w = words_find(&b->ws, "quote");
	struct builder *inner;
	size_t n;

	if (!w)
		return 0;
	w->used = true;
	if (b->depth == QUOTE_DEPTH)
		return words_fail(&b->ws, "quotes too deep");
	inner = builder_new(b->ws.err, b->depth + 1);
	if (!inner)
		return -ENOMEM;
	/* a full packet first: what is quoted may be a part of it */
	n = build_l3(b->l4 + b->l4_len, w->val, w->val_len, inner);
	if (n && l4_room(b, n) != 0)
		n = 0;
	b->l4_len += n;
	b->quoted = n;
	free(inner);
	return n ? 0 : -EINVAL;
}

int add_payload(struct builder *b)
{
	struct word *hex = words_find(&b->ws, "hex");
	uint64_t len = 0, fill = 0;
	size_t n;

	if (words_number(&b->ws, "len", 65535, &len) != 0 ||
	    words_number(&b->ws, "fill", 255, &fill) != 0 || l4_room(b, len) != 0)
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		b->l4[b->l4_len++] = pattern_byte(i, (unsigned int)fill);
	if (!hex)
		return 0;
	hex->used = true;
	if (text_hex(&b->ws, hex->val, hex->val_len, b->l4 + b->l4_len, 65535 - b->l4_len, &n) != 0)
		return -EINVAL;
	b->l4_len += n;
	return 0;
}

/* --- TCP -------------------------------------------------------------------------- */

const char tcp_flag_letters[9] = "SFRPAUEC";
const uint8_t tcp_flag_bits[8] = { 0x02, 0x01, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80 };

static int tcp_flags(struct builder *b, uint8_t *flags)
{
	struct word *w = words_find(&b->ws, "flags");

	*flags = 0;
	if (!w)
		return words_fail(&b->ws, "TCP without flags");
	w->used = true;
	for (size_t i = 0; i < w->val_len; i++) {
		const char *at = strchr(tcp_flag_letters, w->val[i]);

		if (at)
			*flags |= tcp_flag_bits[at - tcp_flag_letters];
		else if (w->val_len != 1 || w->val[0] != '-')
			return words_fail(&b->ws, "TCP flags: %.*s", (int)w->val_len, w->val);
	}
	return 0;
}

static int sack_option(struct builder *b, const struct word *w, uint8_t *o, size_t *n)
{
	size_t at = 0;

	o[0] = 5;
	*n = 2;
	while (at < w->val_len) {
		size_t len = text_until(w->val + at, w->val_len - at, ',');
		size_t left = text_until(w->val + at, len, '-');
		uint64_t l, r;

		if (*n > 34 || left == len ||
		    text_number(&b->ws, w->val + at, left, UINT32_MAX, &l) != 0 ||
		    text_number(&b->ws, w->val + at + left + 1, len - left - 1, UINT32_MAX, &r))
			return words_fail(&b->ws, "sack: %.*s", (int)w->val_len, w->val);
		put32(o + *n, (uint32_t)l);
		put32(o + *n + 4, (uint32_t)r);
		*n += 8;
		at += len + 1;
	}
	o[1] = (uint8_t)*n;
	return 0;
}

static int ts_option(struct builder *b, const struct word *w, uint8_t *o, size_t *n)
{
	size_t half = text_until(w->val, w->val_len, '/');
	uint64_t v, e = 0;

	if (text_number(&b->ws, w->val, half, UINT32_MAX, &v) != 0 ||
	    (half < w->val_len && text_number(&b->ws, w->val + half + 1, w->val_len - half - 1,
					      UINT32_MAX, &e) != 0))
		return -EINVAL;
	o[0] = 8;
	o[1] = 10;
	put32(o + 2, (uint32_t)v);
	put32(o + 6, (uint32_t)e);
	*n = 10;
	return 0;
}

/* opt=KIND/HEX, or opt=KIND alone with its length byte */
static int raw_option(struct builder *b, const struct word *w, uint8_t *o, size_t *n)
{
	size_t half = text_until(w->val, w->val_len, '/'), data = 0;
	uint64_t kind;

	if (text_number(&b->ws, w->val, half, 255, &kind) != 0 ||
	    (half < w->val_len && text_hex(&b->ws, w->val + half + 1, w->val_len - half - 1, o + 2,
					   38, &data) != 0))
		return -EINVAL;
	o[0] = (uint8_t)kind;
	o[1] = (uint8_t)(2 + data);
	*n = 2 + data;
	return 0;
}

/* One option to o (room for 40 bytes); *n 0: the word is no option. */
static int tcp_option(struct builder *b, const struct word *w, uint8_t *o, size_t *n)
{
	uint64_t v = 0;

	*n = 0;
	if (word_is(w, "nop") || word_is(w, "eol")) {
		o[0] = w->key[0] == 'n';
		*n = 1;
	} else if (word_is(w, "mss")) {
		o[0] = 2;
		o[1] = 4;
		*n = 4;
		if (text_number(&b->ws, w->val, w->val_len, 65535, &v) != 0)
			return -EINVAL;
		put16(o + 2, (uint32_t)v);
	} else if (word_is(w, "wscale")) {
		o[0] = 3;
		o[1] = 3;
		*n = 3;
		if (text_number(&b->ws, w->val, w->val_len, 255, &v) != 0)
			return -EINVAL;
		o[2] = (uint8_t)v;
	} else if (word_is(w, "sackok")) {
		o[0] = 4;
		o[1] = 2;
		*n = 2;
	} else if (word_is(w, "sack")) {
		return sack_option(b, w, o, n);
	} else if (word_is(w, "ts")) {
		return ts_option(b, w, o, n);
	} else if (word_is(w, "opt")) {
		return raw_option(b, w, o, n);
	} else if (word_is(w, "rawopt")) {
		return text_hex(&b->ws, w->val, w->val_len, o, 40, n);
	}
	return 0;
}

static int tcp_options(struct builder *b)
{
	uint8_t o[48];
	size_t n;

	for (size_t i = 0; i < b->ws.n; i++) {
		if (tcp_option(b, &b->ws.w[i], o, &n) != 0)
			return -EINVAL;
		if (n == 0)
			continue;
		b->ws.w[i].used = true;
		if (b->l4_len + n > 60)
			return words_fail(&b->ws, "more than 40 bytes of TCP options");
		memcpy(b->l4 + b->l4_len, o, n);
		b->l4_len += n;
	}
	while (b->l4_len % 4)
		b->l4[b->l4_len++] = 0;
	return 0;
}

static int build_tcp(struct builder *b)
{
	uint64_t seq = 0, ack = 0, win = 65535, urg = 0, doff, res = 0;
	uint8_t flags;

	if (!b->pair.ports)
		return words_fail(&b->ws, "TCP without ports");
	if (tcp_flags(b, &flags) != 0 || words_number(&b->ws, "seq", UINT32_MAX, &seq) != 0 ||
	    words_number(&b->ws, "ack", UINT32_MAX, &ack) != 0 ||
	    words_number(&b->ws, "win", 65535, &win) != 0 ||
	    words_number(&b->ws, "urg", 65535, &urg) != 0)
		return -EINVAL;
	put16(b->l4, b->pair.sport);
	put16(b->l4 + 2, b->pair.dport);
	put32(b->l4 + 4, (uint32_t)seq);
	put32(b->l4 + 8, (uint32_t)ack);
	b->l4[13] = flags;
	put16(b->l4 + 14, (uint32_t)win);
	put16(b->l4 + 18, (uint32_t)urg);
	b->l4_len = 20;
	if (tcp_options(b) != 0)
		return -EINVAL;
	doff = b->l4_len / 4;
	if (words_number(&b->ws, "doff", 15, &doff) != 0 ||
	    words_number(&b->ws, "res", 15, &res) != 0)
		return -EINVAL;
	b->l4[12] = (uint8_t)(doff << 4 | res);
	b->csum_at = 16;
	return add_payload(b);
}

/* --- UDP, ICMP, neighbour discovery ------------------------------------------------ */

static int build_udp(struct builder *b)
{
	uint64_t ulen;

	if (!b->pair.ports)
		return words_fail(&b->ws, "UDP without ports");
	put16(b->l4, b->pair.sport);
	put16(b->l4 + 2, b->pair.dport);
	b->l4_len = 8;
	if (add_payload(b) != 0)
		return -EINVAL;
	ulen = b->l4_len;
	if (words_number(&b->ws, "ulen", 65535, &ulen) != 0)
		return -EINVAL;
	put16(b->l4 + 4, (uint32_t)ulen);
	b->csum_at = 6;
	return 0;
}

const struct icmp_name icmp_names[] = {
	{ "echo", 8, 0, 128, 0 },	{ "echo-reply", 0, 0, 129, 0 },
	{ "net", 3, 0, 1, 0 },		{ "host", 3, 1, 1, 0 },
	{ "port", 3, 3, 1, 4 },		{ "admin", 3, 13, 1, 1 },
	{ "prohibited", 3, 10, 1, 1 },	{ "too-big", 3, 4, 2, 0 },
	{ "ttl", 11, 0, 3, 0 },		{ "frag-time", 11, 1, 3, 1 },
	{ "param", 12, 0, 4, 0 },	{ NULL, 0, 0, 0, 0 },
};

static int icmp_type(struct builder *b, uint8_t *type, uint8_t *code)
{
	struct word *w = words_find(&b->ws, "type");
	uint64_t t, c = 0;
	size_t half;

	if (!w)
		return words_fail(&b->ws, "ICMP without a type");
	w->used = true;
	for (const struct icmp_name *n = icmp_names; n->name; n++) {
		if (strlen(n->name) != w->val_len || memcmp(n->name, w->val, w->val_len) != 0)
			continue;
		*type = b->pair.family == 6 ? n->type6 : n->type4;
		*code = b->pair.family == 6 ? n->code6 : n->code4;
		return 0;
	}
	half = text_until(w->val, w->val_len, '/');
	if (text_number(&b->ws, w->val, half, 255, &t) != 0 ||
	    (half < w->val_len &&
	     text_number(&b->ws, w->val + half + 1, w->val_len - half - 1, 255, &c) != 0))
		return -EINVAL;
	*type = (uint8_t)t;
	*code = (uint8_t)c;
	return 0;
}

static int build_icmp(struct builder *b)
{
	uint64_t word = 0, id = 0, seq = 0, mtu = 0;

	if (b->pair.ports || icmp_type(b, &b->l4[0], &b->l4[1]) != 0 ||
	    words_number(&b->ws, "word", UINT32_MAX, &word) != 0 ||
	    words_number(&b->ws, "id", 65535, &id) != 0 ||
	    words_number(&b->ws, "seq", 65535, &seq) != 0 ||
	    words_number(&b->ws, "mtu", UINT32_MAX, &mtu) != 0)
		return words_fail(&b->ws, "ICMP");
	word |= id << 16 | seq | mtu;
	if (words_find(&b->ws, "ptr")) {
		uint64_t ptr = 0;

		if (words_number(&b->ws, "ptr", UINT32_MAX, &ptr) != 0)
			return -EINVAL;
		word |= b->pair.family == 6 ? ptr : ptr << 24;
	}
	put32(b->l4 + 4, (uint32_t)word);
	b->l4_len = 8;
	b->csum_at = 2;
	return add_quote(b) != 0 ? -EINVAL : add_payload(b);
}

static int nd_link(struct builder *b, const char *key, uint8_t type)
{
	uint8_t *o = b->l4 + b->l4_len;

	if (!words_find(&b->ws, key))
		return 0;
	o[0] = type;
	o[1] = 1;
	b->l4_len += 8;
	return words_mac(&b->ws, key, o + 2);
}

static int build_nd(struct builder *b, uint8_t type)
{
	struct word *target = words_find(&b->ws, "target"), *rso = words_find(&b->ws, "nd");
	struct word *opt = words_find(&b->ws, "ndopt");
	uint8_t family;
	size_t n;

	if (!target || b->pair.family != 6)
		return words_fail(&b->ws, "NS and NA are IPv6 and have a target");
	b->l4[0] = type;
	b->l4_len = 24;
	b->csum_at = 2;
	target->used = true;
	if (text_addr(&b->ws, target->val, target->val_len, &family, b->l4 + 8) != 0 || family != 6)
		return words_fail(&b->ws, "target");
	if (rso) {
		rso->used = true;
		for (size_t i = 0; i < rso->val_len; i++) {
			const char *at = strchr("RSO", rso->val[i]);

			if (!at)
				return words_fail(&b->ws, "nd= knows R, S and O");
			b->l4[4] |= (uint8_t)(0x80 >> (*at == 'R' ? 0 : *at == 'S' ? 1 : 2));
		}
	}
	if (nd_link(b, "slla", 1) != 0 || nd_link(b, "tlla", 2) != 0)
		return -EINVAL;
	if (opt) {
		opt->used = true;
		if (text_hex(&b->ws, opt->val, opt->val_len, b->l4 + b->l4_len, 256, &n) != 0)
			return -EINVAL;
		b->l4_len += n;
	}
	return add_payload(b);
}

int build_l4(struct builder *b)
{
	static const struct {
		const char *kind;
		uint8_t proto4, proto6;
	} kinds[] = {
		{ "TCP", P_TCP, P_TCP },      { "UDP", P_UDP, P_UDP },
		{ "ICMP", P_ICMP, P_ICMP6 },  { "NS", P_ICMP6, P_ICMP6 },
		{ "NA", P_ICMP6, P_ICMP6 },   { "IP", P_NONE, P_NONE },
	};
	struct word *kind = words_find(&b->ws, "kind"), *addr = words_find(&b->ws, "addr");
	uint64_t proto;
	size_t i;
	int err;

	if (text_pair(&b->ws, addr, &b->pair) != 0)
		return -EINVAL;
	kind->used = addr->used = true;
	for (i = 0; i < 6; i++)
		if (kind->val_len == strlen(kinds[i].kind) &&
		    memcmp(kind->val, kinds[i].kind, kind->val_len) == 0)
			break;
	if (i == 6)
		return words_fail(&b->ws, "what is %.*s?", (int)kind->val_len, kind->val);
	proto = b->pair.family == 6 ? kinds[i].proto6 : kinds[i].proto4;
	err = i == 0 ? build_tcp(b) : i == 1 ? build_udp(b) : i == 2 ? build_icmp(b)
	    : i == 3 ? build_nd(b, 135) : i == 4 ? build_nd(b, 136) : add_payload(b);
	if (err || words_number(&b->ws, "proto", 255, &proto) != 0)
		return -EINVAL;
	b->proto = (uint8_t)proto;
	return 0;
}
