// SPDX-License-Identifier: GPL-2.0-or-later
/* Words of a line: splitting, values, merging. */
#include "tests/craft/craft_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int words_fail(struct words *ws, const char *format, ...)
{
	va_list ap;

	if (ws->err && ws->err[0] == '\0') {
		va_start(ap, format);
		vsnprintf(ws->err, CRAFT_ERR, format, ap);
		va_end(ap);
	}
	return -EINVAL;
}

size_t text_until(const char *p, size_t len, char stop)
{
	const char *at = memchr(p, stop, len);

	return at ? (size_t)(at - p) : len;
}

bool word_is(const struct word *w, const char *key)
{
	return w->key_len == strlen(key) && memcmp(w->key, key, w->key_len) == 0;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n';
}

/* One word at p; parentheses hold it together. Its length, or 0 if unbalanced. */
static size_t word_len(const char *p, size_t len)
{
	size_t n = 0, depth = 0;

	for (; n < len && (depth || !is_blank(p[n])); n++) {
		if (p[n] == '(')
			depth++;
		else if (p[n] == ')' && depth-- == 0)
			return 0;
	}
	return depth ? 0 : n;
}

static void word_parts(struct word *w, const char *p, size_t n)
{
	size_t key = 0;

	while (key < n && p[key] != '=' && p[key] != '(')
		key++;
	w->key = p;
	w->key_len = key;
	w->bare = key == n;
	w->val = w->bare ? p + n : p + key + 1;
	w->val_len = w->bare ? 0 : n - key - 1;
	w->sep = w->bare ? 0 : p[key];
	if (w->sep == '(')
		w->val_len--; /* its closing one */
}

/* The words that stand by position: the whole word is the value. */
static const char *position_key(const struct words *ws, size_t i)
{
	const struct word *kind = &ws->w[0];
	bool arp;

	if (i == 0)
		return "kind";
	if (kind->val_len == 3 && memcmp(kind->val, "RAW", 3) == 0)
		return NULL;
	arp = kind->val_len == 3 && memcmp(kind->val, "ARP", 3) == 0;
	if (i == 1)
		return arp ? "op" : "addr";
	if (i != 2)
		return NULL;
	if (arp)
		return "addr";
	if (kind->val_len == 3 && memcmp(kind->val, "TCP", 3) == 0)
		return "flags";
	if (kind->val_len == 4 && memcmp(kind->val, "ICMP", 4) == 0)
		return "type";
	return NULL;
}

/* Whether a word can be what stands in its position; the others are all lower case. */
static bool fits(const char *key, const char *p, size_t n)
{
	if (strcmp(key, "flags") == 0)
		return (n == 1 && p[0] == '-') || memchr("SFRPAUECX", p[0], 9) != NULL;
	if (strcmp(key, "type") != 0 || (p[0] >= '0' && p[0] <= '9'))
		return true;
	for (const struct icmp_name *i = icmp_names; i->name; i++)
		if (strlen(i->name) == n && memcmp(i->name, p, n) == 0)
			return true;
	return false;
}

int words_split(struct words *ws, const char *text, size_t len)
{
	size_t at = 0;

	ws->n = 0;
	for (;;) {
		const char *key;
		struct word *w;
		size_t n;

		while (at < len && is_blank(text[at]))
			at++;
		if (at == len)
			return ws->n ? 0 : words_fail(ws, "an empty line");
		n = word_len(text + at, len - at);
		if (n == 0)
			return words_fail(ws, "parentheses: %.40s", text + at);
		if (ws->n == WORDS_MAX)
			return words_fail(ws, "more than %d words", WORDS_MAX);
		w = &ws->w[ws->n];
		memset(w, 0, sizeof(*w));
		word_parts(w, text + at, n);
		key = position_key(ws, ws->n);
		if (key && fits(key, text + at, n)) {
			w->val = text + at;
			w->val_len = n;
			w->key = key;
			w->key_len = strlen(key);
		}
		ws->n++;
		at += n;
	}
}

struct word *words_find(struct words *ws, const char *key)
{
	for (size_t i = 0; i < ws->n; i++)
		if (word_is(&ws->w[i], key))
			return &ws->w[i];
	return NULL;
}

