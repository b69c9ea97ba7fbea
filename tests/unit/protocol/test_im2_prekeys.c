#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <sodium.h>

#include "base/secret.h"
#include "protocol/im2/seal.h"
#include "tests/lib/protocol_env.h"

#define HOUR 3600000ull
#define DAY  (24 * HOUR)

/* The disk: what was saved last. */
struct world {
	struct penv env;
	struct keyring *keyring;
	struct im2_prekeys_config c;
	struct im2_prekeys *p;
	struct im2_prekey disk[IM2_PREKEYS_MAX];
	size_t disk_n, saves;
	bool broken;
	uint64_t running_ms;
	bool changed;
};

static enum err save(void *ctx, const struct im2_prekey *keys, size_t n)
{
	struct world *w = ctx;

	if (w->broken)
		return ERR_STORE;
	assert_true(n <= IM2_PREKEYS_MAX);
	memcpy(w->disk, keys, n * sizeof *keys);
	w->disk_n = n;
	w->saves++;
	return ERR_OK;
}

static uint64_t running(void *ctx)
{
	return ((struct world *)ctx)->running_ms;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	penv_init(&w->env);
	w->keyring = keyring_number(3);
	w->c = (struct im2_prekeys_config){.env = &w->env.env,
					   .keyring = w->keyring,
					   .save = save,
					   .ctx = w,
					   .build_ms = WALL_T - 30 * DAY,
					   .running_ms = running};
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	im2_prekeys_free(w->p);
	keyring_free(w->keyring);
	free(w);
	return 0;
}

static void start(struct world *w)
{
	im2_prekeys_free(w->p);
	w->p = NULL;
	assert_int_equal(im2_prekeys_new(&w->c, w->disk, w->disk_n, &w->p), ERR_OK);
}

static void pass(struct world *w, uint64_t ms)
{
	penv_pass(&w->env, ms);
	w->running_ms += ms;
}

static void tick(struct world *w)
{
	assert_int_equal(im2_prekeys_tick(w->p, &w->changed), ERR_OK);
}

static struct im2_record stated(struct world *w)
{
	struct im2_record r;
	struct im2_prekey_said said;

	assert_int_equal(im2_record_parse(im2_prekeys_record(w->p), &r), IM2_FINE);
	assert_int_equal(im2_record_verify(&r), IM2_FINE);
	assert_int_equal(im2_prekey_of(&r, &said), IM2_FINE);
	const struct im2_prekey *k = im2_prekeys_find(w->p, said.id);
	assert_non_null(k);
	assert_memory_equal(k->pub, said.x25519, 32);
	assert_int_equal(k->gen, r.gen);
	return r;
}

static void a_prekey_is_on_disk_before_its_record(void **state)
{
	struct world *w = *state;

	start(w);
	assert_int_equal(im2_prekeys_record(w->p).n, 0);
	w->broken = true;
	assert_int_equal(im2_prekeys_tick(w->p, &w->changed), ERR_STORE);
	assert_false(w->changed);
	assert_int_equal(im2_prekeys_record(w->p).n, 0);
	assert_true(im2_prekeys_deadline_ms(w->p) >
		    w->env.now_ms); /* no busy loop on a full disk */
	w->broken = false;
	tick(w);
	assert_true(w->changed);
	assert_int_equal(w->disk_n, 1);
	struct im2_record r = stated(w);
	assert_int_equal(r.life_s, 86400);
	assert_int_equal(r.issued_ms, WALL_T);
	assert_memory_equal(w->disk[0].id, im2_prekeys_find(w->p, w->disk[0].id)->id, 4);
	uint8_t pub[32];
	crypto_scalarmult_base(pub, w->disk[0].secret);
	assert_memory_equal(pub, w->disk[0].pub, 32);
	tick(w);
	assert_false(w->changed);
	assert_int_equal(w->saves, 1);
}

