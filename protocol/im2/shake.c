/*
 * shake.c -- which handshake a connection runs, ERR in both directions, time-outs and repeats (im2.md 5.6 to 5.9).
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "protocol/im2/im2_internal.h"

#define KEEP_ANSWER_MS 120000
#define ERR1_EVERY_MS 5000
#define ERR1_EVERY_RADIO_MS 60000
#define DENIED_WAIT_MS 3600000
#define BUSY_MAX_S 3600
#define BUSY_FULL_S 60  /* tables and disks */
#define FIRST_UNIT_LOSSY_MS 60000
#define STEP_MS 5000
#define STEP_SERIAL_MS 2000
#define STEP_LOSSY_MS 8000
#define HANDSHAKE_LOSSY_MS 240000
#define STEPS_MAX 3

/* --- memory ---------------------------------------------------------------------------------------------- */
struct im2_shake *im2_shake_new(struct im2_link *l)
{
	im2_shake_free(l);
	l->shake = calloc(1, sizeof *l->shake);
	if (!l->shake)
		im2_link_over(l, ERR_NOMEM, BLAME_NONE, "no-memory");
	return l->shake;
}

void im2_shake_free(struct im2_link *l)
{
	struct im2_shake *k = l->shake;

	if (!k)
		return;
	l->shake = NULL;
	if (l->peer && l->peer->asking == l)
		l->peer->asking = NULL;
	if (k->s && k->s->state == KEEP_SHAKING)
		im2_session_erase(l->host, k->s);
	im2_shake_drop(k);
}

void im2_shake_drop(struct im2_shake *k)
{
	im2_xx_wipe(&k->xx);
	im2_ik_wipe(&k->ik);
	wipe(k, sizeof *k);
	free(k);
}

/* --- time -------------------------------------------------------------------------------------------------- */
static uint64_t step_ms(const struct im2_link *l)
{
	bool radio = l->host->c.radio;

	if (l->bind.transport == IM2_SERIAL && !radio)
		return STEP_SERIAL_MS;
	return radio || im2_link_lossy(l) ? STEP_LOSSY_MS : STEP_MS;
}

/* `owned`: the last own unit is repeated until an answer comes. */
void im2_shake_step(struct im2_link *l, bool owned)
{
	l->step_n = owned ? 0 : STEPS_MAX;
	/* Who waits for a repetition waits for the last of them. */
	l->step_ms = !owned && im2_link_lossy(l) ? l->whole_ms : im2_now(l->host) + step_ms(l);
}

bool im2_shake_next_step(struct im2_link *l)
{
	if (l->step_n >= STEPS_MAX) {
		l->step_ms = UINT64_MAX;
		return false;
	}
	l->step_n++;
	l->step_ms = im2_now(l->host) + (step_ms(l) << l->step_n);
	return true;
}

static void repeat(struct im2_link *l)
{
	im2_link_unit(l, buf_bytes(&l->own));
	(void)!im2_shake_next_step(l);
}

/* Who does not answer a frame has no such session any more: the next dial begins with I1. But anybody may answer at an
 * address, or nobody: not while the peer is heard elsewhere. */
static bool lost_it(const struct im2_link *l)
{
	const struct im2_peer *p = l->peer;
	const struct im2_session *s = p ? p->current : NULL;

	if (!s || memcmp(s->index, l->resumed, sizeof l->resumed) != 0 || s->rx_frames != l->resumed_frames)
		return false;
	for (const struct im2_link *o = p->paths; o; o = o->next_path)
		if (o != l && im2_link_is_path(o))
			return false;
	return true;
}

void im2_shake_tick(struct im2_link *l)
{
	uint64_t now = im2_now(l->host);

	if (l->state >= LINK_PROVING) {
		if (!l->shake)
			im2_path_repeat(l);
		else if (im2_link_lossy(l) && l->step_n < STEPS_MAX && l->own.n)
			repeat(l);
		else
			im2_rekey_failed(l); /* the I2 did not come */
		return;
	}
	if (l->state == LINK_RESUME && im2_link_lossy(l) && l->step_n < STEPS_MAX && now < l->whole_ms) {
		im2_path_repeat(l);
		return;
	}
	if (now < l->whole_ms && im2_link_lossy(l) && l->step_n < STEPS_MAX && l->own.n) {
		repeat(l);
		return;
	}
	if (l->state == LINK_DECIDE && now < l->whole_ms) {
		l->step_ms = UINT64_MAX; /* our own decision is not the fault of the address */
		return;
	}
	if (l->state == LINK_RESUME && lost_it(l))
		im2_session_erase(l->host, l->peer->current);
	im2_link_over(l, ERR_TIMEOUT, l->state == LINK_DECIDE ? BLAME_NONE : BLAME_GARBAGE, "handshake-timeout");
}

