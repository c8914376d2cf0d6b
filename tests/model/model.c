// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The model: the way of a frame (packets.md 1), and whether what the engine made
 * of it is one of the outcomes that would be right.
 *
 * A step collects those outcomes (m_alt): nearly always one. There are several
 * where two steps of the catalogue refuse a packet for different reasons and their
 * order is not observable otherwise; each place says so.
 */
#include "tests/model/model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RATE_IFACE 100.0 /* I8: own errors each second */
#define RATE_ALL   1000.0

static const uint32_t default_timeout_s[FLOW_TIMERS] = {
	[TIMER_TCP_OPENING] = 240,   [TIMER_TCP_OPEN] = 86400,	[TIMER_TCP_HALF] = 900,
	[TIMER_TCP_CLOSING] = 240,   [TIMER_UDP_UNREPLIED] = 120, [TIMER_UDP_REPLIED] = 300,
	[TIMER_DNS_UNREPLIED] = 30, [TIMER_DNS_REPLIED] = 5,	[TIMER_ICMP] = 60,
	[TIMER_OTHER] = 600,	     [TIMER_MAPPING] = 300,
};

struct model *model_new(const struct engine_config *config, uint64_t now)
{
	struct model *m = calloc(1, sizeof(*m));

	if (!m)
		abort();
	m->datagram = calloc(M_IFACES * M_DATAGRAMS, sizeof(*m->datagram));
	m->whole = malloc(M_BYTES);
	for (size_t i = 0; i < M_ALTS; i++)
		m->alt[i].f.b = malloc(M_BYTES);
	if (!m->datagram || !m->whole)
		abort();
	m->now = m->tokens_at = now;
	m->flow_max = config->flow_max ? config->flow_max : 65536;
	for (size_t i = 0; i < FLOW_TIMERS; i++)
		m->timeout_s[i] = config->timeout_s[i] ? config->timeout_s[i]
						       : default_timeout_s[i];
	m->pass_ip_options = config->pass_ip_options;
	m->no_mss_clamp = config->no_mss_clamp;
	m->no_inbound_refresh = config->no_inbound_refresh;
	m->tokens = RATE_ALL;
	return m;
}

void model_free(struct model **mp)
{
	struct model *m = *mp;

	if (!m)
		return;
	for (size_t i = 0; i < M_IFACES * M_DATAGRAMS; i++) {
		free(m->datagram[i].data);
		free(m->datagram[i].map);
	}
	for (size_t i = 0; i < M_ALTS; i++)
		free(m->alt[i].f.b);
	free(m->datagram);
	free(m->whole);
	free(m);
	*mp = NULL;
}

void m_why(struct model *m, const char *format, ...)
{
	size_t used = strlen(m->why);
	va_list ap;

	if (used + 2 >= sizeof(m->why))
		return;
	if (used)
		used += (size_t)snprintf(m->why + used, sizeof(m->why) - used, "; ");
	va_start(ap, format);
	vsnprintf(m->why + used, sizeof(m->why) - used, format, ap);
	va_end(ap);
}

struct m_alt *m_alt_add(struct model *m, enum m_kind kind, uint64_t reasons)
{
	struct m_alt *a = &m->alt[m->alt_count];
	uint8_t *b = a->f.b;

	if (m->alt_count == M_ALTS)
		abort();
	m->alt_count++;
	memset(a, 0, sizeof(*a));
	a->f.b = b;
	a->kind = kind;
	a->reasons = reasons;
	return a;
}

void m_drop(struct model *m, uint64_t reasons)
{
	for (size_t i = 0; i < m->alt_count; i++) {
		if (m->alt[i].kind == M_DROP) {
			m->alt[i].reasons |= reasons;
			return;
		}
	}
	m_alt_add(m, M_DROP, reasons);
}

/* I5, I8, I9 */
void m_refuse(struct model *m, const struct m_packet *p, int type, int code, uint64_t reasons)
{
	struct m_packet other = *p;
	struct m_alt *a;

	if (p->is_error || (p->proto == 6 && (p->flags & 4) && (reasons & M_R(REJECTED)))) {
		m_drop(m, reasons);
		return;
	}
	a = m_alt_add(m, M_ERROR, reasons);
	m_build_error(m, a, p, type, code & 0xff, (uint32_t)code >> 8);
	a->any_quote = p->assembled;
	a->silent_too = p->proto == 6 && (p->flags & 4);
	if (!p->assembled && !p->was_atomic)
		return;
	/* whether it quotes the first fragment or what became of it is open */
	other.quote = p->b + 14;
	other.quote_len = p->len - 14;
	a = m_alt_add(m, M_ERROR, reasons);
	m_build_error(m, a, &other, type, code & 0xff, (uint32_t)code >> 8);
	a->any_quote = true;
}

