#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/options.h"
#include "cli/suggest.h"

static const struct opt first[] = {
	{ "wait", 0, OPT_DURATION_MAYBE, "DURATION", "" },
	{ "ttl", 0, OPT_DURATION, "DURATION", "" },
	{ "priority", 0, OPT_WORD, "low|normal|high", "" },
	{ "limit", 0, OPT_NUMBER, "N", "", 1, 1000 },
	{ "file", 'f', OPT_TEXT, "FILE", "" },
	{ 0 },
};
static const struct opt second[] = {
	{ "quiet", 'q', OPT_FLAG, NULL, "" },
	{ "verbose", 'v', OPT_FLAG, NULL, "" },
	{ 0 },
};
static const struct opt *const tables[] = { first, second, NULL };

static struct options o;
static struct fault f;

#define PARSE(...)                                                                                 \
	({                                                                                         \
		static char *argv_[] = { (char *)"x", __VA_ARGS__, NULL };                         \
		f = (struct fault){ 0 };                                                           \
		options_parse(tables, (int)(sizeof(argv_) / sizeof(argv_[0])) - 1, argv_, &o, &f); \
	})
#define S (char *)

static void options_stand_before_between_and_after_arguments(void **state)
{
	assert_int_equal(PARSE(S"-q", S"bob", S"--limit", S"7", S"hi", S"--file=x"), ERR_OK);
	assert_int_equal(o.argc, 2);
	assert_string_equal(o.argv[0], "bob");
	assert_string_equal(o.argv[1], "hi");
	assert_true(options_given(&o, "quiet"));
	assert_int_equal(options_get(&o, "limit")->number, 7);
	assert_string_equal(options_text(&o, "file"), "x");
	assert_false(options_given(&o, "verbose"));
	assert_null(options_text(&o, "priority"));
}

static void repeated_flags_are_counted_also_as_letters(void **state)
{
	assert_int_equal(PARSE(S"-vqv", S"--verbose"), ERR_OK);
	assert_int_equal(options_get(&o, "verbose")->given, 3);
	assert_int_equal(options_get(&o, "quiet")->given, 1);
}

static void two_dashes_end_the_options(void **state)
{
	assert_int_equal(PARSE(S"bob", S"--", S"--quiet", S"-5"), ERR_OK);
	assert_int_equal(o.argc, 3);
	assert_string_equal(o.argv[1], "--quiet");
	assert_false(options_given(&o, "quiet"));
}

static void one_dash_is_an_argument(void **state)
{
	assert_int_equal(PARSE(S"bob", S"-", S"-q"), ERR_OK);
	assert_int_equal(o.argc, 2);
	assert_string_equal(o.argv[1], "-");
}

static void a_duration_behind_wait_belongs_to_it(void **state)
{
	assert_int_equal(PARSE(S"bob", S"hi", S"--wait", S"5s"), ERR_OK);
	assert_int_equal(options_get(&o, "wait")->number, 5000);
	assert_int_equal(o.argc, 2);
	assert_int_equal(PARSE(S"--wait", S"250ms", S"bob", S"hi"), ERR_OK);
	assert_int_equal(options_get(&o, "wait")->number, 250);
	assert_int_equal(o.argc, 2);
	assert_string_equal(o.argv[0], "bob");
	assert_int_equal(PARSE(S"--wait=1.5s", S"bob"), ERR_OK);
	assert_int_equal(options_get(&o, "wait")->number, 1500);
	assert_int_equal(PARSE(S"bob", S"a", S"--wait", S"2m", S"-q", S"b"), ERR_OK);
	assert_int_equal(options_get(&o, "wait")->number, 120000);
	assert_int_equal(o.argc, 3);
	assert_string_equal(o.argv[2], "b");
}

static void other_words_behind_wait_are_arguments(void **state)
{
	assert_int_equal(PARSE(S"bob", S"--wait", S"hello"), ERR_OK);
	assert_true(options_given(&o, "wait"));
	assert_null(options_text(&o, "wait"));
	assert_int_equal(o.argc, 2);
	assert_string_equal(o.argv[1], "hello");
	assert_int_equal(PARSE(S"bob", S"--wait"), ERR_OK);
	assert_true(options_given(&o, "wait"));
	assert_int_equal(PARSE(S"bob", S"--wait", S"--quiet"), ERR_OK);
	assert_true(options_given(&o, "quiet"));
}

static void bad_durations_are_named(void **state)
{
	assert_int_equal(PARSE(S"--wait=soon"), ERR_USAGE);
	assert_int_equal(f.code, EXIT_USAGE);
	assert_string_equal(f.what, "--wait cannot be 'soon'");
	assert_int_equal(PARSE(S"--ttl", S"-1s"), ERR_USAGE);
	assert_int_equal(PARSE(S"--ttl", S"5 s"), ERR_USAGE);
	assert_int_equal(PARSE(S"--ttl", S""), ERR_USAGE);
	assert_int_equal(PARSE(S"--ttl", S"9d"), ERR_OK);
	assert_int_equal(options_get(&o, "ttl")->number, 9 * 86400000ull);
}

static void numbers_keep_their_bounds(void **state)
{
	assert_int_equal(PARSE(S"--limit", S"1000"), ERR_OK);
	assert_int_equal(PARSE(S"--limit", S"1001"), ERR_USAGE);
	assert_non_null(strstr(f.means, "from 1 to 1000"));
	assert_int_equal(PARSE(S"--limit", S"0"), ERR_USAGE);
	assert_int_equal(PARSE(S"--limit", S"-3"), ERR_USAGE);
	assert_int_equal(PARSE(S"--limit", S" 3"), ERR_USAGE);
	assert_int_equal(PARSE(S"--limit", S"3x"), ERR_USAGE);
	assert_int_equal(PARSE(S"--limit", S"99999999999999999999999"), ERR_USAGE);
	assert_int_equal(PARSE(S"--limit", S""), ERR_USAGE);
}

