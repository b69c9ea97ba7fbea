/* http.* and token.*: the door of the dashboard, and who else may use it. Never over HTTP itself. */
#include "daemon/commands_internal.h"
#include "daemon/http.h"

#include "base/file.h"
#include "base/secret.h"
#include "web/tokens.h"

/* --- the dashboard ---------------------------------------------------------------------------------------------- */
enum err command_http_code(struct call *c)
{
	const char *word = arg_text(c, "role");
	enum role role = ROLE_ADMIN;
	char code[SECRET_HEX + 1], url[WEB_URL_MAX + SECRET_HEX + 16];
	json_t *r;
	enum err e;

	if (word && (!role_parse(word, &role) || role < ROLE_READ))
		return bad_param(c, "role", "read, send or admin");
	e = http_open(c->cx->http, c->f);
	if (e != ERR_OK)
		return e;
	web_code(http_web(c->cx->http), role, code);
	/* Behind '#': a browser sends that to nobody. */
	snprintf(url, sizeof url, "%s#code=%s", web_url(http_web(c->cx->http)), code);
	r = json_pack("{s:s, s:s, s:s, s:I}", "schema", "ironmesh.dashboard/1", "url", url, "role", role_word(role), "expires_ms",
		      (json_int_t)(env_wall(c->cx->env) + CODE_MS));
	wipe(code, sizeof code);
	wipe(url, sizeof url);
	command_audit(c->cx, "HTTP_CODE_MADE", NULL, NULL);
	return result_is(c, r);
}

json_t *http_json(const struct command_ctx *cx)
{
	const struct web *w = cx->http ? http_web(cx->http) : NULL;

	if (!w)
		return json_null();
	return json_pack("{s:o, s:i}", "url", text_or_null(web_url(w)), "sessions", (int)web_sessions(w));
}

enum err command_http_status(struct call *c)
{
	struct web *w = http_web(c->cx->http);
	const struct web_counters *n = web_counters(w);
	json_t *counters = json_object();

#define X(member, name) (void)json_object_set_new(counters, name, json_integer((json_int_t)n->member));
	WEB_COUNTERS(X)
#undef X
	return result_is(c, json_pack("{s:s, s:o, s:i, s:i, s:o}", "schema", "ironmesh.http/1", "url", text_or_null(web_url(w)),
				      "sessions", (int)web_sessions(w), "connections", (int)web_connections(w), "counters", counters));
}

enum err command_http_close(struct call *c)
{
	struct web *w = http_web(c->cx->http);
	unsigned ended = web_sessions(w);

	web_end_sessions(w);
	command_audit(c->cx, "HTTP_SESSIONS_ENDED", NULL, NULL);
	return result_is(c, json_pack("{s:s, s:i}", "schema", "ironmesh.sessions.ended/1", "ended", (int)ended));
}

enum err command_metrics(struct call *c)
{
	struct buf b;
	json_t *r;

	buf_init(&b, RESULT_MAX / 2);
	http_metrics(c->cx->http, &b, arg_bool(c, "openmetrics", true));
	r = json_pack("{s:s, s:o}", "schema", "ironmesh.metrics/1", "text", json_stringn((const char *)b.p, b.n));
	buf_fini(&b);
	return result_is(c, r);
}

/* --- tokens -------------------------------------------------------------------------------------------------------- */
static void note(struct command_ctx *cx, const char *event, const struct token *t)
{
	if (cx->audit)
		audit_note(cx->audit, event, (struct bytes){ 0 }, "token", t->id, "role", role_word(t->role), NULL);
}

static enum err load(struct call *c, char path[static 4096], struct tokens *t)
{
	if (path_join(path, 4096, c->cx->home, TOKENS_FILE) != ERR_OK)
		return fault_set(c->f, ERR_LIMIT, EXIT_CONFIG, "the path of the home folder is too long");
	return tokens_load(path, t, c->f);
}

static enum err save(struct call *c, const char *path, const struct tokens *t)
{
	enum err e = tokens_save(path, t, c->f);

	if (e == ERR_OK && c->cx->http)
		web_tokens_changed(http_web(c->cx->http));
	return e;
}

static json_t *token_json(const struct token *t, uint64_t wall)
{
	return json_pack("{s:s, s:o, s:s, s:I, s:I, s:b}", "id", t->id, "name", text_or_null(t->name), "role", role_word(t->role),
			 "created_ms", (json_int_t)t->created_ms, "expires_ms", (json_int_t)t->expires_ms, "expired",
			 t->expires_ms && t->expires_ms <= wall);
}

enum err command_token_create(struct call *c)
{
	const char *name = arg_text(c, "name") ? arg_text(c, "name") : "";
	char path[4096], text[TOKEN_TEXT + 1];
	const struct token *made;
	struct tokens t;
	enum role role;
	json_t *r;
	enum err e;

	if (!role_parse(arg_text(c, "role"), &role))
		return bad_param(c, "role", "metrics, read, send or admin");
	if (name[0] && !name_valid(bytes_str(name)))
		return bad_param(c, "name", "1 to 64 letters, digits, '.', '_' and '-', not beginning with '-'");
	e = load(c, path, &t);
	if (e == ERR_OK)
		e = tokens_add(&t, c->cx->env, role, name, (uint64_t)arg_int(c, "life_ms", 0), text, &made, c->f);
	if (e == ERR_OK)
		e = save(c, path, &t);
	if (e != ERR_OK)
		return e;
	note(c->cx, "HTTP_TOKEN_CREATED", made);
	r = token_json(made, env_wall(c->cx->env));
	(void)json_object_set_new(r, "schema", json_string("ironmesh.token/1"));
	(void)json_object_set_new(r, "token", json_string(text));
	wipe(text, sizeof text);
	return result_is(c, r);
}

enum err command_token_list(struct call *c)
{
	uint64_t wall = env_wall(c->cx->env);
	json_t *list;
	char path[4096];
	struct tokens t;
	enum err e = load(c, path, &t);

	if (e != ERR_OK)
		return e;
	list = json_array();
	for (size_t i = 0; i < t.n; i++)
		(void)json_array_append_new(list, token_json(&t.list[i], wall));
	return result_is(c, json_pack("{s:s, s:o}", "schema", "ironmesh.tokens/1", "tokens", list));
}

enum err command_token_revoke(struct call *c)
{
	struct token was;
	char path[4096];
	struct tokens t;
	json_t *r;
	enum err e = load(c, path, &t);

	if (e == ERR_OK)
		e = tokens_remove(&t, arg_text(c, "token"), &was, c->f);
	if (e == ERR_OK)
		e = save(c, path, &t);
	if (e != ERR_OK)
		return e;
	note(c->cx, "HTTP_TOKEN_REVOKED", &was);
	r = token_json(&was, env_wall(c->cx->env));
	(void)json_object_set_new(r, "schema", json_string("ironmesh.token.revoked/1"));
	return result_is(c, r);
}
