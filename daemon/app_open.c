/* Opening what the daemon owns, in the order of app.h. */
#include "daemon/app_internal.h"

#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/endpoints.h"
#include "daemon/home.h"
#include "daemon/notify.h"
#include "daemon/restored.h"
#include "daemon/rotation.h"

#define ENDPOINTS_MS 60000

enum err app_in_home(const struct app *a, const char *name, char out[static 4096], struct fault *f)
{
	if (path_join(out, 4096, a->home, name) == ERR_OK)
		return ERR_OK;
	return fault_set(f, ERR_LIMIT, EXIT_USAGE, "the name of the home folder is too long");
}

char *app_warn(struct app *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* For the log now, and for `status` as long as we run, or until the first byte of what it returns is zero. NULL: no room. */
char *app_warn(struct app *a, const char *fmt, ...)
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

void app_warn_of_choices(struct app *a)
{
	const struct run_config *c = a->c;
	const char *why;

	if (pins_read_only(a->pins, &why)) {
		log_error("TRUST-STORE-READ-ONLY why=\"%s\"", why);
		app_warn(a, "the trust store is read-only, nobody is admitted: %.160s", why);
	}
	if (!a->key.info.encrypted)
		app_warn(a, "the key of this node is stored without encryption: who can read keys.json is this node");
	if (!secret_memory_lockable())
		app_warn(a, "keys cannot be locked into memory (ulimit -l); they may reach the swap");
	if (a->unlock.from_environment)
		app_warn(a, "the passphrase came from the environment, where other programs of this user see it");
	if (a->unlock.without && !node_has_mesh_key(a->node))
		a->no_key_warning = app_warn(a, "this node has no key of a mesh, and meets nobody yet: ironmesh pair CODE, with the code "
					    "that `ironmesh pair` shows on a machine of the mesh");
	app_warn_of_live_choices(a);
	if (c->allow_plaintext)
		app_warn(a, "plain ws:// is allowed: who listens on the wire sees who talks to whom, and when");
	if (c->http_listen && c->http_remote)
		app_warn(a, "the HTTP API listens on %s, without TLS: whoever listens on the wire has the tokens and the sessions", c->http_listen);
	if (c->http_metrics_open)
		app_warn(a, "/metrics is open to every program that reaches the HTTP port");
	if (c->policy.im2 == IM2_OFF)
		app_warn(a, "im2 is off: whoever listens on the wire can guess at the passphrase of the mesh");
}

static enum err open_store(struct app *a, struct fault *f)
{
	struct store_config sc = { .env = env_of(a), .working = notify_still_starting };
	struct secret wrap = { 0 };
	char path[4096];
	enum err e = app_in_home(a, HOME_STORE, path, f);

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

/* As configured; else the first start of a service is called as its host, without the domain. */
static const char *name_for(const struct app *a, bool fresh, char *host, size_t cap)
{
	if (a->c->name || !a->c->unattended || !fresh)
		return a->c->name;
	if (gethostname(host, cap) != 0)
		return "node";
	host[cap - 1] = '\0';
	host[strcspn(host, ".")] = '\0';
	return name_valid(bytes_str(host)) ? host : "node";
}

static enum err open_key(struct app *a, const char *path, const char *name, struct fault *f)
{
	enum err e;

	if (!a->keyproc)
		return ownkey_open(path, unlock_key(&a->unlock), name, a->c->clear_keys, env_of(a), &a->key, f);
	e = keyproc_open(a->keyproc, path, unlock_key(&a->unlock), name, a->c->clear_keys, &a->key, f);
	/* It is over there now; here nothing asks for it again. */
	secret_free(&a->unlock.key);
	return e;
}

/* Keys and what hangs on them. */
enum err app_open_state(struct app *a, struct fault *f)
{
	char path[4096], host[65];
	enum err e = app_in_home(a, HOME_KEYS, path, f);
	bool fresh = e == ERR_OK && access(path, F_OK) != 0;

	if (e == ERR_OK)
		e = unlock_find(a->c, a->home, fresh, env_of(a), &a->unlock, f);
	if (e == ERR_OK)
		e = open_key(a, path, name_for(a, fresh, host, sizeof(host)), f);
	if (e == ERR_OK)
		e = rotation_finish(a->home, a->key.keyring, env_of(a), f);
	if (e == ERR_OK)
		e = app_in_home(a, HOME_PINS, path, f);
	if (e == ERR_OK)
		e = pins_load(path, a->key.keyring, env_of(a), &a->pins, f);
	if (e == ERR_OK)
		e = app_in_home(a, HOME_AUDIT, path, f);
	if (e == ERR_OK)
		e = audit_open(path, a->key.keyring, env_of(a), &a->audit, f);
	if (e == ERR_OK)
		e = open_store(a, f);
	if (e == ERR_OK)
		e = restored_finish(a->home, a->store, a->audit, env_of(a), f);
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
enum err app_without_passphrase(struct app *a, struct fault *f)
{
	enum err e = paired_passphrase(a);

	if (e == ERR_NOTFOUND)
		((struct policy *)&a->c->policy)->im2 = IM2_REQUIRE;
	else if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "the passphrase that a pairing brought cannot be read");
	return ERR_OK;
}

enum err app_open_node(struct app *a, struct fault *f)
{
	const struct run_config *c = a->c;
	struct node_config nc = {
		.passphrase = c->policy.im2 == IM2_REQUIRE ? bytes_of(NULL, 0) : secret_bytes(&a->unlock.mesh),
		.seal_direct = true, /* only peers of the old software; wire 3.7 */
		.handshake_ms = 5000,
		.past_ms = 30000,
		.future_ms = 5000,
		.mesh = a->mesh_name,
		.no_mesh_key = !a->unlock.mesh.n,
		.routing = c->routing,
		.tls_binding = c->tls_binding,
		.discovery = c->discovery,
		.policy = (struct policy *)&c->policy,
		.limits.sessions = c->sessions,
	};
	struct node_parts parts = { .env = env_of(a), .keyring = a->key.keyring, .pins = a->pins,
				    .store = a->store, .audit = a->audit };
	enum err e;

	app_live_config(c, &nc);
	snprintf(nc.name, sizeof(nc.name), "%s", a->key.name);
	e = node_new(&nc, &parts, &a->node);
	if (e == ERR_OK)
		e = events_new(env_of(a), &a->events);
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "no memory for the node");
	node_observe(a->node, events_observe, a->events);
	return ERR_OK;
}

enum err app_open_ws(struct app *a, struct fault *f)
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

	if (a->handed.ws >= 0 && !c->bind) {
		fault_set(f, ERR_USAGE, EXIT_CONFIG, "a socket for WebSocket was handed over, and --no-listen was said");
		fault_next(f, "systemctl edit ironmesh.socket   (without that ListenStream=)");
		return ERR_USAGE;
	}
	if (a->handed.ws >= 0) {
		wc.listening = a->handed.ws;
		handed_address(a->handed.ws, a->commands.info.listen[0], sizeof(a->commands.info.listen[0]));
		a->handed.ws = -1;
	}
	if (c->bind) {
		e = app_in_home(a, "cert.pem", cert, f);
		if (e == ERR_OK)
			e = app_in_home(a, "key.pem", key, f);
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

void app_open_init(struct app *a)
{
	timer_init(&a->endpoints_timer, endpoints_due, a);
}

/* Without it the node is as good, but for what it does not find. */
void app_open_lan(struct app *a)
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

enum err app_open_control(struct app *a, struct fault *f)
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
		.key_info = &a->key.info,
		.info = *info,
		.reload = &a->reload,
		.run_reload = app_reload,
		.stop = app_stop_soon,
		.stop_ctx = a,
	};
	if (a->key.info.encrypted && !a->keyproc)
		a->commands.key_passphrase = unlock_key(&a->unlock);
	info->started_ms = env_now(env_of(a));
	info->started_wall_ms = env_wall(env_of(a));
	info->plaintext = a->c->allow_plaintext;
	info->trust_on_first_use = a->c->policy.trust_on_first_use;
	info->policy = &a->c->policy;
	info->mesh = a->mesh_name;
	info->mesh_key = &a->mesh.state;
	info->im2_pad = a->c->pad;
	info->im2_sign_always = a->c->sign_always;
	info->tls_binding = a->c->tls_binding;
	info->admins = &a->c->admins;
	if (a->handed.control >= 0) {
		cc.listening = a->handed.control;
		a->handed.control = -1;
	}
	if (a->c->bind && !info->listen[0][0])
		snprintf(info->listen[0], sizeof(info->listen[0]), v6 ? "[%s]:%u" : "%s:%u", a->c->bind, a->port);
	enum err e = views_open(&a->commands);

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "no memory for statistics");
	return control_new(&cc, &a->control, f);
}

