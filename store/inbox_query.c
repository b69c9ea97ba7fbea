/* Reading the inbox, and pruning it. */
#include "store/inbox_internal.h"

#include "base/log.h"
#include "base/text.h"

static enum err open_words(struct store *s, struct bytes sealed, uint64_t keep, struct inbox_row *r,
			   uint8_t digest[static INBOX_DIGEST_BYTES], bool *has_digest)
{
	uint8_t ad[IN_AD_MAX];

	buf_reset(&s->clear_words);
	enum err e = seal_open(&s->seal, inbox_ad(IN_WORDS, r, keep, ad), sealed, &s->clear_words);
	if (e != ERR_OK)
		return e;
	struct bytes type = buf_bytes(&s->clear_words), meta = {0};
	if (type.n && type.p[0] == 0) {
		struct rd rd = rd_init(type.p + 1, type.n - 1);
		type = rd_bytes(&rd, rd_u8(&rd));
		*has_digest = rd_u8(&rd) == 1;
		if (*has_digest)
			rd_copy(&rd, digest, INBOX_DIGEST_BYTES);
		meta = rd_rest(&rd);
		if (rd_end(&rd) != ERR_OK)
			return ERR_CORRUPT;
	}
	if (type.n > STORE_TYPE_MAX || meta.n > INBOX_META_MAX)
		return ERR_CORRUPT;
	memcpy(r->type, type.p, type.n);
	r->type[type.n] = 0;
	r->meta_len = (uint16_t)meta.n;
	if (meta.n)
		memcpy(r->meta, meta.p, meta.n);
	return ERR_OK;
}

static enum err read_row(struct store *s, sqlite3_stmt *st, struct inbox_row *r,
			 uint8_t digest[static INBOX_DIGEST_BYTES], bool *has_digest)
{
	struct bytes id = column_bytes(st, 3), wire = column_bytes(st, 12);
	int64_t priority = sqlite3_column_int64(st, 4), state = sqlite3_column_int64(st, 5);
	int64_t proven = sqlite3_column_int64(st, 6), len = sqlite3_column_int64(st, 10);
	int64_t sealed = sqlite3_column_int64(st, 14);

	*has_digest = false;
	r->id[0] = r->type[0] = 0;
	r->meta_len = 0;
	r->author.hex[0] = r->via.hex[0] = 0;
	r->seq = sqlite3_column_int64(st, 0);
	enum err author = peer_from_column(st, 1, &r->author),
		 via = peer_from_column(st, 2, &r->via);
	r->priority = (uint8_t)priority;
	r->state = (enum inbox_state)state;
	r->proven = proven == 1;
	r->created_ms = (uint64_t)sqlite3_column_int64(st, 7);
	r->received_ms = (uint64_t)sqlite3_column_int64(st, 8);
	r->read_ms = (uint64_t)sqlite3_column_int64(st, 9);
	r->body_len = (uint32_t)len;
	r->has_wire = wire.n == sizeof(r->wire_id);
	r->keep_ms = r->has_wire ? (uint64_t)sqlite3_column_int64(st, 13) : 0;
	r->sealed = (enum inbox_sealed)sealed;
	r->arrived_ms = (uint64_t)sqlite3_column_int64(st, 15);
	r->freed_ms = (uint64_t)sqlite3_column_int64(st, 16);
	if (r->has_wire)
		memcpy(r->wire_id, wire.p, sizeof(r->wire_id));
	if (author != ERR_OK || via != ERR_OK || !row_id_ok(id, wire) || priority < 0 ||
	    priority >= OUTBOX_PRIORITIES || state < 0 || state >= INBOX_STATES || proven < 0 ||
	    proven > 1 || len < 0 || len > STORE_BODY_MAX || sealed < INBOX_OPEN || sealed > INBOX_SEALED_NO_FS)
		return ERR_CORRUPT;
	if (id.n) {
		memcpy(r->id, id.p, id.n);
		r->id[id.n] = 0;
	} else {
		hex_encode(wire, r->id);
	}
	return open_words(s, column_bytes(st, 11), (uint64_t)sqlite3_column_int64(st, 13), r, digest,
			  has_digest);
}

enum err inbox_row_from(struct store *s, sqlite3_stmt *st, struct inbox_row *r)
{
	uint8_t digest[INBOX_DIGEST_BYTES];
	bool has_digest;

	return read_row(s, st, r, digest, &has_digest);
}

