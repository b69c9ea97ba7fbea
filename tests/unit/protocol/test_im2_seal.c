#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <sodium.h>

#include "base/text.h"
#include "protocol/im2/noise.h"
#include "protocol/im2/seal.h"
#include "tests/lib/protocol_env.h"
#include "tests/lib/protocol_vectors.h"

struct world {
	struct penv env;
	struct vectors v;
	struct keyring *alice, *bob, *carol;
	const struct keyring *pinned[3];
	size_t pinned_n;
	struct im2_prekeys *prekeys; /* of bob */
	struct buf rt, body, plain, items;
	struct im2_sealed sealed;
	struct im2_opened opened;
};

static enum err save_nowhere(void *ctx, const struct im2_prekey *keys, size_t n)
{
	return ERR_OK;
}

static struct im2_prekey prekey_with(struct bytes secret, uint32_t id)
{
	struct im2_prekey k = {
		.gen = 5, .issued_ms = WALL_T, .life_s = 86400, .erase_ms = WALL_T + 172800000};

	for (unsigned i = 0; i < 4; i++)
		k.id[i] = (uint8_t)(id >> (24 - 8 * i));
	assert_int_equal(secret.n, sizeof k.secret);
	memcpy(k.secret, secret.p, secret.n);
	crypto_scalarmult_base(k.pub, k.secret);
	return k;
}

static struct im2_prekeys *ring_of(struct world *w, const struct keyring *k, const char *part,
				   uint32_t id)
{
	struct im2_prekeys_config c = {.env = &w->env.env, .keyring = k, .save = save_nowhere};
	struct im2_prekey key = prekey_with(vector(&w->v, part, "prekey_secret"), id);
	struct im2_prekeys *p;

	assert_int_equal(im2_prekeys_new(&c, &key, 1, &p), ERR_OK);
	return p;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	penv_init(&w->env);
	vectors_load(&w->v, "tests/vectors/im2_sealed.txt");
	w->alice = vector_keyring(&w->v, "alice");
	w->bob = vector_keyring(&w->v, "bob");
	w->carol = vector_keyring(&w->v, "carol");
	w->pinned[0] = w->alice;
	w->pinned[1] = w->bob;
	w->pinned[2] = w->carol;
	w->pinned_n = 3;
	w->prekeys = ring_of(w, w->bob, "to_prekey", 1);
	buf_init(&w->rt, IM2_RT_MAX);
	buf_init(&w->body, IM2_ROUTED_BODY_MAX);
	buf_init(&w->plain, IM2_SEAL_PLAIN_MAX);
	buf_init(&w->items, 2 * IM2_SEAL_PLAIN_MAX);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	im2_prekeys_free(w->prekeys);
	vectors_free(&w->v);
	keyring_free(w->alice);
	keyring_free(w->bob);
	keyring_free(w->carol);
	buf_fini(&w->rt);
	buf_fini(&w->body);
	buf_fini(&w->plain);
	buf_fini(&w->items);
	free(w);
	return 0;
}

static bool who(void *ctx, const uint8_t x[static 32], uint8_t ed[static ED_BYTES])
{
	struct world *w = ctx;

	for (size_t i = 0; i < w->pinned_n; i++)
		if (memcmp(keyring_x25519(w->pinned[i]), x, 32) == 0) {
			memcpy(ed, keyring_ed(w->pinned[i]), ED_BYTES);
			return true;
		}
	return false;
}

static void is_hex(struct bytes got, struct bytes want)
{
	assert_int_equal(got.n, want.n);
	assert_memory_equal(got.p, want.p, want.n);
}

static struct bytes sealed(struct world *w, const char *part, const char *name)
{
	return vector(&w->v, part, name);
}

/* The plaintext of a vector without its padding. */
static struct bytes unpadded(struct bytes plain)
{
	struct bytes list = plain, value;
	uint16_t tag;

	while (im2_item_next(&list, &tag, &value))
		;
	return bytes_of(plain.p, plain.n - list.n);
}

static void script(struct world *w, struct bytes e)
{
	w->env.script = e.p;
	w->env.script_left = e.n;
}

static struct im2_seal_to to_bob(struct world *w)
{
	struct im2_seal_to to = {.prekey_record = sealed(w, "prekey", "record"),
				 .ttl_s = 86400,
				 .prio = PRIO_NORMAL,
				 .pad = true,
				 .name = "alice"};

	memcpy(to.ed, keyring_ed(w->bob), ED_BYTES);
	memcpy(to.x, keyring_x25519(w->bob), X25519_BYTES);
	return to;
}

static enum im2_refusal seal_as(struct world *w, const struct keyring *k,
				const struct im2_seal_to *to, struct bytes items)
{
	buf_reset(&w->rt);
	buf_reset(&w->body);
	return im2_seal(&w->env.env, k, to, w->env.wall_ms, items, &w->rt, &w->body, &w->sealed);
}

