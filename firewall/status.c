/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/status.h"

#include "firewall/agent.h"
#include "firewall/daemon.h"
#include "firewall/log.h"
#include "firewall/status_names.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)n);
}

/* Text that came from outside may be no UTF-8: then its place is empty. */
static json_t *text(const char *s)
{
	json_t *j = json_string(s);

	return j != NULL ? j : json_string("");
}

static json_t *mac_text(const uint8_t mac[6])
{
	char buf[18];

	snprintf(buf, sizeof(buf), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		 mac[3], mac[4], mac[5]);
	return json_string(buf);
}

static json_t *port_json(const struct port *p)
{
	static const char *const kinds[] = {
		[PORT_VIF] = "vif", [PORT_UPLINK] = "uplink", [PORT_TAP] = "tap",
		[PORT_SELF] = "self", [PORT_MEM] = "mem",
	};
	const struct port_stats *st = &p->stats;
	json_t *j = json_object();

	json_object_set_new(j, "name", text(p->name));
	json_object_set_new(j, "kind", json_string(kinds[p->kind]));
	json_object_set_new(j, "ip", text(p->ip));
	json_object_set_new(j, "mac", mac_text(p->mac));
	json_object_set_new(j, "domid", number(p->domid));
	json_object_set_new(j, "devid", number(p->devid));
	json_object_set_new(j, "link", json_boolean(p->link));
	json_object_set_new(j, "state", number(p->xenbus_state));
	json_object_set_new(j, "reason", text(p->reason != NULL ? p->reason : ""));
	json_object_set_new(j, "rx_frames", number(st->rx_frames));
	json_object_set_new(j, "rx_bytes", number(st->rx_bytes));
	json_object_set_new(j, "rx_gso", number(st->rx_gso));
	json_object_set_new(j, "rx_partial", number(st->rx_partial));
	json_object_set_new(j, "rx_errors", number(st->rx_errors));
	json_object_set_new(j, "tx_frames", number(st->tx_frames));
	json_object_set_new(j, "tx_bytes", number(st->tx_bytes));
	json_object_set_new(j, "tx_gso", number(st->tx_gso));
	json_object_set_new(j, "tx_partial", number(st->tx_partial));
	json_object_set_new(j, "tx_dropped", number(st->tx_dropped));
	json_object_set_new(j, "tx_queued", number(st->tx_queued));
	json_object_set_new(j, "notify_sent", number(st->notify_sent));
	json_object_set_new(j, "notify_suppressed", number(st->notify_suppressed));
	json_object_set_new(j, "violations", number(st->violations));
	return j;
}

static json_t *clients_json(const struct daemon *d)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < ENGINE_IFACE_MAX; i++) {
		const struct port *p = d->attachments[i].port;

		if (p != NULL && p->role != PORT_ROLE_UPLINK)
			json_array_append_new(list, port_json(p));
	}
	return list;
}

static json_t *uplink_json(const struct daemon *d)
{
	static const char *const keys[][2] = {
		{"ip", "/qubes-ip"}, {"ip6", "/qubes-ip6"},
		{"gateway", "/qubes-gateway"}, {"gateway6", "/qubes-gateway6"},
	};
	json_t *j;

	if (d->uplink == PORT_NONE)
		return json_null();
	j = port_json(d->attachments[d->uplink].port);
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const char *value = qubesdb_read(d->db, keys[i][1], NULL);

		json_object_set_new(j, keys[i][0], text(value != NULL ? value : ""));
	}
	return j;
}

static json_t *qubesdb_json(const struct daemon *d)
{
	static const char *const states[] = {
		[QUBESDB_CONNECTING] = "connecting",
		[QUBESDB_SYNCING] = "syncing",
		[QUBESDB_READY] = "ready",
	};
	json_t *j = json_object();

	json_object_set_new(j, "source", text(d->options->qubesdb));
	json_object_set_new(j, "state", json_string(states[qubesdb_state(d->db)]));
	json_object_set_new(j, "reason", text(qubesdb_reason(d->db)));
	return j;
}

