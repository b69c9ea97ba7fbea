/* `ironmesh pair` as a user types it, against a scripted daemon. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/text.h"
#include "cli/qr.h"
#include "tests/lib/cli_rig.h"

static struct rig r;

static int setup(void **state)
{
	rig_open(&r);
	return 0;
}

static int teardown(void **state)
{
	rig_close(&r);
	return 0;
}

#define SCRIPT(...)                                                                                \
	do {                                                                                       \
		static const struct exchange x_[] = { __VA_ARGS__ };                               \
		rig_serve(&r, x_, sizeof(x_) / sizeof(x_[0]));                                     \
	} while (0)
#define RUN(...) rig_run(&r, __VA_ARGS__, NULL)
#define TTY(typed, ...) rig_run_tty(&r, typed, __VA_ARGS__, NULL)

#define SUBSCRIBE { "events.subscribe", "{\"types\":[\"pair.\"]}", "{\"schema\":\"ironmesh.events/1\"}" }
#define EVENT(type, more)                                                                          \
	"{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"schema\":\"ironmesh.event/1\",\"seq\":1,\"type\":\"" type      \
	"\"" more "}}"
#define BOB ",\"peer\":\"00112233445566778899aabbccddeeff\",\"name\":\"bob\""
#define PAIRED EVENT("pair.paired", BOB ",\"reason\":\"the code was right\"")
#define GRANTED EVENT("pair.granted", BOB ",\"reason\":\"the key of the mesh was handed on\"")
#define OVER EVENT("pair.over", BOB)
#define SHOW_PARAMS(again)                                                                         \
	"{\"compare\":false,\"pin_only\":false,\"give_passphrase\":false,\"again\":" again "}"
#define SHOWN(code, listen)                                                                        \
	"{\"schema\":\"ironmesh.pair/1\",\"code\":\"" code "\",\"expires_in_ms\":120000,\"listen\":[\"" listen                \
	"\"],\"gives\":\"mesh-key\"}"
#define HERE "127.0.0.1:9001"
#define EVERYWHERE "0.0.0.0:8765"
#define TYPING "{\"schema\":\"ironmesh.pair/1\",\"state\":\"dialling\"}"
#define TYPED(more) "{\"code\":\"42-307-915\",\"compare\":false,\"pin_only\":false" more "}"

static void showing_prints_the_code_and_what_to_type(void **state)
{
	SCRIPT(SUBSCRIBE, { "pair.show", SHOW_PARAMS("false"), SHOWN("42-307-915", HERE), NULL, PAIRED "\n" GRANTED "\n" OVER },
	       SUBSCRIBE, { "pair.show", NULL, SHOWN("42-307-915", EVERYWHERE), NULL, PAIRED "\n" OVER });
	assert_int_equal(RUN("pair", "--home", "@"), 0);
	assert_string_equal(r.out, "42-307-915\npaired with bob, fingerprint 0011 2233 4455 6677\n");
	assert_true(rig_warned(&r, "on the other machine: ironmesh pair 42-307-915 --at 127.0.0.1:9001\n"));
	assert_true(rig_warned(&r, "the key of the mesh was handed on"));
	assert_true(rig_warned(&r, "send bob \"hello\" --wait 5s"));
	/* Listening everywhere is no address. */
	assert_int_equal(RUN("pair", "--home", "@"), 0);
	assert_true(rig_warned(&r, "on the other machine: ironmesh pair 42-307-915\n"));
	assert_true(rig_warned(&r, "--at ADDRESS:8765"));
}

