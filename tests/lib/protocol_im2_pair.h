/*
 * protocol_im2_pair.h -- two hosts of im2 that talk in memory: each with an identity, a trust store that a test may
 * look into or break, and any number of connections between them, over a wire that the test holds.
 *
 * Needs no cmocka; a broken expectation of the helpers themselves is a BUG_ON.
 */
#ifndef TESTS_PROTOCOL_IM2_PAIR_H
#define TESTS_PROTOCOL_IM2_PAIR_H

#include "protocol/im2/im2.h"
#include "tests/lib/protocol_env.h"

#define IPINS_MAX 8

struct ipin {
	uint8_t ed[ED_BYTES], x[X25519_BYTES];
	bool proven, refused, trusted;
	struct psks psks;
};
struct inode {
	struct penv *e;
	struct keyring *k;
	struct im2_host_config c; /* as the host was made: for a restart */
	struct im2_host *host;
	struct ipin pins[IPINS_MAX];
	unsigned pins_n;
	unsigned puts, proofs, replaced;
	bool disk_broken;          /* psks_put() and prove() fail */
	uint32_t busy_s;           /* what guess() answers */
	unsigned guesses, good, bad_dials;
};
/* Makes the node and its host; `c` may be NULL. The passphrase is the one of everybody unless `other`. */
void inode_init(struct inode *n, struct penv *e, unsigned number, const struct im2_host_config *c);
void inode_mesh_key(struct inode *n, const char *word);
void inode_fini(struct inode *n); /* and what a test that failed left open */
/* The process starts anew: no sessions, same trust. Its connections must be gone. */
void inode_restart(struct inode *n);
struct ipin *inode_pin(struct inode *n, const struct inode *who); /* NULL */
/* As an import: pinned with its X, usable for IK. */
struct ipin *inode_know(struct inode *n, const struct inode *who);

/* One connection between two nodes; `a` dials. */
struct ipath {
	struct ipath *next;        /* those that live */
	struct inode *na, *nb;
	struct end a, b;
};
struct ipath_opts {
	uint8_t transport;
	bool expect;               /* a expects b */
	const uint8_t *expected;   /* somebody else */
	bool owner_compares;
	bool text_s1;              /* both know an S1 that went before, as on a mixed listener */
	bool pair_path;
	const char *source;        /* NULL: nobody's */
};
struct ipath *ipath_new(struct inode *a, struct inode *b, const struct ipath_opts *o);
void ipath_free(struct ipath *p);
void ipath_start(struct ipath *p);
void ipath_flush(struct ipath *p); /* moves units until both are quiet */
/* Moves n units from one end. */
void ipath_move(struct ipath *p, struct end *from, size_t n);
/* Drops what is on the wire. */
void ipath_lose(struct ipath *p);
struct ipath *ipath_online(struct inode *a, struct inode *b, const struct ipath_opts *o);
void ipath_tick(struct ipath *p, uint64_t ms);

struct message imessage(uint64_t seq, const char *body);

#endif
