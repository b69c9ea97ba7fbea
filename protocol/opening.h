/*
 * opening.h -- which generation a connection speaks (im2.md 4). The one file that knows both.
 *
 * Listener: sends the challenge of 0.9 with `suites` (or, when im2 is required, the binary S1) and decides
 * by the first byte of the answer. Dialler: looks at S1. Until the choice falls the session it gives is one in
 * its handshake; then opening_settle() gives the chosen one in its place. A choice is never taken back:
 * what chose im2 ends rather than go on as 0.9.
 *
 * A dialler that must not speak 0.9 (require, pinned_im2) and is offered nothing else ends with
 * ERR_DOWNGRADE, BLAME_NONE and the word "downgrade-refused", without having said a byte (4.3).
 */
#ifndef PROTOCOL_OPENING_H
#define PROTOCOL_OPENING_H

#include "protocol/im2/im2.h"
#include "protocol/session.h"

struct opening_config {
	struct session_config v09;     /* offer_im2 and mark_im2 are set here from `im2` */
	struct im2_host *im2;          /* NULL: 0.9 only, whatever the rest says */
	bool require;                  /* never 0.9 */
	bool pinned_im2;               /* dialler: this address or identity has spoken im2: never 0.9 (4.3) */
	struct im2_link_config link;   /* role, s1 and nonce are filled here; chan, cb and source are copied */
};
/* ERR_UNSUPPORTED: with im2 only on transports where the listener speaks first, im2_has_s1(). ERR_NOMEM, or what
 * im2_link_new() says. */
enum err opening_new(const struct opening_config *c, struct session **out) MUST_CHECK;
/* Call after every session_take(), before draining: what to go on with instead of `s`. Once the choice fell this is
 * the chosen session itself, so that nothing stands in between and im2_is_link() and the im2_link_* calls see a
 * link; `s` is freed then. Any other session comes back as it is, at the cost of a comparison. */
struct session *opening_settle(struct session *s) MUST_CHECK;

#endif
