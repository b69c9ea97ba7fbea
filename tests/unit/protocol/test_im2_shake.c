/* Which handshake a connection runs, what is on disk when, ERR and time-outs (im2.md 5.3 to 5.9, 6.2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/protocol_im2_pair.h"

struct world {
	struct penv e;
	struct inode a, b, c;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	assert_non_null(w);
	penv_init(&w->e);
	inode_init(&w->a, &w->e, 0, NULL);
	inode_init(&w->b, &w->e, 1, NULL);
	inode_init(&w->c, &w->e, 2, NULL);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	inode_fini(&w->a);
	inode_fini(&w->b);
	inode_fini(&w->c);
	free(w);
	return 0;
}

static const struct ipath_opts expecting = { .transport = IM2_WEBSOCKET, .expect = true };

static struct ipath *begun(struct world *w, const struct ipath_opts *o)
{
	struct ipath *p = ipath_new(&w->a, &w->b, o);

	ipath_start(p);
	ipath_flush(p);
	return p;
}

/* Both know each other and share a secret. No session is left. */
static void befriend(struct world *w)
{
	struct ipath *p = ipath_online(&w->a, &w->b, NULL);
	struct message m = imessage(1, "x");

	assert_int_equal(session_send(p->a.s, &m), ERR_OK);
	ipath_flush(p);
	ipath_free(p);
	inode_restart(&w->a);
	inode_restart(&w->b);
}

static void assert_online(const struct ipath *p)
{
	assert_true(session_online(p->a.s));
	assert_true(session_online(p->b.s));
}

static void assert_over(const struct end *e, enum err err, enum session_blame blame)
{
	const struct seen *x = end_last(e, SESSION_EV_OVER);

	assert_non_null(x);
	assert_int_equal(x->err, err);
	assert_int_equal(x->blame, blame);
	assert_true(session_over(e->s));
	assert_false(session_online(e->s));
}

static void assert_same_confirmed(struct world *w)
{
	const struct psks *a = &inode_pin(&w->a, &w->b)->psks, *b = &inode_pin(&w->b, &w->a)->psks;

	assert_true(a->has_confirmed && b->has_confirmed);
	assert_memory_equal(a->confirmed.key, b->confirmed.key, PSK_BYTES);
}

/* --- first contact --- */

static void first_contact_names_both_and_leaves_a_secret(void **state)
{
	struct world *w = *state;
	struct ipath *p = ipath_new(&w->a, &w->b, NULL);

	ipath_start(p);
	for (int i = 0; i < 5; i++) /* S1 to X4 */
		ipath_move(p, i & 1 ? &p->a : &p->b, 1);
	assert_online(p);
	assert_string_equal(session_peer(p->a.s)->name, "bob");
	assert_string_equal(session_peer(p->b.s)->name, "alice");
	assert_memory_equal(session_peer(p->a.s)->ed, keyring_ed(w->b.k), ED_BYTES);
	assert_memory_equal(session_peer(p->b.s)->x25519, keyring_x25519(w->a.k), X25519_BYTES);
	assert_int_equal(w->b.guesses, 1);
	assert_int_equal(w->b.good, 1);
	/* The listener confirms with the first frame of the dialler, not before (6.2). */
	assert_true(inode_pin(&w->a, &w->b)->psks.has_confirmed);
	assert_false(inode_pin(&w->b, &w->a)->psks.has_confirmed);
	assert_int_equal(inode_pin(&w->b, &w->a)->psks.candidates_n, 1);
	ipath_flush(p);
	assert_same_confirmed(w);
	assert_int_equal(im2_host_counters(w->a.host)->handshakes_first, 1);
	uint8_t ia[16], ib[16];
	im2_link_session_id(p->a.s, ia);
	im2_link_session_id(p->b.s, ib);
	assert_memory_equal(ia, ib, 16);
	ipath_free(p);
}

static void first_contact_after_the_text_of_a_mixed_listener(void **state)
{
	struct world *w = *state;
	struct ipath *p = begun(w, &(struct ipath_opts){ .transport = IM2_WEBSOCKET, .text_s1 = true });

	assert_online(p);
	ipath_free(p);
}

static void first_contact_on_every_transport_with_connections(void **state)
{
	static const uint8_t all[] = { IM2_LOOPBACK, IM2_WEBSOCKET, IM2_RNS_LINK, IM2_SERIAL };
	struct world *w = *state;

	for (size_t i = 0; i < sizeof all; i++) {
		struct ipath *p = begun(w, &(struct ipath_opts){ .transport = all[i] });

		assert_online(p);
		ipath_free(p);
	}
}

static void another_passphrase_ends_without_a_word(void **state)
{
	struct world *w = *state;

	inode_mesh_key(&w->a, "another passphrase");
	struct ipath *p = begun(w, NULL);

	assert_over(&p->a, ERR_AUTH, BLAME_AUTH);
	assert_int_equal(p->a.wire_n, 0);
	assert_int_equal(w->a.bad_dials, 1);
	assert_int_equal(w->b.guesses, 1);
	assert_int_equal(w->b.good, 0);
	assert_int_equal(w->a.pins_n + w->b.pins_n, 0);
	/* The listener waits in vain, and the guess stays counted. */
	assert_false(session_over(p->b.s));
	ipath_tick(p, 5001);
	assert_over(&p->b, ERR_TIMEOUT, BLAME_GARBAGE);
	ipath_free(p);
}

static void a_guess_too_many_must_wait(void **state)
{
	struct world *w = *state;

	w->b.busy_s = 300;
	struct ipath *p = begun(w, NULL);

	assert_over(&p->a, ERR_AGAIN, BLAME_REMOTE);
	assert_int_equal(end_last(&p->a, SESSION_EV_OVER)->wait_ms, 300000);
	assert_over(&p->b, ERR_AGAIN, BLAME_NONE);
	ipath_free(p);
}

