#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/textfile.h"

#define REVOCATION_FILE_MAX 16384 /* of the daemon */

static void print_alarms(const struct cli *c, const json_t *alarms)
{
	char when[40], safe[120], word[160];
	json_t *a;
	size_t i;

	json_array_foreach (alarms, i, a) {
		const char *subject = json_str(a, "subject") ? json_str(a, "subject") : "?";
		const char *kind = json_str(a, "kind") ? json_str(a, "kind") : "name";

		printf("\n%sALARM%s  the %s of %s changed (%s), %" PRId64 " time(s), last %s\n",
		       out_on(&c->out, STYLE_BAD), out_off(&c->out, STYLE_BAD),
		       strcmp(kind, "tls-key") == 0 ? "TLS key" : "key",
		       text_safe(bytes_str(subject), safe, sizeof(safe)),
		       strcmp(kind, "name") == 0 ? "same name" : "same address", show_int(a, "count"), time_text((uint64_t)show_int(a, "at_ms"), when, sizeof(when)));
		out_field(&c->out, "  was", json_str(a, "was"));
		out_field(&c->out, "  now", json_str(a, "now"));
		if (json_str(a, "now"))
			out_hint(&c->out, "ironmesh trust repin %s %s   (only if you know why it changed)",
				 word_for_shell(safe, word, sizeof(word)), json_str(a, "now"));
	}
}

static int run_list(struct cli *c)
{
	int code = EXIT_DONE;
	json_t *result = cli_result(c, "trust.list", json_object(), &code), *pins;

	if (!result)
		return code;
	if (!cli_printed_json(c, result)) {
		pins = json_object_get(result, "pins");
		if (json_array_size(pins) == 0)
			out_note(&c->out, "nobody is pinned yet");
		else
			show_peers(c, pins);
		print_alarms(c, json_object_get(result, "alarms"));
		if (json_is_true(json_object_get(result, "read_only")))
			out_field(&c->out, "read-only", json_str(result, "why"));
	}
	json_decref(result);
	return code;
}

static int one(struct cli *c, const char *method, json_t *params)
{
	int code = EXIT_DONE;
	json_t *result = cli_result(c, method, params, &code);

	if (result && !cli_printed_json(c, result))
		show_peer(c, result);
	json_decref(result);
	return code;
}

static int run_show(struct cli *c)
{
	return one(c, "trust.show", json_pack("{s:s}", "peer", cli_arg(c, 0)));
}

static int run_pin(struct cli *c)
{
	return one(c, "trust.pin",
		   json_pack("{s:s, s:s}", "name", cli_arg(c, 0), "public_key", cli_arg(c, 1)));
}

/* A fingerprint may come as one argument or as its groups. */
static void join_groups(const struct cli *c, char *out, size_t cap)
{
	size_t n = 0;

	out[0] = '\0';
	for (int i = 1; cli_arg(c, i) && n < cap; i++)
		n += (size_t)snprintf(out + n, cap - n, "%s%s", i > 1 ? " " : "", cli_arg(c, i));
}

static int run_verify(struct cli *c)
{
	char fingerprint[400], text[256], answer[16];
	int code = EXIT_DONE;
	bool confirmed = options_given(&c->opts, "yes");
	json_t *peer;

	join_groups(c, fingerprint, sizeof(fingerprint));
	if (*fingerprint)
		return one(c, "trust.verify",
			   json_pack("{s:s, s:s}", "peer", cli_arg(c, 0), "fingerprint", fingerprint));
	if (!confirmed && !isatty(STDIN_FILENO))
		return cli_usage(c, NULL, "give the fingerprint the other side told you, or --yes when "
					  "you have compared it");
	if (!confirmed) {
		peer = cli_result(c, "trust.show", json_pack("{s:s}", "peer", cli_arg(c, 0)), &code);
		if (!peer)
			return code;
		fprintf(stderr, "%s\nIs this exactly what the other side shows? [y/N] ",
			fingerprint_groups(json_str(peer, "fingerprint"), text, sizeof(text)));
		fflush(stderr);
		json_decref(peer);
		if (!fgets(answer, sizeof(answer), stdin) || (answer[0] != 'y' && answer[0] != 'Y')) {
			struct fault f;

			fault_set(&f, ERR_AUTH, EXIT_GENERIC, "not marked as verified");
			fault_means(&f, "If the fingerprints differ, somebody may stand between you.");
			fault_next(&f, "ironmesh peers block %s",
				   word_for_shell(cli_arg(c, 0), text, sizeof(text)));
			return out_fault(&c->out, &f);
		}
	}
	return one(c, "trust.verify", json_pack("{s:s, s:b}", "peer", cli_arg(c, 0), "confirm", 1));
}

