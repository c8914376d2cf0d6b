// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * ring.h against Xen's own headers, around the wrap of the indices, and against a
 * peer that writes nonsense.
 */
#include "netback/ring.h"
#include "tests/unit/check.h"

#include <stdlib.h>

#include <xen/grant_table.h>
#include <xen/io/netif.h>

/* Our constants and layouts are the protocol's. */
static_assert(sizeof(struct ring_tx_req) == sizeof(struct netif_tx_request), "size");
static_assert(offsetof(struct ring_tx_req, gref) == offsetof(struct netif_tx_request, gref), "");
static_assert(offsetof(struct ring_tx_req, offset) ==
		      offsetof(struct netif_tx_request, offset), "");
static_assert(offsetof(struct ring_tx_req, flags) == offsetof(struct netif_tx_request, flags), "");
static_assert(offsetof(struct ring_tx_req, id) == offsetof(struct netif_tx_request, id), "");
static_assert(offsetof(struct ring_tx_req, size) == offsetof(struct netif_tx_request, size), "");
static_assert(sizeof(struct ring_tx_rsp) == sizeof(struct netif_tx_response), "");
static_assert(offsetof(struct ring_tx_rsp, status) == offsetof(struct netif_tx_response, status),
	      "");
static_assert(sizeof(struct ring_rx_req) == sizeof(struct netif_rx_request), "");
static_assert(offsetof(struct ring_rx_req, gref) == offsetof(struct netif_rx_request, gref), "");
static_assert(sizeof(struct ring_rx_rsp) == sizeof(struct netif_rx_response), "");
static_assert(offsetof(struct ring_rx_rsp, offset) == offsetof(struct netif_rx_response, offset),
	      "");
static_assert(offsetof(struct ring_rx_rsp, flags) == offsetof(struct netif_rx_response, flags), "");
static_assert(offsetof(struct ring_rx_rsp, status) == offsetof(struct netif_rx_response, status),
	      "");
static_assert(sizeof(struct ring_extra) == sizeof(struct netif_extra_info), "");
static_assert(offsetof(struct ring_extra, gso_size) ==
		      offsetof(struct netif_extra_info, u.gso.size),
	      "");
static_assert(offsetof(struct ring_extra, gso_type) ==
		      offsetof(struct netif_extra_info, u.gso.type),
	      "");
static_assert(offsetof(struct ring_extra, features) ==
		      offsetof(struct netif_extra_info, u.gso.features), "");
static_assert(RING_TX_CSUM_BLANK == NETTXF_csum_blank, "");
static_assert(RING_TX_DATA_VALIDATED == NETTXF_data_validated, "");
static_assert(RING_MORE_DATA == NETTXF_more_data && RING_MORE_DATA == NETRXF_more_data, "");
static_assert(RING_EXTRA_INFO == NETTXF_extra_info && RING_EXTRA_INFO == NETRXF_extra_info, "");
static_assert(RING_RX_DATA_VALIDATED == NETRXF_data_validated, "");
static_assert(RING_RX_CSUM_BLANK == NETRXF_csum_blank, "");
static_assert(RING_EXTRA_GSO == XEN_NETIF_EXTRA_TYPE_GSO, "");
static_assert(RING_EXTRA_MCAST_ADD == XEN_NETIF_EXTRA_TYPE_MCAST_ADD, "");
static_assert(RING_EXTRA_HASH == XEN_NETIF_EXTRA_TYPE_HASH, "");
static_assert(RING_EXTRA_MORE == XEN_NETIF_EXTRA_FLAG_MORE, "");
static_assert(RING_GSO_TCPV4 == XEN_NETIF_GSO_TYPE_TCPV4, "");
static_assert(RING_GSO_TCPV6 == XEN_NETIF_GSO_TYPE_TCPV6, "");
static_assert(RING_STATUS_OKAY == NETIF_RSP_OKAY && RING_STATUS_ERROR == NETIF_RSP_ERROR, "");
static_assert(RING_STATUS_DROPPED == NETIF_RSP_DROPPED && RING_STATUS_NULL == NETIF_RSP_NULL, "");

