/*
 * loop.h -- one libuv loop, and the `struct env` that the core sees of it.
 *
 * All timers of the core hang on one uv_timer. A turn of the owner runs after the input of each
 * round of the loop and again before the loop sleeps, so that what timers and closing handles caused
 * is not left waiting. While the owner says that it wants another turn, the loop does not sleep.
 */
#ifndef DAEMON_LOOP_H
#define DAEMON_LOOP_H

#include <uv.h>

#include "base/env.h"

struct loop {
	uv_loop_t uv;
	struct env env;
	uv_timer_t timer;
	uv_prepare_t before_sleep;
	uv_check_t after_input;
	uv_idle_t awake;
	bool (*turn)(void *ctx); /* true: wants another one */
	void *ctx;
};

/* `turn` is called for the first time when the loop runs. ERR_NOMEM, ERR_FULL. */
enum err loop_init(struct loop *l, bool (*turn)(void *ctx), void *ctx) MUST_CHECK;
/* Runs until loop_stop() and until every other handle is closed. */
void loop_run(struct loop *l);
/* Closes the handles of the loop itself. No turn comes after it. */
void loop_stop(struct loop *l);
/* After loop_run(). BUG when a handle is left. Timers must be stopped by their owners before. */
void loop_fini(struct loop *l);

/* The same clocks and chance without a loop, for work on the home folder. No timers. */
void env_of_system(struct env *e);

#endif
