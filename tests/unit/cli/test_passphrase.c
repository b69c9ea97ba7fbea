/* Where a passphrase comes from when no daemon runs, and what `keys generate` makes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/cli_rig.h"

#define GOOD "correct horse battery"
#define BAD  "another passphrase"

static struct rig r;
static char path[120];

static int setup(void **state)
{
	rig_open(&r);
	snprintf(path, sizeof(path), "%s/pass", r.dir);
	return 0;
}

static int teardown(void **state)
{
	rig_close(&r);
	return 0;
}

static void put(const char *file, const char *text, mode_t mode)
{
	FILE *f = fopen(file, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(chmod(file, mode), 0);
}

#define RUN(...) rig_run(&r, __VA_ARGS__, NULL)
#define TTY(typed, ...) rig_run_tty(&r, typed, __VA_ARGS__, NULL)

static void a_file_opens_the_key_without_a_daemon(void **state)
{
	json_t *v;

	put(path, GOOD "\n", 0600);
	assert_int_equal(RUN("keys", "show", "--home", "@", "--passphrase-file", path, "--json"), 0);
	v = rig_json(&r);
	assert_string_equal(json_str(v, "method"), "keys.show");
	assert_string_equal(json_str(v, "pass"), GOOD);
	json_decref(v);
	put(path, BAD "\n", 0600);
	assert_int_equal(RUN("keys", "show", "--home", "@", "--passphrase-file", path), 9);
}

static void a_file_others_can_read_is_refused(void **state)
{
	put(path, GOOD "\n", 0644);
	assert_int_equal(RUN("keys", "show", "--home", "@", "--passphrase-file", path), 8);
	assert_true(rig_warned(&r, "chmod 600"));
	assert_int_not_equal(RUN("keys", "show", "--home", "@", "--passphrase-file", "/nonexistent"), 0);
	assert_true(rig_warned(&r, "/nonexistent"));
}

static void a_descriptor_opens_the_key(void **state)
{
	r.input = GOOD "\n";
	assert_int_equal(RUN("keys", "fingerprint", "--home", "@", "--passphrase-fd", "0"), 0);
	assert_string_equal(r.out, "0011 2233 4455 6677 8899 aabb ccdd eeff\n");
}

static void credentials_come_before_the_home_and_the_environment(void **state)
{
	char file[160];
	json_t *v;

	setenv("CREDENTIALS_DIRECTORY", r.dir, 1);
	setenv("IRONMESH_PASSPHRASE", BAD, 1);
	snprintf(file, sizeof(file), "%s/passphrase", r.home);
	put(file, BAD "\n", 0600);
	snprintf(file, sizeof(file), "%s/ironmesh", r.dir);
	put(file, BAD "\n", 0400);
	snprintf(file, sizeof(file), "%s/ironmesh-key", r.dir);
	put(file, GOOD "\n", 0400);
	assert_int_equal(RUN("keys", "show", "--home", "@", "--json"), 0);
	v = rig_json(&r);
	assert_string_equal(json_str(v, "pass"), GOOD);
	json_decref(v);
	unlink(file);
	snprintf(file, sizeof(file), "%s/ironmesh", r.dir);
	assert_int_equal(RUN("keys", "show", "--home", "@"), 9);
	unlink(file);
	snprintf(file, sizeof(file), "%s/passphrase", r.home);
	put(file, GOOD "\n", 0600);
	assert_int_equal(RUN("keys", "show", "--home", "@"), 0);
	unsetenv("CREDENTIALS_DIRECTORY");
	unsetenv("IRONMESH_PASSPHRASE");
}

static void the_environment_is_the_last_resort(void **state)
{
	setenv("IRONMESH_PASSPHRASE", GOOD, 1);
	assert_int_equal(RUN("keys", "show", "--home", "@"), 0);
	put(path, BAD "\n", 0600);
	assert_int_equal(RUN("keys", "show", "--home", "@", "--passphrase-file", path), 9);
	unsetenv("IRONMESH_PASSPHRASE");
}

static void without_a_terminal_nobody_is_asked(void **state)
{
	assert_int_equal(RUN("keys", "show", "--home", "@"), 8);
	assert_true(rig_warned(&r, "needs a passphrase"));
	assert_int_equal(RUN("keys", "generate", "--name", "alice", "--home", "@"), 2);
	assert_true(rig_warned(&r, "--passphrase-file"));
	assert_true(rig_warned(&r, "--new-mesh"));
}

static void a_terminal_is_asked_without_echo(void **state)
{
	assert_int_equal(TTY(GOOD "\n", "keys", "show", "--home", "@", "--json"), 0);
	assert_true(rig_said(&r, "Passphrase of the key file: "));
	/* The scripted host shows what it got; the terminal itself showed nothing. */
	assert_true(rig_said(&r, "\"pass\":\"" GOOD "\""));
	assert_null(strstr(strstr(r.out, "\"pass\":\"") + 10 + strlen(GOOD), GOOD));
	assert_null(strstr(strstr(r.out, "file: "), "file: " GOOD));
}

