/*
 * caps.h -- what nodes say they can do: `namespace:name`, set, announced, learned, expired, found (im2.md 13.3 type 1, wire
 * 4.6).
 *
 * State is keyed by the verified signer. An id in a body that is not the signer's is dropped and counted. A set
 * lives 2 x max(re-announce, minimum interval) after its arrival; our own never expires. A change is pushed after 100 ms
 * and at least 10 s apart, the last one always (trailing edge). Generations are on disk before they leave and never go
 * back. At most 4,096 authors, 256 names each.
 */
#ifndef DAEMON_CAPS_H
#define DAEMON_CAPS_H

#include "protocol/session.h"
#include "trust/identity.h"

struct conn;
struct im2_record;
struct node;

#define CAPS_MAX 256
#define CAP_TEXT_MAX 128

enum err caps_new(struct node *n) MUST_CHECK;
void caps_free(struct node *n);
void caps_online(struct conn *c);
void caps_again(struct node *n);         /* our record is issued anew, at once */
void caps_record(struct conn *c, const struct im2_record *rec); /* a CAP that is news */
void caps_control(struct conn *c, const struct session_event *e); /* CAPABILITY_ANNOUNCE: e->item is the payload */

/* Ours: `namespace:name`, sorted, no doubles; replaces the set; durable. ERR_USAGE with fault, ERR_LIMIT. */
enum err caps_set(struct node *n, const char *const *names, size_t count, struct fault *f) MUST_CHECK;
/* Visits author and name; self too. `glob`: shell pattern without path semantics, NULL = all. */
typedef bool (*caps_fn)(void *ctx, const struct node_id *who, const char *name, uint64_t expires_in_ms);
void caps_find(struct node *n, const char *glob, caps_fn fn, void *ctx);
size_t caps_bytes(const struct node *n); /* memory, for the bench */

#endif
