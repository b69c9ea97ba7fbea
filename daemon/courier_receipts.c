/*
 * courier_receipts.c -- receipts on their way back to authors who have no session with us: several in one signed, sealed
 * object (im2.md 10.2).
 *
 * What is owed for a row of the inbox survives here and in the store: whoever cannot be reached, or is not reached in a few
 * tries, is forgotten here, and begins anew from the store when a way to him appears. A lost one does no harm: its author
 * sends the message again, and is answered again.
 */
#include "daemon/courier_internal.h"

#include <stdlib.h>

#include "protocol/im2/content.h"

#define WAIT_MS 5                  /* after several at once, for company; at most 5 s by 10.2 */
#define TTL_S 86400
#define AGAIN_MS 2000              /* doubling, while there is no key or the link is full */
#define TRIES 6
#define ROWS COURIER_RECEIPTS

static struct owed *owed_find(struct courier *k, const struct node_id *author)
{
	void *v = map_peek(k->owed, bytes_of(author->hex, NODE_ID_LEN));
	struct owed *o = NULL;

	if (v)
		memcpy(&o, v, sizeof o);
	return o;
}

static struct owed *owed_get(struct courier *k, const struct node_id *author)
{
	struct owed *o = owed_find(k, author);
	bool created;
	void *v;

	if (o)
		return o;
	o = calloc(1, sizeof *o);
	if (!o || map_put(k->owed, bytes_of(author->hex, NODE_ID_LEN), 0, &v, &created) != ERR_OK) {
		free(o);
		return NULL;
	}
	memcpy(v, &o, sizeof o);
	o->author = *author;
	/* At the end of this turn, with all that its commit brings. */
	o->due_ms = env_now(k->node->env);
	list_add_tail(&k->owing, &o->link);
	k->receipts_due = true;
	node_want_turn(k->node);
	return o;
}

static void owed_free(struct courier *k, struct owed *o)
{
	list_del(&o->link);
	map_del(k->owed, bytes_of(o->author.hex, NODE_ID_LEN));
	free(o);
}

/* The store begins anew with this row when its author is heard of again. */
static void owed_later(struct node *n, const struct node_id *author, int64_t kept_seq)
{
	struct peer *p = kept_seq ? peer_get(n, author) : NULL;

	if (p && (p->due_after < 0 || p->due_after >= kept_seq))
		p->due_after = kept_seq - 1;
}

static void give_up(struct courier *k, struct owed *o)
{
	for (size_t i = 0; i < o->n; i++)
		owed_later(k->node, &o->author, o->r[i].kept_seq);
	owed_free(k, o);
}

/* --- sending ---------------------------------------------------------------------------------------------------- */
static bool seal_and_send(struct courier *k, struct owed *o, const struct pin *pin, struct conn *next)
{
	struct node *n = k->node;
	const struct destination *d = courier_find(k, &o->author);
	struct receipt r[COURIER_RECEIPTS];
	struct buf receipt, signed_, items, rt, body;
	struct im2_sealed sealed;
	bool done = false;

	for (size_t i = 0; i < o->n; i++)
		r[i] = (struct receipt){ .kind = o->r[i].kind, .id = bytes_str(o->r[i].id), .code = o->r[i].code };
	buf_init(&receipt, IM2_RECEIPT_MAX);
	buf_init(&signed_, IM2_SRECEIPT_MAX);
	buf_init(&items, IM2_SRECEIPT_MAX + 16);
	buf_init(&rt, IM2_RT_MAX);
	buf_init(&body, 65536);
	if (im2_receipt_write(r, o->n, 0, IM2_RECEIPT_MAX, &receipt) == o->n && receipt.err == ERR_OK) {
		im2_sreceipt_write(n->p.keyring, pin->ed, buf_bytes(&receipt), &signed_);
		im2_item_add(&items, IM2_ITEM_SRECEIPT, buf_bytes(&signed_));
		done = signed_.err == ERR_OK && items.err == ERR_OK &&
		       courier_wrap(k, &o->author, buf_bytes(&items), TTL_S, PRIO_NORMAL, !d || !d->introduced, &rt, &body,
				    &sealed) == ERR_OK &&
		       relay_send(next, buf_bytes(&rt), buf_bytes(&body), RELAY_HOPS, 0) == ERR_OK;
	}
	buf_fini(&receipt);
	buf_fini(&signed_);
	buf_fini(&items);
	buf_fini(&rt);
	buf_fini(&body);
	return done;
}

