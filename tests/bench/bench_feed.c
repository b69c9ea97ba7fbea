/*
 * bench_feed -- what a dashboard costs a node that knows many peers: the snapshot, one change, a thousand changes at once,
 * and nothing happening.
 *
 *	bench_feed [PEERS] [MESSAGES]
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/text.h"
#include "daemon/feed.h"
#include "daemon/views.h"

static uint64_t now_ms = 1000;

static uint64_t get_now(void *ctx)
{
	return now_ms;
}

static uint64_t get_wall(void *ctx)
{
	return 1795000000000 + now_ms;
}

static void get_random(void *ctx, void *out, size_t n)
{
	randombytes_buf(out, n);
}

static struct env env = {.now_ms = get_now, .wall_ms = get_wall, .random = get_random};
static struct command_ctx cx = {.env = &env, .home = "/", .name = "bench"};
static struct node_id *ids;
static size_t batches, bytes;

static void must(enum err e)
{
	if (e == ERR_OK)
		return;
	fprintf(stderr, "bench_feed: %s\n", err_word(e));
	exit(1);
}

static double cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void open_node(void)
{
	static struct policy policy;
	static struct node_config nc = {.name = "bench", .policy = &policy, .limits.connects_per_s = -1};
	struct store_config sc = {.env = &env};
	struct secret wrap = {0};
	struct keyring *keys;

	must(secret_init_library());
	must(keyring_generate(&env, &keys));
	cx.keyring = keys;
	must(pins_load(NULL, keys, &env, &cx.pins, NULL));
	must(audit_open(NULL, keys, &env, &cx.audit, NULL));
	must(keyring_derive(keys, DERIVE_DB_WRAP, &wrap));
	sc.wrap_key = secret_bytes(&wrap);
	must(store_open(&sc, &cx.store, NULL));
	secret_free(&wrap);
	policy_init(&policy);
	struct node_parts parts = {&env, keys, cx.pins, cx.store, cx.audit};
	must(node_new(&nc, &parts, &cx.node));
	must(events_new(&env, &cx.events));
	node_observe(cx.node, events_observe, cx.events);
	must(views_open(&cx));
}

static void fill(size_t peers, size_t messages)
{
	for (size_t i = 0; i < peers; i++) {
		uint8_t ed[ED_BYTES], sk[crypto_sign_SECRETKEYBYTES];
		char name[32];
		struct pin_update u = {.ed = ed, .name = name, .state = PIN_TRUSTED, .via = "tofu", .wall_ms = get_wall(NULL) + i};

		crypto_sign_keypair(ed, sk);
		node_id_of(ed, &u.id);
		ids[i] = u.id;
		snprintf(name, sizeof name, "agent-%zu", i);
		must(pins_observe(cx.pins, &u, NULL));
	}
	for (size_t i = 0; i < messages; i++) {
		char id[32];
		struct inbox_new m = {.author = ids[i % peers], .via = ids[i % peers], .type = BYTES_LIT("MSG"),
				      .priority = 1, .received_ms = get_wall(NULL) + i, .body = BYTES_LIT("hello")};
		enum inbox_state state;
		int64_t seq;
		bool changed;

		snprintf(id, sizeof id, "m%zu", i);
		m.id = bytes_str(id);
		must(inbox_put(cx.store, &m, &seq, &state));
		if (i % 10)
			must(inbox_mark_read(cx.store, seq, m.received_ms, &changed));
		if (i % 1000 == 999)
			must(store_commit(cx.store));
	}
	must(store_commit(cx.store));
}

static bool take(void *ctx, struct bytes json)
{
	batches++;
	bytes += json.n;
	return true;
}

static void snapshot(const char *section)
{
	char after[80] = "";
	size_t pages = 0, size = 0;
	double began = cpu_ms(), worst = 0;

	do {
		double page = cpu_ms();
		const char *next;
		struct buf b;

		buf_init(&b, 4u << 20);
		must(feed_page(cx.feed, section, after[0] ? after : NULL, 500, &b));
		size += b.n;
		pages++;
		next = strstr(buf_cstr(&b), "],\"next\":\"");
		snprintf(after, sizeof after, "%.*s", next ? (int)strcspn(next + 10, "\"") : 0, next ? next + 10 : "");
		buf_fini(&b);
		worst = cpu_ms() - page > worst ? cpu_ms() - page : worst;
	} while (after[0]);
	printf("  snapshot of %-14s                   %8.1f ms in %zu page%s, the longest %.1f ms; %zu KiB\n", section, cpu_ms() - began, pages,
	       pages == 1 ? "" : "s", worst, size / 1024);
}

static void rounds(const char *what, size_t n, size_t changes)
{
	double began;

	batches = bytes = 0;
	began = cpu_ms();
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < changes; k++) {
			/* Each has become another row: it has one message more. */
			struct node_event ev = {.type = "message.queued", .peer = ids[(i * changes + k) % 10000], .msg_id = "none"};
			struct outbox_new m = {.to = ev.peer, .type = BYTES_LIT("MSG"), .priority = 1, .body = BYTES_LIT("x")};
			uint8_t wire[16];
			int64_t seq;

			must(outbox_put(cx.store, &m, &seq, wire));
			events_observe(cx.events, &ev);
		}
		must(store_commit(cx.store));
		now_ms += FEED_EVERY_MS + 1;
		timers_run(&env);
	}
	printf("  %-34s               %8.2f ms a round of %d ms (%zu batches, %zu bytes a round)\n", what, (cpu_ms() - began) / (double)n,
	       FEED_EVERY_MS, batches, bytes / n);
}

int main(int argc, char **argv)
{
	static const char *const sections[] = {"status", "attention", "peers", "conversations", "queue", "mesh"};
	size_t peers = argc > 1 ? strtoul(argv[1], NULL, 10) : 10000, messages = argc > 2 ? strtoul(argv[2], NULL, 10) : 100000;
	struct feed_subscriber s = {.deliver = take};
	bool gap;

	if (peers < 10000) {
		fprintf(stderr, "usage: bench_feed [PEERS, at least 10000] [MESSAGES]\n");
		return 2;
	}
	ids = calloc(peers, sizeof *ids);
	if (!ids)
		return 1;
	open_node();
	fill(peers, messages);
	printf("the feed of the dashboard with %zu peers and %zu messages (processor time)\n", peers, messages);
	for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++)
		snapshot(sections[i]);
	ring_init(&s.link);
	feed_subscribe(cx.feed, &s, NULL, 0, &gap);
	rounds("(settling)", 60, 0);
	rounds("nothing changes", 500, 0);
	rounds("one peer changes", 500, 1);
	rounds("1,000 peers change", 50, 1000);
	return 0;
}
