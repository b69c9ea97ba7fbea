/*
 * walls_internal.h -- what the files of the walls share, and what the key process takes from them.
 */
#ifndef DAEMON_WALLS_INTERNAL_H
#define DAEMON_WALLS_INTERNAL_H

#include <stddef.h>

#include "base/wire.h"
#include "daemon/walls.h"

/*
 * LeakSanitizer traces its own process at the end, and sanitizers make threads and maps of their own; a coverage build
 * writes beside its objects. What cannot stand then is off, and says so.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WALLS_RELAXED "sanitizer build"
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define WALLS_RELAXED "sanitizer build"
#endif
#endif
#if !defined(WALLS_RELAXED) && defined(IRONMESH_COVERAGE)
#define WALLS_RELAXED "coverage build"
#endif
#ifndef WALLS_RELAXED
#define WALLS_RELAXED NULL
#endif

struct walls_path {
	char *path;
	bool writable;
};

/* --- environment (walls_env.c) --------------------------------------------------------------------- */
/* Removes what is not on the list. *again: the program has to be run anew, since the loader has seen it. */
void walls_env_clean(bool *again);
/* Runs /proc/self/exe again with the arguments of this process. Returns only when that fails: why. */
const char *walls_env_exec(void);
/* The name of a variable that is not on the list, or that had its effect before this; NULL: there is none. */
const char *walls_env_stray(void);

/* --- Landlock (walls_landlock.c) ------------------------------------------------------------------- */
/* 0: the kernel has none. */
int walls_landlock_abi(void);
/* For this thread and what it starts. `deaf`: no TCP, no abstract sockets either. NULL, or why not. */
const char *walls_landlock(const struct walls_path *paths, size_t n, bool deaf);

/* --- seccomp (walls_seccomp.c) --------------------------------------------------------------------- */
/* For all threads. NULL, or why not. */
const char *walls_seccomp_daemon(void);
/* Memory, one open socket, and an end: anything else kills the process. */
const char *walls_seccomp_keys(void);

/* --- the rest (walls.c) ----------------------------------------------------------------------------- */
/* NULL, or why not. */
const char *walls_drop_capabilities(void);
const char *walls_no_core(void);

/* Of /proc/<who>/status; `who` is "self", a process id, or "self/task/<id>". */
struct walls_proc {
	bool read; /* else nothing below counts */
	bool no_new_privs;
	int seccomp;  /* 2: a filter, of whoever started us or ours */
	unsigned filters; /* how many; 0 also where the kernel does not tell */
	unsigned threads;
	bool capable; /* anything in inheritable, permitted, effective or ambient */
	bool bounded; /* nothing in the bounding set */
	unsigned long locked_kib;
};
void walls_proc_read(const char *who, struct walls_proc *out);
void walls_proc_read_open(int status, struct walls_proc *out); /* such a file, open */

#endif
