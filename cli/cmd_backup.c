#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/work.h"

#define SNAPSHOT_MS 3600000u

/* --- making one ------------------------------------------------------------------------------------------------ */
/* The daemon copies its state at one moment; this program, which may write where the daemon may not, makes the file. */
static enum err ask_daemon(struct cli *c, json_t *params, json_t **snapshot, struct fault *f)
{
	char path[PATH_MAX];
	const char *folder;
	json_t *r = NULL;
	enum err e = cli_connect(c, f);

	if (e == ERR_NOTFOUND) {
		out_detail(&c->out, "no daemon runs; working on %s", c->home);
		return ERR_OK;
	}
	if (e == ERR_OK)
		e = client_call(&c->client, "backup.snapshot", NULL, SNAPSHOT_MS, &r, f);
	if (e != ERR_OK)
		return e;
	/* The folder is in the home folder; how this program calls that, the daemon need not know. */
	folder = json_str(r, "folder");
	if (!folder || !strrchr(folder, '/') || path_join(path, sizeof path, c->home, strrchr(folder, '/') + 1) != ERR_OK) {
		json_decref(r);
		return fault_set(f, ERR_MALFORMED, EXIT_GENERIC, "the daemon does not say where its snapshot is");
	}
	json_object_set_new(params, "folder", json_string(path));
	json_object_set(params, "created_ms", json_object_get(r, "created_ms"));
	json_object_set(params, "left_out", json_object_get(r, "left_out"));
	json_object_set(params, "left_out_n", json_object_get(r, "left_out_n"));
	*snapshot = r;
	return ERR_OK;
}

static void tell_daemon(struct cli *c, const json_t *snapshot, const json_t *made)
{
	struct fault ignored;
	json_t *r = NULL, *p = json_pack("{s:O}", "folder", json_object_get(snapshot, "folder"));
	char path[PATH_MAX];

	if (made) {
		const char *file = json_str(made, "file");

		json_object_set_new(p, "file", json_string(realpath(file, path) ? path : file));
		json_object_set(p, "bytes", json_object_get(made, "bytes"));
	}
	if (client_call(&c->client, "backup.release", p, CLIENT_TIMEOUT_MS, &r, &ignored) != ERR_OK)
		out_detail(&c->out, "the daemon was not told: %s", ignored.what);
	json_decref(r);
	json_decref(p);
}

static void show_backup(const struct cli *c, const json_t *r, bool files)
{
	const json_t *list = json_object_get(r, "files"), *one;
	const char *id = json_str(r, "id");
	char a[32], b[32], when[40], safe[300];
	size_t i;

	out_fieldf(&c->out, "node", "%s  %.16s", text_safe(bytes_str(json_str(r, "name") ? json_str(r, "name") : "?"), safe, sizeof safe),
		   id ? id : "?");
	out_field(&c->out, "made", time_text((uint64_t)show_int(r, "created_ms"), when, sizeof when));
	out_fieldf(&c->out, "size", "%s, of %s in %zu files", size_text((uint64_t)show_int(r, "bytes"), a, sizeof a),
		   size_text((uint64_t)show_int(r, "state_bytes"), b, sizeof b), json_array_size(list));
	if (files) {
		static const char *const heads[] = { "FILE", "BYTES", "WHAT", NULL };
		struct table *t = table_new(heads);

		json_array_foreach (list, i, one) {
			table_cell(t, STYLE_NONE, json_str(one, "name"));
			table_cellf(t, "%" PRId64, show_int(one, "bytes"));
			table_cell(t, STYLE_DIM, json_str(one, "what"));
		}
		table_print(&c->out, t);
	}
	if (!json_is_true(json_object_get(r, "verified")))
		return;
	if (json_is_true(json_object_get(r, "identity_opened")))
		out_fieldf(&c->out, "checked", "every file, the database, the identity, %" PRId64 " pins, %" PRId64 " audit entries",
			   show_int(r, "pins"), show_int(r, "audit_entries"));
	else
		out_field(&c->out, "checked", "every file, the database");
}

static void remark(const struct cli *c, const json_t *r)
{
	const char *left = json_str(r, "left_out");
	char safe[600];

	if (json_is_false(json_object_get(r, "identity_opened")))
		out_note(&c->out, "the identity in it was not opened, as its passphrase is another one: --key-passphrase-file proves it too");
	if (show_int(r, "left_out_n"))
		out_note(&c->out, "left out, as they are no part of the state: %s", text_safe(bytes_str(left ? left : ""), safe, sizeof safe));
}

