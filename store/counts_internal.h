/*
 * counts_internal.h -- how many rows of each state there are, per peer and in all, kept in memory.
 *
 * Limits are asked for on every put, so nothing here runs SQL. Loaded once at open; every change
 * since the last commit is in a journal, and a rollback applies it backwards.
 */
#ifndef STORE_COUNTS_INTERNAL_H
#define STORE_COUNTS_INTERNAL_H

#include "base/env.h"
#include "base/map.h"

enum box { BOX_OUT, BOX_IN, BOXES };

#define PEER_BLOB_BYTES 16 /* a node id in the database: its 32 hex digits as bytes */
#define COUNT_STATES	9
#define COUNT_PEERS_MAX 262144
#define COUNT_NONE	0xff /* no state: before an insert, after a delete */

struct count_row {
	uint32_t n[BOXES][COUNT_STATES];
};

struct count_move {
	uint8_t peer[PEER_BLOB_BYTES];
	uint8_t box, from, to;
	uint32_t bytes;
};

struct counts {
	struct map *peers; /* blob -> struct count_row; an entry with only zeroes is removed */
	uint64_t n[BOXES][COUNT_STATES], bytes[BOXES][COUNT_STATES];
	struct count_move *journal;
	size_t journal_n, journal_cap;
	uint8_t reserved[PEER_BLOB_BYTES]; /* the last one asked for */
};

enum err counts_init(struct counts *c, struct env *env) MUST_CHECK;
void counts_fini(struct counts *c);
/* Makes room for one more counts_move() about `peer`, so that it cannot fail after the row was
 * written. ERR_FULL at COUNT_PEERS_MAX peers, ERR_NOMEM. */
enum err counts_reserve(struct counts *c, const uint8_t peer[static PEER_BLOB_BYTES]) MUST_CHECK;
void counts_move(struct counts *c, const struct count_move *m);
/* At open: the same outside the journal. */
enum err counts_load(struct counts *c, const struct count_move *m) MUST_CHECK;
void counts_commit(struct counts *c);
void counts_rollback(struct counts *c);
/* All of one peer; NULL when there is nothing. */
const struct count_row *counts_row(const struct counts *c, const uint8_t peer[static PEER_BLOB_BYTES]);
uint32_t counts_peer(const struct counts *c, const uint8_t peer[static PEER_BLOB_BYTES],
		     enum box box, unsigned state);

#endif
