// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Who was refused what: noted here, written by the daemon between two turns.
 *
 * Each source may say LOG_RATE things a second; what is more is counted and told
 * with its next entry (hp_043_log_flood, D3). So a flood costs a counter.
 */
#include "firewall/engine_impl.h"

void engine_log_packet(struct engine *e, const struct work *w, enum drop_reason reason,
		       uint32_t rule)
{
	uint16_t index = w->in->source[packet_fam(&w->p)];
	struct source *source;
	struct engine_log *entry;

	if (index == SOURCE_NONE || e->sources[index].options.quiet)
		return;
	source = &e->sources[index];
	if (e->log_count == LOG_RING || !limit_take(&source->log, e->clock, LOG_RATE)) {
		if (source->suppressed < UINT32_MAX)
			source->suppressed++;
		return;
	}
	entry = &e->log[(e->log_head + e->log_count++) % LOG_RING];
	*entry = (struct engine_log){
		.src = source->addr,
		.dst = addr_of(w->p.family, &w->p.dst),
		.proto = w->p.proto,
		.icmp_type = w->p.icmp_type,
		.dport = w->p.dport,
		.reason = reason,
		.rule = rule,
		.suppressed = source->suppressed,
	};
	source->suppressed = 0;
}

bool engine_log_take(struct engine *e, struct engine_log *entry)
{
	if (e->log_count == 0)
		return false;
	*entry = e->log[e->log_head];
	e->log_head = (e->log_head + 1) % LOG_RING;
	e->log_count--;
	return true;
}
