/* New keys for a session, old ones beside them, and sessions that only one side still has (im2.md 6.3, 6.4). */
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
	struct ipath *p;
};

static const struct ipath_opts expecting = { .transport = IM2_WEBSOCKET, .expect = true };

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	assert_non_null(w);
	penv_init(&w->e);
	inode_init(&w->a, &w->e, 0, NULL);
	inode_init(&w->b, &w->e, 1, NULL);
	w->p = ipath_online(&w->a, &w->b, NULL);
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

static void send(struct end *e, uint64_t seq)
{
	struct message m = imessage(seq, "x");

	assert_int_equal(session_send(e->s, &m), ERR_OK);
}

static void talk_both_ways(struct world *w)
{
	end_forget(&w->p->a);
	end_forget(&w->p->b);
	send(&w->p->a, 1);
	send(&w->p->b, 2);
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->a, SESSION_EV_MESSAGE), 1);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 1);
}

static void ids(struct world *w, uint8_t a[16], uint8_t b[16])
{
	im2_link_session_id(w->p->a.s, a);
	im2_link_session_id(w->p->b.s, b);
}

static void assert_new_keys(struct world *w, const uint8_t before[16])
{
	uint8_t a[16], b[16];

	ids(w, a, b);
	assert_memory_equal(a, b, 16);
	assert_memory_not_equal(a, before, 16);
}

static void either_side_rekeys_on_demand(void **state)
{
	struct world *w = *state;
	uint8_t before[16], other[16];

	for (int side = 0; side < 2; side++) {
		struct end *e = side ? &w->p->b : &w->p->a;

		talk_both_ways(w);
		ids(w, before, other);
		assert_int_equal(session_rekey(e->s), ERR_OK);
		assert_int_equal(session_rekey(e->s), ERR_WRONG_STATE);
		ipath_flush(w->p);
		assert_int_equal(end_count(&w->p->a, SESSION_EV_REKEYED), 1);
		assert_int_equal(end_count(&w->p->b, SESSION_EV_REKEYED), 1);
		assert_int_equal(end_count(&w->p->a, SESSION_EV_IDENTIFIED), 0);
		assert_new_keys(w, before);
		talk_both_ways(w);
		penv_pass(&w->e, 20000);
	}
	assert_int_equal(im2_host_counters(w->a.host)->rekeys, 2);
}

/* The initiator of the session (the listener, 5.3) begins after 30 minutes, without being asked. */
static void time_asks_for_new_keys(void **state)
{
	struct world *w = *state;
	uint8_t before[16], other[16];

	ids(w, before, other);
	assert_true(session_deadline_ms(w->p->b.s) <= w->e.now_ms + 1800000);
	penv_pass(&w->e, 1800000);
	session_tick(w->p->a.s);
	end_drain(&w->p->a);
	assert_int_equal(w->p->a.wire_n, 0);
	session_tick(w->p->b.s);
	ipath_flush(w->p);
	assert_new_keys(w, before);
	talk_both_ways(w);
}

static void the_other_side_begins_when_the_first_does_not(void **state)
{
	struct world *w = *state;
	uint8_t before[16], other[16];

	ids(w, before, other);
	penv_pass(&w->e, 2250000);
	session_tick(w->p->a.s);
	end_drain(&w->p->a);
	assert_int_equal(w->p->a.wire_n, 1);
	ipath_flush(w->p);
	assert_new_keys(w, before);
}

static void used_up_counters_ask_for_new_keys(void **state)
{
	struct world *w = *state;
	struct im2_link *l = (struct im2_link *)w->p->a.s;
	uint8_t before[16], other[16];

	talk_both_ways(w);
	ids(w, before, other);
	l->peer->current->tx.next = 1u << 31;
	send(&w->p->a, 3);
	ipath_flush(w->p);
	assert_new_keys(w, before);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 2);
	talk_both_ways(w);
}

/* Nothing goes out under a key whose counters are gone. */
static void at_the_last_counter_the_session_is_over(void **state)
{
	struct world *w = *state;
	struct im2_link *l = (struct im2_link *)w->p->a.s;

	inode_pin(&w->a, &w->b)->refused = true; /* no rekey */
	l->peer->current->tx.next = IM2_COUNTER_END - 1;
	send(&w->p->a, 3);
	end_drain(&w->p->a);
	assert_int_equal(w->p->a.wire_n, 1);
	send(&w->p->a, 4);
	end_drain(&w->p->a);
	assert_int_equal(w->p->a.wire_n, 1);
	assert_true(session_over(w->p->a.s));
}

