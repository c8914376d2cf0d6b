// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sources, their policies, and which addresses are behind us. All of this runs
 * between two batches.
 *
 * A source exists while an interface has its address or rules for it are known.
 * Its flows are in its own lists, so ending them does not walk the table, and
 * a source's slot is only used again when it has none: nothing is inherited (Q7).
 *
 * Behind us are the sources, the addresses that clients believe to have (Q11) and
 * dom0's list of all qubes that may come (Q10). A packet to one of them does not
 * go out, a packet from one of them does not come in. One hash table answers that,
 * made afresh at each change.
 */
#include "firewall/engine_impl.h"

#include <errno.h>
#include <stdlib.h>

/* --- ending flows --------------------------------------------------------------- */

void source_purge(struct engine *e, struct source *source, uint16_t iface)
{
	/* mappings last: flows hold on to them */
	for (int mappings = 0; mappings < 2; mappings++) {
		for (unsigned int rank = 0; rank < FLOW_RANKS; rank++) {
			uint32_t index = source->owner.ranks[rank].head, next;

			for (; index != FLOW_NONE; index = next) {
				const struct flow *flow = &e->table.flows[index];

				next = flow->link[LIST_RANK].next;
				if ((flow->state == FLOW_MAPPING) == mappings &&
				    (iface == PORT_NONE || flow->iface == iface))
					engine_flow_end(e, index);
			}
		}
	}
}

/* No flow may lead to an address that is behind us now (Q3, Q10). */
static void purge_behind(struct engine *e)
{
	for (uint32_t i = 0; i < e->table.fresh; i++) {
		const struct flow *flow = &e->table.flows[i];

		if (flow->state != FLOW_FREE && flow->state != FLOW_MAPPING &&
		    is_behind(e, flow->family, &flow->remote))
			engine_flow_end(e, i);
	}
}

/* --- addresses behind us ------------------------------------------------------------ */

/* Return: whether it was not there. */
static bool behind_add(struct engine *e, uint8_t family, const struct ipkey *k)
{
	uint32_t i = behind_slot(e, family, k);

	if (ipkey_none(k) || is_behind(e, family, k))
		return false;
	while (e->behind[i].family)
		i = (i + 1) & (BEHIND_SLOTS - 1);
	e->behind[i] = (struct behind){ *k, family };
	return true;
}

void behind_rebuild(struct engine *e)
{
	memset(e->behind, 0, sizeof(e->behind));
	for (unsigned int i = 0; i < ENGINE_SOURCE_MAX; i++)
		if (e->sources[i].used)
			behind_add(e, e->sources[i].family, &e->sources[i].key);
	for (unsigned int i = 0; i < ENGINE_IFACE_MAX; i++)
		if (e->ifaces[i].conf.kind == IFACE_CLIENT)
			behind_add(e, 4, &e->ifaces[i].addr[V4]);
	for (size_t i = 0; i < e->connected_count; i++) {
		struct ipkey k = ipkey_of(&e->connected[i]);

		behind_add(e, e->connected[i].family, &k);
	}
	if (e->table.active > 0)
		purge_behind(e);
}

int engine_set_connected(struct engine *e, const struct addr *addrs, size_t n)
{
	if (n > ENGINE_CONNECTED_MAX)
		return -ENOSPC;
	memcpy(e->connected, addrs, n * sizeof(*addrs));
	e->connected_count = n;
	behind_rebuild(e);
	return 0;
}

/* --- sources ---------------------------------------------------------------------- */

uint16_t source_find(const struct engine *e, const struct addr *addr)
{
	for (uint16_t i = 0; i < ENGINE_SOURCE_MAX; i++)
		if (e->sources[i].used && addr_equal(&e->sources[i].addr, addr))
			return i;
	return SOURCE_NONE;
}

/* The source of an address, made if there is none; SOURCE_NONE: no slot left. */
uint16_t source_get(struct engine *e, const struct addr *addr)
{
	uint16_t index = source_find(e, addr);
	struct source *source;

	if (index != SOURCE_NONE)
		return index;
	for (index = 0; index < ENGINE_SOURCE_MAX && e->sources[index].used; index++)
		;
	if (index == ENGINE_SOURCE_MAX)
		return SOURCE_NONE;
	source = &e->sources[index];
	memset(source, 0, sizeof(*source));
	source->used = true;
	source->addr = *addr;
	source->key = ipkey_of(addr);
	source->family = addr->family;
	flow_owner_init(&source->owner);
	behind_rebuild(e);
	return index;
}

void source_drop_policy(struct source *source)
{
	policy_free(&source->policy_owned);
	source->policy = NULL;
	free(source->hits);
	source->hits = NULL;
	source->hit_count = 0;
}

void source_release(struct engine *e, struct source *source)
{
	if (source->ifaces > 0 || source->known)
		return;
	source_purge(e, source, PORT_NONE);
	source_drop_policy(source);
	engine_learn_end(e, source);
	source->used = false;
	behind_rebuild(e);
}

int engine_source_set(struct engine *e, const struct addr *addr, struct policy *policy,
		      enum engine_change change)
{
	uint32_t rules = policy ? (uint32_t)policy_rule_count(policy) : 0;
	uint64_t *hits = NULL;
	struct source *source;
	uint16_t index;

