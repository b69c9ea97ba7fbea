/*
 * request.h -- what an HTTP request says, and whether it may be believed. Pure functions.
 *
 * A page in the same browser can make it send requests here (cross-site request forgery), and can
 * make a name of its own point to 127.0.0.1 (DNS rebinding). So nothing is done for a request before
 * its Host is one of our names with our port, its Origin, if any, is that same Host, and the browser,
 * if it says where the request came from, says that it came from our own page.
 *
 * All bytes are borrowed from the request. Nothing here knows a socket or a clock.
 */
#ifndef WEB_REQUEST_H
#define WEB_REQUEST_H

#include "base/json.h"

enum verb { VERB_GET, VERB_HEAD, VERB_POST, VERB_DELETE, VERB_OTHER };

struct request_head {
	enum verb verb;
	struct bytes path;             /* percent-decoded, with its leading '/' */
	struct bytes host, origin;
	struct bytes fetch_site, fetch_mode, fetch_dest; /* Sec-Fetch-* */
	struct bytes cookie, authorization, csrf;
	struct bytes content_type, accept, accept_encoding, if_none_match;
	bool has_length, chunked;
	uint64_t length;               /* Content-Length */
};

/* --- names ----------------------------------------------------------------------------------------- */
#define WEB_NAMES_MAX 16
#define WEB_NAME_LEN 255

/* The names under which we may be asked for. */
struct names {
	uint16_t port; /* where we listen */
	size_t n;
	struct {
		char host[WEB_NAME_LEN + 1]; /* lower case; an IPv6 address in its brackets */
		uint16_t port;               /* 0: ours */
		bool behind_proxy;           /* configured: its pages may come over https */
	} list[WEB_NAMES_MAX];
};
/* localhost, 127.0.0.1 and [::1]. */
void names_init(struct names *n, uint16_t port);
/* "name", "name:port" or "[v6]:port" of the configuration. ERR_USAGE, ERR_FULL. */
enum err names_add(struct names *n, const char *text) MUST_CHECK;

/* Whether a Host header is one of our names with its port; `proxied`: it is a configured one. */
bool host_allowed(const struct names *n, struct bytes host, bool *proxied);
/* Whether an Origin is the page that `host` (allowed before) serves. */
bool origin_is(struct bytes origin, struct bytes host, bool proxied);
/* Sec-Fetch-Site, if the browser says it: our own page, or the person (address bar, bookmark). */
bool fetch_is_ours(struct bytes site);
/* A navigation to a page from anywhere, which shows the page and gives nothing to whoever caused it. */
bool fetch_navigates(const struct request_head *r);

/* --- headers ---------------------------------------------------------------------------------------- */
/* The values of the cookies called `name`, one after the other: *at begins with 0. Another program on
 * another port of this machine can set a cookie of the same name, so there may be several. */
bool cookie_next(struct bytes header, const char *name, size_t *at, struct bytes *value);
/* "Bearer TOKEN" */
bool bearer_of(struct bytes authorization, struct bytes *token);
bool is_json(struct bytes content_type); /* application/json, charset utf-8 or none */
bool accepts_gzip(struct bytes accept_encoding);
bool accepts_openmetrics(struct bytes accept);
/* If-None-Match names `tag` (with its quotes), or is "*". */
bool tag_matches(struct bytes if_none_match, const char *tag);

/* --- paths and parameters ---------------------------------------------------------------------------- */
#define WEB_METHOD_MAX 64
/* "/api/v1/METHOD": METHOD is 1..64 of [a-z0-9_.]. */
bool path_method(struct bytes path, struct bytes *method);
/* `path` is `prefix` and 1..64 letters and digits: what stands behind it. */
bool path_below(struct bytes path, const char *prefix, struct bytes *rest);

enum query_kind { QUERY_UNKNOWN, QUERY_TEXT, QUERY_INT, QUERY_BOOL, QUERY_LIST };
/* Adds one "name=value", percent-decoded, to `params` as what the table of the method says of the name.
 * A list is given by commas. ERR_USAGE with fault: unknown, twice, or not of its kind. */
enum err query_add(json_t *params, struct bytes arg, enum query_kind (*kind)(void *ctx, const char *name), void *ctx,
		   struct fault *f) MUST_CHECK;

#endif
