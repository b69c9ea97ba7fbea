/* peers.pending, peers.ignore, peers.refused: what waits for the operator, and why somebody is not here */
#include <stdlib.h>

#include "daemon/commands_internal.h"
#include "daemon/refusals.h"

#define ENTRY_COST 700

/* Offline: what the node does to held messages, on the database alone. The senders are told when they
 * send them again. */
enum err command_release_held(struct call *c, const struct node_id *id, bool accept)
{
	struct inbox_row rows[64];
	size_t got = 0;
	enum err e = ERR_OK;

	if (!c->cx->store)
		return ERR_OK;
	do
		e = inbox_release(c->cx->store, id, accept, rows, 64, &got);
	while (e == ERR_OK && got == 64);
	if (e == ERR_OK)
		e = store_commit(c->cx->store);
	return e == ERR_OK ? e : store_refused(c, e);
}

/* --- pending ------------------------------------------------------------------------------------------- */
struct waiting {
	const struct command_ctx *cx;
	json_t *list;
	bool all;
	size_t bytes, omitted, ignored;
	uint64_t held;
};

static bool wait_one(void *ctx, const struct pin *pin)
{
	struct waiting *w = ctx;
	uint64_t in[INBOX_STATES] = { 0 };
	struct peer_view v = { .generation = "" };
	char fp[FINGERPRINT_LEN], next[96];

	if (pin->state != PIN_PENDING && !(pin->state == PIN_TRUSTED && pin->cap_change))
		return true;
	w->ignored += pin->ignored;
	if (pin->ignored && !w->all)
		return true;
	if (w->cx->store && inbox_count(w->cx->store, &pin->id, in) != ERR_OK)
		log_warn("peer-counts-failed peer=%s", pin->id.hex);
	w->held += in[INBOX_HELD];
	if (w->bytes + ENTRY_COST > RESULT_MAX - 4096) {
		w->omitted++;
		return true;
	}
	w->bytes += ENTRY_COST;
	if (w->cx->node)
		node_peer_view(w->cx->node, &pin->id, &v);
	snprintf(next, sizeof next, pin->cap_change ? "ironmesh trust cap-diff %s" : "ironmesh peers approve %s", pin->id.hex);
	(void)json_array_append_new(
		w->list, json_pack("{s:s, s:s, s:o, s:o, s:s, s:b, s:o, s:b, s:I, s:I, s:I, s:s}", "id", pin->id.hex,
				   "fingerprint", fingerprint_text(&pin->id, fp), "name", text_or_null(pin->name), "alias",
				   text_or_null(pin->alias), "state", pin_word(pin), "ignored", pin->ignored, "via",
				   text_or_null(pin->via), "online", v.online, "since_ms", (json_int_t)pin->first_seen_ms,
				   "last_seen_ms", (json_int_t)pin->last_seen_ms, "held", (json_int_t)in[INBOX_HELD],
				   "next", next));
	return true;
}

enum err command_peers_pending(struct call *c)
{
	struct waiting w = { .cx = c->cx, .list = json_array(), .all = arg_bool(c, "all", false) };

	if (!w.list)
		return no_memory(c);
	pins_each(c->cx->pins, wait_one, &w);
	return result_is(c, json_pack("{s:s, s:o, s:I, s:I, s:I}", "schema", "ironmesh.pending/1", "pending", w.list, "held",
				      (json_int_t)w.held, "ignored", (json_int_t)w.ignored, "omitted",
				      (json_int_t)w.omitted));
}

enum err command_peers_ignore(struct call *c)
{
	const struct pin *pin;
	struct node_id id;
	enum err e = arg_peer(c, "peer", &pin);

	if (e != ERR_OK)
		return e;
	id = pin->id;
	if (c->cx->node) {
		e = node_peer_ignore(c->cx->node, &id, c->f);
	} else {
		e = pins_ignore(c->cx->pins, &id, c->f);
		if (e == ERR_OK)
			e = pins_written(c);
		if (e == ERR_OK) {
			command_audit(c->cx, "PEER_STATE_CHANGED", id.hex, "ignored");
			e = command_release_held(c, &id, false);
		}
	}
	return e == ERR_OK ? result_is(c, peer_result(c->cx, pins_get(c->cx->pins, &id))) : e;
}

/* --- refused ------------------------------------------------------------------------------------------- */
static json_t *refusal_json(const struct refusal *x)
{
	char fp[FINGERPRINT_LEN];

	return json_pack("{s:o, s:o, s:o, s:o, s:b, s:s, s:o, s:o, s:I, s:I, s:I}", "id", text_or_null(x->id.hex),
			 "fingerprint", x->id.hex[0] ? json_string(fingerprint_text(&x->id, fp)) : json_null(), "name",
			 text_or_null(x->name), "address", text_or_null(x->where), "dialled", x->dialled, "reason", x->reason,
			 "what", text_or_null(x->what), "next", text_or_null(x->next), "count", (json_int_t)x->count,
			 "first_ms", (json_int_t)x->first_ms, "last_ms", (json_int_t)x->last_ms);
}

json_t *refused_json(const struct command_ctx *cx, size_t max)
{
	const struct refusals *r = node_refusals(cx->node);
	struct refusal *list = calloc(max, sizeof *list);
	json_t *out = list ? json_array() : NULL;
	size_t n = list ? refusals_list(r, list, max) : 0;

	for (size_t i = 0; out && i < n; i++)
		(void)json_array_append_new(out, refusal_json(&list[i]));
	free(list);
	return out;
}

json_t *refused_summary(const struct command_ctx *cx)
{
	const struct refusals *r = node_refusals(cx->node);

	return json_pack("{s:I, s:I, s:o}", "contacts", (json_int_t)refusals_total(r), "entries",
			 (json_int_t)refusals_count(r), "last", refused_json(cx, 3));
}

enum err command_peers_refused(struct call *c)
{
	const struct refusals *r = node_refusals(c->cx->node);

	return result_is(c, json_pack("{s:s, s:o, s:I}", "schema", "ironmesh.refused/1", "refused",
				      refused_json(c->cx, (size_t)arg_int(c, "limit", REFUSALS_MAX)), "contacts",
				      (json_int_t)refusals_total(r)));
}
