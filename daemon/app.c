#include "daemon/app.h"

#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "daemon/control.h"
#include "daemon/endpoints.h"
#include "daemon/home.h"
#include "daemon/lan.h"
#include "daemon/loop.h"
#include "daemon/meshkey.h"
#include "daemon/notify.h"
#include "daemon/ownkey.h"
#include "daemon/pairing.h"
#include "daemon/rotation.h"
#include "daemon/unlock.h"
#include "transports/ws/ws.h"

#define TURNS_MAX 4 /* in a row, before the loop looks at its input again */
#define AUDIT_CHECKPOINT_MS 5000
#define AUDIT_AGAIN_MS 1000
#define PINS_LAZY_MS 60000
#define CHECKPOINT_AGAIN_MS 5000
#define PRUNE_MS 3600000
#define ENDPOINTS_MS 60000
#define PRUNE_BITE_MS 200
#define PRUNE_ROWS 200
#define REST_MS 5000 /* without work, after which memory is given back */
#define STOP_MS 15000
#define DESCRIPTORS 65536

enum { SIG_TERM, SIG_INT, SIG_HUP, SIGNALS };
static const int signal_numbers[SIGNALS] = { SIGTERM, SIGINT, SIGHUP };

struct app {
	const struct run_config *c;
	const char *home;
	int lock; /* -1 */
	struct unlock unlock;
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
	struct command_ctx commands;
	uint16_t port;

	uv_signal_t signals[SIGNALS];
	bool has_signals;
	struct timer audit_timer, pins_timer, prune_timer, watchdog_timer, endpoints_timer;
	struct timer rest_timer;
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

	bool running;  /* READY was said */
	bool stopping;
	unsigned left; /* of what has to end before the loop may */
};

static struct env *env_of(struct app *a)
{
	return &a->loop.env;
}

static enum err in_home(const struct app *a, const char *name, char out[static 4096], struct fault *f)
{
	if (path_join(out, 4096, a->home, name) == ERR_OK)
		return ERR_OK;
	return fault_set(f, ERR_LIMIT, EXIT_USAGE, "the name of the home folder is too long");
}

/* --- what a turn does, and what waits for a quiet moment ------------------------------------------ */

static void flush_audit(struct app *a)
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
		flush_audit(a);
	else if (audit_checkpoint(a->audit) != ERR_OK)
		timer_in(env_of(a), &a->audit_timer, AUDIT_CHECKPOINT_MS);
}

static void flush_pins(struct app *a)
{
	struct fault f = { 0 };

	if (pins_dirty(a->pins) && pins_flush(a->pins, &f) != ERR_OK)
		log_error("trust-store-not-written what=\"%s\"", f.what);
}

static void pins_due(void *ctx)
{
	flush_pins(ctx);
}

static void checkpoint_work(uv_work_t *w)
{
	struct app *a = w->data;

	a->work_err = store_checkpoint(a->store);
}

static void try_end(struct app *a);

static void checkpoint_done(uv_work_t *w, int status)
{
	struct app *a = w->data;

	a->working = false;
	if (a->work_err == ERR_STORE)
		a->checkpoint_again_ms = env_now(env_of(a)) + CHECKPOINT_AGAIN_MS;
	try_end(a);
}

