/* inbox.* */
#include "daemon/commands_internal.h"
#include <stdlib.h>

/* What `text` costs as a JSON string that is not ASCII only. */
static size_t json_cost(struct bytes text)
{
	size_t n = 2;

	for (size_t i = 0; i < text.n; i++) {
		uint8_t ch = text.p[i];

		n += ch == '"' || ch == '\\' || ch == '\n' || ch == '\r' || ch == '\t' || ch == '\b' || ch == '\f' ? 2 :
		     ch < 0x20 ? 6 : 1;
	}
	return n;
}

/* Text that would not be read back (NUL), or that is larger than its base64, goes as base64. */
static enum err add_body(struct call *c, json_t *o, int64_t seq, size_t *cost)
{
	struct buf body;
	enum err e;
	int bad;

	buf_init(&body, STORE_BODY_MAX);
	e = inbox_body(c->cx->store, seq, &body);
	if (e == ERR_OK) {
		struct bytes b = buf_bytes(&body);
		size_t text = json_cost(b), coded = BASE64_LEN(b.n) + 2;

		if (utf8_valid(b) && (!b.n || !memchr(b.p, 0, b.n)) && (text <= coded || text < 4096)) {
			bad = json_object_set_new(o, "body", json_stringn_nocheck(b.n ? (const char *)b.p : "", b.n));
			*cost += text;
		} else {
			bad = json_object_set_new(o, "body_b64", base64_json(b));
			*cost += coded;
		}
		if (bad)
			e = ERR_NOMEM;
	}
	buf_wipe(&body);
	buf_fini(&body);
	return e;
}

/* By the author's clock; 0 = nobody said: the old wire carries none, and an author may have no clock. */
static uint64_t expiry_of(const struct inbox_row *r, const struct message_ext *x)
{
	if (!r->has_wire || !r->created_ms)
		return 0;
	return r->created_ms + (x->ttl_s ? x->ttl_s : MSG_TTL_DEFAULT_S) * 1000ull;
}

static json_t *inbox_json(const struct command_ctx *cx, const struct inbox_row *r)
{
	struct message_ext x;
	json_t *o = json_pack("{s:I, s:o, s:o, s:o, s:o, s:s, s:s, s:I, s:I, s:I, s:b, s:I}", "seq", (json_int_t)r->seq,
			 "msg_id", text_or_null(r->id), "from", peer_ref(cx, &r->author), "via",
			 peer_ref(cx, &r->via), "type", text_or_null(r->type), "priority",
			 priority_text(r->priority), "state", inbox_state_word(r->state), "created_ms",
			 (json_int_t)r->created_ms, "received_ms", (json_int_t)r->received_ms, "read_ms",
			 (json_int_t)r->read_ms, "proven", r->proven, "size", (json_int_t)r->body_len);

	if (!o)
		return NULL;
	fields_of_row(bytes_of(r->meta, r->meta_len), r->type, &x);
	fields_json(o, &x);
	(void)json_object_set_new(o, "signed", json_boolean(r->proven));
	(void)json_object_set_new(o, "expires_ms", json_integer((json_int_t)expiry_of(r, &x)));
	return o;
}

#define ROW_COST 2048 /* of a message besides its body */

/* Appends one; *full when it does not fit the line any more (then nothing is appended). */
static enum err append_message(struct call *c, json_t *list, const struct inbox_row *r, bool bodies, size_t *used,
			       bool *full)
{
	size_t cost = ROW_COST;
	json_t *o = inbox_json(c->cx, r);
	enum err e = o ? ERR_OK : ERR_NOMEM;

	/* A deleted message has no body; one that does not open says so and stays listed. */
	if (e == ERR_OK && bodies) {
		e = add_body(c, o, r->seq, &cost);
		if (e == ERR_NOTFOUND)
			e = ERR_OK;
		if (e == ERR_CORRUPT) {
			log_error("inbox-body-does-not-open seq=%lld", (long long)r->seq);
			(void)json_object_set_new(o, "damaged", json_true());
			e = ERR_OK;
		}
	}
	*full = e == ERR_OK && json_array_size(list) > 0 && *used + cost > RESULT_MAX - ROW_COST;
	if (e != ERR_OK || *full) {
		json_decref(o);
		return e;
	}
	*used += cost;
	return json_array_append_new(list, o) ? ERR_NOMEM : ERR_OK;
}

#define INBOX_BATCH 64

