#include "daemon/walls_internal.h"

#include <cap-ng.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define STATUS_MAX 8192

struct walls {
	enum walls_mode mode;
	struct walls_path *paths;
	size_t n;
	pid_t keys; /* 0: none */
	int abi;    /* of Landlock; afterwards seccomp lets nobody ask */
	bool closed; /* seen once */
	/* A rule is about an inode, and procfs makes another one once it has dropped a folder from its cache: so it is
	 * held, -1: none. */
	int own_proc;
	int keys_status;
	struct walls_proc before; /* as whoever started us left it */
	/* What the kernel said no to, for people; whether a wall stands is asked anew each time. */
	char why[WALLS][120];
};

static const char *const names[WALLS] = {
	[WALL_NO_NEW_PRIVILEGES] = "no-new-privileges",
	[WALL_NOT_DUMPABLE] = "not-dumpable",
	[WALL_NO_CORE] = "no-core",
	[WALL_ENVIRONMENT] = "environment",
	[WALL_CAPABILITIES] = "capabilities",
	[WALL_LANDLOCK] = "landlock",
	[WALL_SECCOMP] = "seccomp",
	[WALL_KEY_PROCESS] = "key-process",
};

const char *wall_standing_word(enum wall_standing s)
{
	return s == WALL_UP ? "up" : s == WALL_OFF ? "off" : "absent";
}

enum err walls_mode_parse(const char *text, enum walls_mode *out)
{
	static const char *const words[] = { [WALLS_ON] = "on", [WALLS_OFF] = "off", [WALLS_REQUIRE] = "require" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(text, words[i]) == 0) {
			*out = (enum walls_mode)i;
			return ERR_OK;
		}
	return ERR_MALFORMED;
}

/* --- the first moment ---------------------------------------------------------------------------------- */

const char *walls_no_core(void)
{
	return setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }) == 0 ? NULL : strerror(errno);
}

static enum err refuse(struct fault *f, const char *wall, const char *why)
{
	fault_set(f, ERR_DENIED, EXIT_CONFIG, "the wall '%s' cannot be raised: %s", wall, why[0] ? why : "the kernel does not say why");
	fault_means(f, "The daemon was told not to run without it (--walls require).");
	fault_next(f, "ironmesh run --walls on   (raises what the kernel offers, and says what is missing)");
	return ERR_DENIED;
}

enum err walls_begin(enum walls_mode mode, struct fault *f)
{
	const char *why = NULL;
	bool again;

	if (mode == WALLS_OFF)
		return ERR_OK;
	walls_env_clean(&again);
	if (again)
		why = walls_env_exec();
	if (why)
		log_warn("not-run-again what=\"%s\"", why);
	if (why && mode == WALLS_REQUIRE)
		return refuse(f, names[WALL_ENVIRONMENT], why);
	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	(void)walls_no_core();
	if (!WALLS_RELAXED)
		(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	return ERR_OK;
}

/* --- the second ------------------------------------------------------------------------------------------ */

enum err walls_new(enum walls_mode mode, struct walls **out)
{
	struct walls *w = calloc(1, sizeof *w);

	if (!w)
		return ERR_NOMEM;
	w->mode = mode;
	w->own_proc = w->keys_status = -1;
	walls_proc_read("self", &w->before);
	*out = w;
	return ERR_OK;
}

void walls_free(struct walls *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < w->n; i++)
		free(w->paths[i].path);
	free(w->paths);
	if (w->own_proc >= 0)
		close(w->own_proc);
	free(w);
}

static void declare(struct walls *w, const char *path, bool writable)
{
	char *copy = path && *path ? strdup(path) : NULL;
	struct walls_path *more = copy ? realloc(w->paths, (w->n + 1) * sizeof *more) : NULL;

	/* What is not named is closed: the safe side. */
	if (!more) {
		free(copy);
		return;
	}
	w->paths = more;
	w->paths[w->n++] = (struct walls_path){ copy, writable };
}

void walls_read(struct walls *w, const char *path)
{
	declare(w, path, false);
}

void walls_write(struct walls *w, const char *path)
{
	declare(w, path, true);
}

void walls_key_process(struct walls *w, pid_t pid, int status)
{
	w->keys = pid;
	w->keys_status = status;
}

/* What the C library would load when the first name is looked up, or the first thread is cancelled: afterwards nothing
 * that can run is mapped any more. */
static void load_early(void)
{
	char line[512], *save = NULL;
	FILE *in = fopen("/etc/nsswitch.conf", "re");

	(void)dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_GLOBAL);
	while (in && fgets(line, sizeof(line), in)) {
		char *word = strtok_r(line, " \t\n", &save);

		if (!word || (strcmp(word, "hosts:") != 0 && strcmp(word, "services:") != 0))
			continue;
		while ((word = strtok_r(NULL, " \t\n", &save)) != NULL) {
			char file[96];

			if (word[0] == '[' || word[0] == '#' || strchr(word, '/'))
				continue;
			snprintf(file, sizeof(file), "libnss_%.64s.so.2", word);
			(void)dlopen(file, RTLD_NOW);
		}
	}
	if (in)
		fclose(in);
}

