#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
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

/* Reads with a fresh buffer; on success the content must be `want`. */
static enum err read_secret(const char *path, const char *want, struct fault *f)
{
	struct buf b;
	enum err e;

	buf_init(&b, 100);
	e = file_read_secret(path, &b, f);
	if (e == ERR_OK)
		assert_string_equal(buf_cstr(&b), want);
	else
		assert_int_equal(b.n, 0);
	buf_fini(&b);
	return e;
}

static unsigned mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode & 07777;
}

/* No temporary file is left behind, whatever happened. */
static size_t files_in_dir(void)
{
	char command[600];
	size_t n = 0;
	FILE *p;

	snprintf(command, sizeof(command), "ls -A '%s' | wc -l", dir);
	p = popen(command, "r");
	assert_non_null(p);
	assert_int_equal(fscanf(p, "%zu", &n), 1);
	pclose(p);
	return n;
}

static void a_private_file_is_read(void **state)
{
	const char *p = probe_path(dir, "key");

	probe_file(p, "secret", 6, 0600);
	assert_int_equal(read_secret(p, "secret", NULL), ERR_OK);
	probe_file(p, "", 0, 0600);
	assert_int_equal(read_secret(p, "", NULL), ERR_OK);
	probe_file(p, "s", 1, 0600);
	assert_int_equal(chmod(p, 0400), 0);
	assert_int_equal(read_secret(p, "s", NULL), ERR_OK);
}

static void a_wider_mode_is_denied_and_names_the_command(void **state)
{
	static const unsigned bad[] = {0640, 0604, 0620, 0602,	0610, 0601,
				       0644, 0666, 0700, 04600, 01600};
	const char *p = probe_path(dir, "key");
	struct fault f;
	struct buf b;
	char want[600];

	snprintf(want, sizeof(want), "chmod 600 %s", p);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		probe_file(p, "secret", 6, bad[i]);
		memset(&f, 0, sizeof(f));
		assert_int_equal(read_secret(p, "", &f), ERR_DENIED);
		assert_int_equal(f.err, ERR_DENIED);
		assert_int_equal(f.code, EXIT_POLICY);
		assert_string_equal(f.next, want);
		assert_true(strlen(f.what) > 0 && strlen(f.means) > 0);
	}
	probe_file(p, "public", 6, 0644); /* a certificate may be wider */
	buf_init(&b, 100);
	assert_int_equal(file_read(p, &b, NULL), ERR_OK);
	assert_string_equal(buf_cstr(&b), "public");
	buf_fini(&b);
}

static void a_symlink_is_not_followed(void **state)
{
	const char *p = probe_path(dir, "key"), *link_path = probe_path(dir, "link");
	struct fault f = {0};
	struct buf b;

	probe_file(p, "secret", 6, 0600);
	assert_int_equal(symlink(p, link_path), 0);
	assert_int_equal(read_secret(link_path, "", &f), ERR_DENIED);
	assert_non_null(strstr(f.what, "symbolic link"));
	buf_init(&b, 100);
	assert_int_equal(file_read(link_path, &b, NULL), ERR_DENIED);
	buf_fini(&b);
	assert_int_equal(symlink("nowhere", probe_path(dir, "dangling")), 0);
	assert_int_equal(read_secret(probe_path(dir, "dangling"), "", NULL), ERR_DENIED);
}

static void a_second_name_is_denied(void **state)
{
	const char *p = probe_path(dir, "key"), *other = probe_path(dir, "other");
	struct fault f = {0};

	probe_file(p, "secret", 6, 0600);
	assert_int_equal(link(p, other), 0);
	assert_int_equal(read_secret(p, "", &f), ERR_DENIED);
	assert_non_null(strstr(f.what, "hard links"));
	assert_int_equal(unlink(other), 0);
	assert_int_equal(read_secret(p, "secret", NULL), ERR_OK);
}

