#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/hash.h"
#include "protocol/im2/cpace.h"
#include "protocol/im2/handshake_internal.h"
#include "tests/lib/protocol_env.h"
#include "tests/lib/protocol_vectors.h"

static struct vectors v;
static struct keyring *alice, *bob, *carol;

static int load(void **state)
{
	if (secret_init_library() != ERR_OK)
		return -1;
	vectors_load(&v, "tests/vectors/im2_handshake.txt");
	alice = vector_keyring(&v, "alice");
	bob = vector_keyring(&v, "bob");
	carol = vector_keyring(&v, "carol");
	return 0;
}

static int unload(void **state)
{
	keyring_free(alice);
	keyring_free(bob);
	keyring_free(carol);
	vectors_free(&v);
	return 0;
}

static void assert_bytes(struct bytes is, struct bytes should)
{
	assert_int_equal(is.n, should.n);
	if (is.n)
		assert_memory_equal(is.p, should.p, is.n);
}

static void assert_vector(const void *is, size_t n, const char *part, const char *name)
{
	assert_bytes(bytes_of(is, n), vector(&v, part, name));
}

/* --- one handshake of the vectors --- */

struct shake {
	const char *part;
	uint8_t mode;
	struct im2_binding b;
	struct bytes prs;
	struct keyring *dialler, *listener;
	struct im2_hello from_dialler, from_listener; /* as their payloads say */
	struct penv de, le;
	uint8_t d_script[16 + 64 + 32], l_script[64 + 32];
	struct im2_xx d, l;
	struct buf x1, x2, x3, x4;
	struct im2_hello heard_d, heard_l; /* by the dialler, by the listener */
	struct im2_secrets sd, sl;
};

static struct im2_binding binding_of(const char *part)
{
	struct im2_binding b = {.transport = IM2_RNS_LINK};
	const char *with_s1 = strncmp(part, "ik_", 3) == 0 ? "xx_websocket" : part;

	if (!vector_known(&v, part, "chan_text")) {
		b.chan = vector(&v, part, "chan");
		return b;
	}
	b.transport = IM2_WEBSOCKET;
	b.chan = vector(&v, part, "chan_text");
	memcpy(b.h1, vector(&v, with_s1, "H1").p, 32);
	memcpy(b.nonce_s, vector(&v, with_s1, "sid").p, 32);
	return b;
}

static void shake_init(struct shake *s, const char *part, uint8_t mode)
{
	bool cpace = mode != IM2_MODE_SAS;
	uint8_t *d = s->d_script, *l = s->l_script;

	memset(s, 0, sizeof *s);
	s->part = part;
	s->mode = mode;
	s->b = binding_of(part);
	s->dialler = alice;
	s->listener = bob;
	if (cpace)
		s->prs = vector(&v, part, "PRS");
	/* What chance gives, in the order in which it is asked: nonce, scalar (reduced already, so that
	 * the reduction leaves it), ephemeral. */
	memcpy(d, vector(&v, part, "nonce_c").p, 16);
	d += 16;
	if (cpace) {
		memcpy(d, vector(&v, part, "a").p, 32);
		d += 64;
		memcpy(l, vector(&v, part, "b").p, 32);
		l += 64;
	}
	memcpy(d, vector(&v, part, "e_client").p, 32);
	memcpy(l, vector(&v, part, "e_server").p, 32);
	penv_init(&s->de);
	penv_init(&s->le);
	s->de.script = s->d_script;
	s->de.script_left = (size_t)(d + 32 - s->d_script);
	s->le.script = s->l_script;
	s->le.script_left = (size_t)(l + 32 - s->l_script);
	assert_int_equal(im2_hello_read(vector(&v, part, "payload_client"), IM2_UNIT_X3, mode,
					s->b.transport, &s->from_dialler),
			 IM2_FINE);
	assert_int_equal(im2_hello_read(vector(&v, part, "payload_server"), IM2_UNIT_X4, mode,
					s->b.transport, &s->from_listener),
			 IM2_FINE);
	buf_init(&s->x1, IM2_SHAKE_UNIT_MAX + 1);
	buf_init(&s->x2, IM2_SHAKE_UNIT_MAX + 1);
	buf_init(&s->x3, IM2_SHAKE_UNIT_MAX + 1);
	buf_init(&s->x4, IM2_SHAKE_UNIT_MAX + 1);
}

static void shake_fini(struct shake *s)
{
	im2_xx_wipe(&s->d);
	im2_xx_wipe(&s->l);
	buf_fini(&s->x1);
	buf_fini(&s->x2);
	buf_fini(&s->x3);
	buf_fini(&s->x4);
}

static enum im2_refusal dial(struct shake *s)
{
	return im2_xx_dial(&s->d, &s->de.env, s->dialler, s->mode, 0, s->prs, &s->b, &s->x1);
}

static enum im2_refusal listen_with(struct shake *s, struct bytes prs, const struct im2_binding *b)
{
	return im2_xx_listen(&s->l, &s->le.env, s->listener, prs, b, buf_bytes(&s->x1), &s->x2);
}

static enum im2_refusal take_x2(struct shake *s)
{
	return im2_xx_take_x2(&s->d, buf_bytes(&s->x2), &s->from_dialler, &s->x3);
}

static enum im2_refusal take_x3(struct shake *s)
{
	return im2_xx_take_x3(&s->l, buf_bytes(&s->x3), &s->heard_l);
}

static enum im2_refusal x4(struct shake *s)
{
	return im2_xx_x4(&s->l, &s->from_listener, &s->x4, &s->sl);
}

static enum im2_refusal take_x4(struct shake *s)
{
	return im2_xx_take_x4(&s->d, buf_bytes(&s->x4), &s->heard_d, &s->sd);
}

/* Up to where unit number `n` (1 to 4) exists and was not yet heard. */
static void shake_play(struct shake *s, int n)
{
	assert_int_equal(dial(s), IM2_FINE);
	if (n > 1)
		assert_int_equal(listen_with(s, s->prs, &s->b), IM2_FINE);
	if (n > 2)
		assert_int_equal(take_x2(s), IM2_FINE);
	if (n > 3) {
		assert_int_equal(take_x3(s), IM2_FINE);
		assert_int_equal(x4(s), IM2_FINE);
	}
}

