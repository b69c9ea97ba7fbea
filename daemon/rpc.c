#include "daemon/rpc.h"

#include <stdlib.h>

#include "base/text.h"

/* --- lines out -------------------------------------------------------------------------------------- */
static void add_text(struct buf *b, const char *text)
{
	char safe[1024];

	json_add_string(b, bytes_str(text_safe(bytes_str(text), safe, sizeof safe)));
}

void rpc_error_line(struct buf *b, const char *id, int code, const char *message, const struct fault *f)
{
	buf_printf(b, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"error\":{\"code\":%d,\"message\":", id, code);
	add_text(b, message);
	if (f) {
		buf_printf(b, ",\"data\":{\"err\":\"%s\",\"exit\":%d", err_word(f->err), (int)f->code);
		if (f->means[0]) {
			buf_add_str(b, ",\"means\":");
			add_text(b, f->means);
		}
		if (f->next[0]) {
			buf_add_str(b, ",\"next\":");
			add_text(b, f->next);
		}
		buf_add_u8(b, '}');
	}
	buf_add_str(b, "}}\n");
}

static void put_error(struct rpc *r, const char *id, int code, const char *message, const struct fault *f)
{
	struct buf b;

	if (r->closed)
		return;
	buf_init(&b, 16384);
	rpc_error_line(&b, id, code, message, f);
	if (b.err == ERR_OK)
		(void)r->put(r->ctx, buf_bytes(&b), RPC_ANSWER);
	buf_fini(&b);
}

static void put_result(struct rpc *r, const char *id, struct bytes result)
{
	struct buf b;

	buf_init(&b, CONTROL_LINE_MAX);
	(void)!buf_reserve(&b, result.n + 64 + REQUEST_ID_MAX);
	buf_add_str(&b, "{\"jsonrpc\":\"2.0\",\"id\":");
	buf_add_str(&b, id);
	buf_add_str(&b, ",\"result\":");
	buf_add(&b, result);
	buf_add_str(&b, "}\n");
	if (b.err == ERR_OK)
		(void)r->put(r->ctx, buf_bytes(&b), RPC_ANSWER);
	else
		put_error(r, id, RPC_REFUSED, "the daemon has no memory for this", NULL);
	buf_fini(&b);
}

