#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/hash.h"
#include "protocol/im2/content.h"
#include "protocol/im2/frame.h"
#include "protocol/opening.h"
#include "tests/lib/protocol_im2_intruder.h"
#include "tests/lib/protocol_im2_pair.h"

/*
 * The attacks of ironmesh-wire 12 on sessions, against im2: two hosts that talk, and a wire that somebody else holds.
 * tests/lib/make-weakness-table reads the names.
 */

#define YEAR_MS (365 * UINT64_C(86400000))

struct world {
	struct penv e, e2;    /* e2: of who has another clock */
	struct inode alice, bob, mallory;
	struct ipath *p;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	if (!w || secret_init_library() != ERR_OK)
		return -1;
	penv_init(&w->e);
	penv_init(&w->e2);
	inode_init(&w->alice, &w->e, 0, NULL);
	inode_init(&w->bob, &w->e, 1, NULL);
	inode_init(&w->mallory, &w->e, 2, &(struct im2_host_config){.name = "mallory"});
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	ipath_free(w->p);
	inode_fini(&w->alice);
	inode_fini(&w->bob);
	inode_fini(&w->mallory);
	free(w);
	return 0;
}

static void say(struct end *e, uint64_t seq, const char *body)
{
	struct message m = imessage(seq, body);

	assert_int_equal(session_send(e->s, &m), ERR_OK);
	end_drain(e);
}

/* One frame of alice's, taken off the wire; the caller frees p. */
static struct said frame_of(struct world *w, uint64_t seq, const char *body)
{
	say(&w->p->a, seq, body);
	assert_int_equal(w->p->a.wire_n, 1);
	return end_pop(&w->p->a);
}

static size_t heard(const struct end *e)
{
	return end_count(e, SESSION_EV_MESSAGE);
}

static void assert_still_talks(struct world *w, uint64_t seq)
{
	size_t before = heard(&w->p->b);

	say(&w->p->a, seq, "still here");
	ipath_flush(w->p);
	assert_int_equal(heard(&w->p->b), before + 1);
}

/* --- 7: trust on first use pins nothing useful --- */

static void weakness_07_a_member_at_the_address_of_another_is_noticed(void **state)
{
	struct world *w = *state;
	struct ipath_opts o = {.transport = IM2_WEBSOCKET, .expected = keyring_ed(w->bob.k)};

	/* alice has met bob; mallory has the passphrase and answers where bob was. */
	ipath_free(ipath_online(&w->alice, &w->bob, NULL));
	w->p = ipath_new(&w->alice, &w->mallory, &o);
	ipath_start(w->p);
	ipath_flush(w->p);
	assert_false(session_online(w->p->a.s));
	assert_true(session_over(w->p->a.s));
	assert_int_equal(end_last(&w->p->a, SESSION_EV_OVER)->err, ERR_KEY_CHANGED);
	assert_null(inode_pin(&w->alice, &w->mallory));
}

static void weakness_07_the_exchange_key_of_one_is_not_anothers(void **state)
{
	struct world *w = *state;
	struct ipin *squat;

	/* mallory is pinned with alice's exchange key, as a careless import may do. */
	ipath_free(ipath_online(&w->alice, &w->bob, NULL));
	inode_restart(&w->alice);
	inode_restart(&w->bob);
	squat = inode_know(&w->bob, &w->mallory);
	memcpy(squat->x, keyring_x25519(w->alice.k), X25519_BYTES);
	w->p = ipath_new(&w->alice, &w->bob, &(struct ipath_opts){.transport = IM2_WEBSOCKET, .expect = true});
	inode_pin(&w->bob, &w->alice)->x[0] ^= 1; /* even if that is all that bob would find */
	ipath_start(w->p);
	ipath_flush(w->p);
	/* bob takes her for mallory, who has no secret with him; the way that is left proves who she is. */
	assert_true(session_online(w->p->b.s));
	assert_memory_equal(session_peer(w->p->b.s)->ed, keyring_ed(w->alice.k), ED_BYTES);
	assert_false(inode_pin(&w->bob, &w->mallory)->psks.has_confirmed);
	assert_int_equal(inode_pin(&w->bob, &w->mallory)->proven, false);
}

/* --- 8: skipping the passphrase --- */

