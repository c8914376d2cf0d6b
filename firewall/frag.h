/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fragments: bytes of datagrams, until they are complete and until they are sent.
 * Theory of operation at the head of frag.c.
 */
#ifndef FIREWALL_FRAG_H
#define FIREWALL_FRAG_H

#include "firewall/packet.h"
#include "firewall/siphash.h"

#define FRAG_NONE UINT16_MAX
#define FRAG_BLOCK 1536u	  /* bytes of data in a block: one Ethernet fragment */
#define FRAG_BLOCKS 1024u	  /* of all owners: 1.5 MiB */
#define FRAG_DATAGRAMS 512u
#define FRAG_HASH 256u		  /* chains of the lookup */
#define FRAG_OWNER_DATAGRAMS 64u  /* F10 */
#define FRAG_OWNER_BLOCKS (256u * 1024 / FRAG_BLOCK)
#define FRAG_FRAGMENTS 64u	  /* F10: of one datagram */
#define FRAG_TIMEOUT4_S 30u	  /* 2.4 */
#define FRAG_TIMEOUT6_S 60u	  /* RFC 8200 4.5 */
#define FRAG_TIMEOUT_MAX_S 3600u

/** What holds fragments together; the interface keeps clients apart (F17). */
struct frag_key {
	struct ipkey src, dst;
	uint32_t id;
	uint16_t iface;
	uint8_t family;
	uint8_t proto; /* IPv4; 0 for IPv6, RFC 8200 4.5 */
};

/** A piece of a datagram's data. Pieces of one datagram never overlap. */
struct frag_block {
	uint16_t next; /* in order of offset; FRAG_NONE at the end */
	uint16_t off, len;
	uint16_t frag_off; /* of the fragment that it came in */
	uint16_t frag_len;
	uint8_t data[FRAG_BLOCK];
};

enum datagram_state {
	DATAGRAM_FREE,
	DATAGRAM_WAITING, /* for fragments */
	DATAGRAM_BAD,	  /* overlapped: what comes is dropped, until its timeout */
	DATAGRAM_SENDING, /* whole, or an answer of ours: frames of it leave */
};

struct frag_owner {
	uint16_t head, tail; /* WAITING and BAD datagrams, oldest first */
	uint16_t datagrams, blocks; /* in any state */
};

struct datagram {
	struct frag_key key;
	uint64_t since; /* ms of the engine's clock when its first fragment came */
	struct frag_owner *owner;
	uint16_t chain;		   /* lookup; free list */
	uint16_t next, prev;	   /* in the owner's order */
	uint16_t age_next, age_prev; /* in its family's */
	uint16_t blocks;	   /* first one, by offset */
	uint16_t fragments;
	uint16_t largest;  /* IP length of the largest fragment */
	uint16_t refs;	   /* frames of it that are on their way */
	uint16_t out_port; /* SENDING */
	uint16_t limit;	   /* SENDING: IP length of a frame */
	uint16_t sent;	   /* SENDING: bytes of data */
	uint16_t head_len; /* bytes in head[]: Ethernet, IP, what is not fragmented */
	uint16_t frag_at;  /* IPv6: offset of the fragment header in head[]; 0: none */
	uint16_t next_at;  /* IPv6: of the byte that names it */
	uint32_t size;	   /* bytes of data held */
	uint32_t total;	   /* of data when complete; 0: the last is not there yet */
	uint8_t state;	   /* enum datagram_state */
	bool has_first;
	bool no_answer;	   /* the first fragment is of an ICMP error or the like (I5) */
	bool ce;	   /* some fragment met congestion (RFC 3168) */
	bool df;
	bool finished; /* SENDING: nothing more to hand out */
	uint8_t head[FRAME_HEADER_MAX];
};

struct frag_list {
	uint16_t head, tail;
};

struct frag_table {
	struct frag_block *blocks;
	struct datagram *datagrams;
	uint16_t free_block, fresh_block, used_blocks;
	uint16_t free_datagram, fresh_datagram, used_datagrams;
	uint16_t chains[FRAG_HASH];
	struct frag_list age[FAMS];
	struct frag_list sending;
	uint32_t timeout_ms[FAMS];
	struct siphash_key hash_key;
};

