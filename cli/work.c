#include "cli/work.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "base/passphrase.h"
#include "base/prompt.h"
#include "base/text.h"
#include "base/work.h"

#define BAR 24
#define REDRAW_MS 100

const struct opt work_archive_opts[] = {
	{ "passphrase-file", 0, OPT_TEXT, "FILE", "the passphrase of the backup: one line, mode 0600" },
	{ "passphrase-fd", 0, OPT_NUMBER, "N", "the same from an open descriptor", 0, 65535 },
	{ "key-passphrase-file", 0, OPT_TEXT, "FILE", "the passphrase of the key file in it, to prove that the identity opens" },
	{ 0 },
};

enum err work_archive_passphrase(struct cli *c, bool fresh, struct secret *out, struct fault *f)
{
	const char *file = options_text(&c->opts, "passphrase-file");
	const struct optval *fd = options_get(&c->opts, "passphrase-fd");
	int signal_number = 0;
	enum err e = secret_init_library();

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "libsodium does not start");
	if (file)
		return passphrase_from_file(file, out, f);
	if (fd->given)
		return passphrase_from_fd((int)fd->number, out, f);
	e = passphrase_from_credential("ironmesh-backup", out, f);
	if (e == ERR_NOTFOUND)
		e = passphrase_from_env("IRONMESH_BACKUP_PASSPHRASE", out, f);
	if (e != ERR_NOTFOUND)
		return e;
	e = prompt_passphrase("Passphrase of the backup: ", fresh, out, &signal_number, f);
	if (signal_number)
		_exit(128 + signal_number);
	if (e == ERR_NOTFOUND) {
		fault_means(f, "It may differ from that of the mesh, and must not be lost: without it the backup cannot be read.");
		fault_next(f, "the same command with --passphrase-file FILE");
	}
	return e;
}

enum err work_key_passphrase(struct cli *c, struct secret *out, struct fault *f)
{
	const char *file = options_text(&c->opts, "key-passphrase-file");

	return file ? passphrase_from_file(file, out, f) : ERR_OK;
}

const char *size_text(uint64_t bytes, char *buf, size_t cap)
{
	if (bytes < 1024)
		snprintf(buf, cap, "%llu bytes", (unsigned long long)bytes);
	else if (bytes < 1u << 20)
		snprintf(buf, cap, "%.1f KiB", (double)bytes / 1024);
	else if (bytes < 1ull << 30)
		snprintf(buf, cap, "%.1f MiB", (double)bytes / (1 << 20));
	else
		snprintf(buf, cap, "%.2f GiB", (double)bytes / (1 << 30));
	return buf;
}

/* --- while it runs ----------------------------------------------------------------------------------------- */
static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	stopped = number;
}

struct bar {
	bool shown, drawn;
	uint64_t last_ms;
};

static const char *phase_text(const char *phase)
{
	static const char *const names[][2] = {
		{ "copy", "copying the state" }, { "write", "writing" }, { "check", "reading it back" }, { "unpack", "unpacking" },
	};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strcmp(names[i][0], phase) == 0)
			return names[i][1];
	return phase;
}

static bool watch(void *ctx, const char *phase, uint64_t done, uint64_t all)
{
	struct bar *b = ctx;
	char line[BAR + 1], size[32];
	uint64_t now = clock_ms();
	unsigned full = all ? (unsigned)(done * BAR / all) : 0;

	if (!b->shown || now - b->last_ms < REDRAW_MS)
		return !stopped;
	b->last_ms = now;
	b->drawn = true;
	full = full > BAR ? BAR : full;
	memset(line, '#', full);
	memset(line + full, '.', BAR - full);
	line[BAR] = '\0';
	fprintf(stderr, "\r[%s] %3u %%  %s, %s   ", line, full * 100 / BAR, phase_text(phase), size_text(done, size, sizeof size));
	fflush(stderr);
	return !stopped;
}

enum err work_do(struct cli *c, const char *verb, json_t *params, const struct work_passphrases *p, json_t **result,
		 struct fault *f)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct bar b = { .shown = isatty(STDERR_FILENO) && !c->out.quiet && !c->out.json };
	struct work w = { .verb = verb, .home = c->home, .params = params, .archive = p->archive, .key = p->key, .mesh = p->mesh,
			  .watch = watch, .ctx = &b };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART }, old[3];
	enum err e;

	if (!params) {
		fault_set(f, ERR_MALFORMED, EXIT_USAGE, "a name is not valid UTF-8");
		return ERR_MALFORMED;
	}
	stopped = 0;
	sigemptyset(&sa.sa_mask);
	for (int i = 0; i < 3; i++) {
		sigaction(signals[i], NULL, &old[i]);
		if (old[i].sa_handler != SIG_IGN)
			sigaction(signals[i], &sa, NULL);
	}
	e = c->host->work(&w, result, f);
	for (int i = 0; i < 3; i++)
		sigaction(signals[i], &old[i], NULL);
	if (b.drawn)
		fprintf(stderr, "\r%*s\r", BAR + 50, "");
	if (e != ERR_OK && stopped)
		f->code = 128 + stopped;
	json_decref(params);
	return e;
}
