/* trust.revoke for the whole mesh, trust.revoke_draft, revoke_sign, revoke_send, keys.revoke */
#include "daemon/commands_internal.h"
#include "daemon/revoke.h"

enum err command_revoke_mesh(struct call *c, const struct node_id *who)
{
	const struct node_id id = *who; /* the pin may move */
	json_t *r;
	enum err e;

	if (!c->cx->node) {
		fault_set(c->f, ERR_WRONG_STATE, EXIT_NO_DAEMON, "without a running daemon nobody else hears of it");
		fault_next(c->f, "ironmesh run");
		return ERR_WRONG_STATE;
	}
	if (node_id_eq(&id, keyring_id(c->cx->keyring))) {
		fault_set(c->f, ERR_SELF, EXIT_USAGE, "this is the key of this node itself");
		fault_next(c->f, "ironmesh keys revoke");
		return ERR_SELF;
	}
	e = revoke_quarantine(c->cx->node, &id, arg_text(c, "reason"), c->f);
	if (e != ERR_OK)
		return e;
	r = peer_result(c->cx, pins_get(c->cx->pins, &id));
	if (r)
		(void)json_object_set_new(r, "mesh", json_string("quarantine"));
	return result_is(c, r);
}

static const char *scope_word(unsigned scope)
{
	return scope == 1 ? "identity" : scope == 2 ? "membership" : "prekeys";
}

static json_t *view_json(const struct command_ctx *cx, const struct revoke_view *v, const struct buf *text)
{
	json_t *o = json_pack("{s:s, s:o, s:o, s:s, s:i, s:i, s:i}", "schema", "ironmesh.revoke/1", "target",
			      peer_ref(cx, &v->target), "by", peer_ref(cx, &v->author), "scope", scope_word(v->scope), "reason",
			      (int)v->reason, "signatures", (int)v->signatures, "needed", (int)v->needed);

	if (o && text)
		(void)json_object_set_new(o, "text", json_stringn((const char *)text->p, text->n));
	return o;
}

enum err command_trust_revoke_draft(struct call *c)
{
	struct revoke_wish w = { .reason = (unsigned)arg_int(c, "reason", 0), .scope = (unsigned)arg_int(c, "scope", 1),
				 .note = arg_text(c, "note") };
	const struct pin *pin;
	struct revoke_view v;
	struct buf text;
	enum err e = arg_peer(c, "peer", &pin);

	if (e != ERR_OK)
		return e;
	w.target = pin->id;
	buf_init(&text, REVOKE_FILE_MAX);
	e = revoke_draft(c->cx->node, &w, &text, &v, c->f);
	if (e == ERR_OK)
		e = result_is(c, view_json(c->cx, &v, &text));
	buf_fini(&text);
	return e;
}

enum err command_trust_revoke_show(struct call *c)
{
	struct revoke_view v;
	enum err e = revoke_show(c->cx->node, arg_bytes(c, "text"), &v, c->f);

	return e == ERR_OK ? result_is(c, view_json(c->cx, &v, NULL)) : e;
}

enum err command_trust_revoke_sign(struct call *c)
{
	struct revoke_view v;
	struct buf text;
	enum err e;

	buf_init(&text, REVOKE_FILE_MAX);
	e = revoke_sign(c->cx->node, arg_bytes(c, "text"), &text, &v, c->f);
	if (e == ERR_OK)
		e = result_is(c, view_json(c->cx, &v, &text));
	buf_fini(&text);
	return e;
}

enum err command_trust_revoke_send(struct call *c)
{
	struct revoke_view v;
	enum err e = revoke_send(c->cx->node, arg_bytes(c, "text"), &v, c->f);

	return e == ERR_OK ? result_is(c, view_json(c->cx, &v, NULL)) : e;
}

enum err command_keys_revoke(struct call *c)
{
	const struct node_id *self = keyring_id(c->cx->keyring);
	enum err e = revoke_self(c->cx->node, (unsigned)arg_int(c, "reason", 0), c->f);

	if (e != ERR_OK)
		return e;
	return result_is(c, json_pack("{s:s, s:s, s:b}", "schema", "ironmesh.keys.revoked/1", "id", self->hex, "revoked", 1));
}
