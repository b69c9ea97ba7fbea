/* What users, operators and misfortune do: one random thing at a time. */
#include <stdio.h>

#include "tests/sim/sim.h"

#define BODY_LARGE 100000
#define SKEW_CLIP_MS 2300

static struct sim_node *some_node(struct world *w)
{
	struct sim_node *s = &w->nodes[rng_below(&w->act, w->plan.nodes)];

	return s->up && !s->stopping ? s : NULL;
}

static unsigned some_other(struct world *w, unsigned i)
{
	unsigned k = (unsigned)rng_below(&w->act, w->plan.nodes - 1);

	return k + (k >= i);
}

/* Somebody whom this node trusts already, when chance finds one. */
static unsigned some_peer(struct world *w, const struct sim_node *s)
{
	unsigned k = some_other(w, s->i);

	for (int tries = 0; tries < 4; tries++) {
		const struct pin *pin = pins_get(s->pins, &w->nodes[k].id);

		if (pin && pin->state == PIN_TRUSTED)
			break;
		k = some_other(w, s->i);
	}
	return k;
}

static struct msg *some_msg(struct world *w, unsigned from)
{
	for (int tries = 0; w->check.n && tries < 6; tries++) {
		struct msg *m = &w->check.msgs[rng_below(&w->act, w->check.n)];

		if (m->from == from)
			return m;
	}
	return NULL;
}

/* --- sending -------------------------------------------------------------------------------------- */
static void answered(void *ctx, const char *id, enum err e)
{
	struct sim_node *s = ctx;

	if (!s->dying)
		check_answered(s->w, s, id, e);
}

static uint32_t some_size(struct world *w)
{
	const struct plan *p = &w->plan;

	if (rng_ppm(&w->act, 40000))
		return 0;
	if (rng_ppm(&w->act, p->huge_ppm))
		return (uint32_t)rng_between(&w->act, MSG_BODY_MAX - 2000, MSG_BODY_MAX);
	if (rng_ppm(&w->act, p->large_ppm))
		return (uint32_t)rng_between(&w->act, BODY_LARGE / 2, BODY_LARGE);
	return (uint32_t)rng_between(&w->act, 1, p->small_max);
}

static void submit(struct world *w, struct sim_node *s, unsigned to, const char *own_id)
{
	static const char *const types[] = { "", "MSG", "REQ", "RESP", "CONV" };
	struct msg draft = { .body = (unsigned)w->check.n, .size = some_size(w) };
	struct msg *old = own_id ? check_find(w, s->i, own_id) : NULL;
	bool taken = old && !old->forgotten && (old->answer == ANSWER_OK || old->answer == ANSWER_WAITING);
	char id[MSG_ID_MAX + 1];
	struct outbox_row row;
	struct fault f = { 0 };
	struct submit sub = {
		.to = w->nodes[to].id,
		.id = own_id ? bytes_str(own_id) : bytes_of(NULL, 0),
		.type = bytes_str(types[rng_below(&w->act, 5)]),
		.priority = (enum priority)rng_below(&w->act, PRIO_COUNT),
		.body = body_of(w, &draft, &w->check.want),
	};

	if (rng_ppm(&w->act, w->plan.ttl_ppm))
		sub.ttl_ms = 1 + rng_below(&w->act, rng_ppm(&w->act, 500000) ? 300 : 60000);
	enum err e = node_submit(s->node, &sub, answered, s, id, &f);

	trace("node%u submits %s to node%u, priority %u, %u bytes, ttl %llu: %s", s->i, e == ERR_OK ? id : own_id ? own_id : "-",
	      to, sub.priority, draft.size, (unsigned long long)sub.ttl_ms, err_word(e));
	if (e == ERR_OK) {
		if (taken && own_id)
			world_fail(w, "node%u accepted the id %s twice", s->i, id);
		struct msg *m = check_add(w, s->i, to, id);

		m->priority = (uint8_t)sub.priority;
		m->size = draft.size;
		m->has_ttl = sub.ttl_ms != 0;
		if (own_id && outbox_get(s->store, bytes_str(id), &row) == ERR_OK)
			check_alias(w, m, row.wire_id);
	} else if (e == ERR_EXISTS) {
		if (!taken)
			world_fail(w, "node%u says that it knows the id %s", s->i, own_id ? own_id : "that it made");
	} else if (e != ERR_UNTRUSTED && e != ERR_NOTFOUND && e != ERR_FULL && e != ERR_STORE &&
		   !(e == ERR_LIMIT && draft.size > MSG_BODY_MAX - 4000)) {
		world_fail(w, "node%u refuses a submission: %s: %s", s->i, err_word(e), f.what);
	}
}

