/*
 * env.h -- time, chance and timers, injected.
 *
 * The core never asks the system: it asks its `struct env`. The daemon fills it from libuv and
 * libsodium (daemon/loop.c), the simulator from a seed. `now_ms` is monotonic; `wall_ms` is Unix
 * time for people, disk and the 0.9 wire. Timers are one-shot and owned by the caller: embed a
 * `struct timer`, and stop it before its memory goes.
 */
#ifndef BASE_ENV_H
#define BASE_ENV_H

#include "base/wire.h"

struct timer;
typedef void (*timer_fn)(void *ctx);

struct timer {
	timer_fn fn;
	void *ctx;
	uint64_t at_ms; /* monotonic */
	uint64_t seq;   /* order of arming, among equal deadlines */
	size_t slot;    /* heap position + 1; 0 = not armed */
};

/* A binary heap of timers; the loop asks for the next deadline and runs what is due. */
struct timers {
	struct timer **heap;
	size_t n, cap;
	uint64_t seq;
	uint64_t run_ms; /* the now of the run in progress */
	bool running;
};

struct env {
	void *ctx;
	uint64_t (*now_ms)(void *ctx);
	uint64_t (*wall_ms)(void *ctx);
	void (*random)(void *ctx, void *out, size_t n);
	struct timers timers;
	/* The earliest deadline may have changed: ask timers_next(). Not called from inside
	 * timers_run(), but always at its end. May be NULL. */
	void (*rearm)(void *ctx);
};

static inline uint64_t env_now(struct env *e) { return e->now_ms(e->ctx); }
static inline uint64_t env_wall(struct env *e) { return e->wall_ms(e->ctx); }
static inline void env_random(struct env *e, void *out, size_t n) { e->random(e->ctx, out, n); }
uint64_t env_uniform(struct env *e, uint64_t below); /* unbiased; 0 when below == 0 */

void timer_init(struct timer *t, timer_fn fn, void *ctx);
/* (Re)arms for `at_ms`. An allocation failure of the heap is BUG-level: it dies. */
void timer_at(struct env *e, struct timer *t, uint64_t at_ms);
void timer_in(struct env *e, struct timer *t, uint64_t delay_ms);
void timer_stop(struct env *e, struct timer *t); /* safe when not armed */
static inline bool timer_armed(const struct timer *t) { return t->slot != 0; }
/* UINT64_MAX when none is armed. */
uint64_t timers_next(const struct env *e);
/* Runs everything due at now, by deadline, then in the order of arming. Callbacks may arm, stop
 * and free any timer, their own too; what they arm runs in a later call, even when it is due already.
 * Returns how many ran. Not to be called from a callback. */
size_t timers_run(struct env *e);
void timers_fini(struct env *e);

#endif
