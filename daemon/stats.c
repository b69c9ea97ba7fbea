#include "daemon/stats.h"

#include <stdlib.h>

/* Upper ends, three to a decade at first: what is under a millisecond is one bucket. */
static const uint32_t BOUNDS[STATS_BUCKETS] = { 1,    2,    5,	  10,	20,    50,    100,   200,    500,    1000,
						2000, 5000, 10000, 20000, 30000, 60000, 300000, 900000, 3600000, 86400000 };

struct stats {
	struct env *env;
	struct node *node;
	struct timer timer;
	struct stats_sample now, minute; /* the spans that are open */
	struct stats_sample fine[STATS_FINE], coarse[STATS_COARSE];
	size_t fine_n, coarse_n;    /* ever; the ring holds the last ones */
	unsigned in_minute;
	struct stats_latency total;
	struct { uint64_t resent, handshakes, handshake_failures, store_failures, bytes_in, bytes_out; } last;
	uint64_t since_ms, next_ms; /* next: monotonic */
	void (*on_sample)(void *ctx, const struct stats_sample *x);
	void *ctx;
};

uint32_t stats_bound_ms(unsigned i)
{
	return BOUNDS[i];
}

static unsigned bucket_of(uint64_t ms)
{
	unsigned i = 0;

	while (i < STATS_BUCKETS && ms > BOUNDS[i])
		i++;
	return i;
}

static void add(struct stats_sample *to, const struct stats_sample *x)
{
#define X(m) to->m += x->m;
	STATS_COUNTS(X) STATS_DELTAS(X)
#undef X
#define X(m) to->m = x->m;
	STATS_LEVELS(X)
#undef X
	for (unsigned i = 0; i <= STATS_BUCKETS; i++)
		to->latency[i] += x->latency[i];
	to->at_ms = x->at_ms;
}

/* What counters have grown by since the last look. */
static void take_counters(struct stats *s)
{
	const struct node_counters *n = node_counters(s->node);
	uint64_t queued[OUTBOX_STATES] = { 0 };
	struct transport_stats t;

	node_transport_stats(s->node, &t);
#define GROWN(m, value)                 \
	s->now.m = (value)-s->last.m;   \
	s->last.m = (value)
	GROWN(resent, n->messages_resent);
	GROWN(handshakes, n->handshakes_ok);
	GROWN(handshake_failures, n->handshakes_failed);
	GROWN(store_failures, n->store_failures);
	GROWN(bytes_in, t.bytes_in);
	GROWN(bytes_out, t.bytes_out);
#undef GROWN
	s->now.sessions = node_online(s->node);
	if (outbox_count(node_store(s->node), NULL, queued) == ERR_OK)
		s->now.queued = queued[OUTBOX_QUEUED];
}

static void span_over(void *ctx)
{
	struct stats *s = ctx;
	struct stats_sample *x = &s->fine[s->fine_n % STATS_FINE];
	uint64_t now = env_now(s->env);

	take_counters(s);
	s->now.at_ms = env_wall(s->env);
	*x = s->now;
	s->fine_n++;
	add(&s->minute, x);
	if (++s->in_minute == STATS_COARSE_MS / STATS_FINE_MS) {
		s->coarse[s->coarse_n++ % STATS_COARSE] = s->minute;
		s->minute = (struct stats_sample){ 0 };
		s->in_minute = 0;
	}
	s->now = (struct stats_sample){ 0 };
	/* After a sleep of the machine the spans that were missed are not made up. */
	s->next_ms = s->next_ms + STATS_FINE_MS > now ? s->next_ms + STATS_FINE_MS : now + STATS_FINE_MS;
	timer_at(s->env, &s->timer, s->next_ms);
	if (s->on_sample)
		s->on_sample(s->ctx, x);
}

enum err stats_new(struct env *env, struct node *n, struct stats **out)
{
	struct stats *s = calloc(1, sizeof *s);

	if (!s)
		return ERR_NOMEM;
	s->env = env;
	s->node = n;
	s->since_ms = env_wall(env);
	s->next_ms = env_now(env) + STATS_FINE_MS;
	take_counters(s);
	s->now = (struct stats_sample){ 0 };
	timer_init(&s->timer, span_over, s);
	timer_at(env, &s->timer, s->next_ms);
	*out = s;
	return ERR_OK;
}

