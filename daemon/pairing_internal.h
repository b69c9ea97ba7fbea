/* pairing_internal.h -- what pairing.c, pairing_link.c and pairing_pin.c share. */
#ifndef DAEMON_PAIRING_INTERNAL_H
#define DAEMON_PAIRING_INTERNAL_H

#include "daemon/node_internal.h"
#include "daemon/pairing.h"

#define ATTEMPTS_MAX 8
#define ATTEMPTS_PER_SOURCE 2
#define FOUND_ADDRESSES 4

struct attempt {
	struct list link;
	struct pairing *of;
	link_id id;
	bool listener, compare;
	bool heard;    /* a unit came */
	bool guess;    /* listener: it is using the code */
	bool known;    /* the other end has proven what it had to: PEER came */
	bool asked;    /* digits are shown */
	bool paired, over;
	bool wants, got; /* the mesh key */
	bool told;     /* the command knows why it failed */
	bool mute;     /* the disk refused: what says yes does not leave any more */
	struct im2_pair *p;
	struct timer timer;
	struct node_id peer;
	char address[LINK_ADDRESS_MAX + 1]; /* dialled */
	char source[64];
};

struct pairing {
	struct node *node;
	const void *owner;
	struct list attempts;
	size_t attempts_n;
	/* a command that shows */
	bool showing;
	struct pairing_show show;
	struct im2_offer offer;
	uint64_t show_until_ms;
	char instance[9];
	struct timer offer_timer;
	/* a command that types */
	bool typing;
	struct pairing_type type;
	link_id dialling;
	struct timer find_timer;    /* until something is found; then until nobody else has shown the same plate */
	char found[9];              /* by mDNS: the service with our number plate */
	char addresses[FOUND_ADDRESSES][80];
	size_t addresses_n, address_at;
	void (*changed)(void *ctx);
	void *changed_ctx;
	void (*came)(void *ctx, bool passphrase);
	void *came_ctx;
};

/* pairing.c */
void pairing_tell(struct node *n, const char *type, const struct node_id *peer, const char *reason, const char *next);
void pairing_changed(struct pairing *g);
void pairing_hide(struct pairing *g);      /* no link is taken any more; those that have no part in a pairing end */
void pairing_type_over(struct pairing *g);
bool pairing_dial_next(struct pairing *g); /* another address of what was found; false: there is none */
enum pairing_gives pairing_gives(const struct node *n, const struct pairing_show *s);

/* pairing_link.c */
void pairing_drain(struct attempt *a); /* may free it */
void pairing_attempt_end(struct attempt *a);
/* The one whose digits are shown, or will be; NULL. */
struct attempt *pairing_comparing(struct pairing *g);

/* pairing_pin.c */
/* PEER: may it be paired? With a code it is pinned as pending, with the new secret, before anything else is said; the fault is
 * filled when it may not. */
enum im2_refusal pairing_admit(struct attempt *a, const struct im2_pair_event *e, struct fault *f);
/* PAIRED: trusted and verified from now on. */
enum err pairing_pin(struct attempt *a, const struct im2_pair_event *e, struct fault *f) MUST_CHECK;
/* GRANT: on disk when it returns ERR_OK, and in use when it is a key. */
enum err pairing_store(struct attempt *a, const struct im2_grant_offer *g) MUST_CHECK;
/* What we hand on; `room` holds what it points to and is wiped by the caller. False: nothing. */
struct grant_room {
	uint8_t disc[32];
	struct buf records;
	struct secret key;
};
bool pairing_grant(struct node *n, enum pairing_gives gives, struct grant_room *room, struct im2_grant_offer *out);
void grant_room_wipe(struct grant_room *room);
/* The mesh key that an earlier pairing brought, for a node that has none of its own. */
enum err pairing_load(struct node *n) MUST_CHECK;

#endif
