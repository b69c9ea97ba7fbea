#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <sodium.h>

#include "base/hash.h"
#include "base/text.h"
#include "protocol/im2/cpace.h"
#include "protocol/im2/frame.h"
#include "protocol/im2/handshake_internal.h"
#include "protocol/im2/pair.h"
#include "tests/lib/protocol_im2_intruder.h"

/*
 * The attacks of ironmesh-wire 12 on identities and handshakes, against im2. Where the old wire is at hand, the same
 * attack is first shown to work there. tests/lib/make-weakness-table reads the names.
 */

#define TEXT_PASSPHRASE "correct-horse-battery"

struct world {
	struct penv e;
	struct keyring *alice, *bob, *mallory;
	uint8_t mesh[IM2_KEY];
	struct im2_binding b;
	struct im2_hello from_a, from_b;
	/* One handshake between alice (dialler) and bob (listener). */
	struct im2_xx d, l;
	struct buf x1, x2, x3, x4;
	struct im2_hello heard;
	struct im2_secrets sa, sb;
	struct buf said; /* by the intruder */
};

/* What stands for Argon2id: fast, and still a function of the passphrase alone. */
static void stretch(const char *passphrase, uint8_t out[static IM2_KEY])
{
	sha256_2(BYTES_LIT("mesh"), bytes_str(passphrase), out);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	if (!w || secret_init_library() != ERR_OK)
		return -1;
	penv_init(&w->e);
	w->alice = keyring_number(1);
	w->bob = keyring_number(2);
	w->mallory = keyring_number(3);
	stretch(TEXT_PASSPHRASE, w->mesh);
	w->b = (struct im2_binding){.transport = IM2_WEBSOCKET, .chan = BYTES_LIT("/")};
	env_random(&w->e.env, w->b.nonce_s, sizeof w->b.nonce_s);
	env_random(&w->e.env, w->b.h1, sizeof w->b.h1);
	memcpy(w->from_a.rx, "aaaa", 4);
	memcpy(w->from_b.rx, "bbbb", 4);
	memcpy(w->from_a.name, "alice", 6);
	memcpy(w->from_b.name, "bob", 4);
	struct buf *all[] = {&w->x1, &w->x2, &w->x3, &w->x4, &w->said};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		buf_init(all[i], 1 << 14);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	struct buf *all[] = {&w->x1, &w->x2, &w->x3, &w->x4, &w->said};

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		buf_fini(all[i]);
	im2_xx_wipe(&w->d);
	im2_xx_wipe(&w->l);
	keyring_free(w->alice);
	keyring_free(w->bob);
	keyring_free(w->mallory);
	free(w);
	return 0;
}

static void alice_dials(struct world *w)
{
	im2_xx_wipe(&w->d);
	buf_reset(&w->x1);
	assert_int_equal(im2_xx_dial(&w->d, &w->e.env, w->alice, IM2_MODE_MESH, 0, BYTES_ARR(w->mesh), &w->b, &w->x1),
			 IM2_FINE);
}

static enum im2_refusal bob_answers(struct world *w, struct bytes x1)
{
	im2_xx_wipe(&w->l);
	buf_reset(&w->x2);
	return im2_xx_listen(&w->l, &w->e.env, w->bob, BYTES_ARR(w->mesh), &w->b, x1, &w->x2);
}

static void honest_handshake(struct world *w)
{
	alice_dials(w);
	assert_int_equal(bob_answers(w, buf_bytes(&w->x1)), IM2_FINE);
	buf_reset(&w->x3);
	buf_reset(&w->x4);
	assert_int_equal(im2_xx_take_x2(&w->d, buf_bytes(&w->x2), &w->from_a, &w->x3), IM2_FINE);
	assert_int_equal(im2_xx_take_x3(&w->l, buf_bytes(&w->x3), &w->heard), IM2_FINE);
	assert_int_equal(im2_xx_x4(&w->l, &w->from_b, &w->x4, &w->sb), IM2_FINE);
	assert_int_equal(im2_xx_take_x4(&w->d, buf_bytes(&w->x4), &w->heard, &w->sa), IM2_FINE);
	assert_memory_equal(w->sa.tx, w->sb.rx, 32);
}

/* The dialler met something that it does not go on with: it says nothing more. */
static void assert_alice_stops(struct world *w, struct bytes x2, enum im2_refusal why)
{
	buf_reset(&w->x3);
	assert_int_equal(im2_xx_take_x2(&w->d, x2, &w->from_a, &w->x3), why);
	assert_int_equal(w->x3.n, 0);
}

