#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/secret.h"
#include "daemon/node.h"
#include "protocol/v09/v09.h"
#include "store/store.h"

#include <sodium.h>

#define PASSPHRASE BYTES_LIT("a passphrase of the mesh")
#define PLACE "192.0.2.7:8765"
#define UNITS_MAX 64

struct unit {
	uint8_t *p;
	size_t n;
	bool text;
};

/* A node whose only transport is this file. */
struct world {
	uint64_t now_ms;
	struct env env;
	struct keyring *keyring;
	struct pins *pins;
	struct store *store;
	struct audit *audit;
	struct policy policy;
	struct node *node;
	struct transport tp;
	struct transport_sink sink;
	link_id last, dialled;
	bool shut[256], paused[256];
	struct unit said[UNITS_MAX]; /* by the node, on whatever link */
	size_t said_n;
};

static uint64_t now_ms(void *ctx)
{
	return ((struct world *)ctx)->now_ms;
}

static uint64_t wall_ms(void *ctx)
{
	return 1753500000000u + now_ms(ctx);
}

static void chance(void *ctx, void *out, size_t n)
{
	(void)ctx;
	randombytes_buf(out, n);
}

static struct world *of(struct transport *t)
{
	return (struct world *)(void *)((char *)t - offsetof(struct world, tp));
}

static enum err tp_dial_(struct transport *t, const char *address, link_id *out)
{
	assert_string_equal(address, PLACE);
	of(t)->dialled = *out = ++of(t)->last;
	return ERR_OK;
}

static enum err tp_send_(struct transport *t, link_id id, struct bytes unit, bool text)
{
	struct world *w = of(t);
	struct unit *u = &w->said[w->said_n++];

	(void)id;
	assert_true(w->said_n <= UNITS_MAX);
	u->p = malloc(unit.n);
	memcpy(u->p, unit.p, unit.n);
	u->n = unit.n;
	u->text = text;
	return ERR_OK;
}

static void tp_close_(struct transport *t, link_id id)
{
	of(t)->shut[id] = true;
}

static void tp_pause_(struct transport *t, link_id id, bool paused)
{
	of(t)->paused[id] = paused;
}

static size_t tp_queued_(struct transport *t, link_id id)
{
	(void)t, (void)id;
	return 0;
}

static const struct transport_ops ops = { .dial = tp_dial_, .send = tp_send_, .close = tp_close_,
					  .pause = tp_pause_, .queued = tp_queued_ };

static void forget(struct world *w)
{
	while (w->said_n)
		free(w->said[--w->said_n].p);
}

static struct world *world_new(uint32_t sessions, bool tofu)
{
	struct world *w = calloc(1, sizeof *w);
	struct node_config nc = { .name = "me", .passphrase = PASSPHRASE };
	struct secret wrap;

	assert_int_equal(secret_init_library(), ERR_OK);
	w->now_ms = 1000;
	w->env = (struct env){ .ctx = w, .now_ms = now_ms, .wall_ms = wall_ms, .random = chance };
	assert_int_equal(keyring_generate(&w->env, &w->keyring), ERR_OK);
	assert_int_equal(pins_load(NULL, w->keyring, &w->env, &w->pins, NULL), ERR_OK);
	assert_int_equal(audit_open(NULL, w->keyring, &w->env, &w->audit, NULL), ERR_OK);
	assert_int_equal(keyring_derive(w->keyring, DERIVE_DB_WRAP, &wrap), ERR_OK);
	struct store_config sc = { .env = &w->env, .wrap_key = secret_bytes(&wrap) };
	assert_int_equal(store_open(&sc, &w->store, NULL), ERR_OK);
	secret_free(&wrap);
	policy_init(&w->policy);
	w->policy.trust_on_first_use = tofu;
	nc.policy = &w->policy;
	nc.limits.connects_per_s = -1;
	nc.limits.sessions = sessions;
	nc.limits.peer_messages_per_s = 10;
	nc.limits.peer_burst = 100;
	struct node_parts parts = { &w->env, w->keyring, w->pins, w->store, w->audit };
	assert_int_equal(node_new(&nc, &parts, &w->node), ERR_OK);
	w->tp = (struct transport){ .ops = &ops, .kind = "test", .unit_max = SESSION_UNIT_MAX };
	w->sink = node_sink(w->node);
	node_attach(w->node, &w->tp);
	return w;
}

