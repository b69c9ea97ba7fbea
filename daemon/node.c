/*
 * node.c -- birth, end and turn of the conductor's core. The turn is the group commit: one
 * transaction for everything since the last turn, and only then the answers.
 */
#include "daemon/node_internal.h"
#include "daemon/pairing.h"
#include "daemon/probe.h"
#include "daemon/parts.h"
#include "daemon/records.h"
#include "daemon/refusals.h"

#include <malloc.h>
#include <stdlib.h>

#define CONNECT_SOURCES_MAX 4096
#define LADDER_SOURCES 10000
#define ITEMS_MAX 131072
#define OPS_KEEP 256

static double pick(double v, double dflt)
{
	return v > 0 ? v : dflt;
}

static void fill_limits(struct node_limits *l)
{
	l->peer_messages_per_s = pick(l->peer_messages_per_s, 10000);
	l->peer_burst = pick(l->peer_burst, 2000);
	l->peer_bytes_per_s = pick(l->peer_bytes_per_s, 64.0 * 1024 * 1024);
	l->total_messages_per_s = pick(l->total_messages_per_s, 20000);
	if (l->connects_per_s < 0) {
		l->connects_per_s = 20;
		l->connects_burst = 100;
	}
	l->connects_burst = pick(l->connects_burst, l->connects_per_s * 5);
	l->old_peer_frames_per_s = pick(l->old_peer_frames_per_s, 18);
	if (l->strangers_per_s >= 0)
		l->strangers_per_s = pick(l->strangers_per_s, 5);
	l->strangers_burst = pick(l->strangers_burst, 60);
	l->sessions = l->sessions ? l->sessions : 4096;
	l->handshakes = l->handshakes ? l->handshakes : 64;
	l->handshakes_per_source = l->handshakes_per_source ? l->handshakes_per_source : 16;
	l->window = l->window ? l->window : 512;
	l->window_bytes = l->window_bytes ? l->window_bytes : 4u << 20;
	l->confirm_ms = l->confirm_ms ? l->confirm_ms : 30000;
	l->ping_ms = l->ping_ms ? l->ping_ms : 30000;
}

void node_reconfigure(struct node *n, const struct node_config *c)
{
	struct node_limits l = n->c.limits;
	bool rates;

	n->c.min_version = c->min_version;
	n->c.rekey_ms = c->rekey_ms;
	n->c.im2_pad = c->im2_pad;
	n->c.im2_sign_always = c->im2_sign_always;
	n->c.seal_refuse = c->seal_refuse;
	n->c.no_seal_pad = c->no_seal_pad;
	n->c.rotate_keeps_verified = c->rotate_keeps_verified;
	n->c.cap_change_holds = c->cap_change_holds;
	n->c.open_discovery = c->open_discovery;
	n->c.revoke_quorum = c->revoke_quorum;
	n->c.revoke_admins = c->revoke_admins;
	n->c.revoke_admins_n = c->revoke_admins_n;
	records_admins_changed(n);
	l.connects_per_s = c->limits.connects_per_s;
	l.connects_burst = c->limits.connects_burst;
	l.strangers_per_s = c->limits.strangers_per_s;
	fill_limits(&l);
	rates = l.connects_per_s != n->c.limits.connects_per_s || l.strangers_per_s != n->c.limits.strangers_per_s;
	n->c.limits = l;
	if (rates) {
		map_clear(n->connects); /* its buckets have the old rate */
		bucket_init(&n->strangers, l.strangers_per_s, l.strangers_burst, env_now(n->env));
	}
	if (n->im2)
		im2_host_configure(n->im2, c->im2_pad, c->im2_sign_always, c->rekey_ms);
}

static void soft_due(void *ctx)
{
	node_want_turn(ctx);
}

static void expiry_due(void *ctx)
{
	struct node *n = ctx;
	struct outbox_row rows[32];
	size_t got = 0;

	do {
		if (outbox_expire(n->p.store, env_wall(n->env), rows, 32, &got) != ERR_OK) {
			node_store_failed(n);
			timer_in(n->env, &n->expiry_timer, DISK_RETRY_MS);
			return;
		}
		for (size_t i = 0; i < got; i++) {
			item_free(item_find(n, &rows[i].to, bytes_str(rows[i].id)));
			n->n.messages_expired++;
			outbound_ended(n, &rows[i].to, rows[i].id, OUTBOX_EXPIRED, "expired", 0);
		}
		if (got)
			node_store_soft(n);
	} while (got == 32);
	sched_expire_arm(n);
}

