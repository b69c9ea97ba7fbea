#include "trust/keyfile.h"

#include <sodium.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/text.h"
#include "trust/keyfile_internal.h"
#include "trust/keyring_internal.h"

#define ARGON_OPS	 3
#define ARGON_MEM	 268435456u
#define ARGON_SALT_BYTES 16
#define BLOB_OVERHEAD	 (crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES)
#define SEED_BLOB_BYTES	 (BLOB_OVERHEAD + SEED_BYTES)
#define FORMAT_V3	 "master-seed-v1"

_Static_assert(ARGON_SALT_BYTES == crypto_pwhash_argon2id_SALTBYTES, "Argon2id salt");

/* The file, decoded but not believed. Seeds are there only when the file is clear. */
struct stored {
	uint8_t salt[ARGON_SALT_BYTES];
	uint8_t hkdf_salt[HKDF_SALT_BYTES];
	uint8_t x25519[X25519_BYTES];
	uint8_t binding[SIG_BYTES];
	uint8_t seed_blob[SEED_BLOB_BYTES], x_blob[SEED_BLOB_BYTES];
	uint8_t seed[SEED_BYTES], x_seed[X25519_BYTES];
};

static enum err corrupt(struct fault *f, const char *what)
{
	fault_set(f, ERR_CORRUPT, EXIT_INTEGRITY, "the key file does not check out: %s", what);
	fault_means(f, "it is damaged or was changed; nothing of it was used");
	fault_next(f, "ironmesh backup restore FILE");
	return ERR_CORRUPT;
}

static enum err get_b64(const json_t *root, const char *key, uint8_t *out, size_t n,
			struct fault *f)
{
	struct bytes text;

	if (json_get_str(root, key, &text) == ERR_OK && base64_decode_exact(text, out, n) == ERR_OK)
		return ERR_OK;
	char what[64];
	snprintf(what, sizeof what, "%s is missing or not %zu bytes of base64", key, n);
	return corrupt(f, what);
}

/* What json_decref() gives back to the heap must not hold a seed. */
static void wipe_members(json_t *root)
{
	static const char *const keys[] = {"ed25519_secret", "x25519_seed"};

	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		json_t *v = json_object_get(root, keys[i]);

		if (json_is_string(v))
			wipe((void *)(uintptr_t)json_string_value(v), json_string_length(v));
	}
}

static enum err load_root(struct bytes json, json_t **out, struct fault *f)
{
	json_t *root;
	enum err e = json_load_strict(json, KEYFILE_MAX_BYTES, &root);

	if (e == ERR_NOMEM)
		return fault_set(f, e, EXIT_RETRY, "no memory to read the key file");
	if (e != ERR_OK)
		return corrupt(f, "it is not a JSON object of at most 64 KiB");
	if (!json_is_object(root)) {
		json_decref(root);
		return corrupt(f, "it is not a JSON object");
	}
	*out = root;
	return ERR_OK;
}

static enum err read_version(const json_t *root, int *out, struct fault *f)
{
	json_t *version = json_object_get(root, "version");

	if (!version) {
		*out = 1; /* wire 9.3: the first form had none */
		return ERR_OK;
	}
	if (!json_is_integer(version) || json_integer_value(version) < 1)
		return corrupt(f, "version is not a positive number");
	if (json_integer_value(version) > 3) {
		fault_set(f, ERR_UNSUPPORTED, EXIT_INTEGRITY,
			  "the key file is of version %lld, newer than this program knows",
			  (long long)json_integer_value(version));
		fault_means(f, "it was written by newer software; nothing was changed");
		fault_next(f, "ironmesh version");
		return ERR_UNSUPPORTED;
	}
	*out = (int)json_integer_value(version);
	return ERR_OK;
}

static enum err read_public(const json_t *root, struct keyfile_info *out, struct fault *f)
{
	struct keyfile_info i = {0};
	struct bytes name = bytes_of("", 0), format;
	enum err e = read_version(root, &i.version, f);

	if (e != ERR_OK)
		return e;
	i.migrated = i.version < 3;
	if (i.version == 3 && (json_get_str(root, "format", &format) != ERR_OK ||
			       !bytes_eq(format, BYTES_LIT(FORMAT_V3))))
		return corrupt(f, "format is not " FORMAT_V3);

	json_t *encrypted = json_object_get(root, "encrypted");
	if (encrypted && !json_is_boolean(encrypted))
		return corrupt(f, "encrypted is neither true nor false");
	i.encrypted = json_is_true(encrypted);

	json_t *stored_name = json_object_get(root, "agent_name");
	if (stored_name && !json_is_string(stored_name))
		return corrupt(f, "agent_name is not text");
	if (stored_name)
		name = bytes_of(json_string_value(stored_name), json_string_length(stored_name));
	text_safe(name, i.name, sizeof i.name);

	e = get_b64(root, "ed25519_public", i.ed, sizeof i.ed, f);
	if (e != ERR_OK)
		return e;
	node_id_of(i.ed, &i.id);
	*out = i;
	return ERR_OK;
}

