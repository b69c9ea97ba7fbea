/*
 * transfer_in.c -- from XOPEN to a value.
 *
 * A transfer reserves its whole length when it opens, so it never fails halfway for want of memory. Reserved
 * without a byte received it does not outlive its session, nor IDLE_RESENDS resends of silence.
 */
#include <stdlib.h>

#include "protocol/im2/transfer_internal.h"

#define IDLE_RESENDS (RESENDS_MAX + 2)
#define STRANGER_BYTES (256u << 10)
#define STRANGERS_SHARE 8 /* of the total */

static void charge(struct im2_transfers *t, uint64_t len)
{
	t->in_bytes += len;
	*t->c.bytes_total += len;
	if (t->c.stranger && t->c.pool)
		t->c.pool->strangers += len;
}

void incoming_free(struct im2_transfers *t, struct incoming *x)
{
	if (!x->used)
		return;
	charge(t, -x->c.len);
	free(x->data);
	memset(x, 0, sizeof *x);
}

static struct incoming *find_open(struct im2_transfers *t, uint32_t xfer)
{
	for (unsigned i = 0; i < IM2_TRANSFERS_MAX; i++)
		if (t->in[i].used && t->in[i].open && t->in[i].xfer == xfer)
			return &t->in[i];
	return NULL;
}

/* Whatever name it has or had. */
static struct incoming *find_content(struct im2_transfers *t, const struct content *c)
{
	for (unsigned i = 0; i < IM2_TRANSFERS_MAX; i++)
		if (t->in[i].used && content_eq(&t->in[i].c, c))
			return &t->in[i];
	return NULL;
}

static void abort_it(struct im2_transfers *t, struct incoming *x, uint8_t code)
{
	transfer_notice(t, false, x->xfer, code, &x->c);
	incoming_free(t, x);
}

/* --- memory ------------------------------------------------------------------------------------------ */
static bool empty(const struct incoming *x)
{
	return x->cum == 0 && x->have.n == 0;
}

static void keep(struct im2_transfers *t, struct incoming *x)
{
	x->open = x->ack_due = x->news = false;
	if (empty(x))
		incoming_free(t, x);
}

static struct incoming *free_slot(struct im2_transfers *t)
{
	for (unsigned i = 0; i < IM2_TRANSFERS_MAX; i++)
		if (!t->in[i].used)
			return &t->in[i];
	return NULL;
}

/* What is only kept for a resume makes room, the oldest first. */
static bool evict(struct im2_transfers *t)
{
	struct incoming *oldest = NULL;

	for (unsigned i = 0; i < IM2_TRANSFERS_MAX; i++) {
		struct incoming *x = &t->in[i];

		if (x->used && !x->open && (!oldest || x->touched_ms < oldest->touched_ms))
			oldest = x;
	}
	if (oldest)
		incoming_free(t, oldest);
	return oldest;
}

void incoming_drop(struct im2_transfers *t)
{
	for (unsigned i = 0; i < IM2_TRANSFERS_MAX; i++) {
		struct incoming *x = &t->in[i];

		if (!x->used || x == t->given)
			continue;
		if (x->open)
			abort_it(t, x, ABORT_MEMORY); /* should it come back within its session */
		else
			incoming_free(t, x);
	}
}

/* Who has no path gives up what is kept for him, the longest away first. */
static bool evict_at_rest(struct im2_transfers *t)
{
	struct im2_transfer_pool *pool = t->c.pool;
	uint64_t before = *t->c.bytes_total;

	while (pool && pool->first && *t->c.bytes_total == before) {
		incoming_drop(pool->first);
		im2_transfers_wake(pool->first);
	}
	return *t->c.bytes_total != before;
}

static bool within(uint64_t held, uint64_t max, uint64_t len)
{
	return len <= max && held <= max - len;
}

static bool fits_all(const struct im2_transfers *t, uint64_t len)
{
	return within(*t->c.bytes_total, t->c.bytes_total_max, len);
}

/* What no memory of others would help. */
static bool fits_peer(const struct im2_transfers *t, uint64_t held, uint64_t len)
{
	if (!within(held, t->c.bytes_max, len))
		return false;
	return !t->c.stranger || (within(held, STRANGER_BYTES, len) &&
				  (!t->c.pool || within(t->c.pool->strangers - (t->in_bytes - held),
							t->c.bytes_total_max / STRANGERS_SHARE, len)));
}

static struct incoming *reserve(struct im2_transfers *t, const struct content *c)
{
	struct incoming *x;

	if (!fits_peer(t, 0, c->len) || c->len > t->c.bytes_total_max)
		return NULL;
	while (!(x = free_slot(t)) || !fits_peer(t, t->in_bytes, c->len) || !fits_all(t, c->len))
		if (!evict(t) && !(x && fits_peer(t, t->in_bytes, c->len) && evict_at_rest(t)))
			return NULL;
	x->data = malloc(c->len);
	if (!x->data)
		return NULL;
	x->used = true;
	x->c = *c;
	charge(t, c->len);
	return x;
}

