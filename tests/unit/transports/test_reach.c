/* reach.h: what is believed of what an unknown port answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "transports/ws/reach.h"

static const char ACCEPT[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

static enum err answer(const char *head, char says[static REACH_SAYS_MAX])
{
	return reach_answer_parse(bytes_str(head), ACCEPT, says);
}

static void only_the_answer_to_our_own_request_is_an_upgrade(void **state)
{
	char says[REACH_SAYS_MAX];

	assert_int_equal(answer("HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept:  s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", says), ERR_OK);
	assert_int_equal(answer("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: AAAA\r\n", says), ERR_AUTH);
	assert_int_equal(answer("HTTP/1.1 101 Switching Protocols\r\n", says), ERR_AUTH);
	assert_int_equal(answer("HTTP/1.1 200 OK\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", says), ERR_MALFORMED);
	assert_string_equal(says, "HTTP/1.1 200 OK");
	assert_int_equal(answer("", says), ERR_MALFORMED);
	assert_string_equal(says, "");
}

static void what_it_says_is_one_line_of_safe_text(void **state)
{
	char says[REACH_SAYS_MAX], longer[500];

	assert_int_equal(answer("\x1b[2J\xe2\x80\xae evil\r\nmore", says), ERR_MALFORMED);
	assert_null(strpbrk(says, "\x1b\r\n"));
	assert_null(strstr(says, "more"));
	memset(longer, 'A', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	assert_int_equal(answer(longer, says), ERR_MALFORMED);
	assert_true(strlen(says) < REACH_SAYS_MAX);
}

static void frames_have_a_limit_and_one_shape(void **state)
{
	static const struct {
		uint8_t b[10];
		size_t n;
		enum err e;
		size_t head, body;
	} cases[] = {
		{ { 0x81, 5 }, 2, ERR_OK, 2, 5 },
		{ { 0x82, 126, 0x01, 0x00 }, 4, ERR_OK, 4, 256 },
		{ { 0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0 }, 10, ERR_OK, 10, 65536 },
		{ { 0x82, 127, 0, 0, 0, 0, 0, 1, 0, 1 }, 10, ERR_LIMIT, 0, 0 },
		{ { 0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, 10, ERR_LIMIT, 0, 0 },
		{ { 0x88, 2 }, 2, ERR_OK, 2, 2 },
		{ { 0x89, 126, 0, 200 }, 4, ERR_MALFORMED, 0, 0 }, /* a ping that is too long */
		{ { 0x81, 0x85 }, 2, ERR_MALFORMED, 0, 0 },        /* masked */
		{ { 0xc1, 5 }, 2, ERR_MALFORMED, 0, 0 },           /* compressed */
		{ { 0x01, 5 }, 2, ERR_MALFORMED, 0, 0 },           /* a fragment */
		{ { 0x83, 5 }, 2, ERR_MALFORMED, 0, 0 },
		{ { 0x8b, 5 }, 2, ERR_MALFORMED, 0, 0 },
	};
	struct reach_frame f;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(reach_frame_parse(bytes_of(cases[i].b, cases[i].n), &f), cases[i].e);
		if (cases[i].e == ERR_OK) {
			assert_int_equal(f.head, cases[i].head);
			assert_int_equal(f.body, cases[i].body);
		}
		for (size_t n = 0; n < cases[i].n; n++)
			assert_int_equal(reach_frame_parse(bytes_of(cases[i].b, n), &f), ERR_SHORT);
	}
}

static void an_address_is_host_and_port(void **state)
{
	struct reach r;
	struct fault f;

	assert_int_equal(reach_try("nonsense", 100, &r, &f), ERR_USAGE);
	assert_true(f.next[0] != '\0');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_answer_to_our_own_request_is_an_upgrade),
		cmocka_unit_test(what_it_says_is_one_line_of_safe_text),
		cmocka_unit_test(frames_have_a_limit_and_one_shape),
		cmocka_unit_test(an_address_is_host_and_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
