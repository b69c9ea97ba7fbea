#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/limit.h"

static const uint8_t hash_key[16] = {1, 2, 3};

static void a_bucket_gives_its_burst_then_its_rate(void **state)
{
	struct bucket b;

	bucket_init(&b, 20, 100, 5000);
	for (int i = 0; i < 100; i++)
		assert_true(bucket_take(&b, 1, 5000));
	assert_false(bucket_take(&b, 1, 5000));
	assert_int_equal(bucket_wait_ms(&b, 1, 5000), 50);
	assert_false(bucket_take(&b, 1, 5049));
	assert_true(bucket_take(&b, 1, 5050));
	assert_false(bucket_take(&b, 1, 5050));
	for (int i = 0; i < 20; i++)
		assert_true(bucket_take(&b, 1, 6050));
	assert_false(bucket_take(&b, 1, 6050));
}

static void a_bucket_never_holds_more_than_its_burst(void **state)
{
	struct bucket b;

	bucket_init(&b, 1000, 10, 0);
	assert_false(bucket_take(&b, 11, UINT64_MAX / 2));
	assert_true(bucket_take(&b, 10, UINT64_MAX / 2));
	assert_false(bucket_take(&b, 1, UINT64_MAX / 2));
}

static void a_refused_take_takes_nothing(void **state)
{
	struct bucket b;

	bucket_init(&b, 1, 10, 0);
	assert_true(bucket_take(&b, 6, 0));
	assert_false(bucket_take(&b, 5, 0));
	assert_true(bucket_take(&b, 4, 0));
}

static void after_the_wait_the_tokens_are_there(void **state)
{
	static const double rates[] = {0.167, 0.5, 1, 3, 7.7, 20, 1048576};

	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		struct bucket b;
		uint64_t now_ms = 123456789, wait_ms;

		bucket_init(&b, rates[i], 10, now_ms);
		assert_true(bucket_take(&b, 10, now_ms));
		for (int k = 0; k < 200; k++) {
			wait_ms = bucket_wait_ms(&b, 1, now_ms);
			now_ms += wait_ms;
			assert_int_equal(bucket_wait_ms(&b, 1, now_ms), 0);
			assert_true(bucket_take(&b, 1, now_ms));
		}
	}
}

static void what_can_never_be_there_waits_for_ever(void **state)
{
	struct bucket b;

	bucket_init(&b, 1, 10, 0);
	assert_true(bucket_wait_ms(&b, 11, 0) == UINT64_MAX);
	bucket_init(&b, 0, 10, 0);
	assert_int_equal(bucket_wait_ms(&b, 10, 0), 0);
	assert_true(bucket_take(&b, 10, 0));
	assert_true(bucket_wait_ms(&b, 1, 1000000) == UINT64_MAX);
}

static void a_clock_that_steps_back_gives_nothing(void **state)
{
	struct bucket b;

	bucket_init(&b, 1, 10, 10000);
	assert_true(bucket_take(&b, 10, 10000));
	assert_false(bucket_take(&b, 1, 1));
	assert_false(bucket_take(&b, 1, 10999));
	assert_true(bucket_take(&b, 1, 11000));
}

static void the_ladder_climbs_to_a_ban(void **state)
{
	static const uint64_t waits[] = {500, 1000, 2000, 4000, 8000, LADDER_BAN_MS};
	const struct bytes who = BYTES_LIT("192.0.2.1");
	struct ladder *l = ladder_new(hash_key, 4096);
	uint64_t now_ms = 1000000;

	assert_int_equal(ladder_wait_ms(l, who, now_ms), 0);
	for (size_t i = 0; i < 6; i++) {
		assert_int_equal(ladder_banned(l, now_ms), 0);
		assert_int_equal(ladder_fail(l, who, now_ms), waits[i]);
		assert_int_equal(ladder_wait_ms(l, who, now_ms), waits[i]);
		assert_int_equal(ladder_wait_ms(l, who, now_ms + 1), waits[i] - 1);
		assert_int_equal(ladder_banned(l, now_ms), i == 5); /* the sixth is the ban */
		now_ms += waits[i];
		assert_int_equal(ladder_wait_ms(l, who, now_ms), 0);
	}
	ladder_free(l);
}

static void a_failure_during_a_ban_starts_it_again(void **state)
{
	const struct bytes who = BYTES_LIT("192.0.2.1");
	struct ladder *l = ladder_new(hash_key, 16);

	for (int i = 0; i < 6; i++)
		ladder_fail(l, who, 0);
	assert_int_equal(ladder_wait_ms(l, who, 200000), 100000);
	assert_int_equal(ladder_fail(l, who, 200000), LADDER_BAN_MS);
	assert_int_equal(ladder_wait_ms(l, who, 200000), LADDER_BAN_MS);
	assert_int_equal(ladder_wait_ms(l, who, 500000), 0);
	assert_int_equal(ladder_banned(l, 500000), 0);
	ladder_free(l);
}

