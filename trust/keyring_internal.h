/*
 * keyring_internal.h -- what only the key file may see: the seeds themselves.
 *
 * The pointers live as long as the keyring and point into its locked memory; copy nothing out of it
 * that is not wiped again.
 */
#ifndef TRUST_KEYRING_INTERNAL_H
#define TRUST_KEYRING_INTERNAL_H

#include "trust/keyring.h"

#define SEED_BYTES 32
#define HKDF_SALT_BYTES 16

/* NULL: the keys are here, and the pointers below are there. */
const struct keyring_ops *keyring_ops(const struct keyring *k);
void *keyring_ops_ctx(const struct keyring *k);

/* Derives everything from the seed (wire 9.2). ERR_NOMEM is the only failure. */
enum err keyring_from_seed(const uint8_t seed[static SEED_BYTES],
			   const uint8_t hkdf_salt[static HKDF_SALT_BYTES],
			   struct keyring **out) MUST_CHECK;
const uint8_t *keyring_seed(const struct keyring *k);        /* SEED_BYTES */
const uint8_t *keyring_hkdf_salt(const struct keyring *k);   /* HKDF_SALT_BYTES */
const uint8_t *keyring_x25519_seed(const struct keyring *k); /* X25519_BYTES */

#endif
