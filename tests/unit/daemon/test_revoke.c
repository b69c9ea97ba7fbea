/* Revocations for the whole mesh: one administrator, several, a key by itself; and REVOCATION of the old wire. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/text.h"
#include "daemon/records_internal.h"
#include "daemon/revoke.h"
#include "protocol/v09/revocation.h"
#include "protocol/v09/v09.h"
#include "tests/lib/daemon_world.h"
#include "trust/pins_caps.h"

#define A (&w->side[0])
#define B (&w->side[1])
#define C (&w->side[2])
#define D (&w->side[3])

/* A, B and C are the administrators, two of them suffice. */
static int setup(void **state)
{
	struct world *w;

	world_setup(state);
	w = *state;
	for (int i = 0; i < 3; i++)
		memcpy(w->admins[i], keyring_ed(w->side[i].keyring), ED_BYTES);
	for (int i = 0; i < SIDES; i++) {
		side_stop(&w->side[i]);
		side_start(&w->side[i]);
	}
	return 0;
}

static void all_know_all(struct world *w)
{
	for (int i = 0; i < SIDES; i++)
		for (int k = i + 1; k < SIDES; k++)
			side_know(&w->side[i], &w->side[k]);
}

static const char *state_of(struct side *s, const struct side *of)
{
	const struct pin *pin = pins_get(s->pins, side_id(of));

	return pin ? pin_word(pin) : "unknown";
}

/* --- one administrator --- */
static void one_sets_aside_for_a_day(void **state)
{
	struct world *w = *state;
	struct fault f = { 0 };

	all_know_all(w);
	side_meet(B, A);
	side_meet(C, B);
	side_meet(D, B);
	assert_int_equal(revoke_quarantine(D->node, side_id(C), "no right", &f), ERR_DENIED);
	assert_true(f.next[0]);
	assert_int_equal(revoke_quarantine(A->node, side_id(D), "laptop lost", &f), ERR_OK);
	assert_string_equal(state_of(A, D), "pending");
	world_pass(w, 1000);
	assert_string_equal(state_of(B, D), "pending");
	world_pass(w, 2000);
	assert_string_equal(state_of(C, D), "pending");
	assert_int_equal(side_audited(C, "PEER_QUARANTINED"), 1);
	assert_int_equal(side_audited(A, "REVOCATION_ISSUED"), 1);
	/* It survives a restart, and so does its end. */
	side_stop(C);
	side_start(C);
	assert_string_equal(state_of(C, D), "pending");
	world_pass(w, 24 * HOUR + 60000);
	assert_string_equal(state_of(A, D), "trusted");
	assert_string_equal(state_of(B, D), "trusted");
	assert_string_equal(state_of(C, D), "trusted");
}

/* What the operator has not decided, or has refused, is not decided by the end of a quarantine. */
static void its_end_accepts_no_change_of_capabilities(void **state)
{
	static const char *const was[] = { "llm:small" }, *const now[] = { "llm:small", "shell:root" };
	struct world *w = *state;
	struct fault f = { 0 };
	struct caps_view v;
	enum caps_news news;

	all_know_all(w);
	assert_int_equal(pins_caps_observe(B->pins, side_id(D), was, 1, true, world_wall_ms(w), &news), ERR_OK);
	assert_int_equal(pins_caps_observe(B->pins, side_id(D), now, 2, true, world_wall_ms(w), &news), ERR_OK);
	assert_int_equal(pins_caps_reject(B->pins, side_id(D), &f), ERR_OK);
	side_meet(B, A);
	assert_int_equal(revoke_quarantine(A->node, side_id(D), "", &f), ERR_OK);
	world_pass(w, 1000);
	assert_string_equal(state_of(B, D), "pending");
	world_pass(w, 24 * HOUR + 60000);
	assert_string_equal(state_of(A, D), "trusted");
	assert_string_equal(state_of(B, D), "pending");
	assert_int_equal(pins_caps_diff(B->pins, side_id(D), &v, NULL, NULL), ERR_OK);
	assert_true(v.has_pending);
}