static void submit_some(struct world *w, struct sim_node *s)
{
	unsigned n = 1 + (unsigned)rng_below(&w->act, w->plan.burst_max), to = some_peer(w, s);
	char own[32];

	for (unsigned i = 0; i < n && !w->failed; i++) {
		bool named = rng_ppm(&w->act, 150000);

		if (rng_ppm(&w->act, 200000))
			to = some_peer(w, s);
		if (rng_ppm(&w->act, w->plan.volatile_ppm)) {
			volatile_send(w, s, to);
			continue;
		}
		snprintf(own, sizeof own, "job-%zu-%u", w->check.n, (unsigned)rng_below(&w->act, 1000));
		submit(w, s, to, named ? own : NULL);
	}
}

static void submit_again(struct world *w, struct sim_node *s)
{
	struct msg *m = some_msg(w, s->i);
	char id[MSG_ID_MAX + 1];

	if (!m || m->forgotten)
		return;
	snprintf(id, sizeof id, "%s", m->id);
	submit(w, s, rng_ppm(&w->act, 800000) ? m->to : some_peer(w, s), id);
}

static void cancel(struct world *w, struct sim_node *s)
{
	struct msg *m = some_msg(w, s->i);
	struct fault f = { 0 };

	if (!m || m->forgotten)
		return;
	size_t at = (size_t)(m - w->check.msgs);
	enum err e = node_outbox_cancel(s->node, bytes_str(m->id), &f);

	m = &w->check.msgs[at];
	trace("node%u cancels %s: %s", s->i, m->id, err_word(e));
	if (e == ERR_OK)
		m->cancelled = true;
	else if (e != ERR_WRONG_STATE && e != ERR_STORE && e != ERR_NOTFOUND)
		world_fail(w, "node%u cannot cancel %s: %s", s->i, m->id, f.what);
	/* A cancellation that the disk refused, or came too late, may have changed when it is sent. */
	m->any_order = m->any_order || e == ERR_STORE;
}

static void retry(struct world *w, struct sim_node *s)
{
	struct msg *m = some_msg(w, s->i);
	char again[MSG_ID_MAX + 1];
	struct fault f = { 0 };

	/* An id that the user chose stays, and the wire has another name for it: two names, and which of them came is
	 * more than the book knows. */
	if (!m || m->forgotten || m->wire[0])
		return;
	enum err e = node_outbox_retry(s->node, bytes_str(m->id), again, &f);

	trace("node%u retries %s: %s", s->i, m->id, err_word(e));
	if (e == ERR_OK && strcmp(again, m->id) != 0) {
		struct msg old = *m, *new = check_add(w, s->i, old.to, again);

		/* Two messages from now on: the old one may be under way still. */
		check_find(w, s->i, old.id)->forgotten = true;
		new->body = old.body;
		new->priority = old.priority;
		new->size = old.size;
		new->answer = ANSWER_OK;
		new->any_order = true;
		return;
	}
	if (e != ERR_OK || m->seen == OUTBOX_QUEUED || m->seen == OUTBOX_SENT)
		return;
	/* Unless the disk has just refused to keep that end. */
	if ((m->seen == OUTBOX_DELIVERED || m->seen == OUTBOX_READ) && !w->plan.disk_ppm)
		world_fail(w, "node%u sends %s again, which is %s", s->i, m->id, outbox_state_word(m->seen));
	/* A dead letter rises. */
	m->seen = OUTBOX_QUEUED;
	m->any_order = true;
	m->has_ttl = m->cancelled = false;
}

/* --- operators --------------------------------------------------------------------------------------- */
static void decide(struct world *w, struct sim_node *s)
{
	const struct node_id *id = &w->nodes[some_other(w, s->i)].id;
	uint64_t d = rng_below(&w->act, 100);
	struct fault f = { 0 };
	const char *what;
	enum err e;

	if (d < 40) {
		what = "approves";
		e = node_peer_approve(s->node, id, &f);
	} else if (d < 60) {
		what = "blocks";
		e = node_peer_block(s->node, id, "by chance", &f);
	} else if (d < 75) {
		what = "makes pending";
		e = node_peer_pending(s->node, id, &f);
	} else if (d < 95) {
		what = "forgets";
		e = node_peer_forget(s->node, id, &f);
	} else {
		what = "revokes";
		e = node_peer_revoke(s->node, id, "by chance", &f);
	}
	trace("node%u %s node%u: %s", s->i, what, world_index(w, id), err_word(e));
	if (e != ERR_OK && e != ERR_NOTFOUND && e != ERR_WRONG_STATE && e != ERR_STORE)
		world_fail(w, "node%u cannot decide (%s): %s: %s", s->i, what, err_word(e), f.what);
}

static void approve(struct world *w, struct sim_node *s)
{
	unsigned k = some_other(w, s->i);
	const struct pin *pin = pins_get(s->pins, &w->nodes[k].id);
	struct fault f = { 0 };

	if (!pin || pin->state != PIN_PENDING)
		return;
	enum err e = node_peer_approve(s->node, &w->nodes[k].id, &f);

	trace("node%u approves node%u: %s", s->i, k, err_word(e));
	if (e != ERR_OK && e != ERR_STORE)
		world_fail(w, "node%u cannot approve: %s", s->i, f.what);
}

