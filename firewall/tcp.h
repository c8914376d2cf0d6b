/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TCP as seen from the middle: states, windows, the MSS option. Pure.
 */
#ifndef FIREWALL_TCP_H
#define FIREWALL_TCP_H

#include "firewall/flow.h"

/** tcp_may_open() - whether a packet without a flow may make one (T3) */
static inline bool tcp_may_open(uint8_t flags)
{
	return (flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
}

/**
 * tcp_begin() - the windows of a flow that the client's SYN opens (T3, T11)
 * @tcp:	the TCP header, p->tcp_len bytes
 */
void tcp_begin(struct flow *flow, const struct packet *p, const uint8_t *tcp);

/**
 * tcp_track() - hold a packet against its flow, and move the windows
 * @tcp:	the TCP header, p->tcp_len bytes
 * @next:	the flow's state after the packet
 *
 * Return: DROP_NONE; DROP_TCP_WINDOW (T6, T7); DROP_INBOUND (T17): nothing has
 * changed then.
 */
enum drop_reason tcp_track(struct flow *flow, const struct packet *p, const uint8_t *tcp,
			   enum flow_dir dir, enum flow_state *next);

/**
 * tcp_quoted_ok() - whether a quoted packet may have been sent (I3, RFC 5927)
 * @dir:	the way the quoted packet went
 * @seq:	its sequence number
 */
bool tcp_quoted_ok(const struct flow *flow, enum flow_dir dir, uint32_t seq);

/**
 * tcp_clamp_mss() - lower the MSS option of a SYN (2.3)
 *
 * The checksum follows, unless it is still to be made.
 */
void tcp_clamp_mss(struct frame *f, const struct packet *p, uint16_t mss);

enum flow_timer tcp_timer(enum flow_state state);
enum flow_rank tcp_rank(enum flow_state state);

#endif