/* A link out of /etc is followed by name each time, and what it leads to is replaced by others: so its folder. */
static void read_resolver(struct walls *w)
{
	char *real = realpath("/etc/resolv.conf", NULL), *slash = real ? strrchr(real, '/') : NULL;

	if (slash && slash != real && strncmp(real, "/etc/", 5) != 0) {
		*slash = '\0';
		walls_read(w, real);
	}
	free(real);
}

/* Names, certificates, time. */
static void read_system(struct walls *w)
{
	static const char *const files[] = {
		"/etc/resolv.conf", "/etc/hosts",     "/etc/host.conf",	    "/etc/nsswitch.conf", "/etc/gai.conf",
		"/etc/services",    "/etc/protocols", "/etc/localtime",	    "/etc/passwd",	  "/etc/group",
		"/etc/machine-id",  "/etc/hostname",  "/etc/mdns.allow",    "/etc/ssl/certs",	  "/etc/ssl/openssl.cnf",
		"/usr/lib/ssl",
		"/usr/share/zoneinfo", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
		"/var/lib/dbus/machine-id", "/proc/self", "/dev/null", "/dev/urandom",
	};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		walls_read(w, files[i]);
	w->own_proc = open("/proc/self", O_PATH | O_CLOEXEC);
	/* resolv.conf is replaced when the machine changes its network, and a rule is about a file, not a name. Who is
	 * not root cannot read there what others may not see. */
	if (geteuid() != 0)
		walls_read(w, "/etc");
	read_resolver(w);
	walls_read(w, getenv("SSL_CERT_FILE"));
	walls_read(w, getenv("SSL_CERT_DIR"));
}

const char *walls_drop_capabilities(void)
{
	/* The bounding set needs a capability of its own, so it goes with the others or stays, where nothing can
	 * take from it any more. */
	bool bounds = capng_get_caps_process() == 0 && capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP);
	capng_select_t which = bounds ? CAPNG_SELECT_ALL : CAPNG_SELECT_CAPS;

	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	capng_clear(which);
	return capng_apply(which) == 0 ? NULL : "the kernel refuses to drop them";
}

static void note(struct walls *w, enum wall which, const char *why)
{
	if (!why)
		return;
	snprintf(w->why[which], sizeof(w->why[which]), "%s", why);
	log_warn("wall-absent name=%s why=\"%s\"", names[which], why);
}

enum err walls_raise(struct walls *w, struct fault *f)
{
	struct wall_state s[WALLS];
	struct walls_proc self;

	if (w->mode == WALLS_OFF)
		return ERR_OK;
	load_early();
	read_system(w);
	w->abi = walls_landlock_abi();
	walls_proc_read("self", &self);
	note(w, WALL_CAPABILITIES, walls_drop_capabilities());
	/* A thread that is there already would stand outside. */
	if (self.read && self.threads > 1 && !WALLS_RELAXED)
		note(w, WALL_LANDLOCK, "a thread was there before it");
	else
		note(w, WALL_LANDLOCK, walls_landlock(w->paths, w->n, false));
	if (!WALLS_RELAXED)
		note(w, WALL_SECCOMP, walls_seccomp_daemon());
	walls_look(w, s);
	for (int i = 0; i < WALLS; i++)
		if (w->mode == WALLS_REQUIRE && s[i].standing != WALL_UP)
			return refuse(f, s[i].name, s[i].why);
	return ERR_OK;
}

/* --- how it stands ---------------------------------------------------------------------------------------- */

static const char *field(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at && (at == text || at[-1] == '\n') ? at + strlen(name) : NULL;
}

static bool number(const char *text, const char *name, int base, unsigned long long *out)
{
	const char *at = field(text, name);

	if (at)
		*out = strtoull(at, NULL, base);
	return at != NULL;
}

void walls_proc_read(const char *who, struct walls_proc *out)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/status", who);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	walls_proc_read_open(fd, out);
	if (fd >= 0)
		close(fd);
}

void walls_proc_read_open(int status, struct walls_proc *out)
{
	char text[STATUS_MAX];
	unsigned long long nnp, seccomp, threads, inh, prm, eff, bnd, amb, lck = 0, filters = 0;
	ssize_t n = status >= 0 ? pread(status, text, sizeof(text) - 1, 0) : -1;

	*out = (struct walls_proc){ 0 };
	if (n <= 0)
		return;
	text[n] = '\0';
	if (!number(text, "NoNewPrivs:", 10, &nnp) || !number(text, "Seccomp:", 10, &seccomp) ||
	    !number(text, "Threads:", 10, &threads) || !number(text, "CapInh:", 16, &inh) ||
	    !number(text, "CapPrm:", 16, &prm) || !number(text, "CapEff:", 16, &eff) ||
	    !number(text, "CapBnd:", 16, &bnd) || !number(text, "CapAmb:", 16, &amb))
		return;
	(void)number(text, "VmLck:", 10, &lck);
	(void)number(text, "Seccomp_filters:", 10, &filters);
	*out = (struct walls_proc){ .read = true, .no_new_privs = nnp == 1, .seccomp = (int)seccomp, .filters = (unsigned)filters,
				    .threads = (unsigned)threads, .capable = (inh | prm | eff | amb) != 0,
				    .bounded = bnd == 0, .locked_kib = (unsigned long)lck };
}

