/*
 * link_session.c -- a connection as session.h sees it: the table, the timers, and what im2.h adds.
 */
#include <stdlib.h>

#include "base/hash.h"
#include "protocol/im2/im2_internal.h"

#define OUT_MAX (1u << 20)

static struct im2_link *link_of(const struct session *s)
{
	return (struct im2_link *)s;
}

/* --- units and events ------------------------------------------------------------------------------------- */
static bool op_next_unit(struct session *base, struct session_unit *out)
{
	struct im2_link *l = link_of(base);

	im2_inside_release(l);
	if (im2_link_next_unit(l, out))
		return true;
	if (!im2_link_is_path(l) && l->state != LINK_RESUME)
		return false;
	if (!im2_batch_next(l))
		return im2_link_next_unit(l, out); /* what an end left behind */
	im2_link_used(l);
	*out = (struct session_unit){ buf_bytes(&l->frame), false };
	return true;
}

static bool op_next_event(struct session *base, struct session_event *out)
{
	struct im2_link *l = link_of(base);

	if (l->events_at < l->events_n) {
		const struct im2_waiting_event *w = &l->events[l->events_at++];

		*out = (struct session_event){ .type = w->type, .err = w->err, .blame = w->blame, .word = w->word,
					       .rtt_ms = w->type == SESSION_EV_PONG ? w->ms : 0,
					       .wait_ms = w->type == SESSION_EV_OVER ? w->ms : 0 };
		return true;
	}
	l->events_n = l->events_at = 0;
	if (im2_inside_event(l, out))
		return true;
	/* Acting on the last items may have made one of the other kind. */
	return l->events_n ? op_next_event(base, out) : false;
}

static void op_take(struct session *base, struct bytes unit, bool text)
{
	struct im2_link *l = link_of(base);

	if (l->state == LINK_OVER)
		return;
	/* What waits borrows the buffer that this unit overwrites. */
	BUG_ON(l->state != LINK_DECIDE && (l->events_at < l->events_n || l->acting));
	l->events_n = l->events_at = 0;
	im2_link_used(l);
	if (text) {
		l->host->n.units_refused++;
		im2_link_over(l, ERR_MALFORMED, BLAME_GARBAGE, "text-unit");
	} else if (im2_link_shaking(l)) {
		im2_shake_take(l, unit);
	} else {
		im2_path_take(l, unit);
	}
}

/* --- the table ------------------------------------------------------------------------------------------ */
static void op_free(struct session *base)
{
	struct im2_link *l = link_of(base);
	struct im2_host *h = l->host;

	l->owner = NULL; /* hears no more */
	if (l->state != LINK_OVER)
		im2_link_over(l, ERR_CLOSED, BLAME_NONE, "closed");
	for (struct im2_link **at = &h->links; *at; at = &(*at)->next) {
		if (*at != l)
			continue;
		*at = l->next;
		break;
	}
	im2_link_trim(l);
	buf_wipe(&l->own);
	buf_fini(&l->own);
	wipe(l, sizeof *l);
	free(l);
}

static void op_start(struct session *base)
{
	struct im2_link *l = link_of(base);

	if (l->state == LINK_NEW)
		im2_shake_start(l);
}

static void op_admit(struct session *base)
{
	struct im2_link *l = link_of(base);

	if (l->state == LINK_DECIDE)
		im2_shake_admit(l);
}

static void op_refuse(struct session *base, enum err e, const char *word)
{
	struct im2_link *l = link_of(base);

	if (l->state != LINK_DECIDE)
		return;
	im2_shake_refuse(l, e);
	im2_link_over(l, e, BLAME_NONE, word);
}

static bool op_online(const struct session *base)
{
	return link_of(base)->state == LINK_ONLINE;
}

static bool op_over(const struct session *base)
{
	return link_of(base)->state == LINK_OVER;
}

/* X3 opened, I1 opened with a key that we know, or a frame did. */
static bool op_proven(const struct session *base)
{
	unsigned state = link_of(base)->state;

	return state == LINK_I2_SENT || state == LINK_DECIDE || state == LINK_PROVING || state == LINK_ONLINE;
}

static const struct session_peer *op_peer(const struct session *base)
{
	return &link_of(base)->view;
}

static enum err op_send(struct session *base, const struct message *m)
{
	struct im2_link *l = link_of(base);

	if (l->state != LINK_ONLINE || !l->peer->current)
		return ERR_WRONG_STATE;
	im2_link_used(l);
	return im2_batch_message(l, m);
}