/**
 * frag_table_init() - an empty table
 * @timeout_s:	by family; 0: the default
 *
 * Return: 0, -EINVAL or -ENOMEM.
 */
int frag_table_init(struct frag_table *t, const uint8_t hash_key[16],
		    const uint32_t timeout_s[FAMS]);
void frag_table_fini(struct frag_table *t);
void frag_owner_init(struct frag_owner *owner);

/** What frag_add() says. */
struct frag_result {
	enum drop_reason reason; /* NONE: the bytes were taken */
	uint16_t complete;	 /* the datagram that is whole now, or FRAG_NONE */
	unsigned int given_up;	 /* datagrams that made room */
};

/**
 * frag_add() - one more fragment
 * @f:		its segments are local
 * @p:		parsed; of a first fragment, its upper layer, too
 * @owner:	whose memory it is
 * @clock:	ms
 *
 * A complete datagram is out of the lookup; the caller sends it or drops it.
 */
struct frag_result frag_add(struct frag_table *t, const struct frag_key *key,
			    struct frag_owner *owner, const struct frame *f,
			    const struct packet *p, uint64_t clock);

/**
 * frag_take() - keep a whole packet that will leave in pieces
 * @data_at:	where in the frame the part begins that is divided
 *
 * Return: the datagram, or FRAG_NONE: no memory, or its segments are not local.
 */
uint16_t frag_take(struct frag_table *t, struct frag_owner *owner, const struct frame *f,
		   size_t data_at);

/**
 * frag_expired() - a datagram that has waited too long; FRAG_NONE: none
 *
 * The caller ends it with frag_drop() or turns it into an answer.
 */
uint16_t frag_expired(const struct frag_table *t, uint64_t clock);

/** frag_drop() - a datagram that is not being sent ends */
void frag_drop(struct frag_table *t, uint16_t index);

/** frag_purge() - everything of an owner ends; nothing refers to it any more */
void frag_purge(struct frag_table *t, struct frag_owner *owner);

/** frag_answer() - its bytes give way to a frame that is all header[] */
void frag_answer(struct frag_table *t, uint16_t index, const struct frame *f);

/**
 * frag_send() - put it at the end of those that are being sent
 *
 * out_port, limit, head[] and head_len are set. It ends when it is marked as
 * finished and no frame of it is on its way.
 */
void frag_send(struct frag_table *t, uint16_t index);

/** frag_sending() - the one whose turn it is, or FRAG_NONE */
uint16_t frag_sending(const struct frag_table *t);

/** frag_finish() - all frames of the one whose turn it is were handed out */
void frag_finish(struct frag_table *t);

/** frag_unref() - a frame of it is gone */
void frag_unref(struct frag_table *t, uint16_t index);

/** frag_first_len() - bytes of data in its first fragment; 0: it is not there */
size_t frag_first_len(const struct frag_table *t, const struct datagram *d);

/** frag_read() - up to @len bytes of its data from @off, or to a hole; their number */
size_t frag_read(const struct frag_table *t, const struct datagram *d, size_t off, void *dst,
		 size_t len);

/** frag_write() - overwrite bytes of its data */
void frag_write(struct frag_table *t, const struct datagram *d, size_t off, const void *src,
		size_t len);

/** frag_sum() - checksum sum over all its data, from @off, an even number, on */
uint64_t frag_sum(const struct frag_table *t, const struct datagram *d, size_t off);

/**
 * frag_segs() - describe data as segments of a frame
 * @off:	where to begin
 * @len:	how much at most; a multiple of 8 unless it reaches the end
 *
 * Return: bytes described, fewer than @len where FRAME_SEG_MAX pieces are not
 * enough.
 */
uint32_t frag_segs(const struct frag_table *t, const struct datagram *d, uint32_t off,
		   uint32_t len, struct frame *f);

/** frag_check() - abort unless all invariants hold; for tests */
void frag_check(const struct frag_table *t);

#endif
