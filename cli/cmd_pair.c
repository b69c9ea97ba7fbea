#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/qr.h"

#define QR_PREFIX "ironmesh-pair:"
#define PATIENCE_MS 150000 /* longer than a code lives */
#define CODES 5

static bool is(const char *a, const char *b)
{
	return a && strcmp(a, b) == 0;
}

static enum err ask(struct cli *c, const char *method, json_t *params, json_t **result, struct fault *f)
{
	return cli_ask(c, method, params, CLIENT_TIMEOUT_MS, result, f);
}

static void stop(struct cli *c)
{
	struct fault ignored = { 0 };
	json_t *result = NULL;

	(void)!ask(c, "pair.stop", json_object(), &result, &ignored);
	json_decref(result);
}

/* --- showing ---------------------------------------------------------------------------------------------------- */
static void print_code(const struct cli *c, const json_t *r)
{
	const char *code = json_str(r, "code");
	const json_t *listen = json_object_get(r, "listen");
	char text[400], safe[80], at[300];
	bool any;

	if (c->out.json) {
		out_json(&c->out, r);
		fflush(stdout);
		return;
	}
	text_safe(bytes_str(json_string_value(json_array_get(listen, 0))), at, sizeof at);
	any = strncmp(at, "0.0.0.0:", 8) == 0 || strncmp(at, "[::]:", 5) == 0;
	if (!code) {
		printf("Waiting for the other machine. There: ironmesh pair --compare --join%s%s\n", any ? "" : " --at ", any ? "" : at);
		fflush(stdout);
		return;
	}
	text_safe(bytes_str(code), safe, sizeof safe);
	printf("%s%s%s\n", out_on(&c->out, STYLE_BOLD), safe, out_off(&c->out, STYLE_BOLD));
	fflush(stdout);
	out_note(&c->out, "on the other machine: ironmesh pair %s%s%s", safe, any ? "" : " --at ", any ? "" : at);
	out_note(&c->out, "it is good for one guess and two minutes");
	if (!options_given(&c->opts, "no-qr") && isatty(STDOUT_FILENO)) {
		snprintf(text, sizeof text, QR_PREFIX "%s%s%s", safe, any ? "" : "@", any ? "" : at);
		(void)!qr_print(stdout, text);
		fflush(stdout);
	}
}

static enum err show(struct cli *c, bool again, struct fault *f)
{
	json_t *r = NULL;
	enum err e = ask(c, "pair.show",
			 json_pack("{s:b, s:b, s:b, s:b}", "compare", options_given(&c->opts, "compare"), "pin_only",
				   options_given(&c->opts, "pin-only"), "give_passphrase",
				   options_given(&c->opts, "give-passphrase"), "again", again),
			 &r, f);

	if (e == ERR_OK)
		print_code(c, r);
	json_decref(r);
	return e;
}

/* --- typing ------------------------------------------------------------------------------------------------------- */
/* "NN-DDD-DDD", or what the QR code says: ironmesh-pair:CODE[@HOST:PORT]. */
static enum err type(struct cli *c, const char *typed, struct fault *f)
{
	char code[64] = "", at[300] = "";
	const char *option = options_text(&c->opts, "at"), *sign;
	json_t *r = NULL;
	enum err e;

	if (typed && strncmp(typed, QR_PREFIX, strlen(QR_PREFIX)) == 0)
		typed += strlen(QR_PREFIX);
	sign = typed ? strchr(typed, '@') : NULL;
	if (typed)
		snprintf(code, sizeof code, "%.*s", sign ? (int)(sign - typed) : 60, typed);
	snprintf(at, sizeof at, "%s", option ? option : sign ? sign + 1 : "");
	e = ask(c, "pair.type",
		json_pack("{s:s*, s:b, s:s*, s:b}", "code", typed ? code : NULL, "compare", !typed, "at", at[0] ? at : NULL,
			  "pin_only", options_given(&c->opts, "pin-only")),
		&r, f);
	if (e == ERR_OK && !c->out.json)
		out_note(&c->out, at[0] ? "dialling %s" : "looking for it on the network%s", at);
	json_decref(r);
	return e;
}

