#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/log.h"
#include "base/text.h"
#include "store/audit_internal.h"
#include "tests/lib/store_world.h"

#define LINES 6

static struct world w;
static struct keyring *keys;
static struct buf text;

static int setup(void **state)
{
	struct audit *a;

	log_setup(&(struct log_config){.level = LOG_ERROR, .fd = 2});
	world_init(&w);
	keys = world_keys(&w);
	buf_init(&text, 1u << 20);
	if (audit_open(w.log, keys, &w.env, &a, NULL) != ERR_OK)
		return 1;
	for (unsigned i = 0; i < LINES; i++) {
		w.wall_ms += i == 3 ? -5000 : 1000; /* once the clock is set back */
		audit_note(a, "PEER_CONNECT", bytes_of("", 0), "name", "caf\xc3\xa9", NULL);
	}
	audit_close(a);
	return audit_export(w.log, keys, 1753600000500, &text, NULL) != ERR_OK;
}

static int teardown(void **state)
{
	buf_fini(&text);
	keyring_free(keys);
	world_fini(&w);
	return 0;
}

static enum err check(struct bytes in)
{
	json_t *summary = NULL;
	struct fault f = {0};
	enum err e = audit_verify_export(in, keyring_ed(keys), &summary, &f);

	if (e == ERR_OK)
		json_decref(summary);
	else
		assert_null(summary);
	return e;
}

static void export_names_its_signer_and_verifies(void **state)
{
	json_t *s, *j;
	char key64[BASE64_LEN(ED_BYTES) + 1];

	assert_int_equal(audit_verify_export(buf_bytes(&text), keyring_ed(keys), &s, NULL), ERR_OK);
	assert_string_equal(json_str(s, "signer"), "139e3940e64b5491722088d9a0d74162");
	assert_int_equal(json_integer_value(json_object_get(s, "entries")), LINES);
	assert_int_equal(json_integer_value(json_object_get(s, "clock_went_back")), 1);
	assert_true(json_real_value(json_object_get(s, "exported_at")) == 1753600000.5);
	json_decref(s);
	assert_int_equal(json_load_strict(buf_bytes(&text), 1u << 20, &j), ERR_OK);
	base64_encode(bytes_of(keyring_ed(keys), ED_BYTES), key64);
	assert_string_equal(json_str(j, "signer_key"), key64);
	assert_int_equal(json_array_size(json_object_get(j, "entries")), LINES);
	json_decref(j);
}

static void key_inside_is_never_trusted(void **state)
{
	struct keyring *other = world_other_keys(&w);
	struct fault f = {0};
	json_t *s;

	assert_int_equal(audit_verify_export(buf_bytes(&text), NULL, &s, &f), ERR_DENIED);
	assert_int_equal(audit_verify_export(buf_bytes(&text), keyring_ed(other), &s, &f),
			 ERR_AUTH);
	keyring_free(other);
}

static void every_changed_byte_and_every_prefix_is_refused(void **state)
{
	for (size_t i = 0; i < text.n; i++) {
		text.p[i] ^= 1;
		assert_int_not_equal(check(buf_bytes(&text)), ERR_OK);
		text.p[i] ^= 1;
	}
	for (size_t n = 0; n < text.n; n++)
		assert_int_not_equal(check(bytes_of(text.p, n)), ERR_OK);
	assert_int_equal(check(buf_bytes(&text)), ERR_OK);
	buf_add_u8(&text, 'x');
	assert_int_not_equal(check(buf_bytes(&text)), ERR_OK);
}

/* Entries dropped, moved, or the count changed: the signature covers all of it. */
static void altered_entries_are_refused(void **state)
{
	for (int kind = 0; kind < 4; kind++) {
		struct buf b;
		json_t *j;

		assert_int_equal(json_load_strict(buf_bytes(&text), 1u << 20, &j), ERR_OK);
		json_t *list = json_object_get(j, "entries");
		if (kind == 0) {
			json_array_remove(list, LINES - 1);
			json_object_set_new(j, "entry_count", json_integer(LINES - 1));
		} else if (kind == 1) {
			json_t *x = json_incref(json_array_get(list, 1));
			json_array_remove(list, 1);
			json_array_insert_new(list, 3, x);
		} else if (kind == 2) {
			json_object_set_new(j, "entry_count", json_integer(LINES + 1));
		} else {
			json_object_set_new(json_object_get(json_array_get(list, 2), "details"),
					    "name", json_string("mallory"));
		}
		buf_init(&b, 1u << 20);
		assert_int_equal(json_write(&b, j, JSON_SORTED), ERR_OK);
		assert_int_equal(check(buf_bytes(&b)), kind == 2 ? ERR_MALFORMED : ERR_AUTH);
		buf_fini(&b);
		json_decref(j);
	}
}

static void log_that_does_not_verify_is_not_signed(void **state)
{
	struct fault f = {0};
	struct buf out;
	size_t n;
	char *log = world_read(w.log, &n);

	log[40] ^= 1;
	world_write(w.log, log, n);
	free(log);
	buf_init(&out, 1u << 20);
	assert_int_equal(audit_export(w.log, keys, 1, &out, &f), ERR_CORRUPT);
	assert_int_equal(out.n, 0);
	assert_int_equal(audit_export("/nonexistent/audit.log", keys, 1, &out, &f), ERR_NOTFOUND);
	buf_fini(&out);
}

static void export_that_does_not_fit_is_an_error(void **state)
{
	struct buf out;

	buf_init(&out, text.n - 1);
	assert_int_equal(audit_export(w.log, keys, 1753600000500, &out, NULL), ERR_LIMIT);
	buf_fini(&out);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(export_names_its_signer_and_verifies),
		T(key_inside_is_never_trusted),
		T(every_changed_byte_and_every_prefix_is_refused),
		T(altered_entries_are_refused),
		T(log_that_does_not_verify_is_not_signed),
		T(export_that_does_not_fit_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
