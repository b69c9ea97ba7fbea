/* routes_tell.c -- our own record, again and again, and what we pass on of others (im2.md 11.5, 13.3). */
#include "daemon/records.h"
#include "daemon/routes_internal.h"
#include "protocol/im2/record.h"
#include "protocol/im2/schema.h"

#define OWN_AGAIN_MS 60000        /* sent to everybody */
#define OWN_NEW_MS 120000         /* a new generation */
#define OWN_APART_MS 5000         /* of new generations that others ask for */
#define ASK_APART_MS 5000         /* for one of the same destination */
#define OWN_LIFE_S 300
#define SHOWN_MS 3000             /* to people, once it has settled */
#define FLUSH_MAX 180             /* advertisements to one neighbour in a second: within what it takes (18.3) */
#define GREETING_MAX 800          /* at the begin of a session */
#define FLAG_RELAYS 1
#define FLAG_STORES 2

/* --- telling ------------------------------------------------------------------------------------------------ */
static void tell(struct conn *c, struct bytes record, unsigned hops, uint32_t cost_ms)
{
	struct im2_fields f = { .schema = &im2_routeadv };
	struct buf b;

	buf_init(&b, ROUTE_RECORD_MAX + 64);
	im2_set_b(&f, IM2_ROUTEADV_RECORD, record);
	im2_set_u(&f, IM2_ROUTEADV_HOPS, hops);
	if (cost_ms != ROUTE_COST_NONE)
		im2_set_u(&f, IM2_ROUTEADV_COST, cost_ms);
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

void routes_own_due(void *ctx)
{
	struct routes *r = ctx;
	struct node *n = r->node;
	uint64_t now = env_now(n->env);
	bool any = false;

	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next)
		any |= routes_takes_part(list_entry(l, struct conn, link));
	if (!any)
		return; /* the next session begins again */
	timer_in(n->env, &r->own, OWN_AGAIN_MS);
	if ((!r->own_ms || now + 1 >= r->own_ms + OWN_NEW_MS) && !make_own(r))
		return;
	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);

		if (routes_takes_part(c))
			tell(c, buf_bytes(&r->record), 0, ROUTE_COST_NONE);
	}
}

void routes_own_in(struct routes *r, uint64_t ms)
{
	uint64_t at = env_now(r->node->env) + ms;

	if (!timer_armed(&r->own) || r->own.at_ms > at)
		timer_at(r->node->env, &r->own, at);
}

void routes_again(struct node *n)
{
	if (!n->routes)
		return;
	n->routes->own_ms = 0;
	routes_own_in(n->routes, 0);
}

/* A neighbour went: whoever reached us through it can use another way only with a newer generation. */
void routes_own_anew(struct routes *r)
{
	uint64_t now = env_now(r->node->env), next = r->own_ms + OWN_APART_MS;

	if (!r->own_ms)
		return; /* it is due anyway */
	r->own_ms = 0;
	routes_own_in(r, next > now + ROUTES_SOON_MS ? next - now : ROUTES_SOON_MS);
}

/* --- passing on --------------------------------------------------------------------------------------------- */
struct telling {
	struct routes *r;
	struct conn *only;         /* a new neighbour hears everything */
	uint64_t now;
	unsigned left;
	bool more;
};

static uint32_t cost_of(struct node *n, const struct route_way *w)
{
	const struct peer *p = peer_find(n, &w->via);
	double rtt = p && p->rtt_ms > 0 ? p->rtt_ms : 0;

	if (w->cost_ms == ROUTE_COST_NONE || rtt >= 60000 || w->cost_ms > ROUTE_COST_NONE - 60000)
		return ROUTE_COST_NONE;
	return w->cost_ms + (uint32_t)rtt;
}

static void tell_of(struct conn *c, const struct route_dest *d, uint64_t now)
{
	const struct route_way *w = d->best >= 0 ? &d->ways[d->best] : NULL;
	uint8_t hops;

	/* Split horizon: who brought it knows. */
	if (!routes_takes_part(c) || node_id_eq(&c->peer->id, &d->id) || (w && node_id_eq(&w->via, &c->peer->id)) ||
	    !route_table_advert(d, now, &hops))
		return;
	tell(c, bytes_of(d->record, d->record_n), hops, w ? cost_of(c->node, w) : ROUTE_COST_NONE);
}

static bool tell_one(void *ctx, struct route_dest *d)
{
	struct telling *t = ctx;
	struct node *n = t->r->node;

	if (t->only) {
		if (d->best < 0)
			return true;
		if (!t->left) {
			d->dirty = t->more = true; /* with the next flush */
			return true;
		}
		t->left--;
		tell_of(t->only, d, t->now);
		route_table_told(d, t->now);
		return true;
	}
	if (!d->dirty)
		return true;
	if (!t->left) {
		t->more = true;
		return false;
	}
	t->left--;
	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next)
		tell_of(list_entry(l, struct conn, link), d, t->now);
	route_table_advertised(d, t->now);
	return true;
}

