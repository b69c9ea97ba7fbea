/* routes.c -- the table of routes on a node: what neighbours advertise, what they are told, what was measured. */
#include "daemon/routes.h"

#include <stdlib.h>

#include "daemon/mesh09.h"
#include "daemon/node_internal.h"
#include "daemon/records.h"
#include "daemon/route_table.h"
#include "protocol/im2/record.h"
#include "protocol/im2/schema.h"

#define DESTINATIONS 1024
#define PER_NEIGHBOUR 256
#define OWN_AGAIN_MS 60000        /* sent to everybody */
#define OWN_NEW_MS 120000         /* a new generation */
#define OWN_LIFE_S 300
#define SOON_MS 1000              /* a change is told within */
#define FLUSH_MAX 256             /* advertisements to one neighbour at once: within what it takes (18.3) */
#define FLAG_RELAYS 1
#define FLAG_STORES 2

struct routes {
	struct node *node;
	struct route_table *table;
	struct timer own, flush, sweep;
	uint64_t own_ms;           /* monotonic + 1: of the newest generation; 0 = none */
	struct buf record;         /* ours */
	size_t dirty;
	void (*reachable)(struct node *n, const struct node_id *to);
};

const char *routing_mode_word(enum routing_mode m)
{
	static const char *const words[] = { "off", "passive", "relay" };

	return words[m];
}

enum err routing_mode_parse(const char *word, enum routing_mode *out)
{
	for (int m = ROUTING_OFF; m <= ROUTING_RELAY; m++)
		if (strcmp(word, routing_mode_word(m)) == 0) {
			*out = (enum routing_mode)m;
			return ERR_OK;
		}
	return ERR_MALFORMED;
}

/* --- telling ------------------------------------------------------------------------------------------------ */
static bool takes_part(const struct conn *c)
{
	const struct pin *pin = c->online && c->im2 && !c->closing && c->peer ? pins_get(c->node->p.pins, &c->peer->id) :
										 NULL;

	return pin && pin->state == PIN_TRUSTED;
}

static void tell(struct conn *c, struct bytes record, unsigned hops)
{
	struct im2_fields f = { .schema = &im2_routeadv };
	struct buf b;

	buf_init(&b, ROUTE_RECORD_MAX + 64);
	im2_set_b(&f, IM2_ROUTEADV_RECORD, record);
	im2_set_u(&f, IM2_ROUTEADV_HOPS, hops);
	im2_write(&im2_routeadv, &f, &b);
	if (b.err == ERR_OK && im2_link_item(c->session, IM2_ITEM_ROUTEADV, buf_bytes(&b)) == ERR_OK)
		conn_pump_later(c);
	buf_fini(&b);
}

static bool make_own(struct routes *r)
{
	struct im2_fields f = { .schema = &im2_route };
	struct node *n = r->node;
	struct bytes prekey = records_get(n, keyring_ed(n->p.keyring), IM2_REC_PREKEY_T);
	uint8_t digest[16];
	struct buf body;
	bool good;

	buf_init(&body, 128);
	im2_set_u(&f, IM2_ROUTE_FLAGS, n->c.routing == ROUTING_RELAY ? FLAG_RELAYS | FLAG_STORES : 0);
	if (prekey.n) {
		im2_record_digest(prekey, digest);
		im2_set_b(&f, IM2_ROUTE_PREKEY, BYTES_ARR(digest));
	}
	im2_write(&im2_route, &f, &body);
	buf_reset(&r->record);
	good = body.err == ERR_OK &&
	       records_issue(n, IM2_REC_ROUTE_T, OWN_LIFE_S, buf_bytes(&body), &r->record) == ERR_OK;
	buf_fini(&body);
	if (good)
		r->own_ms = env_now(n->env) + 1;
	else
		log_warn("route-not-announced");
	return good;
}

static void own_due(void *ctx)
{
	struct routes *r = ctx;
	struct node *n = r->node;
	uint64_t now = env_now(n->env);
	bool any = false;

	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next)
		any |= takes_part(list_entry(l, struct conn, link));
	if (!any)
		return; /* the next session begins again */
	timer_in(n->env, &r->own, OWN_AGAIN_MS);
	if ((!r->own_ms || now + 1 >= r->own_ms + OWN_NEW_MS) && !make_own(r))
		return;
	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);

		if (takes_part(c))
			tell(c, buf_bytes(&r->record), 0);
	}
}