static int run_create(struct cli *c)
{
	const char *file = cli_arg(c, 0);
	struct secret pass = { 0 }, key = { 0 };
	struct fault f = { 0 };
	json_t *r = NULL, *snapshot = NULL;
	json_t *params = json_pack("{s:s, s:b}", "file", file, "force", options_given(&c->opts, "force"));
	int code = EXIT_DONE;
	char safe[300], word[400];
	enum err e;

	if (!params)
		return cli_usage(c, NULL, "the name of the file is not valid UTF-8");
	/* Before anybody types a passphrase twice. */
	if (!options_given(&c->opts, "force") && access(file, F_OK) == 0) {
		fault_set(&f, ERR_EXISTS, EXIT_USAGE, "%s exists already, and is not overwritten",
			  text_safe(bytes_str(file), safe, sizeof safe));
		fault_next(&f, "ironmesh backup %s --force   (or choose another name)", word_for_shell(file, word, sizeof word));
		json_decref(params);
		return out_fault(&c->out, &f);
	}
	e = work_archive_passphrase(c, true, &pass, &f);
	if (e == ERR_OK)
		e = work_key_passphrase(c, &key, &f);
	if (e == ERR_OK)
		e = ask_daemon(c, params, &snapshot, &f);
	if (e == ERR_OK)
		e = work_do(c, "backup.write", params,
			    &(struct work_passphrases){ .archive = secret_bytes(&pass), .key = secret_bytes(&key) }, &r, &f);
	else
		json_decref(params);
	secret_free(&pass);
	secret_free(&key);
	if (snapshot)
		tell_daemon(c, snapshot, r);
	if (e != ERR_OK) {
		code = out_fault(&c->out, &f);
	} else if (!cli_printed_json(c, r)) {
		printf("%swritten and read back%s  %s\n", out_on(&c->out, STYLE_GOOD), out_off(&c->out, STYLE_GOOD),
		       text_safe(bytes_str(file), safe, sizeof safe));
		show_backup(c, r, false);
		remark(c, r);
		out_hint(&c->out, "keep it on another machine, and its passphrase in another place");
	}
	json_decref(snapshot);
	json_decref(r);
	return code;
}

/* --- looking at one -------------------------------------------------------------------------------------------- */
static enum err examine(struct cli *c, const char *verb, const char *file, json_t **r, struct fault *f)
{
	struct secret pass = { 0 }, key = { 0 };
	json_t *params = json_pack("{s:s}", "file", file);
	enum err e = work_archive_passphrase(c, false, &pass, f);

	if (e == ERR_OK)
		e = work_key_passphrase(c, &key, f);
	if (e == ERR_OK)
		e = work_do(c, verb, params, &(struct work_passphrases){ .archive = secret_bytes(&pass), .key = secret_bytes(&key) }, r, f);
	else
		json_decref(params);
	secret_free(&pass);
	secret_free(&key);
	return e;
}

static int run_verify(struct cli *c)
{
	struct fault f = { 0 };
	json_t *r = NULL;

	if (examine(c, "backup.verify", cli_arg(c, 0), &r, &f) != ERR_OK)
		return out_fault(&c->out, &f);
	if (!cli_printed_json(c, r)) {
		printf("%sgood%s\n", out_on(&c->out, STYLE_GOOD), out_off(&c->out, STYLE_GOOD));
		show_backup(c, r, false);
		remark(c, r);
	}
	json_decref(r);
	return EXIT_DONE;
}

static int list_file(struct cli *c)
{
	struct fault f = { 0 };
	json_t *r = NULL;

	if (examine(c, "backup.look", cli_arg(c, 0), &r, &f) != ERR_OK)
		return out_fault(&c->out, &f);
	if (!cli_printed_json(c, r))
		show_backup(c, r, true);
	json_decref(r);
	return EXIT_DONE;
}

static void show_schedule(const struct cli *c, const json_t *r)
{
	const char *directory = json_str(r, "directory"), *state = json_str(json_object_get(r, "last"), "state");
	char span[40], when[40], safe[300];

	if (!directory) {
		out_note(&c->out, "no backups are scheduled");
		return;
	}
	out_field(&c->out, "into", text_safe(bytes_str(directory), safe, sizeof safe));
	if (show_int(r, "every_ms"))
		out_fieldf(&c->out, "every", "%s, the newest %" PRId64 " are kept",
			   duration_text((uint64_t)show_int(r, "every_ms"), span, sizeof span), show_int(r, "keep"));
	if (show_int(r, "next_ms"))
		out_field(&c->out, "next", time_text((uint64_t)show_int(r, "next_ms"), when, sizeof when));
	if (state && strcmp(state, "failed") == 0) {
		const char *why = json_str(json_object_get(r, "last"), "why");

		printf("%sthe last one failed%s: %s\n", out_on(&c->out, STYLE_BAD), out_off(&c->out, STYLE_BAD),
		       text_safe(bytes_str(why ? why : "?"), safe, sizeof safe));
	}
}

