#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "store/state.h"
#include "tests/lib/store_world.h"

#define ID "139e3940e64b5491722088d9a0d74162"

static const struct state_row *row(const char *name)
{
	return state_find(bytes_str(name));
}

static void names_find_their_row(void **state)
{
	static const struct {
		const char *name, *row;
	} cases[] = {
		{ "keys.json", "keys.json" },
		{ "keys.json." ID ".bak", "keys.json.@.bak" },
		{ "known_peers.json." ID, "known_peers.json.@" },
		{ "audit.log.3", "audit.log.#" },
		{ "audit.log.3.head", "audit.log.#.head" },
		{ "audit.log." ID ".5.head", "audit.log.@.#.head" },
		{ "audit.log.broken-1753500000250-2.head", "audit.log.broken-#-#.head" },
		{ "conf.d/00-first-start.conf", "conf.d/%.conf" },
		{ ".backup-0011223344556677/keys.json", ".backup-$/%" },
		{ ".known_peers.json.0011223344556677.tmp", ".%.$.tmp" },
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_non_null(row(cases[i].name));
		assert_string_equal(row(cases[i].name)->name, cases[i].row);
	}
}

static void nothing_else_does(void **state)
{
	static const char *const names[] = {
		"", "keys.jso", "keys.json ", "keys.json.bak", "keys.json.139e3940.bak", "Keys.json", "./keys.json",
		"../keys.json", "/keys.json", "audit.log.", "audit.log.x", "audit.log.-1", "audit.log.123456789012345678901",
		"conf.d/../keys.json.conf", "conf.d/.hidden.conf", "conf.d/a/b.conf", "conf.d/.conf", "conf.d/", "conf.d",
		"ironmesh.db/x", "audit.log.3\n", ".backup-by-hand/keys.json", ".backup-00112233445566778/keys.json", ".notes.tmp", "known_peers.json." ID "0",
	};
	char longest[STATE_NAME_MAX + 8];

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (row(names[i]))
			fail_msg("'%s' is taken for %s", names[i], row(names[i])->name);
	memset(longest, 'a', sizeof longest);
	assert_null(state_find(bytes_of(longest, sizeof longest)));
	assert_null(state_find(bytes_of("keys.json\0x", 11)));
}

static void every_row_is_complete(void **state)
{
	const struct state_row *r;

	for (size_t i = 0; (r = state_at(i)); i++) {
		assert_true(r->why && *r->why);
		assert_int_equal(r->how == STATE_NOT, r->max_bytes == 0);
		assert_false(r->required && r->how == STATE_NOT);
	}
	assert_true(state_is_folder(bytes_str("conf.d")));
	assert_true(state_is_folder(bytes_str(".backup-0123456789abcdef")));
	assert_false(state_is_folder(bytes_str("elsewhere")));
}

struct seen {
	char names[16][STATE_NAME_MAX];
	const struct state_row *rows[16];
	size_t n;
};

static bool note(void *ctx, const char *name, const struct state_row *r)
{
	struct seen *s = ctx;

	snprintf(s->names[s->n], STATE_NAME_MAX, "%s", name);
	s->rows[s->n++] = r;
	return s->n < 16;
}

static void a_walk_shows_what_is_in_no_row(void **state)
{
	static const char *const files[] = { "keys.json", "notes.txt", "conf.d/a.conf", "conf.d/b.txt", "mine/x", "lock" };
	static const char *const want[] = { "conf.d/a.conf", "conf.d/b.txt", "keys.json", "lock", "mine/", "notes.txt" };
	struct world w;
	struct seen s = { .n = 0 };
	struct fault f = { 0 };
	char path[256];

	world_init(&w);
	snprintf(path, sizeof path, "%s/conf.d", w.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof path, "%s/mine", w.dir);
	assert_int_equal(mkdir(path, 0700), 0);
	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		snprintf(path, sizeof path, "%s/%s", w.dir, files[i]);
		world_write(path, "x", 1);
	}
	assert_int_equal(state_each(w.dir, note, &s, &f), ERR_OK);
	assert_int_equal(s.n, sizeof want / sizeof want[0]);
	for (size_t i = 0; i < s.n; i++)
		assert_string_equal(s.names[i], want[i]);
	assert_non_null(s.rows[0]);
	assert_null(s.rows[1]);
	assert_int_equal(s.rows[3]->how, STATE_NOT);
	assert_null(s.rows[4]);
	assert_null(s.rows[5]);
	snprintf(path, sizeof path, "%s/none", w.dir);
	assert_int_equal(state_each(path, note, &s, &f), ERR_NOTFOUND);
	world_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_find_their_row),
		cmocka_unit_test(nothing_else_does),
		cmocka_unit_test(every_row_is_complete),
		cmocka_unit_test(a_walk_shows_what_is_in_no_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