void routes_again(struct node *n)
{
	if (!n->routes)
		return;
	n->routes->own_ms = 0;
	timer_in(n->env, &n->routes->own, 0);
}

/* --- passing on --------------------------------------------------------------------------------------------- */
struct telling {
	struct routes *r;
	struct conn *only;         /* a new neighbour hears everything */
	unsigned left;
};

static void tell_of(struct conn *c, const struct route_dest *d)
{
	const struct route_way *w = d->best >= 0 ? &d->ways[d->best] : NULL;

	if (!takes_part(c) || node_id_eq(&c->peer->id, &d->id))
		return;
	/* Split horizon: who brought it knows. Others that used us hear that there is no way any more. */
	if (!w)
		tell(c, bytes_of(d->record, d->record_n), ROUTE_HOPS_GONE);
	else if (!node_id_eq(&w->via, &c->peer->id) && w->hops + 1 <= ROUTE_HOPS_MAX)
		tell(c, bytes_of(d->record, d->record_n), w->hops + 1u);
}

static bool tell_one(void *ctx, struct route_dest *d)
{
	struct telling *t = ctx;
	struct node *n = t->r->node;

	if (t->only) {
		if (d->best >= 0 && t->left) {
			t->left--;
			tell_of(t->only, d);
		}
		return true;
	}
	if (!d->dirty)
		return true;
	if (!t->left)
		return false;
	t->left--;
	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next)
		tell_of(list_entry(l, struct conn, link), d);
	route_table_advertised(d);
	return true;
}

static void flush_due(void *ctx)
{
	struct routes *r = ctx;
	struct telling t = { .r = r, .left = FLUSH_MAX };

	route_table_each(r->table, tell_one, &t);
	if (!t.left)
		timer_in(r->node->env, &r->flush, SOON_MS);
}

static void sweep_due(void *ctx)
{
	struct routes *r = ctx;
	uint64_t now = env_now(r->node->env), next = route_table_sweep(r->table, now);

	if (next != UINT64_MAX)
		timer_at(r->node->env, &r->sweep, next > now + SOON_MS ? next : now + SOON_MS);
}

static bool wanted(void *ctx, const struct node_id *id)
{
	const struct pin *pin = pins_get(((struct routes *)ctx)->node->p.pins, id);

	return pin && pin->state == PIN_TRUSTED;
}

static void changed(void *ctx, struct route_dest *d, bool other_way)
{
	struct routes *r = ctx;
	struct node *n = r->node;

	if (n->c.routing == ROUTING_RELAY) {
		if (!timer_armed(&r->flush))
			timer_in(n->env, &r->flush, env_uniform(n->env, SOON_MS / 2) + 1);
	} else {
		d->dirty = false;
	}
	if (!timer_armed(&r->sweep))
		timer_in(n->env, &r->sweep, SOON_MS);
	if (!other_way)
		return;
	n->n.routes_changed++;
	node_simple_event(n, "route.changed", &d->id, d->best >= 0 ? peer_name(n, &d->ways[d->best].via) : "unreachable");
	if (d->best >= 0 && r->reachable)
		r->reachable(n, &d->id);
}

/* --- what neighbours say ---------------------------------------------------------------------------------------- */
/* A destination that we care for has another prekey than we hold: the neighbour that is nearer is asked. */
static void want_prekey(struct conn *c, const struct im2_record *rec)
{
	struct node *n = c->node;
	struct bytes held = records_get(n, rec->author, IM2_REC_PREKEY_T);
	const struct pin *pin;
	struct im2_fields f;
	uint8_t digest[16];
	struct node_id id;

	node_id_of(rec->author, &id);
	pin = pins_get(n->p.pins, &id);
	if (!pin || pin->state != PIN_TRUSTED || im2_parse(&im2_route, rec->body, &f) != IM2_FINE || !im2_has(&f, IM2_ROUTE_PREKEY))
		return;
	if (held.n) {
		im2_record_digest(held, digest);
		if (memcmp(digest, f.v[IM2_ROUTE_PREKEY].b.p, sizeof digest) == 0)
			return;
	}
	records_want(c, &id, IM2_REC_PREKEY_T);
}

