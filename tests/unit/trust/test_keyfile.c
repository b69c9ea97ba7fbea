#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/json.h"
#include "base/text.h"
#include "tests/lib/trust_env.h"
#include "trust/keyfile.h"

/* wire 11.9. Argon2id costs half a second and 256 MiB: four calls in this file, no more. */
#define PASSPHRASE BYTES_LIT("testpassphrase1234")
#define NONE	   bytes_of("", 0)
#define ED_LINE	   "  \"ed25519_public\": \"O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=\",\n"
#define PUBLIC                                                                                     \
	"{\n  \"version\": 3,\n  \"format\": \"master-seed-v1\",\n  \"agent_name\": "              \
	"\"alice\",\n" ED_LINE "  \"hkdf_salt\": \"AQIDBAUGBwgJCgsMDQ4PEA==\",\n"                  \
	"  \"x25519_public\": \"xtuit1tHAfOfMH8um5StKhvK3zYJNqjMUCwkxpaNyl8=\",\n"                 \
	"  \"x25519_binding_signature\": \"Nux3MlLsjK4/U5SAkfDyFZsm7fRJqzjx9sTPF+rdNAIgozjKoT82Q"  \
	"RObA4ZYAG6ctcb2IAHSy3Gy3rrazLIwDg==\",\n"

static const char seed_box[] =
	"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXHUT1VzjHrmuvJdXz0bzhDxJmK3PJpiabKKNvThClbvHS"
	"JVZbr+ZmnHE47y8GJRHb";
static const char x_box[] =
	"GBkaGxwdHh8gISIjJCUmJygpKissLS4vyBJ9UxRSvL0G4IwdWfmtKPwMUGrj1IB8Olcpy3eYMUgt"
	"f1Ags+SEiDezYjeeKtXx";
static const char salt_b64[] = "AAECAwQFBgcICQoLDA0ODw==";

static const char v3_clear[] =
	PUBLIC "  \"ed25519_secret\": \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\",\n"
	       "  \"x25519_seed\": \"znEI/w7KHO7K02lOKDJhcuPuG8QszmsS8Q3swSjQkKs=\",\n"
	       "  \"encrypted\": false\n}";

static struct bytes v3_encrypted(char out[static 2048], const char *second)
{
	int n = snprintf(out, 2048,
			 PUBLIC "  \"salt\": \"%s\",\n  \"ed25519_secret_encrypted\": \"%s\",\n"
				"  \"x25519_seed_encrypted\": \"%s\",\n  \"encrypted\": true\n}",
			 salt_b64, seed_box, second);

	return bytes_of(out, (size_t)n);
}

static const char v1_clear[] = "{\"agent_name\": \"alice\", \"ed25519_public\": "
			       "\"O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik="
			       "\", \"encrypted\": false, \"ed25519_secret\": "
			       "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"}";
static const char v2_clear[] = "{\"version\": 2, \"agent_name\": \"alice\", \"ed25519_public\": "
			       "\"O2onvM62pC1io6jQKm8Nc2UyFXcd4kOm"
			       "OsBIoYtZ2ik=\", \"encrypted\": false, \"ed25519_secret\": "
			       "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
			       "AAAAAAA=\"}";

static enum err parse(struct bytes json, struct bytes passphrase, struct keyfile_info *info,
		      struct fault *f)
{
	struct test_env t;
	struct keyring *k = NULL;

	test_env_init(&t);
	enum err e = keyfile_parse(json, passphrase, &t.env, &k, info, f);
	assert_true((e == ERR_OK) == (k != NULL));
	if (k)
		assert_string_equal(keyring_id(k)->hex, "139e3940e64b5491722088d9a0d74162");
	keyring_free(k);
	return e;
}

/* `json` with the value of member `key` replaced (NULL: removed). */
static enum err parse_with(const char *json, const char *key, json_t *value, struct fault *f)
{
	json_t *root = json_loads(json, 0, NULL);
	struct buf b;

	assert_non_null(root);
	if (value)
		json_object_set_new(root, key, value);
	else
		assert_int_equal(json_object_del(root, key), 0);
	buf_init(&b, KEYFILE_MAX_BYTES);
	assert_int_equal(json_write(&b, root, JSON_INSERTION), ERR_OK);
	enum err e = parse(buf_bytes(&b), NONE, NULL, f);
	buf_fini(&b);
	json_decref(root);
	return e;
}

