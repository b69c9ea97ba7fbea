#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "cli/commands.h"

/* --- asking ------------------------------------------------------------------------------- */

/* Where the user is; a link stays one, since a start refuses it. */
static enum err full_path(const char *file, char out[static HOME_MAX], struct fault *f)
{
	char here[HOME_MAX];

	if (!utf8_valid(bytes_str(file)))
		return fault_set(f, ERR_USAGE, EXIT_USAGE, "the name of that file is not valid UTF-8");
	if (file[0] != '/' && !getcwd(here, sizeof(here)))
		return fault_set(f, ERR_NOTFOUND, EXIT_USAGE, "the folder that this is run in is gone");
	if (path_join(out, HOME_MAX, file[0] == '/' ? "" : here, file + (file[0] == '/')) != ERR_OK)
		return fault_set(f, ERR_LIMIT, EXIT_USAGE, "the name of that file is too long");
	return ERR_OK;
}

/* Of files: they are read by this program, as whoever runs it. The daemon is asked for what it runs with. */
static enum err ask_files(struct cli *c, const char *method, const char *file, json_t *params, json_t **out, struct fault *f)
{
	char path[HOME_MAX];
	enum err e = file ? full_path(file, path, f) : ERR_OK;

	if (file && e == ERR_OK)
		json_object_set_new(params, "file", json_string(path));
	if (e == ERR_OK)
		e = c->host->call(c->home, (struct bytes){ 0 }, method, params, out, f);
	json_decref(params);
	return e;
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *v = json_str(o, key);

	return v ? v : "";
}

/* "[lan]", or "[peer \"bob\"]" */
static const char *section_of(const json_t *o, char *out, size_t cap)
{
	if (json_str(o, "name"))
		snprintf(out, cap, "[%s \"%s\"]", text_of(o, "section"), json_str(o, "name"));
	else
		snprintf(out, cap, "[%s]", text_of(o, "section"));
	return out;
}

/* --- check -------------------------------------------------------------------------------- */

static void print_problems(const struct cli *c, const json_t *list)
{
	json_t *p;
	size_t i;

	json_array_foreach (list, i, p) {
		const char *file = json_str(p, "file"), *means = json_str(p, "means");

		fprintf(stderr, "%s%s", file ? file : "", file ? ":" : "");
		if (show_int(p, "line"))
			fprintf(stderr, "%d: ", (int)show_int(p, "line"));
		fprintf(stderr, "%s%s\n", json_is_true(json_object_get(p, "warning")) ? "warning: " : "", text_of(p, "what"));
		if (means && *means)
			fprintf(stderr, "  %s\n", means);
	}
}

static int run_check(struct cli *c)
{
	struct fault f = { 0 };
	json_t *result = NULL, *v;
	const char *file = cli_arg(c, 0) ? cli_arg(c, 0) : options_text(&c->opts, "config");
	size_t i;
	bool good;

	if (ask_files(c, "config.check", file, json_object(), &result, &f) != ERR_OK)
		return out_fault(&c->out, &f);
	good = json_is_true(json_object_get(result, "good"));
	if (!cli_printed_json(c, result)) {
		fflush(stdout);
		print_problems(c, json_object_get(result, "problems"));
		json_array_foreach (json_object_get(result, "files"), i, v)
			if (good && !c->out.quiet)
				printf("%s: good\n", json_string_value(v));
		if (good && !c->out.quiet && json_array_size(json_object_get(result, "files")) == 0)
			printf("no file: the defaults hold\n");
	}
	json_decref(result);
	return good ? EXIT_DONE : EXIT_CONFIG;
}

/* --- show, diff ---------------------------------------------------------------------------- */

static void print_values(const struct cli *c, const json_t *result)
{
	char section[160], last[160] = "", line[400];
	json_t *v;
	size_t i;

	json_array_foreach (json_object_get(result, "values"), i, v) {
		const char *where = json_str(v, "where");

		if (json_str(v, "key")) {
			section_of(v, section, sizeof(section));
			if (strcmp(section, last) != 0)
				printf("%s%s%s%s\n", i ? "\n" : "", out_on(&c->out, STYLE_BOLD), section,
				       out_off(&c->out, STYLE_BOLD));
			memcpy(last, section, sizeof(last));
			snprintf(line, sizeof(line), "%s%s = %s", json_str(v, "value") ? "" : "# ", text_of(v, "key"),
				 text_of(v, "value"));
		} else {
			snprintf(line, sizeof(line), "# %s %s", text_of(v, "option"), text_of(v, "value"));
		}
		printf("%-44s %s# %s%s\n", line, out_on(&c->out, STYLE_DIM), where && *where ? where : "default",
		       out_off(&c->out, STYLE_DIM));
	}
}

