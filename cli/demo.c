#include "cli/demo.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"

#define OUTPUT_MAX  1000000u
#define COMMAND_MS  30000u
#define PAUSE_MS    50
#define LOG_TAIL    4000

static volatile sig_atomic_t stop_signal;

static void on_stop(int number)
{
	stop_signal = number;
}

bool demo_fail(struct demo *d, const char *fmt, ...)
{
	va_list ap;

	if (d->failed[0])
		return false;
	va_start(ap, fmt);
	vsnprintf(d->failed, sizeof(d->failed), fmt, ap);
	va_end(ap);
	return false;
}

void demo_say(struct demo *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(d->story, fmt, ap);
	va_end(ap);
	fputc('\n', d->story);
	fflush(d->story);
}

bool demo_interrupted(struct demo *d)
{
	if (stop_signal)
		return !demo_fail(d, "interrupted");
	if (clock_ms() > d->deadline)
		return !demo_fail(d, "it took longer than %u s", DEMO_LIMIT_MS / 1000);
	return d->failed[0] != '\0';
}

static void pause_ms(int ms)
{
	poll(NULL, 0, ms);
}

void demo_step(struct demo *d, const char *title)
{
	const bool color = d->c->out.color_out;
	size_t n = json_array_size(d->steps);

	if (d->failed[0])
		return;
	json_array_append_new(d->steps, json_string(title));
	demo_say(d, "\n%s%zu. %s%s", color ? "\033[1m" : "", n + 1, title, color ? "\033[0m" : "");
}

/* --- the folder --------------------------------------------------------------------------- */

/* Both ports are held at once, so that they differ. Another program may still take one in
 * between; then the daemon says so and the demo fails, honestly. */
static bool pick_ports(struct demo *d)
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	int fd[2] = { -1, -1 };
	bool ok = true;

	for (int i = 0; i < 2 && ok; i++) {
		a = (struct sockaddr_in){ .sin_family = AF_INET,
					  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		ok = fd[i] >= 0 && bind(fd[i], (struct sockaddr *)&a, sizeof(a)) == 0 &&
		     getsockname(fd[i], (struct sockaddr *)&a, &len) == 0;
		d->node[i].port = ntohs(a.sin_port);
	}
	for (int i = 0; i < 2; i++)
		if (fd[i] >= 0)
			close(fd[i]);
	return ok || demo_fail(d, "no free port on 127.0.0.1: %s", strerror(errno));
}

bool demo_open(struct demo *d, struct cli *c)
{
	static const char *const private_words[] = { "IRONMESH_HOME", "IRONMESH_PASSPHRASE", "STATE_DIRECTORY",
						     "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET" };
	struct sigaction sa = { .sa_handler = on_stop };
	const char *tmp = getenv("TMPDIR");

	*d = (struct demo){ .c = c,
			    .story = c->out.json ? stderr : stdout,
			    .node = { { .name = "alice" }, { .name = "bob" } },
			    .deadline = clock_ms() + DEMO_LIMIT_MS };
	buf_init(&d->output, OUTPUT_MAX);
	d->steps = json_array();
	sigemptyset(&sa.sa_mask);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	/* The demo touches nothing of the user's own node. */
	for (size_t i = 0; i < sizeof(private_words) / sizeof(private_words[0]); i++)
		unsetenv(private_words[i]);
	if (!tmp || *tmp != '/' || strlen(tmp) > 60)
		tmp = "/tmp";
	snprintf(d->dir, sizeof(d->dir), "%s/ironmesh-demo.XXXXXX", tmp);
	if (!mkdtemp(d->dir)) {
		demo_fail(d, "cannot make a folder in %s: %s", tmp, strerror(errno));
		d->dir[0] = '\0';
		return false;
	}
	snprintf(d->passphrase, sizeof(d->passphrase), "%s/mesh.pass", d->dir);
	for (int i = 0; i < 2; i++) {
		struct demo_node *n = &d->node[i];

		snprintf(n->home, sizeof(n->home), "%s/%s", d->dir, n->name);
		snprintf(n->log, sizeof(n->log), "%s/%s.log", d->dir, n->name);
	}
	return pick_ports(d);
}