/* The WAL is copied back on libuv's pool while the loop goes on committing. */
static void checkpoint_store(struct app *a)
{
	if (a->working || a->stopping || !store_checkpoint_due(a->store) ||
	    env_now(env_of(a)) < a->checkpoint_again_ms)
		return;
	a->work.data = a;
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

static void watchdog_due(void *ctx)
{
	struct app *a = ctx;

	notify_manager("WATCHDOG=1");
	timer_in(env_of(a), &a->watchdog_timer, notify_watchdog_ms());
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
static bool turn(void *ctx)
{
	struct app *a = ctx;

	if (!a->node)
		return false;
	if (node_wants_turn(a->node))
		rest_later(a);
	for (int i = 0; i < TURNS_MAX && node_wants_turn(a->node); i++) {
		node_turn(a->node);
		if (node_group_waits(a->node))
			break;
	}
	flush_audit(a);
	if (pins_dirty(a->pins) && !timer_armed(&a->pins_timer) && !pins_read_only(a->pins, NULL))
		timer_in(env_of(a), &a->pins_timer, PINS_LAZY_MS);
	checkpoint_store(a);
	return node_wants_turn(a->node);
}

/* --- the end ---------------------------------------------------------------------------------------- */

static void end_audit(struct app *a)
{
	json_t *details;

	if (!a->running)
		return;
	details = json_pack("{s:s, s:s}", "name", a->key.name, "node_id", keyring_id(a->key.keyring)->hex);
	audit_event(a->audit, "SHUTDOWN", (struct bytes){ 0 }, details);
	a->audit_again_ms = 0;
	flush_audit(a);
	if (audit_checkpoint(a->audit) != ERR_OK)
		log_error("audit-head-not-written");
}

/* What a group still waits for, a look at the input or company, does not come any more. */
static void write_last(struct app *a)
{
	for (int i = 0; i < TURNS_MAX && node_wants_turn(a->node); i++)
		node_turn(a->node);
	if (node_commit(a->node) != ERR_OK)
		log_error("last-group-not-written");
	flush_pins(a);
}

/* Everything that talks has ended: write what is left, let the loop run out. */
static void try_end(struct app *a)
{
	struct timer *timers[] = { &a->audit_timer, &a->pins_timer, &a->prune_timer, &a->watchdog_timer, &a->endpoints_timer,
				   &a->rest_timer, &a->soon_timer, &a->late_timer };

	if (!a->stopping || a->left || a->working || a->mesh.working)
		return;
	if (a->node) {
		write_last(a);
		end_audit(a);
	}
	for (size_t i = 0; i < sizeof(timers) / sizeof(timers[0]); i++)
		timer_stop(env_of(a), timers[i]);
	if (a->has_signals)
		for (int i = 0; i < SIGNALS; i++)
			uv_close((uv_handle_t *)&a->signals[i], NULL);
	loop_stop(&a->loop);
}

static void one_ended(void *ctx)
{
	struct app *a = ctx;

	a->left--;
	try_end(a);
}

static void stop_late(void *ctx)
{
	struct app *a = ctx;

	log_error("stop-timeout after_ms=%d", STOP_MS);
	write_last(a);
	end_audit(a);
	_exit(EXIT_GENERIC);
}

static void stop(struct app *a)
{
	if (a->stopping)
		return;
	a->stopping = true;
	meshkey_stop(&a->mesh);
	if (a->running) {
		notify_manager("STOPPING=1");
		log_info("stopping");
		timer_in(env_of(a), &a->late_timer, STOP_MS);
	}
	/* Who submitted hears what became of it before the control socket goes. */
	if (a->running && node_commit(a->node) != ERR_OK)
		log_error("last-group-not-written");
	/* One more than there are, so that none of them can be the last before all were told. */
	a->left = 1 + (a->control != NULL) + (a->ws != NULL) + (a->lan != NULL);
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
	stop(ctx);
}

/* From inside a command: the stop waits for a later turn, so that its answer gets out. */
static void stop_soon(void *ctx)
{
	struct app *a = ctx;

	timer_in(env_of(a), &a->soon_timer, 0);
}

static void on_signal(uv_signal_t *s, int number)
{
	struct app *a = s->data;

	if (number == SIGHUP) {
		log_info("hangup what=%s", "there is nothing to reload");
		return;
	}
	log_info("signal number=%d", number);
	if (a->stopping) {
		log_flush();
		_exit(128 + number);
	}
	stop(a);
}

/* --- the start ---------------------------------------------------------------------------------------- */

static char *warn(struct app *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* For the log now, and for `status` as long as we run, or until the first byte of what it returns is zero. NULL: no room. */
static char *warn(struct app *a, const char *fmt, ...)
{
	struct app_info *info = &a->commands.info;
	char text[sizeof(info->warnings[0])];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_warn("warning what=\"%s\"", text);
	for (size_t i = 0; i < sizeof(info->warnings) / sizeof(info->warnings[0]); i++)
		if (!info->warnings[i][0]) {
			memcpy(info->warnings[i], text, sizeof(text));
			return info->warnings[i];
		}
	return NULL;
}

static void warn_of_choices(struct app *a)
{
	const struct run_config *c = a->c;
	const char *why;

	if (pins_read_only(a->pins, &why)) {
		log_error("TRUST-STORE-READ-ONLY why=\"%s\"", why);
		warn(a, "the trust store is read-only, nobody is admitted: %.160s", why);
	}
	if (!a->key.info.encrypted)
		warn(a, "the key of this node is stored without encryption: who can read keys.json is this node");
	if (!secret_memory_lockable())
		warn(a, "keys cannot be locked into memory (ulimit -l); they may reach the swap");
	if (a->unlock.from_environment)
		warn(a, "the passphrase came from the environment, where other programs of this user see it");
	if (c->no_passphrase && !a->unlock.mesh.n && !node_has_mesh_key(a->node))
		a->no_key_warning = warn(a, "this node has no key of a mesh, and meets nobody yet: ironmesh pair CODE, with the code "
					    "that `ironmesh pair` shows on a machine of the mesh");
	if (c->policy.trust_on_first_use)
		warn(a, "trust on first use: whoever knows the passphrase first is trusted without a person");
	if (c->open_discovery && c->discovery != SCOPE_OFF)
		warn(a, "open discovery: whoever announces itself on this network is dialled, known or not (--open-discovery)");
	if (c->allow_plaintext)
		warn(a, "plain ws:// is allowed: who listens on the wire sees who talks to whom, and when");
	if (c->connect_rate == 0)
		warn(a, "no limit on connections per source");
	if (c->policy.im2 == IM2_OFF)
		warn(a, "im2 is off: whoever listens on the wire can guess at the passphrase of the mesh");
}

static enum err open_store(struct app *a, struct fault *f)
{
	struct store_config sc = { .env = env_of(a) };
	struct secret wrap = { 0 };
	char path[4096];
	enum err e = in_home(a, HOME_STORE, path, f);

	if (e != ERR_OK)
		return e;
	e = keyring_derive(a->key.keyring, DERIVE_DB_WRAP, &wrap);
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "no memory for the key of the database");
	sc.path = path;
	sc.wrap_key = secret_bytes(&wrap);
	e = store_open(&sc, &a->store, f);
	secret_free(&wrap);
	return e;
}

/* Keys and what hangs on them. */
static enum err open_state(struct app *a, struct fault *f)
{
	char path[4096];
	enum err e = in_home(a, HOME_KEYS, path, f);
	bool fresh = e == ERR_OK && access(path, F_OK) != 0;

	if (e == ERR_OK)
		e = unlock_find(a->c, a->home, fresh, &a->unlock, f);
	if (e == ERR_OK)
		e = ownkey_open(path, unlock_key(&a->unlock), a->c->name, a->c->clear_keys, env_of(a), &a->key, f);
	if (e == ERR_OK)
		e = rotation_finish(a->home, a->key.keyring, env_of(a), f);
	if (e == ERR_OK)
		e = in_home(a, HOME_PINS, path, f);
	if (e == ERR_OK)
		e = pins_load(path, a->key.keyring, env_of(a), &a->pins, f);
	if (e == ERR_OK)
		e = in_home(a, HOME_AUDIT, path, f);
	if (e == ERR_OK)
		e = audit_open(path, a->key.keyring, env_of(a), &a->audit, f);
	if (e == ERR_OK)
		e = open_store(a, f);
	return e;
}

/* ERR_NOTFOUND: no pairing has brought one. */
static enum err paired_passphrase(struct app *a)
{
	struct pairing_passphrase p;
	enum err e = pairing_passphrase(a->store, &p);

	if (e != ERR_OK)
		return e;
	a->unlock.mesh = p.words;
	a->passgen = p.passgen;
	if (p.mesh[0])
		memcpy(a->mesh_name, p.mesh, sizeof p.mesh);
	return ERR_OK;
}

/* Started without a passphrase: an earlier pairing may have brought it. Else the old wire, which asks for it, is off. */
static enum err without_passphrase(struct app *a, struct fault *f)
{
	enum err e = paired_passphrase(a);

	if (e == ERR_NOTFOUND)
		((struct policy *)&a->c->policy)->im2 = IM2_REQUIRE;
	else if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "the passphrase that a pairing brought cannot be read");
	return ERR_OK;
}

static enum err open_node(struct app *a, struct fault *f)
{
	const struct run_config *c = a->c;
	struct node_config nc = {
		.passphrase = c->policy.im2 == IM2_REQUIRE ? bytes_of(NULL, 0) : secret_bytes(&a->unlock.mesh),
		.min_version = c->policy.min_version,
		.rekey_ms = c->rekey_ms,
		.seal_direct = true, /* only peers of the old software; wire 3.7 */
		.handshake_ms = 5000,
		.past_ms = 30000,
		.future_ms = 5000,
		.im2_pad = c->pad,
		.mesh = a->mesh_name,
		.no_mesh_key = !a->unlock.mesh.n,
		.routing = c->routing,
		.seal_refuse = c->seal_refuse,
		.no_seal_pad = c->no_seal_pad,
		.im2_sign_always = c->sign_always,
		.tls_binding = c->tls_binding,
		.rotate_keeps_verified = c->rotate_keeps_verified,
		.cap_change_holds = c->cap_change_holds,
		.revoke_quorum = c->admins.quorum,
		.revoke_admins = c->admins.n ? (const uint8_t(*)[ED_BYTES])c->admins.ed : NULL,
		.revoke_admins_n = c->admins.n,
		.discovery = c->discovery,
		.open_discovery = c->open_discovery,
		.policy = (struct policy *)&c->policy,
		.limits.connects_per_s = c->connect_rate,
		.limits.strangers_per_s = c->connect_rate == 0 ? -1 : 0,
	};
	struct node_parts parts = { .env = env_of(a), .keyring = a->key.keyring, .pins = a->pins,
				    .store = a->store, .audit = a->audit };
	enum err e;

	snprintf(nc.name, sizeof(nc.name), "%s", a->key.name);
	e = node_new(&nc, &parts, &a->node);
	if (e == ERR_OK)
		e = events_new(env_of(a), &a->events);
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "no memory for the node");
	node_observe(a->node, events_observe, a->events);
	return ERR_OK;
}

