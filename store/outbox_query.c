/* Reading the outbox: what waits, what has run out, what the user asks for; and pruning. */
#include "store/outbox_internal.h"

#include "base/log.h"

/* Above so many waiting rows, listing them newest first walks the table instead of sorting. */
#define SORT_MAX 4096

enum err outbox_collect(struct store *s, sqlite3_stmt *st, struct outbox_row *rows, size_t max,
			size_t *n)
{
	size_t count = 0;
	bool row = false;
	enum err e = ERR_OK;

	while (count < max) {
		e = store_read(s, st, &row);
		if (e != ERR_OK || !row)
			break;
		e = outbox_row_from(s, st, &rows[count]);
		if (e == ERR_CORRUPT)
			log_error("store-row-corrupt box=outbox seq=%lld",
				  (long long)rows[count].seq);
		else if (e != ERR_OK)
			break;
		else
			count++;
	}
	sqlite3_reset(st);
	if (e == ERR_OK || e == ERR_CORRUPT) {
		*n = count;
		return ERR_OK;
	}
	return e;
}

enum err outbox_waiting(struct store *s, const struct node_id *peer, uint8_t after_priority,
			int64_t after_seq, struct outbox_row *rows, size_t max, size_t *n)
{
	uint8_t blob[PEER_BLOB_BYTES];

	if (peer_blob(peer, blob) != ERR_OK)
		return ERR_MALFORMED;
	if (counts_peer(&s->counts, blob, BOX_OUT, OUTBOX_QUEUED) == 0) {
		*n = 0;
		return ERR_OK;
	}
	sqlite3_stmt *st = store_stmt(s, ST_OUT_WAITING,
				      "SELECT " OUT_COLUMNS " FROM outbox INDEXED BY outbox_queue"
				      " WHERE state = 0 AND peer = ?1 AND (rank, seq) > (?2, ?3)"
				      " ORDER BY rank, seq");
	if (!st)
		return ERR_STORE;
	bind_bytes(st, 1, BYTES_ARR(blob));
	sqlite3_bind_int(st, 2, OUTBOX_PRIORITIES - 1 - (int)after_priority);
	sqlite3_bind_int64(st, 3, after_seq);
	return outbox_collect(s, st, rows, max, n);
}

enum err outbox_peers(struct store *s, struct node_id *out, size_t max, size_t *n)
{
	uint8_t last[PEER_BLOB_BYTES] = {0};
	struct bytes after = bytes_of(last, 0); /* sorts before every peer */
	size_t count = 0;
	bool row;

	while (count < max) {
		/* One seek for each peer, not one step for each row. */
		sqlite3_stmt *st =
			store_stmt(s, ST_OUT_NEXT_PEER,
				   "SELECT peer FROM outbox INDEXED BY outbox_queue"
				   " WHERE state = 0 AND peer > ?1 ORDER BY peer LIMIT 1");
		if (st)
			bind_bytes(st, 1, after);
		enum err e = store_read(s, st, &row);
		if (e != ERR_OK)
			return e;
		if (!row)
			break;
		e = peer_from_column(st, 0, &out[count]);
		if (e == ERR_OK)
			e = peer_blob(&out[count], last);
		sqlite3_reset(st);
		if (e != ERR_OK)
			return ERR_CORRUPT;
		after.n = sizeof(last);
		count++;
	}
	*n = count;
	return ERR_OK;
}

enum err outbox_next_expiry(struct store *s, uint64_t *wall_ms)
{
	sqlite3_stmt *st = store_stmt(s, ST_OUT_NEXT_EXPIRY,
				      "SELECT expires FROM outbox INDEXED BY outbox_expiry"
				      " WHERE state = 0 AND expires <> 0 ORDER BY expires LIMIT 1");
	bool row;
	enum err e = store_read(s, st, &row);

	if (e != ERR_OK)
		return e;
	*wall_ms = row ? (uint64_t)sqlite3_column_int64(st, 0) : UINT64_MAX;
	sqlite3_reset(st);
	return ERR_OK;
}

