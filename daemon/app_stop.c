/* The end: everything that talks ends, then what is left is written. */
#include "daemon/app_internal.h"

#include <unistd.h>

#include "base/log.h"
#include "daemon/notify.h"

#define STOP_MS 15000

static void end_audit(struct app *a)
{
	json_t *details;

	if (!a->running)
		return;
	details = json_pack("{s:s, s:s}", "name", a->key.name, "node_id", keyring_id(a->key.keyring)->hex);
	audit_event(a->audit, "SHUTDOWN", (struct bytes){ 0 }, details);
	a->audit_again_ms = 0;
	app_flush_audit(a);
	if (audit_checkpoint(a->audit) != ERR_OK)
		log_error("audit-head-not-written");
}

/* What a group still waits for, a look at the input or company, does not come any more. */
static void write_last(struct app *a)
{
	for (int i = 0; i < APP_TURNS_MAX && node_wants_turn(a->node); i++)
		node_turn(a->node);
	if (node_commit(a->node) != ERR_OK)
		log_error("last-group-not-written");
	app_flush_pins(a);
}

/* Everything that talks has ended: write what is left, let the loop run out. */
void app_try_end(struct app *a)
{
	if (!a->stopping || a->left || a->working || a->mesh.working || backups_busy(a->backups))
		return;
	if (a->node) {
		write_last(a);
		end_audit(a);
	}
	app_turn_end(a);
	timer_stop(env_of(a), &a->endpoints_timer);
	timer_stop(env_of(a), &a->soon_timer);
	timer_stop(env_of(a), &a->late_timer);
	if (a->has_signals)
		for (int i = 0; i < SIGNALS; i++)
			uv_close((uv_handle_t *)&a->signals[i], NULL);
	keyproc_unwatch(a->keyproc);
	loop_stop(&a->loop);
}

static void one_ended(void *ctx)
{
	struct app *a = ctx;

	a->left--;
	app_try_end(a);
}

static void stop_late(void *ctx)
{
	struct app *a = ctx;

	log_error("stop-timeout after_ms=%d", STOP_MS);
	write_last(a);
	end_audit(a);
	_exit(EXIT_GENERIC);
}

static void backup_idle(void *ctx)
{
	app_try_end(ctx);
}

void app_stop(struct app *a)
{
	if (a->stopping)
		return;
	a->stopping = true;
	meshkey_stop(&a->mesh);
	backups_stop(a->backups, backup_idle, a);
	if (a->running) {
		notify_manager("STOPPING=1");
		log_info("stopping");
		timer_in(env_of(a), &a->late_timer, STOP_MS);
	}
	/* Who submitted hears what became of it before the control socket goes. */
	if (a->running && node_commit(a->node) != ERR_OK)
		log_error("last-group-not-written");
	/* One more than there are, so that none of them can be the last before all were told. */
	a->left = 1 + (a->control != NULL) + (a->http != NULL) + (a->ws != NULL) + (a->lan != NULL);
	if (a->http)
		http_stop(a->http, one_ended, a);
	if (a->control) {
		control_stop(a->control, one_ended, a);
		a->control = NULL;
	}
	if (a->lan)
		lan_stop(a->lan, one_ended, a);
	if (a->ws) {
		if (a->running)
			node_goodbye(a->node);
		tp_stop(a->ws, one_ended, a);
	}
	one_ended(a);
}

static void stop_now(void *ctx)
{
	app_stop(ctx);
}

/* From inside a command: the stop waits for a later turn, so that its answer gets out. */
void app_stop_soon(void *ctx)
{
	struct app *a = ctx;

	timer_in(env_of(a), &a->soon_timer, 0);
}

void app_stop_init(struct app *a)
{
	timer_init(&a->soon_timer, stop_now, a);
	timer_init(&a->late_timer, stop_late, a);
}