static void typing_takes_a_code_an_address_and_what_a_qr_code_says(void **state)
{
	SCRIPT(SUBSCRIBE, { "pair.type", TYPED(""), TYPING, NULL, PAIRED "\n" OVER }, SUBSCRIBE,
	       { "pair.type", TYPED(",\"at\":\"192.0.2.7:8765\""), TYPING, NULL, PAIRED "\n" OVER }, SUBSCRIBE,
	       { "pair.type", TYPED(",\"at\":\"192.0.2.7:8765\""), TYPING, NULL, PAIRED "\n" OVER }, SUBSCRIBE,
	       { "pair.type", TYPED(""), TYPING, NULL, PAIRED "\n" OVER }, SUBSCRIBE,
	       { "pair.type", TYPED(",\"at\":\"other:1\""), TYPING, NULL, PAIRED "\n" OVER });
	assert_int_equal(RUN("pair", "42-307-915", "--home", "@"), 0);
	assert_string_equal(r.out, "paired with bob, fingerprint 0011 2233 4455 6677\n");
	assert_int_equal(RUN("pair", "42-307-915", "--at", "192.0.2.7:8765", "--home", "@"), 0);
	assert_int_equal(RUN("pair", "ironmesh-pair:42-307-915@192.0.2.7:8765", "--home", "@"), 0);
	assert_int_equal(RUN("pair", "ironmesh-pair:42-307-915", "--home", "@"), 0);
	assert_int_equal(RUN("pair", "ironmesh-pair:42-307-915@192.0.2.7:8765", "--at", "other:1", "--home", "@"), 0);
}

static void who_looks_in_vain_is_told_at_once(void **state)
{
	SCRIPT(SUBSCRIBE,
	       { "pair.type", TYPED(""),
		 "{\"schema\":\"ironmesh.pair/1\",\"state\":\"searching\",\"why\":\"discovery is off\"}", NULL, PAIRED "\n" OVER });
	assert_int_equal(RUN("pair", "42-307-915", "--home", "@"), 0);
	assert_true(rig_warned(&r, "nothing is found by itself now (discovery is off): stop, and add --at HOST:PORT"));
}

static void a_used_code_is_followed_by_another(void **state)
{
	SCRIPT(SUBSCRIBE,
	       { "pair.show", SHOW_PARAMS("false"), SHOWN("42-307-915", HERE), NULL,
		 EVENT("pair.used", ",\"reason\":\"somebody typed a wrong code; the code is used up\"") },
	       { "pair.show", SHOW_PARAMS("true"), SHOWN("11-222-333", HERE), NULL, PAIRED "\n" OVER }, SUBSCRIBE,
	       { "pair.show", NULL, SHOWN("42-307-915", HERE), NULL, EVENT("pair.used", ",\"reason\":\"x\"") },
	       { "pair.show", NULL, NULL,
		 "{\"code\":-32000,\"message\":\"5 codes were used up\",\"data\":{\"err\":\"limit\",\"exit\":75,\"next\":\"ironmesh "
		 "pair --compare\"}}" });
	assert_int_equal(RUN("pair", "--home", "@"), 0);
	assert_true(strncmp(r.out, "42-307-915\n11-222-333\npaired", 28) == 0);
	assert_true(rig_warned(&r, "somebody typed a wrong code; the code is used up; here is another one"));
	assert_int_equal(RUN("pair", "--home", "@"), 75);
	assert_true(rig_warned(&r, "pair --compare"));
}

static void a_failure_says_why_and_what_next(void **state)
{
	SCRIPT(SUBSCRIBE,
	       { "pair.type", NULL, TYPING, NULL,
		 EVENT("pair.failed", ",\"reason\":\"the code is wrong\\u001b[31m\",\"next\":\"ironmesh pair   (there)\"") },
	       SUBSCRIBE,
	       { "pair.type", NULL, TYPING, NULL,
		 PAIRED "\n" EVENT("pair.failed", ",\"reason\":\"the key did not get across\"") },
	       SUBSCRIBE, { "pair.type", NULL, NULL,
			    "{\"code\":-32000,\"message\":\"another pairing is under way\",\"data\":{\"err\":\"again\",\"exit\":75}}" },
	       SUBSCRIBE, { NULL });
	assert_int_equal(RUN("pair", "42-307-915", "--home", "@"), 1);
	assert_true(rig_warned(&r, "not paired: the code is wrong"));
	assert_true(rig_warned(&r, "(there)"));
	assert_false(rig_warned(&r, "\x1b"));
	/* After the pin it is not that nobody is trusted. */
	assert_int_equal(RUN("pair", "42-307-915", "--home", "@"), 1);
	assert_true(rig_said(&r, "paired with bob"));
	assert_true(rig_warned(&r, "the key did not get across"));
	assert_false(rig_warned(&r, "not paired"));
	assert_int_equal(RUN("pair", "42-307-915", "--home", "@"), 75);
	assert_int_equal(RUN("pair", "42-307-915", "--home", "@"), 3);
}

