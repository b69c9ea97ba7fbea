#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/json.h"
#include "tests/lib/protocol_env.h"

#define SELF "139e3940e64b5491722088d9a0d74162"
#define SIG                                                                                        \
	"9LI8Xmp1FVfwURyq/tsGVV7ofPBNZBJYrv46TUo2Psfs3jHOUrNwpzzGkR6u3KrueIgvhvAjBcuveuf+h75xBw=="

/* wire 11.6 */
static const char vector[] =
	"{\"type\":\"MSG\",\"payload\":\"aGVsbG8gbWVzaA==\",\"msg_id\":"
	"\"000102030405060708090a0b0c0d0e0f\","
	"\"source\":\"" SELF "\",\"source_display\":\"" SELF "\","
	"\"destination\":\"28fff9342c7030d3d899cc9e7bc11878\",\"timestamp\":1753500000.25,"
	"\"priority\":\"HIGH\",\"sequence\":1,\"retries\":0,\"routing\":{},\"ttl\":5,\"hops\":[],"
	"\"source_signature\":\"" SIG "\",\"source_sig_scheme\":\"v2\"}";

/* The scanner changes the text in place, so it gets a copy of exactly n bytes. */
static enum err read_n(const void *text, size_t n, struct body *b, uint8_t **keep)
{
	uint8_t *copy = malloc(n ? n : 1);

	memcpy(copy, text, n);
	enum err e = body_read(copy, n, b);
	if (keep)
		*keep = copy;
	else
		free(copy);
	return e;
}

static enum err read_text(const char *text)
{
	struct body b;

	return read_n(text, strlen(text), &b, NULL);
}

static struct body_out vector_out(const uint8_t *sig)
{
	return (struct body_out){
		.type = BYTES_LIT("MSG"),
		.payload = BYTES_LIT("hello mesh"),
		.id = BYTES_LIT("000102030405060708090a0b0c0d0e0f"),
		.source = BYTES_LIT(SELF),
		.destination = BYTES_LIT("28fff9342c7030d3d899cc9e7bc11878"),
		.time_s = 1753500000.25,
		.priority = PRIO_HIGH,
		.sequence = 1,
		.ttl = 5,
		.signature = sig,
	};
}

static void body_prints_as_the_vector(void **state)
{
	uint8_t sig[SIG_BYTES], sealed[58];
	struct body_out o;
	struct buf b;

	assert_int_equal(base64_decode_exact(BYTES_LIT(SIG), sig, 64), ERR_OK);
	buf_init(&b, 4096);
	o = vector_out(sig);
	body_write(&b, &o);
	assert_int_equal(b.n, 467);
	assert_string_equal(buf_cstr(&b), vector);
	assert_true(b.n <= body_size_max(&o));

	/* strict mode, 548 bytes */
	buf_reset(&b);
	assert_int_equal(base64_decode_exact(
				 BYTES_LIT("Xf7dO2vUf2+ijuFdlp1bsOpTd01Ii9r53xxuASSz7yLWLi7goL5bZR"
					   "uV9i+WU+k9q0cWJjlU7Y3Tzg=="),
				 sealed, sizeof sealed),
			 ERR_OK);
	o.sealed = BYTES_ARR(sealed);
	o.payload = BYTES_LIT("");
	body_write(&b, &o);
	assert_int_equal(b.n, 548);
	assert_non_null(strstr(buf_cstr(&b), "\"payload\":\"\""));
	assert_true(b.n <= body_size_max(&o));
	o.payload = BYTES_LIT("hello mesh");
	buf_reset(&b);
	body_write(&b, &o);
	assert_int_equal(b.n, 564);
	buf_fini(&b);
}

static void body_reads_every_field(void **state)
{
	struct body b;
	uint8_t *keep, sig[SIG_BYTES];

	assert_int_equal(read_n(vector, sizeof vector - 1, &b, &keep), ERR_OK);
	assert_true(bytes_eq(b.type, BYTES_LIT("MSG")));
	assert_true(bytes_eq(b.id, BYTES_LIT("000102030405060708090a0b0c0d0e0f")));
	assert_true(bytes_eq(b.source, BYTES_LIT(SELF)));
	assert_true(bytes_eq(b.destination, BYTES_LIT("28fff9342c7030d3d899cc9e7bc11878")));
	assert_true(bytes_eq(b.payload64, BYTES_LIT("aGVsbG8gbWVzaA==")));
	assert_true(b.time_s == 1753500000.25);
	assert_int_equal(b.priority, PRIO_HIGH);
	assert_int_equal(b.sequence, 1);
	assert_int_equal(b.ttl, 5);
	assert_int_equal(b.hops, 0);
	assert_false(b.has_sealed);
	assert_false(b.compressed);
	assert_true(b.has_signature);
	assert_int_equal(b.tag, INNER_V2);
	assert_int_equal(base64_decode_exact(BYTES_LIT(SIG), sig, 64), ERR_OK);
	assert_memory_equal(b.signature, sig, 64);
	free(keep);
}

