#include <inttypes.h>

#include "base/text.h"
#include "cli/commands.h"

/* "3 queued, 1 sent" from {"queued":3,"sent":1,"failed":0}; the zeros are left out. */
static void counts(const struct cli *c, const char *label, const json_t *o, const char *none)
{
	struct buf b;
	const char *key;
	json_t *v;

	if (!json_is_object(o))
		return;
	buf_init(&b, 1000);
	json_object_foreach ((json_t *)o, key, v)
		if (json_integer_value(v))
			buf_printf(&b, "%s%" JSON_INTEGER_FORMAT " %s", b.n ? ", " : "",
				   json_integer_value(v), key);
	out_field(&c->out, label, b.n ? buf_cstr(&b) : none);
	buf_fini(&b);
}

static void listening(const struct cli *c, const json_t *status)
{
	const char *page = json_str(json_object_get(status, "http"), "url");
	json_t *v;
	size_t i;

	json_array_foreach (json_object_get(status, "listen"), i, v)
		out_fieldf(&c->out, i ? "" : "listens on", "%s%s", json_string_value(v) ? json_string_value(v) : "?",
			   i == 0 && json_is_true(json_object_get(status, "plaintext")) ? " (without TLS)" :
											     "");
	if (page)
		out_fieldf(&c->out, "dashboard", "%s; %" PRId64 " signed in", page, show_int(json_object_get(status, "http"), "sessions"));
}

static void troubles(const struct cli *c, const json_t *status)
{
	const json_t *trust = json_object_get(status, "trust_store");
	json_t *v;
	size_t i;
	char when[40], safe[320];

	json_array_foreach (json_object_get(status, "alarms"), i, v) {
		printf("%s%-14s%s", out_on(&c->out, STYLE_BAD), "ALARM", out_off(&c->out, STYLE_BAD));
		printf("the %s of %s changed, seen %" PRId64 " time(s), last %s\n",
		       json_str(v, "kind") && strcmp(json_str(v, "kind"), "tls-key") == 0 ? "TLS key" : "key",
		       text_safe(bytes_str(json_str(v, "subject") ? json_str(v, "subject") : "?"), safe,
				 sizeof(safe)),
		       show_int(v, "count"), time_text((uint64_t)show_int(v, "at_ms"), when, sizeof(when)));
		out_field(&c->out, "  was", json_str(v, "was"));
		out_field(&c->out, "  now", json_str(v, "now"));
	}
	if (json_is_true(json_object_get(trust, "read_only")))
		out_fieldf(&c->out, "trust store", "read-only: %s",
			   json_str(trust, "why") ? json_str(trust, "why") : "?");
	json_array_foreach (json_object_get(status, "warnings"), i, v)
		out_field(&c->out, "warning", json_string_value(v));
}

static void refused(const struct cli *c, const json_t *status)
{
	const json_t *o = json_object_get(status, "refused");
	char who[120], when[40];
	json_t *v;
	size_t i;

	if (show_int(status, "allowed_peers"))
		out_fieldf(&c->out, "allowed peers", "%" PRId64 " on the list, nobody else", show_int(status, "allowed_peers"));
	if (!show_int(o, "contacts"))
		return;
	out_fieldf(&c->out, "refused", "%" PRId64 " contact(s)", show_int(o, "contacts"));
	json_array_foreach (json_object_get(o, "last"), i, v)
		out_fieldf(&c->out, "", "%s from %s: %s, %" PRId64 " time(s), last %s", show_party(v, who, sizeof(who)),
			   json_str(v, "address") ? json_str(v, "address") : "?",
			   json_str(v, "reason") ? json_str(v, "reason") : "?", show_int(v, "count"),
			   time_text((uint64_t)show_int(v, "last_ms"), when, sizeof(when)));
}

static void routing(const struct cli *c, const json_t *status)
{
	const json_t *o = json_object_get(status, "routing");
	const char *mode = json_str(o, "mode");
	char relays[120] = "";

	if (!mode)
		return;
	if (strcmp(mode, "relay") == 0)
		snprintf(relays, sizeof(relays), "; %" PRId64 " passed on for others, %" PRId64 " kept", show_int(o, "forwarded"),
			 show_int(o, "kept"));
	out_fieldf(&c->out, "routing", "%s; %" PRId64 " reachable through others%s", mode, show_int(o, "destinations"), relays);
}

static void revocation(const struct cli *c, const json_t *status)
{
	const json_t *o = json_object_get(status, "revocation"), *admins = json_object_get(o, "admins");
	json_t *v;
	size_t i;

	if (json_array_size(admins))
		out_fieldf(&c->out, "revocation", "by %" PRId64 " of these", show_int(o, "quorum"));
	json_array_foreach (admins, i, v)
		out_field(&c->out, "", json_string_value(v));
}

static void discovery(const struct cli *c, const json_t *status)
{
	const json_t *d = json_object_get(status, "discovery"), *list = json_object_get(d, "publishes");
	const char *scope = json_str(d, "scope"), *mdns = json_str(d, "mdns"), *why = json_str(d, "why");
	struct buf says;
	json_t *v;
	size_t i;

	if (!scope || !mdns)
		return;
	if (strcmp(scope, "off") == 0) {
		out_field(&c->out, "discovery", "off");
		return;
	}
	buf_init(&says, 200);
	json_array_foreach (list, i, v)
		buf_printf(&says, "%s%s", i ? ", " : "; publishes ", json_string_value(v) ? json_string_value(v) : "?");
	if (strcmp(mdns, "up") == 0)
		out_fieldf(&c->out, "discovery", "%s; mDNS up, %" PRId64 " services seen%s", scope,
			   show_int(d, "services"), says.n ? buf_cstr(&says) : "");
	else
		out_fieldf(&c->out, "discovery", "%s; mDNS %s%s%s", scope, mdns, why && *why ? ": " : "",
			   why ? why : "");
	buf_fini(&says);
}

