#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/config.h"
#include "protocol/session.h"

static struct run_config c;
static struct fault f;

static int setup(void **state)
{
	run_config_init(&c);
	f = (struct fault){ 0 };
	return 0;
}

static int teardown(void **state)
{
	run_config_fini(&c);
	return 0;
}

#define PARSE(...) parse((const char *[]){ "run", __VA_ARGS__, NULL })

static enum err parse(const char **argv)
{
	int argc = 0;

	while (argv[argc])
		argc++;
	run_config_fini(&c);
	run_config_init(&c);
	/* getopt moves the pointers only */
	return run_config_load(&c, &(struct config_sources){ .argc = argc, .argv = (char **)argv }, &f);
}

static void no_option_gives_the_standards(void **state)
{
	const char *argv[] = { "run", NULL };

	assert_int_equal(parse(argv), ERR_OK);
	assert_string_equal(c.bind, "0.0.0.0");
	assert_int_equal(c.port, 8765);
	assert_null(c.name);
	assert_int_equal(c.passphrase_fd, -1);
	assert_int_equal(c.policy.min_version, VERSION_OF(0, 3));
	assert_int_equal(c.rekey_ms, 1800000);
	assert_true(c.connect_rate == 20);
	assert_false(c.policy.trust_on_first_use);
	assert_false(c.allow_plaintext);
	assert_int_equal(c.policy.im2, IM2_ON);
	assert_string_equal(c.mesh, "default");
	assert_int_equal(c.passgen, 0);
	assert_false(c.pad || c.sign_always || c.tls_binding);
}

static void every_option_reaches_its_member(void **state)
{
	assert_int_equal(PARSE("--name", "alice", "--port=0", "--bind", "::1", "--passphrase-fd", "3",
			       "--key-passphrase-file", "k", "--clear-keys", "--peer", "a:1", "--peer", "b:2#x",
			       "--allowed-peers", "bob,carol", "--trust-on-first-use", "--strict-tls",
			       "--pinned-ca", "ca.pem", "--min-protocol-version", "ironmesh/0.9",
			       "--rekey-interval", "90s", "--connect-rate", "0", "--log-level", "debug",
			       "--log-format", "json"),
			 ERR_OK);
	assert_string_equal(c.name, "alice");
	assert_int_equal(c.port, 0);
	assert_string_equal(c.bind, "::1");
	assert_int_equal(c.passphrase_fd, 3);
	assert_string_equal(c.key_passphrase_file, "k");
	assert_true(c.clear_keys && c.policy.trust_on_first_use && c.strict_tls);
	assert_int_equal(c.peer_count, 2);
	assert_string_equal(c.peers[1], "b:2#x");
	assert_int_equal(c.policy.allowed_count, 2);
	assert_string_equal(c.pinned_ca, "ca.pem");
	assert_int_equal(c.policy.min_version, VERSION_OF(0, 9));
	assert_int_equal(c.rekey_ms, 90000);
	assert_true(c.connect_rate == 0);
	assert_int_equal(c.log_level, LOG_DEBUG);
	assert_int_equal(c.log_format, LOG_JSON);
}

static void the_native_wire_has_its_options(void **state)
{
	assert_int_equal(PARSE("--im2", "require", "--pad", "--sign-always", "--tls-binding", "on", "--mesh", "b\xc3\xbcro", "--passgen", "65535",
			       "--rotate-verified", "keep"), ERR_OK);
	assert_int_equal(c.policy.im2, IM2_REQUIRE);
	assert_true(c.pad && c.sign_always && c.tls_binding && c.rotate_keeps_verified);
	assert_string_equal(c.mesh, "b\xc3\xbcro");
	assert_int_equal(c.passgen, 65535);
	teardown(NULL);
	setup(NULL);
	assert_int_equal(PARSE("--im2", "off", "--tls-binding", "off", "--rotate-verified", "drop"), ERR_OK);
	assert_false(c.rotate_keeps_verified);
	assert_int_equal(c.policy.im2, IM2_OFF);
	teardown(NULL);
	setup(NULL);
	assert_int_equal(PARSE("--require-im2", "--im2", "require"), ERR_OK);
	assert_int_equal(c.policy.im2, IM2_REQUIRE);
}

#define KEY_HEX "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a" /* RFC 8032, test 1 */
#define KEY_B64 "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
#define KEY_2 "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
#define KEY_3 "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"