	if (rules) {
		hits = calloc(rules, sizeof(*hits));
		if (!hits)
			return -ENOMEM;
	}
	index = source_get(e, addr);
	if (index == SOURCE_NONE) {
		free(hits);
		return -ENOSPC;
	}
	source = &e->sources[index];
	if (change == ENGINE_RULES)
		memset(source->special_hits, 0, sizeof(source->special_hits));
	else if (rules && source->hit_count == rules)
		memcpy(hits, source->hits, rules * sizeof(*hits));
	source_drop_policy(source);
	source->policy_owned = policy;
	source->policy = policy;
	source->hits = hits;
	source->hit_count = rules;
	source->known = true;
	if (change != ENGINE_SAME) {
		source->epoch++; /* 2.5: no table walk; the sweep comes behind */
		e->sweep_left = e->table.flow_max;
	}
	return 0;
}

void engine_source_forget(struct engine *e, const struct addr *addr)
{
	uint16_t index = source_find(e, addr);
	struct source *source;

	if (index == SOURCE_NONE)
		return;
	source = &e->sources[index];
	source_purge(e, source, PORT_NONE);
	source_drop_policy(source);
	memset(source->special_hits, 0, sizeof(source->special_hits));
	engine_learn_end(e, source);
	source->options = (struct engine_source_options){ 0 };
	source->epoch++;
	source->known = false;
	source_release(e, source);
}

bool engine_source_info(const struct engine *e, const struct addr *addr,
			struct engine_source_info *info)
{
	uint16_t index = source_find(e, addr);
	const struct source *s;

	if (index == SOURCE_NONE)
		return false;
	s = &e->sources[index];
	*info = (struct engine_source_info){
		.addr = s->addr,
		.policy = s->policy,
		.epoch = s->epoch,
		.accepted = s->verdicts[RULE_ACCEPT],
		.rejected = s->verdicts[RULE_REJECT],
		.dropped = s->verdicts[RULE_DROP],
		.packets_out = s->packets[FLOW_OUT],
		.bytes_out = s->bytes[FLOW_OUT],
		.packets_in = s->packets[FLOW_IN],
		.bytes_in = s->bytes[FLOW_IN],
		.flows = s->flows,
	};
	return true;
}

uint64_t engine_source_hits(const struct engine *e, const struct addr *addr, uint32_t index)
{
	uint16_t i = source_find(e, addr);
	const struct source *source;

	if (i == SOURCE_NONE)
		return 0;
	source = &e->sources[i];
	if (index < source->hit_count)
		return source->hits[index];
	if (RULE_INDEX_POLICY - index < 3)
		return source->special_hits[RULE_INDEX_POLICY - index];
	return 0;
}

/* --- options ------------------------------------------------------------------------ */

/* Start to count who has which port, with the flows there are. */
static int count_ports(struct engine *e)
{
	e->port_use = calloc(1, sizeof(*e->port_use));
	if (!e->port_use)
		return -ENOMEM;
	for (uint32_t i = 0; i < e->table.fresh; i++)
		if (e->table.flows[i].state != FLOW_FREE)
			port_use_add(e->port_use, &e->table.flows[i]);
	return 0;
}

int engine_source_options(struct engine *e, const struct addr *addr,
			  const struct engine_source_options *options)
{
	uint16_t index = source_find(e, addr);
	int err;

	if (index == SOURCE_NONE)
		return -ENOENT;
	if (options->eim && !e->port_use) {
		err = count_ports(e);
		if (err)
			return err;
	}
	if (options->learn && !e->learn) {
		uint8_t key[16];

		for (unsigned int i = 0; i < sizeof(key); i++)
			key[i] = (uint8_t)rng_u32(&e->rng);
		err = learn_new(&e->learn, key);
		if (err)
			return err;
	}
	if (!options->learn)
		engine_learn_end(e, &e->sources[index]);
	else if (!e->sources[index].options.learn)
		e->learners++;
	e->sources[index].options = *options;
	return 0;
}

/* --- surroundings ---------------------------------------------------------------------- */

bool engine_dns_real(const struct engine *e, const struct ipkey *virt, struct ipkey *real)
{
	for (size_t i = 0; i < e->dns_count; i++) {
		struct ipkey k = ipkey_of(&e->dns[i].virt);

		if (!ipkey_equal(&k, virt))
			continue;
		*real = ipkey_of(&e->dns[i].real);
		return !ipkey_equal(real, virt);
	}
	return false;
}

enum drop_reason engine_dns_check(const struct engine *e, const struct ipkey *real)
{
	if (ipkey_none(real))
		return DROP_DNS_SERVER;
	if (is_behind(e, 4, real) || ipkey_equal(real, &e->nat[V4]))
		return DROP_INTER_CLIENT; /* Q3 */
	return DROP_NONE;
}

void engine_set_dns(struct engine *e, const struct engine_dns *map, size_t n)
{
	if (n > ENGINE_DNS_MAX)
		n = ENGINE_DNS_MAX;
	if (n == e->dns_count && (n == 0 || memcmp(e->dns, map, n * sizeof(*map)) == 0))
		return;
	if (n > 0)
		memcpy(e->dns, map, n * sizeof(*map));
	e->dns_count = n;
	/* 2.5: who was translated otherwise is judged again */
	for (unsigned int i = 0; i < ENGINE_SOURCE_MAX; i++)
		if (e->sources[i].used)
			e->sources[i].epoch++;
	e->sweep_left = e->table.flow_max;
}

void engine_stir(struct engine *e, const void *bytes, size_t len)
{
	rng_mix(&e->rng, bytes, len);
}
