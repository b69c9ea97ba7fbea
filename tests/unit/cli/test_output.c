#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/message.h"
#include "cli/output.h"
#include "cli/send.h"

static char captured[8192];

/* What `print` writes to stdout (fd 1) or stderr (fd 2), in a child. */
static const char *capture(int fd, void (*print)(void))
{
	FILE *f = tmpfile();
	size_t n;
	pid_t pid;

	assert_non_null(f);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		dup2(fileno(f), fd);
		print();
		fflush(NULL);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	rewind(f);
	n = fread(captured, 1, sizeof(captured) - 1, f);
	captured[n] = '\0';
	fclose(f);
	return captured;
}

static const struct out plain;
static const struct out colored = { .color_out = true, .color_err = true };

static void print_table(const struct out *o)
{
	static const char *const heads[] = { "NAME", "N", "TEXT", NULL };
	struct table *t = table_new(heads);

	table_cell(t, STYLE_GOOD, "b\xc3\xbc" "b");
	table_cellf(t, "%d", 12345);
	table_cell(t, STYLE_NONE, "\033[31mred\n\xff");
	table_cell(t, STYLE_NONE, "x");
	table_cell(t, STYLE_NONE, NULL);
	table_cell(t, STYLE_NONE, "");
	table_print(o, t);
}

static void print_plain_table(void)
{
	print_table(&plain);
}

static void print_colored_table(void)
{
	print_table(&colored);
}

static void tables_align_by_characters_and_clean_their_cells(void **state)
{
	assert_string_equal(capture(1, print_plain_table), "NAME  N      TEXT\n"
							   "b\xc3\xbc" "b   12345  ?[31mred??\n"
							   "x     -      -\n");
}

static void colours_do_not_move_columns(void **state)
{
	assert_string_equal(capture(1, print_colored_table),
			    "\033[1mNAME\033[0m  \033[1mN\033[0m      \033[1mTEXT\033[0m\n"
			    "\033[32mb\xc3\xbc" "b\033[0m   12345  ?[31mred??\n"
			    "x     -      -\n");
}

static struct out chosen;

static void colors_follow(bool json, bool no_color, bool expect)
{
	chosen = (struct out){ .json = json };
	out_colors(&chosen, no_color);
	assert_int_equal(chosen.color_out, expect);
}

static void colours_obey_the_environment(void **state)
{
	setenv("TERM", "xterm", 1);
	setenv("CLICOLOR_FORCE", "1", 1);
	unsetenv("NO_COLOR");
	colors_follow(false, false, true);
	colors_follow(true, false, false);
	colors_follow(false, true, false);
	setenv("NO_COLOR", "1", 1);
	colors_follow(false, false, false);
	setenv("NO_COLOR", "", 1);
	colors_follow(false, false, true);
	setenv("CLICOLOR_FORCE", "0", 1);
	unsetenv("NO_COLOR");
	if (!isatty(1))
		colors_follow(false, false, false);
	unsetenv("CLICOLOR_FORCE");
}

static const struct fault fault = { ERR_NOTFOUND, EXIT_PEER_UNKNOWN, "no peer is called 'x'", "It was never met.",
				    "ironmesh peers list" };

static void print_fault(void)
{
	static const struct out o = { .home = "/tmp/my node" };

	if (out_fault(&o, &fault) != 4)
		_exit(1);
}

static void print_json_fault(void)
{
	static const struct out o = { .json = true };

	out_fault(&o, &fault);
}

static void a_fault_is_three_short_lines_with_the_command_of_this_home(void **state)
{
	assert_string_equal(capture(2, print_fault), "ironmesh: no peer is called 'x'\n"
						     "  It was never met.\n"
						     "  next: ironmesh --home '/tmp/my node' peers list\n");
	assert_string_equal(capture(1, print_fault), "");
}

