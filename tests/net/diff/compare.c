// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What came out of both sides for one packet: the same verdict, at the same port,
 * with the same bytes but for the NAT port; or an entry of differences.c.
 *
 * An error that a side makes itself is compared by what it says (addresses, type,
 * code, the packet that it quotes), because its own IP header and the length of
 * the quotation are each side's free choice.
 */
#include "tests/net/diff/diff.h"

#include <stdio.h>

struct counts counts;

static struct canon canons[SIDES];
static uint8_t whole_room[SIDES][2 * DATAGRAM_ROOM];

/* --- failures --------------------------------------------------------------------- */

static const char *const side_names[SIDES] = {"kernel", "ringfence"};

static const char *port_name(unsigned int port)
{
	static const char *const names[PORTS] = {"uplink", "client 1", "client 2", "client 3"};

	return names[port];
}

/* One of a kind is shown; the others would bury it. */
static bool is_new(const char *kind, const char *what)
{
	static char seen[64][200];
	static unsigned int n;
	char text[200];

	snprintf(text, sizeof(text), "%s %s", kind, what);
	for (unsigned int i = 0; i < n; i++)
		if (strcmp(seen[i], text) == 0)
			return false;
	if (n < 64)
		memcpy(seen[n++], text, sizeof(text));
	return true;
}

static void fail(struct conv *c, const struct outputs out[SIDES], const char *what)
{
	static char text[1200];

	counts.failures++;
	c->over = true;
	if (!is_new(c->kind, what) && !config.verbose)
		return;
	printf("not ok - %s: %s\n", c->kind, what);
	printf("# the conversation, rule set \"%s\", seed %llu:\n%.*s", policy_name(UINT32_MAX),
	       (unsigned long long)config.seed, (int)c->log_len, c->log);
	for (int s = 0; s < SIDES; s++) {
		if (out[s].n == 0)
			printf("#     %-9s nothing\n", side_names[s]);
		for (unsigned int i = 0; i < out[s].n; i++) {
			describe(out[s].f[i].b, out[s].f[i].len, text, sizeof(text));
			printf("#     %-9s to %s: %s\n", side_names[s], port_name(out[s].f[i].port),
			       text);
			hex_dump(out[s].f[i].b, out[s].f[i].len);
		}
	}
	fflush(stdout);
}

/* --- errors of their own ------------------------------------------------------------ */