static void a_session_that_was_never_renewed_ends(void **state)
{
	struct world *w = *state;

	inode_pin(&w->a, &w->b)->refused = true;
	inode_pin(&w->b, &w->a)->refused = true;
	for (int i = 0; i < 54; i++) {
		assert_false(session_over(w->p->a.s));
		ipath_tick(w->p, 100000);
		ipath_flush(w->p);
	}
	assert_true(session_over(w->p->a.s));
	assert_true(session_over(w->p->b.s));
	assert_int_equal(end_last(&w->p->a, SESSION_EV_OVER)->err, ERR_EXPIRED);
}

static void frames_under_the_old_keys_arrive_during_the_overlap(void **state)
{
	struct world *w = *state;
	struct said old[2];

	for (int i = 0; i < 2; i++) {
		send(&w->p->a, (uint64_t)i + 1);
		end_drain(&w->p->a);
		old[i] = end_pop(&w->p->a);
	}
	assert_int_equal(session_rekey(w->p->b.s), ERR_OK);
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 0);
	end_take(&w->p->b, old[0].p, old[0].n, false);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 1);
	ipath_tick(w->p, 60001);
	ipath_flush(w->p);
	end_take(&w->p->b, old[1].p, old[1].n, false);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 1);
	free(old[0].p);
	free(old[1].p);
}

static void a_rekey_that_is_lost_is_tried_again(void **state)
{
	struct world *w = *state;
	uint8_t before[16], other[16];

	ids(w, before, other);
	penv_pass(&w->e, 1800000);
	session_tick(w->p->b.s);
	end_drain(&w->p->b);
	assert_int_equal(w->p->b.wire_n, 1);
	ipath_lose(w->p);
	talk_both_ways(w); /* the old session goes on */
	ipath_tick(w->p, 5001); /* the step ends */
	ipath_flush(w->p);
	ipath_tick(w->p, 5001); /* 5 s after the failure */
	assert_int_equal(w->p->b.wire_n, 1);
	ipath_flush(w->p);
	assert_new_keys(w, before);
	talk_both_ways(w);
}

static void crossing_rekeys_end_in_one(void **state)
{
	struct world *w = *state;
	uint8_t before[16], other[16];

	talk_both_ways(w);
	ids(w, before, other);
	assert_int_equal(session_rekey(w->p->a.s), ERR_OK);
	assert_int_equal(session_rekey(w->p->b.s), ERR_OK);
	end_drain(&w->p->a);
	end_drain(&w->p->b);
	ipath_flush(w->p);
	assert_new_keys(w, before);
	assert_int_equal(end_count(&w->p->a, SESSION_EV_REKEYED), 1);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_REKEYED), 1);
	talk_both_ways(w);
}

/* Two confirmed within 10 s: both ends keep the one of the smaller id as current. */
static void two_new_sessions_at_once_agree(void **state)
{
	struct world *w = *state;
	struct ipath *q = ipath_new(&w->b, &w->a, &(struct ipath_opts){ .transport = IM2_WEBSOCKET });
	uint8_t a[16], b[16];

	/* A first contact the other way round, a moment later. */
	talk_both_ways(w);
	penv_pass(&w->e, 5000);
	ipath_start(q);
	ipath_flush(q);
	assert_true(session_online(q->a.s));
	ids(w, a, b);
	assert_memory_equal(a, b, 16);
	talk_both_ways(w);
	ipath_free(q);
}