static void administrators_are_keys_and_a_majority(void **state)
{
	char dir[] = "/tmp/ironmesh-config-XXXXXX", path[64], arg[80];
	FILE *file;

	assert_int_equal(PARSE("--port", "0"), ERR_OK);
	assert_int_equal(c.admins.n, 0);
	assert_int_equal(c.admins.quorum, 0);
	assert_int_equal(PARSE("--revoke-admins", KEY_B64 ", " KEY_2, "--revoke-admins", KEY_3), ERR_OK);
	assert_int_equal(c.admins.n, 3);
	assert_int_equal(c.admins.quorum, 2);
	assert_int_equal(c.admins.ed[0][0], 0xd7);
	assert_int_equal(c.admins.ed[2][31], 0x25);
	teardown(NULL);
	setup(NULL);
	assert_int_equal(PARSE("--revoke-quorum", "2", "--revoke-admins", KEY_2 "," KEY_3), ERR_OK);
	assert_int_equal(c.admins.quorum, 2);
	teardown(NULL);
	setup(NULL);
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/admins", dir);
	snprintf(arg, sizeof arg, "@%s", path);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs("# who may revoke\n" KEY_B64 " # alice\n" KEY_2 "\n" KEY_3 "\n", file);
	fclose(file);
	assert_int_equal(PARSE("--revoke-admins", arg, "--revoke-quorum", "3"), ERR_OK);
	assert_int_equal(c.admins.n, 3);
	assert_int_equal(c.admins.quorum, 3);
	unlink(path);
	rmdir(dir);
}

static void refused(enum err e, const char *what)
{
	assert_int_equal(e, ERR_USAGE);
	assert_int_equal(f.code, EXIT_USAGE);
	if (!strstr(f.what, what))
		fail_msg("'%s' does not say '%s'", f.what, what);
	assert_true(f.next[0]);
	teardown(NULL);
	setup(NULL);
}

static void wrong_values_are_usage_errors_that_name_them(void **state)
{
	refused(PARSE("--port", "65536"), "65536");
	refused(PARSE("--port", "-1"), "-1");
	refused(PARSE("--port", " 1"), "--port");
	refused(PARSE("--port", ""), "--port");
	refused(PARSE("--name", "a b"), "a b");
	refused(PARSE("--name", "-x"), "-x");
	refused(PARSE("--bind", ""), "--bind");
	refused(PARSE("--passphrase-fd", "x"), "x");
	refused(PARSE("--min-protocol-version", "1.0"), "1.0");
	refused(PARSE("--min-protocol-version", "0.10"), "0.10");
	refused(PARSE("--min-protocol-version", "9"), "'9'");
	refused(PARSE("--min-protocol-version", "0.9.1"), "0.9.1");
	refused(PARSE("--rekey-interval", "1s"), "1s");
	refused(PARSE("--rekey-interval", "soon"), "soon");
	refused(PARSE("--connect-rate", "-1"), "-1");
	refused(PARSE("--connect-rate", "nan"), "nan");
	refused(PARSE("--connect-rate", "1e7"), "1e7");
	refused(PARSE("--log-level", "loud"), "loud");
	refused(PARSE("--log-format", "xml"), "xml");
	refused(PARSE("--im2", "maybe"), "maybe");
	refused(PARSE("--tls-binding", "yes"), "yes");
	refused(PARSE("--revoke-admins", "alice"), "alice");
	refused(PARSE("--revoke-admins", "d75a980182b10ab7d54bfed3c964073a"), "d75a"); /* a fingerprint */
	refused(PARSE("--revoke-admins", KEY_2 "," KEY_B64 "," KEY_HEX), "twice");
	/* No point of the curve, and one of small order. */
	refused(PARSE("--revoke-admins", "0200000000000000000000000000000000000000000000000000000000000000"), "02");
	refused(PARSE("--revoke-admins", "0100000000000000000000000000000000000000000000000000000000000000"), "01");
	refused(PARSE("--revoke-quorum", "17"), "17");
	refused(PARSE("--revoke-quorum", "0"), "0");
	refused(PARSE("--mesh", ""), "mesh");
	refused(PARSE("--mesh", "a\tb"), "mesh");
	refused(PARSE("--mesh", "\xff"), "mesh");
	refused(PARSE("--mesh", "12345678901234567890123456789012345678901234567890123456789012345"), "mesh");
	refused(PARSE("--passgen", "65536"), "65536");
	refused(PARSE("--passgen", "-1"), "-1");
}

static void a_slip_of_the_finger_gets_a_suggestion(void **state)
{
	assert_int_equal(PARSE("--passphrase-fil", "x"), ERR_OK); /* an unambiguous beginning */
	teardown(NULL);
	setup(NULL);
	assert_int_equal(PARSE("--passprase-file", "x"), ERR_USAGE);
	assert_non_null(strstr(f.what, "--passprase-file"));
	assert_non_null(strstr(f.means, "'--passphrase-file'"));
	assert_int_equal(PARSE("--zzzzzzzzzzzzzz"), ERR_USAGE);
	assert_null(strstr(f.means, "mean"));
}

static void missing_and_superfluous_values_are_refused(void **state)
{
	refused(PARSE("--port"), "--port");
	refused(PARSE("--rotate-verified", "maybe"), "keep or drop");
	refused(PARSE("--strict-tls=yes"), "--strict-tls");
	refused(PARSE("-x"), "-x");
	refused(PARSE("alice"), "alice");
	refused(PARSE("--strict-tls", "alice"), "alice");
}

