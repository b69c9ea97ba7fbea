#include "tests/lib/protocol_im2_intruder.h"

#include "base/hash.h"
#include "protocol/im2/cpace.h"
#include "protocol/im2/handshake_internal.h"

void intruder_init(struct intruder *x, struct penv *e, const struct keyring *k, const struct im2_binding *b,
		   struct bytes prs)
{
	memset(x, 0, sizeof *x);
	x->e = e;
	x->k = k;
	x->b = *b;
	x->prs = prs;
	buf_init(&x->x1, IM2_SHAKE_UNIT_MAX);
}

void intruder_fini(struct intruder *x)
{
	buf_fini(&x->x1);
	noise_wipe(&x->noise);
}

static void sid_of(const struct intruder *x, uint8_t sid[static 48])
{
	memcpy(sid, x->b.nonce_s, 32);
	memcpy(sid + 32, x->nonce_c, 16);
}

static void share(struct intruder *x, uint8_t y[static 32])
{
	uint8_t random[64], g[32], sid[48];
	struct buf ci;

	sid_of(x, sid);
	buf_init(&ci, IM2_CTX_MAX);
	im2_ctx(&ci, IM2_MODE_MESH, x->b.transport, x->b.chan, x->b.cb);
	env_random(&x->e->env, random, sizeof random);
	cpace_scalar(random, x->scalar);
	cpace_generator(x->prs, buf_bytes(&ci), BYTES_ARR(sid), g);
	BUG_ON(cpace_share(x->scalar, g, y) != ERR_OK);
	buf_fini(&ci);
}

/* A share that is no point gives him a secret that nobody has. */
static void noise_begin(struct intruder *x, const uint8_t yb[static 32])
{
	struct noise_static s = im2_noise_static(x->k);
	struct bytes one = buf_bytes(&x->x1);
	uint8_t sid[48], isk[CPACE_ISK] = {0}, psk[32], hash[32], e_sk[32];
	const uint8_t *ya = one.p + 18;
	struct buf ada, pro;

	sid_of(x, sid);
	buf_init(&ada, IM2_SHAKE_UNIT_MAX);
	buf_init(&pro, IM2_CTX_MAX + 256);
	buf_add(&ada, bytes_of(one.p, 18));
	buf_add(&ada, bytes_of(one.p + 50, one.n - 50));
	(void)!cpace_finish(x->scalar, x->listener ? ya : yb, BYTES_ARR(sid), bytes_of(ya, 32), buf_bytes(&ada),
			    bytes_of(yb, 32), BYTES_LIT("\x53"), isk);
	im2_xx_psk(isk, BYTES_ARR(sid), psk);
	im2_ctx(&pro, IM2_MODE_MESH, x->b.transport, x->b.chan, x->b.cb);
	buf_add(&pro, BYTES_ARR(x->b.h1));
	sha256(one, hash);
	buf_add(&pro, BYTES_ARR(hash));
	im2_lv_add(&pro, bytes_of(yb, 32));
	noise_init(&x->noise, &(struct noise_opts){.pattern = NOISE_XXPSK0, .initiator = x->listener,
						    .prologue = buf_bytes(&pro), .s = &s, .psk = psk});
	env_random(&x->e->env, e_sk, sizeof e_sk);
	noise_set_ephemeral(&x->noise, e_sk);
	buf_fini(&ada);
	buf_fini(&pro);
}

/* --- what he says --- */

void intruder_payload(const struct intruder_says *s, struct buf *out)
{
	static const uint8_t tag[] = {1, 3, 5};
	const struct bytes field[] = {s->ed, s->binding, s->rx};

	for (size_t i = 0; i < 3; i++) {
		if (!field[i].n)
			continue;
		buf_add_u8(out, tag[i]);
		im2_lv_add(out, field[i]);
	}
	buf_add(out, s->more);
}

struct intruder_says intruder_truth(const struct intruder *x)
{
	return (struct intruder_says){
		.ed = bytes_of(keyring_ed(x->k), ED_BYTES),
		.binding = bytes_of(keyring_binding(x->k), SIG_BYTES),
		.rx = BYTES_LIT("evil"),
	};
}

static void say(struct intruder *x, uint8_t kind, const struct intruder_says *s, struct buf *out)
{
	struct buf hs;

	buf_init(&hs, IM2_SHAKE_UNIT_MAX);
	intruder_payload(s, &hs);
	buf_add_u8(out, kind);
	BUG_ON(noise_write(&x->noise, buf_bytes(&hs), out) != ERR_OK);
	buf_fini(&hs);
}

static bool hear(struct intruder *x, struct bytes message)
{
	struct buf hs;
	enum err e;

	buf_init(&hs, IM2_SHAKE_UNIT_MAX);
	e = noise_read(&x->noise, message, &hs);
	buf_fini(&hs);
	return e == ERR_OK;
}

/* --- as a dialler --- */

void intruder_x1(struct intruder *x, struct buf *out)
{
	uint8_t ya[32];

	env_random(&x->e->env, x->nonce_c, sizeof x->nonce_c);
	share(x, ya);
	buf_add_u8(&x->x1, IM2_UNIT_X1);
	buf_add_u8(&x->x1, IM2_MODE_MESH);
	buf_add(&x->x1, BYTES_ARR(x->nonce_c));
	buf_add(&x->x1, BYTES_ARR(ya));
	buf_add(out, buf_bytes(&x->x1));
}

bool intruder_take_x2(struct intruder *x, struct bytes x2)
{
	if (x2.n < 81)
		return false;
	noise_begin(x, x2.p + 1);
	return hear(x, bytes_of(x2.p + 33, x2.n - 33));
}

void intruder_x3(struct intruder *x, const struct intruder_says *s, struct buf *out)
{
	say(x, IM2_UNIT_X3, s, out);
}

bool intruder_take_x4(struct intruder *x, struct bytes x4, struct im2_secrets *out)
{
	if (x4.n < 1 || !hear(x, bytes_of(x4.p + 1, x4.n - 1)))
		return false;
	im2_noise_finish(&x->noise, out);
	return true;
}

/* --- as a listener --- */

void intruder_x2(struct intruder *x, struct bytes x1, struct buf *out)
{
	x->listener = true;
	BUG_ON(x1.n < 50);
	memcpy(x->nonce_c, x1.p + 2, sizeof x->nonce_c);
	buf_add(&x->x1, x1);
	share(x, x->yb);
	noise_begin(x, x->yb);
	buf_add_u8(out, IM2_UNIT_X2);
	buf_add(out, BYTES_ARR(x->yb));
	BUG_ON(noise_write(&x->noise, bytes_of(NULL, 0), out) != ERR_OK);
}

bool intruder_take_x3(struct intruder *x, struct bytes x3)
{
	return x3.n > 1 && hear(x, bytes_of(x3.p + 1, x3.n - 1));
}

void intruder_x4(struct intruder *x, const struct intruder_says *s, struct buf *out, struct im2_secrets *secrets)
{
	say(x, IM2_UNIT_X4, s, out);
	im2_noise_finish(&x->noise, secrets);
}

bool stands_in(struct bytes hay, struct bytes needle)
{
	return needle.n && hay.n >= needle.n && memmem(hay.p, hay.n, needle.p, needle.n) != NULL;
}