static int run_list(struct cli *c)
{
	static const char *const heads[] = { "MADE", "SIZE", "READ BACK", "FILE", NULL };
	int code = EXIT_DONE;
	json_t *r, *one;
	struct table *t;
	char when[40], size[32];
	size_t i;

	if (cli_arg(c, 0))
		return list_file(c);
	r = cli_result(c, "backup.list", json_object(), &code);
	if (!r || cli_printed_json(c, r)) {
		json_decref(r);
		return code;
	}
	show_schedule(c, r);
	if (json_array_size(json_object_get(r, "backups"))) {
		t = table_new(heads);
		json_array_foreach (json_object_get(r, "backups"), i, one) {
			table_cell(t, STYLE_NONE, time_text((uint64_t)show_int(one, "created_ms"), when, sizeof when));
			table_cell(t, STYLE_NONE, size_text((uint64_t)show_int(one, "bytes"), size, sizeof size));
			table_cell(t, STYLE_DIM, time_text((uint64_t)show_int(one, "verified_ms"), when, sizeof when));
			table_cell(t, STYLE_NONE, json_str(one, "file"));
		}
		table_print(&c->out, t);
	} else {
		out_note(&c->out, "no backup is known");
		out_hint(&c->out, "ironmesh backup FILE");
	}
	json_decref(r);
	return code;
}

static int run_now(struct cli *c)
{
	struct fault f = { 0 };
	char safe[300], size[32];
	json_t *r = NULL;

	if (cli_ask(c, "backup.now", json_object(), SNAPSHOT_MS, &r, &f) != ERR_OK)
		return out_fault(&c->out, &f);
	if (!cli_printed_json(c, r))
		printf("%swritten and read back%s  %s, %s\n", out_on(&c->out, STYLE_GOOD), out_off(&c->out, STYLE_GOOD),
		       text_safe(bytes_str(json_str(r, "file") ? json_str(r, "file") : "?"), safe, sizeof safe),
		       size_text((uint64_t)show_int(r, "bytes"), size, sizeof size));
	json_decref(r);
	return EXIT_DONE;
}

static const struct example create_examples[] = {
	{ "ironmesh backup /mnt/usb/alice.backup", "asks for a passphrase of its own, twice" },
	{ "ironmesh backup alice.backup --passphrase-file backup.pass", NULL },
	{ 0 },
};
static const struct example verify_examples[] = {
	{ "ironmesh backup verify alice.backup --passphrase-file backup.pass", "exit 9 when it is not what was written" },
	{ 0 },
};
static const struct example list_examples[] = {
	{ "ironmesh backup list", "what the daemon has made" },
	{ "ironmesh backup list alice.backup --passphrase-file backup.pass", "what is in it" },
	{ 0 },
};
static const struct example now_examples[] = {
	{ "ironmesh backup now", NULL },
	{ 0 },
};
static const struct opt create_opts[] = {
	{ "force", 0, OPT_FLAG, NULL, "replace FILE when it exists" },
	{ "passphrase-file", 0, OPT_TEXT, "FILE", "the passphrase of the backup: one line, mode 0600" },
	{ "passphrase-fd", 0, OPT_NUMBER, "N", "the same from an open descriptor", 0, 65535 },
	{ "key-passphrase-file", 0, OPT_TEXT, "FILE", "the passphrase of the key file, to prove that the identity opens" },
	{ 0 },
};

static const struct command subs[] = {
	{ .name = "create", .args = "FILE", .summary = "the whole state of this node in one encrypted file", .examples = create_examples,
	  .text = "With and without a running daemon. The file is read back and checked before the command\n"
		  "says that it is there. `ironmesh backup FILE` is the same.",
	  .opts = create_opts, .min_args = 1, .max_args = 1, .run = run_create },
	{ .name = "verify", .args = "FILE", .summary = "whether a backup is whole and can be restored", .examples = verify_examples,
	  .opts = work_archive_opts, .min_args = 1, .max_args = 1, .run = run_verify },
	{ .name = "list", .args = "[FILE]", .summary = "the backups that are known, or what is in one", .examples = list_examples,
	  .opts = work_archive_opts, .max_args = 1, .run = run_list },
	{ .name = "now", .args = "", .summary = "make a scheduled backup now", .examples = now_examples, .run = run_now },
	{ 0 },
};

const struct command cmd_backup = {
	.name = "backup",
	.args = "FILE",
	.summary = "the whole state in one encrypted file: create, verify, list, now",
	.examples = create_examples,
	.flags = CMD_FIRST_TAKES,
	.subs = subs,
};
