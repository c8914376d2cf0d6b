// SPDX-License-Identifier: GPL-2.0-or-later
#include "firewall/icmp.h"
#include "firewall/csum.h"

#define REPLY_TTL 64
#define REPLY_TOS 0xc0 /* RFC 1812 4.3.2.5: internetwork control */
#define ERROR_HEAD (IP4_LEN + ICMP_LEN)
#define QUOTE_MAX (FRAME_HEADER_MAX - ETH_LEN - ERROR_HEAD)

static_assert(QUOTE_MAX >= 60 + 8, "RFC 792: the header and eight bytes");
static_assert(ERROR_HEAD + QUOTE_MAX <= 576, "RFC 1812 4.3.2.3");

static void write_ip4(uint8_t *header, size_t ip_len, uint8_t proto, uint32_t src, uint32_t dst)
{
	uint8_t *ip = header + IP4_OFF;

	memset(ip, 0, IP4_LEN);
	ip[0] = 0x45;
	ip[1] = REPLY_TOS;
	put_be16(header + IP4_TOTAL, (uint16_t)ip_len);
	put_be16(header + IP4_FRAG, IP4_DF); /* atomic: the ID may be zero, RFC 6864 */
	header[IP4_TTL] = REPLY_TTL;
	header[IP4_PROTO] = proto;
	put_raw32(header + IP4_SRC, src);
	put_raw32(header + IP4_DST, dst);
	put_raw16(header + IP4_CSUM, (uint16_t)~csum_fold(csum_bytes(ip, IP4_LEN, 0)));
}

static void reply_meta(struct frame *f)
{
	f->csum = CSUM_NONE;
	f->csum_start = 0;
	f->csum_offset = 0;
	f->gso = GSO_NONE;
	f->gso_size = 0;
}

void icmp_error_build(struct frame *f, uint32_t src, uint32_t dst, uint8_t type, uint8_t code,
		      uint16_t info)
{
	uint8_t *icmp = f->header + IP4_OFF + IP4_LEN;
	size_t quote = (size_t)f->header_len - ETH_LEN;

	if (quote > QUOTE_MAX)
		quote = QUOTE_MAX;
	memmove(icmp + ICMP_LEN, f->header + IP4_OFF, quote);
	write_ip4(f->header, ERROR_HEAD + quote, IPPROTO4_ICMP, src, dst);
	memset(icmp, 0, ICMP_LEN);
	icmp[0] = type;
	icmp[1] = code;
	put_be16(icmp + 6, info);
	put_raw16(icmp + ICMP_CSUM,
		  (uint16_t)~csum_fold(csum_bytes(icmp, ICMP_LEN + quote, 0)));
	f->nseg = 0;
	f->header_len = (uint16_t)(ETH_LEN + ERROR_HEAD + quote);
	f->len = f->header_len;
	reply_meta(f);
}

void icmp_echo_build(struct frame *f, const struct packet *p)
{
	uint8_t *h = f->header;
	uint16_t old = get_raw16(h + p->l4);
	uint32_t src = ipkey_raw4(&p->src), dst = ipkey_raw4(&p->dst);
	uint16_t ttl = get_raw16(h + IP4_TTL);

	/* swapping the addresses leaves the header's sum alone */
	put_raw32(h + IP4_SRC, dst);
	put_raw32(h + IP4_DST, src);
	h[IP4_TTL] = REPLY_TTL;
	put_raw16(h + IP4_CSUM, csum_update(get_raw16(h + IP4_CSUM),
					    csum_fold(csum_diff16(ttl, get_raw16(h + IP4_TTL)))));
	h[p->l4] = ICMP_ECHO_REPLY;
	if (f->csum != CSUM_PARTIAL)
		put_raw16(h + p->csum,
			  csum_update_icmp(get_raw16(h + p->csum),
					   csum_fold(csum_diff16(old, get_raw16(h + p->l4)))));
}

bool icmp_checksum_ok(const struct frame *f, const struct packet *p)
{
	/* the payload in segments is not ours to read; then the end decides */
	if (f->csum != CSUM_NONE || f->nseg)
		return true;
	return csum_fold(csum_bytes(f->header + p->l4, p->l4_len, 0)) == 0xffff;
}

static enum drop_reason inner_ports(const uint8_t *l4, size_t have, struct icmp_inner *in)
{
	size_t csum;

