/*
 * session.c -- the queues, the timers and the table that session.h calls.
 */
#include <stdlib.h>

#include "protocol/v09/v09_internal.h"

#define UNIT_HEAD 5

static struct v09 *v09_of(const struct session *s)
{
	return (struct v09 *)s;
}

uint64_t v09_now(const struct v09 *s)
{
	return env_now(s->c.env);
}

/* --- queues --------------------------------------------------------------------------------------- */
bool v09_queue_room(const struct v09 *s, size_t n)
{
	size_t used = s->out_at == s->out.n ? 0 : s->out.n;

	return n <= OUT_MAX - UNIT_HEAD && used <= OUT_MAX - UNIT_HEAD - n;
}

size_t v09_unit_begin(struct v09 *s)
{
	uint8_t head[UNIT_HEAD] = { 0 };

	if (s->out_at == s->out.n) {
		buf_reset(&s->out);
		s->out_at = 0;
	}
	size_t mark = s->out.n;
	buf_add(&s->out, BYTES_ARR(head));
	return mark;
}

static void unit_close(struct v09 *s, size_t mark, bool text)
{
	struct wr w = wr_init(s->out.p + mark, UNIT_HEAD);

	wr_u32(&w, (uint32_t)(s->out.n - mark - UNIT_HEAD));
	wr_u8(&w, text);
}

void v09_unit_end(struct v09 *s, size_t mark, bool keep)
{
	if (keep && s->out.err == ERR_OK)
		unit_close(s, mark, false);
	else
		s->out.n = mark;
	s->out.err = ERR_OK;
}

void v09_queue_text(struct v09 *s, const struct buf *b)
{
	size_t mark = v09_unit_begin(s);

	buf_add(&s->out, buf_bytes(b));
	if (b->err != ERR_OK || s->out.err != ERR_OK) {
		s->out.err = ERR_OK;
		s->out.n = mark;
		v09_over(s, ERR_NOMEM, BLAME_NONE, "no-memory");
		return;
	}
	unit_close(s, mark, true);
}

static bool op_next_unit(struct session *base, struct session_unit *out)
{
	struct v09 *s = v09_of(base);

	if (s->out_at == s->out.n) {
		s->out_at = 0;
		buf_reset(&s->out);
		buf_trim(&s->out, 0); /* an idle session is its struct and nothing else */
		return false;
	}
	struct rd r = rd_init(s->out.p + s->out_at, s->out.n - s->out_at);
	uint32_t n = rd_u32(&r);
	bool text = rd_u8(&r);
	struct bytes b = rd_bytes(&r, n);

	BUG_ON(r.err != ERR_OK);
	s->out_at += UNIT_HEAD + n;
	*out = (struct session_unit){ b, text };
	return true;
}

void v09_event(struct v09 *s, const struct session_event *e)
{
	BUG_ON(s->events_n == EVENTS_MAX); /* the owner drains after every call */
	s->events[s->events_n++] = (struct waiting){ e->type, e->err, e->blame, e->word, e->rtt_ms };
	if (e->type == SESSION_EV_CONTROL)
		s->item = e->item;
	if (e->type == SESSION_EV_MESSAGE)
		s->message = e->message;
}

void v09_dropped(struct v09 *s, enum err e, const char *word)
{
	v09_event(s, &(struct session_event){ .type = SESSION_EV_DROPPED, .err = e, .word = word });
}

const char *v09_word(struct v09 *s, struct bytes text)
{
	return text_safe(text, s->word, sizeof s->word);
}

static bool op_next_event(struct session *base, struct session_event *out)
{
	struct v09 *s = v09_of(base);
	struct receipt r;

	if (s->events_at < s->events_n) {
		const struct waiting *w = &s->events[s->events_at++];

		*out = (struct session_event){ .type = w->type, .err = w->err, .blame = w->blame,
					       .word = w->word, .rtt_ms = w->rtt_ms };
		if (w->type == SESSION_EV_CONTROL)
			out->item = s->item;
		if (w->type == SESSION_EV_MESSAGE)
			out->message = s->message;
		if (w->type == SESSION_EV_TRANSIT)
			out->transit = &s->far->t;
		return true;
	}
	s->events_n = s->events_at = 0;
	if (s->ack.root && ack_next(&s->ack, &r)) {
		*out = (struct session_event){ .type = SESSION_EV_RECEIPT, .receipt = r.kind,
					       .receipt_id = r.id, .receipt_reason = r.reason };
		if (s->far)
			out->receipt_from = s->far->ack_from;
		return true;
	}
	free(s->far);
	s->far = NULL;
	buf_reset(&s->plain);
	buf_reset(&s->body);
	buf_reset(&s->work);
	buf_trim(&s->plain, 0);
	buf_trim(&s->body, 0);
	buf_trim(&s->work, 0);
	return false;
}