static void assert_secrets(const struct im2_secrets *i, const struct im2_secrets *r, const char *part)
{
	uint8_t psk[32], out[32];
	struct im2_secrets again;
	struct psk named;

	assert_vector(i->tx, 32, part, "session.key_initiator_to_responder");
	assert_vector(i->rx, 32, part, "session.key_responder_to_initiator");
	assert_memory_equal(i->tx, r->rx, 32);
	assert_memory_equal(i->rx, r->tx, 32);
	assert_vector(i->exporter, 32, part, "session.exporter_secret");
	assert_vector(r->exporter, 32, part, "session.exporter_secret");
	assert_vector(i->session_id, 16, part, "session.session_id");
	assert_memory_equal(i->session_id, r->session_id, 16);
	im2_pair_psk(i->exporter, psk);
	assert_vector(psk, 32, part, "session.pair_psk");
	psk_of(psk, &named);
	assert_vector(named.id, 4, part, "session.pair_psk_id");
	im2_export(i->exporter, BYTES_LIT("test"), BYTES_LIT("ctx"), out, sizeof out);
	assert_vector(out, 32, part, "session.export_test_32");
	im2_secrets_of(&again, true, i->tx, i->rx, vector(&v, part, "session.ck").p,
		       vector(&v, part, "session.h").p);
	assert_memory_equal(&again, i, sizeof again);
}

static void first_contact_matches(const char *part, uint8_t mode)
{
	uint8_t g[32], y[32], isk[64], psk[32], hash[32];
	struct bytes sid = vector(&v, part, "sid"), yb = bytes_of(NULL, 0);
	struct shake s;
	struct buf b;

	buf_init(&b, 4096);
	shake_init(&s, part, mode);
	shake_play(&s, 4);
	assert_int_equal(take_x4(&s), IM2_FINE);
	assert_bytes(buf_bytes(&s.x1), vector(&v, part, "X1"));
	assert_bytes(buf_bytes(&s.x2), vector(&v, part, "X2"));
	assert_bytes(buf_bytes(&s.x3), vector(&v, part, "X3"));
	assert_bytes(buf_bytes(&s.x4), vector(&v, part, "X4"));
	assert_int_equal(s.de.script_left + s.le.script_left, 0);

	/* The values on the way. */
	im2_ctx(&b, mode, s.b.transport, s.b.chan, s.b.cb);
	assert_bytes(buf_bytes(&b), vector(&v, part, "ci"));
	assert_vector(s.b.h1, 32, part, "H1");
	if (mode != IM2_MODE_SAS) {
		struct bytes ci = vector(&v, part, "ci");

		yb = vector(&v, part, "Yb");
		buf_reset(&b);
		cpace_generator_string(s.prs, ci, sid, &b);
		assert_bytes(buf_bytes(&b), vector(&v, part, "generator_string"));
		cpace_generator(s.prs, ci, sid, g);
		assert_vector(g, 32, part, "generator");
		assert_int_equal(cpace_share(vector(&v, part, "a").p, g, y), ERR_OK);
		assert_vector(y, 32, part, "Ya");
		assert_int_equal(cpace_share(vector(&v, part, "b").p, g, y), ERR_OK);
		assert_vector(y, 32, part, "Yb");
		assert_int_equal(cpace_share(vector(&v, part, "a").p, y, y), ERR_OK);
		assert_vector(y, 32, part, "K");
		assert_int_equal(cpace_finish(vector(&v, part, "a").p, yb.p, sid,
					      vector(&v, part, "Ya"), vector(&v, part, "ADa"), yb,
					      vector(&v, part, "ADb"), isk),
				 ERR_OK);
		assert_vector(isk, 64, part, "ISK");
		im2_xx_psk(isk, sid, psk);
		assert_vector(psk, 32, part, "psk");
	}
	buf_reset(&b);
	im2_ctx(&b, mode, s.b.transport, s.b.chan, s.b.cb);
	buf_add(&b, BYTES_ARR(s.b.h1));
	sha256(buf_bytes(&s.x1), hash);
	buf_add(&b, BYTES_ARR(hash));
	im2_lv_add(&b, yb);
	assert_bytes(buf_bytes(&b), vector(&v, part, "prologue"));
	buf_reset(&b);
	im2_hello_write(&b, IM2_UNIT_X3, mode, alice, &s.from_dialler);
	assert_bytes(buf_bytes(&b), vector(&v, part, "payload_client"));
	buf_reset(&b);
	im2_hello_write(&b, IM2_UNIT_X4, mode, bob, &s.from_listener);
	assert_bytes(buf_bytes(&b), vector(&v, part, "payload_server"));

	/* Each knows the other. */
	assert_memory_equal(s.heard_l.ed, keyring_ed(alice), 32);
	assert_memory_equal(s.heard_d.ed, keyring_ed(bob), 32);
	assert_memory_equal(s.l.peer_x, keyring_x25519(alice), 32);
	assert_memory_equal(s.d.peer_x, keyring_x25519(bob), 32);
	assert_memory_equal(&s.heard_l, &s.from_dialler, sizeof s.heard_l);
	/* The listener is the Noise initiator. */
	assert_secrets(&s.sl, &s.sd, part);
	buf_fini(&b);
	shake_fini(&s);
}

static void first_contact_over_websocket(void **state)
{
	first_contact_matches("xx_websocket", IM2_MODE_MESH);
	/* H1 is over the exact bytes of S1. */
	uint8_t h1[32];
	sha256(vector(&v, "xx_websocket", "S1_text"), h1);
	assert_vector(h1, 32, "xx_websocket", "H1");
	sha256(vector(&v, "pair_code", "S1"), h1);
	assert_vector(h1, 32, "pair_code", "H1");
}

static void first_contact_on_a_link(void **state)
{
	first_contact_matches("xx_rns_link", IM2_MODE_MESH);
}

static void first_contact_with_a_code(void **state)
{
	struct bytes digits = vector(&v, "pair_code", "digits_text");
	struct buf b;

	first_contact_matches("pair_code", IM2_MODE_CODE);
	buf_init(&b, 64);
	assert_int_equal(digits.n, 8);
	im2_code_prs((const char *)digits.p, &b);
	assert_bytes(buf_bytes(&b), vector(&v, "pair_code", "PRS"));
	buf_fini(&b);
}

static void first_contact_to_be_compared(void **state)
{
	first_contact_matches("pair_sas", IM2_MODE_SAS);
}

