#include "store/outbox_internal.h"

#include "base/log.h"
#include "base/text.h"

#define WORDS_NEW  0x80 /* in the first byte: flags and meta follow the type */
#define NO_RECEIPT 0x01

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
	/* Not in that of the body: rows from before there were wire ids are given one without it. */
	if (part == OUT_WORDS && r->has_wire)
		wr_bytes(&w, BYTES_ARR(r->wire_id));
	enum err e = wr_end(&w, &ad);
	BUG_ON(e != ERR_OK);
	return ad;
}

/* WORDS_NEW | type length, type, flags, meta length (2), meta, reason */
enum err outbox_seal_words(struct store *s, const struct outbox_row *r)
{
	uint8_t ad[OUT_AD_MAX],
		clear[4 + STORE_TYPE_MAX + OUTBOX_META_MAX + OUTBOX_REASON_MAX];
	struct wr w = wr_init(clear, sizeof(clear));
	struct bytes type = bytes_str(r->type), words;

	wr_u8(&w, (uint8_t)(WORDS_NEW | type.n));
	wr_bytes(&w, type);
	wr_u8(&w, r->no_receipt ? NO_RECEIPT : 0);
	wr_u16(&w, r->meta_len);
	wr_bytes(&w, bytes_of(r->meta, r->meta_len));
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
	uint8_t ad[OUT_AD_MAX], flags = 0;
	struct bytes meta = {0};

	buf_reset(&s->clear_words);
	enum err e = seal_open(&s->seal, outbox_ad(OUT_WORDS, r, ad), sealed, &s->clear_words);
	if (e != ERR_OK)
		return e;
	struct rd rd = rd_init(s->clear_words.p, s->clear_words.n);
	uint8_t first = rd_u8(&rd);
	struct bytes type = rd_bytes(&rd, first & ~WORDS_NEW);
	if (first & WORDS_NEW) {
		flags = rd_u8(&rd);
		meta = rd_bytes(&rd, rd_u16(&rd));
	}
	struct bytes reason = rd_rest(&rd);
	if (rd_end(&rd) != ERR_OK || type.n > STORE_TYPE_MAX || meta.n > OUTBOX_META_MAX ||
	    reason.n > OUTBOX_REASON_MAX)
		return ERR_CORRUPT;
	copy_text(r->type, type);
	copy_text(r->reason, reason);
	r->no_receipt = (flags & NO_RECEIPT) != 0;
	r->meta_len = (uint16_t)meta.n;
	if (meta.n)
		memcpy(r->meta, meta.p, meta.n);
	return ERR_OK;
}

enum err outbox_row_plain(sqlite3_stmt *st, struct outbox_row *r)
{
	struct bytes id = column_bytes(st, 2), wire = column_bytes(st, 11);
	int64_t rank = sqlite3_column_int64(st, 3), state = sqlite3_column_int64(st, 4);
	int64_t len = sqlite3_column_int64(st, 9);

	r->seq = sqlite3_column_int64(st, 0);
	enum err e = peer_from_column(st, 1, &r->to);
	r->id[0] = r->type[0] = r->reason[0] = 0;
	r->no_receipt = r->at_relay = false;
	r->meta_len = 0;
	r->priority = (uint8_t)(OUTBOX_PRIORITIES - 1 - rank);
	r->state = (enum outbox_state)state;
	r->attempts = (uint32_t)sqlite3_column_int64(st, 5);
	r->created_ms = (uint64_t)sqlite3_column_int64(st, 6);
	r->expires_ms = (uint64_t)sqlite3_column_int64(st, 7);
	r->changed_ms = (uint64_t)sqlite3_column_int64(st, 8);
	r->body_len = (uint32_t)len;
	r->has_wire = wire.n == sizeof(r->wire_id);
	if (r->has_wire)
		memcpy(r->wire_id, wire.p, sizeof(r->wire_id));
	if (e != ERR_OK || !row_id_ok(id, wire) || rank < 0 || rank >= OUTBOX_PRIORITIES || state < 0 ||
	    state >= OUTBOX_STATES || len < 0 || len > STORE_BODY_MAX)
		return ERR_CORRUPT;
	if (id.n)
		copy_text(r->id, id);
	else
		hex_encode(wire, r->id);
	return ERR_OK;
}

