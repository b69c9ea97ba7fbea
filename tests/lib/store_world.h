/*
 * store_world.h -- what every test of the store needs: an env with a clock of its own, a folder,
 * messages, and names of peers.
 */
#ifndef TESTS_LIB_STORE_WORLD_H
#define TESTS_LIB_STORE_WORLD_H

#include "store/inbox.h"
#include "store/outbox.h"
#include "trust/keyring.h"

struct world {
	struct env env;
	uint64_t now_ms, wall_ms;
	char dir[64];
	char db[128], log[128];
	uint8_t wrap[32];
};

void world_init(struct world *w);  /* makes the folder */
void world_fini(struct world *w);  /* removes it and everything in it */
struct node_id world_peer(unsigned n);
struct store *world_store(struct world *w, const struct store_limits *limits); /* opens w->db */
enum err world_store_try(struct world *w, struct store **out, struct fault *f);
int64_t world_out(struct store *s, const struct world *w, unsigned peer, const char *id,
		  unsigned priority, const char *body);
int64_t world_in(struct store *s, const struct world *w, unsigned author, const char *id, bool held,
		 const char *body);
/* Without an id of its own: named by its wire id. */
enum err world_send(struct store *s, const struct world *w, unsigned peer, const char *body,
		    uint8_t wire_id[static 16], int64_t *seq) MUST_CHECK;
/* The same at its recipient; the digest follows from the body. */
struct inbox_new world_letter(const struct world *w, unsigned author, const uint8_t wire_id[static 16],
			      const char *body);
enum err world_take(struct store *s, const struct world *w, unsigned author,
		    const uint8_t wire_id[static 16], const char *body) MUST_CHECK;
/* Eight times `era`, then the number. */
void world_wire(uint8_t out[static 16], uint8_t era, uint64_t number);
void world_copy(const char *from, const char *to); /* a file */
/* The keyring of the test vectors (wire 11.1: seed of zeroes), and another one. */
struct keyring *world_keys(struct world *w);
struct keyring *world_other_keys(struct world *w);
/* Reads or replaces a whole file; the reader's result is freed by the caller and has a NUL behind. */
char *world_read(const char *path, size_t *n);
void world_write(const char *path, const void *p, size_t n);

#endif