/* --- 1: offline guessing --- */

/* Everything that can be computed from a recording and a guess at the passphrase: does one of it open X2? */
static bool guess_fits_recording(struct world *w, const char *guess, const uint8_t *own_yb_scalar)
{
	struct bytes x1 = buf_bytes(&w->x1), x2 = buf_bytes(&w->x2);
	uint8_t prs[IM2_KEY], g[32], sid[48], isk[CPACE_ISK], hash[32];
	uint8_t secret[6][32];
	bool found = false;
	struct buf ci, pro, k;

	stretch(guess, prs);
	memcpy(sid, w->b.nonce_s, 32);
	memcpy(sid + 32, x1.p + 2, 16);
	buf_init(&ci, IM2_CTX_MAX);
	buf_init(&pro, 1024);
	buf_init(&k, 1024);
	im2_ctx(&ci, IM2_MODE_MESH, w->b.transport, w->b.chan, w->b.cb);
	cpace_generator(BYTES_ARR(prs), buf_bytes(&ci), BYTES_ARR(sid), g);
	memcpy(secret[0], prs, 32);
	memcpy(secret[1], g, 32);
	memcpy(secret[2], x1.p + 18, 32);          /* Ya */
	memcpy(secret[3], x2.p + 1, 32);           /* Yb */
	memset(secret[4], 0, 32);
	/* A rogue listener also knows his scalar. */
	if (!own_yb_scalar || cpace_share(own_yb_scalar, x1.p + 18, secret[5]) != ERR_OK)
		memset(secret[5], 0, 32);
	buf_add(&pro, buf_bytes(&ci));
	buf_add(&pro, BYTES_ARR(w->b.h1));
	sha256(x1, hash);
	buf_add(&pro, BYTES_ARR(hash));
	im2_lv_add(&pro, bytes_of(x2.p + 1, 32));
	for (size_t i = 0; i < 6 && !found; i++) {
		uint8_t psk[2][32];
		crypto_hash_sha512_state s;
		struct bytes lv[] = {BYTES_LIT("CPaceRistretto255_ISK"), BYTES_ARR(sid), BYTES_ARR(secret[i]),
				     bytes_of(x1.p + 18, 32), bytes_of(x1.p, 18), bytes_of(x2.p + 1, 32),
				     BYTES_LIT("\x53")};

		buf_reset(&k);
		for (size_t n = 0; n < sizeof lv / sizeof *lv; n++)
			im2_lv_add(&k, lv[n]);
		crypto_hash_sha512_init(&s);
		crypto_hash_sha512_update(&s, k.p, k.n);
		crypto_hash_sha512_final(&s, isk);
		im2_xx_psk(isk, BYTES_ARR(sid), psk[0]);
		memcpy(psk[1], secret[i], 32);
		for (size_t n = 0; n < 2; n++) {
			struct noise_static own = im2_noise_static(w->mallory);
			struct noise x;
			struct buf out;

			buf_init(&out, 1024);
			noise_init(&x, &(struct noise_opts){.pattern = NOISE_XXPSK0, .prologue = buf_bytes(&pro),
							    .s = &own, .psk = psk[n]});
			found |= noise_read(&x, bytes_of(x2.p + 33, x2.n - 33), &out) == ERR_OK;
			noise_wipe(&x);
			buf_fini(&out);
		}
	}
	buf_fini(&ci);
	buf_fini(&pro);
	buf_fini(&k);
	return found;
}

static const char *const dictionary[] = {"123456789012", "password1234", TEXT_PASSPHRASE, "letmeinletmein"};
#define WORDS (sizeof dictionary / sizeof *dictionary)

static void weakness_01_a_recording_tells_no_guess_from_another(void **state)
{
	struct world *w = *state;
	char proof[PROOF_HEX + 1], guess[PROOF_HEX + 1];
	size_t found = 0;

	/* The old wire: one HMAC of the recorded nonce per word, and the word is known. */
	proof_of_client(BYTES_LIT(TEXT_PASSPHRASE), w->b.nonce_s, proof);
	for (size_t i = 0; i < WORDS; i++) {
		proof_of_client(bytes_str(dictionary[i]), w->b.nonce_s, guess);
		found += strcmp(guess, proof) == 0;
	}
	assert_int_equal(found, 1);
	/* im2: not even with the right word in hand does the recording open, or anything that it holds fit. */
	honest_handshake(w);
	for (size_t i = 0; i < WORDS; i++)
		assert_false(guess_fits_recording(w, dictionary[i], NULL));
	struct bytes unit[] = {buf_bytes(&w->x1), buf_bytes(&w->x2), buf_bytes(&w->x3), buf_bytes(&w->x4)};
	proof_of_client(BYTES_LIT(TEXT_PASSPHRASE), w->b.nonce_s, guess);
	hmac_sha256(BYTES_LIT(TEXT_PASSPHRASE), BYTES_ARR(w->b.nonce_s), (uint8_t *)proof);
	for (size_t i = 0; i < 4; i++) {
		assert_false(stands_in(unit[i], BYTES_ARR(w->mesh)));
		assert_false(stands_in(unit[i], bytes_of(proof, 32)));
	}
}

