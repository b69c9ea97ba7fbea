/* What stands before every handler: names, origin, who calls, where the path leads, what it carries. */
#include "web/web_internal.h"

#include "base/log.h"
#include "base/text.h"

#define FAILURES_BURST 20
#define FAILURES_PER_S 0.2
#define SMALL_BODY 4096

static const struct route ROUTES[] = {
	{ VERB_GET, "/livez", NULL, 0, ROLE_NONE, page_livez },
	{ VERB_GET, "/readyz", NULL, 0, ROLE_NONE, page_readyz },
	{ VERB_GET, "/metrics", NULL, 0, ROLE_NONE, page_metrics },
	{ VERB_POST, "/api/v1/session", NULL, SMALL_BODY, ROLE_NONE, login_create },
	{ VERB_GET, "/api/v1/session", NULL, 0, ROLE_READ, login_show },
	{ VERB_DELETE, "/api/v1/session", NULL, 0, ROLE_READ, login_delete },
	{ VERB_GET, "/api/v1/sessions", NULL, 0, ROLE_ADMIN, logins_show },
	{ VERB_DELETE, NULL, "/api/v1/sessions/", 0, ROLE_ADMIN, logins_delete },
	{ VERB_GET, "/api/v1/qr", NULL, 0, ROLE_READ, page_qr },
};
static const struct route ASSET = { VERB_GET, NULL, NULL, 0, ROLE_NONE, page_asset };
static const struct route COMMAND_POST = { VERB_POST, NULL, NULL, WEB_BODY_MAX, ROLE_NONE, api_run };
static const struct route COMMAND_GET = { VERB_GET, NULL, NULL, 0, ROLE_NONE, api_run };

const struct route *route_at(size_t i)
{
	return i < sizeof ROUTES / sizeof ROUTES[0] ? &ROUTES[i] : NULL;
}

/* --- who calls -------------------------------------------------------------------------------------------- */
static struct bucket *failures_of(struct conn *c)
{
	struct bucket *b;
	bool created;
	void *slot;

	if (map_put(c->w->failures, bytes_str(c->source), 0, &slot, &created) != ERR_OK)
		return NULL;
	b = slot;
	if (created)
		bucket_init(b, FAILURES_PER_S, FAILURES_BURST, web_now(c->w));
	return b;
}

/*
 * The secrets have 256 bits: nobody guesses one. What is limited is what a flood of wrong ones costs and writes.
 * A right secret is taken however many wrong ones came from the same address: on this machine that is everybody's.
 */
static bool failure_noted(struct conn *c, const char *what)
{
	struct bucket *b = failures_of(c);
	const struct web_host *h = &c->w->c.host;

	c->w->n.refused_auth++;
	if (!b || !bucket_take(b, 1, web_now(c->w))) {
		c->w->n.refused_limit++;
		return false;
	}
	log_warn("http-auth-failed what=%s from=%s", what, c->address);
	h->audit(h->ctx, "HTTP_AUTH_FAILED", c->source, "what", what);
	return true;
}

void refuse_secret(struct conn *c, const char *word, const char *what, const char *means, const char *next)
{
	if (failure_noted(c, word))
		answer_error(c, 401, ERR_AUTH, what, means, next);
	else
		answer_error(c, 429, ERR_AGAIN, "too many wrong tokens or codes came from this address", NULL, next);
}

/* Without any secret, or with the cookie of a session that is over. */
void refuse_nobody(struct conn *c)
{
	c->w->n.refused_auth++;
	answer_error(c, 401, ERR_AUTH, "nobody is signed in, or the session is over", NULL,
		     "ironmesh dashboard, or a token: ironmesh token create --role read");
}

static struct caller caller_of_token(struct web *w, struct bytes token)
{
	const struct token *t = tokens_find(&w->tokens, token, env_wall(w->c.env));

	return (struct caller){ .role = t ? t->role : ROLE_NONE, .token = t };
}

bool caller_lives(const struct conn *c)
{
	struct web *w = c->w;
	const struct token *t = c->token_id[0] ? tokens_by_id(&w->tokens, c->token_id) : NULL;

	if (c->session_id[0] && !logins_by_id(&w->logins, bytes_str(c->session_id)))
		return false;
	return !c->token_id[0] || (t && token_lives(t, env_wall(w->c.env)));
}

