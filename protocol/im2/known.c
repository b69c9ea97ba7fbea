/*
 * known.c -- IK on a connection: to begin it, to resume a peer without a session, and for every rekey
 * (im2.md 5.4, 5.6, 6.2, 6.4).
 */
#include <stdlib.h>

#include "protocol/im2/im2_internal.h"

/* 00 when the initiator is the dialler of this connection, or there are none (5.4). */
static uint8_t dir_of(const struct im2_link *l, bool we_initiate)
{
	if (l->bind.transport == IM2_RNS_PACKET)
		return 0;
	return (l->role == SESSION_DIALLER) != we_initiate;
}

/* I1 and I2 need not say it (5.7): what we heard before counts. Empty: the owner may know. */
static const char *name_of(const struct im2_link *l, const struct im2_shake *k)
{
	const struct im2_peer *p = im2_peer_find(l->host, k->ed);

	return k->theirs.name[0] || !p ? k->theirs.name : p->name;
}

/* --- initiator ---------------------------------------------------------------------------------------------- */
static bool choose_psk(struct im2_link *l, struct im2_shake *k, struct im2_hello *mine)
{
	const struct im2_trust *t = &l->host->c.trust;
	const struct psk *psk;
	struct psks p;
	bool none;

	t->psks_get(t->ctx, k->ed, &p);
	psk = psks_try(&p, l->tries, &none);
	if (psk) {
		k->has_psk = true;
		memcpy(k->psk, psk->key, sizeof k->psk);
		memcpy(mine->psk_id, psk->id, sizeof mine->psk_id);
	}
	psks_wipe(&p);
	return psk || none;
}

bool im2_known_start(struct im2_link *l, const struct im2_known *known)
{
	struct im2_host *h = l->host;
	struct im2_hello mine;
	struct im2_peer *p;
	struct im2_shake *k = im2_shake_new(l);
	struct buf b;

	if (!k)
		return true; /* the link is over: nothing else is to be tried */
	memcpy(k->ed, known->ed, sizeof k->ed);
	memcpy(k->x, known->x, sizeof k->x);
	im2_host_hello(l, IM2_UNIT_I1, &mine);
	if (!choose_psk(l, k, &mine)) {
		im2_shake_free(l);
		return false;
	}
	p = im2_peer_get(h, k->ed, k->x);
	k->s = p ? im2_session_new(h, !p->trusted) : NULL;
	if (!k->s) {
		if (l->state == LINK_ONLINE) {
			im2_shake_free(l);
			return false;
		}
		im2_link_over(l, ERR_FULL, BLAME_NONE, "session-table-full");
		return true;
	}
	memcpy(mine.rx, k->s->index, sizeof mine.rx);
	buf_init(&b, IM2_SHAKE_UNIT_MAX);
	enum im2_refusal why = im2_ik_start(&k->ik, h->c.env, h->c.keyring, &l->bind, dir_of(l, true), k->ed, k->x,
					    k->has_psk ? k->psk : NULL, bytes_of(NULL, 0), &mine, &b);
	if (why == IM2_FINE) {
		im2_link_attach(l, p);
		p->asking = l;
		if (im2_link_shaking(l))
			im2_link_move(l, LINK_I1_SENT);
		im2_shake_step(l, true);
		im2_shake_send(l, buf_bytes(&b), false);
	} else {
		im2_link_over(l, im2_refusal_err(why), BLAME_NONE, im2_refusal_word(why));
	}
	buf_fini(&b);
	return true;
}

void im2_known_again(struct im2_link *l)
{
	const struct im2_trust *t = &l->host->c.trust;
	struct im2_known k;

	l->tries++;
	l->host->n.psk_fallbacks++;
	if (t->by_ed(t->ctx, l->shake->ed, &k) && !k.refused && im2_known_start(l, &k))
		return;
	if (l->state == LINK_ONLINE)
		im2_rekey_failed(l);
	else if (l->state != LINK_OVER)
		im2_first_dial(l);
}

/* Without a pair secret both make one of this very handshake (6.2). */
static void give_keys(const struct im2_shake *k, struct im2_session *s)
{
	im2_session_keys(s, &k->secrets, k->theirs.rx);
	s->has_psk = true;
	if (k->has_psk)
		memcpy(s->psk, k->psk, sizeof s->psk);
	else
		im2_pair_psk(k->secrets.exporter, s->psk);
}

/* Both an I2 at the beginning of a connection and one of a rekey. */
static void established(struct im2_link *l)
{
	const struct im2_trust *t = &l->host->c.trust;
	struct im2_host *h = l->host;
	struct im2_shake *k = l->shake;
	struct im2_peer *p = l->peer;
	struct im2_session *s = k->s;
	enum err e = t->prove(t->ctx, k->ed, k->x);

	give_keys(k, s);
	s->initiator = true;
	if (e == ERR_OK && !k->has_psk)
		e = im2_psk_candidate(h, k->ed, s->psk);
	if (e != ERR_OK) {
		im2_link_untrusted(l, e);
		return;
	}
	k->s = NULL;
	/* What was said in an INFO stays true on a connection that stands. */
	if (l->state != LINK_ONLINE || im2_link_lossy(l))
		im2_peer_hello(p, &k->theirs);
	im2_session_confirm(l, p, s);
	l->tries = 0;
	l->speak = true;
	if (l->state == LINK_ONLINE) {
		im2_shake_free(l);
		l->step_ms = UINT64_MAX;
		h->n.rekeys++;
		im2_link_event(l, SESSION_EV_REKEYED);
	} else {
		h->n.handshakes_known++;
		im2_link_up(l);
	}
	if (im2_link_lossy(l) && l->state == LINK_ONLINE)
		im2_path_repeat(l);
}