/* --- sending ---------------------------------------------------------------------------------------------- */
void im2_shake_send(struct im2_link *l, struct bytes unit, bool answer)
{
	im2_link_unit(l, unit);
	if (!im2_link_lossy(l))
		return;
	buf_reset(&l->own);
	buf_add(&l->own, unit);
	if (l->own.err != ERR_OK)
		buf_reset(&l->own);
	l->has_answered = answer;
	if (answer) {
		memcpy(l->answered, l->taken, sizeof l->answered);
		l->answer_until_ms = im2_now(l->host) + KEEP_ANSWER_MS;
	}
}

void im2_shake_err(struct im2_link *l, uint8_t code, const uint8_t *index, uint16_t busy_s)
{
	struct im2_err_unit e = { .code = code, .busy_s = busy_s };
	struct buf b;

	if (l->errs == IM2_ERRS_MAX)
		return;
	l->errs++;
	if (!im2_host_may_err(l->host, bytes_of(l->source, l->source_n)))
		return;
	l->host->n.errs_sent++;
	if (index)
		memcpy(e.index, index, sizeof e.index);
	buf_init(&b, 16);
	im2_err_write(&b, &e);
	if (b.err == ERR_OK)
		im2_link_unit(l, buf_bytes(&b));
	buf_fini(&b);
}

/* --- beginning ---------------------------------------------------------------------------------------------- */
static void dial(struct im2_link *l)
{
	const struct im2_trust *t = &l->host->c.trust;
	struct im2_peer *p = l->has_expected ? im2_peer_find(l->host, l->expected) : NULL;
	struct im2_known k;
	bool known = l->has_expected && t->by_ed(t->ctx, l->expected, &k);

	if (known && k.refused) {
		im2_link_over(l, ERR_UNTRUSTED, BLAME_NONE, "blocked-or-revoked");
		return;
	}
	if (known && p && im2_session_usable(l->host, p->current)) {
		im2_path_resume(l, p);
		return;
	}
	if (known && im2_known_start(l, &k))
		return;
	if (l->state != LINK_OVER)
		im2_first_dial(l);
}

void im2_shake_start(struct im2_link *l)
{
	struct im2_host *h = l->host;
	bool lossy = im2_link_lossy(l), listener = l->role == SESSION_LISTENER;
	bool binary = im2_has_s1(l->bind.transport) && !l->has_s1;
	uint64_t whole = lossy && !h->c.radio ? HANDSHAKE_LOSSY_MS : h->c.limits.handshake_ms;
	struct buf b;

	l->whole_ms = im2_now(h) + whole;
	l->step_ms = im2_now(h) + (listener && lossy ? FIRST_UNIT_LOSSY_MS : step_ms(l));
	l->step_n = STEPS_MAX;
	if (listener && binary) {
		buf_init(&b, 64);
		env_random(h->c.env, l->bind.nonce_s, sizeof l->bind.nonce_s);
		im2_s1_write(&b, l->bind.nonce_s);
		if (b.err == ERR_OK) {
			sha256(buf_bytes(&b), l->bind.h1);
			im2_link_unit(l, buf_bytes(&b));
		} else {
			im2_link_over(l, ERR_NOMEM, BLAME_NONE, "no-memory");
		}
		buf_fini(&b);
		l->has_s1 = true;
	}
	if (l->state == LINK_OVER)
		return;
	if (listener)
		im2_link_move(l, LINK_WAIT);
	else if (binary)
		im2_link_move(l, LINK_S1);
	else
		dial(l);
}

static void take_s1(struct im2_link *l, struct bytes unit)
{
	if (im2_s1_parse(unit, l->bind.nonce_s) != IM2_FINE) {
		l->host->n.units_refused++;
		im2_link_over(l, ERR_MALFORMED, BLAME_GARBAGE, "no-im2-challenge");
		return;
	}
	sha256(unit, l->bind.h1);
	l->has_s1 = true;
	dial(l);
}

/* --- ERR from the other side -------------------------------------------------------------------------------- */
static bool react_to_err1(struct im2_link *l, struct im2_peer *p)
{
	uint64_t now = im2_now(l->host), every = l->host->c.radio ? ERR1_EVERY_RADIO_MS : ERR1_EVERY_MS;

	if (p->err1_ms && now - (p->err1_ms - 1) < every)
		return false;
	p->err1_ms = now + 1;
	return true;
}

