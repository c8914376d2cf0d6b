// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Interfaces, and what happens to flows when one of them changes. All of this runs
 * between two batches.
 *
 * Flows belong to an address on the uplink, not to a device: an uplink that goes
 * and comes back with the same address (a restarted net qube) finds them as they
 * were; another address ends those of its family.
 */
#include "firewall/engine_impl.h"

#include <errno.h>
#include <stdlib.h>

static void purge_family(struct engine *e, enum fam fam)
{
	uint8_t family = fam == V6 ? 6 : 4;

	for (unsigned int i = 0; i < ENGINE_SOURCE_MAX; i++)
		if (e->sources[i].used && e->sources[i].family == family)
			source_purge(e, &e->sources[i], PORT_NONE);
}

/* --- clients ---------------------------------------------------------------------- */

/*
 * What each attached source is sure of (D2, N4): an eighth of the table is theirs,
 * in equal parts, and one sixty-fourth is enough for one.
 */
static void set_reserve(struct engine *e)
{
	uint32_t most = e->table.flow_max / 64, part;

	e->attached = 0;
	for (unsigned int i = 0; i < ENGINE_SOURCE_MAX; i++)
		e->attached += e->sources[i].used && e->sources[i].ifaces > 0;
	part = e->attached ? e->table.flow_max / 8 / e->attached : 0;
	e->reserve = part < most ? part : most;
}

static void client_detach(struct engine *e, uint16_t id, enum fam fam)
{
	struct iface *iface = &e->ifaces[id];
	struct source *source;

	if (iface->source[fam] == SOURCE_NONE)
		return;
	source = &e->sources[iface->source[fam]];
	source_purge(e, source, id); /* Q7, Q12: its own, not the other vif's */
	iface->source[fam] = SOURCE_NONE;
	source->ifaces--;
	source_release(e, source);
	set_reserve(e);
}

static int client_attach(struct engine *e, uint16_t id, enum fam fam, const struct addr *addr)
{
	uint16_t source;

	if (addr->family != (fam == V6 ? 6 : 4))
		return 0; /* Q1: without an address everything it sends is wrong */
	source = source_get(e, addr);
	if (source == SOURCE_NONE)
		return -ENOSPC;
	e->sources[source].ifaces++;
	e->ifaces[id].source[fam] = source;
	set_reserve(e);
	return 0;
}

/* Whether a client's packets of this family look as they did before. */
static bool client_same(const struct engine *e, const struct iface *iface, enum fam fam,
			const struct addr *real, const struct ipkey *wire)
{
	uint16_t source = iface->source[fam];

	if (real->family == 0)
		return source == SOURCE_NONE;
	return source != SOURCE_NONE && addr_equal(&e->sources[source].addr, real) &&
	       ipkey_equal(&iface->addr[fam], wire);
}

/* --- the uplink --------------------------------------------------------------------- */

/* Ask for the gateway's MAC afresh; until it answers, the Qubes default. */
static void neighbour_reset(struct engine *e, struct neighbour *n)
{
	memcpy(n->mac, arp_backend_mac, 6);
	n->asked = false;
	n->at = e->clock;
	n->announce = true;
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
	if (best == PORT_NONE)
		return;
	for (enum fam fam = V4; fam <= V6; fam++) {
		const struct ipkey *addr = &e->ifaces[best].addr[fam];

		if (ipkey_none(addr) || ipkey_equal(addr, &e->nat[fam]))
			continue;
		if (!ipkey_none(&e->nat[fam]))
			purge_family(e, fam); /* their translation is not ours any more */
		e->nat[fam] = *addr;
	}
}

static void smallest_mtu(struct engine *e)
{
	e->mtu_min = UINT32_MAX;
	for (unsigned int i = 0; i < ENGINE_IFACE_MAX; i++)
		if (e->ifaces[i].conf.kind != IFACE_NONE && e->ifaces[i].mtu < e->mtu_min)
			e->mtu_min = e->ifaces[i].mtu;
}

/* --- set and clear ------------------------------------------------------------------- */

void engine_iface_init(struct engine *e, uint16_t id)
{
	struct iface *iface = &e->ifaces[id];

	memset(iface, 0, sizeof(*iface));
	iface->source[V4] = iface->source[V6] = SOURCE_NONE;
	frag_owner_init(&iface->frags);
}

static void iface_reset(struct engine *e, uint16_t id)
{
	client_detach(e, id, V4);
	client_detach(e, id, V6);
	frag_purge(&e->frags, &e->ifaces[id].frags); /* Q7 */
	engine_iface_init(e, id);
}

