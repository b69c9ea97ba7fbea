/* send, wait, outbox.* */
#include "daemon/commands_internal.h"

#include <stdlib.h>

/* --- send and wait -------------------------------------------------------------------------------- */
enum goal { GOAL_SENT, GOAL_DELIVERED, GOAL_READ };

struct sending {
	struct command_ctx *cx;
	struct request *request;
	struct message_waiter waiter;
	struct timer timer;
	struct node_id to;
	uint64_t queued_ms;          /* wall */
	uint64_t started_ms;         /* monotonic */
	uint64_t wait_ms;
	enum goal goal;
	bool waits, committed;
	bool early;                  /* something happened before the commit: it is looked up after it */
	/* What the events said so far. */
	bool delivered;
	uint64_t in_ms;
	char via[16];
};

static void sending_free(struct sending *s)
{
	events_await_end(s->cx->events, &s->waiter);
	timer_stop(s->cx->env, &s->timer);
	node_submit_forget(s->cx->node, s);
	free(s);
}

static void sending_cancel(struct request *r)
{
	sending_free(r->state);
}

static void add_text(struct buf *b, const char *name, const char *value)
{
	char safe[1024];

	buf_printf(b, ",\"%s\":", name);
	json_add_string(b, bytes_str(text_safe(bytes_str(value), safe, sizeof safe)));
}

/* The answer is written, not built: this is the path of every message. Frees `s`. */
static void sending_answer(struct sending *s, const char *state, const char *reason, bool timed_out)
{
	const struct pin *pin = pins_get(s->cx->pins, &s->to);
	const char *name = !pin ? "" : pin->alias[0] ? pin->alias : pin->name;
	struct request *r = s->request;
	struct fault f = { 0 };
	char safe[256];
	struct buf b;

	buf_init(&b, 8192);
	buf_add_str(&b, "{\"schema\":\"ironmesh.send/1\",\"msg_id\":");
	json_add_string(&b, bytes_str(s->waiter.id));
	buf_printf(&b, ",\"to\":{\"id\":\"%s\",\"name\":", s->to.hex);
	if (name[0])
		json_add_string(&b, bytes_str(text_safe(bytes_str(name), safe, sizeof safe)));
	else
		buf_add_str(&b, "null");
	buf_printf(&b, "},\"state\":\"%s\",\"queued_ms\":%llu", state, (unsigned long long)s->queued_ms);
	if (s->waits) {
		buf_printf(&b, ",\"waited_ms\":%llu,\"timed_out\":%s",
			   (unsigned long long)(env_now(s->cx->env) - s->started_ms),
			   timed_out ? "true" : "false");
		if (s->via[0])
			add_text(&b, "via", s->via);
		if (s->delivered)
			buf_printf(&b, ",\"delivered_in_ms\":%llu", (unsigned long long)s->in_ms);
		if (reason && reason[0])
			add_text(&b, "reason", reason);
	}
	buf_add_u8(&b, '}');
	sending_free(s);
	if (b.err != ERR_OK)
		fault_set(&f, b.err, EXIT_RETRY, "the daemon has no memory for this");
	r->reply(r, buf_bytes(&b), b.err == ERR_OK ? NULL : &f);
	buf_fini(&b);
}

/* `reason` of OUTBOX_SENT: towards a peer that never confirms this is the end, whatever was waited for. */
static bool reached(const struct sending *s, enum outbox_state state, const char *reason)
{
	switch (state) {
	case OUTBOX_QUEUED:
		return false;
	case OUTBOX_SENT:
		return s->goal == GOAL_SENT || (reason && strcmp(reason, "peer-never-confirms") == 0);
	case OUTBOX_DELIVERED:
		return s->goal != GOAL_READ;
	default:
		return true; /* read, or a dead letter */
	}
}

/* The time is over, or it is time for the first look of `wait`. */
static void sending_timer(void *ctx)
{
	struct sending *s = ctx;
	struct outbox_row row;
	uint64_t end = s->started_ms + s->wait_ms, now = env_now(s->cx->env);
	enum err e = node_outbox_get(s->cx->node, bytes_str(s->waiter.id), &row);

	if (e != ERR_OK) {
		struct request *r = s->request;
		struct fault f = { 0 };

		fault_set(&f, e, EXIT_RETRY, "the state of the message cannot be read: %s", err_word(e));
		sending_free(s);
		r->reply(r, (struct bytes){ 0 }, &f);
		return;
	}
	bool done = reached(s, row.state, row.reason);

	if (!done && now < end) {
		timer_in(s->cx->env, &s->timer, end - now);
		return;
	}
	/* It ended before we looked: the times of the row are what is known. */
	if (!s->delivered && (row.state == OUTBOX_DELIVERED || row.state == OUTBOX_READ)) {
		s->delivered = true;
		s->in_ms = row.changed_ms > row.created_ms ? row.changed_ms - row.created_ms : 0;
	}
	sending_answer(s, outbox_state_word(row.state), row.reason, !done);
}

