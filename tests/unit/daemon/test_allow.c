#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/refusals.h"
#include "tests/lib/daemon_world.h"
#include "trust/pins_caps.h"

/* Nodes n0 to n3; n0 is the one with the list. Every test begins with fresh stores. */
static struct refusal newest(struct side *s)
{
	struct refusal x = { 0 };

	(void)refusals_list(node_refusals(s->node), &x, 1);
	return x;
}

static void list_of(struct side *s, const char *list)
{
	assert_int_equal(policy_allow(&s->policy, list, NULL), ERR_OK);
}

static void dials(struct side *from, const char *spec)
{
	assert_int_equal(node_add_target(from->node, spec, NULL), ERR_OK);
	node_dial_all(from->node);
	world_pass(from->w, 3000);
}

static const struct pin *pin_at(struct side *s, const struct side *of)
{
	return pins_get(s->pins, side_id(of));
}

static void sends(struct side *from, struct side *to, const char *id)
{
	struct submit m = { .to = *side_id(to), .id = bytes_str(id), .body = BYTES_LIT("hello") };
	char out[MSG_ID_MAX + 1];
	struct fault f = { 0 };

	if (node_submit(from->node, &m, NULL, NULL, out, &f) != ERR_OK)
		fail_msg("%s", f.what);
	world_pass(from->w, 2000);
}

static enum outbox_state state_of(struct side *from, const char *id)
{
	struct outbox_row row;

	assert_int_equal(node_outbox_get(from->node, bytes_str(id), &row), ERR_OK);
	return row.state;
}

static uint64_t inbox_of(struct side *s, struct side *from, enum inbox_state state)
{
	uint64_t n[INBOX_STATES] = { 0 };

	assert_int_equal(inbox_count(s->store, side_id(from), n), ERR_OK);
	return n[state];
}

static void who_is_not_listed_learns_nothing(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *bob = &w->side[1];

	list_of(a, "alice");
	dials(bob, a->address);
	assert_null(side_conn(a, bob));
	assert_null(pin_at(a, bob));
	assert_null(pin_at(bob, a)); /* it never heard who is there */
	assert_int_equal(side_audited(a, "PEER_REFUSED") > 0, 1);
	struct refusal x = newest(a);

	assert_string_equal(x.id.hex, side_id(bob)->hex);
	assert_string_equal(x.name, "n1");
	assert_string_equal(x.reason, "denied");
	assert_false(x.dialled);
	assert_non_null(strstr(x.next, "ironmesh run --allowed-peers "));
	assert_non_null(strstr(x.next, side_id(bob)->hex));
	assert_true(node_counters(a->node)->contacts_refused >= 1);
}

/* im2.md 5.3: the dialler of a first contact names himself first, to who knows the passphrase. That is all he gets, and once. */
static void who_is_dialled_by_address_and_not_listed_gets_no_session(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *bob = &w->side[1];

	list_of(a, "alice");
	dials(a, bob->address);
	world_pass(w, 60000);
	assert_null(side_conn(a, bob));
	assert_null(pin_at(a, bob));
	assert_int_equal(node_counters(a->node)->handshakes_ok, 0);
	assert_int_equal(node_counters(a->node)->dials, 1);
	assert_int_equal(newest(a).count, 1);
	assert_true(newest(a).dialled);
	assert_string_equal(newest(a).reason, "denied");
}

static void whom_we_know_by_his_key_is_not_even_dialled(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *bob = &w->side[1];
	struct target_view t;
	char spec[120];

	side_know(a, bob);
	list_of(a, "alice");
	snprintf(spec, sizeof spec, "%s#%s", bob->address, side_id(bob)->hex);
	dials(a, spec);
	assert_int_equal(node_counters(a->node)->dials, 0);
	assert_int_equal(node_targets(a->node, &t, 1), 1);
	assert_non_null(strstr(t.why, "not among the allowed peers"));
	assert_string_equal(newest(a).id.hex, side_id(bob)->hex);
	assert_true(newest(a).dialled);
	/* Nor is anything sent to him through others. */
	struct submit m = { .to = *side_id(bob), .body = BYTES_LIT("x") };
	char out[MSG_ID_MAX + 1];
	struct fault f = { 0 };

	assert_int_equal(node_submit(a->node, &m, NULL, NULL, out, &f), ERR_DENIED);
	/* An alias on the list is a decision: he is dialled at once. */
	assert_int_equal(pins_set_alias(a->pins, side_id(bob), "alice", NULL), ERR_OK);
	node_review(a->node);
	world_pass(w, 3000);
	assert_non_null(side_conn(a, bob));
	assert_int_equal(refusals_count(node_refusals(a->node)), 0);
	/* And taken away it ends the session. */
	assert_int_equal(pins_set_alias(a->pins, side_id(bob), "", NULL), ERR_OK);
	node_review(a->node);
	world_pass(w, 3000);
	assert_null(side_conn(a, bob));
	assert_string_equal(newest(a).id.hex, side_id(bob)->hex);
}

