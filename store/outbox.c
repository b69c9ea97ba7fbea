#include "store/outbox_internal.h"

#include "base/sm.h"
#include "base/text.h"

/* A dead letter stays dead: a receipt that comes after it was given up or cancelled changes
 * nothing, so what the user was told remains true. */
static const struct sm_row MOVES[OUTBOX_STATES] = {
	[OUTBOX_QUEUED] = {"queued", SM_TO(OUTBOX_SENT) | SM_TO(OUTBOX_DELIVERED) |
					     SM_TO(OUTBOX_READ) | SM_TO(OUTBOX_FAILED) |
					     SM_TO(OUTBOX_EXPIRED) | SM_TO(OUTBOX_REJECTED) |
					     SM_TO(OUTBOX_CANCELLED)},
	[OUTBOX_SENT] = {"sent", SM_TO(OUTBOX_DELIVERED) | SM_TO(OUTBOX_READ) |
					 SM_TO(OUTBOX_FAILED) | SM_TO(OUTBOX_REJECTED)},
	[OUTBOX_DELIVERED] = {"delivered", SM_TO(OUTBOX_READ)},
	[OUTBOX_READ] = {"read", 0},
	[OUTBOX_FAILED] = {"failed", 0},
	[OUTBOX_EXPIRED] = {"expired", 0},
	[OUTBOX_REJECTED] = {"rejected", 0},
	[OUTBOX_CANCELLED] = {"cancelled", 0},
	[OUTBOX_UNKNOWN] = {"unknown", 0},
};

const char *outbox_state_word(enum outbox_state s)
{
	return (unsigned)s < OUTBOX_STATES ? MOVES[s].name : "unknown";
}

enum err outbox_state_parse(struct bytes word, enum outbox_state *out)
{
	for (unsigned i = 0; i < OUTBOX_STATES; i++) {
		if (bytes_eq(word, bytes_str(MOVES[i].name))) {
			*out = (enum outbox_state)i;
			return ERR_OK;
		}
	}
	return ERR_MALFORMED;
}

bool outbox_state_terminal(enum outbox_state s)
{
	return s != OUTBOX_QUEUED;
}

struct bytes outbox_ad(enum out_part part, const struct outbox_row *r,
		       uint8_t out[static OUT_AD_MAX])
{
	struct wr w = wr_init(out, OUT_AD_MAX);
	struct bytes id = bytes_str(r->id), ad;

	wr_bytes(&w, BYTES_LIT("outbox"));
	wr_u8(&w, (uint8_t)part);
	wr_u64(&w, (uint64_t)r->seq);
	wr_bytes(&w, bytes_of(r->to.hex, NODE_ID_LEN));
	wr_u8(&w, r->priority);
	wr_u64(&w, r->created_ms);
	wr_u64(&w, r->expires_ms);
	wr_u32(&w, r->body_len);
	wr_bytes(&w, id);
	enum err e = wr_end(&w, &ad);
	BUG_ON(e != ERR_OK);
	return ad;
}

/* type length, type, reason */
static enum err seal_words(struct store *s, const struct outbox_row *r)
{
	uint8_t ad[OUT_AD_MAX], clear[1 + STORE_TYPE_MAX + OUTBOX_REASON_MAX];
	struct wr w = wr_init(clear, sizeof(clear));
	struct bytes type = bytes_str(r->type), words;

	wr_u8(&w, (uint8_t)type.n);
	wr_bytes(&w, type);
	wr_bytes(&w, bytes_str(r->reason));
	enum err e = wr_end(&w, &words);
	BUG_ON(e != ERR_OK);
	buf_reset(&s->sealed_words);
	return seal_put(&s->seal, outbox_ad(OUT_WORDS, r, ad), words, &s->sealed_words);
}

static void copy_text(char *out, struct bytes in)
{
	if (in.n)
		memcpy(out, in.p, in.n);
	out[in.n] = 0;
}

static enum err open_words(struct store *s, struct bytes sealed, struct outbox_row *r)
{
	uint8_t ad[OUT_AD_MAX];