static void no_session(struct im2_link *l, const uint8_t *index)
{
	const struct im2_trust *t = &l->host->c.trust;
	struct im2_peer *p = l->peer;
	struct im2_known k;

	if (!p || !p->current || memcmp(p->current->tx.index, index, 4) != 0)
		return;
	if (l->state == LINK_ONLINE) {
		if (!l->shake && react_to_err1(l, p))
			(void)!im2_rekey_start(l);
		return;
	}
	if (l->state != LINK_RESUME)
		return;
	if (!react_to_err1(l, p)) {
		im2_link_over(l, ERR_CLOSED, BLAME_NONE, "session-unknown-there");
		return;
	}
	if (t->by_ed(t->ctx, l->expected, &k) && !k.refused && im2_known_start(l, &k))
		return;
	if (l->state != LINK_OVER)
		im2_first_dial(l);
}

static void refused(struct im2_link *l, enum err e, const char *word, uint64_t wait_ms)
{
	im2_link_over_wait(l, e, word, wait_ms);
}

void im2_shake_err_taken(struct im2_link *l, struct bytes unit)
{
	bool waits = l->state == LINK_X1_SENT || l->state == LINK_X3_SENT || l->state == LINK_I1_SENT ||
		     l->state == LINK_RESUME;
	struct im2_err_unit e;

	if (im2_err_parse(unit, &e) != IM2_FINE) {
		l->host->n.units_refused++;
		return;
	}
	l->host->n.errs_received++;
	if (e.code == IM2_ERR_NO_SESSION) {
		no_session(l, e.index);
		return;
	}
	if (l->state == LINK_ONLINE && l->shake) {
		/* A rekey: nothing but another secret is tried; the session goes on. */
		if (e.code == IM2_ERR_PSK)
			im2_known_again(l);
		else
			im2_rekey_failed(l);
		return;
	}
	if (!waits)
		return;
	switch (e.code) {
	case IM2_ERR_PSK:
		if (l->state == LINK_I1_SENT)
			im2_known_again(l);
		break;
	case IM2_ERR_FAILED:
		if (l->state == LINK_I1_SENT)
			im2_first_dial(l);
		else
			refused(l, ERR_AUTH, "failed there", 0);
		break;
	case IM2_ERR_BUSY:
		refused(l, ERR_AGAIN, "busy", 1000u * (e.busy_s < BUSY_MAX_S ? e.busy_s : BUSY_MAX_S));
		break;
	case IM2_ERR_DENIED:
		refused(l, ERR_DENIED, "denied", DENIED_WAIT_MS);
		break;
	case IM2_ERR_BAD_MODE:
		refused(l, ERR_UNSUPPORTED, "no first contact by passphrase there", DENIED_WAIT_MS);
		break;
	case IM2_ERR_CODE_USED:
		refused(l, ERR_DENIED, "code used", DENIED_WAIT_MS);
		break;
	default:
		refused(l, ERR_MALFORMED, "malformed there", DENIED_WAIT_MS);
		break;
	}
}

/* --- units ----------------------------------------------------------------------------------------------------- */
/* On reliable transports what nobody awaits ends the connection; elsewhere anybody may have put it there. */
static void unexpected(struct im2_link *l, const char *word)
{
	l->host->n.units_refused++;
	if (!im2_link_lossy(l))
		im2_link_over(l, ERR_MALFORMED, BLAME_GARBAGE, word);
}

bool im2_shake_repeated(struct im2_link *l, struct bytes unit)
{
	if (!im2_link_lossy(l))
		return false;
	sha256(unit, l->taken);
	if (!l->has_answered || im2_now(l->host) >= l->answer_until_ms ||
	    memcmp(l->taken, l->answered, sizeof l->taken) != 0)
		return false;
	im2_link_unit(l, buf_bytes(&l->own));
	return true;
}

