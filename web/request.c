#include "web/request.h"

#include <arpa/inet.h>
#include <strings.h>

#include "base/text.h"

/* --- pieces of text --------------------------------------------------------------------------------- */
static bool is_word(struct bytes b, const char *word) /* without case */
{
	return b.n == strlen(word) && strncasecmp((const char *)b.p, word, b.n) == 0;
}

static bool begins(struct bytes b, const char *word)
{
	size_t n = strlen(word);

	return b.n >= n && strncasecmp((const char *)b.p, word, n) == 0;
}

static struct bytes trimmed(struct bytes b)
{
	while (b.n && (b.p[0] == ' ' || b.p[0] == '\t'))
		b = bytes_of(b.p + 1, b.n - 1);
	while (b.n && (b.p[b.n - 1] == ' ' || b.p[b.n - 1] == '\t'))
		b.n--;
	return b;
}

/* The next piece up to `end`; *at moves behind it. False at the end. */
static bool piece(struct bytes b, char end, size_t *at, struct bytes *out)
{
	const uint8_t *stop;
	size_t left;

	if (*at >= b.n)
		return false;
	left = b.n - *at;
	stop = memchr(b.p + *at, end, left);
	*out = bytes_of(b.p + *at, stop ? (size_t)(stop - (b.p + *at)) : left);
	*at += out->n + 1;
	*out = trimmed(*out);
	return true;
}

/* 1..65535 in decimal digits; 0: it is not. */
static uint16_t port_of(struct bytes b)
{
	unsigned v = 0;

	if (b.n == 0 || b.n > 5 || b.p[0] == '0')
		return 0;
	for (size_t i = 0; i < b.n; i++) {
		if (b.p[i] < '0' || b.p[i] > '9')
			return 0;
		v = v * 10 + (unsigned)(b.p[i] - '0');
	}
	return v <= 65535 ? (uint16_t)v : 0;
}

/* "name", "name:port", "[v6]", "[v6]:port". *port is 0 when none is said. */
static bool split_host(struct bytes b, struct bytes *name, uint16_t *port)
{
	const uint8_t *colon;
	size_t n;

	if (b.n == 0 || b.n > WEB_NAME_LEN + 6)
		return false;
	if (b.p[0] == '[') {
		const uint8_t *close = memchr(b.p, ']', b.n);

		if (!close)
			return false;
		n = (size_t)(close - b.p) + 1;
	} else {
		colon = memchr(b.p, ':', b.n);
		n = colon ? (size_t)(colon - b.p) : b.n;
	}
	if (n == 0 || n > WEB_NAME_LEN)
		return false;
	*name = bytes_of(b.p, n);
	*port = 0;
	if (n == b.n)
		return true;
	if (b.p[n] != ':')
		return false;
	*port = port_of(bytes_of(b.p + n + 1, b.n - n - 1));
	return *port != 0;
}