static int run_set_state(struct cli *c)
{
	static const char words[] = "pending|trusted|blocked";
	const char *state = cli_arg(c, 1);

	if (!word_in(words, state))
		return cli_usage(c, NULL, "'%s' is not a state: %s (final: ironmesh trust revoke)", state,
				 words);
	return one(c, "trust.set_state",
		   json_pack("{s:s, s:s, s:s*}", "peer", cli_arg(c, 0), "state", state, "reason",
			     options_text(&c->opts, "reason")));
}

static int revoke_mesh(struct cli *c, const char *reason)
{
	char word[160];
	int code = EXIT_DONE;
	json_t *r;

	if (!cli_confirmed(c, &code, "Have the whole mesh set %s aside for a day? Peers of the old software revoke it for good.",
			   cli_arg(c, 0)))
		return code;
	r = cli_result(c, "trust.revoke", json_pack("{s:s, s:s, s:b}", "peer", cli_arg(c, 0), "reason", reason, "mesh", 1), &code);
	if (r && !cli_printed_json(c, r)) {
		show_peer(c, r);
		out_note(&c->out, "for 24 hours its messages are held everywhere; only several administrators revoke it for ever");
		out_hint(&c->out, "ironmesh trust revoke-draft %s --out revoke.json", word_for_shell(cli_arg(c, 0), word, sizeof(word)));
	}
	json_decref(r);
	return code;
}

static int run_revoke(struct cli *c)
{
	const char *reason = options_text(&c->opts, "reason");
	int code = EXIT_DONE;

	if (!reason)
		return cli_usage(c, NULL, "--reason is needed: it is kept for ever");
	if (options_given(&c->opts, "mesh"))
		return revoke_mesh(c, reason);
	if (!cli_confirmed(c, &code, "Revoke %s? This identity is refused for ever.", cli_arg(c, 0)))
		return code;
	return one(c, "trust.revoke", json_pack("{s:s, s:s}", "peer", cli_arg(c, 0), "reason", reason));
}

/* --- by several administrators --- */
static void print_revocation(const struct cli *c, const json_t *r)
{
	char name[160];

	out_field(&c->out, "target", show_party(json_object_get(r, "target"), name, sizeof(name)));
	out_field(&c->out, "drafted by", show_party(json_object_get(r, "by"), name, sizeof(name)));
	out_field(&c->out, "scope", json_str(r, "scope"));
	out_fieldf(&c->out, "reason", "%" PRId64, show_int(r, "reason"));
	out_fieldf(&c->out, "signatures", "%" PRId64 " of %" PRId64, show_int(r, "signatures"), show_int(r, "needed"));
}

static void hint_revocation(const struct cli *c, const json_t *r, const char *file)
{
	char word[400];

	word_for_shell(file, word, sizeof(word));
	if (show_int(r, "signatures") >= show_int(r, "needed"))
		out_hint(&c->out, "ironmesh trust revoke-send %s --yes", word);
	else
		out_hint(&c->out, "ironmesh trust revoke-sign %s --yes   (on the machine of another administrator)", word);
}

static int run_revoke_draft(struct cli *c)
{
	const struct optval *reason = options_get(&c->opts, "reason"), *scope = options_get(&c->opts, "scope");
	const char *file = options_text(&c->opts, "out");
	struct fault f = { 0 };
	int code = EXIT_DONE;
	json_t *r;

	if (!file)
		return cli_usage(c, NULL, "--out is needed: the file that the other administrators sign");
	r = cli_result(c, "trust.revoke_draft",
		       json_pack("{s:s, s:I, s:I, s:s*}", "peer", cli_arg(c, 0), "reason",
				 (json_int_t)(reason->given ? reason->number : 0), "scope",
				 (json_int_t)(scope->given ? scope->number : 1), "note", options_text(&c->opts, "note")),
		       &code);
	if (!r)
		return code;
	if (text_export(c, r, file, &f) != ERR_OK) {
		code = out_fault(&c->out, &f);
	} else if (!cli_printed_json(c, r)) {
		print_revocation(c, r);
		hint_revocation(c, r, file);
	}
	json_decref(r);
	return code;
}

