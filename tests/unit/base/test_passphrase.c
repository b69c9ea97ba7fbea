#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/passphrase.h"
#include "tests/lib/base_probe.h"

static const char *dir;

static int setup(void **state)
{
	dir = probe_dir_new();
	return 0;
}

static int teardown(void **state)
{
	probe_dir_remove(dir);
	return 0;
}

static enum err check(const char *text, size_t n, const char *want)
{
	struct bytes s = BYTES_LIT("kept");
	struct fault f = {0};
	enum err e = passphrase_check(bytes_of(text, n), &s, &f);

	if (e == ERR_OK) {
		assert_true(bytes_eq(s, bytes_str(want)));
	} else {
		assert_true(bytes_eq(s, BYTES_LIT("kept")));
		assert_int_equal(f.err, e);
		assert_int_equal(f.code, EXIT_CONFIG);
		assert_true(strlen(f.what) > 0);
		/* what the user typed is not repeated to the terminal */
		assert_null(strstr(f.what, "abcdef"));
		assert_null(strstr(f.means, "abcdef"));
	}
	return e;
}
#define CHECK(lit, want) check(lit, sizeof(lit) - 1, want)

static void one_line_end_is_stripped_and_no_more(void **state)
{
	assert_int_equal(CHECK("abcdefghijkl", "abcdefghijkl"), ERR_OK);
	assert_int_equal(CHECK("abcdefghijkl\n", "abcdefghijkl"), ERR_OK);
	assert_int_equal(CHECK("abcdefghijkl\r\n", "abcdefghijkl"), ERR_OK);
	assert_int_equal(CHECK(" abcdefghijkl \n", " abcdefghijkl "),
			 ERR_OK); /* spaces are his own */
	assert_int_equal(CHECK("abcdefghijkl\n\n", ""), ERR_MALFORMED);
	assert_int_equal(CHECK("abcdefghijkl\r", ""), ERR_MALFORMED);
	assert_int_equal(CHECK("abcdefghijkl\n\r\n", ""), ERR_MALFORMED);
	assert_int_equal(CHECK("\n", ""), ERR_MALFORMED);
	assert_int_equal(CHECK("", ""), ERR_MALFORMED);
}

static void length_counts_characters_not_bytes(void **state)
{
	assert_int_equal(CHECK("abcdefghijk", ""), ERR_MALFORMED);
	assert_int_equal(CHECK("abcdefghijk\n", ""), ERR_MALFORMED);
	assert_int_equal(CHECK("\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc", ""),
			 ERR_MALFORMED);
	assert_int_equal(CHECK("\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc"
			       "abcdef",
			       "\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc"
			       "abcdef"),
			 ERR_OK);
}

static void control_characters_and_bad_utf8_are_refused(void **state)
{
	assert_int_equal(CHECK("abcdef\tghijklm", ""), ERR_MALFORMED);
	assert_int_equal(CHECK("abcdef\0ghijklm", ""), ERR_MALFORMED);
	assert_int_equal(CHECK("abcdef\x7fghijklm", ""), ERR_MALFORMED);
	assert_int_equal(CHECK("abcdef\x1bghijklm", ""), ERR_MALFORMED);
	assert_int_equal(CHECK("abcdef\nghijklm", ""), ERR_MALFORMED);
	assert_int_equal(CHECK("abcdef\xc2\x85ghijklm", ""), ERR_MALFORMED);
	assert_int_equal(CHECK("abcdef\xffghijklm", ""), ERR_MALFORMED);
	assert_int_equal(CHECK("abcdefghijklm\xc3", ""), ERR_MALFORMED);
}

static void the_maximum_is_in_bytes(void **state)
{
	char text[PASSPHRASE_MAX_BYTES + 3];
	struct bytes s;

	memset(text, 'x', sizeof(text));
	assert_int_equal(passphrase_check(bytes_of(text, PASSPHRASE_MAX_BYTES), &s, NULL), ERR_OK);
	assert_int_equal(s.n, PASSPHRASE_MAX_BYTES);
	assert_int_equal(passphrase_check(bytes_of(text, PASSPHRASE_MAX_BYTES + 1), &s, NULL),
			 ERR_LIMIT);
	memcpy(text + PASSPHRASE_MAX_BYTES, "\r\n", 2);
	assert_int_equal(passphrase_check(bytes_of(text, PASSPHRASE_MAX_BYTES + 2), &s, NULL),
			 ERR_OK);
}

static void is_secret(struct secret *s, const char *want)
{
	assert_true(bytes_eq(secret_bytes(s), bytes_str(want)));
	secret_free(s);
}

static void a_file_must_be_private(void **state)
{
	const char *p = probe_path(dir, "pass");
	struct secret s = {0};
	struct fault f = {0};
	char big[PASSPHRASE_MAX_BYTES + 3];

	probe_file(p, "correct horse\n", 14, 0600);
	assert_int_equal(passphrase_from_file(p, &s, &f), ERR_OK);
	is_secret(&s, "correct horse");
	probe_file(p, "correct horse\n", 14, 0644);
	assert_int_equal(passphrase_from_file(p, &s, &f), ERR_DENIED);
	assert_non_null(strstr(f.next, "chmod 600 "));
	probe_file(p, "short\n", 6, 0600);
	assert_int_equal(passphrase_from_file(p, &s, &f), ERR_MALFORMED);
	memset(big, 'x', sizeof(big));
	probe_file(p, big, sizeof(big), 0600);
	assert_int_equal(passphrase_from_file(p, &s, &f), ERR_LIMIT);
	assert_int_equal(passphrase_from_file(probe_path(dir, "none"), &s, &f), ERR_NOTFOUND);
	assert_null(s.p);
}

