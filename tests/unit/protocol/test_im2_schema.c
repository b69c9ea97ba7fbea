#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/lib/protocol_env.h"
#include "tests/lib/protocol_rules.h"
#include "tests/vectors/im2_codec.h"
#include "tests/vectors/im2_tables.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct im2_schema *schema_named(const char *name)
{
	size_t n;
	const struct im2_schema *const *all = im2_schemas(&n);

	for (size_t i = 0; i < n; i++)
		if (strcmp(all[i]->name, name) == 0)
			return all[i];
	return NULL;
}

static uint16_t item_named(const char *name)
{
	for (uint16_t tag = 0; tag < 128; tag++)
		if (im2_item_name(tag) && strcmp(im2_item_name(tag), name) == 0)
			return tag;
	return 0;
}

/* The verdict on a structure, an item or a list. What is fine must be its own re-encoding. */
static enum im2_refusal judge(const char *kind, const uint8_t *p, size_t n)
{
	const struct im2_schema *s = schema_named(kind);
	uint8_t *copy = malloc(n ? n : 1);
	enum im2_refusal r;
	struct bytes in;

	memcpy(copy, p, n);
	in = bytes_of(copy, n);
	if (s) {
		struct buf out;

		buf_init(&out, n);
		r = im2_reencode(s, in, &out);
		assert_int_equal(out.err, ERR_OK);
		if (r == IM2_FINE)
			assert_true(bytes_eq(buf_bytes(&out), in));
		buf_fini(&out);
	} else if (strcmp(kind, "ITEMS") == 0) {
		r = im2_items_check(in, NULL);
	} else {
		assert_int_not_equal(item_named(kind), 0);
		r = im2_item_check(item_named(kind), in);
	}
	free(copy);
	return r;
}

static size_t unhex_at(const char *hex, uint8_t *out, size_t cap)
{
	size_t n = strlen(hex) / 2;

	assert_true(n <= cap);
	test_unhex(hex, out, n);
	return n;
}

static void vectors_are_accepted(void **state)
{
	uint8_t b[1024];

	for (size_t i = 0; i < COUNT(im2_accepted); i++) {
		size_t n = unhex_at(im2_accepted[i].hex, b, sizeof b);
		enum im2_refusal r = judge(im2_accepted[i].kind, b, n);

		if (r != IM2_FINE)
			fail_msg("%s: %s", im2_accepted[i].name, im2_refusal_word(r));
	}
}

static void the_34_refused_inputs_have_their_names(void **state)
{
	uint8_t b[1024];

	assert_int_equal(COUNT(im2_refused), 34);
	for (size_t i = 0; i < COUNT(im2_refused); i++) {
		size_t n = unhex_at(im2_refused[i].hex, b, sizeof b);

		assert_string_equal(im2_refusal_word(judge(im2_refused[i].kind, b, n)), im2_refused[i].word);
	}
}

/* Does one of the fields of a structure end at `cut`? */
static bool field_ends(struct bytes in, size_t cut)
{
	size_t n = in.n;
	struct bytes value;
	uint16_t tag;

	do
		if (n - in.n == cut)
			return true;
	while (im2_item_next(&in, &tag, &value));
	return false;
}

/* A structure may end early only between two fields (and is then its own encoding, see judge), a record
 * never. Nothing is accepted with a byte more, except padding and what ends in data of any length. */
static void every_prefix_and_one_byte_more(void **state)
{
	uint8_t b[1025];

	for (size_t i = 0; i < COUNT(im2_accepted); i++) {
		const char *kind = im2_accepted[i].kind;
		size_t n = unhex_at(im2_accepted[i].hex, b, sizeof b - 1);
		bool record = strcmp(kind, "RECORD") == 0, list = strcmp(kind, "ITEMS") == 0;

		for (size_t cut = 0; cut < n; cut++) {
			bool fine = judge(kind, b, cut) == IM2_FINE;

			if (record)
				assert_false(fine);
			else if (fine && schema_named(kind))
				assert_true(field_ends(bytes_of(b, n), cut));
		}
		for (unsigned c = 0; c < 256; c++) {
			b[n] = (uint8_t)c;
			if (schema_named(kind) || record)
				assert_int_not_equal(judge(kind, b, n + 1), IM2_FINE);
			else if (list)
				assert_int_equal(judge(kind, b, n + 1), c ? IM2_E_PAD : IM2_FINE);
		}
	}
}

