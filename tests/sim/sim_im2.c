/* What im2 adds to a world: which node speaks what, when mesh keys come, small limits; an adversary on the way;
 * volatile messages; and what the wire may never show: a frame counter used twice with one key. */
#include <stdio.h>
#include <stdlib.h>

#include "base/wire.h"
#include "tests/sim/sim.h"

#define PERCENT(n) ((n) * 10000u)
#define PICK(r, ...)                                                                               \
	((const uint64_t[]){ __VA_ARGS__ })[rng_below(                                             \
		r, sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t))]
#define YEAR_MS 31536000000ull
#define FRAME_MIN 25
#define INDEX_QUIET_MS 100000
#define FRAME_UNIT 0x50

/* --- the plan ----------------------------------------------------------------------------------- */
static void who_speaks_what(struct rng *r, struct plan *p)
{
	uint32_t d = (uint32_t)rng_below(r, 100);

	for (unsigned i = 0; i < p->nodes; i++) {
		uint32_t k = (uint32_t)rng_below(r, 100);

		if (d < 50)
			p->im2[i] = IM2_ON;
		else if (d < 60)
			p->im2[i] = k < 60 ? IM2_REQUIRE : IM2_ON;
		else if (d < 85)
			p->im2[i] = k < 60 ? IM2_ON : IM2_OFF;
		else
			p->im2[i] = k < 40 ? IM2_ON : k < 70 ? IM2_REQUIRE : IM2_OFF;
		p->old_nodes += p->im2[i] == IM2_OFF;
	}
	if (d >= 60 && rng_ppm(r, PERCENT(35)))
		for (unsigned i = 0; i < p->nodes; i++)
			p->upgrades[i] = p->on_disk && p->im2[i] != IM2_OFF && rng_ppm(r, PERCENT(50));
	for (unsigned i = 0; i < p->nodes; i++)
		p->old_nodes += p->upgrades[i];
	/* One of them restarted as 0.9-only. */
	p->back_ppm = p->on_disk && (p->crash_ppm || p->stop_ppm) && rng_ppm(r, PERCENT(20)) ? PERCENT(30) : 0;
	p->key_ms = (uint32_t)PICK(r, 0, 0, 100, 900, 6000);
}

static void small_limits(struct rng *r, struct plan *p)
{
	struct im2_limits *m = &p->limits;

	if (rng_ppm(r, PERCENT(15)))
		m->rekey_after_frames = PICK(r, 2, 5, 20, 100);
	if (rng_ppm(r, PERCENT(8)))
		m->reject_after_frames = PICK(r, 40, 60, 200); /* a transfer takes 16 frames before an answer comes */
	if (rng_ppm(r, PERCENT(8)))
		m->rekey_after_bytes = PICK(r, 2000, 50000);
	if (rng_ppm(r, PERCENT(10))) {
		m->rekey_after_ms = PICK(r, 2000, 7000, 40000);
		m->reject_after_ms = m->rekey_after_ms * PICK(r, 3, 3, 2);
	}
	/* What 0.9 takes for a storm is shorter than a handshake of im2 that is tried again. */
	if (!m->rekey_after_ms && p->rekey_ms && p->rekey_ms < 5000)
		m->rekey_after_ms = 5000;
	if (rng_ppm(r, PERCENT(12)))
		m->overlap_ms = PICK(r, 100, 1000, 5000);
	if (rng_ppm(r, PERCENT(5)))
		m->sessions = p->nodes * (uint32_t)PICK(r, 6, 12);
	if (rng_ppm(r, PERCENT(5)))
		m->pending = (uint32_t)PICK(r, 1, 2);
}

static void hazards(struct rng *r, struct plan *p)
{
	if (rng_ppm(r, PERCENT(20))) {
		p->adversary = true;
		p->strip_ppm = (uint32_t)PICK(r, 0, PERCENT(20), PERCENT(100));
		p->replay_ppm = (uint32_t)PICK(r, 0, 10000, 60000);
		p->flip_ppm = (uint32_t)PICK(r, 0, 2000, 20000);
		p->splice_ppm = (uint32_t)PICK(r, 0, 10000, 60000);
		p->forge_ppm = (uint32_t)PICK(r, 0, 0, 5000, 30000);
	}
	p->volatile_ppm = rng_ppm(r, PERCENT(30)) ? (uint32_t)PICK(r, PERCENT(10), PERCENT(40)) : 0;
	p->pad = rng_ppm(r, PERCENT(10));
	p->sign = rng_ppm(r, PERCENT(10));
	if (!p->old_nodes && rng_ppm(r, PERCENT(12))) {
		p->any_clock = true;
		p->year_off = (uint32_t)PICK(r, 1, 1, 30);
	}
	p->restores = p->on_disk && !p->old_nodes && !p->back_ppm && !p->adversary && !p->unreliable &&
		      (p->crash_ppm || p->stop_ppm) && rng_ppm(r, PERCENT(25));
}

