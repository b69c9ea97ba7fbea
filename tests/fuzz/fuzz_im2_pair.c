/* rooms: protocol trust base */
/*
 * Two nodes that pair, and an adversary on the path who delivers, drops, repeats, swaps, changes and injects units
 * and lets time pass, as the input says. First byte: mode, roles, right or wrong code, users' answers; then one
 * byte per move. Whatever happens: who is paired holds the same psk as the other and saw its identity, nobody is
 * paired with a wrong code or without both yes, a code is gone once it was tried, and a credential moves only from 1 to 2.
 */
#include "tests/lib/protocol_env.c"
#include "tests/lib/protocol_pairing.c"
#include "tests/lib/protocol_vectors.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOVES_MAX 64

enum move { DELIVER, DROP, REPEAT, SWAP, FLIP, CUT, REFLECT, WAIT, LONG_WAIT, ANSWER, MOVES };

static struct people people;

static void take(struct user *to, const uint8_t *p, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1); /* exact, for the address sanitizer */

	BUG_ON(!copy);
	if (n)
		memcpy(copy, p, n);
	im2_pair_take(to->p, bytes_of(copy, n));
	free(copy);
	user_drain(to);
}

static void move(struct room *r, uint8_t m)
{
	bool to_q = m / MOVES % 2 == 0;
	struct user *from = to_q ? &r->p : &r->q, *to = to_q ? &r->q : &r->p;
	enum move what = m % MOVES;
	struct buf b;

	if (what == WAIT || what == LONG_WAIT) {
		room_pass(r, what == WAIT ? 1700 : 61000);
		return;
	}
	if (what == ANSWER) {
		im2_pair_verdict(to->p, true);
		im2_pair_grant_stored(to->p);
		user_drain(to);
		return;
	}
	/* Users who drop everything and say more would fill the room. */
	if (from->wire_n == 0 || to->wire_n > ROOM_WIRE / 2)
		return;
	if (what == SWAP && from->wire_n > 1) {
		b = from->wire[0];
		from->wire[0] = from->wire[1];
		from->wire[1] = b;
		return;
	}
	b = user_pop(from);
	if (what == FLIP && b.n)
		b.p[m % b.n] ^= (uint8_t)(1u << m % 8);
	if (what == CUT && b.n)
		b.n--;
	if (what == REFLECT)
		take(from, b.p, b.n);
	else if (what != DROP)
		take(to, b.p, b.n);
	if (what == REPEAT)
		take(to, b.p, b.n);
	buf_fini(&b);
}

static void check_user(const struct user *u, const struct user *other, const struct keyring *other_is, bool wrong,
		       bool sas)
{
	BUG_ON(u->paired > 1 || u->overs > 1 || u->grants > 1 || u->granted > 1);
	BUG_ON(u->paired && (wrong || memcmp(u->peer_ed, keyring_ed(other_is), ED_BYTES) != 0));
	BUG_ON(u->paired && sas && (u->compares != 1 || other->compares != 1 || u->says == NO));
	BUG_ON(u->paired && other->paired && memcmp(u->psk, other->psk, PSK_BYTES) != 0);
	BUG_ON(u->grants && (u->c.hello.pair_role != IM2_PAIR_WANTS ||
			     other->c.hello.pair_role != IM2_PAIR_GRANTS || !u->paired || !other->paired));
	BUG_ON(u->granted && other->grants != 1);
	BUG_ON(u->grants && (u->secret_n != 32 || memcmp(u->secret, room_mesh_key, 32) != 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct room r;

	if (size < 2 || size > MOVES_MAX)
		return 0;
	if (!people.alice) {
		people.alice = keyring_number(0);
		people.bob = keyring_number(1);
		people.carol = keyring_number(2);
	}
	bool sas = data[0] & 1, wrong = !sas && data[0] & 2;
	room_init(&r, &people, sas);
	r.p.c.hello.pair_role = data[0] & 4 ? IM2_PAIR_PIN_ONLY : IM2_PAIR_GRANTS;
	r.q.c.hello.pair_role = data[0] & 8 ? IM2_PAIR_PIN_ONLY : IM2_PAIR_WANTS;
	r.p.says = data[0] & 16 ? LATER : YES;
	r.q.says = data[0] & 32 ? LATER : YES;
	r.q.stores = data[0] & 64 ? LATER : YES;
	if (data[0] & 128)
		r.p.says = NO;
	if (wrong)
		r.q.c.digits[0] ^= 1;
	room_open(&r);
	for (size_t i = 1; i < size; i++)
		move(&r, data[i]);
	/* Who was heard out used the code up. */
	BUG_ON(!sas && r.p.peers && (r.offer.live || !is_zero(r.offer.digits, sizeof r.offer.digits)));
	check_user(&r.p, &r.q, people.alice, wrong, sas);
	check_user(&r.q, &r.p, people.bob, wrong, sas);
	room_fini(&r);
	return 0;
}
