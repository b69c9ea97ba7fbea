/*
 * mesh09_internal.h -- what the files of the old mesh share.
 *
 *   mesh09.c        neighbours, announcements, what they say      mesh09_relay.c  frames of others
 *   mesh09_send.c   ours through neighbours                       mesh09_receipts.c  receipts that go back
 */
#ifndef DAEMON_MESH09_INTERNAL_H
#define DAEMON_MESH09_INTERNAL_H

#include "daemon/mesh09.h"
#include "daemon/node_internal.h"
#include "daemon/routes09.h"
#include "protocol/v09/v09.h"

#define MESH09_ANNOUNCE_MS 30000
#define MESH09_SOON_MS 1000
#define MESH09_APART_MS 5000       /* between two announcements of changes */
#define MESH09_SWEEP_MS 10000
#define MESH09_AGE_MAX_MS 86400000ull
#define MESH09_SEEN_MS 300000
#define MESH09_SEEN_AUTHORS 128
#define MESH09_SEEN_IDS 1024
#define MESH09_PASSED 8192
#define MESH09_LINK_QUEUE_MAX (256u << 10) /* bytes in a link before more waits */
#define MESH09_QUEUE 512           /* frames of others that wait for their next hop */
#define MESH09_QUEUE_BYTES (8u << 20)
#define MESH09_QUEUE_SHARE 128     /* of one neighbour */
#define MESH09_QUEUE_MS 10000
#define MESH09_DESTINATIONS 1024
#define MESH09_WINDOW 256          /* messages of ours on their way to one destination; filled again below half */
#define MESH09_FLIGHTS 4096        /* to all */
#define MESH09_GRACE_MS 15000
#define MESH09_AGAIN_MS 60000      /* without a receipt, doubling up to */
#define MESH09_AGAIN_MAX_MS 1800000
#define MESH09_SAME_MS 330000      /* the same neighbour again: MESH09_SEEN_MS of the relays is over */
#define MESH09_HELD_MS 3600000
#define MESH09_TTL 5
#define MESH09_OWED 256            /* receipts that wait for one author */
#define MESH09_AUTHORS 256

/* Who was handed it, and would take it for a repeat (wire 5.6). */
#define MESH09_TRIED 4
struct tried09 {
	struct node_id via;
	uint64_t sent_ms;          /* 0: free */
};

struct flight09 {
	struct list link;
	struct out09 *to;
	int64_t seq;
	struct node_id via;
	uint64_t sent_ms, due_ms;  /* monotonic */
	uint32_t tries;
	bool grounded;             /* nobody has it: `via` had no way, or is gone */
	bool confirms;             /* a receipt may come */
	bool unasked;
	bool held;                 /* over there, until its operator decides */
	struct tried09 tried[MESH09_TRIED];
	char wire[2 * MSG_WIRE_ID + 1];
	char id[MSG_ID_MAX + 1];
};

/* A destination of ours without a session. */
struct out09 {
	struct node_id id;
	struct list all, active, flights;
	bool is_active;
	bool more;                 /* the store may hold rows that are not on their way */
	unsigned n;
	uint64_t not_before_ms;
};

/* Receipts that are owed to one author. */
struct owed09 {
	struct list link;
	struct node_id author;
	struct node_id via;        /* brought the last one */
	size_t n;
	uint64_t until_ms;
	struct {
		enum receipt_kind kind;
		char id[MSG_ID_MAX + 1];
		const char *reason;
	} r[MESH09_OWED];
};

/* A frame of somebody that waits for its next hop. */
struct waits09 {
	struct list link;
	struct node_id next, from, source, to;
	uint64_t until_ms;
	struct v09_forward f;
	char id[MSG_ID_MAX + 1];
};

struct mesh09 {
	struct node *node;
	struct routes09 *table;
	struct map *talk;          /* neighbour -> struct bucket: what it may announce */
	struct map *seen;          /* hash of (neighbour, author, id) -> monotonic ms */
	struct map *passed;        /* hash of (next hop, destination, id) -> struct passed09 */
	uint64_t sequence;         /* of announcements */
	uint64_t told_ms;          /* monotonic: of changes, last; 0 = never */
	struct timer announce, soon, sweep, due;
	struct list waiting;       /* struct waits09 */
	unsigned waiting_n;
	size_t waiting_bytes;
	struct map *outs;          /* node id -> struct out09 * */
	struct list outs_all, outs_active, owing;
	unsigned flights, owing_n;
	bool owes;                 /* receipts may go now */
	bool blocked;              /* somebody waits for room in all */
};

struct passed09 {
	struct node_id from, source;
};

/* mesh09.c */
/* An online session of the old wire with a neighbour that takes part; NULL. */
struct conn *mesh09_neighbour(struct node *n, const struct node_id *id);
bool mesh09_takes_part(const struct conn *c);
void mesh09_due_at(struct mesh09 *m, uint64_t at_ms);
/* If something has changed, neighbours are told soon. */
void mesh09_tell_soon(struct mesh09 *m);
/* A token of what `c` takes in its time; else how long to wait. */
bool mesh09_pace(struct conn *c, uint64_t *wait_ms);
/* A message of ours or of others came to nothing through `via`. */
void mesh09_missed(struct mesh09 *m, const struct node_id *to, const struct node_id *via);
void mesh09_broken(struct mesh09 *m, const struct node_id *via);

/* mesh09_relay.c */
void mesh09_unreachable(struct mesh09 *m, const struct node_id *from, const struct node_id *source, const struct node_id *to,
			struct bytes id);
/* A neighbour says so of what we passed on to it. */
void mesh09_passed_unreachable(struct mesh09 *m, struct conn *c, const struct node_id *to, const char *id);
uint64_t mesh09_relay_due(struct mesh09 *m); /* when again; UINT64_MAX: nothing waits */
void mesh09_relay_gone(struct mesh09 *m, const struct node_id *next);
void mesh09_relay_free(struct mesh09 *m);

/* mesh09_send.c */
/* `via` has no way for a message of ours, or sent it back. */
void mesh09_send_unreachable(struct mesh09 *m, const struct node_id *via, const struct node_id *to, const char *wire_id);
uint64_t mesh09_send_due(struct mesh09 *m);
void mesh09_send_run(struct mesh09 *m);
void mesh09_send_gone(struct mesh09 *m, const struct node_id *via);
void mesh09_send_direct(struct mesh09 *m, const struct node_id *to);
void mesh09_send_free(struct mesh09 *m);
bool mesh09_has_session(struct node *n, const struct node_id *id); /* of either wire */
bool mesh09_answers(const struct pin *pin); /* it is known to confirm, or to speak im2 */
/* The neighbour to hand something of ours to; none that was handed `f` (may be NULL) of late. NULL: none. */
struct conn *mesh09_next_hop(struct mesh09 *m, const struct node_id *to, const struct flight09 *f);

/* mesh09_receipts.c */
void mesh09_receipts_run(struct mesh09 *m);
void mesh09_receipts_free(struct mesh09 *m);

#endif
