/* Invites between nodes in virtual time: what is pinned, what is spent, and what a crash in between leaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/invites_internal.h"
#include "tests/lib/daemon_world.h"
#include "transports/loopback.h"

struct outcome {
	bool over;
	struct fault f; /* err ERR_OK: done */
};

static void over(void *ctx, const struct fault *f)
{
	struct outcome *o = ctx;

	assert_false(o->over);
	o->over = true;
	if (f)
		o->f = *f;
}

static void make(struct side *s, const char *allow, bool trust, char token[static INVITE_TEXT_MAX + 1], struct invite_entry *x)
{
	struct invite_wish w = { .endpoint = s->address, .profile = "lan", .allowed_peers = allow, .trust = trust };
	struct invite_entry mine;
	struct fault f = { 0 };
	struct buf b;

	buf_init(&b, INVITE_TEXT_MAX);
	if (invites_create(s->node, &w, &b, x ? x : &mine, &f) != ERR_OK)
		fail_msg("%s", f.what);
	memcpy(token, b.p, b.n);
	token[b.n] = '\0';
	buf_fini(&b);
}

/* Follows it to the end. */
static enum err follow(struct side *s, const char *token, struct outcome *o)
{
	struct invite v;
	enum err e;

	memset(o, 0, sizeof *o);
	node_dial_all(s->node); /* a daemon dials from its start on */
	e = invites_accept(s->node, bytes_str(token), &v, over, o, &o->f);
	if (e != ERR_OK) {
		assert_true(o->f.what[0] && o->f.next[0]);
		return e;
	}
	world_pass(s->w, 30000);
	assert_true(o->over);
	return o->f.err;
}

static const struct pin *pin_of(struct side *a, const struct side *b)
{
	return pins_get(a->pins, side_id(b));
}

static void who_follows_an_invite_is_pinned_once(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	char token[INVITE_TEXT_MAX + 1];
	struct invite_entry x;
	struct outcome o;

	make(a, "n1,n2", false, token, &x);
	assert_int_equal(x.expires_ms - x.issued_ms, 900000);
	assert_int_equal(follow(b, token, &o), ERR_OK);
	assert_string_equal(pin_word(pin_of(a, b)), "pending");
	assert_string_equal(pin_of(a, b)->via, "invite");
	assert_string_equal(pin_word(pin_of(b, a)), "trusted");
	assert_string_equal(pin_of(b, a)->via, "invite");
	assert_string_equal(pin_of(b, a)->name, "n0");
	assert_int_equal(side_audited(a, "INVITE_ACCEPTED"), 1);
	assert_int_equal(side_audited(b, "INVITE_FOLLOWED"), 1);
	assert_int_equal(invite_entry_state(invites_at(a->node, 0), world_wall_ms(w)), INVITE_SPENT);
	assert_true(node_id_eq(&invites_at(a->node, 0)->by, side_id(b)));
	/* One connection of the old wire, then both are what they are. */
	assert_non_null(side_conn(a, b));
	assert_true(side_conn(a, b)->im2);
	assert_true(pin_of(a, b)->im2_since_ms != 0 && pin_of(b, a)->im2_since_ms != 0);
	/* Another identity has no use of it. */
	assert_int_not_equal(follow(c, token, &o), ERR_OK);
	assert_null(pin_of(a, c));
	assert_int_equal(side_audited(a, "INVITE_REJECTED"), 1);
	assert_int_equal(a->node->n.invites_rejected, 1);
	assert_int_equal(a->node->n.invites_accepted, 1);
	/* Nor after a restart. */
	side_stop(a);
	side_start(a);
	assert_int_equal(invite_entry_state(invites_at(a->node, 0), world_wall_ms(w)), INVITE_SPENT);
	assert_int_not_equal(follow(c, token, &o), ERR_OK);
	assert_null(pin_of(a, c));
}

static void its_maker_may_trust_its_bearer_at_once(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	char token[INVITE_TEXT_MAX + 1];
	struct outcome o;

	make(a, "", true, token, NULL);
	assert_int_equal(follow(b, token, &o), ERR_OK);
	assert_string_equal(pin_word(pin_of(a, b)), "trusted");
	assert_string_equal(pin_of(a, b)->via, "invite");
}

