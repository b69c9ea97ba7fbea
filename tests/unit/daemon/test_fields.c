#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/fields.h"

static void every_kind_has_a_word_and_a_type(void **state)
{
	char word[KIND_WORD_MAX];
	uint8_t kind, of_type;

	for (uint8_t k = KIND_MESSAGE; k <= KIND_END; k++) {
		assert_int_equal(kind_parse(bytes_str(kind_word(k, word)), &kind), ERR_OK);
		assert_int_equal(kind, k);
		assert_int_equal(message_kind_of(bytes_str(kind_type(k)), &of_type), ERR_OK);
		assert_int_equal(of_type, k);
	}
	assert_string_equal(kind_word(7, word), "kind-7");
	assert_string_equal(kind_word(255, word), "kind-255");
	assert_int_equal(kind_parse(BYTES_LIT("kind-7"), &kind), ERR_MALFORMED);
	assert_int_equal(kind_parse(BYTES_LIT(""), &kind), ERR_MALFORMED);
	assert_int_equal(kind_parse(BYTES_LIT("Request"), &kind), ERR_MALFORMED);
}

static void media_types_have_one_spelling(void **state)
{
	char text[256], big[129];
	struct message_ext x, y;

	for (unsigned i = 0; i <= 6; i++) {
		x = (struct message_ext){ .ctype = (uint8_t)i };
		y = (struct message_ext){ 0 };
		assert_int_equal(content_type_parse(bytes_str(content_type_text(&x, text, sizeof text)), &y), ERR_OK);
		assert_int_equal(y.ctype, i);
		assert_string_equal(y.ctype_text, "");
	}
	assert_int_equal(content_type_parse(BYTES_LIT("image/png"), &y), ERR_OK);
	assert_int_equal(y.ctype, 0);
	assert_string_equal(content_type_text(&y, text, sizeof text), "image/png");
	memset(big, 'a', sizeof big);
	assert_int_equal(content_type_parse(bytes_of(big, 127), &y), ERR_OK);
	assert_int_equal(content_type_parse(bytes_of(big, 128), &y), ERR_MALFORMED);
	assert_int_equal(content_type_parse(BYTES_LIT(""), &y), ERR_MALFORMED);
	assert_int_equal(content_type_parse(BYTES_LIT("a\x1b[31m"), &y), ERR_MALFORMED);
	x = (struct message_ext){ .ctype_text = "a\x1b[31m" };
	assert_null(strchr(content_type_text(&x, text, sizeof text), '\x1b'));
	x = (struct message_ext){ .ctype = 200 };
	assert_string_equal(content_type_text(&x, text, sizeof text), "type-200");
}

static void an_id_is_hex_or_a_uuid(void **state)
{
	static const char *const bad[] = { "",
					   "0102030405060708090a0b0c0d0e0f1",
					   "0102030405060708090a0b0c0d0e0f101",
					   "0102030405060708090a0b0c0d0e0f1g",
					   "01020304-0506-0708-090a-0b0c0d0e0f1",
					   "010203040-506-0708-090a-0b0c0d0e0f10",
					   "01020304-0506-0708-090a-0b0c0d0e0f1-",
					   "0102030405060708090a0b0c0d0e0f10----" };
	uint8_t a[16], b[16];

	assert_int_equal(wire_id_parse(BYTES_LIT("0102030405060708090a0b0c0d0e0fFF"), a), ERR_OK);
	assert_int_equal(wire_id_parse(BYTES_LIT("01020304-0506-0708-090a-0b0c0d0e0fff"), b), ERR_OK);
	assert_memory_equal(a, b, 16);
	assert_int_equal(a[15], 0xff);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(wire_id_parse(bytes_str(bad[i]), a), ERR_MALFORMED);
	assert_memory_equal(a, b, 16);
}

static void a_row_says_what_its_bytes_and_its_type_say(void **state)
{
	struct message_ext x = { .kind = KIND_REQUEST, .has_conv = true, .conv = { 1 }, .turn = 9 }, y;
	struct buf b;

	buf_init(&b, MSG_META_MAX);
	message_meta_write(&x, &b);
	assert_int_equal(b.err, ERR_OK);
	fields_of_row(buf_bytes(&b), "REQ", &y);
	assert_int_equal(y.kind, KIND_REQUEST);
	assert_int_equal(y.turn, 9);
	assert_true(y.has_conv);
	fields_of_row((struct bytes){ 0 }, "RESP", &y);
	assert_int_equal(y.kind, KIND_RESPONSE);
	fields_of_row((struct bytes){ 0 }, "SOMETHING", &y);
	assert_int_equal(y.kind, KIND_MESSAGE);
	fields_of_row(BYTES_LIT("\xff\xff"), "REQ", &y);
	assert_int_equal(y.kind, KIND_REQUEST);
	assert_int_equal(y.turn, 0);
	buf_fini(&b);
}

