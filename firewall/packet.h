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

#define IP6_OFF ETH_LEN
#define IP6_LEN 40
#define IP6_PLEN (IP6_OFF + 4)
#define IP6_NEXT (IP6_OFF + 6)
#define IP6_HOPS (IP6_OFF + 7)
#define IP6_SRC (IP6_OFF + 8)
#define IP6_DST (IP6_OFF + 24)
#define IP6_FRAG_LEN 8 /* of a fragment header */
#define ECN_NONE 0 /* RFC 3168 5: not capable */
#define ECN_CE 3 /* congestion experienced */
#define IP6_CHAIN_MAX 8 /* P7: extension headers that are walked */

/* Protocol numbers; both families but for ICMP. */
#define PROTO_HOPOPTS 0
#define PROTO_ICMP 1
#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_DCCP 33
#define PROTO_ROUTING 43
#define PROTO_FRAGMENT 44
#define PROTO_ICMP6 58
#define PROTO_NONE 59
#define PROTO_DSTOPTS 60
#define PROTO_UDPLITE 136

#define TCP_LEN 20
#define TCP_CSUM 16 /* offsets within the header */
#define TCP_FLAGS 13
#define TCP_WINDOW 14
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

#define ICMP6_UNREACH 1
#define ICMP6_TOO_BIG 2
#define ICMP6_TIME_EXCEEDED 3
#define ICMP6_PARAM 4
#define ICMP6_ECHO 128
#define ICMP6_ECHO_REPLY 129
#define ICMP6_MLD_FIRST 130 /* query, report, done */
#define ICMP6_ROUTER_SOLICIT 133
#define ICMP6_ROUTER_ADVERT 134
#define ICMP6_NEIGHBOUR_SOLICIT 135
#define ICMP6_NEIGHBOUR_ADVERT 136
#define ICMP6_REDIRECT 137
#define ICMP6_MLD2_REPORT 143

/**
 * An address as the tables compare it: the bytes as they lie in the packet, an
 * IPv4 address in the first four of them, zero behind.
 */
struct ipkey {
	uint64_t w[2];
};

/** Which of two things, by family: addresses, sources, next hops. */
enum fam { V4, V6, FAMS };

/** What is known about the packet in a frame. */
struct packet {
	struct ipkey src, dst;
	uint32_t ip_len; /* whole IP packet, without padding */
	uint32_t seq, ack; /* TCP */
	uint32_t frag_id;
	uint16_t l4;	 /* offset of the upper layer in header[] */
	uint16_t l4_len; /* from there to the end of the packet */
	uint16_t sport, dport; /* host order; ICMP echo: identifier, 0 */
	uint16_t csum;	 /* offset of the upper layer's checksum; 0: has none */
	uint16_t window; /* TCP, as it stands there */
	uint16_t frag_off; /* bytes; where the fragment lies in its datagram */
	uint16_t frag_at; /* offset of the IPv6 fragment header; 0: none */
	uint16_t frag_data; /* offset of the fragment's data */
	uint16_t next_at; /* of the byte that names the fragment header */
	uint16_t atomic_at; /* where an atomic fragment's header was; 0: it is none */
	uint8_t atomic[8]; /* that header */
	uint8_t family;	 /* 4 or 6 */
	uint8_t proto;
	uint8_t ttl;
	uint8_t tcp_flags;
	uint8_t tcp_len; /* of the TCP header */
	uint8_t icmp_type, icmp_code;
	bool df;
	bool fragment; /* a part of a datagram; the upper layer may be elsewhere */
	bool more;     /* further parts follow it */
};

