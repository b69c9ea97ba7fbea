/* What the HTTP API costs with many peers: beside the bare request, which does nothing. */
#include "tests/bench/bench.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define PEERS "10000"
#define MESSAGES "100000"

struct web {
	struct daemon d;
	int port, fd;
	char token[80];
	char *in;
	size_t cap;
};

static void open_web(struct web *w)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)w->port) };
	struct timeval patience = { .tv_sec = 20 };
	int on = 1;

	w->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (w->fd < 0 || connect(w->fd, (struct sockaddr *)&a, sizeof a))
		die("cannot connect to port %d", w->port);
	setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(w->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
}

/* Bytes of the body. */
static size_t ask(struct web *w, const char *method, const char *path, const char *body)
{
	char head[600], *end, *length;
	size_t have = 0, want = 0;
	int n = snprintf(head, sizeof head,
			 "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\nAccept: application/openmetrics-text\r\n"
			 "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
			 method, path, w->port, w->token, strlen(body), body);

	if (write(w->fd, head, (size_t)n) != n)
		die("the HTTP connection is closed");
	do {
		if (w->cap - have < 65536) {
			w->cap = w->cap ? w->cap * 2 : 1 << 20;
			w->in = realloc(w->in, w->cap);
			if (!w->in)
				die("no memory");
		}
		ssize_t k = read(w->fd, w->in + have, w->cap - have - 1);

		if (k <= 0)
			die("no answer to %s", path);
		have += (size_t)k;
		w->in[have] = 0;
		end = strstr(w->in, "\r\n\r\n");
		length = end ? strstr(w->in, "content-length: ") : NULL;
		if (length)
			want = (size_t)(end + 4 - w->in) + strtoul(length + 16, NULL, 10);
	} while (!want || have < want);
	if (strncmp(w->in, "HTTP/1.1 200", 12) != 0)
		die("%s was answered %.300s", path, w->in);
	return want - (size_t)(end + 4 - w->in);
}

static void measure(struct web *w, const char *name, const char *method, const char *path, const char *body, int rounds)
{
	struct samples s = { 0 };
	size_t bytes = 0;
	double cpu = daemon_cpu_s(&w->d);

	for (int i = 0; i < rounds; i++) {
		double t = now_us();

		bytes = ask(w, method, path, body);
		sample(&s, now_us() - t);
	}
	cpu = daemon_cpu_s(&w->d) - cpu;
	row(name, "p50 %8.0f us  p99 %8.0f us  %7.0f us of CPU  %7zu bytes", percentile(&s, 50), percentile(&s, 99), cpu * 1e6 / rounds,
	    bytes);
	samples_free(&s);
}

void bench_http(void)
{
	char text[500], listen[40];
	const char *extra[] = { "--http", listen, NULL };
	struct web w = { .fd = -1 };
	struct client c;
	json_t *made;

	memset(&w.d, 0, sizeof w.d);
	snprintf(w.d.home, sizeof w.d.home, "%s/web", bench_dir);
	snprintf(w.d.name, sizeof w.d.name, "big");
	snprintf(text, sizeof text, "\"$(dirname '%s')/tests/bench/big_home\" '%s' --peers " PEERS " --messages " MESSAGES " >/dev/null",
		 bench_binary, w.d.home);
	if (system(text) != 0)
		die("big_home failed");
	w.d.port = free_port();
	w.port = free_port();
	snprintf(listen, sizeof listen, "127.0.0.1:%d", w.port);
	daemon_start(&w.d, extra);
	client_open(&c, &w.d);
	made = client_call(&c, "token.create", "{\"role\":\"admin\"}");
	snprintf(w.token, sizeof w.token, "%s", json_str(made, "token") ? json_str(made, "token") : "");
	json_decref(made);
	open_web(&w);
	printf("\nHTTP API on a node with " PEERS " peers and " MESSAGES " messages, one connection, one request at a time\n");
	measure(&w, "a request that does nothing (/livez)", "GET", "/livez", "", 2000);
	measure(&w, "the same with a token and a command (version)", "POST", "/api/v1/version", "{}", 2000);
	measure(&w, "our own identity (keys.fingerprint)", "GET", "/api/v1/keys.fingerprint", "", 2000);
	measure(&w, "a page of 500 peers (feed.snapshot)", "POST", "/api/v1/feed.snapshot", "{\"section\":\"peers\",\"limit\":500}", 100);
	measure(&w, "a page of 100 conversations", "POST", "/api/v1/conversations.list", "{\"limit\":100}", 100);
	measure(&w, "a scrape (/metrics)", "GET", "/metrics", "", 500);
	row("memory of the daemon", "%ld KiB", daemon_rss_kib(&w.d));
	close(w.fd);
	free(w.in);
	client_close(&c);
	daemon_stop(&w.d);
}