static void ping_due(void *ctx)
{
	struct node *n = ctx;
	struct list *l, *next;

	for (l = n->conns_list.next; l != &n->conns_list; l = next) {
		struct conn *c = list_entry(l, struct conn, link);

		next = l->next;
		if (!c->online || c->closing || !session_can_send(c->session))
			continue;
		/* A link that only TCP believes in: something waits, and nothing was heard for two rounds. */
		if (c->im2 && c->peer->q->flight_count &&
		    env_now(n->env) - c->heard_ms > 2 * n->c.limits.ping_ms + 1000) {
			conn_close(c, "no-answer");
			continue;
		}
		if (c->peer)
			marks_settle(c->peer);
		c->ping_ms = env_now(n->env);
		if (session_ping(c->session) == ERR_OK)
			conn_pump(c);
	}
	timer_in(n->env, &n->ping_timer, n->c.limits.ping_ms);
}

enum err node_new(const struct node_config *c, const struct node_parts *p, struct node **out)
{
	struct node *n = calloc(1, sizeof *n);
	struct map_opts mo = { .capacity = 1, .policy = MAP_REFUSE, .value_size = sizeof(void *) };
	uint8_t key[16];

	if (!n)
		return ERR_NOMEM;
	n->c = *c;
	n->p = *p;
	n->env = p->env;
	fill_limits(&n->c.limits);
	list_init(&n->conns_list);
	list_init(&n->shaking);
	list_init(&n->reap);
	list_init(&n->active);
	list_init(&n->dirty);
	list_init(&n->pings);
	list_init(&n->pump);
	env_random(n->env, mo.hash_key, sizeof mo.hash_key);
	mo.capacity = n->c.limits.sessions + n->c.limits.handshakes + TARGETS_MAX;
	n->conns = map_new(&mo);
	mo.capacity = PINS_MAX + 1024;
	n->peers = map_new(&mo);
	mo.capacity = ITEMS_MAX;
	n->items = map_new(&mo);
	mo.capacity = CONNECT_SOURCES_MAX;
	mo.policy = MAP_EVICT_LRU;
	mo.value_size = sizeof(struct bucket);
	n->connects = map_new(&mo);
	mo.value_size = sizeof(uint64_t);
	n->friends = map_new(&mo);
	env_random(n->env, key, sizeof key);
	if (refusals_new(n->env, &n->refusals) != ERR_OK) {
		node_free(n);
		return ERR_NOMEM;
	}
	n->by_source = ladder_new(key, LADDER_SOURCES);
	n->by_identity = ladder_new(key, LADDER_SOURCES);
	if (!n->conns || !n->peers || !n->items || !n->connects || !n->friends || !n->by_source || !n->by_identity) {
		node_free(n);
		return ERR_NOMEM;
	}
	bucket_init(&n->total, n->c.limits.total_messages_per_s, n->c.limits.total_messages_per_s,
		    env_now(n->env));
	bucket_init(&n->strangers, n->c.limits.strangers_per_s, n->c.limits.strangers_burst, env_now(n->env));
	buf_init(&n->scratch, SESSION_UNIT_MAX);
	timer_init(&n->soft_timer, soft_due, n);
	timer_init(&n->expiry_timer, expiry_due, n);
	timer_init(&n->ping_timer, ping_due, n);
	timer_init(&n->release_timer, inbound_release_due, n);
	timer_init(&n->held_timer, held_due, n);
	timer_in(n->env, &n->held_timer, 60000);
	timer_in(n->env, &n->ping_timer, n->c.limits.ping_ms);
	sched_expire_arm(n);
	enum err e = native_new(n);

	if (e == ERR_OK)
		e = parts_new(n);
	if (e != ERR_OK) {
		node_free(n);
		return e;
	}
	*out = n;
	return ERR_OK;
}

static bool free_one_peer(void *ctx, struct bytes key, void *value)
{
	struct peer *p;

	memcpy(&p, value, sizeof p);
	peer_free(ctx, p);
	return false;
}

