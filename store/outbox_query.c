/* Reading the outbox: what waits, what has run out, what the user asks for; and pruning. */
#include "store/outbox_internal.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/text.h"

/* Above so many waiting rows, listing them newest first walks the table instead of sorting. */
#define SORT_MAX 4096
#define LATE_MS	    (48ull * 3600 * 1000)
#define LIFE_MAX_MS (400ll * 86400 * 1000)

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
	int first = OUTBOX_PRIORITIES - 1 - (int)after_priority;
	uint8_t blob[PEER_BLOB_BYTES];
	const struct out_peer *p;
	size_t count = 0;

	if (peer_blob(peer, blob) != ERR_OK)
		return ERR_MALFORMED;
	p = waiting_peer(&s->waiting, blob);
	for (int rank = first < 0 ? 0 : first; p && rank < OUTBOX_PRIORITIES; rank++) {
		const struct sorted *q = &p->queue[rank];
		size_t i = rank == first && after_seq >= 0 ? sorted_floor(q, (uint64_t)after_seq + 1) : 0;
		for (; i < q->n && count < max; i++) {
			const struct out_wait *w = sorted_at(q, i);
			enum err e = outbox_fetch(s, (int64_t)w->row, OUT_WHOLE, &rows[count]);
			if (e == ERR_CORRUPT)
				log_error("store-row-corrupt box=outbox seq=%lld", (long long)w->row);
			else if (e != ERR_OK)
				return e == ERR_NOTFOUND ? ERR_CORRUPT : e;
			else
				count++;
		}
	}
	*n = count;
	return ERR_OK;
}

static bool any_waits(const struct out_peer *p)
{
	for (unsigned i = 0; i < OUTBOX_PRIORITIES; i++)
		if (p->queue[i].n)
			return true;
	return false;
}

struct peer_list {
	struct node_id *out;
	size_t n, max;
};

static bool list_peer(void *ctx, struct bytes key, void *value)
{
	struct peer_list *l = ctx;

	if (l->n < l->max && any_waits(*(struct out_peer **)value))
		hex_encode(key, l->out[l->n++].hex);
	return true;
}

static int by_name(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct node_id));
}

enum err outbox_peers(struct store *s, struct node_id *out, size_t max, size_t *n)
{
	struct peer_list l = {.out = out, .max = max};

	map_each(s->waiting.peers, list_peer, &l);
	if (l.n)
		qsort(out, l.n, sizeof(out[0]), by_name);
	*n = l.n;
	return ERR_OK;
}

enum err outbox_queue_of(struct store *s, const struct node_id *peer, struct queue_view *out)
{
	struct queue_view v = {.oldest_ms = UINT64_MAX};
	uint8_t blob[PEER_BLOB_BYTES];
	const struct out_peer *p;
	struct outbox_row r;

	if (peer_blob(peer, blob) != ERR_OK)
		return ERR_MALFORMED;
	p = waiting_peer(&s->waiting, blob);
	for (unsigned rank = 0; p && rank < OUTBOX_PRIORITIES; rank++) {
		const struct sorted *q = &p->queue[rank];
		for (size_t i = 0; i < q->n; i++)
			v.bytes += ((const struct out_wait *)sorted_at(q, i))->len;
		v.count += q->n;
		if (!q->n)
			continue;
		enum err e = outbox_fetch(s, (int64_t)((const struct out_wait *)sorted_at(q, 0))->row, OUT_PLAIN, &r);
		if (e != ERR_OK && e != ERR_CORRUPT)
			return e == ERR_NOTFOUND ? ERR_CORRUPT : e;
		if (e == ERR_OK && r.created_ms < v.oldest_ms)
			v.oldest_ms = r.created_ms;
	}
	if (v.oldest_ms == UINT64_MAX)
		v.oldest_ms = 0;
	*out = v;
	return ERR_OK;
}

/* Rows are numbered as they are accepted. */
static bool first_row(void *ctx, struct bytes key, void *value)
{
	const struct out_peer *p = *(struct out_peer **)value;
	uint64_t *first = ctx;

	for (unsigned rank = 0; rank < OUTBOX_PRIORITIES; rank++)
		if (p->queue[rank].n) {
			uint64_t row = ((const struct out_wait *)sorted_at(&p->queue[rank], 0))->row;

			if (row < *first)
				*first = row;
		}
	return true;
}

enum err outbox_oldest(struct store *s, uint64_t *created_ms)
{
	uint64_t first = UINT64_MAX;
	struct outbox_row r;
	enum err e;

	map_each(s->waiting.peers, first_row, &first);
	if (first == UINT64_MAX) {
		*created_ms = 0;
		return ERR_OK;
	}
	e = outbox_fetch(s, (int64_t)first, OUT_PLAIN, &r);
	if (e == ERR_OK)
		*created_ms = r.created_ms;
	return e == ERR_NOTFOUND ? ERR_CORRUPT : e;
}

