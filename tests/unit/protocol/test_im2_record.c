#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/text.h"
#include "protocol/im2/record.h"
#include "tests/lib/protocol_env.h"
#include "tests/lib/protocol_vectors.h"
#include "trust/keyring_internal.h"

#define DAY   IM2_DAY_MS
#define BUILD (WALL_T - 30 * (uint64_t)DAY)

struct world {
	struct penv env;
	struct vectors v;
	struct keyring *alice, *bob, *carol, *dave, *me;
	struct im2_records *records;
	struct buf out, body;
	struct im2_record rec;
	enum im2_refusal why;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	penv_init(&w->env);
	vectors_load(&w->v, "tests/vectors/im2_records.txt");
	w->alice = vector_keyring(&w->v, "alice");
	w->bob = vector_keyring(&w->v, "bob");
	w->carol = vector_keyring(&w->v, "carol");
	w->dave = vector_keyring(&w->v, "dave");
	w->me = keyring_number(9);
	buf_init(&w->out, 65536);
	buf_init(&w->body, 65536);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	im2_records_free(w->records);
	vectors_free(&w->v);
	keyring_free(w->alice);
	keyring_free(w->bob);
	keyring_free(w->carol);
	keyring_free(w->dave);
	keyring_free(w->me);
	buf_fini(&w->out);
	buf_fini(&w->body);
	free(w);
	return 0;
}

static struct im2_records_config plain(struct world *w)
{
	return (struct im2_records_config){.env = &w->env.env, .keyring = w->me, .build_ms = BUILD};
}

static void with(struct world *w, struct im2_records_config c)
{
	im2_records_free(w->records);
	w->records = NULL;
	assert_int_equal(im2_records_new(&c, &w->records), ERR_OK);
}

static enum im2_record_verdict take_from(struct world *w, struct bytes record,
					 const struct keyring *from)
{
	return im2_records_take(w->records, record, keyring_id(from), &w->rec, &w->why);
}

static enum im2_record_verdict take(struct world *w, struct bytes record)
{
	return take_from(w, record, w->dave);
}

static struct bytes vec(struct world *w, const char *name)
{
	return vector(&w->v, name, "record");
}

static void is_hex(struct bytes got, struct bytes want)
{
	assert_int_equal(got.n, want.n);
	assert_memory_equal(got.p, want.p, want.n);
}

/* A PREKEY of `k`; `mark` makes bodies differ. */
static struct bytes prekey_by(struct world *w, const struct keyring *k, uint64_t gen,
			      uint64_t issued_ms, uint64_t life_s, uint8_t mark)
{
	struct im2_fields f = {.schema = &im2_prekey};
	uint8_t id[4] = {mark, 0, 0, 1}, x[32] = {mark, 9};

	buf_reset(&w->body);
	buf_reset(&w->out);
	im2_set_b(&f, IM2_PREKEY_ID, BYTES_ARR(id));
	im2_set_b(&f, IM2_PREKEY_X25519, BYTES_ARR(x));
	im2_write(&im2_prekey, &f, &w->body);
	im2_record_write(k, IM2_REC_PREKEY_T, gen, issued_ms, life_s, buf_bytes(&w->body), &w->out);
	assert_int_equal(w->out.err, ERR_OK);
	return buf_bytes(&w->out);
}

static struct bytes prekey_of(struct world *w, uint64_t gen, uint8_t mark)
{
	return prekey_by(w, w->bob, gen, w->env.wall_ms, 86400, mark);
}

/* A REVOKE by several, or by one. */
static struct bytes revoke_by(struct world *w, const struct keyring *const *by, size_t n,
			      const struct keyring *target, uint64_t gen, unsigned scope,
			      const uint8_t *quorum, uint64_t effective_ms)
{
	struct im2_fields f = {.schema = &im2_revoke};
	struct im2_signature s[IM2_SIGNERS_MAX];
	struct buf t, input;

	buf_reset(&w->body);
	buf_reset(&w->out);
	im2_set_b(&f, IM2_REVOKE_TARGET, bytes_of(keyring_ed(target), ED_BYTES));
	im2_set_u(&f, IM2_REVOKE_REASON, 1);
	im2_set_u(&f, IM2_REVOKE_EFFECTIVE, effective_ms);
	im2_set_u(&f, IM2_REVOKE_SCOPE, scope);
	if (quorum)
		im2_set_b(&f, IM2_REVOKE_QUORUM, bytes_of(quorum, 16));
	im2_write(&im2_revoke, &f, &w->body);
	if (n == 1) {
		im2_record_write(by[0], IM2_REC_REVOKE_T, gen, WALL_T, 0, buf_bytes(&w->body),
				 &w->out);
		return buf_bytes(&w->out);
	}
	buf_init(&t, 4096);
	buf_init(&input, 4096);
	im2_record_t_write(IM2_REC_REVOKE_T, keyring_ed(by[0]), gen, WALL_T, 0, buf_bytes(&w->body),
			   &t);
	im2_record_input(buf_bytes(&t), &input);
	for (size_t i = 0; i < n; i++) {
		memcpy(s[i].ed, keyring_ed(by[i]), ED_BYTES);
		keyring_sign(by[i], SIG_V3_RECORD, buf_bytes(&input), s[i].sig);
	}
	im2_record_join(buf_bytes(&t), s, n, &w->out);
	buf_fini(&t);
	buf_fini(&input);
	return buf_bytes(&w->out);
}

/* --- the envelope --- */

