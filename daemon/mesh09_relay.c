/* mesh09_relay.c -- frames of others, from one neighbour of the old wire to the next (wire 5.5, 5.6). */
#include "daemon/mesh09_internal.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/text.h"

static void hash_of(const struct node_id *a, struct bytes b, struct bytes c, uint8_t out[static 16])
{
	/* Ids have one length, and what is of any length comes last. */
	struct bytes parts[] = { bytes_of(a->hex, NODE_ID_LEN), b, c };
	uint8_t whole[HASH_BYTES];

	sha256_n(parts, 3, whole);
	memcpy(out, whole, 16);
}

static struct bytes id_bytes(const struct node_id *id)
{
	return bytes_of(id->hex, NODE_ID_LEN);
}

static void dropped(struct conn *c, const struct v09_transit *t, const char *audit, const char *why)
{
	struct node *n = c->node;

	n->n.old_dropped++;
	log_debug("transit-dropped from=%s source=%s to=%s why=%s", c->peer->id.hex, t->source.hex, t->destination.hex, why);
	if (audit)
		audit_note(n->p.audit, audit, bytes_str(c->peer->id.hex), "peer_id", c->peer->id.hex, "source", t->source.hex,
			   "destination", t->destination.hex, NULL);
}

/* --- what has passed ------------------------------------------------------------------------------------------- */
/* By the neighbour that brought it: nobody suppresses what another brings by guessing its id (wire 12, weakness 26). */
static bool seen_before(struct mesh09 *m, const struct node_id *from, const struct v09_transit *t)
{
	uint64_t now = env_now(m->node->env), source;
	uint8_t key[16], author[16];
	bool created;
	void *v;

	hash_of(from, id_bytes(&t->source), t->id, key);
	hash_of(from, id_bytes(&t->source), (struct bytes){ 0 }, author);
	memcpy(&source, author, sizeof source);
	if (map_put(m->seen, BYTES_ARR(key), source, &v, &created) != ERR_OK)
		return true;
	if (!created && now - *(uint64_t *)v < MESH09_SEEN_MS)
		return true;
	*(uint64_t *)v = now;
	return false;
}

static void has_passed(struct mesh09 *m, const struct waits09 *w)
{
	uint8_t key[16];
	uint64_t source;
	bool created;
	void *v;

	hash_of(&w->next, id_bytes(&w->to), bytes_str(w->id), key);
	memcpy(&source, w->from.hex, sizeof source);
	if (map_put(m->passed, BYTES_ARR(key), source, &v, &created) == ERR_OK)
		*(struct passed09 *)v = (struct passed09){ w->from, w->source };
}

/* --- no way ------------------------------------------------------------------------------------------------------- */
/* Back the way that it came: old receivers keep it to themselves, ours pass it on. */
void mesh09_unreachable(struct mesh09 *m, const struct node_id *from, const struct node_id *source, const struct node_id *to,
			struct bytes id)
{
	struct node *n = m->node;
	struct conn *c = mesh09_neighbour(n, source);
	uint64_t wait;
	struct buf b;

	if (!c)
		c = mesh09_neighbour(n, from);
	if (!c || !mesh09_pace(c, &wait))
		return;
	buf_init(&b, 4096);
	route_unreachable_write(&b, to, id);
	if (b.err == ERR_OK && v09_control(c->session, "ROUTE_UNREACHABLE", source, buf_bytes(&b)) == ERR_OK)
		n->n.old_unreachable_sent++;
	buf_fini(&b);
	conn_pump_later(c);
}

void mesh09_passed_unreachable(struct mesh09 *m, struct conn *c, const struct node_id *to, const char *id)
{
	struct passed09 p;
	uint8_t key[16];
	void *v;

	hash_of(&c->peer->id, id_bytes(to), bytes_str(id), key);
	v = map_peek(m->passed, BYTES_ARR(key));
	if (!v)
		return;
	p = *(struct passed09 *)v;
	map_del(m->passed, BYTES_ARR(key));
	mesh09_unreachable(m, &p.from, &p.source, to, bytes_str(id));
}

/* --- the next hop ------------------------------------------------------------------------------------------------- */
struct not_these {
	struct node *n;
	const struct v09_transit *t;
	const struct node_id *from;
};

