/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * M1: a slow, obvious model of the engine, written from the behaviour catalogue.
 *
 * Packets are whole byte arrays, flows, mappings and datagrams stand in lists that
 * are walked from the start, checksums are added up from the first byte to the
 * last. Nothing here shares code with the engine; firewall/ lends the names of its
 * configuration (engine.h) and of its drop reasons (drop.h).
 *
 * The model is given a frame and what the engine made of it (struct m_seen), says
 * whether that is right, and moves on to the state after it. It is asked this way
 * round because some choices are the engine's: a NAT port that is not the client's,
 * where a datagram is cut, whether a bucket that is nearly empty is empty. There
 * the model looks at the choice and judges whether it was a legal one.
 */
#ifndef TESTS_MODEL_MODEL_H
#define TESTS_MODEL_MODEL_H

#include "firewall/engine.h"

#define M_IFACES   6 /* 0: uplink; 1..5: clients */
#define M_SOURCES  12
#define M_RULES	   6
#define M_FLOWS	   4096
#define M_MAPPINGS 512
#define M_DATAGRAMS 64 /* F10: of one interface */
#define M_PIECES   64  /* F10: of one datagram */
#define M_TAKEN	   96
#define M_BYTES	   (FRAME_LEN_MAX + 512)
#define M_ALTS	   8
#define M_WHY	   400

/* Sets of drop reasons. */
#define M_R(reason) (1ull << DROP_##reason)
#define M_ANY	    (~M_R(NONE))

/* A frame as one piece of memory. */
struct m_frame {
	uint16_t port; /* where it came from, or goes to */
	uint8_t csum, gso;
	uint16_t csum_start, csum_offset, gso_size;
	uint16_t header_len; /* of an input: what the engine has a copy of */
	bool copy_failed;
	uint32_t len;
	uint8_t *b;
};

/* What the engine did with one frame. */
struct m_seen {
	uint8_t verdict, reason;
	struct m_frame out; /* unless dropped */
	struct m_frame taken[M_TAKEN]; /* from engine_take() */
	size_t taken_count;
	bool assembled; /* a datagram was completed, and counted as ... */
	uint8_t whole_verdict, whole_reason;
	uint32_t flows[M_SOURCES]; /* afterwards */
};

/* --- what is known of the surroundings -------------------------------------- */

struct m_rule {
	bool accept, has_dst, has_ports, dns;
	uint8_t proto; /* 0: any; 1: ICMP of the family */
	int type;      /* of ICMP; -1: any */
	uint16_t low, high;
	struct addr dst;
	uint8_t plen;
};

struct m_policy {
	bool none, malformed, accept;
	size_t count;
	struct m_rule rule[M_RULES];
};

struct m_source {
	bool used;
	struct addr addr;
	const struct m_policy *policy; /* NULL: none */
	uint32_t epoch;
	struct engine_source_options options;
};

struct m_iface {
	struct engine_iface is;
	bool used, up;
	double tokens; /* I8 */
	/* uplink: neighbours */
	uint8_t gateway_mac[2][6]; /* by family */
	struct addr last[2];	   /* the last address it had, by family */
	bool asked[2];
};

enum m_state {
	M_UNREPLIED,
	M_REPLIED,
	M_TCP_SYN,
	M_TCP_OPENING,
	M_TCP_OPEN,
	M_TCP_FIN_OUT,
	M_TCP_FIN_IN,
	M_TCP_CLOSING
};

enum m_dir { M_OUT, M_IN };

/* One side of a connection: what it has sent, and what it may send. */
struct m_side {
	bool known;
	uint32_t start;	  /* its ISN */
	uint32_t end;	  /* highest sent, plus one */
	uint32_t max_end; /* highest the other side allows */
	uint32_t max_win; /* largest window it offered */
	uint32_t ack;	  /* highest it has acknowledged */
	bool acked;
	bool wscale; /* offered the option */
	uint8_t scale;
};