	buf_reset(&s->clear_words);
	enum err e = seal_open(&s->seal, outbox_ad(OUT_WORDS, r, ad), sealed, &s->clear_words);
	if (e != ERR_OK)
		return e;
	struct rd rd = rd_init(s->clear_words.p, s->clear_words.n);
	struct bytes type = rd_bytes(&rd, rd_u8(&rd));
	struct bytes reason = rd_rest(&rd);
	if (rd_end(&rd) != ERR_OK || type.n > STORE_TYPE_MAX || reason.n > OUTBOX_REASON_MAX)
		return ERR_CORRUPT;
	copy_text(r->type, type);
	copy_text(r->reason, reason);
	return ERR_OK;
}

enum err outbox_row_from(struct store *s, sqlite3_stmt *st, struct outbox_row *r)
{
	struct bytes id = column_bytes(st, 2);
	int64_t rank = sqlite3_column_int64(st, 3), state = sqlite3_column_int64(st, 4);
	int64_t len = sqlite3_column_int64(st, 9);

	r->seq = sqlite3_column_int64(st, 0);
	enum err e = peer_from_column(st, 1, &r->to);
	r->id[0] = r->type[0] = r->reason[0] = 0;
	r->priority = (uint8_t)(OUTBOX_PRIORITIES - 1 - rank);
	r->state = (enum outbox_state)state;
	r->attempts = (uint32_t)sqlite3_column_int64(st, 5);
	r->created_ms = (uint64_t)sqlite3_column_int64(st, 6);
	r->expires_ms = (uint64_t)sqlite3_column_int64(st, 7);
	r->changed_ms = (uint64_t)sqlite3_column_int64(st, 8);
	r->body_len = (uint32_t)len;
	if (e != ERR_OK || !id_ok(id) || rank < 0 || rank >= OUTBOX_PRIORITIES || state < 0 ||
	    state >= OUTBOX_STATES || len < 0 || len > STORE_BODY_MAX)
		return ERR_CORRUPT;
	copy_text(r->id, id);
	return open_words(s, column_bytes(st, 10), r);
}

static enum err check_new(struct store *s, const struct outbox_new *m,
			  uint8_t peer[static PEER_BLOB_BYTES])
{
	if (!id_ok(m->id) || m->type.n < 1 || m->type.n > STORE_TYPE_MAX ||
	    memchr(m->type.p, 0, m->type.n) || m->priority >= OUTBOX_PRIORITIES)
		return ERR_MALFORMED;
	if (m->body.n > STORE_BODY_MAX)
		return ERR_LIMIT;
	return peer_blob(&m->to, peer);
}

static bool full(const struct store *s, const uint8_t peer[static PEER_BLOB_BYTES], size_t body)
{
	const struct counts *c = &s->counts;

	return c->n[BOX_OUT][OUTBOX_QUEUED] >= s->limits.outbox_total ||
	       counts_peer(c, peer, BOX_OUT, OUTBOX_QUEUED) >= s->limits.outbox_per_peer ||
	       c->bytes[BOX_OUT][OUTBOX_QUEUED] + body > s->limits.outbox_bytes;
}

static enum err fetch(struct store *s, int64_t seq, struct outbox_row *r)
{
	sqlite3_stmt *st =
		store_stmt(s, ST_OUT_BY_SEQ, "SELECT " OUT_COLUMNS " FROM outbox WHERE seq = ?1");
	bool row;

	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, seq);
	enum err e = store_read(s, st, &row);
	if (e != ERR_OK)
		return e;
	if (!row)
		return ERR_NOTFOUND;
	e = outbox_row_from(s, st, r);
	sqlite3_reset(st);
	return e;
}

/* ERR_CORRUPT: it is this row, but its texts do not open. */
static enum err fetch_id(struct store *s, struct bytes id, struct outbox_row *r)
{
	struct idmap_probe p;
	int64_t seq;

	if (!id_ok(id))
		return ERR_NOTFOUND;
	idmap_find(&s->ids[BOX_OUT], id, &p);
	while (idmap_next(&s->ids[BOX_OUT], &p, &seq)) {
		enum err e = fetch(s, seq, r);
		if (e != ERR_OK && e != ERR_CORRUPT)
			return e == ERR_NOTFOUND ? ERR_CORRUPT : e;
		if (bytes_eq(id, bytes_str(r->id)))
			return e;
	}
	return ERR_NOTFOUND;
}