static json_t *hits_json(const struct daemon *d, const struct addr *addr,
			 const struct policy *policy)
{
	static const uint32_t special[] = {
		RULE_INDEX_POLICY, RULE_INDEX_MALFORMED, RULE_INDEX_NONE,
	};
	size_t rules = policy != NULL ? policy_rule_count(policy) : 0;
	json_t *j = json_object();
	char key[RULE_KEY_MAX];
	uint64_t n;

	for (uint32_t i = 0; i < rules; i++)
		if ((n = engine_source_hits(d->engine, addr, i)) > 0)
			json_object_set_new(j, policy_key(policy, i, key), number(n));
	for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++)
		if ((n = engine_source_hits(d->engine, addr, special[i])) > 0)
			json_object_set_new(j, policy_key(policy, special[i], key), number(n));
	return j;
}

static json_t *options_json(const struct source_view *v)
{
	const struct engine_source_options *o = &v->options;

	return json_pack("{s:b, s:b, s:o, s:b, s:o}", "eim", o->eim, "dns_learn", o->learn,
			 "wildcards", text(v->wildcards != NULL ? v->wildcards : ""), "quiet",
			 o->quiet, "max_flows", number(o->max_flows));
}

struct learned_arg {
	const struct daemon *d;
	const struct addr *source;
	json_t *names, *addrs;
};

static void learned_addr(void *arg, const struct addr *addr, uint64_t left_ms)
{
	struct learned_arg *a = arg;
	char ip[ADDR_STRLEN];

	json_object_set_new(a->addrs, addr_format(addr, ip), number(left_ms / 1000));
}

static void learned_name(void *arg, const char *name)
{
	struct learned_arg *a = arg;

	a->addrs = json_object();
	engine_learned(a->d->engine, a->source, name, learned_addr, a);
	if (json_object_size(a->addrs) > 0)
		json_object_set(a->names, name, a->addrs);
	json_decref(a->addrs);
}

/* Names of the source's rules, their learned addresses, seconds they stay. */
static json_t *learned_json(const struct daemon *d, const struct source_view *v)
{
	struct learned_arg a = {.d = d, .source = &v->addr, .names = json_object()};

	if (v->ruleset != NULL && v->options.learn)
		ruleset_names(v->ruleset, learned_name, &a);
	return a.names;
}

struct source_arg {
	const struct daemon *d;
	json_t *list;
};

static void source_json(void *arg, const struct source_view *v)
{
	static const char *const states[] = {
		[SOURCE_NONE] = "none",
		[SOURCE_ACTIVE] = "active",
		[SOURCE_MALFORMED] = "malformed",
	};
	const struct source_arg *a = arg;
	struct engine_source_info info = {0};
	char ip[ADDR_STRLEN];
	json_t *j = json_object();

	(void)engine_source_info(a->d->engine, &v->addr, &info);
	json_object_set_new(j, "ip", json_string(addr_format(&v->addr, ip)));
	json_object_set_new(j, "state", json_string(states[v->state]));
	json_object_set_new(j, "rules", number(v->rules));
	json_object_set_new(j, "epoch", number(info.epoch));
	json_object_set_new(j, "handled", number(v->handled));
	json_object_set_new(j, "attached", number(v->attached));
	if (v->err != NULL)
		json_object_set_new(j, "error",
				    json_pack("{s:o, s:o}", "key", text(v->err->key), "text",
					      text(v->err->text)));
	json_object_set_new(j, "accepted", number(info.accepted));
	json_object_set_new(j, "rejected", number(info.rejected));
	json_object_set_new(j, "dropped", number(info.dropped));
	json_object_set_new(j, "packets_out", number(info.packets_out));
	json_object_set_new(j, "bytes_out", number(info.bytes_out));
	json_object_set_new(j, "packets_in", number(info.packets_in));
	json_object_set_new(j, "bytes_in", number(info.bytes_in));
	json_object_set_new(j, "flows", number(info.flows));
	json_object_set_new(j, "hits", hits_json(a->d, &v->addr, info.policy));
	json_object_set_new(j, "options", options_json(v));
	json_object_set_new(j, "learned", learned_json(a->d, v));
	json_array_append_new(a->list, j);
}

