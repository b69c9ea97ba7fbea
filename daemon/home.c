#include "daemon/home.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"

enum err home_lock(const char *home, int *fd, struct fault *f)
{
	char path[PATH_MAX];
	int l, no;

	if (path_join(path, sizeof path, home, HOME_LOCK) != ERR_OK)
		return fault_set(f, ERR_LIMIT, EXIT_GENERIC, "the path of the home folder is too long");
	l = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
	if (l < 0) {
		no = errno;
		return fault_set(f, err_from_errno(no), EXIT_GENERIC, "cannot open %s: %s", path, strerror(no));
	}
	if (flock(l, LOCK_EX | LOCK_NB) == 0) {
		*fd = l;
		return ERR_OK;
	}
	no = errno;
	close(l);
	if (no != EWOULDBLOCK)
		return fault_set(f, ERR_IO, EXIT_GENERIC, "cannot lock %s: %s", path, strerror(no));
	fault_set(f, ERR_WRONG_STATE, EXIT_RETRY, "another ironmesh works on %s", home);
	fault_means(f, "one daemon, or one command, at a time may change a home folder");
	fault_next(f, "ironmesh status --home %s", home);
	return ERR_WRONG_STATE;
}
