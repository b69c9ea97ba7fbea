#include "cli/client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/home.h"
#include "base/text.h"

#define EARLY_MAX 64

uint64_t clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void client_attach(struct client *c, int fd)
{
	*c = (struct client){ .fd = fd };
	buf_init(&c->in, CLIENT_LINE_MAX + 1);
}

void client_close(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	buf_fini(&c->in);
	json_decref(c->early);
	c->early = NULL;
	c->fd = -1;
}

/* --- connecting --------------------------------------------------------------------------- */

static int connect_to(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
		int no = errno;

		close(fd);
		errno = no;
		return -1;
	}
	return fd;
}

/* A Unix address holds 107 bytes of path; a deeper folder is reached through its descriptor. */
static int connect_in(const char *home)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int dir, fd, no;

	if (home_socket(home, path, sizeof(path), NULL) == ERR_OK)
		return connect_to(path);
	dir = open(home, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d/" HOME_SOCKET, dir);
	fd = connect_to(path);
	no = errno;
	close(dir);
	errno = no;
	return fd;
}

enum err client_open(struct client *c, const char *home, struct fault *f)
{
	char shown[160];
	int fd = connect_in(home), no = errno;

	text_safe(bytes_str(home), shown, sizeof(shown));
	if (fd >= 0) {
		client_attach(c, fd);
		return ERR_OK;
	}
	if (no == ENOENT || no == ENOTDIR || no == ECONNREFUSED) {
		fault_set(f, ERR_NOTFOUND, EXIT_NO_DAEMON, "no daemon is running for %s", shown);
		return ERR_NOTFOUND;
	}
	if (no == EACCES || no == EPERM) {
		fault_set(f, ERR_DENIED, EXIT_POLICY, "the control socket in %s is closed to this user",
			  shown);
		fault_means(f, strcmp(home, HOME_SYSTEM) == 0 ? "Root and the members of the group 'ironmesh' are served." :
								"Only the user who runs the daemon, and root, are served.");
		fault_next(f, strcmp(home, HOME_SYSTEM) == 0 ? "sudo usermod -aG ironmesh $USER" : "ls -ld %s", shown);
		return ERR_DENIED;
	}
	if (no == EAGAIN) {
		fault_set(f, ERR_AGAIN, EXIT_RETRY, "the daemon for %s takes no more connections", shown);
		fault_means(f, "Too many programs talk to it right now.");
		return ERR_AGAIN;
	}
	return fault_set(f, err_from_errno(no), EXIT_NO_DAEMON, "cannot reach the daemon for %s: %s",
			 shown, strerror(no));
}

/* --- bytes -------------------------------------------------------------------------------- */

static enum err closed(struct fault *f)
{
	fault_set(f, ERR_CLOSED, EXIT_NO_DAEMON, "the daemon closed the connection");
	fault_means(f, "It was stopped, or it died; messages it accepted are on disk.");
	fault_next(f, "ironmesh status");
	return ERR_CLOSED;
}

/* Waits for `events` until the deadline. */
static enum err wait_for(int fd, short events, uint64_t deadline)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = events };
		uint64_t now = clock_ms();
		uint64_t left = deadline > now ? deadline - now : 0;
		int n = poll(&p, 1, deadline == UINT64_MAX ? -1 :
				    left > 3600000         ? 3600000 :
							     (int)left);

		if (n > 0)
			return ERR_OK;
		if (n < 0 && errno != EINTR)
			return err_from_errno(errno);
		if (n == 0 && left == 0)
			return ERR_TIMEOUT;
	}
}

