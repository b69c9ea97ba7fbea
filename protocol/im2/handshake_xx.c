#include "protocol/im2/handshake_internal.h"

#include "base/hash.h"
#include "base/secret.h"
#include "protocol/im2/cpace.h"

/* First contact (im2.md 5.3): the listener is the Noise initiator. */

enum { XX_OVER, XX_X1_SENT, XX_X2_SENT, XX_X3_READ, XX_X3_SENT };

#define X1_FIXED 18 /* kind, mode, nonce_c */

/* --- X1 --- */

struct x1 {
	uint8_t mode;
	uint16_t passgen;
	const uint8_t *nonce_c, *ya; /* ya: NULL in mode 3 */
	struct bytes ext;
};

static enum im2_refusal x1_parse(struct bytes unit, struct x1 *out)
{
	enum im2_refusal why = im2_unit_check(unit, IM2_UNIT_X1, X1_FIXED);
	struct im2_fields ext;
	size_t fixed = X1_FIXED;

	if (why != IM2_FINE)
		return why;
	if (unit.p[1] < IM2_MODE_MESH || unit.p[1] > IM2_MODE_SAS)
		return IM2_E_MALFORMED;
	if (unit.p[1] != IM2_MODE_SAS)
		fixed += CPACE_POINT;
	if (unit.n < fixed)
		return IM2_E_SHORT;
	struct x1 x = {
		.mode = unit.p[1],
		.nonce_c = unit.p + 2,
		.ya = fixed > X1_FIXED ? unit.p + X1_FIXED : NULL,
		.ext = bytes_of(unit.p + fixed, unit.n - fixed),
	};
	why = im2_parse(&im2_x1ext, x.ext, &ext);
	if (why != IM2_FINE)
		return why;
	x.passgen = (uint16_t)ext.v[IM2_X1EXT_PASSGEN].u;
	*out = x;
	return IM2_FINE;
}

enum im2_refusal im2_x1_peek(struct bytes x1, uint8_t *mode, uint16_t *passgen)
{
	struct x1 x;
	enum im2_refusal why = x1_parse(x1, &x);

	if (why == IM2_FINE) {
		*mode = x.mode;
		*passgen = x.passgen;
	}
	return why;
}

/* --- both stages --- */

static void sid_of(const struct im2_xx *x, uint8_t sid[static 48])
{
	memcpy(sid, x->nonce_s, 32);
	memcpy(sid + 32, x->nonce_c, 16);
}

static void begin(struct im2_xx *x, const struct keyring *k, uint8_t mode, const struct im2_binding *b)
{
	memset(x, 0, sizeof *x);
	x->mode = mode;
	x->lossy = b->transport >= IM2_RNS_LINK;
	x->keyring = k;
	memcpy(x->nonce_s, b->nonce_s, sizeof x->nonce_s);
	memcpy(x->h1, b->h1, sizeof x->h1);
	buf_init(&x->x1, IM2_SHAKE_UNIT_MAX);
	buf_init(&x->ci, IM2_CTX_MAX);
	im2_ctx(&x->ci, mode, b->transport, b->chan, b->cb);
}

/* The scalar and our share; both scalar and share stay in the caller's hands. */
static enum im2_refusal draw_share(struct im2_xx *x, struct env *env, struct bytes prs,
				   uint8_t y[static CPACE_POINT])
{
	uint8_t sid[48], random[64], g[CPACE_POINT];
	enum err e;

	sid_of(x, sid);
	env_random(env, random, sizeof random);
	cpace_scalar(random, x->scalar);
	cpace_generator(prs, buf_bytes(&x->ci), BYTES_ARR(sid), g);
	e = cpace_share(x->scalar, g, y);
	wipe(random, sizeof random);
	wipe(g, sizeof g);
	return e == ERR_OK ? IM2_FINE : IM2_E_DH;
}

