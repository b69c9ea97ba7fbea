#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <sodium.h>

#include "base/hash.h"
#include "protocol/v09/control.h"
#include "protocol/v09/v09_internal.h"
#include "tests/lib/protocol_env.h"

/* a has the smaller id: it initiates. */
static struct pair *online(void)
{
	struct pair *p = pair_online(0, 1);

	if (strcmp(keyring_id(p->ka)->hex, keyring_id(p->kb)->hex) < 0)
		return p;
	pair_free(p);
	p = pair_online(1, 0);
	BUG_ON(strcmp(keyring_id(p->ka)->hex, keyring_id(p->kb)->hex) >= 0);
	return p;
}

static enum err send_one(struct pair *p, struct end *from, const char *id)
{
	struct message m = test_message(id, id);

	m.created_ms = p->e.wall_ms;
	return session_send(from->s, &m);
}

static void assert_talk(struct pair *p, const char *id)
{
	assert_int_equal(send_one(p, &p->a, id), ERR_OK);
	assert_int_equal(send_one(p, &p->b, id), ERR_OK);
	pair_flush(p);
	assert_string_equal(end_last(&p->a, SESSION_EV_MESSAGE)->id, id);
	assert_string_equal(end_last(&p->b, SESSION_EV_MESSAGE)->id, id);
}

static const uint8_t *key_of(const struct end *e)
{
	return ((const struct v09 *)e->s)->key;
}

static void smaller_id_rekeys_on_time(void **state)
{
	struct pair *p = online();
	uint8_t before[32];

	memcpy(before, key_of(&p->a), 32);
	assert_int_equal(session_deadline_ms(p->a.s), p->e.now_ms + 1800000);
	assert_int_equal(session_deadline_ms(p->b.s), UINT64_MAX);
	penv_pass(&p->e, 1799999);
	session_tick(p->a.s);
	end_drain(&p->a);
	assert_int_equal(p->a.wire_n, 0);
	penv_pass(&p->e, 1);
	session_tick(p->a.s);
	session_tick(p->b.s);
	pair_flush(p);
	assert_int_equal(end_count(&p->a, SESSION_EV_REKEYED), 1);
	assert_int_equal(end_count(&p->b, SESSION_EV_REKEYED), 1);
	assert_memory_equal(key_of(&p->a), key_of(&p->b), 32);
	assert_memory_not_equal(key_of(&p->a), before, 32);
	assert_talk(p, "after");
	/* the grace of the old key, then nothing but the next period */
	assert_int_equal(session_deadline_ms(p->b.s), p->e.now_ms + 30000);
	penv_pass(&p->e, 30000);
	session_tick(p->a.s);
	session_tick(p->b.s);
	assert_int_equal(session_deadline_ms(p->b.s), UINT64_MAX);
	assert_true(is_zero(((const struct v09 *)p->b.s)->old_key, 32));
	assert_true(is_zero(((const struct v09 *)p->a.s)->rekey_sk, 32));
	assert_int_equal(session_deadline_ms(p->a.s), p->e.now_ms + 1800000 - 30000);
	pair_free(p);
}

static void operator_rekeys_from_either_side(void **state)
{
	struct pair *p = online();

	assert_int_equal(session_rekey(p->b.s), ERR_OK);
	assert_int_equal(session_rekey(p->b.s), ERR_WRONG_STATE);
	pair_flush(p);
	assert_memory_equal(key_of(&p->a), key_of(&p->b), 32);
	assert_talk(p, "one");
	assert_int_equal(session_rekey(p->a.s), ERR_OK);
	pair_flush(p);
	assert_int_equal(end_count(&p->a, SESSION_EV_REKEYED), 2);
	assert_talk(p, "two");
	pair_free(p);
}