static inline uint16_t get_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get_be32(const uint8_t *p)
{
	return (uint32_t)get_be16(p) << 16 | get_be16(p + 2);
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

static inline struct ipkey ipkey6(const uint8_t *bytes)
{
	struct ipkey k;

	memcpy(k.w, bytes, 16);
	return k;
}

/** ipkey_none() - no address: neither 0.0.0.0 nor :: is anybody's */
static inline bool ipkey_none(const struct ipkey *k)
{
	return (k->w[0] | k->w[1]) == 0;
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

static inline enum fam packet_fam(const struct packet *p)
{
	return p->family == 6 ? V6 : V4;
}

/** packet_ecn() - its ECN field */
static inline uint8_t packet_ecn(const struct frame *f, const struct packet *p)
{
	return p->family == 6 ? f->header[IP6_OFF + 1] >> 4 & 3 : f->header[IP4_TOS] & 3;
}

/** proto_is_icmp() - the ICMP of its family, not the other one's */
static inline bool proto_is_icmp(uint8_t family, uint8_t proto)
{
	return proto == (family == 6 ? PROTO_ICMP6 : PROTO_ICMP);
}

static inline bool packet_is_icmp(const struct packet *p)
{
	return proto_is_icmp(p->family, p->proto);
}

static inline bool icmp_is_echo(uint8_t family, uint8_t type)
{
	return type == (family == 6 ? ICMP6_ECHO : ICMP_ECHO);
}

static inline bool icmp_is_echo_reply(uint8_t family, uint8_t type)
{
	return type == (family == 6 ? ICMP6_ECHO_REPLY : ICMP_ECHO_REPLY);
}

/** proto_has_ports() - flows of it are told apart by ports */
static inline bool proto_has_ports(uint8_t proto)
{
	return proto == PROTO_TCP || proto == PROTO_UDP;
}

/**
 * packet_parse_ip4() - read and check the IPv4 header; cut trailing padding
 * @f:	with ethertype IPv4; f->len and the segments are trimmed to the packet
 * @p:	filled up to the upper layer
 * @pass_options:	P5: only source routes and malformed options are dropped
 *
 * Return: DROP_NONE, or why the frame is bad (P1, P2, P3, P5, P6, P9). A
 * fragment has p->fragment set.
 */
enum drop_reason packet_parse_ip4(struct frame *f, struct packet *p, bool pass_options);

/**
 * packet_parse_ip6() - read the IPv6 header and walk its extension headers
 * @f:	with ethertype IPv6; f->len and the segments are trimmed to the packet
 *
 * Addresses are not judged: packet_check_ip6() does, after neighbour discovery
 * has had its multicasts. An atomic fragment (F8) has lost its fragment header
 * in header[].
 *
 * Return: DROP_NONE, or P1, P2, P7, F9.
 */
enum drop_reason packet_parse_ip6(struct frame *f, struct packet *p);

/** packet_restore_atomic() - put back the header that an atomic fragment had */
void packet_restore_atomic(struct frame *f, const struct packet *p);

/** packet_check_ip4() - P6, P9 for the addresses of an IPv4 packet */
enum drop_reason packet_check_ip4(const uint8_t *src, const uint8_t *dst);

/** packet_check_ip6() - P6, P9 for the addresses of an IPv6 packet */
enum drop_reason packet_check_ip6(const struct packet *p);

/** What an extension header chain leads to. */
struct ip6_chain {
	size_t at;	/* offset of the upper layer, or of a fragment's data */
	size_t frag_at; /* offset of the fragment header; 0: none */
	size_t next_at; /* of the byte that names it */
	uint8_t proto;
	bool later; /* a fragment that is not the first: proto is not known */
};

/**
 * ip6_walk() - walk a chain of extension headers (P7; RFC 8200, RFC 7045)
 * @b:		bytes that hold the IPv6 header at @ip
 * @len:	number of bytes; all headers of the chain must lie below
 * @c:		filled
 * @strict:	refuse what must not pass; otherwise (quoted in an error) only
 *		find the upper layer
 *
 * Return: DROP_NONE, DROP_EXT_HEADER.
 */
enum drop_reason ip6_walk(const uint8_t *b, size_t ip, size_t len, bool strict,
			  struct ip6_chain *c);

/**
 * packet_parse_l4() - read and check the upper layer's header
 *
 * Of a first fragment, too: then F5 decides whether it is all there. Fills in
 * csum_start and csum_offset of a frame with a partial checksum.
 *
 * Return: DROP_NONE, or P12, P13, T12, P1, P4 (UDP over IPv6 without checksum).
 */
enum drop_reason packet_parse_l4(struct frame *f, struct packet *p);

/** packet_trim() - cut the frame behind its first @len bytes */
void packet_trim(struct frame *f, uint32_t len);

/**
 * frame_read() - copy bytes of a frame whose segments are local
 *
 * Return: false when they are not, or there are not as many.
 */
bool frame_read(const struct frame *f, size_t at, void *dst, size_t len);

#endif
