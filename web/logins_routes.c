/* The routes of sessions. */
#include "web/web_internal.h"

#include "base/secret.h"

static json_t *login_json(struct web *w, const struct login *s)
{
	const struct web_host *h = &w->c.host;

	return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:o}", "schema", "ironmesh.session/1", "id", s->id, "role",
			 role_word(s->role), "created_ms", (json_int_t)s->created_wall_ms, "idle_ms",
			 (json_int_t)SESSION_IDLE_MS, "expires_ms", (json_int_t)s->ends_wall_ms, "node", h->node(h->ctx));
}

void login_create(struct conn *c)
{
	struct web *w = c->w;
	const struct web_host *h = &w->c.host;
	char cookie[SECRET_HEX + 1], csrf[SECRET_HEX + 1], headers[256];
	json_t *body = parse_object(c), *v;
	const char *code;
	struct login *s;

	if (!body)
		return;
	code = json_str(body, "code");
	s = code ? logins_open(&w->logins, bytes_str(code), c->address, cookie, csrf) : NULL;
	json_decref(body);
	if (!s) {
		refuse_secret(c, "code", "this code was used already, is older than a minute, or is none of ours",
			      "a code opens one session, once", "ironmesh dashboard");
		return;
	}
	w->n.logins_opened++;
	logins_save(w);
	h->audit(h->ctx, "HTTP_SESSION_OPENED", "", "role", role_word(s->role));
	v = login_json(w, s);
	json_object_set_new(v, "csrf", json_string(csrf));
	snprintf(headers, sizeof headers, "set-cookie: %s=%s; Path=/; HttpOnly; SameSite=Strict; Max-Age=%llu\r\n", w->cookie,
		 cookie, (unsigned long long)(SESSION_LIFE_MS / 1000));
	answer_json(c, 200, v, headers);
	wipe(cookie, sizeof cookie);
	wipe(csrf, sizeof csrf);
	wipe(headers, sizeof headers);
}

/* A token has no session. */
static bool has_login(struct conn *c)
{
	if (c->caller.session)
		return true;
	answer_error(c, 404, ERR_NOTFOUND, "a token has no session", NULL, NULL);
	return false;
}

void login_show(struct conn *c)
{
	if (has_login(c))
		answer_json(c, 200, login_json(c->w, c->caller.session), NULL);
}

static void end(struct conn *c, struct login *s)
{
	const struct web_host *h = &c->w->c.host;
	char id[SESSION_ID + 1];

	memcpy(id, s->id, sizeof id);
	login_end(s);
	logins_save(c->w);
	live_check_callers(c->w);
	h->audit(h->ctx, "HTTP_SESSION_ENDED", "", "id", id);
}

void login_delete(struct conn *c)
{
	char headers[160];

	if (!has_login(c))
		return;
	end(c, c->caller.session);
	c->caller.session = NULL;
	snprintf(headers, sizeof headers, "set-cookie: %s=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0\r\n", c->w->cookie);
	answer_json(c, 200, json_pack("{s:s, s:i}", "schema", "ironmesh.sessions.ended/1", "ended", 1), headers);
}

void logins_show(struct conn *c)
{
	struct logins *all = &c->w->logins;
	json_t *list = json_array();

	for (size_t i = 0; i < SESSIONS_MAX; i++) {
		const struct login *s = &all->list[i];

		if (!login_over(all, s))
			json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:I, s:I, s:I, s:s}", "id", s->id, "role",
							      role_word(s->role), "own", s == c->caller.session, "created_ms",
							      (json_int_t)s->created_wall_ms, "used_ms",
							      (json_int_t)s->used_wall_ms, "expires_ms",
							      (json_int_t)s->ends_wall_ms, "address", s->address));
	}
	answer_json(c, 200, json_pack("{s:s, s:o}", "schema", "ironmesh.sessions/1", "sessions", list), NULL);
}

void logins_delete(struct conn *c)
{
	struct login *s = logins_by_id(&c->w->logins, bytes_str(c->rest));

	if (!s) {
		answer_error(c, 404, ERR_NOTFOUND, "there is no such session", NULL, NULL);
		return;
	}
	end(c, s);
	answer_json(c, 200, json_pack("{s:s, s:i}", "schema", "ironmesh.sessions.ended/1", "ended", 1), NULL);
}
