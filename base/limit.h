/*
 * limit.h -- token buckets and the failure ladder.
 */
#ifndef BASE_LIMIT_H
#define BASE_LIMIT_H

#include "base/map.h"

struct bucket {
	double tokens, rate_per_s, burst;
	uint64_t at_ms;
};

void bucket_init(struct bucket *b, double rate_per_s, double burst, uint64_t now_ms);
bool bucket_take(struct bucket *b, double n, uint64_t now_ms);     /* false: nothing taken */
uint64_t bucket_wait_ms(struct bucket *b, double n, uint64_t now_ms); /* until n would be there */

/* Per source: after the k-th failure the source waits 0.5, 1, 2, 4, 8 s, then 300 s (a ban).
 * A success clears it, where the caller says so; else one failure is forgotten for each 300 s without a new one.
 * Bounded (10,000 sources, LRU). */
struct ladder;
#define LADDER_BAN_MS 300000
struct ladder *ladder_new(const uint8_t hash_key[static 16], size_t capacity);
void ladder_free(struct ladder *l);
/* 0 when the source may try now, else milliseconds to wait. Cheap: called before any TLS work. */
uint64_t ladder_wait_ms(struct ladder *l, struct bytes source, uint64_t now_ms);
/* Returns the wait it imposes; LADDER_BAN_MS when this one made it a ban. */
uint64_t ladder_fail(struct ladder *l, struct bytes source, uint64_t now_ms);
void ladder_clear(struct ladder *l, struct bytes source);
size_t ladder_banned(struct ladder *l, uint64_t now_ms);

/* Canonical source of an address text: IPv4 whole, IPv6 by /64 (wire 7), else the text itself. */
struct bytes source_of_address(const char *address, char out[static 64]);

#endif
