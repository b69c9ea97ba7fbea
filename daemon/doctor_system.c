/* The machine: clock, memory, descriptors. */
#include "daemon/doctor_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include "store/audit.h"

#define YEAR_2025_MS 1735689600000ull
#define YEAR_2100_MS 4102444800000ull
#define AHEAD_MS 120000
#define JUMP_MS 5000
#define MEMLOCK_NEEDED (4ull << 20)
#define DESCRIPTORS_NEEDED 1024

/* --- clock ---------------------------------------------------------------------------------------------------- */
/* The latest time that this node wrote down: of the last audit entry. 0: none. */
static uint64_t last_stored(const struct doctor *d)
{
	struct fault f;
	json_t *list = NULL, *last;
	char path[PATH_MAX];
	struct tm tm = { 0 };
	const char *text;
	double seconds = 0;
	uint64_t at = 0;

	if (!d->has_home || !doctor_path(d, HOME_AUDIT, path) || access(path, R_OK) != 0 || audit_tail(path, 1, &list, &f) != ERR_OK)
		return 0;
	last = json_array_get(list, 0);
	text = json_str(last, "timestamp");
	if (text && strptime(text, "%Y-%m-%dT%H:%M:%S", &tm))
		at = (uint64_t)timegm(&tm) * 1000;
	else if ((seconds = json_number_value(json_object_get(last, "timestamp"))) > 0)
		at = (uint64_t)(seconds * 1000);
	json_decref(list);
	return at;
}