static void *page;

/* The same page seen by Xen's own ring macros. */
static void test_shared_layout(void)
{
	netif_tx_sring_t *sring = page;
	netif_tx_front_ring_t xen_front;
	struct ring_back back;
	struct ring_tx_req req;
	struct ring_tx_rsp rsp = {.id = 77, .status = -1};
	uint32_t n;

	test_case("layout of the page is that of Xen's ring.h");
	memset(page, 0, RING_PAGE);
	SHARED_RING_INIT(sring);
	FRONT_RING_INIT(&xen_front, sring, RING_PAGE);
	CHECK_INT(RING_SIZE(&xen_front), RING_SLOTS);
	CHECK_INT(ring_back_attach(&back, page, RING_SLOT_TX), 0);
	*RING_GET_REQUEST(&xen_front, 0) =
		(netif_tx_request_t){.gref = 0x01020304, .offset = 5, .flags = 4, .id = 77,
				     .size = 60};
	xen_front.req_prod_pvt++;
	sring->req_prod = xen_front.req_prod_pvt;
	CHECK_INT(ring_back_avail(&back, &n), 0);
	CHECK_INT(n, 1);
	ring_back_get(&back, back.req_cons++, &req, sizeof(req));
	CHECK(req.gref == 0x01020304 && req.offset == 5 && req.flags == 4 && req.id == 77 &&
	      req.size == 60);
	ring_back_put(&back, 0, &rsp, sizeof(rsp));
	CHECK(ring_back_push(&back, 1)); /* event is 1 after the init */
	CHECK_INT(sring->rsp_prod, 1);
	CHECK_INT(RING_GET_RESPONSE(&xen_front, 0)->id, 77);
	CHECK_INT(RING_GET_RESPONSE(&xen_front, 0)->status, -1);
}

/* Request and response through all slots and twice over the wrap. */
static void test_wrap(uint32_t start)
{
	struct ring_front front;
	struct ring_back back = {0};
	uint32_t n = 0;

	test_case("indices wrap");
	ring_front_init(&front, page, RING_SLOT_RX);
	ring_store(front.page, RING_W_REQ_PROD, start);
	ring_store(front.page, RING_W_RSP_PROD, start);
	front.req_prod = front.req_pushed = front.rsp_cons = start;
	CHECK_INT(ring_back_attach(&back, page, RING_SLOT_RX), 0);
	CHECK_INT(back.req_cons, start);
	for (uint32_t i = 0; i < 3 * RING_SLOTS; i += RING_SLOTS) {
		CHECK_INT(ring_front_free(&front), RING_SLOTS);
		for (uint32_t k = 0; k < RING_SLOTS; k++) {
			struct ring_rx_req req = {.id = (uint16_t)(i + k), .gref = ~(i + k)};

			ring_front_put(&front, front.req_prod++, &req, sizeof(req));
		}
		CHECK_INT(ring_front_free(&front), 0);
		ring_front_push(&front);
		CHECK_INT(ring_back_avail(&back, &n), 0);
		CHECK_INT(n, RING_SLOTS);
		for (uint32_t k = 0; k < RING_SLOTS; k++) {
			struct ring_rx_rsp rsp = {.status = (int16_t)k};
			struct ring_rx_req req;

			ring_back_get(&back, back.req_cons, &req, sizeof(req));
			CHECK(req.id == (uint16_t)(i + k) && req.gref == ~(i + k));
			rsp.id = req.id;
			ring_back_put(&back, back.req_cons++, &rsp, sizeof(rsp));
		}
		ring_back_push(&back, back.req_cons);
		CHECK_INT(ring_front_avail(&front, &n), 0);
		CHECK_INT(n, RING_SLOTS);
		for (uint32_t k = 0; k < RING_SLOTS; k++) {
			struct ring_rx_rsp rsp;

			ring_front_get(&front, front.rsp_cons++, &rsp, sizeof(rsp));
			CHECK(rsp.id == (uint16_t)(i + k) && rsp.status == (int16_t)k);
		}
	}
}

