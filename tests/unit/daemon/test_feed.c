#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/text.h"
#include "daemon/attention.h"
#include "daemon/feed.h"
#include "tests/lib/daemon_edge.h"

static struct edge e;

/* What a page knows. */
struct mirror {
	struct feed_subscriber sub;
	json_t *tables; /* section -> key -> row */
	char boot[FEED_BOOT_LEN + 1];
	uint64_t seq, first_ms;
	unsigned batches, gaps, rows, reloads;
	size_t largest;
	bool closed; /* takes nothing */
};

static const char *const SECTIONS[] = {"status", "attention", "peers", "conversations", "queue", "mesh"};
#define SECTIONS_N (sizeof(SECTIONS) / sizeof(SECTIONS[0]))

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

static void put_rows(json_t *table, const json_t *rows)
{
	json_t *row;
	size_t i;

	json_array_foreach ((json_t *)rows, i, row)
		json_object_set(table, json_str(row, "key"), row);
}

static bool deliver(void *ctx, struct bytes text)
{
	struct mirror *m = ctx;
	json_t *b, *key;
	uint64_t seq;
	size_t k;

	if (m->closed)
		return false;
	assert_int_equal(json_load_strict(text, 8u << 20, &b), ERR_OK);
	assert_string_equal(json_str(b, "schema"), "ironmesh.feed/1");
	assert_string_equal(json_str(b, "boot"), m->boot);
	seq = (uint64_t)json_integer_value(json_object_get(b, "seq"));
	m->largest = text.n > m->largest ? text.n : m->largest;
	if (json_is_true(json_object_get(b, "gap"))) {
		m->gaps++;
		m->seq = seq;
		json_decref(b);
		return true;
	}
	assert_int_equal(seq, m->seq + 1);
	m->seq = seq;
	m->batches++;
	for (size_t i = 0; i < SECTIONS_N; i++) {
		json_t *change = json_object_get(b, SECTIONS[i]), *table = json_object_get(m->tables, SECTIONS[i]);

		if (i == 0 && change) {
			json_object_set(table, "status", change);
			continue;
		}
		m->rows += (unsigned)json_array_size(json_object_get(change, "put"));
		put_rows(table, json_object_get(change, "put"));
		json_array_foreach (json_object_get(change, "del"), k, key)
			json_object_del(table, json_string_value(key));
	}
	m->reloads += (unsigned)json_array_size(json_object_get(json_object_get(b, "messages"), "reload"));
	json_decref(b);
	return true;
}

/* All pages of a section, as a table. */
static json_t *section_of(const char *section, size_t limit, struct mirror *m)
{
	json_t *table = json_object(), *next = NULL;
	char params[200];

	do {
		json_t *page;

		snprintf(params, sizeof params, "{\"section\":\"%s\",\"limit\":%zu%s%s%s}", section, limit,
			 next ? ",\"after\":\"" : "", next ? json_string_value(next) : "", next ? "\"" : "");
		page = edge_ok(&e, "feed.snapshot", params);
		put_rows(table, json_object_get(page, "rows"));
		if (m && !m->boot[0]) {
			snprintf(m->boot, sizeof m->boot, "%s", json_str(page, "boot"));
			m->seq = (uint64_t)json_integer_value(json_object_get(page, "seq"));
		}
		json_decref(next);
		next = json_incref(json_object_get(page, "next"));
		json_decref(page);
	} while (json_is_string(next));
	json_decref(next);
	return table;
}

static void mirror_open(struct mirror *m, size_t limit)
{
	bool gap;

	*m = (struct mirror){.tables = json_object()};
	ring_init(&m->sub.link);
	m->sub.deliver = deliver;
	m->sub.ctx = m;
	for (size_t i = 0; i < SECTIONS_N; i++)
		json_object_set_new(m->tables, SECTIONS[i], section_of(SECTIONS[i], limit, m));
	feed_subscribe(e.cx.feed, &m->sub, m->boot, m->seq, &gap);
	assert_false(gap);
}

static void mirror_close(struct mirror *m)
{
	feed_unsubscribe(&m->sub);
	json_decref(m->tables);
}

static void run(uint64_t ms)
{
	for (uint64_t i = 0; i < ms; i += 50)
		edge_sleep(&e, 50);
}

