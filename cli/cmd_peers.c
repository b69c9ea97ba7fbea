#include <inttypes.h>

#include "base/text.h"
#include "cli/commands.h"

/* The pages behind the first one of many peers. */
static int more_pages(struct cli *c, json_t *result)
{
	const char *state = options_text(&c->opts, "state");
	int code = EXIT_DONE;

	while (code == EXIT_DONE && json_str(result, "next")) {
		json_t *page = cli_result(c, "peers.list", json_pack("{s:s*, s:s}", "state", state, "after", json_str(result, "next")),
					  &code);

		if (!page)
			break;
		json_array_extend(json_object_get(result, "peers"), json_object_get(page, "peers"));
		json_object_set(result, "next", json_object_get(page, "next"));
		json_object_set(result, "omitted", json_object_get(page, "omitted"));
		json_decref(page);
	}
	return code;
}

static int run_list(struct cli *c)
{
	json_t *p = json_pack("{s:s*}", "state", options_text(&c->opts, "state"));
	json_t *result, *list;
	int code = EXIT_DONE;
	bool pending = false;
	json_t *peer;
	size_t i;

	result = cli_result(c, "peers.list", p, &code);
	if (!result)
		return code;
	code = more_pages(c, result);
	list = json_object_get(result, "peers");
	if (!cli_printed_json(c, result)) {
		json_array_foreach (list, i, peer)
			pending |= json_str(peer, "state") &&
				   strcmp(json_str(peer, "state"), "pending") == 0;
		if (json_array_size(list) == 0) {
			out_note(&c->out, "no peers");
			out_hint(&c->out, "ironmesh run --peer HOST:PORT   (here, or on the other machine)");
		} else {
			show_peers(c, list);
		}
		if (pending)
			out_hint(&c->out, "ironmesh peers approve NAME   (after comparing the fingerprint)");
	}
	json_decref(result);
	return code;
}

/* One method with one peer; returns the exit code after printing the peer. */
static int one(struct cli *c, const char *method, json_t *params, const char *hint)
{
	int code = EXIT_DONE;
	json_t *result = cli_result(c, method, params, &code);

	if (result && !cli_printed_json(c, result)) {
		show_peer(c, result);
		if (hint)
			out_hint(&c->out, "%s", hint);
	}
	json_decref(result);
	return code;
}

static int run_show(struct cli *c)
{
	return one(c, "peers.show", json_pack("{s:s}", "peer", cli_arg(c, 0)), NULL);
}

static int run_approve(struct cli *c)
{
	char hint[240], word[120];

	snprintf(hint, sizeof(hint), "ironmesh trust verify %s   (when both have compared fingerprints)",
		 word_for_shell(cli_arg(c, 0), word, sizeof(word)));
	return one(c, "peers.approve", json_pack("{s:s}", "peer", cli_arg(c, 0)), hint);
}

static int run_block(struct cli *c)
{
	return one(c, "peers.block",
		   json_pack("{s:s, s:s*}", "peer", cli_arg(c, 0), "reason",
			     options_text(&c->opts, "reason")),
		   NULL);
}

static void print_pending(const struct cli *c, const json_t *result)
{
	static const char *const heads[] = { "NAME", "STATE", "SINCE", "HELD", "FINGERPRINT", NULL };
	const json_t *list = json_object_get(result, "pending");
	struct table *t = table_new(heads);
	char text[256];
	json_t *p;
	size_t i;

	json_array_foreach (list, i, p) {
		bool ignored = json_is_true(json_object_get(p, "ignored"));

		table_cell(t, STYLE_BOLD, show_party(p, text, sizeof(text)));
		snprintf(text, sizeof(text), "%s%s", json_str(p, "state") ? json_str(p, "state") : "?",
			 ignored ? ", ignored" : "");
		table_cell(t, ignored ? STYLE_DIM : STYLE_WARN, text);
		table_cell(t, STYLE_NONE, time_text((uint64_t)show_int(p, "since_ms"), text, sizeof(text)));
		table_cellf(t, "%" PRId64, show_int(p, "held"));
		table_cell(t, STYLE_NONE, fingerprint_groups(json_str(p, "fingerprint"), text, sizeof(text)));
	}
	table_print(&c->out, t);
	json_array_foreach (list, i, p)
		if (json_str(p, "next") && i < 4)
			out_hint(&c->out, "%s   (after comparing the fingerprint)", json_str(p, "next"));
}

