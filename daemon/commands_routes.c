/* routes.list: who can be reached through whom, over both wires, and what this node relays. */
#include "daemon/commands_internal.h"

#include <stdlib.h>

#include "daemon/mesh09.h"
#include "daemon/relay.h"
#include "daemon/routes.h"

#define SHOWN_MAX 4096

static json_t *route_json(const struct command_ctx *cx, const struct route_view *v)
{
	json_t *one = json_pack("{s:o, s:o, s:s, s:I, s:b, s:b, s:I, s:I, s:I, s:I, s:I}", "to", peer_ref(cx, &v->to), "via",
				peer_ref(cx, &v->via), "wire", v->old_wire ? "0.9" : "im2", "hops", (json_int_t)v->hops,
				"best", v->best, "usable", v->feasible, "age_ms", (json_int_t)v->age_ms, "expires_in_ms",
				(json_int_t)v->expires_in_ms, "penalty_ms", (json_int_t)v->penalty_ms, "delivered",
				(json_int_t)v->delivered, "unanswered", (json_int_t)v->unanswered);

	if (one)
		(void)json_object_set_new(one, "rtt_ms", v->rtt_ms >= 0 ? json_real(v->rtt_ms) : json_null());
	return one;
}

json_t *routing_json(const struct command_ctx *cx)
{
	struct relay_view v;

	if (!cx->node)
		return json_null();
	relay_view(cx->node, &v);
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "mode", routing_mode_word(routes_mode(cx->node)), "destinations",
			 (json_int_t)routes_count(cx->node),
			 "forwarded", (json_int_t)v.forwarded, "kept", (json_int_t)v.kept_now, "kept_bytes",
			 (json_int_t)v.kept_bytes, "dropped", (json_int_t)v.dropped);
}

enum err command_routes_list(struct call *c)
{
	struct command_ctx *cx = c->cx;
	const struct pin *pin = NULL;
	struct route_view *views;
	json_t *list;
	size_t n;
	enum err e = arg_text(c, "to") ? arg_peer(c, "to", &pin) : ERR_OK;

	if (e != ERR_OK)
		return e;
	views = malloc(SHOWN_MAX * sizeof *views);
	list = json_array();
	if (!views || !list || !cx->node) {
		free(views);
		json_decref(list);
		return no_memory(c);
	}
	n = routes_views(cx->node, views, SHOWN_MAX);
	n += mesh09_views(cx->node, views + n, SHOWN_MAX - n);
	for (size_t i = 0; i < n; i++)
		if (!pin || node_id_eq(&views[i].to, &pin->id))
			(void)json_array_append_new(list, route_json(cx, &views[i]));
	free(views);
	return result_is(c, json_pack("{s:s, s:o, s:o, s:b}", "schema", "ironmesh.routes/1", "routing", routing_json(cx), "routes",
				      list, "more", n == SHOWN_MAX));
}