static void differs(const char *section, const char *after, const char *key, json_t *told, json_t *is)
{
	char *x, *y;

	if (told && is && json_equal(told, is))
		return;
	x = told ? json_dumps(told, JSON_SORT_KEYS) : NULL;
	y = is ? json_dumps(is, JSON_SORT_KEYS) : NULL;
	print_error("%s after %s: %s\n told %s\n is   %s\n", section, after, key, x ? x : "-", y ? y : "-");
	free(x);
	free(y);
}

static void mirror_is_true(struct mirror *m, const char *after)
{
	for (size_t i = 0; i < SECTIONS_N; i++) {
		json_t *is = section_of(SECTIONS[i], 7, NULL), *told = json_object_get(m->tables, SECTIONS[i]);

		if (!json_equal(is, told)) {
			const char *key;
			json_t *row;

			json_object_foreach (told, key, row)
				differs(SECTIONS[i], after, key, row, json_object_get(is, key));
			json_object_foreach (is, key, row)
				differs(SECTIONS[i], after, key, json_object_get(told, key), row);
			fail();
		}
		json_decref(is);
	}
}

static void call_it(const struct node_id *peer, const char *alias)
{
	char params[400];

	snprintf(params, sizeof params, "{\"peer\":\"%s\",\"alias\":\"%s\"}", peer->hex, alias);
	json_decref(edge_ok(&e, "peers.alias", params));
}

/* --- what is promised -------------------------------------------------------------------------------------- */
static void a_row_that_changes_often_comes_once(void **state)
{
	struct node_id bob = edge_peer(&e, "bob");
	struct mirror m;
	char alias[16];

	mirror_open(&m, 100);
	run(3000);
	unsigned batches = m.batches, rows = m.rows;
	for (int i = 0; i < 100; i++) {
		snprintf(alias, sizeof alias, "b%d", i);
		call_it(&bob, alias);
	}
	run(250);
	assert_true(m.batches - batches <= 2);
	/* The peer, and the node of the graph at most. */
	assert_true(m.rows - rows <= 2);
	json_t *row = json_object_get(json_object_get(m.tables, "peers"), bob.hex);
	assert_string_equal(json_str(row, "alias"), "b99");
	mirror_close(&m);
}

static void at_most_five_batches_a_second(void **state)
{
	struct node_id bob = edge_peer(&e, "bob");
	struct mirror m;
	char alias[16];

	mirror_open(&m, 100);
	run(1000);
	m.batches = 0;
	for (int i = 0; i < 1000; i++) {
		snprintf(alias, sizeof alias, "b%d", i);
		call_it(&bob, alias);
		edge_sleep(&e, 10);
	}
	assert_in_range(m.batches, 40, 51); /* in ten seconds */
	mirror_close(&m);
}

static void a_batch_is_bounded_and_the_rest_follows(void **state)
{
	struct mirror m;
	char name[32];

	mirror_open(&m, 100);
	run(1000);
	for (int i = 0; i < 1500; i++) {
		snprintf(name, sizeof name, "peer-%d", i);
		struct node_id id = edge_peer(&e, name);
		feed_peer(e.cx.feed, &id);
	}
	run(2000);
	assert_int_equal(json_object_size(json_object_get(m.tables, "peers")), 1500);
	assert_true(m.largest <= FEED_BATCH_BYTES + (160u << 10)); /* with a graph of 500 nodes beside it */
	mirror_is_true(&m, "many");
	mirror_close(&m);
}

static void who_falls_behind_hears_of_a_gap(void **state)
{
	struct node_id bob = edge_peer(&e, "bob");
	struct mirror m, n;
	char alias[16];

	mirror_open(&m, 100);
	mirror_open(&n, 100);
	m.closed = true;
	for (int i = 0; i < 2 * FEED_BATCHES; i++) {
		snprintf(alias, sizeof alias, "b%d", i);
		call_it(&bob, alias);
		edge_sleep(&e, 250);
	}
	assert_int_equal(m.batches, 0);
	assert_true(n.batches >= 2 * FEED_BATCHES);
	assert_int_equal(n.gaps, 0);
	m.closed = false;
	feed_room(&m.sub);
	edge_turn(&e);
	assert_int_equal(m.gaps, 1);
	assert_int_equal(m.batches, 0);
	/* From there on it goes on. */
	call_it(&bob, "again");
	run(300);
	assert_true(m.batches > 0);
	assert_int_equal(m.gaps, 1);
	mirror_close(&m);
	mirror_close(&n);
}

