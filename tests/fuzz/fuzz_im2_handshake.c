/* rooms: protocol trust base */
/*
 * The units of both handshakes of im2 against live states. The first byte is the door. Small units and
 * payloads that parse print back to themselves; of X1 to X4, I1 and I2 only the genuine one may pass;
 * a payload inside an authentic I1 is taken exactly when it parses by itself.
 */
#include "protocol/im2/handshake_internal.h"
#include "tests/lib/protocol_env.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { S1, ERR, X1, X2, X3, X4, I1, I2, HS, INSIDE, DOORS };

static struct keyring *a, *b;
static struct penv env;
static const uint8_t prs[32] = "the stretched passphrase of all";
/* On a link what does not open has no effect, so one state serves every input. */
static const struct im2_binding link_binding = {
	.transport = IM2_RNS_LINK,
	.chan = {(const uint8_t *)"0123456789abcdef", 16},
};
static const struct im2_hello mine = {.rx = {1, 2, 3, 4}, .name = "fuzz"};

/* Two handshakes stopped before X2 and X4 are heard, one before X3, one before I2. */
static struct im2_xx at_x2, at_x3, at_x4, other;
static struct im2_ik at_i2, answering;
static struct buf x1, x2, x3, x4, i1, i2;

static void clear(struct buf *u)
{
	buf_fini(u);
	buf_init(u, IM2_SHAKE_UNIT_MAX);
}

static void play(struct im2_xx *d, struct im2_xx *l, int upto)
{
	struct im2_hello heard;
	struct im2_secrets s;

	clear(&x1);
	clear(&x2);
	BUG_ON(im2_xx_dial(d, &env.env, a, IM2_MODE_MESH, 0, BYTES_ARR(prs), &link_binding, &x1));
	BUG_ON(im2_xx_listen(l, &env.env, b, BYTES_ARR(prs), &link_binding, buf_bytes(&x1), &x2));
	if (upto < X3)
		return;
	clear(&x3);
	BUG_ON(im2_xx_take_x2(d, buf_bytes(&x2), &mine, &x3));
	if (upto < X4)
		return;
	clear(&x4);
	BUG_ON(im2_xx_take_x3(l, buf_bytes(&x3), &heard));
	BUG_ON(im2_xx_x4(l, &mine, &x4, &s));
}

static enum im2_refusal hear_i1(struct im2_ik *r, struct bytes unit, struct im2_hello *heard)
{
	uint8_t x[32];
	enum im2_refusal why = im2_ik_peek(r, &env.env, b, &link_binding, 0, unit, x);

	if (why != IM2_FINE)
		return why;
	BUG_ON(memcmp(x, keyring_x25519(a), 32) != 0);
	return im2_ik_payload(r, heard);
}

static void set_up(void)
{
	struct buf keep[4];
	struct im2_hello heard;
	struct im2_secrets s;

	penv_init(&env);
	a = keyring_number(0);
	b = keyring_number(1);
	play(&at_x4, &other, X4);
	keep[0] = x4;
	x4 = (struct buf){0};
	im2_xx_wipe(&other);
	play(&other, &at_x3, X3);
	keep[1] = x3;
	x3 = (struct buf){0};
	im2_xx_wipe(&other);
	play(&at_x2, &other, X2);
	im2_xx_wipe(&other);
	x3 = keep[1];
	x4 = keep[0];
	buf_init(&i1, IM2_SHAKE_UNIT_MAX);
	buf_init(&i2, IM2_SHAKE_UNIT_MAX);
	BUG_ON(im2_ik_start(&at_i2, &env.env, a, &link_binding, 0, keyring_ed(b), keyring_x25519(b), NULL,
			    bytes_of(NULL, 0), &mine, &i1));
	BUG_ON(hear_i1(&answering, buf_bytes(&i1), &heard));
	BUG_ON(im2_ik_answer(&answering, keyring_ed(a), NULL, bytes_of(NULL, 0), &mine, &i2, &s));
}

static void small(int door, struct bytes in)
{
	struct im2_err_unit e;
	uint8_t nonce[32];
	struct buf back;
	bool read;

	buf_init(&back, 64);
	if (door == S1) {
		read = im2_s1_parse(in, nonce) == IM2_FINE;
		if (read)
			im2_s1_write(&back, nonce);
	} else {
		read = im2_err_parse(in, &e) == IM2_FINE;
		if (read)
			im2_err_write(&back, &e);
	}
	BUG_ON(read && !bytes_eq(buf_bytes(&back), in));
	buf_fini(&back);
}

/* Whatever the listener makes of a stranger's X1, a dialler that said another one refuses. */
static void first_unit(struct bytes in)
{
	uint8_t mode;
	uint16_t passgen;
	struct im2_xx l;
	struct buf out, x3_out;
	enum im2_refusal peek = im2_x1_peek(in, &mode, &passgen);

	buf_init(&out, IM2_SHAKE_UNIT_MAX);
	buf_init(&x3_out, IM2_SHAKE_UNIT_MAX);
	enum im2_refusal why = im2_xx_listen(&l, &env.env, b, BYTES_ARR(prs), &link_binding, in, &out);
	BUG_ON(peek != IM2_FINE && why != peek);
	BUG_ON(why == IM2_FINE && mode != IM2_MODE_MESH);
	BUG_ON((why == IM2_FINE) != (out.n != 0));
	if (why == IM2_FINE && !bytes_eq(in, buf_bytes(&x1)))
		BUG_ON(im2_xx_take_x2(&at_x2, buf_bytes(&out), &mine, &x3_out) == IM2_FINE);
	im2_xx_wipe(&l);
	buf_fini(&out);
	buf_fini(&x3_out);
}

