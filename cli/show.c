#include <inttypes.h>
#include <stdlib.h>

#include "base/text.h"
#include "cli/command.h"

#define SHORT_ID 12

int64_t show_int(const json_t *obj, const char *key)
{
	return json_integer_value(json_object_get(obj, key));
}

enum style show_state(const char *state)
{
	static const struct {
		const char *word;
		enum style style;
	} rows[] = {
		{ "trusted", STYLE_GOOD }, { "delivered", STYLE_GOOD }, { "read", STYLE_GOOD },
		{ "online", STYLE_GOOD },  { "pending", STYLE_WARN },   { "queued", STYLE_WARN },
		{ "sent", STYLE_WARN },    { "held", STYLE_WARN },      { "blocked", STYLE_BAD },
		{ "revoked", STYLE_BAD },  { "failed", STYLE_BAD },     { "expired", STYLE_BAD },
		{ "rejected", STYLE_BAD }, { "unknown", STYLE_WARN },   { "new", STYLE_BOLD },
	};

	for (size_t i = 0; state && i < sizeof(rows) / sizeof(rows[0]); i++)
		if (strcmp(rows[i].word, state) == 0)
			return rows[i].style;
	return STYLE_NONE;
}

const char *show_party(const json_t *party, char *buf, size_t cap)
{
	const char *alias = json_str(party, "alias"), *name = json_str(party, "name"),
		   *id = json_str(party, "id");
	const char *shown = alias && *alias ? alias : name;

	if (shown && *shown)
		text_safe(bytes_str(shown), buf, cap);
	else if (id && *id)
		text_safe(bytes_of(id, strnlen(id, SHORT_ID)), buf, cap);
	else
		snprintf(buf, cap, "-");
	return buf;
}

static void peer_session(const struct cli *c, const json_t *peer)
{
	const json_t *s = json_object_get(peer, "session");
	char when[40];

	if (!json_is_object(s))
		return;
	out_fieldf(&c->out, "session",
		   "since %s, %" PRId64 " sent, %" PRId64 " received, %" PRId64 " dropped",
		   time_text((uint64_t)show_int(s, "since_ms"), when, sizeof(when)), show_int(s, "sent"),
		   show_int(s, "received"), show_int(s, "dropped"));
}

static void peer_addresses(const struct cli *c, const json_t *peer)
{
	const char *first = json_str(peer, "address");
	json_t *a;
	size_t i;

	if (first && *first)
		out_field(&c->out, "address", first);
	json_array_foreach (json_object_get(peer, "addresses"), i, a)
		if (json_string_value(a) && (!first || strcmp(first, json_string_value(a)) != 0))
			out_field(&c->out, "also at", json_string_value(a));
}