static const char *const every[] = {"capability",
				    "capability_withdrawn",
				    "prekey",
				    "route",
				    "revocation_self",
				    "revocation_2_of_3",
				    "rotation",
				    "posture",
				    "epoch",
				    "group",
				    "card"};
#define EVERY (sizeof every / sizeof every[0])

static void records_of_the_vectors_verify(void **state)
{
	struct world *w = *state;
	uint8_t digest[16];
	struct buf input;

	buf_init(&input, 65536);
	for (size_t i = 0; i < EVERY; i++) {
		struct bytes in = vec(w, every[i]);

		assert_int_equal(im2_record_parse(in, &w->rec), IM2_FINE);
		assert_int_equal(im2_record_verify(&w->rec), IM2_FINE);
		buf_reset(&input);
		im2_record_input(w->rec.t, &input);
		is_hex(buf_bytes(&input), vector(&w->v, every[i], "signed_bytes"));
		im2_record_digest(in, digest);
		is_hex(BYTES_ARR(digest), vector(&w->v, every[i], "digest"));
	}
	buf_fini(&input);
}

static void records_are_written_as_the_vectors(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < EVERY; i++) {
		const struct keyring *all[] = {w->alice, w->bob, w->carol, w->dave}, *author = NULL;
		struct im2_record r;

		assert_int_equal(im2_record_parse(vec(w, every[i]), &r), IM2_FINE);
		for (size_t k = 0; k < 4; k++)
			if (memcmp(keyring_ed(all[k]), r.author, ED_BYTES) == 0)
				author = all[k];
		if (r.signers_n > 1)
			continue;
		buf_reset(&w->out);
		im2_record_write(author, r.type, r.gen, r.issued_ms, r.life_s, r.body, &w->out);
		is_hex(buf_bytes(&w->out), vec(w, every[i]));
	}
	buf_reset(&w->out);
	im2_rotate_write(w->alice, w->dave, 1, WALL_T, 0, &w->out);
	is_hex(buf_bytes(&w->out), vec(w, "rotation"));
	buf_reset(&w->out);
	im2_revoke_self_write(w->alice, 1, WALL_T, 1, &w->out);
	assert_int_equal(im2_record_parse(buf_bytes(&w->out), &w->rec), IM2_FINE);
	assert_int_equal(im2_record_verify(&w->rec), IM2_FINE);
	/* The author of the vector is not the first signer by order of keys: joining sorts. */
	const struct keyring *by[] = {w->alice, w->bob};
	struct bytes q = vector(&w->v, "quorum", "2_of_alice_bob_carol");
	is_hex(revoke_by(w, by, 2, w->dave, 3, 1, q.p, WALL_T), vec(w, "revocation_2_of_3"));
}

static void items_are_those_of_the_vectors(void **state)
{
	struct world *w = *state;
	struct im2_record r;

	assert_int_equal(im2_record_parse(vec(w, "prekey"), &r), IM2_FINE);
	im2_recdig_write(&r, &w->out);
	is_hex(buf_bytes(&w->out), vector(&w->v, "items", "digest"));
	buf_reset(&w->out);
	im2_recreq_write(keyring_id(w->bob), IM2_REC_PREKEY_T, bytes_of(NULL, 0), 0, &w->out);
	is_hex(buf_bytes(&w->out), vector(&w->v, "items", "request"));
	buf_reset(&w->out);
	assert_int_equal(im2_record_parse(vec(w, "revocation_2_of_3"), &r), IM2_FINE);
	im2_recdig_write(&r, &w->out);
	is_hex(buf_bytes(&w->out), vector(&w->v, "items", "digest_of_revocation"));
	buf_reset(&w->out);
	im2_recreq_write(keyring_id(w->bob), IM2_REC_REVOKE_T, r.key, 7, &w->out);
	assert_int_equal(im2_item_check(IM2_ITEM_RECREQ, buf_bytes(&w->out)), IM2_FINE);
}

static struct bytes asked(struct world *w, uint64_t type, size_t key)
{
	static const uint8_t room[ED_BYTES];

	buf_reset(&w->out);
	im2_recreq_write(keyring_id(w->bob), type, bytes_of(room, key), 0, &w->out);
	assert_int_equal(im2_item_check(IM2_ITEM_RECREQ, buf_bytes(&w->out)), IM2_FINE);
	return buf_bytes(&w->out);
}

/* A key exactly for types that have one (8, 13.3). */
static void keys_belong_to_their_types(void **state)
{
	struct world *w = *state;
	struct im2_record r;

	for (uint64_t type = 1; type <= 9; type++) {
		size_t want = type == IM2_REC_REVOKE_T ? 32 : type == IM2_REC_GROUP_T ? 16 : 0;

		for (size_t n = 0; n <= ED_BYTES; n++)
			assert_int_equal(im2_record_key_fits(IM2_ITEM_RECREQ, asked(w, type, n)), n == want);
	}
	for (size_t n = 0; n <= ED_BYTES; n += 8)
		assert_true(im2_record_key_fits(IM2_ITEM_RECREQ, asked(w, 10, n))); /* of a later version */
	assert_int_equal(im2_record_parse(vec(w, "revocation_2_of_3"), &r), IM2_FINE);
	buf_reset(&w->out);
	im2_recdig_write(&r, &w->out);
	assert_true(im2_record_key_fits(IM2_ITEM_RECDIG, buf_bytes(&w->out)));
	r.key = bytes_of(NULL, 0);
	buf_reset(&w->out);
	im2_recdig_write(&r, &w->out);
	assert_false(im2_record_key_fits(IM2_ITEM_RECDIG, buf_bytes(&w->out)));
}

