#include <inttypes.h>
#include <stdlib.h>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/work.h"

static int take_home(struct cli *c, const char *dir)
{
	if (!dir)
		return EXIT_DONE;
	if (!*dir || strlen(dir) >= sizeof c->home)
		return cli_usage(c, NULL, "the folder of --into is empty or too long");
	snprintf(c->home, sizeof c->home, "%s", dir);
	return EXIT_DONE;
}

static void show_restored(const struct cli *c, const json_t *r)
{
	const char *kept = json_str(r, "kept"), *id = json_str(r, "id"), *name = json_str(r, "name");
	bool dry = json_is_true(json_object_get(r, "dry_run"));
	char safe[300], home[300], when[40], word[400];

	printf("%s%s%s  %s %.16s, as of %s\n", out_on(&c->out, STYLE_GOOD), dry ? "would be restored" : "restored",
	       out_off(&c->out, STYLE_GOOD), text_safe(bytes_str(name ? name : "?"), safe, sizeof safe), id ? id : "?",
	       time_text((uint64_t)show_int(r, "created_ms"), when, sizeof when));
	out_field(&c->out, "into", text_safe(bytes_str(c->home), home, sizeof home));
	if (kept)
		out_field(&c->out, "the old folder", text_safe(bytes_str(kept), safe, sizeof safe));
	if (json_is_true(json_object_get(r, "identity_opened")))
		out_fieldf(&c->out, "checked", "every file, the database, the identity, %" PRId64 " pins, %" PRId64 " audit entries",
			   show_int(r, "pins"), show_int(r, "audit_entries"));
	else
		out_field(&c->out, "checked", "every file, the database");
	if (dry) {
		out_note(&c->out, "nothing was changed");
		return;
	}
	out_note(&c->out, "the next start begins a new life of this node: what it counts goes on above what it may have used");
	out_hint(&c->out, "ironmesh run --home %s   (not while the old machine still runs: one identity, one machine)",
		 word_for_shell(c->home, word, sizeof word));
}

static int run_restore(struct cli *c)
{
	struct secret pass = { 0 }, key = { 0 };
	struct fault f = { 0 };
	json_t *r = NULL, *params;
	int code = take_home(c, options_text(&c->opts, "into"));
	enum err e;

	if (code != EXIT_DONE)
		return code;
	params = json_pack("{s:s, s:b, s:b, s:b}", "file", cli_arg(c, 0), "force", options_given(&c->opts, "force"), "dry_run",
			   options_given(&c->opts, "dry-run"), "discard_old", options_given(&c->opts, "discard-old"));
	e = work_archive_passphrase(c, false, &pass, &f);
	if (e == ERR_OK)
		e = work_key_passphrase(c, &key, &f);
	if (e == ERR_OK)
		e = work_do(c, "restore", params, &(struct work_passphrases){ .archive = secret_bytes(&pass), .key = secret_bytes(&key) },
			    &r, &f);
	else
		json_decref(params);
	secret_free(&pass);
	secret_free(&key);
	if (e != ERR_OK)
		code = out_fault(&c->out, &f);
	else if (!cli_printed_json(c, r))
		show_restored(c, r);
	json_decref(r);
	return code;
}

static const struct example examples[] = {
	{ "ironmesh restore alice.backup --passphrase-file backup.pass", "into the home folder, when no node is in it" },
	{ "ironmesh restore alice.backup --force", "in place of the node that is there; its folder is kept" },
	{ "ironmesh restore alice.backup --into /srv/alice", NULL },
	{ 0 },
};
static const struct opt opts[] = {
	{ "into", 0, OPT_TEXT, "DIR", "restore into this folder instead of the home folder" },
	{ "force", 0, OPT_FLAG, NULL, "also when there is an identity; its folder is kept as HOME.before-restore-TIME" },
	{ "discard-old", 0, OPT_FLAG, NULL, "with --force: do not keep the old folder" },
	{ "dry-run", 0, OPT_FLAG, NULL, "check everything, change nothing" },
	{ "passphrase-file", 0, OPT_TEXT, "FILE", "the passphrase of the backup: one line, mode 0600" },
	{ "passphrase-fd", 0, OPT_NUMBER, "N", "the same from an open descriptor", 0, 65535 },
	{ "key-passphrase-file", 0, OPT_TEXT, "FILE", "the passphrase of the key file in it, to prove that the identity opens" },
	{ 0 },
};

const struct command cmd_restore = {
	.name = "restore",
	.args = "FILE",
	.summary = "put a backup in place of the home folder, all of it or nothing",
	.text = "Not while a daemon runs on that folder. Everything is unpacked beside it and checked there;\n"
		"then both change places in one step.",
	.examples = examples,
	.opts = opts,
	.min_args = 1,
	.max_args = 1,
	.run = run_restore,
};
