/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A frontend in another domain of a struct fake, as Linux' netfront behaves,
 * with the knobs that other frontends turn. The test is its CPU: it runs when
 * one of these functions is called.
 */
#ifndef TESTS_FAKE_FRONT_H
#define TESTS_FAKE_FRONT_H

#include "netback/ring.h"
#include "tests/fake/fake.h"

struct front_config {
	uint32_t start_index;  /* of both rings: 0xffffff80 wraps soon */
	bool single_channel;   /* event-channel instead of the -tx/-rx pair */
	bool no_rx_copy;       /* request-rx-copy missing: must be refused */
	bool no_sg, no_gso;    /* features that are not announced */
	bool no_csum_offload;  /* feature-no-csum-offload = 1 */
	bool no_ipv6_csum;
	bool no_rx_notify;
	unsigned int rx_post;  /* receive slots posted at connect; 0: all */
};

struct front_buf {
	uint8_t *page;
	uint32_t gref;
	bool busy; /* transmit: in flight; receive: posted */
};

struct front {
	struct fake *f;
	uint16_t domid, devid;
	struct front_config config;
	char be[128], fe[128]; /* the two directories */
	char mac[18];

	void *tx_page, *rx_page;
	uint32_t tx_gref, rx_gref, tx_port, rx_port;
	struct ring_front tx, rx;
	struct front_buf tx_buf[RING_SLOTS], rx_buf[RING_SLOTS];

	/* what came back */
	unsigned int tx_okay, tx_error, tx_dropped, tx_null;
	unsigned int rx_failed; /* packets with a slot of negative status */
	unsigned int bad;	/* responses that netfront would complain about */
};

/** One packet to send. */
struct front_packet {
	const uint8_t *data;
	size_t len;
	uint16_t flags;		/* RING_TX_CSUM_BLANK, _DATA_VALIDATED */
	uint8_t gso_type;	/* with a GSO extra when not 0 */
	uint16_t gso_size;
	const uint16_t *split;	/* sizes of the slots; the rest in 4096s */
	size_t nsplit;
	uint16_t offset;	/* of the first slot in its page */
};

/** What was received with a packet. */
struct front_meta {
	uint16_t flags; /* of the first response */
	uint8_t gso_type;
	uint16_t gso_size;
	unsigned int slots, extras;
};

/** front_plug() - the toolstack attaches it: both directories in xenstore */
void front_plug(struct front *fr, struct fake *f, uint16_t domid, uint16_t devid, const char *ip);
/** front_connect() - publish rings and features, go to state 4 */
void front_connect(struct front *fr, const struct front_config *config);
/** front_disconnect() - forget the rings: revoke grants, close ports */
void front_disconnect(struct front *fr);
void front_set_state(struct front *fr, unsigned int state);
unsigned int front_state(const struct front *fr);   /* ours */
unsigned int front_be_state(const struct front *fr); /* the backend's; 0: none */
/** front_detach() - xl network-detach begins: online 0, backend state 5 */
void front_detach(struct front *fr);

/** front_send() - write a packet to the ring, push, kick when asked to;
 *  false: no room. Returns with the requests published. */
bool front_send(struct front *fr, const struct front_packet *p);
/** front_raw() - slots exactly as given (12 bytes each), pushed and kicked */
void front_raw(struct front *fr, const struct ring_tx_req *slot, size_t n);
/** front_buf() - a transmit page to name in front_raw(); its id is the index */
struct front_buf *front_buf(struct front *fr, uint16_t *id);
/** front_reap() - take the transmit responses; how many */
unsigned int front_reap(struct front *fr);
unsigned int front_in_flight(const struct front *fr);

/** front_post() - post up to n receive buffers, push, kick; how many */
unsigned int front_post(struct front *fr, unsigned int n);
/**
 * front_recv() - take one packet and post its buffers again, unless @keep
 *
 * Return: its length, 0 when none is there, -1 when it failed.
 */
long front_recv(struct front *fr, uint8_t *buf, size_t size, struct front_meta *meta, bool keep);
unsigned int front_posted(const struct front *fr);

#endif