static void each_bit_of_a_record_counts(void **state)
{
	static const char *const names[] = {"prekey", "revocation_2_of_3", "rotation"};
	struct world *w = *state;
	uint8_t copy[512];

	for (size_t i = 0; i < 3; i++) {
		struct bytes in = vec(w, names[i]);

		memcpy(copy, in.p, in.n);
		for (size_t k = 0; k < 8 * in.n; k++) {
			copy[k / 8] ^= (uint8_t)(1 << k % 8);
			enum im2_refusal why = im2_record_parse(bytes_of(copy, in.n), &w->rec);
			if (why == IM2_FINE)
				why = im2_record_verify(&w->rec);
			assert_int_not_equal(why, IM2_FINE);
			copy[k / 8] ^= (uint8_t)(1 << k % 8);
		}
		for (size_t n = 0; n < in.n; n++)
			assert_int_not_equal(im2_record_parse(bytes_of(copy, n), &w->rec),
					     IM2_FINE);
	}
}

static void a_signature_of_another_context_is_none(void **state)
{
	struct world *w = *state;
	struct bytes in = vec(w, "prekey");
	uint8_t copy[512];
	struct buf input;

	memcpy(copy, in.p, in.n);
	assert_int_equal(im2_record_parse(in, &w->rec), IM2_FINE);
	buf_init(&input, 4096);
	buf_add(&input, sig_prefix(SIG_V3_RECEIPT));
	buf_add(&input, w->rec.t);
	keyring_sign(w->bob, SIG_V3_RECEIPT, buf_bytes(&input), copy + in.n - SIG_BYTES);
	assert_int_equal(im2_record_parse(bytes_of(copy, in.n), &w->rec), IM2_FINE);
	assert_int_equal(im2_record_verify(&w->rec), IM2_E_SIG);
	buf_fini(&input);
}

/* --- the cache --- */

static void only_served_types_are_kept(void **state)
{
	struct world *w = *state;
	size_t kept = 0;

	with(w, plain(w));
	for (size_t i = 0; i < EVERY; i++) {
		enum im2_record_verdict v = take(w, vec(w, every[i]));

		assert_int_equal(im2_record_parse(vec(w, every[i]), &w->rec), IM2_FINE);
		if (w->rec.type == IM2_REC_PREKEY_T || w->rec.type == IM2_REC_REVOKE_T ||
		    w->rec.type == IM2_REC_ROUTE_T || w->rec.type == IM2_REC_CARD_T) {
			assert_int_equal(v, IM2_REC_NEW);
			kept++;
		} else if (w->rec.type == IM2_REC_CAP_T) {
			/* alice's, and gone with her revocation */
			assert_int_equal(v, IM2_REC_NEW);
		} else if (w->rec.type == IM2_REC_ROTATE_T) {
			/* alice revoked herself above: void (13.4) */
			assert_int_equal(v, IM2_REC_REFUSED);
		} else {
			assert_int_equal(v, IM2_REC_REFUSED);
			assert_int_equal(w->why, IM2_E_POLICY);
		}
	}
	assert_int_equal(im2_records_count(w->records), kept);
	with(w, plain(w));
	assert_int_equal(take(w, vec(w, "rotation")), IM2_REC_NEW);
}

static void the_highest_generation_stays(void **state)
{
	struct world *w = *state;
	uint8_t five[256];
	struct bytes r;

	with(w, plain(w));
	r = prekey_of(w, 5, 1);
	memcpy(five, r.p, r.n);
	struct bytes old = bytes_of(five, r.n);
	assert_int_equal(take(w, old), IM2_REC_NEW);
	assert_int_equal(take(w, old), IM2_REC_REPEAT);
	assert_int_equal(take(w, prekey_of(w, 7, 2)), IM2_REC_NEW);
	assert_int_equal(w->rec.gen, 7);
	assert_int_equal(take(w, old), IM2_REC_OLD);
	assert_int_equal(take(w, prekey_of(w, 6, 3)), IM2_REC_OLD);
	is_hex(im2_records_get(w->records, keyring_ed(w->bob), IM2_REC_PREKEY_T, bytes_of(NULL, 0)),
	       prekey_of(w, 7, 2));
	assert_int_equal(im2_records_count(w->records), 1);
}

static void two_of_one_generation_are_equivocation(void **state)
{
	struct world *w = *state;

	with(w, plain(w));
	assert_int_equal(take(w, prekey_of(w, 7, 2)), IM2_REC_NEW);
	assert_int_equal(take(w, prekey_of(w, 7, 3)), IM2_REC_EQUIVOCATION);
	is_hex(im2_records_get(w->records, keyring_ed(w->bob), IM2_REC_PREKEY_T, bytes_of(NULL, 0)),
	       prekey_of(w, 7, 2));
	assert_int_equal(take(w, prekey_of(w, 8, 3)), IM2_REC_NEW);
}

