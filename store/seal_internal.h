/*
 * seal_internal.h -- the sealing of rows, and the database key in its wrapping.
 *
 * XChaCha20-Poly1305. A sealed value is nonce || ciphertext || tag. The associated data names the
 * row (see row_ad_*() in outbox.c and inbox.c), so a value opens only where it was put.
 */
#ifndef STORE_SEAL_INTERNAL_H
#define STORE_SEAL_INTERNAL_H

#include <sodium.h>

#include "base/buf.h"
#include "base/env.h"
#include "base/secret.h"

#define SEAL_KEY_BYTES	 crypto_aead_xchacha20poly1305_ietf_KEYBYTES
#define SEAL_NONCE_BYTES crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define SEAL_TAG_BYTES	 crypto_aead_xchacha20poly1305_ietf_ABYTES
#define SEAL_OVERHEAD	 (SEAL_NONCE_BYTES + SEAL_TAG_BYTES)
#define SEAL_WRAP_BYTES	 (SEAL_OVERHEAD + SEAL_KEY_BYTES)
#define SEAL_POOL	 64

struct seal {
	struct secret key;
	struct env *env;
	/* Nonces are drawn SEAL_POOL at a time: one system call for each would cost more than the
	 * cipher does on a small row. */
	uint8_t pool[SEAL_POOL * SEAL_NONCE_BYTES];
	size_t pool_left;
};

/* A fresh database key, and its form wrapped under `wrap_key`. */
enum err seal_create(struct seal *s, struct env *env, struct bytes wrap_key,
		     uint8_t wrapped[static SEAL_WRAP_BYTES]) MUST_CHECK;
/* ERR_AUTH when `wrap_key` does not open it. */
enum err seal_load(struct seal *s, struct env *env, struct bytes wrap_key,
		   struct bytes wrapped) MUST_CHECK;
/* The key that is loaded, wrapped under another key. */
void seal_wrap(const struct seal *s, struct bytes wrap_key,
	       uint8_t wrapped[static SEAL_WRAP_BYTES]);
void seal_fini(struct seal *s);

/* Appends the sealed form of `clear`. ERR_LIMIT or ERR_NOMEM from the buffer. */
enum err seal_put(struct seal *s, struct bytes ad, struct bytes clear, struct buf *out) MUST_CHECK;
/* Appends the clear form. ERR_CORRUPT when it was altered, or belongs to another row. */
enum err seal_open(const struct seal *s, struct bytes ad, struct bytes sealed,
		   struct buf *out) MUST_CHECK;

#endif