static struct login *login_of(struct web *w, struct bytes cookie)
{
	struct login *s = NULL;
	struct bytes value;
	size_t at = 0;

	/* All of them: another program of this machine may have set any number before ours. */
	while (!s && cookie_next(cookie, w->cookie, &at, &value))
		s = logins_find(&w->logins, value);
	return s;
}

/* False: it was answered. An upgrade brings its csrf with the first message. */
static bool find_caller(struct conn *c, const struct request_head *r, bool upgrade)
{
	struct web *w = c->w;
	struct bytes token;
	struct login *s;

	c->caller = (struct caller){ 0 };
	c->session_id[0] = c->token_id[0] = 0;
	if (r->authorization.n) {
		if (bearer_of(r->authorization, &token))
			c->caller = caller_of_token(w, token);
		if (c->caller.role != ROLE_NONE) {
			memcpy(c->token_id, c->caller.token->id, sizeof c->token_id);
			return true;
		}
		refuse_secret(c, "token", "this token is not one of ours, or has expired", NULL, "ironmesh token list");
		return false;
	}
	s = login_of(w, r->cookie);
	if (!s)
		return true; /* nobody in particular */
	if ((r->verb != VERB_GET && r->verb != VERB_HEAD && r->origin.n == 0) || (upgrade && r->origin.n == 0)) {
		w->n.refused_origin++;
		answer_error(c, 403, ERR_DENIED, "a session is used by its page alone: the request has no Origin", NULL, NULL);
		return false;
	}
	if (!upgrade && !login_csrf_is(s, r->csrf)) {
		/* Without its second secret a cookie is nobody, which is enough for what needs nobody. */
		c->caller.role = ROLE_NONE;
		return true;
	}
	login_used(&w->logins, s);
	c->caller = (struct caller){ .role = s->role, .session = s };
	memcpy(c->session_id, s->id, sizeof c->session_id);
	return true;
}

/* --- where it goes -------------------------------------------------------------------------------------------- */
static bool route_fits(struct conn *c, const struct route *t, const struct request_head *r)
{
	struct bytes rest;

	if (t->path)
		return bytes_eq(r->path, bytes_str(t->path));
	if (!path_below(r->path, t->below, &rest))
		return false;
	memcpy(c->rest, rest.p, rest.n);
	c->rest[rest.n] = 0;
	return true;
}

static bool find_command(struct conn *c, const struct request_head *r, struct fault *f)
{
	const struct web_host *h = &c->w->c.host;
	struct bytes name;

	if (!path_method(r->path, &name) || !h->find(h->ctx, name, &c->method, f))
		return false;
	if (r->verb == VERB_POST)
		c->route = &COMMAND_POST;
	else if (r->verb == VERB_GET && c->method.role == ROLE_READ)
		c->route = &COMMAND_GET;
	return true;
}

/* Sets c->route. False: it was answered. */
static bool find_route(struct conn *c, const struct request_head *r)
{
	enum verb verb = r->verb == VERB_HEAD ? VERB_GET : r->verb;
	bool there = false;
	struct fault f = { 0 };
	const struct route *t;

	c->route = NULL;
	c->method = (struct web_method){ 0 };
	for (size_t i = 0; (t = route_at(i)); i++)
		if (route_fits(c, t, r)) {
			there = true;
			if (t->verb == verb)
				c->route = t;
		}
	if (!there && asset_find(r->path)) {
		there = true;
		c->route = verb == VERB_GET ? &ASSET : NULL;
		memcpy(c->rest, r->path.p, r->path.n); /* the path of an asset is short */
		c->rest[r->path.n] = 0;
	}
	if (!there)
		there = find_command(c, r, &f);
	if (c->route)
		return true;
	if (there)
		answer_error(c, 405, ERR_UNSUPPORTED, "this is not asked for in this way",
			     c->method.of ? "GET is for methods that only read; POST for all" : NULL, NULL);
	else if (f.what[0])
		answer_error(c, 404, ERR_UNSUPPORTED, f.what, f.means, f.next);
	else
		answer_error(c, 404, ERR_NOTFOUND, "there is nothing under this address", NULL, NULL);
	return false;
}