static enum err send_all(struct client *c, struct bytes b, uint64_t deadline, struct fault *f)
{
	while (b.n) {
		ssize_t n = send(c->fd, b.p, b.n, MSG_NOSIGNAL | MSG_DONTWAIT);
		enum err e;

		if (n > 0) {
			b = bytes_of(b.p + n, b.n - (size_t)n);
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return closed(f);
		e = wait_for(c->fd, POLLOUT, deadline);
		if (e != ERR_OK) {
			fault_set(f, e, EXIT_RETRY, "the daemon does not read its control socket");
			fault_means(f, "It is busy or stopped; the command was not carried out.");
			return e;
		}
	}
	return ERR_OK;
}

/* The next line without its end, borrowed until the next call. */
static enum err next_line(struct client *c, uint64_t deadline, struct bytes *line, struct fault *f)
{
	buf_drop_front(&c->in, c->line);
	c->line = 0;
	for (;;) {
		const uint8_t *end = c->in.n > c->seen ?
			memchr(c->in.p + c->seen, '\n', c->in.n - c->seen) : NULL;
		size_t room = c->in.max - c->in.n;
		uint8_t *p;
		ssize_t n;
		enum err e;

		if (end) {
			*line = bytes_of(c->in.p, (size_t)(end - c->in.p));
			c->line = line->n + 1;
			c->seen = 0;
			return ERR_OK;
		}
		c->seen = c->in.n;
		if (room == 0) {
			fault_set(f, ERR_LIMIT, EXIT_GENERIC,
				  "the daemon sent a line of more than %u bytes", CLIENT_LINE_MAX);
			return ERR_LIMIT;
		}
		e = wait_for(c->fd, POLLIN, deadline);
		if (e != ERR_OK) {
			fault_set(f, e, EXIT_RETRY, "the daemon did not answer in time");
			fault_means(f, "It is busy; the command may still be carried out.");
			fault_next(f, "ironmesh status");
			return e;
		}
		p = buf_reserve(&c->in, room < 65536 ? room : 65536);
		if (!p)
			return fault_set(f, c->in.err, EXIT_GENERIC, "no memory for the answer");
		n = recv(c->fd, p, room < 65536 ? room : 65536, 0);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return closed(f);
		c->in.n += (size_t)n;
	}
}

/* --- answers ------------------------------------------------------------------------------ */

static enum err err_of_word(const char *word)
{
	static const char *const words[] = {
#define X(name, w) w,
		ERR_TABLE(X)
#undef X
	};

	for (unsigned i = ERR_OK + 1; word && i < ERR_COUNT; i++)
		if (strcmp(words[i], word) == 0)
			return (enum err)i;
	return ERR_INTERNAL;
}

static enum exit_code exit_of(int64_t code)
{
	switch (code) {
#define X(name, number, text) case number:
		EXIT_TABLE(X)
#undef X
		return code == EXIT_DONE ? EXIT_GENERIC : (enum exit_code)code;
	default:
		return EXIT_GENERIC;
	}
}

static enum err said_error(const json_t *error, const char *method, struct fault *f)
{
	const json_t *data = json_object_get(error, "data");
	const char *what = json_str(error, "message"), *means = json_str(data, "means"),
		   *next = json_str(data, "next");
	char safe[sizeof(f->what)];
	int64_t code = json_integer_value(json_object_get(error, "code"));
	int64_t number = json_integer_value(json_object_get(data, "exit"));
	enum err e = err_of_word(json_str(data, "err"));

	if (code == -32601) {
		e = ERR_UNSUPPORTED;
		fault_set(f, e, EXIT_GENERIC, "the running daemon does not know '%s'", method);
		fault_means(f, "It is older than this command; restart it with the program you have now.");
		fault_next(f, "ironmesh version");
		return e;
	}
	if (code == -32602 && !json_str(data, "err")) {
		e = ERR_USAGE;
		number = EXIT_USAGE;
	}
	fault_set(f, e, exit_of(number), "%s",
		  text_safe(bytes_str(what ? what : "the daemon refused"), safe, sizeof(safe)));
	if (means)
		fault_means(f, "%s", text_safe(bytes_str(means), safe, sizeof(safe)));
	if (next)
		fault_next(f, "%s", text_safe(bytes_str(next), safe, sizeof(safe)));
	return e;
}

static enum err not_protocol(struct fault *f)
{
	fault_set(f, ERR_MALFORMED, EXIT_GENERIC, "the answer is not what a daemon says");
	fault_means(f, "Something else listens on this control socket, or the versions do not match.");
	fault_next(f, "ironmesh version");
	return ERR_MALFORMED;
}

static enum err read_message(struct client *c, uint64_t deadline, json_t **out, struct fault *f)
{
	struct bytes line;
	json_t *v;
	enum err e = next_line(c, deadline, &line, f);

