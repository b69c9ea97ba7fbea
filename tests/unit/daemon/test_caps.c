/* Capabilities between real nodes: announced, learned, passed on, expired, on both wires. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/caps.h"
#include "protocol/v09/capability.h"
#include "protocol/v09/v09.h"
#include "tests/lib/daemon_world.h"

#define A (&w->side[0])
#define B (&w->side[1])
#define C (&w->side[2])

static const struct node_counters *count(const struct side *s)
{
	return node_counters(s->node);
}

static void set(struct side *s, const char *const *names, size_t n)
{
	struct fault f = { 0 };

	assert_int_equal(caps_set(s->node, names, n, &f), ERR_OK);
}

static void set1(struct side *s, const char *name)
{
	set(s, &name, 1);
}

struct seen {
	const struct node_id *who;
	unsigned n;
	char last[CAP_TEXT_MAX + 1];
	uint64_t left;
};

static bool see(void *ctx, const struct node_id *who, const char *name, uint64_t left)
{
	struct seen *s = ctx;

	if (!node_id_eq(s->who, who))
		return true;
	s->n++;
	s->left = left;
	snprintf(s->last, sizeof s->last, "%s", name);
	return true;
}

/* What `at` knows of `of`. */
static struct seen known(struct side *at, struct side *of, const char *glob)
{
	struct seen s = { .who = side_id(of) };

	caps_find(at->node, glob, see, &s);
	return s;
}

static void restart(struct side *s, enum routing_mode m, bool old)
{
	side_stop(s);
	s->routing = m;
	s->old = old;
	side_start(s);
}

static void said_is_learned_found_and_forgotten(void **state)
{
	static const char *const names[] = { "tool:fs", "llm:llama3", "llm:mistral", "tool:fs" };
	struct world *w = *state;

	side_know(A, B);
	side_meet(A, B);
	set(A, names, 4);
	world_pass(w, 1000);
	assert_int_equal(known(B, A, NULL).n, 3); /* said twice, it is one */
	assert_int_equal(known(B, A, "llm:*").n, 2);
	assert_int_equal(known(B, A, "llm:[!m]*").n, 1);
	assert_int_equal(known(B, A, "LLM:*").n, 0);
	assert_in_range(known(B, A, NULL).left, 100000, 120000);
	assert_int_equal(known(A, A, NULL).n, 3);
	assert_true(known(A, A, NULL).left == UINT64_MAX);
	/* It is said again before it is forgotten. */
	world_pass(w, 300000);
	assert_int_equal(known(B, A, NULL).n, 3);
	side_stop(A);
	world_pass(w, 119000);
	world_pass(w, 3000);
	assert_int_equal(known(B, A, NULL).n, 0);
	side_start(A);
	assert_int_equal(known(A, A, NULL).n, 3); /* our own outlive a restart */
}

static void changes_are_told_at_once_apart_and_the_last_one_always(void **state)
{
	struct world *w = *state;
	uint64_t taken;
	char name[32];

	side_know(A, B);
	side_meet(A, B);
	world_pass(w, 30000);
	set1(A, "v:0");
	world_pass(w, 200);
	assert_string_equal(known(B, A, NULL).last, "v:0");
	taken = count(B)->records_taken;
	for (int i = 1; i <= 20; i++) {
		snprintf(name, sizeof name, "v:%d", i);
		set1(A, name);
		world_pass(w, 100);
	}
	assert_int_equal(count(B)->records_taken, taken);
	assert_string_equal(known(B, A, NULL).last, "v:0");
	world_pass(w, 9000);
	assert_int_equal(count(B)->records_taken, taken + 1);
	assert_string_equal(known(B, A, NULL).last, "v:20");
	set(A, NULL, 0);
	world_pass(w, 11000);
	assert_int_equal(known(B, A, NULL).n, 0); /* withdrawn */
}

static void generations_never_go_back(void **state)
{
	struct world *w = *state;

	side_know(A, B);
	side_meet(A, B);
	set1(A, "before:restart");
	world_pass(w, 1000);
	assert_int_equal(known(B, A, "before:*").n, 1);
	side_stop(A);
	side_start(A);
	set1(A, "after:restart");
	side_meet(A, B);
	world_pass(w, 1000);
	assert_int_equal(known(B, A, "after:*").n, 1);
	assert_int_equal(known(B, A, NULL).n, 1);
	assert_int_equal(count(B)->records_refused, 0);
}