#define DIGITS EVENT("pair.compare", BOB ",\"reason\":\"123 456\"")
#define WAITING                                                                                    \
	"{\"schema\":\"ironmesh.pair/1\",\"code\":null,\"expires_in_ms\":120000,\"listen\":[\"" HERE "\"],\"gives\":\"nothing\"}"
#define FAILED EVENT("pair.failed", ",\"reason\":\"the digits differ\"")

static void digits_are_answered_by_a_person(void **state)
{
	SCRIPT(SUBSCRIBE, { "pair.show", NULL, WAITING, NULL, DIGITS },
	       { "pair.verdict", "{\"same\":true}", "{\"schema\":\"ironmesh.pair/1\"}", NULL, PAIRED "\n" OVER }, SUBSCRIBE,
	       { "pair.show", NULL, WAITING, NULL, DIGITS },
	       { "pair.verdict", "{\"same\":false}", "{\"schema\":\"ironmesh.pair/1\"}", NULL, FAILED }, SUBSCRIBE,
	       { "pair.type", "{\"compare\":true,\"at\":\"127.0.0.1:9001\",\"pin_only\":false}", TYPING, NULL,
		 DIGITS "\n" PAIRED "\n" OVER },
	       SUBSCRIBE,
	       { "pair.type", "{\"compare\":true,\"pin_only\":false}", TYPING, NULL, DIGITS "\n" FAILED }, SUBSCRIBE,
	       { "pair.show", NULL, WAITING, NULL, DIGITS },
	       { "pair.verdict", NULL, NULL,
		 "{\"code\":-32000,\"message\":\"nothing waits\",\"data\":{\"err\":\"state\",\"exit\":1}}",
		 EVENT("pair.failed", ",\"reason\":\"the other side went away\"") });
	assert_int_equal(TTY("y\n", "pair", "--compare", "--home", "@"), 0);
	assert_true(rig_said(&r, "123 456") && rig_said(&r, "Does the other machine show the same digits?") && rig_said(&r, "paired"));
	assert_true(rig_said(&r, "pair --compare --at 127.0.0.1:9001"));
	assert_int_equal(TTY("\n", "pair", "--compare", "--home", "@"), 1);
	assert_true(rig_said(&r, "not paired: the digits differ"));
	/* Nobody to ask: the word comes by another command. */
	assert_int_equal(RUN("pair", "--compare", "--at", HERE, "--home", "@"), 0);
	assert_string_equal(r.out, "123 456\npaired with bob, fingerprint 0011 2233 4455 6677\n");
	assert_true(rig_warned(&r, "if the other machine shows the same digits: ironmesh --home "));
	assert_true(rig_warned(&r, " pair --same; if not: ironmesh --home "));
	assert_true(rig_warned(&r, " pair --differ"));
	assert_int_equal(RUN("pair", "--compare", "--join", "--home", "@"), 1);
	assert_true(rig_warned(&r, "not paired: the digits differ"));
	/* Too late: why is what the event says. */
	assert_int_equal(TTY("y\n", "pair", "--compare", "--home", "@"), 1);
	assert_true(rig_said(&r, "the other side went away"));
}

static void a_word_from_another_command(void **state)
{
	SCRIPT({ "pair.verdict", "{\"same\":true}", "{\"schema\":\"ironmesh.pair/1\"}" },
	       { "pair.verdict", "{\"same\":false}", "{\"schema\":\"ironmesh.pair/1\"}" },
	       { "pair.stop", "{}", "{\"schema\":\"ironmesh.pair/1\"}" },
	       { "pair.verdict", NULL, NULL,
		 "{\"code\":-32000,\"message\":\"nothing waits to be compared\",\"data\":{\"err\":\"state\",\"exit\":1}}" });
	assert_int_equal(RUN("pair", "--same", "--home", "@"), 0);
	assert_int_equal(RUN("pair", "--differ", "--home", "@"), 0);
	assert_int_equal(RUN("pair", "--stop", "--home", "@"), 0);
	assert_int_equal(RUN("pair", "--same", "--home", "@"), 1);
	assert_int_equal(RUN("pair", "--same", "--differ", "--home", "@"), 2);
}