static void it_is_said_again_after_a_restart(void **state)
{
	struct world *w = *state;
	struct fault f = { 0 };

	all_know_all(w);
	assert_int_equal(revoke_quarantine(A->node, side_id(D), "", &f), ERR_OK);
	side_stop(A);
	side_start(A);
	assert_string_equal(state_of(A, D), "pending");
	side_meet(B, A);
	assert_string_equal(state_of(B, D), "pending");
	/* Another one of the same target is a new record, above the first. */
	assert_int_equal(node_peer_approve(B->node, side_id(D), &f), ERR_OK);
	assert_int_equal(revoke_quarantine(A->node, side_id(D), "", &f), ERR_OK);
	world_pass(w, 1000);
	assert_string_equal(state_of(B, D), "pending");
}

/* --- several --- */
static void draft(struct side *s, const struct side *target, struct buf *file)
{
	struct revoke_wish wish = { .target = *side_id(target), .reason = 7, .scope = 1, .note = "key stolen" };
	struct revoke_view v;
	struct fault f = { 0 };

	buf_reset(file);
	if (revoke_draft(s->node, &wish, file, &v, &f) != ERR_OK)
		fail_msg("%s", f.what);
	assert_int_equal(v.signatures, 1);
	assert_int_equal(v.needed, 2);
	assert_true(node_id_eq(&v.target, side_id(target)));
}

static enum err sign(struct side *s, struct buf *file)
{
	struct revoke_view v;
	struct fault f = { 0 };
	struct buf out;
	enum err e;

	buf_init(&out, REVOKE_FILE_MAX);
	e = revoke_sign(s->node, buf_bytes(file), &out, &v, &f);
	if (e == ERR_OK) {
		buf_reset(file);
		buf_add(file, buf_bytes(&out));
	} else {
		assert_true(f.what[0]);
	}
	buf_fini(&out);
	return e;
}

static enum err send_file(struct side *s, struct bytes file)
{
	struct revoke_view v;
	struct fault f = { 0 };

	return revoke_send(s->node, file, &v, &f);
}

static void two_of_three_revoke_for_ever(void **state)
{
	struct world *w = *state;
	struct buf file;

	buf_init(&file, REVOKE_FILE_MAX);
	all_know_all(w);
	side_meet(B, A);
	side_meet(D, A);
	side_meet(D, B);
	draft(A, D, &file);
	assert_int_equal(send_file(B, buf_bytes(&file)), ERR_AGAIN);
	assert_int_equal(sign(A, &file), ERR_EXISTS);
	assert_int_equal(sign(B, &file), ERR_OK);
	assert_non_null(side_conn(A, D));
	/* Whoever holds the file sends it. */
	assert_int_equal(send_file(B, buf_bytes(&file)), ERR_OK);
	assert_string_equal(state_of(B, D), "revoked");
	assert_null(side_conn(B, D));
	world_pass(w, 1000);
	assert_string_equal(state_of(A, D), "revoked");
	assert_null(side_conn(A, D));
	assert_int_equal(side_audited(A, "PEER_REVOKED_SIGNED"), 1);
	/* C was away: B is off, and A passes it on after a restart. */
	side_stop(B);
	side_stop(A);
	side_start(A);
	assert_string_equal(state_of(A, D), "revoked");
	side_meet(C, A);
	world_pass(w, 1000);
	assert_string_equal(state_of(C, D), "revoked");
	world_pass(w, 48 * HOUR);
	assert_string_equal(state_of(C, D), "revoked");
	assert_null(side_conn(C, D));
	side_start(B);
	assert_string_equal(state_of(B, D), "revoked");
	/* Again the same does no harm. */
	assert_int_equal(send_file(B, buf_bytes(&file)), ERR_OK);
	assert_int_equal(send_file(A, buf_bytes(&file)), ERR_OK);
	buf_fini(&file);
}

