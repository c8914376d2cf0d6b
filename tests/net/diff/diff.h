/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine against the kernel (M2): the same frames go into ringfenced and into
 * a Linux router with the ruleset of a stock Qubes firewall qube, and what comes
 * out of both is compared.
 *
 *	               +-- vif1, vif2, vif3 --[ kernel ]-- eth0 --+
 *	driver (here) -+                                          +- driver
 *	               +-- c1, c2, c3 -----[ ringfenced ]-- up0 --+
 *
 *	main.c		options, the plan, the counts
 *	side.c		both sides' devices: send, know when all is out, receive
 *	packet.h
 *	build.c		a described packet (struct pk) to bytes; fragments
 *	parse.c		offsets of a packet; its description in words
 *	canon.c		bytes modulo the NAT port, checksums judged
 *	compare.c	what came out of both, held against each other
 *	differences.c	the table of allowed differences: doc/differences.md
 *	policy.c	rule sets, and ringfenced's text of them
 *	nft.c		the same for the kernel
 *	talk.c		what all conversations share
 *	talk_*.c	conversations: sequences of packets
 *	rows.c		the conformance cases, each as a packet to ringfenced alone
 *
 * A conversation has its own addresses and ports, so that one that ends in an
 * allowed difference leaves nothing behind that another meets.
 */
#ifndef TESTS_NET_DIFF_H
#define TESTS_NET_DIFF_H

#include "tests/net/diff/packet.h"

#define OUT_MAX 80 /* frames that one packet may cause */

/* The rig's addresses; [0] is the firewall's own. */
extern const char *const ip4_text[PORTS], *const ip6_text[PORTS];
#define GATEWAY4     "10.137.0.1"
#define GATEWAY6     "fd09:24ef:4179::a89:1"
#define STOPPED4     "10.137.0.9" /* of a qube that does not run */
#define STOPPED6     "fd09:24ef:4179::a89:9"
#define DNS_VIRTUAL  "10.139.1.1"
#define DNS_VIRTUAL2 "10.139.1.2"
#define DNS_REAL     "198.51.100.53"
#define DNS_REAL2    "198.51.100.54"

/*
 * What is odd about a packet, as far as its maker knows; the table of
 * differences refers to it.
 */
enum trait {
	T_OPTIONS = 1 << 0, /* IPv4 options */
	T_BAD_SUM = 1 << 1, /* upper layer's checksum */
	T_MARTIAN = 1 << 2, /* addresses that nobody has, or not there */
	T_MAC = 1 << 3,	    /* another sender's MAC */
	T_FRAGMENT = 1 << 4,
	T_OVERLAP = 1 << 5, /* a fragment of a datagram with an overlap */
	T_TINY = 1 << 6,    /* first fragment without the whole L4 header */
	T_RST_INEXACT = 1 << 7,
	T_OUT_OF_WINDOW = 1 << 8,
	T_ODD_FLAGS = 1 << 9,
	T_AFTER_CLOSE = 1 << 10, /* a segment of a closed or closing connection */
	T_SYN_LATER = 1 << 11,	 /* SYN or SYN-ACK within a connection */
	T_BAD_ACK = 1 << 12,	 /* acknowledges what was never sent */
	T_QUOTE_BAD = 1 << 13,	 /* an error whose quoted packet is not right */
	T_ICMP_OTHER = 1 << 14,	 /* neither echo nor an error */
	T_ZERO_SUM6 = 1 << 15,	 /* UDP over IPv6 without a checksum */
	T_EXT_BAD = 1 << 16,	 /* extension headers that have to be dropped (P7) */
	T_TTL = 1 << 17,	 /* TTL or hop limit at most 1 */
	T_PROTO = 1 << 18,	 /* neither TCP nor UDP nor ICMP */
	T_TO_FIREWALL = 1 << 19,
	T_INTER_CLIENT = 1 << 20,
	T_BIG = 1 << 21, /* beyond the uplink's MTU */
	T_MSS = 1 << 22, /* a SYN with a large MSS */
	T_SPOOFED = 1 << 23,
	T_UNSOLICITED = 1 << 24,  /* from the uplink, without a flow */
	T_EXT_OTHER = 1 << 25,	  /* an extension header that ends the walk (P7) */
	T_LENGTH = 1 << 26,	  /* a length field that is not right */
	T_ERROR = 1 << 27,	  /* an ICMP error */
	T_PORTED = 1 << 28,	  /* a protocol that has ports, but not for ringfence (U11) */
	T_SIMULTANEOUS = 1 << 29, /* of a connection that both ends opened (T2) */
	T_SYN_SENT = 1 << 30,	  /* handshake not finished */
};

