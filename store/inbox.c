#include "store/inbox_internal.h"

#include "base/sm.h"

static const struct sm_row MOVES[INBOX_STATES] = {
	[INBOX_NEW] = {"new", SM_TO(INBOX_READ) | SM_TO(INBOX_DROPPED)},
	[INBOX_READ] = {"read", SM_TO(INBOX_DROPPED)},
	[INBOX_HELD] = {"held", SM_TO(INBOX_NEW) | SM_TO(INBOX_DROPPED)},
	[INBOX_DROPPED] = {"dropped", 0},
};

const char *inbox_state_word(enum inbox_state s)
{
	return (unsigned)s < INBOX_STATES ? MOVES[s].name : "unknown";
}

struct bytes inbox_ad(enum in_part part, const struct inbox_row *r, uint8_t out[static IN_AD_MAX])
{
	struct wr w = wr_init(out, IN_AD_MAX);
	struct bytes ad;

	wr_bytes(&w, BYTES_LIT("inbox"));
	wr_u8(&w, (uint8_t)part);
	wr_u64(&w, (uint64_t)r->seq);
	wr_bytes(&w, bytes_of(r->author.hex, NODE_ID_LEN));
	wr_bytes(&w, bytes_of(r->via.hex, NODE_ID_LEN));
	wr_u8(&w, r->priority);
	wr_u8(&w, r->proven);
	wr_u64(&w, r->created_ms);
	wr_u64(&w, r->received_ms);
	wr_u32(&w, r->body_len);
	wr_bytes(&w, bytes_str(r->id));
	enum err e = wr_end(&w, &ad);
	BUG_ON(e != ERR_OK);
	return ad;
}

static enum err check_new(const struct inbox_new *m, uint8_t author[static PEER_BLOB_BYTES],
			  uint8_t via[static PEER_BLOB_BYTES])
{
	if (!id_ok(m->id) || m->type.n < 1 || m->type.n > STORE_TYPE_MAX ||
	    memchr(m->type.p, 0, m->type.n) || m->priority >= OUTBOX_PRIORITIES)
		return ERR_MALFORMED;
	if (m->body.n > STORE_BODY_MAX)
		return ERR_LIMIT;
	enum err e = peer_blob(&m->author, author);
	return e == ERR_OK ? peer_blob(&m->via, via) : e;
}

static bool full(const struct store *s, const uint8_t author[static PEER_BLOB_BYTES],
		 enum inbox_state state, size_t body)
{
	const struct counts *c = &s->counts;
	bool held = state == INBOX_HELD;

	return c->n[BOX_IN][state] >= (held ? s->limits.held_total : s->limits.inbox_total) ||
	       counts_peer(c, author, BOX_IN, state) >=
		       (held ? s->limits.held_per_peer : s->limits.inbox_per_peer) ||
	       c->bytes[BOX_IN][INBOX_NEW] + c->bytes[BOX_IN][INBOX_HELD] + body >
		       s->limits.inbox_bytes;
}

/* ERR_EXISTS with its number and state, ERR_OK when there is none. A row whose type does not open
 * was kept all the same. */
static enum err known(struct store *s, const struct node_id *author, struct bytes id, int64_t *seq,
		      enum inbox_state *state)
{
	struct idmap_probe p;
	struct inbox_row r;
	int64_t at;

	idmap_find(&s->ids[BOX_IN], id, &p);
	while (idmap_next(&s->ids[BOX_IN], &p, &at)) {
		enum err e = inbox_fetch(s, at, &r);
		if (e != ERR_OK && e != ERR_CORRUPT)
			return e == ERR_NOTFOUND ? ERR_CORRUPT : e;
		if (!node_id_eq(author, &r.author) || !bytes_eq(id, bytes_str(r.id)))
			continue;
		*seq = r.seq;
		*state = r.state;
		return ERR_EXISTS;
	}
	return ERR_OK;
}

