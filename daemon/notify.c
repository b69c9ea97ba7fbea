#include "daemon/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

void notify_manager(const char *lines)
{
	const char *path = secure_getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	size_t n = path ? strlen(path) : 0;
	int fd;

	if (n < 2 || n >= sizeof(a.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(a.sun_path, path, n);
	if (path[0] == '@') /* the abstract name space */
		a.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	/* Without waiting: a manager that does not read must not stop the mesh. */
	(void)!sendto(fd, lines, strlen(lines), MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&a,
		      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
	close(fd);
}

bool notify_wanted(void)
{
	return secure_getenv("NOTIFY_SOCKET") != NULL;
}

void notify_still_starting(void)
{
	static time_t last;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!notify_wanted() || now.tv_sec == last)
		return;
	last = now.tv_sec;
	notify_manager("EXTEND_TIMEOUT_USEC=120000000\nSTATUS=preparing the database");
}

uint64_t notify_watchdog_ms(void)
{
	const char *us = secure_getenv("WATCHDOG_USEC"), *pid = secure_getenv("WATCHDOG_PID");

	if (!us || (pid && strtol(pid, NULL, 10) != (long)getpid()))
		return 0;
	return strtoull(us, NULL, 10) / 2000;
}