/* Who waits already is let in by an invite that says so, and by one that does not is meant by the list from then on. */
static void one_who_waits_is_invited(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	char token[INVITE_TEXT_MAX + 1];
	struct pin_update u = { .id = *side_id(b), .ed = keyring_ed(b->keyring), .name = "n1", .state = PIN_PENDING, .via = "tofu",
				.wall_ms = world_wall_ms(w) };
	struct outcome o;

	assert_int_equal(pins_observe(a->pins, &u, NULL), ERR_OK);
	make(a, "", true, token, NULL);
	assert_int_equal(follow(b, token, &o), ERR_OK);
	assert_string_equal(pin_word(pin_of(a, b)), "trusted");
	assert_string_equal(pin_of(a, b)->via, "invite");
}

static void an_invite_counts_beside_the_list(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	char token[INVITE_TEXT_MAX + 1];
	struct outcome o;

	assert_int_equal(policy_allow(&a->policy, "somebody", NULL), ERR_OK);
	assert_int_equal(policy_allow(&b->policy, "else", NULL), ERR_OK);
	make(a, "", false, token, NULL);
	assert_int_equal(follow(b, token, &o), ERR_OK);
	assert_string_equal(pin_word(pin_of(a, b)), "pending");
	/* The session that follows has no token, and is let in on both sides. */
	assert_non_null(side_conn(a, b));
	assert_true(side_conn(a, b)->im2);
	/* Without one the list holds. */
	assert_int_equal(node_add_target(c->node, a->address, NULL), ERR_OK);
	node_dial_all(c->node);
	world_pass(w, 5000);
	assert_null(pin_of(a, c));
	assert_null(side_conn(a, c));
}

static void what_is_no_good_lets_nobody_in(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	char token[INVITE_TEXT_MAX + 1], second[INVITE_TEXT_MAX + 1];
	struct invite_entry x, y;
	struct outcome o;
	struct fault f = { 0 };

	make(a, "", false, token, &x);
	assert_int_equal(invites_revoke(a->node, "zzzz", &y, &f), ERR_NOTFOUND);
	assert_int_equal(invites_revoke(a->node, "", &y, &f), ERR_NOTFOUND);
	x.id[8] = '\0';
	assert_int_equal(invites_revoke(a->node, x.id, &y, &f), ERR_OK);
	assert_int_equal(follow(b, token, &o), ERR_CLOSED);
	assert_null(pin_of(a, b));
	assert_true(o.f.next[0]);
	/* The inviter's own ledger decides, not its signature alone: here its disk was replaced. */
	make(a, "", false, token, NULL);
	side_stop(a);
	assert_int_equal(unlink(side_file(a, "db")), 0);
	side_start(a);
	assert_int_equal(invites_count(a->node), 0);
	assert_int_equal(follow(b, token, &o), ERR_CLOSED);
	assert_null(pin_of(a, b));
	/* Of another node, by whom it is shown at the wrong door. */
	make(c, "", false, second, NULL);
	side_stop(c);
	assert_int_equal(follow(b, second, &o), ERR_CLOSED);
	side_start(c);
	make(a, "", false, token, NULL);
	world_pass(w, 900000 + 31000);
	assert_int_equal(follow(b, token, &o), ERR_EXPIRED);
	token[40] ^= 1;
	assert_int_not_equal(follow(b, token, &o), ERR_OK);
	assert_int_equal(follow(b, "ironmesh-invite-v1:AAAA", &o), ERR_MALFORMED);
	assert_null(pin_of(a, b));
	make(a, "", false, token, NULL);
	assert_int_equal(follow(a, token, &o), ERR_SELF);
}

/* The token itself in a HELLO that our own daemon would not have sent. */
static void the_listener_judges_by_itself(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	char token[INVITE_TEXT_MAX + 1];
	struct outcome o;
	struct invite_entry x;
	struct fault f = { 0 };

	make(a, "", false, token, &x);
	/* The dialler's clock says that it is valid, the listener's ledger that it is over. */
	invites_find(a->node->invites, x.nonce)->expires_ms = 1;
	a->node->invites->list[0]->revoked_ms = 1;
	assert_int_equal(follow(b, token, &o), ERR_CLOSED);
	a->node->invites->list[0]->revoked_ms = 0;
	/* Blocked stays blocked, and the token is still there for another. */
	make(a, "", true, token, &x);
	assert_int_equal(pins_pin(a->pins, keyring_ed(b->keyring), "n1", world_wall_ms(w), &f), ERR_OK);
	assert_int_equal(node_peer_block(a->node, side_id(b), "no", &f), ERR_OK);
	assert_int_equal(follow(b, token, &o), ERR_CLOSED);
	assert_string_equal(pin_word(pin_of(a, b)), "blocked");
	assert_int_equal(invite_entry_state(invites_find(a->node->invites, x.nonce), world_wall_ms(w)), INVITE_OPEN);
	assert_int_equal(follow(&w->side[2], token, &o), ERR_OK);
	assert_string_equal(pin_word(pin_of(a, &w->side[2])), "trusted");
}