/* From the shares to the Noise state. `yb` is empty in mode 3. */
static enum im2_refusal start_noise(struct im2_xx *x, struct bytes yb)
{
	struct noise_static s = im2_noise_static(x->keyring);
	uint8_t psk[32] = {0}, isk[CPACE_ISK], sid[48], hash[HASH_BYTES];
	struct bytes whole = buf_bytes(&x->x1), adb = BYTES_LIT("\x53");
	enum im2_refusal why = IM2_FINE;
	struct buf pro, ada;

	buf_init(&pro, IM2_CTX_MAX + 256);
	buf_init(&ada, IM2_SHAKE_UNIT_MAX);
	if (x->mode != IM2_MODE_SAS) {
		struct bytes ya = bytes_of(whole.p + X1_FIXED, CPACE_POINT);

		sid_of(x, sid);
		buf_add(&ada, bytes_of(whole.p, X1_FIXED));
		buf_add(&ada, bytes_of(ya.p + ya.n, whole.n - X1_FIXED - ya.n));
		if (ada.err != ERR_OK)
			why = IM2_E_LIMIT;
		else if (cpace_finish(x->scalar, x->listener ? ya.p : yb.p, BYTES_ARR(sid), ya,
				      buf_bytes(&ada), yb, adb, isk) != ERR_OK)
			why = IM2_E_DH;
		else
			im2_xx_psk(isk, BYTES_ARR(sid), psk);
	}
	buf_add(&pro, buf_bytes(&x->ci));
	buf_add(&pro, BYTES_ARR(x->h1));
	sha256(whole, hash);
	buf_add(&pro, BYTES_ARR(hash));
	im2_lv_add(&pro, yb);
	if (pro.err != ERR_OK)
		why = IM2_E_LIMIT;
	if (why == IM2_FINE) {
		noise_init(&x->noise, &(struct noise_opts){ .pattern = NOISE_XXPSK0,
							     .initiator = x->listener,
							     .prologue = buf_bytes(&pro),
							     .s = &s,
							     .psk = psk });
		noise_set_ephemeral(&x->noise, x->e_sk);
	}
	wipe(isk, sizeof isk);
	wipe(psk, sizeof psk);
	buf_fini(&pro);
	buf_fini(&ada);
	return why;
}

/* Nothing of stage A is needed once Noise runs. */
static void forget_shares(struct im2_xx *x)
{
	wipe(x->scalar, sizeof x->scalar);
	wipe(x->e_sk, sizeof x->e_sk);
	buf_fini(&x->x1);
	buf_fini(&x->ci);
}

static enum im2_refusal die(struct im2_xx *x, enum im2_refusal why, struct buf *out, size_t before)
{
	if (out)
		out->n = before;
	im2_xx_wipe(x);
	return why;
}

/* On lossy transports a unit that is not the awaited one has no effect (5.8). */
static enum im2_refusal spoilt(struct im2_xx *x, enum im2_refusal why)
{
	return x->lossy ? why : die(x, why, NULL, 0);
}

static enum im2_refusal say_hello(struct im2_xx *x, enum im2_unit_kind kind, const struct im2_hello *mine,
				  struct buf *out)
{
	struct buf hs;
	enum err e;

	buf_init(&hs, IM2_SHAKE_UNIT_MAX);
	im2_hello_write(&hs, kind, x->mode, x->keyring, mine);
	buf_add_u8(out, kind);
	e = hs.err != ERR_OK ? hs.err : noise_write(&x->noise, buf_bytes(&hs), out);
	buf_fini(&hs);
	return im2_noise_refusal(&x->noise, e);
}

/* X3 or X4 after the first byte. *opened: the peer holds the keys, and what is wrong then is final. */
static enum im2_refusal hear_hello(struct im2_xx *x, enum im2_unit_kind kind, struct bytes unit,
				   struct im2_hello *peer, bool *opened)
{
	struct im2_hello h;
	struct buf hs;

	buf_init(&hs, IM2_SHAKE_UNIT_MAX);
	enum im2_refusal why = im2_noise_take(&x->noise, bytes_of(unit.p + 1, unit.n - 1), &hs);

