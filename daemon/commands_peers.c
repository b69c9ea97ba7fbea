/* status, events.subscribe, peers.*, ping */
#include "daemon/commands_internal.h"

#include <stdlib.h>
#include <unistd.h>

#include "daemon/backups.h"
#include "daemon/feed.h"
#include "daemon/lan.h"
#include "daemon/reload.h"
#include "daemon/walls.h"
#include "protocol/im2/im2.h"

/* --- status ---------------------------------------------------------------------------------------- */
static void set_int(json_t *o, const char *name, uint64_t v)
{
	(void)json_object_set_new(o, name, json_integer((json_int_t)v));
}

static json_t *peer_counts(const struct command_ctx *cx)
{
	json_t *o = json_object();

	set_int(o, "online", node_online(cx->node));
	for (int s = 0; s < PIN_STATES; s++)
		set_int(o, pin_state_word((enum pin_state)s), pins_count_state(cx->pins, (enum pin_state)s));
	return o;
}

static json_t *counters_json(const struct command_ctx *cx)
{
	const struct node_counters *n = node_counters(cx->node);
	const struct im2_counters *im2 = node_im2_counters(cx->node);
	struct transport_stats t;
	json_t *o = json_object();
	char name[40];

#define X(member, name) set_int(o, name, n->member);
	NODE_COUNTERS(X)
#undef X
#define X(member, name) set_int(o, name, im2 ? im2->member : 0);
	IM2_COUNTERS(X)
#undef X
	set_int(o, "banned_now", node_banned(cx->node));
	node_transport_stats(cx->node, &t);
	set_int(o, "links_accepted", t.accepted);
	set_int(o, "links_refused", t.refused);
	set_int(o, "links_opened", t.opened);
	set_int(o, "links_half_open", t.half_open);
	for (int e = 0; e < LINK_END_COUNT; e++) {
		snprintf(name, sizeof(name), "links_ended_%s", link_end_word((enum link_end)e));
		set_int(o, name, t.ends[e]);
	}
	return o;
}

static json_t *texts(const char *first, size_t count, size_t size)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		if (first[i * size])
			(void)json_array_append_new(list, text_or_null(first + i * size));
	return list;
}

json_t *alarms_json(const struct pins *p)
{
	const struct pin_alarm *a;
	size_t n = pins_alarms(p, &a);
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(
			list, json_pack("{s:o, s:s, s:s, s:s, s:o, s:I, s:I}", "subject",
					text_or_null(a[i].subject), "kind", node_id_eq(&a[i].was, &a[i].now) ? "tls-key" :
					a[i].is_address ? "address" : "name",
					"was", a[i].was.hex, "now", a[i].now.hex, "now_name",
					text_or_null(a[i].now_name), "at_ms", (json_int_t)a[i].at_ms, "count",
					(json_int_t)a[i].count));
	return list;
}

static json_t *im2_json(const struct app_info *i, const struct node *n)
{
	const char *key = i->mesh_key ? *i->mesh_key : "off";

	if (strcmp(key, "none") == 0 && n && node_has_mesh_key(n))
		key = "ready"; /* a pairing brought it */
	return json_pack("{s:s, s:s, s:s, s:b, s:b, s:b}", "setting",
			 im2_setting_word(i->policy ? i->policy->im2 : IM2_OFF), "mesh_key",
			 key, "mesh", i->mesh ? i->mesh : "", "pad", i->im2_pad,
			 "sign_always", i->im2_sign_always, "tls_binding", i->tls_binding);
}

/* Who together may revoke, by the ids that a user can compare. */
static json_t *admins_json(const struct admins *a)
{
	json_t *ids = json_array();
	struct node_id id;

	for (size_t i = 0; a && i < a->n; i++) {
		node_id_of(a->ed[i], &id);
		(void)json_array_append_new(ids, json_string(id.hex));
	}
	return json_pack("{s:i, s:o}", "quorum", a ? (int)a->quorum : 0, "admins", ids);
}

