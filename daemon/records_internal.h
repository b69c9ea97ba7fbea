/*
 * records_internal.h -- what records.c, records_load.c, records_item.c, prekeys.c, notices.c and revoked.c share.
 */
#ifndef DAEMON_RECORDS_INTERNAL_H
#define DAEMON_RECORDS_INTERNAL_H

#include "daemon/node_internal.h"
#include "daemon/records.h"

#define NOTICES_MAX 256
#define QUARANTINES_MAX 64
#define QUARANTINE_MS 86400000u
#define EVIDENCE_MAX 32
#define REVOKED_MAX 4096
#define FORMER_MAX 16
#define ASKED_MAX 256
#define ASKERS_MAX 4
#define RECORDS_TICK_MS 1000
#define ISSUED_TYPES (IM2_REC_CARD_T + 1)
#define RAW_ID 16
#define RECORD_PLACE_MAX (RAW_ID + 1 + IM2_RECORD_KEY_MAX)

#define SPACE_PREKEY "prekey"
#define SPACE_GENERATION "generation"
#define SPACE_ROTATE "rotate"
#define SPACE_RECORD "record"
#define SPACE_QUARANTINE "quarantine"
#define SPACE_EVIDENCE "evidence"
#define SPACE_REVOKED "revoked"

/* A REVOKE or ROTATE that matters here: it is repeated to each peer until that one says that it has it (13.4). */
struct notice {
	uint8_t *p; /* the record; NULL: free */
	size_t n;
	uint8_t author[ED_BYTES], id[RAW_ID];
	uint8_t key[IM2_RECORD_KEY_MAX], key_n, type;
	uint64_t gen;
	uint64_t order;  /* of arrival: the oldest foreign one makes room */
	uint64_t act_ms; /* wall: its effect is due then; UINT64_MAX = it is done */
	bool own;        /* of an identity that is or was ours: for everybody */
	bool counts;     /* nothing that counts less takes its place */
	bool by_many;    /* a REVOKE that several signed: its author, who drafted it, may not have seen it whole */
};

struct quarantine {
	uint8_t ed[ED_BYTES];
	struct node_id id;
	uint64_t until_ms; /* wall */
};

/* What we know of one peer, over its sessions. */
struct record_peer {
	struct bucket records, notices, requests; /* what we take from it (18.3) */
	struct bucket asks;      /* what we ask of it: its defaults */
	uint64_t prekey_gen;     /* of ours: the newest it was sent */
	uint64_t answered[NOTICES_MAX / 64];
	uint64_t due_ms;         /* unanswered notices are repeated then; UINT64_MAX = there are none */
	uint64_t ask_ms;         /* its prekey has not come by then: ask; UINT64_MAX = no */
	unsigned tries;
};

struct records {
	struct node *node;
	struct im2_records *cache;
	struct im2_prekeys *prekeys;
	struct map *peers;       /* node id -> struct record_peer */
	struct map *revoked;     /* ED -> since when */
	bool revoked_loaded;
	struct timer timer;
	struct notice notices[NOTICES_MAX];
	uint64_t order;
	struct quarantine quarantines[QUARANTINES_MAX];
	size_t quarantines_n, evidence_n;
	struct node_id former[FORMER_MAX]; /* who we were, the nearest first */
	size_t former_n;
	bool prekeys_wanted;     /* somebody speaks im2 with us */
	uint64_t prekeys_at_ms;  /* after a disk failure: not before */
	uint64_t gen_floor;      /* another life of ours has stated this generation; 0 = none */
	uint64_t hour_ms;
	struct issued {
		uint64_t last, reserved; /* generations; reserved 0: none of this life */
	} issued[ISSUED_TYPES];
	/* PREKEYs that neighbours asked for, or we need, and that we asked for in turn: they get what comes. */
	struct asked {
		struct node_id author, next, askers[ASKERS_MAX];
		unsigned n;
		bool ours;           /* neither n nor ours: free */
		bool sent;           /* `next` was asked; else there was no room for the question */
		uint64_t until_ms;
	} asked[ASKED_MAX];
	bool acting;             /* what changes now is no decision of the operator */
	struct buf item, value;
};

/* records.c */
void raw_id(const struct node_id *id, uint8_t out[static RAW_ID]);
void raw_id_of(const uint8_t ed[static ED_BYTES], uint8_t out[static RAW_ID]);
void node_id_of_raw(const uint8_t id[static RAW_ID], struct node_id *out);
/* NULL when there is no memory. Valid until the next call. */
struct record_peer *records_peer(struct records *r, const struct node_id *id);
/* False: not now. */
bool records_send(struct conn *c, uint16_t tag, struct bytes value);
void records_wake(struct records *r, uint64_t at_ms);
bool records_trusted(struct records *r, const struct node_id *id);
/* Under which a record of an author is kept: id || type || key. */
struct bytes record_place(const uint8_t ed[static ED_BYTES], uint64_t type, struct bytes key,
			  uint8_t out[static RECORD_PLACE_MAX]);
