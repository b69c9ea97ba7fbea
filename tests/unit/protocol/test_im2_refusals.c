/* What a host answers to who may not, to who may not now, and to what anybody put on the line (im2.md 3.3, 5.8, 5.9). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "protocol/im2/im2_internal.h"
#include "tests/lib/protocol_im2_pair.h"

struct world {
	struct penv e;
	struct inode a, b;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	assert_non_null(w);
	penv_init(&w->e);
	inode_init(&w->a, &w->e, 0, NULL);
	inode_init(&w->b, &w->e, 1, NULL);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	inode_fini(&w->a);
	inode_fini(&w->b);
	free(w);
	return 0;
}

static const struct ipath_opts expecting = {.transport = IM2_WEBSOCKET, .expect = true};

/* The wait that the dialler is asked for when the owner of the listener refuses it with `e`. */
static uint64_t asked_to_wait(struct world *w, const struct ipath_opts *o, enum err e, enum err heard)
{
	struct ipath *p = ipath_new(&w->a, &w->b, o);
	const struct seen *over;
	uint64_t wait;

	p->b.refuse = true;
	p->b.refuse_err = e;
	ipath_start(p);
	ipath_flush(p);
	over = end_last(&p->a, SESSION_EV_OVER);
	assert_non_null(over);
	assert_int_equal(over->err, heard);
	assert_int_equal(over->blame, BLAME_REMOTE);
	assert_int_equal(end_last(&p->b, SESSION_EV_OVER)->err, e);
	wait = over->wait_ms;
	ipath_free(p);
	return wait;
}

/* --- denied, or busy (5.9) --- */

static void only_policy_denies(void **state)
{
	static const enum err policy[] = {ERR_DENIED, ERR_UNTRUSTED, ERR_KEY_CHANGED, ERR_DOWNGRADE, ERR_SELF};
	static const enum err moment[] = {ERR_FULL, ERR_STORE, ERR_NOMEM, ERR_IO};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof policy / sizeof policy[0]; i++)
		assert_int_equal(asked_to_wait(w, NULL, policy[i], ERR_DENIED), 3600000);
	for (size_t i = 0; i < sizeof moment / sizeof moment[0]; i++)
		assert_int_equal(asked_to_wait(w, NULL, moment[i], ERR_AGAIN), 60000);
	assert_int_equal(asked_to_wait(w, NULL, ERR_AGAIN, ERR_AGAIN), 5000);
	assert_int_equal(w->a.pins_n + w->b.pins_n, 0);
}

static void a_known_peer_hears_busy_too(void **state)
{
	struct world *w = *state;
	struct message m = imessage(1, "x");
	struct ipath *p;

	inode_know(&w->a, &w->b);
	inode_know(&w->b, &w->a);
	assert_int_equal(asked_to_wait(w, &expecting, ERR_AGAIN, ERR_AGAIN), 5000);
	assert_int_equal(asked_to_wait(w, &expecting, ERR_FULL, ERR_AGAIN), 60000);
	/* And so does who comes with a frame of a live session. */
	p = ipath_online(&w->a, &w->b, NULL);
	assert_int_equal(session_send(p->a.s, &m), ERR_OK);
	ipath_flush(p);
	ipath_free(p);
	assert_int_equal(asked_to_wait(w, &expecting, ERR_FULL, ERR_AGAIN), 60000);
}

static void a_disk_that_refuses_x4_asks_to_wait(void **state)
{
	struct world *w = *state;
	struct ipath *p = ipath_new(&w->a, &w->b, NULL);

	w->b.disk_broken = true;
	ipath_start(p);
	ipath_flush(p);
	assert_int_equal(end_last(&p->b, SESSION_EV_OVER)->err, ERR_STORE);
	assert_int_equal(end_last(&p->a, SESSION_EV_OVER)->err, ERR_AGAIN);
	assert_int_equal(end_last(&p->a, SESSION_EV_OVER)->wait_ms, 60000);
	ipath_free(p);
}

/* --- X1 that anybody put on the line (5.8) --- */

struct x1 {
	uint8_t p[50];
	size_t n;
};

static struct x1 made_up(unsigned how)
{
	struct x1 u = {.p = {IM2_UNIT_X1, 1}, .n = 50};

	for (uint8_t i = 2; i < 50; i++)
		u.p[i] = i;
	switch (how) {
	case 0:
		u.n = 10;
		break;
	case 1:
		u.p[1] = 2; /* pairing is not served here */
		break;
	case 2:
		u.p[1] = 9;
		break;
	case 3: /* no point; and the nonce is the smaller one */
		memset(u.p + 2, 0, 16);
		break;
	default:
		memset(u.p + 2, 0xff, 16);
		break;
	}
	return u;
}