/* Restarted within those 10 s, the dialler begins anew: the listener may not go on with what nobody else has. */
static void a_session_that_the_dialler_lost_is_not_preferred(void **state)
{
	struct ipath_opts again = { .transport = IM2_WEBSOCKET, .expect = true };
	struct world *w = *state;
	uint8_t mine[16], theirs[16];

	ipath_free(w->p);
	w->p = NULL;
	for (int turn = 0; turn < 2; turn++) {
		struct inode *dialler = turn ? &w->b : &w->a, *listener = turn ? &w->a : &w->b;

		inode_restart(&w->a);
		inode_restart(&w->b);
		w->p = ipath_online(dialler, listener, NULL);
		talk_both_ways(w);
		ipath_free(w->p);
		inode_restart(dialler);
		penv_pass(&w->e, 50);
		w->p = ipath_online(dialler, listener, &again);
		im2_link_session_id(w->p->a.s, mine);
		im2_link_session_id(w->p->b.s, theirs);
		assert_memory_equal(mine, theirs, sizeof mine);
		talk_both_ways(w);
		assert_int_equal(im2_host_counters(dialler->host)->frames_unknown, 0);
		ipath_free(w->p);
		w->p = NULL;
	}
}

static void a_rekey_storm_loses_nothing(void **state)
{
	struct world *w = *state;
	unsigned sent = 0;

	for (int i = 0; i < 300; i++) {
		(void)!session_rekey(i % 3 ? w->p->a.s : w->p->b.s);
		send(&w->p->a, ++sent);
		end_drain(&w->p->a);
		end_drain(&w->p->b);
		if (i % 2) {
			ipath_move(w->p, &w->p->b, 1);
			ipath_move(w->p, &w->p->a, 2);
		}
		if (i % 7 == 0)
			ipath_flush(w->p);
		penv_pass(&w->e, 777);
	}
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), sent);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_DROPPED), 0);
	assert_false(session_over(w->p->a.s));
	talk_both_ways(w);
}

static void a_transfer_survives_a_rekey(void **state)
{
	struct world *w = *state;
	uint8_t *big = malloc(900000);
	struct message m = imessage(1, "");

	im2_link_trusted(w->p->b.s, true);
	memset(big, 'r', 900000);
	m.body = bytes_of(big, 900000);
	assert_int_equal(session_send(w->p->a.s, &m), ERR_OK);
	end_drain(&w->p->a);
	ipath_move(w->p, &w->p->a, 3);
	assert_int_equal(session_rekey(w->p->b.s), ERR_OK);
	for (int i = 0; i < 20 && !end_count(&w->p->b, SESSION_EV_MESSAGE); i++) {
		ipath_flush(w->p);
		ipath_tick(w->p, 1000);
	}
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 1);
	free(big);
}

/* The new secret is on disk before anything depends on it; when the disk refuses, the connection ends. */
static void a_disk_that_refuses_ends_the_session_before_it_answers(void **state)
{
	struct world *w = *state;

	talk_both_ways(w);
	/* As if both had lost their secrets: IK makes a new one, and it must be kept. */
	memset(&inode_pin(&w->a, &w->b)->psks, 0, sizeof(struct psks));
	memset(&inode_pin(&w->b, &w->a)->psks, 0, sizeof(struct psks));
	w->b.disk_broken = true;
	assert_int_equal(session_rekey(w->p->a.s), ERR_OK);
	ipath_flush(w->p);
	assert_true(session_over(w->p->b.s));
	assert_int_equal(end_last(&w->p->b, SESSION_EV_OVER)->err, ERR_STORE);
	assert_false(inode_pin(&w->b, &w->a)->psks.has_confirmed);
}

/* 6.4: who hears nothing for 30 s begins anew by itself. */
static void a_peer_that_lost_the_session_is_healed(void **state)
{
	struct world *w = *state;
	struct im2_link *l = (struct im2_link *)w->p->b.s;

	talk_both_ways(w);
	/* The far side forgets its keys, and what it says about that gets lost. */
	im2_session_erase(l->host, l->peer->current);
	send(&w->p->a, 5);
	end_drain(&w->p->a);
	ipath_move(w->p, &w->p->a, 1);
	ipath_lose(w->p);
	penv_pass(&w->e, 30001);
	session_tick(w->p->a.s);
	end_drain(&w->p->a);
	ipath_flush(w->p);
	end_forget(&w->p->b);
	send(&w->p->a, 6);
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 1);
}

