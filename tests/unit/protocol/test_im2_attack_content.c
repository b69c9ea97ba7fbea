#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/text.h"
#include "protocol/im2/content.h"
#include "protocol/im2/record.h"
#include "protocol/im2/seal.h"
#include "tests/lib/protocol_im2_intruder.h"

/*
 * The attacks of ironmesh-wire 12 on what outlives a connection (messages, receipts, sealed objects, records), against
 * im2. alice writes to bob; mallory is a member, a relay, or both. tests/lib/make-weakness-table reads the names.
 */

#define BUILD_MS (WALL_T - 30 * (uint64_t)IM2_DAY_MS)

struct world {
	struct penv e;
	struct keyring *alice, *bob, *mallory;
	struct im2_records *records; /* bob's */
	struct im2_prekeys *prekeys; /* bob's */
	struct buf out, body, rt, sealed, plain, items;
	struct message m;
	char id[33], type[MSG_TYPE_MAX + 1];
};

static enum err save_nowhere(void *ctx, const struct im2_prekey *keys, size_t n)
{
	return ERR_OK;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	if (!w || secret_init_library() != ERR_OK)
		return -1;
	penv_init(&w->e);
	w->alice = keyring_number(1);
	w->bob = keyring_number(2);
	w->mallory = keyring_number(3);
	struct im2_records_config r = {.env = &w->e.env, .keyring = w->bob, .build_ms = BUILD_MS};
	struct im2_prekeys_config p = {.env = &w->e.env, .keyring = w->bob, .save = save_nowhere};
	bool changed;
	if (im2_records_new(&r, &w->records) != ERR_OK || im2_prekeys_new(&p, NULL, 0, &w->prekeys) != ERR_OK ||
	    im2_prekeys_tick(w->prekeys, &changed) != ERR_OK)
		return -1;
	struct buf *all[] = {&w->out, &w->body, &w->rt, &w->sealed, &w->plain, &w->items};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		buf_init(all[i], 1 << 20);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	struct buf *all[] = {&w->out, &w->body, &w->rt, &w->sealed, &w->plain, &w->items};

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		buf_fini(all[i]);
	im2_records_free(w->records);
	im2_prekeys_free(w->prekeys);
	keyring_free(w->alice);
	keyring_free(w->bob);
	keyring_free(w->mallory);
	free(w);
	return 0;
}

static struct message text_of(struct world *w, const struct keyring *author, const char *body)
{
	struct message m = {.type = BYTES_LIT("MSG"), .created_ms = WALL_T, .priority = PRIO_NORMAL,
			    .body = bytes_str(body), .has_wire_id = true};

	memset(m.wire_id, 0xe1, sizeof m.wire_id);
	m.source = *keyring_id(author);
	m.destination = *keyring_id(w->bob);
	return m;
}

static struct bytes signed_by(struct world *w, const struct keyring *author, const struct message *m)
{
	buf_reset(&w->out);
	assert_int_equal(im2_smsg_write(author, m, 1, keyring_ed(w->bob), &w->out), ERR_OK);
	return buf_bytes(&w->out);
}

static enum im2_refusal bob_opens(struct world *w, struct bytes smsg, const struct keyring *author)
{
	struct im2_smsg_reader r;
	enum im2_refusal why = im2_smsg_open(smsg, keyring_ed(author), w->bob, &r);

	if (why == IM2_FINE && !im2_smsg_next(&r, &w->m, w->id, w->type))
		why = IM2_E_SHORT;
	return why;
}

/* --- 17: what the signature does not cover --- */

