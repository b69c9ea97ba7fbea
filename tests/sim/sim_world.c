/* The world: virtual time, the network's fate, the healing at the end, and the loop around it all. */
#include <ftw.h>
#include <sodium.h>
#include <stdarg.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/sim/sim.h"

#define STEPS_AT_ONE_TIME_MAX 20000
#define STEPS_MAX 20000000
#define DRAIN_MAX_MS (45 * 60000u)
#define DRAIN_NATIVE_MAX_MS (170 * 60000u) /* who was denied, or told so by somebody on the way, waits an hour */
#define QUIET_MS 65000

void world_fail(struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (w->failed)
		return; /* the first one is the cause */
	w->failed = true;
	va_start(ap, fmt);
	vsnprintf(w->why, sizeof w->why, fmt, ap);
	va_end(ap);
	trace("BROKEN: %s", w->why);
}

unsigned world_index(const struct world *w, const struct node_id *id)
{
	unsigned i = 0;

	while (i < w->plan.nodes && !node_id_eq(&w->nodes[i].id, id))
		i++;
	return i < w->plan.nodes ? i : SIM_NODES_MAX;
}

static bool trusts(struct world *w, unsigned a, unsigned b)
{
	const struct pin *pin = w->nodes[a].up ? pins_get(w->nodes[a].pins, &w->nodes[b].id) : NULL;

	return pin && pin->state == PIN_TRUSTED;
}

bool world_flows(struct world *w, unsigned from, unsigned to)
{
	const struct plan *p = &w->plan;

	return (p->dials[from][to] || p->dials[to][from]) && from != p->stranger && to != p->stranger &&
	       world_generation(w, from, to) != GENERATION_NONE && trusts(w, from, to) && trusts(w, to, from);
}

enum generation world_generation(const struct world *w, unsigned a, unsigned b)
{
	enum im2_setting x = w->nodes[a].im2, y = w->nodes[b].im2;

	if (x != IM2_OFF && y != IM2_OFF)
		return GENERATION_IM2;
	return x == IM2_REQUIRE || y == IM2_REQUIRE ? GENERATION_NONE : GENERATION_09;
}

/* --- chance of libraries: none that we do not seed ------------------------------------------ */
static struct rng *library_rng;

static const char *library_name(void)
{
	return "sim";
}

static uint32_t library_u32(void)
{
	return (uint32_t)rng_u64(library_rng);
}

static void library_buf(void *const out, const size_t n)
{
	rng_fill(library_rng, out, n);
}

static struct randombytes_implementation library_random = {
	.implementation_name = library_name,
	.random = library_u32,
	.buf = library_buf,
};

/* --- the network ------------------------------------------------------------------------------ */
unsigned world_of_address(const char *address)
{
	return (unsigned)strtoul(address + 1, NULL, 10);
}

static struct loop_fate fate_of_unit(void *ctx, const char *from, const char *to, struct bytes unit)
{
	struct world *w = ctx;
	const struct plan *p = &w->plan;
	unsigned a = world_of_address(from), b = world_of_address(to);
	struct loop_fate f = { .copies = 1, .delay_ms = 1 };
	uint64_t hole;

	w->units++;
	if (a >= p->nodes || b >= p->nodes) /* a dialler's far address is no node: nobody is there */
		return f;
	wire_frame(w, a, b, unit);
	if (w->nodes[a].dying) {
		f.copies = 0;
		return f;
	}
	f.delay_ms = p->delay_ms + rng_below(&w->fate, p->jitter_ms + 1);
	if (w->healed) {
		/* What an unreliable link lost, only a new session asks for again. */
		f.cut = p->unreliable && unit.n && !w->mended[a][b];
		w->mended[a][b] = w->mended[b][a] = true;
		f.delay_ms = f.delay_ms < 100 ? f.delay_ms : 100;
		return f;
	}
	if (rng_ppm(&w->fate, p->spike_ppm))
		f.delay_ms += rng_below(&w->fate, p->spike_ms + 1);
	hole = w->hole_until_ms[a][b];
	if (hole > w->now_ms) {
		if (p->hole == HOLE_CUTS)
			f.cut = true;
		else if (unit.n == 0)
			f.copies = 0;
		else
			f.delay_ms += hole - w->now_ms; /* the system sends it again until it arrives */
		return f;
	}
	f.cut = rng_ppm(&w->fate, unit.n ? p->cut_ppm : p->refuse_ppm);
	if (p->unreliable && unit.n) {
		if (rng_ppm(&w->fate, p->drop_ppm))
			f.copies = 0;
		else if (rng_ppm(&w->fate, p->double_ppm))
			f.copies = 2;
		f.reorder = rng_ppm(&w->fate, p->reorder_ppm);
	}
	return f;
}