static void world_free(struct world *w)
{
	node_goodbye(w->node);
	for (link_id i = 1; i <= w->last; i++)
		w->sink.closed(w->sink.ctx, i, LINK_END_LOCAL, "");
	forget(w);
	node_detach(w->node, &w->tp);
	node_free(w->node);
	policy_fini(&w->policy);
	store_close(w->store);
	audit_close(w->audit);
	pins_free(w->pins);
	keyring_free(w->keyring);
	assert_int_equal(timers_next(&w->env), UINT64_MAX);
	timers_fini(&w->env);
	free(w);
}

static void turn(struct world *w)
{
	timers_run(&w->env);
	for (int i = 0; i < 8 && node_wants_turn(w->node); i++)
		node_turn(w->node);
}

static void pass(struct world *w, uint64_t ms)
{
	w->now_ms += ms;
	turn(w);
}

/* The far side: a session of the real protocol, and a record of what it said. */
struct far {
	struct session *s;
	struct keyring *k;
	struct unit said[UNITS_MAX];
	size_t said_n;
};

static void far_init(struct far *f, struct world *w, struct keyring *k, enum session_role role,
		     const char *name)
{
	struct session_config c = { .env = &w->env, .keyring = k, .passphrase = PASSPHRASE, .name = name,
				    .role = role };

	memset(f, 0, sizeof *f);
	f->k = k;
	assert_int_equal(v09_session_new(&c, &f->s), ERR_OK);
	session_start(f->s);
}

static void far_fini(struct far *f)
{
	session_free(f->s);
	while (f->said_n)
		free(f->said[--f->said_n].p);
}

/* What somebody on the way can do: nothing signs this member. */
static bool strips_acks;

static void strip(struct unit *u)
{
	static const char member[] = ", \"acks\": 1";
	uint8_t *at = strips_acks ? memmem(u->p, u->n, member, sizeof member - 1) : NULL;

	if (!at)
		return;
	u->n -= sizeof member - 1;
	memmove(at, at + sizeof member - 1, (size_t)(u->p + u->n - at));
}

static void far_listen(struct far *f)
{
	struct session_unit u;
	struct session_event e;
	bool more = true;

	while (more) {
		while (session_next_unit(f->s, &u)) {
			struct unit *x = &f->said[f->said_n++];

			assert_true(f->said_n <= UNITS_MAX);
			x->p = malloc(u.bytes.n);
			memcpy(x->p, u.bytes.p, u.bytes.n);
			x->n = u.bytes.n;
			x->text = u.text;
			strip(x);
		}
		more = session_next_event(f->s, &e);
		if (more && e.type == SESSION_EV_IDENTIFIED)
			session_admit(f->s);
	}
}

static link_id open_link(struct world *w, bool dialled)
{
	struct link_info i = { .id = dialled ? w->dialled : ++w->last, .dialled = dialled, .kind = "test",
			       .address = PLACE, .source = "192.0.2.7" };

	forget(w);
	w->sink.opened(w->sink.ctx, &i);
	return i.id;
}

/* The node dials; its target is PLACE. */
static link_id dialled_link(struct world *w)
{
	w->dialled = 0;
	for (int i = 0; i < 1000 && !w->dialled; i++)
		pass(w, 500);
	assert_true(w->dialled != 0);
	return open_link(w, true);
}

/* Carries units in both directions until both are quiet; `frames` false: only the handshake. */
static void talk(struct world *w, link_id id, struct far *f, bool frames)
{
	size_t mine = 0, theirs = 0;

	far_listen(f);
	for (bool more = true; more;) {
		more = false;
		for (; theirs < f->said_n; theirs++, more = true)
			if (frames || f->said[theirs].text)
				w->sink.unit(w->sink.ctx, id, bytes_of(f->said[theirs].p, f->said[theirs].n),
					     f->said[theirs].text);
		for (; mine < w->said_n; mine++, more = true)
			if (frames || w->said[mine].text)
				session_take(f->s, bytes_of(w->said[mine].p, w->said[mine].n),
					     w->said[mine].text),
				far_listen(f);
	}
	turn(w);
}

/* As talk() of a server, from the record of another session: nobody here knows a key or the passphrase. */
static void replay(struct world *w, link_id id, const struct far *record)
{
	for (size_t i = 0; i < record->said_n && record->said[i].text; i++)
		w->sink.unit(w->sink.ctx, id, bytes_of(record->said[i].p, record->said[i].n), true);
	turn(w);
}

