/* Repeats, marks and receipts of messages with a wire id (im2.md 9.5, 10.4): the table in memory, and what
 * of it is on disk. */
#include "store/inbox_internal.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/text.h"

#define SECOND_MS     1000ull
#define DAY_MS	      (86400 * SECOND_MS)
#define TTL_DEFAULT_S 86400ull
#define TTL_MAX_S     2592000ull
#define AFTER_LIFE_MS (2 * DAY_MS)  /* arrival + ttl + 48 h */
#define CLOCKLESS_MS  (7 * DAY_MS)
#define MISSING_MS    (30 * DAY_MS) /* longer, when a lower number may still come */
#define KEEP_MAX_S    (400ull * 86400)
#define SWEEP_MS      (3600 * SECOND_MS)

static enum err write_era(struct store *s, const struct in_era *e)
{
	sqlite3_stmt *st =
		store_stmt(s, ST_MARK_WRITE,
			   "INSERT INTO in_era (author, era, born, mark, keep) VALUES (?1, ?2, ?3, ?4, ?5)"
			   " ON CONFLICT (author, era) DO UPDATE SET mark = ?4, keep = ?5");
	if (!st)
		return ERR_STORE;
	bind_bytes(st, 1, BYTES_ARR(e->author->author));
	bind_bytes(st, 2, BYTES_ARR(e->era));
	sqlite3_bind_int64(st, 3, e->born);
	bind_int(st, 4, e->now.mark);
	bind_int(st, 5, e->now.keep);
	return store_write(s, st);
}

static enum err delete_era(struct store *s, const struct in_era *e)
{
	sqlite3_stmt *st =
		store_stmt(s, ST_MARK_DELETE, "DELETE FROM in_era WHERE author = ?1 AND era = ?2");

	if (!st)
		return ERR_STORE;
	bind_bytes(st, 1, BYTES_ARR(e->author->author));
	bind_bytes(st, 2, BYTES_ARR(e->era));
	return store_write(s, st);
}

static enum err drop_era(struct store *s, struct in_era *e)
{
	enum err err = entries_touch(&s->entries, e);

	if (err == ERR_OK)
		err = delete_era(s, e);
	if (err != ERR_OK)
		return err;
	e->dropped = true;
	e->author->dropped_n++;
	return ERR_OK;
}

/* ERR_FULL when every era of the author may still be needed. */
static enum err make_room(struct store *s, struct in_author *a)
{
	uint64_t now = store_running_ms(s);

	if (a->eras_n - a->dropped_n < INBOX_ERAS_MAX)
		return ERR_OK;
	for (unsigned i = 0; i < a->eras_n; i++) {
		struct in_era *e = a->eras[i];
		if (e->dropped || e->fresh || e->entries.n || e->now.keep > now)
			continue;
		return drop_era(s, e);
	}
	return ERR_FULL;
}

static uint64_t remembered(uint64_t ttl_s, bool clock_plausible)
{
	uint64_t ttl = ttl_s ? ttl_s : TTL_DEFAULT_S, keep;

	keep = (ttl < TTL_MAX_S ? ttl : TTL_MAX_S) * SECOND_MS + AFTER_LIFE_MS;
	return !clock_plausible && keep < CLOCKLESS_MS ? CLOCKLESS_MS : keep;
}

uint64_t inbox_age_ms(struct store *s, const struct inbox_row *r, uint64_t ttl_s, bool clock_plausible)
{
	uint64_t now = store_running_ms(s), end = now + remembered(ttl_s, clock_plausible);

	if (r->sealed != INBOX_OPEN)
		return now > r->arrived_ms ? now - r->arrived_ms : 0;
	return r->has_wire && end > r->keep_ms ? end - r->keep_ms : 0;
}

static uint64_t keep_until(struct store *s, const struct inbox_new *m)
{
	uint64_t keep = remembered(m->ttl_s, m->clock_plausible);
	uint64_t least = (m->keep_s < KEEP_MAX_S ? m->keep_s : KEEP_MAX_S) * SECOND_MS;
	return store_running_ms(s) + (keep > least ? keep : least);
}

/* A repeat: the row tells. One that cannot be opened was kept all the same. */
static enum err repeat(struct store *s, const struct in_entry *x, const struct inbox_new *m, int64_t *seq,
		       enum inbox_state *state)
{
	uint8_t digest[INBOX_DIGEST_BYTES];
	struct inbox_row r;
	bool has_digest;
	enum err e = inbox_fetch_digest(s, x->row, &r, digest, &has_digest);