static enum err open_ws(struct app *a, struct fault *f)
{
	char cert[4096], key[4096];
	const struct run_config *c = a->c;
	struct ws_config wc = {
		.loop = &a->loop.uv,
		.bind = c->bind,
		.port = c->port,
		.allow_plaintext = c->allow_plaintext,
		/* Below it nothing binds, and who ends TLS in between could choose that. */
		.tls13 = c->tls_binding,
		.strict_tls = c->strict_tls,
		.pinned_ca = c->pinned_ca,
	};
	struct transport_sink sink = node_sink(a->node);
	enum err e = ERR_OK;

	if (c->bind) {
		e = in_home(a, "cert.pem", cert, f);
		if (e == ERR_OK)
			e = in_home(a, "key.pem", key, f);
		if (e == ERR_OK)
			e = tls_ensure(cert, key, a->key.name, f);
		wc.cert_path = cert;
		wc.key_path = key;
	}
	if (e == ERR_OK)
		e = ws_new(&wc, &sink, &a->ws, f);
	if (e != ERR_OK)
		return e;
	a->port = c->bind ? ws_port(a->ws) : 0;
	node_attach(a->node, a->ws);
	for (size_t i = 0; e == ERR_OK && i < c->peer_count; i++)
		e = node_add_target(a->node, c->peers[i], f);
	return e;
}

