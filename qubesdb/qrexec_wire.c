// SPDX-License-Identifier: GPL-2.0-or-later
#include "qubesdb/qrexec_wire.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define CHUNK_V2 4096
#define CHUNK_V3 65536

static_assert(QREXEC_CMDLINE_KEEP <= QREXEC_CMDLINE_MAX, "what is kept may come");

uint32_t qrexec_get32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

size_t qrexec_header(uint8_t *buf, enum qrexec_type type, uint32_t len)
{
	put32(buf, type);
	put32(buf + 4, len);
	return QREXEC_HEADER;
}

/* A header and one number. */
static size_t number(uint8_t *buf, enum qrexec_type type, uint32_t value)
{
	put32(buf + qrexec_header(buf, type, 4), value);
	return QREXEC_HEADER + 4;
}

size_t qrexec_hello(uint8_t *buf)
{
	return number(buf, QREXEC_HELLO, QREXEC_VERSION_MAX);
}

size_t qrexec_exit_code(uint8_t *buf, uint32_t status)
{
	return number(buf, QREXEC_EXIT_CODE, status);
}

size_t qrexec_terminated(uint8_t *buf, uint32_t domain, uint32_t port)
{
	size_t n = qrexec_header(buf, QREXEC_CONNECTION_TERMINATED, QREXEC_PARAMS);

	put32(buf + n, domain);
	put32(buf + n + 4, port);
	return n + QREXEC_PARAMS;
}

size_t qrexec_trigger(uint8_t *buf, const char *target, const char *ident, const char *service)
{
	size_t len = QREXEC_TARGET + QREXEC_IDENT + strlen(service) + 1;
	uint8_t *p = buf + qrexec_header(buf, QREXEC_TRIGGER_SERVICE3, (uint32_t)len);

	assert(strlen(target) < QREXEC_TARGET && strlen(ident) < QREXEC_IDENT &&
	       strlen(service) <= QREXEC_SERVICE_MAX);
	memset(p, 0, len);
	memcpy(p, target, strlen(target) + 1);
	memcpy(p + QREXEC_TARGET, ident, strlen(ident) + 1);
	memcpy(p + QREXEC_TARGET + QREXEC_IDENT, service, strlen(service) + 1);
	return QREXEC_HEADER + len;
}

unsigned qrexec_version(uint32_t theirs)
{
	if (theirs < QREXEC_VERSION_MIN)
		return 0;
	return theirs < QREXEC_VERSION_MAX ? theirs : QREXEC_VERSION_MAX;
}

uint32_t qrexec_chunk_max(unsigned version)
{
	return version < 3 ? CHUNK_V2 : CHUNK_V3;
}

/* --- the command line ------------------------------------------------------------ */

static char *skip(char *text, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(text, prefix, n) == 0 ? text + n : NULL;
}

/* Cut at the first @c. Return: what follows it, or the end of @text. */
static char *cut(char *text, char c)
{
	char *at = strchr(text, c);

	if (!at)
		return text + strlen(text);
	*at = '\0';
	return at + 1;
}

int qrexec_command(struct qrexec_command *c, char *text, size_t len, const char **why)
{
	char *p, *colon, *rest;

	*c = (struct qrexec_command){.service = "", .argument = "", .source = ""};
	*why = "a command line without an end";
	if (len == 0 || text[len - 1] != '\0')
		return -EINVAL;
	*why = "a command line with a NUL";
	if (strlen(text) != len - 1)
		return -EINVAL;
	/* The user: before a colon, and before any blank. */
	p = text;
	colon = strchr(p, ':');
	if (colon && colon < p + strcspn(p, " ") && !skip(p, "nogui:"))
		p = colon + 1;
	rest = skip(p, "nogui:");
	p = rest ? rest : p;
	*why = "a command: only services are served";
	rest = skip(p, "QUBESRPC ");
	if (!rest)
		return -EINVAL;
	p = cut(rest, ' ');
	cut(p, ' ');
	c->source = p;
	c->argument = cut(rest, '+');
	c->service = rest;
	*why = "a service without a name";
	if (rest[0] == '\0')
		return -EINVAL;
	*why = "a service with a name too long";
	return strlen(rest) > QREXEC_SERVICE_MAX ? -EINVAL : 0;
}

/* --- reading ---------------------------------------------------------------------- */

size_t qrexec_kept(const struct qrexec_reader *r)
{
	return r->got < sizeof(r->body) ? r->got : sizeof(r->body);
}

void qrexec_next(struct qrexec_reader *r)
{
	r->head_len = 0;
	r->type = r->len = r->got = 0;
}

/* Return: bytes read, perhaps 0, or -EPIPE. */
static int read_some(const struct qdb_vchan_ops *ops, void *v, void *buf, size_t len)
{
	int n = ops->read(v, buf, len);

	return n < 0 || (size_t)n > len ? -EPIPE : n;
}

static int take_header(struct qrexec_reader *r, const struct qdb_vchan_ops *ops, void *v)
{
	while (r->head_len < QREXEC_HEADER) {
		int n = read_some(ops, v, r->head + r->head_len, QREXEC_HEADER - r->head_len);

		if (n <= 0)
			return n;
		r->head_len += (size_t)n;
	}
	r->type = qrexec_get32(r->head);
	r->len = qrexec_get32(r->head + 4);
	return 1;
}

/* More of the body: what is beyond our room for it goes nowhere. */
static int take_body(struct qrexec_reader *r, const struct qdb_vchan_ops *ops, void *v)
{
	size_t left = r->len - r->got, room = sizeof(r->body) - qrexec_kept(r);
	uint8_t excess[512];

	if (room)
		return read_some(ops, v, r->body + r->got, left < room ? left : room);
	return read_some(ops, v, excess, left < sizeof(excess) ? left : sizeof(excess));
}

int qrexec_take(struct qrexec_reader *r, const struct qdb_vchan_ops *ops, void *v,
		qrexec_legal *legal, const void *arg)
{
	if (r->head_len < QREXEC_HEADER) {
		int rc = take_header(r, ops, v);

		if (rc <= 0)
			return rc;
		if (!legal(arg, r->type, r->len))
			return -EPROTO;
	}
	while (r->got < r->len) {
		int n = take_body(r, ops, v);

		if (n <= 0)
			return n;
		r->got += (uint32_t)n;
	}
	return 1;
}
