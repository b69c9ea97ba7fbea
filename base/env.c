#include "base/env.h"

#include <stdlib.h>

uint64_t env_uniform(struct env *e, uint64_t below)
{
	uint64_t v, reject;

	if (below == 0)
		return 0;
	reject = -below % below; /* 2^64 mod below: values under it would be drawn once too often */
	do
		env_random(e, &v, sizeof(v));
	while (v < reject);
	return v % below;
}

/* Equal deadlines run in the order they were armed. */
static bool before(const struct timer *a, const struct timer *b)
{
	return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->seq < b->seq;
}

static void place(struct timers *q, size_t i, struct timer *t)
{
	q->heap[i] = t;
	t->slot = i + 1;
}

static void sift_up(struct timers *q, size_t i, struct timer *t)
{
	while (i > 0 && before(t, q->heap[(i - 1) / 2])) {
		place(q, i, q->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	place(q, i, t);
}

static void sift_down(struct timers *q, size_t i, struct timer *t)
{
	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= q->n)
			break;
		if (child + 1 < q->n && before(q->heap[child + 1], q->heap[child]))
			child++;
		if (!before(q->heap[child], t))
			break;
		place(q, i, q->heap[child]);
		i = child;
	}
	place(q, i, t);
}

static void settle(struct timers *q, size_t i, struct timer *t)
{
	if (i > 0 && before(t, q->heap[(i - 1) / 2]))
		sift_up(q, i, t);
	else
		sift_down(q, i, t);
}

static void take_out(struct timers *q, struct timer *t)
{
	size_t i = t->slot - 1;
	struct timer *last = q->heap[--q->n];

	t->slot = 0;
	if (last != t)
		settle(q, i, last);
}

static void tell(struct env *e, uint64_t was)
{
	if (e->rearm && !e->timers.running && timers_next(e) != was)
		e->rearm(e->ctx);
}

void timer_init(struct timer *t, timer_fn fn, void *ctx)
{
	*t = (struct timer){.fn = fn, .ctx = ctx};
}

void timer_at(struct env *e, struct timer *t, uint64_t at_ms)
{
	struct timers *q = &e->timers;
	uint64_t was = timers_next(e);

	/* Whatever a callback arms for the past sorts behind all that was due before it, so that
	 * timers_run() can stop at the first timer armed during the run. */
	if (q->running && at_ms < q->run_ms)
		at_ms = q->run_ms;
	t->at_ms = at_ms;
	t->seq = ++q->seq;
	if (t->slot) {
		settle(q, t->slot - 1, t);
	} else {
		if (q->n == q->cap) {
			size_t cap = q->cap ? q->cap * 2 : 64;
			struct timer **heap = realloc(q->heap, cap * sizeof(struct timer *));

			BUG_ON(!heap);
			q->heap = heap;
			q->cap = cap;
		}
		q->n++;
		sift_up(q, q->n - 1, t);
	}
	tell(e, was);
}

void timer_in(struct env *e, struct timer *t, uint64_t delay_ms)
{
	uint64_t now_ms = env_now(e);

	timer_at(e, t, delay_ms > UINT64_MAX - now_ms ? UINT64_MAX : now_ms + delay_ms);
}

void timer_stop(struct env *e, struct timer *t)
{
	uint64_t was = timers_next(e);

	if (!t->slot)
		return;
	take_out(&e->timers, t);
	tell(e, was);
}

uint64_t timers_next(const struct env *e)
{
	return e->timers.n ? e->timers.heap[0]->at_ms : UINT64_MAX;
}

size_t timers_run(struct env *e)
{
	struct timers *q = &e->timers;
	uint64_t last = q->seq;
	size_t ran = 0;

	BUG_ON(q->running);
	q->run_ms = env_now(e);
	q->running = true;
	while (q->n && q->heap[0]->at_ms <= q->run_ms && q->heap[0]->seq <= last) {
		struct timer *t = q->heap[0];

		take_out(q, t);
		ran++;
		t->fn(t->ctx); /* may free t */
	}
	q->running = false;
	/* Always: a one-shot wake-up of the loop is spent by now. */
	if (e->rearm)
		e->rearm(e->ctx);
	return ran;
}

void timers_fini(struct env *e)
{
	for (size_t i = 0; i < e->timers.n; i++)
		e->timers.heap[i]->slot = 0;
	free(e->timers.heap);
	e->timers = (struct timers){0};
}