static void later_unit(int door, struct bytes in)
{
	const struct buf *genuine = door == X2 ? &x2 : door == X3 ? &x3 : door == X4 ? &x4 : &i2;
	struct im2_hello heard = {0};
	struct im2_secrets s = {0};
	enum im2_refusal why;
	struct buf out;

	if (bytes_eq(in, buf_bytes(genuine)))
		return;
	buf_init(&out, IM2_SHAKE_UNIT_MAX);
	if (door == X2)
		why = im2_xx_take_x2(&at_x2, in, &mine, &out);
	else if (door == X3)
		why = im2_xx_take_x3(&at_x3, in, &heard);
	else if (door == X4)
		why = im2_xx_take_x4(&at_x4, in, &heard, &s);
	else
		why = im2_ik_finish(&at_i2, in, &heard, &s);
	BUG_ON(why == IM2_FINE || why == IM2_E_CONTEXT || out.n != 0);
	BUG_ON(!is_zero(&heard, sizeof heard) || !is_zero(&s, sizeof s));
	buf_fini(&out);
}

static void known_unit(struct bytes in)
{
	struct im2_hello heard;
	struct im2_ik r;

	if (!bytes_eq(in, buf_bytes(&i1)))
		BUG_ON(hear_i1(&r, in, &heard) == IM2_FINE);
	im2_ik_wipe(&r);
}

/* Columns of 5.5 by the first byte; what is taken prints back, but for what im2_hello leaves out. */
static enum im2_refusal payload(uint8_t column, struct bytes in)
{
	static const struct {
		enum im2_unit_kind unit;
		uint8_t mode, transport;
	} as[] = {{IM2_UNIT_X3, IM2_MODE_MESH, IM2_WEBSOCKET}, {IM2_UNIT_X4, IM2_MODE_CODE, IM2_WEBSOCKET},
		  {IM2_UNIT_I1, IM2_MODE_IK, IM2_RNS_LINK},   {IM2_UNIT_I1, IM2_MODE_IK, IM2_RNS_PACKET},
		  {IM2_UNIT_I2, IM2_MODE_IK, IM2_RNS_LINK}};
	size_t c = column % (sizeof as / sizeof *as);
	struct im2_hello h, again;
	struct buf back;
	enum im2_refusal why = im2_hello_read(in, as[c].unit, as[c].mode, as[c].transport, &h);

	if (why != IM2_FINE)
		return why;
	buf_init(&back, IM2_SHAKE_UNIT_MAX);
	im2_hello_write(&back, as[c].unit, as[c].mode, a, &h);
	BUG_ON(back.err != ERR_OK || back.n > in.n + 2);
	BUG_ON(im2_hello_read(buf_bytes(&back), as[c].unit, as[c].mode, as[c].transport, &again) != IM2_FINE);
	/* The writer takes identity and binding from the keyring. */
	memcpy(again.ed, h.ed, sizeof h.ed);
	memcpy(again.binding, h.binding, sizeof h.binding);
	BUG_ON(memcmp(&again, &h, sizeof h) != 0);
	buf_fini(&back);
	return IM2_FINE;
}

static void inside(struct bytes in)
{
	struct noise_static s = im2_noise_static(a);
	struct im2_hello heard;
	struct noise n;
	struct im2_ik r;
	struct buf pro, unit;
	uint8_t e[32];

	buf_init(&pro, IM2_CTX_MAX);
	buf_init(&unit, 8192);
	im2_ctx(&pro, IM2_MODE_IK, link_binding.transport, link_binding.chan, link_binding.cb);
	buf_add(&pro, BYTES_ARR(link_binding.h1));
	buf_add_u8(&pro, 0);
	noise_init(&n, &(struct noise_opts){.pattern = NOISE_IKPSK2,
					    .initiator = true,
					    .prologue = buf_bytes(&pro),
					    .s = &s,
					    .rs = keyring_x25519(b)});
	env_random(&env.env, e, sizeof e);
	noise_set_ephemeral(&n, e);
	buf_add_u8(&unit, IM2_UNIT_I1);
	BUG_ON(noise_write(&n, in, &unit) != ERR_OK);
	enum im2_refusal why = hear_i1(&r, buf_bytes(&unit), &heard);
	if (unit.n > IM2_SHAKE_UNIT_MAX)
		BUG_ON(why != IM2_E_LIMIT);
	else
		BUG_ON(why != payload(2, in));
	im2_ik_wipe(&r);
	noise_wipe(&n);
	buf_fini(&pro);
	buf_fini(&unit);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 || size > IM2_SHAKE_UNIT_MAX + 2)
		return 0;
	if (!a)
		set_up();
	uint8_t door = data[0] % DOORS, column = data[0] / DOORS;
	/* An exact copy, so that the address sanitizer sees a read past the end. */
	uint8_t *copy = malloc(size - 1 ? size - 1 : 1);
	BUG_ON(!copy);
	memcpy(copy, data + 1, size - 1);
	struct bytes in = bytes_of(copy, size - 1);
	switch (door) {
	case S1:
	case ERR:
		small(door, in);
		break;
	case X1:
		first_unit(in);
		break;
	case I1:
		known_unit(in);
		break;
	case HS:
		payload(column, in);
		break;
	case INSIDE:
		inside(in);
		break;
	default:
		later_unit(door, in);
	}
	free(copy);
	return 0;
}
