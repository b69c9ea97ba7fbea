#include <stdlib.h>

#include "protocol/opening.h"
#include "protocol/v09/v09.h"

#define CHAN_MAX 32 /* a path of ours, a link id or a destination hash (im2.md 5.1) */
#define CB_MAX	 32

struct opening {
	struct session base;
	struct opening_config c;
	uint8_t chan[CHAN_MAX], cb[CB_MAX], source[IM2_SOURCE_MAX];
	/* Listener: 0.9 until the first unit tells; dialler: NULL until S1 does. NULL again when we ended it. */
	struct session *chosen;
	bool decided, started;
	uint64_t deadline_ms;
	struct buf s1; /* listener: the exact text that the peer saw; until the choice */
	bool s1_due;
	uint8_t nonce_s[32];
	bool over, over_due;
	enum err over_err;
	enum session_blame over_blame;
	const char *over_word;
};

static struct opening *opening_of(const struct session *s)
{
	return (struct opening *)s;
}

static void end(struct opening *o, enum err e, enum session_blame blame, const char *word)
{
	session_free(o->chosen);
	o->chosen = NULL;
	o->s1_due = false;
	o->over = o->over_due = true;
	o->over_err = e;
	o->over_blame = blame;
	o->over_word = word;
}

/* Binary, and of the version nibble of im2: old JSON and old frames begin otherwise (1.1). */
static bool is_im2(struct bytes unit, bool text)
{
	return !text && unit.n > 0 && (unit.p[0] & 0xf0) == 0x50;
}

/* --- choosing ------------------------------------------------------------------------------------------ */
/* s1 empty: the link takes the binary S1 itself. */
static void choose_im2(struct opening *o, struct bytes s1)
{
	struct im2_link_config c = o->c.link;
	struct session *s;
	enum err e;

	c.s1 = s1;
	memcpy(c.nonce_s, o->nonce_s, sizeof c.nonce_s);
	e = im2_link_new(o->c.im2, &c, &s);
	if (e != ERR_OK) {
		end(o, e, BLAME_NONE, "no-memory");
		return;
	}
	session_free(o->chosen);
	o->chosen = s;
	o->s1_due = false;
	buf_fini(&o->s1);
	session_start(s);
}

static void choose_v09(struct opening *o)
{
	struct session_config c = o->c.v09;
	uint64_t now = env_now(c.env);
	enum err e;

	/* Both generations together have the time of one handshake. */
	c.handshake_ms = o->deadline_ms > now ? o->deadline_ms - now : 1;
	e = v09_session_new(&c, &o->chosen);
	if (e != ERR_OK) {
		o->chosen = NULL;
		end(o, e, BLAME_NONE, "no-memory");
		return;
	}
	session_start(o->chosen);
}

static void decide_as_listener(struct opening *o, struct bytes unit, bool text)
{
	if (session_over(o->chosen))
		return;
	o->decided = true;
	if (is_im2(unit, text))
		choose_im2(o, buf_bytes(&o->s1));
	else
		buf_fini(&o->s1);
	if (o->chosen)
		session_take(o->chosen, unit, text);
}

static void decide_as_dialler(struct opening *o, struct bytes unit, bool text)
{
	bool never_09 = o->c.require || o->c.pinned_im2, offers = false, challenge;

	o->decided = true;
	if (is_im2(unit, text)) {
		choose_im2(o, (struct bytes){0});
		if (o->chosen)
			session_take(o->chosen, unit, text);
		return;
	}
	challenge = v09_challenge_peek(unit, o->nonce_s, &offers);
	if (challenge && offers) {
		choose_im2(o, unit);
		return;
	}
	if (challenge && never_09) {
		end(o, ERR_DOWNGRADE, BLAME_NONE, "downgrade-refused");
		return;
	}
	/* What is no challenge is a refusal or garbage: 0.9 knows what to call it. */
	choose_v09(o);
	if (o->chosen)
		session_take(o->chosen, unit, text);
	/* Whatever it was, nothing of 0.9 leaves us here. */
	if (o->chosen && never_09 && !session_over(o->chosen))
		end(o, ERR_DOWNGRADE, BLAME_NONE, "downgrade-refused");
}

