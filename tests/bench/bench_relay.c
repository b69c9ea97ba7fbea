/*
 * bench_relay.c -- what a hop costs: the same messages between two daemons that share a link, and through one relay and two,
 * all on one machine. The three chains stand at the same time and take turns, so that what else the machine does falls on
 * all of them alike.
 *
 * The direct pair speaks in a session; through relays each message is sealed, signed and answered by a signed receipt. So
 * the first relay costs the sealing and a hop, the second one a hop alone.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/bench.h"

#define CHAINS 3
#define BODY 1024
#define ROUNDS 4
#define SINGLE 250  /* a round, each as soon as the one before is confirmed */
#define LONELY 100  /* a round, each 20 ms after the one before was confirmed: nobody waits for company */
#define BATCH 500   /* of one send_many */
#define BATCHES 8   /* a round: below what an inbox holds of one peer */
#define MANY (BATCH * BATCHES)
#define NODES_MAX 4

struct chain {
	unsigned relays, nodes;
	struct daemon node[NODES_MAX]; /* the author, the relays, the recipient */
	struct client from, to;
	char to_name[16];
	struct samples lat, lonely;
	double single_s, many_s, cpu[NODES_MAX], commits[2];
};

static struct daemon *recipient(struct chain *c)
{
	return &c->node[c->nodes - 1];
}

/* --- the machine ------------------------------------------------------------------------------------------ */
static bool all(int fd, bool out, char *p, size_t n)
{
	while (n) {
		ssize_t k = out ? write(fd, p, n) : read(fd, p, n);

		if (k <= 0)
			return false;
		p += k;
		n -= (size_t)k;
	}
	return true;
}

/* 1 KiB there and back between two processes over loopback TCP: a hop cannot be cheaper. */
static double round_trip_us(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
	struct samples s = { 0 };
	char unit[BODY] = { 0 };
	double p50;
	pid_t pid;

	if (listener < 0 || fd < 0 || bind(listener, (struct sockaddr *)&a, sizeof a) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&a, &n))
		die("no loopback socket");
	pid = fork();
	if (pid == 0) {
		int peer = accept(listener, NULL, NULL);

		close(fd); /* or it would never see the end */
		while (all(peer, false, unit, sizeof unit) && all(peer, true, unit, sizeof unit))
			;
		_exit(0);
	}
	if (connect(fd, (struct sockaddr *)&a, sizeof a))
		die("no loopback connection");
	for (int i = 0; i < 3000; i++) {
		double t0 = now_us();

		if (!all(fd, true, unit, sizeof unit) || !all(fd, false, unit, sizeof unit))
			die("the loopback connection ended");
		sample(&s, now_us() - t0);
	}
	close(fd);
	close(listener);
	waitpid(pid, NULL, 0);
	p50 = percentile(&s, 50);
	samples_free(&s);
	return p50;
}

/* --- chains ----------------------------------------------------------------------------------------------- */
static void pin(struct client *at, struct client *whom, const char *name)
{
	json_t *key = client_call(whom, "keys.show", "{}");
	char params[256];

	snprintf(params, sizeof params, "{\"public_key\":\"%s\",\"name\":\"%s\"}", json_str(key, "public_key"), name);
	json_decref(key);
	json_decref(client_call(at, "trust.pin", params));
}

static void wait_route(struct client *c, const char *to)
{
	char params[64];

	snprintf(params, sizeof params, "{\"to\":\"%s\"}", to);
	for (int i = 0; i < 600; i++) {
		json_t *r = client_call(c, "routes.list", params);
		bool there = json_array_size(json_object_get(r, "routes")) > 0;

		json_decref(r);
		if (there)
			return;
		usleep(50000);
	}
	die("no route to %s", to);
}

/* Each node dials the one behind it. With discovery off nobody hears of another address. */
static void chain_open(struct chain *c, unsigned relays)
{
	char name[16], peer[64];

	*c = (struct chain){ .relays = relays, .nodes = relays + 2 };
	for (unsigned i = 0; i < c->nodes; i++) {
		snprintf(name, sizeof name, "hop%u%u", relays, i);
		daemon_make(&c->node[i], name);
	}
	snprintf(c->to_name, sizeof c->to_name, "%s", name);
	for (unsigned i = c->nodes; i-- > 0;) {
		const char *extra[] = { "--im2", "require", "--discovery", "off", "--routing",
					i && i + 1 < c->nodes ? "relay" : "passive", "--peer", peer, NULL };

		if (i + 1 == c->nodes)
			extra[6] = NULL;
		else
			snprintf(peer, sizeof peer, "127.0.0.1:%d", c->node[i + 1].port);
		daemon_start(&c->node[i], extra);
	}
	client_open(&c->from, &c->node[0]);
	client_open(&c->to, recipient(c));
	wait_online(&c->from);
	if (!relays)
		return;
	pin(&c->from, &c->to, c->to_name);
	pin(&c->to, &c->from, c->node[0].name);
	wait_route(&c->from, c->to_name);
	wait_route(&c->to, c->node[0].name);
}

static void chain_close(struct chain *c)
{
	client_close(&c->from);
	client_close(&c->to);
	for (unsigned i = 0; i < c->nodes; i++)
		daemon_stop(&c->node[i]);
	samples_free(&c->lat);
	samples_free(&c->lonely);
}

static double number(struct client *c, const char *of, const char *name)
{
	json_t *r = client_call(c, "status", "{}");
	double n = (double)json_integer_value(json_object_get(json_object_get(r, of), name));

	json_decref(r);
	return n;
}

/* --- measured --------------------------------------------------------------------------------------------- */
static void one_by_one(struct chain *c, unsigned n)
{
	messages_to(c->to_name);
	c->single_s += n / flood(&c->from, 1, n, &c->lat);
}

