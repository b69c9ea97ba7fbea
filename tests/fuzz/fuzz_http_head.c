/* rooms: web base */
/* What we read of a request ourselves, one line each: Host, Origin, Cookie, Authorization, Content-Type, Accept-Encoding,
 * If-None-Match, path, and then parameters. Whatever is taken is what it says it is. */
#include <stdlib.h>
#include <strings.h>

#include "web/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct bytes line(const uint8_t **p, size_t *left)
{
	const uint8_t *end = *left ? memchr(*p, '\n', *left) : NULL;
	struct bytes b = bytes_of(*p, end ? (size_t)(end - *p) : *left);

	*left -= end ? b.n + 1 : b.n;
	*p += end ? b.n + 1 : b.n;
	return b;
}

static bool inside(struct bytes a, struct bytes of)
{
	return a.n == 0 || (a.p >= of.p && a.p + a.n <= of.p + of.n);
}

static enum query_kind kind(void *ctx, const char *name)
{
	return (enum query_kind)(strlen(name) % (QUERY_LIST + 1));
}

static void parameters(const uint8_t *p, size_t left)
{
	json_t *o = json_object();
	struct fault f;

	while (left) {
		struct bytes arg = line(&p, &left);
		size_t before = json_object_size(o);
		enum err e;

		f = (struct fault){ 0 };
		e = query_add(o, arg, kind, NULL, &f);
		BUG_ON((e == ERR_OK) != (json_object_size(o) == before + 1));
		BUG_ON(e != ERR_OK && (e != ERR_USAGE || !f.what[0]));
	}
	json_decref(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *p = data;
	size_t left = size, at = 0, last = 0;
	struct bytes host, origin, cookie, auth, type, coding, tag, path, v;
	struct names n;
	bool proxied = false;

	host = line(&p, &left);
	origin = line(&p, &left);
	cookie = line(&p, &left);
	auth = line(&p, &left);
	type = line(&p, &left);
	coding = line(&p, &left);
	tag = line(&p, &left);
	path = line(&p, &left);

	names_init(&n, 8766);
	BUG_ON(names_add(&n, "mesh.example:443") != ERR_OK);
	if (host_allowed(&n, host, &proxied)) {
		/* The shortest and the longest of them. */
		BUG_ON(host.n < strlen("[::1]:8766") || host.n > strlen("mesh.example:443"));
		BUG_ON(proxied != (strncasecmp((const char *)host.p, "mesh", 4) == 0));
		if (origin_is(origin, host, proxied))
			BUG_ON(origin.n != host.n + 7 && origin.n != host.n + 8);
	}
	while (cookie_next(cookie, "ironmesh_8766", &at, &v)) {
		BUG_ON(!inside(v, cookie) || at <= last || memchr(v.p, ';', v.n));
		last = at;
	}
	if (bearer_of(auth, &v))
		BUG_ON(v.n == 0 || !inside(v, auth));
	(void)is_json(type);
	(void)accepts_gzip(coding);
	(void)accepts_openmetrics(coding);
	(void)tag_matches(tag, "\"0123456789abcdef\"");
	if (path_method(path, &v))
		BUG_ON(v.n == 0 || v.n > WEB_METHOD_MAX || !inside(v, path));
	if (path_below(path, "/api/v1/sessions/", &v))
		BUG_ON(v.n == 0 || v.n > 64 || !inside(v, path));
	parameters(p, left);
	return 0;
}