/* One line when all is well; who reads it should not have to know which there are. */
static void walls(const struct cli *c, const json_t *status)
{
	const json_t *list = json_object_get(status, "walls");
	size_t up = 0, off = 0, n = json_array_size(list), i;
	json_t *v;

	json_array_foreach ((json_t *)list, i, v) {
		const char *state = json_str(v, "state");

		up += state && strcmp(state, "up") == 0;
		off += state && strcmp(state, "off") == 0;
	}
	if (n == 0)
		return;
	if (off == n)
		out_field(&c->out, "walls", "off");
	else
		out_fieldf(&c->out, "walls", "%zu of %zu up", up, n);
	json_array_foreach ((json_t *)list, i, v) {
		const char *state = json_str(v, "state"), *why = json_str(v, "why");

		if (off < n && state && strcmp(state, "up") != 0)
			out_fieldf(&c->out, "", "%s: %s%s%s", json_str(v, "name") ? json_str(v, "name") : "?", state,
				   why && *why ? ", " : "", why ? why : "");
	}
}

/* Only what somebody has to do about it. */
static void settings(const struct cli *c, const json_t *status)
{
	const json_t *o = json_object_get(status, "config");
	const char *error = json_str(o, "error");
	json_t *v;
	size_t i;

	if (error)
		out_fieldf(&c->out, "settings", "not read again: %s", error);
	json_array_foreach (json_object_get(o, "needs_restart"), i, v)
		out_fieldf(&c->out, i || error ? "" : "settings", "%s has changed and needs a restart",
			   json_string_value(v) ? json_string_value(v) : "?");
}

static void print_status(const struct cli *c, const json_t *s)
{
	const json_t *peers = json_object_get(s, "peers"), *store = json_object_get(s, "store"),
		     *im2 = json_object_get(s, "im2");
	char text[256];

	out_field(&c->out, "name", json_str(s, "name"));
	out_field(&c->out, "node id", json_str(s, "id"));
	out_field(&c->out, "fingerprint",
		  fingerprint_groups(json_str(s, "fingerprint"), text, sizeof(text)));
	out_fieldf(&c->out, "daemon", "version %s, process %" PRId64 ", up %s",
		   json_str(s, "version") ? json_str(s, "version") : "?", show_int(s, "pid"),
		   duration_text((uint64_t)show_int(s, "uptime_ms"), text, sizeof(text)));
	listening(c, s);
	if (json_is_object(im2))
		out_fieldf(&c->out, "im2", "%s; mesh key %s%s%s%s", json_str(im2, "setting") ? json_str(im2, "setting") : "?",
			   json_str(im2, "mesh_key") ? json_str(im2, "mesh_key") : "?",
			   json_is_true(json_object_get(im2, "pad")) ? ", padded" : "",
			   json_is_true(json_object_get(im2, "sign_always")) ? ", always signed" : "",
			   json_is_true(json_object_get(im2, "tls_binding")) ? ", bound to TLS" : "");
	out_fieldf(&c->out, "strangers", "%s",
		   json_is_true(json_object_get(s, "trust_on_first_use")) ?
			   "trusted on first use" :
			   "pending until approved");
	out_fieldf(&c->out, "peers",
		   "%" PRId64 " online; %" PRId64 " trusted, %" PRId64 " pending, %" PRId64 " blocked",
		   show_int(peers, "online"), show_int(peers, "trusted"), show_int(peers, "pending"),
		   show_int(peers, "blocked") + show_int(peers, "revoked"));
	refused(c, s);
	discovery(c, s);
	routing(c, s);
	revocation(c, s);
	walls(c, s);
	counts(c, "outbox", json_object_get(s, "outbox"), "empty");
	counts(c, "inbox", json_object_get(s, "inbox"), "empty");
	out_fieldf(&c->out, "on disk", "%" PRId64 " KiB, %" PRId64 " audit entries",
		   (show_int(store, "file_bytes") + show_int(store, "wal_bytes")) / 1024,
		   show_int(json_object_get(s, "audit"), "entries"));
	if (options_given(&c->opts, "counters"))
		counts(c, "counters", json_object_get(s, "counters"), "all zero");
	settings(c, s);
	troubles(c, s);
	if (json_str(json_object_get(s, "config"), "error"))
		out_hint(&c->out, "ironmesh config check");
	if (show_int(peers, "pending"))
		out_hint(&c->out, "ironmesh peers pending");
	if (show_int(json_object_get(s, "refused"), "contacts"))
		out_hint(&c->out, "ironmesh peers refused");
}

static int run_status(struct cli *c)
{
	int code = EXIT_DONE;
	json_t *result = cli_result(c, "status", json_object(), &code);

	if (result && !cli_printed_json(c, result) && !c->out.quiet)
		print_status(c, result);
	json_decref(result);
	return code;
}

static const struct example examples[] = {
	{ "ironmesh status", NULL },
	{ "ironmesh status --quiet && echo up", "exit 0 when the daemon answers, 3 when there is none" },
	{ "ironmesh status --json | jq .outbox", NULL },
	{ 0 },
};

static const struct opt opts[] = {
	{ "counters", 0, OPT_FLAG, NULL, "also what was counted since the start" },
	{ 0 },
};

const struct command cmd_status = {
	.name = "status",
	.args = "",
	.summary = "how the daemon is doing",
	.examples = examples,
	.opts = opts,
	.run = run_status,
};
