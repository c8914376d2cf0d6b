/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What status says of names in rules, and of who looks them up. */
#include "firewall/status_names.h"

#include "firewall/loop.h"

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)n);
}

struct names_arg {
	json_t *list;
	uint64_t now_ms;
};

/* Seconds to a time that may have passed. */
static uint64_t seconds_until(uint64_t when_ms, uint64_t now_ms)
{
	return when_ms > now_ms ? (when_ms - now_ms + 999) / 1000 : 0;
}

static void name_json(void *arg, const struct name_view *v)
{
	const struct names_arg *a = arg;
	json_t *j = json_object(), *addrs = json_array();
	char text[ADDR_STRLEN];

	for (size_t i = 0; i < v->count; i++)
		json_array_append_new(addrs, json_string(addr_format(&v->addrs[i], text)));
	json_object_set_new(j, "name", json_string(v->name));
	json_object_set_new(j, "family", number(v->family));
	json_object_set_new(j, "state", json_string(v->state != NAME_UNRESOLVED
									       ? "resolved"
									       : "unresolved"));
	json_object_set_new(j, "addresses", addrs);
	json_object_set_new(j, "in_grace", number(v->count - v->fresh));
	json_object_set_new(j, "more", json_boolean(v->more));
	json_object_set_new(j, "refused", json_boolean(v->refused));
	if (v->state != NAME_UNRESOLVED)
		json_object_set_new(j, "age_s", number((a->now_ms - v->resolved_ms) / 1000));
	json_object_set_new(j, "last", json_string(v->asked ? dns_outcome_text(v->last)
							     : "not asked yet"));
	json_object_set_new(j, "failures", number(v->failures));
	json_object_set_new(j, "asking", json_boolean(v->asking));
	json_object_set_new(j, "next_s", number(seconds_until(v->next_ms, a->now_ms)));
	json_object_set_new(j, "users", number(v->users));
	json_array_append_new(a->list, j);
}

json_t *status_names_json(const struct resolver *r)
{
	struct names_arg a = {.list = json_array(), .now_ms = loop_now_us() / 1000};

	name_table_each(resolver_table(r), name_json, &a);
	return a.list;
}

json_t *status_resolver_json(const struct resolver *r)
{
	static const char *const states[] = {
		[RESOLVER_OFF] = "off",
		[RESOLVER_STARTING] = "starting",
		[RESOLVER_NO_SERVER] = "no server",
		[RESOLVER_READY] = "ready",
	};
	struct resolver_info info;

	resolver_info(r, &info);
	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "state", states[info.state],
			 "reason", info.reason, "helper", number((uint64_t)info.helper), "restarts",
			 number(info.restarts), "asked", number(info.asked), "answered",
			 number(info.answered), "ignored", number(info.ignored), "addresses",
			 number(name_table_addrs(resolver_table(r))));
}