static void mesh_key_matches_the_vector(void **state)
{
	struct bytes name = vector(&v, "mesh_key", "mesh_name_text");
	uint8_t salt[16];
	struct secret key;

	im2_mesh_salt(name, salt);
	assert_vector(salt, 16, "mesh_key", "salt");
	assert_int_equal(im2_mesh_key(vector(&v, "mesh_key", "passphrase_text"), name, &key), ERR_OK);
	assert_bytes(secret_bytes(&key), vector(&v, "mesh_key", "mesh_key"));
	secret_free(&key);
}

/* --- known peer --- */

struct known {
	const char *part;
	struct im2_binding b;
	uint8_t dir;
	struct keyring *ki, *kr;
	const uint8_t *pair_psk;
	struct bytes epoch_key;
	struct im2_hello mine_i, mine_r, heard_i, heard_r;
	struct penv ei, er;
	struct im2_ik i, r;
	uint8_t seen_x[32];
	struct buf i1, i2;
	struct im2_secrets si, sr;
};

static void known_init(struct known *k, const char *part)
{
	struct bytes psk = vector(&v, part, "pair_psk");

	memset(k, 0, sizeof *k);
	k->part = part;
	k->b = binding_of(part);
	k->ki = alice;
	k->kr = bob;
	if (!is_zero(psk.p, psk.n))
		k->pair_psk = psk.p;
	if (vector_known(&v, part, "epoch_key")) {
		k->epoch_key = vector(&v, part, "epoch_key");
		k->dir = 1;
		k->ki = bob;
		k->kr = alice;
	}
	assert_int_equal(im2_hello_read(vector(&v, part, "payload_initiator"), IM2_UNIT_I1,
					IM2_MODE_IK, k->b.transport, &k->mine_i),
			 IM2_FINE);
	assert_int_equal(im2_hello_read(vector(&v, part, "payload_responder"), IM2_UNIT_I2,
					IM2_MODE_IK, k->b.transport, &k->mine_r),
			 IM2_FINE);
	penv_init(&k->ei);
	penv_init(&k->er);
	k->ei.script = vector(&v, part, "e_initiator").p;
	k->er.script = vector(&v, part, "e_responder").p;
	k->ei.script_left = k->er.script_left = 32;
	buf_init(&k->i1, IM2_SHAKE_UNIT_MAX + 1);
	buf_init(&k->i2, IM2_SHAKE_UNIT_MAX + 1);
}

static void known_fini(struct known *k)
{
	im2_ik_wipe(&k->i);
	im2_ik_wipe(&k->r);
	buf_fini(&k->i1);
	buf_fini(&k->i2);
}

static enum im2_refusal start_to(struct known *k, const struct keyring *to)
{
	return im2_ik_start(&k->i, &k->ei.env, k->ki, &k->b, k->dir, keyring_ed(to),
			    keyring_x25519(k->kr), k->pair_psk, k->epoch_key, &k->mine_i, &k->i1);
}

static enum im2_refusal hear_i1(struct known *k, struct bytes i1)
{
	enum im2_refusal why =
		im2_ik_peek(&k->r, &k->er.env, k->kr, &k->b, k->dir, i1, k->seen_x);

	return why == IM2_FINE ? im2_ik_payload(&k->r, &k->heard_r) : why;
}

static enum im2_refusal answer_to(struct known *k, const struct keyring *who, const uint8_t *pair_psk,
				  struct bytes epoch_key)
{
	return im2_ik_answer(&k->r, keyring_ed(who), pair_psk, epoch_key, &k->mine_r, &k->i2, &k->sr);
}

static enum im2_refusal finish(struct known *k)
{
	return im2_ik_finish(&k->i, buf_bytes(&k->i2), &k->heard_i, &k->si);
}

static void known_play(struct known *k)
{
	assert_int_equal(start_to(k, k->kr), IM2_FINE);
	assert_int_equal(hear_i1(k, buf_bytes(&k->i1)), IM2_FINE);
	assert_int_equal(answer_to(k, k->ki, k->pair_psk, k->epoch_key), IM2_FINE);
}

static void known_matches(const char *part, bool session)
{
	uint8_t psk[32], index[4];
	struct known k;
	struct buf b;

	known_init(&k, part);
	known_play(&k);
	assert_bytes(buf_bytes(&k.i1), vector(&v, part, "I1"));
	assert_bytes(buf_bytes(&k.i2), vector(&v, part, "I2"));
	assert_memory_equal(k.seen_x, keyring_x25519(k.ki), 32);
	assert_int_equal(im2_i2_index(buf_bytes(&k.i2), index), IM2_FINE);
	assert_memory_equal(index, k.mine_i.rx, 4);
	assert_int_equal(finish(&k), IM2_FINE);
	assert_memory_equal(&k.heard_r, &k.mine_i, sizeof k.heard_r);
	assert_memory_equal(&k.heard_i, &k.mine_r, sizeof k.heard_i);

	im2_ik_psk(k.pair_psk, keyring_ed(k.ki), keyring_ed(k.kr), k.epoch_key, psk);
	assert_vector(psk, 32, part, "psk");
	buf_init(&b, 4096);
	im2_ctx(&b, IM2_MODE_IK, k.b.transport, k.b.chan, k.b.cb);
	buf_add(&b, BYTES_ARR(k.b.h1));
	buf_add_u8(&b, k.dir);
	assert_bytes(buf_bytes(&b), vector(&v, part, "prologue"));
	buf_reset(&b);
	im2_hello_write(&b, IM2_UNIT_I1, IM2_MODE_IK, k.ki, &k.mine_i);
	assert_bytes(buf_bytes(&b), vector(&v, part, "payload_initiator"));
	buf_reset(&b);
	im2_hello_write(&b, IM2_UNIT_I2, IM2_MODE_IK, k.kr, &k.mine_r);
	assert_bytes(buf_bytes(&b), vector(&v, part, "payload_responder"));
	buf_fini(&b);
	if (session)
		assert_secrets(&k.si, &k.sr, part);
	assert_memory_equal(k.si.tx, k.sr.rx, 32);
	assert_memory_equal(k.si.rx, k.sr.tx, 32);
	known_fini(&k);
}

static void known_peer_matches_the_vectors(void **state)
{
	known_matches("ik_rns_link", true);
	known_matches("ik_websocket_no_pair_psk", true);
	known_matches("ik_rekey_by_listener_with_epoch_key", false);
}

/* --- every changed unit --- */