/* --- the table ------------------------------------------------------------------------------------------ */
static void op_free(struct session *base)
{
	struct opening *o = opening_of(base);

	session_free(o->chosen);
	buf_fini(&o->s1);
	wipe(o, sizeof *o);
	free(o);
}

static void op_start(struct session *base)
{
	struct opening *o = opening_of(base);
	struct session_unit u;
	bool offers;

	if (o->started)
		return;
	o->started = true;
	if (!o->chosen) {
		o->deadline_ms = env_now(o->c.v09.env) + o->c.v09.handshake_ms;
		return;
	}
	session_start(o->chosen);
	if (!session_next_unit(o->chosen, &u))
		return; /* it is over, and says so */
	buf_add(&o->s1, u.bytes);
	if (o->s1.err != ERR_OK || !v09_challenge_peek(buf_bytes(&o->s1), o->nonce_s, &offers))
		end(o, ERR_NOMEM, BLAME_NONE, "no-memory");
	else
		o->s1_due = true;
}

static void op_take(struct session *base, struct bytes unit, bool text)
{
	struct opening *o = opening_of(base);

	if (o->decided) {
		if (o->chosen)
			session_take(o->chosen, unit, text);
	} else if (o->started && !o->over) {
		if (o->chosen)
			decide_as_listener(o, unit, text);
		else
			decide_as_dialler(o, unit, text);
	}
}

static bool op_next_unit(struct session *base, struct session_unit *out)
{
	struct opening *o = opening_of(base);

	if (o->s1_due) {
		o->s1_due = false;
		*out = (struct session_unit){buf_bytes(&o->s1), true};
		return true;
	}
	return o->chosen && session_next_unit(o->chosen, out);
}

static bool op_next_event(struct session *base, struct session_event *out)
{
	struct opening *o = opening_of(base);

	if (o->over_due) {
		o->over_due = false;
		*out = (struct session_event){.type = SESSION_EV_OVER, .err = o->over_err, .blame = o->over_blame,
					      .word = o->over_word};
		return true;
	}
	return o->chosen && session_next_event(o->chosen, out);
}

static void op_admit(struct session *base)
{
	if (opening_of(base)->chosen)
		session_admit(opening_of(base)->chosen);
}

static void op_refuse(struct session *base, enum err e, const char *word)
{
	if (opening_of(base)->chosen)
		session_refuse(opening_of(base)->chosen, e, word);
}

static bool op_online(const struct session *base)
{
	const struct opening *o = opening_of(base);

	return o->chosen && session_online(o->chosen);
}

static bool op_over(const struct session *base)
{
	const struct opening *o = opening_of(base);

	return o->over || (o->chosen && session_over(o->chosen));
}

static bool op_proven(const struct session *base)
{
	const struct opening *o = opening_of(base);

	return o->chosen && session_proven(o->chosen);
}

static const struct session_peer *op_peer(const struct session *base)
{
	static const struct session_peer nobody = {.generation = ""};
	const struct opening *o = opening_of(base);

	return o->chosen ? session_peer(o->chosen) : &nobody;
}

static enum err op_send(struct session *base, const struct message *m)
{
	struct session *s = opening_of(base)->chosen;

	return s ? session_send(s, m) : ERR_WRONG_STATE;
}

static bool op_can_send(const struct session *base)
{
	const struct session *s = opening_of(base)->chosen;

	return s && session_can_send(s);
}

static enum err op_send_receipts(struct session *base, const struct receipt *r, size_t n)
{
	struct session *s = opening_of(base)->chosen;

	return s ? session_send_receipts(s, r, n) : ERR_WRONG_STATE;
}

