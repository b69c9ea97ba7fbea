#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "protocol/v09/v09.h"

static void priority_words_parse_in_one_case(void **state)
{
	enum priority p = PRIO_COUNT;

	for (unsigned i = 0; i < PRIO_COUNT; i++) {
		assert_int_equal(priority_parse(bytes_str(priority_word((enum priority)i)), &p),
				 ERR_OK);
		assert_int_equal(p, i);
	}
	assert_int_equal(priority_parse(BYTES_LIT("critical"), &p), ERR_OK);
	assert_int_equal(p, PRIO_CRITICAL);
	static const char *const bad[] = {"", "High", "hIGH", "HIG", "HIGHX", "URGENT", "h"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(priority_parse(bytes_str(bad[i]), &p), ERR_MALFORMED);
	assert_int_equal(p, PRIO_CRITICAL);
}

/* wire 11.3 */
static void versions_parse_as_the_table_says(void **state)
{
	static const struct {
		const char *text;
		uint16_t version;
	} rows[] = {
		{"ironmesh/0.9", VERSION_OF(0, 9)},
		{"ironmesh/0.5.2", VERSION_OF(0, 5)},
		{"ironmesh/1.0", VERSION_OF(1, 0)},
		{"ironmesh/0.10", VERSION_OF(0, 10)},
		{"foo/0.9", VERSION_OF(0, 9)},
		{"0.9", 0},
		{"ironmesh/0", 0},
		{"ironmesh/0.x", 0},
		{"", 0},
		{"ironmesh/", 0},
		{"ironmesh/.9", 0},
		{"ironmesh/0.", 0},
		{"ironmesh/0.9x", 0},
		{"ironmesh/-1.9", 0},
		{"a/b/0.9", 0},
		{"ironmesh/300.99999999999999999999", VERSION_OF(255, 255)},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		assert_int_equal(v09_version_parse(bytes_str(rows[i].text)), rows[i].version);
}

static bool ext_eq(const struct message_ext *a, const struct message_ext *b)
{
	return a->kind == b->kind && a->flags == b->flags && a->ctype == b->ctype &&
	       a->hop == b->hop && a->end_reason == b->end_reason && a->has_conv == b->has_conv &&
	       a->has_reply_to == b->has_reply_to && memcmp(a->conv, b->conv, 16) == 0 &&
	       memcmp(a->reply_to, b->reply_to, 16) == 0 && a->turn == b->turn &&
	       a->max_turns == b->max_turns && a->ttl_s == b->ttl_s &&
	       a->deadline_ms == b->deadline_ms && a->budget_ms == b->budget_ms &&
	       a->budget_tokens == b->budget_tokens && a->budget_bytes == b->budget_bytes &&
	       strcmp(a->ctype_text, b->ctype_text) == 0;
}

static struct message_ext full_ext(void)
{
	struct message_ext x = {.kind = 255, .flags = 31, .ctype = 6, .hop = 16, .end_reason = 5,
				.has_conv = true, .has_reply_to = true, .turn = 65535,
				.max_turns = 65535, .ttl_s = MSG_TTL_MAX_S,
				.deadline_ms = INT64_MAX, .budget_ms = INT64_MAX,
				.budget_tokens = 1, .budget_bytes = INT64_MAX};

	memset(x.conv, 0xc0, sizeof x.conv);
	memset(x.ctype_text, 'x', sizeof x.ctype_text - 1);
	return x;
}

static void meta_of_a_plain_text_is_empty(void **state)
{
	struct message_ext x = {0}, y = full_ext();
	struct buf b;

	buf_init(&b, MSG_META_MAX);
	message_meta_write(&x, &b);
	assert_int_equal(b.n, 0);
	x.ttl_s = MSG_TTL_DEFAULT_S;
	message_meta_write(&x, &b);
	assert_int_equal(b.n, 0);
	assert_int_equal(b.err, ERR_OK);
	assert_int_equal(message_meta_read(buf_bytes(&b), &y), ERR_OK);
	x.ttl_s = 0;
	assert_true(ext_eq(&x, &y));
	buf_fini(&b);
}

static void meta_comes_back_and_is_bounded(void **state)
{
	struct message_ext x = full_ext(), y;
	struct buf b, again;

	buf_init(&b, MSG_META_MAX);
	buf_init(&again, MSG_META_MAX);
	message_meta_write(&x, &b);
	assert_int_equal(b.err, ERR_OK);
	assert_int_equal(message_meta_read(buf_bytes(&b), &y), ERR_OK);
	assert_true(ext_eq(&x, &y));
	message_meta_write(&y, &again);
	assert_true(bytes_eq(buf_bytes(&b), buf_bytes(&again)));
	for (size_t n = 1; n < b.n; n++)
		if (message_meta_read(bytes_of(b.p, n), &y) == ERR_OK) {
			buf_reset(&again); /* cut between two fields: then it is a shorter one */
			message_meta_write(&y, &again);
			assert_true(bytes_eq(bytes_of(b.p, n), buf_bytes(&again)));
		}
	buf_fini(&b);
	buf_fini(&again);
}

/* The bytes of V:messages.direct_in_conversation without id, times and body. */
static void meta_has_the_tags_of_the_wire(void **state)
{
	static const char want[] = "0810c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c00a10000102030405060708090a0b"
				   "0c0d0e0f0b0101130101140101160106";
	struct message_ext x = {.kind = KIND_REQUEST, .flags = MSG_EXPECTS_REPLY, .turn = 1,
				.max_turns = 6, .has_conv = true, .has_reply_to = true};
	char hex[2 * MSG_META_MAX + 1];
	struct buf b;

	memset(x.conv, 0xc0, sizeof x.conv);
	for (uint8_t i = 0; i < 16; i++)
		x.reply_to[i] = i;
	buf_init(&b, MSG_META_MAX);
	message_meta_write(&x, &b);
	hex_encode(buf_bytes(&b), hex);
	assert_string_equal(hex, want);
	buf_fini(&b);
}

static void meta_of_others_is_refused(void **state)
{
	const struct {
		struct bytes in;
		enum err err;
	} rows[] = {
		{BYTES_LIT("\x0b\x01\x00"), ERR_MALFORMED},         /* explicit default */
		{BYTES_LIT("\x0b\x01"), ERR_SHORT},
		{BYTES_LIT("\x0f\x01\x01"), ERR_UNSUPPORTED},       /* created */
		{BYTES_LIT("\x12\x01\x01"), ERR_UNSUPPORTED},       /* prio, ignorable on the wire */
		{BYTES_LIT("\x1c\x03\x08\x01\x01"), ERR_UNSUPPORTED},
		{BYTES_LIT("\x0e\x02" "a\0"), ERR_MALFORMED},
		{BYTES_LIT("\x1c\x00"), ERR_MALFORMED},             /* empty budget */
		{BYTES_LIT("\x13\x01\x01\x0b\x01\x01"), ERR_MALFORMED}, /* order */
	};
	struct message_ext x = full_ext(), before = x;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		assert_int_equal(message_meta_read(rows[i].in, &x), rows[i].err);
	assert_true(ext_eq(&x, &before));
}

static void types_and_kinds_name_each_other(void **state)
{
	static const char *const bad[] = {"", "msg", "KIND-", "KIND-6", "KIND-07", "KIND-256",
					  "KIND-1x", "KIND-0", "MSGX", "KIND-1000"};
	char out[MSG_TYPE_MAX + 1];
	uint8_t kind;

	for (unsigned k = 0; k <= 255; k++) {
		struct message_ext x = {.kind = (uint8_t)k};
		struct bytes type = message_type_of(&x, out);

		assert_int_equal(strlen(out), type.n);
		kind = (uint8_t)~k;
		assert_int_equal(message_kind_of(type, &kind), ERR_OK);
		assert_int_equal(kind, k);
	}
	struct message_ext conv = {.has_conv = true};
	assert_true(bytes_eq(message_type_of(&conv, out), BYTES_LIT("CONV")));
	assert_int_equal(message_kind_of(BYTES_LIT("CONV"), &kind), ERR_OK);
	assert_int_equal(kind, KIND_MESSAGE);
	conv.kind = KIND_END;
	assert_true(bytes_eq(message_type_of(&conv, out), BYTES_LIT("END")));
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(message_kind_of(bytes_str(bad[i]), &kind), ERR_MALFORMED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(priority_words_parse_in_one_case),
		cmocka_unit_test(versions_parse_as_the_table_says),
		cmocka_unit_test(meta_of_a_plain_text_is_empty),
		cmocka_unit_test(meta_comes_back_and_is_bounded),
		cmocka_unit_test(meta_has_the_tags_of_the_wire),
		cmocka_unit_test(meta_of_others_is_refused),
		cmocka_unit_test(types_and_kinds_name_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
