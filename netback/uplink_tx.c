/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames to the backend.
 *
 * 256 pages of ours, granted read-only for as long as we are connected; a
 * request's id is the number of its page. tx() lays a frame out over free pages:
 * header[] by memcpy, local payload by memcpy, granted payload by the copy
 * batch, straight from the sender's page. tx_flush() writes and pushes the
 * requests, except for frames with a failed copy, whose pages go back.
 *
 * Layout. Linux' netback copies the first 128 bytes of a packet and maps the
 * pages behind the rest, one by one, which is the dearest part of an upload. So
 * a packet longer than a page has 128 bytes of header in its first slot (copied,
 * not mapped), and each granted piece of payload, as the client's slots held
 * it, goes into one page: one copy op a piece, one map a page. Only when that
 * needs more than the 18 slots that a backend takes are pages filled to the
 * brim, which splits pieces; 64 KiB then need 17.
 *
 * A GSO frame that the backend does not take, or that is longer than the 16 bits of
 * a request can say, is cut (convert.c), all of it or nothing; each packet gets
 * pages of its own. A checksum that the backend does not complete is completed at
 * the end, in our pages, where nobody else writes.
 *
 * A page may hold more bytes of an earlier packet than the new one covers; they
 * are zeroed (hp_403_tail_zeroed).
 *
 * Responses may come in any order and are checked against what is in flight: an
 * id out of range, twice, or never sent, a NULL status without an extra slot, or
 * an impossible producer index ends the connection (hp_391_uplink_storm and
 * section 4 of hostile-peers.md, X7.7).
 */
#include "netback/uplink.h"
#include "netback/flat.h"
#include "netback/frame_csum.h"

#include <string.h>

#define TX_LEN_MAX 65535u /* the first request's 16-bit size is the total */
#define TX_PLACES (2 + FRAME_SEG_MAX + UPLINK_TX_SLOTS)
#define TX_HEADER UINT8_MAX /* place.seg: from header[] */

_Static_assert(FRAME_HEADER_MAX - UPLINK_HEAD <= XEN_PAGE && FRAME_HEADER_MAX <= XEN_PAGE,
	       "a piece of header[] fits a page");

/* A run of bytes: from a segment or header[], to a page of the packet. */
struct tx_place {
	uint32_t from;
	uint16_t to, len;
	uint8_t page, seg;
};

struct tx_plan {
	struct tx_place place[TX_PLACES];
	unsigned int nplaces, npages;
	uint16_t used[UPLINK_TX_SLOTS];
};

void uplink_tx_init(struct uplink *u)
{
	unsigned int i;

	u->tx_nfree = UPLINK_PAGES;
	u->tx_extras = 0;
	u->tx_need = 0;
	u->npackets = u->npieces = u->reserved = 0;
	for (i = 0; i < UPLINK_PAGES; i++) {
		u->tx_free[i] = (uint16_t)(UPLINK_PAGES - 1 - i);
		u->tx_flying[i] = false;
		u->tx_used[i] = 0;
	}
}

static uint8_t *tx_page(const struct uplink *u, unsigned int id)
{
	return u->tx_mem + (size_t)id * XEN_PAGE;
}

static void plan_add(struct tx_plan *p, uint8_t seg, uint32_t from, uint32_t len)
{
	uint16_t *used = &p->used[p->npages - 1];

	assert(p->nplaces < TX_PLACES && *used + len <= XEN_PAGE);
	p->place[p->nplaces++] = (struct tx_place){
		.page = (uint8_t)(p->npages - 1), .seg = seg, .from = from, .to = *used,
		.len = (uint16_t)len,
	};
	*used = (uint16_t)(*used + len);
}

/* Begin a page. False: that would be one too many. */
static bool plan_page(struct tx_plan *p)
{
	if (p->npages == UPLINK_TX_SLOTS)
		return false;
	p->used[p->npages++] = 0;
	return true;
}

/* One segment. A granted one of at most a page is kept whole unless @dense. */
static bool plan_seg(struct tx_plan *p, const struct frame *f, unsigned int seg, bool dense)
{
	uint32_t from = 0, left = f->seg[seg].len;
	bool whole = !dense && !f->seg[seg].local;

	while (left) {
		uint32_t room = XEN_PAGE - p->used[p->npages - 1], n;

		if (room == 0 || (whole && left > room)) {
			if (!plan_page(p))
				return false;
			room = XEN_PAGE;
		}
		n = left < room ? left : room;
		plan_add(p, (uint8_t)seg, from, n);
		from += n;
		left -= n;
	}
	return true;
}