enum err inbox_collect(struct store *s, sqlite3_stmt *st, struct inbox_row *rows, size_t max,
		       size_t *n)
{
	size_t count = 0;
	bool row = false;
	enum err e = ERR_OK;

	while (count < max) {
		e = store_read(s, st, &row);
		if (e != ERR_OK || !row)
			break;
		e = inbox_row_from(s, st, &rows[count]);
		if (e == ERR_CORRUPT)
			log_error("store-row-corrupt box=inbox seq=%lld",
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

enum err inbox_fetch_digest(struct store *s, int64_t seq, struct inbox_row *r,
			    uint8_t digest[static INBOX_DIGEST_BYTES], bool *has_digest)
{
	sqlite3_stmt *st =
		store_stmt(s, ST_IN_BY_SEQ, "SELECT " IN_COLUMNS " FROM inbox WHERE seq = ?1");
	bool row;

	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, seq);
	enum err e = store_read(s, st, &row);
	if (e != ERR_OK)
		return e;
	if (!row)
		return ERR_NOTFOUND;
	e = read_row(s, st, r, digest, has_digest);
	sqlite3_reset(st);
	return e;
}

enum err inbox_fetch(struct store *s, int64_t seq, struct inbox_row *r)
{
	uint8_t digest[INBOX_DIGEST_BYTES];
	bool has_digest;

	return inbox_fetch_digest(s, seq, r, digest, &has_digest);
}

enum err inbox_get(struct store *s, int64_t seq, struct inbox_row *out)
{
	struct inbox_row r;
	enum err e = inbox_fetch(s, seq, &r);

	if (e == ERR_OK)
		*out = r;
	return e;
}

enum err inbox_find(struct store *s, struct bytes id, struct inbox_row *rows, size_t max, size_t *n)
{
	uint8_t raw[WIRE_ID_BYTES];
	struct idmap_probe p;
	size_t count = 0;
	int64_t seq;

	if (!id_ok(id)) {
		*n = 0;
		return ERR_OK;
	}
	idmap_find(&s->ids[BOX_IN], id_key(id, raw), &p);
	while (count < max && idmap_next(&s->ids[BOX_IN], &p, &seq)) {
		enum err e = inbox_fetch(s, seq, &rows[count]);
		if (e != ERR_OK && e != ERR_CORRUPT)
			return e;
		if (e == ERR_OK && bytes_eq(id, bytes_str(rows[count].id)))
			count++;
	}
	*n = count;
	return ERR_OK;
}

enum err inbox_row_body(struct store *s, const struct inbox_row *r, struct buf *out)
{
	uint8_t ad[IN_AD_MAX];
	bool row;

	if (r->state == INBOX_DROPPED)
		return ERR_WRONG_STATE;
	sqlite3_stmt *st = store_stmt(s, ST_IN_BODY, "SELECT body FROM inbox_body WHERE seq = ?1");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, r->seq);
	enum err e = store_read(s, st, &row);
	if (e != ERR_OK)
		return e;
	if (!row)
		return ERR_CORRUPT; /* only a dropped one has none */
	struct bytes sealed = column_bytes(st, 0);
	e = sealed.n == r->body_len + SEAL_OVERHEAD ? ERR_OK : ERR_CORRUPT;
	if (e == ERR_OK)
		e = seal_open(&s->seal, inbox_ad(IN_BODY, r, 0, ad), sealed, out);
	sqlite3_reset(st);
	return e;
}

enum err inbox_body(struct store *s, int64_t seq, struct buf *out)
{
	struct inbox_row r;
	enum err e = inbox_fetch(s, seq, &r);

	return e == ERR_OK ? inbox_row_body(s, &r, out) : e;
}

/* NEW and HELD rows have an index of their own kind; the rest is a walk by number. */
static sqlite3_stmt *list_stmt(struct store *s, int state)
{
	if (state == INBOX_NEW)
		return store_stmt(s, ST_IN_NEW,
				  "SELECT " IN_COLUMNS " FROM inbox INDEXED BY inbox_new"
				  " WHERE state = 0 AND seq > ?1 AND (?2 IS NULL OR author = ?2)"
				  " ORDER BY seq");
	if (state == INBOX_HELD)
		return store_stmt(s, ST_IN_HELD,
				  "SELECT " IN_COLUMNS " FROM inbox INDEXED BY inbox_held"
				  " WHERE state = 2 AND seq > ?1 AND (?2 IS NULL OR author = ?2)"
				  " ORDER BY seq");
	return store_stmt(
		s, ST_IN_LIST,
		"SELECT " IN_COLUMNS " FROM inbox WHERE seq > ?1"
		" AND (?2 IS NULL OR author = ?2) AND ((?3 < 0 AND state <= 1) OR state = ?3)"
		" ORDER BY seq");
}

/* Of one author: his rows alone are looked at. `state` < 0: NEW and READ. */
static enum err list_of(struct store *s, const uint8_t author[static PEER_BLOB_BYTES], int state, int64_t after, size_t max,
			struct inbox_row *rows, size_t *n)
{
	const struct sorted *all = threads_rows(&s->threads, author, BOX_IN);
	size_t count = 0;

	for (size_t i = all ? sorted_floor(all, (uint64_t)(after < 0 ? 0 : after) + 1) : 0; all && i < all->n && count < max; i++) {
		int64_t seq = (int64_t)*(const uint64_t *)sorted_at(all, i);
		struct inbox_row *r = &rows[count];
		enum err e = inbox_fetch(s, seq, r);

		if (e == ERR_CORRUPT)
			log_error("store-row-corrupt box=inbox seq=%lld", (long long)seq);
		else if (e != ERR_OK && e != ERR_NOTFOUND)
			return e;
		else if (e == ERR_OK && (state < 0 ? r->state <= INBOX_READ : r->state == (enum inbox_state)state))
			count++;
	}
	*n = count;
	return ERR_OK;
}

enum err inbox_list(struct store *s, const struct inbox_filter *f, struct inbox_row *rows,
		    size_t max, size_t *n)
{
	uint8_t blob[PEER_BLOB_BYTES];
	uint64_t there = 0;

	if (f->state >= INBOX_STATES)
		return ERR_MALFORMED;
	if (f->author && peer_blob(f->author, blob) != ERR_OK)
		return ERR_MALFORMED;
	for (int i = 0; i < INBOX_STATES; i++) {
		if (f->state < 0 ? i <= INBOX_READ : i == f->state)
			there += f->author ? counts_peer(&s->counts, blob, BOX_IN, (unsigned)i)
					   : s->counts.n[BOX_IN][i];
	}
	/* How many there are is known: the walk ends with the last one of them. */
	if (max > there)
		max = (size_t)there;
	if (f->author && f->state != INBOX_NEW && f->state != INBOX_HELD)
		return list_of(s, blob, f->state, f->after_seq, max, rows, n);
	sqlite3_stmt *st = list_stmt(s, f->state);
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, f->after_seq);
	sqlite3_bind_null(st, 2);
	if (f->author)
		bind_bytes(st, 2, BYTES_ARR(blob));
	if (sqlite3_bind_parameter_count(st) == 3)
		sqlite3_bind_int(st, 3, f->state);
	return inbox_collect(s, st, rows, max, n);
}