void node_free(struct node *n)
{
	if (!n)
		return;
	n->stopping = true;
	probe_gone(n);
	for (size_t i = 0; i < n->ops_n; i++)
		if (n->ops[i].kind == OP_SUBMIT)
			item_free(n->ops[i].item);
	sched_drop_all(n);
	while (!list_empty(&n->conns_list))
		conn_free(list_entry(n->conns_list.next, struct conn, link));
	while (!list_empty(&n->shaking))
		conn_free(list_entry(n->shaking.next, struct conn, link));
	if (n->peers)
		map_each(n->peers, free_one_peer, n);
	dial_fini(n);
	while (!list_empty(&n->pings)) {
		struct ping_wait *w = list_entry(n->pings.next, struct ping_wait, link);

		list_del(&w->link);
		timer_stop(n->env, &w->timer);
		free(w);
	}
	timer_stop(n->env, &n->soft_timer);
	timer_stop(n->env, &n->expiry_timer);
	timer_stop(n->env, &n->ping_timer);
	timer_stop(n->env, &n->release_timer);
	timer_stop(n->env, &n->held_timer);
	parts_free(n);
	native_free(n);
	free(n->ops);
	buf_fini(&n->scratch);
	map_free(n->conns);
	map_free(n->peers);
	map_free(n->items);
	map_free(n->connects);
	map_free(n->friends);
	refusals_free(n->refusals);
	ladder_free(n->by_source);
	ladder_free(n->by_identity);
	free(n);
}

void node_attach(struct node *n, struct transport *t)
{
	n->tp = t;
}

void node_detach(struct node *n, struct transport *t)
{
	if (n->tp == t)
		n->tp = NULL;
}

void node_goodbye(struct node *n)
{
	n->stopping = true;
	pairing_stop(n);
	probe_stop(n);
	for (struct list *l = n->conns_list.next; l != &n->conns_list; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);

		if (c->online && !c->closing && session_goodbye(c->session) == ERR_OK) {
			struct session_unit u;

			while (session_next_unit(c->session, &u))
				if (tp_send(c->tp, c->id, u.bytes, u.text) != ERR_OK)
					break;
		}
	}
}

/* --- the turn --------------------------------------------------------------------------------- */
void node_want_turn(struct node *n)
{
	n->turn_wanted = true;
}

bool node_wants_turn(const struct node *n)
{
	return n->turn_wanted;
}

bool node_group_waits(const struct node *n)
{
	return n->group_waits;
}

void node_store_hard(struct node *n)
{
	n->hard = true;
	n->turn_wanted = true;
}

/* A soft write may wait for company: what it records (a confirmation) was true before it was written,
 * and a crash only makes the far side confirm again. */
void node_store_soft(struct node *n)
{
	if (n->soft_since_ms)
		return;
	n->soft_since_ms = env_now(n->env);
	timer_in(n->env, &n->soft_timer, SOFT_COMMIT_MS);
}

void node_store_failed(struct node *n)
{
	n->group_failed = true;
	n->turn_wanted = true;
}

struct op *node_op(struct node *n)
{
	if (n->ops_n == n->ops_cap) {
		size_t cap = n->ops_cap ? n->ops_cap * 2 : 64;
		struct op *ops = realloc(n->ops, cap * sizeof *ops);

		BUG_ON(!ops);
		n->ops = ops;
		n->ops_cap = cap;
	}
	struct op *op = &n->ops[n->ops_n++];

	memset(op, 0, sizeof *op);
	return op;
}

static enum err commit_group(struct node *n)
{
	enum err e = n->group_failed ? ERR_STORE : store_commit(n->p.store);
	struct op *ops = n->ops;
	size_t count = n->ops_n;

	if (n->group_failed)
		store_rollback(n->p.store);
	n->group_failed = n->hard = false;
	n->ops_seen = 0;
	n->soft_since_ms = 0;
	timer_stop(n->env, &n->soft_timer);
	/* The callbacks below may submit again: those belong to the next group. */
	n->ops = NULL;
	n->ops_n = n->ops_cap = 0;
	/* Memory first: the answers below may close sessions, and what they drop must not be here too. */
	for (size_t i = 0; i < count; i++) {
		struct item *it = ops[i].kind == OP_SUBMIT ? ops[i].item : NULL;

		ops[i].item = NULL;
		if (it && e == ERR_OK)
			sched_committed(it->peer, it);
		else
			item_free(it);
	}
	if (e != ERR_OK) {
		n->n.store_failures++;
		log_error("store-failed group=%zu err=%s", count, err_word(e));
		sched_store_rolled_back(n);
		conn_store_rolled_back(n);
		parts_rolled_back(n);
		timer_in(n->env, &n->release_timer, DISK_RETRY_MS);
		timer_in(n->env, &n->expiry_timer, DISK_RETRY_MS); /* what had expired waits again */
	}
	for (size_t i = 0; i < count; i++) {
		if (ops[i].kind == OP_SUBMIT)
			outbound_op_done(n, &ops[i], e);
		else
			inbound_op_done(n, &ops[i], e);
	}
	if (e == ERR_OK)
		parts_committed(n);
	inbound_committed(n);
	if (!n->ops && count <= OPS_KEEP) {
		n->ops = ops;
		n->ops_cap = count ? count : n->ops_cap;
	} else {
		free(ops);
	}
	return e;
}

