#include "daemon/loop.h"

#include <sodium.h>
#include <time.h>

#include "base/log.h"
#include "base/secret.h"

static uint64_t now_ms(void *ctx)
{
	return uv_hrtime() / 1000000;
}

static uint64_t wall_ms(void *ctx)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/*
 * Each call of libsodium is one of the system, several a message. What is small (nonces, ids, the spread of a
 * timer) comes from a pool of this thread, and is wiped there as it is taken; keys do not pass it. The key
 * process is forked before the first byte is taken, and nothing after it: no two processes share a pool.
 */
#define POOL_BYTES 1024
#define POOL_TAKES 24 /* at most, of one call: the longest nonce */

static void fill_random(void *ctx, void *out, size_t n)
{
	static _Thread_local uint8_t pool[POOL_BYTES];
	static _Thread_local size_t left;

	if (n > POOL_TAKES) {
		randombytes_buf(out, n);
		return;
	}
	if (left < n) {
		randombytes_buf(pool, sizeof pool);
		left = sizeof pool;
	}
	left -= n;
	memcpy(out, pool + left, n);
	wipe(pool + left, n);
}

void env_of_system(struct env *e)
{
	*e = (struct env){ .now_ms = now_ms, .wall_ms = wall_ms, .random = fill_random };
}

static void timer_rings(uv_timer_t *t)
{
	struct loop *l = t->data;

	timers_run(&l->env);
}

/*
 * The clock of uv_timer is the same monotonic clock, read once per round: it may be behind now_ms()
 * but never ahead. Counting the delay from uv_now() makes the timer ring at the deadline or later, so
 * a ring always finds something due.
 */
static void rearm(void *ctx)
{
	struct loop *l = ctx;
	uint64_t next = timers_next(&l->env), now = uv_now(&l->uv);

	if (uv_is_closing((uv_handle_t *)&l->timer))
		return;
	if (next == UINT64_MAX)
		uv_timer_stop(&l->timer);
	else
		uv_timer_start(&l->timer, timer_rings, next > now ? next - now : 0, 0);
}

static void stay_awake(uv_idle_t *idle)
{
	/* Its presence is what keeps the loop from sleeping. */
}

static void turn(struct loop *l)
{
	bool more = l->turn(l->ctx);

	if (uv_is_closing((uv_handle_t *)&l->awake))
		return;
	if (more)
		uv_idle_start(&l->awake, stay_awake);
	else
		uv_idle_stop(&l->awake);
}

/* When a turn is due anyway after the coming poll, which will not sleep, it sees more there. */
static void before_sleep(uv_prepare_t *p)
{
	struct loop *l = p->data;

	if (!uv_is_active((uv_handle_t *)&l->awake))
		turn(l);
}

static void after_input(uv_check_t *c)
{
	turn(c->data);
}

enum err loop_init(struct loop *l, bool (*turn_fn)(void *ctx), void *ctx)
{
	*l = (struct loop){ .turn = turn_fn, .ctx = ctx };
	if (uv_loop_init(&l->uv) != 0)
		return ERR_FULL;
	env_of_system(&l->env);
	l->env.ctx = l;
	l->env.rearm = rearm;
	uv_timer_init(&l->uv, &l->timer);
	uv_prepare_init(&l->uv, &l->before_sleep);
	uv_check_init(&l->uv, &l->after_input);
	uv_idle_init(&l->uv, &l->awake);
	l->timer.data = l->before_sleep.data = l->after_input.data = l->awake.data = l;
	return ERR_OK;
}

void loop_run(struct loop *l)
{
	/* Of several prepare handles the one started last runs first: what a turn answers there is
	 * then written by those of others, before the loop sleeps. */
	if (!uv_is_closing((uv_handle_t *)&l->before_sleep)) {
		uv_prepare_start(&l->before_sleep, before_sleep);
		uv_check_start(&l->after_input, after_input);
	}
	uv_run(&l->uv, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *l)
{
	if (uv_is_closing((uv_handle_t *)&l->timer))
		return;
	uv_close((uv_handle_t *)&l->timer, NULL);
	uv_close((uv_handle_t *)&l->before_sleep, NULL);
	uv_close((uv_handle_t *)&l->after_input, NULL);
	uv_close((uv_handle_t *)&l->awake, NULL);
}

static void name_handle(uv_handle_t *h, void *arg)
{
	log_error("handle-left type=%s", uv_handle_type_name(h->type));
}

void loop_fini(struct loop *l)
{
	timers_fini(&l->env);
	if (uv_loop_close(&l->uv) == 0)
		return;
	uv_walk(&l->uv, name_handle, NULL);
	BUG_ON(true);
}