/* What our card says of where we listen; a machine moves from one network to another. */
static void endpoints_due(void *ctx)
{
	struct app *a = ctx;
	char list[ENDPOINTS_MAX][ENDPOINT_LEN];

	node_set_endpoints(a->node, (const char(*)[ENDPOINT_LEN])list, endpoints_now(a->c->bind, a->port, list));
	timer_in(env_of(a), &a->endpoints_timer, ENDPOINTS_MS);
}

/* Without it the node is as good, but for what it does not find. */
static void open_lan(struct app *a)
{
	struct lan_config lc = { .loop = &a->loop.uv, .env = env_of(a), .node = a->node, .events = a->events,
				 .scope = a->c->discovery, .bind = a->c->bind, .port = a->port };
	enum err e;

	if (a->c->discovery == SCOPE_OFF)
		return;
	if (a->c->bind)
		endpoints_due(a);
	e = lan_new(&lc, &a->lan);
	if (e != ERR_OK)
		log_warn("discovery-failed err=%s", err_word(e));
	a->commands.info.lan = a->lan;
}

static enum err open_control(struct app *a, struct fault *f)
{
	struct control_config cc = { .loop = &a->loop.uv, .home = a->home, .commands = &a->commands };
	struct app_info *info = &a->commands.info;
	bool v6 = a->c->bind && strchr(a->c->bind, ':');