static void claim(struct side *a, const struct invite_entry *x, const struct side *by)
{
	struct invite_entry *e = invites_find(a->node->invites, x->nonce);

	e->by = *side_id(by);
	assert_int_equal(invites_write(a->node->invites, e), ERR_OK);
	assert_int_equal(node_commit(a->node), ERR_OK);
}

static void a_crash_before_the_pin_gives_the_token_back(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	char token[INVITE_TEXT_MAX + 1];
	struct invite_entry x;
	struct outcome o;

	make(a, "", false, token, &x);
	claim(a, &x, b);
	/* While it is claimed nobody else gets in. */
	assert_int_equal(follow(c, token, &o), ERR_CLOSED);
	assert_null(pin_of(a, c));
	side_stop(a);
	side_start(a);
	assert_int_equal(invite_entry_state(invites_at(a->node, 0), world_wall_ms(w)), INVITE_OPEN);
	assert_int_equal(follow(c, token, &o), ERR_OK);
	assert_non_null(pin_of(a, c));
	assert_int_equal(follow(b, token, &o), ERR_CLOSED);
	assert_null(pin_of(a, b));
}

static void a_crash_after_the_pin_leaves_it_spent(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	char token[INVITE_TEXT_MAX + 1];
	struct pin_update u = { .id = *side_id(b), .ed = keyring_ed(b->keyring), .name = "n1", .state = PIN_PENDING, .via = "invite",
				.wall_ms = world_wall_ms(w) };
	struct invite_entry x;
	struct outcome o;

	make(a, "", false, token, &x);
	claim(a, &x, b);
	assert_int_equal(pins_observe(a->pins, &u, NULL), ERR_OK);
	side_stop(a); /* flushes the pins: the entry was not written after that */
	side_start(a);
	assert_int_equal(invite_entry_state(invites_at(a->node, 0), world_wall_ms(w)), INVITE_SPENT);
	assert_int_equal(follow(c, token, &o), ERR_CLOSED);
	assert_null(pin_of(a, c));
	/* Whoever was let in may say it again: he did not hear of it. */
	assert_int_equal(follow(b, token, &o), ERR_OK);
	/* But not once the operator has forgotten him. */
	assert_int_equal(node_peer_forget(a->node, side_id(b), NULL), ERR_OK);
	assert_int_equal(pins_forget_im2(b->pins, side_id(a)), ERR_OK);
	assert_int_not_equal(follow(b, token, &o), ERR_OK);
	assert_true(!pin_of(a, b) || strcmp(pin_of(a, b)->via, "invite") != 0);
}

/* The pin cannot be written: the token is not spent, and nobody else uses it meanwhile. */
static void a_disk_that_refuses_the_pin_spends_nothing(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	char token[INVITE_TEXT_MAX + 1];
	struct invite_entry x;
	struct outcome o;
	const char *path;

	make(a, "", false, token, &x);
	assert_int_equal(pins_flush(a->pins, NULL), ERR_OK);
	path = side_file(a, "pins");
	(void)unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(follow(b, token, &o), ERR_CLOSED);
	assert_int_equal(invites_at(a->node, 0)->spent_ms, 0);
	assert_int_equal(side_audited(a, "INVITE_ACCEPTED"), 0);
	assert_int_equal(follow(c, token, &o), ERR_CLOSED);
	assert_null(pin_of(a, c));
	assert_int_equal(rmdir(side_file(a, "pins")), 0);
	assert_int_equal(follow(b, token, &o), ERR_OK);
	assert_true(invites_at(a->node, 0)->spent_ms != 0);
	assert_false(pins_state_dirty(a->pins));
}

/* im2.md 4.3: an invite is no way back to the old wire for whoever has spoken im2. */
static void who_spoke_im2_is_not_taken_back(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	char token[INVITE_TEXT_MAX + 1];
	struct invite_entry x;
	struct outcome o;

	side_meet(b, a);
	make(a, "", true, token, &x);
	assert_int_equal(follow(b, token, &o), ERR_DOWNGRADE);
	assert_non_null(strstr(o.f.next, "approve"));
	/* Who has forgotten it, or pretends to, is refused at the other end, and the token stays. */
	loopback_kill(b->tp);
	side_stop(b);
	assert_int_equal(unlink(side_file(b, "pins")), 0);
	side_start(b);
	assert_int_not_equal(follow(b, token, &o), ERR_OK);
	assert_true(side_audited(a, "DOWNGRADE_REFUSED") >= 1);
	assert_string_equal(pin_word(pin_of(a, b)), "pending");
	assert_int_equal(invite_entry_state(invites_find(a->node->invites, x.nonce), world_wall_ms(w)), INVITE_OPEN);
}