static void frames_in_flight_survive_the_switch(void **state)
{
	struct pair *p = online();

	/* b has sent under the old key, and a learns the new key before it arrives (a slow path).
	 */
	assert_int_equal(send_one(p, &p->b, "late"), ERR_OK);
	end_drain(&p->b);
	struct said late = end_pop(&p->b);
	assert_int_equal(session_rekey(p->a.s), ERR_OK);
	pair_flush(p);
	penv_pass(&p->e, 29000);
	session_tick(p->a.s);
	end_take(&p->a, late.p, late.n, false);
	assert_string_equal(end_last(&p->a, SESSION_EV_MESSAGE)->id, "late");
	/* Once: the window of the old key was kept with it. */
	end_take(&p->a, late.p, late.n, false);
	assert_string_equal(end_last(&p->a, SESSION_EV_DROPPED)->word, "replay");
	assert_int_equal(end_count(&p->a, SESSION_EV_MESSAGE), 1);
	penv_pass(&p->e, 1000);
	end_take(&p->a, late.p, late.n, false);
	assert_string_equal(end_last(&p->a, SESSION_EV_DROPPED)->word, "decryption");
	free(late.p);
	pair_free(p);
}

static void replays_across_a_rekey_are_refused(void **state)
{
	struct pair *p = online();
	struct said kept[64];
	size_t n = 0;

	/* Everything that was ever said, kept and said again after each of two rekeys. */
	for (int round = 0; round < 3; round++) {
		char id[16];

		snprintf(id, sizeof id, "m%d", round);
		assert_int_equal(send_one(p, &p->a, id), ERR_OK);
		if (round)
			assert_int_equal(session_rekey(p->a.s), ERR_OK);
		end_drain(&p->a);
		while (p->a.wire_n || p->b.wire_n) {
			bool from_a = p->a.wire_n != 0;
			struct said u = end_pop(from_a ? &p->a : &p->b);

			end_take(from_a ? &p->b : &p->a, u.p, u.n, u.text);
			if (from_a)
				kept[n++] = u;
			else
				free(u.p);
		}
		size_t messages = end_count(&p->b, SESSION_EV_MESSAGE),
		       rekeys = end_count(&p->b, SESSION_EV_REKEYED);
		for (size_t i = 0; i < n; i++)
			end_take(&p->b, kept[i].p, kept[i].n, false);
		assert_int_equal(end_count(&p->b, SESSION_EV_MESSAGE), messages);
		assert_int_equal(end_count(&p->b, SESSION_EV_REKEYED), rekeys);
		assert_int_equal(messages, round + 1);
		penv_pass(&p->e, 5000);
	}
	for (size_t i = 0; i < n; i++)
		free(kept[i].p);
	pair_free(p);
}

static void collision_ends_with_one_new_key(void **state)
{
	struct pair *p = online();

	assert_int_equal(session_rekey(p->a.s), ERR_OK);
	assert_int_equal(session_rekey(p->b.s), ERR_OK);
	pair_flush(p);
	assert_int_equal(end_count(&p->a, SESSION_EV_REKEYED), 1);
	assert_int_equal(end_count(&p->b, SESSION_EV_REKEYED), 1);
	assert_string_equal(end_last(&p->a, SESSION_EV_DROPPED)->word, "rekey-collision");
	assert_memory_equal(key_of(&p->a), key_of(&p->b), 32);
	assert_talk(p, "after");
	penv_pass(&p->e, 15000);
	session_tick(p->a.s);
	session_tick(p->b.s);
	end_drain(&p->a);
	end_drain(&p->b);
	assert_true(session_online(p->a.s) && session_online(p->b.s));
	pair_free(p);
}

