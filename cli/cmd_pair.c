#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/qr.h"

#define QR_PREFIX "ironmesh-pair:"
#define PATIENCE_MS 150000 /* longer than a code lives, and than digits are waited for */
#define FINGERPRINT_DIGITS 16 /* im2.md 15.2 */

struct pair_run {
	struct cli *c;
	bool shows, paired, over;
	char who[160];
};

static bool is(const char *a, const char *b)
{
	return a && strcmp(a, b) == 0;
}

static const char *safe_member(const json_t *o, const char *key, char *buf, size_t cap)
{
	const char *text = json_str(o, key);

	return text_safe(bytes_str(text ? text : ""), buf, cap);
}

static enum err ask(struct cli *c, const char *method, json_t *params, json_t **result, struct fault *f)
{
	return cli_ask(c, method, params, CLIENT_TIMEOUT_MS, result, f);
}

/* --- showing ---------------------------------------------------------------------------------------------------- */
/* Where this machine listens; "" when it is everywhere, and so nowhere in particular. */
static const char *at_of(const json_t *r, char out[static 300], const char **port)
{
	const char *at = json_string_value(json_array_get(json_object_get(r, "listen"), 0));

	text_safe(bytes_str(at ? at : ""), out, 300);
	*port = strrchr(out, ':') ? strrchr(out, ':') + 1 : "PORT";
	return strncmp(out, "0.0.0.0:", 8) == 0 || strncmp(out, "[::]:", 5) == 0 ? "" : out;
}

static void print_code(const struct cli *c, const json_t *r)
{
	char text[420], command[420], code[80], room[300];
	const char *port, *at = at_of(r, room, &port);
	bool compare = json_is_null(json_object_get(r, "code"));

	if (c->out.json) {
		out_json(&c->out, r);
		fflush(stdout);
		return;
	}
	safe_member(r, "code", code, sizeof code);
	snprintf(command, sizeof command, "ironmesh pair %s%s%s", compare ? "--compare" : code,
		 at[0] ? " --at " : compare ? " --join" : "", at);
	if (!compare)
		printf("%s%s%s\n", out_on(&c->out, STYLE_BOLD), code, out_off(&c->out, STYLE_BOLD));
	else
		printf("waiting for the other machine\n");
	fflush(stdout);
	out_note(&c->out, "on the other machine: %s", command);
	if (!at[0])
		out_note(&c->out, "if it does not find this one by itself: --at ADDRESS:%s with the address of this machine", port);
	if (!compare)
		out_note(&c->out, "the code is good for one guess and two minutes");
	if (is(json_str(r, "gives"), "nothing") && !options_given(&c->opts, "pin-only"))
		out_note(&c->out, "this machine has no key of a mesh to hand on; if the other one has it, show the code there");
	if (compare || options_given(&c->opts, "no-qr") || !isatty(STDOUT_FILENO))
		return;
	snprintf(text, sizeof text, QR_PREFIX "%s%s%s", code, at[0] ? "@" : "", at);
	(void)!qr_print(stdout, text);
	fflush(stdout);
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
	char code[64] = "", at[300] = "", why[240];
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
	if (e == ERR_OK && c->out.json)
		out_json(&c->out, r);
	else if (e == ERR_OK && at[0])
		out_note(&c->out, "dialling %s", at);
	else if (e == ERR_OK)
		out_note(&c->out, "looking for the other machine on the network");
	if (e == ERR_OK && !c->out.json && *safe_member(r, "why", why, sizeof why))
		out_note(&c->out, "nothing is found by itself now (%s): stop, and add --at HOST:PORT", why);
	json_decref(r);
	fflush(stdout);
	return e;
}

/* --- what happens --------------------------------------------------------------------------------------------------- */
static enum err verdict(struct cli *c, const json_t *event, struct fault *f)
{
	char digits[40], answer[16] = "", yes[600], no[600];
	json_t *r = NULL;
	bool same;
	enum err e;