/* --- XOPEN --------------------------------------------------------------------------------------------- */
static uint64_t credit_at(const struct im2_transfers *t, const struct incoming *x)
{
	return x->c.len - x->cum < t->c.window ? x->c.len : x->cum + t->c.window;
}

enum im2_refusal incoming_open(struct im2_transfers *t, struct bytes value)
{
	struct im2_fields f;
	struct content c;
	struct incoming *x, *same;
	struct notice *told;
	enum im2_refusal r = im2_parse(&im2_xopen, value, &f);

	if (r != IM2_FINE)
		return r;
	uint32_t xfer = (uint32_t)f.v[IM2_XOPEN_XFER].u;
	c.len = f.v[IM2_XOPEN_LEN].u;
	c.tag = (uint16_t)f.v[IM2_XOPEN_TAG].u;
	memcpy(c.digest, f.v[IM2_XOPEN_DIGEST].b.p, sizeof c.digest);
	if (im2_transfer_max(c.tag) == 0)
		return IM2_E_CONTEXT;

	told = transfer_notice_find(t, xfer);
	if (told && told->code == 0 && content_eq(&told->c, &c)) {
		told->due = true; /* our last XACK was lost */
		return IM2_FINE;
	}
	if (told)
		told->used = false;
	x = find_open(t, xfer);
	same = find_content(t, &c);
	if (x && x != same)
		keep(t, x); /* the sender forgot it */
	if (!same) {
		/* Over our bytes_max it would not fit later either. */
		if (c.len > im2_transfer_max(c.tag) || c.len > t->c.bytes_max) {
			transfer_notice(t, false, xfer, ABORT_TOO_LARGE, &c);
			return IM2_FINE;
		}
		x = reserve(t, &c);
		if (!x) {
			transfer_notice(t, false, xfer, ABORT_MEMORY, &c);
			return IM2_FINE;
		}
		x->open = true;
		x->limit = credit_at(t, x);
		/* What we grant beyond the default is in an INFO that may still be on its way: the sender would stop
		 * at the default, before the half of our window that is answered. */
		x->ack_due = x->limit > (t->c.radio ? WINDOW_RADIO : WINDOW_IP);
	} else {
		x = same;
		/* A repetition, or a resume: show what is here. */
		if (!x->open || x->xfer != xfer)
			x->limit = credit_at(t, x);
		x->open = x->ack_due = true;
	}
	x->xfer = xfer;
	x->touched_ms = env_now(t->c.env);
	return IM2_FINE;
}

/* --- FRAG ---------------------------------------------------------------------------------------------- */
/* False when bytes that are here already differ in [a, b). */
static bool agrees(const struct incoming *x, uint64_t a, uint64_t b, const uint8_t *p)
{
	if (a < x->cum && memcmp(x->data + a, p, (b < x->cum ? b : x->cum) - a) != 0)
		return false;
	for (unsigned i = 0; i < x->have.n; i++) {
		uint64_t from = x->have.r[i].from > a ? x->have.r[i].from : a;
		uint64_t to = x->have.r[i].to < b ? x->have.r[i].to : b;

		if (from < to && memcmp(x->data + from, p + (from - a), to - from) != 0)
			return false;
	}
	return true;
}

static bool has_all(const struct incoming *x, uint64_t a, uint64_t b)
{
	if (b <= x->cum)
		return true;
	for (unsigned i = 0; i < x->have.n; i++)
		if (x->have.r[i].from <= a && b <= x->have.r[i].to)
			return true;
	return false;
}

/* Puts [a, b) in, a > cum, merging with what it touches. False when there is no place for one more range. */
static bool range_add(struct ranges *h, uint64_t a, uint64_t b)
{
	unsigned i = 0, j;

	while (i < h->n && h->r[i].to < a)
		i++;
	for (j = i; j < h->n && h->r[j].from <= b; j++) {
		if (h->r[j].from < a)
			a = h->r[j].from;
		if (h->r[j].to > b)
			b = h->r[j].to;
	}
	if (i == j && h->n == RANGES_MAX)
		return false;
	memmove(&h->r[i + 1], &h->r[j], (h->n - j) * sizeof h->r[0]);
	h->n += 1 - (j - i);
	h->r[i] = (struct range){a, b};
	return true;
}

/* Ranges that the contiguous beginning has reached become part of it. */
static void advance(struct incoming *x, uint64_t b)
{
	unsigned gone = 0;

	if (b > x->cum)
		x->cum = b;
	while (gone < x->have.n && x->have.r[gone].from <= x->cum) {
		if (x->have.r[gone].to > x->cum)
			x->cum = x->have.r[gone].to;
		gone++;
	}
	x->have.n -= gone;
	memmove(x->have.r, x->have.r + gone, x->have.n * sizeof x->have.r[0]);
}