void show_peer(const struct cli *c, const json_t *peer)
{
	char text[256];
	const char *state = json_str(peer, "state"), *s;
	const json_t *rtt = json_object_get(peer, "rtt_ms");

	out_field(&c->out, "name", json_str(peer, "name"));
	if ((s = json_str(peer, "alias")) && *s)
		out_field(&c->out, "alias", s);
	out_field(&c->out, "node id", json_str(peer, "id"));
	if ((s = json_str(peer, "fingerprint")))
		out_field(&c->out, "fingerprint", fingerprint_groups(s, text, sizeof(text)));
	if (state)
		out_fieldf(&c->out, "state", "%s%s", state,
			   json_is_true(json_object_get(peer, "verified")) ?
				   ", fingerprint compared by a person" :
				   "");
	if ((s = json_str(peer, "reason")) && *s)
		out_field(&c->out, "reason", s);
	if ((s = json_str(peer, "via")) && *s)
		out_field(&c->out, "known by", s);
	if (json_is_true(json_object_get(peer, "online"))) {
		if (json_is_number(rtt) && json_number_value(rtt) >= 0)
			snprintf(text, sizeof(text), ", %.1f ms", json_number_value(rtt));
		else
			text[0] = '\0';
		out_fieldf(&c->out, "online", "via %s%s%s%s",
			   json_str(peer, "transport") ? json_str(peer, "transport") : "?",
			   json_str(peer, "suite") ? ", " : "", json_str(peer, "suite") ? json_str(peer, "suite") : "",
			   text);
	} else if (json_object_get(peer, "online")) {
		s = json_str(peer, "connecting");
		out_field(&c->out, "online", s && *s ? s : "no");
	}
	peer_session(c, peer);
	peer_addresses(c, peer);
	if ((s = json_str(peer, "version")) && *s)
		out_fieldf(&c->out, "software", "%s%s", s,
			   json_is_false(json_object_get(peer, "confirms")) ?
				   " (never confirms a message)" :
				   "");
	if (show_int(peer, "im2_since_ms"))
		out_fieldf(&c->out, "im2", "since %s",
			   time_text((uint64_t)show_int(peer, "im2_since_ms"), text, sizeof(text)));
	if (show_int(peer, "first_seen_ms"))
		out_field(&c->out, "first seen",
			  time_text((uint64_t)show_int(peer, "first_seen_ms"), text, sizeof(text)));
	if (show_int(peer, "last_seen_ms"))
		out_field(&c->out, "last seen",
			  time_text((uint64_t)show_int(peer, "last_seen_ms"), text, sizeof(text)));
	if (show_int(peer, "queued"))
		out_fieldf(&c->out, "queued", "%" PRId64, show_int(peer, "queued"));
	if (show_int(peer, "unread"))
		out_fieldf(&c->out, "unread", "%" PRId64, show_int(peer, "unread"));
	if (show_int(peer, "held"))
		out_fieldf(&c->out, "held", "%" PRId64 " until approved", show_int(peer, "held"));
	out_field(&c->out, "public key", json_str(peer, "public_key"));
}

void show_peers(const struct cli *c, const json_t *list)
{
	static const char *const heads[] = { "NAME", "STATE", "ONLINE", "SUITE", "QUEUED", "UNREAD", "FINGERPRINT",
					     NULL };
	struct table *t = table_new(heads);
	char text[256];
	json_t *p;
	size_t i;

	json_array_foreach (list, i, p) {
		const char *state = json_str(p, "state"), *fp = json_str(p, "fingerprint"),
			   *why = json_str(p, "connecting");
		bool online = json_is_true(json_object_get(p, "online"));

		if (json_str(p, "id"))
			show_party(p, text, sizeof(text));
		else
			snprintf(text, sizeof(text), "(%s)",
				 json_str(p, "address") ? json_str(p, "address") : "never reached");
		table_cell(t, STYLE_BOLD, text);
		snprintf(text, sizeof(text), "%s%s", state ? state : "-",
			 json_is_true(json_object_get(p, "verified")) ? ", verified" : "");
		table_cell(t, show_state(state), text);
		table_cell(t, online ? STYLE_GOOD : STYLE_NONE,
			   online ? (json_str(p, "transport") ? json_str(p, "transport") : "yes") : "no");
		table_cell(t, STYLE_NONE, json_str(p, "suite") ? json_str(p, "suite") : "-");
		table_cellf(t, "%" PRId64, show_int(p, "queued"));
		table_cellf(t, "%" PRId64, show_int(p, "unread") + show_int(p, "held"));
		if (fp)
			table_cell(t, STYLE_NONE, fingerprint_groups(fp, text, sizeof(text)));
		else
			table_cell(t, STYLE_DIM, why && *why ? why : "not known yet");
	}
	table_print(&c->out, t);
}

void show_keys(const struct cli *c, const json_t *keys)
{
	char text[256];
	const char *fp = json_str(keys, "fingerprint");
	const json_t *encrypted = json_object_get(keys, "encrypted");

	out_field(&c->out, "name", json_str(keys, "name"));
	out_field(&c->out, "node id", json_str(keys, "id"));
	if (fp)
		out_field(&c->out, "fingerprint", fingerprint_groups(fp, text, sizeof(text)));
	out_field(&c->out, "public key", json_str(keys, "public_key"));
	if (json_str(keys, "path"))
		out_fieldf(&c->out, "key file", "%s (version %" PRId64 "%s)", json_str(keys, "path"),
			   show_int(keys, "version"),
			   json_is_true(encrypted)  ? ", encrypted" :
			   json_is_false(encrypted) ? ", NOT encrypted" :
						      "");
}
