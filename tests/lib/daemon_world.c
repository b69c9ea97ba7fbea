#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <dirent.h>
#include <sodium.h>
#include <unistd.h>

#include "base/secret.h"
#include "tests/lib/daemon_world.h"
#include "transports/loopback.h"

uint64_t world_wall_ms(const struct world *w)
{
	return w->wall_ms + w->now_ms;
}

static uint64_t now_ms(void *ctx)
{
	return ((struct world *)ctx)->now_ms;
}

static uint64_t wall_ms(void *ctx)
{
	return world_wall_ms(ctx);
}

static void chance(void *ctx, void *out, size_t n)
{
	(void)ctx;
	randombytes_buf(out, n);
}

static void heard(void *ctx, const char *event)
{
	struct side *s = ctx;

	if (s->words_n < WORDS)
		snprintf(s->words[s->words_n++], sizeof s->words[0], "%s", event);
}

unsigned side_audited(const struct side *s, const char *word)
{
	unsigned k = 0;

	for (size_t i = 0; i < s->words_n; i++)
		k += strcmp(s->words[i], word) == 0;
	return k;
}

const char *side_file(struct side *s, const char *what)
{
	static char path[128];

	snprintf(path, sizeof path, "%s/%s.%s", s->w->dir, s->name, what);
	return path;
}

void side_start(struct side *s)
{
	static const uint8_t mesh_key[32] = { 7 };
	struct world *w = s->w;
	struct node_config nc = { .passphrase = BYTES_LIT("a passphrase of the mesh"), .policy = &s->policy,
				  .revoke_quorum = 2, .revoke_admins = w->admins, .revoke_admins_n = 3 };
	struct store_config sc = { .env = &w->env, .relaxed = true };
	struct node_parts parts = { .env = &w->env, .keyring = s->keyring };
	struct transport_sink sink;
	struct secret wrap;

	sc.path = side_file(s, "db");
	assert_int_equal(keyring_derive(s->keyring, DERIVE_DB_WRAP, &wrap), ERR_OK);
	sc.wrap_key = secret_bytes(&wrap);
	assert_int_equal(store_open(&sc, &s->store, NULL), ERR_OK);
	secret_free(&wrap);
	assert_int_equal(pins_load(side_file(s, "pins"), s->keyring, &w->env, &s->pins, NULL), ERR_OK);
	assert_int_equal(audit_open(NULL, s->keyring, &w->env, &s->audit, NULL), ERR_OK);
	audit_observe(s->audit, heard, s);
	policy_init(&s->policy);
	s->policy.im2 = s->old ? IM2_OFF : IM2_ON;
	snprintf(nc.name, sizeof nc.name, "%s", s->called[0] ? s->called : s->name);
	nc.limits = s->limits;
	nc.routing = s->routing;
	nc.seal_refuse = s->seal_refuse;
	nc.no_mesh_key = s->no_mesh;
	if (s->no_mesh)
		nc.passphrase = (struct bytes){ 0 };
	nc.discovery = s->discovery;
	nc.open_discovery = s->open_discovery;
	nc.limits.connects_per_s = -1;
	parts.pins = s->pins;
	parts.store = s->store;
	parts.audit = s->audit;
	assert_int_equal(node_new(&nc, &parts, &s->node), ERR_OK);
	if (!s->no_mesh)
		assert_int_equal(node_mesh_key(s->node, 0, BYTES_ARR(mesh_key)), ERR_OK);
	sink = node_sink(s->node);
	assert_int_equal(loopback_new(w->net, s->address, &sink, &s->tp), ERR_OK);
	node_attach(s->node, s->tp);
}

void side_stop(struct side *s)
{
	if (!s->node)
		return;
	loopback_kill(s->tp);
	assert_int_equal(node_commit(s->node), ERR_OK);
	node_detach(s->node, s->tp);
	node_free(s->node);
	tp_free(s->tp);
	s->node = NULL;
	policy_fini(&s->policy);
	store_close(s->store);
	audit_close(s->audit);
	assert_int_equal(pins_flush(s->pins, NULL), ERR_OK);
	pins_free(s->pins);
}

static void turns(struct world *w)
{
	for (int i = 0; i < 64; i++) {
		timers_run(&w->env);
		for (int k = 0; k < SIDES; k++)
			for (int t = 0; t < 8 && w->side[k].node && node_wants_turn(w->side[k].node); t++)
				node_turn(w->side[k].node);
	}
}

void world_pass(struct world *w, uint64_t ms)
{
	uint64_t end = w->now_ms + ms, step = ms > 120000 ? 20000 : 100;

	while (w->now_ms < end) {
		w->now_ms += step < end - w->now_ms ? step : end - w->now_ms;
		turns(w);
	}
}

const struct node_id *side_id(const struct side *s)
{
	return keyring_id(s->keyring);
}

void side_know(struct side *a, struct side *b)
{
	assert_int_equal(pins_pin(a->pins, keyring_ed(b->keyring), b->name, world_wall_ms(a->w), NULL), ERR_OK);
	assert_int_equal(pins_pin(b->pins, keyring_ed(a->keyring), a->name, world_wall_ms(a->w), NULL), ERR_OK);
	assert_int_equal(pins_flush(a->pins, NULL), ERR_OK);
	assert_int_equal(pins_flush(b->pins, NULL), ERR_OK);
}

struct conn *side_conn(struct side *a, const struct side *b)
{
	struct peer *p = peer_find(a->node, side_id(b));

	return p ? p->conn : NULL;
}

void side_meet(struct side *a, struct side *b)
{
	assert_int_equal(node_add_target(a->node, b->address, NULL), ERR_OK);
	node_dial_all(a->node);
	world_pass(a->w, 3000);
	assert_non_null(side_conn(a, b));
	assert_non_null(side_conn(b, a));
	assert_true(side_conn(a, b)->im2);
}

int world_setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	assert_int_equal(secret_init_library(), ERR_OK);
	w->now_ms = 1000;
	w->wall_ms = WALL;
	w->env = (struct env){ .ctx = w, .now_ms = now_ms, .wall_ms = wall_ms, .random = chance };
	snprintf(w->dir, sizeof w->dir, "/tmp/ironmesh-records-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	w->net = loopnet_new(&w->env);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(keyring_generate(&w->env, &w->admin[i]), ERR_OK);
		memcpy(w->admins[i], keyring_ed(w->admin[i]), ED_BYTES);
	}
	for (int i = 0; i < SIDES; i++) {
		struct side *s = &w->side[i];

		s->w = w;
		snprintf(s->name, sizeof s->name, "n%d", i);
		snprintf(s->address, sizeof s->address, "n%d:1", i);
		assert_int_equal(keyring_generate(&w->env, &s->keyring), ERR_OK);
		side_start(s);
	}
	*state = w;
	return 0;
}

int world_teardown(void **state)
{
	struct world *w = *state;
	DIR *dir = opendir(w->dir);
	struct dirent *d;
	char path[400];

	for (int i = 0; i < SIDES; i++) {
		side_stop(&w->side[i]);
		keyring_free(w->side[i].keyring);
	}
	for (int i = 0; i < 3; i++)
		keyring_free(w->admin[i]);
	loopnet_free(w->net);
	assert_int_equal(timers_next(&w->env), UINT64_MAX);
	timers_fini(&w->env);
	while ((d = readdir(dir))) {
		snprintf(path, sizeof path, "%s/%s", w->dir, d->d_name);
		if (d->d_name[0] != '.')
			unlink(path);
	}
	closedir(dir);
	rmdir(w->dir);
	free(w);
	return 0;
}