static void weakness_08_nobody_skips_the_passphrase(void **state)
{
	static const char skip[] = "{\"type\": \"SKIP_OFFER\", \"hskip\": 1}";
	struct world *w = *state;

	/* mallory knows bob's keys, but not the passphrase, and is pinned nowhere. */
	inode_mesh_key(&w->mallory, "not the passphrase");
	inode_know(&w->mallory, &w->bob);
	w->p = ipath_new(&w->mallory, &w->bob, &(struct ipath_opts){.transport = IM2_RNS_LINK, .expect = true});
	ipath_start(w->p);
	ipath_flush(w->p);
	for (unsigned i = 0; i < 40 && !session_over(w->p->a.s); i++) {
		ipath_tick(w->p, 10000);
		ipath_flush(w->p);
	}
	assert_false(session_online(w->p->a.s));
	assert_false(session_online(w->p->b.s));
	assert_int_equal(end_count(&w->p->b, SESSION_EV_IDENTIFIED), 0);
	assert_int_equal(w->bob.pins_n, 0);
	assert_true(w->mallory.bad_dials > 0);
	ipath_free(w->p);
	/* And the word for it means nothing, to either end. */
	for (unsigned text = 0; text < 2; text++) {
		w->p = ipath_new(&w->alice, &w->bob, NULL);
		ipath_start(w->p);
		end_take(&w->p->a, skip, sizeof skip - 1, text);
		end_take(&w->p->b, skip, sizeof skip - 1, text);
		assert_true(session_over(w->p->a.s));
		assert_true(session_over(w->p->b.s));
		ipath_free(w->p);
	}
	w->p = NULL;
}

/* --- 10: the version of the first message --- */

static struct session *opened(struct world *w, struct inode *n, enum session_role role, bool pinned)
{
	struct opening_config c = {.v09 = test_config(&w->e, n->k, role), .im2 = n->host, .pinned_im2 = pinned,
				   .link = {.transport = IM2_WEBSOCKET, .owner = n}};
	struct session *s;

	assert_int_equal(opening_new(&c, &s), ERR_OK);
	session_start(s);
	return s;
}

/* Takes the suites out of a challenge. */
static void strip(struct said *u)
{
	char *from = memmem(u->p, u->n, ", \"suites\"", 10);

	if (!from)
		from = memmem(u->p, u->n, ",\"suites\"", 9);
	assert_non_null(from);
	char *to = memchr(from, ']', u->n - (size_t)(from - (char *)u->p));
	size_t gone = (size_t)(to + 1 - from);

	memmove(from, to + 1, u->n - (size_t)(to + 1 - (char *)u->p));
	u->n -= gone;
}

static void weakness_10_who_has_spoken_im2_says_no_word_of_the_old_wire(void **state)
{
	struct world *w = *state;
	struct end a, b;
	struct said u;

	end_init(&b, opened(w, &w->bob, SESSION_LISTENER, false));
	end_drain(&b);
	u = end_pop(&b);
	strip(&u);
	end_init(&a, opened(w, &w->alice, SESSION_DIALLER, true));
	end_drain(&a);
	end_take(&a, u.p, u.n, u.text);
	assert_int_equal(a.wire_n, 0); /* not even a proof */
	assert_true(session_over(a.s));
	assert_int_equal(end_last(&a, SESSION_EV_OVER)->err, ERR_DOWNGRADE);
	end_fini(&a);
	/* An address that is new: the old wire begins, and the signed mark stops it before there is a session. */
	end_init(&a, opened(w, &w->alice, SESSION_DIALLER, false));
	end_drain(&a);
	end_take(&a, u.p, u.n, u.text);
	free(u.p);
	assert_int_equal(a.wire_n, 1);
	a.hold = b.hold = true; /* whoever decides sees the mark first */
	for (unsigned i = 0; i < 12 && (a.wire_n || b.wire_n); i++) {
		struct end *from = a.wire_n ? &a : &b;

		u = end_pop(from);
		end_take(from == &a ? &b : &a, u.p, u.n, u.text);
		free(u.p);
	}
	assert_true(end_count(&b, SESSION_EV_IDENTIFIED) == 1 && session_peer(b.s)->marked);
	assert_false(session_online(a.s));
	assert_false(session_online(b.s));
	end_fini(&a);
	end_fini(&b);
}

