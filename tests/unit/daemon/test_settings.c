#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "daemon/config.h"
#include "daemon/inifile.h"

static struct run_config c;
static struct fault f;
static char dir[64];

static int setup(void **state)
{
	run_config_init(&c);
	f = (struct fault){ 0 };
	strcpy(dir, "/tmp/ironmesh-settings-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[100];

	run_config_fini(&c);
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

static void again(void)
{
	run_config_fini(&c);
	run_config_init(&c);
	f = (struct fault){ 0 };
}

static void write_file(const char *name, const char *text)
{
	char path[128];
	FILE *to;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	if (strchr(name, '/')) {
		char *slash = strrchr(path, '/');

		*slash = '\0';
		mkdir(path, 0700);
		*slash = '/';
	}
	to = fopen(path, "w");
	assert_non_null(to);
	fputs(text, to);
	fclose(to);
	chmod(path, 0600);
}

#define LOAD(...) load((const char *[]){ "run", ##__VA_ARGS__, NULL })

static enum err load(const char **argv)
{
	struct config_sources from = { .home = dir, .argv = (char **)argv };

	while (argv[from.argc])
		from.argc++;
	again();
	return run_config_load(&c, &from, &f);
}

static void no_file_is_no_error(void **state)
{
	assert_int_equal(LOAD(), ERR_OK);
	assert_int_equal(c.port, 8765);
	assert_int_equal(c.settings.files_n, 0);
	assert_int_equal(LOAD("--config", "/nowhere/x.conf"), ERR_NOTFOUND);
	assert_int_equal(f.code, EXIT_CONFIG);
}

static void default_file_folder_and_command_line_in_this_order(void **state)
{
	write_file("ironmesh.conf", "\xef\xbb\xbf[lan]\r\nport = 1\nbind = ::1\n  discovery=off # no mDNS here\n[limits]\nrekey_interval = 3600\n");
	write_file("conf.d/20-b.conf", "[lan]\nport = 3\n");
	write_file("conf.d/10-a.conf", "[lan]\nport = 2\n[log]\nlevel = debug\n");
	write_file("conf.d/30.txt", "[lan]\nport = 9\n");
	write_file("conf.d/.40.conf", "[lan]\nport = 9\n");
	assert_int_equal(LOAD(), ERR_OK);
	assert_int_equal(c.port, 3);
	assert_string_equal(c.bind, "::1");
	assert_int_equal(c.discovery, SCOPE_OFF);
	assert_int_equal(c.rekey_ms, 3600000);
	assert_int_equal(c.log_level, LOG_DEBUG);
	assert_int_equal(c.settings.files_n, 3);
	assert_string_equal(settings_get(&c.settings, setting_find("limits", "rekey_interval"), NULL)->text, "1h");
	assert_int_equal(settings_get(&c.settings, setting_find("limits", "rekey_interval"), NULL)->from.line, 6);
	assert_int_equal(LOAD("--port", "4", "--set", "log.level=warn"), ERR_OK);
	assert_int_equal(c.port, 4);
	assert_int_equal(c.log_level, LOG_WARN);
}

static void peers_add_up_and_lists_are_replaced(void **state)
{
	write_file("ironmesh.conf", "[trust]\nallowed_peers = bob\nallowed_peers = @list\n"
				    "[peer \"bob\"]\naddress = b:1\nid = 0123456789abcdef0123456789abcdef\n");
	write_file("list", "# friends\ncarol dave\n");
	write_file("conf.d/1.conf", "[peer \"carol\"]\naddress = c:1\n[peer \"bob\"]\naddress = b:2\n");
	/* Whose an address is, is not forgotten because somebody names it without. */
	assert_int_equal(LOAD("--peer", "b:2"), ERR_OK);
	assert_int_equal(c.peer_count, 2);
	assert_string_equal(c.peers[0], "b:2#0123456789abcdef0123456789abcdef");
	assert_int_equal(LOAD("--peer", "b:2#0123456789abcdef0123456789abcdee"), ERR_USAGE);
	assert_non_null(strstr(f.what, "two ids"));
	assert_int_equal(LOAD("--peer", "d:1", "--peer", "c:1#0123456789abcdef0123456789abcdee"), ERR_OK);
	assert_int_equal(c.policy.allowed_count, 3);
	assert_int_equal(c.peer_count, 3);
	assert_string_equal(c.peers[0], "d:1");
	assert_string_equal(c.peers[2], "b:2#0123456789abcdef0123456789abcdef");
	assert_int_equal(LOAD("--allowed-peers", "erin"), ERR_OK);
	assert_int_equal(c.policy.allowed_count, 1);
	assert_string_equal(c.policy.allowed[0], "erin");
}

static void refused(const char *text, unsigned line, const char *what, const char *means)
{
	char where[100];

	write_file("ironmesh.conf", text);
	assert_int_equal(LOAD(), ERR_USAGE);
	assert_int_equal(f.code, EXIT_CONFIG);
	snprintf(where, sizeof where, "%s/ironmesh.conf:%u: ", dir, line);
	if (strncmp(f.what, where, strlen(where)) != 0 || !strstr(f.what, what) || (means && !strstr(f.means, means)))
		fail_msg("'%s' '%s' does not say %s %s %s", f.what, f.means, where, what, means ? means : "");
	assert_true(f.next[0]);
}

static void a_mistake_is_told_with_its_line_and_what_was_meant(void **state)
{
	char longer[600];

	refused("[lan]\n\nprt = 1\n", 3, "[lan] has no key 'prt'", "'port'");
	refused("[log]\nport = 1\n", 2, "no key 'port'", "'port' in [lan]");
	refused("[lan]\nallowed-peers = bob\n", 2, "no key", "'allowed_peers' in [trust]");
	refused("[lna]\nport = 1\n", 1, "[lna]", "[lan]");
	refused("[peer]\naddress = a:1\n", 1, "needs a name", "[peer \"bob\"]");
	refused("[lan \"x\"]\nport = 1\n", 1, "has no name", "[lan]");
	refused("[lan]\nport = 65536\n", 2, "port: '65536' is not a number from 0 to 65535", NULL);
	refused("[lan]\nport = 1\n\nport = 2\n", 4, "port is given twice, first in line 2", NULL);
	refused("[lan]\nlisten = maybe\n", 2, "yes or no", NULL);
	refused("[lan]\ndiscovery = loud\n", 2, "fleet, public, both or off", NULL);
	refused("[limits]\nrekey_interval = 5s\n", 2, "5s is not 10s to 7d or 0", NULL);
	refused("[trust]\nallowed_peers =\n", 2, "names nobody", NULL);
	refused("[peer \"bob\"]\naddress = bob\n", 2, "HOST:PORT", NULL);
	refused("[peer \"bob\"]\nid = 0123456789abcdef0123456789abcdef\n", 2, "has no address", NULL);
	refused("port = 1\n", 1, "no section", NULL);
	refused("[lan]\nport\n", 2, "KEY = VALUE", NULL);
	refused("[lan] port = 1\n", 1, "alone in its line", NULL);
	refused("[lan\nport = 1\n", 1, "alone", NULL);
	refused("[lan]\nbind = \x01\n", 2, "not text", NULL);
	refused("[lan]\nbind = \xff\n", 2, "not text", NULL);
	memset(longer, 'a', sizeof longer);
	memcpy(longer, "[mesh]\nname = ", 14);
	strcpy(longer + 400, "\n");
	refused(longer, 2, "longer than 190", "several lines");
	/* Contradictions are found in files as well, and say where. */
	refused("[lan]\npinned_ca = x.pem\n", 2, "--strict-tls", NULL);
	refused("[im2]\nmode = off\n\npad = yes\n", 4, "--im2 on", NULL);
}

static void all_mistakes_are_found_at_once(void **state)
{
	write_file("ironmesh.conf", "[lan]\nprt = 1\nport = x\n[nothing]\na = b\n[log]\nlevel = loud\n");
	assert_int_equal(LOAD(), ERR_USAGE);
	assert_non_null(strstr(f.what, "and more"));
}

static void another_name_is_taken_with_a_warning(void **state)
{
	write_file("ironmesh.conf", "[trust]\ntofu = yes\n");
	assert_int_equal(LOAD(), ERR_OK);
	assert_true(c.policy.trust_on_first_use);
	assert_int_equal(c.settings.problems_n, 1);
	assert_true(c.settings.problems[0].warning);
	assert_int_equal(c.settings.problems[0].line, 2);
	assert_non_null(strstr(c.settings.problems[0].what, "trust_on_first_use"));
}

static void who_else_can_write_decides_nothing(void **state)
{
	char path[100], target[100];

	write_file("ironmesh.conf", "[lan]\nport = 1\n");
	snprintf(path, sizeof path, "%s/ironmesh.conf", dir);
	chmod(path, 0620);
	assert_int_equal(LOAD(), ERR_DENIED);
	assert_int_equal(f.code, EXIT_CONFIG);
	assert_non_null(strstr(f.next, "chmod go-w"));
	chmod(path, 0644);
	assert_int_equal(LOAD(), ERR_OK);
	chmod(dir, 0770);
	assert_int_equal(LOAD(), ERR_DENIED);
	chmod(dir, 0700);
	/* A list too; its own remedy is told. */
	write_file("list", "bob\n");
	write_file("ironmesh.conf", "[trust]\nallowed_peers = @list\n");
	snprintf(target, sizeof target, "%s/list", dir);
	chmod(target, 0602);
	assert_int_equal(LOAD(), ERR_USAGE);
	assert_non_null(strstr(f.what, "others can write"));
	chmod(target, 0600);
	assert_int_equal(LOAD(), ERR_OK);
	snprintf(target, sizeof target, "%s/other", dir);
	assert_int_equal(rename(path, target), 0);
	assert_int_equal(symlink(target, path), 0);
	assert_int_equal(LOAD(), ERR_DENIED);
}

static void paths_are_relative_to_their_file(void **state)
{
	char path[128];

	write_file("ironmesh.conf", "[mesh]\npassphrase_file = mesh.pass\n[identity]\nkey_passphrase_file = /etc/key\n");
	assert_int_equal(LOAD(), ERR_OK);
	snprintf(path, sizeof path, "%s/mesh.pass", dir);
	assert_string_equal(c.passphrase_file, path);
	assert_string_equal(c.key_passphrase_file, "/etc/key");
	assert_int_equal(LOAD("--passphrase-file", "other"), ERR_OK);
	assert_string_equal(c.passphrase_file, "other");
	assert_int_equal(LOAD("--passphrase-fd", "3"), ERR_OK);
	assert_null(c.passphrase_file);
}

static void set_reaches_every_key(void **state)
{
	assert_int_equal(LOAD("--set", "peer.bob.address=b:1", "--set", "lan.listen=no", "--set", "lan.discovery=auto"), ERR_OK);
	assert_int_equal(c.peer_count, 1);
	assert_null(c.bind);
	assert_int_equal(LOAD("--set", "lan.prt=1"), ERR_USAGE);
	assert_int_equal(f.code, EXIT_USAGE);
	assert_int_equal(LOAD("--set", "lan.port=x"), ERR_USAGE);
	assert_int_equal(LOAD("--set", "peer.address=x:1"), ERR_USAGE);
	assert_int_equal(LOAD("--set", "lan.port"), ERR_USAGE);
}

static void the_folder_follows_the_service(void **state)
{
	char out[100];

	unsetenv("CONFIGURATION_DIRECTORY");
	assert_int_equal(config_folder("/home/x/.ironmesh", out, sizeof out), ERR_OK);
	assert_string_equal(out, "/home/x/.ironmesh");
	assert_int_equal(config_folder("/var/lib/ironmesh/", out, sizeof out), ERR_OK);
	assert_string_equal(out, "/etc/ironmesh");
	setenv("CONFIGURATION_DIRECTORY", "/etc/a:/etc/b", 1);
	assert_int_equal(config_folder("/home/x/.ironmesh", out, sizeof out), ERR_OK);
	assert_string_equal(out, "/etc/a");
	unsetenv("CONFIGURATION_DIRECTORY");
	assert_int_equal(config_folder("/var/lib/ironmesh", out, 5), ERR_LIMIT);
}

/* Every row makes sense by itself: its default is canonical, its member has the size its kind needs. */
static void the_table_holds_together(void **state)
{
	const struct setting *s;
	struct settings st;

	settings_init(&st);
	for (size_t i = 0; (s = setting_at(i)); i++) {
		assert_true((s->section != NULL) == (s->key != NULL));
		assert_true(s->key || s->option);
		assert_non_null(s->text);
		/* A line of the help. */
		assert_true(!s->option || 35 + strlen(s->help ? s->help : s->text) <= 120);
		if (s->key)
			assert_ptr_equal(setting_find(s->section, s->key), s);
		if (s->section)
			assert_true(setting_section_text(s->section)[0]);
		if (!s->standard)
			continue;
		assert_int_equal(settings_put(&st, s, NULL, s->standard, (struct setting_origin){ 0 }, 0, &f), ERR_OK);
		assert_string_equal(settings_get(&st, s, NULL)->text, s->standard);
	}
	settings_fini(&st);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(no_file_is_no_error, setup, teardown),
		cmocka_unit_test_setup_teardown(default_file_folder_and_command_line_in_this_order, setup, teardown),
		cmocka_unit_test_setup_teardown(peers_add_up_and_lists_are_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(a_mistake_is_told_with_its_line_and_what_was_meant, setup, teardown),
		cmocka_unit_test_setup_teardown(all_mistakes_are_found_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(another_name_is_taken_with_a_warning, setup, teardown),
		cmocka_unit_test_setup_teardown(who_else_can_write_decides_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(paths_are_relative_to_their_file, setup, teardown),
		cmocka_unit_test_setup_teardown(set_reaches_every_key, setup, teardown),
		cmocka_unit_test_setup_teardown(the_folder_follows_the_service, setup, teardown),
		cmocka_unit_test_setup_teardown(the_table_holds_together, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
