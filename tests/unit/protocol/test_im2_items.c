#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/hash.h"
#include "protocol/im2/schema.h"
#include "tests/lib/protocol_env.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* im2.md 8: tag, name, places. */
static void the_items_are_those_of_the_specification(void **state)
{
	static const struct {
		uint16_t tag;
		const char *name, *places;
	} rows[] = {
		{3, "MSG", "D"},	 {5, "SMSG", "DEG"},	 {7, "RECEIPT", "D"},
		{9, "SRECEIPT", "DE"},	 {11, "XOPEN", "D"},	 {13, "FRAG", "D"},
		{15, "XACK", "D"},	 {17, "XABORT", "D"},	 {19, "ROUTED", "D"},
		{20, "ROUTEFB", "D"},	 {22, "RECORD", "DE"},	 {24, "RECDIG", "DE"},
		{26, "RECREQ", "DE"},	 {28, "PING", "DE"},	 {30, "PONG", "DE"},
		{32, "ROUTEADV", "D"},	 {35, "OPEN", "DS"},	 {37, "ACCEPT", "DS"},
		{39, "CHUNK", "DS"},	 {41, "END", "DS"},	 {43, "CREDIT", "DS"},
		{45, "CANCEL", "DS"},	 {47, "RERR", "DS"},	 {49, "CLOSE", "D"},
		{50, "INFO", "D"},	 {53, "IDENT", "E"},	 {55, "SENDERKEY", "DE"},
		{57, "GROUPMSG", "DE"},	 {59, "SAS", "DP"},	 {65, "GRANT", "DP"},
		{67, "GRANTACK", "DP"},	 {69, "STAUTH", "S"},	 {71, "STACK", "S"},
		{72, "ITEMERR", "D"},	 {74, "SETTLED", "D"},	 {76, "SKREQ", "DE"},
		{78, "SEEN", "D"},
	};
	size_t known = 0;

	for (size_t i = 0; i < COUNT(rows); i++) {
		unsigned places = 0;

		for (const char *p = rows[i].places; *p; p++)
			places |= *p == 'D' ? IM2_IN_D : *p == 'E' ? IM2_IN_E : *p == 'S' ? IM2_IN_S :
				  *p == 'G' ? IM2_IN_G : IM2_IN_P;
		assert_string_equal(im2_item_name(rows[i].tag), rows[i].name);
		assert_int_equal(im2_item_places(rows[i].tag), places);
		if (im2_item_schema(rows[i].tag))
			assert_string_equal(im2_item_schema(rows[i].tag)->name, rows[i].name);
	}
	for (unsigned tag = 0; tag <= UINT16_MAX; tag++) {
		if (im2_item_name((uint16_t)tag)) {
			known++;
			continue;
		}
		assert_int_equal(im2_item_places((uint16_t)tag), 0);
		assert_null(im2_item_schema((uint16_t)tag));
		assert_int_equal(im2_item_check((uint16_t)tag, BYTES_LIT("x")),
				 tag & 1 ? IM2_E_CRITICAL : IM2_FINE);
	}
	assert_int_equal(known, COUNT(rows));
}

/* V:fragments: the pieces of one message, its digest, the frame that carries the first. */
static void fragments_are_the_vectors(void **state)
{
	static const size_t size[] = {350, 350, 229};
	uint8_t digest[HASH_BYTES], body[900], open[44];
	struct im2_fields f = {0}, x;
	struct bytes data;
	struct buf b, one;
	uint64_t at = 0;

	for (size_t i = 0; i < sizeof body; i++)
		body[i] = (uint8_t)i;
	buf_init(&b, 2000);
	buf_init(&one, 2000);
	im2_set_b(&f, IM2_MSG_ID, BYTES_LIT("\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13"));
	im2_set_u(&f, IM2_MSG_CREATED, 1753500000250);
	im2_set_b(&f, IM2_MSG_BODY, BYTES_ARR(body));
	im2_write(&im2_msg, &f, &b);
	assert_int_equal(b.n, 929);
	test_unhex("0101010302a10705010307204a17e83ab70c825cbbe2c0689ef1cf43cc370dc4429cf28b1f66e5e64c702076",
		   open, sizeof open);
	assert_int_equal(im2_parse(&im2_xopen, BYTES_ARR(open), &x), IM2_FINE);
	assert_int_equal(x.v[IM2_XOPEN_LEN].u, b.n);
	assert_int_equal(x.v[IM2_XOPEN_TAG].u, IM2_ITEM_MSG);
	sha256(buf_bytes(&b), digest);
	assert_memory_equal(x.v[IM2_XOPEN_DIGEST].b.p, digest, sizeof digest);
	for (size_t i = 0; i < COUNT(size); at += size[i++]) {
		static const char *const heads[] = {"0100", "01de02", "01bc05"};
		uint8_t head[3];
		uint64_t offset;
		uint32_t xfer;

		buf_reset(&one);
		im2_varint_add(&one, 1);
		im2_varint_add(&one, at);
		test_unhex(heads[i], head, strlen(heads[i]) / 2);
		assert_memory_equal(one.p, head, one.n);
		buf_add(&one, bytes_of(b.p + at, size[i]));
		assert_int_equal(im2_frag_take(buf_bytes(&one), &xfer, &offset, &data), IM2_FINE);
		assert_int_equal(xfer, 1);
		assert_int_equal(offset, at);
		assert_int_equal(data.n, size[i]);
		assert_memory_equal(data.p, b.p + at, size[i]);
	}
	buf_fini(&one);
	buf_fini(&b);
}

