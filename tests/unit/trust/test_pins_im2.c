#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/secret.h"
#include "base/text.h"
#include "tests/lib/trust_pins.h"
#include "trust/pins_internal.h"

static const uint8_t *x_of(uint8_t n)
{
	static uint8_t x[X25519_BYTES];

	memset(x, n, sizeof x);
	return x;
}

static enum err prove(struct world *w, const struct node_id *id, uint8_t n)
{
	return pins_prove_x(w->p, id, x_of(n), w->t.wall_ms, NULL);
}

static struct psks two_psks(uint8_t n)
{
	struct psks p = {0};

	assert_true(psks_confirm(&p, x_of(n), NULL));
	assert_true(psks_candidate(&p, x_of(n + 1)));
	assert_true(psks_candidate(&p, x_of(n + 2)));
	return p;
}

/* The inner text that would be written now; malloc'd. */
static char *inner_of(const struct pins *p)
{
	struct buf b;

	buf_init(&b, PINS_FILE_MAX);
	assert_int_equal(pins_write_inner(p, &b), ERR_OK);
	char *text = strdup(buf_cstr(&b));
	buf_fini(&b);
	return text;
}

static enum err load_inner(struct world *w, const char *text)
{
	json_t *inner;

	assert_int_equal(json_load_strict(bytes_str(text), PINS_FILE_MAX, &inner), ERR_OK);
	enum err e = pins_read_inner(w->p, inner);
	json_decref(inner);
	return e;
}

/* --- static keys --------------------------------------------------------------------------- */

static void proof_is_remembered_with_its_time(void **state)
{
	struct world w;
	bool replaced = true;

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_PENDING);
	assert_null(pins_by_x(w.p, x_of(7), NULL));
	assert_null(pins_ik_x(w.p, pin_of(&w, &bob)));
	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	assert_int_equal(pins_prove_x(w.p, &bob, x_of(7), 0, &replaced), ERR_OK);
	assert_false(replaced);
	assert_true(pins_state_dirty(w.p));
	assert_true(pin_of(&w, &bob)->x_proven);
	assert_int_not_equal(pin_of(&w, &bob)->im2_since_ms, 0); /* even without a clock */
	assert_ptr_equal(pins_by_x(w.p, x_of(7), NULL), pin_of(&w, &bob));
	assert_memory_equal(pins_ik_x(w.p, pin_of(&w, &bob)), x_of(7), X25519_BYTES);

	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	assert_int_equal(pins_prove_x(w.p, &bob, x_of(7), WALL_T, &replaced), ERR_OK);
	assert_false(pins_dirty(w.p)); /* nothing new: no write for each session */
	world_free(&w);
}

static void first_contact_replaces_the_key_of_the_same_identity(void **state)
{
	struct world w;
	bool replaced = false;

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED);
	assert_int_equal(prove(&w, &bob, 7), ERR_OK);
	assert_int_equal(pins_prove_x(w.p, &bob, x_of(8), WALL_T, &replaced), ERR_OK);
	assert_true(replaced);
	assert_null(pins_by_x(w.p, x_of(7), NULL));
	assert_ptr_equal(pins_by_x(w.p, x_of(8), NULL), pin_of(&w, &bob));
	world_free(&w);
}

static void two_identities_never_share_a_proven_key(void **state)
{
	struct world w;

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED), eve = meet(&w, 2, "eve", PIN_TRUSTED);
	assert_int_equal(prove(&w, &bob, 7), ERR_OK);
	assert_int_equal(prove(&w, &eve, 8), ERR_OK);
	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	assert_int_equal(prove(&w, &eve, 7), ERR_EXISTS);
	assert_false(pins_dirty(w.p));
	assert_ptr_equal(pins_by_x(w.p, x_of(7), NULL), pin_of(&w, &bob));
	assert_ptr_equal(pins_by_x(w.p, x_of(8), NULL), pin_of(&w, &eve));
	/* A blocked owner still owns it, so that it is refused and not taken for somebody else. */
	assert_int_equal(pins_set_state(w.p, &bob, PIN_BLOCKED, NULL, NULL), ERR_OK);
	assert_int_equal(prove(&w, &eve, 7), ERR_EXISTS);
	assert_ptr_equal(pins_by_x(w.p, x_of(7), NULL), pin_of(&w, &bob));
	assert_int_equal(prove(&w, &bob, 7), ERR_UNTRUSTED);
	assert_int_equal(prove(&w, &(struct node_id){"00112233445566778899aabbccddeeff"}, 9), ERR_NOTFOUND);
	world_free(&w);
}

