#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "base/text.h"
#include "store/audit_internal.h"
#include "tests/lib/store_world.h"

/* wire 11.9, seed of zeroes */
static const char VECTOR[] = "{\"details\":{\"name\":\"alice\",\"node_id\":"
			     "\"139e3940e64b5491722088d9a0d74162\",\"port\":8765},"
			     "\"event\":\"STARTUP\",\"hmac\":"
			     "\"079cb11bb983b3c437ee10da377b4c432f1c0a60e569690b5c1b76d536007738\","
			     "\"timestamp\":1753500000.25}\n"
			     "{\"details\":{\"peer_id\":\"28fff9342c7030d3d899cc9e7bc11878\","
			     "\"trust_state\":\"trusted\"},"
			     "\"event\":\"TOFU_NEW_PEER\",\"hmac\":"
			     "\"29e17731ee72369afe8c1f4589be91d5b8de4490ec2458fb1e7de2e9e91166b4\","
			     "\"timestamp\":1753500001.0}\n";

static struct world w;
static struct keyring *keys;

static int setup(void **state)
{
	log_setup(&(struct log_config){.level = LOG_ERROR, .fd = 2});
	world_init(&w);
	keys = world_keys(&w);
	return 0;
}

static int teardown(void **state)
{
	keyring_free(keys);
	world_fini(&w);
	return 0;
}

static struct audit *opened(void)
{
	struct audit *a = NULL;
	struct fault f = {0};

	if (audit_open(w.log, keys, &w.env, &a, &f) != ERR_OK)
		fail_msg("audit_open: %s", f.what);
	return a;
}

static void note(struct audit *a, unsigned n)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", n);
	audit_note(a, "PEER_CONNECT", bytes_of("", 0), "n", text, NULL);
}

static void write_vector(struct audit *a)
{
	w.wall_ms = 1753500000250;
	audit_event(a, "STARTUP", bytes_of("", 0),
		    json_pack("{s:i, s:s, s:s}", "port", 8765, "node_id",
			      "139e3940e64b5491722088d9a0d74162", "name", "alice"));
	w.wall_ms = 1753500001000;
	audit_note(a, "TOFU_NEW_PEER", bytes_of("", 0), "peer_id",
		   "28fff9342c7030d3d899cc9e7bc11878", "trust_state", "trusted", NULL);
}

static struct audit_report verified(void)
{
	struct audit_report r;

	assert_int_equal(audit_verify(w.log, keys, &r, NULL), ERR_OK);
	return r;
}

/* The nth entry of the log from the end, 0 = last. */
static json_t *entry(size_t back)
{
	json_t *list, *e;

	assert_int_equal(audit_tail(w.log, back + 1, &list, NULL), ERR_OK);
	assert_int_equal(json_array_size(list), back + 1);
	e = json_incref(json_array_get(list, 0));
	json_decref(list);
	return e;
}

static void assert_event(size_t back, const char *event)
{
	json_t *e = entry(back);

	assert_string_equal(json_str(e, "event"), event);
	json_decref(e);
}

static void two_entries_are_written_as_in_the_vector(void **state)
{
	struct secret key;
	char hex[65];
	size_t n;
	struct audit *a = opened();

	assert_int_equal(keyring_derive(keys, DERIVE_AUDIT, &key), ERR_OK);
	hex_encode(secret_bytes(&key), hex);
	assert_string_equal(hex,
			    "6f745187a1eee402a6369e0eec37e2f8d9d5c6033568ad2e1d786f3cd09cda72");
	secret_free(&key);
	write_vector(a);
	assert_true(audit_pending(a));
	assert_int_equal(audit_flush(a), ERR_OK);
	assert_false(audit_pending(a));
	char *text = world_read(w.log, &n);
	assert_string_equal(text, VECTOR);
	free(text);
	assert_int_equal(audit_entries(a), 2);
	audit_close(a);
}

static void chain_of_upstream_is_continued(void **state)
{
	/* Its last line may lack a newline: upstream puts one before the next line. */
	for (int newline = 0; newline < 2; newline++) {
		char head[160];
		snprintf(head, sizeof(head), "%s/audit.head", w.dir);
		unlink(head);
		world_write(w.log, VECTOR, sizeof(VECTOR) - 1 - (newline == 0));
		struct audit *a = opened();
		note(a, 1);
		audit_close(a);
		struct audit_report r = verified();
		assert_true(r.ok);
		assert_int_equal(r.entries, 4); /* one says that there was no signed head */
		assert_event(1, "AUDIT_HEAD_BAD");
		assert_true(r.head_ok);
		assert_int_equal(r.head_entries, 4);
	}
}

