/* send, wait: one message, and what becomes of it */
#include "daemon/commands_internal.h"

#include <stdlib.h>

#define ANSWER_ROOM 512 /* what an answer usually needs */

enum goal { GOAL_SENT, GOAL_DELIVERED, GOAL_READ };

struct sending {
	struct command_ctx *cx;
	struct message_ext ext;      /* of a `send` */
	struct request *request;
	struct message_waiter waiter;
	struct timer timer;
	struct node_id to, was;      /* was: the old id that was given, hex "" for none */
	uint64_t queued_ms;          /* wall */
	uint64_t started_ms;         /* monotonic */
	uint64_t wait_ms;
	enum goal goal;
	bool waits, committed, unlinked;
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

	buf_add_str(b, name);
	json_add_string(b, bytes_str(text_safe(bytes_str(value), safe, sizeof safe)));
}

/* Answers are written, not built: this is the path of every message. */
static void answer_head(struct buf *b, const struct sending *s, const char *id, const char *state)
{
	buf_add_str(b, "{\"schema\":\"ironmesh.send/1\",\"msg_id\":");
	json_add_string(b, bytes_str(id));
	peer_add(b, s->cx, &s->to);
	rotated_add(b, &s->was);
	buf_add_str(b, ",\"state\":\"");
	buf_add_str(b, state);
	buf_add_str(b, "\",\"queued_ms\":");
	buf_add_uint(b, s->queued_ms);
}

/* Frees `s`. */
static void sending_answer(struct sending *s, const char *state, const char *reason, bool timed_out)
{
	struct request *r = s->request;
	struct fault f = { 0 };
	struct buf b;

	buf_init(&b, 8192);
	(void)!buf_reserve(&b, ANSWER_ROOM);
	answer_head(&b, s, s->waiter.id, state);
	fields_add(&b, &s->ext);
	if (s->unlinked)
		buf_add_str(&b, ",\"unlinked\":true");
	if (s->waits) {
		buf_add_str(&b, ",\"waited_ms\":");
		buf_add_uint(&b, env_now(s->cx->env) - s->started_ms);
		buf_add_str(&b, timed_out ? ",\"timed_out\":true" : ",\"timed_out\":false");
		if (s->via[0])
			add_text(&b, ",\"via\":", s->via);
		if (s->delivered) {
			buf_add_str(&b, ",\"delivered_in_ms\":");
			buf_add_uint(&b, s->in_ms);
		}
		if (reason && reason[0])
			add_text(&b, ",\"reason\":", reason);
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
	sending_answer(s, outbox_shown(&row), row.reason, !done);
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

/* Touches no disk, so it is answered at once: it left, or it did not. */
static enum err send_volatile(struct call *c, struct draft *d, const struct node_id *was)
{
	char id[MSG_ID_MAX + 1];
	struct sending s = { .cx = c->cx, .request = c->request, .to = d->m.to, .was = *was,
			     .queued_ms = env_wall(c->cx->env) };
	struct buf b;
	enum err e;

	if (json_object_get(c->params, "wait_ms") || json_object_get(c->params, "wait_for"))
		return fault_set(c->f, ERR_USAGE, EXIT_USAGE,
				 "nobody confirms a volatile message: there is nothing to wait for");
	e = draft_send(c, d, NULL, NULL, id);
	if (e != ERR_OK)
		return e;
	buf_init(&b, 8192);
	answer_head(&b, &s, id, outbox_state_word(OUTBOX_SENT));
	fields_add(&b, &d->m.ext);
	buf_add_str(&b, ",\"volatile\":true}");
	c->later = true; /* the request is gone with its answer */
	c->request->reply(c->request, buf_bytes(&b), NULL);
	buf_fini(&b);
	return ERR_OK;
}

static enum err send_kept(struct call *c, struct draft *d, const struct node_id *was)
{
	char id[MSG_ID_MAX + 1];
	struct sending *s;
	enum err e = sending_new(c, &s);

	if (e != ERR_OK)
		return e;
	s->to = d->m.to;
	s->was = *was;
	s->queued_ms = env_wall(c->cx->env);
	if ((d->m.ext.flags & MSG_NO_RECEIPT) && s->waits && s->goal != GOAL_SENT) {
		fault_set(c->f, ERR_USAGE, EXIT_USAGE, "nobody confirms a message without a receipt");
		fault_next(c->f, "the same command with --wait-for sent, or without --no-receipt");
		e = ERR_USAGE;
	}
	if (e == ERR_OK && s->waits && s->goal == GOAL_READ && !(d->m.ext.flags & MSG_WANTS_READ)) {
		fault_set(c->f, ERR_USAGE, EXIT_USAGE, "nobody says that a message without a read receipt was read");
		fault_next(c->f, "the same command with --wait-for delivered, or without --no-read-receipt");
		e = ERR_USAGE;
	}
	if (e == ERR_OK)
		e = draft_send(c, d, submitted, s, id);
	if (e == ERR_OK && s->waits && events_await(c->cx->events, &s->waiter, id) != ERR_OK)
		s->waits = false; /* too many wait: it is queued all the same, and the answer says so */
	if (e != ERR_OK) {
		free(s);
		return e;
	}
	memcpy(s->waiter.id, id, sizeof id);
	s->ext = d->m.ext;
	s->unlinked = d->unlinked;
	sending_keep(c, s);
	c->request->short_lived = true;
	return ERR_OK;
}

enum err command_send(struct call *c)
{
	const struct pin *pin;
	struct node_id was;
	struct draft d;
	enum err e = arg_recipient(c, &pin, &was);

	if (e != ERR_OK)
		return e;
	draft_init(&d, &pin->id, arg_bool(c, "volatile", false), arg_bool(c, "agent", false));
	e = draft_read(c, &d);
	if (e == ERR_OK)
		e = d.is_volatile ? send_volatile(c, &d, &was) : send_kept(c, &d, &was);
	draft_fini(&d);
	return e;
}

enum err command_wait(struct call *c)
{
	struct outbox_row row;
	struct sending *s;
	enum err e = message_row(c, &row);

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