static void weakness_17_nothing_of_a_message_is_outside_its_signature(void **state)
{
	struct world *w = *state;
	struct message m = text_of(w, w->alice, "pay 10");
	struct im2_smsg_reader r;

	m.ext.kind = KIND_REQUEST;
	m.ext.flags = MSG_EXPECTS_REPLY | MSG_WANTS_READ;
	m.ext.ttl_s = 3600;
	m.ext.turn = 2;
	m.ext.max_turns = 9;
	m.ext.hop = 1;
	m.ext.has_conv = m.ext.has_reply_to = true;
	m.priority = PRIO_HIGH;
	struct bytes s = signed_by(w, w->alice, &m);
	assert_int_equal(bob_opens(w, s, w->alice), IM2_FINE);
	assert_string_equal(w->type, "REQ");
	/* Type, times, priority, flags, life, counters, names, body: every bit. */
	for (size_t bit = 0; bit < 8 * s.n; bit++) {
		w->out.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(bob_opens(w, s, w->alice), IM2_FINE);
		w->out.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	/* What alice wrote to bob is no message to mallory, and not by her. */
	assert_int_not_equal(im2_smsg_open(s, keyring_ed(w->alice), w->mallory, &r), IM2_FINE);
	assert_int_not_equal(bob_opens(w, s, w->mallory), IM2_FINE);
}

/* --- 18: control without signatures --- */

static void weakness_18_what_outlives_a_session_is_signed(void **state)
{
	static const uint16_t control[] = {IM2_ITEM_MSG, IM2_ITEM_RECEIPT, IM2_ITEM_SETTLED, IM2_ITEM_SEEN, IM2_ITEM_CLOSE,
					   IM2_ITEM_INFO, IM2_ITEM_ROUTEFB, IM2_ITEM_XOPEN, IM2_ITEM_ITEMERR};
	struct world *w = *state;
	struct im2_record rec;
	enum im2_refusal why;

	/* Nothing unsigned has a place in sealed objects, streams or groups. */
	for (size_t i = 0; i < sizeof control / sizeof *control; i++)
		assert_int_equal(im2_item_places(control[i]) & (IM2_IN_E | IM2_IN_S | IM2_IN_G), 0);
	/* A record without its signature, or with one of another, is none. */
	im2_revoke_self_write(w->alice, 1, WALL_T, 1, &w->out);
	struct bytes good = buf_bytes(&w->out);
	for (size_t i = 0; i < SIG_BYTES; i++)
		w->out.p[w->out.n - 1 - i] = 0;
	assert_int_equal(im2_records_take(w->records, good, keyring_id(w->mallory), &rec, &why), IM2_REC_REFUSED);
	assert_int_equal(why, IM2_E_SIG);
	assert_int_equal(im2_records_take(w->records, bytes_of(good.p, good.n - SIG_BYTES), keyring_id(w->mallory), &rec, &why),
			 IM2_REC_REFUSED);
	assert_int_equal(im2_records_count(w->records), 0);
}

/* --- 19: end to end --- */

static const struct keyring *pinned_alice;

static bool who(void *ctx, const uint8_t x[static 32], uint8_t ed[static ED_BYTES])
{
	if (memcmp(x, keyring_x25519(pinned_alice), X25519_BYTES) != 0)
		return false;
	memcpy(ed, keyring_ed(pinned_alice), ED_BYTES);
	return true;
}

static void seal_by(struct world *w, const struct keyring *sender, const struct keyring *author, bool to_prekey)
{
	struct message m = text_of(w, author, "through a relay, for bob alone");
	struct im2_seal_to to = {.ttl_s = 3600, .prio = 1, .allow_fallback = !to_prekey, .pad = true};
	struct im2_sealed said;

	memcpy(to.ed, keyring_ed(w->bob), ED_BYTES);
	memcpy(to.x, keyring_x25519(w->bob), X25519_BYTES);
	if (to_prekey)
		to.prekey_record = im2_prekeys_record(w->prekeys);
	buf_reset(&w->items);
	im2_item_add(&w->items, IM2_ITEM_SMSG, signed_by(w, author, &m));
	buf_reset(&w->rt);
	buf_reset(&w->sealed);
	assert_int_equal(im2_seal(&w->e.env, sender, &to, w->e.wall_ms, buf_bytes(&w->items), &w->rt, &w->sealed, &said),
			 IM2_FINE);
	assert_int_equal(said.no_fs, !to_prekey);
}

static enum im2_refusal open_by(struct world *w, const struct keyring *k, const struct im2_prekeys *p)
{
	struct im2_opened o;

	buf_reset(&w->plain);
	return im2_open_sealed(k, p, buf_bytes(&w->rt), buf_bytes(&w->sealed), who, w, &w->plain, &o);
}

static void weakness_19_relays_read_nothing_and_the_sender_is_known(void **state)
{
	struct world *w = *state;

	pinned_alice = w->alice;
	seal_by(w, w->alice, w->alice, true);
	assert_int_equal(open_by(w, w->bob, w->prekeys), IM2_FINE);
	/* No clear copy beside it, no name of the author, not for others. */
	struct bytes sealed = buf_bytes(&w->sealed), rt = buf_bytes(&w->rt);
	assert_false(stands_in(sealed, BYTES_LIT("through a relay")));
	assert_false(stands_in(rt, BYTES_LIT("through a relay")));
	assert_false(stands_in(sealed, bytes_of(keyring_ed(w->alice), 8)));
	assert_false(stands_in(sealed, bytes_of(keyring_x25519(w->alice), 8)));
	assert_int_not_equal(open_by(w, w->mallory, w->prekeys), IM2_FINE);
	/* The relay changes what it may read: life, priority, prekey. */
	for (size_t bit = 0; bit < 8 * rt.n; bit++) {
		w->rt.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(open_by(w, w->bob, w->prekeys), IM2_FINE);
		w->rt.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	/* alice's words sealed by mallory: the sender is who sealed. Her own words under alice's name do not verify. */
	seal_by(w, w->mallory, w->alice, true);
	assert_int_not_equal(open_by(w, w->bob, w->prekeys), IM2_FINE);
	seal_by(w, w->alice, w->mallory, true);
	assert_int_not_equal(open_by(w, w->bob, w->prekeys), IM2_FINE);
}

static void weakness_19_what_was_sealed_to_a_prekey_ends_with_it(void **state)
{
	struct world *w = *state;
	bool changed;

	pinned_alice = w->alice;
	seal_by(w, w->alice, w->alice, true);
	/* Three days later bob is robbed of everything: long-term keys and the prekeys that are left. */
	for (unsigned i = 0; i < 20; i++) {
		penv_pass(&w->e, 6 * 3600000);
		assert_int_equal(im2_prekeys_tick(w->prekeys, &changed), ERR_OK);
	}
	assert_int_equal(open_by(w, w->bob, w->prekeys), IM2_E_INDEX);
	/* The control: the long-term key, where it had to be used, still opens, and that is why it is marked. */
	seal_by(w, w->alice, w->alice, false);
	assert_int_equal(open_by(w, w->bob, w->prekeys), IM2_FINE);
}

/* --- 20, 27: routes and capabilities --- */

static void record_by(struct world *w, const struct keyring *signer, const struct keyring *author, uint64_t type,
		      uint64_t gen, uint64_t issued_ms)
{
	struct im2_fields f = {0};
	struct buf t, input;
	uint8_t sig[SIG_BYTES];

	buf_reset(&w->body);
	buf_reset(&w->out);
	if (type == IM2_REC_PREKEY_T) {
		im2_set_b(&f, IM2_PREKEY_ID, BYTES_LIT("\1\2\3\4"));
		im2_set_b(&f, IM2_PREKEY_X25519, bytes_of(keyring_x25519(signer), X25519_BYTES));
		im2_write(&im2_prekey, &f, &w->body);
	} else if (type == IM2_REC_CAP_T) {
		im2_set_b(&f, 0, bytes_of(NULL, 0));
		im2_write(&im2_cap, &f, &w->body);
	}
	buf_init(&t, 4096);
	buf_init(&input, 4096);
	im2_record_t_write(type, keyring_ed(author), gen, issued_ms, 86400, buf_bytes(&w->body), &t);
	im2_record_input(buf_bytes(&t), &input);
	keyring_sign(signer, SIG_V3_RECORD, buf_bytes(&input), sig);
	im2_lv_add(&w->out, buf_bytes(&t));
	buf_add_u8(&w->out, 0);
	buf_add(&w->out, BYTES_ARR(sig));
	buf_fini(&t);
	buf_fini(&input);
}

static enum im2_record_verdict bob_takes(struct world *w, enum im2_refusal *why)
{
	struct im2_record r;

	return im2_records_take(w->records, buf_bytes(&w->out), keyring_id(w->mallory), &r, why);
}

static void weakness_20_a_destination_speaks_for_itself(void **state)
{
	struct world *w = *state;
	struct im2_record r;
	enum im2_refusal why;

	/* "The best way to alice is through me": only alice can say where she is. */
	record_by(w, w->mallory, w->alice, IM2_REC_ROUTE_T, 1000, WALL_T);
	assert_int_equal(im2_record_parse(buf_bytes(&w->out), &r), IM2_FINE);
	assert_int_equal(im2_record_verify(&r), IM2_E_SIG);
	assert_int_equal(bob_takes(w, &why), IM2_REC_REFUSED);
	record_by(w, w->alice, w->alice, IM2_REC_ROUTE_T, 1000, WALL_T);
	assert_int_equal(im2_record_parse(buf_bytes(&w->out), &r), IM2_FINE);
	assert_int_equal(im2_record_verify(&r), IM2_FINE); /* the control */
	assert_int_equal(bob_takes(w, &why), IM2_REC_NEW);
	assert_int_equal(im2_records_count(w->records), 1);
}

static void weakness_27_a_forged_statement_does_not_stand_in_the_way(void **state)
{
	struct world *w = *state;
	enum im2_refusal why;

	/* Forged first, with the same generation and time: nothing of it is remembered. */
	record_by(w, w->mallory, w->alice, IM2_REC_PREKEY_T, 5, WALL_T);
	assert_int_equal(bob_takes(w, &why), IM2_REC_REFUSED);
	record_by(w, w->mallory, w->alice, IM2_REC_PREKEY_T, 6, WALL_T);
	assert_int_equal(bob_takes(w, &why), IM2_REC_REFUSED);
	assert_int_equal(why, IM2_E_SIG);
	record_by(w, w->alice, w->alice, IM2_REC_PREKEY_T, 5, WALL_T);
	assert_int_equal(bob_takes(w, &why), IM2_REC_NEW);
	/* From the future, from the past, and once more. */
	record_by(w, w->alice, w->alice, IM2_REC_PREKEY_T, 7, WALL_T + 2 * (uint64_t)IM2_DAY_MS);
	assert_int_equal(bob_takes(w, &why), IM2_REC_REFUSED);
	record_by(w, w->alice, w->alice, IM2_REC_PREKEY_T, 8, WALL_T - 3 * (uint64_t)IM2_DAY_MS);
	assert_int_equal(bob_takes(w, &why), IM2_REC_REFUSED);
	record_by(w, w->alice, w->alice, IM2_REC_PREKEY_T, 4, WALL_T);
	assert_int_equal(bob_takes(w, &why), IM2_REC_OLD);
	record_by(w, w->mallory, w->alice, IM2_REC_CAP_T, 1, WALL_T);
	assert_int_equal(bob_takes(w, &why), IM2_REC_REFUSED);
	record_by(w, w->alice, w->alice, IM2_REC_CAP_T, 1, WALL_T);
	assert_int_equal(bob_takes(w, &why), IM2_REC_NEW);
	assert_int_equal(im2_records_count(w->records), 2);
}

/* --- 21: revocation by anyone --- */

static struct bytes revocation(struct world *w, const struct keyring *by, const struct keyring *signer,
			       const struct keyring *target, const uint8_t *quorum)
{
	struct im2_fields f = {0};
	struct buf t, input;
	uint8_t sig[SIG_BYTES];

	buf_reset(&w->body);
	buf_reset(&w->out);
	im2_set_b(&f, IM2_REVOKE_TARGET, bytes_of(keyring_ed(target), ED_BYTES));
	im2_set_u(&f, IM2_REVOKE_REASON, 1);
	im2_set_u(&f, IM2_REVOKE_SCOPE, 1);
	if (quorum)
		im2_set_b(&f, IM2_REVOKE_QUORUM, bytes_of(quorum, 16));
	im2_write(&im2_revoke, &f, &w->body);
	buf_init(&t, 4096);
	buf_init(&input, 4096);
	im2_record_t_write(IM2_REC_REVOKE_T, keyring_ed(by), 1, WALL_T, 0, buf_bytes(&w->body), &t);
	im2_record_input(buf_bytes(&t), &input);
	keyring_sign(signer, SIG_V3_RECORD, buf_bytes(&input), sig);
	im2_lv_add(&w->out, buf_bytes(&t));
	buf_add_u8(&w->out, 0);
	buf_add(&w->out, BYTES_ARR(sig));
	buf_fini(&t);
	buf_fini(&input);
	return buf_bytes(&w->out);
}

static void weakness_21_nobody_revokes_another(void **state)
{
	struct world *w = *state;
	struct im2_revocation said;
	struct im2_record r;
	enum im2_refusal why;
	uint8_t quorum[16];

	/* mallory in her own name; under alice's name; and as a quorum that bob never named. */
	enum im2_record_verdict v = im2_records_take(w->records, revocation(w, w->mallory, w->mallory, w->alice, NULL),
						     keyring_id(w->mallory), &r, &why);
	if (v == IM2_REC_NEW && im2_revocation_of(w->records, &r, &said) == IM2_FINE)
		assert_false(said.self || said.by_quorum || said.quarantine);
	assert_int_equal(im2_records_take(w->records, revocation(w, w->alice, w->mallory, w->alice, NULL),
					  keyring_id(w->mallory), &r, &why), IM2_REC_REFUSED);
	assert_int_equal(why, IM2_E_SIG);
	uint8_t admins[1][ED_BYTES];
	memcpy(admins[0], keyring_ed(w->mallory), ED_BYTES);
	im2_quorum_id(1, (const uint8_t(*)[ED_BYTES])admins, 1, quorum);
	v = im2_records_take(w->records, revocation(w, w->mallory, w->mallory, w->alice, quorum),
			     keyring_id(w->mallory), &r, &why);
	if (v == IM2_REC_NEW && im2_revocation_of(w->records, &r, &said) == IM2_FINE)
		assert_false(said.self || said.by_quorum || said.quarantine);
	/* alice is still heard. */
	record_by(w, w->alice, w->alice, IM2_REC_PREKEY_T, 1, WALL_T);
	assert_int_equal(bob_takes(w, &why), IM2_REC_NEW);
	/* The control: her own word ends her. */
	assert_int_equal(im2_records_take(w->records, revocation(w, w->alice, w->alice, w->alice, NULL),
					  keyring_id(w->mallory), &r, &why), IM2_REC_NEW);
	assert_int_equal(im2_revocation_of(w->records, &r, &said), IM2_FINE);
	assert_true(said.self);
	record_by(w, w->alice, w->alice, IM2_REC_PREKEY_T, 2, WALL_T);
	assert_int_equal(bob_takes(w, &why), IM2_REC_REFUSED);
}

/* --- 22: rotation without continuity --- */

static enum im2_refusal rotation_by(struct world *w, const struct keyring *old, const struct keyring *next,
				    const struct keyring *old_signs, const struct keyring *next_signs, struct im2_rotation *out)
{
	struct im2_signature s[2];
	struct im2_fields f = {0};
	struct im2_record r;
	struct buf t, input;

	buf_reset(&w->body);
	buf_reset(&w->out);
	im2_set_b(&f, IM2_ROTATE_ED, bytes_of(keyring_ed(next), ED_BYTES));
	im2_set_b(&f, IM2_ROTATE_X25519, bytes_of(keyring_x25519(next), X25519_BYTES));
	im2_set_b(&f, IM2_ROTATE_BINDING, bytes_of(keyring_binding(next), SIG_BYTES));
	im2_write(&im2_rotate, &f, &w->body);
	buf_init(&t, 4096);
	buf_init(&input, 4096);
	im2_record_t_write(IM2_REC_ROTATE_T, keyring_ed(old), 1, WALL_T, 0, buf_bytes(&w->body), &t);
	im2_record_input(buf_bytes(&t), &input);
	memcpy(s[0].ed, keyring_ed(old), ED_BYTES);
	memcpy(s[1].ed, keyring_ed(next), ED_BYTES);
	keyring_sign(old_signs, SIG_V3_RECORD, buf_bytes(&input), s[0].sig);
	keyring_sign(next_signs, SIG_V3_RECORD, buf_bytes(&input), s[1].sig);
	im2_record_join(buf_bytes(&t), s, 2, &w->out);
	buf_fini(&t);
	buf_fini(&input);
	enum im2_refusal why = im2_record_parse(buf_bytes(&w->out), &r);
	if (why == IM2_FINE)
		why = im2_record_verify(&r);
	return why == IM2_FINE ? im2_rotation_of(&r, out) : why;
}

static void weakness_22_both_keys_say_so(void **state)
{
	struct world *w = *state;
	struct keyring *next = keyring_number(9);
	struct im2_rotation out;
	struct im2_record r;

	assert_int_equal(rotation_by(w, w->alice, next, w->alice, next, &out), IM2_FINE);
	assert_memory_equal(out.old_ed, keyring_ed(w->alice), ED_BYTES);
	/* mallory says that alice is now she; alice says that she is now bob. */
	assert_int_not_equal(rotation_by(w, w->alice, w->mallory, w->mallory, w->mallory, &out), IM2_FINE);
	assert_int_not_equal(rotation_by(w, w->alice, w->bob, w->alice, w->alice, &out), IM2_FINE);
	/* One signature is not two. */
	buf_reset(&w->out);
	im2_record_write(w->alice, IM2_REC_ROTATE_T, 1, WALL_T, 0, buf_bytes(&w->body), &w->out);
	if (im2_record_parse(buf_bytes(&w->out), &r) == IM2_FINE && im2_record_verify(&r) == IM2_FINE)
		assert_int_not_equal(im2_rotation_of(&r, &out), IM2_FINE);
	keyring_free(next);
}

/* --- 23: confirmations --- */

static void weakness_23_only_the_recipient_confirms(void **state)
{
	struct world *w = *state;
	struct receipt r = {.kind = RECEIPT_DELIVERED, .id = BYTES_LIT("000102030405060708090a0b0c0d0e0f")};
	struct im2_receipt_reader reader;
	enum receipt_kind kind;
	struct bytes inner, reason;
	char id[33];

	assert_int_equal(im2_receipt_write(&r, 1, 0, 4096, &w->body), 1);
	im2_sreceipt_write(w->bob, keyring_ed(w->alice), buf_bytes(&w->body), &w->out);
	struct bytes s = buf_bytes(&w->out);
	assert_int_equal(im2_sreceipt_open(s, keyring_ed(w->bob), w->alice, &inner), IM2_FINE);
	assert_int_equal(im2_receipt_open(inner, &reader), IM2_FINE);
	assert_true(im2_receipt_next(&reader, &kind, id, &reason));
	assert_int_equal(kind, RECEIPT_DELIVERED);
	/* Every bit; to another author; by the relay in bob's name. */
	for (size_t bit = 0; bit < 8 * s.n; bit++) {
		w->out.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(im2_sreceipt_open(s, keyring_ed(w->bob), w->alice, &inner), IM2_FINE);
		w->out.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_not_equal(im2_sreceipt_open(s, keyring_ed(w->bob), w->mallory, &inner), IM2_FINE);
	buf_reset(&w->out);
	im2_sreceipt_write(w->mallory, keyring_ed(w->alice), buf_bytes(&w->body), &w->out);
	assert_int_not_equal(im2_sreceipt_open(buf_bytes(&w->out), keyring_ed(w->bob), w->alice, &inner), IM2_FINE);
}

/* --- 26: the memory of duplicates, at relays --- */

static void weakness_26_a_name_for_an_object_is_its_content(void **state)
{
	struct world *w = *state;
	uint8_t good[16], other[16];

	/* The same message id in another object, or one bit of it changed: another name, so nothing is suppressed. */
	pinned_alice = w->alice;
	seal_by(w, w->alice, w->alice, true);
	im2_rid(buf_bytes(&w->rt), buf_bytes(&w->sealed), good);
	w->sealed.p[7] ^= 1;
	im2_rid(buf_bytes(&w->rt), buf_bytes(&w->sealed), other);
	w->sealed.p[7] ^= 1;
	assert_memory_not_equal(good, other, 16);
	w->rt.p[w->rt.n - 1] ^= 1;
	im2_rid(buf_bytes(&w->rt), buf_bytes(&w->sealed), other);
	assert_memory_not_equal(good, other, 16);
	/* Nor by moving the border between header and body. */
	im2_rid(bytes_of(w->sealed.p, 4), bytes_of(w->sealed.p + 4, 8), good);
	im2_rid(bytes_of(w->sealed.p, 5), bytes_of(w->sealed.p + 5, 7), other);
	assert_memory_not_equal(good, other, 16);
	seal_by(w, w->mallory, w->mallory, true);
	im2_rid(buf_bytes(&w->rt), buf_bytes(&w->sealed), other);
	assert_memory_not_equal(good, other, 16);
}

/* --- 36: encoding --- */

static void weakness_36_there_is_one_encoding(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		enum im2_refusal why;
	} second[] = {
#define ROW(b, w) {b, sizeof(b) - 1, w}
		ROW("\x12\x02\x80\x00\x13\x01\x01", IM2_E_NONCANON),        /* a number with a byte too many */
		ROW("\x12\x01\x01", IM2_E_NONCANON),                        /* a default, written out */
		ROW("\x14\x01\x01\x14\x01\x01", IM2_E_ORDER),               /* a key twice */
		ROW("\x14\x01\x01\x12\x01\x02", IM2_E_ORDER),               /* in another order */
		ROW("\x92\x00\x01\x02", IM2_E_NONCANON),                    /* a long tag */
		ROW("\x12\x81\x00\x02", IM2_E_NONCANON),                    /* a long length */
		ROW("\x21\x00", IM2_E_NONCANON),                            /* an empty body, written out */
		ROW("\x01\x02\x41\x42", IM2_E_LENGTH),                      /* an id cut short, as lenient base64 gives */
#undef ROW
	};
	struct world *w = *state;
	struct im2_fields f;
	struct message m = text_of(w, w->alice, "\xc3\xa9t\xc3\xa9"), got;
	struct buf b, again;
	char id[33], type[MSG_TYPE_MAX + 1];

	/* Numbers, times and text need no second look: what is read is written as the same bytes, non-ASCII too. */
	buf_init(&b, 4096);
	buf_init(&again, 4096);
	assert_int_equal(im2_message_write(&m, &b), ERR_OK);
	assert_int_equal(im2_message_read(buf_bytes(&b), keyring_id(w->alice), keyring_id(w->bob), &got, id, type), IM2_FINE);
	assert_int_equal(im2_reencode(&im2_msg, buf_bytes(&b), &again), IM2_FINE);
	assert_true(bytes_eq(buf_bytes(&b), buf_bytes(&again)));
	for (size_t i = 0; i < sizeof second / sizeof *second; i++) {
		enum im2_refusal why = im2_parse(&im2_msg, bytes_of(second[i].bytes, second[i].n), &f);

		assert_string_equal(im2_refusal_word(why), im2_refusal_word(second[i].why));
	}
	/* And the same on top of a whole message: one byte more, one field again. */
	size_t n = b.n;
	for (size_t i = 0; i < sizeof second / sizeof *second; i++) {
		b.n = n;
		buf_add(&b, bytes_of(second[i].bytes, second[i].n));
		assert_int_not_equal(im2_parse(&im2_msg, buf_bytes(&b), &f), IM2_FINE);
	}
	buf_fini(&b);
	buf_fini(&again);
}

/* --- 40: signatures without a context --- */

static void weakness_40_a_signature_says_what_it_is_for(void **state)
{
	static const uint8_t any[80] = "\x01\x02 bytes that somebody else chose, as long as he likes, and his whole way";
	struct world *w = *state;
	uint8_t sig[SIG_CONTEXTS][SIG_BYTES];
	struct buf in[SIG_CONTEXTS];

	for (unsigned c = 0; c < SIG_CONTEXTS; c++) {
		buf_init(&in[c], 256);
		buf_add(&in[c], sig_prefix((enum sig_context)c));
		if (c == SIG_BARE_HELLO)
			buf_add_u8(&in[c], '{');
		if (c == SIG_BARE_REVOCATION)
			buf_add_str(&in[c], "28fff9342c7030d3d899cc9e7bc11878139e3940e64b5491722088d9a0d741621753500000");
		else
			buf_add(&in[c], BYTES_ARR(any));
		keyring_sign(w->alice, (enum sig_context)c, buf_bytes(&in[c]), sig[c]);
		assert_true(sig_verify((enum sig_context)c, keyring_ed(w->alice), buf_bytes(&in[c]), sig[c]));
	}
	/* Every signature under every other context over the same bytes: none fits, no prefix begins another. */
	for (unsigned c = 0; c < SIG_CONTEXTS; c++) {
		for (unsigned d = 0; d < SIG_CONTEXTS; d++) {
			struct bytes p = sig_prefix((enum sig_context)c), q = sig_prefix((enum sig_context)d);

			if (c == d)
				continue;
			assert_false(sig_verify((enum sig_context)d, keyring_ed(w->alice), buf_bytes(&in[d]), sig[c]));
			if (p.n && q.n)
				assert_false(p.n <= q.n && memcmp(p.p, q.p, p.n) == 0);
		}
	}
	/* And no bare form of the old wire lends itself to one of im2: it refuses bytes that begin like a context. */
	for (unsigned c = SIG_V3_MESSAGE; c <= SIG_V3_STREAM_ACCEPT; c++) {
		assert_true(sig_has_context(buf_bytes(&in[c])));
		assert_false(sig_verify(SIG_BARE_OUTER, keyring_ed(w->alice), buf_bytes(&in[c]), sig[c]));
		assert_false(sig_verify(SIG_BARE_HELLO, keyring_ed(w->alice), buf_bytes(&in[c]), sig[c]));
	}
	for (unsigned c = 0; c < SIG_CONTEXTS; c++)
		buf_fini(&in[c]);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(weakness_17_nothing_of_a_message_is_outside_its_signature),
		T(weakness_18_what_outlives_a_session_is_signed),
		T(weakness_19_relays_read_nothing_and_the_sender_is_known),
		T(weakness_19_what_was_sealed_to_a_prekey_ends_with_it),
		T(weakness_20_a_destination_speaks_for_itself),
		T(weakness_21_nobody_revokes_another),
		T(weakness_22_both_keys_say_so),
		T(weakness_23_only_the_recipient_confirms),
		T(weakness_26_a_name_for_an_object_is_its_content),
		T(weakness_27_a_forged_statement_does_not_stand_in_the_way),
		T(weakness_36_there_is_one_encoding),
		T(weakness_40_a_signature_says_what_it_is_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
