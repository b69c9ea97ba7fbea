/* mesh09.c -- neighbours of the old wire: who takes part, what they are told, what they say (wire 5.2, 5.3). */
#include "daemon/mesh09_internal.h"

#include <stdlib.h>

#include "base/text.h"

#define TALK_PER_S 0.5
#define TALK_BURST 10
#define VERSION_MIN VERSION_OF(0, 4)

bool mesh09_takes_part(const struct conn *c)
{
	const struct pin *pin;

	if (!c->online || c->im2 || c->closing || !c->peer || session_peer(c->session)->version < VERSION_MIN)
		return false;
	pin = pins_get(c->node->p.pins, &c->peer->id);
	return pin && pin->state == PIN_TRUSTED;
}

struct conn *mesh09_neighbour(struct node *n, const struct node_id *id)
{
	struct peer *p = peer_find(n, id);

	return p && p->conn && mesh09_takes_part(p->conn) ? p->conn : NULL;
}

bool mesh09_author_key(void *node, const struct node_id *id, uint8_t ed[static ED_BYTES])
{
	const struct pin *pin = pins_get(((struct node *)node)->p.pins, id);

	if (!pin)
		return false;
	memcpy(ed, pin->ed, ED_BYTES);
	return true;
}

void mesh09_due_at(struct mesh09 *m, uint64_t at_ms)
{
	if (at_ms != UINT64_MAX && (!timer_armed(&m->due) || m->due.at_ms > at_ms))
		timer_at(m->node->env, &m->due, at_ms);
}

void mesh09_tell_soon(struct mesh09 *m)
{
	uint64_t now = env_now(m->node->env), at = now + MESH09_SOON_MS;

	if (m->node->stopping || !routes09_untold(m->table) || timer_armed(&m->soon))
		return;
	if (m->told_ms && m->told_ms + MESH09_APART_MS > at)
		at = m->told_ms + MESH09_APART_MS;
	timer_at(m->node->env, &m->soon, at);
}

/* Our own software takes what the transport takes. */
bool mesh09_pace(struct conn *c, uint64_t *wait_ms)
{
	struct node *n = c->node;
	uint64_t now = env_now(n->env);

	if (tp_queued(c->tp, c->id) >= MESH09_LINK_QUEUE_MAX || !session_can_send(c->session)) {
		*wait_ms = 200;
		return false;
	}
	if (session_peer(c->session)->confirms || !c->peer->q || bucket_take(&c->peer->q->pace, 1, now))
		return true;
	*wait_ms = bucket_wait_ms(&c->peer->q->pace, 1, now) + 1;
	return false;
}

void mesh09_missed(struct mesh09 *m, const struct node_id *to, const struct node_id *via)
{
	struct node *n = m->node;
	bool neighbour;

	if (!routes09_unanswered(m->table, to, via, env_now(n->env), &neighbour))
		return;
	n->n.routes_penalised++;
	log_warn("route-penalised to=%s via=%s wire=0.9 all=%d", to->hex, via->hex, neighbour);
	audit_note(n->p.audit, "ROUTE_PENALISED", bytes_str(via->hex), "peer_id", via->hex, "destination",
		   neighbour ? "*" : to->hex, NULL);
	node_simple_event(n, "route.penalised", via, neighbour ? "*" : to->hex);
}

void mesh09_broken(struct mesh09 *m, const struct node_id *via)
{
	struct node *n = m->node;

	if (!routes09_broken(m->table, via, env_now(n->env)))
		return;
	log_warn("circuit-breaker-open via=%s", via->hex);
	audit_note(n->p.audit, "CIRCUIT_BREAKER_TRIPPED", bytes_str(via->hex), "peer_id", via->hex, NULL);
}

/* --- what they are told ----------------------------------------------------------------------------------------- */
struct telling {
	struct mesh09 *m;
	struct conn *c;
	size_t n;
	struct route09_entry e[ROUTE09_WRITE_MAX];
};

