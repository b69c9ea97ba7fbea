#include "base/accept.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int accept_spare(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

enum err accept_next(int listener, struct sockaddr_storage *from, int *fd)
{
	socklen_t n = sizeof *from;

	*fd = accept4(listener, (struct sockaddr *)from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (*fd >= 0)
		return ERR_OK;
	if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
		return ERR_FULL;
	return errno == ECONNABORTED || errno == EINTR || errno == EPROTO ? ERR_CLOSED : ERR_AGAIN;
}

bool accept_turn_away(int listener, int *spare)
{
	int fd;

	if (*spare < 0)
		return false;
	close(*spare);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	*spare = accept_spare();
	return fd >= 0;
}
