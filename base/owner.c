#include "base/owner.h"

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

/* A link counts as the one who made it: "link/" would be what it leads to. */
static bool look(const char *home, struct stat *out)
{
	char bare[4096];
	size_t n = strlen(home);

	while (n > 1 && home[n - 1] == '/')
		n--;
	if (n >= sizeof bare)
		return false;
	memcpy(bare, home, n);
	bare[n] = '\0';
	return lstat(bare, out) == 0;
}

enum err owner_be(unsigned uid, unsigned gid_else, const char *home, struct fault *f)
{
	const struct passwd *pw;
	gid_t gid;
	int no;

	if (geteuid() != 0 || uid == 0)
		return ERR_OK;
	pw = getpwuid(uid);
	gid = pw ? pw->pw_gid : gid_else;
	before.gid = getegid();
	before.count = getgroups(GROUPS_MAX, before.groups);
	if (before.count >= 0 && setgroups(1, &gid) == 0) {
		before.changed = true;
		if (setegid(gid) == 0 && seteuid(uid) == 0)
			return ERR_OK;
	}
	no = errno;
	owner_leave();
	fault_set(f, ERR_DENIED, EXIT_POLICY, "cannot act as the owner of %s (uid %u): %s", home, uid, strerror(no));
	fault_next(f, "sudo -u '#%u' the same command", uid);
	return ERR_DENIED;
}

enum err owner_become(const char *home, struct fault *f)
{
	struct stat st;

	return geteuid() == 0 && look(home, &st) ? owner_be(st.st_uid, st.st_gid, home, f) : ERR_OK;
}

void owner_leave(void)
{
	if (!before.changed)
		return;
	before.changed = false;
	BUG_ON(seteuid(0) != 0 || setegid(before.gid) != 0 || setgroups((size_t)before.count, before.groups) != 0);
}