static int run_show(struct cli *c)
{
	const char *file = options_text(&c->opts, "config");
	bool effective = options_given(&c->opts, "effective");
	struct fault f = { 0 };
	json_t *result = NULL, *params = json_pack("{s:b}", "effective", effective);
	enum err e;

	/* Whoever names a file wants that one, whatever a daemon runs with. */
	e = file ? ask_files(c, "config.show", file, params, &result, &f) :
		   cli_ask(c, "config.show", params, CLIENT_TIMEOUT_MS, &result, &f);
	if (e != ERR_OK)
		return out_fault(&c->out, &f);
	if (!cli_printed_json(c, result)) {
		print_values(c, result);
		if (!effective && json_array_size(json_object_get(result, "values")) == 0)
			out_note(&c->out, "Nothing is set: the defaults hold.");
		if (strcmp(text_of(result, "source"), "daemon") != 0 && !file)
			out_note(&c->out, "No daemon runs: this is what the files say.");
		if (!effective)
			out_hint(&c->out, "ironmesh config show --effective");
	}
	json_decref(result);
	return EXIT_DONE;
}

/* `beside`: what is not live is told of, since a reload would leave it. */
static void print_changes(const struct cli *c, const json_t *list, bool beside)
{
	char section[160];
	json_t *v;
	size_t i;

	json_array_foreach (list, i, v) {
		const char *where = json_str(v, "where"), *was = json_str(v, "was"), *now = json_str(v, "now");

		printf("%s %s: %s -> %s", section_of(v, section, sizeof(section)), text_of(v, "key"), was ? was : "(nothing)",
		       now ? now : "(nothing)");
		if (where && *where)
			printf("   (%s)", where);
		if (beside && !json_is_true(json_object_get(v, "reload")))
			printf("   %sneeds a restart%s", out_on(&c->out, STYLE_WARN), out_off(&c->out, STYLE_WARN));
		putchar('\n');
	}
}

static int run_diff(struct cli *c)
{
	const char *file = options_text(&c->opts, "config");
	struct fault f = { 0 };
	json_t *result = NULL, *params = json_pack("{s:b}", "defaults", options_given(&c->opts, "defaults"));
	enum err e = file ? ask_files(c, "config.diff", file, params, &result, &f) :
			    cli_ask(c, "config.diff", params, CLIENT_TIMEOUT_MS, &result, &f);

	if (e != ERR_OK)
		return out_fault(&c->out, &f);
	if (!cli_printed_json(c, result)) {
		const json_t *changes = json_object_get(result, "changes");

		print_changes(c, changes, strcmp(text_of(result, "was"), "daemon") == 0);
		if (json_array_size(changes) == 0)
			out_note(&c->out, "No difference (%s, %s).", text_of(result, "was"), text_of(result, "now"));
		else if (strcmp(text_of(result, "now"), "files") == 0 && strcmp(text_of(result, "was"), "daemon") == 0)
			out_hint(&c->out, "ironmesh config reload");
	}
	json_decref(result);
	return EXIT_DONE;
}

/* --- path, keys, reload ----------------------------------------------------------------------- */

static int run_path(struct cli *c)
{
	struct fault f = { 0 };
	json_t *result = NULL, *v;
	size_t i;

	if (ask_files(c, "config.path", options_text(&c->opts, "config"), json_object(), &result, &f) != ERR_OK)
		return out_fault(&c->out, &f);
	if (!cli_printed_json(c, result)) {
		json_array_foreach (json_object_get(result, "files"), i, v)
			printf("%s\n", json_string_value(v));
		if (json_array_size(json_object_get(result, "files")) == 0)
			out_note(&c->out, "There is none yet. Looked for: ironmesh.conf and conf.d/*.conf in %s",
				 text_of(result, "folder"));
	}
	json_decref(result);
	return EXIT_DONE;
}

