// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * IPv6 headers.
 *
 * A verdict needs the upper layer, and the upper layer is behind a chain of
 * extension headers that the sender makes as long as it likes. So the chain is
 * walked to its end before anything is decided (RFC 7045, P7), within two bounds:
 * eight headers, and the private copy of the packet's head. What cannot be walked
 * within them is dropped: what we cannot see we do not let through.
 *
 * A fragment header ends the walk of any fragment but the first, since what
 * follows is somewhere in the middle of the upper layer.
 */
#include "firewall/packet.h"

#define OPT6_PAD1 0
#define OPT6_JUMBO 0xc2

/* RFC 8200 4.2: options within a header's bounds; none that makes a jumbogram. */
static bool hop_options_ok(const uint8_t *opt, size_t len)
{
	for (size_t i = 0; i < len;) {
		if (opt[i] == OPT6_PAD1) {
			i++;
			continue;
		}
		if (i + 2 > len || opt[i + 1] > len - i - 2 || opt[i] == OPT6_JUMBO)
			return false;
		i += 2 + (size_t)opt[i + 1];
	}
	return true;
}

/* Whether an extension header of this kind may pass, as it stands here (P7). */
static bool extension_ok(uint8_t proto, const uint8_t *h, size_t len, unsigned int nth)
{
	if (proto == PROTO_HOPOPTS)
		return nth == 0 && hop_options_ok(h + 2, len - 2);
	/* RFC 5095; a route with segments left leads elsewhere than dst says */
	if (proto == PROTO_ROUTING)
		return h[2] != 0 && h[3] == 0;
	return true;
}

enum drop_reason ip6_walk(const uint8_t *b, size_t ip, size_t len, bool strict,
			  struct ip6_chain *c)
{
	size_t named_at = ip + 6; /* where proto stands */

	*c = (struct ip6_chain){ .at = ip + IP6_LEN, .proto = b[ip + 6] };
	for (unsigned int nth = 0; nth <= IP6_CHAIN_MAX; nth++) {
		const uint8_t *h = b + c->at;
		size_t size;

		switch (c->proto) {
		case PROTO_HOPOPTS:
		case PROTO_ROUTING:
		case PROTO_DSTOPTS:
			if (c->at + 8 > len)
				return DROP_EXT_HEADER;
			size = ((size_t)h[1] + 1) * 8;
			if (size > len - c->at || (strict && !extension_ok(c->proto, h, size, nth)))
				return DROP_EXT_HEADER;
			break;
		case PROTO_FRAGMENT:
			if (c->at + IP6_FRAG_LEN > len || c->frag_at)
				return DROP_EXT_HEADER;
			c->frag_at = c->at;
			c->next_at = named_at;
			size = IP6_FRAG_LEN;
			if (get_be16(h + 2) & 0xfff8) {
				c->later = true;
				c->at += size;
				return DROP_NONE;
			}
			break;
		case PROTO_NONE:
			return DROP_EXT_HEADER;
		default:
			return DROP_NONE; /* ESP, AH and the unknown, too */
		}
		named_at = c->at;
		c->proto = h[0];
		c->at += size;
	}
	return DROP_EXT_HEADER;
}

/* F8, RFC 6946: a fragment that is the whole datagram loses the header. */
static void strip_fragment_header(struct frame *f, struct packet *p)
{
	uint8_t *h = f->header;

	p->atomic_at = p->frag_at;
	memcpy(p->atomic, h + p->frag_at, IP6_FRAG_LEN);
	h[p->next_at] = h[p->frag_at];
	memmove(h + p->frag_at, h + p->frag_at + IP6_FRAG_LEN,
		(size_t)f->header_len - p->frag_at - IP6_FRAG_LEN);
	f->header_len = (uint16_t)(f->header_len - IP6_FRAG_LEN);
	f->len -= IP6_FRAG_LEN;
	p->ip_len -= IP6_FRAG_LEN;
	put_be16(h + IP6_PLEN, (uint16_t)(p->ip_len - IP6_LEN));
	p->l4 = (uint16_t)(p->l4 - IP6_FRAG_LEN);
	if (f->csum_start)
		f->csum_start = (uint16_t)(f->csum_start - IP6_FRAG_LEN);
	p->frag_at = 0;
}