static void bad_records_change_nothing(void **state)
{
	struct world *w = *state;
	uint8_t copy[512];
	struct bytes r;

	with(w, plain(w));
	r = prekey_of(w, 7, 2);
	memcpy(copy, r.p, r.n);
	copy[r.n - 1] ^= 1;
	assert_int_equal(take(w, bytes_of(copy, r.n)), IM2_REC_REFUSED);
	assert_int_equal(w->why, IM2_E_SIG);
	assert_int_equal(im2_records_count(w->records), 0);
	assert_int_equal(take(w, r), IM2_REC_NEW); /* the bad one poisoned nothing */
	/* no life, and a life where there is none */
	assert_int_equal(take(w, prekey_by(w, w->bob, 9, WALL_T, 0, 1)), IM2_REC_REFUSED);
	assert_int_equal(w->why, IM2_E_RANGE);
	/* a prekey id of zero would name the long-term key */
	static const uint8_t none[4], x[32] = {9};
	struct im2_fields f = {.schema = &im2_prekey};
	buf_reset(&w->body);
	buf_reset(&w->out);
	im2_set_b(&f, IM2_PREKEY_ID, BYTES_ARR(none));
	im2_set_b(&f, IM2_PREKEY_X25519, BYTES_ARR(x));
	im2_write(&im2_prekey, &f, &w->body);
	im2_record_write(w->bob, IM2_REC_PREKEY_T, 9, WALL_T, 86400, buf_bytes(&w->body), &w->out);
	assert_int_equal(take(w, buf_bytes(&w->out)), IM2_REC_REFUSED);
	assert_int_equal(w->why, IM2_E_RANGE);
	assert_int_equal(im2_records_count(w->records), 1);
}

/* Two signers where the type demands the author alone; strangers beside the rotation's keys. */
static void foreign_signers_are_refused(void **state)
{
	struct world *w = *state;
	struct im2_signature s[3];
	const struct keyring *by[3] = {w->bob, w->carol, w->dave};
	struct buf t, input;

	with(w, plain(w));
	buf_init(&t, 4096);
	buf_init(&input, 4096);
	prekey_of(w, 7, 2);
	im2_record_t_write(IM2_REC_PREKEY_T, keyring_ed(w->bob), 7, WALL_T, 86400,
			   buf_bytes(&w->body), &t);
	im2_record_input(buf_bytes(&t), &input);
	for (size_t i = 0; i < 3; i++) {
		memcpy(s[i].ed, keyring_ed(by[i]), ED_BYTES);
		keyring_sign(by[i], SIG_V3_RECORD, buf_bytes(&input), s[i].sig);
	}
	buf_reset(&w->out);
	im2_record_join(buf_bytes(&t), s, 2, &w->out);
	assert_int_equal(take(w, buf_bytes(&w->out)), IM2_REC_REFUSED);
	assert_int_equal(w->why, IM2_E_CONTEXT);
	/* the author is not among the signers */
	buf_reset(&w->out);
	im2_record_join(buf_bytes(&t), s + 1, 2, &w->out);
	assert_int_equal(take(w, buf_bytes(&w->out)), IM2_REC_REFUSED);
	assert_int_equal(w->why, IM2_E_SENDER);

	/* alice rotates to dave's key, but carol signs in dave's place */
	assert_int_equal(im2_record_parse(vec(w, "rotation"), &w->rec), IM2_FINE);
	buf_reset(&t);
	buf_reset(&input);
	im2_record_t_write(IM2_REC_ROTATE_T, keyring_ed(w->alice), 1, WALL_T, 0, w->rec.body, &t);
	im2_record_input(buf_bytes(&t), &input);
	by[0] = w->alice;
	for (size_t i = 0; i < 3; i++) {
		memcpy(s[i].ed, keyring_ed(by[i]), ED_BYTES);
		keyring_sign(by[i], SIG_V3_RECORD, buf_bytes(&input), s[i].sig);
	}
	buf_reset(&w->out);
	im2_record_join(buf_bytes(&t), s, 2, &w->out);
	assert_int_equal(take(w, buf_bytes(&w->out)), IM2_REC_REFUSED);
	assert_int_equal(w->why, IM2_E_SENDER);
	buf_reset(&w->out);
	im2_record_join(buf_bytes(&t), s, 3, &w->out); /* one too many */
	assert_int_equal(take(w, buf_bytes(&w->out)), IM2_REC_REFUSED);
	assert_int_equal(w->why, IM2_E_CONTEXT);
	assert_int_equal(im2_records_count(w->records), 0);
	buf_fini(&t);
	buf_fini(&input);
}

static void our_own_record_from_elsewhere_says_that_we_are_behind(void **state)
{
	struct world *w = *state;
	uint8_t mine[256];
	struct bytes r;

	with(w, plain(w));
	r = prekey_by(w, w->me, 5, WALL_T, 86400, 1);
	memcpy(mine, r.p, r.n);
	struct bytes own = bytes_of(mine, r.n);
	assert_int_equal(take(w, own), IM2_REC_MINE_BEHIND); /* we know nothing of it */
	assert_int_equal(w->rec.gen, 5);
	assert_int_equal(im2_records_own(w->records, own), ERR_OK);
	assert_int_equal(take(w, own), IM2_REC_REPEAT);
	assert_int_equal(take(w, prekey_by(w, w->me, 4, WALL_T, 86400, 2)), IM2_REC_OLD);
	assert_int_equal(take(w, prekey_by(w, w->me, 5, WALL_T, 86400, 2)), IM2_REC_MINE_BEHIND);
	assert_int_equal(take(w, prekey_by(w, w->me, 9, WALL_T, 86400, 3)), IM2_REC_MINE_BEHIND);
	assert_int_equal(w->rec.gen, 9);
	/* and it takes a signature to say so */
	uint8_t forged[256];
	r = prekey_by(w, w->me, 10, WALL_T, 86400, 3);
	memcpy(forged, r.p, r.n);
	forged[r.n - 2] ^= 4;
	assert_int_equal(take(w, bytes_of(forged, r.n)), IM2_REC_REFUSED);
	is_hex(im2_records_get(w->records, keyring_ed(w->me), IM2_REC_PREKEY_T, bytes_of(NULL, 0)),
	       own);
}

/* --- time (13.2) --- */

