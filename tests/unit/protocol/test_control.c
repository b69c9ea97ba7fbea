#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/text.h"
#include "protocol/v09/control.h"

static const struct node_id self = {"139e3940e64b5491722088d9a0d74162"};
#define HEAD "{\"type\":\"%s\",\"from\":\"139e3940e64b5491722088d9a0d74162\"%s}"

static void assert_text(struct buf *b, const char *type, const char *rest)
{
	char want[1024];

	snprintf(want, sizeof want, HEAD, type, rest);
	assert_int_equal(b->err, ERR_OK);
	assert_string_equal(buf_cstr(b), want);
	buf_reset(b);
}

static void payloads_print_compact(void **state)
{
	uint8_t key[32] = {0};
	struct buf b;

	buf_init(&b, CONTROL_MAX);
	control_write(&b, "PING", &self);
	assert_text(&b, "PING", "");
	rekey_write(&b, false, &self, key, BYTES_LIT("u-1"));
	assert_text(&b, "REKEY_REQUEST",
		    ",\"new_ephemeral_public\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\","
		    "\"rekey_id\":\"u-1\"");
	key_rotate_write(&b, &self, key, 1753500000250);
	assert_text(&b, "KEY_ROTATE",
		    ",\"new_public_key\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\","
		    "\"rotated_at\":1753500000.25");
	buf_fini(&b);
}

static void rekey_reads_strictly(void **state)
{
	static const char good[] =
		"{\"new_ephemeral_public\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\","
		"\"rekey_id\":\"u\"}";
	static const char *const bad[] = {
		"",
		"[]",
		"{}",
		"{\"rekey_id\":\"u\"}",
		"{\"new_ephemeral_public\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"}",
		"{\"new_ephemeral_public\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\","
		"\"rekey_id\":\"\"}",
		"{\"new_ephemeral_public\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\","
		"\"rekey_id\":7}",
		"{\"new_ephemeral_public\":\"AAAA\",\"rekey_id\":\"u\"}",
		"{\"new_ephemeral_public\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"rekey_"
		"id\":\"u\"}",
		"{\"new_ephemeral_public\":1,\"rekey_id\":\"u\"}",
	};
	char text[1024];
	struct rekey k;

	assert_int_equal(rekey_read(BYTES_LIT(good), &k), ERR_OK);
	assert_string_equal(k.id, "u");
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(rekey_read(bytes_str(bad[i]), &k), ERR_MALFORMED);
	for (size_t n = 0; n < sizeof good - 1; n++)
		assert_int_not_equal(rekey_read(bytes_of(good, n), &k), ERR_OK);
	for (int n = REKEY_ID_MAX; n <= REKEY_ID_MAX + 1; n++) {
		snprintf(text, sizeof text,
			 "{\"new_ephemeral_public\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
			 "\",\"rekey_id\":\"%0*d\"}",
			 n, 0);
		assert_int_equal(rekey_read(bytes_str(text), &k) == ERR_OK, n == REKEY_ID_MAX);
	}
}

static struct receipt receipt(enum receipt_kind kind, const char *id, const char *reason)
{
	return (struct receipt){.kind = kind, .id = bytes_str(id), .reason = bytes_str(reason)};
}

static void ack_groups_by_kind_and_comes_back(void **state)
{
	struct receipt in[] = {
		receipt(RECEIPT_DELIVERED, "a", ""),
		receipt(RECEIPT_REJECTED, "b\"\\", "inbox full"),
		receipt(RECEIPT_READ, "c", ""),
		receipt(RECEIPT_DELIVERED, "d", ""),
		receipt(RECEIPT_HELD, "e", ""),
	};
	struct receipt r;
	struct ack a;
	struct buf b;
	size_t seen = 0;

	buf_init(&b, CONTROL_MAX);
	assert_int_equal(ack_write(&b, &self, in, 5), 5);
	assert_int_equal(ack_read(buf_bytes(&b), &a), ERR_OK);
	while (ack_next(&a, &r)) {
		bool found = false;
		for (size_t i = 0; i < 5; i++)
			if (bytes_eq(r.id, in[i].id)) {
				assert_int_equal(r.kind, in[i].kind);
				if (r.kind == RECEIPT_REJECTED)
					assert_true(bytes_eq(r.reason, in[i].reason));
				found = true;
			}
		assert_true(found);
		seen++;
	}
	assert_int_equal(seen, 5);
	assert_false(ack_next(&a, &r));
	assert_null(a.root);
	buf_reset(&b);
	assert_int_equal(ack_write(&b, &self, in, 1), 1);
	assert_text(&b, "ACK", ",\"ack_msg_ids\":[\"a\"]");
	buf_fini(&b);
}