/* A key that a HELLO or a card only claims opens nothing; one that was imported does until it is proven. */
static void unproven_key_counts_only_when_imported(void **state)
{
	struct world w;
	bool conflict = true;

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED), eve = meet(&w, 2, "eve", PIN_TRUSTED),
		       dan = meet(&w, 3, "dan", PIN_TRUSTED);
	struct rec *b = pins_rec(w.p, &bob), *e = pins_rec(w.p, &eve);
	memcpy(b->pin.x25519, x_of(7), X25519_BYTES);
	b->pin.has_x25519 = true;
	assert_null(pins_by_x(w.p, x_of(7), &conflict));
	assert_false(conflict);
	assert_null(pins_ik_x(w.p, &b->pin));
	b->pin.x_imported = true;
	assert_ptr_equal(pins_by_x(w.p, x_of(7), &conflict), &b->pin);
	assert_memory_equal(pins_ik_x(w.p, &b->pin), x_of(7), X25519_BYTES);

	memcpy(e->pin.x25519, x_of(7), X25519_BYTES);
	e->pin.has_x25519 = e->pin.x_imported = true;
	assert_null(pins_by_x(w.p, x_of(7), &conflict));
	assert_true(conflict);
	assert_int_equal(prove(&w, &dan, 7), ERR_OK);
	assert_ptr_equal(pins_by_x(w.p, x_of(7), &conflict), pin_of(&w, &dan));
	assert_false(conflict);
	assert_null(pins_ik_x(w.p, &b->pin));
	world_free(&w);
}

static void hello_does_not_touch_a_proven_key(void **state)
{
	struct world w;
	uint8_t ed[ED_BYTES];
	struct pin_update u = {.ed = ed, .name = "bob", .version = V09, .via = "tofu", .wall_ms = WALL_T};

	world_make(&w);
	u.id = meet(&w, 1, "bob", PIN_TRUSTED);
	peer_key(1, ed, NULL);
	u.x25519 = x_of(7);
	assert_int_equal(pins_observe(w.p, &u, NULL), ERR_OK);
	assert_false(pin_of(&w, &u.id)->x_proven);
	assert_int_equal(pin_of(&w, &u.id)->im2_since_ms, 0);
	assert_int_equal(prove(&w, &u.id, 8), ERR_OK);
	u.x25519 = x_of(9);
	assert_int_equal(pins_observe(w.p, &u, NULL), ERR_OK);
	assert_memory_equal(pin_of(&w, &u.id)->x25519, x_of(8), X25519_BYTES);
	world_free(&w);
}

static void second_key_with_a_known_id_is_refused(void **state)
{
	struct world w;
	uint8_t ed[ED_BYTES];
	struct pin_update u = {.ed = ed, .name = "bob", .version = V09, .via = "tofu", .wall_ms = WALL_T};

	world_make(&w);
	u.id = meet(&w, 1, "bob", PIN_TRUSTED);
	peer_key(1, ed, NULL);
	pins_rec(w.p, &u.id)->pin.ed[5] ^= 1; /* as if two keys hashed to one id */
	assert_int_equal(pins_observe(w.p, &u, NULL), ERR_KEY_CHANGED);
	world_free(&w);
}

/* --- pair secrets -------------------------------------------------------------------------- */

static void psks_are_kept_until_revocation(void **state)
{
	struct world w;
	struct psks in = two_psks(1), out;

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED), nobody = {"00112233445566778899aabbccddeeff"};
	memset(&out, 1, sizeof out);
	assert_int_equal(pins_get_psks(w.p, &nobody, &out), ERR_NOTFOUND);
	assert_int_equal(pins_get_psks(w.p, &bob, &out), ERR_OK);
	assert_true(is_zero(&out, sizeof out));
	assert_null(pins_rec(w.p, &bob)->psks);
	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	assert_int_equal(pins_set_psks(w.p, &bob, &in), ERR_OK);
	assert_true(pins_state_dirty(w.p));
	assert_int_equal(pins_get_psks(w.p, &bob, &out), ERR_OK);
	assert_memory_equal(&out, &in, sizeof in);
	assert_int_equal(pins_set_psks(w.p, &nobody, &in), ERR_NOTFOUND);

	psks_wipe(&out);
	assert_int_equal(pins_set_psks(w.p, &bob, &out), ERR_OK);
	assert_null(pins_rec(w.p, &bob)->psks);
	assert_int_equal(pins_set_psks(w.p, &bob, &in), ERR_OK);
	assert_int_equal(pins_set_state(w.p, &bob, PIN_REVOKED, NULL, NULL), ERR_OK);
	assert_null(pins_rec(w.p, &bob)->psks);
	assert_int_equal(pins_set_psks(w.p, &bob, &in), ERR_UNTRUSTED);
	world_free(&w);
}

