/* trust.*, and the decisions of peers.* that are the same thing */
#include "daemon/commands_internal.h"

/* The one way a state changes, with and without a node. */
static enum err move_peer(struct call *c, const struct node_id *who, enum pin_state state, const char *reason)
{
	struct node_id id = *who; /* the pin may move */
	struct node *n = c->cx->node;
	enum err e;

	if (n) {
		e = state == PIN_TRUSTED ? node_peer_approve(n, &id, c->f) :
		    state == PIN_BLOCKED ? node_peer_block(n, &id, reason, c->f) :
		    state == PIN_REVOKED ? node_peer_revoke(n, &id, reason, c->f) :
					   node_peer_pending(n, &id, c->f);
	} else {
		e = pins_set_state(c->cx->pins, &id, state, reason, c->f);
		if (e == ERR_OK)
			e = pins_written(c);
		if (e == ERR_OK) {
			command_audit(c->cx,
				      state == PIN_TRUSTED ? "PEER_PROMOTED" :
				      state == PIN_BLOCKED ? "PEER_BLOCKED" :
				      state == PIN_REVOKED ? "PEER_REVOKED_LOCAL" :
							     "PEER_STATE_CHANGED",
				      id.hex, pin_state_word(state));
			if (state != PIN_PENDING)
				e = command_release_held(c, &id, state == PIN_TRUSTED);
		}
	}
	if (e != ERR_OK)
		return e;
	return result_is(c, peer_result(c->cx, pins_get(c->cx->pins, &id)));
}

enum err command_peers_approve(struct call *c)
{
	const struct pin *pin;
	enum err e = arg_peer(c, "peer", &pin);

	return e == ERR_OK ? move_peer(c, &pin->id, PIN_TRUSTED, NULL) : e;
}

enum err command_peers_block(struct call *c)
{
	const struct pin *pin;
	enum err e = arg_peer(c, "peer", &pin);

	return e == ERR_OK ? move_peer(c, &pin->id, PIN_BLOCKED, arg_text(c, "reason")) : e;
}

enum err command_trust_show(struct call *c)
{
	return command_peers_show(c);
}

enum err command_trust_set_state(struct call *c)
{
	const struct pin *pin;
	enum pin_state state;
	enum err e = arg_peer(c, "peer", &pin);

	if (e != ERR_OK)
		return e;
	if (pin_state_parse(arg_bytes(c, "state"), &state) != ERR_OK || state == PIN_REVOKED)
		return bad_param(c, "state", "pending, trusted or blocked");
	return move_peer(c, &pin->id, state, arg_text(c, "reason"));
}

enum err command_trust_revoke(struct call *c)
{
	const struct pin *pin;
	enum err e = arg_peer(c, "peer", &pin);

	if (e == ERR_OK && arg_bool(c, "mesh", false))
		return command_revoke_mesh(c, &pin->id);
	return e == ERR_OK ? move_peer(c, &pin->id, PIN_REVOKED, arg_text(c, "reason")) : e;
}

static enum err key_param(struct call *c, const char *name, uint8_t ed[static ED_BYTES])
{
	uint8_t x[X25519_BYTES];

	/* A key that is no point of the curve can verify nothing. */
	if (base64_decode_exact(arg_bytes(c, name), ed, ED_BYTES) != ERR_OK || ed_to_x25519(ed, x) != ERR_OK)
		return bad_param(c, name, "the base64 of a 32-byte Ed25519 public key (44 characters)");
	return ERR_OK;
}

enum err command_trust_pin(struct call *c)
{
	struct pins_copy *before;
	uint8_t ed[ED_BYTES];
	struct node_id id;
	enum err e = key_param(c, "public_key", ed);

	if (e != ERR_OK)
		return e;
	if (!name_valid(arg_bytes(c, "name")))
		return bad_param(c, "name", "1 to 64 of A-Z a-z 0-9 . _ - and not begin with '-'");
	node_id_of(ed, &id);
	if (node_id_eq(&id, keyring_id(c->cx->keyring)))
		return fault_set(c->f, ERR_SELF, EXIT_USAGE, "this is the key of this node itself");
	e = pins_copy(c->cx->pins, &before);
	if (e == ERR_OK)
		e = pins_settle(c->cx->pins, before,
				pins_pin(c->cx->pins, ed, arg_text(c, "name"), env_wall(c->cx->env), c->f), c->f);
	if (e != ERR_OK)
		return e;
	command_audit(c->cx, "PEER_PINNED", id.hex, pin_state_word(PIN_TRUSTED));
	if (c->cx->events) {
		json_t *o = json_pack("{s:s, s:s}", "peer", id.hex, "reason", "pinned");

		events_emit(c->cx->events, "trust.changed", o);
		json_decref(o);
	}
	return result_is(c, peer_result(c->cx, pins_get(c->cx->pins, &id)));
}

