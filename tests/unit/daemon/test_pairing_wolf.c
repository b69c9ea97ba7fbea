#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/pairing_internal.h"
#include "tests/lib/daemon_pairing.h"
#include "transports/loopback.h"

/* Somebody who has an endpoint of his own and speaks the pairing path as he likes. */

static struct world *w;
static struct side *p, *q;

static int setup(void **state)
{
	int e = pairs_setup(state);

	w = *state;
	p = &w->side[0];
	q = &w->side[1];
	return e;
}

/* --- a wolf --- */

struct wolf {
	struct transport *tp;
	struct keyring *keyring;
	struct im2_offer offer;     /* as a listener: the digits that it guessed */
	char guess[IM2_CODE_DIGITS]; /* as a dialler */
	bool silent;                /* says X1 and nothing more */
	struct {
		link_id id;
		struct im2_pair *p;
		unsigned said;
	} link[8];
	unsigned links, closed;
	bool paired;
};

static void wolf_drain(struct wolf *f, unsigned i)
{
	struct im2_pair_event e;
	uint8_t psk[PSK_BYTES];
	struct bytes unit;
	bool over = false;

	while (im2_pair_next_event(f->link[i].p, &e)) {
		if (e.type == IM2_PAIR_EV_PEER)
			(void)!im2_pair_admit(f->link[i].p, psk);
		f->paired |= e.type == IM2_PAIR_EV_PAIRED;
		over |= e.type == IM2_PAIR_EV_OVER;
	}
	while (im2_pair_next_unit(f->link[i].p, &unit))
		if (!f->silent || f->link[i].said++ == 0)
			(void)!tp_send(f->tp, f->link[i].id, unit, false);
	if (over && !f->silent)
		tp_close(f->tp, f->link[i].id);
}

static void wolf_opened(void *ctx, const struct link_info *info)
{
	struct wolf *f = ctx;
	struct im2_pair_config c = { .env = &w->env, .keyring = f->keyring, .listener = !info->dialled,
				     .hello = { .name = "wolf", .max_unit = IM2_PAIR_UNIT_MAX } };
	unsigned i = f->links++;

	assert_true(i < 8 && info->pair);
	f->link[i].id = info->id;
	c.offer = info->dialled ? NULL : &f->offer;
	memcpy(c.digits, f->guess, sizeof c.digits);
	assert_int_equal(im2_pair_new(&c, &f->link[i].p), ERR_OK);
	wolf_drain(f, i);
}

static void wolf_unit(void *ctx, link_id id, struct bytes unit, bool text)
{
	struct wolf *f = ctx;

	for (unsigned i = 0; i < f->links; i++)
		if (f->link[i].id == id) {
			im2_pair_take(f->link[i].p, unit);
			wolf_drain(f, i);
		}
}

static void wolf_closed(void *ctx, link_id id, enum link_end why, const char *detail)
{
	((struct wolf *)ctx)->closed++;
}

static void wolf_new(struct wolf *f, const char *address)
{
	struct transport_sink sink = { .ctx = f, .opened = wolf_opened, .unit = wolf_unit, .closed = wolf_closed };

	*f = (struct wolf){ 0 };
	assert_int_equal(keyring_generate(&w->env, &f->keyring), ERR_OK);
	assert_int_equal(loopback_new(w->net, address, &sink, &f->tp), ERR_OK);
}

static void wolf_free(struct wolf *f)
{
	loopback_kill(f->tp);
	tp_free(f->tp);
	for (unsigned i = 0; i < f->links; i++)
		im2_pair_free(f->link[i].p);
	keyring_free(f->keyring);
}

static void wolf_guesses(struct wolf *f, const char *code)
{
	link_id id;

	assert_int_equal(im2_code_parse(bytes_str(code), f->guess), ERR_OK);
	assert_int_equal(tp_dial(f->tp, "n0:1" LINK_PAIR_PATH, &id), ERR_OK);
	world_pass(w, 300);
}

static void in_the_middle_there_is_one_guess_at_each_end(void **state)
{
	struct pairing_shown shown = pairs_show(p);
	struct wolf wolf;

	wolf_new(&wolf, "wolf:1");
	wolf.offer = (struct im2_offer){ .live = true, .until_ms = UINT64_MAX };
	assert_int_equal(im2_code_parse(bytes_str(pairs_wrong(shown.code)), wolf.offer.digits), ERR_OK);
	pairs_type(q, shown.code, "wolf:1"); /* led astray */
	wolf_guesses(&wolf, pairs_wrong(shown.code));
	world_pass(w, 1000);
	assert_false(wolf.paired);
	assert_int_equal(pairs_said(q, "pair.failed: the code is wrong"), 1);
	assert_int_equal(pairs_said(p, "pair.used"), 1);
	assert_pinned_nobody(p);
	assert_pinned_nobody(q);
	/* There is no second one, on either side. */
	wolf_guesses(&wolf, shown.code);
	assert_false(wolf.paired);
	assert_false(q->node->pairing->typing);
	assert_pinned_nobody(p);
	wolf_free(&wolf);
}

static void a_second_guess_at_the_same_time_hears_that_it_is_used(void **state)
{
	struct pairing_shown shown = pairs_show(p);
	struct wolf wolf;

	wolf_new(&wolf, "wolf:1");
	wolf.silent = true; /* X1, and then it thinks */
	wolf_guesses(&wolf, pairs_wrong(shown.code));
	assert_true(p->node->pairing->attempts_n == 1 && p->node->pairing->showing);
	pairs_type(q, shown.code, p->address);
	world_pass(w, 500);
	assert_int_equal(pairs_said(q, "pair.failed: the code is used up there"), 1);
	assert_int_equal(pairs_said(p, "pair."), 0);
	/* Its time is short. */
	world_pass(w, 20000);
	assert_int_equal(pairs_said(p, "pair.used: somebody used the code and said nothing more"), 1);
	assert_int_equal(p->node->n.pair_guesses, 1);
	assert_pinned_nobody(p);
	wolf_free(&wolf);
}

static void whoever_only_connects_keeps_nobody_out(void **state)
{
	struct pairing_shown shown = pairs_show(p);
	struct wolf wolf;
	link_id id;

	wolf_new(&wolf, "wolf:1");
	wolf.silent = true;
	wolf.link[0].said = wolf.link[1].said = wolf.link[2].said = wolf.link[3].said = 1; /* not even X1 */
	for (int i = 0; i < 4; i++)
		assert_int_equal(tp_dial(wolf.tp, "n0:1" LINK_PAIR_PATH, &id), ERR_OK);
	world_pass(w, 100);
	assert_int_equal(p->node->pairing->attempts_n, ATTEMPTS_PER_SOURCE);
	assert_int_equal(wolf.closed, 4 - ATTEMPTS_PER_SOURCE);
	pairs_type(q, shown.code, p->address);
	world_pass(w, 300);
	assert_paired(p, q, "code");
	assert_int_equal(pairs_said(p, "pair.used") + pairs_said(p, "pair.failed"), 0);
	/* They go with the code. */
	world_pass(w, 1000);
	assert_int_equal(p->node->pairing->attempts_n, 0);
	assert_int_equal(wolf.closed, 4);
	wolf_free(&wolf);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(in_the_middle_there_is_one_guess_at_each_end),
		T(a_second_guess_at_the_same_time_hears_that_it_is_used),
		T(whoever_only_connects_keeps_nobody_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
