/* One node of the simulation over all of its lives: born, crashed, stopped, started again on what its
 * disk kept. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/sim/sim.h"

#define TURNS_MAX 1000

/* Keys are made once for a process: every seed deals the same ones in another order. */
static struct keyring *keys[SIM_NODES_MAX];

static uint64_t no_time(void *ctx)
{
	return 0;
}

static void keys_random(void *ctx, void *out, size_t n)
{
	rng_fill(ctx, out, n);
}

static void keys_make(void)
{
	struct rng rng;
	struct env env = { .ctx = &rng, .now_ms = no_time, .wall_ms = no_time, .random = keys_random };

	if (keys[0])
		return;
	rng_seed(&rng, 20, 26);
	for (unsigned i = 0; i < SIM_NODES_MAX; i++)
		BUG_ON(keyring_generate(&env, &keys[i]) != ERR_OK);
}

void sim_keys_free(void)
{
	for (unsigned i = 0; i < SIM_NODES_MAX; i++) {
		keyring_free(keys[i]);
		keys[i] = NULL;
	}
}

static uint64_t node_now(void *ctx)
{
	const struct sim_node *s = ctx;

	return s->w->now_ms;
}

static uint64_t node_wall(void *ctx)
{
	const struct sim_node *s = ctx;

	return (uint64_t)((int64_t)(SIM_EPOCH_MS + s->w->now_ms) + s->skew_ms);
}

static void node_random(void *ctx, void *out, size_t n)
{
	struct sim_node *s = ctx;

	rng_fill(&s->rng, out, n);
}

static void restart_due(void *ctx)
{
	sim_node_start(ctx);
}

/* Any 32 bytes that follow from the passphrase do; how slowly they follow is tested elsewhere. */
static void mesh_key_due(void *ctx)
{
	struct sim_node *s = ctx;
	uint8_t key[32];

	memset(key, s->i == s->w->plan.stranger ? 0x66 : 0x42, sizeof key);
	BUG_ON(node_mesh_key(s->node, 0, BYTES_ARR(key)) != ERR_OK);
}

void sim_node_init(struct sim_node *s, struct world *w, unsigned i)
{
	keys_make();
	s->w = w;
	s->i = i;
	snprintf(s->name, sizeof s->name, "node%u", i);
	snprintf(s->address, sizeof s->address, "n%u:1", i);
	s->env = (struct env){ .ctx = s, .now_ms = node_now, .wall_ms = node_wall, .random = node_random };
	rng_seed(&s->rng, w->seed, 1000 + i);
	if (w->plan.skew_ms)
		s->skew_ms = (int64_t)rng_below(&w->act, 2 * (uint64_t)w->plan.skew_ms + 1) - w->plan.skew_ms;
	s->keys = keys[(i * 7 + w->seed) % SIM_NODES_MAX];
	s->id = *keyring_id(s->keys);
	if (w->plan.any_clock)
		s->skew_ms = plan_clock(w);
	timer_init(&s->restart, restart_due, s);
	timer_init(&s->mesh_key, mesh_key_due, s);
	if (w->plan.on_disk) {
		snprintf(s->db, sizeof s->db, "%s/%u.db", w->dir, i);
		snprintf(s->pin_file, sizeof s->pin_file, "%s/%u.pins", w->dir, i);
	}
}

static void open_disk(struct sim_node *s)
{
	const struct plan *p = &s->w->plan;
	struct secret wrap = { 0 };
	struct fault f = { 0 };
	struct store_config c = {
		.path = s->db[0] ? s->db : NULL,
		.env = &s->env,
		.relaxed = true,
		.limits = { .outbox_per_peer = p->outbox_per_peer,
			    .inbox_per_peer = p->inbox_per_peer,
			    .held_per_peer = p->held_per_peer },
	};

	BUG_ON(keyring_derive(s->keys, DERIVE_DB_WRAP, &wrap) != ERR_OK);
	c.wrap_key = secret_bytes(&wrap);
	enum err e = store_open(&c, &s->store, &f);
	secret_free(&wrap);
	if (e == ERR_OK)
		e = pins_load(s->pin_file[0] ? s->pin_file : NULL, s->keys, &s->env, &s->pins, &f);
	if (e == ERR_OK)
		e = audit_open(NULL, s->keys, &s->env, &s->audit, &f);
	if (e != ERR_OK)
		world_fail(s->w, "node%u does not come up again: %s: %s", s->i, err_word(e), f.what);
	const char *why;
	if (s->pins && pins_read_only(s->pins, &why))
		world_fail(s->w, "node%u: its trust store is damaged: %s", s->i, why);
}

static void close_disk(struct sim_node *s, bool crash)
{
	if (crash)
		store_abandon(s->store);
	else
		store_close(s->store);
	pins_free(s->pins);
	audit_close(s->audit);
	s->store = NULL;
	s->pins = NULL;
	s->audit = NULL;
}

