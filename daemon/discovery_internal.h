/*
 * discovery_internal.h -- what the files of discovery share.
 *
 * Ownership: the discovery owns hints and dials. A hint that is being dialled is not freed: it is marked as gone, and goes
 * with its last dial. Slots of dials never move; the target of a dial points to its own until that has ended. A session that
 * is online is no dial any more.
 */
#ifndef DAEMON_DISCOVERY_INTERNAL_H
#define DAEMON_DISCOVERY_INTERNAL_H

#include "daemon/discovery.h"
#include "daemon/node_internal.h"

#define HINTS_MAX 1024
#define HINTS_SHARE 8            /* one source fills at most 1/8 */
#define HINTS_KNOWN_MAX 512      /* of peers whose address we have from earlier */
#define HINTS_OF_ONE 8           /* services that claim to be one identity */
#define HINT_ADDRESSES 8
#define HINT_ADDRESS_LEN 80
#define HINT_DIALS_MAX 16        /* at once */
#define HINT_DIALS_OF_ONE 8
#define HINT_DIALS_PER_S 4
#define HINT_DIALS_BURST 32
#define HINT_STAGGER_MS 250
#define HINT_PREFIX 16           /* digits of idhash (wire 8) */
#define TAG_HOURS 3              /* an hour back and one ahead: clocks differ, and what was heard is kept for a while */
#define HOUR_MS UINT64_C(3600000)

enum hint_source { HINT_MDNS, HINT_KNOWN, HINT_CARD };

struct hint_at {
	char text[HINT_ADDRESS_LEN];
	uint8_t failures;
	bool self;                 /* we ourselves answered there */
	uint64_t next_ms;          /* not dialled before */
	uint64_t tried_ms;         /* + 1; 0 = never */
};

struct hint {
	enum hint_source source;
	char instance[64];         /* mDNS: as published; else the id */
	char name[NAME_MAX_CHARS + 1];
	char idhash[HINT_PREFIX + 1]; /* "" = says none */
	bool fleet, has_tags;
	uint8_t i[IM2_INSTANCE_BYTES], m[IM2_TAG_BYTES], t[IM2_TAG_BYTES];
	bool ours;                 /* m fits our key */
	bool self;
	bool has_id;               /* by tag, idhash, name, card or pin: a claim, until a handshake proves it */
	bool met;                  /* ... and a session from here had it */
	bool gone;                 /* freed with its last dial */
	struct node_id id;
	uint64_t payer;            /* whose share it is of; 0: nobody's */
	uint64_t seen_ms, not_before_ms;
	unsigned dials;
	size_t n;
	struct hint_at at[HINT_ADDRESSES];
	char why[120];             /* why the last dial came to nothing */
	struct bucket passed;      /* CARD: its newer ones that were passed on */
};

struct hint_dial {
	struct discovery *of;
	struct hint *hint;         /* NULL: the slot is free */
	struct target *target;     /* dial.h: of this one dial */
	char address[HINT_ADDRESS_LEN];
	uint64_t began_ms;
	bool has_expected, im2_only, known_only;
	struct node_id expected;
	char idhash[HINT_PREFIX + 1];
	bool met, wrong, self, bad, dropped;
};

/* What an im2 peer was told and asked in this session. */
struct hint_peer {
	bool greeted;              /* has our newest card */
	unsigned cursor;           /* cards of others: the table up to here */
	uint32_t next_call, call;  /* im2.md 14.1; call 0: none waits for its answer */
	uint64_t ask_ms;
	unsigned asked;
};

struct discovery {
	struct node *node;
	struct hint *hints[HINTS_MAX];
	size_t hints_n;
	struct hint_dial dials[HINT_DIALS_MAX];
	struct bucket rate;
	struct timer dial_timer, exchange_timer;
	bool known_due;            /* hints of pins are read again */
	bool match_due;            /* whom hints mean is looked at again */
	uint64_t known_ms;
	uint64_t pins_seen;        /* a sum that differs when somebody came to be known or trusted */

