// SPDX-License-Identifier: GPL-2.0-or-later
#include "firewall/packet.h"
#include "firewall/csum.h"

#define OPT_EOL 0
#define OPT_NOP 1

void packet_trim(struct frame *f, uint32_t len)
{
	uint32_t pos;
	uint8_t keep = 0;

	if (f->len <= len)
		return;
	if (len <= f->header_len) {
		f->header_len = (uint16_t)len;
		f->nseg = 0;
		f->len = len;
		return;
	}
	pos = f->header_len;
	while (keep < f->nseg && pos < len) {
		struct frame_seg *seg = &f->seg[keep++];

		if (seg->len > len - pos)
			seg->len = len - pos;
		pos += seg->len;
	}
	f->nseg = keep;
	f->len = len;
}

/* P5, RFC 7126: routes, timestamps, alerts and the unknown do not pass. */
static enum drop_reason check_options(const uint8_t *opt, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (opt[i] == OPT_EOL)
			return DROP_NONE;
		if (opt[i] != OPT_NOP)
			return DROP_IP_OPTIONS;
	}
	return DROP_NONE;
}

/* P6, P9; RFC 1812 5.3.7, RFC 1122 3.2.1.3, RFC 6890. */
static enum drop_reason check_addresses(const uint8_t *src, const uint8_t *dst)
{
	if (src[0] == 0 || src[0] == 127 || src[0] >= 224)
		return DROP_MARTIAN;
	if (dst[0] == 0 || dst[0] == 127)
		return DROP_MARTIAN;
	if (dst[0] >= 224 && dst[0] < 240)
		return DROP_MULTICAST;
	if (get_raw32(dst) == UINT32_MAX)
		return DROP_MULTICAST;
	if (get_raw32(src) == get_raw32(dst))
		return DROP_MARTIAN; /* land */
	return DROP_NONE;
}

enum drop_reason packet_parse_ip4(struct frame *f, struct packet *p)
{
	const uint8_t *ip = f->header + IP4_OFF;
	enum drop_reason reason;
	size_t ihl, total;
	uint16_t frag;

	if (f->header_len < IP4_OFF + IP4_LEN)
		return DROP_IP_HEADER; /* P1 */
	ihl = (size_t)(ip[0] & 15) * 4;
	total = get_be16(f->header + IP4_TOTAL);
	/* P2, RFC 791, RFC 1812 5.2.2 */
	if (ip[0] >> 4 != 4 || ihl < IP4_LEN || total < ihl || total > f->len - IP4_OFF)
		return DROP_IP_HEADER;
	if (IP4_OFF + ihl > f->header_len)
		return DROP_IP_HEADER; /* P1 */
	if (csum_fold(csum_bytes(ip, ihl, 0)) != 0xffff)
		return DROP_IP_CHECKSUM; /* P3 */
	if (total < f->len - IP4_OFF)
		packet_trim(f, (uint32_t)(IP4_OFF + total)); /* P2 */
	if (ihl > IP4_LEN) {
		reason = check_options(ip + IP4_LEN, ihl - IP4_LEN);
		if (reason)
			return reason;
	}
	reason = check_addresses(f->header + IP4_SRC, f->header + IP4_DST);
	if (reason)
		return reason;

	frag = get_be16(f->header + IP4_FRAG);
	p->src = ipkey4(get_raw32(f->header + IP4_SRC));
	p->dst = ipkey4(get_raw32(f->header + IP4_DST));
	p->ip_len = (uint16_t)total;
	p->l4 = (uint16_t)(IP4_OFF + ihl);
	p->l4_len = (uint16_t)(total - ihl);
	p->sport = 0;
	p->dport = 0;
	p->csum = 0;
	p->family = 4;
	p->proto = f->header[IP4_PROTO];
	p->ttl = f->header[IP4_TTL];
	p->tcp_flags = 0;
	p->icmp_type = 0;
	p->icmp_code = 0;
	p->df = (frag & IP4_DF) != 0;
	if (frag & (IP4_MF | IP4_FRAG_MASK))
		return DROP_FRAGMENT;
	return DROP_NONE;
}

/* T12, RFC 9293: combinations that no stack sends. */
static bool tcp_flags_ok(uint8_t flags)
{
	uint8_t main_flags = flags & (TCP_SYN | TCP_FIN | TCP_RST | TCP_ACK);

	switch (main_flags) {
	case TCP_SYN:
	case TCP_SYN | TCP_ACK:
	case TCP_ACK:
	case TCP_RST:
	case TCP_RST | TCP_ACK:
		break;
	case TCP_FIN | TCP_ACK:
		break;
	default:
		/* none, FIN alone, SYN+FIN, SYN+RST, FIN+RST, all of them */
		return false;
	}
	return true;
}

