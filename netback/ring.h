/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The shared ring page: the only code that touches it.
 *
 * The peer owns the other end of this memory and may change any byte at any
 * moment, also between two of our reads (XSA-155). So nothing here hands out a
 * pointer into the page: indices are read once into a local, slots are copied by
 * value, one volatile 32-bit access a word, and the caller validates and uses
 * the copy only.
 *
 * One 4 KiB page: two producer and two event indices, padding up to byte 64, then
 * 256 slots which requests and responses share. Indices run freely over 32 bits;
 * they are compared by wrapped subtraction only, and slot = index & 255.
 *
 * struct ring_back is the view of the side that consumes requests, struct
 * ring_front of the side that produces them. A slot of the transmit ring has
 * 12 bytes, one of the receive ring 8 ("transmit" is the frontend's word).
 */
#ifndef NETBACK_RING_H
#define NETBACK_RING_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define RING_SLOTS 256
#define RING_PAGE 4096
#define RING_SLOT_TX 12
#define RING_SLOT_RX 8

/* The wire: constants of the protocol are defined here because the netif.h of
 * some distributions lacks or renumbers a few. */
#define RING_TX_CSUM_BLANK 1
#define RING_TX_DATA_VALIDATED 2
#define RING_RX_DATA_VALIDATED 1 /* bits 0 and 1 are swapped against TX */
#define RING_RX_CSUM_BLANK 2
#define RING_MORE_DATA 4  /* both rings */
#define RING_EXTRA_INFO 8 /* both rings */
#define RING_RX_GSO_PREFIX 16 /* obsolete */

#define RING_STATUS_OKAY 0
#define RING_STATUS_ERROR (-1)
#define RING_STATUS_DROPPED (-2)
#define RING_STATUS_NULL 1

#define RING_EXTRA_GSO 1
#define RING_EXTRA_MCAST_ADD 2
#define RING_EXTRA_MCAST_DEL 3
#define RING_EXTRA_HASH 4
#define RING_EXTRA_XDP 5
#define RING_EXTRA_MORE 1 /* flag */
#define RING_GSO_TCPV4 1
#define RING_GSO_TCPV6 2

#define RING_CHAIN_MAX 18   /* slots after the first: more is dropped */
#define RING_CHAIN_FATAL 20 /* more than these is not a driver at work */

struct ring_tx_req {
	uint32_t gref;
	uint16_t offset;
	uint16_t flags;
	uint16_t id;
	uint16_t size;
};

struct ring_tx_rsp {
	uint16_t id;
	int16_t status;
};

struct ring_rx_req {
	uint16_t id;
	uint16_t pad;
	uint32_t gref;
};

struct ring_rx_rsp {
	uint16_t id;
	uint16_t offset;
	uint16_t flags;
	int16_t status;
};

struct ring_extra {
	uint8_t type;
	uint8_t flags;
	uint16_t gso_size;
	uint8_t gso_type;
	uint8_t pad;
	uint16_t features;
};

static_assert(sizeof(struct ring_tx_req) == RING_SLOT_TX, "netif_tx_request");
static_assert(offsetof(struct ring_tx_req, id) == 8, "netif_tx_request.id");
static_assert(sizeof(struct ring_tx_rsp) == 4, "netif_tx_response");
static_assert(sizeof(struct ring_rx_req) == RING_SLOT_RX, "netif_rx_request");
static_assert(offsetof(struct ring_rx_req, gref) == 4, "netif_rx_request.gref");
static_assert(sizeof(struct ring_rx_rsp) == RING_SLOT_RX, "netif_rx_response");
static_assert(sizeof(struct ring_extra) == 8, "netif_extra_info");
static_assert(offsetof(struct ring_extra, gso_type) == 4, "netif_extra_info.gso");

/* Word offsets of the page's header. */
enum { RING_W_REQ_PROD, RING_W_REQ_EVENT, RING_W_RSP_PROD, RING_W_RSP_EVENT, RING_W_SLOTS = 16 };
static_assert(RING_W_SLOTS * 4 == 64, "slots start at byte 64");
static_assert(64 + RING_SLOTS * RING_SLOT_TX <= RING_PAGE, "a TX ring fits its page");

struct ring_back {
	volatile uint32_t *page;
	uint32_t slot_words;
	uint32_t req_cons; /* requests taken so far */
	uint32_t rsp_prod; /* responses published so far */
};

struct ring_front {
	volatile uint32_t *page;
	uint32_t slot_words;
	uint32_t req_prod; /* requests written so far, perhaps not yet pushed */
	uint32_t req_pushed;
	uint32_t rsp_cons; /* responses taken so far */
};

/* The index fields: once, whole, in order. */
static inline uint32_t ring_load(const volatile uint32_t *page, unsigned int word)
{
	return page[word];
}

static inline void ring_store(volatile uint32_t *page, unsigned int word, uint32_t value)
{
	page[word] = value;
}

static inline void ring_rmb(void)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
}

