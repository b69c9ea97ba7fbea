/* Landlock has no wrapper in the C library, and the headers of Debian 12 know its second version only. */
#include "daemon/walls_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct ruleset {
	uint64_t files;
	uint64_t net;    /* since ABI 4 */
	uint64_t scoped; /* since ABI 6 */
};
struct path_rule {
	uint64_t allowed;
	int32_t fd;
} __attribute__((packed));

enum {
	FS_EXECUTE = 1 << 0,
	FS_WRITE_FILE = 1 << 1,
	FS_READ_FILE = 1 << 2,
	FS_READ_DIR = 1 << 3,
	FS_REMOVE_DIR = 1 << 4,
	FS_REMOVE_FILE = 1 << 5,
	FS_MAKE_DIR = 1 << 7,
	FS_MAKE_REG = 1 << 8,
	FS_MAKE_SOCK = 1 << 9,
	FS_REFER = 1 << 13,     /* ABI 2 */
	FS_TRUNCATE = 1 << 14,  /* ABI 3 */
	FS_IOCTL_DEV = 1 << 15, /* ABI 5 */
	FS_ABI1 = (1 << 13) - 1,
};
#define NET_TCP 3u           /* bind, connect */
#define SCOPE_ABSTRACT 1u
#define SCOPE_SIGNAL 2u
#define CREATE_VERSION 1u
#define RULE_PATH_BENEATH 1
#define OF_A_FILE (FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)
#define READING (FS_READ_FILE | FS_READ_DIR)
/* No special files, no links to elsewhere, nothing to run. */
#define WRITING                                                                                            \
	(READING | FS_WRITE_FILE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR | FS_MAKE_REG | FS_MAKE_SOCK | \
	 FS_REFER | FS_TRUNCATE)

int walls_landlock_abi(void)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_VERSION);

	return abi > 0 ? (int)abi : 0;
}

static struct ruleset handled(int abi, bool deaf)
{
	struct ruleset r = { .files = FS_ABI1 };

	if (abi >= 2)
		r.files |= FS_REFER;
	if (abi >= 3)
		r.files |= FS_TRUNCATE;
	if (abi >= 4 && deaf)
		r.net = NET_TCP;
	if (abi >= 5)
		r.files |= FS_IOCTL_DEV;
	if (abi >= 6)
		r.scoped = SCOPE_SIGNAL | (deaf ? SCOPE_ABSTRACT : 0);
	return r;
}

static size_t size_for(int abi)
{
	return abi < 4 ? 8 : abi < 6 ? 16 : 24;
}

static void allow(int ruleset, uint64_t known, const struct walls_path *p)
{
	struct path_rule rule = { .fd = open(p->path, O_PATH | O_CLOEXEC) };
	struct stat st;

	if (rule.fd < 0)
		return;
	rule.allowed = (p->writable ? WRITING : READING) & known;
	if (fstat(rule.fd, &st) == 0) {
		if (!S_ISDIR(st.st_mode))
			rule.allowed &= OF_A_FILE;
		/* A path that gets no rule is closed: the safe side. */
		(void)!syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0);
	}
	close(rule.fd);
}

const char *walls_landlock(const struct walls_path *paths, size_t n, bool deaf)
{
	int abi = walls_landlock_abi(), fd, no;
	struct ruleset r = handled(abi, deaf);

	if (abi == 0)
		return errno == EOPNOTSUPP ? "Landlock is switched off in this kernel (lsm= at boot)" :
		       errno == EPERM	   ? "who started this forbids Landlock (a filter of system calls)" :
					     "the kernel has no Landlock";
	fd = (int)syscall(SYS_landlock_create_ruleset, &r, size_for(abi), 0);
	if (fd < 0)
		return strerror(errno);
	for (size_t i = 0; i < n; i++)
		allow(fd, r.files, &paths[i]);
	/* Landlock asks for it, and it costs nothing a second time. */
	no = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || syscall(SYS_landlock_restrict_self, fd, 0) != 0 ? errno : 0;
	close(fd);
	return no ? strerror(no) : NULL;
}
