/*
 * outbox_internal.h -- one outbox row between its columns and struct outbox_row.
 */
#ifndef STORE_OUTBOX_INTERNAL_H
#define STORE_OUTBOX_INTERNAL_H

#include "store/store_internal.h"

#define OUT_COLUMNS                                                                                \
	"seq, peer, id, rank, state, attempts, created, expires, changed, body_len, words"
#define OUT_AD_MAX 256

enum out_part { OUT_WORDS = 1, OUT_BODY = 2 };

/* The associated data of a sealed part: everything about the row that never changes. */
struct bytes outbox_ad(enum out_part part, const struct outbox_row *r,
		       uint8_t out[static OUT_AD_MAX]);
/* Reads OUT_COLUMNS of the current row. ERR_CORRUPT when something does not check out; *r is then
 * filled as far as it could be, `seq`, `to` and `state` included, the texts empty. */
enum err outbox_row_from(struct store *s, sqlite3_stmt *st, struct outbox_row *r) MUST_CHECK;
/* Rows of `st` until `max` are there, unreadable ones left out and logged; resets `st`. */
enum err outbox_collect(struct store *s, sqlite3_stmt *st, struct outbox_row *rows, size_t max,
			size_t *n) MUST_CHECK;
/* Writes the new state of `r` and keeps the counts; updates *r. The move has been checked. */
enum err outbox_write_state(struct store *s, struct outbox_row *r, enum outbox_state to,
			    const char *reason, uint64_t wall_ms) MUST_CHECK;

#endif
