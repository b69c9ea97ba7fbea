/* What of the database is kept in memory: one walk over the rows at open; and the meta table. */
#include "store/store_internal.h"

#define RUNNING_KEY "running"

/* SELECT seq, peer, state, body_len, id, wire, and of the outbox rank, expires, of the inbox keep, reported; and when it was
 * accepted or came */
static enum err load_row(struct store *s, enum box box, unsigned states, sqlite3_stmt *st)
{
	int64_t seq = sqlite3_column_int64(st, 0), state = sqlite3_column_int64(st, 2);
	int64_t len = sqlite3_column_int64(st, 3);
	struct bytes peer = column_bytes(st, 1), id = column_bytes(st, 4), wire = column_bytes(st, 5);
	struct count_move m = {.box = (uint8_t)box, .from = COUNT_NONE};
	struct row_keys keys;
	struct thread *thread;

	if (seq <= 0 || seq >= IDMAP_SEQ_MAX || peer.n != PEER_BLOB_BYTES || state < 0 ||
	    state >= states || len < 0 || len > STORE_BODY_MAX || !row_id_ok(id, wire))
		return ERR_CORRUPT;
	memcpy(m.peer, peer.p, sizeof(m.peer));
	m.to = (uint8_t)state;
	m.bytes = (uint32_t)len;
	enum err e = counts_load(&s->counts, &m);
	if (e == ERR_OK)
		e = idmap_reserve(&s->ids[box], 2);
	if (e != ERR_OK)
		return e;
	for (unsigned i = 0, n = row_keys(id, wire.n ? wire.p : NULL, &keys); i < n; i++)
		idmap_add(&s->ids[box], keys.key[i], seq);
	idmap_commit(&s->ids[box]);
	e = threads_reserve(&s->threads, m.peer, box, &thread);
	if (e != ERR_OK)
		return e;
	threads_add(&s->threads, thread, box, seq, (uint64_t)sqlite3_column_int64(st, 8));
	threads_commit(&s->threads);
	s->last_seq[box] = seq;
	return ERR_OK;
}

static enum err load_out(struct store *s, sqlite3_stmt *st)
{
	struct outbox_row r = {.seq = sqlite3_column_int64(st, 0)};
	struct bytes wire = column_bytes(st, 5);
	int64_t rank = sqlite3_column_int64(st, 6);

	enum err e = load_row(s, BOX_OUT, OUTBOX_STATES, st);
	if (e != ERR_OK || sqlite3_column_int64(st, 2) != OUTBOX_QUEUED)
		return e;
	/* A rank that makes no sense is found out when the row is read; it waits behind all others. */
	if (rank >= 0 && rank < OUTBOX_PRIORITIES)
		r.priority = (uint8_t)(OUTBOX_PRIORITIES - 1 - rank);
	e = peer_from_column(st, 1, &r.to);
	if (e != ERR_OK)
		return e;
	r.body_len = (uint32_t)sqlite3_column_int64(st, 3);
	r.expires_ms = clip_time((uint64_t)sqlite3_column_int64(st, 7));
	r.has_wire = wire.n != 0;
	if (r.has_wire)
		memcpy(r.wire_id, wire.p, sizeof(r.wire_id));
	return outbox_load_waiting(s, &r);
}

static enum err load_in(struct store *s, sqlite3_stmt *st)
{
	struct inbox_row r = {.seq = sqlite3_column_int64(st, 0)};
	struct bytes wire = column_bytes(st, 5);
	enum err e = load_row(s, BOX_IN, INBOX_STATES, st);

	if (e != ERR_OK || !wire.n)
		return e;
	e = peer_from_column(st, 1, &r.author);
	if (e != ERR_OK)
		return e;
	r.state = (enum inbox_state)sqlite3_column_int64(st, 2);
	memcpy(r.wire_id, wire.p, sizeof(r.wire_id));
	return inbox_load_entry(s, &r, clip_time((uint64_t)sqlite3_column_int64(st, 6)),
				sqlite3_column_int64(st, 7) == 2);
}