enum err inbox_unreported(struct store *s, const struct node_id *via, struct inbox_row *rows,
			  size_t max, size_t *n)
{
	uint8_t blob[PEER_BLOB_BYTES];

	if (peer_blob(via, blob) != ERR_OK)
		return ERR_MALFORMED;
	sqlite3_stmt *st =
		store_stmt(s, ST_IN_UNREPORTED,
			   "SELECT " IN_COLUMNS " FROM inbox INDEXED BY inbox_unreported"
			   " WHERE state = 1 AND reported = 0 AND sealed = 0 AND via = ?1 ORDER BY seq");
	if (!st)
		return ERR_STORE;
	bind_bytes(st, 1, BYTES_ARR(blob));
	return inbox_collect(s, st, rows, max, n);
}

enum err inbox_unreported_sealed(struct store *s, const struct node_id *author, int64_t after_seq,
				 struct inbox_row *rows, size_t max, size_t *n)
{
	uint8_t blob[PEER_BLOB_BYTES];

	if (peer_blob(author, blob) != ERR_OK)
		return ERR_MALFORMED;
	sqlite3_stmt *st =
		store_stmt(s, ST_IN_UNREPORTED_SEALED,
			   "SELECT " IN_COLUMNS " FROM inbox INDEXED BY inbox_unreported_sealed"
			   " WHERE state = 1 AND reported = 0 AND sealed <> 0 AND author = ?1 AND seq > ?2"
			   " ORDER BY seq");
	if (!st)
		return ERR_STORE;
	bind_bytes(st, 1, BYTES_ARR(blob));
	sqlite3_bind_int64(st, 2, after_seq);
	return inbox_collect(s, st, rows, max, n);
}