static json_t *trust_store_json(const struct pins *p)
{
	const char *why = NULL;
	bool read_only = pins_read_only(p, &why);

	return json_pack("{s:b, s:o}", "read_only", read_only, "why", text_or_null(read_only ? why : NULL));
}

static json_t *walls_json(struct walls *w)
{
	struct wall_state s[WALLS];
	json_t *list = json_array();

	walls_look(w, s);
	for (int i = 0; i < WALLS; i++)
		(void)json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "name", s[i].name, "state",
							    wall_standing_word(s[i].standing), "why", s[i].why, "detail",
							    s[i].detail));
	return list;
}

enum err command_status(struct call *c)
{
	struct command_ctx *cx = c->cx;
	uint64_t out[OUTBOX_STATES] = { 0 }, in[INBOX_STATES] = { 0 };
	struct store_stats st;
	json_t *outbox = json_object(), *inbox = json_object();
	char fp[FINGERPRINT_LEN];
	const struct node_id *id = keyring_id(cx->keyring);
	enum err e = outbox_count(cx->store, NULL, out);

	if (e == ERR_OK)
		e = inbox_count(cx->store, NULL, in);
	if (e != ERR_OK) {
		json_decref(outbox);
		json_decref(inbox);
		return store_refused(c, e);
	}
	store_stats(cx->store, &st);
	for (int i = 0; i < OUTBOX_STATES; i++)
		set_int(outbox, outbox_state_word((enum outbox_state)i), out[i]);
	for (int i = 0; i <= INBOX_HELD; i++)
		set_int(inbox, inbox_state_word((enum inbox_state)i), in[i]);
	return result_is(
		c,
		json_pack("{s:s, s:s, s:i, s:o, s:s, s:s, s:i, s:I, s:I, s:o, s:b, s:b, s:o, s:o, s:o, s:{s:I, s:I, s:I},"
			  " s:{s:I}, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o}",
			  "schema", "ironmesh.status/1", "version", IRONMESH_VERSION, "api", CONTROL_API, "name",
			  text_or_null(cx->name), "id", id->hex, "fingerprint", fingerprint_text(id, fp), "pid",
			  (int)getpid(), "uptime_ms", (json_int_t)(env_now(cx->env) - cx->info.started_ms),
			  "started_ms", (json_int_t)cx->info.started_wall_ms,
			  "listen", texts(cx->info.listen[0], 4, sizeof cx->info.listen[0]), "plaintext",
			  cx->info.plaintext, "trust_on_first_use", cx->info.trust_on_first_use, "peers",
			  peer_counts(cx), "outbox", outbox, "inbox", inbox, "store", "file_bytes",
			  (json_int_t)st.file_bytes, "wal_bytes", (json_int_t)st.wal_bytes, "commits",
			  (json_int_t)st.commits, "audit", "entries", (json_int_t)audit_entries(cx->audit),
			  "trust_store", trust_store_json(cx->pins), "alarms", alarms_json(cx->pins), "counters",
			  counters_json(cx), "warnings",
			  texts(cx->info.warnings[0], 8, sizeof cx->info.warnings[0]), "im2",
			  im2_json(&cx->info, cx->node), "revocation", admins_json(cx->info.admins), "refused",
			  refused_summary(cx), "allowed_peers",
			  (json_int_t)(cx->info.policy ? cx->info.policy->allowed_count : 0), "discovery",
			  lan_status(cx->info.lan), "routing", routing_json(cx), "walls",
			  walls_json(cx->info.walls), "config", reload_status(cx->reload), "backup",
			  backups_status_json(cx->info.backups), "http", http_json(cx)));
}

enum err command_subscribe(struct call *c)
{
	struct subscriber *s = c->request->subscriber;
	const json_t *types = json_object_get(c->params, "types");
	size_t i;
	json_t *word;

	/* Asked again, the new list counts. */
	events_unsubscribe(c->cx->events, s);
	s->type_count = 0;
	json_array_foreach ((json_t *)types, i, word)
		snprintf(s->types[s->type_count++], sizeof s->types[0], "%s", json_string_value(word));
	events_subscribe(c->cx->events, s);
	return result_is(c, json_pack("{s:s, s:b}", "schema", "ironmesh.events/1", "subscribed", 1));
}

