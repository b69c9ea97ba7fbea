/*
 * bench_messages.c -- durable, confirmed messages between two real daemons, driven over the control
 * socket of the sender: `send` with wait_ms, so that each answer is a confirmation.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/bench.h"

#define BODY 1024

static char request[BODY + 256];
static size_t request_head;

static size_t make_request(unsigned id)
{
	int n = snprintf(request, sizeof request,
			 "{\"jsonrpc\":\"2.0\",\"id\":%u,\"method\":\"send\",\"params\":{\"to\":\"bob\",\"wait_ms\":30000,"
			 "\"body\":\"",
			 id);

	request_head = (size_t)n;
	memset(request + n, 'x', BODY);
	memcpy(request + n + BODY, "\"}}\n", 4);
	return (size_t)n + BODY + 4;
}

static void check_delivered(const char *line)
{
	if (!strstr(line, "\"delivered\""))
		die("not delivered: %.400s", line);
}

/* Closed loop with `window` requests in flight. Requests of one round are written together, so that this
 * program, which shares two cores with two daemons, costs as little as it can. */
static double flood(struct client *c, unsigned window, unsigned total, struct samples *lat)
{
	double *sent = calloc(total + 1, sizeof *sent), t0 = now_us();
	char *batch = malloc((size_t)window * sizeof request);
	unsigned out = 0, in = 0;

	while (in < total) {
		size_t n = 0;

		while (out < total && out - in < window) {
			size_t k = make_request(out);

			sent[out++] = now_us();
			memcpy(batch + n, request, k);
			n += k;
		}
		client_send(c, batch, n);
		do {
			const char *line = client_line(c), *id = strstr(line, "\"id\":");

			check_delivered(line);
			unsigned k = id ? (unsigned)strtoul(id + 5, NULL, 10) : total;

			if (k < total)
				sample(lat, now_us() - sent[k]);
			in++;
		} while (client_has_line(c) && in < out);
	}
	free(batch);
	free(sent);
	return total / ((now_us() - t0) / 1e6);
}

/* Open loop: one request each 2 ms, whatever the answers do. */
static void paced(struct client *c, unsigned total, struct samples *lat)
{
	double *due = calloc(total, sizeof *due), start = now_us() + 1000;

	for (unsigned i = 0; i < total; i++) {
		due[i] = start + i * 2000.0;
		for (double left; (left = due[i] - now_us()) > 0;) {
			struct timespec t = { .tv_nsec = (long)(left * 1000) };

			nanosleep(&t, NULL);
		}
		client_send(c, request, make_request(i));
		const char *line = client_line(c);

		check_delivered(line);
		sample(lat, now_us() - due[i]);
	}
	free(due);
}

static void wait_online(struct client *c)
{
	for (int i = 0; i < 200; i++) {
		json_t *r = client_call(c, "peers.list", "{}");
		json_t *p = json_array_get(json_object_get(r, "peers"), 0);
		bool online = json_is_true(json_object_get(p, "online"));

		json_decref(r);
		if (online)
			return;
		usleep(50000);
	}
	die("alice and bob did not meet");
}

/* Between the measured parts bob's inbox is read, so that it does not fill. */
static void drain(struct client *bob)
{
	size_t got;

	do {
		json_t *r = client_call(bob, "inbox.take", "{\"limit\":1000}");

		got = json_array_size(json_object_get(r, "messages"));
		json_decref(r);
	} while (got);
	usleep(300000);
}

static double commits(struct client *c)
{
	json_t *r = client_call(c, "status", "{}");
	double n = (double)json_integer_value(json_object_get(json_object_get(r, "store"), "commits"));

	json_decref(r);
	return n;
}

static void cpu_row(const char *name, const struct daemon *d, double before, unsigned n)
{
	row(name, "%.0f us", (daemon_cpu_s(d) - before) * 1e6 / n);
}

void bench_messages(const struct ceilings *c)
{
	struct daemon alice, bob;
	struct client k, reader;
	struct samples lat = { 0 };
	char peer[64];
	double ceiling = 1e6 / (2 * c->verify_us), rate, a, b;

	daemon_make(&alice, "alice");
	daemon_make(&bob, "bob");
	daemon_start(&bob, NULL);
	snprintf(peer, sizeof peer, "127.0.0.1:%d", bob.port);
	daemon_start(&alice, (const char *[]){ "--peer", peer, NULL });
	client_open(&k, &alice);
	client_open(&reader, &bob);
	wait_online(&k);

	printf("messages: 1 KiB, wss, signed twice and verified twice, durable at both ends, confirmed\n");
	row("  ceiling: two verifications a message", "%.0f/s", ceiling);
	flood(&k, 64, 2000, &lat); /* warm up: caches, files at their size */
	samples_free(&lat);
	drain(&reader);
	double ca = commits(&k), cb = commits(&reader);

	a = daemon_cpu_s(&alice);
	b = daemon_cpu_s(&bob);
	rate = flood(&k, 64, 8000, &lat);
	row("  64 in flight", "%.0f/s (%.0f %% of the ceiling; n=8000) p50 %.1f ms p95 %.1f ms p99 %.1f ms", rate,
	    100 * rate / ceiling, percentile(&lat, 50) / 1e3, percentile(&lat, 95) / 1e3,
	    percentile(&lat, 99) / 1e3);
	cpu_row("    processor time a message, sender", &alice, a, 8000);
	cpu_row("    processor time a message, receiver", &bob, b, 8000);
	row("    messages a commit", "%.1f sender, %.1f receiver", 8000 / (commits(&k) - ca),
	    8000 / (commits(&reader) - cb));
	samples_free(&lat);
	drain(&reader);
	rate = flood(&k, 1, 4000, &lat);
	row("  1 in flight", "%.0f/s (n=4000) p50 %.2f ms p95 %.2f ms p99 %.2f ms", rate, percentile(&lat, 50) / 1e3,
	    percentile(&lat, 95) / 1e3, percentile(&lat, 99) / 1e3);
	samples_free(&lat);
	drain(&reader);
	a = daemon_cpu_s(&alice);
	b = daemon_cpu_s(&bob);
	paced(&k, 5000, &lat);
	row("  send to confirmed at 500/s", "p50 %.2f ms p95 %.2f ms p99 %.2f ms (n=5000; one commit: p50 %.2f ms)",
	    percentile(&lat, 50) / 1e3, percentile(&lat, 95) / 1e3, percentile(&lat, 99) / 1e3,
	    c->commit_p50_us / 1e3);
	cpu_row("    processor time a message, sender", &alice, a, 5000);
	cpu_row("    processor time a message, receiver", &bob, b, 5000);
	samples_free(&lat);
	row("  resident memory with one session", "%ld KiB sender, %ld KiB receiver (after %d messages)",
	    daemon_rss_kib(&alice), daemon_rss_kib(&bob), 19000);
	client_close(&k);
	client_close(&reader);
	daemon_stop(&alice);
	daemon_stop(&bob);
	printf("\n");
}
