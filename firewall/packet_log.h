/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine's log entries as lines: who was refused what, by which rule.
 */
#ifndef FIREWALL_PACKET_LOG_H
#define FIREWALL_PACKET_LOG_H

#include "firewall/engine.h"

#define PACKET_LOG_LINE 192

/**
 * packet_log_format() - one entry as text
 *
 * "10.137.0.5 > 192.0.2.1 tcp 80: rejected by rule 0003", with " (12 more since the
 * last)" where the source's limit swallowed some.
 */
void packet_log_format(const struct engine *e, const struct engine_log *entry,
		       char line[PACKET_LOG_LINE]);

/** packet_log_drain() - write what the engine has noted; @now_ms: CLOCK_BOOTTIME */
void packet_log_drain(struct engine *e, uint64_t now_ms);

#endif
