// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The engine's tables: interfaces, sources and what happens to flows when one
 * of them changes. All of this runs between two batches.
 *
 * A source exists while an interface has its address or rules for it are known.
 * Its flows are in its own lists, so ending them does not walk the table, and
 * a source's slot is only used again when it has none: nothing is inherited (Q7).
 *
 * Flows belong to an address on the uplink, not to a device: an uplink that goes
 * and comes back with the same address (a restarted net qube) finds them as they
 * were; another address ends them all.
 */
#include "firewall/engine_impl.h"

#include <errno.h>
#include <stdlib.h>

static uint32_t raw4_of(const struct addr *addr)
{
	return addr->family == 4 ? get_raw32(addr->bytes) : 0;
}

/* --- ending flows --------------------------------------------------------------- */

/* End a source's flows: all of them, or those of one interface. */
static void purge_source(struct engine *e, struct source *source, uint16_t iface)
{
	for (unsigned int rank = 0; rank < FLOW_RANKS; rank++) {
		uint32_t index = source->owner.ranks[rank].head, next;

		for (; index != FLOW_NONE; index = next) {
			const struct flow *flow = &e->table.flows[index];

			next = flow->link[LIST_RANK].next;
			if (iface == PORT_NONE || flow->iface == iface)
				engine_flow_end(e, index);
		}
	}
}

/* No flow may lead to an address that is a client's now (Q3, Q10). */
static void purge_remote(struct engine *e, uint32_t raw4)
{
	struct ipkey addr = ipkey4(raw4);

	for (uint32_t i = 0; i < e->table.fresh; i++) {
		const struct flow *flow = &e->table.flows[i];

		if (flow->state != FLOW_FREE && flow->family == 4 &&
		    ipkey_equal(&flow->remote, &addr))
			engine_flow_end(e, i);
	}
}

static void purge_all(struct engine *e)
{
	for (unsigned int i = 0; i < ENGINE_SOURCE_MAX; i++)
		if (e->sources[i].used)
			purge_source(e, &e->sources[i], PORT_NONE);
}

/* --- sources ---------------------------------------------------------------------- */

static void index_rebuild(struct engine *e)
{
	for (unsigned int i = 0; i < SOURCE_SLOTS; i++)
		e->source_index[i] = SOURCE_NONE;
	for (uint16_t i = 0; i < ENGINE_SOURCE_MAX; i++) {
		uint32_t slot;

		if (!e->sources[i].used || !e->sources[i].raw4)
			continue;
		slot = source_slot(e, e->sources[i].raw4);
		while (e->source_index[slot] != SOURCE_NONE)
			slot = (slot + 1) & (SOURCE_SLOTS - 1);
		e->source_index[slot] = i;
	}
}

static uint16_t source_find(const struct engine *e, const struct addr *addr)
{
	for (uint16_t i = 0; i < ENGINE_SOURCE_MAX; i++)
		if (e->sources[i].used && addr_equal(&e->sources[i].addr, addr))
			return i;
	return SOURCE_NONE;
}

/* The source of an address, made if there is none; SOURCE_NONE: no slot left. */
static uint16_t source_get(struct engine *e, const struct addr *addr)
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
	source->raw4 = raw4_of(addr);
	flow_owner_init(&source->owner);
	index_rebuild(e);
	if (source->raw4)
		purge_remote(e, source->raw4);
	return index;
}

static void source_drop_policy(struct source *source)
{
	policy_free(&source->policy_owned);
	source->policy = NULL;
	free(source->hits);
	source->hits = NULL;
	source->hit_count = 0;
}

static void source_release(struct engine *e, struct source *source)
{
	if (source->ifaces > 0 || source->known)
		return;
	purge_source(e, source, PORT_NONE);
	source_drop_policy(source);
	source->used = false;
	index_rebuild(e);
}

