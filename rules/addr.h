/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IP addresses of both families, as the rules and QubesDB write them.
 *
 * An address is bytes in network order and a family number (4 or 6); the
 * AF_* constants of the operating system stay out of the pure code.
 */
#ifndef RULES_ADDR_H
#define RULES_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADDR_STRLEN 46 /* longest text form of an IPv6 address, with NUL */

struct addr {
	uint8_t family;    /* 4, 6, or 0 for "no address" */
	uint8_t bytes[16]; /* network order; IPv4 uses the first four */
};

/**
 * addr_parse() - read the text form of one address
 * @text:	characters, need not end in NUL
 * @len:	number of characters
 * @out:	the address; unchanged on failure
 *
 * IPv4 is a dotted quad of decimal octets without leading zeros; IPv6 is
 * anything RFC 4291 2.2 allows (upper case, uncompressed, v4-mapped).
 *
 * Return: 0, or -EINVAL when the text is not exactly one address.
 */
int addr_parse(const char *text, size_t len, struct addr *out);

/**
 * addr_format() - write the canonical text form (RFC 5952 for IPv6)
 * @addr:	the address; family 0 gives "none"
 * @buf:	receives the text and a NUL
 *
 * Return: @buf.
 */
const char *addr_format(const struct addr *addr, char buf[ADDR_STRLEN]);

/** addr_equal() - whether two addresses have the same family and bytes */
bool addr_equal(const struct addr *a, const struct addr *b);

/** addr_among() - whether it is one of @n others */
bool addr_among(const struct addr *addrs, size_t n, const struct addr *addr);

/** addr_len() - number of bytes of the address: 4, 16, or 0 for family 0 */
size_t addr_len(const struct addr *addr);

#endif
