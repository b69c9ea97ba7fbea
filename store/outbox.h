/*
 * outbox.h -- messages we promised to deliver, and how far each one got.
 *
 * A message is ours from the moment the group that holds its outbox_put() is committed.
 * Order is kept per peer and priority by `seq`. Times are wall milliseconds.
 *
 * States on disk: QUEUED (also while in flight to a peer that confirms: a crash sends it again under
 * the same msg_id, the far side dedupes), SENT (the honest end towards a peer that never confirms),
 * DELIVERED, READ, and the dead letters FAILED, EXPIRED, REJECTED, CANCELLED with their reason.
 * Moves are checked against a table (base/sm.h). SENT, DELIVERED and READ rows drop their bodies; a
 * dead letter keeps its own until it is pruned, so that outbox_requeue() can send it again.
 */
#ifndef STORE_OUTBOX_H
#define STORE_OUTBOX_H

#include "store/store.h"

#define OUTBOX_REASON_MAX 120
#define OUTBOX_PRIORITIES 4

enum outbox_state {
	OUTBOX_QUEUED,
	OUTBOX_SENT,
	OUTBOX_DELIVERED,
	OUTBOX_READ,
	OUTBOX_FAILED,
	OUTBOX_EXPIRED,
	OUTBOX_REJECTED,
	OUTBOX_CANCELLED,
	OUTBOX_STATES
};
const char *outbox_state_word(enum outbox_state s); /* "queued", ... */
enum err outbox_state_parse(struct bytes word, enum outbox_state *out) MUST_CHECK;
bool outbox_state_terminal(enum outbox_state s);    /* all but QUEUED; SENT, DELIVERED may still become READ etc. */

struct outbox_new {
	struct bytes id;       /* msg_id, 1..128 */
	struct node_id to;
	struct bytes type;     /* "MSG", ... <= 32 */
	uint8_t priority;      /* 0 low .. 3 critical */
	uint64_t created_ms, expires_ms; /* expires 0 = never */
	struct bytes body;     /* clear; sealed inside */
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
	char reason[OUTBOX_REASON_MAX + 1];
};

/* ERR_EXISTS for a known id (nothing changes), ERR_FULL at a limit, ERR_STORE. */
enum err outbox_put(struct store *s, const struct outbox_new *m, int64_t *seq) MUST_CHECK;
/* Moves one row. ERR_NOTFOUND, ERR_WRONG_STATE when the table forbids the move. `reason` may be NULL. */
enum err outbox_move(struct store *s, int64_t seq, enum outbox_state to, const char *reason,
		     uint64_t wall_ms) MUST_CHECK;
/* A receipt from `peer` for `id`. Sets *seq. ERR_NOTFOUND when no such row is addressed to that peer. */
enum err outbox_receipt(struct store *s, const struct node_id *peer, struct bytes id,
			enum outbox_state to, const char *reason, uint64_t wall_ms, int64_t *seq) MUST_CHECK;
/* A dead letter waits again, under the same id and without an expiry. ERR_WRONG_STATE when it is none or its
 * body is gone, ERR_FULL. */
enum err outbox_requeue(struct store *s, int64_t seq, uint64_t wall_ms) MUST_CHECK;
/* attempts += 1 in the group: a try that came to nothing. The one that ends in SENT, DELIVERED, READ or
 * REJECTED is counted by the move. */
enum err outbox_attempt(struct store *s, int64_t seq) MUST_CHECK;

enum err outbox_get(struct store *s, struct bytes id, struct outbox_row *out) MUST_CHECK;
/* Up to `max` QUEUED rows for `peer` in sending order (priority desc, seq asc) that come after the
 * position (after_priority, after_seq); start with (OUTBOX_PRIORITIES, 0). */
enum err outbox_waiting(struct store *s, const struct node_id *peer, uint8_t after_priority,
			int64_t after_seq, struct outbox_row *rows, size_t max, size_t *n) MUST_CHECK;
/* The clear body of a QUEUED row, appended. */
enum err outbox_body(struct store *s, int64_t seq, struct buf *out) MUST_CHECK;
/* Distinct peers that have QUEUED rows. */
enum err outbox_peers(struct store *s, struct node_id *out, size_t max, size_t *n) MUST_CHECK;
/* The earliest expiry among QUEUED rows; UINT64_MAX when none. */
enum err outbox_next_expiry(struct store *s, uint64_t *wall_ms) MUST_CHECK;
/* QUEUED rows whose time has passed become EXPIRED; up to `max`, returned for events. */
enum err outbox_expire(struct store *s, uint64_t wall_ms, struct outbox_row *rows, size_t max,
		       size_t *n) MUST_CHECK;

struct outbox_filter {
	const struct node_id *peer; /* NULL = all */
	int state;                  /* -1 = all */
	int64_t before_seq;         /* 0 = newest first from the end */
};
enum err outbox_list(struct store *s, const struct outbox_filter *f, struct outbox_row *rows, size_t max,
		     size_t *n) MUST_CHECK;
enum err outbox_count(struct store *s, const struct node_id *peer, uint64_t per_state[static OUTBOX_STATES]) MUST_CHECK;

#endif
