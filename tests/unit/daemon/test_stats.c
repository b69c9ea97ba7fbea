#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/text.h"
#include "daemon/attention.h"
#include "daemon/stats.h"
#include "tests/lib/daemon_edge.h"

static struct edge e;

static int setup(void **state)
{
	edge_init(&e);
	return 0;
}

static int teardown(void **state)
{
	edge_fini(&e);
	return 0;
}

static void event(const char *type, uint64_t in_ms)
{
	struct node_event ev = {.type = type, .msg_id = "m", .in_ms = in_ms};

	events_observe(e.events, &ev);
}

static int64_t num(const json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

static json_t *samples(const char *range)
{
	char params[40];
	json_t *r, *list;

	snprintf(params, sizeof params, "{\"range\":\"%s\"}", range);
	r = edge_ok(&e, "stats.history", params);
	list = json_incref(json_object_get(r, "samples"));
	json_decref(r);
	return list;
}

static void events_are_counted_in_their_span(void **state)
{
	event("message.queued", 0);
	event("message.queued", 0);
	event("message.sent", 0);
	event("message.stored", 0);
	event("message.delivered", 3);
	event("message.rejected", 0);
	event("message.read", 0);
	event("message.unknown", 0);
	event("inbox.new", 0);
	event("inbox.held", 0);
	event("peer.online", 0);
	edge_sleep(&e, STATS_FINE_MS);
	event("message.queued", 0);
	edge_sleep(&e, STATS_FINE_MS);
	json_t *list = samples("hour"), *x = json_array_get(list, 0);

	assert_int_equal(json_array_size(list), 2);
	assert_int_equal(num(x, "submitted"), 2);
	assert_int_equal(num(x, "sent"), 1);
	assert_int_equal(num(x, "stored"), 1);
	assert_int_equal(num(x, "delivered"), 1);
	assert_int_equal(num(x, "read"), 1);
	assert_int_equal(num(x, "rejected"), 1);
	assert_int_equal(num(x, "received"), 1);
	assert_int_equal(num(x, "held"), 1);
	assert_int_equal(num(json_array_get(list, 1), "submitted"), 1);
	assert_true(json_is_null(json_object_get(json_array_get(list, 1), "p50_ms")));
	json_decref(list);
}

static void rings_hold_an_hour_and_a_day(void **state)
{
	for (int i = 0; i < 3 * 8640; i++) { /* three days */
		event("message.queued", 0);
		edge_sleep(&e, STATS_FINE_MS);
	}
	json_t *hour = samples("hour"), *day = samples("day");

	assert_int_equal(json_array_size(hour), STATS_FINE);
	assert_int_equal(json_array_size(day), STATS_COARSE);
	assert_int_equal(num(json_array_get(day, 0), "submitted"), STATS_COARSE_MS / STATS_FINE_MS);
	for (size_t i = 1; i < STATS_COARSE; i++)
		assert_int_equal(num(json_array_get(day, i), "at_ms") - num(json_array_get(day, i - 1), "at_ms"), STATS_COARSE_MS);
	assert_int_equal(num(json_array_get(hour, STATS_FINE - 1), "at_ms"), num(json_array_get(day, STATS_COARSE - 1), "at_ms"));
	json_decref(hour);
	json_decref(day);
}

static void a_sleep_of_the_machine_is_no_catching_up(void **state)
{
	edge_sleep(&e, 5 * 3600000);
	for (int i = 0; i < 100; i++)
		edge_turn(&e);
	json_t *list = samples("hour");
	assert_int_equal(json_array_size(list), 1);
	json_decref(list);
}

static void quantiles_lie_in_their_buckets(void **state)
{
	struct stats_latency total;
	struct stats_sample x = {0};

	assert_true(stats_quantile(&x, 0.5) < 0);
	x.latency[0] = 50; /* up to 1 ms */
	x.latency[3] = 50; /* 5 to 10 ms */
	assert_true(stats_quantile(&x, 0.25) > 0 && stats_quantile(&x, 0.25) <= 1);
	assert_true(stats_quantile(&x, 0.95) > 5 && stats_quantile(&x, 0.95) <= 10);
	x.latency[STATS_BUCKETS] = 1000; /* beyond all */
	assert_true(stats_quantile(&x, 0.95) == stats_bound_ms(STATS_BUCKETS - 1));
	for (unsigned i = 1; i < STATS_BUCKETS; i++)
		assert_true(stats_bound_ms(i) > stats_bound_ms(i - 1));
	event("message.delivered", 7);
	event("message.delivered", UINT64_MAX);
	event("message.delivered", 0); /* not known */
	stats_latency(e.cx.stats, &total);
	assert_int_equal(total.count, 2);
	assert_int_equal(total.buckets[3], 1);
	assert_int_equal(total.buckets[STATS_BUCKETS], 1);
}

/* --- what needs the operator ------------------------------------------------------------------------------- */
static json_t *item(const char *key)
{
	json_t *r = edge_ok(&e, "attention.list", "{}"), *list = json_object_get(r, "items"), *x, *found = NULL;
	size_t i;

	json_array_foreach (list, i, x) {
		assert_non_null(json_str(x, "kind"));
		assert_non_null(json_str(x, "what"));
		assert_non_null(json_str(x, "severity"));
		assert_non_null(json_str(x, "next"));
		if (strcmp(json_str(x, "key"), key) == 0)
			found = json_incref(x);
	}
	json_decref(r);
	return found;
}

static void what_a_part_sets_is_told_until_it_clears_it(void **state)
{
	struct attention_item x = {.kind = "backup-failed", .key = "nightly", .severity = ATTENTION_ERROR, .what = "no space\x1b[31m",
				   .next = "df -h", .method = "backup.now", .label = "Try now"};

	attention_set(e.cx.attention, &x);
	json_t *is = item("backup-failed:nightly");
	assert_non_null(is);
	assert_string_equal(json_str(is, "what"), "no space?[31m");
	assert_string_equal(json_str(json_object_get(is, "action"), "method"), "backup.now");
	int64_t since = num(is, "since_ms");
	json_decref(is);
	edge_sleep(&e, 5000);
	x.what = "still no space";
	attention_set(e.cx.attention, &x);
	is = item("backup-failed:nightly");
	assert_string_equal(json_str(is, "what"), "still no space");
	assert_int_equal(num(is, "since_ms"), since);
	json_decref(is);
	attention_clear(e.cx.attention, "backup-failed", "nightly");
	attention_clear(e.cx.attention, "backup-failed", "nightly");
	assert_null(item("backup-failed:nightly"));
	attention_set(NULL, &x);
}

static void set_items_are_bounded(void **state)
{
	char key[16];

	for (int i = 0; i < 3 * ATTENTION_SET_MAX; i++) {
		struct attention_item x = {.kind = "test", .key = key, .what = "x", .next = "y"};

		snprintf(key, sizeof key, "%d", i);
		attention_set(e.cx.attention, &x);
	}
	json_t *r = edge_ok(&e, "attention.list", "{}");
	assert_in_range(json_array_size(json_object_get(r, "items")), ATTENTION_SET_MAX, ATTENTION_SET_MAX + 3);
	json_decref(r);
}

static void a_failed_message_can_be_set_aside_until_another_fails(void **state)
{
	struct node_id bob = edge_peer(&e, "bob");
	char key[80], params[160];

	json_decref(edge_ok(&e, "send", "{\"to\":\"bob\",\"body\":\"x\",\"msg_id\":\"a\",\"ttl_ms\":1}"));
	edge_sleep(&e, 61000);
	edge_sleep(&e, 1000);
	snprintf(key, sizeof key, "message-failed:%s", bob.hex);
	json_t *is = item(key);
	assert_non_null(is);
	assert_string_equal(json_str(json_object_get(is, "subject"), "label"), "bob");
	assert_true(json_is_true(json_object_get(is, "dismiss")));
	assert_int_equal(num(is, "count"), 1);
	json_decref(is);
	snprintf(params, sizeof params, "{\"key\":\"%s\",\"count\":1}", key);
	json_decref(edge_ok(&e, "attention.dismiss", params));
	assert_null(item(key));
	json_decref(edge_ok(&e, "send", "{\"to\":\"bob\",\"body\":\"x\",\"msg_id\":\"b\",\"ttl_ms\":1}"));
	edge_sleep(&e, 61000);
	edge_sleep(&e, 1000);
	is = item(key);
	assert_non_null(is);
	assert_int_equal(num(is, "count"), 2);
	json_decref(is);
}

static void a_pending_peer_has_one_button(void **state)
{
	uint8_t ed[ED_BYTES] = {7};
	struct pin_update u = {.ed = ed, .name = "eve<b>", .state = PIN_PENDING, .via = "tofu", .wall_ms = 1753500000000};
	char key[80];

	node_id_of(ed, &u.id);
	assert_int_equal(pins_observe(e.pins, &u, NULL), ERR_OK);
	snprintf(key, sizeof key, "peer-pending:%s", u.id.hex);
	json_t *is = item(key), *action = json_object_get(is, "action");
	assert_string_equal(json_str(action, "method"), "peers.approve");
	assert_string_equal(json_str(json_object_get(action, "params"), "peer"), u.id.hex);
	assert_non_null(json_str(action, "confirm"));
	char *params = json_dumps(json_object_get(action, "params"), 0);
	json_decref(edge_ok(&e, json_str(action, "method"), params));
	free(params);
	json_decref(is);
	assert_null(item(key));
}

/* What is said to be typed is typed: a name cannot bring a command along. */
static void a_changed_key_names_its_subject_as_one_word(void **state)
{
	static const char *const subjects[] = {"bob; touch x", "bob' $(touch x) '"};
	struct node_id bob = edge_peer(&e, "bob");

	for (int i = 0; i < 2; i++) {
		struct pin_alarm a = {.was = bob, .now_ed = {(uint8_t)(i + 1)}, .at_ms = 1753500000000, .count = 1};
		char key[120], expect[160];

		snprintf(a.subject, sizeof a.subject, "%s", subjects[i]);
		node_id_of(a.now_ed, &a.now);
		assert_int_equal(pins_alarm(e.pins, &a), ERR_OK);
		snprintf(key, sizeof key, "key-changed:%.12s:%.12s:%.24s", a.was.hex, a.now.hex, a.subject);
		snprintf(expect, sizeof expect, i ? "ironmesh trust list%.0s" : "ironmesh trust repin 'bob; touch x' %s", a.now.hex);
		json_t *is = item(key);
		assert_non_null(is);
		assert_string_equal(json_str(is, "next"), expect);
		assert_true(json_is_null(json_object_get(is, "action"))); /* no button trusts another key */
		json_decref(is);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(events_are_counted_in_their_span), T(rings_hold_an_hour_and_a_day), T(a_sleep_of_the_machine_is_no_catching_up),
		T(quantiles_lie_in_their_buckets), T(what_a_part_sets_is_told_until_it_clears_it), T(set_items_are_bounded),
		T(a_failed_message_can_be_set_aside_until_another_fails), T(a_pending_peer_has_one_button),
		T(a_changed_key_names_its_subject_as_one_word),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
