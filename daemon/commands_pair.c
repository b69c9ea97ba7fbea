/* pair.* */
#include "daemon/commands_internal.h"
#include "daemon/lan.h"
#include "daemon/pairing.h"

/* A pairing lives as long as the connection that asked for it. */
static void owner_gone(void *ctx, const struct subscriber *s)
{
	struct node *n = ((struct command_ctx *)ctx)->node;

	if (n)
		pairing_owner_gone(n, s);
}

static const void *owner(struct call *c)
{
	struct subscriber *s = c->request->subscriber;

	if (!s)
		return NULL;
	s->gone = owner_gone;
	s->gone_ctx = c->cx;
	return s;
}

static json_t *listening(const struct command_ctx *cx)
{
	json_t *list = json_array();

	for (size_t i = 0; i < sizeof cx->info.listen / sizeof cx->info.listen[0]; i++)
		if (cx->info.listen[i][0])
			(void)json_array_append_new(list, json_string(cx->info.listen[i]));
	return list;
}

static const char *gives_word(enum pairing_gives g)
{
	return g == PAIRING_GIVES_KEY ? "mesh-key" : g == PAIRING_GIVES_PASSPHRASE ? "passphrase" : "nothing";
}

enum err command_pair_show(struct call *c)
{
	struct pairing_show s = { .owner = owner(c), .compare = arg_bool(c, "compare", false),
				  .pin_only = arg_bool(c, "pin_only", false),
				  .give_passphrase = arg_bool(c, "give_passphrase", false),
				  .again = arg_bool(c, "again", false) };
	struct pairing_shown shown;
	json_t *listen = listening(c->cx), *result;
	enum err e = ERR_WRONG_STATE;

	if (json_array_size(listen)) {
		e = pairing_show(c->cx->node, &s, &shown, c->f);
	} else {
		fault_set(c->f, e, EXIT_GENERIC, "this node does not listen, so nobody can reach it");
		fault_means(c->f, "show the code on the other machine, and type it here");
		fault_next(c->f, "ironmesh pair CODE --at HOST:PORT");
	}
	if (e != ERR_OK) {
		json_decref(listen);
		return e;
	}
	result = json_pack("{s:s, s:o, s:I, s:o, s:s}", "schema", "ironmesh.pair/1", "code",
			   text_or_null(shown.code[0] ? shown.code : NULL), "expires_in_ms",
			   (json_int_t)(shown.until_ms - env_now(c->cx->env)), "listen", listen, "gives", gives_word(shown.gives));
	wipe(shown.code, sizeof shown.code);
	return result_is(c, result);
}

enum err command_pair_type(struct call *c)
{
	struct pairing_type t = { .owner = owner(c), .compare = arg_bool(c, "compare", false),
				  .pin_only = arg_bool(c, "pin_only", false) };
	const char *code = arg_text(c, "code"), *at = arg_text(c, "at");
	enum err e;

	if (!code == !t.compare)
		return fault_set(c->f, ERR_USAGE, EXIT_USAGE, "exactly one of 'code' and 'compare' is needed");
	if (code && im2_code_parse(bytes_str(code), t.digits) != ERR_OK) {
		fault_set(c->f, ERR_USAGE, EXIT_USAGE, "this is not a code: it has eight digits, such as 42-307-915");
		fault_next(c->f, "ironmesh pair   (on the other machine shows one)");
		return ERR_USAGE;
	}
	snprintf(t.address, sizeof t.address, "%s", at ? at : "");
	e = pairing_type(c->cx->node, &t, c->f);
	wipe(t.digits, sizeof t.digits);
	if (e != ERR_OK)
		return e;
	return result_is(c, json_pack("{s:s, s:s, s:o}", "schema", "ironmesh.pair/1", "state", at ? "dialling" : "searching", "why",
				      text_or_null(at ? NULL : lan_blind(c->cx->info.lan))));
}

enum err command_pair_verdict(struct call *c)
{
	enum err e = pairing_verdict(c->cx->node, arg_bool(c, "same", false), c->f);

	return e == ERR_OK ? result_is(c, json_pack("{s:s}", "schema", "ironmesh.pair/1")) : e;
}

enum err command_pair_stop(struct call *c)
{
	pairing_cancel(c->cx->node);
	return result_is(c, json_pack("{s:s}", "schema", "ironmesh.pair/1"));
}
