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

static const char *to = "bob";
static char request[BODY + 256];
static size_t request_head;

void messages_to(const char *name)
{
	to = name;
}

static size_t make_request(unsigned id)
{
	int n = snprintf(request, sizeof request,
			 "{\"jsonrpc\":\"2.0\",\"id\":%u,\"method\":\"send\",\"params\":{\"to\":\"%s\",\"wait_ms\":30000,"
			 "\"body\":\"",
			 id, to);

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
double flood(struct client *c, unsigned window, unsigned total, struct samples *lat)
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
void paced(struct client *c, unsigned total, struct samples *lat)
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

void wait_online(struct client *c)
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
void drain(struct client *bob)
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

/* Three rounds of 8,000 with a drain between, since an inbox takes 10,000 unread messages of one peer. */
static double flood_rounds(struct client *k, struct client *reader, struct samples *lat)
{
	double sum = 0;

	for (int i = 0; i < 3; i++) {
		sum += 8000 / flood(k, 64, 8000, lat);
		drain(reader);
	}
	return 24000 / sum;
}

/* The three rows every suite has. `ceiling`: messages a second that the binding resource alone allows. */
static void rows(struct client *k, struct client *reader, const struct daemon *alice, const struct daemon *bob,
		 const struct ceilings *c, double ceiling)
{
	struct samples lat = { 0 };
	double rate, a, b, ca, cb;

	flood(k, 64, 4000, &lat); /* warm up: caches, files at their size */
	samples_free(&lat);
	drain(reader);
	ca = commits(k);
	cb = commits(reader);
	a = daemon_cpu_s(alice);
	b = daemon_cpu_s(bob);
	rate = flood_rounds(k, reader, &lat);
	row("  64 in flight", "%.0f/s (%.0f %% of the ceiling; n=24000) p50 %.1f ms p95 %.1f ms p99 %.1f ms", rate,
	    100 * rate / ceiling, percentile(&lat, 50) / 1e3, percentile(&lat, 95) / 1e3,
	    percentile(&lat, 99) / 1e3);
	cpu_row("    processor time a message, sender", alice, a, 24000);
	cpu_row("    the same, receiver with its reader", bob, b, 24000);
	row("    messages a commit", "%.1f sender, %.1f receiver", 24000 / (commits(k) - ca),
	    24000 / (commits(reader) - cb));
	samples_free(&lat);
	rate = flood(k, 1, 4000, &lat);
	row("  1 in flight", "%.0f/s (n=4000) p50 %.2f ms p95 %.2f ms p99 %.2f ms", rate, percentile(&lat, 50) / 1e3,
	    percentile(&lat, 95) / 1e3, percentile(&lat, 99) / 1e3);
	samples_free(&lat);
	drain(reader);
	a = daemon_cpu_s(alice);
	b = daemon_cpu_s(bob);
	paced(k, 5000, &lat);
	row("  send to confirmed at 500/s", "p50 %.2f ms p95 %.2f ms p99 %.2f ms (n=5000; one commit: p50 %.2f ms)",
	    percentile(&lat, 50) / 1e3, percentile(&lat, 95) / 1e3, percentile(&lat, 99) / 1e3,
	    c->commit_p50_us / 1e3);
	cpu_row("    processor time a message, sender", alice, a, 5000);
	cpu_row("    processor time a message, receiver", bob, b, 5000);
	samples_free(&lat);
	drain(reader);
}

static void pair_open(struct pair *p, const char *a, const char *b, const char *suite)
{
	char peer[64];

	daemon_make(&p->alice, a);
	daemon_make(&p->bob, b);
	daemon_start(&p->bob, (const char *[]){ "--im2", suite, NULL });
	snprintf(peer, sizeof peer, "127.0.0.1:%d", p->bob.port);
	daemon_start(&p->alice, (const char *[]){ "--im2", suite, "--peer", peer, NULL });
	client_open(&p->to_alice, &p->alice);
	client_open(&p->to_bob, &p->bob);
	wait_online(&p->to_alice);
}

static void pair_close(struct pair *p)
{
	client_close(&p->to_alice);
	client_close(&p->to_bob);
	daemon_stop(&p->alice);
	daemon_stop(&p->bob);
}

void bench_messages(const struct ceilings *c)
{
	struct pair p;
	double ceiling = 1e6 / (2 * c->verify_us);

	pair_open(&p, "alice", "bob", "off");
	printf("0.9 messages: 1 KiB, wss, signed twice and verified twice, durable at both ends, confirmed\n");
	row("  ceiling: two verifications a message", "%.0f/s", ceiling);
	rows(&p.to_alice, &p.to_bob, &p.alice, &p.bob, c, ceiling);
	pair_close(&p);
	printf("\n");
}

void bench_im2_messages(const struct ceilings *c)
{
	struct pair p;

	messages_to("bert");
	pair_open(&p, "anna", "bert", "require");
	printf("im2 messages: 1 KiB, wss, durable at both ends, confirmed\n");
	row("  ceiling: group commit, 64 rows of 1 KiB", "%.0f/s", c->group_rows_per_s);
	rows(&p.to_alice, &p.to_bob, &p.alice, &p.bob, c, c->group_rows_per_s);
	row("  resident memory with one session", "%ld KiB sender, %ld KiB receiver (after %d messages)",
	    daemon_rss_kib(&p.alice), daemon_rss_kib(&p.bob), 37000);
	bench_volatile(&p, c);
	bench_flooder(&p);
	pair_close(&p);
	printf("\n");
}
