/*
 * walls.h -- what stands around this process once it runs, so that whoever takes it over gets little.
 *
 * Two moments. walls_begin() comes before anything secret is read: no new privileges, not dumpable, no core file, a
 * clean environment. walls_raise() comes when everything is open and bound, and before the first byte from outside:
 * no capabilities, Landlock, seccomp. Between them no thread may have been started, since Landlock holds for the
 * calling thread and its children only; walls_raise() looks.
 *
 * Nothing is believed because it was set: walls_look() asks the kernel each time, and what it cannot learn counts as
 * absent.
 */
#ifndef DAEMON_WALLS_H
#define DAEMON_WALLS_H

#include <sys/types.h>

#include "base/err.h"

enum walls_mode {
	WALLS_ON,      /* what the kernel offers; what is missing is said */
	WALLS_OFF,
	WALLS_REQUIRE, /* no start without all of them */
};

enum wall {
	WALL_NO_NEW_PRIVILEGES,
	WALL_NOT_DUMPABLE,
	WALL_NO_CORE,
	WALL_ENVIRONMENT,
	WALL_CAPABILITIES,
	WALL_LANDLOCK,
	WALL_SECCOMP,
	WALL_KEY_PROCESS,
	WALLS
};

enum wall_standing { WALL_UP, WALL_ABSENT, WALL_OFF };

struct wall_state {
	const char *name;
	enum wall_standing standing;
	char why[120];    /* it is not up */
	char detail[160]; /* what there is to say when it is; may be empty */
};

/* "on", "off", "require"; ERR_MALFORMED. */
enum err walls_mode_parse(const char *text, enum walls_mode *out) MUST_CHECK;
const char *wall_standing_word(enum wall_standing s);

/* Runs the program again, once, when a variable made the loader load what it should not: then it does not return.
 * ERR_DENIED with WALLS_REQUIRE. */
enum err walls_begin(enum walls_mode mode, struct fault *f) MUST_CHECK;

struct walls;
enum err walls_new(enum walls_mode mode, struct walls **out) MUST_CHECK;
void walls_free(struct walls *w); /* accepts NULL; what was raised stays */

/* What the process reaches afterwards; a file or a folder with all below it. NULL, and what does not exist, is
 * ignored. Copied. Writing means making, changing and removing files and folders, and binding sockets. */
void walls_read(struct walls *w, const char *path);
void walls_write(struct walls *w, const char *path);
/* The key process whose state WALL_KEY_PROCESS is about, and its /proc/<pid>/status, open; borrowed. */
void walls_key_process(struct walls *w, pid_t pid, int status);

/* ERR_DENIED with WALLS_REQUIRE when one of them is not up afterwards; the fault names it. */
enum err walls_raise(struct walls *w, struct fault *f) MUST_CHECK;
/* `w` may be NULL: then they are off. */
void walls_look(struct walls *w, struct wall_state out[static WALLS]);

#endif
