#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/qr.h"
#include "cli/textfile.h"

#define TOKEN_MAX 4096
#define PATIENCE_MS 40000 /* the daemon gives up after 25 s */

/* --- making ------------------------------------------------------------------------------------------------ */
/* The token and nothing else on stdout, so that it can be piped; what goes with it on stderr. */
static int run_create(struct cli *c)
{
	const struct optval *ttl = options_get(&c->opts, "ttl");
	int code = EXIT_DONE;
	json_t *r = cli_result(c, "invite.create",
			       json_pack("{s:s*, s:s*, s:s*, s:b, s:o*}", "endpoint", options_text(&c->opts, "endpoint"),
					 "profile", options_text(&c->opts, "profile"), "allowed_peers",
					 options_text(&c->opts, "allow"), "trust", options_given(&c->opts, "trust"), "ttl_ms",
					 ttl->given ? json_integer((json_int_t)ttl->number) : NULL),
			       &code);
	const char *token = json_str(r, "token");
	char span[40], safe[300];

	if (!r)
		return code;
	if (!cli_printed_json(c, r) && token) {
		printf("%s\n", token);
		if (options_given(&c->opts, "qr") && qr_print(stdout, token) != ERR_OK)
			out_note(&c->out, "the token is too long for a QR code");
		fflush(stdout);
		out_note(&c->out, "whoever has this text is let in once, at %s, within %s%s; send it by a way that you trust",
			 text_safe(bytes_str(json_str(r, "endpoint") ? json_str(r, "endpoint") : "?"), safe, sizeof safe),
			 duration_text((uint64_t)(show_int(r, "expires_ms") - show_int(r, "issued_ms")), span, sizeof span),
			 json_is_true(json_object_get(r, "trust")) ? ", and trusted at once" : "");
		out_note(&c->out, "on the other machine, which knows the passphrase of the mesh: ironmesh invite accept -");
		if (json_is_true(json_object_get(r, "trust")))
			out_hint(&c->out, "ironmesh invite list");
		else
			out_hint(&c->out, "ironmesh peers pending   (once it was used)");
	}
	json_decref(r);
	return code;
}

static int run_list(struct cli *c)
{
	static const char *const heads[] = { "INVITE", "STATE", "EXPIRES", "TRUST", "USED BY", "ENDPOINT", NULL };
	int code = EXIT_DONE;
	json_t *r = cli_result(c, "invite.list", json_object(), &code);
	const json_t *list = json_object_get(r, "invites"), *one;
	char party[160], when[40];
	struct table *t;
	size_t i;

	if (!r || cli_printed_json(c, r)) {
		json_decref(r);
		return code;
	}
	if (!json_array_size(list)) {
		out_note(&c->out, "there are no invites");
		out_hint(&c->out, "ironmesh invite create");
	} else {
		t = table_new(heads);
		json_array_foreach (list, i, one) {
			const char *state = json_str(one, "state");
			const json_t *by = json_object_get(one, "spent_by");

			table_cellf(t, "%.8s", json_str(one, "id") ? json_str(one, "id") : "?");
			table_cell(t, state && strcmp(state, "open") == 0 ? STYLE_GOOD : STYLE_DIM, state);
			table_cell(t, STYLE_NONE, time_text((uint64_t)show_int(one, "expires_ms"), when, sizeof when));
			table_cell(t, STYLE_NONE, json_is_true(json_object_get(one, "trust")) ? "yes" : "-");
			table_cell(t, STYLE_NONE, json_is_object(by) ? show_party(by, party, sizeof party) : NULL);
			table_cell(t, STYLE_NONE, json_str(one, "endpoint"));
		}
		table_print(&c->out, t);
	}
	json_decref(r);
	return code;
}

static int run_revoke(struct cli *c)
{
	int code = EXIT_DONE;
	json_t *r = cli_result(c, "invite.revoke", json_pack("{s:s}", "id", cli_arg(c, 0)), &code);

	if (r && !cli_printed_json(c, r))
		out_note(&c->out, "invite %.8s lets nobody in any more", json_str(r, "id") ? json_str(r, "id") : "?");
	json_decref(r);
	return code;
}

/* --- following ------------------------------------------------------------------------------------------------- */
/* TOKEN itself, "@FILE", or "-" for stdin: the last two keep it out of the list of processes. */
static enum err read_token(const char *arg, struct buf *b, struct fault *f)
{
	enum err e;

	if (arg[0] != '@' && strcmp(arg, "-") != 0) {
		buf_add(b, bytes_str(arg));
		return b->err == ERR_OK ? ERR_OK : fault_set(f, ERR_LIMIT, EXIT_USAGE, "this is longer than an invite");
	}
	e = text_import(arg[0] == '@' ? arg + 1 : arg, b, f);
	while (e == ERR_OK && b->n && b->p[b->n - 1] <= ' ')
		b->n--;
	return e;
}

