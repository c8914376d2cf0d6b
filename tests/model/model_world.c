// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The model: what is around the packets. Interfaces, sources and their rules,
 * the DNS map, the addresses of qubes that are not running.
 */
#include "tests/model/model.h"

#include <string.h>

bool m_is_none(const struct addr *a)
{
	return a->family == 0;
}

static const uint8_t backend[6] = { 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff };

/* The client's address of a family, as it really is. */
struct addr m_address(const struct m_iface *i, uint8_t family)
{
	if (family == 4)
		return i->is.ip4;
	/* Q1: without a gateway it has no IPv6; Q11 */
	if (i->is.kind == IFACE_CLIENT &&
	    (m_is_none(&i->is.gateway6) || !m_is_none(&i->is.visible4)))
		return (struct addr){ 0 };
	return i->is.ip6;
}

/* ... and as it is in its packets (Q11). */
struct addr m_wire_address(const struct m_iface *i, uint8_t family)
{
	if (family == 4 && i->is.kind == IFACE_CLIENT && !m_is_none(&i->is.visible4))
		return i->is.visible4;
	return m_address(i, family);
}

struct addr m_gateway(const struct m_iface *i, uint8_t family)
{
	return family == 4 ? i->is.gateway4 : i->is.gateway6;
}

/* The uplink that packets of the family can leave by (Q13). */
const struct m_iface *m_uplink(const struct model *m, uint8_t family)
{
	const struct m_iface *up = &m->iface[0];
	struct addr a = m_address(up, family);

	return up->used && up->up && !m_is_none(&a) ? up : NULL;
}

/* Q5: whether it is the firewall that a client of this interface talks to. */
bool m_is_own(const struct model *m, const struct m_iface *from, const struct addr *a)
{
	struct addr gateway = m_gateway(from, a->family);
	const struct addr *up = &m->iface[0].last[a->family == 6];

	return addr_equal(a, &gateway) || addr_equal(a, up);
}

/* Q3, Q10: addresses of qubes behind us, running or not */
bool m_is_downstream(const struct model *m, const struct addr *a)
{
	for (size_t i = 1; i < M_IFACES; i++) {
		struct addr is = m_address(&m->iface[i], a->family);
		struct addr wire = m_wire_address(&m->iface[i], a->family);

		/* /connected-ips has the addresses that clients believe in (Q11) */
		if (m->iface[i].used && (addr_equal(&is, a) || addr_equal(&wire, a)))
			return true;
	}
	for (size_t i = 0; i < M_SOURCES; i++)
		if (m->source[i].used && addr_equal(&m->source[i].addr, a))
			return true;
	for (size_t i = 0; i < m->connected_count; i++)
		if (addr_equal(&m->connected[i], a))
			return true;
	return false;
}

/* A flow to what is now known as a qube behind us ends. */
static void forget_downstream(struct model *m)
{
	for (size_t i = m->flow_count; i-- > 0;)
		if (m_is_downstream(m, &m->flow[i].remote))
			m_flow_delete(m, i);
}

static void forget_flows(struct model *m, uint16_t iface, uint8_t family)
{
	for (size_t i = m->flow_count; i-- > 0;)
		if ((iface == 0 || m->flow[i].iface == iface) &&
		    (family == 0 || m->flow[i].client.family == family))
			m_flow_delete(m, i);
	for (size_t i = m->mapping_count; i-- > 0;)
		if ((iface == 0 || m->mapping[i].iface == iface) &&
		    (family == 0 || m->mapping[i].family == family))
			m->mapping[i] = m->mapping[--m->mapping_count];
}

/* What a neighbour said lasts until the link or the address changes. */
static void forget_neighbours(struct m_iface *i)
{
	memcpy(i->gateway_mac[0], backend, 6);
	memcpy(i->gateway_mac[1], backend, 6);
	i->asked[0] = i->asked[1] = false;
}

/* Section 9: flows live as long as nobody has another address than they began with. */
static void uplink_set(struct model *m)
{
	struct m_iface *i = &m->iface[0];

	for (uint8_t family = 4; family <= 6; family += 2) {
		struct addr is = m_address(i, family), *last = &i->last[family == 6];

		if (m_is_none(&is) || addr_equal(&is, last))
			continue;
		if (!m_is_none(last))
			forget_flows(m, 0, family);
		*last = is;
	}
}

void model_iface_set(struct model *m, uint16_t id, const struct engine_iface *iface)
{
	struct m_iface *i = &m->iface[id], old = *i;

	i->is = *iface;
	i->used = true;
	if (id == 0)
		uplink_set(m);
	if (!old.used) {
		i->tokens = 100;
		i->up = false;
		forget_neighbours(i);
		forget_downstream(m);
		return;
	}
	for (uint8_t family = 4; family <= 6; family += 2) {
		struct addr was = m_address(&old, family), is = m_address(i, family);
		struct addr gw = m_gateway(&old, family), gw_is = m_gateway(i, family);

		if (id != 0 && !addr_equal(&was, &is)) {
			forget_flows(m, id, family);
			m_datagrams_forget(m, id);
		}
		if (id == 0 && (!addr_equal(&gw, &gw_is) || !addr_equal(&was, &is))) {
			memcpy(i->gateway_mac[family == 6], backend, 6);
			i->asked[family == 6] = false;
		}
	}
	forget_downstream(m);
}

