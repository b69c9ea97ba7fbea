#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/send.h"

#define BODY_MAX        1048576u /* over im2; the daemon has the last word, old peers take less */
#define WAIT_DEFAULT_MS 30000u
#define WAIT_WORDS      "delivered|read|sent"

/* --- the body ----------------------------------------------------------------------------- */

static enum err too_large(struct fault *f)
{
	fault_set(f, ERR_LIMIT, EXIT_USAGE, "the message is larger than %u bytes", BODY_MAX);
	fault_means(f, "One message carries at most 1 MiB; larger content goes in parts.");
	fault_next(f, "split -b 1M FILE part-");
	return ERR_LIMIT;
}

static enum err read_body(int fd, const char *name, struct buf *b, struct fault *f)
{
	char safe[160];

	for (;;) {
		/* One byte over the limit is room to notice that there is more. */
		uint8_t *p = buf_reserve(b, b->max - b->n < 65536 ? b->max - b->n : 65536);
		ssize_t n;

		if (!p)
			return fault_set(f, b->err, EXIT_GENERIC, "no memory for the message");
		n = read(fd, p, b->max - b->n < 65536 ? b->max - b->n : 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fault_set(f, err_from_errno(errno), EXIT_GENERIC, "cannot read %s: %s",
					 text_safe(bytes_str(name), safe, sizeof(safe)), strerror(errno));
		if (n == 0)
			return ERR_OK;
		b->n += (size_t)n;
		if (b->n > BODY_MAX)
			return too_large(f);
	}
}

static enum err body_from_file(const char *path, struct buf *b, struct fault *f)
{
	char safe[160];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	enum err e;

	if (fd < 0) {
		e = fault_set(f, err_from_errno(errno), EXIT_USAGE, "cannot open %s: %s",
			      text_safe(bytes_str(path), safe, sizeof(safe)), strerror(errno));
		fault_means(f, "Nothing was sent.");
		return e;
	}
	e = read_body(fd, path, b, f);
	close(fd);
	return e;
}

/* With --capability no peer is named: the text stands first. */
static const char *named_peer(const struct cli *c)
{
	return options_given(&c->opts, "capability") ? NULL : cli_arg(c, 0);
}

static enum err take_body(const struct cli *c, struct buf *b, struct fault *f)
{
	const char *file = options_text(&c->opts, "file"), *arg = cli_arg(c, named_peer(c) ? 1 : 0);

	if (file && arg)
		return fault_set(f, ERR_USAGE, EXIT_USAGE, "both --file and a text were given");
	if (file)
		return body_from_file(file, b, f);
	if (!arg) {
		fault_set(f, ERR_USAGE, EXIT_USAGE, "there is nothing to send");
		fault_means(f, "Give the text, or '-' to read it from stdin, or --file FILE.");
		fault_next(f, "ironmesh send PEER \"text\"");
		return ERR_USAGE;
	}
	if (strcmp(arg, "-") == 0)
		return read_body(STDIN_FILENO, "stdin", b, f);
	if (strlen(arg) > BODY_MAX)
		return too_large(f);
	buf_add_str(b, arg);
	return b->err;
}

/* --- what became of it -------------------------------------------------------------------- */

static bool is(const char *a, const char *b)
{
	return a && strcmp(a, b) == 0;
}

bool send_reached(const char *state, const char *wanted)
{
	if (is(wanted, "read"))
		return is(state, "read");
	if (is(wanted, "delivered"))
		return is(state, "delivered") || is(state, "read");
	return is(state, "sent") || is(state, "stored") || is(state, "delivered") || is(state, "read");
}

enum exit_code send_outcome(const json_t *result, const char *wanted)
{
	const char *state = json_str(result, "state");

