#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"

static struct map *make(size_t capacity, size_t per_source, enum map_policy policy)
{
	struct map_opts o = {.capacity = capacity,
			     .per_source = per_source,
			     .value_size = sizeof(int),
			     .policy = policy,
			     .hash_key = "0123456789abcde"};
	struct map *m = map_new(&o);

	assert_non_null(m);
	return m;
}

static struct bytes key(int i)
{
	static char text[4][16];
	static unsigned turn;
	char *p = text[turn++ % 4];

	snprintf(p, 16, "k%d", i);
	return bytes_str(p);
}

static enum err put(struct map *m, int i, uint64_t source)
{
	void *v;
	bool created;
	enum err e = map_put(m, key(i), source, &v, &created);

	if (e == ERR_OK && created) {
		assert_int_equal(*(int *)v, 0); /* new values are zero */
		*(int *)v = i;
	}
	return e;
}

static bool has(struct map *m, int i)
{
	const int *v = map_peek(m, key(i));

	assert_true(!v || *v == i);
	return v != NULL;
}

static void what_was_put_is_found(void **state)
{
	struct map *m = make(5000, 0, MAP_EVICT_LRU);
	void *v;
	bool created;

	assert_null(map_get(m, key(1)));
	assert_false(map_del(m, key(1)));
	for (int i = 0; i < 5000; i++)
		assert_int_equal(put(m, i, (uint64_t)i % 7), ERR_OK);
	assert_int_equal(map_count(m), 5000);
	for (int i = 0; i < 5000; i++)
		assert_int_equal(*(int *)map_get(m, key(i)), i);
	assert_int_equal(map_put(m, key(17), 99, &v, &created), ERR_OK);
	assert_false(created);
	assert_int_equal(*(int *)v, 17);
	for (int i = 0; i < 5000; i += 2)
		assert_true(map_del(m, key(i)));
	assert_int_equal(map_count(m), 2500);
	for (int i = 0; i < 5000; i++)
		assert_int_equal(has(m, i), i % 2);
	assert_int_equal(map_evictions(m), 0);
	map_free(m);
	map_free(NULL);
}

static void keys_are_byte_strings_with_a_limit(void **state)
{
	struct map *m = make(10, 0, MAP_EVICT_LRU);
	uint8_t big[MAP_KEY_MAX + 1] = {0};
	void *v, *w;
	bool created;

	assert_int_equal(map_put(m, bytes_of(big, 0), 0, &v, &created), ERR_OK);
	assert_int_equal(map_put(m, bytes_of(big, 1), 0, &v, &created),
			 ERR_OK); /* "\0" is not "" */
	assert_true(created);
	assert_int_equal(map_put(m, bytes_of(big, MAP_KEY_MAX), 0, &v, &created), ERR_OK);
	assert_int_equal(map_put(m, bytes_of(big, MAP_KEY_MAX + 1), 0, &w, &created), ERR_LIMIT);
	assert_int_equal(map_count(m), 3);
	assert_ptr_equal(map_get(m, bytes_of(big, MAP_KEY_MAX)), v);
	map_free(m);
}

static void a_value_stays_where_it_is_while_others_come_and_go(void **state)
{
	struct map *m = make(3000, 0, MAP_EVICT_LRU);
	int *v;

	put(m, 0, 0);
	v = map_get(m, key(0));
	for (int i = 1; i < 3000; i++)
		put(m, i, 0);
	for (int i = 1; i < 3000; i++)
		map_del(m, key(i));
	assert_ptr_equal(map_get(m, key(0)), v);
	assert_int_equal(*v, 0);
	map_free(m);
}

static void a_set_has_no_values(void **state)
{
	struct map_opts o = {.capacity = 4};
	struct map *m = map_new(&o);
	void *v;
	bool created;

	for (int i = 0; i < 4; i++)
		assert_int_equal(map_put(m, key(i), 0, &v, &created), ERR_OK);
	assert_non_null(map_get(m, key(3)));
	assert_null(map_get(m, key(4)));
	map_free(m);
}

static void a_full_map_evicts_the_least_recently_touched(void **state)
{
	struct map *m = make(4, 0, MAP_EVICT_LRU);

	for (int i = 0; i < 4; i++)
		put(m, i, 0);
	map_get(m, key(0));  /* touches */
	put(m, 1, 0);	     /* so does putting again */
	map_peek(m, key(2)); /* this does not */
	put(m, 4, 0);
	assert_false(has(m, 2));
	put(m, 5, 0);
	assert_false(has(m, 3));
	put(m, 6, 0);
	assert_false(has(m, 0));
	assert_true(has(m, 1) && has(m, 4) && has(m, 5) && has(m, 6));
	assert_int_equal(map_count(m), 4);
	assert_int_equal(map_evictions(m), 3);
	map_free(m);
}