/* Lay out the frame with @head bytes of header[] in the first page. */
static bool plan_try(struct tx_plan *p, const struct frame *f, uint32_t head, bool dense)
{
	unsigned int i;

	p->nplaces = 0;
	p->npages = 0;
	plan_page(p);
	if (head > f->header_len)
		head = f->header_len;
	if (head)
		plan_add(p, TX_HEADER, 0, head);
	if (head < f->header_len) {
		plan_page(p);
		plan_add(p, TX_HEADER, head, f->header_len - head);
	}
	for (i = 0; i < f->nseg; i++)
		if (!plan_seg(p, f, i, dense))
			return false;
	return true;
}

/* @part: of a GSO frame, with as many pages as convert_slots() says. */
static bool plan_frame(struct tx_plan *p, const struct frame *f, bool part)
{
	if (part || f->len <= XEN_PAGE) /* nothing to choose */
		return plan_try(p, f, f->header_len, true);
	return plan_try(p, f, UPLINK_HEAD, false) || plan_try(p, f, f->header_len, false) ||
	       plan_try(p, f, f->header_len, true);
}

/* Whether this backend can have the frame at all, and how. X3.7, X4.5 */
static int tx_check(const struct uplink *u, const struct frame *f, struct convert_need *need,
		    struct convert_cut *cut)
{
	const struct convert_can *can = &u->features.can;
	uint32_t longest = f->len;
	int err = frame_check(f) ? -EINVAL : convert_needed(f, can, TX_LEN_MAX, need);

	if (!err && need->cut) {
		err = convert_begin(cut, f);
		longest = err ? 0 : convert_len(cut, 0);
	}
	if (err)
		return err;
	return longest > TX_LEN_MAX || (!can->sg && longest > XEN_PAGE) ? -EMSGSIZE : 0;
}

static void tx_fill(struct uplink *u, const struct frame *f, const struct tx_plan *p,
		    const struct uplink_piece *piece, bool *failed, struct copy_batch *batch)
{
	unsigned int i;

	for (i = 0; i < p->nplaces; i++) {
		const struct tx_place *at = &p->place[i];
		uint8_t *dst = tx_page(u, piece[at->page].id) + at->to;
		const struct frame_seg *s;

		if (at->seg == TX_HEADER) {
			memcpy(dst, f->header + at->from, at->len);
			continue;
		}
		s = &f->seg[at->seg];
		if (s->local)
			memcpy(dst, (const uint8_t *)s->local + at->from, at->len);
		else
			copy_from_grant(batch, f->domid, s->gref, (uint16_t)(s->off + at->from),
					dst, at->len, failed);
	}
}

/* Lay one packet out over free pages: @f is @origin, or a part of it. */
static void tx_packet(struct uplink *u, struct frame *origin, const struct frame *f,
		      const struct tx_plan *plan, bool sum, struct copy_batch *batch)
{
	struct uplink_packet *pkt = &u->packet[u->npackets++];
	unsigned int i;

	*pkt = (struct uplink_packet){
		.frame = origin, .len = f->len, .piece = (uint16_t)u->npieces,
		.npieces = (uint16_t)plan->npages, .csum_start = f->csum_start,
		.csum_offset = f->csum_offset, .gso = f->gso, .gso_size = f->gso_size,
		.csum = sum ? CSUM_VALID : f->csum, .complete_csum = sum,
	};
	for (i = 0; i < plan->npages; i++) {
		struct uplink_piece *piece = &u->piece[u->npieces++];
		uint16_t id = u->tx_free[--u->tx_nfree], used = plan->used[i];

		piece->id = id;
		piece->used = used;
		if (u->tx_used[id] > used) /* hp_403_tail_zeroed */
			memset(tx_page(u, id) + used, 0, u->tx_used[id] - used);
		u->tx_used[id] = used;
	}
	u->reserved += plan->npages + (f->gso != GSO_NONE);
	tx_fill(u, f, plan, &u->piece[pkt->piece], &origin->copy_failed, batch);
}