static void without_a_mesh_key_there_is_no_first_contact(void **state)
{
	struct world *w = *state;
	struct im2_host *bare;

	/* The listener has none. */
	im2_host_free(w->b.host);
	assert_int_equal(im2_host_new(&w->b.c, &w->b.host), ERR_OK);
	struct ipath *p = begun(w, NULL);
	assert_over(&p->a, ERR_UNSUPPORTED, BLAME_REMOTE);
	assert_int_equal(w->b.guesses, 0);
	ipath_free(p);
	/* The dialler has none yet: later. */
	bare = w->a.host;
	assert_int_equal(im2_host_new(&w->a.c, &w->a.host), ERR_OK);
	p = begun(w, NULL);
	assert_over(&p->a, ERR_AGAIN, BLAME_NONE);
	ipath_free(p);
	im2_host_free(bare);
}

static void the_own_identity_is_refused_at_both_ends(void **state)
{
	struct world *w = *state;
	struct inode twin;

	inode_init(&twin, &w->e, 0, NULL);
	struct ipath *p = ipath_new(&w->a, &twin, NULL);
	ipath_start(p);
	ipath_flush(p);
	assert_over(&p->b, ERR_SELF, BLAME_NONE);
	assert_int_equal(end_count(&p->b, SESSION_EV_IDENTIFIED), 0);
	assert_int_equal(w->a.pins_n + twin.pins_n, 0);
	ipath_free(p);
	inode_fini(&twin);
}

static void another_identity_than_the_expected_is_refused(void **state)
{
	struct world *w = *state;
	struct ipath *p = begun(w, &(struct ipath_opts){ .transport = IM2_WEBSOCKET,
							 .expected = keyring_ed(w->c.k) });

	assert_over(&p->a, ERR_KEY_CHANGED, BLAME_NONE);
	assert_int_equal(end_count(&p->a, SESSION_EV_IDENTIFIED), 0);
	assert_int_equal(w->a.pins_n, 0);
	ipath_free(p);
}

/* Who shows another key is for the owner to judge, and refused by it leaves no trace. */
static void the_owner_may_compare_the_identity_itself(void **state)
{
	struct world *w = *state;
	struct ipath_opts o = { .transport = IM2_WEBSOCKET, .expected = keyring_ed(w->c.k), .owner_compares = true };
	struct ipath *p = ipath_new(&w->a, &w->b, &o);

	p->a.refuse = true;
	ipath_start(p);
	ipath_flush(p);
	assert_int_equal(end_count(&p->a, SESSION_EV_IDENTIFIED), 1);
	assert_memory_equal(session_peer(p->a.s)->ed, keyring_ed(w->b.k), ED_BYTES);
	assert_true(session_over(p->a.s));
	assert_int_equal(w->a.pins_n, 0);
	ipath_free(p);

	p = begun(w, &o);
	assert_true(session_online(p->a.s));
	assert_memory_equal(session_peer(p->a.s)->ed, keyring_ed(w->b.k), ED_BYTES);
	ipath_free(p);
}

/* Nothing names us, and nothing is written, before the decision (5.6). */
static void a_refused_stranger_is_told_and_not_pinned(void **state)
{
	struct world *w = *state;
	struct ipath *p = ipath_new(&w->a, &w->b, NULL);

	p->b.refuse = true;
	ipath_start(p);
	ipath_flush(p);
	assert_over(&p->a, ERR_DENIED, BLAME_REMOTE);
	assert_int_equal(end_last(&p->a, SESSION_EV_OVER)->wait_ms, 3600000);
	assert_over(&p->b, ERR_UNTRUSTED, BLAME_NONE);
	assert_int_equal(end_count(&p->a, SESSION_EV_IDENTIFIED), 0);
	assert_int_equal(w->b.pins_n + w->a.pins_n, 0);
	ipath_free(p);
}

static void nothing_leaves_while_the_owner_decides(void **state)
{
	struct world *w = *state;
	struct ipath *p = ipath_new(&w->a, &w->b, NULL);

	p->b.hold = true;
	ipath_start(p);
	ipath_flush(p);
	assert_int_equal(end_count(&p->b, SESSION_EV_IDENTIFIED), 1);
	assert_int_equal(p->b.wire_n, 0);
	assert_int_equal(w->b.pins_n, 0);
	session_admit(p->b.s);
	ipath_flush(p);
	assert_online(p);
	ipath_free(p);
}

static void a_disk_that_refuses_ends_the_handshake_before_x4(void **state)
{
	struct world *w = *state;

	w->b.disk_broken = true;
	struct ipath *p = begun(w, NULL);

	assert_over(&p->b, ERR_STORE, BLAME_NONE);
	assert_false(session_online(p->a.s));
	assert_int_equal(end_count(&p->a, SESSION_EV_IDENTIFIED), 0);
	ipath_free(p);
	w->b.disk_broken = false;
	w->a.disk_broken = true;
	p = begun(w, NULL);
	assert_over(&p->a, ERR_STORE, BLAME_NONE);
	assert_int_equal(end_count(&p->a, SESSION_EV_ONLINE), 0);
	ipath_free(p);
}

static void the_pairing_path_serves_no_passphrase(void **state)
{
	struct world *w = *state;
	struct ipath *p = ipath_new(&w->a, &w->b, &(struct ipath_opts){ .transport = IM2_WEBSOCKET, .pair_path = true });

	ipath_start(p);
	ipath_flush(p);
	assert_false(session_online(p->a.s));
	assert_int_equal(w->b.guesses + w->b.pins_n, 0);
	ipath_free(p);
}