enum err inbox_count(struct store *s, const struct node_id *author,
		     uint64_t per_state[static INBOX_STATES])
{
	uint8_t blob[PEER_BLOB_BYTES];

	if (author && peer_blob(author, blob) != ERR_OK)
		return ERR_MALFORMED;
	for (unsigned i = 0; i < INBOX_STATES; i++)
		per_state[i] =
			author ? counts_peer(&s->counts, blob, BOX_IN, i) : s->counts.n[BOX_IN][i];
	return ERR_OK;
}

static enum err delete_row(struct store *s, const struct old_row *o)
{
	enum err e = counts_reserve(&s->counts, o->count.peer);
	if (e == ERR_OK)
		e = idmap_reserve(&s->ids[BOX_IN], 2);
	if (e == ERR_OK)
		e = threads_reserve_gone(&s->threads);
	if (e != ERR_OK)
		return e;
	sqlite3_stmt *st = store_stmt(s, ST_IN_DELETE, "DELETE FROM inbox WHERE seq = ?1");
	if (st)
		sqlite3_bind_int64(st, 1, o->seq);
	e = store_write(s, st);
	if (e == ERR_OK && o->count.from == INBOX_READ) {
		st = store_stmt(s, ST_IN_BODY_DELETE, "DELETE FROM inbox_body WHERE seq = ?1");
		if (st)
			sqlite3_bind_int64(st, 1, o->seq);
		e = store_write(s, st);
	}
	if (e != ERR_OK)
		return e;
	counts_move(&s->counts, &o->count);
	threads_gone(&s->threads, o->count.peer, BOX_IN, o->seq);
	struct row_keys keys;
	for (unsigned i = 0, n = row_keys(bytes_of(o->id, o->id_n), o->has_wire ? o->wire : NULL, &keys);
	     i < n; i++)
		idmap_del(&s->ids[BOX_IN], keys.key[i], o->seq);
	return ERR_OK;
}

/* A row counts from when it was read, or else from when it came. */
enum err inbox_prune(struct store *s, uint64_t before_ms, unsigned max_rows, unsigned *deleted)
{
	struct old_row batch[PRUNE_BATCH];
	unsigned done = 0;
	uint64_t looked = 0, look_max = 16ull * max_rows + PRUNE_BATCH;
	bool row = true;
	enum err e = ERR_OK;

	while (e == ERR_OK && row && done < max_rows && looked < look_max) {
		size_t n = 0;
		sqlite3_stmt *st =
			store_stmt(s, ST_IN_PRUNE_SCAN,
				   "SELECT seq, author, state, max(received, read), body_len,"
				   " id, wire FROM inbox WHERE seq > ?1 ORDER BY seq");
		if (!st)
			return ERR_STORE;
		sqlite3_bind_int64(st, 1, s->prune_at[BOX_IN]);
		for (size_t i = 0; i < PRUNE_BATCH && done + n < max_rows; i++, looked++) {
			e = store_read(s, st, &row);
			if (e != ERR_OK || !row)
				break;
			int64_t seq = s->prune_at[BOX_IN] = sqlite3_column_int64(st, 0);
			struct bytes author = column_bytes(st, 1), id = column_bytes(st, 5),
				     wire = column_bytes(st, 6);
			int64_t state = sqlite3_column_int64(st, 2);
			/* The highest one stays: its number must not be given out again. */
			if ((state != INBOX_READ && state != INBOX_DROPPED) ||
			    (uint64_t)sqlite3_column_int64(st, 3) >= before_ms ||
			    seq == s->last_seq[BOX_IN] || author.n != PEER_BLOB_BYTES ||
			    !row_id_ok(id, wire))
				continue;
			/* A repeat may still come: the row is what answers it. */
			if (wire.n && inbox_wire_known(s, author.p, wire.p))
				continue;
			batch[n].seq = seq;
			batch[n].count = (struct count_move){
				.box = BOX_IN,
				.from = (uint8_t)state,
				.to = COUNT_NONE,
				.bytes = (uint32_t)sqlite3_column_int64(st, 4),
			};
			memcpy(batch[n].count.peer, author.p, PEER_BLOB_BYTES);
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
		s->prune_at[BOX_IN] = 0; /* the next call begins at the start */
	*deleted = done;
	return ERR_OK;
}