static enum err op_ping(struct session *base)
{
	struct session *s = opening_of(base)->chosen;

	return s ? session_ping(s) : ERR_WRONG_STATE;
}

static enum err op_rate_limited(struct session *base)
{
	struct session *s = opening_of(base)->chosen;

	return s ? session_rate_limited(s) : ERR_WRONG_STATE;
}

static enum err op_goodbye(struct session *base)
{
	struct session *s = opening_of(base)->chosen;

	return s ? session_goodbye(s) : ERR_WRONG_STATE;
}

static enum err op_key_rotate(struct session *base, const uint8_t *new_ed)
{
	struct session *s = opening_of(base)->chosen;

	return s ? session_key_rotate(s, new_ed) : ERR_WRONG_STATE;
}

static enum err op_rekey(struct session *base)
{
	struct session *s = opening_of(base)->chosen;

	return s ? session_rekey(s) : ERR_WRONG_STATE;
}

static enum err op_mark(struct session *base, bool settled, const uint8_t *era, uint64_t seq)
{
	struct session *s = opening_of(base)->chosen;

	if (!s)
		return ERR_WRONG_STATE;
	return settled ? session_settled(s, era, seq) : session_seen(s, era, seq);
}

static uint64_t op_deadline(const struct session *base)
{
	const struct opening *o = opening_of(base);

	if (o->over)
		return UINT64_MAX;
	return o->chosen ? session_deadline_ms(o->chosen) : o->deadline_ms;
}

static void op_tick(struct session *base)
{
	struct opening *o = opening_of(base);

	if (o->chosen)
		session_tick(o->chosen);
	else if (!o->over && env_now(o->c.v09.env) >= o->deadline_ms)
		end(o, ERR_TIMEOUT, BLAME_GARBAGE, "handshake-timeout");
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
	.mark = op_mark,
	.deadline_ms = op_deadline,
	.tick = op_tick,
};

struct session *opening_settle(struct session *s)
{
	struct opening *o = opening_of(s);
	struct session *chosen;

	if (s->ops != &ops || !o->decided || !o->chosen)
		return s;
	chosen = o->chosen;
	o->chosen = NULL;
	op_free(s);
	return chosen;
}

static void copy(struct bytes *x, uint8_t *to)
{
	if (x->n)
		memcpy(to, x->p, x->n);
	x->p = to;
}

enum err opening_new(const struct opening_config *c, struct session **out)
{
	bool listener = c->v09.role == SESSION_LISTENER;
	struct session_config v09 = c->v09;
	struct im2_link_config link = c->link;
	struct opening *o;
	enum err e;

	v09.mark_im2 = c->im2 != NULL;
	v09.offer_im2 = c->im2 && listener;
	if (!v09.handshake_ms)
		v09.handshake_ms = 5000;
	if (!c->im2)
		return v09_session_new(&v09, out);
	link.role = v09.role;
	link.s1 = (struct bytes){0};
	if (link.chan.n > CHAN_MAX || link.cb.n > CB_MAX || link.source.n > IM2_SOURCE_MAX)
		return ERR_LIMIT;
	if (!im2_has_s1(link.transport))
		return ERR_UNSUPPORTED;
	if (listener && c->require)
		return im2_link_new(c->im2, &link, out);
	o = calloc(1, sizeof *o);
	if (!o)
		return ERR_NOMEM;
	o->base.ops = &ops;
	o->c = *c;
	o->c.v09 = v09;
	o->c.link = link;
	copy(&o->c.link.chan, o->chan);
	copy(&o->c.link.cb, o->cb);
	copy(&o->c.link.source, o->source);
	o->deadline_ms = UINT64_MAX;
	buf_init(&o->s1, SESSION_HANDSHAKE_UNIT_MAX);
	if (listener) {
		e = v09_session_new(&v09, &o->chosen);
		if (e != ERR_OK) {
			free(o);
			return e;
		}
	}
	*out = &o->base;
	return ERR_OK;
}
