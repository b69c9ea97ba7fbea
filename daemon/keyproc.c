#include "daemon/keyproc_internal.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "daemon/notify.h"

#define ANSWER_S 120 /* it has to derive a key of 256 MiB, perhaps on a small machine */

struct keyproc {
	int fd;
	pid_t pid;
	pthread_t thread; /* the only one that may ask */
	uv_poll_t end;
	int end_fd; /* -1 */
	int status; /* -1 */
	bool watched;
};

/* A keyring of it; one of the two slots. */
struct slot {
	struct keyproc *k;
	uint8_t n;
};

/* Nothing can be signed or opened any more, and no caller could go on. */
static _Noreturn void lost(struct keyproc *k, const char *why)
{
	char how[64] = "";
	int status;

	close(k->fd);
	/* Its socket is closed when it has ended, or is about to. */
	for (int i = 0; i < 20 && !how[0]; i++) {
		if (waitpid(k->pid, &status, WNOHANG) == k->pid)
			snprintf(how, sizeof(how), WIFSIGNALED(status) ? ", by signal %d" : ", with code %d",
				 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
		else
			usleep(10000);
	}
	notify_manager("STATUS=the key process is gone");
	log_error("key-process-lost what=\"%s%s\" means=\"nothing can be signed without it, so this daemon ends; what was "
		  "accepted is on disk\" next=\"start it again\"", why, how);
	log_flush();
	_exit(EXIT_GENERIC);
}

/* --- one request -------------------------------------------------------------------------------------- */

static void give(struct keyproc *k, const struct key_head *h, struct bytes body)
{
	uint8_t head[KEY_HEAD];
	struct iovec v[2] = { { head, KEY_HEAD }, { (void *)(uintptr_t)body.p, body.n } };
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };

	key_head_write(h, head);
	while (m.msg_iovlen) {
		ssize_t n = sendmsg(k->fd, &m, MSG_NOSIGNAL);
		size_t left = n > 0 ? (size_t)n : 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			lost(k, "it ended");
		for (; m.msg_iovlen && left >= m.msg_iov->iov_len; m.msg_iov++, m.msg_iovlen--)
			left -= m.msg_iov->iov_len;
		if (m.msg_iovlen) {
			m.msg_iov->iov_base = (uint8_t *)m.msg_iov->iov_base + left;
			m.msg_iov->iov_len -= left;
		}
	}
}

static size_t take(struct keyproc *k, uint8_t *p, size_t got, size_t want, size_t cap)
{
	size_t end = got + want;

	while (got < end) {
		ssize_t r = recv(k->fd, p + got, cap - got, 0);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			lost(k, "it does not answer");
		if (r <= 0)
			lost(k, "it ended");
		got += (size_t)r;
	}
	return got;
}

/* Appends the answer, at most out->max bytes. */
static enum err ask(struct keyproc *k, enum key_verb verb, uint8_t slot, uint16_t what, struct bytes body, struct buf *out)
{
	uint8_t first[256];
	struct key_head h;
	size_t got, here;
	int cpu = sched_getcpu();

	BUG_ON(body.n > KEY_BODY_MAX);
	BUG_ON(!pthread_equal(pthread_self(), k->thread));
	give(k, &(struct key_head){ .n = (uint32_t)body.n, .verb = (uint8_t)verb, .slot = slot, .what = what,
				    .cpu = (uint16_t)(cpu < 0 ? 0 : cpu) }, body);
	got = take(k, first, 0, KEY_HEAD, sizeof first);
	if (key_head_read(first, &h) != ERR_OK || h.verb >= ERR_COUNT || got > KEY_HEAD + h.n)
		lost(k, "it answers nonsense");
	uint8_t *p = buf_reserve(out, h.n ? h.n : 1);
	if (!p) {
		/* The rest would be taken for the next answer. */
		lost(k, "there is no memory for its answer");
	}
	here = got - KEY_HEAD;
	memcpy(p, first + KEY_HEAD, here);
	wipe(first, sizeof first);
	if (here < h.n)
		(void)take(k, p, here, h.n - here, h.n);
	out->n += h.n;
	return (enum err)h.verb;
}

