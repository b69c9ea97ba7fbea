#include "tests/lib/protocol_pairing.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"

const uint8_t room_mesh_key[32] = "the mesh key of everybody here.";

void people_load(struct people *x, const struct vectors *v)
{
	x->alice = vector_keyring(v, "alice");
	x->bob = vector_keyring(v, "bob");
	x->carol = vector_keyring(v, "carol");
}

void people_free(struct people *x)
{
	keyring_free(x->alice);
	keyring_free(x->bob);
	keyring_free(x->carol);
}

/* --- users --- */

void user_drain(struct user *u)
{
	struct im2_pair_event e;
	struct bytes unit;
	bool more = true;

	while (more) {
		more = false;
		while (im2_pair_next_event(u->p, &e)) {
			more = true;
			switch (e.type) {
			case IM2_PAIR_EV_PEER:
				u->peers++;
				memcpy(u->peer_ed, e.peer->ed, 32);
				if (u->admits == YES)
					BUG_ON(im2_pair_admit(u->p, u->admitted_psk) != IM2_FINE);
				else if (u->admits == NO)
					im2_pair_refuse(u->p, IM2_E_POLICY);
				break;
			case IM2_PAIR_EV_COMPARE:
				u->compares++;
				snprintf(u->digits, sizeof u->digits, "%s", e.digits);
				if (u->says != LATER)
					im2_pair_verdict(u->p, u->says == YES);
				break;
			case IM2_PAIR_EV_PAIRED:
				u->paired++;
				memcpy(u->psk, e.pair_psk, 32);
				break;
			case IM2_PAIR_EV_GRANT:
				u->grants++;
				u->secret_n = e.grant->secret.n;
				memcpy(u->secret, e.grant->secret.p, e.grant->secret.n);
				u->records_n = e.grant->records.n;
				if (u->stores == YES)
					im2_pair_grant_stored(u->p);
				break;
			case IM2_PAIR_EV_GRANTED:
				u->granted++;
				break;
			case IM2_PAIR_EV_OVER:
				u->overs++;
				u->over = e;
				break;
			}
		}
		while (im2_pair_next_unit(u->p, &unit)) {
			more = true;
			BUG_ON(!(u->wire_n < ROOM_WIRE));
			buf_init(&u->wire[u->wire_n], IM2_PAIR_UNIT_MAX + 64);
			buf_add(&u->wire[u->wire_n++], unit);
		}
	}
}

void user_open(struct user *u)
{
	BUG_ON(im2_pair_new(&u->c, &u->p) != ERR_OK);
	user_drain(u);
}

void user_close(struct user *u)
{
	im2_pair_free(u->p);
	for (size_t i = 0; i < u->wire_n; i++)
		buf_fini(&u->wire[i]);
	u->wire_n = 0;
	u->p = NULL;
}

struct buf user_pop(struct user *u)
{
	BUG_ON(!(u->wire_n > 0));
	struct buf b = u->wire[0];

	memmove(u->wire, u->wire + 1, --u->wire_n * sizeof b);
	return b;
}

void room_hand(struct room *r, struct user *from, struct user *to)
{
	struct buf b = user_pop(from);

	im2_pair_take(to->p, buf_bytes(&b));
	user_drain(to);
	if (r->log_n < ROOM_WIRE)
		r->log[r->log_n++] = b;
	else
		buf_fini(&b);
}

void room_talk(struct room *r, struct user *a, struct user *b)
{
	while (a->wire_n || b->wire_n) {
		if (a->wire_n)
			room_hand(r, a, b);
		if (b->wire_n)
			room_hand(r, b, a);
	}
}

static uint64_t room_now(void *ctx)
{
	return ((struct room *)ctx)->e.now_ms;
}

static uint64_t chance_now(void *ctx)
{
	return room_now(((struct chance *)ctx)->room);
}