/* Calls `hear` with each shorter unit, one byte more, and each bit flipped. */
static void each_change(struct bytes unit, void (*hear)(void *ctx, struct bytes changed), void *ctx)
{
	for (size_t n = 0; n <= unit.n + 1; n++) {
		uint8_t *p = malloc(n ? n : 1); /* exact, for the address sanitizer */

		if (n == unit.n) {
			free(p);
			continue;
		}
		memcpy(p, unit.p, n < unit.n ? n : unit.n);
		if (n > unit.n)
			p[unit.n] = 0;
		hear(ctx, bytes_of(p, n));
		free(p);
	}
	for (size_t bit = 0; bit < 8 * unit.n; bit++) {
		uint8_t p[512];

		assert_true(unit.n <= sizeof p);
		memcpy(p, unit.p, unit.n);
		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		hear(ctx, bytes_of(p, unit.n));
	}
}

/* X1 is not authenticated when it comes: what the listener makes of a changed one, the dialler refuses. */
static void changed_x1(void *ctx, struct bytes changed)
{
	struct shake *s = ctx;
	struct buf x2;

	buf_init(&x2, IM2_SHAKE_UNIT_MAX);
	s->le.script_left = 0;
	enum im2_refusal why =
		im2_xx_listen(&s->l, &s->le.env, bob, s->prs, &s->b, changed, &x2);
	if (why == IM2_FINE) {
		why = im2_xx_take_x2(&s->d, buf_bytes(&x2), &s->from_dialler, &s->x3);
		assert_true(why == IM2_E_AEAD);
	} else {
		assert_int_equal(x2.n, 0);
		assert_true(is_zero(&s->l, sizeof s->l));
	}
	assert_int_equal(s->x3.n, 0);
	im2_xx_wipe(&s->l);
	buf_fini(&x2);
}

static void changed_x2(void *ctx, struct bytes changed)
{
	struct shake *s = ctx;

	assert_int_not_equal(im2_xx_take_x2(&s->d, changed, &s->from_dialler, &s->x3), IM2_FINE);
	assert_int_equal(s->x3.n, 0);
}

static void changed_x3(void *ctx, struct bytes changed)
{
	struct shake *s = ctx;

	assert_int_not_equal(im2_xx_take_x3(&s->l, changed, &s->heard_l), IM2_FINE);
}

static void changed_x4(void *ctx, struct bytes changed)
{
	struct shake *s = ctx;

	assert_int_not_equal(im2_xx_take_x4(&s->d, changed, &s->heard_d, &s->sd), IM2_FINE);
}

/* On a link nothing of that has an effect: the true unit still opens afterwards (5.8). */
static void every_changed_unit_on_a_link_is_dropped(void **state)
{
	static const struct im2_hello nobody;
	struct shake s;

	shake_init(&s, "xx_rns_link", IM2_MODE_MESH);
	shake_play(&s, 1);
	each_change(buf_bytes(&s.x1), changed_x1, &s);
	assert_int_equal(listen_with(&s, s.prs, &s.b), IM2_FINE);
	each_change(buf_bytes(&s.x2), changed_x2, &s);
	assert_int_equal(take_x2(&s), IM2_FINE);
	each_change(buf_bytes(&s.x3), changed_x3, &s);
	assert_memory_equal(&s.heard_l, &nobody, sizeof nobody);
	assert_int_equal(take_x3(&s), IM2_FINE);
	assert_int_equal(x4(&s), IM2_FINE);
	each_change(buf_bytes(&s.x4), changed_x4, &s);
	assert_memory_equal(&s.heard_d, &nobody, sizeof nobody);
	assert_int_equal(take_x4(&s), IM2_FINE);
	assert_memory_equal(s.sd.tx, s.sl.rx, 32);
	shake_fini(&s);
}

/* On WebSocket the same is the end of the handshake, and nothing of it is left. */
static void a_changed_unit_over_websocket_ends_the_handshake(void **state)
{
	for (int n = 2; n <= 4; n++) {
		size_t length = 0;

		for (size_t at = 0; at == 0 || at < length; at += 5) {
			struct shake s;

			shake_init(&s, "xx_websocket", IM2_MODE_MESH);
			shake_play(&s, n);
			struct buf *unit = n == 2 ? &s.x2 : n == 3 ? &s.x3 : &s.x4;
			length = unit->n;
			unit->p[at] ^= (uint8_t)(1u << at % 8);
			enum im2_refusal why = n == 2 ? take_x2(&s) : n == 3 ? take_x3(&s) : take_x4(&s);
			assert_int_not_equal(why, IM2_FINE);
			const struct im2_xx *x = n == 3 ? &s.l : &s.d;
			assert_true(is_zero(x, sizeof *x));
			unit->p[at] ^= (uint8_t)(1u << at % 8);
			why = n == 2 ? take_x2(&s) : n == 3 ? take_x3(&s) : take_x4(&s);
			assert_int_equal(why, IM2_E_CONTEXT);
			shake_fini(&s);
		}
	}
}

static void changed_i1(void *ctx, struct bytes changed)
{
	struct known *k = ctx;

	k->er.script_left = 0;
	assert_int_not_equal(hear_i1(k, changed), IM2_FINE);
	assert_true(is_zero(&k->r, sizeof k->r));
}

static void changed_i2(void *ctx, struct bytes changed)
{
	struct known *k = ctx;
	enum im2_refusal why = im2_ik_finish(&k->i, changed, &k->heard_i, &k->si);

	assert_int_not_equal(why, IM2_FINE);
	if (changed.n == k->i2.n && memcmp(changed.p + 1, k->i2.p + 1, 4) != 0)
		assert_int_equal(why, IM2_E_INDEX);
}

static void every_changed_unit_of_a_known_peer_is_refused(void **state)
{
	static const struct im2_hello nobody;
	struct known k;

	known_init(&k, "ik_rns_link");
	assert_int_equal(start_to(&k, bob), IM2_FINE);
	each_change(buf_bytes(&k.i1), changed_i1, &k);
	assert_memory_equal(&k.heard_r, &nobody, sizeof nobody);
	assert_int_equal(hear_i1(&k, buf_bytes(&k.i1)), IM2_FINE);
	assert_int_equal(answer_to(&k, alice, k.pair_psk, k.epoch_key), IM2_FINE);
	each_change(buf_bytes(&k.i2), changed_i2, &k);
	assert_memory_equal(&k.heard_i, &nobody, sizeof nobody);
	assert_int_equal(finish(&k), IM2_FINE);
	assert_memory_equal(k.si.tx, k.sr.rx, 32);
	known_fini(&k);

	known_init(&k, "ik_websocket_no_pair_psk");
	known_play(&k);
	k.i2.p[k.i2.n - 1] ^= 1;
	assert_int_equal(finish(&k), IM2_E_AEAD);
	assert_true(is_zero(&k.i, sizeof k.i));
	known_fini(&k);
}