	switch (in->proto) {
	case IPPROTO4_TCP:
		csum = TCP_CSUM;
		break;
	case IPPROTO4_UDP:
		csum = UDP_CSUM;
		break;
	case IPPROTO4_ICMP:
		/* I5, RFC 1122 3.2.2: only a query can be the cause */
		in->icmp_type = l4[0];
		if (in->icmp_type != ICMP_ECHO && in->icmp_type != ICMP_ECHO_REPLY)
			return DROP_ICMP_TYPE;
		in->sport = get_be16(l4 + ICMP_ID);
		in->dport = 0;
		in->csum = (uint16_t)(in->l4 + ICMP_CSUM);
		return DROP_NONE;
	default:
		return DROP_ICMP_NO_FLOW;
	}
	in->sport = get_be16(l4);
	in->dport = get_be16(l4 + 2);
	/* I2: with eight bytes of TCP there is no checksum to correct */
	in->csum = csum + 2 <= have ? (uint16_t)(in->l4 + csum) : 0;
	return DROP_NONE;
}

enum drop_reason icmp_inner_parse(const struct frame *f, const struct packet *p,
				  struct icmp_inner *in)
{
	size_t at = (size_t)p->l4 + ICMP_LEN;
	const uint8_t *ip = f->header + at;
	size_t ihl;

	memset(in, 0, sizeof(*in));
	if (at + IP4_LEN > f->header_len)
		return DROP_L4_HEADER; /* P1 */
	ihl = (size_t)(ip[0] & 15) * 4;
	if (ip[0] >> 4 != 4 || ihl < IP4_LEN || at + ihl + 8 > f->header_len)
		return DROP_L4_HEADER;
	if (get_be16(ip + 6) & IP4_FRAG_MASK)
		return DROP_ICMP_NO_FLOW; /* no ports in there */
	in->ip = (uint16_t)at;
	in->l4 = (uint16_t)(at + ihl);
	in->proto = ip[9];
	in->src = get_raw32(ip + 12);
	in->dst = get_raw32(ip + 16);
	return inner_ports(f->header + in->l4, (size_t)f->header_len - in->l4, in);
}

/* Store a word and add the change to the delta of what covers it. */
static void change16(uint8_t *at, uint16_t new, uint64_t *delta)
{
	*delta += csum_diff16(get_raw16(at), new);
	put_raw16(at, new);
}

static void inner_translate(struct frame *f, const struct icmp_inner *in, const struct flow *flow,
			    enum flow_dir dir, uint32_t from, uint32_t to, uint64_t *delta)
{
	uint8_t *ip = f->header + in->ip, *l4 = f->header + in->l4;
	/* our side is the source of what an error from outside quotes */
	bool is_src = dir == FLOW_IN;
	uint16_t port = is_src ? flow->client_port : flow->nat_port;
	uint16_t l4_delta = is_src ? (uint16_t)~flow->l4_delta : flow->l4_delta;
	size_t port_at = in->proto == IPPROTO4_ICMP ? ICMP_ID : is_src ? 0 : 2;

	*delta += csum_diff32(from, to);
	put_raw32(ip + (is_src ? 12 : 16), to);
	change16(ip + 10, csum_update(get_raw16(ip + 10), csum_fold(csum_diff32(from, to))),
		 delta);
	change16(l4 + port_at, raw_be16(port), delta);
	if (in->csum) {
		uint8_t *at = f->header + in->csum;
		uint16_t csum = get_raw16(at);

		csum = in->proto == IPPROTO4_UDP    ? csum_update_udp(csum, l4_delta)
		       : in->proto == IPPROTO4_ICMP ? csum_update_icmp(csum, l4_delta)
						    : csum_update(csum, l4_delta);
		change16(at, csum, delta);
	}
}

void icmp_translate(struct frame *f, const struct packet *p, const struct icmp_inner *in,
		    const struct flow *flow, enum flow_dir dir, uint32_t from, uint32_t to)
{
	uint8_t *h = f->header;
	uint64_t delta = 0, outer;
	uint16_t ttl = get_raw16(h + IP4_TTL);
	size_t outer_at = dir == FLOW_IN ? IP4_DST : IP4_SRC;

	inner_translate(f, in, flow, dir, from, to, &delta);
	/* odd offsets do not occur: all headers are multiples of four */
	if (f->csum != CSUM_PARTIAL)
		put_raw16(h + p->csum, csum_update(get_raw16(h + p->csum), csum_fold(delta)));

	outer = csum_diff32(get_raw32(h + outer_at), to);
	put_raw32(h + outer_at, to);
	h[IP4_TTL]--;
	outer += csum_diff16(ttl, get_raw16(h + IP4_TTL));
	put_raw16(h + IP4_CSUM, csum_update(get_raw16(h + IP4_CSUM), csum_fold(outer)));
}
