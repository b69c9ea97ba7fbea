/*
 * mdns.h -- publish and browse services of the local link: dns_sd.h (avahi-compat-libdns_sd) on a libuv loop.
 *
 * What comes out is a hint: addresses that somebody on the link claims, never an identity, a name or a sign of life
 * (a record outlives its publisher by up to 75 minutes). Everything heard is bounded: services known at once, addresses of
 * each, bytes of TXT, events per second; beyond it the rest is counted and dropped.
 *
 * avahi-daemon may be absent, start later, restart or be killed: `state` says so and everything that was published and
 * browsed is made again when it is back. Nothing here blocks the loop longer than one answer of the bus.
 * A bind address restricts what is published (its interface alone) and what is believed (addresses of its kind on the
 * nets of that interface); bound to loopback, only the loopback interface is used.
 *
 * dns_sd.h of avahi talks to the system bus in each call that begins something, and waits there for up to 25 s when
 * avahi hangs. Such calls are made on threads of their own; a stop does not wait for them. What publishers say
 * changes without notice (TXT records are not watched): each service is asked again every 15 minutes or so.
 */
#ifndef TRANSPORTS_MDNS_MDNS_H
#define TRANSPORTS_MDNS_MDNS_H

#include <uv.h>

#include "base/buf.h"
#include "base/env.h"
#include "base/err.h"

#define MDNS_SERVICES_MAX 512     /* known at once, over all types */
#define MDNS_ADDRESSES_MAX 8      /* of one service */
#define MDNS_TXT_MAX 1024         /* bytes of a TXT record; longer ones are dropped */
#define MDNS_TXT_PAIRS_MAX 16
#define MDNS_TYPE_MAX 31
#define MDNS_INSTANCE_MAX 63

struct mdns;

struct mdns_pair {
	char key[32];
	char value[256];           /* printable ASCII or UTF-8 that base/text.h calls safe; else the pair is left out */
};

/* One service, resolved. Valid during the call. */
struct mdns_service {
	char type[MDNS_TYPE_MAX + 1];         /* "_ironmesh._tcp" */
	char instance[MDNS_INSTANCE_MAX + 1]; /* shown to people at most; names nobody */
	uint16_t port;
	size_t addresses_n;                   /* "192.0.2.7:8765", "[fe80::1%3]:8765": ready to dial, best first */
	char addresses[MDNS_ADDRESSES_MAX][80];
	size_t pairs_n;
	struct mdns_pair pairs[MDNS_TXT_PAIRS_MAX];
};
const char *mdns_txt(const struct mdns_service *s, const char *key); /* NULL when absent */
/* A TXT record as on the wire: bounded, first of two equal keys wins. ERR_MALFORMED, ERR_LIMIT. */
enum err mdns_txt_parse(struct bytes txt, struct mdns_pair *out, size_t max, size_t *n) MUST_CHECK;

enum mdns_state { MDNS_OFF, MDNS_STARTING, MDNS_UP, MDNS_DOWN };
const char *mdns_state_word(enum mdns_state s);

struct mdns_sink {
	void *ctx;
	/* New, changed, or asked again. True: it is of use, so it is not pushed out when the table is full. */
	bool (*found)(void *ctx, const struct mdns_service *s);
	void (*lost)(void *ctx, const char *type, const char *instance);
	void (*state)(void *ctx, enum mdns_state s, const char *why); /* why: for people; "" when up */
};
struct mdns_config {
	uv_loop_t *loop;
	struct env *env;
	const char *bind;          /* as of the listener; NULL or "0.0.0.0"/"::" = every interface */
	struct mdns_sink sink;
	uint32_t events_per_s, events_burst; /* 0: 50 and 200 */
};
struct mdns_stats {
	uint64_t found, lost, dropped_limit, dropped_malformed, restarts;
	uint32_t services;         /* known now; the same one on two interfaces counts twice */
	uint32_t published;        /* slots that stand */
};

/* Callbacks come from the loop, never from inside a call below. ERR_NOMEM, ERR_FULL (no descriptors). */
enum err mdns_new(const struct mdns_config *c, struct mdns **out) MUST_CHECK;
/* Publishes, or replaces what `slot` (0..3) published. `txt`: `n` pairs. Kept and published again after a restart of
 * avahi. A name conflict renames the instance; nobody is keyed by it. Our own are never found. ERR_USAGE, ERR_LIMIT. */
enum err mdns_publish(struct mdns *m, unsigned slot, const char *type, const char *instance, uint16_t port,
		      const struct mdns_pair *txt, size_t n) MUST_CHECK;
void mdns_withdraw(struct mdns *m, unsigned slot);
/* The name it stands under; NULL while it does not. */
const char *mdns_published(const struct mdns *m, unsigned slot);
enum err mdns_browse(struct mdns *m, const char *type) MUST_CHECK; /* at most 4 types: ERR_FULL. Twice is as once. */
void mdns_browse_stop(struct mdns *m, const char *type); /* what was found is forgotten, without `lost` */
void mdns_stats(const struct mdns *m, struct mdns_stats *out);
/* Withdraws everything; `done` once nothing of it is on the loop. Then free. */
void mdns_stop(struct mdns *m, void (*done)(void *), void *ctx);
void mdns_free(struct mdns *m); /* accepts NULL */

#endif
