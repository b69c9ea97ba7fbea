#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/hash.h"
#include "tests/lib/protocol_env.h"

/* wire 11.4, 11.6 */
static const char key_hex[] = "18a99320f3488fa18a04239715d8ee738065e65c3d4b2898522d6c3d4ead588c";
static const char head_hex[] = "e7f6040d00000000000000010000019844be9ffad65df89f702eec58000001fb";
static const char enc_hash[] = "9bed19f2e7a81aaeb25ce1edeb755a9e2bad3dd0d1399b30857a7ef5b26c7f71";
static const char frame_hash[] = "e8868a0e6ce45c0b02887b485dc402c4c4de4756a70ca64c6b0c372c67a59b58";
static const char outer_hex[] = "6f874f26fbff722115c46313c3f3cd6f703d9b30cdadf9ffad3f8848f2659dbf"
				"ff765c630fcede273896761a59e49a4155b3c3b6a1816fce3e6bb988fee56405";

struct made {
	struct keyring *k;
	uint8_t key[SESSION_KEY_BYTES];
	struct buf frame;
};

static int make(void **state)
{
	struct made *m = calloc(1, sizeof *m);
	uint8_t sig[SIG_BYTES], nonce[24];
	struct buf scratch;
	struct body_out o = {
		.type = BYTES_LIT("MSG"),
		.payload = BYTES_LIT("hello mesh"),
		.id = BYTES_LIT("000102030405060708090a0b0c0d0e0f"),
		.source = BYTES_LIT("139e3940e64b5491722088d9a0d74162"),
		.destination = BYTES_LIT("28fff9342c7030d3d899cc9e7bc11878"),
		.time_s = 1753500000.25,
		.priority = PRIO_HIGH,
		.sequence = 1,
		.ttl = 5,
		.signature = sig,
	};
	struct inner_covered c = {o.source, o.destination, o.id, o.payload};

	m->k = keyring_number(0);
	test_unhex(key_hex, m->key, sizeof m->key);
	test_count_up(nonce, sizeof nonce);
	buf_init(&scratch, 4096);
	assert_int_equal(inner_sign(m->k, &c, &scratch, sig), ERR_OK);
	buf_fini(&scratch);
	buf_init(&m->frame, SESSION_UNIT_MAX + 5);
	assert_int_equal(frame_seal(&m->frame, m->key, m->k, nonce, &o), ERR_OK);
	*state = m;
	return 0;
}

static int unmake(void **state)
{
	struct made *m = *state;

	buf_fini(&m->frame);
	keyring_free(m->k);
	free(m);
	return 0;
}

static enum err shape(const void *p, size_t n)
{
	struct frame_head h;
	struct bytes enc;
	const uint8_t *sig;
	uint8_t *copy = malloc(n ? n : 1);

	memcpy(copy, p, n);
	enum err e = frame_shape(bytes_of(copy, n), &h, &enc, &sig);
	free(copy);
	return e;
}

static enum err open(const struct made *m, const uint8_t *p, size_t n, const uint8_t *key,
		     const uint8_t *ed, struct buf *plain)
{
	const uint8_t *keys[1] = {key}, *sig;
	struct frame_head h;
	struct bytes enc;
	const char *word;
	size_t which;
	enum err e = frame_shape(bytes_of(p, n), &h, &enc, &sig);

	return e == ERR_OK ? frame_open(enc, keys, 1, ed, sig, plain, &which, &word) : e;
}

static void frame_is_the_vector_byte_for_byte(void **state)
{
	struct made *m = *state;
	uint8_t want[64], hash[HASH_BYTES];

	assert_int_equal(m->frame.n, 603);
	test_unhex(head_hex, want, 32);
	assert_memory_equal(m->frame.p, want, 32);
	test_unhex(enc_hash, want, 32);
	sha256(bytes_of(m->frame.p + 32, 507), hash);
	assert_memory_equal(hash, want, 32);
	test_unhex(outer_hex, want, 64);
	assert_memory_equal(m->frame.p + 539, want, 64);
	test_unhex(frame_hash, want, 32);
	sha256(buf_bytes(&m->frame), hash);
	assert_memory_equal(hash, want, 32);
}

static void frame_opens_with_its_key_and_author_only(void **state)
{
	struct made *m = *state;
	uint8_t other_key[32];
	struct keyring *other = keyring_number(9);
	struct buf plain;

	memcpy(other_key, m->key, 32);
	other_key[0] ^= 1;
	buf_init(&plain, 4096);
	assert_int_equal(open(m, m->frame.p, m->frame.n, m->key, keyring_ed(m->k), &plain), ERR_OK);
	assert_int_equal(plain.n, 467);
	assert_int_equal(open(m, m->frame.p, m->frame.n, other_key, keyring_ed(m->k), &plain),
			 ERR_AUTH);
	assert_int_equal(open(m, m->frame.p, m->frame.n, m->key, keyring_ed(other), &plain),
			 ERR_AUTH);
	buf_fini(&plain);
	keyring_free(other);
}