/* All that is owed to him by rows up to there has left. */
static void have_left(struct node *n, const struct node_id *author, int64_t upto)
{
	struct peer *p = upto ? peer_get(n, author) : NULL;

	if (!p || p->due_after >= 0)
		return;
	inbox_receipts_left(n->p.store, author, upto);
	node_store_soft(n);
}

static void sent(struct courier *k, struct owed *o)
{
	struct node *n = k->node;
	int64_t upto = 0;

	for (size_t i = 0; i < o->n; i++) {
		n->n.receipts_sent++;
		upto = o->r[i].kept_seq > upto ? o->r[i].kept_seq : upto;
		if (o->r[i].inbox_seq && inbox_mark_reported(n->p.store, o->r[i].inbox_seq) == ERR_STORE)
			node_store_failed(n);
		else if (o->r[i].inbox_seq)
			node_store_soft(n);
	}
	o->n = 0;
	o->tries = 0;
	have_left(n, &o->author, upto);
}

/* False: it has been given up. */
static bool flush(struct courier *k, struct owed *o)
{
	struct node *n = k->node;
	const struct pin *pin = pins_get(n->p.pins, &o->author);
	struct conn *next = routes_next(n, &o->author, NULL);

	if (!o->n)
		return true;
	if (!pin || pin->state == PIN_BLOCKED || pin->state == PIN_REVOKED || !next || o->tries >= TRIES) {
		give_up(k, o);
		return false;
	}
	if (seal_and_send(k, o, pin, next)) {
		sent(k, o);
		return true;
	}
	records_want(next, &o->author, IM2_REC_PREKEY_T);
	o->due_ms = env_now(n->env) + (AGAIN_MS << o->tries++);
	courier_wake_at(k, o->due_ms);
	return true;
}

/* --- what the store holds ------------------------------------------------------------------------------------------ */
static bool put(struct courier *k, struct owed *o, const struct pending_receipt *r)
{
	size_t at = 0;

	/* The newest word on a message is the one that counts. */
	while (at < o->n && strcmp(o->r[at].id, r->id) != 0)
		at++;
	if (at == COURIER_RECEIPTS)
		return false;
	o->r[at].kind = r->kind;
	o->r[at].code = r->code;
	o->r[at].inbox_seq = r->kind == RECEIPT_READ ? r->inbox_seq : 0;
	o->r[at].kept_seq = r->kind == RECEIPT_READ ? (at < o->n ? o->r[at].kept_seq : 0) : r->kept_seq;
	memcpy(o->r[at].id, r->id, sizeof o->r[at].id);
	if (at == o->n)
		o->n++;
	if (o->n == COURIER_RECEIPTS && !o->tries)
		courier_wake_at(k, o->due_ms = env_now(k->node->env));
	return true;
}

/* What a life before this one owed him, as far as there is room. */
static enum err load_due(struct courier *k, struct owed *o, struct peer *p, struct inbox_row *rows)
{
	size_t got = ROWS;
	enum err e = ERR_OK;

	while (e == ERR_OK && p->due_after >= 0 && o->n < COURIER_RECEIPTS) {
		e = inbox_receipts_due(k->node->p.store, &o->author, p->due_after, rows, COURIER_RECEIPTS - o->n, &got);
		if (e == ERR_OK && !got)
			p->due_after = -1;
		for (size_t i = 0; e == ERR_OK && i < got; i++) {
			struct pending_receipt r = inbound_owed(k->node, &rows[i]);

			p->due_after = rows[i].seq;
			if (!r.silent && strlen(r.id) == 32)
				(void)put(k, o, &r);
		}
	}
	return e;
}

static enum err load_reads(struct courier *k, struct owed *o, struct inbox_row *rows)
{
	size_t got = 0;
	enum err e = o->n == COURIER_RECEIPTS ? ERR_OK :
						inbox_unreported_sealed(k->node->p.store, &o->author, 0, rows,
									COURIER_RECEIPTS - o->n, &got);

	for (size_t i = 0; e == ERR_OK && i < got; i++) {
		struct pending_receipt r = { .kind = RECEIPT_READ, .inbox_seq = rows[i].seq };

		memcpy(r.id, rows[i].id, sizeof rows[i].id);
		(void)put(k, o, &r);
	}
	return e;
}

