/* rooms: protocol trust base */
/*
 * Sealed objects. The first byte is the door: a routing header, the body of an object of which only
 * the genuine one may open, the header of that object, a plaintext that alice seals to bob's
 * prekey.
 */
#include "protocol/im2/noise.h"
#include "protocol/im2/seal.h"
#include "tests/lib/protocol_env.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RT, BODY, HEADER, PLAIN, DOORS };

static struct penv env;
static struct keyring *alice, *bob;
static struct im2_prekeys *prekeys;
static struct im2_prekey prekey;
static struct buf rt, body; /* the genuine one */

static struct keyring *seeded(uint8_t n)
{
	uint8_t seed[SEED_BYTES], salt[HKDF_SALT_BYTES];
	struct keyring *k;

	memset(seed, n, sizeof seed);
	for (size_t i = 0; i < sizeof salt; i++)
		salt[i] = (uint8_t)(16 * n + i + 1);
	BUG_ON(keyring_from_seed(seed, salt, &k) != ERR_OK);
	return k;
}

static enum err keep(void *ctx, const struct im2_prekey *keys, size_t n)
{
	prekey = keys[0];
	return ERR_OK;
}

static bool who(void *ctx, const uint8_t x[static 32], uint8_t ed[static ED_BYTES])
{
	if (!ctx || memcmp(x, keyring_x25519(alice), 32) != 0)
		return false;
	memcpy(ed, keyring_ed(alice), ED_BYTES);
	return true;
}

static enum im2_refusal open_it(struct bytes head, struct bytes object, bool pinned,
				struct buf *plain, struct im2_opened *o)
{
	enum im2_refusal r =
		im2_open_sealed(bob, prekeys, head, object, who, pinned ? &env : NULL, plain, o);

	BUG_ON(r != IM2_FINE && plain->n != 0);
	return r;
}

static enum err ring_dh(void *ctx, const uint8_t their[static NOISE_KEY],
			uint8_t out[static NOISE_KEY])
{
	return keyring_noise_dh(ctx, their, out);
}

/* Any plaintext, as a member who means harm would seal it. */
static void seal_raw(struct bytes plain, struct buf *out)
{
	struct noise_static s = {.dh = ring_dh, .ctx = alice};
	static const uint8_t e[32] = {5};
	struct buf prologue;
	struct noise x;

	memcpy(s.pub, keyring_x25519(alice), sizeof s.pub);
	buf_init(&prologue, 512);
	buf_add(&prologue, BYTES_LIT("ironmesh-im2/sealed\0"));
	buf_add(&prologue, bytes_of(keyring_ed(bob), ED_BYTES));
	im2_lv_add(&prologue, buf_bytes(&rt));
	noise_init(&x, &(struct noise_opts){.pattern = NOISE_X,
					    .initiator = true,
					    .prologue = buf_bytes(&prologue),
					    .s = &s,
					    .rs = prekey.pub});
	noise_set_ephemeral(&x, e);
	BUG_ON(noise_write(&x, plain, out) != ERR_OK);
	noise_wipe(&x);
	buf_fini(&prologue);
}

static void set_up(void)
{
	static const uint8_t ping[8] = "sealing";
	struct im2_seal_to to = {.ttl_s = 60, .prio = PRIO_NORMAL};
	struct im2_sealed sealed;
	struct buf items;
	bool changed;

	penv_init(&env);
	alice = seeded(0);
	bob = seeded(1);
	struct im2_prekeys_config c = {.env = &env.env, .keyring = bob, .save = keep};
	BUG_ON(im2_prekeys_new(&c, NULL, 0, &prekeys) != ERR_OK ||
	       im2_prekeys_tick(prekeys, &changed) != ERR_OK);
	memcpy(to.ed, keyring_ed(bob), ED_BYTES);
	to.prekey_record = im2_prekeys_record(prekeys);
	buf_init(&rt, IM2_RT_MAX);
	buf_init(&body, 4096);
	buf_init(&items, 512);
	im2_item_add(&items, IM2_ITEM_PING, BYTES_ARR(ping));
	BUG_ON(im2_seal(&env.env, alice, &to, env.wall_ms, buf_bytes(&items), &rt, &body,
			&sealed) != IM2_FINE);
	buf_fini(&items);
}

static void header(struct bytes in)
{
	struct im2_rt r;
	struct buf back;

	if (im2_rt_parse(in, &r) != IM2_FINE)
		return;
	buf_init(&back, IM2_RT_MAX);
	im2_rt_write(&r, &back);
	struct im2_fields f;
	BUG_ON(im2_parse(&im2_rt, in, &f) != IM2_FINE);
	BUG_ON((f.unknown == 0) != bytes_eq(buf_bytes(&back), in));
	buf_fini(&back);
}

static void plaintext(struct bytes in, struct buf *plain)
{
	struct im2_opened o;
	struct bytes value;
	struct buf object;
	uint16_t tag;

	buf_init(&object, IM2_ROUTED_BODY_MAX);
	seal_raw(in, &object);
	for (int pinned = 0; pinned < 2; pinned++) {
		buf_reset(plain);
		if (open_it(buf_bytes(&rt), buf_bytes(&object), pinned, plain, &o) != IM2_FINE)
			continue;
		BUG_ON(o.no_fs || (pinned && o.introduced) || (!pinned && !o.introduced));
		BUG_ON(pinned && memcmp(o.author_ed, keyring_ed(alice), ED_BYTES) != 0);
		BUG_ON(memcmp(o.sender_x, keyring_x25519(alice), X25519_BYTES) != 0);
		while (im2_item_next(&o.items, &tag, &value)) {
			BUG_ON(tag == IM2_ITEM_IDENT || tag == IM2_ITEM_MSG);
			BUG_ON(im2_item_name(tag) && im2_item_check(tag, value) != IM2_FINE);
		}
	}
	buf_fini(&object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct im2_opened o;
	struct buf plain;
	struct bytes in;

	if (size == 0 || data[0] >= DOORS || size > 65536)
		return 0;
	if (!bob)
		set_up();
	in = bytes_of(data + 1, size - 1);
	buf_init(&plain, IM2_SEAL_PLAIN_MAX);
	switch (data[0]) {
	case RT:
		header(in);
		break;
	case BODY:
		BUG_ON((open_it(buf_bytes(&rt), in, true, &plain, &o) == IM2_FINE) !=
		       bytes_eq(in, buf_bytes(&body)));
		break;
	case HEADER:
		BUG_ON((open_it(in, buf_bytes(&body), true, &plain, &o) == IM2_FINE) !=
		       bytes_eq(in, buf_bytes(&rt)));
		break;
	default:
		plaintext(in, &plain);
	}
	buf_fini(&plain);
	return 0;
}