/* --- addresses ----------------------------------------------------------------------------- */

static void addresses_are_a_bounded_set(void **state)
{
	struct world w;
	struct node_id owner;
	char text[ADDRESS_MAX + 2];

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED), eve = meet(&w, 2, "eve", PIN_TRUSTED);
	assert_false(pins_im2_address_has(w.p, "h:1", NULL));
	assert_int_equal(pins_im2_address_add(w.p, "h:1", &bob), ERR_OK);
	assert_int_equal(pins_im2_address_add(w.p, "a:1", &bob), ERR_OK);
	assert_int_equal(pins_im2_address_add(w.p, "z:1", &eve), ERR_OK);
	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	assert_int_equal(pins_im2_address_add(w.p, "h:1", &bob), ERR_OK);
	assert_false(pins_dirty(w.p));
	assert_int_equal(pins_im2_address_add(w.p, "h:1", &eve), ERR_OK);
	assert_true(pins_state_dirty(w.p));
	assert_true(pins_im2_address_has(w.p, "h:1", &owner));
	assert_true(node_id_eq(&owner, &eve));
	assert_int_equal(pins_im2_addresses(w.p), 3);
	assert_int_equal(pins_im2_address_remove(w.p, "h:1"), ERR_OK);
	assert_int_equal(pins_im2_address_remove(w.p, "h:1"), ERR_NOTFOUND);
	assert_true(pins_im2_address_has(w.p, "a:1", NULL) && pins_im2_address_has(w.p, "z:1", NULL));
	assert_int_equal(pins_im2_address_add(w.p, "a\nb", &bob), ERR_MALFORMED);
	assert_int_equal(pins_im2_address_add(w.p, "", &bob), ERR_MALFORMED);
	memset(text, 'x', ADDRESS_MAX + 1);
	text[ADDRESS_MAX + 1] = '\0';
	assert_int_equal(pins_im2_address_add(w.p, text, &bob), ERR_MALFORMED);

	for (int i = 0; i < PINS_IM2_ADDRESSES_MAX - 2; i++) {
		snprintf(text, sizeof text, "host-%d:8765", i * 7919 % 10007);
		assert_int_equal(pins_im2_address_add(w.p, text, &bob), ERR_OK);
	}
	assert_int_equal(pins_im2_addresses(w.p), PINS_IM2_ADDRESSES_MAX);
	assert_int_equal(pins_im2_address_add(w.p, "one:more", &bob), ERR_FULL);
	assert_int_equal(pins_im2_address_add(w.p, "a:1", &eve), ERR_OK); /* it is there */
	for (int i = 0; i < PINS_IM2_ADDRESSES_MAX - 2; i++) {
		snprintf(text, sizeof text, "host-%d:8765", i * 7919 % 10007);
		assert_true(pins_im2_address_has(w.p, text, NULL));
	}
	world_free(&w);
}

static void operator_may_allow_the_way_back(void **state)
{
	struct world w;
	struct psks psks = two_psks(1), out;

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED), eve = meet(&w, 2, "eve", PIN_PENDING);
	assert_int_equal(pins_forget_im2(w.p, &bob), ERR_NOTFOUND);
	assert_int_equal(prove(&w, &bob, 7), ERR_OK);
	assert_int_equal(pins_set_psks(w.p, &bob, &psks), ERR_OK);
	assert_int_equal(pins_im2_address_add(w.p, "b:1", &bob), ERR_OK);
	assert_int_equal(pins_im2_address_add(w.p, "b:2", &bob), ERR_OK);
	assert_int_equal(pins_im2_address_add(w.p, "e:1", &eve), ERR_OK);
	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	assert_int_equal(pins_forget_im2(w.p, &bob), ERR_OK);
	assert_true(pins_state_dirty(w.p));
	assert_int_equal(pin_of(&w, &bob)->im2_since_ms, 0);
	assert_false(pins_im2_address_has(w.p, "b:1", NULL) || pins_im2_address_has(w.p, "b:2", NULL));
	assert_true(pins_im2_address_has(w.p, "e:1", NULL));
	assert_true(pin_of(&w, &bob)->x_proven);
	assert_int_equal(pins_get_psks(w.p, &bob, &out), ERR_OK);
	assert_memory_equal(&out, &psks, sizeof out);
	assert_int_equal(pins_forget_im2(w.p, &bob), ERR_NOTFOUND);

	/* The record of a stranger was evicted: its address is still guarded, and can be set free. */
	pins_remove(w.p, pins_rec(w.p, &eve));
	assert_true(pins_im2_address_has(w.p, "e:1", NULL));
	assert_int_equal(pins_forget_im2(w.p, &eve), ERR_OK);
	assert_false(pins_im2_address_has(w.p, "e:1", NULL));

	assert_int_equal(pins_im2_address_add(w.p, "b:1", &bob), ERR_OK);
	assert_int_equal(pins_forget(w.p, &bob), ERR_OK);
	assert_int_equal(pins_im2_addresses(w.p), 0);
	world_free(&w);
}