/* --- one peer ---------------------------------------------------------------------------------------- */
static const char *connecting_text(const struct command_ctx *cx, const struct target_view *t, char out[static 320])
{
	if (t->next_dial_in_ms)
		snprintf(out, 320, "%s; next try in %.1f s", t->why, (double)t->next_dial_in_ms / 1000.0);
	else
		snprintf(out, 320, "%s", t->dialling && !t->why[0] ? "dialling" : t->why);
	return out;
}

static json_t *version_json(uint16_t v)
{
	char text[16];

	if (!v)
		return json_null();
	snprintf(text, sizeof text, "%u.%u", v >> 8, v & 0xff);
	return json_string(text);
}

static json_t *addresses_json(const struct pin *p)
{
	json_t *list = json_array();

	for (size_t i = 0; i < p->address_count; i++)
		(void)json_array_append_new(list, text_or_null(p->addresses[i].text));
	return list;
}

/* What is spoken, or was the last time. */
static json_t *suite_json(const struct pin *p, const struct peer_view *v)
{
	if (v->online)
		return text_or_null(v->generation);
	return p->im2_since_ms ? json_string("im2") : json_null();
}

/* `targets` are the static peers. */
static json_t *peer_json(const struct command_ctx *cx, const struct pin *p, const struct target_view *targets,
			 size_t target_count)
{
	struct peer_view v = { .generation = "", .rtt_ms = -1 };
	uint64_t out[OUTBOX_STATES] = { 0 }, in[INBOX_STATES] = { 0 };
	const struct target_view *t = NULL;
	char fp[FINGERPRINT_LEN], why[320];

	if (cx->node)
		node_peer_view(cx->node, &p->id, &v);
	if (cx->store && (outbox_count(cx->store, &p->id, out) != ERR_OK ||
			  inbox_count(cx->store, &p->id, in) != ERR_OK))
		log_warn("peer-counts-failed peer=%s", p->id.hex);
	for (size_t i = 0; i < target_count && !t; i++)
		if (targets[i].has_id && node_id_eq(&targets[i].id, &p->id))
			t = &targets[i];
	return json_pack(
		"{s:s, s:s, s:o, s:o, s:s, s:b, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:o, s:I, s:I, s:I, s:o,"
		" s:o, s:o, s:b, s:o, s:I}",
		"id", p->id.hex, "fingerprint", fingerprint_text(&p->id, fp), "name", text_or_null(p->name), "alias",
		text_or_null(p->alias), "state", pin_word(p), "verified", p->verified, "via",
		text_or_null(p->via), "online", v.online, "transport", text_or_null(v.online ? v.transport : NULL),
		"generation", text_or_null(v.generation), "version", version_json(p->version_floor), "confirms",
		v.online ? json_boolean(v.confirms) : p->confirms ? json_true() : json_null(), "address",
		text_or_null(v.online ? v.address : NULL), "first_seen_ms",
		(json_int_t)p->first_seen_ms, "last_seen_ms", (json_int_t)p->last_seen_ms, "addresses",
		addresses_json(p), "queued", (json_int_t)out[OUTBOX_QUEUED], "unread", (json_int_t)in[INBOX_NEW],
		"held", (json_int_t)in[INBOX_HELD], "rtt_ms", v.rtt_ms >= 0 ? json_real(v.rtt_ms) : json_null(),
		"reason", text_or_null(p->reason), "connecting",
		text_or_null(t && !v.online ? connecting_text(cx, t, why) : NULL), "static", t != NULL,
		"suite", suite_json(p, &v), "im2_since_ms", (json_int_t)p->im2_since_ms);
}