/* --- what happens --------------------------------------------------------------------------------------------------- */
static enum err verdict(struct cli *c, const json_t *event, struct fault *f)
{
	char digits[40], answer[16] = "";
	json_t *r = NULL;
	bool same = options_given(&c->opts, "yes");
	enum err e;

	text_safe(bytes_str(json_str(event, "reason")), digits, sizeof digits);
	if (c->out.json)
		out_json(&c->out, event);
	else
		printf("%s%s%s\n", out_on(&c->out, STYLE_BOLD), digits, out_off(&c->out, STYLE_BOLD));
	fflush(stdout);
	if (!same && !isatty(STDIN_FILENO)) {
		fault_set(f, ERR_USAGE, EXIT_USAGE, "somebody has to compare the digits, and stdin is not a terminal");
		fault_next(f, "ironmesh pair --compare --yes   (when a program has compared them)");
		return ERR_USAGE;
	}
	if (!same) {
		fprintf(stderr, "Does the other machine show the same digits? [y/N] ");
		same = fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
	}
	e = ask(c, "pair.verdict", json_pack("{s:b}", "same", same), &r, f);
	json_decref(r);
	return e;
}

static void print_paired(const struct cli *c, const json_t *event)
{
	const char *said = json_str(event, "name"), *peer = json_str(event, "peer");
	char name[160], id[80], mark[24];

	if (c->out.json) {
		out_json(&c->out, event);
		fflush(stdout);
		return;
	}
	text_safe(bytes_str(said ? said : "-"), name, sizeof name);
	text_safe(bytes_str(peer ? peer : ""), id, sizeof id);
	for (size_t i = 0, k = 0; k < sizeof mark - 1; i++) {
		mark[k++] = id[i];
		mark[k] = '\0';
		if (!id[i] || i == 15)
			break;
		if (i % 4 == 3)
			mark[k++] = ' ';
		mark[k] = '\0';
	}
	printf("%spaired%s with %s, fingerprint %s\n", out_on(&c->out, STYLE_GOOD), out_off(&c->out, STYLE_GOOD), name, mark);
	fflush(stdout);
}

/* `heard`: a connection of its own, since an answer that is waited for would swallow the events before it. */
static int watch(struct cli *c, struct client *heard, bool shows)
{
	struct fault f = { 0 };
	bool paired = false, over = false;
	int codes = 1;
	char reason[240], who[160] = "PEER";

	while (!over) {
		json_t *event = NULL;
		enum err e = client_event(heard, PATIENCE_MS, &event, &f);
		const char *kind = json_str(event, "type"), *why = json_str(event, "reason");

		if (e != ERR_OK)
			return out_fault(&c->out, &f);
		text_safe(bytes_str(why ? why : ""), reason, sizeof reason);
		if (is(kind, "pair.compare")) {
			e = verdict(c, event, &f);
		} else if (is(kind, "pair.paired")) {
			paired = true;
			text_safe(bytes_str(json_str(event, "name") ? json_str(event, "name") : "PEER"), who, sizeof who);
			print_paired(c, event);
		} else if (is(kind, "pair.granted")) {
			if (!c->out.json)
				out_note(&c->out, "%s", reason);
		} else if (is(kind, "pair.over")) {
			over = true;
			if (reason[0])
				out_note(&c->out, "%s", reason);
		} else if (is(kind, "pair.failed")) {
			fault_set(&f, ERR_AUTH, EXIT_GENERIC, "not paired: %s", reason);
			fault_means(&f, "Nothing was pinned. A code is good for one guess.");
			fault_next(&f, "ironmesh pair");
			if (shows && codes++ < CODES && !options_given(&c->opts, "compare")) {
				out_note(&c->out, "%s; here is another one", reason);
				e = show(c, true, &f);
			} else {
				e = ERR_AUTH;
			}
		}
		json_decref(event);
		if (e != ERR_OK) {
			stop(c);
			return out_fault(&c->out, &f);
		}
	}
	if (paired)
		out_hint(&c->out, "ironmesh send %s \"hello\" --wait", who);
	return EXIT_DONE;
}

