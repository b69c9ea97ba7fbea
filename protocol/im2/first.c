/*
 * first.c -- first contact on a connection (im2.md 5.3, 5.6): who may, in which order, and what is on disk when.
 */
#include <stdlib.h>

#include "protocol/im2/im2_internal.h"

static void fail(struct im2_link *l, enum im2_refusal why, enum session_blame blame)
{
	im2_link_over(l, im2_refusal_err(why), blame, im2_refusal_word(why));
}

/* A unit that did not open: the end on a reliable transport, nothing on others (5.8). */
static void spoilt(struct im2_link *l, enum im2_refusal why, enum session_blame blame)
{
	l->host->n.units_refused++;
	if (!im2_link_lossy(l) || why == IM2_E_SELF)
		fail(l, why, why == IM2_E_SELF ? BLAME_NONE : blame);
}

static bool promise_index(struct im2_link *l, bool stranger, struct im2_hello *mine)
{
	struct im2_shake *k = l->shake;

	if (!k->s)
		k->s = im2_session_new(l->host, stranger);
	if (!k->s) {
		im2_link_over(l, ERR_FULL, BLAME_NONE, "session-table-full");
		return false;
	}
	memcpy(mine->rx, k->s->index, sizeof mine->rx);
	return true;
}

/* --- dialler --- */

void im2_first_dial(struct im2_link *l)
{
	struct im2_host *h = l->host;
	struct buf b;

	/* Once per connection (5.8). */
	if (l->first_tried) {
		im2_link_over(l, ERR_AUTH, BLAME_REMOTE, "no handshake succeeds there");
		return;
	}
	if (l->known_only) {
		im2_link_over(l, ERR_AGAIN, BLAME_NONE, "no-first-contact-now");
		return;
	}
	if (!im2_host_has_mesh_key(h)) {
		im2_link_over(l, ERR_AGAIN, BLAME_NONE, "mesh-key-not-ready");
		return;
	}
	l->first_tried = true;
	im2_link_detach(l);
	struct im2_shake *k = im2_shake_new(l);
	if (!k)
		return;
	buf_init(&b, IM2_SHAKE_UNIT_MAX);
	enum im2_refusal why = im2_xx_dial(&k->xx, h->c.env, h->c.keyring, IM2_MODE_MESH, h->passgen[0],
					   secret_bytes(&h->mesh[0]), &l->bind, &b);
	if (why == IM2_FINE) {
		im2_link_move(l, LINK_X1_SENT);
		im2_shake_step(l, true);
		im2_shake_send(l, buf_bytes(&b), false);
	} else {
		fail(l, why, BLAME_NONE);
	}
	buf_fini(&b);
}

void im2_first_x2(struct im2_link *l, struct bytes unit)
{
	struct im2_host *h = l->host;
	struct im2_shake *k = l->shake;
	struct im2_hello mine;
	struct buf b;

	im2_host_hello(l, IM2_UNIT_X3, &mine);
	/* Whom we dial, we chose. */
	if (!promise_index(l, false, &mine))
		return;
	buf_init(&b, IM2_SHAKE_UNIT_MAX);
	enum im2_refusal why = im2_xx_take_x2(&k->xx, unit, &mine, &b);
	if (why == IM2_FINE) {
		im2_link_move(l, LINK_X3_SENT);
		im2_shake_step(l, true);
		im2_shake_send(l, buf_bytes(&b), true);
	} else {
		/* Another passphrase: a word about it would be an answer to a guess (5.3). */
		if (why == IM2_E_AEAD && h->c.trust.guess_bad_dial)
			h->c.trust.guess_bad_dial(h->c.trust.ctx, l->owner);
		spoilt(l, why, why == IM2_E_AEAD ? BLAME_AUTH : BLAME_GARBAGE);
	}
	buf_fini(&b);
}

void im2_first_x4(struct im2_link *l, struct bytes unit)
{
	struct im2_shake *k = l->shake;
	enum im2_refusal why = im2_xx_take_x4(&k->xx, unit, &k->theirs, &k->secrets);

	if (why != IM2_FINE) {
		spoilt(l, why, BLAME_AUTH);
		return;
	}
	im2_shake_identified(l, DECIDE_X4, k->theirs.ed, k->xx.peer_x, k->theirs.name);
}

/* --- listener --- */

/* Whoever may inject can make up an X1, so on a lossy transport a bad one changes nothing: not the wait for a good
 * one, nor a dial of ours, and no ERR about it reaches who sends the good one (5.8). */
static void x1_refused(struct im2_link *l, uint8_t code, enum err e, enum session_blame blame, const char *word)
{
	if (im2_link_lossy(l))
		return;
	if (code)
		im2_shake_err(l, code, NULL, 0);
	im2_link_over(l, e, blame, word);
}

static void x1_must_wait(struct im2_link *l, uint32_t s, const char *word)
{
	im2_shake_err(l, IM2_ERR_BUSY, NULL, s < UINT16_MAX ? (uint16_t)s : UINT16_MAX);
	if (!im2_link_lossy(l))
		im2_link_over(l, ERR_AGAIN, BLAME_NONE, word);
}