static void weakness_10_suites_cannot_be_taken_from_under_a_handshake(void **state)
{
	struct world *w = *state;
	struct end a, b;
	struct said u;
	char *at;

	/* The challenge is changed on its way, and im2 chosen all the same: H1 differs at the two ends. */
	end_init(&b, opened(w, &w->bob, SESSION_LISTENER, false));
	end_drain(&b);
	end_init(&a, opened(w, &w->alice, SESSION_DIALLER, false));
	end_drain(&a);
	u = end_pop(&b);
	at = memmem(u.p, u.n, "0.9", 3);
	assert_non_null(at);
	at[2] = '8'; /* the version, say */
	end_take(&a, u.p, u.n, u.text);
	free(u.p);
	for (unsigned i = 0; i < 12 && (a.wire_n || b.wire_n); i++) {
		struct end *from = a.wire_n ? &a : &b;

		u = end_pop(from);
		end_take(from == &a ? &b : &a, u.p, u.n, u.text);
		free(u.p);
	}
	assert_false(session_online(a.s));
	assert_false(session_online(b.s));
	assert_true(session_over(a.s));
	assert_int_equal(w->alice.bad_dials, 1);
	assert_int_equal(w->bob.pins_n, 0);
	end_fini(&a);
	end_fini(&b);
}

/* --- 12: the header is not authenticated --- */

static void weakness_12_every_bit_of_a_header_counts(void **state)
{
	struct world *w = *state;
	struct said f;

	w->p = ipath_online(&w->alice, &w->bob, NULL);
	f = frame_of(w, 1, "once");
	for (size_t bit = 8; bit < 8 * f.n; bit++) {
		f.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
		end_take(&w->p->b, f.p, f.n, false);
		f.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_equal(heard(&w->p->b), 0);
	/* A counter near its end locks nobody out, a captured frame with a higher one is no new frame. */
	for (unsigned i = 0; i < 32; i++) {
		uint8_t counter[4];

		memcpy(counter, f.p + 5, 4);
		memset(f.p + 5, 0xff, 4);
		f.p[8] = (uint8_t)(0xfe - i);
		end_take(&w->p->b, f.p, f.n, false);
		memcpy(f.p + 5, counter, 4);
	}
	end_take(&w->p->b, f.p, f.n, false);
	assert_int_equal(heard(&w->p->b), 1);
	for (unsigned i = 0; i < 4; i++)
		end_take(&w->p->b, f.p, f.n, false);
	assert_int_equal(heard(&w->p->b), 1);
	free(f.p);
	assert_still_talks(w, 2);
}

/* --- 13: the JSON path --- */

static void weakness_13_no_json_in_a_session(void **state)
{
	struct world *w = *state;
	static const char json[] = "{\"type\": \"MSG\", \"payload\": \"aGVsbG8=\", \"msg_id\": \"m1\", "
				   "\"source\": \"139e3940e64b5491722088d9a0d74162\", \"destination\": \"*\"}";
	struct said f;

	w->p = ipath_online(&w->alice, &w->bob, NULL);
	end_take(&w->p->b, json, sizeof json - 1, false);
	assert_int_equal(heard(&w->p->b), 0);
	assert_still_talks(w, 1);
	/* A recorded frame inside a text message is not looked into either. */
	f = frame_of(w, 2, "again");
	end_take(&w->p->b, f.p, f.n, true);
	free(f.p);
	assert_int_equal(heard(&w->p->b), 1);
	assert_true(session_over(w->p->b.s));
}

static void weakness_13_the_type_is_inside(void **state)
{
	struct world *w = *state;
	struct message m = imessage(1, "{\"type\": \"REVOCATION\", \"target\": \"bob\"}");
	const struct seen *s;

	/* What looks like a command is a text, and stays one: nothing outside the seal says what it is. */
	w->p = ipath_online(&w->alice, &w->bob, NULL);
	assert_int_equal(session_send(w->p->a.s, &m), ERR_OK);
	ipath_flush(w->p);
	s = end_last(&w->p->b, SESSION_EV_MESSAGE);
	assert_non_null(s);
	assert_string_equal(s->msg_type, "MSG");
	assert_int_equal(end_count(&w->p->b, SESSION_EV_KEY_ROTATE) + end_count(&w->p->b, SESSION_EV_CONTROL) +
				 end_count(&w->p->b, SESSION_EV_ITEM), 0);
}

/* --- 14: one key for both directions --- */

static void weakness_14_a_frame_does_not_come_back(void **state)
{
	struct world *w = *state;
	struct said f, g;

	w->p = ipath_online(&w->alice, &w->bob, NULL);
	f = frame_of(w, 1, "for bob");
	say(&w->p->b, 1, "for alice");
	g = end_pop(&w->p->b);
	end_take(&w->p->a, f.p, f.n, false);
	memcpy(f.p + 1, g.p + 1, 4); /* and with the index that alice wants in frames to her */
	end_take(&w->p->a, f.p, f.n, false);
	for (unsigned i = 0; i < 8; i++) {
		f.p[8] = (uint8_t)(10 + i);
		end_take(&w->p->a, f.p, f.n, false);
	}
	assert_int_equal(heard(&w->p->a), 0);
	end_take(&w->p->a, g.p, g.n, false);
	assert_int_equal(heard(&w->p->a), 1);
	free(f.p);
	free(g.p);
}

/* --- 15: wall clocks --- */

static void weakness_15_no_clock_says_what_is_a_repetition(void **state)
{
	static const uint64_t wall[] = {0, 1, WALL_T - YEAR_MS, WALL_T + YEAR_MS, IM2_TIME_MAX};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof wall / sizeof *wall; i++) {
		struct inode carol;
		struct ipath *p;
		struct message m = imessage(i + 1, "from another year");
		struct said f;

		w->e2.wall_ms = wall[i];
		inode_init(&carol, &w->e2, 5 + (unsigned)i, NULL);
		p = ipath_online(&carol, &w->bob, NULL);
		m.created_ms = wall[i];
		assert_int_equal(session_send(p->a.s, &m), ERR_OK);
		end_drain(&p->a);
		f = end_pop(&p->a);
		w->e.now_ms += 20 * 60000; /* held back for longer than any window of the old wire */
		w->e.wall_ms += 20 * 60000;
		end_take(&p->b, f.p, f.n, false);
		assert_int_equal(heard(&p->b), 1);
		end_take(&p->b, f.p, f.n, false);
		assert_int_equal(heard(&p->b), 1);
		free(f.p);
		ipath_free(p);
		inode_fini(&carol);
	}
}