enum err outbox_row_from(struct store *s, sqlite3_stmt *st, struct outbox_row *r)
{
	enum err e = outbox_row_plain(st, r);

	return e == ERR_OK ? open_words(s, column_bytes(st, 10), r) : e;
}

unsigned outbox_keys(const struct outbox_row *r, struct row_keys *k)
{
	return row_keys(bytes_str(r->id), r->has_wire ? r->wire_id : NULL, k);
}

static enum err check_new(struct store *s, const struct outbox_new *m,
			  uint8_t peer[static PEER_BLOB_BYTES])
{
	if ((m->id.n && !id_ok(m->id)) || m->type.n < 1 || m->type.n > STORE_TYPE_MAX ||
	    memchr(m->type.p, 0, m->type.n) || m->priority >= OUTBOX_PRIORITIES)
		return ERR_MALFORMED;
	if (m->body.n > STORE_BODY_MAX || m->meta.n > OUTBOX_META_MAX)
		return ERR_LIMIT;
	return peer_blob(&m->to, peer);
}

bool outbox_full(const struct store *s, const uint8_t peer[static PEER_BLOB_BYTES], size_t body)
{
	const struct counts *c = &s->counts;

	return c->n[BOX_OUT][OUTBOX_QUEUED] >= s->limits.outbox_total ||
	       counts_peer(c, peer, BOX_OUT, OUTBOX_QUEUED) >= s->limits.outbox_per_peer ||
	       c->bytes[BOX_OUT][OUTBOX_QUEUED] + body > s->limits.outbox_bytes;
}

enum err outbox_fetch(struct store *s, int64_t seq, enum out_depth depth, struct outbox_row *r)
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
	e = depth == OUT_PLAIN ? outbox_row_plain(st, r) : outbox_row_from(s, st, r);
	sqlite3_reset(st);
	return e;
}

/* ERR_CORRUPT: it is this row, but its texts do not open. */
enum err outbox_fetch_id(struct store *s, struct bytes id, enum out_depth depth, struct outbox_row *r)
{
	uint8_t raw[WIRE_ID_BYTES];
	struct idmap_probe p;
	int64_t seq;

	if (!id_ok(id))
		return ERR_NOTFOUND;
	struct bytes key = id_key(id, raw);
	idmap_find(&s->ids[BOX_OUT], key, &p);
	while (idmap_next(&s->ids[BOX_OUT], &p, &seq)) {
		enum err e = outbox_fetch(s, seq, depth, r);
		if (e != ERR_OK && e != ERR_CORRUPT)
			return e == ERR_NOTFOUND ? ERR_CORRUPT : e;
		if (bytes_eq(id, bytes_str(r->id)) ||
		    (r->has_wire && bytes_eq(key, BYTES_ARR(r->wire_id))))
			return e;
	}
	return ERR_NOTFOUND;
}

/* `wire_is_id`: the id is the hex of the wire id, and not written a second time. */
static enum err insert_row(struct store *s, const struct outbox_row *r, bool wire_is_id,
			   const uint8_t peer[static PEER_BLOB_BYTES])
{
	enum err e = outbox_seal_words(s, r);
	if (e != ERR_OK)
		return e;
	sqlite3_stmt *st = store_stmt(s, ST_OUT_INSERT,
				      "INSERT INTO outbox (" OUT_COLUMNS ", track) VALUES"
				      " (?1, ?2, ?3, ?4, 0, 0, ?5, ?6, ?5, ?7, ?8, ?9, x'0000000000000000')");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, r->seq);
	bind_bytes(st, 2, bytes_of(peer, PEER_BLOB_BYTES));
	bind_bytes(st, 3, wire_is_id ? bytes_of("", 0) : bytes_str(r->id));
	sqlite3_bind_int(st, 4, OUTBOX_PRIORITIES - 1 - r->priority);
	bind_int(st, 5, r->created_ms);
	bind_int(st, 6, r->expires_ms);
	bind_int(st, 7, r->body_len);
	bind_bytes(st, 8, buf_bytes(&s->sealed_words));
	bind_bytes(st, 9, BYTES_ARR(r->wire_id));
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

