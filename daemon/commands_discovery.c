/* discovery.list */
#include "daemon/commands_internal.h"

#include <stdlib.h>

#include "daemon/discovery.h"

#define SHOWN_MAX 1024

static json_t *view_json(struct call *c, const struct discovery_view *v)
{
	json_t *o = json_pack("{s:s, s:o, s:o, s:b, s:b, s:o, s:I, s:o, s:o}", "source", v->source, "instance",
			      text_or_null(v->instance), "name", text_or_null(v->name), "fleet", v->fleet, "online", v->online,
			      "address", text_or_null(v->address), "addresses", (json_int_t)v->addresses_n, "why",
			      text_or_null(v->why), "next", text_or_null(v->next));

	if (o)
		(void)json_object_set_new(o, "peer", v->has_id ? peer_ref(c->cx, &v->id) : json_null());
	return o;
}

enum err command_discovery_list(struct call *c)
{
	struct node *n = c->cx->node;
	bool all = arg_bool(c, "all", false);
	struct discovery_view *views = calloc(SHOWN_MAX, sizeof *views);
	size_t count, left_out = 0;
	json_t *list;

	if (!views)
		return no_memory(c);
	count = discovery_views(n, views, SHOWN_MAX);
	list = json_array();
	for (size_t i = 0; i < count; i++) {
		/* Other fleets and unknown names may be many, and nothing can be done about most of them. */
		if (!all && !views[i].has_id && !views[i].name[0] && !views[i].next[0]) {
			left_out++;
			continue;
		}
		(void)json_array_append_new(list, view_json(c, &views[i]));
	}
	free(views);
	return result_is(c, json_pack("{s:s, s:s, s:b, s:o, s:I}", "schema", "ironmesh.discovery/1", "scope",
				      discovery_scope_word(discovery_scope_now(n)), "has_key", discovery_has_key(n), "found", list,
				      "left_out", (json_int_t)left_out));
}