	safe_member(event, "reason", digits, sizeof digits);
	if (!c->out.json)
		printf("%s%s%s\n", out_on(&c->out, STYLE_BOLD), digits, out_off(&c->out, STYLE_BOLD));
	fflush(stdout);
	/* Nobody is there to ask: whoever has read them says so with a command of his own. */
	if (!isatty(STDIN_FILENO)) {
		out_note(&c->out, "if the other machine shows the same digits: %s; if not: %s",
			 out_command(&c->out, "ironmesh pair --same", yes, sizeof yes),
			 out_command(&c->out, "ironmesh pair --differ", no, sizeof no));
		return ERR_OK;
	}
	fprintf(stderr, "Does the other machine show the same digits? [y/N] ");
	same = fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
	e = ask(c, "pair.verdict", json_pack("{s:b}", "same", same), &r, f);
	json_decref(r);
	/* Too late: an event says why it ended. */
	return e == ERR_WRONG_STATE ? ERR_OK : e;
}

static void paired(struct pair_run *p, const json_t *event)
{
	const struct cli *c = p->c;
	char id[80], mark[FINGERPRINT_DIGITS + 1], groups[40];

	p->paired = true;
	safe_member(event, "name", p->who, sizeof p->who);
	if (c->out.json)
		return;
	snprintf(mark, sizeof mark, "%s", safe_member(event, "peer", id, sizeof id));
	printf("%spaired%s with %s, fingerprint %s\n", out_on(&c->out, STYLE_GOOD), out_off(&c->out, STYLE_GOOD), p->who,
	       fingerprint_groups(mark, groups, sizeof groups));
}

static enum err failed(const struct pair_run *p, const json_t *event, struct fault *f)
{
	char reason[240], next[160];

	fault_set(f, ERR_AUTH, EXIT_GENERIC, "%s%s", p->paired ? "" : "not paired: ",
		  safe_member(event, "reason", reason, sizeof reason));
	if (!p->paired)
		fault_means(f, "Nobody was trusted.%s", options_given(&p->c->opts, "compare") ? "" : " A code is good for one guess.");
	fault_next(f, "%s", json_str(event, "next") ? safe_member(event, "next", next, sizeof next) : "ironmesh pair");
	return ERR_AUTH;
}

static enum err happened(struct pair_run *p, const json_t *event, struct fault *f)
{
	struct cli *c = p->c;
	const char *kind = json_str(event, "type");
	char reason[240];
	enum err e = ERR_OK;

	if (c->out.json)
		out_json(&c->out, event);
	safe_member(event, "reason", reason, sizeof reason);
	if (is(kind, "pair.compare")) {
		e = verdict(c, event, f);
	} else if (is(kind, "pair.paired")) {
		paired(p, event);
	} else if (is(kind, "pair.used") && p->shows) {
		out_note(&c->out, "%s; here is another one", reason);
		e = show(c, true, f);
	} else if (is(kind, "pair.failed")) {
		e = failed(p, event, f);
	} else if (is(kind, "pair.over") || is(kind, "pair.granted")) {
		p->over = is(kind, "pair.over");
		if (reason[0] && !c->out.json)
			out_note(&c->out, "%s", reason);
	}
	fflush(stdout);
	return e;
}

static int watch(struct pair_run *p)
{
	struct cli *c = p->c;
	struct fault f = { 0 };
	char word[200];

	while (!p->over) {
		json_t *event = NULL;
		enum err e = client_event(&c->client, PATIENCE_MS, &event, &f);

		if (e == ERR_OK)
			e = happened(p, event, &f);
		json_decref(event);
		if (e != ERR_OK)
			return out_fault(&c->out, &f);
	}
	out_hint(&c->out, "ironmesh send %s \"hello\" --wait 5s", word_for_shell(p->who, word, sizeof word));
	return EXIT_DONE;
}

/* A word about what another command began. */
static int aside(struct cli *c, const char *method, json_t *params)
{
	int code = EXIT_DONE;
	json_t *r = cli_result(c, method, params, &code);

	json_decref(r);
	return code;
}

