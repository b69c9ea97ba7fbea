/*
 * pairing.h -- `ironmesh pair` inside the daemon: attempts over links of LINK_PAIR_PATH (im2.md 15), what they pin and what
 * they hand on.
 *
 * Sans-I/O like the node: links come from the transport, services of PAIR_SERVICE from daemon/lan.c. One command shows and
 * one types at a time. A listener answers the path only while a command shows; then 8 attempts at once, one guess per code.
 * What happens is told as events: pair.compare (reason: six digits), pair.paired (peer, name), pair.granted, pair.failed
 * (reason), pair.over (all was done). Nobody is trusted before both ends proved the code, or both users said that the digits
 * are the same.
 *
 *   pairing.c   commands, links, mDNS      pairing_pin.c   what is pinned, and the credential
 */
#ifndef DAEMON_PAIRING_H
#define DAEMON_PAIRING_H

#include "protocol/im2/pair.h"
#include "transports/transport.h"

struct node;

#define PAIR_SERVICE "_ironmesh-pair._tcp"

struct pairing_show {
	bool compare, pin_only, give_passphrase;
	bool again;               /* the next code of the same command */
};
struct pairing_type {
	bool compare, pin_only;
	char digits[IM2_CODE_DIGITS];
	char address[LINK_ADDRESS_MAX + 1]; /* "host:port"; empty: found by mDNS */
};
enum err pairing_new(struct node *n) MUST_CHECK;
void pairing_free(struct node *n);
/* `code` gets what to print ("" with compare), *until_ms when it ends (monotonic). ERR_UNSUPPORTED without im2, ERR_LIMIT after
 * IM2_CODES_MAX; fault filled. */
enum err pairing_show(struct node *n, const struct pairing_show *s, char code[static IM2_CODE_TEXT], uint64_t *until_ms,
		      struct fault *f) MUST_CHECK;
/* Dials, or waits for the service with this number plate (60 s). ERR_AGAIN: one is under way. */
enum err pairing_type(struct node *n, const struct pairing_type *t, struct fault *f) MUST_CHECK;
enum err pairing_verdict(struct node *n, bool yes, struct fault *f) MUST_CHECK;
void pairing_stop(struct node *n);

/* The passphrase that a pairing brought, for the start of a daemon that was given none. ERR_NOTFOUND. */
struct secret;
struct store;
enum err pairing_passphrase(struct store *s, struct secret *out) MUST_CHECK;

/* --- links of LINK_PAIR_PATH, from sink.c ------------------------------------------------------------------- */
void pairing_opened(struct node *n, const struct link_info *info);
bool pairing_unit(struct node *n, link_id id, struct bytes unit); /* false: not one of ours */
bool pairing_closed(struct node *n, link_id id, enum link_end why, const char *detail);

/* --- mDNS, by daemon/lan.c ----------------------------------------------------------------------------------- */
/* What PAIR_SERVICE publishes now: instance 8 hex characters, TXT v=im2 n=NN. False: nothing. */
bool pairing_publication(struct node *n, char instance[static 9], char plate[static 3]);
/* Whether services of PAIR_SERVICE are wanted now, and one that was found. */
bool pairing_browses(struct node *n);
void pairing_found(struct node *n, const char *instance, const char *plate, const char (*addresses)[80], size_t count);
void pairing_watch(struct node *n, void (*changed)(void *ctx), void *ctx);

#endif
