/*
 * pairing.h -- `ironmesh pair` inside the daemon: attempts over the path /im2/pair (im2.md 15), what they pin and hand on.
 *
 * Sans-I/O like the node: links come from the transport, codes and digits go to whoever watches. At most one command shows
 * and one types at a time. A listener answers the path only while a command shows; then 8 attempts at once, one guess per
 * code, 5 codes per command.
 */
#ifndef DAEMON_PAIRING_H
#define DAEMON_PAIRING_H

#include "protocol/im2/pair.h"
#include "transports/transport.h"

struct node;

#define PAIR_PATH "/im2/pair"
#define PAIR_SERVICE "_ironmesh-pair._tcp"

enum pairing_step {
	PAIRING_SHOW,     /* text: the code; until_ms */
	PAIRING_COMPARE,  /* text: six digits; answer with pairing_verdict() */
	PAIRING_PAIRED,   /* peer, name */
	PAIRING_GRANTED,  /* the credential has arrived, there or here */
	PAIRING_FAILED    /* f; `more`: another code follows */
};
struct pairing_event {
	enum pairing_step step;
	const char *text;
	uint64_t until_ms;
	struct node_id peer;
	char name[NAME_MAX_CHARS + 1];
	bool more, verified;
	const struct fault *f;
};
typedef void (*pairing_fn)(void *ctx, const struct pairing_event *e);

struct pairing_show {
	bool compare, pin_only, give_passphrase;
	unsigned codes;           /* at most IM2_CODES_MAX */
};
struct pairing_type {
	bool compare, pin_only;
	char digits[IM2_CODE_DIGITS];
	char address[LINK_ADDRESS_MAX + 1]; /* "host:port"; empty: found by mDNS */
};
enum err pairing_new(struct node *n) MUST_CHECK;
void pairing_free(struct node *n);
enum err pairing_show(struct node *n, const struct pairing_show *s, pairing_fn fn, void *ctx, struct fault *f) MUST_CHECK;
enum err pairing_type(struct node *n, const struct pairing_type *t, pairing_fn fn, void *ctx, struct fault *f) MUST_CHECK;
void pairing_verdict(struct node *n, bool yes);
void pairing_stop(struct node *n, void *ctx); /* the command of this ctx is gone */

/* --- links of PAIR_PATH, from sink.c --------------------------------------------------------------------- */
bool pairing_accepting(struct node *n);
void pairing_opened(struct node *n, const struct link_info *info);
bool pairing_unit(struct node *n, link_id id, struct bytes unit);   /* false: not one of ours */
bool pairing_closed(struct node *n, link_id id, enum link_end why);

/* --- mDNS, by daemon/lan.c -------------------------------------------------------------------------------- */
/* What PAIR_SERVICE publishes now: instance 8 hex characters, TXT v=im2 n=NN. False: nothing. */
bool pairing_publication(struct node *n, char instance[static 9], char plate[static 3]);
/* Whether services of PAIR_SERVICE are wanted now, and one that was found. */
bool pairing_browses(struct node *n);
void pairing_found(struct node *n, const char *instance, const char *plate, const char (*addresses)[80], size_t count);
void pairing_watch(struct node *n, void (*changed)(void *ctx), void *ctx);

#endif