static void weakness_01_a_rogue_listener_has_one_guess_per_dial(void **state)
{
	struct world *w = *state;
	uint8_t wrong[IM2_KEY];
	struct intruder m;

	stretch(dictionary[0], wrong);
	alice_dials(w);
	intruder_init(&m, &w->e, w->mallory, &w->b, BYTES_ARR(wrong));
	intruder_x2(&m, buf_bytes(&w->x1), &w->x2);
	assert_alice_stops(w, buf_bytes(&w->x2), IM2_E_AEAD);
	/* The same dial takes no second answer, not the right one either. */
	struct intruder n;
	buf_reset(&w->said);
	intruder_init(&n, &w->e, w->mallory, &w->b, BYTES_ARR(w->mesh));
	intruder_x2(&n, buf_bytes(&w->x1), &w->said);
	assert_alice_stops(w, buf_bytes(&w->said), IM2_E_CONTEXT);
	/* And what he has of it fits every word alike: his own X2 opens under his own secret, whatever the word. */
	for (size_t i = 0; i < WORDS; i++)
		assert_true(guess_fits_recording(w, dictionary[i], m.scalar));
	intruder_fini(&m);
	intruder_fini(&n);
}

/* --- 2: the proof of the passphrase is bound to nothing --- */

static void weakness_02_whoever_passes_the_proof_on_cannot_join(void **state)
{
	struct world *w = *state;
	char relayed[PROOF_HEX + 1], expected[PROOF_HEX + 1];
	struct intruder_says evil;
	struct intruder m;

	/* The old wire: alice's proof, passed on, is all that bob asks of mallory before her HELLO. */
	proof_of_client(BYTES_LIT(TEXT_PASSPHRASE), w->b.nonce_s, relayed);
	proof_of_client(BYTES_LIT(TEXT_PASSPHRASE), w->b.nonce_s, expected);
	assert_string_equal(relayed, expected);

	/* im2: mallory passes X1 and X2 on, and says X3 herself; without the passphrase she has no key for it. */
	alice_dials(w);
	assert_int_equal(bob_answers(w, buf_bytes(&w->x1)), IM2_FINE);
	intruder_init(&m, &w->e, w->mallory, &w->b, BYTES_LIT("no idea of the passphrase, at all"));
	buf_add(&m.x1, buf_bytes(&w->x1));
	memcpy(m.nonce_c, w->x1.p + 2, 16);
	assert_false(intruder_take_x2(&m, buf_bytes(&w->x2)));
	evil = intruder_truth(&m);
	/* Her Noise state has no key that bob shares: she writes X3 under the one she could compute. */
	struct noise_static s = im2_noise_static(w->mallory);
	uint8_t psk[32] = {0}, e_sk[32] = {9};
	struct buf ignored;
	buf_init(&ignored, 1024);
	noise_init(&m.noise, &(struct noise_opts){.pattern = NOISE_XX, .initiator = false,
						  .prologue = bytes_of(psk, 0), .s = &s});
	noise_set_ephemeral(&m.noise, e_sk);
	assert_int_equal(noise_read(&m.noise, bytes_of(w->x2.p + 33, 32), &ignored), ERR_OK);
	buf_fini(&ignored);
	intruder_x3(&m, &evil, &w->said);
	assert_int_equal(im2_xx_take_x3(&w->l, buf_bytes(&w->said), &w->heard), IM2_E_AEAD);

	/* Nor does she get in with a real X3 of alice on another connection: it belongs to that X1 and X2. */
	honest_handshake(w);
	struct buf other;
	buf_init(&other, 4096);
	buf_add(&other, buf_bytes(&w->x3));
	alice_dials(w);
	assert_int_equal(bob_answers(w, buf_bytes(&w->x1)), IM2_FINE);
	assert_int_equal(im2_xx_take_x3(&w->l, buf_bytes(&other), &w->heard), IM2_E_AEAD);
	buf_fini(&other);
	intruder_fini(&m);
}

