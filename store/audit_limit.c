/* How many events of one word, from one source and from all, are written in a window. */
#include "store/audit_internal.h"

#include <stdlib.h>

#include "base/map.h"
#include "base/text.h"

#define SOURCES_MAX 4096
#define SOURCE_MAX  100
#define WORD_MAX    64
#define SWEEP_MS    1000

struct limit {
	uint64_t start_ms;
	uint32_t count, suppressed;
};

struct audit_limits {
	struct map *map; /* event NUL source -> struct limit; an empty source is all of them */
	audit_tell_fn tell;
	void *ctx;
	bool owing; /* some count has not been told yet */
	uint64_t sweep_at;
};

static void tell(struct audit_limits *x, struct bytes key, struct limit *l)
{
	char event[WORD_MAX + 1], source[128];

	if (l->suppressed == 0)
		return;
	size_t n = strnlen((const char *)key.p, key.n);
	text_safe(bytes_of(key.p, n), event, sizeof(event));
	text_safe(bytes_of(key.p + n + 1, key.n - n - 1), source, sizeof(source));
	x->tell(x->ctx, event, *source ? source : "all", l->suppressed);
	l->suppressed = 0;
}

static void on_evicted(void *ctx, struct bytes key, void *value)
{
	tell(ctx, key, value);
}

struct audit_limits *audit_limits_new(const uint8_t hash_key[static 16], audit_tell_fn fn,
				      void *ctx)
{
	struct audit_limits *x = calloc(1, sizeof(*x));
	struct map_opts o = {
		.capacity = SOURCES_MAX,
		.value_size = sizeof(struct limit),
		.policy = MAP_EVICT_LRU,
		.evicted = on_evicted,
		.ctx = x,
	};

	if (!x)
		return NULL;
	memcpy(o.hash_key, hash_key, sizeof(o.hash_key));
	x->tell = fn;
	x->ctx = ctx;
	x->map = map_new(&o);
	if (!x->map) {
		free(x);
		return NULL;
	}
	return x;
}

void audit_limits_free(struct audit_limits *x)
{
	if (!x)
		return;
	map_free(x->map);
	free(x);
}

static bool allow(struct audit_limits *x, const char *event, struct bytes source, uint32_t burst,
		  uint64_t now)
{
	uint8_t text[WORD_MAX + 1 + SOURCE_MAX];
	struct wr w = wr_init(text, sizeof(text));
	struct bytes key;
	void *value;
	bool created;

	wr_bytes(&w, bytes_of(event, strnlen(event, WORD_MAX)));
	wr_u8(&w, 0);
	wr_bytes(&w, bytes_of(source.p, source.n > SOURCE_MAX ? SOURCE_MAX : source.n));
	if (wr_end(&w, &key) != ERR_OK || map_put(x->map, key, 0, &value, &created) != ERR_OK)
		return true; /* without memory to count, rather too many lines than none */
	struct limit *l = value;
	if (created)
		l->start_ms = now;
	if (now - l->start_ms >= AUDIT_WINDOW_MS) {
		tell(x, key, l);
		*l = (struct limit){.start_ms = now};
	}
	if (l->count < burst) {
		l->count++;
		return true;
	}
	l->suppressed++;
	x->owing = true;
	return false;
}

bool audit_limits_allow(struct audit_limits *x, const char *event, struct bytes source,
			uint64_t now)
{
	return allow(x, event, source, AUDIT_BURST, now) &&
	       allow(x, event, bytes_of(NULL, 0), AUDIT_WORD_BURST, now);
}

struct sweep {
	struct audit_limits *x;
	uint64_t now;
	bool all, left;
};

static bool keep(void *ctx, struct bytes key, void *value)
{
	struct sweep *s = ctx;
	struct limit *l = value;

	if (!s->all && s->now - l->start_ms < AUDIT_WINDOW_MS) {
		s->left = s->left || l->suppressed;
		return true;
	}
	tell(s->x, key, l);
	return false;
}

bool audit_limits_due(const struct audit_limits *x, uint64_t now)
{
	return x->owing && now >= x->sweep_at;
}

void audit_limits_sweep(struct audit_limits *x, uint64_t now, bool all)
{
	struct sweep s = {.x = x, .now = now, .all = all};

	if (!x->owing || (!all && now < x->sweep_at))
		return;
	map_each(x->map, keep, &s);
	x->owing = s.left;
	x->sweep_at = now + SWEEP_MS;
}
