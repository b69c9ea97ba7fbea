/* What goes out: the headers that every answer has, and errors. */
#include "web/web_internal.h"

#include <time.h>

#include "base/text.h"

#define OUT_MAX (4u << 20)

/* docs/http-api.md says what each is for. */
#define EVERY_ANSWER                                                                               \
	"content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; "       \
	"connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; "      \
	"form-action 'none'; require-trusted-types-for 'script'; trusted-types lit-html\r\n"       \
	"cross-origin-opener-policy: same-origin\r\n"                                              \
	"cross-origin-resource-policy: same-origin\r\n"                                            \
	"cross-origin-embedder-policy: require-corp\r\n"                                           \
	"referrer-policy: no-referrer\r\n"                                                         \
	"x-content-type-options: nosniff\r\n"                                                      \
	"x-frame-options: DENY\r\n"                                                                \
	"permissions-policy: camera=(), geolocation=(), microphone=(), payment=(), usb=(), clipboard-read=()\r\n"

static const char *reason_of(int status)
{
	static const struct {
		int status;
		const char *text;
	} list[] = {
		{ 200, "OK" }, { 304, "Not Modified" }, { 400, "Bad Request" }, { 401, "Unauthorized" },
		{ 403, "Forbidden" }, { 404, "Not Found" }, { 405, "Method Not Allowed" }, { 406, "Not Acceptable" },
		{ 409, "Conflict" }, { 411, "Length Required" }, { 413, "Content Too Large" },
		{ 415, "Unsupported Media Type" }, { 421, "Misdirected Request" }, { 422, "Unprocessable Content" },
		{ 426, "Upgrade Required" }, { 429, "Too Many Requests" }, { 500, "Internal Server Error" },
		{ 503, "Service Unavailable" }, { 504, "Gateway Timeout" },
	};

	for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
		if (list[i].status == status)
			return list[i].text;
	return "Error";
}