/* --- the table ------------------------------------------------------------------------------------ */
void v09_wipe_keys(struct v09 *s)
{
	v09_shake_free(s);
	wipe(s->key, sizeof s->key);
	wipe(s->old_key, sizeof s->old_key);
	wipe(s->rekey_sk, sizeof s->rekey_sk);
	s->old_until_ms = 0;
	s->rekey_pending = false;
}

static void op_free(struct session *base)
{
	struct v09 *s = v09_of(base);

	v09_wipe_keys(s);
	ack_free(&s->ack);
	free(s->far);
	buf_wipe(&s->plain);
	buf_wipe(&s->body);
	buf_wipe(&s->work);
	buf_fini(&s->plain);
	buf_fini(&s->body);
	buf_fini(&s->work);
	buf_fini(&s->out);
	wipe(s, sizeof *s);
	free(s);
}

static void op_start(struct session *base)
{
	struct v09 *s = v09_of(base);

	if (s->state == V09_NEW)
		v09_shake_start(s);
}

static void op_take(struct session *base, struct bytes unit, bool text)
{
	struct v09 *s = v09_of(base);

	/* A waiting message or ACK borrows the buffers that this unit overwrites. */
	BUG_ON(s->state != V09_OVER && (s->events_at < s->events_n || s->ack.root));
	if (s->state == V09_ONLINE)
		v09_online_take(s, unit, text);
	else if (s->state != V09_OVER)
		v09_shake_take(s, unit);
}

static void op_admit(struct session *base)
{
	v09_shake_admit(v09_of(base));
}

static void op_refuse(struct session *base, enum err e, const char *word)
{
	struct v09 *s = v09_of(base);

	if (s->state != V09_IDENTIFIED)
		return;
	if (s->c.role == SESSION_LISTENER && strcmp(word, SESSION_REFUSE_NEEDS_IM2) == 0) {
		struct buf b;

		buf_init(&b, 256);
		error_write(&b, "im2 required for this identity", "AUTH_FAILED");
		v09_queue_text(s, &b);
		buf_fini(&b);
	}
	v09_over(s, e, BLAME_NONE, word);
}

static bool op_online(const struct session *base)
{
	return v09_of(base)->state == V09_ONLINE;
}

static bool op_over(const struct session *base)
{
	return v09_of(base)->state == V09_OVER;
}

static bool op_proven(const struct session *base)
{
	unsigned state = v09_of(base)->state;

	return state == V09_PROOF_OK || state == V09_IDENTIFIED || state == V09_ONLINE;
}

static const struct session_peer *op_peer(const struct session *base)
{
	return &v09_of(base)->peer;
}

static bool op_can_send(const struct session *base)
{
	const struct v09 *s = v09_of(base);

	return s->state == V09_ONLINE && v09_now(s) >= s->pause_until_ms;
}

static enum err op_send(struct session *base, const struct message *m)
{
	struct v09 *s = v09_of(base);

	if (s->state != V09_ONLINE)
		return ERR_WRONG_STATE;
	if (v09_now(s) < s->pause_until_ms)
		return ERR_AGAIN;
	return v09_send_user(s, m);
}

static bool receipts_valid(const struct receipt *r, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!receipt_valid(&r[i]))
			return false;
	return true;
}

static enum err op_send_receipts(struct session *base, const struct receipt *r, size_t n)
{
	struct v09 *s = v09_of(base);
	enum err e = ERR_OK;

	if (s->state != V09_ONLINE)
		return ERR_WRONG_STATE;
	if (!s->peer.confirms)
		return ERR_OK;
	if (!receipts_valid(r, n))
		return ERR_MALFORMED;
	while (n && e == ERR_OK) {
		struct buf b;

		buf_init(&b, CONTROL_MAX);
		size_t k = ack_write(&b, keyring_id(s->c.keyring), r, n);
		BUG_ON(k == 0);
		/* No inner signature: an ACK goes one hop, to a peer that knows it, and signatures are
		 * the cost budget. The outer one authenticates it. */
		e = b.err == ERR_OK ? v09_send_control(s, "ACK", buf_bytes(&b), false) : b.err;
		buf_fini(&b);
		r += k;
		n -= k;
	}
	return e;
}

enum err v09_send_small(struct v09 *s, const char *type)
{
	struct buf b;
	enum err e;

