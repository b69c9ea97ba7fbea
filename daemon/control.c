/* The server: connections, lines, answers. What a line means is rpc.c's business. */
#include "daemon/control.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/accept.h"
#include "base/file.h"
#include "base/log.h"
#include "daemon/home.h"
#include "daemon/rpc.h"

#define READ_BYTES 65536
#define KEEP_BYTES 8192 /* what a buffer may keep for ever */
#define REST_MS 2000    /* and more than that while it is used: a program that sends much does so again */
#define BACKLOG 64
#define PEER_GROUPS 1024

struct client {
	struct ring link;
	struct control *server;
	uv_pipe_t pipe;
	struct rpc rpc;
	struct buf in;         /* what is not handled yet */
	size_t seen;           /* bytes of `in` known to hold no line end */
	struct buf out;        /* answers, waiting for the next flush */
	struct buf sending;    /* given to libuv */
	bool busy;             /* a buffer was large since the last look at them */
	uv_write_t write;
	bool writing, reading, closing;
	bool ended;            /* the other side sends no more */
	bool finished;         /* ... and all it sent was taken */
	bool broken;           /* to be closed at the next flush */
	bool dirty, handling;
};

struct control {
	uv_loop_t *loop;
	struct command_ctx *commands;
	uv_pipe_t listener;
	uv_prepare_t before_poll;
	uv_check_t after_poll;
	uv_idle_t awake;       /* output waits: poll must not sleep */
	struct timer rest;     /* the next look at large buffers */
	struct ring clients;
	unsigned count;        /* of clients, closing ones too */
	int handles;           /* of ours, not closed */
	bool stopping;
	char path[PATH_MAX];
	bool handed; /* by who started us */
	bool shared; /* with the group of the socket, as the system service is */
	gid_t group;
	dev_t dev;
	ino_t ino;
	int spare; /* a descriptor to give up when there are no more; -1 */
	bool short_of; /* descriptors; said once */
	char scratch[READ_BYTES];
	void (*done)(void *ctx);
	void *done_ctx;
};

static void client_close(struct client *c);
static void handle_input(struct client *c);

/* --- the end -------------------------------------------------------------------------------------- */
static void maybe_done(struct control *s)
{
	void (*done)(void *ctx) = s->done;
	void *ctx = s->done_ctx;

	if (!s->stopping || s->handles || s->count)
		return;
	free(s);
	if (done)
		done(ctx);
}

static void on_handle_closed(uv_handle_t *h)
{
	struct control *s = h->data;

	s->handles--;
	maybe_done(s);
}

static void on_client_closed(uv_handle_t *h)
{
	struct client *c = h->data;
	struct control *s = c->server;

	buf_fini(&c->in);
	buf_fini(&c->out);
	buf_fini(&c->sending);
	free(c);
	s->count--;
	maybe_done(s);
}

static void client_close(struct client *c)
{
	if (c->closing)
		return;
	c->closing = true;
	rpc_close(&c->rpc);
	ring_del(&c->link);
	uv_close((uv_handle_t *)&c->pipe, on_client_closed);
}

/* --- memory ----------------------------------------------------------------------------------------- */
static bool is_large(const struct client *c)
{
	return c->in.cap > KEEP_BYTES || c->out.cap > KEEP_BYTES || c->sending.cap > KEEP_BYTES;
}

static void rest_due(void *ctx)
{
	struct control *s = ctx;
	bool again = false;

	for (struct ring *r = s->clients.next; r != &s->clients; r = r->next) {
		struct client *c = ring_entry(r, struct client, link);

		if (!c->busy && !c->handling) {
			buf_trim(&c->in, KEEP_BYTES); /* none of them when it holds something */
			buf_trim(&c->out, KEEP_BYTES);
			if (!c->writing)
				buf_trim(&c->sending, KEEP_BYTES);
		}
		c->busy = false;
		again = again || is_large(c);
	}
	if (again)
		timer_in(s->commands->env, &s->rest, REST_MS);
}