static void pending_handshakes_have_a_limit(void **state)
{
	struct world *w = *state;
	struct im2_host_config c = { .limits = { .pending = 2 } };
	struct ipath *p[3];

	inode_fini(&w->b);
	inode_init(&w->b, &w->e, 1, &c);
	for (int i = 0; i < 3; i++) {
		p[i] = ipath_new(&w->a, &w->b, NULL);
		ipath_start(p[i]);
		ipath_move(p[i], &p[i]->b, 1); /* S1 */
		ipath_move(p[i], &p[i]->a, 1); /* X1 */
	}
	ipath_move(p[2], &p[2]->b, 1);
	assert_over(&p[2]->a, ERR_AGAIN, BLAME_REMOTE);
	ipath_flush(p[0]);
	assert_online(p[0]);
	ipath_free(p[2]);
	p[2] = begun(w, NULL);
	assert_online(p[2]);
	for (int i = 0; i < 3; i++)
		ipath_free(p[i]);
}

/* --- known peers --- */

static void known_peers_need_one_round_trip(void **state)
{
	struct world *w = *state;

	befriend(w);
	w->b.guesses = 0;
	struct ipath *p = begun(w, &expecting);

	assert_online(p);
	assert_int_equal(im2_host_counters(w->a.host)->handshakes_known, 1);
	assert_int_equal(im2_host_counters(w->b.host)->handshakes_known, 1);
	assert_int_equal(im2_host_counters(w->b.host)->handshakes_first, 0);
	assert_int_equal(w->b.guesses, 0);
	assert_same_confirmed(w);
	ipath_free(p);
}

static void the_responder_is_online_with_the_first_frame_only(void **state)
{
	struct world *w = *state;

	befriend(w);
	struct ipath *p = ipath_new(&w->a, &w->b, &expecting);
	ipath_start(p);
	ipath_move(p, &p->b, 1); /* S1 */
	ipath_move(p, &p->a, 1); /* I1 */
	assert_int_equal(end_count(&p->b, SESSION_EV_IDENTIFIED), 1);
	assert_false(session_online(p->b.s));
	ipath_move(p, &p->b, 1); /* I2 */
	assert_true(session_online(p->a.s));
	assert_int_equal(p->a.wire_n, 1); /* the initiator at once sends a frame (5.4) */
	assert_int_equal(p->a.wire[0].p[0], IM2_UNIT_FRAME);
	assert_false(session_online(p->b.s));
	ipath_flush(p);
	assert_true(session_online(p->b.s));
	ipath_free(p);
}

/* Imported on both sides: no secret yet, and IK makes one (6.2). */
static void known_peers_without_a_secret_make_one(void **state)
{
	struct world *w = *state;

	inode_know(&w->a, &w->b);
	inode_know(&w->b, &w->a);
	struct ipath *p = begun(w, &expecting);

	assert_online(p);
	assert_true(inode_pin(&w->b, &w->a)->psks.has_confirmed);
	ipath_free(p);
	inode_restart(&w->a);
	inode_restart(&w->b);
	p = begun(w, &expecting);
	assert_online(p);
	ipath_flush(p);
	ipath_free(p);
	assert_memory_equal(inode_pin(&w->a, &w->b)->psks.has_confirmed ?
				    inode_pin(&w->a, &w->b)->psks.confirmed.key :
				    inode_pin(&w->a, &w->b)->psks.candidates[0].key,
			    inode_pin(&w->b, &w->a)->psks.confirmed.key, PSK_BYTES);
}

static void a_candidate_helps_when_the_confirmed_secret_is_unknown_there(void **state)
{
	struct world *w = *state;
	uint8_t key[32];

	befriend(w);
	memset(key, 7, sizeof key);
	assert_true(psks_confirm(&inode_pin(&w->a, &w->b)->psks, key, NULL));
	struct ipath *p = begun(w, &expecting);
	assert_online(p);
	assert_int_equal(im2_host_counters(w->a.host)->psk_fallbacks, 1);
	assert_int_equal(im2_host_counters(w->a.host)->handshakes_first, 0);
	ipath_flush(p);
	ipath_free(p);
}

/* Never without a secret once one was confirmed: the passphrase, once per connection. */
static void a_peer_that_lost_its_secrets_is_met_anew(void **state)
{
	struct world *w = *state;

	befriend(w);
	memset(&inode_pin(&w->b, &w->a)->psks, 0, sizeof(struct psks));
	struct ipath *p = begun(w, &expecting);
	assert_online(p);
	assert_int_equal(im2_host_counters(w->a.host)->handshakes_first, 1);
	ipath_free(p);
}

static void a_peer_that_forgot_us_is_met_anew(void **state)
{
	struct world *w = *state;

	befriend(w);
	w->b.pins_n = 0;
	struct ipath *p = begun(w, &expecting);
	assert_online(p);
	assert_int_equal(im2_host_counters(w->a.host)->handshakes_first, 1);
	assert_int_equal(im2_host_counters(w->b.host)->errs_sent, 1);
	ipath_free(p);
}

static void without_the_passphrase_a_peer_that_forgot_us_stays_away(void **state)
{
	struct world *w = *state;

	befriend(w);
	w->b.pins_n = 0;
	inode_mesh_key(&w->a, "another passphrase");
	struct ipath *p = begun(w, &expecting);
	assert_over(&p->a, ERR_AUTH, BLAME_AUTH);
	ipath_free(p);
}

