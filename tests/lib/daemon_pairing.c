#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/daemon_pairing.h"

#define HEARD 64
struct heard {
	char what[HEARD][360]; /* "type: reason" */
	size_t n;
};
static struct heard heard[SIDES];

static void hear(void *ctx, const struct node_event *e)
{
	struct heard *h = ctx;

	if (strncmp(e->type, "pair.", 5) == 0 && h->n < HEARD)
		snprintf(h->what[h->n++], sizeof h->what[0], "%s: %s", e->type, e->reason ? e->reason : "");
}

unsigned pairs_said(const struct side *s, const char *part)
{
	const struct heard *h = &heard[s - s->w->side];
	unsigned k = 0;

	for (size_t i = 0; i < h->n; i++)
		k += strstr(h->what[i], part) != NULL;
	return k;
}

/* What follows the last "pair.compare: ". */
const char *pairs_digits(const struct side *s)
{
	const struct heard *h = &heard[s - s->w->side];

	for (size_t i = h->n; i-- > 0;)
		if (strncmp(h->what[i], "pair.compare: ", 14) == 0)
			return h->what[i] + 14;
	return "";
}

void pairs_again(struct side *s)
{
	side_stop(s);
	side_start(s);
	node_observe(s->node, hear, &heard[s - s->w->side]);
	node_dial_all(s->node);
}

int pairs_setup(void **state)
{
	int e = world_setup(state);
	struct world *w = *state;

	memset(heard, 0, sizeof heard);
	w->side[1].no_mesh = true;
	pairs_again(&w->side[1]);
	for (int i = 0; i < SIDES; i++) {
		node_observe(w->side[i].node, hear, &heard[i]);
		node_dial_all(w->side[i].node);
	}
	return e;
}

/* --- short forms --- */

void pairs_show_so(struct side *s, struct pairing_show how, struct pairing_shown *out)
{
	struct fault f = { 0 };

	assert_int_equal(pairing_show(s->node, &how, out, &f), ERR_OK);
}

struct pairing_shown pairs_show(struct side *s)
{
	struct pairing_shown shown;

	pairs_show_so(s, (struct pairing_show){ 0 }, &shown);
	return shown;
}

struct pairing_type pairs_typed(const char *code, const char *address)
{
	struct pairing_type t = { .compare = !code };

	if (code)
		assert_int_equal(im2_code_parse(bytes_str(code), t.digits), ERR_OK);
	snprintf(t.address, sizeof t.address, "%s", address);
	return t;
}

void pairs_type(struct side *s, const char *code, const char *address)
{
	struct pairing_type t = pairs_typed(code, address);
	struct fault f = { 0 };

	assert_int_equal(pairing_type(s->node, &t, &f), ERR_OK);
}

/* The same number plate, another secret. */
const char *pairs_wrong(const char *code)
{
	static char text[IM2_CODE_TEXT];

	snprintf(text, sizeof text, "%s", code);
	text[9] = (char)(text[9] == '9' ? '0' : text[9] + 1);
	return text;
}

const struct pin *pairs_pin(struct side *s, const struct side *whom)
{
	return pins_get(s->pins, side_id(whom));
}

void assert_paired(struct side *a, struct side *b, const char *via)
{
	const struct pin *pin = pairs_pin(a, b);
	struct psks psks;

	assert_non_null(pin);
	assert_int_equal(pin->state, PIN_TRUSTED);
	assert_true(pin->verified);
	assert_string_equal(pin->via, via);
	assert_true(pin->im2_since_ms);
	assert_int_equal(pins_get_psks(a->pins, side_id(b), &psks), ERR_OK);
	assert_true(psks.has_confirmed);
	psks_wipe(&psks);
}

void assert_pinned_nobody(struct side *s)
{
	assert_int_equal(pins_count(s->pins), 0);
}

void pairs_up(struct side *shows, struct side *types)
{
	pairs_type(types, pairs_show(shows).code, shows->address);
	world_pass(shows->w, 1000);
}
