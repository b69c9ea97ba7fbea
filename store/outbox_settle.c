/* Eras and numbers (im2.md 9.5): where wire ids come from, and what the recipient may forget. */
#include "store/outbox_internal.h"

#define FLOOR_KEY "era_floor"

static enum err write_era(struct store *s, const struct out_peer *p, const struct out_era *e)
{
	sqlite3_stmt *st =
		store_stmt(s, ST_ERA_WRITE,
			   "INSERT INTO out_era (peer, era, born, reserved) VALUES (?1, ?2, ?3, ?4)"
			   " ON CONFLICT (peer, era) DO UPDATE SET reserved = ?4");
	if (!st)
		return ERR_STORE;
	bind_bytes(st, 1, BYTES_ARR(p->peer));
	bind_bytes(st, 2, BYTES_ARR(e->era));
	sqlite3_bind_int64(st, 3, e->born);
	bind_int(st, 4, e->reserved);
	return store_write(s, st);
}

static enum err delete_era(struct store *s, const struct out_peer *p, const uint8_t era[static 8])
{
	sqlite3_stmt *st =
		store_stmt(s, ST_ERA_DELETE, "DELETE FROM out_era WHERE peer = ?1 AND era = ?2");

	if (!st)
		return ERR_STORE;
	bind_bytes(st, 1, BYTES_ARR(p->peer));
	bind_bytes(st, 2, bytes_of(era, OUTBOX_ERA_BYTES));
	return store_write(s, st);
}

static enum err draw(struct store *s, struct out_peer *p, struct out_era **out)
{
	uint8_t gone[OUTBOX_ERA_BYTES];
	bool evicted;
	enum err e = waiting_era_new(&s->waiting, p, s->env, out, gone, &evicted);

	return e == ERR_OK && evicted ? delete_era(s, p, gone) : e;
}

static enum err reserve_block(struct store *s, struct out_peer *p, struct out_era *era)
{
	enum err e = waiting_touch(&s->waiting, era);

	if (e != ERR_OK)
		return e;
	era->reserved = era->next + ERA_BLOCK - 1;
	return write_era(s, p, era);
}

enum err outbox_take_number(struct store *s, struct out_peer *p, struct out_era **era, uint64_t *seq)
{
	struct out_era *x = waiting_current(&s->waiting, p);
	enum err e = x ? ERR_OK : draw(s, p, &x);

	if (e == ERR_OK)
		e = sorted_reserve(&x->open, 1);
	if (e == ERR_OK && x->next > x->reserved)
		e = reserve_block(s, p, x);
	if (e != ERR_OK)
		return e;
	*era = x;
	*seq = x->next++;
	return ERR_OK;
}

enum err outbox_settle(struct store *s, const struct node_id *peer, struct outbox_mark *marks, size_t max,
		       size_t *n)
{
	uint8_t blob[PEER_BLOB_BYTES];
	const struct out_peer *p;
	size_t count = 0;

	if (peer_blob(peer, blob) != ERR_OK)
		return ERR_MALFORMED;
	p = waiting_peer(&s->waiting, blob);
	for (unsigned i = p ? p->eras_n : 0; i-- > 0 && count < max;) {
		const struct out_era *e = p->eras[i];
		if (e->done || e->next == 1)
			continue;
		const struct out_open *first = e->open.n ? sorted_at(&e->open, 0) : NULL;
		struct outbox_mark *m = &marks[count++];
		memcpy(m->era, e->era, sizeof(m->era));
		m->seq = first ? first->seq : e->next;
		/* After a crash the numbers go on behind those that are reserved on disk: not more is settled. */
		if (m->seq > e->kept_reserved + 1)
			m->seq = e->kept_reserved + 1;
		m->told = e->told;
		m->changed_since_told = m->seq > e->told;
	}
	*n = count;
	return ERR_OK;
}

void outbox_settle_told(struct store *s, const struct node_id *peer, const uint8_t era[static 8],
			uint64_t seq)
{
	uint8_t blob[PEER_BLOB_BYTES];
	struct out_peer *p;
	struct out_era *e;

	if (peer_blob(peer, blob) != ERR_OK || !(p = waiting_peer(&s->waiting, blob)) ||
	    !(e = waiting_era(p, era)))
		return;
	if (seq > e->told)
		e->told = seq;
	/* Nothing is given out in an old era any more: this was its last mark. */
	if (e != waiting_current(&s->waiting, p) && e->open.n == 0 && e->told >= e->next)
		e->done = true;
}

