/* rooms: transports base */
/*
 * bench_ws.c -- what an idle link weighs and what a frame costs, over ws and wss.
 *
 *	bench_ws [links] [frames]
 *
 * The listener runs in a child, so that its memory and its processor time are its own.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <malloc.h>

#include "transports/ws/ws.h"

#define FRAME_BYTES 1900

struct side {
	uv_loop_t loop;
	struct transport *t;
	link_id last;
	uint64_t opened, closed, units;
	uint64_t to_send;
	bool stopped, quit;
	int in, out;
	uint8_t frame[FRAME_BYTES];
};

static double cpu_s(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return r.ru_utime.tv_sec + r.ru_stime.tv_sec +
	       (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static long rss_kib(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long total = 0, resident = 0;

	if (f && fscanf(f, "%ld %ld", &total, &resident) != 2)
		resident = 0;
	if (f)
		fclose(f);
	return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void pump(struct side *s)
{
	while (s->to_send && tp_send(s->t, s->last, BYTES_ARR(s->frame), false) == ERR_OK)
		s->to_send--;
}

static void opened(void *ctx, const struct link_info *info)
{
	struct side *s = ctx;

	s->opened++;
	s->last = info->id;
}

static void unit(void *ctx, link_id id, struct bytes u, bool text)
{
	((struct side *)ctx)->units++;
}

static void writable(void *ctx, link_id id)
{
	pump(ctx);
}

static void closed(void *ctx, link_id id, enum link_end why, const char *detail)
{
	struct side *s = ctx;

	s->closed++;
	if (why != LINK_END_LOCAL && why != LINK_END_REMOTE)
		fprintf(stderr, "closed: %s %s\n", link_end_word(why), detail);
}

static void done(void *ctx)
{
	((struct side *)ctx)->stopped = true;
}

static void side_open(struct side *s, const char *bind, uint16_t port, const char *cert,
		      const char *key)
{
	struct transport_sink sink = {
		.ctx = s, .opened = opened, .unit = unit, .writable = writable, .closed = closed};
	struct ws_config c = {
		.bind = bind,
		.port = port,
		.allow_plaintext = !cert,
		.cert_path = bind ? cert : NULL,
		.key_path = bind ? key : NULL,
		.max_links = 20000,
		.max_half_open = 256,
		.max_half_open_per_source = 256,
	};
	struct fault f = {0};

	if (uv_loop_init(&s->loop) != 0)
		exit(1);
	c.loop = &s->loop;
	if (ws_new(&c, &sink, &s->t, &f) != ERR_OK) {
		fprintf(stderr, "%s\n", f.what);
		exit(1);
	}
}

static void side_close(struct side *s)
{
	tp_stop(s->t, done, s);
	while (!s->stopped)
		uv_run(&s->loop, UV_RUN_ONCE);
	tp_free(s->t);
	if (uv_loop_close(&s->loop) != 0)
		fprintf(stderr, "the loop is not empty\n");
}

/* One letter in, one report out. */
static void asked(uv_poll_t *poll, int status, int events)
{
	struct side *s = poll->data;
	uint64_t report[4];
	char letter;

	if (read(s->in, &letter, 1) != 1 || letter == 'q') {
		s->quit = true;
		return;
	}
	malloc_trim(0);
	report[0] = (uint64_t)rss_kib();
	report[1] = s->opened - s->closed;
	report[2] = s->units;
	report[3] = (uint64_t)(cpu_s() * 1e6);
	if (write(s->out, report, sizeof report) != sizeof report)
		s->quit = true;
}

static void listener(int in, int out, const char *cert, const char *key)
{
	static struct side s;
	static uv_poll_t asked_poll;
	uint16_t port;

	s.in = in;
	s.out = out;
	side_open(&s, "127.0.0.1", 0, cert, key);
	port = ws_port(s.t);
	if (write(out, &port, sizeof port) != sizeof port)
		exit(1);
	uv_poll_init(&s.loop, &asked_poll, in);
	asked_poll.data = &s;
	uv_poll_start(&asked_poll, UV_READABLE, asked);
	while (!s.quit)
		uv_run(&s.loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&asked_poll, NULL);
	side_close(&s);
	exit(0);
}

static void ask(int in, int out, uint64_t report[4])
{
	if (write(in, "r", 1) != 1 || read(out, report, 4 * sizeof *report) != 4 * sizeof *report)
		exit(1);
}