/* --- on disk ------------------------------------------------------------------------------- */

/* Bob with everything, Eve with nothing. */
static void fill(struct world *w, struct node_id *bob, struct node_id *eve, struct psks *psks)
{
	*bob = meet(w, 1, "bob", PIN_TRUSTED);
	*eve = meet(w, 2, "eve", PIN_TRUSTED);
	*psks = two_psks(1);
	assert_int_equal(prove(w, bob, 7), ERR_OK);
	assert_int_equal(pins_set_psks(w->p, bob, psks), ERR_OK);
	assert_int_equal(pins_im2_address_add(w->p, "b:1", bob), ERR_OK);
	assert_int_equal(pins_im2_address_add(w->p, "[::1]:1", bob), ERR_OK);
}

static void assert_filled(struct pins *p, const struct node_id *bob, const struct node_id *eve,
			  const struct psks *psks)
{
	struct psks out;

	assert_true(pins_get(p, bob)->x_proven);
	assert_int_not_equal(pins_get(p, bob)->im2_since_ms, 0);
	assert_ptr_equal(pins_by_x(p, x_of(7), NULL), pins_get(p, bob));
	assert_int_equal(pins_get_psks(p, bob, &out), ERR_OK);
	assert_memory_equal(&out, psks, sizeof out);
	assert_int_equal(pins_im2_addresses(p), 2);
	assert_true(pins_im2_address_has(p, "b:1", NULL) && pins_im2_address_has(p, "[::1]:1", NULL));
	assert_false(pins_get(p, eve)->x_proven);
	assert_int_equal(pins_get(p, eve)->im2_since_ms, 0);
	assert_int_equal(pins_get_psks(p, eve, &out), ERR_OK);
	assert_true(is_zero(&out, sizeof out));
}

static void everything_comes_back_from_disk(void **state)
{
	struct world w;
	struct temp temp;
	struct psks psks;
	struct node_id bob, eve;
	struct pins *again;
	struct keyring *other;
	char path[128];

	world_make(&w);
	temp_make(&temp, "known_peers.json");
	pins_free(w.p);
	assert_int_equal(pins_load(temp.file, w.k, &w.t.env, &w.p, NULL), ERR_OK);
	fill(&w, &bob, &eve, &psks);
	assert_int_equal(pins_flush(w.p, NULL), ERR_OK);
	assert_int_equal(pins_load(temp.file, w.k, &w.t.env, &again, NULL), ERR_OK);
	assert_false(pins_dirty(again));
	assert_filled(again, &bob, &eve, &psks);
	assert_int_equal(pins_get(again, &bob)->im2_since_ms, pin_of(&w, &bob)->im2_since_ms);
	pins_free(again);

	/* And under the keys of another identity. */
	assert_int_equal(keyring_generate(&w.t.env, &other), ERR_OK);
	snprintf(path, sizeof path, "%s/other", temp.dir);
	assert_int_equal(pins_save_as(w.p, other, path, NULL), ERR_OK);
	assert_int_equal(pins_load(path, other, &w.t.env, &again, NULL), ERR_OK);
	assert_false(pins_read_only(again, NULL));
	assert_filled(again, &bob, &eve, &psks);
	pins_free(again);
	keyring_free(other);
	world_free(&w);
	temp_remove(&temp);
}