static void weakness_02_a_middleman_with_shares_of_his_own_meets_silence(void **state)
{
	struct world *w = *state;
	uint8_t wrong[IM2_KEY] = {1};
	struct intruder to_alice, to_bob;

	intruder_init(&to_alice, &w->e, w->mallory, &w->b, BYTES_ARR(wrong));
	intruder_init(&to_bob, &w->e, w->mallory, &w->b, BYTES_ARR(wrong));
	alice_dials(w);
	intruder_x1(&to_bob, &w->said);
	assert_int_equal(bob_answers(w, buf_bytes(&w->said)), IM2_FINE);
	assert_false(intruder_take_x2(&to_bob, buf_bytes(&w->x2)));
	/* bob's answer is no answer for alice, and neither is his own. */
	buf_reset(&w->said);
	buf_add(&w->said, buf_bytes(&w->x2));
	assert_alice_stops(w, buf_bytes(&w->said), IM2_E_AEAD);
	alice_dials(w);
	buf_reset(&w->said);
	intruder_x2(&to_alice, buf_bytes(&w->x1), &w->said);
	assert_alice_stops(w, buf_bytes(&w->said), IM2_E_AEAD);
	intruder_fini(&to_alice);
	intruder_fini(&to_bob);
}

/* --- 3: a nonce that reads the same from both ends --- */

static void weakness_03_a_palindrome_reflects_nothing(void **state)
{
	struct world *w = *state;
	char of_client[PROOF_HEX + 1], of_server[PROOF_HEX + 1];

	for (size_t i = 0; i < 16; i++)
		w->b.nonce_s[31 - i] = w->b.nonce_s[i];
	/* The old wire: the client's proof is the server's. */
	proof_of_client(BYTES_LIT(TEXT_PASSPHRASE), w->b.nonce_s, of_client);
	proof_of_server(BYTES_LIT(TEXT_PASSPHRASE), w->b.nonce_s, of_server);
	assert_string_equal(of_client, of_server);
	/* im2: the share thrown back, with every tag that can be made of alice's own bytes. */
	for (unsigned tag = 0; tag < 3; tag++) {
		alice_dials(w);
		buf_reset(&w->said);
		buf_add_u8(&w->said, IM2_UNIT_X2);
		buf_add(&w->said, bytes_of(w->x1.p + 18, 32));
		buf_add(&w->said, bytes_of(w->x1.p + 18, 32));
		buf_add(&w->said, bytes_of(w->x1.p + (tag == 0 ? 2 : 18 + 16 * (tag - 1)), 16));
		assert_int_equal(w->said.n, 81);
		assert_alice_stops(w, buf_bytes(&w->said), IM2_E_AEAD);
	}
	/* And bob does not take his own X2 for an X3. */
	alice_dials(w);
	assert_int_equal(bob_answers(w, buf_bytes(&w->x1)), IM2_FINE);
	w->x2.p[0] = IM2_UNIT_X3;
	assert_int_not_equal(im2_xx_take_x3(&w->l, buf_bytes(&w->x2), &w->heard), IM2_FINE);
}

/* --- 4: the listener's proof may be missing --- */

static void weakness_04_a_listener_that_proves_nothing_hears_nothing(void **state)
{
	struct world *w = *state;
	uint8_t x2[1 + 32 + 32 + 16] = {IM2_UNIT_X2}, wrong[IM2_KEY] = {1};
	struct intruder m;

	/* With a share and an ephemeral key that are real points, but without the tag or with a blank one. */
	intruder_init(&m, &w->e, w->mallory, &w->b, BYTES_ARR(wrong));
	alice_dials(w);
	intruder_x2(&m, buf_bytes(&w->x1), &w->said);
	memcpy(x2, w->said.p, 65);
	assert_alice_stops(w, bytes_of(x2, 65), IM2_E_SHORT);
	alice_dials(w);
	assert_alice_stops(w, BYTES_ARR(x2), IM2_E_AEAD);
	/* As if the first stage did not exist (mode 3), or as if it were over. */
	alice_dials(w);
	assert_alice_stops(w, bytes_of(x2, 49), IM2_E_SHORT);
	for (uint8_t kind = IM2_UNIT_FRAME; kind <= IM2_UNIT_GROUP; kind++) {
		if (kind == IM2_UNIT_X2)
			continue;
		alice_dials(w);
		x2[0] = kind;
		assert_alice_stops(w, BYTES_ARR(x2), IM2_E_MALFORMED);
		assert_int_equal(im2_xx_take_x4(&w->d, BYTES_ARR(x2), &w->heard, &w->sa), IM2_E_CONTEXT);
	}
	intruder_fini(&m);
}

