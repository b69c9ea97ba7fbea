/* Every way to alter a log, and what verification says about it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "store/audit_internal.h"
#include "tests/lib/store_world.h"

#define LINES 8

static struct world w;
static struct keyring *keys;
static char head_path[160];
static char *line[LINES + 1]; /* each with its newline; room for one more */
static char *head;

static void read_lines(void)
{
	size_t n;
	char *text = world_read(w.log, &n), *at = text;

	for (unsigned i = 0; i < LINES; i++) {
		char *end = strchr(at, '\n');
		assert_non_null(end);
		line[i] = strndup(at, (size_t)(end - at) + 1);
		at = end + 1;
	}
	line[LINES] = NULL;
	assert_int_equal(*at, 0);
	free(text);
	head = world_read(head_path, &n);
}

static void write_log(struct audit *a, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		char text[16];
		snprintf(text, sizeof(text), "%u", i);
		w.wall_ms += 1000;
		audit_note(a, i % 2 ? "PEER_CONNECT" : "AUTH_FAILURE", bytes_of("", 0), "n", text,
			   NULL);
	}
}

static int setup(void **state)
{
	struct audit *a;

	log_setup(&(struct log_config){.level = LOG_ERROR, .fd = 2});
	world_init(&w);
	keys = world_keys(&w);
	snprintf(head_path, sizeof(head_path), "%s/audit.head", w.dir);
	if (audit_open(w.log, keys, &w.env, &a, NULL) != ERR_OK)
		return 1;
	write_log(a, 0, LINES);
	audit_close(a);
	read_lines();
	return 0;
}

static int teardown(void **state)
{
	for (unsigned i = 0; i <= LINES; i++)
		free(line[i]);
	free(head);
	keyring_free(keys);
	world_fini(&w);
	return 0;
}

/* Writes the lines back in the order given, e.g. "01234567". */
static void put_back(const char *order)
{
	struct buf b;

	buf_init(&b, 1u << 20);
	for (; *order; order++)
		buf_add_str(&b, line[*order - '0']);
	world_write(w.log, b.p ? b.p : (const uint8_t *)"", b.n);
	buf_fini(&b);
}

static struct audit_report verify(void)
{
	struct audit_report r;

	assert_int_equal(audit_verify(w.log, keys, &r, NULL), ERR_OK);
	if (r.ok)
		assert_string_equal(r.why, "");
	else
		assert_true(*r.why);
	return r;
}

static void whole_log_verifies(void **state)
{
	struct audit_report r = verify();

	assert_true(r.ok && r.head_ok && r.head_present && !r.tail_cut);
	assert_int_equal(r.entries, LINES);
	assert_int_equal(r.head_entries, LINES);
	assert_int_equal(r.bad_line, 0);
	assert_non_null(strstr(line[LINES - 1], r.head));
}

static void every_changed_byte_is_found(void **state)
{
	size_t n;
	char *text = world_read(w.log, &n);

	for (size_t i = 0; i < n; i++) {
		char was = text[i];
		text[i] = (char)(was ^ 1);
		world_write(w.log, text, n);
		assert_false(verify().ok);
		text[i] = was;
	}
	free(text);
}

static void removed_moved_and_doubled_lines_are_found(void **state)
{
	static const struct {
		const char *order;
		unsigned bad;
	} CASES[] = {
		{"1234567", 1},	  {"0124567", 4},  {"10234567", 1},
		{"01243567", 4},  {"01234576", 7}, {"001234567", 2},
		{"012345677", 9}, {"7", 1},	   {"01237456", 5},
	};

	for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
		put_back(CASES[i].order);
		struct audit_report r = verify();
		assert_false(r.ok);
		assert_int_equal(r.bad_line, CASES[i].bad);
		assert_int_equal(r.entries, CASES[i].bad - 1);
	}
}

static void cut_tail_is_found_by_the_signed_head(void **state)
{
	static const char *const ORDER[] = {"", "0", "012", "0123456"};

	for (size_t i = 0; i < 4; i++) {
		put_back(ORDER[i]);
		struct audit_report r = verify();
		assert_false(r.ok);
		assert_true(r.tail_cut);
		assert_int_equal(r.bad_line, 0);
		assert_int_equal(r.entries, strlen(ORDER[i]));
		assert_non_null(strstr(r.why, "cut off"));
	}
	unlink(w.log);
	struct audit_report r = verify();
	assert_false(r.ok);
	assert_true(r.tail_cut);
	assert_non_null(strstr(r.why, "missing"));
	unlink(head_path);
	assert_int_equal(audit_verify(w.log, keys, &r, NULL), ERR_NOTFOUND);
}

static void cut_in_the_middle_of_a_line_is_torn(void **state)
{
	size_t n;
	char *text = world_read(w.log, &n);
	size_t last = strlen(line[LINES - 1]);

	/* Without its newline only, the last line is still whole. */
	world_write(w.log, text, n - 1);
	assert_true(verify().ok);
	for (size_t cut = 2; cut < last; cut += 11) {
		world_write(w.log, text, n - cut);
		struct audit_report r = verify();
		assert_false(r.ok);
		assert_int_equal(r.bad_line, LINES);
		assert_non_null(strstr(r.why, "torn"));
		assert_true(r.tail_cut);
	}
	free(text);
}