/* --- rates (I8) --------------------------------------------------------------------- */

void model_time(struct model *m, uint64_t now)
{
	double passed = now > m->tokens_at ? (double)(now - m->tokens_at) / 1000 : 0;

	m->now = now;
	m->tokens_at = now;
	m->tokens += passed * RATE_ALL;
	if (m->tokens > RATE_ALL)
		m->tokens = RATE_ALL;
	for (size_t i = 0; i < M_IFACES; i++) {
		struct m_iface *f = &m->iface[i];

		f->tokens += passed * RATE_IFACE;
		if (f->tokens > RATE_IFACE)
			f->tokens = RATE_IFACE;
	}
	m_flow_expire(m);
	m_datagrams_expire(m);
}

/* Whether an error may be sent, and whether it may be kept back; one token is play. */
static bool error_rate_allows(struct model *m, uint16_t port, bool sent)
{
	struct m_iface *i = &m->iface[port];
	double least = i->tokens < m->tokens ? i->tokens : m->tokens;

	if (!sent)
		return least < 2;
	i->tokens -= 1;
	m->tokens -= 1;
	return least > -1;
}

/* --- what would be right, against what was seen ---------------------------------------- */

static bool error_matches(struct model *m, const struct m_alt *a, uint8_t verdict, uint8_t reason,
			  bool assembled)
{
	const struct m_seen *s = m->seen;
	const struct m_frame *got = NULL;

	if (!(a->reasons >> reason & 1)) {
		m_why(m, "reason %s", drop_name((enum drop_reason)reason));
		return false;
	}
	if (!assembled && verdict == FRAME_REPLY && s->taken_count == 0)
		got = &s->out;
	else if (verdict == FRAME_DROP && s->taken_count == 1)
		got = &s->taken[0];
	else if (verdict == FRAME_DROP && s->taken_count == 0) {
		if (a->silent_too || error_rate_allows(m, a->f.port, false))
			return true;
		m_why(m, "no error was sent");
		return false;
	}
	if (!got) {
		m_why(m, "an error was expected");
		return false;
	}
	if (!m_same_error(m, a, got))
		return false;
	if (error_rate_allows(m, a->f.port, true))
		return true;
	m_why(m, "more errors than the rate allows");
	return false;
}

static bool forward_matches(struct model *m, const struct m_alt *a, uint8_t verdict,
			    uint8_t reason, bool assembled)
{
	const struct m_seen *s = m->seen;
	uint8_t want = a->kind == M_ANSWER ? FRAME_REPLY : FRAME_FORWARD;

	if (reason == DROP_NONE && !a->max && !assembled) {
		if (verdict == want && s->taken_count == 0)
			return m_same_frame(m, a, &s->out);
		if (verdict == FRAME_DROP && s->taken_count == 1)
			return m_same_frame(m, a, &s->taken[0]);
	}
	if (reason == DROP_NONE && a->max && verdict == (assembled ? want : FRAME_DROP)) {
		if (a->f.len - 14 <= a->max && s->taken_count == 1)
			return m_same_frame(m, a, &s->taken[0]);
		return m_same_fragments(m, a, s->taken, s->taken_count);
	}
	m_why(m, "it was expected to %s", a->kind == M_ANSWER ? "be answered" : "pass");
	return false;
}

static bool alt_matches(struct model *m, const struct m_alt *a, uint8_t verdict, uint8_t reason,
			bool assembled)
{
	if (a->kind == M_ERROR)
		return error_matches(m, a, verdict, reason, assembled);
	if (a->kind != M_DROP)
		return forward_matches(m, a, verdict, reason, assembled);
	if (verdict == FRAME_DROP && m->seen->taken_count == 0 && (a->reasons >> reason & 1))
		return true;
	m_why(m, "it was expected to be dropped");
	for (int i = 0, n = 0; i < DROP_REASON_MAX && n < 3; i++)
		if (a->reasons >> i & 1 && ++n)
			m_why(m, "%s", drop_name((enum drop_reason)i));
	return false;
}

