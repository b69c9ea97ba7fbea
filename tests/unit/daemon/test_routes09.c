#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/wire.h"
#include "daemon/routes09.h"

/* The table of an old mesh alone: who takes over from whom, what is told, what is measured. */
struct table {
	struct routes09 *t;
	uint64_t now;
	unsigned changes;
};

static struct node_id id_of(unsigned n)
{
	struct node_id id;

	snprintf(id.hex, sizeof id.hex, "%032x", n);
	return id;
}

static void changed(void *ctx, const struct node_id *to)
{
	((struct table *)ctx)->changes++;
}

static struct table *table_sized(size_t destinations, size_t per_neighbour)
{
	struct table *x = calloc(1, sizeof *x);
	struct routes09_config c = { .changed = changed, .ctx = x, .destinations = destinations, .per_neighbour = per_neighbour };

	x->now = 1000000;
	x->t = routes09_new(&c);
	assert_non_null(x->t);
	return x;
}

static void table_free(struct table *x)
{
	routes09_free(x->t);
	free(x);
}

static void up(struct table *x, unsigned via)
{
	struct node_id v = id_of(via);

	assert_int_equal(routes09_up(x->t, &v, x->now), ERR_OK);
}

static void down(struct table *x, unsigned via)
{
	struct node_id v = id_of(via);

	routes09_down(x->t, &v, x->now);
}

static enum err hear(struct table *x, unsigned via, unsigned to, unsigned cost)
{
	struct node_id v = id_of(via), d = id_of(to);

	return routes09_hear(x->t, &v, &d, cost, x->now);
}

static bool is_one(void *ctx, const struct node_id *via)
{
	struct node_id not_this = id_of(*(unsigned *)ctx);

	return node_id_eq(via, &not_this);
}

/* The number of the next hop, 0 for none. */
static unsigned next_but(struct table *x, unsigned to, unsigned not_this)
{
	struct node_id d = id_of(to), via;

	if (!routes09_next(x->t, &d, is_one, &not_this, x->now, &via))
		return 0;
	return (unsigned)strtoul(via.hex, NULL, 16);
}

static unsigned next(struct table *x, unsigned to)
{
	return next_but(x, to, 0);
}

struct told {
	unsigned to, found, cost, n;
};

static void note(void *ctx, const struct route09_entry *e)
{
	struct told *t = ctx;
	struct node_id id = id_of(t->to);

	t->n++;
	if (node_id_eq(&e->to, &id)) {
		t->found++;
		t->cost = e->cost;
	}
}

/* What `who` is told of `to`; 99: nothing. */
static unsigned told(struct table *x, unsigned who, unsigned to, bool withdrawn)
{
	struct node_id w = id_of(who);
	struct told t = { .to = to };

	routes09_tell(x->t, &w, withdrawn, note, &t, x->now);
	assert_true(t.found <= 1);
	return t.found ? t.cost : 99;
}

static void neighbours_are_one_away(void **state)
{
	struct table *x = table_sized(0, 0);

	assert_int_equal(hear(x, 1, 5, 1), ERR_WRONG_STATE);
	up(x, 1);
	assert_int_equal(next(x, 1), 1);
	assert_int_equal(told(x, 2, 1, false), 1);
	assert_int_equal(told(x, 1, 1, false), 99); /* to itself nothing of it */
	/* Whatever it says of itself. */
	assert_int_equal(hear(x, 1, 1, 7), ERR_OK);
	assert_int_equal(told(x, 2, 1, false), 1);
	down(x, 1);
	assert_int_equal(next(x, 1), 0);
	table_free(x);
}

static void strictly_nearer_takes_over_and_equal_does_not(void **state)
{
	struct table *x = table_sized(0, 0);

	up(x, 1);
	up(x, 2);
	assert_int_equal(hear(x, 1, 9, 3), ERR_OK);
	assert_int_equal(next(x, 9), 1);
	assert_int_equal(hear(x, 2, 9, 3), ERR_OK);
	assert_int_equal(next(x, 9), 1);
	assert_int_equal(hear(x, 2, 9, 2), ERR_OK);
	assert_int_equal(next(x, 9), 2);
	assert_int_equal(told(x, 1, 9, false), 3);
	assert_int_equal(told(x, 2, 9, false), 16); /* poisoned reverse */
	assert_int_equal(hear(x, 1, 9, 2), ERR_OK);
	assert_int_equal(next(x, 9), 2);
	table_free(x);
}