static void older_head_covers_less(void **state)
{
	struct audit *a;

	assert_int_equal(audit_open(w.log, keys, &w.env, &a, NULL), ERR_OK);
	write_log(a, 0, 5);
	audit_close(a);
	assert_int_equal(verify().head_entries, LINES + 5);
	world_write(head_path, head, strlen(head)); /* the one of before, replayed */
	struct audit_report r = verify();
	assert_true(r.ok);
	assert_true(r.head_ok);
	assert_int_equal(r.entries, LINES + 5);
	assert_int_equal(r.head_entries, LINES);
}

static void missing_head_is_said(void **state)
{
	unlink(head_path);
	struct audit_report r = verify();
	assert_true(r.ok);
	assert_false(r.head_present);
	assert_false(r.head_ok);
	assert_int_equal(r.head_entries, 0);
}

static void altered_or_foreign_head_is_found(void **state)
{
	size_t n = strlen(head);
	struct keyring *other = world_other_keys(&w);

	for (size_t i = 0; i < n - 1; i++) { /* all but the newline */
		head[i] ^= 1;
		world_write(head_path, head, n);
		struct audit_report r = verify();
		assert_false(r.ok);
		assert_true(r.head_present);
		assert_false(r.head_ok);
		head[i] ^= 1;
	}
	for (size_t keep = 0; keep < n - 1; keep += 13) {
		world_write(head_path, head, keep);
		assert_false(verify().ok);
	}
	assert_int_equal(audit_head_save(w.log, other, LINES, 0, AUDIT_GENESIS, 1), ERR_OK);
	assert_false(verify().ok);
	keyring_free(other);
}

/* Who has the audit key can write a chain that fits; the signed head still tells. */
static void rewritten_chain_is_found_by_the_signed_head(void **state)
{
	struct audit *a;

	unlink(w.log);
	unlink(head_path);
	assert_int_equal(audit_open(w.log, keys, &w.env, &a, NULL), ERR_OK);
	write_log(a, 20, 20 + LINES + 2);
	audit_close(a);
	assert_true(verify().ok);
	world_write(head_path, head, strlen(head));
	struct audit_report r = verify();
	assert_false(r.ok);
	assert_false(r.tail_cut);
	assert_int_equal(r.bad_line, 0);
	assert_non_null(strstr(r.why, "not the one that was signed"));
}

static void log_of_another_node_does_not_verify(void **state)
{
	struct keyring *other = world_other_keys(&w);
	struct audit_report r;

	assert_int_equal(audit_verify(w.log, other, &r, NULL), ERR_OK);
	assert_false(r.ok);
	assert_int_equal(r.bad_line, 1);
	assert_false(r.head_ok);
	keyring_free(other);
}

static void forged_head_is_noted_at_open(void **state)
{
	struct audit *a;
	json_t *list;

	head[20] ^= 1;
	world_write(head_path, head, strlen(head));
	assert_int_equal(audit_open(w.log, keys, &w.env, &a, NULL), ERR_OK);
	audit_close(a);
	assert_true(verify().ok);
	assert_int_equal(audit_tail(w.log, 1, &list, NULL), ERR_OK);
	assert_string_equal(json_str(json_array_get(list, 0), "event"), "AUDIT_HEAD_BAD");
	json_decref(list);
}

static void tail_gives_the_last_entries_oldest_first(void **state)
{
	json_t *list;

	for (size_t n = 0; n < LINES + 3; n++) {
		size_t want = n < LINES ? n : LINES;
		assert_int_equal(audit_tail(w.log, n, &list, NULL), ERR_OK);
		assert_int_equal(json_array_size(list), want);
		for (size_t i = 0; i < want; i++) {
			char text[16];
			snprintf(text, sizeof(text), "%zu", LINES - want + i);
			json_t *d = json_object_get(json_array_get(list, i), "details");
			assert_string_equal(json_str(d, "n"), text);
		}
		json_decref(list);
	}
	assert_int_equal(audit_tail("/nonexistent", 3, &list, NULL), ERR_NOTFOUND);
}

static void stats_count_the_words(void **state)
{
	json_t *j;

	assert_int_equal(audit_stats(w.log, &j, NULL), ERR_OK);
	assert_int_equal(json_integer_value(json_object_get(j, "entries")), LINES);
	json_t *events = json_object_get(j, "events");
	assert_int_equal(json_integer_value(json_object_get(events, "AUTH_FAILURE")), LINES / 2);
	assert_int_equal(json_integer_value(json_object_get(events, "PEER_CONNECT")), LINES / 2);
	assert_true(json_real_value(json_object_get(j, "first")) == 1753500001.25);
	assert_true(json_real_value(json_object_get(j, "last")) == 1753500000.25 + LINES);
	json_decref(j);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(whole_log_verifies),
		T(every_changed_byte_is_found),
		T(removed_moved_and_doubled_lines_are_found),
		T(cut_tail_is_found_by_the_signed_head),
		T(cut_in_the_middle_of_a_line_is_torn),
		T(older_head_covers_less),
		T(missing_head_is_said),
		T(altered_or_foreign_head_is_found),
		T(rewritten_chain_is_found_by_the_signed_head),
		T(log_of_another_node_does_not_verify),
		T(forged_head_is_noted_at_open),
		T(tail_gives_the_last_entries_oldest_first),
		T(stats_count_the_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