static int run_keys(struct cli *c)
{
	static const char *const heads[] = { "KEY", "VALUE", "DEFAULT", "RELOAD", "WHAT", NULL };
	struct fault f = { 0 };
	json_t *result = NULL, *v;
	struct table *t;
	size_t i;

	if (ask_files(c, "config.keys", NULL, json_object(), &result, &f) != ERR_OK)
		return out_fault(&c->out, &f);
	if (!cli_printed_json(c, result)) {
		t = table_new(heads);
		json_array_foreach (json_object_get(result, "keys"), i, v) {
			table_cellf(t, "%s.%s%s", text_of(v, "section"),
				    json_is_true(json_object_get(v, "named")) ? "NAME." : "", text_of(v, "key"));
			table_cell(t, STYLE_NONE, *text_of(v, "range") ? text_of(v, "range") : text_of(v, "kind"));
			table_cell(t, STYLE_NONE, json_str(v, "default"));
			table_cell(t, STYLE_NONE, json_is_true(json_object_get(v, "reload")) ? "yes" : "no");
			table_cell(t, STYLE_NONE, text_of(v, "text"));
		}
		table_print(&c->out, t);
	}
	json_decref(result);
	return EXIT_DONE;
}

static int run_reload(struct cli *c)
{
	int code = EXIT_DONE;
	json_t *result = cli_result(c, "config.reload", json_object(), &code);

	if (result && !cli_printed_json(c, result)) {
		const json_t *changes = json_object_get(result, "changes");

		print_changes(c, changes, true);
		if (json_array_size(changes) == 0)
			out_note(&c->out, "Read again; nothing has changed.");
	}
	json_decref(result);
	return code;
}

static const struct example show_examples[] = {
	{ "ironmesh config show --effective", "every setting, with where its value comes from" },
	{ 0 },
};
static const struct example check_examples[] = {
	{ "ironmesh config check", "before a reload or a restart" },
	{ "ironmesh config check /etc/ironmesh/ironmesh.conf", NULL },
	{ 0 },
};
static const struct example diff_examples[] = {
	{ "ironmesh config diff", "what a reload would change" },
	{ "ironmesh config diff --defaults", "what is set here, beside the defaults" },
	{ 0 },
};
static const struct example path_examples[] = {
	{ "ironmesh config path", NULL },
	{ 0 },
};
static const struct example keys_examples[] = {
	{ "ironmesh config keys", NULL },
	{ "ironmesh config keys --json | jq '.keys[] | select(.reload)'", "those that need no restart" },
	{ 0 },
};
static const struct example reload_examples[] = {
	{ "ironmesh config check && ironmesh config reload", NULL },
	{ 0 },
};

#define CONFIG_OPTION { "config", 0, OPT_TEXT, "FILE", "this file instead of ironmesh.conf and conf.d" }

static const struct opt show_opts[] = {
	{ "effective", 0, OPT_FLAG, NULL, "also what is not set: with the defaults" },
	CONFIG_OPTION,
	{ 0 },
};
static const struct opt diff_opts[] = {
	{ "defaults", 0, OPT_FLAG, NULL, "beside the defaults" },
	CONFIG_OPTION,
	{ 0 },
};
static const struct opt file_opts[] = { CONFIG_OPTION, { 0 } };

static const struct command subs[] = {
	{ .name = "show", .args = "", .summary = "the settings, and where each comes from", .examples = show_examples,
	  .text = "Of the running daemon, with its command line; without one, of the files.", .opts = show_opts, .run = run_show },
	{ .name = "check", .args = "[FILE]", .summary = "whether the files are right", .examples = check_examples, .max_args = 1,
	  .text = "Every mistake is told with file and line. Exit 0: a daemon would start with them; 10: not.",
	  .opts = file_opts, .run = run_check },
	{ .name = "diff", .args = "", .summary = "what the files say otherwise than the daemon runs with", .examples = diff_examples,
	  .text = "Without a daemon: what the files say beside the defaults.", .opts = diff_opts, .run = run_diff },
	{ .name = "path", .args = "", .summary = "the files that are read, in this order", .examples = path_examples,
	  .text = "ironmesh.conf, then conf.d/*.conf by name; later ones win, and the command line wins over all.\n"
		  "They are in $CONFIGURATION_DIRECTORY, /etc/ironmesh for the system service, else the home folder.",
	  .opts = file_opts, .run = run_path },
	{ .name = "keys", .args = "", .summary = "every setting there is", .examples = keys_examples,
	  .run = run_keys },
	{ .name = "reload", .args = "", .summary = "let the daemon read the files again", .examples = reload_examples,
	  .text = "On any mistake the daemon keeps what it has. No session is dropped but those that a new list of\n"
		  "allowed peers does not mean. What needs a restart is told. SIGHUP does the same.",
	  .run = run_reload },
	{ 0 },
};

const struct command cmd_config = {
	.name = "config",
	.summary = "the settings: show, check, diff, path, keys, reload",
	.examples = show_examples,
	.subs = subs,
};
