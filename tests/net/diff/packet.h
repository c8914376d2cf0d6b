/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packets as structures: described, built byte by byte, and read back, with code of
 * its own, so that a checksum that is wrong twice does not look right. The
 * differential rig and the packet fuzzer build on it; whoever links it defines
 * macs, backend_mac and die().
 */
#ifndef TESTS_NET_DIFF_PACKET_H
#define TESTS_NET_DIFF_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PORTS	      4 /* 0: the uplink; 1, 2, 3: the clients */
#define UPLINK	      0
#define FRAME_ROOM    2048
#define DATAGRAM_ROOM 66000
#define ETH	      14u

enum side { KERNEL, RINGFENCE, SIDES };

#define P_ICMP	1
#define P_TCP	6
#define P_UDP	17
#define P_ICMP6 58

#define F_FIN 0x01
#define F_SYN 0x02
#define F_RST 0x04
#define F_PSH 0x08
#define F_ACK 0x10
#define F_URG 0x20

/* [0]: the firewall's own on the uplink; what its peers there and on vifs use */
extern const uint8_t macs[PORTS][6], backend_mac[6];
void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...);

struct ext {
	uint8_t type, len; /* whole header; the next header field is filled in */
	uint8_t b[40];
};

/* One packet. Fields that are 0 take a usual value. */
struct pk {
	uint8_t at; /* the port where it enters */
	uint8_t family, proto;
	uint8_t src[16], dst[16];
	bool to_nat; /* the destination port is what this side's NAT chose */
	bool quote;  /* data is this side's: the packet last seen, quoted */
	uint8_t ttl, tos;
	uint16_t id, frag; /* IPv4; frag: the whole field */
	uint32_t flow_label;
	uint16_t sport, dport; /* ICMP: identifier or high half, low half */
	uint32_t seq, ack;
	uint16_t window;
	uint8_t flags, type, code;
	uint8_t tcp_opt[40], tcp_opt_len;
	uint8_t ip_opt[40], ip_opt_len;
	struct ext ext[10];
	uint8_t exts;
	const uint8_t *data[SIDES]; /* NULL: a pattern */
	uint16_t len;		    /* of data */
	bool bad_ip_sum, bad_sum, no_sum;
	bool bad_mac;
	uint16_t ethertype;
	/* bytes changed before the checksums are made: offset in the IP packet + 1 */
	struct {
		uint16_t at;
		uint8_t value;
	} poke[4];
	uint32_t traits;
};

/* Where the parts of an IP packet are. */
struct layout {
	bool ok;
	uint8_t family, proto, ttl;
	uint16_t l4;	      /* offset of the upper layer, from the IP header */
	uint32_t len;	      /* of the IP packet */
	bool fragment, later; /* later: not the first */
	bool more;
	uint32_t offset;  /* of the fragment, bytes */
	uint16_t frag_at; /* IPv6: where its fragment header is; 0: none */
	uint32_t id;
	bool error;	 /* an ICMP error: a packet is quoted at l4 + 8 */
	uint16_t sum_at; /* offset of the upper layer's checksum, 0: none */
	uint16_t port_at[2];
};

/* --- build.c ------------------------------------------------------------------ */

uint16_t get16(const uint8_t *p);
uint32_t get32(const uint8_t *p);
void put16(uint8_t *p, uint32_t v);
void put32(uint8_t *p, uint32_t v);
/* the folded sum, not complemented */
uint16_t sum_of(const uint8_t *p, size_t len, uint32_t sum);
/* of addresses, protocol and length */
uint32_t pseudo_header_sum(const uint8_t *ip, uint8_t family, uint8_t proto, uint32_t len);
void addr_of(uint8_t out[16], uint8_t family, const char *text);

/* The whole frame into @out (DATAGRAM_ROOM); returns its length. */
uint32_t build(uint8_t *out, const struct pk *k, enum side side, uint16_t nat_port);
/* A piece of a built frame as a fragment; @more: of the whole. Returns its length. */
uint32_t build_fragment(uint8_t *out, const uint8_t *frame, uint32_t offset, uint32_t len,
			bool more, uint32_t id);
/* bytes in front of what fragments carry, Ethernet header included */
uint32_t unfragmentable(const uint8_t *frame);
void pk_ext(struct pk *k, uint8_t type, uint8_t len);

/* --- parse.c ------------------------------------------------------------------ */

/* @ip: an IP packet, of which @have bytes are there (quoted: fewer than its length) */
struct layout parse(const uint8_t *ip, uint32_t have);
/* by adding up; a UDP checksum of zero is right, so is what a fragment has */
bool sums_right(const uint8_t *ip, const struct layout *l, bool *ip_ok);
/* one line about a frame */
void describe(const uint8_t *frame, uint32_t len, char *out, size_t room);
void hex_dump(const uint8_t *b, uint32_t len);

#endif