static json_t *settings_json(const struct daemon *d)
{
	const struct settings *s = &d->settings;
	int level = s->log_level != 0 ? s->log_level : d->options->log_level;
	json_t *problems = json_array(), *dns = json_array();
	char virt[ADDR_STRLEN], real[ADDR_STRLEN];

	for (size_t i = 0; i < settings_problems(s); i++)
		json_array_append_new(problems, json_sprintf("%s: %s", s->problem[i].path,
							     s->problem[i].text));
	for (size_t i = 0; i < s->dns_count; i++)
		json_array_append_new(dns, json_pack("{s:s, s:s}", "virtual",
						     addr_format(&s->dns[i].virt, virt), "real",
						     addr_format(&s->dns[i].real, real)));
	return json_pack("{s:s, s:o, s:o, s:o, s:o}", "log_level", log_level_name(level), "dns",
			 dns, "connected", number(s->connected_count), "problems", problems,
			 "problem_count", number(s->problem_count));
}

static json_t *drops_json(const struct daemon *d)
{
	const struct engine_stats *es = engine_stats(d->engine);
	const struct forward_stats *fs = forward_stats(d->forward);
	json_t *j = json_object();

	for (int i = DROP_NONE + 1; i < DROP_REASON_MAX; i++)
		json_object_set_new(j, drop_name((enum drop_reason)i),
				    number(es->drops[i] + fs->drops[i]));
	return j;
}

static json_t *fragments_json(const struct engine_stats *es)
{
	return json_pack("{s:o, s:o}", "datagrams", number(es->assembled), "emitted",
			 number(es->emitted));
}

static json_t *flows_json(const struct engine_stats *es)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "active", number(es->flows_active),
			 "max", number(es->flow_max), "created", number(es->flows_created),
			 "expired", number(es->flows_expired), "denied", number(es->flows_denied),
			 "bytes_per_flow", number(es->bytes_per_flow));
}

json_t *status_json(const struct daemon *d)
{
	const struct engine_stats *es = engine_stats(d->engine);
	const struct forward_stats *fs = forward_stats(d->forward);
	const struct copy_stats *cs = copy_batch_stats(d->batch);
	struct source_arg sources = {.d = d, .list = json_array()};
	json_t *j = json_object();

	json_object_set_new(j, "version", json_string(RINGFENCE_VERSION));
	json_object_set_new(j, "uptime_s",
			    number((loop_now_us() / 1000 - d->started_ms) / 1000));
	json_object_set_new(j, "ready", json_boolean(d->ready));
	json_object_set_new(j, "qubesdb", qubesdb_json(d));
	json_object_set_new(j, "qrexec", agent_json(d->agent));
	json_object_set_new(j, "clients", clients_json(d));
	json_object_set_new(j, "uplink", uplink_json(d));
	json_object_set_new(j, "flows", flows_json(es));
	json_object_set_new(j, "fragments", fragments_json(es));
	sources_each(d->sources, source_json, &sources);
	json_object_set_new(j, "sources", sources.list);
	json_object_set_new(j, "settings", settings_json(d));
	json_object_set_new(j, "resolver", status_resolver_json(d->resolver));
	json_object_set_new(j, "names", status_names_json(d->resolver));
	json_object_set_new(j, "drops", drops_json(d));
	json_object_set_new(j, "forwarded", number(es->forwarded));
	json_object_set_new(j, "replied", number(es->replied));
	json_object_set_new(j, "copy",
			    json_pack("{s:o, s:o, s:o, s:o}", "ops", number(cs->ops), "calls",
				      number(cs->calls), "bytes", number(cs->bytes), "failed",
				      number(cs->failed)));
	json_object_set_new(j, "loop",
			    json_pack("{s:o, s:o, s:o, s:o}", "turns", number(fs->turns),
				      "frames", number(fs->frames), "wakeups", number(d->wakeups),
				      "spins", number(fs->spins)));
	return j;
}