static void lost_response_ends_the_session(void **state)
{
	struct pair *p = online();

	assert_int_equal(session_rekey(p->a.s), ERR_OK);
	end_drain(&p->a);
	struct said u = end_pop(&p->a);
	end_take(&p->b, u.p, u.n, false);
	free(u.p);
	assert_int_equal(end_count(&p->b, SESSION_EV_REKEYED), 1);
	free(end_pop(&p->b).p); /* the answer is lost */
	assert_int_equal(session_deadline_ms(p->a.s),
			 p->e.now_ms + 2000); /* the pause ends first */
	penv_pass(&p->e, 14999);
	session_tick(p->a.s);
	end_drain(&p->a);
	assert_true(session_online(p->a.s));
	assert_int_equal(session_deadline_ms(p->a.s), p->e.now_ms + 1);
	penv_pass(&p->e, 1);
	session_tick(p->a.s);
	end_drain(&p->a);
	const struct seen *o = end_last(&p->a, SESSION_EV_OVER);
	assert_non_null(o);
	assert_string_equal(o->word, "rekey-timeout");
	assert_int_equal(o->err, ERR_TIMEOUT);
	assert_int_equal(o->blame, BLAME_NONE);
	assert_true(is_zero(key_of(&p->a), 32));
	pair_free(p);
}

/* The other half of it: an initiator that stays on the old key is left after a minute. */
static void responder_gives_up_on_an_old_key(void **state)
{
	struct pair *p = online();
	struct said u, garbage;

	assert_int_equal(session_rekey(p->a.s), ERR_OK);
	end_drain(&p->a);
	u = end_pop(&p->a);
	end_take(&p->b, u.p, u.n, false);
	free(u.p);
	free(end_pop(&p->b).p);
	for (int i = 0; i < 7; i++) {
		penv_pass(&p->e, 10000);
		session_tick(p->b.s);
		if (i == 6) {
			/* What anybody may throw is no sign of it. */
			assert_int_equal(session_ping(p->b.s), ERR_OK);
			end_drain(&p->b);
			garbage = end_pop(&p->b);
			end_take(&p->b, garbage.p, garbage.n, false);
			garbage.p[40] ^= 1;
			end_take(&p->b, garbage.p, garbage.n, false);
			free(garbage.p);
			assert_true(session_online(p->b.s));
		}
		assert_int_equal(session_ping(p->a.s), ERR_OK);
		end_drain(&p->a);
		u = end_pop(&p->a);
		end_take(&p->b, u.p, u.n, false);
		free(u.p);
		assert_int_equal(session_over(p->b.s), i == 6);
		end_forget(&p->a);
		while (p->b.wire_n)
			free(end_pop(&p->b).p);
	}
	assert_string_equal(end_last(&p->b, SESSION_EV_OVER)->word, "rekey-lost");
	pair_free(p);
}

static void messages_pause_around_a_rekey(void **state)
{
	struct pair *p = online();
	struct said u;

	/* initiator: until the answer */
	assert_int_equal(session_rekey(p->a.s), ERR_OK);
	assert_false(session_can_send(p->a.s));
	assert_int_equal(send_one(p, &p->a, "x"), ERR_AGAIN);
	end_drain(&p->a);
	u = end_pop(&p->a);
	end_take(&p->b, u.p, u.n, false);
	free(u.p);
	/* responder: until the first frame under the new key, which the initiator sends at once */
	assert_false(session_can_send(p->b.s));
	assert_int_equal(send_one(p, &p->b, "x"), ERR_AGAIN);
	pair_flush(p);
	assert_true(session_can_send(p->a.s));
	assert_true(session_can_send(p->b.s));
	assert_int_equal(end_count(&p->a, SESSION_EV_PONG), 1);

	/* and never for more than two seconds */
	penv_pass(&p->e, 6000);
	assert_int_equal(session_rekey(p->b.s), ERR_OK);
	penv_pass(&p->e, 1999);
	assert_int_equal(send_one(p, &p->b, "x"), ERR_AGAIN);
	assert_int_equal(session_deadline_ms(p->b.s), p->e.now_ms + 1);
	penv_pass(&p->e, 1);
	session_tick(p->b.s);
	assert_int_equal(send_one(p, &p->b, "x"), ERR_OK);
	pair_free(p);
}

/* --- with a puppet --- */