static void the_tables_are_those_of_the_specification(void **state)
{
	struct buf b;
	size_t n;

	im2_schemas(&n);
	assert_int_equal(n, COUNT(im2_tables));
	buf_init(&b, 4096);
	for (size_t i = 0; i < n; i++) {
		const struct im2_schema *s = schema_named(im2_tables[i].name);

		assert_non_null(s);
		assert_int_equal(s->max_bytes, im2_tables[i].max_bytes);
		buf_reset(&b);
		for (size_t k = 0; k < s->count; k++) {
			const struct im2_rule *r = &s->rules[k];

			assert_true(k == 0 || s->rules[k - 1].tag < r->tag);
			buf_printf(&b, "%s%u%s %s ", k ? "; " : "", r->tag, r->tag & 1 ? "!" : "", r->name);
			rule_text(r, &b);
		}
		assert_string_equal(buf_cstr(&b), im2_tables[i].fields);
	}
	buf_fini(&b);
}

/* An element that the list's rule allows; ascending with `k`. */
static void element(const struct im2_rule *r, uint64_t k, struct buf *list)
{
	uint8_t e[32];

	memset(e, '0', sizeof e);
	e[14] = (uint8_t)('!' + k / 90);
	e[15] = e[31] = (uint8_t)('!' + k % 90);
	if (strcmp(r->name, "entries") == 0) {
		e[0] = 2; /* delivered */
		im2_lv_add(list, bytes_of(e, 17));
	} else if (strcmp(r->name, "headers") == 0) {
		im2_lv_add(list, BYTES_LIT("\x01k\x00"));
	} else if (strcmp(r->name, "have") == 0) {
		im2_lv_add(list, BYTES_LIT("\x01\x01"));
	} else if (r->elem == IM2_STRUCT) {
		e[0] = 1; /* its name, 17 bytes */
		e[1] = 17;
		im2_lv_add(list, bytes_of(e, 19));
	} else {
		im2_lv_add(list, bytes_of(e, r->elem_lo < 17 ? 17 : r->elem_lo));
	}
}

/* Sets field i to the least or the most that its rule allows; bytes live in `b`. */
static void set_end(const struct im2_rule *r, bool most, struct im2_fields *f, unsigned i, struct buf *b)
{
	uint64_t n = most ? r->hi : r->lo;

	buf_reset(b);
	if (r->kind == IM2_UINT) {
		im2_set_u(f, i, n);
		return;
	}
	if (r->kind == IM2_STRUCT) {
		buf_add(b, BYTES_LIT("\x02\x01\x05"));
	} else if (r->kind == IM2_LIST) {
		for (uint64_t k = 0; k < n; k++)
			element(r, k, b);
	} else {
		uint8_t *p = buf_reserve(b, n);

		assert_non_null(p);
		memset(p, 'a', n);
		b->n += n;
	}
	im2_set_b(f, i, buf_bytes(b));
}

/* `in` with the value of `tag` replaced, or without the field when `value` is NULL. */
static void with_field(struct bytes in, uint16_t tag, const struct buf *value, struct buf *out)
{
	struct bytes v;
	uint16_t t = 0;
	bool more;

	buf_reset(out);
	do {
		more = im2_item_next(&in, &t, &v);
		if (value && (!more || t >= tag)) {
			im2_item_add(out, tag, buf_bytes(value));
			value = NULL;
		}
		if (more && t != tag)
			im2_item_add(out, t, v);
	} while (more);
	assert_int_equal(out->err, ERR_OK);
}

