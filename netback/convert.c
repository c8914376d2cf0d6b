/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cutting GSO frames for a peer that does not take them.
 *
 * A GSO frame is one TCP packet that is too large for any wire, with the size
 * that its sender wants its pieces to have. Usually it goes through as it is: both
 * sides of us are virtual, and whoever is last cuts it. A frontend without
 * feature-gso-tcpv4/6, without feature-sg or without checksum offload, a backend
 * like that, or a frame longer than a transmit ring can say, needs packets.
 *
 * Nothing is moved for that. A packet is a descriptor like any other: headers of
 * its own, and segments that are parts of the frame's segments, wherever these
 * are. So a peer that lacks GSO alone still gets its payload by grant copy from
 * page to page, and only one that cannot complete a checksum costs a pass over the
 * bytes. There is no queue and no memory here: one packet is described, handed to
 * the ring and forgotten before the next one.
 *
 *	frame	| headers | payload ................................... |
 *		      |		header[]  | seg 0 | seg 1	 | seg 2 |
 *	packets | headers 0 | n bytes | | headers 1 | n bytes | ... | the rest |
 *
 * What differs in the headers of packet k of n (what Linux' segmenter does, too;
 * tests/unit/test_convert_kernel.c holds the two against each other):
 *
 *	IPv4	total length; identification + k; header checksum
 *	IPv6	payload length
 *	TCP	sequence number + k * gso_size; FIN and PSH only in the last; CWR
 *		only in the first, it is said once for one reduction of the window
 *		(RFC 3168 6.1.2); the checksum field holds the pseudo-header's sum,
 *		in which the length is another
 *
 * All or nothing: who sends packets asks convert_slots() first and begins none
 * without room for all. A frame that a whole ring has no room for (a tiny gso_size,
 * which a hostile sender is free to choose) is dropped: its work is bounded by 256
 * slots, whatever it claims.
 *
 * The headers were parsed by whoever judged the frame; here they are only checked
 * against the descriptor, so that a mistake there is a dropped frame.
 */
#include "netback/convert.h"
#include "netback/frame_csum.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define ETH_LEN 14u
#define ETH_TYPE 12
#define IP4_LEN 20u
#define IP6_LEN 40u
#define TCP_LEN 20u
#define TCP_CSUM 16
#define TCP_FIN 0x01
#define TCP_PSH 0x08
#define TCP_CWR 0x80

static uint16_t get_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put_be16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static bool is_ipv6(const struct frame *f)
{
	return f->header_len >= ETH_LEN && get_be16(f->header + ETH_TYPE) == 0x86dd;
}

/* X4.5, X3.7 */
int convert_needed(const struct frame *f, const struct convert_can *can, uint32_t len_max,
		   struct convert_need *need)
{
	bool csum = is_ipv6(f) ? can->csum6 : can->csum4;
	bool gso = (f->gso == GSO_TCPV6 ? can->gso6 : can->gso4) && can->sg && csum;

	*need = (struct convert_need){
		.cut = f->gso != GSO_NONE && (!gso || f->len > len_max),
		.sum = f->csum == CSUM_PARTIAL && !csum,
	};
	/* a ring does not say where: whoever judged the frame has to */
	if (need->sum && (f->csum_start < ETH_LEN ||
			  (uint32_t)f->csum_start + f->csum_offset + 2 > f->header_len))
		return -EOPNOTSUPP;
	return 0;
}

/* The IP header in front of TCP's at @l4: of the kind that the descriptor says? */
static bool is_ip(const struct frame *f, uint32_t l4)
{
	uint8_t first = f->header[ETH_LEN];

	if (f->gso == GSO_TCPV6)
		return is_ipv6(f) && first >> 4 == 6 && l4 >= ETH_LEN + IP6_LEN;
	return get_be16(f->header + ETH_TYPE) == 0x0800 && first >> 4 == 4 &&
	       l4 == ETH_LEN + (first & 15) * 4u && l4 >= ETH_LEN + IP4_LEN;
}

int convert_begin(struct convert_cut *cut, const struct frame *f)
{
	uint32_t l4 = f->csum_start, tcp_len;

	if (f->gso == GSO_NONE || f->gso_size == 0 || f->csum != CSUM_PARTIAL ||
	    f->csum_offset != TCP_CSUM || l4 < ETH_LEN + IP4_LEN || l4 + TCP_LEN > f->header_len ||
	    !is_ip(f, l4))
		return -EINVAL;
	tcp_len = (f->header[l4 + 12] >> 4) * 4u;
	if (tcp_len < TCP_LEN || l4 + tcp_len > f->header_len)
		return -EINVAL;
	*cut = (struct convert_cut){
		.f = f,
		.headers = l4 + tcp_len,
		.left = f->len - (l4 + tcp_len),
		.head_at = (uint16_t)(l4 + tcp_len),
	};
	cut->count = (cut->left + f->gso_size - 1) / f->gso_size;
	cut->count += cut->count == 0;
	return 0;
}