/* Given by his id, without an address that was ever his. */
static void who_is_blocked_is_not_even_dialled(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *bob = &w->side[1];
	struct target_view t;
	char spec[120];

	side_know(a, bob);
	assert_int_equal(node_peer_block(a->node, side_id(bob), "lost", NULL), ERR_OK);
	snprintf(spec, sizeof spec, "%s#%s", bob->address, side_id(bob)->hex);
	dials(a, spec);
	assert_int_equal(node_counters(a->node)->dials, 0);
	assert_int_equal(node_targets(a->node, &t, 1), 1);
	assert_non_null(strstr(t.why, "is blocked"));
	assert_string_equal(newest(a).id.hex, side_id(bob)->hex);
	/* Until he is approved. */
	assert_int_equal(node_peer_approve(a->node, side_id(bob), NULL), ERR_OK);
	world_pass(w, 3000);
	assert_non_null(side_conn(a, bob));
}

static void a_listed_name_is_pending_then_its_key_alone(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *n1 = &w->side[1], *n2 = &w->side[2];
	const struct pin_alarm *alarms;

	list_of(a, "n1");
	dials(n1, a->address);
	assert_non_null(side_conn(a, n1));
	assert_int_equal(pin_at(a, n1)->state, PIN_PENDING);
	assert_int_equal(node_peer_approve(a->node, side_id(n1), NULL), ERR_OK);
	/* Another key of that name. */
	side_stop(n2);
	snprintf(n2->called, sizeof n2->called, "n1");
	side_start(n2);
	dials(n2, a->address);
	assert_null(side_conn(a, n2));
	assert_null(pin_at(a, n2));
	assert_null(pin_at(n2, a));
	assert_int_equal(pins_alarms(a->pins, &alarms), 1);
	assert_string_equal(alarms[0].subject, "n1");
	assert_string_equal(alarms[0].now.hex, side_id(n2)->hex);
	assert_true(side_audited(a, "TOFU_MISMATCH") > 0);
	assert_string_equal(newest(a).reason, "key-changed");
	assert_non_null(side_conn(a, n1));
	n2->called[0] = '\0';
}

static void a_listed_key_keeps_its_name(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *n1 = &w->side[1];

	side_know(a, n1);
	list_of(a, "n1");
	side_stop(n1);
	snprintf(n1->called, sizeof n1->called, "other");
	side_start(n1);
	side_meet(n1, a);
	assert_string_equal(pin_at(a, n1)->name, "n1");
	world_pass(w, 120000);
	assert_string_equal(pin_at(a, n1)->name, "n1");
	/* It would be out for good otherwise. */
	side_stop(n1);
	side_start(n1);
	side_meet(n1, a);
	n1->called[0] = '\0';
}

static void pending_then_ignored_then_approved(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *eve = &w->side[3];
	struct fault f = { 0 };

	side_know(a, eve);
	assert_int_equal(pins_set_state(a->pins, side_id(eve), PIN_PENDING, NULL, NULL), ERR_OK);
	side_meet(eve, a);
	sends(eve, a, "first");
	assert_int_equal(inbox_of(a, eve, INBOX_HELD), 1);
	assert_int_equal(state_of(eve, "first"), OUTBOX_SENT);
	assert_int_equal(node_peer_ignore(a->node, side_id(eve), &f), ERR_OK);
	world_pass(w, 2000);
	assert_int_equal(inbox_of(a, eve, INBOX_HELD), 0);
	assert_int_equal(state_of(eve, "first"), OUTBOX_REJECTED);
	sends(eve, a, "second");
	assert_int_equal(inbox_of(a, eve, INBOX_HELD), 0);
	assert_int_equal(state_of(eve, "second"), OUTBOX_REJECTED);
	assert_int_equal(pin_at(a, eve)->state, PIN_PENDING);
	/* Over a restart too. */
	side_stop(a);
	side_start(a);
	world_pass(w, 90000);
	assert_true(pin_at(a, eve)->ignored);
	assert_int_equal(node_peer_approve(a->node, side_id(eve), &f), ERR_OK);
	sends(eve, a, "third");
	assert_int_equal(inbox_of(a, eve, INBOX_NEW), 1);
	assert_int_equal(state_of(eve, "third"), OUTBOX_DELIVERED);
	assert_int_equal(node_peer_ignore(a->node, side_id(eve), &f), ERR_WRONG_STATE);
}

