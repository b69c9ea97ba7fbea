/*
 * courier_internal.h -- what the files of the courier share.
 *
 *   courier.c           whom, when, again          courier_fate.c      what becomes of what is on its way
 *   courier_seal.c      one object of several      courier_in.c        what comes sealed; probes of a way
 *                       messages                   courier_receipts.c  receipts that go back
 */
#ifndef DAEMON_COURIER_INTERNAL_H
#define DAEMON_COURIER_INTERNAL_H

#include "daemon/courier.h"
#include "daemon/node_internal.h"
#include "daemon/records.h"
#include "daemon/relay.h"
#include "daemon/routes.h"
#include "protocol/im2/record.h"
#include "protocol/im2/seal.h"

#define COURIER_BATCH 64           /* messages in one object */
#define COURIER_BATCH_BYTES (256u << 10) /* of bodies, unless one alone has more */
#define COURIER_WINDOW 64          /* messages on their way to one destination */
#define COURIER_WINDOW_BYTES (1u << 20)
#define COURIER_TOTAL 4096         /* messages on their way in all, give or take an object */
#define COURIER_TOTAL_BYTES (64u << 20) /* of sealed objects in memory */
#define COURIER_RECEIPTS 64        /* that wait to go back to one author */
#define COURIER_AGAIN_MS 60000     /* through relays; doubling up to */
#define COURIER_AGAIN_MAX_MS 1800000
#define COURIER_STORED_MS 3600000
#define COURIER_BUSY_MS 1000
#define COURIER_PROBES 64

struct letter {
	int64_t seq;
	uint8_t wire_id[MSG_WIRE_ID];
	bool gone;                 /* confirmed or ended: nothing is waited for any more */
	bool unasked;              /* flag 8: it ends when it has left */
	bool held;                 /* over there, until its operator decides */
	uint64_t ends_ms;          /* monotonic: of its life */
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
	unsigned turned;           /* sent on by another way because a relay said so, since it was last due */
	bool stored, no_fs;
	bool key_doubted;          /* the far side says that it does not know its prekey */
	uint8_t key_digest[16];    /* of the record of that prekey */
	unsigned busy;             /* on the stack of somebody: freed later */
	bool over;
	unsigned left;             /* letters that are not gone */
	unsigned n;
	struct letter letters[];
};

/* What left without a receipt is unfinished until its life ends (im2.md 9.5): no higher figure is told before. Several
 * are told apart roughly, so that one of them does not hold the figure for ever. */
#define COURIER_FLOORS 16
struct courier_floor {
	uint8_t era[8];
	uint64_t seq;              /* lowest */
	uint64_t until_ms;         /* 0: free */
};

struct destination {
	struct node_id id;
	struct list all;           /* in courier->all */
	struct list parcels;
	struct list active;        /* in courier->active when something may be sent */
	bool is_active;
	bool more;                 /* the store may hold rows that are not on their way */
	bool introduced;           /* it has answered: it knows who we are */
	unsigned asked;            /* for its prekey, since one came */
	unsigned reseals;          /* because it did not know the prekey */
	unsigned letters;
	uint64_t bytes;
	uint64_t not_before_ms;
	uint64_t sealed_ms;        /* the last one */
	struct courier_floor floors[COURIER_FLOORS];
};

/* Receipts that are owed to one author. */
struct owed {
	struct list link;          /* in courier->owing */
	struct node_id author;
	size_t n;
	struct {
		enum receipt_kind kind;
		uint8_t code;
		char id[33];
		int64_t inbox_seq; /* READ: reported once it has left; 0 = none */
		int64_t kept_seq;  /* others: the row; 0 = none was kept */
	} r[COURIER_RECEIPTS];
	uint64_t due_ms;
	unsigned tries;
};

/* What one neighbour may bring for us (im2.md 18.3). */
struct giver {
	struct bucket objects, bytes, strangers;
	bool trusted;
};

struct probe {
	uint8_t word[8];
	struct node_id to, via;
	uint64_t sent_ms;          /* 0: free */
};

struct courier {
	struct node *node;
	struct map *destinations;  /* node id -> struct destination * */
	struct map *rids;          /* rid -> struct parcel * */
	struct map *owed;          /* node id -> struct owed * */
	struct map *givers;        /* node id -> struct giver */
	struct list all, active, owing;
	struct timer timer;
	struct buf plain;
	struct probe probes[COURIER_PROBES];
	uint64_t bytes;            /* of sealed objects */
	unsigned letters;
	bool blocked;              /* somebody waits for room in all */
	bool receipts_due;
};

/* courier_seal.c */
/* The next rows that wait for `d`, signed and sealed. ERR_NOTFOUND: nothing waits. ERR_AGAIN: not now (the group is
 * open, or no key is known yet). ERR_LIMIT, ERR_UNTRUSTED: some have failed for good; others may wait. */
enum err courier_seal(struct courier *k, struct destination *d, struct parcel **out) MUST_CHECK;
/* Appends the object that carries `items` to `to`. ERR_UNTRUSTED: no key that may be used. */
enum err courier_wrap(struct courier *k, const struct node_id *to, struct bytes items, uint32_t ttl_s, uint8_t prio,
		      bool introduce, struct buf *rt, struct buf *body, struct im2_sealed *out) MUST_CHECK;
/* Digest of the newest prekey record of `to`; zeros: none. */
void courier_key_digest(struct node *n, const struct node_id *to, uint8_t out[static 16]);

/* courier.c */
void courier_wake_at(struct courier *k, uint64_t at_ms);
void courier_activate(struct courier *k, struct destination *d);
struct destination *courier_find(struct courier *k, const struct node_id *id);
/* Hands it to the next hop, another one than the last time where there is one. It may be gone afterwards. */
void courier_dispatch(struct courier *k, struct parcel *p);
void courier_parcel_end(struct courier *k, struct parcel *p); /* later, when somebody has it on his stack */
/* Between these it stays; the second may free it. */
void courier_parcel_hold(struct parcel *p);
void courier_parcel_release(struct courier *k, struct parcel *p);
/* An event for each letter that is not gone. */
void courier_tell(struct courier *k, struct parcel *p, const char *type, const char *reason);
uint64_t courier_again_ms(struct node *n, uint32_t tries);
/* No path and no session: it is queued again. */
void courier_stranded(struct courier *k, struct parcel *p, const char *why, uint64_t wait_ms);

/* courier_fate.c */
/* When and to whom it was handed over last. */
struct outbox_try courier_try(struct node *n, const struct parcel *p);
struct letter *courier_letter(struct destination *d, const char *id, struct parcel **of);
bool courier_carries(const struct destination *d, int64_t seq);
/* Letters of it that want no receipt have left. It must be held. */
void courier_left(struct courier *k, struct parcel *p);

/* courier_receipts.c */
/* Sends what is due, after a commit; when it is next. */
uint64_t courier_receipts_due(struct courier *k);
void courier_receipts_free(struct courier *k);
/* `author` can be reached: what an earlier life owes him, and what waits, goes. */
void courier_receipts_wake(struct courier *k, const struct node_id *author);
/* It has a session: the rest goes there. */
void courier_receipts_direct(struct courier *k, const struct node_id *author);
void courier_receipts_rolled_back(struct courier *k);

/* courier_in.c */
bool courier_probe(struct node *n, const struct node_id *to, struct conn *via);

#endif