static void chance_random(void *ctx, void *out, size_t n)
{
	env_random(&((struct chance *)ctx)->dice->env, out, n);
}

static void chance_init(struct chance *c, struct room *r, struct penv *dice, uint64_t seed)
{
	penv_init(dice);
	dice->counter = seed;
	*c = (struct chance){.dice = dice, .room = r};
	c->env = (struct env){.ctx = c, .now_ms = chance_now, .random = chance_random};
}

void room_init(struct room *r, const struct people *people, bool sas)
{
	memset(r, 0, sizeof *r);
	r->people = people;
	penv_init(&r->e);
	chance_init(&r->of_p, r, &r->l_chance, 1000);
	chance_init(&r->of_q, r, &r->d_chance, 2000);
	r->grant = (struct im2_grant_offer){.kind = IM2_GRANT_MESH_KEY,
					    .mesh = BYTES_LIT("default"),
					    .secret = BYTES_ARR(room_mesh_key)};
	r->p.c = (struct im2_pair_config){.env = &r->of_p.env,
					  .keyring = people->bob,
					  .listener = true,
					  .sas = sas,
					  .offer = sas ? NULL : &r->offer,
					  .grant = &r->grant,
					  .hello = {.name = "bob",
						    .max_unit = IM2_PAIR_UNIT_MAX,
						    .pair_role = IM2_PAIR_GRANTS}};
	r->q.c = (struct im2_pair_config){.env = &r->of_q.env,
					  .keyring = people->alice,
					  .sas = sas,
					  .hello = {.name = "alice",
						    .max_unit = IM2_PAIR_UNIT_MAX,
						    .pair_role = IM2_PAIR_WANTS}};
	if (!sas) {
		char text[IM2_CODE_TEXT];

		BUG_ON(im2_offer_draw(&r->offer, &r->of_p.env) != ERR_OK);
		im2_offer_text(&r->offer, text);
		BUG_ON(im2_code_parse(bytes_str(text), r->q.c.digits) != ERR_OK);
	}
}

void room_fini(struct room *r)
{
	if (r->p.p)
		user_close(&r->p);
	if (r->q.p)
		user_close(&r->q);
	for (size_t i = 0; i < r->log_n; i++)
		buf_fini(&r->log[i]);
}

void room_open(struct room *r)
{
	user_open(&r->p);
	user_open(&r->q);
}

void room_pass(struct room *r, uint64_t ms)
{
	r->e.now_ms += ms;
	im2_pair_tick(r->p.p);
	user_drain(&r->p);
	im2_pair_tick(r->q.p);
	user_drain(&r->q);
}

/* --- a peer made by hand: it holds the keys and says what it likes --- */

void crafted_frame(struct crafted *n, struct user *to, struct bytes items)
{
	struct buf u;

	buf_init(&u, IM2_PAIR_UNIT_MAX + 64);
	BUG_ON(im2_frame_build(&n->tx, items, items.n, &u) != ERR_OK);
	im2_pair_take(to->p, buf_bytes(&u));
	user_drain(to);
	buf_fini(&u);
}

void crafted_item(struct crafted *n, struct user *to, uint16_t tag, struct bytes value)
{
	struct buf b;

	buf_init(&b, IM2_PAIR_UNIT_MAX);
	im2_item_add(&b, tag, value);
	crafted_frame(n, to, buf_bytes(&b));
	buf_fini(&b);
}

void crafted_sas(struct crafted *n, struct user *to, uint8_t step, struct bytes value)
{
	struct buf b;

	/* By hand: our writer has no steps but the four. */
	buf_init(&b, 128);
	buf_add(&b, BYTES_LIT("\x01\x01"));
	buf_add_u8(&b, step);
	buf_add_u8(&b, 3);
	im2_lv_add(&b, value);
	crafted_item(n, to, IM2_ITEM_SAS, buf_bytes(&b));
	buf_fini(&b);
}

