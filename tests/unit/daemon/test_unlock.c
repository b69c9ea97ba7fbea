#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "daemon/loop.h"
#include "daemon/unlock.h"

static char dir[64], kept[96], other[96];
static struct env env;
static struct run_config c;
static struct unlock u;
static struct fault f;

static int setup(void **state)
{
	env_of_system(&env);
	run_config_init(&c);
	f = (struct fault){ 0 };
	snprintf(dir, sizeof(dir), "/tmp/ironmesh-unlock-XXXXXX");
	if (!mkdtemp(dir) || secret_init_library() != ERR_OK)
		return -1;
	snprintf(kept, sizeof(kept), "%s/key-passphrase", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	unsetenv("CREDENTIALS_DIRECTORY");
	unsetenv("IRONMESH_PASSPHRASE");
	/* Nobody is at the terminal. */
	return dup2(open("/dev/null", O_RDONLY), STDIN_FILENO) == STDIN_FILENO ? 0 : -1;
}

static int teardown(void **state)
{
	char mesh[96];

	snprintf(mesh, sizeof(mesh), "%s/passphrase", dir);
	unlink(mesh);
	unlink(kept);
	unlink(other);
	run_config_fini(&c);
	return rmdir(dir);
}

static void write_in(const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(file_write_secret(path, bytes_str(text), &f), ERR_OK);
}

static void nobody_is_asked_and_the_key_gets_a_passphrase(void **state)
{
	struct stat st;
	struct secret again = { 0 };

	c.unattended = true;
	assert_int_equal(unlock_find(&c, dir, true, &env, &u, &f), ERR_OK);
	assert_true(u.without);
	assert_false(u.key_is_mesh);
	assert_int_equal(unlock_key(&u).n, 34);
	assert_int_equal(stat(kept, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(unlock_home_key(dir, &again, &f), ERR_OK);
	assert_int_equal(again.n, 34);
	assert_memory_equal(again.p, u.key.p, 34);
	secret_free(&again);
	unlock_fini(&u);
	/* The next start finds it, and makes no other. */
	assert_int_equal(unlock_find(&c, dir, false, &env, &u, &f), ERR_OK);
	assert_int_equal(unlock_key(&u).n, 34);
	unlock_fini(&u);
}

static void a_passphrase_that_is_there_is_taken(void **state)
{
	c.unattended = true;
	write_in("passphrase", "of the whole mesh\n");
	assert_int_equal(unlock_find(&c, dir, true, &env, &u, &f), ERR_OK);
	assert_false(u.without);
	assert_true(u.key_is_mesh);
	assert_int_equal(u.mesh.n, 17);
	unlock_fini(&u);
	assert_int_not_equal(access(kept, F_OK), 0);
	/* A passphrase of the mesh that comes later does not lock the key. */
	write_in("key-passphrase", "of the key alone\n");
	assert_int_equal(unlock_find(&c, dir, false, &env, &u, &f), ERR_OK);
	assert_int_equal(u.mesh.n, 17);
	assert_int_equal(unlock_key(&u).n, 16);
	unlock_fini(&u);
}

static void a_file_or_a_credential_goes_before_what_is_kept(void **state)
{
	c.no_passphrase = true;
	write_in("key-passphrase", "of the key alone\n");
	write_in("other", "from somewhere else\n");
	c.key_passphrase_file = other;
	assert_int_equal(unlock_find(&c, dir, false, &env, &u, &f), ERR_OK);
	assert_int_equal(unlock_key(&u).n, 19);
	unlock_fini(&u);
	c.key_passphrase_file = NULL;
	assert_int_equal(unlock_find(&c, dir, false, &env, &u, &f), ERR_OK);
	assert_int_equal(unlock_key(&u).n, 16);
	unlock_fini(&u);
}

static void what_was_not_asked_for_is_not_made(void **state)
{
	assert_int_equal(unlock_find(&c, dir, true, &env, &u, &f), ERR_USAGE);
	c.no_passphrase = true;
	assert_int_equal(unlock_find(&c, dir, true, &env, &u, &f), ERR_USAGE);
	assert_non_null(strstr(f.what, "a passphrase of its own"));
	assert_int_not_equal(access(kept, F_OK), 0);
	/* The old wire meets nobody without the passphrase of the mesh. */
	c.no_passphrase = false;
	c.unattended = true;
	c.policy.im2 = IM2_OFF;
	assert_int_equal(unlock_find(&c, dir, true, &env, &u, &f), ERR_USAGE);
	assert_int_not_equal(access(kept, F_OK), 0);
	/* A key file in clear needs none. */
	c.policy.im2 = IM2_ON;
	assert_int_equal(unlock_find(&c, dir, false, &env, &u, &f), ERR_OK);
	assert_int_equal(unlock_key(&u).n, 0);
	unlock_fini(&u);
}

static void a_wide_file_is_refused(void **state)
{
	c.unattended = true;
	write_in("key-passphrase", "of the key alone\n");
	assert_int_equal(chmod(kept, 0644), 0);
	assert_int_equal(unlock_find(&c, dir, false, &env, &u, &f), ERR_DENIED);
	assert_int_equal(f.code, EXIT_USAGE);
}

int main(void)
{
#define T(x) cmocka_unit_test_setup_teardown(x, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(nobody_is_asked_and_the_key_gets_a_passphrase),
		T(a_passphrase_that_is_there_is_taken),
		T(a_file_or_a_credential_goes_before_what_is_kept),
		T(what_was_not_asked_for_is_not_made),
		T(a_wide_file_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