static void pin_by_hand(struct sim_node *s)
{
	struct world *w = s->w;
	struct fault f = { 0 };

	for (unsigned k = 0; k < w->plan.nodes; k++)
		if (w->plan.pinned[s->i][k])
			BUG_ON(pins_pin(s->pins, keyring_ed(w->nodes[k].keys), w->nodes[k].name,
					env_wall(&s->env), &f) != ERR_OK);
	BUG_ON(pins_flush(s->pins, &f) != ERR_OK);
}

static void add_targets(struct sim_node *s)
{
	struct world *w = s->w;

	for (unsigned k = 0; k < w->plan.nodes; k++) {
		char spec[64];
		struct fault f = { 0 };

		if (!(k == s->i ? w->plan.self_dialler == k : w->plan.dials[s->i][k]))
			continue;
		/* Some are named with the identity that must be there. */
		if (k != s->i && (s->i + k + w->seed) % 4 == 0)
			snprintf(spec, sizeof spec, "%s#%s", w->nodes[k].address, w->nodes[k].id.hex);
		else
			snprintf(spec, sizeof spec, "%s", w->nodes[k].address);
		BUG_ON(node_add_target(s->node, spec, &f) != ERR_OK);
	}
}

void sim_node_start(struct sim_node *s)
{
	struct world *w = s->w;
	const struct plan *p = &w->plan;

	if (s->up || w->failed)
		return;
	trace("node%u starts, life %u", s->i, s->lives + 1);
	open_disk(s);
	if (w->failed)
		return;
	policy_init(&s->policy);
	s->policy.trust_on_first_use = !p->manual;
	s->im2 = p->im2[s->i];
	if ((p->upgrades[s->i] && s->lives == 0) ||
	    (s->im2 != IM2_OFF && s->lives && !w->healed && rng_ppm(&w->act, p->back_ppm)))
		s->im2 = IM2_OFF;
	s->policy.im2 = s->im2;
	struct node_config c = {
		.passphrase = s->i == p->stranger ? BYTES_LIT("of another mesh, by mistake") :
						    BYTES_LIT("correct horse battery staple"),
		.min_version = VERSION_OF(0, 3),
		.rekey_ms = p->rekey_ms,
		.handshake_ms = p->handshake_ms,
		.past_ms = 30000,
		.future_ms = 5000,
		.im2_pad = p->pad,
		.im2_sign_always = p->sign,
		.im2 = p->limits,
		.policy = &s->policy,
		.limits = { .window = p->window,
			    .window_bytes = p->window_bytes,
			    .confirm_ms = p->confirm_ms,
			    .ping_ms = p->ping_ms,
			    .peer_messages_per_s = p->messages_per_s,
			    .peer_burst = p->burst },
	};
	struct node_parts parts = { .env = &s->env, .keyring = s->keys, .pins = s->pins, .store = s->store,
				    .audit = s->audit };

	snprintf(c.name, sizeof c.name, "%s", s->name);
	BUG_ON(node_new(&c, &parts, &s->node) != ERR_OK);
	struct transport_sink sink = node_sink(s->node);

	BUG_ON(loopback_new(w->net, s->address, &sink, &s->tp) != ERR_OK);
	/* The node takes it for the transport where the listener speaks first, and may be told lies in S1. */
	s->tp->kind = "ws";
	node_attach(s->node, s->tp);
	node_observe(s->node, check_observe, s);
	s->failures_seen = 0;
	s->up = true;
	s->stopping = s->stopped = s->dying = false;
	if (s->lives++ == 0)
		pin_by_hand(s);
	else if (s->restored && !s->restore_seen)
		check_restored(s);
	else
		check_restarted(s);
	s->restore_seen = s->restored;
	add_targets(s);
	timer_in(&s->env, &s->mesh_key, rng_below(&s->rng, p->key_ms + 1));
	node_dial_all(s->node);
}

static void bury(struct sim_node *s, bool crash)
{
	const struct node_counters *n = node_counters(s->node);
	struct world *w = s->w;
	struct world_totals *t = &w->totals;

	t->repeated += n->messages_repeated;
	t->rekeys += n->rekeys;
	t->replaced += n->duplicate_sessions;
	t->store_failures += n->store_failures;
	t->pauses += n->pauses;
	const struct im2_counters *m = node_im2_counters(s->node);

	t->downgrades += n->downgrades_refused;
	if (w->plan.calm && n->frames_dropped)
		world_fail(w, "node%u: nothing went wrong, and it dropped %llu units", s->i,
			   (unsigned long long)n->frames_dropped);
	if (m) {
		t->first += m->handshakes_first;
		t->known += m->handshakes_known;
		t->resumes += m->resumes;
		t->im2_rekeys += m->rekeys;
		t->psk_fallbacks += m->psk_fallbacks;
	}
	s->up = false;
	timer_stop(&s->env, &s->mesh_key);
	node_free(s->node);
	s->node = NULL;
	tp_free(s->tp);
	s->tp = NULL;
	close_disk(s, crash);
	policy_fini(&s->policy);
	if (s->env.timers.n)
		world_fail(s->w, "node%u left %zu timers armed when it was freed", s->i, s->env.timers.n);
}