static void hang_up(struct world *w, link_id id)
{
	w->sink.closed(w->sink.ctx, id, LINK_END_REMOTE, "");
	turn(w);
}

static void a_dialled_peer_is_online_when_a_frame_came_under_the_key(void **state)
{
	struct world *w = world_new(8, true);
	struct keyring *k;
	struct far f;

	assert_int_equal(keyring_generate(&w->env, &k), ERR_OK);
	assert_int_equal(node_add_target(w->node, PLACE, NULL), ERR_OK);
	node_dial_all(w->node);
	link_id id = dialled_link(w);
	far_init(&f, w, k, SESSION_LISTENER, "bob");
	talk(w, id, &f, true);
	assert_int_equal(node_online(w->node), 1);
	pass(w, 60000);
	assert_int_equal(node_online(w->node), 1);
	far_fini(&f);
	world_free(w);
	keyring_free(k);
}

static void a_recorded_server_is_never_online_and_pins_nothing(void **state)
{
	struct world *w = world_new(8, true);
	struct keyring *k;
	struct far f;

	assert_int_equal(keyring_generate(&w->env, &k), ERR_OK);
	assert_int_equal(node_add_target(w->node, PLACE, NULL), ERR_OK);
	node_dial_all(w->node);
	link_id id = dialled_link(w);
	far_init(&f, w, k, SESSION_LISTENER, "bob");
	talk(w, id, &f, false);
	assert_int_equal(node_online(w->node), 0);
	hang_up(w, id);
	assert_null(pins_get(w->pins, keyring_id(k)));
	id = dialled_link(w);
	replay(w, id, &f);
	/* It got as far as anybody without the key can: our HELLO and our question are out. */
	assert_int_equal(w->said_n, 3);
	assert_false(w->said[2].text);
	assert_int_equal(node_online(w->node), 0);
	assert_null(pins_get(w->pins, keyring_id(k)));
	assert_false(w->shut[id]);
	pass(w, 10000);
	assert_true(w->shut[id]);
	assert_int_equal(node_counters(w->node)->handshakes_ok, 0);
	far_fini(&f);
	world_free(w);
	keyring_free(k);
}

static void a_hello_that_was_passed_on_replaces_no_session(void **state)
{
	struct world *w = world_new(8, true);
	struct keyring *k;
	struct far real, other;

	assert_int_equal(keyring_generate(&w->env, &k), ERR_OK);
	link_id first = open_link(w, false);
	far_init(&real, w, k, SESSION_DIALLER, "bob");
	talk(w, first, &real, true);
	assert_int_equal(node_online(w->node), 1);

	/* Bob dials somebody who hands his handshake on to us, and cannot go on from there. */
	pass(w, 20000);
	link_id second = open_link(w, false);
	far_init(&other, w, k, SESSION_DIALLER, "bob");
	talk(w, second, &other, false);
	assert_true(session_online(other.s));
	assert_false(w->shut[first]);
	pass(w, 10000);
	assert_true(w->shut[second]);
	assert_false(w->shut[first]);
	assert_int_equal(node_online(w->node), 1);
	far_fini(&real);
	far_fini(&other);
	world_free(w);
	keyring_free(k);
}

static void a_recorded_hello_does_not_lock_its_identity_out(void **state)
{
	struct world *w = world_new(8, true);
	struct keyring *k;
	struct far f, real;

	assert_int_equal(keyring_generate(&w->env, &k), ERR_OK);
	assert_int_equal(node_add_target(w->node, PLACE "#0123456789abcdef0123456789abcdef", NULL), ERR_OK);
	node_dial_all(w->node);
	link_id id = dialled_link(w);
	far_init(&f, w, k, SESSION_LISTENER, "bob");
	talk(w, id, &f, false);
	assert_true(w->shut[id]);
	hang_up(w, id);
	struct target_view v;
	assert_int_equal(node_targets(w->node, &v, 1), 1);
	assert_non_null(strstr(v.why, "was configured to be 0123456789abcdef"));
	for (int i = 0; i < 8; i++) {
		id = dialled_link(w);
		replay(w, id, &f);
		assert_true(w->shut[id]);
		hang_up(w, id);
	}
	id = open_link(w, false);
	far_init(&real, w, k, SESSION_DIALLER, "bob");
	talk(w, id, &real, true);
	assert_false(w->shut[id]);
	assert_true(session_online(real.s));
	far_fini(&f);
	far_fini(&real);
	world_free(w);
	keyring_free(k);
}

