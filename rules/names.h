/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fixed name table: what --resolve NAME=ADDR,... says.
 */
#ifndef RULES_NAMES_H
#define RULES_NAMES_H

#include "rules/rules.h"

struct names;

int names_new(struct names **out);
void names_free(struct names **n);

/**
 * names_add() - add the addresses of "NAME=ADDR[,ADDR...]"
 *
 * "NAME=" says that the name resolves to no address. A name may be given more
 * than once; its addresses add up.
 *
 * Return: 0, -EINVAL when the text has another form or an address is bad,
 * -ENOMEM.
 */
int names_add(struct names *n, const char *text);

/** names_lookup() - fits struct policy_env.lookup; @arg is a struct names */
enum name_state names_lookup(void *arg, const char *name,
			     const struct addr **addrs, size_t *count);

#endif
