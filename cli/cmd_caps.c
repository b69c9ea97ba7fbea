#include <inttypes.h>

#include "base/text.h"
#include "cli/commands.h"

static void print_found(const struct cli *c, const json_t *result)
{
	static const char *const heads[] = { "CAPABILITY", "PEER", "WHERE", "FOR", NULL };
	const json_t *list = json_object_get(result, "found"), *one, *in;
	struct table *t;
	char party[160], span[40];
	size_t i;

	if (!json_array_size(list)) {
		out_note(&c->out, "nobody says that it has any");
		out_hint(&c->out, "ironmesh caps add llm:llama3   (what this node can do)");
		return;
	}
	t = table_new(heads);
	json_array_foreach (list, i, one) {
		bool self = json_is_true(json_object_get(one, "self"));

		in = json_object_get(one, "expires_in_ms");
		table_cell(t, STYLE_BOLD, json_str(one, "capability"));
		table_cell(t, STYLE_NONE, self ? "this node" : show_party(json_object_get(one, "peer"), party, sizeof party));
		if (self)
			table_cell(t, STYLE_DIM, "here");
		else if (!json_is_true(json_object_get(one, "trusted")))
			table_cell(t, STYLE_WARN, "not trusted");
		else
			table_cell(t, STYLE_NONE, json_is_true(json_object_get(one, "online")) ? "online" : "away");
		table_cell(t, STYLE_DIM,
			   in ? duration_text((uint64_t)json_integer_value(in), span, sizeof span) : "-");
	}
	table_print(&c->out, t);
	if (json_is_true(json_object_get(result, "more")))
		out_note(&c->out, "there are more; a narrower pattern shows them");
}

static int look(struct cli *c, json_t *params)
{
	int code = EXIT_DONE;
	json_t *result = cli_result(c, "caps.find", params, &code);

	if (result && !cli_printed_json(c, result))
		print_found(c, result);
	json_decref(result);
	return code;
}

static int run_list(struct cli *c)
{
	return look(c, json_pack("{s:s*}", "peer", cli_arg(c, 0)));
}

static int run_find(struct cli *c)
{
	return look(c, json_pack("{s:s}", "glob", cli_arg(c, 0)));
}

static int change(struct cli *c, const char *method)
{
	json_t *names = json_array(), *result, *v;
	int code = EXIT_DONE;
	size_t i;

	for (int k = 0; k < c->opts.argc; k++)
		json_array_append_new(names, json_string(cli_arg(c, k)));
	result = cli_result(c, method, json_array_size(names) == (size_t)c->opts.argc ?
					       json_pack("{s:o}", "capabilities", names) : NULL, &code);
	if (result && !cli_printed_json(c, result)) {
		char safe[600];

		json_array_foreach (json_object_get(result, "capabilities"), i, v)
			printf("%s\n", text_safe(bytes_str(json_string_value(v)), safe, sizeof safe));
		if (i == 0)
			out_note(&c->out, "this node announces nothing");
	}
	json_decref(result);
	return code;
}

static int run_add(struct cli *c)
{
	return change(c, "caps.add");
}

static int run_remove(struct cli *c)
{
	return change(c, "caps.remove");
}

static int run_set(struct cli *c)
{
	return change(c, "caps.set");
}

static const struct example list_examples[] = {
	{ "ironmesh caps", "who can do what, as far as it was heard" },
	{ "ironmesh caps list bob", NULL },
	{ 0 },
};
static const struct example find_examples[] = {
	{ "ironmesh caps find 'llm:*'", "quote the pattern: the shell has its own" },
	{ "ironmesh send --capability 'llm:*' \"hello\"", "to the nearest that has one" },
	{ 0 },
};
static const struct example add_examples[] = {
	{ "ironmesh caps add llm:llama3 tool:filesystem", "kept, and announced to trusted peers" },
	{ 0 },
};
static const struct example remove_examples[] = {
	{ "ironmesh caps remove tool:filesystem", NULL },
	{ 0 },
};
static const struct example set_examples[] = {
	{ "ironmesh caps set llm:llama3", "this and nothing else" },
	{ "ironmesh caps set", "nothing at all" },
	{ 0 },
};

static const struct command subs[] = {
	{ .name = "list", .args = "[PEER]", .summary = "what this node and others can do", .examples = list_examples,
	  .max_args = 1, .run = run_list },
	{ .name = "find", .args = "PATTERN", .summary = "who has a capability that fits", .examples = find_examples,
	  .text = "In PATTERN '*' stands for any text, '?' for one character, '[ab]' for one of these.\n"
		  "Capitals count.",
	  .min_args = 1, .max_args = 1, .run = run_find },
	{ .name = "add", .args = "NAMESPACE:NAME...", .summary = "announce these too", .examples = add_examples,
	  .min_args = 1, .max_args = -1, .run = run_add },
	{ .name = "remove", .args = "NAMESPACE:NAME...", .summary = "announce these no more",
	  .examples = remove_examples, .min_args = 1, .max_args = -1, .run = run_remove },
	{ .name = "set", .args = "[NAMESPACE:NAME...]", .summary = "announce exactly these", .examples = set_examples,
	  .max_args = -1, .run = run_set },
	{ 0 },
};

const struct command cmd_caps = {
	.name = "caps",
	.summary = "capabilities: list, find, add, remove, set",
	.examples = list_examples,
	.text = "A capability is what a node says it can do: namespace:name, such as llm:llama3. It proves\n"
		"nothing, and gives no rights. Others forget it two minutes after the node was last heard.",
	.subs = subs,
};