static void relays_pass_on_and_others_do_not(void **state)
{
	struct world *w = *state;

	side_know(A, B);
	side_know(B, C);
	side_know(A, C);
	side_meet(A, B);
	set1(A, "llm:far");
	world_pass(w, 1000);
	side_meet(B, C);
	world_pass(w, 70000);
	assert_int_equal(known(C, A, NULL).n, 0); /* B is no relay */
	restart(B, ROUTING_RELAY, false);
	world_pass(w, 5000); /* A dials again by itself */
	side_meet(B, C);
	world_pass(w, 70000);
	assert_int_equal(known(C, A, "llm:far").n, 1);
	/* What is new goes through in a moment. */
	set1(A, "llm:new");
	world_pass(w, 1000);
	assert_int_equal(known(C, A, "llm:new").n, 1);
}

static void whoever_is_not_trusted_hears_nothing(void **state)
{
	struct world *w = *state;
	struct fault f = { 0 };

	side_know(A, B);
	side_meet(A, B);
	assert_int_equal(node_peer_pending(A->node, side_id(B), &f), ERR_OK);
	set1(A, "secret:tool");
	world_pass(w, 70000);
	assert_int_equal(known(B, A, NULL).n, 0);
	assert_int_equal(node_peer_approve(A->node, side_id(B), &f), ERR_OK);
	world_pass(w, 70000);
	assert_int_equal(known(B, A, NULL).n, 1);
}

static void a_changed_set_is_shown_or_held(void **state)
{
	struct world *w = *state;

	side_know(A, B);
	side_meet(A, B);
	set1(A, "tool:read");
	world_pass(w, 1000);
	assert_int_equal(side_audited(B, "PEER_CAP_BASELINE"), 1);
	set1(A, "tool:write");
	world_pass(w, 12000);
	assert_int_equal(side_audited(B, "PEER_CAP_SET_CHANGED"), 1);
	assert_int_equal(pins_get(B->pins, side_id(A))->state, PIN_TRUSTED);
}

static void names_are_checked(void **state)
{
	static const char *const bad[] = { "", "llm", ":x", "llm:", "a b:c", "a:b,c", "a:*", "a:\xff", "a:\x01" };
	struct world *w = *state;
	struct fault f = { 0 };
	char longest[CAP_TEXT_MAX + 2], (*many)[16] = calloc(CAPS_MAX + 1, 16);
	const char *names[CAPS_MAX + 1];

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(caps_set(A->node, &bad[i], 1, &f), ERR_USAGE);
		assert_true(f.next[0] != 0);
	}
	memset(longest, 'x', sizeof longest);
	longest[1] = ':';
	longest[CAP_TEXT_MAX] = '\0';
	set1(A, longest);
	longest[CAP_TEXT_MAX] = 'x';
	longest[CAP_TEXT_MAX + 1] = '\0';
	names[0] = longest;
	assert_int_equal(caps_set(A->node, names, 1, &f), ERR_USAGE);
	for (int i = 0; i <= CAPS_MAX; i++) {
		snprintf(many[i], 16, "n:%d", i);
		names[i] = many[i];
	}
	assert_int_equal(caps_set(A->node, names, CAPS_MAX + 1, &f), ERR_LIMIT);
	set(A, names, CAPS_MAX);
	assert_int_equal(known(A, A, NULL).n, CAPS_MAX);
	free(many);
}

/* --- the old wire ------------------------------------------------------------------------------------------------- */
static void meet_old(struct world *w, struct side *a, struct side *b)
{
	side_know(a, b);
	assert_int_equal(node_add_target(a->node, b->address, NULL), ERR_OK);
	node_dial_all(a->node);
	world_pass(w, 3000);
	assert_non_null(side_conn(a, b));
	assert_false(side_conn(a, b)->im2);
}