static json_t *with_file(struct cli *c, const char *method, int *code)
{
	struct fault f = { 0 };
	json_t *r = NULL;
	struct buf b;

	buf_init(&b, REVOCATION_FILE_MAX);
	if (text_import(cli_arg(c, 0), &b, &f) != ERR_OK)
		*code = out_fault(&c->out, &f);
	else
		r = cli_result(c, method, json_pack("{s:s%}", "text", (const char *)b.p, b.n), code);
	buf_fini(&b);
	return r;
}

static int run_revoke_show(struct cli *c)
{
	int code = EXIT_DONE;
	json_t *r = with_file(c, "trust.revoke_show", &code);

	if (r && !cli_printed_json(c, r)) {
		print_revocation(c, r);
		hint_revocation(c, r, cli_arg(c, 0));
	}
	json_decref(r);
	return code;
}

/* Who is asked sees what the daemon has checked, not what the file says for people. */
static bool decided(struct cli *c, const char *question, int *code)
{
	char name[160];
	json_t *r;

	if (options_given(&c->opts, "yes") || !isatty(STDIN_FILENO))
		return cli_confirmed(c, code, "%s", question);
	r = with_file(c, "trust.revoke_show", code);
	if (!r)
		return false;
	show_party(json_object_get(r, "target"), name, sizeof(name));
	fprintf(stderr, "revokes %s (%s), scope %s, %" PRId64 " of %" PRId64 " signatures\n", name,
		json_str(json_object_get(r, "target"), "id"), json_str(r, "scope"), show_int(r, "signatures"),
		show_int(r, "needed"));
	json_decref(r);
	return cli_confirmed(c, code, "%s", question);
}

/* Replaces the file: with what came, and one signature more. */
static int run_revoke_sign(struct cli *c)
{
	const char *file = cli_arg(c, 0);
	struct fault f = { 0 };
	int code = EXIT_DONE;
	struct bytes text;
	json_t *r;

	if (strcmp(file, "-") == 0)
		return cli_usage(c, NULL, "the file is written again with this signature: give its name");
	if (!decided(c, "Sign this as an administrator?", &code))
		return code;
	r = with_file(c, "trust.revoke_sign", &code);
	if (!r)
		return code;
	if (json_get_str(r, "text", &text) != ERR_OK)
		code = out_fault(&c->out, (fault_set(&f, ERR_MALFORMED, EXIT_GENERIC, "the daemon sent no text"), &f));
	else if (file_write_secret(file, text, &f) != ERR_OK)
		code = out_fault(&c->out, &f);
	else if (!cli_printed_json(c, r)) {
		print_revocation(c, r);
		hint_revocation(c, r, file);
	}
	json_decref(r);
	return code;
}

static int run_revoke_send(struct cli *c)
{
	int code = EXIT_DONE;
	json_t *r;

	if (!decided(c, "Send this to the whole mesh? It cannot be taken back.", &code))
		return code;
	r = with_file(c, "trust.revoke_send", &code);
	if (r && !cli_printed_json(c, r)) {
		print_revocation(c, r);
		out_note(&c->out, "it is in force here, and told to every peer until it says that it has it");
	}
	json_decref(r);
	return code;
}

static int run_repin(struct cli *c)
{
	int code = EXIT_DONE;

	if (!cli_confirmed(c, &code, "Put %s in the place of %s? The old identity is revoked.",
			   cli_arg(c, 1), cli_arg(c, 0)))
		return code;
	return one(c, "trust.repin",
		   json_pack("{s:s, s:s}", "subject", cli_arg(c, 0), "id", cli_arg(c, 1)));
}

