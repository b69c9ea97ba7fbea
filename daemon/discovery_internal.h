/*
 * discovery_internal.h -- what discovery.c (hints, decisions, dials), discovery_key.c (the key of the fleet, what is published)
 * and discovery_card.c (peer exchange) share.
 */
#ifndef DAEMON_DISCOVERY_INTERNAL_H
#define DAEMON_DISCOVERY_INTERNAL_H

#include "daemon/discovery.h"
#include "daemon/node_internal.h"
#include "daemon/records.h"

#define HINT_ADDRESSES 8
#define HINT_ADDRESS 80
#define HINT_KEY 80

enum hint_source { HINT_MDNS, HINT_KNOWN, HINT_CARD };

struct hint {
	char key[HINT_KEY];        /* "m:INSTANCE", "k:ID", "c:ID" */
	enum hint_source source;
	bool fleet, has_tags, wanted;
	bool has_id;               /* a claim: by tag, by idhash, or whose record it is */
	struct node_id id;
	uint8_t i[IM2_INSTANCE_BYTES], m[IM2_TAG_BYTES], t[IM2_TAG_BYTES];
	char name[NAME_MAX_CHARS + 1];
	char idhash[33];
	char addresses[HINT_ADDRESSES][HINT_ADDRESS];
	uint8_t addresses_n, at;   /* at: of the round of dials that runs */
	uint8_t failures, running; /* running: dials that have not ended */
	bool in_round;
	uint64_t next_ms;          /* the next round, or the next address of this one; monotonic */
	char why[120];
};

struct discovery {
	struct node *node;
	struct map *hints;         /* key -> struct hint * */
	struct map *tags;          /* t -> node id: of those we want, this hour and its neighbours */
	uint64_t tags_hour, tags_ms; /* of which; when that was made; monotonic */
	struct timer timer;
	struct bucket dials;
	bool has_key;
	uint8_t disc[IM2_DISC_BYTES];
	char instance[17];
	uint8_t i[IM2_INSTANCE_BYTES];
	uint64_t call;             /* of im2.disc that we asked; 0 = none */
	struct node_id asked;
	uint64_t ask_ms;           /* not before */
	uint64_t calls;
	char endpoints[HINT_ADDRESSES][HINT_ADDRESS];
	size_t endpoints_n;
	struct buf card;           /* ours */
	void (*changed)(void *ctx);
	void *changed_ctx;
};

/* discovery.c */
void discovery_wake(struct discovery *d, uint64_t at_ms);
/* Makes or replaces a hint; NULL without room. */
struct hint *hint_put(struct discovery *d, const char *key, enum hint_source source, uint64_t share);
void hint_addresses(struct hint *h, const char (*addresses)[HINT_ADDRESS], size_t n);
void discovery_look(struct discovery *d, struct hint *h); /* whom is it, and is it wanted? */
bool discovery_trusts(struct node *n, const struct node_id *id);

/* discovery_key.c */
enum err discovery_key_load(struct discovery *d) MUST_CHECK;
/* The identity that this fleet service names, among those we want. */
bool discovery_member(struct discovery *d, const struct hint *h, struct node_id *id);
void discovery_ask_key(struct conn *c);
bool discovery_publishes_public(const struct discovery *d);
bool discovery_publishes_fleet(const struct discovery *d);

/* discovery_card.c */
void discovery_tell_cards(struct conn *c);

#endif