static uint32_t at_most(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/*
 * The TTL of the quoted packet: the kernel rejects what it has already counted
 * down, the engine quotes what the client sent (I8).
 */
static bool quote_ttl(uint8_t *k, uint8_t *r, uint32_t len, uint32_t *fields)
{
	struct layout lk = parse(k, len), lr = parse(r, len);
	unsigned int at = lk.family == 4 ? 8 : 7;

	if (!lk.ok || !lr.ok || lk.family != lr.family || k[at] == r[at])
		return true;
	if (k[at] + 1 != r[at])
		return false;
	*fields |= FIELD_QUOTE_TTL;
	k[at]++;
	if (lk.family == 4) {
		/* both must have been right for what they stand in */
		uint32_t ihl = (r[0] & 15u) * 4;

		if (sum_of(r, ihl, 0) != 0xffff)
			return false;
		put16(k + 10, get16(r + 10));
	}
	return true;
}

/*
 * The kernel takes the fragment header out of an atomic fragment before it judges
 * it, and quotes what is left; the engine quotes what the client sent (F8, I8).
 * @r: the engine's quotation of @len bytes, becomes the kernel's. Returns how many
 * bytes fewer it has.
 */
static uint32_t undo_atomic(const uint8_t *k, uint8_t *r, uint32_t len, uint32_t *fields)
{
	struct layout lk = parse(k, len), lr = parse(r, len);
	uint32_t at = lr.frag_at, next_at = 6, next;

	if (lr.family != 6 || !lr.ok || !at || lr.fragment || !lk.ok || lk.frag_at)
		return 0;
	/* the field that names it is the last one in front of it */
	for (next = 40; next < at; next += (r[next + 1] + 1u) * 8)
		next_at = next;
	r[next_at] = r[at];
	memmove(r + at, r + at + 8, len - at - 8);
	put16(r + 4, (uint16_t)(get16(r + 4) - 8));
	*fields |= FIELD_ATOMIC;
	return 8;
}

/*
 * An error about a packet to a virtual DNS server: the kernel's DNAT takes whoever
 * sends it for the server, and translates its address back.
 */
static void undo_source(struct canon *k, struct canon *r, uint32_t *fields)
{
	uint8_t a[16], b[16], *from = k->b + ETH + 12;

	addr_of(a, 4, DNS_VIRTUAL);
	addr_of(b, 4, DNS_VIRTUAL2);
	if (!config.dns || k->b[ETH] >> 4 != 4 || memcmp(from, r->b + ETH + 12, 4) == 0 ||
	    (memcmp(from, a, 4) != 0 && memcmp(from, b, 4) != 0) || !k->ip_sum_ok)
		return;
	memcpy(from, r->b + ETH + 12, 4);
	put16(k->b + ETH + 10, get16(r->b + ETH + 10));
	*fields |= FIELD_SOURCE;
}

static const char *compare_error(const struct outputs out[SIDES], uint32_t *fields)
{
	struct canon *k = &canons[KERNEL], *r = &canons[RINGFENCE];
	struct layout lk = parse(k->b + ETH, k->len - ETH), lr = parse(r->b + ETH, r->len - ETH);
	uint32_t limit = lk.family == 4 ? 576 : 1280, len;
	unsigned int addrs = lk.family == 4 ? 8 : 32, at = lk.family == 4 ? 12 : 8;
	uint8_t *qk, *qr;

	if (!k->sum_ok || !r->sum_ok || !k->ip_sum_ok || !r->ip_sum_ok)
		return "an own error with a wrong checksum";
	if (memcmp(k->b, r->b, ETH) != 0)
		return "own errors with different Ethernet headers";
	undo_source(k, r, fields);
	if (memcmp(k->b + ETH + at, r->b + ETH + at, addrs) != 0)
		return "own errors from or to different addresses (I8)";
	if (memcmp(k->b + ETH, r->b + ETH, at) != 0)
		*fields |= FIELD_OWN_HEADER;
	qk = k->b + ETH + lk.l4 + 4;
	qr = r->b + ETH + lr.l4 + 4;
	if (memcmp(qk, qr, 4) != 0)
		return "own errors with different parameters";
	qk += 4;
	qr += 4;
	if (lr.len > limit)
		return "an own error that is too long";
	if (lk.len != lr.len)
		*fields |= FIELD_QUOTE_LENGTH;
	len = lr.len - lr.l4 - 8u;
	len = at_most(lk.len - lk.l4 - 8u, len - undo_atomic(qk, qr, len, fields));
	if (len < 28 && len < parse(qr, len).len)
		return "own errors that quote less than a header";
	if (!quote_ttl(qk, qr, len, fields) || memcmp(qk, qr, len) != 0)
		return "own errors that quote different packets";
	(void)out;
	return NULL;
}

/* --- forwarded packets ---------------------------------------------------------------- */

/* The place of the MSS option's value in a SYN, 0: none */
static uint32_t mss_place(const struct canon *c)
{
	const uint8_t *ip = c->b + ETH;
	struct layout l = parse(ip, c->len - ETH);
	uint32_t at, end;

	if (!l.ok || l.proto != P_TCP || l.later || l.l4 + 20u > l.len || !(ip[l.l4 + 13] & F_SYN))
		return 0;
	end = l.l4 + (ip[l.l4 + 12] >> 4) * 4u;
	for (at = l.l4 + 20u; at + 4 <= end && ip[at] != 0;) {
		if (ip[at] == 2)
			return ETH + at + 2;
		at += ip[at] == 1 ? 1 : ip[at + 1] ? ip[at + 1] : 40u;
	}
	return 0;
}

/* 2.3: the engine may lower it to what fits, and must have changed the checksum */
static void undo_clamp(struct canon *k, struct canon *r, uint32_t *fields)
{
	uint32_t at = mss_place(r), was;
	uint16_t fits = (uint16_t)(config.mtu - (r->b[ETH] >> 4 == 4 ? 40 : 60));
	struct layout l;

	if (at == 0 || k->len != r->len || get16(r->b + at) != fits)
		return;
	was = get16(k->b + at);
	if (was <= fits || !r->sum_ok || !k->sum_ok)
		return;
	l = parse(k->b + ETH, k->len - ETH);
	*fields |= FIELD_MSS;
	memcpy(r->b + at, k->b + at, 2);
	memcpy(r->b + ETH + l.sum_at, k->b + ETH + l.sum_at, 2);
}

/* The kernel clears DF of some datagrams that came in pieces; the engine never (P10). */
static void undo_df(const struct pk *p, struct canon *k, struct canon *r, uint32_t *fields)
{
	uint8_t *kip = k->b + ETH, *rip = r->b + ETH;

	if (p->family != 4 || !(p->traits & T_FRAGMENT) || !(p->frag & 0x4000) ||
	    (kip[6] & 0x40) == (rip[6] & 0x40) || !(rip[6] & 0x40) || !k->ip_sum_ok)
		return;
	kip[6] |= 0x40;
	memcpy(kip + 10, rip + 10, 2);
	*fields |= FIELD_DF;
}

/* U11: the kernel rewrites ports and checksum of these; only addresses are compared. */
static void undo_ports(struct canon *k, struct canon *r, uint32_t *fields)
{
	struct layout l = parse(r->b + ETH, r->len - ETH);

	if (!l.ok || l.l4 + 12u > l.len || memcmp(k->b + ETH + l.l4, r->b + ETH + l.l4, 12) == 0)
		return;
	*fields |= FIELD_PROTO;
	memcpy(r->b + ETH + l.l4, k->b + ETH + l.l4, 12);
}

static const char *compare_bytes(const struct pk *p, uint32_t *fields)
{
	struct canon *k = &canons[KERNEL], *r = &canons[RINGFENCE];

	if (k->ip_sum_ok != r->ip_sum_ok || !r->ip_sum_ok)
		return "a wrong IP checksum";
	if (k->sum_ok != r->sum_ok)
		return "one checksum is right, the other is not";
	if (!r->sum_ok && !(p->traits & (T_BAD_SUM | T_QUOTE_BAD)))
		return "a wrong checksum";
	if ((p->traits & T_ERROR) && p->at == UPLINK)
		undo_source(k, r, fields);
	undo_clamp(k, r, fields);
	undo_df(p, k, r, fields);
	if (k->len != r->len)
		return "different lengths";
	if (p->traits & T_EXT_OTHER)
		return NULL; /* what is behind is not looked at, or is */
	if (p->traits & T_PORTED)
		undo_ports(k, r, fields);
	if (memcmp(k->b, r->b, k->len) != 0)
		return "different bytes";
	return NULL;
}

/* An echo reply of the firewall's own: identification and flow label are its own, too. */
static void forget_id(uint32_t *fields)
{
	uint8_t *k = canons[KERNEL].b + ETH, *r = canons[RINGFENCE].b + ETH;

	if (k[0] >> 4 == 6 && r[0] >> 4 == 6 && memcmp(k, r, 4) != 0) {
		memcpy(k + 1, r + 1, 3);
		*fields |= FIELD_OWN_HEADER;
	}
	if (k[0] >> 4 != 4 || r[0] >> 4 != 4 || memcmp(k + 4, r + 4, 4) == 0)
		return;
	if (!canons[KERNEL].ip_sum_ok || !canons[RINGFENCE].ip_sum_ok)
		return; /* and that will be said */
	memcpy(k + 4, r + 4, 4);
	memcpy(k + 10, r + 10, 2);
	*fields |= FIELD_OWN_HEADER;
}

/* --- verdicts --------------------------------------------------------------------------- */

struct verdict verdict_of(const struct pk *p, const struct outputs *o)
{
	struct verdict v = {O_NONE, 0, 0};
	struct layout l;

	if (o->n == 0)
		return v;
	v.outcome = O_OTHER;
	if (o->n > 1)
		return v;
	if (o->f[0].port != p->at) {
		v.outcome = O_FORWARDED;
		return v;
	}
	v.outcome = O_ANSWER;
	if (o->f[0].len < ETH + 20)
		return v;
	l = parse(o->f[0].b + ETH, o->f[0].len - ETH);
	if (l.ok && l.error) {
		v.outcome = O_ERROR;
		v.type = o->f[0].b[ETH + l.l4];
		v.code = o->f[0].b[ETH + l.l4 + 1];
	}
	return v;
}

static void keep(uint8_t *to, uint16_t *to_len, const struct bytes *f)
{
	uint32_t len = f->len - ETH;

	if (f->len < ETH || len > FRAME_ROOM)
		len = 0;
	memcpy(to, f->b + ETH, len);
	*to_len = (uint16_t)len;
}

/* Which port each side chose, and the packets for errors to quote. */
static void learn(struct conv *c, const struct outputs out[SIDES])
{
	for (int s = 0; s < SIDES; s++) {
		const struct bytes *f = &out[s].f[0];
		uint16_t nat;

		if (f->port != UPLINK) {
			keep(c->at_client[s], &c->at_client_len[s], f);
			continue;
		}
		keep(c->at_uplink[s], &c->at_uplink_len[s], f);
		if (!nat_port_of(f, &nat))
			continue;
		c->nat[s] = nat;
		memcpy(c->real, f->b + ETH + (c->family == 4 ? 16 : 24), c->family == 4 ? 4 : 16);
	}
}

static bool differ(struct conv *c, const struct pk *p, const struct outputs out[SIDES],
		   const struct verdict v[SIDES])
{
	static const char *const names[] = {"nothing", "forwarded", "error", "answered", "many"};
	const struct difference *d = difference_find(p, v);
	char text[160];

	c->over = true;
	if (d) {
		counts.differences++;
		if (config.verbose)
			printf("# %s: %s\n", c->kind, d->name);
		return false;
	}
	snprintf(text, sizeof(text), "kernel: %s %u/%u, ringfence: %s %u/%u, traits %08x",
		 names[v[KERNEL].outcome], v[KERNEL].type, v[KERNEL].code,
		 names[v[RINGFENCE].outcome], v[RINGFENCE].type, v[RINGFENCE].code, p->traits);
	fail(c, out, text);
	return false;
}

/* Whether the pieces of a datagram are the same on both sides */
static bool same_pieces(const struct outputs out[SIDES])
{
	if (out[KERNEL].n != out[RINGFENCE].n)
		return false;
	for (unsigned int i = 0; i < out[KERNEL].n; i++)
		if (out[KERNEL].f[i].len != out[RINGFENCE].f[i].len)
			return false;
	return true;
}

static const char *compare_same(struct conv *c, const struct pk *p, struct outputs out[SIDES],
				enum outcome outcome, uint32_t *fields)
{
	if (out[KERNEL].f[0].port != out[RINGFENCE].f[0].port)
		return "to different ports";
	if (outcome == O_FORWARDED)
		learn(c, out);
	for (int s = 0; s < SIDES; s++)
		canonical(&canons[s], &out[s].f[0], c->nat[s], c->sport);
	if (outcome == O_ERROR)
		return compare_error(out, fields);
	if (outcome == O_ANSWER)
		forget_id(fields);
	if (outcome == O_FORWARDED && p->at != UPLINK && c->nat[KERNEL] != c->nat[RINGFENCE] &&
	    (c->nat[KERNEL] == c->sport || c->nat[RINGFENCE] == c->sport))
		return "only one side kept the port (N9)";
	return compare_bytes(p, fields);
}

bool compare(struct conv *c, const struct pk *p, struct outputs out[SIDES])
{
	struct verdict v[SIDES];
	uint32_t fields = 0;
	const char *what;

	counts.packets++;
	if (!same_pieces(out))
		fields |= p->exts ? FIELD_PIECES : FIELD_OTHER_PIECES;
	for (int s = 0; s < SIDES; s++) {
		reassemble(&out[s], whole_room[s], sizeof(whole_room[s]));
		v[s] = verdict_of(p, &out[s]);
	}
	if (v[RINGFENCE].outcome == O_ERROR || v[RINGFENCE].outcome == O_ANSWER)
		error_seen(p->at);
	c->passed = c->answered = false;
	if (memcmp(&v[KERNEL].type, &v[RINGFENCE].type, 2) != 0 ||
	    v[KERNEL].outcome != v[RINGFENCE].outcome)
		return differ(c, p, out, v);
	if (v[KERNEL].outcome == O_NONE) {
		counts.silent++;
		return true;
	}
	if (v[KERNEL].outcome == O_OTHER) {
		fail(c, out, "more than one packet");
		return false;
	}
	what = compare_same(c, p, out, v[KERNEL].outcome, &fields);
	if (v[KERNEL].outcome != O_FORWARDED)
		fields &= ~(uint32_t)(FIELD_PIECES | FIELD_OTHER_PIECES);
	for (uint32_t f = 1; what == NULL && f <= FIELD_LAST; f <<= 1)
		if ((fields & f) && !difference_field((enum field)f))
			what = "a field that may not differ";
	if (what) {
		fail(c, out, what);
		return false;
	}
	c->passed = v[KERNEL].outcome == O_FORWARDED;
	c->answered = !c->passed;
	if (c->passed)
		counts.forwarded++;
	else
		counts.rejected++;
	return true;
}