/* --- 5: a name without a signature --- */

static enum im2_refusal bob_hears(struct world *w, struct intruder *m, const struct intruder_says *s)
{
	enum im2_refusal why;

	intruder_init(m, &w->e, w->mallory, &w->b, BYTES_ARR(w->mesh)); /* a member of the mesh */
	buf_reset(&w->said);
	intruder_x1(m, &w->said);
	assert_int_equal(bob_answers(w, buf_bytes(&w->said)), IM2_FINE);
	assert_true(intruder_take_x2(m, buf_bytes(&w->x2)));
	buf_reset(&w->said);
	intruder_x3(m, s, &w->said);
	why = im2_xx_take_x3(&w->l, buf_bytes(&w->said), &w->heard);
	if (why != IM2_FINE) {
		buf_reset(&w->x4);
		assert_int_equal(im2_xx_x4(&w->l, &w->from_b, &w->x4, &w->sb), IM2_E_CONTEXT);
		assert_int_equal(w->x4.n, 0); /* and bob has not said who he is */
	}
	intruder_fini(m);
	return why;
}

static void weakness_05_nobody_is_who_he_does_not_prove_to_be(void **state)
{
	struct world *w = *state;
	struct intruder m = {.k = w->mallory};
	struct intruder_says truth = intruder_truth(&m), s;
	uint8_t spoilt[SIG_BYTES];

	assert_int_equal(bob_hears(w, &m, &truth), IM2_FINE);
	m.k = w->mallory;
	s = truth;
	s.binding = bytes_of(NULL, 0); /* unsigned */
	assert_int_equal(bob_hears(w, &m, &s), IM2_E_MISSING);
	s = truth;
	s.ed = bytes_of(NULL, 0);
	assert_int_equal(bob_hears(w, &m, &s), IM2_E_MISSING);
	s = truth;
	s.ed = bytes_of(keyring_ed(w->alice), ED_BYTES); /* alice's name, own signature */
	assert_int_equal(bob_hears(w, &m, &s), IM2_E_SIG);
	s.binding = bytes_of(keyring_binding(w->alice), SIG_BYTES); /* and alice's, which everybody has seen */
	assert_int_equal(bob_hears(w, &m, &s), IM2_E_SIG);
	memcpy(spoilt, keyring_binding(w->mallory), sizeof spoilt);
	spoilt[63] ^= 0x10;
	s = truth;
	s.binding = BYTES_ARR(spoilt);
	assert_int_equal(bob_hears(w, &m, &s), IM2_E_SIG);
	s = truth;
	s.ed = bytes_of(keyring_ed(w->bob), ED_BYTES); /* bob himself */
	s.binding = bytes_of(keyring_binding(w->bob), SIG_BYTES);
	assert_int_not_equal(bob_hears(w, &m, &s), IM2_FINE);
}

/* --- 6: the binding to the channel is not looked at --- */

static void weakness_06_words_of_another_connection_do_not_open(void **state)
{
	struct world *w = *state;
	struct im2_binding good = w->b, other;
	struct buf old_x2, old_x4;

	/* What bob said once, said again to a dialler with another S1: X2, and X4 behind a fresh X2. */
	honest_handshake(w);
	buf_init(&old_x2, 4096);
	buf_init(&old_x4, 4096);
	buf_add(&old_x2, buf_bytes(&w->x2));
	buf_add(&old_x4, buf_bytes(&w->x4));
	env_random(&w->e.env, w->b.nonce_s, sizeof w->b.nonce_s);
	env_random(&w->e.env, w->b.h1, sizeof w->b.h1);
	alice_dials(w);
	assert_alice_stops(w, buf_bytes(&old_x2), IM2_E_AEAD);
	alice_dials(w);
	assert_int_equal(bob_answers(w, buf_bytes(&w->x1)), IM2_FINE);
	buf_reset(&w->x3);
	assert_int_equal(im2_xx_take_x2(&w->d, buf_bytes(&w->x2), &w->from_a, &w->x3), IM2_FINE);
	assert_int_equal(im2_xx_take_x4(&w->d, buf_bytes(&old_x4), &w->heard, &w->sa), IM2_E_AEAD);
	/* The same nonce, and still another S1, path, transport, TLS session, or mode: nothing opens. */
	for (unsigned i = 0; i < 5; i++) {
		static const uint8_t tls[32] = {1}, link[16] = {2};

		w->b = good;
		other = good;
		if (i == 0)
			other.h1[31] ^= 1;
		else if (i == 1)
			other.nonce_s[0] ^= 1;
		else if (i == 2)
			other.cb = BYTES_ARR(tls);
		else if (i == 3)
			other = (struct im2_binding){.transport = IM2_RNS_LINK, .chan = BYTES_ARR(link)};
		else
			other = (struct im2_binding){.transport = IM2_SERIAL};
		alice_dials(w);
		w->b = other;
		assert_int_equal(bob_answers(w, buf_bytes(&w->x1)), IM2_FINE);
		assert_alice_stops(w, buf_bytes(&w->x2), IM2_E_AEAD);
	}
	buf_fini(&old_x2);
	buf_fini(&old_x4);
}

