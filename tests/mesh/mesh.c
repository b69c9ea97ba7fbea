/*
 * mesh.c -- many real nodes over the loopback transport in virtual time: a random mesh forms, converges, carries messages
 * through relays, is cut in two and heals, loses a quarter of its units, and has relays that take everything and forward
 * nothing. Every message to a node that can be reached must arrive exactly once, under the name of its author.
 *
 *   mesh [--nodes N] [--fan-out K] [--messages M] [--seed S | --seeds COUNT] [--only PHASE] [--verbose]
 *
 * Phases: quiet, partition, flaps, loss, holes. `--only converge`: none of them, just how the mesh finds itself.
 *
 * The same seed gives the same run. Nodes know the keys of their neighbours and of whom they write to; nothing else.
 */
#include <getopt.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "base/log.h"
#include "base/secret.h"
#include "base/text.h"
#include "daemon/node_internal.h"
#include "daemon/parts.h"
#include "daemon/relay.h"
#include "daemon/routes.h"
#include "transports/loopback.h"

#define WALL UINT64_C(1770000000000)
#define STEP_MS 10
#define MINUTE UINT64_C(60000)
#define FAN_MAX 8

struct vertex {
	struct mesh *m;
	unsigned number;
	char name[16], address[24];
	struct keyring *keyring;
	struct pins *pins;
	struct store *store;
	struct audit *audit;
	struct policy policy;
	struct node *node;
	struct transport *tp;
	unsigned half;             /* 0, 1: sides of a partition */
	bool hole;                 /* takes what it should forward, and drops it */
	uint64_t penalties;        /* audited */
};

struct letter {
	unsigned from, to;
	char id[MSG_ID_MAX + 1];
	uint64_t sent_ms, arrived_ms;
	unsigned copies;
	bool wrong_author, confirmed;
};

struct mesh {
	uint64_t now_ms, seed, counter;
	struct env env;
	struct loopnet *net;
	unsigned n, fan_out;
	struct vertex *v;
	struct letter *letters;
	size_t letters_n, letters_cap;
	bool cut, verbose;
	const char *only;          /* NULL: every phase */
	unsigned loss;             /* percent */
	uint64_t units, bytes;
	struct map *by_id;         /* msg id || recipient -> index */
};

static uint64_t now_ms(void *ctx)
{
	return ((struct mesh *)ctx)->now_ms;
}

static uint64_t wall_ms(void *ctx)
{
	return WALL + ((struct mesh *)ctx)->now_ms;
}

static void chance(void *ctx, void *out, size_t n)
{
	struct mesh *m = ctx;
	uint8_t seed[randombytes_SEEDBYTES] = { 0 };

	memcpy(seed, &m->seed, sizeof m->seed);
	m->counter++;
	memcpy(seed + 8, &m->counter, sizeof m->counter);
	randombytes_buf_deterministic(out, n, seed);
}

static unsigned pick(struct mesh *m, unsigned n)
{
	return (unsigned)env_uniform(&m->env, n);
}

static struct vertex *at_address(struct mesh *m, const char *address)
{
	return &m->v[strtoul(address + 1, NULL, 10)];
}

static struct loop_fate fate(void *ctx, const char *from, const char *to, struct bytes unit)
{
	struct mesh *m = ctx;
	struct loop_fate f = { .delay_ms = 1 + pick(m, 20), .copies = 1 };

	if (m->cut && at_address(m, from)->half != at_address(m, to)->half)
		f.cut = true;
	if (unit.n) {
		m->units++;
		m->bytes += unit.n;
		if (m->loss && pick(m, 100) < m->loss)
			f.copies = 0;
	}
	return f;
}

/* --- nodes ------------------------------------------------------------------------------------------------ */
static void die(const char *what)
{
	fprintf(stderr, "mesh: %s\n", what);
	exit(2);
}

static void heard(void *ctx, const char *event)
{
	struct vertex *v = ctx;

	v->penalties += strcmp(event, "ROUTE_PENALISED") == 0;
}

static struct bytes letter_key(const char *id, unsigned to, char out[static 160])
{
	snprintf(out, 160, "%s/%u", id, to);
	return bytes_str(out);
}

