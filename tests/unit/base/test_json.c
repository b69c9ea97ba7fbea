#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static enum err load(const char *text, json_t **out)
{
	return json_load_strict(bytes_str(text), 1 << 20, out);
}

static void refused(const char *text, enum err want)
{
	json_t *v = NULL;
	enum err e = load(text, &v);

	if (e != want)
		print_error("%s\n", text);
	assert_int_equal(e, want);
	assert_null(v);
}

/* What `text` becomes when it is read and written again. */
static void rewritten(const char *text, enum json_order order, const char *want)
{
	json_t *v = NULL;
	struct buf b;

	buf_init(&b, 1 << 20);
	assert_int_equal(load(text, &v), ERR_OK);
	assert_int_equal(json_write(&b, v, order), ERR_OK);
	assert_string_equal(buf_cstr(&b), want);
	json_decref(v);
	buf_fini(&b);
}

static void what_is_not_strict_json_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		" ",
		"{",
		"[1,2",
		"{\"a\":1",
		"{\"a\"}",
		"{a:1}",
		"{'a':1}",
		"[1,]",
		"{\"a\":1,}",
		"[01]",
		"[+1]",
		"[.5]",
		"[5.]",
		"[0x1]",
		"[NaN]",
		"[Infinity]",
		"[-Infinity]",
		"[nan]",
		"[True]",
		"[1e999]",
		"[-1e999]",
		"[\"\\x\"]",
		"[\"a]",
		"[\"\n\"]",
		"[\"\\u12\"]",
		"[\"\xff\"]",
		"[\"\xed\xa0\x80\"]",
		"[\"\xc0\x80\"]",
		"[\"\\ud800\"]",
		"[\"\\udc00\"]",
		"[\"\\ud800\\u0041\"]",
		"[\"\\u0000\"]",
		"{} {}",
		"[]x",
		"[],",
		"[1]]",
		"{}}",
		"/**/{}",
		"1",
		"\"text\"",
		"null",
		"true",
		"]",
		"}",
		"[}",
		"\xef\xbb\xbf{}",
		"[123456789012345678901234567890]",
		"\"",
		"[\"\\\"]",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused(bad[i], ERR_MALFORMED);
	json_t *v = NULL;
	assert_int_equal(json_load_strict(BYTES_LIT("{}\0"), 100, &v), ERR_MALFORMED);
	assert_int_equal(json_load_strict(bytes_of(NULL, 0), 100, &v), ERR_MALFORMED);
	assert_null(v);
}

static void duplicate_keys_are_refused(void **state)
{
	refused("{\"a\":1,\"a\":1}", ERR_MALFORMED);
	refused("{\"a\":1,\"\\u0061\":2}", ERR_MALFORMED); /* the same key, spelled otherwise */
	refused("[{\"x\":{\"b\":1,\"c\":2,\"b\":3}}]", ERR_MALFORMED);
	rewritten("{\"a\":1,\"A\":1}", JSON_INSERTION, "{\"a\":1,\"A\":1}");
}

static void every_shorter_prefix_is_refused(void **state)
{
	const char text[] = "{\"a\":[1,2.5,\"x\\n\",null,true],\"b\":{\"c\":false}}";
	json_t *v = NULL;

	for (size_t n = 0; n < sizeof(text) - 1; n++)
		assert_int_equal(json_load_strict(bytes_of(text, n), 1000, &v), ERR_MALFORMED);
	assert_int_equal(json_load_strict(bytes_of(text, sizeof(text) - 1), 1000, &v), ERR_OK);
	json_decref(v);
}

static void size_is_limited_before_parsing(void **state)
{
	json_t *v = NULL;

	assert_int_equal(json_load_strict(BYTES_LIT("{\"a\":1}"), 7, &v), ERR_OK);
	json_decref(v);
	v = NULL;
	assert_int_equal(json_load_strict(BYTES_LIT("{\"a\":1}"), 6, &v), ERR_LIMIT);
	assert_int_equal(json_load_strict(BYTES_LIT("not json"), 6, &v), ERR_LIMIT);
	assert_null(v);
}

static char *nested(size_t containers, const char *inner, bool objects)
{
	const char *open = objects ? "{\"k\":" : "[";
	size_t n = strlen(open);
	char *s = malloc(containers * (n + 1) + strlen(inner) + 1), *p = s;

	for (size_t i = 0; i < containers; i++, p += n)
		memcpy(p, open, n);
	p = stpcpy(p, inner);
	memset(p, objects ? '}' : ']', containers);
	p[containers] = '\0';
	return s;
}