/* A change that cannot be written is taken back, with all that im2 remembers. */
static void copy_brings_everything_back(void **state)
{
	struct world w;
	struct temp temp;
	struct psks psks, none = {0};
	struct node_id bob, eve;
	struct pins_copy *was;
	struct fault f = {0};

	world_make(&w);
	temp_make(&temp, "known_peers.json");
	pins_free(w.p);
	snprintf(temp.file, sizeof temp.file, "%s/gone/known_peers.json", temp.dir);
	assert_int_equal(pins_load(temp.file, w.k, &w.t.env, &w.p, NULL), ERR_OK);
	fill(&w, &bob, &eve, &psks);
	char *before = inner_of(w.p);

	assert_int_equal(pins_copy(w.p, &was), ERR_OK);
	assert_int_equal(pins_set_psks(w.p, &bob, &none), ERR_OK);
	assert_int_equal(prove(&w, &eve, 8), ERR_OK);
	assert_int_equal(pins_forget_im2(w.p, &bob), ERR_OK);
	assert_int_equal(pins_im2_address_add(w.p, "e:1", &eve), ERR_OK);
	assert_int_not_equal(pins_settle(w.p, was, ERR_OK, &f), ERR_OK);
	assert_filled(w.p, &bob, &eve, &psks);
	char *after = inner_of(w.p);
	assert_string_equal(after, before);

	free(before);
	free(after);
	world_free(&w);
	temp_remove(&temp);
}

#define BOB	"28fff9342c7030d3d899cc9e7bc11878"
#define BOB_KEY "AOHgeRjh99sSDDITSyRW6qKMPuT0gHPYfgBlqSDWfag="
#define X_1	"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
#define X_2	"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
#define RECORD(more)                                                                               \
	"{\"peers\":{\"" BOB "\":{\"fingerprint\":\"" BOB "\",\"first_seen\":1.0,"                 \
	"\"last_seen\":2.0,\"pubkey\":\"" BOB_KEY "\",\"trust_state\":\"trusted\"" more "}},"      \
	"\"revoked\":{}}"

static void members_have_one_form(void **state)
{
	static const char *const good[] = {
		/* As the software before im2 wrote it: nothing of ours. */
		RECORD(""),
		"{\"im2_addresses\":{\"a:1\":\"" BOB "\",\"b:1\":\"" BOB "\"},\"peers\":{},\"revoked\":{}}",
		"{\"peers\":{\"" BOB "\":{\"fingerprint\":\"" BOB "\",\"first_seen\":1.0,\"im2_since\":3.5,"
		"\"last_seen\":2.0,\"psks\":{\"candidates\":[\"" X_2 "\"],\"confirmed\":\"" X_1 "\"},"
		"\"pubkey\":\"" BOB_KEY "\",\"rotated_at\":4.0,\"successor\":\"00112233445566778899aabbccddeeff\","
		"\"trust_state\":\"trusted\",\"x25519\":\"" X_1 "\",\"x_proven\":true}},\"revoked\":{}}",
		RECORD(",\"x25519\":\"" X_1 "\",\"x_imported\":true"),
	};
	struct world w;

	world_make(&w);
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		assert_int_equal(load_inner(&w, good[i]), ERR_OK);
		assert_false(pins_dirty(w.p));
		char *text = inner_of(w.p);
		assert_string_equal(text, good[i]);
		free(text);
	}
	world_free(&w);
}

