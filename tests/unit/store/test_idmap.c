#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "store/idmap_internal.h"
#include "tests/lib/store_world.h"

#define IDS 3000

static struct world w;
static struct idmap m;
/* The model: which of IDS names is in, under the number i + 1. */
static bool in[IDS];

static int setup(void **state)
{
	world_init(&w);
	memset(in, 0, sizeof(in));
	return idmap_init(&m, &w.env) != ERR_OK;
}

static int teardown(void **state)
{
	idmap_fini(&m);
	world_fini(&w);
	return 0;
}

/* Seven names share each id, as messages of different authors may. */
static struct bytes name(unsigned i, char out[static 16])
{
	return bytes_of(out, (size_t)snprintf(out, 16, "id-%u", i / 7));
}

static bool has(unsigned i)
{
	struct idmap_probe p;
	char text[16];
	int64_t seq;

	idmap_find(&m, name(i, text), &p);
	while (idmap_next(&m, &p, &seq))
		if (seq == (int64_t)i + 1)
			return true;
	return false;
}

static void toggle(unsigned i)
{
	char text[16];

	assert_int_equal(idmap_reserve(&m, 1), ERR_OK);
	if (in[i])
		idmap_del(&m, name(i, text), (int64_t)i + 1);
	else
		idmap_add(&m, name(i, text), (int64_t)i + 1);
	in[i] = !in[i];
}

static void assert_same(void)
{
	size_t n = 0;

	for (unsigned i = 0; i < IDS; i++) {
		assert_int_equal(has(i), in[i]);
		n += in[i];
	}
	assert_int_equal(m.n, n);
}

static void finds_what_was_added_and_nothing_else(void **state)
{
	for (unsigned i = 0; i < IDS; i += 2)
		toggle(i);
	idmap_commit(&m);
	assert_same();
	assert_true(m.bits > 10); /* it grew on the way */
}

static void random_changes_and_rollbacks_agree_with_the_model(void **state)
{
	bool kept[IDS];
	uint64_t seed = 1;

	for (unsigned round = 0; round < 60; round++) {
		memcpy(kept, in, sizeof(in));
		for (unsigned k = 0; k < 200; k++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			toggle((unsigned)(seed >> 33) % IDS);
		}
		if (round % 3 == 0) {
			idmap_rollback(&m);
			memcpy(in, kept, sizeof(in));
		} else {
			idmap_commit(&m);
		}
		if (round % 10 == 0)
			assert_same();
	}
	assert_same();
}

static void rollback_survives_growth(void **state)
{
	toggle(0);
	idmap_commit(&m);
	for (unsigned i = 1; i < IDS; i++)
		toggle(i);
	toggle(0);
	idmap_rollback(&m);
	memset(in, 0, sizeof(in));
	in[0] = true;
	assert_same();
}

static void empty_map_finds_nothing(void **state)
{
	struct idmap_probe p;
	int64_t seq;

	idmap_find(&m, BYTES_LIT("nobody"), &p);
	assert_false(idmap_next(&m, &p, &seq));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(finds_what_was_added_and_nothing_else, setup,
						teardown),
		cmocka_unit_test_setup_teardown(random_changes_and_rollbacks_agree_with_the_model,
						setup, teardown),
		cmocka_unit_test_setup_teardown(rollback_survives_growth, setup, teardown),
		cmocka_unit_test_setup_teardown(empty_map_finds_nothing, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