/* --- 16: strict ordering --- */

static void weakness_16_reordering_loses_nothing(void **state)
{
	enum { N = IM2_WINDOW - 1 };
	struct world *w = *state;
	struct said *f = calloc(N, sizeof *f);

	assert_non_null(f);
	w->p = ipath_online(&w->alice, &w->bob, NULL);
	im2_link_trusted(w->p->b.s, true); /* no rate for friends */
	for (unsigned i = 0; i < N; i++)
		f[i] = frame_of(w, i + 1, "in any order");
	for (unsigned i = N; i-- > 0;) {
		end_take(&w->p->b, f[i].p, f[i].n, false);
		end_take(&w->p->b, f[i].p, f[i].n, false);
		free(f[i].p);
		assert_int_equal(heard(&w->p->b), 1);
		end_forget(&w->p->b);
	}
	free(f);
}

/* --- 20, 24, 29: what another says in a session --- */

static void assert_item_does_nothing(struct world *w, uint16_t tag, struct bytes value)
{
	end_forget(&w->p->b);
	assert_int_equal(im2_link_item(w->p->a.s, tag, value), ERR_OK);
	end_drain(&w->p->a);
	ipath_move(w->p, &w->p->a, SIZE_MAX);
	for (size_t i = 0; i < w->p->b.log_n; i++)
		assert_true(w->p->b.log[i].type == SESSION_EV_DROPPED || w->p->b.log[i].type == SESSION_EV_ITEM);
	assert_true(session_online(w->p->b.s));
	ipath_flush(w->p);
	end_forget(&w->p->a);
}

static void weakness_20_routes_of_a_neighbour_change_nothing(void **state)
{
	struct world *w = *state;
	struct im2_fields f = {0};
	struct buf record, body, value;

	/* A route of bob's friend, stated by mallory: with her own signature and his name, and then with his. */
	w->p = ipath_online(&w->mallory, &w->bob, NULL);
	buf_init(&record, 4096);
	buf_init(&body, 64);
	buf_init(&value, 4096);
	static const uint8_t t[] = {1, 1, 3};
	buf_add_u8(&record, 3);
	buf_add(&record, BYTES_ARR(t));
	im2_set_b(&f, 0, buf_bytes(&record));
	im2_set_u(&f, 1, 0);
	im2_write(&im2_routeadv, &f, &value);
	assert_item_does_nothing(w, IM2_ITEM_ROUTEADV, buf_bytes(&value));
	buf_fini(&record);
	buf_fini(&body);
	buf_fini(&value);
}