/* --- healing ------------------------------------------------------------------------------------ */
static void heal(struct world *w)
{
	trace("everything heals");
	w->healed = true;
	w->healed_at_ms = w->now_ms;
	for (unsigned i = 0; i < w->plan.nodes; i++) {
		struct sim_node *s = &w->nodes[i];

		s->full_until_ms = 0;
		if (s->skew_ms > 1500 && !w->plan.any_clock)
			s->skew_ms = 1500;
		if (s->skew_ms < -1500 && !w->plan.any_clock)
			s->skew_ms = -1500;
		if (s->up) {
			store_fail_after(s->store, 0);
			if (s->im2 != w->plan.im2[i])
				sim_node_stop(s); /* it comes back as what it is in the end */
		} else {
			timer_stop(&w->env, &s->restart);
			sim_node_start(s);
		}
	}
}

struct pending {
	struct node_id ids[SIM_NODES_MAX];
	unsigned n;
};

static bool collect_pending(void *ctx, const struct pin *pin)
{
	struct pending *p = ctx;

	if (pin->state == PIN_PENDING && p->n < SIM_NODES_MAX)
		p->ids[p->n++] = pin->id;
	return true;
}

/* Every operator approves what waits. */
static void approve_all(struct world *w)
{
	for (unsigned i = 0; i < w->plan.nodes; i++) {
		struct sim_node *s = &w->nodes[i];
		struct pending p = { .n = 0 };

		if (!s->up || s->stopping)
			continue;
		pins_each(s->pins, collect_pending, &p);
		for (unsigned k = 0; k < p.n; k++) {
			struct fault f = { 0 };
			enum err e = node_peer_approve(s->node, &p.ids[k], &f);

			trace("node%u approves node%u: %s", i, world_index(w, &p.ids[k]), err_word(e));
			/* The group that a full disk refused may not have ended yet. */
			if (e != ERR_OK && e != ERR_STORE)
				world_fail(w, "node%u cannot approve: %s", i, f.what);
		}
		sim_node_turn(s);
	}
}

/* --- time ----------------------------------------------------------------------------------------- */
static void turns(struct world *w)
{
	bool chaos = !w->healed;

	for (unsigned i = 0; i < w->plan.nodes && !w->failed; i++) {
		struct sim_node *s = &w->nodes[i];

		/* Before the turn: with a group that is open. After it: with answers just given. */
		if (chaos && w->plan.crash_ppm && s->up && rng_ppm(&w->act, w->plan.crash_ppm / 2))
			sim_node_crash(s, rng_below(&w->act, SIM_DOWN_MAX_MS));
		sim_node_turn(s);
		if ((chaos && w->plan.crash_ppm && s->up && rng_ppm(&w->act, w->plan.crash_ppm / 2)) || s->dying)
			sim_node_crash(s, rng_below(&w->act, SIM_DOWN_MAX_MS));
	}
}

/* Some crashes come after everything that this step writes, and before anything that it says. */
static void last_words(struct world *w)
{
	for (unsigned i = 0; i < w->plan.nodes && w->plan.native && !w->healed; i++)
		if (w->nodes[i].up && !w->nodes[i].stopping && w->plan.crash_ppm &&
		    rng_ppm(&w->act, w->plan.crash_ppm / 2))
			sim_node_dies(&w->nodes[i]);
}

