/*
 * caps_internal.h -- what caps.c (the registry, ours), caps_send.c (when it is told) and caps09.c (the old wire) share.
 */
#ifndef DAEMON_CAPS_INTERNAL_H
#define DAEMON_CAPS_INTERNAL_H

#include "daemon/caps.h"
#include "daemon/node_internal.h"
#include "daemon/records.h"

#define CAPS_AUTHORS_MAX 4096
#define CAPS_BYTES_MAX (8u << 20)
#define CAPS_SHARE 8              /* one delivering peer fills at most 1/8 */
#define CAPS_AGAIN_MS 60000       /* re-announce */
#define CAPS_APART_MS 10000       /* between two announcements, however often it changes */
#define CAPS_SOON_MS 100          /* after a change */
#define CAPS_PASS_PER_S 1
#define CAPS_PASS_BURST 20
#define CAPS_LIFE_MS (2 * (CAPS_AGAIN_MS > CAPS_APART_MS ? CAPS_AGAIN_MS : CAPS_APART_MS))

/* What one identity said. Text: names, each with its NUL, sorted, in one piece. */
struct cap_set {
	char *text;
	uint32_t bytes;
	uint16_t n;
	uint64_t expires_ms;       /* monotonic; UINT64_MAX: ours */
	uint64_t said_ms;          /* wall, on the old wire: announced_at; newer replaces older */
	uint64_t gen;              /* of its record; 0 on the old wire */
	uint8_t *payload;          /* old wire, signed: passed on as it came */
	uint32_t payload_n;
};

struct caps {
	struct node *node;
	struct map *sets;          /* node id -> struct cap_set */
	size_t bytes;
	struct cap_set own;
	struct buf record;         /* ours, as announced last; empty: not yet */
	uint64_t announced_ms;     /* monotonic + 1; 0 = never */
	uint64_t record_ms, told09_ms; /* likewise: of the newest record; of the last round to old neighbours */
	bool changed;
	bool said;                 /* somebody heard a set of ours that was not empty: then an empty one is told too */
	struct bucket passes;      /* records of others: what each neighbour takes of them (im2.md 18.3) leaves room for prekeys */
	struct timer timer, sweep;
};

/* caps.c */
/* `names` sorted, no doubles. Replaces what `id` said. False: no room. */
bool caps_learn(struct caps *k, const struct node_id *id, const char *const *names, size_t n, uint64_t source,
		struct cap_set **out);
struct cap_set *caps_of(struct caps *k, const struct node_id *id);
size_t caps_sort(const char **names, size_t n); /* in place, without doubles; how many are left */
uint64_t caps_source(const struct node_id *from);

/* caps_send.c */
void caps_changed(struct caps *k);
void caps_pass(struct conn *from, const struct im2_record *rec); /* a relay: to its other neighbours */
void caps_due(void *caps);

/* caps09.c */
void caps09_tell(struct caps *k, struct conn *c);  /* ours and, as a relay, those of others */

#endif