enum err outbox_set_wire(struct store *s, struct out_peer *p, struct outbox_row *r, struct out_wait *wait)
{
	enum err e = outbox_take_number(s, p, &wait->era, &wait->seq);

	if (e != ERR_OK)
		return e;
	struct wr w = wr_init(r->wire_id, sizeof(r->wire_id));
	wr_bytes(&w, BYTES_ARR(wait->era->era));
	wr_u64(&w, wait->seq);
	r->has_wire = true;
	return ERR_OK;
}

static void fill_row(struct outbox_row *r, const struct outbox_new *m, int64_t seq)
{
	r->seq = seq;
	r->to = m->to;
	copy_text(r->id, m->id);
	copy_text(r->type, m->type);
	r->reason[0] = 0;
	r->priority = m->priority;
	r->created_ms = clip_time(m->created_ms);
	r->expires_ms = clip_time(m->expires_ms);
	r->body_len = (uint32_t)m->body.n;
	r->no_receipt = m->no_receipt;
	r->meta_len = (uint16_t)m->meta.n;
	if (m->meta.n)
		memcpy(r->meta, m->meta.p, m->meta.n);
}

enum err outbox_put(struct store *s, const struct outbox_new *m, int64_t *seq,
		    uint8_t wire_id[static 16])
{
	struct count_move count = {.box = BOX_OUT, .from = COUNT_NONE, .to = OUTBOX_QUEUED};
	uint8_t ad[OUT_AD_MAX], rank = (uint8_t)(OUTBOX_PRIORITIES - 1 - m->priority);
	struct out_peer *p;
	struct outbox_row r;
	struct row_keys keys;
	struct thread *thread;

	enum err e = check_new(s, m, count.peer);
	if (e != ERR_OK)
		return e;
	if (s->failed)
		return ERR_STORE;
	if (m->id.n) {
		e = outbox_fetch_id(s, m->id, OUT_PLAIN, &r);
		if (e != ERR_NOTFOUND)
			return e == ERR_OK || e == ERR_CORRUPT ? ERR_EXISTS : e;
	}
	if (outbox_full(s, count.peer, m->body.n))
		return ERR_FULL;
	fill_row(&r, m, s->last_seq[BOX_OUT] + 1);
	count.bytes = r.body_len;
	struct out_wait wait = {.row = (uint64_t)r.seq, .expires = r.expires_ms, .len = r.body_len};

	/* What can fail for want of memory comes before the first write of the row. */
	e = counts_reserve(&s->counts, count.peer);
	if (e == ERR_OK)
		e = idmap_reserve(&s->ids[BOX_OUT], 2);
	if (e == ERR_OK)
		e = waiting_reserve(&s->waiting, count.peer, rank, &p);
	if (e == ERR_OK)
		e = threads_reserve(&s->threads, count.peer, BOX_OUT, &thread);
	if (e == ERR_OK)
		e = outbox_set_wire(s, p, &r, &wait);
	if (e != ERR_OK)
		return e;
	if (!m->id.n)
		hex_encode(BYTES_ARR(r.wire_id), r.id);
	buf_reset(&s->sealed_body);
	e = seal_put(&s->seal, outbox_ad(OUT_BODY, &r, ad), m->body, &s->sealed_body);
	if (e == ERR_OK)
		e = insert_row(s, &r, !m->id.n, count.peer);
	if (e == ERR_OK)
		e = insert_body(s, &r, buf_bytes(&s->sealed_body));
	if (e != ERR_OK)
		return e;
	counts_move(&s->counts, &count);
	waiting_add(&s->waiting, p, rank, &wait);
	threads_add(&s->threads, thread, BOX_OUT, r.seq, r.created_ms);
	for (unsigned i = 0, n = outbox_keys(&r, &keys); i < n; i++)
		idmap_add(&s->ids[BOX_OUT], keys.key[i], r.seq);
	*seq = s->last_seq[BOX_OUT] = r.seq;
	memcpy(wire_id, r.wire_id, sizeof(r.wire_id));
	if (s->sealed_body.cap > 65536) {
		buf_reset(&s->sealed_body);
		buf_trim(&s->sealed_body, 65536);
	}
	return ERR_OK;
}