static void changed_capabilities_hold_messages_and_not_the_session(void **state)
{
	static const char *const before[] = { "chat:v1" }, *const after[] = { "chat:v1", "shell:root" };
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	enum caps_news news;
	struct conn *c;

	side_know(a, b);
	side_meet(b, a);
	c = side_conn(a, b);
	assert_int_equal(pins_caps_observe(a->pins, side_id(b), before, 1, true, 1, &news), ERR_OK);
	sends(b, a, "m0");
	assert_int_equal(inbox_of(a, b, INBOX_NEW), 1);
	assert_int_equal(pins_caps_observe(a->pins, side_id(b), after, 2, true, 1, &news), ERR_OK);
	assert_int_equal(news, CAPS_CHANGED);
	sends(b, a, "m1");
	assert_int_equal(inbox_of(a, b, INBOX_NEW), 1);
	assert_int_equal(inbox_of(a, b, INBOX_HELD), 1);
	assert_ptr_equal(side_conn(a, b), c);
	assert_int_equal(state_of(b, "m1"), OUTBOX_SENT);
	/* A new session, or a restart, releases nothing. */
	side_stop(a);
	side_start(a);
	world_pass(w, 90000);
	assert_non_null(side_conn(a, b));
	assert_int_equal(inbox_of(a, b, INBOX_HELD), 1);
	assert_int_equal(node_caps_accept(a->node, side_id(b), NULL), ERR_OK);
	world_pass(w, 2000);
	assert_int_equal(inbox_of(a, b, INBOX_NEW), 2);
	assert_int_equal(state_of(b, "m1"), OUTBOX_DELIVERED);
	assert_int_equal(side_audited(a, "PEER_CAP_ACCEPTED"), 1);
	/* Rejected: what was held goes, and what comes is refused. */
	assert_int_equal(pins_caps_observe(a->pins, side_id(b), before, 1, true, 1, &news), ERR_OK);
	sends(b, a, "m2");
	assert_int_equal(inbox_of(a, b, INBOX_HELD), 1);
	assert_int_equal(node_caps_reject(a->node, side_id(b), NULL), ERR_OK);
	world_pass(w, 2000);
	assert_int_equal(state_of(b, "m2"), OUTBOX_REJECTED);
	sends(b, a, "m3");
	assert_int_equal(state_of(b, "m3"), OUTBOX_REJECTED);
	assert_non_null(side_conn(a, b));
}

static void the_hold_queue_is_bounded_and_says_so(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *eve = &w->side[3];
	char id[16];
	unsigned refused = 0;
	struct outbox_row row;

	side_know(a, eve);
	assert_int_equal(pins_set_state(a->pins, side_id(eve), PIN_PENDING, NULL, NULL), ERR_OK);
	side_meet(eve, a);
	for (unsigned i = 0; i < 103; i++) {
		struct submit m = { .to = *side_id(a), .id = bytes_str(id), .body = BYTES_LIT("hello") };
		char out[MSG_ID_MAX + 1];

		snprintf(id, sizeof id, "m%u", i);
		m.id = bytes_str(id);
		assert_int_equal(node_submit(eve->node, &m, NULL, NULL, out, NULL), ERR_OK);
	}
	world_pass(w, 20000);
	assert_int_equal(inbox_of(a, eve, INBOX_HELD), 100);
	assert_true(node_counters(a->node)->messages_refused >= 3);
	/* They wait with their author, and are delivered after the approval too. */
	assert_int_equal(node_peer_approve(a->node, side_id(eve), NULL), ERR_OK);
	world_pass(w, 300000);
	for (unsigned i = 0; i < 103; i++) {
		snprintf(id, sizeof id, "m%u", i);
		assert_int_equal(node_outbox_get(eve->node, bytes_str(id), &row), ERR_OK);
		refused += row.state != OUTBOX_DELIVERED;
	}
	assert_int_equal(inbox_of(a, eve, INBOX_NEW) + refused, 103);
	assert_int_equal(refused, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(who_is_not_listed_learns_nothing),
		T(who_is_dialled_by_address_and_not_listed_gets_no_session),
		T(whom_we_know_by_his_key_is_not_even_dialled),
		T(who_is_blocked_is_not_even_dialled),
		T(a_listed_name_is_pending_then_its_key_alone),
		T(a_listed_key_keeps_its_name),
		T(pending_then_ignored_then_approved),
		T(changed_capabilities_hold_messages_and_not_the_session),
		T(the_hold_queue_is_bounded_and_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
