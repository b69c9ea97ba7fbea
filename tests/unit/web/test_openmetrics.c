#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "web/openmetrics.h"

static const struct om_family counter = { "x_frames", OM_COUNTER, NULL, "dir", "Frames." };
static const struct om_family gauge = { "x_size_bytes", OM_GAUGE, "bytes", NULL, "Size." };
static const struct om_family info = { "x_build", OM_INFO, NULL, "version", "Build." };
static const struct om_family histogram = { "x_wait_seconds", OM_HISTOGRAM, "seconds", NULL, "Wait." };

static void both(char *out, size_t cap, bool openmetrics)
{
	static const double bounds[] = { 0.25, 1 };
	static const uint64_t counts[] = { 2, 1, 4 };
	struct buf b;
	struct om m;

	buf_init(&b, 4096);
	om_begin(&m, &b, openmetrics);
	om_family(&m, &counter);
	om_sample(&m, 3, "dir", "a\"b\\c\nd", NULL);
	om_family(&m, &gauge);
	om_sample(&m, 0.5, NULL);
	om_family(&m, &info);
	om_sample(&m, 1, "version", "1", NULL);
	om_family(&m, &histogram);
	om_histogram(&m, bounds, counts, 2, 9.75);
	om_end(&m);
	snprintf(out, cap, "%s", buf_cstr(&b));
	buf_fini(&b);
}

static void open_metrics_names_families_and_units(void **state)
{
	char text[1024];

	both(text, sizeof text, true);
	assert_string_equal(text, "# TYPE x_frames counter\n# HELP x_frames Frames.\nx_frames_total{dir=\"a\\\"b\\\\c\\nd\"} 3\n"
				  "# TYPE x_size_bytes gauge\n# UNIT x_size_bytes bytes\n# HELP x_size_bytes Size.\nx_size_bytes 0.5\n"
				  "# TYPE x_build info\n# HELP x_build Build.\nx_build_info{version=\"1\"} 1\n"
				  "# TYPE x_wait_seconds histogram\n# UNIT x_wait_seconds seconds\n# HELP x_wait_seconds Wait.\n"
				  "x_wait_seconds_bucket{le=\"0.25\"} 2\nx_wait_seconds_bucket{le=\"1.0\"} 3\nx_wait_seconds_bucket{le=\"+Inf\"} 7\n"
				  "x_wait_seconds_count 7\nx_wait_seconds_sum 9.75\n# EOF\n");
}

static void the_older_format_knows_no_families(void **state)
{
	char text[1024];

	both(text, sizeof text, false);
	assert_non_null(strstr(text, "# TYPE x_frames_total counter\n"));
	assert_non_null(strstr(text, "# TYPE x_build_info gauge\n"));
	assert_null(strstr(text, "# UNIT"));
	assert_null(strstr(text, "# EOF"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(open_metrics_names_families_and_units),
		cmocka_unit_test(the_older_format_knows_no_families),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
