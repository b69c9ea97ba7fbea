/*
 * loopback.h -- the reference transport: links between endpoints of one process, driven by env timers.
 *
 * A `struct loopnet` is the medium. It can be unkind on purpose: each unit asks `fate`, which may
 * drop the link, delay a unit, duplicate or reorder it. With fate NULL it is perfect and ordered.
 * The simulator runs many nodes over one loopnet.
 */
#ifndef TRANSPORTS_LOOPBACK_H
#define TRANSPORTS_LOOPBACK_H

#include "base/env.h"
#include "transports/transport.h"

struct loopnet;

struct loop_fate {
	uint64_t delay_ms;  /* added before delivery */
	unsigned copies;    /* 0 = lost, 1 = normal, 2 = duplicated */
	bool reorder;       /* may overtake what is in flight on this link */
	bool cut;           /* the link breaks instead */
};

struct loopnet *loopnet_new(struct env *env); /* NULL without memory */
void loopnet_free(struct loopnet *n);	      /* and every endpoint that is still there */
/* Decides per unit; may be NULL. Also asked with unit.n == 0 for a dial: cut = refuse, no copies =
 * LINK_END_TIMEOUT after 10 s. What a cut link had under way is lost. */
void loopnet_set_fate(struct loopnet *n,
		      struct loop_fate (*fate)(void *ctx, const char *from, const char *to, struct bytes unit),
		      void *ctx);
/* Sees every unit as it goes over the wire (leak checks); may be NULL. */
void loopnet_set_tap(struct loopnet *n, void (*tap)(void *ctx, struct bytes unit), void *ctx);

/* Somebody on the way: sees each unit that is about to be under way and may put others there, before it, with
 * loopnet_inject(). True: the unit itself goes no further. `wire` lives during the call. May be NULL. */
struct loop_wire;
void loopnet_set_adversary(struct loopnet *n,
			   bool (*fn)(void *ctx, struct loop_wire *wire, const char *from, const char *to,
				      struct bytes unit, bool text),
			   void *ctx);
enum err loopnet_inject(struct loop_wire *wire, struct bytes unit, bool text) MUST_CHECK;

/* An endpoint at `address` ("n1"); dialling that text from another endpoint reaches it. ERR_EXISTS
 * while another one has that address. */
enum err loopback_new(struct loopnet *n, const char *address, const struct transport_sink *sink,
		      struct transport **out) MUST_CHECK;
/* A crash: the endpoint vanishes without callbacks to its own sink; the far ends see LINK_END_IO and
 * lose what was under way. Its address is free at once; every operation answers ERR_CLOSED.
 * tp_free() is still due (also without tp_stop() before). */
void loopback_kill(struct transport *t);

#endif