static inline void ring_wmb(void)
{
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

/* Store of an index before the load of the other side's: needs a real fence. */
static inline void ring_mb(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* hp_155_double_fetch: each word of the slot is read exactly once. */
static inline void ring_slot_get(const volatile uint32_t *page, uint32_t slot_words, uint32_t idx,
				 void *dst, size_t size)
{
	uint32_t copy[RING_SLOT_TX / 4];
	uint32_t at = RING_W_SLOTS + (idx & (RING_SLOTS - 1)) * slot_words;
	size_t words = size / 4;

	assert(size % 4 == 0 && words <= slot_words);
	for (size_t i = 0; i < words; i++)
		copy[i] = page[at + i];
	memcpy(dst, copy, size);
}

static inline void ring_slot_put(volatile uint32_t *page, uint32_t slot_words, uint32_t idx,
				 const void *src, size_t size)
{
	uint32_t copy[RING_SLOT_TX / 4];
	uint32_t at = RING_W_SLOTS + (idx & (RING_SLOTS - 1)) * slot_words;
	size_t words = size / 4;

	assert(size % 4 == 0 && words <= slot_words);
	memcpy(copy, src, size);
	for (size_t i = 0; i < words; i++)
		page[at + i] = copy[i];
}

/* Whether the step from old to new passed the index that the other side asked
 * to be told of. */
static inline bool ring_passed(uint32_t old, uint32_t new, uint32_t event)
{
	return (uint32_t)(new - event) < (uint32_t)(new - old);
}

/* --- the side that consumes requests -------------------------------------- */

/**
 * ring_back_attach() - begin on a page that the frontend has initialised
 * @slot_size:	RING_SLOT_TX or RING_SLOT_RX
 *
 * The page is never initialised here: where the frontend's indices stand is
 * where we go on.
 *
 * Return: 0, or -EPROTO when the indices cannot be right.
 */
static inline int ring_back_attach(struct ring_back *r, void *page, size_t slot_size)
{
	volatile uint32_t *p = page;
	uint32_t rsp = ring_load(p, RING_W_RSP_PROD);
	uint32_t req = ring_load(p, RING_W_REQ_PROD);

	if ((uint32_t)(req - rsp) > RING_SLOTS)
		return -EPROTO;
	*r = (struct ring_back){
		.page = p, .slot_words = slot_size / 4, .req_cons = rsp, .rsp_prod = rsp};
	return 0;
}

/**
 * ring_back_avail() - how many requests there are that were not taken yet
 *
 * The count is a snapshot: use it, do not ask again within a burst.
 *
 * Return: 0, or -EPROTO when the producer claims more than a ring holds
 * (hp_039_ring_garbage): do not read this ring again.
 */
static inline int ring_back_avail(const struct ring_back *r, uint32_t *count)
{
	uint32_t prod = ring_load(r->page, RING_W_REQ_PROD);

	ring_rmb();
	/* against the responses, not what was taken: a slot that was not
	 * answered yet is still ours */
	if ((uint32_t)(prod - r->rsp_prod) > RING_SLOTS ||
	    (uint32_t)(prod - r->rsp_prod) < (uint32_t)(r->req_cons - r->rsp_prod))
		return -EPROTO;
	*count = prod - r->req_cons;
	return 0;
}

/** ring_back_get() - copy the request at @idx out */
static inline void ring_back_get(const struct ring_back *r, uint32_t idx, void *req, size_t size)
{
	ring_slot_get(r->page, r->slot_words, idx, req, size);
}

/** ring_back_put() - write the response that belongs at @idx; not yet visible */
static inline void ring_back_put(const struct ring_back *r, uint32_t idx, const void *rsp,
				 size_t size)
{
	ring_slot_put(r->page, r->slot_words, idx, rsp, size);
}

/**
 * ring_back_push() - publish the responses up to, not including, @rsp_prod
 *
 * Return: true when the frontend asked to be notified of one of them.
 */
static inline bool ring_back_push(struct ring_back *r, uint32_t rsp_prod)
{
	uint32_t old = r->rsp_prod;

	ring_wmb();
	ring_store(r->page, RING_W_RSP_PROD, rsp_prod);
	r->rsp_prod = rsp_prod;
	ring_mb();
	return ring_passed(old, rsp_prod, ring_load(r->page, RING_W_RSP_EVENT));
}

/**
 * ring_back_arm() - ask for an event when the request before @event is produced
 * @event:	req_cons + 1 for the next one; more when several are needed
 *
 * Return: true when it is there already, or the producer is out of range (the
 * caller's next look with ring_back_avail() finds out which).
 */
static inline bool ring_back_arm(struct ring_back *r, uint32_t event)
{
	uint32_t prod;

	ring_store(r->page, RING_W_REQ_EVENT, event);
	ring_mb();
	prod = ring_load(r->page, RING_W_REQ_PROD);
	return (uint32_t)(prod - r->req_cons) >= (uint32_t)(event - r->req_cons);
}

/* --- the side that produces requests -------------------------------------- */

/** ring_front_init() - start on a fresh page of our own, still unknown to the peer */
static inline void ring_front_init(struct ring_front *r, void *page, size_t slot_size)
{
	volatile uint32_t *p = page;

	for (size_t i = 0; i < RING_PAGE / 4; i++)
		p[i] = 0;
	ring_store(p, RING_W_REQ_EVENT, 1);
	ring_store(p, RING_W_RSP_EVENT, 1);
	*r = (struct ring_front){.page = p, .slot_words = slot_size / 4};
}

/** ring_front_free() - requests that can be written now */
static inline uint32_t ring_front_free(const struct ring_front *r)
{
	return RING_SLOTS - (r->req_prod - r->rsp_cons);
}

/** ring_front_put() - write a request at @idx; not yet visible */
static inline void ring_front_put(const struct ring_front *r, uint32_t idx, const void *req,
				  size_t size)
{
	ring_slot_put(r->page, r->slot_words, idx, req, size);
}

/**
 * ring_front_push() - publish the requests up to r->req_prod
 *
 * Return: true when the backend asked to be notified of one of them.
 */
static inline bool ring_front_push(struct ring_front *r)
{
	uint32_t old = r->req_pushed;

	ring_wmb();
	ring_store(r->page, RING_W_REQ_PROD, r->req_prod);
	r->req_pushed = r->req_prod;
	ring_mb();
	return ring_passed(old, r->req_prod, ring_load(r->page, RING_W_REQ_EVENT));
}

/**
 * ring_front_avail() - how many responses were not taken yet
 *
 * Return: 0, or -EPROTO when the producer went backwards or answered what was
 * never asked: do not read this ring again.
 */
static inline int ring_front_avail(const struct ring_front *r, uint32_t *count)
{
	uint32_t prod = ring_load(r->page, RING_W_RSP_PROD);

	ring_rmb();
	if ((uint32_t)(prod - r->rsp_cons) > (uint32_t)(r->req_pushed - r->rsp_cons))
		return -EPROTO;
	*count = prod - r->rsp_cons;
	return 0;
}

/** ring_front_get() - copy the response at @idx out */
static inline void ring_front_get(const struct ring_front *r, uint32_t idx, void *rsp, size_t size)
{
	ring_slot_get(r->page, r->slot_words, idx, rsp, size);
}

/**
 * ring_front_arm() - ask for an event when the response before @event is there
 *
 * Return: true when it is there already.
 */
static inline bool ring_front_arm(struct ring_front *r, uint32_t event)
{
	uint32_t prod;

	ring_store(r->page, RING_W_RSP_EVENT, event);
	ring_mb();
	prod = ring_load(r->page, RING_W_RSP_PROD);
	return (uint32_t)(prod - r->rsp_cons) >= (uint32_t)(event - r->rsp_cons);
}

#endif