static void a_new_one_every_six_hours_and_each_erased_in_time(void **state)
{
	struct world *w = *state;
	uint8_t first[4];
	uint64_t gen = 0, erased = 0;

	start(w);
	tick(w);
	memcpy(first, w->disk[0].id, 4);
	for (unsigned i = 1; i <= 20; i++) {
		uint64_t before = stated(w).gen;

		assert_int_equal(im2_prekeys_deadline_ms(w->p), w->env.now_ms + 6 * HOUR);
		pass(w, 6 * HOUR - 1);
		tick(w);
		assert_false(w->changed);
		pass(w, 1);
		tick(w);
		assert_true(w->changed);
		gen = stated(w).gen;
		assert_int_equal(gen, before + 1);
		assert_true(w->disk_n <= 9);
		if (!erased && !im2_prekeys_find(w->p, first))
			erased = i * 6 * HOUR;
	}
	assert_int_equal(erased, 2 * DAY); /* issued + life + a day */
	for (size_t i = 0; i < w->disk_n; i++)
		assert_memory_not_equal(w->disk[i].id, first, 4);
}

static void erasure_needs_no_tick_to_be_true_and_no_luck_to_reach_the_disk(void **state)
{
	struct world *w = *state;
	uint8_t id[4];

	start(w);
	tick(w);
	memcpy(id, w->disk[0].id, 4);
	pass(w, 2 * DAY - 1);
	assert_non_null(im2_prekeys_find(w->p, id));
	pass(w, 1);
	assert_null(im2_prekeys_find(w->p, id));
	w->broken = true;
	assert_int_equal(im2_prekeys_tick(w->p, &w->changed), ERR_STORE);
	assert_null(im2_prekeys_find(w->p, id));
	w->broken = false;
	tick(w);
	assert_int_equal(w->disk_n, 1);
	assert_memory_not_equal(w->disk[0].id, id, 4);
}

static void radio_keeps_them_for_a_week_and_a_week(void **state)
{
	struct world *w = *state;
	uint8_t first[4];

	w->c.radio = true;
	start(w);
	tick(w);
	assert_int_equal(stated(w).life_s, 604800);
	memcpy(first, w->disk[0].id, 4);
	for (unsigned i = 1; i <= 30; i++) {
		pass(w, DAY);
		tick(w);
		assert_true(w->changed);
		assert_true(w->disk_n <= IM2_PREKEYS_MAX);
		assert_int_equal(im2_prekeys_find(w->p, first) != NULL, i < 14);
	}
}

static void a_restart_goes_on_with_the_same_record(void **state)
{
	struct world *w = *state;
	uint8_t before[512];

	start(w);
	tick(w);
	pass(w, 6 * HOUR);
	tick(w);
	struct bytes r = im2_prekeys_record(w->p);
	memcpy(before, r.p, r.n);
	size_t n = r.n;
	pass(w, HOUR);
	start(w);
	assert_true(im2_prekeys_deadline_ms(w->p) <= w->env.now_ms);
	tick(w);
	assert_true(w->changed); /* the first time after a start it is news */
	r = im2_prekeys_record(w->p);
	assert_int_equal(r.n, n);
	assert_memory_equal(r.p, before, n);
	assert_int_equal(w->saves, 2);
	assert_int_equal(im2_prekeys_deadline_ms(w->p), w->env.now_ms + 5 * HOUR);
	assert_non_null(im2_prekeys_find(w->p, w->disk[1].id)); /* the older one opens too */
}

static void no_wall_clock_erases_a_key(void **state)
{
	struct world *w = *state;
	uint8_t id[4];

	start(w);
	tick(w);
	memcpy(id, w->disk[0].id, 4);
	w->env.wall_ms += 365 * DAY;
	tick(w);
	assert_false(w->changed);
	assert_non_null(im2_prekeys_find(w->p, id));
	w->env.wall_ms = 1000; /* implausible: what is made now says 0 */
	pass(w, 6 * HOUR);
	tick(w);
	assert_true(w->changed);
	assert_int_equal(stated(w).issued_ms, 0);
	assert_non_null(im2_prekeys_find(w->p, id));
}

static void without_running_time_the_wall_clock_serves(void **state)
{
	struct world *w = *state;

	w->c.running_ms = NULL;
	start(w);
	tick(w);
	assert_int_equal(w->disk[0].erase_ms, WALL_T + 2 * DAY);
	w->env.wall_ms -= DAY; /* made in the future: by another clock */
	tick(w);
	assert_true(w->changed);
	tick(w);
	assert_false(w->changed);
	assert_int_equal(w->disk_n, 2);
}

