/*
 * app_internal.h -- what the files of the owner share: app.c runs it, app_open.c opens what it owns,
 * app_turn.c does a turn and the housekeeping between turns, app_stop.c ends it.
 */
#ifndef DAEMON_APP_INTERNAL_H
#define DAEMON_APP_INTERNAL_H

#include "daemon/app.h"
#include "daemon/backups.h"
#include "daemon/commands.h"
#include "daemon/control.h"
#include "daemon/handed.h"
#include "daemon/http.h"
#include "daemon/keyproc.h"
#include "daemon/lan.h"
#include "daemon/loop.h"
#include "daemon/meshkey.h"
#include "daemon/ownkey.h"
#include "daemon/pairing.h"
#include "daemon/reload.h"
#include "daemon/unlock.h"
#include "daemon/views.h"
#include "daemon/walls.h"
#include "transports/ws/ws.h"

#define APP_TURNS_MAX 4 /* in a row, before the loop looks at its input again */

#define APP_LIVE_WARNINGS 3

enum { SIG_TERM, SIG_INT, SIG_HUP, SIGNALS };

struct app {
	const struct run_config *c; /* keeps its address; a reload replaces what is in it */
	struct reload reload;
	const char *home;
	int lock; /* -1 */
	struct unlock unlock;
	struct keyproc *keyproc; /* NULL: the keys are in this process (--walls off) */
	struct ownkey key;
	struct loop loop;
	bool has_loop;
	struct pins *pins;
	struct audit *audit;
	struct store *store;
	struct events *events;
	struct node *node;
	struct transport *ws;
	struct lan *lan; /* NULL: discovery is off */
	struct control *control;
	struct http *http;
	struct handed handed; /* taken by whom they belong to: -1 then */
	struct command_ctx commands;
	struct backups *backups;
	struct walls *walls; /* NULL until they are raised */
	uint16_t port;

	uv_signal_t signals[SIGNALS];
	bool has_signals;
	struct timer audit_timer, pins_timer, prune_timer, watchdog_timer, endpoints_timer;
	struct timer rest_timer, status_timer;
	char told[160];           /* the line that the service manager shows */
	uint64_t working_since_ms; /* of `working` */
	bool busy; /* there was work since the last look of rest_timer */
	struct timer soon_timer, late_timer; /* of the stop: when it begins, when it is given up */
	uint64_t audit_again_ms, checkpoint_again_ms; /* not before; after a failure */
	uv_work_t work;
	bool working;
	enum err work_err;
	struct meshkey mesh;
	char mesh_name[PAIRING_MESH_MAX + 1]; /* and generation of the passphrase: as configured, or as a pairing brought it */
	uint16_t passgen;
	char *no_key_warning; /* in commands.info.warnings; NULL */
	char *live_warnings[APP_LIVE_WARNINGS]; /* likewise: of what a reload may change */

	bool running;  /* READY was said */
	bool stopping;
	unsigned left; /* of what has to end before the loop may */
};

static inline struct env *env_of(struct app *a)
{
	return &a->loop.env;
}

/* The path of a file of ours. ERR_LIMIT with fault. */
enum err app_in_home(const struct app *a, const char *name, char out[static 4096], struct fault *f) MUST_CHECK;

/* --- app_open.c: each in its turn, see app.h ------------------------------------------------------ */
enum err app_open_state(struct app *a, struct fault *f) MUST_CHECK;
enum err app_without_passphrase(struct app *a, struct fault *f) MUST_CHECK;
enum err app_open_node(struct app *a, struct fault *f) MUST_CHECK;
enum err app_open_ws(struct app *a, struct fault *f) MUST_CHECK;
enum err app_open_control(struct app *a, struct fault *f) MUST_CHECK;
enum err app_open_http(struct app *a, struct fault *f) MUST_CHECK;
void app_open_lan(struct app *a);
void app_open_init(struct app *a); /* its timer */
void app_start_mesh_key(struct app *a);
/* Of pairing: what it brought is on disk; a key is in use. */
void app_credential_came(void *app, bool passphrase);
/* Says what of the operator's choices is weak. */
void app_warn_of_choices(struct app *a);
/* For the log now, and for `status` as long as we run, or until the first byte of what it returns is zero. NULL: no room. */
char *app_warn(struct app *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* --- app_walls.c ------------------------------------------------------------------------------------ */
/* When everything is open and bound, and before the first thread. */
enum err app_raise_walls(struct app *a, struct fault *f) MUST_CHECK;
void app_warn_of_walls(struct app *a);

/* --- app_turn.c ------------------------------------------------------------------------------------ */
/* The turn of the loop; true: wants another one. */
bool app_turn(void *app);
void app_turn_init(struct app *a); /* its timers */
void app_turn_end(struct app *a);
/* The housekeeping of a daemon that is ready. */
void app_housekeeping(struct app *a);
void app_flush_audit(struct app *a);
void app_flush_pins(struct app *a);

/* --- app_stop.c ------------------------------------------------------------------------------------ */
void app_stop(struct app *a);
/* From inside a command: the stop waits for a later turn, so that its answer gets out. */
void app_stop_soon(void *app);
void app_stop_init(struct app *a); /* its timers */
/* Work off the loop has ended: goes on with a stop that waited for it. */
void app_try_end(struct app *a);

/* --- app_reload.c ---------------------------------------------------------------------------------- */
void app_reload_init(struct app *a, const struct config_sources *from);
/* Reads the settings again. ironmesh.config.reload/1, or nothing changed and the fault says why. */
enum err app_reload(void *app, json_t **out, struct fault *f) MUST_CHECK;
/* What the node takes from the settings that a reload may change. */
void app_live_config(const struct run_config *c, struct node_config *nc);
void app_warn_of_live_choices(struct app *a);

#endif
