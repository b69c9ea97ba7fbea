/* rooms: protocol trust base */
/*
 * Signed records against a small cache. The first byte: 0 = one record as it comes; else steps,
 * each step(1) || length(2) || T, signed by bob and delivered by one of four peers, between jumps
 * of the clocks.
 */
#include "protocol/im2/record.h"
#include "tests/lib/protocol_env.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TABLE = 16 };

static struct keyring *bob, *me, *peers[4];
static uint8_t admins[2][ED_BYTES];

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

static void one(struct bytes in)
{
	struct im2_record r;
	struct im2_rotation rotation;
	struct im2_prekey_said said;
	struct buf out;

	if (im2_record_parse(in, &r) != IM2_FINE)
		return;
	BUG_ON(im2_item_check(IM2_ITEM_RECORD, in) != IM2_FINE);
	BUG_ON(r.signers_n == 0 || r.signers_n > IM2_SIGNERS_MAX || r.key.n > IM2_RECORD_KEY_MAX);
	BUG_ON(r.signers_n == 1 && memcmp(r.signers[0], r.author, ED_BYTES) != 0);
	(void)im2_record_verify(&r);
	(void)im2_rotation_of(&r, &rotation);
	(void)im2_prekey_of(&r, &said);
	buf_init(&out, 512);
	im2_recdig_write(&r, &out);
	BUG_ON(im2_item_check(IM2_ITEM_RECDIG, buf_bytes(&out)) != IM2_FINE);
	buf_fini(&out);
}

static void sign(struct bytes t, struct buf *out)
{
	uint8_t sig[SIG_BYTES];
	struct buf input;

	buf_init(&input, 2 * IM2_RECORD_MAX);
	im2_record_input(t, &input);
	keyring_sign(bob, SIG_V3_RECORD, buf_bytes(&input), sig);
	im2_lv_add(out, t);
	buf_add_u8(out, 0);
	buf_add(out, BYTES_ARR(sig));
	buf_fini(&input);
}

static void deliver(struct im2_records *records, struct bytes t, const struct keyring *from)
{
	struct im2_revocation v;
	enum im2_refusal why;
	struct im2_record r;
	struct buf record;

	buf_init(&record, 2 * IM2_RECORD_MAX);
	sign(t, &record);
	switch (im2_records_take(records, buf_bytes(&record), keyring_id(from), &r, &why)) {
	case IM2_REC_REFUSED:
		BUG_ON(why == IM2_FINE);
		break;
	case IM2_REC_NEW:
		BUG_ON(memcmp(r.author, keyring_ed(bob), ED_BYTES) != 0);
		BUG_ON(im2_record_verify(&r) != IM2_FINE);
		if (r.type == IM2_REC_REVOKE_T)
			BUG_ON(im2_revocation_of(records, &r, &v) != IM2_FINE || v.by_quorum);
		BUG_ON(im2_records_take(records, buf_bytes(&record), keyring_id(from), &r, &why) ==
		       IM2_REC_NEW);
		break;
	default:
		BUG_ON(memcmp(r.author, keyring_ed(bob), ED_BYTES) != 0);
	}
	BUG_ON(im2_records_count(records) > TABLE);
	buf_fini(&record);
}

static void steps(struct bytes in)
{
	struct penv env;
	struct im2_records *records;
	struct im2_record r;

	penv_init(&env);
	struct im2_records_config c = {.env = &env.env,
				       .keyring = me,
				       .authors = TABLE,
				       .build_ms = WALL_T / 2,
				       .quorum_k = 2,
				       .admins = (const uint8_t(*)[ED_BYTES])admins,
				       .admins_n = 2};
	BUG_ON(im2_records_new(&c, &records) != ERR_OK);
	while (in.n >= 3) {
		size_t n = (size_t)in.p[1] << 8 | in.p[2];
		uint8_t step = in.p[0];

		in = bytes_of(in.p + 3, in.n - 3);
		if (n > in.n)
			n = in.n;
		if (step & 0x80)
			penv_pass(&env, (uint64_t)(step & 0x70) * 3600000);
		if (step & 8)
			env.wall_ms = WALL_T * (step & 7) / 4;
		deliver(records, bytes_of(in.p, n), peers[step & 3]);
		if (step & 4)
			im2_records_sweep(records);
		struct bytes got = im2_records_get(records, keyring_ed(bob), IM2_REC_PREKEY_T,
						   bytes_of(NULL, 0));
		BUG_ON(got.n && (im2_record_parse(got, &r) != IM2_FINE ||
				 im2_record_verify(&r) != IM2_FINE));
		in = bytes_of(in.p + n, in.n - n);
	}
	im2_records_free(records);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (!bob) {
		bob = seeded(1);
		me = keyring_number(9);
		for (unsigned i = 0; i < 4; i++)
			peers[i] = keyring_number(20 + i);
		memcpy(admins[0], keyring_ed(peers[0]), ED_BYTES);
		memcpy(admins[1], keyring_ed(peers[1]), ED_BYTES);
	}
	if (data[0] == 0)
		one(bytes_of(data + 1, size - 1));
	else
		steps(bytes_of(data + 1, size - 1));
	return 0;
}
