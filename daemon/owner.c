#include "daemon/owner.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GROUPS_MAX 64

static struct {
	bool changed;
	gid_t gid, groups[GROUPS_MAX];
	int count;
} before;

enum err owner_become(const char *home, struct fault *f)
{
	const struct passwd *pw;
	struct stat st;
	gid_t gid;
	int no;

	if (geteuid() != 0 || lstat(home, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid == 0)
		return ERR_OK;
	pw = getpwuid(st.st_uid);
	gid = pw ? pw->pw_gid : st.st_gid;
	before.gid = getegid();
	before.count = getgroups(GROUPS_MAX, before.groups);
	if (before.count >= 0 && setgroups(1, &gid) == 0) {
		before.changed = true;
		if (setegid(gid) == 0 && seteuid(st.st_uid) == 0)
			return ERR_OK;
	}
	no = errno;
	owner_leave();
	fault_set(f, ERR_DENIED, EXIT_POLICY, "cannot act as the owner of %s (uid %u): %s", home, (unsigned)st.st_uid,
		  strerror(no));
	fault_next(f, "sudo -u '#%u' the same command", (unsigned)st.st_uid);
	return ERR_DENIED;
}

void owner_leave(void)
{
	if (!before.changed)
		return;
	before.changed = false;
	BUG_ON(seteuid(0) != 0 || setegid(before.gid) != 0 || setgroups((size_t)before.count, before.groups) != 0);
}