static void with_im2_required_there_are_none(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	struct invite_wish wish = { .endpoint = "n0:1", .profile = "", .allowed_peers = "" };
	char token[INVITE_TEXT_MAX + 1];
	struct fault f = { 0 };
	struct outcome o;
	struct buf out;

	buf_init(&out, INVITE_TEXT_MAX);
	make(a, "", true, token, NULL);
	a->policy.im2 = b->policy.im2 = IM2_REQUIRE;
	assert_int_equal(invites_create(a->node, &wish, &out, NULL, &f), ERR_WRONG_STATE);
	assert_string_equal(f.next, "ironmesh pair");
	assert_int_equal(follow(b, token, &o), ERR_DOWNGRADE);
	assert_string_equal(o.f.next, "ironmesh pair");
	assert_null(pin_of(b, a));
	/* The inviter alone requires it, since: what is said there is no old wire. */
	b->policy.im2 = IM2_ON;
	assert_int_equal(follow(b, token, &o), ERR_CLOSED);
	assert_non_null(strstr(o.f.means, "ironmesh pair"));
	assert_null(pin_of(a, b));
	buf_fini(&out);
}

/* Whoever answers there is not the inviter: nothing is pinned but the inviter itself. */
static void another_key_at_the_endpoint(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	struct invite_wish wish = { .profile = "", .allowed_peers = "" };
	char token[INVITE_TEXT_MAX + 1] = "";
	struct fault f = { 0 };
	struct outcome o;
	struct buf out;

	buf_init(&out, INVITE_TEXT_MAX);
	wish.endpoint = c->address;
	assert_int_equal(invites_create(a->node, &wish, &out, NULL, &f), ERR_OK);
	memcpy(token, out.p, out.n);
	assert_int_equal(follow(b, token, &o), ERR_CLOSED);
	assert_int_equal(side_audited(b, "INVITER_MISMATCH") + side_audited(c, "INVITE_REJECTED"), 1);
	assert_null(pin_of(b, c));
	assert_null(pin_of(c, b));
	assert_int_equal(invite_entry_state(invites_at(a->node, 0), world_wall_ms(w)), INVITE_OPEN);
	/* Nobody at all. */
	side_stop(c);
	assert_int_equal(follow(b, token, &o), ERR_CLOSED);
	side_start(c);
	buf_fini(&out);
}

/* Both HELLOs were judged before either key was proven. */
static void two_at_once_are_one(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *both[2] = { &w->side[1], &w->side[2] };
	char token[INVITE_TEXT_MAX + 1];
	struct outcome o[2] = { 0 };
	struct invite v;

	make(a, "", true, token, NULL);
	for (int i = 0; i < 2; i++)
		assert_int_equal(invites_accept(both[i]->node, bytes_str(token), &v, over, &o[i], &o[i].f), ERR_OK);
	world_pass(w, 30000);
	assert_true(o[0].over && o[1].over);
	assert_int_equal((o[0].f.err == ERR_OK) + (o[1].f.err == ERR_OK), 1);
	assert_int_equal((pin_of(a, both[0]) != NULL) + (pin_of(a, both[1]) != NULL), 1);
	assert_int_equal(side_audited(a, "INVITE_ACCEPTED"), 1);
	assert_int_equal(side_audited(a, "INVITE_REJECTED"), 1);
}