	bool has_key;
	uint8_t key[IM2_DISC_BYTES];
	char instance[17];
	uint8_t i[IM2_INSTANCE_BYTES];
	struct map *tags;          /* t -> node id of who is known or listed */
	uint64_t tags_hour, tags_ms;
	size_t tags_pins;
	bool tags_stale;

	unsigned bad_n;            /* dials that ended without a proof of the passphrase, in this hour */
	uint64_t bad_since_ms, no_first_until_ms;

	struct map *peers;         /* node id -> struct hint_peer */
	char endpoints[DISCOVERY_ENDPOINTS_MAX][HINT_ADDRESS_LEN];
	size_t endpoints_n;
	struct buf card;           /* ours; empty: none */
	bool card_due;
	uint64_t card_ms;          /* when it was issued */

	void (*changed)(void *ctx);
	void *changed_ctx;
};

static inline bool discovery_off(const struct discovery *d)
{
	return d->node->c.discovery == SCOPE_OFF;
}

/* discovery.c */
void discovery_changed(struct discovery *d); /* what is published differs */

/* hints.c */
struct hint *hint_find(struct discovery *d, enum hint_source source, const char *instance);
/* Copies; NULL: no room for one like this. */
struct hint *hint_add(struct discovery *d, const struct hint *fresh);
void hint_drop(struct discovery *d, struct hint *h);
/* Takes those that may be dialled; what is known of one that stays, stays. */
void hint_set_addresses(struct discovery *d, struct hint *h, const char (*list)[HINT_ADDRESS_LEN], size_t n);
/* More services claim one identity than there may be: the worst of them go. */
void hint_crowd(struct discovery *d, const struct node_id *id);
struct hint_at *hint_at_find(struct hint *h, const char *address);
bool hint_same_place(const struct discovery *d, const char *address); /* where we listen ourselves */
/* Pins with addresses, and cards that we hold, become hints; those of who is not trusted any more go. */
void hints_known(struct discovery *d);
void hints_of_pin(struct discovery *d, const struct pin *pin);

/* hints_match.c */
struct hint_reason {
	char what[200], next[160];
};
/* Whom it means, by what it says. */
void hint_match(struct discovery *d, struct hint *h);
void hints_match(struct discovery *d); /* all, after what is compared with has changed */
void hints_match_due(struct discovery *d); /* ... if it has */
/* `r` may be NULL; filled when the answer is no. */
bool hint_wanted(struct discovery *d, const struct hint *h, struct hint_reason *r);
bool hint_online(struct discovery *d, const struct hint *h);
bool hint_trusted(struct discovery *d, const struct node_id *id);
uint64_t hint_hour(struct discovery *d);

/* discovery_dial.c */
void hint_dial_due(void *discovery);
void hint_dial_soon(struct discovery *d);
/* Of two that could dial each other, one goes first (wire 1.4). */
uint64_t hint_courtesy_ms(struct discovery *d, const struct hint *h);
void hint_dials_stop(struct discovery *d, const struct node_id *id, const struct hint_dial *but);

/* discovery_key.c */
enum err hint_key_load(struct discovery *d) MUST_CHECK;
/* Asks when it is time; returns when it is next, UINT64_MAX = never. */
uint64_t hint_key_ask(struct discovery *d, struct conn *c, struct hint_peer *p);

/* discovery_card.c */
void hint_exchange_due(void *discovery);
void hint_exchange_soon(struct discovery *d);
void hint_exchange_begin(struct discovery *d, struct conn *c); /* of a new session */
struct hint_peer *hint_peer(struct discovery *d, const struct conn *c); /* NULL: not an im2 session of who is trusted */
/* The endpoints of a valid card, as far as they fit. */
size_t hint_card_read(const struct im2_record *rec, char out[static HINT_ADDRESSES][HINT_ADDRESS_LEN],
		      char name[static NAME_MAX_CHARS + 1]);

#endif