/* Nothing goes wrong: then nothing may be slow. */
static void calm_down(struct plan *p)
{
	p->calm = true;
	p->manual = p->unreliable = p->adversary = p->restores = false;
	p->spike_ppm = p->cut_ppm = p->refuse_ppm = p->hole_ppm = 0;
	p->crash_ppm = p->stop_ppm = p->disk_ppm = p->trust_ppm = p->back_ppm = 0;
	p->jitter_ms = 0;
	p->skew_ms = p->jump_ms = 0;
	p->messages_per_s = p->burst = 0;
	p->outbox_per_peer = p->inbox_per_peer = p->held_per_peer = 0;
	p->ttl_ppm = 0;
	p->stranger = p->self_dialler = SIM_NODES_MAX;
	memset(&p->limits, 0, sizeof p->limits);
	memset(p->upgrades, 0, sizeof p->upgrades);
	p->rekey_ms = p->rekey_ms < 5000 ? 0 : p->rekey_ms;
	p->large_ppm = p->large_ppm || p->huge_ppm ? 60000 : 0;
	p->huge_ppm = p->huge_ppm || p->large_ppm ? 5000 : 0;
	p->gap_ms = 20;
	p->actions = 200;
	if (p->burst_max > 12)
		p->burst_max = 4;
	p->may_refuse = false;
}

void plan_im2(uint64_t seed, struct plan *p)
{
	struct rng rng, *r = &rng;

	rng_seed(r, seed, 5);
	for (unsigned i = 0; i < p->nodes; i++)
		p->im2[i] = IM2_OFF;
	p->old_nodes = p->nodes;
	if (rng_ppm(r, PERCENT(20)))
		return;
	p->old_nodes = 0;
	p->native = true;
	if (p->burst_max > 12) /* a full box is no end for im2: one by one they would take days */
		p->inbox_per_peer = p->held_per_peer = 0;
	who_speaks_what(r, p);
	small_limits(r, p);
	hazards(r, p);
	if (rng_ppm(r, PERCENT(8)))
		calm_down(p);
}

int64_t plan_clock(struct world *w)
{
	uint64_t most = w->plan.year_off * YEAR_MS;

	return (int64_t)rng_below(&w->act, 2 * most + 1) - (int64_t)most;
}

/* --- the wire --------------------------------------------------------------------------------------- */
struct last_frame {
	uint64_t key, at_ms;
	uint32_t counter;
};
struct seen_set {
	struct last_frame *at;
	size_t n, cap;
};

static struct last_frame *last_of(struct seen_set *s, uint64_t key)
{
	size_t i;

	if (2 * s->n >= s->cap) {
		struct seen_set more = { .cap = s->cap ? 2 * s->cap : 256 };

		more.at = calloc(more.cap, sizeof *more.at);
		BUG_ON(!more.at);
		for (size_t k = 0; k < s->cap; k++)
			if (s->at[k].key)
				*last_of(&more, s->at[k].key) = s->at[k];
		free(s->at);
		*s = more;
	}
	for (i = key & (s->cap - 1); s->at[i].key; i = (i + 1) & (s->cap - 1))
		if (s->at[i].key == key)
			return &s->at[i];
	s->n++;
	s->at[i].key = key;
	return &s->at[i];
}

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x9e3779b97f4a7c15;
	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9;
	return x ^ (x >> 32);
}

/* The index belongs to the receiver and its key to the index: so each number once, and each greater than the one
 * before. Long after, chance may draw the same index for another key. */
