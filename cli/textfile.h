/*
 * textfile.h -- exports: text to stdout or a new file, text from a file or stdin.
 */
#ifndef CLI_TEXTFILE_H
#define CLI_TEXTFILE_H

#include "cli/command.h"

/* The member `text` of a result: exactly, to `path` (only if absent, 0600) or to stdout. */
enum err text_export(const struct cli *c, const json_t *result, const char *path,
		     struct fault *f) MUST_CHECK;
/* A whole file, or stdin for "-", of at most b->max bytes. */
enum err text_import(const char *path, struct buf *b, struct fault *f) MUST_CHECK;

#endif
