/* Chance, and the plan that a seed makes. Most plans are small and unkind in one or two ways only, so
 * that a failure is readable; a few are large or unkind in every way. */
#include <stdio.h>

#include "tests/sim/sim.h"

static uint64_t splitmix(uint64_t *x)
{
	uint64_t z = (*x += 0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

void rng_seed(struct rng *r, uint64_t seed, uint64_t stream)
{
	uint64_t x = seed;

	x = splitmix(&x) ^ (stream * 0xd1342543de82ef95);
	for (int i = 0; i < 4; i++)
		r->s[i] = splitmix(&x);
}

static uint64_t rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

/* xoshiro256** */
uint64_t rng_u64(struct rng *r)
{
	uint64_t out = rotl(r->s[1] * 5, 7) * 9, t = r->s[1] << 17;

	r->s[2] ^= r->s[0];
	r->s[3] ^= r->s[1];
	r->s[1] ^= r->s[2];
	r->s[0] ^= r->s[3];
	r->s[2] ^= t;
	r->s[3] = rotl(r->s[3], 45);
	return out;
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
	return n ? (uint64_t)(((unsigned __int128)rng_u64(r) * n) >> 64) : 0;
}

uint64_t rng_between(struct rng *r, uint64_t low, uint64_t high)
{
	return low + rng_below(r, high - low + 1);
}

bool rng_ppm(struct rng *r, uint32_t per_million)
{
	return rng_below(r, 1000000) < per_million;
}

void rng_fill(struct rng *r, void *out, size_t n)
{
	uint8_t *p = out;

	while (n) {
		uint64_t v = rng_u64(r);
		size_t k = n < sizeof v ? n : sizeof v;

		memcpy(p, &v, k);
		p += k;
		n -= k;
	}
}

/* --- the plan ------------------------------------------------------------------------------- */
#define PERCENT(n) ((n) * 10000u)
#define PICK(r, ...)                                                                               \
	((const uint64_t[]){ __VA_ARGS__ })[rng_below(                                             \
		r, sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t))]

static unsigned node_count(struct rng *r)
{
	uint64_t d = rng_below(r, 1000);

	if (d < 500)
		return 2;
	if (d < 770)
		return 3;
	if (d < 880)
		return 4;
	if (d < 982)
		return (unsigned)rng_between(r, 5, 6);
	if (d < 997)
		return (unsigned)rng_between(r, 7, 14);
	return (unsigned)rng_between(r, 15, SIM_NODES_MAX);
}

static void topology(struct rng *r, struct plan *p)
{
	unsigned n = p->nodes;
	uint32_t dense = n <= 6 ? (uint32_t)PICK(r, PERCENT(100), PERCENT(70), PERCENT(50)) :
				  PERCENT(300) / n;
	uint32_t both = (uint32_t)PICK(r, PERCENT(10), PERCENT(30), PERCENT(100));

	for (unsigned i = 0; i < n; i++) {
		for (unsigned k = i + 1; k < n; k++) {
			/* A chain holds them together; the rest is chance. */
			if (k != i + 1 && !rng_ppm(r, dense))
				continue;
			if (rng_ppm(r, both))
				p->dials[i][k] = p->dials[k][i] = true;
			else if (rng_ppm(r, PERCENT(50)))
				p->dials[i][k] = true;
			else
				p->dials[k][i] = true;
		}
	}
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < n; k++)
			p->pinned[i][k] = i != k && rng_ppm(r, p->manual ? PERCENT(60) : PERCENT(15));
	p->stranger = n > 2 && rng_ppm(r, PERCENT(3)) ? (unsigned)rng_below(r, n) : SIM_NODES_MAX;
	p->self_dialler = rng_ppm(r, PERCENT(3)) ? (unsigned)rng_below(r, n) : SIM_NODES_MAX;
}

static void network(struct rng *r, struct plan *p)
{
	p->delay_ms = (uint32_t)PICK(r, 0, 1, 5, 20, 80);
	p->jitter_ms = (uint32_t)PICK(r, 0, 0, 3, 30, 200);
	if (rng_ppm(r, PERCENT(25))) {
		p->spike_ppm = (uint32_t)PICK(r, 1000, 10000, 50000);
		p->spike_ms = (uint32_t)PICK(r, 500, 3000, 12000, 45000);
	}
	if (rng_ppm(r, PERCENT(45)))
		p->cut_ppm = (uint32_t)PICK(r, 1000, 5000, 20000, 60000);
	if (rng_ppm(r, PERCENT(15)))
		p->refuse_ppm = (uint32_t)PICK(r, 50000, 300000);
	if (rng_ppm(r, PERCENT(12))) {
		p->unreliable = true;
		p->drop_ppm = (uint32_t)PICK(r, 0, 3000, 20000);
		p->double_ppm = (uint32_t)PICK(r, 0, 5000, 50000);
		p->reorder_ppm = (uint32_t)PICK(r, 0, 10000, 100000);
	}
	if (rng_ppm(r, PERCENT(30)))
		p->hole_ppm = (uint32_t)PICK(r, 20000, 80000);
	p->hole = rng_ppm(r, PERCENT(50)) ? HOLE_CUTS : HOLE_STALLS;
}

