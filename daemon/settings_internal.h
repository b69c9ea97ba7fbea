/*
 * settings_internal.h -- one value on its way into struct settings; for settings.c and settings_value.c.
 */
#ifndef DAEMON_SETTINGS_INTERNAL_H
#define DAEMON_SETTINGS_INTERNAL_H

#include "daemon/settings.h"

struct raw {
	const struct setting *s;
	struct setting_origin from;
	char label[64]; /* setting_label() */
	struct fault *f;
};

/* ERR_USAGE with the fault; `means` may be NULL. */
enum err setting_refuse(const struct raw *r, const char *means, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The canonical text of `v`, which is of no list. */
enum err setting_take(const struct raw *r, const char *v, char *out, size_t cap) MUST_CHECK;
/* `path` as it is meant in `file` (NULL: on the command line). ERR_LIMIT. */
enum err setting_path_in(const char *file, const char *path, char *out, size_t cap) MUST_CHECK;

#endif
