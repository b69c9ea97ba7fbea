/* What waits for a peer goes to the identity that it has become (im2.md 13.4). */
#include "store/outbox_internal.h"

/* The recipient is bound into what is sealed, so both texts are sealed again. */
static enum err write_row(struct store *s, const struct outbox_row *r, const uint8_t peer[static PEER_BLOB_BYTES],
			  struct bytes body)
{
	uint8_t ad[OUT_AD_MAX];
	sqlite3_stmt *st;
	enum err e;

	buf_reset(&s->sealed_body);
	e = seal_put(&s->seal, outbox_ad(OUT_BODY, r, ad), body, &s->sealed_body);
	if (e == ERR_OK)
		e = outbox_seal_words(s, r);
	if (e != ERR_OK)
		return e;
	st = store_stmt(s, ST_OUT_FOLLOW, "UPDATE outbox SET peer = ?2, words = ?3 WHERE seq = ?1");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, r->seq);
	bind_bytes(st, 2, bytes_of(peer, PEER_BLOB_BYTES));
	bind_bytes(st, 3, buf_bytes(&s->sealed_words));
	e = store_write(s, st);
	if (e != ERR_OK)
		return e;
	st = store_stmt(s, ST_OUT_FOLLOW_BODY, "UPDATE outbox_body SET body = ?2 WHERE seq = ?1");
	if (!st)
		return ERR_STORE;
	sqlite3_bind_int64(st, 1, r->seq);
	bind_bytes(st, 2, buf_bytes(&s->sealed_body));
	return store_write(s, st);
}

static enum err follow(struct store *s, struct outbox_row *r, struct out_peer *was, const struct node_id *now,
		       struct bytes body)
{
	struct count_move leave = {.box = BOX_OUT, .from = OUTBOX_QUEUED, .to = COUNT_NONE, .bytes = r->body_len};
	struct count_move enter = {.box = BOX_OUT, .from = COUNT_NONE, .to = OUTBOX_QUEUED, .bytes = r->body_len};
	uint8_t rank = (uint8_t)(OUTBOX_PRIORITIES - 1 - r->priority);
	struct out_wait wait;
	struct out_peer *p;
	struct thread *thread;
	enum err e = peer_blob(now, enter.peer);

	memcpy(leave.peer, was->peer, PEER_BLOB_BYTES);
	if (e == ERR_OK)
		e = counts_reserve(&s->counts, enter.peer);
	if (e == ERR_OK)
		e = waiting_reserve(&s->waiting, enter.peer, rank, &p);
	if (e == ERR_OK)
		e = threads_reserve(&s->threads, enter.peer, BOX_OUT, &thread);
	if (e != ERR_OK)
		return e;
	r->to = *now;
	e = write_row(s, r, enter.peer, body);
	if (e != ERR_OK)
		return e;
	counts_move(&s->counts, &enter);
	/* Not before the first one has used its room. */
	if (counts_reserve(&s->counts, leave.peer) != ERR_OK)
		return store_fail_group(s, "outbox-follow");
	counts_move(&s->counts, &leave);
	wait = *(const struct out_wait *)sorted_get(&was->queue[rank], (uint64_t)r->seq);
	waiting_del(&s->waiting, was, rank, r->seq);
	/* The wire id stays, so that a copy that had arrived is known there. Its era is of the other queue: nothing
	 * is settled by it. */
	wait.era = NULL;
	waiting_add(&s->waiting, p, rank, &wait);
	threads_add(&s->threads, thread, BOX_OUT, r->seq, r->created_ms);
	threads_gone(&s->threads, leave.peer, BOX_OUT, r->seq);
	return ERR_OK;
}

/* The next row of the queue, in sending order. */
static const struct out_wait *first_of(const struct out_peer *p)
{
	for (unsigned rank = 0; p && rank < OUTBOX_PRIORITIES; rank++)
		if (p->queue[rank].n)
			return sorted_at(&p->queue[rank], 0);
	return NULL;
}

enum err outbox_follow(struct store *s, const struct node_id *was, const struct node_id *now, size_t max, size_t *n)
{
	uint8_t blob[PEER_BLOB_BYTES];
	const struct out_wait *next;
	struct outbox_row r;
	struct out_peer *p;
	struct buf body;
	enum err e = peer_blob(was, blob);
	bool has;

	*n = 0;
	if (e != ERR_OK || node_id_eq(was, now))
		return ERR_MALFORMED;
	if (s->failed)
		return ERR_STORE;
	p = waiting_peer(&s->waiting, blob);
	buf_init(&body, STORE_BODY_MAX);
	while (e == ERR_OK && *n < max && (next = first_of(p))) {
		int64_t seq = (int64_t)next->row;

		buf_reset(&body);
		e = outbox_fetch_body(s, seq, &r, &body, &has);
		if (e == ERR_OK && has)
			e = follow(s, &r, p, now, buf_bytes(&body));
		else if (e == ERR_OK || e == ERR_CORRUPT)
			e = outbox_move(s, seq, OUTBOX_FAILED, NULL, env_wall(s->env));
		*n += e == ERR_OK;
	}
	buf_wipe(&body);
	buf_fini(&body);
	return e;
}
