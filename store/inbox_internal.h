/*
 * inbox_internal.h -- one inbox row between its columns and struct inbox_row.
 */
#ifndef STORE_INBOX_INTERNAL_H
#define STORE_INBOX_INTERNAL_H

#include "store/store_internal.h"

/* `id` is empty when it is the hex of `wire`. */
#define IN_COLUMNS                                                                                 \
	"seq, author, via, id, priority, state, proven, created, received, read, body_len, words," \
	" wire, keep, sealed, arrived, freed"
#define IN_AD_MAX	   272
#define INBOX_DIGEST_BYTES 16

enum in_part { IN_WORDS = 1, IN_BODY = 2 };

/* The associated data of a sealed part: everything about the row that never changes. `keep` (running ms)
 * counts for the words of rows with a wire id. */
struct bytes inbox_ad(enum in_part part, const struct inbox_row *r, uint64_t keep,
		      uint8_t out[static IN_AD_MAX]);
/* Reads IN_COLUMNS of the current row. ERR_CORRUPT when something does not check out; *r is then
 * filled as far as it could be, `seq`, `author` and `state` included, the type empty. */
enum err inbox_row_from(struct store *s, sqlite3_stmt *st, struct inbox_row *r) MUST_CHECK;
/* Rows of `st` until `max` are there, unreadable ones left out and logged; resets `st`. */
enum err inbox_collect(struct store *s, sqlite3_stmt *st, struct inbox_row *rows, size_t max,
		       size_t *n) MUST_CHECK;
/* ERR_NOTFOUND, ERR_CORRUPT as above. */
enum err inbox_fetch(struct store *s, int64_t seq, struct inbox_row *r) MUST_CHECK;
/* And the digest, if the row has one and opens. */
enum err inbox_fetch_digest(struct store *s, int64_t seq, struct inbox_row *r,
			    uint8_t digest[static INBOX_DIGEST_BYTES], bool *has_digest) MUST_CHECK;

/* The table of repeats: inbox_settle.c. */
struct in_slot {
	struct in_era *era;
	uint64_t keep;
};
/* ERR_OK: new to the table. Otherwise what inbox_put() answers. */
enum err inbox_wire_check(struct store *s, const uint8_t author[static PEER_BLOB_BYTES],
			  const struct inbox_new *m, int64_t *seq, enum inbox_state *state) MUST_CHECK;
/* Below the mark and without an entry. */
bool inbox_wire_settled(struct store *s, const uint8_t author[static PEER_BLOB_BYTES],
			const uint8_t wire_id[static 16]);
/* Has an entry: its row stays. */
bool inbox_wire_known(struct store *s, const uint8_t author[static PEER_BLOB_BYTES],
		      const uint8_t wire_id[static 16]);
/* Author, era and room for the entry; writes what of the era has to be written. */
enum err inbox_wire_reserve(struct store *s, const uint8_t author[static PEER_BLOB_BYTES],
			    const struct inbox_new *m, struct in_slot *out) MUST_CHECK;
void inbox_wire_add(struct store *s, const struct in_slot *slot, const struct inbox_row *r);
/* A held row is let out or refused: its receipt is due. */
enum err inbox_wire_reserve_flag(struct store *s, const struct inbox_row *r) MUST_CHECK;
void inbox_wire_let_out(struct store *s, const struct inbox_row *r);

#endif
