/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One line per event to stderr: "ringfenced: warning: TEXT".
 */
#ifndef FIREWALL_LOG_H
#define FIREWALL_LOG_H

#include <stdint.h>

enum log_level {
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
};

/** log_set_level() - lines less urgent than @level are not written */
void log_set_level(int level);

/** log_level_parse() - "error".."debug" to a level; -1 for anything else */
int log_level_parse(const char *name);

/** log_level_name() - the other way round; "?" for no level */
const char *log_level_name(int level);

/**
 * log_msg() - write one line; control and non-ASCII bytes come out as \xNN
 */
void log_msg(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** A limit on lines of one kind: so many at once, so many a second. */
struct log_limit {
	unsigned int burst, rate, tokens;
	uint64_t filled_ms, suppressed;
};

#define LOG_LIMIT(burst, rate) {burst, rate, burst, 0, 0}

/**
 * log_limited() - a line that comes from outside (hp_043_log_flood, D3)
 * @now_ms:	CLOCK_BOOTTIME
 *
 * The next line that passes says how many were suppressed.
 */
void log_limited(struct log_limit *limit, uint64_t now_ms, int level, const char *text);

/* Packets of clients, beyond what the engine limits for each source. */
#define LOG_PACKET_BURST 50
#define LOG_PACKET_RATE	 20

/** log_peer() - log_limited() for everything that a peer can cause */
#define LOG_PEER_BURST 20
#define LOG_PEER_RATE  5
void log_peer(uint64_t now_ms, int level, const char *text);

#endif