static void every_prefix_and_one_byte_more_is_refused(void **state)
{
	char more[sizeof vector + 1];
	struct body b;

	for (size_t n = 0; n < sizeof vector - 1; n++)
		assert_int_not_equal(read_n(vector, n, &b, NULL), ERR_OK);
	memcpy(more, vector, sizeof vector);
	for (int c = 0; c < 256; c++) {
		bool space = c == ' ' || c == '\t' || c == '\n' || c == '\r';

		more[sizeof vector - 1] = (char)c;
		assert_int_equal(read_n(more, sizeof vector, &b, NULL) == ERR_OK, space);
	}
}

static const char minimal[] = "{\"type\":\"PING\",\"msg_id\":\"a\",\"timestamp\":1}";

static void absent_keys_have_their_defaults(void **state)
{
	struct body b;
	uint8_t *keep;

	assert_int_equal(read_n(minimal, sizeof minimal - 1, &b, &keep), ERR_OK);
	assert_true(bytes_eq(b.source, BYTES_LIT("unknown")));
	assert_true(bytes_eq(b.destination, BYTES_LIT("*")));
	assert_int_equal(b.payload64.n, 0);
	assert_int_equal(b.priority, PRIO_NORMAL);
	assert_int_equal(b.ttl, 3);
	assert_int_equal(b.sequence, 0);
	assert_int_equal(b.tag, INNER_ABSENT);
	assert_false(b.has_signature);
	free(keep);
}

/* The minimal body with `extra` spliced in. */
static enum err with(const char *extra)
{
	char text[4096];

	snprintf(text, sizeof text, "{\"type\":\"MSG\",\"msg_id\":\"a\",\"timestamp\":1.5%s}",
		 extra);
	return read_text(text);
}

