#include "base/limit.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/text.h"

/* Below this a missing token is a rounding error of the refill. */
#define EPSILON 1e-9

void bucket_init(struct bucket *b, double rate_per_s, double burst, uint64_t now_ms)
{
	*b = (struct bucket){
		.tokens = burst, .rate_per_s = rate_per_s, .burst = burst, .at_ms = now_ms};
}

static void refill(struct bucket *b, uint64_t now_ms)
{
	if (now_ms <= b->at_ms)
		return;
	b->tokens += b->rate_per_s * ((double)(now_ms - b->at_ms) / 1000.0);
	if (b->tokens > b->burst)
		b->tokens = b->burst;
	b->at_ms = now_ms;
}

bool bucket_take(struct bucket *b, double n, uint64_t now_ms)
{
	refill(b, now_ms);
	if (b->tokens + EPSILON < n)
		return false;
	b->tokens -= n;
	return true;
}

uint64_t bucket_wait_ms(struct bucket *b, double n, uint64_t now_ms)
{
	double ms;

	refill(b, now_ms);
	if (b->tokens + EPSILON >= n)
		return 0;
	if (n > b->burst || b->rate_per_s <= 0)
		return UINT64_MAX;
	ms = ceil((n - b->tokens - EPSILON) / b->rate_per_s * 1000.0);
	return ms >= 1e18 ? UINT64_MAX : ms < 1 ? 1 : (uint64_t)ms;
}

#define LADDER_MAX_SOURCES 10000

struct step {
	uint64_t last_ms; /* of the last failure */
	uint64_t until_ms;
	unsigned failures;
};

struct ladder {
	struct map *map;
};

static const uint64_t waits_ms[] = {500, 1000, 2000, 4000, 8000};
#define STEPS (sizeof(waits_ms) / sizeof(waits_ms[0]))

struct ladder *ladder_new(const uint8_t hash_key[static 16], size_t capacity)
{
	struct map_opts o = {.capacity = capacity && capacity < LADDER_MAX_SOURCES
						 ? capacity
						 : LADDER_MAX_SOURCES,
			     .value_size = sizeof(struct step),
			     .policy = MAP_EVICT_LRU};
	struct ladder *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	memcpy(o.hash_key, hash_key, sizeof(o.hash_key));
	l->map = map_new(&o);
	if (!l->map) {
		free(l);
		return NULL;
	}
	return l;
}

void ladder_free(struct ladder *l)
{
	if (!l)
		return;
	map_free(l->map);
	free(l);
}

/* A source of any length as a key of the map. */
static struct bytes key_for(struct bytes source, uint8_t digest[static HASH_BYTES])
{
	if (source.n <= MAP_KEY_MAX)
		return source;
	sha256(source, digest);
	return bytes_of(digest, HASH_BYTES);
}

/* One failure is forgotten for each 300 s without one. What is left; 0: as if never seen. */
static unsigned remembered(const struct step *s, uint64_t now_ms)
{
	uint64_t gone = now_ms >= s->last_ms ? (now_ms - s->last_ms) / LADDER_BAN_MS : 0;

	return gone >= s->failures ? 0 : (unsigned)(s->failures - gone);
}

static bool forgotten(const struct step *s, uint64_t now_ms)
{
	return remembered(s, now_ms) == 0;
}

uint64_t ladder_wait_ms(struct ladder *l, struct bytes source, uint64_t now_ms)
{
	uint8_t digest[HASH_BYTES];
	struct bytes key = key_for(source, digest);
	const struct step *s = map_get(l->map, key);

	if (!s)
		return 0;
	if (forgotten(s, now_ms)) {
		map_del(l->map, key);
		return 0;
	}
	return s->until_ms > now_ms ? s->until_ms - now_ms : 0;
}

uint64_t ladder_fail(struct ladder *l, struct bytes source, uint64_t now_ms)
{
	uint8_t digest[HASH_BYTES];
	bool created;
	void *v;
	struct step *s;
	uint64_t wait_ms;

	/* Without memory for the record the source still gets the first wait. */
	if (map_put(l->map, key_for(source, digest), 0, &v, &created) != ERR_OK)
		return waits_ms[0];
	s = v;
	if (!created)
		s->failures = remembered(s, now_ms);
	wait_ms = s->failures < STEPS ? waits_ms[s->failures] : LADDER_BAN_MS;
	if (s->failures <= STEPS)
		s->failures++;
	s->last_ms = now_ms;
	s->until_ms = now_ms + wait_ms;
	return wait_ms;
}

void ladder_clear(struct ladder *l, struct bytes source)
{
	uint8_t digest[HASH_BYTES];

	map_del(l->map, key_for(source, digest));
}

struct census {
	uint64_t now_ms;
	size_t banned;
};

static bool count_banned(void *ctx, struct bytes key, void *value)
{
	struct census *c = ctx;
	const struct step *s = value;

	c->banned += s->failures > STEPS && s->until_ms > c->now_ms;
	return !forgotten(s, c->now_ms);
}

size_t ladder_banned(struct ladder *l, uint64_t now_ms)
{
	struct census c = {.now_ms = now_ms};

	map_each(l->map, count_banned, &c);
	return c.banned;
}

struct bytes source_of_address(const char *address, char out[static 64])
{
	struct in_addr v4;
	struct in6_addr v6;
	size_t n = strlen(address);
	char text[64];

	/* "[v6]" and "v6%zone" are the same source as the bare address. */
	if (n < sizeof(text)) {
		const char *from = address;

		if (n > 2 && address[0] == '[' && address[n - 1] == ']') {
			from++;
			n -= 2;
		}
		memcpy(text, from, n);
		text[n] = '\0';
		text[strcspn(text, "%")] = '\0';
		if (inet_pton(AF_INET6, text, &v6) == 1) {
			if (IN6_IS_ADDR_V4MAPPED(&v6)) {
				memcpy(&v4, v6.s6_addr + 12, 4);
				inet_ntop(AF_INET, &v4, out, 64);
			} else {
				memset(v6.s6_addr + 8, 0, 8);
				inet_ntop(AF_INET6, &v6, out, 60);
				strcat(out, "/64");
			}
			return bytes_str(out);
		}
		if (inet_pton(AF_INET, text, &v4) == 1) {
			inet_ntop(AF_INET, &v4, out, 64);
			return bytes_str(out);
		}
		strcpy(out, address);
		return bytes_str(out);
	}
	uint8_t digest[HASH_BYTES]; /* a longer text still has to be told from its neighbours */

	sha256(bytes_str(address), digest);
	memcpy(out, "sha256:", 7);
	hex_encode(bytes_of(digest, 16), out + 7);
	return bytes_str(out);
}