static void chain_goes_on_after_reopening(void **state)
{
	for (unsigned round = 0; round < 5; round++) {
		struct audit *a = opened();
		assert_int_equal(audit_entries(a), round * 3);
		for (unsigned i = 0; i < 3; i++)
			note(a, i);
		audit_close(a);
	}
	struct audit_report r = verified();
	assert_true(r.ok);
	assert_int_equal(r.entries, 15);
	assert_int_equal(r.head_entries, 15);
	assert_string_equal(r.why, "");
}

static void what_was_not_flushed_is_not_in_the_file(void **state)
{
	struct audit *a = opened();
	size_t n;

	note(a, 1);
	assert_int_equal(audit_flush(a), ERR_OK);
	char *before = world_read(w.log, &n);
	note(a, 2);
	note(a, 3);
	char *after = world_read(w.log, &n);
	assert_string_equal(before, after);
	free(before);
	free(after);
	audit_close(a);
	assert_int_equal(verified().entries, 3);
}

static void second_writer_is_refused(void **state)
{
	struct audit *a = opened(), *b = NULL;
	struct fault f = {0};

	assert_int_equal(audit_open(w.log, keys, &w.env, &b, &f), ERR_AGAIN);
	assert_null(b);
	assert_int_equal(f.code, EXIT_RETRY);
	audit_close(a);
	b = opened();
	audit_close(b);
	audit_close(NULL);
}

static void memory_only_log_writes_nothing(void **state)
{
	struct audit *a;

	assert_int_equal(audit_open(NULL, keys, &w.env, &a, NULL), ERR_OK);
	for (unsigned i = 0; i < 3; i++)
		note(a, i);
	assert_int_equal(audit_flush(a), ERR_OK);
	assert_int_equal(audit_entries(a), 3);
	assert_false(audit_pending(a));
	assert_int_equal(audit_checkpoint(a), ERR_OK);
	audit_close(a);
}

static void details_are_bounded_and_always_valid(void **state)
{
	struct audit *a = opened();
	char *big = malloc(AUDIT_DETAILS_MAX + 1);

	memset(big, 'x', AUDIT_DETAILS_MAX);
	big[AUDIT_DETAILS_MAX] = 0;
	audit_note(a, "AUTH_FAILURE", bytes_of("", 0), "text", big, NULL);
	audit_note(a, "AUTH_FAILURE", bytes_of("", 0), "text", "bad \xff utf-8 \n \x7f", NULL);
	audit_event(a, "SHUTDOWN", bytes_of("", 0), NULL);
	audit_close(a);
	free(big);
	assert_true(verified().ok);
	json_t *e = entry(2), *d = json_object_get(e, "details");
	assert_true(json_is_true(json_object_get(d, "oversize")));
	json_decref(e);
	e = entry(1);
	assert_string_equal(json_str(json_object_get(e, "details"), "text"), "bad ? utf-8 ? ?");
	json_decref(e);
	e = entry(0);
	assert_int_equal(json_object_size(json_object_get(e, "details")), 0);
	json_decref(e);
}

static void torn_tail_is_cut_and_its_trace_kept(void **state)
{
	for (size_t keep = 1; keep < 120; keep += 7) {
		size_t n;
		char head[160];
		snprintf(head, sizeof(head), "%s/audit.head", w.dir);
		unlink(w.log);
		unlink(head);
		struct audit *a = opened();
		note(a, 1);
		note(a, 2);
		audit_close(a);
		/* A crash in the middle of the third line. */
		char *text = world_read(w.log, &n);
		char *more = malloc(n + keep);
		memcpy(more, text, n);
		memcpy(more + n, text, keep);
		world_write(w.log, more, n + keep);
		free(text);
		free(more);
		struct audit_report r = verified();
		assert_false(r.ok);
		assert_int_equal(r.bad_line, 3);
		assert_non_null(strstr(r.why, "torn"));
		a = opened();
		note(a, 3);
		audit_close(a);
		r = verified();
		assert_true(r.ok);
		assert_int_equal(r.entries, 4);
		json_t *e = entry(1);
		assert_string_equal(json_str(e, "event"), "LOG_TORN_TAIL");
		assert_int_equal(
			json_integer_value(json_object_get(json_object_get(e, "details"), "bytes")),
			keep);
		json_decref(e);
	}
}