static void a_file_of_another_user_is_denied(void **state)
{
	const char *p = probe_path(dir, "key");
	struct fault f = {0};

	if (geteuid() != 0)
		skip(); /* only root can give a file away */
	probe_file(p, "secret", 6, 0600);
	assert_int_equal(chown(p, 12345, (gid_t)-1), 0);
	assert_int_equal(read_secret(p, "", &f), ERR_DENIED);
	assert_non_null(strstr(f.next, "chown"));
}

static void only_regular_files_are_read(void **state)
{
	const char *p = probe_path(dir, "fifo");
	struct buf b;

	assert_int_equal(mkfifo(p, 0600), 0);
	assert_int_equal(read_secret(p, "", NULL), ERR_DENIED); /* and does not hang */
	assert_int_equal(read_secret(dir, "", NULL), ERR_DENIED);
	buf_init(&b, 100);
	assert_int_equal(file_read("/dev/null", &b, NULL), ERR_DENIED);
	buf_fini(&b);
}

static void a_missing_file_is_not_found(void **state)
{
	struct fault f = {0};

	assert_int_equal(read_secret(probe_path(dir, "none"), "", &f), ERR_NOTFOUND);
	assert_int_equal(f.err, ERR_NOTFOUND);
	assert_int_equal(read_secret("", "", NULL), ERR_NOTFOUND);
	assert_int_equal(read_secret(probe_path(dir, "none/none"), "", NULL), ERR_NOTFOUND);
}

static void the_buffer_carries_the_maximum(void **state)
{
	const char *p = probe_path(dir, "key");
	char data[101];
	struct fault f = {0};
	struct buf b;

	memset(data, 'a', sizeof(data));
	probe_file(p, data, 100, 0600);
	buf_init(&b, 100);
	assert_int_equal(file_read_secret(p, &b, &f), ERR_OK);
	assert_int_equal(b.n, 100);
	buf_fini(&b);
	probe_file(p, data, 101, 0600);
	buf_init(&b, 100);
	assert_int_equal(file_read_secret(p, &b, &f), ERR_LIMIT);
	assert_int_equal(f.code, EXIT_INTEGRITY);
	assert_null(b.p); /* nothing was allocated */
	buf_fini(&b);
}

static void what_the_buffer_held_stays_in_front(void **state)
{
	const char *p = probe_path(dir, "key");
	struct buf b;

	probe_file(p, "def", 3, 0600);
	buf_init(&b, 6);
	buf_add_str(&b, "abc");
	assert_int_equal(file_read_secret(p, &b, NULL), ERR_OK);
	assert_string_equal(buf_cstr(&b), "abcdef");
	assert_int_equal(file_read_secret(p, &b, NULL), ERR_LIMIT);
	assert_string_equal(buf_cstr(&b), "abcdef");
	buf_fini(&b);
}

static void a_written_secret_is_private_whole_and_alone(void **state)
{
	const char *p = probe_path(dir, "key");
	mode_t was = umask(0);

	assert_int_equal(file_write_secret(p, BYTES_LIT("one"), NULL), ERR_OK);
	assert_int_equal(mode_of(p), 0600);
	assert_int_equal(read_secret(p, "one", NULL), ERR_OK);
	umask(0777);
	assert_int_equal(file_write_secret(p, BYTES_LIT("two two"), NULL), ERR_OK);
	assert_int_equal(mode_of(p), 0600);
	umask(was);
	assert_int_equal(read_secret(p, "two two", NULL), ERR_OK);
	assert_int_equal(file_write_secret(p, bytes_of(NULL, 0), NULL), ERR_OK);
	assert_int_equal(read_secret(p, "", NULL), ERR_OK);
	assert_int_equal(files_in_dir(), 1);
}

static void a_large_file_is_written_whole(void **state)
{
	const char *p = probe_path(dir, "key");
	const size_t n = 3 * 1024 * 1024 + 5;
	uint8_t *data = malloc(n);
	struct buf b;

	for (size_t i = 0; i < n; i++)
		data[i] = (uint8_t)(i * 13 >> 2);
	assert_int_equal(file_write_secret(p, bytes_of(data, n), NULL), ERR_OK);
	buf_init(&b, n);
	assert_int_equal(file_read_secret(p, &b, NULL), ERR_OK);
	assert_true(bytes_eq(buf_bytes(&b), bytes_of(data, n)));
	buf_fini(&b);
	free(data);
}

