// SPDX-License-Identifier: GPL-2.0-or-later
#include "rules/named.h"
#include "rules/policy.h"
#include "rules/ruleset.h"

#include <errno.h>
#include <stdlib.h>

/* With specialtarget=dns the address has to be a DNS server's besides: those are
 * known without learning. */
static bool is_named(const struct rule *r)
{
	return r->dst == DST_NAME && !r->dns && r->protos != 0;
}

int ruleset_named(const struct ruleset *rs, uint64_t (*number)(void *arg, const char *name),
		  void *arg, struct named_rule **out, size_t *count)
{
	struct named_rule *list;
	size_t n = 0;

	*out = NULL;
	*count = 0;
	for (size_t i = 0; i < rs->rule_count; i++)
		n += is_named(&rs->rule[i]);
	if (n == 0)
		return 0;
	list = calloc(n, sizeof(*list));
	if (list == NULL)
		return -ENOMEM;
	n = 0;
	for (size_t i = 0; i < rs->rule_count; i++) {
		const struct rule *r = &rs->rule[i];

		if (is_named(r))
			list[n++] = (struct named_rule){
			    .name = number(arg, rs->text + rs->name[r->name]),
			    .rule = (uint32_t)i,
			    .low = r->low,
			    .high = r->high,
			    .protos = r->protos,
			    .action = r->action,
			};
	}
	*out = list;
	*count = n;
	return 0;
}

bool named_rule_matches(const struct named_rule *r, uint8_t family, const struct rule_packet *pkt)
{
	uint16_t number;

	return (r->protos & packet_class(pkt, family, &number)) && number >= r->low &&
	       number <= r->high;
}