static void clear_version_3_loads(void **state)
{
	struct keyfile_info i;

	assert_int_equal(parse(bytes_str(v3_clear), NONE, &i, NULL), ERR_OK);
	assert_int_equal(i.version, 3);
	assert_false(i.encrypted);
	assert_false(i.migrated);
	assert_string_equal(i.name, "alice");
	assert_string_equal(i.id.hex, "139e3940e64b5491722088d9a0d74162");
}

static void clear_version_3_is_written_byte_for_byte(void **state)
{
	struct keyring *k = zero_keyring();
	struct test_env t;
	struct buf out;

	test_env_init(&t);
	buf_init(&out, KEYFILE_MAX_BYTES);
	assert_int_equal(keyfile_write(k, "alice", NONE, true, &t.env, &out, NULL), ERR_OK);
	assert_string_equal(buf_cstr(&out), v3_clear);
	buf_fini(&out);
	keyring_free(k);
}

static void encrypted_version_3_is_written_as_the_vector(void **state)
{
	struct keyring *k = zero_keyring();
	uint8_t script[16 + 24 + 24];
	char want[2048];
	struct test_env t;
	struct buf out;

	test_env_init(&t);
	count_up(script, 16, 0);
	count_up(script + 16, 48, 0);
	test_env_script(&t, script, sizeof script);
	buf_init(&out, KEYFILE_MAX_BYTES);
	assert_int_equal(keyfile_write(k, "alice", PASSPHRASE, false, &t.env, &out, NULL), ERR_OK);
	v3_encrypted(want, x_box);
	assert_string_equal(buf_cstr(&out), want);
	buf_fini(&out);
	keyring_free(k);
}

static void encrypted_version_3_loads_with_its_passphrase(void **state)
{
	char text[2048];
	struct keyfile_info i;

	assert_int_equal(parse(v3_encrypted(text, x_box), PASSPHRASE, &i, NULL), ERR_OK);
	assert_true(i.encrypted);
	assert_false(i.migrated);
}

static void changed_second_box_is_corruption_not_a_wrong_passphrase(void **state)
{
	char text[2048], other[sizeof x_box];
	struct fault f = {0};

	memcpy(other, x_box, sizeof other);
	other[60] = other[60] == 'A' ? 'B' : 'A';
	assert_int_equal(parse(v3_encrypted(text, other), PASSPHRASE, NULL, &f), ERR_CORRUPT);
	assert_int_equal(f.code, EXIT_INTEGRITY);
	assert_non_null(strstr(f.what, "x25519_seed_encrypted"));
}

static void wrong_passphrase_is_refused_for_version_1_too(void **state)
{
	char text[1024];
	struct fault f = {0};
	int n = snprintf(text, sizeof text,
			 "{" ED_LINE
			 "\"agent_name\": \"alice\", \"encrypted\": true, \"salt\": \"%s\", "
			 "\"ed25519_secret_encrypted\": \"%s\"}",
			 salt_b64, seed_box);

	assert_int_equal(
		parse(bytes_of(text, (size_t)n), BYTES_LIT("testpassphrase1235"), NULL, &f),
		ERR_AUTH);
	assert_int_equal(f.code, EXIT_INTEGRITY);
	assert_true(f.next[0] != '\0');
}

static void encrypted_without_a_passphrase_is_denied(void **state)
{
	char text[2048];
	struct fault f = {0};

	assert_int_equal(parse(v3_encrypted(text, x_box), NONE, NULL, &f), ERR_DENIED);
	assert_true(f.means[0] != '\0' && f.next[0] != '\0');
}

static void peek_needs_no_passphrase(void **state)
{
	char text[2048];
	struct keyfile_info i;

	assert_int_equal(keyfile_peek(v3_encrypted(text, x_box), &i, NULL), ERR_OK);
	assert_int_equal(i.version, 3);
	assert_true(i.encrypted);
	assert_string_equal(i.id.hex, "139e3940e64b5491722088d9a0d74162");
	assert_int_equal(keyfile_peek(bytes_str(v1_clear), &i, NULL), ERR_OK);
	assert_int_equal(i.version, 1);
	assert_true(i.migrated);
}