static struct bytes held(struct world *w)
{
	return im2_records_get(w->records, keyring_ed(w->bob), IM2_REC_PREKEY_T, bytes_of(NULL, 0));
}

static void clocks_may_be_a_day_wrong(void **state)
{
	struct world *w = *state;
	uint64_t now = w->env.wall_ms;

	with(w, plain(w));
	assert_int_equal(take(w, prekey_by(w, w->bob, 1, now + DAY, 3600, 1)), IM2_REC_NEW);
	assert_int_equal(take(w, prekey_by(w, w->bob, 2, now + DAY + 1, 3600, 1)), IM2_REC_REFUSED);
	assert_int_equal(w->why, IM2_E_RANGE);
	assert_int_equal(take(w, prekey_by(w, w->bob, 3, now - DAY - 3600000, 3600, 1)),
			 IM2_REC_NEW);
	assert_int_equal(held(w).n, 0); /* good enough to keep its generation, not to seal to */
	assert_int_equal(take(w, prekey_by(w, w->bob, 4, now - DAY - 3600001, 3600, 1)),
			 IM2_REC_REFUSED);
	assert_int_equal(w->why, IM2_E_RANGE);
	assert_int_equal(take(w, prekey_by(w, w->bob, 2, now, 3600, 1)), IM2_REC_OLD);
}

static void a_clock_a_year_wrong_refuses_and_one_in_1970_decides_nothing(void **state)
{
	struct world *w = *state;
	uint64_t now = w->env.wall_ms, year = 365 * (uint64_t)DAY;

	with(w, plain(w));
	struct bytes r = prekey_by(w, w->bob, 1, now, 86400, 1);
	w->env.wall_ms = now + year; /* ours is ahead: looks expired */
	assert_int_equal(take(w, r), IM2_REC_REFUSED);
	w->env.wall_ms = BUILD; /* ours is behind by a month: looks like the future */
	assert_int_equal(take(w, r), IM2_REC_REFUSED);
	w->env.wall_ms = 1000; /* implausible: gen and arrival decide */
	assert_int_equal(take(w, r), IM2_REC_NEW);
	assert_int_equal(take(w, prekey_by(w, w->bob, 2, now + year, 604800, 2)), IM2_REC_NEW);
	assert_int_equal(take(w, prekey_by(w, w->bob, 3, now - 9 * year, 604800, 3)), IM2_REC_NEW);
	assert_true(held(w).n > 0);
	w->env.now_ms += DAY;
	assert_true(held(w).n > 0);
	w->env.now_ms++;
	assert_int_equal(held(w).n, 0); /* 24 h after arrival, whatever its life */
	/* an author without a clock writes 0 */
	w->env.wall_ms = now;
	assert_int_equal(take(w, prekey_by(w, w->bob, 4, 0, 86400, 4)), IM2_REC_NEW);
	assert_true(held(w).n > 0);
	penv_pass(&w->env, 86400000);
	assert_true(held(w).n > 0);
	penv_pass(&w->env, 1);
	assert_int_equal(held(w).n, 0);
}

static void a_record_ends_at_the_latest_at_arrival_and_life(void **state)
{
	struct world *w = *state;

	with(w, plain(w));
	/* issued by a clock that is most of a day ahead */
	assert_int_equal(take(w, prekey_by(w, w->bob, 7, w->env.wall_ms + DAY, 3600, 1)),
			 IM2_REC_NEW);
	penv_pass(&w->env, 3600000);
	assert_true(held(w).n > 0);
	assert_int_equal(take(w, prekey_by(w, w->bob, 7, w->env.wall_ms + DAY - 3600000, 3600, 1)),
			 IM2_REC_REPEAT);
	penv_pass(&w->env, 1);
	assert_int_equal(held(w).n, 0); /* a repeat does not make it live longer */
	/* its generation is remembered for a day more, so an older one does not come back */
	im2_records_sweep(w->records);
	assert_int_equal(take(w, prekey_by(w, w->bob, 6, w->env.wall_ms, 3600, 2)), IM2_REC_OLD);
	penv_pass(&w->env, DAY);
	im2_records_sweep(w->records);
	assert_int_equal(im2_records_count(w->records), 0);
}

/* --- bounds --- */

static void one_peer_fills_an_eighth(void **state)
{
	struct world *w = *state;
	struct im2_records_config c = plain(w);

	c.authors = 32;
	with(w, c);
	assert_int_equal(take_from(w, prekey_of(w, 1, 1), w->bob), IM2_REC_NEW);
	for (unsigned i = 0; i < 200; i++) {
		struct keyring *k = keyring_number(100 + i);

		assert_int_equal(take_from(w, prekey_by(w, k, 1, WALL_T, 86400, 1), w->dave),
				 IM2_REC_NEW);
		keyring_free(k);
		assert_true(im2_records_count(w->records) <= 5);
	}
	assert_true(held(w).n > 0);
	/* revocations of everybody by one author are bounded like anything else */
	for (unsigned i = 0; i < 200; i++) {
		struct keyring *k = keyring_number(400 + i);
		const struct keyring *by[] = {w->carol};

		assert_int_equal(take_from(w, revoke_by(w, by, 1, k, 1, 1, NULL, 0), w->dave),
				 IM2_REC_NEW);
		keyring_free(k);
		assert_true(im2_records_count(w->records) <= 5);
	}
	assert_true(held(w).n > 0);
}

