#include "tests/lib/cli_rig.h"

#include <fcntl.h>
#include <ftw.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "cli/cli.h"

/* --- the host: what main.c would hand down ------------------------------------------------ */

static int host_run(const char *home, bool json, int argc, char **argv)
{
	printf("run home=%s json=%d", home, json);
	for (int i = 0; i < argc; i++)
		printf(" [%s]", argv[i]);
	putchar('\n');
	return 42;
}

static bool host_run_option(unsigned i, const char **name, const char **arg, const char **text)
{
	static const char *const rows[][3] = {
		{ "--name", "NAME", "how this node is called" },
		{ "--trust-on-first-use", NULL, "trust strangers" },
	};

	if (i >= sizeof(rows) / sizeof(rows[0]))
		return false;
	*name = rows[i][0];
	*arg = rows[i][1];
	*text = rows[i][2];
	return true;
}

static bool host_offline(const char *method, bool *needs_key)
{
	if (strncmp(method, "keys.", 5) != 0 && strcmp(method, "audit.verify") != 0)
		return false;
	*needs_key = true;
	return true;
}

/* The key opens with "correct horse battery". */
static enum err host_call(const char *home, struct bytes pass, const char *method, json_t *params,
			  json_t **result, struct fault *f)
{
	char text[200] = "";

	if (strcmp(method, "keys.generate") != 0) {
		if (pass.n == 0)
			return fault_set(f, ERR_DENIED, EXIT_POLICY, "the key file needs a passphrase");
		if (!bytes_eq(pass, BYTES_LIT("correct horse battery")))
			return fault_set(f, ERR_AUTH, EXIT_INTEGRITY, "the passphrase does not open it");
	} else if (json_str(params, "name") && strcmp(json_str(params, "name"), "taken") == 0) {
		return fault_set(f, ERR_EXISTS, EXIT_GENERIC, "there is an identity already");
	}
	snprintf(text, sizeof(text), "%.*s", (int)pass.n, (const char *)pass.p);
	*result = json_pack("{s:s, s:s, s:s*, s:s, s:s, s:i}", "schema", "ironmesh.keys/1", "method", method,
			    "name", json_str(params, "name"), "pass", text, "fingerprint",
			    "00112233445566778899aabbccddeeff", "version", 3);
	return ERR_OK;
}

static const struct cli_host host = { .run = host_run, .run_option = host_run_option, .offline = host_offline, .call = host_call };

/* --- the daemon --------------------------------------------------------------------------- */

static void reply(int fd, const struct exchange *x, const json_t *request, const char *wrong)
{
	json_t *a = json_pack("{s:s, s:O}", "jsonrpc", "2.0", "id", json_object_get(request, "id"));
	struct buf b;

	if (wrong)
		json_object_set_new(a, "error", json_pack("{s:i, s:s}", "code", -32000, "message", wrong));
	else if (x->result)
		json_object_set_new(a, "result", json_loads(x->result, 0, NULL));
	else
		json_object_set_new(a, "error", json_loads(x->error, 0, NULL));
	buf_init(&b, 2000000);
	if (json_write(&b, a, JSON_INSERTION) != ERR_OK)
		_exit(9);
	buf_add_u8(&b, '\n');
	if (x->then && !wrong) {
		buf_add_str(&b, x->then);
		buf_add_u8(&b, '\n');
	}
	if (send(fd, b.p, b.n, MSG_NOSIGNAL) != (ssize_t)b.n)
		_exit(8);
	buf_fini(&b);
	json_decref(a);
}

static bool fits(const struct exchange *x, const json_t *request, char *why, size_t cap)
{
	json_t *want = x->params ? json_loads(x->params, 0, NULL) : NULL;
	char *got = json_dumps(json_object_get(request, "params"), JSON_COMPACT);
	bool ok = strcmp(json_str(request, "method"), x->method) == 0 &&
		  (!want || json_equal(want, json_object_get(request, "params")));

	if (!ok)
		snprintf(why, cap, "script: expected %s %s, got %s %.120s", x->method,
			 x->params ? x->params : "", json_str(request, "method"), got ? got : "(none)");
	free(got);
	json_decref(want);
	return ok;
}

/* Serves the script over any number of connections; exit 0 when all of it happened in order. */
static void serve(int listener, const struct exchange *script, size_t n)
{
	size_t at = 0;
	bool bad = false;

	while (at < n) {
		int fd = accept(listener, NULL, NULL);
		FILE *in = fdopen(fd, "r");
		char *line = NULL, why[400];
		size_t cap = 0;

		while (at < n && getline(&line, &cap, in) > 0) {
			json_t *request = json_loads(line, 0, NULL);

			if (!script[at].method) {
				json_decref(request);
				at++;
				break;
			}
			if (fits(&script[at], request, why, sizeof(why))) {
				reply(fd, &script[at], request, NULL);
			} else {
				reply(fd, &script[at], request, why);
				bad = true;
			}
			json_decref(request);
			at++;
		}
		free(line);
		fclose(in);
	}
	_exit(bad ? 1 : 0);
}