enum err node_commit(struct node *n)
{
	if (!n->group_failed && !n->ops_n && !store_dirty(n->p.store))
		return ERR_OK;
	return commit_group(n);
}

void node_turn(struct node *n)
{
	bool soft = n->soft_since_ms && env_now(n->env) - n->soft_since_ms >= SOFT_COMMIT_MS;
	struct list dirty;

	n->turn_wanted = n->group_waits = false;
	if (!n->group_failed && n->ops_n > n->ops_seen && n->ops_n < GROUP_OPS) {
		n->ops_seen = n->ops_n;
		n->group_waits = n->turn_wanted = true;
	} else if (n->group_failed || n->hard || soft || n->ops_n) {
		(void)commit_group(n);
	}
	/* Whoever has more to say after this says it in the next turn. */
	list_init(&dirty);
	list_add_tail(&n->dirty, &dirty);
	list_del(&n->dirty);
	while (!list_empty(&dirty)) {
		struct conn *c = list_entry(dirty.next, struct conn, dirty);

		list_del(&c->dirty);
		c->is_dirty = false;
		if (!c->closing)
			conn_flush_receipts(c);
	}
	sched_run(n);
	parts_run(n);
	while (!list_empty(&n->pump)) {
		struct conn *c = list_entry(n->pump.next, struct conn, pump);

		list_del(&c->pump);
		c->pump_due = false;
		conn_pump(c);
	}
	conn_reap(n);
}

/* --- small things shared ------------------------------------------------------------------------ */
void node_watch(struct node *n, void (*fn)(void *ctx, const struct node_id *author, int64_t inbox_seq), void *ctx)
{
	n->watcher = fn;
	n->watcher_ctx = ctx;
}

void node_observe(struct node *n, void (*fn)(void *ctx, const struct node_event *e), void *ctx)
{
	n->observer = fn;
	n->observer_ctx = ctx;
}

/* Of who is ignored only what the operator does himself is told. */
static bool ignored(struct node *n, const struct node_event *e)
{
	static const char *const kept[] = { "peer.approved", "peer.blocked", "peer.ignored", "peer.key_changed" };
	const struct pin *pin;

	if (strncmp(e->type, "peer.", 5) != 0 || !e->peer.hex[0])
		return false;
	for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
		if (strcmp(e->type, kept[i]) == 0)
			return false;
	pin = pins_get(n->p.pins, &e->peer);
	return pin && pin->ignored;
}

void node_event(struct node *n, const struct node_event *e)
{
	if (n->observer && !n->stopping && !ignored(n, e))
		n->observer(n->observer_ctx, e);
}

void node_simple_event(struct node *n, const char *type, const struct node_id *peer, const char *reason)
{
	struct node_event e = { .type = type, .peer = *peer, .reason = reason };

	if (n->observer) {
		e.name = peer_name(n, peer);
		node_event(n, &e);
	}
}

void node_pins_flush(struct node *n, const char *why)
{
	struct fault f = { 0 };

	if (pins_flush(n->p.pins, &f) != ERR_OK)
		log_error("trust-store-not-written why=%s what=\"%s\"", why, f.what);
	/* Writing a large store makes and frees many small things between those that stay. */
	if (pins_count(n->p.pins) > 64)
		malloc_trim(0);
}

const struct node_counters *node_counters(const struct node *n)
{
	return &n->n;
}

size_t node_banned(struct node *n)
{
	return ladder_banned(n->by_source, env_now(n->env));
}

void node_transport_stats(struct node *n, struct transport_stats *out)
{
	memset(out, 0, sizeof *out);
	if (n->tp)
		tp_stats(n->tp, out);
}

struct pins *node_pins(struct node *n)
{
	return n->p.pins;
}

struct store *node_store(struct node *n)
{
	return n->p.store;
}

struct audit *node_audit(struct node *n)
{
	return n->p.audit;
}

const struct keyring *node_keyring(struct node *n)
{
	return n->p.keyring;
}

const char *node_name(const struct node *n)
{
	return n->c.name;
}

size_t node_online(const struct node *n)
{
	return n->online;
}