	a->commands = (struct command_ctx){
		.node = a->node,
		.events = a->events,
		.env = env_of(a),
		.keyring = a->key.keyring,
		.pins = a->pins,
		.store = a->store,
		.audit = a->audit,
		.home = a->home,
		.name = a->key.name,
		.info = *info,
		.stop = stop_soon,
		.stop_ctx = a,
	};
	if (a->key.info.encrypted)
		a->commands.key_passphrase = unlock_key(&a->unlock);
	info->started_ms = env_now(env_of(a));
	info->plaintext = a->c->allow_plaintext;
	info->trust_on_first_use = a->c->policy.trust_on_first_use;
	info->policy = &a->c->policy;
	info->mesh = a->mesh_name;
	info->mesh_key = &a->mesh.state;
	info->im2_pad = a->c->pad;
	info->im2_sign_always = a->c->sign_always;
	info->tls_binding = a->c->tls_binding;
	info->admins = &a->c->admins;
	if (a->c->bind)
		snprintf(info->listen[0], sizeof(info->listen[0]), v6 ? "[%s]:%u" : "%s:%u", a->c->bind, a->port);
	return control_new(&cc, &a->control, f);
}

static enum err take_mesh_key(void *ctx, struct bytes key)
{
	struct app *a = ctx;
	enum err e = node_mesh_key(a->node, a->passgen, key);

	/* Without the old wire nothing asks for the words again, unless the key file is written anew with them. */
	if (e == ERR_OK && a->c->policy.im2 == IM2_REQUIRE && !(a->key.info.encrypted && a->unlock.key_is_mesh)) {
		a->mesh.passphrase = bytes_of(NULL, 0);
		secret_free(&a->unlock.mesh);
	}
	return e;
}

static void mesh_key_idle(void *ctx)
{
	try_end(ctx);
}

static void start_mesh_key(struct app *a)
{
	if (a->c->policy.im2 == IM2_OFF)
		return;
	if (!a->unlock.mesh.n) {
		a->mesh.state = "none";
		return;
	}
	a->mesh = (struct meshkey){ .env = env_of(a), .loop = &a->loop.uv, .mesh = a->mesh_name, .take = take_mesh_key,
				    .idle = mesh_key_idle, .ctx = a,
				    .passphrase = secret_bytes(&a->unlock.mesh) };
	meshkey_start(&a->mesh);
}

