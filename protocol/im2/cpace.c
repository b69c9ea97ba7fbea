#include "protocol/im2/cpace.h"

#include <sodium.h>

#include "base/secret.h"

_Static_assert(CPACE_POINT == crypto_core_ristretto255_BYTES, "ristretto255");
_Static_assert(CPACE_POINT == crypto_core_ristretto255_SCALARBYTES, "ristretto255");
_Static_assert(CPACE_ISK == crypto_hash_sha512_BYTES, "SHA-512");
_Static_assert(CPACE_ISK == crypto_core_ristretto255_HASHBYTES, "from_hash takes a SHA-512");

#define DSI	"CPaceRistretto255"
#define DSI_ISK "CPaceRistretto255_ISK"
#define BLOCK	128 /* of SHA-512: the password fills the first one alone */

/* Hashed piece by piece: the string with the password in it is never whole in memory. */
typedef void (*put_fn)(void *ctx, struct bytes x);

static void put_hash(void *ctx, struct bytes x)
{
	crypto_hash_sha512_update(ctx, x.p, x.n);
}

static void put_buf(void *ctx, struct bytes x)
{
	buf_add(ctx, x);
}

/* prepend_len of the draft is LEB128, as lv() of im2.md 3.1. */
static size_t length_put(uint8_t p[static 10], size_t n)
{
	size_t i = 0;

	for (; n >= 0x80; n >>= 7)
		p[i++] = (uint8_t)(n | 0x80);
	p[i++] = (uint8_t)n;
	return i;
}

static size_t put_lv(put_fn put, void *ctx, struct bytes x)
{
	uint8_t length[10];
	size_t n = length_put(length, x.n);

	put(ctx, bytes_of(length, n));
	if (x.n)
		put(ctx, x);
	return n + x.n;
}

static void put_generator_string(put_fn put, void *ctx, struct bytes prs, struct bytes ci,
				 struct bytes sid)
{
	static const uint8_t zeros[BLOCK];
	size_t used = put_lv(put, ctx, BYTES_LIT(DSI)) + put_lv(put, ctx, prs);

	put_lv(put, ctx, bytes_of(zeros, used < BLOCK - 1 ? BLOCK - 1 - used : 0));
	put_lv(put, ctx, ci);
	put_lv(put, ctx, sid);
}

void cpace_scalar(const uint8_t random[static 64], uint8_t out[static 32])
{
	crypto_core_ristretto255_scalar_reduce(out, random);
	/* Chance 2^-252; a zero would make the share the identity. */
	out[0] |= (uint8_t)is_zero(out, 32);
}

void cpace_generator_string(struct bytes prs, struct bytes ci, struct bytes sid, struct buf *out)
{
	put_generator_string(put_buf, out, prs, ci, sid);
}

void cpace_generator(struct bytes prs, struct bytes ci, struct bytes sid,
		     uint8_t g[static CPACE_POINT])
{
	crypto_hash_sha512_state s;
	uint8_t hash[crypto_hash_sha512_BYTES];

	crypto_hash_sha512_init(&s);
	put_generator_string(put_hash, &s, prs, ci, sid);
	crypto_hash_sha512_final(&s, hash);
	crypto_core_ristretto255_from_hash(g, hash);
	wipe(&s, sizeof s);
	wipe(hash, sizeof hash);
}

enum err cpace_share(const uint8_t scalar[static 32], const uint8_t g[static CPACE_POINT],
		     uint8_t y[static CPACE_POINT])
{
	return crypto_scalarmult_ristretto255(y, scalar, g) == 0 ? ERR_OK : ERR_AUTH;
}

enum err cpace_finish(const uint8_t scalar[static 32], const uint8_t their[static CPACE_POINT],
		      struct bytes sid, struct bytes ya, struct bytes ada, struct bytes yb,
		      struct bytes adb, uint8_t isk[static CPACE_ISK])
{
	uint8_t k[CPACE_POINT];
	crypto_hash_sha512_state s;

	/* RFC 9496 4.3.1 refuses a set top bit; libsodium 1.0.18 masks it away. */
	if (their[CPACE_POINT - 1] & 0x80 || cpace_share(scalar, their, k) != ERR_OK) {
		wipe(k, sizeof k);
		return ERR_AUTH;
	}
	crypto_hash_sha512_init(&s);
	put_lv(put_hash, &s, BYTES_LIT(DSI_ISK));
	put_lv(put_hash, &s, sid);
	put_lv(put_hash, &s, BYTES_ARR(k));
	put_lv(put_hash, &s, ya);
	put_lv(put_hash, &s, ada);
	put_lv(put_hash, &s, yb);
	put_lv(put_hash, &s, adb);
	crypto_hash_sha512_final(&s, isk);
	wipe(&s, sizeof s);
	wipe(k, sizeof k);
	return ERR_OK;
}