void routes_item(struct conn *c, const struct session_event *e)
{
	struct node *n = c->node;
	struct routes *r = n->routes;
	struct im2_record rec;
	struct im2_fields f;
	struct node_id id;
	enum im2_record_verdict v;
	struct route_said s;
	enum err err;

	if (!r || !takes_part(c) || im2_parse(&im2_routeadv, e->item, &f) != IM2_FINE) {
		n->n.routes_refused++;
		return;
	}
	v = records_take(c, f.v[IM2_ROUTEADV_RECORD].b, &rec);
	if ((v != IM2_REC_NEW && v != IM2_REC_REPEAT) || rec.type != IM2_REC_ROUTE_T) {
		n->n.routes_refused += v == IM2_REC_REFUSED || v == IM2_REC_EQUIVOCATION;
		return;
	}
	node_id_of(rec.author, &id);
	if (node_id_eq(&id, keyring_id(n->p.keyring)))
		return;
	s = (struct route_said){ .ed = rec.author, .gen = rec.gen, .record = rec.raw, .via = &c->peer->id,
				 .life_ms = (rec.life_s < 86400 ? rec.life_s : 86400) * 1000,
				 .hops = (uint8_t)f.v[IM2_ROUTEADV_HOPS].u,
				 .cost_ms = im2_has(&f, IM2_ROUTEADV_COST) && f.v[IM2_ROUTEADV_COST].u < UINT32_MAX ?
					    (uint32_t)f.v[IM2_ROUTEADV_COST].u : UINT32_MAX };
	/* Nobody is nearer to a destination than itself. */
	if ((s.hops == 0) != node_id_eq(&id, &c->peer->id) && s.hops != ROUTE_HOPS_GONE) {
		n->n.routes_refused++;
		log_debug("route-refused to=%s from=%s why=hops", id.hex, c->peer->id.hex);
		audit_note(n->p.audit, "ROUTE_LIE", bytes_str(c->peer->id.hex), "peer_id", c->peer->id.hex, "destination",
			   id.hex, NULL);
		return;
	}
	err = route_table_take(r->table, &s, env_now(n->env));
	if (err == ERR_OK) {
		n->n.routes_taken++;
		want_prekey(c, &rec);
	} else {
		n->n.routes_refused += err != ERR_EXPIRED;
	}
}

void routes_online(struct conn *c)
{
	struct routes *r = c->node->routes;
	struct telling t = { .r = r, .only = c, .left = FLUSH_MAX * 4 };

	if (!r || !takes_part(c))
		return;
	if (!r->own_ms && !make_own(r))
		return;
	tell(c, buf_bytes(&r->record), 0);
	if (!timer_armed(&r->own))
		timer_in(c->node->env, &r->own, OWN_AGAIN_MS);
	if (c->node->c.routing == ROUTING_RELAY)
		route_table_each(r->table, tell_one, &t);
}

void routes_offline(struct node *n, const struct node_id *id)
{
	if (n->routes && !n->stopping)
		route_table_neighbour_gone(n->routes->table, id, env_now(n->env));
}

void routes_forget(struct node *n, const uint8_t ed[static ED_BYTES])
{
	struct node_id id;

	if (!n->routes)
		return;
	node_id_of(ed, &id);
	route_table_drop(n->routes->table, &id);
	route_table_neighbour_gone(n->routes->table, &id, env_now(n->env));
}

/* --- for senders ------------------------------------------------------------------------------------------------- */
static struct conn *session_of(struct node *n, const struct node_id *id)
{
	struct peer *p = peer_find(n, id);
	struct conn *c = p ? p->conn : NULL;

	return c && c->online && c->im2 && !c->closing ? c : NULL;
}

struct conn *routes_next_other(struct node *n, const struct node_id *to, const struct node_id *except,
			       const struct node_id *not_this)
{
	struct conn *c = session_of(n, to);
	struct route_way *w;

	if (!n->routes)
		return NULL;
	if (c && !(except && node_id_eq(to, except)) && !(not_this && node_id_eq(to, not_this)))
		return c;
	w = route_table_way(n->routes->table, to, except, not_this, env_now(n->env));
	return w ? session_of(n, &w->via) : NULL;
}

