/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/question.h"

#include "firewall/packet.h"
#include "rules/text.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WORDS_MAX 4
#define SHOW	  56 /* bytes of a foreign word in a message, escaped */

static_assert(sizeof(QUESTION_REQUEST " " QUESTION_TRACE " ") - 1 + 2 * ADDR_STRLEN +
			      sizeof(" icmp  65535\n") <= QUESTION_LINE_MAX,
	      "every question fits a line");

__attribute__((format(printf, 2, 3))) static int wrong(char *err, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(err, QUESTION_ERROR_MAX, format, ap);
	va_end(ap);
	return -EINVAL;
}

static const char *show(char buf[SHOW], const char *word)
{
	return text_escape(buf, SHOW, word, strlen(word));
}

/* Strict decimal; -1 for anything else. */
static long number(const char *text, long max)
{
	size_t len = strlen(text);
	long value = 0;

	if (len == 0 || len > 5 || strspn(text, "0123456789") != len || (len > 1 && text[0] == '0'))
		return -1;
	for (; *text != '\0'; text++)
		value = value * 10 + (*text - '0');
	return value <= max ? value : -1;
}

static int read_address(const char *what, const char *text, struct addr *out, char *err)
{
	char buf[SHOW];

	if (addr_parse(text, strlen(text), out) == 0)
		return 0;
	return wrong(err, "%s: \"%s\" is not an address", what, show(buf, text));
}

static int read_proto(struct question *q, const char *text, char *err)
{
	uint8_t icmp = q->src.family == 4 ? PROTO_ICMP : PROTO_ICMP6;
	char buf[SHOW];
	long proto;

	if (strcmp(text, "tcp") == 0)
		proto = PROTO_TCP;
	else if (strcmp(text, "udp") == 0)
		proto = PROTO_UDP;
	else if (strcmp(text, "icmp") == 0)
		proto = icmp;
	else
		proto = number(text, 255);
	if (proto < 0)
		return wrong(err, "\"%s\" is not tcp, udp, icmp or a protocol number",
			     show(buf, text));
	q->pkt.proto = (uint8_t)proto;
	q->number = proto == PROTO_TCP || proto == PROTO_UDP ? QUESTION_PORT
		    : proto == icmp		       ? QUESTION_TYPE
						       : QUESTION_NO_NUMBER;
	snprintf(q->proto, sizeof(q->proto), "%u", q->pkt.proto);
	if (q->number != QUESTION_NO_NUMBER)
		snprintf(q->proto, sizeof(q->proto), "%s",
			 proto == PROTO_TCP   ? "tcp"
			 : proto == PROTO_UDP ? "udp"
					   : "icmp");
	return 0;
}

static int read_number(struct question *q, const char *text, char *err)
{
	const char *what = q->number == QUESTION_PORT ? "a port" : "an ICMP type";
	long max = q->number == QUESTION_PORT ? 65535 : 255, value;
	char buf[SHOW];

	if (q->number == QUESTION_NO_NUMBER && text == NULL)
		return 0;
	if (q->number == QUESTION_NO_NUMBER)
		return wrong(err, "protocol %s has no port or type: \"%s\"", q->proto,
			     show(buf, text));
	if (text == NULL)
		return wrong(err, "%s needs %s", q->proto, what);
	value = number(text, max);
	if (value < 0)
		return wrong(err, "\"%s\" is not %s of 0 to %ld", show(buf, text), what, max);
	if (q->number == QUESTION_PORT)
		q->pkt.dport = (uint16_t)value;
	else
		q->pkt.icmp_type = (uint8_t)value;
	return 0;
}

int question_read(struct question *q, size_t count, char *const *words,
		  char err[QUESTION_ERROR_MAX])
{
	char src[SHOW], dst[SHOW];

	if (count < 3 || count > WORDS_MAX)
		return wrong(err, "needs SRC PROTO DST [PORT|TYPE]; see ringfence --help");
	if (read_address("SRC", words[0], &q->src, err) != 0 ||
	    read_address("DST", words[2], &q->dst, err) != 0 ||
	    read_proto(q, words[1], err) != 0)
		return -EINVAL;
	if (q->src.family != q->dst.family)
		return wrong(err, "SRC %s is IPv%u, DST %s is IPv%u", show(src, words[0]),
			     q->src.family, show(dst, words[2]), q->dst.family);
	return read_number(q, count == WORDS_MAX ? words[3] : NULL, err);
}

const char *question_line(const struct question *q, char buf[QUESTION_LINE_MAX])
{
	unsigned int last = q->number == QUESTION_PORT ? q->pkt.dport : q->pkt.icmp_type;
	char src[ADDR_STRLEN], dst[ADDR_STRLEN], value[16] = "";
	int n;

	if (q->number != QUESTION_NO_NUMBER)
		snprintf(value, sizeof(value), " %u", last);
	n = snprintf(buf, QUESTION_LINE_MAX, QUESTION_REQUEST "%s %s %s %s%s\n",
		     q->trace ? " " QUESTION_TRACE : "", addr_format(&q->src, src), q->proto,
		     addr_format(&q->dst, dst), value);
	assert(n > 0 && n < QUESTION_LINE_MAX);
	return buf;
}

int question_parse(struct question *q, char *text, char err[QUESTION_ERROR_MAX])
{
	char *words[WORDS_MAX + 2] = {text};
	size_t count = 1, first;

	*q = (struct question){.trace = false};
	/* one more than a question has is enough to see that it is none */
	while (count < WORDS_MAX + 2 && (text = strchr(text, ' ')) != NULL) {
		*text++ = '\0';
		words[count++] = text;
	}
	first = strcmp(words[0], QUESTION_TRACE) == 0;
	q->trace = first;
	return question_read(q, count - first, words + first, err);
}

struct rule_packet question_packet(const struct question *q)
{
	struct rule_packet pkt = q->pkt;

	pkt.dst = q->dst.bytes;
	return pkt;
}