/* In the group. A failure is the group's. */
void records_put(struct records *r, const char *space, struct bytes key, struct bytes value);
void records_del(struct records *r, const char *space, struct bytes key);
/* Into "record", with the time of its arrival. */
void records_keep(struct records *r, const struct im2_record *rec);
/* Of what we hold; 0 = nothing. */
uint64_t records_held_gen(struct records *r, const uint8_t ed[static ED_BYTES], uint64_t type, struct bytes key);
/* A RECREQ, within what the peer takes. */
/* False: not now, it is asked too much already. */
bool records_ask(struct records *r, struct conn *c, struct record_peer *p, const struct node_id *author, uint64_t type,
		 struct bytes key, uint64_t have);
/* NULL when nobody with this key is pinned. */
const struct pin *records_pin(struct records *r, const uint8_t ed[static ED_BYTES]);
/* A record that counts says that our own identity is over, or is another one now. */
void records_mine_ended(struct records *r, bool rotated);

/* records_load.c */
enum err records_load(struct records *r) MUST_CHECK;

/* records_item.c */
void records_bad(struct records *r, struct conn *c, enum im2_refusal why); /* who delivered it pays */
void records_equivocation(struct records *r, struct conn *c, const struct im2_record *rec);

/* records_onward.c */
/* A neighbour asks for the PREKEY of somebody, and ours is no newer: as a relay we ask the next one on the way. */
void records_onward(struct records *r, struct conn *c, const struct node_id *author);
void records_onward_came(struct records *r, const struct im2_record *rec);
uint64_t records_onward_due(struct records *r); /* asks what could not be asked; when it is due again */

/* records_issue.c */
bool records_issues(uint64_t type); /* CAP, ROUTE, CARD */
/* A record of ours came back that this life has not issued: the next one is above it, at once. */
void records_issued_behind(struct records *r, const struct im2_record *rec);

/* prekeys.c */
enum err prekeys_new(struct records *r) MUST_CHECK;
/* Makes, erases, announces: what is due. */
void prekeys_tick(struct records *r);
uint64_t prekeys_due_ms(struct records *r);
/* Our newest record, when this peer was not sent it. */
void prekeys_offer(struct records *r, struct conn *c);
/* A record of ours came back that we do not know. */
void prekeys_behind(struct records *r, uint64_t gen);

/* notices.c */
/* Of what is in the store already. */
void notice_load(struct records *r, const struct im2_record *rec, bool own);
/* A REVOKE or ROTATE that verified and is news. */
void notice_new(struct records *r, const struct im2_record *rec, const struct node_id *from);
/* A REVOKE that this node issues or was handed by its operator: kept, told to everybody, and done before this returns.
 * ERR_DENIED (it would have no effect), ERR_FULL, ERR_STORE. */
enum err notice_issue(struct records *r, const struct im2_record *rec) MUST_CHECK;
void notices_offer(struct records *r, struct conn *c, struct record_peer *p);
/* Revoked, blocked or forgotten: its rotation is void. */
void notices_void(struct records *r, const uint8_t ed[static ED_BYTES]);
/* This peer holds (author, type, key) up to `gen`. */
void notices_answered(struct records *r, struct record_peer *p, const uint8_t id[static RAW_ID], uint64_t type,
		      struct bytes key, uint64_t gen);
/* The highest generation among notices of this place; 0 = there is none. */
uint64_t notice_gen(struct records *r, const uint8_t id[static RAW_ID], uint64_t type, struct bytes key);
/* The newest notice of this place that the peer may be given; NULL. */
const struct notice *notice_find(struct records *r, const struct node_id *peer, const uint8_t id[static RAW_ID],
				 uint64_t type, struct bytes key);
bool notices_open(struct records *r, const struct conn *c, const struct record_peer *p);
/* Effects that are due, quarantines that end. Returns when it has to be called again: wall, UINT64_MAX = never. */
uint64_t notices_act(struct records *r);
void notices_free(struct records *r);

/* quarantine.c */
enum err quarantines_load(struct records *r) MUST_CHECK;
void quarantine_drop(struct records *r, const struct node_id *id);
/* Those that are over end. Wall time of the next one, UINT64_MAX = none. */
uint64_t quarantines_act(struct records *r, uint64_t wall);

/* revoked.c */
enum err revoked_load(struct records *r) MUST_CHECK;
/* A REVOKE of scope 1 or 2 that counts. */
void revoked_add(struct records *r, const struct im2_record *rec, const struct im2_revocation *v,
		 const struct node_id *from);
/* It was a stranger when its revocation came: notice_new(). */
void revoked_told(struct records *r, const uint8_t ed[static ED_BYTES], const struct node_id *from);

#endif
