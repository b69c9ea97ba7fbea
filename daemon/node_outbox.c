/*
 * node_outbox.c -- the outbox as its user sees it: rows of the store overlaid with what is in flight; and what he may
 * order: cancel, send again.
 */
#include "daemon/courier.h"
#include "daemon/mesh09.h"
#include "daemon/node_internal.h"

#define FOLLOW_ROWS 256

void node_outbox_overlay(struct node *n, struct outbox_row *r)
{
	struct courier_view way;
	struct mesh09_view old;
	struct item *it;

	r->expires_ms = outbox_expiry_wall(n->p.store, r->expires_ms);
	if (r->state != OUTBOX_QUEUED)
		return;
	if (courier_view(n, &r->to, r->id, &way) && way.sent) {
		r->state = OUTBOX_SENT;
		r->at_relay = way.stored && !way.held;
		if (way.held)
			snprintf(r->reason, sizeof r->reason, "held: waits for approval by the operator of %s",
				 peer_name(n, &r->to));
		else
			snprintf(r->reason, sizeof r->reason, "through %s%s", peer_name(n, &way.via),
				 way.no_fs ? "; without forward secrecy" : "");
		return;
	}
	if (mesh09_view(n, &r->to, r->id, &old)) {
		r->state = OUTBOX_SENT;
		if (old.held)
			snprintf(r->reason, sizeof r->reason, "held: waits for approval by the operator of %s",
				 peer_name(n, &r->to));
		else
			snprintf(r->reason, sizeof r->reason, "through %s, 0.9", peer_name(n, &old.via));
		return;
	}
	it = item_find(n, &r->to, bytes_str(r->id));
	if (it && it->state == ITEM_IN_FLIGHT && !it->in_pieces)
		r->state = OUTBOX_SENT;
	if (it && it->state == ITEM_HELD) {
		r->state = OUTBOX_SENT;
		snprintf(r->reason, sizeof r->reason, "held: waits for approval by the operator of %s",
			 peer_name(n, &r->to));
	}
}

bool node_outbox_way(struct node *n, const struct outbox_row *r, struct outbox_try *t, bool *stored)
{
	struct courier_view way;
	struct mesh09_view old;
	struct item *it;

	*stored = false;
	*t = (struct outbox_try){ 0 };
	if (courier_view(n, &r->to, r->id, &way) && way.sent) {
		*t = way.last;
		*stored = way.stored && !way.held;
	} else if (mesh09_view(n, &r->to, r->id, &old)) {
		*t = old.last;
	} else {
		it = item_find(n, &r->to, bytes_str(r->id));
		if (it && (it->state == ITEM_IN_FLIGHT || it->state == ITEM_HELD))
			*t = item_try(it);
	}
	return t->at_ms != 0;
}

enum err node_outbox_get(struct node *n, struct bytes id, struct outbox_row *out)
{
	enum err e = outbox_get(n->p.store, id, out);

	if (e == ERR_OK)
		node_outbox_overlay(n, out);
	return e;
}

enum err node_outbox_list(struct node *n, const struct outbox_filter *f, struct outbox_row *rows,
			  size_t max, size_t *count)
{
	enum err e = outbox_list(n->p.store, f, rows, max, count);

	for (size_t i = 0; e == ERR_OK && i < *count; i++)
		node_outbox_overlay(n, &rows[i]);
	return e;
}

static enum err find_row(struct node *n, struct bytes id, struct outbox_row *row, struct fault *f)
{
	enum err e = outbox_get(n->p.store, id, row);

	if (e == ERR_OK)
		return e;
	fault_set(f, e, e == ERR_NOTFOUND ? EXIT_GENERIC : EXIT_RETRY, "no message has the id %.*s",
		  (int)(id.n < 128 ? id.n : 128), id.p);
	fault_next(f, "ironmesh outbox list");
	return e;
}

enum err node_outbox_cancel(struct node *n, struct bytes id, struct fault *f)
{
	struct outbox_row row;
	enum err e = find_row(n, id, &row, f);

	if (e != ERR_OK)
		return e;
	struct item *it = item_find(n, &row.to, id);
	bool gone_out = row.attempts || (it && (it->state == ITEM_IN_FLIGHT || it->state == ITEM_HELD));

	e = outbox_move(n->p.store, row.seq, OUTBOX_CANCELLED,
			gone_out ? "cancelled after it was sent; it may have arrived" : "cancelled by the operator",
			env_wall(n->env));
	if (e == ERR_WRONG_STATE) {
		fault_set(f, e, EXIT_GENERIC, "the message has ended already: %s", outbox_state_word(row.state));
		fault_next(f, "ironmesh outbox show %s", row.id);
		return e;
	}
	if (e == ERR_STORE)
		node_store_failed(n);
	/* Committed before it is answered: what the operator hears must stay true. */
	if (e == ERR_OK) {
		item_free(it);
		e = node_commit(n);
	}
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_RETRY, "the cancellation could not be written to disk");
	outbound_ended(n, &row.to, row.id, OUTBOX_CANCELLED, "cancelled by the operator", 0);
	return ERR_OK;
}

/* A dead letter to an identity that its peer does not have any more goes to the one that it has. */
static enum err follow(struct node *n, struct node_id *to)
{
	const struct pin *now = pins_current(n->p.pins, to);
	struct node_id was = *to;
	size_t moved = 1;
	enum err e = ERR_OK;

	if (!now || node_id_eq(&now->id, to))
		return ERR_OK;
	*to = now->id;
	while (e == ERR_OK && moved)
		e = outbox_follow(n->p.store, &was, to, FOLLOW_ROWS, &moved);
	return e;
}

enum err node_outbox_retry(struct node *n, struct bytes id, char id_out[static MSG_ID_MAX + 1], struct fault *f)
{
	struct outbox_row row;
	char again[MSG_ID_MAX + 1];
	struct peer *p;
	enum err e = find_row(n, id, &row, f);

	if (e != ERR_OK)
		return e;
	snprintf(again, sizeof again, "%s", row.id);
	p = peer_find(n, &row.to);
	if (row.state != OUTBOX_QUEUED) {
		e = outbox_requeue(n->p.store, row.seq, env_wall(n->env), again);
		if (e == ERR_OK)
			e = follow(n, &row.to);
		if (e == ERR_STORE)
			node_store_failed(n);
		if (e == ERR_OK)
			e = node_commit(n);
		if (e == ERR_STORE || e == ERR_FULL)
			return fault_set(f, e, EXIT_RETRY, e == ERR_FULL ? "the outbox is full" :
							     "the retry could not be written to disk");
		if (e != ERR_OK) {
			fault_set(f, e, EXIT_GENERIC, "a message that is %s cannot be sent again",
				  outbox_state_word(row.state));
			fault_means(f, "its body is not kept any more, or it has arrived");
			fault_next(f, "ironmesh send %s ...", peer_name(n, &row.to));
			return e;
		}
		p = peer_find(n, &row.to); /* the commit answers others, who may do anything */
		if (p && p->q) {
			p->q->more = true;
			p->q->more_priority = PRIO_COUNT - 1;
		}
	}
	memcpy(id_out, again, sizeof again);
	if (p && p->conn)
		sched_wake(p);
	else
		dial_peer_offline(n, &row.to);
	return ERR_OK;
}
