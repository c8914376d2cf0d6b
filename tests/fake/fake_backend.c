/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/fake/fake_backend.h"

#include <stdio.h>
#include <stdlib.h>

static uint32_t get(struct fake_backend *b, const char *dir, const char *node)
{
	char path[192];
	const char *value;

	snprintf(path, sizeof(path), "%s/%s", dir, node);
	value = fake_store_get(b->f, path);
	return value ? (uint32_t)strtoul(value, NULL, 10) : 0;
}

static void set(struct fake_backend *b, const char *dir, const char *node, const char *value)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/%s", dir, node);
	fake_store_set(b->f, path, "%s", value);
}

static void set_u32(struct fake_backend *b, const char *dir, const char *node, uint32_t value)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", value);
	set(b, dir, node, text);
}

static void complain(struct fake_backend *b, const char *what)
{
	b->errors++;
	b->error = what;
}

void fake_backend_plug(struct fake_backend *b, struct fake *f, uint16_t domid, uint16_t devid,
		       const char *mac)
{
	uint16_t us = fake_xen(f)->domid;

	*b = (struct fake_backend){ .f = f, .domid = domid, .devid = devid };
	snprintf(b->be, sizeof(b->be), "/local/domain/%u/backend/vif/%u/%u", domid, us, devid);
	snprintf(b->fe, sizeof(b->fe), "/local/domain/%u/device/vif/%u", us, devid);
	set_u32(b, b->be, "frontend-id", us);
	set_u32(b, b->be, "online", 1);
	set_u32(b, b->be, "state", 1);
	set(b, b->be, "mac", mac);
	set_u32(b, b->fe, "backend-id", domid);
	set(b, b->fe, "mac", mac);
	set_u32(b, b->fe, "handle", devid);
	set(b, b->fe, "backend", b->be);
	set_u32(b, b->fe, "state", 1);
}

void fake_backend_offer(struct fake_backend *b, const struct fake_backend_config *config)
{
	b->config = *config;
	set_u32(b, b->be, "feature-rx-copy", !config->no_rx_copy);
	set_u32(b, b->be, "feature-rx-flip", 0);
	set_u32(b, b->be, "feature-sg", !config->no_sg);
	set_u32(b, b->be, "feature-gso-tcpv4", !config->no_gso4);
	set_u32(b, b->be, "feature-gso-tcpv6", !config->no_gso6);
	set_u32(b, b->be, "feature-ipv6-csum-offload", !config->no_ipv6_csum);
	set_u32(b, b->be, "feature-split-event-channels", !config->no_split);
	if (config->no_csum_offload)
		set_u32(b, b->be, "feature-no-csum-offload", 1);
	if (config->multi_queue)
		set_u32(b, b->be, "multi-queue-max-queues", 4);
	fake_backend_state(b, 2);
}

int fake_backend_connect(struct fake_backend *b)
{
	bool writable = false;
	void *tx = fake_shared(b->f, b->domid, get(b, b->fe, "tx-ring-ref"), &writable);
	void *rx;

	if (!tx || !writable)
		return -EINVAL;
	rx = fake_shared(b->f, b->domid, get(b, b->fe, "rx-ring-ref"), &writable);
	if (!rx || !writable || get(b, b->fe, "request-rx-copy") != 1)
		return -EINVAL;
	if (ring_back_attach(&b->tx, tx, RING_SLOT_TX) ||
	    ring_back_attach(&b->rx, rx, RING_SLOT_RX))
		return -EPROTO;
	b->tx_port = fake_port_bind(b->f, b->domid, get(b, b->fe, b->config.no_split ?
							"event-channel" : "event-channel-tx"));
	b->rx_port = b->config.no_split ? b->tx_port :
		     fake_port_bind(b->f, b->domid, get(b, b->fe, "event-channel-rx"));
	if (!b->tx_port || !b->rx_port)
		return -ENXIO;
	b->nheld = 0;
	b->connected = true;
	return 0;
}

void fake_backend_disconnect(struct fake_backend *b)
{
	if (!b->connected)
		return;
	fake_port_close(b->f, b->domid, b->tx_port);
	if (b->rx_port != b->tx_port)
		fake_port_close(b->f, b->domid, b->rx_port);
	b->connected = false;
}

