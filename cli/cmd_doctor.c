#include <sys/stat.h>

#include "base/home.h"
#include "cli/commands.h"
#include "cli/passphrase_prompt.h"

#define ANSWER_MS 10000u
#define PEER_MS 15000u
#define QUEUE_AGE_MS 3600000u

/* --- what the daemon says ---------------------------------------------------------------------------------- */
static const char *link_without(const struct cli *c, enum err e)
{
	char path[HOME_MAX];
	struct stat st;

	if (e == ERR_DENIED)
		return "denied";
	if (e == ERR_NOTFOUND && home_socket(c->home, path, sizeof(path), NULL) == ERR_OK && lstat(path, &st) == 0)
		return "stale";
	return e == ERR_NOTFOUND ? "none" : "silent";
}

static json_t *answer(struct cli *c, const char *method, json_t *params)
{
	struct fault f = { 0 };
	json_t *result = NULL;

	if (client_call(&c->client, method, params, ANSWER_MS, &result, &f) != ERR_OK)
		result = NULL;
	json_decref(params);
	return result;
}

static json_t *ask_daemon(struct cli *c, json_t *asked)
{
	struct fault f = { 0 };
	const char *word = "up";
	json_t *status = NULL, *audit, *queue;
	enum err e = cli_connect(c, &f);

	if (e == ERR_OK)
		status = answer(c, "status", json_object());
	if (e != ERR_OK)
		word = link_without(c, e);
	else if (!status)
		word = "silent";
	(void)json_object_set_new(asked, "link", json_string(word));
	if (!status)
		return asked;
	(void)json_object_set_new(asked, "status", status);
	audit = answer(c, "audit.verify", json_object());
	if (audit)
		(void)json_object_set_new(asked, "audit", audit);
	queue = answer(c, "queue.list", json_pack("{s:i}", "limit", 100));
	if (queue)
		(void)json_object_set(asked, "queue", json_object_get(queue, "queue"));
	json_decref(queue);
	return asked;
}

/* --- what is shown --------------------------------------------------------------------------------------------- */
static enum style style_of(const char *state)
{
	return strcmp(state, "ok") == 0 ? STYLE_GOOD : strcmp(state, "warning") == 0 ? STYLE_WARN :
	       strcmp(state, "failure") == 0 ? STYLE_BAD : STYLE_DIM;
}

static void show_check(const struct cli *c, const json_t *v)
{
	const char *state = json_str(v, "state"), *means = json_str(v, "means"), *fix = json_str(v, "fix");
	enum style s = style_of(state ? state : "");

	printf("%s%-8s%s %-14s %s\n", out_on(&c->out, s), state, out_off(&c->out, s), json_str(v, "name"),
	       json_str(v, "what"));
	if (means && *means)
		printf("%24s%s\n", "", means);
	if (fix && *fix)
		printf("%24sfix: %s\n", "", fix);
}

static bool is_finding(const json_t *v)
{
	const char *state = json_str(v, "state");

	return state && (strcmp(state, "warning") == 0 || strcmp(state, "failure") == 0);
}

static void show(const struct cli *c, const json_t *result)
{
	const json_t *checks = json_object_get(result, "checks");
	unsigned warnings = 0, failures = 0;
	json_t *v;
	size_t i;

	json_array_foreach (json_object_get(result, "repairs"), i, v)
		printf("%s %s\n", options_given(&c->opts, "dry-run") ? "would do:" : "done:", json_string_value(v));
	json_array_foreach (checks, i, v) {
		if (!c->out.quiet || is_finding(v))
			show_check(c, v);
		if (is_finding(v))
			strcmp(json_str(v, "state"), "failure") == 0 ? failures++ : warnings++;
	}
	if (!c->out.quiet)
		printf("%s%u failure(s), %u warning(s)\n", warnings + failures ? "" : "healthy: ", failures, warnings);
}

static int exit_of(const json_t *result)
{
	const char *state = json_str(result, "state");

	return !state || strcmp(state, "failure") == 0 ? 2 : strcmp(state, "warning") == 0 ? 1 : EXIT_DONE;
}

/* A passphrase that lies about unusable is a finding; one that was named and cannot be read is a wrong command. */
static enum err passphrase(struct cli *c, struct secret *out, struct fault *f)
{
	enum err e = passphrase_configured(c, out, f);

	if (e != ERR_OK && !options_given(&c->opts, "passphrase-file") && !options_given(&c->opts, "passphrase-fd"))
		return ERR_OK;
	return e;
}

static int list(const struct cli *c)
{
	const char *name, *about;
	json_t *all = json_array();

	for (unsigned i = 0; c->host->doctor_check(i, &name, &about); i++) {
		if (!c->out.json)
			printf("%-14s %s\n", name, about);
		(void)json_array_append_new(all, json_pack("{s:s, s:s}", "name", name, "about", about));
	}
	if (c->out.json) {
		json_t *v = json_pack("{s:s, s:O}", "schema", "ironmesh.doctor.list/1", "checks", all);

		out_json(&c->out, v);
		json_decref(v);
	}
	json_decref(all);
	return EXIT_DONE;
}