static void old_versions_load_with_a_fresh_salt(void **state)
{
	static const char *const files[] = {v1_clear, v2_clear};

	for (int v = 1; v <= 2; v++) {
		struct test_env t;
		struct keyfile_info i;
		struct keyring *a, *b;

		test_env_init(&t);
		assert_int_equal(keyfile_parse(bytes_str(files[v - 1]), NONE, &t.env, &a, &i, NULL),
				 ERR_OK);
		assert_int_equal(
			keyfile_parse(bytes_str(files[v - 1]), NONE, &t.env, &b, NULL, NULL),
			ERR_OK);
		assert_int_equal(i.version, v);
		assert_true(i.migrated);
		assert_true(node_id_eq(keyring_id(a), keyring_id(b)));
		assert_memory_not_equal(keyring_x25519(a), keyring_x25519(b), X25519_BYTES);
		assert_true(x25519_binding_verify(keyring_ed(a), keyring_x25519(a),
						  keyring_binding(a)));
		keyring_free(a);
		keyring_free(b);
	}
}

static void every_shorter_prefix_and_one_byte_more_is_refused(void **state)
{
	char longer[sizeof v3_clear + 1];
	struct fault f;

	for (size_t n = 0; n < sizeof v3_clear - 1; n++)
		assert_int_equal(parse(bytes_of(v3_clear, n), NONE, NULL, &f), ERR_CORRUPT);
	snprintf(longer, sizeof longer, "%s}", v3_clear);
	assert_int_equal(parse(bytes_str(longer), NONE, NULL, &f), ERR_CORRUPT);
}

static void load_checks_refuse_keys_that_do_not_belong_together(void **state)
{
	static const char *const keys[] = {
		"ed25519_public", "ed25519_secret",	      "hkdf_salt",
		"x25519_public",  "x25519_binding_signature", "x25519_seed"};
	struct fault f;

	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		json_t *root = json_loads(v3_clear, 0, NULL);
		char *text = strdup(json_str(root, keys[i]));

		/* Still canonical base64, one bit of the first byte differs. */
		text[0] = text[0] == 'A' ? 'B' : 'A';
		assert_int_equal(parse_with(v3_clear, keys[i], json_string(text), &f), ERR_CORRUPT);
		assert_int_equal(f.code, EXIT_INTEGRITY);
		free(text);
		json_decref(root);
	}
	assert_int_equal(parse_with(v1_clear, "ed25519_public",
				    json_string("AOHgeRjh99sSDDITSyRW6qKMPuT0gHPYfgBlqSDWfag="),
				    &f),
			 ERR_CORRUPT);
}

static void missing_or_mistyped_members_are_corruption(void **state)
{
	static const char *const keys[] = {
		"format",	 "ed25519_public",	     "hkdf_salt",
		"x25519_public", "x25519_binding_signature", "ed25519_secret",
		"x25519_seed"};
	struct fault f;

	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		assert_int_equal(parse_with(v3_clear, keys[i], NULL, &f), ERR_CORRUPT);
		assert_int_equal(parse_with(v3_clear, keys[i], json_integer(7), &f), ERR_CORRUPT);
		assert_int_equal(parse_with(v3_clear, keys[i], json_string("AAAA"), &f),
				 ERR_CORRUPT);
	}
	assert_int_equal(parse_with(v3_clear, "encrypted", json_string("false"), &f), ERR_CORRUPT);
	assert_int_equal(parse_with(v3_clear, "agent_name", json_integer(1), &f), ERR_CORRUPT);
	assert_int_equal(parse_with(v3_clear, "version", json_string("3"), &f), ERR_CORRUPT);
	assert_int_equal(parse_with(v3_clear, "version", json_integer(0), &f), ERR_CORRUPT);
	assert_int_equal(parse_with(v3_clear, "version", json_integer(4), &f), ERR_UNSUPPORTED);
	assert_int_equal(parse(BYTES_LIT("[]"), NONE, NULL, &f), ERR_CORRUPT);
}

static void names_of_strangers_are_cleaned_for_people(void **state)
{
	struct keyfile_info i;

	assert_int_equal(
		keyfile_peek(BYTES_LIT("{" ED_LINE "\"agent_name\": \"a\\u001b[31mb\"}"), &i, NULL),
		ERR_OK);
	assert_string_equal(i.name, "a?[31mb");
}