/* Buffers that a burst made large go when it is over, not between its requests. */
static void rest_later(struct client *c)
{
	if (c->busy || c->server->stopping || !is_large(c))
		return;
	c->busy = true;
	if (!timer_armed(&c->server->rest))
		timer_in(c->server->commands->env, &c->server->rest, REST_MS);
}

/* --- output ----------------------------------------------------------------------------------------- */
static size_t unsent(const struct client *c)
{
	return c->out.n + (c->writing ? c->sending.n : 0);
}

static void on_idle(uv_idle_t *h)
{
}

static void mark_dirty(struct client *c)
{
	c->dirty = true;
	/* This may be called after the last flush before poll: then poll must not sleep. */
	if (!uv_is_active((uv_handle_t *)&c->server->awake))
		uv_idle_start(&c->server->awake, on_idle);
}

static void on_written(uv_write_t *w, int status);

/* An end of file was seen and everything worth finishing is answered and written. */
static void maybe_close(struct client *c)
{
	if (c->finished && !c->closing && !c->writing && c->out.n == 0 && c->rpc.unanswered == 0 && !c->handling)
		client_close(c);
}

/* All is written: there is room for events, and the end may come. */
static void drained(struct client *c)
{
	if (c->server->commands->events)
		events_room(c->server->commands->events, &c->rpc.subscriber);
	feed_room(&c->rpc.feed);
	maybe_close(c);
}

static void flush(struct client *c)
{
	uv_buf_t b;
	int n;

	c->dirty = false;
	if (c->broken && !c->closing)
		client_close(c);
	if (c->closing || c->writing || c->out.n == 0)
		return;
	b = uv_buf_init((char *)c->out.p, (unsigned)c->out.n);
	n = uv_try_write((uv_stream_t *)&c->pipe, &b, 1);
	if (n < 0 && n != UV_EAGAIN) {
		client_close(c);
		return;
	}
	if (n > 0)
		buf_drop_front(&c->out, (size_t)n);
	if (c->out.n) {
		struct buf t = c->sending;

		c->sending = c->out;
		c->out = t;
		buf_reset(&c->out);
		b = uv_buf_init((char *)c->sending.p, (unsigned)c->sending.n);
		c->write.data = c;
		c->writing = true;
		if (uv_write(&c->write, (uv_stream_t *)&c->pipe, &b, 1, on_written) != 0) {
			c->writing = false;
			client_close(c);
		}
		return;
	}
	rest_later(c);
	drained(c);
}

static void on_written(uv_write_t *w, int status)
{
	struct client *c = w->data;

	c->writing = false;
	buf_reset(&c->sending);
	rest_later(c);
	if (c->closing)
		return;
	if (status != 0) {
		client_close(c);
		return;
	}
	if (c->out.n)
		flush(c);
	else
		drained(c);
	if (!c->closing)
		handle_input(c); /* it may have been stopped for the sake of what was unsent */
}

static void flush_all(struct control *s)
{
	struct ring *r, *next;
	bool more = false;

	for (r = s->clients.next; r != &s->clients; r = next) {
		struct client *c = ring_entry(r, struct client, link);

		next = r->next;
		if (c->dirty) {
			flush(c);
			/* An answer may have made room for what waits in the input. */
			if (!c->closing && (c->in.n || !c->reading))
				handle_input(c);
		}
		more = more || (!c->closing && c->dirty);
	}
	if (!more)
		uv_idle_stop(&s->awake);
}

static void on_prepare(uv_prepare_t *h)
{
	flush_all(h->data);
}

static void on_check(uv_check_t *h)
{
	struct control *s = h->data;

	if (s->spare < 0)
		s->spare = accept_spare();
	flush_all(s);
}

/* One line for the client. Events are refused before the answers need the room, volatile ones before others. */
static bool put_line(void *ctx, struct bytes line, enum rpc_line_kind kind)
{
	static const size_t room[] = { [RPC_ANSWER] = SIZE_MAX, [RPC_EVENT] = CONTROL_EVENTS_UNSENT,
				       [RPC_VOLATILE] = CONTROL_VOLATILE_UNSENT };
	struct client *c = ctx;

	if (c->closing || c->broken || unsent(c) + line.n > room[kind])
		return false;
	buf_add(&c->out, line);
	if (c->out.err != ERR_OK) {
		/* Answers come from the middle of the node's work: the end waits for the next flush. */
		log_warn("control-output-failed err=%s", err_word(c->out.err));
		c->broken = true;
	}
	mark_dirty(c);
	return !c->broken;
}