struct m_flow {
	uint8_t proto;
	uint16_t iface;
	struct addr client, remote; /* real ones */
	struct addr asked;	    /* the remote as the client knows it */
	uint16_t cport, rport, nat;
	uint8_t state, timer;
	bool reset;	     /* closed by RST */
	bool dead;	     /* timed out; its entry may still be there (2.4: lazy) */
	uint64_t seen;	     /* ms */
	uint64_t order;	     /* when it entered its rank */
	uint32_t epoch;
	struct m_side side[2];
};

/* U4, N10 */
struct m_mapping {
	uint8_t family, proto;
	struct addr client;
	uint16_t iface, cport, nat;
	uint64_t idle_since, idle_late; /* ms, at the least and at most; 0: in use */
	bool fading;	     /* it may be gone by now */
};

struct m_piece {
	uint32_t off, len;
	bool last;
};

struct m_datagram {
	bool used, poisoned, has_first, timed_out, ce;
	uint16_t iface;
	struct addr src, dst;
	uint32_t id;
	uint8_t proto; /* of the header before the fragment data, IPv4 only */
	uint64_t born, order;
	uint32_t total; /* 0: last piece not seen */
	uint32_t largest, have;
	size_t count;
	struct m_piece piece[M_PIECES];
	uint8_t *data, *map;
	uint8_t first[FRAME_HEADER_MAX]; /* the first fragment's frame, as received */
	uint32_t first_len, first_copy, l3_len;
	uint8_t next; /* IPv6: type of what follows the fragment header */
	uint32_t next_at; /* offset of the byte that names the fragment header */
};

/* --- one packet -------------------------------------------------------------- */

struct m_packet {
	const struct m_frame *in;
	uint16_t port;
	bool from_client, assembled, was_atomic;
	uint32_t largest; /* of the fragments it came in */
	uint8_t *b;	  /* from the Ethernet header to the end of IP */
	uint32_t len;	  /* up to there; padding is not part of it */
	uint8_t csum, gso;
	uint16_t gso_size;
	uint32_t header_len;
	const uint8_t *quote; /* what an error about it quotes */
	uint32_t quote_len;

	struct addr src, dst;
	uint8_t family, proto, ttl;
	uint32_t l4; /* offset in b */
	bool df;
	/* of a fragment */
	bool fragment, more, atomic;
	uint32_t off, id, data_at, next_at;

	uint16_t sport, dport; /* ICMP echo: sport is the identifier, dport 0 */
	uint8_t type, code, flags;
	uint32_t seq, ack, data; /* TCP; data: bytes of payload */
	uint16_t win;
	bool strange_flags, strange_l4; /* neither required nor forbidden */
	bool is_error, is_query, is_reply;
};

/* One outcome that would be right. */
enum m_kind { M_DROP, M_FORWARD, M_ERROR, M_ANSWER };

struct m_alt {
	enum m_kind kind;
	uint64_t reasons; /* of a drop, and of what an error is about */
	struct m_frame f;
	uint32_t max;	  /* M_FORWARD: in fragments of at most this; 0: whole */
	uint32_t frag_at, frag_next_at, frag_id; /* IPv6: where its header goes */
	bool effect;	  /* the pending change of a flow is part of it */
	bool silent_too;  /* M_ERROR: may be left out */
	bool any_quote;	  /* M_ERROR: how much it quotes is open */
	uint32_t sum[3];  /* checksum fields that may be either zero */
	size_t sum_count;
	uint32_t udp_sum; /* one that may not be 0, when it is not 0 here */
};

struct model {
	uint64_t now;
	uint32_t flow_max;
	uint32_t timeout_s[FLOW_TIMERS];
	bool pass_ip_options, no_mss_clamp, no_inbound_refresh;

	struct m_iface iface[M_IFACES];
	struct m_source source[M_SOURCES];
	struct engine_dns dns[ENGINE_DNS_MAX];
	size_t dns_count;
	struct addr connected[8];
	size_t connected_count;
	struct addr rule_dns[4]; /* what specialtarget=dns means */
	size_t rule_dns_count;
	double tokens;
	uint64_t tokens_at;

