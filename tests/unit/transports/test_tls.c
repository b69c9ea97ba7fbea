#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/hash.h"
#include "transports/ws/ws.h"

static char dir[64], cert_path[96], key_path[96];

static int setup(void **state)
{
	strcpy(dir, "/tmp/ironmesh-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(cert_path, sizeof cert_path, "%s/cert.pem", dir);
	snprintf(key_path, sizeof key_path, "%s/key.pem", dir);
	return 0;
}

static int teardown(void **state)
{
	unlink(cert_path);
	unlink(key_path);
	assert_int_equal(rmdir(dir), 0); /* no temporary file is left */
	return 0;
}

static X509 *cert_read(void)
{
	FILE *f = fopen(cert_path, "r");
	X509 *x;

	assert_non_null(f);
	x = PEM_read_X509(f, NULL, NULL, NULL);
	fclose(f);
	assert_non_null(x);
	return x;
}

static EVP_PKEY *key_read(void)
{
	FILE *f = fopen(key_path, "r");
	EVP_PKEY *k;

	assert_non_null(f);
	k = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	fclose(f);
	assert_non_null(k);
	return k;
}

static void cert_write(X509 *x)
{
	FILE *f = fopen(cert_path, "w");

	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, x), 1);
	fclose(f);
}

/* A certificate of `key` that ends in `days`. */
static void cert_replace(EVP_PKEY *key, int days)
{
	X509 *x = X509_new();

	assert_non_null(x);
	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -86400);
	X509_gmtime_adj(X509_getm_notAfter(x), (long)days * 86400);
	X509_set_pubkey(x, key);
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	cert_write(x);
	X509_free(x);
}

static void ensure(const char *name)
{
	struct fault f = {0};

	if (tls_ensure(cert_path, key_path, name, &f) != ERR_OK)
		fail_msg("%s", f.what);
}