/* --- input ------------------------------------------------------------------------------------------ */
static bool may_read(const struct client *c)
{
	return !c->closing && !c->broken && c->rpc.unanswered < CONTROL_UNANSWERED &&
	       unsent(c) <= CONTROL_UNSENT && !rpc_blocked(&c->rpc);
}

static void too_long(struct client *c)
{
	struct buf line;
	uv_buf_t b;

	/* The only word before the end: what was answered already goes first. */
	flush(c);
	if (c->closing)
		return;
	buf_init(&line, 4096);
	rpc_error_line(&line, "null", RPC_NOT_REQUEST, "a line has more than 4194304 bytes with its end", NULL);
	b = uv_buf_init((char *)line.p, (unsigned)line.n);
	if (!c->writing && line.err == ERR_OK)
		(void)uv_try_write((uv_stream_t *)&c->pipe, &b, 1);
	buf_fini(&line);
	log_warn("control-line-too-long");
	client_close(c);
}

/* Takes whole lines from `data`; returns how many bytes were taken. */
static size_t take_lines(struct client *c, struct bytes data, size_t seen)
{
	size_t at = 0;

	c->handling = true;
	while (may_read(c)) {
		const uint8_t *end = memchr(data.p + at + seen, '\n', data.n - at - seen);
		size_t n;

		if (!end) {
			c->seen = data.n - at;
			break;
		}
		n = (size_t)(end - (data.p + at));
		if (n >= CONTROL_REQUEST_MAX) {
			c->seen = n;
			break;
		}
		rpc_line(&c->rpc, bytes_of(data.p + at, n));
		at += n + 1;
		seen = c->seen = 0;
	}
	c->handling = false;
	return at;
}

static void alloc_cb(uv_handle_t *h, size_t hint, uv_buf_t *b)
{
	struct client *c = h->data;
	uint8_t *p = c->in.n ? buf_reserve(&c->in, READ_BYTES) : NULL;

	/* What belongs to a line that has begun is read where it will be handled. */
	*b = uv_buf_init(p ? (char *)p : c->server->scratch, READ_BYTES);
}

static void stop_reading(struct client *c)
{
	if (c->reading && !c->closing)
		uv_read_stop((uv_stream_t *)&c->pipe);
	c->reading = false;
}

static void on_end(struct client *c)
{
	c->finished = true;
	rpc_ended(&c->rpc); /* nobody may be there any more: only what is being written is finished */
	maybe_close(c);
}

static void on_read(uv_stream_t *st, ssize_t n, const uv_buf_t *b)
{
	struct client *c = st->data;
	struct bytes data = bytes_of(b->base, n > 0 ? (size_t)n : 0);
	size_t used = 0;

	if (n == 0)
		return;
	if (n == UV_EOF) {
		c->ended = true;
		c->reading = false;
		handle_input(c); /* whole lines may wait */
		return;
	}
	if (n < 0) {
		client_close(c);
		return;
	}
	if (c->in.n == 0) {
		/* The usual case: whole lines, handled where they were read. */
		c->seen = 0;
		used = take_lines(c, data, 0);
		if (c->closing)
			return;
		if (used == data.n) {
			c->seen = 0;
			if (!may_read(c))
				stop_reading(c);
			return;
		}
	}
	if (c->in.n && data.p == c->in.p + c->in.n)
		c->in.n += data.n;
	else
		buf_add(&c->in, bytes_of(data.p + used, data.n - used));
	if (c->in.err != ERR_OK) {
		if (c->in.err == ERR_LIMIT)
			too_long(c);
		else
			client_close(c);
		return;
	}
	handle_input(c);
}

