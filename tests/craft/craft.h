/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packets as lines of text, for tests: text to bytes, bytes to text.
 *
 *	TCP 10.137.0.5:1000>192.0.2.80:80 S seq=1 mss=1460 wscale=7
 *	UDP [fd09::5]:53>[2001:db8::53]:53 len=3000 ipid=7 part=0+1232
 *	ICMP 192.0.2.1>10.137.0.2 3/4 mtu=1400 quote(UDP 10.137.0.2:9>192.0.2.80:9 cut=28)
 *
 * Nothing here uses the code under test, so that a checksum that is wrong twice
 * does not look right. Pure: no I/O, no clock; bounded by the sizes below.
 *
 * A line is a list of words, separated by blanks. A word is key=value, a bare key,
 * or quote(...) with a line inside; the first ones stand by position:
 *
 *	TCP  SRC:PORT>DST:PORT FLAGS	  flags: letters of SFRPAUEC, or - for none
 *	UDP  SRC:PORT>DST:PORT
 *	ICMP SRC>DST TYPE/CODE		  of the addresses' family
 *	NS, NA SRC>DST			  neighbour discovery
 *	IP   SRC>DST			  any other protocol, and fragments without header
 *	ARP  request|reply SRC>DST
 *	RAW				  bytes after the Ethernet header, as they are
 *
 * IPv6 addresses stand in brackets. Instead of TYPE/CODE: echo, echo-reply, net,
 * host, port, admin, prohibited, too-big, ttl, frag-time, param. Numbers are
 * decimal or 0x...; what is not said has the value in parentheses.
 *
 * Ethernet	smac= dmac= (the port's), ether=TYPE (by family), vlan=TAG, pad=N trailing
 *		zeros or padhex=HEX, cut=N: only the first N bytes (in a quote: of the IP packet)
 * IP, both	ttl= (64; NS and NA 255), tos= (0), ipid= (0; IPv6: of the fragment
 *		header), off=BYTES, mf, proto= (of the kind), ver=
 *		part=OFFSET+LENGTH: this fragment of the packet that the line describes
 * IPv4		df, rf, ipopt=HEX (padded with zeros), ihl=WORDS, tot=LENGTH,
 *		ipcsum=bad or a number
 * IPv6		flow=LABEL (0), plen=LENGTH, and the extension headers in their order:
 *		hbh[=HEX] dopt[=HEX] rt=TYPE/SEGMENTS_LEFT[/HEX] frag ah[=HEX]
 *		ext=NUMBER[/HEX]; what stands before part= or frag is in every fragment,
 *		what stands behind it is in the fragmented part
 * TCP		seq= ack= (0) win= (65535) urg= doff=WORDS res=BITS csum=;
 *		options in their order:
 *		mss= wscale= sackok sack=L-R[,L-R] ts=VALUE/ECHO nop eol opt=KIND[/HEX]
 *		rawopt=HEX
 * UDP		ulen= csum=		csum: bad, zero, or a number
 * ICMP		id= seq= of an echo; mtu=, ptr= or word= (all 32 bits) of others; csum=;
 *		quote(...), and payload behind it
 * NS, NA	target=ADDRESS slla=MAC tlla=MAC nd=RSO (flags of NA) ndopt=HEX
 * ARP		sender= (smac) target= (0) hw= pr= hln= pln= opcode=
 * payload	len=N of a pattern, fill=K added to each byte of it; hex=HEX
 * metadata	valid; partial (offsets left to whoever parses, as from a Xen ring) or
 *		partial=set; gso=SIZE or gso4=, gso6=, which imply partial unless
 *		complete is said; copyfailed
 *
 * craft_print() gives the same language back: what differs from what a correct
 * packet would have is said (csum=bad, ipcsum=bad, tot=, plen=, ulen=, pad=, cut=).
 * What it prints, craft_build() turns into the same bytes again.
 */
#ifndef TESTS_CRAFT_CRAFT_H
#define TESTS_CRAFT_CRAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "netback/frame.h"

#define CRAFT_ETH 14
#define CRAFT_MAX (CRAFT_ETH + 65535 + 64)
#define CRAFT_TEXT 12288 /* enough for any line craft_print() makes */
#define CRAFT_ERR 160

/** A frame: what the wire carries and what a ring says about it. */
struct craft {
	size_t len;
	uint8_t csum; /* enum frame_csum */
	uint8_t gso;  /* enum frame_gso */
	uint16_t gso_size;
	uint16_t csum_start, csum_offset; /* for CSUM_PARTIAL: where it really is */
	bool csum_set;			  /* craft_frame() hands them over */
	bool copy_failed;
	uint8_t b[CRAFT_MAX];
};

/** The MAC addresses that a line does not have to name. */
struct craft_link {
	uint8_t src[6], dst[6];
};

/**
 * craft_build() - text to bytes
 * @link:	may be NULL: zeros
 * @err:	CRAFT_ERR bytes, what is wrong with the text; may be NULL
 *
 * Return: 0 or -EINVAL.
 */
int craft_build(struct craft *c, const char *text, const struct craft_link *link, char *err);

#define CRAFT_SHOW_MACS 1u

/**
 * craft_print() - bytes to one canonical line
 * @text:	CRAFT_TEXT bytes
 *
 * Payload of more than 2048 bytes that is not the pattern is shortened to
 * blob=LENGTH/CRC, the one form that craft_build() does not read.
 *
 * Return: @text.
 */
const char *craft_print(const struct craft *c, char *text, unsigned int show);

/**
 * craft_merge() - a line with words of another one
 * @out:	CRAFT_TEXT bytes: @base, where @over has the same key its word, then
 *		what only @over has; without the keys that @over has as !key
 *
 * A quote() in both is merged in the same way.
 *
 * Return: 0 or -EINVAL.
 */
int craft_merge(char *out, const char *base, const char *over);

/**
 * craft_get() - the value of a word
 * @key:	"kind", "addr", "flags", "type", "op" for the positional ones
 * @value:	@size bytes; empty for a bare key
 */
bool craft_get(const char *text, const char *key, char *value, size_t size);

/**
 * craft_frame() - the frame as a port receives it
 * @f:		header[] gets the first FRAME_HEADER_COPY bytes, two segments the rest
 * @tail:	CRAFT_MAX bytes for them, as long as @f is used
 */
void craft_frame(const struct craft *c, struct frame *f, uint16_t port, uint8_t *tail);

/** craft_unframe() - and back: all its bytes in one piece */
void craft_unframe(struct craft *c, const struct frame *f);

/** craft_equal() - same bytes and same metadata */
bool craft_equal(const struct craft *a, const struct craft *b);

/** craft_sum() - RFC 1071: the folded sum, not complemented */
uint16_t craft_sum(const uint8_t *p, size_t len, uint32_t start);

#endif
