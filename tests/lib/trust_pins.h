/*
 * trust_pins.h -- a store in memory and short ways to fill it. Include after cmocka.h.
 */
#ifndef TESTS_TRUST_PINS_H
#define TESTS_TRUST_PINS_H

#include "tests/lib/trust_env.h"
#include "trust/pins.h"

#define V09 0x0009

struct world {
	struct test_env t;
	struct keyring *k;
	struct pins *p;
};

void world_make(struct world *w); /* memory only */
void world_free(struct world *w);
/* First contact of peer number n; returns its id. */
struct node_id meet(struct world *w, unsigned n, const char *name, enum pin_state s);
enum err meet_again(struct world *w, unsigned n, const char *name, uint16_t version);
const struct pin *pin_of(struct world *w, const struct node_id *id);
/* What policy would record: `name` was `was`, peer n shows itself now. */
struct pin_alarm alarm_of(const char *subject, bool is_address, const struct node_id *was, unsigned n,
			  const char *now_name, uint64_t at_ms);
/* Every fault a person sees has all three parts. */
void assert_helpful(const struct fault *f, const char *what, const char *next);

#endif
