/* rooms: daemon web transports store protocol trust base */
/*
 * Lines of the control socket against the whole command table, on a node in memory. Every line that
 * comes out is one JSON object with an end, and nothing stays behind a closed connection.
 */
#include <stdlib.h>

#include "base/log.h"
#include "daemon/rpc.h"
#include "daemon/views.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t now_ms;
static uint64_t counter;

static uint64_t clock_of(void *ctx)
{
	return 1753500000250u + now_ms;
}

static void fill(void *ctx, void *out, size_t n)
{
	uint8_t *p = out;

	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)((counter + i) * 0x9e3779b97f4a7c15u >> 56);
	counter += n + 1;
}

static struct env env = { .now_ms = clock_of, .wall_ms = clock_of, .random = fill };
static struct policy policy;
static struct command_ctx cx;

static void ok(enum err e)
{
	BUG_ON(e != ERR_OK);
}

static void add_peers(struct pins *pins)
{
	static const char *const names[] = { "bob", "carol", "dave" };

	for (size_t i = 0; i < 3; i++) {
		struct keyring *k;

		ok(keyring_generate(&env, &k));
		ok(pins_pin(pins, keyring_ed(k), names[i], 1, NULL));
		if (i == 2)
			ok(pins_set_state(pins, keyring_id(k), PIN_BLOCKED, "x", NULL));
		keyring_free(k);
	}
}

/* A fresh one for each input: what one does must not decide what the next one finds. */
static void begin(void)
{
	struct node_config nc = { .name = "me", .policy = &policy };
	struct store_config sc = { .env = &env };
	struct node_parts parts;
	struct keyring *k;
	struct secret wrap;

	counter = now_ms = 0;
	ok(keyring_generate(&env, &k));
	ok(pins_load(NULL, k, &env, &cx.pins, NULL));
	ok(audit_open(NULL, k, &env, &cx.audit, NULL));
	ok(keyring_derive(k, DERIVE_DB_WRAP, &wrap));
	sc.wrap_key = secret_bytes(&wrap);
	ok(store_open(&sc, &cx.store, NULL));
	secret_free(&wrap);
	add_peers(cx.pins);
	parts = (struct node_parts){ &env, k, cx.pins, cx.store, cx.audit };
	ok(node_new(&nc, &parts, &cx.node));
	ok(events_new(&env, &cx.events));
	node_observe(cx.node, events_observe, cx.events);
	cx.keyring = k;
	cx.env = &env;
	cx.home = "/nonexistent";
	cx.name = "me";
	cx.rotated = false;
	ok(views_open(&cx));
}

static void end(void)
{
	views_close(&cx);
	events_free(cx.events);
	brakes_free(cx.brakes);
	cx.brakes = NULL;
	node_free(cx.node);
	store_close(cx.store);
	audit_close(cx.audit);
	pins_free(cx.pins);
	keyring_free((struct keyring *)cx.keyring);
	BUG_ON(timers_next(&env) != UINT64_MAX);
}

static bool put(void *ctx, struct bytes line, enum rpc_line_kind kind)
{
	bool event = kind != RPC_ANSWER;
	json_t *v;

	BUG_ON(line.n < 2 || line.n > CONTROL_LINE_MAX || line.p[line.n - 1] != '\n');
	BUG_ON(memchr(line.p, '\n', line.n - 1));
	ok(json_load_strict(bytes_of(line.p, line.n - 1), CONTROL_LINE_MAX, &v));
	BUG_ON(!json_is_object(v) || strcmp(json_str(v, "jsonrpc"), "2.0") != 0);
	BUG_ON(!json_object_get(v, "id") != event);
	if (!event)
		BUG_ON(!json_object_get(v, "result") == !json_object_get(v, "error"));
	json_decref(v);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rpc rpc;

	log_setup(&(struct log_config){ .level = LOG_ERROR, .fd = -1 });
	policy_init(&policy);
	begin();
	rpc_init(&rpc, &cx, put, NULL);
	while (size) {
		const uint8_t *nl = memchr(data, '\n', size);
		size_t n = nl ? (size_t)(nl - data) : size;

		rpc_line(&rpc, bytes_of(data, n < CONTROL_LINE_MAX ? n : CONTROL_LINE_MAX - 1));
		n += nl != NULL;
		data += n;
		size -= n;
		if (size && size % 3 == 0) {
			now_ms += 40;
			timers_run(&env);
			node_turn(cx.node);
		}
	}
	if (rpc.unanswered % 2)
		rpc_ended(&rpc);
	node_turn(cx.node);
	rpc_close(&rpc);
	BUG_ON(rpc.unanswered || !ring_empty(&rpc.requests) || !ring_empty(&rpc.subscriber.link));
	now_ms += 100000;
	timers_run(&env);
	node_turn(cx.node);
	end();
	policy_fini(&policy);
	return 0;
}