/* --- what differs at the two ends --- */

static void first_contact_fails_at_x2(const char *part, uint8_t mode, struct bytes prs,
				      const struct im2_binding *b)
{
	struct shake s;

	shake_init(&s, part, mode);
	s.b.transport = IM2_WEBSOCKET;
	assert_int_equal(dial(&s), IM2_FINE);
	assert_int_equal(listen_with(&s, prs.n ? prs : s.prs, b), IM2_FINE);
	assert_int_equal(take_x2(&s), IM2_E_AEAD);
	assert_true(is_zero(&s.d, sizeof s.d));
	shake_fini(&s);
}

static void another_passphrase_path_or_s1_fails_at_x2(void **state)
{
	const struct im2_binding same = binding_of("xx_websocket");
	const struct bytes none = bytes_of(NULL, 0);
	struct im2_binding b = same;
	uint8_t prs[32];

	memcpy(prs, vector(&v, "xx_websocket", "PRS").p, 32);
	prs[31] ^= 1;
	first_contact_fails_at_x2("xx_websocket", IM2_MODE_MESH, BYTES_ARR(prs), &same);
	b.chan = BYTES_LIT("/other");
	first_contact_fails_at_x2("xx_websocket", IM2_MODE_MESH, none, &b);
	b = same;
	b.h1[0] ^= 1; /* the suites were stripped */
	first_contact_fails_at_x2("xx_websocket", IM2_MODE_MESH, none, &b);
	b = same;
	b.nonce_s[0] ^= 1;
	first_contact_fails_at_x2("xx_websocket", IM2_MODE_MESH, none, &b);
	b = same;
	b.cb = BYTES_ARR(prs); /* a TLS terminator in between */
	first_contact_fails_at_x2("xx_websocket", IM2_MODE_MESH, none, &b);
	b = same;
	b.transport = IM2_LOOPBACK;
	first_contact_fails_at_x2("xx_websocket", IM2_MODE_MESH, none, &b);
	/* Without a password the hash of S1 still binds. */
	b = binding_of("pair_sas");
	b.h1[5] ^= 4;
	first_contact_fails_at_x2("pair_sas", IM2_MODE_SAS, none, &b);
}

static void known_peer_fails_where_the_text_says(void **state)
{
	uint8_t psk[32], epoch[32] = {1};
	struct known k;

	/* Another path, S1, direction: the responder cannot read who it is. */
	for (int i = 0; i < 3; i++) {
		known_init(&k, "ik_websocket_no_pair_psk");
		assert_int_equal(start_to(&k, bob), IM2_FINE);
		if (i == 0)
			k.b.chan = BYTES_LIT("/other");
		if (i == 1)
			k.b.h1[0] ^= 1;
		if (i == 2)
			k.dir = 1;
		assert_int_equal(hear_i1(&k, buf_bytes(&k.i1)), IM2_E_AEAD);
		known_fini(&k);
	}
	/* Meant for another identity. */
	known_init(&k, "ik_rns_link");
	assert_int_equal(start_to(&k, bob), IM2_FINE);
	k.kr = carol;
	assert_int_equal(hear_i1(&k, buf_bytes(&k.i1)), IM2_E_AEAD);
	known_fini(&k);
	/* Another pair psk, none, or another epoch key: the initiator cannot open I2. */
	memcpy(psk, vector(&v, "ik_rns_link", "pair_psk").p, 32);
	psk[0] ^= 1;
	for (int i = 0; i < 3; i++) {
		known_init(&k, "ik_rns_link");
		assert_int_equal(start_to(&k, bob), IM2_FINE);
		assert_int_equal(hear_i1(&k, buf_bytes(&k.i1)), IM2_FINE);
		assert_int_equal(answer_to(&k, alice, i == 0 ? psk : i == 1 ? NULL : k.pair_psk,
					   i == 2 ? BYTES_ARR(epoch) : k.epoch_key),
				 IM2_FINE);
		assert_int_equal(finish(&k), IM2_E_AEAD);
		/* On a link it might have been anybody: the pending handshake is still there. */
		assert_int_equal(k.i.state != 0, 1);
		known_fini(&k);
	}
}

/* Who pinned a stranger with somebody else's static key does not take one for the other (5.4). */
static void a_static_key_pinned_for_another_identity_fails_at_i2(void **state)
{
	struct known k;

	known_init(&k, "ik_websocket_no_pair_psk");
	assert_int_equal(start_to(&k, bob), IM2_FINE);
	assert_int_equal(hear_i1(&k, buf_bytes(&k.i1)), IM2_FINE);
	assert_int_equal(answer_to(&k, carol, NULL, bytes_of(NULL, 0)), IM2_FINE);
	assert_int_equal(finish(&k), IM2_E_AEAD);
	known_fini(&k);

	known_init(&k, "ik_websocket_no_pair_psk");
	assert_int_equal(start_to(&k, carol), IM2_FINE); /* carol's ED with bob's X */
	assert_int_equal(hear_i1(&k, buf_bytes(&k.i1)), IM2_FINE);
	assert_int_equal(answer_to(&k, alice, NULL, bytes_of(NULL, 0)), IM2_FINE);
	assert_int_equal(finish(&k), IM2_E_AEAD);
	known_fini(&k);
}

static void our_own_identity_is_refused(void **state)
{
	struct shake s;

	shake_init(&s, "xx_websocket", IM2_MODE_MESH);
	s.dialler = bob;
	shake_play(&s, 3);
	assert_int_equal(take_x3(&s), IM2_E_SELF);
	assert_true(is_zero(&s.l, sizeof s.l));
	shake_fini(&s);
}

static void a_binding_of_another_key_is_refused(void **state)
{
	struct im2_hello h = {0};

	memcpy(h.ed, keyring_ed(carol), 32);
	memcpy(h.binding, keyring_binding(carol), 64);
	assert_int_equal(im2_hello_owner(&h, keyring_x25519(carol), bob), IM2_FINE);
	assert_int_equal(im2_hello_owner(&h, keyring_x25519(alice), bob), IM2_E_SIG);
	memcpy(h.ed, keyring_ed(alice), 32);
	assert_int_equal(im2_hello_owner(&h, keyring_x25519(carol), bob), IM2_E_SIG);
	memcpy(h.binding, keyring_binding(alice), 64);
	h.binding[63] ^= 1;
	assert_int_equal(im2_hello_owner(&h, keyring_x25519(alice), bob), IM2_E_SIG);
}

