/*
 * outbox.h -- messages we promised to deliver, and how far each one got.
 *
 * A message is ours from the moment the group that holds its outbox_put() is committed.
 * Order is kept per peer and priority by `seq`. Times are wall milliseconds.
 *
 * Every row has a wire id (im2.md 9.5): era(8) || number(8, big-endian), drawn per recipient in the group
 * of its outbox_put(). A number is never given out twice, whatever rolls back or crashes; there are gaps.
 *
 * States on disk: QUEUED (also while in flight to a peer that confirms: a crash sends it again under
 * the same msg_id, the far side dedupes), SENT (the honest end towards a peer that never confirms, and
 * of a message that wants no receipt), DELIVERED, READ, and the dead letters FAILED, EXPIRED, REJECTED,
 * CANCELLED, UNKNOWN with their reason. Moves are checked against a table (base/sm.h). A receipt brings
 * any of FAILED, EXPIRED, REJECTED, UNKNOWN to DELIVERED or READ: the truth wins (10.3); reason 12 brings the
 * first three to UNKNOWN. SENT, DELIVERED and READ rows drop their bodies; a dead letter keeps its own until it
 * is pruned, so that outbox_requeue() can send it again.
 */
#ifndef STORE_OUTBOX_H
#define STORE_OUTBOX_H

#include "store/store.h"

#define OUTBOX_REASON_MAX 120
#define OUTBOX_PRIORITIES 4
#define OUTBOX_META_MAX 320
#define OUTBOX_ERA_BYTES 8
#define OUTBOX_ERAS_MAX 64 /* of one peer that can be told of */

enum outbox_state {
	OUTBOX_QUEUED,
	OUTBOX_SENT,
	OUTBOX_DELIVERED,
	OUTBOX_READ,
	OUTBOX_FAILED,
	OUTBOX_EXPIRED,
	OUTBOX_REJECTED,
	OUTBOX_CANCELLED,
	OUTBOX_UNKNOWN, /* reason 12: settled there before this node was restored; may have been delivered */
	OUTBOX_STATES
};
const char *outbox_state_word(enum outbox_state s); /* "queued", ... */
enum err outbox_state_parse(struct bytes word, enum outbox_state *out) MUST_CHECK;
bool outbox_state_terminal(enum outbox_state s);    /* all but QUEUED; SENT, DELIVERED may still become READ etc. */

/* In expires_ms: the rest is running time (store_running_ms()), for what a node without a plausible clock sends. */
#define OUTBOX_RUNNING (UINT64_C(1) << 62)

struct outbox_new {
	struct bytes id;       /* msg_id, 1..128; empty = the 32 lower-case hex characters of the wire id */
	struct node_id to;
	struct bytes type;     /* "MSG", ... <= 32 */
	uint8_t priority;      /* 0 low .. 3 critical */
	uint64_t created_ms, expires_ms; /* expires 0 = never; see OUTBOX_RUNNING */
	struct bytes body;     /* clear; sealed inside */
	struct bytes meta;     /* 0..OUTBOX_META_MAX opaque bytes, sealed with the type */
	bool no_receipt;       /* the recipient confirms nothing (flag 8): SENT is its end */
};

struct outbox_row {
	int64_t seq;
	char id[129];
	struct node_id to;
	char type[33];
	uint8_t priority;
	enum outbox_state state;
	uint32_t attempts;
	uint64_t created_ms, expires_ms, changed_ms;
	uint32_t body_len;
	bool has_wire;         /* false: ended before this node spoke im2 */
	bool no_receipt;
	bool at_relay;         /* never set here: for whoever shows rows, with SENT: a relay says that it keeps it */
	uint8_t wire_id[16];
	uint16_t meta_len;
	uint8_t meta[OUTBOX_META_MAX];
	char reason[OUTBOX_REASON_MAX + 1];
};

