#include "daemon/mesh.h"

#include <stdlib.h>

#include "base/map.h"
#include "daemon/commands_internal.h"
#include "daemon/rows.h"

#define ROUTES_LOOKED 4096
/* Beyond it an edge counts as bad as one can be. */
#define RTT_BAD_MS 2000.0

struct walk {
	const struct command_ctx *cx;
	mesh_fn fn;
	void *ctx;
	struct map *nodes; /* ids that were told */
	struct buf text;
	size_t edges, left_out;
	enum { ONLINE, AWAY } pass;
};

static bool known(const struct walk *w, const struct node_id *id)
{
	return map_peek(w->nodes, bytes_of(id->hex, NODE_ID_LEN)) != NULL;
}

static void tell(struct walk *w, const char *key)
{
	if (w->text.err == ERR_OK)
		w->fn(w->ctx, key, buf_bytes(&w->text));
	buf_reset(&w->text);
}

static void add_node(struct walk *w, const struct node_id *id, const char *dist)
{
	const struct pin *pin = pins_get(w->cx->pins, id);
	bool self = node_id_eq(id, keyring_id(w->cx->keyring)), created;
	char key[8 + NODE_ID_LEN + 1];
	struct peer_view v;
	void *slot;

	if (known(w, id))
		return;
	if (map_put(w->nodes, bytes_of(id->hex, NODE_ID_LEN), 0, &slot, &created) != ERR_OK) {
		w->left_out++;
		return;
	}
	snprintf(key, sizeof key, "node:%s", id->hex);
	node_peer_view(w->cx->node, id, &v);
	row_text(&w->text, "{\"key\":", key);
	row_text(&w->text, ",\"kind\":\"node\",\"id\":", id->hex);
	row_text(&w->text, ",\"label\":", self ? w->cx->name : row_label(w->cx, id));
	buf_add_str(&w->text, self ? ",\"self\":true" : ",\"self\":false");
	buf_add_str(&w->text, self || v.online ? ",\"online\":true" : ",\"online\":false");
	row_text(&w->text, ",\"state\":", self ? "self" : pin ? pin_word(pin) : "unknown");
	row_text(&w->text, ",\"dist\":", dist);
	buf_add_u8(&w->text, '}');
	tell(w, key);
}

struct edge {
	const struct node_id *from, *to, *via;
	const char *transport, *suite, *known;
	double rtt_ms;
	unsigned hops;
	uint64_t good, bad; /* messages that were confirmed, and not */
};

static void add_edge(struct walk *w, const struct edge *x)
{
	char key[8 + 2 * NODE_ID_LEN + 2];
	double quality = -1;

	if (w->edges == MESH_EDGES_MAX || !known(w, x->from) || !known(w, x->to))
		return;
	w->edges++;
	snprintf(key, sizeof key, "edge:%s:%s", x->from->hex, x->to->hex);
	row_text(&w->text, "{\"key\":", key);
	row_text(&w->text, ",\"kind\":\"edge\",\"from\":", x->from->hex);
	row_text(&w->text, ",\"to\":", x->to->hex);
	row_text(&w->text, ",\"transport\":", x->transport);
	row_text(&w->text, ",\"suite\":", x->suite);
	if (x->rtt_ms >= 0) {
		buf_printf(&w->text, ",\"rtt_ms\":%.1f", x->rtt_ms);
		quality = x->rtt_ms >= RTT_BAD_MS ? 0 : 1 - x->rtt_ms / RTT_BAD_MS;
	} else {
		buf_add_str(&w->text, ",\"rtt_ms\":null");
	}
	if (x->good + x->bad)
		quality = (double)x->good / (double)(x->good + x->bad);
	row_uint(&w->text, ",\"hops\":", x->hops);
	row_text(&w->text, ",\"via\":", x->via ? x->via->hex : NULL);
	if (quality >= 0)
		buf_printf(&w->text, ",\"quality\":%.2f", quality);
	else
		buf_add_str(&w->text, ",\"quality\":null");
	row_text(&w->text, ",\"known\":", x->known);
	buf_add_u8(&w->text, '}');
	tell(w, key);
}

static bool node_of_pin(void *ctx, const struct pin *pin)
{
	struct walk *w = ctx;
	struct peer_view v;

	if (pin->state == PIN_REVOKED || (w->pass == AWAY && known(w, &pin->id)))
		return true;
	node_peer_view(w->cx->node, &pin->id, &v);
	if (v.online == (w->pass == ONLINE))
		add_node(w, &pin->id, v.online ? "direct" : "away");
	return true;
}

static bool edge_of_pin(void *ctx, const struct pin *pin)
{
	struct walk *w = ctx;
	struct peer_view v;

	node_peer_view(w->cx->node, &pin->id, &v);
	if (v.online) {
		struct edge x = { .from = keyring_id(w->cx->keyring), .to = &pin->id, .transport = v.transport, .suite = v.generation,
				  .known = "session", .rtt_ms = v.rtt_ms, .hops = 1 };

		add_edge(w, &x);
	}
	return w->edges < MESH_EDGES_MAX;
}

static void add_route(struct walk *w, const struct route_view *r, bool edges)
{
	struct edge x = { .from = &r->via, .to = &r->to, .via = &r->via, .transport = "relay", .suite = r->old_wire ? "0.9" : "im2",
			  .known = "route", .rtt_ms = r->rtt_ms, .hops = r->hops, .good = r->delivered, .bad = r->unanswered };
	struct peer_view v;

	if (!r->best || node_id_eq(&r->via, &r->to))
		return;
	node_peer_view(w->cx->node, &r->to, &v);
	if (v.online)
		return; /* its own session is the way */
	if (edges)
		add_edge(w, &x);
	else
		add_node(w, &r->to, "relayed");
}

size_t mesh_each(const struct command_ctx *cx, mesh_fn fn, void *ctx)
{
	struct map_opts o = { .capacity = MESH_NODES_MAX, .policy = MAP_REFUSE };
	struct route_view *routes = calloc(ROUTES_LOOKED, sizeof *routes);
	struct walk w = { .cx = cx, .fn = fn, .ctx = ctx };
	size_t n = routes ? routes_views(cx->node, routes, ROUTES_LOOKED) : 0;

	env_random(cx->env, o.hash_key, sizeof o.hash_key);
	w.nodes = map_new(&o);
	buf_init(&w.text, 8192);
	if (w.nodes) {
		add_node(&w, keyring_id(cx->keyring), "self");
		pins_each(cx->pins, node_of_pin, &w);
		for (size_t i = 0; i < n; i++)
			add_route(&w, &routes[i], false);
		w.pass = AWAY;
		pins_each(cx->pins, node_of_pin, &w);
		pins_each(cx->pins, edge_of_pin, &w);
		for (size_t i = 0; i < n; i++)
			add_route(&w, &routes[i], true);
	}
	map_free(w.nodes);
	buf_fini(&w.text);
	free(routes);
	return w.left_out;
}