void fake_backend_state(struct fake_backend *b, unsigned int state)
{
	set_u32(b, b->be, "state", state);
}

unsigned int fake_backend_front_state(struct fake_backend *b)
{
	return get(b, b->fe, "state");
}

/* --- from the frontend ----------------------------------------------------------- */

static void hold_request(struct fake_backend *b, uint16_t id, int16_t status)
{
	b->held[b->nheld++] = (struct ring_tx_rsp){ .id = id, .status = status };
}

static size_t take_bytes(struct fake_backend *b, const struct ring_tx_req *req, uint32_t len,
			 uint8_t *buf, size_t size)
{
	bool writable = true;
	const uint8_t *page = fake_shared(b->f, b->domid, req->gref, &writable);

	if (!page)
		complain(b, "a grant reference that is none");
	else if (writable)
		complain(b, "a transmit page that we could write to");
	else if ((uint32_t)req->offset + len > RING_PAGE)
		complain(b, "a request that crosses its page");
	else if (len > size)
		complain(b, "more than the total");
	else
		memcpy(buf, page + req->offset, len);
	return len;
}

static void take_extra(struct fake_backend *b, uint32_t idx, struct fake_backend_meta *meta)
{
	uint8_t slot[RING_SLOT_TX];
	struct ring_extra extra;

	ring_back_get(&b->tx, idx, slot, sizeof(slot));
	memcpy(&extra, slot, sizeof(extra));
	if (extra.type != RING_EXTRA_GSO || extra.flags || extra.gso_size == 0 ||
	    extra.gso_type < 1 || extra.gso_type > 2)
		complain(b, "a bad extra slot");
	meta->gso_type = extra.gso_type;
	meta->gso_size = extra.gso_size;
	if (slot[8] | slot[9] | slot[10] | slot[11])
		complain(b, "bytes of the ring that were not zeroed");
}

long fake_backend_take(struct fake_backend *b, uint8_t *buf, size_t size,
		       struct fake_backend_meta *meta, bool hold)
{
	struct fake_backend_meta ignored;
	struct ring_tx_req req, frag[24];
	uint32_t avail, rest;
	size_t at;
	unsigned int i, n = 0, extras = 0, errors = b->errors;

	if (!meta)
		meta = &ignored;
	memset(meta, 0, sizeof(*meta));
	if (ring_back_avail(&b->tx, &avail) || avail == 0)
		return 0;
	b->kicks += fake_port_taken(b->f, b->domid, b->tx_port);
	ring_back_get(&b->tx, b->tx.req_cons++, &req, sizeof(req));
	hold_request(b, req.id, RING_STATUS_OKAY);
	avail--;
	meta->flags = req.flags & (RING_TX_CSUM_BLANK | RING_TX_DATA_VALIDATED);
	if (req.flags & RING_EXTRA_INFO) {
		if (avail-- == 0)
			return complain(b, "an extra slot is missing"), -1;
		take_extra(b, b->tx.req_cons++, meta);
		extras = 1;
	}
	rest = req.size;
	for (frag[0] = req; req.flags & RING_MORE_DATA; rest -= req.size) {
		if (avail-- == 0 || ++n == 24)
			return complain(b, "a chain that does not end"), -1;
		ring_back_get(&b->tx, b->tx.req_cons++, &req, sizeof(req));
		hold_request(b, req.id, RING_STATUS_OKAY);
		frag[n] = req;
		if (req.size > rest || req.size == 0)
			return complain(b, "a slot larger than the packet, or empty"), -1;
	}
	if (n + 1 > 18)
		complain(b, "more than 18 slots");
	if (meta->gso_type && !(meta->flags & RING_TX_CSUM_BLANK))
		complain(b, "GSO without csum_blank");
	at = take_bytes(b, &frag[0], rest, buf, size);
	meta->size[0] = (uint16_t)rest;
	for (i = 1; i <= n && b->errors == errors; i++) {
		at += take_bytes(b, &frag[i], frag[i].size, buf + at, size - at);
		meta->size[i] = frag[i].size;
	}
	meta->slots = n + 1;
	if (extras)
		hold_request(b, 0, RING_STATUS_NULL);
	if (!hold)
		fake_backend_answer(b, b->nheld);
	return b->errors == errors ? (long)at : -1;
}

