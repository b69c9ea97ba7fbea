#include "protocol/im2/pair_internal.h"

#include <stdlib.h>

#include "base/hash.h"

static const struct sm_row rows[] = {
	[PAIR_START] = { "start", SM_TO(PAIR_SHAKE) | SM_TO(PAIR_OVER) },
	[PAIR_SHAKE] = { "shake", SM_TO(PAIR_SHAKE) | SM_TO(PAIR_DECIDE) | SM_TO(PAIR_OVER) },
	[PAIR_DECIDE] = { "decide", SM_TO(PAIR_CONFIRM) | SM_TO(PAIR_COMMIT) | SM_TO(PAIR_GRANTING) |
					    SM_TO(PAIR_WANTING) | SM_TO(PAIR_LINGER) | SM_TO(PAIR_OVER) },
	[PAIR_CONFIRM] = { "confirm", SM_TO(PAIR_GRANTING) | SM_TO(PAIR_WANTING) | SM_TO(PAIR_LINGER) |
					      SM_TO(PAIR_OVER) },
	[PAIR_COMMIT] = { "commit", SM_TO(PAIR_COMPARE) | SM_TO(PAIR_OVER) },
	[PAIR_COMPARE] = { "compare", SM_TO(PAIR_GRANTING) | SM_TO(PAIR_WANTING) | SM_TO(PAIR_LINGER) |
					      SM_TO(PAIR_OVER) },
	[PAIR_GRANTING] = { "granting", SM_TO(PAIR_GRANTING) | SM_TO(PAIR_OVER) },
	[PAIR_WANTING] = { "wanting", SM_TO(PAIR_LINGER) | SM_TO(PAIR_OVER) },
	[PAIR_LINGER] = { "linger", SM_TO(PAIR_OVER) },
	[PAIR_OVER] = { "over", 0 },
};

void pair_move(struct im2_pair *p, enum pair_state to, uint64_t stay_ms)
{
	sm_move(rows, &p->state, to);
	p->until_ms = to == PAIR_OVER ? UINT64_MAX : env_now(p->env) + stay_ms;
	if (to <= PAIR_DECIDE && p->until_ms > p->shake_until_ms)
		p->until_ms = p->shake_until_ms;
}

void pair_event(struct im2_pair *p, enum im2_pair_event_type type)
{
	BUG_ON(p->event_n == PAIR_EVENTS); /* the owner drains after every call */
	p->event[p->event_n++] = (uint8_t)type;
}

/* --- units --- */

static struct buf *unit_new(struct im2_pair *p)
{
	BUG_ON(p->unit_n == PAIR_UNITS);
	struct buf *u = &p->unit[p->unit_n++];

	buf_init(u, IM2_SHAKE_UNIT_MAX);
	return u;
}

static void unit_undo(struct im2_pair *p)
{
	buf_fini(&p->unit[--p->unit_n]);
}

static void say_err(struct im2_pair *p, uint8_t code)
{
	im2_err_write(unit_new(p), &(struct im2_err_unit){ .code = code });
}

bool im2_pair_next_unit(struct im2_pair *p, struct bytes *unit)
{
	buf_fini(&p->unit_out);
	if (p->unit_n == 0)
		return false;
	p->unit_out = p->unit[0];
	memmove(p->unit, p->unit + 1, --p->unit_n * sizeof *p->unit);
	*unit = buf_bytes(&p->unit_out);
	return true;
}

bool im2_pair_next_event(struct im2_pair *p, struct im2_pair_event *out)
{
	if (p->event_n == 0)
		return false;
	struct im2_pair_event e = { .type = p->event[0] };

	memmove(p->event, p->event + 1, --p->event_n);
	switch (e.type) {
	case IM2_PAIR_EV_PAIRED:
		e.pair_psk = p->pair_psk;
		/* fall through */
	case IM2_PAIR_EV_PEER:
		e.peer = &p->peer;
		e.peer_x = p->peer_x;
		break;
	case IM2_PAIR_EV_COMPARE:
		e.digits = p->sas_text;
		break;
	case IM2_PAIR_EV_GRANT:
		e.grant = &p->got_parts;
		break;
	case IM2_PAIR_EV_GRANTED:
		break;
	case IM2_PAIR_EV_OVER:
		e.err = p->over.err;
		e.why = p->over.why;
		e.code = p->over.code;
		e.guess_used = p->guess_used;
		break;
	}
	*out = e;
	return true;
}

