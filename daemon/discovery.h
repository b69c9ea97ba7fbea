/*
 * discovery.h -- where peers may be found: hints from mDNS, from what we dialled before and from trusted peers, and
 * what is done with them. Sans-I/O: the thin edge (daemon/lan.c) feeds services in and publishes what is asked.
 *
 *   discovery.c       birth, scope, services, publication   hints.c           the table of hints
 *   hints_match.c     whom a hint means, whether it is wanted   discovery_dial.c  the dials
 *   discovery_key.c   the key of the fleet, im2.disc         discovery_card.c  signed cards: ours, theirs, passed on
 *   discovery_view.c  for people
 *
 * Default deny: a hint is an address, nothing else. It is dialled only for a peer that we want (below), and what answers
 * there still has to prove its key and to pass policy_admit(). No trust, liveness or name comes from a hint.
 *
 * Wanted: pinned and trusted, offline; on the allow-list; with open discovery everybody. A service of the fleet (im2.md
 * 15.5) names nobody: its tag t is compared with the tags of those whom we know or list. A public one (wire 8) is compared
 * by idhash first, then by name. Several addresses of one identity are tried in parallel, a short stagger apart; the first
 * session wins, the others are dropped.
 *
 * A dial of a hint changes nothing but itself: no address is pinned by it, no alarm of an address is raised, and whoever
 * answers in place of the one that was meant is dropped and counted. What came over im2 (fleet, card, a peer that speaks it)
 * is dialled over im2 alone. Handshakes that did not prove the passphrase have a budget (18.2): 10 an hour, then no first
 * contact begins from a hint for an hour.
 *
 * Bounded: hints 1,024 in all, 1/8 from one source, 8 services for one identity, 8 addresses each; what is least wanted and
 * oldest goes. Dials: 16 at once, 4 a second.
 */
#ifndef DAEMON_DISCOVERY_H
#define DAEMON_DISCOVERY_H

#include "protocol/im2/tags.h"
#include "transports/transport.h"
#include "trust/pins.h"

struct conn;
struct hint_dial;
struct im2_record;
struct node;
struct session_event;
struct session_peer;

#define DISCOVERY_ENDPOINTS_MAX 8 /* of a card (im2.md 13.3) */

/* AUTO: fleet once there is a key, public until then. */
enum discovery_scope { SCOPE_OFF, SCOPE_AUTO, SCOPE_FLEET, SCOPE_PUBLIC, SCOPE_BOTH };
const char *discovery_scope_word(enum discovery_scope s);
enum err discovery_scope_parse(const char *word, enum discovery_scope *out) MUST_CHECK;

/* n->discovery. After records_new(). Everything below accepts a node without. */
enum err discovery_new(struct node *n) MUST_CHECK;
void discovery_free(struct node *n);
/* Dialling has begun: what is known of trusted peers from earlier lives counts. */
void discovery_started(struct node *n);
void discovery_online(struct conn *c);   /* asks and tells trusted peers: CARD, key */
void discovery_offline(struct node *n, const struct node_id *id);
/* Where we can be reached, for our CARD: "192.0.2.7:8765", "[2001:db8::7]:8765"; at most 8. Without any none is issued. */
void node_set_endpoints(struct node *n, const char (*endpoints)[80], size_t count);
void discovery_again(struct node *n);    /* our CARD is issued anew */
void discovery_decided(struct node *n);  /* somebody is trusted, or not any more */
void discovery_rolled_back(struct node *n);
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

/* The key of the fleet (space "discovery" of the store). get: ERR_NOTFOUND. set: in the open group. ensure: makes one when
 * there is none (`ironmesh pair` on the first node), and it is on disk before this returns. */
enum err discovery_key_get(struct node *n, uint8_t out[static IM2_DISC_BYTES]) MUST_CHECK;
enum err discovery_key_set(struct node *n, const uint8_t disc[static IM2_DISC_BYTES]) MUST_CHECK;
enum err discovery_key_ensure(struct node *n, uint8_t out[static IM2_DISC_BYTES]) MUST_CHECK;

/* --- a dial of a hint, for who runs links (dial.h) ------------------------------------------------------------------ */
/* One of these two, once; `h` is gone then. met: a session; the other dials to this identity end. */
void discovery_dial_ended(struct hint_dial *h, const char *why, uint64_t min_wait_ms);
void discovery_dial_met(struct hint_dial *h, const struct node_id *id);
bool discovery_dial_im2(const struct hint_dial *h);   /* never the old wire */
bool discovery_dial_known(const struct hint_dial *h); /* no first contact */
/* Whoever is there is not the one that was meant. */
bool discovery_dial_wrong(struct hint_dial *h, const struct node_id *id);
/* The handshake ended so; auth: nobody proved the passphrase. */
void discovery_dial_over(struct hint_dial *h, enum err e, bool auth);
void discovery_dial_retry(struct node *n);            /* what waited for the mesh key, or for a list, may go now */

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
enum discovery_scope discovery_scope_now(const struct node *n); /* never AUTO */
bool discovery_has_key(const struct node *n);

#endif
