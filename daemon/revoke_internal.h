/* revoke_internal.h -- what revoke.c and revoke_file.c share. */
#ifndef DAEMON_REVOKE_INTERNAL_H
#define DAEMON_REVOKE_INTERNAL_H

#include "daemon/revoke.h"

/* ERR_UNSUPPORTED; with `admin`: ERR_DENIED. */
enum err revoke_may(struct node *n, bool admin, struct fault *f) MUST_CHECK;
/* In the open group. */
enum err revoke_next_gen(struct node *n, const uint8_t target[static ED_BYTES], uint64_t *out) MUST_CHECK;
/* `quorum`: 16 bytes, or NULL. */
void revoke_body(const uint8_t target[static ED_BYTES], unsigned reason, unsigned scope, const char *note,
		 const uint8_t *quorum, struct buf *out);
uint64_t revoke_issued_ms(const struct node *n); /* 0 without a plausible clock */
/* A whole record: kept, sent, done. */
enum err revoke_issue(struct node *n, struct bytes raw, const char *kind, const struct node_id *target,
		      struct fault *f) MUST_CHECK;

#endif
