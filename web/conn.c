/* One connection: its deadlines, a request in, an answer out. */
#include "web/web_internal.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "base/log.h"

/* --- the table ------------------------------------------------------------------------------------------- */
static void deadline(void *ctx)
{
	struct conn *c = ctx;

	if (c->phase == CONN_LIVE && live_late(c))
		return;
	c->w->n.timeouts++;
	log_debug("http-timeout phase=%d from=%s", (int)c->phase, c->address);
	web_conn_drop(c);
}

struct conn *web_conn_new(struct web *w, const char *address)
{
	struct conn *c;

	for (unsigned i = 0; i < CONNS_MAX; i++) {
		if (w->conns[i])
			continue;
		c = calloc(1, sizeof *c);
		if (!c)
			return NULL;
		c->w = w;
		c->id = ++w->generation * CONNS_MAX + i;
		timer_init(&c->timer, deadline, c);
		snprintf(c->address, sizeof c->address, "%s", address);
		source_of_address(address, c->source);
		w->conns[i] = c;
		w->n_conns++;
		w->n.connections++;
		web_conn_phase(c, CONN_HEAD, HEAD_MS);
		return c;
	}
	return NULL;
}

struct conn *web_conn_find(struct web *w, uint64_t id)
{
	struct conn *c = w->conns[id % CONNS_MAX];

	return c && c->id == id ? c : NULL;
}

void web_conn_phase(struct conn *c, enum phase p, uint64_t deadline_ms)
{
	c->phase = p;
	c->since_ms = web_now(c->w);
	if (deadline_ms)
		timer_in(c->w->c.env, &c->timer, deadline_ms);
	else
		timer_stop(c->w->c.env, &c->timer);
}

void web_conn_forget_call(struct conn *c)
{
	if (c->call)
		c->w->c.host.cancel(c->w->c.host.ctx, c->call);
	c->call = NULL;
}

static void forget_request(struct conn *c)
{
	web_conn_forget_call(c);
	json_decref(c->params);
	c->params = NULL;
	if (c->phase == CONN_BODY)
		c->w->bodies -= c->body_want;
	c->body_want = 0;
	buf_fini(&c->body);
	buf_fini(&c->out);
	c->asset = bytes_of(NULL, 0);
	c->sent = 0;
	c->route = NULL;
	c->caller = (struct caller){ 0 };
}

void web_conn_free(struct conn *c)
{
	struct web *w = c->w;

	timer_stop(w->c.env, &c->timer);
	live_end(c);
	forget_request(c);
	w->conns[c->id % CONNS_MAX] = NULL;
	w->n_conns--;
	free(c);
	server_conn_gone(w);
}