/* What needs the company of another field has a test of its own. */
static bool alone(const struct im2_schema *s, unsigned k)
{
	if (s == &im2_msg)
		return k < IM2_MSG_FROM || k > IM2_MSG_GROUP;
	return s != &im2_rt || (k != IM2_RT_KIND && k != IM2_RT_SID && k != IM2_RT_ST);
}

/* Field k of a structure that has what it must: at both ends of its range, one beyond, and absent. */
static void try_field(const struct im2_schema *s, const struct im2_fields *base, unsigned k, struct buf tmp[3])
{
	const struct im2_rule *r = &s->rules[k];
	struct buf *value = &tmp[0], *plain = &tmp[1], *out = &tmp[2];
	struct im2_fields f, got;

	for (int most = 0; most < 2; most++) {
		f = *base;
		set_end(r, most, &f, k, value);
		buf_reset(out);
		im2_write(s, &f, out);
		assert_int_equal(judge(s->name, out->p, out->n), IM2_FINE);
		assert_int_equal(im2_parse(s, buf_bytes(out), &got), IM2_FINE);
		if (r->kind == IM2_UINT)
			assert_true(got.v[k].u == f.v[k].u);
		else
			assert_true(bytes_eq(got.v[k].b, f.v[k].b));
	}
	buf_reset(plain);
	im2_write(s, base, plain);
	if (r->kind == IM2_UINT && r->hi < INT64_MAX) {
		buf_reset(value);
		im2_varint_add(value, r->hi + 1);
		with_field(buf_bytes(plain), r->tag, value, out);
		assert_int_equal(judge(s->name, out->p, out->n), IM2_E_RANGE);
	} else if (r->kind == IM2_LIST) {
		element(r, r->hi, value);
		with_field(buf_bytes(plain), r->tag, value, out);
		assert_int_equal(judge(s->name, out->p, out->n), IM2_E_LIMIT);
	} else if (r->kind == IM2_BYTES || r->kind == IM2_TEXT || r->kind == IM2_NAME) {
		buf_add_u8(value, 'a');
		with_field(buf_bytes(plain), r->tag, value, out);
		assert_int_equal(judge(s->name, out->p, out->n),
				 out->n > s->max_bytes ? IM2_E_LIMIT : IM2_E_LENGTH);
	}
	if (r->required) {
		with_field(buf_bytes(plain), r->tag, NULL, out);
		assert_int_equal(judge(s->name, out->p, out->n), IM2_E_MISSING);
	}
}

static void every_field_goes_to_the_ends_of_its_range(void **state)
{
	struct buf least[IM2_FIELDS_MAX], tmp[3];
	size_t n;
	const struct im2_schema *const *all = im2_schemas(&n);

	for (size_t i = 0; i < COUNT(tmp); i++)
		buf_init(&tmp[i], 2u << 20);
	for (size_t i = 0; i < n; i++) {
		struct im2_fields base = {0};

		for (unsigned k = 0; k < all[i]->count; k++) {
			buf_init(&least[k], 4096);
			if (all[i]->rules[k].required)
				set_end(&all[i]->rules[k], false, &base, k, &least[k]);
		}
		for (unsigned k = 0; k < all[i]->count; k++)
			if (alone(all[i], k))
				try_field(all[i], &base, k, tmp);
		for (unsigned k = 0; k < all[i]->count; k++)
			buf_fini(&least[k]);
	}
	for (size_t i = 0; i < COUNT(tmp); i++)
		buf_fini(&tmp[i]);
}

static enum im2_refusal msg_with(unsigned fields, uint64_t flags)
{
	struct im2_fields got;
	enum im2_refusal r;
	struct buf b, v;

