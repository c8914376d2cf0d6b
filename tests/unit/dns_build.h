/* SPDX-License-Identifier: GPL-2.0-or-later */
/* DNS messages from their parts, for tests: put_*() adds to msg. */
#ifndef TESTS_UNIT_DNS_BUILD_H
#define TESTS_UNIT_DNS_BUILD_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static uint8_t msg[70000];
static size_t len;

static inline void put8(unsigned int v)
{
	msg[len++] = (uint8_t)v;
}

static inline void put16(unsigned int v)
{
	put8(v >> 8);
	put8(v & 0xff);
}

static inline void put32(uint32_t v)
{
	put16(v >> 16);
	put16(v & 0xffff);
}

/* "www.example.com" in labels; "@12" is a pointer to offset 12. */
static inline void put_name(const char *name)
{
	if (name[0] == '@') {
		put16(0xc000 | (unsigned int)strtoul(name + 1, NULL, 10));
		return;
	}
	while (*name != '\0') {
		size_t n = strcspn(name, ".");

		put8((unsigned int)n);
		memcpy(msg + len, name, n);
		len += n;
		name += n + (name[n] == '.');
	}
	put8(0);
}

/* The header; what counts it does not know are 0. */
static inline void put_head(unsigned int id, unsigned int flags, unsigned int questions,
			    unsigned int answers, unsigned int authorities)
{
	len = 0;
	put16(id);
	put16(flags);
	put16(questions);
	put16(answers);
	put16(authorities);
	put16(0);
}

static inline void put_question(const char *name, unsigned int type)
{
	put_name(name);
	put16(type);
	put16(1);
}

/* A record up to its data. */
static inline void put_record(const char *owner, unsigned int type, uint32_t ttl,
			      unsigned int size)
{
	put_question(owner, type);
	put32(ttl);
	put16(size);
}

static inline void put_a(const char *owner, uint32_t ttl, uint32_t addr)
{
	put_record(owner, 1, ttl, 4);
	put32(addr);
}

static inline void put_cname(const char *owner, uint32_t ttl, const char *target)
{
	size_t at;

	put_record(owner, 5, ttl, 0);
	at = len;
	put_name(target);
	msg[at - 1] = (uint8_t)(len - at);
	msg[at - 2] = (uint8_t)((len - at) >> 8);
}

#endif