static void err_1_on_a_live_connection_is_healed_at_once_and_seldom(void **state)
{
	struct world *w = *state;
	struct im2_link *l = (struct im2_link *)w->p->b.s;
	uint8_t forged[6] = { IM2_UNIT_ERR, IM2_ERR_NO_SESSION };

	talk_both_ways(w);
	/* A forged one about another index does nothing. */
	end_take(&w->p->a, forged, sizeof forged, false);
	assert_int_equal(w->p->a.wire_n, 0);
	im2_session_erase(l->host, l->peer->current);
	send(&w->p->a, 5);
	ipath_flush(w->p);
	end_forget(&w->p->b);
	send(&w->p->a, 6);
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->b, SESSION_EV_MESSAGE), 1);
	/* The true index, over and over: one handshake in 5 s. */
	memcpy(forged + 2, ((struct im2_link *)w->p->a.s)->peer->current->tx.index, 4);
	for (int i = 0; i < 10; i++)
		end_take(&w->p->a, forged, sizeof forged, false);
	assert_int_equal(w->p->a.wire_n, 0);
}

/* During a rekey an ERR costs a try, never the session (5.9). */
static void err_during_a_rekey_costs_a_try(void **state)
{
	struct world *w = *state;
	uint8_t psk[2] = { IM2_UNIT_ERR, IM2_ERR_PSK }, denied[2] = { IM2_UNIT_ERR, IM2_ERR_DENIED };
	uint8_t key[32];

	talk_both_ways(w);
	memset(key, 9, sizeof key);
	assert_true(psks_candidate(&inode_pin(&w->a, &w->b)->psks, key));
	assert_int_equal(session_rekey(w->p->a.s), ERR_OK);
	end_drain(&w->p->a);
	ipath_lose(w->p);
	end_take(&w->p->a, psk, sizeof psk, false); /* the next secret */
	assert_int_equal(w->p->a.wire_n, 1);
	assert_int_equal(w->p->a.wire[0].p[0], IM2_UNIT_I1);
	ipath_lose(w->p);
	end_take(&w->p->a, psk, sizeof psk, false); /* none is left */
	assert_int_equal(w->p->a.wire_n, 0);
	talk_both_ways(w);
	assert_int_equal(session_rekey(w->p->a.s), ERR_OK);
	end_drain(&w->p->a);
	ipath_lose(w->p);
	end_take(&w->p->a, denied, sizeof denied, false);
	talk_both_ways(w);
	assert_int_equal(session_rekey(w->p->a.s), ERR_OK);
	ipath_flush(w->p);
	assert_int_equal(end_count(&w->p->a, SESSION_EV_REKEYED), 1);
}

static void garbage_during_a_rekey_costs_a_try(void **state)
{
	struct world *w = *state;

	talk_both_ways(w);
	assert_int_equal(session_rekey(w->p->a.s), ERR_OK);
	end_drain(&w->p->a);
	ipath_move(w->p, &w->p->a, 1);
	struct said u = end_pop(&w->p->b);
	u.p[u.n - 1] ^= 1;
	end_take(&w->p->a, u.p, u.n, false);
	free(u.p);
	talk_both_ways(w);
	assert_int_equal(session_rekey(w->p->a.s), ERR_OK);
	ipath_flush(w->p);
	talk_both_ways(w);
}

/* Whoever is on the way repeats an I1 as often as he likes: a few answers, no session, no harm. */
static void repeated_i1s_on_a_live_connection_do_no_harm(void **state)
{
	struct world *w = *state;
	struct im2_peer *p = im2_peer_find(w->b.host, keyring_ed(w->a.k));
	uint8_t before[16], other[16];

	talk_both_ways(w);
	ids(w, before, other);
	assert_int_equal(session_rekey(w->p->a.s), ERR_OK);
	end_drain(&w->p->a);
	struct said u = end_pop(&w->p->a);
	for (int i = 0; i < 100; i++)
		end_take(&w->p->b, u.p, u.n, false);
	assert_int_equal(p->half_n, 4);
	assert_true(w->p->b.wire_n <= 20);
	ipath_lose(w->p);
	free(u.p);
	talk_both_ways(w);
	ids(w, other, other);
	assert_memory_equal(before, other, 16);
}

/* Goodbye reaches every connection of the peer. */
static void goodbye_ends_all_paths(void **state)
{
	struct world *w = *state;
	struct ipath *q;

	talk_both_ways(w);
	q = ipath_online(&w->a, &w->b, &expecting);
	assert_int_equal(session_goodbye(w->p->a.s), ERR_OK);
	ipath_flush(w->p);
	ipath_flush(q);
	assert_true(session_over(w->p->a.s) && session_over(w->p->b.s));
	assert_true(session_over(q->a.s) && session_over(q->b.s));
	ipath_free(q);
}