/* --- hostile shapes --- */

static void bad_points_are_refused_by_both(void **state)
{
	static const char *const bad[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"2b3c6b8c4f3800e7aef6864025b4ed79bd599117e427c41bd47d93d654b4a51c",
		"2c3c6b8c4f3800e7aef6864025b4ed79bd599117e427c41bd47d93d654b4a59c",
	};

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct shake s;

		shake_init(&s, "xx_websocket", IM2_MODE_MESH);
		shake_play(&s, 1);
		test_unhex(bad[i], s.x1.p + 18, 32);
		assert_int_equal(listen_with(&s, s.prs, &s.b), IM2_E_DH);
		assert_int_equal(s.x2.n, 0);
		shake_fini(&s);

		shake_init(&s, "xx_websocket", IM2_MODE_MESH);
		shake_play(&s, 2);
		test_unhex(bad[i], s.x2.p + 1, 32);
		assert_int_equal(take_x2(&s), IM2_E_DH);
		assert_int_equal(s.x3.n, 0);
		shake_fini(&s);
	}
	/* Small order as Noise ephemeral: es of I1. */
	struct known k;
	known_init(&k, "ik_rns_link");
	assert_int_equal(start_to(&k, bob), IM2_FINE);
	memset(k.i1.p + 1, 0, 32);
	assert_int_equal(hear_i1(&k, buf_bytes(&k.i1)), IM2_E_DH);
	known_fini(&k);
}

static void x1_is_read_strictly(void **state)
{
	uint8_t x[IM2_SHAKE_UNIT_MAX + 1] = {IM2_UNIT_X1, IM2_MODE_SAS}, mode = 9;
	uint16_t passgen = 9;

	assert_int_equal(im2_x1_peek(bytes_of(x, 18), &mode, &passgen), IM2_FINE);
	assert_int_equal(mode, IM2_MODE_SAS);
	assert_int_equal(passgen, 0);
	assert_int_equal(im2_x1_peek(bytes_of(x, 17), &mode, &passgen), IM2_E_SHORT);
	x[18] = 2; /* passgen 300 */
	x[19] = 2;
	x[20] = 0xac;
	x[21] = 0x02;
	assert_int_equal(im2_x1_peek(bytes_of(x, 22), &mode, &passgen), IM2_FINE);
	assert_int_equal(passgen, 300);
	x[19] = 1; /* passgen 0 is the default */
	x[20] = 0;
	assert_int_equal(im2_x1_peek(bytes_of(x, 21), &mode, &passgen), IM2_E_NONCANON);
	x[18] = 3;
	assert_int_equal(im2_x1_peek(bytes_of(x, 21), &mode, &passgen), IM2_E_CRITICAL);
	x[1] = IM2_MODE_MESH;
	assert_int_equal(im2_x1_peek(bytes_of(x, 49), &mode, &passgen), IM2_E_SHORT);
	assert_int_equal(im2_x1_peek(bytes_of(x, sizeof x), &mode, &passgen), IM2_E_LIMIT);
	x[1] = IM2_MODE_IK;
	assert_int_equal(im2_x1_peek(bytes_of(x, 50), &mode, &passgen), IM2_E_MALFORMED);
	x[1] = 0;
	assert_int_equal(im2_x1_peek(bytes_of(x, 50), &mode, &passgen), IM2_E_MALFORMED);
	x[0] = 0x51;
	x[1] = 1;
	assert_int_equal(im2_x1_peek(bytes_of(x, 50), &mode, &passgen), IM2_E_MALFORMED);
}

static void the_generation_travels_in_x1(void **state)
{
	struct shake s;
	uint8_t mode;
	uint16_t passgen;

	shake_init(&s, "xx_websocket", IM2_MODE_MESH);
	assert_int_equal(im2_xx_dial(&s.d, &s.de.env, alice, IM2_MODE_MESH, 7, s.prs, &s.b, &s.x1),
			 IM2_FINE);
	assert_int_equal(s.x1.n, 53);
	assert_int_equal(im2_x1_peek(buf_bytes(&s.x1), &mode, &passgen), IM2_FINE);
	assert_int_equal(passgen, 7);
	assert_int_equal(listen_with(&s, s.prs, &s.b), IM2_FINE);
	assert_int_equal(take_x2(&s), IM2_FINE);
	shake_fini(&s);
}

static void modes_stay_on_their_paths(void **state)
{
	static const uint8_t mode_of[] = {IM2_MODE_MESH, IM2_MODE_CODE, IM2_MODE_SAS};
	struct shake s;

	for (size_t i = 0; i < 3; i++) {
		const char *own = i == 0 ? "xx_websocket" : i == 1 ? "pair_code" : "pair_sas";
		const struct im2_binding away = binding_of(i == 0 ? "pair_code" : "xx_websocket"),
					 link = binding_of("xx_rns_link");

		shake_init(&s, own, mode_of[i]);
		shake_play(&s, 1);
		assert_int_equal(listen_with(&s, s.prs, &away), IM2_E_CONTEXT);
		assert_int_equal(im2_mode_allowed(&link, mode_of[i]), i == 0);
		im2_xx_wipe(&s.d);
		s.b = away;
		buf_reset(&s.x1);
		assert_int_equal(dial(&s), IM2_E_CONTEXT);
		assert_int_equal(s.x1.n, 0);
		shake_fini(&s);
	}
	struct known k;
	known_init(&k, "ik_websocket_no_pair_psk");
	k.b.chan = BYTES_LIT(IM2_PAIR_PATH);
	assert_int_equal(start_to(&k, bob), IM2_E_CONTEXT);
	known_fini(&k);
}

static void no_password_is_no_handshake(void **state)
{
	struct shake s;

	shake_init(&s, "xx_websocket", IM2_MODE_MESH);
	shake_play(&s, 1);
	assert_int_equal(listen_with(&s, bytes_of(NULL, 0), &s.b), IM2_E_POLICY);
	im2_xx_wipe(&s.d);
	s.prs = bytes_of(NULL, 0);
	assert_int_equal(dial(&s), IM2_E_POLICY);
	shake_fini(&s);
}