static void handle_input(struct client *c)
{
	if (c->handling || c->closing)
		return;
	if (c->in.n && may_read(c)) {
		size_t used = take_lines(c, buf_bytes(&c->in), c->seen);

		if (c->closing)
			return;
		if (used)
			buf_drop_front(&c->in, used);
		if (c->in.n == 0) {
			c->seen = 0;
			rest_later(c);
		}
		if (c->in.n >= CONTROL_REQUEST_MAX && c->seen >= CONTROL_REQUEST_MAX) {
			too_long(c);
			return;
		}
	}
	if (c->ended) {
		/* Else it stopped between whole lines and goes on when answers have gone. */
		if (may_read(c) && !c->finished)
			on_end(c);
		return;
	}
	if (!may_read(c)) {
		stop_reading(c);
	} else if (!c->reading) {
		c->reading = uv_read_start((uv_stream_t *)&c->pipe, alloc_cb, on_read) == 0;
		if (!c->reading)
			client_close(c);
	}
}

/* --- connections -------------------------------------------------------------------------------------- */
/* The mode of the socket says it too; but a descriptor can be handed on, and a folder copied. */
static bool in_group(int fd, gid_t own, gid_t group)
{
	gid_t groups[PEER_GROUPS];
	socklen_t n = sizeof groups;

	if (own == group)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &n) != 0)
		return false;
	for (size_t i = 0; i < n / sizeof groups[0]; i++)
		if (groups[i] == group)
			return true;
	return false;
}

static bool peer_allowed(const struct control *s, uv_pipe_t *p)
{
	struct ucred cred;
	socklen_t n = sizeof cred;
	uv_os_fd_t fd;

	if (uv_fileno((uv_handle_t *)p, &fd) != 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) != 0)
		return false;
	return cred.uid == geteuid() || cred.uid == 0 || (s->shared && in_group(fd, cred.gid, s->group));
}

static void refuse(struct client *c, const char *what)
{
	struct fault f = { 0 };
	struct buf line;
	uv_buf_t b;

	fault_set(&f, ERR_FULL, EXIT_RETRY, "%s", what);
	buf_init(&line, 4096);
	rpc_error_line(&line, "null", RPC_REFUSED, f.what, &f);
	b = uv_buf_init((char *)line.p, (unsigned)line.n);
	if (line.err == ERR_OK)
		(void)uv_try_write((uv_stream_t *)&c->pipe, &b, 1);
	buf_fini(&line);
	client_close(c);
}

/* No descriptor is left for who calls. libuv would ask until there is one, and never come back: what it keeps for this it cannot
 * open again behind the walls, and the kernel says so even when nobody calls. So one of ours is given up, who waits is turned
 * away, and libuv finds nobody; on_check() takes another. */
static void turn_away(struct control *s)
{
	uv_os_fd_t listener;
	int fd;

	if (!s->short_of)
		log_warn("control-no-descriptor what=\"callers are turned away\" next=\"ulimit -n\"");
	s->short_of = true;
	if (s->spare >= 0)
		close(s->spare);
	else if (!ring_empty(&s->clients))
		client_close(ring_entry(s->clients.prev, struct client, link));
	else
		uv_close((uv_handle_t *)&s->listener, on_handle_closed); /* rather than no daemon at all */
	s->spare = -1;
	if (uv_is_closing((uv_handle_t *)&s->listener)) {
		log_error("control-closed what=\"there is no descriptor left\" next=\"start the daemon again, with a higher ulimit -n\"");
		return;
	}
	if (uv_fileno((uv_handle_t *)&s->listener, &listener) != 0)
		return;
	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		close(fd);
}