static void second_key_opens_and_is_named(void **state)
{
	struct made *m = *state;
	uint8_t other[32] = {1};
	const uint8_t *keys[2] = {other, m->key}, *sig;
	struct frame_head h;
	struct bytes enc;
	const char *word;
	size_t which = 9;
	struct buf plain;

	buf_init(&plain, 4096);
	assert_int_equal(frame_shape(buf_bytes(&m->frame), &h, &enc, &sig), ERR_OK);
	assert_int_equal(frame_open(enc, keys, 2, keyring_ed(m->k), sig, &plain, &which, &word),
			 ERR_OK);
	assert_int_equal(which, 1);
	assert_int_equal(h.sequence, 1);
	assert_int_equal(h.time_ms, 1753500000250);
	buf_fini(&plain);
}

static void every_prefix_and_one_byte_more_is_refused(void **state)
{
	struct made *m = *state;
	uint8_t *more = malloc(m->frame.n + 1);

	for (size_t n = 0; n < m->frame.n; n++)
		assert_int_not_equal(shape(m->frame.p, n), ERR_OK);
	memcpy(more, m->frame.p, m->frame.n);
	more[m->frame.n] = 0;
	assert_int_equal(shape(more, m->frame.n), ERR_OK);
	assert_int_equal(shape(more, m->frame.n + 1), ERR_TRAILING);
	free(more);
}

/* wire 11.12 */
static void header_must_be_in_range(void **state)
{
	struct made *m = *state;
	static const struct {
		size_t at;
		uint8_t v;
		bool ok;
	} rows[] = {
		{0, 0xe6, false},  {1, 0xf7, false},  {2, 2, false},	{2, 3, true},
		{2, 5, false},	   {2, 0, false},     {3, 0x09, false}, {3, 0x05, false},
		{3, 0xfc, true},   {3, 0x01, false},  {28, 1, false},	{29, 0x10, false},
		{31, 0xfc, false}, {31, 0xfa, false}, {30, 0, false},
	};
	uint8_t copy[603];

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		memcpy(copy, m->frame.p, sizeof copy);
		copy[rows[i].at] = rows[i].v;
		assert_int_equal(shape(copy, sizeof copy) == ERR_OK, rows[i].ok);
	}
	/* enc of 39 bytes: shorter than nonce and MAC. */
	memcpy(copy, m->frame.p, sizeof copy);
	memcpy(copy + 28, "\0\0\0\x27", 4);
	assert_int_not_equal(shape(copy, 32 + 39 + 64), ERR_OK);
	memcpy(copy + 28, "\0\x10\0\x01", 4);
	assert_int_not_equal(shape(copy, sizeof copy), ERR_OK);
}

static void every_bit_of_enc_and_signature_counts(void **state)
{
	struct made *m = *state;
	uint8_t copy[603];
	struct buf plain;

	buf_init(&plain, 4096);
	for (size_t i = FRAME_HEADER; i < sizeof copy; i++) {
		memcpy(copy, m->frame.p, sizeof copy);
		copy[i] ^= (uint8_t)(1u << (i % 8));
		assert_int_equal(open(m, copy, sizeof copy, m->key, keyring_ed(m->k), &plain),
				 ERR_AUTH);
	}
	buf_fini(&plain);
}

static void too_large_leaves_the_buffer_as_it_was(void **state)
{
	struct made *m = *state;
	static uint8_t big[800000];
	uint8_t nonce[24] = {0};
	struct body_out o = {.type = BYTES_LIT("MSG"),
			     .id = BYTES_LIT("a"),
			     .source = BYTES_LIT("s"),
			     .destination = BYTES_LIT("*"),
			     .payload = BYTES_ARR(big),
			     .time_s = 1,
			     .sequence = 1};
	struct buf b;

	buf_init(&b, 4u << 20);
	buf_add_str(&b, "before");
	assert_int_equal(frame_seal(&b, m->key, m->k, nonce, &o), ERR_LIMIT);
	assert_int_equal(b.n, 6);
	assert_int_equal(b.err, ERR_OK);
	o.payload = bytes_of(big, MSG_BODY_09_MAX);
	assert_int_equal(frame_seal(&b, m->key, m->k, nonce, &o), ERR_OK);
	assert_true(b.n - 6 <= SESSION_UNIT_MAX);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(frame_is_the_vector_byte_for_byte, make, unmake),
		cmocka_unit_test_setup_teardown(frame_opens_with_its_key_and_author_only, make,
						unmake),
		cmocka_unit_test_setup_teardown(second_key_opens_and_is_named, make, unmake),
		cmocka_unit_test_setup_teardown(every_prefix_and_one_byte_more_is_refused, make,
						unmake),
		cmocka_unit_test_setup_teardown(header_must_be_in_range, make, unmake),
		cmocka_unit_test_setup_teardown(every_bit_of_enc_and_signature_counts, make,
						unmake),
		cmocka_unit_test_setup_teardown(too_large_leaves_the_buffer_as_it_was, make,
						unmake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
