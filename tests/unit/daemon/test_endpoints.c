/* Where this machine can be reached. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/endpoints.h"

static void one_address(void **state)
{
	char out[ENDPOINTS_MAX][ENDPOINT_LEN];

	(void)state;
	assert_int_equal(endpoints_now("192.0.2.7", 8765, out), 1);
	assert_string_equal(out[0], "192.0.2.7:8765");
	assert_int_equal(endpoints_now("2001:db8::7", 1, out), 1);
	assert_string_equal(out[0], "[2001:db8::7]:1");
}

static void every_interface_but_those_that_mean_others_elsewhere(void **state)
{
	static const char *const binds[] = { "0.0.0.0", "::" };
	char out[ENDPOINTS_MAX][ENDPOINT_LEN];

	(void)state;
	for (int i = 0; i < 2; i++) {
		size_t n = endpoints_now(binds[i], 8765, out);

		assert_true(n <= ENDPOINTS_MAX);
		for (size_t k = 0; k < n; k++) {
			assert_null(strstr(out[k], "127.0.0.1"));
			assert_null(strstr(out[k], "[::1]"));
			assert_null(strstr(out[k], "fe80"));
			assert_int_not_equal(strncmp(out[k], "169.254.", 8), 0);
			assert_string_equal(strrchr(out[k], ':'), ":8765");
			assert_true(i == 1 || out[k][0] != '[');
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_address),
		cmocka_unit_test(every_interface_but_those_that_mean_others_elsewhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
