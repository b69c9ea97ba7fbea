#include "base/aead.h"

#include <limits.h>
#include <openssl/evp.h>

#include "base/secret.h"

static bool fits(struct bytes b)
{
	return b.n <= INT_MAX;
}

enum err aead_seal_bulk(const uint8_t key[static 32], const uint8_t nonce[static AEAD_NONCE], struct bytes ad,
			struct bytes plain, uint8_t *out)
{
	EVP_CIPHER_CTX *c = fits(ad) && fits(plain) ? EVP_CIPHER_CTX_new() : NULL;
	int n;
	bool ok = c && EVP_EncryptInit_ex(c, EVP_chacha20_poly1305(), NULL, key, nonce) == 1 &&
		  (ad.n == 0 || EVP_EncryptUpdate(c, NULL, &n, ad.p, (int)ad.n) == 1) &&
		  (plain.n == 0 || EVP_EncryptUpdate(c, out, &n, plain.p, (int)plain.n) == 1) &&
		  EVP_EncryptFinal_ex(c, out + plain.n, &n) == 1 &&
		  EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG, out + plain.n) == 1;

	EVP_CIPHER_CTX_free(c); /* wipes the key */
	return ok ? ERR_OK : ERR_NOMEM;
}

enum err aead_open_bulk(const uint8_t key[static 32], const uint8_t nonce[static AEAD_NONCE], struct bytes ad,
			struct bytes cipher, uint8_t *out)
{
	uint8_t tag[AEAD_TAG];
	size_t plain_n;
	EVP_CIPHER_CTX *c;
	int n;

	if (cipher.n < AEAD_TAG)
		return ERR_SHORT;
	plain_n = cipher.n - AEAD_TAG;
	memcpy(tag, cipher.p + plain_n, sizeof tag); /* the call takes no const */
	c = fits(ad) && fits(cipher) ? EVP_CIPHER_CTX_new() : NULL;
	bool ok = c && EVP_DecryptInit_ex(c, EVP_chacha20_poly1305(), NULL, key, nonce) == 1 &&
		  EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG, tag) == 1 &&
		  (ad.n == 0 || EVP_DecryptUpdate(c, NULL, &n, ad.p, (int)ad.n) == 1) &&
		  (plain_n == 0 || EVP_DecryptUpdate(c, out, &n, cipher.p, (int)plain_n) == 1) &&
		  EVP_DecryptFinal_ex(c, out + plain_n, &n) == 1;

	EVP_CIPHER_CTX_free(c);
	/* libcrypto writes before it checks the tag. */
	if (!ok && plain_n)
		wipe(out, plain_n);
	return ok ? ERR_OK : ERR_AUTH;
}
