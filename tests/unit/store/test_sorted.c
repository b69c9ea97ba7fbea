#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "store/sorted_internal.h"

struct rec {
	uint64_t key;
	uint32_t twice;
};

/* The same in the plainest way: a flag for each number. */
#define KEYS 512
static bool there[KEYS];
static struct sorted v;

static unsigned next_random(unsigned below)
{
	static uint64_t x = 0x9e3779b97f4a7c15;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (unsigned)(x % below);
}

static void compare(void)
{
	size_t n = 0;

	for (uint64_t k = 0; k < KEYS; k++) {
		const struct rec *r = sorted_get(&v, k);
		assert_int_equal(sorted_floor(&v, k), n);
		assert_int_equal(r != NULL, there[k]);
		if (!r)
			continue;
		assert_int_equal(r->key, k);
		assert_int_equal(r->twice, 2 * k);
		assert_ptr_equal(r, sorted_at(&v, n));
		n++;
	}
	assert_int_equal(v.n, n);
	assert_true(v.head + v.n <= v.cap || v.cap == 0);
}

static bool is_odd(void *ctx, const void *record)
{
	return ((const struct rec *)record)->key & 1;
}

static void behaves_like_a_set_of_flags(void **state)
{
	memset(there, 0, sizeof(there));
	sorted_init(&v, sizeof(struct rec));
	compare();
	for (unsigned step = 0; step < 20000; step++) {
		/* Now growing at the end, now anywhere, now draining from the front. */
		unsigned phase = step / 1000 % 4;
		uint64_t k = phase == 0 ? step % KEYS : next_random(KEYS);
		if (!there[k] && phase != 3) {
			assert_int_equal(sorted_reserve(&v, 1), ERR_OK);
			struct rec *r = sorted_insert(&v, k);
			assert_int_equal(r->twice, 0);
			r->twice = (uint32_t)(2 * k);
			there[k] = true;
		} else if (v.n) {
			size_t i = phase == 3 ? 0 : sorted_floor(&v, k) % v.n;
			there[((struct rec *)sorted_at(&v, i))->key] = false;
			sorted_take(&v, i);
			if (phase == 2 && v.n > 3) {
				size_t n = next_random((unsigned)v.n);
				for (size_t j = 0; j < n; j++) {
					uint64_t key = ((struct rec *)sorted_at(&v, j))->key;
					there[key] = key & 1;
				}
				sorted_filter(&v, n, is_odd, NULL);
			}
		}
		if (step % 97 == 0)
			sorted_trim(&v);
		if (step % 13 == 0)
			compare();
	}
	sorted_fini(&v);
}

static void what_was_taken_leaves_its_room(void **state)
{
	sorted_init(&v, sizeof(struct rec));
	for (uint64_t k = 0; k < 16; k++) {
		assert_int_equal(sorted_reserve(&v, 1), ERR_OK);
		sorted_insert(&v, k);
	}
	size_t cap = v.cap;
	for (size_t i = 0; i < 16; i++) {
		sorted_take(&v, sorted_floor(&v, i));
		sorted_insert(&v, i); /* without asking for room */
	}
	assert_int_equal(v.cap, cap);
	assert_int_equal(v.n, 16);
	sorted_fini(&v);
}

static void memory_follows_what_is_in_it(void **state)
{
	size_t highest = 0;

	sorted_init(&v, sizeof(struct rec));
	/* A window of 300 that runs on for long needs no more than twice that. */
	for (uint64_t k = 0; k < 100000; k++) {
		assert_int_equal(sorted_reserve(&v, 1), ERR_OK);
		sorted_insert(&v, k);
		if (v.n > 300)
			sorted_take(&v, 0);
		if (v.cap > highest)
			highest = v.cap;
	}
	assert_true(highest <= 1024);
	while (v.n > 10)
		sorted_take(&v, 0);
	sorted_trim(&v);
	assert_true(v.cap <= 32);
	assert_int_equal(((struct rec *)sorted_at(&v, 0))->key, 99990);
	sorted_fini(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(behaves_like_a_set_of_flags),
		cmocka_unit_test(what_was_taken_leaves_its_room),
		cmocka_unit_test(memory_follows_what_is_in_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