struct conn *routes_next(struct node *n, const struct node_id *to, const struct node_id *except)
{
	return routes_next_other(n, to, except, NULL);
}

const uint8_t *routes_ed(struct node *n, const struct node_id *id)
{
	const struct route_dest *d = n->routes ? route_table_find(n->routes->table, id) : NULL;

	return d ? d->ed : NULL;
}

bool routes_has(struct node *n, const struct node_id *to)
{
	return n->routes && route_table_way(n->routes->table, to, NULL, NULL, env_now(n->env));
}

void routes_delivered(struct node *n, const struct node_id *to, const struct node_id *via, double rtt_ms)
{
	if (n->routes)
		route_table_delivered(n->routes->table, to, via, rtt_ms, env_now(n->env));
}

void routes_unanswered(struct node *n, const struct node_id *to, const struct node_id *via)
{
	if (!n->routes || !route_table_unanswered(n->routes->table, to, via, env_now(n->env)))
		return;
	n->n.routes_penalised++;
	log_warn("route-penalised to=%s via=%s why=\"three messages in a row got no receipt\"", to->hex, via->hex);
	audit_note(n->p.audit, "ROUTE_PENALISED", bytes_str(via->hex), "peer_id", via->hex, "destination", to->hex, NULL);
	node_simple_event(n, "route.penalised", via, to->hex);
}

void routes_watch(struct node *n, void (*reachable)(struct node *n, const struct node_id *to))
{
	if (n->routes)
		n->routes->reachable = reachable;
}

/* --- for people ---------------------------------------------------------------------------------------------------- */
struct viewing {
	struct node *n;
	struct route_view *out;
	size_t max, got;
	uint64_t now;
};

static bool view_one(void *ctx, struct route_dest *d)
{
	struct viewing *v = ctx;

	for (int i = 0; i < d->ways_n && v->got < v->max; i++) {
		const struct route_way *w = &d->ways[i];

		if (w->expires_ms <= v->now)
			continue;
		v->out[v->got++] = (struct route_view){
			.to = d->id, .via = w->via, .hops = w->hops + 1u, .gen = w->gen, .age_ms = v->now - w->heard_ms,
			.expires_in_ms = w->expires_ms - v->now,
			.penalty_ms = w->penalty_until_ms > v->now ? w->penalty_until_ms - v->now : 0,
			.best = i == d->best, .feasible = w->gen > d->adv_gen || (w->gen == d->adv_gen && w->hops < d->adv_hops),
			.delivered = w->delivered, .unanswered = w->unanswered, .rtt_ms = w->rtt_ms,
		};
	}
	return v->got < v->max;
}

size_t routes_views(struct node *n, struct route_view *out, size_t max)
{
	struct viewing v = { .n = n, .out = out, .max = max, .now = env_now(n->env) };

	if (n->routes)
		route_table_each(n->routes->table, view_one, &v);
	return v.got;
}

/* --- birth, end ------------------------------------------------------------------------------------------------------ */
enum err routes_new(struct node *n)
{
	struct route_table_config tc = { .destinations = DESTINATIONS, .per_neighbour = PER_NEIGHBOUR, .changed = changed,
					 .wanted = wanted };
	struct routes *r;

	if (!n->im2 || n->c.routing == ROUTING_OFF)
		return ERR_OK;
	r = calloc(1, sizeof *r);
	if (!r)
		return ERR_NOMEM;
	n->routes = r;
	r->node = n;
	timer_init(&r->own, own_due, r);
	timer_init(&r->flush, flush_due, r);
	timer_init(&r->sweep, sweep_due, r);
	buf_init(&r->record, IM2_RECORD_MAX);
	env_random(n->env, tc.hash_key, sizeof tc.hash_key);
	tc.ctx = r;
	r->table = route_table_new(&tc);
	return r->table ? ERR_OK : ERR_NOMEM;
}

void routes_free(struct node *n)
{
	struct routes *r = n->routes;

	if (!r)
		return;
	timer_stop(n->env, &r->own);
	timer_stop(n->env, &r->flush);
	timer_stop(n->env, &r->sweep);
	route_table_free(r->table);
	buf_fini(&r->record);
	free(r);
	n->routes = NULL;
}