/* The host erases a session: its connections notice by themselves. */
static void a_connection_without_a_session_ends(void **state)
{
	struct world *w = *state;

	talk_both_ways(w);
	im2_peer_erase_sessions(w->a.host, im2_peer_find(w->a.host, keyring_ed(w->b.k)));
	assert_false(session_can_send(w->p->a.s));
	struct message m = imessage(1, "x");
	assert_int_equal(session_send(w->p->a.s, &m), ERR_WRONG_STATE);
	assert_int_equal(session_deadline_ms(w->p->a.s), 0);
	session_tick(w->p->a.s);
	end_drain(&w->p->a);
	assert_true(session_over(w->p->a.s));
}

static void sessions_are_erased_in_time(void **state)
{
	struct world *w = *state;
	uint64_t at;

	talk_both_ways(w);
	assert_int_equal(session_rekey(w->p->a.s), ERR_OK);
	ipath_flush(w->p);
	at = im2_host_deadline_ms(w->a.host);
	assert_true(at <= w->e.now_ms + 60000);
	size_t before = im2_host_bytes(w->a.host);
	penv_pass(&w->e, 60001);
	im2_host_tick(w->a.host);
	assert_true(im2_host_bytes(w->a.host) < before);
	assert_true(im2_host_deadline_ms(w->a.host) > w->e.now_ms);
	ipath_free(w->p);
	/* Without connections the keys stay until REJECT, and then the peer goes too. */
	penv_pass(&w->e, 5400001);
	im2_host_tick(w->a.host);
	im2_host_tick(w->a.host);
	assert_null(im2_peer_find(w->a.host, keyring_ed(w->b.k)));
}

/* Handshakes that nobody finished: four per identity, 30 s. */
static void half_open_sessions_are_few_and_short(void **state)
{
	struct world *w = *state;
	struct ipath *p[6];
	struct im2_peer *peer = im2_peer_find(w->b.host, keyring_ed(w->a.k));

	talk_both_ways(w);
	inode_pin(&w->a, &w->b);
	im2_peer_erase_sessions(w->a.host, im2_peer_find(w->a.host, keyring_ed(w->b.k)));
	for (int i = 0; i < 6; i++) {
		p[i] = ipath_new(&w->a, &w->b, &expecting);
		ipath_start(p[i]);
		ipath_move(p[i], &p[i]->b, 1);
		ipath_move(p[i], &p[i]->a, 1);
		assert_int_equal(peer->half_n, i < 4 ? i + 1 : 4);
	}
	penv_pass(&w->e, 30001);
	im2_host_tick(w->b.host);
	assert_int_equal(peer->half_n, 0);
	for (int i = 0; i < 6; i++)
		ipath_free(p[i]);
}

static void the_session_table_has_a_limit(void **state)
{
	struct world *w = *state;
	struct im2_host_config c = { .limits = { .sessions = 1 } };
	struct inode small, third;
	struct ipath *p, *q;

	(void)w;
	inode_init(&small, &w->e, 5, &c);
	inode_init(&third, &w->e, 6, NULL);
	p = ipath_online(&w->a, &small, NULL);
	q = ipath_new(&third, &small, NULL);
	ipath_start(q);
	ipath_flush(q);
	assert_false(session_online(q->a.s));
	assert_true(session_online(p->a.s));
	ipath_free(p);
	ipath_free(q);
	inode_fini(&small);
	inode_fini(&third);
}

static struct ipath *dialled(struct inode *from, struct inode *to)
{
	struct ipath *p = ipath_new(from, to, NULL);

	ipath_start(p);
	ipath_flush(p);
	return p;
}