struct bytes {
	uint16_t port;
	uint32_t len;
	uint8_t *b; /* from the Ethernet header */
};

/* What one side sent in answer to one packet. */
struct outputs {
	unsigned int n;
	struct bytes f[OUT_MAX];
	uint8_t room[OUT_MAX][FRAME_ROOM];
};

/* What came of a packet, in one word. */
enum outcome {
	O_NONE,	     /* silence */
	O_FORWARDED, /* another port got it */
	O_ERROR,     /* an ICMP error to the sender */
	O_ANSWER,    /* something else to the sender */
	O_OTHER,     /* more than one packet, or none of these */
};

struct verdict {
	enum outcome outcome;
	uint8_t type, code; /* of O_ERROR */
};

/* --- main.c ------------------------------------------------------------------- */

struct rng {
	uint64_t s;
};

uint64_t rng_next(struct rng *r);
/* below n */
uint32_t rng_below(struct rng *r, uint32_t n);
bool rng_one_in(struct rng *r, uint32_t n);

struct config {
	const char *kernel_ns, *fw_ns; /* names of ip-netns(8) */
	const char *db;		       /* ringfenced's file: */
	uint64_t seed;
	uint32_t packets, failures, linger_s;
	uint16_t mtu;		 /* of the uplink */
	bool ipv6, dns, verbose; /* dns: the virtual servers are translated */
	const char *conformance, *rows;
	const char *explain; /* the command that asks the daemon, for rows */
};
extern struct config config;

/* --- side.c ------------------------------------------------------------------- */

void sides_open(void);
void sides_close(void);
/* wait for what comes late */
void linger(unsigned int seconds);
/* one frame to one side at one port; everything it causes is in @out */
void exchange(enum side side, unsigned int port, const uint8_t *frame, uint32_t len,
	      struct outputs *out);
/* ringfenced limits its own errors: wait until one more is allowed */
void error_seen(unsigned int port);
void error_wait(unsigned int port);
/* frames that came without being asked for: reassembly timeouts */
extern uint64_t late_errors[SIDES];

/* --- canon.c ------------------------------------------------------------------ */

struct canon {
	uint32_t len;
	bool ip_sum_ok, sum_ok;
	uint8_t b[DATAGRAM_ROOM];
};

/*
 * An output frame with @nat replaced by @port wherever it stands for the client's
 * port, and whether its checksums are right.
 */
void canonical(struct canon *out, const struct bytes *f, uint16_t nat, uint16_t port);
/* the port that the uplink sees of a client's packet */
bool nat_port_of(const struct bytes *f, uint16_t *port);
/* fragments in @o are replaced by the datagrams they make; @room: for those */
void reassemble(struct outputs *o, uint8_t *room, size_t room_len);

/* --- differences.c ------------------------------------------------------------ */

enum field {
	FIELD_NONE,
	FIELD_OWN_HEADER = 1,
	FIELD_QUOTE_LENGTH = 2,
	FIELD_QUOTE_TTL = 4,
	FIELD_MSS = 8,
	FIELD_PIECES = 16,	 /* of a packet with extension headers */
	FIELD_OTHER_PIECES = 32, /* of any other */
	FIELD_PROTO = 64,
	FIELD_DF = 128,
	FIELD_SOURCE = 256,
	FIELD_ATOMIC = 512,
	FIELD_LAST = FIELD_ATOMIC
};

struct difference {
	const char *name;	   /* as in doc/differences.md */
	uint32_t traits;	   /* all of these; 0: any packet */
	uint8_t family;		   /* 0: both */
	uint8_t from;		   /* bit 0: uplink, bit 1: client */
	uint8_t kernel, ringfence; /* outcomes, as bits 1 << enum outcome */
	uint32_t fields;	   /* or a difference in bytes */
	bool rare;		   /* not every run meets it */
	bool (*also)(const struct pk *k, const struct verdict v[SIDES]);
};