static enum err insert_row(struct store *s, const struct outbox_row *r,
			   const uint8_t peer[static PEER_BLOB_BYTES])
{
	enum err e = seal_words(s, r);
	if (e != ERR_OK)
		return e;
	sqlite3_stmt *st = store_stmt(s, ST_OUT_INSERT,
				      "INSERT INTO outbox (" OUT_COLUMNS ") VALUES"
				      " (?1, ?2, ?3, ?4, 0, 0, ?5, ?6, ?5, ?7, ?8)");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, r->seq);
	bind_bytes(st, 2, bytes_of(peer, PEER_BLOB_BYTES));
	bind_bytes(st, 3, bytes_str(r->id));
	sqlite3_bind_int(st, 4, OUTBOX_PRIORITIES - 1 - r->priority);
	bind_int(st, 5, r->created_ms);
	bind_int(st, 6, r->expires_ms);
	bind_int(st, 7, r->body_len);
	bind_bytes(st, 8, buf_bytes(&s->sealed_words));
	return store_write(s, st);
}

static enum err insert_body(struct store *s, const struct outbox_row *r, struct bytes body)
{
	sqlite3_stmt *st = store_stmt(s, ST_OUT_BODY_INSERT,
				      "INSERT INTO outbox_body (seq, body) VALUES (?1, ?2)");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, r->seq);
	bind_bytes(st, 2, body);
	return store_write(s, st);
}

enum err outbox_put(struct store *s, const struct outbox_new *m, int64_t *seq,
		    uint8_t wire_id[static 16])
{
	struct count_move count = {.box = BOX_OUT, .from = COUNT_NONE, .to = OUTBOX_QUEUED};
	uint8_t ad[OUT_AD_MAX];
	struct outbox_row r;

	enum err e = check_new(s, m, count.peer);
	if (e != ERR_OK)
		return e;
	if (s->failed)
		return ERR_STORE;
	e = fetch_id(s, m->id, &r);
	if (e != ERR_NOTFOUND)
		return e == ERR_OK || e == ERR_CORRUPT ? ERR_EXISTS : e;
	if (full(s, count.peer, m->body.n))
		return ERR_FULL;
	r.seq = s->last_seq[BOX_OUT] + 1;
	r.to = m->to;
	copy_text(r.id, m->id);
	copy_text(r.type, m->type);
	r.reason[0] = 0;
	r.priority = m->priority;
	r.created_ms = clip_time(m->created_ms);
	r.expires_ms = clip_time(m->expires_ms);
	r.body_len = (uint32_t)m->body.n;
	count.bytes = r.body_len;

	/* What can fail for want of memory comes before the first write. */
	buf_reset(&s->sealed_body);
	e = seal_put(&s->seal, outbox_ad(OUT_BODY, &r, ad), m->body, &s->sealed_body);
	if (e == ERR_OK)
		e = counts_reserve(&s->counts, count.peer);
	if (e == ERR_OK)
		e = idmap_reserve(&s->ids[BOX_OUT]);
	if (e == ERR_OK)
		e = insert_row(s, &r, count.peer);
	if (e == ERR_OK)
		e = insert_body(s, &r, buf_bytes(&s->sealed_body));
	if (e != ERR_OK)
		return e;
	counts_move(&s->counts, &count);
	env_random(s->env, wire_id, 16);
	idmap_add(&s->ids[BOX_OUT], m->id, r.seq);
	*seq = s->last_seq[BOX_OUT] = r.seq;
	if (s->sealed_body.cap > 65536) {
		buf_reset(&s->sealed_body);
		buf_trim(&s->sealed_body, 65536);
	}
	return ERR_OK;
}

/* States that only a try can lead to. */
static bool arrived(enum outbox_state to)
{
	return to == OUTBOX_SENT || to == OUTBOX_DELIVERED || to == OUTBOX_READ || to == OUTBOX_REJECTED;
}