static int run_allow_downgrade(struct cli *c)
{
	int code = EXIT_DONE;

	if (!cli_confirmed(c, &code, "Let %s speak the old wire again? Whoever sits in between could have wanted just that.",
			   cli_arg(c, 0)))
		return code;
	return one(c, "trust.allow_downgrade", json_pack("{s:s}", "peer", cli_arg(c, 0)));
}

static void print_names(const struct cli *c, const json_t *list, char sign, enum style style)
{
	char safe[300];
	json_t *name;
	size_t i;

	json_array_foreach (list, i, name)
		printf("%s%c %s%s\n", out_on(&c->out, style), sign,
		       text_safe(bytes_of(json_string_value(name), json_string_length(name)), safe, sizeof(safe)),
		       out_off(&c->out, style));
}

static int cap_change(struct cli *c, const char *method)
{
	int code = EXIT_DONE;
	json_t *d = cli_result(c, method, json_pack("{s:s}", "peer", cli_arg(c, 0)), &code);
	const json_t *peer = json_object_get(d, "peer");
	char name[120], word[160];

	if (!d)
		return code;
	if (!cli_printed_json(c, d)) {
		show_party(peer, name, sizeof(name));
		out_field(&c->out, "peer", name);
		out_fieldf(&c->out, "state", "%s%s", json_str(d, "state") ? json_str(d, "state") : "?",
			   json_is_true(json_object_get(d, "ignored")) ? ", what it sends is refused" : "");
		out_field(&c->out, "accepted", json_str(d, "accepted_digest"));
		out_field(&c->out, "announced", json_str(d, "announced_digest"));
		if (!json_is_true(json_object_get(d, "names_known")))
			out_note(&c->out, "of one of the two sets only the digest was kept");
		print_names(c, json_object_get(d, "kept"), ' ', STYLE_NONE);
		print_names(c, json_object_get(d, "removed"), '-', STYLE_BAD);
		print_names(c, json_object_get(d, "added"), '+', STYLE_GOOD);
		if (json_is_true(json_object_get(d, "changed")))
			out_hint(&c->out, "ironmesh trust cap-accept %s   or   ironmesh trust cap-reject %s",
				 word_for_shell(cli_arg(c, 0), word, sizeof(word)), word);
	}
	json_decref(d);
	return code;
}

static int run_cap_diff(struct cli *c)
{
	return cap_change(c, "trust.cap_diff");
}

static int run_cap_accept(struct cli *c)
{
	return cap_change(c, "trust.cap_accept");
}

static int run_cap_reject(struct cli *c)
{
	return cap_change(c, "trust.cap_reject");
}

static int run_export(struct cli *c)
{
	struct fault f = { 0 };
	int code = EXIT_DONE;
	json_t *result = cli_result(c, "trust.export", json_object(), &code);

	if (!result)
		return code;
	if (options_text(&c->opts, "out") || !cli_printed_json(c, result))
		if (text_export(c, result, options_text(&c->opts, "out"), &f) != ERR_OK)
			code = out_fault(&c->out, &f);
	if (code == EXIT_DONE && options_text(&c->opts, "out"))
		cli_printed_json(c, result);
	json_decref(result);
	return code;
}