static void a_blocked_peer_looks_like_an_unknown_one(void **state)
{
	struct world *w = *state;

	befriend(w);
	inode_pin(&w->b, &w->a)->refused = true;
	struct ipath *p = ipath_new(&w->a, &w->b, &expecting);
	ipath_start(p);
	ipath_move(p, &p->b, 1);
	ipath_move(p, &p->a, 1);
	assert_int_equal(p->b.wire_n, 1);
	assert_int_equal(p->b.wire[0].n, 2);
	assert_int_equal(p->b.wire[0].p[1], IM2_ERR_FAILED);
	assert_int_equal(end_count(&p->b, SESSION_EV_IDENTIFIED), 0);
	ipath_free(p);
	/* And we do not dial whom we blocked. */
	inode_pin(&w->a, &w->b)->refused = true;
	p = begun(w, &expecting);
	assert_over(&p->a, ERR_UNTRUSTED, BLAME_NONE);
	ipath_free(p);
}

static void a_refused_known_peer_hears_failed(void **state)
{
	struct world *w = *state;

	befriend(w);
	inode_mesh_key(&w->a, MESH_PASSPHRASE);
	struct ipath *p = ipath_new(&w->a, &w->b, &expecting);
	p->b.refuse = true;
	ipath_start(p);
	ipath_move(p, &p->b, 1);
	ipath_move(p, &p->a, 1);
	assert_int_equal(p->b.wire[0].p[1], IM2_ERR_FAILED);
	assert_over(&p->b, ERR_UNTRUSTED, BLAME_NONE);
	ipath_free(p);
}

/* B was tricked into pinning M with A's X: the handshake fails, because both EDs are in the psk (5.4). */
static void a_static_key_under_another_name_does_not_open(void **state)
{
	struct world *w = *state;

	inode_know(&w->a, &w->b);
	memcpy(inode_know(&w->b, &w->c)->x, keyring_x25519(w->a.k), X25519_BYTES);
	struct ipath *p = ipath_new(&w->a, &w->b, &expecting);
	ipath_start(p);
	ipath_move(p, &p->b, 1);
	ipath_move(p, &p->a, 1);
	ipath_move(p, &p->b, 1);
	assert_over(&p->a, ERR_AUTH, BLAME_AUTH);
	assert_int_equal(end_count(&p->a, SESSION_EV_ONLINE), 0);
	assert_int_equal(end_count(&p->b, SESSION_EV_ONLINE), 0);
	ipath_free(p);
}

static void a_claimed_key_of_another_is_refused(void **state)
{
	struct world *w = *state;

	memcpy(inode_know(&w->b, &w->c)->x, keyring_x25519(w->a.k), X25519_BYTES);
	inode_pin(&w->b, &w->c)->proven = true;
	struct ipath *p = begun(w, NULL);
	assert_over(&p->b, ERR_KEY_CHANGED, BLAME_NONE);
	assert_false(session_online(p->a.s));
	ipath_free(p);
}

static void crossing_dials_leave_one_session_that_both_use(void **state)
{
	struct world *w = *state;

	befriend(w);
	struct ipath *p = ipath_new(&w->a, &w->b, &expecting), *q = ipath_new(&w->b, &w->a, &expecting);
	ipath_start(p);
	ipath_start(q);
	for (int i = 0; i < 6; i++) {
		ipath_move(p, i & 1 ? &p->a : &p->b, 1);
		ipath_move(q, i & 1 ? &q->a : &q->b, 1);
	}
	ipath_flush(p);
	ipath_flush(q);
	assert_online(p);
	assert_online(q);
	uint8_t x[16], y[16];
	im2_link_session_id(p->a.s, x);
	im2_link_session_id(p->b.s, y);
	assert_memory_equal(x, y, 16);
	struct message m = imessage(1, "one"), n = imessage(2, "two");
	assert_int_equal(session_send(p->a.s, &m), ERR_OK);
	assert_int_equal(session_send(q->a.s, &n), ERR_OK);
	ipath_flush(p);
	ipath_flush(q);
	assert_int_equal(end_count(&p->b, SESSION_EV_MESSAGE), 1);
	assert_int_equal(end_count(&q->b, SESSION_EV_MESSAGE), 1);
	ipath_free(p);
	ipath_free(q);
}

/* --- resume --- */

static void a_live_session_moves_to_a_new_connection(void **state)
{
	struct world *w = *state;
	struct ipath *p = ipath_online(&w->a, &w->b, NULL);
	struct message m = imessage(1, "x"), n = imessage(2, "after");
	uint8_t before[16], now[16];

	assert_int_equal(session_send(p->a.s, &m), ERR_OK);
	ipath_flush(p);
	im2_link_session_id(p->a.s, before);
	ipath_free(p);
	p = ipath_new(&w->a, &w->b, &expecting);
	ipath_start(p);
	ipath_move(p, &p->b, 1); /* S1 */
	assert_int_equal(p->a.wire_n, 1);
	assert_int_equal(p->a.wire[0].p[0], IM2_UNIT_FRAME);
	assert_int_equal(p->a.wire[0].n, 35); /* PING */
	ipath_move(p, &p->a, 1);
	assert_false(session_online(p->b.s)); /* the path is not proven (7.7) */
	assert_int_equal(session_send(p->b.s, &n), ERR_WRONG_STATE);
	assert_int_equal(end_count(&p->b, SESSION_EV_IDENTIFIED), 1);
	ipath_flush(p);
	assert_online(p);
	im2_link_session_id(p->b.s, now);
	assert_memory_equal(before, now, 16);
	assert_int_equal(session_send(p->b.s, &n), ERR_OK);
	ipath_flush(p);
	assert_int_equal(end_count(&p->a, SESSION_EV_MESSAGE), 1);
	assert_int_equal(im2_host_counters(w->b.host)->resumes, 1);
	assert_int_equal(im2_host_counters(w->b.host)->handshakes_known, 0);
	ipath_free(p);
}