static void sending_event(void *ctx, const struct node_event *e)
{
	struct sending *s = ctx;
	enum outbox_state state;

	if (!s->committed)
		s->early = true;
	if (!s->committed || outbox_state_parse(bytes_str(e->type + strlen("message.")), &state) != ERR_OK)
		return;
	if (e->via)
		snprintf(s->via, sizeof s->via, "%s", e->via);
	if (state == OUTBOX_DELIVERED) {
		s->delivered = true;
		s->in_ms = e->in_ms;
	}
	if (reached(s, state, e->reason))
		sending_answer(s, outbox_state_word(state), e->reason, false);
}

static enum err sending_new(struct call *c, struct sending **out)
{
	struct sending *s = calloc(1, sizeof *s);
	const char *goal = arg_text(c, "wait_for");

	if (!s)
		return no_memory(c);
	s->cx = c->cx;
	s->request = c->request;
	s->started_ms = env_now(c->cx->env);
	s->wait_ms = (uint64_t)arg_int(c, "wait_ms", 0);
	s->waits = s->wait_ms > 0;
	s->goal = GOAL_DELIVERED;
	timer_init(&s->timer, sending_timer, s);
	s->waiter.fn = sending_event;
	s->waiter.ctx = s;
	if (goal && strcmp(goal, "sent") == 0)
		s->goal = GOAL_SENT;
	else if (goal && strcmp(goal, "read") == 0)
		s->goal = GOAL_READ;
	else if (goal && strcmp(goal, "delivered") != 0) {
		free(s);
		return bad_param(c, "wait_for", "delivered, read or sent");
	}
	*out = s;
	return ERR_OK;
}

static void sending_keep(struct call *c, struct sending *s)
{
	c->request->state = s;
	c->request->cancel = sending_cancel;
	c->later = true;
}

static void submitted(void *ctx, const char *msg_id, enum err e)
{
	struct sending *s = ctx;
	struct request *r = s->request;

	if (e != ERR_OK) {
		struct fault f = { 0 };

		fault_set(&f, e, EXIT_RETRY, "the message could not be written to disk; it is not queued");
		fault_means(&f, "the disk may be full; nothing was sent");
		sending_free(s);
		r->reply(r, (struct bytes){ 0 }, &f);
		return;
	}
	s->committed = true;
	if (!s->waits) {
		sending_answer(s, outbox_state_word(OUTBOX_QUEUED), NULL, false);
		return;
	}
	r->short_lived = false;
	timer_at(s->cx->env, &s->timer, s->early ? env_now(s->cx->env) : s->started_ms + s->wait_ms);
}

/* The body of a request: text, or base64 decoded into `own`. */
static enum err body_of(struct call *c, struct buf *own, struct bytes *out)
{
	struct bytes text = arg_bytes(c, "body"), b64 = arg_bytes(c, "body_b64");
	enum err e;

	if (!text.p == !b64.p)
		return fault_set(c->f, ERR_USAGE, EXIT_USAGE, "send needs exactly one of 'body' and 'body_b64'");
	*out = text;
	if (text.p)
		return ERR_OK;
	e = buf_add_base64_decoded(own, b64);
	if (e == ERR_NOMEM)
		return no_memory(c);
	if (e != ERR_OK)
		return bad_param(c, "body_b64", "base64 with padding and without spaces");
	*out = buf_bytes(own);
	return ERR_OK;
}

enum err command_send(struct call *c)
{
	struct submit m = {
		.id = arg_bytes(c, "msg_id"),
		.type = arg_bytes(c, "type"),
		.priority = PRIO_NORMAL,
		.ttl_ms = (uint64_t)arg_int(c, "ttl_ms", 7 * 86400000ll),
	};
	struct bytes priority = arg_bytes(c, "priority");
	const struct pin *pin;
	struct sending *s;
	char id[MSG_ID_MAX + 1];
	struct buf own;
	enum err e;

	if (priority.p && priority_parse(priority, &m.priority) != ERR_OK)
		return bad_param(c, "priority", "low, normal, high or critical");
	if (m.id.p && m.id.n == 0)
		return bad_param(c, "msg_id", "1 to 128 characters");
	e = arg_peer(c, "to", &pin);
	if (e == ERR_OK)
		e = sending_new(c, &s);
	if (e != ERR_OK)
		return e;
	m.to = s->to = pin->id;
	s->queued_ms = env_wall(c->cx->env);
	buf_init(&own, CONTROL_LINE_MAX);
	e = body_of(c, &own, &m.body);
	if (e == ERR_OK)
		e = node_submit(c->cx->node, &m, submitted, s, id, c->f);
	buf_fini(&own);
	if (e == ERR_OK && s->waits && events_await(c->cx->events, &s->waiter, id) != ERR_OK)
		s->waits = false; /* too many wait: it is queued all the same, and the answer says so */
	if (e != ERR_OK) {
		free(s);
		return e;
	}
	memcpy(s->waiter.id, id, sizeof id);
	sending_keep(c, s);
	c->request->short_lived = true;
	return ERR_OK;
}

static enum err find_message(struct call *c, struct outbox_row *row)
{
	struct bytes id = arg_bytes(c, "msg_id");
	char safe[MSG_ID_MAX + 1];
	enum err e = node_outbox_get(c->cx->node, id, row);