static void what_is_wrong_is_refused(void **state)
{
	static const char *const whole[] = {
		"",
		"null",
		"[]",
		"7",
		"{}",
		"{",
		"}",
		"{\"type\":\"MSG\"}",
		"{\"type\":\"\",\"msg_id\":\"a\",\"timestamp\":1}",
		"{\"type\":5,\"msg_id\":\"a\",\"timestamp\":1}",
		"{\"type\":null,\"msg_id\":\"a\",\"timestamp\":1}",
		"{\"type\":\"MSG\",\"timestamp\":1}",
		"{\"type\":\"MSG\",\"msg_id\":\"\",\"timestamp\":1}",
		"{\"type\":\"MSG\",\"msg_id\":\"\\u0001\",\"timestamp\":1}",
		"{\"type\":\"MSG\",\"msg_id\":\"\xc3\xa9\",\"timestamp\":1}",
		"{\"type\":\"MSG\",\"msg_id\":\"a\"}",
		"{\"type\":\"MSG\",\"msg_id\":\"a\",\"timestamp\":\"1\"}",
		"{\"type\":\"MSG\",\"msg_id\":\"a\",\"timestamp\":NaN}",
		"{\"type\":\"MSG\",\"msg_id\":\"a\",\"timestamp\":Infinity}",
		"{\"type\":\"MSG\",\"msg_id\":\"a\",\"timestamp\":1e400}",
		"{\"type\":\"MSG\",\"msg_id\":\"a\",\"timestamp\":-1}",
		"{\"type\":\"MSG\",\"msg_id\":\"a\",\"timestamp\":-0.5}",
		"{\"type\":\"MSG\",\"msg_id\":\"a\",\"timestamp\":1e13}",
		"{\"type\":\"MSG\",\"msg_id\":\"a\",\"timestamp\":01}",
		"{\"type\":\"MSG\",\"msg_id\":\"a\",\"timestamp\":1.}",
		"{\"type\":\"MSG\",\"msg_id\":\"a\",\"timestamp\":.5}",
		"{\"type\":\"MSG\",\"msg_id\":\"a\",\"timestamp\":1e}",
		"{\"type\":\"MSG\",\"msg_id\":\"a\",\"timestamp\":+1}",
		"{\"type\":\"MSG\",\"msg_id\":\"a\",\"timestamp\":true}",
		"{\"type\":\"MSG\",\"msg_id\":\"a\",\"timestamp\":1,}",
		"{\"type\":\"MSG\" \"msg_id\":\"a\",\"timestamp\":1}",
		"{type:\"MSG\",\"msg_id\":\"a\",\"timestamp\":1}",
		"{\"type\":'MSG',\"msg_id\":\"a\",\"timestamp\":1}",
		"\xef\xbb\xbf{\"type\":\"MSG\",\"msg_id\":\"a\",\"timestamp\":1}",
	};
	static const char *const extra[] = {
		",\"payload\":5",
		",\"payload\":null",
		",\"source\":1",
		",\"source\":null",
		",\"source_display\":[]",
		",\"destination\":{}",
		",\"destination\":null",
		",\"priority\":1",
		",\"priority\":null",
		",\"sequence\":-1",
		",\"sequence\":1.0",
		",\"sequence\":\"1\"",
		",\"sequence\":9223372036854775808",
		",\"sequence\":true",
		",\"retries\":\"x\"",
		",\"retries\":-1",
		",\"retries\":1e0",
		",\"routing\":[]",
		",\"routing\":null",
		",\"routing\":7",
		",\"ttl\":256",
		",\"ttl\":-1",
		",\"ttl\":1.5",
		",\"ttl\":\"5\"",
		",\"hops\":[1]",
		",\"hops\":{}",
		",\"hops\":\"a\"",
		",\"hops\":2",
		",\"hops\":[[]]",
		",\"hops\":[\"a\",null]",
		",\"hops\":null",
		",\"source_signature\":\"\"",
		",\"source_signature\":\"AAAA\"",
		",\"source_signature\":1",
		",\"source_signature\":null",
		",\"source_sig_scheme\":2",
		",\"source_sig_scheme\":null",
		",\"e2e_payload\":0",
		",\"e2e_payload\":null",
		",\"type\":\"MSG\"",
		",\"timestamp\":1.5",
		",\"msg_id\":\"a\"",
		",\"\\u0074ype\":\"REQ\"",
		",\"\\u0073ource\":\"x\"",
		",\"x\":1,\"x\":2",
		",\"x\":{\"a\":1,\"a\":2}",
		",\"routing\":{\"a\":1,\"a\":2}",
		",\"x\":tru",
		",\"x\":nul",
		",\"x\":-",
		",\"x\":\"\\x\"",
		",\"x\":\"\\u12\"",
		",\"x\":\"\\u0000\"",
		",\"x\":\"\\ud800\"",
		",\"x\":\"\\udc00\"",
		",\"x\":\"\\ud800\\u0041\"",
		",\"x\":\"\xff\"",
		",\"x\":\"\xc0\x80\"",
		",\"x\":\"\xed\xa0\x80\"",
		",\"x\":\"\t\"",
		",\"x\":\"\x7f",
		",\"\xff\":1",
		",\"x\":[1,]",
		",\"x\":{\"a\"}",
		",\"x\":{,}",
		",\"x\":[1 2]",
		",\"x\":NaN",
		",\"x\":1e999",
		",\"x\":99999999999999999999",
	};

	for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++)
		if (read_text(whole[i]) == ERR_OK)
			fail_msg("accepted: %s", whole[i]);
	for (size_t i = 0; i < sizeof extra / sizeof extra[0]; i++)
		if (with(extra[i]) == ERR_OK)
			fail_msg("accepted: %s", extra[i]);
}

