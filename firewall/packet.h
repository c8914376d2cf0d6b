/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reading a frame's headers: offsets and values, once, checked.
 *
 * Everything the engine decides on is read from the private header copy here
 * and kept in struct packet; nothing later looks at a length field again. A
 * frame that passed packet_parse() has all headers that a rewrite touches
 * within header[0..header_len).
 */
#ifndef FIREWALL_PACKET_H
#define FIREWALL_PACKET_H

#include "firewall/drop.h"
#include "netback/frame.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#define ETH_LEN 14
#define ETH_DST 0
#define ETH_SRC 6
#define ETH_TYPE 12
#define ETHERTYPE_IP4 0x0800
#define ETHERTYPE_ARP 0x0806
#define ETHERTYPE_IP6 0x86dd

#define IP4_OFF ETH_LEN /* no VLANs here (P8) */
#define IP4_LEN 20
#define IP4_TOS (IP4_OFF + 1)
#define IP4_TOTAL (IP4_OFF + 2)
#define IP4_ID (IP4_OFF + 4)
#define IP4_FRAG (IP4_OFF + 6)
#define IP4_TTL (IP4_OFF + 8)
#define IP4_PROTO (IP4_OFF + 9)
#define IP4_CSUM (IP4_OFF + 10)
#define IP4_SRC (IP4_OFF + 12)
#define IP4_DST (IP4_OFF + 16)
#define IP4_DF 0x4000
#define IP4_MF 0x2000
#define IP4_FRAG_MASK 0x1fff

#define IPPROTO4_ICMP 1
#define IPPROTO4_TCP 6
#define IPPROTO4_UDP 17

#define TCP_LEN 20
#define TCP_CSUM 16 /* offsets within the header */
#define TCP_FLAGS 13
#define UDP_LEN 8
#define UDP_CSUM 6
#define ICMP_LEN 8
#define ICMP_CSUM 2
#define ICMP_ID 4

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_PSH 0x08
#define TCP_ACK 0x10
#define TCP_URG 0x20

#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACH 3
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAM 12

/**
 * An address as the tables compare it: the bytes as they lie in the packet, an
 * IPv4 address in the first four of them, zero behind.
 */
struct ipkey {
	uint64_t w[2];
};

/** What is known about the packet in a frame. */
struct packet {
	struct ipkey src, dst;
	uint16_t ip_len; /* whole IP packet, without padding */
	uint16_t l4;	 /* offset of the upper layer in header[] */
	uint16_t l4_len; /* from there to the end of the packet */
	uint16_t sport, dport; /* host order; ICMP echo: identifier, 0 */
	uint16_t csum;	 /* offset of the upper layer's checksum; 0: has none */
	uint8_t family;	 /* 4 */
	uint8_t proto;
	uint8_t ttl;
	uint8_t tcp_flags;
	uint8_t icmp_type, icmp_code;
	bool df;
};

static inline uint16_t get_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline void put_be16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/** get_raw16(), get_raw32() - as they lie in memory: addresses, checksums */
static inline uint16_t get_raw16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, 2);
	return v;
}

static inline void put_raw16(uint8_t *p, uint16_t v)
{
	memcpy(p, &v, 2);
}

static inline uint32_t get_raw32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return v;
}

static inline void put_raw32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, 4);
}

/** raw_be16() - a port number as the word that the checksum sees */
static inline uint16_t raw_be16(uint16_t host)
{
	uint8_t b[2];

	put_be16(b, host);
	return get_raw16(b);
}

static inline struct ipkey ipkey4(uint32_t raw)
{
	return (struct ipkey){ { raw, 0 } };
}

static inline bool ipkey_equal(const struct ipkey *a, const struct ipkey *b)
{
	return ((a->w[0] ^ b->w[0]) | (a->w[1] ^ b->w[1])) == 0;
}

/** ipkey_raw4() - the IPv4 address of a key */
static inline uint32_t ipkey_raw4(const struct ipkey *k)
{
	return (uint32_t)k->w[0];
}

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	      "struct ipkey keeps an IPv4 address in the low half of its first word");

/** packet_ethertype() - of a frame with at least ETH_LEN header bytes */
static inline uint16_t packet_ethertype(const struct frame *f)
{
	return get_be16(f->header + ETH_TYPE);
}

/**
 * packet_parse_ip4() - read and check the IPv4 header; cut trailing padding
 * @f:	with ethertype IPv4; f->len and the segments are trimmed to the packet
 * @p:	filled up to the upper layer
 *
 * Return: DROP_NONE, or why the frame is bad (P1, P2, P3, P5, P6, P9) or a
 * fragment.
 */
enum drop_reason packet_parse_ip4(struct frame *f, struct packet *p);

/**
 * packet_parse_l4() - read and check the upper layer's header
 *
 * Fills in csum_start and csum_offset of a frame with a partial checksum.
 *
 * Return: DROP_NONE, or P12, P13, T12, P1.
 */
enum drop_reason packet_parse_l4(struct frame *f, struct packet *p);

/** packet_trim() - cut the frame behind its first @len bytes */
void packet_trim(struct frame *f, uint32_t len);

#endif
