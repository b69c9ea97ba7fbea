#include "store/waiting_internal.h"

#include <stdlib.h>

enum err waiting_init(struct waiting *w, struct env *env)
{
	struct map_opts o = {
		.capacity = COUNT_PEERS_MAX,
		.value_size = sizeof(struct out_peer *),
		.policy = MAP_REFUSE,
	};

	*w = (struct waiting){0};
	env_random(env, o.hash_key, sizeof(o.hash_key));
	w->peers = map_new(&o);
	return w->peers ? ERR_OK : ERR_NOMEM;
}

static void era_free(struct out_era *e)
{
	sorted_fini(&e->open);
	free(e);
}

static bool peer_free(void *ctx, struct bytes key, void *value)
{
	struct out_peer *p = *(struct out_peer **)value;

	for (unsigned i = 0; i < p->eras_n; i++)
		era_free(p->eras[i]);
	for (unsigned i = 0; i < OUTBOX_PRIORITIES; i++)
		sorted_fini(&p->queue[i]);
	free(p);
	return false;
}

void waiting_fini(struct waiting *w)
{
	if (w->peers)
		map_each(w->peers, peer_free, NULL);
	map_free(w->peers);
	free(w->journal);
	free(w->touched);
	for (unsigned i = 0; i < CLOCKS; i++)
		free(w->heap[i].x);
	*w = (struct waiting){0};
}

struct out_peer *waiting_peer(const struct waiting *w, const uint8_t peer[static PEER_BLOB_BYTES])
{
	struct out_peer **p = map_peek(w->peers, bytes_of(peer, PEER_BLOB_BYTES));

	return p ? *p : NULL;
}

static enum err peer_new(struct waiting *w, const uint8_t peer[static PEER_BLOB_BYTES],
			 struct out_peer **out)
{
	struct out_peer *p = calloc(1, sizeof(*p));
	void *value;
	bool created;

	if (!p)
		return ERR_NOMEM;
	memcpy(p->peer, peer, PEER_BLOB_BYTES);
	for (unsigned i = 0; i < OUTBOX_PRIORITIES; i++)
		sorted_init(&p->queue[i], sizeof(struct out_wait));
	enum err e = map_put(w->peers, bytes_of(peer, PEER_BLOB_BYTES), 0, &value, &created);
	if (e != ERR_OK) {
		free(p);
		return e;
	}
	*(struct out_peer **)value = *out = p;
	return ERR_OK;
}

/* Room for `more` elements behind the `n` that are there. */
static enum err room(void *array, size_t *cap, size_t n, size_t more, size_t size)
{
	void **at = array, *p;
	size_t want = *cap ? *cap : 128;

	if (n + more <= *cap)
		return ERR_OK;
	while (want < n + more)
		want *= 2;
	p = reallocarray(*at, want, size);
	if (!p)
		return ERR_NOMEM;
	*at = p;
	*cap = want;
	return ERR_OK;
}

enum err waiting_reserve_del(struct waiting *w)
{
	return room(&w->journal, &w->journal_cap, w->journal_n, 1, sizeof(*w->journal));
}

enum err waiting_reserve(struct waiting *w, const uint8_t peer[static PEER_BLOB_BYTES], uint8_t rank,
			 struct out_peer **out)
{
	struct out_peer *p = waiting_peer(w, peer);
	enum err e = p ? ERR_OK : peer_new(w, peer, &p);

	if (e == ERR_OK)
		e = sorted_reserve(&p->queue[rank], 1);
	if (e == ERR_OK)
		e = room(&w->journal, &w->journal_cap, w->journal_n, 2, sizeof(*w->journal));
	for (unsigned i = 0; i < CLOCKS && e == ERR_OK; i++)
		e = room(&w->heap[i].x, &w->heap[i].cap, w->heap[i].n, 1, sizeof(struct out_expiry));
	if (e == ERR_OK)
		*out = p;
	return e;
}