static void said(struct side *from, struct side *to, const char *payload)
{
	assert_int_equal(v09_control(side_conn(from, to)->session, "CAPABILITY_ANNOUNCE", side_id(to), bytes_str(payload)),
			 ERR_OK);
	conn_pump_later(side_conn(from, to));
	node_want_turn(from->node);
	world_pass(from->w, 300);
}

static void the_old_wire_carries_them_too(void **state)
{
	struct world *w = *state;

	restart(A, ROUTING_OFF, true);
	restart(B, ROUTING_OFF, true);
	meet_old(w, A, B);
	set1(A, "llm:old");
	world_pass(w, 1000);
	assert_int_equal(known(B, A, "llm:old").n, 1);
	side_stop(A);
	world_pass(w, 125000);
	assert_int_equal(known(B, A, NULL).n, 0);
}

static void nobody_speaks_for_another_on_the_old_wire(void **state)
{
	struct world *w = *state;
	char text[400];
	uint64_t refused;

	restart(A, ROUTING_OFF, true);
	restart(B, ROUTING_OFF, true);
	side_know(B, C);
	meet_old(w, A, B);
	refused = count(B)->caps_refused;
	snprintf(text, sizeof text, "{\"origin\":\"%s\",\"capabilities\":[\"llm:lie\"]}", side_id(C)->hex);
	said(A, B, text);
	assert_int_equal(known(B, C, NULL).n, 0);
	assert_int_equal(count(B)->caps_refused, refused + 1);
	snprintf(text, sizeof text,
		 "{\"origin\":\"%s\",\"capabilities\":[\"llm:lie\"],\"announced_at\":%llu.0,\"version\":1,\"signature\":\"%s==\"}",
		 side_id(C)->hex, (unsigned long long)(world_wall_ms(w) / 1000),
		 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
	said(A, B, text);
	assert_int_equal(known(B, C, NULL).n, 0);
	assert_int_equal(count(B)->caps_refused, refused + 2);
	/* Its own word, unsigned, as the oldest software sends it. */
	said(A, B, "{\"capabilities\":[\"llm:mine\",\"\",7]}");
	assert_int_equal(known(B, A, "llm:mine").n, 1);
	said(A, B, "not json");
	assert_int_equal(count(B)->caps_refused, refused + 3);
	assert_non_null(side_conn(A, B));
}

/* Forged first with the same time, the true one still counts (wire 12, weakness 27). From the future none does. */
static void a_forged_one_stands_in_nobodys_way(void **state)
{
	static const char *const names[] = { "llm:true" };
	struct world *w = *state;
	struct buf b;
	char *forged;

	restart(A, ROUTING_OFF, true);
	restart(B, ROUTING_OFF, true);
	side_know(B, C);
	meet_old(w, A, B);
	buf_init(&b, CAPABILITY_PAYLOAD_MAX);
	assert_int_equal(capability_write(C->keyring, names, 1, world_wall_ms(w), &b), ERR_OK);
	forged = strdup(buf_cstr(&b));
	memcpy(strstr(forged, "true"), "lies", 4);
	said(A, B, forged);
	assert_int_equal(known(B, C, NULL).n, 0);
	said(A, B, buf_cstr(&b));
	assert_string_equal(known(B, C, NULL).last, "llm:true");
	free(forged);
	buf_reset(&b);
	assert_int_equal(capability_write(C->keyring, (const char *const[]){ "llm:later" }, 1, world_wall_ms(w) + 600000, &b),
			 ERR_OK);
	said(A, B, buf_cstr(&b));
	assert_int_equal(known(B, C, "llm:later").n, 0);
	buf_fini(&b);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(said_is_learned_found_and_forgotten),
		TEST(changes_are_told_at_once_apart_and_the_last_one_always),
		TEST(generations_never_go_back),
		TEST(relays_pass_on_and_others_do_not),
		TEST(whoever_is_not_trusted_hears_nothing),
		TEST(a_changed_set_is_shown_or_held),
		TEST(names_are_checked),
		TEST(the_old_wire_carries_them_too),
		TEST(nobody_speaks_for_another_on_the_old_wire),
		TEST(a_forged_one_stands_in_nobodys_way),
	};

	log_setup(&(struct log_config){ .level = LOG_ERROR });
	return cmocka_run_group_tests(tests, NULL, NULL);
}