	*opened = why == IM2_FINE;
	if (why == IM2_FINE)
		why = im2_hello_read(buf_bytes(&hs), kind, x->mode, IM2_LOOPBACK, &h);
	if (why == IM2_FINE)
		why = im2_hello_owner(&h, x->noise.rs, x->keyring);
	if (why == IM2_FINE) {
		memcpy(x->peer_x, x->noise.rs, sizeof x->peer_x);
		*peer = h;
	}
	buf_fini(&hs);
	return why;
}

/* --- dialler --- */

enum im2_refusal im2_xx_dial(struct im2_xx *x, struct env *env, const struct keyring *k, uint8_t mode, uint16_t passgen,
			     struct bytes prs, const struct im2_binding *b, struct buf *x1_out)
{
	size_t before = x1_out->n;
	struct im2_fields ext = {0};
	uint8_t ya[CPACE_POINT];
	enum im2_refusal why = IM2_FINE;

	begin(x, k, mode, b);
	if (mode < IM2_MODE_MESH || mode > IM2_MODE_SAS || !im2_mode_allowed(b, mode))
		return die(x, IM2_E_CONTEXT, x1_out, before);
	if (mode != IM2_MODE_SAS && prs.n == 0)
		return die(x, IM2_E_POLICY, x1_out, before);
	env_random(env, x->nonce_c, sizeof x->nonce_c);
	if (mode != IM2_MODE_SAS)
		why = draw_share(x, env, prs, ya);
	env_random(env, x->e_sk, sizeof x->e_sk);
	buf_add_u8(&x->x1, IM2_UNIT_X1);
	buf_add_u8(&x->x1, mode);
	buf_add(&x->x1, BYTES_ARR(x->nonce_c));
	if (mode != IM2_MODE_SAS)
		buf_add(&x->x1, BYTES_ARR(ya));
	im2_set_u(&ext, IM2_X1EXT_PASSGEN, passgen);
	im2_write(&im2_x1ext, &ext, &x->x1);
	buf_add(x1_out, buf_bytes(&x->x1));
	if (why == IM2_FINE && (x->x1.err != ERR_OK || x->ci.err != ERR_OK || x1_out->err != ERR_OK))
		why = IM2_E_LIMIT;
	if (why != IM2_FINE)
		return die(x, why, x1_out, before);
	x->state = XX_X1_SENT;
	return IM2_FINE;
}

enum im2_refusal im2_xx_take_x2(struct im2_xx *x, struct bytes x2, const struct im2_hello *mine, struct buf *x3_out)
{
	size_t share = x->mode == IM2_MODE_SAS ? 0 : CPACE_POINT, before = x3_out->n;
	struct im2_fields f;
	struct buf payload;

	if (x->state != XX_X1_SENT)
		return IM2_E_CONTEXT;
	enum im2_refusal why = im2_unit_check(x2, IM2_UNIT_X2, 1 + share + NOISE_KEY + NOISE_TAG);
	if (why == IM2_FINE)
		why = start_noise(x, bytes_of(x2.p + 1, share));
	if (why != IM2_FINE)
		return spoilt(x, why);
	buf_init(&payload, IM2_SHAKE_UNIT_MAX);
	why = im2_noise_take(&x->noise, bytes_of(x2.p + 1 + share, x2.n - 1 - share), &payload);
	bool opened = why == IM2_FINE;
	if (opened)
		why = im2_parse(&im2_x2pay, buf_bytes(&payload), &f);
	buf_fini(&payload);
	if (!opened) {
		noise_wipe(&x->noise);
		return spoilt(x, why);
	}
	if (why == IM2_FINE) {
		forget_shares(x);
		why = say_hello(x, IM2_UNIT_X3, mine, x3_out);
	}
	if (why != IM2_FINE)
		return die(x, why, x3_out, before);
	x->state = XX_X3_SENT;
	return IM2_FINE;
}

enum im2_refusal im2_xx_take_x4(struct im2_xx *x, struct bytes x4, struct im2_hello *peer, struct im2_secrets *out)
{
	bool opened = false;