static int run_pair(struct cli *c)
{
	const char *typed = cli_arg(c, 0);
	bool compare = options_given(&c->opts, "compare"), join = options_given(&c->opts, "join");
	struct client heard = { .fd = -1 };
	struct fault f = { 0 };
	json_t *r = NULL, *types;
	int code = EXIT_DONE;
	enum err e;

	if (options_given(&c->opts, "stop")) {
		r = cli_result(c, "pair.stop", json_object(), &code);
		json_decref(r);
		return code;
	}
	if (compare && typed)
		return cli_usage(c, NULL, "--compare needs no code");
	if (join && !compare)
		return cli_usage(c, NULL, "--join goes with --compare");
	if (!typed && !join && options_given(&c->opts, "at"))
		return cli_usage(c, NULL, "--at goes with the CODE that the other machine shows");
	e = cli_connect(c, &f);
	if (e == ERR_OK)
		e = client_open(&heard, c->home, &f);
	types = json_pack("{s:[s]}", "types", "pair.");
	if (e == ERR_OK)
		e = client_call(&heard, "events.subscribe", types, CLIENT_TIMEOUT_MS, &r, &f);
	json_decref(types);
	json_decref(r);
	if (e == ERR_OK)
		e = typed || join ? type(c, typed, &f) : show(c, false, &f);
	code = e == ERR_OK ? watch(c, &heard, !typed && !join) : out_fault(&c->out, &f);
	client_close(&heard);
	return code;
}

static const struct example examples[] = {
	{ "ironmesh pair", "shows a code; type it on the other machine" },
	{ "ironmesh pair 42-307-915", "on the other machine; finds the first one on the network" },
	{ "ironmesh pair 42-307-915 --at 192.0.2.7:8765", "where no multicast goes" },
	{ "ironmesh pair --compare", "without a code: both show six digits, and both say whether they are the same" },
	{ "ironmesh pair --compare --join --at 192.0.2.7:8765", "the other side of it" },
	{ 0 },
};

static const struct opt opts[] = {
	{ "at", 0, OPT_TEXT, "HOST:PORT", "where the machine that shows the code listens" },
	{ "compare", 0, OPT_FLAG, NULL, "compare six digits instead of typing a code" },
	{ "join", 0, OPT_FLAG, NULL, "with --compare: the other machine waits, this one dials" },
	{ "pin-only", 0, OPT_FLAG, NULL, "trust each other, and hand on no key of the mesh" },
	{ "give-passphrase", 0, OPT_FLAG, NULL, "hand on the passphrase itself, which peers of the old software need" },
	{ "no-qr", 0, OPT_FLAG, NULL, "no QR code on the terminal" },
	{ "yes", 0, OPT_FLAG, NULL, "with --compare: whoever runs this has compared the digits" },
	{ "stop", 0, OPT_FLAG, NULL, "end what an earlier command began" },
	{ 0 },
};

const struct command cmd_pair = {
	.name = "pair",
	.args = "[CODE] [--at HOST:PORT]",
	.summary = "trust another machine by a code of eight digits",
	.examples = examples,
	.text = "A code is good for one guess and two minutes. Who does not know it learns nothing and\n"
		"changes nothing; both ends are pinned as verified when it was right. A machine without the\n"
		"passphrase of the mesh gets the mesh key too.\n"
		"\n"
		"Exit: 0 paired; 1 not paired; 3 no daemon; 75 all codes used up.",
	.opts = opts,
	.min_args = 0,
	.max_args = 1,
	.run = run_pair,
};