static void words_come_from_the_list_and_slips_are_answered(void **state)
{
	assert_int_equal(PARSE(S"--priority", S"high"), ERR_OK);
	assert_int_equal(PARSE(S"--priority", S"hihg"), ERR_USAGE);
	assert_string_equal(f.means, "Did you mean 'high'? It is one of: low|normal|high.");
	assert_int_equal(PARSE(S"--priority", S""), ERR_USAGE);
	assert_int_equal(PARSE(S"--priority", S"low|normal"), ERR_USAGE);
	assert_int_equal(PARSE(S"--priority", S"lo"), ERR_USAGE);
}

static void unknown_options_get_the_nearest(void **state)
{
	assert_int_equal(PARSE(S"bob", S"--wiat", S"5s"), ERR_USAGE);
	assert_string_equal(f.what, "there is no option '--wiat' here");
	assert_string_equal(f.means, "Did you mean --wait?");
	assert_int_equal(PARSE(S"--quite"), ERR_USAGE);
	assert_string_equal(f.means, "Did you mean --quiet?");
	assert_int_equal(PARSE(S"--zzzzzzz=3"), ERR_USAGE);
	assert_string_equal(f.what, "there is no option '--zzzzzzz' here");
	assert_null(strstr(f.means, "Did you"));
	assert_int_equal(PARSE(S"-z"), ERR_USAGE);
	assert_string_equal(f.what, "there is no option '-z' here");
	assert_int_equal(PARSE(S"-qz"), ERR_USAGE);
}

static void abbreviations_are_refused(void **state)
{
	assert_int_equal(PARSE(S"--quie"), ERR_USAGE);
	assert_string_equal(f.means, "Did you mean --quiet?");
	assert_int_equal(PARSE(S"--lim", S"5"), ERR_USAGE);
	assert_string_equal(f.means, "Did you mean --limit?");
	assert_int_equal(PARSE(S"--lim=5"), ERR_USAGE);
	assert_int_equal(PARSE(S"bob", S"--fil", S"x"), ERR_USAGE);
	assert_int_equal(PARSE(S"--wai", S"5s"), ERR_USAGE);
}

static void values_are_asked_for_and_refused_where_there_are_none(void **state)
{
	assert_int_equal(PARSE(S"--file"), ERR_USAGE);
	assert_string_equal(f.what, "--file needs a value: FILE");
	assert_int_equal(PARSE(S"-f"), ERR_USAGE);
	assert_string_equal(f.what, "--file needs a value: FILE");
	assert_int_equal(PARSE(S"--quiet=yes"), ERR_USAGE);
	assert_string_equal(f.what, "--quiet takes no value");
}

static void control_bytes_of_the_user_are_not_echoed(void **state)
{
	assert_int_equal(PARSE(S"--\033[31m"), ERR_USAGE);
	assert_null(strchr(f.what, '\033'));
	assert_int_equal(PARSE(S"--priority", S"\033]0;x\a"), ERR_USAGE);
	assert_null(strchr(f.what, '\033'));
}

static void labels_read_as_they_are_typed(void **state)
{
	char text[64];

	assert_string_equal(option_label(&first[0], text, sizeof(text)), "--wait [DURATION]");
	assert_string_equal(option_label(&first[4], text, sizeof(text)), "-f, --file FILE");
	assert_string_equal(option_label(&second[0], text, sizeof(text)), "-q, --quiet");
}

static const char *nearest(const char *typed, const char *const *list)
{
	struct suggest s = suggest_for(typed);

	for (; *list; list++)
		suggest_offer(&s, *list);
	return s.best;
}

static void suggestions_are_near_or_absent(void **state)
{
	static const char *const words[] = { "send", "inbox", "recv", "outbox", "peers", "status", "ping",
					     "fingerprint", NULL };

	assert_string_equal(nearest("sned", words), "send");
	assert_string_equal(nearest("inbx", words), "inbox");
	assert_string_equal(nearest("outobx", words), "outbox");
	assert_string_equal(nearest("peer", words), "peers");
	assert_string_equal(nearest("fing", words), "fingerprint");
	assert_string_equal(nearest("statsu", words), "status");
	assert_null(nearest("frobnicate", words));
	assert_null(nearest("x", words));
	assert_null(nearest("", words));
	assert_null(nearest("zz", words));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_stand_before_between_and_after_arguments),
		cmocka_unit_test(repeated_flags_are_counted_also_as_letters),
		cmocka_unit_test(two_dashes_end_the_options),
		cmocka_unit_test(one_dash_is_an_argument),
		cmocka_unit_test(a_duration_behind_wait_belongs_to_it),
		cmocka_unit_test(other_words_behind_wait_are_arguments),
		cmocka_unit_test(bad_durations_are_named),
		cmocka_unit_test(numbers_keep_their_bounds),
		cmocka_unit_test(words_come_from_the_list_and_slips_are_answered),
		cmocka_unit_test(unknown_options_get_the_nearest),
		cmocka_unit_test(abbreviations_are_refused),
		cmocka_unit_test(values_are_asked_for_and_refused_where_there_are_none),
		cmocka_unit_test(control_bytes_of_the_user_are_not_echoed),
		cmocka_unit_test(labels_read_as_they_are_typed),
		cmocka_unit_test(suggestions_are_near_or_absent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