static int64_t clock_ms(clockid_t which)
{
	struct timespec t;

	clock_gettime(which, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* How far the wall clock and the monotonic one went apart since the daemon started, but for the time that the machine
 * slept. */
static int64_t jumped_ms(const struct doctor *d)
{
	uint64_t started = doctor_ms(d->status, "started_ms"), uptime = doctor_ms(d->status, "uptime_ms");
	int64_t slept = clock_ms(CLOCK_BOOTTIME) - clock_ms(CLOCK_MONOTONIC), jump;

	if (!started)
		return 0;
	jump = clock_ms(CLOCK_REALTIME) - (int64_t)started - (int64_t)uptime;
	return jump > 0 && jump <= slept + JUMP_MS ? 0 : jump;
}

static const char *keeper(void)
{
	struct timex t = { 0 };

	return adjtimex(&t) == TIME_ERROR ? "nothing keeps it (no NTP)" : "it is kept by NTP";
}

void doctor_clock(struct doctor *d)
{
	static const char fix[] = "sudo timedatectl set-ntp true   (or set the time by hand, then restart the daemon)";
	uint64_t now = env_wall(&d->env), stored = last_stored(d);
	int64_t jump = jumped_ms(d);
	char text[RFC3339_LEN], other[RFC3339_LEN];

	rfc3339(now, text);
	if (now < YEAR_2025_MS || now > YEAR_2100_MS) {
		doctor_say(d, DOCTOR_FAILURE, "the clock says %s", text);
		doctor_means(d, "Peers refuse what comes from another time, and messages expire at once or never.");
		doctor_fix(d, fix);
	} else if (stored > now + AHEAD_MS) {
		doctor_say(d, DOCTOR_FAILURE, "the clock says %s, and this node wrote down %s before", text, rfc3339(stored, other));
		doctor_means(d, "It was set back, or was ahead before. Peers refuse what comes from another time.");
		doctor_fix(d, fix);
	} else if (jump > JUMP_MS || jump < -JUMP_MS) {
		doctor_say(d, DOCTOR_WARNING, "the clock was moved by %lld s while the daemon ran", (long long)(jump / 1000));
		doctor_means(d, "If it is right now, nothing is wrong any more; a clock that is moved often makes peers refuse frames.");
		doctor_fix(d, fix);
	} else {
		doctor_say(d, DOCTOR_OK, "%s; %s", text, keeper());
	}
}

/* --- memory ------------------------------------------------------------------------------------------------------- */
/* A limit of the daemon, else of this program: the daemon is started with much the same. */
static uint64_t limit_of(const struct doctor *d, const char *line, int resource)
{
	char path[64];
	struct rlimit l = { 0 };
	struct buf b;
	char *at;
	uint64_t v = UINT64_MAX;
	int64_t pid = 0;

	if (d->status && json_get_int(d->status, "pid", 1, INT32_MAX, &pid) == ERR_OK) {
		snprintf(path, sizeof path, "/proc/%d/limits", (int)pid);
		buf_init(&b, 16384);
		if (doctor_slurp(path, &b) && (at = strstr(buf_cstr(&b), line))) {
			at += strlen(line);
			at += strspn(at, " ");
			v = strncmp(at, "unlimited", 9) == 0 ? UINT64_MAX : strtoull(at, NULL, 10);
			buf_fini(&b);
			return v;
		}
		buf_fini(&b);
	}
	if (getrlimit(resource, &l) == 0 && l.rlim_cur != RLIM_INFINITY)
		v = l.rlim_cur;
	return v;
}

/* zram is memory, and what device-mapper calls crypt is ciphertext. */
static bool is_sealed(const char *device)
{
	char real[PATH_MAX], path[PATH_MAX + 64];
	const char *name;
	struct buf b;
	bool sealed;

	if (!realpath(device, real))
		return false;
	name = strrchr(real, '/') ? strrchr(real, '/') + 1 : real;
	if (strncmp(name, "zram", 4) == 0)
		return true;
	snprintf(path, sizeof path, "/sys/class/block/%s/dm/uuid", name);
	buf_init(&b, 256);
	sealed = doctor_slurp(path, &b) && strncmp(buf_cstr(&b), "CRYPT-", 6) == 0;
	buf_fini(&b);
	return sealed;
}

/* The first swap that is written in clear; "" for none. */
static void open_swap(char out[static 256])
{
	struct buf b;
	char *line, *rest = NULL;

	out[0] = '\0';
	buf_init(&b, 16384);
	if (doctor_slurp("/proc/swaps", &b)) {
		strtok_r((char *)(uintptr_t)buf_cstr(&b), "\n", &rest);
		while (!out[0] && (line = strtok_r(NULL, "\n", &rest))) {
			line[strcspn(line, " \t")] = '\0';
			if (*line && !is_sealed(line))
				snprintf(out, 256, "%s", line);
		}
	}
	buf_fini(&b);
}

void doctor_memory(struct doctor *d)
{
	uint64_t limit = limit_of(d, "Max locked memory", RLIMIT_MEMLOCK);
	bool lockable = limit >= MEMLOCK_NEEDED;
	char swap[256], word[1100];

	open_swap(swap);
	if (lockable) {
		doctor_say(d, DOCTOR_OK, swap[0] ? "keys are locked into memory; messages may reach the swap %s, which is not encrypted" :
						   "keys are locked into memory%s", swap[0] ? swap : ", and no swap is written in clear");
		return;
	}
	doctor_say(d, swap[0] ? DOCTOR_FAILURE : DOCTOR_WARNING, "only %llu KiB of memory can be locked%s%s",
		   (unsigned long long)(limit >> 10), swap[0] ? ", and this swap is not encrypted: " : "", swap);
	doctor_means(d, swap[0] ? "Keys may be written to the disk in clear, and stay there." :
				  "If swap is switched on, keys may be written to the disk.");
	if (swap[0])
		doctor_fix(d, "sudo swapoff %s   (and more memory that may be locked: ulimit -l 8192, LimitMEMLOCK=8M in the unit)",
			   word_for_shell(swap, word, sizeof word));
	else
		doctor_fix(d, "ulimit -l 8192   (LimitMEMLOCK=8M in the unit; then start the daemon again)");
}

void doctor_descriptors(struct doctor *d)
{
	uint64_t limit = limit_of(d, "Max open files", RLIMIT_NOFILE);
	struct rlimit l;

	/* The daemon raises its own to what it may have. */
	if (!d->status && getrlimit(RLIMIT_NOFILE, &l) == 0)
		limit = l.rlim_max == RLIM_INFINITY ? UINT64_MAX : l.rlim_max;
	if (limit < DESCRIPTORS_NEEDED) {
		doctor_say(d, DOCTOR_WARNING, "only %llu files may be open at once", (unsigned long long)limit);
		doctor_means(d, "Each peer takes one; beyond that nobody can connect.");
		doctor_fix(d, "ulimit -Hn 65536   (as root; LimitNOFILE=65536 in the unit; then start the daemon again)");
	} else if (limit == UINT64_MAX) {
		doctor_say(d, DOCTOR_OK, "as many files as there are may be open at once");
	} else {
		doctor_say(d, DOCTOR_OK, "%llu files may be open at once", (unsigned long long)limit);
	}
}