	if (e != ERR_OK && e != ERR_CORRUPT)
		return e == ERR_NOTFOUND ? ERR_CORRUPT : e;
	if (has_digest && memcmp(digest, m->digest, sizeof(digest)) != 0)
		return ERR_DUPLICATE;
	*seq = r.seq;
	*state = r.state;
	return ERR_EXISTS;
}

enum err inbox_wire_check(struct store *s, const uint8_t author[static PEER_BLOB_BYTES],
			  const struct inbox_new *m, int64_t *seq, enum inbox_state *state)
{
	uint64_t number = wire_number(m->wire_id);
	const struct in_author *a;
	struct in_era *era;
	const struct in_entry *x;

	if (number == 0 || number >= INT64_MAX)
		return ERR_MALFORMED;
	x = entries_find(&s->entries, author, m->wire_id, &era);
	if (x)
		return repeat(s, x, m, seq, state);
	if (era && number < era->now.mark)
		return ERR_EXPIRED;
	a = entries_author(&s->entries, author);
	if (a && (a->entries >= INBOX_ENTRIES_MAX ||
		  (a->entries >= INBOX_ENTRIES_NEW && (!era || number > era->now.high))))
		return ERR_FULL;
	return ERR_OK;
}

bool inbox_wire_settled(struct store *s, const uint8_t author[static PEER_BLOB_BYTES],
			const uint8_t wire_id[static 16])
{
	struct in_era *era;

	return !entries_find(&s->entries, author, wire_id, &era) && era &&
	       wire_number(wire_id) < era->now.mark;
}

enum err inbox_wire_reserve(struct store *s, const uint8_t author[static PEER_BLOB_BYTES],
			    const struct inbox_new *m, struct in_slot *out)
{
	struct in_author *a;
	uint64_t keep = keep_until(s, m);
	enum err e = entries_author_make(&s->entries, author, &a);

	if (e != ERR_OK)
		return e;
	struct in_era *era = entries_era(a, m->wire_id);
	if (!era) {
		e = make_room(s, a);
		if (e == ERR_OK)
			e = entries_era_new(&s->entries, a, m->wire_id, &era);
	}
	if (e == ERR_OK)
		e = entries_touch(&s->entries, era);
	/* What the row of the era says holds for a day's messages, so that not each of them writes it. */
	if (e == ERR_OK && keep > era->now.keep) {
		era->now.keep = keep + DAY_MS;
		e = write_era(s, era);
	}
	if (e != ERR_OK)
		return e;
	*out = (struct in_slot){.era = era, .keep = keep};
	return ERR_OK;
}

void inbox_wire_add(struct store *s, const struct in_slot *slot, const struct inbox_row *r)
{
	struct in_entry x = {
		.seq = wire_number(r->wire_id),
		.row = r->seq,
		.keep = slot->keep,
		.flags = r->state == INBOX_HELD ? ENTRY_HELD : 0,
	};

	entries_add(&s->entries, slot->era, &x);
}

enum err inbox_wire_reserve_flag(struct store *s, const struct inbox_row *r)
{
	uint8_t author[PEER_BLOB_BYTES];
	struct in_era *era;

	if (peer_blob(&r->author, author) != ERR_OK)
		return ERR_CORRUPT;
	return entries_find(&s->entries, author, r->wire_id, &era) ? entries_touch(&s->entries, era)
								    : ERR_OK;
}

void inbox_wire_let_out(struct store *s, const struct inbox_row *r)
{
	uint8_t author[PEER_BLOB_BYTES];
	struct in_entry *x;
	struct in_era *era;

	if (peer_blob(&r->author, author) == ERR_OK &&
	    (x = entries_find(&s->entries, author, r->wire_id, &era))) {
		entries_flag(&s->entries, era, x, ENTRY_DUE);
		era->author->due_n++;
	}
}

bool inbox_wire_known(struct store *s, const uint8_t author[static PEER_BLOB_BYTES],
		      const uint8_t wire_id[static 16])
{
	struct in_era *era;

	return entries_find(&s->entries, author, wire_id, &era) != NULL;
}

