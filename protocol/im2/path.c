/*
 * path.c -- frames as they come in (im2.md 7.2), and connections as paths of a session (7.7).
 */
#include "protocol/im2/im2_internal.h"

#define ASKED_MS 30000
#define PROBE_MS 10000
#define PROBES_MAX 3
#define FAILED_MAX (UINT64_C(1) << 36)

/* --- a new path --- */

static void send_proof(struct im2_link *l)
{
	im2_control(l, IM2_ITEM_PING, BYTES_ARR(l->path_ping));
}

/* Any answer will do. */
static void ask(struct im2_link *l)
{
	uint8_t nonce[8];

	env_random(l->host->c.env, nonce, sizeof nonce);
	im2_control(l, IM2_ITEM_PING, BYTES_ARR(nonce));
}

void im2_path_resume(struct im2_link *l, struct im2_peer *p)
{
	im2_link_attach(l, p);
	im2_link_move(l, LINK_RESUME);
	im2_shake_step(l, im2_link_lossy(l));
	memcpy(l->resumed, p->current->index, sizeof l->resumed);
	l->resumed_frames = p->current->rx_frames;
	env_random(l->host->c.env, l->path_ping, sizeof l->path_ping);
	send_proof(l);
}

void im2_path_repeat(struct im2_link *l)
{
	if (l->state == LINK_RESUME || l->state == LINK_PROVING) {
		send_proof(l);
		(void)!im2_shake_next_step(l);
		return;
	}
	/* The initiator says PING until something of the responder opens (5.8). */
	if (l->peer->current && !l->peer->current->heard) {
		ask(l);
		if (l->step_ms == UINT64_MAX)
			im2_shake_step(l, true);
		else
			(void)!im2_shake_next_step(l);
	} else {
		l->step_ms = UINT64_MAX;
	}
}

void im2_path_admit(struct im2_link *l)
{
	struct im2_host *h = l->host;
	bool dialled = l->role == SESSION_DIALLER, lossy = im2_link_lossy(l);

	if (!l->peer->current) {
		im2_link_over(l, ERR_CLOSED, BLAME_NONE, "session-gone");
		return;
	}
	im2_session_back(h, l->peer);
	im2_link_move(l, LINK_PROVING);
	l->step_ms = l->whole_ms = UINT64_MAX;
	l->path_until_ms = im2_now(h) + (h->c.radio || lossy ? IM2_PATH_PROOF_RADIO_MS : IM2_PATH_PROOF_MS);
	if (lossy)
		im2_shake_step(l, true);
	h->n.resumes++;
	if (!dialled) {
		env_random(h->c.env, l->path_ping, sizeof l->path_ping);
		send_proof(l);
	}
	im2_inside_begin(l, l->under, l->counter);
}

void im2_path_pong(struct im2_link *l, struct bytes value)
{
	if (l->state != LINK_PROVING || !ct_equal(value.p, l->path_ping, sizeof l->path_ping))
		return;
	l->path_until_ms = 0;
	im2_link_up(l);
}

/* --- liveness --- */

uint64_t im2_path_deadline(const struct im2_link *l)
{
	if (l->state == LINK_PROVING)
		return l->path_until_ms;
	if (!l->asked_ms || l->host->c.radio)
		return UINT64_MAX;
	return l->probe_ms ? l->probe_ms : l->asked_ms - 1 + ASKED_MS;
}

void im2_path_tick(struct im2_link *l)
{
	uint64_t now = im2_now(l->host);

	if (now < im2_path_deadline(l))
		return;
	if (l->state == LINK_PROVING) {
		im2_link_over(l, ERR_TIMEOUT, BLAME_GARBAGE, "path-not-proven");
		return;
	}
	if (l->probes == PROBES_MAX) {
		im2_link_over(l, ERR_TIMEOUT, BLAME_NONE, "path-lost");
		return;
	}
	l->probes++;
	l->probe_ms = now + PROBE_MS;
	ask(l);
}

/* --- frames --- */

static void unknown(struct im2_link *l, const uint8_t index[static 4])
{
	l->host->n.frames_unknown++;
	im2_shake_err(l, IM2_ERR_NO_SESSION, index, 0);
	if (l->errs == IM2_ERRS_MAX && im2_link_shaking(l) && !im2_link_lossy(l))
		im2_link_over(l, ERR_NOTFOUND, BLAME_GARBAGE, "no-such-session");
}

/* Step 2 of 7.2. */
static struct im2_session *session_of(struct im2_link *l, const uint8_t index[static 4])
{
	struct im2_session *s = l->peer ? l->peer->current : NULL;

	if (!s || memcmp(s->index, index, 4) != 0)
		s = im2_session_find(l->host, index);
	if (s && s->state != KEEP_SHAKING && im2_now(l->host) >= s->gone_ms) {
		im2_session_erase(l->host, s);
		s = NULL;
	}
	return s;
}