static int set_client(struct engine *e, uint16_t id, const struct engine_iface *conf,
		      const struct ipkey wire[FAMS])
{
	const struct addr *real[FAMS] = { &conf->ip4, &conf->ip6 };

	for (enum fam fam = V4; fam <= V6; fam++) {
		int err;

		if (client_same(e, &e->ifaces[id], fam, real[fam], &wire[fam]))
			continue;
		client_detach(e, id, fam);
		frag_purge(&e->frags, &e->ifaces[id].frags);
		err = client_attach(e, id, fam, real[fam]);
		if (err)
			return err;
	}
	return 0;
}

static void set_uplink(struct engine *e, uint16_t id, const struct engine_iface *conf,
		       const struct ipkey addr[FAMS], const struct ipkey gateway[FAMS])
{
	struct iface *iface = &e->ifaces[id];
	bool anew = iface->conf.kind == IFACE_NONE || memcmp(iface->conf.mac, conf->mac, 6) != 0;

	for (enum fam fam = V4; fam <= V6; fam++)
		if (anew || !ipkey_equal(&iface->addr[fam], &addr[fam]) ||
		    !ipkey_equal(&iface->gateway[fam], &gateway[fam]))
			neighbour_reset(e, &iface->gateway_at[fam]);
}

int engine_iface_set(struct engine *e, uint16_t id, const struct engine_iface *conf)
{
	struct ipkey addr[FAMS] = { ipkey_of(&conf->ip4), ipkey_of(&conf->ip6) };
	struct ipkey gateway[FAMS] = { ipkey_of(&conf->gateway4), ipkey_of(&conf->gateway6) };
	struct iface *iface;
	bool moved;
	int err;

	if (id >= ENGINE_IFACE_MAX || conf->kind == IFACE_NONE)
		return -EINVAL;
	iface = &e->ifaces[id];
	if (iface->conf.kind != conf->kind)
		iface_reset(e, id);
	if (conf->kind == IFACE_UPLINK) {
		set_uplink(e, id, conf, addr, gateway);
	} else {
		if (conf->ip4.family == 4 && conf->visible4.family == 4 &&
		    !addr_equal(&conf->visible4, &conf->ip4)) {
			addr[V4] = ipkey_of(&conf->visible4); /* Q11 */
			addr[V6] = (struct ipkey){ { 0, 0 } };
		}
		err = set_client(e, id, conf, addr);
		if (err) {
			iface_reset(e, id);
			return err;
		}
	}
	iface->conf = *conf;
	moved = memcmp(iface->addr, addr, sizeof(addr)) != 0;
	memcpy(iface->addr, addr, sizeof(addr));
	memcpy(iface->gateway, gateway, sizeof(gateway));
	iface->mtu = conf->mtu == 0 ? MTU_DEFAULT : conf->mtu < MTU_MIN ? MTU_MIN : conf->mtu;
	smallest_mtu(e);
	if (moved)
		behind_rebuild(e);
	choose_uplink(e);
	return 0;
}

void engine_iface_clear(struct engine *e, uint16_t id)
{
	if (id >= ENGINE_IFACE_MAX)
		return;
	iface_reset(e, id);
	smallest_mtu(e);
	behind_rebuild(e);
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
		neighbour_reset(e, &iface->gateway_at[V4]);
		neighbour_reset(e, &iface->gateway_at[V6]);
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
			      config->hash_key, config->timeout_s);
	if (err == 0)
		err = frag_table_init(&e->frags, config->hash_key, config->frag_timeout_s);
	if (err) {
		engine_free(&e);
		return err;
	}
	rng_init(&e->rng, config->rng_seed);
	e->behind_salt = (uint64_t)rng_u32(&e->rng) << 32 | rng_u32(&e->rng);
	e->pass_ip_options = config->pass_ip_options;
	e->mss_clamp = !config->no_mss_clamp;
	e->inbound_refresh = !config->no_inbound_refresh;
	e->clock = 1000; /* limits start full: a second has passed since their zero */
	e->uplink = PORT_NONE;
	e->mtu_min = UINT32_MAX;
	for (uint16_t i = 0; i < ENGINE_IFACE_MAX; i++)
		engine_iface_init(e, i);
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
	frag_table_fini(&(*e)->frags);
	free((*e)->port_use);
	learn_free(&(*e)->learn);
	free(*e);
	*e = NULL;
}