void im2_shake_take(struct im2_link *l, struct bytes unit)
{
	uint8_t kind = unit.n ? unit.p[0] : 0;

	if (unit.n == 0 || kind >> 4 != 5 || (unit.n > IM2_SHAKE_UNIT_MAX && kind != IM2_UNIT_FRAME)) {
		unexpected(l, "not-a-unit");
		return;
	}
	if (l->state == LINK_DECIDE || im2_shake_repeated(l, unit))
		return;
	if (kind == IM2_UNIT_ERR && l->role == SESSION_DIALLER) {
		im2_shake_err_taken(l, unit);
		return;
	}
	switch (l->state) {
	case LINK_S1:
		if (kind == IM2_UNIT_S1) {
			take_s1(l, unit);
			return;
		}
		break;
	case LINK_WAIT:
		if (kind == IM2_UNIT_X1 || kind == IM2_UNIT_I1 || kind == IM2_UNIT_FRAME) {
			if (kind == IM2_UNIT_X1)
				im2_first_x1(l, unit);
			else if (kind == IM2_UNIT_I1)
				im2_known_i1(l, unit);
			else
				im2_path_take(l, unit);
			return;
		}
		break;
	case LINK_X1_SENT:
		if (kind == IM2_UNIT_X2) {
			im2_first_x2(l, unit);
			return;
		}
		if (kind == IM2_UNIT_X1 && l->bind.transport == IM2_SERIAL) {
			im2_first_x1(l, unit);
			return;
		}
		break;
	case LINK_X2_SENT:
		if (kind == IM2_UNIT_X3) {
			im2_first_x3(l, unit);
			return;
		}
		break;
	case LINK_X3_SENT:
		if (kind == IM2_UNIT_X4) {
			im2_first_x4(l, unit);
			return;
		}
		break;
	case LINK_I1_SENT:
		if (kind == IM2_UNIT_I2) {
			im2_known_i2(l, unit);
			return;
		}
		if (kind == IM2_UNIT_I1 && im2_link_lossy(l)) {
			im2_known_i1(l, unit);
			return;
		}
		break;
	case LINK_I2_SENT:
	case LINK_RESUME:
		if (kind == IM2_UNIT_FRAME) {
			im2_path_take(l, unit);
			return;
		}
		break;
	default:
		break;
	}
	unexpected(l, "unexpected-unit");
}

/* --- the decision ------------------------------------------------------------------------------------------------ */
void im2_shake_identified(struct im2_link *l, enum im2_decide what, const uint8_t ed[static ED_BYTES],
			  const uint8_t x[static X25519_BYTES], const char *name)
{
	if (memcmp(ed, keyring_ed(l->host->c.keyring), ED_BYTES) == 0) {
		im2_link_over(l, ERR_SELF, BLAME_NONE, "self");
		return;
	}
	if (l->has_expected && !l->owner_compares && memcmp(ed, l->expected, ED_BYTES) != 0) {
		im2_link_over(l, ERR_KEY_CHANGED, BLAME_NONE, "not-the-expected-identity");
		return;
	}
	memcpy(l->view.ed, ed, sizeof l->view.ed);
	memcpy(l->view.x25519, x, sizeof l->view.x25519);
	l->view.has_x25519 = true;
	node_id_of(ed, &l->view.id);
	snprintf(l->view.name, sizeof l->view.name, "%s", name);
	l->decide = what;
	im2_link_move(l, LINK_DECIDE);
	im2_link_event(l, SESSION_EV_IDENTIFIED);
}

void im2_shake_admit(struct im2_link *l)
{
	switch (l->decide) {
	case DECIDE_X3:
	case DECIDE_X4:
		im2_first_admit(l);
		break;
	case DECIDE_I1:
	case DECIDE_I2:
		im2_known_admit(l);
		break;
	case DECIDE_RESUME:
		im2_path_admit(l);
		break;
	}
}

/* What the operator decided; all else is our own trouble of the moment. */
static bool is_policy(enum err e)
{
	switch (e) {
	case ERR_DENIED:
	case ERR_UNTRUSTED:
	case ERR_KEY_CHANGED:
	case ERR_EXISTS: /* an exchange key that is another's */
	case ERR_DOWNGRADE:
	case ERR_VERSION:
	case ERR_SELF:
		return true;
	default:
		return false;
	}
}

void im2_shake_refuse(struct im2_link *l, enum err e)
{
	bool asked = l->decide == DECIDE_X4 || l->decide == DECIDE_I2 ||
		     (l->decide == DECIDE_RESUME && l->role == SESSION_DIALLER);

	if (asked)
		return; /* whoever asks owes no answer */
	if (!is_policy(e))
		im2_shake_err(l, IM2_ERR_BUSY, NULL, e == ERR_AGAIN ? IM2_BUSY_SOON_S : BUSY_FULL_S);
	else if (l->decide == DECIDE_X3)
		im2_shake_err(l, IM2_ERR_DENIED, NULL, 0);
	else if (l->decide == DECIDE_I1)
		im2_shake_err(l, IM2_ERR_FAILED, NULL, 0);
}