static const struct example list_examples[] = {
	{ "ironmesh trust", "every pinned key, and every alarm" },
	{ 0 },
};
static const struct example show_examples[] = {
	{ "ironmesh trust show bob", NULL },
	{ 0 },
};
static const struct example pin_examples[] = {
	{ "ironmesh trust pin bob kMv1xN0c...=",
	  "the public key that 'ironmesh keys show' prints on bob's machine" },
	{ 0 },
};
static const struct example verify_examples[] = {
	{ "ironmesh trust verify bob", "shows the fingerprint and asks" },
	{ "ironmesh trust verify bob 3fa9 0c1d ...", "compared in full; exit 9 when it differs" },
	{ 0 },
};
static const struct example state_examples[] = {
	{ "ironmesh trust set-state bob blocked --reason \"laptop lost\"", NULL },
	{ 0 },
};
static const struct example revoke_examples[] = {
	{ "ironmesh trust revoke bob --reason \"key stolen\" --yes", "here, for ever" },
	{ "ironmesh trust revoke bob --mesh --reason \"key stolen\" --yes", "everywhere, for a day" },
	{ 0 },
};
static const struct example draft_examples[] = {
	{ "ironmesh trust revoke-draft bob --out revoke.json", "signed by this administrator" },
	{ 0 },
};
static const struct example show_file_examples[] = {
	{ "ironmesh trust revoke-show revoke.json", "as this node has checked it" },
	{ 0 },
};
static const struct example sign_examples[] = {
	{ "ironmesh trust revoke-sign revoke.json --yes", "on the machine of each further administrator" },
	{ 0 },
};
static const struct example send_examples[] = {
	{ "ironmesh trust revoke-send revoke.json --yes", "once enough have signed, on any machine of the mesh" },
	{ 0 },
};
static const struct example repin_examples[] = {
	{ "ironmesh trust repin bob 0123...ef --yes", "bob has a new key, and told you so himself" },
	{ 0 },
};
static const struct example downgrade_examples[] = {
	{ "ironmesh trust allow-downgrade bob --yes", "bob went back to the old software, and told you so himself" },
	{ 0 },
};
static const struct example diff_examples[] = {
	{ "ironmesh trust cap-diff bob", "what bob can do now (+), and could before (-)" },
	{ 0 },
};
static const struct example accept_examples[] = {
	{ "ironmesh trust cap-accept bob", "what it sent meanwhile was held, and is delivered now" },
	{ 0 },
};
static const struct example reject_examples[] = {
	{ "ironmesh trust cap-reject bob", "what was held goes, what it sends is refused until you accept or approve" },
	{ 0 },
};
static const struct example export_examples[] = {
	{ "ironmesh trust export --out trust.json", "signed by this node" },
	{ 0 },
};
static const struct opt reason_opts[] = {
	{ "reason", 0, OPT_TEXT, "TEXT", "kept with the peer and in the audit log" },
	{ 0 },
};
static const struct opt revoke_opts[] = {
	{ "reason", 0, OPT_TEXT, "TEXT", "kept with the peer and in the audit log" },
	{ "mesh", 0, OPT_FLAG, NULL, "as one of --revoke-admins: the whole mesh sets it aside for a day" },
	{ 0 },
};
static const struct opt draft_opts[] = {
	{ "out", 0, OPT_TEXT, "FILE", "write the draft to this new file" },
	{ "reason", 0, OPT_NUMBER, "N", "a number that your mesh agrees on, 0 to 255", .max = 255 },
	{ "scope", 0, OPT_NUMBER, "N", "1 the identity, 2 its membership, 3 only its prekeys and older sessions", .min = 1, .max = 3 },
	{ "note", 0, OPT_TEXT, "TEXT", "a sentence that is signed too" },
	{ 0 },
};
static const struct opt export_opts[] = {
	{ "out", 0, OPT_TEXT, "FILE", "write a new file instead of stdout" },
	{ 0 },
};

