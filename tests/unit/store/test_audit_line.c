#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "store/audit_internal.h"
#include "tests/lib/store_world.h"

#define H "079cb11bb983b3c437ee10da377b4c432f1c0a60e569690b5c1b76d536007738"

/* wire 11.9 */
static const char FIRST[] = "{\"details\":{\"name\":\"alice\",\"node_id\":"
			    "\"139e3940e64b5491722088d9a0d74162\",\"port\":8765},"
			    "\"event\":\"STARTUP\",\"hmac\":\"" H "\",\"timestamp\":1753500000.25}";

static enum err parse(const char *line)
{
	struct audit_line l;
	enum err e = audit_line_parse(bytes_str(line), &l);

	if (e == ERR_OK)
		audit_line_fini(&l);
	return e;
}

static void vector_is_cut_into_what_the_mac_covers(void **state)
{
	static const uint8_t KEY[32] = {
		0x6f, 0x74, 0x51, 0x87, 0xa1, 0xee, 0xe4, 0x02, 0xa6, 0x36, 0x9e,
		0x0e, 0xec, 0x37, 0xe2, 0xf8, 0xd9, 0xd5, 0xc6, 0x03, 0x35, 0x68,
		0xad, 0x2e, 0x1d, 0x78, 0x6f, 0x3c, 0xd0, 0x9c, 0xda, 0x72,
	};
	struct audit_line l;
	char hex[65];

	assert_int_equal(audit_line_parse(BYTES_LIT(FIRST), &l), ERR_OK);
	assert_string_equal(l.event, "STARTUP");
	assert_true(l.timestamp == 1753500000.25);
	assert_int_equal(json_object_size(l.details), 3);
	assert_true(bytes_eq(l.hmac, BYTES_LIT(H)));
	assert_true(bytes_eq(l.after, BYTES_LIT("\"timestamp\":1753500000.25}")));
	assert_int_equal(l.before.n + 8 + 64 + 2 + l.after.n, sizeof(FIRST) - 1);
	audit_line_hmac(BYTES_ARR(KEY), AUDIT_GENESIS, l.before, l.after, hex);
	assert_string_equal(hex, H);
	audit_line_fini(&l);
}

static void every_shorter_prefix_and_one_byte_more_is_refused(void **state)
{
	char line[sizeof(FIRST) + 1];

	for (size_t n = 0; n < sizeof(FIRST) - 1; n++) {
		struct audit_line l;
		assert_int_equal(audit_line_parse(bytes_of(FIRST, n), &l), ERR_MALFORMED);
	}
	memcpy(line, FIRST, sizeof(FIRST));
	static const char MORE[] = " \n}x0\0";
	for (size_t i = 0; i < sizeof(MORE); i++) {
		struct audit_line l;
		line[sizeof(FIRST) - 1] = MORE[i];
		assert_int_equal(audit_line_parse(bytes_of(line, sizeof(FIRST)), &l),
				 ERR_MALFORMED);
	}
}

static void only_the_canonical_spelling_is_a_line(void **state)
{
	static const char *const BAD[] = {
		"",
		"{}",
		"[]",
		"null",
		/* spaces, order, numbers and escapes that a canonical writer does not make */
		"{\"details\": {},\"event\":\"E\",\"hmac\":\"" H "\",\"timestamp\":1.0}",
		"{\"event\":\"E\",\"details\":{},\"hmac\":\"" H "\",\"timestamp\":1.0}",
		"{\"details\":{},\"event\":\"E\",\"timestamp\":1.0,\"hmac\":\"" H "\"}",
		"{\"details\":{},\"event\":\"E\",\"hmac\":\"" H "\",\"timestamp\":1}",
		"{\"details\":{},\"event\":\"E\",\"hmac\":\"" H "\",\"timestamp\":1.00}",
		"{\"details\":{},\"event\":\"E\",\"hmac\":\"" H "\",\"timestamp\":1e0}",
		"{\"details\":{\"b\":1,\"a\":1},\"event\":\"E\",\"hmac\":\"" H
		"\",\"timestamp\":1.0}",
		"{\"details\":{},\"event\":\"\\u0045\",\"hmac\":\"" H "\",\"timestamp\":1.0}",
		"{\"details\":{},\"event\":\"\xc3\xa9\",\"hmac\":\"" H "\",\"timestamp\":1.0}",
		/* wrong keys, types, duplicates */
		"{\"details\":[],\"event\":\"E\",\"hmac\":\"" H "\",\"timestamp\":1.0}",
		"{\"details\":{},\"event\":1,\"hmac\":\"" H "\",\"timestamp\":1.0}",
		"{\"details\":{},\"event\":\"E\",\"extra\":1,\"hmac\":\"" H "\",\"timestamp\":1.0}",
		"{\"details\":{},\"hmac\":\"" H "\",\"timestamp\":1.0}",
		"{\"details\":{},\"details\":{},\"event\":\"E\",\"hmac\":\"" H
		"\",\"timestamp\":1.0}",
		"{\"details\":{},\"event\":\"E\",\"hmac\":\"" H "\",\"timestamp\":\"1.0\"}",
		"{\"details\":{},\"event\":\"E\",\"hmac\":\"" H "0\",\"timestamp\":1.0}",
		"{\"details\":{},\"event\":\"E\",\"hmac\":"
		"\"079CB11bb983b3c437ee10da377b4c432f1c0a60e569690b5c1b76d536007738\","
		"\"timestamp\":1.0}",
		"{\"details\":{},\"event\":\"E\",\"hmac\":\"" H "\",\"timestamp\":NaN}",
		"{\"details\":{},\"event\":\"E\",\"hmac\":\"" H "\",\"timestamp\":}",
	};

	for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
		assert_int_equal(parse(BAD[i]), ERR_MALFORMED);
	assert_int_equal(
		parse("{\"details\":{},\"event\":\"E\",\"hmac\":\"" H "\",\"timestamp\":1.0}"),
		ERR_OK);
	assert_int_equal(parse("{\"details\":{},\"event\":\"\\u00e9\",\"hmac\":\"" H
			       "\",\"timestamp\":-1e+30}"),
			 ERR_OK);
}

