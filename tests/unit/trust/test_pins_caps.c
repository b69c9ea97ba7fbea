#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/text.h"
#include "tests/lib/trust_pins.h"
#include "trust/pins_caps.h"
#include "trust/pins_internal.h"

#define NAMES(...) (const char *const[]){ __VA_ARGS__ }, sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *)

static enum caps_news observe(struct world *w, const struct node_id *id, bool demote, const char *const *names, size_t n)
{
	enum caps_news news = (enum caps_news)99;

	assert_int_equal(pins_caps_observe(w->p, id, names, n, demote, 5000, &news), ERR_OK);
	return news;
}

static void say(void *ctx, char sign, const char *name)
{
	char *out = ctx;

	sprintf(out + strlen(out), "%c%s,", sign, name);
}

static const char *diff(struct world *w, const struct node_id *id, struct caps_view *v)
{
	static char out[65536];

	out[0] = '\0';
	assert_int_equal(pins_caps_diff(w->p, id, v, say, out), ERR_OK);
	return out;
}

static void the_digest_is_that_of_the_wire(void **state)
{
	uint8_t a[CAPS_DIGEST_BYTES], b[CAPS_DIGEST_BYTES];
	char hex[2 * CAPS_DIGEST_BYTES + 1];

	/* printf 'ironmesh-cap-hash-v1:chat\nembed' | sha256sum */
	assert_int_equal(caps_digest(NAMES("embed", " chat\t", "chat", ""), a), ERR_OK);
	hex_encode(BYTES_ARR(a), hex);
	assert_string_equal(hex, "a170451d752ba21588fc5bd1449a357d8f9d3b1a4566b3616c943afe360684e5");
	assert_int_equal(caps_digest(NULL, 0, b), ERR_OK);
	hex_encode(BYTES_ARR(b), hex);
	assert_string_equal(hex, "cdcaef01535ba2dcb5aac379d88ae93c13102e4e8cfa56a61a3e696e16a6a816");
	char long_name[PINS_CAP_TEXT_MAX + 2];

	memset(long_name, 'a', sizeof long_name - 1);
	long_name[sizeof long_name - 1] = '\0';
	assert_int_equal(caps_digest(NAMES(long_name), a), ERR_LIMIT);
	assert_int_equal(caps_digest(NAMES("a\nb"), a), ERR_MALFORMED);
	assert_int_equal(caps_digest(NAMES("\xff"), a), ERR_MALFORMED);
}

static void the_first_set_is_the_baseline_and_another_one_waits(void **state)
{
	struct caps_view v;
	struct world w;

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED);

	assert_int_equal(observe(&w, &bob, false, NAMES("chat", "embed")), CAPS_BASELINE);
	assert_int_equal(observe(&w, &bob, false, NAMES("embed", "chat", "chat ")), CAPS_SAME);
	assert_int_equal(observe(&w, &bob, false, NAMES("chat", "shell")), CAPS_CHANGED);
	assert_int_equal(observe(&w, &bob, false, NAMES("chat", "shell")), CAPS_SAME);
	assert_true(pin_admits(pin_of(&w, &bob))); /* shown, not held */
	assert_string_equal(diff(&w, &bob, &v), " chat,-embed,+shell,");
	assert_true(v.has_baseline && v.has_pending && v.names_known);
	assert_int_equal(v.first_observed_ms, 5000);
	assert_int_equal(pins_caps_accept(w.p, &bob, 9000, NULL), ERR_OK);
	assert_string_equal(diff(&w, &bob, &v), " chat, shell,");
	assert_int_equal(v.accepted_ms, 9000);
	assert_int_equal(observe(&w, &bob, false, NAMES("shell", "chat")), CAPS_SAME);
	struct fault f = { 0 };

	assert_int_equal(pins_caps_accept(w.p, &bob, 9000, &f), ERR_WRONG_STATE);
	assert_helpful(&f, "no change", "cap-diff");
	world_free(&w);
}