static char *broken_file(void)
{
	char command[256], line[256] = "";
	FILE *p;

	snprintf(command, sizeof(command), "ls %s | grep 'audit.log.broken-[0-9]*$'", w.dir);
	p = popen(command, "r");
	assert_non_null(p);
	if (!fgets(line, sizeof(line), p))
		line[0] = 0;
	pclose(p);
	line[strcspn(line, "\n")] = 0;
	return *line ? strdup(line) : NULL;
}

static void broken_chain_is_kept_aside_and_named(void **state)
{
	struct audit *a = opened();
	size_t n, kept_n;
	char path[256], tail[65];

	for (unsigned i = 0; i < 5; i++)
		note(a, i);
	audit_close(a);
	char *text = world_read(w.log, &n);
	char *at = strstr(text, "\"n\":\"2\"");
	at[5] = '7';
	world_write(w.log, text, n);
	struct audit_report r = verified();
	assert_false(r.ok);
	assert_int_equal(r.bad_line, 3);
	assert_int_equal(r.entries, 2);
	memcpy(tail, r.head, sizeof(tail));
	a = opened();
	note(a, 9);
	audit_close(a);
	r = verified();
	assert_true(r.ok);
	assert_int_equal(r.entries, 2);
	json_t *e = entry(1), *d = json_object_get(e, "details");
	char *name = broken_file();
	assert_non_null(name);
	assert_string_equal(json_str(e, "event"), "LOG_ROTATED");
	assert_string_equal(json_str(d, "previous_file"), name);
	assert_string_equal(json_str(d, "previous_tail_hmac"), tail);
	assert_non_null(strstr(json_str(d, "reason"), "line 3"));
	snprintf(path, sizeof(path), "%s/%s", w.dir, name);
	char *kept = world_read(path, &kept_n);
	assert_int_equal(kept_n, n);
	assert_memory_equal(kept, text, n);
	free(kept);
	free(text);
	free(name);
	json_decref(e);
}

static void cut_tail_and_removed_log_are_noticed_at_open(void **state)
{
	for (int removed = 0; removed < 2; removed++) {
		struct audit *a = opened();
		size_t n;
		for (unsigned i = 0; i < 4; i++)
			note(a, i);
		audit_close(a);
		char *text = world_read(w.log, &n);
		if (removed)
			unlink(w.log);
		else
			world_write(w.log, text, (size_t)(strchr(text, '\n') - text) + 1);
		free(text);
		a = opened();
		audit_close(a);
		struct audit_report r = verified();
		assert_true(r.ok);
		assert_int_equal(r.entries, 1);
		json_t *e = entry(0);
		assert_string_equal(json_str(e, "event"), "LOG_ROTATED");
		assert_non_null(strstr(json_str(json_object_get(e, "details"), "reason"),
				       removed ? "missing" : "cut off"));
		json_decref(e);
	}
}

