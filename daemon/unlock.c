#include "daemon/unlock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include "base/file.h"
#include "base/passphrase.h"

/* --- a person at the terminal ------------------------------------------------------------------ */

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	interrupted = number;
}

static enum err read_line(int fd, uint8_t *out, size_t cap, size_t *n)
{
	size_t got = 0;

	while (!interrupted) {
		uint8_t ch;
		ssize_t r = read(fd, &ch, 1);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_from_errno(errno);
		if (r == 0 || ch == '\n') {
			*n = got;
			return r == 0 && got == 0 ? ERR_CLOSED : ERR_OK;
		}
		if (got == cap)
			return ERR_LIMIT;
		out[got++] = ch;
	}
	return ERR_CLOSED;
}

/* One line without echo. A signal gives the terminal back before anything else happens. */
static enum err ask_hidden(const char *question, struct secret *out, struct fault *f)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };
	enum { SIGNALS = sizeof(signals) / sizeof(signals[0]) };
	struct sigaction sa = { .sa_handler = on_signal }, old[SIGNALS];
	struct termios before, hidden;
	struct secret line;
	struct bytes stripped;
	size_t n = 0;
	enum err e;

	if (tcgetattr(STDIN_FILENO, &before) != 0)
		return fault_set(f, err_from_errno(errno), EXIT_USAGE, "the terminal does not answer");
	e = secret_new(&line, PASSPHRASE_MAX_BYTES + 2);
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "no memory for the passphrase");
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
	e = read_line(STDIN_FILENO, line.p, line.n, &n);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
	fputc('\n', stderr);
	for (int i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &old[i], NULL);
	if (e != ERR_OK)
		fault_set(f, e, EXIT_USAGE, interrupted ? "interrupted" : "no passphrase was entered");
	else
		e = passphrase_check(bytes_of(line.p, n), &stripped, f);
	if (e == ERR_OK)
		e = secret_copy(out, stripped);
	secret_free(&line);
	return e;
}

static enum err ask(bool fresh, struct secret *out, struct fault *f)
{
	struct secret again = { 0 };
	enum err e = ask_hidden("Passphrase of the mesh: ", out, f);

	if (e != ERR_OK || !fresh)
		return e;
	e = ask_hidden("The same again: ", &again, f);
	if (e == ERR_OK && (again.n != out->n || !ct_equal(again.p, out->p, out->n)))
		e = fault_set(f, ERR_USAGE, EXIT_USAGE, "the two passphrases differ");
	secret_free(&again);
	if (e != ERR_OK)
		secret_free(out);
	return e;
}

/* --- in order ------------------------------------------------------------------------------------ */

static enum err nobody_said(struct fault *f)
{
	fault_set(f, ERR_USAGE, EXIT_USAGE, "the passphrase of the mesh is needed, and stdin is not a terminal");
	fault_means(f, "Give it with --passphrase-file FILE. The first machine of a mesh makes one with "
		       "`ironmesh keys generate --name NAME --new-mesh FILE`. A machine that is to be paired "
		       "starts with --no-passphrase.");
	fault_next(f, "ironmesh run --passphrase-file FILE");
	return ERR_USAGE;
}

static enum err find_mesh(const struct run_config *c, const char *home, bool fresh, struct unlock *u,
			  struct fault *f)
{
	char path[4096];
	enum err e;

	if (c->no_passphrase)
		return ERR_OK;
	if (c->passphrase_file)
		return passphrase_from_file(c->passphrase_file, &u->mesh, f);
	if (c->passphrase_fd >= 0)
		return passphrase_from_fd(c->passphrase_fd, &u->mesh, f);
	e = passphrase_from_credential("ironmesh", &u->mesh, f);
	if (e != ERR_NOTFOUND)
		return e;
	if (path_join(path, sizeof(path), home, "passphrase") == ERR_OK && access(path, F_OK) == 0)
		return passphrase_from_file(path, &u->mesh, f);
	e = passphrase_from_env("IRONMESH_PASSPHRASE", &u->mesh, f);
	if (e != ERR_NOTFOUND) {
		u->from_environment = true;
		return e;
	}
	return isatty(STDIN_FILENO) ? ask(fresh, &u->mesh, f) : nobody_said(f);
}

enum err unlock_find(const struct run_config *c, const char *home, bool fresh, struct unlock *out,
		     struct fault *f)
{
	struct unlock u = { 0 };
	enum err e = find_mesh(c, home, fresh, &u, f);

	if (e == ERR_OK && c->no_passphrase && !c->key_passphrase_file && (c->clear_keys || !fresh)) {
		u.key_is_mesh = true; /* no passphrase at all: the key file is, or will be, in clear */
	} else if (e == ERR_OK) {
		e = c->key_passphrase_file ? passphrase_from_file(c->key_passphrase_file, &u.key, f) :
					     passphrase_from_credential("ironmesh-key", &u.key, f);
		if (e == ERR_NOTFOUND && c->no_passphrase) {
			fault_set(f, ERR_USAGE, EXIT_USAGE, "the key of this node needs a passphrase of its own");
			fault_means(f, "without the passphrase of the mesh nothing else encrypts it on disk");
			fault_next(f, "ironmesh run --no-passphrase --key-passphrase-file FILE   (or --clear-keys)");
			e = ERR_USAGE;
		} else if (e == ERR_NOTFOUND && !c->key_passphrase_file) {
			u.key_is_mesh = true;
			e = ERR_OK;
		}
	}
	if (e != ERR_OK) {
		/* A passphrase that cannot be had is a wrong start, whatever the file system called it. */
		if (f)
			f->code = EXIT_USAGE;
		unlock_fini(&u);
		return e;
	}
	*out = u;
	return ERR_OK;
}

void unlock_fini(struct unlock *u)
{
	secret_free(&u->mesh);
	secret_free(&u->key);
}