static void the_fullest_source_loses_when_the_map_is_full(void **state)
{
	struct map *m = make(100, 0, MAP_EVICT_LRU);

	for (int i = 0; i < 5; i++)
		put(m, i, 1); /* a quiet source, and the oldest entries of all */
	for (int i = 1000; i < 3000; i++)
		put(m, i, 2); /* a flood */
	for (int i = 0; i < 5; i++)
		assert_true(has(m, i));
	for (int i = 2905; i < 3000; i++)
		assert_true(has(m, i));
	for (int i = 10; i < 15; i++)
		put(m, i, 3); /* a newcomer gets room from the flood, in its order */
	assert_false(has(m, 2909));
	assert_true(has(m, 2910));
	assert_int_equal(map_count(m), 100);
	map_free(m);
}

static void equal_sources_pay_for_themselves(void **state)
{
	struct map *m = make(4, 0, MAP_EVICT_LRU);

	put(m, 1, 1);
	put(m, 2, 1);
	put(m, 3, 2);
	put(m, 4, 2);
	put(m, 5, 2); /* 2 holds as much as 1: it cannot grow at its expense */
	assert_true(has(m, 1) && has(m, 2) && has(m, 4) && has(m, 5));
	assert_false(has(m, 3));
	map_free(m);
}

static void among_single_entries_the_least_recent_goes(void **state)
{
	struct map *m = make(3, 0, MAP_EVICT_LRU);

	put(m, 1, 1);
	put(m, 2, 2);
	put(m, 3, 3);
	map_get(m, key(1));
	put(m, 4, 4);
	assert_false(has(m, 2));
	put(m, 5, 5);
	assert_false(has(m, 3));
	assert_true(has(m, 1));
	map_free(m);
}

static void a_source_never_holds_more_than_its_share(void **state)
{
	struct map *m = make(100, 3, MAP_EVICT_LRU);

	for (int i = 0; i < 50; i++)
		assert_int_equal(put(m, i, 1), ERR_OK);
	assert_int_equal(map_count(m), 3);
	assert_true(has(m, 47) && has(m, 48) && has(m, 49));
	for (int i = 100; i < 103; i++)
		put(m, i, 2);
	assert_int_equal(map_count(m), 6);
	map_del(m, key(48)); /* gives a place back */
	put(m, 200, 1);
	assert_true(has(m, 47) && has(m, 49) && has(m, 200));
	map_free(m);
}

static void a_share_of_one_replaces_its_only_entry(void **state)
{
	struct map *m = make(100, 1, MAP_EVICT_LRU);

	for (int i = 0; i < 10; i++) {
		assert_int_equal(put(m, i, 1), ERR_OK);
		assert_int_equal(map_count(m), 1);
		assert_true(has(m, i));
	}
	map_free(m);
}

static void a_map_of_one_replaces_its_only_entry(void **state)
{
	struct map *m = make(1, 0, MAP_EVICT_LRU);

	for (int i = 0; i < 10; i++) {
		assert_int_equal(put(m, i, (uint64_t)i / 2), ERR_OK);
		assert_int_equal(map_count(m), 1);
		assert_true(has(m, i));
	}
	map_free(m);
}

static void a_refusing_map_evicts_nothing(void **state)
{
	struct map *m = make(4, 2, MAP_REFUSE);

	assert_int_equal(put(m, 1, 1), ERR_OK);
	assert_int_equal(put(m, 2, 1), ERR_OK);
	assert_int_equal(put(m, 3, 1), ERR_FULL); /* its share */
	assert_int_equal(put(m, 1, 1), ERR_OK);	  /* finding is not inserting */
	assert_int_equal(put(m, 4, 2), ERR_OK);
	assert_int_equal(put(m, 5, 3), ERR_OK);
	assert_int_equal(put(m, 6, 4), ERR_FULL); /* everything */
	assert_int_equal(map_count(m), 4);
	assert_int_equal(map_evictions(m), 0);
	map_del(m, key(1));
	assert_int_equal(put(m, 6, 4), ERR_OK);
	map_free(m);
}

struct seen {
	int last, count;
};

static void note_eviction(void *ctx, struct bytes k, void *value)
{
	struct seen *s = ctx;

	s->last = *(int *)value;
	s->count++;
	assert_true(bytes_eq(k, key(s->last)));
}

static void eviction_is_told_and_deletion_is_not(void **state)
{
	struct seen s = {-1, 0};
	struct map_opts o = {
		.capacity = 2, .value_size = sizeof(int), .evicted = note_eviction, .ctx = &s};
	struct map *m = map_new(&o);

	put(m, 1, 0);
	put(m, 2, 0);
	map_del(m, key(1));
	put(m, 3, 0);
	assert_int_equal(s.count, 0);
	put(m, 4, 0);
	assert_int_equal(s.count, 1);
	assert_int_equal(s.last, 2);
	map_clear(m);
	assert_int_equal(map_count(m), 0);
	assert_false(has(m, 3));
	put(m, 5, 0);
	map_free(m);
	assert_int_equal(s.count, 1);
}

