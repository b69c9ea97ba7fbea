/*
 * keyfile.h -- keys.json: written as version 3, read as 1, 2 and 3 (wire 9.3).
 *
 * Encrypted with Argon2id (ops 3, 256 MiB) and SecretBox unless the caller says `clear` out loud.
 * Loading checks that the public key belongs to the seed, that HKDF reproduces the X25519 seed, that
 * the base point reproduces its public key, and that the binding verifies; anything else is
 * ERR_CORRUPT and nothing is used. Version 1 and 2 files load into a keyring with a fresh hkdf_salt;
 * `info.migrated` says so and keyfile_migrate() writes it (the original is kept as
 * keys.json.legacy.bak).
 */
#ifndef TRUST_KEYFILE_H
#define TRUST_KEYFILE_H

#include "trust/keyring.h"

#define KEYFILE_MAX_BYTES 65536

struct keyfile_info {
	int version;
	bool encrypted;
	bool migrated; /* loaded from version 1 or 2: the X25519 identity is new */
	char name[257]; /* agent_name as stored, cleaned by text_safe */
	uint8_t ed[ED_BYTES];
	struct node_id id;
};

/* The public part only: no passphrase, no Argon2id. */
enum err keyfile_peek(struct bytes json, struct keyfile_info *out, struct fault *f) MUST_CHECK;
/* `passphrase` may be empty for a clear file. ERR_AUTH: wrong passphrase. ERR_DENIED: the file is
 * encrypted and no passphrase was given. Costs 0.5-0.7 s and 256 MiB when encrypted. */
enum err keyfile_parse(struct bytes json, struct bytes passphrase, struct env *env,
		       struct keyring **out, struct keyfile_info *info, struct fault *f) MUST_CHECK;
/* Version 3 text as wire 9.3 prints it (indent 2). Empty passphrase with clear = false is ERR_USAGE. */
enum err keyfile_write(const struct keyring *k, const char *name, struct bytes passphrase, bool clear,
		       struct env *env, struct buf *out, struct fault *f) MUST_CHECK;

/* File forms, through base/file.h: secret-file checks, atomic writes. */
enum err keyfile_load(const char *path, struct bytes passphrase, struct env *env, struct keyring **out,
		      struct keyfile_info *info, struct fault *f) MUST_CHECK;
enum err keyfile_create(const char *path, const struct keyring *k, const char *name,
			struct bytes passphrase, bool clear, struct env *env, struct fault *f) MUST_CHECK;
/* Rewrites a version 1 or 2 file as 3, keeps the original beside it. ERR_WRONG_STATE when already 3. */
enum err keyfile_migrate(const char *path, struct bytes passphrase, struct env *env,
			 struct fault *f) MUST_CHECK;
/* Writes a key that is stored in clear anew, encrypted; nothing of the clear file is kept, but for what the disk may still
 * hold of it. ERR_WRONG_STATE: it is encrypted already, or of version 1 or 2. ERR_USAGE: `passphrase` is empty. */
enum err keyfile_encrypt(const char *path, struct bytes passphrase, struct env *env, struct fault *f) MUST_CHECK;
/* A new identity in place of the old one (a new node id, wire 9.4): the old file is kept as
 * keys.json.<old id>.bak. *out is the new keyring; the caller announces KEY_ROTATE with the old. */
enum err keyfile_rotate(const char *path, struct bytes passphrase, struct env *env,
			struct keyring **out, struct fault *f) MUST_CHECK;
/* The same with a keyring the caller has made, whose keys may be elsewhere (then `passphrase` is not looked at), for whoever must prepare other files under it first. */
enum err keyfile_rotate_to(const char *path, struct bytes passphrase, struct env *env,
			   const struct keyring *fresh, struct fault *f) MUST_CHECK;

#endif
