#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/brakes.h"

static const uint8_t HASH_KEY[16] = { 1 };
static const struct node_id BOB = { "34750f98bd59fcfc946da45aaabe933b" };
static const struct node_id CAROL = { "6b1f7a4e0c9d8a7b5c4d3e2f1a0b9c8d" };

static struct brakes *b;
static struct fault f;

static int setup(void **state)
{
	b = brakes_new(HASH_KEY);
	f = (struct fault){ 0 };
	return b ? 0 : -1;
}

static int teardown(void **state)
{
	brakes_free(b);
	return 0;
}

static struct brakes_parent parent_of(uint8_t kind, uint8_t id)
{
	struct brakes_parent p = { .author = BOB, .ext.kind = kind };

	p.id[15] = id;
	return p;
}

static enum err send_to(const struct node_id *to, const struct brakes_parent *p, struct message_ext *m, uint64_t now)
{
	enum err e = brakes_check(b, to, p, m, now, &f);

	if (e == ERR_OK)
		brakes_sent(b, to, p, m, now);
	return e;
}

static enum err answer(const struct brakes_parent *p, uint8_t kind)
{
	struct message_ext m = { .kind = kind };

	return send_to(&BOB, p, &m, 0);
}

static void only_messages_and_requests_are_answered(void **state)
{
	for (unsigned kind = KIND_RESPONSE; kind < 256; kind++) {
		struct brakes_parent p = parent_of((uint8_t)kind, 1);

		for (uint8_t with = KIND_MESSAGE; with <= KIND_END; with++) {
			assert_int_equal(answer(&p, with), ERR_DENIED);
			assert_true(f.what[0] && f.means[0] && f.next[0]);
		}
	}
	struct brakes_parent p = parent_of(KIND_MESSAGE, 1);

	for (uint8_t with = KIND_MESSAGE; with <= KIND_END; with++)
		assert_int_equal(answer(&p, with), ERR_OK);
}

static void a_request_is_answered_once_with_a_response_or_an_error(void **state)
{
	struct brakes_parent p = parent_of(KIND_REQUEST, 7), other = parent_of(KIND_REQUEST, 8),
			     same_id = parent_of(KIND_REQUEST, 7);

	same_id.author = CAROL;
	assert_int_equal(answer(&p, KIND_MESSAGE), ERR_DENIED);
	assert_int_equal(answer(&p, KIND_REQUEST), ERR_DENIED);
	assert_int_equal(answer(&p, KIND_NOTICE), ERR_DENIED);
	assert_int_equal(answer(&p, KIND_RESPONSE), ERR_OK);
	assert_int_equal(answer(&p, KIND_RESPONSE), ERR_EXISTS);
	assert_int_equal(answer(&p, KIND_ERROR), ERR_EXISTS);
	assert_int_equal(answer(&other, KIND_ERROR), ERR_OK);
	assert_int_equal(answer(&same_id, KIND_RESPONSE), ERR_OK);
}

/* What was refused elsewhere after the check, a full outbox say, was not an answer. */
static void a_check_alone_uses_nothing_up(void **state)
{
	struct brakes_parent p = parent_of(KIND_REQUEST, 7);
	struct message_ext m;

	for (int i = 0; i < 200; i++) {
		m = (struct message_ext){ .kind = KIND_RESPONSE };
		assert_int_equal(brakes_check(b, &BOB, &p, &m, 0, &f), ERR_OK);
	}
	assert_int_equal(answer(&p, KIND_RESPONSE), ERR_OK);
}

static void an_answer_carries_on_the_conversation(void **state)
{
	struct brakes_parent p = parent_of(KIND_MESSAGE, 1);
	struct message_ext m = { .turn = 77, .max_turns = 9, .has_conv = true, .conv = { 9 } };

	p.ext.turn = 4;
	p.ext.max_turns = 20;
	p.ext.hop = 3;
	p.ext.has_conv = true;
	p.ext.conv[0] = 0xaa;
	assert_int_equal(send_to(&BOB, &p, &m, 0), ERR_OK);
	assert_int_equal(m.turn, 5);
	assert_int_equal(m.max_turns, 20);
	assert_int_equal(m.hop, 3);
	assert_true(m.has_conv);
	assert_memory_equal(m.conv, p.ext.conv, 16);
	/* The standing conversation is one too. */
	p.ext.has_conv = false;
	assert_int_equal(send_to(&BOB, &p, &m, 0), ERR_OK);
	assert_false(m.has_conv);
}

