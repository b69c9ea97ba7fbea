/* invite.* */
#include "daemon/commands_internal.h"
#include "daemon/invites.h"

#include <stdlib.h>

#define LIST_MAX 1000

static json_t *entry_json(const struct command_ctx *cx, const struct invite_entry *x)
{
	return json_pack("{s:s, s:s, s:s, s:o, s:I, s:I, s:o, s:o, s:o, s:b}", "id", x->id, "state",
			 invite_state_word(invite_entry_state(x, env_wall(cx->env))), "endpoint", x->endpoint, "profile",
			 text_or_null(x->profile), "issued_ms", (json_int_t)x->issued_ms, "expires_ms", (json_int_t)x->expires_ms,
			 "spent_ms", x->spent_ms ? json_integer((json_int_t)x->spent_ms) : json_null(), "spent_by",
			 x->spent_ms && x->by.hex[0] ? peer_ref(cx, &x->by) : json_null(), "revoked_ms",
			 x->revoked_ms ? json_integer((json_int_t)x->revoked_ms) : json_null(), "trust", x->trust);
}

/* An address that is bound and means this machine to others; "" when every one is a wildcard. */
static const char *own_endpoint(const struct command_ctx *cx)
{
	for (size_t i = 0; i < sizeof cx->info.listen / sizeof cx->info.listen[0]; i++) {
		const char *at = cx->info.listen[i];

		if (at[0] && strncmp(at, "0.0.0.0:", 8) != 0 && strncmp(at, "[::]:", 5) != 0)
			return at;
	}
	return "";
}

enum err command_invite_create(struct call *c)
{
	const char *endpoint = arg_text(c, "endpoint"), *profile = arg_text(c, "profile"), *allow = arg_text(c, "allowed_peers");
	struct invite_wish w = { .profile = profile ? profile : "", .allowed_peers = allow ? allow : "",
				 .ttl_ms = (uint64_t)arg_int(c, "ttl_ms", 0), .trust = arg_bool(c, "trust", false) };
	struct invite_entry x;
	struct buf token;
	json_t *r = NULL;
	enum err e;

	w.endpoint = endpoint ? endpoint : own_endpoint(c->cx);
	if (!w.endpoint[0]) {
		fault_set(c->f, ERR_USAGE, EXIT_USAGE, "an invite says where this machine is reached, and that is not known here");
		fault_means(c->f, c->cx->info.listen[0][0] ? "this daemon listens on every address: which one do others use?" :
							     "this daemon does not listen");
		fault_next(c->f, "ironmesh invite create --endpoint HOST:PORT");
		return ERR_USAGE;
	}
	buf_init(&token, INVITE_TEXT_MAX + 1);
	(void)!buf_reserve(&token, INVITE_TEXT_MAX); /* it does not move: nothing of it is left elsewhere */
	e = invites_create(c->cx->node, &w, &token, &x, c->f);
	if (e == ERR_OK) {
		r = entry_json(c->cx, &x);
		if (r) {
			(void)json_object_set_new(r, "schema", json_string("ironmesh.invite/1"));
			(void)json_object_set_new(r, "allowed_peers", text_or_null(w.allowed_peers));
			(void)json_object_set_new(r, "token", json_stringn((const char *)token.p, token.n));
		}
	}
	buf_wipe(&token);
	buf_fini(&token);
	return e == ERR_OK ? result_is(c, r) : e;
}

enum err command_invite_list(struct call *c)
{
	size_t n = invites_count(c->cx->node), from = n > LIST_MAX ? n - LIST_MAX : 0;
	json_t *list = json_array();

	for (size_t i = n; i-- > from;)
		(void)json_array_append_new(list, entry_json(c->cx, invites_at(c->cx->node, i)));
	return result_is(c, json_pack("{s:s, s:o, s:I}", "schema", "ironmesh.invites/1", "invites", list, "count", (json_int_t)n));
}

enum err command_invite_revoke(struct call *c)
{
	struct invite_entry x;
	enum err e = invites_revoke(c->cx->node, arg_text(c, "id"), &x, c->f);
	json_t *r = e == ERR_OK ? entry_json(c->cx, &x) : NULL;

	if (e != ERR_OK)
		return e;
	if (r)
		(void)json_object_set_new(r, "schema", json_string("ironmesh.invite/1"));
	return result_is(c, r);
}

/* --- following one ------------------------------------------------------------------------------------------- */
struct accepting {
	struct command_ctx *cx;
	struct request *request;
	struct invite v;
};

static void accepting_cancel(struct request *r)
{
	struct accepting *a = r->state;

	invites_forget(a->cx->node, a);
	free(a);
}

static void accepted(void *ctx, const struct fault *f)
{
	struct accepting *a = ctx;

	if (f)
		request_fail(a->request, f);
	else
		request_answer(a->request,
			       json_pack("{s:s, s:o, s:s, s:o, s:o}", "schema", "ironmesh.invite.accepted/1", "peer",
					 peer_ref(a->cx, &a->v.inviter), "endpoint", a->v.endpoint, "profile",
					 text_or_null(a->v.profile), "allowed_peers", text_or_null(a->v.allowed_peers)));
	free(a);
}

enum err command_invite_accept(struct call *c)
{
	struct accepting *a = calloc(1, sizeof *a);
	enum err e;

	if (!a)
		return no_memory(c);
	a->cx = c->cx;
	a->request = c->request;
	/* Before the call: the end may come inside it. */
	c->request->state = a;
	c->request->cancel = accepting_cancel;
	c->later = true;
	e = invites_accept(c->cx->node, arg_bytes(c, "token"), &a->v, accepted, a, c->f);
	if (e == ERR_OK)
		return ERR_OK;
	c->later = false;
	c->request->cancel = NULL;
	free(a);
	return e;
}