/* Captured frames on somebody else's connection attract nothing. */
static void a_stolen_frame_proves_no_path(void **state)
{
	struct world *w = *state;
	struct ipath *p = ipath_online(&w->a, &w->b, NULL), *thief;
	struct message m = imessage(1, "x");

	assert_int_equal(session_send(p->a.s, &m), ERR_OK);
	end_drain(&p->a);
	struct said u = end_pop(&p->a);
	thief = ipath_new(&w->c, &w->b, NULL);
	session_start(thief->b.s);
	end_drain(&thief->b);
	ipath_lose(thief);
	end_take(&thief->b, u.p, u.n, false);
	assert_false(session_online(thief->b.s));
	m = imessage(2, "secret");
	assert_int_equal(session_send(thief->b.s, &m), ERR_WRONG_STATE);
	penv_pass(&w->e, 10001);
	session_tick(thief->b.s);
	end_drain(&thief->b);
	assert_over(&thief->b, ERR_TIMEOUT, BLAME_GARBAGE);
	/* The true path lives on. */
	assert_int_equal(session_send(p->b.s, &m), ERR_OK);
	ipath_flush(p);
	assert_int_equal(end_count(&p->a, SESSION_EV_MESSAGE), 1);
	free(u.p);
	ipath_free(thief);
	ipath_free(p);
}

static void a_restarted_peer_says_so_and_is_met_by_ik(void **state)
{
	struct world *w = *state;
	struct ipath *p = ipath_online(&w->a, &w->b, NULL);
	struct message m = imessage(1, "x");

	assert_int_equal(session_send(p->a.s, &m), ERR_OK);
	ipath_flush(p);
	ipath_free(p);
	inode_restart(&w->b);
	p = begun(w, &expecting);
	assert_online(p);
	assert_int_equal(im2_host_counters(w->b.host)->errs_sent, 1);
	assert_int_equal(im2_host_counters(w->b.host)->handshakes_known, 1);
	ipath_free(p);
}

/* A silent one: the next dial does not try the same frame again. */
static void a_resume_without_an_answer_gives_the_session_up(void **state)
{
	struct world *w = *state;
	struct ipath *p = ipath_online(&w->a, &w->b, NULL);
	struct message m = imessage(1, "x");

	assert_int_equal(session_send(p->a.s, &m), ERR_OK);
	ipath_flush(p);
	ipath_free(p);
	p = ipath_new(&w->a, &w->b, &expecting);
	ipath_start(p);
	ipath_move(p, &p->b, 1);
	ipath_lose(p);
	ipath_tick(p, 5001);
	assert_over(&p->a, ERR_TIMEOUT, BLAME_GARBAGE);
	ipath_free(p);
	p = ipath_new(&w->a, &w->b, &expecting);
	ipath_start(p);
	ipath_move(p, &p->b, 1);
	assert_int_equal(p->a.wire[0].p[0], IM2_UNIT_I1);
	ipath_flush(p);
	assert_online(p);
	ipath_free(p);
}

/* Whoever answers at an address where a peer is expected ends nothing elsewhere, whether he is silent or late. */
static void a_resume_without_an_answer_harms_no_other_connection(void **state)
{
	struct world *w = *state;
	struct message m = imessage(1, "x");
	struct ipath *p = ipath_online(&w->a, &w->b, NULL), *q;
	uint8_t before[16], now[16];

	assert_int_equal(session_send(p->a.s, &m), ERR_OK);
	ipath_flush(p);
	im2_link_session_id(p->a.s, before);
	/* One that the peer dialled, and that stands. */
	q = ipath_new(&w->a, &w->b, &expecting);
	ipath_start(q);
	ipath_move(q, &q->b, 1);
	ipath_lose(q);
	ipath_tick(q, 5001);
	assert_over(&q->a, ERR_TIMEOUT, BLAME_GARBAGE);
	ipath_free(q);
	assert_online(p);
	im2_link_session_id(p->a.s, now);
	assert_memory_equal(before, now, 16);
	m = imessage(2, "y");
	assert_int_equal(session_send(p->b.s, &m), ERR_OK);
	ipath_flush(p);
	assert_int_equal(end_count(&p->a, SESSION_EV_MESSAGE), 1);
	/* One that just ended, after it was heard. */
	q = ipath_new(&w->a, &w->b, &expecting);
	ipath_start(q);
	ipath_move(q, &q->b, 1);
	ipath_lose(q);
	m = imessage(3, "z");
	assert_int_equal(session_send(p->b.s, &m), ERR_OK);
	ipath_flush(p);
	ipath_free(p);
	ipath_tick(q, 5001);
	assert_over(&q->a, ERR_TIMEOUT, BLAME_GARBAGE);
	ipath_free(q);
	p = ipath_new(&w->a, &w->b, &expecting);
	ipath_start(p);
	ipath_move(p, &p->b, 1);
	assert_int_equal(p->a.wire[0].p[0], IM2_UNIT_FRAME);
	ipath_flush(p);
	assert_online(p);
	ipath_free(p);
}

/* --- time and lossy transports --- */

static void every_step_has_its_time(void **state)
{
	struct world *w = *state;

	for (size_t moved = 0; moved < 5; moved++) {
		struct ipath *p = ipath_new(&w->a, &w->b, NULL);

		ipath_start(p);
		for (size_t i = 0; i < moved; i++)
			ipath_move(p, i & 1 ? &p->a : &p->b, 1);
		bool a_on = session_online(p->a.s), b_on = session_online(p->b.s);
		ipath_lose(p);
		ipath_tick(p, 5001);
		if (!a_on)
			assert_over(&p->a, ERR_TIMEOUT, BLAME_GARBAGE);
		if (!b_on)
			assert_over(&p->b, ERR_TIMEOUT, BLAME_GARBAGE);
		assert_false(a_on && moved < 5);
		ipath_free(p);
	}
}