uint32_t convert_len(const struct convert_cut *cut, uint32_t k)
{
	uint32_t size = cut->f->gso_size;

	assert(k < cut->count);
	if (k + 1 == cut->count)
		size = cut->f->len - cut->headers - k * size;
	return cut->headers + size;
}

uint32_t convert_slots(const struct convert_cut *cut, uint32_t page)
{
	uint32_t last = (convert_len(cut, cut->count - 1) + page - 1) / page;

	if (cut->count == 1)
		return last;
	/* at most 65535 packets of 17 slots */
	return (cut->count - 1) * ((convert_len(cut, 0) + page - 1) / page) + last;
}

static void next_ip(const struct convert_cut *cut, uint8_t *ip, uint32_t len)
{
	uint32_t size;
	uint16_t sum;

	if (cut->f->gso == GSO_TCPV6) {
		put_be16(ip + 4, len - ETH_LEN - IP6_LEN);
		return;
	}
	size = (ip[0] & 15) * 4u;
	put_be16(ip + 2, len - ETH_LEN);
	put_be16(ip + 4, get_be16(ip + 4) + cut->next);
	memset(ip + 10, 0, 2);
	sum = csum_final(csum_bytes(ip, size, 0), 10);
	memcpy(ip + 10, &sum, 2);
}

static void next_tcp(const struct convert_cut *cut, uint8_t *tcp, uint32_t len)
{
	uint8_t was[2], is[2];
	uint32_t seq = (uint32_t)get_be16(tcp + 4) << 16 | get_be16(tcp + 6);
	uint16_t sum, from, to;

	seq += cut->next * cut->f->gso_size;
	put_be16(tcp + 4, seq >> 16);
	put_be16(tcp + 6, seq);
	if (cut->next + 1 < cut->count)
		tcp[13] &= (uint8_t)~(TCP_FIN | TCP_PSH);
	if (cut->next > 0)
		tcp[13] &= (uint8_t)~TCP_CWR;
	put_be16(was, cut->f->len - cut->f->csum_start);
	put_be16(is, len - cut->f->csum_start);
	memcpy(&from, was, 2);
	memcpy(&to, is, 2);
	memcpy(&sum, tcp + TCP_CSUM, 2);
	sum = csum_fold((uint64_t)sum + (uint16_t)~from + to);
	memcpy(tcp + TCP_CSUM, &sum, 2);
}

/* @n bytes of payload: what is left of header[] into the packet's, then parts of
 * segments. */
static void next_payload(struct convert_cut *cut, struct frame *out, uint32_t n)
{
	const struct frame *f = cut->f;
	uint32_t take = f->header_len - cut->head_at;

	cut->left -= n;
	take = take < n ? take : n;
	memcpy(out->header + out->header_len, f->header + cut->head_at, take);
	out->header_len = (uint16_t)(out->header_len + take);
	cut->head_at = (uint16_t)(cut->head_at + take);
	for (n -= take; n; n -= take) {
		const struct frame_seg *s = &f->seg[cut->seg];

		assert(cut->seg < f->nseg);
		take = s->len - cut->seg_at;
		take = take < n ? take : n;
		if (take)
			out->seg[out->nseg++] = (struct frame_seg){
				.local = s->local ? (uint8_t *)s->local + cut->seg_at : NULL,
				.gref = s->gref,
				.off = (uint16_t)(s->off + cut->seg_at),
				.len = take,
			};
		cut->seg_at += take;
		if (cut->seg_at == s->len) {
			cut->seg++;
			cut->seg_at = 0;
		}
	}
}

void convert_next(struct convert_cut *cut, struct frame *out)
{
	const struct frame *f = cut->f;
	uint32_t len = convert_len(cut, cut->next);

	memcpy(out->header, f->header, cut->headers);
	next_ip(cut, out->header + ETH_LEN, len);
	next_tcp(cut, out->header + f->csum_start, len);
	out->len = len;
	out->header_len = (uint16_t)cut->headers;
	out->domid = f->domid;
	out->nseg = 0;
	out->csum = CSUM_PARTIAL;
	out->csum_start = f->csum_start;
	out->csum_offset = f->csum_offset;
	out->gso = GSO_NONE;
	out->gso_size = 0;
	next_payload(cut, out, len - cut->headers);
	cut->next++;
}
