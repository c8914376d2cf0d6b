// SPDX-License-Identifier: GPL-2.0-or-later
#include "firewall/packet.h"
#include "firewall/csum.h"

#define OPT_EOL 0
#define OPT_NOP 1
#define OPT_LSRR 131
#define OPT_SSRR 137

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

bool frame_read(const struct frame *f, size_t at, void *dst, size_t len)
{
	uint8_t *to = dst;
	size_t begin = f->header_len;

	if (at > f->len || len > f->len - at)
		return false;
	if (at < f->header_len) {
		size_t n = f->header_len - at < len ? f->header_len - at : len;

		memcpy(to, f->header + at, n);
		to += n;
		at += n;
		len -= n;
	}
	for (uint8_t i = 0; i < f->nseg && len > 0; i++) {
		const struct frame_seg *seg = &f->seg[i];
		size_t skip = at - begin, n;

		begin += seg->len;
		if (skip >= seg->len)
			continue;
		if (!seg->local)
			return false;
		n = seg->len - skip < len ? seg->len - skip : len;
		memcpy(to, (const uint8_t *)seg->local + skip, n);
		to += n;
		at += n;
		len -= n;
	}
	return len == 0;
}

/*
 * P5, RFC 7126: routes, timestamps, alerts and the unknown do not pass. Where the
 * owner lets options pass, source routes still do not (RFC 7126 4.3, 4.4).
 */
static enum drop_reason check_options(const uint8_t *opt, size_t len, bool pass)
{
	for (size_t i = 0; i < len;) {
		if (opt[i] == OPT_EOL)
			return DROP_NONE;
		if (opt[i] == OPT_NOP) {
			i++;
			continue;
		}
		if (!pass || opt[i] == OPT_LSRR || opt[i] == OPT_SSRR)
			return DROP_IP_OPTIONS;
		if (i + 1 >= len || opt[i + 1] < 2 || opt[i + 1] > len - i)
			return DROP_IP_OPTIONS;
		i += opt[i + 1];
	}
	return DROP_NONE;
}

/* P6, P9; RFC 1812 5.3.7, RFC 1122 3.2.1.3, RFC 6890. */
enum drop_reason packet_check_ip4(const uint8_t *src, const uint8_t *dst)
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

enum drop_reason packet_parse_ip4(struct frame *f, struct packet *p, bool pass_options)
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
		reason = check_options(ip + IP4_LEN, ihl - IP4_LEN, pass_options);
		if (reason)
			return reason;
	}
	reason = packet_check_ip4(f->header + IP4_SRC, f->header + IP4_DST);
	if (reason)
		return reason;

	frag = get_be16(f->header + IP4_FRAG);
	memset(p, 0, sizeof(*p));
	p->src = ipkey4(get_raw32(f->header + IP4_SRC));
	p->dst = ipkey4(get_raw32(f->header + IP4_DST));
	p->ip_len = (uint32_t)total;
	p->l4 = (uint16_t)(IP4_OFF + ihl);
	p->l4_len = (uint16_t)(total - ihl);
	p->family = 4;
	p->proto = f->header[IP4_PROTO];
	p->ttl = f->header[IP4_TTL];
	p->df = (frag & IP4_DF) != 0;
	if (frag & (IP4_MF | IP4_FRAG_MASK)) {
		p->fragment = true;
		p->more = (frag & IP4_MF) != 0;
		p->frag_off = (uint16_t)((frag & IP4_FRAG_MASK) * 8);
		p->frag_id = get_be16(f->header + IP4_ID);
		p->frag_data = p->l4;
	}
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
		return DROP_L4_HEADER; /* P1, F5 */
	doff = (size_t)(tcp[12] >> 4) * 4;
	if (doff < TCP_LEN || doff > p->l4_len || doff > have)
		return DROP_L4_HEADER; /* P12, P1, F5 */
	p->sport = get_be16(tcp);
	p->dport = get_be16(tcp + 2);
	p->seq = get_be32(tcp + 4);
	p->ack = get_be32(tcp + 8);
	p->window = get_be16(tcp + TCP_WINDOW);
	p->csum = (uint16_t)(p->l4 + TCP_CSUM);
	p->tcp_flags = tcp[TCP_FLAGS];
	p->tcp_len = (uint8_t)doff;
	if (!tcp_flags_ok(p->tcp_flags))
		return DROP_TCP_FLAGS;
	return DROP_NONE;
}

