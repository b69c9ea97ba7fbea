/*
 * records.h -- the daemon's use of signed records (im2.md 13) and of prekeys (11.3).
 *
 *   records.c   birth, time, begin of a session       records_load.c   what earlier lives kept
 *   records_item.c   what a peer says and asks         prekeys.c        our prekeys
 *   records_issue.c   records that we issue again and again
 *   notices.c   REVOKE and ROTATE: what they do here, and who still has to hear of them
 *   records_life.c   after a restore
 *   quarantine.c   who is set aside for a day
 *   revoked.c   whoever is revoked, known here or not
 *
 * On disk (store/kv.h), before anything that depends on it leaves: space "prekey" (ours, with secrets), "generation"
 * (of our records), "rotate" (how an earlier identity of ours became the next one), "record" (of pinned identities:
 * newest PREKEY, and REVOKE and ROTATE), "quarantine" (until when), "evidence" (two records of one generation),
 * "revoked" (identities that are over).
 *
 * What a stranger may fill is bounded: the cache by im2_records, notices by NOTICES_MAX, state per peer by the number
 * of pins, what is revoked by REVOKED_MAX. Who delivered a bad record pays for it, whoever it names.
 */
#ifndef DAEMON_RECORDS_H
#define DAEMON_RECORDS_H

#include "protocol/im2/seal.h"

struct conn;
struct node;
struct session_event;
struct store;

/* n->records, or NULL when im2 is off. Before any session; everything below accepts a node without. */
enum err records_new(struct node *n) MUST_CHECK;
void records_free(struct node *n);
void records_admins_changed(struct node *n); /* node_config has another admin set */
/* A session of im2 is online and its peer is pinned. */
void records_online(struct conn *c);
/* SESSION_EV_ITEM: RECORD, RECDIG, RECREQ, SRECEIPT. */
void records_item(struct conn *c, const struct session_event *e);
/* Operator and policy: its sessions are erased. What it said is forgotten; revocations stay. */
void records_forget(struct node *n, const uint8_t ed[static ED_BYTES]);
/* A REVOKE that counts has ended this identity (13.4), whether we know it or not. */
bool records_dead(const struct node *n, const uint8_t ed[static ED_BYTES]);
/* The trust in this peer changed. When it was the operator, a quarantine of ours does not decide any more. */
void records_decided(struct node *n, const struct node_id *id);
/* Set aside for a day: held, not heard. Who is not trusted is no worse off. Nothing without im2. */
void records_quarantine(struct node *n, const struct node_id *id, const struct node_id *by);
/* A rotation has been prepared in the store and has become true: tells who is online. */
void records_rotated(struct node *n);
/* A ROTATE of `old` to `next` and its generation, in the open group of the store. The next life of this node repeats
 * it. When the rotation does not come to be, the next life under the old identity drops it. */
enum err records_keep_rotation(struct store *s, const struct keyring *old, const struct keyring *next,
			       uint64_t wall_ms) MUST_CHECK;

/* This database is an older copy of itself: generations of our records go up by more than a life uses, and our prekeys are
 * dropped, so that new ones are made above whatever was said since. In the open group, before records_new(). */
enum err records_new_life(struct store *s, uint64_t wall_ms) MUST_CHECK;

/* A record of ours of type CAP, ROUTE or CARD with the next generation, which is on disk before this returns; the cache
 * has it too. Appends it to `out`. ERR_UNSUPPORTED without im2, ERR_STORE, ERR_NOMEM, ERR_LIMIT. */
enum err records_issue(struct node *n, uint64_t type, uint64_t life_s, struct bytes body, struct buf *out) MUST_CHECK;
/* An SRECEIPT, wherever it came. */
void records_receipt(struct node *n, struct bytes value);
/* The newest valid one that we hold, borrowed until the next call of anything here; empty: none. */
struct bytes records_get(struct node *n, const uint8_t ed[static ED_BYTES], uint64_t type);
/* Asks this neighbour for the newest record that an author has made, if it is newer than ours. Within what it takes. */
bool records_want(struct conn *c, const struct node_id *author, uint64_t type); /* false: not now */
/* The PREKEY of a destination, from the neighbour on the way to it: once, and again when it could not be asked now. */
void records_seek(struct conn *c, const struct node_id *author);
/* A record of this type that came inside another item (ROUTEADV): checked, kept, charged to who delivered it. `out` points
 * into `raw`. One of another type is refused unseen: what a REVOKE or ROTATE does is done elsewhere, and only once. */
enum im2_record_verdict records_take(struct conn *c, struct bytes raw, uint64_t type, struct im2_record *out);

/* A PREKEY or CARD that came with a credential of this peer (15.3): checked and kept; it costs nobody anything. In the open
 * group of the store. */
void records_granted(struct node *n, const struct node_id *from, struct bytes raw);

/* For sealing to a pinned identity: its keys, and its newest prekey if one is known (borrowed until the next call of
 * anything here). allow_fallback says whether its long-term key is known. ERR_NOTFOUND: not pinned, or no key of it to seal
 * to is known. */
enum err records_seal_to(struct node *n, const struct node_id *to, struct im2_seal_to *out) MUST_CHECK;
/* Who we were before our own rotations, the nearest first. */
size_t records_former(const struct node *n, const struct node_id **out);
/* Ours, for opening. NULL when im2 is off. */
const struct im2_prekeys *records_prekeys(const struct node *n);

#endif