static void a_command_for_another_machine_is_left_as_it_is(void **state)
{
	const struct out here = { .home = "C" };
	char line[200];

	assert_string_equal(out_command(&here, "ironmesh pair", line, sizeof line), "ironmesh --home C pair");
	assert_string_equal(out_command(&here, "ironmesh trust cap-accept bob   or   ironmesh trust cap-reject bob", line, sizeof line),
			    "ironmesh --home C trust cap-accept bob   or   ironmesh --home C trust cap-reject bob");
	assert_string_equal(out_command(&here, "ironmesh pair CODE   (with the code of `ironmesh pair` there)", line, sizeof line),
			    "ironmesh --home C pair CODE   (with the code of `ironmesh pair` there)");
	assert_string_equal(out_command(&here, "sleep 60; ironmesh doctor --peer 192.0.2.7:8765", line, sizeof line),
			    "sleep 60; ironmesh --home C doctor --peer 192.0.2.7:8765");
	assert_string_equal(out_command(&here, "ironmesh pair   (there, for a new code)", line, sizeof line),
			    "ironmesh pair   (there, for a new code)");
	assert_string_equal(out_command(&here, "ironmesh pair   (on the other machine shows one)", line, sizeof line),
			    "ironmesh pair   (on the other machine shows one)");
	assert_string_equal(out_command(&here, "ironmesh keys rotate   (on that node)", line, sizeof line),
			    "ironmesh keys rotate   (on that node)");
}

static void a_fault_is_an_object_with_json(void **state)
{
	assert_string_equal(capture(1, print_json_fault),
			    "{\"schema\":\"ironmesh.error/1\",\"error\":{\"err\":\"not-found\",\"exit\":4,"
			    "\"what\":\"no peer is called 'x'\",\"means\":\"It was never met.\","
			    "\"next\":\"ironmesh peers list\"}}\n");
}

static void print_nasty_json(void)
{
	json_t *v = json_pack("{s:s}", "a", "\033[2J\xc2\x9b\xe2\x80\xae\x7f");

	out_json(&plain, v);
	json_decref(v);
}

static void json_output_holds_no_control_byte(void **state)
{
	assert_string_equal(capture(1, print_nasty_json),
			    "{\"a\":\"\\u001b[2J\\u009b\\u202e\\u007f\"}\n");
}

static void print_hints(void)
{
	static const struct out quiet = { .quiet = true }, json = { .json = true };

	out_hint(&plain, "ironmesh %s", "status");
	out_hint(&quiet, "ironmesh no");
	out_hint(&json, "ironmesh no");
	out_note(&quiet, "no");
	out_note(&json, "noted");
	out_detail(&plain, "no");
}

static void hints_are_for_people_who_want_them(void **state)
{
	assert_string_equal(capture(2, print_hints), "next: ironmesh status\nnoted\n");
}

static void shell_words_survive_a_shell(void **state)
{
	static const char *const words[] = { "plain", "two words", "it's", "$HOME", "", "a'b'c", "-x", "#no", "a\nb" };
	char quoted[200], command[300], back[200];

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		FILE *p;
		size_t n;

		word_for_shell(words[i], quoted, sizeof(quoted));
		snprintf(command, sizeof(command), "printf %%s %s", quoted);
		if (words[i][0] == '-')
			snprintf(command, sizeof(command), "printf -- %s", quoted);
		p = popen(command, "r");
		assert_non_null(p);
		n = fread(back, 1, sizeof(back) - 1, p);
		back[n] = '\0';
		assert_int_equal(pclose(p), 0);
		assert_string_equal(back, words[i]);
	}
	/* Cut short, it still ends its quotes. */
	word_for_shell("'''''''' and more", quoted, 12);
	assert_true(strlen(quoted) < 12);
	assert_int_equal(quoted[strlen(quoted) - 1], '\'');
}

static void spans_read_as_people_say_them(void **state)
{
	static const struct {
		uint64_t ms;
		const char *text;
	} rows[] = {
		{ 0, "0 ms" },		{ 999, "999 ms" },	   { 1000, "1 s" },
		{ 2500, "2.5 s" },	{ 59999, "59.9 s" },	   { 60000, "1 min 0 s" },
		{ 3599999, "59 min 59 s" }, { 3600000, "1 h 0 min" }, { 90061000, "1 d 1 h" },
	};
	char text[40];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_string_equal(duration_text(rows[i].ms, text, sizeof(text)), rows[i].text);
}

static void times_are_local_and_zero_is_a_dash(void **state)
{
	char text[40];

	setenv("TZ", "UTC", 1);
	assert_string_equal(time_text(1767323045678, text, sizeof(text)), "2026-01-02 03:04:05");
	assert_string_equal(time_text(0, text, sizeof(text)), "-");
}

