#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/log.h"
#include "tests/lib/base_probe.h"

static struct {
	uint64_t now_ms;
	unsigned lines;
	enum log_level level;
	char last[4096];
	char before[4096];
} seen;

static uint64_t wall(void *ctx)
{
	return seen.now_ms;
}

static void tap(void *ctx, enum log_level level, const char *line)
{
	assert_ptr_equal(ctx, &seen);
	seen.lines++;
	seen.level = level;
	strcpy(seen.before, seen.last);
	snprintf(seen.last, sizeof(seen.last), "%s", line);
	assert_null(strchr(line, '\n'));
}

static void start(enum log_level level, enum log_format format)
{
	struct log_config c = {.level = level,
			       .format = format,
			       .fd = -1,
			       .wall_ms = wall,
			       .tap = tap,
			       .tap_ctx = &seen};

	log_setup(&c);
	memset(&seen, 0, sizeof(seen));
	seen.now_ms = 1767323045678;
}

#define STAMP "2026-01-02T03:04:05.678Z "

static void a_line_is_event_and_values(void **state)
{
	start(LOG_INFO, LOG_TEXT);
	log_info("delivered msg=%s peer=%s attempts=%u", "00ff", "alice", 3u);
	assert_string_equal(seen.last, STAMP "info delivered msg=00ff peer=alice attempts=3");
	log_error("store-failed err=%s", "io");
	assert_string_equal(seen.last, STAMP "error store-failed err=io");
	assert_int_equal(seen.level, LOG_ERROR);
}

static void levels_below_the_configured_one_are_silent(void **state)
{
	start(LOG_WARN, LOG_TEXT);
	log_info("x");
	log_debug("x");
	assert_int_equal(seen.lines, 0);
	log_warn("x");
	log_error("x");
	assert_int_equal(seen.lines, 2);
	assert_true(log_wants(LOG_WARN));
	assert_false(log_wants(LOG_INFO));
}

static int evaluated;

static const char *costly(void)
{
	evaluated++;
	return "x";
}

static void debug_arguments_are_not_evaluated_when_off(void **state)
{
	start(LOG_INFO, LOG_TEXT);
	evaluated = 0;
	log_debug("x v=%s", costly());
	assert_int_equal(evaluated, 0);
	start(LOG_DEBUG, LOG_TEXT);
	log_debug("x v=%s", costly());
	assert_int_equal(evaluated, 1);
	assert_int_equal(seen.lines, 1);
}

static void every_conversion_prints_as_printf_does(void **state)
{
	const char *volatile none = NULL; /* volatile: the compiler would warn, rightly */

	start(LOG_INFO, LOG_TEXT);
	log_info("x a=%d b=%u c=%ld d=%lu e=%lld f=%llu", -1, 4000000000u, -5L, 6UL,
		 INT64_MIN + 0LL, 18446744073709551615ULL);
	assert_string_equal(seen.last, STAMP "info x a=-1 b=4000000000 c=-5 d=6 "
					     "e=-9223372036854775808 f=18446744073709551615");
	log_info("x a=%zu b=%zd c=%x d=%04X e=%c f=%.2f g=%g", (size_t)7, (ssize_t)-7, 0xabu, 0xabu,
		 'q', 1.005, 0.5);
	assert_string_equal(seen.last, STAMP "info x a=7 b=-7 c=ab d=00AB e=q f=1.00 g=0.5");
	log_info("x a=%.*s b=%5s c=%.3s d=%d%% e=%02hhx f=%-4dz g=%s", 2, "abcdef", "r", "uvwxyz",
		 50, (unsigned char)9, 3, none);
	assert_string_equal(seen.last,
			    STAMP "info x a=ab b=\"    r\" c=uvw d=50% e=09 f=\"3   z\" g=-");
	log_info("x a=%s:%u b=%s/%s", "host", 80u, "p", "q");
	assert_string_equal(seen.last, STAMP "info x a=host:80 b=p/q");
	errno = ENOENT;
	log_info("x a=%m b=%d", 5);
	assert_string_equal(seen.last, STAMP "info x a=\"No such file or directory\" b=5");
	assert_int_equal(errno, ENOENT); /* a log call changes nothing for its caller */
}