	if (s->state != V09_ONLINE)
		return ERR_WRONG_STATE;
	buf_init(&b, CONTROL_MAX);
	if (strcmp(type, "GOODBYE") == 0)
		goodbye_write(&b, keyring_id(s->c.keyring));
	else
		control_write(&b, type, keyring_id(s->c.keyring));
	e = b.err == ERR_OK ? v09_send_control(s, type, buf_bytes(&b), true) : b.err;
	buf_fini(&b);
	return e;
}

enum err v09_send_ping(struct v09 *s)
{
	enum err e = v09_send_small(s, "PING");

	if (e == ERR_OK)
		s->ping_ms = v09_now(s) + 1; /* 0 = none outstanding */
	return e;
}

static enum err op_ping(struct session *base)
{
	return v09_send_ping(v09_of(base));
}

static enum err op_rate_limited(struct session *base)
{
	struct v09 *s = v09_of(base);
	uint64_t now = v09_now(s);

	/* Upstream sends one for each drop, and two daemons can play ping-pong with them (wire 7). */
	if (s->rate_limited_once && now - s->rate_limited_ms < 1000)
		return ERR_OK;
	enum err e = v09_send_small(s, "RATE_LIMITED");
	if (e == ERR_OK) {
		s->rate_limited_once = true;
		s->rate_limited_ms = now;
	}
	return e;
}

static enum err op_goodbye(struct session *base)
{
	return v09_send_small(v09_of(base), "GOODBYE");
}

static enum err op_key_rotate(struct session *base, const uint8_t *new_ed)
{
	struct v09 *s = v09_of(base);
	struct buf b;
	enum err e;

	if (s->state != V09_ONLINE)
		return ERR_WRONG_STATE;
	buf_init(&b, CONTROL_MAX);
	key_rotate_write(&b, keyring_id(s->c.keyring), new_ed, env_wall(s->c.env));
	e = b.err == ERR_OK ? v09_send_control(s, "KEY_ROTATE", buf_bytes(&b), true) : b.err;
	buf_fini(&b);
	return e;
}

static enum err op_rekey(struct session *base)
{
	struct v09 *s = v09_of(base);

	return s->state == V09_ONLINE ? v09_rekey_start(s) : ERR_WRONG_STATE;
}

static uint64_t op_deadline(const struct session *base)
{
	const struct v09 *s = v09_of(base);

	if (s->state == V09_OVER)
		return UINT64_MAX;
	return s->state == V09_ONLINE ? v09_rekey_deadline(s) : s->deadline_ms;
}

static void op_tick(struct session *base)
{
	struct v09 *s = v09_of(base);

	if (s->state == V09_ONLINE)
		v09_rekey_tick(s);
	else if (s->state != V09_OVER && v09_now(s) >= s->deadline_ms)
		/* Waiting for our own decision is not the fault of the address. */
		v09_over(s, ERR_TIMEOUT, s->state == V09_IDENTIFIED ? BLAME_NONE : BLAME_GARBAGE,
			 "handshake-timeout");
}

static const struct session_ops ops = {
	.free = op_free,
	.start = op_start,
	.take = op_take,
	.next_unit = op_next_unit,
	.next_event = op_next_event,
	.admit = op_admit,
	.refuse = op_refuse,
	.online = op_online,
	.over = op_over,
	.proven = op_proven,
	.peer = op_peer,
	.send = op_send,
	.can_send = op_can_send,
	.send_receipts = op_send_receipts,
	.ping = op_ping,
	.rate_limited = op_rate_limited,
	.goodbye = op_goodbye,
	.key_rotate = op_key_rotate,
	.rekey = op_rekey,
	.deadline_ms = op_deadline,
	.tick = op_tick,
};

enum err v09_session_new(const struct session_config *c, struct session **out)
{
	struct v09 *s = calloc(1, sizeof *s);

	if (!s)
		return ERR_NOMEM;
	s->base.ops = &ops;
	s->c = *c;
	if (!s->c.min_version)
		s->c.min_version = VERSION_OF(0, 3);
	if (!s->c.handshake_ms)
		s->c.handshake_ms = 5000;
	if (!s->c.past_ms)
		s->c.past_ms = 30000;
	if (!s->c.future_ms)
		s->c.future_ms = 5000;
	s->deadline_ms = UINT64_MAX;
	s->peer.generation = "0.9";
	bucket_init(&s->pongs, 2, 10, v09_now(s));
	/* Upstream asks every half hour, and an operator may press the button on either side. */
	bucket_init(&s->rekeys, 0.2, 4, v09_now(s));
	buf_init(&s->out, OUT_MAX);
	buf_init(&s->plain, FRAME_ENC_MAX);
	buf_init(&s->body, FRAME_ENC_MAX);
	buf_init(&s->work, FRAME_ENC_MAX + 1024);
	*out = &s->base;
	return ERR_OK;
}