void wire_frame(struct world *w, unsigned from, unsigned to, struct bytes unit)
{
	struct rd r = rd_init(unit.p, unit.n);
	struct last_frame *last;
	uint32_t index, counter;
	uint64_t key;

	if (unit.n && unit.p[0] > FRAME_UNIT && unit.p[0] < 0x60)
		trace("node%u sends unit 0x%02x to node%u, %zu bytes", from, unit.p[0], to, unit.n);
	if (unit.n < FRAME_MIN || rd_u8(&r) != FRAME_UNIT)
		return;
	w->totals.frames++;
	index = rd_u32(&r);
	counter = rd_u32(&r);
	key = mix(index + mix(from * 64 + to + 1));
	last = last_of(w->frames, key + !key);
	if (last->at_ms && counter <= last->counter && w->now_ms - last->at_ms < INDEX_QUIET_MS)
		world_fail(w, "node%u used a frame counter twice with one key towards node%u: index %08x, %u after %u", from,
			   to, index, counter, last->counter);
	last->at_ms = w->now_ms;
	last->counter = counter;
	if (w->sabotage == SAB_NONCE && w->totals.frames == 20)
		wire_frame(w, from, to, unit);
}

void wire_init(struct world *w)
{
	w->frames = calloc(1, sizeof *w->frames);
	BUG_ON(!w->frames);
}

void wire_fini(struct world *w)
{
	free(w->frames->at);
	free(w->frames);
	for (unsigned i = 0; i < WIRE_KEPT; i++)
		free(w->kept[i].p);
	free(w->vols);
}

/* --- the adversary ------------------------------------------------------------------------------------ */
static void keep(struct world *w, unsigned from, unsigned to, struct bytes unit, bool text)
{
	struct kept_unit *k = &w->kept[w->kept_n++ % WIRE_KEPT];

	free(k->p);
	*k = (struct kept_unit){ .from = from, .to = to, .text = text, .n = unit.n, .p = malloc(unit.n) };
	BUG_ON(!k->p);
	memcpy(k->p, unit.p, unit.n);
}

/* As long as before, so that nothing else in it moves: the parser sees a word that it does not know. */
static bool strip(struct bytes unit, struct buf *out)
{
	static const char word[] = "\"suites\"", other[] = "\"suitez\"";
	const uint8_t *at = memmem(unit.p, unit.n, word, sizeof word - 1);

	if (!at)
		return false;
	buf_add(out, unit);
	memcpy(out->p + (at - unit.p), other, sizeof other - 1);
	return true;
}

static void inject(struct world *w, struct loop_wire *wire, struct bytes unit, bool text, const char *what, unsigned from,
		   unsigned to)
{
	trace("the adversary %s from node%u to node%u: %zu bytes, 0x%02x", what, from, to, unit.n, unit.n ? unit.p[0] : 0);
	w->totals.attacks++;
	if (loopnet_inject(wire, unit, text) != ERR_OK)
		trace("... in vain");
}

static const struct kept_unit *some_kept(struct world *w, unsigned from, unsigned to, bool same)
{
	size_t n = w->kept_n < WIRE_KEPT ? w->kept_n : WIRE_KEPT;

	for (int tries = 0; n && tries < 6; tries++) {
		const struct kept_unit *k = &w->kept[rng_below(&w->fate, n)];

		if (!same || (k->from == from && k->to == to))
			return k;
	}
	return NULL;
}

static void forge(struct world *w, struct loop_wire *wire, unsigned from, unsigned to)
{
	uint8_t err[6] = { 0x58, (uint8_t)PICK(&w->fate, 1, 3, 4, 5, 6, 7, 8, 10) }, junk[40];
	const struct kept_unit *k = some_kept(w, to, from, true);
	size_t n = 2;

	if (rng_ppm(&w->fate, PERCENT(20))) {
		rng_fill(&w->fate, junk, sizeof junk);
		junk[0] = (uint8_t)(0x50 + rng_below(&w->fate, 16));
		inject(w, wire, BYTES_ARR(junk), false, "makes something up", from, to);
		return;
	}
	if (err[1] == 1) {
		/* An ERR 1 counts when it names the index of a frame that was sent. */
		rng_fill(&w->fate, err + 2, 4);
		if (k && k->n >= FRAME_MIN && k->p[0] == FRAME_UNIT)
			memcpy(err + 2, k->p + 1, 4);
		n = 6;
	} else if (err[1] == 4) {
		err[3] = (uint8_t)rng_below(&w->fate, 60);
		n = 4;
	}
	inject(w, wire, bytes_of(err, n), false, "forges an ERR", from, to);
}

