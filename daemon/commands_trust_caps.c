/* trust.cap_*: what a trusted peer says it can do has changed (wire 9.5) */
#include "base/text.h"
#include "daemon/commands_internal.h"
#include "trust/pins_caps.h"

struct diff {
	json_t *added, *removed, *kept;
};

static void diff_one(void *ctx, char sign, const char *name)
{
	struct diff *d = ctx;

	(void)json_array_append_new(sign == '+' ? d->added : sign == '-' ? d->removed : d->kept, json_string(name));
}

static json_t *digest_json(bool there, const uint8_t digest[static CAPS_DIGEST_BYTES])
{
	char hex[2 * CAPS_DIGEST_BYTES + 1];

	hex_encode(bytes_of(digest, CAPS_DIGEST_BYTES), hex);
	return there ? json_string(hex) : json_null();
}

/* Of a peer that is pinned. */
static json_t *diff_json(const struct command_ctx *cx, const struct pin *pin)
{
	struct diff d = { json_array(), json_array(), json_array() };
	struct caps_view v = { 0 };

	if (pins_caps_diff(cx->pins, &pin->id, &v, diff_one, &d) != ERR_OK)
		log_warn("capabilities-not-compared peer=%s", pin->id.hex);
	return json_pack("{s:s, s:o, s:s, s:b, s:b, s:b, s:o, s:o, s:o, s:o, s:o, s:I, s:I}", "schema", "ironmesh.cap_diff/1",
			 "peer", peer_ref(cx, &pin->id), "state", pin_word(pin), "ignored", pin->ignored, "changed",
			 v.has_pending, "names_known", v.names_known, "added", d.added, "removed", d.removed, "kept", d.kept,
			 "accepted_digest", digest_json(v.has_baseline, v.baseline), "announced_digest",
			 digest_json(v.has_pending, v.pending), "first_observed_ms", (json_int_t)v.first_observed_ms,
			 "accepted_ms", (json_int_t)v.accepted_ms);
}

enum err command_trust_cap_diff(struct call *c)
{
	const struct pin *pin;
	enum err e = arg_peer(c, "peer", &pin);

	return e == ERR_OK ? result_is(c, diff_json(c->cx, pin)) : e;
}

static enum err decide(struct call *c, bool accept)
{
	const struct pin *pin;
	struct node_id id;
	enum err e = arg_peer(c, "peer", &pin);

	if (e != ERR_OK)
		return e;
	id = pin->id;
	if (c->cx->node) {
		e = accept ? node_caps_accept(c->cx->node, &id, c->f) : node_caps_reject(c->cx->node, &id, c->f);
	} else {
		e = accept ? pins_caps_accept(c->cx->pins, &id, env_wall(c->cx->env), c->f) :
			     pins_caps_reject(c->cx->pins, &id, c->f);
		if (e == ERR_OK)
			e = pins_written(c);
		if (e == ERR_OK) {
			pin = pins_get(c->cx->pins, &id);
			command_audit(c->cx, accept ? "PEER_CAP_ACCEPTED" : "PEER_STATE_CHANGED", id.hex, pin_word(pin));
			if (!accept || pin_admits(pin))
				e = command_release_held(c, &id, accept);
		}
	}
	return e == ERR_OK ? result_is(c, diff_json(c->cx, pins_get(c->cx->pins, &id))) : e;
}

enum err command_trust_cap_accept(struct call *c)
{
	return decide(c, true);
}

enum err command_trust_cap_reject(struct call *c)
{
	return decide(c, false);
}