static void one_source_cannot_flood_the_log(void **state)
{
	struct audit *a = opened();

	for (unsigned i = 0; i < 50; i++)
		audit_note(a, "AUTH_FAILURE", BYTES_LIT("192.0.2.1"), "n", "x", NULL);
	for (unsigned i = 0; i < 3; i++)
		audit_note(a, "AUTH_FAILURE", BYTES_LIT("192.0.2.2"), "n", "x", NULL);
	for (unsigned i = 0; i < 7; i++)
		audit_note(a, "DECRYPT_FAILURE", BYTES_LIT("192.0.2.1"), "n", "x", NULL);
	assert_int_equal(audit_entries(a), AUDIT_BURST + 3 + AUDIT_BURST);
	assert_int_equal(audit_flush(a), ERR_OK);
	assert_int_equal(audit_entries(a), AUDIT_BURST + 3 + AUDIT_BURST);
	/* The window ends: the counts follow by themselves. */
	w.now_ms += AUDIT_WINDOW_MS;
	assert_true(audit_pending(a));
	assert_int_equal(audit_flush(a), ERR_OK);
	assert_int_equal(audit_entries(a), AUDIT_BURST + 3 + AUDIT_BURST + 2);
	assert_false(audit_pending(a));
	json_t *list;
	assert_int_equal(audit_tail(w.log, 2, &list, NULL), ERR_OK);
	int64_t sum = 0;
	for (size_t i = 0; i < 2; i++) {
		json_t *e = json_array_get(list, i), *d = json_object_get(e, "details");
		assert_string_equal(json_str(e, "event"), "AUDIT_SUPPRESSED");
		assert_string_equal(json_str(d, "source"), "192.0.2.1");
		sum += json_integer_value(json_object_get(d, "count"));
	}
	assert_int_equal(sum, 45 + 2);
	json_decref(list);
	/* A new window begins with a fresh burst. */
	audit_note(a, "AUTH_FAILURE", BYTES_LIT("192.0.2.1"), NULL);
	assert_true(audit_pending(a));
	audit_close(a);
	assert_true(verified().ok);
}

static void many_sources_together_cannot_flood_it_either(void **state)
{
	struct audit *a = opened();

	for (unsigned i = 0; i < 20000; i++) {
		char source[32];
		int n = snprintf(source, sizeof(source), "2001:db8:%x::/64", i);
		audit_note(a, "AUTH_FAILURE", bytes_of(source, (size_t)n), NULL);
	}
	assert_int_equal(audit_entries(a), AUDIT_WORD_BURST);
	/* Our own events are not limited. */
	for (unsigned i = 0; i < 200; i++)
		note(a, i);
	assert_int_equal(audit_entries(a), AUDIT_WORD_BURST + 200);
	audit_close(a); /* tells what is still owed */
	json_t *e = entry(0);
	assert_string_equal(json_str(e, "event"), "AUDIT_SUPPRESSED");
	assert_string_equal(json_str(json_object_get(e, "details"), "source"), "all");
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(e, "details"), "count")),
		20000 - AUDIT_WORD_BURST);
	json_decref(e);
}