/* --- the handshake --- */

static struct im2_binding binding_of(const struct im2_pair *p)
{
	struct im2_binding b = {
		.transport = IM2_WEBSOCKET,
		.chan = BYTES_LIT(IM2_PAIR_PATH),
		.cb = buf_bytes(&p->cb),
	};

	memcpy(b.h1, p->h1, sizeof b.h1);
	memcpy(b.nonce_s, p->nonce_s, sizeof b.nonce_s);
	return b;
}

static void prs_of(const char digits[static IM2_CODE_DIGITS], uint8_t mode, struct buf *prs)
{
	buf_init(prs, 64);
	if (mode == IM2_MODE_CODE)
		im2_code_prs(digits, prs);
}

static void prs_gone(struct buf *prs)
{
	buf_wipe(prs);
	buf_fini(prs);
}

static void take_keys(struct im2_pair *p)
{
	memcpy(p->tx.key, p->keys.tx, sizeof p->tx.key);
	memcpy(p->tx.index, p->peer.rx, sizeof p->tx.index);
	im2_pair_psk(p->keys.exporter, p->pair_psk);
}

static void take_s1(struct im2_pair *p, struct bytes unit)
{
	enum im2_refusal why = im2_s1_parse(unit, p->nonce_s);
	struct buf prs;

	if (why == IM2_FINE) {
		sha256(unit, p->h1);
		struct im2_binding b = binding_of(p);

		prs_of(p->digits, p->mode, &prs);
		why = im2_xx_dial(&p->xx, p->env, p->keyring, p->mode, 0, buf_bytes(&prs), &b,
				  unit_new(p));
		prs_gone(&prs);
		wipe(p->digits, sizeof p->digits); /* one listener only */
		if (why != IM2_FINE)
			unit_undo(p);
	}
	if (why != IM2_FINE)
		pair_refused(p, why);
	else
		pair_move(p, PAIR_SHAKE, PAIR_STEP_MS);
}

/* Which X1 is answered at all; 0, or the code of ERR. */
static uint8_t x1_unwanted(struct im2_pair *p, uint8_t mode)
{
	struct im2_offer *o = p->offer;

	if (mode == IM2_MODE_SAS)
		return p->sas ? 0 : IM2_ERR_BAD_MODE;
	if (mode != IM2_MODE_CODE || !o)
		return IM2_ERR_BAD_MODE;
	if (o->live && env_now(p->env) >= o->until_ms)
		im2_offer_wipe(o);
	return o->live ? 0 : IM2_ERR_CODE_USED;
}

static void take_x1(struct im2_pair *p, struct bytes unit)
{
	uint16_t passgen;
	uint8_t mode = 0;
	enum im2_refusal why = im2_x1_peek(unit, &mode, &passgen);
	uint8_t code = why != IM2_FINE ? IM2_ERR_MALFORMED : x1_unwanted(p, mode);
	struct buf prs;

	if (code != 0) {
		say_err(p, code);
		pair_refused(p, why != IM2_FINE ? why : IM2_E_POLICY);
		return;
	}
	struct im2_binding b = binding_of(p);

	p->mode = mode;
	prs_of(mode == IM2_MODE_CODE ? p->offer->digits : p->digits, mode, &prs);
	why = im2_xx_listen(&p->xx, p->env, p->keyring, buf_bytes(&prs), &b, unit, unit_new(p));
	prs_gone(&prs);
	if (why != IM2_FINE) {
		unit_undo(p);
		say_err(p, IM2_ERR_FAILED);
		pair_refused(p, why);
		return;
	}
	if (mode == IM2_MODE_CODE) {
		/* X2 lets the dialler test one guess, whatever follows. */
		im2_offer_wipe(p->offer);
		p->guess_used = true;
	}
	pair_move(p, PAIR_SHAKE, PAIR_STEP_MS);
}

static void identified(struct im2_pair *p)
{
	memcpy(p->peer_x, p->xx.peer_x, sizeof p->peer_x);
	pair_move(p, PAIR_DECIDE, PAIR_SHAKE_MS);
	pair_event(p, IM2_PAIR_EV_PEER);
}