static bool skip(void *ctx, const struct node_id *via)
{
	const struct not_these *x = ctx;

	return node_id_eq(via, x->from) || node_id_eq(via, &x->t->source) || v09_transit_passed(x->t, via) ||
	       !mesh09_neighbour(x->n, via);
}

static bool next_hop(struct mesh09 *m, struct conn *from, const struct v09_transit *t, struct node_id *out)
{
	struct not_these x = { m->node, t, &from->peer->id };

	if (!skip(&x, &t->destination)) {
		*out = t->destination;
		return true;
	}
	return routes09_next(m->table, &t->destination, skip, &x, env_now(m->node->env), out);
}

/* --- sending, and waiting for it -------------------------------------------------------------------------------- */
static void waits_free(struct mesh09 *m, struct waits09 *w)
{
	if (!list_empty(&w->link)) {
		m->waiting_n--;
		m->waiting_bytes -= w->f.body.n;
	}
	list_del(&w->link);
	v09_forward_free(&w->f);
	free(w);
}

/* True: it is settled, one way or the other. */
static bool pass_on(struct mesh09 *m, struct waits09 *w, uint64_t *wait_ms)
{
	struct node *n = m->node;
	struct conn *c = mesh09_neighbour(n, &w->next);
	enum err e;

	if (!c || env_now(n->env) >= w->until_ms) {
		n->n.old_dropped++;
		mesh09_unreachable(m, &w->from, &w->source, &w->to, bytes_str(w->id));
		return true;
	}
	if (!mesh09_pace(c, wait_ms))
		return false;
	e = v09_forward_send(c->session, &w->f);
	if (e == ERR_AGAIN || e == ERR_FULL) {
		*wait_ms = 200;
		return false;
	}
	if (e != ERR_OK) {
		n->n.old_dropped++;
		if (e != ERR_LIMIT)
			mesh09_broken(m, &w->next);
		return true;
	}
	n->n.old_relayed++;
	has_passed(m, w);
	log_debug("message-relayed msg=%s source=%s to=%s via=%s", w->id, w->source.hex, w->to.hex, w->next.hex);
	audit_note(n->p.audit, "MESSAGE_RELAYED", bytes_str(w->from.hex), "source", w->source.hex, "destination", w->to.hex,
		   "via", w->next.hex, NULL);
	conn_pump_later(c);
	return true;
}

static bool waits_for(const struct mesh09 *m, const struct node_id *next)
{
	for (const struct list *l = m->waiting.next; l != &m->waiting; l = l->next)
		if (node_id_eq(&list_entry(l, struct waits09, link)->next, next))
			return true;
	return false;
}

static bool room(const struct mesh09 *m, const struct waits09 *w)
{
	unsigned of_it = 0;

	if (m->waiting_n >= MESH09_QUEUE || m->waiting_bytes + w->f.body.n > MESH09_QUEUE_BYTES)
		return false;
	for (const struct list *l = m->waiting.next; l != &m->waiting; l = l->next)
		of_it += node_id_eq(&list_entry(l, struct waits09, link)->from, &w->from);
	return of_it < MESH09_QUEUE_SHARE;
}

uint64_t mesh09_relay_due(struct mesh09 *m)
{
	struct node_id busy[8]; /* what waits for these keeps its order */
	size_t busy_n = 0;
	uint64_t first = UINT64_MAX, now = env_now(m->node->env), wait;
	struct list *l, *after;

	for (l = m->waiting.next; l != &m->waiting; l = after) {
		struct waits09 *w = list_entry(l, struct waits09, link);
		bool stuck = false;

		after = l->next;
		for (size_t i = 0; i < busy_n && !stuck; i++)
			stuck = node_id_eq(&busy[i], &w->next);
		if (stuck && now < w->until_ms)
			continue;
		if (pass_on(m, w, &wait)) {
			waits_free(m, w);
			continue;
		}
		first = now + wait < first ? now + wait : first;
		if (busy_n < sizeof busy / sizeof busy[0])
			busy[busy_n++] = w->next;
	}
	return first;
}

