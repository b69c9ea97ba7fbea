#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/text.h"
#include "protocol/v09/revocation.h"
#include "trust/keyring_internal.h"

/* wire 11.8 */
static const char example[] =
	"{\"type\":\"REVOCATION\",\"from\":\"139e3940e64b5491722088d9a0d74162\",\"target_node_id\":"
	"\"28fff9342c7030d3d899cc9e7bc11878\",\"revoker_node_id\":\"139e3940e64b5491722088d9a0d74162\",\"timestamp\":1753500000,"
	"\"reason\":\"compromised\",\"signature\":"
	"\"CWWL5XBOOY471N4oL+rGknMSbl5XB4LdclQWmcBid7fBW+PhgGSfwh53zegD4XZQMfWFAbaiD0NYOnH6j0lACw==\"}";

static struct keyring *zero(void)
{
	static const uint8_t seed[SEED_BYTES] = { 0 }, salt[HKDF_SALT_BYTES] = { 1 };
	struct keyring *k;

	assert_int_equal(keyring_from_seed(seed, salt, &k), ERR_OK);
	return k;
}

static void the_example_is_written_and_read(void **state)
{
	struct keyring *k = zero();
	struct revocation r;
	struct node_id bob;
	struct buf b;

	buf_init(&b, REVOCATION_PAYLOAD_MAX);
	assert_int_equal(node_id_parse(BYTES_LIT("28fff9342c7030d3d899cc9e7bc11878"), &bob), ERR_OK);
	assert_int_equal(revocation_write(k, &bob, "compromised", 1753500000999, &b), ERR_OK);
	assert_string_equal(buf_cstr(&b), example);
	assert_int_equal(revocation_read(bytes_str(example), &r), ERR_OK);
	assert_string_equal(r.target.hex, bob.hex);
	assert_string_equal(r.revoker.hex, keyring_id(k)->hex);
	assert_string_equal(r.reason, "compromised");
	assert_int_equal(r.at_s, 1753500000);
	assert_true(revocation_verify(&r, keyring_ed(k)));
	r.at_s++;
	assert_false(revocation_verify(&r, keyring_ed(k)));
	buf_fini(&b);
	keyring_free(k);
}

static void it_is_fresh_for_thirty_days(void **state)
{
	struct revocation r = { .at_s = 1753500000 };
	uint64_t at = r.at_s * 1000;

	assert_int_equal(revocation_fresh(&r, at), ERR_OK);
	assert_int_equal(revocation_fresh(&r, at - 300000), ERR_OK);
	assert_int_equal(revocation_fresh(&r, at - 300001), ERR_AGAIN);
	assert_int_equal(revocation_fresh(&r, at + REVOCATION_OLD_MS), ERR_OK);
	assert_int_equal(revocation_fresh(&r, at + REVOCATION_OLD_MS + 1), ERR_EXPIRED);
	r.at_s = 0;
	assert_int_equal(revocation_fresh(&r, at), ERR_EXPIRED);
}

static void bad(const char *from, const char *to, enum err want)
{
	char text[8192];
	const char *at = strstr(example, from);
	struct revocation r;

	assert_non_null(at);
	snprintf(text, sizeof text, "%.*s%s%s", (int)(at - example), example, to, at + strlen(from));
	assert_int_equal(revocation_read(bytes_str(text), &r), want);
}

static void the_form_is_checked(void **state)
{
	char longest[5000];
	struct revocation r;

	bad("1753500000", "1753500000.0", ERR_MALFORMED);
	bad("1753500000", "-1", ERR_MALFORMED);
	bad("1753500000", "\"1753500000\"", ERR_MALFORMED);
	bad("1753500000", "100000000000", ERR_MALFORMED);
	bad("28fff9342c7030d3d899cc9e7bc11878", "28FFF9342c7030d3d899cc9e7bc11878", ERR_MALFORMED);
	bad("28fff9342c7030d3d899cc9e7bc11878", "", ERR_MALFORMED);
	bad("\"target_node_id\"", "\"target\"", ERR_MALFORMED);
	bad("\"revoker_node_id\"", "\"revoker\"", ERR_MALFORMED);
	bad("\"signature\"", "\"sig\"", ERR_MALFORMED);
	bad("CWWL", "CWW", ERR_MALFORMED);
	bad("\"reason\":\"compromised\",", "", ERR_OK);
	bad("compromised", "\\u001b[2J", ERR_OK);
	assert_int_equal(revocation_read(BYTES_LIT("[]"), &r), ERR_MALFORMED);
	assert_int_equal(revocation_read(BYTES_LIT(""), &r), ERR_MALFORMED);
	memset(longest, 'a', sizeof longest);
	longest[sizeof longest - 1] = '\0';
	bad("compromised", longest, ERR_LIMIT);
}

/* What a reason holds never reaches a terminal as it is, and is outside the signature. */
static void a_reason_is_only_shown(void **state)
{
	struct keyring *k = zero();
	struct revocation r;
	char text[2048];
	const char *at = strstr(example, "compromised");

	snprintf(text, sizeof text, "%.*s\\u001b[2J%s", (int)(at - example), example, at + strlen("compromised"));
	assert_int_equal(revocation_read(bytes_str(text), &r), ERR_OK);
	assert_null(strchr(r.reason, 0x1b));
	assert_true(revocation_verify(&r, keyring_ed(k)));
	keyring_free(k);
}

/* A signature of another kind is none of this, though the form has no context. */
static void it_shares_no_signature_with_a_context(void **state)
{
	struct keyring *k = zero();
	uint8_t sig[SIG_BYTES];
	static const char text[] = "28fff9342c7030d3d899cc9e7bc11878139e3940e64b5491722088d9a0d741621753500000";

	keyring_sign(k, SIG_BARE_REVOCATION, bytes_str(text), sig);
	assert_true(sig_verify(SIG_BARE_REVOCATION, keyring_ed(k), bytes_str(text), sig));
	assert_false(sig_verify(SIG_BARE_REVOCATION, keyring_ed(k), BYTES_LIT("{\"a\":1}"), sig));
	assert_false(sig_verify(SIG_BARE_REVOCATION, keyring_ed(k), bytes_of(text, 64), sig));
	assert_false(sig_verify(SIG_BARE_OUTER, keyring_ed(k), bytes_str(text), sig));
	keyring_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_example_is_written_and_read),
		cmocka_unit_test(it_is_fresh_for_thirty_days),
		cmocka_unit_test(the_form_is_checked),
		cmocka_unit_test(a_reason_is_only_shown),
		cmocka_unit_test(it_shares_no_signature_with_a_context),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
