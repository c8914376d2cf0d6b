/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A network backend in another domain of a struct fake, as Linux' netback
 * behaves towards a frontend of ours, and the toolstack's side of attaching it.
 * The test is its CPU: it runs when one of these functions is called.
 */
#ifndef TESTS_FAKE_FAKE_BACKEND_H
#define TESTS_FAKE_FAKE_BACKEND_H

#include "netback/ring.h"
#include "tests/fake/fake.h"

struct fake_backend_config {
	bool no_rx_copy, no_sg, no_gso4, no_gso6, no_ipv6_csum, no_split, no_csum_offload;
	bool multi_queue; /* multi-queue-max-queues is offered */
};

struct fake_backend {
	struct fake *f;
	uint16_t domid, devid;
	struct fake_backend_config config;
	char be[128], fe[128];

	bool connected;
	uint32_t tx_port, rx_port; /* our ends */
	struct ring_back tx, rx;
	unsigned int kicks; /* notifications that arrived */

	/* requests that were taken and not answered yet */
	struct ring_tx_rsp held[RING_SLOTS];
	unsigned int nheld;
	/* what netback would complain about, then disable the device */
	unsigned int errors;
	const char *error;
};

/** What comes or goes with a packet. */
struct fake_backend_meta {
	uint16_t flags;	 /* of the first slot, without MORE_DATA, EXTRA_INFO */
	uint8_t gso_type; /* 0: no extra */
	uint16_t gso_size;
	unsigned int slots;
	uint16_t size[32]; /* of each slot */
};

/** fake_backend_plug() - the toolstack attaches it; both sides at state 1 */
void fake_backend_plug(struct fake_backend *b, struct fake *f, uint16_t domid, uint16_t devid,
		       const char *mac);
/** fake_backend_offer() - write the features, go to state 2 */
void fake_backend_offer(struct fake_backend *b, const struct fake_backend_config *config);
/** fake_backend_connect() - map the rings and bind; the state is not written */
int fake_backend_connect(struct fake_backend *b);
/** fake_backend_disconnect() - forget rings and ports */
void fake_backend_disconnect(struct fake_backend *b);
void fake_backend_state(struct fake_backend *b, unsigned int state);
unsigned int fake_backend_front_state(struct fake_backend *b);

/**
 * fake_backend_take() - take one packet that the frontend sent
 * @hold:	do not answer: fake_backend_answer() will
 *
 * Return: its length, 0 when there is none, -1 after an error.
 */
long fake_backend_take(struct fake_backend *b, uint8_t *buf, size_t size,
		       struct fake_backend_meta *meta, bool hold);
/** fake_backend_answer() - answer n held requests, the newest first */
void fake_backend_answer(struct fake_backend *b, unsigned int n);

/**
 * fake_backend_give() - a packet for the frontend, in pages of 4096 bytes
 * @split:	sizes of the first slots, ended by 0; may be NULL
 *
 * Return: false: not enough requests are posted; nothing was written.
 */
bool fake_backend_give(struct fake_backend *b, const uint8_t *data, size_t len,
		       const struct fake_backend_meta *meta, const uint16_t *split);

/** fake_backend_posted() - receive requests that can be used now */
unsigned int fake_backend_posted(struct fake_backend *b);
/** fake_backend_raw_rx() - receive responses exactly as given, pushed, kicked */
void fake_backend_raw_rx(struct fake_backend *b, const struct ring_rx_rsp *rsp, size_t n);
/** fake_backend_raw_tx() - a transmit response exactly as given, pushed */
void fake_backend_raw_tx(struct fake_backend *b, uint16_t id, int16_t status);
/** fake_backend_rx_page() - the page behind the next receive request */
uint8_t *fake_backend_rx_page(struct fake_backend *b, unsigned int ahead);

#endif