enum err outbox_write_state(struct store *s, struct outbox_row *r, enum outbox_state to,
			    const char *reason, uint64_t wall_ms)
{
	struct count_move count = {
		.box = BOX_OUT, .from = (uint8_t)r->state, .to = (uint8_t)to, .bytes = r->body_len};
	bool words = reason && *reason;
	sqlite3_stmt *st;

	enum err e = peer_blob(&r->to, count.peer);
	if (e != ERR_OK)
		return ERR_CORRUPT;
	if (s->failed)
		return ERR_STORE;
	e = counts_reserve(&s->counts, count.peer);
	if (e != ERR_OK)
		return e;
	if (words) {
		/* Reasons come from peers too. */
		text_safe(bytes_str(reason), r->reason, sizeof(r->reason));
		e = seal_words(s, r);
		if (e != ERR_OK)
			return e;
		st = store_stmt(
			s, ST_OUT_STATE_WORDS,
			"UPDATE outbox SET state = ?2, changed = ?3, words = ?4,"
				" attempts = attempts + ?5 WHERE seq = ?1");
		if (st)
			bind_bytes(st, 4, buf_bytes(&s->sealed_words));
	} else {
		st = store_stmt(s, ST_OUT_STATE,
				"UPDATE outbox SET state = ?2, changed = ?3, attempts = attempts + ?5"
				" WHERE seq = ?1");
	}
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, r->seq);
	sqlite3_bind_int(st, 2, (int)to);
	bind_int(st, 3, wall_ms);
	/* The try that brought it there; earlier ones were counted by outbox_attempt(). */
	sqlite3_bind_int(st, 5, r->state == OUTBOX_QUEUED && arrived(to));
	e = store_write(s, st);
	/* A dead letter keeps its body until it is pruned: outbox_requeue() can send it again. */
	if (e == ERR_OK && r->state == OUTBOX_QUEUED && arrived(to) && to != OUTBOX_REJECTED) {
		st = store_stmt(s, ST_OUT_BODY_DELETE, "DELETE FROM outbox_body WHERE seq = ?1");
		if (st)
			sqlite3_bind_int64(st, 1, r->seq);
		e = store_write(s, st);
	}
	if (e != ERR_OK)
		return e;
	counts_move(&s->counts, &count);
	r->state = to;
	r->changed_ms = clip_time(wall_ms);
	return ERR_OK;
}

/* `e` says how fetching *r went. A row whose texts do not open can still be moved. */
static enum err move_row(struct store *s, enum err e, struct outbox_row *r, enum outbox_state to,
			 const char *reason, uint64_t wall_ms)
{
	if (e != ERR_OK && e != ERR_CORRUPT)
		return e;
	if ((unsigned)to >= OUTBOX_STATES || (unsigned)r->state >= OUTBOX_STATES ||
	    !sm_allows(MOVES, r->state, to))
		return ERR_WRONG_STATE;
	/* Sealing new words would make a bad row look whole again. */
	return outbox_write_state(s, r, to, e == ERR_CORRUPT ? NULL : reason, wall_ms);
}

enum err outbox_move(struct store *s, int64_t seq, enum outbox_state to, const char *reason,
		     uint64_t wall_ms)
{
	struct outbox_row r;
	enum err e = fetch(s, seq, &r);

	return move_row(s, e, &r, to, reason, wall_ms);
}

enum err outbox_receipt(struct store *s, const struct node_id *peer, struct bytes id,
			enum outbox_state to, const char *reason, uint64_t wall_ms, int64_t *seq)
{
	struct outbox_row r;
	enum err e = fetch_id(s, id, &r);

	if ((e == ERR_OK || e == ERR_CORRUPT) && !node_id_eq(peer, &r.to))
		return ERR_NOTFOUND;
	e = move_row(s, e, &r, to, reason, wall_ms);
	if (e == ERR_OK)
		*seq = r.seq;
	return e;
}

enum err outbox_attempt(struct store *s, int64_t seq)
{
	sqlite3_stmt *st = store_stmt(s, ST_OUT_ATTEMPT,
				      "UPDATE outbox SET attempts = attempts + 1 WHERE seq = ?1");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, seq);
	enum err e = store_write(s, st);
	if (e == ERR_OK && sqlite3_changes(s->db) == 0)
		return ERR_NOTFOUND;
	return e;
}

enum err outbox_get(struct store *s, struct bytes id, struct outbox_row *out)
{
	struct outbox_row r;
	enum err e = fetch_id(s, id, &r);