static void field(struct buf *out, uint8_t tag, struct bytes value)
{
	buf_add_u8(out, tag);
	im2_lv_add(out, value);
}

static void weakness_24_nobody_speaks_for_another_in_his_session(void **state)
{
	struct world *w = *state;
	uint8_t id[16] = {1}, from[16], to[16], group[16] = {9};
	struct message m = imessage(1, "alice says: pay mallory");
	static const uint8_t kinds[] = {0, 1, 2, 3, 4, 5, 6};
	struct buf msg, smsg;

	w->p = ipath_online(&w->mallory, &w->bob, NULL);
	assert_int_equal(hex_decode(bytes_str(keyring_id(w->alice.k)->hex), from, 16), ERR_OK);
	assert_int_equal(hex_decode(bytes_str(keyring_id(w->bob.k)->hex), to, 16), ERR_OK);
	buf_init(&msg, 4096);
	buf_init(&smsg, 4096);
	for (unsigned kind = 0; kind < 7; kind++) {
		for (unsigned shape = 0; shape < 3; shape++) {
			/* By hand: the writer of the program refuses what 9.1 forbids. */
			static const uint8_t created[] = {0x0f, 1, 5};

			buf_reset(&msg);
			field(&msg, 1, BYTES_ARR(id));
			field(&msg, 3, BYTES_ARR(from));
			if (shape == 0)
				field(&msg, 5, BYTES_ARR(to));
			if (shape == 1)
				field(&msg, 7, BYTES_ARR(group));
			if (kind)
				field(&msg, 11, bytes_of(&kinds[kind], 1));
			buf_add(&msg, BYTES_ARR(created));
			field(&msg, 33, BYTES_LIT("alice says: pay mallory"));
			assert_item_does_nothing(w, IM2_ITEM_MSG, buf_bytes(&msg));
		}
	}
	/* Signed by mallory over alice's name; and signed by alice, but said in mallory's session. */
	m.source = *keyring_id(w->alice.k);
	m.destination = *keyring_id(w->bob.k);
	buf_reset(&smsg);
	uint8_t own[16], *at;
	assert_int_equal(hex_decode(bytes_str(keyring_id(w->mallory.k)->hex), own, 16), ERR_OK);
	assert_int_equal(im2_smsg_write(w->mallory.k, &m, 1, keyring_ed(w->bob.k), &smsg), ERR_OK);
	at = memmem(smsg.p, smsg.n, own, sizeof own);
	assert_non_null(at);
	memcpy(at, from, sizeof from);
	assert_item_does_nothing(w, IM2_ITEM_SMSG, buf_bytes(&smsg));
	buf_reset(&smsg);
	assert_int_equal(im2_smsg_write(w->alice.k, &m, 1, keyring_ed(w->bob.k), &smsg), ERR_OK);
	assert_item_does_nothing(w, IM2_ITEM_SMSG, buf_bytes(&smsg));
	buf_fini(&msg);
	buf_fini(&smsg);
}

static void weakness_29_no_group_key_comes_from_the_passphrase(void **state)
{
	struct world *w = *state;
	uint8_t unit[1 + 8 + 4 + 48] = {IM2_UNIT_GROUP}, key[32];

	/* Sender keys come with groups; until then neither the unit nor the item has an effect, whatever its key. */
	w->p = ipath_online(&w->mallory, &w->bob, NULL);
	hkdf_sha256(BYTES_LIT(MESH_PASSPHRASE), bytes_of(NULL, 0), BYTES_LIT("group"), key, sizeof key);
	im2_aead_seal(key, 0, bytes_of(NULL, 0), BYTES_LIT("everybody: the meeting is off  ."), unit + 13);
	end_take(&w->p->b, unit, sizeof unit, false);
	assert_int_equal(heard(&w->p->b), 0);
	assert_true(session_online(w->p->b.s));
	assert_item_does_nothing(w, IM2_ITEM_GROUPMSG, bytes_of(unit + 1, sizeof unit - 1));
	struct ipath *fresh = ipath_new(&w->mallory, &w->bob, NULL);
	ipath_start(fresh);
	end_take(&fresh->b, unit, sizeof unit, false);
	assert_int_equal(heard(&fresh->b) + end_count(&fresh->b, SESSION_EV_IDENTIFIED), 0);
	ipath_free(fresh);
}

