/*
 * tls.c -- the node's own certificate: self-signed EC P-256. Nobody verifies it (wire 1.2), but its
 * key is what a dialler remembers, so a renewal keeps the key.
 */
#include "transports/ws/ws_internal.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <time.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/secret.h"

#define TLS_FILE_MAX  65536
#define TLS_CHAIN_MAX 8
#define VALID_DAYS    398
#define RENEW_DAYS    30
#define DAY_S	      86400
#define BACKDATE_S    3600 /* peers whose clock is behind */

enum err tls_spki_sha256(X509 *cert, uint8_t out[static 32])
{
	unsigned char *der = NULL;
	int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);

	if (n <= 0)
		return ERR_MALFORMED;
	sha256(bytes_of(der, (size_t)n), out);
	OPENSSL_free(der);
	return ERR_OK;
}

bool tls_binding(SSL *ssl, uint8_t out[static 32])
{
	static const char label[] = "EXPORTER-Channel-Binding";
	bool ok = ssl && SSL_version(ssl) >= TLS1_3_VERSION &&
		  SSL_export_keying_material(ssl, out, 32, label, sizeof label - 1, NULL, 0, 1) == 1;

	ERR_clear_error();
	return ok;
}

static enum err broken(const char *path, struct fault *f)
{
	ERR_clear_error();
	fault_set(f, ERR_CORRUPT, EXIT_CONFIG, "%s does not hold what it should (PEM)", path);
	fault_next(f, "move it away; a new one is made at the next start");
	return ERR_CORRUPT;
}

static int no_password(char *buf, int size, int writing, void *ctx)
{
	return -1; /* else OpenSSL asks at the terminal */
}

static enum err cert_load(const char *path, X509 **cert, STACK_OF(X509) * *chain, struct fault *f)
{
	struct buf b;
	BIO *bio;
	X509 *c = NULL;
	STACK_OF(X509) *more = sk_X509_new_null();
	enum err e;

	buf_init(&b, TLS_FILE_MAX);
	e = file_read(path, &b, f);
	if (e != ERR_OK)
		goto out;
	bio = BIO_new_mem_buf(b.p, (int)b.n);
	if (bio && more)
		c = PEM_read_bio_X509(bio, NULL, no_password, NULL);
	for (X509 *x; c && sk_X509_num(more) < TLS_CHAIN_MAX;) {
		x = PEM_read_bio_X509(bio, NULL, no_password, NULL);
		if (!x)
			break;
		sk_X509_push(more, x);
	}
	BIO_free(bio);
	if (!c) {
		e = broken(path, f);
		goto out;
	}
	ERR_clear_error(); /* the end of the file */
	*cert = c;
	if (chain) {
		*chain = more;
		more = NULL;
	}
out:
	sk_X509_pop_free(more, X509_free);
	buf_fini(&b);
	return e;
}

static enum err key_load(const char *path, EVP_PKEY **key, struct fault *f)
{
	struct buf b;
	BIO *bio = NULL;
	enum err e;

	buf_init(&b, TLS_FILE_MAX);
	e = file_read_secret(path, &b, f);
	if (e == ERR_OK) {
		bio = BIO_new_mem_buf(b.p, (int)b.n);
		EVP_PKEY *k = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;

		BIO_free(bio);
		if (k)
			*key = k;
		else
			e = broken(path, f);
	}
	buf_wipe(&b);
	buf_fini(&b);
	return e;
}

enum err tls_load(const char *cert_path, const char *key_path, X509 **cert, STACK_OF(X509) * *chain,
		  EVP_PKEY **key, struct fault *f)
{
	X509 *c = NULL;
	STACK_OF(X509) *more = NULL;
	EVP_PKEY *k = NULL;
	enum err e = cert_load(cert_path, &c, &more, f);

	if (e == ERR_OK)
		e = key_load(key_path, &k, f);
	if (e == ERR_OK && X509_check_private_key(c, k) != 1) {
		ERR_clear_error();
		e = fault_set(f, ERR_CORRUPT, EXIT_CONFIG, "the key in %s does not belong to %s",
			      key_path, cert_path);
	}
	if (e != ERR_OK) {
		X509_free(c);
		sk_X509_pop_free(more, X509_free);
		EVP_PKEY_free(k);
		return e;
	}
	*cert = c;
	*chain = more;
	*key = k;
	return ERR_OK;
}

static bool extension_add(X509 *cert, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *x;
	bool ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
	x = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = x && X509_add_ext(cert, x, -1) == 1;
	X509_EXTENSION_free(x);
	return ok;
}

/* Built by hand: a name that held "," or ":" would be syntax to the configuration parser. */
static GENERAL_NAME *san_make(const char *name)
{
	GENERAL_NAME *gn = GENERAL_NAME_new();
	ASN1_OCTET_STRING *ip = a2i_IPADDRESS(name); /* NULL when it is not a literal */
	ASN1_IA5STRING *text = ip ? NULL : ASN1_IA5STRING_new();

	if (gn && ip) {
		GENERAL_NAME_set0_value(gn, GEN_IPADD, ip);
		return gn;
	}
	if (gn && text && ASN1_STRING_set(text, name, -1) == 1) {
		GENERAL_NAME_set0_value(gn, GEN_DNS, text);
		return gn;
	}
	ASN1_OCTET_STRING_free(ip);
	ASN1_IA5STRING_free(text);
	GENERAL_NAME_free(gn);
	return NULL;
}

