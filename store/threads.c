#include "store/threads.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/text.h"
#include "store/inbox_internal.h"
#include "store/outbox_internal.h"

/* --- the table ------------------------------------------------------------------------------------------- */
enum err threads_init(struct threads *t, struct env *env)
{
	struct map_opts o = {
		.capacity = COUNT_PEERS_MAX,
		.value_size = sizeof(struct thread *),
		.policy = MAP_REFUSE,
	};

	*t = (struct threads){0};
	env_random(env, o.hash_key, sizeof(o.hash_key));
	t->peers = map_new(&o);
	return t->peers ? ERR_OK : ERR_NOMEM;
}

static void thread_free(struct thread *th)
{
	for (int i = 0; i < BOXES; i++)
		sorted_fini(&th->rows[i]);
	free(th);
}

static bool free_one(void *ctx, struct bytes key, void *value)
{
	thread_free(*(struct thread **)value);
	return false;
}

void threads_fini(struct threads *t)
{
	if (t->peers)
		map_each(t->peers, free_one, NULL);
	map_free(t->peers);
	free(t->journal);
	*t = (struct threads){0};
}

static struct bytes key_of(const uint8_t peer[static PEER_BLOB_BYTES])
{
	return bytes_of(peer, PEER_BLOB_BYTES);
}

struct thread *threads_find(const struct threads *t, const uint8_t peer[static PEER_BLOB_BYTES])
{
	struct thread **th = map_peek(t->peers, key_of(peer));

	return th ? *th : NULL;
}

static enum err make(struct threads *t, const uint8_t peer[static PEER_BLOB_BYTES], struct thread **out)
{
	struct thread *th = calloc(1, sizeof(*th));
	void *value;
	bool created;

	if (!th)
		return ERR_NOMEM;
	memcpy(th->peer, peer, PEER_BLOB_BYTES);
	for (int i = 0; i < BOXES; i++)
		sorted_init(&th->rows[i], sizeof(uint64_t));
	enum err e = map_put(t->peers, key_of(peer), 0, &value, &created);
	if (e != ERR_OK) {
		free(th);
		return e;
	}
	*(struct thread **)value = *out = th;
	return ERR_OK;
}

const struct sorted *threads_rows(const struct threads *t, const uint8_t peer[static PEER_BLOB_BYTES], enum box box)
{
	const struct thread *th = threads_find(t, peer);

	return th ? &th->rows[box] : NULL;
}

enum err threads_reserve_gone(struct threads *t)
{
	size_t cap = t->journal_cap ? t->journal_cap * 2 : 128;
	struct thread_change *j;

	if (t->journal_n + 2 <= t->journal_cap)
		return ERR_OK;
	j = reallocarray(t->journal, cap, sizeof(*j));
	if (!j)
		return ERR_NOMEM;
	t->journal = j;
	t->journal_cap = cap;
	return ERR_OK;
}

enum err threads_reserve(struct threads *t, const uint8_t peer[static PEER_BLOB_BYTES], enum box box, struct thread **out)
{
	struct thread *th = threads_find(t, peer);
	enum err e = th ? ERR_OK : make(t, peer, &th);

	if (e == ERR_OK)
		e = sorted_reserve(&th->rows[box], 1);
	if (e == ERR_OK)
		e = threads_reserve_gone(t);
	if (e == ERR_OK)
		*out = th;
	return e;
}

void threads_add(struct threads *t, struct thread *th, enum box box, int64_t row, uint64_t at_ms)
{
	BUG_ON(t->journal_n == t->journal_cap);
	t->journal[t->journal_n++] = (struct thread_change){
		.thread = th, .row = (uint64_t)row, .was_ms = th->last_ms[box], .box = (uint8_t)box};
	sorted_insert(&th->rows[box], (uint64_t)row);
	if (at_ms > th->last_ms[box])
		th->last_ms[box] = at_ms;
}

void threads_gone(struct threads *t, const uint8_t peer[static PEER_BLOB_BYTES], enum box box, int64_t row)
{
	struct thread *th = threads_find(t, peer);

	if (!th)
		return;
	BUG_ON(t->journal_n == t->journal_cap);
	t->journal[t->journal_n++] =
		(struct thread_change){.thread = th, .row = (uint64_t)row, .box = (uint8_t)box, .gone = true};
}

static void take(struct thread *th, enum box box, uint64_t row)
{
	if (sorted_get(&th->rows[box], row))
		sorted_take(&th->rows[box], sorted_floor(&th->rows[box], row));
}