/* --- one peer --------------------------------------------------------------------------------------------------- */
static void show_way(const struct cli *c, const json_t *v)
{
	const char *state = json_str(v, "state"), *text;
	char line[600];
	json_t *s;
	size_t i;

	json_array_foreach (json_object_get(v, "steps"), i, s) {
		const char *word = json_str(s, "state");
		enum style style = strcmp(word, "failed") == 0 ? STYLE_BAD : style_of(word);

		if (!c->out.quiet)
			printf("%s%-8s%s %-14s %8.1f ms  %s\n", out_on(&c->out, style), word, out_off(&c->out, style),
			       json_str(s, "name"), json_number_value(json_object_get(s, "ms")), json_str(s, "what"));
	}
	if (c->out.quiet && strcmp(state, "ok") == 0)
		return;
	printf("%s%s%s\n", out_on(&c->out, style_of(state)), json_str(v, "what"), out_off(&c->out, style_of(state)));
	text = json_str(v, "means");
	if (*text)
		printf("  %s\n", text);
	text = json_str(v, "fix");
	if (*text)
		printf("  fix: %s\n", out_command(&c->out, text, line, sizeof(line)));
}

static enum err look_at(struct cli *c, const char *address, json_t *asked, json_t **result, struct fault *f)
{
	json_t *reach = NULL, *h = NULL;
	struct fault why = { 0 };
	enum err e = c->host->doctor_reach(address, &reach, f);

	if (e != ERR_OK)
		return e;
	(void)json_object_set_new(asked, "reach", reach);
	if (!json_str(reach, "failed") && cli_connect(c, &why) == ERR_OK) {
		json_t *p = json_pack("{s:s, s:i}", "address", address, "timeout_ms", (int)PEER_MS);

		if (client_call(&c->client, "doctor.peer", p, PEER_MS + ANSWER_MS, &h, &why) == ERR_OK)
			(void)json_object_set_new(asked, "handshake", h);
		else
			(void)json_object_set_new(asked, "why_not", json_string(why.what));
		json_decref(p);
	}
	return c->host->doctor_judge(asked, result, f);
}

static int run_peer(struct cli *c, const char *address)
{
	json_t *asked = json_pack("{s:s}", "address", address), *result = NULL;
	struct fault f = { 0 };
	int code;

	if (!asked)
		return cli_usage(c, NULL, "the address is not valid UTF-8");
	if (look_at(c, address, asked, &result, &f) != ERR_OK) {
		json_decref(asked);
		return out_fault(&c->out, &f);
	}
	json_decref(asked);
	if (!cli_printed_json(c, result))
		show_way(c, result);
	code = exit_of(result);
	json_decref(result);
	return code;
}

static int run_doctor(struct cli *c)
{
	const struct optval *age = options_get(&c->opts, "older-than");
	struct secret pass = { 0 };
	struct fault f = { 0 };
	json_t *asked, *result = NULL;
	enum err e = secret_init_library();
	int code;

	if (options_given(&c->opts, "list"))
		return list(c);
	if (options_given(&c->opts, "peer"))
		return run_peer(c, options_text(&c->opts, "peer"));
	if (e != ERR_OK)
		fault_set(&f, e, EXIT_GENERIC, "libsodium does not start");
	if (e == ERR_OK)
		e = passphrase(c, &pass, &f);
	if (e != ERR_OK)
		return out_fault(&c->out, &f);
	asked = json_pack("{s:b, s:b, s:I}", "fix", options_given(&c->opts, "fix"), "dry_run",
			  options_given(&c->opts, "dry-run"), "queue_age_ms",
			  (json_int_t)(age->given ? age->number : QUEUE_AGE_MS));
	e = c->host->doctor(c->home, secret_bytes(&pass), ask_daemon(c, asked), &result, &f);
	secret_free(&pass);
	json_decref(asked);
	if (e != ERR_OK)
		return out_fault(&c->out, &f);
	if (!cli_printed_json(c, result))
		show(c, result);
	code = exit_of(result);
	json_decref(result);
	return code;
}

static const struct example examples[] = {
	{ "ironmesh doctor", "each check, and for each fault the command that mends it" },
	{ "ironmesh doctor --quiet", "only what is wrong" },
	{ "ironmesh doctor --peer 192.0.2.7:8765", "why there is no connection to it" },
	{ "ironmesh doctor --fix --dry-run", "what would be repaired" },
	{ 0 },
};

static const struct opt opts[] = {
	{ "fix", 0, OPT_FLAG, NULL, "repair what is safe: permissions and leftovers of our own files" },
	{ "dry-run", 0, OPT_FLAG, NULL, "with --fix: say what would be done, and do nothing" },
	{ "peer", 0, OPT_TEXT, "HOST:PORT", "only the way to this peer, step by step, without a session" },
	{ "older-than", 0, OPT_DURATION, "DURATION", "from which age a waiting message is a finding (1h)" },
	{ "list", 0, OPT_FLAG, NULL, "say which checks there are" },
	{ 0 },
};

const struct command cmd_doctor = {
	.name = "doctor",
	.args = "",
	.summary = "what is wrong with this node, and how to mend it",
	.examples = examples,
	.text = "Works with and without a running daemon. Without one the keyed checks need the\n"
		"passphrase of the key file, if it has one; they are skipped without it.\n"
		"--fix never touches keys or trust.\n"
		"\n"
		"Exit: 0 healthy, 1 warnings, 2 failures.",
	.opts = opts,
	.flags = CMD_PASSPHRASE,
	.run = run_doctor,
};