static enum im2_refusal open_as(struct world *w, const struct keyring *k,
				const struct im2_prekeys *p, struct bytes rt, struct bytes body)
{
	enum im2_refusal r;

	buf_reset(&w->plain);
	r = im2_open_sealed(k, p, rt, body, who, w, &w->plain, &w->opened);
	if (r != IM2_FINE)
		assert_int_equal(w->plain.n, 0);
	return r;
}

static enum im2_refusal open_by_bob(struct world *w)
{
	return open_as(w, w->bob, w->prekeys, buf_bytes(&w->rt), buf_bytes(&w->body));
}

static struct message text_message(uint8_t flags)
{
	struct message m = {.created_ms = WALL_T,
			    .priority = PRIO_NORMAL,
			    .body = BYTES_LIT("meet at dawn, ok"),
			    .has_wire_id = true,
			    .ext.flags = flags};

	test_count_up(m.wire_id, sizeof m.wire_id);
	return m;
}

/* An item list of one SMSG. */
static struct bytes signed_text(struct world *w, const struct keyring *from,
				const struct keyring *to, uint8_t flags)
{
	struct message m = text_message(flags);
	struct buf smsg;

	buf_init(&smsg, 4096);
	buf_reset(&w->items);
	assert_int_equal(im2_smsg_write(from, &m, 1, keyring_ed(to), &smsg), ERR_OK);
	im2_item_add(&w->items, IM2_ITEM_SMSG, buf_bytes(&smsg));
	buf_fini(&smsg);
	return buf_bytes(&w->items);
}

static enum err ring_dh(void *ctx, const uint8_t their[static NOISE_KEY],
			uint8_t out[static NOISE_KEY])
{
	return keyring_noise_dh(ctx, their, out);
}

/* What im2_seal() would not write: any plaintext, by any static key. */
static void seal_raw(struct world *w, const struct keyring *by, struct bytes plain)
{
	struct im2_seal_to to = to_bob(w);
	struct noise_static s;
	uint8_t e[32] = {7};
	struct noise x;
	struct buf prologue;
	const uint8_t *rs =
		w->prekeys ? im2_prekeys_find(w->prekeys, (const uint8_t[]){0, 0, 0, 1})->pub
			   : to.x;
	struct im2_rt rt = {.prekey = {0, 0, 0, 1}, .ttl_s = 60, .prio = PRIO_NORMAL};

	assert_int_equal(hex_decode(bytes_str(keyring_id(w->bob)->hex), rt.to, 16), ERR_OK);
	buf_reset(&w->rt);
	buf_reset(&w->body);
	im2_rt_write(&rt, &w->rt);
	buf_init(&prologue, 1024);
	buf_add(&prologue, BYTES_LIT("ironmesh-im2/sealed\0"));
	buf_add(&prologue, bytes_of(keyring_ed(w->bob), ED_BYTES));
	im2_lv_add(&prologue, buf_bytes(&w->rt));
	memcpy(s.pub, keyring_x25519(by), sizeof s.pub);
	s.dh = ring_dh;
	s.ctx = (void *)by;
	noise_init(&x, &(struct noise_opts){.pattern = NOISE_X,
					    .initiator = true,
					    .prologue = buf_bytes(&prologue),
					    .s = &s,
					    .rs = rs});
	noise_set_ephemeral(&x, e);
	assert_int_equal(noise_write(&x, plain, &w->body), ERR_OK);
	noise_wipe(&x);
	buf_fini(&prologue);
}

/* --- vectors --- */

static void sealed_to_a_prekey_as_the_vector(void **state)
{
	struct world *w = *state;
	struct im2_seal_to to = to_bob(w);
	struct bytes plain = sealed(w, "to_prekey", "plaintext"), items = unpadded(plain);
	struct im2_smsg_reader r;
	char id[33], type[MSG_TYPE_MAX + 1];
	struct message m;
	struct bytes rest, value;
	uint8_t rid[16];
	uint16_t tag;

	script(w, sealed(w, "to_prekey", "e"));
	assert_int_equal(seal_as(w, w->alice, &to, items), IM2_FINE);
	is_hex(buf_bytes(&w->rt), sealed(w, "to_prekey", "rt"));
	is_hex(buf_bytes(&w->body), sealed(w, "to_prekey", "body"));
	assert_int_equal(w->body.n, plain.n + IM2_SEAL_OVERHEAD);
	assert_false(w->sealed.no_fs);
	assert_int_equal(w->sealed.ttl_s, 86400);
	im2_rid(buf_bytes(&w->rt), buf_bytes(&w->body), rid);
	is_hex(BYTES_ARR(rid), sealed(w, "to_prekey", "rid"));

	assert_int_equal(open_by_bob(w), IM2_FINE);
	is_hex(w->opened.items, plain);
	assert_false(w->opened.no_fs || w->opened.introduced);
	assert_memory_equal(w->opened.author_ed, keyring_ed(w->alice), ED_BYTES);
	assert_memory_equal(w->opened.sender_x, keyring_x25519(w->alice), X25519_BYTES);
	assert_int_equal(w->opened.prekey_erase_ms, WALL_T + 172800000);
	rest = w->opened.items;
	assert_true(im2_item_next(&rest, &tag, &value));
	assert_int_equal(tag, IM2_ITEM_SMSG);
	assert_int_equal(im2_smsg_open(value, w->opened.author_ed, w->bob, &r), IM2_FINE);
	assert_true(im2_smsg_next(&r, &m, id, type));
	assert_true(bytes_eq(m.body, BYTES_LIT("meet at dawn, ok")));
	assert_false(im2_item_next(&rest, &tag, &value)); /* the padding ends the list */
}