static void apply(struct model *m)
{
	if ((size_t)m->pending == m->flow_count) {
		if (m->evict >= 0)
			m_flow_delete(m, (size_t)m->evict);
		if (m->flow_count == M_FLOWS)
			abort();
		m->after.order = ++m->order;
		m->flow[m->flow_count++] = m->after;
		m_mapping_note(m, &m->after);
		return;
	}
	if (m_rank(&m->after) != m_rank(&m->flow[m->pending]))
		m->after.order = ++m->order;
	m->flow[m->pending] = m->after;
}

static bool match(struct model *m, uint8_t verdict, uint8_t reason, bool assembled)
{
	for (size_t i = 0; i < m->alt_count; i++) {
		if (!alt_matches(m, &m->alt[i], verdict, reason, assembled))
			continue;
		m->coverage[m->alt[i].kind + (assembled ? 8 : 0) + (m->alt[i].max ? 4 : 0)]++;
		if (m->alt[i].effect && m->pending >= 0)
			apply(m);
		m->why[0] = 0;
		return true;
	}
	return false;
}

/* --- a packet -------------------------------------------------------------------------- */

/* Its flow goes on: state, time, then the way out. */
static void in_flow(struct model *m, struct m_packet *p, int index, enum m_dir dir)
{
	const struct m_flow *f = &m->flow[index];
	enum m_tcp tcp = M_TCP_PASS;
	uint64_t reasons = 0;

	m->after = *f;
	m->pending = index;
	if (dir == M_OUT && !m_uplink(m, p->family)) {
		m_refuse(m, p, p->family == 4 ? 3 : 1, p->family == 4 ? 1 : 0, M_R(NO_UPLINK));
		return;
	}
	if (dir == M_IN && !m->iface[f->iface].up) {
		m_drop(m, M_R(NO_IFACE));
		return;
	}
	if (p->proto == 6)
		tcp = m_tcp_step(&m->after, dir, p, &reasons);
	else if (dir == M_IN)
		m->after.state = M_REPLIED;
	m_flow_timer(&m->after);
	if (dir == M_OUT || p->proto != 17 || !m->no_inbound_refresh || f->state == M_UNREPLIED)
		m->after.seen = m->now;
	if (tcp == M_TCP_KEEP || tcp == M_TCP_EITHER) {
		m->after = *f;
		m->after.seen = m->now;
	}
	if (tcp == M_TCP_DROP || tcp == M_TCP_EITHER)
		m_drop(m, reasons);
	if (tcp != M_TCP_DROP && p->ttl <= 1)
		m_refuse(m, p, p->family == 4 ? 11 : 3, 0, M_R(TTL));
	else if (tcp != M_TCP_DROP)
		m_translate(m, p, &m->after, dir);
}

static void judge_out(struct model *m, struct m_packet *p, uint64_t bad_l4)
{
	int index;

	if (p->proto == (p->family == 4 ? 1 : 58) && !bad_l4) {
		if (p->is_error) {
			m_icmp_error(m, p);
			return;
		}
		if (!p->is_query && !p->is_reply) {
			m_drop(m, M_R(ICMP_TYPE) | M_R(NDP)); /* I6, I7 */
			return;
		}
	}
	if (bad_l4) {
		m_drop(m, bad_l4);
		return;
	}
	index = p->is_reply ? -1 : m_flow_out(m, p, p->proto, &p->dst, p->sport, p->dport);
	if (index >= 0 && m_flow_epoch(m, index))
		in_flow(m, p, index, M_OUT);
	else
		m_new_flow(m, p);
}

static void judge_in(struct model *m, struct m_packet *p, uint64_t bad_l4)
{
	bool icmp = p->proto == (p->family == 4 ? 1 : 58);
	int index;

	if (bad_l4) {
		m_drop(m, bad_l4);
		return;
	}
	if (icmp && p->is_error) {
		m_icmp_error(m, p);
		return;
	}
	if (icmp && !p->is_reply) {
		m_drop(m, p->is_query ? M_R(INBOUND) : M_R(ICMP_TYPE) | M_R(NDP));
		return;
	}
	index = icmp ? m_flow_in(m, p->proto, &p->src, 0, p->sport)
		     : m_flow_in(m, p->proto, &p->src, p->sport, p->dport);
	if (index >= 0 && m_flow_epoch(m, index))
		in_flow(m, p, index, M_IN);
	else
		m_drop(m, M_R(INBOUND)); /* Q4, T17 */
}

