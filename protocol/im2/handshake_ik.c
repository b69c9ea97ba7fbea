#include "protocol/im2/handshake_internal.h"

#include "base/secret.h"

/* Known peer (im2.md 5.4). */

enum { IK_OVER, IK_I1_SENT, IK_S_READ, IK_I1_READ };

#define I1_MIN (1 + NOISE_KEY + NOISE_KEY + NOISE_TAG + NOISE_TAG)
#define I2_FIXED 5 /* kind, index */
#define I2_MIN (I2_FIXED + NOISE_KEY + NOISE_TAG)

static enum im2_refusal begin(struct im2_ik *x, const struct keyring *k, const struct im2_binding *b, uint8_t dir,
			      bool initiator, const uint8_t *peer_x, const uint8_t *psk)
{
	struct noise_static s = im2_noise_static(k);
	struct buf pro;

	memset(x, 0, sizeof *x);
	x->initiator = initiator;
	x->transport = b->transport;
	x->lossy = b->transport >= IM2_RNS_LINK;
	x->keyring = k;
	buf_init(&x->rest, IM2_SHAKE_UNIT_MAX);
	if (!im2_mode_allowed(b, IM2_MODE_IK) || dir > 1)
		return IM2_E_CONTEXT;
	buf_init(&pro, IM2_CTX_MAX);
	im2_ctx(&pro, IM2_MODE_IK, b->transport, b->chan, b->cb);
	buf_add(&pro, BYTES_ARR(b->h1));
	buf_add_u8(&pro, dir);
	if (pro.err == ERR_OK)
		noise_init(&x->noise, &(struct noise_opts){ .pattern = NOISE_IKPSK2,
							     .initiator = initiator,
							     .prologue = buf_bytes(&pro),
							     .s = &s,
							     .rs = peer_x,
							     .psk = psk });
	enum err e = pro.err;
	buf_fini(&pro);
	return e == ERR_OK ? IM2_FINE : IM2_E_LIMIT;
}

static enum im2_refusal die(struct im2_ik *x, enum im2_refusal why)
{
	im2_ik_wipe(x);
	return why;
}

static enum im2_refusal say_hello(struct im2_ik *x, enum im2_unit_kind kind, const struct im2_hello *mine,
				  struct buf *out)
{
	struct buf hs;
	enum err e;

	buf_init(&hs, IM2_SHAKE_UNIT_MAX);
	im2_hello_write(&hs, kind, IM2_MODE_IK, x->keyring, mine);
	buf_add_u8(out, kind);
	if (kind == IM2_UNIT_I2)
		buf_add(out, BYTES_ARR(x->rx));
	e = hs.err != ERR_OK ? hs.err : noise_write(&x->noise, buf_bytes(&hs), out);
	buf_fini(&hs);
	return im2_noise_refusal(&x->noise, e);
}

/* --- initiator --- */

enum im2_refusal im2_ik_start(struct im2_ik *x, struct env *env, const struct keyring *k, const struct im2_binding *b,
			      uint8_t dir, const uint8_t peer_ed[static 32], const uint8_t peer_x[static 32],
			      const uint8_t *pair_psk, struct bytes epoch_key, const struct im2_hello *mine,
			      struct buf *i1_out)
{
	size_t before = i1_out->n;
	uint8_t psk[32], e_sk[32];
	enum im2_refusal why;

	im2_ik_psk(pair_psk, keyring_ed(k), peer_ed, epoch_key, psk);
	why = begin(x, k, b, dir, true, peer_x, psk);
	wipe(psk, sizeof psk);
	if (why != IM2_FINE)
		return die(x, why);
	env_random(env, e_sk, sizeof e_sk);
	noise_set_ephemeral(&x->noise, e_sk);
	wipe(e_sk, sizeof e_sk);
	memcpy(x->rx, mine->rx, sizeof x->rx);
	why = say_hello(x, IM2_UNIT_I1, mine, i1_out);
	if (why != IM2_FINE) {
		i1_out->n = before;
		return die(x, why);
	}
	x->state = IK_I1_SENT;
	return IM2_FINE;
}

enum im2_refusal im2_i2_index(struct bytes i2, uint8_t index[static 4])
{
	enum im2_refusal why = im2_unit_check(i2, IM2_UNIT_I2, I2_MIN);

	if (why == IM2_FINE)
		memcpy(index, i2.p + 1, 4);
	return why;
}