static void one_failure_is_forgotten_each_300_s(void **state)
{
	const struct bytes who = BYTES_LIT("192.0.2.1");
	struct ladder *l = ladder_new(hash_key, 16);

	ladder_fail(l, who, 0);
	ladder_fail(l, who, 1000);
	assert_int_equal(ladder_fail(l, who, 300999), 2000); /* third: not forgotten yet */
	assert_int_equal(ladder_fail(l, who, 600999), 2000); /* one of three is forgotten */
	assert_int_equal(ladder_fail(l, who, 600999 + 2 * LADDER_BAN_MS), 1000);
	assert_int_equal(ladder_fail(l, who, 600999 + 4 * LADDER_BAN_MS), 500); /* all are */
	ladder_free(l);
}

static void a_success_clears_one_source_alone(void **state)
{
	struct ladder *l = ladder_new(hash_key, 16);

	for (int i = 0; i < 3; i++) {
		ladder_fail(l, BYTES_LIT("a"), 0);
		ladder_fail(l, BYTES_LIT("b"), 0);
	}
	ladder_clear(l, BYTES_LIT("a"));
	ladder_clear(l, BYTES_LIT("never seen"));
	assert_int_equal(ladder_wait_ms(l, BYTES_LIT("a"), 0), 0);
	assert_int_equal(ladder_wait_ms(l, BYTES_LIT("b"), 0), 2000);
	assert_int_equal(ladder_fail(l, BYTES_LIT("a"), 0), 500);
	ladder_free(l);
}

static void a_flood_of_sources_is_bounded_and_drops_the_oldest(void **state)
{
	struct ladder *l = ladder_new(hash_key, 100);
	char name[32];

	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "host%d", i);
		ladder_fail(l, bytes_str(name), 0);
	}
	assert_int_equal(ladder_wait_ms(l, BYTES_LIT("host199"), 0), 0);
	assert_int_equal(ladder_wait_ms(l, BYTES_LIT("host200"), 0), 500);
	assert_int_equal(ladder_wait_ms(l, BYTES_LIT("host299"), 0), 500);
	ladder_free(l);
	ladder_free(NULL);
}

static void a_source_text_of_any_length_works(void **state)
{
	struct ladder *l = ladder_new(hash_key, 100);
	char name[1000];

	memset(name, 'x', sizeof(name));
	ladder_fail(l, bytes_of(name, 1000), 0);
	assert_int_equal(ladder_wait_ms(l, bytes_of(name, 1000), 0), 500);
	assert_int_equal(ladder_wait_ms(l, bytes_of(name, 999), 0), 0);
	ladder_free(l);
}

static void same(const char *address, const char *want)
{
	char out[64];
	struct bytes b = source_of_address(address, out);

	assert_true(bytes_eq(b, bytes_str(want)));
}

static void addresses_have_one_source(void **state)
{
	char out[64], out2[64], text[200];

	same("192.0.2.7", "192.0.2.7");
	same("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64");
	same("2001:0DB8:0001:0002::1", "2001:db8:1:2::/64");
	same("[2001:db8:1:2::9]", "2001:db8:1:2::/64");
	same("2001:db8:1:3::1", "2001:db8:1:3::/64");
	same("fe80::1%eth0", "fe80::/64");
	same("::1", "::/64");
	same("::ffff:192.0.2.7", "192.0.2.7"); /* the same host through an IPv6 socket */
	same("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "ffff:ffff:ffff:ffff::/64");
	same("not an address", "not an address");
	same("host%zone", "host%zone");
	same("", "");
	memset(text, 'y', sizeof(text));
	text[199] = '\0';
	assert_true(source_of_address(text, out).n < 64);
	text[198] = 'z';
	assert_true(source_of_address(text, out2).n < 64);
	assert_string_not_equal(out, out2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bucket_gives_its_burst_then_its_rate),
		cmocka_unit_test(a_bucket_never_holds_more_than_its_burst),
		cmocka_unit_test(a_refused_take_takes_nothing),
		cmocka_unit_test(after_the_wait_the_tokens_are_there),
		cmocka_unit_test(what_can_never_be_there_waits_for_ever),
		cmocka_unit_test(a_clock_that_steps_back_gives_nothing),
		cmocka_unit_test(the_ladder_climbs_to_a_ban),
		cmocka_unit_test(a_failure_during_a_ban_starts_it_again),
		cmocka_unit_test(one_failure_is_forgotten_each_300_s),
		cmocka_unit_test(a_success_clears_one_source_alone),
		cmocka_unit_test(a_flood_of_sources_is_bounded_and_drops_the_oldest),
		cmocka_unit_test(a_source_text_of_any_length_works),
		cmocka_unit_test(addresses_have_one_source),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