/* I7: ICMPv6 types that never leave their link */
static bool is_of_the_link(const struct m_packet *p)
{
	uint8_t type = p->b[p->l4];

	return p->family == 6 && p->proto == 58 && p->len > p->l4 &&
	       ((type >= 130 && type <= 137) || type == 143);
}

/* A complete packet from a known and honest interface. */
void m_judge(struct model *m, struct m_packet *p)
{
	uint64_t bad_l4 = m_parse_l4(p);

	if (bad_l4 && is_of_the_link(p))
		bad_l4 |= M_R(NDP); /* looked at first, and of no use like this */
	if ((p->strange_l4 && m->seen->reason == DROP_L4_HEADER) ||
	    (p->strange_flags && m->seen->reason == DROP_TCP_FLAGS)) {
		m_drop(m, p->strange_l4 ? M_R(L4_HEADER) : M_R(TCP_FLAGS));
		return;
	}
	if (!p->from_client) {
		judge_in(m, p, bad_l4);
	} else if (m_is_own(m, &m->iface[p->port], &p->dst)) {
		m_own_address(m, p);
		if (bad_l4)
			m_drop(m, bad_l4);
	} else if (m_is_downstream(m, &p->dst)) {
		m_drop(m, M_R(INTER_CLIENT) | bad_l4 | /* Q3; silent in any case */
		       (p->proto == 58 ? M_R(NDP) | M_R(ICMP_TYPE) : 0));
	} else {
		judge_out(m, p, bad_l4);
	}
}

/* P6, P9, Q1, Q10: reasons not to look any further; all are silent */
static uint64_t address_faults(const struct model *m, const struct m_packet *p)
{
	uint64_t reasons = m_martian(p);
	struct addr wire = m_wire_address(&m->iface[p->port], p->family);

	if (p->from_client && !addr_equal(&wire, &p->src))
		reasons |= M_R(SPOOFED);
	if (!p->from_client && m_is_downstream(m, &p->src))
		reasons |= M_R(UPLINK_SPOOFED);
	if (p->b[0] & 1)
		reasons |= M_R(MULTICAST);
	if (!p->from_client) {
		wire = m_address(&m->iface[0], p->family);
		if (!addr_equal(&wire, &p->dst))
			reasons |= M_R(INBOUND); /* a piece of it is not kept, either */
	}
	return reasons;
}

/* IP from an interface that is there. True: done, but for the comparison. */
static bool ip_packet(struct model *m, struct m_packet *p)
{
	struct m_packet whole;
	uint64_t faults;
	struct addr has = m_address(&m->iface[p->port], 6);

	if (p->family == 6 && m_is_none(&has)) {
		m_drop(m, M_R(IPV6));
		return match(m, m->seen->verdict, m->seen->reason, false);
	}
	faults = m_parse_ip(m, p);
	p->quote_len = p->len - 14;
	if (p->quote_len > p->header_len - 14)
		p->quote_len = p->header_len - 14;
	if (!p->src.family) {
		m_drop(m, faults);
		return match(m, m->seen->verdict, m->seen->reason, false);
	}
	if (!faults && p->family == 6 && m_ndp(m, p))
		return match(m, m->seen->verdict, m->seen->reason, false);
	faults |= address_faults(m, p);
	if (faults && p->proto == 58)
		faults |= M_R(NDP); /* those are looked at first */
	if (faults) {
		m_drop(m, faults);
		return match(m, m->seen->verdict, m->seen->reason, false);
	}
	if (p->fragment) {
		if (m_fragment(m, p, &whole)) {
			m_judge(m, &whole);
			if (whole.assembled && m->seen->assembled)
				return match(m, m->seen->whole_verdict, m->seen->whole_reason,
					     true);
			if (whole.assembled) {
				m_why(m, "the datagram is complete");
				return false;
			}
		}
		return match(m, m->seen->verdict, m->seen->reason, false);
	}
	m_judge(m, p);
	return match(m, m->seen->verdict, m->seen->reason, false);
}