static void makes_a_p256_certificate_for_the_name(void **state)
{
	char group[32] = "", cn[64] = "";
	struct stat st;
	EVP_PKEY *key;
	X509 *x;
	int days, seconds;

	ensure("alpha.example");
	assert_int_equal(stat(cert_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(key_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	x = cert_read();
	key = key_read();
	assert_int_equal(X509_check_private_key(x, key), 1);
	assert_int_equal(EVP_PKEY_get_group_name(key, group, sizeof group, NULL), 1);
	assert_string_equal(group, "prime256v1");
	assert_int_equal(X509_verify(x, key), 1); /* self-signed */
	assert_int_equal(X509_check_host(x, "alpha.example", 0, 0, NULL), 1);
	assert_int_not_equal(X509_check_host(x, "beta.example", 0, 0, NULL), 1);
	X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, cn, sizeof cn);
	assert_string_equal(cn, "alpha.example");
	assert_int_equal(X509_check_ca(x), 0);
	assert_int_equal(ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(x)), 1);
	assert_true(days >= 396 && days <= 398);
	assert_true(X509_cmp_current_time(X509_get0_notBefore(x)) < 0);
	assert_true(ASN1_STRING_length(X509_get0_serialNumber(x)) >= 9);
	EVP_PKEY_free(key);
	X509_free(x);
}

static void name_cannot_add_other_names(void **state)
{
	X509 *x;
	GENERAL_NAMES *names;

	ensure("a,DNS:evil.example");
	x = cert_read();
	assert_int_not_equal(X509_check_host(x, "evil.example", 0, 0, NULL), 1);
	names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	assert_int_equal(sk_GENERAL_NAME_num(names), 1);
	GENERAL_NAMES_free(names);
	X509_free(x);
}

static void literal_address_becomes_an_address(void **state)
{
	X509 *x;

	ensure("192.0.2.7");
	x = cert_read();
	assert_int_equal(X509_check_ip_asc(x, "192.0.2.7", 0), 1);
	assert_int_not_equal(X509_check_ip_asc(x, "192.0.2.8", 0), 1);
	X509_free(x);
}

static void key_is_the_digest_of_the_public_key(void **state)
{
	uint8_t key[32], expect[32];
	unsigned char *der = NULL;
	X509 *x;
	int n;

	ensure("alpha");
	assert_int_equal(tls_key_of(cert_path, key, NULL), ERR_OK);
	x = cert_read();
	n = i2d_PUBKEY(X509_get0_pubkey(x), &der);
	assert_true(n > 0);
	sha256(bytes_of(der, (size_t)n), expect);
	assert_memory_equal(key, expect, 32);
	OPENSSL_free(der);
	X509_free(x);
}

static void good_certificate_stays(void **state)
{
	X509 *before, *after;

	ensure("alpha");
	before = cert_read();
	ensure("beta");
	after = cert_read();
	assert_int_equal(X509_cmp(before, after), 0);
	X509_free(before);
	X509_free(after);
}

static void old_certificate_is_renewed_with_the_same_key(void **state)
{
	static const int days[] = {-1, 0, 1, 29};
	uint8_t first[32], then[32];
	EVP_PKEY *key;
	X509 *x;

	ensure("alpha");
	assert_int_equal(tls_key_of(cert_path, first, NULL), ERR_OK);
	key = key_read();
	for (int i = 0; i < 4; i++) {
		time_t later = time(NULL) + 86400 * 300;

		cert_replace(key, days[i]);
		ensure("alpha");
		x = cert_read();
		assert_true(X509_cmp_time(X509_get0_notAfter(x), &later) > 0);
		X509_free(x);
		assert_int_equal(tls_key_of(cert_path, then, NULL), ERR_OK);
		assert_memory_equal(first, then, 32);
	}
	cert_replace(key, 31); /* not yet */
	ensure("alpha");
	x = cert_read();
	time_t soon = time(NULL) + 86400 * 60;

	assert_true(X509_cmp_time(X509_get0_notAfter(x), &soon) < 0);
	X509_free(x);
	EVP_PKEY_free(key);
}

static void certificate_of_another_key_is_replaced(void **state)
{
	EVP_PKEY *other = EVP_EC_gen("P-256"), *key;
	X509 *x;

	ensure("alpha");
	cert_replace(other, 300);
	ensure("alpha");
	x = cert_read();
	key = key_read();
	assert_int_equal(X509_check_private_key(x, key), 1);
	X509_free(x);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
}

static void missing_certificate_is_made_for_the_key(void **state)
{
	uint8_t first[32], then[32];

	ensure("alpha");
	assert_int_equal(tls_key_of(cert_path, first, NULL), ERR_OK);
	unlink(cert_path);
	assert_int_equal(tls_key_of(cert_path, then, NULL), ERR_NOTFOUND);
	ensure("alpha");
	assert_int_equal(tls_key_of(cert_path, then, NULL), ERR_OK);
	assert_memory_equal(first, then, 32);
}

static void junk(const char *path, mode_t mode)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs("-----BEGIN CERTIFICATE-----\nnothing\n", f);
	fclose(f);
	chmod(path, mode);
}

static void broken_files_are_said_and_kept(void **state)
{
	struct fault f = {0};
	struct stat st;

	ensure("alpha");
	junk(cert_path, 0600);
	assert_int_equal(tls_ensure(cert_path, key_path, "alpha", &f), ERR_CORRUPT);
	assert_non_null(strstr(f.what, cert_path));
	assert_int_equal(stat(cert_path, &st), 0);
	assert_true(st.st_size < 100);
	junk(key_path, 0600);
	assert_int_equal(tls_ensure(cert_path, key_path, "alpha", &f), ERR_CORRUPT);
	assert_non_null(strstr(f.what, key_path));
}

static void readable_key_is_refused(void **state)
{
	struct fault f = {0};

	ensure("alpha");
	chmod(key_path, 0644);
	assert_int_equal(tls_ensure(cert_path, key_path, "alpha", &f), ERR_DENIED);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(makes_a_p256_certificate_for_the_name),
		T(name_cannot_add_other_names),
		T(literal_address_becomes_an_address),
		T(key_is_the_digest_of_the_public_key),
		T(good_certificate_stays),
		T(old_certificate_is_renewed_with_the_same_key),
		T(certificate_of_another_key_is_replaced),
		T(missing_certificate_is_made_for_the_key),
		T(broken_files_are_said_and_kept),
		T(readable_key_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
