/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What `ringfence explain` asks: the first packet of a flow, in words. From a command
 * line, and from the line that the daemon is asked by. Pure.
 */
#ifndef FIREWALL_QUESTION_H
#define FIREWALL_QUESTION_H

#include "rules/rules.h"

#define QUESTION_LINE_MAX  128 /* of a request, with its NUL */
#define QUESTION_ERROR_MAX 160

#define QUESTION_REQUEST "explain" /* how the line begins */
#define QUESTION_TRACE	 "--trace"

/** The number that follows DST, by protocol. */
enum question_number { QUESTION_NO_NUMBER, QUESTION_PORT, QUESTION_TYPE };

struct question {
	struct addr src, dst;
	struct rule_packet pkt; /* without dst: see question_packet() */
	enum question_number number;
	char proto[8]; /* tcp, udp, icmp or the number */
	bool trace;
};

/**
 * question_read() - SRC PROTO DST [PORT|TYPE]
 * @err:	receives why not
 *
 * Return: 0 or -EINVAL.
 */
int question_read(struct question *q, size_t count, char *const *words,
		  char err[QUESTION_ERROR_MAX]);

/** question_line() - as a request to the daemon, with a newline */
const char *question_line(const struct question *q, char buf[QUESTION_LINE_MAX]);

/**
 * question_parse() - what stands behind QUESTION_REQUEST in such a line
 * @text:	is cut into words
 *
 * Return: 0 or -EINVAL.
 */
int question_parse(struct question *q, char *text, char err[QUESTION_ERROR_MAX]);

/** question_packet() - the packet; it points into @q */
struct rule_packet question_packet(const struct question *q);

#endif