static void on_connection(uv_stream_t *st, int status)
{
	struct control *s = st->data;
	struct client *c;

	if ((status == UV_EMFILE || status == UV_ENFILE) && !s->stopping)
		turn_away(s);
	if (status != 0 || s->stopping)
		return;
	c = calloc(1, sizeof *c);
	if (!c)
		return; /* libuv keeps the connection and asks again */
	c->server = s;
	ring_init(&c->link);
	buf_init(&c->in, CONTROL_REQUEST_MAX + READ_BYTES);
	/* One answer is at most a line; requests of one read may add many at once. */
	buf_init(&c->out, CONTROL_UNSENT + CONTROL_UNANSWERED * (size_t)CONTROL_LINE_MAX);
	buf_init(&c->sending, c->out.max);
	rpc_init(&c->rpc, s->commands, put_line, c);
	if (uv_pipe_init(s->loop, &c->pipe, 0) != 0) {
		free(c);
		return;
	}
	c->pipe.data = c;
	s->count++;
	ring_add(&s->clients, &c->link);
	if (uv_accept(st, (uv_stream_t *)&c->pipe) != 0) {
		client_close(c);
		return;
	}
	if (!peer_allowed(s, &c->pipe)) {
		log_warn("control-peer-refused");
		client_close(c);
		return;
	}
	if (s->count > CONTROL_CONNECTIONS) {
		log_warn("control-full connections=%u", s->count - 1);
		refuse(c, "the daemon serves 64 programs already");
		return;
	}
	s->short_of = false;
	handle_input(c); /* starts to read */
}

/* --- the socket ---------------------------------------------------------------------------------------- */
static enum err cannot(struct fault *f, const char *path, int no)
{
	return fault_set(f, err_from_errno(no), EXIT_GENERIC, "cannot listen on %s: %s", path, strerror(no));
}

/* What is there from before. The lock of the home folder says that nobody listens on it. */
static enum err remove_stale(const char *path, struct fault *f)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		return errno == ENOENT ? ERR_OK : cannot(f, path, errno);
	if (!S_ISSOCK(st.st_mode)) {
		fault_set(f, ERR_EXISTS, EXIT_CONFIG, "%s is there and is no socket", path);
		fault_next(f, "mv %s %s.old", path, path);
		return ERR_EXISTS;
	}
	return unlink(path) == 0 ? ERR_OK : cannot(f, path, errno);
}

/* A Unix address holds 107 bytes of path: a deeper folder is reached through its descriptor. */
static int bind_in(int fd, const char *home, const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int dir = -1, n, no;

	if (strlen(path) < sizeof a.sun_path) {
		memcpy(a.sun_path, path, strlen(path));
	} else {
		dir = open(home, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (dir < 0)
			return -1;
		snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/" HOME_SOCKET, dir);
	}
	n = bind(fd, (struct sockaddr *)&a, sizeof a);
	no = errno;
	if (dir >= 0)
		close(dir);
	errno = no;
	return n;
}

static enum err make_socket(struct control *s, const char *home, int *out, struct fault *f)
{
	struct stat st;
	int fd = -1, no;
	enum err e = home_socket(home, s->path, sizeof s->path, &s->shared);
	mode_t mode = s->shared ? 0660 : 0600;

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_CONFIG, "the path of the home folder is too long");
	e = remove_stale(s->path, f);
	if (e != ERR_OK)
		return e;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return cannot(f, s->path, errno);
	/* Linux gives the file the mode of the socket: it is never open to others, not for a moment.
	 * Elsewhere the second call sees to it before anybody can connect. */
	if (fchmod(fd, mode) != 0 || bind_in(fd, home, s->path) != 0 || chmod(s->path, mode) != 0 ||
	    lstat(s->path, &st) != 0) {
		no = errno;
		close(fd);
		return cannot(f, s->path, no);
	}
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	s->group = st.st_gid;
	*out = fd;
	return ERR_OK;
}

/* The file of a socket that listens already is where its maker put it. */
static enum err take_socket(struct control *s, const char *home, int fd, struct fault *f)
{
	struct sockaddr_un a = { 0 };
	socklen_t n = sizeof a - 1;
	struct stat st;
	bool shared = false;

	if (getsockname(fd, (struct sockaddr *)&a, &n) != 0 || a.sun_path[0] != '/' || lstat(a.sun_path, &st) != 0)
		return fault_set(f, ERR_USAGE, EXIT_CONFIG, "the control socket that was handed over has no file");
	if (home_socket(home, s->path, sizeof s->path, &shared) == ERR_OK)
		s->shared = shared && strcmp(s->path, a.sun_path) == 0;
	snprintf(s->path, sizeof s->path, "%s", a.sun_path);
	s->handed = true;
	s->group = st.st_gid;
	return ERR_OK;
}