static void bad_members_are_refused(void **state)
{
	static const char *const bad[] = {
		RECORD(",\"im2_since\":\"x\""),
		RECORD(",\"im2_since\":-1"),
		RECORD(",\"x_proven\":true"), /* what? */
		RECORD(",\"x_imported\":true"),
		RECORD(",\"x25519\":\"" X_1 "\",\"x_proven\":true,\"x_imported\":true"),
		RECORD(",\"x25519\":\"" X_1 "\",\"x_proven\":1"),
		RECORD(",\"psks\":{}"),
		RECORD(",\"psks\":[]"),
		RECORD(",\"psks\":{\"confirmed\":\"AQE=\"}"),
		RECORD(",\"psks\":{\"confirmed\":7}"),
		RECORD(",\"psks\":{\"candidates\":[]}"),
		RECORD(",\"psks\":{\"candidates\":\"" X_1 "\"}"),
		RECORD(",\"psks\":{\"candidates\":[\"" X_1 "\",\"" X_1 "\"]}"),
		RECORD(",\"psks\":{\"confirmed\":\"" X_1 "\",\"candidates\":[\"" X_1 "\"]}"),
		RECORD(",\"psks\":{\"candidates\":[\"" X_1 "\",7]}"),
		RECORD(",\"psks\":{\"confirmed\":\"" X_1 "\",\"candidates\":[1,2,3,4,5]}"),
		RECORD(",\"successor\":\"bob\""),
		RECORD(",\"successor\":\"" BOB "\""),
		RECORD(",\"successor\":7"),
		"{\"im2_addresses\":[],\"peers\":{},\"revoked\":{}}",
		"{\"im2_addresses\":{\"a:1\":7},\"peers\":{},\"revoked\":{}}",
		"{\"im2_addresses\":{\"a:1\":\"bob\"},\"peers\":{},\"revoked\":{}}",
		"{\"im2_addresses\":{\"\":\"" BOB "\"},\"peers\":{},\"revoked\":{}}",
		"{\"im2_addresses\":{\"a\\nb\":\"" BOB "\"},\"peers\":{},\"revoked\":{}}",
	};
	struct world w;

	world_make(&w);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_not_equal(load_inner(&w, bad[i]), ERR_OK);
		assert_int_equal(pins_count(w.p), 0);
		assert_int_equal(pins_im2_addresses(w.p), 0);
	}
	world_free(&w);
}

/* Written by the software before im2, for the zero identity: four peers in every state, with an alias,
 * an address, a TLS key, an X25519 key and an alarm. Its nonce is 00 .. 17. */
static const char file_before_im2[] =
	"{\"version\": 2, \"ciphertext\": \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXke9M3X9xgZ1l7Fcbm"
	"lzRI+wWWe2cnYYHszKgOH2t6yY2Bkf+PIrq6ejyG3HyS4iwQ8pg9asY/cfsfM1RIHNkPVkJbEb6oKFkGOHai"
	"ac8RsM5xXV+2spF9SGikYxJIyMRrO3/T5kvq6dDGk+qJY+b5hCw/bogIw1VlS3M8YUURcOSc+LMXZbG248Y4"
	"DtsrfyPTINQxVBWPq7qZeOHm7RI9ggj2mHIszGFxncHWSoTCvkHVgSKGHyGLzHwsJyzaPfnZyzI9Gij8Q1ou"
	"t4sFV1mP8QfVeOfxfJuLFLszsfcIpQxn4EsxLaaL6FYoCTpEHa1NEfIxJl5Jpag8A0N4BNR2g5rVpzjsfnlQ"
	"HZ4eQEpsDh4t6mPWrEFr02yoNYBTdIq6rYmgBv6Oq729uMk15wPuTPK9hKrjyfjZEw/vMltIFQboe5wUpr8/"
	"pbwe3npfqwCYhwIzpPJeXRtuB9FqBSDYqJo/4WyKTPCfCTbCWyVbCFmsv1LDWMXFoer9KJ+lq23xGn3FbnVA"
	"15EGz3Sm0yOH/XdTeMrWHz8wns4MDYMyFMN511ObvkYbMeQdhTlakL99F2KFfMaVcilNuzzpou+rT89suYCb"
	"KCoOkF0z7iuFEisPCChbuy45RjUeHF8LeeAkxn4BtjuXsZvbh8YK7oq2Sg5akaxoRF9a0rh6hLxbqmthuboJ"
	"bk0z2muk6ODPJvZt850jL4ni4I8nTu+J0cpnTo+XCXIvTuQ+jEbHrhwhJML5iEBVgw6NlU6rH9H1207/Awbk"
	"hRarKG87PAUH0AhMywM/+qENn7gCf79A8g7tMWx5/LYcTdldM4m+YF7LrmZZY5z454UOXsiP/xPq2vCGwe4j"
	"adl6RK8zHIbvdZstoLe0f3lIVMUGdqhJooLQDb9Jo9WQRi4eU8AbiV3PlDTopNirhVztKsSTlPHZDQdS9ImU"
	"0pIzlrCt5TvJ+bl7KEkQ4sQDSLDK+nB9p/2D74KIICKUn8Mmu2twFkPiBDUB9OKki9xUJfQM4kyPdza2w/kc"
	"1YF85dmZWjCQR/7n2cukv+CKRg1GIiTymoB7HQ0f64yrJ014+ld8PoMAw+VzXi4/bdQNSWkwt9Z/y3uXmL2H"
	"ReIy8GGWGy1IuvDvPAn6PPo2gw8RtOz61GI/krRD4D50YwA7zL5Jb5Cn9MtfStbz2Lx4KcoK/+W27iJ8AoDy"
	"VTBqCvoLDgTGjmx1SWoaTc7GOKV144N9TuEciq/EMEsUTat4K1r0tY7QJA7ejBijHLsRqy/qH3VUXtQa6NeJ"
	"0NY+jYn/PLT3Xw/6NgVyyYVJqa4ec8ONsY81CiyWZAnVZxs0kB99Chuh5Z2miRem9gwUXy2t2af1SYtmU/va"
	"lYKXjxR5uArjC4BqSMfli+MwwVBIwu6ERD9xMwDWlEllsdygj5FZzW0DTiInHPsLpRYnGPHtzhEinwHtjxGp"
	"Uo13NlKniSD7rlcJVkUSPaOxrqW4k3OSc84iCoJkeBwdEH17jMZaFH8C9Nzhnld65swA8+GyTLX0hHdoksAy"
	"T/NF1WndiMR6WwKuqHtIBehS/elVzWAIM/t3V2vflE0hg9ANaOQcUtEoL8DFLVpaM5R4DN1Jk8r6V7hSDHra"
	"Eu57v2R7pxbQIrK0/tRqadjG9ysNlCSH+oW384PEUK0iPO1FI62k1PauwoNAwSMP5adyio9Mo1Bj2W6TurvC"
	"M5tOte5kBgThNikRW2rqmmrlg86F0nr1hfWzB5ba+xwZLdAoYCLPFGEk43cN4AvwWZc4FIKeDoer4jwIFHCs"
	"Uj4Rxv5bqTC+Goq23Cl0G2XUd8nn9tch2S7JEM85OCAvbZLhCzlDG3MXZx2mNycwQMZYHz/7HJtuIW0Modl2"
	"2mM0nMCi1Q+YtAcYkRiMBdK3r3YRmwMZJ6PnkZz5bkNmEq5S+5zcu0/4FKNEXeJBHPtia7DMCu5HeV6oHnEe"
	"5oBiS88lNwSIwVq1+oINabv11OC7UKglmRmpkP36l53b7jH6zZ7Ci+IbumLR4FlMTcJT0oGjltxZaAImVEoZ"
	"uD04Awlr6UG6rngn/JVD0udnAlAdMfH+d/UN5Do\", \"_mac\": \"45953284d15679bb0eed377de29fb"
	"996316e420d7768008af5a8faf84893aa47\"}";