static void options_that_contradict_are_refused(void **state)
{
	refused(PARSE("--passphrase-file", "x", "--passphrase-fd", "3"), "exclude");
	refused(PARSE("--pinned-ca", "x"), "--strict-tls");
	refused(PARSE("--strict-tls", "--allow-plaintext-ws"), "exclude");
	refused(PARSE("--tls-binding", "on", "--allow-plaintext-ws"), "exclude");
	refused(PARSE("--tls-binding", "on", "--im2", "off"), "--im2 on");
	refused(PARSE("--revoke-quorum", "2"), "--revoke-admins");
	refused(PARSE("--revoke-admins", KEY_2), "at least 2");
	refused(PARSE("--revoke-admins", KEY_2 "," KEY_3, "--revoke-quorum", "1"), "--revoke-quorum: 1");
	refused(PARSE("--revoke-admins", KEY_2 "," KEY_3, "--revoke-quorum", "3"), "--revoke-quorum: 3");
	refused(PARSE("--revoke-admins", KEY_2 "," KEY_3, "--im2", "off"), "--im2 on");
	refused(PARSE("--no-listen", "--discovery", "off"), "--peer");
	refused(PARSE("--require-im2", "--im2", "on"), "contradict");
	refused(PARSE("--im2", "off", "--require-im2"), "contradict");
	refused(PARSE("--im2", "off", "--pad"), "--im2 on");
	refused(PARSE("--im2", "off", "--no-passphrase"), "--im2 on");
	refused(PARSE("--sign-always", "--im2", "off"), "--im2 on");
	assert_int_equal(PARSE("--no-listen"), ERR_OK);
	assert_int_equal(PARSE("--no-listen", "--discovery", "off", "--peer", "a:1"), ERR_OK);
	assert_null(c.bind);
}

static void an_allow_list_may_be_a_file(void **state)
{
	char path[] = "/tmp/ironmesh-config-XXXXXX", arg[64];
	static const char text[] = "bob # a friend\n# nobody\ncarol,dave\n";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	close(fd);
	snprintf(arg, sizeof(arg), "@%s", path);
	assert_int_equal(PARSE("--allowed-peers", arg), ERR_OK);
	assert_int_equal(c.policy.allowed_count, 3);
	teardown(NULL);
	setup(NULL);
	assert_int_equal(PARSE("--allowed-peers", path, "--allowed-peers", "erin,bob"), ERR_OK); /* a '/' is in no name */
	assert_int_equal(c.policy.allowed_count, 4);
	/* A list that names nobody is a mistake, not an open door. */
	assert_int_equal(truncate(path, 0), 0);
	teardown(NULL);
	setup(NULL);
	refused(PARSE("--allowed-peers", path), "names nobody");
	teardown(NULL);
	setup(NULL);
	refused(PARSE("--allowed-peers", ""), "names nobody");
	teardown(NULL);
	setup(NULL);
	unlink(path);
	assert_int_not_equal(PARSE("--allowed-peers", arg), ERR_OK);
	assert_int_equal(f.code, EXIT_USAGE);
	assert_int_equal(PARSE("--allowed-peers", "bad name!"), ERR_USAGE);
	teardown(NULL);
	setup(NULL);
	assert_false(c.cap_change_holds);
	assert_int_equal(PARSE("--cap-change", "hold"), ERR_OK);
	assert_true(c.cap_change_holds);
	refused(PARSE("--cap-change", "perhaps"), "show or hold");
}

static void help_stops_the_parsing(void **state)
{
	assert_int_equal(PARSE("--help", "--nonsense"), ERR_OK);
	assert_true(c.help);
}

static void every_option_of_the_table_is_in_the_help(void **state)
{
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);
	const char *name, *arg, *about;
	unsigned n;

	run_help(to);
	fclose(to);
	for (n = 0; run_option(n, &name, &arg, &about); n++) {
		assert_non_null(strstr(text, name));
		assert_non_null(strstr(text, about));
	}
	assert_true(n > 15);
	assert_false(run_option(n, NULL, NULL, NULL));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_option_gives_the_standards, setup, teardown),
		cmocka_unit_test_setup_teardown(every_option_reaches_its_member, setup, teardown),
		cmocka_unit_test_setup_teardown(the_native_wire_has_its_options, setup, teardown),
		cmocka_unit_test_setup_teardown(administrators_are_keys_and_a_majority, setup, teardown),
		cmocka_unit_test_setup_teardown(wrong_values_are_usage_errors_that_name_them, setup, teardown),
		cmocka_unit_test_setup_teardown(a_slip_of_the_finger_gets_a_suggestion, setup, teardown),
		cmocka_unit_test_setup_teardown(missing_and_superfluous_values_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(options_that_contradict_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(an_allow_list_may_be_a_file, setup, teardown),
		cmocka_unit_test_setup_teardown(help_stops_the_parsing, setup, teardown),
		cmocka_unit_test_setup_teardown(every_option_of_the_table_is_in_the_help, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