static void strangers_leave_room_for_those_who_were_approved(void **state)
{
	struct world *w = world_new(4, false);
	struct keyring *k[6];
	struct far f[6];
	link_id id;

	for (int i = 0; i < 6; i++)
		assert_int_equal(keyring_generate(&w->env, &k[i]), ERR_OK);
	assert_int_equal(pins_pin(w->pins, keyring_ed(k[5]), "friend", wall_ms(w), NULL), ERR_OK);
	for (int i = 0; i < 6; i++) {
		char name[] = "stranger0";

		name[8] = (char)('0' + i);
		id = open_link(w, false);
		far_init(&f[i], w, k[i], SESSION_DIALLER, i == 5 ? "friend" : name);
		talk(w, id, &f[i], true);
		assert_int_equal(w->shut[id], i == 3 || i == 4);
	}
	assert_int_equal(node_online(w->node), 4);
	world_free(w);
	for (int i = 0; i < 6; i++) {
		far_fini(&f[i]);
		keyring_free(k[i]);
	}
}

/* Frames that are no messages are not free: the link is not read for a while. */
static void assert_slowed(struct world *w, link_id id, struct far *f, enum err (*say)(struct session *))
{
	assert_false(w->paused[id]);
	for (int i = 0; i < 120 && !w->paused[id]; i++) {
		size_t from = f->said_n;

		assert_int_equal(say(f->s), ERR_OK);
		far_listen(f);
		for (size_t k = from; k < f->said_n; k++)
			w->sink.unit(w->sink.ctx, id, bytes_of(f->said[k].p, f->said[k].n), false);
		while (f->said_n > from)
			free(f->said[--f->said_n].p);
	}
	assert_true(w->paused[id]);
	assert_false(w->shut[id]);
	pass(w, 60000);
	assert_false(w->paused[id]);
}

static enum err say_rotate(struct session *s)
{
	uint8_t ed[ED_BYTES] = { 1 };

	return session_key_rotate(s, ed);
}

static enum err say_receipt(struct session *s)
{
	struct receipt r[60];
	char id[60][32];

	for (int i = 0; i < 60; i++) {
		snprintf(id[i], sizeof id[i], "never-sent-%d", i);
		r[i] = (struct receipt){ .kind = RECEIPT_DELIVERED, .id = bytes_str(id[i]) };
	}
	return session_send_receipts(s, r, 60);
}

static void frames_that_are_no_messages_cost_as_much(void **state)
{
	struct world *w = world_new(8, false);
	struct keyring *k;
	struct far f;

	assert_int_equal(keyring_generate(&w->env, &k), ERR_OK);
	link_id id = open_link(w, false);
	far_init(&f, w, k, SESSION_DIALLER, "stranger");
	talk(w, id, &f, true);
	assert_int_equal(node_online(w->node), 1);
	assert_slowed(w, id, &f, session_goodbye);
	assert_slowed(w, id, &f, say_rotate);
	assert_slowed(w, id, &f, say_receipt);
	far_fini(&f);
	world_free(w);
	keyring_free(k);
}

static void who_has_confirmed_once_is_not_taken_for_one_who_never_does(void **state)
{
	struct world *w = world_new(8, true);
	struct keyring *k;
	struct far f, g, h;

	assert_int_equal(keyring_generate(&w->env, &k), ERR_OK);
	link_id id = open_link(w, false);
	far_init(&f, w, k, SESSION_DIALLER, "bob");
	talk(w, id, &f, true);
	/* To say so is not enough: an old peer whose HELLO was embellished stays welcome. */
	assert_false(pins_get(w->pins, keyring_id(k))->confirms);
	size_t from = f.said_n;
	assert_int_equal(say_receipt(f.s), ERR_OK);
	far_listen(&f);
	w->sink.unit(w->sink.ctx, id, bytes_of(f.said[from].p, f.said[from].n), false);
	assert_true(pins_get(w->pins, keyring_id(k))->confirms);
	hang_up(w, id);

	strips_acks = true;
	id = open_link(w, false);
	far_init(&g, w, k, SESSION_DIALLER, "bob");
	talk(w, id, &g, true);
	strips_acks = false;
	assert_int_equal(node_online(w->node), 0);
	assert_true(w->shut[id]);

	pass(w, 2000);
	id = open_link(w, false);
	far_init(&h, w, k, SESSION_DIALLER, "bob");
	talk(w, id, &h, true);
	assert_int_equal(node_online(w->node), 1);
	far_fini(&f);
	far_fini(&g);
	far_fini(&h);
	world_free(w);
	keyring_free(k);
}