int engine_source_set(struct engine *e, const struct addr *addr, struct policy *policy, bool bump)
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
	if (bump)
		memset(source->special_hits, 0, sizeof(source->special_hits));
	else if (rules && source->hit_count == rules)
		memcpy(hits, source->hits, rules * sizeof(*hits));
	source_drop_policy(source);
	source->policy_owned = policy;
	source->policy = policy;
	source->hits = hits;
	source->hit_count = rules;
	source->known = true;
	if (bump) {
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
	purge_source(e, source, PORT_NONE);
	source_drop_policy(source);
	memset(source->special_hits, 0, sizeof(source->special_hits));
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

/* --- interfaces --------------------------------------------------------------------- */

static void client_detach(struct engine *e, uint16_t id)
{
	struct iface *iface = &e->ifaces[id];
	struct source *source;

	if (iface->source == SOURCE_NONE)
		return;
	source = &e->sources[iface->source];
	purge_source(e, source, id); /* Q7, Q12: its own, not the other vif's */
	iface->source = SOURCE_NONE;
	source->ifaces--;
	source_release(e, source);
}

static int client_attach(struct engine *e, uint16_t id, const struct addr *ip4)
{
	struct iface *iface = &e->ifaces[id];
	uint16_t source;

	if (ip4->family != 4)
		return 0; /* Q1: without an address everything it sends is wrong */
	source = source_get(e, ip4);
	if (source == SOURCE_NONE)
		return -ENOSPC;
	e->sources[source].ifaces++;
	iface->source = source;
	return 0;
}

/* Ask for the gateway's MAC afresh; until it answers, the Qubes default. */
static void gateway_reset(struct engine *e, struct iface *up)
{
	memcpy(up->gateway_mac, arp_backend_mac, 6);
	up->arp_asked = false;
	up->arp_at = e->clock;
}

/* The uplink in use: the one we have while its link is up, else one that is. */
static void choose_uplink(struct engine *e)
{
	uint16_t best = e->uplink;

	if (best != PORT_NONE && e->ifaces[best].conf.kind != IFACE_UPLINK)
		best = PORT_NONE;
	for (uint16_t i = 0; i < ENGINE_IFACE_MAX; i++) {
		const struct iface *iface = &e->ifaces[i];

		if (iface->conf.kind != IFACE_UPLINK)
			continue;
		if (best == PORT_NONE || (iface->link && !e->ifaces[best].link))
			best = i;
	}
	e->uplink = best;
	if (best == PORT_NONE || !e->ifaces[best].ip4 || e->ifaces[best].ip4 == e->nat4)
		return;
	if (e->nat4)
		purge_all(e); /* their translation is not ours any more */
	e->nat4 = e->ifaces[best].ip4;
}

static void iface_reset(struct engine *e, uint16_t id)
{
	client_detach(e, id);
	memset(&e->ifaces[id], 0, sizeof(e->ifaces[id]));
	e->ifaces[id].source = SOURCE_NONE;
}

int engine_iface_set(struct engine *e, uint16_t id, const struct engine_iface *conf)
{
	struct iface *iface;
	int err;

	if (id >= ENGINE_IFACE_MAX || conf->kind == IFACE_NONE)
		return -EINVAL;
	iface = &e->ifaces[id];
	if (iface->conf.kind != conf->kind)
		iface_reset(e, id);
	if (conf->kind != IFACE_UPLINK &&
	    (iface->source == SOURCE_NONE || iface->ip4 != raw4_of(&conf->ip4))) {
		client_detach(e, id);
		err = client_attach(e, id, &conf->ip4);
		if (err) {
			iface_reset(e, id);
			return err;
		}
	}
	if (conf->kind == IFACE_UPLINK &&
	    (iface->conf.kind == IFACE_NONE || iface->ip4 != raw4_of(&conf->ip4) ||
	     iface->gateway4 != raw4_of(&conf->gateway4) ||
	     memcmp(iface->conf.mac, conf->mac, 6) != 0)) {
		gateway_reset(e, iface);
		iface->announce = true;
	}
	iface->conf = *conf;
	iface->ip4 = raw4_of(&conf->ip4);
	iface->gateway4 = raw4_of(&conf->gateway4);
	iface->mtu = conf->mtu ? conf->mtu : MTU_DEFAULT;
	choose_uplink(e);
	return 0;
}

void engine_iface_clear(struct engine *e, uint16_t id)
{
	if (id >= ENGINE_IFACE_MAX)
		return;
	iface_reset(e, id);
	choose_uplink(e);
}

void engine_iface_link(struct engine *e, uint16_t id, bool up)
{
	struct iface *iface;

	if (id >= ENGINE_IFACE_MAX || e->ifaces[id].conf.kind == IFACE_NONE)
		return;
	iface = &e->ifaces[id];
	if (iface->link == up)
		return;
	iface->link = up;
	if (iface->conf.kind == IFACE_UPLINK && up) {
		/* perhaps another machine than before */
		gateway_reset(e, iface);
		iface->announce = true;
	}
	choose_uplink(e);
}

uint16_t engine_uplink_in_use(const struct engine *e)
{
	return e->uplink;
}

/* --- life ------------------------------------------------------------------------------ */

int engine_new(struct engine **out, const struct engine_config *config)
{
	struct engine *e = aligned_alloc(64, (sizeof(*e) + 63) & ~(size_t)63);
	int err;

	if (!e)
		return -ENOMEM;
	memset(e, 0, sizeof(*e));
	err = flow_table_init(&e->table, config->flow_max ? config->flow_max : 65536,
			      config->hash_key);
	if (err) {
		free(e);
		return err;
	}
	rng_init(&e->rng, config->rng_seed);
	e->index_salt = rng_u32(&e->rng);
	e->clock = 1000; /* limits start full: a second has passed since their zero */
	e->uplink = PORT_NONE;
	for (unsigned int i = 0; i < ENGINE_IFACE_MAX; i++)
		e->ifaces[i].source = SOURCE_NONE;
	index_rebuild(e);
	e->stats.flow_max = e->table.flow_max;
	e->stats.bytes_per_flow = FLOW_BYTES;
	*out = e;
	return 0;
}

void engine_free(struct engine **e)
{
	if (!*e)
		return;
	for (unsigned int i = 0; i < ENGINE_SOURCE_MAX; i++)
		source_drop_policy(&(*e)->sources[i]);
	flow_table_fini(&(*e)->table);
	free(*e);
	*e = NULL;
}