/* Whoever has the passphrase has as many identities as he likes. */
static void strangers_leave_room_for_friends(void **state)
{
	struct world *w = *state;
	struct im2_host_config c = { .limits = { .sessions = 4 } };
	struct inode small, n[7];
	struct ipath *p[7];

	inode_init(&small, &w->e, 5, &c);
	for (unsigned i = 0; i < 7; i++)
		inode_init(&n[i], &w->e, 10 + i, NULL);
	inode_know(&small, &n[4])->trusted = inode_know(&small, &n[5])->trusted = true;
	for (unsigned i = 0; i < 3; i++) {
		p[i] = dialled(&n[i], &small);
		assert_true(session_online(p[i]->a.s));
		penv_pass(&w->e, 10);
	}
	/* Three of four, and all of them are here: no more. */
	p[3] = dialled(&n[3], &small);
	assert_false(session_online(p[3]->a.s));
	ipath_free(p[3]);
	p[4] = dialled(&n[4], &small);
	assert_true(session_online(p[4]->a.s));
	p[5] = dialled(&n[5], &small);
	assert_false(session_online(p[5]->a.s));
	ipath_free(p[5]);
	/* Who went away makes room: for a stranger, and for a friend. */
	ipath_free(p[1]);
	p[3] = dialled(&n[3], &small);
	assert_true(session_online(p[3]->a.s));
	assert_null(im2_peer_find(small.host, keyring_ed(n[1].k)));
	ipath_free(p[0]);
	p[5] = dialled(&n[5], &small);
	assert_true(session_online(p[5]->a.s));
	assert_int_equal(map_count(small.host->sessions), 4);
	/* A friend keeps the session that he left. */
	ipath_free(p[4]);
	p[6] = dialled(&n[6], &small);
	assert_false(session_online(p[6]->a.s));
	assert_non_null(im2_peer_find(small.host, keyring_ed(n[4].k))->current);
	for (unsigned i = 2; i < 7; i++)
		if (i != 4)
			ipath_free(p[i]);
	for (unsigned i = 0; i < 7; i++)
		inode_fini(&n[i]);
	inode_fini(&small);
}

static void the_session_of_a_stranger_does_not_wait_long(void **state)
{
	struct world *w = *state;
	struct im2_host *b = w->b.host;

	for (int trusted = 0; trusted < 2; trusted++) {
		talk_both_ways(w);
		im2_link_trusted(w->p->a.s, true);
		im2_link_trusted(w->p->b.s, trusted);
		ipath_free(w->p);
		penv_pass(&w->e, 59999);
		im2_host_tick(b);
		assert_int_equal(map_count(b->sessions), 1);
		/* Back in time, it lives as long as any. */
		w->p = ipath_online(&w->a, &w->b, &expecting);
		assert_int_equal(im2_host_counters(b)->resumes, trusted + 1);
		penv_pass(&w->e, 1000);
		im2_host_tick(b);
		talk_both_ways(w);
		ipath_free(w->p);
		penv_pass(&w->e, 60000);
		im2_host_tick(b);
		assert_int_equal(map_count(b->sessions), trusted);
		w->p = ipath_online(&w->a, &w->b, &expecting);
		assert_int_equal(im2_host_counters(b)->resumes, 2 * trusted + 1);
	}
	ipath_free(w->p);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(either_side_rekeys_on_demand),
		T(time_asks_for_new_keys),
		T(the_other_side_begins_when_the_first_does_not),
		T(used_up_counters_ask_for_new_keys),
		T(at_the_last_counter_the_session_is_over),
		T(a_session_that_was_never_renewed_ends),
		T(frames_under_the_old_keys_arrive_during_the_overlap),
		T(a_rekey_that_is_lost_is_tried_again),
		T(crossing_rekeys_end_in_one),
		T(two_new_sessions_at_once_agree),
		T(a_session_that_the_dialler_lost_is_not_preferred),
		T(a_rekey_storm_loses_nothing),
		T(a_transfer_survives_a_rekey),
		T(a_disk_that_refuses_ends_the_session_before_it_answers),
		T(a_peer_that_lost_the_session_is_healed),
		T(err_1_on_a_live_connection_is_healed_at_once_and_seldom),
		T(err_during_a_rekey_costs_a_try),
		T(garbage_during_a_rekey_costs_a_try),
		T(repeated_i1s_on_a_live_connection_do_no_harm),
		T(goodbye_ends_all_paths),
		T(a_connection_without_a_session_ends),
		T(sessions_are_erased_in_time),
		T(half_open_sessions_are_few_and_short),
		T(the_session_table_has_a_limit),
		T(strangers_leave_room_for_friends),
		T(the_session_of_a_stranger_does_not_wait_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