void sim_node_dies(struct sim_node *s)
{
	trace("node%u says nothing more", s->i);
	s->dying = true;
	s->w->totals.died++;
}

/* --- copies ------------------------------------------------------------------------------------- */
static void copy_file(const char *from, const char *to)
{
	FILE *in = fopen(from, "rb"), *out;
	char part[65536];
	size_t n;

	(void)remove(to);
	if (!in)
		return;
	out = fopen(to, "wb");
	BUG_ON(!out);
	while ((n = fread(part, 1, sizeof part, in)) > 0)
		BUG_ON(fwrite(part, 1, n, out) != n);
	BUG_ON(fclose(out) != 0 || chmod(to, 0600) != 0);
	fclose(in);
}

static void copy_files(const struct sim_node *s, bool back, bool pins_too)
{
	static const char *const tails[] = { "", "-wal", "-shm" };
	char live[300], kept[300];

	for (size_t i = 0; i < 3; i++) {
		snprintf(live, sizeof live, "%s%s", s->db, tails[i]);
		snprintf(kept, sizeof kept, "%s.copy%s", s->db, tails[i]);
		copy_file(back ? kept : live, back ? live : kept);
	}
	snprintf(kept, sizeof kept, "%s.copy", s->pin_file);
	if (pins_too)
		copy_file(back ? kept : s->pin_file, back ? s->pin_file : kept);
}

/* While it is down its operator makes a copy, or brings one back. */
static void look_at_files(struct sim_node *s)
{
	struct world *w = s->w;

	if (!w->plan.restores || w->healed || s->restored || w->failed)
		return;
	if (!s->has_copy && rng_ppm(&w->act, 500000)) {
		trace("node%u: its files are copied", s->i);
		copy_files(s, false, true);
		s->has_copy = true;
	} else if (s->has_copy && rng_ppm(&w->act, 500000)) {
		trace("node%u: its files are replaced by the copy", s->i);
		copy_files(s, true, rng_ppm(&w->act, 500000));
		s->restored = true;
		w->totals.restores++;
	}
}

void sim_node_crash(struct sim_node *s, uint64_t down_ms)
{
	if (!s->up)
		return;
	trace("node%u crashes", s->i);
	loopback_kill(s->tp);
	check_crashed(s);
	bury(s, true);
	s->dying = false;
	look_at_files(s);
	timer_in(&s->w->env, &s->restart, down_ms);
}

static void stop_done(void *ctx)
{
	struct sim_node *s = ctx;

	s->stopped = true;
}

void sim_node_stop(struct sim_node *s)
{
	if (!s->up || s->stopping)
		return;
	trace("node%u stops", s->i);
	s->stopping = true;
	node_goodbye(s->node);
	tp_stop(s->tp, stop_done, s);
}

void sim_node_turn(struct sim_node *s)
{
	struct world *w = s->w;

	if (!s->up)
		return;
	/* A full disk stays full: the next write fails again. */
	if (s->full_until_ms)
		store_fail_after(s->store, s->full_until_ms > w->now_ms ? 1 : 0);
	if (s->full_until_ms && s->full_until_ms <= w->now_ms)
		s->full_until_ms = 0;
	for (unsigned k = 0; node_wants_turn(s->node) && !w->failed; k++) {
		if (k == TURNS_MAX) {
			world_fail(w, "node%u wants one turn after another", s->i);
			return;
		}
		node_turn(s->node);
		if (s->full_until_ms)
			store_fail_after(s->store, 1);
		/* As the loop does: one more look at the input; here sometimes at none. */
		if (node_group_waits(s->node) && rng_ppm(&w->act, 700000))
			break;
	}
	if (s->stopped) {
		trace("node%u has stopped", s->i);
		check_crashed(s);
		bury(s, false);
		look_at_files(s);
		timer_in(&w->env, &s->restart, 1 + rng_below(&w->act, SIM_DOWN_MAX_MS));
	}
}

void sim_node_fini(struct sim_node *s)
{
	timer_stop(&s->w->env, &s->restart);
	if (s->up) {
		loopback_kill(s->tp);
		bury(s, true);
	} else if (s->store || s->pins || s->audit) {
		close_disk(s, true);
	}
	timers_fini(&s->env);
}