static void what_is_only_unusual_is_read(void **state)
{
	static const char *const extra[] = {
		"",
		",\"priority\":\"URGENT\"",
		",\"ttl\":0",
		",\"ttl\":255",
		",\"sequence\":9223372036854775807",
		",\"hops\":[\"a\"]",
		",\"hops\":[ \"a\" , \"b\" ]",
		",\"payload\":\"AA\\u003d\\u003d\"",
		",\"x\":1",
		",\"x\":{\"y\":[1,2.5e3,true,false,null,\"\\ud83d\\ude00\"]}",
		",\"routing\":{\"via\":1}",
		",\"source\":\"\"",
		",\"destination\":\"\"",
		",\"source_sig_scheme\":\"v9\"",
		",\"x\":\"\x7f\"",
		",\"\\u0078\":1",
		" , \"x\" : [ ] ",
	};
	struct body b;
	uint8_t *keep;

	for (size_t i = 0; i < sizeof extra / sizeof extra[0]; i++)
		if (with(extra[i]) != ERR_OK)
			fail_msg("refused: %s", extra[i]);

	/* Escapes are undone. */
	static const char text[] =
		"{\"type\":\"\\u004dSG\",\"msg_id\":\"a\\\"\\\\\\/b\",\"timestamp\":1,"
		"\"source_display\":\"\\ud83d\\ude00\\u00e9\\b\\f\\n\\r\\t\",\"payload\":"
		"\"AA\\u003d=\"}";
	assert_int_equal(read_n(text, sizeof text - 1, &b, &keep), ERR_OK);
	assert_true(bytes_eq(b.type, BYTES_LIT("MSG")));
	assert_true(bytes_eq(b.id, BYTES_LIT("a\"\\/b")));
	assert_true(bytes_eq(b.payload64, BYTES_LIT("AA==")));
	free(keep);
}

static void limits_hold_at_their_edges(void **state)
{
	char text[BODY_ODD_BYTES_MAX * 2 + 512], *p;

	/* strings of 128 and 129 bytes */
	for (int n = 128; n <= 129; n++) {
		snprintf(text, sizeof text, ",\"source\":\"%0*d\"", n, 0);
		assert_int_equal(with(text) == ERR_OK, n == 128);
		snprintf(text, sizeof text, ",\"hops\":[\"%0*d\"]", n, 0);
		assert_int_equal(with(text) == ERR_OK, n == 128);
		snprintf(text, sizeof text, "{\"type\":\"A\",\"msg_id\":\"%0*d\",\"timestamp\":1}",
			 n, 0);
		assert_int_equal(read_text(text) == ERR_OK, n == 128);
	}
	/* 255 and 256 hops */
	for (int n = 255; n <= 256; n++) {
		p = text + sprintf(text, ",\"hops\":[");
		for (int i = 0; i < n; i++)
			p += sprintf(p, "%s\"a\"", i ? "," : "");
		sprintf(p, "]");
		assert_int_equal(with(text) == ERR_OK, n == 255);
	}
	/* nesting: a value at depth 64, and at 65 */
	for (int n = 64; n <= 65; n++) {
		p = text + sprintf(text, ",\"x\":");
		for (int i = 0; i < n; i++)
			*p++ = '[';
		for (int i = 0; i < n; i++)
			*p++ = ']';
		*p = 0;
		assert_int_equal(with(text) == ERR_OK, n == 64);
	}
	/* unknown keys */
	for (int n = BODY_UNKNOWN_MAX; n <= BODY_UNKNOWN_MAX + 1; n++) {
		p = text;
		for (int i = 0; i < n; i++)
			p += sprintf(p, ",\"x%d\":0", i);
		assert_int_equal(with(text) == ERR_OK, n == BODY_UNKNOWN_MAX);
	}
	/* and their size */
	p = text + sprintf(text, "{\"type\":\"A\",\"msg_id\":\"a\",\"timestamp\":1,\"x\":\"");
	memset(p, 'y', BODY_ODD_BYTES_MAX + 1);
	strcpy(p + BODY_ODD_BYTES_MAX + 1, "\"}");
	assert_int_equal(read_text(text), ERR_LIMIT);
}

static void compressed_is_whatever_is_truthy(void **state)
{
	static const struct {
		const char *routing;
		bool compressed;
	} rows[] = {
		{"{}", false},
		{"{\"compressed\":true}", true},
		{"{\"compressed\":false}", false},
		{"{\"compressed\":null}", false},
		{"{\"compressed\":0}", false},
		{"{\"compressed\":1}", true},
		{"{\"compressed\":\"yes\"}", true},
		{"{\"\\u0063ompressed\":true}", true},
		{"{\"other\":true}", false},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		char text[256];
		struct body b;

		snprintf(text, sizeof text,
			 "{\"type\":\"A\",\"msg_id\":\"a\",\"timestamp\":1,\"routing\":%s}",
			 rows[i].routing);
		assert_int_equal(read_n(text, strlen(text), &b, NULL), ERR_OK);
		assert_int_equal(b.compressed, rows[i].compressed);
	}
}