static void take_shake(struct im2_pair *p, struct bytes unit)
{
	enum im2_refusal why;

	if (p->listener) {
		why = im2_xx_take_x3(&p->xx, unit, &p->peer);
	} else if (unit.n && unit.p[0] == IM2_UNIT_X2) {
		why = im2_xx_take_x2(&p->xx, unit, &p->mine, unit_new(p));
		if (why == IM2_FINE) {
			pair_move(p, PAIR_SHAKE, PAIR_STEP_MS);
			return;
		}
		unit_undo(p);
	} else {
		why = im2_xx_take_x4(&p->xx, unit, &p->peer, &p->keys);
		if (why == IM2_FINE)
			take_keys(p);
	}
	if (why == IM2_FINE)
		identified(p);
	else
		pair_refused(p, why);
}

/* Only a hint: it costs this attempt, which was not authenticated yet. */
static bool take_err(struct im2_pair *p, struct bytes unit)
{
	struct im2_err_unit e;

	if (unit.n == 0 || unit.p[0] != IM2_UNIT_ERR)
		return false;
	if (p->listener || p->state > PAIR_SHAKE || im2_err_parse(unit, &e) != IM2_FINE)
		return true;
	p->over.code = e.code;
	pair_over(p, ERR_DENIED, IM2_FINE, CLOSE_NORMAL);
	return true;
}

void im2_pair_take(struct im2_pair *p, struct bytes unit)
{
	if (p->state == PAIR_OVER || take_err(p, unit))
		return;
	if (p->state == PAIR_START && p->listener)
		take_x1(p, unit);
	else if (p->state == PAIR_START)
		take_s1(p, unit);
	else if (p->state == PAIR_SHAKE)
		take_shake(p, unit);
	else if (unit.n == 0 || unit.p[0] != IM2_UNIT_FRAME)
		pair_refused(p, IM2_E_MALFORMED);
	else if (p->state == PAIR_DECIDE) {
		/* The listener's commitment may come before the owner has looked. */
		if (p->listener || p->held.n || unit.n > IM2_PAIR_UNIT_MAX)
			pair_refused(p, IM2_E_LIMIT);
		else
			buf_add(&p->held, unit);
	} else {
		pair_frame(p, unit);
	}
	pair_flush_items(p);
}

/* --- decisions --- */

enum im2_refusal im2_pair_admit(struct im2_pair *p, uint8_t pair_psk[static PSK_BYTES])
{
	if (p->state != PAIR_DECIDE)
		return IM2_E_CONTEXT;
	if (p->listener) {
		enum im2_refusal why = im2_xx_x4(&p->xx, &p->mine, unit_new(p), &p->keys);

		if (why != IM2_FINE) {
			unit_undo(p);
			pair_refused(p, why);
			return why;
		}
		take_keys(p);
	}
	memset(pair_psk, 0, PSK_BYTES);
	if (p->mode == IM2_MODE_CODE) {
		memcpy(pair_psk, p->pair_psk, PSK_BYTES);
		if (p->listener) {
			pair_move(p, PAIR_CONFIRM, PAIR_STEP_MS);
		} else {
			p->say_frame = true; /* it confirms the keys */
			pair_paired(p);
		}
	} else {
		pair_move(p, PAIR_COMMIT, PAIR_SHAKE_MS);
		if (p->listener) {
			uint8_t commit[32];

			env_random(p->env, p->n_l, sizeof p->n_l);
			im2_sas_commit(p->n_l, commit);
			pair_sas_say(p, 1, BYTES_ARR(commit));
		}
	}
	if (p->held.n && p->state != PAIR_OVER)
		pair_frame(p, buf_bytes(&p->held));
	buf_fini(&p->held);
	pair_flush_items(p);
	return IM2_FINE;
}

void im2_pair_refuse(struct im2_pair *p, enum im2_refusal why)
{
	if (p->state != PAIR_DECIDE)
		return;
	if (p->listener)
		say_err(p, IM2_ERR_DENIED);
	pair_over(p, im2_refusal_err(why), why, CLOSE_REVOKED);
	pair_flush_items(p);
}