/* As many messages as fit one answer. `acked` tells a taker what he got. */
static enum err collect(struct call *c, struct inbox_filter *filter, size_t limit, bool bodies, json_t **out)
{
	struct inbox_row rows[INBOX_BATCH];
	size_t used = 0, got = 0;
	bool full = false;
	json_t *list = json_array();
	enum err e = list ? ERR_OK : ERR_NOMEM;

	while (e == ERR_OK && !full && json_array_size(list) < limit) {
		size_t want = limit - json_array_size(list);

		e = inbox_list(c->cx->store, filter, rows, want < INBOX_BATCH ? want : INBOX_BATCH, &got);
		for (size_t i = 0; e == ERR_OK && !full && i < got; i++) {
			e = append_message(c, list, &rows[i], bodies, &used, &full);
			filter->after_seq = rows[i].seq;
		}
		if (e != ERR_OK || got == 0)
			break;
	}
	if (e != ERR_OK) {
		json_decref(list);
		return e == ERR_NOMEM ? no_memory(c) : store_refused(c, e);
	}
	*out = list;
	return ERR_OK;
}

static json_t *inbox_result(json_t *list)
{
	return json_pack("{s:s, s:o}", "schema", "ironmesh.inbox/1", "messages", list);
}

enum err command_inbox_list(struct call *c)
{
	struct inbox_filter filter = { .state = -1, .after_seq = arg_int(c, "after", 0) };
	const char *state = arg_text(c, "state");
	const struct pin *pin = NULL;
	json_t *list;
	enum err e = ERR_OK;

	if (arg_text(c, "from"))
		e = arg_peer(c, "from", &pin);
	if (e != ERR_OK)
		return e;
	filter.author = pin ? &pin->id : NULL;
	if (state) {
		for (int s = INBOX_NEW; s <= INBOX_HELD; s++)
			if (strcmp(state, inbox_state_word((enum inbox_state)s)) == 0)
				filter.state = s;
		if (filter.state < 0)
			return bad_param(c, "state", "new, read or held");
	}
	e = collect(c, &filter, (size_t)arg_int(c, "limit", 100), arg_bool(c, "bodies", true), &list);
	return e == ERR_OK ? result_is(c, inbox_result(list)) : e;
}

struct taking {
	struct command_ctx *cx;
	struct request *request;
	struct inbox_waiter waiter;
	struct timer timer;
	uint64_t until_ms;
	size_t limit;
	bool ack;
};

/* The messages stay new if the marking fails: then they come again, and never get lost. */
static enum err take(struct call *c, const struct node_id *author, size_t limit, bool ack, json_t **out)
{
	struct inbox_filter filter = { .author = author && author->hex[0] ? author : NULL, .state = INBOX_NEW };
	bool changed;
	size_t i;
	json_t *list, *m;
	enum err e = collect(c, &filter, limit, true, &list);

	if (e != ERR_OK)
		return e;
	json_array_foreach (list, i, m) {
		if (!ack)
			break;
		e = node_inbox_read(c->cx->node, json_integer_value(json_object_get(m, "seq")), &changed);
		if (e != ERR_OK)
			break;
	}
	/* Handed out only when it is on disk that they are: else the next taker gets them again. */
	if (e == ERR_OK && ack && json_array_size(list) > 0)
		e = node_commit(c->cx->node);
	if (e != ERR_OK) {
		json_decref(list);
		return store_refused(c, e);
	}
	*out = list;
	return ERR_OK;
}

static void taking_free(struct taking *t)
{
	events_inbox_await_end(t->cx->events, &t->waiter);
	timer_stop(t->cx->env, &t->timer);
	free(t);
}

static void taking_cancel(struct request *r)
{
	taking_free(r->state);
}

static void taking_rearm(struct taking *t)
{
	uint64_t now = env_now(t->cx->env);

	timer_in(t->cx->env, &t->timer, t->until_ms > now ? t->until_ms - now : 0);
}

/* Something arrived, or the time is over. */
static void taking_due(void *ctx)
{
	struct taking *t = ctx;
	struct request *r = t->request;
	struct fault f = { 0 };
	struct call c = { .cx = t->cx, .f = &f };
	json_t *list;
	enum err e = take(&c, &t->waiter.author, t->limit, t->ack, &list);

	if (e == ERR_OK && json_array_size(list) == 0 && env_now(t->cx->env) < t->until_ms) {
		json_decref(list);
		taking_rearm(t); /* somebody else took it */
		return;
	}
	taking_free(t);
	if (e == ERR_OK)
		request_answer(r, inbox_result(list));
	else
		request_fail(r, &f);
}

