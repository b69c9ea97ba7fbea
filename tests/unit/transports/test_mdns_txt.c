#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "transports/mdns/mdns_internal.h"

#define TXT(s) bytes_of("" s "", sizeof(s) - 1)

static struct mdns_pair pairs[MDNS_TXT_PAIRS_MAX];
static size_t n;

static enum err parse(struct bytes txt)
{
	n = 999;
	memset(pairs, 0xee, sizeof pairs);
	return mdns_txt_parse(txt, pairs, MDNS_TXT_PAIRS_MAX, &n);
}

static void pairs_are_read_in_order(void **state)
{
	assert_int_equal(parse(TXT("\x05v=im2\x08n=42=7=8")), ERR_OK);
	assert_int_equal(n, 2);
	assert_string_equal(pairs[0].key, "v");
	assert_string_equal(pairs[0].value, "im2");
	assert_string_equal(pairs[1].key, "n");
	assert_string_equal(pairs[1].value, "42=7=8");
}

/* RFC 6763 6.4: no '=' is a key without a value; a missing key is silently ignored; case does not count. */
static void odd_strings_are_taken_as_the_rfc_says(void **state)
{
	struct mdns_service s = { 0 };

	assert_int_equal(parse(TXT("\x00\x04" "bare\x02=x\x05" "ONE=1\x05one=2\x04two=")), ERR_OK);
	assert_int_equal(n, 3);
	assert_string_equal(pairs[0].key, "bare");
	assert_string_equal(pairs[0].value, "");
	assert_string_equal(pairs[1].value, "1");
	assert_string_equal(pairs[2].value, "");
	memcpy(s.pairs, pairs, sizeof pairs);
	s.pairs_n = n;
	assert_string_equal(mdns_txt(&s, "one"), "1");
	assert_null(mdns_txt(&s, "on"));
	assert_int_equal(parse(TXT("")), ERR_OK);
	assert_int_equal(n, 0);
}

static void what_cannot_be_shown_is_left_out(void **state)
{
	char long_key[42] = "\x28";

	memset(long_key + 1, 'k', 40);
	assert_int_equal(parse(TXT("\x06" "a=\x1b[2J\x04" "b=\xff\xff\x06" "c=x\0yz\x03" "d=e\x03\x01=f")), ERR_OK);
	assert_int_equal(n, 1);
	assert_string_equal(pairs[0].key, "d");
	assert_int_equal(parse(bytes_of(long_key, 41)), ERR_OK);
	assert_int_equal(n, 0);
	assert_int_equal(parse(TXT("\x06" "e=\xc3\xa4\xc3\xb6")), ERR_OK); /* UTF-8 */
	assert_string_equal(pairs[0].value, "\xc3\xa4\xc3\xb6");
}

static void every_shorter_record_is_refused_or_whole(void **state)
{
	static const char txt[] = "\x05v=im2\x12i=0011223344556677";

	for (size_t len = 0; len < sizeof txt - 1; len++)
		assert_int_equal(parse(bytes_of(txt, len)), len == 0 || len == 6 ? ERR_OK : ERR_MALFORMED);
	assert_int_equal(parse(bytes_of(txt, sizeof txt - 1)), ERR_OK);
	assert_int_equal(n, 2);
}

static void a_record_is_bounded(void **state)
{
	static uint8_t big[MDNS_TXT_MAX + 1];
	uint8_t many[3 * (MDNS_TXT_PAIRS_MAX + 1)];

	assert_int_equal(parse(bytes_of(big, MDNS_TXT_MAX)), ERR_OK); /* empty strings all */
	assert_int_equal(parse(bytes_of(big, sizeof big)), ERR_LIMIT);
	for (size_t i = 0; i < MDNS_TXT_PAIRS_MAX + 1; i++) {
		many[3 * i] = 2;
		many[3 * i + 1] = (uint8_t)('a' + i);
		many[3 * i + 2] = '=';
	}
	assert_int_equal(parse(bytes_of(many, sizeof many - 3)), ERR_OK);
	assert_int_equal(n, MDNS_TXT_PAIRS_MAX);
	assert_int_equal(parse(bytes_of(many, sizeof many)), ERR_LIMIT);
}

static void what_is_built_is_read_back(void **state)
{
	struct mdns_pair in[] = { { "v", "im2" }, { "m", "0123456789abcdef" }, { "empty", "" } };
	uint8_t txt[MDNS_TXT_MAX];
	size_t len;

	assert_int_equal(txt_build(in, 3, txt, &len), ERR_OK);
	assert_int_equal(parse(bytes_of(txt, len)), ERR_OK);
	assert_int_equal(n, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_string_equal(pairs[i].key, in[i].key);
		assert_string_equal(pairs[i].value, in[i].value);
	}
	assert_int_equal(txt_build(in, 0, txt, &len), ERR_OK);
	assert_int_equal(len, 1); /* one empty string: RFC 6763 6.1 */
	strcpy(in[0].key, "a=b");
	assert_int_equal(txt_build(in, 1, txt, &len), ERR_USAGE);
	strcpy(in[0].key, "a");
	memset(in[0].value, 'x', 255);
	in[0].value[255] = '\0';
	assert_int_equal(txt_build(in, 1, txt, &len), ERR_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pairs_are_read_in_order),
		cmocka_unit_test(odd_strings_are_taken_as_the_rfc_says),
		cmocka_unit_test(what_cannot_be_shown_is_left_out),
		cmocka_unit_test(every_shorter_record_is_refused_or_whole),
		cmocka_unit_test(a_record_is_bounded),
		cmocka_unit_test(what_is_built_is_read_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
