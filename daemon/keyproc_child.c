/* The key process: takes a request, answers it, until the other end is gone. */
#include "daemon/keyproc_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/loop.h"
#include "daemon/walls_internal.h"

#define ROOM 65536       /* of a request; what is longer gets pages of its own */
#define STACK_KEPT 65536 /* locked, for what lies on it between two wipes */
#define SOCKET 3

static uint8_t room[ROOM];

/* Nothing of what the daemon had open, and no end but that of the daemon. */
static void settle(int fd, pid_t parent)
{
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2, SIGTSTP };
	int null;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_GENERIC);
	(void)prctl(PR_SET_NAME, "ironmesh-keys");
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	if (fd != SOCKET && dup2(fd, SOCKET) != SOCKET)
		_exit(EXIT_GENERIC);
	if (close_range(SOCKET + 1, ~0u, 0) != 0)
		for (int i = SOCKET + 1; i < 1024; i++)
			close(i);
	null = open("/dev/null", O_RDWR);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		close(null);
	}
}

/* The daemon looks at us through it: one byte, and the descriptor. */
static void show_status(void)
{
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof fd)] = { 0 };
	char byte = 0;
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	if (fd >= 0) {
		m.msg_control = control;
		m.msg_controllen = sizeof control;
		*CMSG_FIRSTHDR(&m) = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
						       .cmsg_len = CMSG_LEN(sizeof fd) };
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &fd, sizeof fd);
	}
	if (sendmsg(SOCKET, &m, MSG_NOSIGNAL) != 1)
		_exit(EXIT_GENERIC);
	if (fd >= 0)
		close(fd);
}

static void lock_memory(void)
{
	uint8_t here;
	uintptr_t top = (uintptr_t)&here;

	/* All of it takes a higher limit than most users have; the keys themselves are locked in any case. */
	if (mlockall(MCL_CURRENT | MCL_ONFAULT) == 0)
		return;
	(void)!mlock(room, sizeof room);
	(void)!mlock((void *)(top - STACK_KEPT), STACK_KEPT);
}

/* When the key file was read, nothing of the world outside is needed any more. What fails here is seen by the daemon,
 * which looks at us from outside. */
static void close_in(void)
{
	lock_memory();
	(void)walls_no_core();
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (!WALLS_RELAXED)
		(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	(void)walls_drop_capabilities();
	(void)walls_landlock(NULL, 0, true);
	if (!WALLS_RELAXED)
		(void)walls_seccomp_keys();
}

/* At least `want` more bytes behind the `got` that are there, at most `cap` in all. */
static size_t take(uint8_t *p, size_t got, size_t want, size_t cap)
{
	size_t end = got + want;

	while (got < end) {
		ssize_t r = read(SOCKET, p + got, cap - got);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0) /* the daemon has ended */
			_exit(EXIT_DONE);
		got += (size_t)r;
	}
	return got;
}

static void give(const struct key_head *h, struct bytes body)
{
	uint8_t head[KEY_HEAD];
	struct iovec v[2] = { { head, KEY_HEAD }, { (void *)(uintptr_t)body.p, body.n } };
	int at = 0;

	key_head_write(h, head);
	while (at < 2) {
		ssize_t n = writev(SOCKET, v + at, 2 - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			_exit(EXIT_DONE);
		for (size_t left = (size_t)n; at < 2 && left >= v[at].iov_len; at++)
			left -= v[at].iov_len, n = (ssize_t)left;
		if (at < 2) {
			v[at].iov_base = (uint8_t *)v[at].iov_base + n;
			v[at].iov_len -= (size_t)n;
		}
	}
}

/* Where it may not, it stays: a matter of speed alone. */
static void follow(uint16_t cpu)
{
	static int at = -1;
	cpu_set_t set;

	if (cpu == at || cpu >= CPU_SETSIZE)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	(void)sched_setaffinity(0, sizeof set, &set);
	at = cpu;
}

static void serve_one(struct keyserver *s, struct buf *answer)
{
	size_t got = take(room, 0, KEY_HEAD, sizeof room), all;
	struct key_head h;
	uint8_t *p = room;
	enum err error;

	if (key_head_read(room, &h) != ERR_OK)
		_exit(EXIT_INTEGRITY);
	follow(h.cpu);
	all = KEY_HEAD + (size_t)h.n;
	if (got > all)
		_exit(EXIT_INTEGRITY);
	if (all > sizeof room) {
		p = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			_exit(EXIT_RETRY);
		memcpy(p, room, got);
	}
	if (got < all)
		(void)take(p, got, all - got, all);
	bool was_open = s->opened;
	if (keyserver_take(s, &h, bytes_of(p + KEY_HEAD, h.n), answer, &error) != ERR_OK)
		_exit(EXIT_INTEGRITY);
	wipe(p, all);
	if (p != room)
		munmap(p, all);
	if (s->opened && !was_open)
		close_in();
	give(&(struct key_head){ .n = (uint32_t)answer->n, .verb = (uint8_t)error }, buf_bytes(answer));
	/* Most answers are secrets. */
	buf_wipe(answer);
	buf_trim(answer, ROOM);
}

_Noreturn void keyproc_child(int fd, pid_t parent)
{
	struct keyserver s = { 0 };
	struct buf answer;
	struct env env;

	settle(fd, parent);
	show_status();
	env_of_system(&env);
	s.env = &env;
	buf_init(&answer, KEY_BODY_MAX);
	for (;;)
		serve_one(&s, &answer);
}
