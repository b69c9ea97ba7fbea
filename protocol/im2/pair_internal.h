/*
 * pair_internal.h -- one attempt to pair: pair.c opens it and moves it, pair_items.c acts on what comes in frames.
 */
#ifndef PROTOCOL_IM2_PAIR_INTERNAL_H
#define PROTOCOL_IM2_PAIR_INTERNAL_H

#include "base/sm.h"
#include "protocol/im2/frame.h"
#include "protocol/im2/pair.h"

enum pair_state {
	PAIR_START,    /* listener: S1 said; dialler: waits for it */
	PAIR_SHAKE,
	PAIR_DECIDE,   /* the owner was told who it is */
	PAIR_CONFIRM,  /* mode 2, listener: until the first frame opens */
	PAIR_COMMIT,   /* mode 3: values are exchanged */
	PAIR_COMPARE,  /* mode 3: digits are shown */
	PAIR_GRANTING,
	PAIR_WANTING,
	PAIR_LINGER,   /* done, but the peer may not know yet */
	PAIR_OVER
};

#define PAIR_UNITS 16 /* more than the calls between two drains can say */
#define PAIR_EVENTS 8

struct im2_pair {
	struct env *env;
	const struct keyring *keyring;
	bool listener, sas;
	struct im2_offer *offer;
	uint8_t mode;
	unsigned state;
	char digits[IM2_CODE_DIGITS];
	struct buf cb;
	struct im2_hello mine, peer;
	uint8_t peer_x[32];
	uint8_t h1[32], nonce_s[32];
	struct im2_xx xx;
	uint64_t until_ms, shake_until_ms;
	bool guess_used;

	/* the session */
	struct im2_secrets keys;
	struct im2_tx tx;
	struct im2_window window;
	struct buf items;          /* of the next frame */
	bool say_frame;            /* even if it is empty */
	struct buf held;           /* a frame that came while the owner decides */

	/* mode 3 */
	uint8_t n_l[IM2_SAS_NONCE], n_d[IM2_SAS_NONCE], commit[32];
	uint8_t step;              /* the last one that was heard */
	bool said_yes, heard_yes;
	char sas_text[IM2_SAS_TEXT];

	/* credential */
	uint8_t pair_psk[PSK_BYTES];
	struct secret give, got;
	struct im2_grant_offer got_parts;
	bool got_stored;
	unsigned given;            /* times GRANT was said */

	struct buf unit[PAIR_UNITS], unit_out;
	size_t unit_n;
	uint8_t event[PAIR_EVENTS];
	size_t event_n;
	struct im2_pair_event over;
};

void pair_move(struct im2_pair *p, enum pair_state to, uint64_t stay_ms);
void pair_event(struct im2_pair *p, enum im2_pair_event_type type);
/* The end, with CLOSE `close_code` if there is a session; CLOSE_NONE answers the CLOSE of the peer. */
void pair_over(struct im2_pair *p, enum err err, enum im2_refusal why, uint8_t close_code);
void pair_refused(struct im2_pair *p, enum im2_refusal why); /* a fault of the peer: CLOSE 3 */
void pair_sas_say(struct im2_pair *p, uint8_t step, struct bytes value);
/* Keys are confirmed, or both users said yes: pin, then what the roles ask for. */
void pair_paired(struct im2_pair *p);
void pair_frame(struct im2_pair *p, struct bytes unit);
/* What waits in `items` leaves as one frame. */
void pair_flush_items(struct im2_pair *p);
void pair_grant_say(struct im2_pair *p);

#define PAIR_STEP_MS 5000
#define PAIR_SHAKE_MS 15000
#define PAIR_COMPARE_MS 120000
#define PAIR_GRANT_MS 5000
#define PAIR_GRANT_TIMES 6
/* Longer than the giver repeats. */
#define PAIR_WAIT_MS (PAIR_GRANT_MS * (PAIR_GRANT_TIMES + 2))

#define CLOSE_NORMAL 0
#define CLOSE_PROTOCOL 3
#define CLOSE_REVOKED 4
#define CLOSE_NONE 255

#endif