static void deep(size_t containers, const char *inner, bool objects, enum err want)
{
	char *s = nested(containers, inner, objects);
	json_t *v = NULL;

	assert_int_equal(load(s, &v), want);
	json_decref(v);
	free(s);
}

static void a_value_at_depth_65_is_refused(void **state)
{
	deep(64, "1", false, ERR_OK); /* the scalar is at depth 64 */
	deep(64, "1", true, ERR_OK);
	deep(64, "[]", false, ERR_OK); /* an empty container at depth 64 holds no value */
	deep(64, "{}", true, ERR_OK);
	deep(64, "[ \n\t]", false, ERR_OK);
	deep(65, "1", false, ERR_LIMIT);
	deep(65, "1", true, ERR_LIMIT);
	deep(65, "\"s\"", false, ERR_LIMIT);
	deep(64, "[ 1]", false, ERR_LIMIT);
	deep(64, "{\"k\":1}", true, ERR_LIMIT);
	deep(65, "[]", false, ERR_LIMIT);
	deep(500000, "", false, ERR_LIMIT); /* and the stack has not noticed */
	deep(100000, "1", true, ERR_LIMIT);
}

static void brackets_inside_strings_do_not_count(void **state)
{
	char text[400];
	json_t *v = NULL;

	memset(text, '[', sizeof(text));
	memcpy(text, "[\"\\\"", 4);
	memcpy(text + 200, "\\\\\\\"", 4);
	memcpy(text + 390, "\\\\\"]", 5);
	assert_int_equal(load(text, &v), ERR_OK);
	json_decref(v);
	/* A quote that only looks escaped ends the string, so these do count. */
	memcpy(text + 100, "\\\\\",", 4);
	refused(text, ERR_LIMIT);
}

static void depth_is_counted_from_what_is_open(void **state)
{
	struct buf b;
	json_t *v = NULL;

	buf_init(&b, 100000);
	buf_add_str(&b, "[[]");
	for (int i = 0; i < 200; i++)
		buf_add_str(&b, ",[],{}"); /* wide, not deep */
	buf_add_str(&b, "]");
	assert_int_equal(json_load_strict(buf_bytes(&b), 100000, &v), ERR_OK);
	assert_int_equal(json_array_size(v), 401);
	json_decref(v);
	buf_fini(&b);
}

static void keys_are_sorted_by_code_point_recursively(void **state)
{
	rewritten("{\"b\":1,\"a\":{\"z\":1,\"y\":[{\"d\":0,\"c\":0}]},\"\":0,\"aa\":0,\"B\":0}",
		  JSON_SORTED,
		  "{\"\":0,\"B\":0,\"a\":{\"y\":[{\"c\":0,\"d\":0}],\"z\":1},\"aa\":0,\"b\":1}");
	/* U+FFFD sorts before U+1F600 by code point, after it by UTF-16 unit */
	rewritten("{\"\\ud83d\\ude00\":1,\"\\ufffd\":2,\"\\u00e9\":3,\"z\":4}", JSON_SORTED,
		  "{\"z\":4,\"\\u00e9\":3,\"\\ufffd\":2,\"\\ud83d\\ude00\":1}");
}

static void insertion_order_is_kept(void **state)
{
	rewritten("{ \"b\" : 1 , \"a\" : [ 1 , 2 ] }", JSON_INSERTION, "{\"b\":1,\"a\":[1,2]}");
}

static void large_objects_are_sorted_too(void **state)
{
	struct buf b, want;
	json_t *o = json_object();

	buf_init(&b, 1 << 20);
	buf_init(&want, 1 << 20);
	for (int i = 999; i >= 100; i--) {
		char key[16];

		snprintf(key, sizeof(key), "%d", i);
		json_object_set_new(o, key, json_integer(i));
	}
	assert_int_equal(json_write(&b, o, JSON_SORTED), ERR_OK);
	buf_add_u8(&want, '{');
	for (int i = 100; i <= 999; i++)
		buf_printf(&want, "%s\"%d\":%d", i > 100 ? "," : "", i, i);
	buf_add_u8(&want, '}');
	assert_string_equal(buf_cstr(&b), buf_cstr(&want));
	json_decref(o);
	buf_fini(&b);
	buf_fini(&want);
}

static void scalars_print_as_the_python_encoder_does(void **state)
{
	rewritten("[true,false,null,0,-0,-1,9223372036854775807,-9223372036854775808]",
		  JSON_INSERTION,
		  "[true,false,null,0,0,-1,9223372036854775807,-9223372036854775808]");
	rewritten("[1.0,1e2,1E+2,-0.0,1736812800.0,1.50]", JSON_INSERTION,
		  "[1.0,100.0,100.0,-0.0,1736812800.0,1.5]");
	rewritten("{}", JSON_SORTED, "{}");
	rewritten("[]", JSON_SORTED, "[]");
	rewritten("[[],{}]", JSON_SORTED, "[[],{}]");
}