	if (x->state != XX_X3_SENT)
		return IM2_E_CONTEXT;
	enum im2_refusal why = im2_unit_check(x4, IM2_UNIT_X4, 1 + NOISE_KEY + 2 * NOISE_TAG);
	if (why == IM2_FINE)
		why = hear_hello(x, IM2_UNIT_X4, x4, peer, &opened);
	if (why != IM2_FINE)
		return opened ? die(x, why, NULL, 0) : spoilt(x, why);
	im2_noise_finish(&x->noise, out);
	x->state = XX_OVER;
	return IM2_FINE;
}

/* --- listener --- */

enum im2_refusal im2_xx_listen(struct im2_xx *x, struct env *env, const struct keyring *k, struct bytes prs,
			       const struct im2_binding *b, struct bytes x1, struct buf *x2_out)
{
	size_t before = x2_out->n;
	uint8_t yb[CPACE_POINT];
	size_t share = 0;
	struct x1 p;
	enum im2_refusal why = x1_parse(x1, &p);

	memset(x, 0, sizeof *x);
	if (why != IM2_FINE)
		return die(x, why, x2_out, before);
	if (!im2_mode_allowed(b, p.mode))
		return die(x, IM2_E_CONTEXT, x2_out, before);
	if (p.mode != IM2_MODE_SAS && prs.n == 0)
		return die(x, IM2_E_POLICY, x2_out, before);
	begin(x, k, p.mode, b);
	x->listener = true;
	memcpy(x->nonce_c, p.nonce_c, sizeof x->nonce_c);
	buf_add(&x->x1, x1);
	if (x->x1.err != ERR_OK || x->ci.err != ERR_OK)
		return die(x, IM2_E_LIMIT, x2_out, before);
	if (p.mode != IM2_MODE_SAS) {
		share = CPACE_POINT;
		why = draw_share(x, env, prs, yb);
	}
	env_random(env, x->e_sk, sizeof x->e_sk);
	if (why == IM2_FINE)
		why = start_noise(x, bytes_of(yb, share));
	if (why != IM2_FINE)
		return die(x, why, x2_out, before);
	buf_add_u8(x2_out, IM2_UNIT_X2);
	buf_add(x2_out, bytes_of(yb, share));
	/* The structure of X2 has no field that is ours to set: empty. */
	why = im2_noise_refusal(&x->noise, noise_write(&x->noise, bytes_of(NULL, 0), x2_out));
	if (why != IM2_FINE)
		return die(x, why, x2_out, before);
	forget_shares(x);
	x->state = XX_X2_SENT;
	return IM2_FINE;
}

enum im2_refusal im2_xx_take_x3(struct im2_xx *x, struct bytes x3, struct im2_hello *peer)
{
	bool opened = false;

	if (x->state != XX_X2_SENT)
		return IM2_E_CONTEXT;
	enum im2_refusal why = im2_unit_check(x3, IM2_UNIT_X3, 1 + 2 * NOISE_KEY + 2 * NOISE_TAG);
	if (why == IM2_FINE)
		why = hear_hello(x, IM2_UNIT_X3, x3, peer, &opened);
	if (why != IM2_FINE)
		return opened ? die(x, why, NULL, 0) : spoilt(x, why);
	x->state = XX_X3_READ;
	return IM2_FINE;
}

enum im2_refusal im2_xx_x4(struct im2_xx *x, const struct im2_hello *mine, struct buf *x4_out, struct im2_secrets *out)
{
	size_t before = x4_out->n;

	if (x->state != XX_X3_READ)
		return IM2_E_CONTEXT;
	enum im2_refusal why = say_hello(x, IM2_UNIT_X4, mine, x4_out);
	if (why != IM2_FINE)
		return die(x, why, x4_out, before);
	im2_noise_finish(&x->noise, out);
	x->state = XX_OVER;
	return IM2_FINE;
}

void im2_xx_wipe(struct im2_xx *x)
{
	buf_fini(&x->x1);
	buf_fini(&x->ci);
	noise_wipe(&x->noise);
	wipe(x, sizeof *x);
}