/* --- expiry: a binary heap, the earliest on top -------------------------------------------------------- */
static void sift_up(struct out_expiry *h, size_t i)
{
	struct out_expiry x = h[i];

	while (i && h[(i - 1) / 2].at > x.at) {
		h[i] = h[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	h[i] = x;
}

static void pop(struct out_heap *heap)
{
	struct out_expiry *h = heap->x, x = h[--heap->n];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < heap->n) {
		if (child + 1 < heap->n && h[child + 1].at < h[child].at)
			child++;
		if (h[child].at >= x.at)
			break;
		h[i] = h[child];
		i = child;
	}
	h[i] = x;
}

static void push(struct waiting *w, struct out_peer *p, uint8_t rank, const struct out_wait *x)
{
	struct out_heap *h = &w->heap[x->expires & OUTBOX_RUNNING ? BY_RUNNING : BY_WALL];

	if (!x->expires)
		return;
	BUG_ON(h->n == h->cap);
	h->x[h->n] = (struct out_expiry){.at = x->expires, .row = x->row, .peer = p, .rank = rank};
	sift_up(h->x, h->n++);
}

static bool push_all(void *ctx, struct bytes key, void *value)
{
	struct waiting *w = ctx;
	struct out_peer *p = *(struct out_peer **)value;

	for (uint8_t rank = 0; rank < OUTBOX_PRIORITIES; rank++)
		for (size_t i = 0; i < p->queue[rank].n; i++)
			push(w, p, rank, sorted_at(&p->queue[rank], i));
	return true;
}

/* After a rollback entries may be missing, and after many rows that ended in time most are of no use. */
static enum err heap_ready(struct waiting *w)
{
	if (!w->heap_lost && w->heap[BY_WALL].n + w->heap[BY_RUNNING].n <= 2 * w->n + 1024)
		return ERR_OK;
	for (unsigned i = 0; i < CLOCKS; i++) {
		enum err e = room(&w->heap[i].x, &w->heap[i].cap, 0, w->n, sizeof(struct out_expiry));
		if (e != ERR_OK)
			return e;
	}
	w->heap[BY_WALL].n = w->heap[BY_RUNNING].n = 0;
	w->heap_lost = false;
	map_each(w->peers, push_all, w);
	return ERR_OK;
}

/* The top is a row that still waits under this expiry, or there is none. */
static bool settle_top(struct out_heap *h)
{
	while (h->n) {
		const struct out_expiry *x = &h->x[0];
		const struct out_wait *wait = sorted_get(&x->peer->queue[x->rank], x->row);
		if (wait && wait->expires == x->at)
			return true;
		pop(h);
	}
	return false;
}

enum err waiting_next_expiry(struct waiting *w, unsigned clock, uint64_t *at)
{
	enum err e = heap_ready(w);

	if (e == ERR_OK)
		*at = settle_top(&w->heap[clock]) ? w->heap[clock].x[0].at : UINT64_MAX;
	return e;
}

enum err waiting_pop_expired(struct waiting *w, unsigned clock, uint64_t now, struct out_expiry *out,
			     bool *found)
{
	struct out_heap *h = &w->heap[clock];
	enum err e = heap_ready(w);

	if (e != ERR_OK)
		return e;
	*found = settle_top(h) && h->x[0].at <= now;
	if (*found) {
		*out = h->x[0];
		pop(h);
	}
	return ERR_OK;
}

/* --- rows ------------------------------------------------------------------------------------------------ */
static void insert(struct waiting *w, struct out_peer *p, uint8_t rank, const struct out_wait *x)
{
	struct out_wait *at = sorted_insert(&p->queue[rank], x->row);

	*at = *x;
	w->n++;
}

static void take(struct waiting *w, struct out_peer *p, uint8_t rank, uint64_t row)
{
	sorted_take(&p->queue[rank], sorted_floor(&p->queue[rank], row));
	w->n--;
}

static void finish(struct out_era *e, uint64_t seq)
{
	size_t i = sorted_floor(&e->open, seq);

	BUG_ON(i == e->open.n);
	sorted_take(&e->open, i);
}

void waiting_add(struct waiting *w, struct out_peer *p, uint8_t rank, const struct out_wait *x)
{
	BUG_ON(w->journal_n == w->journal_cap);
	w->journal[w->journal_n++] =
		(struct out_change){.peer = p, .wait = *x, .rank = rank, .added = true};
	insert(w, p, rank, x);
	push(w, p, rank, x);
	if (x->era) {
		struct out_open *o = sorted_insert(&x->era->open, x->seq);
		o->row = (int64_t)x->row;
		o->rank = rank;
	}
}

bool waiting_del(struct waiting *w, struct out_peer *p, uint8_t rank, int64_t row)
{
	const struct out_wait *x = sorted_get(&p->queue[rank], (uint64_t)row);

	/* Whoever changed the rank in the file did not move the row here. */
	for (uint8_t i = 0; !x && i < OUTBOX_PRIORITIES; i++)
		if ((x = sorted_get(&p->queue[i], (uint64_t)row)))
			rank = i;
	if (!x)
		return false;
	BUG_ON(w->journal_n == w->journal_cap);
	w->journal[w->journal_n++] = (struct out_change){.peer = p, .wait = *x, .rank = rank};
	take(w, p, rank, (uint64_t)row);
	return true;
}

void waiting_commit(struct waiting *w)
{
	for (size_t i = 0; i < w->journal_n; i++) {
		const struct out_change *c = &w->journal[i];
		if (c->added)
			continue;
		if (c->wait.era) {
			finish(c->wait.era, c->wait.seq);
			sorted_trim(&c->wait.era->open);
		}
		sorted_trim(&c->peer->queue[c->rank]);
	}
	w->journal_n = 0;
	for (size_t i = 0; i < w->touched_n; i++) {
		w->touched[i]->kept_reserved = w->touched[i]->reserved;
		w->touched[i]->touched = false;
	}
	w->touched_n = 0;
	w->kept_floor = w->floor;
}

void waiting_rollback(struct waiting *w)
{
	while (w->journal_n) {
		const struct out_change *c = &w->journal[--w->journal_n];
		if (c->added) {
			take(w, c->peer, c->rank, c->wait.row);
			if (c->wait.era)
				finish(c->wait.era, c->wait.seq);
		} else {
			insert(w, c->peer, c->rank, &c->wait);
		}
		w->heap_lost = true;
	}
	for (size_t i = 0; i < w->touched_n; i++) {
		w->touched[i]->reserved = w->touched[i]->kept_reserved;
		w->touched[i]->touched = false;
	}
	w->touched_n = 0;
	w->floor = w->kept_floor;
}

/* --- eras ------------------------------------------------------------------------------------------------ */
struct out_era *waiting_era(const struct out_peer *p, const uint8_t era[static OUTBOX_ERA_BYTES])
{
	for (unsigned i = p->eras_n; i-- > 0;)
		if (memcmp(p->eras[i]->era, era, OUTBOX_ERA_BYTES) == 0)
			return p->eras[i];
	return NULL;
}

struct out_era *waiting_current(const struct waiting *w, const struct out_peer *p)
{
	struct out_era *e = p->eras_n ? p->eras[p->eras_n - 1] : NULL;

	return e && e->born > w->floor ? e : NULL;
}

/* The oldest whose last mark was told, or else the oldest that has nothing unfinished. */
static bool victim(const struct out_peer *p, unsigned *at)
{
	bool found = false;

	for (unsigned i = 0; i < p->eras_n; i++) {
		const struct out_era *e = p->eras[i];
		if (e->open.n || e->touched)
			continue;
		if (e->done || !found)
			*at = i;
		found = true;
		if (e->done)
			break;
	}
	return found;
}

enum err waiting_era_new(struct waiting *w, struct out_peer *p, struct env *env, struct out_era **out,
			 uint8_t gone[static OUTBOX_ERA_BYTES], bool *evicted)
{
	bool full = p->eras_n == OUTBOX_ERAS_MAX;
	unsigned at = 0;

	if (full && !victim(p, &at))
		return ERR_FULL;
	struct out_era *e = calloc(1, sizeof(*e));
	if (!e)
		return ERR_NOMEM;
	sorted_init(&e->open, sizeof(struct out_open));
	do
		env_random(env, e->era, sizeof(e->era));
	while (waiting_era(p, e->era));
	e->born = ++w->born;
	e->next = 1;
	if (full) {
		memcpy(gone, p->eras[at]->era, OUTBOX_ERA_BYTES);
		era_free(p->eras[at]);
		memmove(&p->eras[at], &p->eras[at + 1], (--p->eras_n - at) * sizeof(p->eras[0]));
	}
	*evicted = full;
	p->eras[p->eras_n++] = *out = e;
	return ERR_OK;
}

enum err waiting_touch(struct waiting *w, struct out_era *e)
{
	if (e->touched)
		return ERR_OK;
	enum err err = room(&w->touched, &w->touched_cap, w->touched_n, 1, sizeof(struct out_era *));
	if (err != ERR_OK)
		return err;
	w->touched[w->touched_n++] = e;
	e->touched = true;
	return ERR_OK;
}