enum err outbox_expire(struct store *s, uint64_t wall_ms, struct outbox_row *rows, size_t max,
		       size_t *n)
{
	size_t count = 0;
	bool row = false;
	enum err e = ERR_OK;
	sqlite3_stmt *st = store_stmt(s, ST_OUT_EXPIRED,
				      "SELECT " OUT_COLUMNS " FROM outbox INDEXED BY outbox_expiry"
				      " WHERE state = 0 AND expires <> 0 AND expires <= ?1"
				      " ORDER BY expires");
	if (!st)
		return ERR_STORE;
	bind_int(st, 1, wall_ms);
	while (count < max) {
		e = store_read(s, st, &row);
		if (e != ERR_OK || !row)
			break;
		/* Its time has passed, whether or not the row can be read. */
		e = outbox_row_from(s, st, &rows[count]);
		if (e != ERR_OK && e != ERR_CORRUPT)
			break;
		e = ERR_OK;
		count++;
	}
	sqlite3_reset(st);
	for (size_t i = 0; e == ERR_OK && i < count; i++)
		e = outbox_write_state(s, &rows[i], OUTBOX_EXPIRED, NULL, wall_ms);
	if (e == ERR_OK)
		*n = count;
	return e;
}

static enum err list_queued(struct store *s, struct bytes peer, int64_t before, size_t max,
			    struct outbox_row *rows, size_t *n)
{
	sqlite3_stmt *st = store_stmt(s, ST_OUT_LIST_QUEUED,
				      "SELECT " OUT_COLUMNS " FROM outbox INDEXED BY outbox_queue"
				      " WHERE state = 0 AND seq < ?1 AND (?2 IS NULL OR peer = ?2)"
				      " ORDER BY seq DESC LIMIT ?3");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, before);
	sqlite3_bind_null(st, 2);
	if (peer.n)
		bind_bytes(st, 2, peer);
	bind_int(st, 3, max);
	return outbox_collect(s, st, rows, max, n);
}

enum err outbox_list(struct store *s, const struct outbox_filter *f, struct outbox_row *rows,
		     size_t max, size_t *n)
{
	uint8_t blob[PEER_BLOB_BYTES] = {0};
	struct bytes peer = bytes_of(blob, 0);
	int64_t before = f->before_seq > 0 ? f->before_seq : INT64_MAX;
	uint64_t there = 0;

	if (f->state >= OUTBOX_STATES)
		return ERR_MALFORMED;
	if (f->peer) {
		if (peer_blob(f->peer, blob) != ERR_OK)
			return ERR_MALFORMED;
		peer.n = sizeof(blob);
	}
	for (int i = 0; i < OUTBOX_STATES; i++) {
		if (f->state < 0 || f->state == i)
			there += f->peer ? counts_peer(&s->counts, blob, BOX_OUT, (unsigned)i)
					 : s->counts.n[BOX_OUT][i];
	}
	/* How many there are is known: the walk ends with the last one of them. */
	if (max > there)
		max = (size_t)there;
	if (f->state == OUTBOX_QUEUED && there <= SORT_MAX)
		return list_queued(s, peer, before, max, rows, n);

	sqlite3_stmt *st = store_stmt(s, ST_OUT_LIST,
				      "SELECT " OUT_COLUMNS " FROM outbox WHERE seq < ?1"
				      " AND (?2 IS NULL OR peer = ?2) AND (?3 < 0 OR state = ?3)"
				      " ORDER BY seq DESC");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, before);
	sqlite3_bind_null(st, 2);
	if (peer.n)
		bind_bytes(st, 2, peer);
	sqlite3_bind_int(st, 3, f->state);
	return outbox_collect(s, st, rows, max, n);
}

