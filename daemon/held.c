/*
 * held.c -- messages whose author nobody has approved yet: let out, refused, or gone when their life ends first
 * (im2.md 9.4).
 */
#include "daemon/node_internal.h"

#define ROWS 64
#define LOOKS 4 /* batches of rows, each time */
#define LOOK_MS 60000

/* Its receipt and its event come with the commit. */
static void moved(struct node *n, const struct inbox_row *row, const struct pending_receipt *owed)
{
	struct peer *p = peer_now(n, &row->via);
	bool gone = owed->kind == RECEIPT_REJECTED;
	struct op *op;

	/* It may have come in this very group: it is not announced and gone at once. */
	for (size_t k = 0; gone && k < n->ops_n; k++)
		if (n->ops[k].kind == OP_RECEIVED && n->ops[k].seq == row->seq)
			n->ops[k].is_new = false;
	op = node_op(n);
	op->kind = OP_RECEIVED;
	op->conn = p && p->conn ? p->conn->id : 0;
	op->peer = row->author;
	op->seq = row->seq;
	op->size = row->body_len;
	op->is_new = !gone;
	op->sealed = row->sealed != INBOX_OPEN;
	op->far = !op->sealed && !node_id_eq(&row->via, &row->author);
	op->via = row->via;
	op->receipt = owed->kind;
	op->silent = owed->silent;
	op->code = owed->code;
	memcpy(op->id, row->id, sizeof op->id);
	node_store_hard(n);
}

static enum err release_of(struct node *n, const struct node_id *id, bool accept)
{
	struct inbox_row rows[ROWS];
	size_t got;
	enum err e;

	do {
		e = inbox_release(n->p.store, id, accept, rows, ROWS, &got);
		if (e != ERR_OK) {
			if (e == ERR_STORE)
				node_store_failed(n); /* the rollback arms release_timer */
			return e;
		}
		for (size_t i = 0; i < got; i++) {
			struct pending_receipt owed = inbound_owed(n, &rows[i]);

			if (!accept)
				owed.code = IM2_REASON_OPERATOR;
			moved(n, &rows[i], &owed);
		}
	} while (got == ROWS);
	return ERR_OK;
}

/* Held messages become new (and are confirmed) or go, those of who it was before too. */
enum err inbound_release(struct node *n, const struct node_id *id, bool accept)
{
	struct node_id was[LINEAGE_MAX];
	size_t was_n = pins_former(n->p.pins, id, was, LINEAGE_MAX);
	enum err e = release_of(n, id, accept);

	for (size_t i = 0; e == ERR_OK && i < was_n; i++)
		e = release_of(n, &was[i], accept);
	return e;
}

/* The disk refused, and messages of somebody who was approved in that group may still be held. Who is
 * offline is looked at when it comes online. */
void inbound_release_due(void *node)
{
	struct node *n = node;

	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);
		const struct pin *pin = c->peer ? pins_get(n->p.pins, &c->peer->id) : NULL;

		if (pin && pin_admits(pin) && inbound_release(n, &pin->id, true) != ERR_OK)
			return;
	}
}

/* Who writes to us and is not admitted in time hears that it expired (9.4). */
static enum err expire(struct node *n, struct inbox_row *row)
{
	enum err e = inbox_delete(n->p.store, row->seq);
	struct pending_receipt owed;

	if (e != ERR_OK)
		return e;
	row->state = INBOX_DROPPED;
	owed = inbound_owed(n, row);
	log_debug("held-expired msg=%s from=%s", row->id, row->author.hex);
	moved(n, row, &owed);
	return ERR_OK;
}

void held_due(void *node)
{
	struct node *n = node;
	struct inbox_row rows[ROWS];
	size_t got = ROWS;

	for (int k = 0; k < LOOKS && got == ROWS; k++) {
		struct inbox_filter f = { .state = INBOX_HELD, .after_seq = n->held_seen };
		enum err e = inbox_list(n->p.store, &f, rows, ROWS, &got);

		for (size_t i = 0; e == ERR_OK && i < got; i++) {
			n->held_seen = rows[i].seq;
			if (inbound_life_over(n, &rows[i]))
				e = expire(n, &rows[i]);
		}
		if (e == ERR_STORE)
			node_store_failed(n);
		if (e != ERR_OK)
			break;
	}
	if (got < ROWS)
		n->held_seen = 0;
	timer_in(n->env, &n->held_timer, LOOK_MS);
}
