// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The scripted frontend: see front.h.
 */
#include "tests/fake/front.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- toolstack ---------------------------------------------------------------- */
void front_plug(struct front *fr, struct fake *f, uint16_t domid, uint16_t devid, const char *ip)
{
	unsigned int self = fake_xen(f)->domid;
	char path[192];

	*fr = (struct front){.f = f, .domid = domid, .devid = devid};
	snprintf(fr->be, sizeof(fr->be), "/local/domain/%u/backend/vif/%u/%u", self, domid, devid);
	snprintf(fr->fe, sizeof(fr->fe), "/local/domain/%u/device/vif/%u", domid, devid);
	snprintf(fr->mac, sizeof(fr->mac), "00:16:3e:5e:%02x:%02x", domid & 0xff, devid & 0xff);
#define NODE(dir, name, ...)                                                                       \
	do {                                                                                       \
		snprintf(path, sizeof(path), "%s/" name, dir);                                     \
		fake_store_set(f, path, __VA_ARGS__);                                              \
	} while (0)
	NODE(fr->fe, "backend", "%s", fr->be);
	NODE(fr->fe, "backend-id", "%u", self);
	NODE(fr->fe, "handle", "%u", devid);
	NODE(fr->fe, "mac", "%s", fr->mac);
	NODE(fr->fe, "trusted", "0");
	NODE(fr->fe, "state", "1");
	NODE(fr->be, "frontend", "%s", fr->fe);
	NODE(fr->be, "frontend-id", "%u", domid);
	NODE(fr->be, "online", "1");
	NODE(fr->be, "script", "/etc/xen/scripts/vif-bridge");
	NODE(fr->be, "mac", "%s", fr->mac);
	NODE(fr->be, "ip", "%s", ip);
	NODE(fr->be, "handle", "%u", devid);
	NODE(fr->be, "type", "vif");
	NODE(fr->be, "hotplug-status", "%s", "");
	NODE(fr->be, "state", "1");
}

static void front_node(struct front *fr, const char *name, const char *value)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/%s", fr->fe, name);
	if (value)
		fake_store_set(fr->f, path, "%s", value);
	else
		fake_store_del(fr->f, path);
}

static void front_number(struct front *fr, const char *name, uint32_t value)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", value);
	front_node(fr, name, text);
}

static unsigned int state_at(const struct front *fr, const char *dir)
{
	char path[192];
	const char *value;

	snprintf(path, sizeof(path), "%s/state", dir);
	value = fake_store_get(fr->f, path);
	return value ? (unsigned int)strtoul(value, NULL, 10) : 0;
}

unsigned int front_state(const struct front *fr)
{
	return state_at(fr, fr->fe);
}

unsigned int front_be_state(const struct front *fr)
{
	return state_at(fr, fr->be);
}

void front_set_state(struct front *fr, unsigned int state)
{
	front_number(fr, "state", state);
}

void front_detach(struct front *fr)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/online", fr->be);
	fake_store_set(fr->f, path, "0");
	if (front_be_state(fr) == 6)
		return; /* libxl leaves a closed one */
	snprintf(path, sizeof(path), "%s/state", fr->be);
	fake_store_set(fr->f, path, "5");
}

/* --- connect -------------------------------------------------------------------- */
static void ring_begin(struct front *fr, struct ring_front *r, void **page, uint32_t *gref,
		       size_t slot)
{
	uint32_t at = fr->config.start_index;

	*page = fake_page_new(fr->f);
	*gref = fake_grant(fr->f, fr->domid, *page, false);
	ring_front_init(r, *page, slot);
	ring_store(r->page, RING_W_REQ_PROD, at);
	ring_store(r->page, RING_W_RSP_PROD, at);
	ring_store(r->page, RING_W_REQ_EVENT, at + 1);
	ring_store(r->page, RING_W_RSP_EVENT, at + 1);
	r->req_prod = r->req_pushed = r->rsp_cons = at;
}

/* Pages and grants come when a buffer is first used: a test of 128 frontends
 * needs few of them. Reference 0 is none. */
static void buf_ready(struct front *fr, struct front_buf *b, bool readonly)
{
	if (!b->page)
		b->page = fake_page_new(fr->f);
	if (!b->gref)
		b->gref = fake_grant(fr->f, fr->domid, b->page, readonly);
}