/* --- names ------------------------------------------------------------------------------------------- */
static bool name_is_plain(struct bytes b)
{
	struct in6_addr ignored;
	char v6[64];

	if (b.p[0] == '[') {
		if (b.n < 4 || b.n - 2 >= sizeof v6)
			return false;
		memcpy(v6, b.p + 1, b.n - 2);
		v6[b.n - 2] = 0;
		return inet_pton(AF_INET6, v6, &ignored) == 1;
	}
	for (size_t i = 0; i < b.n; i++) {
		uint8_t c = b.p[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.'))
			return false;
	}
	return b.p[0] != '.' && b.p[b.n - 1] != '.';
}

static enum err add(struct names *n, struct bytes name, uint16_t port, bool behind_proxy)
{
	if (n->n == WEB_NAMES_MAX)
		return ERR_FULL;
	for (size_t i = 0; i < name.n; i++)
		n->list[n->n].host[i] = (char)(name.p[i] >= 'A' && name.p[i] <= 'Z' ? name.p[i] + 32 : name.p[i]);
	n->list[n->n].host[name.n] = 0;
	n->list[n->n].port = port;
	n->list[n->n].behind_proxy = behind_proxy;
	n->n++;
	return ERR_OK;
}

void names_init(struct names *n, uint16_t port)
{
	memset(n, 0, sizeof *n);
	n->port = port;
	(void)!add(n, BYTES_LIT("localhost"), 0, false);
	(void)!add(n, BYTES_LIT("127.0.0.1"), 0, false);
	(void)!add(n, BYTES_LIT("[::1]"), 0, false);
}

enum err names_add(struct names *n, const char *text)
{
	struct bytes name;
	uint16_t port;

	if (!split_host(bytes_str(text), &name, &port) || !name_is_plain(name))
		return ERR_USAGE;
	return add(n, name, port, true);
}

bool host_allowed(const struct names *n, struct bytes host, bool *proxied)
{
	struct bytes name;
	uint16_t port;

	if (!split_host(host, &name, &port))
		return false;
	for (size_t i = 0; i < n->n; i++) {
		uint16_t want = n->list[i].port ? n->list[i].port : n->port;
		/* A port that its scheme implies is not said. */
		bool implied = port == 0 && (want == 80 || (n->list[i].behind_proxy && want == 443));

		if (!is_word(name, n->list[i].host) || !(port == want || implied))
			continue;
		*proxied = n->list[i].behind_proxy;
		return true;
	}
	return false;
}

bool origin_is(struct bytes origin, struct bytes host, bool proxied)
{
	size_t skip = begins(origin, "http://") ? 7 : proxied && begins(origin, "https://") ? 8 : 0;

	if (!skip || origin.n - skip != host.n)
		return false;
	return strncasecmp((const char *)origin.p + skip, (const char *)host.p, host.n) == 0;
}

bool fetch_is_ours(struct bytes site)
{
	return site.n == 0 || is_word(site, "same-origin") || is_word(site, "none");
}

bool fetch_navigates(const struct request_head *r)
{
	return (r->verb == VERB_GET || r->verb == VERB_HEAD) && is_word(r->fetch_mode, "navigate") &&
	       is_word(r->fetch_dest, "document");
}

/* --- headers ------------------------------------------------------------------------------------------ */
bool cookie_next(struct bytes header, const char *name, size_t *at, struct bytes *value)
{
	size_t n = strlen(name);
	struct bytes one;

	while (piece(header, ';', at, &one))
		if (one.n > n && one.p[n] == '=' && memcmp(one.p, name, n) == 0) {
			*value = bytes_of(one.p + n + 1, one.n - n - 1);
			return true;
		}
	return false;
}

bool bearer_of(struct bytes authorization, struct bytes *token)
{
	struct bytes b = trimmed(authorization);

	if (!begins(b, "bearer "))
		return false;
	*token = trimmed(bytes_of(b.p + 7, b.n - 7));
	return token->n != 0;
}

bool is_json(struct bytes content_type)
{
	struct bytes part;
	size_t at = 0;

	if (!piece(content_type, ';', &at, &part) || !is_word(part, "application/json"))
		return false;
	while (piece(content_type, ';', &at, &part))
		if (begins(part, "charset=") && !is_word(part, "charset=utf-8") && !is_word(part, "charset=\"utf-8\""))
			return false;
	return true;
}

/* "q=0", "q=0.0", "q=0.000": not wanted. */
static bool zero_weight(struct bytes q)
{
	if (!begins(q, "q="))
		return false;
	for (size_t i = 2; i < q.n; i++)
		if (q.p[i] != '0' && q.p[i] != '.')
			return false;
	return q.n > 2;
}

/* Whether a list such as "gzip;q=0.5, br" has `word` with a weight above zero. *said: it is there at all. */
static bool listed(struct bytes header, const char *word, bool *said)
{
	struct bytes one, part;
	size_t at = 0, in;
	bool good;

	*said = false;
	while (piece(header, ',', &at, &one)) {
		in = 0;
		if (!piece(one, ';', &in, &part) || !is_word(part, word))
			continue;
		*said = true;
		good = true;
		while (piece(one, ';', &in, &part))
			good = good && !zero_weight(part);
		if (good)
			return true;
	}
	return false;
}

bool accepts_gzip(struct bytes accept_encoding)
{
	bool said;

	if (listed(accept_encoding, "gzip", &said))
		return true;
	return !said && listed(accept_encoding, "*", &said);
}

bool accepts_openmetrics(struct bytes accept)
{
	bool said;

	return listed(accept, "application/openmetrics-text", &said);
}

bool tag_matches(struct bytes if_none_match, const char *tag)
{
	struct bytes one;
	size_t at = 0;

	while (piece(if_none_match, ',', &at, &one)) {
		if (one.n > 2 && one.p[0] == 'W' && one.p[1] == '/')
			one = bytes_of(one.p + 2, one.n - 2);
		if (bytes_eq(one, bytes_str(tag)) || bytes_eq(one, BYTES_LIT("*")))
			return true;
	}
	return false;
}

/* --- paths and parameters ------------------------------------------------------------------------------- */
static bool method_byte(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
}

bool path_method(struct bytes path, struct bytes *method)
{
	static const char prefix[] = "/api/v1/";
	size_t n = sizeof prefix - 1;

	if (path.n <= n || path.n - n > WEB_METHOD_MAX || memcmp(path.p, prefix, n) != 0)
		return false;
	for (size_t i = n; i < path.n; i++)
		if (!method_byte(path.p[i]))
			return false;
	*method = bytes_of(path.p + n, path.n - n);
	return true;
}

bool path_below(struct bytes path, const char *prefix, struct bytes *rest)
{
	size_t n = strlen(prefix);

	if (path.n <= n || path.n - n > 64 || memcmp(path.p, prefix, n) != 0)
		return false;
	for (size_t i = n; i < path.n; i++)
		if (!method_byte(path.p[i]) || path.p[i] == '.')
			return false;
	*rest = bytes_of(path.p + n, path.n - n);
	return true;
}

static enum err bad(struct fault *f, const char *name, const char *why)
{
	char safe[80];

	return fault_set(f, ERR_USAGE, EXIT_USAGE, "'%s' %s", text_safe(bytes_str(name), safe, sizeof safe), why);
}

static bool int_of(struct bytes b, int64_t *out)
{
	bool minus = b.n && b.p[0] == '-';
	int64_t v = 0;

	if (b.n == (size_t)minus || b.n > 18)
		return false;
	for (size_t i = minus; i < b.n; i++) {
		if (b.p[i] < '0' || b.p[i] > '9')
			return false;
		v = v * 10 + (b.p[i] - '0');
	}
	*out = minus ? -v : v;
	return true;
}

static json_t *list_of(struct bytes b)
{
	json_t *list = json_array();
	struct bytes one;
	size_t at = 0;

	while (list && piece(b, ',', &at, &one))
		if (json_array_append_new(list, json_stringn((const char *)one.p, one.n)) != 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

enum err query_add(json_t *params, struct bytes arg, enum query_kind (*kind)(void *ctx, const char *name), void *ctx,
		   struct fault *f)
{
	const uint8_t *eq = arg.n ? memchr(arg.p, '=', arg.n) : NULL;
	size_t n = eq ? (size_t)(eq - arg.p) : arg.n;
	struct bytes value = eq ? bytes_of(eq + 1, arg.n - n - 1) : bytes_of("", 0);
	char name[64];
	json_t *v = NULL;
	int64_t number;

	if (n == 0 || n >= sizeof name || memchr(arg.p, 0, arg.n) || !utf8_valid(arg))
		return fault_set(f, ERR_USAGE, EXIT_USAGE, "a parameter of the address is not text, or its name is too long");
	memcpy(name, arg.p, n);
	name[n] = 0;
	if (json_object_get(params, name))
		return bad(f, name, "is given twice");
	switch (kind(ctx, name)) {
	case QUERY_TEXT:
		v = json_stringn((const char *)value.p, value.n);
		break;
	case QUERY_INT:
		if (!int_of(value, &number))
			return bad(f, name, "must be a whole number");
		v = json_integer(number);
		break;
	case QUERY_BOOL:
		if (!is_word(value, "true") && !is_word(value, "false"))
			return bad(f, name, "must be true or false");
		v = json_boolean(is_word(value, "true"));
		break;
	case QUERY_LIST:
		v = list_of(value);
		break;
	case QUERY_UNKNOWN:
		return bad(f, name, "is no parameter of this method");
	}
	if (!v || json_object_set_new(params, name, v) != 0)
		return fault_set(f, ERR_NOMEM, EXIT_RETRY, "the daemon has no memory for this");
	return ERR_OK;
}