/* By whichever clock it is, as the wall clock will show it. */
uint64_t outbox_expiry_wall(struct store *s, uint64_t expires_ms)
{
	uint64_t wall, now;

	if (!(expires_ms & OUTBOX_RUNNING))
		return expires_ms;
	expires_ms &= ~OUTBOX_RUNNING;
	wall = env_wall(s->env);
	now = store_running_ms(s);
	return expires_ms > now ? wall + (expires_ms - now) : wall;
}

enum err outbox_next_expiry(struct store *s, uint64_t *wall_ms)
{
	uint64_t at, by_running;
	enum err e = waiting_next_expiry(&s->waiting, BY_WALL, &at);

	if (e == ERR_OK)
		e = waiting_next_expiry(&s->waiting, BY_RUNNING, &by_running);
	if (e != ERR_OK)
		return e;
	if (by_running != UINT64_MAX)
		by_running = outbox_expiry_wall(s, by_running);
	*wall_ms = by_running < at ? by_running : at;
	return ERR_OK;
}

enum err outbox_expire(struct store *s, uint64_t wall_ms, struct outbox_row *rows, size_t max,
		       size_t *n)
{
	uint64_t now[CLOCKS] = {clip_time(wall_ms), OUTBOX_RUNNING | store_running_ms(s)};
	struct out_expiry x;
	size_t count = 0;
	bool found;
	enum err e = ERR_OK;

	while (count < max) {
		e = waiting_pop_expired(&s->waiting, BY_WALL, now[BY_WALL], &x, &found);
		if (e == ERR_OK && !found)
			e = waiting_pop_expired(&s->waiting, BY_RUNNING, now[BY_RUNNING], &x, &found);
		if (e != ERR_OK || !found)
			break;
		/* Its time has passed, whether or not the row can be read. */
		e = outbox_fetch(s, (int64_t)x.row, OUT_WHOLE, &rows[count]);
		if (e == ERR_OK || e == ERR_CORRUPT)
			e = outbox_write_state(s, &rows[count], OUTBOX_EXPIRED, NULL, wall_ms, NULL);
		if (e != ERR_OK) {
			s->waiting.heap_lost = true; /* it still waits */
			break;
		}
		count++;
	}
	if (e == ERR_OK)
		*n = count;
	return e;
}

struct row_list {
	int64_t *rows;
	size_t n;
	int64_t before;
};

static bool list_rows(void *ctx, struct bytes key, void *value)
{
	const struct out_peer *p = *(struct out_peer **)value;
	struct row_list *l = ctx;

	for (unsigned rank = 0; rank < OUTBOX_PRIORITIES; rank++) {
		for (size_t i = 0; i < p->queue[rank].n; i++) {
			const struct out_wait *w = sorted_at(&p->queue[rank], i);
			if ((int64_t)w->row < l->before)
				l->rows[l->n++] = (int64_t)w->row;
		}
	}
	return true;
}

static int newest_first(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x > y ? -1 : x < y;
}

/* `there`: how many wait for `peer`, or for all when it is NULL. */
static enum err list_queued(struct store *s, const uint8_t *peer, int64_t before, size_t there, size_t max,
			    struct outbox_row *rows, size_t *n)
{
	struct row_list l = {.rows = calloc(there + 1, sizeof(int64_t)), .before = before};
	struct out_peer *p = peer ? waiting_peer(&s->waiting, peer) : NULL;
	size_t count = 0;
	enum err e = ERR_OK;

	if (!l.rows)
		return ERR_NOMEM;
	if (p)
		list_rows(&l, bytes_of(peer, PEER_BLOB_BYTES), &p);
	else if (!peer)
		map_each(s->waiting.peers, list_rows, &l);
	qsort(l.rows, l.n, sizeof(l.rows[0]), newest_first);
	for (size_t i = 0; i < l.n && count < max; i++) {
		e = outbox_fetch(s, l.rows[i], OUT_WHOLE, &rows[count]);
		if (e == ERR_CORRUPT)
			log_error("store-row-corrupt box=outbox seq=%lld", (long long)l.rows[i]);
		else if (e != ERR_OK)
			break;
		else
			count++;
	}
	free(l.rows);
	if (e != ERR_OK && e != ERR_CORRUPT)
		return e;
	*n = count;
	return ERR_OK;
}

/* Of one peer: its rows alone are looked at. */
static enum err list_of(struct store *s, const uint8_t peer[static PEER_BLOB_BYTES], int state, int64_t before, size_t max,
			struct outbox_row *rows, size_t *n)
{
	const struct sorted *all = threads_rows(&s->threads, peer, BOX_OUT);
	size_t count = 0;

