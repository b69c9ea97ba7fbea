#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon_edge.h"

#include <sodium.h>

#include "daemon/views.h"

#include "base/text.h"

static uint64_t edge_now(void *ctx)
{
	return ((struct edge *)ctx)->now_ms;
}

static uint64_t edge_wall(void *ctx)
{
	return 1753500000000u + ((struct edge *)ctx)->now_ms;
}

static void edge_random(void *ctx, void *out, size_t n)
{
	randombytes_buf(out, n);
}

static bool edge_put(void *ctx, struct bytes line, enum rpc_line_kind kind)
{
	struct edge *e = ctx;

	if (kind != RPC_ANSWER && e->out.n + line.n > e->room)
		return false;
	assert_int_equal(line.p[line.n - 1], '\n');
	buf_add(&e->out, line);
	assert_int_equal(e->out.err, ERR_OK);
	return true;
}

void edge_init(struct edge *e)
{
	struct store_config sc = { .env = &e->env };
	struct node_config nc = { .name = "me" };
	struct node_parts parts;
	struct secret wrap;

	memset(e, 0, sizeof *e);
	assert_int_equal(secret_init_library(), ERR_OK);
	e->now_ms = 1000;
	e->env = (struct env){ .ctx = e, .now_ms = edge_now, .wall_ms = edge_wall, .random = edge_random };
	assert_int_equal(keyring_generate(&e->env, &e->keyring), ERR_OK);
	assert_int_equal(pins_load(NULL, e->keyring, &e->env, &e->pins, NULL), ERR_OK);
	assert_int_equal(audit_open(NULL, e->keyring, &e->env, &e->audit, NULL), ERR_OK);
	assert_int_equal(keyring_derive(e->keyring, DERIVE_DB_WRAP, &wrap), ERR_OK);
	sc.wrap_key = secret_bytes(&wrap);
	assert_int_equal(store_open(&sc, &e->store, NULL), ERR_OK);
	secret_free(&wrap);
	policy_init(&e->policy);
	nc.policy = &e->policy;
	nc.limits.connects_per_s = -1;
	parts = (struct node_parts){ &e->env, e->keyring, e->pins, e->store, e->audit };
	assert_int_equal(node_new(&nc, &parts, &e->node), ERR_OK);
	assert_int_equal(events_new(&e->env, &e->events), ERR_OK);
	node_observe(e->node, events_observe, e->events);
	e->cx = (struct command_ctx){ .node = e->node, .events = e->events, .env = &e->env,
				      .keyring = e->keyring, .pins = e->pins, .store = e->store,
				      .audit = e->audit, .home = "/nonexistent", .name = "me" };
	assert_int_equal(views_open(&e->cx), ERR_OK);
	buf_init(&e->out, 64u << 20);
	e->room = SIZE_MAX;
	rpc_init(&e->rpc, &e->cx, edge_put, e);
}

void edge_fini(struct edge *e)
{
	rpc_close(&e->rpc);
	brakes_free(e->cx.brakes);
	views_close(&e->cx);
	events_free(e->events);
	node_free(e->node);
	policy_fini(&e->policy);
	store_close(e->store);
	audit_close(e->audit);
	pins_free(e->pins);
	keyring_free(e->keyring);
	assert_int_equal(timers_next(&e->env), UINT64_MAX); /* nobody left a timer behind */
	timers_fini(&e->env);
	buf_fini(&e->out);
}

struct node_id edge_peer(struct edge *e, const char *name)
{
	uint8_t ed[ED_BYTES], sk[crypto_sign_SECRETKEYBYTES];
	struct node_id id;

	crypto_sign_keypair(ed, sk);
	node_id_of(ed, &id);
	assert_int_equal(pins_pin(e->pins, ed, name, edge_wall(e), NULL), ERR_OK);
	return id;
}

void edge_turn(struct edge *e)
{
	timers_run(&e->env);
	for (int i = 0; i < 8 && node_wants_turn(e->node); i++)
		node_turn(e->node);
}

void edge_sleep(struct edge *e, uint64_t ms)
{
	e->now_ms += ms;
	edge_turn(e);
}

int64_t edge_receive(struct edge *e, const struct node_id *from, const char *id, struct bytes body)
{
	struct inbox_new m = { .author = *from, .via = *from, .id = bytes_str(id), .type = BYTES_LIT("MSG"),
			       .priority = 1, .created_ms = edge_wall(e), .received_ms = edge_wall(e),
			       .body = body };
	struct node_event ev = { .type = "inbox.new", .peer = *from, .msg_id = id, .size = body.n };
	enum inbox_state state;
	int64_t seq;

	assert_int_equal(inbox_put(e->store, &m, &seq, &state), ERR_OK);
	assert_int_equal(node_commit(e->node), ERR_OK);
	ev.seq = seq;
	events_observe(e->events, &ev);
	return seq;
}

void edge_line(struct edge *e, const char *line)
{
	rpc_line(&e->rpc, bytes_str(line));
}

json_t *edge_next(struct edge *e)
{
	const uint8_t *end = e->out.n ? memchr(e->out.p, '\n', e->out.n) : NULL;
	json_t *v;

	if (!end)
		return NULL;
	size_t n = (size_t)(end - e->out.p);

	assert_true(n < CONTROL_LINE_MAX);
	assert_int_equal(json_load_strict(bytes_of(e->out.p, n), CONTROL_LINE_MAX, &v), ERR_OK);
	buf_drop_front(&e->out, n + 1);
	return v;
}

static json_t *call(struct edge *e, const char *method, const char *params)
{
	size_t n = strlen(params) + 200;
	char *line = malloc(n);
	json_t *v;

	assert_non_null(line);
	snprintf(line, n, "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"%s\",\"params\":%s}", method, params);
	edge_line(e, line);
	free(line);
	if (e->out.n == 0)
		edge_turn(e);
	v = edge_next(e);
	assert_non_null(v);
	assert_int_equal(json_integer_value(json_object_get(v, "id")), 7);
	assert_string_equal(json_str(v, "jsonrpc"), "2.0");
	return v;
}

static json_t *member_of(json_t *v, const char *name)
{
	json_t *m = json_object_get(v, name);

	if (!m) {
		char *text = json_dumps(v, 0);

		print_error("no %s in %s\n", name, text);
		free(text);
	}
	assert_non_null(m);
	json_incref(m);
	json_decref(v);
	return m;
}

json_t *edge_ok(struct edge *e, const char *method, const char *params)
{
	json_t *r = member_of(call(e, method, params), "result");

	assert_non_null(json_str(r, "schema"));
	return r;
}

json_t *edge_error(struct edge *e, const char *method, const char *params)
{
	return member_of(call(e, method, params), "error");
}

void edge_refused(struct edge *e, const char *method, const char *params, const char *word)
{
	json_t *r = edge_error(e, method, params);

	assert_string_equal(json_str(json_object_get(r, "data"), "err"), word);
	assert_true(json_integer_value(json_object_get(json_object_get(r, "data"), "exit")) > 0);
	assert_true(strlen(json_str(r, "message")) > 0);
	json_decref(r);
}