static uint64_t next_ms(const struct world *w)
{
	uint64_t at = timers_next(&w->env);

	for (unsigned i = 0; i < w->plan.nodes; i++) {
		const struct sim_node *s = &w->nodes[i];
		uint64_t t = timers_next(&s->env);

		if (s->up && node_wants_turn(s->node))
			return w->now_ms; /* a group is open, and nobody sleeps on that */
		at = t < at ? t : at;
	}
	return at;
}

/* Runs everything that is due next. False when nothing ever is. */
static bool step(struct world *w, unsigned *at_one_time)
{
	uint64_t at = next_ms(w);

	if (at == UINT64_MAX)
		return false;
	if (at > w->now_ms) {
		w->now_ms = at;
		*at_one_time = 0;
	} else if (++*at_one_time > STEPS_AT_ONE_TIME_MAX) {
		world_fail(w, "timers run on and on at one point in time");
		return false;
	}
	if (++w->step > STEPS_MAX) {
		world_fail(w, "no end after %u steps", STEPS_MAX);
		return false;
	}
	last_words(w);
	if (timers_next(&w->env) <= w->now_ms)
		w->timers += timers_run(&w->env);
	for (unsigned i = 0; i < w->plan.nodes; i++)
		if (timers_next(&w->nodes[i].env) <= w->now_ms)
			w->timers += timers_run(&w->nodes[i].env);
	turns(w);
	check_step(w);
	return !w->failed;
}

static void actor_due(void *ctx)
{
	struct world *w = ctx;

	act_once(w);
	w->acted++;
	if (w->acted < w->plan.actions) {
		timer_in(&w->env, &w->actor, rng_below(&w->act, w->plan.gap_ms + 1));
		return;
	}
	heal(w);
}

/* What happens at the end: everything heals and must settle; programs read what came. */
static void drain(struct world *w, unsigned *at_one_time)
{
	uint64_t look_ms = w->now_ms, most = w->plan.native ? DRAIN_NATIVE_MAX_MS : DRAIN_MAX_MS;
	char why[500] = "";

	while (!w->failed) {
		if (w->now_ms >= look_ms) {
			approve_all(w);
			/* A full box is no end for im2: somebody has to read. */
			for (unsigned i = 0; i < w->plan.nodes && w->plan.native && w->plan.may_refuse; i++)
				if (!w->nodes[i].dying)
					check_read(&w->nodes[i], SIZE_MAX);
			if (check_settled(w, why, sizeof why))
				break;
			if (w->now_ms - w->healed_at_ms > most) {
				world_fail(w, "not settled %u minutes after everything healed: %s",
					   (unsigned)(most / 60000), why);
				return;
			}
			look_ms = w->now_ms + 500;
		}
		if (!step(w, at_one_time) && !w->failed)
			world_fail(w, "nothing will ever happen again, but: %s", why);
	}
	for (unsigned i = 0; i < w->plan.nodes && !w->failed; i++)
		check_read(&w->nodes[i], SIZE_MAX);
}

static uint64_t sessions_of(const struct world *w)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < w->plan.nodes; i++)
		n += w->nodes[i].up ? node_online(w->nodes[i].node) : 0;
	return n;
}

/* A minute in which nothing is asked for: keep-alives and ticks, and nothing else. */
static void quiet(struct world *w, unsigned *at_one_time)
{
	uint64_t until = w->now_ms + QUIET_MS, before = w->timers, sessions, limit;

	sessions = sessions_of(w);
	while (w->now_ms < until && step(w, at_one_time))
		;
	if (w->failed)
		return;
	sessions += sessions_of(w); /* some may come and go */
	/* Every session and every node may have something to do a few times a second. */
	limit = (w->plan.nodes * 4 + sessions * 16) * (QUIET_MS / 1000);
	if (w->timers - before > limit)
		world_fail(w, "%llu timers in a quiet minute; %u nodes and %llu sessions explain %llu",
			   (unsigned long long)(w->timers - before), w->plan.nodes,
			   (unsigned long long)sessions, (unsigned long long)limit);
}

