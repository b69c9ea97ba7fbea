/* backup.* */
#include "daemon/backups.h"
#include "daemon/commands_internal.h"

enum err command_backup_snapshot(struct call *c)
{
	return backups_snapshot(c->cx->info.backups, c);
}

enum err command_backup_release(struct call *c)
{
	return backups_release(c->cx->info.backups, c);
}

enum err command_backup_now(struct call *c)
{
	return backups_now(c->cx->info.backups, c);
}

enum err command_backup_list(struct call *c)
{
	return result_is(c, backups_list_json(c->cx->info.backups, c->cx->home));
}