/* Several frames say what one cannot: receivers take entry by entry. */
static void tell_flush(struct telling *t)
{
	struct node *n = t->m->node;
	struct buf payload;

	buf_init(&payload, 65536);
	route_announce_write(&payload, keyring_id(n->p.keyring), t->e, t->n, ++t->m->sequence);
	if (payload.err == ERR_OK && v09_control(t->c->session, "ROUTE_ANNOUNCE", &t->c->peer->id, buf_bytes(&payload)) != ERR_OK)
		mesh09_broken(t->m, &t->c->peer->id);
	buf_fini(&payload);
	t->n = 0;
}

static void tell_entry(void *ctx, const struct route09_entry *e)
{
	struct telling *t = ctx;

	if (t->n == ROUTE09_WRITE_MAX)
		tell_flush(t);
	t->e[t->n++] = *e;
}

/* Who does not relay names itself alone, so that nobody sends it what it would drop (wire 5.2). */
static void tell(struct mesh09 *m, struct conn *c, struct telling *t, bool changes)
{
	struct node *n = m->node;

	t->m = m;
	t->c = c;
	t->n = 0;
	if (n->c.routing == ROUTING_RELAY)
		routes09_tell(m->table, &c->peer->id, changes, tell_entry, t, env_now(n->env));
	if (t->n || !changes)
		tell_flush(t);
	conn_pump_later(c);
}

static void tell_all(struct mesh09 *m, bool changes)
{
	struct node *n = m->node;
	struct telling *t = malloc(sizeof *t);
	struct list *l, *next;

	for (l = n->conns_list.next; t && l != &n->conns_list; l = next) {
		struct conn *c = list_entry(l, struct conn, link);

		next = l->next;
		if (mesh09_takes_part(c))
			tell(m, c, t, changes);
	}
	free(t);
	routes09_told(m->table);
}

static void joins(struct mesh09 *m, struct conn *c)
{
	struct telling *t;

	if (routes09_up(m->table, &c->peer->id, env_now(m->node->env)) != ERR_OK)
		return;
	t = malloc(sizeof *t);
	if (t)
		tell(m, c, t, false);
	free(t);
	if (!timer_armed(&m->sweep))
		timer_in(m->node->env, &m->sweep, MESH09_SWEEP_MS);
	mesh09_tell_soon(m);
}

static void announce_due(void *ctx)
{
	struct mesh09 *m = ctx;

	tell_all(m, false);
	timer_in(m->node->env, &m->announce, MESH09_ANNOUNCE_MS);
}

static void soon_due(void *ctx)
{
	struct mesh09 *m = ctx;

	if (!routes09_untold(m->table))
		return;
	m->told_ms = env_now(m->node->env);
	tell_all(m, true);
}

static void sweep_due(void *ctx)
{
	struct mesh09 *m = ctx;

	if (routes09_sweep(m->table, env_now(m->node->env)))
		timer_in(m->node->env, &m->sweep, MESH09_SWEEP_MS);
	mesh09_tell_soon(m);
}

/* --- what they say ---------------------------------------------------------------------------------------------- */
struct hearing {
	struct mesh09 *m;
	struct conn *c;
	unsigned lies, full, taken;
};

static bool hear(void *ctx, const struct route09_entry *e)
{
	struct hearing *h = ctx;
	struct node *n = h->m->node;
	const struct pin *pin = pins_get(n->p.pins, &e->to);

	if (node_id_eq(&e->to, keyring_id(n->p.keyring)))
		return true;
	if (pin && (pin->state == PIN_BLOCKED || pin->state == PIN_REVOKED))
		return true;
	switch (routes09_hear(h->m->table, &h->c->peer->id, &e->to, e->cost, env_now(n->env))) {
	case ERR_OK:
		h->taken++;
		break;
	case ERR_DENIED:
		h->lies++;
		break;
	default:
		h->full++;
		break;
	}
	return true;
}