static int run_pending(struct cli *c)
{
	bool all = options_given(&c->opts, "all");
	int code = EXIT_DONE;
	json_t *result = cli_result(c, "peers.pending", json_pack("{s:b}", "all", all), &code);

	if (!result)
		return code;
	if (!cli_printed_json(c, result)) {
		if (json_array_size(json_object_get(result, "pending")))
			print_pending(c, result);
		else
			out_note(&c->out, "nobody waits for you");
		if (!all && show_int(result, "ignored"))
			out_hint(&c->out, "ironmesh peers pending --all   (%" PRId64 " ignored)", show_int(result, "ignored"));
	}
	json_decref(result);
	return code;
}

static int run_ignore(struct cli *c)
{
	char hint[240], word[120];

	snprintf(hint, sizeof(hint), "ironmesh peers approve %s   (undoes it)",
		 word_for_shell(cli_arg(c, 0), word, sizeof(word)));
	return one(c, "peers.ignore", json_pack("{s:s}", "peer", cli_arg(c, 0)), hint);
}

static void print_refused(const struct cli *c, const json_t *list)
{
	static const char *const heads[] = { "WHO", "REASON", "TIMES", "LAST", "ADDRESS", "NODE ID", NULL };
	struct table *t = table_new(heads);
	char text[256];
	json_t *p;
	size_t i;

	json_array_foreach (list, i, p) {
		const char *name = json_str(p, "name"), *reason = json_str(p, "reason");

		table_cell(t, STYLE_BOLD, name ? name : "?");
		table_cell(t, STYLE_BAD, reason);
		table_cellf(t, "%" PRId64, show_int(p, "count"));
		table_cell(t, STYLE_NONE, time_text((uint64_t)show_int(p, "last_ms"), text, sizeof(text)));
		table_cellf(t, "%s%s", json_is_true(json_object_get(p, "dialled")) ? "dialled " : "",
			    json_str(p, "address") ? json_str(p, "address") : "?");
		table_cell(t, STYLE_DIM, json_str(p, "id"));
	}
	table_print(&c->out, t);
	json_array_foreach (list, i, p) {
		if (i == 4)
			break;
		out_note(&c->out, "%s", json_str(p, "what") ? json_str(p, "what") : "refused");
		if (json_str(p, "next"))
			out_hint(&c->out, "%s", json_str(p, "next"));
	}
}

static int run_refused(struct cli *c)
{
	int code = EXIT_DONE;
	json_t *result = cli_result(c, "peers.refused", json_object(), &code);

	if (!result)
		return code;
	if (!cli_printed_json(c, result)) {
		if (json_array_size(json_object_get(result, "refused")))
			print_refused(c, json_object_get(result, "refused"));
		else
			out_note(&c->out, "nobody was refused since the daemon started");
	}
	json_decref(result);
	return code;
}

static int run_forget(struct cli *c)
{
	int code = EXIT_DONE;

	if (!cli_confirmed(c, &code,
			   "Forget %s? Its key is no longer pinned: whoever comes next under this name "
			   "is a stranger.",
			   cli_arg(c, 0)))
		return code;
	return one(c, "peers.forget", json_pack("{s:s}", "peer", cli_arg(c, 0)), NULL);
}

static int run_alias(struct cli *c)
{
	const char *alias = cli_arg(c, 1);
	bool remove = options_given(&c->opts, "remove");

	if (remove == (alias != NULL))
		return cli_usage(c, NULL, remove ? "--remove takes no ALIAS" : "an ALIAS, or --remove");
	return one(c, "peers.alias",
		   json_pack("{s:s, s:s}", "peer", cli_arg(c, 0), "alias", remove ? "" : alias), NULL);
}

