/*
 * probe.h -- a handshake that is broken off before it means anything, for `doctor --peer`.
 *
 * A link of its own, an im2 host of its own with the keys of this node, and trust that answers questions and keeps
 * nothing: no pin, no alarm, no audit entry, no session, and whoever is connected stays so. With a known peer it ends at
 * I2, which proves both identities; with another one at X2, which proves the passphrase; on the old wire at the challenge, since
 * whatever comes after it is a session.
 *
 * The far side counts a first contact that was broken off as a guess at the passphrase, as it must: so one begins at
 * most once a minute.
 */
#ifndef DAEMON_PROBE_H
#define DAEMON_PROBE_H

#include "daemon/node.h"
#include "transports/transport.h"

#define PROBE_STEPS_MAX 8

enum probe_end {
	PROBE_KNOWN,     /* I2 opened: the peer that we know is there, and lets us in so far */
	PROBE_MESH,      /* X2 opened: whoever is there knows the passphrase */
	PROBE_OLD,       /* the other side wants the old wire */
	PROBE_REFUSED,   /* `err`, `word`, `remote` */
	PROBE_NO_LINK    /* `word` */
};

struct probe_step {
	const char *name; /* "connect", "I1", "I2", "X1", "X2" */
	uint64_t took_ms;
};

struct probe_report {
	enum probe_end end;
	enum err err;
	bool remote;      /* the other side said so */
	char word[160];
	bool has_id;
	struct node_id id; /* who is there: proven (PROBE_KNOWN), or claimed by the address */
	struct probe_step steps[PROBE_STEPS_MAX];
	size_t n;
};

struct probe;
typedef void (*probe_done)(void *ctx, const struct probe_report *r);

/* One at a time: ERR_AGAIN. ERR_USAGE: no address. `done` is called once, in a later turn, unless probe_cancel() came
 * before. */
enum err node_probe(struct node *n, const char *address, uint64_t timeout_ms, probe_done done, void *ctx, struct fault *f) MUST_CHECK;
void node_probe_cancel(struct node *n, void *ctx);

/* For sink.c and node.c: whether the link is that of the probe; then it is dealt with. */
bool probe_opened(struct node *n, const struct link_info *info);
bool probe_unit(struct node *n, link_id id, struct bytes unit, bool text);
bool probe_closed(struct node *n, link_id id, enum link_end why, const char *detail);
void probe_stop(struct node *n); /* answers nobody any more */
void probe_gone(struct node *n); /* the transport is over: frees what is left */

#endif