static void on_announce(struct mesh09 *m, struct conn *c, struct bytes payload)
{
	struct node *n = m->node;
	struct hearing h = { .m = m, .c = c };
	bool created;
	void *v;

	if (map_put(m->talk, bytes_of(c->peer->id.hex, NODE_ID_LEN), 0, &v, &created) != ERR_OK)
		return;
	if (created)
		bucket_init(v, TALK_PER_S, TALK_BURST, env_now(n->env));
	if (!bucket_take(v, 1, env_now(n->env))) {
		n->n.routes_refused++;
		return;
	}
	if (route_announce_read(payload, hear, &h) != ERR_OK)
		n->n.routes_refused++;
	n->n.routes_taken += h.taken;
	n->n.routes_refused += h.lies + h.full;
	if (h.lies)
		audit_note(n->p.audit, "ROUTE_LIE", bytes_str(c->peer->id.hex), "peer_id", c->peer->id.hex, "reason",
			   "distance 0 from others", NULL);
	if (h.full) {
		log_warn("route-share-full peer=%s refused=%u", c->peer->id.hex, h.full);
		audit_note(n->p.audit, "ROUTE_SHARE_FULL", bytes_str(c->peer->id.hex), "peer_id", c->peer->id.hex, NULL);
	}
	mesh09_tell_soon(m);
}

static void on_unreachable(struct mesh09 *m, struct conn *c, struct bytes payload)
{
	struct node *n = m->node;
	struct route_unreachable u;

	if (route_unreachable_read(payload, &u) != ERR_OK) {
		n->n.routes_refused++;
		return;
	}
	n->n.old_unreachable++;
	log_info("unreachable to=%s via=%s msg=%s", u.to.hex, c->peer->id.hex, u.id);
	/* It has no way: that is as if it had withdrawn the one that it told of. */
	(void)!routes09_hear(m->table, &c->peer->id, &u.to, ROUTE09_INFINITY, env_now(n->env));
	mesh09_tell_soon(m);
	mesh09_send_unreachable(m, &c->peer->id, &u.to, u.id);
	mesh09_passed_unreachable(m, c, &u.to, u.id);
}

void mesh09_control(struct conn *c, const struct session_event *e)
{
	struct mesh09 *m = c->node->mesh09;

	if (!m || !mesh09_takes_part(c))
		return;
	if (strcmp(e->word, "ROUTE_ANNOUNCE") == 0)
		on_announce(m, c, e->item);
	else
		on_unreachable(m, c, e->item);
}

/* --- who comes and goes ------------------------------------------------------------------------------------------ */
void mesh09_online(struct conn *c)
{
	struct mesh09 *m = c->node->mesh09;

	if (!m || !c->peer)
		return;
	mesh09_send_direct(m, &c->peer->id);
	if (mesh09_takes_part(c))
		joins(m, c);
}

void mesh09_offline(struct node *n, const struct node_id *id)
{
	struct mesh09 *m = n->mesh09;

	if (!m || n->stopping)
		return;
	routes09_down(m->table, id, env_now(n->env));
	mesh09_relay_gone(m, id);
	mesh09_send_gone(m, id);
	mesh09_tell_soon(m);
}

void mesh09_trust(struct node *n, const struct node_id *id)
{
	struct mesh09 *m = n->mesh09;
	struct conn *c = m ? mesh09_neighbour(n, id) : NULL;

	if (!m)
		return;
	if (c) {
		joins(m, c);
		return;
	}
	routes09_forget(m->table, id, env_now(n->env));
	mesh09_relay_gone(m, id);
	mesh09_send_gone(m, id);
	mesh09_tell_soon(m);
}

/* --- the turn, and time ------------------------------------------------------------------------------------------- */
static void due(void *ctx)
{
	struct mesh09 *m = ctx;

	mesh09_due_at(m, mesh09_relay_due(m));
	mesh09_due_at(m, mesh09_send_due(m));
}

void mesh09_run(struct node *n)
{
	if (n->mesh09)
		mesh09_send_run(n->mesh09);
}

