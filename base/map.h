/*
 * map.h -- a hash map that cannot grow: fixed capacity, eviction, a share per source.
 *
 * Keys are byte strings of at most MAP_KEY_MAX; values are caller-sized blobs stored inline.
 * When full, the least recently touched entry of the source that holds the most is evicted
 * (MAP_EVICT_LRU), or the insert is refused (MAP_REFUSE). One source never holds more than
 * `per_source` entries: its own oldest goes first, or its insert is refused. Among sources that
 * hold as many, the inserting one pays, else the one least recently active. put, get and del are O(1).
 * Hashing is keyed (SipHash) so that a stranger cannot build collisions. Memory is allocated on
 * demand up to the capacity.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/wire.h"

#define MAP_KEY_MAX 160

enum map_policy { MAP_EVICT_LRU, MAP_REFUSE };

struct map_opts {
	size_t capacity;      /* entries */
	size_t per_source;    /* 0: no share limit */
	size_t value_size;    /* bytes; may be 0 (a set) */
	enum map_policy policy;
	uint8_t hash_key[16]; /* from env_random */
	/* Called before an entry goes by eviction (not by map_del, map_clear or map_free); must not
	 * touch this map. May be NULL. */
	void (*evicted)(void *ctx, struct bytes key, void *value);
	void *ctx;
};

struct map;

struct map *map_new(const struct map_opts *o); /* NULL without memory */
void map_free(struct map *m);
size_t map_count(const struct map *m);
uint64_t map_evictions(const struct map *m);
void *map_get(struct map *m, struct bytes key);   /* touches; NULL if absent */
void *map_peek(const struct map *m, struct bytes key);
/* Inserts zeroed value or finds the existing one (*created = false). ERR_FULL under MAP_REFUSE.
 * A key keeps the source that put it first. The pointer is valid until the entry goes; since any
 * map_put may evict it, hold none across one. ERR_LIMIT for a key over MAP_KEY_MAX. */
enum err map_put(struct map *m, struct bytes key, uint64_t source, void **value, bool *created) MUST_CHECK;
bool map_del(struct map *m, struct bytes key);
void map_clear(struct map *m);
/* Visits every entry, in no order; the callback returns false to delete it, and changes nothing
 * else in this map. */
void map_each(struct map *m, bool (*keep)(void *ctx, struct bytes key, void *value), void *ctx);

#endif
