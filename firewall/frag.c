// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Fragments. Theory of operation.
 *
 * Only a whole datagram has ports, so only a whole datagram is judged (F13, F14):
 * the bytes of its fragments are kept here until all have come, the engine decides
 * about the whole, and what it lets through leaves as fragments again, none larger
 * than the largest that came (so a sender's knowledge of its path stays true) nor
 * than the next link takes.
 *
 * Memory. Data lies in blocks of one Ethernet fragment's size, linked in order of
 * their offset. All blocks and datagrams are there from the start and are touched
 * only when they are first used. An owner (an interface) has at most 64 datagrams
 * and 256 KiB (F10), and no more than is free for the others; when it needs room,
 * its own oldest datagram goes, never another's (D4).
 *
 * Overlaps. Datagrams whose fragments overlap are attacks or broken: two readers
 * may put them together in two ways. So all of it is dropped and its key stays,
 * marked bad, until the timeout, so that late fragments do not start it afresh
 * (RFC 5722, F3, F4). A fragment that repeats another one byte by byte is a
 * network's doing and is ignored (F2).
 *
 * Time. Two lists in order of arrival, for the two timeouts (30 s, 60 s; F11).
 *
 * A datagram's life: WAITING -> complete -> SENDING -> free, or WAITING -> BAD ->
 * free. While it is being sent, frames refer to its blocks; the last one frees it.
 *
 * Invariants (frag_check): every block is free or in one datagram; an owner's
 * counters are what it has; each datagram that waits is found by its key.
 */
#include "firewall/frag.h"
#include "firewall/csum.h"

#include <errno.h>
#include <stdlib.h>

#define SEGS_MAX 16	   /* of a frame: within what any ring takes */

static_assert(FRAG_BLOCK % 8 == 0, "a cut between blocks is a cut between fragments");
static_assert(SEGS_MAX <= FRAME_SEG_MAX, "they fit the frame");
static_assert(FRAG_BLOCKS < FRAG_NONE && FRAG_DATAGRAMS < FRAG_NONE, "16-bit indexes");
static_assert((FRAG_HASH & (FRAG_HASH - 1)) == 0, "masked");

/* --- life ---------------------------------------------------------------------------- */

int frag_table_init(struct frag_table *t, const uint8_t hash_key[16],
		    const uint32_t timeout_s[FAMS])
{
	static const uint32_t defaults[FAMS] = { FRAG_TIMEOUT4_S, FRAG_TIMEOUT6_S };

	for (unsigned int i = 0; i < FAMS; i++)
		if (timeout_s[i] > FRAG_TIMEOUT_MAX_S)
			return -EINVAL;
	memset(t, 0, sizeof(*t));
	/* not touched before their first use: memory grows with it */
	t->blocks = malloc(FRAG_BLOCKS * sizeof(*t->blocks));
	t->datagrams = malloc(FRAG_DATAGRAMS * sizeof(*t->datagrams));
	if (!t->blocks || !t->datagrams) {
		frag_table_fini(t);
		return -ENOMEM;
	}
	memcpy(&t->hash_key, hash_key, sizeof(t->hash_key));
	t->free_block = t->free_datagram = FRAG_NONE;
	for (unsigned int i = 0; i < FRAG_HASH; i++)
		t->chains[i] = FRAG_NONE;
	for (unsigned int i = 0; i < FAMS; i++) {
		t->age[i] = (struct frag_list){ FRAG_NONE, FRAG_NONE };
		t->timeout_ms[i] = (timeout_s[i] ? timeout_s[i] : defaults[i]) * 1000;
	}
	t->sending = (struct frag_list){ FRAG_NONE, FRAG_NONE };
	return 0;
}

void frag_table_fini(struct frag_table *t)
{
	free(t->blocks);
	free(t->datagrams);
	t->blocks = NULL;
	t->datagrams = NULL;
}

void frag_owner_init(struct frag_owner *owner)
{
	*owner = (struct frag_owner){ .head = FRAG_NONE, .tail = FRAG_NONE };
}

static uint16_t block_get(struct frag_table *t)
{
	uint16_t index = t->free_block;

	if (index != FRAG_NONE)
		t->free_block = t->blocks[index].next;
	else if (t->fresh_block < FRAG_BLOCKS)
		index = t->fresh_block++;
	else
		return FRAG_NONE;
	t->used_blocks++;
	return index;
}

static void blocks_free(struct frag_table *t, struct datagram *d)
{
	uint16_t index = d->blocks;

	while (index != FRAG_NONE) {
		struct frag_block *b = &t->blocks[index];
		uint16_t next = b->next;

		memset(b->data, 0, b->len); /* Q7: one client's bytes end here */
		b->next = t->free_block;
		t->free_block = index;
		t->used_blocks--;
		if (d->owner)
			d->owner->blocks--;
		index = next;
	}
	d->blocks = FRAG_NONE;
	d->size = 0;
}

/* --- lists ---------------------------------------------------------------------------- */

static uint16_t *chain_of(struct frag_table *t, const struct frag_key *k)
{
	const uint64_t words[5] = { k->src.w[0], k->src.w[1], k->dst.w[0], k->dst.w[1],
				    k->id | (uint64_t)k->iface << 32 };
	uint64_t last = k->family | (uint64_t)k->proto << 8 | (uint64_t)42 << 56;

	return &t->chains[siphash_words(&t->hash_key, words, 5, last, 1, 3) & (FRAG_HASH - 1)];
}

static bool key_equal(const struct frag_key *a, const struct frag_key *b)
{
	return a->id == b->id && a->iface == b->iface && a->family == b->family &&
	       a->proto == b->proto && ipkey_equal(&a->src, &b->src) &&
	       ipkey_equal(&a->dst, &b->dst);
}

static uint16_t find(struct frag_table *t, const struct frag_key *key)
{
	uint16_t i = *chain_of(t, key);

	while (i != FRAG_NONE && !key_equal(&t->datagrams[i].key, key))
		i = t->datagrams[i].chain;
	return i;
}

static enum fam fam_of(const struct datagram *d)
{
	return d->key.family == 6 ? V6 : V4;
}

static void owner_append(struct frag_table *t, uint16_t index)
{
	struct datagram *d = &t->datagrams[index];
	struct frag_owner *o = d->owner;

	d->next = FRAG_NONE;
	d->prev = o->tail;
	if (o->tail == FRAG_NONE)
		o->head = index;
	else
		t->datagrams[o->tail].next = index;
	o->tail = index;
}

static void age_append(struct frag_table *t, uint16_t index)
{
	struct datagram *d = &t->datagrams[index];
	struct frag_list *l = &t->age[fam_of(d)];

	d->age_next = FRAG_NONE;
	d->age_prev = l->tail;
	if (l->tail == FRAG_NONE)
		l->head = index;
	else
		t->datagrams[l->tail].age_next = index;
	l->tail = index;
}

/* Out of the lookup, its owner's order and its family's. */
static void unlink_waiting(struct frag_table *t, uint16_t index)
{
	struct datagram *d = &t->datagrams[index];
	struct frag_list *l = &t->age[fam_of(d)];
	uint16_t *chain = chain_of(t, &d->key);

	while (*chain != index)
		chain = &t->datagrams[*chain].chain;
	*chain = d->chain;
	*(d->prev == FRAG_NONE ? &d->owner->head : &t->datagrams[d->prev].next) = d->next;
	*(d->next == FRAG_NONE ? &d->owner->tail : &t->datagrams[d->next].prev) = d->prev;
	*(d->age_prev == FRAG_NONE ? &l->head : &t->datagrams[d->age_prev].age_next) = d->age_next;
	*(d->age_next == FRAG_NONE ? &l->tail : &t->datagrams[d->age_next].age_prev) = d->age_prev;
}

static bool is_waiting(const struct datagram *d)
{
	return d->state == DATAGRAM_WAITING || d->state == DATAGRAM_BAD;
}

static void datagram_free(struct frag_table *t, uint16_t index)
{
	struct datagram *d = &t->datagrams[index];

	blocks_free(t, d);
	if (d->owner)
		d->owner->datagrams--;
	memset(d, 0, sizeof(*d));
	d->chain = t->free_datagram;
	t->free_datagram = index;
	t->used_datagrams--;
}

void frag_drop(struct frag_table *t, uint16_t index)
{
	if (is_waiting(&t->datagrams[index]))
		unlink_waiting(t, index);
	datagram_free(t, index);
}

/* --- room ----------------------------------------------------------------------------- */

/* Give up the owner's oldest that waits, but not @keep; false: it has no other. */
static bool evict(struct frag_table *t, struct frag_owner *owner, uint16_t keep)
{
	uint16_t index = owner->head;

	if (index == keep && index != FRAG_NONE)
		index = t->datagrams[index].next;
	if (index == FRAG_NONE)
		return false;
	frag_drop(t, index);
	return true;
}

static bool room_for(const struct frag_table *t, const struct frag_owner *o, unsigned int datagrams,
		     unsigned int blocks)
{
	return o->datagrams + datagrams <= FRAG_OWNER_DATAGRAMS &&
	       o->blocks + blocks <= FRAG_OWNER_BLOCKS &&
	       o->datagrams + 2 * datagrams <= FRAG_DATAGRAMS - t->used_datagrams &&
	       o->blocks + 2 * blocks <= FRAG_BLOCKS - t->used_blocks;
}

static bool make_room(struct frag_table *t, struct frag_owner *owner, uint16_t keep,
		      unsigned int datagrams, unsigned int blocks, unsigned int *given_up)
{
	while (!room_for(t, owner, datagrams, blocks)) {
		if (!evict(t, owner, keep))
			return false;
		++*given_up;
	}
	return true;
}

static uint16_t datagram_new(struct frag_table *t, struct frag_owner *owner)
{
	uint16_t index = t->free_datagram;

	if (index != FRAG_NONE)
		t->free_datagram = t->datagrams[index].chain;
	else
		index = t->fresh_datagram++; /* room_for() has seen to it */
	t->used_datagrams++;
	memset(&t->datagrams[index], 0, sizeof(t->datagrams[index]));
	t->datagrams[index].owner = owner;
	t->datagrams[index].blocks = FRAG_NONE;
	owner->datagrams++;
	return index;
}

static unsigned int blocks_for(uint32_t len)
{
	return (len + FRAG_BLOCK - 1) / FRAG_BLOCK;
}

/*
 * Copy a part of a frame into blocks and link them at @link. There is room.
 * Return: false when the frame's bytes are out of reach.
 */
static bool store(struct frag_table *t, struct datagram *d, uint16_t *link, const struct frame *f,
		  size_t at, uint32_t off, uint32_t len)
{
	for (uint32_t done = 0; done < len;) {
		uint32_t n = len - done < FRAG_BLOCK ? len - done : FRAG_BLOCK;
		uint16_t index = block_get(t);
		struct frag_block *b = &t->blocks[index];

		b->next = *link;
		b->off = (uint16_t)(off + done);
		b->len = (uint16_t)n;
		b->frag_off = (uint16_t)off;
		b->frag_len = (uint16_t)len;
		*link = index;
		link = &b->next;
		if (d->owner)
			d->owner->blocks++;
		d->size += n;
		if (!frame_read(f, at + done, b->data, n))
			return false;
		done += n;
	}
	return true;
}

uint16_t frag_take(struct frag_table *t, struct frag_owner *owner, const struct frame *f,
		   size_t data_at)
{
	uint32_t len = f->len - (uint32_t)data_at;
	struct datagram *d;
	uint16_t index;

	/* nothing that waits is given up for it: it can be sent again at once */
	if (len > UINT16_MAX || !room_for(t, owner, 1, blocks_for(len)))
		return FRAG_NONE;
	index = datagram_new(t, owner);
	d = &t->datagrams[index];
	d->state = DATAGRAM_SENDING;
	d->total = len;
	if (!store(t, d, &d->blocks, f, data_at, 0, len)) {
		datagram_free(t, index);
		return FRAG_NONE;
	}
	return index;
}

/* --- one more fragment ------------------------------------------------------------------ */

/* F3, F4: nothing of it is kept but that it was bad. */
static void spoil(struct frag_table *t, struct datagram *d)
{
	blocks_free(t, d);
	d->state = DATAGRAM_BAD;
	d->has_first = false;
}

/* Whether [off, off + len) stands in the datagram already, as one fragment. */
static bool is_duplicate(const struct frag_table *t, uint16_t index, const struct frame *f,
			 size_t at, uint32_t off, uint32_t len)
{
	const struct frag_block *b;
	uint8_t byte[FRAG_BLOCK];

	for (; index != FRAG_NONE && t->blocks[index].off < off + len; index = b->next) {
		b = &t->blocks[index];

		if (b->frag_off != off || b->frag_len != len ||
		    !frame_read(f, at + (b->off - off), byte, b->len) ||
		    memcmp(byte, b->data, b->len) != 0)
			return false;
	}
	return true;
}

enum place { PLACE_FREE, PLACE_DUPLICATE, PLACE_OVERLAP };

/* Where a fragment belongs; @link: the place to link its first block. */
static enum place find_place(struct frag_table *t, struct datagram *d, const struct frame *f,
			     size_t at, uint32_t off, uint32_t len, uint16_t **link)
{
	uint16_t *l = &d->blocks;

	while (*l != FRAG_NONE && (uint32_t)t->blocks[*l].off + t->blocks[*l].len <= off)
		l = &t->blocks[*l].next;
	*link = l;
	if (*l == FRAG_NONE || t->blocks[*l].off >= off + len)
		return PLACE_FREE;
	return is_duplicate(t, *l, f, at, off, len) ? PLACE_DUPLICATE : PLACE_OVERLAP;
}

/* Whether a fragment with this end fits what is known of the datagram's end. */
static bool end_fits(const struct frag_table *t, const struct datagram *d, uint32_t end, bool more)
{
	if (more)
		return d->total == 0 || end < d->total;
	if (d->total != 0)
		return end == d->total;
	for (uint16_t i = d->blocks; i != FRAG_NONE; i = t->blocks[i].next)
		if ((uint32_t)t->blocks[i].off + t->blocks[i].len > end)
			return false;
	return true;
}

/* F6, F7, F16: what can be said of a fragment alone. */
static bool fragment_ok(const struct packet *p, uint32_t len)
{
	uint32_t headers = p->ip_len - len;

	if (p->family == 6)
		headers -= IP6_LEN + IP6_FRAG_LEN; /* what the payload length counts */
	if (len == 0 || (p->more && len % 8 != 0))
		return false; /* F16, RFC 8200 4.5 */
	if (headers + p->frag_off + len > 65535)
		return false; /* F7 */
	/* F6, RFC 3128 */
	return !(p->family == 4 && p->proto == PROTO_TCP && p->frag_off == 8);
}

static uint16_t datagram_begin(struct frag_table *t, const struct frag_key *key,
			       struct frag_owner *owner, uint64_t clock)
{
	uint16_t index = datagram_new(t, owner), *chain = chain_of(t, key);
	struct datagram *d = &t->datagrams[index];

	d->key = *key;
	d->since = clock;
	d->state = DATAGRAM_WAITING;
	d->chain = *chain;
	*chain = index;
	owner_append(t, index);
	age_append(t, index);
	return index;
}

static void note_first(struct datagram *d, const struct frame *f, const struct packet *p)
{
	memcpy(d->head, f->header, p->frag_data); /* it is within the private copy */
	d->head_len = p->frag_data;
	d->frag_at = p->frag_at;
	d->next_at = p->next_at;
	d->no_answer = packet_is_icmp(p) && !icmp_is_echo(p->family, p->icmp_type);
	d->has_first = true;
}

/* What each fragment of @len bytes says of the datagram. */
static void note(struct datagram *d, const struct frame *f, const struct packet *p, uint32_t len)
{
	d->fragments++;
	d->df |= p->family == 4 && p->df;
	d->ce |= packet_ecn(f, p) == ECN_CE;
	if (p->ip_len > d->largest)
		d->largest = (uint16_t)p->ip_len;
	if (!p->more)
		d->total = p->frag_off + len;
	if (p->frag_off == 0)
		note_first(d, f, p);
}

/* The whole, as one packet, must be one that could have been sent. */
static bool whole_fits(const struct datagram *d)
{
	uint32_t headers = d->head_len - (uint32_t)ETH_LEN;

	if (d->key.family == 6)
		headers -= IP6_LEN + IP6_FRAG_LEN;
	return headers + d->total <= 65535; /* F7 */
}

struct frag_result frag_add(struct frag_table *t, const struct frag_key *key,
			    struct frag_owner *owner, const struct frame *f,
			    const struct packet *p, uint64_t clock)
{
	struct frag_result r = { DROP_FRAGMENT, FRAG_NONE, 0 };
	uint32_t len = ETH_LEN + p->ip_len - p->frag_data, off = p->frag_off;
	uint16_t index, *link;
	struct datagram *d;
	enum place place;

	if (!fragment_ok(p, len))
		return r;
	index = find(t, key);
	if (index == FRAG_NONE) {
		if (!make_room(t, owner, FRAG_NONE, 1, 0, &r.given_up)) {
			r.reason = DROP_FRAGMENT_LIMIT; /* F10 */
			return r;
		}
		index = datagram_begin(t, key, owner, clock);
	}
	d = &t->datagrams[index];
	if (d->state == DATAGRAM_BAD)
		return r;
	place = find_place(t, d, f, p->frag_data, off, len, &link);
	if (place == PLACE_DUPLICATE) {
		r.reason = DROP_NONE; /* F2 */
		return r;
	}
	if (place == PLACE_OVERLAP || !end_fits(t, d, off + len, p->more)) {
		spoil(t, d);
		return r;
	}
	if (d->fragments == FRAG_FRAGMENTS ||
	    !make_room(t, owner, index, 0, blocks_for(len), &r.given_up)) {
		spoil(t, d);
		r.reason = DROP_FRAGMENT_LIMIT; /* F10 */
		return r;
	}
	if (!store(t, d, link, f, p->frag_data, off, len)) {
		spoil(t, d);
		r.reason = DROP_COPY_FAILED;
		return r;
	}
	note(d, f, p, len);
	r.reason = DROP_NONE;
	if (d->size != d->total)
		return r;
	if (!whole_fits(d)) {
		spoil(t, d);
		r.reason = DROP_FRAGMENT;
		return r;
	}
	unlink_waiting(t, index);
	d->state = DATAGRAM_SENDING;
	r.complete = index;
	return r;
}

size_t frag_first_len(const struct frag_table *t, const struct datagram *d)
{
	return d->has_first ? t->blocks[d->blocks].frag_len : 0;
}

uint16_t frag_expired(const struct frag_table *t, uint64_t clock)
{
	for (unsigned int i = 0; i < FAMS; i++) {
		uint16_t head = t->age[i].head;

		if (head != FRAG_NONE && clock - t->datagrams[head].since >= t->timeout_ms[i])
			return head;
	}
	return FRAG_NONE;
}

/* --- sending --------------------------------------------------------------------------- */

void frag_answer(struct frag_table *t, uint16_t index, const struct frame *f)
{
	struct datagram *d = &t->datagrams[index];

	blocks_free(t, d);
	d->total = 0;
	memcpy(d->head, f->header, f->header_len);
	d->head_len = f->header_len;
}

void frag_send(struct frag_table *t, uint16_t index)
{
	struct datagram *d = &t->datagrams[index];

	if (is_waiting(d))
		unlink_waiting(t, index);
	d->state = DATAGRAM_SENDING;
	d->next = FRAG_NONE;
	if (t->sending.tail == FRAG_NONE)
		t->sending.head = index;
	else
		t->datagrams[t->sending.tail].next = index;
	t->sending.tail = index;
}

uint16_t frag_sending(const struct frag_table *t)
{
	return t->sending.head;
}

void frag_finish(struct frag_table *t)
{
	uint16_t index = t->sending.head;
	struct datagram *d = &t->datagrams[index];

	t->sending.head = d->next;
	if (d->next == FRAG_NONE)
		t->sending.tail = FRAG_NONE;
	d->finished = true;
	if (d->refs == 0)
		datagram_free(t, index);
}

void frag_unref(struct frag_table *t, uint16_t index)
{
	struct datagram *d = &t->datagrams[index];

	assert(d->state == DATAGRAM_SENDING && d->refs > 0);
	d->refs--;
	if (d->refs == 0 && d->finished)
		datagram_free(t, index);
}

void frag_purge(struct frag_table *t, struct frag_owner *owner)
{
	uint16_t *link = &t->sending.head, last = FRAG_NONE;

	while (owner->head != FRAG_NONE)
		frag_drop(t, owner->head);
	while (*link != FRAG_NONE) {
		uint16_t index = *link;
		struct datagram *d = &t->datagrams[index];

		if (d->owner != owner) {
			last = index;
			link = &d->next;
			continue;
		}
		*link = d->next;
		d->finished = true;
		if (d->refs == 0)
			datagram_free(t, index);
	}
	t->sending.tail = last;
	/* frames of these are on their way; they end without an owner */
	for (uint16_t i = 0; owner->datagrams > 0 && i < t->fresh_datagram; i++) {
		struct datagram *d = &t->datagrams[i];

		if (d->state == DATAGRAM_FREE || d->owner != owner)
			continue;
		for (uint16_t b = d->blocks; b != FRAG_NONE; b = t->blocks[b].next)
			owner->blocks--;
		owner->datagrams--;
		d->owner = NULL;
	}
}

/* --- data ------------------------------------------------------------------------------- */

static uint16_t block_at(const struct frag_table *t, const struct datagram *d, size_t off)
{
	uint16_t i = d->blocks;

	while (i != FRAG_NONE && (size_t)t->blocks[i].off + t->blocks[i].len <= off)
		i = t->blocks[i].next;
	return i;
}

/*
 * Up to @len bytes of data from @off, as many as lie in one block; *i, from block_at(),
 * goes on to the next. Return: their number, 0 at a hole and at the end.
 */
static size_t piece(const struct frag_table *t, uint16_t *i, size_t off, size_t len,
		    uint8_t **data)
{
	struct frag_block *b;
	size_t n;

	if (*i == FRAG_NONE || len == 0)
		return 0;
	b = &t->blocks[*i];
	if (b->off > off)
		return 0;
	*i = b->next;
	*data = b->data + (off - b->off);
	n = b->len - (off - b->off);
	return n < len ? n : len;
}

size_t frag_read(const struct frag_table *t, const struct datagram *d, size_t off, void *dst,
		 size_t len)
{
	uint16_t i = block_at(t, d, off);
	size_t done = 0, n;
	uint8_t *data;

	while ((n = piece(t, &i, off + done, len - done, &data)) > 0) {
		memcpy((uint8_t *)dst + done, data, n);
		done += n;
	}
	return done;
}

void frag_write(struct frag_table *t, const struct datagram *d, size_t off, const void *src,
		size_t len)
{
	uint16_t i = block_at(t, d, off);
	size_t done = 0, n;
	uint8_t *data;

	while ((n = piece(t, &i, off + done, len - done, &data)) > 0) {
		memcpy(data, (const uint8_t *)src + done, n);
		done += n;
	}
	assert(done == len);
}

uint64_t frag_sum(const struct frag_table *t, const struct datagram *d, size_t off)
{
	uint64_t sum = 0;

	for (uint16_t i = block_at(t, d, off); i != FRAG_NONE; i = t->blocks[i].next) {
		const struct frag_block *b = &t->blocks[i];
		size_t skip = b->off < off ? off - b->off : 0;

		/* every block but the last has an even length */
		sum += csum_fold(csum_bytes(b->data + skip, b->len - skip, 0));
	}
	return sum;
}

uint32_t frag_segs(const struct frag_table *t, const struct datagram *d, uint32_t off,
		   uint32_t len, struct frame *f)
{
	uint16_t i = block_at(t, d, off);
	uint32_t done = 0;
	uint8_t *data;
	size_t n;

	f->nseg = 0;
	while (f->nseg < SEGS_MAX && (n = piece(t, &i, off + done, len - done, &data)) > 0) {
		f->seg[f->nseg++] = (struct frame_seg){ .local = data, .len = (uint32_t)n };
		done += (uint32_t)n;
	}
	return done;
}

/* --- the deep check --------------------------------------------------------------------- */

static void check_datagram(const struct frag_table *t, uint16_t index)
{
	const struct datagram *d = &t->datagrams[index];
	uint32_t size = 0, end = 0;

	for (uint16_t i = d->blocks; i != FRAG_NONE; i = t->blocks[i].next) {
		const struct frag_block *b = &t->blocks[i];

		assert(i < t->fresh_block && b->len > 0 && b->off >= end);
		end = (uint32_t)b->off + b->len;
		size += b->len;
	}
	assert(size == d->size && (d->total == 0 || end <= d->total));
	if (is_waiting(d)) {
		assert(find((struct frag_table *)(uintptr_t)t, &d->key) == index);
		assert(d->owner && d->refs == 0 && !d->finished);
		assert(d->state == DATAGRAM_WAITING || d->blocks == FRAG_NONE);
	}
}

void frag_check(const struct frag_table *t)
{
	unsigned int datagrams = 0, blocks = 0, waiting = 0, listed = 0, unused = 0;

	for (uint16_t i = 0; i < t->fresh_datagram; i++) {
		const struct datagram *d = &t->datagrams[i];

		if (d->state == DATAGRAM_FREE)
			continue;
		check_datagram(t, i);
		datagrams++;
		waiting += is_waiting(d);
		for (uint16_t b = d->blocks; b != FRAG_NONE; b = t->blocks[b].next)
			blocks++;
	}
	assert(datagrams == t->used_datagrams && blocks == t->used_blocks);
	for (unsigned int f = 0; f < FAMS; f++)
		for (uint16_t i = t->age[f].head; i != FRAG_NONE; i = t->datagrams[i].age_next)
			listed++;
	assert(listed == waiting);
	for (uint16_t b = t->free_block; b != FRAG_NONE; b = t->blocks[b].next)
		unused++;
	assert(unused + blocks == t->fresh_block);
}
