/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The verdict for the first packet of a flow (R1, R2, R9). Hot only in the
 * sense of "once for a flow and after a reload": established packets never come
 * here. Few rules are scanned, many are looked up in the index; index.c says how.
 */
#include "rules/index.h"
#include "rules/ruleset.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#define IP_ICMP	  1
#define IP_TCP	  6
#define IP_UDP	  17
#define IP_ICMPV6 58

static_assert(sizeof(struct matcher) == 56, "a matcher fits one cache line");

struct words words_of(const uint8_t *bytes, uint8_t family)
{
	struct words words = {{0, 0}};
	uint32_t four;

	if (family != 4) {
		memcpy(words.w, bytes, 16);
		return words;
	}
	/* Through a register: a short write before a long read stalls. */
	memcpy(&four, bytes, 4);
	words.w[0] = htobe64((uint64_t)be32toh(four) << 32);
	return words;
}

static bool set_has(const struct words *set, uint32_t count, const struct words *dst)
{
	uint32_t low = 0, high = count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		int diff = memcmp(&set[mid], dst, sizeof(*dst));

		if (diff == 0)
			return true;
		if (diff < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

/* What a rule compares: the class of the protocol and one number. */
uint8_t packet_class(const struct rule_packet *pkt, uint8_t family, uint16_t *number)
{
	*number = 0;
	if (pkt->proto == IP_TCP || pkt->proto == IP_UDP) {
		*number = pkt->dport;
		return pkt->proto == IP_TCP ? CLASS_TCP : CLASS_UDP;
	}
	if (pkt->proto == (family == 4 ? IP_ICMP : IP_ICMPV6)) {
		*number = pkt->icmp_type;
		return CLASS_ICMP;
	}
	return CLASS_OTHER;
}

static uint32_t scan(const struct policy *p, const struct words *dst, uint8_t class,
		     uint16_t number)
{
	for (size_t i = 0; i < p->rule_count; i++) {
		const struct matcher *m = &p->rule[i];

		if (!(m->protos & class) || number < m->low || number > m->high)
			continue;
		if (m->flags & MATCH_SET) {
			if (!set_has(p->pool + m->first, m->count, dst))
				continue;
		} else if (((dst->w[0] ^ m->net.w[0]) & m->mask.w[0]) != 0 ||
			   ((dst->w[1] ^ m->net.w[1]) & m->mask.w[1]) != 0) {
			continue;
		}
		return (uint32_t)i;
	}
	return ROW_NONE;
}

enum rule_verdict policy_match(const struct policy *p, const struct rule_packet *pkt,
			       uint32_t *index)
{
	struct words dst;
	uint16_t number;
	uint8_t class;
	uint32_t rule;

	if (p == NULL) {
		*index = RULE_INDEX_NONE;
		return RULE_DROP;
	}
	if (p->malformed) {
		*index = RULE_INDEX_MALFORMED;
		return RULE_REJECT;
	}
	dst = words_of(pkt->dst, p->family);
	class = packet_class(pkt, p->family, &number);
	if (p->index == NULL) {
		rule = scan(p, &dst, class, number);
	} else {
		rule = index_find(p->index, address_of(&dst, p->family),
				  row_coordinate(class, number));
	}
	if (rule == ROW_NONE) {
		*index = RULE_INDEX_POLICY;
		return (enum rule_verdict)p->action;
	}
	*index = rule;
	return (enum rule_verdict)p->rule[rule].action;
}
