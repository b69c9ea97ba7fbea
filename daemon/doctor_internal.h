/*
 * doctor_internal.h -- what the checks share.
 *
 * A check says at least one thing: doctor_say() begins a finding, doctor_means() and doctor_fix() add to it. What a repair
 * could mend is offered with doctor_offer_*(); the runner carries it out and runs the check again.
 */
#ifndef DAEMON_DOCTOR_INTERNAL_H
#define DAEMON_DOCTOR_INTERNAL_H

#include <limits.h>
#include <sys/types.h>

#include "base/file.h"
#include "base/text.h"
#include "daemon/doctor.h"
#include "base/home.h"
#include "daemon/home.h"
#include "store/store.h"
#include "trust/keyfile.h"
#include "trust/pins.h"

#define DOCTOR_REPAIRS_MAX 64
#define DOCTOR_WORD_MAX (4 * PATH_MAX + 8)

enum doctor_state { DOCTOR_OK, DOCTOR_SKIPPED, DOCTOR_WARNING, DOCTOR_FAILURE };

struct repair {
	bool remove;                   /* else: its mode becomes `mode` */
	mode_t mode;
	char path[PATH_MAX];
};

struct doctor {
	const char *home;
	char home_word[DOCTOR_WORD_MAX]; /* for a shell */
	struct bytes passphrase;
	struct env env;
	bool fix, dry_run;
	uint64_t queue_age_ms;
	const char *link;
	const json_t *status, *audit, *queue; /* NULL: no daemon answered */

	/* Found out on the way; later checks stand on it. */
	bool has_home, read_only;      /* the file system of the folder */
	uid_t owner;
	int lock;                      /* we hold it: nobody else works here; else -1 */
	bool locked_by_other;
	bool has_keys, keys_open;      /* there is a key file; it may be read by others */
	struct keyfile_info key;
	bool key_known;
	struct keyring *keyring;       /* NULL: not opened */
	const char *no_key;            /* why */
	/* As the files say; a running daemon may have been told otherwise. */
	bool listen;
	unsigned port;

	json_t *checks, *repairs, *item;
	enum doctor_state worst;
	const struct doctor_check *now;
	struct repair offers[DOCTOR_REPAIRS_MAX];
	size_t offer_count;
};

struct doctor_check {
	const char *name, *about;
	void (*run)(struct doctor *d);
};

void doctor_say(struct doctor *d, enum doctor_state s, const char *fmt, ...) PRINTF_LIKE(3, 4);
void doctor_means(struct doctor *d, const char *fmt, ...) PRINTF_LIKE(2, 3);
void doctor_fix(struct doctor *d, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* What a fault says: what, means, and its `next` as the fix unless `fix` says another one. */
void doctor_fault(struct doctor *d, enum doctor_state s, const struct fault *f, const char *fix);
void doctor_offer_mode(struct doctor *d, const char *path, mode_t mode);
void doctor_offer_removal(struct doctor *d, const char *path);

/* <home>/name; false when that is too long. */
bool doctor_path(const struct doctor *d, const char *name, char out[static PATH_MAX]);
/* The same as a word for a shell. */
const char *doctor_word(const struct doctor *d, const char *name, char out[static DOCTOR_WORD_MAX]);
/* Whether the file is there, and nobody else may touch it: else `permissions` has said what is wrong with it. */
bool doctor_readable(const struct doctor *d, const char *name);
static inline uint64_t doctor_ms(const json_t *o, const char *key)
{
	int64_t v = 0;

	return json_get_int(o, key, 0, INT64_MAX, &v) == ERR_OK ? (uint64_t)v : 0;
}
/* A whole file of /proc or /etc as text: false when it cannot be read. At most `b->max` bytes are kept. */
bool doctor_slurp(const char *path, struct buf *b);
/* "host:port" of status.listen, the i-th; the port. false past the end. */
bool doctor_listens(const struct doctor *d, size_t i, char host[static 256], unsigned *port);

void doctor_home(struct doctor *d);
void doctor_permissions(struct doctor *d);
void doctor_key(struct doctor *d);
void doctor_trust(struct doctor *d);
void doctor_database(struct doctor *d);
void doctor_disk(struct doctor *d);
void doctor_audit(struct doctor *d);
void doctor_certificate(struct doctor *d);
void doctor_leftovers(struct doctor *d);
void doctor_configuration(struct doctor *d);
void doctor_daemon(struct doctor *d);
void doctor_version(struct doctor *d);
void doctor_clock(struct doctor *d);
void doctor_ports(struct doctor *d);
void doctor_firewall(struct doctor *d);
void doctor_multicast(struct doctor *d);
void doctor_avahi(struct doctor *d);
void doctor_memory(struct doctor *d);
void doctor_descriptors(struct doctor *d);
void doctor_walls(struct doctor *d);
void doctor_mesh(struct doctor *d);
void doctor_alarms(struct doctor *d);
void doctor_queue(struct doctor *d);
void doctor_backup(struct doctor *d);

#endif