enum err inbox_settled(struct store *s, const struct node_id *author, const uint8_t era[static 8],
		       uint64_t seq)
{
	uint8_t blob[PEER_BLOB_BYTES];
	struct in_author *a;
	struct in_era *x;

	if (peer_blob(author, blob) != ERR_OK || seq == 0 || seq >= INT64_MAX)
		return ERR_MALFORMED;
	a = entries_author(&s->entries, blob);
	x = a ? entries_era(a, era) : NULL;
	if (x ? seq <= x->now.mark : seq == 1)
		return ERR_OK;
	if (s->failed)
		return ERR_STORE;
	enum err e = a ? ERR_OK : entries_author_make(&s->entries, blob, &a);
	if (e == ERR_OK && !x) {
		e = make_room(s, a);
		if (e == ERR_OK)
			e = entries_era_new(&s->entries, a, era, &x);
		/* Copies that a relay kept may still be under way to a receiver who has forgotten them. */
		if (e == ERR_OK)
			x->now.keep = store_running_ms(s) + MISSING_MS + AFTER_LIFE_MS;
	}
	if (e == ERR_OK)
		e = entries_touch(&s->entries, x);
	if (e != ERR_OK)
		return e;
	x->now.mark = seq;
	if (x->now.high < seq - 1)
		x->now.high = seq - 1;
	return write_era(s, x);
}

bool inbox_has_era(struct store *s, const struct node_id *author, const uint8_t era[static 8])
{
	uint8_t blob[PEER_BLOB_BYTES];
	const struct in_author *a;

	return peer_blob(author, blob) == ERR_OK && (a = entries_author(&s->entries, blob)) && entries_era(a, era);
}

enum err inbox_seen(struct store *s, const struct node_id *author, uint8_t era[static 8], uint64_t *seq)
{
	uint8_t blob[PEER_BLOB_BYTES];
	const struct in_author *a;

	if (peer_blob(author, blob) != ERR_OK)
		return ERR_MALFORMED;
	a = entries_author(&s->entries, blob);
	for (unsigned i = a ? a->eras_n : 0; i-- > 0;) {
		const struct in_era *e = a->eras[i];
		const struct in_era_state *st = e->touched ? &e->kept : &e->now;
		if (e->fresh || st->high == 0)
			continue;
		memcpy(era, e->era, ERA_BYTES);
		*seq = st->high;
		return ERR_OK;
	}
	return ERR_NOTFOUND;
}

void inbox_table(struct store *s, struct inbox_table *out)
{
	*out = (struct inbox_table){
		.authors = s->entries.authors_n,
		.eras = s->entries.eras_n,
		.entries = s->entries.entries_n,
		.bytes = entries_bytes(&s->entries),
	};
}

/* --- receipts -------------------------------------------------------------------------------------------- */
void inbox_receipts_left(struct store *s, const struct node_id *author, int64_t upto_seq)
{
	uint8_t blob[PEER_BLOB_BYTES];
	struct in_author *a;

	if (peer_blob(author, blob) != ERR_OK || !(a = entries_author(&s->entries, blob)))
		return;
	/* Without memory it is forgotten, and the receipts leave once more after a restart. */
	if (entries_dirty(&s->entries, a) != ERR_OK)
		return;
	if (upto_seq > a->left)
		a->left = upto_seq;
	a->left_dirty = true;
	if (a->due_n && entries_clear_due(a, upto_seq))
		a->due_dirty = true;
	for (unsigned i = 0; i < a->eras_n; i++)
		entries_trim(&s->entries, a->eras[i], store_running_ms(s));
}

static int by_number(const void *x, const void *y)
{
	int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;

	return a < b ? -1 : a > b;
}

enum err inbox_receipts_due(struct store *s, const struct node_id *author, int64_t after_seq,
			    struct inbox_row *rows, size_t max, size_t *n)
{
	uint8_t blob[PEER_BLOB_BYTES];
	const struct in_author *a;
	size_t found = 0, count = 0;
	enum err e = ERR_OK;