static enum drop_reason parse_tcp(const struct frame *f, struct packet *p)
{
	const uint8_t *tcp = f->header + p->l4;
	size_t have = (size_t)f->header_len - p->l4;
	size_t doff;

	if (have < TCP_LEN)
		return DROP_L4_HEADER; /* P1 */
	doff = (size_t)(tcp[12] >> 4) * 4;
	if (doff < TCP_LEN || doff > p->l4_len || doff > have)
		return DROP_L4_HEADER; /* P12, P1 */
	p->sport = get_be16(tcp);
	p->dport = get_be16(tcp + 2);
	p->csum = (uint16_t)(p->l4 + TCP_CSUM);
	p->tcp_flags = tcp[TCP_FLAGS];
	if (!tcp_flags_ok(p->tcp_flags))
		return DROP_TCP_FLAGS;
	return DROP_NONE;
}

static enum drop_reason parse_udp(const struct frame *f, struct packet *p)
{
	const uint8_t *udp = f->header + p->l4;
	uint16_t len;

	if ((size_t)f->header_len - p->l4 < UDP_LEN)
		return DROP_L4_HEADER; /* P1 */
	len = get_be16(udp + 4);
	if (len < UDP_LEN || len > p->l4_len)
		return DROP_L4_HEADER; /* P12 */
	p->sport = get_be16(udp);
	p->dport = get_be16(udp + 2);
	p->csum = (uint16_t)(p->l4 + UDP_CSUM);
	return DROP_NONE;
}

static enum drop_reason parse_icmp(const struct frame *f, struct packet *p)
{
	const uint8_t *icmp = f->header + p->l4;

	if ((size_t)f->header_len - p->l4 < ICMP_LEN)
		return DROP_L4_HEADER; /* P1 */
	p->icmp_type = icmp[0];
	p->icmp_code = icmp[1];
	p->csum = (uint16_t)(p->l4 + ICMP_CSUM);
	if (p->icmp_type == ICMP_ECHO || p->icmp_type == ICMP_ECHO_REPLY)
		p->sport = get_be16(icmp + ICMP_ID); /* N7 */
	return DROP_NONE;
}

/* P13: what a GSO frame promises must be what it is. */
static enum drop_reason check_gso(struct frame *f, const struct packet *p)
{
	uint64_t sum;

	if (f->gso != GSO_TCPV4 || p->family != 4 || p->proto != IPPROTO4_TCP ||
	    f->gso_size == 0)
		return DROP_GSO;
	if (f->csum == CSUM_PARTIAL)
		return DROP_NONE;
	/*
	 * A segmenter needs a partial checksum; some frontends forget to say
	 * so. The sum of a frame that never was on a wire proves nothing, so
	 * nothing is lost by starting it afresh.
	 */
	sum = csum_diff16(0xffff, raw_be16(p->proto)) + (uint64_t)raw_be16(p->l4_len);
	sum += ipkey_raw4(&p->src);
	sum += ipkey_raw4(&p->dst);
	put_raw16(f->header + p->csum, csum_fold(sum));
	f->csum = CSUM_PARTIAL;
	f->csum_start = 0;
	return DROP_NONE;
}

/* Ports that do not know where a partial checksum goes leave it to us; a place
 * that a peer did name must be the one we would have found. */
static enum drop_reason check_partial(struct frame *f, const struct packet *p)
{
	uint16_t offset;

	if (p->csum == 0)
		return DROP_L4_HEADER;
	offset = (uint16_t)(p->csum - p->l4);
	if (f->csum_start != 0 && (f->csum_start != p->l4 || f->csum_offset != offset))
		return DROP_L4_HEADER;
	f->csum_start = p->l4;
	f->csum_offset = offset;
	return DROP_NONE;
}

enum drop_reason packet_parse_l4(struct frame *f, struct packet *p)
{
	enum drop_reason reason = DROP_NONE;

	switch (p->proto) {
	case IPPROTO4_TCP:
		reason = parse_tcp(f, p);
		break;
	case IPPROTO4_UDP:
		reason = parse_udp(f, p);
		break;
	case IPPROTO4_ICMP:
		reason = parse_icmp(f, p);
		break;
	default:
		break;
	}
	if (reason == DROP_NONE && f->gso != GSO_NONE)
		reason = check_gso(f, p);
	if (reason == DROP_NONE && f->csum == CSUM_PARTIAL)
		reason = check_partial(f, p);
	return reason;
}
