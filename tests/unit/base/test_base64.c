#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static enum err decode(struct bytes in, uint8_t *out, size_t cap, size_t *n)
{
	/* An exact copy on the heap, so that a sanitizer sees one byte too far on either side. */
	uint8_t *p = malloc(in.n + 1);
	enum err e;

	memcpy(p + 1, in.p, in.n);
	e = base64_decode(bytes_of(p + 1, in.n), out, cap, n);
	free(p);
	return e;
}

/* RFC 4648 part 10 */
static void gives_the_published_texts(void **state)
{
	static const char *const pairs[][2] = {{"", ""},
					       {"f", "Zg=="},
					       {"fo", "Zm8="},
					       {"foo", "Zm9v"},
					       {"foob", "Zm9vYg=="},
					       {"fooba", "Zm9vYmE="},
					       {"foobar", "Zm9vYmFy"},
					       {"\xfb\xff\xbf", "+/+/"}};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		char text[16];
		uint8_t back[16];
		size_t n = 99;

		base64_encode(bytes_str(pairs[i][0]), text);
		assert_string_equal(text, pairs[i][1]);
		assert_int_equal(strlen(text), BASE64_LEN(strlen(pairs[i][0])));
		assert_int_equal(decode(bytes_str(text), back, sizeof(back), &n), ERR_OK);
		assert_true(bytes_eq(bytes_of(back, n), bytes_str(pairs[i][0])));
	}
}

static void every_length_comes_back(void **state)
{
	uint8_t in[300], *out;
	char text[BASE64_LEN(300) + 1];
	size_t n;

	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 167 + 13);
	for (size_t len = 0; len <= sizeof(in); len++) {
		base64_encode(bytes_of(in, len), text);
		assert_int_equal(strlen(text), BASE64_LEN(len));
		out = malloc(len + 1); /* exactly the room it needs, and a canary */
		out[len] = 0xa5;
		assert_int_equal(decode(bytes_str(text), out, len, &n), ERR_OK);
		assert_int_equal(n, len);
		assert_memory_equal(out, in, len);
		assert_int_equal(out[len], 0xa5);
		assert_int_equal(base64_decode_exact(bytes_str(text), out, len), ERR_OK);
		if (len) {
			n = 77;
			assert_int_equal(decode(bytes_str(text), out, len - 1, &n), ERR_LIMIT);
			assert_int_equal(n, 77);
			assert_int_equal(base64_decode_exact(bytes_str(text), out, len - 1),
					 ERR_MALFORMED);
		}
		assert_int_equal(base64_decode_exact(bytes_str(text), out, len + 1), ERR_MALFORMED);
		free(out);
	}
}

static void no_other_spelling_is_accepted(void **state)
{
	static const char *const bad[] =
		{
			"Zg",	    "Zg=",	  "Zg===",	  "Z",
			"Zm9",	    "Zm9vYg=",		      /* length */
			"Zh==",	    "Zm9=",	  "Zm9vYmF=", /* spare bits */
			"====",	    "=m9v",	  "Z=9v",	  "Zm=v",
			"Zg==Zg==", "Zm8=Zm8=", /* '=' inside */
			"Z===",	    "Zg=a",	  " Zm9v",	  "Zm9v ",
			"Zm9v\n",   "Zm\n9v",	  "\nZm9",	  "Zm9\n", /* white space */
			"    ",	    "Zm9v    ",	  "Zm9v\r\n\r\n", "Zm9-",
			"Zm9_",	    "Zm9.", /* alphabet */
			"Zm9\xff",  "Zm\xc3\xbc",
		};
	uint8_t out[16];
	size_t n = 77;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(decode(bytes_str(bad[i]), out, sizeof(out), &n), ERR_MALFORMED);
	assert_int_equal(decode(BYTES_LIT("Zm9\0"), out, sizeof(out), &n), ERR_MALFORMED);
	assert_int_equal(n, 77);
}

static void one_wrong_character_anywhere_is_refused(void **state)
{
	char text[] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
	uint8_t out[32];
	size_t len = strlen(text);

	assert_int_equal(base64_decode_exact(bytes_of(text, len), out, 32), ERR_OK);
	for (size_t i = 0; i < len; i++) {
		static const char wrong[] = "=- \n\t.\x80\xff!";
		char was = text[i];

		for (size_t w = 0; w < sizeof(wrong); w++) {
			if (wrong[w] == was)
				continue;
			text[i] = wrong[w];
			assert_int_equal(base64_decode_exact(bytes_of(text, len), out, 32),
					 ERR_MALFORMED);
		}
		text[i] = was;
	}
	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(base64_decode_exact(bytes_of(text, cut), out, 32), ERR_MALFORMED);
}

static void buffers_take_both_directions_up_to_their_maximum(void **state)
{
	struct buf b;

	buf_init(&b, 8); /* exactly "Zm9vYmE=": the encoder's NUL is not counted */
	assert_int_equal(buf_add_base64(&b, BYTES_LIT("fooba")), ERR_OK);
	assert_string_equal(buf_cstr(&b), "Zm9vYmE=");
	assert_int_equal(buf_add_base64(&b, BYTES_LIT("x")), ERR_LIMIT);
	buf_reset(&b);
	assert_int_equal(buf_add_base64(&b, bytes_of(NULL, 0)), ERR_OK);
	assert_int_equal(b.n, 0);
	assert_int_equal(buf_add_base64(&b, bytes_of("", SIZE_MAX)), ERR_LIMIT);
	buf_fini(&b);

	buf_init(&b, 5);
	assert_int_equal(buf_add_base64_decoded(&b, BYTES_LIT("Zm9vYmE=")), ERR_OK);
	assert_string_equal(buf_cstr(&b), "fooba");
	assert_int_equal(buf_add_base64_decoded(&b, BYTES_LIT("Zg==")), ERR_LIMIT);
	buf_reset(&b);
	assert_int_equal(buf_add_base64_decoded(&b, BYTES_LIT("Zg=x")), ERR_MALFORMED);
	assert_int_equal(b.n, 0);
	assert_int_equal(buf_add_base64_decoded(&b, BYTES_LIT("Zg==")), ERR_MALFORMED); /* sticks */
	buf_fini(&b);
}

static void megabytes_are_encoded_in_one_piece(void **state)
{
	const size_t n = 7 * 1024 * 1024 + 1;
	uint8_t *in = malloc(n), *back = malloc(n);
	char *text = malloc(BASE64_LEN(n) + 1);

	for (size_t i = 0; i < n; i++)
		in[i] = (uint8_t)(i * 31 >> 3);
	base64_encode(bytes_of(in, n), text);
	assert_int_equal(strlen(text), BASE64_LEN(n));
	assert_int_equal(base64_decode_exact(bytes_str(text), back, n), ERR_OK);
	assert_memory_equal(in, back, n);
	free(in);
	free(back);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_the_published_texts),
		cmocka_unit_test(every_length_comes_back),
		cmocka_unit_test(no_other_spelling_is_accepted),
		cmocka_unit_test(one_wrong_character_anywhere_is_refused),
		cmocka_unit_test(buffers_take_both_directions_up_to_their_maximum),
		cmocka_unit_test(megabytes_are_encoded_in_one_piece),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
