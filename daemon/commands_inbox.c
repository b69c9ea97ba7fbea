/* inbox.* */
#include "daemon/commands_internal.h"
#include "daemon/feed.h"
#include <stdlib.h>

#define ROW_COST 2048 /* of a message besides its body, as it is counted: more than it usually is */
#define ROW_ROOM 8192 /* of a message besides its body, at most */

/* The answer is written, not built: this is the path of every message that a program takes. */
struct page {
	const struct command_ctx *cx;
	struct buf text;           /* {"schema":..,"messages":[.. */
	struct buf body;
	struct inbox_row *rows;    /* of what is in it */
	size_t count, cap;
	size_t used;               /* bytes, as they are counted */
	/* Most messages of a page are by the same author. */
	struct node_id who;
	char ref[640];             /* how `who` is shown */
	size_t ref_n;
};

static void page_init(struct page *p, const struct command_ctx *cx)
{
	p->cx = cx;
	p->rows = NULL;
	p->count = p->cap = p->used = p->ref_n = 0;
	buf_init(&p->text, RESULT_MAX + ROW_ROOM);
	buf_init(&p->body, STORE_BODY_MAX);
	buf_add_str(&p->text, "{\"schema\":\"ironmesh.inbox/1\",\"messages\":[");
}

static void page_fini(struct page *p)
{
	buf_wipe(&p->body);
	buf_fini(&p->body);
	buf_fini(&p->text);
	free(p->rows);
}

/* Takes the page. */
static void page_answer(struct page *p, struct request *r)
{
	struct fault f = { 0 };

	buf_add_str(&p->text, "]}");
	if (p->text.err != ERR_OK)
		fault_set(&f, p->text.err, EXIT_RETRY, "the daemon has no memory for this");
	r->reply(r, buf_bytes(&p->text), p->text.err == ERR_OK ? NULL : &f);
	page_fini(p);
}

static void add_text(struct buf *b, const char *name, const char *value)
{
	char safe[1024];

	buf_add_str(b, name);
	if (value[0])
		json_add_text(b, bytes_str(text_safe(bytes_str(value), safe, sizeof safe)));
	else
		buf_add_str(b, "null");
}

static void add_uint(struct buf *b, const char *name, uint64_t v)
{
	buf_add_str(b, name);
	buf_add_uint(b, v);
}

static void add_peer(struct page *p, const char *name, const struct node_id *id)
{
	struct buf *b = &p->text;
	const struct pin *pin;
	size_t from;

	buf_add_str(b, name);
	if (p->ref_n && node_id_eq(id, &p->who)) {
		buf_add(b, bytes_of(p->ref, p->ref_n));
		return;
	}
	from = b->n;
	pin = pins_get(p->cx->pins, id);
	buf_add_str(b, "{\"id\":\"");
	buf_add_str(b, id->hex);
	add_text(b, "\",\"name\":", !pin ? "" : pin->alias[0] ? pin->alias : pin->name);
	buf_add_u8(b, '}');
	p->ref_n = b->err == ERR_OK && b->n - from <= sizeof p->ref ? b->n - from : 0;
	if (p->ref_n) {
		memcpy(p->ref, b->p + from, p->ref_n);
		p->who = *id;
	}
}

/* Text that would not be read back (NUL), or that is larger than its base64, goes as base64. */
static enum err add_body(struct page *p, const struct inbox_row *r)
{
	struct buf *b = &p->text;
	size_t from = b->n;
	struct bytes body;
	enum err e;

	buf_reset(&p->body);
	e = inbox_row_body(p->cx->store, r, &p->body);
	if (e != ERR_OK || b->err != ERR_OK)
		return e;
	body = buf_bytes(&p->body);
	if (utf8_valid(body) && (!body.n || !memchr(body.p, 0, body.n))) {
		size_t text;

		buf_add_str(b, ",\"body\":");
		text = b->n;
		json_add_text(b, body);
		text = b->n - text;
		if (b->err != ERR_LIMIT && (text <= BASE64_LEN(body.n) + 2 || text < 4096))
			return ERR_OK;
		b->n = from;
		b->err = ERR_OK;
	}
	buf_add_str(b, ",\"body_b64\":\"");
	(void)!buf_add_base64(b, body);
	buf_add_u8(b, '"');
	return ERR_OK;
}

/* By the author's clock; 0 = nobody said: the old wire carries none, and an author may have no clock. */
static uint64_t expiry_of(const struct inbox_row *r, const struct message_ext *x)
{
	if (!r->has_wire || !r->created_ms)
		return 0;
	return r->created_ms + (x->ttl_s ? x->ttl_s : MSG_TTL_DEFAULT_S) * 1000ull;
}

static void add_row(struct page *p, const struct inbox_row *r)
{
	struct buf *b = &p->text;
	struct message_ext x;

	fields_of_row(bytes_of(r->meta, r->meta_len), r->type, &x);
	add_uint(b, "{\"seq\":", (uint64_t)r->seq);
	add_text(b, ",\"msg_id\":", r->id);
	add_peer(p, ",\"from\":", &r->author);
	add_peer(p, ",\"via\":", &r->via);
	add_text(b, ",\"type\":", r->type);
	buf_add_str(b, ",\"priority\":\"");
	buf_add_str(b, priority_text(r->priority));
	buf_add_str(b, "\",\"state\":\"");
	buf_add_str(b, inbox_state_word(r->state));
	add_uint(b, "\",\"created_ms\":", r->created_ms);
	add_uint(b, ",\"received_ms\":", r->received_ms);
	add_uint(b, ",\"read_ms\":", r->read_ms);
	buf_add_str(b, r->proven ? ",\"proven\":true" : ",\"proven\":false");
	add_uint(b, ",\"size\":", r->body_len);
	fields_add_all(b, &x);
	buf_add_str(b, r->proven ? ",\"signed\":true" : ",\"signed\":false");
	buf_add_str(b, r->sealed != INBOX_OPEN ? ",\"sealed\":true" : ",\"sealed\":false");
	buf_add_str(b, r->sealed == INBOX_SEALED_NO_FS ? ",\"no_fs\":true" : ",\"no_fs\":false");
	add_uint(b, ",\"expires_ms\":", expiry_of(r, &x));
}

