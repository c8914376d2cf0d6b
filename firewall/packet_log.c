/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/packet_log.h"

#include "firewall/log.h"

#include <stdio.h>

static const char *proto_text(const struct engine_log *l, char buf[24])
{
	switch (l->proto) {
	case 6:
	case 17:
		snprintf(buf, 24, "%s %u", l->proto == 6 ? "tcp" : "udp", l->dport);
		return buf;
	case 1:
	case 58:
		snprintf(buf, 24, "icmp type %u", l->icmp_type);
		return buf;
	default:
		snprintf(buf, 24, "protocol %u", l->proto);
		return buf;
	}
}

/* The key of the rule that decided, as long as its policy is in force. */
static const char *rule_text(const struct engine *e, const struct engine_log *l,
			     char buf[RULE_KEY_MAX])
{
	struct engine_source_info info;

	if (!engine_source_info(e, &l->src, &info) || info.policy == NULL ||
	    (l->rule < RULE_INDEX_NONE && l->rule >= policy_rule_count(info.policy)))
		return "a policy that is gone";
	return policy_key(info.policy, l->rule, buf);
}

void packet_log_format(const struct engine *e, const struct engine_log *l,
		       char line[PACKET_LOG_LINE])
{
	char src[ADDR_STRLEN], dst[ADDR_STRLEN], proto[24], key[RULE_KEY_MAX], more[48] = "";

	addr_format(&l->src, src);
	addr_format(&l->dst, dst);
	if (l->suppressed > 0)
		snprintf(more, sizeof(more), " (%u more since the last)", l->suppressed);
	if (l->reason == DROP_REJECTED)
		snprintf(line, PACKET_LOG_LINE, "%s > %s %s: rejected by rule %.21s%s", src, dst,
			 proto_text(l, proto), rule_text(e, l, key), more);
	else
		snprintf(line, PACKET_LOG_LINE, "%s > %s %s: dropped: %s%s", src, dst,
			 proto_text(l, proto), drop_name(l->reason), more);
}

void packet_log_drain(struct engine *e, uint64_t now_ms)
{
	static struct log_limit limit = LOG_LIMIT(LOG_PACKET_BURST, LOG_PACKET_RATE);
	char line[PACKET_LOG_LINE];
	struct engine_log entry;

	while (engine_log_take(e, &entry)) {
		packet_log_format(e, &entry, line);
		log_limited(&limit, now_ms, LOG_LEVEL_INFO, line);
	}
}
