/*
 * loopback_internal.h -- endpoints and the halves of their links; loopback.c and loopback_half.c
 * only.
 *
 * One `struct loop_half` is one end of a link: it belongs to an endpoint, knows its peer half while
 * both live, and has an inbox of what is under way to it. What happens to a half is either in the
 * inbox (units, and the marker that the far side closed: in order, held back by pause) or a flag
 * (opened, writable, ended: never held back). Each half has a timer for either kind.
 *
 * A callback may close, stop or kill anything, so it is the last statement of a timer function, or
 * net->running tells afterwards whether the half is still there.
 */
#ifndef TRANSPORTS_LOOPBACK_INTERNAL_H
#define TRANSPORTS_LOOPBACK_INTERNAL_H

#include "transports/loopback.h"

#define LOOP_UNIT_MAX	1048576
#define LOOP_HIGH_WATER (4u << 20)
#define LOOP_LOW_WATER	(1u << 20)
#define LOOP_FLUSH_MS	5000  /* what close() waits for a far side that does not read */
#define LOOP_DIAL_MS	10000 /* a dial that fate lost */
#define LOOP_LINKS_MAX	65536

struct loop_flight {
	struct loop_flight *next;
	uint64_t at_ms, seq;
	size_t counted; /* bytes of the sender's queue that this holds */
	bool text, marker;
	size_t n;
	uint8_t data[];
};

enum loop_half_state { HALF_DIALLING, HALF_OPEN, HALF_CLOSING };

struct loop_endpoint;

struct loop_half {
	struct loop_endpoint *owner;
	struct loop_half *prev, *next; /* in the owner's list */
	struct loop_half *peer;	       /* NULL: gone, or not yet there */
	struct link_info info;
	enum loop_half_state state;
	struct timer rx, events, flush;
	struct loop_flight *inbox, *inbox_last; /* last: valid while inbox is not empty */
	uint64_t last_at_ms; /* what goes to the peer in order arrives no earlier */
	size_t queued;	     /* sent by this half, not yet taken by the peer */
	bool paused, want_writable;
	bool ev_dial, ev_opened, ev_writable, ev_end;
	bool was_opened;
	enum link_end why;
	const char *detail;
};

struct loop_endpoint {
	struct transport t;
	struct loopnet *net;
	struct loop_endpoint *prev, *next;
	struct transport_sink sink;
	char address[LINK_ADDRESS_MAX + 1];
	struct loop_half *halves;
	struct map *by_id;
	struct transport_stats stats;
	struct timer stop_timer;
	bool stopping, dead;
	void (*done)(void *);
	void *done_ctx;
};

struct loop_wire {
	struct loop_half *to;
	uint64_t at_ms;
};

struct loopnet {
	struct env *env;
	struct loop_endpoint *endpoints;
	uint64_t last_id, last_seq;
	struct loop_half
		*running; /* whose callbacks are being called; NULL when that half went away */
	struct loop_fate (*fate)(void *, const char *, const char *, struct bytes);
	void *fate_ctx;
	bool (*adversary)(void *, struct loop_wire *, const char *, const char *, struct bytes, bool);
	void *adversary_ctx;
	void (*tap)(void *, struct bytes);
	void *tap_ctx;
};

struct loop_half *loop_half_new(struct loop_endpoint *e, bool dialled,
				const char *address); /* NULL: no room */
void loop_half_free(struct loop_half *h);	      /* tells nobody */
/* `closed` follows after delay_ms; the first end counts. */
void loop_half_end(struct loop_half *h, enum link_end why, const char *detail, uint64_t delay_ms);
void loop_half_close(struct loop_half *h); /* flushes first */
void loop_half_pause(struct loop_half *h, bool paused);
/* What is under way arrives at `to`; `counted` bytes stay in the sender's queue until then. */
enum err loop_half_post(struct loop_half *to, struct bytes unit, bool text, uint64_t at_ms,
			size_t counted);

#endif
