// SPDX-License-Identifier: GPL-2.0-or-later
/* Errors and answers of our own. Other people's errors: icmp_error.c. */
#include "firewall/icmp.h"
#include "firewall/csum.h"

#define REPLY_TTL 64
#define REPLY_TOS 0xc0 /* RFC 1812 4.3.2.5: internetwork control */
#define HEAD4 (IP4_LEN + ICMP_LEN)
#define HEAD6 (IP6_LEN + ICMP_LEN)

static_assert(FRAME_HEADER_MAX - ETH_LEN - HEAD4 >= 60 + 8, "RFC 792: header and eight bytes");
static_assert(FRAME_HEADER_MAX - ETH_LEN <= 576, "RFC 1812 4.3.2.3, RFC 4443 2.4 (c)");

static const struct {
	uint8_t type4, code4, type6, code6;
} errors[ICMP_ERRS] = {
	[ICMP_ERR_ADMIN] = { ICMP_UNREACH, ICMP_UNREACH_ADMIN, ICMP6_UNREACH,
			     ICMP6_UNREACH_ADMIN },
	[ICMP_ERR_HOST_PROHIBITED] = { ICMP_UNREACH, ICMP_UNREACH_HOST_PROHIBITED, ICMP6_UNREACH,
				       ICMP6_UNREACH_ADMIN },
	[ICMP_ERR_UNREACHABLE] = { ICMP_UNREACH, ICMP_UNREACH_HOST, ICMP6_UNREACH,
				   ICMP6_UNREACH_NO_ROUTE },
	[ICMP_ERR_TOO_BIG] = { ICMP_UNREACH, ICMP_UNREACH_FRAG_NEEDED, ICMP6_TOO_BIG, 0 },
	[ICMP_ERR_TTL] = { ICMP_TIME_EXCEEDED, ICMP_TIME_TRANSIT, ICMP6_TIME_EXCEEDED,
			   ICMP_TIME_TRANSIT },
	[ICMP_ERR_REASSEMBLY] = { ICMP_TIME_EXCEEDED, ICMP_TIME_REASSEMBLY, ICMP6_TIME_EXCEEDED,
				  ICMP_TIME_REASSEMBLY },
};

static void write_ip4(uint8_t *header, size_t ip_len, const struct ipkey *src,
		      const struct ipkey *dst)
{
	uint8_t *ip = header + IP4_OFF;

	memset(ip, 0, IP4_LEN);
	ip[0] = 0x45;
	ip[1] = REPLY_TOS;
	put_be16(header + IP4_TOTAL, (uint16_t)ip_len);
	put_be16(header + IP4_FRAG, IP4_DF); /* atomic: the ID may be zero, RFC 6864 */
	header[IP4_TTL] = REPLY_TTL;
	header[IP4_PROTO] = PROTO_ICMP;
	put_raw32(header + IP4_SRC, ipkey_raw4(src));
	put_raw32(header + IP4_DST, ipkey_raw4(dst));
	put_raw16(header + IP4_CSUM, (uint16_t)~csum_fold(csum_bytes(ip, IP4_LEN, 0)));
}

static void write_ip6(uint8_t *header, size_t ip_len, const struct ipkey *src,
		      const struct ipkey *dst)
{
	memset(header + IP6_OFF, 0, IP6_LEN);
	header[IP6_OFF] = 0x60;
	put_be16(header + IP6_PLEN, (uint16_t)(ip_len - IP6_LEN));
	header[IP6_NEXT] = PROTO_ICMP6;
	header[IP6_HOPS] = REPLY_TTL;
	memcpy(header + IP6_SRC, src->w, 16);
	memcpy(header + IP6_DST, dst->w, 16);
}

static uint64_t pseudo6(const struct ipkey *src, const struct ipkey *dst, size_t len)
{
	uint64_t sum = (uint64_t)raw_be16(PROTO_ICMP6) + raw_be16((uint16_t)len);

	return csum_bytes(dst, sizeof(*dst), csum_bytes(src, sizeof(*src), sum));
}

void icmp_error_build(struct frame *f, uint8_t family, const struct ipkey *src,
		      const struct ipkey *dst, enum icmp_error error, uint16_t mtu)
{
	size_t head = family == 6 ? HEAD6 : HEAD4, quote = (size_t)f->header_len - ETH_LEN;
	uint8_t *icmp = f->header + ETH_LEN + head - ICMP_LEN;
	uint64_t sum = 0;

	if (quote > FRAME_HEADER_MAX - ETH_LEN - head)
		quote = FRAME_HEADER_MAX - ETH_LEN - head;
	memmove(icmp + ICMP_LEN, f->header + ETH_LEN, quote);
	memset(icmp, 0, ICMP_LEN);
	icmp[0] = family == 6 ? errors[error].type6 : errors[error].type4;
	icmp[1] = family == 6 ? errors[error].code6 : errors[error].code4;
	/* RFC 1191 4 and RFC 4443 3.2: in both, the MTU ends the ICMP header */
	if (error == ICMP_ERR_TOO_BIG)
		put_be16(icmp + 6, mtu);
	if (family == 6) {
		write_ip6(f->header, head + quote, src, dst);
		sum = pseudo6(src, dst, ICMP_LEN + quote);
	} else {
		write_ip4(f->header, head + quote, src, dst);
	}
	put_raw16(icmp + ICMP_CSUM, (uint16_t)~csum_fold(csum_bytes(icmp, ICMP_LEN + quote, sum)));
	f->nseg = 0;
	f->header_len = (uint16_t)(ETH_LEN + head + quote);
	f->len = f->header_len;
	f->csum = CSUM_NONE;
	f->csum_start = 0;
	f->csum_offset = 0;
	f->gso = GSO_NONE;
	f->gso_size = 0;
}

void icmp_echo_build(struct frame *f, const struct packet *p)
{
	uint8_t *h = f->header;
	uint16_t old = get_raw16(h + p->l4), ttl, delta;

	/* swapping the addresses leaves all sums alone */
	if (p->family == 6) {
		memcpy(h + IP6_SRC, p->dst.w, 16);
		memcpy(h + IP6_DST, p->src.w, 16);
		h[IP6_HOPS] = REPLY_TTL;
		h[p->l4] = ICMP6_ECHO_REPLY;
	} else {
		ttl = get_raw16(h + IP4_TTL);
		put_raw32(h + IP4_SRC, ipkey_raw4(&p->dst));
		put_raw32(h + IP4_DST, ipkey_raw4(&p->src));
		h[IP4_TTL] = REPLY_TTL;
		delta = csum_fold(csum_diff16(ttl, get_raw16(h + IP4_TTL)));
		put_raw16(h + IP4_CSUM, csum_update(get_raw16(h + IP4_CSUM), delta));
		h[p->l4] = ICMP_ECHO_REPLY;
	}
	delta = csum_fold(csum_diff16(old, get_raw16(h + p->l4)));
	if (f->csum != CSUM_PARTIAL)
		put_raw16(h + p->csum, csum_update_icmp(get_raw16(h + p->csum), delta));
}

bool icmp_checksum_ok(const struct frame *f, const struct packet *p)
{
	uint64_t sum = p->family == 6 ? pseudo6(&p->src, &p->dst, p->l4_len) : 0;

	/* the payload in segments is not ours to read; then the end decides */
	if (f->csum != CSUM_NONE || f->nseg)
		return true;
	return csum_fold(csum_bytes(f->header + p->l4, p->l4_len, sum)) == 0xffff;
}