static enum err read_stored(const json_t *root, const struct keyfile_info *i, struct stored *s,
			    struct fault *f)
{
	bool v3 = i->version == 3;
	enum err e = ERR_OK;

	if (v3)
		e = get_b64(root, "hkdf_salt", s->hkdf_salt, sizeof s->hkdf_salt, f);
	if (v3 && e == ERR_OK)
		e = get_b64(root, "x25519_public", s->x25519, sizeof s->x25519, f);
	if (v3 && e == ERR_OK)
		e = get_b64(root, "x25519_binding_signature", s->binding, sizeof s->binding, f);
	if (e != ERR_OK)
		return e;
	if (i->encrypted) {
		e = get_b64(root, "salt", s->salt, sizeof s->salt, f);
		if (e == ERR_OK)
			e = get_b64(root, "ed25519_secret_encrypted", s->seed_blob,
				    sizeof s->seed_blob, f);
		if (v3 && e == ERR_OK)
			e = get_b64(root, "x25519_seed_encrypted", s->x_blob, sizeof s->x_blob, f);
		return e;
	}
	e = get_b64(root, "ed25519_secret", s->seed, sizeof s->seed, f);
	if (v3 && e == ERR_OK)
		e = get_b64(root, "x25519_seed", s->x_seed, sizeof s->x_seed, f);
	return e;
}

static enum err derive_box_key(struct bytes passphrase, const uint8_t salt[static ARGON_SALT_BYTES],
			       struct secret *out, struct fault *f)
{
	enum err e = secret_init_library();

	if (e == ERR_OK)
		e = secret_new(out, crypto_secretbox_KEYBYTES);
	/* Fails only when the system refuses the 256 MiB. */
	if (e == ERR_OK &&
	    crypto_pwhash(out->p, out->n, (const char *)passphrase.p, passphrase.n, salt, ARGON_OPS,
			  ARGON_MEM, crypto_pwhash_ALG_ARGON2ID13) != 0) {
		secret_free(out);
		e = ERR_NOMEM;
	}
	if (e == ERR_OK)
		return ERR_OK;
	fault_set(f, e, EXIT_RETRY, "no memory to derive the key of the key file");
	fault_means(f, "deriving it takes 256 MiB for half a second");
	return e;
}

static bool box_open(const uint8_t blob[static SEED_BLOB_BYTES], const struct secret *key,
		     uint8_t out[static SEED_BYTES])
{
	return crypto_secretbox_open_easy(out, blob + crypto_secretbox_NONCEBYTES,
					  SEED_BLOB_BYTES - crypto_secretbox_NONCEBYTES, blob,
					  key->p) == 0;
}

static enum err decrypt(struct stored *s, int version, struct bytes passphrase, struct fault *f)
{
	struct secret key = {0};

	if (passphrase.n == 0) {
		fault_set(f, ERR_DENIED, EXIT_USAGE,
			  "the key file is encrypted and no passphrase was given");
		fault_means(f, "without it the identity of this node cannot be used");
		fault_next(f, "ironmesh run --key-passphrase-file FILE");
		return ERR_DENIED;
	}
	enum err e = derive_box_key(passphrase, s->salt, &key, f);
	if (e != ERR_OK)
		return e;
	if (!box_open(s->seed_blob, &key, s->seed)) {
		fault_set(f, ERR_AUTH, EXIT_INTEGRITY, "the passphrase does not open the key file");
		fault_means(f, "it is wrong, or the file was changed");
		fault_next(f, "check the passphrase and run the command again");
		e = ERR_AUTH;
	} else if (version == 3 && !box_open(s->x_blob, &key, s->x_seed)) {
		/* The same key opened the first box, so this is no wrong passphrase. */
		e = corrupt(f, "x25519_seed_encrypted does not open");
	}
	secret_free(&key);
	return e;
}

/* wire 9.3, load checks. */
static enum err check(const struct keyring *k, const struct keyfile_info *i, const struct stored *s,
		      struct fault *f)
{
	if (!ct_equal(keyring_ed(k), i->ed, ED_BYTES))
		return corrupt(f, "ed25519_public does not belong to the secret");
	if (i->version < 3)
		return ERR_OK;
	if (!ct_equal(keyring_x25519_seed(k), s->x_seed, X25519_BYTES))
		return corrupt(f, "the X25519 seed is not derived from the secret");
	if (!ct_equal(keyring_x25519(k), s->x25519, X25519_BYTES))
		return corrupt(f, "x25519_public does not belong to its seed");
	if (!x25519_binding_verify(i->ed, s->x25519, s->binding))
		return corrupt(f, "x25519_binding_signature does not verify");
	return ERR_OK;
}

enum err keyfile_peek(struct bytes json, struct keyfile_info *out, struct fault *f)
{
	json_t *root;
	enum err e = load_root(json, &root, f);

	if (e != ERR_OK)
		return e;
	e = read_public(root, out, f);
	wipe_members(root);
	json_decref(root);
	return e;
}

