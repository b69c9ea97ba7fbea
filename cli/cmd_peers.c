#include "base/text.h"
#include "cli/commands.h"

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
	.summary = "who is known: list, show, approve, block, forget, alias",
	.examples = list_examples,
	.text = "PEER is an alias, a name, a node id, or the first digits of one (at least 4).",
	.subs = subs,
};