static void a_link_is_replaced_not_written_through(void **state)
{
	const char *target = probe_path(dir, "target"), *p = probe_path(dir, "key");

	probe_file(target, "untouched", 9, 0600);
	assert_int_equal(symlink("target", p), 0);
	assert_int_equal(file_write_secret(p, BYTES_LIT("new"), NULL), ERR_OK);
	assert_int_equal(read_secret(target, "untouched", NULL), ERR_OK);
	assert_int_equal(read_secret(p, "new", NULL), ERR_OK);
}

static void create_refuses_an_existing_name(void **state)
{
	const char *p = probe_path(dir, "key");
	struct fault f = {0};

	assert_int_equal(file_create_secret(p, BYTES_LIT("first"), &f), ERR_OK);
	assert_int_equal(mode_of(p), 0600);
	assert_int_equal(file_create_secret(p, BYTES_LIT("second"), &f), ERR_EXISTS);
	assert_int_equal(f.err, ERR_EXISTS);
	assert_int_equal(read_secret(p, "first", NULL), ERR_OK);
	assert_int_equal(symlink("nowhere", probe_path(dir, "dangling")), 0);
	assert_int_equal(file_create_secret(probe_path(dir, "dangling"), BYTES_LIT("x"), NULL),
			 ERR_EXISTS);
	assert_int_equal(files_in_dir(), 2);
}

static void a_write_that_fails_leaves_nothing_behind(void **state)
{
	const char *p = probe_path(dir, "sub");
	char name[300];
	struct fault f = {0};

	assert_int_equal(mkdir(p, 0700), 0);
	probe_file(probe_path(p, "inside"), "x", 1, 0600);
	assert_int_not_equal(file_write_secret(p, BYTES_LIT("x"), &f),
			     ERR_OK); /* a folder is there */
	assert_true(strlen(f.what) > 0);
	assert_int_equal(file_write_secret(probe_path(dir, "none/key"), BYTES_LIT("x"), &f),
			 ERR_NOTFOUND);
	assert_int_not_equal(file_write_secret(probe_path(dir, ""), BYTES_LIT("x"), &f), ERR_OK);
	memset(name, 'n', sizeof(name));
	name[250] = '\0'; /* fits a folder, but not with the temporary suffix */
	assert_int_equal(file_write_secret(probe_path(dir, name), BYTES_LIT("x"), &f), ERR_LIMIT);
	assert_int_equal(files_in_dir(), 1);
}

static void a_path_without_a_folder_is_the_current_one(void **state)
{
	char *was = getcwd(NULL, 0);

	assert_int_equal(chdir(dir), 0);
	assert_int_equal(file_write_secret("key", BYTES_LIT("x"), NULL), ERR_OK);
	assert_int_equal(dir_fsync_of("key"), ERR_OK);
	assert_int_equal(read_secret("key", "x", NULL), ERR_OK);
	assert_int_equal(chdir(was), 0);
	free(was);
	assert_int_equal(dir_fsync_of("/key"), ERR_OK);
	assert_int_equal(dir_fsync_of(probe_path(dir, "none/key")), ERR_NOTFOUND);
}

