/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "rules/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct name {
	char *text;
	struct addr *addr;
	size_t count;
};

/* A command line holds few names: a list that is searched is enough. */
struct names {
	struct name *name;
	size_t count;
};

int names_new(struct names **out)
{
	struct names *n = calloc(1, sizeof(*n));

	if (n == NULL)
		return -ENOMEM;
	*out = n;
	return 0;
}

void names_free(struct names **n)
{
	if (*n == NULL)
		return;
	for (size_t i = 0; i < (*n)->count; i++) {
		free((*n)->name[i].text);
		free((*n)->name[i].addr);
	}
	free((*n)->name);
	free(*n);
	*n = NULL;
}

static char fold(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* The characters of a dsthost; upper case is folded, rules have none. */
static bool is_name(const char *text, size_t len)
{
	if (len == 0 || len > RULE_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = fold(text[i]);

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '.' &&
		    c != '_')
			return false;
	}
	return true;
}

static struct name *find(const struct names *n, const char *text, size_t len)
{
	for (size_t i = 0; i < n->count; i++) {
		struct name *name = &n->name[i];
		size_t at = 0;

		while (at < len && name->text[at] != '\0' && name->text[at] == fold(text[at]))
			at++;
		if (at == len && name->text[at] == '\0')
			return name;
	}
	return NULL;
}

/* Read "ADDR,ADDR" into a new array; "" is none. */
static int read_addresses(const char *text, struct addr **out, size_t *count)
{
	struct addr *addr;
	size_t n = 0, size = 1;

	for (const char *c = text; *c != '\0'; c++)
		size += *c == ',';
	addr = calloc(size, sizeof(*addr));
	if (addr == NULL)
		return -ENOMEM;
	while (*text != '\0') {
		size_t len = strcspn(text, ",");

		if (addr_parse(text, len, &addr[n++]) != 0 ||
		    (text[len] == ',' && text[len + 1] == '\0')) {
			free(addr);
			return -EINVAL;
		}
		text += len + (text[len] == ',');
	}
	*out = addr;
	*count = n;
	return 0;
}

static struct name *add_name(struct names *n, const char *text, size_t len)
{
	struct name *grown = reallocarray(n->name, n->count + 1, sizeof(*grown));
	struct name *name;

	if (grown == NULL)
		return NULL;
	n->name = grown;
	name = &grown[n->count];
	*name = (struct name){.text = malloc(len + 1)};
	if (name->text == NULL)
		return NULL;
	for (size_t i = 0; i < len; i++)
		name->text[i] = fold(text[i]);
	name->text[len] = '\0';
	n->count++;
	return name;
}

int names_add(struct names *n, const char *text)
{
	const char *equals = strchr(text, '=');
	struct addr *more = NULL, *all;
	struct name *name;
	size_t count, len;
	int ret;

	if (equals == NULL || !is_name(text, (size_t)(equals - text)))
		return -EINVAL;
	len = (size_t)(equals - text);
	ret = read_addresses(equals + 1, &more, &count);
	if (ret != 0)
		return ret;
	name = find(n, text, len);
	if (name == NULL)
		name = add_name(n, text, len);
	all = name == NULL ? NULL : reallocarray(name->addr, name->count + count + 1, sizeof(*all));
	if (all == NULL) {
		free(more);
		return -ENOMEM;
	}
	memcpy(all + name->count, more, count * sizeof(*more));
	name->addr = all;
	name->count += count;
	free(more);
	return 0;
}

enum name_state names_lookup(void *arg, const char *name, const struct addr **addrs, size_t *count)
{
	const struct names *n = arg;
	const struct name *found = find(n, name, strlen(name));

	if (found == NULL)
		return NAME_UNRESOLVED;
	*addrs = found->addr;
	*count = found->count;
	return NAME_RESOLVED;
}