static void its_own_neighbour_is_overwritten_better_or_worse(void **state)
{
	struct table *x = table_sized(0, 0);

	up(x, 1);
	assert_int_equal(hear(x, 1, 9, 3), ERR_OK);
	assert_int_equal(told(x, 2, 9, false), 4);
	assert_int_equal(hear(x, 1, 9, 6), ERR_OK);
	assert_int_equal(told(x, 2, 9, false), 7);
	assert_int_equal(hear(x, 1, 9, 1), ERR_OK);
	assert_int_equal(told(x, 2, 9, false), 2);
	assert_int_equal(hear(x, 1, 9, 14), ERR_OK);
	assert_int_equal(told(x, 2, 9, false), 15);
	assert_int_equal(hear(x, 1, 9, 15), ERR_OK); /* 16 is infinity */
	assert_int_equal(next(x, 9), 0);
	table_free(x);
}

static void withdrawal_of_another_changes_nothing(void **state)
{
	struct table *x = table_sized(0, 0);

	up(x, 1);
	up(x, 2);
	assert_int_equal(hear(x, 1, 9, 3), ERR_OK);
	routes09_told(x->t);
	assert_int_equal(hear(x, 2, 9, 16), ERR_OK);
	assert_int_equal(next(x, 9), 1);
	assert_false(routes09_untold(x->t));
	assert_int_equal(hear(x, 1, 9, 16), ERR_OK);
	assert_int_equal(next(x, 9), 0);
	assert_true(routes09_untold(x->t));
	assert_int_equal(told(x, 2, 9, true), 16);
	routes09_told(x->t);
	assert_false(routes09_untold(x->t));
	assert_int_equal(told(x, 2, 9, true), 99);
	table_free(x);
}

/* What comes back of our own words, longer and longer, is not believed for 30 s. */
static void counting_to_infinity_is_held_down(void **state)
{
	struct table *x = table_sized(0, 0);

	up(x, 1);
	up(x, 2);
	assert_int_equal(hear(x, 1, 9, 1), ERR_OK); /* we tell 2 */
	assert_int_equal(hear(x, 1, 9, 16), ERR_OK);
	assert_int_equal(hear(x, 2, 9, 3), ERR_OK); /* 2 has it of us, by a third one: 2 + 1 */
	assert_int_equal(next(x, 9), 0);
	assert_int_equal(told(x, 1, 9, false), 16);
	x->now += ROUTES09_HOLD_MS - 1;
	assert_int_equal(hear(x, 2, 9, 3), ERR_OK);
	assert_int_equal(next(x, 9), 0);
	x->now += 1;
	assert_int_equal(hear(x, 2, 9, 3), ERR_OK);
	assert_int_equal(next(x, 9), 2);
	table_free(x);
}

static void alternative_that_cannot_lead_through_us_takes_over_at_once(void **state)
{
	struct table *x = table_sized(0, 0);

	up(x, 1);
	up(x, 2);
	assert_int_equal(hear(x, 1, 9, 2), ERR_OK); /* 3 from here */
	assert_int_equal(hear(x, 2, 9, 3), ERR_OK); /* nobody who had it of us could be at 3 */
	assert_int_equal(next(x, 9), 1);
	routes09_told(x->t);
	assert_int_equal(hear(x, 1, 9, 16), ERR_OK);
	assert_int_equal(next(x, 9), 2);
	assert_int_equal(told(x, 2, 9, true), 16); /* poisoned for 2 now, */
	assert_int_equal(told(x, 1, 9, true), 4);  /* and not for 1 */
	/* The same when the neighbour goes. */
	assert_int_equal(hear(x, 1, 9, 2), ERR_OK);
	assert_int_equal(next(x, 9), 1);
	down(x, 1);
	assert_int_equal(next(x, 9), 2);
	table_free(x);
}

