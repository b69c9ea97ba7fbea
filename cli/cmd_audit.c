#include <inttypes.h>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/textfile.h"

#define VERIFY_TIMEOUT_MS 120000u
#define TEXT_MAX          1500000u /* what fits one line of the control socket */

static enum err ask_long(struct cli *c, const char *method, json_t *params, json_t **result,
			 struct fault *f)
{
	return cli_ask(c, method, params, VERIFY_TIMEOUT_MS, result, f);
}

static void explain_broken(const json_t *r, struct fault *f)
{
	const char *why = json_str(r, "why");
	char safe[160];

	fault_set(f, ERR_CORRUPT, EXIT_INTEGRITY, "the audit log does not check out: %s",
		  text_safe(bytes_str(why && *why ? why : "it was changed"), safe, sizeof(safe)));
	if (show_int(r, "bad_line"))
		fault_means(f, "Line %" PRId64 " is the first that is not what this node wrote.",
			    show_int(r, "bad_line"));
	else
		fault_means(f, "It holds %" PRId64 " entries; %" PRId64 " were written.",
			    show_int(r, "entries"), show_int(r, "head_entries"));
	fault_next(f, "ironmesh audit tail");
}

static int run_verify(struct cli *c)
{
	struct fault f = { 0 };
	json_t *r = NULL;
	int code = EXIT_DONE;
	bool ok;

	if (ask_long(c, "audit.verify", json_object(), &r, &f) != ERR_OK)
		return out_fault(&c->out, &f);
	ok = json_is_true(json_object_get(r, "ok"));
	if (!cli_printed_json(c, r) && ok) {
		printf("%sok%s  %" PRId64 " entries, unbroken\n", out_on(&c->out, STYLE_GOOD),
		       out_off(&c->out, STYLE_GOOD), show_int(r, "entries"));
		out_field(&c->out, "head", json_str(r, "head"));
		if (json_is_false(json_object_get(r, "head_present")))
			out_note(&c->out, "the daemon seals the end of the log within seconds, and when it stops");
	}
	if (!ok) {
		explain_broken(r, &f);
		code = out_outcome(&c->out, &f);
	}
	json_decref(r);
	return code;
}

static void print_details(const json_t *details)
{
	struct buf b;
	char safe[600];

	if (!details || json_is_null(details))
		return;
	buf_init(&b, 65536);
	if (json_is_string(details))
		buf_add(&b, bytes_of(json_string_value(details), json_string_length(details)));
	else if (json_write(&b, details, JSON_INSERTION) != ERR_OK)
		buf_reset(&b);
	printf("  %s", text_safe(buf_bytes(&b), safe, sizeof(safe)));
	buf_fini(&b);
}

static void print_entry(const struct cli *c, const json_t *e)
{
	const json_t *at = json_object_get(e, "timestamp");
	char when[40], safe[120];
	const char *event = json_str(e, "event");

	if (json_is_number(at))
		time_text((uint64_t)(json_number_value(at) * 1000), when, sizeof(when));
	else
		text_safe(bytes_str(json_string_value(at) ? json_string_value(at) : "-"), when, sizeof(when));
	printf("%s%s%s  %-20s", out_on(&c->out, STYLE_DIM), when, out_off(&c->out, STYLE_DIM),
	       text_safe(bytes_str(event ? event : "?"), safe, sizeof(safe)));
	print_details(json_object_get(e, "details"));
	putchar('\n');
}

static int run_tail(struct cli *c)
{
	const struct optval *limit = options_get(&c->opts, "limit");
	json_t *p = json_object(), *r, *e;
	int code = EXIT_DONE;
	size_t i;

	if (limit->given)
		json_object_set_new(p, "limit", json_integer((json_int_t)limit->number));
	r = cli_result(c, "audit.tail", p, &code);
	if (r && !cli_printed_json(c, r))
		json_array_foreach (json_object_get(r, "entries"), i, e)
			print_entry(c, e);
	json_decref(r);
	return code;
}

static void stat_time(const struct cli *c, const char *label, const json_t *v)
{
	char when[40];

	if (json_is_number(v))
		out_field(&c->out, label,
			  time_text((uint64_t)(json_number_value(v) * 1000), when, sizeof(when)));
	else
		out_field(&c->out, label, json_string_value(v));
}

static int run_stats(struct cli *c)
{
	int code = EXIT_DONE;
	json_t *r = cli_result(c, "audit.stats", json_object(), &code), *n;
	const char *word;

	if (r && !cli_printed_json(c, r)) {
		out_fieldf(&c->out, "entries", "%" PRId64, show_int(r, "entries"));
		stat_time(c, "first", json_object_get(r, "first"));
		stat_time(c, "last", json_object_get(r, "last"));
		json_object_foreach (json_object_get(r, "events"), word, n) {
			char safe[80];

			printf("  %8" JSON_INTEGER_FORMAT "  %s\n", json_integer_value(n),
			       text_safe(bytes_str(word), safe, sizeof(safe)));
		}
	}
	json_decref(r);
	return code;
}