static void clear_and_passphrase_must_agree(void **state)
{
	struct keyring *k = zero_keyring();
	struct test_env t;
	struct fault f = {0};
	struct buf out;

	test_env_init(&t);
	buf_init(&out, KEYFILE_MAX_BYTES);
	assert_int_equal(keyfile_write(k, "a", NONE, false, &t.env, &out, &f), ERR_USAGE);
	assert_int_equal(f.code, EXIT_USAGE);
	assert_int_equal(keyfile_write(k, "a", PASSPHRASE, true, &t.env, &out, &f), ERR_USAGE);
	assert_int_equal(keyfile_write(k, "a\xff", NONE, true, &t.env, &out, &f), ERR_USAGE);
	assert_int_equal(out.n, 0);
	buf_fini(&out);
	keyring_free(k);
}

/* --- on disk ------------------------------------------------------------------------------- */

static void create_never_overwrites(void **state)
{
	struct keyring *k = zero_keyring(), *loaded;
	struct test_env t;
	struct temp temp;
	struct stat st;
	struct keyfile_info i;

	test_env_init(&t);
	temp_make(&temp, "keys.json");
	assert_int_equal(keyfile_load(temp.file, NONE, &t.env, &loaded, &i, NULL), ERR_NOTFOUND);
	assert_int_equal(keyfile_create(temp.file, k, "alice", NONE, true, &t.env, NULL), ERR_OK);
	assert_int_equal(stat(temp.file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(keyfile_create(temp.file, k, "bob", NONE, true, &t.env, NULL), ERR_EXISTS);
	assert_int_equal(keyfile_load(temp.file, NONE, &t.env, &loaded, &i, NULL), ERR_OK);
	assert_string_equal(i.name, "alice");
	assert_memory_equal(keyring_x25519(k), keyring_x25519(loaded), X25519_BYTES);
	keyring_free(loaded);
	assert_int_equal(chmod(temp.file, 0644), 0);
	assert_int_equal(keyfile_load(temp.file, NONE, &t.env, &loaded, &i, NULL), ERR_DENIED);
	temp_remove(&temp);
	keyring_free(k);
}

static void migrate_keeps_the_original_and_the_identity(void **state)
{
	struct test_env t;
	struct temp temp;
	struct keyfile_info i;
	struct keyring *k;
	char backup[160], text[2048];

	test_env_init(&t);
	temp_make(&temp, "keys.json");
	snprintf(backup, sizeof backup, "%s.legacy.bak", temp.file);
	write_file(temp.file, v1_clear, sizeof v1_clear - 1);
	assert_int_equal(keyfile_migrate(temp.file, NONE, &t.env, NULL), ERR_OK);
	read_file(backup, text, sizeof text);
	assert_string_equal(text, v1_clear);
	assert_int_equal(keyfile_load(temp.file, NONE, &t.env, &k, &i, NULL), ERR_OK);
	assert_int_equal(i.version, 3);
	assert_string_equal(i.name, "alice");
	assert_string_equal(i.id.hex, "139e3940e64b5491722088d9a0d74162");
	keyring_free(k);
	assert_int_equal(keyfile_migrate(temp.file, NONE, &t.env, NULL), ERR_WRONG_STATE);

	/* A try that was cut off after the backup goes through; a foreign backup is not touched. */
	write_file(temp.file, v1_clear, sizeof v1_clear - 1);
	assert_int_equal(keyfile_migrate(temp.file, NONE, &t.env, NULL), ERR_OK);
	write_file(temp.file, v2_clear, sizeof v2_clear - 1);
	struct fault f = {0};
	assert_int_equal(keyfile_migrate(temp.file, NONE, &t.env, &f), ERR_EXISTS);
	assert_true(f.next[0] != '\0');
	read_file(backup, text, sizeof text);
	assert_string_equal(text, v1_clear);
	read_file(temp.file, text, sizeof text);
	assert_string_equal(text, v2_clear);
	temp_remove(&temp);
}

static void encrypt_keeps_the_identity_and_nothing_in_clear(void **state)
{
	struct bytes pass = bytes_str("a passphrase that is long enough");
	struct test_env t;
	struct temp temp;
	struct keyfile_info i;
	struct keyring *k;
	char text[2048], clear[2048];

	test_env_init(&t);
	temp_make(&temp, "keys.json");
	write_file(temp.file, v1_clear, sizeof v1_clear - 1);
	assert_int_equal(keyfile_encrypt(temp.file, pass, &t.env, NULL), ERR_WRONG_STATE);
	assert_int_equal(keyfile_migrate(temp.file, NONE, &t.env, NULL), ERR_OK);
	read_file(temp.file, clear, sizeof clear);
	assert_int_equal(keyfile_encrypt(temp.file, NONE, &t.env, NULL), ERR_USAGE);
	read_file(temp.file, text, sizeof text);
	assert_string_equal(text, clear);
	assert_int_equal(keyfile_encrypt(temp.file, pass, &t.env, NULL), ERR_OK);
	assert_int_equal(keyfile_load(temp.file, NONE, &t.env, &k, &i, NULL), ERR_DENIED);
	assert_int_equal(keyfile_load(temp.file, pass, &t.env, &k, &i, NULL), ERR_OK);
	assert_true(i.encrypted);
	assert_string_equal(i.name, "alice");
	assert_string_equal(i.id.hex, "139e3940e64b5491722088d9a0d74162");
	keyring_free(k);
	assert_int_equal(keyfile_encrypt(temp.file, pass, &t.env, NULL), ERR_WRONG_STATE);
}

static void rotate_makes_a_new_identity_and_keeps_the_old_file(void **state)
{
	struct test_env t;
	struct temp temp;
	struct keyfile_info i;
	struct keyring *fresh, *loaded;
	char backup[160], text[2048];

	test_env_init(&t);
	temp_make(&temp, "keys.json");
	snprintf(backup, sizeof backup, "%s.139e3940e64b5491722088d9a0d74162.bak", temp.file);
	write_file(temp.file, v3_clear, sizeof v3_clear - 1);
	assert_int_equal(keyfile_rotate(temp.file, NONE, &t.env, &fresh, NULL), ERR_OK);
	assert_string_not_equal(keyring_id(fresh)->hex, "139e3940e64b5491722088d9a0d74162");
	read_file(backup, text, sizeof text);
	assert_string_equal(text, v3_clear);
	assert_int_equal(keyfile_load(temp.file, NONE, &t.env, &loaded, &i, NULL), ERR_OK);
	assert_true(node_id_eq(keyring_id(fresh), keyring_id(loaded)));
	assert_memory_equal(keyring_x25519(fresh), keyring_x25519(loaded), X25519_BYTES);
	assert_string_equal(i.name, "alice");
	keyring_free(fresh);
	keyring_free(loaded);
	temp_remove(&temp);
}

static void rotate_that_cannot_write_leaves_the_file(void **state)
{
	struct test_env t;
	struct temp temp;
	struct keyring *fresh = NULL;
	char backup[160], text[2048];

	test_env_init(&t);
	temp_make(&temp, "keys.json");
	write_file(temp.file, v3_clear, sizeof v3_clear - 1);
	/* Root writes into read-only folders; a folder in the place of the backup stops him too. */
	snprintf(backup, sizeof backup, "%s.139e3940e64b5491722088d9a0d74162.bak", temp.file);
	assert_int_equal(mkdir(backup, 0700), 0);
	assert_int_not_equal(keyfile_rotate(temp.file, NONE, &t.env, &fresh, NULL), ERR_OK);
	assert_null(fresh);
	read_file(temp.file, text, sizeof text);
	assert_string_equal(text, v3_clear);
	temp_remove(&temp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clear_version_3_loads),
		cmocka_unit_test(clear_version_3_is_written_byte_for_byte),
		cmocka_unit_test(encrypted_version_3_is_written_as_the_vector),
		cmocka_unit_test(encrypted_version_3_loads_with_its_passphrase),
		cmocka_unit_test(changed_second_box_is_corruption_not_a_wrong_passphrase),
		cmocka_unit_test(wrong_passphrase_is_refused_for_version_1_too),
		cmocka_unit_test(encrypted_without_a_passphrase_is_denied),
		cmocka_unit_test(peek_needs_no_passphrase),
		cmocka_unit_test(old_versions_load_with_a_fresh_salt),
		cmocka_unit_test(every_shorter_prefix_and_one_byte_more_is_refused),
		cmocka_unit_test(load_checks_refuse_keys_that_do_not_belong_together),
		cmocka_unit_test(missing_or_mistyped_members_are_corruption),
		cmocka_unit_test(names_of_strangers_are_cleaned_for_people),
		cmocka_unit_test(clear_and_passphrase_must_agree),
		cmocka_unit_test(create_never_overwrites),
		cmocka_unit_test(migrate_keeps_the_original_and_the_identity),
		cmocka_unit_test(encrypt_keeps_the_identity_and_nothing_in_clear),
		cmocka_unit_test(rotate_makes_a_new_identity_and_keeps_the_old_file),
		cmocka_unit_test(rotate_that_cannot_write_leaves_the_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