	buf_init(&b, 256);
	buf_init(&v, 16);
	im2_item_add(&b, 1, BYTES_LIT("0123456789abcdef"));
	for (unsigned i = 0; i < 3; i++)
		if (fields >> i & 1)
			im2_item_add(&b, (uint16_t)(3 + 2 * i), BYTES_LIT("0123456789abcdef"));
	if (fields & 8)
		im2_item_add(&b, 12, BYTES_LIT("\x02"));
	if (fields & 16)
		im2_item_add(&b, 14, BYTES_LIT("text/x"));
	im2_item_add(&b, 15, BYTES_LIT("\x00"));
	im2_varint_add(&v, flags);
	if (flags)
		im2_item_add(&b, 19, buf_bytes(&v));
	r = im2_parse(&im2_msg, buf_bytes(&b), &got);
	buf_fini(&v);
	buf_fini(&b);
	return r;
}

/* 9.1 */
static void a_message_names_both_sides_or_none(void **state)
{
	for (unsigned set = 0; set < 8; set++) {
		bool from = set & 1, to = set & 2, group = set & 4;
		bool good = (!from && !to && !group) || (from && to != group);

		assert_int_equal(msg_with(set, 0), good ? IM2_FINE : IM2_E_CONTEXT);
	}
	assert_int_equal(msg_with(8, 0), IM2_FINE);
	assert_int_equal(msg_with(16, 0), IM2_FINE);
	assert_int_equal(msg_with(8 | 16, 0), IM2_E_CONTEXT);
	for (uint64_t flags = 0; flags < 32; flags++)
		assert_int_equal(msg_with(0, flags), flags & 16 && !(flags & 8) ? IM2_E_CONTEXT : IM2_FINE);
	assert_int_equal(msg_with(0, 32), IM2_E_RANGE);
}

/* 11.1 */
static void stream_units_alone_have_a_stream(void **state)
{
	for (unsigned set = 0; set < 4; set++)
		for (unsigned kind = 1; kind <= 2; kind++) {
			struct im2_fields got;
			uint8_t k = (uint8_t)kind;
			struct buf b;

			buf_init(&b, 256);
			im2_item_add(&b, 1, BYTES_LIT("0123456789abcdef"));
			im2_item_add(&b, 3, bytes_of(&k, 1));
			im2_item_add(&b, 5, BYTES_LIT("\0\0\0\0"));
			im2_item_add(&b, 7, BYTES_LIT("\x01"));
			if (set & 1)
				im2_item_add(&b, 9, BYTES_LIT("0123456789abcdef"));
			if (set & 2)
				im2_item_add(&b, 11, BYTES_LIT("\x04"));
			assert_int_equal(im2_parse(&im2_rt, buf_bytes(&b), &got),
					 set == (kind == 2 ? 3u : 0u) ? IM2_FINE : IM2_E_CONTEXT);
			buf_fini(&b);
		}
}

/* 16.2: the signature covers all before it, so nothing may hide behind it. */
static void nothing_follows_the_signature_of_a_sender_key(void **state)
{
	uint8_t b[256];
	size_t n = 0;

	for (size_t i = 0; i < COUNT(im2_accepted); i++)
		if (strcmp(im2_accepted[i].kind, "SENDERKEY") == 0)
			n = unhex_at(im2_accepted[i].hex, b, sizeof b - 3);
	assert_true(n > 0);
	memcpy(b + n, "\x0e\x00", 2);
	assert_int_equal(judge("SENDERKEY", b, n + 2), IM2_E_CONTEXT);
	memmove(b + 2 + 18, b + 18, n - 18); /* an unknown field before it is covered */
	memcpy(b + 18, "\x02\x00", 2);
	assert_int_equal(judge("SENDERKEY", b, n + 2), IM2_FINE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_are_accepted),
		cmocka_unit_test(the_34_refused_inputs_have_their_names),
		cmocka_unit_test(every_prefix_and_one_byte_more),
		cmocka_unit_test(the_tables_are_those_of_the_specification),
		cmocka_unit_test(every_field_goes_to_the_ends_of_its_range),
		cmocka_unit_test(a_message_names_both_sides_or_none),
		cmocka_unit_test(stream_units_alone_have_a_stream),
		cmocka_unit_test(nothing_follows_the_signature_of_a_sender_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