enum err outbox_get(struct store *s, struct bytes id, struct outbox_row *out)
{
	struct outbox_row r;
	enum err e = outbox_fetch_id(s, id, OUT_WHOLE, &r);

	if (e == ERR_OK)
		*out = r;
	return e;
}

enum err outbox_by_seq(struct store *s, int64_t seq, struct outbox_row *out)
{
	struct outbox_row r;
	enum err e = outbox_fetch(s, seq, OUT_WHOLE, &r);

	if (e == ERR_OK)
		*out = r;
	return e;
}

enum err outbox_word(struct store *s, struct bytes id, char out[static STORE_ID_MAX + 1])
{
	struct outbox_row r;
	enum err e = outbox_fetch_id(s, id, OUT_PLAIN, &r);

	if (e == ERR_OK)
		memcpy(out, r.id, strlen(r.id) + 1);
	return e;
}

enum err outbox_fetch_body(struct store *s, int64_t seq, struct outbox_row *r, struct buf *out, bool *has)
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
	struct bytes sealed = column_bytes(st, 12);
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
	enum err e = outbox_fetch_body(s, seq, &r, out, &has);

	if (e == ERR_OK && r.state != OUTBOX_QUEUED) {
		out->n = was; /* a dead letter has one too */
		return ERR_WRONG_STATE;
	}
	return e == ERR_OK && !has ? ERR_CORRUPT : e;
}

enum err outbox_kept_body(struct store *s, int64_t seq, struct buf *out)
{
	struct outbox_row r;
	bool has;
	enum err e = outbox_fetch_body(s, seq, &r, out, &has);

	return e == ERR_OK && !has ? ERR_NOTFOUND : e;
}

static enum err give_wire(struct store *s, int64_t seq)
{
	struct out_wait wait = {0};
	struct out_peer *p;
	struct outbox_row r;
	enum err e = outbox_fetch(s, seq, OUT_WHOLE, &r);

	if (e == ERR_CORRUPT) {
		log_error("store-row-corrupt box=outbox seq=%lld", (long long)seq);
		return ERR_OK;
	}
	uint8_t blob[PEER_BLOB_BYTES], rank = (uint8_t)(OUTBOX_PRIORITIES - 1 - r.priority);
	if (e == ERR_OK)
		e = peer_blob(&r.to, blob);
	if (e == ERR_OK)
		e = waiting_reserve(&s->waiting, blob, rank, &p);
	if (e == ERR_OK)
		e = outbox_set_wire(s, p, &r, &wait);
	if (e == ERR_OK)
		e = outbox_seal_words(s, &r);
	if (e != ERR_OK)
		return e;
	sqlite3_stmt *st = store_stmt(s, ST_OUT_WIRE,
				      "UPDATE outbox SET wire = ?2, words = ?3 WHERE seq = ?1");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, seq);
	bind_bytes(st, 2, BYTES_ARR(r.wire_id));
	bind_bytes(st, 3, buf_bytes(&s->sealed_words));
	return store_write(s, st);
}

/* Queued rows of before there were wire ids: at open, before the rows are loaded. */
enum err outbox_give_wires(struct store *s)
{
	enum err e = ERR_OK;
	int64_t after = 0;

	for (;;) {
		sqlite3_stmt *st = store_stmt(s, ST_OUT_WIRELESS,
					      "SELECT seq FROM outbox WHERE state = 0 AND wire IS NULL"
					      " AND seq > ?1 ORDER BY seq LIMIT 1");
		bool row = false;
		if (st)
			sqlite3_bind_int64(st, 1, after);
		e = store_read(s, st, &row);
		if (e != ERR_OK || !row)
			break;
		after = sqlite3_column_int64(st, 0);
		sqlite3_reset(st);
		e = give_wire(s, after);
		if (e != ERR_OK)
			break;
	}
	return e == ERR_OK ? store_commit(s) : e;
}