/* --- 25: limits as a weapon --- */

static void weakness_25_a_ban_does_not_keep_known_peers_out(void **state)
{
	struct world *w = *state;
	struct ipath_opts known = {.transport = IM2_WEBSOCKET, .expect = true};

	ipath_free(ipath_online(&w->alice, &w->bob, NULL));
	inode_restart(&w->bob);
	inode_restart(&w->alice);
	/* Somebody behind alice's address guessed until it was banned. */
	w->bob.busy_s = 300;
	w->p = ipath_new(&w->mallory, &w->bob, NULL);
	ipath_start(w->p);
	ipath_flush(w->p);
	assert_true(session_over(w->p->a.s));
	assert_int_equal(end_count(&w->p->b, SESSION_EV_IDENTIFIED), 0);
	ipath_free(w->p);
	w->p = ipath_online(&w->alice, &w->bob, &known);
	assert_still_talks(w, 1);
}

static void weakness_25_refusals_do_not_multiply(void **state)
{
	static const uint8_t junk[] = {IM2_UNIT_FRAME, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
	struct world *w = *state;
	size_t units = 0;

	/* Frames of no session: a handful of answers, however many came. And an answer is not answered. */
	w->p = ipath_online(&w->alice, &w->bob, NULL);
	for (unsigned i = 0; i < 500; i++) {
		end_take(&w->p->b, junk, sizeof junk, false);
		while (w->p->b.wire_n) {
			struct said u = end_pop(&w->p->b);

			units++;
			end_take(&w->p->a, u.p, u.n, u.text);
			free(u.p);
			assert_int_equal(w->p->a.wire_n, 0);
		}
	}
	assert_true(units <= 8);
	assert_still_talks(w, 1);
	/* Items that are refused: one ITEMERR in a second. */
	units = 0;
	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(im2_link_item(w->p->a.s, IM2_ITEM_GROUPMSG, BYTES_LIT("0123456789ab0123456789abcdef0123")), ERR_OK);
		end_drain(&w->p->a);
		ipath_move(w->p, &w->p->a, SIZE_MAX);
		units += w->p->b.wire_n;
		while (w->p->b.wire_n) {
			struct said u = end_pop(&w->p->b);

			end_take(&w->p->a, u.p, u.n, u.text);
			free(u.p);
		}
	}
	assert_true(units <= 1);
}

/* --- 28: rekey --- */

static void weakness_28_a_recorded_handshake_changes_no_key(void **state)
{
	struct world *w = *state;
	struct ipath_opts known = {.transport = IM2_RNS_LINK, .expect = true};
	struct said i1 = {0};

	/* On transports without connections I1 can be said again by anybody (5.4). */
	ipath_free(ipath_online(&w->alice, &w->bob, NULL));
	inode_restart(&w->alice);
	inode_restart(&w->bob);
	w->p = ipath_new(&w->alice, &w->bob, &known);
	ipath_start(w->p);
	assert_int_equal(w->p->a.wire_n, 1);
	i1.n = w->p->a.wire[0].n;
	i1.p = malloc(i1.n);
	assert_non_null(i1.p);
	memcpy(i1.p, w->p->a.wire[0].p, i1.n);
	assert_int_equal(i1.p[0], IM2_UNIT_I1);
	ipath_flush(w->p);
	assert_true(session_online(w->p->a.s) && session_online(w->p->b.s));
	assert_still_talks(w, 1);
	uint64_t rekeys = im2_host_counters(w->bob.host)->rekeys;
	for (unsigned i = 0; i < 20; i++) {
		penv_pass(&w->e, 150000);
		end_take(&w->p->b, i1.p, i1.n, false);
		ipath_flush(w->p);
		assert_still_talks(w, 2 + i);
	}
	assert_int_equal(im2_host_counters(w->bob.host)->rekeys, rekeys);
	free(i1.p);
}