void threads_commit(struct threads *t)
{
	for (size_t i = 0; i < t->journal_n; i++) {
		const struct thread_change *c = &t->journal[i];
		if (!c->gone)
			continue;
		take(c->thread, c->box, c->row);
		sorted_trim(&c->thread->rows[c->box]);
	}
	for (size_t i = 0; i < t->journal_n; i++) {
		struct thread *th = t->journal[i].thread;
		if (!t->journal[i].gone || th->rows[BOX_OUT].n || th->rows[BOX_IN].n)
			continue;
		for (size_t k = i; k < t->journal_n; k++) /* it is freed once */
			if (t->journal[k].thread == th && k != i)
				t->journal[k].gone = false;
		map_del(t->peers, key_of(th->peer));
		thread_free(th);
	}
	t->journal_n = 0;
}

void threads_rollback(struct threads *t)
{
	while (t->journal_n) {
		const struct thread_change *c = &t->journal[--t->journal_n];
		if (c->gone)
			continue;
		take(c->thread, c->box, c->row);
		c->thread->last_ms[c->box] = c->was_ms;
	}
}

/* --- heads ----------------------------------------------------------------------------------------------- */
static bool empty(const struct thread *th)
{
	return !th->rows[BOX_OUT].n && !th->rows[BOX_IN].n;
}

static uint64_t last_of(const struct thread *th)
{
	return th->last_ms[BOX_OUT] > th->last_ms[BOX_IN] ? th->last_ms[BOX_OUT] : th->last_ms[BOX_IN];
}

static void fill_head(const struct store *s, const struct thread *th, struct thread_head *h)
{
	const struct sorted *out = &th->rows[BOX_OUT], *in = &th->rows[BOX_IN], *last;

	*h = (struct thread_head){.last_ms = last_of(th), .out = out->n, .in = in->n};
	hex_encode(BYTES_ARR(th->peer), h->peer.hex);
	h->last_is_out = !in->n || (out->n && th->last_ms[BOX_OUT] > th->last_ms[BOX_IN]);
	last = h->last_is_out ? out : in;
	h->last_seq = last->n ? (int64_t)*(const uint64_t *)sorted_at(last, last->n - 1) : 0;
	const struct count_row *counts = counts_row(&s->counts, th->peer);
	for (unsigned i = 0; counts && i < OUTBOX_STATES; i++)
		h->out_states[i] = counts->n[BOX_OUT][i];
	for (unsigned i = 0; counts && i < INBOX_STATES; i++)
		h->in_states[i] = counts->n[BOX_IN][i];
}

enum err thread_head(struct store *s, const struct node_id *peer, struct thread_head *out)
{
	uint8_t blob[PEER_BLOB_BYTES];
	const struct thread *th;

	if (peer_blob(peer, blob) != ERR_OK)
		return ERR_MALFORMED;
	th = threads_find(&s->threads, blob);
	if (!th || empty(th))
		return ERR_NOTFOUND;
	fill_head(s, th, out);
	return ERR_OK;
}

struct visit {
	const struct store *s;
	bool (*fn)(void *ctx, const struct thread_head *h);
	void *ctx;
	bool over;
};

static bool visit_one(void *ctx, struct bytes key, void *value)
{
	const struct thread *th = *(struct thread **)value;
	struct visit *v = ctx;
	struct thread_head h;

	if (v->over || empty(th))
		return true;
	fill_head(v->s, th, &h);
	v->over = !v->fn(v->ctx, &h);
	return true;
}

void thread_each(struct store *s, bool (*fn)(void *ctx, const struct thread_head *h), void *ctx)
{
	struct visit v = {.s = s, .fn = fn, .ctx = ctx};

	map_each(s->threads.peers, visit_one, &v);
}

struct pick {
	const struct thread **list;
	size_t n, total;
	uint64_t before_ms;
	const uint8_t *before;
};

/* By time, then by id, both falling. */
static int order(uint64_t a_ms, const uint8_t *a, uint64_t b_ms, const uint8_t *b)
{
	return a_ms != b_ms ? (a_ms < b_ms ? 1 : -1) : memcmp(b, a, PEER_BLOB_BYTES);
}

static int newest_first(const void *a, const void *b)
{
	const struct thread *x = *(const struct thread *const *)a, *y = *(const struct thread *const *)b;

	return order(last_of(x), x->peer, last_of(y), y->peer);
}

static bool pick_one(void *ctx, struct bytes key, void *value)
{
	const struct thread *th = *(struct thread **)value;
	struct pick *p = ctx;

	if (empty(th))
		return true;
	p->total++;
	if (!p->before || order(last_of(th), th->peer, p->before_ms, p->before) > 0)
		p->list[p->n++] = th;
	return true;
}