static enum err load_box(struct store *s, enum err (*fn)(struct store *, sqlite3_stmt *), const char *sql)
{
	sqlite3_stmt *st;
	int rc = SQLITE_DONE;
	enum err e = ERR_OK;

	if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK)
		return ERR_STORE;
	while (e == ERR_OK && (rc = sqlite3_step(st)) == SQLITE_ROW)
		e = fn(s, st);
	if (e == ERR_OK && rc != SQLITE_DONE)
		e = ERR_STORE;
	sqlite3_finalize(st);
	return e;
}

enum err store_meta_read(struct store *s, const char *key, uint8_t *out, size_t n)
{
	sqlite3_stmt *st = store_stmt(s, ST_META_READ, "SELECT value FROM meta WHERE key = ?1");
	bool row;

	if (!st)
		return ERR_STORE;
	sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
	enum err e = store_read(s, st, &row);
	if (e != ERR_OK || !row)
		return e == ERR_OK ? ERR_NOTFOUND : e;
	struct bytes value = column_bytes(st, 0);
	if (value.n == n)
		memcpy(out, value.p, n);
	else
		e = ERR_CORRUPT;
	sqlite3_reset(st);
	return e;
}

enum err store_meta_write(struct store *s, const char *key, struct bytes value)
{
	sqlite3_stmt *st = store_stmt(s, ST_META_WRITE,
				      "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
	bind_bytes(st, 2, value);
	return store_write(s, st);
}

uint64_t store_running_ms(struct store *s)
{
	uint64_t now = env_now(s->env);

	return s->running_base + (now > s->opened_ms ? now - s->opened_ms : 0);
}

enum err store_save_running(struct store *s)
{
	uint64_t running = store_running_ms(s);
	uint8_t value[8];
	struct wr w = wr_init(value, sizeof(value));

	wr_u64(&w, running);
	enum err e = store_meta_write(s, RUNNING_KEY, BYTES_ARR(value));
	if (e == ERR_OK)
		s->running_saved = running;
	return e;
}

static enum err init_memory(struct store *s)
{
	enum err e = counts_init(&s->counts, s->env);

	for (int i = 0; e == ERR_OK && i < BOXES; i++)
		e = idmap_init(&s->ids[i], s->env);
	if (e == ERR_OK)
		e = waiting_init(&s->waiting, s->env);
	if (e == ERR_OK)
		e = threads_init(&s->threads, s->env);
	return e == ERR_OK ? entries_init(&s->entries, s->env) : e;
}

static enum err load_running(struct store *s)
{
	uint8_t value[8];
	enum err e = store_meta_read(s, RUNNING_KEY, value, sizeof(value));

	if (e == ERR_OK) {
		struct rd r = rd_init(value, sizeof(value));
		s->running_base = clip_time(rd_u64(&r));
	}
	s->opened_ms = env_now(s->env);
	s->running_saved = s->running_base;
	return e == ERR_NOTFOUND ? ERR_OK : e;
}

enum err store_load(struct store *s)
{
	enum err e = init_memory(s);

	if (e == ERR_OK)
		e = load_running(s);
	if (e == ERR_OK)
		e = outbox_load_eras(s);
	if (e == ERR_OK)
		e = outbox_give_wires(s);
	if (e == ERR_OK)
		e = inbox_load_marks(s);
	if (e == ERR_OK)
		e = load_box(s, load_out,
			     "SELECT seq, peer, state, body_len, id, wire, rank, expires, created FROM outbox"
			     " ORDER BY seq");
	if (e == ERR_OK)
		e = load_box(s, load_in,
			     "SELECT seq, author, state, body_len, id, wire, keep, reported, received FROM inbox"
			     " ORDER BY seq");
	memcpy(s->kept_last_seq, s->last_seq, sizeof(s->last_seq));
	return e;
}
