/*
 * inbox_internal.h -- one inbox row between its columns and struct inbox_row.
 */
#ifndef STORE_INBOX_INTERNAL_H
#define STORE_INBOX_INTERNAL_H

#include "store/store_internal.h"

#define IN_COLUMNS                                                                                 \
	"seq, author, via, id, priority, state, proven, created, received, read, body_len, words"
#define IN_AD_MAX 256

enum in_part { IN_WORDS = 1, IN_BODY = 2 };

/* The associated data of a sealed part: everything about the row that never changes. */
struct bytes inbox_ad(enum in_part part, const struct inbox_row *r, uint8_t out[static IN_AD_MAX]);
/* Reads IN_COLUMNS of the current row. ERR_CORRUPT when something does not check out; *r is then
 * filled as far as it could be, `seq`, `author` and `state` included, the type empty. */
enum err inbox_row_from(struct store *s, sqlite3_stmt *st, struct inbox_row *r) MUST_CHECK;
/* Rows of `st` until `max` are there, unreadable ones left out and logged; resets `st`. */
enum err inbox_collect(struct store *s, sqlite3_stmt *st, struct inbox_row *rows, size_t max,
		       size_t *n) MUST_CHECK;
/* ERR_NOTFOUND, ERR_CORRUPT as above. */
enum err inbox_fetch(struct store *s, int64_t seq, struct inbox_row *r) MUST_CHECK;

#endif