static const struct command subs[] = {
	{ .name = "list", .args = "", .summary = "every pinned key, and every alarm",
	  .examples = list_examples, .flags = CMD_PASSPHRASE, .run = run_list },
	{ .name = "show", .args = "PEER", .summary = "one pinned peer", .examples = show_examples,
	  .flags = CMD_PASSPHRASE, .min_args = 1, .max_args = 1, .run = run_show },
	{ .name = "pin", .args = "NAME PUBLIC_KEY", .summary = "trust a key before any contact",
	  .examples = pin_examples, .flags = CMD_PASSPHRASE, .min_args = 2, .max_args = 2, .run = run_pin },
	{ .name = "verify", .args = "PEER [FINGERPRINT]",
	  .summary = "mark a fingerprint as compared by a person", .examples = verify_examples,
	  .flags = CMD_PASSPHRASE | CMD_YES, .min_args = 1, .max_args = -1, .run = run_verify },
	{ .name = "set-state", .args = "PEER pending|trusted|blocked", .summary = "change how a peer is treated",
	  .examples = state_examples, .opts = reason_opts, .flags = CMD_PASSPHRASE, .min_args = 2,
	  .max_args = 2, .run = run_set_state },
	{ .name = "revoke", .args = "PEER --reason TEXT", .summary = "refuse an identity for ever",
	  .examples = revoke_examples, .opts = revoke_opts,
	  .text = "Alone it is for this node. With --mesh one administrator has every node hold the messages\n"
		  "of that peer for 24 hours; peers of the old software, which know nothing less, revoke it.",
	  .flags = CMD_PASSPHRASE | CMD_YES, .min_args = 1, .max_args = 1, .run = run_revoke },
	{ .name = "revoke-draft", .args = "PEER --out FILE", .summary = "begin a revocation that several administrators sign",
	  .examples = draft_examples, .opts = draft_opts,
	  .text = "Who may sign, and how many are needed, say --revoke-admins and --revoke-quorum, alike on\n"
		  "every node. The file is no secret; carry it to the machine of the next administrator.",
	  .min_args = 1, .max_args = 1, .run = run_revoke_draft },
	{ .name = "revoke-show", .args = "FILE", .summary = "what such a file revokes, and who has signed it",
	  .examples = show_file_examples, .min_args = 1, .max_args = 1, .run = run_revoke_show },
	{ .name = "revoke-sign", .args = "FILE", .summary = "add the signature of this administrator", .examples = sign_examples,
	  .text = "Only what is signed counts: what this node has checked is shown, whatever the file says for\n"
		  "people. The file is written again.",
	  .flags = CMD_YES, .min_args = 1, .max_args = 1, .run = run_revoke_sign },
	{ .name = "revoke-send", .args = "FILE", .summary = "revoke, for the whole mesh and for ever", .examples = send_examples,
	  .flags = CMD_YES, .min_args = 1, .max_args = 1, .run = run_revoke_send },
	{ .name = "repin", .args = "SUBJECT NEW_NODE_ID", .summary = "accept the new key of a known name",
	  .examples = repin_examples,
	  .text = "SUBJECT is the name or address of an alarm ('ironmesh trust list'). The old identity is\n"
		  "revoked. Compare the new fingerprint with a person first: a changed key is what an\n"
		  "attack looks like.",
	  .flags = CMD_PASSPHRASE | CMD_YES, .min_args = 2, .max_args = 2, .run = run_repin },
	{ .name = "allow-downgrade", .args = "PEER", .summary = "let a peer that spoke im2 speak the old wire again",
	  .examples = downgrade_examples,
	  .text = "An identity that once spoke im2 is refused on the old wire: an attacker in between would\n"
		  "like it there, where the passphrase can be guessed at. This forgets that it did, with its\n"
		  "addresses; the next time it speaks im2 the rule holds again.",
	  .flags = CMD_PASSPHRASE | CMD_YES, .min_args = 1, .max_args = 1, .run = run_allow_downgrade },
	{ .name = "cap-diff", .args = "PEER", .summary = "how what a peer can do differs from what you accepted",
	  .examples = diff_examples,
	  .text = "The first capabilities that a trusted peer announces are pinned. When they change, it is said;\n"
		  "with 'run --cap-change hold' its messages are held as well until you decide.",
	  .flags = CMD_PASSPHRASE, .min_args = 1, .max_args = 1, .run = run_cap_diff },
	{ .name = "cap-accept", .args = "PEER", .summary = "accept the changed capabilities of a peer",
	  .examples = accept_examples, .flags = CMD_PASSPHRASE, .min_args = 1, .max_args = 1, .run = run_cap_accept },
	{ .name = "cap-reject", .args = "PEER", .summary = "refuse what a peer with changed capabilities sends",
	  .examples = reject_examples, .flags = CMD_PASSPHRASE, .min_args = 1, .max_args = 1, .run = run_cap_reject },
	{ .name = "export", .args = "", .summary = "the trust store as signed JSON",
	  .examples = export_examples, .opts = export_opts, .flags = CMD_PASSPHRASE, .run = run_export },
	{ 0 },
};

const struct command cmd_trust = {
	.name = "trust",
	.summary = "whose key is whose: list, show, pin, verify, set-state, revoke, revoke-draft, revoke-show, revoke-sign, revoke-send, repin, allow-downgrade, cap-diff, cap-accept, cap-reject, export",
	.examples = list_examples,
	.subs = subs,
};