static bool keep_odd(void *ctx, struct bytes k, void *value)
{
	++*(int *)ctx;
	return *(int *)value % 2;
}

static void each_visits_all_and_deletes_what_it_is_told(void **state)
{
	struct map *m = make(1000, 0, MAP_EVICT_LRU);
	int visits = 0;

	map_each(m, keep_odd, &visits);
	assert_int_equal(visits, 0);
	for (int i = 0; i < 1000; i++)
		put(m, i, (uint64_t)i % 11);
	map_each(m, keep_odd, &visits);
	assert_int_equal(visits, 1000);
	assert_int_equal(map_count(m), 500);
	map_each(m, keep_odd, &visits);
	assert_int_equal(visits, 1500);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(has(m, i), i % 2);
	map_free(m);
}

/* Long random use against a plain model: the counts and the contents agree, and no source is
 * ever over its share. */
static void random_use_agrees_with_a_plain_model(void **state)
{
	enum { KEYS = 60, SOURCES = 6, CAP = 25, SHARE = 8 };
	struct map *m = make(CAP, SHARE, MAP_EVICT_LRU);
	int owner[KEYS];
	uint64_t used[KEYS], clock = 0;
	uint32_t seed = 7;

	for (int i = 0; i < KEYS; i++)
		owner[i] = -1;
	for (int step = 0; step < 40000; step++) {
		int k, s, count[SOURCES] = {0}, total = 0, victim_source = -1, most = 0, held = 0;

		seed = seed * 1664525 + 1013904223;
		k = (int)(seed >> 8) % KEYS;
		s = (int)((seed >> 20) * (uint64_t)(seed >> 24 & 7) >> 3) % SOURCES;
		for (int i = 0; i < KEYS; i++)
			if (owner[i] >= 0) {
				count[owner[i]]++;
				total++;
			}
		for (int i = 0; i < SOURCES; i++)
			most = count[i] > most ? count[i] : most;
		if ((seed >> 5) % 8 == 0) {
			assert_int_equal(map_del(m, key(k)), owner[k] >= 0);
			owner[k] = -1;
		} else if ((seed >> 5) % 8 < 4) {
			assert_int_equal(map_get(m, key(k)) != NULL, owner[k] >= 0);
			used[k] = ++clock;
		} else {
			int before[KEYS];
			int gone = -1;

			memcpy(before, owner, sizeof(before));
			assert_int_equal(put(m, k, (uint64_t)s), ERR_OK);
			used[k] = ++clock;
			if (owner[k] < 0) {
				owner[k] = s;
				if (count[s] >= SHARE)
					victim_source = s;
				else if (total >= CAP && count[s] == most)
					victim_source = s;
				held = count[s] >= SHARE || total >= CAP;
			}
			for (int i = 0; i < KEYS; i++)
				if (before[i] >= 0 && !has(m, i)) {
					assert_int_equal(gone, -1); /* at most one goes */
					gone = i;
				}
			assert_int_equal(gone >= 0, held);
			if (gone >= 0) {
				if (victim_source >= 0)
					assert_int_equal(before[gone], victim_source);
				assert_int_equal(count[before[gone]],
						 count[s] >= SHARE ? count[s] : most);
				for (int i = 0; i < KEYS; i++) /* the oldest of its source */
					if (before[i] == before[gone])
						assert_true(used[gone] <= used[i]);
				owner[gone] = -1;
			}
		}
		total = 0;
		for (int i = 0; i < KEYS; i++) {
			assert_int_equal(has(m, i), owner[i] >= 0);
			total += owner[i] >= 0;
		}
		assert_int_equal(map_count(m), total);
	}
	map_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_put_is_found),
		cmocka_unit_test(keys_are_byte_strings_with_a_limit),
		cmocka_unit_test(a_value_stays_where_it_is_while_others_come_and_go),
		cmocka_unit_test(a_set_has_no_values),
		cmocka_unit_test(a_full_map_evicts_the_least_recently_touched),
		cmocka_unit_test(the_fullest_source_loses_when_the_map_is_full),
		cmocka_unit_test(equal_sources_pay_for_themselves),
		cmocka_unit_test(among_single_entries_the_least_recent_goes),
		cmocka_unit_test(a_source_never_holds_more_than_its_share),
		cmocka_unit_test(a_share_of_one_replaces_its_only_entry),
		cmocka_unit_test(a_map_of_one_replaces_its_only_entry),
		cmocka_unit_test(a_refusing_map_evicts_nothing),
		cmocka_unit_test(eviction_is_told_and_deletion_is_not),
		cmocka_unit_test(each_visits_all_and_deletes_what_it_is_told),
		cmocka_unit_test(random_use_agrees_with_a_plain_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
