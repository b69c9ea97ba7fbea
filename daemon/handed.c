#include "daemon/handed.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST 3 /* sd_listen_fds(3) */
#define HANDED_MAX 8

static enum err refuse(struct fault *f, const char *what)
{
	fault_set(f, ERR_USAGE, EXIT_CONFIG, "the service manager hands over sockets that cannot be used: %s", what);
	fault_means(f, "This program takes one named 'control' (a Unix stream socket) and one named 'ws' (TCP).");
	fault_next(f, "systemctl cat ironmesh.socket   (FileDescriptorName=)");
	return ERR_USAGE;
}

static int option(int fd, int name)
{
	int value = -1;
	socklen_t n = sizeof value;

	return getsockopt(fd, SOL_SOCKET, name, &value, &n) == 0 ? value : -1;
}

static enum err take_one(int fd, const char *name, struct handed *h, struct fault *f)
{
	int family = option(fd, SO_DOMAIN);
	bool named = name[0] && strcmp(name, "unknown") != 0; /* the manager's word for none */
	bool tcp = family == AF_INET || family == AF_INET6;
	int *slot;
	char what[160];

	if (option(fd, SO_TYPE) != SOCK_STREAM || option(fd, SO_ACCEPTCONN) != 1 || (!tcp && family != AF_UNIX)) {
		snprintf(what, sizeof what, "descriptor %d is no listening stream socket", fd);
		return refuse(f, what);
	}
	slot = tcp ? &h->ws : &h->control;
	if (named && strcmp(name, tcp ? "ws" : "control") != 0) {
		snprintf(what, sizeof what, "'%.40s' is not the name of a %s socket", name, tcp ? "TCP" : "Unix");
		return refuse(f, what);
	}
	if (*slot >= 0) {
		snprintf(what, sizeof what, "there are two for '%s'", tcp ? "ws" : "control");
		return refuse(f, what);
	}
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	*slot = fd;
	return ERR_OK;
}

enum err handed_take(struct handed *out, struct fault *f)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS"), *names = getenv("LISTEN_FDNAMES");
	struct handed h = { -1, -1 };
	enum err e = ERR_OK;
	char *end;
	long n;

	if (!pid || !count || strtol(pid, NULL, 10) != (long)getpid()) {
		*out = h; /* meant for somebody else, or for nobody */
		return ERR_OK;
	}
	n = strtol(count, &end, 10);
	if (*end || n < 0 || n > HANDED_MAX)
		return refuse(f, "LISTEN_FDS is no small number");
	for (int i = 0; e == ERR_OK && i < n; i++) {
		char name[64];
		size_t len = names ? strcspn(names, ":") : 0;

		snprintf(name, sizeof name, "%.*s", (int)(len < 63 ? len : 63), names ? names : "");
		e = take_one(FIRST + i, name, &h, f);
		if (names)
			names += len + (names[len] == ':');
	}
	if (e != ERR_OK)
		return e;
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	*out = h;
	return ERR_OK;
}

void handed_address(int fd, char *out, size_t cap)
{
	struct sockaddr_storage a = { 0 };
	struct sockaddr_in *v4 = (struct sockaddr_in *)&a;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a;
	socklen_t n = sizeof a;
	char host[INET6_ADDRSTRLEN] = "";

	out[0] = '\0';
	if (getsockname(fd, (struct sockaddr *)&a, &n) != 0)
		return;
	if (a.ss_family == AF_INET && inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host))
		snprintf(out, cap, "%s:%u", host, ntohs(v4->sin_port));
	else if (a.ss_family == AF_INET6 && inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host))
		snprintf(out, cap, "[%s]:%u", host, ntohs(v6->sin6_port));
}