static void turn(struct side *s)
{
	uv_run(&s->loop, UV_RUN_NOWAIT);
}

static void bench(bool tls, unsigned links, uint64_t frames, const char *cert, const char *key)
{
	static struct side s;
	int to[2], from[2];
	uint64_t before[4], after[4], t0, t1;
	char address[64];
	uint16_t port;
	link_id id;
	pid_t pid;
	double cpu0, cpu1;
	long rss0 = 0;

	memset(&s, 0, sizeof s);
	if (pipe(to) != 0 || pipe(from) != 0)
		exit(1);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		close(to[1]);
		close(from[0]);
		listener(to[0], from[1], tls ? cert : NULL, tls ? key : NULL);
	}
	close(to[0]);
	close(from[1]);
	if (read(from[0], &port, sizeof port) != sizeof port)
		exit(1);
	snprintf(address, sizeof address, "127.0.0.1:%u", port);
	side_open(&s, NULL, 0, tls ? cert : NULL, tls ? key : NULL);

	/* A first few, so that what is paid once is paid. */
	for (unsigned i = 0; i < links + 20; i++) {
		while (tp_dial(s.t, address, &id) == ERR_FULL)
			turn(&s);
		while (s.opened + 16 < i)
			turn(&s);
		if (i == 19) {
			while (s.opened < 20)
				turn(&s);
			ask(to[1], from[0], before);
			malloc_trim(0);
			rss0 = rss_kib();
		}
	}
	while (s.opened < links + 20)
		turn(&s);
	for (int i = 0; i < 50; i++, usleep(2000))
		turn(&s);
	ask(to[1], from[0], after);
	malloc_trim(0);
	printf("%-4s idle link: %.1f KiB at the listener, %.1f KiB at the dialler (%u links)\n",
	       tls ? "wss" : "ws", (double)(after[0] - before[0]) / links,
	       (double)(rss_kib() - rss0) / links, links);

	for (int paced = 0; paced < 2; paced++) {
		ask(to[1], from[0], before);
		cpu0 = cpu_s();
		t0 = uv_hrtime();
		if (!paced) {
			s.to_send = frames;
			pump(&s);
			do {
				uv_run(&s.loop, UV_RUN_NOWAIT);
				ask(to[1], from[0], after);
			} while (after[2] - before[2] < frames);
		} else { /* 6,000 a second, six in a millisecond */
			for (uint64_t i = 0; i < frames; i += 6) {
				uint64_t at = t0 + i / 6 * 1000000, now = uv_hrtime();

				if (at > now)
					usleep((useconds_t)((at - now) / 1000));
				s.to_send = 6;
				pump(&s);
				for (int k = 0; k < 2; k++)
					uv_run(&s.loop, UV_RUN_NOWAIT);
			}
			do {
				uv_run(&s.loop, UV_RUN_NOWAIT);
				ask(to[1], from[0], after);
			} while (after[2] - before[2] < frames);
		}
		t1 = uv_hrtime();
		cpu1 = cpu_s();
		printf("%-4s %s: %.0f frames/s of %d bytes; processor %.1f us to send, %.1f us to "
		       "receive\n",
		       tls ? "wss" : "ws", paced ? "paced" : "burst", frames / ((t1 - t0) / 1e9),
		       FRAME_BYTES, (cpu1 - cpu0) * 1e6 / frames,
		       (double)(after[3] - before[3]) / frames);
	}
	side_close(&s);
	if (write(to[1], "q", 1) != 1)
		exit(1);
	close(to[1]);
	close(from[0]);
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	unsigned links = argc > 1 ? (unsigned)atoi(argv[1]) : 1000;
	uint64_t frames = argc > 2 ? (uint64_t)atoll(argv[2]) : 20000;
	char dir[] = "/tmp/ironmesh-bench-XXXXXX", cert[64], key[64];
	struct rlimit r;
	struct fault f = {0};

	signal(SIGPIPE, SIG_IGN);
	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
	if (!mkdtemp(dir))
		return 1;
	snprintf(cert, sizeof cert, "%s/cert.pem", dir);
	snprintf(key, sizeof key, "%s/key.pem", dir);
	if (tls_ensure(cert, key, "bench", &f) != ERR_OK) {
		fprintf(stderr, "%s\n", f.what);
		return 1;
	}
	bench(false, links, frames, cert, key);
	bench(true, links, frames, cert, key);
	unlink(cert);
	unlink(key);
	rmdir(dir);
	return 0;
}
