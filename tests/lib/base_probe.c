#include "tests/lib/base_probe.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"

const char *probe_dir_new(void)
{
	static char dir[256];
	const char *top = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/ironmesh-test-XXXXXX", top ? top : "/tmp");
	BUG_ON(!mkdtemp(dir));
	return dir;
}

static int drop(const char *path, const struct stat *st, int type, struct FTW *at)
{
	return remove(path);
}

void probe_dir_remove(const char *dir)
{
	nftw(dir, drop, 8, FTW_DEPTH | FTW_PHYS);
}

const char *probe_path(const char *dir, const char *name)
{
	static char paths[4][512];
	static unsigned turn;
	char *p = paths[turn++ % 4];

	BUG_ON(snprintf(p, sizeof(paths[0]), "%s/%s", dir, name) >= (int)sizeof(paths[0]));
	return p;
}

void probe_file(const char *path, const void *data, size_t n, unsigned mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	BUG_ON(fd < 0);
	BUG_ON(n && write(fd, data, n) != (ssize_t)n);
	BUG_ON(fchmod(fd, mode) != 0);
	close(fd);
}

bool probe_aborts(void (*fn)(void *ctx), void *ctx)
{
	int status;
	pid_t pid = fork();

	BUG_ON(pid < 0);
	if (pid == 0) {
		struct rlimit none = {0};
		int null = open("/dev/null", O_WRONLY);

		setrlimit(RLIMIT_CORE, &none);
		signal(SIGABRT, SIG_DFL); /* cmocka catches it */
		dup2(null, STDERR_FILENO);
		fn(ctx);
		_exit(0);
	}
	BUG_ON(waitpid(pid, &status, 0) != pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}
