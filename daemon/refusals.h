/*
 * refusals.h -- who was not let in, or not dialled, and why not: what an operator asks first.
 *
 * A bounded table. One entry for each identity (without one: each source) and reason; at most REFUSALS_MAX, of which one source
 * has an eighth at most, and the one seen longest ago goes first. Nothing here decides anything. Of memory alone: a restart
 * forgets it, the audit log does not.
 */
#ifndef DAEMON_REFUSALS_H
#define DAEMON_REFUSALS_H

#include "base/env.h"
#include "base/text.h"
#include "trust/identity.h"

#define REFUSALS_MAX 256
#define REFUSALS_SHARE 8

struct refusal {
	struct node_id id;             /* hex[0] == 0: it did not say who it is, or did not prove it */
	char name[NAME_MAX_CHARS + 1]; /* what it calls itself, cleaned; "" */
	char where[256];               /* address, cleaned */
	bool dialled;                  /* we went there, or did not go */
	char reason[40];               /* a word */
	char what[256], next[256];     /* for people; the exact command that would allow it */
	uint64_t first_ms, last_ms;    /* wall */
	uint64_t count;
};

struct refusals;

enum err refusals_new(struct env *env, struct refusals **out) MUST_CHECK;
void refusals_free(struct refusals *r); /* accepts NULL */
/* Once more: `x` with first_ms, last_ms and count left out; `source` as of limit.h. True when people should be told (the event
 * of docs/control.md): it is new, or a minute has passed, and all together are not more than one in a second. */
bool refusals_add(struct refusals *r, const char *source, const struct refusal *x);
uint64_t refusals_total(const struct refusals *r);  /* contacts refused since the start */
size_t refusals_count(const struct refusals *r);    /* entries */
/* The newest first; returns how many were written. */
size_t refusals_list(const struct refusals *r, struct refusal *out, size_t max);
/* Whoever is let in now was not refused for good. */
void refusals_forget(struct refusals *r, const struct node_id *id);

struct conn;
struct fault;
struct node;

/* Writes it down, counts it, and tells: event peer.refused and audit PEER_REFUSED (both of limited rate; `audited` false: the
 * caller has an audit word of its own). `id` and `name` may be NULL. */
void refuse_contact(struct node *n, const struct node_id *id, const char *name, const char *where, const char *source,
		    bool dialled, const char *reason, const struct fault *f, bool audited);
/* The same for who is at the other end of `c`. */
void refuse_conn(struct conn *c, const struct node_id *id, const char *name, const char *reason, const struct fault *f,
		 bool audited);

#endif