static void file_of_the_software_before_is_written_back(void **state)
{
	struct world w;
	struct buf b;
	uint8_t nonce[24];
	struct node_id bob;
	uint8_t ed[ED_BYTES];
	char why[256];

	world_make(&w);
	assert_int_equal(pins_read_file(w.p, bytes_str(file_before_im2), why, sizeof why), ERR_OK);
	assert_int_equal(pins_count(w.p), 4);
	assert_int_equal(pins_alarms(w.p, NULL), 1);
	peer_key(1, ed, &bob);
	assert_string_equal(pin_of(&w, &bob)->alias, "mine");
	assert_true(pin_of(&w, &bob)->has_x25519 && !pin_of(&w, &bob)->x_proven);
	assert_null(pins_by_x(w.p, x_of(7), NULL)); /* only claimed */
	count_up(nonce, sizeof nonce, 0);
	test_env_script(&w.t, nonce, sizeof nonce);
	buf_init(&b, PINS_FILE_MAX);
	assert_int_equal(pins_write_file(w.p, &b), ERR_OK);
	assert_string_equal(buf_cstr(&b), file_before_im2);
	buf_fini(&b);
	world_free(&w);
}

/* Any store of any size that knows no im2 is read as it is and written back byte for byte. */
static void store_of_the_software_before_loads(void **state)
{
	static const char *const strange[] = {"name", "caf\xc3\xa9", "0", "x.y_z-", "bob"};
	static const enum pin_state states[] = {PIN_PENDING, PIN_TRUSTED, PIN_BLOCKED, PIN_REVOKED};
	struct world w;
	char name[40], address[40];

	world_make(&w);
	for (unsigned n = 0; n < 200; n++) {
		snprintf(name, sizeof name, "%s%u", strange[n % 5], n);
		struct node_id id = meet(&w, n, name, n % 3 ? PIN_TRUSTED : PIN_PENDING);
		snprintf(address, sizeof address, "192.0.2.%u:%u", n % 256, 1 + n);
		if (n % 2)
			assert_int_equal(pins_bind_address(w.p, &id, address, n % 4 == 1 ? x_of(3) : NULL),
					 ERR_OK);
		if (n % 7 == 0)
			assert_int_equal(pins_set_verified(w.p, &id, true), ERR_OK);
		if (n % 3)
			assert_int_equal(pins_set_state(w.p, &id, states[n % 4], "why not", NULL), ERR_OK);
	}
	char *text = inner_of(w.p);
	assert_null(strstr(text, "im2"));
	assert_null(strstr(text, "psk"));
	assert_null(strstr(text, "x_proven"));
	assert_null(strstr(text, "successor"));
	assert_int_equal(load_inner(&w, text), ERR_OK);
	for (unsigned n = 0; n < 200; n++) {
		struct node_id id;
		uint8_t ed[ED_BYTES];

		peer_key(n, ed, &id);
		const struct pin *pin = pin_of(&w, &id);
		assert_false(pin->x_proven || pin->x_imported || pin->im2_since_ms || pin->successor.hex[0]);
		assert_null(pins_rec(w.p, &id)->psks);
	}
	char *again = inner_of(w.p);
	assert_string_equal(again, text);
	free(text);
	free(again);
	world_free(&w);
}

