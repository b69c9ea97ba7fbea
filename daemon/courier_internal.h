/*
 * courier_internal.h -- what courier.c (whom, when, again), courier_seal.c (one object of several messages) and
 * courier_in.c (what comes sealed, and receipts that go back) share.
 */
#ifndef DAEMON_COURIER_INTERNAL_H
#define DAEMON_COURIER_INTERNAL_H

#include "daemon/courier.h"
#include "daemon/node_internal.h"
#include "daemon/records.h"
#include "daemon/relay.h"
#include "daemon/routes.h"
#include "protocol/im2/seal.h"

#define COURIER_BATCH 64           /* messages in one object */
#define COURIER_BATCH_BYTES (256u << 10) /* of bodies, unless one alone has more */
#define COURIER_WINDOW 64          /* messages on their way to one destination */
#define COURIER_WINDOW_BYTES (2u << 20)
#define COURIER_RECEIPTS 64        /* that wait to go back to one author */

struct letter {
	int64_t seq;
	uint8_t wire_id[MSG_WIRE_ID];
	bool gone;                 /* confirmed or ended: nothing is waited for any more */
	bool unasked;              /* flag 8: nobody confirms it */
	char id[MSG_ID_MAX + 1];
};

/* One sealed object of ours on its way. */
struct parcel {
	struct list link;          /* of its destination */
	struct destination *to;
	uint8_t rid[16];
	uint8_t *rt, *body;
	uint16_t rt_n;
	uint32_t body_n, bytes;    /* bytes: of the clear bodies */
	uint32_t ttl_s;            /* as written */
	struct node_id via;        /* hex "": nobody has it */
	uint64_t sealed_ms, sent_ms, due_ms; /* monotonic */
	uint32_t tries;
	bool stored, no_fs;
	unsigned left;             /* letters that are not gone */
	unsigned n;
	struct letter letters[];
};

struct destination {
	struct node_id id;
	struct list parcels;
	struct list active;        /* in courier->active when something may be sent */
	bool is_active;
	bool more;                 /* the store may hold rows that are not on their way */
	bool introduced;           /* it has answered: it knows who we are */
	bool asked;                /* for its prekey */
	unsigned reseals;          /* because it did not know the prekey */
	unsigned letters;
	uint64_t bytes;
	uint64_t not_before_ms;
};

/* Receipts that are owed to one author. */
struct owed {
	struct node_id author;
	size_t n;
	struct {
		enum receipt_kind kind;
		uint8_t code;
		char id[33];
		int64_t inbox_seq; /* READ: reported once it has left; 0 = none */
	} r[COURIER_RECEIPTS];
	uint64_t due_ms;
};

struct courier {
	struct node *node;
	struct map *destinations;  /* node id -> struct destination * */
	struct map *rids;          /* rid -> struct parcel * */
	struct map *owed;          /* node id -> struct owed * */
	struct list active;
	struct timer timer;
	struct buf plain;
};

/* courier_seal.c */
/* The next rows that wait for `d`, signed and sealed. ERR_NOTFOUND: nothing waits. ERR_AGAIN: not now (the group is
 * open, or no key is known yet). */
enum err courier_seal(struct courier *k, struct destination *d, struct parcel **out) MUST_CHECK;
/* Appends the object that carries `items` to `to`. */
enum err courier_wrap(struct courier *k, const struct node_id *to, struct bytes items, uint32_t ttl_s, uint8_t prio,
		      bool introduce, struct buf *rt, struct buf *body, struct im2_sealed *out) MUST_CHECK;

/* courier.c */
void courier_wake_at(struct courier *k, uint64_t at_ms);
bool courier_carries(const struct destination *d, int64_t seq);

/* courier_in.c */
/* Sends what is due; returns when it is next. */
uint64_t courier_receipts_due(struct courier *k, bool all);

#endif
