#include "daemon/restored.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "base/secret.h"
#include "daemon/invites.h"
#include "daemon/records.h"
#include "store/kv.h"
#include "store/outbox.h"
#include "store/restore.h"

#define MARK_MAX 4096

static enum err read_mark(const char *path, uint64_t *archive_ms, struct fault *f)
{
	json_t *root = NULL;
	int64_t at = 0;
	struct buf b;
	enum err e;

	buf_init(&b, MARK_MAX);
	e = file_read_secret(path, &b, f);
	/* What it says is for people; that it is there is what counts. */
	if (e == ERR_OK && json_load_strict(buf_bytes(&b), MARK_MAX, &root) == ERR_OK &&
	    json_get_int(root, "archive_ms", 0, INT64_MAX, &at) == ERR_OK)
		*archive_ms = (uint64_t)at;
	json_decref(root);
	buf_fini(&b);
	return e;
}

static enum err new_life(struct store *s, uint64_t wall_ms, unsigned *invites)
{
	enum err e = outbox_new_eras(s);

	if (e == ERR_OK)
		e = records_new_life(s, wall_ms);
	if (e == ERR_OK)
		e = invites_close_open(s, wall_ms, invites);
	if (e != ERR_OK) {
		store_rollback(s);
		return e;
	}
	return store_commit(s);
}

enum err restored_finish(const char *home, struct store *s, struct audit *a, struct env *env, struct fault *f)
{
	char path[4096], when[RFC3339_LEN], closed[16];
	uint64_t archive_ms = 0;
	unsigned invites = 0;
	enum err e = path_join(path, sizeof path, home, RESTORED_MARK);

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "the path of the home folder is too long");
	if (access(path, F_OK) != 0 && errno == ENOENT)
		return ERR_OK;
	e = read_mark(path, &archive_ms, f);
	if (e != ERR_OK)
		return e;
	/* Without a database there is nothing that was counted. */
	if (s)
		e = new_life(s, env_wall(env), &invites);
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_RETRY, "the restored database cannot begin a new life: %s", err_word(e));
	snprintf(closed, sizeof closed, "%u", invites);
	audit_note(a, "RESTORED", (struct bytes){ 0 }, "backup_of", archive_ms ? rfc3339(archive_ms, when) : "", "invites_closed",
		   closed, NULL);
	e = audit_flush(a);
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_RETRY, "the audit log cannot be written");
	log_info("restored archive_ms=%llu invites_closed=%u", (unsigned long long)archive_ms, invites);
	if (unlink(path) != 0 || dir_fsync_of(path) != ERR_OK)
		log_warn("restored-mark-left file=%s why=%s", path, strerror(errno));
	return ERR_OK;
}
