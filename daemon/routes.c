/* routes.c -- the table of routes on a node: what neighbours advertise, whom to hand to, what was measured (im2.md 11.5). */
#include "daemon/routes.h"

#include <stdlib.h>

#include "daemon/records.h"
#include "daemon/routes_internal.h"
#include "protocol/im2/record.h"
#include "protocol/im2/schema.h"

#define DESTINATIONS 1024
#define PER_NEIGHBOUR 256
#define LIFE_MAX_S 86400
#define PROBE_MS 60000
#define PROBES_MAX 16             /* in one round */

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

struct conn *routes_session_of(struct node *n, const struct node_id *id)
{
	struct peer *p = peer_find(n, id);
	struct conn *c = p ? p->conn : NULL;

	return c && c->online && c->im2 && !c->closing ? c : NULL;
}

bool routes_takes_part(const struct conn *c)
{
	const struct pin *pin = c->online && c->im2 && !c->closing && c->peer ? pins_get(c->node->p.pins, &c->peer->id) :
										 NULL;

	return pin && pin->state == PIN_TRUSTED;
}

static void sweep_due(void *ctx)
{
	struct routes *r = ctx;
	uint64_t now = env_now(r->node->env), next = route_table_sweep(r->table, now);

	if (next != UINT64_MAX)
		timer_at(r->node->env, &r->sweep, next > now + ROUTES_SOON_MS ? next : now + ROUTES_SOON_MS);
}

/* Of the table, too: messages of ours may go there. */
static bool trusted(void *ctx, const struct node_id *id)
{
	const struct pin *pin = pins_get(((struct routes *)ctx)->node->p.pins, id);

	return pin && pin->state == PIN_TRUSTED;
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
	records_seek(c, &id);
}

/* The lifetime of a record counts from its first arrival here, whoever brings it again. */
static bool is_alive(struct node *n, const struct im2_record *rec)
{
	struct bytes held = records_get(n, rec->author, IM2_REC_ROUTE_T);

	return held.n && bytes_eq(held, rec->raw);
}

static void lie(struct routes *r, struct conn *c, const struct node_id *to)
{
	struct node *n = r->node;

	n->n.routes_refused++;
	log_debug("route-refused to=%s from=%s why=hops", to->hex, c->peer->id.hex);
	if (bucket_take(&r->lies, 1, env_now(n->env)))
		audit_note(n->p.audit, "ROUTE_LIE", bytes_str(c->peer->id.hex), "peer_id", c->peer->id.hex, "destination",
			   to->hex, NULL);
}

static void on_advert(struct routes *r, struct conn *c, struct bytes value)
{
	struct node *n = c->node;
	enum im2_record_verdict v;
	struct im2_record rec;
	struct route_said s;
	struct im2_fields f;
	struct node_id id;
	uint64_t hops;
	enum err err;

	if (im2_parse(&im2_routeadv, value, &f) != IM2_FINE) {
		n->n.routes_refused++;
		return;
	}
	v = records_take(c, f.v[IM2_ROUTEADV_RECORD].b, IM2_REC_ROUTE_T, &rec);
	if ((v != IM2_REC_NEW && v != IM2_REC_REPEAT) || !is_alive(n, &rec)) {
		n->n.routes_refused += v == IM2_REC_REFUSED || v == IM2_REC_EQUIVOCATION;
		return;
	}
	node_id_of(rec.author, &id);
	if (node_id_eq(&id, keyring_id(n->p.keyring)))
		return;
	hops = f.v[IM2_ROUTEADV_HOPS].u;
	/* Nobody is nearer to a destination than itself. */
	if (hops != ROUTE_HOPS_GONE && (hops == 0) != node_id_eq(&id, &c->peer->id)) {
		lie(r, c, &id);
		return;
	}
	s = (struct route_said){ .ed = rec.author, .gen = rec.gen, .record = rec.raw, .via = &c->peer->id, .hops = (uint8_t)hops,
				 .life_ms = (rec.life_s < LIFE_MAX_S ? rec.life_s : LIFE_MAX_S) * 1000,
				 .cost_ms = hops ? ROUTE_COST_NONE : 0 };
	if (im2_has(&f, IM2_ROUTEADV_COST) && f.v[IM2_ROUTEADV_COST].u < ROUTE_COST_NONE)
		s.cost_ms = (uint32_t)f.v[IM2_ROUTEADV_COST].u;
	err = route_table_take(r->table, &s, env_now(n->env));
	if (err == ERR_OK) {
		n->n.routes_taken++;
		want_prekey(c, &rec);
	} else {
		n->n.routes_refused += err != ERR_EXPIRED;
	}
}

void routes_item(struct conn *c, const struct session_event *e)
{
	struct routes *r = c->node->routes;

	if (!r || !routes_takes_part(c)) {
		c->node->n.routes_refused++;
		return;
	}
	buf_reset(&r->item);
	buf_add(&r->item, e->item);
	if (r->item.err == ERR_OK)
		on_advert(r, c, buf_bytes(&r->item));
}

void routes_online(struct conn *c)
{
	if (c->node->routes && routes_takes_part(c))
		routes_greet(c->node->routes, c);
}

void routes_offline(struct node *n, const struct node_id *id)
{
	if (!n->routes || n->stopping)
		return;
	route_table_neighbour_gone(n->routes->table, id, env_now(n->env));
	/* A stranger who comes and goes makes nobody speak. */
	if (trusted(n->routes, id))
		routes_own_anew(n->routes);
}