bool adversary_sees(void *ctx, struct loop_wire *wire, const char *from_address, const char *to_address, struct bytes unit,
		    bool text)
{
	struct world *w = ctx;
	const struct plan *p = &w->plan;
	unsigned from = world_of_address(from_address), to = world_of_address(to_address);
	const struct kept_unit *k;
	bool gone = false;
	struct buf b;

	if (w->healed || from >= p->nodes || to >= p->nodes)
		return false;
	buf_init(&b, 4u << 20);
	if (text && rng_ppm(&w->fate, p->strip_ppm) && strip(unit, &b)) {
		inject(w, wire, buf_bytes(&b), text, "strips the suites", from, to);
		gone = true;
	} else if (rng_ppm(&w->fate, p->flip_ppm)) {
		uint64_t bit = rng_below(&w->fate, 8 * (unit.n < 200 || rng_ppm(&w->fate, PERCENT(50)) ? unit.n : 40));

		buf_add(&b, unit);
		b.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		inject(w, wire, buf_bytes(&b), text, "flips a bit", from, to);
		gone = true;
	}
	if (rng_ppm(&w->fate, p->replay_ppm) && (k = some_kept(w, from, to, true)))
		inject(w, wire, bytes_of(k->p, k->n), k->text, "replays", from, to);
	if (rng_ppm(&w->fate, p->splice_ppm) && (k = some_kept(w, from, to, false)))
		inject(w, wire, bytes_of(k->p, k->n), k->text, "splices in", from, to);
	if (rng_ppm(&w->fate, p->forge_ppm))
		forge(w, wire, from, to);
	if (unit.n <= 4096)
		keep(w, from, to, unit, text);
	buf_fini(&b);
	return gone;
}

/* --- volatile messages -------------------------------------------------------------------------------- */
void volatile_send(struct world *w, struct sim_node *s, unsigned to)
{
	struct vol_msg v = { .from = s->i, .to = to };
	char id[MSG_ID_MAX + 1], body[64];
	struct fault f = { 0 };
	struct submit sub = { .to = w->nodes[to].id, .priority = PRIO_NORMAL };

	snprintf(body, sizeof body, "volatile %zu of %u to %u", w->vols_n, s->i, to);
	sub.body = bytes_str(body);
	enum err e = node_send_volatile(s->node, &sub, id, &f);

	trace("node%u sends volatile %zu to node%u: %s", s->i, w->vols_n, to, err_word(e));
	if (e != ERR_OK) {
		if (e != ERR_CLOSED && e != ERR_AGAIN && e != ERR_UNTRUSTED && e != ERR_NOTFOUND)
			world_fail(w, "node%u cannot send a volatile message: %s: %s", s->i, err_word(e), f.what);
		return;
	}
	if (world_generation(w, s->i, to) != GENERATION_IM2)
		world_fail(w, "node%u sent a volatile message to node%u, which does not speak im2", s->i, to);
	if (w->vols_n == w->vols_cap) {
		w->vols_cap = w->vols_cap ? 2 * w->vols_cap : 64;
		w->vols = realloc(w->vols, w->vols_cap * sizeof *w->vols);
		BUG_ON(!w->vols);
	}
	w->vols[w->vols_n++] = v;
	w->totals.volatile_sent++;
}

void volatile_came(struct sim_node *s, const struct node_event *e)
{
	struct world *w = s->w;
	char body[64] = "";
	unsigned from, to;
	size_t k;

	if (e->message->body.n < sizeof body)
		memcpy(body, e->message->body.p, e->message->body.n);
	if (sscanf(body, "volatile %zu of %u to %u", &k, &from, &to) != 3 || k >= w->vols_n || to != s->i ||
	    from != world_index(w, &e->peer) || w->vols[k].from != from || w->vols[k].to != to) {
		world_fail(w, "node%u got a volatile message that nobody sent to it: %s", s->i, body);
		return;
	}
	if (w->vols[k].came)
		world_fail(w, "node%u got volatile message %zu twice", s->i, k);
	w->vols[k].came = true;
	if (w->sabotage == SAB_VOLATILE && !w->totals.volatile_came++)
		volatile_came(s, e);
	w->totals.volatile_came++;
}
