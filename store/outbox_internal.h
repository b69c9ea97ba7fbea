/*
 * outbox_internal.h -- one outbox row between its columns and struct outbox_row.
 */
#ifndef STORE_OUTBOX_INTERNAL_H
#define STORE_OUTBOX_INTERNAL_H

#include "store/store_internal.h"

/* `id` is empty when it is the hex of `wire`. */
#define OUT_COLUMNS                                                                                \
	"seq, peer, id, rank, state, attempts, created, expires, changed, body_len, words, wire"
#define OUT_AD_MAX 256

enum out_part { OUT_WORDS = 1, OUT_BODY = 2 };
enum out_depth { OUT_PLAIN, OUT_WHOLE }; /* without and with the sealed words */

/* The associated data of a sealed part: everything about the row that never changes. */
struct bytes outbox_ad(enum out_part part, const struct outbox_row *r,
		       uint8_t out[static OUT_AD_MAX]);
/* Into s->sealed_words. */
enum err outbox_seal_words(struct store *s, const struct outbox_row *r) MUST_CHECK;
/* Reads OUT_COLUMNS of the current row. ERR_CORRUPT when something does not check out; *r is then
 * filled as far as it could be, `seq`, `to` and `state` included, the texts empty. */
enum err outbox_row_from(struct store *s, sqlite3_stmt *st, struct outbox_row *r) MUST_CHECK;
/* The same, but nothing is opened: no type, reason, meta, no_receipt. */
enum err outbox_row_plain(sqlite3_stmt *st, struct outbox_row *r) MUST_CHECK;
unsigned outbox_keys(const struct outbox_row *r, struct row_keys *k);
bool outbox_full(const struct store *s, const uint8_t peer[static PEER_BLOB_BYTES], size_t body);
enum err outbox_fetch(struct store *s, int64_t seq, enum out_depth depth, struct outbox_row *r) MUST_CHECK;
/* By id or the hex of the wire id. ERR_CORRUPT: it is this row, but its texts do not open. */
enum err outbox_fetch_id(struct store *s, struct bytes id, enum out_depth depth,
			 struct outbox_row *r) MUST_CHECK;
/* The row, and its clear body appended when it still has one. */
enum err outbox_fetch_body(struct store *s, int64_t seq, struct outbox_row *r, struct buf *out,
			   bool *has) MUST_CHECK;
/* Rows of `st` until `max` are there, unreadable ones left out and logged; resets `st`. */
enum err outbox_collect(struct store *s, sqlite3_stmt *st, struct outbox_row *rows, size_t max,
			size_t *n) MUST_CHECK;
/* Writes the new state of `r` and keeps the counts; updates *r. The move has been checked. */
enum err outbox_write_state(struct store *s, struct outbox_row *r, enum outbox_state to,
			    const char *reason, uint64_t wall_ms, const struct outbox_try *t) MUST_CHECK;
/* The next number for a message to `p`, its era drawn and its block reserved if need be. */
enum err outbox_take_number(struct store *s, struct out_peer *p, struct out_era **era,
			    uint64_t *seq) MUST_CHECK;
/* A new wire id for the row and its entry. */
enum err outbox_set_wire(struct store *s, struct out_peer *p, struct outbox_row *r,
			 struct out_wait *wait) MUST_CHECK;

#endif