static void test_notify(void)
{
	static const struct {
		uint32_t old, new, event;
		bool want;
	} cases[] = {
		{0, 1, 1, true},	/* armed at the next */
		{0, 1, 2, false},	/* not yet */
		{0, 3, 2, true},	/* passed */
		{5, 6, 1, false},	/* asked long ago, told then */
		{0xffffffff, 0, 0, true},
		{0xfffffffe, 1, 0, true},
		{0xfffffffe, 0xffffffff, 1, false},
		{7, 7, 7, false},	/* nothing new */
	};

	test_case("notify decision");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		CHECK_INT(ring_passed(cases[i].old, cases[i].new, cases[i].event), cases[i].want);
}

static void test_arm(void)
{
	struct ring_front front;
	struct ring_back back;
	struct ring_tx_req req = {0};

	test_case("arming sees what came in between");
	ring_front_init(&front, page, RING_SLOT_TX);
	CHECK_INT(ring_back_attach(&back, page, RING_SLOT_TX), 0);
	CHECK(!ring_back_arm(&back, back.req_cons + 1));
	ring_front_put(&front, front.req_prod++, &req, sizeof(req));
	CHECK(ring_front_push(&front)); /* we asked for it */
	CHECK(ring_back_arm(&back, back.req_cons + 1));
	CHECK(!ring_back_arm(&back, back.req_cons + 2)); /* two are needed */
	ring_front_put(&front, front.req_prod++, &req, sizeof(req));
	CHECK(ring_front_push(&front));
	CHECK(ring_back_arm(&back, back.req_cons + 2));
}

/* Indices that no correct peer produces. */
static void test_garbage(void)
{
	struct ring_back back;
	struct ring_front front;
	volatile uint32_t *words = page;
	uint32_t n = 1234;

	test_case("hp_039_ring_garbage: indices out of range");
	memset(page, 0, RING_PAGE);
	ring_store(words, RING_W_REQ_PROD, 257);
	CHECK_INT(ring_back_attach(&back, page, RING_SLOT_TX), -EPROTO);
	ring_store(words, RING_W_REQ_PROD, 256);
	CHECK_INT(ring_back_attach(&back, page, RING_SLOT_TX), 0);
	CHECK_INT(ring_back_avail(&back, &n), 0);
	CHECK_INT(n, 256);
	back.req_cons += 10;
	for (uint32_t bad = 257; bad; bad <<= 1) {
		ring_store(words, RING_W_REQ_PROD, bad);
		CHECK_INT(ring_back_avail(&back, &n), -EPROTO);
	}
	ring_store(words, RING_W_REQ_PROD, 9); /* took back what we have */
	CHECK_INT(ring_back_avail(&back, &n), -EPROTO);
	ring_store(words, RING_W_REQ_PROD, UINT32_MAX);
	CHECK_INT(ring_back_avail(&back, &n), -EPROTO);
	CHECK_INT(n, 256); /* unchanged on failure */

	ring_front_init(&front, page, RING_SLOT_TX);
	front.req_prod = 5;
	ring_front_push(&front);
	ring_store(words, RING_W_RSP_PROD, 6); /* answers more than was asked */
	CHECK_INT(ring_front_avail(&front, &n), -EPROTO);
	ring_store(words, RING_W_RSP_PROD, UINT32_MAX); /* backwards */
	CHECK_INT(ring_front_avail(&front, &n), -EPROTO);
	ring_store(words, RING_W_RSP_PROD, 5);
	CHECK_INT(ring_front_avail(&front, &n), 0);
	CHECK_INT(n, 5);
}

int main(void)
{
	if (posix_memalign(&page, RING_PAGE, RING_PAGE))
		return 1;
	test_shared_layout();
	test_wrap(0);
	test_wrap(0xffffff80);
	test_wrap(0xffffffff);
	test_notify();
	test_arm();
	test_garbage();
	free(page);
	return test_end();
}