/* lws flushes what it holds back before it closes; a far side that does not read would keep it for ever. */
void web_conn_drop(struct conn *c)
{
	struct web *w = c->w;
	struct lws *wsi = c->wsi;
	int fd;

	web_conn_free(c);
	if (!wsi)
		return;
	fd = lws_get_socket_fd(wsi);
	if (lws_partial_buffered(wsi)) {
		if (fd >= 0)
			shutdown(fd, SHUT_RDWR);
		lws_callback_on_writable(wsi);
	}
	lws_set_timeout(wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
	lws_cancel_service(w->lws);
}

/* --- a head ------------------------------------------------------------------------------------------------ */
/* What lws has and does not hand over must not count as absent. */
static struct bytes keep(struct web *w, int n)
{
	w->scratch_bad = w->scratch_bad || n < 0;
	struct bytes b = bytes_of(w->scratch + w->scratch_n, n > 0 ? (size_t)n : 0);

	if (n > 0)
		w->scratch_n += (size_t)n + 1;
	return b;
}

static struct bytes header(struct conn *c, enum lws_token_indexes t)
{
	struct web *w = c->w;

	if (lws_hdr_total_length(c->wsi, t) <= 0)
		return bytes_of(NULL, 0);
	return keep(w, lws_hdr_copy(c->wsi, w->scratch + w->scratch_n, (int)(sizeof w->scratch - w->scratch_n), t));
}

static struct bytes custom(struct conn *c, const char *name)
{
	struct web *w = c->w;
	int len = (int)strlen(name);

	if (lws_hdr_custom_length(c->wsi, name, len) <= 0)
		return bytes_of(NULL, 0);
	return keep(w, lws_hdr_custom_copy(c->wsi, w->scratch + w->scratch_n, (int)(sizeof w->scratch - w->scratch_n), name,
					   len));
}

static enum verb verb_of(int method)
{
	switch (method) {
	case LWSHUMETH_GET:
		return VERB_GET;
	case LWSHUMETH_HEAD:
		return VERB_HEAD;
	case LWSHUMETH_POST:
		return VERB_POST;
	case LWSHUMETH_DELETE:
		return VERB_DELETE;
	default:
		return VERB_OTHER;
	}
}

static bool length_of(struct bytes b, uint64_t *out)
{
	uint64_t v = 0;

	if (b.n == 0 || b.n > 18)
		return false;
	for (size_t i = 0; i < b.n; i++) {
		if (b.p[i] < '0' || b.p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(b.p[i] - '0');
	}
	*out = v;
	return true;
}

static bool read_head(struct conn *c, struct request_head *r)
{
	struct bytes length;
	char *path = NULL;
	int n = 0;

	memset(r, 0, sizeof *r);
	c->w->scratch_n = 0;
	c->w->scratch_bad = false;
	r->verb = verb_of(lws_http_get_uri_and_method(c->wsi, &path, &n));
	if (!path || n <= 0)
		return false;
	r->path = bytes_of(path, (size_t)n);
	r->host = header(c, WSI_TOKEN_HOST);
	r->origin = header(c, WSI_TOKEN_ORIGIN);
	r->cookie = header(c, WSI_TOKEN_HTTP_COOKIE);
	r->authorization = header(c, WSI_TOKEN_HTTP_AUTHORIZATION);
	r->content_type = header(c, WSI_TOKEN_HTTP_CONTENT_TYPE);
	r->accept = header(c, WSI_TOKEN_HTTP_ACCEPT);
	r->accept_encoding = header(c, WSI_TOKEN_HTTP_ACCEPT_ENCODING);
	r->if_none_match = header(c, WSI_TOKEN_HTTP_IF_NONE_MATCH);
	r->fetch_site = custom(c, "sec-fetch-site:");
	r->fetch_mode = custom(c, "sec-fetch-mode:");
	r->fetch_dest = custom(c, "sec-fetch-dest:");
	r->csrf = custom(c, "x-ironmesh-csrf:");
	r->chunked = lws_hdr_total_length(c->wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0;
	length = header(c, WSI_TOKEN_HTTP_CONTENT_LENGTH);
	r->has_length = length_of(length, &r->length);
	return !c->w->scratch_bad && (length.n == 0 || r->has_length);
}


static enum query_kind kind_of(void *ctx, const char *name)
{
	struct conn *c = ctx;

	return c->w->c.host.param(c->w->c.host.ctx, &c->method, name);
}

/* The parameters behind the '?', for a command. Others have none, and ignore what is there. */
static enum err read_query(struct conn *c, struct fault *f)
{
	enum err e = ERR_OK;
	int n;

	c->params = json_object();
	if (!c->params)
		return fault_set(f, ERR_NOMEM, EXIT_RETRY, "the daemon has no memory for this");
	for (int i = 0; e == ERR_OK; i++) {
		n = lws_hdr_copy_fragment(c->wsi, c->w->scratch, sizeof c->w->scratch, WSI_TOKEN_HTTP_URI_ARGS, i);
		if (n < 0)
			break;
		if (n == 0)
			continue; /* "a=1&&b=2" */
		e = query_add(c->params, bytes_of(c->w->scratch, (size_t)n), kind_of, c, f);
	}
	return e;
}

static void go(struct conn *c)
{
	web_conn_phase(c, CONN_WORK, 0);
	c->route->run(c);
}

int web_conn_request(struct conn *c, bool upgrade)
{
	struct request_head r;
	struct fault f = { 0 };

	forget_request(c);
	c->w->n.requests++;
	c->verb = VERB_GET;
	if (!read_head(c, &r)) {
		c->close = true;
		answer_error(c, 400, ERR_MALFORMED, "this is not a request that is understood here", NULL, NULL);
		return 0;
	}
	c->verb = r.verb;
	/* lws waits for a body that nobody has announced; what comes would be none of the next request. */
	c->close = upgrade || (!r.has_length && !r.chunked && (r.verb == VERB_POST || r.verb == VERB_OTHER));
	c->body_want = r.chunked ? 1 : r.has_length ? (size_t)r.length : 0;
	if (!routes_check(c, &r, upgrade) || upgrade)
		return 0;
	c->accept = r.accept;
	c->accept_encoding = r.accept_encoding;
	c->if_none_match = r.if_none_match;
	if (c->method.of && c->verb != VERB_POST && read_query(c, &f) != ERR_OK) {
		answer_fault(c, &f);
	} else if (c->body_want) {
		c->w->bodies += c->body_want;
		buf_init(&c->body, c->body_want);
		web_conn_phase(c, CONN_BODY, BODY_MS);
	} else {
		go(c);
	}
	return 0;
}

int web_conn_body(struct conn *c, struct bytes piece)
{
	if (c->phase == CONN_SEND)
		return 0; /* of a request that was refused */
	if (c->phase != CONN_BODY)
		return -1;
	buf_add(&c->body, piece);
	return c->body.err == ERR_OK ? 0 : -1;
}

int web_conn_body_end(struct conn *c)
{
	if (c->phase != CONN_BODY)
		return 0; /* without a body it ran already */
	c->w->bodies -= c->body_want;
	c->body_want = 0;
	if (caller_lives(c))
		go(c);
	else
		refuse_nobody(c);
	return 0;
}

/* --- an answer ------------------------------------------------------------------------------------------------ */
void web_conn_send(struct conn *c)
{
	c->sent = LWS_PRE;
	if (c->phase == CONN_BODY)
		c->w->bodies -= c->body_want;
	c->body_want = 0;
	web_conn_phase(c, CONN_SEND, SEND_MS);
	lws_callback_on_writable(c->wsi);
}

/*
 * What came behind a request lws keeps for the next one. When that has a body, lws 4.1.6 takes what it kept as the body, from the
 * first line of the very request on, and loops over the rest for ever. So no connection goes on with anything kept, its own or
 * that of another one: whoever sends ahead has one answer.
 */
static int answered(struct conn *c)
{
	bool over = c->close || lws_service_adjust_timeout(c->w->lws, 1, 0) == 0;

	forget_request(c);
	web_conn_phase(c, CONN_HEAD, IDLE_MS);
	return over || lws_http_transaction_completed(c->wsi) ? -1 : 0;
}

/* Headers and the beginning of the body in one write; then the rest. */
int web_conn_writable(struct conn *c)
{
	struct web *w = c->w;
	size_t total = c->out.n + c->asset.n, n;
	bool first = c->sent == LWS_PRE;

	if (c->phase != CONN_SEND)
		return 0;
	if (lws_partial_buffered(c->wsi)) {
		lws_callback_on_writable(c->wsi);
		return 0;
	}
	if (c->sent == total)
		return answered(c);
	n = total - c->sent < WRITE_BYTES ? total - c->sent : WRITE_BYTES;
	for (size_t done = 0; done < n;) {
		size_t at = c->sent + done;
		struct bytes from = at < c->out.n ? bytes_of(c->out.p + at, c->out.n - at) :
						    bytes_of(c->asset.p + (at - c->out.n), total - at);
		size_t take = from.n < n - done ? from.n : n - done;

		memcpy(w->chunk + LWS_PRE + done, from.p, take);
		done += take;
	}
	if (lws_write(c->wsi, w->chunk + LWS_PRE, n, first ? LWS_WRITE_HTTP_HEADERS : LWS_WRITE_HTTP) < 0)
		return -1;
	c->sent += n;
	if (c->sent < total || lws_partial_buffered(c->wsi)) {
		web_conn_phase(c, CONN_SEND, SEND_MS);
		lws_callback_on_writable(c->wsi);
		return 0;
	}
	return answered(c);
}

int web_conn_refuse_upgrade(struct conn *c)
{
	int n = lws_write(c->wsi, c->out.p + LWS_PRE, c->out.n - LWS_PRE, LWS_WRITE_HTTP_HEADERS);

	forget_request(c);
	web_conn_phase(c, CONN_HEAD, IDLE_MS);
	return n < 0 || c->close ? -1 : 1;
}