static void now_and_then(struct chain *c)
{
	messages_to(c->to_name);
	for (unsigned i = 0; i < LONELY; i++) {
		usleep(20000);
		flood(&c->from, 1, 1, &c->lonely);
	}
}

static void hand_over(struct chain *c)
{
	static char line[BATCH * (BODY + 4) + 256];
	int n = sprintf(line, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"send_many\",\"params\":{\"to\":\"%s\",\"messages\":[",
			c->to_name);

	for (unsigned i = 0; i < BATCH; i++) {
		n += sprintf(line + n, "%s\"", i ? "," : "");
		memset(line + n, 'x', BODY);
		n += BODY;
		line[n++] = '"';
	}
	n += sprintf(line + n, "]}}\n");
	client_send(&c->from, line, (size_t)n);
	if (strstr(client_line(&c->from), "\"refused\""))
		die("send_many: not all were taken");
}

/* Everything is handed over at once; the clock stops when the last confirmation is there. */
static void at_once(struct chain *c)
{
	double before = number(&c->from, "counters", "messages_delivered"), t0 = now_us();
	double commits[2] = { number(&c->from, "store", "commits"), number(&c->to, "store", "commits") };

	for (unsigned i = 0; i < c->nodes; i++)
		c->cpu[i] -= daemon_cpu_s(&c->node[i]);
	for (unsigned i = 0; i < BATCHES; i++)
		hand_over(c);
	while (number(&c->from, "counters", "messages_delivered") - before < MANY) {
		if (now_us() - t0 > 180e6)
			die("%s has not got everything after 180 s", c->to_name);
		usleep(5000);
	}
	c->many_s += (now_us() - t0) / 1e6;
	for (unsigned i = 0; i < c->nodes; i++)
		c->cpu[i] += daemon_cpu_s(&c->node[i]);
	c->commits[0] += number(&c->from, "store", "commits") - commits[0];
	c->commits[1] += number(&c->to, "store", "commits") - commits[1];
	drain(&c->to);
}

static void say(struct chain *c, struct chain *direct, const struct ceilings *k)
{
	const double n = ROUNDS * MANY;
	double rate = n / c->many_s;

	printf("  %s\n", c->relays == 0 ? "direct, in a session" : c->relays == 1 ? "through one relay, sealed" :
									      "through two relays, sealed");
	row("    send to confirmed, one now and then", "p50 %.2f ms p99 %.2f ms (%.1f x direct; n=%u)",
	    percentile(&c->lonely, 50) / 1e3, percentile(&c->lonely, 99) / 1e3,
	    percentile(&c->lonely, 50) / percentile(&direct->lonely, 50), ROUNDS * LONELY);
	row("    one right after the other", "p50 %.2f ms p99 %.2f ms, %.0f/s (%.1f x direct; n=%u)",
	    percentile(&c->lat, 50) / 1e3, percentile(&c->lat, 99) / 1e3, ROUNDS * SINGLE / c->single_s,
	    percentile(&c->lat, 50) / percentile(&direct->lat, 50), ROUNDS * SINGLE);
	row("    4,000 at once", "%.0f/s (%.0f %% of direct, %.0f %% of the ceiling; n=%.0f)", rate, 100 * direct->many_s / c->many_s,
	    100 * rate / k->group_rows_per_s, n);
	row("    processor time a message", "%.0f us author, %.0f us recipient with its reader", c->cpu[0] * 1e6 / n,
	    c->cpu[c->nodes - 1] * 1e6 / n);
	for (unsigned i = 1; i <= c->relays; i++)
		row("      relay", "%.1f us (there and back; opening and sealing alone %.1f us)", c->cpu[i] * 1e6 / n,
		    4 * k->aead_1k_us);
	row("    messages a commit", "%.1f author, %.1f recipient", n / c->commits[0], n / c->commits[1]);
}

void bench_relay(const struct ceilings *k)
{
	struct chain *c = calloc(CHAINS, sizeof *c);
	double trip = round_trip_us();

	if (!c)
		die("no memory");
	printf("im2 through relays: 1 KiB, wss, durable at both ends, confirmed; the three chains take turns\n");
	for (unsigned i = 0; i < CHAINS; i++) {
		chain_open(&c[i], i);
		one_by_one(&c[i], 100); /* warm up: prekeys, caches, files at their size */
		samples_free(&c[i].lat);
		c[i].single_s = 0;
		drain(&c[i].to);
	}
	for (unsigned r = 0; r < ROUNDS; r++)
		for (unsigned i = 0; i < CHAINS; i++) {
			one_by_one(&c[i], SINGLE);
			now_and_then(&c[i]);
			at_once(&c[i]);
		}
	row("  floor of a confirmation: two durable commits", "%.2f ms", 2 * k->commit_p50_us / 1e3);
	row("  floor of sealing: message and signed receipt", "%.2f ms (2 signatures, 2 verifications, 4 X25519)",
	    (2 * k->sign_us + 2 * k->verify_us + 4 * k->dh_us) / 1e3);
	row("  floor of a hop: 1 KiB over TCP and back", "p50 %.3f ms", trip / 1e3);
	row("  ceiling: group commit, 64 rows of 1 KiB", "%.0f/s", k->group_rows_per_s);
	for (unsigned i = 0; i < CHAINS; i++)
		say(&c[i], &c[0], k);
	row("  a hop more, one now and then", "p50 %+.2f ms", (percentile(&c[2].lonely, 50) - percentile(&c[1].lonely, 50)) / 1e3);
	for (unsigned i = 0; i < CHAINS; i++)
		chain_close(&c[i]);
	free(c);
	printf("\n");
}