static void on_event(void *ctx, const struct node_event *e)
{
	struct vertex *v = ctx;
	struct mesh *m = v->m;
	char key[160];
	size_t *at;

	if (strcmp(e->type, "message.delivered") == 0) {
		for (size_t i = 0; i < m->letters_n; i++)
			if (m->letters[i].from == v->number && strcmp(m->letters[i].id, e->msg_id) == 0)
				m->letters[i].confirmed = true;
		return;
	}
	if (strcmp(e->type, "inbox.new") != 0)
		return;
	at = map_peek(m->by_id, letter_key(e->msg_id, v->number, key));
	if (!at)
		die("a message arrived that nobody sent");
	struct letter *l = &m->letters[*at];

	l->copies++;
	l->arrived_ms = m->now_ms;
	l->wrong_author |= !node_id_eq(&e->peer, keyring_id(m->v[l->from].keyring));
}

static void start(struct mesh *m, unsigned number)
{
	static const uint8_t mesh_key[32] = { 7 }, wrap[32] = { 9 };
	struct vertex *v = &m->v[number];
	struct node_config nc = { .passphrase = BYTES_LIT("a passphrase of the mesh"), .policy = &v->policy,
				  .routing = ROUTING_RELAY, .no_seal_pad = true };
	struct store_config sc = { .env = &m->env, .relaxed = true, .wrap_key = BYTES_ARR(wrap) };
	struct node_parts parts = { .env = &m->env };
	struct transport_sink sink;

	v->m = m;
	v->number = number;
	snprintf(v->name, sizeof v->name, "n%u", number);
	snprintf(v->address, sizeof v->address, "n%u:1", number);
	policy_init(&v->policy);
	snprintf(nc.name, sizeof nc.name, "%s", v->name);
	nc.limits.connects_per_s = 0;
	nc.limits.strangers_per_s = -1;
	if (keyring_generate(&m->env, &v->keyring) != ERR_OK || store_open(&sc, &v->store, NULL) != ERR_OK ||
	    pins_load(NULL, v->keyring, &m->env, &v->pins, NULL) != ERR_OK ||
	    audit_open(NULL, v->keyring, &m->env, &v->audit, NULL) != ERR_OK)
		die("a node does not start");
	audit_observe(v->audit, heard, v);
	parts.keyring = v->keyring;
	parts.pins = v->pins;
	parts.store = v->store;
	parts.audit = v->audit;
	if (node_new(&nc, &parts, &v->node) != ERR_OK || node_mesh_key(v->node, 0, BYTES_ARR(mesh_key)) != ERR_OK)
		die("a node does not start");
	node_observe(v->node, on_event, v);
	sink = node_sink(v->node);
	if (loopback_new(m->net, v->address, &sink, &v->tp) != ERR_OK)
		die("an endpoint does not start");
	node_attach(v->node, v->tp);
}

static void know(struct mesh *m, unsigned a, unsigned b)
{
	struct vertex *x = &m->v[a], *y = &m->v[b];

	if (!pins_get(x->pins, keyring_id(y->keyring)) &&
	    pins_pin(x->pins, keyring_ed(y->keyring), y->name, wall_ms(m), NULL) != ERR_OK)
		die("a key is not pinned");
	if (!pins_get(y->pins, keyring_id(x->keyring)) &&
	    pins_pin(y->pins, keyring_ed(x->keyring), x->name, wall_ms(m), NULL) != ERR_OK)
		die("a key is not pinned");
}

/* Everybody dials a few who came before: connected, and random. */
static void connect_all(struct mesh *m)
{
	for (unsigned i = 1; i < m->n; i++) {
		unsigned k = i < m->fan_out ? i : m->fan_out, chosen[FAN_MAX], c = 0;

		while (c < k) {
			unsigned to = pick(m, i), same = 0;

			for (unsigned x = 0; x < c; x++)
				same |= chosen[x] == to;
			if (same)
				continue;
			chosen[c++] = to;
			know(m, i, to);
			if (node_add_target(m->v[i].node, m->v[to].address, NULL) != ERR_OK)
				die("a target is not taken");
		}
		node_dial_all(m->v[i].node);
	}
}

static void end_all(struct mesh *m)
{
	for (unsigned i = 0; i < m->n; i++) {
		struct vertex *v = &m->v[i];

		loopback_kill(v->tp);
		node_detach(v->node, v->tp);
		node_free(v->node);
		tp_free(v->tp);
		policy_fini(&v->policy);
		store_close(v->store);
		audit_close(v->audit);
		pins_free(v->pins);
		keyring_free(v->keyring);
	}
	loopnet_free(m->net);
	timers_fini(&m->env);
	map_free(m->by_id);
	free(m->v);
	free(m->letters);
}

