#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/protocol_im2_pair.h"

struct world {
	struct penv e;
	struct inode a, b;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	assert_non_null(w);
	penv_init(&w->e);
	inode_init(&w->a, &w->e, 0, NULL);
	inode_init(&w->b, &w->e, 1, NULL);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	inode_fini(&w->a);
	inode_fini(&w->b);
	free(w);
	return 0;
}

static void first_contact_and_a_message(void **state)
{
	struct world *w = *state;
	struct ipath *p = ipath_new(&w->a, &w->b, NULL);
	struct message m = imessage(1, "hello");

	ipath_start(p);
	ipath_flush(p);
	assert_true(session_online(p->a.s));
	assert_true(session_online(p->b.s));
	assert_int_equal(end_count(&p->a, SESSION_EV_IDENTIFIED), 1);
	assert_int_equal(end_count(&p->b, SESSION_EV_ONLINE), 1);
	assert_string_equal(session_peer(p->a.s)->name, "bob");
	assert_string_equal(session_peer(p->a.s)->generation, "im2");
	assert_int_equal(session_send(p->a.s, &m), ERR_OK);
	ipath_flush(p);
	assert_int_equal(end_count(&p->b, SESSION_EV_MESSAGE), 1);
	assert_memory_equal(end_last(&p->b, SESSION_EV_MESSAGE)->body, "hello", 5);
	ipath_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(first_contact_and_a_message, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
