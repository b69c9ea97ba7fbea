/* pairing_internal.h -- what pairing.c and pairing_pin.c share. */
#ifndef DAEMON_PAIRING_INTERNAL_H
#define DAEMON_PAIRING_INTERNAL_H

#include "daemon/node_internal.h"
#include "daemon/pairing.h"

#define ATTEMPTS_MAX 8

struct attempt {
	struct list link;
	struct pairing *of;
	link_id id;
	bool listener, compare, paired;
	struct im2_pair *p;
	struct timer timer;
	struct node_id peer;
	char address[LINK_ADDRESS_MAX + 1]; /* dialled */
};

struct pairing {
	struct node *node;
	struct list attempts;
	size_t attempts_n;
	/* a command that shows */
	bool showing;
	struct pairing_show show;
	struct im2_offer offer;
	char instance[9];
	struct timer offer_timer;
	/* a command that types */
	bool typing;
	struct pairing_type type;
	link_id dialling;
	struct timer find_timer;
	char found[9], found_address[80]; /* by mDNS: the service with our number plate */
	void (*changed)(void *ctx);
	void *changed_ctx;
};

/* pairing_pin.c */
/* PEER: may it be paired? Pins it as pending, with the new secret, before anything else is said. */
enum im2_refusal pairing_admit(struct attempt *a, const struct im2_pair_event *e, char why[static 160]);
/* PAIRED: trusted and verified from now on. */
enum err pairing_pin(struct attempt *a, const struct im2_pair_event *e, struct fault *f) MUST_CHECK;
/* GRANT: on disk when it returns ERR_OK. */
enum err pairing_store(struct attempt *a, const struct im2_grant_offer *g) MUST_CHECK;
/* What we hand on; `room` holds what it points to and is wiped by the caller. False: nothing. */
struct grant_room {
	uint8_t disc[32];
	struct buf records;
	struct secret key;
};
bool pairing_grant(struct node *n, bool passphrase, struct grant_room *room, struct im2_grant_offer *out);
void grant_room_wipe(struct grant_room *room);
/* The mesh key that an earlier pairing brought. */
enum err pairing_load(struct node *n) MUST_CHECK;

#endif
