/*
 * daemon_world.h -- up to four nodes over the loopback transport, their databases and trust stores in files.
 *
 * Include after cmocka.h.
 */
#ifndef TESTS_LIB_DAEMON_WORLD_H
#define TESTS_LIB_DAEMON_WORLD_H

#include "daemon/node_internal.h"

#define SIDES 4
#define WORDS 64
#define WALL UINT64_C(1770000000000)
#define HOUR UINT64_C(3600000)

struct side {
	struct world *w;
	char name[16], address[16];
	char called[16];           /* what it calls itself from the next start on; empty: its name */
	struct keyring *keyring;
	struct pins *pins;
	struct store *store;
	struct audit *audit;
	struct policy policy;
	struct node_limits limits; /* zero members: the defaults; for the next start */
	enum routing_mode routing; /* for the next start; off */
	bool old;                  /* im2 off, from the next start on */
	bool no_mesh;              /* it has no mesh key, from the next start on */
	bool seal_refuse;
	enum discovery_scope discovery; /* likewise; off */
	bool open_discovery;
	struct node *node;
	struct transport *tp;
	char words[WORDS][40];     /* of the audit */
	size_t words_n;
};

struct world {
	uint64_t now_ms;
	uint64_t wall_ms;          /* the wall clocks show this and now_ms: WALL */
	struct env env;
	struct loopnet *net;
	char dir[64];
	struct side side[SIDES];
	struct keyring *admin[3];
	uint8_t admins[3][ED_BYTES];
};

/* Of a group of cmocka: *state is the world, with every side started. */
int world_setup(void **state);
int world_teardown(void **state);
uint64_t world_wall_ms(const struct world *w);
/* Time passes, and everybody does what is due. */
void world_pass(struct world *w, uint64_t ms);

void side_start(struct side *s);
void side_stop(struct side *s);
const char *side_file(struct side *s, const char *what); /* valid until the next call */
const struct node_id *side_id(const struct side *s);
unsigned side_audited(const struct side *s, const char *word);
void side_know(struct side *a, struct side *b); /* each trusts the other */
void side_meet(struct side *a, struct side *b); /* `a` dials, and both are online over im2 */
struct conn *side_conn(struct side *a, const struct side *b); /* NULL when they have no session */

#endif