void packet_restore_atomic(struct frame *f, const struct packet *p)
{
	uint8_t *h = f->header;

	/* it came out of this buffer, so there is room for it */
	memmove(h + p->atomic_at + IP6_FRAG_LEN, h + p->atomic_at,
		(size_t)f->header_len - p->atomic_at);
	memcpy(h + p->atomic_at, p->atomic, IP6_FRAG_LEN);
	h[p->next_at] = PROTO_FRAGMENT;
	f->header_len = (uint16_t)(f->header_len + IP6_FRAG_LEN);
	f->len += IP6_FRAG_LEN;
	put_be16(h + IP6_PLEN, (uint16_t)(p->ip_len + IP6_FRAG_LEN - IP6_LEN));
}

enum drop_reason packet_parse_ip6(struct frame *f, struct packet *p)
{
	const uint8_t *h = f->header;
	enum drop_reason reason;
	struct ip6_chain c;
	uint32_t total;
	uint16_t frag;

	if (f->header_len < IP6_OFF + IP6_LEN)
		return DROP_IP_HEADER; /* P1 */
	total = IP6_LEN + (uint32_t)get_be16(h + IP6_PLEN);
	if (h[IP6_OFF] >> 4 != 6 || total > f->len - IP6_OFF)
		return DROP_IP_HEADER; /* P2 */
	if (total < f->len - IP6_OFF)
		packet_trim(f, IP6_OFF + total);
	reason = ip6_walk(h, IP6_OFF, f->header_len, true, &c);
	if (reason != DROP_NONE)
		return reason;
	memset(p, 0, sizeof(*p));
	p->src = ipkey6(h + IP6_SRC);
	p->dst = ipkey6(h + IP6_DST);
	p->ip_len = total;
	p->l4 = (uint16_t)c.at;
	p->l4_len = (uint16_t)(IP6_OFF + total - c.at);
	p->family = 6;
	p->proto = c.proto;
	p->ttl = h[IP6_HOPS];
	p->df = true; /* nobody on the way fragments IPv6 */
	if (!c.frag_at)
		return DROP_NONE;
	frag = get_be16(h + c.frag_at + 2);
	p->frag_at = (uint16_t)c.frag_at;
	p->next_at = (uint16_t)c.next_at;
	p->frag_off = frag & 0xfff8;
	p->more = frag & 1;
	p->frag_id = get_be32(h + c.frag_at + 4);
	p->frag_data = (uint16_t)(c.frag_at + IP6_FRAG_LEN);
	p->fragment = p->more || p->frag_off;
	if (!p->fragment)
		strip_fragment_header(f, p);
	return DROP_NONE;
}

/* P6, P9; RFC 4291 2.4-2.7. Link-local is the business of the link. */
enum drop_reason packet_check_ip6(const struct packet *p)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	const uint8_t *src = (const uint8_t *)p->src.w, *dst = (const uint8_t *)p->dst.w;
	struct ipkey loopback = { { 0, 1ULL << 56 } };

	if (src[0] == 0xff || ipkey_none(&p->src) || ipkey_equal(&p->src, &loopback) ||
	    memcmp(src, mapped, sizeof(mapped)) == 0)
		return DROP_MARTIAN;
	if (dst[0] == 0xff)
		return DROP_MULTICAST;
	if (ipkey_none(&p->dst) || ipkey_equal(&p->dst, &loopback) ||
	    memcmp(dst, mapped, sizeof(mapped)) == 0)
		return DROP_MARTIAN;
	if (ipkey_equal(&p->src, &p->dst))
		return DROP_MARTIAN; /* land */
	return DROP_NONE;
}