static void lost_units_are_said_again_on_lossy_transports(void **state)
{
	static const struct ipath_opts serial = { .transport = IM2_SERIAL }, link = { .transport = IM2_RNS_LINK };
	struct world *w = *state;

	for (int lost = 0; lost < 4; lost++) {
		struct ipath *p = ipath_new(&w->a, &w->b, lost & 1 ? &serial : &link);

		ipath_start(p);
		for (int i = 0; i < lost; i++)
			ipath_move(p, i & 1 ? &p->b : &p->a, 1);
		ipath_lose(p);
		for (int i = 0; i < 3 && !session_online(p->a.s); i++) {
			ipath_tick(p, 8001);
			ipath_flush(p);
		}
		assert_online(p);
		ipath_free(p);
		w->a.pins_n = w->b.pins_n = 0;
	}
}

/* A unit that came again is answered with the same bytes, and processed once. */
static void repeated_units_get_the_stored_answer(void **state)
{
	static const struct ipath_opts serial = { .transport = IM2_SERIAL };
	struct world *w = *state;
	struct ipath *p = ipath_new(&w->a, &w->b, &serial);

	ipath_start(p);
	for (int i = 0; i < 3; i++) {
		struct end *from = i & 1 ? &p->b : &p->a, *to = i & 1 ? &p->a : &p->b;
		struct said u = end_pop(from);

		end_take(to, u.p, u.n, false);
		size_t said = to->wire_n;
		assert_true(said >= 1); /* a frame may follow X4 */
		end_take(to, u.p, u.n, false);
		assert_int_equal(to->wire_n, said + 1);
		assert_int_equal(to->wire[0].n, to->wire[said].n);
		assert_memory_equal(to->wire[0].p, to->wire[said].p, to->wire[0].n);
		to->wire_n--;
		free(to->wire[said].p);
		free(u.p);
	}
	ipath_flush(p);
	assert_online(p);
	assert_int_equal(w->b.guesses, 1);
	ipath_free(p);
}

static void injected_units_do_no_harm_on_lossy_transports(void **state)
{
	static const struct ipath_opts serial = { .transport = IM2_SERIAL };
	struct world *w = *state;
	struct ipath *p = ipath_new(&w->a, &w->b, &serial);
	uint8_t junk[300];

	ipath_start(p);
	for (int i = 0; i < 4; i++) {
		for (unsigned kind = 0x50; kind < 0x60; kind++) {
			memset(junk, 0x11, sizeof junk);
			junk[0] = (uint8_t)kind;
			if (kind == IM2_UNIT_X1 || kind == IM2_UNIT_ERR)
				continue; /* they mean something */
			end_take(&p->a, junk, sizeof junk, false);
			end_take(&p->b, junk, sizeof junk, false);
		}
		/* ERR 8 for I1s that do not open */
		while (p->b.wire_n && p->b.wire[0].p[0] == IM2_UNIT_ERR)
			free(end_pop(&p->b).p);
		ipath_move(p, i & 1 ? &p->b : &p->a, 1);
	}
	ipath_flush(p);
	assert_online(p);
	ipath_free(p);
}

static void crossing_first_contacts_on_a_serial_line_agree(void **state)
{
	static const struct ipath_opts serial = { .transport = IM2_SERIAL };
	struct world *w = *state;

	/* Both dial: the ends of two paths are joined. */
	struct ipath *p = ipath_new(&w->a, &w->b, &serial), *q = ipath_new(&w->b, &w->a, &serial);
	session_start(p->a.s);
	session_start(q->a.s);
	end_drain(&p->a);
	end_drain(&q->a);
	while (p->a.wire_n || q->a.wire_n) {
		struct end *from = p->a.wire_n ? &p->a : &q->a, *to = from == &p->a ? &q->a : &p->a;
		struct said u = end_pop(from);

		end_take(to, u.p, u.n, false);
		free(u.p);
	}
	assert_true(session_online(p->a.s));
	assert_true(session_online(q->a.s));
	ipath_free(p);
	ipath_free(q);
}

/* IK and resume over a line that loses every first unit. */
static void a_known_peer_is_reached_over_a_lossy_line(void **state)
{
	static const struct ipath_opts serial = { .transport = IM2_SERIAL, .expect = true };
	struct world *w = *state;

	for (int resume = 0; resume < 2; resume++) {
		for (int lost = 0; lost < 4; lost++) {
			struct ipath *p;

			if (!resume)
				befriend(w);
			p = ipath_new(&w->a, &w->b, &serial);
			ipath_start(p);
			for (int i = 0; i < lost; i++)
				ipath_move(p, i & 1 ? &p->b : &p->a, 1);
			ipath_lose(p);
			for (int i = 0; i < 4 && !(session_online(p->a.s) && session_online(p->b.s)); i++) {
				ipath_tick(p, (uint64_t)4001 << i);
				ipath_flush(p);
			}
			assert_online(p);
			ipath_free(p);
			if (!resume) {
				inode_restart(&w->a);
				inode_restart(&w->b);
			}
		}
		if (!resume) {
			struct ipath *p = ipath_online(&w->a, &w->b, &serial);

			ipath_free(p);
		}
	}
	assert_true(im2_host_counters(w->b.host)->resumes >= 3);
}

/* --- ERR --- */