	if (e != ERR_OK)
		return e;
	if (json_load_strict(line, CLIENT_LINE_MAX, &v) != ERR_OK)
		return not_protocol(f);
	if (!json_is_object(v)) {
		json_decref(v);
		return not_protocol(f);
	}
	*out = v;
	return ERR_OK;
}

static enum err write_request(struct client *c, const char *method, json_t *params,
			      uint64_t deadline, struct fault *f)
{
	struct buf b;
	json_t *request = json_pack("{s:s, s:I, s:s}", "jsonrpc", "2.0", "id", (json_int_t)++c->id,
				    "method", method);
	enum err e;

	buf_init(&b, CLIENT_LINE_MAX + 1);
	if (request && params)
		(void)json_object_set(request, "params", params);
	e = json_write(&b, request, JSON_INSERTION);
	buf_add_u8(&b, '\n');
	json_decref(request);
	if (e == ERR_OK)
		e = b.err;
	if (e != ERR_OK)
		fault_set(f, e, EXIT_USAGE, "the request has more than %u bytes", CLIENT_LINE_MAX);
	else
		e = send_all(c, buf_bytes(&b), deadline, f);
	buf_fini(&b);
	return e;
}

static const json_t *event_of(const json_t *v)
{
	const char *method = json_str(v, "method");
	const json_t *p = json_object_get(v, "params");

	return method && strcmp(method, "event") == 0 && json_is_object(p) ? p : NULL;
}

static void keep_early(struct client *c, const json_t *v)
{
	const json_t *p = event_of(v);

	if (!p || (!c->early && !(c->early = json_array())))
		return;
	if (json_array_size(c->early) == EARLY_MAX)
		(void)json_array_remove(c->early, 0);
	(void)json_array_append(c->early, (json_t *)p);
}

enum err client_call(struct client *c, const char *method, json_t *params, uint64_t timeout_ms,
		     json_t **result, struct fault *f)
{
	uint64_t deadline = clock_ms() + timeout_ms;
	json_t *v, *r;
	int64_t id;
	enum err e = write_request(c, method, params, deadline, f);

	while (e == ERR_OK) {
		e = read_message(c, deadline, &v, f);
		if (e != ERR_OK)
			break;
		/* Events are kept; answers to a call that was given up are not for us. */
		keep_early(c, v);
		if (json_object_get(v, "method") ||
		    json_get_int(v, "id", 1, INT64_MAX, &id) != ERR_OK || id < c->id) {
			bool ours = json_object_get(v, "error") && json_is_null(json_object_get(v, "id"));

			if (ours)
				e = said_error(json_object_get(v, "error"), method, f);
			json_decref(v);
			continue;
		}
		r = json_object_get(v, "result");
		if (json_is_object(json_object_get(v, "error")))
			e = said_error(json_object_get(v, "error"), method, f);
		else if (id != c->id || !json_is_object(r))
			e = not_protocol(f);
		else
			*result = json_incref(r);
		json_decref(v);
		break;
	}
	return e;
}

enum err client_event(struct client *c, uint64_t timeout_ms, json_t **params, struct fault *f)
{
	uint64_t deadline = timeout_ms == UINT64_MAX ? UINT64_MAX : clock_ms() + timeout_ms;
	const json_t *p;
	json_t *v;
	enum err e;

	if (json_array_size(c->early)) {
		*params = json_incref(json_array_get(c->early, 0));
		(void)json_array_remove(c->early, 0);
		return ERR_OK;
	}
	for (;;) {
		e = read_message(c, deadline, &v, f);
		if (e != ERR_OK)
			return e;
		p = event_of(v);
		if (p) {
			*params = json_incref((json_t *)p);
			json_decref(v);
			return ERR_OK;
		}
		json_decref(v);
	}
}