/* --- 9: no key schedule --- */

static void ik(struct world *w, const struct im2_binding *bi, const struct im2_binding *br, const struct keyring *i,
	       const struct keyring *thinks_r, const uint8_t *thinks_r_x, const uint8_t *thinks_i_ed, const uint8_t *psk,
	       enum im2_refusal expect)
{
	uint8_t x[32];
	struct im2_ik a, r;

	buf_reset(&w->x1);
	buf_reset(&w->x2);
	assert_int_equal(im2_ik_start(&a, &w->e.env, i, bi, 0, keyring_ed(thinks_r), thinks_r_x, psk, bytes_of(NULL, 0),
				      &w->from_a, &w->x1), IM2_FINE);
	enum im2_refusal why = im2_ik_peek(&r, &w->e.env, w->bob, br, 0, buf_bytes(&w->x1), x);
	if (why == IM2_FINE)
		why = im2_ik_payload(&r, &w->heard);
	if (why == IM2_FINE)
		why = im2_ik_answer(&r, thinks_i_ed, psk, bytes_of(NULL, 0), &w->from_b, &w->x2, &w->sb);
	if (why == IM2_FINE)
		why = im2_ik_finish(&a, buf_bytes(&w->x2), &w->heard, &w->sa);
	assert_int_equal(why, expect);
	im2_ik_wipe(&a);
	im2_ik_wipe(&r);
}

static void weakness_09_keys_belong_to_one_transcript_and_two_identities(void **state)
{
	struct world *w = *state;
	uint8_t psk[32] = {3}, other[32] = {4};
	struct im2_binding b2 = w->b;
	struct im2_secrets first;

	b2.h1[0] ^= 1;
	w->from_a.name[0] = w->from_b.name[0] = 0;
	ik(w, &w->b, &w->b, w->alice, w->bob, keyring_x25519(w->bob), keyring_ed(w->alice), psk, IM2_FINE);
	first = w->sa;
	/* One key for each direction, none the other's, and an exporter and an id beside them. */
	assert_memory_equal(w->sa.tx, w->sb.rx, 32);
	assert_memory_equal(w->sa.rx, w->sb.tx, 32);
	assert_memory_not_equal(w->sa.tx, w->sa.rx, 32);
	assert_memory_not_equal(w->sa.tx, w->sa.exporter, 32);
	/* Another challenge at one end: the very first message does not open. */
	ik(w, &w->b, &b2, w->alice, w->bob, keyring_x25519(w->bob), keyring_ed(w->alice), psk, IM2_E_AEAD);
	/* Unknown key share: bob was made to pin mallory with alice's exchange key. Her session is not mallory's. */
	ik(w, &w->b, &w->b, w->alice, w->bob, keyring_x25519(w->bob), keyring_ed(w->mallory), psk, IM2_E_AEAD);
	/* alice was made to pin mallory with bob's. */
	ik(w, &w->b, &w->b, w->alice, w->mallory, keyring_x25519(w->bob), keyring_ed(w->alice), psk, IM2_E_AEAD);
	/* The same ephemerals under another pair secret give other keys, on another connection another session. */
	w->e.counter = 0;
	ik(w, &w->b, &w->b, w->alice, w->bob, keyring_x25519(w->bob), keyring_ed(w->alice), psk, IM2_FINE);
	first = w->sa;
	w->e.counter = 0;
	ik(w, &w->b, &w->b, w->alice, w->bob, keyring_x25519(w->bob), keyring_ed(w->alice), other, IM2_FINE);
	assert_memory_not_equal(first.tx, w->sa.tx, 32);
	w->e.counter = 0;
	ik(w, &b2, &b2, w->alice, w->bob, keyring_x25519(w->bob), keyring_ed(w->alice), psk, IM2_FINE);
	assert_memory_not_equal(first.exporter, w->sa.exporter, 32);
	assert_memory_not_equal(first.session_id, w->sa.session_id, 16);
}

