#include <inttypes.h>
#include <stdlib.h>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/message.h"

static bool parse_seq(const char *text, int64_t *seq)
{
	char *end;
	long long n;

	n = *text >= '1' && *text <= '9' ? strtoll(text, &end, 10) : 0;
	if (n <= 0 || *end || strlen(text) > 18)
		return false;
	*seq = n;
	return true;
}

static int run_list(struct cli *c)
{
	const struct optval *limit = options_get(&c->opts, "limit"), *after = options_get(&c->opts, "after");
	const char *state = options_text(&c->opts, "state");
	bool unread = options_given(&c->opts, "unread");
	json_t *p, *result, *list;
	int code = EXIT_DONE;

	if (unread && state)
		return cli_usage(c, NULL, "--unread is --state new: give one of them");
	p = json_pack("{s:s*, s:s*}", "from", options_text(&c->opts, "from"), "state",
		      unread ? "new" : state);
	if (p && limit->given)
		json_object_set_new(p, "limit", json_integer((json_int_t)limit->number));
	if (p && after->given)
		json_object_set_new(p, "after", json_integer((json_int_t)after->number));
	result = cli_result(c, "inbox.list", p, &code);
	if (!result)
		return code;
	list = json_object_get(result, "messages");
	if (!cli_printed_json(c, result)) {
		if (json_array_size(list) == 0) {
			out_note(&c->out, unread ? "no unread messages" : "no messages");
		} else {
			message_table(c, list);
			out_hint(&c->out, "ironmesh inbox show SEQ");
		}
	}
	json_decref(result);
	return code;
}

/* The message with exactly this number, or NULL after a printed fault. */
static json_t *fetch(struct cli *c, int64_t seq, int *code)
{
	static const char *const states[] = { NULL, "held" };
	struct fault f;
	json_t *result, *m;

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		result = cli_result(c, "inbox.list",
				    json_pack("{s:I, s:i, s:s*}", "after", (json_int_t)seq - 1, "limit", 1,
					      "state", states[i]),
				    code);
		if (!result)
			return NULL;
		m = json_array_get(json_object_get(result, "messages"), 0);
		if (m && show_int(m, "seq") == seq) {
			json_incref(m);
			json_decref(result);
			return m;
		}
		json_decref(result);
	}
	fault_set(&f, ERR_NOTFOUND, EXIT_GENERIC, "there is no message %" PRId64 " in the inbox", seq);
	fault_next(&f, "ironmesh inbox list");
	*code = out_fault(&c->out, &f);
	return NULL;
}

static int run_show(struct cli *c)
{
	int64_t seq;
	json_t *m, *v;
	int code = EXIT_DONE;

	if (!parse_seq(cli_arg(c, 0), &seq))
		return cli_usage(c, NULL, "'%s' is not the number of a message", cli_arg(c, 0));
	m = fetch(c, seq, &code);
	if (!m)
		return code;
	if (c->out.json) {
		v = json_pack("{s:s, s:[O]}", "schema", "ironmesh.inbox/1", "messages", m);
		out_json(&c->out, v);
		json_decref(v);
	} else {
		message_print(c, m, options_given(&c->opts, "raw"), true);
	}
	json_decref(m);
	return code;
}

static int change(struct cli *c, const char *method, const char *done, const char *already)
{
	const char *arg = cli_arg(c, 0);
	int64_t seq;
	json_t *result, *p;
	int code = EXIT_DONE;

	if (parse_seq(arg, &seq))
		p = json_pack("{s:I}", "seq", (json_int_t)seq);
	else if (strcmp(method, "inbox.ack") == 0)
		p = json_pack("{s:s}", "msg_id", arg);
	else
		return cli_usage(c, NULL, "'%s' is not the number of a message", arg);
	result = cli_result(c, method, p, &code);
	if (!result)
		return code;
	if (!cli_printed_json(c, result))
		printf("%s\n", json_is_true(json_object_get(result, "changed")) ||
				       show_int(result, "changed") > 0 ?
			       done :
			       already);
	json_decref(result);
	return code;
}

static int run_ack(struct cli *c)
{
	return change(c, "inbox.ack", "marked as read; the sender is told", "nothing to mark: read already");
}

static int run_delete(struct cli *c)
{
	int code = EXIT_DONE;

	if (!cli_confirmed(c, &code, "Delete the body of message %s?", cli_arg(c, 0)))
		return code;
	return change(c, "inbox.delete", "deleted", "nothing to delete");
}

static const struct example list_examples[] = {
	{ "ironmesh inbox", "what has arrived; nothing is marked as read" },
	{ "ironmesh inbox --unread --from bob --json", NULL },
	{ "ironmesh inbox list --after 120 --limit 50", "the next page" },
	{ 0 },
};
static const struct example show_examples[] = {
	{ "ironmesh inbox show 12", NULL },
	{ "ironmesh inbox show 12 --raw > photo.jpg", "exactly the bytes that were sent" },
	{ 0 },
};
static const struct example ack_examples[] = {
	{ "ironmesh inbox ack 12", "marks it as read and tells the sender" },
	{ 0 },
};
static const struct example delete_examples[] = {
	{ "ironmesh inbox delete 12 --yes", NULL },
	{ 0 },
};

static const struct opt list_opts[] = {
	{ "unread", 0, OPT_FLAG, NULL, "only new messages" },
	{ "from", 0, OPT_TEXT, "PEER", "only from this peer" },
	{ "state", 0, OPT_WORD, "new|read|held", "only in this state" },
	{ "limit", 0, OPT_NUMBER, "N", "at most this many (100)", 1, 1000 },
	{ "after", 0, OPT_NUMBER, "SEQ", "only behind this number", 0, INT64_MAX },
	{ 0 },
};
static const struct opt show_opts[] = {
	{ "raw", 0, OPT_FLAG, NULL, "write the bytes of the body and nothing else" },
	{ 0 },
};

static const struct command subs[] = {
	{ .name = "list", .args = "", .summary = "what has arrived", .examples = list_examples,
	  .text = "Oldest first. Held messages came from a peer that is not approved yet; see them\n"
		  "with --state held, and let them in with ironmesh peers approve.",
	  .opts = list_opts, .run = run_list },
	{ .name = "show", .args = "SEQ", .summary = "one message in full", .examples = show_examples,
	  .text = "SEQ is the number in the first column of the list. Nothing is marked as read.",
	  .opts = show_opts, .min_args = 1, .max_args = 1, .run = run_show },
	{ .name = "ack", .args = "SEQ | MSG_ID", .summary = "mark a message as read", .examples = ack_examples,
	  .min_args = 1, .max_args = 1, .run = run_ack },
	{ .name = "delete", .args = "SEQ", .summary = "remove the body of a message",
	  .examples = delete_examples,
	  .text = "The id is remembered, so a repeated copy is still recognised.", .flags = CMD_YES,
	  .min_args = 1, .max_args = 1, .run = run_delete },
	{ 0 },
};

const struct command cmd_inbox = {
	.name = "inbox",
	.summary = "what has arrived: list, show, ack, delete",
	.examples = list_examples,
	.subs = subs,
};
