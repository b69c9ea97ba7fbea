#include <inttypes.h>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/message.h"

static void print_message(const struct cli *c, const json_t *m)
{
	char text[160];
	const char *reason = json_str(m, "reason");

	out_field(&c->out, "message", json_str(m, "msg_id"));
	out_field(&c->out, "to", show_party(json_object_get(m, "to"), text, sizeof(text)));
	out_fieldf(&c->out, "state", "%s%s%s%s", json_str(m, "state") ? json_str(m, "state") : "?",
		   json_str(m, "state") && strcmp(json_str(m, "state"), "unknown") == 0 ?
			   " (may have been delivered)" :
			   "",
		   reason && *reason ? ": " : "", reason ? reason : "");
	out_fieldf(&c->out, "type", "%s, %s, %" PRId64 " bytes", json_str(m, "type") ? json_str(m, "type") : "?",
		   json_str(m, "priority") ? json_str(m, "priority") : "?", show_int(m, "size"));
	message_fields(c, m, true);
	out_fieldf(&c->out, "attempts", "%" PRId64, show_int(m, "attempts"));
	out_field(&c->out, "created", time_text((uint64_t)show_int(m, "created_ms"), text, sizeof(text)));
	out_field(&c->out, "changed", time_text((uint64_t)show_int(m, "changed_ms"), text, sizeof(text)));
	out_field(&c->out, "expires",
		  show_int(m, "expires_ms") ?
			  time_text((uint64_t)show_int(m, "expires_ms"), text, sizeof(text)) :
			  "never");
	message_timeline(c, m);
}

static void print_table(const struct cli *c, const json_t *list)
{
	static const char *const heads[] = { "MESSAGE", "CREATED", "TO", "SIZE", "STATE", "TRIES", "REASON",
					     NULL };
	struct table *t = table_new(heads);
	char text[160];
	json_t *m;
	size_t i;

	json_array_foreach (list, i, m) {
		table_cell(t, STYLE_NONE, json_str(m, "msg_id"));
		table_cell(t, STYLE_DIM,
			   time_text((uint64_t)show_int(m, "created_ms"), text, sizeof(text)));
		table_cell(t, STYLE_BOLD, show_party(json_object_get(m, "to"), text, sizeof(text)));
		table_cellf(t, "%" PRId64, show_int(m, "size"));
		table_cell(t, show_state(json_str(m, "state")), json_str(m, "state"));
		table_cellf(t, "%" PRId64, show_int(m, "attempts"));
		table_cell(t, STYLE_NONE, json_str(m, "reason"));
	}
	table_print(&c->out, t);
}

static int run_list(struct cli *c)
{
	const struct optval *limit = options_get(&c->opts, "limit"),
			    *before = options_get(&c->opts, "before");
	json_t *p = json_pack("{s:s*, s:s*}", "peer", options_text(&c->opts, "to"), "state",
			      options_text(&c->opts, "state"));
	json_t *result, *list;
	int code = EXIT_DONE;

	if (p && limit->given)
		json_object_set_new(p, "limit", json_integer((json_int_t)limit->number));
	if (p && before->given)
		json_object_set_new(p, "before", json_integer((json_int_t)before->number));
	result = cli_result(c, "outbox.list", p, &code);
	if (!result)
		return code;
	list = json_object_get(result, "messages");
	if (!cli_printed_json(c, result)) {
		if (json_array_size(list) == 0)
			out_note(&c->out, "no messages");
		else
			print_table(c, list);
	}
	json_decref(result);
	return code;
}

static int one(struct cli *c, const char *method)
{
	int code = EXIT_DONE;
	json_t *result = cli_result(c, method, json_pack("{s:s}", "msg_id", cli_arg(c, 0)), &code);

	if (result && !cli_printed_json(c, result))
		print_message(c, result);
	json_decref(result);
	return code;
}

static int run_show(struct cli *c)
{
	return one(c, "outbox.show");
}

static int run_cancel(struct cli *c)
{
	return one(c, "outbox.cancel");
}

static int run_retry(struct cli *c)
{
	return one(c, "outbox.retry");
}

static const struct example list_examples[] = {
	{ "ironmesh outbox", "newest first" },
	{ "ironmesh outbox --state queued --to bob", "what still waits for bob" },
	{ "ironmesh outbox list --json --limit 1000", NULL },
	{ 0 },
};
static const struct example show_examples[] = {
	{ "ironmesh outbox show 7a0c6f1e-0b6b-4c0e-9f0a-1f2e3d4c5b6a", NULL },
	{ 0 },
};
static const struct example cancel_examples[] = {
	{ "ironmesh outbox cancel order-17", "a message that was delivered cannot be called back" },
	{ 0 },
};
static const struct example retry_examples[] = {
	{ "ironmesh outbox retry order-17", "tries a queued one now, a failed one again" },
	{ 0 },
};
static const struct opt list_opts[] = {
	{ "to", 0, OPT_TEXT, "PEER", "only to this peer" },
	{ "state", 0, OPT_WORD, "queued|sent|delivered|read|failed|expired|rejected|cancelled|unknown",
	  "only in this state" },
	{ "limit", 0, OPT_NUMBER, "N", "at most this many (100)", 1, 1000 },
	{ "before", 0, OPT_NUMBER, "SEQ", "only older than this number (see --json)", 0, INT64_MAX },
	{ 0 },
};

static const struct command subs[] = {
	{ .name = "list", .args = "", .summary = "messages sent from here", .examples = list_examples,
	  .text = "A message is queued until it is handed to a connection, sent until the peer confirms\n"
		  "it, then delivered, and read when somebody there took it. It may also end as failed,\n"
		  "expired, rejected or cancelled; or as unknown: it may have been delivered, and the\n"
		  "recipient no longer says.",
	  .opts = list_opts, .run = run_list },
	{ .name = "show", .args = "MSG_ID", .summary = "one message and what became of it",
	  .examples = show_examples, .min_args = 1, .max_args = 1, .run = run_show },
	{ .name = "cancel", .args = "MSG_ID", .summary = "stop trying", .examples = cancel_examples,
	  .min_args = 1, .max_args = 1, .run = run_cancel },
	{ .name = "retry", .args = "MSG_ID", .summary = "try now, or again", .examples = retry_examples,
	  .min_args = 1, .max_args = 1, .run = run_retry },
	{ 0 },
};

const struct command cmd_outbox = {
	.name = "outbox",
	.summary = "what was sent: list, show, cancel, retry",
	.examples = list_examples,
	.subs = subs,
};