bool words_flag(struct words *ws, const char *key)
{
	struct word *w = words_find(ws, key);

	if (!w || !w->bare)
		return false;
	w->used = true;
	return true;
}

int text_number(struct words *ws, const char *p, size_t len, uint64_t max, uint64_t *value)
{
	char buf[24], *end;
	unsigned long long v;

	if (len == 0 || len >= sizeof(buf) || p[0] < '0' || p[0] > '9')
		return words_fail(ws, "not a number: %.*s", (int)len, p);
	memcpy(buf, p, len);
	buf[len] = '\0';
	v = strtoull(buf, &end, buf[1] == 'x' ? 16 : 10);
	if (*end != '\0' || v > max)
		return words_fail(ws, "not a number, or too big: %s", buf);
	*value = v;
	return 0;
}

int words_number(struct words *ws, const char *key, uint64_t max, uint64_t *value)
{
	struct word *w = words_find(ws, key);

	if (!w)
		return 0;
	w->used = true;
	return text_number(ws, w->val, w->val_len, max, value);
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

int text_hex(struct words *ws, const char *p, size_t len, uint8_t *out, size_t max, size_t *n)
{
	if (len % 2 || len / 2 > max)
		return words_fail(ws, "hex digits: %.*s", (int)(len < 60 ? len : 60), p);
	for (size_t i = 0; i < len; i += 2) {
		int high = nibble(p[i]), low = nibble(p[i + 1]);

		if (high < 0 || low < 0)
			return words_fail(ws, "hex digits: %.*s", (int)(len < 60 ? len : 60), p);
		out[i / 2] = (uint8_t)(high << 4 | low);
	}
	*n = len / 2;
	return 0;
}

int words_mac(struct words *ws, const char *key, uint8_t mac[6])
{
	struct word *w = words_find(ws, key);

	if (!w)
		return 0;
	w->used = true;
	if (w->val_len != 17)
		return words_fail(ws, "MAC: %.*s", (int)w->val_len, w->val);
	for (size_t i = 0; i < 6; i++) {
		int high = nibble(w->val[3 * i]), low = nibble(w->val[3 * i + 1]);

		if (high < 0 || low < 0 || (i < 5 && w->val[3 * i + 2] != ':'))
			return words_fail(ws, "MAC: %.*s", (int)w->val_len, w->val);
		mac[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

int words_unused(struct words *ws)
{
	for (size_t i = 0; i < ws->n; i++)
		if (!ws->w[i].used)
			return words_fail(ws, "no use for: %.*s", (int)ws->w[i].key_len,
					  ws->w[i].key);
	return 0;
}

/* IPv4, or IPv6 with or without its brackets. */
int text_addr(struct words *ws, const char *p, size_t len, uint8_t *family, uint8_t out[16])
{
	char buf[INET6_ADDRSTRLEN];

	if (len > 2 && p[0] == '[' && p[len - 1] == ']') {
		p++;
		len -= 2;
	}
	if (len == 0 || len >= sizeof(buf))
		return words_fail(ws, "address: %.*s", (int)len, p);
	memcpy(buf, p, len);
	buf[len] = '\0';
	memset(out, 0, 16);
	*family = strchr(buf, ':') ? 6 : 4;
	if (inet_pton(*family == 6 ? AF_INET6 : AF_INET, buf, out) != 1)
		return words_fail(ws, "address: %s", buf);
	return 0;
}

/* ADDR, ADDR:PORT, [ADDR] or [ADDR]:PORT */
static int text_end(struct words *ws, const char *p, size_t len, struct pair *pair, bool first)
{
	size_t n = len > 0 && p[0] == '[' ? text_until(p, len, ']') + 1 : text_until(p, len, ':');
	uint8_t family;
	uint64_t port;

	if (n > len)
		return words_fail(ws, "address: %.*s", (int)len, p);
	if (text_addr(ws, p, n, &family, first ? pair->src : pair->dst) != 0)
		return -EINVAL;
	if (!first && (family != pair->family || (n < len) != pair->ports))
		return words_fail(ws, "the two addresses do not go together");
	pair->family = family;
	pair->ports = n < len;
	if (!pair->ports)
		return 0;
	if (p[n] != ':' || text_number(ws, p + n + 1, len - n - 1, 65535, &port) != 0)
		return words_fail(ws, "port: %.*s", (int)len, p);
	*(first ? &pair->sport : &pair->dport) = (uint16_t)port;
	return 0;
}

int text_pair(struct words *ws, const struct word *w, struct pair *pair)
{
	size_t n;

	memset(pair, 0, sizeof(*pair));
	if (!w)
		return words_fail(ws, "no addresses");
	n = text_until(w->val, w->val_len, '>');
	if (n == w->val_len)
		return words_fail(ws, "no > between addresses: %.*s", (int)n, w->val);
	if (text_end(ws, w->val, n, pair, true) != 0)
		return -EINVAL;
	return text_end(ws, w->val + n + 1, w->val_len - n - 1, pair, false);
}

bool craft_get(const char *text, const char *key, char *value, size_t size)
{
	struct words ws = { .err = NULL };
	const struct word *w;

	if (words_split(&ws, text, strlen(text)) != 0)
		return false;
	w = words_find(&ws, key);
	if (!w || w->val_len >= size)
		return false;
	memcpy(value, w->val, w->val_len);
	value[w->val_len] = '\0';
	return true;
}

/* --- merging -------------------------------------------------------------------- */

struct line {
	char *p;
	size_t len;
};

static int line_add(struct line *l, const char *p, size_t n)
{
	if (l->len + n >= CRAFT_TEXT)
		return -EINVAL;
	memcpy(l->p + l->len, p, n);
	l->len += n;
	l->p[l->len] = '\0';
	return 0;
}

static bool is_positional(const struct word *w)
{
	return w->val_len && w->sep == 0;
}

static int line_word(struct line *l, const struct word *w)
{
	int err = l->len ? line_add(l, " ", 1) : 0;

	if (is_positional(w))
		return err ? err : line_add(l, w->val, w->val_len);
	if (!err)
		err = line_add(l, w->key, w->key_len);
	if (!err && w->sep)
		err = line_add(l, &w->sep, 1);
	if (!err)
		err = line_add(l, w->val, w->val_len);
	return err || w->sep != '(' ? err : line_add(l, ")", 1);
}

static struct word *same_key(struct words *ws, const struct word *w, bool removed)
{
	for (size_t i = 0; i < ws->n; i++) {
		struct word *o = &ws->w[i];
		size_t skip = removed ? 1 : 0;

		if (o->key_len == w->key_len + skip && (!removed || o->key[0] == '!') &&
		    memcmp(o->key + skip, w->key, w->key_len) == 0)
			return o;
	}
	return NULL;
}

static int merge(struct line *l, const char *base, size_t base_len, const char *over,
		 size_t over_len, int depth)
{
	struct words *b = calloc(1, sizeof(*b)), *o = calloc(1, sizeof(*o));
	size_t start = l->len;
	int err = -EINVAL;

	if (!b || !o || depth > QUOTE_DEPTH || words_split(b, base, base_len) != 0 ||
	    words_split(o, over, over_len) != 0)
		goto out;
	for (size_t i = 0; i < b->n; i++) {
		const struct word *w = &b->w[i];
		struct word *with = same_key(o, w, false);

		if (w->key[0] == '!' || same_key(o, w, true))
			continue;
		if (with)
			with->used = true;
		if (with && with->sep == '(' && w->sep == '(') {
			if (line_add(l, " quote(", 7) != 0 ||
			    merge(l, w->val, w->val_len, with->val, with->val_len, depth + 1) ||
			    line_add(l, ")", 1) != 0)
				goto out;
			continue;
		}
		/* the first word of a quote has no blank in front */
		if (l->len == start) {
			struct line first = { l->p + start, 0 };

			if (start + CRAFT_ERR > CRAFT_TEXT || line_word(&first, with ? with : w))
				goto out;
			l->len += first.len;
		} else if (line_word(l, with ? with : w) != 0) {
			goto out;
		}
	}
	for (size_t i = 0; i < o->n; i++)
		if (!o->w[i].used && o->w[i].key[0] != '!' && line_word(l, &o->w[i]) != 0)
			goto out;
	err = 0;
out:
	free(b);
	free(o);
	return err;
}

int craft_merge(char *out, const char *base, const char *over)
{
	struct line l = { out, 0 };

	out[0] = '\0';
	return merge(&l, base, strlen(base), over, strlen(over), 1);
}