static void pass(struct mesh *m, uint64_t ms)
{
	uint64_t end = m->now_ms + ms;

	while (m->now_ms < end) {
		uint64_t next = timers_next(&m->env);

		m->now_ms = next > m->now_ms + STEP_MS ? (next < end ? next : end) : m->now_ms + STEP_MS;
		for (int round = 0; round < 4; round++) {
			bool any = false;

			timers_run(&m->env);
			for (unsigned i = 0; i < m->n; i++)
				for (int t = 0; t < 8 && node_wants_turn(m->v[i].node); t++) {
					node_turn(m->v[i].node);
					any = true;
				}
			if (!any)
				break;
		}
	}
}

/* --- messages ------------------------------------------------------------------------------------------------ */
static void send_one(struct mesh *m, unsigned from, unsigned to)
{
	struct letter *l;
	struct submit s = { .ttl_ms = 24 * 60 * MINUTE, .priority = PRIO_NORMAL };
	char body[32], key[160];
	struct fault f = { 0 };
	bool created;
	void *v;

	know(m, from, to);
	if (m->letters_n == m->letters_cap)
		die("too many letters");
	l = &m->letters[m->letters_n];
	*l = (struct letter){ .from = from, .to = to, .sent_ms = m->now_ms };
	snprintf(body, sizeof body, "letter %zu", m->letters_n);
	s.to = *keyring_id(m->v[to].keyring);
	s.body = bytes_str(body);
	if (node_submit(m->v[from].node, &s, NULL, NULL, l->id, &f) != ERR_OK)
		die(f.what);
	if (map_put(m->by_id, letter_key(l->id, to, key), 0, &v, &created) != ERR_OK || !created)
		die("two letters of one name");
	memcpy(v, &m->letters_n, sizeof m->letters_n);
	m->letters_n++;
}

static void send_many(struct mesh *m, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		unsigned from = pick(m, m->n), to = pick(m, m->n);

		while (m->v[from].hole)
			from = pick(m, m->n);
		while (to == from || m->v[to].hole)
			to = pick(m, m->n);
		send_one(m, from, to);
		if (i % 20 == 19)
			pass(m, 50);
	}
}

static bool all_here(const struct mesh *m, size_t from)
{
	for (size_t i = from; i < m->letters_n; i++)
		if (!m->letters[i].copies || !m->letters[i].confirmed)
			return false;
	return true;
}

static int by_time(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void say_missing(const struct mesh *m, size_t from, uint64_t after_s)
{
	for (size_t i = from; i < m->letters_n; i++) {
		const struct letter *l = &m->letters[i];

		if (l->copies && l->confirmed)
			continue;
		printf("    after %llu s: n%u to n%u %s, %s\n", (unsigned long long)after_s, l->from, l->to,
		       l->copies ? "not confirmed" : "not there",
		       routes_next(m->v[l->from].node, keyring_id(m->v[l->to].keyring), NULL) ? "there is a way" :
												"its author knows no way");
	}
	fflush(stdout);
}

static bool plays(const struct mesh *m, const char *phase)
{
	return !m->only || strcmp(m->only, phase) == 0;
}

/* Waits until everything since `from` is delivered and confirmed; says what was seen. */
static bool phase(struct mesh *m, const char *name, size_t from, uint64_t patience_ms)
{
	uint64_t began = m->now_ms, *took = calloc(m->letters_n - from + 1, sizeof *took);
	size_t lost = 0, twice = 0, wrong = 0, unconfirmed = 0, n = 0;

	while (!all_here(m, from) && m->now_ms - began < patience_ms) {
		pass(m, 1000);
		if (m->verbose && (m->now_ms - began) / 1000 % 300 == 0)
			say_missing(m, from, (m->now_ms - began) / 1000);
	}
	for (size_t i = from; i < m->letters_n; i++) {
		const struct letter *l = &m->letters[i];

		lost += !l->copies;
		twice += l->copies > 1;
		wrong += l->wrong_author;
		unconfirmed += l->copies && !l->confirmed;
		if (l->copies)
			took[n++] = l->arrived_ms - l->sent_ms;
	}
	if (n)
		qsort(took, n, sizeof *took, by_time);
	printf("  %-10s %5zu of %5zu arrived, twice %zu, wrong author %zu, unconfirmed %zu; after ms p50 %llu p95 %llu max %llu\n",
	       name, n, m->letters_n - from, twice, wrong, unconfirmed, (unsigned long long)(n ? took[n / 2] : 0),
	       (unsigned long long)(n ? took[n * 95 / 100] : 0), (unsigned long long)(n ? took[n - 1] : 0));
	fflush(stdout);
	say_missing(m, from, (m->now_ms - began) / 1000);
	free(took);
	return !lost && !twice && !wrong && !unconfirmed;
}

/* --- the story -------------------------------------------------------------------------------------------------- */
static unsigned sessions(const struct mesh *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->n; i++)
		n += (unsigned)node_online(m->v[i].node);
	return n / 2;
}