static void many_peers_fill_the_table_and_no_more(void **state)
{
	struct world *w = *state;
	struct im2_records_config c = plain(w);

	c.authors = 16;
	with(w, c);
	for (unsigned i = 0; i < 100; i++) {
		struct keyring *k = keyring_number(100 + i);

		assert_int_equal(take_from(w, prekey_by(w, k, 1, WALL_T, 86400, 1), k),
				 IM2_REC_NEW);
		keyring_free(k);
		assert_true(im2_records_count(w->records) <= 16);
	}
	assert_int_equal(im2_records_count(w->records), 16);
}

/* Revocation of `target` by itself, with a part that nobody knows. */
static struct bytes long_revocation(struct world *w, const struct keyring *target, size_t extra)
{
	static const uint8_t zeros[IM2_RECORD_MAX];
	struct im2_fields f = {.schema = &im2_revoke};

	buf_reset(&w->body);
	buf_reset(&w->out);
	im2_set_b(&f, IM2_REVOKE_TARGET, bytes_of(keyring_ed(target), ED_BYTES));
	im2_set_u(&f, IM2_REVOKE_REASON, 1);
	im2_set_u(&f, IM2_REVOKE_SCOPE, 1);
	im2_write(&im2_revoke, &f, &w->body);
	im2_item_add(&w->body, 200, bytes_of(zeros, extra));
	im2_record_write(target, IM2_REC_REVOKE_T, 1, WALL_T, 0, buf_bytes(&w->body), &w->out);
	assert_int_equal(w->out.err, ERR_OK);
	return buf_bytes(&w->out);
}

static size_t is_held(struct world *w, const struct keyring *k, uint64_t type, struct bytes key)
{
	return im2_records_get(w->records, keyring_ed(k), type, key).n;
}

static void bytes_are_bounded_and_shared(void **state)
{
	struct world *w = *state;
	struct im2_records_config c = plain(w);
	const struct bytes none = {0}, alice = bytes_of(keyring_ed(w->alice), ED_BYTES);
	size_t size, kept = 0;

	c.bytes = 8 * 2000;
	with(w, c);
	size = prekey_of(w, 1, 1).n;
	assert_int_equal(take_from(w, prekey_of(w, 1, 1), w->bob), IM2_REC_NEW);
	assert_int_equal(take_from(w, vec(w, "revocation_self"), w->dave), IM2_REC_NEW);
	for (unsigned i = 0; i < 60; i++) {
		struct keyring *k = keyring_number(100 + i);

		assert_int_equal(take_from(w, prekey_by(w, k, 1, WALL_T, 86400, 1), w->dave),
				 IM2_REC_NEW);
		assert_true(is_held(w, k, IM2_REC_PREKEY_T, none) > 0);
		assert_true((im2_records_count(w->records) - 2) * size <= 2000);
		keyring_free(k);
	}
	/* his oldest went, and neither what others brought nor the revocation */
	assert_true(held(w).n > 0);
	assert_true(is_held(w, w->alice, IM2_REC_REVOKE_T, alice) > 0);
	/* but he cannot fill the memory with revocations either */
	for (unsigned i = 0; i < 20; i++) {
		struct keyring *k = keyring_number(300 + i);

		assert_int_equal(take_from(w, long_revocation(w, k, 900), w->dave), IM2_REC_NEW);
		keyring_free(k);
	}
	assert_int_equal(im2_records_count(w->records), 2);
	assert_true(held(w).n > 0);
	/* many peers: each in his share, and all together in the whole */
	for (unsigned i = 0; i < 60; i++) {
		struct keyring *k = keyring_number(500 + i);

		assert_int_equal(take_from(w, long_revocation(w, k, 1700), k), IM2_REC_NEW);
		kept = im2_records_count(w->records);
		assert_true(kept <= 10);
		assert_true(is_held(w, k, IM2_REC_REVOKE_T, bytes_of(keyring_ed(k), ED_BYTES)) > 0);
		keyring_free(k);
	}
	assert_true(kept >= 6);
}

static void our_own_record_is_never_pushed_out(void **state)
{
	struct world *w = *state;
	struct im2_records_config c = plain(w);

	c.bytes = 8 * 300;
	with(w, c);
	assert_int_equal(im2_records_own(w->records, prekey_by(w, w->me, 1, WALL_T, 86400, 1)), ERR_OK);
	for (unsigned i = 0; i < 40; i++) {
		struct keyring *k = keyring_number(100 + i);

		assert_int_equal(take_from(w, prekey_by(w, k, 1, WALL_T, 86400, 1), k), IM2_REC_NEW);
		keyring_free(k);
	}
	assert_true(is_held(w, w->me, IM2_REC_PREKEY_T, (struct bytes){0}) > 0);
	assert_true(im2_records_count(w->records) < 20);
}

/* --- revocation (13.4) --- */

static void a_self_revocation_ends_the_identity(void **state)
{
	struct world *w = *state;
	struct im2_revocation v;
	uint8_t later[256];

	with(w, plain(w));
	struct bytes r = prekey_by(w, w->alice, 9, WALL_T, 86400, 1);
	memcpy(later, r.p, r.n);
	assert_int_equal(take(w, prekey_by(w, w->alice, 8, WALL_T, 86400, 2)), IM2_REC_NEW);
	assert_int_equal(take(w, vec(w, "revocation_self")), IM2_REC_NEW);
	assert_int_equal(im2_revocation_of(w->records, &w->rec, &v), IM2_FINE);
	assert_true(v.self && !v.by_quorum && !v.quarantine && v.scope == 1);
	assert_memory_equal(v.target, keyring_ed(w->alice), ED_BYTES);
	assert_int_equal(im2_records_get(w->records, keyring_ed(w->alice), IM2_REC_PREKEY_T,
					 bytes_of(NULL, 0))
				 .n,
			 0);
	assert_int_equal(take(w, bytes_of(later, r.n)), IM2_REC_REFUSED);
	assert_int_equal(w->why, IM2_E_POLICY);
	assert_int_equal(take(w, vec(w, "rotation")), IM2_REC_REFUSED);
	assert_int_equal(take(w, vec(w, "revocation_self")), IM2_REC_REPEAT);
	/* it is there to be passed on */
	is_hex(im2_records_get(w->records, keyring_ed(w->alice), IM2_REC_REVOKE_T, w->rec.key),
	       vec(w, "revocation_self"));
}