/* An answer of exactly `n` bytes, or an error with nothing. */
static enum err ask_fixed(struct keyproc *k, enum key_verb verb, uint8_t slot, uint16_t what, struct bytes body, uint8_t *to,
			  size_t n)
{
	uint8_t room[KEY_PUBLIC];
	/* Fixed memory: no allocation for a signature. */
	struct buf b = { .p = room, .cap = sizeof room, .max = sizeof room };
	enum err e;

	BUG_ON(n > sizeof room);
	e = ask(k, verb, slot, what, body, &b);
	if (b.n != (e == ERR_OK ? n : 0))
		lost(k, "it answers nonsense");
	if (e == ERR_OK)
		memcpy(to, room, n);
	wipe(room, sizeof room);
	return e;
}

/* --- the verbs ------------------------------------------------------------------------------------------ */

static void op_sign(void *ctx, enum sig_context c, struct bytes whole, uint8_t sig[static SIG_BYTES])
{
	struct slot *s = ctx;

	if (ask_fixed(s->k, KEY_SIGN, s->n, (uint16_t)c, whole, sig, SIG_BYTES) != ERR_OK)
		lost(s->k, "it does not sign");
}

static enum err op_open_sealed(void *ctx, struct bytes sealed, struct buf *out)
{
	struct slot *s = ctx;

	/* As where the keys are here: what has no room is refused before anything is opened. */
	if (sealed.n > KEY_BODY_MAX || !buf_reserve(out, sealed.n))
		return out->err != ERR_OK ? out->err : ERR_LIMIT;
	return ask(s->k, KEY_UNSEAL, s->n, 0, sealed, out);
}

static enum err op_noise_dh(void *ctx, const uint8_t their[static X25519_BYTES], uint8_t out[static X25519_BYTES])
{
	struct slot *s = ctx;

	return ask_fixed(s->k, KEY_DH, s->n, 0, bytes_of(their, X25519_BYTES), out, X25519_BYTES);
}

static enum err op_derive(void *ctx, enum derived_key which, struct secret *out)
{
	struct slot *s = ctx;
	struct secret key;
	enum err e = secret_new(&key, HASH_BYTES);

	if (e == ERR_OK)
		e = ask_fixed(s->k, KEY_DERIVE, s->n, (uint16_t)which, bytes_of(NULL, 0), key.p, key.n);
	if (e != ERR_OK) {
		secret_free(&key);
		return e;
	}
	*out = key;
	return ERR_OK;
}

static enum err op_file(void *ctx, struct buf *out, struct fault *f)
{
	struct slot *s = ctx;
	struct buf b;
	enum err e;

	buf_init(&b, KEYFILE_MAX_BYTES);
	e = ask(s->k, KEY_FILE, s->n, 0, bytes_of(NULL, 0), &b);
	if (e == ERR_OK)
		buf_add(out, buf_bytes(&b));
	else if (key_fault_read(buf_bytes(&b), e, f) != ERR_OK)
		lost(s->k, "it answers nonsense");
	buf_wipe(&b);
	buf_fini(&b);
	return e == ERR_OK ? out->err : e;
}

static void op_free(void *ctx)
{
	free(ctx);
}

static enum err op_next(void *ctx, struct keyring **out);

static const struct keyring_ops ops = {
	.sign = op_sign,
	.open_sealed = op_open_sealed,
	.noise_dh = op_noise_dh,
	.derive = op_derive,
	.next = op_next,
	.file = op_file,
	.free = op_free,
};

static enum err keyring_for(struct keyproc *k, uint8_t n, const struct keyring_public *p, struct keyring **out)
{
	struct slot *s = malloc(sizeof *s);

	if (!s)
		return ERR_NOMEM;
	*s = (struct slot){ k, n };
	return keyring_elsewhere(p, &ops, s, out);
}

static enum err op_next(void *ctx, struct keyring **out)
{
	struct slot *s = ctx;
	struct keyring_public p;
	enum err e = ask_fixed(s->k, KEY_NEXT, s->n, 0, bytes_of(NULL, 0), (uint8_t *)&p, sizeof p);

	return e == ERR_OK ? keyring_for(s->k, 1, &p, out) : e;
}

_Static_assert(sizeof(struct keyring_public) == KEY_PUBLIC, "sent as it lies in memory");

/* --- its life ---------------------------------------------------------------------------------------------- */