void stats_free(struct stats *s)
{
	if (!s)
		return;
	timer_stop(s->env, &s->timer);
	free(s);
}

void stats_on_sample(struct stats *s, void (*fn)(void *ctx, const struct stats_sample *x), void *ctx)
{
	s->on_sample = fn;
	s->ctx = ctx;
}

static void delivered(struct stats *s, uint64_t in_ms)
{
	unsigned i = bucket_of(in_ms);

	s->now.delivered++;
	if (!in_ms)
		return; /* not known: it was accepted before the start */
	s->now.latency[i]++;
	s->total.buckets[i]++;
	s->total.count++;
	s->total.sum_ms += (double)in_ms;
}

/* Called for every message several times: told apart by one letter, then compared once. */
void stats_observe(void *stats, const char *type, const struct node_event *e, const char *audit_word)
{
	struct stats *s = stats;
	const char *word;

	if (strncmp(type, "inbox.", 6) == 0) {
		s->now.received += strcmp(type + 6, "new") == 0;
		s->now.held += strcmp(type + 6, "held") == 0;
		return;
	}
	if (!e || strncmp(type, "message.", 8) != 0)
		return;
	word = type + 8;
	switch (word[0]) {
	case 'q':
		s->now.submitted++;
		break;
	case 's':
		s->now.sent += word[1] == 'e';
		s->now.stored += word[1] == 't';
		break;
	case 'd':
		delivered(s, e->in_ms);
		break;
	case 'r':
		s->now.read += strcmp(word, "read") == 0;
		s->now.rejected += strcmp(word, "rejected") == 0;
		break;
	case 'f':
		s->now.failed++;
		break;
	case 'e':
		s->now.expired++;
		break;
	case 'c':
		s->now.cancelled++;
		break;
	default:
		break;
	}
}

void stats_latency(const struct stats *s, struct stats_latency *out)
{
	*out = s->total;
}

double stats_quantile(const struct stats_sample *x, double share)
{
	uint64_t count = 0, below = 0;
	double rank;

	for (unsigned i = 0; i <= STATS_BUCKETS; i++)
		count += x->latency[i];
	if (!count)
		return -1;
	rank = share * (double)count;
	for (unsigned i = 0; i < STATS_BUCKETS; i++) {
		uint64_t low = i ? BOUNDS[i - 1] : 0;

		if (rank <= (double)(below + x->latency[i]))
			return (double)low + (double)(BOUNDS[i] - low) * (rank - (double)below) / (double)x->latency[i];
		below += x->latency[i];
	}
	return BOUNDS[STATS_BUCKETS - 1];
}

static void add_quantile(struct buf *b, const char *name, const struct stats_sample *x, double share)
{
	double v = stats_quantile(x, share);

	if (v < 0)
		buf_printf(b, ",\"%s\":null", name);
	else
		buf_printf(b, ",\"%s\":%.1f", name, v);
}

void stats_add(struct buf *b, const struct stats_sample *x, uint64_t span_ms)
{
	buf_printf(b, "{\"key\":\"%llu\",\"at_ms\":%llu,\"span_ms\":%llu", (unsigned long long)x->at_ms,
		   (unsigned long long)x->at_ms, (unsigned long long)span_ms);
#define X(m)                            \
	buf_add_str(b, ",\"" #m "\":"); \
	buf_add_uint(b, x->m);
	STATS_COUNTS(X) STATS_DELTAS(X) STATS_LEVELS(X)
#undef X
	add_quantile(b, "p50_ms", x, 0.5);
	add_quantile(b, "p95_ms", x, 0.95);
	buf_add_u8(b, '}');
}

void stats_add_history(const struct stats *s, bool day, uint64_t after_ms, struct buf *b)
{
	size_t n = day ? s->coarse_n : s->fine_n, room = day ? STATS_COARSE : STATS_FINE;
	const struct stats_sample *ring = day ? s->coarse : s->fine;
	bool first = true;

	for (size_t i = n > room ? n - room : 0; i < n; i++) {
		const struct stats_sample *x = &ring[i % room];

		if (x->at_ms <= after_ms)
			continue;
		if (!first)
			buf_add_u8(b, ',');
		first = false;
		stats_add(b, x, day ? STATS_COARSE_MS : STATS_FINE_MS);
	}
}

uint64_t stats_since_ms(const struct stats *s)
{
	return s->since_ms;
}