static void sealed_to_the_long_term_key_as_the_vector(void **state)
{
	static const char part[] = "long_term_fallback_with_introduction";
	struct world *w = *state;
	struct im2_seal_to to = to_bob(w);
	struct bytes items = sealed(w, part, "plaintext"), value;
	uint8_t rid[16];
	uint16_t tag;

	assert_true(im2_item_next(&items, &tag, &value)); /* IDENT is put there by im2_seal() */
	to.prekey_record = bytes_of(NULL, 0);
	to.allow_fallback = to.introduce = true;
	to.pad = false;
	to.ttl_s = 3600;
	script(w, sealed(w, part, "e"));
	assert_int_equal(seal_as(w, w->alice, &to, items), IM2_FINE);
	is_hex(buf_bytes(&w->rt), sealed(w, part, "rt"));
	is_hex(buf_bytes(&w->body), sealed(w, part, "body"));
	assert_true(w->sealed.no_fs);
	im2_rid(buf_bytes(&w->rt), buf_bytes(&w->body), rid);
	is_hex(BYTES_ARR(rid), sealed(w, part, "rid"));

	w->pinned_n = 0; /* to bob she is a stranger */
	assert_int_equal(open_by_bob(w), IM2_FINE);
	assert_true(w->opened.no_fs && w->opened.introduced);
	assert_int_equal(w->opened.prekey_erase_ms, 0);
	assert_memory_equal(w->opened.author_ed, keyring_ed(w->alice), ED_BYTES);
	assert_string_equal(w->opened.author_name, "alice");
	is_hex(w->opened.items, items);
	w->pinned_n = 3;
	assert_int_equal(open_by_bob(w), IM2_FINE);
	assert_false(w->opened.introduced); /* no news */
}

static void a_signed_receipt_comes_back_as_the_vector(void **state)
{
	static const char part[] = "signed_receipt_back";
	struct world *w = *state;
	struct im2_prekeys *alices = ring_of(w, w->alice, part, 9);
	struct im2_seal_to to = {.ttl_s = 86400, .prio = PRIO_NORMAL};
	struct im2_prekey key = prekey_with(sealed(w, part, "prekey_secret"), 9);
	struct im2_fields f = {.schema = &im2_prekey};
	struct buf said, record;

	buf_init(&said, 64);
	buf_init(&record, 512);
	im2_set_b(&f, IM2_PREKEY_ID, BYTES_ARR(key.id));
	im2_set_b(&f, IM2_PREKEY_X25519, BYTES_ARR(key.pub));
	im2_write(&im2_prekey, &f, &said);
	im2_record_write(w->alice, IM2_REC_PREKEY_T, 5, WALL_T, 86400, buf_bytes(&said), &record);
	memcpy(to.ed, keyring_ed(w->alice), ED_BYTES);
	to.prekey_record = buf_bytes(&record);
	script(w, sealed(w, part, "e"));
	assert_int_equal(seal_as(w, w->bob, &to, sealed(w, part, "plaintext")), IM2_FINE);
	is_hex(buf_bytes(&w->rt), sealed(w, part, "rt"));
	is_hex(buf_bytes(&w->body), sealed(w, part, "body"));
	assert_int_equal(open_as(w, w->alice, alices, buf_bytes(&w->rt), buf_bytes(&w->body)),
			 IM2_FINE);
	assert_memory_equal(w->opened.author_ed, keyring_ed(w->bob), ED_BYTES);
	/* the prekey record that alice states is this one */
	bool changed;
	assert_int_equal(im2_prekeys_tick(alices, &changed), ERR_OK);
	assert_true(changed);
	is_hex(im2_prekeys_record(alices), buf_bytes(&record));
	buf_fini(&said);
	buf_fini(&record);
	im2_prekeys_free(alices);
}