/* the entry that allows it, or NULL; counts it */
const struct difference *difference_find(const struct pk *k, const struct verdict v[SIDES]);
const struct difference *difference_field(enum field f);
void differences_list(void);
/* what was met how often; diff.sh looks for entries that never were */
void differences_report(void);

/* --- compare.c ---------------------------------------------------------------- */

struct conv;
/* true: the same, or only the bytes differ as allowed */
bool compare(struct conv *c, const struct pk *k, struct outputs out[SIDES]);
struct verdict verdict_of(const struct pk *p, const struct outputs *o);

extern struct counts {
	uint64_t packets, forwarded, rejected, silent, conversations, differences, failures;
} counts;

/* --- policy.c ----------------------------------------------------------------- */

unsigned int policy_count(void);
/* put rule set @i in force on both sides */
void policy_apply(unsigned int i);
const char *policy_name(unsigned int i);
/* a destination and port that the set's rules are about: what random ones rarely hit */
bool policy_target(struct rng *r, uint8_t family, char *addr, size_t room, uint16_t *port,
		   uint8_t *proto);
void policy_open(void);

/* --- rows.c ------------------------------------------------------------------- */

/* one told or not told and one ok or not ok for each row of the file, then the counts of
 * its groups */
void rows_run(const char *path);

/* --- talk.c ------------------------------------------------------------------- */

struct conv {
	struct rng *rng;
	const char *kind;
	uint8_t family, client, proto;
	uint8_t local[16], remote[16], real[16]; /* real: what the uplink saw of remote */
	uint16_t sport, dport;			 /* ICMP echo: identifier in sport */
	uint16_t nat[SIDES];			 /* what sport became */
	bool over;				 /* the sides differ from now on, as allowed */
	bool passed;				 /* the last packet was forwarded by both */
	bool answered;				 /* it was refused with an error by both */
	/* the last packet at the uplink, and at the client: IP, as each side sent it */
	uint8_t at_uplink[SIDES][FRAME_ROOM], at_client[SIDES][FRAME_ROOM];
	uint16_t at_uplink_len[SIDES], at_client_len[SIDES];
	char *log; /* what happened so far, for a failure */
	size_t log_len, log_room;
};

void conv_start(struct conv *c, struct rng *r, const char *kind, uint8_t family, uint8_t client,
		uint8_t proto);
/* another remote than the one that was chosen */
void conv_remote(struct conv *c, const char *addr);
void conv_end(struct conv *c);
void conv_log(struct conv *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* a packet of the conversation from the client, or from the remote to our address */
struct pk conv_out(struct conv *c);
struct pk conv_in(struct conv *c);
/* send it to both sides and compare; false: the conversation is over */
bool step(struct conv *c, const struct pk *k);
/* the same packet in pieces: @cut bytes each, in the order that @how says */
enum pieces { IN_ORDER, REVERSED, SHUFFLED, OVERLAPPING, DUPLICATED, INCOMPLETE, PIECES_KINDS };
bool step_pieces(struct conv *c, const struct pk *k, uint32_t cut, enum pieces how);
/* an ICMP error of the family from @at, quoting the packet last seen there */
struct pk conv_error(struct conv *c, bool from_client, uint8_t type, uint8_t code, uint32_t info);

/* a random destination: often one of the rules */
void talk_random(struct rng *r, bool ipv6);
void talk_tcp(struct rng *r, uint8_t family, uint8_t client);
void talk_udp(struct rng *r, uint8_t family, uint8_t client);
void talk_echo(struct rng *r, uint8_t family, uint8_t client);
void talk_pieces(struct rng *r, uint8_t family, uint8_t client);
void talk_odd(struct rng *r, uint8_t family, uint8_t client);
void talk_place(struct rng *r, uint8_t family, uint8_t client);
void talk_ext(struct rng *r, uint8_t client);
void talk_protocol(struct rng *r, uint8_t family, uint8_t client);
void talk_collide(struct rng *r, uint8_t family);

#endif
