#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "daemon/loop.h"
#include "daemon/meshkey.h"

static struct loop loop;
static struct meshkey m;
static unsigned taken, idle;
static enum err answer;
static char key[65];

static bool turn(void *ctx)
{
	return false;
}

static enum err take(void *ctx, struct bytes k)
{
	taken++;
	assert_int_equal(k.n, 32);
	hex_encode(k, key);
	return answer;
}

static void on_idle(void *ctx)
{
	idle++;
}

static int setup(void **state)
{
	taken = idle = 0;
	answer = ERR_OK;
	if (secret_init_library() != ERR_OK || loop_init(&loop, turn, NULL) != ERR_OK)
		return -1;
	m = (struct meshkey){ .env = &loop.env, .loop = &loop.uv, .passphrase = BYTES_LIT("testpassphrase1234"),
			      .mesh = "default", .take = take, .idle = on_idle };
	return 0;
}

static int teardown(void **state)
{
	loop_stop(&loop);
	loop_run(&loop);
	loop_fini(&loop);
	return 0;
}

static void work_ends(void)
{
	while (m.working)
		uv_run(&loop.uv, UV_RUN_ONCE);
}

/* im2.md, appendix B. */
static void the_key_comes_later_and_is_the_one_of_the_vectors(void **state)
{
	meshkey_start(&m);
	assert_string_equal(m.state, "computing");
	assert_int_equal(taken, 0);
	work_ends();
	assert_string_equal(m.state, "ready");
	assert_int_equal(taken, 1);
	assert_string_equal(key, "3122b36363f9d76628a24a4ce35eab306abd473716ec022bb041fe0646f053b9");
	assert_null(m.key.p);
	meshkey_stop(&m);
	assert_int_equal(idle, 0);
}

static void another_mesh_has_another_key(void **state)
{
	m.mesh = "other";
	meshkey_start(&m);
	work_ends();
	assert_string_not_equal(key, "3122b36363f9d76628a24a4ce35eab306abd473716ec022bb041fe0646f053b9");
	meshkey_stop(&m);
}

static void who_cannot_take_it_is_asked_again_later(void **state)
{
	answer = ERR_NOMEM;
	meshkey_start(&m);
	work_ends();
	assert_string_equal(m.state, "failed");
	assert_true(timer_armed(&m.timer));
	assert_null(m.key.p);
	meshkey_stop(&m);
	assert_false(timer_armed(&m.timer));
}

static void a_stop_waits_for_the_worker_and_hands_out_nothing(void **state)
{
	meshkey_start(&m);
	meshkey_stop(&m);
	assert_true(m.working);
	assert_int_equal(idle, 0);
	work_ends();
	assert_int_equal(idle, 1);
	assert_int_equal(taken, 0);
	assert_null(m.key.p);
}

static void a_stop_before_the_start_is_nothing(void **state)
{
	struct meshkey never = { 0 };

	meshkey_stop(&never);
	assert_false(never.working);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(the_key_comes_later_and_is_the_one_of_the_vectors),
		T(another_mesh_has_another_key),
		T(who_cannot_take_it_is_asked_again_later),
		T(a_stop_waits_for_the_worker_and_hands_out_nothing),
		T(a_stop_before_the_start_is_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