/* Step 6: the first frame of the peer confirms keys and the pair secret, on disk before anything is sent. */
static bool first_frame(struct im2_link *l, struct im2_session *s)
{
	struct im2_host *h = l->host;
	const struct im2_trust *t = &h->c.trust;
	struct im2_peer *p = s->peer;
	bool half = s->state == KEEP_HALF;
	enum err e = half ? t->prove(t->ctx, p->ed, p->x) : ERR_OK;

	if (e == ERR_OK && s->has_psk)
		e = im2_psk_confirm(h, p->ed, s->psk);
	if (e != ERR_OK) {
		im2_session_erase(h, s);
		im2_link_untrusted(l, e);
		return false;
	}
	s->heard = true;
	s->has_psk = false;
	wipe(s->psk, sizeof s->psk);
	if (!half)
		return true;
	im2_session_confirm(l, p, s);
	if (l->state == LINK_ONLINE) {
		h->n.rekeys++;
		im2_link_event(l, SESSION_EV_REKEYED);
	} else {
		h->n.handshakes_known++;
	}
	return true;
}

/* A frame that opened, on a connection that is no path yet. */
static void arrived(struct im2_link *l, struct im2_session *s, bool carried)
{
	if (l->state == LINK_I2_SENT && carried) {
		im2_link_up(l);
		return;
	}
	if (l->state == LINK_WAIT)
		im2_link_attach(l, s->peer);
	im2_shake_identified(l, DECIDE_RESUME, s->peer->ed, s->peer->x, s->peer->name);
}

/* An authentic frame whose items cannot be told apart ends its session, at both ends (3.3). */
static void unreadable(struct im2_link *l, struct im2_session *s)
{
	struct im2_peer *p = s->peer;
	bool path = im2_link_is_path(l);

	l->host->n.items_refused++;
	if (path && s == p->current) {
		im2_batch_close(l, 3);
		if (p->current)
			im2_session_erase(l->host, p->current);
	} else {
		im2_batch_close_under(l, s, 3);
		im2_session_erase(l->host, s);
	}
	if (path && p->current)
		im2_link_dropped(l, ERR_MALFORMED, "protocol-error"); /* an older one ends alone */
	else
		im2_link_over(l, ERR_MALFORMED, BLAME_GARBAGE, "protocol-error");
}

static void take_frame(struct im2_link *l, struct bytes unit)
{
	struct im2_host *h = l->host;
	struct im2_session *s;
	uint8_t index[4], *out;
	uint32_t counter;

	if (im2_frame_head(unit, index, &counter) != IM2_FINE || unit.n > SESSION_UNIT_MAX) {
		h->n.units_refused++;
		im2_link_dropped(l, ERR_MALFORMED, "E_MALFORMED");
		return;
	}
	s = session_of(l, index);
	if (!s) {
		unknown(l, index);
		return;
	}
	bool carried = s->via == l;

	/* Promised to a handshake, or somebody else's: no path of this connection's peer. */
	if (s->state == KEEP_SHAKING || (l->peer && s->peer != l->peer) || (l->state == LINK_I2_SENT && !carried)) {
		h->n.frames_unknown++;
		return;
	}
	if (!im2_window_fresh(&s->window, counter)) {
		h->n.frames_replayed++;
		im2_link_dropped(l, ERR_REPLAY, "E_REPLAY");
		return;
	}
	buf_reset(&l->plain);
	out = buf_reserve(&l->plain, unit.n - IM2_FRAME_OVERHEAD + 1);
	if (!out) {
		im2_link_over(l, l->plain.err, BLAME_NONE, "no-memory");
		return;
	}
	if (im2_frame_open(s->rx, unit, out) != IM2_FINE) {
		h->n.frames_forged++;
		im2_link_dropped(l, ERR_AUTH, "E_AEAD");
		if (++s->failed >= FAILED_MAX)
			im2_session_erase(h, s);
		return;
	}
	im2_window_mark(&s->window, counter);
	l->plain.n = unit.n - IM2_FRAME_OVERHEAD;
	s->rx_frames++;
	s->rx_bytes += unit.n;
	l->asked_ms = l->probe_ms = 0;
	l->probes = 0;
	if (!s->heard && !first_frame(l, s))
		return;
	if (im2_items_check(buf_bytes(&l->plain), NULL) != IM2_FINE) {
		unreadable(l, s);
		return;
	}
	if (im2_link_is_path(l)) {
		im2_inside_begin(l, s, counter);
		return;
	}
	l->under = s;
	l->counter = counter;
	arrived(l, s, carried);
	if (l->state == LINK_ONLINE)
		im2_inside_begin(l, s, counter);
}

void im2_path_take(struct im2_link *l, struct bytes unit)
{
	uint8_t kind = unit.n ? unit.p[0] : 0;

	switch (kind) {
	case IM2_UNIT_FRAME:
		take_frame(l, unit);
		return;
	case IM2_UNIT_I1:
		if (im2_shake_repeated(l, unit))
			return;
		if (l->state == LINK_ONLINE && unit.n <= IM2_SHAKE_UNIT_MAX &&
		    bucket_take(&l->peer->buckets[CLASS_SHAKE], 1, im2_now(l->host))) {
			im2_known_i1(l, unit);
			return;
		}
		break;
	case IM2_UNIT_I2:
		if (l->state == LINK_ONLINE && l->shake) {
			im2_known_i2(l, unit);
			return;
		}
		break;
	case IM2_UNIT_ERR:
		im2_shake_err_taken(l, unit);
		return;
	default:
		if (unit.n <= IM2_SHAKE_UNIT_MAX && im2_shake_repeated(l, unit))
			return;
		break;
	}
	l->host->n.units_refused++;
	im2_link_dropped(l, ERR_MALFORMED, "unexpected-unit");
}
