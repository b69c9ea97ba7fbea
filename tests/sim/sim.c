/*
 * sim -- runs seeds.
 *
 *   sim --seeds N [--from K] [--jobs J] [--verbose]   N seeds from K (1) on, in J processes (2)
 *   sim --seed S [--verbose]                          one seed; --verbose prints every event
 *   sim --hours N [--seed S]                          N hours of an ordinary day; memory must not grow
 *   sim --self-test                                   the simulator must notice what is broken on purpose
 *   sim --sabotage dup|lose|reorder|leak|nonce|volatile|downgrade ...  with --seed or --seeds: break it that way
 *
 * The closing line is "sim: N passed, M failed"; the exit code is 1 when one failed.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/sim.h"

#define JOBS_MAX 16
#define FAILURES_SHOWN 8
#define FAILURES_MAX 50 /* then it is enough */
#define SELF_TEST_SEEDS 200

/* Shared with the workers. */
struct shared {
	atomic_uint_least64_t next, passed, failed;
	atomic_uint_least64_t running[JOBS_MAX]; /* the seed at hand, + 1; 0 = none */
	atomic_flag printing;                    /* failures do not mix */
#define X(name) atomic_uint_least64_t name;
	WORLD_TOTALS(X)
#undef X
};

static void add_totals(struct shared *sh, const struct world_totals *t)
{
#define X(name) atomic_fetch_add(&sh->name, t->name);
	WORLD_TOTALS(X)
#undef X
}

static void print_totals(const struct shared *sh)
{
	printf("sim:");
#define X(name) printf(" %s=%llu", #name, (unsigned long long)atomic_load(&sh->name));
	WORLD_TOTALS(X)
#undef X
	printf("\n");
}

struct options {
	uint64_t seeds, from, seed, hours;
	bool one, verbose, self_test;
	unsigned jobs;
	enum sabotage sabotage;
};

static void on_signal(int sig)
{
	static const char text[] = "sim: it died; the last events:\n";

	if (write(STDOUT_FILENO, text, sizeof text - 1) > 0)
		trace_dump(STDOUT_FILENO);
	signal(sig, SIG_DFL);
	raise(sig);
}

/* Again, with the last events kept. Runs in a process of its own: the seed may kill it. */
static void show_failure(struct shared *sh, uint64_t seed, enum sabotage sab)
{
	pid_t pid;

	while (atomic_flag_test_and_set(&sh->printing))
		usleep(1000);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		struct world_totals t = { 0 };
		char why[1900] = "";

		signal(SIGSEGV, on_signal);
		signal(SIGABRT, on_signal);
		trace_setup(TRACE_RING);
		printf("sim: seed %llu failed\n", (unsigned long long)seed);
		fflush(stdout);
		if (world_run(seed, sab, &t, why, sizeof why))
			printf("  it passes when it runs again: the simulator is not deterministic\n");
		else
			printf("  %s\n  last events:\n", why);
		fflush(stdout);
		trace_dump(STDOUT_FILENO);
		printf("  again with: sim --seed %llu --verbose\n", (unsigned long long)seed);
		fflush(stdout);
		sim_keys_free();
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
	atomic_flag_clear(&sh->printing);
}

static void work(struct shared *sh, unsigned job, const struct options *o)
{
	char why[1900];

	trace_setup(TRACE_OFF);
	for (;;) {
		uint64_t k = atomic_fetch_add(&sh->next, 1);

		if (k >= o->seeds || atomic_load(&sh->failed) >= FAILURES_MAX)
			break;
		atomic_store(&sh->running[job], o->from + k + 1);
		struct world_totals t = { 0 };
		bool ok = world_run(o->from + k, o->sabotage, &t, why, sizeof why);

		add_totals(sh, &t);
		if (ok)
			atomic_fetch_add(&sh->passed, 1);
		else if (atomic_fetch_add(&sh->failed, 1) < FAILURES_SHOWN)
			show_failure(sh, o->from + k, o->sabotage);
		atomic_store(&sh->running[job], 0);
	}
	sim_keys_free();
	exit(0); /* with the leak check of a sanitizer build */
}

static pid_t start_worker(struct shared *sh, unsigned job, const struct options *o)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	BUG_ON(pid < 0);
	if (pid == 0)
		work(sh, job, o);
	return pid;
}

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Asked to stop: no more seeds, and an orderly end. */
static struct shared *shared_now;

static void on_stop(int sig)
{
	if (shared_now)
		atomic_store(&shared_now->next, UINT64_MAX / 2);
}

static int run_seeds(const struct options *o)
{
	struct shared *sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[JOBS_MAX] = { 0 };
	double began = seconds_now();
	unsigned alive = 0;

	BUG_ON(sh == MAP_FAILED);
	shared_now = sh;
	signal(SIGINT, on_stop);
	signal(SIGTERM, on_stop);
	for (unsigned j = 0; j < o->jobs; j++, alive++)
		pids[j] = start_worker(sh, j, o);
	while (alive) {
		int status;
		pid_t pid = wait(&status);
		unsigned j = 0;

		while (j < o->jobs && pids[j] != pid)
			j++;
		if (pid < 0 || j == o->jobs)
			continue;
		alive--;
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			continue;
		uint64_t seed = atomic_exchange(&sh->running[j], 0);
		uint64_t failed = atomic_fetch_add(&sh->failed, 1);

		if (!seed) {
			printf("sim: a worker ended with status %d after its last seed (a leak?)\n", status);
			continue;
		}
		if (failed < FAILURES_SHOWN)
			show_failure(sh, seed - 1, o->sabotage);
		if (failed + 1 >= FAILURES_MAX)
			continue;
		pids[j] = start_worker(sh, j, o);
		alive++;
	}
	unsigned long long passed = atomic_load(&sh->passed), failed = atomic_load(&sh->failed);
	double took = seconds_now() - began;

	print_totals(sh);
	printf("sim: %.1f s, %.0f seeds/s\n", took, (double)(passed + failed) / (took > 0 ? took : 1));
	printf("sim: %llu passed, %llu failed\n", passed, failed);
	shared_now = NULL;
	munmap(sh, sizeof *sh);
	return failed != 0;
}

