#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/message.h"

#define FOLLOW_WAIT_MS 60000u /* one request; the daemon is asked again after it */

struct receiver {
	struct cli *c;
	const char *from;
	bool follow, raw;
	uint64_t deadline; /* when to stop waiting for a message; UINT64_MAX never */
	uint64_t want, got;
	json_t *taken; /* --json without --follow: printed as one value at the end */
};

/* Whether the reader of a pipe has gone: then a message must stay new. */
static bool reader_gone(void)
{
	struct pollfd p = { .fd = STDOUT_FILENO };

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLNVAL));
}

static void emit(struct receiver *r, json_t *m)
{
	json_t *v;

	r->got++;
	if (!r->c->out.json) {
		message_print(r->c, m, r->raw, false);
	} else if (!r->follow) {
		json_array_append(r->taken, m);
	} else {
		v = json_pack("{s:s}", "schema", "ironmesh.message/1");
		json_object_update(v, m);
		out_json(&r->c->out, v);
		json_decref(v);
	}
}

/*
 * Claims the message, then hands it out. The daemon answers `changed` to one claimant only, so two
 * receivers never print the same message; and a claim comes only when the message is here
 * already, so an interrupted wait loses none.
 */
static enum err claim(struct receiver *r, json_t *m, struct fault *f)
{
	sigset_t stop, before;
	json_t *result = NULL;
	enum err e;

	if (reader_gone())
		_exit(128 + SIGPIPE);
	sigemptyset(&stop);
	sigaddset(&stop, SIGINT);
	sigaddset(&stop, SIGTERM);
	sigprocmask(SIG_BLOCK, &stop, &before);
	e = cli_ask(r->c, "inbox.ack", json_pack("{s:I}", "seq", (json_int_t)show_int(m, "seq")),
		    CLIENT_TIMEOUT_MS, &result, f);
	if (e == ERR_OK) {
		if (json_is_true(json_object_get(result, "changed")) || show_int(result, "changed") > 0)
			emit(r, m);
		if (r->follow || !r->c->out.json)
			e = out_finish(EXIT_DONE) == EXIT_DONE ?
				    ERR_OK :
				    fault_set(f, ERR_IO, EXIT_GENERIC, "message %" PRId64
					      " was taken but could not be written", show_int(m, "seq"));
		json_decref(result);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return e;
}

static uint64_t left(const struct receiver *r)
{
	uint64_t now = clock_ms();
	uint64_t ms = r->deadline > now ? r->deadline - now : 0;

	return ms < FOLLOW_WAIT_MS ? ms : FOLLOW_WAIT_MS;
}

/* One request: as many as are wanted and there. *none: the daemon had nothing. */
static enum err take_some(struct receiver *r, bool *none, struct fault *f)
{
	uint64_t more = r->want - r->got, wait = left(r);
	json_t *result = NULL, *list, *m;
	size_t i;
	enum err e = cli_ask(r->c, "inbox.take",
			     json_pack("{s:I, s:I, s:b, s:s*}", "limit",
				       (json_int_t)(more < 16 ? more : 16), "wait_ms", (json_int_t)wait, "ack",
				       0, "from", r->from),
			     wait + CLIENT_TIMEOUT_MS, &result, f);

	if (e != ERR_OK)
		return e;
	list = json_object_get(result, "messages");
	*none = json_array_size(list) == 0;
	json_array_foreach (list, i, m) {
		e = claim(r, m, f);
		if (e != ERR_OK)
			break;
	}
	json_decref(result);
	return e;
}

static int nothing_came(const struct receiver *r, bool waited)
{
	struct fault f;

	fault_set(&f, ERR_TIMEOUT, EXIT_RETRY, waited ? "no message came" : "there is no new message");
	if (!waited)
		fault_next(&f, "ironmesh recv --wait 60s");
	/* With --json the empty list is the answer, and the only value. */
	return r->c->out.json ? (int)f.code : out_outcome(&r->c->out, &f);
}

/* --- volatile messages: they are in no inbox, so they come as events -------------------------------- */

/* The shape of a message of the inbox; what an event leaves out says nothing. */
static json_t *of_event(const json_t *e)
{
	static const char *const same[] = { "msg_id",	"created_ms", "size",	      "priority", "kind",      "conversation",
					    "reply_to", "turn",	      "max_turns",    "body",	  "body_b64",  "end_reason",
					    "signed",	"content_type", "expects_reply" };
	json_t *m = json_pack("{s:{s:O?, s:O?}, s:O?, s:b}", "from", "id", json_object_get(e, "from"), "name",
			      json_object_get(e, "name"), "received_ms", json_object_get(e, "at_ms"), "volatile", 1);

	for (size_t i = 0; m && i < sizeof(same) / sizeof(same[0]); i++)
		if (json_object_get(e, same[i]))
			json_object_set(m, same[i], json_object_get(e, same[i]));
	return m;
}

static enum err subscribe(struct receiver *r, char id[static 40], struct fault *f)
{
	json_t *result = NULL;
	enum err e = cli_connect(r->c, f);

