#include "base/home.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static enum err copy_path(char *out, size_t cap, const char *path, size_t n)
{
	if (n >= cap)
		return ERR_LIMIT;
	memcpy(out, path, n);
	out[n] = '\0';
	return ERR_OK;
}

/* What was said; ERR_NOTFOUND: nothing was. */
static enum err said(const char *flag, char *out, size_t cap)
{
	const char *v = flag;

	if (flag)
		return *flag ? copy_path(out, cap, flag, strlen(flag)) : ERR_USAGE;
	v = secure_getenv("IRONMESH_HOME");
	if (v && *v)
		return copy_path(out, cap, v, strlen(v));
	v = secure_getenv("STATE_DIRECTORY");
	if (v && *v) /* a list with ':' when the unit names several; the first is ours */
		return copy_path(out, cap, v, strcspn(v, ":"));
	return ERR_NOTFOUND;
}

static enum err own(char *out, size_t cap)
{
	const struct passwd *pw;
	const char *v = secure_getenv("HOME");

	if (!v || *v != '/') {
		pw = getpwuid(geteuid());
		v = pw ? pw->pw_dir : NULL;
	}
	if (!v || *v != '/')
		return ERR_NOTFOUND;
	return path_join(out, cap, v, ".ironmesh");
}

enum err home_resolve(const char *flag, char *out, size_t cap)
{
	enum err e = said(flag, out, cap);

	return e == ERR_NOTFOUND ? own(out, cap) : e;
}

static bool is_dir(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool system_is_ours(void)
{
	return geteuid() == 0 ? is_dir(HOME_SYSTEM) : access(RUN_SYSTEM "/" HOME_SOCKET, R_OK | W_OK) == 0;
}

enum err home_find(const char *flag, char *out, size_t cap)
{
	enum err e = said(flag, out, cap);
	struct stat st;

	if (e != ERR_NOTFOUND)
		return e;
	e = own(out, cap);
	if ((e != ERR_OK || lstat(out, &st) != 0) && system_is_ours())
		return copy_path(out, cap, HOME_SYSTEM, sizeof(HOME_SYSTEM) - 1);
	return e;
}

enum err home_socket(const char *home, char *out, size_t cap, bool *shared)
{
	size_t n = strlen(home);
	bool system;

	while (n > 1 && home[n - 1] == '/')
		n--;
	system = n == sizeof(HOME_SYSTEM) - 1 && memcmp(home, HOME_SYSTEM, n) == 0 && is_dir(RUN_SYSTEM);
	if (shared)
		*shared = system;
	return path_join(out, cap, system ? RUN_SYSTEM : home, HOME_SOCKET);
}
