#include <inttypes.h>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/message.h"

static void count_cell(struct table *t, int64_t n, enum style s)
{
	char text[24];

	snprintf(text, sizeof text, "%" PRId64, n);
	table_cell(t, n ? s : STYLE_DIM, text);
}

static void print_list(const struct cli *c, const json_t *list)
{
	static const char *const heads[] = { "PEER", "LAST", "STATE", "UNREAD", "HELD", "QUEUED", "FAILED", "ALL", NULL };
	struct table *t = table_new(heads);
	char text[160];
	json_t *m;
	size_t i;

	json_array_foreach (list, i, m) {
		const char *dir = json_str(m, "last_dir"), *state = json_str(m, "last_state");

		table_cell(t, STYLE_BOLD, json_str(m, "label"));
		table_cell(t, STYLE_DIM, time_text((uint64_t)show_int(m, "last_ms"), text, sizeof text));
		snprintf(text, sizeof text, "%s %s", dir && strcmp(dir, "out") == 0 ? "to:" : "from:", state ? state : "-");
		table_cell(t, show_state(state), text);
		count_cell(t, show_int(m, "unread"), STYLE_BOLD);
		count_cell(t, show_int(m, "held"), STYLE_WARN);
		count_cell(t, show_int(m, "queued"), STYLE_WARN);
		count_cell(t, show_int(m, "failed"), STYLE_BAD);
		count_cell(t, show_int(m, "total"), STYLE_NONE);
	}
	table_print(&c->out, t);
}

static void print_thread(const struct cli *c, const json_t *list)
{
	static const char *const heads[] = { "WHEN", "", "STATE", "SIZE", "MESSAGE", "TEXT", NULL };
	struct table *t = table_new(heads);
	char text[512];
	json_t *m;

	/* The oldest first, as one reads. */
	for (size_t i = json_array_size(list); i-- > 0;) {
		const char *dir;

		m = json_array_get(list, i);
		dir = json_str(m, "dir");
		table_cell(t, STYLE_DIM, time_text((uint64_t)show_int(m, "at_ms"), text, sizeof text));
		table_cell(t, STYLE_NONE, dir && strcmp(dir, "out") == 0 ? "->" : "<-");
		table_cell(t, show_state(json_str(m, "state")), json_str(m, "state"));
		count_cell(t, show_int(m, "size"), STYLE_NONE);
		table_cell(t, STYLE_DIM, json_str(m, "msg_id"));
		table_cell(t, STYLE_NONE, message_preview(m, text, sizeof text));
	}
	table_print(&c->out, t);
}

static int show_list(struct cli *c)
{
	const struct optval *limit = options_get(&c->opts, "limit");
	int code = EXIT_DONE;
	json_t *p = json_object(), *result;

	if (p && limit->given)
		json_object_set_new(p, "limit", json_integer((json_int_t)limit->number));
	result = cli_result(c, "conversations.list", p, &code);
	if (!result)
		return code;
	if (!cli_printed_json(c, result)) {
		if (!json_array_size(json_object_get(result, "conversations")))
			out_note(&c->out, "nothing was said with anybody yet");
		else
			print_list(c, json_object_get(result, "conversations"));
	}
	json_decref(result);
	return code;
}

static int show_one(struct cli *c, const char *peer)
{
	const struct optval *limit = options_get(&c->opts, "limit");
	int code = EXIT_DONE;
	json_t *p = json_pack("{s:s, s:b, s:i, s:s*, s:s*}", "peer", peer, "bodies", !options_get(&c->opts, "no-bodies")->given, "body_max",
			      512, "before", options_text(&c->opts, "before"), "conversation", options_text(&c->opts, "conversation"));
	json_t *result, *list;

	if (p && limit->given)
		json_object_set_new(p, "limit", json_integer((json_int_t)(limit->number < 500 ? limit->number : 500)));
	result = cli_result(c, "conversations.show", p, &code);
	if (!result)
		return code;
	list = json_object_get(result, "messages");
	if (!cli_printed_json(c, result)) {
		if (json_array_size(list))
			print_thread(c, list);
		else
			out_note(&c->out, "no messages");
		if (json_str(result, "older"))
			out_hint(&c->out, "ironmesh conversations %s --before %s", peer, json_str(result, "older"));
	}
	json_decref(result);
	return code;
}

static int run(struct cli *c)
{
	const char *peer = cli_arg(c, 0);

	return peer ? show_one(c, peer) : show_list(c);
}

static const struct example examples[] = {
	{ "ironmesh conversations", "with whom, the newest first" },
	{ "ironmesh conversations bob", "the last messages in both directions" },
	{ "ironmesh conversations bob --no-bodies --limit 200 --json", NULL },
	{ 0 },
};
static const struct opt opts[] = {
	{ "limit", 0, OPT_NUMBER, "N", "at most this many (100 peers, 50 messages)", 1, 1000 },
	{ "before", 0, OPT_TEXT, "MARK", "only what is older (the mark that the page before named)" },
	{ "conversation", 0, OPT_TEXT, "ID", "only messages of this conversation" },
	{ "no-bodies", 0, OPT_FLAG, NULL, "do not show what was said" },
	{ 0 },
};

const struct command cmd_conversations = {
	.name = "conversations",
	.args = "[PEER]",
	.summary = "what was said with whom, in both directions",
	.text = "Messages sent and received stand in one list, by time. A message that was deleted or pruned is not\n"
		"in it. The body of a message of ours is kept until it is delivered, and of one that failed.",
	.examples = examples,
	.opts = opts,
	.max_args = 1,
	.run = run,
};
