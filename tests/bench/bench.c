/*
 * bench.c -- `make bench`: what this machine allows, and what we make of it.
 */
#include "tests/bench/bench.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const char *bench_binary, *bench_dir, *bench_passphrase;

double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "bench: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	kill(0, SIGTERM);
	exit(1);
}

void sample(struct samples *s, double v)
{
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 1024;
		s->v = realloc(s->v, s->cap * sizeof *s->v);
		if (!s->v)
			die("no memory");
	}
	s->v[s->n++] = v;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double percentile(struct samples *s, double p)
{
	if (!s->n)
		return 0;
	qsort(s->v, s->n, sizeof *s->v, by_value);
	size_t i = (size_t)(p / 100 * (double)(s->n - 1) + 0.5);

	return s->v[i];
}

void samples_free(struct samples *s)
{
	free(s->v);
	memset(s, 0, sizeof *s);
}

void row(const char *name, const char *fmt, ...)
{
	va_list ap;

	printf("%-46s ", name);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
}

/* --- real daemons -------------------------------------------------------------------------------- */
int free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM, 0), port;

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) || getsockname(fd, (struct sockaddr *)&a, &n))
		die("no free port");
	port = ntohs(a.sin_port);
	close(fd);
	return port;
}

static pid_t spawn(const char *const argv[], int *out)
{
	int p[2] = { -1, -1 };
	pid_t pid;

	if (out && pipe(p))
		die("pipe");
	pid = fork();
	if (pid == 0) {
		int log = open("daemon.log", O_WRONLY | O_CREAT | O_APPEND, 0600);

		dup2(out ? p[1] : log, 1);
		dup2(log, 2);
		if (out)
			close(p[0]);
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	if (out) {
		close(p[1]);
		*out = p[0];
	}
	return pid;
}

void daemon_make(struct daemon *d, const char *name)
{
	int status;

	memset(d, 0, sizeof *d);
	snprintf(d->home, sizeof d->home, "%s/%s", bench_dir, name);
	snprintf(d->name, sizeof d->name, "%s", name);
	d->port = free_port();
	const char *argv[] = { bench_binary, "keys", "generate", "--home", d->home, "--name", d->name, "--clear",
			 "--quiet", NULL };
	pid_t pid = spawn(argv, NULL);

	if (waitpid(pid, &status, 0) != pid || status != 0)
		die("keys generate failed for %s", name);
}

void daemon_start(struct daemon *d, const char *const extra[])
{
	char port[8], line[4096];
	const char *argv[32] = { bench_binary, "run", "--json", "--home", d->home, "--name", d->name, "--bind",
			   "127.0.0.1", "--port", port, "--passphrase-file", bench_passphrase,
			   "--trust-on-first-use", "--connect-rate", "0", "--log-level", "warn" };
	int n = 0, out;
	size_t have = 0;
	double t0 = now_us();

	snprintf(port, sizeof port, "%d", d->port);
	while (argv[n])
		n++;
	for (int i = 0; extra && extra[i]; i++)
		argv[n++] = extra[i];
	argv[n] = NULL;
	d->pid = spawn(argv, &out);
	while (!memchr(line, '\n', have)) {
		ssize_t k = read(out, line + have, sizeof line - 1 - have);

		if (k <= 0)
			die("%s did not become ready; see daemon.log in %s", d->name, bench_dir);
		have += (size_t)k;
	}
	d->start_ms = (now_us() - t0) / 1000;
	line[have] = 0;
	json_t *ready = json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);

	snprintf(d->id, sizeof d->id, "%s", json_str(ready, "id") ? json_str(ready, "id") : "");
	json_decref(ready);
	close(out);
}

void daemon_stop(struct daemon *d)
{
	int status;

	kill(d->pid, SIGTERM);
	if (waitpid(d->pid, &status, 0) != d->pid || status != 0)
		die("%s did not stop cleanly (status %d)", d->name, status);
	d->pid = 0;
}

