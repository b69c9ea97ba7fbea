#include "base/prompt.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

#include "base/passphrase.h"

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	interrupted = number;
}

/* Reads one line; *n is its length without the end. */
static enum err read_line(uint8_t *out, size_t cap, size_t *n)
{
	size_t got = 0;

	while (!interrupted) {
		uint8_t ch;
		ssize_t r = read(STDIN_FILENO, &ch, 1);

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
		out[got++] = ch;
	}
	return ERR_CLOSED;
}

static enum err ask_line(const char *question, struct secret *line, size_t *n, struct fault *f)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };
	enum { SIGNALS = sizeof(signals) / sizeof(signals[0]) };
	struct sigaction sa = { .sa_handler = on_signal }, old[SIGNALS];
	struct termios before, hidden;
	enum err e;

	if (tcgetattr(STDIN_FILENO, &before) != 0)
		return fault_set(f, err_from_errno(errno), EXIT_USAGE, "the terminal does not answer");
	interrupted = 0;
	sigemptyset(&sa.sa_mask);
	for (int i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &sa, &old[i]);
	hidden = before;
	hidden.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
	hidden.c_lflag |= ICANON | ISIG;
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
	fputs(question, stderr);
	fflush(stderr);
	e = read_line(line->p, line->n, n);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
	fputc('\n', stderr);
	for (int i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &old[i], NULL);
	if (e != ERR_OK)
		fault_set(f, e, EXIT_USAGE, interrupted ? "interrupted" : e == ERR_LIMIT ? "the passphrase is too long" :
									   "no passphrase was entered");
	return e;
}

static enum err ask(const char *question, struct secret *out, struct fault *f)
{
	struct secret line;
	struct bytes stripped;
	size_t n = 0;
	enum err e = secret_new(&line, PASSPHRASE_MAX_BYTES + 2);

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "no memory for the passphrase");
	e = ask_line(question, &line, &n, f);
	if (e == ERR_OK)
		e = passphrase_check(bytes_of(line.p, n), &stripped, f);
	if (e == ERR_OK)
		e = secret_copy(out, stripped);
	secret_free(&line);
	return e;
}

enum err prompt_passphrase(const char *question, bool twice, struct secret *out, int *signal_number, struct fault *f)
{
	struct secret first = { 0 }, again = { 0 };
	enum err e;

	interrupted = 0;
	if (!isatty(STDIN_FILENO))
		return fault_set(f, ERR_NOTFOUND, EXIT_USAGE, "a passphrase is needed, and stdin is not a terminal");
	e = ask(question, &first, f);
	if (e == ERR_OK && twice)
		e = ask("The same again: ", &again, f);
	if (e == ERR_OK && twice && (again.n != first.n || !ct_equal(again.p, first.p, first.n)))
		e = fault_set(f, ERR_USAGE, EXIT_USAGE, "the two passphrases differ; nothing was changed");
	secret_free(&again);
	if (signal_number)
		*signal_number = interrupted;
	if (e != ERR_OK) {
		secret_free(&first);
		return e;
	}
	*out = first;
	return ERR_OK;
}