/* The whole id, in any case, with spaces or colons between the digits. */
static bool fingerprint_is(const char *text, const struct node_id *id)
{
	char digits[NODE_ID_LEN];
	size_t n = 0;

	for (; *text; text++) {
		char ch = *text >= 'A' && *text <= 'F' ? (char)(*text - 'A' + 'a') : *text;

		if (ch == ' ' || ch == ':')
			continue;
		if (n == NODE_ID_LEN)
			return false;
		digits[n++] = ch;
	}
	return n == NODE_ID_LEN && memcmp(digits, id->hex, n) == 0;
}

enum err command_trust_verify(struct call *c)
{
	struct pins_copy *before;
	const char *text = arg_text(c, "fingerprint");
	const struct pin *pin;
	struct node_id id;
	enum err e = arg_peer(c, "peer", &pin);

	if (e != ERR_OK)
		return e;
	if (!text == !arg_bool(c, "confirm", false))
		return fault_set(c->f, ERR_USAGE, EXIT_USAGE,
				 "trust.verify needs either 'fingerprint' or 'confirm' true");
	id = pin->id;
	if (text && !fingerprint_is(text, &id)) {
		char fp[FINGERPRINT_LEN];

		fault_set(c->f, ERR_AUTH, EXIT_INTEGRITY, "this is not the fingerprint of the pinned key");
		fault_means(c->f, "pinned is %s; if the other side reads out another one, somebody may stand in between",
			    fingerprint_text(&id, fp));
		fault_next(c->f, "ironmesh peers block %s", id.hex);
		return ERR_AUTH;
	}
	e = pins_copy(c->cx->pins, &before);
	if (e == ERR_OK)
		e = pins_settle(c->cx->pins, before, pins_set_verified(c->cx->pins, &id, true), c->f);
	if (e == ERR_DENIED && c->f->err == ERR_OK)
		fault_set(c->f, e, EXIT_INTEGRITY, "the trust store is read-only: see ironmesh trust list");
	if (e != ERR_OK)
		return e;
	command_audit(c->cx, "PEER_VERIFIED", id.hex, pin_state_word(pins_get(c->cx->pins, &id)->state));
	return result_is(c, peer_result(c->cx, pins_get(c->cx->pins, &id)));
}

enum err command_trust_repin(struct call *c)
{
	struct node_id id;
	enum err e;

	if (node_id_parse(arg_bytes(c, "id"), &id) != ERR_OK)
		return bad_param(c, "id", "the full node id, 32 lower-case hex digits");
	if (c->cx->node) {
		e = node_peer_repin(c->cx->node, arg_text(c, "subject"), &id, c->f);
	} else {
		e = pins_repin(c->cx->pins, arg_text(c, "subject"), &id, env_wall(c->cx->env), c->f);
		if (e == ERR_OK)
			e = pins_written(c);
		if (e == ERR_OK) {
			command_audit(c->cx, "PEER_STATE_CHANGED", id.hex, "repinned");
			e = command_release_held(c, &id, true);
		}
	}
	if (e != ERR_OK)
		return e;
	return result_is(c, peer_result(c->cx, pins_get(c->cx->pins, &id)));
}

/* The operator says that this identity may speak the old wire again: that it once spoke im2 is forgotten, with
 * the addresses behind which it did (im2.md 4.3). */
enum err command_trust_allow_downgrade(struct call *c)
{
	struct pins_copy *before;
	const struct pin *pin;
	struct node_id id;
	enum err e = arg_peer(c, "peer", &pin);

	if (e != ERR_OK)
		return e;
	id = pin->id;
	if (!pin->im2_since_ms) {
		fault_set(c->f, ERR_WRONG_STATE, EXIT_GENERIC, "this identity has never spoken im2");
		fault_means(c->f, "the old wire is not refused to it, unless this daemon runs with --require-im2");
		fault_next(c->f, "ironmesh peers show %s", id.hex);
		return ERR_WRONG_STATE;
	}
	if (c->cx->node) {
		e = node_peer_allow_downgrade(c->cx->node, &id, c->f);
	} else {
		e = pins_copy(c->cx->pins, &before);
		if (e == ERR_OK)
			e = pins_settle(c->cx->pins, before, pins_forget_im2(c->cx->pins, &id), c->f);
		if (e == ERR_OK)
			command_audit(c->cx, "DOWNGRADE_ALLOWED", id.hex,
				      pin_state_word(pins_get(c->cx->pins, &id)->state));
	}
	if (e != ERR_OK)
		return e;
	return result_is(c, peer_result(c->cx, pins_get(c->cx->pins, &id)));
}

enum err command_trust_export(struct call *c)
{
	struct buf text;
	json_t *r = NULL;
	enum err e;

	buf_init(&text, PINS_FILE_MAX);
	e = pins_export(c->cx->pins, c->cx->keyring, env_wall(c->cx->env), &text);
	if (e == ERR_OK)
		r = json_pack("{s:s, s:s%}", "schema", "ironmesh.trust.export/1", "text", (const char *)text.p,
			      text.n);
	buf_fini(&text);
	if (e != ERR_OK)
		return fault_set(c->f, e, EXIT_RETRY, "the trust store cannot be exported: %s", err_word(e));
	return result_is(c, r);
}
