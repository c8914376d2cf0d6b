// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Described packets to bytes. Nothing here is shared with the code under test,
 * and every field can be made wrong.
 */
#include "tests/net/diff/packet.h"

#include <arpa/inet.h>

uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

uint16_t sum_of(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i + 1 < len; i += 2) {
		sum += get16(p + i);
		sum = (sum & 0xffff) + (sum >> 16);
	}
	if (len & 1)
		sum += (uint32_t)p[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

uint32_t pseudo_header_sum(const uint8_t *ip, uint8_t family, uint8_t proto, uint32_t len)
{
	uint32_t sum = (len >> 16) + (len & 0xffff) + proto;

	return family == 4 ? sum_of(ip + 12, 8, sum) : sum_of(ip + 8, 32, sum);
}

void addr_of(uint8_t out[16], uint8_t family, const char *text)
{
	memset(out, 0, 16);
	if (inet_pton(family == 4 ? AF_INET : AF_INET6, text, out) != 1)
		die("not an address: %s", text);
}

/* An extension header of @len bytes (a multiple of 8): padding, or what it needs. */
void pk_ext(struct pk *k, uint8_t type, uint8_t len)
{
	struct ext *e = &k->ext[k->exts++];

	memset(e, 0, sizeof(*e));
	e->type = type;
	e->len = len;
	e->b[1] = (uint8_t)(len / 8 - 1);
	if (type == 0 || type == 60) {
		e->b[2] = 1; /* PadN */
		e->b[3] = (uint8_t)(len - 4);
	} else if (type == 51) {
		e->b[1] = (uint8_t)(len / 4 - 2);
		e->b[7] = 1; /* SPI */
	}
}

static uint32_t put_payload(uint8_t *p, const struct pk *k, enum side side)
{
	if (k->data[side])
		memcpy(p, k->data[side], k->len);
	else
		for (uint32_t i = 0; i < k->len; i++)
			p[i] = (uint8_t)(i * 7 + (i >> 8) + k->seq + k->dport);
	return k->len;
}

/* The upper layer without its checksum; @sum_at: where that goes, 0: nowhere. */
static uint32_t put_l4(uint8_t *p, const struct pk *k, enum side side, uint16_t nat_port,
		       uint32_t *sum_at)
{
	uint16_t dport = k->to_nat ? nat_port : k->dport;
	uint32_t head = 8;

	*sum_at = 0;
	memset(p, 0, 60);
	if (k->proto != P_TCP && k->proto != P_UDP && k->proto != P_ICMP && k->proto != P_ICMP6)
		return put_payload(p, k, side);
	put16(p, k->sport);
	put16(p + 2, dport);
	switch (k->proto) {
	case P_TCP:
		head = 20u + k->tcp_opt_len;
		put32(p + 4, k->seq);
		put32(p + 8, k->ack);
		p[12] = (uint8_t)(head / 4 << 4);
		p[13] = k->flags;
		put16(p + 14, k->window);
		memcpy(p + 20, k->tcp_opt, k->tcp_opt_len);
		*sum_at = 16;
		break;
	case P_UDP:
		put16(p + 4, 8u + k->len);
		*sum_at = 6;
		break;
	default:
		p[0] = k->type;
		p[1] = k->code;
		put16(p + 2, 0);
		/* echo: the identifier is the side's choice when it comes back */
		put16(p + 4, k->to_nat ? nat_port : k->sport);
		put16(p + 6, k->dport);
		*sum_at = 2;
		break;
	}
	return head + put_payload(p + head, k, side);
}

static uint32_t put_ip4(uint8_t *ip, const struct pk *k)
{
	uint32_t ihl = 20u + k->ip_opt_len;

	memset(ip, 0, 20);
	ip[0] = (uint8_t)(0x40 | ihl / 4);
	ip[1] = k->tos;
	put16(ip + 4, k->id);
	put16(ip + 6, k->frag);
	ip[8] = k->ttl;
	ip[9] = k->proto;
	memcpy(ip + 12, k->src, 4);
	memcpy(ip + 16, k->dst, 4);
	memcpy(ip + 20, k->ip_opt, k->ip_opt_len);
	return ihl;
}

static uint32_t put_ip6(uint8_t *ip, const struct pk *k)
{
	uint8_t *next = ip + 6;
	uint32_t at = 40;

	put32(ip, 6u << 28 | (uint32_t)k->tos << 20 | k->flow_label);
	ip[7] = k->ttl;
	memcpy(ip + 8, k->src, 16);
	memcpy(ip + 24, k->dst, 16);
	for (unsigned int i = 0; i < k->exts; i++) {
		*next = k->ext[i].type;
		memcpy(ip + at, k->ext[i].b, k->ext[i].len);
		next = ip + at;
		at += k->ext[i].len;
	}
	*next = k->proto;
	return at;
}

uint32_t build(uint8_t *out, const struct pk *k, enum side side, uint16_t nat_port)
{
	uint8_t *ip = out + ETH;
	uint32_t head, len, sum_at, sum, total;

	memcpy(out, k->at == UPLINK ? macs[UPLINK] : backend_mac, 6);
	memcpy(out + 6, k->at == UPLINK ? backend_mac : macs[k->at], 6);
	if (k->bad_mac)
		out[11] ^= 0x40;
	put16(out + 12, k->ethertype ? k->ethertype : k->family == 4 ? 0x0800 : 0x86dd);
	head = k->family == 4 ? put_ip4(ip, k) : put_ip6(ip, k);
	len = put_l4(ip + head, k, side, nat_port, &sum_at);
	total = head + len;
	if (k->family == 4)
		put16(ip + 2, total);
	else
		put16(ip + 4, total - 40);
	for (unsigned int i = 0; i < 4; i++)
		if (k->poke[i].at && k->poke[i].at <= total)
			ip[k->poke[i].at - 1] = k->poke[i].value;
	if (sum_at && !k->no_sum) {
		sum = k->proto == P_ICMP ? 0 : pseudo_header_sum(ip, k->family, k->proto, len);
		sum = (uint16_t)~sum_of(ip + head, len, sum);
		if (k->bad_sum)
			sum ^= 0x0101;
		if (k->proto == P_UDP && sum == 0)
			sum = 0xffff;
		put16(ip + head + sum_at, sum);
	}
	if (k->family == 4) {
		put16(ip + 10, (uint16_t)~sum_of(ip, 20u + k->ip_opt_len, 0));
		if (k->bad_ip_sum)
			ip[11] ^= 0x04;
	}
	return ETH + total;
}

uint32_t unfragmentable(const uint8_t *frame)
{
	const uint8_t *ip = frame + ETH;

	return ETH + (get16(frame + 12) == 0x0800 ? (ip[0] & 15u) * 4 : 40u);
}

/*
 * IPv6: everything behind the fixed header is fragmentable here, extension headers
 * too. An IPv4 fragment keeps the packet's identification, and DF.
 */
uint32_t build_fragment(uint8_t *out, const uint8_t *frame, uint32_t offset, uint32_t len,
			bool more, uint32_t id)
{
	uint32_t head = unfragmentable(frame);
	uint8_t *ip = out + ETH;

	memcpy(out, frame, head);
	if (get16(frame + 12) == 0x0800) {
		memcpy(out + head, frame + head + offset, len);
		put16(ip + 2, head - ETH + len);
		put16(ip + 6, (get16(ip + 6) & 0xc000) | offset / 8 | (more ? 0x2000 : 0));
		put16(ip + 10, 0);
		put16(ip + 10, (uint16_t)~sum_of(ip, head - ETH, 0));
		return head + len;
	}
	memcpy(out + head + 8, frame + head + offset, len);
	put16(ip + 4, 8 + len);
	out[head] = ip[6];
	out[head + 1] = 0;
	put16(out + head + 2, offset | (more ? 1 : 0));
	put32(out + head + 4, id);
	ip[6] = 44;
	return head + 8 + len;
}
