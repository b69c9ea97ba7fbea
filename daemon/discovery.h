/*
 * discovery.h -- where peers may be found: hints from mDNS, from what we dialled before and from trusted peers, and
 * what is done with them. Sans-I/O: the thin edge (daemon/lan.c) feeds services in and publishes what is asked.
 *
 * Default deny: a hint is an address, nothing else. It is dialled only for a peer that we want (below), and what answers
 * there still has to prove its key and to pass policy_admit(). No trust, liveness or name comes from a hint.
 *
 * Wanted: pinned and trusted, offline; on the allow-list; with open discovery everybody. A service of the fleet (im2.md
 * 15.5) names nobody: its tag t is compared with the tags of wanted identities. A public one (wire 8) is compared by
 * idhash first, then by name. Several addresses of one service are tried in parallel, a short stagger apart; the first
 * session wins, the others are dropped.
 *
 * Bounded: hints 1,024 in all, 1/8 from one source, 8 addresses each; the oldest goes. Dials of hints have a rate.
 */
#ifndef DAEMON_DISCOVERY_H
#define DAEMON_DISCOVERY_H

#include "protocol/im2/tags.h"
#include "transports/transport.h"
#include "trust/pins.h"

struct conn;
struct im2_record;
struct node;
struct session_event;

/* AUTO: fleet once there is a key, public until then. */
enum discovery_scope { SCOPE_OFF, SCOPE_AUTO, SCOPE_FLEET, SCOPE_PUBLIC, SCOPE_BOTH };
const char *discovery_scope_word(enum discovery_scope s);
enum err discovery_scope_parse(const char *word, enum discovery_scope *out) MUST_CHECK;

/* n->discovery. After records_new(). Everything below accepts a node without. */
enum err discovery_new(struct node *n) MUST_CHECK;
void discovery_free(struct node *n);
/* Dialling has begun: what is known of trusted peers from earlier lives counts. */
void discovery_started(struct node *n);
/* From dial.c: a dial for this hint has ended. `wrong`: another identity answered than the hint spoke of. */
void discovery_dialled(struct node *n, const char *hint, bool was_online, bool wrong, const char *why);
void discovery_online(struct conn *c);   /* asks and tells trusted peers: CARD, key */
void discovery_offline(struct node *n, const struct node_id *id);
/* Where we can be reached, "host:port", for our CARD. */
void node_set_endpoints(struct node *n, const char (*endpoints)[80], size_t count);
void discovery_again(struct node *n);    /* our CARD is issued anew */
void discovery_card(struct conn *c, const struct im2_record *rec); /* a CARD that is news */
/* OPEN, END, RERR of the call im2.disc (im2.md 14, 15.5); every other call is answered NOT_FOUND. */
void discovery_call(struct conn *c, const struct session_event *e);

/* One service that was found or changed. `pairs`: n keys and values, as transports/mdns/mdns.h gives them. */
struct discovery_service {
	bool fleet;                        /* TXT v=im2 */
	const char *instance;
	const char *agent, *idhash;        /* public; NULL when absent */
	bool has_tags;
	uint8_t i[IM2_INSTANCE_BYTES], m[IM2_TAG_BYTES], t[IM2_TAG_BYTES];
	const char (*addresses)[80];
	size_t addresses_n;
};
/* True: it is of use (a member's tag of our fleet, or the idhash or allowed name of somebody we want), so mDNS keeps it when
 * its table is full. */
bool discovery_found(struct node *n, const struct discovery_service *s);
void discovery_lost(struct node *n, const char *instance);

/* What is to be published now; asked again when it said so (`changed`) and every hour. */
struct discovery_publication {
	bool fleet, is_public;
	char instance[17];                 /* random per start */
	uint8_t i[IM2_INSTANCE_BYTES], m[IM2_TAG_BYTES], t[IM2_TAG_BYTES];
	uint64_t until_ms;                 /* monotonic; tags change then */
};
void discovery_publication(struct node *n, struct discovery_publication *out);
/* `changed` is called when the publication has to be asked for again. */
void discovery_watch(struct node *n, void (*changed)(void *ctx), void *ctx);

/* The key of the fleet; in the open group of the store (space "discovery"). get: ERR_NOTFOUND. ensure: makes one when there
 * is none (`ironmesh pair` on the first node). */
enum err discovery_key_get(struct node *n, uint8_t out[static IM2_DISC_BYTES]) MUST_CHECK;
enum err discovery_key_set(struct node *n, const uint8_t disc[static IM2_DISC_BYTES]) MUST_CHECK;
enum err discovery_key_ensure(struct node *n, uint8_t out[static IM2_DISC_BYTES]) MUST_CHECK;

/* For people: everything that was found, and why it is not connected. */
struct discovery_view {
	char instance[64];
	char name[NAME_MAX_CHARS + 1];     /* claimed; cleaned; "" = says none */
	bool fleet, has_id, online;
	struct node_id id;                 /* by tag or idhash: a claim */
	char address[80];                  /* the first */
	size_t addresses_n;
	const char *source;                /* "mdns", "known", "card" */
	char why[200];                     /* not connected: why; "" when it is */
	char next[160];                    /* the command that would allow it; may be "" */
};
size_t discovery_views(struct node *n, struct discovery_view *out, size_t max);

#endif