static void behind_a_record_of_ours_we_jump_over_it(void **state)
{
	struct world *w = *state;

	start(w);
	tick(w);
	uint64_t gen = stated(w).gen;
	assert_int_equal(im2_prekeys_behind(w->p, gen - 1), ERR_OK);
	assert_int_equal(stated(w).gen, gen); /* we are not */
	assert_int_equal(im2_prekeys_behind(w->p, gen), ERR_OK);
	assert_int_equal(stated(w).gen, gen + 1);
	assert_int_equal(im2_prekeys_behind(w->p, gen + 50), ERR_OK);
	assert_int_equal(stated(w).gen, gen + 51);
	assert_int_equal(w->disk_n, 3);
	assert_int_equal(w->disk[0].gen, gen + 51); /* on disk first */
	w->broken = true;
	assert_int_equal(im2_prekeys_behind(w->p, gen + 60), ERR_STORE);
	assert_int_equal(stated(w).gen, gen + 51);
	w->broken = false;
	/* many such records push out old keys, never the table */
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(im2_prekeys_behind(w->p, stated(w).gen), ERR_OK);
	assert_int_equal(w->disk_n, IM2_PREKEYS_MAX);
	start(w);
	tick(w);
	assert_int_equal(stated(w).gen, gen + 91);
}

static void the_last_generation_is_the_last(void **state)
{
	struct world *w = *state;

	start(w);
	tick(w);
	assert_int_equal(im2_prekeys_behind(w->p, IM2_GEN_MAX), ERR_LIMIT);
	assert_int_equal(im2_prekeys_behind(w->p, IM2_GEN_MAX - 1), ERR_OK);
	assert_int_equal(stated(w).gen, IM2_GEN_MAX);
	pass(w, 6 * HOUR);
	tick(w); /* due, and impossible */
	assert_false(w->changed);
	assert_true(im2_prekeys_deadline_ms(w->p) > w->env.now_ms);
	pass(w, 3 * DAY);
	tick(w);
	assert_int_equal(w->disk_n, 0);
	assert_int_equal(im2_prekeys_deadline_ms(w->p), UINT64_MAX);
}

static void another_profile_makes_a_new_one(void **state)
{
	struct world *w = *state;

	start(w);
	tick(w);
	w->c.radio = true;
	start(w);
	tick(w);
	assert_true(w->changed);
	assert_int_equal(stated(w).life_s, 604800);
	assert_int_equal(w->disk_n, 2);
}

static void ids_are_not_zero_and_not_taken(void **state)
{
	static const uint8_t random[] = {0, 0, 0, 0, 1, 2, 3, 4};
	struct world *w = *state;

	start(w);
	w->env.script = random;
	w->env.script_left = sizeof random;
	tick(w);
	assert_memory_equal(w->disk[0].id, random + 4, 4);
	pass(w, 6 * HOUR);
	w->env.script = random + 4;
	w->env.script_left = 4;
	tick(w);
	assert_int_equal(w->disk_n, 2);
	assert_memory_not_equal(w->disk[0].id, random + 4, 4);
	assert_false(is_zero(w->disk[0].id, 4));
	struct im2_prekey many[IM2_PREKEYS_MAX + 1] = {{{0}}};
	struct im2_prekeys *p;
	assert_int_equal(im2_prekeys_new(&w->c, many, IM2_PREKEYS_MAX + 1, &p), ERR_LIMIT);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_prekey_is_on_disk_before_its_record),
		TEST(a_new_one_every_six_hours_and_each_erased_in_time),
		TEST(erasure_needs_no_tick_to_be_true_and_no_luck_to_reach_the_disk),
		TEST(radio_keeps_them_for_a_week_and_a_week),
		TEST(a_restart_goes_on_with_the_same_record),
		TEST(no_wall_clock_erases_a_key),
		TEST(without_running_time_the_wall_clock_serves),
		TEST(behind_a_record_of_ours_we_jump_over_it),
		TEST(the_last_generation_is_the_last),
		TEST(another_profile_makes_a_new_one),
		TEST(ids_are_not_zero_and_not_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