/* What a source may have is forgotten with it: no rules, and no interface has it. */
static void forget_options(struct model *m)
{
	for (size_t k = 0; k < M_SOURCES; k++) {
		struct m_source *s = &m->source[k];
		bool known = s->used;

		for (size_t i = 1; i < M_IFACES; i++) {
			struct addr is = m_address(&m->iface[i], s->addr.family);

			known |= m->iface[i].used && addr_equal(&is, &s->addr);
		}
		if (!known)
			s->options = (struct engine_source_options){ 0 };
	}
}

void model_iface_clear(struct model *m, uint16_t id)
{
	struct m_iface *i = &m->iface[id];

	if (id != 0)
		forget_flows(m, id, 0); /* Q7; the uplink's stay (section 9) */
	m_datagrams_forget(m, id);
	i->used = i->up = false;
	forget_neighbours(i);
	forget_options(m);
}

void model_iface_link(struct model *m, uint16_t id, bool up)
{
	struct m_iface *i = &m->iface[id];

	if (!i->used)
		return;
	if (up && !i->up)
		forget_neighbours(i);
	i->up = up;
}

struct m_source *m_source_of(struct model *m, const struct addr *a)
{
	for (size_t i = 0; i < M_SOURCES; i++)
		if (m->source[i].used && addr_equal(&m->source[i].addr, a))
			return &m->source[i];
	return NULL;
}

void model_source_set(struct model *m, size_t id, const struct addr *addr,
		      const struct m_policy *policy, bool bump)
{
	struct m_source *s = &m->source[id];

	s->used = true;
	s->addr = *addr;
	s->policy = policy;
	if (bump)
		s->epoch++;
	forget_downstream(m);
}

void model_source_forget(struct model *m, size_t id)
{
	struct m_source *s = &m->source[id];

	for (size_t i = m->flow_count; i-- > 0;)
		if (s->used && addr_equal(&m->flow[i].client, &s->addr))
			m_flow_delete(m, i);
	for (size_t i = m->mapping_count; i-- > 0;)
		if (s->used && addr_equal(&m->mapping[i].client, &s->addr))
			m->mapping[i] = m->mapping[--m->mapping_count];
	s->used = false;
	s->policy = NULL;
	s->options = (struct engine_source_options){ 0 };
}

void model_set_dns(struct model *m, const struct engine_dns *map, size_t n)
{
	memcpy(m->dns, map, n * sizeof(*map));
	m->dns_count = n;
}

void model_set_connected(struct model *m, const struct addr *addrs, size_t n)
{
	memcpy(m->connected, addrs, n * sizeof(*addrs));
	m->connected_count = n;
	forget_downstream(m);
}

/* --- rules (R1, R2, I12; doc/rules.md) ----------------------------------------- */

static bool in_prefix(const struct addr *a, const struct addr *net, uint8_t len)
{
	if (a->family != net->family)
		return false;
	for (unsigned int bit = 0; bit < len; bit++)
		if ((a->bytes[bit / 8] ^ net->bytes[bit / 8]) & (0x80 >> bit % 8))
			return false;
	return true;
}

static bool rule_matches(const struct model *m, const struct m_rule *r, uint8_t family,
			 const struct m_packet *pkt, const struct addr *dst)
{
	bool tcp_udp = pkt->proto == 6 || pkt->proto == 17;
	bool server = false;

	if (r->has_dst && !in_prefix(dst, &r->dst, r->plen))
		return false;
	if (r->proto == 1) {
		if (pkt->proto != (family == 4 ? 1 : 58))
			return false;
		return r->type < 0 || r->type == pkt->type;
	}
	if (r->proto && r->proto != pkt->proto)
		return false;
	if (r->has_ports && (!tcp_udp || pkt->dport < r->low || pkt->dport > r->high))
		return false;
	if (!r->dns)
		return true;
	for (size_t i = 0; i < m->rule_dns_count; i++)
		server |= addr_equal(&m->rule_dns[i], dst);
	return server && tcp_udp && pkt->dport == 53;
}

enum rule_verdict m_policy_verdict(const struct model *m, const struct m_policy *p, uint8_t family,
				   const struct m_packet *pkt, const struct addr *dst)
{
	if (!p || p->none)
		return RULE_DROP; /* Q9 */
	if (p->malformed)
		return RULE_REJECT;
	for (size_t i = 0; i < p->count; i++)
		if (rule_matches(m, &p->rule[i], family, pkt, dst))
			return p->rule[i].accept ? RULE_ACCEPT : RULE_REJECT;
	return p->accept ? RULE_ACCEPT : RULE_REJECT;
}
