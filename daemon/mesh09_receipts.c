/* mesh09_receipts.c -- receipts for messages that neighbours of the old wire brought, back to their authors (wire 4.3). */
#include "daemon/mesh09_internal.h"

#include <stdlib.h>

#define OWED_MS 10000
#define BUSY_MS 1000

/* Signed by it, as the receipts in a session of its own are under its key: never less again (policy.h). */
void mesh09_confirmed(struct node *n, const struct node_id *by)
{
	const struct pin *pin = pins_get(n->p.pins, by);
	struct pin_update u = { .id = *by, .confirms = true, .wall_ms = env_wall(n->env) };

	if (!pin || pin->confirms)
		return;
	u.ed = pin->ed;
	u.name = pin->name;
	u.version = pin->version_floor;
	if (pins_observe(n->p.pins, &u, NULL) == ERR_OK)
		node_pins_flush(n, "confirms");
}

static bool named_as_ours(const char *id)
{
	return strlen(id) == 2 * MSG_WIRE_ID && strspn(id, "0123456789abcdef") == 2 * MSG_WIRE_ID;
}

void mesh09_receipt(struct node *n, const struct node_id *author, const struct node_id *via, const struct pending_receipt *r)
{
	struct mesh09 *m = n->mesh09;
	struct peer *p = peer_now(n, author);
	const struct pin *pin = pins_get(n->p.pins, author);
	struct owed09 *o = NULL;

	if (r->silent)
		return;
	if (p && p->conn) {
		if (session_peer(p->conn->session)->confirms)
			conn_receipt(p->conn, r);
		return;
	}
	/* Old software has no use for them (wire 4.3); it names what its users write by a UUID, and we by 32 digits. */
	if (!m || !pin || (!mesh09_answers(pin) && !named_as_ours(r->id)))
		return;
	for (struct list *l = m->owing.next; l != &m->owing && !o; l = l->next)
		if (node_id_eq(&list_entry(l, struct owed09, link)->author, author))
			o = list_entry(l, struct owed09, link);
	if (!o && m->owing_n < MESH09_AUTHORS && (o = calloc(1, sizeof *o))) {
		o->author = *author;
		o->until_ms = env_now(n->env) + OWED_MS;
		list_add_tail(&m->owing, &o->link);
		m->owing_n++;
	}
	if (!o || o->n == MESH09_OWED)
		return; /* he sends it again, and is answered then */
	o->via = *via;
	o->r[o->n].kind = r->kind;
	o->r[o->n].reason = r->reason;
	memcpy(o->r[o->n].id, r->id, sizeof o->r[o->n].id);
	o->n++;
	m->owes = true;
	node_want_turn(n);
}

static void owed_free(struct mesh09 *m, struct owed09 *o)
{
	list_del(&o->link);
	m->owing_n--;
	free(o);
}

static bool any_but(void *ctx, const struct node_id *via)
{
	return !node_id_eq(ctx, via);
}

/* False: they wait for their way. */
static bool give(struct mesh09 *m, struct owed09 *o)
{
	struct node *n = m->node;
	struct node_id back;
	struct conn *c = routes09_next(m->table, &o->author, any_but, &o->via, env_now(n->env), &back) ?
				 mesh09_neighbour(n, &back) :
				 mesh09_next_hop(m, &o->author, NULL);
	struct receipt batch[MESH09_OWED];
	size_t done = 0;
	uint64_t wait;

	if (!c || !mesh09_pace(c, &wait))
		return false;
	for (size_t i = 0; i < o->n; i++)
		batch[i] = (struct receipt){ .kind = o->r[i].kind, .id = bytes_str(o->r[i].id), .reason = bytes_str(o->r[i].reason) };
	if (v09_receipts_through(c->session, &o->author, batch, o->n, &done) != ERR_OK)
		return false;
	n->n.receipts_sent += done;
	conn_pump_later(c);
	memmove(o->r, o->r + done, (o->n - done) * sizeof o->r[0]);
	o->n -= done;
	return !o->n;
}

void mesh09_receipts_run(struct mesh09 *m)
{
	struct list *l, *next;
	uint64_t now = env_now(m->node->env);

	m->owes = false;
	for (l = m->owing.next; l != &m->owing; l = next) {
		struct owed09 *o = list_entry(l, struct owed09, link);

		next = l->next;
		if (mesh09_has_session(m->node, &o->author) || now >= o->until_ms || give(m, o))
			owed_free(m, o);
		else
			mesh09_due_at(m, now + BUSY_MS);
	}
}

void mesh09_receipts_free(struct mesh09 *m)
{
	while (!list_empty(&m->owing))
		owed_free(m, list_entry(m->owing.next, struct owed09, link));
}