/* --- 11: invites --- */

static void to_and_fro(struct im2_pair *a, struct im2_pair *b, struct buf *wire)
{
	struct im2_pair_event ev;
	struct bytes u;
	bool more = true;

	while (more) {
		more = false;
		for (unsigned i = 0; i < 2; i++) {
			struct im2_pair *from = i ? b : a, *to = i ? a : b;
			uint8_t psk[PSK_BYTES];

			while (im2_pair_next_unit(from, &u)) {
				buf_add(wire, u);
				im2_pair_take(to, u);
				more = true;
			}
			while (im2_pair_next_event(from, &ev)) {
				more = true;
				if (ev.type == IM2_PAIR_EV_PEER)
					assert_int_equal(im2_pair_admit(from, psk), IM2_FINE);
				if (ev.type == IM2_PAIR_EV_GRANT)
					im2_pair_grant_stored(from);
			}
		}
	}
}

static void weakness_11_a_code_is_good_for_one_guess_and_never_on_the_wire(void **state)
{
	struct world *w = *state;
	struct im2_grant_offer grant = {.kind = IM2_GRANT_MESH_KEY, .mesh = BYTES_LIT("default"),
					.secret = BYTES_ARR(w->mesh)};
	struct im2_offer offer = {0};
	struct im2_pair_config p = {.env = &w->e.env, .keyring = w->bob, .listener = true, .offer = &offer,
				    .grant = &grant, .hello = {.name = "bob", .pair_role = IM2_PAIR_GRANTS,
							       .max_unit = IM2_PAIR_UNIT_MAX}};
	struct im2_pair_config q = {.env = &w->e.env, .keyring = w->alice,
				    .hello = {.name = "alice", .pair_role = IM2_PAIR_WANTS,
					      .max_unit = IM2_PAIR_UNIT_MAX}};
	struct im2_pair *bob, *alice;
	char right[IM2_CODE_DIGITS];
	struct buf wire;

	buf_init(&wire, 1 << 20);
	/* A good pairing: neither the code nor the credential can be read, and the code is spent. */
	assert_int_equal(im2_offer_draw(&offer, &w->e.env), ERR_OK);
	memcpy(right, offer.digits, sizeof right);
	memcpy(q.digits, right, sizeof right);
	assert_int_equal(im2_pair_new(&p, &bob), ERR_OK);
	assert_int_equal(im2_pair_new(&q, &alice), ERR_OK);
	to_and_fro(bob, alice, &wire);
	assert_true(wire.n > 500);
	assert_false(stands_in(buf_bytes(&wire), bytes_of(right, 8)));
	assert_false(stands_in(buf_bytes(&wire), BYTES_ARR(w->mesh)));
	assert_false(offer.live);
	im2_pair_free(alice);
	im2_pair_free(bob);
	/* A wrong guess: X2 went out, so the code is dead, also for whoever then knows it. */
	assert_int_equal(im2_offer_draw(&offer, &w->e.env), ERR_OK);
	memcpy(right, offer.digits, sizeof right);
	memcpy(q.digits, right, sizeof right);
	q.digits[7] = q.digits[7] == '0' ? '1' : '0';
	assert_int_equal(im2_pair_new(&p, &bob), ERR_OK);
	assert_int_equal(im2_pair_new(&q, &alice), ERR_OK);
	to_and_fro(bob, alice, &wire);
	assert_false(offer.live);
	im2_pair_free(alice);
	im2_pair_free(bob);
	memcpy(q.digits, right, sizeof right);
	if (im2_pair_new(&p, &bob) == ERR_OK) {
		bool paired = false;
		struct im2_pair_event ev;
		struct bytes u;

		assert_int_equal(im2_pair_new(&q, &alice), ERR_OK);
		while (im2_pair_next_unit(bob, &u))
			im2_pair_take(alice, u);
		while (im2_pair_next_unit(alice, &u))
			im2_pair_take(bob, u);
		while (im2_pair_next_unit(bob, &u))
			assert_int_not_equal(u.p[0], IM2_UNIT_X2);
		while (im2_pair_next_event(bob, &ev))
			paired |= ev.type == IM2_PAIR_EV_PEER || ev.type == IM2_PAIR_EV_PAIRED;
		assert_false(paired);
		im2_pair_free(alice);
		im2_pair_free(bob);
	}
	im2_offer_wipe(&offer);
	buf_fini(&wire);
}