static enum err insert_row(struct store *s, const struct inbox_row *r,
			   const uint8_t author[static PEER_BLOB_BYTES],
			   const uint8_t via[static PEER_BLOB_BYTES])
{
	uint8_t ad[IN_AD_MAX];

	buf_reset(&s->sealed_words);
	enum err e =
		seal_put(&s->seal, inbox_ad(IN_WORDS, r, ad), bytes_str(r->type), &s->sealed_words);
	if (e != ERR_OK)
		return e;
	sqlite3_stmt *st =
		store_stmt(s, ST_IN_INSERT,
			   "INSERT INTO inbox (seq, author, via, id, priority, state, proven,"
			   " reported, created, received, read, body_len, words)"
			   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, 0, ?10, ?11)");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, r->seq);
	bind_bytes(st, 2, bytes_of(author, PEER_BLOB_BYTES));
	bind_bytes(st, 3, bytes_of(via, PEER_BLOB_BYTES));
	bind_bytes(st, 4, bytes_str(r->id));
	sqlite3_bind_int(st, 5, r->priority);
	sqlite3_bind_int(st, 6, (int)r->state);
	sqlite3_bind_int(st, 7, r->proven);
	bind_int(st, 8, r->created_ms);
	bind_int(st, 9, r->received_ms);
	bind_int(st, 10, r->body_len);
	bind_bytes(st, 11, buf_bytes(&s->sealed_words));
	return store_write(s, st);
}

static enum err insert_body(struct store *s, const struct inbox_row *r)
{
	sqlite3_stmt *st = store_stmt(s, ST_IN_BODY_INSERT,
				      "INSERT INTO inbox_body (seq, body) VALUES (?1, ?2)");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, r->seq);
	bind_bytes(st, 2, buf_bytes(&s->sealed_body));
	return store_write(s, st);
}

static void copy_text(char *out, struct bytes in)
{
	if (in.n)
		memcpy(out, in.p, in.n);
	out[in.n] = 0;
}

enum err inbox_put(struct store *s, const struct inbox_new *m, int64_t *seq,
		   enum inbox_state *state)
{
	struct count_move count = {.box = BOX_IN, .from = COUNT_NONE};
	uint8_t via[PEER_BLOB_BYTES], ad[IN_AD_MAX];
	struct inbox_row r;

	enum err e = check_new(m, count.peer, via);
	if (e != ERR_OK)
		return e;
	if (s->failed)
		return ERR_STORE;
	r.state = m->held ? INBOX_HELD : INBOX_NEW;
	e = known(s, &m->author, m->id, seq, state);
	if (e != ERR_OK)
		return e;
	if (full(s, count.peer, r.state, m->body.n))
		return ERR_FULL;
	r.seq = s->last_seq[BOX_IN] + 1;
	r.author = m->author;
	r.via = m->via;
	copy_text(r.id, m->id);
	copy_text(r.type, m->type);
	r.priority = m->priority;
	r.proven = m->proven;
	r.created_ms = clip_time(m->created_ms);
	r.received_ms = clip_time(m->received_ms);
	r.body_len = (uint32_t)m->body.n;
	count.to = (uint8_t)r.state;
	count.bytes = r.body_len;

	/* What can fail for want of memory comes before the first write. */
	buf_reset(&s->sealed_body);
	e = seal_put(&s->seal, inbox_ad(IN_BODY, &r, ad), m->body, &s->sealed_body);
	if (e == ERR_OK)
		e = counts_reserve(&s->counts, count.peer);
	if (e == ERR_OK)
		e = idmap_reserve(&s->ids[BOX_IN]);
	if (e == ERR_OK)
		e = insert_row(s, &r, count.peer, via);
	if (e == ERR_OK)
		e = insert_body(s, &r);
	if (e != ERR_OK)
		return e;
	counts_move(&s->counts, &count);
	idmap_add(&s->ids[BOX_IN], m->id, r.seq);
	*seq = s->last_seq[BOX_IN] = r.seq;
	*state = r.state;
	if (s->sealed_body.cap > 65536) {
		buf_reset(&s->sealed_body);
		buf_trim(&s->sealed_body, 65536);
	}
	return ERR_OK;
}

