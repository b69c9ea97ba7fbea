#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/trust_pins.h"

void world_make(struct world *w)
{
	memset(w, 0, sizeof *w);
	test_env_init(&w->t);
	w->k = zero_keyring();
	assert_int_equal(pins_load(NULL, w->k, &w->t.env, &w->p, NULL), ERR_OK);
}

void world_free(struct world *w)
{
	pins_free(w->p);
	keyring_free(w->k);
}

struct node_id meet(struct world *w, unsigned n, const char *name, enum pin_state s)
{
	uint8_t ed[ED_BYTES];
	struct pin_update u = {.ed = ed, .name = name, .version = V09, .state = s, .via = "tofu"};
	bool created = false;

	peer_key(n, ed, &u.id);
	u.wall_ms = w->t.wall_ms++;
	assert_int_equal(pins_observe(w->p, &u, &created), ERR_OK);
	assert_true(created);
	return u.id;
}

enum err meet_again(struct world *w, unsigned n, const char *name, uint16_t version)
{
	uint8_t ed[ED_BYTES];
	struct pin_update u = {.ed = ed, .name = name, .version = version, .via = "tofu"};
	bool created = true;

	peer_key(n, ed, &u.id);
	u.wall_ms = w->t.wall_ms++;
	enum err e = pins_observe(w->p, &u, &created);
	if (e == ERR_OK)
		assert_false(created);
	return e;
}

const struct pin *pin_of(struct world *w, const struct node_id *id)
{
	const struct pin *pin = pins_get(w->p, id);

	assert_non_null(pin);
	return pin;
}

struct pin_alarm alarm_of(const char *subject, bool is_address, const struct node_id *was,
			  unsigned n, const char *now_name, uint64_t at_ms)
{
	struct pin_alarm a = {.is_address = is_address, .was = *was, .at_ms = at_ms};

	snprintf(a.subject, sizeof a.subject, "%s", subject);
	snprintf(a.now_name, sizeof a.now_name, "%s", now_name);
	peer_key(n, a.now_ed, &a.now);
	return a;
}

void assert_helpful(const struct fault *f, const char *what, const char *next)
{
	assert_non_null(strstr(f->what, what));
	assert_true(f->means[0] != '\0');
	assert_non_null(strstr(f->next, next));
	assert_true(strlen(f->what) < sizeof f->what - 1);
	assert_true(strlen(f->next) < sizeof f->next - 1);
}
