#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "protocol/v09/v09.h"

static void priority_words_parse_in_one_case(void **state)
{
	enum priority p = PRIO_COUNT;

	for (unsigned i = 0; i < PRIO_COUNT; i++) {
		assert_int_equal(priority_parse(bytes_str(priority_word((enum priority)i)), &p),
				 ERR_OK);
		assert_int_equal(p, i);
	}
	assert_int_equal(priority_parse(BYTES_LIT("critical"), &p), ERR_OK);
	assert_int_equal(p, PRIO_CRITICAL);
	static const char *const bad[] = {"", "High", "hIGH", "HIG", "HIGHX", "URGENT", "h"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(priority_parse(bytes_str(bad[i]), &p), ERR_MALFORMED);
	assert_int_equal(p, PRIO_CRITICAL);
}

/* wire 11.3 */
static void versions_parse_as_the_table_says(void **state)
{
	static const struct {
		const char *text;
		uint16_t version;
	} rows[] = {
		{"ironmesh/0.9", VERSION_OF(0, 9)},
		{"ironmesh/0.5.2", VERSION_OF(0, 5)},
		{"ironmesh/1.0", VERSION_OF(1, 0)},
		{"ironmesh/0.10", VERSION_OF(0, 10)},
		{"foo/0.9", VERSION_OF(0, 9)},
		{"0.9", 0},
		{"ironmesh/0", 0},
		{"ironmesh/0.x", 0},
		{"", 0},
		{"ironmesh/", 0},
		{"ironmesh/.9", 0},
		{"ironmesh/0.", 0},
		{"ironmesh/0.9x", 0},
		{"ironmesh/-1.9", 0},
		{"a/b/0.9", 0},
		{"ironmesh/300.99999999999999999999", VERSION_OF(255, 255)},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		assert_int_equal(v09_version_parse(bytes_str(rows[i].text)), rows[i].version);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(priority_words_parse_in_one_case),
		cmocka_unit_test(versions_parse_as_the_table_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
