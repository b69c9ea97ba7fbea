/*
 * output.h -- what a person or a program reads: stdout is data, stderr is everything else.
 *
 * Colour only on a terminal, never with --no-color, NO_COLOR or TERM=dumb; CLICOLOR_FORCE forces
 * it. Text from strangers goes through text_safe() inside; JSON is plain ASCII, so no control byte
 * reaches a terminal that way either. A closed pipe ends the program quietly.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stdio.h>

#include "base/json.h"
#include "base/text.h"

struct out {
	bool json, quiet;
	unsigned verbose;
	bool color_out, color_err;
	const char *home; /* --home as given: repeated in the commands we suggest; NULL when not */
};

enum style { STYLE_NONE, STYLE_BOLD, STYLE_DIM, STYLE_GOOD, STYLE_WARN, STYLE_BAD };

/* Fills the colour members; the others are set from the options first. */
void out_colors(struct out *o, bool no_color);
const char *out_on(const struct out *o, enum style s);  /* for stdout; "" without colour */
const char *out_off(const struct out *o, enum style s);

/* One line of JSON on stdout. */
void out_json(const struct out *o, const json_t *v);
/* stderr, three short lines at most; with --json the error object on stdout too. Returns f->code. */
int out_fault(const struct out *o, const struct fault *f);
/* The same without the object: the result of the command is already on stdout. */
int out_outcome(const struct out *o, const struct fault *f);
/* "next: ironmesh ..." on stderr: not with --quiet or --json. */
void out_hint(const struct out *o, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A remark on stderr: not with --quiet. */
void out_note(const struct out *o, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Only with --verbose. */
void out_detail(const struct out *o, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* `command` with "--home DIR" behind its first word, when the user gave one; not if it says "   (there", "   (on the other
 * machine" or "   (on that node". */
const char *out_command(const struct out *o, const char *command, char *buf, size_t cap);
/* Writes out what is buffered. A reader that went away ends the program (141, as by SIGPIPE);
 * a full disk is said and turns `code` into EXIT_GENERIC. */
int out_finish(int code);

const char *time_text(uint64_t wall_ms, char *buf, size_t cap);     /* local time; "-" for 0 */
const char *duration_text(uint64_t ms, char *buf, size_t cap);      /* "850 ms", "2.5 s", "3 min", ... */
const char *fingerprint_groups(const char *fp, char *buf, size_t cap); /* groups of four */

/* --- tables --- */
struct table;

/* `heads` ends with NULL and is borrowed. The last column is cut to the width of a terminal. */
struct table *table_new(const char *const *heads);
void table_cell(struct table *t, enum style s, const char *text); /* copies, cleaned; NULL is "-" */
void table_cellf(struct table *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
void table_print(const struct out *o, struct table *t); /* and frees it */

/* One "label  value" line; nothing when value is NULL. */
void out_field(const struct out *o, const char *label, const char *value);
void out_fieldf(const struct out *o, const char *label, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
