/*
 * hash.h -- SHA-256 (libcrypto: bulk speed), HMAC-SHA256 and HKDF-SHA256 (RFC 5869).
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/wire.h"

#define HASH_BYTES 32

void sha256(struct bytes in, uint8_t out[static HASH_BYTES]);
void sha256_2(struct bytes a, struct bytes b, uint8_t out[static HASH_BYTES]); /* of a || b */
void sha256_n(const struct bytes *parts, size_t n, uint8_t out[static HASH_BYTES]); /* of all, joined */
/* Piece by piece. hash_end() frees, also with `out` NULL; accepts NULL. */
struct hash;
struct hash *hash_new(void);
void hash_add(struct hash *h, struct bytes in);
void hash_end(struct hash *h, uint8_t *out);
void hmac_sha256(struct bytes key, struct bytes msg, uint8_t out[static HASH_BYTES]);
void hmac_sha256_2(struct bytes key, struct bytes a, struct bytes b, uint8_t out[static HASH_BYTES]);
/* n <= 255 * 32. An empty salt is 32 zero bytes. */
void hkdf_sha256(struct bytes ikm, struct bytes salt, struct bytes info, uint8_t *out, size_t n);
/* Its second half alone: Expand(prk, info, n). */
void hkdf_expand_sha256(const uint8_t prk[static HASH_BYTES], struct bytes info, uint8_t *out,
			size_t n);

#endif
