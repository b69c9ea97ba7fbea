#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/newmesh.h"
#include "cli/passphrase_prompt.h"

static enum err passphrase_for_new(struct cli *c, struct secret *out, struct fault *f)
{
	const char *path = options_text(&c->opts, "new-mesh");
	enum err e;

	if (options_given(&c->opts, "clear"))
		return ERR_OK;
	if (path)
		return newmesh_passphrase(path, out, f);
	e = passphrase_configured(c, out, f);
	if (e != ERR_NOTFOUND || options_given(&c->opts, "passphrase-file"))
		return e;
	e = passphrase_prompt(c, "Passphrase of the mesh: ", true, out, f);
	if (e == ERR_NOTFOUND) {
		fault_means(f, "A first machine makes one with --new-mesh FILE; every other machine gives "
			       "that file with --passphrase-file FILE.");
		fault_next(f, "ironmesh keys generate --name %s --new-mesh mesh.pass",
			   options_text(&c->opts, "name"));
	}
	return e;
}

static enum err generate(struct cli *c, json_t **result, struct fault *f)
{
	struct secret pass = { 0 };
	bool needs_key;
	enum err e = secret_init_library();

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "libsodium does not start");
	if (!c->host->offline("keys.generate", &needs_key))
		return fault_set(f, ERR_UNSUPPORTED, EXIT_GENERIC, "this program cannot generate keys");
	e = passphrase_for_new(c, &pass, f);
	if (e == ERR_OK) {
		json_t *p = json_pack("{s:s, s:b}", "name", options_text(&c->opts, "name"), "clear",
				      options_given(&c->opts, "clear"));

		e = p ? c->host->call(c->home, secret_bytes(&pass), "keys.generate", p, result, f) :
			fault_set(f, ERR_MALFORMED, EXIT_USAGE, "the name is not valid UTF-8");
		json_decref(p);
		if (e != ERR_OK && options_given(&c->opts, "new-mesh"))
			unlink(options_text(&c->opts, "new-mesh")); /* made a moment ago, used by nothing */
	}
	secret_free(&pass);
	return e;
}

static int run_generate(struct cli *c)
{
	const char *name = options_text(&c->opts, "name"), *path = options_text(&c->opts, "new-mesh"),
		   *file = options_text(&c->opts, "passphrase-file");
	struct fault f = { 0 };
	json_t *result = NULL;
	char word[400], safe[400];

	if (!name)
		return cli_usage(c, "ironmesh keys generate --name NAME --new-mesh FILE",
				 "--name is needed: how this node is called");
	if (!name_valid(bytes_str(name)))
		return cli_usage(c, NULL, "'%s' cannot be a name: letters, digits, '.', '_' and '-', at most %d",
				 name, NAME_MAX_CHARS);
	if (options_given(&c->opts, "clear") + (path != NULL) +
		    (file != NULL || options_given(&c->opts, "passphrase-fd")) > 1)
		return cli_usage(c, NULL, "--clear, --new-mesh and a passphrase exclude each other");
	if (generate(c, &result, &f) != ERR_OK)
		return out_fault(&c->out, &f);
	if (!cli_printed_json(c, result))
		show_keys(c, result);
	json_decref(result);
	if (path) {
		file = path;
		out_note(&c->out, "\nThe passphrase of the new mesh is in %s. Every machine of this mesh needs the",
			 text_safe(bytes_str(path), safe, sizeof(safe)));
		out_note(&c->out, "same file: carry it there by a way you trust (scp -p, a USB stick), mode 0600.");
	}
	if (file)
		out_hint(&c->out, "ironmesh run --name %s --passphrase-file %s", name,
			 word_for_shell(file, word, sizeof(word)));
	else
		out_hint(&c->out, "ironmesh run --name %s --passphrase-file FILE", name);
	return EXIT_DONE;
}

static int show(struct cli *c, const char *method, bool only_fingerprint)
{
	int code = EXIT_DONE;
	json_t *result = cli_result(c, method, json_object(), &code);
	char text[256];

	if (result && !cli_printed_json(c, result)) {
		if (only_fingerprint)
			printf("%s\n", fingerprint_groups(json_str(result, "fingerprint"), text, sizeof(text)));
		else
			show_keys(c, result);
	}
	json_decref(result);
	return code;
}

static int run_show(struct cli *c)
{
	return show(c, "keys.show", false);
}

static int run_fingerprint(struct cli *c)
{
	return show(c, "keys.fingerprint", true);
}

static int run_migrate(struct cli *c)
{
	return show(c, "keys.migrate", false);
}

static int run_encrypt(struct cli *c)
{
	int code = show(c, "keys.encrypt", false);

	if (code == EXIT_DONE)
		out_note(&c->out, "\nThe daemon needs this passphrase from now on: --passphrase-file, or --key-passphrase-file when the\n"
				  "mesh has another one. What the disk still holds of the clear file is not erased by this.");
	return code;
}

static int run_rotate(struct cli *c)
{
	int code = EXIT_DONE;
	json_t *result;
	char name[80];

	if (!cli_confirmed(c, &code,
			   "Make a new identity for this node? Its node id changes, the daemon stops, and "
			   "every peer that is not connected over im2 now must accept the new one."))
		return code;
	result = cli_result(c, "keys.rotate", json_object(), &code);
	if (result && !cli_printed_json(c, result)) {
		show_keys(c, result);
		out_field(&c->out, "old node id", json_str(result, "old_id"));
		out_note(&c->out, "Peers that were connected over im2 know the new identity. Every other one refuses it until its "
				  "operator says:\n  ironmesh trust repin %s %s",
			 text_safe(bytes_str(json_str(result, "name")), name, sizeof(name)), json_str(result, "id"));
		out_hint(&c->out, "ironmesh run   (then tell your peers the new fingerprint)");
	}
	json_decref(result);
	return code;
}