static void calls_out_of_turn_do_nothing(void **state)
{
	struct shake s;

	shake_init(&s, "xx_websocket", IM2_MODE_MESH);
	assert_int_equal(take_x2(&s), IM2_E_CONTEXT);
	shake_play(&s, 2);
	assert_int_equal(take_x4(&s), IM2_E_CONTEXT);
	assert_int_equal(x4(&s), IM2_E_CONTEXT);
	assert_int_equal(s.x4.n, 0);
	assert_int_equal(im2_xx_take_x3(&s.d, buf_bytes(&s.x2), &s.heard_d), IM2_E_CONTEXT);
	assert_int_equal(take_x2(&s), IM2_FINE);
	assert_int_equal(take_x2(&s), IM2_E_CONTEXT);
	assert_int_equal(take_x3(&s), IM2_FINE);
	assert_int_equal(take_x3(&s), IM2_E_CONTEXT);
	assert_int_equal(x4(&s), IM2_FINE);
	assert_int_equal(x4(&s), IM2_E_CONTEXT);
	assert_int_equal(take_x4(&s), IM2_FINE);
	assert_int_equal(take_x4(&s), IM2_E_CONTEXT);
	shake_fini(&s);

	struct known k;
	known_init(&k, "ik_rns_link");
	assert_int_equal(finish(&k), IM2_E_CONTEXT);
	known_play(&k);
	assert_int_equal(im2_ik_payload(&k.r, &k.heard_r), IM2_E_CONTEXT);
	assert_int_equal(answer_to(&k, alice, k.pair_psk, k.epoch_key), IM2_E_CONTEXT);
	assert_int_equal(im2_ik_payload(&k.i, &k.heard_r), IM2_E_CONTEXT);
	assert_int_equal(finish(&k), IM2_FINE);
	assert_int_equal(finish(&k), IM2_E_CONTEXT);
	known_fini(&k);
}

/* A finished handshake keeps no key and no secret of it. */
static void a_finished_handshake_is_empty(void **state)
{
	static const uint8_t zeros[32];
	struct shake s;
	struct known k;

	shake_init(&s, "xx_websocket", IM2_MODE_MESH);
	shake_play(&s, 4);
	assert_int_equal(take_x4(&s), IM2_FINE);
	for (int i = 0; i < 2; i++) {
		const struct im2_xx *x = i ? &s.l : &s.d;

		assert_memory_equal(x->scalar, zeros, 32);
		assert_memory_equal(x->e_sk, zeros, 32);
		assert_true(is_zero(x->noise.ck, 32) && is_zero(x->noise.k, 32) &&
			    is_zero(x->noise.e_sk, 32) && is_zero(x->noise.psk, 32));
		assert_null(x->x1.p);
	}
	shake_fini(&s);
	known_init(&k, "ik_rns_link");
	known_play(&k);
	assert_int_equal(finish(&k), IM2_FINE);
	assert_true(is_zero(k.i.noise.ck, 32) && is_zero(k.r.noise.ck, 32));
	assert_true(is_zero(k.r.e_sk, 32) && is_zero(k.i.noise.psk, 32));
	known_fini(&k);
}

/* --- HS: what may be where (5.5) --- */

static enum im2_refusal read_as(const struct buf *b, enum im2_unit_kind unit, uint8_t mode, uint8_t transport)
{
	struct im2_hello out;

	return im2_hello_read(buf_bytes(b), unit, mode, transport, &out);
}

static void fields_are_refused_where_they_must_be_absent(void **state)
{
	struct im2_hello h = {.rx = {1, 2, 3, 4}, .pair_role = 2};
	struct buf x3, i1, i2;

	buf_init(&x3, 4096);
	buf_init(&i1, 4096);
	buf_init(&i2, 4096);
	im2_hello_write(&x3, IM2_UNIT_X3, IM2_MODE_CODE, alice, &h);
	im2_hello_write(&i1, IM2_UNIT_I1, IM2_MODE_IK, alice, &h);
	im2_hello_write(&i2, IM2_UNIT_I2, IM2_MODE_IK, alice, &h);
	assert_int_equal(i1.n, 10);
	assert_int_equal(i2.n, 6);
	assert_int_equal(x3.n, 106 + 3);
	assert_int_equal(read_as(&x3, IM2_UNIT_X3, IM2_MODE_CODE, 1), IM2_FINE);
	assert_int_equal(read_as(&x3, IM2_UNIT_X4, IM2_MODE_SAS, 1), IM2_FINE);
	assert_int_equal(read_as(&x3, IM2_UNIT_X3, IM2_MODE_MESH, 1), IM2_E_CONTEXT);
	assert_int_equal(read_as(&x3, IM2_UNIT_I1, IM2_MODE_IK, 1), IM2_E_MISSING);
	assert_int_equal(read_as(&x3, IM2_UNIT_I2, IM2_MODE_IK, 1), IM2_E_CONTEXT);
	assert_int_equal(read_as(&i1, IM2_UNIT_I1, IM2_MODE_IK, 1), IM2_FINE);
	assert_int_equal(read_as(&i1, IM2_UNIT_I2, IM2_MODE_IK, 1), IM2_E_MISSING);
	assert_int_equal(read_as(&i1, IM2_UNIT_X3, IM2_MODE_MESH, 1), IM2_E_MISSING);
	assert_int_equal(read_as(&i2, IM2_UNIT_I2, IM2_MODE_IK, 1), IM2_FINE);
	assert_int_equal(read_as(&i2, IM2_UNIT_I1, IM2_MODE_IK, 1), IM2_E_MISSING);
	/* RNS packets: the answer needs a destination. */
	assert_int_equal(read_as(&i1, IM2_UNIT_I1, IM2_MODE_IK, IM2_RNS_PACKET), IM2_E_MISSING);
	h.has_reply_dest = true;
	buf_reset(&i1);
	im2_hello_write(&i1, IM2_UNIT_I1, IM2_MODE_IK, alice, &h);
	assert_int_equal(read_as(&i1, IM2_UNIT_I1, IM2_MODE_IK, IM2_RNS_PACKET), IM2_FINE);
	assert_int_equal(read_as(&i1, IM2_UNIT_I1, IM2_MODE_IK, IM2_WEBSOCKET), IM2_E_CONTEXT);
	/* Both indexes at once. */
	buf_reset(&i1);
	buf_add(&i1, BYTES_LIT("\x05\x04rrrr\x07\x08rrrrpppp"));
	assert_int_equal(read_as(&i1, IM2_UNIT_I1, IM2_MODE_IK, 1), IM2_E_CONTEXT);
	assert_int_equal(read_as(&i1, IM2_UNIT_I2, IM2_MODE_IK, 1), IM2_E_CONTEXT);
	buf_fini(&x3);
	buf_fini(&i1);
	buf_fini(&i2);
}