static void routed_objects_as_the_vectors(void **state)
{
	struct world *w = *state;
	struct im2_fields f;
	struct bytes first = sealed(w, "to_prekey", "routed"),
		     later = sealed(w, "relay", "routed_after_two_hops");

	assert_int_equal(im2_parse(&im2_routed, first, &f), IM2_FINE);
	is_hex(f.v[IM2_ROUTED_RT].b, sealed(w, "to_prekey", "rt"));
	is_hex(f.v[IM2_ROUTED_BODY].b, sealed(w, "to_prekey", "body"));
	assert_int_equal(f.v[IM2_ROUTED_HOPS].u, 8);
	assert_int_equal(
		open_as(w, w->bob, w->prekeys, f.v[IM2_ROUTED_RT].b, f.v[IM2_ROUTED_BODY].b),
		IM2_FINE);
	/* what two relays made of it */
	im2_set_u(&f, IM2_ROUTED_HOPS, 6);
	im2_set_u(&f, IM2_ROUTED_AGE, 95);
	buf_reset(&w->items);
	im2_write(&im2_routed, &f, &w->items);
	is_hex(buf_bytes(&w->items), later);
}

/* --- what does not open --- */

static void each_bit_of_an_object_and_its_header_counts(void **state)
{
	struct world *w = *state;
	struct bytes rt = sealed(w, "to_prekey", "rt"), body = sealed(w, "to_prekey", "body");
	uint8_t r[64], b[1024];

	memcpy(r, rt.p, rt.n);
	memcpy(b, body.p, body.n);
	for (size_t i = 0; i < 8 * body.n; i++) {
		b[i / 8] ^= (uint8_t)(1 << i % 8);
		/* the top bit of an X25519 key is ignored by the curve, but it is in the transcript
		 */
		assert_int_not_equal(open_as(w, w->bob, w->prekeys, rt, bytes_of(b, body.n)),
				     IM2_FINE);
		b[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	for (size_t i = 0; i < 8 * rt.n; i++) {
		r[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_not_equal(open_as(w, w->bob, w->prekeys, bytes_of(r, rt.n), body),
				     IM2_FINE);
		r[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	for (size_t n = 0; n < body.n; n += n < 100 ? 1 : 37)
		assert_int_not_equal(open_as(w, w->bob, w->prekeys, rt, bytes_of(b, n)), IM2_FINE);
	b[body.n] = 0;
	assert_int_equal(open_as(w, w->bob, w->prekeys, rt, bytes_of(b, body.n + 1)), IM2_E_AEAD);
	assert_int_equal(open_as(w, w->bob, w->prekeys, rt, body), IM2_FINE);
	assert_int_equal(open_as(w, w->carol, w->prekeys, rt, body), IM2_E_CONTEXT);
}

static void an_unknown_prekey_says_so_and_a_stream_is_policy(void **state)
{
	struct world *w = *state;
	struct bytes body = sealed(w, "to_prekey", "body");
	struct im2_rt rt;

	assert_int_equal(im2_rt_parse(sealed(w, "to_prekey", "rt"), &rt), IM2_FINE);
	rt.prekey[3] = 2;
	im2_rt_write(&rt, &w->rt);
	assert_int_equal(open_as(w, w->bob, w->prekeys, buf_bytes(&w->rt), body), IM2_E_INDEX);
	/* to the long-term key, but it was sealed to the prekey */
	rt.prekey[3] = 0;
	buf_reset(&w->rt);
	im2_rt_write(&rt, &w->rt);
	assert_int_equal(open_as(w, w->bob, w->prekeys, buf_bytes(&w->rt), body), IM2_E_AEAD);
	/* erased: nothing opens it any more, and nothing tells why */
	penv_pass(&w->env, 172800000);
	assert_int_equal(open_as(w, w->bob, w->prekeys, sealed(w, "to_prekey", "rt"), body),
			 IM2_E_INDEX);

	struct im2_fields f = {.schema = &im2_rt};
	uint8_t sid[16] = {1};
	buf_reset(&w->rt);
	im2_set_b(&f, IM2_RT_TO, BYTES_ARR(rt.to));
	im2_set_u(&f, IM2_RT_KIND, 2);
	im2_set_b(&f, IM2_RT_PREKEY, BYTES_ARR(rt.prekey));
	im2_set_u(&f, IM2_RT_TTL, 60);
	im2_set_u(&f, IM2_RT_PRIO, 1);
	im2_set_b(&f, IM2_RT_SID, BYTES_ARR(sid));
	im2_set_u(&f, IM2_RT_ST, 1);
	im2_write(&im2_rt, &f, &w->rt);
	assert_int_equal(open_as(w, w->bob, w->prekeys, buf_bytes(&w->rt), body), IM2_E_POLICY);
}

static void only_who_is_pinned_or_introduced_is_heard(void **state)
{
	struct world *w = *state;
	struct im2_seal_to to = to_bob(w);

	assert_int_equal(seal_as(w, w->alice, &to, signed_text(w, w->alice, w->bob, 0)), IM2_FINE);
	w->pinned_n = 0;
	assert_int_equal(open_by_bob(w), IM2_E_SENDER);
	to.introduce = true;
	assert_int_equal(seal_as(w, w->alice, &to, signed_text(w, w->alice, w->bob, 0)), IM2_FINE);
	assert_int_equal(open_by_bob(w), IM2_FINE);
	assert_true(w->opened.introduced && !w->opened.no_fs);
	/* an introduction alone, or with what nobody signed, gives no voice */
	buf_reset(&w->items);
	im2_item_add(&w->items, IM2_ITEM_PING, BYTES_LIT("12345678"));
	assert_int_equal(seal_as(w, w->alice, &to, buf_bytes(&w->items)), IM2_FINE);
	assert_int_equal(open_by_bob(w), IM2_E_SENDER);
	w->pinned_n = 3;
	assert_int_equal(open_by_bob(w), IM2_FINE);
	assert_memory_equal(w->opened.author_ed, keyring_ed(w->alice), ED_BYTES);
}

/* A member that seals what is not its own. */
static void a_member_cannot_speak_for_another(void **state)
{
	struct world *w = *state;
	struct im2_seal_to to = to_bob(w);
	struct buf list;

	/* alice's genuine message to bob, sealed by carol */
	assert_int_equal(seal_as(w, w->carol, &to, signed_text(w, w->alice, w->bob, 0)), IM2_FINE);
	assert_int_equal(open_by_bob(w), IM2_E_SENDER);
	/* alice's message to carol, passed on to bob */
	assert_int_equal(seal_as(w, w->carol, &to, signed_text(w, w->alice, w->carol, 0)),
			 IM2_FINE);
	assert_int_equal(open_by_bob(w), IM2_E_SENDER);
	assert_int_equal(seal_as(w, w->alice, &to, signed_text(w, w->alice, w->carol, 0)),
			 IM2_FINE);
	assert_int_equal(open_by_bob(w), IM2_E_CONTEXT);
	/* her own and alice's together: one voids all */
	buf_init(&list, 4096);
	buf_add(&list, signed_text(w, w->carol, w->bob, 0));
	buf_add(&list, signed_text(w, w->alice, w->bob, 0));
	assert_int_equal(seal_as(w, w->carol, &to, buf_bytes(&list)), IM2_FINE);
	assert_int_equal(open_by_bob(w), IM2_E_SENDER);
	/* alice's receipt for bob, from carol */
	struct buf receipt, sreceipt;
	buf_init(&receipt, 512);
	buf_init(&sreceipt, 512);
	struct receipt r = {.kind = RECEIPT_DELIVERED,
			    .id = BYTES_LIT("000102030405060708090a0b0c0d0e0f")};
	assert_int_equal(im2_receipt_write(&r, 1, 0, SIZE_MAX, &receipt), 1);
	im2_sreceipt_write(w->alice, keyring_ed(w->bob), buf_bytes(&receipt), &sreceipt);
	buf_reset(&list);
	im2_item_add(&list, IM2_ITEM_SRECEIPT, buf_bytes(&sreceipt));
	assert_int_equal(seal_as(w, w->carol, &to, buf_bytes(&list)), IM2_FINE);
	assert_int_equal(open_by_bob(w), IM2_E_SENDER);
	assert_int_equal(seal_as(w, w->alice, &to, buf_bytes(&list)), IM2_FINE);
	assert_int_equal(open_by_bob(w), IM2_FINE);
	buf_fini(&receipt);
	buf_fini(&sreceipt);
	buf_fini(&list);
}

static void add_ident(struct buf *list, const struct keyring *ed, const uint8_t x[static 32],
		      const uint8_t *binding)
{
	struct im2_fields f = {.schema = &im2_ident};
	struct buf value;

	buf_init(&value, 512);
	im2_set_b(&f, IM2_IDENT_ED, bytes_of(keyring_ed(ed), ED_BYTES));
	im2_set_b(&f, IM2_IDENT_X25519, bytes_of(x, 32));
	im2_set_b(&f, IM2_IDENT_BINDING, bytes_of(binding, SIG_BYTES));
	im2_write(&im2_ident, &f, &value);
	im2_item_add(list, IM2_ITEM_IDENT, buf_bytes(&value));
	buf_fini(&value);
}

static void introductions_are_checked(void **state)
{
	struct world *w = *state;
	struct buf list;
	uint8_t bad[SIG_BYTES];

	buf_init(&list, 4096);
	w->pinned_n = 0;
	/* the X is alice's, the seal is carol's */
	add_ident(&list, w->alice, keyring_x25519(w->alice), keyring_binding(w->alice));
	buf_add(&list, signed_text(w, w->alice, w->bob, 0));
	seal_raw(w, w->carol, buf_bytes(&list));
	assert_int_equal(open_by_bob(w), IM2_E_SENDER);
	seal_raw(w, w->alice, buf_bytes(&list));
	assert_int_equal(open_by_bob(w), IM2_FINE);
	/* carol claims alice's ED for her own X */
	buf_reset(&list);
	add_ident(&list, w->alice, keyring_x25519(w->carol), keyring_binding(w->carol));
	buf_add(&list, signed_text(w, w->alice, w->bob, 0));
	seal_raw(w, w->carol, buf_bytes(&list));
	assert_int_equal(open_by_bob(w), IM2_E_SIG);
	/* a broken binding */
	memcpy(bad, keyring_binding(w->alice), sizeof bad);
	bad[0] ^= 1;
	buf_reset(&list);
	add_ident(&list, w->alice, keyring_x25519(w->alice), bad);
	buf_add(&list, signed_text(w, w->alice, w->bob, 0));
	seal_raw(w, w->alice, buf_bytes(&list));
	assert_int_equal(open_by_bob(w), IM2_E_SIG);
	/* bob's own identity, by bob */
	buf_reset(&list);
	add_ident(&list, w->bob, keyring_x25519(w->bob), keyring_binding(w->bob));
	buf_add(&list, signed_text(w, w->bob, w->bob, 0));
	seal_raw(w, w->bob, buf_bytes(&list));
	assert_int_equal(open_by_bob(w), IM2_E_SELF);
	/* not in front */
	buf_reset(&list);
	buf_add(&list, signed_text(w, w->alice, w->bob, 0));
	add_ident(&list, w->alice, keyring_x25519(w->alice), keyring_binding(w->alice));
	seal_raw(w, w->alice, buf_bytes(&list));
	assert_int_equal(open_by_bob(w), IM2_E_CONTEXT);
	buf_fini(&list);
}

/* An X that is pinned to alice introduces itself as somebody else: its thief, say. */
static void a_pinned_x_takes_no_second_identity(void **state)
{
	struct world *w = *state;
	uint8_t input[128], binding[SIG_BYTES];
	struct bytes prefix = sig_prefix(SIG_X25519_BINDING);
	struct buf list;

	memcpy(input, prefix.p, prefix.n);
	memcpy(input + prefix.n, keyring_x25519(w->alice), 32);
	keyring_sign(w->carol, SIG_X25519_BINDING, bytes_of(input, prefix.n + 32), binding);
	buf_init(&list, 4096);
	add_ident(&list, w->carol, keyring_x25519(w->alice), binding);
	buf_add(&list, signed_text(w, w->carol, w->bob, 0));
	seal_raw(w, w->alice, buf_bytes(&list));
	assert_int_equal(open_by_bob(w), IM2_E_KEY_CONFLICT);
	buf_fini(&list);
}

static void only_what_may_be_sealed_is_taken(void **state)
{
	struct world *w = *state;
	struct im2_seal_to to = to_bob(w);
	struct message m = text_message(0);
	struct buf msg, list;

	buf_init(&msg, 512);
	buf_init(&list, 4096);
	assert_int_equal(im2_message_write(&m, &msg), ERR_OK);
	im2_item_add(&list, IM2_ITEM_MSG, buf_bytes(&msg));
	assert_int_equal(seal_as(w, w->alice, &to, buf_bytes(&list)), IM2_E_CONTEXT);
	assert_int_equal(w->rt.n + w->body.n, 0);
	seal_raw(w, w->alice, buf_bytes(&list));
	assert_int_equal(open_by_bob(w), IM2_E_CONTEXT);
	/* beside a signed one it is no better */
	buf_add(&list, signed_text(w, w->alice, w->bob, 0));
	seal_raw(w, w->alice, buf_bytes(&list));
	assert_int_equal(open_by_bob(w), IM2_E_CONTEXT);
	/* volatile messages do not travel sealed */
	struct bytes items = signed_text(w, w->alice, w->bob, MSG_VOLATILE | MSG_NO_RECEIPT);
	assert_int_equal(seal_as(w, w->alice, &to, items), IM2_E_CONTEXT);
	seal_raw(w, w->alice, items);
	assert_int_equal(open_by_bob(w), IM2_E_CONTEXT);
	/* an empty list, a broken one, padding that is not zero */
	assert_int_equal(seal_as(w, w->alice, &to, bytes_of(NULL, 0)), IM2_E_CONTEXT);
	seal_raw(w, w->alice, BYTES_LIT("\x05\x7f"));
	assert_int_equal(open_by_bob(w), IM2_E_SHORT);
	buf_reset(&list);
	buf_add(&list, signed_text(w, w->alice, w->bob, 0));
	buf_add(&list, BYTES_LIT("\0\0\1"));
	assert_int_equal(seal_as(w, w->alice, &to, buf_bytes(&list)), IM2_E_PAD);
	seal_raw(w, w->alice, buf_bytes(&list));
	assert_int_equal(open_by_bob(w), IM2_E_PAD);
	/* items of a later version are passed over */
	buf_reset(&list);
	im2_item_add(&list, 1001, BYTES_LIT("x"));
	im2_item_add(&list, 1002, BYTES_LIT("x"));
	buf_add(&list, signed_text(w, w->alice, w->bob, 0));
	seal_raw(w, w->alice, buf_bytes(&list));
	assert_int_equal(open_by_bob(w), IM2_FINE);
	buf_fini(&msg);
	buf_fini(&list);
}

/* Noise X lets whoever holds the recipient's key pretend any sender: the signature is what counts
 * (9.4). */
struct thief {
	uint8_t secret[32], victim_x[32];
};

static enum err thief_dh(void *ctx, const uint8_t their[static NOISE_KEY],
			 uint8_t out[static NOISE_KEY])
{
	struct thief *t = ctx;

	return crypto_scalarmult(out, t->secret, t->victim_x) == 0 ? ERR_OK : ERR_AUTH;
}

static void seal_as_thief(struct world *w, struct bytes plain)
{
	const struct im2_prekey *stolen =
		im2_prekeys_find(w->prekeys, (const uint8_t[]){0, 0, 0, 1});
	struct noise_static s = {.dh = thief_dh};
	uint8_t e[32] = {9};
	struct thief t;
	struct buf prologue;
	struct noise x;

	memcpy(t.secret, stolen->secret, 32);
	memcpy(t.victim_x, keyring_x25519(w->alice), 32);
	memcpy(s.pub, keyring_x25519(w->alice), 32);
	s.ctx = &t;
	buf_reset(&w->rt);
	buf_reset(&w->body);
	buf_add(&w->rt, sealed(w, "to_prekey", "rt"));
	buf_init(&prologue, 1024);
	buf_add(&prologue, BYTES_LIT("ironmesh-im2/sealed\0"));
	buf_add(&prologue, bytes_of(keyring_ed(w->bob), ED_BYTES));
	im2_lv_add(&prologue, buf_bytes(&w->rt));
	noise_init(&x, &(struct noise_opts){.pattern = NOISE_X,
					    .initiator = true,
					    .prologue = buf_bytes(&prologue),
					    .s = &s,
					    .rs = stolen->pub});
	noise_set_ephemeral(&x, e);
	assert_int_equal(noise_write(&x, plain, &w->body), ERR_OK);
	noise_wipe(&x);
	buf_fini(&prologue);
}

static void a_stolen_prekey_forges_no_author(void **state)
{
	struct world *w = *state;
	struct bytes items = signed_text(w, w->carol, w->bob, 0);
	struct im2_fields f;
	struct bytes value;
	uint16_t tag;
	uint8_t forged[1024];

	seal_as_thief(w, items);
	assert_int_equal(open_by_bob(w),
			 IM2_E_SENDER); /* the seal passes as alice's; the author is carol */
	/* and naming alice inside does not help without her key */
	memcpy(forged, items.p, items.n);
	struct bytes list = bytes_of(forged, items.n);
	assert_true(im2_item_next(&list, &tag, &value));
	assert_int_equal(im2_parse(&im2_smsg, value, &f), IM2_FINE);
	struct bytes msgs = f.v[IM2_SMSG_MSGS].b, msg;
	assert_int_equal(im2_lv_take(&msgs, &msg), IM2_FINE);
	assert_int_equal(im2_parse(&im2_msg, msg, &f), IM2_FINE);
	assert_int_equal(hex_decode(bytes_str(keyring_id(w->alice)->hex),
				    (uint8_t *)f.v[IM2_MSG_FROM].b.p, 16),
			 ERR_OK);
	seal_as_thief(w, bytes_of(forged, items.n));
	assert_int_equal(open_by_bob(w), IM2_E_SIG);
}

/* --- which key, and for how long --- */

static void no_prekey_means_no_message_unless_fallback_is_allowed(void **state)
{
	struct world *w = *state;
	struct im2_seal_to to = to_bob(w);
	struct bytes items = signed_text(w, w->alice, w->bob, 0);

	to.prekey_record = bytes_of(NULL, 0);
	assert_int_equal(seal_as(w, w->alice, &to, items), IM2_E2E_REQUIRED);
	assert_int_equal(w->rt.n + w->body.n, 0);
	to.allow_fallback = true;
	assert_int_equal(seal_as(w, w->alice, &to, items), IM2_FINE);
	assert_true(w->sealed.no_fs);
	assert_int_equal(open_by_bob(w), IM2_FINE);
	assert_true(w->opened.no_fs);
	/* allowed is not wanted: with a prekey it is used */
	to = to_bob(w);
	to.allow_fallback = true;
	assert_int_equal(seal_as(w, w->alice, &to, items), IM2_FINE);
	assert_false(w->sealed.no_fs);
	/* a day and a moment later that prekey is over */
	penv_pass(&w->env, 86400000 + 1);
	assert_int_equal(seal_as(w, w->alice, &to, items), IM2_FINE);
	assert_true(w->sealed.no_fs);
	to.allow_fallback = false;
	assert_int_equal(seal_as(w, w->alice, &to, items), IM2_E2E_REQUIRED);
	/* somebody else's record */
	memcpy(to.ed, keyring_ed(w->carol), ED_BYTES);
	assert_int_equal(seal_as(w, w->alice, &to, items), IM2_E_SENDER);
}

/* ttl <= expiry - now + the erasure delay (11.3) */
static void nothing_outlives_its_prekey(void **state)
{
	struct world *w = *state;
	struct im2_seal_to to = to_bob(w);
	struct bytes items = signed_text(w, w->alice, w->bob, 0);

	to.ttl_s = IM2_TTL_MAX;
	assert_int_equal(seal_as(w, w->alice, &to, items), IM2_FINE);
	assert_int_equal(w->sealed.ttl_s, 2 * 86400);
	penv_pass(&w->env, 86400000);
	assert_int_equal(seal_as(w, w->alice, &to, items), IM2_FINE);
	assert_int_equal(w->sealed.ttl_s, 86400);
	assert_int_equal(open_by_bob(w), IM2_FINE);
	w->env.wall_ms = WALL_T - 3600000; /* our clock is behind: no longer for that */
	assert_int_equal(seal_as(w, w->alice, &to, items), IM2_FINE);
	assert_int_equal(w->sealed.ttl_s, 2 * 86400);
	w->env.wall_ms = 0; /* implausible */
	assert_int_equal(seal_as(w, w->alice, &to, items), IM2_FINE);
	assert_int_equal(w->sealed.ttl_s, 86400);
}

static void sizes_are_those_of_the_buckets(void **state)
{
	struct world *w = *state;
	struct im2_seal_to to = to_bob(w);
	uint8_t *big = calloc(1, IM2_BODY_MAX);
	struct message m = text_message(0);
	struct buf smsg;

	m.body = bytes_of(big, IM2_BODY_MAX);
	buf_init(&smsg, IM2_SMSG_MAX);
	assert_int_equal(im2_smsg_write(w->alice, &m, 1, keyring_ed(w->bob), &smsg), ERR_OK);
	im2_item_add(&w->items, IM2_ITEM_SMSG, buf_bytes(&smsg));
	to.introduce = true;
	assert_int_equal(seal_as(w, w->alice, &to, buf_bytes(&w->items)), IM2_FINE);
	assert_int_equal(w->body.n, IM2_ROUTED_BODY_MAX);
	assert_int_equal(open_by_bob(w), IM2_FINE);
	/* one item more than fits */
	while (w->items.n <= IM2_SEAL_PLAIN_MAX)
		im2_item_add(&w->items, IM2_ITEM_SMSG, buf_bytes(&smsg));
	to.pad = false;
	assert_int_equal(seal_as(w, w->alice, &to, buf_bytes(&w->items)), IM2_E_LIMIT);
	assert_int_equal(w->rt.n + w->body.n, 0);
	buf_fini(&smsg);
	free(big);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(sealed_to_a_prekey_as_the_vector),
		TEST(sealed_to_the_long_term_key_as_the_vector),
		TEST(a_signed_receipt_comes_back_as_the_vector),
		TEST(routed_objects_as_the_vectors),
		TEST(each_bit_of_an_object_and_its_header_counts),
		TEST(an_unknown_prekey_says_so_and_a_stream_is_policy),
		TEST(only_who_is_pinned_or_introduced_is_heard),
		TEST(a_member_cannot_speak_for_another),
		TEST(introductions_are_checked),
		TEST(a_pinned_x_takes_no_second_identity),
		TEST(only_what_may_be_sealed_is_taken),
		TEST(a_stolen_prekey_forges_no_author),
		TEST(no_prekey_means_no_message_unless_fallback_is_allowed),
		TEST(nothing_outlives_its_prekey),
		TEST(sizes_are_those_of_the_buckets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