	id[0] = '\0';
	if (e == ERR_OK && r->from) {
		e = cli_ask(r->c, "peers.show", json_pack("{s:s}", "peer", r->from), CLIENT_TIMEOUT_MS, &result, f);
		if (e == ERR_OK && json_str(result, "id"))
			snprintf(id, 40, "%s", json_str(result, "id"));
		json_decref(result);
		result = NULL;
	}
	if (e == ERR_OK)
		e = cli_ask(r->c, "events.subscribe", json_pack("{s:[s]}", "types", "message.volatile"),
			    CLIENT_TIMEOUT_MS, &result, f);
	json_decref(result);
	return e;
}

/* One event: a message that is wanted, or how many were lost. */
static void take_event(struct receiver *r, const json_t *event, const char *from)
{
	const char *type = json_str(event, "type"), *by = json_str(event, "from");
	json_t *m;

	if (type && strcmp(type, "events.lost") == 0)
		out_note(&r->c->out, "%" PRId64 " messages were lost: this reader is slower than they come",
			 show_int(event, "count"));
	if (!type || strcmp(type, "message.volatile") != 0 || (*from && (!by || strcmp(by, from) != 0)))
		return;
	m = of_event(event);
	if (m)
		emit(r, m);
	json_decref(m);
}

static enum err take_volatile(struct receiver *r, struct fault *f)
{
	char from[40];
	json_t *event;
	enum err e = subscribe(r, from, f);

	while (e == ERR_OK && r->got < r->want) {
		uint64_t now = clock_ms();

		e = client_event(&r->c->client,
				 r->deadline == UINT64_MAX ? UINT64_MAX : r->deadline > now ? r->deadline - now : 0, &event,
				 f);
		if (e != ERR_OK)
			break;
		take_event(r, event, from);
		json_decref(event);
		if ((r->follow || !r->c->out.json) && out_finish(EXIT_DONE) != EXIT_DONE)
			return fault_set(f, ERR_IO, EXIT_GENERIC, "a message came and could not be written");
	}
	return e == ERR_TIMEOUT && r->deadline != UINT64_MAX ? ERR_OK : e;
}

static int run_recv(struct cli *c)
{
	bool is_volatile = options_given(&c->opts, "volatile");
	const struct optval *wait = options_get(&c->opts, "wait"), *count = options_get(&c->opts, "count");
	struct receiver r = {
		.c = c,
		.from = options_text(&c->opts, "from"),
		.follow = options_given(&c->opts, "follow"),
		.raw = options_given(&c->opts, "raw"),
	};
	struct fault f = { 0 };
	bool waits = wait->given || r.follow || is_volatile, none = false;
	json_t *v;
	enum err e = ERR_OK;

	if (r.raw && c->out.json)
		return cli_usage(c, NULL, "--raw and --json exclude each other");
	r.want = count->given ? count->number : r.follow ? UINT64_MAX : 1;
	r.deadline = !waits               ? 0 :
		     wait->text           ? clock_ms() + wait->number :
					    UINT64_MAX;
	r.taken = json_array();
	cli_quiet_interrupt();
	if (is_volatile)
		e = take_volatile(&r, &f);
	while (!is_volatile && e == ERR_OK && r.got < r.want) {
		e = take_some(&r, &none, &f);
		if (e == ERR_OK && none && left(&r) == 0)
			break;
	}
	if (c->out.json && !r.follow && (e == ERR_OK || r.got)) {
		v = json_pack("{s:s, s:O}", "schema", "ironmesh.inbox/1", "messages", r.taken);
		out_json(&c->out, v);
		json_decref(v);
	}
	json_decref(r.taken);
	if (e != ERR_OK)
		return r.got && c->out.json && !r.follow ? out_outcome(&c->out, &f) : out_fault(&c->out, &f);
	return r.got ? EXIT_DONE : nothing_came(&r, waits);
}

static const struct example examples[] = {
	{ "ironmesh recv", "the oldest new message; it is marked as read and its sender told" },
	{ "ironmesh recv --wait 60s --json", "for a program: exit 75 when nothing came" },
	{ "ironmesh recv --from bob --raw > photo.jpg", "exactly the bytes that were sent" },
	{ "ironmesh recv --volatile --follow --json", "what is kept nowhere, as it comes" },
	{ "ironmesh recv --follow --json | while read -r m; do ...; done", "one line per message, for ever" },
	{ 0 },
};

static const struct opt opts[] = {
	{ "wait", 0, OPT_DURATION_MAYBE, "DURATION", "wait for a message (for ever without a duration)" },
	{ "from", 0, OPT_TEXT, "PEER", "only from this peer" },
	{ "count", 0, OPT_NUMBER, "N", "at most this many (1; with --follow no limit)", 1, 1000000 },
	{ "follow", 0, OPT_FLAG, NULL, "go on until interrupted; with --json one line each" },
	{ "raw", 0, OPT_FLAG, NULL, "write the bytes of the bodies and nothing else" },
	{ "volatile", 0, OPT_FLAG, NULL, "volatile messages, from now on; waits for one unless --wait says how long" },
	{ 0 },
};

const struct command cmd_recv = {
	.name = "recv",
	.args = "",
	.summary = "take new messages: print them and mark them as read",
	.examples = examples,
	.text = "Each message is handed to one receiver only, oldest first. It stays in the inbox,\n"
		"as read, until it is deleted.\n"
		"\n"
		"Volatile messages go to every receiver that runs with --volatile, and to nobody else.\n"
		"A receiver that is too slow loses some, and is told how many.\n"
		"\n"
		"Exit: 0 with at least one message, 75 when there was none.",
	.opts = opts,
	.run = run_recv,
};
