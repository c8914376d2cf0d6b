// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What all conversations share: the packets of both ends, one step, a datagram in
 * pieces, errors that quote.
 */
#include "tests/net/diff/diff.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define LOG_ROOM (256 << 10)

static uint8_t frames[SIDES][DATAGRAM_ROOM];
static struct outputs out[SIDES];

void conv_start(struct conv *c, struct rng *r, const char *kind, uint8_t family, uint8_t client,
		uint8_t proto)
{
	static uint16_t next_port = 20000;
	static char log[LOG_ROOM];
	char addr[64];

	memset(c, 0, offsetof(struct conv, at_uplink));
	memset(c->at_uplink_len, 0, sizeof(c->at_uplink_len));
	memset(c->at_client_len, 0, sizeof(c->at_client_len));
	c->log = log;
	c->log_len = 0;
	c->log_room = sizeof(log);
	c->rng = r;
	c->kind = kind;
	c->family = family;
	c->client = client;
	c->proto = proto;
	if (family == 6 && proto == P_ICMP)
		c->proto = P_ICMP6;
	addr_of(c->local, family, family == 4 ? ip4_text[client] : ip6_text[client]);
	policy_target(r, family, addr, sizeof(addr), &c->dport, &c->proto);
	if (proto)
		c->proto = family == 6 && proto == P_ICMP ? P_ICMP6 : proto;
	conv_remote(c, addr);
	next_port = next_port >= 59000 ? 20000 : (uint16_t)(next_port + 1);
	c->sport = c->nat[KERNEL] = c->nat[RINGFENCE] = next_port;
	counts.conversations++;
}

void conv_remote(struct conv *c, const char *addr)
{
	addr_of(c->remote, c->family, addr);
	memcpy(c->real, c->remote, 16);
}

void conv_end(struct conv *c)
{
	if (config.verbose)
		printf("# %s, rules %s%s:\n%.*s", c->kind, policy_name(UINT32_MAX),
		       c->over ? ", over" : "", (int)c->log_len, c->log);
}

void conv_log(struct conv *c, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(c->log + c->log_len, c->log_room - c->log_len, fmt, ap);
	va_end(ap);
	if (n > 0 && (size_t)n < c->log_room - c->log_len)
		c->log_len += (size_t)n;
}

static struct pk conv_pk(const struct conv *c, uint8_t at)
{
	static uint16_t id;
	struct pk k = {.at = at, .family = c->family, .proto = c->proto, .ttl = 64, .window = 8192};

	k.id = ++id;
	k.flow_label = id & 0xff;
	return k;
}

struct pk conv_out(struct conv *c)
{
	struct pk k = conv_pk(c, c->client);

	memcpy(k.src, c->local, 16);
	memcpy(k.dst, c->remote, 16);
	k.sport = c->sport;
	k.dport = c->dport;
	if (c->proto == P_ICMP || c->proto == P_ICMP6)
		k.type = c->family == 4 ? 8 : 128;
	return k;
}

struct pk conv_in(struct conv *c)
{
	struct pk k = conv_pk(c, UPLINK);

	memcpy(k.src, c->real, 16);
	addr_of(k.dst, c->family, c->family == 4 ? ip4_text[0] : ip6_text[0]);
	k.to_nat = true;
	k.sport = c->dport;
	k.dport = c->sport;
	if (c->proto == P_ICMP || c->proto == P_ICMP6) {
		k.type = c->family == 4 ? 0 : 129;
		k.dport = c->dport;
	}
	return k;
}

/* One frame to both sides; @len differs only when a quotation does. */
static bool send_both(struct conv *c, const struct pk *k, const uint32_t len[SIDES])
{
	char text[1100];

	describe(frames[RINGFENCE], len[RINGFENCE], text, sizeof(text));
	conv_log(c, "#   %s %s\n", k->at == UPLINK ? "up >" : "vm >", text);
	error_wait(k->at);
	for (int s = 0; s < SIDES; s++)
		exchange((enum side)s, k->at, frames[s], len[s], &out[s]);
	return compare(c, k, out);
}