	for (size_t i = all ? sorted_floor(all, (uint64_t)before) : 0; i-- > 0 && count < max;) {
		int64_t seq = (int64_t)*(const uint64_t *)sorted_at(all, i);
		enum err e = outbox_fetch(s, seq, OUT_WHOLE, &rows[count]);

		if (e == ERR_CORRUPT)
			log_error("store-row-corrupt box=outbox seq=%lld", (long long)seq);
		else if (e != ERR_OK && e != ERR_NOTFOUND)
			return e;
		else if (e == ERR_OK && (state < 0 || rows[count].state == (enum outbox_state)state))
			count++;
	}
	*n = count;
	return ERR_OK;
}

enum err outbox_list(struct store *s, const struct outbox_filter *f, struct outbox_row *rows,
		     size_t max, size_t *n)
{
	uint8_t blob[PEER_BLOB_BYTES] = {0};
	int64_t before = f->before_seq > 0 ? f->before_seq : INT64_MAX;
	uint64_t there = 0;

	if (f->state >= OUTBOX_STATES)
		return ERR_MALFORMED;
	if (f->peer && peer_blob(f->peer, blob) != ERR_OK)
		return ERR_MALFORMED;
	for (int i = 0; i < OUTBOX_STATES; i++) {
		if (f->state < 0 || f->state == i)
			there += f->peer ? counts_peer(&s->counts, blob, BOX_OUT, (unsigned)i)
					 : s->counts.n[BOX_OUT][i];
	}
	/* How many there are is known: the walk ends with the last one of them. */
	if (max > there)
		max = (size_t)there;
	if (f->state == OUTBOX_QUEUED && there <= SORT_MAX)
		return list_queued(s, f->peer ? blob : NULL, before, (size_t)there, max, rows, n);
	if (f->peer)
		return list_of(s, blob, f->state, before, max, rows, n);

	sqlite3_stmt *st = store_stmt(s, ST_OUT_LIST,
				      "SELECT " OUT_COLUMNS " FROM outbox WHERE seq < ?1"
				      " AND (?2 < 0 OR state = ?2) ORDER BY seq DESC");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, before);
	sqlite3_bind_int(st, 2, f->state);
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
		e = idmap_reserve(&s->ids[BOX_OUT], 2);
	if (e == ERR_OK)
		e = threads_reserve_gone(&s->threads);
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
	threads_gone(&s->threads, o->count.peer, BOX_OUT, o->seq);
	struct row_keys keys;
	for (unsigned i = 0, n = row_keys(bytes_of(o->id, o->id_n), o->has_wire ? o->wire : NULL, &keys);
	     i < n; i++)
		idmap_del(&s->ids[BOX_OUT], keys.key[i], o->seq);
	return ERR_OK;
}

/* What expired waits for late receipts (10.3): its life once more and two days, if that is longer. */
static uint64_t prune_before(const struct store *s, uint64_t before_ms, int64_t state, int64_t life_ms)
{
	uint64_t late = life_ms > 0 && life_ms < LIFE_MAX_MS ? (uint64_t)life_ms + LATE_MS : LATE_MS;

	if (state != OUTBOX_EXPIRED || before_ms == UINT64_MAX || late <= s->limits.keep_ms)
		return before_ms;
	late -= s->limits.keep_ms;
	return before_ms > late ? before_ms - late : 0;
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
				   "SELECT seq, peer, state, changed, body_len, id, wire, expires - created FROM outbox"
				   " WHERE seq > ?1 ORDER BY seq");
		if (!st)
			return ERR_STORE;
		sqlite3_bind_int64(st, 1, s->prune_at[BOX_OUT]);
		for (size_t i = 0; i < PRUNE_BATCH && done + n < max_rows; i++, looked++) {
			e = store_read(s, st, &row);
			if (e != ERR_OK || !row)
				break;
			int64_t seq = s->prune_at[BOX_OUT] = sqlite3_column_int64(st, 0);
			struct bytes peer = column_bytes(st, 1), id = column_bytes(st, 5),
				     wire = column_bytes(st, 6);
			int64_t state = sqlite3_column_int64(st, 2);
			/* The highest one stays: its number must not be given out again. */
			if (state == OUTBOX_QUEUED || state < 0 || state >= OUTBOX_STATES ||
			    (uint64_t)sqlite3_column_int64(st, 3) >= prune_before(s, before_ms, state, sqlite3_column_int64(st, 7)) ||
			    seq == s->last_seq[BOX_OUT] || peer.n != PEER_BLOB_BYTES ||
			    !row_id_ok(id, wire))
				continue;
			batch[n].seq = seq;
			batch[n].count = (struct count_move){
				.box = BOX_OUT,
				.from = (uint8_t)state,
				.to = COUNT_NONE,
				.bytes = (uint32_t)sqlite3_column_int64(st, 4),
			};
			memcpy(batch[n].count.peer, peer.p, PEER_BLOB_BYTES);
			old_row_names(&batch[n], id, wire);
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

const char *outbox_shown(const struct outbox_row *r)
{
	return r->at_relay && r->state == OUTBOX_SENT ? "stored" : outbox_state_word(r->state);
}