void fake_backend_answer(struct fake_backend *b, unsigned int n)
{
	uint32_t prod = b->tx.rsp_prod;

	for (; n && b->nheld; n--)
		ring_back_put(&b->tx, prod++, &b->held[--b->nheld], sizeof(b->held[0]));
	if (prod != b->tx.rsp_prod && ring_back_push(&b->tx, prod))
		fake_port_send(b->f, b->domid, b->tx_port);
}

void fake_backend_raw_tx(struct fake_backend *b, uint16_t id, int16_t status)
{
	struct ring_tx_rsp rsp = { .id = id, .status = status };

	ring_back_put(&b->tx, b->tx.rsp_prod, &rsp, sizeof(rsp));
	if (ring_back_push(&b->tx, b->tx.rsp_prod + 1))
		fake_port_send(b->f, b->domid, b->tx_port);
}

/* --- to the frontend ------------------------------------------------------------- */

unsigned int fake_backend_posted(struct fake_backend *b)
{
	uint32_t avail = 0;

	if (ring_back_avail(&b->rx, &avail))
		complain(b, "an impossible number of receive requests");
	return avail;
}

uint8_t *fake_backend_rx_page(struct fake_backend *b, unsigned int ahead)
{
	struct ring_rx_req req;
	bool writable = false;
	uint8_t *page;

	ring_back_get(&b->rx, b->rx.req_cons + ahead, &req, sizeof(req));
	page = fake_shared(b->f, b->domid, req.gref, &writable);
	if (!page || !writable)
		complain(b, "a receive request without a page");
	return page;
}

static void rx_push(struct fake_backend *b)
{
	if (ring_back_push(&b->rx, b->rx.req_cons))
		fake_port_send(b->f, b->domid, b->rx_port);
}

void fake_backend_raw_rx(struct fake_backend *b, const struct ring_rx_rsp *rsp, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		ring_back_put(&b->rx, b->rx.req_cons++, &rsp[i], sizeof(rsp[i]));
	rx_push(b);
}

static size_t slot_size(const uint16_t **split, size_t left)
{
	size_t n = RING_PAGE;

	if (*split && **split)
		n = *(*split)++;
	return n < left ? n : left;
}

static size_t slots_needed(size_t len, const uint16_t *split)
{
	size_t n = 0;

	for (; len; n++)
		len -= slot_size(&split, len);
	return n;
}

bool fake_backend_give(struct fake_backend *b, const uint8_t *data, size_t len,
		       const struct fake_backend_meta *meta, const uint16_t *split)
{
	size_t need = slots_needed(len, split) + (meta && meta->gso_type), at = 0;

	if (fake_backend_posted(b) < need)
		return false;
	while (at < len) {
		struct ring_rx_rsp rsp = { 0 };
		size_t n = slot_size(&split, len - at);
		struct ring_rx_req req;
		uint8_t *page = fake_backend_rx_page(b, 0);

		if (!page)
			return false;
		memcpy(page, data + at, n);
		ring_back_get(&b->rx, b->rx.req_cons, &req, sizeof(req));
		rsp.id = req.id;
		rsp.status = (int16_t)n;
		rsp.flags = at + n < len ? RING_MORE_DATA : 0;
		if (at == 0 && meta)
			rsp.flags |= meta->flags | (meta->gso_type ? RING_EXTRA_INFO : 0);
		ring_back_put(&b->rx, b->rx.req_cons++, &rsp, sizeof(rsp));
		if (at == 0 && meta && meta->gso_type) {
			struct ring_extra extra = { .type = RING_EXTRA_GSO,
						    .gso_size = meta->gso_size,
						    .gso_type = meta->gso_type };

			ring_back_put(&b->rx, b->rx.req_cons++, &extra, sizeof(extra));
		}
		at += n;
	}
	rx_push(b);
	return true;
}