static void scope_3_ends_sessions_and_nothing_else(void **state)
{
	struct world *w = *state;
	struct revoke_wish wish = { .target = *side_id(D), .scope = 3 };
	struct revoke_view v;
	struct fault f = { 0 };
	struct buf file;

	buf_init(&file, REVOKE_FILE_MAX);
	all_know_all(w);
	side_meet(B, A);
	assert_int_equal(revoke_draft(A->node, &wish, &file, &v, &f), ERR_OK);
	assert_int_equal(sign(B, &file), ERR_OK);
	assert_int_equal(send_file(A, buf_bytes(&file)), ERR_OK);
	world_pass(w, 2000);
	assert_string_equal(state_of(B, D), "trusted");
	assert_string_equal(state_of(A, D), "trusted");
	assert_int_equal(side_audited(B, "PEER_REVOKED_SIGNED"), 1);
	buf_fini(&file);
}

/* The file with one member replaced. */
static void altered(const struct buf *file, const char *key, json_t *value, struct buf *out)
{
	json_t *o;

	assert_int_equal(json_load_strict(buf_bytes(file), REVOKE_FILE_MAX, &o), ERR_OK);
	json_object_set_new(o, key, value);
	buf_reset(out);
	assert_int_equal(json_write(out, o, JSON_INSERTION), ERR_OK);
	json_decref(o);
}

static void what_is_altered_is_refused(void **state)
{
	struct world *w = *state;
	struct buf file, other, out;
	json_t *o, *sigs;
	char t[4096];
	uint8_t key[ED_BYTES];

	buf_init(&file, REVOKE_FILE_MAX);
	buf_init(&other, REVOKE_FILE_MAX);
	buf_init(&out, 65536);
	all_know_all(w);
	draft(A, D, &file);
	assert_int_equal(json_load_strict(buf_bytes(&file), REVOKE_FILE_MAX, &o), ERR_OK);
	snprintf(t, sizeof t, "%s", json_str(o, "t"));
	/* What people read is not what counts. */
	altered(&file, "target", json_string(side_id(C)->hex), &out);
	assert_int_equal(sign(B, &out), ERR_OK);
	assert_int_equal(send_file(B, buf_bytes(&out)), ERR_OK);
	assert_string_equal(state_of(B, C), "trusted");
	assert_string_equal(state_of(B, D), "revoked");
	/* Another T under the signature of this one. */
	draft(B, C, &other);
	json_decref(o);
	assert_int_equal(json_load_strict(buf_bytes(&other), REVOKE_FILE_MAX, &o), ERR_OK);
	altered(&file, "t", json_incref(json_object_get(o, "t")), &out);
	assert_int_equal(sign(C, &out), ERR_AUTH);
	/* Signatures of one administrator twice, of a stranger, of nobody. */
	sigs = json_array();
	json_array_append(sigs, json_array_get(json_object_get(o, "signatures"), 0));
	json_array_append(sigs, json_array_get(json_object_get(o, "signatures"), 0));
	altered(&other, "signatures", sigs, &out);
	assert_int_equal(send_file(A, buf_bytes(&out)), ERR_MALFORMED);
	altered(&other, "signatures", json_array(), &out);
	assert_int_equal(send_file(A, buf_bytes(&out)), ERR_AGAIN);
	altered(&other, "signatures", json_null(), &out);
	assert_int_equal(send_file(A, buf_bytes(&out)), ERR_MALFORMED);
	altered(&other, "schema", json_string("other"), &out);
	assert_int_equal(send_file(A, buf_bytes(&out)), ERR_MALFORMED);
	altered(&other, "t", json_string("AAAA"), &out);
	assert_int_equal(sign(A, &out), ERR_MALFORMED);
	for (size_t n = 0; n < other.n; n += 7)
		assert_int_not_equal(send_file(A, bytes_of(other.p, n)), ERR_OK);
	/* D is no administrator: it neither drafts nor signs. */
	assert_int_equal(sign(D, &other), ERR_DENIED);
	/* The set of this node is another one. */
	memcpy(key, w->admins[2], sizeof key);
	memcpy(w->admins[2], keyring_ed(w->admin[2]), ED_BYTES);
	assert_int_equal(sign(A, &other), ERR_DENIED);
	assert_int_equal(send_file(A, buf_bytes(&other)), ERR_DENIED);
	memcpy(w->admins[2], key, sizeof key);
	assert_int_equal(sign(A, &other), ERR_OK);
	json_decref(o);
	buf_fini(&file);
	buf_fini(&other);
	buf_fini(&out);
}

