/*
 * inifile.h -- the form of ironmesh.conf, line by line, with exact line numbers.
 *
 *	# a comment            ; another
 *	[section]              or [section "name"]
 *	key = value            a blank and '#' or ';' begin a comment behind it
 *
 * libinih reads it. What libinih would cut, join or skip without a word is refused here before: long lines, long names,
 * continued lines, text behind a section, bytes that are no text. Nothing here knows a setting.
 */
#ifndef DAEMON_INIFILE_H
#define DAEMON_INIFILE_H

#include "base/wire.h"

#define INIFILE_LINE_MAX 190 /* bytes: libinih's buffer has 200, with the end of the line */
#define INIFILE_MAX 1048576  /* of a whole file */

struct inifile_sink {
	void *ctx;
	/* `name` is NULL without one. All are borrowed during the call. */
	void (*pair)(void *ctx, unsigned line, const char *section, const char *name, const char *key, const char *value);
	void (*section)(void *ctx, unsigned line, const char *section, const char *name);
	void (*problem)(void *ctx, unsigned line, const char *what, const char *means); /* `means` may be NULL */
};

/* Goes on behind a problem; pairs of a section that could not be read are left out. */
void inifile_read(struct bytes text, const struct inifile_sink *sink);

#endif
