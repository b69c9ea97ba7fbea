#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "web/request.h"

static struct bytes b(const char *s)
{
	return bytes_str(s);
}

/* --- names ------------------------------------------------------------------------------------------------ */
static void only_our_names_with_our_port_are_answered(void **state)
{
	static const char *const good[] = { "127.0.0.1:8766", "localhost:8766", "LOCALHOST:8766", "[::1]:8766" };
	static const char *const bad[] = { "", "127.0.0.1", "127.0.0.1:8767", "127.0.0.1:08766", "127.0.0.1:8766 ", " 127.0.0.1:8766",
					   "127.0.0.1:8766:8766", "evil.example:8766", "localhost.:8766", "localhost.evil.example:8766",
					   "127.0.0.1.evil.example:8766", "[::1]", "::1:8766", "[::1]8766", "[::1", "[::1]:", "localhost:",
					   "127.0.0.1:8766,evil.example", "127.0.0.1@evil.example:8766", "evil.example", "0.0.0.0:8766",
					   "127.1:8766", "2130706433:8766", "localhost:74302", "localhost:8766/", "127.0.0.1:87660" };
	struct names n;
	bool proxied;

	names_init(&n, 8766);
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		proxied = true;
		assert_true(host_allowed(&n, b(good[i]), &proxied));
		assert_false(proxied);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (host_allowed(&n, b(bad[i]), &proxied))
			fail_msg("taken: '%s'", bad[i]);
}

static void every_shorter_prefix_of_a_good_host_is_refused(void **state)
{
	const char *host = "127.0.0.1:8766";
	struct names n;
	bool proxied;

	names_init(&n, 8766);
	for (size_t i = 0; i < strlen(host); i++)
		assert_false(host_allowed(&n, bytes_of(host, i), &proxied));
}