static void routes_live_90_seconds(void **state)
{
	struct table *x = table_sized(0, 0);

	up(x, 1);
	assert_int_equal(hear(x, 1, 9, 2), ERR_OK);
	assert_int_equal(told(x, 2, 9, true), 3);
	routes09_told(x->t);
	assert_int_equal(told(x, 2, 9, true), 99);
	x->now += ROUTES09_LIFE_MS - 1;
	(void)routes09_sweep(x->t, x->now);
	assert_int_equal(next(x, 9), 1);
	x->now += 1;
	assert_int_equal(next(x, 9), 0);
	(void)routes09_sweep(x->t, x->now);
	assert_true(routes09_untold(x->t));
	assert_int_equal(next(x, 1), 1); /* it is still there itself */
	routes09_told(x->t);
	x->now += ROUTES09_HOLD_MS;
	(void)routes09_sweep(x->t, x->now);
	assert_int_equal(routes09_count(x->t), 1);
	table_free(x);
}

static void what_it_said_counts_again_when_its_session_is_back(void **state)
{
	struct table *x = table_sized(0, 0);

	up(x, 1);
	assert_int_equal(hear(x, 1, 9, 2), ERR_OK);
	routes09_told(x->t);
	down(x, 1);
	assert_int_equal(next(x, 9), 0);
	assert_int_equal(told(x, 2, 9, true), 16);
	x->now += ROUTES09_FLAP_MS;
	up(x, 1);
	assert_int_equal(next(x, 9), 1);
	assert_int_equal(told(x, 2, 9, false), 3);
	down(x, 1);
	x->now += ROUTES09_FLAP_MS + 1;
	up(x, 1);
	assert_int_equal(next(x, 9), 0);
	table_free(x);
}

static void nobody_is_at_distance_0_from_another(void **state)
{
	struct table *x = table_sized(0, 0);

	up(x, 1);
	assert_int_equal(hear(x, 1, 9, 0), ERR_DENIED);
	assert_int_equal(next(x, 9), 0);
	assert_int_equal(hear(x, 1, 9, 1), ERR_OK);
	assert_int_equal(hear(x, 1, 9, 0), ERR_DENIED); /* and what it had said before goes */
	assert_int_equal(next(x, 9), 0);
	table_free(x);
}

static void neighbour_fills_its_share_and_no_more(void **state)
{
	struct table *x = table_sized(100, 10);

	up(x, 1);
	up(x, 2);
	for (unsigned i = 0; i < 9; i++)
		assert_int_equal(hear(x, 1, 100 + i, 1), ERR_OK);
	assert_int_equal(hear(x, 1, 200, 1), ERR_FULL); /* itself is one of the ten */
	assert_int_equal(hear(x, 2, 200, 1), ERR_OK);
	/* What it takes back makes room. */
	assert_int_equal(hear(x, 1, 100, 16), ERR_OK);
	assert_int_equal(hear(x, 1, 201, 1), ERR_OK);
	assert_int_equal(hear(x, 1, 202, 1), ERR_FULL);
	table_free(x);
}

static void table_is_bounded(void **state)
{
	struct table *x = table_sized(20, 1000);

	up(x, 1);
	for (unsigned i = 0; i < 19; i++)
		assert_int_equal(hear(x, 1, 100 + i, 1), ERR_OK);
	assert_int_equal(hear(x, 1, 300, 1), ERR_FULL);
	assert_int_equal(routes09_count(x->t), 20);
	table_free(x);
}

static void three_ways_are_remembered_and_the_farthest_goes(void **state)
{
	struct table *x = table_sized(0, 0);

	for (unsigned i = 1; i <= 5; i++)
		up(x, i);
	assert_int_equal(hear(x, 1, 9, 4), ERR_OK);
	assert_int_equal(hear(x, 2, 9, 7), ERR_OK);
	assert_int_equal(hear(x, 3, 9, 6), ERR_OK);
	assert_int_equal(hear(x, 4, 9, 5), ERR_OK);
	assert_int_equal(next(x, 9), 1);
	assert_int_equal(next_but(x, 9, 1), 4);
	assert_int_equal(hear(x, 5, 9, 2), ERR_OK);
	assert_int_equal(next(x, 9), 5);
	down(x, 5);
	assert_int_equal(next(x, 9), 0); /* 5, held down: the rest is farther than we were */
	table_free(x);
}

static bool unanswered(struct table *x, unsigned to, unsigned via, bool *all)
{
	struct node_id d = id_of(to), v = id_of(via);

	return routes09_unanswered(x->t, &d, &v, x->now, all);
}