/* False: it was answered. */
static bool may_call(struct conn *c, const struct request_head *r)
{
	struct web *w = c->w;
	enum role need = c->method.of ? c->method.role : c->route->role;
	char text[160];

	if (c->method.of && need == ROLE_NONE) {
		w->n.refused_role++;
		answer_error(c, 403, ERR_DENIED, "this is done on the command line of the machine alone, never over HTTP", NULL, NULL);
		return false;
	}
	if (need <= c->caller.role)
		return true;
	if (c->caller.role != ROLE_NONE) {
		w->n.refused_role++;
		snprintf(text, sizeof text, "this needs the role %s, and the caller has %s", role_word(need), role_word(c->caller.role));
		answer_error(c, 403, ERR_DENIED, text, NULL, c->caller.token ? "ironmesh token create --role ROLE" : "ironmesh dashboard");
		return false;
	}
	if (login_of(w, r->cookie)) {
		w->n.refused_csrf++;
		answer_error(c, 403, ERR_DENIED, "the request has the cookie of a session, and not its X-Ironmesh-CSRF",
			     "another page or program may have sent it", NULL);
		return false;
	}
	refuse_nobody(c);
	return false;
}

/* False: it was answered. */
static bool body_fits(struct conn *c, const struct request_head *r)
{
	if (r->chunked) {
		answer_error(c, 411, ERR_UNSUPPORTED, "a request needs a Content-Length", NULL, NULL);
		return false;
	}
	if (r->length > c->route->body_max) {
		c->w->n.refused_limit++;
		answer_error(c, 413, ERR_LIMIT, c->route->body_max ? "the request is too large" : "this request has no body", NULL, NULL);
		return false;
	}
	if (r->length && c->w->bodies + r->length > BODIES_MAX) {
		c->w->n.refused_limit++;
		answer_error(c, 503, ERR_FULL, "too many large requests are on their way", NULL, NULL);
		return false;
	}
	if (c->route->body_max && !is_json(r->content_type)) {
		answer_error(c, 415, ERR_USAGE, "a request is application/json", NULL, NULL);
		return false;
	}
	return true;
}

/* --- the order of it ---------------------------------------------------------------------------------------------- */
static bool refuse_live(struct conn *c)
{
	if (c->w->n_streams < STREAMS_MAX)
		return false;
	c->w->n.refused_limit++;
	answer_error(c, 503, ERR_FULL, "there are 16 live streams already", NULL, NULL);
	return true;
}

static bool live_fits(struct conn *c, const struct request_head *r)
{
	if (!bytes_eq(r->path, BYTES_LIT("/api/v1/live"))) {
		answer_error(c, 404, ERR_NOTFOUND, "there is no stream under this address", NULL, NULL);
		return false;
	}
	if (!find_caller(c, r, true))
		return false;
	if (c->caller.role < ROLE_READ) {
		refuse_nobody(c);
		return false;
	}
	return !refuse_live(c);
}

static void refuse_name(struct conn *c, int status, const char *what, const char *means, const char *next)
{
	/* It may be somebody's page that tries: nothing more on this connection. */
	c->close = true;
	answer_error(c, status, ERR_DENIED, what, means, next);
}

bool routes_check(struct conn *c, const struct request_head *r, bool upgrade)
{
	struct web *w = c->w;
	bool proxied = false;

	if (!host_allowed(&w->names, r->host, &proxied)) {
		w->n.refused_host++;
		refuse_name(c, 421, "this node does not answer under the name that was asked for",
			    "a page of a stranger can make its own name point here; only known names are answered",
			    "ironmesh run --http-name NAME, if it is yours");
		return false;
	}
	if (r->origin.n && !origin_is(r->origin, r->host, proxied)) {
		w->n.refused_origin++;
		refuse_name(c, 403, "another page than ours sent this request", NULL, NULL);
		return false;
	}
	if (!fetch_is_ours(r->fetch_site) && !(fetch_navigates(r) && bytes_eq(r->path, BYTES_LIT("/")))) {
		w->n.refused_origin++;
		refuse_name(c, 403, "another page than ours sent this request", NULL, NULL);
		return false;
	}
	if (upgrade)
		return live_fits(c, r);
	if (bytes_eq(r->path, BYTES_LIT("/api/v1/live"))) {
		answer_error(c, 426, ERR_UNSUPPORTED, "this is a WebSocket", NULL, NULL);
		return false;
	}
	return find_caller(c, r, false) && find_route(c, r) && may_call(c, r) && body_fits(c, r);
}
