// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * TCP as seen from the middle (RFC 9293, RFC 5382).
 *
 * One table: state x direction x event -> state. Only a SYN makes a flow (T3).
 * The machine never holds a packet back because of its state, with one
 * exception: a SYN from outside to a connection that has ended would open a new
 * one from outside (T17). RST closes; whether its sequence number entitles it to
 * is the window check's business, which comes before this table (T4, T7) and
 * has its place in struct flow.
 */
#include "firewall/tcp.h"

enum tcp_event { EV_SYN, EV_SYNACK, EV_ACK, EV_FIN, EV_RST, TCP_EVENTS };

#define FIRST FLOW_TCP_SYN
#define STATES (FLOW_TCP_CLOSING - FLOW_TCP_SYN + 1)
#define DROP FLOW_FREE
#define SYN FLOW_TCP_SYN
#define OPENING FLOW_TCP_OPENING
#define OPEN FLOW_TCP_OPEN
#define FIN_OUT FLOW_TCP_FIN_OUT
#define FIN_IN FLOW_TCP_FIN_IN
#define CLOSING FLOW_TCP_CLOSING

static const uint8_t table[STATES][2][TCP_EVENTS] = {
	/* The client's SYN has passed: its repetitions, and the answer. A FIN
	 * or ACK from outside now is an old duplicate or a challenge ACK. */
	[FLOW_TCP_SYN - FIRST] = {
		/*		SYN	SYN+ACK	ACK	FIN	RST */
		[FLOW_OUT] = { SYN, SYN, SYN, SYN, CLOSING },
		[FLOW_IN] = { OPENING, OPENING, SYN, SYN, CLOSING }, /* T1, T2 */
	},
	/* Both have sent SYN: repetitions, the last ACK of the handshake. */
	[FLOW_TCP_OPENING - FIRST] = {
		[FLOW_OUT] = { OPENING, OPENING, OPEN, FIN_OUT, CLOSING },
		[FLOW_IN] = { OPENING, OPENING, OPENING, FIN_IN, CLOSING }, /* T9 */
	},
	/* Established: everything; a SYN asks for a challenge ACK (T8). */
	[FLOW_TCP_OPEN - FIRST] = {
		[FLOW_OUT] = { OPEN, OPEN, OPEN, FIN_OUT, CLOSING },
		[FLOW_IN] = { OPEN, OPEN, OPEN, FIN_IN, CLOSING },
	},
	/* Half closed: the other side goes on as long as it likes (T10). */
	[FLOW_TCP_FIN_OUT - FIRST] = {
		[FLOW_OUT] = { FIN_OUT, FIN_OUT, FIN_OUT, FIN_OUT, CLOSING },
		[FLOW_IN] = { FIN_OUT, FIN_OUT, FIN_OUT, CLOSING, CLOSING },
	},
	[FLOW_TCP_FIN_IN - FIRST] = {
		[FLOW_OUT] = { FIN_IN, FIN_IN, FIN_IN, CLOSING, CLOSING },
		[FLOW_IN] = { FIN_IN, FIN_IN, FIN_IN, FIN_IN, CLOSING },
	},
	/* Last ACKs and repetitions; a new connection by the client (T11). */
	[FLOW_TCP_CLOSING - FIRST] = {
		[FLOW_OUT] = { SYN, CLOSING, CLOSING, CLOSING, CLOSING },
		[FLOW_IN] = { DROP, CLOSING, CLOSING, CLOSING, CLOSING },
	},
};

static enum tcp_event event_of(uint8_t flags)
{
	if (flags & TCP_RST)
		return EV_RST;
	if (flags & TCP_SYN)
		return flags & TCP_ACK ? EV_SYNACK : EV_SYN;
	if (flags & TCP_FIN)
		return EV_FIN;
	return EV_ACK;
}

enum flow_state tcp_next(enum flow_state state, enum flow_dir dir, uint8_t flags)
{
	assert(state >= FIRST && state < FLOW_STATES);
	return (enum flow_state)table[state - FIRST][dir][event_of(flags)];
}

enum flow_timer tcp_timer(enum flow_state state)
{
	switch (state) {
	case FLOW_TCP_OPEN:
		return TIMER_TCP_OPEN;
	case FLOW_TCP_FIN_OUT:
	case FLOW_TCP_FIN_IN:
		return TIMER_TCP_HALF;
	case FLOW_TCP_CLOSING:
		return TIMER_TCP_CLOSING;
	default:
		return TIMER_TCP_OPENING;
	}
}

enum flow_rank tcp_rank(enum flow_state state)
{
	switch (state) {
	case FLOW_TCP_OPEN:
	case FLOW_TCP_FIN_OUT:
	case FLOW_TCP_FIN_IN:
		return RANK_OPEN;
	case FLOW_TCP_CLOSING:
		return RANK_CLOSING;
	default:
		return RANK_OPENING;
	}
}
