/* The owner: start in order, run, close upside down. */
#include "daemon/app_internal.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "daemon/home.h"
#include "daemon/notify.h"

#define DESCRIPTORS 65536

static const int signal_numbers[SIGNALS] = { SIGTERM, SIGINT, SIGHUP };

/* What went wrong is in the log and in `status`. */
static void hang_up(struct app *a)
{
	struct fault f = { 0 }; /* `status` quotes it */
	json_t *report = NULL;

	if (!a->stopping && app_reload(a, &report, &f) == ERR_OK)
		json_decref(report);
}

static void on_signal(uv_signal_t *s, int number)
{
	struct app *a = s->data;

	if (number == SIGHUP) {
		hang_up(a);
		return;
	}
	log_info("signal number=%d", number);
	if (a->stopping) {
		log_flush();
		_exit(128 + number);
	}
	app_stop(a);
}

static void watch_signals(struct app *a)
{
	for (int i = 0; i < SIGNALS; i++) {
		uv_signal_init(&a->loop.uv, &a->signals[i]);
		a->signals[i].data = a;
		uv_signal_start(&a->signals[i], on_signal, signal_numbers[i]);
	}
	a->has_signals = true;
}

/* With --json: one line on stdout, for whoever started us and waits. */
static void print_ready(const struct app *a)
{
	if (!a->c->json)
		return;
	json_t *v = json_pack("{s:s, s:s, s:s, s:s, s:s}", "schema", "ironmesh.ready/1", "name", a->key.name, "id",
			      keyring_id(a->key.keyring)->hex, "listen", a->commands.info.listen[0], "home",
			      a->home);
	struct buf b;

	buf_init(&b, 16384);
	if (json_write(&b, v, JSON_INSERTION) == ERR_OK) {
		printf("%s\n", buf_cstr(&b));
		fflush(stdout);
	}
	buf_fini(&b);
	json_decref(v);
}

static void say_ready(struct app *a)
{
	json_t *details = json_pack("{s:s, s:s, s:i}", "name", a->key.name, "node_id",
				    keyring_id(a->key.keyring)->hex, "port", (int)a->port);
	char status[200];

	audit_event(a->audit, "STARTUP", (struct bytes){ 0 }, details);
	if (a->c->strict_tls)
		audit_event(a->audit, "STRICT_TLS_ENABLED", (struct bytes){ 0 }, NULL);
	app_flush_audit(a);
	a->running = true;
	log_info("ready name=%s id=%s listen=%s home=%s version=%s", a->key.name, keyring_id(a->key.keyring)->hex,
		 a->commands.info.listen[0][0] ? a->commands.info.listen[0] : "-", a->home, IRONMESH_VERSION);
	snprintf(status, sizeof(status), "READY=1\nSTATUS=%s, port %u", a->key.name, a->port);
	notify_manager(status);
	print_ready(a);
}

static enum err start(struct app *a, struct fault *f)
{
	enum err e = handed_take(&a->handed, f);

	if (e == ERR_OK)
		e = dir_ensure_private(a->home, f);
	if (e == ERR_OK)
		e = home_lock(a->home, &a->lock, f);
	if (e == ERR_OK)
		e = app_open_state(a, f);
	if (e == ERR_OK && a->unlock.without)
		e = app_without_passphrase(a, f);
	if (e == ERR_OK)
		e = app_open_node(a, f);
	if (e != ERR_OK)
		return e;
	app_warn_of_choices(a);
	pairing_on_credential(a->node, app_credential_came, a);
	e = app_open_ws(a, f);
	if (e == ERR_OK)
		e = app_open_control(a, f);
	if (e == ERR_OK)
		e = backups_new(&a->loop.uv, &a->commands, a->c, &a->backups, f);
	a->commands.info.backups = a->backups;
	if (e == ERR_OK)
		e = app_open_http(a, f);
	if (e == ERR_OK)
		e = app_raise_walls(a, f);
	if (e != ERR_OK)
		return e;
	app_warn_of_walls(a);
	if (a->keyproc)
		keyproc_watch(a->keyproc, &a->loop.uv);
	app_open_lan(a);
	watch_signals(a);
	app_start_mesh_key(a);
	say_ready(a);
	app_housekeeping(a);
	backups_start(a->backups);
	node_dial_all(a->node);
	return ERR_OK;
}

static void more_descriptors(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) != 0 || l.rlim_cur >= DESCRIPTORS)
		return;
	l.rlim_cur = l.rlim_max < DESCRIPTORS ? l.rlim_max : DESCRIPTORS;
	(void)!setrlimit(RLIMIT_NOFILE, &l);
}

/* Upside down. Nothing is on the loop any more. */
static void close_all(struct app *a)
{
	http_free(a->http);
	lan_free(a->lan);
	node_free(a->node);
	brakes_free(a->commands.brakes);
	backups_free(a->backups);
	tp_free(a->ws);
	views_close(&a->commands);
	events_free(a->events);
	audit_close(a->audit);
	pins_free(a->pins);
	store_close(a->store);
	ownkey_close(&a->key);
	unlock_fini(&a->unlock);
	walls_free(a->walls);
	keyproc_end(a->keyproc);
	reload_fini(&a->reload);
	if (a->has_loop)
		loop_fini(&a->loop);
	if (a->lock >= 0)
		close(a->lock);
}

enum err app_run(const char *home, struct run_config *c, const struct config_sources *from, struct fault *f)
{
	struct app *a = calloc(1, sizeof *a);
	enum err e = a ? secret_init_library() : ERR_NOMEM;

	/* Before there is a loop, a thread or a secret. */
	if (e == ERR_OK && c->walls != WALLS_OFF && keyproc_start(&a->keyproc, f) != ERR_OK) {
		e = f->err;
		free(a);
		return e;
	}
	if (e == ERR_OK)
		e = loop_init(&a->loop, app_turn, a);
	if (e != ERR_OK) {
		if (a)
			keyproc_end(a->keyproc);
		free(a);
		return fault_set(f, e, EXIT_GENERIC, "the daemon cannot start: %s", err_word(e));
	}
	a->has_loop = true;
	a->c = c;
	a->home = home;
	a->lock = -1;
	a->handed = (struct handed){ -1, -1 };
	a->mesh.state = "off";
	snprintf(a->mesh_name, sizeof a->mesh_name, "%s", c->mesh);
	a->passgen = c->passgen;
	app_reload_init(a, from);
	app_open_init(a);
	app_turn_init(a);
	app_stop_init(a);
	signal(SIGPIPE, SIG_IGN);
	more_descriptors();
	e = start(a, f);
	if (e != ERR_OK)
		app_stop(a);
	loop_run(&a->loop);
	if (a->running)
		log_info("stopped");
	close_all(a);
	free(a);
	return e;
}