static void a_short_absence_is_made_up_for(void **state)
{
	struct node_id bob = edge_peer(&e, "bob");
	struct mirror m;
	bool gap;

	mirror_open(&m, 100);
	run(2000);
	feed_unsubscribe(&m.sub);
	call_it(&bob, "meanwhile");
	run(5000);
	feed_subscribe(e.cx.feed, &m.sub, m.boot, m.seq, &gap);
	assert_false(gap);
	run(3000);
	mirror_is_true(&m, "an absence");
	mirror_close(&m);
}

static void nobody_listens_and_it_sleeps(void **state)
{
	struct node_id bob = edge_peer(&e, "bob");
	struct mirror m;
	bool gap;

	mirror_open(&m, 100);
	run(500);
	feed_unsubscribe(&m.sub);
	run(2 * FEED_SLEEP_MS);
	uint64_t seq = feed_seq(e.cx.feed);
	call_it(&bob, "unheard");
	run(5000);
	assert_int_equal(feed_seq(e.cx.feed), seq);
	feed_subscribe(e.cx.feed, &m.sub, m.boot, m.seq, &gap);
	assert_true(gap);
	feed_subscribe(e.cx.feed, &m.sub, "0123456789abcdef", seq, &gap);
	assert_true(gap);
	feed_subscribe(e.cx.feed, &m.sub, m.boot, seq + 1, &gap);
	assert_true(gap);
	mirror_close(&m);
}

static void too_many_messages_are_told_as_a_whole(void **state)
{
	struct node_id bob = edge_peer(&e, "bob");
	struct mirror m;
	char id[32];

	mirror_open(&m, 100);
	run(500);
	for (int i = 0; i < 1000; i++) {
		snprintf(id, sizeof id, "m%d", i);
		edge_receive(&e, &bob, id, BYTES_LIT("x"));
	}
	run(300);
	assert_int_equal(m.reloads, 1);
	run(3000);
	mirror_is_true(&m, "a flood");
	edge_receive(&e, &bob, "later", BYTES_LIT("x"));
	run(300);
	assert_int_equal(m.reloads, 1);
	mirror_close(&m);
}

static void what_is_no_section_or_no_cursor_is_said(void **state)
{
	edge_refused(&e, "feed.snapshot", "{\"section\":\"secrets\"}", "usage");
	edge_refused(&e, "feed.snapshot", "{\"section\":\"peers\",\"after\":\"12\"}", "usage");
	edge_refused(&e, "feed.snapshot", "{\"section\":\"peers\",\"after\":\"12:0123\"}", "usage");
	edge_refused(&e, "feed.snapshot", "{}", "usage");
	edge_refused(&e, "feed.subscribe", "{\"since\":3}", "usage");
}

/* Names are a stranger's: what he calls himself comes out as text, and what looks alike is marked. */
static void names_that_look_alike_are_marked(void **state)
{
	struct node_id real = edge_peer(&e, "Alice"), fake = edge_peer(&e, "al1ce"), other = edge_peer(&e, "bob");
	json_t *peers = section_of("peers", 100, NULL), *row;

	row = json_object_get(peers, real.hex);
	assert_true(json_is_false(json_object_get(row, "name_safe")));
	assert_string_equal(json_str(row, "confusable_with"), fake.hex);
	row = json_object_get(peers, fake.hex);
	assert_string_equal(json_str(row, "confusable_with"), real.hex);
	row = json_object_get(peers, other.hex);
	assert_true(json_is_true(json_object_get(row, "name_safe")));
	assert_true(json_is_null(json_object_get(row, "confusable_with")));
	json_decref(peers);
}

/* --- the property -------------------------------------------------------------------------------------------- */
static uint32_t dice;

static uint32_t roll(uint32_t n)
{
	dice = dice * 1664525u + 1013904223u;
	return (dice >> 8) % n;
}

struct world {
	struct node_id peers[40];
	size_t n;
	unsigned made;
	int64_t inbox;
};