static void the_ledger_is_bounded_and_forgets(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0];
	struct invite_wish wish = { .endpoint = "n0:1", .profile = "", .allowed_peers = "", .ttl_ms = 60000 };
	struct invites *v = a->node->invites;
	struct fault f = { 0 };
	struct buf out;

	buf_init(&out, INVITE_TEXT_MAX);
	for (int i = 0; i < 3; i++) {
		buf_reset(&out);
		assert_int_equal(invites_create(a->node, &wish, &out, NULL, &f), ERR_OK);
	}
	size_t have = v->n;

	v->list = reallocarray(v->list, INVITES_MAX, sizeof v->list[0]);
	assert_non_null(v->list);
	v->cap = v->n = INVITES_MAX; /* as if it were full; none of these is looked at */
	for (size_t i = have; i < INVITES_MAX; i++)
		v->list[i] = v->list[0];
	assert_int_equal(invites_create(a->node, &wish, &out, NULL, &f), ERR_FULL);
	v->n = have;
	wish.ttl_ms = 999;
	assert_int_equal(invites_create(a->node, &wish, &out, NULL, &f), ERR_USAGE);
	wish.ttl_ms = INVITE_LIFE_MAX_MS + 1;
	assert_int_equal(invites_create(a->node, &wish, &out, NULL, &f), ERR_USAGE);
	wish.ttl_ms = 0;
	wish.endpoint = "nowhere";
	assert_int_equal(invites_create(a->node, &wish, &out, NULL, &f), ERR_USAGE);
	wish.endpoint = "n0:1";
	wish.allowed_peers = "a b";
	assert_int_equal(invites_create(a->node, &wish, &out, NULL, &f), ERR_USAGE);
	wish.allowed_peers = "";
	world_pass(w, 60000 + INVITES_KEEP_MS);
	side_stop(a);
	side_start(a);
	assert_int_equal(invites_count(a->node), 3);
	world_pass(w, 1000);
	buf_reset(&out);
	assert_int_equal(invites_create(a->node, &wish, &out, NULL, &f), ERR_OK);
	assert_int_equal(invites_count(a->node), 1);
	side_stop(a);
	side_start(a);
	assert_int_equal(invites_count(a->node), 1);
	buf_fini(&out);
}

/* A node without im2 is met, and stays on its wire. */
static void both_on_the_old_wire(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	char token[INVITE_TEXT_MAX + 1];
	struct outcome o;

	a->old = true;
	side_stop(a);
	side_start(a);
	make(a, "", true, token, NULL);
	assert_int_equal(follow(b, token, &o), ERR_OK);
	assert_string_equal(pin_word(pin_of(a, b)), "trusted");
	assert_non_null(side_conn(b, a));
	assert_false(side_conn(b, a)->im2);
	world_pass(w, 60000);
	assert_non_null(side_conn(b, a));
	a->old = false;
}

/* As after a pairing: a decision of the operator is not undone by what an invite left behind. */
static void a_forgotten_inviter_is_not_dialled(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	char token[INVITE_TEXT_MAX + 1];
	struct outcome o;
	struct fault f = { 0 };

	make(a, "", true, token, NULL);
	assert_int_equal(follow(b, token, &o), ERR_OK);
	assert_non_null(side_conn(b, a));
	assert_int_equal(node_peer_forget(b->node, side_id(a), &f), ERR_OK);
	world_pass(w, 300000);
	assert_null(pin_of(b, a));
	assert_null(side_conn(b, a));
}

/* Who was let in and set aside later is not let in again by the text that it has kept. */
static void a_spent_one_approves_nobody_again(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	char token[INVITE_TEXT_MAX + 1];
	struct outcome o;
	struct fault f = { 0 };

	a->old = b->old = true;
	side_stop(a);
	side_start(a);
	side_stop(b);
	side_start(b);
	make(a, "", true, token, NULL);
	assert_int_equal(follow(b, token, &o), ERR_OK);
	assert_string_equal(pin_word(pin_of(a, b)), "trusted");
	assert_int_equal(node_peer_pending(a->node, side_id(b), &f), ERR_OK);
	side_stop(b);
	side_start(b);
	(void)follow(b, token, &o);
	assert_string_equal(pin_word(pin_of(a, b)), "pending");
	a->old = b->old = false;
}

int main(void)
{
#define ONE(t) cmocka_unit_test_setup_teardown(t, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		ONE(who_follows_an_invite_is_pinned_once),
		ONE(its_maker_may_trust_its_bearer_at_once),
		ONE(one_who_waits_is_invited),
		ONE(an_invite_counts_beside_the_list),
		ONE(what_is_no_good_lets_nobody_in),
		ONE(the_listener_judges_by_itself),
		ONE(a_crash_before_the_pin_gives_the_token_back),
		ONE(a_crash_after_the_pin_leaves_it_spent),
		ONE(a_disk_that_refuses_the_pin_spends_nothing),
		ONE(who_spoke_im2_is_not_taken_back),
		ONE(with_im2_required_there_are_none),
		ONE(another_key_at_the_endpoint),
		ONE(two_at_once_are_one),
		ONE(the_ledger_is_bounded_and_forgets),
		ONE(both_on_the_old_wire),
		ONE(a_spent_one_approves_nobody_again),
		ONE(a_forgotten_inviter_is_not_dialled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