void rig_serve(struct rig *r, const struct exchange *script, size_t n)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s/control.sock", r->home);
	unlink(a.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 4), 0);
	r->server = fork();
	if (r->server == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(20);
		serve(fd, script, n);
	}
	close(fd);
}

/* --- the rig ------------------------------------------------------------------------------ */

void rig_open(struct rig *r)
{
	*r = (struct rig){ 0 };
	snprintf(r->dir, sizeof(r->dir), "/tmp/ironmesh-cli-test.XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->home, sizeof(r->home), "%s/home", r->dir);
	assert_int_equal(mkdir(r->home, 0700), 0);
	unsetenv("IRONMESH_HOME");
	unsetenv("IRONMESH_PASSPHRASE");
	unsetenv("CREDENTIALS_DIRECTORY");
	unsetenv("NO_COLOR");
	unsetenv("CLICOLOR_FORCE");
}

static void server_end(struct rig *r)
{
	int status;

	if (!r->server)
		return;
	waitpid(r->server, &status, 0);
	r->server = 0;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
	return remove(path);
}

void rig_close(struct rig *r)
{
	server_end(r);
	free(r->out);
	free(r->err);
	nftw(r->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static char *slurp(const char *path, size_t *n)
{
	FILE *f = fopen(path, "r");
	char *text = calloc(1, 4000001);

	assert_non_null(f);
	assert_non_null(text);
	*n = fread(text, 1, 4000000, f);
	fclose(f);
	return text;
}

static int child(const char *in, const char *out, const char *err, int argc, char **argv)
{
	int i = open(in, O_RDONLY), o = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600),
	    e = open(err, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	alarm(20);
	dup2(i, 0);
	dup2(o, 1);
	dup2(e, 2);
	return cli_main(argc, argv, &host);
}

static int words(struct rig *r, char **argv, va_list ap)
{
	int argc = 0;

	argv[argc++] = (char *)"ironmesh";
	for (char *a; (a = va_arg(ap, char *));)
		argv[argc++] = strcmp(a, "@") == 0 ? r->home : a;
	argv[argc] = NULL;
	return argc;
}

static int exit_of(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* A prompt ends the output with ": " or "] ", and the program waits. */
static bool prompted(const char *text, size_t n)
{
	return n >= 2 && text[n - 1] == ' ' && (text[n - 2] == ':' || text[n - 2] == ']');
}

int rig_run_tty(struct rig *r, const char *typed, ...)
{
	char *argv[64];
	int argc, status, fd;
	va_list ap;
	pid_t pid;

	va_start(ap, typed);
	argc = words(r, argv, ap);
	va_end(ap);
	free(r->out);
	free(r->err);
	r->out = calloc(1, 65536);
	r->err = calloc(1, 1);
	r->out_n = 0;
	fflush(NULL);
	pid = forkpty(&fd, NULL, NULL, NULL);
	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(20);
		exit(cli_main(argc, argv, &host));
	}
	while (r->out_n < 65000) {
		ssize_t n = read(fd, r->out + r->out_n, 65000 - r->out_n);

		if (n <= 0)
			break;
		r->out_n += (size_t)n;
		if (prompted(r->out, r->out_n) && *typed) {
			size_t line = strcspn(typed, "\n") + 1;

			assert_int_equal(write(fd, typed, line), line);
			typed += line;
		}
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(fd);
	return r->exit = exit_of(status);
}

int rig_run(struct rig *r, ...)
{
	char *argv[64], in[100], out[100], err[100];
	int argc, status;
	size_t n;
	va_list ap;
	pid_t pid;
	FILE *f;

	va_start(ap, r);
	argc = words(r, argv, ap);
	va_end(ap);
	snprintf(in, sizeof(in), "%s", "/dev/null");
	snprintf(out, sizeof(out), "%s/out", r->dir);
	snprintf(err, sizeof(err), "%s/err", r->dir);
	if (r->input) {
		snprintf(in, sizeof(in), "%s/in", r->dir);
		f = fopen(in, "w");
		assert_non_null(f);
		fputs(r->input, f);
		fclose(f);
		r->input = NULL;
	}
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		exit(child(in, out, err, argc, argv));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	r->exit = exit_of(status);
	free(r->out);
	free(r->err);
	r->out = slurp(out, &r->out_n);
	r->err = slurp(err, &n);
	return r->exit;
}

static bool contains(const char *where, const char *text, const char *name)
{
	if (strstr(where, text))
		return true;
	print_error("'%s' is not in %s:\n%s\n", text, name, where);
	return false;
}

bool rig_said(const struct rig *r, const char *text)
{
	return contains(r->out, text, "stdout");
}

bool rig_warned(const struct rig *r, const char *text)
{
	return contains(r->err, text, "stderr");
}

json_t *rig_json(const struct rig *r)
{
	json_t *v = NULL;

	if (json_load_strict(bytes_of(r->out, r->out_n), 4000000, &v) != ERR_OK)
		fail_msg("stdout is not one JSON value: %s", r->out);
	assert_non_null(json_str(v, "schema"));
	return v;
}