static int run_revoke(struct cli *c)
{
	const struct optval *reason = options_get(&c->opts, "reason");
	int code = EXIT_DONE;
	json_t *result;

	if (!cli_confirmed(c, &code, "Revoke the key of this node? Every peer refuses it for ever, and nothing undoes that."))
		return code;
	result = cli_result(c, "keys.revoke", json_pack("{s:I}", "reason", (json_int_t)(reason->given ? reason->number : 0)),
			    &code);
	if (result && !cli_printed_json(c, result)) {
		out_field(&c->out, "revoked", json_str(result, "id"));
		out_note(&c->out, "Every peer that hears it refuses this identity. Leave the daemon running for a while: whoever is\n"
				  "away now hears it when it comes. A new identity begins in another home folder.");
		out_hint(&c->out, "ironmesh keys generate --home NEW-FOLDER --name NAME --passphrase-file FILE");
	}
	json_decref(result);
	return code;
}

static const struct example show_examples[] = {
	{ "ironmesh keys show", "who this node is" },
	{ "ironmesh keys show --json --passphrase-file mesh.pass", "also without a running daemon" },
	{ 0 },
};
static const struct example generate_examples[] = {
	{ "ironmesh keys generate --name alice --new-mesh mesh.pass", "the first machine of a mesh" },
	{ "ironmesh keys generate --name bob --passphrase-file mesh.pass", "every other machine" },
	{ 0 },
};
static const struct example fingerprint_examples[] = {
	{ "ironmesh keys fingerprint", "read it to your peer over the telephone" },
	{ 0 },
};
static const struct example migrate_examples[] = {
	{ "ironmesh keys migrate --passphrase-file mesh.pass", "with the daemon stopped" },
	{ 0 },
};
static const struct example encrypt_examples[] = {
	{ "ironmesh keys encrypt --passphrase-file mesh.pass", "with the daemon stopped" },
	{ 0 },
};
static const struct example rotate_examples[] = {
	{ "ironmesh keys rotate --yes", "when a key may have leaked" },
	{ 0 },
};
static const struct example revoke_examples[] = {
	{ "ironmesh keys revoke --yes", "when the key was stolen: whoever has it is refused too" },
	{ 0 },
};
static const struct opt revoke_opts[] = {
	{ "reason", 0, OPT_NUMBER, "N", "a number that your mesh agrees on, 0 to 255", .max = 255 },
	{ 0 },
};
static const struct opt generate_opts[] = {
	{ "name", 0, OPT_TEXT, "NAME", "how this node is called" },
	{ "new-mesh", 0, OPT_TEXT, "FILE", "make a passphrase and write it to FILE (0600)" },
	{ "clear", 0, OPT_FLAG, NULL, "store the key without encryption" },
	{ 0 },
};

static const struct command subs[] = {
	{ .name = "show", .args = "", .summary = "the identity of this node", .examples = show_examples,
	  .flags = CMD_PASSPHRASE, .run = run_show },
	{ .name = "generate", .args = "--name NAME", .summary = "make an identity",
	  .examples = generate_examples,
	  .text = "All machines of a mesh share one passphrase. It also encrypts the key file. It comes\n"
		  "from --new-mesh (made now), --passphrase-file, --passphrase-fd, the systemd credential\n"
		  "ironmesh-key or ironmesh, $IRONMESH_PASSPHRASE (others may see it), or a prompt.",
	  .opts = generate_opts, .flags = CMD_PASSPHRASE | CMD_NEW_HOME, .run = run_generate },
	{ .name = "fingerprint", .args = "", .summary = "only the fingerprint, to compare with a person",
	  .examples = fingerprint_examples, .flags = CMD_PASSPHRASE, .run = run_fingerprint },
	{ .name = "migrate", .args = "", .summary = "rewrite a key file of the old software",
	  .examples = migrate_examples, .text = "The identity stays the same. Stop the daemon first.",
	  .flags = CMD_PASSPHRASE, .run = run_migrate },
	{ .name = "encrypt", .args = "", .summary = "encrypt a key that is stored in clear",
	  .examples = encrypt_examples, .text = "The identity stays the same. Stop the daemon first.",
	  .flags = CMD_PASSPHRASE, .run = run_encrypt },
	{ .name = "rotate", .args = "", .summary = "a new identity for this node",
	  .examples = rotate_examples,
	  .text = "Peers that are connected over im2 hear of it and take it over, with what waits for this\n"
		  "node. For every other one it is a stranger under a known name: its operator compares the\n"
		  "fingerprint and runs: ironmesh trust repin NAME ID", .flags = CMD_PASSPHRASE | CMD_YES, .run = run_rotate },
	{ .name = "revoke", .args = "", .summary = "end this identity for ever, everywhere",
	  .examples = revoke_examples, .opts = revoke_opts,
	  .text = "A statement signed by the key itself goes to every peer, until each says that it has it.\n"
		  "The daemon must run. Unlike a rotation it leaves no successor: a thief could name one.",
	  .flags = CMD_YES, .run = run_revoke },
	{ 0 },
};

const struct command cmd_keys = {
	.name = "keys",
	.summary = "the identity: generate, show, fingerprint, migrate, encrypt, rotate, revoke",
	.examples = generate_examples,
	.subs = subs,
};
