/*
 * bench_volatile.c -- messages that touch no disk, through two real daemons: a program hands them to the control
 * socket of the sender in batches, another one takes them from the event stream of the receiver.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/bench.h"

#define AHEAD 3 /* requests under way, so that the daemon never waits for this program */

/* The answer tells how many went. */
static size_t taken(struct client *k)
{
	const char *answer = client_line(k), *count = strstr(answer, "\"accepted\":");

	if (!count)
		die("send_many: %.300s", answer);
	return strtoul(count + 11, NULL, 10);
}

static char *batch_line(unsigned count, size_t body, size_t *n)
{
	char *line = malloc((size_t)count * (body + 32) + 256), *p = line;

	if (!line)
		die("no memory");
	p += sprintf(p, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"send_many\",\"params\":{\"to\":\"bert\","
			"\"volatile\":true,\"messages\":[");
	for (unsigned i = 0; i < count; i++) {
		p += sprintf(p, "%s{\"body\":\"", i ? "," : "");
		memset(p, 'x', body);
		p += body;
		p += sprintf(p, "\"}");
	}
	p += sprintf(p, "]}}\n");
	*n = (size_t)(p - line);
	return line;
}

static double counter(struct client *c, const char *name)
{
	json_t *r = client_call(c, "status", "{}");
	double v = (double)json_integer_value(json_object_get(json_object_get(r, "counters"), name));

	json_decref(r);
	return v;
}

/* Runs for about `seconds`; messages a second that arrived at the receiver. */
static double run(struct pair *p, unsigned count, size_t body, double seconds, double *lost)
{
	size_t n, sent = 0;
	char *line = batch_line(count, body, &n);
	double before = counter(&p->to_bob, "volatile_received"), t0 = now_us(), got;

	for (int i = 0; i < AHEAD; i++)
		client_send(&p->to_alice, line, n);
	while (now_us() - t0 < seconds * 1e6) {
		sent += taken(&p->to_alice);
		client_send(&p->to_alice, line, n);
	}
	for (int i = 0; i < AHEAD; i++)
		sent += taken(&p->to_alice);
	do
		got = counter(&p->to_bob, "volatile_received") - before;
	while (got < (double)sent && now_us() - t0 < (seconds + 2) * 1e6);
	double rate = got / ((now_us() - t0) / 1e6);

	*lost = (double)sent - got;
	free(line);
	return rate;
}

/* A third daemon that bert trusts floods him with volatile messages; returns the process that drives it. */
static pid_t flooder(const struct daemon *d, double seconds)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	struct client k;
	size_t n;
	char *line = batch_line(64, 1024, &n);
	double t0 = now_us();

	client_open(&k, d);
	while (now_us() - t0 < seconds * 1e6) {
		client_send(&k, line, n);
		taken(&k);
	}
	_exit(0);
}

void bench_flooder(struct pair *p)
{
	struct daemon flo;
	struct client k;
	struct samples peace = { 0 }, war = { 0 };
	char peer[64];

	daemon_make(&flo, "flo");
	snprintf(peer, sizeof peer, "127.0.0.1:%d", p->bob.port);
	daemon_start(&flo, (const char *[]){ "--im2", "require", "--peer", peer, NULL });
	client_open(&k, &flo);
	wait_online(&k);
	paced(&p->to_alice, 1500, &peace);
	pid_t pid = flooder(&flo, 3.5);
	usleep(200000);
	paced(&p->to_alice, 1500, &war);
	waitpid(pid, NULL, 0);
	row("  500/s durable beside a flooder", "p95 %.2f ms in peace, %.2f ms beside it (ratio %.1f; flooder, three daemons and "
	    "this program on the same cores)",
	    percentile(&peace, 95) / 1e3, percentile(&war, 95) / 1e3, percentile(&war, 95) / percentile(&peace, 95));
	samples_free(&peace);
	samples_free(&war);
	client_close(&k);
	daemon_stop(&flo);
	drain(&p->to_bob);
}

void bench_volatile(struct pair *p, const struct ceilings *c)
{
	double lost, rate, a, b;

	printf("im2 volatile messages, wss, handed over in batches\n");
	run(p, 256, 1024, 0.5, &lost);
	a = daemon_cpu_s(&p->alice);
	b = daemon_cpu_s(&p->bob);
	rate = run(p, 256, 1024, 3, &lost);
	row("  1 KiB", "%.0f/s (%.0f %% of sealing or opening alone, %.0f/s; lost %.0f)", rate,
	    100 * rate * c->aead_1k_us / 1e6, 1e6 / c->aead_1k_us, lost);
	row("    processor time a message", "%.1f us sender, %.1f us receiver", (daemon_cpu_s(&p->alice) - a) * 1e6 / (rate * 3),
	    (daemon_cpu_s(&p->bob) - b) * 1e6 / (rate * 3));
	a = daemon_cpu_s(&p->alice);
	b = daemon_cpu_s(&p->bob);
	rate = run(p, 16, 65536, 3, &lost);
	row("    processor time a message of 64 KiB", "%.0f us sender, %.0f us receiver", (daemon_cpu_s(&p->alice) - a) * 1e6 / (rate * 3),
	    (daemon_cpu_s(&p->bob) - b) * 1e6 / (rate * 3));
	row("  64 KiB bodies", "%.0f MB/s (%.0f %% of sealing alone, %.0f MB/s; lost %.0f)", rate * 65536 / 1e6,
	    100 * rate * c->aead_64k_us / 1e6, 65536 / c->aead_64k_us, lost);
}
