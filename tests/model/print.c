// SPDX-License-Identifier: GPL-2.0-or-later
/* Steps and frames for a reader: one line each. */
#include "tests/model/wire.h"

#include <string.h>

static const char *const csum_name[] = { "none", "valid", "partial" };

static void print_tcp(FILE *to, const uint8_t *l4, uint32_t len)
{
	static const char letters[] = "FSRPAUEC";
	uint32_t doff = (uint32_t)(l4[12] >> 4) * 4;

	fputc(' ', to);
	for (int i = 0; i < 8; i++)
		if (l4[13] >> i & 1)
			fputc(letters[i], to);
	fprintf(to, " seq=%u ack=%u win=%u", m_get32(l4 + 4), m_get32(l4 + 8), m_get16(l4 + 14));
	if (doff > 20 && doff <= len) {
		fprintf(to, " opt=");
		for (uint32_t i = 20; i < doff; i++)
			fprintf(to, "%02x", l4[i]);
	}
	if (doff <= len)
		fprintf(to, " len=%u", len - doff);
}

static void print_l4(FILE *to, uint8_t proto, const uint8_t *l4, uint32_t len)
{
	if (len < 8) {
		fprintf(to, " proto=%u len=%u", proto, len);
		return;
	}
	if (proto == 6 || proto == 17)
		fprintf(to, " %s %u>%u", proto == 6 ? "TCP" : "UDP", m_get16(l4), m_get16(l4 + 2));
	if (proto == 6 && len >= 20)
		print_tcp(to, l4, len);
	else if (proto == 17)
		fprintf(to, " len=%u csum=%04x", m_get16(l4 + 4), m_get16(l4 + 6));
	else if (proto == 1 || proto == 58)
		fprintf(to, " ICMP %u/%u id=%u info=%u len=%u", l4[0], l4[1], m_get16(l4 + 4),
			m_get32(l4 + 4), len);
	else if (proto != 6)
		fprintf(to, " proto=%u len=%u", proto, len);
}

static void print_ip(FILE *to, const uint8_t *b, uint32_t len, int depth)
{
	char src[ADDR_STRLEN], dst[ADDR_STRLEN];
	bool is4 = len && b[0] >> 4 == 4;
	uint32_t head = is4 ? (b[0] & 15u) * 4 : 40;
	uint8_t proto = is4 ? b[9 % (len ? len : 1)] : 0;
	struct addr s, d;

	if (len < (is4 ? 20u : 40u) || head > len) {
		fprintf(to, " [%u bytes]", len);
		return;
	}
	s = m_addr_at(b + (is4 ? 12 : 8), is4 ? 4 : 6);
	d = m_addr_at(b + (is4 ? 16 : 24), is4 ? 4 : 6);
	fprintf(to, " %s>%s ttl=%u", addr_format(&s, src), addr_format(&d, dst), b[is4 ? 8 : 7]);
	if (is4) {
		fprintf(to, " id=%u%s", m_get16(b + 4), b[6] & 0x40 ? " DF" : "");
		if (m_get16(b + 6) & 0x3fff)
			fprintf(to, " frag=%u%s", (m_get16(b + 6) & 0x1fffu) * 8,
				b[6] & 0x20 ? "+" : "");
		if (head > 20)
			fprintf(to, " ihl=%u", head);
		if (m_get16(b + 6) & 0x1fff) {
			fprintf(to, " proto=%u len=%u", proto, len - head);
			return;
		}
	} else {
		for (proto = b[6]; proto == 0 || proto == 43 || proto == 60 || proto == 44;) {
			fprintf(to, " ext=%u", proto);
			if (head + 8 > len)
				return;
			if (proto == 44)
				fprintf(to, "(%u%s id=%u)", m_get16(b + head + 2) & 0xfff8u,
					b[head + 3] & 1 ? "+" : "", m_get32(b + head + 4));
			if (proto == 44 && (m_get16(b + head + 2) & 0xfff8)) {
				fprintf(to, " len=%u", len - head - 8);
				return;
			}
			proto = b[head];
			head += proto == 44 || b[head + 1] > 31 ? 8 : 8 + 8u * b[head + 1];
		}
	}
	if (head > len)
		return;
	print_l4(to, proto, b + head, len - head);
	if (depth == 0 && len > head + 8 &&
	    ((proto == 1 && (b[head] == 3 || b[head] == 11 || b[head] == 12)) ||
	     (proto == 58 && b[head] >= 1 && b[head] <= 4))) {
		fprintf(to, " {");
		print_ip(to, b + head + 8, len - head - 8, 1);
		fprintf(to, " }");
	}
}

void print_frame(FILE *to, const struct m_frame *f)
{
	fprintf(to, "port %u, %u bytes, csum %s", f->port, f->len, csum_name[f->csum % 3]);
	if (f->gso)
		fprintf(to, ", gso %u", f->gso_size);
	fprintf(to, ":");
	if (f->len < 14)
		return;
	if (m_get16(f->b + 12) == 0x0800 || m_get16(f->b + 12) == 0x86dd)
		print_ip(to, f->b + 14, f->len - 14, 0);
	else
		fprintf(to, " ethertype %04x", m_get16(f->b + 12));
}

/* What is not seen in the packet that was made of it. */
static void print_spec(FILE *to, const struct spec *p)
{
	const struct {
		bool is;
		const char *name;
	} words[] = { { p->error, "error" },	       { p->piece, "piece" },
		      { p->tweak, "tweaked" },	       { p->bad_csum, "bad checksum" },
		      { p->l2 == 1, "ARP" },	       { p->l2 == 2, "neighbour solicitation" },
		      { p->failed, "copy failed" },    { p->refix, "checksums made again" },
		      { p->zero, "aimed at a zero" } };

	fprintf(to, " %s client %u", p->dir == M_OUT ? "from" : "to", p->talk.client);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (words[i].is)
			fprintf(to, ", %s", words[i].name);
	for (unsigned int i = 0; i < p->mutations; i++)
		fprintf(to, ", byte %u of %s ^ %02x", p->mutation[i].at,
			(const char *const[]){ "Ethernet", "IP", "L4", "inner" }
				[p->mutation[i].where & 3], p->mutation[i].flip);
	if (p->cut)
		fprintf(to, ", cut at %u", p->cut);
	if (p->hdr)
		fprintf(to, ", extra header %u", p->hdr);
	if (p->wrong)
		fprintf(to, ", wrong %u", p->wrong);
}

void print_step(FILE *to, const struct step *s)
{
	static const char *const names[STEP_KINDS] = {
		"packet", "wait", "jump", "policy", "forget", "options", "detach", "attach", "link",
		"dns", "connected", "neighbour" };

	fprintf(to, "%s", names[s->kind]);
	if (s->kind == STEP_PACKET)
		print_spec(to, &s->p);
	else if (s->kind == STEP_WAIT || s->kind == STEP_JUMP)
		fprintf(to, " %u ms", s->ms);
	else
		fprintf(to, " a=%u b=%u c=%u ms=%u", s->a, s->b, s->c, s->ms);
}