/* Room for packets of so many pages and ring slots. */
static bool tx_has_room(struct uplink *u, uint32_t pages, uint32_t slots)
{
	if (u->npackets == 0 || ring_front_free(&u->tx) < u->reserved + slots)
		uplink_tx_reap(u); /* the pages used last are taken first */
	return ring_front_free(&u->tx) >= u->reserved + slots && u->tx_nfree >= pages;
}

static void tx_parts(struct uplink *u, struct frame *f, struct convert_cut *cut, bool sum,
		     struct copy_batch *batch)
{
	struct tx_plan plan;
	struct frame part;

	while (cut->next < cut->count) {
		bool fits;

		convert_next(cut, &part);
		fits = plan_frame(&plan, &part, true);
		assert(fits); /* densely, and not above TX_LEN_MAX */
		tx_packet(u, f, &part, &plan, sum, batch);
	}
}

int uplink_tx(struct port *port, struct frame *f, struct copy_batch *batch)
{
	struct uplink *u = uplink_of(port);
	struct convert_need need = { 0 };
	struct convert_cut cut;
	struct tx_plan plan;
	uint32_t pages = 0, slots;
	bool room;
	int err = u->connected && !u->broken ? tx_check(u, f, &need, &cut) : -ENETDOWN;

	if (!err && need.cut) {
		pages = convert_slots(&cut, XEN_PAGE);
		err = pages > UPLINK_PAGES ? -EMSGSIZE : 0;
	} else if (!err) {
		err = plan_frame(&plan, f, false) ? 0 : -EMSGSIZE;
		pages = err ? 0 : plan.npages;
	}
	if (err) {
		port->stats.tx_dropped++;
		return err;
	}
	slots = pages + (!need.cut && f->gso != GSO_NONE);
	room = tx_has_room(u, pages, slots);
	if (u->broken) {
		port->stats.tx_dropped++;
		return -ENETDOWN;
	}
	u->tx_need = room ? 0 : slots;
	if (!room)
		return -EAGAIN;
	if (need.cut)
		tx_parts(u, f, &cut, need.sum, batch);
	else
		tx_packet(u, f, f, &plan, need.sum, batch);
	return 0;
}

/* Where byte @at of the packet is in our pages. */
static uint8_t *tx_byte(const struct uplink *u, const struct uplink_packet *pkt, uint32_t at)
{
	const struct uplink_piece *piece = &u->piece[pkt->piece];

	while (at >= piece->used)
		at -= (piece++)->used;
	return tx_page(u, piece->id) + at;
}

/* Complete the checksum that the backend does not, over our own pages. */
static void tx_complete_csum(const struct uplink *u, const struct uplink_packet *pkt)
{
	uint32_t at = 0, start = pkt->csum_start, field = start + pkt->csum_offset;
	uint64_t sum = 0;
	uint16_t value;
	uint8_t csum[2];
	unsigned int i;

	for (i = 0; i < pkt->npieces; i++) {
		const struct uplink_piece *piece = &u->piece[pkt->piece + i];
		uint32_t skip = at < start ? start - at : 0;

		if (skip < piece->used)
			sum = csum_piece(tx_page(u, piece->id) + skip, piece->used - skip,
					 (at + skip - start) & 1, sum);
		at += piece->used;
	}
	value = csum_final(sum, pkt->csum_offset);
	memcpy(csum, &value, sizeof(csum));
	*tx_byte(u, pkt, field) = csum[0];
	*tx_byte(u, pkt, field + 1) = csum[1];
}

static void tx_put(struct uplink *u, const void *slot, size_t size)
{
	uint8_t zeroed[RING_SLOT_TX] = { 0 }; /* hp_216_no_leak_in_slots */

	memcpy(zeroed, slot, size);
	ring_front_put(&u->tx, u->tx.req_prod++, zeroed, sizeof(zeroed));
}

/* X4.3 */
static uint16_t tx_flags(const struct uplink_packet *pkt)
{
	uint16_t flags = pkt->gso != GSO_NONE ? RING_EXTRA_INFO : 0;

	if (pkt->csum == CSUM_PARTIAL)
		flags |= RING_TX_CSUM_BLANK | RING_TX_DATA_VALIDATED;
	else if (pkt->csum == CSUM_VALID)
		flags |= RING_TX_DATA_VALIDATED;
	return flags;
}