static void a_new_passphrase_is_typed_twice_and_checked(void **state)
{
	assert_int_equal(TTY(GOOD "\n" GOOD "\n", "keys", "generate", "--name", "alice", "--home", "@"), 0);
	assert_true(rig_said(&r, "alice"));
	assert_int_equal(TTY(GOOD "\n" BAD "\n", "keys", "generate", "--name", "alice", "--home", "@"), 2);
	assert_true(rig_said(&r, "differ"));
	assert_int_not_equal(TTY("short\n", "keys", "generate", "--name", "alice", "--home", "@"), 0);
	assert_true(rig_said(&r, "too short"));
}

static void interrupting_a_prompt_gives_130_and_the_echo_back(void **state)
{
	assert_int_equal(TTY("abc\003\n", "keys", "show", "--home", "@"), 130);
}

static void destructive_acts_ask_on_a_terminal(void **state)
{
	static const struct exchange script[] = {
		{ "peers.forget", NULL, "{\"schema\":\"ironmesh.peer/1\",\"name\":\"bob\"}" },
	};

	assert_int_equal(TTY("n\n", "peers", "forget", "bob", "--home", "@"), 1);
	assert_true(rig_said(&r, "nothing was changed"));
	rig_serve(&r, script, 1);
	assert_int_equal(TTY("y\n", "peers", "forget", "bob", "--home", "@"), 0);
}

static void a_new_mesh_gets_a_passphrase_file_once(void **state)
{
	struct stat st;
	char text[100] = "";
	FILE *f;

	assert_int_equal(RUN("keys", "generate", "--name", "alice", "--new-mesh", path, "--home", "@"), 0);
	assert_true(rig_warned(&r, path));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	f = fopen(path, "r");
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	assert_int_equal(strlen(text), 35); /* 7 groups of 4, 6 dashes, the line end */
	assert_null(strstr(r.err, text));
	assert_int_equal(RUN("keys", "generate", "--name", "alice", "--new-mesh", path, "--home", "@"), 2);
	assert_true(rig_warned(&r, "--passphrase-file"));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 35);
}

static void a_failed_generation_leaves_no_passphrase_behind(void **state)
{
	assert_int_equal(RUN("keys", "generate", "--name", "taken", "--new-mesh", path, "--home", "@"), 1);
	assert_int_equal(access(path, F_OK), -1);
}

static void generate_refuses_what_contradicts_itself(void **state)
{
	assert_int_equal(RUN("keys", "generate", "--home", "@"), 2);
	assert_int_equal(RUN("keys", "generate", "--name", "a b", "--clear", "--home", "@"), 2);
	assert_int_equal(RUN("keys", "generate", "--name", "a", "--clear", "--new-mesh", path, "--home", "@"), 2);
	assert_int_equal(RUN("keys", "generate", "--name", "a", "--new-mesh", path, "--passphrase-file", path,
			     "--home", "@"),
			 2);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(RUN("keys", "generate", "--name", "a", "--clear", "--home", "@", "--json"), 0);
	assert_true(rig_said(&r, "\"pass\":\"\""));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_file_opens_the_key_without_a_daemon),
		T(a_file_others_can_read_is_refused),
		T(a_descriptor_opens_the_key),
		T(credentials_come_before_the_home_and_the_environment),
		T(the_environment_is_the_last_resort),
		T(without_a_terminal_nobody_is_asked),
		T(a_terminal_is_asked_without_echo),
		T(a_new_passphrase_is_typed_twice_and_checked),
		T(interrupting_a_prompt_gives_130_and_the_echo_back),
		T(destructive_acts_ask_on_a_terminal),
		T(a_new_mesh_gets_a_passphrase_file_once),
		T(a_failed_generation_leaves_no_passphrase_behind),
		T(generate_refuses_what_contradicts_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