static void by_policy_a_change_holds_until_the_operator_decides(void **state)
{
	struct world w;

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED), eve = meet(&w, 2, "eve", PIN_PENDING);
	const struct pin *pin = pin_of(&w, &bob);

	assert_int_equal(observe(&w, &bob, true, NAMES("chat")), CAPS_BASELINE);
	assert_true(pin_admits(pin));
	assert_int_equal(observe(&w, &bob, true, NAMES("shell")), CAPS_CHANGED);
	assert_false(pin_admits(pin));
	assert_string_equal(pin_word(pin), "pending-cap-change");
	assert_int_equal(pin->state, PIN_TRUSTED);
	/* It keeps its name: nobody else becomes bob meanwhile. */
	assert_ptr_equal(pins_by_name(w.p, "bob"), pin);
	/* Going back is no way out. */
	assert_int_equal(observe(&w, &bob, true, NAMES("chat")), CAPS_BACK);
	assert_false(pin_admits(pin));
	assert_int_equal(pins_caps_accept(w.p, &bob, 1, NULL), ERR_OK);
	assert_true(pin_admits(pin));
	/* Rejected: refused too, until it is accepted or approved. */
	assert_int_equal(observe(&w, &bob, true, NAMES("shell")), CAPS_CHANGED);
	assert_int_equal(pins_caps_reject(w.p, &bob, NULL), ERR_OK);
	assert_true(pin->ignored);
	assert_int_equal(observe(&w, &bob, true, NAMES("shell")), CAPS_SAME);
	assert_int_equal(pins_set_state(w.p, &bob, PIN_TRUSTED, NULL, NULL), ERR_OK);
	assert_true(pin_admits(pin) && !pin->ignored);
	assert_int_equal(observe(&w, &bob, true, NAMES("shell")), CAPS_SAME); /* approved as it is now */
	/* What a stranger says of himself is not looked at. */
	assert_int_equal(observe(&w, &eve, true, NAMES("root")), CAPS_SAME);
	struct caps_view v;

	assert_string_equal(diff(&w, &eve, &v), "");
	assert_false(v.has_baseline);
	world_free(&w);
}

/* A change that cannot be written is taken back; the copy shares no set with it. */
static void a_copy_of_the_store_brings_the_old_sets_back(void **state)
{
	struct pins_copy *before;
	struct caps_view v;
	struct world w;

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED);

	observe(&w, &bob, true, NAMES("chat"));
	observe(&w, &bob, true, NAMES("shell"));
	assert_int_equal(pins_copy(w.p, &before), ERR_OK);
	assert_int_equal(pins_caps_accept(w.p, &bob, 1, NULL), ERR_OK);
	w.p->path = strdup("/nonexistent/folder/pins"); /* cannot be written */
	assert_int_not_equal(pins_settle(w.p, before, ERR_OK, NULL), ERR_OK);
	assert_string_equal(diff(&w, &bob, &v), "-chat,+shell,");
	assert_false(pin_admits(pin_of(&w, &bob)));
	world_free(&w);
}

static void a_new_identity_takes_its_sets_along(void **state)
{
	uint8_t ed[ED_BYTES], x[X25519_BYTES] = { 9 };
	struct node_id now;
	struct caps_view v;
	struct world w;

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED);

	observe(&w, &bob, true, NAMES("chat"));
	observe(&w, &bob, true, NAMES("shell"));
	peer_key(2, ed, &now);
	assert_int_equal(pins_rotate(w.p, &bob, ed, x, 1000, false), ERR_OK);
	assert_string_equal(diff(&w, &now, &v), "-chat,+shell,");
	assert_false(pin_admits(pin_of(&w, &now))); /* a new key is no way out */
	world_free(&w);
}