void routes_flush_due(void *ctx)
{
	struct routes *r = ctx;
	struct telling t = { .r = r, .left = FLUSH_MAX, .now = env_now(r->node->env) };

	route_table_each(r->table, tell_one, &t);
	if (t.more)
		timer_in(r->node->env, &r->flush, ROUTES_SOON_MS);
}

void routes_greet(struct routes *r, struct conn *c)
{
	struct node *n = r->node;
	struct telling t = { .r = r, .only = c, .left = GREETING_MAX, .now = env_now(n->env) };

	/* Not here: a new generation may need a commit. */
	if (r->own_ms && t.now + 1 < r->own_ms + OWN_NEW_MS)
		tell(c, buf_bytes(&r->record), 0, ROUTE_COST_NONE);
	else
		routes_own_in(r, 0);
	routes_own_in(r, OWN_AGAIN_MS);
	if (n->c.routing != ROUTING_RELAY)
		return;
	route_table_each(r->table, tell_one, &t);
	if (t.more && !timer_armed(&r->flush))
		timer_in(n->env, &r->flush, ROUTES_SOON_MS);
}

/* Everybody who is left is no nearer than we said we were: only a newer generation tells a detour from a loop. Who is asked
 * asks on, up to the destination. */
static void ask(struct routes *r, struct route_dest *d, struct conn *c)
{
	uint64_t now = env_now(r->node->env);

	if (!c || (d->asked_ms && now + 1 < d->asked_ms + ASK_APART_MS))
		return;
	if (records_want(c, &d->id, IM2_REC_ROUTE_T))
		d->asked_ms = now + 1;
}

static void ask_barred(struct routes *r, struct route_dest *d)
{
	const struct route_way *w = d->best < 0 ? route_table_barred(d, env_now(r->node->env)) : NULL;

	if (w)
		ask(r, d, routes_session_of(r->node, &w->via));
}

void routes_asked(struct conn *c, const struct node_id *to, uint64_t have)
{
	struct routes *r = c->node->routes;
	uint64_t now = env_now(c->node->env);
	struct route_dest *d;
	struct im2_record own;

	if (!r || !routes_takes_part(c))
		return;
	if (node_id_eq(to, keyring_id(c->node->p.keyring))) {
		if (r->record.n && im2_record_parse(buf_bytes(&r->record), &own) == IM2_FINE && own.gen <= have)
			routes_own_anew(r);
		else if (r->record.n)
			tell(c, buf_bytes(&r->record), 0, ROUTE_COST_NONE);
		return;
	}
	d = c->node->c.routing == ROUTING_RELAY ? route_table_find(r->table, to) : NULL;
	if (!d || d->best < 0)
		return;
	if (d->ways[d->best].gen > have) {
		tell_of(c, d, now);
		route_table_told(d, now);
	} else if (!node_id_eq(&d->ways[d->best].via, &c->peer->id)) {
		ask(r, d, routes_session_of(r->node, &d->ways[d->best].via));
	}
}

static bool show_one(void *ctx, struct route_dest *d)
{
	struct routes *r = ctx;
	struct node *n = r->node;
	struct node_id via = { .hex = "" };

	if (!d->moved)
		return true;
	d->moved = false;
	if (d->best >= 0)
		via = d->ways[d->best].via;
	ask_barred(r, d);
	if (strcmp(via.hex, d->shown.hex) == 0)
		return true;
	d->shown = via;
	n->n.routes_changed++;
	node_simple_event(n, "route.changed", &d->id, via.hex[0] ? peer_name(n, &via) : "unreachable");
	return true;
}

/* A new generation comes by the quickest way first, and by the shortest soon after: people see where it settles. */
void routes_show_due(void *ctx)
{
	struct routes *r = ctx;

	route_table_each(r->table, show_one, r);
}

void routes_changed(void *ctx, struct route_dest *d, bool other_way)
{
	struct routes *r = ctx;
	struct node *n = r->node;

	if (n->c.routing != ROUTING_RELAY)
		d->dirty = false; /* what others reach is told by relays */
	else if (!timer_armed(&r->flush))
		timer_in(n->env, &r->flush, env_uniform(n->env, ROUTES_SOON_MS / 2) + 1);
	if (!timer_armed(&r->sweep))
		timer_in(n->env, &r->sweep, ROUTES_SOON_MS);
	if (!other_way)
		return;
	d->moved = true;
	ask_barred(r, d);
	if (!timer_armed(&r->show))
		timer_in(n->env, &r->show, SHOWN_MS);
	if (d->best >= 0 && r->reachable)
		r->reachable(n, &d->id);
}
