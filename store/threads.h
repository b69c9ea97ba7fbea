/*
 * threads.h -- what was said with one peer, in both directions, in the order of time.
 *
 * Which rows belong to a peer is kept in memory, so nothing here walks a table, however many rows there are. Sent
 * messages stand at the time they were accepted, received ones at the time they came. Deleted ones are left out.
 */
#ifndef STORE_THREADS_H
#define STORE_THREADS_H

#include "store/inbox.h"
#include "store/outbox.h"

struct thread_head {
	struct node_id peer;
	uint64_t last_ms;      /* of the last message, either way; 0: no clock then */
	bool last_is_out;
	int64_t last_seq;
	uint64_t out, in;      /* messages, deleted ones too */
	uint32_t out_states[OUTBOX_STATES], in_states[INBOX_STATES];
};
/* ERR_NOTFOUND: nothing was ever said with this peer, or all of it is pruned. */
enum err thread_head(struct store *s, const struct node_id *peer, struct thread_head *out) MUST_CHECK;
/* Every head, in no order, until `fn` says false; it changes nothing. */
void thread_each(struct store *s, bool (*fn)(void *ctx, const struct thread_head *h), void *ctx);
/* The heads behind (`before_ms`, `before`), the newest first; UINT64_MAX and NULL: from the start. *total: all there are. */
enum err thread_list(struct store *s, uint64_t before_ms, const struct node_id *before, struct thread_head *out, size_t max,
		     size_t *n, size_t *total) MUST_CHECK;

/* Between two messages: those with lower numbers are older. Both 0: before all; both INT64_MAX: behind all. */
struct thread_mark {
	int64_t out, in;
};
struct thread_row {
	bool is_out;
	union {
		struct outbox_row out;
		struct inbox_row in;
	};
};
/* At most `max` messages that are older than `at`, the newest first; or, not `older`, that are newer, the oldest first. *at moves behind
 * what was looked at. *n less than `max` does not say that it is over: *more does. At most 4 * max + 64 rows are looked at. */
enum err thread_page(struct store *s, const struct node_id *peer, bool older, struct thread_mark *at, struct thread_row *rows,
		     size_t max, size_t *n, bool *more) MUST_CHECK;

#endif
