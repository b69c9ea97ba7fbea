#include <inttypes.h>

#include "base/text.h"
#include "cli/commands.h"

static void print_one(struct table *t, const json_t *one)
{
	const json_t *peer = json_object_get(one, "peer");
	const char *name = json_str(one, "name"), *why = json_str(one, "why");
	char party[160], address[120];
	int64_t addresses = show_int(one, "addresses");
	bool online = json_is_true(json_object_get(one, "online"));

	table_cell(t, STYLE_BOLD, json_is_object(peer) ? show_party(peer, party, sizeof party) : name ? name : "unknown");
	if (addresses > 1)
		snprintf(address, sizeof address, "%s +%" PRId64, json_str(one, "address"), addresses - 1);
	else
		snprintf(address, sizeof address, "%s", addresses ? json_str(one, "address") : "-");
	table_cell(t, STYLE_NONE, address);
	table_cell(t, STYLE_DIM, json_str(one, "source"));
	table_cell(t, online ? STYLE_NONE : STYLE_WARN, online ? "online" : why ? why : "-");
}

static void print_found(const struct cli *c, const json_t *result)
{
	static const char *const heads[] = { "PEER", "ADDRESS", "SAID BY", "STATE", NULL };
	const json_t *list = json_object_get(result, "found"), *one;
	struct table *t;
	int64_t left_out = show_int(result, "left_out");
	const char *next;
	size_t i;

	if (!json_array_size(list)) {
		out_note(&c->out, "nobody was found");
	} else {
		t = table_new(heads);
		json_array_foreach (list, i, one)
			print_one(t, one);
		table_print(&c->out, t);
		json_array_foreach (list, i, one)
			if ((next = json_str(one, "next")) && *next)
				out_hint(&c->out, "%s", next);
	}
	if (left_out > 0)
		out_note(&c->out, "%" PRId64 " services of others are left out: ironmesh discovery --all", left_out);
}

static int run(struct cli *c)
{
	int code = EXIT_DONE;
	json_t *result = cli_result(c, "discovery.list", json_pack("{s:b}", "all", options_given(&c->opts, "all")), &code);

	if (result && !cli_printed_json(c, result))
		print_found(c, result);
	json_decref(result);
	return code;
}

static const struct opt options[] = {
	{ "all", 0, OPT_FLAG, NULL, "also what belongs to others and says nothing of itself" },
	{ 0 },
};
static const struct example examples[] = {
	{ "ironmesh discovery", "what was found, and why it is not connected" },
	{ "ironmesh discovery --json", NULL },
	{ 0 },
};

const struct command cmd_discovery = {
	.name = "discovery",
	.summary = "what was found on the network, and why it is not connected",
	.examples = examples,
	.opts = options,
	.text = "What is found is an address, nothing else: who answers there proves its key, or is dropped. SAID BY:\n"
		"mdns, the local network; known, where it was before; card, its own signed word, passed on by trusted\n"
		"peers. Below the table stand the commands that would allow what is not allowed.",
	.run = run,
};