static void the_last_turn_is_the_end(void **state)
{
	struct brakes_parent p = parent_of(KIND_MESSAGE, 1);
	struct message_ext m = { 0 };

	p.ext.turn = BRAKES_TURNS - 3;
	assert_int_equal(send_to(&BOB, &p, &m, 0), ERR_OK);
	assert_int_equal(m.end_reason, 0);
	p.ext.turn = BRAKES_TURNS - 2;
	assert_int_equal(answer(&p, KIND_MESSAGE), ERR_LIMIT);
	assert_non_null(strstr(f.what, "turn 31 is the last of 32"));
	m = (struct message_ext){ .kind = KIND_END };
	assert_int_equal(send_to(&BOB, &p, &m, 0), ERR_OK);
	assert_int_equal(m.end_reason, BRAKES_TURN_LIMIT);
	/* The limit that the conversation names counts, whichever side it is on. */
	p.ext.max_turns = 40;
	assert_int_equal(answer(&p, KIND_MESSAGE), ERR_OK);
	p.ext.turn = 2;
	p.ext.max_turns = 4;
	assert_int_equal(answer(&p, KIND_MESSAGE), ERR_LIMIT);
	/* A turn that would not fit its field, and one that answers nothing. */
	p.ext.turn = p.ext.max_turns = UINT16_MAX;
	assert_int_equal(answer(&p, KIND_MESSAGE), ERR_LIMIT);
	m = (struct message_ext){ .turn = 31 };
	assert_int_equal(send_to(&BOB, NULL, &m, 0), ERR_LIMIT);
}

static void a_conversation_has_sixty_messages_a_minute(void **state)
{
	struct message_ext m = { 0 }, other = { .has_conv = true, .conv = { 1 } };
	uint64_t now = 1000;

	for (int i = 0; i < BRAKES_PER_MINUTE; i++, now += 100)
		assert_int_equal(send_to(&BOB, NULL, &m, now), ERR_OK);
	assert_int_equal(send_to(&BOB, NULL, &m, now), ERR_AGAIN);
	assert_int_equal(f.code, EXIT_RETRY);
	assert_int_equal(send_to(&BOB, NULL, &other, now), ERR_OK);
	assert_int_equal(send_to(&CAROL, NULL, &m, now), ERR_OK);
	/* The first of the sixty leaves the minute, one by one. */
	assert_int_equal(send_to(&BOB, NULL, &m, 1000 + 59999), ERR_AGAIN);
	assert_int_equal(send_to(&BOB, NULL, &m, 1000 + 60000), ERR_OK);
	assert_int_equal(send_to(&BOB, NULL, &m, 1000 + 60000), ERR_AGAIN);
	assert_int_equal(send_to(&BOB, NULL, &m, 1000 + 60100), ERR_OK);
}

/* Whatever is tried, no window of a minute holds more. */
static void no_minute_holds_more_than_sixty(void **state)
{
	static uint64_t sent[4000];
	struct message_ext m = { 0 };
	size_t n = 0;

	for (uint64_t now = 0; now < 600000 && n < 4000; now += 37) {
		if (send_to(&BOB, NULL, &m, now) != ERR_OK)
			continue;
		sent[n++] = now;
		if (n > BRAKES_PER_MINUTE)
			assert_true(now - sent[n - 1 - BRAKES_PER_MINUTE] >= 60000);
	}
	assert_true(n >= 9 * BRAKES_PER_MINUTE);
}

static void the_memory_has_an_end(void **state)
{
	struct message_ext m = { .has_conv = true };

	for (unsigned i = 0; i < 3 * BRAKES_CONVERSATIONS; i++) {
		memcpy(m.conv, &i, sizeof i);
		assert_int_equal(send_to(&BOB, NULL, &m, i), ERR_OK);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(only_messages_and_requests_are_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(a_request_is_answered_once_with_a_response_or_an_error, setup, teardown),
		cmocka_unit_test_setup_teardown(a_check_alone_uses_nothing_up, setup, teardown),
		cmocka_unit_test_setup_teardown(an_answer_carries_on_the_conversation, setup, teardown),
		cmocka_unit_test_setup_teardown(the_last_turn_is_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(a_conversation_has_sixty_messages_a_minute, setup, teardown),
		cmocka_unit_test_setup_teardown(no_minute_holds_more_than_sixty, setup, teardown),
		cmocka_unit_test_setup_teardown(the_memory_has_an_end, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
