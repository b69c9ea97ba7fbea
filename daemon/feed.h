/*
 * feed.h -- everything that the dashboard shows, as a snapshot in pages and then as changes with sequence numbers.
 *
 * Sections: "status", "attention", "peers", "conversations", "queue", "mesh", "stats", "events". Each is a table of rows with
 * a `key`; a change is a whole row, or the key of one that is gone. docs/control.md has the rows.
 *
 * What happens in the node only marks rows. Five times a second at most, what is marked is written once, compared with what
 * was told last, and becomes one batch under the next number, the same for every subscriber. What no event tells of (a
 * round trip time, a pruned message) is found by a slow round over the peers. The last FEED_BATCHES are kept: who comes
 * back goes on where he was; who is further behind hears of a gap and begins with a snapshot again.
 *
 * Nobody listens for FEED_SLEEP_MS: it sleeps, and an event costs one comparison.
 *
 * Callbacks of subscribers must not call into the node, and must not end a subscription.
 */
#ifndef DAEMON_FEED_H
#define DAEMON_FEED_H

#include "daemon/commands.h"

#define FEED_BATCHES 256
#define FEED_BYTES (4u << 20)
#define FEED_BATCH_BYTES (256u << 10)
#define FEED_EVERY_MS 200
#define FEED_SLEEP_MS 60000
#define FEED_BOOT_LEN 16
#define FEED_PAGE_MAX 1000

struct feed;
struct stats_sample;

enum err feed_new(struct command_ctx *cx, struct feed **out) MUST_CHECK;
/* Everybody has unsubscribed before. Accepts NULL. */
void feed_free(struct feed *f);

/* For events_tap(). */
void feed_observe(void *feed, const char *type, const struct node_event *e, const char *word);
/* For node_watch(): a row of the inbox was changed by its user. */
void feed_touched(void *feed, const struct node_id *peer, int64_t inbox_seq);
/* Something of this peer may have changed that no event tells of. */
void feed_peer(struct feed *f, const struct node_id *peer);
void feed_sample(void *feed, const struct stats_sample *x); /* for stats_on_sample() */

struct feed_subscriber {
	struct ring link;
	/* One JSON object without a line end. False: there is no room; it comes again, or a gap. */
	bool (*deliver)(void *ctx, struct bytes json);
	void *ctx;
	uint64_t seq;               /* delivered up to here */
	struct feed *feed;          /* NULL: not subscribed */
};
/* From batch `since` + 1 on; `boot` NULL: from now on. *gap: they are not there any more, and it is from now on too. What
 * is there already is delivered in a later turn. `s` stays the caller's. */
void feed_subscribe(struct feed *f, struct feed_subscriber *s, const char *boot, uint64_t since, bool *gap);
void feed_unsubscribe(struct feed_subscriber *s); /* safe when not subscribed */
void feed_room(struct feed_subscriber *s);        /* there is room again */

const char *feed_boot(const struct feed *f);
uint64_t feed_seq(const struct feed *f);

/* A page of a section as the inside of a JSON object: "boot", "seq", "at_ms", "section", "rows", "next". ERR_NOTFOUND: no
 * such section. ERR_MALFORMED: `after` is none of ours. */
enum err feed_page(struct feed *f, const char *section, const char *after, size_t limit, struct buf *out) MUST_CHECK;
/* Of that only the rows, under this name, and "next". */
enum err feed_list(struct feed *f, const char *section, const char *name, const char *after, size_t limit,
		   struct buf *out) MUST_CHECK;

#endif
