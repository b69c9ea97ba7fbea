/*
 * restored.h -- the first start on a home folder that `ironmesh restore` has put there. (What `ironmesh import` puts there has counted
 * nothing yet.)
 *
 * It is an older copy of this node: what it counts may have been counted on. So before anything is sent, in one transaction, every
 * peer gets a new era with the next message (im2.md 9.5), the generations of our records go up by more than a life of this node
 * uses (13.2), our prekeys are dropped and made anew (11.3: what was sealed to one that we forgot comes again), and invites that
 * are open in the copy are closed, since they may have been used. The audit log says RESTORED.
 *
 * A copy that came another way is noticed when a peer, or a record of ours, shows that we have forgotten something.
 */
#ifndef DAEMON_RESTORED_H
#define DAEMON_RESTORED_H

#include "store/audit.h"
#include "store/store.h"

/* Nothing to do without the mark. After an error it stays, and the next start does it again. */
enum err restored_finish(const char *home, struct store *s, struct audit *a, struct env *env, struct fault *f) MUST_CHECK;

#endif
