/*
 * transport.h -- the contract between the conductor and whatever moves bytes.
 *
 * A transport owns its links and names them by a u64 id that is never reused. The conductor hands a
 * sink down at start; callbacks run on the loop thread, never inside a call that the conductor
 * makes (a dial, send or close returns first), and after `closed` no other callback comes for
 * that link. A unit is what a transport delivers in one piece, 1 .. unit_max bytes.
 *
 * Back-pressure: tp_send() answers ERR_FULL above the high-water mark and `writable` follows when the
 * queue fell below the low-water mark. tp_pause() stops reading one link, so that the far side feels
 * it through its own transport.
 *
 * tests/lib/transport_contract.c runs the same tests over every transport; loopback.c is the
 * reference.
 */
#ifndef TRANSPORTS_TRANSPORT_H
#define TRANSPORTS_TRANSPORT_H

#include "base/wire.h"

struct transport;
typedef uint64_t link_id; /* 0 = none */

#define LINK_ADDRESS_MAX 255
/* Behind an address that is dialled: a link that pairs two nodes (im2.md 15.1). link_info.address is without it. */
#define LINK_PAIR_PATH "/im2/pair"
#define LINK_PAIR_UNIT_MAX 263168 /* a unit of such a link; a larger one ends it */

struct link_info {
	link_id id;
	bool dialled;                       /* we opened it */
	const char *kind;                   /* "ws", "loopback" */
	char address[LINK_ADDRESS_MAX + 1]; /* dialled: as given to tp_dial; else "ip:port" of the peer */
	char source[64];                    /* what limits are keyed by (base/limit.h) */
	bool pair;                          /* of the path of pairings, not of peers */
	bool secure;                        /* TLS */
	bool has_tls_key;
	uint8_t tls_key[32];                /* dialled over TLS: SHA-256 of the peer's SubjectPublicKeyInfo */
	bool has_binding;
	uint8_t binding[32];                /* TLS 1.3: what only its two ends know (RFC 9266, tls-exporter) */
};

/* Why a link ended, for counters and logs. */
enum link_end {
	LINK_END_LOCAL,     /* tp_close() */
	LINK_END_REMOTE,    /* orderly close by the far side */
	LINK_END_IO,        /* reset, EOF without close, write error */
	LINK_END_TIMEOUT,   /* first byte, upgrade or keep-alive */
	LINK_END_PROTOCOL,  /* not this transport's protocol, over unit_max */
	LINK_END_TLS,
	LINK_END_REFUSED,   /* dial: nobody listens, or the far side refused the upgrade */
	LINK_END_RESOLVE,   /* dial: name does not resolve */
	LINK_END_COUNT
};
const char *link_end_word(enum link_end e);
/* Whether `address` ends in LINK_PAIR_PATH; `bare` is what stands before it, or all of it. ERR_USAGE when too long. */
enum err link_address_split(const char *address, char bare[static LINK_ADDRESS_MAX + 1], bool *pair) MUST_CHECK;

struct transport_sink {
	void *ctx;
	/* Asked before any TLS or protocol work for an inbound connection. False: close at once. */
	bool (*accepting)(void *ctx, const char *source);
	/* Ready for units. */
	void (*opened)(void *ctx, const struct link_info *info);
	/* `text`: WebSocket text message. Borrowed during the call. */
	void (*unit)(void *ctx, link_id id, struct bytes unit, bool text);
	void (*writable)(void *ctx, link_id id);
	/* Also for a dial that never opened. `detail` is for people, may be "". */
	void (*closed)(void *ctx, link_id id, enum link_end why, const char *detail);
	/* An inbound connection that never became a link misbehaved (slow first byte, garbage, bad
	 * TLS): counts against its source. */
	void (*strange)(void *ctx, const char *source, enum link_end why);
};

struct transport_stats {
	uint64_t accepted, refused, dialled, opened, closed, units_in, units_out, bytes_in, bytes_out;
	uint64_t ends[LINK_END_COUNT];
	uint32_t half_open, links;
};

struct transport_ops {
	/* Takes a link id at once; `opened` or `closed` follows. ERR_FULL at the limit of dials,
	 * ERR_USAGE for an address this transport cannot parse. */
	enum err (*dial)(struct transport *, const char *address, link_id *out);
	/* Copies. ERR_FULL (nothing queued), ERR_CLOSED, ERR_LIMIT over unit_max. */
	enum err (*send)(struct transport *, link_id, struct bytes unit, bool text);
	/* Flushes what is queued (bounded time), then closes; `closed` follows. Unknown ids are ignored. */
	void (*close)(struct transport *, link_id);
	void (*pause)(struct transport *, link_id, bool paused);
	size_t (*queued)(struct transport *, link_id); /* bytes not yet given to the system */
	void (*stats)(struct transport *, struct transport_stats *);
	/* Stops accepting and dialling; closes every link (callbacks come); then `done` is called once. */
	void (*stop)(struct transport *, void (*done)(void *), void *ctx);
	void (*free)(struct transport *); /* after `done` */
};

struct transport {
	const struct transport_ops *ops;
	const char *kind;
	size_t unit_max;
	size_t high_water, low_water;
};

static inline enum err tp_dial(struct transport *t, const char *address, link_id *out)
{
	return t->ops->dial(t, address, out);
}
static inline enum err tp_send(struct transport *t, link_id id, struct bytes unit, bool text)
{
	return t->ops->send(t, id, unit, text);
}
static inline void tp_close(struct transport *t, link_id id)
{
	t->ops->close(t, id);
}
static inline void tp_pause(struct transport *t, link_id id, bool paused)
{
	t->ops->pause(t, id, paused);
}
static inline size_t tp_queued(struct transport *t, link_id id)
{
	return t->ops->queued(t, id);
}
static inline void tp_stats(struct transport *t, struct transport_stats *out)
{
	t->ops->stats(t, out);
}
static inline void tp_stop(struct transport *t, void (*done)(void *), void *ctx)
{
	t->ops->stop(t, done, ctx);
}
static inline void tp_free(struct transport *t)
{
	if (t)
		t->ops->free(t);
}

#endif
