/*
 * track.h -- what happened to a message of ours on its way, besides what its row says now.
 *
 * A few bytes that grow in the updates that are written anyway: each try when its fate is known, the word of a relay,
 * and every state that was left. In clear, as the other times of a row are. Bounded: what comes after TRACK_MAX bytes is
 * not kept (`attempts` still counts it). Times are wall milliseconds.
 */
#ifndef STORE_TRACK_H
#define STORE_TRACK_H

#include "store/outbox.h"

#define TRACK_MAX 512
#define TRACK_STEPS (TRACK_MAX / 8)

enum track_what {
	TRACK_HANDED = 1, /* to a link */
	TRACK_STORED,     /* a relay says that it keeps it */
	TRACK_STATE,      /* entered this state */
};

struct track_step {
	enum track_what what;
	enum outbox_state state; /* TRACK_STATE */
	uint64_t at_ms;
	enum outbox_via via;     /* HANDED, STORED */
	unsigned hops;           /* 0: not known */
	bool has_who;
	struct node_id who;      /* the neighbour that took it */
};

/* In order. What a later program wrote, or what makes no sense, ends it (the room of a new row, too). Returns how many. */
size_t track_read(struct bytes in, struct track_step out[static TRACK_STEPS]);
/* Appends one step; returns its bytes, at most TRACK_STEP_MAX. */
#define TRACK_STEP_MAX 24
size_t track_write(const struct track_step *step, uint8_t out[static TRACK_STEP_MAX]);

#endif