static double process_cpu_s(pid_t pid)
{
	char path[64], text[1024];
	unsigned long user, sys;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	FILE *f = fopen(path, "r");
	if (!f || !fgets(text, sizeof text, f))
		die("no %s", path);
	fclose(f);
	if (sscanf(strrchr(text, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) != 2)
		die("cannot read %s", path);
	return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}

/* With its key process, which signs for it. */
double daemon_cpu_s(const struct daemon *d)
{
	char path[64];
	double sum = process_cpu_s(d->pid);
	int child;

	snprintf(path, sizeof path, "/proc/%d/task/%d/children", d->pid, d->pid);
	FILE *f = fopen(path, "r");
	while (f && fscanf(f, "%d", &child) == 1)
		sum += process_cpu_s(child);
	if (f)
		fclose(f);
	return sum;
}

long daemon_rss_kib(const struct daemon *d)
{
	char path[64];
	long total = 0, resident = 0;

	snprintf(path, sizeof path, "/proc/%d/statm", d->pid);
	FILE *f = fopen(path, "r");
	if (!f || fscanf(f, "%ld %ld", &total, &resident) != 2)
		die("no %s", path);
	fclose(f);
	return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/* --- control client -------------------------------------------------------------------------------- */
void client_open(struct client *c, const struct daemon *d)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	memset(c, 0, sizeof *c);
	snprintf(a.sun_path, sizeof a.sun_path, "%.90s/control.sock", d->home);
	c->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof a))
		die("cannot connect to %s", a.sun_path);
}

void client_close(struct client *c)
{
	close(c->fd);
	free(c->in);
}

void client_send(struct client *c, const char *line, size_t n)
{
	while (n) {
		ssize_t k = write(c->fd, line, n);

		if (k <= 0)
			die("control socket closed");
		line += k;
		n -= (size_t)k;
	}
}

const char *client_line(struct client *c)
{
	char *nl;

	if (c->taken) {
		memmove(c->in, c->in + c->taken, c->in_n - c->taken);
		c->in_n -= c->taken;
		c->taken = 0;
	}
	while (!(nl = c->in_n ? memchr(c->in, '\n', c->in_n) : NULL)) {
		if (c->in_cap - c->in_n < 65536) {
			c->in_cap += 1 << 17;
			c->in = realloc(c->in, c->in_cap);
			if (!c->in)
				die("no memory");
		}
		ssize_t k = read(c->fd, c->in + c->in_n, c->in_cap - c->in_n);

		if (k <= 0)
			die("control socket closed");
		c->in_n += (size_t)k;
	}
	*nl = 0;
	c->taken = (size_t)(nl - c->in) + 1;
	return c->in;
}

bool client_has_line(const struct client *c)
{
	return c->in_n > c->taken && memchr(c->in + c->taken, '\n', c->in_n - c->taken);
}

json_t *client_call(struct client *c, const char *method, const char *params)
{
	char line[2048];
	int n = snprintf(line, sizeof line, "{\"jsonrpc\":\"2.0\",\"id\":%u,\"method\":\"%s\",\"params\":%s}\n",
			 ++c->next_id, method, params);

	client_send(c, line, (size_t)n);
	json_t *answer = json_loads(client_line(c), 0, NULL);
	json_t *result = json_incref(json_object_get(answer, "result"));

	if (!result)
		die("%s failed: %s", method, json_dumps(answer, 0));
	json_decref(answer);
	return result;
}

int main(int argc, char **argv)
{
	static char dir[] = "/tmp/ironmesh-bench-XXXXXX", pass[64];
	struct ceilings c;
	struct utsname u;
	char cpu[128] = "unknown processor", text[256];

	if (argc < 2)
		die("usage: bench BINARY [primitives|messages|im2|relay|sessions|http]");
	setpgid(0, 0);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	bench_binary = realpath(argv[1], NULL);
	bench_dir = mkdtemp(dir);
	if (!bench_binary || !bench_dir || chdir(bench_dir))
		die("cannot work in %s", dir);
	snprintf(pass, sizeof pass, "%s/mesh.pass", dir);
	bench_passphrase = pass;
	int fd = open(pass, O_WRONLY | O_CREAT | O_EXCL, 0600);

	if (fd < 0 || write(fd, "bench-bench-bench\n", 18) != 18)
		die("cannot write %s", pass);
	close(fd);
	FILE *f = fopen("/proc/cpuinfo", "r");

	while (f && fgets(text, sizeof text, f))
		if (sscanf(text, "model name : %127[^\n]", cpu) == 1)
			break;
	if (f)
		fclose(f);
	uname(&u);
	printf("conditions: %s, %ld cores, Linux %s, temporary folder on disk, loopback, one process a side\n\n", cpu,
	       sysconf(_SC_NPROCESSORS_ONLN), u.release);
	const char *only = argc > 2 ? argv[2] : NULL;

	bench_primitives(&c);
	if (!only || strcmp(only, "messages") == 0)
		bench_messages(&c);
	if (!only || strcmp(only, "im2") == 0)
		bench_im2_messages(&c);
	if (!only || strcmp(only, "relay") == 0)
		bench_relay(&c);
	if (!only || strcmp(only, "sessions") == 0)
		bench_sessions();
	if (!only || strcmp(only, "http") == 0)
		bench_http();
	snprintf(text, sizeof text, "rm -rf '%s'", dir);
	return system(text) != 0;
}