/* Of all threads, the weakest. */
static void read_threads(struct walls_proc *out)
{
	DIR *d = opendir("/proc/self/task");
	struct dirent *e;

	walls_proc_read("self", out);
	while (d && out->read && (e = readdir(d)) != NULL) {
		struct walls_proc one;
		char who[300];

		if (e->d_name[0] == '.')
			continue;
		snprintf(who, sizeof(who), "self/task/%s", e->d_name);
		walls_proc_read(who, &one);
		if (!one.read) /* it ended meanwhile */
			continue;
		out->no_new_privs = out->no_new_privs && one.no_new_privs;
		out->seccomp = one.seccomp < out->seccomp ? one.seccomp : out->seccomp;
		out->filters = one.filters < out->filters ? one.filters : out->filters;
		out->capable = out->capable || one.capable;
	}
	if (!d)
		out->read = false;
	else
		closedir(d);
}

static void stands(struct wall_state *s, bool up, const char *detail)
{
	if (!up)
		return;
	s->standing = WALL_UP;
	s->why[0] = '\0';
	snprintf(s->detail, sizeof(s->detail), "%s", detail);
}

/* A folder that everybody may list, and we may not. */
static bool outside_is_closed(void)
{
	struct stat st;

	if (stat("/", &st) != 0 || !(st.st_mode & S_IROTH))
		return false;
	int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd < 0 && errno == EACCES;
}

/* A filter may be there that is of who started us: there has to be one more. */
static bool filtered(const struct walls *w, const struct walls_proc *p)
{
	return p->read && p->seccomp == 2 && w->before.read && (w->before.seccomp == 0 || p->filters > w->before.filters);
}

static void look_at_files(struct walls *w, struct wall_state *s)
{
	char detail[160];
	size_t writable = 0;

	for (size_t i = 0; i < w->n; i++)
		writable += w->paths[i].writable;
	snprintf(detail, sizeof(detail), "ABI %d; %zu path(s) read-write, %zu read-only", w->abi, writable,
		 w->n - writable);
	/* It never opens again, and a refusal may be a line in the log of the kernel: one is enough. */
	w->closed = w->closed || outside_is_closed();
	stands(s, w->closed, detail);
}

static void look_at_keys(const struct walls *w, struct wall_state *s)
{
	struct walls_proc p = { 0 };
	char detail[160];

	if (!w->keys) {
		snprintf(s->why, sizeof(s->why), "the keys are in this process");
		return;
	}
	walls_proc_read_open(w->keys_status, &p);
	if (!p.read) {
		snprintf(s->why, sizeof(s->why), "process %d cannot be looked at", (int)w->keys);
		return;
	}
	snprintf(detail, sizeof(detail), "process %d; %lu KiB locked", (int)w->keys, p.locked_kib);
	if (p.no_new_privs && !p.capable && (filtered(w, &p) || WALLS_RELAXED))
		stands(s, true, detail);
	else
		snprintf(s->why, sizeof(s->why), "process %d runs without walls of its own", (int)w->keys);
}

void walls_look(struct walls *w, struct wall_state out[static WALLS])
{
	bool off = !w || w->mode == WALLS_OFF;
	struct walls_proc p;
	struct rlimit core;
	const char *stray;

	for (int i = 0; i < WALLS; i++) {
		bool relaxed = WALLS_RELAXED && (i == WALL_NOT_DUMPABLE || i == WALL_SECCOMP);

		out[i] = (struct wall_state){ .name = names[i], .standing = off || relaxed ? WALL_OFF : WALL_ABSENT };
		snprintf(out[i].why, sizeof(out[i].why), "%s",
			 off ? "--walls off" : relaxed ? WALLS_RELAXED : w->why[i][0] ? w->why[i] : "the kernel does not show it");
	}
	if (off)
		return;
	read_threads(&p);
	stands(&out[WALL_NO_NEW_PRIVILEGES], p.read && p.no_new_privs, "");
	if (out[WALL_NOT_DUMPABLE].standing != WALL_OFF)
		stands(&out[WALL_NOT_DUMPABLE], prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0, "");
	stands(&out[WALL_NO_CORE], getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur == 0 && core.rlim_max == 0, "");
	stray = walls_env_stray();
	if (stray)
		snprintf(out[WALL_ENVIRONMENT].why, sizeof(out[WALL_ENVIRONMENT].why), "%s was set", stray);
	stands(&out[WALL_ENVIRONMENT], !stray, "");
	stands(&out[WALL_CAPABILITIES], p.read && !p.capable, p.bounded ? "" : "the bounding set could not be emptied");
	look_at_files(w, &out[WALL_LANDLOCK]);
	if (out[WALL_SECCOMP].standing != WALL_OFF)
		stands(&out[WALL_SECCOMP], filtered(w, &p), "");
	look_at_keys(w, &out[WALL_KEY_PROCESS]);
}