/* The share of pairs, of a sample, that have a way. */
static unsigned reach(struct mesh *m, unsigned sample)
{
	unsigned good = 0;

	for (unsigned i = 0; i < sample; i++) {
		unsigned a = pick(m, m->n), b = pick(m, m->n);

		good += a == b || routes_next(m->v[a].node, keyring_id(m->v[b].keyring), NULL);
	}
	return good * 1000 / sample;
}

#define ROUTE_RECORD 141 /* bytes (im2.md 13.3) */

static bool converge(struct mesh *m)
{
	uint64_t began = m->now_ms, units = m->units, bytes = m->bytes;
	unsigned r = 0, enough = m->n > 500 ? 900 : 1000;

	while (m->now_ms - began < 10 * MINUTE && (r = reach(m, 2000)) < enough)
		pass(m, 250);
	printf("  converged  %u sessions, %u.%u %% of pairs have a way after %llu ms; %llu units, %llu KiB\n", sessions(m), r / 10,
	       r % 10, (unsigned long long)(m->now_ms - began), (unsigned long long)(m->units - units),
	       (unsigned long long)((m->bytes - bytes) >> 10));
	printf("  floor      %llu KiB: every node hears of every other one once\n",
	       (unsigned long long)m->n * (m->n - 1) * ROUTE_RECORD >> 10);
	fflush(stdout);
	units = m->units;
	bytes = m->bytes;
	pass(m, 2 * MINUTE);
	printf("  at rest    %llu units/s, %llu B/s of the whole mesh, %llu B/s of a node\n",
	       (unsigned long long)((m->units - units) / 120), (unsigned long long)((m->bytes - bytes) / 120),
	       (unsigned long long)((m->bytes - bytes) / 120 / m->n));
	fflush(stdout);
	return r >= enough;
}

static void halves(struct mesh *m)
{
	for (unsigned i = 0; i < m->n; i++)
		m->v[i].half = pick(m, 2);
}

/* Relays that swallow: everything else about them is as it should be. Never so many that the rest falls apart. */
static void make_holes(struct mesh *m, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct vertex *v = &m->v[m->n / 2 + pick(m, m->n / 2)];

		if (v->hole)
			continue;
		v->hole = true;
		relay_free(v->node);
	}
}

static bool quiet(struct mesh *m, unsigned messages)
{
	size_t from = m->letters_n;

	send_many(m, messages);
	return phase(m, "quiet", from, 30 * MINUTE);
}

static bool partition(struct mesh *m, unsigned messages)
{
	size_t from = m->letters_n;

	halves(m);
	m->cut = true;
	pass(m, 2 * MINUTE);
	send_many(m, messages);
	pass(m, 10 * MINUTE);
	m->cut = false;
	return phase(m, "partition", from, 90 * MINUTE);
}

static bool flaps(struct mesh *m, unsigned messages)
{
	size_t from = m->letters_n;

	for (int i = 0; i < 6; i++) {
		halves(m);
		m->cut = true;
		pass(m, 5000);
		m->cut = false;
		send_many(m, messages / 6 + 1);
		pass(m, 20000);
	}
	return phase(m, "flaps", from, 90 * MINUTE);
}

static bool loss(struct mesh *m, unsigned messages)
{
	size_t from = m->letters_n;
	bool good;

	m->loss = 25;
	send_many(m, messages);
	good = phase(m, "loss 25 %", from, 240 * MINUTE);
	m->loss = 0;
	pass(m, 5 * MINUTE);
	return good;
}