static void rotated_log_starts_a_chain_that_names_the_old_tail(void **state)
{
	struct audit *a = opened();
	char text[4000], path[192];
	struct audit_report r;
	struct stat st;

	memset(text, 't', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	/* Seven times full: five old ones are kept. */
	for (unsigned i = 0; i < 7 * (AUDIT_ROTATE_BYTES / 4000); i++) {
		audit_note(a, "PEER_CONNECT", bytes_of("", 0), "text", text, NULL);
		if (i % 200 == 0)
			assert_int_equal(audit_flush(a), ERR_OK);
	}
	audit_close(a);
	for (unsigned i = 0; i <= AUDIT_KEEP + 1; i++) {
		snprintf(path, sizeof(path), i ? "%s.%u" : "%s", w.log, i);
		if (i > AUDIT_KEEP) {
			assert_int_not_equal(stat(path, &st), 0);
			break;
		}
		assert_int_equal(audit_verify(path, keys, &r, NULL), ERR_OK);
		assert_true(r.ok);
		assert_true(r.head_ok);
		assert_int_equal(r.head_entries,
				 r.entries); /* the old ones are signed to their end */
		if (i == 0)
			continue;
		assert_int_equal(stat(path, &st), 0);
		assert_true(st.st_size >= (off_t)AUDIT_ROTATE_BYTES &&
			    st.st_size < (off_t)AUDIT_ROTATE_BYTES + (2 << 20));
	}
	/* The first entry of the log is the link; cutting the old file shows in the new one. */
	char tail[65];
	uint64_t rotation;
	snprintf(path, sizeof(path), "%s.1", w.log);
	assert_int_equal(audit_last_hmac(path, tail, &rotation), ERR_OK);
	size_t n;
	char *log = world_read(w.log, &n);
	assert_non_null(strstr(log, tail));
	assert_true(strstr(log, "\"event\":\"LOG_ROTATED\"") < strchr(log, '\n'));
	free(log);
	char *old = world_read(path, &n);
	old[n - 1] = 0;
	world_write(path, old, (size_t)(strrchr(old, '\n') - old) + 1);
	free(old);
	r = verified();
	assert_false(r.ok);
	assert_non_null(strstr(r.why, "file before this one"));
	unlink(path); /* archived elsewhere is no fault */
	assert_true(verified().ok);
}

static void interrupted_rotation_is_finished_at_open(void **state)
{
	struct audit *a = opened();
	char old[192], head[192], tail[65];
	uint64_t rotation;

	note(a, 1);
	note(a, 2);
	audit_close(a);
	/* As rotate() leaves it between its steps: the head moved first, then the file. */
	snprintf(old, sizeof(old), "%s/audit.head", w.dir);
	snprintf(head, sizeof(head), "%s.1.head", w.log);
	assert_int_equal(rename(old, head), 0);
	snprintf(old, sizeof(old), "%s.1", w.log);
	assert_int_equal(rename(w.log, old), 0);
	assert_int_equal(audit_last_hmac(old, tail, &rotation), ERR_OK);
	a = opened();
	audit_close(a);
	struct audit_report r = verified();
	assert_true(r.ok);
	assert_int_equal(r.entries, 1);
	json_t *e = entry(0), *d = json_object_get(e, "details");
	assert_string_equal(json_str(e, "event"), "LOG_ROTATED");
	assert_string_equal(json_str(d, "previous_tail_hmac"), tail);
	assert_int_equal(json_integer_value(json_object_get(d, "rotation")), 1);
	json_decref(e);
}

static void full_disk_keeps_entries_pending_and_the_chain_whole(void **state)
{
	struct audit *a = opened();
	struct rlimit was, small;
	unsigned i;

	note(a, 0);
	assert_int_equal(audit_flush(a), ERR_OK);
	void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	small = was;
	small.rlim_cur = 700; /* in the middle of a line */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	for (i = 1; i < 8; i++)
		note(a, i);
	assert_int_not_equal(audit_flush(a), ERR_OK);
	assert_true(audit_pending(a));
	note(a, i);
	assert_int_not_equal(audit_flush(a), ERR_OK);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	signal(SIGXFSZ, handler);
	assert_int_equal(audit_flush(a), ERR_OK);
	audit_close(a);
	struct audit_report r = verified();
	assert_true(r.ok);
	assert_int_equal(r.entries, 9);
}

static void events_that_found_no_room_are_counted(void **state)
{
	struct audit *a = opened();
	char text[8000];
	unsigned n = 800;

	memset(text, 't', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	for (unsigned i = 0; i < n; i++) /* more than may be pending */
		audit_note(a, "PEER_CONNECT", bytes_of("", 0), "text", text, NULL);
	uint64_t kept = audit_entries(a);
	assert_in_range(kept, 400, 700);
	assert_int_equal(audit_flush(a), ERR_OK);
	note(a, 1);
	audit_close(a);
	assert_true(verified().ok);
	json_t *e = entry(1);
	assert_string_equal(json_str(e, "event"), "AUDIT_LOST");
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(e, "details"), "count")),
		n - kept);
	json_decref(e);
}

static void files_are_private(void **state)
{
	static const char *const FILES[] = {"audit.log", "audit.log.lock", "audit.head"};
	struct audit *a = opened();
	struct stat st;

	note(a, 1);
	audit_close(a);
	for (size_t i = 0; i < 3; i++) {
		char path[160];
		snprintf(path, sizeof(path), "%s/%s", w.dir, FILES[i]);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 077, 0);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(two_entries_are_written_as_in_the_vector),
		T(chain_of_upstream_is_continued),
		T(chain_goes_on_after_reopening),
		T(what_was_not_flushed_is_not_in_the_file),
		T(second_writer_is_refused),
		T(memory_only_log_writes_nothing),
		T(details_are_bounded_and_always_valid),
		T(torn_tail_is_cut_and_its_trace_kept),
		T(broken_chain_is_kept_aside_and_named),
		T(cut_tail_and_removed_log_are_noticed_at_open),
		T(one_source_cannot_flood_the_log),
		T(many_sources_together_cannot_flood_it_either),
		T(rotated_log_starts_a_chain_that_names_the_old_tail),
		T(interrupted_rotation_is_finished_at_open),
		T(full_disk_keeps_entries_pending_and_the_chain_whole),
		T(events_that_found_no_room_are_counted),
		T(files_are_private),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