/* --- 31: who talks, seen from outside --- */

static void assert_names_nobody(struct world *w, struct bytes unit)
{
	const struct keyring *who[] = {w->alice, w->bob};

	for (size_t i = 0; i < 2; i++) {
		uint8_t id[16], hash[32];

		sha256(bytes_of(keyring_ed(who[i]), ED_BYTES), hash);
		memcpy(id, hash, sizeof id);
		assert_false(stands_in(unit, bytes_of(keyring_ed(who[i]), 8)));
		assert_false(stands_in(unit, bytes_of(keyring_x25519(who[i]), 8)));
		assert_false(stands_in(unit, bytes_of(keyring_binding(who[i]), 8)));
		assert_false(stands_in(unit, bytes_of(id, 8)));
		assert_false(stands_in(unit, bytes_of(keyring_id(who[i])->hex, 8)));
	}
	assert_false(stands_in(unit, BYTES_LIT("alice")));
	assert_false(stands_in(unit, BYTES_LIT("bob")));
}

/* The longest run of bytes that two units have in common. */
static size_t in_common(struct bytes a, struct bytes b)
{
	size_t best = 0;

	for (size_t i = 0; i < a.n; i++)
		for (size_t j = 0; j < b.n; j++) {
			size_t n = 0;

			while (i + n < a.n && j + n < b.n && a.p[i + n] == b.p[j + n])
				n++;
			best = n > best ? n : best;
		}
	return best;
}

static void weakness_31_units_name_nobody_and_two_hops_share_nothing(void **state)
{
	static const char plain[] = "the same message, on its way over two hops";
	struct world *w = *state;
	uint8_t psk[32] = {3};
	struct im2_tx hop[2];
	struct buf f[3];

	honest_handshake(w);
	assert_names_nobody(w, buf_bytes(&w->x1));
	assert_names_nobody(w, buf_bytes(&w->x2));
	assert_names_nobody(w, buf_bytes(&w->x3));
	assert_names_nobody(w, buf_bytes(&w->x4));
	ik(w, &w->b, &w->b, w->alice, w->bob, keyring_x25519(w->bob), keyring_ed(w->alice), psk, IM2_FINE);
	assert_names_nobody(w, buf_bytes(&w->x1));
	assert_names_nobody(w, buf_bytes(&w->x2));
	/* Frames: an index that the receiver drew, a counter, and nothing else. */
	for (unsigned i = 0; i < 2; i++) {
		hop[i] = (struct im2_tx){.next = 0};
		env_random(&w->e.env, hop[i].key, 32);
		env_random(&w->e.env, hop[i].index, 4);
	}
	for (unsigned i = 0; i < 3; i++) {
		buf_init(&f[i], 1024);
		assert_int_equal(im2_frame_build(&hop[i > 1], bytes_of(plain, sizeof plain), sizeof plain, &f[i]), ERR_OK);
	}
	assert_true(in_common(bytes_of(f[0].p + 1, f[0].n - 1), bytes_of(f[2].p + 1, f[2].n - 1)) <= 4);
	assert_true(in_common(bytes_of(f[0].p + 8, f[0].n - 8), bytes_of(f[1].p + 8, f[1].n - 8)) <= 3);
	for (unsigned i = 0; i < 3; i++)
		buf_fini(&f[i]);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(weakness_01_a_recording_tells_no_guess_from_another),
		T(weakness_01_a_rogue_listener_has_one_guess_per_dial),
		T(weakness_02_whoever_passes_the_proof_on_cannot_join),
		T(weakness_02_a_middleman_with_shares_of_his_own_meets_silence),
		T(weakness_03_a_palindrome_reflects_nothing),
		T(weakness_04_a_listener_that_proves_nothing_hears_nothing),
		T(weakness_05_nobody_is_who_he_does_not_prove_to_be),
		T(weakness_06_words_of_another_connection_do_not_open),
		T(weakness_09_keys_belong_to_one_transcript_and_two_identities),
		T(weakness_11_a_code_is_good_for_one_guess_and_never_on_the_wire),
		T(weakness_31_units_name_nobody_and_two_hops_share_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