static void fingerprints_are_grouped_once(void **state)
{
	char text[100];

	assert_string_equal(fingerprint_groups("00112233445566778899aabbccddeeff", text, sizeof(text)),
			    "0011 2233 4455 6677 8899 aabb ccdd eeff");
	assert_string_equal(fingerprint_groups("0011 2233", text, sizeof(text)), "0011 2233");
	assert_string_equal(fingerprint_groups(NULL, text, sizeof(text)), "-");
}

static const char *preview(json_t *m)
{
	static char text[60];

	message_preview(m, text, sizeof(text));
	json_decref(m);
	return text;
}

static void previews_are_one_clean_line(void **state)
{
	assert_string_equal(preview(json_pack("{s:s}", "body", "one\ntwo\tthree")), "one two three");
	assert_string_equal(preview(json_pack("{s:s}", "body", "\033]0;title\a")), "?]0;title?");
	assert_string_equal(preview(json_pack("{s:s, s:i}", "body_b64", "AAEC", "size", 3)),
			    "(3 bytes, not text)");
	assert_string_equal(preview(json_object()), "-");
	assert_string_equal(preview(json_pack("{s:s}", "body",
					      "123456789 123456789 123456789 123456789 123456789 123456789 12")),
			    "123456789 123456789 123456789 123456789 123456789 123456...");
}

static void bodies_are_bytes(void **state)
{
	json_t *m = json_pack("{s:s}", "body_b64", "AAEC/w==");
	struct buf b;

	buf_init(&b, 100);
	assert_int_equal(message_body(m, &b), ERR_OK);
	assert_int_equal(b.n, 4);
	assert_memory_equal(b.p, "\0\1\2\377", 4);
	json_object_set_new(m, "body_b64", json_string("not base64"));
	assert_int_not_equal(message_body(m, &b), ERR_OK);
	json_object_clear(m);
	assert_int_equal(message_body(m, &b), ERR_NOTFOUND);
	buf_fini(&b);
	json_decref(m);
}

static void outcomes_become_exit_codes(void **state)
{
	static const struct {
		const char *state, *wanted;
		enum exit_code code;
	} rows[] = {
		{ "delivered", "delivered", EXIT_DONE },	{ "read", "delivered", EXIT_DONE },
		{ "sent", "delivered", EXIT_UNDELIVERED },	{ "queued", "delivered", EXIT_UNDELIVERED },
		{ "sent", "sent", EXIT_DONE },			{ "delivered", "sent", EXIT_DONE },
		{ "queued", "sent", EXIT_UNDELIVERED },		{ "delivered", "read", EXIT_UNDELIVERED },
		{ "read", "read", EXIT_DONE },			{ "failed", "sent", EXIT_FAILED },
		{ "expired", "delivered", EXIT_FAILED },	{ "rejected", "read", EXIT_FAILED },
		{ "cancelled", "delivered", EXIT_FAILED },	{ "novel", "delivered", EXIT_UNDELIVERED },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_t *r = json_pack("{s:s}", "state", rows[i].state);

		assert_int_equal(send_outcome(r, rows[i].wanted), rows[i].code);
		json_decref(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_align_by_characters_and_clean_their_cells),
		cmocka_unit_test(colours_do_not_move_columns),
		cmocka_unit_test(colours_obey_the_environment),
		cmocka_unit_test(a_fault_is_three_short_lines_with_the_command_of_this_home),
		cmocka_unit_test(a_command_for_another_machine_is_left_as_it_is),
		cmocka_unit_test(a_fault_is_an_object_with_json),
		cmocka_unit_test(json_output_holds_no_control_byte),
		cmocka_unit_test(hints_are_for_people_who_want_them),
		cmocka_unit_test(shell_words_survive_a_shell),
		cmocka_unit_test(spans_read_as_people_say_them),
		cmocka_unit_test(times_are_local_and_zero_is_a_dash),
		cmocka_unit_test(fingerprints_are_grouped_once),
		cmocka_unit_test(previews_are_one_clean_line),
		cmocka_unit_test(bodies_are_bytes),
		cmocka_unit_test(outcomes_become_exit_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