	if (peer_blob(author, blob) != ERR_OK)
		return ERR_MALFORMED;
	*n = 0;
	a = entries_author(&s->entries, blob);
	if (!a || !a->entries || !max)
		return ERR_OK;
	int64_t *list = reallocarray(NULL, a->entries, sizeof(*list));
	if (!list)
		return ERR_NOMEM;
	for (unsigned i = 0; i < a->eras_n; i++) {
		for (size_t k = 0; k < a->eras[i]->entries.n; k++) {
			const struct in_entry *x = sorted_at(&a->eras[i]->entries, k);
			if (x->row > after_seq && x->row <= s->kept_last_seq[BOX_IN] &&
			    entries_due(a, x))
				list[found++] = x->row;
		}
	}
	if (found)
		qsort(list, found, sizeof(*list), by_number);
	for (size_t i = 0; i < found && count < max; i++) {
		e = inbox_fetch(s, list[i], &rows[count]);
		if (e == ERR_OK) {
			count++;
			continue;
		}
		if (e != ERR_CORRUPT && e != ERR_NOTFOUND)
			break;
		log_error("store-row-lost box=inbox seq=%lld err=%s", (long long)list[i], err_word(e));
		e = ERR_OK;
	}
	free(list);
	if (e != ERR_OK)
		return e;
	*n = count;
	return ERR_OK;
}

static enum err write_left(struct store *s, const struct in_author *a)
{
	sqlite3_stmt *st = store_stmt(s, ST_LEFT_WRITE,
				      "INSERT INTO in_left (author, seq) VALUES (?1, ?2)"
				      " ON CONFLICT (author) DO UPDATE SET seq = ?2");
	if (!st)
		return ERR_STORE;
	bind_bytes(st, 1, BYTES_ARR(a->author));
	sqlite3_bind_int64(st, 2, a->left);
	enum err e = store_write(s, st);
	if (e != ERR_OK || !a->due_dirty)
		return e;
	st = store_stmt(s, ST_LEFT_DUE,
			"UPDATE inbox SET reported = 0 WHERE author = ?1 AND reported = 2 AND seq <= ?2");
	if (!st)
		return ERR_STORE;
	bind_bytes(st, 1, BYTES_ARR(a->author));
	sqlite3_bind_int64(st, 2, a->left);
	return store_write(s, st);
}

enum err inbox_flush(struct store *s)
{
	enum err e = ERR_OK;

	for (size_t i = 0; e == ERR_OK && i < s->entries.dirty_n; i++)
		e = write_left(s, s->entries.dirty[i]);
	return e;
}

/* --- time ------------------------------------------------------------------------------------------------ */
struct sweep {
	struct store *s;
	enum err err;
};

/* The lowest entries whose time is up let the mark rise above them. One that is held stays, and what is above. */
static enum err sweep_era(struct store *s, struct in_era *e, uint64_t now)
{
	uint64_t mark = e->now.mark;

	for (size_t i = sorted_floor(&e->entries, mark); i < e->entries.n; i++) {
		const struct in_entry *x = sorted_at(&e->entries, i);
		uint64_t until = x->seq == mark ? x->keep : x->keep + MISSING_MS;
		if ((x->flags & ENTRY_HELD) || until > now)
			break;
		mark = x->seq + 1;
	}
	if (mark == e->now.mark)
		return ERR_OK;
	enum err err = entries_touch(&s->entries, e);
	if (err != ERR_OK)
		return err;
	e->now.mark = mark;
	return write_era(s, e);
}

static bool known(struct store *s, const struct in_author *a)
{
	struct node_id id;

	if (!s->known)
		return true;
	hex_encode(BYTES_ARR(a->author), id.hex);
	return s->known(s->known_ctx, &id);
}

static enum err delete_left(struct store *s, const struct in_author *a)
{
	sqlite3_stmt *st = store_stmt(s, ST_LEFT_DELETE, "DELETE FROM in_left WHERE author = ?1");

	if (!st)
		return ERR_STORE;
	bind_bytes(st, 1, BYTES_ARR(a->author));
	return store_write(s, st);
}

/* Says whether it stays in memory: not one whom nobody knows, after a sweep that left nothing of him. */
static bool sweep_author(void *ctx, struct bytes key, void *value)
{
	struct in_author *a = *(struct in_author **)value;
	struct sweep *w = ctx;
	uint64_t now = store_running_ms(w->s);
	bool gone = w->err == ERR_OK && !known(w->s, a);

	if (gone && a->eras_n == 0 && !a->left_dirty && !a->due_dirty) {
		if (a->left)
			w->err = delete_left(w->s, a);
		if (w->err != ERR_OK)
			return true;
		entries_author_gone(&w->s->entries, a);
		return false;
	}
	for (unsigned i = 0; w->err == ERR_OK && i < a->eras_n; i++) {
		struct in_era *e = a->eras[i];

		if (e->dropped)
			continue;
		w->err = sweep_era(w->s, e, now);
		if (w->err == ERR_OK && gone && !e->fresh && e->entries.n == 0 && e->now.keep <= now)
			w->err = drop_era(w->s, e);
	}
	return true;
}