static void machines(struct rng *r, struct plan *p)
{
	p->on_disk = rng_ppm(r, PERCENT(40));
	if (p->on_disk) {
		p->crash_ppm = (uint32_t)PICK(r, 0, 1000, 5000, 20000);
		p->stop_ppm = (uint32_t)PICK(r, 0, 10000, 40000);
	}
	p->disk_ppm = rng_ppm(r, PERCENT(20)) ? (uint32_t)PICK(r, 10000, 60000, 200000) : 0;
	p->skew_ms = (uint32_t)PICK(r, 0, 0, 500, 1900);
	p->jump_ms = rng_ppm(r, PERCENT(15)) ? (uint32_t)PICK(r, 200, 900) : 0;
	if (rng_ppm(r, PERCENT(4))) {
		/* Out of every window: messages may not flow, but nothing may break. */
		p->skew_ms = (uint32_t)PICK(r, 8000, 40000, 900000);
		p->jump_ms = (uint32_t)PICK(r, 0, 20000, 600000);
	}
	p->scan_files = p->on_disk && rng_ppm(r, PERCENT(12));
}

static void configuration(struct rng *r, struct plan *p)
{
	/* More often than every 5 s is more than a session takes for long. */
	p->rekey_ms = rng_ppm(r, PERCENT(20)) ? PICK(r, 5500, 9000, 20000) : PICK(r, 0, 1800000);
	if (rng_ppm(r, PERCENT(1)))
		p->rekey_ms = PICK(r, 300, 2000);
	p->confirm_ms = PICK(r, 30000, 30000, 5000);
	p->ping_ms = PICK(r, 30000, 30000, 4000);
	p->handshake_ms = PICK(r, 5000, 5000, 2000);
	p->window = (uint32_t)PICK(r, 512, 512, 1, 3, 16);
	p->window_bytes = (uint32_t)PICK(r, 4u << 20, 4u << 20, 1000, 200000);
	p->outbox_per_peer = rng_ppm(r, PERCENT(8)) ? (uint32_t)PICK(r, 1, 4, 20) : 0;
	p->inbox_per_peer = rng_ppm(r, PERCENT(8)) ? (uint32_t)PICK(r, 1, 5, 30) : 0;
	p->held_per_peer = rng_ppm(r, PERCENT(10)) ? (uint32_t)PICK(r, 1, 4) : 0;
	if (rng_ppm(r, PERCENT(8))) {
		p->messages_per_s = (double)PICK(r, 5, 50);
		p->burst = (double)PICK(r, 1, 10);
	}
}

void plan_make(uint64_t seed, struct plan *p)
{
	struct rng rng, *r = &rng;

	rng_seed(r, seed, 1);
	memset(p, 0, sizeof *p);
	p->nodes = node_count(r);
	p->actions = (unsigned)rng_between(r, 5, 36);
	p->gap_ms = (uint32_t)PICK(r, 0, 10, 100, 1000, 1000, 6000);
	p->manual = rng_ppm(r, PERCENT(35));
	topology(r, p);
	network(r, p);
	machines(r, p);
	configuration(r, p);
	p->burst_max = (uint32_t)PICK(r, 1, 1, 1, 2, 4, 12);
	if (rng_ppm(r, 1500)) {
		p->burst_max = 1500; /* more than a queue keeps in memory */
		p->actions = 10;
		p->nodes = p->nodes > 3 ? 3 : p->nodes;
		p->stranger = p->self_dialler = SIM_NODES_MAX;
		p->spike_ppm = 0;
	}
	p->may_refuse = p->inbox_per_peer || p->held_per_peer || p->burst_max > 12;
	p->small_max = (uint32_t)PICK(r, 40, 300, 2000);
	p->large_ppm = rng_ppm(r, PERCENT(10)) ? 60000 : 0;
	p->huge_ppm = rng_ppm(r, PERCENT(2)) ? 20000 : 0;
	p->ttl_ppm = (uint32_t)PICK(r, 0, 50000, 400000);
	p->trust_ppm = rng_ppm(r, PERCENT(25)) ? (uint32_t)PICK(r, 20000, 100000) : 0;
	p->idle_watch = rng_ppm(r, PERCENT(10));
	plan_im2(seed, p);
}