static bool holes(struct mesh *m, unsigned messages)
{
	size_t from = m->letters_n;

	make_holes(m, m->n / 20 + 1);
	send_many(m, messages);
	return phase(m, "holes", from, 120 * MINUTE);
}

static bool run(struct mesh *m, unsigned messages)
{
	struct map_opts mo = { .capacity = 1u << 20, .policy = MAP_REFUSE, .value_size = sizeof(size_t) };
	uint64_t penalties = 0;
	bool good = true, found;

	m->env = (struct env){ .ctx = m, .now_ms = now_ms, .wall_ms = wall_ms, .random = chance };
	m->now_ms = 1000;
	m->net = loopnet_new(&m->env);
	m->v = calloc(m->n, sizeof *m->v);
	m->letters_cap = (size_t)messages * 8;
	m->letters = calloc(m->letters_cap, sizeof *m->letters);
	m->by_id = map_new(&mo);
	if (!m->net || !m->v || !m->letters || !m->by_id)
		die("no memory");
	loopnet_set_fate(m->net, fate, m);
	for (unsigned i = 0; i < m->n; i++)
		start(m, i);
	connect_all(m);
	found = converge(m);
	if (m->only && strcmp(m->only, "converge") == 0)
		return found;

	if (plays(m, "quiet"))
		good &= quiet(m, messages);
	if (plays(m, "partition"))
		good &= partition(m, messages);
	if (plays(m, "flaps"))
		good &= flaps(m, messages);
	if (plays(m, "loss"))
		good &= loss(m, messages);
	if (plays(m, "holes"))
		good &= holes(m, messages);
	for (unsigned i = 0; i < m->n; i++)
		penalties += m->v[i].penalties;
	printf("  found out  %llu paths penalised, with an audit record\n", (unsigned long long)penalties);
	return good;
}

int main(int argc, char **argv)
{
	static const struct option opts[] = { { "nodes", 1, NULL, 'n' }, { "fan-out", 1, NULL, 'f' },
					      { "messages", 1, NULL, 'm' }, { "seed", 1, NULL, 's' },
					      { "seeds", 1, NULL, 'c' }, { "only", 1, NULL, 'o' }, { "verbose", 0, NULL, 'v' }, { 0 } };
	unsigned nodes = 100, fan_out = 3, messages = 200, count = 1;
	const char *only = NULL;
	uint64_t seed = 1;
	bool verbose = false, good = true;
	int o;

	while ((o = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		if (o == 'n')
			nodes = (unsigned)strtoul(optarg, NULL, 10);
		else if (o == 'f')
			fan_out = (unsigned)strtoul(optarg, NULL, 10);
		else if (o == 'm')
			messages = (unsigned)strtoul(optarg, NULL, 10);
		else if (o == 's')
			seed = strtoull(optarg, NULL, 10);
		else if (o == 'c')
			count = (unsigned)strtoul(optarg, NULL, 10);
		else if (o == 'o')
			only = optarg;
		else if (o == 'v')
			verbose = true;
		else
			return 2;
	}
	if (nodes < 4 || fan_out < 1 || fan_out > FAN_MAX || secret_init_library() != ERR_OK)
		die("at least 4 nodes, and a fan-out of 1 to 8");
	log_setup(&(struct log_config){ .level = LOG_ERROR });
	for (unsigned i = 0; i < count; i++) {
		struct mesh m = { .n = nodes, .fan_out = fan_out, .seed = seed + i, .verbose = verbose, .only = only };
		clock_t began = clock();
		struct rusage u;
		bool one;

		printf("mesh: %u nodes, fan-out %u, %u messages a phase, seed %llu\n", nodes, fan_out, messages,
		       (unsigned long long)m.seed);
		fflush(stdout);
		one = run(&m, messages);
		getrusage(RUSAGE_SELF, &u);
		printf("  %s: %llu s of virtual time in %.1f s of CPU, %ld MiB at most\n", one ? "good" : "BAD",
		       (unsigned long long)(m.now_ms / 1000), (double)(clock() - began) / CLOCKS_PER_SEC, u.ru_maxrss >> 10);
		end_all(&m);
		good &= one;
	}
	return good ? 0 : 1;
}
