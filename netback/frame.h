/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The descriptor of one packet on its way through the firewall.
 *
 * A frame is a private copy of the packet's headers and references to the rest.
 * Whoever judges the packet reads and rewrites header[] only, and header[] is
 * what gets sent: the peer that owns the payload's pages can change them at any
 * time, but not what was judged (XSA-155). Plain data: no operation of any port
 * is needed to look at one, so the engine stays pure.
 *
 * The bytes of the packet are header[0..header_len) followed by the segments.
 */
#ifndef NETBACK_FRAME_H
#define NETBACK_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#define FRAME_HEADER_MAX 256 /* room in header[] */
#define FRAME_HEADER_COPY 192 /* bytes that a port fetches of a longer packet */
#define FRAME_SEG_MAX 19 /* 18 further slots, one kept for a split */
#define FRAME_LEN_MAX (65535 + 18) /* 64 KiB of IP and an Ethernet header */
#define PORT_NONE UINT16_MAX

/** One piece of payload: local memory, or a part of a page granted by domid. */
struct frame_seg {
	void *local;   /* NULL: the bytes are in the granted page */
	uint32_t gref; /* grant reference of frame.domid */
	uint16_t off;  /* offset in the granted page */
	uint32_t len;  /* bytes; off + len <= 4096 for a granted page */
};

enum frame_csum {
	CSUM_NONE,    /* complete in the packet, not known to be right */
	CSUM_VALID,   /* complete, and the sender vouches for it (data_validated) */
	CSUM_PARTIAL, /* the field holds the folded, uncomplemented pseudo-header
		       * sum; the rest is to be added by the last hop */
};

enum frame_gso { GSO_NONE, GSO_TCPV4, GSO_TCPV6 };

/** What the engine decided. */
enum frame_verdict {
	FRAME_DROP,    /* reason says why */
	FRAME_FORWARD, /* send header[] and segments to out_port */
	FRAME_REPLY,   /* header[] was turned into an answer: send it (and the
			* segments that are left) back to in_port */
};

struct frame {
	/* filled by the receiving port */
	uint32_t len;	      /* whole packet: header_len + sum of seg[].len */
	uint16_t header_len;  /* valid bytes in header[] */
	uint16_t in_port;     /* index in the loop's table of ports */
	uint16_t domid;	      /* owner of the granted pages in seg[] */
	uint8_t nseg;
	uint8_t csum;	      /* enum frame_csum */
	uint16_t csum_start;  /* for CSUM_PARTIAL: first byte covered. Received
			       * as 0 from a Xen ring, where the headers are not
			       * there yet: whoever parses them fills it in */
	uint16_t csum_offset; /* field's place, counted from csum_start */
	/* Received with another csum than CSUM_PARTIAL when the sender forgot
	 * to say so: whoever parses the headers makes it so (X4.2) */
	uint8_t gso;	      /* enum frame_gso */
	bool copy_failed;     /* a copy of this frame did not succeed */
	uint16_t gso_size;    /* bytes of TCP payload in each segment */

	/* filled by the engine */
	uint8_t verdict;      /* enum frame_verdict */
	uint8_t reason;	      /* enum drop_reason of firewall/ */
	uint16_t out_port;    /* for FRAME_FORWARD */

	/* the receiving port's own: which slots or buffer to give back */
	uint32_t in_generation; /* of in_port when the frame was received */
	uint32_t cookie;
	uint16_t cookie_slots;
	uint16_t cookie_extras;

	struct frame *next;   /* in the queue of a busy port */
	uint64_t queued_us;   /* when it was put there, CLOCK_BOOTTIME */

	struct frame_seg seg[FRAME_SEG_MAX];
	_Alignas(64) uint8_t header[FRAME_HEADER_MAX];
};

#endif
