/*
 * settings.h -- every setting of the daemon, in one table, and the values that were given.
 *
 * From the table (settings_table.c) come the options of `ironmesh run`, the keys of ironmesh.conf, ranges, defaults, the
 * help, `ironmesh config`, the manual page and the example file. A value is kept as canonical text with its origin:
 * a duration as "30m" whatever was typed, a list with what its @FILE held, a path absolute when it stands in a file.
 *
 * Precedence: default, ironmesh.conf, conf.d in the order of the names, command line. A list is replaced as a whole by a
 * later source; within one source it grows. Peers add up.
 */
#ifndef DAEMON_SETTINGS_H
#define DAEMON_SETTINGS_H

#include <stdint.h>

#include "base/wire.h"

enum setting_kind {
	SETTING_BOOL,     /* yes or no */
	SETTING_INT,      /* min to max */
	SETTING_RATE,     /* a number that may have a fraction, 0 to max */
	SETTING_DURATION, /* in ms */
	SETTING_WORD,     /* one of `words` */
	SETTING_NAME,     /* name_valid() */
	SETTING_TEXT,     /* min to max bytes, no control characters */
	SETTING_PATH,     /* in a file relative to its folder */
	SETTING_ADDRESS,  /* host:port; from --peer with #id */
	SETTING_ID,       /* of a node */
	SETTING_VERSION,  /* 0.9 */
	SETTING_PEERS,    /* a list of ids, aliases and names, or @FILE */
	SETTING_KEYS,     /* a list of public keys, or @FILE */
	SETTING_WORDS,    /* a list of texts without white space or commas */
};

enum {
	SETTING_LIVE = 1,  /* a reload changes it; without it a restart is needed */
	SETTING_LIST = 2,  /* may be given again in the same source, and grows */
	SETTING_EACH = 4,  /* each time it is given is a value of its own */
	SETTING_NAMED = 8, /* its section has a name: [peer "bob"] */
	SETTING_ZERO = 16, /* 0 is allowed below min, and means never or none */
};

struct setting {
	const char *section, *key; /* NULL: an option only */
	const char *option;        /* "--port"; NULL: a key only */
	const char *arg;           /* how the help calls the option's value; NULL: it takes none */
	const char *gives;         /* what an option without a value sets; NULL: "yes" */
	const char *same;          /* "section.key" that this option sets: it has no value of its own */
	const char *text;          /* one line */
	const char *help;          /* the same for the option, where that says it otherwise; NULL */
	const char *standard;      /* the default, canonical; NULL: nothing */
	enum setting_kind kind;
	unsigned flags;
	const char *words;         /* "a|b|c": the first is 0 in the member below */
	int64_t min, max;
	uint16_t at, size;         /* the member of struct run_config; size 0: config.c takes it itself */
};

const struct setting *setting_at(size_t i); /* NULL past the end */
const struct setting *setting_find(const char *section, const char *key);
const struct setting *setting_by_option(const char *option);
const char *setting_kind_word(enum setting_kind k);
/* The number that a canonical text of a kind with numbers stands for; of SETTING_WORD its place among the words. */
bool setting_number(const struct setting *s, const char *text, uint64_t *out);
/* "0 to 65535", "10s to 7d or 0", "off, on or require"; "" when nothing is to be said. */
const char *setting_range(const struct setting *s, char *out, size_t cap);
/* A key by another name than its own, or NULL. */
const struct setting *setting_other_name(const char *section, const char *key);
const char *setting_section_text(const char *section); /* one line */
bool setting_section_known(const char *section, bool *named);

/* --- values -------------------------------------------------------------------------------------------- */
/* Where a value stands, for messages and `config show`. Both NULL: the default. */
struct setting_origin {
	const char *option;
	const char *file;
	unsigned line;
};

struct setting_value {
	const struct setting *s;
	char *text;                 /* canonical */
	char *name;                 /* of its section; NULL */
	struct setting_origin from; /* `file` is owned, `option` is of the table */
	unsigned source;            /* the later, the higher */
};

#define SETTING_FILES_MAX 64
#define SETTING_PROBLEMS_MAX 100

/* What is wrong with a file, or will be. */
struct setting_problem {
	const char *file; /* borrowed from struct settings */
	unsigned line;    /* 0: the file as a whole */
	bool warning;
	char what[240], means[240];
};

struct settings {
	struct setting_value *v;
	size_t n, cap;
	char *files[SETTING_FILES_MAX];
	size_t files_n;
	char **lists; /* the @FILEs that were read */
	size_t lists_n;
	struct setting_problem *problems;
	size_t problems_n;
};

void settings_init(struct settings *st);
void settings_fini(struct settings *st);
/* Checks `raw` and keeps it. `name`: of a named section. ERR_USAGE with a fault whose first word says where. */
enum err settings_put(struct settings *st, const struct setting *s, const char *name, const char *raw,
		      struct setting_origin from, unsigned source, struct fault *f) MUST_CHECK;
const struct setting_value *settings_get(const struct settings *st, const struct setting *s, const char *name);
/* "--port", or "port" with file and line: how a message calls it. */
const char *setting_label(const struct setting *s, struct setting_origin from, char *out, size_t cap);
const char *setting_where(struct setting_origin from, char *out, size_t cap); /* "FILE:12", "--port", "default" */

/* Another value of `st`, which may not have one of this row and name yet. Copies. */
void settings_copy(struct settings *st, const struct setting_value *v);

/* What differs between two of them; a value that is absent counts as its default. */
struct setting_change {
	const struct setting *s;
	const char *name;                  /* of its section, or NULL */
	const char *was, *now;             /* NULL: nothing */
	const struct setting_value *value; /* the new one; NULL: the default */
};
void settings_diff(const struct settings *was, const struct settings *now, void (*each)(void *ctx, const struct setting_change *c),
		   void *ctx);
/* `lan.port`, `peer "bob".address` */
const char *setting_path(const struct setting *s, const char *name, char *out, size_t cap);

/* --- files (settings_files.c) ----------------------------------------------------------------------------- */
#define CONFIG_SYSTEM_FOLDER "/etc/ironmesh"
#define CONFIG_FILE "ironmesh.conf"
#define CONFIG_FOLDER "conf.d"

/* The folder in which ironmesh.conf and conf.d are looked for: $CONFIGURATION_DIRECTORY, /etc/ironmesh for the home folder of
 * the system service, else the home folder. ERR_LIMIT. */
enum err config_folder(const char *home, char *out, size_t cap) MUST_CHECK;
/* The text of a file of at most SETTING_FILES_MAX; mistakes become problems. */
void settings_read_text(struct settings *st, const char *path, struct bytes text);
/* Reads `file`, or when it is NULL what is in `folder`; absent files are no error there. Every mistake becomes a problem.
 * ERR_USAGE: at least one is more than a warning; the fault tells the first (exit 10). Other errors with their fault. */
enum err settings_read(struct settings *st, const char *folder, const char *file, struct fault *f) MUST_CHECK;

#endif
