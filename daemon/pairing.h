/*
 * pairing.h -- `ironmesh pair` inside the daemon: attempts over links of LINK_PAIR_PATH (im2.md 15), what they pin and what
 * they hand on.
 *
 * Sans-I/O like the node: links come from the transport, services of PAIR_SERVICE from daemon/lan.c. One command at a time,
 * that shows or types. A listener takes the path only while a command shows: at most 8 attempts, 2 of one source, and one
 * guess per code; whatever comes there otherwise is closed at once and blamed on its source. A wrong guess is too (5.3).
 * Nobody is trusted before both ends proved the code, or both users said that the digits are the same; who may not be met
 * (blocked, revoked, not on the list of allowed peers, the name of somebody else) is not paired either.
 *
 * What happens is told as events:
 *	pair.compare   reason: the six digits of both machines
 *	pair.paired    peer, name: pinned and trusted
 *	pair.granted   peer, reason: what was handed on, or has come
 *	pair.used      reason: the code is used up and nobody was paired; the command may show another
 *	pair.failed    reason, next: the command is over, not all was done (after pair.paired: the mesh key did not get across)
 *	pair.over      peer, reason (may be absent): the command is over, all was done
 *
 *   pairing.c   commands, mDNS      pairing_link.c   attempts      pairing_pin.c   what is pinned, and the credential
 */
#ifndef DAEMON_PAIRING_H
#define DAEMON_PAIRING_H

#include "protocol/im2/pair.h"
#include "transports/transport.h"

struct node;

#define PAIR_SERVICE "_ironmesh-pair._tcp"
#define PAIR_NO_PLATE "--"    /* in place of the first two digits: there is no code, digits will be compared */

enum pairing_gives { PAIRING_GIVES_NOTHING, PAIRING_GIVES_KEY, PAIRING_GIVES_PASSPHRASE };

struct pairing_show {
	const void *owner;        /* whose command it is; another one has to wait until it is over */
	bool compare, pin_only, give_passphrase;
	bool again;               /* the next code of the same command */
};
struct pairing_type {
	const void *owner;
	bool compare, pin_only;
	char digits[IM2_CODE_DIGITS];
	char address[LINK_ADDRESS_MAX + 1]; /* "host:port"; empty: found by mDNS */
};
struct pairing_shown {
	char code[IM2_CODE_TEXT]; /* "" with compare */
	uint64_t until_ms;        /* monotonic */
	enum pairing_gives gives;
};
enum err pairing_new(struct node *n) MUST_CHECK;
void pairing_free(struct node *n);
/* ERR_UNSUPPORTED without im2; ERR_AGAIN: another command is under way, or the mesh key is not computed yet; ERR_LIMIT after
 * IM2_CODES_MAX; ERR_USAGE: there is no passphrase to give. The fault says what to do. */
enum err pairing_show(struct node *n, const struct pairing_show *s, struct pairing_shown *out, struct fault *f) MUST_CHECK;
/* Dials, or waits for the service with this number plate (60 s). */
enum err pairing_type(struct node *n, const struct pairing_type *t, struct fault *f) MUST_CHECK;
/* ERR_WRONG_STATE: nothing waits for it. */
enum err pairing_verdict(struct node *n, bool yes, struct fault *f) MUST_CHECK;
/* Ends what is under way; stop: without an event. */
void pairing_cancel(struct node *n);
void pairing_stop(struct node *n);
/* The same, when it is of this owner. */
void pairing_owner_gone(struct node *n, const void *owner);

/* --- the credential that a pairing brought (15.3) -------------------------------------------------------------- */
struct secret;
struct store;
#define PAIRING_MESH_MAX 64
struct pairing_passphrase {
	struct secret words;
	char mesh[PAIRING_MESH_MAX + 1]; /* "": as configured */
	uint16_t passgen;
};
/* For the start of a daemon that was given none. ERR_NOTFOUND. */
enum err pairing_passphrase(struct store *s, struct pairing_passphrase *out) MUST_CHECK;
/* `came` is called when a credential has come and is on disk; a mesh key is in use already. From the middle of the node's
 * work. */
void pairing_on_credential(struct node *n, void (*came)(void *ctx, bool passphrase), void *ctx);

/* --- links of LINK_PAIR_PATH, from sink.c ------------------------------------------------------------------- */
void pairing_opened(struct node *n, const struct link_info *info);
bool pairing_unit(struct node *n, link_id id, struct bytes unit); /* false: not one of ours */
bool pairing_closed(struct node *n, link_id id, enum link_end why, const char *detail);

/* --- mDNS, by daemon/lan.c ----------------------------------------------------------------------------------- */
/* What PAIR_SERVICE publishes now: instance 8 hex characters, TXT v=im2 n=NN (PAIR_NO_PLATE when digits will be compared).
 * False: nothing. */
bool pairing_publication(struct node *n, char instance[static 9], char plate[static 3]);
/* Whether services of PAIR_SERVICE are wanted now, and one that was found. */
bool pairing_browses(struct node *n);
void pairing_found(struct node *n, const char *instance, const char *plate, const char (*addresses)[80], size_t count);
void pairing_watch(struct node *n, void (*changed)(void *ctx), void *ctx);

#endif