static void tx_request(struct uplink *u, const struct uplink_packet *pkt)
{
	unsigned int i;

	for (i = 0; i < pkt->npieces; i++) {
		const struct uplink_piece *piece = &u->piece[pkt->piece + i];
		struct ring_tx_req req = {
			.gref = u->tx_gref[piece->id],
			.id = piece->id,
			.size = i ? piece->used : (uint16_t)pkt->len,
			.flags = i + 1 < pkt->npieces ? RING_MORE_DATA : 0,
		};

		if (i == 0)
			req.flags |= tx_flags(pkt);
		u->tx_flying[piece->id] = true;
		tx_put(u, &req, sizeof(req));
		if (i == 0 && pkt->gso != GSO_NONE) {
			struct ring_extra extra = {
				.type = RING_EXTRA_GSO,
				.gso_size = pkt->gso_size,
				.gso_type = pkt->gso == GSO_TCPV4 ? RING_GSO_TCPV4 : RING_GSO_TCPV6,
			};

			tx_put(u, &extra, sizeof(extra));
			u->tx_extras++;
		}
	}
	port_count_tx(&u->port, pkt->len, pkt->gso != GSO_NONE, pkt->csum == CSUM_PARTIAL);
}

/* hp_361_partial_batch: this frame is lost, its pages hold what nobody is to
 * see, and the frames around it are sent. */
static void tx_undo(struct uplink *u, const struct uplink_packet *pkt)
{
	unsigned int i;

	for (i = pkt->npieces; i-- > 0;) {
		uint16_t id = u->piece[pkt->piece + i].id;

		memset(tx_page(u, id), 0, u->tx_used[id]);
		u->tx_used[id] = 0;
		u->tx_free[u->tx_nfree++] = id;
	}
	u->port.stats.tx_dropped++;
}

void uplink_tx_flush(struct port *port)
{
	struct uplink *u = uplink_of(port);
	unsigned int i;

	if (!u->connected)
		return;
	for (i = 0; i < u->npackets; i++) {
		const struct uplink_packet *pkt = &u->packet[i];

		if (pkt->frame->copy_failed || u->broken) {
			tx_undo(u, pkt);
			continue;
		}
		if (pkt->complete_csum)
			tx_complete_csum(u, pkt);
		tx_request(u, pkt);
	}
	u->npackets = u->npieces = u->reserved = 0;
	if (u->tx.req_prod == u->tx.req_pushed)
		return;
	if (ring_front_push(&u->tx)) {
		u->env->xen->ops->notify(u->env->xen, u->tx_evtchn);
		port->stats.notify_sent++;
	} else {
		port->stats.notify_suppressed++;
	}
}

void uplink_tx_reap(struct uplink *u)
{
	uint32_t n;

	if (ring_front_avail(&u->tx, &n)) {
		uplink_break(u, "transmit ring: impossible producer index");
		return;
	}
	for (; n; n--) {
		struct ring_tx_rsp rsp;

		ring_front_get(&u->tx, u->tx.rsp_cons++, &rsp, sizeof(rsp));
		if (rsp.status == RING_STATUS_NULL) {
			if (u->tx_extras == 0) {
				uplink_break(u, "transmit ring: answer to no extra slot");
				return;
			}
			u->tx_extras--;
			continue;
		}
		if (rsp.id >= UPLINK_PAGES || !u->tx_flying[rsp.id]) {
			uplink_break(u, "transmit ring: answer to no request");
			return;
		}
		u->tx_flying[rsp.id] = false;
		u->tx_free[u->tx_nfree++] = rsp.id;
	}
}

bool uplink_tx_arm(struct uplink *u)
{
	uint32_t need = UPLINK_TX_SLOTS + 1, flying, room, wait;

	uplink_tx_reap(u);
	if (u->broken)
		return false;
	room = ring_front_free(&u->tx);
	need = u->tx_need > need ? u->tx_need : need;
	if (room >= need)
		return true;
	/* room for what waits, and a few responses more in one event */
	flying = u->tx.req_prod - u->tx.rsp_cons;
	wait = need - room > flying / 4 ? need - room : flying / 4;
	return ring_front_arm(&u->tx, u->tx.rsp_cons + wait);
}