/* --- itself --- */
static void a_key_ends_itself(void **state)
{
	struct world *w = *state;
	struct fault f = { 0 };

	all_know_all(w);
	side_meet(D, A);
	side_meet(B, A);
	assert_int_equal(revoke_self(D->node, 1, &f), ERR_OK);
	assert_int_equal(side_audited(D, "OWN_KEY_REVOKED"), 1);
	world_pass(w, 1000);
	assert_string_equal(state_of(A, D), "revoked");
	assert_null(side_conn(A, D));
	world_pass(w, 2000);
	assert_string_equal(state_of(B, D), "revoked");
	/* C was away: D itself tells it, also after a restart, and is refused then. */
	side_stop(D);
	side_start(D);
	assert_int_equal(side_audited(D, "OWN_KEY_REVOKED"), 2);
	assert_int_equal(node_add_target(D->node, C->address, NULL), ERR_OK);
	node_dial_all(D->node);
	world_pass(w, 5000);
	assert_string_equal(state_of(C, D), "revoked");
	assert_null(side_conn(C, D));
}

/* --- the old wire --- */
static void meet_old(struct world *w, struct side *a, struct side *b)
{
	assert_int_equal(node_add_target(a->node, b->address, NULL), ERR_OK);
	node_dial_all(a->node);
	world_pass(w, 3000);
	assert_non_null(side_conn(a, b));
	assert_non_null(side_conn(b, a));
	assert_false(side_conn(a, b)->im2);
}

/* What `by` would send of `target`, `ago_ms` ago. */
static void frame(struct side *by, struct side *to, const struct side *target, int64_t ago_ms)
{
	struct conn *c = side_conn(by, to);
	struct buf b;

	assert_non_null(c);
	buf_init(&b, REVOCATION_PAYLOAD_MAX);
	assert_int_equal(revocation_write(by->keyring, side_id(target), "test", world_wall_ms(by->w) - (uint64_t)ago_ms, &b), ERR_OK);
	assert_int_equal(v09_control(c->session, "REVOCATION", side_id(to), buf_bytes(&b)), ERR_OK);
	conn_pump(c);
	buf_fini(&b);
	world_pass(by->w, 500);
}

static void an_old_administrator_sets_aside(void **state)
{
	struct world *w = *state;

	B->old = true;
	side_stop(B);
	side_start(B);
	all_know_all(w);
	meet_old(w, B, A);
	frame(B, A, D, 31 * 24 * (int64_t)HOUR);
	assert_string_equal(state_of(A, D), "trusted");
	frame(B, A, D, -301000);
	assert_string_equal(state_of(A, D), "trusted");
	assert_int_equal(A->node->n.revocations_shown, 2);
	frame(B, A, A, 0);
	assert_int_equal(A->node->n.revocations_shown, 3);
	frame(B, A, D, 29 * 24 * (int64_t)HOUR);
	assert_string_equal(state_of(A, D), "pending");
	assert_int_equal(side_audited(A, "PEER_QUARANTINED"), 1);
	world_pass(w, 24 * HOUR + 60000);
	assert_string_equal(state_of(A, D), "trusted");
	B->old = false;
}

/* `by` says that `who` has revoked itself. */
static void forged(const struct side *by, const struct side *who, char out[static 600])
{
	uint64_t at_s = world_wall_ms(by->w) / 1000;
	char input[96], sig_text[BASE64_LEN(SIG_BYTES) + 1];
	uint8_t sig[SIG_BYTES];

	snprintf(input, sizeof input, "%s%s%llu", side_id(who)->hex, side_id(who)->hex, (unsigned long long)at_s);
	keyring_sign(by->keyring, SIG_BARE_REVOCATION, bytes_str(input), sig);
	base64_encode(BYTES_ARR(sig), sig_text);
	snprintf(out, 600, "{\"type\":\"REVOCATION\",\"from\":\"%s\",\"target_node_id\":\"%s\",\"revoker_node_id\":\"%s\","
			   "\"timestamp\":%llu,\"reason\":\"\",\"signature\":\"%s\"}",
		 side_id(by)->hex, side_id(who)->hex, side_id(who)->hex, (unsigned long long)at_s, sig_text);
}