static enum drop_reason parse_udp(const struct frame *f, struct packet *p)
{
	const uint8_t *udp = f->header + p->l4;
	uint16_t len;

	if ((size_t)f->header_len - p->l4 < UDP_LEN)
		return DROP_L4_HEADER; /* P1, F5 */
	len = get_be16(udp + 4);
	if (len < UDP_LEN || (len > p->l4_len && !p->fragment))
		return DROP_L4_HEADER; /* P12 */
	p->sport = get_be16(udp);
	p->dport = get_be16(udp + 2);
	p->csum = (uint16_t)(p->l4 + UDP_CSUM);
	/* 2.3, P4, RFC 8200 8.1: over IPv6 it is not optional */
	if (p->family == 6 && f->csum != CSUM_PARTIAL && get_raw16(udp + UDP_CSUM) == 0)
		return DROP_UDP_CHECKSUM;
	return DROP_NONE;
}

static enum drop_reason parse_icmp(const struct frame *f, struct packet *p)
{
	const uint8_t *icmp = f->header + p->l4;

	if ((size_t)f->header_len - p->l4 < ICMP_LEN)
		return DROP_L4_HEADER; /* P1, F5 */
	p->icmp_type = icmp[0];
	p->icmp_code = icmp[1];
	p->csum = (uint16_t)(p->l4 + ICMP_CSUM);
	if (icmp_is_echo(p->family, p->icmp_type) || icmp_is_echo_reply(p->family, p->icmp_type))
		p->sport = get_be16(icmp + ICMP_ID); /* N7 */
	return DROP_NONE;
}

/* U11: no ports that we translate, but a checksum over the addresses. */
static enum drop_reason parse_other(const struct frame *f, struct packet *p)
{
	if (p->proto != PROTO_UDPLITE && p->proto != PROTO_DCCP)
		return DROP_NONE;
	if ((size_t)f->header_len - p->l4 < UDP_LEN)
		return DROP_L4_HEADER; /* P1 */
	p->csum = (uint16_t)(p->l4 + UDP_CSUM); /* both have it there */
	return DROP_NONE;
}

static uint64_t pseudo_sum(const struct packet *p)
{
	uint64_t sum = (uint64_t)raw_be16(p->proto) + raw_be16(p->l4_len);

	return csum_bytes(&p->dst, sizeof(p->dst), csum_bytes(&p->src, sizeof(p->src), sum));
}

/* P13: what a GSO frame promises must be what it is. */
static enum drop_reason check_gso(struct frame *f, const struct packet *p)
{
	uint8_t want = p->family == 6 ? GSO_TCPV6 : GSO_TCPV4;

	if (f->gso != want || p->proto != PROTO_TCP || f->gso_size == 0)
		return DROP_GSO;
	if (f->csum == CSUM_PARTIAL)
		return DROP_NONE;
	/*
	 * A segmenter needs a partial checksum; some frontends forget to say
	 * so. The sum of a frame that never was on a wire proves nothing, so
	 * nothing is lost by starting it afresh.
	 */
	put_raw16(f->header + p->csum, csum_fold(pseudo_sum(p)));
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
	enum drop_reason reason;

	if (p->proto == PROTO_TCP)
		reason = parse_tcp(f, p);
	else if (p->proto == PROTO_UDP)
		reason = parse_udp(f, p);
	else if (packet_is_icmp(p))
		reason = parse_icmp(f, p);
	else
		reason = parse_other(f, p);
	if (reason == DROP_NONE && f->gso != GSO_NONE)
		reason = check_gso(f, p);
	if (reason == DROP_NONE && f->csum == CSUM_PARTIAL)
		reason = check_partial(f, p);
	return reason;
}