void im2_known_i2(struct im2_link *l, struct bytes unit)
{
	struct im2_shake *k = l->shake;
	enum im2_refusal why = im2_ik_finish(&k->ik, unit, &k->theirs, &k->secrets);

	if (why != IM2_FINE) {
		l->host->n.units_refused++;
		if (l->state == LINK_ONLINE) {
			if (!im2_link_lossy(l))
				im2_rekey_failed(l);
		} else if (!im2_link_lossy(l)) {
			im2_link_over(l, im2_refusal_err(why), BLAME_AUTH, im2_refusal_word(why));
		}
		return;
	}
	if (l->state == LINK_ONLINE)
		established(l);
	else
		im2_shake_identified(l, DECIDE_I2, k->ed, k->x, name_of(l, k));
}

/* --- responder ------------------------------------------------------------------------------------------------- */
/* Who is it, and may it? 0, or the code of the ERR that says no; -1: no answer at all. */
static int judge(struct im2_link *l, struct im2_shake *k, struct bytes unit)
{
	struct im2_host *h = l->host;
	const struct im2_trust *t = &h->c.trust;
	const struct psk *psk;
	struct im2_known known;
	struct psks p;
	bool none;

	if (im2_ik_peek(&k->ik, h->c.env, h->c.keyring, &l->bind, dir_of(l, false), unit, k->x) != IM2_FINE)
		return IM2_ERR_FAILED;
	if (memcmp(k->x, keyring_x25519(h->c.keyring), sizeof k->x) == 0 || !t->by_x(t->ctx, k->x, &known) ||
	    known.refused)
		return IM2_ERR_FAILED;
	memcpy(k->ed, known.ed, sizeof k->ed);
	if (l->peer && memcmp(l->peer->ed, k->ed, sizeof k->ed) != 0)
		return IM2_ERR_FAILED;
	if (im2_ik_payload(&k->ik, &k->theirs) != IM2_FINE)
		return IM2_ERR_FAILED;
	if (l->shake) {
		/* Ours is on its way on this very connection: the smaller id's handshake goes on (6.4). */
		if (memcmp(keyring_id(h->c.keyring)->hex, l->peer->id.hex, NODE_ID_LEN) < 0)
			return -1;
	}
	t->psks_get(t->ctx, k->ed, &p);
	psk = psks_accept(&p, k->theirs.psk_id, &none);
	if (psk) {
		k->has_psk = true;
		memcpy(k->psk, psk->key, sizeof k->psk);
	}
	psks_wipe(&p);
	if (!psk && !none)
		return IM2_ERR_PSK;
	if (im2_link_shaking(l) && h->pending >= h->c.limits.pending)
		return IM2_ERR_BUSY;
	return 0;
}

/* I2 out: the session is half-open until a frame of the initiator opens. */
static void answer(struct im2_link *l)
{
	struct im2_host *h = l->host;
	struct im2_shake *k = l->shake;
	struct im2_peer *p = im2_peer_get(h, k->ed, k->x);
	struct im2_hello mine;
	struct buf b;

	k->s = p ? im2_session_new(h, !p->trusted) : NULL;
	if (!k->s) {
		im2_shake_err(l, IM2_ERR_BUSY, NULL, IM2_BUSY_SOON_S);
		if (im2_link_shaking(l))
			im2_link_over(l, ERR_FULL, BLAME_NONE, "session-table-full");
		else
			im2_shake_free(l);
		return;
	}
	im2_host_hello(l, IM2_UNIT_I2, &mine);
	memcpy(mine.rx, k->s->index, sizeof mine.rx);
	buf_init(&b, IM2_SHAKE_UNIT_MAX);
	enum im2_refusal why = im2_ik_answer(&k->ik, k->ed, k->has_psk ? k->psk : NULL, bytes_of(NULL, 0), &mine, &b,
					     &k->secrets);
	if (why == IM2_FINE) {
		struct im2_session *s = k->s;

		k->s = NULL;
		give_keys(k, s);
		if (l->state != LINK_ONLINE || im2_link_lossy(l))
			im2_peer_hello(p, &k->theirs);
		im2_link_attach(l, p);
		im2_session_half(h, p, s);
		s->via = l;
		im2_shake_send(l, buf_bytes(&b), true);
		if (im2_link_shaking(l)) {
			im2_link_move(l, LINK_I2_SENT);
			im2_shake_step(l, false);
		}
	} else if (im2_link_shaking(l)) {
		im2_link_over(l, im2_refusal_err(why), BLAME_NONE, im2_refusal_word(why));
	}
	buf_fini(&b);
	im2_shake_free(l);
}

void im2_known_i1(struct im2_link *l, struct bytes unit)
{
	struct im2_shake *k = calloc(1, sizeof *k);
	int no;

	if (!k)
		return; /* it comes again */
	no = judge(l, k, unit);
	if (no) {
		im2_shake_drop(k);
		l->host->n.units_refused++;
		if (no > 0)
			im2_shake_err(l, (uint8_t)no, NULL, IM2_BUSY_SOON_S);
		if (l->errs == IM2_ERRS_MAX && im2_link_shaking(l) && !im2_link_lossy(l))
			im2_link_over(l, ERR_AUTH, BLAME_AUTH, "no-handshake-opens");
		return;
	}
	im2_shake_free(l);
	l->shake = k;
	if (!im2_link_shaking(l)) {
		l->step_ms = UINT64_MAX;
		answer(l);
		return;
	}
	im2_shake_identified(l, DECIDE_I1, k->ed, k->x, name_of(l, k));
}

void im2_known_admit(struct im2_link *l)
{
	if (l->decide == DECIDE_I1)
		answer(l);
	else
		established(l);
}