static int run_one(const struct options *o)
{
	struct world_totals t = { 0 };
	char why[1900] = "";
	bool ok;

	trace_setup(o->verbose ? TRACE_PRINT : TRACE_RING);
	signal(SIGSEGV, on_signal);
	signal(SIGABRT, on_signal);
	ok = o->hours ? world_day(o->seed, (unsigned)o->hours, &t, why, sizeof why) :
			world_run(o->seed, o->sabotage, &t, why, sizeof why);
	if (o->hours) {
		printf("sim:");
#define X(name) printf(" %s=%llu", #name, (unsigned long long)t.name);
		WORLD_TOTALS(X)
#undef X
		printf("\n");
	}
	if (!ok) {
		printf("sim: seed %llu failed\n  %s\n", (unsigned long long)o->seed, why);
		if (!o->verbose) {
			fflush(stdout);
			trace_dump(STDOUT_FILENO);
		}
	}
	printf("sim: %d passed, %d failed\n", ok, !ok);
	sim_keys_free();
	return !ok;
}

/* Each kind of damage must be noticed, and for the right reason. */
static int self_test(void)
{
	static const char *const expected[SAB_COUNT] = {
		[SAB_DUP] = "delivered twice",
		[SAB_LOSE] = "does not have it",
		[SAB_REORDER] = "after a later one",
		[SAB_LEAK] = "shows plaintext",
		[SAB_NONCE] = "a frame counter twice",
		[SAB_VOLATILE] = "twice",
		[SAB_DOWNGRADE] = "speaks 0.9 with",
	};
	unsigned noticed = 0;

	trace_setup(TRACE_OFF);
	for (enum sabotage s = SAB_NONE + 1; s < SAB_COUNT; s++) {
		struct world_totals t = { 0 };
		char why[1900] = "";
		uint64_t seed = 1;

		while (seed <= SELF_TEST_SEEDS &&
		       (world_run(seed, s, &t, why, sizeof why) || !strstr(why, expected[s])))
			seed++;
		if (seed > SELF_TEST_SEEDS) {
			printf("sim: %s was not noticed in %d seeds\n", sabotage_words[s], SELF_TEST_SEEDS);
			continue;
		}
		noticed++;
		printf("sim: %s is noticed by seed %llu: %.*s\n", sabotage_words[s], (unsigned long long)seed,
		       (int)strcspn(why, "\n"), why);
	}
	sim_keys_free();
	printf("sim: self-test: %u of %d noticed\n", noticed, SAB_COUNT - 1);
	return noticed != SAB_COUNT - 1;
}

static void usage(void)
{
	fputs("usage: sim --seeds N [--from K] [--jobs J] | --seed S [--verbose] | --hours N | --self-test\n", stderr);
	exit(2);
}

static uint64_t number(const char *text)
{
	char *end;
	unsigned long long v = text ? strtoull(text, &end, 10) : 0;

	if (!text || !*text || *end)
		usage();
	return v;
}

static enum sabotage sabotage_of(const char *word)
{
	for (enum sabotage s = SAB_NONE; word && s < SAB_COUNT; s++)
		if (strcmp(word, sabotage_words[s]) == 0)
			return s;
	usage();
	return SAB_NONE;
}

int main(int argc, char **argv)
{
	struct options o = { .from = 1, .jobs = 2 };

	for (int i = 1; i < argc; i++) {
		const char *a = argv[i], *next = i + 1 < argc ? argv[i + 1] : NULL;

		if (strcmp(a, "--verbose") == 0)
			o.verbose = true;
		else if (strcmp(a, "--self-test") == 0)
			o.self_test = true;
		else if (strcmp(a, "--seeds") == 0)
			o.seeds = number(next), i++;
		else if (strcmp(a, "--from") == 0)
			o.from = number(next), i++;
		else if (strcmp(a, "--jobs") == 0)
			o.jobs = (unsigned)number(next), i++;
		else if (strcmp(a, "--seed") == 0)
			o.seed = number(next), o.one = true, i++;
		else if (strcmp(a, "--hours") == 0)
			o.hours = number(next), i++;
		else if (strcmp(a, "--sabotage") == 0)
			o.sabotage = sabotage_of(next), i++;
		else
			usage();
	}
	o.one |= o.hours != 0;
	if (o.jobs < 1 || o.jobs > JOBS_MAX || o.hours > 240 || (!o.one && !o.seeds && !o.self_test))
		usage();
	if (secret_init_library() != ERR_OK)
		return 1;
	world_files();
	if (o.self_test)
		return self_test();
	return o.one ? run_one(&o) : run_seeds(&o);
}
