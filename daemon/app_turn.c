/* What a turn does, and what waits for a quiet moment. */
#include "daemon/app_internal.h"

#include <inttypes.h>
#include <malloc.h>

#include "base/log.h"
#include "daemon/notify.h"

#define AUDIT_CHECKPOINT_MS 5000
#define AUDIT_AGAIN_MS 1000
#define PINS_LAZY_MS 60000
#define CHECKPOINT_AGAIN_MS 5000
#define PRUNE_MS 3600000
#define PRUNE_BITE_MS 200
#define PRUNE_ROWS 200
#define HUNG_MS 60000
#define STATUS_MS 5000
#define REST_MS 5000 /* without work, after which memory is given back */

void app_flush_audit(struct app *a)
{
	uint64_t now = env_now(env_of(a));

	if (!audit_pending(a->audit) || now < a->audit_again_ms)
		return;
	if (audit_flush(a->audit) != ERR_OK) {
		if (!a->audit_again_ms)
			log_error("audit-not-written what=%s", "entries are kept in memory and tried again");
		a->audit_again_ms = now + AUDIT_AGAIN_MS;
		timer_in(env_of(a), &a->audit_timer, AUDIT_AGAIN_MS);
		return;
	}
	if (a->audit_again_ms)
		log_info("audit-written-again");
	a->audit_again_ms = 0;
	if (!timer_armed(&a->audit_timer))
		timer_in(env_of(a), &a->audit_timer, AUDIT_CHECKPOINT_MS);
}

static void audit_due(void *ctx)
{
	struct app *a = ctx;

	if (a->audit_again_ms)
		app_flush_audit(a);
	else if (audit_checkpoint(a->audit) != ERR_OK)
		timer_in(env_of(a), &a->audit_timer, AUDIT_CHECKPOINT_MS);
}

void app_flush_pins(struct app *a)
{
	struct fault f = { 0 };

	if (pins_dirty(a->pins) && pins_flush(a->pins, &f) != ERR_OK)
		log_error("trust-store-not-written what=\"%s\"", f.what);
}

static void pins_due(void *ctx)
{
	app_flush_pins(ctx);
}

static void checkpoint_work(uv_work_t *w)
{
	struct app *a = w->data;

	a->work_err = store_checkpoint(a->store);
}

static void checkpoint_done(uv_work_t *w, int status)
{
	struct app *a = w->data;

	a->working = false;
	if (a->work_err == ERR_STORE)
		a->checkpoint_again_ms = env_now(env_of(a)) + CHECKPOINT_AGAIN_MS;
	app_try_end(a);
}

/* The WAL is copied back on libuv's pool while the loop goes on committing. */
static void checkpoint_store(struct app *a)
{
	if (a->working || a->stopping || !store_checkpoint_due(a->store) ||
	    env_now(env_of(a)) < a->checkpoint_again_ms)
		return;
	a->work.data = a;
	a->working_since_ms = env_now(env_of(a));
	a->working = uv_queue_work(&a->loop.uv, &a->work, checkpoint_work, checkpoint_done) == 0;
}

static bool is_pinned(void *ctx, const struct node_id *id)
{
	return pins_get(ctx, id) != NULL;
}

/* A transaction of its own, so only while no group of the node is open. */
static void prune_due(void *ctx)
{
	struct app *a = ctx;
	unsigned deleted = 0;
	enum err e;

	if (store_dirty(a->store)) {
		timer_in(env_of(a), &a->prune_timer, PRUNE_BITE_MS);
		return;
	}
	store_know_authors(a->store, is_pinned, a->pins);
	e = store_prune(a->store, env_wall(env_of(a)), PRUNE_ROWS, &deleted);
	if (e == ERR_OK)
		e = store_commit(a->store);
	else
		store_rollback(a->store);
	if (e != ERR_OK)
		log_warn("prune-failed err=%s", err_word(e));
	timer_in(env_of(a), &a->prune_timer, e == ERR_OK && deleted ? PRUNE_BITE_MS : PRUNE_MS);
}

/* A timer of the loop: it does not come while a commit hangs. Nor is it said when the copying back of the WAL does, on
 * its thread: then the disk does not answer, and the WAL grows. */
static void watchdog_due(void *ctx)
{
	struct app *a = ctx;

	if (!a->working || env_now(env_of(a)) - a->working_since_ms < HUNG_MS)
		notify_manager("WATCHDOG=1");
	else
		log_error("store-hangs what=\"the disk has not answered for %d s\"", HUNG_MS / 1000);
	timer_in(env_of(a), &a->watchdog_timer, notify_watchdog_ms());
}

static void status_due(void *ctx)
{
	struct app *a = ctx;
	struct store_stats st;
	char line[sizeof(a->told)];

	store_stats(a->store, &st);
	snprintf(line, sizeof(line), "STATUS=%s: %" PRIu64 " peers, %" PRIu64 " queued, %" PRIu64 " unread", a->key.name,
		 (uint64_t)node_online(a->node), st.outbox_waiting, st.inbox_unread);
	if (strcmp(line, a->told) != 0) {
		memcpy(a->told, line, sizeof(line));
		notify_manager(line);
	}
	timer_in(env_of(a), &a->status_timer, STATUS_MS);
}

/* What a burst left behind goes back when it is over. */
static void rest_due(void *ctx)
{
	struct app *a = ctx;

	if (a->busy) {
		a->busy = false;
		timer_in(env_of(a), &a->rest_timer, REST_MS);
		return;
	}
	store_rest(a->store);
	malloc_trim(0);
}

static void rest_later(struct app *a)
{
	a->busy = true;
	if (!timer_armed(&a->rest_timer))
		timer_in(env_of(a), &a->rest_timer, REST_MS);
}

/* Answers leave after this, so what they promise is on disk: the group first, then the audit log. */
bool app_turn(void *ctx)
{
	struct app *a = ctx;

	if (!a->node)
		return false;
	if (node_wants_turn(a->node))
		rest_later(a);
	for (int i = 0; i < APP_TURNS_MAX && node_wants_turn(a->node); i++) {
		node_turn(a->node);
		if (node_group_waits(a->node))
			break;
	}
	app_flush_audit(a);
	if (pins_dirty(a->pins) && !timer_armed(&a->pins_timer) && !pins_read_only(a->pins, NULL))
		timer_in(env_of(a), &a->pins_timer, PINS_LAZY_MS);
	checkpoint_store(a);
	return node_wants_turn(a->node);
}

/* --- its timers ----------------------------------------------------------------------------------- */
void app_turn_init(struct app *a)
{
	timer_init(&a->audit_timer, audit_due, a);
	timer_init(&a->pins_timer, pins_due, a);
	timer_init(&a->prune_timer, prune_due, a);
	timer_init(&a->watchdog_timer, watchdog_due, a);
	timer_init(&a->rest_timer, rest_due, a);
	timer_init(&a->status_timer, status_due, a);
}

void app_turn_end(struct app *a)
{
	struct timer *timers[] = { &a->audit_timer, &a->pins_timer, &a->prune_timer, &a->watchdog_timer, &a->rest_timer, &a->status_timer };

	for (size_t i = 0; i < sizeof(timers) / sizeof(timers[0]); i++)
		timer_stop(env_of(a), timers[i]);
}

void app_housekeeping(struct app *a)
{
	timer_in(env_of(a), &a->prune_timer, PRUNE_BITE_MS);
	if (notify_watchdog_ms())
		watchdog_due(a);
	if (notify_wanted())
		status_due(a);
}