static void names_beyond_the_room_are_kept_as_a_digest(void **state)
{
	static char text[PINS_CAPS_MAX][PINS_CAP_TEXT_MAX + 32];
	const char *names[PINS_CAPS_MAX];
	struct node_id id = { 0 };
	struct caps_view v;
	struct world w;
	unsigned n = 1;

	world_make(&w);
	for (; n < 80; n++) {
		id = meet(&w, n, "", PIN_TRUSTED);
		for (int i = 0; i < PINS_CAPS_MAX; i++) {
			snprintf(text[i], sizeof text[i], "%03d%0125u", i, n);
			names[i] = text[i];
		}
		assert_int_equal(observe(&w, &id, false, names, PINS_CAPS_MAX), CAPS_BASELINE);
		assert_int_equal(pins_caps_diff(w.p, &id, &v, NULL, NULL), ERR_OK);
		assert_true(v.has_baseline);
		if (!v.names_known)
			break;
	}
	assert_true(n > 60 && n < 70); /* 2 MiB of 32 KiB each */
	assert_int_equal(observe(&w, &id, false, names, PINS_CAPS_MAX), CAPS_SAME);
	assert_int_equal(observe(&w, &id, false, NAMES("x")), CAPS_CHANGED);
	assert_string_equal(diff(&w, &id, &v), ""); /* not that all the others went */
	assert_int_equal(pins_caps_observe(w.p, &id, names, PINS_CAPS_MAX, false, 1, &(enum caps_news){ 0 }), ERR_OK);
	const char *more[PINS_CAPS_MAX + 1];

	memcpy(more, names, sizeof names);
	more[PINS_CAPS_MAX] = "one:more";
	assert_int_equal(pins_caps_observe(w.p, &id, more, PINS_CAPS_MAX + 1, false, 1, &(enum caps_news){ 0 }), ERR_LIMIT);
	world_free(&w);
}

static void who_is_ignored_stays_so_on_disk_until_a_decision(void **state)
{
	struct buf b;
	struct world w, again;
	struct fault f = { 0 };
	json_t *inner;

	world_make(&w);
	world_make(&again);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED), eve = meet(&w, 2, "eve", PIN_PENDING);

	assert_int_equal(pins_ignore(w.p, &bob, &f), ERR_WRONG_STATE);
	assert_helpful(&f, "only a pending peer", "ironmesh peers block");
	assert_int_equal(pins_ignore(w.p, &eve, &f), ERR_OK);
	observe(&w, &bob, true, NAMES("chat"));
	observe(&w, &bob, true, NAMES("shell"));
	buf_init(&b, PINS_FILE_MAX);
	assert_int_equal(pins_write_inner(w.p, &b), ERR_OK);
	assert_non_null(strstr(buf_cstr(&b), "\"ignored\":true"));
	assert_non_null(strstr(buf_cstr(&b), "\"trust_state\":\"pending-cap-change\""));
	inner = json_loads(buf_cstr(&b), 0, NULL);
	assert_int_equal(pins_read_inner(again.p, inner), ERR_OK);
	assert_true(pin_of(&again, &eve)->ignored);
	assert_int_equal(pin_of(&again, &eve)->state, PIN_PENDING);
	assert_false(pin_admits(pin_of(&again, &bob)));
	assert_string_equal(pins_by_name(again.p, "bob")->id.hex, bob.hex);
	assert_int_equal(pins_set_state(again.p, &eve, PIN_TRUSTED, NULL, NULL), ERR_OK);
	assert_false(pin_of(&again, &eve)->ignored);
	json_decref(inner);
	buf_fini(&b);
	world_free(&again);
	world_free(&w);
}

static void who_is_ignored_is_forgotten_last(void **state)
{
	struct world w;
	struct node_id ignored;

	world_make(&w);
	ignored = meet(&w, 1, "eve", PIN_PENDING);
	assert_int_equal(pins_ignore(w.p, &ignored, NULL), ERR_OK);
	for (unsigned n = 2; n < PINS_PENDING_MAX + 20; n++)
		meet(&w, n, "", PIN_PENDING);
	assert_non_null(pins_get(w.p, &ignored));
	assert_int_equal(pins_count_state(w.p, PIN_PENDING), PINS_PENDING_MAX);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_digest_is_that_of_the_wire),
		cmocka_unit_test(the_first_set_is_the_baseline_and_another_one_waits),
		cmocka_unit_test(by_policy_a_change_holds_until_the_operator_decides),
		cmocka_unit_test(a_copy_of_the_store_brings_the_old_sets_back),
		cmocka_unit_test(a_new_identity_takes_its_sets_along),
		cmocka_unit_test(names_beyond_the_room_are_kept_as_a_digest),
		cmocka_unit_test(who_is_ignored_stays_so_on_disk_until_a_decision),
		cmocka_unit_test(who_is_ignored_is_forgotten_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