void im2_first_x1(struct im2_link *l, struct bytes unit)
{
	struct im2_host *h = l->host;
	const struct im2_trust *t = &h->c.trust;
	uint8_t mode;
	uint16_t passgen;
	uint32_t wait;
	struct bytes prs;
	struct buf b;

	if (im2_x1_peek(unit, &mode, &passgen) != IM2_FINE) {
		h->n.units_refused++;
		x1_refused(l, IM2_ERR_MALFORMED, ERR_MALFORMED, BLAME_GARBAGE, "malformed-x1");
		return;
	}
	/* Both sides of a serial line began: the smaller nonce stays the dialler (5.8). An equal one is our own, come
	 * back. */
	if (l->state == LINK_X1_SENT && memcmp(l->shake->xx.nonce_c, unit.p + 2, sizeof l->shake->xx.nonce_c) <= 0)
		return;
	prs = im2_host_prs(h, passgen);
	if (mode == IM2_MODE_MESH && prs.n == 0 && h->c.mesh_key_coming) {
		x1_must_wait(l, 1, "mesh-key-not-ready");
		return;
	}
	if (mode != IM2_MODE_MESH || prs.n == 0) {
		x1_refused(l, IM2_ERR_BAD_MODE, ERR_UNSUPPORTED, BLAME_NONE,
			   prs.n ? "mode-not-served" : "mesh-key-unknown");
		return;
	}
	wait = h->pending >= h->c.limits.pending ? IM2_BUSY_SOON_S : t->guess ? t->guess(t->ctx, l->owner) : 0;
	if (wait) {
		x1_must_wait(l, wait, "must-wait");
		return;
	}
	struct im2_shake *k = calloc(1, sizeof *k);
	if (!k) {
		im2_link_over(l, ERR_NOMEM, BLAME_NONE, "no-memory");
		return;
	}
	buf_init(&b, IM2_SHAKE_UNIT_MAX);
	enum im2_refusal why = im2_xx_listen(&k->xx, h->c.env, h->c.keyring, prs, &l->bind, unit, &b);
	if (why == IM2_FINE) {
		im2_shake_free(l);
		l->shake = k;
		im2_link_move(l, LINK_X2_SENT);
		im2_shake_step(l, false);
		im2_shake_send(l, buf_bytes(&b), true);
	} else {
		im2_shake_drop(k);
		h->n.units_refused++;
		x1_refused(l, why == IM2_E_CONTEXT ? IM2_ERR_BAD_MODE : 0, im2_refusal_err(why), BLAME_GARBAGE,
			   im2_refusal_word(why));
	}
	buf_fini(&b);
}

void im2_first_x3(struct im2_link *l, struct bytes unit)
{
	const struct im2_trust *t = &l->host->c.trust;
	struct im2_shake *k = l->shake;
	enum im2_refusal why = im2_xx_take_x3(&k->xx, unit, &k->theirs);

	if (why != IM2_FINE) {
		/* Whoever is ourselves knew the passphrase. */
		if (why == IM2_E_SELF && t->guess_good)
			t->guess_good(t->ctx, l->owner);
		spoilt(l, why, BLAME_AUTH);
		return;
	}
	if (t->guess_good)
		t->guess_good(t->ctx, l->owner);
	im2_shake_identified(l, DECIDE_X3, k->theirs.ed, k->xx.peer_x, k->theirs.name);
}

/* --- after the decision --- */

/* Everything of 5.6 and 6.2 that must be on disk before the next unit of ours leaves. */
static enum err settle_trust(struct im2_link *l, bool listener, const uint8_t pair[static PSK_BYTES])
{
	const struct im2_trust *t = &l->host->c.trust;
	struct im2_shake *k = l->shake;
	enum err e = t->prove(t->ctx, k->theirs.ed, k->xx.peer_x);

	if (e != ERR_OK)
		return e;
	return listener ? im2_psk_candidate(l->host, k->theirs.ed, pair) :
			  im2_psk_confirm(l->host, k->theirs.ed, pair);
}

void im2_first_admit(struct im2_link *l)
{
	struct im2_host *h = l->host;
	struct im2_shake *k = l->shake;
	bool listener = l->decide == DECIDE_X3;
	uint8_t pair[PSK_BYTES];
	struct im2_hello mine;
	struct im2_peer *p;
	struct buf x4;
	enum err e = ERR_OK;

	buf_init(&x4, IM2_SHAKE_UNIT_MAX);
	im2_host_hello(l, IM2_UNIT_X4, &mine);
	if (!promise_index(l, !im2_host_trusts(h, k->theirs.ed), &mine)) {
		im2_shake_refuse(l, ERR_FULL);
		return;
	}
	if (listener) {
		enum im2_refusal why = im2_xx_x4(&k->xx, &mine, &x4, &k->secrets);

		e = why == IM2_FINE ? ERR_OK : im2_refusal_err(why);
	}
	p = e == ERR_OK ? im2_peer_get(h, k->theirs.ed, k->xx.peer_x) : NULL;
	if (e == ERR_OK && !p)
		e = ERR_FULL;
	if (e == ERR_OK) {
		im2_pair_psk(k->secrets.exporter, pair);
		e = settle_trust(l, listener, pair);
	}
	if (e != ERR_OK) {
		im2_shake_refuse(l, e);
		im2_link_untrusted(l, e);
		goto out;
	}
	struct im2_session *s = k->s;

	k->s = NULL;
	im2_session_keys(s, &k->secrets, k->theirs.rx);
	s->initiator = listener; /* the listener is the Noise initiator (5.3) */
	s->has_psk = listener;
	memcpy(s->psk, pair, sizeof s->psk);
	im2_peer_hello(p, &k->theirs);
	p->named = mine.name[0] && !im2_link_lossy(l);
	im2_link_attach(l, p);
	im2_session_confirm(l, p, s);
	h->n.handshakes_first++;
	if (listener)
		im2_shake_send(l, buf_bytes(&x4), true);
	im2_link_up(l);
out:
	wipe(pair, sizeof pair);
	buf_fini(&x4);
}