/* Who stole the key uses up the highest generation with a harmless revocation; the owner's still
 * counts. */
static void a_thief_cannot_outrun_a_self_revocation(void **state)
{
	struct world *w = *state;
	const struct keyring *by[] = {w->alice};

	with(w, plain(w));
	assert_int_equal(take(w, revoke_by(w, by, 1, w->alice, IM2_GEN_MAX, 3, NULL, 0)),
			 IM2_REC_NEW);
	assert_int_equal(take(w, prekey_by(w, w->alice, 8, WALL_T, 86400, 2)), IM2_REC_NEW);
	assert_int_equal(take(w, vec(w, "revocation_self")), IM2_REC_NEW);
	assert_int_equal(take(w, prekey_by(w, w->alice, 9, WALL_T, 86400, 2)), IM2_REC_REFUSED);
	assert_int_equal(take(w, vec(w, "revocation_self")), IM2_REC_OLD);
}

static void scope_3_drops_prekeys_once(void **state)
{
	struct world *w = *state;
	const struct keyring *by[] = {w->bob};
	uint8_t copy[512];

	with(w, plain(w));
	assert_int_equal(take(w, prekey_of(w, 1, 1)), IM2_REC_NEW);
	struct bytes r = revoke_by(w, by, 1, w->bob, 1, 3, NULL, 0);
	memcpy(copy, r.p, r.n);
	struct bytes first = bytes_of(copy, r.n);
	assert_int_equal(take(w, first), IM2_REC_NEW);
	assert_int_equal(held(w).n, 0);
	assert_int_equal(take(w, prekey_of(w, 2, 2)), IM2_REC_NEW); /* alive, with a new one */
	assert_int_equal(take(w, first), IM2_REC_REPEAT);
	assert_true(held(w).n > 0);
	assert_int_equal(take(w, revoke_by(w, by, 1, w->bob, 2, 3, NULL, 0)), IM2_REC_NEW);
	assert_int_equal(take(w, prekey_of(w, 3, 2)), IM2_REC_NEW);
	assert_int_equal(take(w, first), IM2_REC_OLD); /* a replay harms nobody */
	assert_true(held(w).n > 0);
}

static void a_quorum_needs_k_of_our_own_admins(void **state)
{
	struct world *w = *state;
	uint8_t admins[3][ED_BYTES], id[16];
	struct im2_records_config c = plain(w);
	struct im2_revocation v;
	struct keyring *eve = keyring_number(77);

	memcpy(admins[0], keyring_ed(w->carol), ED_BYTES);
	memcpy(admins[1], keyring_ed(w->alice), ED_BYTES);
	memcpy(admins[2], keyring_ed(w->bob), ED_BYTES);
	im2_quorum_id(2, admins, 3, id);
	is_hex(BYTES_ARR(id), vector(&w->v, "quorum", "2_of_alice_bob_carol"));

	/* without an admin set it is a piece of paper */
	with(w, c);
	assert_int_equal(take(w, vec(w, "revocation_2_of_3")), IM2_REC_NEW);
	assert_int_equal(im2_revocation_of(w->records, &w->rec, &v), IM2_FINE);
	assert_true(!v.self && !v.by_quorum && !v.quarantine);
	assert_int_equal(take(w, prekey_by(w, w->dave, 1, WALL_T, 86400, 1)), IM2_REC_NEW);

	c.quorum_k = 2;
	c.admins = (const uint8_t(*)[ED_BYTES])admins;
	c.admins_n = 3;
	with(w, c);
	assert_int_equal(take(w, prekey_by(w, w->dave, 1, WALL_T, 86400, 1)), IM2_REC_NEW);
	/* one admin and a stranger; two strangers would not even be looked at */
	const struct keyring *half[] = {w->alice, eve};
	assert_int_equal(take(w, revoke_by(w, half, 2, w->dave, 1, 1, id, 0)), IM2_REC_NEW);
	assert_int_equal(im2_revocation_of(w->records, &w->rec, &v), IM2_FINE);
	assert_false(v.by_quorum);
	/* two admins, but for another set */
	const struct keyring *two[] = {w->alice, w->carol};
	uint8_t other[16] = {1};
	assert_int_equal(take(w, revoke_by(w, two, 2, w->dave, 2, 1, other, 0)), IM2_REC_NEW);
	assert_int_equal(im2_revocation_of(w->records, &w->rec, &v), IM2_FINE);
	assert_false(v.by_quorum);
	assert_int_equal(take(w, prekey_by(w, w->dave, 2, WALL_T, 86400, 1)), IM2_REC_NEW);
	/* one admin alone: quarantine, which the owner of the trust store times */
	const struct keyring *one[] = {w->bob};
	assert_int_equal(take(w, revoke_by(w, one, 1, w->dave, 1, 1, NULL, 0)), IM2_REC_NEW);
	assert_int_equal(im2_revocation_of(w->records, &w->rec, &v), IM2_FINE);
	assert_true(v.quarantine && !v.by_quorum && !v.self);
	assert_int_equal(take(w, prekey_by(w, w->dave, 3, WALL_T, 86400, 1)), IM2_REC_NEW);
	/* any valid one counts, though its generation is not the highest */
	assert_int_equal(take(w, revoke_by(w, two, 2, w->dave, 1, 1, id, 0)), IM2_REC_NEW);
	assert_int_equal(im2_revocation_of(w->records, &w->rec, &v), IM2_FINE);
	assert_true(v.by_quorum);
	assert_int_equal(take(w, prekey_by(w, w->dave, 4, WALL_T, 86400, 1)), IM2_REC_REFUSED);
	assert_int_equal(w->why, IM2_E_POLICY);
	assert_int_equal(im2_records_get(w->records, keyring_ed(w->dave), IM2_REC_PREKEY_T,
					 bytes_of(NULL, 0))
				 .n,
			 0);
	keyring_free(eve);
}

