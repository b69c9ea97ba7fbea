/*
 * stats.h -- what happened over the last hour and the last day, in rings of fixed size, and how long deliveries took.
 *
 * Fed by the events of the node (a few additions each) and once every ten seconds by its counters. In memory only: a
 * restart begins anew, and `since_ms` says when that was. Sans-I/O: time comes from env.
 */
#ifndef DAEMON_STATS_H
#define DAEMON_STATS_H

#include "base/buf.h"
#include "daemon/node.h"

#define STATS_FINE_MS 10000
#define STATS_FINE 360      /* an hour */
#define STATS_COARSE_MS 60000
#define STATS_COARSE 1440   /* a day */
#define STATS_BUCKETS 20    /* of latency, besides the last without an end */

/* X(member): messages in the span. */
#define STATS_COUNTS(X) X(submitted) X(sent) X(stored) X(delivered) X(read) X(failed) X(expired) X(rejected) X(cancelled) X(received) X(held)
/* X(member): differences of counters. */
#define STATS_DELTAS(X) X(resent) X(handshakes) X(handshake_failures) X(store_failures) X(bytes_in) X(bytes_out)
/* X(member): as it stood at the end of the span. */
#define STATS_LEVELS(X) X(sessions) X(queued)

struct stats_sample {
	uint64_t at_ms;             /* wall; the end of the span */
#define X(m) uint64_t m;
	STATS_COUNTS(X) STATS_DELTAS(X) STATS_LEVELS(X)
#undef X
	uint32_t latency[STATS_BUCKETS + 1];
};

struct stats;
enum err stats_new(struct env *env, struct node *n, struct stats **out) MUST_CHECK;
void stats_free(struct stats *s); /* accepts NULL */
/* For events_tap(). */
void stats_observe(void *stats, const char *type, const struct node_event *e, const char *word);
/* Called after each span of ten seconds. */
void stats_on_sample(struct stats *s, void (*fn)(void *ctx, const struct stats_sample *x), void *ctx);

/* Of the end of bucket `i`, in milliseconds. */
uint32_t stats_bound_ms(unsigned i);
/* Since the start: not cumulative, the last one has no upper bound. */
struct stats_latency {
	uint64_t buckets[STATS_BUCKETS + 1], count;
	double sum_ms;
};
void stats_latency(const struct stats *s, struct stats_latency *out);
/* The latency below which `share` of those in the sample were, from its buckets; < 0: there were none. */
double stats_quantile(const struct stats_sample *x, double share);

/* Appends one sample as JSON. */
void stats_add(struct buf *b, const struct stats_sample *x, uint64_t span_ms);
/* The samples of the hour by ten seconds, or of the day by minutes, the oldest first, as the inside of a JSON list. What
 * is before `after_ms` (wall) is left out. */
void stats_add_history(const struct stats *s, bool day, uint64_t after_ms, struct buf *b);
uint64_t stats_since_ms(const struct stats *s); /* wall */

#endif
