#include "trust/keyring_internal.h"

#include <sodium.h>
#include <stdlib.h>

#include "base/hash.h"

/* All secrets of the node in one guarded allocation. */
struct vault {
	uint8_t sign[crypto_sign_SECRETKEYBYTES]; /* seed || public */
	uint8_t x25519_seed[X25519_BYTES];
	uint8_t converted[X25519_BYTES]; /* the Curve25519 image of the signing key */
};

struct keyring {
	const struct keyring_ops *ops; /* NULL: the keys are here */
	void *ctx;
	struct secret secret; /* holds a struct vault */
	uint8_t hkdf_salt[HKDF_SALT_BYTES];
	uint8_t ed[ED_BYTES];
	uint8_t x25519[X25519_BYTES];
	uint8_t converted[X25519_BYTES];
	uint8_t binding[SIG_BYTES];
	struct node_id id;
};

_Static_assert(SEED_BYTES == crypto_sign_SEEDBYTES, "Ed25519 seed");

static struct vault *vault_of(const struct keyring *k)
{
	BUG_ON(k->ops);
	return (struct vault *)k->secret.p;
}

static void sign_binding(struct keyring *k)
{
	uint8_t message[64 + X25519_BYTES];
	struct wr w = wr_init(message, sizeof message);
	struct bytes whole;

	wr_bytes(&w, sig_prefix(SIG_X25519_BINDING));
	wr_bytes(&w, BYTES_ARR(k->x25519));
	BUG_ON(wr_end(&w, &whole) != ERR_OK);
	keyring_sign(k, SIG_X25519_BINDING, whole, k->binding);
}

enum err keyring_from_seed(const uint8_t seed[static SEED_BYTES],
			   const uint8_t hkdf_salt[static HKDF_SALT_BYTES], struct keyring **out)
{
	static const char info[] = "ironmesh-identity-x25519-v1"; /* signed with its NUL */
	enum err e = secret_init_library();

	if (e != ERR_OK)
		return e;
	struct keyring *k = calloc(1, sizeof *k);
	if (!k)
		return ERR_NOMEM;
	e = secret_new(&k->secret, sizeof(struct vault));
	if (e != ERR_OK) {
		keyring_free(k);
		return e;
	}
	struct vault *v = vault_of(k);

	memcpy(k->hkdf_salt, hkdf_salt, HKDF_SALT_BYTES);
	BUG_ON(crypto_sign_seed_keypair(k->ed, v->sign, seed) != 0);
	hkdf_sha256(bytes_of(seed, SEED_BYTES), BYTES_ARR(k->hkdf_salt), BYTES_ARR(info),
		    v->x25519_seed, sizeof v->x25519_seed);
	BUG_ON(crypto_scalarmult_base(k->x25519, v->x25519_seed) != 0);
	BUG_ON(crypto_sign_ed25519_sk_to_curve25519(v->converted, v->sign) != 0);
	BUG_ON(crypto_scalarmult_base(k->converted, v->converted) != 0);
	node_id_of(k->ed, &k->id);
	sign_binding(k);
	*out = k;
	return ERR_OK;
}

enum err keyring_elsewhere(const struct keyring_public *p, const struct keyring_ops *ops, void *ctx,
			   struct keyring **out)
{
	struct keyring *k;
	enum err e = secret_init_library();

	if (e == ERR_OK && !x25519_binding_verify(p->ed, p->x25519, p->binding))
		e = ERR_AUTH;
	k = e == ERR_OK ? calloc(1, sizeof *k) : NULL;
	if (!k) {
		ops->free(ctx);
		return e == ERR_OK ? ERR_NOMEM : e;
	}
	k->ops = ops;
	k->ctx = ctx;
	memcpy(k->ed, p->ed, ED_BYTES);
	memcpy(k->x25519, p->x25519, X25519_BYTES);
	memcpy(k->binding, p->binding, SIG_BYTES);
	node_id_of(k->ed, &k->id);
	*out = k;
	return ERR_OK;
}

const struct keyring_ops *keyring_ops(const struct keyring *k)
{
	return k->ops;
}

void *keyring_ops_ctx(const struct keyring *k)
{
	return k->ctx;
}

enum err keyring_next(const struct keyring *k, struct env *env, struct keyring **out)
{
	return k->ops ? k->ops->next(k->ctx, out) : keyring_generate(env, out);
}

enum err keyring_generate(struct env *env, struct keyring **out)
{
	uint8_t seed[SEED_BYTES], salt[HKDF_SALT_BYTES];

	env_random(env, seed, sizeof seed);
	env_random(env, salt, sizeof salt);
	enum err e = keyring_from_seed(seed, salt, out);
	wipe(seed, sizeof seed);
	return e;
}

void keyring_free(struct keyring *k)
{
	if (!k)
		return;
	if (k->ops)
		k->ops->free(k->ctx);
	secret_free(&k->secret);
	free(k);
}

const uint8_t *keyring_ed(const struct keyring *k)
{
	return k->ed;
}

const struct node_id *keyring_id(const struct keyring *k)
{
	return &k->id;
}

