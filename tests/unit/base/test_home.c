#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/home.h"

static void the_home_folder_is_asked_in_order(void **state)
{
	char out[64], *home = getenv("HOME") ? strdup(getenv("HOME")) : NULL;

	setenv("HOME", "/home/x", 1);
	setenv("IRONMESH_HOME", "/i", 1);
	setenv("STATE_DIRECTORY", "/s:/t", 1);
	assert_int_equal(home_resolve("/flag", out, sizeof(out)), ERR_OK);
	assert_string_equal(out, "/flag");
	assert_int_equal(home_resolve("", out, sizeof(out)), ERR_USAGE);
	assert_int_equal(home_resolve(NULL, out, sizeof(out)), ERR_OK);
	assert_string_equal(out, "/i");
	unsetenv("IRONMESH_HOME");
	assert_int_equal(home_resolve(NULL, out, sizeof(out)), ERR_OK);
	assert_string_equal(out, "/s");
	setenv("STATE_DIRECTORY", "", 1);
	assert_int_equal(home_resolve(NULL, out, sizeof(out)), ERR_OK);
	assert_string_equal(out, "/home/x/.ironmesh");
	assert_int_equal(home_resolve(NULL, out, 17), ERR_LIMIT);
	assert_int_equal(home_resolve("/flag", out, 5), ERR_LIMIT);
	unsetenv("STATE_DIRECTORY");
	if (home)
		setenv("HOME", home, 1);
	free(home);
}

/* Whether the machine has the system service is not ours to say: here only what does not depend on it. */
static void a_home_that_is_there_or_named_is_found(void **state)
{
	char dir[] = "/tmp/ironmesh-home-XXXXXX", own[64], out[64], *home = getenv("HOME") ? strdup(getenv("HOME")) : NULL;

	assert_non_null(mkdtemp(dir));
	snprintf(own, sizeof(own), "%s/.ironmesh", dir);
	assert_int_equal(mkdir(own, 0700), 0);
	setenv("HOME", dir, 1);
	assert_int_equal(home_find(NULL, out, sizeof(out)), ERR_OK);
	assert_string_equal(out, own);
	assert_int_equal(home_find("/flag", out, sizeof(out)), ERR_OK);
	assert_string_equal(out, "/flag");
	assert_int_equal(home_find("", out, sizeof(out)), ERR_USAGE);
	setenv("IRONMESH_HOME", "/i", 1);
	assert_int_equal(home_find(NULL, out, sizeof(out)), ERR_OK);
	assert_string_equal(out, "/i");
	unsetenv("IRONMESH_HOME");
	assert_int_equal(rmdir(own), 0);
	assert_int_equal(rmdir(dir), 0);
	if (home)
		setenv("HOME", home, 1);
	free(home);
}

static void the_control_socket_is_in_the_home(void **state)
{
	char out[64];
	bool shared = true;

	assert_int_equal(home_socket("/some/home/", out, sizeof(out), &shared), ERR_OK);
	assert_string_equal(out, "/some/home/control.sock");
	assert_false(shared);
	assert_int_equal(home_socket("/var/lib/ironmesh2", out, sizeof(out), NULL), ERR_OK);
	assert_string_equal(out, "/var/lib/ironmesh2/control.sock");
	assert_int_equal(home_socket("/some/home", out, 12, NULL), ERR_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_home_folder_is_asked_in_order),
		cmocka_unit_test(a_home_that_is_there_or_named_is_found),
		cmocka_unit_test(the_control_socket_is_in_the_home),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