void routes_trust(struct node *n, const struct node_id *id)
{
	struct conn *c = n->routes ? routes_session_of(n, id) : NULL;

	if (!c)
		return;
	if (routes_takes_part(c)) {
		routes_online(c);
		return;
	}
	route_table_neighbour_gone(n->routes->table, id, env_now(n->env));
	routes_own_anew(n->routes);
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
struct conn *routes_next_other(struct node *n, const struct node_id *to, const struct node_id *except,
			       const struct node_id *not_this)
{
	struct conn *c = routes_session_of(n, to);
	struct route_way *w;

	if (!n->routes)
		return NULL;
	if (c && !(except && node_id_eq(to, except)) && !(not_this && node_id_eq(to, not_this)))
		return c;
	w = route_table_way(n->routes->table, to, except, not_this, env_now(n->env));
	return w ? routes_session_of(n, &w->via) : NULL;
}

struct conn *routes_next(struct node *n, const struct node_id *to, const struct node_id *except)
{
	return routes_next_other(n, to, except, NULL);
}

unsigned routes_hops(struct node *n, const struct node_id *to, const struct node_id *via)
{
	const struct route_dest *d = n->routes ? route_table_find(n->routes->table, to) : NULL;

	if (node_id_eq(to, via))
		return 1;
	for (unsigned i = 0; d && i < d->ways_n; i++)
		if (node_id_eq(&d->ways[i].via, via))
			return d->ways[i].hops + 1u;
	return 0;
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

/* --- what is measured --------------------------------------------------------------------------------------------- */
struct probing {
	struct routes *r;
	uint64_t now;
	unsigned n;
	bool more;
};

static bool probe_one(void *ctx, struct route_dest *d)
{
	struct probing *p = ctx;
	struct node *n = p->r->node;

	for (int i = 0; i < d->ways_n; i++) {
		const struct route_way *w = &d->ways[i];
		struct conn *c;

		if (w->penalty_until_ms <= p->now)
			continue;
		p->more = true;
		c = p->n < PROBES_MAX ? routes_session_of(n, &w->via) : NULL;
		p->n += c && p->r->probe_with(n, &d->id, c);
	}
	return true;
}

static void probe_due(void *ctx)
{
	struct routes *r = ctx;
	struct probing p = { .r = r, .now = env_now(r->node->env) };

	if (!r->probe_with)
		return;
	route_table_each(r->table, probe_one, &p);
	if (p.more)
		timer_in(r->node->env, &r->probe, PROBE_MS);
}

void routes_delivered(struct node *n, const struct node_id *to, const struct node_id *via, double rtt_ms)
{
	if (n->routes)
		route_table_delivered(n->routes->table, to, via, rtt_ms, env_now(n->env));
}

void routes_unanswered(struct node *n, const struct node_id *to, const struct node_id *via)
{
	struct routes *r = n->routes;

	if (!r || !route_table_unanswered(r->table, to, via, env_now(n->env)))
		return;
	n->n.routes_penalised++;
	log_warn("route-penalised to=%s via=%s why=\"three messages in a row got no receipt\"", to->hex, via->hex);
	audit_note(n->p.audit, "ROUTE_PENALISED", bytes_str(via->hex), "peer_id", via->hex, "destination", to->hex, NULL);
	node_simple_event(n, "route.penalised", via, to->hex);
	if (!timer_armed(&r->probe))
		timer_in(n->env, &r->probe, PROBE_MS);
	if (!timer_armed(&r->sweep))
		timer_in(n->env, &r->sweep, ROUTES_SOON_MS);
}

void routes_probed(struct node *n, const struct node_id *to, const struct node_id *via, double rtt_ms)
{
	if (n->routes)
		route_table_probed(n->routes->table, to, via, rtt_ms, env_now(n->env));
}

void routes_probe_with(struct node *n, bool (*probe)(struct node *n, const struct node_id *to, struct conn *via))
{
	if (n->routes)
		n->routes->probe_with = probe;
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
			.best = i == d->best, .feasible = route_table_feasible(d, w),
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

static bool count_one(void *ctx, struct route_dest *d)
{
	*(size_t *)ctx += d->best >= 0;
	return true;
}

size_t routes_count(struct node *n)
{
	size_t count = 0;

	if (n->routes)
		route_table_each(n->routes->table, count_one, &count);
	return count;
}

enum routing_mode routes_mode(const struct node *n)
{
	return n->routes || n->mesh09 ? n->c.routing : ROUTING_OFF;
}

/* --- birth, end ------------------------------------------------------------------------------------------------------ */
enum err routes_new(struct node *n)
{
	struct route_table_config tc = { .destinations = DESTINATIONS, .per_neighbour = PER_NEIGHBOUR, .changed = routes_changed,
					 .wanted = trusted };
	struct routes *r;

	if (!n->im2 || n->c.routing == ROUTING_OFF)
		return ERR_OK;
	r = calloc(1, sizeof *r);
	if (!r)
		return ERR_NOMEM;
	n->routes = r;
	r->node = n;
	timer_init(&r->own, routes_own_due, r);
	timer_init(&r->flush, routes_flush_due, r);
	timer_init(&r->sweep, sweep_due, r);
	timer_init(&r->show, routes_show_due, r);
	timer_init(&r->probe, probe_due, r);
	bucket_init(&r->lies, 0.1, 10, env_now(n->env));
	buf_init(&r->record, IM2_RECORD_MAX);
	buf_init(&r->item, IM2_RECORD_MAX + 64);
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
	timer_stop(n->env, &r->show);
	timer_stop(n->env, &r->probe);
	route_table_free(r->table);
	buf_fini(&r->record);
	buf_fini(&r->item);
	free(r);
	n->routes = NULL;
}