/* What each code does to a dialler in each state: a hint may cost a wait, never a lower demand (5.9). */
static void err_codes_mean_what_the_table_says(void **state)
{
	static const struct {
		uint8_t code;
		enum err err;
		uint64_t wait_ms;
	} rows[] = {
		{ IM2_ERR_BUSY, ERR_AGAIN, 30000 },        { IM2_ERR_DENIED, ERR_DENIED, 3600000 },
		{ IM2_ERR_BAD_MODE, ERR_UNSUPPORTED, 3600000 }, { IM2_ERR_MALFORMED, ERR_MALFORMED, 3600000 },
		{ IM2_ERR_FAILED, ERR_AUTH, 0 },           { IM2_ERR_CODE_USED, ERR_DENIED, 3600000 },
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct ipath *p = ipath_new(&w->a, &w->b, NULL);
		uint8_t unit[4] = { IM2_UNIT_ERR, rows[i].code, 0, 30 };

		ipath_start(p);
		ipath_move(p, &p->b, 1);
		end_take(&p->a, unit, rows[i].code == IM2_ERR_BUSY ? 4 : 2, false);
		assert_over(&p->a, rows[i].err, BLAME_REMOTE);
		assert_int_equal(end_last(&p->a, SESSION_EV_OVER)->wait_ms, rows[i].wait_ms);
		ipath_free(p);
	}
}

static void what_is_no_err_changes_nothing(void **state)
{
	static const uint8_t units[][4] = { { 0x58 }, { 0x58, 2 }, { 0x58, 4, 1 }, { 0x58, 3 }, { 0x58, 1, 0, 0 } };
	static const size_t sizes[] = { 1, 2, 3, 2, 4 };
	struct world *w = *state;
	struct ipath *p = ipath_new(&w->a, &w->b, NULL);

	ipath_start(p);
	ipath_move(p, &p->b, 1);
	for (size_t i = 0; i < 5; i++)
		end_take(&p->a, units[i], sizes[i], false);
	ipath_flush(p);
	assert_online(p);
	ipath_free(p);
}

static void no_challenge_no_answer(void **state)
{
	struct world *w = *state;
	uint8_t junk[34] = { IM2_UNIT_S1, 2 };
	struct ipath *p = ipath_new(&w->a, &w->b, NULL);

	session_start(p->a.s);
	end_take(&p->a, junk, sizeof junk, false);
	assert_over(&p->a, ERR_MALFORMED, BLAME_GARBAGE);
	assert_int_equal(p->a.wire_n, 0);
	ipath_free(p);
	p = ipath_new(&w->a, &w->b, NULL);
	session_start(p->a.s);
	end_take(&p->a, "{}", 2, true);
	assert_over(&p->a, ERR_MALFORMED, BLAME_GARBAGE);
	ipath_free(p);
}

/* ERR 1, then first contact fails too: the connection ends, it does not begin again. */
static void first_contact_is_tried_once_per_connection(void **state)
{
	struct world *w = *state;
	uint8_t failed[2] = { IM2_UNIT_ERR, IM2_ERR_FAILED };

	befriend(w);
	struct ipath *p = ipath_new(&w->a, &w->b, &expecting);
	ipath_start(p);
	ipath_move(p, &p->b, 1);
	assert_int_equal(p->a.wire[0].p[0], IM2_UNIT_I1);
	end_take(&p->a, failed, sizeof failed, false);
	assert_int_equal(p->a.wire[1].p[0], IM2_UNIT_X1);
	end_take(&p->a, failed, sizeof failed, false);
	assert_over(&p->a, ERR_AUTH, BLAME_REMOTE);
	ipath_free(p);
}

/* Handshakes begun by others have their limit for known peers too. */
static void a_known_peer_hears_busy_when_too_many_wait(void **state)
{
	struct world *w = *state;
	struct im2_host_config c = { .limits = { .pending = 1 } };
	struct ipath *p, *q;

	befriend(w);
	struct ipin kept = *inode_pin(&w->b, &w->a);
	inode_fini(&w->b);
	inode_init(&w->b, &w->e, 1, &c);
	*inode_know(&w->b, &w->a) = kept;
	q = ipath_new(&w->c, &w->b, NULL);
	ipath_start(q);
	ipath_move(q, &q->b, 1);
	ipath_move(q, &q->a, 1); /* X1 */
	p = begun(w, &expecting);
	assert_over(&p->a, ERR_AGAIN, BLAME_REMOTE);
	ipath_flush(q);
	ipath_free(p);
	p = begun(w, &expecting);
	assert_online(p);
	ipath_free(p);
	ipath_free(q);
}

static void the_decision_has_its_time_too(void **state)
{
	struct world *w = *state;
	struct ipath *p = ipath_new(&w->a, &w->b, NULL);

	p->b.hold = true;
	ipath_start(p);
	ipath_flush(p);
	penv_pass(&w->e, 5001);
	session_tick(p->b.s);
	assert_false(session_over(p->b.s));
	penv_pass(&w->e, 10000);
	session_tick(p->b.s);
	end_drain(&p->b);
	assert_over(&p->b, ERR_TIMEOUT, BLAME_NONE); /* not the fault of the address */
	session_admit(p->b.s);
	assert_false(session_online(p->b.s));
	ipath_free(p);
}

/* --- every state, every kind --- */

static struct said kept_unit(struct world *w, const struct ipath_opts *o, uint8_t kind)
{
	struct ipath *p = ipath_new(&w->a, &w->b, o);
	struct said found = { 0 };
	struct message m = imessage(1, "x");

