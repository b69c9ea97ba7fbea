/*
 * A recorded pairing and all the time in the world: no guess at the code can be told from another (im2.md 5.3, 15.1).
 * IRONMESH_GUESSES=100000 tries that many codes instead of a few; the right one is always among them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <sodium.h>

#include "base/hash.h"
#include "protocol/im2/cpace.h"
#include "protocol/im2/handshake_internal.h"
#include "protocol/im2/pair.h"
#include "tests/lib/protocol_env.h"

#define GUESSES 400
#define PLATE 42000000 /* the first two digits are public */
#define CODE 42307915
#define WRONG 42307916

struct world {
	struct penv e;
	struct keyring *shows, *types;
	struct im2_binding b;
	struct im2_hello of_typing, heard;
	struct im2_xx d, l;
	struct buf x1, x2, x3;
};

static void prs_of(unsigned code, struct buf *prs)
{
	char digits[IM2_CODE_DIGITS + 1];

	snprintf(digits, sizeof digits, "%08u", code % 100000000u);
	buf_init(prs, 64);
	im2_code_prs(digits, prs);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	if (!w || secret_init_library() != ERR_OK)
		return -1;
	penv_init(&w->e);
	w->shows = keyring_number(1);
	w->types = keyring_number(2);
	w->b = (struct im2_binding){ .transport = IM2_WEBSOCKET, .chan = BYTES_LIT(IM2_PAIR_PATH) };
	env_random(&w->e.env, w->b.nonce_s, sizeof w->b.nonce_s);
	env_random(&w->e.env, w->b.h1, sizeof w->b.h1);
	memcpy(w->of_typing.rx, "aaaa", 4);
	memcpy(w->of_typing.name, "alice", 6);
	buf_init(&w->x1, 1 << 14);
	buf_init(&w->x2, 1 << 14);
	buf_init(&w->x3, 1 << 14);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	im2_xx_wipe(&w->d);
	im2_xx_wipe(&w->l);
	buf_fini(&w->x1);
	buf_fini(&w->x2);
	buf_fini(&w->x3);
	keyring_free(w->shows);
	keyring_free(w->types);
	free(w);
	return 0;
}

/* X1 with one code, X2 with the one that is shown. */
static void exchange(struct world *w, unsigned typed)
{
	struct buf prs;

	prs_of(typed, &prs);
	assert_int_equal(im2_xx_dial(&w->d, &w->e.env, w->types, IM2_MODE_CODE, 0, buf_bytes(&prs), &w->b, &w->x1), IM2_FINE);
	buf_fini(&prs);
	prs_of(CODE, &prs);
	assert_int_equal(im2_xx_listen(&w->l, &w->e.env, w->shows, buf_bytes(&prs), &w->b, buf_bytes(&w->x1), &w->x2), IM2_FINE);
	buf_fini(&prs);
}

static bool opens(struct world *w, struct bytes prologue, struct bytes sid, const uint8_t k[static 32])
{
	struct bytes x1 = buf_bytes(&w->x1), x2 = buf_bytes(&w->x2);
	struct bytes part[] = { BYTES_LIT("CPaceRistretto255_ISK"), sid, bytes_of(k, 32), bytes_of(x1.p + 18, 32),
				bytes_of(x1.p, 18), bytes_of(x2.p + 1, 32), BYTES_LIT("\x53") };
	struct noise_static own = im2_noise_static(w->types);
	uint8_t isk[CPACE_ISK], psk[32];
	crypto_hash_sha512_state s;
	struct noise x;
	struct buf all, out;
	bool good;

	buf_init(&all, 1024);
	buf_init(&out, 1024);
	for (size_t i = 0; i < sizeof part / sizeof *part; i++)
		im2_lv_add(&all, part[i]);
	crypto_hash_sha512_init(&s);
	crypto_hash_sha512_update(&s, all.p, all.n);
	crypto_hash_sha512_final(&s, isk);
	im2_xx_psk(isk, sid, psk);
	noise_init(&x, &(struct noise_opts){ .pattern = NOISE_XXPSK0, .prologue = prologue, .s = &own, .psk = psk });
	good = noise_read(&x, bytes_of(x2.p + 33, x2.n - 33), &out) == ERR_OK;
	noise_wipe(&x);
	buf_fini(&all);
	buf_fini(&out);
	return good;
}

/* What a guess and a recording give, and, for who dialled himself, his own scalar: is it a way into X2? */
static bool fits(struct world *w, unsigned code, const uint8_t *scalar)
{
	struct bytes x1 = buf_bytes(&w->x1), x2 = buf_bytes(&w->x2);
	uint8_t sid[48], hash[32], k[6][32] = { { 0 } };
	struct buf prs, ci, prologue;
	bool good = false;

	memcpy(sid, w->b.nonce_s, 32);
	memcpy(sid + 32, x1.p + 2, 16);
	buf_init(&ci, IM2_CTX_MAX);
	buf_init(&prologue, 1024);
	prs_of(code, &prs);
	im2_ctx(&ci, IM2_MODE_CODE, w->b.transport, w->b.chan, w->b.cb);
	cpace_generator(buf_bytes(&prs), buf_bytes(&ci), BYTES_ARR(sid), k[0]);
	memcpy(k[1], x1.p + 18, 32);
	memcpy(k[2], x2.p + 1, 32);
	if (scalar && (cpace_share(scalar, k[2], k[3]) != ERR_OK || cpace_share(scalar, k[0], k[4]) != ERR_OK))
		fail();
	buf_add(&prologue, buf_bytes(&ci));
	buf_add(&prologue, BYTES_ARR(w->b.h1));
	sha256(x1, hash);
	buf_add(&prologue, BYTES_ARR(hash));
	im2_lv_add(&prologue, bytes_of(x2.p + 1, 32));
	for (size_t i = 0; i < sizeof k / sizeof *k && !good; i++)
		good = opens(w, buf_bytes(&prologue), BYTES_ARR(sid), k[i]);
	buf_fini(&prs);
	buf_fini(&ci);
	buf_fini(&prologue);
	return good;
}

static unsigned tries(struct world *w, const uint8_t *scalar)
{
	const char *said = getenv("IRONMESH_GUESSES");
	unsigned n = said ? (unsigned)atoi(said) : GUESSES, found = fits(w, CODE, scalar);

	for (unsigned i = 1; i < n; i++)
		found += fits(w, PLATE + (CODE + i) % 1000000, scalar);
	return found;
}

static void who_listens_to_a_pairing_learns_nothing(void **state)
{
	struct world *w = *state;

	exchange(w, CODE);
	assert_int_equal(im2_xx_take_x2(&w->d, buf_bytes(&w->x2), &w->of_typing, &w->x3), IM2_FINE);
	assert_int_equal(tries(w, NULL), 0);
}

static void who_guessed_wrong_learns_that_alone(void **state)
{
	struct world *w = *state;

	exchange(w, WRONG);
	/* With all that he knows, no other code fits better than the one that he tried: not even the right one. */
	assert_int_equal(tries(w, w->d.scalar), 0);
	assert_int_equal(im2_xx_take_x2(&w->d, buf_bytes(&w->x2), &w->of_typing, &w->x3), IM2_E_AEAD);
	assert_int_equal(w->x3.n, 0);
}

/* The same arithmetic would have seen it. */
static void who_guessed_right_is_the_one_in_a_million(void **state)
{
	struct world *w = *state;

	exchange(w, CODE);
	assert_true(fits(w, CODE, w->d.scalar));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(who_listens_to_a_pairing_learns_nothing),
		T(who_guessed_wrong_learns_that_alone),
		T(who_guessed_right_is_the_one_in_a_million),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