static bool deliver(void *ctx, struct bytes json, bool is_volatile)
{
	struct rpc *r = ctx;
	struct buf *b = &r->line;

	if (r->closed)
		return false;
	buf_reset(b);
	buf_add(b, BYTES_LIT("{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":"));
	buf_add(b, json);
	buf_add(b, BYTES_LIT("}\n"));
	return b->err == ERR_OK && r->put(r->ctx, buf_bytes(b), is_volatile ? RPC_VOLATILE : RPC_EVENT);
}

static bool deliver_feed(void *ctx, struct bytes json)
{
	struct rpc *r = ctx;
	struct buf *b = &r->line;

	if (r->closed)
		return false;
	buf_reset(b);
	buf_add(b, BYTES_LIT("{\"jsonrpc\":\"2.0\",\"method\":\"feed\",\"params\":"));
	buf_add(b, json);
	buf_add(b, BYTES_LIT("}\n"));
	return b->err == ERR_OK && r->put(r->ctx, buf_bytes(b), RPC_EVENT);
}

/* --- requests ----------------------------------------------------------------------------------------- */
static void request_done(struct request *q)
{
	struct rpc *r = q->owner;

	ring_del(&q->link); /* safe twice */
	r->unanswered--;
	free(q);
}

static void reply(struct request *q, struct bytes result, const struct fault *f)
{
	struct rpc *r = q->owner;

	q->cancel = NULL;
	ring_del(&q->link);
	if (!r->closed && q->id[0]) {
		if (f)
			put_error(r, q->id, rpc_code(f->err), f->what, f);
		else
			put_result(r, q->id, result);
	}
	request_done(q);
}

static struct request *request_new(struct rpc *r)
{
	struct request *q = calloc(1, sizeof *q);

	if (!q)
		return NULL;
	q->owner = r;
	q->reply = reply;
	q->subscriber = &r->subscriber;
	q->feed = &r->feed;
	ring_add(&r->requests, &q->link);
	r->unanswered++;
	return q;
}

static void run(struct rpc *r, const struct command *m, const char *id, const json_t *params)
{
	struct fault f = { 0 };
	struct request *q = request_new(r);
	struct call c = { .cx = r->commands, .request = q, .f = &f };
	enum err e;

	if (!q) {
		fault_set(&f, ERR_NOMEM, EXIT_RETRY, "the daemon has no memory for this");
		put_error(r, id, RPC_REFUSED, f.what, &f);
		return;
	}
	snprintf(q->id, sizeof q->id, "%s", id);
	e = m->flags & CMD_ONLINE ? command_run(m, &c, params) :
				    fault_set(&f, ERR_WRONG_STATE, EXIT_GENERIC,
					      "%s works only while no daemon runs", m->method);
	if (e != ERR_OK)
		request_fail(q, &f);
	else if (!c.later)
		request_answer(q, c.result);
}

/* The id as JSON text. False: not one that may be answered to. */
static bool id_text(const json_t *id, char out[static REQUEST_ID_MAX + 1])
{
	size_t n = 0;

	out[0] = 0;
	if (!id || json_is_null(id))
		return true; /* a notification */
	if (json_is_string(id) || json_is_number(id))
		n = json_dumpb(id, out, REQUEST_ID_MAX, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
	if (n == 0 || n > REQUEST_ID_MAX) {
		out[0] = 0;
		return false;
	}
	out[n] = 0;
	return true;
}

static void request_tree(struct rpc *r, const json_t *v)
{
	const char *method = json_str(v, "method"), *version = json_str(v, "jsonrpc");
	const struct command *m;
	char id[REQUEST_ID_MAX + 1], text[160], safe[96];
	struct fault f = { 0 };

	if (!json_is_object(v) || !method || !version || strcmp(version, "2.0") != 0) {
		put_error(r, "null", RPC_NOT_REQUEST, "this is not a request of JSON-RPC 2.0", NULL);
		return;
	}
	if (!id_text(json_object_get(v, "id"), id)) {
		put_error(r, "null", RPC_NOT_REQUEST, "an id is a number or a text of at most 120 bytes", NULL);
		return;
	}
	m = command_find(bytes_str(method));
	if (m) {
		run(r, m, id, json_object_get(v, "params"));
	} else if (id[0]) {
		snprintf(text, sizeof text, "there is no method '%s'",
			 text_safe(bytes_str(method), safe, sizeof safe));
		fault_set(&f, ERR_UNSUPPORTED, EXIT_GENERIC, "%s", text);
		command_suggest(safe, &f);
		put_error(r, id, RPC_NO_METHOD, text, &f);
	}
}

static bool blank(struct bytes line)
{
	for (size_t i = 0; i < line.n; i++)
		if (line.p[i] != ' ' && line.p[i] != '\t' && line.p[i] != '\r')
			return false;
	return true;
}

void rpc_line(struct rpc *r, struct bytes line)
{
	json_t *v;

	if (r->closed || blank(line))
		return;
	if (json_load_strict(line, CONTROL_REQUEST_MAX, &v) != ERR_OK) {
		put_error(r, "null", RPC_NOT_JSON, "the line is not valid JSON", NULL);
		return;
	}
	request_tree(r, v);
	json_decref(v);
}

bool rpc_blocked(const struct rpc *r)
{
	return !ring_empty(&r->requests) && ring_entry(r->requests.prev, const struct request, link)->blocking;
}

void rpc_init(struct rpc *r, struct command_ctx *commands, rpc_put put, void *ctx)
{
	memset(r, 0, sizeof *r);
	r->commands = commands;
	r->put = put;
	r->ctx = ctx;
	buf_init(&r->line, EVENT_TEXT_MAX + 128);
	ring_init(&r->requests);
	ring_init(&r->subscriber.link);
	r->subscriber.deliver = deliver;
	r->subscriber.ctx = r;
	ring_init(&r->feed.link);
	r->feed.deliver = deliver_feed;
	r->feed.ctx = r;
}

static void give_up(struct rpc *r, bool all)
{
	struct ring *p, *next;

	for (p = r->requests.next; p != &r->requests; p = next) {
		struct request *q = ring_entry(p, struct request, link);

		next = p->next;
		if (!all && q->short_lived)
			continue;
		if (q->cancel)
			q->cancel(q);
		request_done(q);
	}
	if (r->commands->events)
		events_unsubscribe(r->commands->events, &r->subscriber);
	feed_unsubscribe(&r->feed);
	if (r->subscriber.gone)
		r->subscriber.gone(r->subscriber.gone_ctx, &r->subscriber);
	r->subscriber.gone = NULL;
}

void rpc_ended(struct rpc *r)
{
	if (!r->closed)
		give_up(r, false);
}

void rpc_close(struct rpc *r)
{
	if (r->closed)
		return;
	r->closed = true;
	give_up(r, true);
	buf_fini(&r->line);
}