static bool san_add(X509 *cert, const char *name)
{
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	GENERAL_NAME *gn = san_make(name);
	bool ok = false;

	if (names && gn && sk_GENERAL_NAME_push(names, gn) > 0) {
		gn = NULL;
		ok = X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) ==
		     1;
	}
	GENERAL_NAME_free(gn);
	GENERAL_NAMES_free(names);
	return ok;
}

static bool serial_set(X509 *cert)
{
	uint8_t random[16];
	BIGNUM *n;
	bool ok;

	if (RAND_bytes(random, sizeof random) != 1)
		return false;
	random[0] &= 0x7f;
	random[0] |= 0x40; /* positive, and as long as it looks */
	n = BN_bin2bn(random, sizeof random, NULL);
	ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)) != NULL;
	BN_free(n);
	return ok;
}

static X509 *cert_make(EVP_PKEY *key, const char *name)
{
	X509 *cert = X509_new();
	X509_NAME *subject;

	if (!cert)
		return NULL;
	subject = X509_get_subject_name(cert);
	if (X509_set_version(cert, X509_VERSION_3) == 1 && serial_set(cert) &&
	    X509_gmtime_adj(X509_getm_notBefore(cert), -BACKDATE_S) &&
	    X509_gmtime_adj(X509_getm_notAfter(cert), (long)VALID_DAYS * DAY_S) &&
	    X509_set_pubkey(cert, key) == 1 &&
	    X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
				       (const unsigned char *)name, -1, -1, 0) == 1 &&
	    X509_set_issuer_name(cert, subject) == 1 && san_add(cert, name) &&
	    extension_add(cert, NID_basic_constraints, "critical,CA:FALSE") &&
	    extension_add(cert, NID_key_usage, "critical,digitalSignature") &&
	    extension_add(cert, NID_ext_key_usage, "serverAuth") &&
	    extension_add(cert, NID_subject_key_identifier, "hash") &&
	    X509_sign(cert, key, EVP_sha256()) > 0)
		return cert;
	X509_free(cert);
	return NULL;
}

static enum err pem_write(BIO *bio, const char *path, struct fault *f)
{
	char *p = NULL;
	long n = BIO_get_mem_data(bio, &p);

	return n > 0 ? file_write_secret(path, bytes_of(p, (size_t)n), f) : ERR_NOMEM;
}

static enum err key_write(EVP_PKEY *key, const char *path, struct fault *f)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	enum err e = ERR_NOMEM;

	if (bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1)
		e = pem_write(bio, path, f);
	BIO_free(bio); /* wipes */
	return e;
}

static enum err cert_write(X509 *cert, const char *path, struct fault *f)
{
	BIO *bio = BIO_new(BIO_s_mem());
	enum err e = ERR_NOMEM;

	if (bio && PEM_write_bio_X509(bio, cert) == 1)
		e = pem_write(bio, path, f);
	BIO_free(bio);
	return e;
}

static bool still_good(X509 *cert, EVP_PKEY *key)
{
	time_t soon = time(NULL) + (time_t)RENEW_DAYS * DAY_S;

	return X509_check_private_key(cert, key) == 1 &&
	       X509_cmp_time(X509_get0_notAfter(cert), &soon) > 0;
}

enum err tls_ensure(const char *cert_path, const char *key_path, const char *common_name,
		    struct fault *f)
{
	EVP_PKEY *key = NULL;
	X509 *cert = NULL;
	enum err e = key_load(key_path, &key, f);

	if (e == ERR_NOTFOUND) {
		key = EVP_EC_gen("P-256");
		e = key ? key_write(key, key_path, f)
			: fault_set(f, ERR_INTERNAL, EXIT_GENERIC, "cannot make a TLS key");
	}
	if (e != ERR_OK)
		goto out;
	e = cert_load(cert_path, &cert, NULL, f);
	if (e == ERR_OK && still_good(cert, key))
		goto out;
	if (e != ERR_OK && e != ERR_NOTFOUND)
		goto out;
	X509_free(cert);
	cert = cert_make(key, common_name);
	e = cert ? cert_write(cert, cert_path, f)
		 : fault_set(f, ERR_INTERNAL, EXIT_GENERIC,
			     "cannot make a TLS certificate for \"%s\"", common_name);
out:
	ERR_clear_error();
	X509_free(cert);
	EVP_PKEY_free(key);
	return e;
}

enum err tls_look(const char *cert_path, const char *key_path, int64_t *left_s, struct fault *f)
{
	X509 *cert;
	STACK_OF(X509) * chain;
	EVP_PKEY *key;
	int days = 0, seconds = 0;
	enum err e = tls_load(cert_path, key_path, &cert, &chain, &key, f);

	if (e != ERR_OK)
		return e;
	if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)) != 1)
		e = broken(cert_path, f);
	else
		*left_s = (int64_t)days * DAY_S + seconds;
	ERR_clear_error();
	X509_free(cert);
	sk_X509_pop_free(chain, X509_free);
	EVP_PKEY_free(key);
	return e;
}

enum err tls_key_of(const char *cert_path, uint8_t out[static 32], struct fault *f)
{
	X509 *cert = NULL;
	enum err e = cert_load(cert_path, &cert, NULL, f);

	if (e == ERR_OK)
		e = tls_spki_sha256(cert, out);
	X509_free(cert);
	return e;
}