static void way_without_receipts_is_avoided(void **state)
{
	struct table *x = table_sized(0, 0);
	struct node_id d = id_of(9), v = id_of(1);
	bool all;

	up(x, 1);
	up(x, 2);
	assert_int_equal(hear(x, 1, 9, 1), ERR_OK); /* nearer, and swallows */
	assert_int_equal(hear(x, 2, 9, 4), ERR_OK);
	assert_int_equal(next(x, 9), 1);
	assert_false(unanswered(x, 9, 1, &all));
	assert_false(unanswered(x, 9, 1, &all));
	assert_true(unanswered(x, 9, 1, &all));
	assert_false(all);
	assert_int_equal(next(x, 9), 2);
	assert_int_equal(next_but(x, 9, 2), 1); /* with nothing else it is used */
	assert_int_equal(told(x, 3, 9, false), 16); /* and told to nobody */
	/* Taking it back and telling it again clears nothing. */
	assert_int_equal(hear(x, 1, 9, 16), ERR_OK);
	x->now += ROUTES09_HOLD_MS;
	assert_int_equal(hear(x, 2, 9, 4), ERR_OK);
	assert_int_equal(hear(x, 1, 9, 1), ERR_OK);
	assert_int_equal(next(x, 9), 2);
	x->now += ROUTES09_PENALTY_MS;
	assert_int_equal(hear(x, 2, 9, 4), ERR_OK);
	assert_int_equal(hear(x, 1, 9, 1), ERR_OK);
	assert_int_equal(next(x, 9), 1);
	assert_true(unanswered(x, 9, 1, &all)); /* one more, and twice as long */
	x->now += ROUTES09_PENALTY_MS + 1;
	assert_int_equal(hear(x, 2, 9, 4), ERR_OK);
	assert_int_equal(hear(x, 1, 9, 1), ERR_OK);
	assert_int_equal(next(x, 9), 2);
	routes09_delivered(x->t, &d, &v, x->now);
	assert_int_equal(next(x, 9), 1);
	table_free(x);
}

static void neighbour_that_swallows_everything_is_avoided_for_all(void **state)
{
	struct table *x = table_sized(0, 0);
	bool all = false;
	unsigned k;

	up(x, 1);
	up(x, 2);
	for (unsigned to = 10; to < 20; to++) {
		assert_int_equal(hear(x, 1, to, 1), ERR_OK);
		assert_int_equal(hear(x, 2, to, 3), ERR_OK);
	}
	for (k = 0; k < 10 && !all; k++)
		(void)unanswered(x, 10 + k, 1, &all);
	assert_int_equal(k, ROUTES09_NEIGHBOUR_UNANSWERED);
	for (unsigned to = 10; to < 20; to++)
		assert_int_equal(next(x, to), 2);
	assert_int_equal(next(x, 1), 1); /* to itself it stays the way */
	table_free(x);
}

static void breaker_opens_after_three_errors_in_a_minute(void **state)
{
	struct table *x = table_sized(0, 0);
	struct node_id v = id_of(1);

	up(x, 1);
	assert_false(routes09_broken(x->t, &v, x->now));
	assert_false(routes09_broken(x->t, &v, x->now));
	x->now += ROUTES09_BREAKER_MS;
	assert_false(routes09_broken(x->t, &v, x->now));
	assert_false(routes09_broken(x->t, &v, x->now));
	assert_true(routes09_broken(x->t, &v, x->now));
	assert_int_equal(next(x, 1), 0);
	x->now += ROUTES09_BREAKER_MS;
	(void)routes09_sweep(x->t, x->now);
	assert_int_equal(next(x, 1), 1);
	table_free(x);
}

static void changes_are_told_when_a_way_appears(void **state)
{
	struct table *x = table_sized(0, 0);

	up(x, 1);
	assert_int_equal(x->changes, 1);
	assert_int_equal(hear(x, 1, 9, 1), ERR_OK);
	assert_int_equal(x->changes, 2);
	assert_int_equal(hear(x, 1, 9, 1), ERR_OK);
	assert_int_equal(x->changes, 2);
	down(x, 1);
	up(x, 1);
	assert_int_equal(x->changes, 4);
	table_free(x);
}

