/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "rules/why.h"

#include "rules/policy.h"
#include "rules/ruleset.h"
#include "rules/text.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define OPTION_MAX 112 /* of an option as it is shown; a long name is cut */

/* What is being looked at, and where the reason goes. */
struct look {
	const struct why *w;
	const struct rule *rule;
	const struct rule_packet *pkt;
	const char *value; /* the rule as it was written */
	uint8_t family;
	char *buf;
};

/* The option "NAME=" of the rule as it was written; its length in *len. */
static const char *find_option(const struct look *l, const char *name, size_t *len)
{
	const char *at = l->value;

	while (*at != '\0') {
		*len = strcspn(at, " ");
		if (strncmp(at, name, strlen(name)) == 0)
			return at;
		at += *len;
		at += *at == ' ';
	}
	return NULL;
}

/* "OPTION: REASON"; every rule that gets here with a name has that option. */
__attribute__((format(printf, 3, 4))) static bool reason(const struct look *l, const char *name,
							 const char *format, ...)
{
	char option[OPTION_MAX], text[WHY_MAX - OPTION_MAX];
	size_t len = 0;
	const char *at = find_option(l, name, &len);
	va_list ap;

	assert(at != NULL);
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	snprintf(l->buf, WHY_MAX, "%s: %s", text_escape(option, sizeof(option), at, len), text);
	return true;
}

static const char *address(const struct look *l, char buf[ADDR_STRLEN])
{
	struct addr dst = {.family = l->family};

	memcpy(dst.bytes, l->pkt->dst, addr_len(&dst));
	return addr_format(&dst, buf);
}

/* The packet's protocol is none that the rule is for. */
static bool why_protocol(const struct look *l, uint8_t class)
{
	char what[24];
	size_t len;

	if (class == CLASS_OTHER)
		snprintf(what, sizeof(what), "protocol %u", l->pkt->proto);
	else
		snprintf(what, sizeof(what), "%s",
			 class == CLASS_TCP   ? "tcp"
			 : class == CLASS_UDP ? "udp"
					      : "icmp");
	if (l->rule->protos == 0)
		return reason(l, "specialtarget=", "never, with ports other than %d", DNS_PORT);
	if (find_option(l, "proto=", &len) != NULL)
		return reason(l, "proto=", "packet is %s", what);
	if (find_option(l, "dstports=", &len) != NULL)
		return reason(l, "dstports=", "packet is %s", what);
	return reason(l, "specialtarget=", "packet is %s", what);
}

static bool why_number(const struct look *l, uint16_t number)
{
	if (l->rule->dns)
		return reason(l, "specialtarget=", "port is %u", number);
	if (l->rule->protos == CLASS_ICMP)
		return reason(l, "icmptype=", "type is %u", number);
	return reason(l, "dstports=", "port is %u", number);
}

/* Whether the destination is among them; how many are of the family in *own. */
static bool among(const struct look *l, const struct addr *addrs, size_t count, size_t *own)
{
	bool found = false;

	*own = 0;
	for (size_t i = 0; i < count; i++) {
		if (addrs[i].family != l->family)
			continue;
		(*own)++;
		found |= memcmp(addrs[i].bytes, l->pkt->dst, addr_len(&addrs[i])) == 0;
	}
	return found;
}

static bool why_server(const struct look *l)
{
	char dst[ADDR_STRLEN];
	size_t own;

	if (among(l, l->w->env->dns, l->w->env->dns_count, &own))
		return false;
	return reason(l, "specialtarget=", "%s is none of the %zu DNS servers", address(l, dst),
		      own);
}

static bool why_prefix(const struct look *l)
{
	unsigned int whole = l->rule->prefix_len / 8, rest = l->rule->prefix_len % 8;
	char dst[ADDR_STRLEN];

	if (memcmp(l->rule->net, l->pkt->dst, whole) == 0 &&
	    (rest == 0 || (l->rule->net[whole] ^ l->pkt->dst[whole]) >> (8 - rest) == 0))
		return false;
	return reason(l, l->family == 4 ? "dst4=" : "dst6=", "%s is outside", address(l, dst));
}

static bool why_name(const struct look *l)
{
	const struct policy_env *env = l->w->env;
	const struct ruleset *rs = l->w->rules;
	const char *name = rs->text + rs->name[l->rule->name];
	const struct addr *addrs = NULL;
	size_t count = 0, own = 0, more = 0;
	char dst[ADDR_STRLEN], learned[48] = "";
	bool found = false;
	enum name_state state = NAME_UNRESOLVED;
	bool resolved;

	if (env->lookup != NULL && rule_name_is_possible(name))
		state = env->lookup(env->lookup_arg, name, &addrs, &count);
	if (state != NAME_RESOLVED && l->rule->action != RULE_ACCEPT)
		return false;
	resolved = state != NAME_UNRESOLVED;
	if (resolved && among(l, addrs, count, &own))
		return false;
	/* with specialtarget=dns it has to be a DNS server's: those are known */
	if (l->w->further != NULL && !l->rule->dns)
		more = l->w->further(l->w->arg, name, l->pkt->dst, &found);
	if (found)
		return false;
	if (more > 0)
		snprintf(learned, sizeof(learned), ", nor of %zu that were learned", more);
	if (!resolved && more == 0)
		return reason(l, "dsthost=", "does not resolve");
	if (!resolved)
		return reason(l, "dsthost=", "does not resolve, and %s is none of %zu that were "
					     "learned",
			      address(l, dst), more);
	return reason(l, "dsthost=", "%s is none of its %zu addresses%s", address(l, dst), own,
		      learned);
}

bool why_not(const struct why *w, uint32_t rule, const struct rule_packet *pkt,
	     char buf[WHY_MAX])
{
	const struct rule *r = &w->rules->rule[rule];
	struct look l = {w, r, pkt, w->rules->text + r->value, w->rules->family, buf};
	uint16_t number;
	uint8_t class;

	assert(rule < w->rules->rule_count);
	class = packet_class(pkt, l.family, &number);
	buf[0] = '\0';
	if (!(r->protos & class))
		return why_protocol(&l, class);
	if (number < r->low || number > r->high)
		return why_number(&l, number);
	if (r->dns && why_server(&l))
		return true;
	return (r->dst == DST_PREFIX && why_prefix(&l)) || (r->dst == DST_NAME && why_name(&l));
}