static int run_export(struct cli *c)
{
	const char *path = options_text(&c->opts, "out");
	struct fault f = { 0 };
	json_t *r = NULL;
	int code = EXIT_DONE;

	if (ask_long(c, "audit.export", json_object(), &r, &f) != ERR_OK)
		return out_fault(&c->out, &f);
	if (path || !cli_printed_json(c, r))
		if (text_export(c, r, path, &f) != ERR_OK)
			code = out_fault(&c->out, &f);
	if (code == EXIT_DONE && path)
		cli_printed_json(c, r);
	json_decref(r);
	return code;
}

static int run_verify_export(struct cli *c)
{
	const char *key = options_text(&c->opts, "public-key"), *peer = options_text(&c->opts, "peer");
	struct fault f = { 0 };
	struct buf text;
	json_t *r = NULL, *p;
	char who[120];
	int code = EXIT_DONE;

	if (key && peer)
		return cli_usage(c, NULL, "--public-key and --peer exclude each other");
	if (!key && !peer)
		return cli_usage(c, NULL, "--peer or --public-key is needed: the key inside an export proves "
					  "nothing");
	buf_init(&text, TEXT_MAX);
	if (text_import(cli_arg(c, 0), &text, &f) != ERR_OK) {
		buf_fini(&text);
		return out_fault(&c->out, &f);
	}
	p = json_pack("{s:s#, s:s*, s:s*}", "text", text.n ? (const char *)text.p : "", (int)text.n,
		      "public_key", key, "peer", peer);
	buf_fini(&text);
	if (!p) {
		fault_set(&f, ERR_CORRUPT, EXIT_INTEGRITY, "this file is not an audit export: it is not text");
		return out_fault(&c->out, &f);
	}
	if (ask_long(c, "audit.verify_export", p, &r, &f) != ERR_OK)
		return out_fault(&c->out, &f);
	if (!json_is_true(json_object_get(r, "ok"))) {
		cli_printed_json(c, r);
		fault_set(&f, ERR_AUTH, EXIT_INTEGRITY, "this export is not what its signer wrote");
		fault_means(&f, "It was changed after it was signed, or another key signed it.");
		code = out_outcome(&c->out, &f);
	} else if (!cli_printed_json(c, r)) {
		const char *signer = json_str(r, "signer");

		printf("%sok%s  %" PRId64 " entries, signed by %s\n", out_on(&c->out, STYLE_GOOD),
		       out_off(&c->out, STYLE_GOOD), show_int(r, "entries"),
		       text_safe(bytes_str(signer ? signer : "?"), who, sizeof(who)));
	}
	json_decref(r);
	return code;
}

static const struct example verify_examples[] = {
	{ "ironmesh audit verify", "exit 9 when a line was changed, removed or inserted" },
	{ 0 },
};
static const struct example tail_examples[] = {
	{ "ironmesh audit tail --limit 50", NULL },
	{ 0 },
};
static const struct example stats_examples[] = {
	{ "ironmesh audit stats --json", NULL },
	{ 0 },
};
static const struct example export_examples[] = {
	{ "ironmesh audit export --out audit.json", "signed by this node" },
	{ 0 },
};
static const struct example verify_export_examples[] = {
	{ "ironmesh audit verify-export audit.json --peer bob", "with the key that is pinned for bob" },
	{ "ironmesh audit verify-export audit.json --public-key kMv1xN0c...=", NULL },
	{ 0 },
};
static const struct opt tail_opts[] = {
	{ "limit", 0, OPT_NUMBER, "N", "this many of the last entries (20)", 1, 1000 },
	{ 0 },
};
static const struct opt export_opts[] = {
	{ "out", 0, OPT_TEXT, "FILE", "write a new file instead of stdout" },
	{ 0 },
};
static const struct opt verify_export_opts[] = {
	{ "peer", 0, OPT_TEXT, "PEER", "the pinned peer that must have signed it" },
	{ "public-key", 0, OPT_TEXT, "BASE64", "the public key that must have signed it" },
	{ 0 },
};

static const struct command subs[] = {
	{ .name = "verify", .args = "", .summary = "whether the log is whole and unchanged",
	  .examples = verify_examples, .flags = CMD_PASSPHRASE, .run = run_verify },
	{ .name = "tail", .args = "", .summary = "the last entries", .examples = tail_examples,
	  .opts = tail_opts, .flags = CMD_PASSPHRASE, .run = run_tail },
	{ .name = "stats", .args = "", .summary = "how many entries of each kind",
	  .examples = stats_examples, .flags = CMD_PASSPHRASE, .run = run_stats },
	{ .name = "export", .args = "", .summary = "the log as signed JSON", .examples = export_examples,
	  .opts = export_opts, .flags = CMD_PASSPHRASE, .run = run_export },
	{ .name = "verify-export", .args = "FILE | -", .summary = "check an export of this or another node",
	  .examples = verify_export_examples, .opts = verify_export_opts, .flags = CMD_PASSPHRASE,
	  .min_args = 1, .max_args = 1, .run = run_verify_export },
	{ 0 },
};

const struct command cmd_audit = {
	.name = "audit",
	.summary = "what happened: verify, tail, stats, export, verify-export",
	.examples = verify_examples,
	.subs = subs,
};
