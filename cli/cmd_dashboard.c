#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/commands.h"

#define LOOK_MS 250
#define CODE_MS 60000

/* --- the browser ------------------------------------------------------------------------------------------------ */
static bool has_screen(void)
{
	const char *x = getenv("DISPLAY"), *w = getenv("WAYLAND_DISPLAY");

	return (x && x[0]) || (w && w[0]);
}

/* Arguments of programs are seen by everybody on the machine, and the browser is given a file that only its user reads. */
static int write_page(const char *url, char path[static 256])
{
	const char *folder = getenv("XDG_RUNTIME_DIR");
	int fd, n;

	n = snprintf(path, 256, "%s/ironmesh-XXXXXX.html", folder && folder[0] == '/' ? folder : "/tmp");
	if (n < 0 || n >= 256)
		return -1;
	fd = mkostemps(path, 5, O_CLOEXEC); /* 0600 */
	if (fd < 0)
		return -1;
	n = dprintf(fd, "<!doctype html><meta charset=\"utf-8\"><title>ironmesh</title><meta http-equiv=\"refresh\" content=\"0;url=%s\">\n",
		    url);
	if (close(fd) != 0 || n < 0) {
		unlink(path);
		return -1;
	}
	return 0;
}

static bool show_page(const char *path)
{
	int status, null;
	pid_t pid = fork();

	if (pid < 0)
		return false;
	if (pid == 0) {
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (null >= 0) {
			dup2(null, 0);
			dup2(null, 1);
			dup2(null, 2);
		}
		execlp("xdg-open", "xdg-open", path, (char *)NULL);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return false;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int64_t opened_so_far(struct cli *c)
{
	struct fault f = { 0 };
	json_t *r = NULL;
	int64_t n = -1;

	if (cli_ask(c, "http.status", json_object(), CLIENT_TIMEOUT_MS, &r, &f) == ERR_OK)
		n = show_int(json_object_get(r, "counters"), "http_sessions_opened");
	json_decref(r);
	return n;
}

/* The page is of no use once its code is: it goes then. */
static void open_browser(struct cli *c, const char *url)
{
	int64_t before = opened_so_far(c), now = before;
	uint64_t end = clock_ms() + CODE_MS;
	char path[256];

	if (write_page(url, path) != 0) {
		out_note(&c->out, "open this address in a browser within a minute");
		return;
	}
	if (!show_page(path)) {
		out_note(&c->out, "no browser was found here: open this address in one within a minute");
	} else {
		out_note(&c->out, "a browser opens; the address works once");
		while (now == before && clock_ms() < end) {
			usleep(LOOK_MS * 1000);
			now = opened_so_far(c);
			if (now < 0)
				break;
		}
		if (now == before)
			out_note(&c->out, "no browser came within a minute: ironmesh dashboard");
	}
	unlink(path);
}

/* --- the command --------------------------------------------------------------------------------------------------- */
static int end_sessions(struct cli *c)
{
	int code = EXIT_DONE;
	json_t *r = cli_result(c, "http.close", json_object(), &code);

	if (r && !cli_printed_json(c, r))
		out_note(&c->out, "%lld session(s) of the dashboard ended", (long long)show_int(r, "ended"));
	json_decref(r);
	return code;
}

static int run_dashboard(struct cli *c)
{
	int code = EXIT_DONE;
	const char *url;
	json_t *r;

	if (options_given(&c->opts, "end"))
		return end_sessions(c);
	r = cli_result(c, "http.code", json_pack("{s:s*}", "role", options_text(&c->opts, "role")), &code);
	url = json_str(r, "url");
	if (r && url && !cli_printed_json(c, r)) {
		printf("%s\n", url);
		fflush(stdout);
		if (options_given(&c->opts, "no-open") || !has_screen())
			out_note(&c->out, "open this address in a browser on this machine within a minute; it works once");
		else
			open_browser(c, url);
	}
	json_decref(r);
	return code;
}

static const struct example examples[] = {
	{ "ironmesh dashboard", "open the dashboard in a browser" },
	{ "ironmesh dashboard --no-open --role read", "the address alone, for a page that only looks" },
	{ "ironmesh dashboard --end", "sign everybody out" },
	{ 0 },
};

static const struct opt opts[] = {
	{ "no-open", 0, OPT_FLAG, NULL, "print the address and open nothing" },
	{ "role", 0, OPT_WORD, "read|send|admin", "what the page may do (admin)" },
	{ "end", 0, OPT_FLAG, NULL, "end every session of the dashboard" },
	{ 0 },
};

const struct command cmd_dashboard = {
	.name = "dashboard",
	.args = "",
	.summary = "open the dashboard of the running daemon",
	.examples = examples,
	.text = "The address has a code that works once, within a minute, and then opens a session of a day\n"
		"in that browser. The daemon listens on this machine alone, from the first time on; a\n"
		"browser elsewhere comes through a tunnel: ssh -L 8766:127.0.0.1:8766 HOST.",
	.opts = opts,
	.run = run_dashboard,
};
