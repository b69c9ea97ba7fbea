/* Commands: the parameters, the run, the answer. */
#include "web/web_internal.h"

#include "base/text.h"

json_t *parse_object(struct conn *c)
{
	json_t *v = NULL;

	if (c->body.n == 0)
		v = json_object();
	else if (json_load_strict(buf_bytes(&c->body), c->body.n, &v) != ERR_OK || !json_is_object(v)) {
		json_decref(v);
		answer_error(c, 400, ERR_USAGE, "the body is not one JSON object", NULL, NULL);
		return NULL;
	}
	if (!v)
		answer_error(c, 503, ERR_NOMEM, "the daemon has no memory for this", NULL, NULL);
	buf_fini(&c->body);
	return v;
}

/* A connection that waits for longer is better a stream. */
static bool waits_too_long(struct conn *c, const json_t *params)
{
	static const char *const names[] = { "wait_ms", "timeout_ms" };
	char text[80];

	for (size_t i = 0; i < 2; i++)
		if (json_integer_value(json_object_get(params, names[i])) > WEB_WAIT_MAX_MS) {
			snprintf(text, sizeof text, "'%s' is at most %d over HTTP", names[i], WEB_WAIT_MAX_MS);
			answer_error(c, 400, ERR_USAGE, text, NULL, NULL);
			return true;
		}
	return false;
}

static void done(void *ctx, struct bytes result, const struct fault *f)
{
	struct conn *c = ctx;

	c->call = NULL;
	if (f)
		answer_fault(c, f);
	else
		answer_bytes(c, 200, "application/json", NULL, result);
}

void api_run(struct conn *c)
{
	const struct web_host *h = &c->w->c.host;
	json_t *params = c->params;
	void *call;

	c->params = NULL;
	if (!params) {
		params = parse_object(c);
		if (!params)
			return;
	}
	if (!waits_too_long(c, params)) {
		call = h->run(h->ctx, &c->method, params, done, c);
		/* An answer that is there already has set c->call to NULL, and so is `call`. */
		if (call)
			c->call = call;
	}
	json_decref(params);
}