/* Of two records with one proven key in a file the older one keeps it. */
static void file_with_a_shared_key_is_settled(void **state)
{
	struct world w;
	bool conflict;

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED), eve = meet(&w, 2, "eve", PIN_TRUSTED);
	assert_int_equal(prove(&w, &bob, 7), ERR_OK);
	assert_int_equal(prove(&w, &eve, 8), ERR_OK);
	memcpy(pins_rec(w.p, &eve)->pin.x25519, x_of(7), X25519_BYTES);
	char *text = inner_of(w.p);
	assert_int_equal(load_inner(&w, text), ERR_OK);
	assert_true(pin_of(&w, &bob)->x_proven);
	assert_false(pin_of(&w, &eve)->x_proven);
	assert_ptr_equal(pins_by_x(w.p, x_of(7), &conflict), pin_of(&w, &bob));
	assert_false(conflict);
	free(text);
	world_free(&w);
}

static void read_only_store_changes_nothing(void **state)
{
	struct world w;
	struct psks psks;
	struct node_id bob, eve;
	uint8_t ed[ED_BYTES];

	world_make(&w);
	fill(&w, &bob, &eve, &psks);
	w.p->read_only = true;
	char *before = inner_of(w.p);
	peer_key(9, ed, NULL);
	assert_int_equal(prove(&w, &eve, 9), ERR_DENIED);
	assert_int_equal(pins_set_psks(w.p, &eve, &psks), ERR_DENIED);
	assert_int_equal(pins_im2_address_add(w.p, "c:1", &eve), ERR_DENIED);
	assert_int_equal(pins_im2_address_remove(w.p, "b:1"), ERR_DENIED);
	assert_int_equal(pins_forget_im2(w.p, &bob), ERR_DENIED);
	assert_int_equal(pins_rotate(w.p, &bob, ed, x_of(9), WALL_T, false), ERR_DENIED);
	assert_int_equal(pins_expire_rotated(w.p, UINT64_MAX), 0);
	char *after = inner_of(w.p);
	assert_string_equal(after, before);
	free(before);
	free(after);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(proof_is_remembered_with_its_time),
		cmocka_unit_test(first_contact_replaces_the_key_of_the_same_identity),
		cmocka_unit_test(two_identities_never_share_a_proven_key),
		cmocka_unit_test(unproven_key_counts_only_when_imported),
		cmocka_unit_test(hello_does_not_touch_a_proven_key),
		cmocka_unit_test(second_key_with_a_known_id_is_refused),
		cmocka_unit_test(psks_are_kept_until_revocation),
		cmocka_unit_test(addresses_are_a_bounded_set),
		cmocka_unit_test(operator_may_allow_the_way_back),
		cmocka_unit_test(everything_comes_back_from_disk),
		cmocka_unit_test(copy_brings_everything_back),
		cmocka_unit_test(members_have_one_form),
		cmocka_unit_test(bad_members_are_refused),
		cmocka_unit_test(file_of_the_software_before_is_written_back),
		cmocka_unit_test(store_of_the_software_before_loads),
		cmocka_unit_test(file_with_a_shared_key_is_settled),
		cmocka_unit_test(read_only_store_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