static json_t *text_of(const struct message_ext *x, struct bytes body)
{
	struct buf b;
	json_t *v;

	buf_init(&b, 1 << 20);
	buf_add_str(&b, "{\"x\":0");
	fields_add(&b, x);
	fields_add_body(&b, body);
	buf_add_u8(&b, '}');
	assert_int_equal(b.err, ERR_OK);
	assert_int_equal(json_load_strict(buf_bytes(&b), 1 << 20, &v), ERR_OK);
	buf_fini(&b);
	return v;
}

static json_t *all_text_of(const struct message_ext *x)
{
	struct buf b;
	json_t *v;

	buf_init(&b, 1 << 16);
	buf_add_str(&b, "{\"x\":0");
	fields_add_all(&b, x);
	buf_add_u8(&b, '}');
	assert_int_equal(json_load_strict(buf_bytes(&b), 1 << 16, &v), ERR_OK);
	buf_fini(&b);
	return v;
}

/* The tree and the text are two writers of one table. */
static void the_tree_and_the_text_say_the_same(void **state)
{
	struct message_ext x = { .kind = KIND_END, .flags = MSG_EXPECTS_REPLY, .has_conv = true, .conv = { 0xc0, 1 },
				 .has_reply_to = true, .reply_to = { 0xbe }, .turn = 3, .max_turns = 7,
				 .ctype_text = "image/png", .end_reason = 1 };
	json_t *text = text_of(&x, BYTES_LIT("hi")), *tree = json_object(), *v;
	const char *key;

	fields_json(tree, &x);
	json_object_foreach (tree, key, v)
		assert_true(json_equal(v, json_object_get(text, key)));
	assert_int_equal(json_object_size(text), json_object_size(tree) + 2);
	assert_string_equal(json_str(tree, "end_reason"), "turn-limit");
	assert_string_equal(json_str(tree, "conversation"), "c0010000000000000000000000000000");
	json_decref(text);
	text = all_text_of(&x);
	(void)json_object_del(text, "x");
	assert_true(json_equal(text, tree));
	json_decref(tree);
	json_decref(text);
	/* What says nothing is left out of the text, and is there in the tree. */
	x = (struct message_ext){ 0 };
	text = text_of(&x, BYTES_LIT(""));
	assert_int_equal(json_object_size(text), 2);
	tree = json_object();
	fields_json(tree, &x);
	assert_true(json_is_null(json_object_get(tree, "conversation")));
	assert_string_equal(json_str(tree, "kind"), "message");
	assert_string_equal(json_str(tree, "content_type"), "text/plain");
	json_decref(text);
	text = all_text_of(&x);
	(void)json_object_del(text, "x");
	assert_true(json_equal(text, tree));
	json_decref(tree);
	json_decref(text);
}

static void a_body_is_text_when_it_is(void **state)
{
	static uint8_t big[8192];
	struct message_ext x = { 0 };
	json_t *v = text_of(&x, BYTES_LIT("gr\xc3\xbc\xc3\x9f \"\n"));

	assert_string_equal(json_str(v, "body"), "gr\xc3\xbc\xc3\x9f \"\n");
	json_decref(v);
	v = text_of(&x, BYTES_LIT("\xff\xfe"));
	assert_string_equal(json_str(v, "body_b64"), "//4=");
	json_decref(v);
	v = text_of(&x, bytes_of("a\0b", 3));
	assert_string_equal(json_str(v, "body_b64"), "YQBi");
	json_decref(v);
	/* As a string of JSON it would be six times as long. */
	memset(big, 1, sizeof big);
	v = text_of(&x, BYTES_ARR(big));
	assert_non_null(json_str(v, "body_b64"));
	json_decref(v);
}

static void priorities_have_words(void **state)
{
	assert_string_equal(priority_text(PRIO_LOW), "low");
	assert_string_equal(priority_text(PRIO_CRITICAL), "critical");
	assert_string_equal(priority_text(200), "normal");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_has_a_word_and_a_type),
		cmocka_unit_test(media_types_have_one_spelling),
		cmocka_unit_test(an_id_is_hex_or_a_uuid),
		cmocka_unit_test(a_row_says_what_its_bytes_and_its_type_say),
		cmocka_unit_test(the_tree_and_the_text_say_the_same),
		cmocka_unit_test(a_body_is_text_when_it_is),
		cmocka_unit_test(priorities_have_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
