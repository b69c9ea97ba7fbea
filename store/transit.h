/*
 * transit.h -- sealed objects of others that a relay keeps until a way to their destination appears (im2.md 11.2).
 *
 * rt and body are ciphertext for somebody else and are kept as they came; destination, neighbour, size and time are in
 * clear. Time counts as running time (store_running_ms()), so that no wall clock keeps or drops anything. Everything is in
 * the group, like the rows of the boxes.
 */
#ifndef STORE_TRANSIT_H
#define STORE_TRANSIT_H

#include "store/store.h"

struct transit_limits {
	uint32_t objects_per_from;     /* 1,000 */
	uint64_t bytes_per_from;       /* 16 MiB */
	uint64_t bytes;                /* 1 GiB in all */
};
struct transit_new {
	uint8_t rid[16];
	struct node_id to, from;       /* from: the neighbour that brought it */
	uint8_t prio;
	uint32_t ttl_s, age_s;         /* of RT; measured when it came */
	uint8_t hops;                  /* still allowed, before ours is taken off */
	struct bytes rt, body;
};
struct transit_row {
	int64_t seq;
	uint8_t rid[16];
	struct node_id to, from;
	uint8_t prio, hops;
	uint32_t ttl_s, age_s;         /* age: now */
	uint32_t body_len;
};
/* ERR_FULL at a limit; ERR_EXISTS: it is kept already, the smaller age stays. */
enum err transit_put(struct store *s, const struct transit_limits *l, const struct transit_new *t) MUST_CHECK;
enum err transit_has(struct store *s, const uint8_t rid[static 16], struct transit_row *out) MUST_CHECK; /* ERR_NOTFOUND */
/* Rows for a destination, priority first, oldest first, behind `after`, which may be gone (NULL: from the start). */
enum err transit_list(struct store *s, const struct node_id *to, const struct transit_row *after, struct transit_row *rows,
		      size_t max, size_t *n) MUST_CHECK;
enum err transit_read(struct store *s, int64_t seq, struct buf *rt, struct buf *body) MUST_CHECK;
enum err transit_del(struct store *s, int64_t seq) MUST_CHECK;
/* Whom something is kept for, in the order of their ids, behind `after` (NULL: from the start). One step of an index each. */
enum err transit_destinations(struct store *s, const struct node_id *after, struct node_id *out, size_t max, size_t *n)
	MUST_CHECK;
/* Drops what is over its life; at most `max`. */
enum err transit_expire(struct store *s, size_t max, size_t *n) MUST_CHECK;
void transit_count(struct store *s, uint64_t *objects, uint64_t *bytes);

#endif