static void pinged(void *ctx, enum err e, double rtt_ms)
{
	struct sim_node *s = ctx;

	trace("node%u ping: %s %.0f ms", s->i, err_word(e), rtt_ms);
	if (e == ERR_OK && rtt_ms < 0)
		world_fail(s->w, "node%u: a ping came back before it went", s->i);
}

static void ping(struct world *w, struct sim_node *s)
{
	enum err e = node_ping(s->node, &w->nodes[some_other(w, s->i)].id, 1 + rng_below(&w->act, 4000), pinged, s);

	if (e != ERR_OK && e != ERR_CLOSED && e != ERR_WRONG_STATE)
		world_fail(w, "node%u cannot ping: %s", s->i, err_word(e));
}

static void look(struct world *w, struct sim_node *s)
{
	struct target_view targets[SIM_NODES_MAX];
	struct outbox_filter f = { .state = -1 };
	struct outbox_row rows[16];
	size_t n = node_targets(s->node, targets, SIM_NODES_MAX), k = 0;

	for (size_t i = 0; i < n; i++)
		if (!targets[i].online && !targets[i].why[0])
			world_fail(w, "node%u does not say why %s is not connected", s->i, targets[i].address);
	if (w->plan.on_disk)
		(void)store_checkpoint(s->store);
	if (rng_ppm(&w->act, 200000))
		node_announce_rotation(s->node, keyring_ed(w->nodes[some_other(w, s->i)].keys));
	enum err e = node_outbox_list(s->node, &f, rows, 16, &k);

	/* What is deferred is written before it is read; a full disk refuses that. */
	if (e != ERR_OK && e != ERR_STORE)
		world_fail(w, "node%u cannot list its outbox: %s", s->i, err_word(e));
}

/* --- misfortune ------------------------------------------------------------------------------------------ */
static void hole(struct world *w)
{
	uint64_t until = w->now_ms + rng_below(&w->act, rng_ppm(&w->act, 300000) ? 90000 : 8000);
	unsigned n = w->plan.nodes, one = (unsigned)rng_below(&w->act, n);
	bool alone = rng_ppm(&w->act, 400000);
	uint64_t side = rng_u64(&w->act);

	trace("a hole in the network until %llu", (unsigned long long)until);
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < n; k++)
			if (alone ? i == one || k == one : ((side >> i) & 1) != ((side >> k) & 1))
				w->hole_until_ms[i][k] = until;
}

static void fill_disk(struct world *w, struct sim_node *s)
{
	s->full_until_ms = w->now_ms + 1 + rng_below(&w->act, 4000);
	trace("the disk of node%u is full until %llu", s->i, (unsigned long long)s->full_until_ms);
	/* Or only one write in the middle of a group fails. */
	if (rng_ppm(&w->act, 500000)) {
		s->full_until_ms = 0;
		store_fail_after(s->store, 1 + (unsigned)rng_below(&w->act, 12));
		return;
	}
	store_fail_after(s->store, 1);
}

static void jump(struct world *w, struct sim_node *s)
{
	int64_t by = (int64_t)rng_below(&w->act, 2 * (uint64_t)w->plan.jump_ms + 1) - w->plan.jump_ms;
	int64_t clip = w->plan.skew_ms > SKEW_CLIP_MS ? w->plan.skew_ms : SKEW_CLIP_MS;

	s->skew_ms += by;
	if (s->skew_ms > clip && !w->plan.any_clock)
		s->skew_ms = clip;
	if (s->skew_ms < -clip && !w->plan.any_clock)
		s->skew_ms = -clip;
	trace("the clock of node%u is off by %lld ms", s->i, (long long)s->skew_ms);
}

void act_once(struct world *w)
{
	const struct plan *p = &w->plan;
	struct sim_node *s = some_node(w);
	uint64_t d = rng_below(&w->act, 100);

	if (rng_ppm(&w->act, p->hole_ppm))
		hole(w);
	if (!s)
		return;
	if (rng_ppm(&w->act, p->trust_ppm))
		decide(w, s);
	if (rng_ppm(&w->act, p->disk_ppm))
		fill_disk(w, s);
	if (p->jump_ms && rng_ppm(&w->act, 50000))
		jump(w, s);
	if (rng_ppm(&w->act, p->stop_ppm)) {
		sim_node_stop(s);
		return;
	}
	if (d < 62)
		submit_some(w, s);
	else if (d < 76)
		check_read(s, 1 + rng_below(&w->act, 5));
	else if (d < 83)
		cancel(w, s);
	else if (d < 87)
		submit_again(w, s);
	else if (d < 89)
		retry(w, s);
	else if (d < 91)
		ping(w, s);
	else if (d < 93)
		look(w, s);
	else
		approve(w, s);
}
