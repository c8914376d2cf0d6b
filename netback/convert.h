/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a peer cannot take is done here in software: GSO frames are cut into
 * packets. (Checksums are completed where the bytes come together: copy_sum() for
 * a vif, in the pages of the uplink.) See convert.c.
 */
#ifndef NETBACK_CONVERT_H
#define NETBACK_CONVERT_H

#include "netback/frame.h"

#include <stddef.h>

/** What the other side announced (X5.4). */
struct convert_can {
	bool sg;	   /* packets of several slots */
	bool gso4, gso6;   /* GSO frames; no use without the checksum and sg */
	bool csum4, csum6; /* partial checksums */
};

/** What has to be done to a frame first. */
struct convert_need {
	bool cut; /* it is a GSO frame: cut it into packets */
	bool sum; /* complete the checksum (of each packet) */
};

/**
 * convert_needed() - what must be done to a frame before this peer takes it
 * @len_max:	bytes that it takes in one frame at all
 *
 * Says nothing of plain packets that are too large: they cannot be helped.
 *
 * Return: 0, or -EOPNOTSUPP: a partial checksum has to be completed, and nobody
 * has said where it is.
 */
int convert_needed(const struct frame *f, const struct convert_can *can, uint32_t len_max,
		   struct convert_need *need);

/** A GSO frame on its way into packets. */
struct convert_cut {
	const struct frame *f;
	uint32_t headers; /* Ethernet to TCP: each packet has them */
	uint32_t count;	  /* packets */
	uint32_t next;	  /* the one that convert_next() makes */
	uint32_t left;	  /* bytes of payload that are in no packet yet */
	uint16_t head_at; /* they begin here in f->header[], */
	uint8_t seg;	  /* then in this segment, */
	uint32_t seg_at;  /* at this offset in it */
};

/**
 * convert_begin() - look at the headers of a GSO frame, count its packets
 * @f:	csum is CSUM_PARTIAL, csum_start and csum_offset are set; it must stay
 *	as it is until the last convert_next()
 *
 * Return: 0, or -EINVAL: headers and descriptor do not fit together.
 */
int convert_begin(struct convert_cut *cut, const struct frame *f);

/** convert_len() - bytes of packet @k, headers included */
uint32_t convert_len(const struct convert_cut *cut, uint32_t k);

/**
 * convert_slots() - slots of @page bytes that all packets need together
 *
 * Each packet begins a slot and fills its slots to the brim.
 */
uint32_t convert_slots(const struct convert_cut *cut, uint32_t page);

/**
 * convert_next() - describe the next packet
 * @out:	gets headers of its own; its segments are parts of the frame's, in
 *		the same places; its checksum is partial. What says where a frame
 *		came from is not touched.
 */
void convert_next(struct convert_cut *cut, struct frame *out);

#endif
