#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "daemon/loop.h"
#include "daemon/ownkey.h"

static char dir[64], path[96];
static struct env env;
static struct ownkey key;
static struct fault f;

static int setup(void **state)
{
	log_setup(&(struct log_config){ .level = LOG_ERROR, .fd = -1 });
	env_of_system(&env);
	f = (struct fault){ 0 };
	snprintf(dir, sizeof(dir), "/tmp/ironmesh-ownkey-XXXXXX");
	if (!mkdtemp(dir) || secret_init_library() != ERR_OK)
		return -1;
	snprintf(path, sizeof(path), "%s/keys.json", dir);
	return 0;
}

static int teardown(void **state)
{
	char backup[128];

	snprintf(backup, sizeof(backup), "%s.legacy.bak", path);
	unlink(backup);
	unlink(path);
	return rmdir(dir);
}

static enum err open_key(const char *passphrase, const char *name, bool clear)
{
	return ownkey_open(path, bytes_str(passphrase), name, clear, &env, &key, &f);
}

static void the_first_start_makes_an_identity_and_the_next_finds_it(void **state)
{
	struct node_id id;

	assert_int_equal(open_key("a passphrase of the mesh", "alice", true), ERR_OK);
	assert_true(key.made);
	assert_false(key.info.encrypted);
	assert_string_equal(key.name, "alice");
	assert_true(node_id_eq(&key.info.id, keyring_id(key.keyring)));
	id = key.info.id;
	ownkey_close(&key);
	assert_int_equal(open_key("a passphrase of the mesh", NULL, true), ERR_OK);
	assert_false(key.made);
	assert_string_equal(key.name, "alice");
	assert_true(node_id_eq(&id, keyring_id(key.keyring)));
	ownkey_close(&key);
	/* A name that is given counts for this run. */
	assert_int_equal(open_key("", "other", false), ERR_OK);
	assert_string_equal(key.name, "other");
	ownkey_close(&key);
	ownkey_close(&key);
}

static void an_identity_is_encrypted_unless_somebody_says_clear(void **state)
{
	assert_int_equal(open_key("a passphrase of the mesh", "alice", false), ERR_OK);
	assert_true(key.info.encrypted);
	ownkey_close(&key);
	assert_int_equal(open_key("another passphrase of it", NULL, false), ERR_AUTH);
	assert_int_equal(open_key("", NULL, true), ERR_DENIED);
}

static void without_a_name_nothing_is_made(void **state)
{
	assert_int_equal(open_key("a passphrase of the mesh", NULL, true), ERR_USAGE);
	assert_int_equal(f.code, EXIT_USAGE);
	assert_non_null(strstr(f.what, "--name"));
	assert_int_not_equal(access(path, F_OK), 0);
}

/* As the old software wrote it: version 2, in clear. */
static void write_old(const char *name)
{
	struct buf b;
	json_t *v;
	char *text;

	assert_int_equal(open_key("", "alice", true), ERR_OK);
	ownkey_close(&key);
	buf_init(&b, KEYFILE_MAX_BYTES);
	assert_int_equal(file_read_secret(path, &b, &f), ERR_OK);
	assert_int_equal(json_load_strict(buf_bytes(&b), KEYFILE_MAX_BYTES, &v), ERR_OK);
	buf_fini(&b);
	json_object_set_new(v, "version", json_integer(2));
	json_object_set_new(v, "agent_name", json_string(name));
	json_object_del(v, "format");
	json_object_del(v, "hkdf_salt");
	json_object_del(v, "x25519_public");
	json_object_del(v, "x25519_binding_signature");
	json_object_del(v, "x25519_seed");
	text = json_dumps(v, 0);
	json_decref(v);
	assert_int_equal(file_write_secret(path, bytes_str(text), &f), ERR_OK);
	free(text);
}

static void an_old_key_file_is_rewritten_once_so_that_its_keys_stay(void **state)
{
	uint8_t x[X25519_BYTES];
	struct secret wrap;

	write_old("alice");
	assert_int_equal(open_key("", NULL, false), ERR_OK);
	assert_int_equal(key.info.version, 3);
	memcpy(x, keyring_x25519(key.keyring), sizeof(x));
	assert_int_equal(keyring_derive(key.keyring, DERIVE_DB_WRAP, &wrap), ERR_OK);
	ownkey_close(&key);
	assert_int_equal(open_key("", NULL, false), ERR_OK);
	assert_memory_equal(x, keyring_x25519(key.keyring), sizeof(x));
	/* The database opens with the same key again. */
	struct secret again;

	assert_int_equal(keyring_derive(key.keyring, DERIVE_DB_WRAP, &again), ERR_OK);
	assert_memory_equal(wrap.p, again.p, wrap.n);
	secret_free(&wrap);
	secret_free(&again);
	ownkey_close(&key);
}

static void a_name_the_old_software_took_may_have_to_be_replaced(void **state)
{
	write_old("Alice's laptop");
	assert_int_equal(open_key("", NULL, false), ERR_USAGE);
	assert_non_null(strstr(f.what, "laptop"));
	assert_int_equal(open_key("", "alice", false), ERR_OK);
	assert_string_equal(key.name, "alice");
	ownkey_close(&key);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_first_start_makes_an_identity_and_the_next_finds_it),
		TEST(an_identity_is_encrypted_unless_somebody_says_clear),
		TEST(without_a_name_nothing_is_made),
		TEST(an_old_key_file_is_rewritten_once_so_that_its_keys_stay),
		TEST(a_name_the_old_software_took_may_have_to_be_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
