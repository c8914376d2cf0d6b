/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a segmenter and a completer of checksums must give: written from the RFCs,
 * byte by byte, without a line of the code under test.
 */
#ifndef TESTS_FAKE_ORACLE_H
#define TESTS_FAKE_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORACLE_MAX 65600 /* bytes of a packet */

/** A packet to be made. */
struct oracle_spec {
	bool ipv6, udp;
	size_t payload;
	unsigned int ip_options;  /* IPv4: bytes, a multiple of 4; IPv6: of 8 */
	unsigned int tcp_options; /* bytes, a multiple of 4 */
	uint8_t tcp_flags;
	uint32_t seq;
	uint16_t id; /* IPv4 */
	uint8_t seed; /* of addresses, ports and payload */
};

/** oracle_make() - a packet whose checksum is partial; Return: its length */
size_t oracle_make(uint8_t *b, const struct oracle_spec *spec);
/** oracle_l4() - where TCP's or UDP's header begins */
size_t oracle_l4(const uint8_t *b);
/** oracle_headers() - bytes before the payload */
size_t oracle_headers(const uint8_t *b);
/** oracle_complete() - put the right checksum in */
void oracle_complete(uint8_t *b, size_t len);
/** oracle_is_right() - lengths and both checksums are what a receiver accepts */
bool oracle_is_right(const uint8_t *b, size_t len);
/** oracle_count() - packets that a GSO packet is cut into */
unsigned int oracle_count(const uint8_t *whole, size_t len, uint16_t mss);
/** oracle_piece() - the k-th of them, complete; Return: its length */
size_t oracle_piece(const uint8_t *whole, size_t len, uint16_t mss, unsigned int k, uint8_t *out);

#endif