static void a_value_cannot_make_up_a_key_or_a_line(void **state)
{
	start(LOG_INFO, LOG_TEXT);
	log_info("hello name=%s trust=%s", "bob trust=verified", "none");
	assert_string_equal(seen.last, STAMP "info hello name=\"bob trust=verified\" trust=none");
	log_info("hello name=%s", "a\nerror fake x=1\x1b[31m");
	assert_string_equal(seen.last, STAMP "info hello name=\"a?error fake x=1?[31m\"");
	log_info("hello name=%s", "say \"hi\" \\o/");
	assert_string_equal(seen.last, STAMP "info hello name=\"say \\\"hi\\\" \\\\o/\"");
	log_info("hello name=%s next=%d", "", 1);
	assert_string_equal(seen.last, STAMP "info hello name=\"\" next=1");
	log_info("hello name=%s", "x=y");
	assert_string_equal(seen.last, STAMP "info hello name=\"x=y\"");
	log_info("hello name=\"%s\"", "p q");
	assert_string_equal(seen.last, STAMP "info hello name=\"p q\"");
	log_info("hello name=%s", "\xff\xe2\x80\xae");
	assert_string_equal(seen.last, STAMP "info hello name=??");
}

static void quoted_text_of_a_format_is_one_value(void **state)
{
	start(LOG_INFO, LOG_TEXT);
	log_info("pending next=\"ironmesh peers approve %s\" n=%d", "ab\" c", 7);
	assert_string_equal(seen.last, STAMP "info pending next=\"ironmesh peers approve ab\\\" c\" n=7");
	start(LOG_INFO, LOG_JSON);
	log_info("rotates next=\"ironmesh trust list\"");
	assert_non_null(strstr(seen.last, "\"next\":\"ironmesh trust list\"}"));
}

static void json_lines_are_json(void **state)
{
	json_t *v;
	json_error_t why;

	start(LOG_INFO, LOG_JSON);
	log_warn("hello name=%s n=%d r=%.1f mix=%d/%d plain word=%s", "q\"\\\n\xc3\xbc", -5, 1.5, 1,
		 2, "w");
	v = json_loads(seen.last, JSON_REJECT_DUPLICATES, &why);
	assert_non_null(v);
	assert_string_equal(json_string_value(json_object_get(v, "time")),
			    "2026-01-02T03:04:05.678Z");
	assert_string_equal(json_string_value(json_object_get(v, "level")), "warn");
	assert_string_equal(json_string_value(json_object_get(v, "event")), "hello");
	assert_string_equal(json_string_value(json_object_get(v, "name")), "q\"\\?\xc3\xbc");
	assert_int_equal(json_integer_value(json_object_get(v, "n")), -5);
	assert_string_equal(json_string_value(json_object_get(v, "r")), "1.5");
	assert_string_equal(json_string_value(json_object_get(v, "mix")), "1/2");
	assert_string_equal(json_string_value(json_object_get(v, "word5")), "plain");
	json_decref(v);
	log_info("x padded=%05d", 7); /* a leading zero is no JSON number */
	v = json_loads(seen.last, 0, &why);
	assert_non_null(v);
	json_decref(v);
}