/* How a message left: over the peer's own session, or through a neighbour that carries it on, over im2 or the old wire. */
enum outbox_via { OUTBOX_VIA_NONE, OUTBOX_VIA_SESSION, OUTBOX_VIA_RELAY, OUTBOX_VIA_OLD_RELAY, OUTBOX_VIAS };
struct outbox_try {
	uint64_t at_ms;        /* wall; when it was handed over */
	enum outbox_via via;
	unsigned hops;         /* to its recipient, as far as is known; 0 */
	struct node_id by;     /* the neighbour; hex "": its recipient itself */
};

/* "stored" for what a relay keeps, else the word of the state. */
const char *outbox_shown(const struct outbox_row *r);

/* Sets *seq and the wire id. ERR_EXISTS for a known id (nothing changes), ERR_FULL at a limit, ERR_STORE. */
enum err outbox_put(struct store *s, const struct outbox_new *m, int64_t *seq,
		    uint8_t wire_id[static 16]) MUST_CHECK;
/* Moves one row. ERR_NOTFOUND, ERR_WRONG_STATE when the table forbids the move. `reason` may be NULL. */
enum err outbox_move(struct store *s, int64_t seq, enum outbox_state to, const char *reason,
		     uint64_t wall_ms) MUST_CHECK;
/* A receipt from `peer` for `id`, which is the row's id or the hex of its wire id. Sets *seq. ERR_NOTFOUND
 * when no such row is addressed to that peer. `t`: the try that it answers, or NULL. Cheap for waiting rows named by their wire id: they are found
 * in memory, and what is written is written at the end of the group, for all of them together. */
enum err outbox_receipt(struct store *s, const struct node_id *peer, struct bytes id,
			enum outbox_state to, const char *reason, uint64_t wall_ms, const struct outbox_try *t,
			int64_t *seq) MUST_CHECK;
/* A dead letter waits again, without an expiry and under a new wire id: the recipient may have been told
 * that the old one will not come again. An id that the user chose stays; one that was the hex of the wire id
 * changes with it. `new_id` is the id of the row from now on. ERR_WRONG_STATE when it is no dead letter or
 * its body is gone, ERR_FULL. */
enum err outbox_requeue(struct store *s, int64_t seq, uint64_t wall_ms, char new_id[static 129]) MUST_CHECK;
/* What waits for `was` waits for `now` from here on, under the same ids: `was` has become `now` and has the same
 * database, so that what had arrived is known there. At most `max` rows in the group; *n: how many went, call again
 * while it is `max`. ERR_MALFORMED for bad or equal ids. */
enum err outbox_follow(struct store *s, const struct node_id *was, const struct node_id *now, size_t max,
		       size_t *n) MUST_CHECK;
/* attempts += 1 in the group: a try that came to nothing. The one that ends in SENT, DELIVERED, READ or
 * REJECTED is counted by the move. */
enum err outbox_attempt(struct store *s, int64_t seq, const struct outbox_try *t) MUST_CHECK;
/* A relay says that it keeps what was handed to it. A soft write, for those that still wait. ERR_NOTFOUND. */
enum err outbox_kept(struct store *s, int64_t seq, const struct outbox_try *t) MUST_CHECK;
/* Its steps so far (track.h), appended. ERR_NOTFOUND. */
enum err outbox_track(struct store *s, int64_t seq, struct buf *out) MUST_CHECK;

/* By its id, or by the hex of its wire id. */
enum err outbox_get(struct store *s, struct bytes id, struct outbox_row *out) MUST_CHECK;
/* The id alone, with its NUL, of a message by any of its names: nothing is opened for it. */
enum err outbox_word(struct store *s, struct bytes id, char out[static 129]) MUST_CHECK;
/* Up to `max` QUEUED rows for `peer` in sending order (priority desc, seq asc) that come after the
 * position (after_priority, after_seq); start with (OUTBOX_PRIORITIES, 0). */
enum err outbox_waiting(struct store *s, const struct node_id *peer, uint8_t after_priority,
			int64_t after_seq, struct outbox_row *rows, size_t max, size_t *n) MUST_CHECK;