static const struct example list_examples[] = {
	{ "ironmesh peers", "who is known, who is here" },
	{ "ironmesh peers list --state pending", "who waits for your approval" },
	{ 0 },
};
static const struct example show_examples[] = {
	{ "ironmesh peers show bob", NULL },
	{ "ironmesh peers show 3fa9 --json", "by the first digits of its node id" },
	{ 0 },
};
static const struct example approve_examples[] = {
	{ "ironmesh peers approve bob", "what it sent meanwhile was held, and is delivered now" },
	{ 0 },
};
static const struct example block_examples[] = {
	{ "ironmesh peers block bob --reason \"sends nonsense\"", "undo it with approve" },
	{ 0 },
};
static const struct example forget_examples[] = {
	{ "ironmesh peers forget bob --yes", NULL },
	{ 0 },
};
static const struct example pending_examples[] = {
	{ "ironmesh peers pending", "who waits for your approval, and how many messages are held" },
	{ "ironmesh peers pending --json | jq -r '.pending[].next'", NULL },
	{ 0 },
};
static const struct example ignore_examples[] = {
	{ "ironmesh peers ignore eve", "it stays pending, and what it sends is refused" },
	{ 0 },
};
static const struct example refused_examples[] = {
	{ "ironmesh peers refused", "who was not let in or not dialled, and the command that would allow it" },
	{ 0 },
};
static const struct example alias_examples[] = {
	{ "ironmesh peers alias 3fa9 workshop", "your own name for it, on this node only" },
	{ "ironmesh peers alias workshop --remove", NULL },
	{ 0 },
};
static const struct opt list_opts[] = {
	{ "state", 0, OPT_WORD, "pending|trusted|blocked|revoked", "only in this state" },
	{ 0 },
};
static const struct opt block_opts[] = {
	{ "reason", 0, OPT_TEXT, "TEXT", "kept with the peer and in the audit log" },
	{ 0 },
};
static const struct opt pending_opts[] = {
	{ "all", 0, OPT_FLAG, NULL, "also those that are ignored" },
	{ 0 },
};
static const struct opt alias_opts[] = {
	{ "remove", 0, OPT_FLAG, NULL, "take the alias away" },
	{ 0 },
};

static const struct command subs[] = {
	{ .name = "list", .args = "", .summary = "who is known, and who is online", .examples = list_examples,
	  .opts = list_opts, .flags = CMD_PASSPHRASE, .run = run_list },
	{ .name = "show", .args = "PEER", .summary = "everything about one peer", .examples = show_examples,
	  .min_args = 1, .max_args = 1, .flags = CMD_PASSPHRASE, .run = run_show },
	{ .name = "approve", .args = "PEER", .summary = "trust a pending or blocked peer",
	  .examples = approve_examples, .min_args = 1, .max_args = 1, .flags = CMD_PASSPHRASE, .run = run_approve },
	{ .name = "pending", .args = "", .summary = "who waits for your decision, and what is held of them",
	  .examples = pending_examples, .opts = pending_opts, .flags = CMD_PASSPHRASE, .run = run_pending },
	{ .name = "ignore", .args = "PEER", .summary = "hear no more of a pending peer, and refuse what it sends",
	  .examples = ignore_examples, .min_args = 1, .max_args = 1, .flags = CMD_PASSPHRASE, .run = run_ignore },
	{ .name = "refused", .args = "", .summary = "who was not let in or not dialled, and why",
	  .examples = refused_examples, .run = run_refused },
	{ .name = "block", .args = "PEER", .summary = "refuse a peer, and drop what was held from it",
	  .examples = block_examples, .opts = block_opts, .min_args = 1, .max_args = 1, .flags = CMD_PASSPHRASE, .run = run_block },
	{ .name = "forget", .args = "PEER", .summary = "remove the record of a peer",
	  .examples = forget_examples, .flags = CMD_PASSPHRASE | CMD_YES, .min_args = 1, .max_args = 1, .run = run_forget },
	{ .name = "alias", .args = "PEER ALIAS | PEER --remove", .summary = "your own name for a peer",
	  .examples = alias_examples, .opts = alias_opts, .min_args = 1, .max_args = 2, .flags = CMD_PASSPHRASE, .run = run_alias },
	{ 0 },
};

const struct command cmd_peers = {
	.name = "peers",
	.summary = "who is known: list, show, pending, approve, ignore, block, refused, forget, alias",
	.examples = list_examples,
	.text = "PEER is an alias, a name, a node id, or the first digits of one (at least 4).",
	.subs = subs,
};