bool step(struct conv *c, const struct pk *k)
{
	uint32_t len[SIDES];
	struct pk fitting = *k;

	if (c->over)
		return false;
	for (int s = 0; s < SIDES; s++)
		len[s] = build(frames[s], k, (enum side)s, c->nat[s]);
	if (k->at == UPLINK && len[KERNEL] > config.mtu + ETH) {
		/* longer ones do not come this way */
		fitting.len = (uint16_t)(k->len - (len[KERNEL] - config.mtu - ETH));
		for (int s = 0; s < SIDES; s++)
			len[s] = build(frames[s], &fitting, (enum side)s, c->nat[s]);
	}
	return send_both(c, &fitting, len);
}

/* --- pieces ----------------------------------------------------------------------- */

struct piece {
	uint32_t offset, len;
	bool more;
};

#define PIECES_MAX 60

static unsigned int cut_up(struct piece *p, uint32_t total, uint32_t cut)
{
	unsigned int n = 0;

	cut = cut / 8 * 8;
	for (uint32_t at = 0; at < total && n < PIECES_MAX; at += cut, n++) {
		p[n].offset = at;
		p[n].len = total - at < cut ? total - at : cut;
		p[n].more = at + p[n].len < total;
	}
	return n;
}

static void swap(struct piece *a, struct piece *b)
{
	struct piece t = *a;

	*a = *b;
	*b = t;
}

static unsigned int arrange(struct rng *r, struct piece *p, unsigned int n, enum pieces how)
{
	unsigned int i = 0;

	switch (how) {
	case REVERSED:
		for (i = 0; i < n / 2; i++)
			swap(&p[i], &p[n - 1 - i]);
		break;
	case SHUFFLED:
		for (i = n - 1; i > 0; i--)
			swap(&p[i], &p[rng_below(r, i + 1)]);
		break;
	case OVERLAPPING: /* one reaches eight bytes into the next */
		i = rng_below(r, n - 1);
		p[i].len += 8;
		break;
	case DUPLICATED: /* one before the last, so that it is not complete yet */
		i = rng_below(r, n - 1);
		memmove(&p[i + 1], &p[i], (n - i) * sizeof(*p));
		return n + 1;
	case INCOMPLETE:
		i = rng_below(r, n);
		memmove(&p[i], &p[i + 1], (n - i - 1) * sizeof(*p));
		return n - 1;
	default:
		break;
	}
	return n;
}

bool step_pieces(struct conv *c, const struct pk *k, uint32_t cut, enum pieces how)
{
	static uint8_t whole[SIDES][DATAGRAM_ROOM];
	static uint32_t next_id = 0x1000;
	struct piece pieces[PIECES_MAX + 2];
	uint32_t total = 0, head = 0, len[SIDES];
	struct pk part = *k;
	unsigned int n;

	if (c->over)
		return false;
	for (int s = 0; s < SIDES; s++) {
		total = build(whole[s], k, (enum side)s, c->nat[s]);
		head = unfragmentable(whole[s]);
	}
	next_id++;
	n = cut_up(pieces, total - head, cut);
	if (n < 2)
		return step(c, k);
	n = arrange(c->rng, pieces, n, how);
	part.traits |= T_FRAGMENT | (how == OVERLAPPING ? T_OVERLAP : 0) |
		       (k->proto == P_TCP && cut < 24 ? T_TINY : 0);
	for (unsigned int i = 0; i < n; i++) {
		const struct piece *p = &pieces[i];

		for (int s = 0; s < SIDES; s++)
			len[s] = build_fragment(frames[s], whole[s], p->offset, p->len, p->more,
						next_id);
		if (!send_both(c, &part, len))
			return false;
	}
	return true;
}

/* --- errors -------------------------------------------------------------------------- */

struct pk conv_error(struct conv *c, bool from_client, uint8_t type, uint8_t code, uint32_t info)
{
	struct pk k = from_client ? conv_out(c) : conv_in(c);

	k.proto = c->family == 4 ? P_ICMP : P_ICMP6;
	k.type = type;
	k.code = code;
	k.sport = (uint16_t)(info >> 16);
	k.dport = (uint16_t)info;
	k.to_nat = false;
	k.traits = T_ERROR;
	for (int s = 0; s < SIDES; s++) {
		k.data[s] = from_client ? c->at_client[s] : c->at_uplink[s];
		k.len = from_client ? c->at_client_len[s] : c->at_uplink_len[s];
	}
	if (c->family == 6 && k.len > 1200)
		k.len = 1200;
	if (c->family == 4 && k.len > 548)
		k.len = 548;
	return k;
}