/* A static peer that was never reached. */
static json_t *target_json(const struct command_ctx *cx, const struct target_view *t)
{
	char why[320];

	return json_pack("{s:o, s:n, s:n, s:n, s:s, s:b, s:n, s:b, s:n, s:n, s:n, s:b, s:o, s:I, s:I, s:[o], s:I, s:I,"
			 " s:I, s:n, s:n, s:o, s:b, s:n, s:I}",
			 "id", t->has_id ? json_string(t->id.hex) : json_null(), "fingerprint", "name", "alias",
			 "state", "unknown", "verified", 0, "via", "online", t->online, "transport", "generation",
			 "version", "confirms", 0, "address", text_or_null(t->address), "first_seen_ms",
			 (json_int_t)0, "last_seen_ms", (json_int_t)0, "addresses", text_or_null(t->address),
			 "queued", (json_int_t)0, "unread", (json_int_t)0, "held", (json_int_t)0, "rtt_ms", "reason",
			 "connecting", text_or_null(connecting_text(cx, t, why)), "static", 1, "suite", "im2_since_ms",
			 (json_int_t)0);
}

struct targets {
	struct target_view *list;
	size_t n;
};

#define TARGETS_SHOWN 256

static struct targets targets_of(const struct command_ctx *cx)
{
	struct targets t = { 0 };

	if (cx->node)
		t.list = calloc(TARGETS_SHOWN, sizeof *t.list);
	if (t.list)
		t.n = node_targets(cx->node, t.list, TARGETS_SHOWN);
	return t;
}

static void add_session(const struct command_ctx *cx, const struct pin *p, json_t *o)
{
	struct peer_view v;

	(void)json_object_set_new(o, "public_key", base64_json(BYTES_ARR(p->ed)));
	if (!cx->node)
		return;
	node_peer_view(cx->node, &p->id, &v);
	if (v.online)
		(void)json_object_set_new(
			o, "session",
			json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "since_ms", (json_int_t)v.since_ms, "sent",
				  (json_int_t)v.sent, "received", (json_int_t)v.received, "dropped",
				  (json_int_t)v.dropped, "rekeys", (json_int_t)v.rekeys, "waiting",
				  (json_int_t)v.waiting, "in_flight", (json_int_t)v.in_flight));
}

json_t *peer_result(const struct command_ctx *cx, const struct pin *pin)
{
	struct targets t = targets_of(cx);
	json_t *o = peer_json(cx, pin, t.list, t.n);

	/* Whoever is answered with it may have changed it. */
	if (cx->feed)
		feed_peer(cx->feed, &pin->id);
	free(t.list);
	if (!o)
		return NULL;
	(void)json_object_set_new(o, "schema", json_string("ironmesh.peer/1"));
	add_session(cx, pin, o);
	return o;
}

/* --- lists --------------------------------------------------------------------------------------------- */
struct listing {
	const struct command_ctx *cx;
	struct targets targets;
	int state; /* -1 = all */
	json_t *list;
	size_t bytes, omitted;
	size_t n, limit;            /* of pins; 0 = as many as fit */
	uint64_t after_ms, last_ms; /* in the order of pins_each(): first seen, then id */
	char after[NODE_ID_LEN + 1], last[NODE_ID_LEN + 1];
};

/* An entry without its texts; what a peer calls itself is short, an address is not. */
#define PEER_COST 1200

static bool list_one(void *ctx, const struct pin *pin)
{
	struct listing *l = ctx;
	size_t cost = PEER_COST + pin->address_count * 64;

	if (l->state >= 0 && pin->state != (enum pin_state)l->state)
		return true;
	if (l->after[0] && (pin->first_seen_ms < l->after_ms ||
			    (pin->first_seen_ms == l->after_ms && strcmp(pin->id.hex, l->after) <= 0)))
		return true;
	for (size_t i = 0; i < pin->address_count; i++)
		cost += strlen(pin->addresses[i].text);
	if (l->omitted || (l->limit && l->n == l->limit) || l->bytes + cost > RESULT_MAX - 4096) {
		l->omitted++;
		return true;
	}
	l->bytes += cost;
	l->n++;
	l->last_ms = pin->first_seen_ms;
	snprintf(l->last, sizeof l->last, "%s", pin->id.hex);
	(void)json_array_append_new(l->list, peer_json(l->cx, pin, l->targets.list, l->targets.n));
	return true;
}