static int run_accept(struct cli *c)
{
	struct fault f = { 0 };
	json_t *r = NULL;
	char name[160], word[400];
	const char *allow;
	struct buf b;
	enum err e;

	buf_init(&b, TOKEN_MAX);
	e = read_token(cli_arg(c, 0), &b, &f);
	if (e == ERR_OK)
		e = cli_ask(c, "invite.accept", json_pack("{s:s%}", "token", (const char *)(b.p ? b.p : (uint8_t *)""), b.n),
			    PATIENCE_MS, &r, &f);
	buf_wipe(&b);
	buf_fini(&b);
	if (e != ERR_OK)
		return out_fault(&c->out, &f);
	if (!cli_printed_json(c, r)) {
		show_party(json_object_get(r, "peer"), name, sizeof name);
		out_field(&c->out, "inviter", name);
		out_field(&c->out, "state", "trusted");
		out_field(&c->out, "address", json_str(r, "endpoint"));
		allow = json_str(r, "allowed_peers");
		if (allow) {
			out_field(&c->out, "its peers", allow);
			out_note(&c->out, "to speak with these and the inviter alone: ironmesh run --allowed-peers %s",
				 word_for_shell(allow, word, sizeof word));
		}
		out_hint(&c->out, "ironmesh send %s \"hello\"   (held there until its operator approves this node)",
			 word_for_shell(name, word, sizeof word));
	}
	json_decref(r);
	return EXIT_DONE;
}

/* --- tables ------------------------------------------------------------------------------------------------------ */
static const struct example create_examples[] = {
	{ "ironmesh invite create --endpoint 192.0.2.7:8765", "for one machine, within 15 minutes" },
	{ "ironmesh invite create --endpoint 192.0.2.7:8765 --trust --ttl 1h", "for an unattended one: trusted when it comes" },
	{ "ironmesh invite create --endpoint 192.0.2.7:8765 --qr", "and a QR code" },
	{ 0 },
};
static const struct example list_examples[] = {
	{ "ironmesh invite list", "which were used, and by whom" },
	{ 0 },
};
static const struct example revoke_examples[] = {
	{ "ironmesh invite revoke 3fa90c1d", "the first digits of its id" },
	{ 0 },
};
static const struct example accept_examples[] = {
	{ "ironmesh invite accept -", "paste it, then Ctrl-D" },
	{ "ironmesh invite accept @invite.txt", NULL },
	{ 0 },
};
static const struct opt create_opts[] = {
	{ "endpoint", 0, OPT_TEXT, "HOST:PORT", "where the other machine reaches this one" },
	{ "profile", 0, OPT_WORD, "lan|homelab|lora|offline|tactical", "for what kind of network: decides how long it lives" },
	{ "ttl", 0, OPT_DURATION, "TIME", "how long it lives: 1s to 1d (default: of the profile, 15m)", .min = 1000,
	  .max = 86400000 },
	{ "allow", 0, OPT_TEXT, "NAMES", "names of peers, between commas, that the other machine may want to allow" },
	{ "trust", 0, OPT_FLAG, NULL, "who comes with it is trusted at once, not pending" },
	{ "qr", 0, OPT_FLAG, NULL, "print a QR code too" },
	{ 0 },
};

static const struct command subs[] = {
	{ .name = "list", .args = "", .summary = "the invites of this node", .examples = list_examples, .run = run_list },
	{ .name = "create", .args = "", .summary = "let one machine in, once", .examples = create_examples, .opts = create_opts,
	  .text = "The text is a secret: whoever has it, and the passphrase of the mesh, introduces one\n"
		  "identity, which is pending then (with --trust: trusted), also when --allowed-peers is set.\n"
		  "It is of the form of the old software. Between two machines that both run this program,\n"
		  "'ironmesh pair' is safer: it needs no passphrase and leaves nothing to steal.",
	  .run = run_create },
	{ .name = "accept", .args = "TOKEN|@FILE|-", .summary = "follow the invite of another machine",
	  .examples = accept_examples,
	  .text = "Trusts the inviter that the invite names, dials it, and accepts no other key there. The\n"
		  "passphrase of the mesh is needed as well. Others see arguments: '-' and @FILE hide the text.",
	  .min_args = 1, .max_args = 1, .run = run_accept },
	{ .name = "revoke", .args = "INVITE", .summary = "let nobody in with it", .examples = revoke_examples, .min_args = 1,
	  .max_args = 1, .run = run_revoke },
	{ 0 },
};

const struct command cmd_invite = {
	.name = "invite",
	.summary = "let a machine in that runs unattended, or the old software: create, accept, list, revoke",
	.examples = create_examples,
	.subs = subs,
};
