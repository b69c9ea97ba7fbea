/*
 * marks.c -- the figures that keep tables as small as what is in flight, and that survive crashes and copies brought
 * back (im2.md 9.5): SEEN, SETTLED, and which receipts an earlier life still owes.
 */
#include "daemon/courier.h"
#include "daemon/node_internal.h"

#define SETTLE_EVERY 256
#define SETTLE_MS 60000
#define SETTLE_SOON_MS 1000
#define MARKS_MAX 8
#define DUE_ROWS 256

/* Receipts that a life before this one owed: in order, before any newer figure is kept. A few hundred in a turn, since
 * there may be as many as the table holds. */
void marks_report_due(struct conn *c)
{
	struct node *n = c->node;
	struct peer *p = c->peer;
	struct inbox_row rows[DUE_ROWS];
	size_t got = 0;

	if (p->due_after < 0)
		return;
	if (inbox_receipts_due(n->p.store, &p->id, p->due_after, rows, DUE_ROWS, &got) != ERR_OK) {
		node_store_failed(n);
		conn_close(c, "store-failed");
		return;
	}
	for (size_t i = 0; i < got; i++) {
		struct pending_receipt r = inbound_owed(n, &rows[i]);

		p->due_after = rows[i].seq;
		conn_receipt(c, &r);
	}
	if (got < DUE_ROWS)
		p->due_after = -1;
}

/* The highest of its newest era that is held, whoever it was when it sent that: eras outlive a rotation. */
static enum err seen_of(struct node *n, const struct peer *p, uint8_t era[static 8], uint64_t *seq)
{
	enum err e = inbox_seen(n->p.store, &p->id, era, seq);
	uint8_t before[8];
	uint64_t high;

	for (size_t i = 0; i < p->was_n && (e == ERR_OK || e == ERR_NOTFOUND); i++) {
		if (inbox_seen(n->p.store, &p->was[i], before, &high) != ERR_OK ||
		    (e == ERR_OK && (memcmp(era, before, sizeof before) != 0 || high <= *seq)))
			continue;
		memcpy(era, before, sizeof before);
		*seq = high;
		e = ERR_OK;
	}
	return e;
}

void marks_online(struct conn *c)
{
	struct peer *p = c->peer;
	uint8_t era[8];
	uint64_t seq;

	if (seen_of(c->node, p, era, &seq) == ERR_OK && session_seen(c->session, era, seq) != ERR_OK)
		log_debug("seen-not-sent peer=%s", p->id.hex);
	marks_report_due(c);
	if (c->closing)
		return;
	p->unsettled = SETTLE_EVERY;
	marks_settle(p);
}

void marks_settle(struct peer *p)
{
	struct conn *c = p->conn;
	struct node *n = c->node;
	struct outbox_mark marks[MARKS_MAX];
	uint64_t now = env_now(n->env);
	size_t got = 0;

	if (!c->im2 || c->closing ||
	    (p->unsettled < SETTLE_EVERY && (!p->unsettled || now - p->settle_ms < SETTLE_MS)))
		return;
	p->unsettled = 0;
	p->settle_ms = now;
	if (outbox_settle(n->p.store, &p->id, marks, MARKS_MAX, &got) != ERR_OK)
		return;
	for (size_t i = 0; i < got; i++) {
		uint64_t seq = courier_floor(n, &p->id, marks[i].era, marks[i].seq);

		if (session_settled(c->session, marks[i].era, seq) != ERR_OK)
			return;
		outbox_settle_told(n->p.store, &p->id, marks[i].era, seq);
	}
	conn_pump_later(c);
}

void marks_settle_soon(struct peer *p)
{
	p->unsettled++;
	if (env_now(p->conn->node->env) - p->settle_ms < SETTLE_SOON_MS)
		return;
	p->unsettled += SETTLE_EVERY;
	marks_settle(p);
}

void marks_seen(struct conn *c, const struct session_event *e)
{
	struct node *n = c->node;
	bool renewed = false;

	if (!c->peer)
		return;
	if (outbox_seen(n->p.store, &c->peer->id, e->era, e->seq, &renewed) != ERR_OK) {
		node_store_failed(n);
		return;
	}
	if (!renewed)
		return;
	/* We run an older copy of our own database: ids would repeat (9.5). */
	n->n.eras_renewed++;
	c->peer->renewed = true;
	node_store_hard(n);
	log_warn("era-renewed peer=%s why=\"it holds later messages of ours than we remember; was a backup restored?\"",
		 c->peer->id.hex);
	audit_note(n->p.audit, "ERA_RENEWED", bytes_str(c->peer->id.hex), "peer_id", c->peer->id.hex, NULL);
}

static void settle(struct node *n, const struct node_id *id, const struct node_id *was, size_t was_n,
		   const uint8_t era[static 8], uint64_t seq)
{
	const struct pin *pin = pins_get(n->p.pins, id);
	enum err err;

	/* Whoever is not approved may not fill the disk with eras that he makes up. */
	if ((!pin || pin->state != PIN_TRUSTED) && !inbox_has_era(n->p.store, id, era))
		return;
	err = inbox_settled(n->p.store, id, era, seq);
	for (size_t i = 0; i < was_n && err != ERR_STORE; i++)
		if (inbox_has_era(n->p.store, &was[i], era))
			err = inbox_settled(n->p.store, &was[i], era, seq);
	if (err == ERR_STORE)
		node_store_failed(n);
	else
		node_store_soft(n);
}

void marks_settled(struct conn *c, const struct session_event *e)
{
	const struct peer *p = c->peer;

	if (p)
		settle(c->node, &p->id, p->was, p->was_n, e->era, e->seq);
}

void marks_settled_of(struct node *n, const struct node_id *author, const uint8_t era[static 8], uint64_t seq)
{
	struct node_id was[LINEAGE_MAX];

	settle(n, author, was, pins_former(n->p.pins, author, was, LINEAGE_MAX), era, seq);
}
