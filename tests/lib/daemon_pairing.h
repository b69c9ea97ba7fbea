/*
 * daemon_pairing.h -- a world in which n0 has the key of the mesh, n1 has none, and what both were told of pairings.
 *
 * Include after cmocka.h. Of the heard events, the first 64 of each side.
 */
#ifndef TESTS_LIB_DAEMON_PAIRING_H
#define TESTS_LIB_DAEMON_PAIRING_H

#include "daemon/pairing.h"
#include "tests/lib/daemon_world.h"

int pairs_setup(void **state);     /* *state: struct world *; its end is world_teardown() */
void pairs_again(struct side *s);  /* another life */
/* Events "type: reason" that contain this. */
unsigned pairs_said(const struct side *s, const char *part);
const char *pairs_digits(const struct side *s); /* of the last pair.compare; "" */

struct pairing_shown pairs_show(struct side *s);
void pairs_show_so(struct side *s, struct pairing_show how, struct pairing_shown *out);
struct pairing_type pairs_typed(const char *code, const char *address); /* code NULL: compare */
void pairs_type(struct side *s, const char *code, const char *address);
void pairs_up(struct side *shows, struct side *types); /* one shows, the other types, and a second passes */
const char *pairs_wrong(const char *code); /* the same number plate, another secret; valid until the next call */

const struct pin *pairs_pin(struct side *s, const struct side *whom);
void assert_paired(struct side *a, struct side *b, const char *via);
void assert_pinned_nobody(struct side *s);

#endif
