/*
 * bench_sessions.c -- handshakes and idle sessions against one real daemon. The other ends are sessions of
 * this process: the real wire over the real transport, many identities.
 */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "protocol/v09/v09.h"
#include "tests/bench/bench.h"
#include "transports/ws/ws.h"

#define PARALLEL 8

struct dialled {
	link_id link;
	struct session *session;
	char name[16]; /* the session borrows it */
};

struct swarm {
	uv_loop_t loop;
	struct env env;
	struct transport *t;
	char address[64];
	struct keyring **keys;
	struct dialled *at;
	unsigned total, begun, online, ended, failed;
	bool keep; /* hold the sessions open */
	bool stopped;
};

static uint64_t mono(void *ctx)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t wall(void *ctx)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void chance(void *ctx, void *out, size_t n)
{
	randombytes_buf(out, n);
}

static struct dialled *find(struct swarm *s, link_id id)
{
	for (unsigned i = 0; i < s->begun; i++)
		if (s->at[i].link == id)
			return &s->at[i];
	return NULL;
}

static void begin(struct swarm *s)
{
	while (s->begun < s->total && s->begun - s->online - s->failed < PARALLEL) {
		unsigned i = s->begun++;

		if (tp_dial(s->t, s->address, &s->at[i].link) != ERR_OK)
			die("dial");
	}
}

static void pump(struct swarm *s, struct dialled *d)
{
	struct session_unit u;
	struct session_event e;
	bool more = true;

	while (more) {
		while (session_next_unit(d->session, &u))
			if (tp_send(s->t, d->link, u.bytes, u.text) != ERR_OK)
				die("send");
		more = session_next_event(d->session, &e);
		if (more && e.type == SESSION_EV_IDENTIFIED)
			session_admit(d->session);
		if (more && e.type == SESSION_EV_ONLINE) {
			s->online++;
			if (!s->keep)
				tp_close(s->t, d->link);
		}
		if (more && e.type == SESSION_EV_OVER) {
			s->failed++;
			fprintf(stderr, "handshake: %s\n", e.word);
		}
	}
}

static bool accepting(void *ctx, const char *source)
{
	return false;
}

static void opened(void *ctx, const struct link_info *info)
{
	struct swarm *s = ctx;
	struct dialled *d = find(s, info->id);
	struct session_config c = { .env = &s->env,
				    .keyring = s->keys[d - s->at],
				    .passphrase = BYTES_LIT("bench-bench-bench"),
				    .role = SESSION_DIALLER,
				    .handshake_ms = 60000 };

	snprintf(d->name, sizeof d->name, "n%u", (unsigned)(d - s->at));
	c.name = d->name;
	if (v09_session_new(&c, &d->session) != ERR_OK)
		die("session");
	session_start(d->session);
	pump(s, d);
}

static void unit(void *ctx, link_id id, struct bytes b, bool text)
{
	struct swarm *s = ctx;
	struct dialled *d = find(s, id);

	if (d && d->session) {
		session_take(d->session, b, text);
		pump(s, d);
	}
}

static void writable(void *ctx, link_id id)
{
}

static void closed(void *ctx, link_id id, enum link_end why, const char *detail)
{
	struct swarm *s = ctx;
	struct dialled *d = find(s, id);

	s->ended++;
	if (d && !d->session) {
		s->failed++;
		fprintf(stderr, "link: %s %s\n", link_end_word(why), detail);
	}
	if (d) {
		session_free(d->session);
		d->session = NULL;
	}
}

static void strange(void *ctx, const char *source, enum link_end why)
{
}

static void stopped(void *ctx)
{
	((struct swarm *)ctx)->stopped = true;
}