/* What cannot go on now is said to be unreachable when its time is up; a next hop that comes back takes it. */
void mesh09_relay_gone(struct mesh09 *m, const struct node_id *next)
{
	struct list *l, *after;

	for (l = m->waiting.next; l != &m->waiting; l = after) {
		struct waits09 *w = list_entry(l, struct waits09, link);

		after = l->next;
		if (!node_id_eq(&w->next, next))
			continue;
		m->node->n.old_dropped++;
		mesh09_unreachable(m, &w->from, &w->source, &w->to, bytes_str(w->id));
		waits_free(m, w);
	}
}

void mesh09_relay_free(struct mesh09 *m)
{
	while (!list_empty(&m->waiting))
		waits_free(m, list_entry(m->waiting.next, struct waits09, link));
}

/* --- the procedure of 5.5 --------------------------------------------------------------------------------------- */
static bool barred(struct node *n, const struct node_id *id)
{
	const struct pin *pin = pins_get(n->p.pins, id);

	return pin && (pin->state == PIN_BLOCKED || pin->state == PIN_REVOKED);
}

static void go_on(struct mesh09 *m, struct conn *c, const struct v09_transit *t, const struct node_id *next)
{
	struct node *n = m->node;
	struct waits09 *w = calloc(1, sizeof *w);
	uint64_t wait = 0;

	if (!w)
		return;
	list_init(&w->link);
	w->next = *next;
	w->from = c->peer->id;
	w->source = t->source;
	w->to = t->destination;
	w->until_ms = env_now(n->env) + MESH09_QUEUE_MS;
	snprintf(w->id, sizeof w->id, "%.*s", (int)t->id.n, t->id.p);
	if (v09_forward_make(t, keyring_id(n->p.keyring), &w->f) != ERR_OK) {
		dropped(c, t, NULL, "does not fit any more");
		free(w);
		return;
	}
	if (!waits_for(m, next) && pass_on(m, w, &wait)) {
		waits_free(m, w);
		return;
	}
	if (!room(m, w)) {
		dropped(c, t, NULL, "the next hop takes no more now");
		mesh09_unreachable(m, &w->from, &w->source, &w->to, t->id);
		waits_free(m, w);
		return;
	}
	list_add_tail(&m->waiting, &w->link);
	m->waiting_n++;
	m->waiting_bytes += w->f.body.n;
	mesh09_due_at(m, env_now(n->env) + (wait ? wait : 200));
}

void mesh09_transit(struct conn *c, const struct session_event *e)
{
	struct node *n = c->node;
	struct mesh09 *m = n->mesh09;
	const struct v09_transit *t = e->transit;
	uint64_t wall = env_wall(n->env);
	struct node_id next;
	char id[MSG_ID_MAX + 1];

	if (!c->peer)
		return;
	if (n->c.routing != ROUTING_RELAY && !t->returned) {
		n->n.messages_not_for_us++;
		log_debug("not-for-us source=%s to=%s peer=%s", t->source.hex, t->destination.hex, c->peer->id.hex);
		return;
	}
	if (!m || !mesh09_takes_part(c) || barred(n, &t->source) || barred(n, &t->destination)) {
		dropped(c, t, NULL, "not trusted");
		return;
	}
	if (t->returned) {
		/* They have no other way than back to us. */
		snprintf(id, sizeof id, "%.*s", (int)t->id.n, t->id.p);
		mesh09_send_unreachable(m, &c->peer->id, &t->destination, id);
		return;
	}
	if (wall > t->created_ms + MESH09_AGE_MAX_MS)
		dropped(c, t, NULL, "too old");
	else if (seen_before(m, &c->peer->id, t))
		dropped(c, t, "DUPLICATE_DROPPED", "duplicate");
	else if (!t->ttl)
		dropped(c, t, "TTL_EXPIRED", "ttl");
	else if (v09_transit_passed(t, keyring_id(n->p.keyring)))
		dropped(c, t, "ROUTE_LOOP", "loop");
	else if (!next_hop(m, c, t, &next)) {
		dropped(c, t, "NO_ROUTE", "no route");
		mesh09_unreachable(m, &c->peer->id, &t->source, &t->destination, t->id);
	} else
		go_on(m, c, t, &next);
}