static enum err through_pipe(const char *text, size_t n, struct secret *out)
{
	int fds[2];
	enum err e;

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], text, n), n);
	close(fds[1]);
	e = passphrase_from_fd(fds[0], out, NULL);
	assert_int_equal(close(fds[0]), 0); /* the caller's, still */
	return e;
}

static void a_descriptor_is_read_to_its_end(void **state)
{
	struct secret s = {0};
	char big[PASSPHRASE_MAX_BYTES + 100];
	struct fault f = {0};

	assert_int_equal(through_pipe("correct horse\n", 14, &s), ERR_OK);
	is_secret(&s, "correct horse");
	memset(big, 'x', sizeof(big));
	memcpy(big + PASSPHRASE_MAX_BYTES, "\r\n", 2);
	assert_int_equal(through_pipe(big, PASSPHRASE_MAX_BYTES + 2, &s), ERR_OK);
	assert_int_equal(s.n, PASSPHRASE_MAX_BYTES);
	secret_free(&s);
	memset(big, 'x', sizeof(big));
	assert_int_equal(through_pipe(big, sizeof(big), &s), ERR_LIMIT);
	assert_int_equal(through_pipe("", 0, &s), ERR_MALFORMED);
	assert_int_not_equal(passphrase_from_fd(-1, &s, &f), ERR_OK);
	assert_true(strlen(f.what) > 0 && strlen(f.next) > 0);
	assert_null(s.p);
}

static void a_credential_lives_in_its_folder_only(void **state)
{
	struct secret s = {0};
	struct fault f = {0};

	unsetenv("CREDENTIALS_DIRECTORY");
	assert_int_equal(passphrase_from_credential("pass", &s, &f), ERR_NOTFOUND);
	setenv("CREDENTIALS_DIRECTORY", dir, 1);
	assert_int_equal(passphrase_from_credential("pass", &s, &f), ERR_NOTFOUND);
	probe_file(probe_path(dir, "pass"), "correct horse", 13, 0440);
	assert_int_equal(passphrase_from_credential("pass", &s, &f), ERR_OK);
	is_secret(&s, "correct horse");
	assert_int_equal(passphrase_from_credential("../pass", &s, &f), ERR_MALFORMED);
	assert_int_equal(passphrase_from_credential("..", &s, &f), ERR_MALFORMED);
	assert_int_equal(passphrase_from_credential("", &s, &f), ERR_MALFORMED);
	assert_int_equal(symlink("pass", probe_path(dir, "link")), 0);
	assert_int_equal(passphrase_from_credential("link", &s, &f), ERR_DENIED);
	unsetenv("CREDENTIALS_DIRECTORY");
	assert_null(s.p);
}

static void the_environment_forgets_it(void **state)
{
	struct secret s = {0};
	struct fault f = {0};
	const char *in_place;

	assert_int_equal(passphrase_from_env("IRONMESH_TEST_PASS", &s, &f), ERR_NOTFOUND);
	setenv("IRONMESH_TEST_PASS", "correct horse", 1);
	in_place = getenv("IRONMESH_TEST_PASS");
	assert_int_equal(passphrase_from_env("IRONMESH_TEST_PASS", &s, &f), ERR_OK);
	is_secret(&s, "correct horse");
	assert_null(getenv("IRONMESH_TEST_PASS"));
	assert_true(is_zero(in_place, strlen("correct horse"))); /* glibc keeps the block */
	setenv("IRONMESH_TEST_PASS", "short", 1); /* refused, and gone all the same */
	assert_int_equal(passphrase_from_env("IRONMESH_TEST_PASS", &s, &f), ERR_MALFORMED);
	assert_null(getenv("IRONMESH_TEST_PASS"));
	assert_null(s.p);
}

static uint8_t next_byte;

static void counting(void *ctx, void *out, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((uint8_t *)out)[i] = next_byte++;
	*(size_t *)ctx += n;
}

static void a_generated_one_has_seven_groups_of_four(void **state)
{
	struct secret s = {0};
	size_t asked = 0;
	bool used[256] = {0};
	unsigned letters = 0;
	struct bytes stripped;

	next_byte = 0;
	for (int round = 0; round < 8; round++) {
		assert_int_equal(passphrase_generate(counting, &asked, &s), ERR_OK);
		assert_int_equal(s.n, 34);
		for (size_t i = 0; i < s.n; i++) {
			if (i % 5 == 4)
				assert_int_equal(s.p[i], '-');
			else
				used[s.p[i]] = true;
		}
		assert_int_equal(passphrase_check(secret_bytes(&s), &stripped, NULL), ERR_OK);
		assert_int_equal(stripped.n, 34);
		secret_free(&s);
	}
	assert_true(asked >= 8 * 28);
	for (int c = 0; c < 256; c++)
		letters += used[c];
	assert_int_equal(letters, 32);
	assert_false(used['l'] || used['1'] || used['o'] || used['0'] || used['O'] || used['I']);
}

int main(void)
{
#define WITH_DIR(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_line_end_is_stripped_and_no_more),
		cmocka_unit_test(length_counts_characters_not_bytes),
		cmocka_unit_test(control_characters_and_bad_utf8_are_refused),
		cmocka_unit_test(the_maximum_is_in_bytes),
		WITH_DIR(a_file_must_be_private),
		cmocka_unit_test(a_descriptor_is_read_to_its_end),
		WITH_DIR(a_credential_lives_in_its_folder_only),
		cmocka_unit_test(the_environment_forgets_it),
		cmocka_unit_test(a_generated_one_has_seven_groups_of_four),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