struct stage {
	struct penv e;
	struct keyring *k;
	struct end end;
	struct puppet p;
};

static struct stage *stage_new(const char *version, bool puppet_smaller)
{
	struct stage *t = calloc(1, sizeof *t);
	struct session *s;

	penv_init(&t->e);
	for (unsigned n = 10;; n++) {
		t->k = keyring_number(n);
		puppet_init(&t->p, &t->e, n + 100, true);
		if ((strcmp(keyring_id(t->p.k)->hex, keyring_id(t->k)->hex) < 0) == puppet_smaller)
			break;
		keyring_free(t->k);
		puppet_fini(&t->p);
	}
	struct session_config c = test_config(&t->e, t->k, SESSION_LISTENER);
	assert_int_equal(v09_session_new(&c, &s), ERR_OK);
	end_init(&t->end, s);
	t->p.version = version;
	session_start(s);
	end_drain(&t->end);
	assert_true(puppet_handshake(&t->p, &t->end));
	end_forget(&t->end);
	return t;
}

static void stage_free(struct stage *t)
{
	end_fini(&t->end);
	puppet_fini(&t->p);
	keyring_free(t->k);
	free(t);
}

static void say_rekey(struct stage *t, bool response, const uint8_t *public, const char *rekey_id)
{
	char payload[2048];
	struct buf b;

	buf_init(&b, 4096);
	rekey_write(&b, response, keyring_id(t->p.k), public, bytes_str(rekey_id));
	base64_encode(buf_bytes(&b), payload);
	buf_fini(&b);
	puppet_say(&t->p, &t->end, response ? "REKEY_RESPONSE" : "REKEY_REQUEST", "r", "*", payload,
		   NULL);
}

static void peer_that_never_answers_is_left_in_peace(void **state)
{
	struct stage *t = stage_new("ironmesh/0.6", false);

	penv_pass(&t->e, 1800000);
	session_tick(t->end.s);
	end_drain(&t->end);
	assert_int_equal(t->end.wire_n, 1);
	penv_pass(&t->e, 15000);
	session_tick(t->end.s);
	end_drain(&t->end);
	assert_true(session_online(t->end.s));
	assert_true(session_can_send(t->end.s));
	assert_int_equal(session_deadline_ms(t->end.s), UINT64_MAX);
	penv_pass(&t->e, 4000000);
	session_tick(t->end.s);
	end_drain(&t->end);
	assert_int_equal(t->end.wire_n, 1);
	stage_free(t);
}

static void peers_below_0_5_are_never_asked(void **state)
{
	struct stage *t = stage_new("ironmesh/0.4", false);

	assert_int_equal(session_deadline_ms(t->end.s), UINT64_MAX);
	assert_int_equal(session_rekey(t->end.s), ERR_VERSION);
	stage_free(t);
}