/* Four nodes of ours that tell each other, in a line, then cut: nobody counts to infinity for longer than a hold. */
static void line_of_tables_converges_and_forgets(void **state)
{
	enum { N = 4 };
	struct table *x[N + 1];
	unsigned rounds;

	for (unsigned i = 1; i <= N; i++)
		x[i] = table_sized(0, 0);
	for (unsigned i = 1; i < N; i++) {
		up(x[i], i + 1);
		up(x[i + 1], i);
	}
	for (rounds = 0; rounds < 3; rounds++)
		for (unsigned i = 1; i <= N; i++)
			for (unsigned k = 1; k <= N; k++)
				for (unsigned d = 1; (k == i + 1 || i == k + 1) && d <= N; d++) {
					unsigned cost = d == i ? 0 : told(x[i], k, d, false);

					if (cost != 99 && d != k)
						(void)hear(x[k], i, d, cost);
				}
	assert_int_equal(next(x[1], 4), 2);
	assert_int_equal(next(x[2], 4), 3);
	assert_int_equal(told(x[1], 9, 4, false), 3);
	down(x[3], 4);
	for (rounds = 0; rounds < 3; rounds++)
		for (unsigned i = 1; i < N; i++)
			for (unsigned k = 1; k < N; k++)
				if (k == i + 1 || i == k + 1)
					(void)hear(x[k], i, 4, told(x[i], k, 4, false) == 99 ? 16 : told(x[i], k, 4, false));
	for (unsigned i = 1; i < N; i++)
		assert_int_equal(next(x[i], 4), 0);
	for (unsigned i = 1; i <= N; i++)
		table_free(x[i]);
}

static bool collect(void *ctx, const struct route09_entry *e)
{
	struct route09_entry **at = ctx;

	*(*at)++ = *e;
	return true;
}

static enum err read_text(const char *text, struct route09_entry *out, size_t *n)
{
	struct route09_entry *at = out;
	enum err e = route_announce_read(bytes_str(text), collect, &at);

	*n = (size_t)(at - out);
	return e;
}

/* The payload of the vectors (wire 11.8). */
static void announcement_is_written_as_the_vector(void **state)
{
	static const char want[] =
		"{\"origin\":\"139e3940e64b5491722088d9a0d74162\",\"routes\":[{\"destination\":"
		"\"139e3940e64b5491722088d9a0d74162\",\"cost\":0},{\"destination\":\"28fff9342c7030d3d899cc9e7bc11878\",\"cost\":1},"
		"{\"destination\":\"1ba145aa2ed6fa01ea237b28e569dbb6\",\"cost\":16}],\"sequence_number\":1}";
	struct node_id self;
	struct route09_entry e[2] = { { .cost = 1 }, { .cost = 16 } }, got[8];
	struct buf b;
	size_t n;

	assert_int_equal(node_id_parse(BYTES_LIT("139e3940e64b5491722088d9a0d74162"), &self), ERR_OK);
	assert_int_equal(node_id_parse(BYTES_LIT("28fff9342c7030d3d899cc9e7bc11878"), &e[0].to), ERR_OK);
	assert_int_equal(node_id_parse(BYTES_LIT("1ba145aa2ed6fa01ea237b28e569dbb6"), &e[1].to), ERR_OK);
	buf_init(&b, 4096);
	route_announce_write(&b, &self, e, 2, 1);
	assert_int_equal(b.n, strlen(want));
	assert_memory_equal(b.p, want, b.n);
	buf_fini(&b);
	assert_int_equal(read_text(want, got, &n), ERR_OK);
	assert_int_equal(n, 3);
	assert_int_equal(got[0].cost, 0);
	assert_true(node_id_eq(&got[2].to, &e[1].to));
	assert_int_equal(got[2].cost, 16);
}

