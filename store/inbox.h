/*
 * inbox.h -- messages that are ours to hand to a program, each exactly once.
 *
 * A message is kept from the moment its group is committed; (author, msg_id) is remembered for
 * `keep_ms` after that, also when the body is gone, so that a repeat is ERR_EXISTS.
 */
#ifndef STORE_INBOX_H
#define STORE_INBOX_H

#include "store/store.h"

enum inbox_state { INBOX_NEW, INBOX_READ, INBOX_HELD, INBOX_DROPPED, INBOX_STATES };
const char *inbox_state_word(enum inbox_state s); /* "new", "read", "held", "dropped" */

struct inbox_new {
	struct node_id author, via; /* via: the neighbour that brought it */
	struct bytes id, type;
	uint8_t priority;
	uint64_t created_ms;        /* by the author's clock */
	uint64_t received_ms;
	bool held;                  /* the author is pending: kept, not shown, not confirmed */
	bool proven;                /* inner signature by the author verified */
	struct bytes body;
};

struct inbox_row {
	int64_t seq;
	struct node_id author, via;
	char id[129];
	char type[33];
	uint8_t priority;
	enum inbox_state state;
	uint64_t created_ms, received_ms, read_ms;
	bool proven;
	uint32_t body_len;
};

/* ERR_EXISTS: a repeat (*state tells what the kept one is: NEW/READ -> confirm again, HELD -> not).
 * ERR_FULL at a limit: not kept, must not be confirmed. */
enum err inbox_put(struct store *s, const struct inbox_new *m, int64_t *seq, enum inbox_state *state) MUST_CHECK;

struct inbox_filter {
	const struct node_id *author; /* NULL = all */
	int state;                    /* -1 = NEW and READ */
	int64_t after_seq;            /* oldest first, after this one */
};
enum err inbox_list(struct store *s, const struct inbox_filter *f, struct inbox_row *rows, size_t max,
		    size_t *n) MUST_CHECK;
enum err inbox_get(struct store *s, int64_t seq, struct inbox_row *out) MUST_CHECK;
enum err inbox_find(struct store *s, struct bytes id, struct inbox_row *rows, size_t max, size_t *n) MUST_CHECK;
enum err inbox_body(struct store *s, int64_t seq, struct buf *out) MUST_CHECK;
/* NEW -> READ (idempotent). ERR_NOTFOUND, ERR_WRONG_STATE for held rows. */
enum err inbox_mark_read(struct store *s, int64_t seq, uint64_t wall_ms, bool *changed) MUST_CHECK;
/* Rows read whose receipt has not gone out yet: survive restarts. */
enum err inbox_unreported(struct store *s, const struct node_id *via, struct inbox_row *rows, size_t max,
			  size_t *n) MUST_CHECK;
enum err inbox_mark_reported(struct store *s, int64_t seq) MUST_CHECK;
/* HELD rows of `author` become NEW (approved) or DROPPED (blocked); up to max rows returned. */
enum err inbox_release(struct store *s, const struct node_id *author, bool accept, struct inbox_row *rows,
		       size_t max, size_t *n) MUST_CHECK;
/* Body gone, duplicate memory stays. read_ms of a DROPPED row is 0 only when it was refused while held. */
enum err inbox_delete(struct store *s, int64_t seq) MUST_CHECK;
enum err inbox_count(struct store *s, const struct node_id *author, uint64_t per_state[static INBOX_STATES]) MUST_CHECK;

#endif