void front_connect(struct front *fr, const struct front_config *config)
{
	static const struct front_config linux_like;

	fr->config = config ? *config : linux_like;
	ring_begin(fr, &fr->tx, &fr->tx_page, &fr->tx_gref, RING_SLOT_TX);
	ring_begin(fr, &fr->rx, &fr->rx_page, &fr->rx_gref, RING_SLOT_RX);
	for (size_t i = 0; i < RING_SLOTS; i++) {
		fr->tx_buf[i].gref = fr->rx_buf[i].gref = 0;
		fr->tx_buf[i].busy = fr->rx_buf[i].busy = false;
	}
	fr->tx_port = fake_port_new(fr->f, fr->domid);
	fr->rx_port = fr->config.single_channel ? fr->tx_port : fake_port_new(fr->f, fr->domid);
	front_number(fr, "tx-ring-ref", fr->tx_gref);
	front_number(fr, "rx-ring-ref", fr->rx_gref);
	if (fr->config.single_channel) {
		front_number(fr, "event-channel", fr->tx_port);
	} else {
		front_number(fr, "event-channel-tx", fr->tx_port);
		front_number(fr, "event-channel-rx", fr->rx_port);
	}
	front_node(fr, "request-rx-copy", fr->config.no_rx_copy ? NULL : "1");
	front_node(fr, "feature-rx-notify", fr->config.no_rx_notify ? NULL : "1");
	front_node(fr, "feature-sg", fr->config.no_sg ? NULL : "1");
	front_node(fr, "feature-gso-tcpv4", fr->config.no_gso ? NULL : "1");
	front_node(fr, "feature-gso-tcpv6", fr->config.no_gso ? NULL : "1");
	front_node(fr, "feature-ipv6-csum-offload", fr->config.no_ipv6_csum ? NULL : "1");
	front_node(fr, "feature-no-csum-offload", fr->config.no_csum_offload ? "1" : NULL);
	front_post(fr, fr->config.rx_post ? fr->config.rx_post : RING_SLOTS);
	front_set_state(fr, 4);
}

void front_disconnect(struct front *fr)
{
	static const char *const nodes[] = {
		"tx-ring-ref",	    "rx-ring-ref",	 "event-channel",
		"event-channel-tx", "event-channel-rx", "request-rx-copy",
	};

	fake_revoke(fr->f, fr->domid, fr->tx_gref);
	fake_revoke(fr->f, fr->domid, fr->rx_gref);
	for (size_t i = 0; i < RING_SLOTS; i++) {
		fake_revoke(fr->f, fr->domid, fr->tx_buf[i].gref);
		fake_revoke(fr->f, fr->domid, fr->rx_buf[i].gref);
	}
	fake_port_close(fr->f, fr->domid, fr->tx_port);
	if (fr->rx_port != fr->tx_port)
		fake_port_close(fr->f, fr->domid, fr->rx_port);
	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
		front_node(fr, nodes[i], NULL);
}

/* --- transmit --------------------------------------------------------------------- */
struct front_buf *front_buf(struct front *fr, uint16_t *id)
{
	for (uint16_t i = 0; i < RING_SLOTS; i++)
		if (!fr->tx_buf[i].busy) {
			buf_ready(fr, &fr->tx_buf[i], true);
			*id = i;
			return &fr->tx_buf[i];
		}
	return NULL;
}

static void tx_kick(struct front *fr)
{
	if (ring_front_push(&fr->tx))
		fake_port_send(fr->f, fr->domid, fr->tx_port);
}

void front_raw(struct front *fr, const struct ring_tx_req *slot, size_t n)
{
	for (size_t i = 0; i < n; i++)
		ring_front_put(&fr->tx, fr->tx.req_prod++, &slot[i], sizeof(slot[i]));
	tx_kick(fr);
}

static void tx_forget(struct front *fr, const struct ring_tx_req *req, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fr->tx_buf[req[i].id].busy = false;
}

bool front_send(struct front *fr, const struct front_packet *p)
{
	size_t done = 0, slots = 0;
	uint32_t first = fr->tx.req_prod;
	struct ring_tx_req req[RING_SLOTS];

	do {
		size_t off = slots == 0 ? p->offset : 0;
		size_t n = slots < p->nsplit ? p->split[slots] : XEN_PAGE - off;
		struct front_buf *b;
		uint16_t id;

		if (n > p->len - done)
			n = p->len - done;
		b = front_buf(fr, &id);
		if (!b) {
			tx_forget(fr, req, slots);
			return false;
		}
		memcpy(b->page + off, p->data + done, n);
		b->busy = true;
		req[slots++] = (struct ring_tx_req){.gref = b->gref,
						    .offset = (uint16_t)off,
						    .id = id,
						    .size = (uint16_t)n,
						    .flags = RING_MORE_DATA};
		done += n;
	} while (done < p->len);
	req[slots - 1].flags = 0;
	req[0].flags |= p->flags | (p->gso_type ? RING_EXTRA_INFO : 0);
	req[0].size = (uint16_t)p->len;
	if (ring_front_free(&fr->tx) < slots + (p->gso_type ? 1 : 0)) {
		tx_forget(fr, req, slots);
		return false;
	}
	for (size_t i = 0; i < slots; i++) {
		ring_front_put(&fr->tx, fr->tx.req_prod++, &req[i], sizeof(req[i]));
		if (fr->tx.req_prod == first + 1 && p->gso_type) {
			struct ring_extra e = {.type = RING_EXTRA_GSO,
					       .gso_size = p->gso_size,
					       .gso_type = p->gso_type};

			ring_front_put(&fr->tx, fr->tx.req_prod++, &e, sizeof(e));
		}
	}
	tx_kick(fr);
	return true;
}