static void remove_socket(const struct control *s)
{
	struct stat st;

	if (!s->handed && lstat(s->path, &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino)
		unlink(s->path);
}

static void open_handle(struct control *s, uv_handle_t *h)
{
	h->data = s;
	s->handles++;
}

enum err control_new(const struct control_config *c, struct control **out, struct fault *f)
{
	struct control *s = calloc(1, sizeof *s);
	int fd = -1, no;
	enum err e;

	if (!s)
		return fault_set(f, ERR_NOMEM, EXIT_GENERIC, "no memory for the control socket");
	s->loop = c->loop;
	s->commands = c->commands;
	s->spare = accept_spare();
	ring_init(&s->clients);
	timer_init(&s->rest, rest_due, s);
	if (c->listening > 0)
		fd = c->listening;
	e = fd >= 0 ? take_socket(s, c->home, fd, f) : make_socket(s, c->home, &fd, f);
	if (e != ERR_OK) {
		if (fd >= 0)
			close(fd);
		if (s->spare >= 0)
			close(s->spare);
		free(s);
		return e;
	}
	no = uv_pipe_init(s->loop, &s->listener, 0);
	if (no == 0)
		no = uv_prepare_init(s->loop, &s->before_poll);
	if (no == 0)
		no = uv_check_init(s->loop, &s->after_poll);
	if (no == 0)
		no = uv_idle_init(s->loop, &s->awake);
	if (no != 0) { /* none of them fails in libuv 1.x */
		remove_socket(s);
		close(fd);
		free(s);
		return fault_set(f, ERR_INTERNAL, EXIT_GENERIC, "libuv refuses: %s", uv_strerror(no));
	}
	open_handle(s, (uv_handle_t *)&s->listener);
	open_handle(s, (uv_handle_t *)&s->before_poll);
	open_handle(s, (uv_handle_t *)&s->after_poll);
	open_handle(s, (uv_handle_t *)&s->awake);
	uv_prepare_start(&s->before_poll, on_prepare);
	uv_check_start(&s->after_poll, on_check);
	no = uv_pipe_open(&s->listener, fd);
	if (no != 0)
		close(fd);
	if (no == 0)
		no = uv_listen((uv_stream_t *)&s->listener, BACKLOG, on_connection);
	if (no != 0) {
		fault_set(f, ERR_IO, EXIT_GENERIC, "cannot listen on %s: %s", s->path, uv_strerror(no));
		control_stop(s, NULL, NULL);
		return ERR_IO;
	}
	if (s->commands->audit && s->commands->events)
		audit_observe(s->commands->audit, events_audit, s->commands->events);
	log_info("control-listening path=%s", s->path);
	*out = s;
	return ERR_OK;
}

void control_stop(struct control *s, void (*done)(void *ctx), void *ctx)
{
	if (!s) {
		if (done)
			done(ctx);
		return;
	}
	if (s->stopping)
		return;
	s->stopping = true;
	s->done = done;
	s->done_ctx = ctx;
	remove_socket(s);
	if (s->spare >= 0)
		close(s->spare);
	timer_stop(s->commands->env, &s->rest);
	if (s->commands->audit)
		audit_observe(s->commands->audit, NULL, NULL);
	while (!ring_empty(&s->clients)) {
		struct client *c = ring_entry(s->clients.next, struct client, link);

		flush(c);
		if (!c->closing)
			client_close(c);
	}
	if (!uv_is_closing((uv_handle_t *)&s->listener))
		uv_close((uv_handle_t *)&s->listener, on_handle_closed);
	uv_close((uv_handle_t *)&s->before_poll, on_handle_closed);
	uv_close((uv_handle_t *)&s->after_poll, on_handle_closed);
	uv_close((uv_handle_t *)&s->awake, on_handle_closed);
}
