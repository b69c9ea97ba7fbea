#include "base/hash.h"

#include <openssl/evp.h>
#include <pthread.h>

#include "base/secret.h"

#define BLOCK_BYTES 64

/* Fetching walks the provider tables under a lock; once is enough. */
static EVP_MD *md;
static pthread_once_t md_once = PTHREAD_ONCE_INIT;

static void fetch_md(void)
{
	md = EVP_MD_fetch(NULL, "SHA256", NULL);
}

static EVP_MD_CTX *begin(void)
{
	EVP_MD_CTX *c;

	pthread_once(&md_once, fetch_md);
	c = EVP_MD_CTX_new();
	/* No SHA-256 or no 100 bytes of memory: nothing this program does is safe after that. */
	BUG_ON(!md || !c || EVP_DigestInit_ex2(c, md, NULL) != 1);
	return c;
}

static void feed(EVP_MD_CTX *c, const void *p, size_t n)
{
	BUG_ON(n && EVP_DigestUpdate(c, p, n) != 1);
}

void sha256_n(const struct bytes *parts, size_t n, uint8_t out[static HASH_BYTES])
{
	EVP_MD_CTX *c = begin();

	for (size_t i = 0; i < n; i++)
		feed(c, parts[i].p, parts[i].n);
	BUG_ON(EVP_DigestFinal_ex(c, out, NULL) != 1);
	EVP_MD_CTX_free(c); /* clears the state */
}

void sha256_2(struct bytes a, struct bytes b, uint8_t out[static HASH_BYTES])
{
	sha256_n((const struct bytes[]){a, b}, 2, out);
}

void sha256(struct bytes in, uint8_t out[static HASH_BYTES])
{
	sha256_2(in, bytes_of(NULL, 0), out);
}

/* The struct is OpenSSL's own; its name stays in this file. */
struct hash *hash_new(void)
{
	return (struct hash *)begin();
}

void hash_add(struct hash *h, struct bytes in)
{
	feed((EVP_MD_CTX *)h, in.p, in.n);
}

void hash_end(struct hash *h, uint8_t *out)
{
	BUG_ON(h && out && EVP_DigestFinal_ex((EVP_MD_CTX *)h, out, NULL) != 1);
	EVP_MD_CTX_free((EVP_MD_CTX *)h);
}

/* RFC 2104 over one context: the EVP_MAC route allocates and fetches several times per call. */
void hmac_sha256_2(struct bytes key, struct bytes a, struct bytes b, uint8_t out[static HASH_BYTES])
{
	uint8_t pad[BLOCK_BYTES] = {0};
	uint8_t inner[HASH_BYTES];
	EVP_MD_CTX *c;

	if (key.n > BLOCK_BYTES)
		sha256(key, pad);
	else if (key.n)
		memcpy(pad, key.p, key.n);
	for (size_t i = 0; i < BLOCK_BYTES; i++)
		pad[i] ^= 0x36;
	c = begin();
	feed(c, pad, sizeof(pad));
	feed(c, a.p, a.n);
	feed(c, b.p, b.n);
	BUG_ON(EVP_DigestFinal_ex(c, inner, NULL) != 1);

	for (size_t i = 0; i < BLOCK_BYTES; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	BUG_ON(EVP_DigestInit_ex2(c, md, NULL) != 1);
	feed(c, pad, sizeof(pad));
	feed(c, inner, sizeof(inner));
	BUG_ON(EVP_DigestFinal_ex(c, out, NULL) != 1);
	EVP_MD_CTX_free(c);
	wipe(pad, sizeof(pad));
	wipe(inner, sizeof(inner));
}

void hmac_sha256(struct bytes key, struct bytes msg, uint8_t out[static HASH_BYTES])
{
	hmac_sha256_2(key, msg, bytes_of(NULL, 0), out);
}

void hkdf_expand_sha256(const uint8_t prk[static HASH_BYTES], struct bytes info, uint8_t *out,
			size_t n)
{
	uint8_t t[HASH_BYTES];
	/* T(i) = HMAC(PRK, T(i-1) || info || i): three parts, so the two passes are spelled out. */
	EVP_MD_CTX *c;
	uint8_t ipad[BLOCK_BYTES], opad[BLOCK_BYTES];

	BUG_ON(n > 255 * HASH_BYTES);
	for (size_t i = 0; i < BLOCK_BYTES; i++) {
		uint8_t k = i < HASH_BYTES ? prk[i] : 0;

		ipad[i] = k ^ 0x36;
		opad[i] = k ^ 0x5c;
	}
	c = begin();
	for (uint8_t i = 1; n > 0; i++) {
		size_t take = n < HASH_BYTES ? n : HASH_BYTES;

		feed(c, ipad, sizeof(ipad));
		feed(c, t, i == 1 ? 0 : sizeof(t));
		feed(c, info.p, info.n);
		feed(c, &i, 1);
		BUG_ON(EVP_DigestFinal_ex(c, t, NULL) != 1);
		BUG_ON(EVP_DigestInit_ex2(c, md, NULL) != 1);
		feed(c, opad, sizeof(opad));
		feed(c, t, sizeof(t));
		BUG_ON(EVP_DigestFinal_ex(c, t, NULL) != 1);
		BUG_ON(EVP_DigestInit_ex2(c, md, NULL) != 1);
		memcpy(out, t, take);
		out += take;
		n -= take;
	}
	EVP_MD_CTX_free(c);
	wipe(t, sizeof(t));
	wipe(ipad, sizeof(ipad));
	wipe(opad, sizeof(opad));
}

void hkdf_sha256(struct bytes ikm, struct bytes salt, struct bytes info, uint8_t *out, size_t n)
{
	static const uint8_t no_salt[HASH_BYTES];
	uint8_t prk[HASH_BYTES];

	hmac_sha256(salt.n ? salt : BYTES_ARR(no_salt), ikm, prk);
	hkdf_expand_sha256(prk, info, out, n);
	wipe(prk, sizeof(prk));
}
