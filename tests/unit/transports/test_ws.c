/* The contract, over TLS and over plain WebSocket. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/lib/transports_contract.h"
#include "tests/lib/transports_uv.h"

static struct uv_bench bench;
static bool use_tls;

static void begin(void *ctx)
{
	uv_bench_open(&bench);
}

static void end(void *ctx)
{
	uv_bench_close(&bench);
}

static struct transport *open_one(void *ctx, const struct transport_sink *sink, char *address)
{
	struct ws_config c = {
		.loop = &bench.loop,
		.bind = "127.0.0.1",
		.allow_plaintext = !use_tls,
		.cert_path = use_tls ? bench.cert : NULL,
		.key_path = use_tls ? bench.key : NULL,
		/* The contract has every test dial many times from one source. */
		.max_half_open_per_source = 64,
	};
	struct transport *t = NULL;
	struct fault f = {0};

	if (ws_new(&c, sink, &t, &f) != ERR_OK)
		fail_msg("ws_new: %s", f.what);
	snprintf(address, LINK_ADDRESS_MAX, "127.0.0.1:%u", ws_port(t));
	return t;
}

static void turn(void *ctx)
{
	uv_bench_turn(&bench);
}

static uint64_t now(void *ctx)
{
	return uv_bench_now(&bench);
}

static struct contract_medium medium = {
	.begin = begin,
	.end = end,
	.open = open_one,
	.turn = turn,
	.now_ms = now,
	.nowhere = "127.0.0.1:1",
	.unparsable = "127.0.0.1",
};

int main(void)
{
	const struct CMUnitTest tests[] = {CONTRACT_TESTS};
	int failed;

	signal(SIGPIPE, SIG_IGN);
	contract_medium = &medium;
	uv_bench_certificate(&bench);
	use_tls = true;
	failed = cmocka_run_group_tests_name("wss", tests, NULL, NULL);
	use_tls = false;
	failed += cmocka_run_group_tests_name("ws", tests, NULL, NULL);
	uv_bench_forget(&bench);
	return failed;
}
