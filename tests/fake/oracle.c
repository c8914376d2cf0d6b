// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The oracle: see oracle.h. Everything is computed anew from the bytes: sums in the
 * order of the wire, addresses from the headers.
 */
#include "tests/fake/oracle.h"

#include <string.h>

#define ETH 14

static uint32_t be16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static void to16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* One's complement addition of big-endian words, folded at each step. */
static uint32_t add(uint32_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
		if (sum > 0xffff)
			sum -= 0xffff;
	}
	return sum;
}

static bool is6(const uint8_t *b)
{
	return be16(b + 12) == 0x86dd;
}

size_t oracle_l4(const uint8_t *b)
{
	size_t at = ETH + 40;
	uint8_t next = b[ETH + 6];

	if (!is6(b))
		return ETH + (b[ETH] & 15) * 4u;
	while (next == 60) { /* destination options, the only ones made here */
		next = b[at];
		at += 8 + b[at + 1] * 8u;
	}
	return at;
}

static uint8_t proto(const uint8_t *b)
{
	return is6(b) ? oracle_l4(b) > ETH + 40 ? b[ETH + 40] : b[ETH + 6] : b[ETH + 9];
}

size_t oracle_headers(const uint8_t *b)
{
	size_t l4 = oracle_l4(b);

	return l4 + (proto(b) == 17 ? 8 : (b[l4 + 12] >> 4) * 4u);
}

static uint8_t *field(uint8_t *b)
{
	return b + oracle_l4(b) + (proto(b) == 17 ? 6 : 16);
}

/* RFC 9293 3.1, RFC 768, RFC 8200 8.1. */
static uint32_t pseudo(const uint8_t *b, size_t len)
{
	uint8_t tail[4] = {0, proto(b), 0, 0};

	to16(tail + 2, (uint32_t)(len - oracle_l4(b)));
	if (is6(b))
		return add(add(0, b + ETH + 8, 32), tail, 4);
	return add(add(0, b + ETH + 12, 8), tail, 4);
}

static void ip_sum(uint8_t *b)
{
	size_t size = (b[ETH] & 15) * 4u;

	to16(b + ETH + 10, 0);
	to16(b + ETH + 10, ~add(0, b + ETH, size));
}

void oracle_complete(uint8_t *b, size_t len)
{
	size_t l4 = oracle_l4(b);
	uint32_t sum;

	to16(field(b), 0);
	sum = ~add(pseudo(b, len), b + l4, len - l4) & 0xffff;
	if (sum == 0 && proto(b) == 17)
		sum = 0xffff;
	to16(field(b), sum);
}

bool oracle_is_right(const uint8_t *b, size_t len)
{
	size_t l4 = oracle_l4(b);

	if (is6(b) ? be16(b + ETH + 4) != len - ETH - 40 : be16(b + ETH + 2) != len - ETH)
		return false;
	if (!is6(b) && add(0, b + ETH, l4 - ETH) != 0xffff)
		return false;
	return add(pseudo(b, len), b + l4, len - l4) == 0xffff;
}

static void make_ip(uint8_t *b, const struct oracle_spec *s, size_t len)
{
	uint8_t protocol = s->udp ? 17 : 6;
	uint8_t *ip = b + ETH;

	if (s->ipv6) {
		memcpy(ip, "\x60\x01\x02\x03", 4);
		to16(ip + 4, (uint32_t)(len - ETH - 40));
		ip[6] = s->ip_options ? 60 : protocol;
		ip[7] = 61;
		for (int i = 8; i < 40; i++)
			ip[i] = (uint8_t)(i == 8 || i == 24 ? 0x20 : i * 3 + s->seed);
		if (s->ip_options) {
			ip[40] = protocol;
			ip[41] = (uint8_t)(s->ip_options / 8 - 1);
			ip[42] = 1; /* PadN over the rest */
			ip[43] = (uint8_t)(s->ip_options - 4);
		}
		return;
	}
	ip[0] = (uint8_t)(0x45 + s->ip_options / 4);
	to16(ip + 2, (uint32_t)(len - ETH));
	to16(ip + 4, s->id);
	ip[6] = 0x40;
	ip[8] = 61;
	ip[9] = protocol;
	memcpy(ip + 12, "\x0a\x89\x00\x05\xc6\x33\x64", 7);
	ip[19] = s->seed;
	memset(ip + 20, 1, s->ip_options);
	ip_sum(b);
}

size_t oracle_make(uint8_t *b, const struct oracle_spec *s)
{
	size_t l4 = ETH + (s->ipv6 ? 40 : 20) + s->ip_options;
	size_t headers = l4 + (s->udp ? 8 : 20 + s->tcp_options), len = headers + s->payload;

	memset(b, 0, headers);
	memcpy(b, "\xfe\xff\xff\xff\xff\xff\x00\x16\x3e\x5e\x02\x00", 12);
	to16(b + 12, s->ipv6 ? 0x86dd : 0x0800);
	make_ip(b, s, len);
	to16(b + l4, 40000u + s->seed);
	to16(b + l4 + 2, 443);
	if (s->udp) {
		to16(b + l4 + 4, (uint32_t)(len - l4));
	} else {
		to16(b + l4 + 4, s->seq >> 16);
		to16(b + l4 + 6, s->seq);
		to16(b + l4 + 8, 0x1234);
		b[l4 + 12] = (uint8_t)((5 + s->tcp_options / 4) << 4);
		b[l4 + 13] = s->tcp_flags;
		to16(b + l4 + 14, 0x2000);
		memset(b + l4 + 20, 1, s->tcp_options);
	}
	to16(field(b), pseudo(b, len));
	for (size_t i = 0; i < s->payload; i++)
		b[headers + i] = (uint8_t)(i * 31 + (i >> 8) * 7 + s->seed);
	return len;
}

unsigned int oracle_count(const uint8_t *whole, size_t len, uint16_t mss)
{
	size_t payload = len - oracle_headers(whole);
	unsigned int n = 0;

	do {
		payload -= payload < mss ? payload : mss;
		n++;
	} while (payload);
	return n;
}

size_t oracle_piece(const uint8_t *whole, size_t len, uint16_t mss, unsigned int k, uint8_t *out)
{
	size_t headers = oracle_headers(whole), from = headers + (size_t)k * mss;
	size_t n = len - from < mss ? len - from : mss, l4 = oracle_l4(whole);
	bool last = k + 1 == oracle_count(whole, len, mss);
	uint32_t seq = be16(whole + l4 + 4) << 16 | be16(whole + l4 + 6);

	memcpy(out, whole, headers);
	memcpy(out + headers, whole + from, n);
	seq += (uint32_t)k * mss;
	to16(out + l4 + 4, seq >> 16);
	to16(out + l4 + 6, seq);
	if (!last)
		out[l4 + 13] &= 0xf6; /* FIN, PSH */
	if (k > 0)
		out[l4 + 13] &= 0x7f; /* CWR */
	if (is6(whole)) {
		to16(out + ETH + 4, (uint32_t)(headers + n - ETH - 40));
	} else {
		to16(out + ETH + 2, (uint32_t)(headers + n - ETH));
		to16(out + ETH + 4, be16(whole + ETH + 4) + k);
		ip_sum(out);
	}
	oracle_complete(out, headers + n);
	return headers + n;
}