static int run_pair(struct cli *c)
{
	const char *typed = cli_arg(c, 0);
	bool compare = options_given(&c->opts, "compare"), join = options_given(&c->opts, "join") ||
								  (compare && options_given(&c->opts, "at"));
	struct pair_run p = { .c = c, .shows = !typed && !join };
	struct fault f = { 0 };
	json_t *r = NULL;
	enum err e;

	if (options_given(&c->opts, "stop"))
		return aside(c, "pair.stop", json_object());
	if (options_given(&c->opts, "same") && options_given(&c->opts, "differ"))
		return cli_usage(c, NULL, "--same and --differ contradict each other");
	if (options_given(&c->opts, "same") || options_given(&c->opts, "differ"))
		return aside(c, "pair.verdict", json_pack("{s:b}", "same", options_given(&c->opts, "same")));
	if (compare && typed)
		return cli_usage(c, NULL, "--compare needs no code");
	if (join && !compare)
		return cli_usage(c, NULL, "--join goes with --compare");
	if (p.shows && options_given(&c->opts, "at"))
		return cli_usage(c, NULL, "--at goes with the CODE that the other machine shows");
	if (!p.shows && options_given(&c->opts, "give-passphrase"))
		return cli_usage(c, NULL, "--give-passphrase goes with the machine that shows the code");
	/* What ends this program ends the connection, and so the pairing. */
	cli_quiet_interrupt();
	e = ask(c, "events.subscribe", json_pack("{s:[s]}", "types", "pair."), &r, &f);
	json_decref(r);
	if (e == ERR_OK)
		e = p.shows ? show(c, false, &f) : type(c, typed, &f);
	return e == ERR_OK ? watch(&p) : out_fault(&c->out, &f);
}

static const struct example examples[] = {
	{ "ironmesh pair", "shows a code; type it on the other machine" },
	{ "ironmesh pair 42-307-915", "on the other machine; finds the first one on the network" },
	{ "ironmesh pair 42-307-915 --at 192.0.2.7:8765", "where no multicast goes" },
	{ "ironmesh pair --compare", "without a code: both show six digits, and both say whether they are the same" },
	{ "ironmesh pair --compare --at 192.0.2.7:8765", "the other side of it; --join finds it on the network" },
	{ "ironmesh pair --same", "for a program that has compared them, while the other command waits" },
	{ 0 },
};

static const struct opt opts[] = {
	{ "at", 0, OPT_TEXT, "HOST:PORT", "where the other machine listens" },
	{ "compare", 0, OPT_FLAG, NULL, "compare six digits instead of typing a code" },
	{ "join", 0, OPT_FLAG, NULL, "with --compare: the other machine waits, this one looks for it" },
	{ "pin-only", 0, OPT_FLAG, NULL, "trust each other, and hand on no key of the mesh" },
	{ "give-passphrase", 0, OPT_FLAG, NULL, "hand on the passphrase itself, which peers of the old software need" },
	{ "no-qr", 0, OPT_FLAG, NULL, "no QR code on the terminal" },
	{ "same", 0, OPT_FLAG, NULL, "what another command shows is what the other machine shows" },
	{ "differ", 0, OPT_FLAG, NULL, "it is not: nobody is paired" },
	{ "stop", 0, OPT_FLAG, NULL, "end what another command began" },
	{ 0 },
};

const struct command cmd_pair = {
	.name = "pair",
	.args = "[CODE] [--at HOST:PORT]",
	.summary = "trust another machine by a code of eight digits",
	.examples = examples,
	.text = "A code is good for one guess and two minutes; after a wrong guess another one is\n"
		"shown, five in all. Whoever does not know it learns nothing and changes nothing. When it\n"
		"was right, both ends are pinned as verified, and a machine without the passphrase of the\n"
		"mesh gets the key of the mesh too. A pairing ends with the command that began it.\n"
		"With --json every line is one object: the code, then the events pair.*\n"
		"\n"
		"Exit: 0 paired; 1 not paired; 3 no daemon; 75 all codes used up, or another pairing.",
	.opts = opts,
	.min_args = 0,
	.max_args = 1,
	.run = run_pair,
};
