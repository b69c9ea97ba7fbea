/* Sealed objects of others, in a real database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "store/transit.h"
#include "tests/lib/store_world.h"

static struct world w;
static struct store *s;
static const struct transit_limits roomy = { .objects_per_from = 1000, .bytes_per_from = 1 << 20, .bytes = 1 << 30 };

static int setup(void **state)
{
	world_init(&w);
	s = world_store(&w, NULL);
	return 0;
}

static int teardown(void **state)
{
	store_close(s);
	world_fini(&w);
	return 0;
}

static struct transit_new object(unsigned n, unsigned to, unsigned from, const char *body)
{
	struct transit_new t = { .to = world_peer(to), .from = world_peer(from), .prio = 1, .ttl_s = 3600, .age_s = 10,
				 .hops = 7, .rt = BYTES_LIT("header"), .body = bytes_str(body) };

	memset(t.rid, 0, sizeof t.rid);
	t.rid[0] = (uint8_t)n;
	t.rid[1] = (uint8_t)(n >> 8);
	return t;
}

static enum err put(unsigned n, unsigned to, unsigned from, const char *body, const struct transit_limits *l)
{
	struct transit_new t = object(n, to, from, body);

	return transit_put(s, l, &t);
}

static void it_comes_back_as_it_went_over_a_restart(void **state)
{
	struct node_id to = world_peer(1), dst[4];
	struct transit_row rows[4];
	struct buf rt, body;
	size_t n;

	assert_int_equal(put(1, 1, 2, "sealed bytes", &roomy), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	w.now_ms += 5000;
	store_close(s);
	s = world_store(&w, NULL);
	assert_int_equal(transit_list(s, &to, NULL, rows, 4, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_true(node_id_eq(&rows[0].to, &to));
	assert_int_equal(rows[0].hops, 7);
	assert_int_equal(rows[0].ttl_s, 3600);
	assert_in_range(rows[0].age_s, 10, 16);
	assert_int_equal(rows[0].body_len, strlen("sealed bytes"));
	buf_init(&rt, 1000);
	buf_init(&body, 1000);
	assert_int_equal(transit_read(s, rows[0].seq, &rt, &body), ERR_OK);
	assert_string_equal(buf_cstr(&rt), "header");
	assert_string_equal(buf_cstr(&body), "sealed bytes");
	assert_int_equal(transit_destinations(s, NULL, dst, 4, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_int_equal(transit_del(s, rows[0].seq), ERR_OK);
	assert_int_equal(transit_list(s, &to, NULL, rows, 4, &n), ERR_OK);
	assert_int_equal(n, 0);
	assert_int_equal(transit_read(s, rows[0].seq, &rt, &body), ERR_NOTFOUND);
	buf_fini(&rt);
	buf_fini(&body);
}

static void quotas_hold_and_are_given_back(void **state)
{
	struct transit_limits l = { .objects_per_from = 2, .bytes_per_from = 40, .bytes = 60 };
	struct transit_row row;
	uint64_t n, bytes;

	assert_int_equal(put(1, 1, 2, "0123456789", &l), ERR_OK);
	assert_int_equal(put(2, 1, 2, "0123456789", &l), ERR_OK);
	assert_int_equal(put(3, 1, 2, "x", &l), ERR_FULL); /* the third of this neighbour */
	assert_int_equal(put(3, 1, 3, "0123456789012345678901234567890123456789", &l), ERR_FULL); /* its bytes */
	assert_int_equal(put(3, 1, 3, "012345678901234567", &l), ERR_OK);
	assert_int_equal(put(4, 1, 4, "x", &l), ERR_FULL); /* of all */
	transit_count(s, &n, &bytes);
	assert_int_equal(n, 3);
	assert_int_equal(bytes, 16 + 16 + 24);
	assert_int_equal(transit_has(s, object(1, 1, 2, "").rid, &row), ERR_OK);
	assert_int_equal(transit_del(s, row.seq), ERR_OK);
	assert_int_equal(put(4, 1, 4, "x", &l), ERR_OK);
	/* A group that is rolled back has used nothing. */
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(put(5, 1, 2, "x", &l), ERR_OK);
	store_rollback(s);
	transit_count(s, &n, &bytes);
	assert_int_equal(n, 3);
	assert_int_equal(put(5, 1, 2, "x", &l), ERR_OK);
}

