/* rooms: store trust base
 *
 * Microseconds per row of the store, bodies of 1 KiB, on a real file: put, receipt, inbox put, in
 * groups of 1, 16 and 64 rows a commit, with a thread that checkpoints as the daemon's pool does. Named
 * by wire ids as im2 does, then by ids of the sender's choice as 0.9 does.
 *
 *	bench_store [folder] [rows] [peers]
 */
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "store/inbox.h"
#include "store/outbox.h"

#define BODY 1024

static uint64_t clock_ms(void *ctx)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void fill(void *ctx, void *out, size_t n)
{
	randombytes_buf(out, n);
}

static double seconds(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static unsigned peers = 4;
static struct store *store;
static atomic_bool stop, wanted;
static struct {
	double wall, cpu, slowest;
} sum;

static void *checkpointer(void *arg)
{
	while (!atomic_load(&stop)) {
		if (atomic_exchange(&wanted, false))
			(void)store_checkpoint(store);
		usleep(500);
	}
	return NULL;
}

static struct node_id *names;

static void make_peers(void)
{
	names = calloc(peers, sizeof(*names));
	if (!names)
		exit(1);
	for (unsigned i = 0; i < peers; i++)
		snprintf(names[i].hex, sizeof(names[i].hex), "%032x", i + 1);
}

static struct node_id peer_of(unsigned i)
{
	return names[i % peers];
}

static char (*ids)[37];
static uint8_t (*wires)[16];
static bool named;

static void make_ids(unsigned n)
{
	uint8_t r[16];

	ids = calloc(n, sizeof(*ids));
	wires = calloc(n, sizeof(*wires));
	if (!ids || !wires)
		exit(1);
	for (unsigned i = 0; i < n; i++) {
		randombytes_buf(r, sizeof(r));
		snprintf(ids[i], sizeof(ids[i]),
			 "%02x%02x%02x%02x-%02x%02x-4%x%02x-a%x%02x-%02x%02x%02x%02x%02x%02x", r[0],
			 r[1], r[2], r[3], r[4], r[5], r[6] & 15, r[7], r[8] & 15, r[9], r[10],
			 r[11], r[12], r[13], r[14], r[15]);
	}
}

static void check(enum err e, const char *what)
{
	if (e != ERR_OK) {
		fprintf(stderr, "%s: %s\n", what, err_word(e));
		exit(1);
	}
}

enum kind { PUT, RECEIPT, INBOX };

static void one(enum kind kind, unsigned i, const uint8_t *body)
{
	struct node_id peer = peer_of(i);
	uint64_t now = clock_ms(NULL);
	enum inbox_state state;
	char hex[33];
	int64_t seq;

	sodium_bin2hex(hex, sizeof(hex), wires[i], sizeof(wires[i]));
	struct bytes id = named ? bytes_of(ids[i], 36) : bytes_of(hex, 32);
	if (kind == PUT) {
		struct outbox_new m = {.id = named ? id : bytes_of("", 0),
				       .to = peer,
				       .type = BYTES_LIT("MSG"),
				       .priority = 1,
				       .created_ms = now,
				       .expires_ms = now + 604800000,
				       .body = bytes_of(body, BODY)};
		check(outbox_put(store, &m, &seq, wires[i]), "outbox_put");
	} else if (kind == RECEIPT) {
		struct outbox_try t = {.at_ms = now - 2, .via = OUTBOX_VIA_SESSION, .hops = 1};
		check(outbox_receipt(store, &peer, id, OUTBOX_DELIVERED, NULL, now, &t, &seq),
		      "receipt");
	} else {
		struct inbox_new m = {.author = peer,
				      .via = peer,
				      .id = id,
				      .type = BYTES_LIT("MSG"),
				      .priority = 1,
				      .created_ms = now,
				      .received_ms = now,
				      .proven = true,
				      .body = bytes_of(body, BODY),
				      .has_wire = !named,
				      .clock_plausible = true};
		memcpy(m.wire_id, wires[i], sizeof(m.wire_id));
		check(inbox_put(store, &m, &seq, &state), "inbox_put");
	}
}

/* What the sessions say between the messages: settled every 256, receipts left with each group. */
static void said(enum kind kind, unsigned from, unsigned i, unsigned group)
{
	for (unsigned p = 0; !named && kind == INBOX && p < peers && p <= i; p++) {
		struct node_id peer = peer_of(from + i - p);
		const uint8_t *wire = wires[from + i - p];
		uint64_t seq = 0;

		inbox_receipts_left(store, &peer, INT64_MAX / 2);
		for (unsigned k = 8; k < 16; k++)
			seq = seq << 8 | wire[k];
		if (i % 256 < group)
			check(inbox_settled(store, &peer, wire, seq), "settled");
	}
}

static void run(enum kind kind, unsigned from, unsigned n, unsigned group, const uint8_t *body)
{
	double commit = 0, t0 = seconds(CLOCK_MONOTONIC), c0 = seconds(CLOCK_THREAD_CPUTIME_ID);

	sum.slowest = 0;
	for (unsigned i = 0; i < n; i++) {
		one(kind, from + i, body);
		if ((i + 1) % group && i + 1 < n)
			continue;
		double a = seconds(CLOCK_MONOTONIC);
		check(store_commit(store), "commit");
		double took = seconds(CLOCK_MONOTONIC) - a;
		commit += took;
		if (took > sum.slowest)
			sum.slowest = took;
		said(kind, from, i, group);
		if (store_checkpoint_due(store))
			atomic_store(&wanted, true);
	}
	sum.wall = (seconds(CLOCK_MONOTONIC) - t0) * 1e6 / n;
	sum.cpu = (seconds(CLOCK_THREAD_CPUTIME_ID) - c0) * 1e6 / n;
	printf("  %-8s %8.1f us/row  (cpu %5.1f, in the calls %5.1f, in commit %7.1f; slowest "
	       "commit %5.1f ms)\n",
	       kind == PUT	 ? "put"
	       : kind == RECEIPT ? "receipt"
				 : "inbox",
	       sum.wall, sum.cpu, sum.wall - commit * 1e6 / n, commit * 1e6 / n, sum.slowest * 1e3);
}

int main(int argc, char **argv)
{
	static const unsigned GROUPS[] = {1, 16, 64};
	peers = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : peers;
	char dir[256], path[300], name[320];
	unsigned rows = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 20000;
	struct env env = {.now_ms = clock_ms, .wall_ms = clock_ms, .random = fill};
	uint8_t key[32] = {1}, body[BODY];
	struct fault f = {0};
	struct store_stats st;
	pthread_t thread;

	if (sodium_init() < 0 || rows < 100 || peers == 0)
		return 2;
	snprintf(dir, sizeof(dir), "%s/bench-store-XXXXXX", argc > 1 ? argv[1] : "/tmp");
	if (!mkdtemp(dir))
		return 2;
	snprintf(path, sizeof(path), "%s/ironmesh.db", dir);
	struct store_config c = {.path = path,
				 .wrap_key = BYTES_ARR(key),
				 .env = &env,
				 .limits = {.outbox_per_peer = 1u << 30,
					    .outbox_total = 1u << 30,
					    .inbox_per_peer = 1u << 30,
					    .inbox_total = 1u << 30,
					    .inbox_bytes = 1ull << 40,
					    .outbox_bytes = 1ull << 40}};
	if (store_open(&c, &store, &f) != ERR_OK) {
		fprintf(stderr, "%s\n", f.what);
		return 1;
	}
	randombytes_buf(body, sizeof(body));
	make_peers();
	make_ids(rows * 6);
	pthread_create(&thread, NULL, checkpointer, NULL);
	for (unsigned g = 0; g < 6; g++) {
		unsigned group = GROUPS[g % 3], n = group == 1 ? rows / 10 : rows;
		named = g >= 3;
		printf("groups of %u, %u rows, %s\n", group, n, named ? "named" : "wire ids");
		run(PUT, g * rows, n, group, body);
		run(RECEIPT, g * rows, n, group, body);
		run(INBOX, g * rows, n, group, body);
		store_stats(store, &st);
		printf("  file %.1f MiB, wal %.1f MiB, checkpoints %llu\n",
		       (double)st.file_bytes / 1048576, (double)st.wal_bytes / 1048576,
		       (unsigned long long)st.checkpoints);
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	store_close(store);
	for (unsigned i = 0; i < 3; i++) {
		static const char *const SUFFIX[] = {"", "-wal", "-shm"};
		snprintf(name, sizeof(name), "%s%s", path, SUFFIX[i]);
		unlink(name);
	}
	rmdir(dir);
	free(ids);
	free(wires);
	free(names);
	return 0;
}