/* Appends one; *full when it does not fit the line any more (then nothing is appended). */
static enum err append_message(struct page *p, const struct inbox_row *r, bool bodies, bool *full)
{
	struct buf *b = &p->text;
	size_t from = b->n, cost;
	enum err e = ERR_OK;

	if (p->count)
		buf_add_u8(b, ',');
	add_row(p, r);
	cost = b->n;
	/* A deleted message has no body; one that does not open says so and stays listed. */
	if (bodies)
		e = add_body(p, r);
	if (e == ERR_NOTFOUND)
		e = ERR_OK;
	if (e == ERR_CORRUPT) {
		log_error("inbox-body-does-not-open seq=%lld", (long long)r->seq);
		buf_add_str(b, ",\"damaged\":true");
		e = ERR_OK;
	}
	buf_add_u8(b, '}');
	if (e == ERR_OK && b->err != ERR_OK && b->err != ERR_LIMIT)
		e = b->err;
	cost = ROW_COST + b->n - cost;
	*full = e == ERR_OK && p->count > 0 &&
		(b->err == ERR_LIMIT || b->n > RESULT_MAX - 2 || p->used + cost > RESULT_MAX - ROW_COST);
	if (*full) {
		b->n = from;
		b->err = ERR_OK;
	} else if (e == ERR_OK) {
		p->count++;
		p->used += cost;
	}
	return e;
}

#define INBOX_BATCH 64

/* Room for one batch behind what is there. */
static enum err page_room(struct page *p)
{
	struct inbox_row *rows;
	size_t cap = p->cap ? p->cap * 2 : INBOX_BATCH;

	if (p->cap - p->count >= INBOX_BATCH)
		return ERR_OK;
	rows = realloc(p->rows, cap * sizeof *rows);
	if (!rows)
		return ERR_NOMEM;
	p->rows = rows;
	p->cap = cap;
	return ERR_OK;
}

/* As many messages as fit one answer. */
static enum err collect(struct call *c, struct inbox_filter *filter, size_t limit, bool bodies, struct page *p)
{
	size_t got = 1;
	bool full = false;
	enum err e = ERR_OK;

	page_init(p, c->cx);
	while (e == ERR_OK && got && !full && p->count < limit) {
		size_t want = limit - p->count;

		e = page_room(p);
		if (e == ERR_OK)
			e = inbox_list(c->cx->store, filter, p->rows + p->count, want < INBOX_BATCH ? want : INBOX_BATCH,
				       &got);
		for (size_t i = 0; e == ERR_OK && !full && i < got; i++) {
			/* Those that are in the page lie before it, in one piece. */
			const struct inbox_row *r = p->rows + p->count;

			e = append_message(p, r, bodies, &full);
			filter->after_seq = r->seq;
		}
	}
	if (e == ERR_OK)
		return ERR_OK;
	page_fini(p);
	return store_refused(c, e);
}

static enum err page_is(struct call *c, struct page *p)
{
	c->later = true; /* the request is gone with its answer */
	page_answer(p, c->request);
	return ERR_OK;
}

enum err command_inbox_list(struct call *c)
{
	struct inbox_filter filter = { .state = -1, .after_seq = arg_int(c, "after", 0) };
	const char *state = arg_text(c, "state");
	const struct pin *pin = NULL;
	struct page page;
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
	e = collect(c, &filter, (size_t)arg_int(c, "limit", 100), arg_bool(c, "bodies", true), &page);
	return e == ERR_OK ? page_is(c, &page) : e;
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
static enum err take(struct call *c, const struct node_id *author, size_t limit, bool ack, struct page *p)
{
	struct inbox_filter filter = { .author = author && author->hex[0] ? author : NULL, .state = INBOX_NEW };
	enum err e = collect(c, &filter, limit, true, p);
	bool changed;

	if (e != ERR_OK || !ack || p->count == 0)
		return e;
	for (size_t i = 0; e == ERR_OK && i < p->count; i++)
		e = node_inbox_take(c->cx->node, &p->rows[i], &changed);
	/* Handed out only when it is on disk that they are: else the next taker gets them again. */
	if (e == ERR_OK)
		e = node_commit(c->cx->node);
	if (e == ERR_OK)
		return ERR_OK;
	page_fini(p);
	return store_refused(c, e);
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
	struct page page;
	enum err e = take(&c, &t->waiter.author, t->limit, t->ack, &page);

	if (e == ERR_OK && page.count == 0 && env_now(t->cx->env) < t->until_ms) {
		page_fini(&page);
		taking_rearm(t); /* somebody else took it */
		return;
	}
	taking_free(t);
	if (e == ERR_OK)
		page_answer(&page, r);
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
	struct page page;
	enum err e = ERR_OK;

	if (arg_text(c, "from"))
		e = arg_peer(c, "from", &pin);
	if (e == ERR_OK)
		e = take(c, pin ? &pin->id : NULL, limit, ack, &page);
	if (e != ERR_OK)
		return e;
	if (page.count > 0 || wait_ms == 0)
		return page_is(c, &page);
	page_fini(&page);
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
		if (e == ERR_OK)
			feed_touched(c->cx->feed, &row.author, seq);
	}
	return e == ERR_OK ? changed_result(c, 1) : no_such(c, e);
}
