/*
 * keyring.h -- the long-term keys of this node, and what may be done with them.
 *
 * There is no way to read a secret key through this header: callers sign, open and derive. The keys
 * live in guarded, locked memory and are wiped by keyring_free(). Only trust/keyfile.c (through
 * keyring_internal.h) sees the seed.
 *
 * They may also live elsewhere: keyring_elsewhere() makes a keyring out of what everybody may know and a table of
 * operations, behind which the daemon keeps a process of its own. The verbs are the same and mean the same; such a
 * keyring is used by one thread only.
 */
#ifndef TRUST_KEYRING_H
#define TRUST_KEYRING_H

#include "base/buf.h"
#include "base/env.h"
#include "base/secret.h"
#include "trust/identity.h"

struct keyring;

/* A fresh identity: seed and hkdf_salt from env_random (wire 9.2). */
enum err keyring_generate(struct env *env, struct keyring **out) MUST_CHECK;
void keyring_free(struct keyring *k); /* wipes; accepts NULL */

const uint8_t *keyring_ed(const struct keyring *k);      /* ED_BYTES */
const struct node_id *keyring_id(const struct keyring *k);
const uint8_t *keyring_x25519(const struct keyring *k);  /* X25519_BYTES */
const uint8_t *keyring_binding(const struct keyring *k); /* SIG_BYTES over the X25519 key */

/* `whole` begins with sig_prefix(c); BUG otherwise. */
void keyring_sign(const struct keyring *k, enum sig_context c, struct bytes whole,
		  uint8_t sig[static SIG_BYTES]);

/* Opens a SealedBox made for our X25519 identity key or for the converted Ed25519 key: both are
 * tried (wire 3.7). Appends the plaintext. ERR_AUTH when neither opens. */
enum err keyring_open_sealed(const struct keyring *k, struct bytes sealed, struct buf *out) MUST_CHECK;

/* Diffie-Hellman of our X25519 identity secret, which stays inside, with `their` key: the one operation
 * a Noise handshake needs (im2 5.2). ERR_AUTH when the result is all zeros, which is what a key of
 * small order gives; `out` is then untouched. The caller wipes `out`. */
enum err keyring_noise_dh(const struct keyring *k, const uint8_t their[static X25519_BYTES],
			  uint8_t out[static X25519_BYTES]) MUST_CHECK;

/* Keys derived from the seed: SHA256(seed || label) (wire 9.5, 9.7, 9.8), and our own by HKDF. */
enum derived_key {
	DERIVE_TRUST_MAC,    /* "ironmesh-trust-store-v1" */
	DERIVE_TRUST_BOX,    /* "ironmesh-trust-store-encryption-v1" */
	DERIVE_AUDIT,        /* "ironmesh-audit-v1" */
	DERIVE_ROUTES,       /* "ironmesh-routes-v1" */
	DERIVE_CAPABILITIES, /* "ironmesh-capabilities-v1" */
	DERIVE_DB_WRAP,      /* ours: HKDF(seed, salt = hkdf_salt, "ironmesh-db-wrap-v1\0") */
	DERIVE_COUNT
};
enum err keyring_derive(const struct keyring *k, enum derived_key which, struct secret *out) MUST_CHECK;

/* An identity to follow this one (wire 9.4), where this one lives. */
enum err keyring_next(const struct keyring *k, struct env *env, struct keyring **out) MUST_CHECK;

/* --- keys that live elsewhere -------------------------------------------------------------------- */
struct keyring_public {
	uint8_t ed[ED_BYTES];
	uint8_t x25519[X25519_BYTES];
	uint8_t binding[SIG_BYTES];
};

/* As the verbs above. What is given was checked before: a signature always fits its context. */
struct keyring_ops {
	void (*sign)(void *ctx, enum sig_context c, struct bytes whole, uint8_t sig[static SIG_BYTES]);
	enum err (*open_sealed)(void *ctx, struct bytes sealed, struct buf *out);
	enum err (*noise_dh)(void *ctx, const uint8_t their[static X25519_BYTES], uint8_t out[static X25519_BYTES]);
	enum err (*derive)(void *ctx, enum derived_key which, struct secret *out);
	enum err (*next)(void *ctx, struct keyring **out);
	/* The text of a key file for the keys: under the name, and encrypted with the passphrase, of the one that the
	 * first identity there was read from; in clear when that was. */
	enum err (*file)(void *ctx, struct buf *out, struct fault *f);
	void (*free)(void *ctx);
};

/* Takes `ctx`, also when it fails. ERR_AUTH: the binding is not of that key. */
enum err keyring_elsewhere(const struct keyring_public *p, const struct keyring_ops *ops, void *ctx,
			   struct keyring **out) MUST_CHECK;

/* Seals `body` for `x` as crypto_box_seal does, with the ephemeral secret from env_random. */
enum err seal_for(struct env *env, const uint8_t x[static X25519_BYTES], struct bytes body,
		  struct buf *out) MUST_CHECK;

#endif
