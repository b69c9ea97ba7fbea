#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/passphrase.h"
#include "base/prompt.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/work.h"

struct passes {
	struct secret key, mesh, archive;
};

static enum err from_option(struct cli *c, const char *option, struct secret *out, struct fault *f)
{
	const char *file = options_text(&c->opts, option);

	return file ? passphrase_from_file(file, out, f) : ERR_OK;
}

static enum err gather(struct cli *c, struct passes *p, struct fault *f)
{
	enum err e = secret_init_library();

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "libsodium does not start");
	e = from_option(c, "passphrase-file", &p->key, f);
	if (e == ERR_OK)
		e = from_option(c, "mesh-passphrase-file", &p->mesh, f);
	return e == ERR_OK ? from_option(c, "archive-passphrase-file", &p->archive, f) : e;
}

static enum err import(struct cli *c, const struct passes *p, json_t **r, struct fault *f)
{
	json_t *params = json_pack("{s:s, s:b, s:b}", "from", cli_arg(c, 0), "dry_run", options_given(&c->opts, "dry-run"),
				   "accept_unverified", options_given(&c->opts, "accept-unverified-trust"));

	return work_do(c, "import", params,
		       &(struct work_passphrases){ .key = secret_bytes(&p->key), .mesh = secret_bytes(&p->mesh),
						   .archive = secret_bytes(&p->archive) }, r, f);
}

/* An encrypted key file, and nobody said how it opens: a person may know. */
static enum err ask_and_import(struct cli *c, struct passes *p, json_t **r, struct fault *f)
{
	int signal_number = 0;
	enum err e = import(c, p, r, f);

	if (e != ERR_DENIED || p->key.n || !isatty(STDIN_FILENO) || !strstr(f->what, "passphrase"))
		return e;
	e = prompt_passphrase("Passphrase of the old key file: ", false, &p->key, &signal_number, f);
	if (signal_number)
		_exit(128 + signal_number);
	return e == ERR_OK ? import(c, p, r, f) : e;
}

static void show_report(const struct cli *c, const json_t *r)
{
	bool dry = json_is_true(json_object_get(r, "dry_run"));
	const char *id = json_str(r, "id"), *name = json_str(r, "name"), *kept = json_str(r, "kept"), *why;
	char safe[300], word[400];
	const json_t *x;
	size_t i;

	printf("%s%s%s  %s %.16s\n", out_on(&c->out, STYLE_GOOD), dry ? "would be imported" : "imported", out_off(&c->out, STYLE_GOOD),
	       text_safe(bytes_str(name ? name : "?"), safe, sizeof safe), id ? id : "?");
	json_array_foreach (json_object_get(r, "came"), i, x) {
		why = json_str(x, "note");
		printf("  came  %6" PRId64 "  %s%s%s\n", show_int(x, "count"), json_str(x, "what"), why && *why ? ": " : "", why ? why : "");
	}
	json_array_foreach (json_object_get(r, "left"), i, x) {
		why = json_str(x, "why");
		printf("  %sleft%s  %6" PRId64 "  %s: %s\n", out_on(&c->out, STYLE_DIM), out_off(&c->out, STYLE_DIM), show_int(x, "count"),
		       text_safe(bytes_str(json_str(x, "what")), safe, sizeof safe), why ? why : "");
	}
	json_array_foreach (json_object_get(r, "warnings"), i, x)
		printf("%swarning%s %s\n", out_on(&c->out, STYLE_WARN), out_off(&c->out, STYLE_WARN),
		       text_safe(bytes_str(json_string_value(x)), safe, sizeof safe));
	if (kept)
		out_field(&c->out, "the old folder", text_safe(bytes_str(kept), safe, sizeof safe));
	if (dry)
		out_note(&c->out, "nothing was changed");
	else
		out_hint(&c->out, "ironmesh run --home %s --passphrase-file FILE   (not while the old daemon runs)",
			 word_for_shell(c->home, word, sizeof word));
}

static int run_import(struct cli *c)
{
	struct passes p = { .key = { 0 } };
	struct fault f = { 0 };
	json_t *r = NULL;
	int code = EXIT_DONE;
	enum err e = gather(c, &p, &f);

	if (e == ERR_OK)
		e = ask_and_import(c, &p, &r, &f);
	secret_free(&p.key);
	secret_free(&p.mesh);
	secret_free(&p.archive);
	if (e != ERR_OK)
		code = out_fault(&c->out, &f);
	else if (!cli_printed_json(c, r))
		show_report(c, r);
	json_decref(r);
	return code;
}

static const struct example examples[] = {
	{ "ironmesh import ~/.ironmesh --home ~/.ironmesh-new --dry-run", "what would come over" },
	{ "ironmesh import old --home new --passphrase-file key.pass --mesh-passphrase-file mesh.pass", NULL },
	{ "ironmesh import old.imb --archive-passphrase-file backup.pass", "an archive of the old software" },
	{ 0 },
};
static const struct opt opts[] = {
	{ "passphrase-file", 0, OPT_TEXT, "FILE", "the passphrase of the old key file" },
	{ "mesh-passphrase-file", 0, OPT_TEXT, "FILE", "the passphrase of the mesh, which opens the old database" },
	{ "archive-passphrase-file", 0, OPT_TEXT, "FILE", "the passphrase of an IMB1 archive" },
	{ "accept-unverified-trust", 0, OPT_FLAG, NULL, "take a trust store of the oldest forms, which anybody can have written" },
	{ "dry-run", 0, OPT_FLAG, NULL, "say what would come over, change nothing" },
	{ 0 },
};

const struct command cmd_import = {
	.name = "import",
	.args = "DIR | FILE",
	.summary = "take over the identity and state of the old software",
	.text = "The folder or archive is only read. The node keeps its identity: its peers see no new key.\n"
		"What came over and what did not, and why, is said.",
	.examples = examples,
	.opts = opts,
	.flags = CMD_NEW_HOME,
	.min_args = 1,
	.max_args = 1,
	.run = run_import,
};