enum err outbox_count(struct store *s, const struct node_id *peer,
		      uint64_t per_state[static OUTBOX_STATES])
{
	uint8_t blob[PEER_BLOB_BYTES];

	if (peer && peer_blob(peer, blob) != ERR_OK)
		return ERR_MALFORMED;
	for (unsigned i = 0; i < OUTBOX_STATES; i++)
		per_state[i] =
			peer ? counts_peer(&s->counts, blob, BOX_OUT, i) : s->counts.n[BOX_OUT][i];
	return ERR_OK;
}

static enum err delete_row(struct store *s, const struct old_row *o)
{
	enum err e = counts_reserve(&s->counts, o->count.peer);
	if (e == ERR_OK)
		e = idmap_reserve(&s->ids[BOX_OUT]);
	if (e != ERR_OK)
		return e;
	sqlite3_stmt *st = store_stmt(s, ST_OUT_DELETE, "DELETE FROM outbox WHERE seq = ?1");
	if (st)
		sqlite3_bind_int64(st, 1, o->seq);
	e = store_write(s, st);
	if (e == ERR_OK && o->count.from >= OUTBOX_FAILED) {
		st = store_stmt(s, ST_OUT_BODY_DELETE, "DELETE FROM outbox_body WHERE seq = ?1");
		if (st)
			sqlite3_bind_int64(st, 1, o->seq);
		e = store_write(s, st);
	}
	if (e != ERR_OK)
		return e;
	counts_move(&s->counts, &o->count);
	idmap_del(&s->ids[BOX_OUT], bytes_of(o->id, o->id_n), o->seq);
	return ERR_OK;
}

enum err outbox_prune(struct store *s, uint64_t before_ms, unsigned max_rows, unsigned *deleted)
{
	struct old_row batch[PRUNE_BATCH];
	unsigned done = 0;
	uint64_t looked = 0, look_max = 16ull * max_rows + PRUNE_BATCH;
	bool row = true;
	enum err e = ERR_OK;

	while (e == ERR_OK && row && done < max_rows && looked < look_max) {
		size_t n = 0;
		sqlite3_stmt *st =
			store_stmt(s, ST_OUT_PRUNE_SCAN,
				   "SELECT seq, peer, state, changed, body_len, id FROM outbox"
				   " WHERE seq > ?1 ORDER BY seq");
		if (!st)
			return ERR_STORE;
		sqlite3_bind_int64(st, 1, s->prune_at[BOX_OUT]);
		for (size_t i = 0; i < PRUNE_BATCH && done + n < max_rows; i++, looked++) {
			e = store_read(s, st, &row);
			if (e != ERR_OK || !row)
				break;
			int64_t seq = s->prune_at[BOX_OUT] = sqlite3_column_int64(st, 0);
			struct bytes peer = column_bytes(st, 1), id = column_bytes(st, 5);
			int64_t state = sqlite3_column_int64(st, 2);
			/* The highest one stays: its number must not be given out again. */
			if (state == OUTBOX_QUEUED || state < 0 || state >= OUTBOX_STATES ||
			    (uint64_t)sqlite3_column_int64(st, 3) >= before_ms ||
			    seq == s->last_seq[BOX_OUT] || peer.n != PEER_BLOB_BYTES || !id_ok(id))
				continue;
			batch[n].seq = seq;
			batch[n].count = (struct count_move){
				.box = BOX_OUT,
				.from = (uint8_t)state,
				.to = COUNT_NONE,
				.bytes = (uint32_t)sqlite3_column_int64(st, 4),
			};
			memcpy(batch[n].count.peer, peer.p, PEER_BLOB_BYTES);
			memcpy(batch[n].id, id.p, id.n);
			batch[n].id_n = id.n;
			n++;
		}
		sqlite3_reset(st);
		for (size_t i = 0; e == ERR_OK && i < n; i++, done++)
			e = delete_row(s, &batch[i]);
	}
	if (e != ERR_OK)
		return e;
	if (!row)
		s->prune_at[BOX_OUT] = 0; /* the next call begins at the start */
	*deleted = done;
	return ERR_OK;
}