	if (e == ERR_OK)
		return e;
	if (e != ERR_NOTFOUND)
		return store_refused(c, e);
	fault_set(c->f, e, EXIT_GENERIC, "no message has the id %s", text_safe(id, safe, sizeof safe));
	fault_next(c->f, "ironmesh outbox list");
	return e;
}

enum err command_wait(struct call *c)
{
	struct outbox_row row;
	struct sending *s;
	enum err e = find_message(c, &row);

	if (e == ERR_OK)
		e = sending_new(c, &s);
	if (e != ERR_OK)
		return e;
	s->to = row.to;
	s->queued_ms = row.created_ms;
	s->committed = s->waits = true;
	if (events_await(c->cx->events, &s->waiter, row.id) != ERR_OK) {
		free(s);
		return fault_set(c->f, ERR_FULL, EXIT_RETRY, "too many programs wait for messages");
	}
	sending_keep(c, s);
	/* In the next round of timers, whether it has ended already or has to be waited for. */
	timer_in(c->cx->env, &s->timer, 0);
	return ERR_OK;
}

/* --- outbox ------------------------------------------------------------------------------------------ */
const char *priority_text(uint8_t p)
{
	static const char *const words[PRIO_COUNT] = { "low", "normal", "high", "critical" };

	return p < PRIO_COUNT ? words[p] : "normal";
}

static json_t *outbox_json(const struct command_ctx *cx, const struct outbox_row *r)
{
	return json_pack("{s:I, s:o, s:o, s:o, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "seq",
			 (json_int_t)r->seq, "msg_id", text_or_null(r->id), "to", peer_ref(cx, &r->to), "type",
			 text_or_null(r->type), "priority", priority_text(r->priority), "state",
			 outbox_state_word(r->state), "attempts", (json_int_t)r->attempts, "created_ms",
			 (json_int_t)r->created_ms, "changed_ms", (json_int_t)r->changed_ms, "expires_ms",
			 (json_int_t)r->expires_ms, "size", (json_int_t)r->body_len, "reason",
			 text_or_null(r->reason));
}

#define OUTBOX_BATCH 256

enum err command_outbox_list(struct call *c)
{
	struct outbox_filter filter = { .state = -1, .before_seq = arg_int(c, "before", 0) };
	size_t limit = (size_t)arg_int(c, "limit", 100), got = 0, batch = limit;
	struct bytes state = arg_bytes(c, "state");
	enum outbox_state s;
	bool overlaid;
	const struct pin *pin = NULL;
	struct outbox_row *rows;
	json_t *list;
	enum err e = ERR_OK;

	if (arg_text(c, "peer"))
		e = arg_peer(c, "peer", &pin);
	if (e != ERR_OK)
		return e;
	filter.peer = pin ? &pin->id : NULL;
	if (state.p && outbox_state_parse(state, &s) != ERR_OK)
		return bad_param(c, "state", "queued, sent, delivered, read, failed, expired, rejected or cancelled");
	/* What is in flight is "queued" on disk and shows as "sent": the filter looks at what shows. */
	overlaid = state.p && (s == OUTBOX_SENT || s == OUTBOX_QUEUED);
	if (state.p && s != OUTBOX_SENT)
		filter.state = (int)s;
	if (overlaid && batch < OUTBOX_BATCH)
		batch = OUTBOX_BATCH;
	rows = calloc(batch, sizeof *rows);
	list = json_array();
	if (!rows || !list)
		e = no_memory(c);
	while (e == ERR_OK && json_array_size(list) < limit) {
		e = node_outbox_list(c->cx->node, &filter, rows, batch, &got);
		if (e != ERR_OK) {
			e = store_refused(c, e);
			break;
		}
		for (size_t i = 0; i < got && json_array_size(list) < limit; i++)
			if (!state.p || rows[i].state == s)
				(void)json_array_append_new(list, outbox_json(c->cx, &rows[i]));
		if (got < batch || !overlaid)
			break;
		filter.before_seq = rows[got - 1].seq;
	}
	free(rows);
	if (e != ERR_OK) {
		json_decref(list);
		return e;
	}
	return result_is(c, json_pack("{s:s, s:o}", "schema", "ironmesh.outbox/1", "messages", list));
}

static enum err show_message(struct call *c)
{
	struct outbox_row row;
	enum err e = find_message(c, &row);
	json_t *o;

	if (e != ERR_OK)
		return e;
	o = outbox_json(c->cx, &row);
	if (o)
		(void)json_object_set_new(o, "schema", json_string("ironmesh.outbox.message/1"));
	return result_is(c, o);
}

enum err command_outbox_show(struct call *c)
{
	return show_message(c);
}

enum err command_outbox_cancel(struct call *c)
{
	enum err e = node_outbox_cancel(c->cx->node, arg_bytes(c, "msg_id"), c->f);

	return e == ERR_OK ? show_message(c) : e;
}

enum err command_outbox_retry(struct call *c)
{
	enum err e = node_outbox_retry(c->cx->node, arg_bytes(c, "msg_id"), c->f);

	return e == ERR_OK ? show_message(c) : e;
}