static void the_smaller_age_stays(void **state)
{
	struct transit_new t = object(1, 1, 2, "b");
	struct transit_row row;

	t.age_s = 600;
	assert_int_equal(transit_put(s, &roomy, &t), ERR_OK);
	t.age_s = 100;
	assert_int_equal(transit_put(s, &roomy, &t), ERR_EXISTS);
	assert_int_equal(transit_has(s, t.rid, &row), ERR_OK);
	assert_int_equal(row.age_s, 100);
	t.age_s = 900;
	assert_int_equal(transit_put(s, &roomy, &t), ERR_EXISTS);
	assert_int_equal(transit_has(s, t.rid, &row), ERR_OK);
	assert_int_equal(row.age_s, 100);
}

static void order_is_priority_then_arrival(void **state)
{
	struct node_id to = world_peer(1);
	struct transit_row rows[8], last;
	struct transit_new t;
	size_t n;

	for (unsigned i = 0; i < 6; i++) {
		t = object(i, 1, 2, "b");
		t.prio = (uint8_t)(i % 2 ? 3 : 0);
		assert_int_equal(transit_put(s, &roomy, &t), ERR_OK);
	}
	assert_int_equal(put(9, 5, 2, "for another", &roomy), ERR_OK);
	assert_int_equal(transit_list(s, &to, NULL, rows, 4, &n), ERR_OK);
	assert_int_equal(n, 4);
	assert_int_equal(rows[0].rid[0], 1);
	assert_int_equal(rows[2].rid[0], 5);
	assert_int_equal(rows[3].rid[0], 0);
	last = rows[3];
	assert_int_equal(transit_del(s, last.seq), ERR_OK); /* it is the mark still */
	assert_int_equal(transit_list(s, &to, &last, rows, 8, &n), ERR_OK);
	assert_int_equal(n, 2);
	assert_int_equal(rows[0].rid[0], 2);
}

static void destinations_come_in_pieces(void **state)
{
	struct node_id dst[3];
	bool seen[8] = { false };
	size_t n, all = 0;

	for (unsigned i = 0; i < 14; i++)
		assert_int_equal(put(i, i % 7, 9, "b", &roomy), ERR_OK);
	assert_int_equal(transit_destinations(s, NULL, dst, 3, &n), ERR_OK);
	while (n) {
		for (size_t i = 0; i < n; i++)
			for (unsigned k = 0; k < 7; k++) {
				struct node_id id = world_peer(k);

				if (node_id_eq(&id, &dst[i])) {
					assert_false(seen[k]);
					seen[k] = true;
				}
			}
		all += n;
		assert_int_equal(transit_destinations(s, &dst[n - 1], dst, 3, &n), ERR_OK);
	}
	assert_int_equal(all, 7);
}

static void what_is_over_goes_by_running_time(void **state)
{
	uint64_t objects, bytes;
	size_t n;

	assert_int_equal(put(1, 1, 2, "b", &roomy), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	w.wall_ms += 100ull * 86400000; /* a wrong clock drops nothing */
	assert_int_equal(transit_expire(s, 10, &n), ERR_OK);
	assert_int_equal(n, 0);
	w.now_ms += 3591 * 1000;
	assert_int_equal(transit_expire(s, 10, &n), ERR_OK);
	assert_int_equal(n, 1);
	transit_count(s, &objects, &bytes);
	assert_int_equal(objects, 0);
	assert_int_equal(bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_comes_back_as_it_went_over_a_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(quotas_hold_and_are_given_back, setup, teardown),
		cmocka_unit_test_setup_teardown(the_smaller_age_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(order_is_priority_then_arrival, setup, teardown),
		cmocka_unit_test_setup_teardown(destinations_come_in_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_over_goes_by_running_time, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