static const char *as_double(double v)
{
	static char out[64];
	struct buf b;

	buf_init(&b, 60);
	json_add_double(&b, v);
	assert_int_equal(b.err, ERR_OK);
	strcpy(out, buf_cstr(&b));
	buf_fini(&b);
	return out;
}

/* The table of wire 11.5, then values that catch a formatter: powers of two, whose neighbours are
 * not equally far, and subnormals. */
static void doubles_print_as_the_table_says(void **state)
{
	assert_string_equal(as_double(1736812800.0), "1736812800.0");
	assert_string_equal(as_double(1753500000.25), "1753500000.25");
	assert_string_equal(as_double(1753500000.123456), "1753500000.123456");
	assert_string_equal(as_double(1753500000.1234567), "1753500000.1234567");
	assert_string_equal(as_double(0.1), "0.1");
	assert_string_equal(as_double(1e15), "1000000000000000.0");
	assert_string_equal(as_double(1e16), "1e+16");
	assert_string_equal(as_double(123456789012345.6), "123456789012345.6");
	assert_string_equal(as_double(0.0001), "0.0001");
	assert_string_equal(as_double(0.00001), "1e-05");
	assert_string_equal(as_double(1.5e300), "1.5e+300");
	assert_string_equal(as_double(5e-324), "5e-324");
	assert_string_equal(as_double(-0.0), "-0.0");

	assert_string_equal(as_double(0.0), "0.0");
	assert_string_equal(as_double(-1.5), "-1.5");
	assert_string_equal(as_double(9007199254740993.0), "9007199254740992.0");
	assert_string_equal(as_double(9999999999999998.0), "9999999999999998.0");
	assert_string_equal(as_double(0.30000000000000004), "0.30000000000000004");
	assert_string_equal(as_double(0.00012345), "0.00012345");
	assert_string_equal(as_double(1e22), "1e+22");
	assert_string_equal(as_double(1e-100), "1e-100");
	assert_string_equal(as_double(1.7976931348623157e308), "1.7976931348623157e+308");
	assert_string_equal(as_double(2.2250738585072014e-308), "2.2250738585072014e-308");
	assert_string_equal(as_double(1e-310), "1e-310");
	assert_string_equal(as_double(ldexp(1, -1017)), "7.120236347223045e-307");
	assert_string_equal(as_double(ldexp(1, -44)), "5.684341886080802e-14");
	assert_string_equal(as_double(ldexp(1, -958)), "4.1045368012983762e-289");
}

static void every_double_comes_back_the_same(void **state)
{
	uint64_t x = 88172645463325252u;

	for (int i = 0; i < 20000; i++) {
		double v, back;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(&v, &x, sizeof(v));
		if (!isfinite(v))
			continue;
		back = strtod(as_double(v), NULL);
		assert_memory_equal(&v, &back, sizeof(v));
	}
}

static void a_comma_locale_changes_nothing(void **state)
{
	static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
	bool found = false;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !found; i++)
		found = setlocale(LC_NUMERIC, names[i]) != NULL;
	if (!found)
		skip(); /* no such locale on this machine */
	assert_string_equal(as_double(1.5), "1.5");
	assert_string_equal(as_double(1.5e300), "1.5e+300");
	setlocale(LC_NUMERIC, "C");
}

static void what_is_not_finite_is_an_error(void **state)
{
	struct buf b;

	buf_init(&b, 100);
	json_add_double(&b, NAN);
	assert_int_equal(b.err, ERR_MALFORMED);
	buf_reset(&b);
	json_add_double(&b, INFINITY);
	assert_int_equal(b.err, ERR_MALFORMED);
	assert_int_equal(b.n, 0);
	buf_fini(&b);
}

static const char *as_string(struct bytes s)
{
	static char out[1024];
	struct buf b;

	buf_init(&b, 1000);
	json_add_string(&b, s);
	assert_int_equal(b.err, ERR_OK);
	strcpy(out, buf_cstr(&b));
	buf_fini(&b);
	return out;
}

static void strings_print_as_the_table_says(void **state)
{
	assert_string_equal(
		as_string(BYTES_LIT("\x7f\xc2\x80\xe2\x80\xa8/<>&\xf0\x9f\x98\x80\0\x1f\"\\")),
		"\"\\u007f\\u0080\\u2028/<>&\\ud83d\\ude00\\u0000\\u001f\\\"\\\\\"");
	assert_string_equal(as_string(BYTES_LIT("\b\t\n\f\r\v'~")), "\"\\b\\t\\n\\f\\r\\u000b'~\"");
	assert_string_equal(as_string(BYTES_LIT("")), "\"\"");
	assert_string_equal(as_string(BYTES_LIT("\xf4\x8f\xbf\xbf\xef\xbf\xbf")),
			    "\"\\udbff\\udfff\\uffff\"");
}

