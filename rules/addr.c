/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "rules/addr.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define GROUPS 8 /* of 16 bits in an IPv6 address */

/*
 * Read a dotted quad that must fill the text. Octets carry no leading zeros:
 * "010" is eight to one resolver and ten to another, so it is nothing here.
 */
static bool quad_parse(const char *text, size_t len, uint8_t out[4])
{
	size_t at = 0;

	for (unsigned int i = 0; i < 4; i++) {
		unsigned int value = 0, digits = 0;

		if (i > 0 && (at == len || text[at++] != '.'))
			return false;
		for (; at < len && text[at] >= '0' && text[at] <= '9'; at++) {
			if (digits++ > 0 && value == 0)
				return false;
			value = value * 10 + (unsigned int)(text[at] - '0');
			if (value > 255)
				return false;
		}
		if (digits == 0)
			return false;
		out[i] = (uint8_t)value;
	}
	return at == len;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The state of reading an IPv6 address: RFC 4291 2.2. */
struct groups {
	uint8_t bytes[2 * GROUPS];
	size_t used; /* bytes read so far */
	size_t gap;  /* where "::" stands; SIZE_MAX for nowhere */
};

/* Read one group at *at: hexadecimal, or the dotted quad that ends the text. */
static bool group_parse(struct groups *g, const char *text, size_t len, size_t *at)
{
	unsigned int value = 0;
	size_t i = *at;

	while (i < len && i - *at < 4 && hex_digit(text[i]) >= 0)
		value = value << 4 | (unsigned int)hex_digit(text[i++]);
	if (i == *at)
		return false;
	if (i < len && text[i] == '.') {
		if (g->used > sizeof(g->bytes) - 4 ||
		    !quad_parse(text + *at, len - *at, g->bytes + g->used))
			return false;
		g->used += 4;
		*at = len;
		return true;
	}
	if (g->used > sizeof(g->bytes) - 2)
		return false;
	g->bytes[g->used++] = (uint8_t)(value >> 8);
	g->bytes[g->used++] = (uint8_t)value;
	*at = i;
	return true;
}

/* Move what follows "::" to the end; "::" stands for at least one group. */
static bool groups_expand(struct groups *g)
{
	size_t tail;

	if (g->gap == SIZE_MAX)
		return g->used == sizeof(g->bytes);
	if (g->used == sizeof(g->bytes))
		return false;
	tail = g->used - g->gap;
	memmove(g->bytes + sizeof(g->bytes) - tail, g->bytes + g->gap, tail);
	memset(g->bytes + g->gap, 0, sizeof(g->bytes) - g->used);
	return true;
}

static bool groups_parse(const char *text, size_t len, uint8_t out[2 * GROUPS])
{
	struct groups g = {.gap = SIZE_MAX};
	size_t at = 0;

	if (len >= 2 && text[0] == ':' && text[1] == ':') {
		g.gap = 0;
		at = 2;
	}
	while (at < len) {
		if (!group_parse(&g, text, len, &at))
			return false;
		if (at == len)
			break;
		if (text[at++] != ':' || at == len)
			return false;
		if (text[at] == ':') {
			if (g.gap != SIZE_MAX)
				return false;
			g.gap = g.used;
			at++;
		}
	}
	if (!groups_expand(&g))
		return false;
	memcpy(out, g.bytes, sizeof(g.bytes));
	return true;
}

int addr_parse(const char *text, size_t len, struct addr *out)
{
	struct addr addr = {0};

	if (quad_parse(text, len, addr.bytes)) {
		addr.family = 4;
	} else {
		memset(&addr, 0, sizeof(addr));
		if (!groups_parse(text, len, addr.bytes))
			return -EINVAL;
		addr.family = 6;
	}
	*out = addr;
	return 0;
}

/* The longest run of at least two zero groups, the first of equals: RFC 5952 4.2. */
static void longest_zeros(const uint16_t group[GROUPS], unsigned int *start, unsigned int *end)
{
	*start = *end = GROUPS;
	for (unsigned int i = 0; i < GROUPS;) {
		unsigned int j = i;

		while (j < GROUPS && group[j] == 0)
			j++;
		if (j - i >= 2 && j - i > *end - *start) {
			*start = i;
			*end = j;
		}
		i = j + 1;
	}
}

static void format6(const uint8_t *bytes, char buf[ADDR_STRLEN])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	uint16_t group[GROUPS];
	unsigned int start, end;
	size_t at = 0;

	/* RFC 5952 5: a known IPv4 part is shown as such. */
	if (memcmp(bytes, mapped, sizeof(mapped)) == 0) {
		snprintf(buf, ADDR_STRLEN, "::ffff:%u.%u.%u.%u", bytes[12], bytes[13], bytes[14],
			 bytes[15]);
		return;
	}
	for (unsigned int i = 0; i < GROUPS; i++)
		group[i] = (uint16_t)(bytes[2 * i] << 8 | bytes[2 * i + 1]);
	longest_zeros(group, &start, &end);
	for (unsigned int i = 0; i < GROUPS; i++) {
		if (i == start) {
			at += (size_t)snprintf(buf + at, ADDR_STRLEN - at, "::");
			i = end - 1;
			continue;
		}
		at += (size_t)snprintf(buf + at, ADDR_STRLEN - at, "%s%x",
				       i == 0 || i == end ? "" : ":", group[i]);
	}
}

const char *addr_format(const struct addr *addr, char buf[ADDR_STRLEN])
{
	const uint8_t *b = addr->bytes;

	if (addr->family == 4)
		snprintf(buf, ADDR_STRLEN, "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
	else if (addr->family == 6)
		format6(b, buf);
	else
		snprintf(buf, ADDR_STRLEN, "none");
	return buf;
}

size_t addr_len(const struct addr *addr)
{
	return addr->family == 4 ? 4 : addr->family == 6 ? 16 : 0;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, addr_len(a)) == 0;
}

bool addr_among(const struct addr *addrs, size_t n, const struct addr *addr)
{
	for (size_t i = 0; i < n; i++)
		if (addr_equal(&addrs[i], addr))
			return true;
	return false;
}