/* `read` changes only when it is not 0. */
static enum err write_state(struct store *s, struct inbox_row *r, enum inbox_state to,
			    uint64_t read_ms)
{
	struct count_move count = {
		.box = BOX_IN, .from = (uint8_t)r->state, .to = (uint8_t)to, .bytes = r->body_len};

	BUG_ON(!sm_allows(MOVES, r->state, to));
	if (peer_blob(&r->author, count.peer) != ERR_OK)
		return ERR_CORRUPT;
	if (s->failed)
		return ERR_STORE;
	enum err e = counts_reserve(&s->counts, count.peer);
	if (e != ERR_OK)
		return e;
	sqlite3_stmt *st = store_stmt(s, ST_IN_STATE,
				      "UPDATE inbox SET state = ?2, read = max(read, ?3)"
				      " WHERE seq = ?1");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, r->seq);
	sqlite3_bind_int(st, 2, (int)to);
	bind_int(st, 3, read_ms);
	e = store_write(s, st);
	if (e == ERR_OK && to == INBOX_DROPPED) {
		st = store_stmt(s, ST_IN_BODY_DELETE, "DELETE FROM inbox_body WHERE seq = ?1");
		if (st)
			sqlite3_bind_int64(st, 1, r->seq);
		e = store_write(s, st);
	}
	if (e != ERR_OK)
		return e;
	counts_move(&s->counts, &count);
	r->state = to;
	if (read_ms)
		r->read_ms = clip_time(read_ms);
	return ERR_OK;
}

enum err inbox_mark_read(struct store *s, int64_t seq, uint64_t wall_ms, bool *changed)
{
	struct inbox_row r;
	enum err e = inbox_fetch(s, seq, &r);

	if (e != ERR_OK)
		return e;
	if (r.state == INBOX_READ) {
		*changed = false;
		return ERR_OK;
	}
	if (!sm_allows(MOVES, r.state, INBOX_READ))
		return ERR_WRONG_STATE;
	e = write_state(s, &r, INBOX_READ, wall_ms);
	if (e == ERR_OK)
		*changed = true;
	return e;
}

enum err inbox_mark_reported(struct store *s, int64_t seq)
{
	sqlite3_stmt *st =
		store_stmt(s, ST_IN_REPORTED, "UPDATE inbox SET reported = 1 WHERE seq = ?1");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, seq);
	enum err e = store_write(s, st);
	if (e == ERR_OK && sqlite3_changes(s->db) == 0)
		return ERR_NOTFOUND;
	return e;
}

enum err inbox_release(struct store *s, const struct node_id *author, bool accept,
		       struct inbox_row *rows, size_t max, size_t *n)
{
	uint8_t blob[PEER_BLOB_BYTES];
	size_t count = 0;
	bool row = false;
	enum err e = ERR_OK;

	if (peer_blob(author, blob) != ERR_OK)
		return ERR_MALFORMED;
	sqlite3_stmt *st = store_stmt(s, ST_IN_HELD_OF,
				      "SELECT " IN_COLUMNS " FROM inbox INDEXED BY inbox_held"
				      " WHERE state = 2 AND author = ?1 ORDER BY seq");
	if (!st)
		return ERR_STORE;
	bind_bytes(st, 1, BYTES_ARR(blob));
	while (count < max) {
		e = store_read(s, st, &row);
		if (e != ERR_OK || !row)
			break;
		/* A row that cannot be read must not stay held for ever either. */
		e = inbox_row_from(s, st, &rows[count]);
		if (e != ERR_OK && e != ERR_CORRUPT)
			break;
		e = ERR_OK;
		count++;
	}
	sqlite3_reset(st);
	for (size_t i = 0; e == ERR_OK && i < count; i++)
		e = write_state(s, &rows[i], accept ? INBOX_NEW : INBOX_DROPPED, 0);
	if (e == ERR_OK)
		*n = count;
	return e;
}

enum err inbox_delete(struct store *s, int64_t seq)
{
	struct inbox_row r;
	enum err e = inbox_fetch(s, seq, &r);

	if (e != ERR_OK && e != ERR_CORRUPT)
		return e;
	if ((unsigned)r.state >= INBOX_STATES)
		return ERR_CORRUPT;
	if (r.state == INBOX_DROPPED)
		return ERR_OK;
	/* A time of reading stays, so that a repeat tells what was taken from what was refused. */
	return write_state(s, &r, INBOX_DROPPED,
			   r.state != INBOX_NEW ? 0 : r.received_ms ? r.received_ms : 1);
}