static bool target_known(const struct command_ctx *cx, const struct target_view *t)
{
	return (t->has_id && pins_get(cx->pins, &t->id)) || pins_by_address(cx->pins, t->address);
}

/* "MS:ID" of the last one of the page before. */
static bool read_after(struct listing *l, const char *after)
{
	char *end;

	if (!after)
		return true;
	l->after_ms = strtoull(after, &end, 10);
	if (end == after || *end != ':' || !hex_valid(bytes_str(end + 1), NODE_ID_LEN))
		return false;
	memcpy(l->after, end + 1, NODE_ID_LEN);
	return true;
}

/* What does not fit one line, or is beyond the limit, is counted in `omitted`; the oldest come first. `next`, when there is
 * room for one: what to ask for then. */
static enum err list_peers(struct call *c, int state, bool targets, json_t **out, size_t *omitted, json_t **next)
{
	struct listing l = { .cx = c->cx, .state = state, .limit = (size_t)arg_int(c, "limit", 0) };
	char mark[64];

	if (!read_after(&l, arg_text(c, "after")))
		return bad_param(c, "after", "the 'next' of the page before");
	l.list = json_array();
	if (!l.list)
		return no_memory(c);
	l.targets = targets_of(c->cx);
	for (size_t i = 0; targets && state < 0 && !l.after[0] && i < l.targets.n; i++)
		if (!target_known(c->cx, &l.targets.list[i])) {
			(void)json_array_append_new(l.list, target_json(c->cx, &l.targets.list[i]));
			l.bytes += PEER_COST;
		}
	pins_each(c->cx->pins, list_one, &l);
	free(l.targets.list);
	*out = l.list;
	*omitted = l.omitted;
	if (next) {
		snprintf(mark, sizeof mark, "%llu:%s", (unsigned long long)l.last_ms, l.last);
		*next = l.omitted && l.last[0] ? json_string(mark) : json_null();
	}
	return ERR_OK;
}

enum err command_peers_list(struct call *c)
{
	struct bytes word = arg_bytes(c, "state");
	enum pin_state state;
	size_t omitted;
	json_t *list, *next;
	enum err e;

	if (word.p && pin_state_parse(word, &state) != ERR_OK)
		return bad_param(c, "state", "pending, trusted, blocked or revoked");
	e = list_peers(c, word.p ? (int)state : -1, true, &list, &omitted, &next);
	if (e != ERR_OK)
		return e;
	return result_is(c, json_pack("{s:s, s:o, s:I, s:o}", "schema", "ironmesh.peers/1", "peers", list, "omitted",
				      (json_int_t)omitted, "next", next));
}

enum err command_trust_list(struct call *c)
{
	const char *why = NULL;
	bool read_only = pins_read_only(c->cx->pins, &why);
	size_t omitted;
	json_t *list;
	enum err e = list_peers(c, -1, false, &list, &omitted, NULL);

	if (e != ERR_OK)
		return e;
	return result_is(c, json_pack("{s:s, s:o, s:o, s:b, s:o, s:I}", "schema", "ironmesh.trust/1", "pins", list,
				      "alarms", alarms_json(c->cx->pins), "read_only", read_only, "why",
				      text_or_null(read_only ? why : NULL), "omitted", (json_int_t)omitted));
}

enum err command_peers_show(struct call *c)
{
	const struct pin *pin;
	enum err e = arg_peer(c, "peer", &pin);

	return e == ERR_OK ? result_is(c, peer_result(c->cx, pin)) : e;
}

/* --- decisions ------------------------------------------------------------------------------------------- */
enum err command_peers_forget(struct call *c)
{
	const struct pin *pin;
	struct node_id id;
	json_t *was;
	enum err e = arg_peer(c, "peer", &pin);

