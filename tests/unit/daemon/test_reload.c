#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/env.h"
#include "daemon/reload.h"
#include "tests/lib/daemon_world.h"

static char dir[64];
static struct run_config c;
static struct reload r;
static struct config_sources from;
static struct fault f;
static unsigned applied;
static enum log_level was_level;

static void write_file(const char *text)
{
	char path[128];
	FILE *to;

	snprintf(path, sizeof path, "%s/ironmesh.conf", dir);
	to = fopen(path, "w");
	assert_non_null(to);
	fputs(text, to);
	fclose(to);
	chmod(path, 0600);
}

static void apply(void *ctx, const struct run_config *was)
{
	assert_ptr_equal(ctx, &c);
	was_level = was->log_level;
	applied++;
}

static void start(const char **argv, const char *text)
{
	write_file(text);
	from = (struct config_sources){ .home = dir, .argv = (char **)argv };
	while (argv[from.argc])
		from.argc++;
	run_config_init(&c);
	assert_int_equal(run_config_load(&c, &from, &f), ERR_OK);
	r = (struct reload){ .c = &c, .from = &from, .apply = apply, .ctx = &c };
	applied = 0;
}

static int setup(void **state)
{
	strcpy(dir, "/tmp/ironmesh-reload-XXXXXX");
	f = (struct fault){ 0 };
	log_setup(&(struct log_config){ .fd = -1 });
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[100];

	run_config_fini(&c);
	reload_fini(&r);
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

static enum err reload(const char *text, json_t **out)
{
	write_file(text);
	f = (struct fault){ 0 };
	return reload_run(&r, 1, out, &f);
}

static void live_values_change_and_the_others_stay(void **state)
{
	const char *argv[] = { "run", "--pinned-ca", "ca.pem", NULL };
	const char *bind, *ca;
	json_t *out;

	start(argv, "[lan]\nbind = ::1\nport = 1\nstrict_tls = yes\n[log]\nlevel = warn\n[peer \"b\"]\naddress = b:1\n");
	bind = c.bind;
	ca = c.pinned_ca;
	/* As the start does it without a passphrase. */
	c.policy.im2 = IM2_REQUIRE;
	assert_int_equal(reload("[lan]\nport = 2\nstrict_tls = yes\n[log]\nlevel = debug\n[im2]\npad = yes\n"
				"[trust]\nallowed_peers = bob\n[peer \"c\"]\naddress = c:1\n", &out), ERR_OK);
	assert_int_equal(applied, 1);
	assert_int_equal(was_level, LOG_WARN);
	assert_int_equal(c.log_level, LOG_DEBUG);
	assert_true(c.pad);
	assert_int_equal(c.policy.allowed_count, 1);
	assert_int_equal(c.peer_count, 1);
	assert_string_equal(c.peers[0], "c:1");
	/* To the byte, and to the pointer: others hold it. */
	assert_int_equal(c.port, 1);
	assert_ptr_equal(c.bind, bind);
	assert_string_equal(bind, "::1");
	assert_ptr_equal(c.pinned_ca, ca);
	assert_string_equal(ca, "ca.pem");
	assert_int_equal(c.policy.im2, IM2_REQUIRE);
	assert_int_equal(json_array_size(json_object_get(out, "needs_restart")), 2);
	assert_int_equal(json_array_size(json_object_get(out, "changes")), 7);
	json_decref(out);
	/* Again: nothing more changes, and what waits for a restart is told again. */
	for (int i = 0; i < 3; i++) {
		assert_int_equal(reload_run(&r, 2, &out, &f), ERR_OK);
		assert_int_equal(json_array_size(json_object_get(out, "changes")), 2);
		json_decref(out);
	}
	assert_ptr_equal(c.bind, bind);
	assert_string_equal(bind, "::1");
}

static void a_mistake_changes_nothing(void **state)
{
	const char *argv[] = { "run", NULL };
	json_t *out = NULL;

	start(argv, "[log]\nlevel = warn\n");
	assert_int_equal(reload("[log]\nlevel = debug\n[lan]\nprt = 1\n", &out), ERR_USAGE);
	assert_null(out);
	assert_int_equal(f.code, EXIT_CONFIG);
	assert_int_equal(applied, 0);
	assert_int_equal(c.log_level, LOG_WARN);
	assert_int_equal(r.refused, 1);
	assert_int_equal(r.fault.err, ERR_USAGE);
	assert_int_equal(reload("[log]\nlevel = debug\n", &out), ERR_OK);
	assert_int_equal(r.fault.err, ERR_OK);
	json_decref(out);
}

/* What is right by itself is not taken when it needs what waits for a restart. */
static void half_of_a_change_is_not_taken(void **state)
{
	const char *argv[] = { "run", NULL };
	json_t *out = NULL;

	start(argv, "[im2]\nmode = off\n");
	assert_int_equal(reload("[im2]\nmode = on\npad = yes\n", &out), ERR_USAGE);
	assert_non_null(strstr(f.next, "restart"));
	assert_false(c.pad);
	assert_int_equal(applied, 0);
}

static void the_command_line_stays_above_the_files(void **state)
{
	const char *argv[] = { "run", "--log-level", "error", "--peer", "p:1", NULL };
	json_t *out = NULL;

	start(argv, "");
	assert_int_equal(reload("[log]\nlevel = debug\n[peer \"q\"]\naddress = q:1\n", &out), ERR_OK);
	assert_int_equal(c.log_level, LOG_ERROR);
	assert_int_equal(c.peer_count, 2);
	assert_string_equal(c.peers[0], "p:1");
	json_decref(out);
}

/* --- what the node does with it ------------------------------------------------------------------------ */
static size_t static_peers(struct side *s)
{
	struct target_view views[8];

	return node_targets(s->node, views, 8);
}

static void a_peer_that_is_removed_is_dialled_no_more(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	side_know(a, b);
	side_meet(a, b);
	assert_non_null(side_conn(a, b));
	assert_int_equal(static_peers(a), 1);
	assert_int_equal(node_remove_target(a->node, "nobody:1"), ERR_NOTFOUND);
	/* Its session goes on. */
	assert_int_equal(node_remove_target(a->node, b->address), ERR_OK);
	assert_int_equal(static_peers(a), 0);
	world_pass(w, 20000);
	assert_non_null(side_conn(a, b));
	side_stop(b);
	side_start(b);
	world_pass(w, 120000);
	assert_null(side_conn(a, b));
	/* While it is dialled and shakes hands: nothing comes of it. */
	assert_int_equal(node_add_target(a->node, b->address, NULL), ERR_OK);
	for (unsigned ms = 0; ms < 6; ms++) {
		world_pass(w, ms);
		assert_int_equal(node_remove_target(a->node, b->address), ERR_OK);
		assert_int_equal(node_remove_target(a->node, b->address), ERR_NOTFOUND);
		assert_int_equal(node_add_target(a->node, b->address, NULL), ERR_OK);
		assert_int_equal(static_peers(a), 1);
	}
	world_pass(w, 120000);
	assert_non_null(side_conn(a, b));
	assert_int_equal(a->node->target_count, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(live_values_change_and_the_others_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(a_mistake_changes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(half_of_a_change_is_not_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(the_command_line_stays_above_the_files, setup, teardown),
	};
	const struct CMUnitTest world[] = {
		cmocka_unit_test_setup_teardown(a_peer_that_is_removed_is_dialled_no_more, world_setup, world_teardown),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	return failed + cmocka_run_group_tests(world, NULL, NULL);
}
