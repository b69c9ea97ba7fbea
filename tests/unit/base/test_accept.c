#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/accept.h"

static struct sockaddr_in here;
static int listener;

static int setup(void **state)
{
	socklen_t n = sizeof here;

	here = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(listener >= 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&here, sizeof here), 0);
	assert_int_equal(listen(listener, 8), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&here, &n), 0);
	return 0;
}

static int teardown(void **state)
{
	close(listener);
	return 0;
}

static int caller(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&here, sizeof here), 0);
	return fd;
}

static void who_waits_is_taken_and_then_nobody_is_there(void **state)
{
	struct sockaddr_storage from;
	int out = caller(), in;

	assert_int_equal(accept_next(listener, &from, &in), ERR_OK);
	assert_int_equal(from.ss_family, AF_INET);
	assert_true(fcntl(in, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(in, F_GETFD) & FD_CLOEXEC);
	close(in);
	close(out);
	assert_int_equal(accept_next(listener, &from, &in), ERR_AGAIN);
}

static void without_descriptors_one_is_turned_away(void **state)
{
	struct sockaddr_storage from;
	struct rlimit was, low;
	int out = caller(), spare = accept_spare(), in;
	char end;

	assert_true(spare >= 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	low = was;
	low.rlim_cur = (rlim_t)spare + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	assert_int_equal(accept_next(listener, &from, &in), ERR_FULL);
	assert_true(accept_turn_away(listener, &spare));
	assert_true(spare >= 0);
	assert_false(accept_turn_away(listener, &spare)); /* nobody waits */
	assert_true(spare >= 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_int_equal(accept_next(listener, &from, &in), ERR_AGAIN);
	assert_int_equal(read(out, &end, 1), 0);
	close(out);
	close(spare);
	spare = -1;
	assert_false(accept_turn_away(listener, &spare));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_waits_is_taken_and_then_nobody_is_there, setup, teardown),
		cmocka_unit_test_setup_teardown(without_descriptors_one_is_turned_away, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