static void one_action(struct world *w)
{
	struct node_id *who = w->n ? &w->peers[roll((uint32_t)w->n)] : NULL;
	char text[64], params[300];
	struct attention_item item = {.kind = "backup-failed", .key = "x", .severity = ATTENTION_ERROR, .what = "it failed"};

	switch (who ? roll(13) : 0) {
	case 0:
		if (w->n == 40)
			return;
		snprintf(text, sizeof text, "p%u", w->made++);
		w->peers[w->n] = edge_peer(&e, text);
		feed_peer(e.cx.feed, &w->peers[w->n++]); /* as the event of a first contact does */
		return;
	case 1:
		json_decref(edge_ok(&e, "peers.forget", (snprintf(params, sizeof params, "{\"peer\":\"%s\"}", who->hex), params)));
		*who = w->peers[--w->n];
		return;
	case 2:
		snprintf(text, sizeof text, roll(3) ? "alias-%u" : "", w->made++);
		snprintf(params, sizeof params, "{\"peer\":\"%s\",\"alias\":\"%s\"}", who->hex, text);
		json_decref(edge_ok(&e, "peers.alias", params));
		return;
	case 3:
	case 4:
		snprintf(params, sizeof params, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"send\",\"params\":{\"to\":\"%s\",\"body\":\"x\","
						"\"msg_id\":\"m%u\",\"ttl_ms\":%u}}", who->hex, w->made++, roll(4) ? 900000 : 700);
		edge_line(&e, params);
		edge_turn(&e);
		json_decref(edge_next(&e));
		return;
	case 5:
		snprintf(params, sizeof params, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"outbox.cancel\",\"params\":{\"msg_id\":\"m%u\"}}",
			 roll(w->made + 1));
		edge_line(&e, params);
		edge_turn(&e);
		json_decref(edge_next(&e));
		return;
	case 6:
	case 7:
		snprintf(text, sizeof text, "in%u", w->made++);
		w->inbox = edge_receive(&e, who, text, BYTES_LIT("hello"));
		return;
	case 8:
		json_decref(edge_ok(&e, "inbox.take", "{\"limit\":1}"));
		return;
	case 9:
		snprintf(params, sizeof params, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"inbox.delete\",\"params\":{\"seq\":%lld}}",
			 (long long)w->inbox + !w->inbox);
		edge_line(&e, params);
		edge_turn(&e);
		json_decref(edge_next(&e));
		return;
	case 10:
		snprintf(params, sizeof params, "{\"peer\":\"%s\"}", who->hex);
		json_decref(edge_ok(&e, roll(2) ? "peers.block" : "peers.approve", params));
		return;
	case 11:
		if (roll(2))
			attention_set(e.cx.attention, &item);
		else
			attention_clear(e.cx.attention, "backup-failed", "x");
		return;
	default:
		run(50 * roll(20));
	}
}

static void snapshot_and_changes_are_a_new_snapshot(void **state)
{
	for (uint32_t seed = 1; seed <= 20; seed++) {
		struct world w = {0};
		struct mirror m, late;
		char what[80];

		dice = seed;
		for (int i = 0; i < 30; i++)
			one_action(&w);
		mirror_open(&m, 5);
		for (int i = 0; i < 60; i++)
			one_action(&w);
		mirror_open(&late, 3);
		for (int i = 0; i < 60; i++)
			one_action(&w);
		run(11000); /* what is looked at seldom has been looked at */
		snprintf(what, sizeof what, "seed %u", seed);
		mirror_is_true(&m, what);
		mirror_is_true(&late, what);
		assert_int_equal(m.gaps + late.gaps, 0);
		mirror_close(&m);
		mirror_close(&late);
		while (w.n)
			json_decref(edge_ok(&e, "peers.forget", (snprintf(what, sizeof what, "{\"peer\":\"%s\"}", w.peers[--w.n].hex), what)));
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_row_that_changes_often_comes_once), T(at_most_five_batches_a_second), T(a_batch_is_bounded_and_the_rest_follows),
		T(who_falls_behind_hears_of_a_gap), T(a_short_absence_is_made_up_for), T(nobody_listens_and_it_sleeps),
		T(too_many_messages_are_told_as_a_whole), T(what_is_no_section_or_no_cursor_is_said),
		T(names_that_look_alike_are_marked), T(snapshot_and_changes_are_a_new_snapshot),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