static void every_field_of_hs_survives(void **state)
{
	struct im2_hello h = {
		.rx = {1, 2, 3, 4},
		.name = "alice.home_1-x",
		.agent = "claude \xc3\xa9",
		.max_unit = 1048576,
		.has_credit = true,
		.features = IM2_FEATURE_RELAY | IM2_FEATURE_REQUIRED,
		.pair_role = 1,
		.clock_ms = WALL_T,
		.epoch = 3,
	}, out;
	struct buf b;

	buf_init(&b, 4096);
	memcpy(h.ed, keyring_ed(alice), 32);
	memcpy(h.binding, keyring_binding(alice), 64);
	im2_hello_write(&b, IM2_UNIT_X4, IM2_MODE_SAS, alice, &h);
	assert_int_equal(im2_hello_read(buf_bytes(&b), IM2_UNIT_X4, IM2_MODE_SAS, 1, &out), IM2_FINE);
	assert_memory_equal(&out, &h, sizeof h);
	buf_fini(&b);
}

/* --- small units --- */

static void small_units_match_the_vectors(void **state)
{
	struct im2_err_unit e = {.code = IM2_ERR_NO_SESSION, .index = {0xa1, 0xa2, 0xa3, 0xa4}}, out;
	uint8_t nonce[32], again[32];
	struct buf b;

	buf_init(&b, 64);
	test_count_up(nonce, 32);
	im2_s1_write(&b, nonce);
	assert_bytes(buf_bytes(&b), vector(&v, "small_units", "S1_binary"));
	assert_int_equal(im2_s1_parse(buf_bytes(&b), again), IM2_FINE);
	assert_memory_equal(again, nonce, 32);
	buf_reset(&b);
	im2_err_write(&b, &e);
	assert_bytes(buf_bytes(&b), vector(&v, "small_units", "ERR_no_session"));
	assert_int_equal(im2_err_parse(buf_bytes(&b), &out), IM2_FINE);
	assert_memory_equal(out.index, e.index, 4);
	buf_reset(&b);
	im2_err_write(&b, &(struct im2_err_unit){.code = IM2_ERR_BUSY, .busy_s = 30});
	assert_bytes(buf_bytes(&b), vector(&v, "small_units", "ERR_busy_30s"));
	assert_int_equal(im2_err_parse(buf_bytes(&b), &out), IM2_FINE);
	assert_int_equal(out.busy_s, 30);
	buf_reset(&b);
	im2_err_write(&b, &(struct im2_err_unit){.code = IM2_ERR_FAILED});
	assert_bytes(buf_bytes(&b), vector(&v, "small_units", "ERR_failed"));
	buf_fini(&b);
}

static void small_units_are_read_strictly(void **state)
{
	uint8_t s1[35] = {IM2_UNIT_S1, 1}, nonce[32];
	struct im2_err_unit e;

	for (size_t n = 0; n < 34; n++)
		assert_int_equal(im2_s1_parse(bytes_of(s1, n), nonce), IM2_E_SHORT);
	assert_int_equal(im2_s1_parse(bytes_of(s1, 34), nonce), IM2_FINE);
	assert_int_equal(im2_s1_parse(bytes_of(s1, 35), nonce), IM2_E_TRAILING);
	s1[1] = 2;
	assert_int_equal(im2_s1_parse(bytes_of(s1, 34), nonce), IM2_E_MALFORMED);
	for (unsigned code = 0; code < 256; code++) {
		uint8_t u[8] = {IM2_UNIT_ERR, (uint8_t)code};
		size_t n = code == 1 ? 6 : code == 4 ? 4 : 2;
		bool known = code == 1 || (code >= 3 && code <= 8) || code == 10;

		assert_int_equal(im2_err_parse(bytes_of(u, n), &e), known ? IM2_FINE : IM2_E_RANGE);
		if (known) {
			assert_int_equal(e.code, code);
			assert_int_equal(im2_err_parse(bytes_of(u, n + 1), &e), IM2_E_TRAILING);
			assert_int_equal(im2_err_parse(bytes_of(u, n - 1), &e), IM2_E_SHORT);
			u[0] = IM2_UNIT_S1;
			assert_int_equal(im2_err_parse(bytes_of(u, n), &e), IM2_E_MALFORMED);
		}
	}
	assert_int_equal(im2_err_parse(bytes_of(NULL, 0), &e), IM2_E_SHORT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_contact_over_websocket),
		cmocka_unit_test(first_contact_on_a_link),
		cmocka_unit_test(first_contact_with_a_code),
		cmocka_unit_test(first_contact_to_be_compared),
		cmocka_unit_test(mesh_key_matches_the_vector),
		cmocka_unit_test(known_peer_matches_the_vectors),
		cmocka_unit_test(every_changed_unit_on_a_link_is_dropped),
		cmocka_unit_test(a_changed_unit_over_websocket_ends_the_handshake),
		cmocka_unit_test(every_changed_unit_of_a_known_peer_is_refused),
		cmocka_unit_test(another_passphrase_path_or_s1_fails_at_x2),
		cmocka_unit_test(known_peer_fails_where_the_text_says),
		cmocka_unit_test(a_static_key_pinned_for_another_identity_fails_at_i2),
		cmocka_unit_test(our_own_identity_is_refused),
		cmocka_unit_test(a_binding_of_another_key_is_refused),
		cmocka_unit_test(bad_points_are_refused_by_both),
		cmocka_unit_test(x1_is_read_strictly),
		cmocka_unit_test(the_generation_travels_in_x1),
		cmocka_unit_test(modes_stay_on_their_paths),
		cmocka_unit_test(no_password_is_no_handshake),
		cmocka_unit_test(calls_out_of_turn_do_nothing),
		cmocka_unit_test(a_finished_handshake_is_empty),
		cmocka_unit_test(fields_are_refused_where_they_must_be_absent),
		cmocka_unit_test(every_field_of_hs_survives),
		cmocka_unit_test(small_units_match_the_vectors),
		cmocka_unit_test(small_units_are_read_strictly),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