	/* "unknown" may have been delivered: it is no failure, and sending it again may repeat it. */
	if (is(state, "failed") || is(state, "expired") || is(state, "rejected") || is(state, "cancelled"))
		return EXIT_FAILED;
	return send_reached(state, wanted) ? EXIT_DONE : EXIT_UNDELIVERED;
}

static void explain_end(const json_t *result, struct fault *f)
{
	const char *state = json_str(result, "state"), *reason = json_str(result, "reason");
	char safe[200];

	fault_set(f, is(state, "expired") ? ERR_EXPIRED : ERR_CLOSED, EXIT_FAILED,
		  "the message ended as %s%s%s", state, reason && *reason ? ": " : "",
		  reason ? text_safe(bytes_str(reason), safe, sizeof(safe)) : "");
	fault_means(f, "It is no longer tried.");
	fault_next(f, "ironmesh outbox retry %s",
		   text_safe(bytes_str(json_str(result, "msg_id")), safe, sizeof(safe)));
}

static void explain_wait(const json_t *result, const char *wanted, uint64_t wait_ms, struct fault *f)
{
	const char *reason = json_str(result, "reason"), *state = json_str(result, "state");
	char id[160], safe[160], span[40];

	text_safe(bytes_str(json_str(result, "msg_id")), id, sizeof(id));
	if (is(state, "unknown")) {
		fault_set(f, ERR_CLOSED, EXIT_UNDELIVERED, "the message may have been delivered");
		fault_means(f, "The recipient had closed the book on it before this node was restored from a copy.");
	} else if (is(reason, "peer-never-confirms")) {
		fault_set(f, ERR_UNSUPPORTED, EXIT_UNDELIVERED,
			  "sent, but the peer's software never confirms");
		fault_means(f, "Whether it arrived cannot be known here; --wait-for sent accepts that.");
	} else {
		fault_set(f, ERR_TIMEOUT, EXIT_UNDELIVERED, "not %s within %s", wanted,
			  duration_text(wait_ms, span, sizeof(span)));
		fault_means(f, "%s stays queued until it is delivered or expires%s%s%s.",
			    is(state, "sent")	? "It was sent and not confirmed yet; it" :
			    is(state, "stored") ? "A relay keeps it until there is a way; it" :
						  "The message",
			    reason && *reason ? " (" : "",
			    reason ? text_safe(bytes_str(reason), safe, sizeof(safe)) : "",
			    reason && *reason ? ")" : "");
	}
	fault_next(f, "ironmesh outbox show %s", id);
}

static void print_reached(const struct cli *c, const json_t *result)
{
	const char *state = json_str(result, "state"), *via = json_str(result, "via");
	const json_t *in = json_object_get(result, "delivered_in_ms");
	char safe[40];

	if (!via || !*via)
		via = "-";
	text_safe(bytes_str(via), safe, sizeof(safe));
	if (is(state, "sent"))
		printf("sent via %s%s\n", safe,
		       is(json_str(result, "reason"), "peer-never-confirms") ?
			       "; the peer's software never confirms" :
			       "");
	else if (json_is_number(in))
		printf("%s%s%s in %.0f ms via %s\n", out_on(&c->out, STYLE_GOOD), state,
		       out_off(&c->out, STYLE_GOOD), json_number_value(in), safe);
	else
		printf("%s via %s\n", state, safe);
}

/* Prints the result of a wait and returns the exit code. */
static int finish_wait(const struct cli *c, const json_t *result, const char *wanted, uint64_t wait_ms)
{
	enum exit_code code = send_outcome(result, wanted);
	struct fault f;
	char id[160];

	if (code == EXIT_DONE) {
		if (!cli_printed_json(c, result))
			print_reached(c, result);
		return code;
	}
	if (code == EXIT_FAILED)
		explain_end(result, &f);
	else
		explain_wait(result, wanted, wait_ms, &f);
	if (!cli_printed_json(c, result) && is(json_str(result, "reason"), "peer-never-confirms"))
		print_reached(c, result);
	else if (!c->out.json && code == EXIT_UNDELIVERED)
		printf("queued as %s\n", text_safe(bytes_str(json_str(result, "msg_id")), id, sizeof(id)));
	return out_outcome(&c->out, &f);
}

/* --- the command -------------------------------------------------------------------------- */

/* Options that are there or not, and numbers: each under its name of docs/control.md. */
static void pack_flags(const struct cli *c, json_t *p)
{
	static const struct {
		const char *option, *param;
	} flags[] = { { "volatile", "volatile" },
		      { "agent", "agent" },
		      { "expects-reply", "expects_reply" },
		      { "no-receipt", "no_receipt" },
		      { "no-read-receipt", "no_read_receipt" } },
	  numbers[] = { { "turn", "turn" }, { "max-turns", "max_turns" } };

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (options_given(&c->opts, flags[i].option))
			json_object_set_new(p, flags[i].param, json_true());
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (options_given(&c->opts, numbers[i].option))
			json_object_set_new(
				p, numbers[i].param,
				json_integer((json_int_t)options_get(&c->opts, numbers[i].option)->number));
}

/* `to` NULL: the daemon chooses by --capability. */
static json_t *pack_params(const struct cli *c, const char *to, const struct buf *body, bool waits, uint64_t wait_ms,
			   const char *wanted)
{
	struct buf b64;
	const struct optval *ttl = options_get(&c->opts, "ttl");
	json_t *p = json_pack("{s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*}", "to", to, "capability",
			      to ? NULL : options_text(&c->opts, "capability"), "strategy", to ? NULL : options_text(&c->opts, "strategy"), "type",
			      options_text(&c->opts, "type"), "priority",
			      options_text(&c->opts, "priority"), "msg_id", options_text(&c->opts, "id"), "kind",
			      options_text(&c->opts, "kind"), "conversation",
			      options_text(&c->opts, "conversation"), "reply_to", options_text(&c->opts, "reply-to"),
			      "content_type", options_text(&c->opts, "content-type"));

	/* Always base64: a text of control characters would grow sixfold as a JSON string. */
	buf_init(&b64, BASE64_LEN(BODY_MAX) + 1);
	if (buf_add_base64(&b64, buf_bytes(body)) != ERR_OK || !p) {
		json_decref(p);
		p = NULL;
	} else {
		json_object_set_new(p, "body_b64", json_stringn((const char *)b64.p, b64.n));
		pack_flags(c, p);
		if (ttl->given)
			json_object_set_new(p, "ttl_ms", json_integer((json_int_t)ttl->number));
		if (waits)
			json_object_set_new(p, "wait_ms", json_integer((json_int_t)wait_ms));
		if (waits && wanted)
			json_object_set_new(p, "wait_for", json_string(wanted));
	}
	buf_fini(&b64);
	return p;
}

/* What the daemon chose or changed. */
static void say_more(const struct cli *c, const json_t *result)
{
	const char *now = json_str(json_object_get(result, "to"), "id");
	char id[80];

	if (c->out.json || !result)
		return;
	now = now && strlen(now) == 32 ? now : "it";
	if (is(options_text(&c->opts, "conversation"), "new") && json_str(result, "conversation"))
		printf("conversation %s\n", text_safe(bytes_str(json_str(result, "conversation")), id, sizeof(id)));
	if (json_is_true(json_object_get(result, "unlinked")))
		out_note(&c->out, "sent without --reply-to: that message belongs to a conversation with another peer");
	if (json_str(result, "rotated_from"))
		out_note(&c->out, "%s has another identity since its keys were rotated: sent to %s",
			 text_safe(bytes_str(json_str(result, "rotated_from")), id, sizeof(id)), now);
}

/* One message, to `to` or to whom the daemon chooses; prints what became of it. */
static int send_one(struct cli *c, const char *to, const struct buf *body)
{
	const struct optval *wait = options_get(&c->opts, "wait");
	const char *wait_for = options_text(&c->opts, "wait-for");
	const char *wanted = wait_for ? wait_for : wait->word;
	bool waits = wait->given || wanted;
	uint64_t wait_ms = wait->text ? wait->number : WAIT_DEFAULT_MS;
	struct fault f = { 0 };
	json_t *result = NULL;
	char id[160];
	int code = EXIT_DONE;

	if (cli_ask(c, "send", pack_params(c, to, body, waits, wait_ms, wanted), (waits ? wait_ms : 0) + CLIENT_TIMEOUT_MS,
		    &result, &f) != ERR_OK)
		return out_fault(&c->out, &f);
	if (!to && !c->out.json)
		out_note(&c->out, "to %s", show_party(json_object_get(result, "to"), id, sizeof(id)));
	if (waits) {
		code = finish_wait(c, result, wanted ? wanted : "delivered", wait_ms);
	} else if (!cli_printed_json(c, result) && options_given(&c->opts, "volatile")) {
		printf("sent, and kept nowhere\n");
	} else if (!c->out.json) {
		text_safe(bytes_str(json_str(result, "msg_id")), id, sizeof(id));
		printf("queued as %s\n", id);
		out_hint(&c->out, "ironmesh outbox show %s", id);
	}
	say_more(c, result);
	json_decref(result);
	return code;
}

/* To every trusted peer that has it, a message each; the first failure is the exit code. */
static int send_all(struct cli *c, const struct buf *body)
{
	int code = EXIT_DONE, one, sent = 0;
	json_t *result = cli_result(c, "caps.find", json_pack("{s:s}", "glob", options_text(&c->opts, "capability")), &code);
	json_t *seen = json_object(), *found;
	size_t i;

	json_array_foreach (json_object_get(result, "found"), i, found) {
		const char *id = json_str(json_object_get(found, "peer"), "id");

		if (!id || json_is_true(json_object_get(found, "self")) || json_object_get(seen, id) ||
		    !json_is_true(json_object_get(found, "trusted")))
			continue;
		json_object_set_new(seen, id, json_true());
		if (!c->out.json)
			out_note(&c->out, "to %s", id);
		one = send_one(c, id, body);
		code = code == EXIT_DONE ? one : code;
		sent++;
	}
	if (result && !sent) {
		struct fault f = { 0 };

		fault_set(&f, ERR_NOTFOUND, EXIT_PEER_UNKNOWN, "no trusted peer says that it has it");
		fault_next(&f, "ironmesh caps find '*'");
		code = out_fault(&c->out, &f);
	}
	json_decref(seen);
	json_decref(result);
	return code;
}

static int run_send(struct cli *c)
{
	const struct optval *wait = options_get(&c->opts, "wait");
	const char *wait_for = options_text(&c->opts, "wait-for"), *strategy = options_text(&c->opts, "strategy");
	bool waits = wait->given || wait_for || wait->word, chosen = options_given(&c->opts, "capability");
	struct fault f = { 0 };
	struct buf body;
	enum err e;
	int code;

	if (wait_for && wait->word && strcmp(wait_for, wait->word) != 0)
		return cli_usage(c, NULL, "--wait %s and --wait-for %s contradict each other", wait->word,
				 wait_for);
	if (options_given(&c->opts, "volatile") && (waits || options_given(&c->opts, "id")))
		return cli_usage(c, NULL, "--volatile excludes --wait and --id: nobody confirms it, and it is never repeated");
	if (chosen && cli_arg(c, 1))
		return cli_usage(c, NULL, "with --capability no PEER is named");
	if (!chosen && (strategy || !cli_arg(c, 0)))
		return cli_usage(c, NULL, strategy ? "--strategy goes with --capability" : "a PEER, or --capability PATTERN");
	buf_init(&body, BODY_MAX + 1);
	e = take_body(c, &body, &f);
	if (e != ERR_OK)
		code = out_fault(&c->out, &f);
	else if (is(strategy, "all"))
		code = send_all(c, &body);
	else
		code = send_one(c, chosen ? NULL : cli_arg(c, 0), &body);
	buf_fini(&body);
	return code;
}

static const struct example examples[] = {
	{ "ironmesh send bob \"hello\"", "returns when it is safe on disk; prints the message id" },
	{ "ironmesh send bob \"hello\" --wait 5s", "prints: delivered in 12 ms via ws" },
	{ "ironmesh send bob --file photo.jpg --priority low --ttl 1d", NULL },
	{ "date | ironmesh send bob - --json", NULL },
	{ "ironmesh send bob \"what is 6*7?\" --kind request --expects-reply --conversation new", NULL },
	{ "ironmesh send bob 42 --reply-to MSG_ID --agent", "in the same conversation, as a machine" },
	{ "ironmesh send bob \"t=21.5\" --volatile", "now or never: no disk, no confirmation" },
	{ "ironmesh send bob \"pay 5\" --id order-17", "safe to repeat: the same id is accepted once" },
	{ "ironmesh send --capability 'llm:*' \"what is 6*7?\"", "to the nearest that can" },
	{ 0 },
};

static const struct opt opts[] = {
	{ "wait", 0, OPT_DURATION_MAYBE, "DURATION", "until it is delivered, or this long (30s)",
	  0, 86400000, WAIT_WORDS },
	{ "wait-for", 0, OPT_WORD, WAIT_WORDS, "what to wait for; implies --wait" },
	{ "file", 0, OPT_TEXT, "FILE", "send the bytes of this file" },
	{ "priority", 0, OPT_WORD, "low|normal|high|critical", "what overtakes what" },
	{ "ttl", 0, OPT_DURATION, "DURATION", "give up after this (7d; 0 never)", 0,
	  3153600000000 },
	{ "volatile", 0, OPT_FLAG, NULL, "only over a live im2 session, in one frame; kept nowhere" },
	{ "kind", 0, OPT_WORD, "message|request|response|notice|event|error|end",
	  "what kind of message it is (message)" },
	{ "type", 0, OPT_WORD, "MSG|REQ|RESP|CONV|NOTICE|EVENT|ERROR|END", "the same in the words of the old wire" },
	{ "conversation", 0, OPT_TEXT, "ID", "what it belongs to: 32 hex digits, or 'new'" },
	{ "reply-to", 0, OPT_TEXT, "MSG_ID", "the message it answers; conversation and turn follow from that" },
	{ "expects-reply", 0, OPT_FLAG, NULL, "say that an answer is awaited" },
	{ "turn", 0, OPT_NUMBER, "N", "its place in the conversation (one after --reply-to)", 0, 65535 },
	{ "max-turns", 0, OPT_NUMBER, "N", "where machines end the conversation (32)", 0, 65535 },
	{ "content-type", 0, OPT_TEXT, "TYPE", "media type of the body (text/plain)" },
	{ "no-receipt", 0, OPT_FLAG, NULL, "ask for no confirmation: 'sent' is all that will be known" },
	{ "no-read-receipt", 0, OPT_FLAG, NULL, "'delivered' is enough: do not ask whether it was read" },
	{ "agent", 0, OPT_FLAG, NULL, "a machine sends this: the loop brakes apply" },
	{ "id", 0, OPT_TEXT, "ID", "your own message id, at most 128 characters" },
	{ "capability", 0, OPT_TEXT, "PATTERN", "to a trusted peer that has it, such as 'llm:*'" },
	{ "strategy", 0, OPT_WORD, "first|random|all", "which of those: the nearest (first), any, or each of them" },
	{ 0 },
};

const struct command cmd_send = {
	.name = "send",
	.args = "PEER TEXT | PEER - | PEER --file FILE | --capability PATTERN TEXT",
	.summary = "send a message to a peer",
	.examples = examples,
	.text = "PEER is a name, an alias, a node id, or the first digits of one (at least 4).\n"
		"A body is any bytes, at most 1 MiB (785000 to a peer of the old software). A message\n"
		"that cannot be delivered now stays on disk and is sent when the peer comes back.\n"
		"Volatile messages are not kept: without a live im2 session they fail at once.\n"
		"\n"
		"With --agent the daemon brakes loops: only messages and requests are answered, a\n"
		"request once and with a response or an error; a conversation ends after its turns,\n"
		"and takes 60 messages a minute.\n"
		"\n"
		"Exit: 0 accepted, or reached what --wait waited for; 6 still queued when --wait\n"
		"ended; 7 ended without delivery; 3 no daemon; 4 unknown peer; 5 not trusted.",
	.opts = opts,
	.min_args = 0,
	.max_args = 2,
	.run = run_send,
};