unsigned int front_reap(struct front *fr)
{
	uint32_t n;

	if (ring_front_avail(&fr->tx, &n)) {
		fr->bad++;
		return 0;
	}
	for (uint32_t i = 0; i < n; i++) {
		struct ring_tx_rsp rsp;

		ring_front_get(&fr->tx, fr->tx.rsp_cons++, &rsp, sizeof(rsp));
		if (rsp.status == RING_STATUS_NULL) {
			fr->tx_null++;
			continue;
		}
		if (rsp.id >= RING_SLOTS || !fr->tx_buf[rsp.id].busy) {
			fr->bad++;
			continue;
		}
		fr->tx_buf[rsp.id].busy = false;
		fr->tx_okay += rsp.status == RING_STATUS_OKAY;
		fr->tx_error += rsp.status == RING_STATUS_ERROR;
		fr->tx_dropped += rsp.status == RING_STATUS_DROPPED;
	}
	/* as Linux does: the next event when half of what is out came back */
	ring_front_arm(&fr->tx, fr->tx.rsp_cons + ((fr->tx.req_prod - fr->tx.rsp_cons) >> 1) + 1);
	return n;
}

unsigned int front_in_flight(const struct front *fr)
{
	unsigned int n = 0;

	for (size_t i = 0; i < RING_SLOTS; i++)
		n += fr->tx_buf[i].busy;
	return n;
}

/* --- receive ------------------------------------------------------------------------ */
unsigned int front_post(struct front *fr, unsigned int n)
{
	unsigned int done = 0;

	for (; done < n && ring_front_free(&fr->rx) > 0; done++) {
		uint32_t at = fr->rx.req_prod & (RING_SLOTS - 1);
		struct ring_rx_req req = {.id = (uint16_t)at};

		buf_ready(fr, &fr->rx_buf[at], false);
		req.gref = fr->rx_buf[at].gref;
		fr->rx_buf[at].busy = true;
		ring_front_put(&fr->rx, fr->rx.req_prod++, &req, sizeof(req));
	}
	if (done && ring_front_push(&fr->rx) && !fr->config.no_rx_notify)
		fake_port_send(fr->f, fr->domid, fr->rx_port);
	return done;
}

unsigned int front_posted(const struct front *fr)
{
	return fr->rx.req_prod - fr->rx.rsp_cons;
}

/* One data response: its bytes to buf. */
static bool rx_data(struct front *fr, uint32_t idx, const struct ring_rx_rsp *rsp, uint8_t *buf,
		    size_t size, size_t *len)
{
	struct front_buf *b = &fr->rx_buf[idx & (RING_SLOTS - 1)];

	b->busy = false;
	if (rsp->id != (idx & (RING_SLOTS - 1)) || rsp->offset + rsp->status > XEN_PAGE) {
		fr->bad++;
		return false;
	}
	if (rsp->status < 0)
		return false;
	if ((size_t)rsp->status > size - *len) {
		fr->bad++;
		return false;
	}
	memcpy(buf + *len, b->page + rsp->offset, (size_t)rsp->status);
	*len += (size_t)rsp->status;
	return true;
}

long front_recv(struct front *fr, uint8_t *buf, size_t size, struct front_meta *meta, bool keep)
{
	struct front_meta m = {0};
	struct ring_rx_rsp rsp;
	struct ring_extra e = {0};
	uint32_t n, start = fr->rx.rsp_cons, idx = start;
	size_t len = 0;
	bool ok = true;

	if (ring_front_avail(&fr->rx, &n) || n == 0)
		return 0;
	do {
		if (idx - start == n) {
			fr->bad++; /* half a packet was published */
			return -1;
		}
		ring_front_get(&fr->rx, idx, &rsp, sizeof(rsp));
		if (m.slots++ == 0)
			m.flags = rsp.flags;
		ok &= rx_data(fr, idx++, &rsp, buf, size, &len);
		if (m.slots > 1 || !(rsp.flags & RING_EXTRA_INFO))
			continue;
		do {
			if (idx - start == n) {
				fr->bad++;
				return -1;
			}
			ring_front_get(&fr->rx, idx, &e, sizeof(e));
			fr->rx_buf[idx++ & (RING_SLOTS - 1)].busy = false;
			m.extras++;
			m.gso_type = e.type == RING_EXTRA_GSO ? e.gso_type : m.gso_type;
			m.gso_size = e.type == RING_EXTRA_GSO ? e.gso_size : m.gso_size;
		} while (e.flags & RING_EXTRA_MORE);
	} while (rsp.flags & RING_MORE_DATA);
	fr->rx.rsp_cons = idx;
	ring_front_arm(&fr->rx, idx + 1);
	if (meta)
		*meta = m;
	if (!keep)
		front_post(fr, m.slots + m.extras);
	if (!ok)
		fr->rx_failed++;
	return ok ? (long)len : -1;
}