void im2_pair_verdict(struct im2_pair *p, bool yes)
{
	if (p->state != PAIR_COMPARE || p->said_yes)
		return;
	if (yes) {
		p->said_yes = true;
		pair_sas_say(p, 4, bytes_of(NULL, 0));
		if (p->heard_yes)
			pair_paired(p);
	} else {
		pair_over(p, ERR_DENIED, IM2_FINE, CLOSE_NORMAL);
	}
	pair_flush_items(p);
}

void im2_pair_grant_stored(struct im2_pair *p)
{
	if (p->state != PAIR_WANTING || !p->got.p)
		return;
	p->got_stored = true;
	p->got_parts = (struct im2_grant_offer){0};
	secret_free(&p->got);
	im2_item_add(&p->items, IM2_ITEM_GRANTACK, bytes_of(NULL, 0));
	pair_move(p, PAIR_LINGER, PAIR_WAIT_MS);
	pair_flush_items(p);
}

void im2_pair_close(struct im2_pair *p)
{
	pair_over(p, p->state == PAIR_LINGER ? ERR_OK : ERR_CLOSED, IM2_FINE, CLOSE_NORMAL);
	pair_flush_items(p);
}

/* --- time --- */

uint64_t im2_pair_deadline_ms(const struct im2_pair *p)
{
	return p->until_ms;
}

void im2_pair_tick(struct im2_pair *p)
{
	if (p->state == PAIR_OVER || env_now(p->env) < p->until_ms)
		return;
	if (p->state == PAIR_GRANTING && p->given < PAIR_GRANT_TIMES) {
		pair_move(p, PAIR_GRANTING, PAIR_GRANT_MS);
		pair_grant_say(p);
	} else {
		pair_over(p, p->state == PAIR_LINGER ? ERR_OK : ERR_TIMEOUT, IM2_FINE, CLOSE_NORMAL);
	}
	pair_flush_items(p);
}

/* --- begin and end --- */

enum err im2_pair_new(const struct im2_pair_config *c, struct im2_pair **out)
{
	enum err e = ERR_OK;

	if (c->hello.pair_role == IM2_PAIR_GRANTS && !c->grant)
		return ERR_USAGE;
	if (c->listener && !c->sas && !c->offer)
		return ERR_USAGE;
	struct im2_pair *p = calloc(1, sizeof *p);
	if (!p)
		return ERR_NOMEM;
	p->env = c->env;
	p->keyring = c->keyring;
	p->listener = c->listener;
	p->sas = c->sas;
	p->offer = c->offer;
	p->mode = c->sas ? IM2_MODE_SAS : IM2_MODE_CODE;
	p->mine = c->hello;
	buf_init(&p->cb, 64);
	buf_init(&p->items, IM2_PAIR_UNIT_MAX);
	buf_init(&p->held, IM2_PAIR_UNIT_MAX);
	buf_add(&p->cb, c->cb);
	if (!c->listener && !c->sas)
		memcpy(p->digits, c->digits, sizeof p->digits);
	if (c->hello.pair_role == IM2_PAIR_GRANTS)
		e = im2_grant_write(c->grant, IM2_GRANT_MAX, &p->give);
	if (e == ERR_OK)
		e = p->cb.err;
	if (e != ERR_OK) {
		im2_pair_free(p);
		return e;
	}
	p->shake_until_ms = env_now(p->env) + PAIR_SHAKE_MS;
	p->until_ms = env_now(p->env) + PAIR_STEP_MS;
	if (p->listener) {
		env_random(p->env, p->nonce_s, sizeof p->nonce_s);
		struct buf *s1 = unit_new(p);

		im2_s1_write(s1, p->nonce_s);
		sha256(buf_bytes(s1), p->h1);
	}
	env_random(p->env, p->mine.rx, sizeof p->mine.rx);
	*out = p;
	return ERR_OK;
}

void im2_pair_free(struct im2_pair *p)
{
	if (!p)
		return;
	im2_xx_wipe(&p->xx);
	secret_free(&p->give);
	secret_free(&p->got);
	buf_fini(&p->cb);
	buf_wipe(&p->items);
	buf_fini(&p->items);
	buf_fini(&p->held);
	buf_fini(&p->unit_out);
	while (p->unit_n)
		unit_undo(p);
	wipe(p, sizeof *p);
	free(p);
}