/* Others may not see it under /proc, not even its parent where processes are hidden: so it opens this for us. */
static int take_status(int fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
	char byte;
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control,
			    .msg_controllen = sizeof control };
	const struct cmsghdr *c;
	ssize_t n;
	int got = -1;

	do
		n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	c = n == 1 ? CMSG_FIRSTHDR(&m) : NULL;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof got))
		memcpy(&got, CMSG_DATA(c), sizeof got);
	return got;
}

enum err keyproc_start(struct keyproc **out, struct fault *f)
{
	struct timeval patience = { .tv_sec = ANSWER_S };
	struct keyproc *k = calloc(1, sizeof *k);
	pid_t parent = getpid();
	int fd[2];

	if (!k)
		return fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory for the key process");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) != 0) {
		free(k);
		return fault_set(f, ERR_FULL, EXIT_RETRY, "no socket for the key process: %s", strerror(errno));
	}
	k->pid = fork();
	if (k->pid < 0) {
		int no = errno;

		close(fd[0]);
		close(fd[1]);
		free(k);
		return fault_set(f, err_from_errno(no), EXIT_RETRY, "the key process cannot be started: %s", strerror(no));
	}
	if (k->pid == 0) {
		close(fd[0]);
		keyproc_child(fd[1], parent);
	}
	close(fd[1]);
	k->fd = fd[0];
	k->thread = pthread_self();
	(void)setsockopt(k->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	k->status = take_status(k->fd);
	k->end_fd = (int)syscall(SYS_pidfd_open, k->pid, 0);
	*out = k;
	return ERR_OK;
}

pid_t keyproc_pid(const struct keyproc *k)
{
	return k->pid;
}

int keyproc_status(const struct keyproc *k)
{
	return k->status;
}

enum err keyproc_open(struct keyproc *k, const char *path, struct bytes passphrase, const char *name, bool clear,
		      struct ownkey *out, struct fault *f)
{
	struct key_open o = { .clear = clear, .path = bytes_str(path), .name = bytes_str(name), .passphrase = passphrase };
	struct keyring_public p;
	struct buf body, answer;
	enum err e = ERR_NOMEM;

	if (o.path.n >= KEY_PATH_MAX || o.name.n > NAME_MAX_CHARS)
		return fault_set(f, ERR_LIMIT, EXIT_USAGE, "the path of the key file, or the name, is too long");
	buf_init(&body, 8192);
	buf_init(&answer, KEYFILE_MAX_BYTES);
	/* At once: a buffer that moves leaves its passphrase in the old place. */
	if (buf_reserve(&body, 8192)) {
		key_open_write(&body, &o);
		e = ask(k, KEY_OPEN, 0, 0, buf_bytes(&body), &answer);
		if (e != ERR_OK && key_fault_read(buf_bytes(&answer), e, f) != ERR_OK)
			lost(k, "it answers nonsense");
		if (e == ERR_OK && key_opened_read(buf_bytes(&answer), &p, out) != ERR_OK)
			lost(k, "it answers nonsense");
		if (e == ERR_OK)
			e = keyring_for(k, 0, &p, &out->keyring);
	}
	if (e == ERR_NOMEM && !f->what[0])
		fault_set(f, e, EXIT_RETRY, "no memory for the keys");
	buf_wipe(&body);
	buf_fini(&body);
	buf_fini(&answer);
	return e;
}

static void on_end(uv_poll_t *poll, int status, int events)
{
	lost(poll->data, "it ended");
}

void keyproc_watch(struct keyproc *k, uv_loop_t *loop)
{
	if (k->end_fd < 0 || uv_poll_init(loop, &k->end, k->end_fd) != 0)
		return;
	k->end.data = k;
	k->watched = true;
	uv_poll_start(&k->end, UV_READABLE, on_end);
	uv_unref((uv_handle_t *)&k->end);
}

void keyproc_unwatch(struct keyproc *k)
{
	if (!k || !k->watched)
		return;
	k->watched = false;
	uv_close((uv_handle_t *)&k->end, NULL);
}

void keyproc_end(struct keyproc *k)
{
	if (!k)
		return;
	close(k->fd);
	while (waitpid(k->pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (k->end_fd >= 0)
		close(k->end_fd);
	if (k->status >= 0)
		close(k->status);
	free(k);
}