enum err outbox_seen(struct store *s, const struct node_id *peer, const uint8_t era[static 8],
		     uint64_t seq, bool *renewed)
{
	uint8_t blob[PEER_BLOB_BYTES];
	struct out_era *current, *known;
	struct out_peer *p;

	if (peer_blob(peer, blob) != ERR_OK)
		return ERR_MALFORMED;
	*renewed = false;
	p = waiting_peer(&s->waiting, blob);
	current = p ? waiting_current(&s->waiting, p) : NULL;
	/* Without numbers in use there are none that could be used twice. */
	if (!current || current->next == 1)
		return ERR_OK;
	known = waiting_era(p, era);
	if (known && (known != current || current->next > seq))
		return ERR_OK;
	if (p->renewed && p->renewed_seq == seq &&
	    memcmp(p->renewed_era, era, OUTBOX_ERA_BYTES) == 0)
		return ERR_OK;
	if (s->failed)
		return ERR_STORE;
	enum err e = draw(s, p, &current);
	/* Whoever says so again and again and confirms nothing gets no more eras for it. */
	if (e == ERR_FULL)
		return ERR_OK;
	if (e == ERR_OK)
		e = reserve_block(s, p, current);
	if (e != ERR_OK)
		return e;
	p->renewed = true;
	p->renewed_seq = seq;
	memcpy(p->renewed_era, era, OUTBOX_ERA_BYTES);
	*renewed = true;
	return ERR_OK;
}

enum err outbox_new_eras(struct store *s)
{
	uint8_t value[8];
	struct wr w = wr_init(value, sizeof(value));

	if (s->failed)
		return ERR_STORE;
	wr_u64(&w, (uint64_t)s->waiting.born);
	enum err e = store_meta_write(s, FLOOR_KEY, BYTES_ARR(value));
	if (e == ERR_OK)
		s->waiting.floor = s->waiting.born;
	return e;
}

/* SELECT peer, era, born, reserved */
static enum err load_era(struct store *s, sqlite3_stmt *st)
{
	struct bytes peer = column_bytes(st, 0), era = column_bytes(st, 1);
	int64_t born = sqlite3_column_int64(st, 2), reserved = sqlite3_column_int64(st, 3);
	uint8_t gone[OUTBOX_ERA_BYTES];
	struct out_peer *p;
	struct out_era *e;
	bool evicted;

	if (peer.n != PEER_BLOB_BYTES || era.n != OUTBOX_ERA_BYTES || born <= 0 || reserved < 0)
		return ERR_CORRUPT;
	enum err err = waiting_reserve(&s->waiting, peer.p, 0, &p);
	if (err == ERR_OK)
		err = waiting_era_new(&s->waiting, p, s->env, &e, gone, &evicted);
	if (err != ERR_OK)
		return err;
	memcpy(e->era, era.p, OUTBOX_ERA_BYTES);
	s->waiting.born = e->born = born;
	/* Which numbers of the block were used is not known: none of them is used again. */
	e->reserved = e->kept_reserved = (uint64_t)reserved;
	e->next = (uint64_t)reserved + 1;
	return ERR_OK;
}

enum err outbox_load_eras(struct store *s)
{
	uint8_t value[8];
	sqlite3_stmt *st;
	int rc = SQLITE_DONE;

	enum err e = store_meta_read(s, FLOOR_KEY, value, sizeof(value));
	if (e == ERR_OK) {
		struct rd r = rd_init(value, sizeof(value));
		s->waiting.floor = s->waiting.kept_floor = (int64_t)(rd_u64(&r) & INT64_MAX);
	} else if (e != ERR_NOTFOUND) {
		return e;
	}
	if (sqlite3_prepare_v2(s->db, "SELECT peer, era, born, reserved FROM out_era ORDER BY born", -1,
			       &st, NULL) != SQLITE_OK)
		return ERR_STORE;
	e = ERR_OK;
	while (e == ERR_OK && (rc = sqlite3_step(st)) == SQLITE_ROW)
		e = load_era(s, st);
	sqlite3_finalize(st);
	if (s->waiting.born < s->waiting.floor)
		s->waiting.born = s->waiting.floor; /* the eras it spoke of may be gone */
	return e == ERR_OK && rc != SQLITE_DONE ? ERR_STORE : e;
}

/* One walk of the row through the table of waiting ones, at open. */
enum err outbox_load_waiting(struct store *s, const struct outbox_row *r)
{
	struct out_wait x = {.row = (uint64_t)r->seq, .expires = r->expires_ms, .len = r->body_len};
	uint8_t blob[PEER_BLOB_BYTES], rank = (uint8_t)(OUTBOX_PRIORITIES - 1 - r->priority);
	struct out_peer *p;

	if (peer_blob(&r->to, blob) != ERR_OK)
		return ERR_CORRUPT;
	enum err e = waiting_reserve(&s->waiting, blob, rank, &p);
	if (e != ERR_OK)
		return e;
	if (r->has_wire) {
		x.seq = wire_number(r->wire_id);
		x.era = waiting_era(p, r->wire_id);
		/* An era that was forgotten, or a number twice: the row is sent, nothing is settled by it. */
		if (x.era && sorted_get(&x.era->open, x.seq))
			x.era = NULL;
		if (x.era)
			e = sorted_reserve(&x.era->open, 1);
	}
	if (e == ERR_OK) {
		waiting_add(&s->waiting, p, rank, &x);
		waiting_commit(&s->waiting);
	}
	return e;
}
