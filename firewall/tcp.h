/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The TCP state machine of a flow. Pure: a state and a packet give a state.
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
 * tcp_next() - the state after a packet
 * @flags:	a combination that passed packet_parse_l4()
 *
 * Return: the state, or FLOW_FREE when the packet does not belong to the
 * connection and must be dropped (T17).
 */
enum flow_state tcp_next(enum flow_state state, enum flow_dir dir, uint8_t flags);

enum flow_timer tcp_timer(enum flow_state state);
enum flow_rank tcp_rank(enum flow_state state);

#endif