static void announcement_skips_what_old_receivers_skip(void **state)
{
	struct route09_entry got[16];
	size_t n;

	assert_int_equal(read_text("[]", got, &n), ERR_MALFORMED);
	assert_int_equal(read_text("{\"routes\":{}}", got, &n), ERR_MALFORMED);
	assert_int_equal(read_text("{\"routes\":[{\"destination\":\"*\",\"cost\":1},7,null,{\"cost\":1},"
				   "{\"destination\":\"bob\",\"cost\":1},{\"destination\":\"28FFF9342C7030D3D899CC9E7BC11878\",\"cost\":1},"
				   "{\"destination\":\"28fff9342c7030d3d899cc9e7bc11878\",\"cost\":null},"
				   "{\"destination\":\"28fff9342c7030d3d899cc9e7bc11878\",\"cost\":\"x\"}]}", got, &n), ERR_OK);
	assert_int_equal(n, 0);
	assert_int_equal(read_text("{\"routes\":[{\"destination\":\"28fff9342c7030d3d899cc9e7bc11878\"},"
				   "{\"destination\":\"28fff9342c7030d3d899cc9e7bc11878\",\"cost\":2.9},"
				   "{\"destination\":\"28fff9342c7030d3d899cc9e7bc11878\",\"cost\":\"3\"},"
				   "{\"destination\":\"28fff9342c7030d3d899cc9e7bc11878\",\"cost\":-1},"
				   "{\"destination\":\"28fff9342c7030d3d899cc9e7bc11878\",\"cost\":1e300},"
				   "{\"destination\":\"28fff9342c7030d3d899cc9e7bc11878\",\"cost\":9223372036854775807}]}", got, &n), ERR_OK);
	assert_int_equal(n, 6);
	assert_int_equal(got[0].cost, 16);
	assert_int_equal(got[1].cost, 2);
	assert_int_equal(got[2].cost, 3);
	assert_int_equal(got[3].cost, 16);
	assert_int_equal(got[4].cost, 16);
	assert_int_equal(got[5].cost, 16);
}

static void unreachable_is_read_and_written(void **state)
{
	static const char want[] = "{\"destination\":\"28fff9342c7030d3d899cc9e7bc11878\",\"original_msg_id\":\"m-1\",\"reason\":\"no_route\"}";
	struct route_unreachable u;
	struct node_id to;
	struct buf b;

	assert_int_equal(node_id_parse(BYTES_LIT("28fff9342c7030d3d899cc9e7bc11878"), &to), ERR_OK);
	buf_init(&b, 4096);
	route_unreachable_write(&b, &to, BYTES_LIT("m-1"));
	assert_int_equal(b.n, strlen(want));
	assert_memory_equal(b.p, want, b.n);
	assert_int_equal(route_unreachable_read(buf_bytes(&b), &u), ERR_OK);
	assert_string_equal(u.id, "m-1");
	assert_true(node_id_eq(&u.to, &to));
	buf_fini(&b);
	assert_int_equal(route_unreachable_read(BYTES_LIT("{\"destination\":\"bob\",\"original_msg_id\":\"m\"}"), &u), ERR_MALFORMED);
	assert_int_equal(route_unreachable_read(BYTES_LIT("{\"destination\":\"28fff9342c7030d3d899cc9e7bc11878\",\"original_msg_id\":\"\"}"), &u),
			 ERR_MALFORMED);
	assert_int_equal(route_unreachable_read(BYTES_LIT("{\"destination\":\"28fff9342c7030d3d899cc9e7bc11878\",\"original_msg_id\":\"a\\nb\"}"), &u),
			 ERR_MALFORMED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(neighbours_are_one_away),
		cmocka_unit_test(strictly_nearer_takes_over_and_equal_does_not),
		cmocka_unit_test(its_own_neighbour_is_overwritten_better_or_worse),
		cmocka_unit_test(withdrawal_of_another_changes_nothing),
		cmocka_unit_test(counting_to_infinity_is_held_down),
		cmocka_unit_test(alternative_that_cannot_lead_through_us_takes_over_at_once),
		cmocka_unit_test(routes_live_90_seconds),
		cmocka_unit_test(what_it_said_counts_again_when_its_session_is_back),
		cmocka_unit_test(nobody_is_at_distance_0_from_another),
		cmocka_unit_test(neighbour_fills_its_share_and_no_more),
		cmocka_unit_test(table_is_bounded),
		cmocka_unit_test(three_ways_are_remembered_and_the_farthest_goes),
		cmocka_unit_test(way_without_receipts_is_avoided),
		cmocka_unit_test(neighbour_that_swallows_everything_is_avoided_for_all),
		cmocka_unit_test(breaker_opens_after_three_errors_in_a_minute),
		cmocka_unit_test(changes_are_told_when_a_way_appears),
		cmocka_unit_test(line_of_tables_converges_and_forgets),
		cmocka_unit_test(announcement_is_written_as_the_vector),
		cmocka_unit_test(announcement_skips_what_old_receivers_skip),
		cmocka_unit_test(unreachable_is_read_and_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