static bool ethernet(struct model *m, const struct m_frame *in, struct m_packet *p)
{
	static const uint8_t backend[6] = { 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff };
	const struct m_iface *i = &m->iface[in->port];
	const uint8_t *our = p->from_client ? backend : i->is.mac;
	uint64_t faults = 0;
	uint16_t type = m_get16(in->b + 12);

	if (!(in->b[0] & 1) && memcmp(in->b, our, 6) != 0)
		faults |= M_R(DEST_MAC);
	if (p->from_client && memcmp(in->b + 6, i->is.mac, 6) != 0)
		faults |= M_R(SOURCE_MAC); /* Q2 */
	if (type != 0x0800 && type != 0x0806 && type != 0x86dd)
		faults |= M_R(ETHERTYPE); /* P8 */
	if (faults) {
		struct addr has = m_address(i, 6);

		m_drop(m, faults | (type == 0x86dd && m_is_none(&has) ? M_R(IPV6) : 0));
		return match(m, m->seen->verdict, m->seen->reason, false);
	}
	if (type == 0x0806) {
		if (!m_arp(m, in))
			return false;
		return match(m, m->seen->verdict, m->seen->reason, false);
	}
	p->family = type == 0x0800 ? 4 : 6;
	return ip_packet(m, p);
}

bool model_frame(struct model *m, const struct m_frame *in, const struct m_seen *seen)
{
	static uint8_t bytes[M_BYTES];
	struct m_packet p = { .in = in, .port = in->port, .b = bytes, .len = in->len,
			      .csum = in->csum, .gso = in->gso, .gso_size = in->gso_size,
			      .header_len = in->header_len };
	uint64_t faults = 0;

	m->seen = seen;
	m->alt_count = 0;
	m->pending = m->evict = -1;
	m->why[0] = 0;
	if (in->copy_failed)
		faults |= M_R(COPY_FAILED);
	if (in->port >= M_IFACES || !m->iface[in->port].used)
		faults |= M_R(NO_IFACE);
	else if (in->len < 14)
		faults |= M_R(SHORT_FRAME);
	if (faults) {
		m_drop(m, faults);
		return match(m, seen->verdict, seen->reason, false);
	}
	p.from_client = in->port != 0;
	memcpy(bytes, in->b, in->len);
	p.quote = in->b + 14;
	return ethernet(m, in, &p);
}

/* --- what the engine sends by itself ------------------------------------------------------ */

size_t model_doomed(struct model *m, bool gone)
{
	size_t n = 0;

	for (size_t i = m->flow_count; i-- > 0;) {
		if (m->flow[i].dead || !m_is_doomed(m, &m->flow[i]))
			continue;
		n++;
		if (gone)
			m_flow_delete(m, i);
	}
	return n;
}

bool model_counts(struct model *m, const uint32_t *flows, uint32_t active)
{
	uint32_t most[M_SOURCES] = { 0 }, least[M_SOURCES] = { 0 }, sure = 0;
	uint32_t all = (uint32_t)m->flow_count;

	m->why[0] = 0;
	for (size_t i = 0; i < m->flow_count; i++) {
		struct m_source *s = m_source_of(m, &m->flow[i].client);
		bool doomed = m->flow[i].dead || m_is_doomed(m, &m->flow[i]);

		sure += !doomed;
		if (!s)
			continue;
		most[s - m->source]++;
		least[s - m->source] += !doomed;
	}
	/* a mapping has an entry of its own */
	for (size_t i = 0; i < m->mapping_count; i++) {
		struct m_source *s = m_source_of(m, &m->mapping[i].client);

		all++;
		sure += !m->mapping[i].fading;
		if (s) {
			most[s - m->source]++;
			least[s - m->source] += !m->mapping[i].fading;
		}
	}
	for (size_t i = 0; i < M_SOURCES; i++)
		if (m->source[i].used && (flows[i] < least[i] || flows[i] > most[i]))
			m_why(m, "source %zu has %u flows, not %u to %u", i, flows[i], least[i],
			      most[i]);
	if (active < sure || active > all)
		m_why(m, "%u flows in all, not %u to %u", active, sure, all);
	if (!m->why[0] && active == sure && sure != all)
		model_doomed(m, true);
	return m->why[0] == 0;
}