static void requests_are_answered_once_and_not_too_often(void **state)
{
	struct stage *t = stage_new(V09_VERSION_TEXT, true);
	uint8_t secret[32], public[32], low[32] = {0};
	char id[32];

	/* The puppet follows none of the switches, so it asks anew from the start each time. */
	say_rekey(t, false, low, "low");
	assert_string_equal(end_last(&t->end, SESSION_EV_DROPPED)->word, "rekey-low-order");
	assert_int_equal(end_count(&t->end, SESSION_EV_REKEYED), 0);
	assert_true(session_online(t->end.s));

	env_random(&t->e.env, secret, 32);
	crypto_scalarmult_base(public, secret);
	say_rekey(t, false, public, "first");
	assert_int_equal(end_count(&t->end, SESSION_EV_REKEYED), 1);
	char *text = puppet_open(&t->p, &t->end.wire[0]); /* still under the old key */
	assert_non_null(text);
	assert_non_null(strstr(text, "REKEY_RESPONSE"));
	free(text);
	/* Under the old key nothing of that kind counts any more. */
	say_rekey(t, false, public, "second");
	assert_string_equal(end_last(&t->end, SESSION_EV_DROPPED)->word, "rekey-old-key");

	/* On to the new key, as a peer would. */
	memcpy(t->p.key, key_of(&t->end), 32);
	t->p.sequence = 1;
	say_rekey(t, false, public, "third"); /* seen ephemeral */
	assert_string_equal(end_last(&t->end, SESSION_EV_DROPPED)->word, "rekey-repeated");
	env_random(&t->e.env, secret, 32);
	crypto_scalarmult_base(public, secret);
	say_rekey(t, false, public, "first"); /* seen id */
	assert_string_equal(end_last(&t->end, SESSION_EV_DROPPED)->word, "rekey-repeated");
	for (int i = 0; i < 10; i++) {
		env_random(&t->e.env, secret, 32);
		crypto_scalarmult_base(public, secret);
		snprintf(id, sizeof id, "n%d", i);
		say_rekey(t, false, public, id);
		memcpy(t->p.key, key_of(&t->end), 32);
		t->p.sequence = end_last(&t->end, SESSION_EV_DROPPED) ? t->p.sequence : 1;
	}
	assert_string_equal(end_last(&t->end, SESSION_EV_DROPPED)->word, "rekey-rate");
	stage_free(t);
}

static void answers_must_have_been_asked_for(void **state)
{
	struct stage *t = stage_new(V09_VERSION_TEXT, false);
	uint8_t before[32], low[32] = {0};

	memcpy(before, key_of(&t->end), 32);
	say_rekey(t, true, t->p.public, "x");
	assert_string_equal(end_last(&t->end, SESSION_EV_DROPPED)->word, "rekey-unasked");
	assert_int_equal(session_rekey(t->end.s), ERR_OK);
	end_drain(&t->end);
	say_rekey(t, true, t->p.public, "other id");
	assert_string_equal(end_last(&t->end, SESSION_EV_DROPPED)->word, "rekey-unasked");
	assert_memory_equal(before, key_of(&t->end), 32);
	puppet_say(&t->p, &t->end, "REKEY_RESPONSE", "r", "*", "e30=", NULL);
	assert_string_equal(end_last(&t->end, SESSION_EV_DROPPED)->word, "rekey-malformed");
	/* The right id with a point of low order: nothing in common is left. */
	char id[64];
	memcpy(id, ((const struct v09 *)t->end.s)->rekey_id, 37);
	say_rekey(t, true, low, id);
	assert_true(session_over(t->end.s));
	stage_free(t);
}

static void free_in_every_state_of_a_rekey(void **state)
{
	for (int units = 0; units < 5; units++) {
		struct pair *p = online();

		assert_int_equal(session_rekey(p->a.s), ERR_OK);
		end_drain(&p->a);
		for (int i = 0; i < units && (p->a.wire_n || p->b.wire_n); i++) {
			struct end *from = p->a.wire_n ? &p->a : &p->b;
			struct said u = end_pop(from);

			end_take(from == &p->a ? &p->b : &p->a, u.p, u.n, false);
			free(u.p);
		}
		pair_free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(smaller_id_rekeys_on_time),
		cmocka_unit_test(operator_rekeys_from_either_side),
		cmocka_unit_test(frames_in_flight_survive_the_switch),
		cmocka_unit_test(replays_across_a_rekey_are_refused),
		cmocka_unit_test(collision_ends_with_one_new_key),
		cmocka_unit_test(lost_response_ends_the_session),
		cmocka_unit_test(responder_gives_up_on_an_old_key),
		cmocka_unit_test(messages_pause_around_a_rekey),
		cmocka_unit_test(peer_that_never_answers_is_left_in_peace),
		cmocka_unit_test(peers_below_0_5_are_never_asked),
		cmocka_unit_test(requests_are_answered_once_and_not_too_often),
		cmocka_unit_test(answers_must_have_been_asked_for),
		cmocka_unit_test(free_in_every_state_of_a_rekey),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