static void a_configured_name_stands_for_a_proxy(void **state)
{
	struct names n;
	bool proxied = false;

	names_init(&n, 8766);
	assert_int_equal(names_add(&n, "mesh.example:443"), ERR_OK);
	assert_int_equal(names_add(&n, "Plain.example"), ERR_OK);
	assert_true(host_allowed(&n, b("mesh.example"), &proxied) && proxied);
	assert_true(host_allowed(&n, b("MESH.example:443"), &proxied));
	assert_false(host_allowed(&n, b("mesh.example:8766"), &proxied));
	assert_true(host_allowed(&n, b("plain.example:8766"), &proxied) && proxied);
	assert_false(host_allowed(&n, b("plain.example"), &proxied));
	static const char *const bad[] = { "", "a b", "http://x", "x/", ".x", "x.", "x:0", "x:99999", "[::1", "[zz]", "x_y", "\xc3\xa4", "*" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(names_add(&n, bad[i]), ERR_USAGE);
	while (n.n < WEB_NAMES_MAX)
		assert_int_equal(names_add(&n, "more.example"), ERR_OK);
	assert_int_equal(names_add(&n, "more.example"), ERR_FULL);
}

static void an_origin_is_the_page_that_was_asked_for(void **state)
{
	struct bytes host = b("127.0.0.1:8766");

	assert_true(origin_is(b("http://127.0.0.1:8766"), host, false));
	assert_true(origin_is(b("HTTP://127.0.0.1:8766"), host, false));
	assert_true(origin_is(b("https://mesh.example"), b("mesh.example"), true));
	static const char *const bad[] = { "", "null", "http://127.0.0.1", "http://127.0.0.1:8767", "https://127.0.0.1:8766",
					   "http://localhost:8766", "http://127.0.0.1:8766/", "http://127.0.0.1:87661", "127.0.0.1:8766",
					   "file://", "http://evil.example", "http://127.0.0.1:8766, http://evil.example" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(origin_is(b(bad[i]), host, false));
}

static void a_browser_says_whose_page_asked(void **state)
{
	struct request_head r = { .verb = VERB_GET, .fetch_mode = b("navigate"), .fetch_dest = b("document") };

	assert_true(fetch_is_ours(b("")));
	assert_true(fetch_is_ours(b("same-origin")));
	assert_true(fetch_is_ours(b("none")));
	assert_false(fetch_is_ours(b("same-site"))); /* another port of this machine */
	assert_false(fetch_is_ours(b("cross-site")));
	assert_true(fetch_navigates(&r));
	r.fetch_dest = b("iframe");
	assert_false(fetch_navigates(&r));
	r.fetch_dest = b("document");
	r.verb = VERB_POST;
	assert_false(fetch_navigates(&r));
}

/* --- headers ------------------------------------------------------------------------------------------------ */
static size_t cookies(const char *header, const char *name, char out[4][64])
{
	size_t at = 0, n = 0;
	struct bytes v;

	while (n < 4 && cookie_next(b(header), name, &at, &v))
		snprintf(out[n++], 64, "%.*s", (int)v.n, (const char *)v.p);
	return n;
}

static void cookies_of_our_name_come_one_by_one(void **state)
{
	char v[4][64];

	assert_int_equal(cookies("a=1; ironmesh_8766=x; b=2;ironmesh_8766=y", "ironmesh_8766", v), 2);
	assert_string_equal(v[0], "x");
	assert_string_equal(v[1], "y");
	assert_int_equal(cookies("xironmesh_8766=x; ironmesh_87661=y; ironmesh_8766", "ironmesh_8766", v), 0);
	assert_int_equal(cookies("", "a", v), 0);
	assert_int_equal(cookies(";;=;a=;", "a", v), 1);
	assert_string_equal(v[0], "");
}

static void a_bearer_token_is_what_stands_behind_the_word(void **state)
{
	struct bytes t;

	assert_true(bearer_of(b("Bearer abc"), &t) && bytes_eq(t, b("abc")));
	assert_true(bearer_of(b("bearer  abc "), &t) && bytes_eq(t, b("abc")));
	assert_false(bearer_of(b("Basic abc"), &t));
	assert_false(bearer_of(b("Bearer "), &t));
	assert_false(bearer_of(b("Bearer"), &t));
	assert_false(bearer_of(b("Bearerabc"), &t));
}

static void types_and_codings_are_read_with_their_weights(void **state)
{
	assert_true(is_json(b("application/json")));
	assert_true(is_json(b("Application/JSON; charset=UTF-8")));
	assert_false(is_json(b("application/json; charset=latin1")));
	assert_false(is_json(b("text/plain")));
	assert_false(is_json(b("application/jsonx")));
	assert_false(is_json(b("")));
	assert_true(accepts_gzip(b("gzip, deflate, br")));
	assert_true(accepts_gzip(b("br, gzip;q=0.5")));
	assert_true(accepts_gzip(b("*")));
	assert_false(accepts_gzip(b("gzip;q=0, *")));
	assert_false(accepts_gzip(b("gzip;q=0.000")));
	assert_false(accepts_gzip(b("*;q=0")));
	assert_false(accepts_gzip(b("")));
	assert_false(accepts_gzip(b("identity")));
	assert_true(accepts_openmetrics(b("application/openmetrics-text;version=1.0.0;q=0.7,text/plain;version=0.0.4;q=0.3")));
	assert_false(accepts_openmetrics(b("text/plain")));
}

static void a_tag_is_found_in_its_list(void **state)
{
	assert_true(tag_matches(b("\"abc\""), "\"abc\""));
	assert_true(tag_matches(b("\"x\", W/\"abc\""), "\"abc\""));
	assert_true(tag_matches(b("*"), "\"abc\""));
	assert_false(tag_matches(b("abc"), "\"abc\""));
	assert_false(tag_matches(b("\"abcd\""), "\"abc\""));
	assert_false(tag_matches(b(""), "\"abc\""));
}

/* --- paths and parameters --------------------------------------------------------------------------------------- */
static void a_method_is_plain_text_behind_its_prefix(void **state)
{
	struct bytes m;

	assert_true(path_method(b("/api/v1/peers.list"), &m) && bytes_eq(m, b("peers.list")));
	static const char *const bad[] = { "/api/v1/", "/api/v1", "/api/v2/status", "/api/v1/a/b", "/api/v1/Status", "/api/v1/st atus",
					   "/api/v1/../x", "//api/v1/status", "/api/v1/s%74atus" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(path_method(b(bad[i]), &m));
	assert_true(path_below(b("/api/v1/sessions/0af3"), "/api/v1/sessions/", &m) && bytes_eq(m, b("0af3")));
	assert_false(path_below(b("/api/v1/sessions/"), "/api/v1/sessions/", &m));
	assert_false(path_below(b("/api/v1/sessions/../x"), "/api/v1/sessions/", &m));
}

static enum query_kind kind(void *ctx, const char *name)
{
	return strcmp(name, "text") == 0 ? QUERY_TEXT :
	       strcmp(name, "int") == 0	 ? QUERY_INT :
	       strcmp(name, "bool") == 0 ? QUERY_BOOL :
	       strcmp(name, "list") == 0 ? QUERY_LIST :
					   QUERY_UNKNOWN;
}

static void parameters_become_what_the_table_says(void **state)
{
	struct fault f;
	json_t *p = json_object();

	assert_int_equal(query_add(p, b("text=a=b c"), kind, NULL, &f), ERR_OK);
	assert_int_equal(query_add(p, b("int=-12"), kind, NULL, &f), ERR_OK);
	assert_int_equal(query_add(p, b("bool=True"), kind, NULL, &f), ERR_OK);
	assert_int_equal(query_add(p, b("list=a, b"), kind, NULL, &f), ERR_OK);
	assert_string_equal(json_str(p, "text"), "a=b c");
	assert_int_equal(json_integer_value(json_object_get(p, "int")), -12);
	assert_true(json_is_true(json_object_get(p, "bool")));
	assert_int_equal(json_array_size(json_object_get(p, "list")), 2);
	static const char *const bad[] = { "text=again", "int", "colour=1", "", "=x", "text" };
	json_t *q = json_object();
	assert_int_equal(query_add(q, b("text"), kind, NULL, &f), ERR_OK);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(query_add(q, b(bad[i]), kind, NULL, &f), ERR_USAGE);
	static const char *const values[] = { "int=", "int=1.5", "int=0x1", "int=1234567890123456789", "int=--1", "int= 1", "bool=1", "bool=",
					      "int=9\xff" };
	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
		f = (struct fault){ 0 };
		assert_int_equal(query_add(q, b(values[i]), kind, NULL, &f), ERR_USAGE);
		assert_true(f.what[0]);
	}
	assert_int_equal(query_add(q, bytes_of("list=a\0b", 8), kind, NULL, &f), ERR_USAGE);
	json_decref(p);
	json_decref(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_our_names_with_our_port_are_answered),
		cmocka_unit_test(every_shorter_prefix_of_a_good_host_is_refused),
		cmocka_unit_test(a_configured_name_stands_for_a_proxy),
		cmocka_unit_test(an_origin_is_the_page_that_was_asked_for),
		cmocka_unit_test(a_browser_says_whose_page_asked),
		cmocka_unit_test(cookies_of_our_name_come_one_by_one),
		cmocka_unit_test(a_bearer_token_is_what_stands_behind_the_word),
		cmocka_unit_test(types_and_codings_are_read_with_their_weights),
		cmocka_unit_test(a_tag_is_found_in_its_list),
		cmocka_unit_test(a_method_is_plain_text_behind_its_prefix),
		cmocka_unit_test(parameters_become_what_the_table_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
