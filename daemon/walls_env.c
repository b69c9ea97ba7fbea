#include "daemon/walls_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/secret.h"

#define AGAIN "IRONMESH_WALLS_AGAIN" /* set by us for the second run, and removed there */
#define CMDLINE_MAX (1u << 20)
#define ARGS_MAX 8192

extern char **environ;

/* A name that ends in '*' stands for all that begin like it. Whoever reads a variable after the start adds it here. */
static const char *const kept[] = {
	"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_*", "TZ", "TERM", "NO_COLOR", "IRONMESH_*",
	/* systemd */
	"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES",
	"CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "CONFIGURATION_DIRECTORY", "RUNTIME_DIRECTORY", "CACHE_DIRECTORY",
	"LOGS_DIRECTORY", "JOURNAL_STREAM", "INVOCATION_ID",
	/* where avahi's bus is, and that its library is not to warn; how many threads libuv has */
	"DBUS_SYSTEM_BUS_ADDRESS", "AVAHI_COMPAT_NOWARN", "UV_THREADPOOL_SIZE",
	/* which certificates --strict-tls believes: said by who starts us */
	"SSL_CERT_FILE", "SSL_CERT_DIR",
	/* read by the allocator as it starts, so too late to matter; kept for what they say */
	"MALLOC_ARENA_MAX",
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	"ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS",
#endif
#ifdef IRONMESH_COVERAGE
	"GCOV_*",
#endif
};

/* They made the loader, or a library as it started, load code: to remove them is not enough. */
static const char *const loaded[] = {
	"LD_*", "GCONV_PATH", "GLIBC_TUNABLES", "OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES",
};

/* One of them, in this run. */
static char loaded_by[64];

static bool on(const char *const *list, size_t n, const char *name, size_t len)
{
	for (size_t i = 0; i < n; i++) {
		size_t k = strlen(list[i]);
		bool open_end = list[i][k - 1] == '*';

		if (open_end ? len >= k - 1 && memcmp(name, list[i], k - 1) == 0 :
			       len == k && memcmp(name, list[i], k) == 0)
			return true;
	}
	return false;
}
#define ON(list, name, len) on(list, sizeof(list) / sizeof((list)[0]), name, len)

static size_t name_len(const char *entry)
{
	return strcspn(entry, "=");
}

void walls_env_clean(bool *again)
{
	bool second = getenv(AGAIN) != NULL;
	char **to = environ;

	*again = false;
	for (char **from = environ; from && *from; from++) {
		size_t n = name_len(*from);

		if (ON(kept, *from, n) && !(n == strlen(AGAIN) && memcmp(*from, AGAIN, n) == 0)) {
			*to++ = *from;
			continue;
		}
		if (ON(loaded, *from, n)) {
			*again = true;
			snprintf(loaded_by, sizeof(loaded_by), "%.*s", (int)(n < 60 ? n : 60), *from);
		}
		/* What /proc/<pid>/environ shows is this memory, not the list. */
		wipe(*from, strlen(*from));
	}
	if (to)
		*to = NULL;
	if (second) {
		*again = false;
		/* The program was run by the name /proc/self/exe. */
		(void)prctl(PR_SET_NAME, "ironmesh");
	}
}

const char *walls_env_stray(void)
{
	static char name[64];

	if (loaded_by[0])
		return loaded_by;
	for (char **e = environ; e && *e; e++) {
		size_t n = name_len(*e);

		if (!ON(kept, *e, n)) {
			snprintf(name, sizeof(name), "%.*s", (int)(n < 60 ? n : 60), *e);
			return name;
		}
	}
	return NULL;
}

/* The arguments as the kernel has them: what main() got may have been changed since. */
static char **own_arguments(char *text, size_t room)
{
	static char *args[ARGS_MAX + 1];
	size_t n = 0, got = 0;
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t r = 1;

	if (fd < 0)
		return NULL;
	while (got < room && (r = read(fd, text + got, room - got)) > 0)
		got += (size_t)r;
	close(fd);
	if (r != 0 || got == 0 || text[got - 1] != '\0')
		return NULL;
	for (size_t at = 0; at < got; at += strlen(text + at) + 1) {
		if (n == ARGS_MAX)
			return NULL;
		args[n++] = text + at;
	}
	args[n] = NULL;
	return args;
}

const char *walls_env_exec(void)
{
	char *text = malloc(CMDLINE_MAX);
	char **args = text ? own_arguments(text, CMDLINE_MAX) : NULL;
	const char *why = "/proc/self/cmdline cannot be read";

	if (args && setenv(AGAIN, "1", 1) == 0) {
		execve("/proc/self/exe", args, environ);
		why = strerror(errno);
		unsetenv(AGAIN);
	}
	free(text);
	return why;
}