enum im2_refusal im2_ik_finish(struct im2_ik *x, struct bytes i2, struct im2_hello *peer, struct im2_secrets *out)
{
	uint8_t index[4];
	struct buf hs;
	bool opened = false;

	if (x->state != IK_I1_SENT)
		return IM2_E_CONTEXT;
	buf_init(&hs, IM2_SHAKE_UNIT_MAX);
	enum im2_refusal why = im2_i2_index(i2, index);
	if (why == IM2_FINE && memcmp(index, x->rx, sizeof index) != 0)
		why = IM2_E_INDEX;
	if (why == IM2_FINE) {
		why = im2_noise_take(&x->noise, bytes_of(i2.p + I2_FIXED, i2.n - I2_FIXED), &hs);
		opened = why == IM2_FINE;
	}
	if (opened)
		why = im2_hello_read(buf_bytes(&hs), IM2_UNIT_I2, IM2_MODE_IK, x->transport, peer);
	buf_fini(&hs);
	if (why != IM2_FINE)
		return x->lossy && !opened ? why : die(x, why);
	im2_noise_finish(&x->noise, out);
	x->state = IK_OVER;
	return IM2_FINE;
}

/* --- responder --- */

enum im2_refusal im2_ik_peek(struct im2_ik *x, struct env *env, const struct keyring *k, const struct im2_binding *b,
			     uint8_t dir, struct bytes i1, uint8_t peer_x[static 32])
{
	enum im2_refusal why = begin(x, k, b, dir, false, NULL, NULL);
	struct bytes rest;

	if (why == IM2_FINE)
		why = im2_unit_check(i1, IM2_UNIT_I1, I1_MIN);
	if (why == IM2_FINE) {
		enum err e = noise_read_static(&x->noise, bytes_of(i1.p + 1, i1.n - 1), &rest);

		why = im2_noise_refusal(&x->noise, e);
	}
	if (why != IM2_FINE)
		return die(x, why);
	buf_add(&x->rest, rest);
	if (x->rest.err != ERR_OK)
		return die(x, IM2_E_LIMIT);
	/* Drawn now, multiplied only for a peer that is known. */
	env_random(env, x->e_sk, sizeof x->e_sk);
	memcpy(peer_x, x->noise.rs, 32);
	x->state = IK_S_READ;
	return IM2_FINE;
}

enum im2_refusal im2_ik_payload(struct im2_ik *x, struct im2_hello *peer)
{
	struct im2_hello h;
	struct buf hs;

	if (x->state != IK_S_READ)
		return IM2_E_CONTEXT;
	buf_init(&hs, IM2_SHAKE_UNIT_MAX);
	enum err e = noise_read_payload(&x->noise, buf_bytes(&x->rest), &hs);
	enum im2_refusal why = im2_noise_refusal(&x->noise, e);
	if (why == IM2_FINE)
		why = im2_hello_read(buf_bytes(&hs), IM2_UNIT_I1, IM2_MODE_IK, x->transport, &h);
	buf_fini(&hs);
	if (why != IM2_FINE)
		return die(x, why);
	memcpy(x->rx, h.rx, sizeof x->rx);
	buf_fini(&x->rest);
	*peer = h;
	x->state = IK_I1_READ;
	return IM2_FINE;
}

enum im2_refusal im2_ik_answer(struct im2_ik *x, const uint8_t peer_ed[static 32], const uint8_t *pair_psk,
			       struct bytes epoch_key, const struct im2_hello *mine, struct buf *i2_out,
			       struct im2_secrets *out)
{
	size_t before = i2_out->n;
	uint8_t psk[32];

	if (x->state != IK_I1_READ)
		return IM2_E_CONTEXT;
	im2_ik_psk(pair_psk, peer_ed, keyring_ed(x->keyring), epoch_key, psk);
	noise_set_psk(&x->noise, psk);
	wipe(psk, sizeof psk);
	noise_set_ephemeral(&x->noise, x->e_sk);
	wipe(x->e_sk, sizeof x->e_sk);
	enum im2_refusal why = say_hello(x, IM2_UNIT_I2, mine, i2_out);
	if (why != IM2_FINE) {
		i2_out->n = before;
		return die(x, why);
	}
	im2_noise_finish(&x->noise, out);
	x->state = IK_OVER;
	return IM2_FINE;
}

void im2_ik_wipe(struct im2_ik *x)
{
	buf_fini(&x->rest);
	noise_wipe(&x->noise);
	wipe(x, sizeof *x);
}