	if (e != ERR_OK)
		return e;
	id = pin->id;
	was = peer_result(c->cx, pin);
	if (c->cx->node) {
		e = node_peer_forget(c->cx->node, &id, c->f);
	} else {
		e = pins_forget(c->cx->pins, &id);
		if (e == ERR_WRONG_STATE) {
			fault_set(c->f, e, EXIT_GENERIC, "%s is revoked", id.hex);
			fault_means(c->f, "a revoked identity is remembered for ever, so that it stays refused");
		}
		if (e == ERR_OK)
			e = pins_written(c);
		if (e == ERR_OK)
			command_audit(c->cx, "PEER_STATE_CHANGED", id.hex, "forgotten");
	}
	if (e != ERR_OK) {
		json_decref(was);
		return e;
	}
	return result_is(c, was);
}

enum err command_peers_alias(struct call *c)
{
	struct pins_copy *before;
	const struct pin *pin;
	struct node_id id;
	enum err e = arg_peer(c, "peer", &pin);

	if (e != ERR_OK)
		return e;
	id = pin->id;
	e = pins_copy(c->cx->pins, &before);
	if (e == ERR_OK)
		e = pins_settle(c->cx->pins, before, pins_set_alias(c->cx->pins, &id, arg_text(c, "alias"), c->f),
				c->f);
	if (e != ERR_OK)
		return e;
	if (c->cx->node)
		node_review(c->cx->node); /* an alias on the list of allowed peers lets somebody in, or no longer */
	return result_is(c, peer_result(c->cx, pins_get(c->cx->pins, &id)));
}

/* --- ping ---------------------------------------------------------------------------------------------- */
struct pinging {
	struct command_ctx *cx;
	struct request *request;
	struct node_id peer;
	char via[16];
};

static void pinging_cancel(struct request *r)
{
	struct pinging *p = r->state;

	node_ping_forget(p->cx->node, p);
	free(p);
}

static void ping_fault(const struct command_ctx *cx, const struct node_id *id, enum err e, struct fault *f)
{
	if (e == ERR_TIMEOUT) {
		fault_set(f, e, EXIT_USAGE, "%s did not answer in time", id->hex);
		fault_means(f, "the link stands, but nothing comes back");
	} else {
		fault_set(f, e, e == ERR_CLOSED ? EXIT_USAGE : EXIT_RETRY,
			  e == ERR_CLOSED ? "there is no session with %s" : "%s cannot be asked", id->hex);
		fault_next(f, "ironmesh peers show %s", id->hex);
	}
}

static void pong(void *ctx, enum err e, double rtt_ms)
{
	struct pinging *p = ctx;
	struct request *r = p->request;
	struct fault f = { 0 };

	if (e == ERR_OK)
		request_answer(r, json_pack("{s:s, s:o, s:f, s:o}", "schema", "ironmesh.ping/1", "peer",
					    peer_ref(p->cx, &p->peer), "rtt_ms", rtt_ms, "via",
					    text_or_null(p->via)));
	if (e != ERR_OK) {
		ping_fault(p->cx, &p->peer, e, &f);
		request_fail(r, &f);
	}
	free(p);
}

enum err command_ping(struct call *c)
{
	const struct pin *pin;
	struct peer_view v;
	struct pinging *p;
	enum err e = arg_peer(c, "peer", &pin);

	if (e != ERR_OK)
		return e;
	p = calloc(1, sizeof *p);
	if (!p)
		return no_memory(c);
	p->cx = c->cx;
	p->request = c->request;
	p->peer = pin->id;
	node_peer_view(c->cx->node, &pin->id, &v);
	snprintf(p->via, sizeof p->via, "%s", v.transport);
	/* Before the call: the end of the session may come inside it. */
	c->request->state = p;
	c->request->cancel = pinging_cancel;
	c->later = true;
	e = node_ping(c->cx->node, &p->peer, (uint64_t)arg_int(c, "timeout_ms", 5000), pong, p);
	if (e == ERR_OK)
		return ERR_OK;
	c->later = false;
	c->request->cancel = NULL;
	ping_fault(c->cx, &p->peer, e, c->f);
	free(p);
	return e;
}