static bool op_can_send(const struct session *base)
{
	const struct im2_link *l = link_of(base);

	return l->state == LINK_ONLINE && l->peer->current && im2_batch_room(l);
}

static enum err op_send_receipts(struct session *base, const struct receipt *r, size_t n)
{
	struct im2_link *l = link_of(base);

	if (!im2_link_is_path(l))
		return ERR_WRONG_STATE;
	im2_link_used(l);
	return im2_batch_receipts(l, r, n);
}

static enum err op_ping(struct session *base)
{
	struct im2_link *l = link_of(base);

	if (l->state != LINK_ONLINE)
		return ERR_WRONG_STATE;
	env_random(l->host->c.env, l->ping, sizeof l->ping);
	l->ping_ms = im2_now(l->host) + 1;
	if (!l->asked_ms)
		l->asked_ms = im2_now(l->host) + 1;
	im2_link_used(l);
	im2_control(l, IM2_ITEM_PING, BYTES_ARR(l->ping));
	return ERR_OK;
}

static enum err op_rate_limited(struct session *base)
{
	struct im2_link *l = link_of(base);
	uint64_t now = im2_now(l->host);

	if (l->state != LINK_ONLINE)
		return ERR_WRONG_STATE;
	if (l->rate_limited_ms && now - (l->rate_limited_ms - 1) < 1000)
		return ERR_OK;
	l->rate_limited_ms = now + 1;
	im2_link_used(l);
	im2_batch_itemerr(l, 6, IM2_ITEM_MSG, false);
	return ERR_OK;
}

static enum err op_goodbye(struct session *base)
{
	struct im2_link *l = link_of(base);
	struct im2_peer *p = l->peer;

	if (l->state != LINK_ONLINE)
		return ERR_WRONG_STATE;
	im2_link_used(l);
	im2_batch_close(l, 1);
	im2_peer_erase_sessions(l->host, p);
	while (p->paths)
		im2_link_over(p->paths, ERR_CLOSED, BLAME_NONE, "goodbye");
	return ERR_OK;
}

/* A ROTATE record says it, signed by both keys (13.3). */
static enum err op_key_rotate(struct session *base, const uint8_t *new_ed)
{
	return link_of(base)->state == LINK_ONLINE ? ERR_OK : ERR_WRONG_STATE;
}

static enum err op_rekey(struct session *base)
{
	struct im2_link *l = link_of(base);

	if (l->state != LINK_ONLINE)
		return ERR_WRONG_STATE;
	im2_link_used(l);
	return im2_rekey_start(l);
}

static enum err op_mark(struct session *base, bool settled, const uint8_t *era, uint64_t seq)
{
	struct im2_link *l = link_of(base);
	struct im2_fields f = { 0 };

