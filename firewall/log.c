/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024

static int log_threshold = LOG_LEVEL_INFO;

void log_set_level(int level)
{
	log_threshold = level;
}

static const struct {
	int level;
	const char *name, *prefix;
} levels[] = {
	{LOG_LEVEL_ERROR, "error", "error: "},
	{LOG_LEVEL_WARNING, "warning", "warning: "},
	{LOG_LEVEL_INFO, "info", ""},
	{LOG_LEVEL_DEBUG, "debug", "debug: "},
};

int log_level_parse(const char *name)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (strcmp(name, levels[i].name) == 0)
			return levels[i].level;
	return -1;
}

const char *log_level_name(int level)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (levels[i].level == level)
			return levels[i].name;
	return "?";
}

static const char *prefix_of(int level)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (levels[i].level == level)
			return levels[i].prefix;
	return "";
}

void log_msg(int level, const char *fmt, ...)
{
	char text[LINE_MAX_BYTES], line[4 * LINE_MAX_BYTES + 64];
	size_t n = 0;
	va_list ap;

	if (level > log_threshold)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	n = (size_t)snprintf(line, sizeof(line), "ringfenced: %s", prefix_of(level));
	for (const char *p = text; *p != '\0' && n + 6 < sizeof(line); p++) {
		unsigned char c = (unsigned char)*p;

		/* rule 23 of hostile-peers: nothing unescaped reaches a terminal */
		if (c < 0x20 || c >= 0x7f)
			n += (size_t)snprintf(line + n, sizeof(line) - n, "\\x%02x", c);
		else
			line[n++] = (char)c;
	}
	line[n++] = '\n';
	/* one write: lines of the daemon and of a peer on the console don't mix */
	if (write(STDERR_FILENO, line, n) < 0)
		return;
}

void log_limited(struct log_limit *l, uint64_t now_ms, int level, const char *text)
{
	uint64_t gained = (now_ms - l->filled_ms) * l->rate / 1000;

	if (level > log_threshold)
		return;
	if (gained > 0) {
		l->tokens = gained >= l->burst ? l->burst : l->tokens + (unsigned int)gained;
		if (l->tokens > l->burst)
			l->tokens = l->burst;
		l->filled_ms = now_ms;
	}
	if (l->tokens == 0) {
		l->suppressed++;
		return;
	}
	l->tokens--;
	if (l->suppressed > 0) {
		log_msg(LOG_LEVEL_WARNING, "%llu lines suppressed",
			(unsigned long long)l->suppressed);
		l->suppressed = 0;
	}
	log_msg(level, "%s", text);
}

void log_peer(uint64_t now_ms, int level, const char *text)
{
	static struct log_limit limit = LOG_LIMIT(LOG_PEER_BURST, LOG_PEER_RATE);

	log_limited(&limit, now_ms, level, text);
}