static void text_that_imitates_the_hmac_is_not_taken_for_it(void **state)
{
	/* The same bytes inside a string: the one at the end is the one. */
	static const char LINE[] =
		"{\"details\":{\"t\":\",\\\"hmac\\\":\\\"" H
		"\\\",\\\"timestamp\\\":1.0}\"},\"event\":\"E\","
		"\"hmac\":\"0000000000000000000000000000000000000000000000000000000000000001\","
		"\"timestamp\":2.0}";
	struct audit_line l;

	assert_int_equal(audit_line_parse(BYTES_LIT(LINE), &l), ERR_OK);
	assert_memory_equal(l.hmac.p,
			    "000000000000000000000000000000000000000000000000000000000000000", 63);
	assert_int_equal(l.hmac.p[63], '1');
	assert_true(l.timestamp == 2.0);
	audit_line_fini(&l);
}

struct seen {
	unsigned full, torn, too_long;
	uint64_t bytes, offset;
};

static bool on_line(void *ctx, struct bytes line, enum line_end end, uint64_t offset)
{
	struct seen *s = ctx;

	s->full += end == LINE_FULL;
	s->torn += end == LINE_TORN;
	s->too_long += end == LINE_LONG;
	s->bytes += line.n;
	s->offset = offset;
	return end != LINE_LONG;
}

static void streaming_gives_each_line_once_whatever_its_length(void **state)
{
	struct world w;
	struct buf b;

	world_init(&w);
	buf_init(&b, 8u << 20);
	uint64_t bytes = 0;
	for (size_t i = 0; i < 1200; i++) {
		size_t n = i * 7919 % 6000;
		for (size_t k = 0; k < n; k++)
			buf_add_u8(&b, (uint8_t)('a' + k % 26));
		buf_add_u8(&b, '\n');
		bytes += n;
	}
	world_write(w.log, b.p, b.n);
	struct seen s = {0};
	assert_int_equal(audit_each_line(w.log, on_line, &s, NULL), ERR_OK);
	assert_int_equal(s.full, 1200);
	assert_int_equal(s.torn + s.too_long, 0);
	assert_int_equal(s.bytes, bytes);
	assert_int_equal(s.offset, b.n);
	buf_add_str(&b, "torn");
	world_write(w.log, b.p, b.n);
	s = (struct seen){0};
	assert_int_equal(audit_each_line(w.log, on_line, &s, NULL), ERR_OK);
	assert_int_equal(s.full, 1200);
	assert_int_equal(s.torn, 1);
	buf_fini(&b);
	world_fini(&w);
}

static void endless_line_is_refused_without_reading_it_all(void **state)
{
	struct world w;
	size_t n = 4u << 20;
	char *p = malloc(n);
	struct seen s = {0};

	world_init(&w);
	memset(p, 'x', n);
	world_write(w.log, p, n);
	assert_int_equal(audit_each_line(w.log, on_line, &s, NULL), ERR_OK);
	assert_int_equal(s.too_long, 1);
	assert_int_equal(s.full + s.torn, 0);
	assert_true(s.bytes <= AUDIT_LINE_MAX + 65536);
	p[AUDIT_LINE_MAX + 10] = '\n'; /* with its newline it is too long as well */
	world_write(w.log, p, AUDIT_LINE_MAX + 11);
	s = (struct seen){0};
	assert_int_equal(audit_each_line(w.log, on_line, &s, NULL), ERR_OK);
	assert_int_equal(s.too_long, 1);
	free(p);
	assert_int_equal(audit_each_line("/nonexistent/audit.log", on_line, &s, NULL),
			 ERR_NOTFOUND);
	assert_int_equal(audit_each_line(w.dir, on_line, &s, NULL), ERR_DENIED);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vector_is_cut_into_what_the_mac_covers),
		cmocka_unit_test(every_shorter_prefix_and_one_byte_more_is_refused),
		cmocka_unit_test(only_the_canonical_spelling_is_a_line),
		cmocka_unit_test(text_that_imitates_the_hmac_is_not_taken_for_it),
		cmocka_unit_test(streaming_gives_each_line_once_whatever_its_length),
		cmocka_unit_test(endless_line_is_refused_without_reading_it_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
