/*
 * state.h -- every kind of file in the home folder, and what a backup does with it.
 *
 * One table. A new kind of state joins by one row; a test starts a daemon, lets it do everything, and fails when a file
 * of its home folder is in no row. Backup, restore and `doctor` walk this table and nothing else, so what is in no row is
 * not copied, and said to be left out.
 *
 * A name is a pattern: '#' stands for a number (1..20 decimal digits), '@' for a node id (32 lower-case hex digits), '$' for a
 * random name (16 of them: only what this program made is ever removed as left over), '%' for one safe word (1..64 of A-Z a-z 0-9 . _ -, not beginning with a dot). Everything else stands for itself. A name that
 * matches holds no '/' but one that the row itself has.
 */
#ifndef STORE_STATE_H
#define STORE_STATE_H

#include "base/wire.h"

#define STATE_NAME_MAX 160 /* of a file, with its NUL */
#define STATE_MEMBERS_MAX 512 /* files of one backup */

enum state_how {
	STATE_PLAIN,    /* replaced as a whole by rename, or never changed: an open descriptor is a snapshot */
	STATE_GROWING,  /* only appended to: its length now is a snapshot */
	STATE_DATABASE, /* SQLite: a snapshot by SQLite */
	STATE_NOT,      /* in no backup; `why` says why */
};

struct state_row {
	const char *name;
	enum state_how how;
	uint64_t max_bytes; /* larger ones are refused on both ways */
	bool required;      /* a backup without it is none */
	const char *why;    /* what it is; of STATE_NOT: why it is left out */
};

const struct state_row *state_at(size_t i); /* NULL past the end */
/* The row of a file, named from the home folder ("audit.log.3"). NULL: of none. */
const struct state_row *state_find(struct bytes name);
/* A folder in which rows have files ("conf.d"). */
bool state_is_folder(struct bytes name);

/* Every file below `home`, in order of names: fn(name, row), row NULL for what is in none. Folders that no row has are given
 * with a '/' behind. Links and special files are given like files. fn returns false to stop. ERR_NOTFOUND, ERR_IO, ...;
 * ERR_LIMIT above 4,096 files, or for a name that is too long. */
typedef bool (*state_fn)(void *ctx, const char *name, const struct state_row *row);
enum err state_each(const char *home, state_fn fn, void *ctx, struct fault *f) MUST_CHECK;

#endif
