#include "cli/commands.h"

static int run_create(struct cli *c)
{
	const struct optval *life = options_get(&c->opts, "expires");
	const char *role = options_text(&c->opts, "role"), *token;
	int code = EXIT_DONE;
	json_t *r;

	if (!role)
		return cli_usage(c, "ironmesh token create --role read", "a token needs a role: metrics, read, send or admin");
	r = cli_result(c, "token.create",
		       json_pack("{s:s, s:s*, s:I}", "role", role, "name", options_text(&c->opts, "name"), "life_ms",
				 (json_int_t)(life->given ? life->number : 0)),
		       &code);
	token = json_str(r, "token");
	if (r && token && !cli_printed_json(c, r)) {
		printf("%s\n", token);
		fflush(stdout);
		out_note(&c->out, "this is shown once, and kept here only as a hash; its id is %s", json_str(r, "id"));
		out_hint(&c->out, "curl -H 'Authorization: Bearer TOKEN' http://127.0.0.1:8766/api/v1/status   (with ironmesh run --http 127.0.0.1:8766)");
	}
	json_decref(r);
	return code;
}

static int run_list(struct cli *c)
{
	static const char *const heads[] = { "TOKEN", "NAME", "ROLE", "CREATED", "EXPIRES", NULL };
	int code = EXIT_DONE;
	json_t *r = cli_result(c, "token.list", json_object(), &code);
	const json_t *list = json_object_get(r, "tokens"), *one;
	struct table *t;
	char when[40];
	size_t i;

	if (!r || cli_printed_json(c, r)) {
		json_decref(r);
		return code;
	}
	if (!json_array_size(list)) {
		out_note(&c->out, "there are no tokens");
		out_hint(&c->out, "ironmesh token create --role read");
	} else {
		t = table_new(heads);
		json_array_foreach (list, i, one) {
			int64_t ends = show_int(one, "expires_ms");
			bool over = json_is_true(json_object_get(one, "expired"));

			table_cell(t, over ? STYLE_DIM : STYLE_NONE, json_str(one, "id"));
			table_cell(t, STYLE_NONE, json_str(one, "name"));
			table_cell(t, STYLE_NONE, json_str(one, "role"));
			table_cell(t, STYLE_NONE, time_text((uint64_t)show_int(one, "created_ms"), when, sizeof when));
			table_cell(t, over ? STYLE_BAD : STYLE_NONE, ends ? time_text((uint64_t)ends, when, sizeof when) : "never");
		}
		table_print(&c->out, t);
	}
	json_decref(r);
	return code;
}

static int run_revoke(struct cli *c)
{
	int code = EXIT_DONE;
	json_t *r = cli_result(c, "token.revoke", json_pack("{s:s}", "token", cli_arg(c, 0)), &code);

	if (r && !cli_printed_json(c, r))
		out_note(&c->out, "token %s is not admitted any more", json_str(r, "id") ? json_str(r, "id") : "?");
	json_decref(r);
	return code;
}

static const struct example create_examples[] = {
	{ "ironmesh token create --role metrics --name prometheus", "for a scraper of /metrics" },
	{ "ironmesh token create --role send --name builder --expires 30d", "for a program that sends" },
	{ 0 },
};
static const struct example list_examples[] = {
	{ "ironmesh token list", "which there are" },
	{ 0 },
};
static const struct example revoke_examples[] = {
	{ "ironmesh token revoke prometheus", "by name or id" },
	{ 0 },
};
static const struct opt create_opts[] = {
	{ "role", 0, OPT_WORD, "metrics|read|send|admin", "what it may do; each may do what those before it may" },
	{ "name", 0, OPT_TEXT, "NAME", "what it is for" },
	{ "expires", 0, OPT_DURATION, "TIME", "how long it is admitted (for ever)", .min = 1000 },
	{ 0 },
};

static const struct command subs[] = {
	{ .name = "list", .args = "", .summary = "the tokens of the HTTP API", .examples = list_examples, .run = run_list },
	{ .name = "create", .args = "", .summary = "let a program use the HTTP API", .examples = create_examples, .opts = create_opts,
	  .text = "metrics: /metrics alone. read: everything that only looks, bodies of messages too.\n"
		  "send: also sends, cancels, takes from the inbox. admin: also decides about peers.",
	  .run = run_create },
	{ .name = "revoke", .args = "TOKEN", .summary = "admit it no longer", .examples = revoke_examples, .min_args = 1, .max_args = 1,
	  .run = run_revoke },
	{ 0 },
};

const struct command cmd_token = {
	.name = "token",
	.summary = "tokens of programs for the HTTP API: create, list, revoke",
	.examples = create_examples,
	.subs = subs,
};
