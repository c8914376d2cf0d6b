// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What would become of a first packet, without one: the same questions in the same
 * order as engine_parse.c and engine_judge.c ask them, and nothing is counted. A unit
 * test sends the packets and compares.
 */
#include "firewall/engine_impl.h"
#include "firewall/ndp.h"

/* The interface that has the source, or NULL. */
static const struct iface *iface_of(const struct engine *e, uint16_t source, enum fam fam)
{
	for (unsigned int i = 0; i < ENGINE_IFACE_MAX; i++) {
		const struct iface *iface = &e->ifaces[i];

		if ((iface->conf.kind == IFACE_CLIENT || iface->conf.kind == IFACE_SELF) &&
		    iface->source[fam] == source)
			return iface;
	}
	return NULL;
}

static enum drop_reason check_addresses(const struct iface *in, uint8_t family,
					const struct ipkey *dst)
{
	struct packet p = { .family = family, .src = in->addr[V6], .dst = *dst };

	if (family == 4)
		return packet_check_ip4((const uint8_t *)in->addr[V4].w, (const uint8_t *)dst->w);
	if (ipkey_none(&in->addr[V6]) || ipkey_none(&in->gateway[V6]))
		return DROP_IPV6;
	return packet_check_ip6(&p);
}

static enum drop_reason check_icmp(uint8_t family, uint8_t type)
{
	if (icmp_is_echo(family, type))
		return DROP_NONE;
	return icmp_is_error(family, type) || icmp_is_echo_reply(family, type) ? DROP_ICMP_NO_FLOW
									       : DROP_ICMP_TYPE;
}

/* What stops a packet before the rules are asked. */
static enum drop_reason before_rules(const struct engine *e, const struct iface *in,
				     uint8_t family, const struct rule_packet *pkt,
				     const struct ipkey *dst)
{
	enum drop_reason reason = check_addresses(in, family, dst);

	if (reason != DROP_NONE)
		return reason;
	if (family == 6 && pkt->proto == PROTO_ICMP6 && ndp_is_link(pkt->icmp_type))
		return DROP_NDP;
	reason = check_destination(e, in, family, dst);
	if (reason != DROP_NONE)
		return reason;
	return proto_is_icmp(family, pkt->proto) ? check_icmp(family, pkt->icmp_type) : DROP_NONE;
}

/* What stops a packet that the rules accept; *remote becomes whom it reaches. */
static enum drop_reason behind_rules(const struct engine *e, uint8_t family,
				     const struct rule_packet *pkt, struct ipkey *remote)
{
	enum fam fam = family == 6 ? V6 : V4;
	struct ipkey real;

	if (!engine_has_uplink(e, fam))
		return DROP_NO_UPLINK;
	if (family != 4 || !proto_has_ports(pkt->proto) || pkt->dport != PORT_DNS ||
	    !engine_dns_real(e, remote, &real))
		return DROP_NONE;
	*remote = real;
	return engine_dns_check(e, remote);
}

void engine_explain(const struct engine *e, const struct addr *src, const struct rule_packet *pkt,
		    struct engine_first *out)
{
	uint16_t index = source_find(e, src);
	enum fam fam = src->family == 6 ? V6 : V4;
	const struct source *source;
	struct addr dst = { .family = src->family };
	const struct iface *in;
	struct ipkey remote;
	uint32_t rule;

	*out = (struct engine_first){ .verdict = RULE_DROP, .rule = RULE_INDEX_NONE };
	if (index == SOURCE_NONE)
		return;
	source = &e->sources[index];
	memcpy(dst.bytes, pkt->dst, addr_len(&dst));
	remote = ipkey_of(&dst);
	out->verdict = engine_match(e, source, pkt, &out->rule);
	(void)policy_match(source->policy, pkt, &rule);
	out->learned = rule != out->rule;
	in = iface_of(e, index, fam);
	out->attached = in != NULL;
	if (!in)
		return;
	out->stopped = before_rules(e, in, src->family, pkt, &remote);
	if (out->stopped != DROP_NONE || out->verdict != RULE_ACCEPT)
		return;
	out->stopped = behind_rules(e, src->family, pkt, &remote);
	if (out->stopped != DROP_NONE)
		return;
	out->from = addr_of(src->family, &e->nat[fam]);
	out->to = addr_of(src->family, &remote);
}