static void finish(struct im2_transfers *t, struct incoming *x)
{
	uint8_t digest[HASH_BYTES];

	sha256(bytes_of(x->data, x->c.len), digest);
	if (memcmp(digest, x->c.digest, sizeof digest) != 0) {
		abort_it(t, x, ABORT_DIGEST);
		return;
	}
	transfer_notice(t, false, x->xfer, 0, &x->c);
	x->open = false;
	t->given = x;
}

enum im2_refusal incoming_frag(struct im2_transfers *t, struct bytes value)
{
	struct incoming *x;
	struct bytes data;
	uint32_t xfer;
	uint64_t a;
	enum im2_refusal r = im2_frag_take(value, &xfer, &a, &data);

	if (r != IM2_FINE)
		return r;
	x = find_open(t, xfer);
	if (!x) {
		/* Late, or ahead of its XOPEN: then the sender repeats it. */
		struct notice *told = transfer_notice_find(t, xfer);

		if (told)
			told->due = true;
		return IM2_FINE;
	}
	if (a > x->limit || data.n > x->limit - a || !agrees(x, a, a + data.n, data.p)) {
		abort_it(t, x, ABORT_RANGE); /* limit <= len: beyond the credit is outside too */
		return IM2_FINE;
	}
	x->touched_ms = env_now(t->c.env);
	uint64_t b = a + data.n;
	if (has_all(x, a, b)) {
		x->ack_due = true; /* the sender did not hear us */
		return IM2_FINE;
	}
	if (a <= x->cum) {
		memcpy(x->data + a, data.p, data.n);
		advance(x, b);
	} else {
		x->ack_due = true; /* a gap */
		if (!range_add(&x->have, a, b))
			return IM2_FINE; /* dropped: comes again with the gap */
		memcpy(x->data + a, data.p, data.n);
	}
	x->news = true;
	if (x->cum == x->c.len)
		finish(t, x);
	else if (x->cum - x->acked >= (t->c.window + 1) / 2)
		x->ack_due = true;
	return IM2_FINE;
}

void incoming_aborted(struct im2_transfers *t, uint32_t xfer)
{
	struct incoming *x = find_open(t, xfer);

	if (x)
		keep(t, x); /* given up or run out of time: it may come back */
}

/* --- XACK ------------------------------------------------------------------------------------------------ */
bool incoming_ack(struct im2_transfers *t, size_t room, struct buf *out)
{
	for (unsigned i = 0; i < IM2_TRANSFERS_MAX; i++) {
		struct incoming *x = &t->in[i];
		uint64_t credit;

		if (!x->used || !x->open || !x->ack_due)
			continue;
		/* In steps of half a window at least (7.5). */
		credit = credit_at(t, x);
		if (credit == x->c.len || credit - x->limit >= (t->c.window + 1) / 2)
			x->limit = credit;
		if (!transfer_xack(t, x->xfer, x->cum, x->limit, &x->have, room, out))
			continue;
		x->acked = x->cum;
		x->ack_due = x->news = false;
		return true;
	}
	return false;
}

/* --- sessions and time ----------------------------------------------------------------------------------- */
void incoming_session(struct im2_transfers *t)
{
	for (unsigned i = 0; i < IM2_TRANSFERS_MAX; i++)
		if (t->in[i].used)
			keep(t, &t->in[i]);
}

static uint64_t gone_at(const struct im2_transfers *t, const struct incoming *x)
{
	return x->touched_ms + (empty(x) ? IDLE_RESENDS * t->c.resend_ms : t->c.keep_ms);
}

static bool radio_news(const struct im2_transfers *t, const struct incoming *x)
{
	return t->c.radio && x->open && x->news && !x->ack_due;
}

uint64_t incoming_deadline(const struct im2_transfers *t)
{
	uint64_t at = UINT64_MAX;

	for (unsigned i = 0; i < IM2_TRANSFERS_MAX; i++) {
		const struct incoming *x = &t->in[i];

		if (!x->used || x == t->given)
			continue;
		if (gone_at(t, x) < at)
			at = gone_at(t, x);
		if (radio_news(t, x) && x->touched_ms + RADIO_NEWS_MS < at)
			at = x->touched_ms + RADIO_NEWS_MS;
	}
	return at;
}

void incoming_tick(struct im2_transfers *t)
{
	uint64_t now = env_now(t->c.env);

	for (unsigned i = 0; i < IM2_TRANSFERS_MAX; i++) {
		struct incoming *x = &t->in[i];

		if (!x->used)
			continue;
		if (radio_news(t, x) && now >= x->touched_ms + RADIO_NEWS_MS)
			x->ack_due = true;
		if (now < gone_at(t, x))
			continue;
		if (x->open)
			abort_it(t, x, ABORT_MEMORY); /* the sender may try again later */
		else
			incoming_free(t, x);
	}
}