static void show_log(struct demo *d, const struct demo_node *n)
{
	char tail[LOG_TAIL + 1];
	off_t size;
	ssize_t got;
	int fd = open(n->log, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	size = lseek(fd, 0, SEEK_END);
	got = pread(fd, tail, LOG_TAIL, size > LOG_TAIL ? size - LOG_TAIL : 0);
	close(fd);
	tail[got > 0 ? got : 0] = '\0';
	demo_say(d, "\n--- the end of %s's log ---\n%s", n->name, tail);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
	remove(path);
	return 0;
}

void demo_close(struct demo *d, bool keep)
{
	for (int i = 0; i < 2; i++) {
		struct demo_node *n = &d->node[i];

		if (n->pid) {
			kill(n->pid, SIGKILL);
			waitpid(n->pid, NULL, 0);
			n->pid = 0;
		}
		if (d->failed[0] && !stop_signal)
			show_log(d, n);
	}
	if (keep && d->dir[0])
		demo_say(d, "\nkept: %s", d->dir);
	else if (d->dir[0])
		nftw(d->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	buf_fini(&d->output);
	json_decref(d->steps);
}

/* --- processes ---------------------------------------------------------------------------- */

static void show_command(struct demo *d, const char *const *argv, const char *tail)
{
	const bool color = d->c->out.color_out;
	char word[400];

	fprintf(d->story, "%s$ ironmesh", color ? "\033[36m" : "");
	for (; *argv; argv++)
		fprintf(d->story, " %s", word_for_shell(*argv, word, sizeof(word)));
	fprintf(d->story, "%s%s\n", tail, color ? "\033[0m" : "");
	fflush(d->story);
}

/* This program again, with `out` as stdout and stderr. The child dies with us. */
static pid_t spawn(const char *const *argv, int out)
{
	const char *words[32] = { "ironmesh" };
	pid_t parent = getpid(), pid;

	for (size_t i = 0; argv[i]; i++) {
		BUG_ON(i + 2 >= sizeof(words) / sizeof(words[0]));
		words[i + 1] = argv[i];
	}
	pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	close(STDIN_FILENO);
	if (open("/dev/null", O_RDONLY) == STDIN_FILENO)
		execv("/proc/self/exe", (char *const *)words);
	_exit(127);
}

static int exit_code_of(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Waits until `deadline`; -1 when it still runs. */
static int reap(pid_t pid, uint64_t deadline)
{
	int status;

	for (;;) {
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (got == pid)
			return exit_code_of(status);
		if (got < 0 && errno != EINTR)
			return 127;
		if (clock_ms() > deadline)
			return -1;
		pause_ms(5);
	}
}

/* Everything the command says, until it closes its end. */
static bool collect(struct demo *d, int fd, uint64_t deadline)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int ready = poll(&p, 1, 100);
		uint8_t *room;
		ssize_t n;

		if (ready <= 0) {
			if (demo_interrupted(d) || clock_ms() > deadline)
				return false;
			continue;
		}
		room = buf_reserve(&d->output, 4096);
		if (!room)
			return false;
		n = read(fd, room, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0;
		d->output.n += (size_t)n;
	}
}

static void show_output(struct demo *d)
{
	const char *line = buf_cstr(&d->output);

	while (*line) {
		size_t n = strcspn(line, "\n");

		fprintf(d->story, "  %.*s\n", (int)n, line);
		line += n + (line[n] == '\n');
	}
	fflush(d->story);
}

bool demo_command(struct demo *d, int code, const char *const *argv)
{
	uint64_t deadline = clock_ms() + COMMAND_MS;
	int pipe_fd[2], got;
	pid_t pid;

	if (demo_interrupted(d))
		return false;
	show_command(d, argv, "");
	buf_reset(&d->output);
	if (pipe2(pipe_fd, O_CLOEXEC) != 0)
		return demo_fail(d, "no pipe: %s", strerror(errno));
	pid = spawn(argv, pipe_fd[1]);
	close(pipe_fd[1]);
	if (pid < 0) {
		close(pipe_fd[0]);
		return demo_fail(d, "no process: %s", strerror(errno));
	}
	if (!collect(d, pipe_fd[0], deadline))
		kill(pid, SIGKILL);
	close(pipe_fd[0]);
	got = reap(pid, deadline + 1000);
	show_output(d);
	if (code != EXIT_DONE)
		demo_say(d, "  (exit %d)", got);
	if (got != code)
		return demo_fail(d, "'ironmesh %s' ended with %d instead of %d", argv[0], got, code);
	return true;
}

bool demo_expect(struct demo *d, const char *text, unsigned times)
{
	unsigned n = 0;

	if (d->failed[0])
		return false;
	for (const char *p = buf_cstr(&d->output); (p = strstr(p, text)); p += strlen(text))
		n++;
	return n == times || demo_fail(d, "expected '%s' %u time(s), saw it %u time(s)", text, times, n);
}

bool demo_start(struct demo *d, struct demo_node *n, const struct demo_node *other)
{
	char port[16], peer[40];
	const char *argv[] = { "run", "--home", n->home, "--name", n->name, "--bind", "127.0.0.1", "--port",
			       port, "--passphrase-file", d->passphrase, "--peer", peer,
			       "--trust-on-first-use", NULL };
	int log;

	if (demo_interrupted(d))
		return false;
	snprintf(port, sizeof(port), "%u", n->port);
	snprintf(peer, sizeof(peer), "127.0.0.1:%u", other->port);
	show_command(d, argv, " &");
	log = open(n->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (log < 0)
		return demo_fail(d, "cannot write %s: %s", n->log, strerror(errno));
	n->pid = spawn(argv, log);
	close(log);
	if (n->pid < 0) {
		n->pid = 0;
		return demo_fail(d, "no process: %s", strerror(errno));
	}
	return true;
}

bool demo_kill(struct demo *d, struct demo_node *n)
{
	if (demo_interrupted(d))
		return false;
	demo_say(d, "$ kill -9 %d", (int)n->pid);
	if (kill(n->pid, SIGKILL) != 0)
		return demo_fail(d, "%s is not there to be killed", n->name);
	waitpid(n->pid, NULL, 0);
	n->pid = 0;
	return true;
}

bool demo_wipe(struct demo *d, struct demo_node *n)
{
	struct stat st;

	if (d->failed[0] || n->pid)
		return demo_fail(d, "%s still runs", n->name);
	fprintf(d->story, "$ rm -r %s\n", n->home);
	nftw(n->home, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	return stat(n->home, &st) != 0 || demo_fail(d, "the home folder of %s cannot be removed", n->name);
}

bool demo_stop(struct demo *d, struct demo_node *n)
{
	int code;

	if (demo_interrupted(d))
		return false;
	demo_say(d, "$ kill -TERM %d", (int)n->pid);
	if (kill(n->pid, SIGTERM) != 0)
		return demo_fail(d, "%s is not there to be stopped", n->name);
	code = reap(n->pid, clock_ms() + 10000);
	if (code < 0)
		return demo_fail(d, "%s did not stop within 10 s", n->name);
	n->pid = 0;
	demo_say(d, "  %s ended with %d", n->name, code);
	return code == 0 || demo_fail(d, "%s ended with %d", n->name, code);
}

json_t *demo_call(struct demo *d, struct demo_node *n, const char *method, json_t *params)
{
	struct client client;
	struct fault f;
	json_t *result = NULL;

	if (client_open(&client, n->home, &f) == ERR_OK) {
		if (client_call(&client, method, params, 2000, &result, &f) != ERR_OK)
			result = NULL;
		client_close(&client);
	}
	json_decref(params);
	return result;
}

bool demo_until(struct demo *d, struct demo_node *n, const char *what,
		bool (*ready)(struct demo *d, struct demo_node *n))
{
	while (!demo_interrupted(d)) {
		int status;

		if (n->pid && waitpid(n->pid, &status, WNOHANG) == n->pid) {
			n->pid = 0;
			return demo_fail(d, "%s ended by itself with %d", n->name, exit_code_of(status));
		}
		if (ready(d, n))
			return true;
		pause_ms(PAUSE_MS);
	}
	if (clock_ms() > d->deadline)
		snprintf(d->failed, sizeof(d->failed), "%s: %s did not happen in time", n->name, what);
	return false;
}

/* nftw() hands no context down. */
static struct {
	const char *text;
	char found[220];
	unsigned files;
} search;

static int search_file(const char *path, const struct stat *st, int type, struct FTW *at)
{
	char *data;
	ssize_t n;
	int fd;

	if (type != FTW_F || !S_ISREG(st->st_mode) || st->st_size > 64 * 1024 * 1024)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	data = fd < 0 ? NULL : malloc((size_t)st->st_size + 1);
	n = data ? read(fd, data, (size_t)st->st_size) : -1;
	if (n >= 0)
		search.files++;
	if (n > 0 && memmem(data, (size_t)n, search.text, strlen(search.text)))
		snprintf(search.found, sizeof(search.found), "%s", path);
	free(data);
	if (fd >= 0)
		close(fd);
	return 0;
}

bool demo_nowhere(struct demo *d, const char *text)
{
	if (demo_interrupted(d))
		return false;
	search.text = text;
	search.found[0] = '\0';
	search.files = 0;
	nftw(d->dir, search_file, 16, FTW_PHYS);
	if (search.found[0])
		return demo_fail(d, "the text of a message is readable in %s", search.found);
	if (search.files < 4)
		return demo_fail(d, "only %u files could be searched", search.files);
	demo_say(d, "  \"%s\": in none of %u files", text, search.files);
	return true;
}
