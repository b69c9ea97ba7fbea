/* invites_internal.h -- what invites.c, invites_use.c and invites_accept.c share. */
#ifndef DAEMON_INVITES_INTERNAL_H
#define DAEMON_INVITES_INTERNAL_H

#include "daemon/invites.h"
#include "daemon/node_internal.h"

struct following {
	bool active;
	struct invite v;
	char *token;
	link_id dialling; /* 0: it is open, or over */
	invite_done done;
	void *ctx;
	struct timer timer, ask; /* the end of patience; when to ask whether we are pinned */
};

struct invites {
	struct node *node;
	struct invite_entry **list; /* by time of issue; at most INVITES_MAX */
	size_t n, cap;
	struct following f;
};

/* NULL: we did not make it, or it is gone. */
struct invite_entry *invites_find(struct invites *v, const uint8_t nonce[static INVITE_NONCE]);
/* In the open group. */
enum err invites_write(struct invites *v, const struct invite_entry *x) MUST_CHECK;
void invites_timers(struct invites *v);
void invites_stop_following(struct invites *v);

#endif