static void weakness_28_a_lost_answer_to_a_rekey_loses_nobody(void **state)
{
	struct world *w = *state;
	struct ipath_opts known = {.transport = IM2_WEBSOCKET, .expect = true};

	w->p = ipath_online(&w->alice, &w->bob, &known);
	assert_still_talks(w, 1);
	for (unsigned cut = 0; cut < 3; cut++) {
		assert_int_equal(session_rekey(w->p->a.s), ERR_OK);
		end_drain(&w->p->a);
		if (cut > 0)
			ipath_move(w->p, &w->p->a, SIZE_MAX);
		if (cut > 1)
			ipath_move(w->p, &w->p->b, SIZE_MAX);
		ipath_lose(w->p);
		assert_still_talks(w, 10 * cut + 2);
		say(&w->p->b, cut + 1, "and back");
		ipath_flush(w->p);
		assert_int_equal(heard(&w->p->a), cut + 1);
		for (unsigned i = 0; i < 8; i++) {
			ipath_tick(w->p, 5000);
			ipath_flush(w->p);
		}
		assert_still_talks(w, 10 * cut + 3);
	}
}

/* --- 35: side effects before policy --- */

static void weakness_35_who_is_refused_leaves_no_trace_and_learns_no_name(void **state)
{
	struct world *w = *state;
	struct buf wire;

	buf_init(&wire, 1 << 16);
	w->p = ipath_new(&w->mallory, &w->bob, NULL);
	w->p->b.refuse = true;
	ipath_start(w->p);
	for (unsigned i = 0; i < 20 && (w->p->a.wire_n || w->p->b.wire_n); i++) {
		while (w->p->b.wire_n) {
			buf_add_u8(&wire, w->p->b.wire[0].p[0]);
			ipath_move(w->p, &w->p->b, 1);
		}
		ipath_move(w->p, &w->p->a, SIZE_MAX);
	}
	assert_int_equal(end_count(&w->p->b, SESSION_EV_IDENTIFIED), 1);
	assert_int_equal(w->bob.pins_n + w->bob.puts + w->bob.proofs, 0);
	/* S1, X2 and a code: X4, in which bob would name himself, never left. */
	assert_false(stands_in(buf_bytes(&wire), BYTES_LIT("\x55")));
	assert_int_equal(end_count(&w->p->a, SESSION_EV_IDENTIFIED), 0);
	assert_null(inode_pin(&w->mallory, &w->bob));
	ipath_free(w->p);
	/* The dialler's side: bob is refused by alice, who keeps nothing of him. */
	w->p = ipath_new(&w->alice, &w->bob, NULL);
	w->p->a.refuse = true;
	ipath_start(w->p);
	ipath_flush(w->p);
	assert_int_equal(w->alice.pins_n + w->alice.puts + w->alice.proofs, 0);
	assert_false(session_online(w->p->a.s));
	buf_fini(&wire);
}

/* --- 37: compression --- */

static void weakness_37_length_says_nothing_about_content(void **state)
{
	struct world *w = *state;
	char same[1001], random[1001];
	struct said a, b;

	w->p = ipath_online(&w->alice, &w->bob, NULL);
	memset(same, 'a', 1000);
	env_random(&w->e.env, random, 1000);
	for (size_t i = 0; i < 1000; i++)
		random[i] = (char)('!' + (uint8_t)random[i] % 90);
	same[1000] = random[1000] = 0;
	a = frame_of(w, 1, same);
	b = frame_of(w, 2, random);
	assert_int_equal(a.n, b.n);
	assert_true(a.n > 1000);
	free(a.p);
	free(b.p);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(weakness_07_a_member_at_the_address_of_another_is_noticed),
		T(weakness_07_the_exchange_key_of_one_is_not_anothers),
		T(weakness_08_nobody_skips_the_passphrase),
		T(weakness_10_who_has_spoken_im2_says_no_word_of_the_old_wire),
		T(weakness_10_suites_cannot_be_taken_from_under_a_handshake),
		T(weakness_12_every_bit_of_a_header_counts),
		T(weakness_13_no_json_in_a_session),
		T(weakness_13_the_type_is_inside),
		T(weakness_14_a_frame_does_not_come_back),
		T(weakness_15_no_clock_says_what_is_a_repetition),
		T(weakness_16_reordering_loses_nothing),
		T(weakness_20_routes_of_a_neighbour_change_nothing),
		T(weakness_24_nobody_speaks_for_another_in_his_session),
		T(weakness_25_a_ban_does_not_keep_known_peers_out),
		T(weakness_25_refusals_do_not_multiply),
		T(weakness_28_a_recorded_handshake_changes_no_key),
		T(weakness_28_a_lost_answer_to_a_rekey_loses_nobody),
		T(weakness_29_no_group_key_comes_from_the_passphrase),
		T(weakness_35_who_is_refused_leaves_no_trace_and_learns_no_name),
		T(weakness_37_length_says_nothing_about_content),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