	ipath_start(p);
	for (int i = 0; i < 12 && !found.p; i++) {
		struct end *from = p->a.wire_n ? &p->a : &p->b;

		if (session_online(p->a.s) && i == 8) {
			assert_int_equal(session_send(p->a.s, &m), ERR_OK);
			end_drain(&p->a);
		}
		if (!from->wire_n)
			continue;
		struct said u = end_pop(from);
		if (u.p[0] == kind) {
			found = u;
			break;
		}
		end_take(from == &p->a ? &p->b : &p->a, u.p, u.n, u.text);
		free(u.p);
	}
	ipath_free(p);
	return found;
}

/* On WebSocket what nobody awaits ends a handshake, never becomes a session, and leaves no trace. */
static void each_state_refuses_each_unexpected_unit(void **state)
{
	static const uint8_t kinds[] = { IM2_UNIT_FRAME, 0x51, IM2_UNIT_X1, IM2_UNIT_X2, IM2_UNIT_X3, IM2_UNIT_X4,
					 IM2_UNIT_I1, IM2_UNIT_I2, IM2_UNIT_ERR, IM2_UNIT_S1, IM2_UNIT_GROUP, 0x5f, 0x7b };
	struct world *w = *state;

	for (size_t k = 0; k < sizeof kinds; k++) {
		for (int known = 0; known < 2; known++) {
			struct said u;

			w->a.pins_n = w->b.pins_n = 0;
			befriend(w);
			u = kept_unit(w, known ? &expecting : NULL, kinds[k]);
			if (!u.p) {
				u.n = 60;
				u.p = calloc(1, u.n);
				u.p[0] = kinds[k];
			}
			inode_restart(&w->a);
			inode_restart(&w->b);
			for (int moved = 0; moved < 5; moved++) {
				for (int who = 0; who < 2; who++) {
					struct ipath *p = ipath_new(&w->a, &w->b, known ? &expecting : NULL);

					ipath_start(p);
					for (int i = 0; i < moved; i++)
						ipath_move(p, i & 1 ? &p->a : &p->b, 1);
					struct end *e = who ? &p->b : &p->a;
					bool was = session_online(e->s);
					size_t online = end_count(e, SESSION_EV_ONLINE);

					end_take(e, u.p, u.n, false);
					assert_int_equal(end_count(e, SESSION_EV_ONLINE), online);
					assert_int_equal(end_count(e, SESSION_EV_MESSAGE), 0);
					if (!was)
						assert_false(session_online(e->s));
					ipath_free(p);
					im2_host_tick(w->a.host);
					inode_restart(&w->a);
					inode_restart(&w->b);
				}
			}
			free(u.p);
		}
	}
}

static void a_connection_answers_eight_times(void **state)
{
	struct world *w = *state;
	struct ipath *p = ipath_new(&w->a, &w->b, NULL);
	uint8_t junk[120] = { IM2_UNIT_I1 };

	session_start(p->b.s);
	end_drain(&p->b);
	ipath_lose(p);
	for (int i = 0; i < 8; i++) {
		assert_false(session_over(p->b.s));
		end_take(&p->b, junk, sizeof junk, false);
	}
	assert_int_equal(p->b.wire_n, 8);
	assert_over(&p->b, ERR_AUTH, BLAME_AUTH);
	ipath_free(p);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(first_contact_names_both_and_leaves_a_secret),
		T(first_contact_after_the_text_of_a_mixed_listener),
		T(first_contact_on_every_transport_with_connections),
		T(another_passphrase_ends_without_a_word),
		T(a_guess_too_many_must_wait),
		T(without_a_mesh_key_there_is_no_first_contact),
		T(the_own_identity_is_refused_at_both_ends),
		T(another_identity_than_the_expected_is_refused),
		T(the_owner_may_compare_the_identity_itself),
		T(a_refused_stranger_is_told_and_not_pinned),
		T(nothing_leaves_while_the_owner_decides),
		T(a_disk_that_refuses_ends_the_handshake_before_x4),
		T(the_pairing_path_serves_no_passphrase),
		T(pending_handshakes_have_a_limit),
		T(known_peers_need_one_round_trip),
		T(the_responder_is_online_with_the_first_frame_only),
		T(known_peers_without_a_secret_make_one),
		T(a_candidate_helps_when_the_confirmed_secret_is_unknown_there),
		T(a_peer_that_lost_its_secrets_is_met_anew),
		T(a_peer_that_forgot_us_is_met_anew),
		T(without_the_passphrase_a_peer_that_forgot_us_stays_away),
		T(a_blocked_peer_looks_like_an_unknown_one),
		T(a_refused_known_peer_hears_failed),
		T(a_static_key_under_another_name_does_not_open),
		T(a_claimed_key_of_another_is_refused),
		T(crossing_dials_leave_one_session_that_both_use),
		T(a_live_session_moves_to_a_new_connection),
		T(a_stolen_frame_proves_no_path),
		T(a_restarted_peer_says_so_and_is_met_by_ik),
		T(a_resume_without_an_answer_gives_the_session_up),
		T(a_resume_without_an_answer_harms_no_other_connection),
		T(every_step_has_its_time),
		T(lost_units_are_said_again_on_lossy_transports),
		T(repeated_units_get_the_stored_answer),
		T(injected_units_do_no_harm_on_lossy_transports),
		T(crossing_first_contacts_on_a_serial_line_agree),
		T(a_known_peer_is_reached_over_a_lossy_line),
		T(err_codes_mean_what_the_table_says),
		T(what_is_no_err_changes_nothing),
		T(no_challenge_no_answer),
		T(first_contact_is_tried_once_per_connection),
		T(a_known_peer_hears_busy_when_too_many_wait),
		T(the_decision_has_its_time_too),
		T(each_state_refuses_each_unexpected_unit),
		T(a_connection_answers_eight_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