static void a_private_folder_is_made_or_checked(void **state)
{
	const char *p = probe_path(dir, "home");
	struct fault f = {0};
	char want[600];

	assert_int_equal(dir_ensure_private(p, &f), ERR_OK);
	assert_int_equal(mode_of(p), 0700);
	assert_int_equal(dir_ensure_private(p, &f), ERR_OK);
	assert_int_equal(chmod(p, 0755), 0); /* readable is not writable */
	assert_int_equal(dir_ensure_private(p, &f), ERR_OK);
	snprintf(want, sizeof(want), "chmod 700 %s", p);
	assert_int_equal(chmod(p, 0770), 0);
	assert_int_equal(dir_ensure_private(p, &f), ERR_DENIED);
	assert_string_equal(f.next, want);
	assert_int_equal(chmod(p, 0702), 0);
	assert_int_equal(dir_ensure_private(p, &f), ERR_DENIED);
	assert_int_equal(dir_ensure_private("", NULL), ERR_NOTFOUND);
	assert_int_equal(dir_ensure_private(probe_path(dir, "none/home"), NULL), ERR_NOTFOUND);
}

static void a_folder_that_is_a_link_or_a_file_is_denied(void **state)
{
	const char *real = probe_path(dir, "real"), *p = probe_path(dir, "home");
	struct fault f = {0};

	assert_int_equal(dir_ensure_private(real, NULL), ERR_OK);
	assert_int_equal(symlink("real", p), 0);
	assert_int_equal(dir_ensure_private(p, &f), ERR_DENIED);
	assert_non_null(strstr(f.what, "symbolic link"));
	assert_int_equal(dir_ensure_private(probe_path(dir, "home/"), NULL), ERR_DENIED);
	assert_int_equal(dir_ensure_private(probe_path(dir, "real//"), NULL), ERR_OK);
	probe_file(probe_path(dir, "file"), "x", 1, 0700);
	assert_int_equal(dir_ensure_private(probe_path(dir, "file"), NULL), ERR_DENIED);
	if (geteuid() == 0) {
		assert_int_equal(chown(real, 12345, (gid_t)-1), 0);
		assert_int_equal(dir_ensure_private(real, NULL), ERR_DENIED);
	}
}

static void paths_are_joined_within_their_room(void **state)
{
	char out[8];

	assert_int_equal(path_join(out, sizeof(out), "abc", "def"), ERR_OK);
	assert_string_equal(out, "abc/def");
	assert_int_equal(path_join(out, sizeof(out), "abc/", "def"), ERR_OK);
	assert_string_equal(out, "abc/def");
	assert_int_equal(path_join(out, sizeof(out), "abcd", "def"), ERR_LIMIT);
	assert_int_equal(path_join(out, sizeof(out), "abcdefgh", ""), ERR_LIMIT);
	assert_int_equal(path_join(out, sizeof(out), "a", "bcdefghi"), ERR_LIMIT);
	assert_int_equal(path_join(out, sizeof(out), "/", "abcdef"), ERR_OK);
	assert_string_equal(out, "/abcdef");
	assert_int_equal(path_join(out, sizeof(out), "abcdef/", "x"), ERR_LIMIT);
	assert_int_equal(path_join(out, 0, "a", "b"), ERR_LIMIT);
}

int main(void)
{
#define WITH_DIR(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		WITH_DIR(a_private_file_is_read),
		WITH_DIR(a_wider_mode_is_denied_and_names_the_command),
		WITH_DIR(a_symlink_is_not_followed),
		WITH_DIR(a_second_name_is_denied),
		WITH_DIR(a_file_of_another_user_is_denied),
		WITH_DIR(only_regular_files_are_read),
		WITH_DIR(a_missing_file_is_not_found),
		WITH_DIR(the_buffer_carries_the_maximum),
		WITH_DIR(what_the_buffer_held_stays_in_front),
		WITH_DIR(a_written_secret_is_private_whole_and_alone),
		WITH_DIR(a_large_file_is_written_whole),
		WITH_DIR(a_link_is_replaced_not_written_through),
		WITH_DIR(create_refuses_an_existing_name),
		WITH_DIR(a_write_that_fails_leaves_nothing_behind),
		WITH_DIR(a_path_without_a_folder_is_the_current_one),
		WITH_DIR(a_private_folder_is_made_or_checked),
		WITH_DIR(a_folder_that_is_a_link_or_a_file_is_denied),
		cmocka_unit_test(paths_are_joined_within_their_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
