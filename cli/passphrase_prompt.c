#include "cli/passphrase_prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "base/file.h"
#include "base/passphrase.h"

enum err passphrase_configured(const struct cli *c, struct secret *out, struct fault *f)
{
	static const char *const credentials[] = { "ironmesh-key", "ironmesh" };
	const char *file = options_text(&c->opts, "passphrase-file");
	const struct optval *fd = options_get(&c->opts, "passphrase-fd");
	char path[HOME_MAX];
	enum err e;

	if (file)
		return passphrase_from_file(file, out, f);
	if (fd->given)
		return passphrase_from_fd((int)fd->number, out, f);
	for (size_t i = 0; i < sizeof(credentials) / sizeof(credentials[0]); i++) {
		e = passphrase_from_credential(credentials[i], out, f);
		if (e != ERR_NOTFOUND)
			return e;
	}
	if (path_join(path, sizeof(path), c->home, "passphrase") == ERR_OK && access(path, F_OK) == 0)
		return passphrase_from_file(path, out, f);
	return passphrase_from_env("IRONMESH_PASSPHRASE", out, f);
}

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	interrupted = number;
}

/* Reads one line; *n is its length without the end. */
static enum err read_line(int fd, uint8_t *out, size_t cap, size_t *n)
{
	size_t got = 0;

	while (!interrupted) {
		char ch;
		ssize_t r = read(fd, &ch, 1);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_from_errno(errno);
		if (r == 0 && got == 0)
			return ERR_CLOSED;
		if (r == 0 || ch == '\n') {
			*n = got;
			return ERR_OK;
		}
		if (got == cap)
			return ERR_LIMIT;
		out[got++] = (uint8_t)ch;
	}
	return ERR_CLOSED;
}

/* One hidden line. A signal restores the terminal before it takes effect. */
static enum err ask_hidden(int tty, const char *question, struct secret *out)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };
	enum { SIGNALS = sizeof(signals) / sizeof(signals[0]) };
	struct sigaction sa = { .sa_handler = on_signal }, old[SIGNALS];
	struct termios before, hidden;
	struct secret line, exact;
	size_t n = 0;
	enum err e = secret_new(&line, PASSPHRASE_MAX_BYTES + 2);

	if (e != ERR_OK)
		return e;
	if (tcgetattr(tty, &before) != 0) {
		secret_free(&line);
		return err_from_errno(errno);
	}
	interrupted = 0;
	sigemptyset(&sa.sa_mask);
	for (int i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &sa, &old[i]);
	hidden = before;
	hidden.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
	hidden.c_lflag |= ICANON | ISIG;
	tcsetattr(tty, TCSAFLUSH, &hidden);
	fprintf(stderr, "%s", question);
	fflush(stderr);
	e = read_line(tty, line.p, line.n, &n);
	tcsetattr(tty, TCSAFLUSH, &before);
	fputc('\n', stderr);
	for (int i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &old[i], NULL);
	if (interrupted) {
		secret_free(&line);
		exit(128 + interrupted);
	}
	if (e == ERR_OK)
		e = secret_copy(&exact, bytes_of(line.p, n));
	secret_free(&line);
	if (e == ERR_OK)
		*out = exact;
	return e;
}

static enum err ask_fresh(int tty, struct secret *first, struct fault *f)
{
	struct secret again;
	struct bytes stripped;
	enum err e = passphrase_check(secret_bytes(first), &stripped, f);

	if (e != ERR_OK)
		return e;
	e = ask_hidden(tty, "The same again: ", &again);
	if (e != ERR_OK)
		return e;
	if (again.n != first->n || !ct_equal(again.p, first->p, first->n))
		e = fault_set(f, ERR_USAGE, EXIT_USAGE, "the two passphrases differ; nothing was changed");
	secret_free(&again);
	return e;
}

enum err passphrase_prompt(const struct cli *c, const char *question, bool fresh,
			   struct secret *out, struct fault *f)
{
	struct secret line;
	enum err e;

	if (!isatty(STDIN_FILENO)) {
		fault_set(f, ERR_NOTFOUND, EXIT_USAGE, "a passphrase is needed, and stdin is not a terminal");
		fault_means(f, "Give it with --passphrase-file FILE, --passphrase-fd N, a systemd "
			       "credential named ironmesh-key, or as a last resort IRONMESH_PASSPHRASE.");
		return ERR_NOTFOUND;
	}
	f->what[0] = '\0';
	e = ask_hidden(STDIN_FILENO, question, &line);
	if (e == ERR_OK && fresh) {
		e = ask_fresh(STDIN_FILENO, &line, f);
		if (e != ERR_OK)
			secret_free(&line);
	}
	if (e != ERR_OK && !f->what[0])
		fault_set(f, e, EXIT_GENERIC, e == ERR_LIMIT ? "the passphrase is too long" :
							       "no passphrase was entered");
	if (e == ERR_OK)
		*out = line;
	return e;
}