	struct m_flow flow[M_FLOWS];
	size_t flow_count;
	struct m_mapping mapping[M_MAPPINGS];
	size_t mapping_count;
	struct m_datagram *datagram; /* [M_IFACES * M_DATAGRAMS] */
	uint64_t datagram_due;	     /* when the first of them may time out */
	size_t datagrams_timed_out;
	uint64_t order;

	/* about the packet in hand */
	const struct m_seen *seen;
	struct m_alt alt[M_ALTS];
	size_t alt_count;
	struct m_flow after; /* the flow as it will be */
	int pending;	     /* its index, flow_count for a new one, -1 */
	int evict;	     /* the one that goes for it, -1 */
	uint8_t *whole;	     /* a datagram put together */
	char why[M_WHY];
	uint64_t coverage[32]; /* outcomes by kind, to see that a run reaches them */
};

/* --- model.c: the way of a packet -------------------------------------------- */

struct model *model_new(const struct engine_config *config, uint64_t now);
void model_free(struct model **m);
bool model_frame(struct model *m, const struct m_frame *in, const struct m_seen *seen);
void model_time(struct model *m, uint64_t now);
bool model_tick_frame(struct model *m, const struct m_frame *f);
/** model_counts() - flows of each source; those that are denied may be gone by now */
bool model_counts(struct model *m, const uint32_t *flows, uint32_t active);
/** model_doomed() - flows that end at their next packet; @gone: they have ended */
size_t model_doomed(struct model *m, bool gone);
/** model_overdue() - F11: an error about a datagram that was not sent */
bool model_overdue(struct model *m);
void m_why(struct model *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
void m_judge(struct model *m, struct m_packet *p);
struct m_alt *m_alt_add(struct model *m, enum m_kind kind, uint64_t reasons);
void m_drop(struct model *m, uint64_t reasons);
/** m_refuse() - an error about the packet, if it may have one; else silence */
void m_refuse(struct model *m, const struct m_packet *p, int type, int code, uint64_t reasons);

/* --- model_world.c: interfaces, sources, rules -------------------------------- */

void model_iface_set(struct model *m, uint16_t id, const struct engine_iface *iface);
void model_iface_clear(struct model *m, uint16_t id);
void model_iface_link(struct model *m, uint16_t id, bool up);
void model_source_set(struct model *m, size_t id, const struct addr *addr,
		      const struct m_policy *policy, bool bump);
void model_source_forget(struct model *m, size_t id);
void model_set_dns(struct model *m, const struct engine_dns *map, size_t n);
void model_set_connected(struct model *m, const struct addr *addrs, size_t n);
bool m_is_none(const struct addr *a);
struct m_source *m_source_of(struct model *m, const struct addr *a);
const struct m_iface *m_uplink(const struct model *m, uint8_t family);
struct addr m_wire_address(const struct m_iface *i, uint8_t family);
struct addr m_address(const struct m_iface *i, uint8_t family);
struct addr m_gateway(const struct m_iface *i, uint8_t family);
bool m_is_own(const struct model *m, const struct m_iface *from, const struct addr *a);
bool m_is_downstream(const struct model *m, const struct addr *a);
enum rule_verdict m_policy_verdict(const struct model *m, const struct m_policy *p, uint8_t family,
				   const struct m_packet *pkt, const struct addr *dst);

/* --- model_ip.c: bytes --------------------------------------------------------- */

uint16_t m_get16(const uint8_t *p);
uint32_t m_get32(const uint8_t *p);
void m_put16(uint8_t *p, uint32_t v);
void m_put32(uint8_t *p, uint32_t v);
uint32_t m_sum(const uint8_t *p, size_t n, uint32_t sum);
uint16_t m_fold(uint32_t sum);
/** m_pseudo() - sum of the pseudo-header of the IP packet at @ip */
uint32_t m_pseudo(const uint8_t *ip, uint8_t proto, uint32_t l4_len);
/** m_l4_sum() - what its checksum field should hold; @at: the field's offset in L4 */
uint16_t m_l4_sum(const uint8_t *ip, uint8_t proto, const uint8_t *l4, uint32_t len, uint32_t at,
		  bool partial);
/** m_sum_at() - offset of the checksum in the header of a protocol, 0: none */
uint32_t m_sum_at(uint8_t family, uint8_t proto);
struct addr m_addr_at(const uint8_t *p, uint8_t family);
void m_put_addr(uint8_t *p, const struct addr *a);
uint64_t m_parse_ip(const struct model *m, struct m_packet *p);
uint64_t m_parse_l4(struct m_packet *p);
uint64_t m_martian(const struct m_packet *p);
bool m_is_multicast(const struct addr *a);
/** m_chain() - walk the extension headers from @next at @pos; -1: must not pass */
int m_chain(const struct m_packet *p, uint8_t *next, uint32_t *pos, bool *doubt);

/* --- model_match.c: expected against seen --------------------------------------- */

bool m_same_frame(struct model *m, const struct m_alt *want, const struct m_frame *got);
bool m_same_fragments(struct model *m, const struct m_alt *want, const struct m_frame *got,
		      size_t n);
bool m_same_error(struct model *m, const struct m_alt *want, const struct m_frame *got);
void m_build_error(struct model *m, struct m_alt *alt, const struct m_packet *p, int type,
		   int code, uint32_t info);

/* --- model_tcp.c ----------------------------------------------------------------- */

enum m_tcp { M_TCP_PASS, M_TCP_KEEP, M_TCP_EITHER, M_TCP_DROP };

void m_tcp_new(struct m_flow *f, const struct m_packet *p);
/** m_tcp_step() - @f becomes the state after the packet; KEEP: passes without */
enum m_tcp m_tcp_step(struct m_flow *f, enum m_dir dir, const struct m_packet *p,
		      uint64_t *reasons);

/* --- model_nat.c: flows, ports, rewriting ------------------------------------------ */

int m_flow_out(const struct model *m, const struct m_packet *p, uint8_t proto,
	       const struct addr *dst, uint16_t sport, uint16_t dport);
int m_flow_in(const struct model *m, uint8_t proto, const struct addr *remote, uint16_t rport,
	      uint16_t nat);
void m_flow_delete(struct model *m, size_t index);
void m_flow_timer(struct m_flow *f);
int m_rank(const struct m_flow *f);
/** m_flow_epoch() - R6: judge again if needed; false: it is gone */
bool m_flow_epoch(struct model *m, int index);
bool m_is_doomed(struct model *m, const struct m_flow *f);
void m_flow_expire(struct model *m);
uint16_t m_port_seen(const struct model *m, const struct m_packet *p);
bool m_port_legal(struct model *m, const struct m_flow *f, uint16_t port);
void m_mapping_note(struct model *m, const struct m_flow *f);
/** m_translate() - into a new alternative: @p as it leaves for @to */
void m_translate(struct model *m, const struct m_packet *p, const struct m_flow *f,
		 enum m_dir dir);
void m_new_flow(struct model *m, struct m_packet *p);

/* --- model_icmp.c: errors, neighbours ------------------------------------------------ */

void m_icmp_error(struct model *m, struct m_packet *p);
void m_own_address(struct model *m, struct m_packet *p);
bool m_arp(struct model *m, const struct m_frame *in);
bool m_ndp(struct model *m, struct m_packet *p);

/* --- model_frag.c ---------------------------------------------------------------------- */

/** m_fragment() - takes it; true when @whole is a datagram to be judged */
bool m_fragment(struct model *m, struct m_packet *p, struct m_packet *whole);
void m_datagrams_expire(struct model *m);
bool m_datagram_timeout_frame(struct model *m, const struct m_frame *f);
void m_datagrams_forget(struct model *m, uint16_t iface);

#endif