/* The clear body of a QUEUED row, appended. */
enum err outbox_body(struct store *s, int64_t seq, struct buf *out) MUST_CHECK;
/* Distinct peers that have QUEUED rows. */
enum err outbox_peers(struct store *s, struct node_id *out, size_t max, size_t *n) MUST_CHECK;
enum err outbox_by_seq(struct store *s, int64_t seq, struct outbox_row *out) MUST_CHECK;
/* When that is by the wall clock as it goes now. */
uint64_t outbox_expiry_wall(struct store *s, uint64_t expires_ms);
/* The earliest expiry among QUEUED rows, by the wall clock; UINT64_MAX when none. */
enum err outbox_next_expiry(struct store *s, uint64_t *wall_ms) MUST_CHECK;
/* QUEUED rows whose time has passed become EXPIRED; up to `max`, returned for events. */
enum err outbox_expire(struct store *s, uint64_t wall_ms, struct outbox_row *rows, size_t max,
		       size_t *n) MUST_CHECK;

/* Its clear body as long as it is kept: while it waits, and of a dead letter. ERR_NOTFOUND: no such row, or its body is
 * gone. */
enum err outbox_kept_body(struct store *s, int64_t seq, struct buf *out) MUST_CHECK;
/* What waits for one peer. An unknown peer has none. */
struct queue_view {
	uint64_t count, bytes;
	uint64_t oldest_ms; /* accepted; 0: none, or no clock then */
};
enum err outbox_queue_of(struct store *s, const struct node_id *peer, struct queue_view *out) MUST_CHECK;
/* When the message was accepted that waits longest, of all peers; 0: none waits. One row is read. */
enum err outbox_oldest(struct store *s, uint64_t *created_ms) MUST_CHECK;

struct outbox_filter {
	const struct node_id *peer; /* NULL = all */
	int state;                  /* -1 = all */
	int64_t before_seq;         /* 0 = newest first from the end */
};
enum err outbox_list(struct store *s, const struct outbox_filter *f, struct outbox_row *rows, size_t max,
		     size_t *n) MUST_CHECK;
enum err outbox_count(struct store *s, const struct node_id *peer, uint64_t per_state[static OUTBOX_STATES]) MUST_CHECK;

/* --- settling (9.5) ------------------------------------------------------------------------------------- */
struct outbox_mark {
	uint8_t era[OUTBOX_ERA_BYTES];
	uint64_t seq;  /* no message of this era with a lower number will be sent again */
	uint64_t told; /* what outbox_settle_told() said last; 0 = nothing since the store was opened */
	bool changed_since_told; /* seq > told */
};
/* One mark for each era of which `peer` may still hold entries, the current one first: the lowest number
 * that is unfinished in committed state (rows of the open group count as unfinished), or the next number
 * when none is. Eras in which nothing was given out yet are left out. No SQL. ERR_MALFORMED for a bad id;
 * an unknown peer has *n = 0. */
enum err outbox_settle(struct store *s, const struct node_id *peer, struct outbox_mark *marks, size_t max,
		       size_t *n) MUST_CHECK;
/* The mark has left in a frame. Kept in memory; an old era whose last mark was told is not told of again. */
void outbox_settle_told(struct store *s, const struct node_id *peer, const uint8_t era[static 8],
			uint64_t seq);
/* SEEN from the recipient: it holds or settled up to `seq` of our newest era. When that is our current era and
 * our next number is not above it, or when it is an era that we do not know, this database is an older copy:
 * a new era is drawn, in the group, and *renewed says so: audit it, and commit before anything else is put.
 * Rows that wait keep their ids. When each of OUTBOX_ERAS_MAX eras has unfinished numbers, none is drawn. */
enum err outbox_seen(struct store *s, const struct node_id *peer, const uint8_t era[static 8], uint64_t seq,
		     bool *renewed) MUST_CHECK;
/* After an import or a restore: every peer gets a new era with the next message. In the group. */
enum err outbox_new_eras(struct store *s) MUST_CHECK;

#endif