static void long_lines_are_cut_between_tokens(void **state)
{
	char big[5000];
	json_t *v;
	json_error_t why;

	memset(big, '"', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	start(LOG_INFO, LOG_TEXT);
	log_info("x a=%s b=%s c=%s d=%s e=%s tail=%d", big, big, big, big, big, 7);
	assert_true(strlen(seen.last) < 2048);
	assert_string_equal(seen.last + strlen(seen.last) - 4, " ...");
	start(LOG_INFO, LOG_JSON);
	log_info("x a=%s b=%s c=%s d=%s e=%s tail=%d", big, big, big, big, big, 7);
	assert_true(strlen(seen.last) < 2048);
	v = json_loads(seen.last, 0, &why);
	assert_non_null(v);
	json_decref(v);
	log_info("%s", big);
	v = json_loads(seen.last, 0, &why);
	assert_non_null(v);
	json_decref(v);
}

static void a_repeated_event_is_held_back_and_summarized(void **state)
{
	start(LOG_INFO, LOG_TEXT);
	for (int i = 0; i < LOG_BURST + 5; i++)
		log_info("flood n=%d", i);
	assert_int_equal(seen.lines, LOG_BURST);
	log_info("other"); /* has its own count */
	assert_int_equal(seen.lines, LOG_BURST + 1);
	seen.now_ms += LOG_WINDOW_MS - 1;
	log_info("flood n=%d", 100);
	assert_int_equal(seen.lines, LOG_BURST + 1);
	seen.now_ms += 1;
	log_info("flood n=%d", 101);
	assert_int_equal(seen.lines, LOG_BURST + 3);
	assert_non_null(strstr(seen.before, "info log-suppressed event=flood count=6"));
	assert_non_null(strstr(seen.last, "info flood n=101"));
}

static void another_event_brings_the_summary_too(void **state)
{
	start(LOG_INFO, LOG_TEXT);
	for (int i = 0; i < LOG_BURST + 2; i++)
		log_info("flood");
	seen.now_ms += LOG_WINDOW_MS;
	log_info("other");
	assert_non_null(strstr(seen.before, "log-suppressed event=flood count=2"));
	log_flush();
	assert_int_equal(seen.lines, LOG_BURST + 2); /* said once */
}

static void flush_writes_the_summary_now(void **state)
{
	start(LOG_INFO, LOG_JSON);
	for (int i = 0; i < LOG_BURST + 2; i++)
		log_warn("flood");
	log_flush();
	assert_non_null(strstr(seen.last, "\"level\":\"warn\",\"event\":\"log-suppressed\","));
	assert_int_equal(seen.lines, LOG_BURST + 1);
	/* A change of the sink does the same, into the old one. */
	log_warn("flood");
	start(LOG_INFO, LOG_TEXT);
	assert_int_equal(seen.lines, 0);
}

static void errors_are_never_held_back(void **state)
{
	start(LOG_INFO, LOG_TEXT);
	for (int i = 0; i < 3 * LOG_BURST; i++)
		log_error("flood");
	assert_int_equal(seen.lines, 3 * LOG_BURST);
}

static void long_event_words_are_counted_as_well(void **state)
{
	start(LOG_INFO, LOG_TEXT);
	for (int i = 0; i < 3 * LOG_BURST; i++)
		log_info("an-event-word-that-is-much-longer-than-the-table-has-room-for n=%d", i);
	assert_int_equal(seen.lines, LOG_BURST);
}

static void more_words_than_the_table_holds_lose_no_count(void **state)
{
	start(LOG_INFO, LOG_TEXT);
	for (int i = 0; i < LOG_BURST + 3; i++)
		log_info("flood");
	for (int i = 0; i < 300; i++) {
		seen.now_ms++;
		log_info("event-%d", i);
	}
	/* 20 lines of the flood, 300 others, and one summary when the flood's slot was taken */
	assert_int_equal(seen.lines, LOG_BURST + 300 + 1);
}

static void a_clock_that_steps_back_opens_a_new_window(void **state)
{
	start(LOG_INFO, LOG_TEXT);
	for (int i = 0; i < LOG_BURST + 5; i++)
		log_info("flood");
	seen.now_ms -= 3600000;
	log_info("flood");
	assert_non_null(strstr(seen.last, "info flood"));
}

static char *whole(int fd)
{
	static char text[4096];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	assert_true(n >= 0);
	text[n] = '\0';
	return text;
}

static void lines_go_to_the_descriptor(void **state)
{
	const char *dir = probe_dir_new();
	int fd = open(probe_path(dir, "log"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct log_config c = {.level = LOG_INFO, .fd = fd, .wall_ms = wall};

	start(LOG_INFO, LOG_TEXT);
	log_setup(&c);
	log_info("x a=%d", 1);
	log_warn("y");
	assert_string_equal(whole(fd), STAMP "info x a=1\n" STAMP "warn y\n");
	start(LOG_INFO, LOG_TEXT);
	close(fd);
	probe_dir_remove(dir);
}

static void the_journal_gets_priorities_and_no_time(void **state)
{
	const char *dir = probe_dir_new();
	int fd = open(probe_path(dir, "log"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct log_config c = {.level = LOG_DEBUG, .fd = fd, .wall_ms = wall};
	struct stat st;
	char stream[64];

	assert_int_equal(fstat(fd, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_setup(&c);
	log_error("a");
	log_warn("b");
	log_info("c");
	log_debug("d");
	assert_string_equal(whole(fd), "<3>a\n<4>b\n<6>c\n<7>d\n");
	setenv("JOURNAL_STREAM", "1:1", 1); /* somebody redirected stderr */
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	start(LOG_DEBUG, LOG_TEXT);
	log_setup(&c);
	log_info("e");
	assert_string_equal(whole(fd), STAMP "info e\n");
	unsetenv("JOURNAL_STREAM");
	start(LOG_INFO, LOG_TEXT);
	close(fd);
	probe_dir_remove(dir);
}

static void *many(void *ctx)
{
	for (int i = 0; i < 200; i++)
		log_error("from-thread n=%d", i);
	return NULL;
}

static void threads_do_not_mix_lines(void **state)
{
	pthread_t t[4];

	start(LOG_INFO, LOG_TEXT);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, many, NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(seen.lines, 800);
}

static void words_for_level_and_format_are_fixed(void **state)
{
	enum log_level l = LOG_INFO;
	enum log_format f = LOG_TEXT;

	assert_int_equal(log_level_parse("error", &l), ERR_OK);
	assert_int_equal(l, LOG_ERROR);
	assert_int_equal(log_level_parse("debug", &l), ERR_OK);
	assert_int_equal(l, LOG_DEBUG);
	assert_int_equal(log_level_parse("DEBUG", &l), ERR_USAGE);
	assert_int_equal(log_level_parse("", &l), ERR_USAGE);
	assert_int_equal(l, LOG_DEBUG);
	assert_int_equal(log_format_parse("json", &f), ERR_OK);
	assert_int_equal(f, LOG_JSON);
	assert_int_equal(log_format_parse("xml", &f), ERR_USAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_is_event_and_values),
		cmocka_unit_test(levels_below_the_configured_one_are_silent),
		cmocka_unit_test(debug_arguments_are_not_evaluated_when_off),
		cmocka_unit_test(every_conversion_prints_as_printf_does),
		cmocka_unit_test(a_value_cannot_make_up_a_key_or_a_line),
		cmocka_unit_test(quoted_text_of_a_format_is_one_value),
		cmocka_unit_test(json_lines_are_json),
		cmocka_unit_test(long_lines_are_cut_between_tokens),
		cmocka_unit_test(a_repeated_event_is_held_back_and_summarized),
		cmocka_unit_test(another_event_brings_the_summary_too),
		cmocka_unit_test(flush_writes_the_summary_now),
		cmocka_unit_test(errors_are_never_held_back),
		cmocka_unit_test(long_event_words_are_counted_as_well),
		cmocka_unit_test(more_words_than_the_table_holds_lose_no_count),
		cmocka_unit_test(a_clock_that_steps_back_opens_a_new_window),
		cmocka_unit_test(lines_go_to_the_descriptor),
		cmocka_unit_test(the_journal_gets_priorities_and_no_time),
		cmocka_unit_test(threads_do_not_mix_lines),
		cmocka_unit_test(words_for_level_and_format_are_fixed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
