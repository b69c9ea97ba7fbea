/* pair.* */
#include "daemon/commands_internal.h"
#include "daemon/pairing.h"

static json_t *listening(const struct command_ctx *cx)
{
	json_t *list = json_array();

	for (size_t i = 0; i < sizeof cx->info.listen / sizeof cx->info.listen[0]; i++)
		if (cx->info.listen[i][0])
			(void)json_array_append_new(list, json_string(cx->info.listen[i]));
	return list;
}

enum err command_pair_show(struct call *c)
{
	struct pairing_show s = { .compare = arg_bool(c, "compare", false), .pin_only = arg_bool(c, "pin_only", false),
				  .give_passphrase = arg_bool(c, "give_passphrase", false),
				  .again = arg_bool(c, "again", false) };
	char code[IM2_CODE_TEXT];
	uint64_t until;
	json_t *listen = listening(c->cx);
	enum err e;

	if (!json_array_size(listen)) {
		json_decref(listen);
		fault_set(c->f, ERR_WRONG_STATE, EXIT_GENERIC, "this node does not listen, so nobody can reach it");
		fault_means(c->f, "show the code on the other machine, and type it here");
		fault_next(c->f, "ironmesh pair CODE --at HOST:PORT");
		return ERR_WRONG_STATE;
	}
	e = pairing_show(c->cx->node, &s, code, &until, c->f);
	if (e != ERR_OK) {
		json_decref(listen);
		return e;
	}
	return result_is(c, json_pack("{s:s, s:o, s:I, s:o}", "schema", "ironmesh.pair/1", "code", text_or_null(code),
				      "expires_in_ms", (json_int_t)(until - env_now(c->cx->env)), "listen", listen));
}

enum err command_pair_type(struct call *c)
{
	struct pairing_type t = { .compare = arg_bool(c, "compare", false), .pin_only = arg_bool(c, "pin_only", false) };
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
	return result_is(c, json_pack("{s:s, s:s}", "schema", "ironmesh.pair/1", "state", at ? "dialling" : "searching"));
}

enum err command_pair_verdict(struct call *c)
{
	enum err e = pairing_verdict(c->cx->node, arg_bool(c, "same", false), c->f);

	return e == ERR_OK ? result_is(c, json_pack("{s:s}", "schema", "ironmesh.pair/1")) : e;
}

enum err command_pair_stop(struct call *c)
{
	pairing_stop(c->cx->node);
	return result_is(c, json_pack("{s:s}", "schema", "ironmesh.pair/1"));
}
