#include <inttypes.h>

#include "base/text.h"
#include "cli/commands.h"

static void print_routing(const struct cli *c, const json_t *o)
{
	const char *mode = json_str(o, "mode") ? json_str(o, "mode") : "?";

	if (strcmp(mode, "relay") == 0)
		out_note(&c->out,
			 "this node relays: %" PRId64 " passed on, %" PRId64 " kept (%" PRId64 " KiB), %" PRId64 " dropped",
			 show_int(o, "forwarded"), show_int(o, "kept"), show_int(o, "kept_bytes") / 1024,
			 show_int(o, "dropped"));
	else
		out_note(&c->out, "routing is %s: this node relays for nobody", mode);
}

/* Such as "30 %" of what was sent that way and answered or not. */
static void measured_cell(struct table *t, const json_t *r)
{
	int64_t good = show_int(r, "delivered"), bad = show_int(r, "unanswered");
	char text[60];

	snprintf(text, sizeof text, "%" PRId64 "/%" PRId64, good, bad);
	table_cell(t, bad > good ? STYLE_WARN : STYLE_NONE, good || bad ? text : "-");
}

static void print_routes(const struct cli *c, const json_t *result)
{
	static const char *const heads[] = { "TO", "VIA", "HOPS", "WIRE", "AGE", "OK/LOST", "STATE", NULL };
	const json_t *list = json_object_get(result, "routes"), *r;
	char party[160], text[80], span[40];
	struct table *t;
	size_t i;

	print_routing(c, json_object_get(result, "routing"));
	if (!json_array_size(list)) {
		out_note(&c->out, "no neighbour has told of anybody");
		out_hint(&c->out, "ironmesh peers list");
		return;
	}
	t = table_new(heads);
	json_array_foreach (list, i, r) {
		bool best = json_is_true(json_object_get(r, "best"));
		int64_t penalty = show_int(r, "penalty_ms");

		table_cell(t, best ? STYLE_BOLD : STYLE_NONE, show_party(json_object_get(r, "to"), party, sizeof party));
		table_cell(t, STYLE_NONE, show_party(json_object_get(r, "via"), party, sizeof party));
		snprintf(text, sizeof text, "%" PRId64, show_int(r, "hops"));
		table_cell(t, STYLE_NONE, text);
		table_cell(t, STYLE_DIM, json_str(r, "wire"));
		table_cell(t, STYLE_DIM, duration_text((uint64_t)show_int(r, "age_ms"), span, sizeof span));
		measured_cell(t, r);
		snprintf(text, sizeof text, "penalised for %s", duration_text((uint64_t)penalty, span, sizeof span));
		if (penalty)
			table_cell(t, STYLE_WARN, text);
		else
			table_cell(t, best ? STYLE_GOOD : STYLE_DIM,
				   best					       ? "used" :
				   json_is_true(json_object_get(r, "usable")) ? "alternative" :
										"not usable now");
	}
	table_print(&c->out, t);
	if (json_is_true(json_object_get(result, "more")))
		out_note(&c->out, "there are more; ironmesh routes PEER shows those to one");
}

static int run_routes(struct cli *c)
{
	int code = EXIT_DONE;
	json_t *result = cli_result(c, "routes.list", json_pack("{s:s*}", "to", cli_arg(c, 0)), &code);

	if (result && !cli_printed_json(c, result))
		print_routes(c, result);
	json_decref(result);
	return code;
}

static const struct example examples[] = {
	{ "ironmesh routes", "who can be reached through whom" },
	{ "ironmesh routes bob", "the ways to one peer" },
	{ "ironmesh run --routing relay", "pass on what others send to each other; sealed, unreadable here" },
	{ 0 },
};

const struct command cmd_routes = {
	.name = "routes",
	.args = "[PEER]",
	.summary = "who can be reached through whom",
	.examples = examples,
	.text = "A way is 'used', an 'alternative', or 'not usable now': it might lead back through this node until\n"
		"the destination speaks again. OK/LOST counts messages of this node that were confirmed in time, and\n"
		"those that were not; after three lost in a row a way is penalised.",
	.max_args = 1,
	.run = run_routes,
};