static void an_injected_x1_changes_nothing(void **state)
{
	static const uint8_t transports[] = {IM2_RNS_LINK, IM2_SERIAL};
	struct world *w = *state;

	for (unsigned how = 0; how < 5; how++) {
		for (unsigned at = 0; at < 4; at++) {
			struct ipath *p = ipath_new(&w->a, &w->b, &(struct ipath_opts){.transport = transports[at & 1]});
			struct x1 u = made_up(how);

			ipath_start(p);
			end_take(at & 2 ? &p->a : &p->b, u.p, u.n, false);
			assert_false(session_over(p->a.s));
			assert_false(session_over(p->b.s));
			assert_int_equal(p->b.wire_n, 0); /* an ERR would end who sends the good one */
			ipath_flush(p);
			assert_true(session_online(p->a.s) && session_online(p->b.s));
			ipath_free(p);
		}
	}
}

static void on_a_reliable_line_a_bad_x1_is_the_end(void **state)
{
	struct world *w = *state;

	for (unsigned how = 0; how < 5; how++) {
		struct ipath *p = ipath_new(&w->a, &w->b, NULL);
		struct x1 u = made_up(how);

		session_start(p->b.s);
		end_drain(&p->b);
		end_take(&p->b, u.p, u.n, false);
		assert_true(session_over(p->b.s));
		ipath_free(p);
	}
}

/* It would answer itself, and show an injector that it does. */
static void an_x1_that_comes_back_is_not_answered(void **state)
{
	struct world *w = *state;
	struct ipath *p = ipath_new(&w->a, &w->b, &(struct ipath_opts){.transport = IM2_SERIAL});

	ipath_start(p);
	assert_int_equal(p->a.wire_n, 1);
	struct said u = p->a.wire[0];
	end_take(&p->a, u.p, u.n, false);
	assert_int_equal(p->a.wire_n, 1);
	assert_int_equal(w->a.guesses, 0);
	ipath_flush(p);
	assert_true(session_online(p->a.s) && session_online(p->b.s));
	ipath_free(p);
}

static void who_must_wait_is_told_and_may_come_again(void **state)
{
	struct world *w = *state;
	struct ipath *p = ipath_new(&w->a, &w->b, &(struct ipath_opts){.transport = IM2_SERIAL});

	w->b.busy_s = 7;
	ipath_start(p);
	struct said u = end_pop(&p->a);
	end_take(&p->b, u.p, u.n, false);
	assert_int_equal(p->b.wire_n, 1);
	assert_int_equal(p->b.wire[0].p[1], IM2_ERR_BUSY);
	assert_false(session_over(p->b.s));
	ipath_lose(p);
	w->b.busy_s = 0;
	end_take(&p->b, u.p, u.n, false);
	ipath_flush(p);
	assert_true(session_online(p->a.s) && session_online(p->b.s));
	free(u.p);
	ipath_free(p);
}

/* --- ERR per address (5.9) --- */

/* ERR units that one connection from `source` gets for `n` frames of sessions that are not. */
static size_t errs_for(struct world *w, const char *source, size_t n)
{
	struct ipath *p = ipath_new(&w->a, &w->b, &(struct ipath_opts){.transport = IM2_WEBSOCKET, .source = source});
	uint8_t frame[40] = {IM2_UNIT_FRAME, 1, 2, 3, 4};
	size_t got;

	session_start(p->b.s);
	end_drain(&p->b);
	ipath_lose(p);
	for (size_t i = 0; i < n; i++)
		end_take(&p->b, frame, sizeof frame, false);
	got = p->b.wire_n;
	for (size_t i = 0; i < got; i++)
		assert_int_equal(p->b.wire[i].p[0], IM2_UNIT_ERR);
	ipath_free(p);
	return got;
}

static void an_address_gets_ten_errs_and_then_one_a_second(void **state)
{
	struct world *w = *state;

	assert_int_equal(errs_for(w, "192.0.2.1", 7), 7);
	assert_int_equal(errs_for(w, "192.0.2.1", 7), 3);
	assert_int_equal(errs_for(w, "192.0.2.1", 7), 0);
	assert_int_equal(errs_for(w, "192.0.2.2", 7), 7); /* others are not to blame */
	penv_pass(&w->e, 2000);
	assert_int_equal(errs_for(w, "192.0.2.1", 7), 2);
	assert_int_equal(im2_host_counters(w->b.host)->errs_sent, 19);
	/* Who keeps trying is cut off all the same. */
	struct ipath *p = ipath_new(&w->a, &w->b, &(struct ipath_opts){.transport = IM2_WEBSOCKET, .source = "192.0.2.1"});
	uint8_t frame[40] = {IM2_UNIT_FRAME};
	session_start(p->b.s);
	end_drain(&p->b);
	for (int i = 0; i < 8; i++)
		end_take(&p->b, frame, sizeof frame, false);
	assert_true(session_over(p->b.s));
	ipath_free(p);
}

