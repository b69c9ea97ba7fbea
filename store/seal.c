#include "store/seal_internal.h"

static const char WRAP_AD[] = "ironmesh-db-key-v1";

static enum err key_new(struct seal *s, struct env *env)
{
	*s = (struct seal){.env = env};
	return secret_new(&s->key, SEAL_KEY_BYTES);
}

enum err seal_create(struct seal *s, struct env *env, struct bytes wrap_key,
		     uint8_t wrapped[static SEAL_WRAP_BYTES])
{
	BUG_ON(wrap_key.n != SEAL_KEY_BYTES);
	enum err e = key_new(s, env);
	if (e != ERR_OK)
		return e;
	env_random(env, s->key.p, s->key.n);
	seal_wrap(s, wrap_key, wrapped);
	return ERR_OK;
}

void seal_wrap(const struct seal *s, struct bytes wrap_key, uint8_t wrapped[static SEAL_WRAP_BYTES])
{
	BUG_ON(wrap_key.n != SEAL_KEY_BYTES);
	env_random(s->env, wrapped, SEAL_NONCE_BYTES);
	crypto_aead_xchacha20poly1305_ietf_encrypt(wrapped + SEAL_NONCE_BYTES, NULL, s->key.p,
						   s->key.n, (const uint8_t *)WRAP_AD,
						   sizeof(WRAP_AD), NULL, wrapped, wrap_key.p);
}

enum err seal_load(struct seal *s, struct env *env, struct bytes wrap_key, struct bytes wrapped)
{
	BUG_ON(wrap_key.n != SEAL_KEY_BYTES);
	if (wrapped.n != SEAL_WRAP_BYTES)
		return ERR_AUTH;
	enum err e = key_new(s, env);
	if (e != ERR_OK)
		return e;
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(
		    s->key.p, NULL, NULL, wrapped.p + SEAL_NONCE_BYTES,
		    wrapped.n - SEAL_NONCE_BYTES, (const uint8_t *)WRAP_AD, sizeof(WRAP_AD),
		    wrapped.p, wrap_key.p) != 0) {
		seal_fini(s);
		return ERR_AUTH;
	}
	return ERR_OK;
}

void seal_fini(struct seal *s)
{
	secret_free(&s->key);
	s->pool_left = 0;
}

static const uint8_t *next_nonce(struct seal *s)
{
	if (s->pool_left == 0) {
		env_random(s->env, s->pool, sizeof(s->pool));
		s->pool_left = SEAL_POOL;
	}
	return s->pool + --s->pool_left * SEAL_NONCE_BYTES;
}

enum err seal_put(struct seal *s, struct bytes ad, struct bytes clear, struct buf *out)
{
	if (clear.n > SIZE_MAX - SEAL_OVERHEAD)
		return ERR_LIMIT;
	uint8_t *p = buf_reserve(out, clear.n + SEAL_OVERHEAD);
	if (!p)
		return out->err;
	memcpy(p, next_nonce(s), SEAL_NONCE_BYTES);
	crypto_aead_xchacha20poly1305_ietf_encrypt(p + SEAL_NONCE_BYTES, NULL, clear.p, clear.n,
						   ad.p, ad.n, NULL, p, s->key.p);
	out->n += clear.n + SEAL_OVERHEAD;
	return ERR_OK;
}

enum err seal_open(const struct seal *s, struct bytes ad, struct bytes sealed, struct buf *out)
{
	if (sealed.n < SEAL_OVERHEAD)
		return ERR_CORRUPT;
	size_t n = sealed.n - SEAL_OVERHEAD;
	uint8_t *p = buf_reserve(out, n);
	if (!p)
		return out->err;
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(p, NULL, NULL, sealed.p + SEAL_NONCE_BYTES,
						       sealed.n - SEAL_NONCE_BYTES, ad.p, ad.n,
						       sealed.p, s->key.p) != 0)
		return ERR_CORRUPT;
	out->n += n;
	return ERR_OK;
}