#define DAY_GAP_MS 20000 /* between two things that somebody does, at most */

void plan_day(unsigned hours, struct plan *p)
{
	memset(p, 0, sizeof *p);
	p->nodes = 4;
	p->day = p->on_disk = p->native = true;
	p->gap_ms = DAY_GAP_MS;
	p->actions = (unsigned)((uint64_t)hours * 3600000 / (DAY_GAP_MS / 2));
	for (unsigned i = 0; i < p->nodes; i++) {
		p->im2[i] = IM2_ON;
		for (unsigned k = i + 1; k < p->nodes; k++)
			p->dials[i][k] = true;
	}
	p->delay_ms = 20;
	p->jitter_ms = 30;
	p->cut_ppm = 300;
	p->hole_ppm = 2000;
	p->hole = HOLE_CUTS;
	p->crash_ppm = 20;
	p->stop_ppm = 1500;
	p->skew_ms = 500;
	p->rekey_ms = 1800000;
	p->confirm_ms = p->ping_ms = 30000;
	p->handshake_ms = 5000;
	p->window = 512;
	p->window_bytes = 4u << 20;
	p->burst_max = 2;
	p->small_max = 300;
	p->large_ppm = 5000;
	p->ttl_ppm = 50000;
	p->volatile_ppm = 50000;
	p->stranger = p->self_dialler = SIM_NODES_MAX;
}

static size_t native_text(const struct plan *p, char *out, size_t cap)
{
	static const char letters[] = "onr"; /* off, on (n), require */
	const struct im2_limits *m = &p->limits;
	char who[SIM_NODES_MAX + 1] = "";

	for (unsigned i = 0; i < p->nodes; i++)
		who[i] = p->upgrades[i] ? 'u' : letters[p->im2[i]];
	return (size_t)snprintf(out, cap,
				"im2=%s back=%u key_ms=%u frames=%llu/%llu bytes=%llu ms=%llu/%llu overlap=%llu sessions=%u/%u "
				"adversary=%d(%u,%u,%u,%u,%u) vol=%u years=%u restores=%d calm=%d pad=%d sign=%d ",
				who, p->back_ppm, p->key_ms, (unsigned long long)m->rekey_after_frames,
				(unsigned long long)m->reject_after_frames, (unsigned long long)m->rekey_after_bytes,
				(unsigned long long)m->rekey_after_ms, (unsigned long long)m->reject_after_ms,
				(unsigned long long)m->overlap_ms, m->sessions, m->pending, p->adversary, p->strip_ppm,
				p->replay_ppm, p->flip_ppm, p->splice_ppm, p->forge_ppm, p->volatile_ppm, p->year_off,
				p->restores, p->calm, p->pad, p->sign);
}

void plan_text(const struct plan *p, char *out, size_t cap)
{
	size_t n = p->native ? native_text(p, out, cap) : 0;

	out += n;
	cap -= n;
	snprintf(out, cap,
		 "nodes=%u actions=%u gap_ms=%u disk=%d manual=%d delay_ms=%u+%u spikes=%u/%u cut=%u refuse=%u "
		 "unreliable=%d(%u,%u,%u) holes=%u/%s crash=%u stop=%u full=%u skew_ms=%u jump_ms=%u "
		 "rekey_ms=%llu confirm_ms=%llu window=%u/%u limits=%u/%u/%u rate=%g burst=%u ttl=%u trust=%u "
		 "stranger=%d self=%d",
		 p->nodes, p->actions, p->gap_ms, p->on_disk, p->manual, p->delay_ms, p->jitter_ms, p->spike_ppm,
		 p->spike_ms, p->cut_ppm, p->refuse_ppm, p->unreliable, p->drop_ppm, p->double_ppm,
		 p->reorder_ppm, p->hole_ppm, p->hole == HOLE_CUTS ? "cut" : "stall", p->crash_ppm, p->stop_ppm,
		 p->disk_ppm, p->skew_ms, p->jump_ms, (unsigned long long)p->rekey_ms,
		 (unsigned long long)p->confirm_ms, p->window, p->window_bytes, p->outbox_per_peer,
		 p->inbox_per_peer, p->held_per_peer, p->messages_per_s, p->burst_max, p->ttl_ppm, p->trust_ppm,
		 p->stranger == SIM_NODES_MAX ? -1 : (int)p->stranger,
		 p->self_dialler == SIM_NODES_MAX ? -1 : (int)p->self_dialler);
}