static void others_are_shown(void **state)
{
	struct world *w = *state;
	struct conn *c;
	struct buf b;
	uint64_t dropped;
	char text[600];

	D->old = true;
	side_stop(D);
	side_start(D);
	all_know_all(w);
	meet_old(w, D, A);
	/* Trusted, and no administrator. */
	frame(D, A, C, 0);
	assert_string_equal(state_of(A, C), "trusted");
	assert_int_equal(side_audited(A, "REVOCATION_SHOWN"), 1);
	/* What an administrator has signed, brought by another: old receivers look at who delivers it, and so do we. */
	c = side_conn(D, A);
	dropped = A->node->n.frames_dropped;
	buf_init(&b, REVOCATION_PAYLOAD_MAX);
	assert_int_equal(revocation_write(B->keyring, side_id(C), "test", world_wall_ms(w), &b), ERR_OK);
	assert_int_equal(v09_control(c->session, "REVOCATION", side_id(A), buf_bytes(&b)), ERR_OK);
	assert_int_equal(v09_control(c->session, "REVOCATION", side_id(A), BYTES_LIT("{}")), ERR_OK);
	conn_pump(c);
	world_pass(w, 500);
	assert_string_equal(state_of(A, C), "trusted");
	assert_int_equal(A->node->n.frames_dropped - dropped, 2);
	/* Nor does anybody end another in that one's name, under a signature of his own. */
	forged(D, B, text);
	assert_int_equal(v09_control(c->session, "REVOCATION", NULL, bytes_str(text)), ERR_OK);
	conn_pump(c);
	world_pass(w, 500);
	assert_string_equal(state_of(A, B), "trusted");
	assert_int_equal(A->node->n.frames_dropped - dropped, 3);
	/* Not trusted: not even an administrator. */
	memcpy(w->admins[2], keyring_ed(D->keyring), ED_BYTES);
	assert_int_equal(node_peer_pending(A->node, side_id(D), NULL), ERR_OK);
	frame(D, A, C, 0);
	assert_string_equal(state_of(A, C), "trusted");
	assert_int_equal(side_audited(A, "REVOCATION_SHOWN"), 2);
	/* But of itself it is believed, and its session ends. */
	frame(D, A, D, 0);
	assert_string_equal(state_of(A, D), "revoked");
	assert_null(side_conn(A, D));
	buf_fini(&b);
	D->old = false;
}

static void old_neighbours_are_told(void **state)
{
	struct world *w = *state;
	struct fault f = { 0 };

	B->old = true;
	side_stop(B);
	side_start(B);
	all_know_all(w);
	meet_old(w, B, A);
	assert_int_equal(revoke_quarantine(A->node, side_id(D), "laptop lost", &f), ERR_OK);
	world_pass(w, 1000);
	/* B has no im2, and with it no quarantine that ends: its operator decides. */
	assert_string_equal(state_of(B, D), "pending");
	assert_int_equal(revoke_self(A->node, 0, &f), ERR_OK);
	world_pass(w, 1000);
	assert_string_equal(state_of(B, A), "revoked");
	assert_null(side_conn(B, A));
	/* Without im2 nothing is signed for the mesh. */
	assert_int_equal(revoke_quarantine(B->node, side_id(D), "", &f), ERR_UNSUPPORTED);
	B->old = false;
}

int main(void)
{
#define ONE(t) cmocka_unit_test_setup_teardown(t, setup, world_teardown)
	const struct CMUnitTest tests[] = {
		ONE(one_sets_aside_for_a_day),
		ONE(its_end_accepts_no_change_of_capabilities),
		ONE(it_is_said_again_after_a_restart),
		ONE(two_of_three_revoke_for_ever),
		ONE(scope_3_ends_sessions_and_nothing_else),
		ONE(what_is_altered_is_refused),
		ONE(a_key_ends_itself),
		ONE(an_old_administrator_sets_aside),
		ONE(others_are_shown),
		ONE(old_neighbours_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