static void a_special_byte_is_seen_at_every_place_of_a_run(void **state)
{
	for (int c = 0; c < 0x80; c++) {
		bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';

		for (size_t at = 0; at < 20; at++) {
			char in[20], want[40];
			size_t n = 0;

			memset(in, at % 2 ? '!' : '~',
			       sizeof(in)); /* the neighbours of the edges */
			in[at] = (char)c;
			want[n++] = '"';
			for (size_t i = 0; i < sizeof(in); i++) {
				static const char names[] = "\bb\tt\nn\ff\rr\"\"\\\\";
				const char *name = NULL;

				for (size_t k = 0; k < sizeof(names) - 1; k += 2)
					if (names[k] == in[i])
						name = names + k + 1;
				if (i != at || plain)
					want[n++] = in[i];
				else if (name)
					n += (size_t)snprintf(want + n, 3, "\\%c", *name);
				else
					n += (size_t)snprintf(want + n, 7, "\\u%04x", c);
			}
			want[n++] = '"';
			want[n] = '\0';
			assert_string_equal(as_string(BYTES_ARR(in)), want);
		}
	}
}

/* Text with one byte in the middle of a run, at every place: jansson reads back what was written. */
static void text_escapes_only_what_json_forbids(void **state)
{
	struct buf b;

	buf_init(&b, 1000);
	json_add_text(&b, BYTES_LIT("gr\xc3\xbc\xc3\x9f \x7f/<\"\\\n\x01\0 \xf0\x9f\x98\x80"));
	assert_string_equal(buf_cstr(&b),
			    "\"gr\xc3\xbc\xc3\x9f \x7f/<\\\"\\\\\\n\\u0001\\u0000 \xf0\x9f\x98\x80\"");
	for (unsigned c = 0; c < 0x80; c++)
		for (size_t at = 0; at < 40; at++) {
			uint8_t in[40];
			json_t *v;

			memset(in, 'x', sizeof in);
			in[at] = (uint8_t)c;
			buf_reset(&b);
			json_add_text(&b, BYTES_ARR(in));
			assert_int_equal(b.err, ERR_OK);
			v = json_loadb((const char *)b.p, b.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
			assert_int_equal(json_string_length(v), sizeof in);
			assert_memory_equal(json_string_value(v), in, sizeof in);
			json_decref(v);
		}
	buf_reset(&b);
	json_add_text(&b, (struct bytes){ 0 });
	assert_string_equal(buf_cstr(&b), "\"\"");
	buf_fini(&b);
}

/* The quick reader and jansson agree on a special byte wherever it stands in a string. */
static void a_string_ends_where_it_ends(void **state)
{
	static const uint8_t special[] = { 0, 0x1f, '"', '\\', 0x80, 0xff };

	for (size_t k = 0; k < sizeof special; k++)
		for (size_t at = 0; at < 40; at++) {
			uint8_t in[44];
			json_t *ours = NULL, *theirs;
			enum err e;

			memset(in, 'y', sizeof in);
			memcpy(in, "[\"", 2);
			memcpy(in + sizeof in - 2, "\"]", 2);
			in[2 + at] = special[k];
			theirs = json_loadb((const char *)in, sizeof in, JSON_REJECT_DUPLICATES, NULL);
			e = json_load_strict(BYTES_ARR(in), sizeof in, &ours);
			assert_int_equal(e == ERR_OK, theirs != NULL);
			if (theirs)
				assert_true(json_equal(ours, theirs));
			json_decref(ours);
			json_decref(theirs);
		}
}

static void a_string_that_is_not_utf8_is_an_error(void **state)
{
	struct buf b;

	buf_init(&b, 100);
	json_add_string(&b, BYTES_LIT("abc\xff"));
	assert_int_equal(b.err, ERR_MALFORMED);
	buf_reset(&b);
	json_add_string(&b, BYTES_LIT("\xed\xa0\x80"));
	assert_int_equal(b.err, ERR_MALFORMED);
	buf_fini(&b);
}

static void writing_past_the_buffer_is_a_limit(void **state)
{
	json_t *v = json_pack("{s:s,s:[i,f]}", "a", "text", "b", 1, 2.5);
	struct buf b;
	size_t whole;

	buf_init(&b, 1000);
	assert_int_equal(json_write(&b, v, JSON_SORTED), ERR_OK);
	whole = b.n;
	buf_fini(&b);
	for (size_t max = 0; max < whole; max++) {
		buf_init(&b, max);
		assert_int_equal(json_write(&b, v, JSON_SORTED), ERR_LIMIT);
		buf_fini(&b);
	}
	buf_init(&b, whole);
	assert_int_equal(json_write(&b, v, JSON_SORTED), ERR_OK);
	buf_fini(&b);
	json_decref(v);
}

static void a_tree_too_deep_or_missing_is_not_written(void **state)
{
	json_t *v = json_array();
	struct buf b;

	for (int i = 0; i < 70; i++) {
		json_t *outer = json_array();

		json_array_append_new(outer, v);
		v = outer;
	}
	buf_init(&b, 1000);
	assert_int_equal(json_write(&b, v, JSON_SORTED), ERR_LIMIT);
	json_decref(v);
	buf_reset(&b);
	assert_int_equal(json_write(&b, NULL, JSON_SORTED), ERR_MALFORMED);
	buf_fini(&b);
}

static void typed_access_tells_absent_from_wrong(void **state)
{
	json_t *v = NULL;
	struct bytes s = BYTES_LIT("kept");
	int64_t i = 42;

	assert_int_equal(load("{\"s\":\"x\\u00fc\",\"i\":7,\"r\":7.0,\"n\":null,\"b\":true}", &v),
			 ERR_OK);
	assert_string_equal(json_str(v, "s"), "x\xc3\xbc");
	assert_null(json_str(v, "i"));
	assert_null(json_str(v, "none"));
	assert_int_equal(json_get_str(v, "none", &s), ERR_NOTFOUND);
	assert_int_equal(json_get_str(v, "i", &s), ERR_MALFORMED);
	assert_int_equal(json_get_str(v, "n", &s), ERR_MALFORMED);
	assert_true(bytes_eq(s, BYTES_LIT("kept")));
	assert_int_equal(json_get_str(v, "s", &s), ERR_OK);
	assert_true(bytes_eq(s, BYTES_LIT("x\xc3\xbc")));
	assert_int_equal(json_get_int(v, "none", 0, 10, &i), ERR_NOTFOUND);
	assert_int_equal(json_get_int(v, "r", 0, 10, &i), ERR_MALFORMED);
	assert_int_equal(json_get_int(v, "b", 0, 10, &i), ERR_MALFORMED);
	assert_int_equal(json_get_int(v, "s", 0, 10, &i), ERR_MALFORMED);
	assert_int_equal(json_get_int(v, "i", 8, 10, &i), ERR_MALFORMED);
	assert_int_equal(json_get_int(v, "i", 0, 6, &i), ERR_MALFORMED);
	assert_int_equal(i, 42);
	assert_int_equal(json_get_int(v, "i", 7, 7, &i), ERR_OK);
	assert_int_equal(i, 7);
	assert_int_equal(json_get_int(NULL, "i", 0, 10, &i), ERR_NOTFOUND);
	json_decref(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_strict_json_is_refused),
		cmocka_unit_test(duplicate_keys_are_refused),
		cmocka_unit_test(every_shorter_prefix_is_refused),
		cmocka_unit_test(size_is_limited_before_parsing),
		cmocka_unit_test(a_value_at_depth_65_is_refused),
		cmocka_unit_test(brackets_inside_strings_do_not_count),
		cmocka_unit_test(depth_is_counted_from_what_is_open),
		cmocka_unit_test(keys_are_sorted_by_code_point_recursively),
		cmocka_unit_test(insertion_order_is_kept),
		cmocka_unit_test(large_objects_are_sorted_too),
		cmocka_unit_test(scalars_print_as_the_python_encoder_does),
		cmocka_unit_test(doubles_print_as_the_table_says),
		cmocka_unit_test(every_double_comes_back_the_same),
		cmocka_unit_test(a_comma_locale_changes_nothing),
		cmocka_unit_test(what_is_not_finite_is_an_error),
		cmocka_unit_test(strings_print_as_the_table_says),
		cmocka_unit_test(a_special_byte_is_seen_at_every_place_of_a_run),
		cmocka_unit_test(text_escapes_only_what_json_forbids),
		cmocka_unit_test(a_string_ends_where_it_ends),
		cmocka_unit_test(a_string_that_is_not_utf8_is_an_error),
		cmocka_unit_test(writing_past_the_buffer_is_a_limit),
		cmocka_unit_test(a_tree_too_deep_or_missing_is_not_written),
		cmocka_unit_test(typed_access_tells_absent_from_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