	if (e == ERR_OK)
		*out = r;
	return e;
}

/* The row, and its clear body appended when it still has one. */
static enum err fetch_whole(struct store *s, int64_t seq, struct outbox_row *r, struct buf *out,
			    bool *has)
{
	uint8_t ad[OUT_AD_MAX];
	bool row;

	sqlite3_stmt *st = store_stmt(s, ST_OUT_BODY,
				      "SELECT " OUT_COLUMNS ", (SELECT body FROM outbox_body b"
				      " WHERE b.seq = outbox.seq) FROM outbox WHERE seq = ?1");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, seq);
	enum err e = store_read(s, st, &row);
	if (e != ERR_OK)
		return e;
	if (!row)
		return ERR_NOTFOUND;
	e = outbox_row_from(s, st, r);
	struct bytes sealed = column_bytes(st, 11);
	*has = sealed.n != 0;
	if (e == ERR_OK && *has)
		e = sealed.n == r->body_len + SEAL_OVERHEAD
			    ? seal_open(&s->seal, outbox_ad(OUT_BODY, r, ad), sealed, out)
			    : ERR_CORRUPT;
	sqlite3_reset(st);
	return e;
}

enum err outbox_body(struct store *s, int64_t seq, struct buf *out)
{
	struct outbox_row r;
	size_t was = out->n;
	bool has;
	enum err e = fetch_whole(s, seq, &r, out, &has);

	if (e == ERR_OK && r.state != OUTBOX_QUEUED) {
		out->n = was; /* a dead letter has one too */
		return ERR_WRONG_STATE;
	}
	return e == ERR_OK && !has ? ERR_CORRUPT : e;
}

/* The expiry is bound into what is sealed, so both texts are sealed again. */
static enum err revive(struct store *s, struct outbox_row *r, struct bytes body, uint64_t wall_ms)
{
	uint8_t ad[OUT_AD_MAX];
	sqlite3_stmt *st;

	r->expires_ms = 0;
	r->reason[0] = 0;
	buf_reset(&s->sealed_body);
	enum err e = seal_put(&s->seal, outbox_ad(OUT_BODY, r, ad), body, &s->sealed_body);
	if (e == ERR_OK)
		e = seal_words(s, r);
	if (e != ERR_OK)
		return e;
	st = store_stmt(s, ST_OUT_REVIVE,
			"UPDATE outbox SET state = 0, changed = ?2, expires = 0, words = ?3"
			" WHERE seq = ?1");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, r->seq);
	bind_int(st, 2, wall_ms);
	bind_bytes(st, 3, buf_bytes(&s->sealed_words));
	e = store_write(s, st);
	if (e != ERR_OK)
		return e;
	st = store_stmt(s, ST_OUT_REVIVE_BODY, "UPDATE outbox_body SET body = ?2 WHERE seq = ?1");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, r->seq);
	bind_bytes(st, 2, buf_bytes(&s->sealed_body));
	return store_write(s, st);
}

enum err outbox_requeue(struct store *s, int64_t seq, uint64_t wall_ms, char new_id[static 129])
{
	struct count_move count = {.box = BOX_OUT, .to = OUTBOX_QUEUED};
	struct outbox_row r;
	struct buf body;
	bool has;

	if (s->failed)
		return ERR_STORE;
	buf_init(&body, STORE_BODY_MAX);
	enum err e = fetch_whole(s, seq, &r, &body, &has);
	if (e == ERR_OK && (r.state < OUTBOX_FAILED || !has))
		e = ERR_WRONG_STATE;
	if (e == ERR_OK)
		e = peer_blob(&r.to, count.peer);
	if (e == ERR_OK && full(s, count.peer, r.body_len))
		e = ERR_FULL;
	if (e == ERR_OK)
		e = counts_reserve(&s->counts, count.peer);
	if (e == ERR_OK) {
		count.from = (uint8_t)r.state;
		count.bytes = r.body_len;
		e = revive(s, &r, buf_bytes(&body), wall_ms);
	}
	if (e == ERR_OK) {
		counts_move(&s->counts, &count);
		memcpy(new_id, r.id, sizeof(r.id));
	}
	buf_wipe(&body);
	buf_fini(&body);
	return e;
}