/* Somebody at 198.51.100.`at`, who says one unit of im2 that opens nothing, or keeps silent. */
static link_id knock(struct world *w, int at, bool says)
{
	struct link_info x = { .id = ++w->last, .kind = "test", .address = "far" };
	uint8_t unit[107] = { 0x56 };

	snprintf(x.source, sizeof x.source, "198.51.100.%d", at);
	assert_true(w->sink.accepting(w->sink.ctx, x.source));
	forget(w);
	w->sink.opened(w->sink.ctx, &x);
	if (says)
		w->sink.unit(w->sink.ctx, x.id, BYTES_ARR(unit), false);
	assert_false(w->shut[x.id]);
	return x.id;
}

/* Three quarters of the places: the others are kept for those whom we trust. */
#define PLACES 48

static void keep_others_out(bool says)
{
	struct world *w = world_new(8, true);
	struct keyring *k;
	struct far f;

	assert_int_equal(keyring_generate(&w->env, &k), ERR_OK);
	for (int i = 0; i < PLACES; i++)
		knock(w, i, says);
	assert_false(w->sink.accepting(w->sink.ctx, "192.0.2.7")); /* all of them are new */
	pass(w, 1500);
	assert_true(w->sink.accepting(w->sink.ctx, "192.0.2.7"));
	assert_true(w->shut[1]);
	assert_false(w->shut[2]);
	link_id id = open_link(w, false);
	far_init(&f, w, k, SESSION_DIALLER, "bob");
	talk(w, id, &f, false);
	pass(w, 1500);
	for (int i = 0; i < PLACES; i++) /* who got this far is not in the way */
		if (w->sink.accepting(w->sink.ctx, "192.0.2.8"))
			assert_false(w->shut[id]);
	talk(w, id, &f, true);
	assert_int_equal(node_online(w->node), 1);
	far_fini(&f);
	world_free(w);
	keyring_free(k);
}

static void those_who_say_nothing_do_not_keep_others_out(void **state)
{
	keep_others_out(false);
}

static void those_who_say_anything_else_do_not_keep_others_out(void **state)
{
	keep_others_out(true);
}

static void the_source_that_holds_most_makes_room_first(void **state)
{
	struct world *w = world_new(8, true);
	link_id one, many;

	one = knock(w, 1, false);
	many = knock(w, 2, true);
	for (int i = 1; i < 16; i++)
		knock(w, 2, true);
	for (int i = 17; i < PLACES; i++)
		knock(w, i, true);
	pass(w, 1500);
	for (int i = 0; i < 15; i++) {
		assert_true(w->sink.accepting(w->sink.ctx, "192.0.2.7"));
		assert_true(w->shut[many + (link_id)i]);
		assert_false(w->shut[one]);
		knock(w, 100 + i, true);
	}
	assert_true(w->sink.accepting(w->sink.ctx, "192.0.2.7"));
	assert_true(w->shut[one]);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_dialled_peer_is_online_when_a_frame_came_under_the_key),
		cmocka_unit_test(a_recorded_server_is_never_online_and_pins_nothing),
		cmocka_unit_test(a_hello_that_was_passed_on_replaces_no_session),
		cmocka_unit_test(a_recorded_hello_does_not_lock_its_identity_out),
		cmocka_unit_test(strangers_leave_room_for_those_who_were_approved),
		cmocka_unit_test(frames_that_are_no_messages_cost_as_much),
		cmocka_unit_test(those_who_say_nothing_do_not_keep_others_out),
		cmocka_unit_test(those_who_say_anything_else_do_not_keep_others_out),
		cmocka_unit_test(the_source_that_holds_most_makes_room_first),
		cmocka_unit_test(who_has_confirmed_once_is_not_taken_for_one_who_never_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