static void small_items_have_their_shape(void **state)
{
	static const char zeros[40];
	struct bytes data;
	uint64_t offset;
	uint32_t xfer;

	for (size_t n = 0; n < sizeof zeros; n++) {
		struct bytes b = bytes_of(zeros, n);

		assert_int_equal(im2_item_check(IM2_ITEM_PING, b), n == 8 ? IM2_FINE : IM2_E_LENGTH);
		assert_int_equal(im2_item_check(IM2_ITEM_PONG, b), n == 8 ? IM2_FINE : IM2_E_LENGTH);
		assert_int_equal(im2_item_check(IM2_ITEM_GROUPMSG, b), n >= 28 ? IM2_FINE : IM2_E_SHORT);
		assert_int_equal(im2_item_check(IM2_ITEM_FRAG, b), n >= 3 ? IM2_FINE : IM2_E_SHORT);
		assert_int_equal(im2_item_check(IM2_ITEM_CHUNK, b), n >= 3 ? IM2_FINE : IM2_E_SHORT);
	}
	assert_int_equal(im2_frag_take(BYTES_LIT("\xff\xff\xff\xff\x0f\x05x"), &xfer, &offset, &data), IM2_FINE);
	assert_true(xfer == UINT32_MAX && offset == 5 && data.n == 1);
	assert_int_equal(im2_frag_take(BYTES_LIT("\x80\x80\x80\x80\x10\x05x"), &xfer, &offset, &data),
			 IM2_E_RANGE);
	assert_int_equal(im2_frag_take(BYTES_LIT("\x01\x85\x00x"), &xfer, &offset, &data), IM2_E_NONCANON);
}

static enum im2_refusal record_with(uint8_t type, struct bytes body, uint8_t n, size_t signers, const char *eds)
{
	struct buf t, b;
	enum im2_refusal r;

	buf_init(&t, 32768);
	buf_init(&b, 32768);
	im2_item_add(&t, 1, bytes_of(&type, 1));
	im2_item_add(&t, 3, BYTES_LIT("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"));
	im2_item_add(&t, 5, BYTES_LIT("\x01"));
	im2_item_add(&t, 7, BYTES_LIT("\x00"));
	im2_item_add(&t, 9, BYTES_LIT("\x00"));
	im2_item_add(&t, 11, body);
	im2_lv_add(&b, buf_bytes(&t));
	buf_add_u8(&b, n);
	for (size_t i = 0; i < signers; i++) {
		uint8_t one[96];

		memset(one, eds[i], sizeof one);
		buf_add(&b, BYTES_ARR(one));
	}
	if (n == 0)
		buf_add(&b, BYTES_LIT("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"));
	r = im2_item_check(IM2_ITEM_RECORD, buf_bytes(&b));
	buf_fini(&b);
	buf_fini(&t);
	return r;
}

/* 13.1 */
static void a_record_has_one_author_or_2_to_16_signers(void **state)
{
	static uint8_t big[16001];
	struct bytes any = BYTES_LIT("what a type not known yet may say");

	assert_int_equal(record_with(100, any, 0, 0, ""), IM2_FINE);
	assert_int_equal(record_with(100, any, 0, 1, "b"), IM2_E_LENGTH);
	assert_int_equal(record_with(100, any, 1, 1, "b"), IM2_E_NONCANON);
	assert_int_equal(record_with(100, any, 2, 2, "ab"), IM2_FINE);
	assert_int_equal(record_with(100, any, 2, 2, "bc"), IM2_FINE);
	assert_int_equal(record_with(100, any, 2, 2, "ba"), IM2_E_ORDER);
	assert_int_equal(record_with(100, any, 2, 2, "bb"), IM2_E_ORDER);
	assert_int_equal(record_with(100, any, 2, 2, "ac"), IM2_E_SENDER);
	assert_int_equal(record_with(100, any, 2, 3, "abc"), IM2_E_LENGTH);
	assert_int_equal(record_with(100, any, 3, 2, "ab"), IM2_E_LENGTH);
	assert_int_equal(record_with(100, any, 16, 16, "abcdefghijklmnop"), IM2_FINE);
	assert_int_equal(record_with(100, any, 17, 17, "abcdefghijklmnopq"), IM2_E_LENGTH);
	assert_int_equal(record_with(0, any, 0, 0, ""), IM2_E_RANGE);
	assert_int_equal(record_with(2, BYTES_LIT("\x05\x00"), 0, 0, ""), IM2_E_CRITICAL);
	assert_int_equal(record_with(100, bytes_of(big, 16000), 16, 16, "abcdefghijklmnop"), IM2_FINE);
	assert_int_equal(record_with(100, bytes_of(big, 16001), 0, 0, ""), IM2_E_LENGTH);
	assert_null(im2_record_body(0));
	assert_null(im2_record_body(10));
	assert_null(im2_record_body(UINT64_MAX));
	assert_ptr_equal(im2_record_body(9), &im2_card);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_items_are_those_of_the_specification),
		cmocka_unit_test(fragments_are_the_vectors),
		cmocka_unit_test(small_items_have_their_shape),
		cmocka_unit_test(a_record_has_one_author_or_2_to_16_signers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
