#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/passphrase_prompt.h"
#include "cli/suggest.h"

static void on_interrupt(int number)
{
	_exit(128 + number);
}

void cli_quiet_interrupt(void)
{
	struct sigaction sa = { .sa_handler = on_interrupt }, old;

	/* `nohup` and a shell's `&` ignore it on purpose. */
	if (sigaction(SIGINT, NULL, &old) == 0 && old.sa_handler == SIG_IGN)
		return;
	sigemptyset(&sa.sa_mask);
	sigaction(SIGINT, &sa, NULL);
}

int cli_usage(const struct cli *c, const char *next, const char *fmt, ...)
{
	struct fault f;
	char text[sizeof(f.what)], safe[sizeof(f.what)], path[96];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fault_set(&f, ERR_USAGE, EXIT_USAGE, "%s", text_safe(bytes_str(text), safe, sizeof(safe)));
	if (c->cmd && c->cmd->args)
		fault_means(&f, "Usage: %s %s", cli_path(c->group, c->cmd, path, sizeof(path)),
			    c->cmd->args);
	if (next)
		fault_next(&f, "%s", next);
	else if (c->cmd)
		fault_next(&f, "%s --help", cli_path(c->group, c->cmd, path, sizeof(path)));
	return out_fault(&c->out, &f);
}

bool cli_confirmed(const struct cli *c, int *code, const char *fmt, ...)
{
	struct fault f;
	char question[240], answer[16], safe[256];
	va_list ap;

	if (options_given(&c->opts, "yes"))
		return true;
	va_start(ap, fmt);
	vsnprintf(question, sizeof(question), fmt, ap);
	va_end(ap);
	text_safe(bytes_str(question), safe, sizeof(safe));
	if (!isatty(STDIN_FILENO)) {
		fault_set(&f, ERR_DENIED, EXIT_USAGE, "this cannot be undone, and nobody is there to ask");
		fault_means(&f, "Asked would be: %s", safe);
		fault_next(&f, "the same command with --yes");
		*code = out_fault(&c->out, &f);
		return false;
	}
	fprintf(stderr, "%s [y/N] ", safe);
	fflush(stderr);
	if (fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
		return true;
	fault_set(&f, ERR_DENIED, EXIT_GENERIC, "nothing was changed");
	*code = out_fault(&c->out, &f);
	return false;
}

/* --- with and without a daemon ------------------------------------------------------------ */

enum err cli_connect(struct cli *c, struct fault *f)
{
	char keys[HOME_MAX], word[400];
	enum err e;

	if (c->connected)
		return ERR_OK;
	e = client_open(&c->client, c->home, f);
	if (e == ERR_NOTFOUND) {
		word_for_shell(c->home, word, sizeof(word));
		fault_means(f, "This command is carried out by the daemon; nothing was done.");
		if (path_join(keys, sizeof(keys), c->home, "keys.json") == ERR_OK &&
		    access(keys, F_OK) == 0)
			fault_next(f, "ironmesh run --home %s", word);
		else
			fault_next(f, "ironmesh run --home %s --name NAME --passphrase-file FILE", word);
	}
	c->connected = e == ERR_OK;
	if (c->connected)
		out_detail(&c->out, "connected to the daemon of %s", c->home);
	return e;
}

static enum err offline(struct cli *c, const char *method, json_t *params, bool needs_key,
			json_t **result, struct fault *f)
{
	struct secret pass = { 0 };
	char path[96];
	enum err e = secret_init_library();

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "libsodium does not start");
	out_detail(&c->out, "no daemon runs; working on %s", c->home);
	if (!needs_key || !(c->cmd->flags & CMD_PASSPHRASE))
		return c->host->call(c->home, (struct bytes){ 0 }, method, params, result, f);
	e = passphrase_configured(c, &pass, f);
	if (e == ERR_NOTFOUND && !options_given(&c->opts, "passphrase-file")) {
		/* A key file stored in clear needs none. */
		e = c->host->call(c->home, (struct bytes){ 0 }, method, params, result, f);
		/* Not every refusal is about the passphrase: an open key file is one too. */
		if (e != ERR_DENIED || !strstr(f->what, "passphrase"))
			return e;
		if (!isatty(STDIN_FILENO)) {
			fault_next(f, "%s --passphrase-file FILE",
				   cli_path(c->group, c->cmd, path, sizeof(path)));
			return e;
		}
		e = passphrase_prompt(c, "Passphrase of the key file: ", false, &pass, f);
	}
	if (e == ERR_OK)
		e = c->host->call(c->home, secret_bytes(&pass), method, params, result, f);
	secret_free(&pass);
	return e;
}

/* A peer that is not known may be a slip of the finger. */
static void suggest_peer(struct cli *c, json_t *params, struct fault *f)
{
	static const char *const keys[] = { "to", "peer", "from" };
	const char *typed = NULL;
	struct suggest s;
	struct fault ignored;
	json_t *list = NULL, *peer;
	char safe[80];
	size_t i;

	for (i = 0; i < sizeof(keys) / sizeof(keys[0]) && !typed; i++)
		typed = json_str(params, keys[i]);
	if (!typed || !c->connected || strstr(f->means, "mean"))
		return;
	if (client_call(&c->client, "peers.list", NULL, CLIENT_TIMEOUT_MS, &list, &ignored) != ERR_OK)
		return;
	s = suggest_for(typed);
	json_array_foreach (json_object_get(list, "peers"), i, peer) {
		suggest_offer(&s, json_str(peer, "alias"));
		suggest_offer(&s, json_str(peer, "name"));
	}
	if (s.best)
		fault_means(f, "Did you mean '%s'?", text_safe(bytes_str(s.best), safe, sizeof(safe)));
	json_decref(list);
}

enum err cli_ask(struct cli *c, const char *method, json_t *params, uint64_t timeout_ms,
		 json_t **result, struct fault *f)
{
	bool needs_key = false;
	enum err e;

	if (!params) {
		fault_set(f, ERR_MALFORMED, EXIT_USAGE, "an argument is not valid UTF-8");
		fault_means(f, "Names, ids and reasons are text; only a message body may hold any bytes.");
		return ERR_MALFORMED;
	}
	e = cli_connect(c, f);
	if (e == ERR_NOTFOUND && c->host->offline(method, &needs_key)) {
		e = offline(c, method, params, needs_key, result, f);
	} else if (e == ERR_OK) {
		out_detail(&c->out, "asking: %s", method);
		e = client_call(&c->client, method, params, timeout_ms, result, f);
		/* Who fits more than one was not mistyped, and is told which. */
		if (e != ERR_OK && e != ERR_AMBIGUOUS && f->code == EXIT_PEER_UNKNOWN)
			suggest_peer(c, params, f);
		if (e == ERR_TIMEOUT || e == ERR_CLOSED) {
			client_close(&c->client);
			c->connected = false;
		}
	}
	json_decref(params);
	return e;
}

json_t *cli_result(struct cli *c, const char *method, json_t *params, int *code)
{
	struct fault f = { 0 };
	json_t *result = NULL;

	if (cli_ask(c, method, params, CLIENT_TIMEOUT_MS, &result, &f) == ERR_OK)
		return result;
	*code = out_fault(&c->out, &f);
	return NULL;
}

bool cli_printed_json(const struct cli *c, const json_t *result)
{
	if (c->out.json)
		out_json(&c->out, result);
	return c->out.json;
}