/* Every single-byte change of the vector: what the scanner takes, jansson takes too. */
static void scanner_never_takes_what_jansson_refuses(void **state)
{
	char text[sizeof vector];
	struct body b;

	for (size_t i = 0; i < sizeof vector - 1; i++)
		for (int c = 0; c < 256; c++) {
			json_t *o;

			memcpy(text, vector, sizeof vector);
			text[i] = (char)c;
			if (read_n(text, sizeof vector - 1, &b, NULL) != ERR_OK)
				continue;
			assert_int_equal(
				json_load_strict(bytes_of(text, sizeof vector - 1), 4096, &o),
				ERR_OK);
			json_decref(o);
		}
}

static void inner_signatures_match_the_vectors(void **state)
{
	struct keyring *k = keyring_number(0);
	struct inner_covered c = {
		.source = BYTES_LIT(SELF),
		.destination = BYTES_LIT("28fff9342c7030d3d899cc9e7bc11878"),
		.id = BYTES_LIT("000102030405060708090a0b0c0d0e0f"),
		.payload = BYTES_LIT("hello mesh"),
	};
	uint8_t sig[SIG_BYTES], v1[SIG_BYTES], want[SIG_BYTES], input[122];
	const uint8_t *ed = keyring_ed(k);
	struct buf scratch;

	test_unhex("0000002031333965333934306536346235343931373232303838643961306437343136320000002"
		   "03238666666393334"
		   "3263373033306433643839396363396537626331313837380000002030303031303230333034303"
		   "53036303730383039"
		   "3061306230633064306530660000000a68656c6c6f206d657368",
		   input, sizeof input);
	test_unhex("d267a424f1746545b119d4a6d958b8aee6ec46103dcbe96c5bba851f10ec3511e03b82207c64345"
		   "5b7630e0be232530c"
		   "9faf51240f7d78dfb225e935121e780b",
		   v1, sizeof v1);
	buf_init(&scratch, 4096);
	assert_int_equal(inner_sign(k, &c, &scratch, sig), ERR_OK);
	assert_int_equal(scratch.n, 35 + 122);
	assert_memory_equal(scratch.p + 35, input, 122);
	assert_int_equal(base64_decode_exact(BYTES_LIT(SIG), want, 64), ERR_OK);
	assert_memory_equal(sig, want, 64);

	/* tag, old allowed -> what holds */
	static const struct {
		enum inner_tag tag;
		bool old, v1_holds, v2_holds;
	} rows[] = {
		{INNER_V2, true, false, true},	   {INNER_V2, false, false, true},
		{INNER_V1, true, true, false},	   {INNER_V1, false, false, false},
		{INNER_ABSENT, true, true, true},  {INNER_ABSENT, false, false, true},
		{INNER_OTHER, true, false, false},
	};
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		assert_int_equal(inner_verify(ed, rows[i].tag, rows[i].old, &c, &scratch, v1),
				 rows[i].v1_holds);
		assert_int_equal(inner_verify(ed, rows[i].tag, rows[i].old, &c, &scratch, sig),
				 rows[i].v2_holds);
	}
	/* Moving a byte from one field to its neighbour is another message. */
	struct inner_covered moved = c;
	moved.id = BYTES_LIT("000102030405060708090a0b0c0d0e0fh");
	moved.payload = BYTES_LIT("ello mesh");
	assert_false(inner_verify(ed, INNER_V2, true, &moved, &scratch, sig));
	moved = c;
	moved.destination = BYTES_LIT("*");
	assert_false(inner_verify(ed, INNER_V2, true, &moved, &scratch, sig));
	buf_fini(&scratch);
	keyring_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(body_prints_as_the_vector),
		cmocka_unit_test(body_reads_every_field),
		cmocka_unit_test(every_prefix_and_one_byte_more_is_refused),
		cmocka_unit_test(absent_keys_have_their_defaults),
		cmocka_unit_test(what_is_wrong_is_refused),
		cmocka_unit_test(what_is_only_unusual_is_read),
		cmocka_unit_test(limits_hold_at_their_edges),
		cmocka_unit_test(compressed_is_whatever_is_truthy),
		cmocka_unit_test(scanner_never_takes_what_jansson_refuses),
		cmocka_unit_test(inner_signatures_match_the_vectors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