static void swarm_open(struct swarm *s, const struct daemon *d, bool tls, unsigned total, struct keyring **keys)
{
	struct transport_sink sink = { s, accepting, opened, unit, writable, closed, strange };
	struct ws_config c = { .loop = &s->loop, .allow_plaintext = !tls, .dial_plain = !tls, .max_links = 8192, .dial_ms = 30000,
			       .keepalive_ms = 60000 };
	struct fault f = { 0 };

	memset(s, 0, sizeof *s);
	s->env = (struct env){ .now_ms = mono, .wall_ms = wall, .random = chance };
	uv_loop_init(&s->loop);
	if (ws_new(&c, &sink, &s->t, &f) != ERR_OK)
		die("ws: %s", f.what);
	snprintf(s->address, sizeof s->address, "127.0.0.1:%d", d->port);
	s->total = total;
	s->keys = keys;
	s->at = calloc(total, sizeof *s->at);
}

static void swarm_close(struct swarm *s)
{
	tp_stop(s->t, stopped, s);
	while (!s->stopped)
		uv_run(&s->loop, UV_RUN_ONCE);
	tp_free(s->t);
	while (uv_run(&s->loop, UV_RUN_NOWAIT))
		;
	uv_loop_close(&s->loop);
	for (unsigned i = 0; i < s->total; i++)
		session_free(s->at[i].session);
	free(s->at);
}

static void handshakes(const struct daemon *d, bool tls, unsigned total, struct keyring **keys)
{
	struct swarm s;
	double cpu = daemon_cpu_s(d), t0;

	swarm_open(&s, d, tls, total, keys);
	t0 = now_us();
	while (s.online + s.failed < total || s.ended < total) {
		begin(&s);
		uv_run(&s.loop, UV_RUN_ONCE);
	}
	double wall_s = (now_us() - t0) / 1e6;

	cpu = daemon_cpu_s(d) - cpu;
	row(tls ? "  handshakes, wss" : "  handshakes, ws", "%.0f/s per core of the daemon (%.0f/s in all, n=%u, failed %u)",
	    s.online / cpu, s.online / wall_s, total, s.failed);
	swarm_close(&s);
}

static void idle(const struct daemon *d, bool tls, unsigned total, struct keyring **keys)
{
	struct swarm s;
	long before = daemon_rss_kib(d);

	swarm_open(&s, d, tls, total, keys);
	s.keep = true;
	while (s.online + s.failed < total) {
		begin(&s);
		uv_run(&s.loop, UV_RUN_ONCE);
	}
	usleep(300000);
	row(tls ? "  idle session, wss" : "  idle session, ws", "%.1f KiB each (n=%u; RSS %ld -> %ld KiB)",
	    (double)(daemon_rss_kib(d) - before) / s.online, s.online, before, daemon_rss_kib(d));
	swarm_close(&s);
}

void bench_sessions(void)
{
	enum { N = 1000 };
	struct env e = { .now_ms = mono, .wall_ms = wall, .random = chance };
	struct keyring *keys[N];
	struct daemon d, fresh;
	unsigned char out[32], salt[16] = { 1 };

	printf("sessions\n");
	for (int i = 0; i < N; i++)
		if (keyring_generate(&e, &keys[i]) != ERR_OK)
			die("keys");
	daemon_make(&fresh, "fresh");
	daemon_start(&fresh, (const char *[]){ "--allow-plaintext-ws", NULL });
	row("  cold start to READY, clear keys", "%.0f ms, resident %ld KiB", fresh.start_ms, daemon_rss_kib(&fresh));
	double t0 = now_us();

	if (crypto_pwhash(out, sizeof out, "bench-bench-bench", 17, salt, 3, 268435456, crypto_pwhash_ALG_ARGON2ID13))
		die("argon2");
	row("  key derivation (Argon2id, once, encrypted keys)", "%.0f ms", (now_us() - t0) / 1e3);
	/* First the memory, on a fresh process; identities are pinned here, so the handshakes below are those
	 * of known peers. */
	idle(&fresh, false, N, keys);
	daemon_stop(&fresh);
	daemon_make(&d, "carol");
	daemon_start(&d, (const char *[]){ "--allow-plaintext-ws", NULL });
	idle(&d, true, N, keys);
	handshakes(&d, false, N, keys);
	handshakes(&d, true, N, keys);
	daemon_stop(&d);
	for (int i = 0; i < N; i++)
		keyring_free(keys[i]);
	printf("\n");
}