static void a_revocation_of_later_begins_later(void **state)
{
	struct world *w = *state;
	const struct keyring *by[] = {w->bob};

	with(w, plain(w));
	assert_int_equal(take(w, revoke_by(w, by, 1, w->bob, 1, 1, NULL, WALL_T + 1000)),
			 IM2_REC_NEW);
	assert_int_equal(take(w, prekey_of(w, 2, 2)), IM2_REC_NEW);
	penv_pass(&w->env, 1000);
	assert_int_equal(take(w, prekey_of(w, 3, 2)), IM2_REC_REFUSED);
	assert_int_equal(held(w).n, 0);
}

static bool says_bob(void *ctx, const uint8_t ed[static ED_BYTES])
{
	struct world *w = ctx;

	return memcmp(ed, keyring_ed(w->bob), ED_BYTES) == 0;
}

static void what_the_trust_room_revoked_stays_revoked(void **state)
{
	struct world *w = *state;
	struct im2_records_config c = plain(w);

	c.revoked = says_bob;
	c.ctx = w;
	with(w, c);
	assert_int_equal(take(w, prekey_of(w, 2, 2)), IM2_REC_REFUSED);
	assert_int_equal(w->why, IM2_E_POLICY);
	const struct keyring *by[] = {w->bob};
	assert_int_equal(take(w, revoke_by(w, by, 1, w->bob, 1, 1, NULL, 0)),
			 IM2_REC_NEW); /* to be passed on */
}

static void rotations_say_what_the_vector_says(void **state)
{
	struct world *w = *state;
	struct im2_rotation v;

	assert_int_equal(im2_record_parse(vec(w, "rotation"), &w->rec), IM2_FINE);
	assert_int_equal(im2_rotation_of(&w->rec, &v), IM2_FINE);
	assert_memory_equal(v.old_ed, keyring_ed(w->alice), ED_BYTES);
	assert_memory_equal(v.new_ed, keyring_ed(w->dave), ED_BYTES);
	assert_memory_equal(v.x25519, keyring_x25519(w->dave), X25519_BYTES);
	assert_int_equal(v.reason, 0);
	assert_int_equal(im2_record_parse(vec(w, "prekey"), &w->rec), IM2_FINE);
	assert_int_equal(im2_rotation_of(&w->rec, &v), IM2_E_CONTEXT);
}

static void forgetting_an_author_keeps_its_revocations(void **state)
{
	struct world *w = *state;
	const struct keyring *by[] = {w->bob};

	with(w, plain(w));
	assert_int_equal(take(w, prekey_of(w, 1, 1)), IM2_REC_NEW);
	assert_int_equal(take(w, prekey_by(w, w->carol, 1, WALL_T, 86400, 1)), IM2_REC_NEW);
	assert_int_equal(take(w, revoke_by(w, by, 1, w->dave, 1, 1, NULL, 0)), IM2_REC_NEW);
	im2_records_drop(w->records, keyring_ed(w->bob));
	assert_int_equal(im2_records_count(w->records), 2);
	assert_int_equal(held(w).n, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(records_of_the_vectors_verify),
		TEST(records_are_written_as_the_vectors),
		TEST(items_are_those_of_the_vectors),
		TEST(keys_belong_to_their_types),
		TEST(each_bit_of_a_record_counts),
		TEST(a_signature_of_another_context_is_none),
		TEST(only_served_types_are_kept),
		TEST(the_highest_generation_stays),
		TEST(two_of_one_generation_are_equivocation),
		TEST(bad_records_change_nothing),
		TEST(foreign_signers_are_refused),
		TEST(our_own_record_from_elsewhere_says_that_we_are_behind),
		TEST(clocks_may_be_a_day_wrong),
		TEST(a_clock_a_year_wrong_refuses_and_one_in_1970_decides_nothing),
		TEST(a_record_ends_at_the_latest_at_arrival_and_life),
		TEST(one_peer_fills_an_eighth),
		TEST(many_peers_fill_the_table_and_no_more),
		TEST(bytes_are_bounded_and_shared),
		TEST(our_own_record_is_never_pushed_out),
		TEST(a_self_revocation_ends_the_identity),
		TEST(a_thief_cannot_outrun_a_self_revocation),
		TEST(scope_3_drops_prekeys_once),
		TEST(a_quorum_needs_k_of_our_own_admins),
		TEST(a_revocation_of_later_begins_later),
		TEST(what_the_trust_room_revoked_stays_revoked),
		TEST(rotations_say_what_the_vector_says),
		TEST(forgetting_an_author_keeps_its_revocations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