static void date(struct conn *c, char out[static 40])
{
	time_t t = (time_t)(env_wall(c->w->c.env) / 1000);
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(out, 40, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

static void head(struct conn *c, int status, const char *type, size_t length, const char *headers)
{
	char now[40];

	date(c, now);
	buf_init(&c->out, OUT_MAX);
	/* lws wants room before what it is given. */
	(void)!buf_reserve(&c->out, LWS_PRE + 2048 + (c->verb == VERB_HEAD ? 0 : length));
	for (int i = 0; i < LWS_PRE; i++)
		buf_add_u8(&c->out, 0);
	buf_printf(&c->out, "HTTP/1.1 %d %s\r\ndate: %s\r\n", status, reason_of(status), now);
	buf_add_str(&c->out, EVERY_ANSWER);
	if (type)
		buf_printf(&c->out, "content-type: %s\r\n", type);
	if (status != 304)
		buf_printf(&c->out, "content-length: %zu\r\n", length);
	if (headers)
		buf_add_str(&c->out, headers);
	if (c->close)
		buf_add_str(&c->out, "connection: close\r\n");
	buf_add_str(&c->out, "\r\n");
	c->asset = bytes_of(NULL, 0);
}

/* What could not be built is not half sent. */
static void finish(struct conn *c)
{
	if (c->out.err != ERR_OK) {
		buf_fini(&c->out);
		c->close = true;
		head(c, 503, NULL, 0, "cache-control: no-store\r\n");
	}
	web_conn_send(c);
}

void answer_bytes(struct conn *c, int status, const char *type, const char *headers, struct bytes body)
{
	char more[400];

	snprintf(more, sizeof more, "cache-control: no-store\r\n%s", headers ? headers : "");
	head(c, status, type, body.n, more);
	if (c->verb != VERB_HEAD)
		buf_add(&c->out, body);
	finish(c);
}

void answer_asset(struct conn *c, const char *type, const char *tag, struct bytes gzipped)
{
	char more[200];

	snprintf(more, sizeof more, "cache-control: no-cache\r\nvary: accept-encoding\r\ncontent-encoding: gzip\r\netag: %s\r\n", tag);
	head(c, 200, type, gzipped.n, more);
	if (c->verb != VERB_HEAD)
		c->asset = gzipped;
	finish(c);
}

void answer_not_modified(struct conn *c, const char *tag)
{
	char more[120];

	snprintf(more, sizeof more, "cache-control: no-cache\r\nvary: accept-encoding\r\netag: %s\r\n", tag);
	head(c, 304, NULL, 0, more);
	finish(c);
}

void answer_json(struct conn *c, int status, json_t *v, const char *headers)
{
	struct buf b;

	buf_init(&b, OUT_MAX / 2);
	if (!v || json_write(&b, v, JSON_INSERTION) != ERR_OK) {
		json_decref(v);
		buf_fini(&b);
		answer_error(c, 503, ERR_NOMEM, "the daemon has no memory for this", NULL, NULL);
		return;
	}
	buf_add_u8(&b, '\n');
	answer_bytes(c, status, "application/json", headers, buf_bytes(&b));
	buf_fini(&b);
	json_decref(v);
}

/* --- errors -------------------------------------------------------------------------------------------- */
int status_of(enum err e)
{
	switch (e) {
	case ERR_USAGE:
	case ERR_MALFORMED:
		return 400;
	case ERR_DENIED:
		return 403;
	case ERR_NOTFOUND:
	case ERR_AMBIGUOUS:
		return 404;
	case ERR_EXISTS:
	case ERR_WRONG_STATE:
	case ERR_DUPLICATE:
		return 409;
	case ERR_LIMIT:
		return 413;
	case ERR_UNTRUSTED:
	case ERR_AUTH:
	case ERR_KEY_CHANGED:
	case ERR_DOWNGRADE:
		return 422;
	case ERR_FULL:
	case ERR_AGAIN:
	case ERR_CLOSED:
	case ERR_STORE:
	case ERR_NOMEM:
		return 503;
	case ERR_TIMEOUT:
		return 504;
	case ERR_UNSUPPORTED:
		return 409;
	default:
		return 500;
	}
}

static void add_text(json_t *o, const char *key, const char *text)
{
	char safe[1024];

	if (text && text[0])
		json_object_set_new(o, key, json_string(text_safe(bytes_str(text), safe, sizeof safe)));
}

static void put(struct conn *c, int status, const struct fault *f)
{
	json_t *data = json_pack("{s:s, s:i}", "err", err_word(f->err), "exit", (int)f->code);
	json_t *error = json_pack("{s:i}", "code", f->err == ERR_USAGE ? -32602 : -32000);
	const char *more = NULL;

	add_text(error, "message", f->what);
	add_text(data, "means", f->means);
	add_text(data, "next", f->next);
	json_object_set_new(error, "data", data);
	if (status == 401)
		more = "www-authenticate: Bearer realm=\"ironmesh\"\r\n";
	else if (status == 429 || status == 503)
		more = "retry-after: 5\r\n";
	/* What is left of a body that nobody reads. */
	if (c->phase == CONN_HEAD && c->body_want)
		c->close = true;
	answer_json(c, status, json_pack("{s:o}", "error", error), more);
}

void answer_fault(struct conn *c, const struct fault *f)
{
	put(c, status_of(f->err), f);
}

void answer_error(struct conn *c, int status, enum err e, const char *what, const char *means, const char *next)
{
	struct fault f = { 0 };

	fault_set(&f, e, EXIT_GENERIC, "%s", what);
	if (e == ERR_USAGE)
		f.code = EXIT_USAGE;
	else if (e == ERR_DENIED)
		f.code = EXIT_POLICY;
	else if (status == 503 || status == 429)
		f.code = EXIT_RETRY;
	if (means)
		fault_means(&f, "%s", means);
	if (next)
		fault_next(&f, "%s", next);
	put(c, status, &f);
}