static void json_is_one_object_a_line(void **state)
{
	char *line, *rest;
	size_t n = 0;

	SCRIPT(SUBSCRIBE, { "pair.show", NULL, SHOWN("42-307-915", HERE), NULL, PAIRED "\n" GRANTED "\n" OVER }, SUBSCRIBE,
	       { "pair.type", NULL, TYPING, NULL, FAILED });
	assert_int_equal(RUN("pair", "--json", "--home", "@"), 0);
	for (line = strtok_r(r.out, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), n++) {
		json_t *v;

		assert_int_equal(json_load_strict(bytes_str(line), 4096, &v), ERR_OK);
		assert_string_equal(json_str(v, "schema"), n ? "ironmesh.event/1" : "ironmesh.pair/1");
		json_decref(v);
	}
	assert_int_equal(n, 4);
	assert_string_equal(r.err, "");
	assert_int_equal(RUN("pair", "42-307-915", "--json", "--home", "@"), 1);
	assert_true(rig_said(&r, "\"ironmesh.error/1\""));
}

static void a_qr_code_is_for_terminals(void **state)
{
	SCRIPT(SUBSCRIBE, { "pair.show", NULL, SHOWN("42-307-915", HERE), NULL, PAIRED "\n" OVER }, SUBSCRIBE,
	       { "pair.show", NULL, SHOWN("42-307-915", HERE), NULL, PAIRED "\n" OVER }, SUBSCRIBE,
	       { "pair.show", NULL, SHOWN("42-307-915", HERE), NULL, PAIRED "\n" OVER });
	assert_int_equal(TTY("", "pair", "--home", "@"), 0);
	assert_true(rig_said(&r, "\u2588\u2588 \u2584\u2584\u2584\u2584\u2584 \u2588"));
	assert_int_equal(TTY("", "pair", "--no-qr", "--home", "@"), 0);
	assert_false(rig_said(&r, "\u2588"));
	assert_int_equal(RUN("pair", "--home", "@"), 0);
	assert_false(rig_said(&r, "\u2588"));
}

static void contradictions_are_usage_errors(void **state)
{
	assert_int_equal(RUN("pair", "--compare", "42-307-915", "--home", "@"), 2);
	assert_int_equal(RUN("pair", "--join", "--home", "@"), 2);
	assert_int_equal(RUN("pair", "--at", HERE, "--home", "@"), 2);
	assert_int_equal(RUN("pair", "42-307-915", "--give-passphrase", "--home", "@"), 2);
	assert_int_equal(RUN("pair", "42-307-915", "more", "--home", "@"), 2);
	assert_int_equal(RUN("pair", "--home", "@"), 3);
}

static void a_qr_code_has_a_limit(void **state)
{
	char *text = NULL, long_one[4000];
	size_t n;
	FILE *to = open_memstream(&text, &n);

	memset(long_one, 'x', sizeof long_one);
	long_one[sizeof long_one - 1] = '\0';
	assert_int_equal(qr_print(to, long_one), ERR_LIMIT);
	assert_int_equal(qr_print(to, "ironmesh-pair:42-307-915@[2001:db8::1]:8765"), ERR_OK);
	fclose(to);
	/* Version 4 at most: 33 modules and the quiet zone, two rows a line. */
	assert_true(n > 0 && n < 20 * (37 * 3 + 1));
	free(text);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(showing_prints_the_code_and_what_to_type),
		T(typing_takes_a_code_an_address_and_what_a_qr_code_says),
		T(who_looks_in_vain_is_told_at_once),
		T(a_used_code_is_followed_by_another),
		T(a_failure_says_why_and_what_next),
		T(digits_are_answered_by_a_person),
		T(a_word_from_another_command),
		T(json_is_one_object_a_line),
		T(a_qr_code_is_for_terminals),
		T(contradictions_are_usage_errors),
		cmocka_unit_test(a_qr_code_has_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