enum err thread_list(struct store *s, uint64_t before_ms, const struct node_id *before, struct thread_head *out, size_t max,
		     size_t *n, size_t *total)
{
	struct pick p = {.before_ms = before_ms};
	uint8_t blob[PEER_BLOB_BYTES];

	if (before && peer_blob(before, blob) != ERR_OK)
		return ERR_MALFORMED;
	p.before = before ? blob : NULL;
	p.list = calloc(map_count(s->threads.peers) + 1, sizeof(*p.list));
	if (!p.list)
		return ERR_NOMEM;
	map_each(s->threads.peers, pick_one, &p);
	qsort(p.list, p.n, sizeof(*p.list), newest_first);
	*n = p.n < max ? p.n : max;
	*total = p.total;
	for (size_t i = 0; i < *n; i++)
		fill_head(s, p.list[i], &out[i]);
	free(p.list);
	return ERR_OK;
}

/* --- pages ----------------------------------------------------------------------------------------------- */
/* One of the two directions, on its way through the rows. */
struct side {
	enum box box;
	const struct sorted *rows;
	int64_t *mark;
	bool loaded; /* `row` is the next one */
	struct thread_row row;
	uint64_t at_ms;
};

static bool next_number(const struct side *d, bool older, uint64_t *out)
{
	size_t i = sorted_floor(d->rows, *d->mark > 0 ? (uint64_t)*d->mark : 0);

	if (older ? i == 0 : i == d->rows->n)
		return false;
	*out = *(const uint64_t *)sorted_at(d->rows, older ? i - 1 : i);
	return true;
}

static void pass(struct side *d, bool older, uint64_t row)
{
	*d->mark = older ? (int64_t)row : (int64_t)row + 1;
	d->loaded = false;
}

/* Loads the next row that can be shown, unless one is loaded. *left: how many more may be looked at. */
static enum err load(struct store *s, struct side *d, bool older, size_t *left)
{
	uint64_t row;

	while (!d->loaded && *left && next_number(d, older, &row)) {
		enum err e;

		--*left;
		d->row.is_out = d->box == BOX_OUT;
		e = d->row.is_out ? outbox_fetch(s, (int64_t)row, OUT_WHOLE, &d->row.out) :
				    inbox_fetch(s, (int64_t)row, &d->row.in);
		if (e != ERR_OK && e != ERR_CORRUPT && e != ERR_NOTFOUND)
			return e;
		if (e != ERR_OK)
			log_error("store-row-lost box=%d seq=%llu err=%s", d->box, (unsigned long long)row, err_word(e));
		d->loaded = e == ERR_OK && (d->row.is_out || d->row.in.state != INBOX_DROPPED);
		d->at_ms = d->row.is_out ? d->row.out.created_ms : d->row.in.received_ms;
		if (!d->loaded)
			pass(d, older, row);
	}
	return ERR_OK;
}

enum err thread_page(struct store *s, const struct node_id *peer, bool older, struct thread_mark *at, struct thread_row *rows,
		     size_t max, size_t *n, bool *more)
{
	uint8_t blob[PEER_BLOB_BYTES];
	size_t count = 0, left = 4 * max + 64;
	const struct thread *th;
	uint64_t row;

	if (peer_blob(peer, blob) != ERR_OK)
		return ERR_MALFORMED;
	*n = 0;
	*more = false;
	th = threads_find(&s->threads, blob);
	if (!th)
		return ERR_OK;
	struct side out = {.box = BOX_OUT, .rows = &th->rows[BOX_OUT], .mark = &at->out};
	struct side in = {.box = BOX_IN, .rows = &th->rows[BOX_IN], .mark = &at->in};
	while (count < max) {
		enum err e = load(s, &out, older, &left);
		if (e == ERR_OK)
			e = load(s, &in, older, &left);
		if (e != ERR_OK)
			return e;
		if (!out.loaded && !in.loaded)
			break;
		/* One side was not looked at to its next row: which comes first is not known. */
		if ((!out.loaded && next_number(&out, older, &row)) || (!in.loaded && next_number(&in, older, &row)))
			break;
		/* Of the same moment ours comes first, in both directions alike. */
		bool take_out = !in.loaded || (out.loaded && (older ? out.at_ms > in.at_ms : out.at_ms <= in.at_ms));
		struct side *d = take_out ? &out : &in;
		rows[count++] = d->row;
		pass(d, older, (uint64_t)(d->row.is_out ? d->row.out.seq : d->row.in.seq));
	}
	*n = count;
	*more = next_number(&out, older, &row) || next_number(&in, older, &row);
	return ERR_OK;
}
