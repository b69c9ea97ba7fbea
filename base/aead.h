/*
 * aead.h -- ChaCha20-Poly1305 (RFC 8439) for bulk: libcrypto, about twice as fast as libsodium from some
 * kilobytes on, the same bytes. Below AEAD_BULK libsodium costs less; callers choose by size.
 */
#ifndef BASE_AEAD_H
#define BASE_AEAD_H

#include "base/wire.h"

#define AEAD_BULK 4096
#define AEAD_TAG 16
#define AEAD_NONCE 12

/* out: plain.n + 16 bytes; may be plain.p. ERR_NOMEM when libcrypto refuses: nothing was written that opens. */
enum err aead_seal_bulk(const uint8_t key[static 32], const uint8_t nonce[static AEAD_NONCE], struct bytes ad,
			struct bytes plain, uint8_t *out) MUST_CHECK;
/* out: cipher.n - 16 bytes; zeroed on any error. ERR_SHORT, ERR_AUTH. */
enum err aead_open_bulk(const uint8_t key[static 32], const uint8_t nonce[static AEAD_NONCE], struct bytes ad,
			struct bytes cipher, uint8_t *out) MUST_CHECK;

#endif