	if (l->state != LINK_ONLINE)
		return ERR_WRONG_STATE;
	if (seq > INT64_MAX)
		return ERR_LIMIT;
	im2_set_b(&f, IM2_MARK_ERA, bytes_of(era, 8));
	im2_set_u(&f, IM2_MARK_SEQ, seq);
	im2_link_used(l);
	return im2_batch_fields(l, settled ? IM2_ITEM_SETTLED : IM2_ITEM_SEEN, &f);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t op_deadline(const struct session *base)
{
	const struct im2_link *l = link_of(base);
	uint64_t at = l->trim_ms ? l->trim_ms : UINT64_MAX;

	if (l->state == LINK_OVER)
		return l->events_at < l->events_n ? 0 : UINT64_MAX; /* the end is to be taken */
	at = sooner(at, sooner(l->whole_ms, l->step_ms));
	if (!im2_link_is_path(l))
		return at;
	at = sooner(at, im2_path_deadline(l));
	at = sooner(at, im2_rekey_deadline(l));
	/* Where op_tick() would act on it. */
	if (l->state == LINK_ONLINE && l->peer->transfers && !l->peer->holding)
		at = sooner(at, im2_transfers_deadline_ms(l->peer->transfers));
	return at;
}

static void op_tick(struct session *base)
{
	struct im2_link *l = link_of(base);
	uint64_t now = im2_now(l->host);

	if (l->state == LINK_OVER)
		return;
	im2_link_trim_due(l, now);
	if (now >= sooner(l->whole_ms, l->step_ms))
		im2_shake_tick(l);
	if (im2_link_is_path(l))
		im2_path_tick(l);
	if (l->state == LINK_ONLINE)
		im2_rekey_tick(l);
	if (l->state == LINK_ONLINE && l->peer->transfers && l->peer->holding == NULL) {
		im2_transfers_tick(l->peer->transfers);
		im2_peer_transfers_ended(l->host, l->peer);
	}
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

bool im2_is_link(const struct session *s)
{
	return s->ops == &ops;
}

enum err im2_link_new(struct im2_host *h, const struct im2_link_config *c, struct session **out)
{
	struct bytes chan = c->chan;
	struct im2_link *l;

	if (c->transport == IM2_WEBSOCKET)
		chan = c->pair_path ? BYTES_LIT("/im2/pair") : BYTES_LIT("/");
	if (chan.n > IM2_CHAN_MAX || (c->cb.n && c->cb.n != 32) || c->source.n > IM2_SOURCE_MAX)
		return ERR_LIMIT;
	l = calloc(1, sizeof *l);
	if (!l)
		return ERR_NOMEM;
	l->base.ops = &ops;
	l->host = h;
	l->role = c->role;
	l->owner = c->owner;
	l->has_expected = c->has_expected;
	memcpy(l->expected, c->expected, sizeof l->expected);
	l->owner_compares = c->owner_compares;
	l->known_only = c->known_only;
	l->bind.transport = c->transport;
	if (chan.n)
		memcpy(l->chan, chan.p, chan.n);
	if (c->cb.n)
		memcpy(l->cb, c->cb.p, c->cb.n);
	if (c->source.n)
		memcpy(l->source, c->source.p, c->source.n);
	l->source_n = (uint8_t)c->source.n;
	l->bind.chan = bytes_of(l->chan, chan.n);
	l->bind.cb = bytes_of(l->cb, c->cb.n);
	if (im2_has_s1(c->transport) && c->s1.n) {
		sha256(c->s1, l->bind.h1);
		memcpy(l->bind.nonce_s, c->nonce_s, sizeof l->bind.nonce_s);
		l->has_s1 = true;
	}
	l->whole_ms = l->step_ms = UINT64_MAX;
	l->view.generation = "im2";
	l->view.version = VERSION_OF(0, 9);
	l->view.confirms = true;
	buf_init(&l->out, OUT_MAX);
	buf_init(&l->own, IM2_SHAKE_UNIT_MAX);
	buf_init(&l->plain_out, SESSION_UNIT_MAX);
	buf_init(&l->frame, SESSION_UNIT_MAX + IM2_FRAME_OVERHEAD);
	buf_init(&l->plain, SESSION_UNIT_MAX);
	im2_queue_init(&l->control, IM2_CONTROL_MAX);
	im2_queue_init(&l->batch, 2 * SESSION_UNIT_MAX + IM2_WAITING_MAX);
	l->born_ms = im2_now(h);
	l->next = h->links;
	h->links = l;
	*out = &l->base;
	return ERR_OK;
}

/* --- beyond session.h ------------------------------------------------------------------------------------ */
void im2_link_trusted(struct session *s, bool trusted)
{
	struct im2_link *l = link_of(s);

	if (!l->peer)
		return;
	l->peer->trusted = trusted;
	if (l->peer->transfers)
		im2_transfers_stranger(l->peer->transfers, !trusted);
}

enum err im2_link_item(struct session *s, uint16_t tag, struct bytes value)
{
	struct im2_link *l = link_of(s);

	if (l->state != LINK_ONLINE)
		return ERR_WRONG_STATE;
	im2_link_used(l);
	return im2_batch_item(l, tag, value);
}

enum im2_carry im2_link_carry(const struct session *s, const uint8_t wire_id[static 16])
{
	const struct im2_peer *p = link_of(s)->peer;

	for (unsigned i = 0; p && i < IM2_CARRIED_MAX; i++)
		if (p->carried[i].state != IM2_CARRY_NONE && memcmp(p->carried[i].id, wire_id, MSG_WIRE_ID) == 0)
			return p->carried[i].state;
	return IM2_CARRY_NONE;
}

bool im2_link_drained(const struct session *s)
{
	return im2_queue_left(&link_of(s)->batch) == 0;
}

size_t im2_link_waiting(const struct session *s)
{
	return im2_batch_waiting(link_of(s));
}

void im2_link_session_id(const struct session *s, uint8_t out[static 16])
{
	const struct im2_link *l = link_of(s);

	memset(out, 0, 16);
	if (l->peer && l->peer->current)
		memcpy(out, l->peer->current->id, 16);
}

uint64_t im2_link_features(const struct session *s)
{
	const struct im2_link *l = link_of(s);

	return l->peer ? l->peer->features : 0;
}