static void changed(void *ctx, const struct node_id *to)
{
	struct mesh09 *m = ctx;

	m->node->n.routes_changed++;
	mesh09_wake(m->node, to);
}

/* --- for people --------------------------------------------------------------------------------------------------- */
struct viewing {
	struct route_view *out;
	size_t max, n;
};

static bool view_one(void *ctx, const struct routes09_view *v)
{
	struct viewing *x = ctx;

	if (x->n == x->max)
		return false;
	x->out[x->n++] = (struct route_view){
		.to = v->to, .via = v->via, .hops = v->cost, .age_ms = v->age_ms, .expires_in_ms = v->expires_in_ms,
		.penalty_ms = v->penalty_ms, .best = v->used, .feasible = v->usable, .old_wire = true,
		.delivered = v->delivered, .unanswered = v->unanswered, .rtt_ms = -1,
	};
	return x->n < x->max;
}

size_t mesh09_views(struct node *n, struct route_view *out, size_t max)
{
	struct viewing x = { .out = out, .max = max };

	if (n->mesh09 && max)
		routes09_each(n->mesh09->table, view_one, &x, env_now(n->env));
	return x.n;
}

/* --- birth, end ----------------------------------------------------------------------------------------------------- */
enum err mesh09_new(struct node *n)
{
	struct map_opts mo = { .capacity = n->c.limits.sessions, .policy = MAP_EVICT_LRU, .value_size = sizeof(struct bucket) };
	struct routes09_config tc = { .changed = changed };
	struct mesh09 *m;

	if (n->c.routing == ROUTING_OFF || n->c.policy->im2 == IM2_REQUIRE)
		return ERR_OK;
	m = calloc(1, sizeof *m);
	if (!m)
		return ERR_NOMEM;
	n->mesh09 = m;
	m->node = n;
	timer_init(&m->announce, announce_due, m);
	timer_init(&m->soon, soon_due, m);
	timer_init(&m->sweep, sweep_due, m);
	timer_init(&m->due, due, m);
	list_init(&m->waiting);
	list_init(&m->outs_all);
	list_init(&m->outs_active);
	list_init(&m->owing);
	env_random(n->env, mo.hash_key, sizeof mo.hash_key);
	memcpy(tc.hash_key, mo.hash_key, sizeof tc.hash_key);
	tc.ctx = m;
	m->table = routes09_new(&tc);
	m->talk = map_new(&mo);
	mo.capacity = MESH09_SEEN_AUTHORS * MESH09_SEEN_IDS;
	mo.per_source = MESH09_SEEN_IDS;
	mo.value_size = sizeof(uint64_t);
	m->seen = map_new(&mo);
	mo.capacity = MESH09_PASSED;
	mo.per_source = MESH09_PASSED / 4;
	mo.value_size = sizeof(struct passed09);
	m->passed = map_new(&mo);
	mo.capacity = MESH09_DESTINATIONS;
	mo.per_source = 0;
	mo.policy = MAP_REFUSE;
	mo.value_size = sizeof(void *);
	m->outs = map_new(&mo);
	if (!m->table || !m->talk || !m->seen || !m->passed || !m->outs)
		return ERR_NOMEM;
	timer_in(n->env, &m->announce, MESH09_ANNOUNCE_MS);
	return ERR_OK;
}

void mesh09_free(struct node *n)
{
	struct mesh09 *m = n->mesh09;

	if (!m)
		return;
	mesh09_relay_free(m);
	mesh09_send_free(m);
	mesh09_receipts_free(m);
	timer_stop(n->env, &m->announce);
	timer_stop(n->env, &m->soon);
	timer_stop(n->env, &m->sweep);
	timer_stop(n->env, &m->due);
	routes09_free(m->table);
	map_free(m->talk);
	map_free(m->seen);
	map_free(m->passed);
	map_free(m->outs);
	free(m);
	n->mesh09 = NULL;
}
