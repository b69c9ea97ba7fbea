/* What a handshake leaves out and INFO says: names and features (im2.md 5.5, 5.7, 8). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "protocol/im2/im2_internal.h"
#include "tests/lib/protocol_im2_pair.h"

struct world {
	struct penv e;
	struct inode a, b;
};

static const struct ipath_opts known = {.transport = IM2_WEBSOCKET, .expect = true};

static struct world *made(const struct im2_host_config *c)
{
	struct world *w = calloc(1, sizeof *w);

	assert_non_null(w);
	penv_init(&w->e);
	inode_init(&w->a, &w->e, 0, c);
	inode_init(&w->b, &w->e, 1, c);
	return w;
}

static void unmade(struct world *w)
{
	inode_fini(&w->a);
	inode_fini(&w->b);
	free(w);
}

static struct ipath *met(struct world *w, const struct ipath_opts *o)
{
	struct ipath *p = ipath_new(&w->a, &w->b, o);

	ipath_start(p);
	ipath_flush(p);
	assert_true(session_online(p->a.s) && session_online(p->b.s));
	return p;
}

static void restart(struct inode *n, const char *name)
{
	n->c.name = name;
	inode_restart(n);
}

static void assert_called(const struct end *e, const char *name, const char *told)
{
	const struct seen *x = end_last(e, SESSION_EV_RENAMED);

	assert_string_equal(session_peer(e->s)->name, name);
	if (told)
		assert_string_equal(x->word, told);
	else
		assert_null(x);
}

static void names_are_told_once_and_again_when_they_change(void **state)
{
	struct world *w = made(NULL);
	struct ipath *p = met(w, NULL);

	/* X3 and X4 said it. */
	assert_called(&p->a, "bob", NULL);
	assert_called(&p->b, "alice", NULL);
	ipath_free(p);
	/* Both forgot. IK says nothing, and INFO does. */
	restart(&w->a, "alice");
	restart(&w->b, "bob");
	p = met(w, &known);
	assert_int_equal(im2_host_counters(w->b.host)->handshakes_known, 1);
	assert_called(&p->a, "bob", "bob");
	assert_called(&p->b, "alice", "alice");
	/* The other name comes after ONLINE, so that the owner knows whose it is. */
	assert_true(end_last(&p->b, SESSION_EV_RENAMED) > end_last(&p->b, SESSION_EV_ONLINE));
	ipath_free(p);
	/* One comes back under another name. */
	restart(&w->a, "alice.2");
	p = met(w, &known);
	assert_called(&p->b, "alice.2", "alice.2");
	assert_called(&p->a, "", NULL); /* she was told before, and her owner knows */
	ipath_free(p);
	/* A connection on which the session goes on tells nothing new. */
	p = met(w, &known);
	assert_int_equal(im2_host_counters(w->b.host)->resumes, 1);
	assert_called(&p->b, "alice.2", NULL);
	ipath_free(p);
	unmade(w);
}

static void the_name_shows_when_the_owner_hears_it(void **state)
{
	struct world *w = made(NULL);
	struct ipath *p = met(w, NULL);
	struct session_event e;
	struct session_unit u;
	struct im2_fields f = {0};
	struct buf b;

	buf_init(&b, 100);
	im2_set_b(&f, IM2_INFO_NAME, BYTES_LIT("eve"));
	im2_write(&im2_info, &f, &b);
	assert_int_equal(im2_link_item(p->a.s, IM2_ITEM_INFO, buf_bytes(&b)), ERR_OK);
	assert_true(session_next_unit(p->a.s, &u));
	session_take(p->b.s, u.bytes, false);
	assert_string_equal(session_peer(p->b.s)->name, "alice");
	assert_true(session_next_event(p->b.s, &e));
	assert_int_equal(e.type, SESSION_EV_RENAMED);
	assert_string_equal(e.word, "eve");
	assert_string_equal(session_peer(p->b.s)->name, "eve");
	assert_false(session_next_event(p->b.s, &e));
	buf_fini(&b);
	ipath_free(p);
	unmade(w);
}

/* They came in an INFO: a rekey, which does not say them, forgets none. */
static void features_survive_a_rekey(void **state)
{
	static const uint8_t all[] = {IM2_WEBSOCKET, IM2_SERIAL};

	for (size_t i = 0; i < sizeof all; i++) {
		struct world *w = made(&(struct im2_host_config){.pad = true, .require = true});
		uint64_t want = IM2_FEATURE_PAD | IM2_FEATURE_REQUIRED;
		struct ipath_opts o = {.transport = all[i], .expect = true};
		struct ipath *p;

		inode_know(&w->a, &w->b);
		inode_know(&w->b, &w->a);
		p = met(w, &o);
		assert_int_equal(im2_host_counters(w->b.host)->handshakes_known, 1);
		for (int side = 0; side < 3; side++) {
			assert_int_equal(im2_link_features(p->a.s), want);
			assert_int_equal(im2_link_features(p->b.s), want);
			penv_pass(&w->e, 11000);
			assert_int_equal(session_rekey(side & 1 ? p->a.s : p->b.s), ERR_OK);
			ipath_flush(p);
			assert_int_equal(end_count(&p->a, SESSION_EV_REKEYED), side + 1);
		}
		ipath_free(p);
		unmade(w);
	}
}

/* What a radio leaves out of everything comes with its first frame. */
static void a_radio_says_its_name_with_the_first_frame(void **state)
{
	struct world *w = made(&(struct im2_host_config){.radio = true});
	struct ipath *p = met(w, &(struct ipath_opts){.transport = IM2_RNS_LINK});
	struct message m = imessage(1, "x");

	assert_called(&p->a, "", NULL);
	assert_called(&p->b, "", NULL);
	assert_int_equal(session_send(p->a.s, &m), ERR_OK);
	ipath_flush(p);
	assert_called(&p->b, "alice", "alice");
	m = imessage(2, "y");
	assert_int_equal(session_send(p->b.s, &m), ERR_OK);
	ipath_flush(p);
	assert_called(&p->a, "bob", "bob");
	assert_int_equal(im2_link_features(p->a.s), IM2_FEATURE_RADIO);
	ipath_free(p);
	unmade(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_told_once_and_again_when_they_change),
		cmocka_unit_test(the_name_shows_when_the_owner_hears_it),
		cmocka_unit_test(features_survive_a_rekey),
		cmocka_unit_test(a_radio_says_its_name_with_the_first_frame),
	};

	if (secret_init_library() != ERR_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
