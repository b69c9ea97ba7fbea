/* SIGHUP and `ironmesh config reload`: what of new settings each part takes over. */
#include "daemon/app_internal.h"

#include <inttypes.h>
#include <time.h>

#include "base/log.h"
#include "daemon/attention.h"
#include "daemon/notify.h"

void app_live_config(const struct run_config *c, struct node_config *nc)
{
	nc->min_version = c->policy.min_version;
	nc->rekey_ms = c->rekey_ms;
	nc->im2_pad = c->pad;
	nc->im2_sign_always = c->sign_always;
	nc->seal_refuse = c->seal_refuse;
	nc->no_seal_pad = !c->seal_pad;
	nc->rotate_keeps_verified = c->rotate_keeps_verified;
	nc->cap_change_holds = c->cap_change_holds;
	nc->open_discovery = c->open_discovery;
	nc->revoke_quorum = c->admins.quorum;
	nc->revoke_admins = c->admins.n ? (const uint8_t(*)[ED_BYTES])c->admins.ed : NULL;
	nc->revoke_admins_n = c->admins.n;
	nc->limits.connects_per_s = c->connect_rate;
	nc->limits.strangers_per_s = c->connect_rate == 0 ? -1 : 0;
}

void app_warn_of_live_choices(struct app *a)
{
	const struct run_config *c = a->c;
	size_t n = 0;

	for (size_t i = 0; i < APP_LIVE_WARNINGS; i++)
		if (a->live_warnings[i])
			a->live_warnings[i][0] = '\0';
	memset(a->live_warnings, 0, sizeof a->live_warnings);
	if (c->policy.trust_on_first_use)
		a->live_warnings[n++] = app_warn(a, "trust on first use: whoever knows the passphrase first is trusted without a person");
	if (c->open_discovery && c->discovery != SCOPE_OFF)
		a->live_warnings[n++] = app_warn(a, "open discovery: whoever announces itself on this network is dialled, known or not "
						    "(--open-discovery)");
	if (c->connect_rate == 0)
		a->live_warnings[n++] = app_warn(a, "no limit on connections per source");
}

static bool has_peer(const struct run_config *c, const char *spec)
{
	for (size_t i = 0; i < c->peer_count; i++)
		if (strcmp(c->peers[i], spec) == 0)
			return true;
	return false;
}

static void change_peers(struct app *a, const struct run_config *was)
{
	struct fault f = { 0 };

	for (size_t i = 0; i < was->peer_count; i++)
		if (!has_peer(a->c, was->peers[i]) && node_remove_target(a->node, was->peers[i]) != ERR_OK)
			log_debug("peer-not-dialled-anyway spec=%s", was->peers[i]);
	for (size_t i = 0; i < a->c->peer_count; i++)
		if (!has_peer(was, a->c->peers[i]) && node_add_target(a->node, a->c->peers[i], &f) != ERR_OK)
			log_warn("peer-not-added spec=%s what=\"%s\"", a->c->peers[i], f.what);
}

static bool same_allowed(const struct policy *a, const struct policy *b)
{
	return a->allowed_count == b->allowed_count &&
	       (a->allowed_count == 0 || memcmp(a->allowed, b->allowed, a->allowed_count * sizeof a->allowed[0]) == 0);
}

static void audit_change(void *ctx, const struct setting_change *ch)
{
	struct app *a = ctx;
	char key[200], was[300], now[300];

	snprintf(was, sizeof was, "%s", ch->was ? ch->was : "");
	snprintf(now, sizeof now, "%s", ch->now ? ch->now : "");
	audit_note(a->audit, "CONFIG_CHANGED", (struct bytes){ 0 }, "key", setting_path(ch->s, ch->name, key, sizeof key), "was", was,
		   "now", now, NULL);
}

/* Everything was checked: from here on nothing fails. One line for each part; only live values can have changed. */
static void apply(void *ctx, const struct run_config *was)
{
	struct app *a = ctx;
	const struct run_config *c = a->c;
	struct app_info *info = &a->commands.info;
	struct node_config nc = { .limits.connects_burst = 0 };

	settings_diff(&was->settings, &c->settings, audit_change, a);
	if (c->log_level != was->log_level || c->log_format != was->log_format)
		log_setup(&(struct log_config){ .level = c->log_level, .format = c->log_format });
	app_live_config(c, &nc);
	node_reconfigure(a->node, &nc);
	change_peers(a, was);
	if (!same_allowed(&c->policy, &was->policy))
		node_list_changed(a->node);
	info->trust_on_first_use = c->policy.trust_on_first_use;
	info->im2_pad = c->pad;
	info->im2_sign_always = c->sign_always;
	backups_reconfigure(a->backups, c);
	app_warn_of_live_choices(a);
}

/* For as long as it is so: that the old settings are in force, or that new ones wait for a restart. */
static void tell_outcome(struct app *a, enum err e)
{
	const struct fault *f = &a->reload.fault; /* who sent a signal waits for none */
	struct attention *to = a->commands.attention;
	size_t waits = e == ERR_OK ? json_array_size(a->reload.restart) : 0;
	char what[160];
	struct attention_item failed = { .kind = "config-reload-failed", .severity = ATTENTION_ERROR,
					 .what = "the new settings were refused; the old ones are in force", .means = f->what,
					 .next = f->next[0] ? f->next : "ironmesh config check" };
	struct attention_item restart = { .kind = "config-needs-restart", .severity = ATTENTION_INFO, .what = what,
					  .next = "ironmesh config diff" };

	snprintf(what, sizeof what, "%zu changed setting%s in force only after a restart", waits, waits == 1 ? " is" : "s are");
	if (e != ERR_OK)
		attention_set(to, &failed);
	else
		attention_clear(to, failed.kind, NULL);
	if (waits)
		attention_set(to, &restart);
	else if (e == ERR_OK)
		attention_clear(to, restart.kind, NULL);
}

enum err app_reload(void *app, json_t **out, struct fault *f)
{
	struct app *a = app;
	struct timespec now;
	char line[80];
	enum err e;

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(line, sizeof line, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
		 (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
	notify_manager(line);
	e = reload_run(&a->reload, env_wall(env_of(a)), out, f);
	tell_outcome(a, e);
	if (e == ERR_OK)
		log_info("config-reloaded files=%zu needs_restart=%zu", a->c->settings.files_n, json_array_size(a->reload.restart));
	notify_manager("READY=1");
	return e;
}

void app_reload_init(struct app *a, const struct config_sources *from)
{
	a->reload = (struct reload){ .c = (struct run_config *)a->c, .from = from, .apply = apply, .ctx = a };
}