enum err app_open_http(struct app *a, struct fault *f)
{
	const struct run_config *c = a->c;
	struct http_config hc = { .loop = &a->loop.uv, .commands = &a->commands, .names = c->http_names,
				  .metrics_open = c->http_metrics_open, .metrics_per_peer = c->http_metrics_per_peer };
	enum err e = http_new(&hc, &a->http, f);

	a->commands.http = a->http;
	if (e == ERR_OK)
		http_start(a->http, c->http_listen);
	return e;
}

static enum err take_mesh_key(void *ctx, struct bytes key)
{
	struct app *a = ctx;
	enum err e = node_mesh_key(a->node, a->passgen, key);

	/* Without the old wire nothing asks for the words again, unless the key file is written anew with them. */
	if (e == ERR_OK && a->c->policy.im2 == IM2_REQUIRE &&
	    (a->keyproc || !(a->key.info.encrypted && a->unlock.key_is_mesh))) {
		a->mesh.passphrase = bytes_of(NULL, 0);
		secret_free(&a->unlock.mesh);
	}
	return e;
}

static void mesh_key_idle(void *ctx)
{
	app_try_end(ctx);
}

void app_start_mesh_key(struct app *a)
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
void app_credential_came(void *ctx, bool passphrase)
{
	struct app *a = ctx;

	if (a->no_key_warning)
		a->no_key_warning[0] = '\0';
	a->no_key_warning = NULL;
	if (!passphrase || a->unlock.mesh.n || a->stopping)
		return;
	if (paired_passphrase(a) == ERR_OK)
		app_start_mesh_key(a);
	else
		log_error("paired-passphrase-not-read");
}