enum err inbox_sweep(struct store *s)
{
	struct sweep w = {.s = s, .err = ERR_OK};
	uint64_t now = store_running_ms(s);

	if (now < s->entries.sweep_at)
		return ERR_OK;
	map_each(s->entries.authors, sweep_author, &w);
	if (w.err == ERR_OK)
		s->entries.sweep_at = now + SWEEP_MS;
	return w.err;
}

/* --- open ------------------------------------------------------------------------------------------------ */
/* SELECT author, era, born, mark, keep */
static enum err load_era(struct store *s, sqlite3_stmt *st)
{
	struct bytes author = column_bytes(st, 0), era = column_bytes(st, 1);
	int64_t born = sqlite3_column_int64(st, 2), mark = sqlite3_column_int64(st, 3);
	int64_t keep = sqlite3_column_int64(st, 4);
	struct in_author *a;
	struct in_era *e;

	if (author.n != PEER_BLOB_BYTES || era.n != ERA_BYTES || born <= 0 || mark < 1 || keep < 0)
		return ERR_CORRUPT;
	enum err err = entries_author_make(&s->entries, author.p, &a);
	if (err == ERR_OK && a->eras_n >= INBOX_ERAS_MAX)
		err = ERR_CORRUPT;
	if (err == ERR_OK)
		err = entries_era_new(&s->entries, a, era.p, &e);
	if (err != ERR_OK)
		return err;
	s->entries.born = e->born = born;
	e->now = (struct in_era_state){
		.mark = (uint64_t)mark, .high = (uint64_t)mark - 1, .keep = (uint64_t)keep};
	entries_commit(&s->entries, 0);
	return ERR_OK;
}

/* SELECT author, seq */
static enum err load_left(struct store *s, sqlite3_stmt *st)
{
	struct bytes author = column_bytes(st, 0);
	struct in_author *a;

	if (author.n != PEER_BLOB_BYTES)
		return ERR_CORRUPT;
	enum err e = entries_author_make(&s->entries, author.p, &a);
	if (e == ERR_OK)
		a->left = sqlite3_column_int64(st, 1);
	return e;
}

static enum err walk(struct store *s, const char *sql, enum err (*fn)(struct store *, sqlite3_stmt *))
{
	sqlite3_stmt *st;
	int rc = SQLITE_DONE;
	enum err e = ERR_OK;

	if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK)
		return ERR_STORE;
	while (e == ERR_OK && (rc = sqlite3_step(st)) == SQLITE_ROW)
		e = fn(s, st);
	sqlite3_finalize(st);
	return e == ERR_OK && rc != SQLITE_DONE ? ERR_STORE : e;
}

enum err inbox_load_marks(struct store *s)
{
	enum err e = walk(s, "SELECT author, era, born, mark, keep FROM in_era ORDER BY born", load_era);

	return e == ERR_OK ? walk(s, "SELECT author, seq FROM in_left", load_left) : e;
}

enum err inbox_load_entry(struct store *s, const struct inbox_row *r, uint64_t keep, bool due)
{
	uint8_t author[PEER_BLOB_BYTES];
	struct in_entry x = {.seq = wire_number(r->wire_id), .row = r->seq, .keep = keep};
	struct in_era *e;

	if (peer_blob(&r->author, author) != ERR_OK)
		return ERR_CORRUPT;
	/* An era that had to make room, or a row that stands there twice. */
	if (entries_find(&s->entries, author, r->wire_id, &e) || !e)
		return ERR_OK;
	x.flags = (uint8_t)((r->state == INBOX_HELD ? ENTRY_HELD : 0) | (due ? ENTRY_DUE : 0));
	if (x.seq < e->now.mark && !(x.flags & ENTRY_HELD) &&
	    (!entries_due(e->author, &x) || keep <= store_running_ms(s)))
		return ERR_OK;
	enum err err = entries_touch(&s->entries, e);
	if (err != ERR_OK)
		return err;
	entries_add(&s->entries, e, &x);
	e->author->due_n += due;
	entries_commit(&s->entries, store_running_ms(s));
	return ERR_OK;
}