static void ack_splits_at_its_limits(void **state)
{
	static char ids[3000][40];
	static char longs[1100][MSG_ID_MAX + 1];
	static struct receipt r[3000];
	struct buf b;
	struct ack a;

	buf_init(&b, CONTROL_MAX);
	for (size_t i = 0; i < 3000; i++) {
		snprintf(ids[i], sizeof ids[i], "%04zu", i);
		r[i] = receipt(RECEIPT_DELIVERED, ids[i], "");
	}
	assert_int_equal(ack_write(&b, &self, r, 3000), ACK_IDS_MAX);
	assert_int_equal(ack_read(buf_bytes(&b), &a), ERR_OK);
	ack_free(&a);
	buf_reset(&b);
	/* The worst text: every character doubles. */
	for (size_t i = 0; i < 1100; i++) {
		memset(longs[i], '"', MSG_ID_MAX);
		r[i] = receipt(RECEIPT_REJECTED, longs[i], longs[i]);
		r[i].reason.n = ACK_REASON_MAX;
	}
	size_t k = ack_write(&b, &self, r, 1100);
	assert_true(k > 50 && k < 1100);
	assert_int_equal(b.err, ERR_OK);
	assert_true(b.n <= CONTROL_MAX);
	assert_int_equal(ack_read(buf_bytes(&b), &a), ERR_OK);
	ack_free(&a);
	buf_fini(&b);
}

/* 36-character ids, what applications use: a drained group of a turn is one or two frames. */
static void ack_of_common_ids_is_large(void **state)
{
	struct receipt r[1024];
	struct buf b;

	for (size_t i = 0; i < 1024; i++)
		r[i] = receipt(RECEIPT_DELIVERED, "0f8fad5b-d9cb-469f-a165-70867728950e", "");
	buf_init(&b, CONTROL_MAX);
	assert_true(ack_write(&b, &self, r, 1024) >= 512);
	buf_fini(&b);
}

static void ack_reads_strictly(void **state)
{
	static const struct {
		const char *text;
		bool ok;
	} rows[] = {
		{"{\"ack_msg_id\":\"a\"}", true},
		{"{\"ack_msg_id\":\"a\",\"ack_msg_ids\":[\"b\"]}", true},
		{"{\"ack_msg_ids\":[\"a\",\"b\"],\"future\":{}}", true},
		{"{\"rejected\":[{\"id\":\"a\"}]}", true},
		{"{}", false},
		{"[]", false},
		{"{\"ack_msg_ids\":[]}", false},
		{"{\"ack_msg_ids\":\"a\"}", false},
		{"{\"ack_msg_ids\":{}}", false},
		{"{\"ack_msg_ids\":null}", false},
		{"{\"ack_msg_ids\":[1]}", false},
		{"{\"ack_msg_ids\":[\"\"]}", false},
		{"{\"ack_msg_ids\":[\"a\",null]}", false},
		{"{\"ack_msg_ids\":[\"a\\n\"]}", false},
		{"{\"ack_msg_ids\":[\"\xc3\xa9\"]}", false},
		{"{\"ack_msg_id\":7}", false},
		{"{\"ack_msg_id\":\"\"}", false},
		{"{\"rejected\":[\"a\"]}", false},
		{"{\"rejected\":[{\"reason\":\"a\"}]}", false},
		{"{\"rejected\":[{\"id\":\"a\",\"reason\":5}]}", false},
		{"{\"rejected\":[{\"id\":\"a\",\"reason\":\"\\u001b\"}]}", false},
		{"{\"ack_msg_ids\":[\"a\"]}x", false},
		{"{\"ack_msg_ids\":[\"a\"],\"ack_msg_ids\":[\"a\"]}", false},
	};
	struct ack a;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		bool ok = ack_read(bytes_str(rows[i].text), &a) == ERR_OK;
		if (ok != rows[i].ok)
			fail_msg("%s", rows[i].text);
		if (ok)
			ack_free(&a);
	}
	/* 1,025 ids */
	char *text = malloc(8192), *p = text + sprintf(text, "{\"ack_msg_ids\":[\"a\"");
	for (int i = 0; i < 1024; i++)
		p += sprintf(p, ",\"a\"");
	strcpy(p, "]}");
	assert_int_equal(ack_read(bytes_str(text), &a), ERR_MALFORMED);
	free(text);
}

static void receipts_have_printable_ids_and_reasons(void **state)
{
	char id[MSG_ID_MAX + 2];
	struct receipt r;

	memset(id, 'a', sizeof id - 1);
	id[sizeof id - 1] = 0;
	r = receipt(RECEIPT_DELIVERED, id, "");
	assert_false(receipt_valid(&r));
	r.id.n--;
	assert_true(receipt_valid(&r));
	r = receipt(RECEIPT_DELIVERED, "", "");
	assert_false(receipt_valid(&r));
	r = receipt(RECEIPT_DELIVERED, "a\x1f", "");
	assert_false(receipt_valid(&r));
	r = receipt(RECEIPT_REJECTED, "a", "x\x7f");
	assert_false(receipt_valid(&r));
	r = receipt((enum receipt_kind)9, "a", "");
	assert_false(receipt_valid(&r));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(payloads_print_compact),
		cmocka_unit_test(rekey_reads_strictly),
		cmocka_unit_test(ack_groups_by_kind_and_comes_back),
		cmocka_unit_test(ack_splits_at_its_limits),
		cmocka_unit_test(ack_of_common_ids_is_large),
		cmocka_unit_test(ack_reads_strictly),
		cmocka_unit_test(receipts_have_printable_ids_and_reasons),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