const uint8_t *keyring_x25519(const struct keyring *k)
{
	return k->x25519;
}

const uint8_t *keyring_binding(const struct keyring *k)
{
	return k->binding;
}

const uint8_t *keyring_seed(const struct keyring *k)
{
	return vault_of(k)->sign; /* libsodium: seed || public */
}

const uint8_t *keyring_hkdf_salt(const struct keyring *k)
{
	return k->hkdf_salt;
}

const uint8_t *keyring_x25519_seed(const struct keyring *k)
{
	return vault_of(k)->x25519_seed;
}

void keyring_sign(const struct keyring *k, enum sig_context c, struct bytes whole,
		  uint8_t sig[static SIG_BYTES])
{
	BUG_ON(!sig_fits(c, whole));
	if (k->ops) {
		k->ops->sign(k->ctx, c, whole, sig);
		return;
	}
	BUG_ON(crypto_sign_detached(sig, NULL, whole.p, whole.n, vault_of(k)->sign) != 0);
}

enum err keyring_open_sealed(const struct keyring *k, struct bytes sealed, struct buf *out)
{
	if (sealed.n < crypto_box_SEALBYTES)
		return ERR_SHORT;
	if (k->ops)
		return k->ops->open_sealed(k->ctx, sealed, out);
	const struct vault *v = vault_of(k);
	size_t n = sealed.n - crypto_box_SEALBYTES;
	uint8_t *p = buf_reserve(out, n ? n : 1);
	if (!p)
		return out->err;
	if (crypto_box_seal_open(p, sealed.p, sealed.n, k->x25519, v->x25519_seed) != 0 &&
	    crypto_box_seal_open(p, sealed.p, sealed.n, k->converted, v->converted) != 0)
		return ERR_AUTH;
	out->n += n;
	return ERR_OK;
}

enum err keyring_noise_dh(const struct keyring *k, const uint8_t their[static X25519_BYTES],
			  uint8_t out[static X25519_BYTES])
{
	uint8_t shared[X25519_BYTES];
	enum err e = ERR_AUTH;

	if (k->ops)
		return k->ops->noise_dh(k->ctx, their, out);
	/* libsodium refuses the all-zero result itself. */
	if (crypto_scalarmult(shared, vault_of(k)->x25519_seed, their) == 0) {
		memcpy(out, shared, sizeof shared);
		e = ERR_OK;
	}
	wipe(shared, sizeof shared);
	return e;
}

enum err keyring_derive(const struct keyring *k, enum derived_key which, struct secret *out)
{
	static const char *const labels[DERIVE_COUNT] = {
		[DERIVE_TRUST_MAC] = "ironmesh-trust-store-v1",
		[DERIVE_TRUST_BOX] = "ironmesh-trust-store-encryption-v1",
		[DERIVE_AUDIT] = "ironmesh-audit-v1",
		[DERIVE_ROUTES] = "ironmesh-routes-v1",
		[DERIVE_CAPABILITIES] = "ironmesh-capabilities-v1",
	};
	static const char wrap_info[] = "ironmesh-db-wrap-v1"; /* with its NUL */

	BUG_ON((unsigned)which >= DERIVE_COUNT);
	if (k->ops)
		return k->ops->derive(k->ctx, which, out);
	struct bytes seed = bytes_of(keyring_seed(k), SEED_BYTES);
	enum err e = secret_new(out, HASH_BYTES);
	if (e != ERR_OK)
		return e;
	if (which == DERIVE_DB_WRAP)
		hkdf_sha256(seed, BYTES_ARR(k->hkdf_salt), BYTES_ARR(wrap_info), out->p, out->n);
	else
		sha256_2(seed, bytes_str(labels[which]), out->p);
	return ERR_OK;
}

enum err seal_for(struct env *env, const uint8_t x[static X25519_BYTES], struct bytes body,
		  struct buf *out)
{
	uint8_t secret[X25519_BYTES], epk[X25519_BYTES], nonce[crypto_box_NONCEBYTES];
	crypto_generichash_state h;
	enum err e = ERR_OK;

	if (body.n > SIZE_MAX - crypto_box_SEALBYTES)
		return ERR_LIMIT;
	uint8_t *p = buf_reserve(out, body.n + crypto_box_SEALBYTES);
	if (!p)
		return out->err;
	env_random(env, secret, sizeof secret);
	BUG_ON(crypto_scalarmult_base(epk, secret) != 0);
	crypto_generichash_init(&h, NULL, 0, sizeof nonce);
	crypto_generichash_update(&h, epk, sizeof epk);
	crypto_generichash_update(&h, x, X25519_BYTES);
	crypto_generichash_final(&h, nonce, sizeof nonce);
	/* Refuses a recipient key of small order, whose shared secret everybody knows. */
	if (crypto_box_easy(p + sizeof epk, body.p, body.n, nonce, x, secret) != 0) {
		e = ERR_MALFORMED;
	} else {
		memcpy(p, epk, sizeof epk);
		out->n += body.n + crypto_box_SEALBYTES;
	}
	wipe(secret, sizeof secret);
	return e;
}
