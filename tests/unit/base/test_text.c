#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static const char *safe(const char *s)
{
	static char out[128];

	return text_safe(bytes_str(s), out, sizeof(out));
}

static void printable_text_is_shown_as_it_is(void **state)
{
	assert_string_equal(safe("hello, Grüße 日本 \xf0\x9f\x98\x80"),
			    "hello, Grüße 日本 \xf0\x9f\x98\x80");
	assert_string_equal(safe(""), "");
}

static void control_and_escape_bytes_are_not_shown(void **state)
{
	char out[8];

	assert_string_equal(safe("\x1b[31mred\r\n\t\x7f"), "?[31mred????");
	assert_string_equal(text_safe(BYTES_LIT("a\0b"), out, sizeof(out)), "a?b");
	assert_string_equal(safe("\xc2\x9b"
				 "31m"),
			    "?31m"); /* C1: an 8-bit CSI */
}

static void bidi_controls_and_line_separators_are_not_shown(void **state)
{
	static const char *const bad[] = {
		"\xe2\x80\x8e", "\xe2\x80\x8f",					/* LRM RLM */
		"\xe2\x80\xaa", "\xe2\x80\xab", "\xe2\x80\xac", "\xe2\x80\xad", /* embeddings */
		"\xe2\x80\xae", "\xe2\x81\xa6", "\xe2\x81\xa7", "\xe2\x81\xa8", /* overrides,
										   isolates */
		"\xe2\x81\xa9", "\xe2\x80\xa8", "\xe2\x80\xa9", "\xc2\x80",	"\xc2\x9f",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_string_equal(safe(bad[i]), "?");
	assert_string_equal(safe("\xc2\xa0\xe2\x80\x90"),
			    "\xc2\xa0\xe2\x80\x90"); /* neighbours are fine */
}

static void characters_that_nobody_sees_are_shown_as_marks(void **state)
{
	static const char *const bad[] = {
		"\xc2\xad",	    /* soft hyphen */
		"\xcd\x8f",	    /* grapheme joiner */
		"\xe2\x80\x8b",     /* zero width space */
		"\xe2\x80\x8d",     /* joiner */
		"\xe2\x81\xa0",     /* word joiner */
		"\xe3\x85\xa4",     /* Hangul filler */
		"\xef\xb8\x8f",     /* variation selector */
		"\xef\xbb\xbf",     /* byte order mark */
		"\xf3\xa0\x81\xa1", /* a tag letter */
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_string_equal(safe(bad[i]), "?");
	assert_string_equal(safe("al\xe2\x80\x8bice"), "al?ice");
}

static void bad_utf8_is_one_mark_per_byte(void **state)
{
	assert_string_equal(safe("a\xff"
				 "b"),
			    "a?b");
	assert_string_equal(safe("\xe2\x82"), "??");	       /* cut short */
	assert_string_equal(safe("\xed\xa0\x80"), "???");      /* a surrogate */
	assert_string_equal(safe("\xc0\xaf"), "??");	       /* overlong */
	assert_string_equal(safe("\xf4\x90\x80\x80"), "????"); /* past U+10FFFF */
}

static void long_text_is_cut_at_a_character(void **state)
{
	char out[9];

	assert_string_equal(text_safe(BYTES_LIT("12345678"), out, sizeof(out)), "12345678");
	assert_string_equal(text_safe(BYTES_LIT("123456789"), out, sizeof(out)), "12345...");
	assert_string_equal(text_safe(BYTES_LIT("1234\xc3\xbc"
						"56789"),
				      out, sizeof(out)),
			    "1234...");
	assert_string_equal(text_safe(BYTES_LIT("123\xc3\xbc"
						"56789"),
				      out, sizeof(out)),
			    "123\xc3\xbc...");
	assert_string_equal(text_safe(BYTES_LIT("abcdef"), out, 4), "...");
	assert_string_equal(text_safe(BYTES_LIT("abcdef"), out, 3), "ab");
	assert_string_equal(text_safe(BYTES_LIT("abcdef"), out, 1), "");
	assert_string_equal(text_safe(BYTES_LIT("abcdef"), out, 0), "");
}

static void cut_text_is_valid_utf8_at_every_size(void **state)
{
	const struct bytes in =
		BYTES_LIT("a\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80\xff z\xc3\xbc\xe2\x82\xac");
	char out[32];

	for (size_t cap = 1; cap <= sizeof(out); cap++) {
		memset(out, 'X', sizeof(out));
		text_safe(in, out, cap);
		assert_true(memchr(out, '\0', cap) != NULL);
		assert_true(utf8_valid(bytes_str(out)));
		if (cap < sizeof(out))
			assert_int_equal(out[cap], 'X');
	}
}

static void utf8_is_checked_strictly(void **state)
{
	assert_true(utf8_valid(BYTES_LIT("")));
	assert_true(utf8_valid(BYTES_LIT("plain ASCII of more than eight bytes")));
	assert_true(utf8_valid(
		BYTES_LIT("\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf")));
	assert_false(utf8_valid(BYTES_LIT("12345678\x80")));
	assert_false(utf8_valid(BYTES_LIT("\xc1\xbf")));
	assert_false(utf8_valid(BYTES_LIT("\xe0\x9f\xbf")));
	assert_false(utf8_valid(BYTES_LIT("\xed\xa0\x80")));
	assert_false(utf8_valid(BYTES_LIT("\xf0\x8f\xbf\xbf")));
	assert_false(utf8_valid(BYTES_LIT("\xf4\x90\x80\x80")));
	assert_false(utf8_valid(BYTES_LIT("\xf5\x80\x80\x80")));
	assert_false(utf8_valid(BYTES_LIT("\xf0\x9f\x98")));
	assert_false(utf8_valid(BYTES_LIT("\xe2\x82 ")));
	assert_int_equal(utf8_count(BYTES_LIT("a\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80")), 4);
	assert_int_equal(utf8_count(BYTES_LIT("")), 0);
}

static void every_code_point_decodes_to_itself(void **state)
{
	for (uint32_t c = 1; c <= 0x110000; c += 37) {
		uint8_t u[4];
		uint32_t got = 0;
		size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
		bool ok = c < 0x110000 && !(c >= 0xd800 && c <= 0xdfff);

		if (n == 1)
			u[0] = (uint8_t)c;
		else
			u[0] = (uint8_t)((0xf00 >> n) | c >> (6 * (n - 1)));
		for (size_t i = 1; i < n; i++)
			u[i] = (uint8_t)(0x80 | (c >> (6 * (n - 1 - i)) & 0x3f));
		assert_int_equal(utf8_decode(bytes_of(u, n), 0, &got), ok ? n : 0);
		if (ok)
			assert_int_equal(got, c);
		assert_int_equal(utf8_decode(bytes_of(u, n - 1), 0, &got), 0);
	}
}

static void names_are_letters_digits_and_three_marks(void **state)
{
	char name[NAME_MAX_CHARS + 2];

	memset(name, 'n', sizeof(name));
	assert_true(name_valid(BYTES_LIT("agent-1.local_x")));
	assert_true(name_valid(BYTES_LIT("A")));
	assert_true(name_valid(bytes_of(name, NAME_MAX_CHARS)));
	assert_false(name_valid(bytes_of(name, NAME_MAX_CHARS + 1)));
	assert_false(name_valid(BYTES_LIT("")));
	assert_false(name_valid(BYTES_LIT("-option")));
	for (int c = 0; c < 256; c++) {
		const char two[2] = {'a', (char)c};
		bool ok = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
			  (c >= 'A' && c <= 'Z') || c == '.' || c == '_' || c == '-';

		assert_int_equal(name_valid(bytes_of(two, 2)), ok);
	}
}

static void hex_has_one_spelling(void **state)
{
	char text[2 * 4 + 1];
	uint8_t out[4];

	hex_encode(BYTES_LIT("\x00\x7f\xa0\xff"), text);
	assert_string_equal(text, "007fa0ff");
	assert_int_equal(hex_decode(bytes_str(text), out, 4), ERR_OK);
	assert_memory_equal(out, "\x00\x7f\xa0\xff", 4);
	assert_int_equal(hex_decode(BYTES_LIT("007FA0FF"), out, 4), ERR_MALFORMED);
	assert_int_equal(hex_decode(BYTES_LIT("007fa0f"), out, 4), ERR_MALFORMED);
	assert_int_equal(hex_decode(BYTES_LIT("007fa0ff0"), out, 4), ERR_MALFORMED);
	assert_int_equal(hex_decode(BYTES_LIT("007fa0ff00"), out, 4), ERR_MALFORMED);
	assert_int_equal(hex_decode(BYTES_LIT("007fa0fg"), out, 4), ERR_MALFORMED);
	assert_int_equal(hex_decode(BYTES_LIT(" 07fa0ff"), out, 4), ERR_MALFORMED);
	assert_int_equal(hex_decode(BYTES_LIT(""), out, 0), ERR_OK);
	assert_true(hex_valid(BYTES_LIT("09af"), 4));
	assert_false(hex_valid(BYTES_LIT("09af"), 3));
	assert_false(hex_valid(BYTES_LIT("09aF"), 4));
}

static enum err ms(const char *s, uint64_t *out)
{
	return duration_parse(bytes_str(s), out);
}

static void durations_have_units_and_fractions(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {{"5s", 5000},
		    {"250ms", 250},
		    {"2m", 120000},
		    {"1h", 3600000},
		    {"1d", 86400000},
		    {"7", 7000},
		    {"0", 0},
		    {"0.5s", 500},
		    {"1.5", 1500},
		    {"0.5d", 43200000},
		    {"0.0005s", 1},
		    {"0.4ms", 0},
		    {"007s", 7000},
		    {"0.25m", 15000},
		    {"1.999999999999999999s", 2000},
		    {"11574074d", 999999993600000}};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		uint64_t v = 1;

		assert_int_equal(ms(good[i].text, &v), ERR_OK);
		assert_true(v == good[i].ms);
	}
}

static void other_durations_are_refused(void **state)
{
	static const char *const bad[] = {"",	 "s",	 "ms",	  ".5s", "5.",	"5.s",
					  "-1s", "+1s",	 " 5s",	  "5s ", "5 s", "1e3",
					  "5S",	 "5sec", "1h30m", "0x5", "nan", "1,5s"};
	uint64_t v = 77;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(ms(bad[i], &v), ERR_MALFORMED);
	assert_int_equal(ms("99999999999999999999999999999999s", &v), ERR_LIMIT);
	assert_int_equal(ms("11574075d", &v), ERR_LIMIT);
	assert_int_equal(ms("1000000000001", &v), ERR_LIMIT);
	assert_int_equal(v, 77);
	assert_int_equal(duration_parse(BYTES_LIT("5\0s"), &v), ERR_MALFORMED);
}

static void time_is_shown_in_utc_with_milliseconds(void **state)
{
	char out[RFC3339_LEN];

	assert_string_equal(rfc3339(0, out), "1970-01-01T00:00:00.000Z");
	assert_string_equal(rfc3339(1767323045678, out), "2026-01-02T03:04:05.678Z");
	assert_string_equal(rfc3339(951782400001, out), "2000-02-29T00:00:00.001Z");
	assert_string_equal(rfc3339(UINT64_MAX, out), "9999-12-31T23:59:59.999Z");
}

static void edit_distance_counts_up_to_its_limit(void **state)
{
	char a[200], b[200];

	assert_int_equal(edit_distance("status", "status", 3), 0);
	assert_int_equal(edit_distance("status", "stauts", 3), 1);
	assert_int_equal(edit_distance("send", "sent", 3), 1);
	assert_int_equal(edit_distance("peers", "peer", 3), 1);
	assert_int_equal(edit_distance("", "abc", 3), 3);
	assert_int_equal(edit_distance("kitten", "sitting", 3), 3);
	assert_int_equal(edit_distance("kitten", "sitting", 2), 3);
	assert_int_equal(edit_distance("abcdef", "uvwxyz", 2), 3);
	memset(a, 'a', sizeof(a));
	memset(b, 'b', sizeof(b));
	a[199] = b[199] = '\0';
	assert_int_equal(edit_distance(a, b, 5), 6);
	assert_int_equal(edit_distance(a, a, 5), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(printable_text_is_shown_as_it_is),
		cmocka_unit_test(control_and_escape_bytes_are_not_shown),
		cmocka_unit_test(bidi_controls_and_line_separators_are_not_shown),
		cmocka_unit_test(characters_that_nobody_sees_are_shown_as_marks),
		cmocka_unit_test(bad_utf8_is_one_mark_per_byte),
		cmocka_unit_test(long_text_is_cut_at_a_character),
		cmocka_unit_test(cut_text_is_valid_utf8_at_every_size),
		cmocka_unit_test(utf8_is_checked_strictly),
		cmocka_unit_test(every_code_point_decodes_to_itself),
		cmocka_unit_test(names_are_letters_digits_and_three_marks),
		cmocka_unit_test(hex_has_one_spelling),
		cmocka_unit_test(durations_have_units_and_fractions),
		cmocka_unit_test(other_durations_are_refused),
		cmocka_unit_test(time_is_shown_in_utc_with_milliseconds),
		cmocka_unit_test(edit_distance_counts_up_to_its_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