void crafted_listens(struct crafted *n, struct room *r, uint8_t role)
{
	struct im2_binding b = {.transport = IM2_WEBSOCKET, .chan = BYTES_LIT(IM2_PAIR_PATH)};
	struct im2_hello mine = {.rx = {9, 9, 9, 9}, .pair_role = role};
	struct buf s1, x2, x4, prs;

	memset(n, 0, sizeof *n);
	buf_init(&s1, 64);
	buf_init(&x2, 4096);
	buf_init(&x4, 4096);
	buf_init(&prs, 64);
	user_open(&r->q);
	im2_s1_write(&s1, b.nonce_s);
	sha256(buf_bytes(&s1), b.h1);
	im2_pair_take(r->q.p, buf_bytes(&s1));
	user_drain(&r->q);
	if (!r->q.c.sas)
		im2_code_prs(r->q.c.digits, &prs);
	struct buf x1 = user_pop(&r->q);
	BUG_ON(im2_xx_listen(&n->xx, &r->of_p.env, r->people->carol, buf_bytes(&prs), &b, buf_bytes(&x1), &x2) != IM2_FINE);
	im2_pair_take(r->q.p, buf_bytes(&x2));
	user_drain(&r->q);
	struct buf x3 = user_pop(&r->q);
	BUG_ON(im2_xx_take_x3(&n->xx, buf_bytes(&x3), &n->peer) != IM2_FINE);
	BUG_ON(im2_xx_x4(&n->xx, &mine, &x4, &n->keys) != IM2_FINE);
	memcpy(n->tx.key, n->keys.tx, 32);
	memcpy(n->tx.index, n->peer.rx, 4);
	im2_pair_take(r->q.p, buf_bytes(&x4));
	user_drain(&r->q);
	buf_fini(&s1);
	buf_fini(&x1);
	buf_fini(&x2);
	buf_fini(&x3);
	buf_fini(&x4);
	buf_fini(&prs);
}

void crafted_dials(struct crafted *n, struct room *r, uint8_t role)
{
	struct im2_binding b = {.transport = IM2_WEBSOCKET, .chan = BYTES_LIT(IM2_PAIR_PATH)};
	struct im2_hello mine = {.rx = {9, 9, 9, 9}, .pair_role = role};
	struct buf x1, x3, prs;

	memset(n, 0, sizeof *n);
	buf_init(&x1, 4096);
	buf_init(&x3, 4096);
	buf_init(&prs, 64);
	if (!r->p.c.sas)
		im2_code_prs(r->offer.digits, &prs);
	user_open(&r->p);
	struct buf s1 = user_pop(&r->p);
	BUG_ON(im2_s1_parse(buf_bytes(&s1), b.nonce_s) != IM2_FINE);
	sha256(buf_bytes(&s1), b.h1);
	BUG_ON(im2_xx_dial(&n->xx, &r->of_q.env, r->people->carol, r->p.c.sas ? IM2_MODE_SAS : IM2_MODE_CODE, 0,
				     buf_bytes(&prs), &b, &x1) != IM2_FINE);
	im2_pair_take(r->p.p, buf_bytes(&x1));
	user_drain(&r->p);
	struct buf x2 = user_pop(&r->p);
	BUG_ON(im2_xx_take_x2(&n->xx, buf_bytes(&x2), &mine, &x3) != IM2_FINE);
	im2_pair_take(r->p.p, buf_bytes(&x3));
	user_drain(&r->p);
	struct buf x4 = user_pop(&r->p);
	BUG_ON(im2_xx_take_x4(&n->xx, buf_bytes(&x4), &n->peer, &n->keys) != IM2_FINE);
	memcpy(n->tx.key, n->keys.tx, 32);
	memcpy(n->tx.index, n->peer.rx, 4);
	buf_fini(&s1);
	buf_fini(&x1);
	buf_fini(&x2);
	buf_fini(&x3);
	buf_fini(&x4);
	buf_fini(&prs);
}
