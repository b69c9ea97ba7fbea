#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "store/seal_internal.h"
#include "tests/lib/store_world.h"

static struct world w;
static struct seal seal;
static uint8_t wrapped[SEAL_WRAP_BYTES];

static int setup(void **state)
{
	world_init(&w);
	return seal_create(&seal, &w.env, BYTES_ARR(w.wrap), wrapped) != ERR_OK;
}

static int teardown(void **state)
{
	seal_fini(&seal);
	world_fini(&w);
	return 0;
}

static void sealed_value_opens_only_with_its_row(void **state)
{
	struct buf b, out;

	buf_init(&b, 4096);
	buf_init(&out, 4096);
	for (size_t n = 0; n < 100; n += 33) {
		uint8_t text[100];
		memset(text, 'x', sizeof(text));
		buf_reset(&b);
		buf_reset(&out);
		assert_int_equal(seal_put(&seal, BYTES_LIT("row 1"), bytes_of(text, n), &b),
				 ERR_OK);
		assert_int_equal(b.n, n + SEAL_OVERHEAD);
		assert_int_equal(seal_open(&seal, BYTES_LIT("row 2"), buf_bytes(&b), &out),
				 ERR_CORRUPT);
		assert_int_equal(out.n, 0);
		assert_int_equal(seal_open(&seal, BYTES_LIT("row 1"), buf_bytes(&b), &out), ERR_OK);
		assert_true(bytes_eq(buf_bytes(&out), bytes_of(text, n)));
	}
	buf_fini(&b);
	buf_fini(&out);
}

static void every_changed_bit_and_every_prefix_is_refused(void **state)
{
	struct buf b, out;

	buf_init(&b, 4096);
	buf_init(&out, 4096);
	assert_int_equal(seal_put(&seal, BYTES_LIT("row"), BYTES_LIT("a body"), &b), ERR_OK);
	for (size_t i = 0; i < b.n; i++) {
		b.p[i] ^= 1;
		assert_int_equal(seal_open(&seal, BYTES_LIT("row"), buf_bytes(&b), &out),
				 ERR_CORRUPT);
		b.p[i] ^= 1;
		assert_int_equal(seal_open(&seal, BYTES_LIT("row"), bytes_of(b.p, i), &out),
				 ERR_CORRUPT);
	}
	buf_add_u8(&b, 0);
	assert_int_equal(seal_open(&seal, BYTES_LIT("row"), buf_bytes(&b), &out), ERR_CORRUPT);
	buf_fini(&b);
	buf_fini(&out);
}

static void no_nonce_comes_twice(void **state)
{
	struct buf b;
	enum { N = 5 * SEAL_POOL };
	uint8_t(*seen)[SEAL_NONCE_BYTES] = calloc(N, SEAL_NONCE_BYTES);

	buf_init(&b, 4096);
	for (size_t i = 0; i < N; i++) {
		buf_reset(&b);
		assert_int_equal(seal_put(&seal, BYTES_LIT("r"), BYTES_LIT("b"), &b), ERR_OK);
		for (size_t j = 0; j < i; j++)
			assert_memory_not_equal(seen[j], b.p, SEAL_NONCE_BYTES);
		memcpy(seen[i], b.p, SEAL_NONCE_BYTES);
	}
	free(seen);
	buf_fini(&b);
}

static void wrapped_key_opens_only_with_the_wrap_key(void **state)
{
	struct seal again;
	uint8_t wrong[32];
	struct buf b, out;

	memcpy(wrong, w.wrap, sizeof(wrong));
	wrong[31] ^= 1;
	assert_int_equal(seal_load(&again, &w.env, BYTES_ARR(wrong), BYTES_ARR(wrapped)), ERR_AUTH);
	for (size_t n = 0; n < sizeof(wrapped); n++)
		assert_int_equal(seal_load(&again, &w.env, BYTES_ARR(w.wrap), bytes_of(wrapped, n)),
				 ERR_AUTH);
	for (size_t i = 0; i < sizeof(wrapped); i++) {
		wrapped[i] ^= 0x80;
		assert_int_equal(seal_load(&again, &w.env, BYTES_ARR(w.wrap), BYTES_ARR(wrapped)),
				 ERR_AUTH);
		wrapped[i] ^= 0x80;
	}
	assert_int_equal(seal_load(&again, &w.env, BYTES_ARR(w.wrap), BYTES_ARR(wrapped)), ERR_OK);
	buf_init(&b, 100);
	buf_init(&out, 100);
	assert_int_equal(seal_put(&seal, BYTES_LIT("r"), BYTES_LIT("b"), &b), ERR_OK);
	assert_int_equal(seal_open(&again, BYTES_LIT("r"), buf_bytes(&b), &out), ERR_OK);
	seal_fini(&again);
	buf_fini(&b);
	buf_fini(&out);
}

static void two_databases_have_two_keys(void **state)
{
	struct seal other;
	uint8_t other_wrapped[SEAL_WRAP_BYTES];

	assert_int_equal(seal_create(&other, &w.env, BYTES_ARR(w.wrap), other_wrapped), ERR_OK);
	assert_memory_not_equal(other.key.p, seal.key.p, SEAL_KEY_BYTES);
	assert_memory_not_equal(other.key.p, w.wrap, SEAL_KEY_BYTES);
	seal_fini(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sealed_value_opens_only_with_its_row),
		cmocka_unit_test(every_changed_bit_and_every_prefix_is_refused),
		cmocka_unit_test(no_nonce_comes_twice),
		cmocka_unit_test(wrapped_key_opens_only_with_the_wrap_key),
		cmocka_unit_test(two_databases_have_two_keys),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
