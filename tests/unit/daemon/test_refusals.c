#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "daemon/refusals.h"

static uint64_t now = 1000;

static uint64_t now_ms(void *ctx)
{
	return now;
}

static uint64_t wall_ms(void *ctx)
{
	return 1770000000000 + now;
}

static void chance(void *ctx, void *out, size_t n)
{
	randombytes_buf(out, n);
}

static struct env env = { .now_ms = now_ms, .wall_ms = wall_ms, .random = chance };

static struct refusal of(unsigned k, const char *reason)
{
	struct refusal x = { .name = "eve", .where = "192.0.2.7:8765", .what = "what", .next = "ironmesh peers list" };

	snprintf(x.id.hex, sizeof x.id.hex, "%032x", k);
	snprintf(x.reason, sizeof x.reason, "%s", reason);
	return x;
}

static void once_more_is_one_entry(void **state)
{
	struct refusal out[8], x = of(1, "denied");
	struct refusals *r;

	assert_int_equal(refusals_new(&env, &r), ERR_OK);
	assert_true(refusals_add(r, "192.0.2.7", &x));
	now += 50;
	snprintf(x.where, sizeof x.where, "192.0.2.8:1");
	assert_false(refusals_add(r, "192.0.2.7", &x)); /* told a moment ago */
	assert_int_equal(refusals_list(r, out, 8), 1);
	assert_int_equal(out[0].count, 2);
	assert_int_equal(out[0].last_ms - out[0].first_ms, 50);
	assert_string_equal(out[0].where, "192.0.2.8:1");
	/* Another reason, or the other direction, is another entry; the newest comes first. */
	now++;
	x = of(1, "key-changed");
	assert_true(refusals_add(r, "192.0.2.7", &x));
	now++;
	x.dialled = true;
	assert_true(refusals_add(r, "192.0.2.7", &x));
	assert_int_equal(refusals_list(r, out, 8), 3);
	assert_true(out[0].dialled);
	assert_string_equal(out[2].reason, "denied");
	assert_int_equal(refusals_list(r, out, 1), 1);
	assert_int_equal(refusals_total(r), 4);
	now += 60000;
	x = of(1, "denied");
	assert_true(refusals_add(r, "192.0.2.7", &x));
	refusals_forget(r, &x.id);
	assert_int_equal(refusals_count(r), 0);
	assert_int_equal(refusals_total(r), 5);
	refusals_free(r);
}

static void one_source_has_an_eighth(void **state)
{
	static struct refusal out[REFUSALS_MAX + 10];
	struct refusal x = of(1, "denied");
	struct refusals *r;
	size_t n, theirs = 0;

	assert_int_equal(refusals_new(&env, &r), ERR_OK);
	assert_true(refusals_add(r, "198.51.100.1", &x));
	for (unsigned k = 2; k < 5000; k++) {
		now++;
		x = of(k, "denied");
		(void)refusals_add(r, "192.0.2.7", &x);
	}
	n = refusals_list(r, out, REFUSALS_MAX + 10);
	assert_int_equal(n, REFUSALS_MAX / REFUSALS_SHARE + 1);
	assert_string_equal(out[n - 1].id.hex, of(1, "denied").id.hex);
	/* Of his own the oldest went. */
	assert_string_equal(out[0].id.hex, x.id.hex);
	for (unsigned s = 0; s < 40; s++) {
		char source[20];

		snprintf(source, sizeof source, "10.0.0.%u", s);
		for (unsigned k = 0; k < 20; k++) {
			now++;
			x = of(100000 + s * 100 + k, "denied");
			(void)refusals_add(r, source, &x);
		}
	}
	n = refusals_list(r, out, REFUSALS_MAX + 10);
	assert_int_equal(n, REFUSALS_MAX);
	assert_int_equal(refusals_count(r), REFUSALS_MAX);
	for (size_t i = 0; i < n; i++)
		theirs += strtoul(out[i].id.hex, NULL, 16) < 5000;
	assert_true(theirs <= REFUSALS_MAX / REFUSALS_SHARE);
	refusals_free(r);
}

static void people_are_told_at_a_pace(void **state)
{
	struct refusals *r;
	unsigned told = 0;

	assert_int_equal(refusals_new(&env, &r), ERR_OK);
	for (unsigned k = 0; k < 1000; k++) {
		struct refusal x = of(k, "denied");

		told += refusals_add(r, "192.0.2.7", &x);
	}
	assert_int_equal(told, 20);
	now += 10000;
	for (unsigned k = 0; k < 1000; k++) {
		struct refusal x = of(5000 + k, "denied");

		told += refusals_add(r, "192.0.2.7", &x);
	}
	assert_int_equal(told, 30);
	refusals_free(r);
}

static void who_said_no_name_is_told_by_where_he_is(void **state)
{
	struct refusal out[4], x = { .where = "192.0.2.7:1", .reason = "auth" };
	struct refusals *r;

	assert_int_equal(refusals_new(&env, &r), ERR_OK);
	(void)refusals_add(r, "192.0.2.7", &x);
	(void)refusals_add(r, "192.0.2.7", &x);
	(void)refusals_add(r, "192.0.2.9", &x);
	assert_int_equal(refusals_list(r, out, 4), 2);
	refusals_forget(r, &x.id); /* nobody */
	assert_int_equal(refusals_count(r), 2);
	refusals_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(once_more_is_one_entry),
		cmocka_unit_test(one_source_has_an_eighth),
		cmocka_unit_test(people_are_told_at_a_pace),
		cmocka_unit_test(who_said_no_name_is_told_by_where_he_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