static void taking_arrived(void *ctx)
{
	struct taking *t = ctx;

	timer_in(t->cx->env, &t->timer, 0);
}

enum err command_inbox_take(struct call *c)
{
	size_t limit = (size_t)arg_int(c, "limit", 1);
	uint64_t wait_ms = (uint64_t)arg_int(c, "wait_ms", 0);
	bool ack = arg_bool(c, "ack", true);
	const struct pin *pin = NULL;
	struct taking *t;
	json_t *list;
	enum err e = ERR_OK;

	if (arg_text(c, "from"))
		e = arg_peer(c, "from", &pin);
	if (e == ERR_OK)
		e = take(c, pin ? &pin->id : NULL, limit, ack, &list);
	if (e != ERR_OK)
		return e;
	if (json_array_size(list) > 0 || wait_ms == 0)
		return result_is(c, inbox_result(list));
	json_decref(list);
	t = calloc(1, sizeof *t);
	if (!t)
		return no_memory(c);
	t->cx = c->cx;
	t->request = c->request;
	t->limit = limit;
	t->ack = ack;
	t->until_ms = env_now(c->cx->env) + wait_ms;
	t->waiter.fn = taking_arrived;
	t->waiter.ctx = t;
	if (pin)
		t->waiter.author = pin->id;
	timer_init(&t->timer, taking_due, t);
	events_inbox_await(c->cx->events, &t->waiter);
	taking_rearm(t);
	c->request->state = t;
	c->request->cancel = taking_cancel;
	c->later = true;
	return ERR_OK;
}

static enum err changed_result(struct call *c, uint64_t changed)
{
	return result_is(c, json_pack("{s:s, s:I}", "schema", "ironmesh.inbox.ack/1", "changed",
				      (json_int_t)changed));
}

static enum err no_such(struct call *c, enum err e)
{
	if (e == ERR_NOTFOUND) {
		fault_set(c->f, e, EXIT_GENERIC, "the inbox has no such message");
		fault_next(c->f, "ironmesh inbox list");
		return e;
	}
	if (e == ERR_WRONG_STATE) {
		fault_set(c->f, e, EXIT_GENERIC, "the message is held: its sender is not approved");
		fault_next(c->f, "ironmesh peers list");
		return e;
	}
	return store_refused(c, e);
}

enum err command_inbox_ack(struct call *c)
{
	struct bytes id = arg_bytes(c, "msg_id");
	int64_t seq = arg_int(c, "seq", 0);
	struct inbox_row rows[16];
	uint64_t count = 0;
	size_t got = 0;
	bool changed = false;
	enum err e;

	if ((seq > 0) == (id.p != NULL))
		return fault_set(c->f, ERR_USAGE, EXIT_USAGE, "inbox.ack needs exactly one of 'seq' and 'msg_id'");
	if (seq > 0) {
		e = node_inbox_read(c->cx->node, seq, &changed);
		if (e == ERR_OK && changed)
			e = node_commit(c->cx->node);
		return e == ERR_OK ? changed_result(c, changed) : no_such(c, e);
	}
	/* Two authors may use the same id: both are marked. */
	e = inbox_find(c->cx->store, id, rows, 16, &got);
	if (e == ERR_OK && got == 0)
		e = ERR_NOTFOUND;
	for (size_t i = 0; e == ERR_OK && i < got; i++) {
		e = node_inbox_read(c->cx->node, rows[i].seq, &changed);
		if (e == ERR_WRONG_STATE && got > 1)
			e = ERR_OK;
		else if (e == ERR_OK)
			count += changed;
	}
	if (e == ERR_OK && count)
		e = node_commit(c->cx->node);
	return e == ERR_OK ? changed_result(c, count) : no_such(c, e);
}

enum err command_inbox_delete(struct call *c)
{
	int64_t seq = arg_int(c, "seq", 0);
	struct inbox_row row;
	enum err e = inbox_get(c->cx->store, seq, &row);

	if (e == ERR_OK && row.state == INBOX_DROPPED)
		return changed_result(c, 0);
	if (e == ERR_OK) {
		enum err commit;

		e = inbox_delete(c->cx->store, seq);
		commit = node_commit(c->cx->node); /* after a failed write too: the whole group is lost then */
		e = e == ERR_OK ? commit : e;
	}
	return e == ERR_OK ? changed_result(c, 1) : no_such(c, e);
}
