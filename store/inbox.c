#include "store/inbox_internal.h"

#include "base/sm.h"
#include "base/text.h"

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

struct bytes inbox_ad(enum in_part part, const struct inbox_row *r, uint64_t keep,
		      uint8_t out[static IN_AD_MAX])
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
	if (part == IN_WORDS && r->has_wire) {
		wr_bytes(&w, BYTES_ARR(r->wire_id));
		wr_u64(&w, keep);
	}
	if (r->sealed != INBOX_OPEN) {
		wr_u8(&w, (uint8_t)r->sealed);
		wr_u64(&w, r->arrived_ms);
	}
	enum err e = wr_end(&w, &ad);
	BUG_ON(e != ERR_OK);
	return ad;
}

static enum err check_new(const struct inbox_new *m, uint8_t author[static PEER_BLOB_BYTES],
			  uint8_t via[static PEER_BLOB_BYTES])
{
	if ((!m->has_wire && !id_ok(m->id)) || m->type.n < 1 || m->type.n > STORE_TYPE_MAX ||
	    memchr(m->type.p, 0, m->type.n) || m->priority >= OUTBOX_PRIORITIES)
		return ERR_MALFORMED;
	if (m->body.n > STORE_BODY_MAX || m->meta.n > INBOX_META_MAX)
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

/* A row under this author and id: ERR_EXISTS with its number and state, ERR_OK when there is none. One whose
 * type does not open was kept all the same. `old`: only rows without a wire id count, the others have their
 * table. */
static enum err known(struct store *s, const struct node_id *author, struct bytes id, bool old,
		      int64_t *seq, enum inbox_state *state)
{
	uint8_t raw[WIRE_ID_BYTES];
	struct idmap_probe p;
	struct inbox_row r;
	int64_t at;

	idmap_find(&s->ids[BOX_IN], id_key(id, raw), &p);
	while (idmap_next(&s->ids[BOX_IN], &p, &at)) {
		enum err e = inbox_fetch(s, at, &r);
		if (e != ERR_OK && e != ERR_CORRUPT)
			return e == ERR_NOTFOUND ? ERR_CORRUPT : e;
		if (!node_id_eq(author, &r.author) || !bytes_eq(id, bytes_str(r.id)) ||
		    (old && r.has_wire))
			continue;
		*seq = r.seq;
		*state = r.state;
		return ERR_EXISTS;
	}
	return ERR_OK;
}

/* The wire id in an id of 0.9: a daemon of ours names its messages alike in both generations. */
static bool settled_by_name(struct store *s, const uint8_t author[static PEER_BLOB_BYTES], struct bytes id)
{
	uint8_t wire[WIRE_ID_BYTES];

	return id.n == 2 * WIRE_ID_BYTES && hex_decode(id, wire, sizeof(wire)) == ERR_OK &&
	       inbox_wire_settled(s, author, wire);
}

static enum err check_known(struct store *s, const struct inbox_new *m, struct bytes id,
			    const uint8_t author[static PEER_BLOB_BYTES], int64_t *seq,
			    enum inbox_state *state)
{
	enum err e = m->has_wire ? inbox_wire_check(s, author, m, seq, state) : ERR_OK;

	if (e == ERR_OK)
		e = known(s, &m->author, id, m->has_wire, seq, state);
	return e == ERR_OK && !m->has_wire && settled_by_name(s, author, id) ? ERR_EXPIRED : e;
}

enum err inbox_known(struct store *s, const struct node_id *author, struct bytes id, struct inbox_known *out)
{
	uint8_t blob[PEER_BLOB_BYTES], wire[WIRE_ID_BYTES];
	struct inbox_known k = {0};
	struct inbox_row r;
	bool is_wire = id.n == 2 * WIRE_ID_BYTES && hex_decode(id, wire, sizeof(wire)) == ERR_OK;

	if (peer_blob(author, blob) != ERR_OK || !id_ok(id))
		return ERR_MALFORMED;
	enum err e = known(s, author, id, false, &k.seq, &k.state);
	if (e == ERR_EXISTS) {
		enum err text = inbox_fetch_digest(s, k.seq, &r, k.digest, &k.has_digest);
		if (text != ERR_OK && text != ERR_CORRUPT)
			return text;
		k.has_digest = k.has_digest && text == ERR_OK;
		*out = k;
	}
	if (e != ERR_OK)
		return e;
	return is_wire && inbox_wire_settled(s, blob, wire) ? ERR_EXPIRED : ERR_NOTFOUND;
}

/* 0, type length, type, has digest, digest, meta. Rows of before im2 hold the type alone. */
static enum err seal_words(struct store *s, const struct inbox_row *r, const struct inbox_new *m,
			   uint64_t keep)
{
	uint8_t ad[IN_AD_MAX], clear[3 + STORE_TYPE_MAX + INBOX_DIGEST_BYTES + INBOX_META_MAX];
	struct wr w = wr_init(clear, sizeof(clear));
	struct bytes words;

	wr_u8(&w, 0);
	wr_u8(&w, (uint8_t)m->type.n);
	wr_bytes(&w, m->type);
	wr_u8(&w, m->has_wire);
	if (m->has_wire)
		wr_bytes(&w, BYTES_ARR(m->digest));
	wr_bytes(&w, m->meta);
	enum err e = wr_end(&w, &words);
	BUG_ON(e != ERR_OK);
	buf_reset(&s->sealed_words);
	return seal_put(&s->seal, inbox_ad(IN_WORDS, r, keep, ad), words, &s->sealed_words);
}

static enum err insert_row(struct store *s, const struct inbox_row *r, uint64_t keep,
			   const uint8_t author[static PEER_BLOB_BYTES],
			   const uint8_t via[static PEER_BLOB_BYTES])
{
	sqlite3_stmt *st =
		store_stmt(s, ST_IN_INSERT,
			   "INSERT INTO inbox (seq, author, via, id, priority, state, proven,"
			   " reported, created, received, read, body_len, words, wire, keep, sealed, arrived)"
			   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, 0, ?10, ?11, ?12, ?13, ?14, ?15)");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, r->seq);
	bind_bytes(st, 2, bytes_of(author, PEER_BLOB_BYTES));
	bind_bytes(st, 3, bytes_of(via, PEER_BLOB_BYTES));
	bind_bytes(st, 4, r->has_wire ? bytes_of("", 0) : bytes_str(r->id));
	sqlite3_bind_int(st, 5, r->priority);
	sqlite3_bind_int(st, 6, (int)r->state);
	sqlite3_bind_int(st, 7, r->proven);
	bind_int(st, 8, r->created_ms);
	bind_int(st, 9, r->received_ms);
	bind_int(st, 10, r->body_len);
	bind_bytes(st, 11, buf_bytes(&s->sealed_words));
	if (r->has_wire)
		bind_bytes(st, 12, BYTES_ARR(r->wire_id));
	else
		sqlite3_bind_null(st, 12);
	bind_int(st, 13, keep);
	sqlite3_bind_int(st, 14, (int)r->sealed);
	bind_int(st, 15, r->arrived_ms);
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

static void fill_row(struct store *s, struct inbox_row *r, const struct inbox_new *m, struct bytes id, int64_t seq)
{
	r->seq = seq;
	r->author = m->author;
	r->via = m->via;
	copy_text(r->id, id);
	r->priority = m->priority;
	r->proven = m->proven;
	r->created_ms = clip_time(m->created_ms);
	r->received_ms = clip_time(m->received_ms);
	r->body_len = (uint32_t)m->body.n;
	r->has_wire = m->has_wire;
	r->sealed = m->sealed;
	r->arrived_ms = m->sealed != INBOX_OPEN ? store_running_ms(s) : 0;
	if (m->has_wire)
		memcpy(r->wire_id, m->wire_id, sizeof(r->wire_id));
}

enum err inbox_put(struct store *s, const struct inbox_new *m, int64_t *seq,
		   enum inbox_state *state)
{
	struct count_move count = {.box = BOX_IN, .from = COUNT_NONE};
	uint8_t via[PEER_BLOB_BYTES], ad[IN_AD_MAX];
	char hex[2 * WIRE_ID_BYTES + 1];
	struct in_slot slot = {0};
	struct bytes id = m->id;
	struct inbox_row r;
	struct thread *thread;

	enum err e = check_new(m, count.peer, via);
	if (e != ERR_OK)
		return e;
	if (s->failed)
		return ERR_STORE;
	if (m->has_wire) {
		hex_encode(BYTES_ARR(m->wire_id), hex);
		id = bytes_of(hex, 2 * WIRE_ID_BYTES);
	}
	r.state = m->held ? INBOX_HELD : INBOX_NEW;
	e = check_known(s, m, id, count.peer, seq, state);
	if (e != ERR_OK)
		return e;
	if (full(s, count.peer, r.state, m->body.n))
		return ERR_FULL;
	fill_row(s, &r, m, id, s->last_seq[BOX_IN] + 1);
	count.to = (uint8_t)r.state;
	count.bytes = r.body_len;

	/* What can fail for want of memory comes before the first write of the row. */
	buf_reset(&s->sealed_body);
	e = seal_put(&s->seal, inbox_ad(IN_BODY, &r, 0, ad), m->body, &s->sealed_body);
	if (e == ERR_OK)
		e = counts_reserve(&s->counts, count.peer);
	if (e == ERR_OK)
		e = idmap_reserve(&s->ids[BOX_IN], 1);
	if (e == ERR_OK)
		e = threads_reserve(&s->threads, count.peer, BOX_IN, &thread);
	if (e == ERR_OK && m->has_wire)
		e = inbox_wire_reserve(s, count.peer, m, &slot);
	if (e == ERR_OK)
		e = seal_words(s, &r, m, slot.keep);
	if (e == ERR_OK)
		e = insert_row(s, &r, slot.keep, count.peer, via);
	if (e == ERR_OK)
		e = insert_body(s, &r);
	if (e != ERR_OK)
		return e;
	counts_move(&s->counts, &count);
	threads_add(&s->threads, thread, BOX_IN, r.seq, r.received_ms);
	uint8_t raw[WIRE_ID_BYTES];
	idmap_add(&s->ids[BOX_IN], id_key(id, raw), r.seq);
	if (m->has_wire)
		inbox_wire_add(s, &slot, &r);
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
	uint64_t freed_ms = r->state == INBOX_HELD ? env_wall(s->env) : 0;
	/* Out of the hold, whichever way: the first receipt that says more than "held" is due. */
	bool out = r->state == INBOX_HELD && r->has_wire;
	enum err e = counts_reserve(&s->counts, count.peer);
	if (e == ERR_OK && out)
		e = inbox_wire_reserve_flag(s, r);
	if (e != ERR_OK)
		return e;
	/* `reported` 2 is such a receipt; that of reading says it too. */
	sqlite3_stmt *st = store_stmt(s, ST_IN_STATE,
				      "UPDATE inbox SET state = ?2, read = max(read, ?3), reported ="
				      " CASE WHEN ?4 THEN 2 WHEN ?2 = 1 THEN 0 ELSE reported END,"
				      " freed = max(freed, ?5) WHERE seq = ?1");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, r->seq);
	sqlite3_bind_int(st, 2, (int)to);
	bind_int(st, 3, read_ms);
	sqlite3_bind_int(st, 4, out);
	bind_int(st, 5, freed_ms);
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
	if (out)
		inbox_wire_let_out(s, r);
	r->state = to;
	r->freed_ms = freed_ms ? freed_ms : r->freed_ms;
	if (read_ms)
		r->read_ms = clip_time(read_ms);
	return ERR_OK;
}

enum err inbox_row_read(struct store *s, struct inbox_row *r, uint64_t wall_ms, bool *changed)
{
	if (r->state == INBOX_READ) {
		*changed = false;
		return ERR_OK;
	}
	if (!sm_allows(MOVES, r->state, INBOX_READ))
		return ERR_WRONG_STATE;
	enum err e = write_state(s, r, INBOX_READ, wall_ms);
	if (e == ERR_OK)
		*changed = true;
	return e;
}

enum err inbox_mark_read(struct store *s, int64_t seq, uint64_t wall_ms, bool *changed)
{
	struct inbox_row r;
	enum err e = inbox_fetch(s, seq, &r);

	return e == ERR_OK ? inbox_row_read(s, &r, wall_ms, changed) : e;
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
