/*
 * bench_caps.c -- how long it takes to find who can do something among 10,000 capabilities, and what they take of memory.
 *
 * The registry of a real node, filled as records of other nodes fill it. The ceiling is the same pattern matched against the
 * same names in a plain array: nothing that looks at every name can be quicker. No timed assertion; a search that finds
 * anything else than it should ends the bench with exit 1.
 */
#include <fnmatch.h>
#include <malloc.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/secret.h"
#include "daemon/caps_internal.h"

#define NAMES 10000
#define SPACES 100
#define SEARCHES 500

static char plain[NAMES][40];

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "bench_caps: %s\n", what);
	exit(1);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* --- a node ----------------------------------------------------------------------------------------------- */
static uint64_t mono(void *ctx)
{
	(void)ctx;
	return (uint64_t)(now_us() / 1000);
}

static uint64_t wall(void *ctx)
{
	(void)ctx;
	return (uint64_t)time(NULL) * 1000;
}

static void chance(void *ctx, void *out, size_t n)
{
	(void)ctx;
	randombytes_buf(out, n);
}

struct rig {
	struct env env;
	struct keyring *keyring;
	struct pins *pins;
	struct store *store;
	struct audit *audit;
	struct policy policy;
	struct node *node;
};

static void rig_open(struct rig *r)
{
	static const uint8_t wrap[32] = { 9 };
	struct node_config nc = { .name = "bench", .passphrase = BYTES_LIT("a passphrase of the bench"), .policy = &r->policy };
	struct store_config sc = { .env = &r->env, .relaxed = true, .wrap_key = BYTES_ARR(wrap) };
	struct node_parts parts = { .env = &r->env };

	memset(r, 0, sizeof *r);
	r->env = (struct env){ .now_ms = mono, .wall_ms = wall, .random = chance };
	policy_init(&r->policy);
	if (keyring_generate(&r->env, &r->keyring) != ERR_OK || store_open(&sc, &r->store, NULL) != ERR_OK ||
	    pins_load(NULL, r->keyring, &r->env, &r->pins, NULL) != ERR_OK ||
	    audit_open(NULL, r->keyring, &r->env, &r->audit, NULL) != ERR_OK)
		die("no node");
	parts.keyring = r->keyring;
	parts.pins = r->pins;
	parts.store = r->store;
	parts.audit = r->audit;
	if (node_new(&nc, &parts, &r->node) != ERR_OK || !r->node->caps)
		die("no node");
}

static void rig_close(struct rig *r)
{
	node_free(r->node);
	policy_fini(&r->policy);
	store_close(r->store);
	audit_close(r->audit);
	pins_free(r->pins);
	keyring_free(r->keyring);
	timers_fini(&r->env);
}

/* `each` names of every author, as they come through 16 neighbours. */
static void fill(struct rig *r, unsigned each)
{
	for (unsigned at = 0; at < NAMES; at += each) {
		const char *names[CAPS_MAX];
		struct node_id id = { 0 };
		struct cap_set *s;
		size_t n;

		for (unsigned i = 0; i < each; i++)
			names[i] = plain[at + i];
		n = caps_sort(names, each);
		snprintf(id.hex, sizeof id.hex, "%032x", at + 1);
		if (n != each || !caps_learn(r->node->caps, &id, names, n, at / each % 16, &s))
			die("not every capability found room");
	}
}

/* --- measured --------------------------------------------------------------------------------------------- */
static bool count_one(void *ctx, const struct node_id *who, const char *name, uint64_t left)
{
	(void)who, (void)name, (void)left;
	++*(unsigned *)ctx;
	return true;
}

static unsigned search_plain(const char *glob)
{
	unsigned n = 0;

	for (unsigned i = 0; i < NAMES; i++)
		n += fnmatch(glob, plain[i], FNM_NOESCAPE) == 0;
	return n;
}

static void search(struct rig *r, const char *what, const char *glob, unsigned expected)
{
	static double took[SEARCHES], alone[SEARCHES];

	for (unsigned i = 0; i < SEARCHES; i++) {
		unsigned found = 0;
		double t0 = now_us();

		caps_find(r->node, glob, count_one, &found);
		took[i] = now_us() - t0;
		if (found != expected)
			die("a search found something else");
		t0 = now_us();
		if (search_plain(glob) != expected)
			die("the plain search found something else");
		alone[i] = now_us() - t0;
	}
	qsort(took, SEARCHES, sizeof *took, by_value);
	qsort(alone, SEARCHES, sizeof *alone, by_value);
	printf("    %-14s %-14s found %5u: p50 %6.0f us p99 %6.0f us (matching alone: p50 %6.0f us)\n", what, glob, expected,
	       took[SEARCHES / 2], took[SEARCHES * 99 / 100], alone[SEARCHES / 2]);
	fflush(stdout);
}

static void measure(unsigned each)
{
	size_t text = 0, before, heap;
	struct rig r;

	rig_open(&r);
	for (unsigned i = 0; i < NAMES; i++)
		text += strlen(plain[i]) + 1;
	before = mallinfo2().uordblks;
	fill(&r, each);
	heap = mallinfo2().uordblks - before;
	printf("  %u nodes, %u each\n", NAMES / each, each);
	search(&r, "exact name", "ns42:tool-4277", 1);
	search(&r, "namespace", "ns42:*", NAMES / SPACES);
	search(&r, "anywhere", "*x*", NAMES / SPACES);
	search(&r, "nothing", "*z", 0);
	printf("    memory         %zu KiB counted, %zu KiB of the heap (the names alone: %zu KiB)\n", caps_bytes(r.node) >> 10,
	       heap >> 10, text >> 10);
	fflush(stdout);
	rig_close(&r);
}

int main(void)
{
	if (secret_init_library() != ERR_OK)
		die("no sodium");
	log_setup(&(struct log_config){ .level = LOG_ERROR });
	for (unsigned i = 0; i < NAMES; i++)
		snprintf(plain[i], sizeof plain[i], "ns%02u:%s-%u", i / SPACES, i % SPACES == 7 ? "xtool" : "tool", i);
	printf("capabilities: %d names in %d namespaces, one node looks (n=%d each)\n", NAMES, SPACES, SEARCHES);
	measure(4);
	measure(250);
	printf("\n");
	return 0;
}