static void many_addresses_fill_no_memory(void **state)
{
	struct world *w = *state;
	char source[IM2_SOURCE_MAX + 1];

	assert_int_equal(errs_for(w, "192.0.2.1", 8), 8);
	for (unsigned i = 0; i < 10001; i++) {
		snprintf(source, sizeof source, "2001:db8::%u", i);
		assert_int_equal(errs_for(w, source, 1), 1);
	}
	assert_int_equal(errs_for(w, "192.0.2.1", 8), 8); /* the oldest was forgotten */
}

/* --- a list that does not parse (3.3) --- */

/* Under a true key, what no build of ours says. */
static void say_unreadable(struct im2_session *s, struct end *to)
{
	struct buf b;

	buf_init(&b, 256);
	assert_int_equal(im2_frame_build(&s->tx, BYTES_LIT("\x65"), 1, &b), ERR_OK);
	end_take(to, b.p, b.n, false);
	buf_fini(&b);
}

static struct im2_peer *seen_by(struct inode *n, const struct inode *who)
{
	return im2_peer_find(n->host, keyring_ed(who->k));
}

static void assert_closed_with_3(struct world *w, struct ipath *p)
{
	assert_true(session_over(p->b.s));
	assert_int_equal(end_last(&p->b, SESSION_EV_OVER)->err, ERR_MALFORMED);
	ipath_flush(p);
	assert_string_equal(end_last(&p->a, SESSION_EV_OVER)->word, "protocol-error-there");
	assert_null(seen_by(&w->a, &w->b)->current);
	assert_null(seen_by(&w->b, &w->a)->current);
	ipath_free(p);
}

static void an_unreadable_first_frame_on_a_new_connection_closes_its_session(void **state)
{
	struct world *w = *state;
	struct message m = imessage(1, "x");
	struct ipath *p = ipath_online(&w->a, &w->b, NULL);

	assert_int_equal(session_send(p->a.s, &m), ERR_OK);
	ipath_flush(p);
	ipath_free(p);
	p = ipath_new(&w->a, &w->b, &expecting);
	ipath_start(p);
	ipath_move(p, &p->b, 1); /* S1 */
	ipath_lose(p);
	say_unreadable(seen_by(&w->a, &w->b)->current, &p->b);
	assert_int_equal(end_count(&p->b, SESSION_EV_IDENTIFIED), 0);
	assert_closed_with_3(w, p);
}

static void an_unreadable_first_frame_after_i2_closes_its_session(void **state)
{
	struct world *w = *state;
	struct ipath *p;

	inode_know(&w->a, &w->b);
	inode_know(&w->b, &w->a);
	p = ipath_new(&w->a, &w->b, &expecting);
	ipath_start(p);
	ipath_move(p, &p->b, 1); /* S1 */
	ipath_move(p, &p->a, 1); /* I1 */
	ipath_move(p, &p->b, 1); /* I2 */
	ipath_lose(p);
	assert_true(session_online(p->a.s));
	say_unreadable(seen_by(&w->a, &w->b)->current, &p->b);
	assert_int_equal(end_count(&p->b, SESSION_EV_ONLINE), 0);
	assert_closed_with_3(w, p);
}

/* The session before ends; the one that is used goes on. */
static void an_unreadable_frame_of_an_older_session_closes_that_one(void **state)
{
	struct world *w = *state;
	struct ipath *p = ipath_online(&w->a, &w->b, NULL);
	struct message m = imessage(1, "x");

	assert_int_equal(session_send(p->a.s, &m), ERR_OK);
	ipath_flush(p);
	assert_int_equal(session_rekey(p->a.s), ERR_OK);
	ipath_flush(p);
	assert_non_null(seen_by(&w->a, &w->b)->previous);
	assert_non_null(seen_by(&w->b, &w->a)->previous);
	end_forget(&p->b);
	say_unreadable(seen_by(&w->a, &w->b)->previous, &p->b);
	assert_int_equal(p->b.wire_n, 1);
	assert_memory_equal(p->b.wire[0].p + 1, seen_by(&w->a, &w->b)->previous->index, 4);
	ipath_flush(p);
	assert_null(seen_by(&w->a, &w->b)->previous);
	assert_null(seen_by(&w->b, &w->a)->previous);
	m = imessage(2, "goes on");
	assert_int_equal(session_send(p->a.s, &m), ERR_OK);
	ipath_flush(p);
	assert_int_equal(end_count(&p->b, SESSION_EV_MESSAGE), 1);
	ipath_free(p);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(only_policy_denies),
		T(a_known_peer_hears_busy_too),
		T(a_disk_that_refuses_x4_asks_to_wait),
		T(an_injected_x1_changes_nothing),
		T(on_a_reliable_line_a_bad_x1_is_the_end),
		T(an_x1_that_comes_back_is_not_answered),
		T(who_must_wait_is_told_and_may_come_again),
		T(an_address_gets_ten_errs_and_then_one_a_second),
		T(many_addresses_fill_no_memory),
		T(an_unreadable_first_frame_on_a_new_connection_closes_its_session),
		T(an_unreadable_first_frame_after_i2_closes_its_session),
		T(an_unreadable_frame_of_an_older_session_closes_that_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