enum err keyfile_parse_named(struct bytes json, struct bytes passphrase, struct env *env,
			     struct keyring **out, struct keyfile_info *info, struct buf *name,
			     struct fault *f)
{
	json_t *root;
	struct keyfile_info i;
	struct stored s = {0};
	struct keyring *k = NULL;
	enum err e = load_root(json, &root, f);

	if (e != ERR_OK)
		return e;
	e = read_public(root, &i, f);
	if (e == ERR_OK)
		e = read_stored(root, &i, &s, f);
	if (e == ERR_OK && i.encrypted)
		e = decrypt(&s, i.version, passphrase, f);
	if (e == ERR_OK && i.version < 3)
		env_random(env, s.hkdf_salt, sizeof s.hkdf_salt);
	if (e == ERR_OK) {
		e = keyring_from_seed(s.seed, s.hkdf_salt, &k);
		if (e != ERR_OK)
			fault_set(f, e, EXIT_RETRY, "no memory for the keys");
	}
	if (e == ERR_OK)
		e = check(k, &i, &s, f);
	if (e == ERR_OK && name) {
		buf_add_str(name, json_str(root, "agent_name"));
		e = name->err;
	}
	wipe(&s, sizeof s);
	wipe_members(root);
	json_decref(root);
	if (e != ERR_OK) {
		keyring_free(k);
		return e;
	}
	*out = k;
	if (info)
		*info = i;
	return ERR_OK;
}

enum err keyfile_parse(struct bytes json, struct bytes passphrase, struct env *env,
		       struct keyring **out, struct keyfile_info *info, struct fault *f)
{
	return keyfile_parse_named(json, passphrase, env, out, info, NULL, f);
}

static void add_b64(struct buf *out, const char *key, const void *p, size_t n)
{
	char text[BASE64_LEN(SEED_BLOB_BYTES) + 1];

	BUG_ON(BASE64_LEN(n) >= sizeof text);
	base64_encode(bytes_of(p, n), text);
	buf_printf(out, ",\n  \"%s\": \"%s\"", key, text);
	wipe(text, sizeof text);
}

static void add_box(struct buf *out, const char *key, const uint8_t seed[static SEED_BYTES],
		    const struct secret *box_key, struct env *env)
{
	uint8_t blob[SEED_BLOB_BYTES];

	env_random(env, blob, crypto_secretbox_NONCEBYTES);
	crypto_secretbox_easy(blob + crypto_secretbox_NONCEBYTES, seed, SEED_BYTES, blob,
			      box_key->p);
	add_b64(out, key, blob, sizeof blob);
}

enum err keyfile_write(const struct keyring *k, const char *name, struct bytes passphrase,
		       bool clear, struct env *env, struct buf *out, struct fault *f)
{
	uint8_t salt[ARGON_SALT_BYTES];
	struct secret key = {0};

	if (clear == (passphrase.n != 0)) {
		fault_set(
			f, ERR_USAGE, EXIT_USAGE,
			clear ? "a passphrase was given for a key file that shall not be encrypted"
			      : "the key file needs a passphrase");
		fault_means(f,
			    "the file holds the identity of this node; who reads it is this node");
		fault_next(f, "ironmesh keys generate --key-passphrase-file FILE");
		return ERR_USAGE;
	}
	if (!utf8_valid(bytes_str(name)))
		return fault_set(f, ERR_USAGE, EXIT_USAGE, "the agent name is not valid UTF-8");
	if (!clear) {
		env_random(env, salt, sizeof salt);
		enum err e = derive_box_key(passphrase, salt, &key, f);
		if (e != ERR_OK)
			return e;
	}
	/* Room for all of it at once: a buffer that moves leaves its seeds in the old place. */
	if (!buf_reserve(out, 2048 + 6 * strlen(name ? name : ""))) {
		secret_free(&key);
		return fault_set(f, out->err, EXIT_RETRY, "no room for the key file");
	}
	buf_add_str(out,
		    "{\n  \"version\": 3,\n  \"format\": \"" FORMAT_V3 "\",\n  \"agent_name\": ");
	json_add_string(out, bytes_str(name));
	add_b64(out, "ed25519_public", keyring_ed(k), ED_BYTES);
	add_b64(out, "hkdf_salt", keyring_hkdf_salt(k), HKDF_SALT_BYTES);
	add_b64(out, "x25519_public", keyring_x25519(k), X25519_BYTES);
	add_b64(out, "x25519_binding_signature", keyring_binding(k), SIG_BYTES);
	if (clear) {
		add_b64(out, "ed25519_secret", keyring_seed(k), SEED_BYTES);
		add_b64(out, "x25519_seed", keyring_x25519_seed(k), X25519_BYTES);
	} else {
		add_b64(out, "salt", salt, sizeof salt);
		add_box(out, "ed25519_secret_encrypted", keyring_seed(k), &key, env);
		add_box(out, "x25519_seed_encrypted", keyring_x25519_seed(k), &key, env);
	}
	buf_printf(out, ",\n  \"encrypted\": %s\n}", clear ? "false" : "true");
	secret_free(&key);
	if (out->err != ERR_OK)
		return fault_set(f, out->err, EXIT_RETRY, "no room for the key file");
	return ERR_OK;
}