/* --- birth and end ---------------------------------------------------------------------------------- */
static uint64_t world_now(void *ctx)
{
	return ((struct world *)ctx)->now_ms;
}

static void world_random(void *ctx, void *out, size_t n)
{
	rng_fill(&((struct world *)ctx)->random, out, n);
}

/* One folder for a whole run: a worker that dies leaves nothing behind. */
static char base_dir[100];
static pid_t base_owner;

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

static void remove_tree(const char *path)
{
	(void)nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void remove_base(void)
{
	if (getpid() == base_owner)
		remove_tree(base_dir);
}

void world_files(void)
{
	const char *base = getenv("TMPDIR");

	if (!base || !*base)
		base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(base_dir, sizeof base_dir, "%.70s/ironmesh-sim-XXXXXX", base);
	BUG_ON(!mkdtemp(base_dir));
	base_owner = getpid();
	BUG_ON(atexit(remove_base) != 0);
}

static void make_dir(struct world *w)
{
	snprintf(w->dir, sizeof w->dir, "%s/XXXXXX", base_dir);
	BUG_ON(!mkdtemp(w->dir));
}

/* --- a day ------------------------------------------------------------------------------------------------ */
#define HOUR_MS 3600000
#define DAY_HOURS_MAX 240
/* What grows by design, in all four nodes and in the book of the check: each message that was settled is known for 30 days. */
#define BYTES_PER_MESSAGE 400
#define DAY_SLACK (1u << 20)

struct day {
	unsigned hours, n;
	struct timer timer;
	struct {
		uint64_t heap, messages;
	} at[DAY_HOURS_MAX];
};

/* Programs read what came, once an hour; then memory is looked at. */
static void hour_due(void *ctx)
{
	struct world *w = ctx;
	struct day *d = w->day;
	struct mallinfo2 m;

	for (unsigned i = 0; i < w->plan.nodes; i++) {
		struct sim_node *s = &w->nodes[i];

		if (!s->up || s->dying || s->stopping)
			continue;
		check_read(s, SIZE_MAX);
		store_rest(s->store); /* as a daemon does when nothing happens for a while */
	}
	m = mallinfo2();
	if (d->n < DAY_HOURS_MAX) {
		d->at[d->n].heap = m.uordblks + m.hblkhd - w->check.cap * sizeof(struct msg);
		d->at[d->n].messages = w->check.n;
		d->n++;
		printf("sim: hour %u: %llu messages, heap %.2f MiB, %llu units\n", d->n, (unsigned long long)w->check.n,
		       (double)d->at[d->n - 1].heap / (1 << 20), (unsigned long long)w->units);
		fflush(stdout);
	}
	if (!w->healed)
		timer_in(&w->env, &d->timer, HOUR_MS);
}

static void day_mean(const struct day *d, unsigned from, unsigned to, double *heap, double *messages)
{
	*heap = *messages = 0;
	for (unsigned i = from; i < to; i++) {
		*heap += (double)d->at[i].heap / (to - from);
		*messages += (double)d->at[i].messages / (to - from);
	}
}

/* The second quarter against the last one: the first one warms up. */
static void day_end(struct world *w)
{
	struct day *d = w->day;
	double heap[2], messages[2], grew, bound;

	timer_stop(&w->env, &d->timer);
	if (w->failed || d->n < 8)
		return;
	day_mean(d, d->n / 4, d->n / 2, &heap[0], &messages[0]);
	day_mean(d, d->n * 3 / 4, d->n, &heap[1], &messages[1]);
	grew = heap[1] - heap[0];
	bound = DAY_SLACK + BYTES_PER_MESSAGE * (messages[1] - messages[0]);
	printf("sim: heap grew by %.2f MiB over %.0f messages (bound %.2f MiB)\n", grew / (1 << 20), messages[1] - messages[0],
	       bound / (1 << 20));
	if (grew > bound)
		world_fail(w, "memory grew by %.0f bytes over %.0f messages", grew, messages[1] - messages[0]);
}

static void world_init(struct world *w, uint64_t seed, enum sabotage sab)
{
	w->seed = seed;
	w->sabotage = sab;
	if (w->day)
		plan_day(w->day->hours, &w->plan);
	else
		plan_make(seed, &w->plan);
	rng_seed(&w->act, seed, 2);
	rng_seed(&w->fate, seed, 3);
	rng_seed(&w->random, seed, 4);
	library_rng = &w->random;
	randombytes_set_implementation(&library_random);
	w->now_ms = 1000000;
	w->env = (struct env){ .ctx = w, .now_ms = world_now, .wall_ms = world_now, .random = world_random };
	if (w->plan.on_disk)
		make_dir(w);
	w->net = loopnet_new(&w->env);
	BUG_ON(!w->net);
	loopnet_set_fate(w->net, fate_of_unit, w);
	loopnet_set_tap(w->net, check_unit, w);
	if (w->plan.adversary)
		loopnet_set_adversary(w->net, adversary_sees, w);
	wire_init(w);
	check_init(&w->check, w);
	timer_init(&w->actor, actor_due, w);
	for (unsigned i = 0; i < w->plan.nodes; i++)
		sim_node_init(&w->nodes[i], w, i);
	for (unsigned i = 0; i < w->plan.nodes; i++)
		sim_node_start(&w->nodes[i]);
	timer_in(&w->env, &w->actor, rng_below(&w->act, 500));
}

static void world_fini(struct world *w)
{
	timer_stop(&w->env, &w->actor);
	for (unsigned i = 0; i < w->plan.nodes; i++)
		sim_node_fini(&w->nodes[i]);
	loopnet_free(w->net);
	timers_fini(&w->env);
	check_fini(&w->check);
	wire_fini(w);
	if (w->dir[0])
		remove_tree(w->dir);
}

static bool run(uint64_t seed, enum sabotage sab, struct day *day, struct world_totals *t, char *why, size_t cap)
{
	struct world *w = calloc(1, sizeof *w);
	unsigned at_one_time = 0;
	char plan[1100];

	BUG_ON(!w);
	w->day = day;
	trace_begin(w);
	world_init(w, seed, sab);
	if (day) {
		timer_init(&day->timer, hour_due, w);
		timer_in(&w->env, &day->timer, HOUR_MS);
	}
	if (trace_on()) {
		plan_text(&w->plan, plan, sizeof plan);
		trace("seed %llu: %s", (unsigned long long)seed, plan);
	}
	while (!w->failed && !w->healed)
		if (!step(w, &at_one_time) && !w->failed)
			world_fail(w, "the actor has gone");
	if (!w->failed)
		drain(w, &at_one_time);
	if (!w->failed && w->plan.idle_watch)
		quiet(w, &at_one_time);
	if (!w->failed)
		check_end(w);
	if (day)
		day_end(w);
	plan_text(&w->plan, plan, sizeof plan);
	bool ok = !w->failed;
	char end[1900];

	snprintf(end, sizeof end, "step %llu, t=%llu ms: %s\n    plan: %.1080s", (unsigned long long)w->step,
		 (unsigned long long)w->now_ms, w->why, plan);
	check_totals(w);
	world_fini(w);
#define X(name) t->name += w->totals.name;
	WORLD_TOTALS(X)
#undef X
	/* What fini itself noticed (timers left armed) counts too. */
	if (ok && w->failed)
		snprintf(end, sizeof end, "at the end: %s\n    plan: %.1080s", w->why, plan);
	ok = !w->failed;
	if (!ok)
		snprintf(why, cap, "%s", end);
	trace_begin(NULL);
	library_rng = NULL;
	free(w);
	return ok;
}

bool world_run(uint64_t seed, enum sabotage sab, struct world_totals *t, char *why, size_t cap)
{
	return run(seed, sab, NULL, t, why, cap);
}

bool world_day(uint64_t seed, unsigned hours, struct world_totals *t, char *why, size_t cap)
{
	struct day day = { .hours = hours };

	return run(seed, SAB_NONE, &day, t, why, cap);
}