/* What a pairing brought is on disk; a key is in use. */
static void credential_came(void *ctx, bool passphrase)
{
	struct app *a = ctx;

	if (a->no_key_warning)
		a->no_key_warning[0] = '\0';
	a->no_key_warning = NULL;
	if (!passphrase || a->unlock.mesh.n || a->stopping)
		return;
	if (paired_passphrase(a) == ERR_OK)
		start_mesh_key(a);
	else
		log_error("paired-passphrase-not-read");
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
	flush_audit(a);
	a->running = true;
	log_info("ready name=%s id=%s listen=%s home=%s version=%s", a->key.name, keyring_id(a->key.keyring)->hex,
		 a->commands.info.listen[0][0] ? a->commands.info.listen[0] : "-", a->home, IRONMESH_VERSION);
	snprintf(status, sizeof(status), "READY=1\nSTATUS=%s, port %u", a->key.name, a->port);
	notify_manager(status);
	print_ready(a);
	if (notify_watchdog_ms())
		watchdog_due(a);
}

static enum err start(struct app *a, struct fault *f)
{
	enum err e = dir_ensure_private(a->home, f);

	if (e == ERR_OK)
		e = home_lock(a->home, &a->lock, f);
	if (e == ERR_OK)
		e = open_state(a, f);
	if (e == ERR_OK && a->c->no_passphrase)
		e = without_passphrase(a, f);
	if (e == ERR_OK)
		e = open_node(a, f);
	if (e != ERR_OK)
		return e;
	warn_of_choices(a);
	pairing_on_credential(a->node, credential_came, a);
	e = open_ws(a, f);
	if (e == ERR_OK)
		e = open_control(a, f);
	if (e != ERR_OK)
		return e;
	open_lan(a);
	watch_signals(a);
	start_mesh_key(a);
	timer_in(env_of(a), &a->prune_timer, PRUNE_BITE_MS);
	say_ready(a);
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
	lan_free(a->lan);
	node_free(a->node);
	brakes_free(a->commands.brakes);
	tp_free(a->ws);
	events_free(a->events);
	audit_close(a->audit);
	pins_free(a->pins);
	store_close(a->store);
	ownkey_close(&a->key);
	unlock_fini(&a->unlock);
	if (a->has_loop)
		loop_fini(&a->loop);
	if (a->lock >= 0)
		close(a->lock);
}

enum err app_run(const char *home, const struct run_config *c, struct fault *f)
{
	struct app *a = calloc(1, sizeof *a);
	enum err e = a ? secret_init_library() : ERR_NOMEM;

	if (e == ERR_OK)
		e = loop_init(&a->loop, turn, a);
	if (e != ERR_OK) {
		free(a);
		return fault_set(f, e, EXIT_GENERIC, "the daemon cannot start: %s", err_word(e));
	}
	a->has_loop = true;
	a->c = c;
	a->home = home;
	a->lock = -1;
	a->mesh.state = "off";
	snprintf(a->mesh_name, sizeof a->mesh_name, "%s", c->mesh);
	a->passgen = c->passgen;
	timer_init(&a->audit_timer, audit_due, a);
	timer_init(&a->pins_timer, pins_due, a);
	timer_init(&a->prune_timer, prune_due, a);
	timer_init(&a->endpoints_timer, endpoints_due, a);
	timer_init(&a->watchdog_timer, watchdog_due, a);
	timer_init(&a->rest_timer, rest_due, a);
	timer_init(&a->soon_timer, stop_now, a);
	timer_init(&a->late_timer, stop_late, a);
	signal(SIGPIPE, SIG_IGN);
	more_descriptors();
	e = start(a, f);
	if (e != ERR_OK)
		stop(a);
	loop_run(&a->loop);
	if (a->running)
		log_info("stopped");
	close_all(a);
	free(a);
	return e;
}