static bool load(struct courier *k, struct owed *o)
{
	struct node *n = k->node;
	struct peer *p = peer_get(n, &o->author);
	struct inbox_row *rows = p ? malloc(ROWS * sizeof *rows) : NULL;
	enum err e = ERR_OK;

	if (!rows)
		return false;
	e = load_due(k, o, p, rows);
	if (e == ERR_OK)
		e = load_reads(k, o, rows);
	free(rows);
	if (e == ERR_STORE)
		node_store_failed(n);
	return e == ERR_OK;
}

/* --- the turn ------------------------------------------------------------------------------------------------------- */
uint64_t courier_receipts_due(struct courier *k)
{
	struct node *n = k->node;
	uint64_t now = env_now(n->env), next = UINT64_MAX;

	/* A read receipt is put here before its group is committed. */
	if (n->ops_n || n->hard || n->group_failed) {
		node_want_turn(n);
		return UINT64_MAX;
	}
	k->receipts_due = false;
	for (struct list *l = k->owing.next, *after; l != &k->owing; l = after) {
		struct owed *o = list_entry(l, struct owed, link);
		size_t owed = o->n;
		bool full = owed == COURIER_RECEIPTS;

		after = l->next;
		if (o->due_ms <= now) {
			if (!owed) {
				owed_free(k, o);
				continue;
			}
			if (!flush(k, o))
				continue;
			/* One that came alone: its author may wait for it before he sends the next. */
			if (!o->n && owed == 1) {
				owed_free(k, o);
				continue;
			}
			if (!o->n)
				o->due_ms = now + (full && load(k, o) && o->n ? 1 : WAIT_MS);
		}
		next = o->due_ms < next ? o->due_ms : next;
	}
	return next;
}

void courier_receipts_wake(struct courier *k, const struct node_id *author)
{
	struct node *n = k->node;
	struct owed *o = owed_find(k, author);
	struct peer *p = peer_find(n, author);

	if (!pins_get(n->p.pins, author) || !routes_next(n, author, NULL))
		return;
	if (o) {
		o->tries = 0;
		courier_wake_at(k, o->due_ms = env_now(n->env));
		return;
	}
	if ((p && p->due_after < 0) || !(o = owed_get(k, author)))
		return;
	if (!load(k, o) || !o->n)
		owed_free(k, o);
}

void courier_receipt(struct node *n, const struct node_id *author, const struct pending_receipt *r)
{
	const struct pin *pin = pins_current(n->p.pins, author);
	const struct node_id to = pin ? pin->id : *author;
	struct courier *k = n->courier;
	struct peer *p = peer_find(n, &to);
	bool created;
	struct owed *o;

	if (p && p->conn && p->conn->im2) {
		conn_receipt(p->conn, r);
		return;
	}
	if (!k || strlen(r->id) != 32)
		return;
	if (r->silent) {
		if (!owed_find(k, &to))
			have_left(n, &to, r->kept_seq);
		return;
	}
	created = !owed_find(k, &to);
	o = routes_next(n, &to, NULL) ? owed_get(k, &to) : NULL;
	if (!o || !put(k, o, r)) {
		owed_later(n, &to, r->kept_seq);
		return;
	}
	if (created && !(p && p->due_after < 0))
		(void)load(k, o);
}

void courier_receipts_direct(struct courier *k, const struct node_id *author)
{
	struct owed *o = owed_find(k, author);
	struct peer *p = peer_find(k->node, author);

	if (!o)
		return;
	for (size_t i = 0; p && p->conn && i < o->n; i++) {
		struct pending_receipt r = { .kind = o->r[i].kind, .code = o->r[i].code, .inbox_seq = o->r[i].inbox_seq,
					     .kept_seq = o->r[i].kept_seq };

		memcpy(r.id, o->r[i].id, sizeof o->r[i].id);
		conn_receipt(p->conn, &r);
	}
	owed_free(k, o);
}

/* What was marked as read in the lost group is not read. */
void courier_receipts_rolled_back(struct courier *k)
{
	for (struct list *l = k->owing.next, *after; l != &k->owing; l = after) {
		struct owed *o = list_entry(l, struct owed, link);
		size_t kept = 0;

		after = l->next;
		for (size_t i = 0; i < o->n; i++)
			if (o->r[i].kind != RECEIPT_READ)
				o->r[kept++] = o->r[i];
		o->n = kept;
		if (!kept)
			owed_free(k, o);
	}
}

void courier_receipts_free(struct courier *k)
{
	while (!list_empty(&k->owing))
		owed_free(k, list_entry(k->owing.next, struct owed, link));
}
