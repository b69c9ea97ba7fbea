#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/notify.h"

static int listen_at(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	size_t n = strlen(name);

	memcpy(a.sun_path, name, n);
	if (name[0] == '@')
		a.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static void heard(int fd, const char *text)
{
	char got[100] = "";

	assert_int_equal(recv(fd, got, sizeof(got) - 1, 0), strlen(text));
	assert_string_equal(got, text);
	close(fd);
}

static void a_path_and_an_abstract_name_are_told(void **state)
{
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "@ironmesh-notify-%ld", (long)getpid());
	fd = listen_at(name);
	notify_manager("READY=1");
	heard(fd, "READY=1");
	snprintf(name, sizeof(name), "/tmp/ironmesh-notify-%ld", (long)getpid());
	fd = listen_at(name);
	notify_manager("STOPPING=1\nSTATUS=x");
	heard(fd, "STOPPING=1\nSTATUS=x");
	unlink(name);
}

static void a_long_start_asks_for_time_once_a_second(void **state)
{
	char name[64], got[100] = "";
	int fd;

	snprintf(name, sizeof(name), "@ironmesh-notify-%ld", (long)getpid());
	fd = listen_at(name);
	assert_true(notify_wanted());
	for (int i = 0; i < 1000; i++)
		notify_still_starting();
	assert_true(recv(fd, got, sizeof(got) - 1, 0) > 0);
	assert_memory_equal(got, "EXTEND_TIMEOUT_USEC=120000000\n", 30);
	/* two, when the second changed in between */
	(void)!recv(fd, got, sizeof(got) - 1, 0);
	assert_int_equal(recv(fd, got, sizeof(got) - 1, 0), -1);
	close(fd);
	unsetenv("NOTIFY_SOCKET");
	assert_false(notify_wanted());
}

static void nobody_there_is_no_trouble(void **state)
{
	char longest[300];

	unsetenv("NOTIFY_SOCKET");
	notify_manager("READY=1");
	setenv("NOTIFY_SOCKET", "", 1);
	notify_manager("READY=1");
	setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
	notify_manager("READY=1");
	setenv("NOTIFY_SOCKET", "relative", 1);
	notify_manager("READY=1");
	memset(longest, 'x', sizeof(longest) - 1);
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	setenv("NOTIFY_SOCKET", longest, 1);
	notify_manager("READY=1");
}

static void the_watchdog_is_fed_at_half_its_time_by_the_process_it_names(void **state)
{
	char pid[24];

	unsetenv("WATCHDOG_USEC");
	assert_int_equal(notify_watchdog_ms(), 0);
	setenv("WATCHDOG_USEC", "30000000", 1);
	unsetenv("WATCHDOG_PID");
	assert_int_equal(notify_watchdog_ms(), 15000);
	snprintf(pid, sizeof(pid), "%ld", (long)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	assert_int_equal(notify_watchdog_ms(), 15000);
	setenv("WATCHDOG_PID", "1", 1);
	assert_int_equal(notify_watchdog_ms(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_path_and_an_abstract_name_are_told),
		cmocka_unit_test(a_long_start_asks_for_time_once_a_second),
		cmocka_unit_test(nobody_there_is_no_trouble),
		cmocka_unit_test(the_watchdog_is_fed_at_half_its_time_by_the_process_it_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
