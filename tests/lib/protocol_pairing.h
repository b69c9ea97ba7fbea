/*
 * protocol_pairing.h -- two users with a node each in one room, for the tests of pairing: what they answer, what
 * happened, what goes over the wire; and a peer made by hand that holds the keys and says what it likes.
 *
 * bob shows and listens, alice types and dials, carol is the stranger. A broken expectation of the helpers
 * themselves is a BUG_ON.
 */
#ifndef TESTS_PROTOCOL_PAIRING_H
#define TESTS_PROTOCOL_PAIRING_H

#include "protocol/im2/frame.h"
#include "protocol/im2/pair.h"
#include "tests/lib/protocol_env.h"
#include "tests/lib/protocol_vectors.h"

#define ROOM_WIRE 32

struct people {
	struct keyring *alice, *bob, *carol;
};
void people_load(struct people *x, const struct vectors *v);
void people_free(struct people *x);

enum answer { YES, NO, LATER };

/* A user, what it answers, and what happened. */
struct user {
	struct im2_pair *p;
	struct im2_pair_config c;
	enum answer admits, says, stores;
	/* what happened */
	unsigned peers, compares, paired, grants, granted, overs;
	char digits[IM2_SAS_TEXT];
	uint8_t admitted_psk[32], psk[32], secret[256], peer_ed[32];
	size_t secret_n, records_n;
	struct im2_pair_event over;
	/* what it said and nobody took yet */
	struct buf wire[ROOM_WIRE];
	size_t wire_n;
};

/* Chance of one's own, the time of the room. */
struct chance {
	struct env env;
	struct penv *dice;
	struct room *room;
};

struct room {
	const struct people *people;
	struct penv e, d_chance, l_chance; /* time of all; chance of dialler and listener */
	struct chance of_p, of_q;
	struct im2_offer offer;
	struct im2_grant_offer grant;
	struct user p, q; /* p shows and listens, q types and dials */
	struct buf log[ROOM_WIRE]; /* every unit in order */
	size_t log_n;
};

extern const uint8_t room_mesh_key[32]; /* what bob grants */
void room_init(struct room *r, const struct people *people, bool sas);
void room_fini(struct room *r);
void room_open(struct room *r);                 /* both attempts begin */
void room_pass(struct room *r, uint64_t ms);    /* time goes by, both tick */
void room_hand(struct room *r, struct user *from, struct user *to); /* the oldest unit; logged */
void room_talk(struct room *r, struct user *a, struct user *b);     /* until both are quiet */

void user_open(struct user *u);
void user_close(struct user *u);
void user_drain(struct user *u);
struct buf user_pop(struct user *u);            /* the oldest unit; the caller frees it */

struct crafted {
	struct im2_xx xx;
	struct im2_secrets keys;
	struct im2_tx tx;
	struct im2_hello peer;
};
/* The crafted peer listens, the dialler is under test: up to X4, and its decision. */
void crafted_listens(struct crafted *n, struct room *r, uint8_t role);
/* The crafted peer dials, the listener is under test: up to X4, before the first frame. */
void crafted_dials(struct crafted *n, struct room *r, uint8_t role);
void crafted_frame(struct crafted *n, struct user *to, struct bytes items);
void crafted_item(struct crafted *n, struct user *to, uint16_t tag, struct bytes value);
void crafted_sas(struct crafted *n, struct user *to, uint8_t step, struct bytes value);

#endif
