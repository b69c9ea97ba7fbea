/* What nodes say they can do: CAP of im2 and CAPABILITY_ANNOUNCE of the old wire. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/secret.h"
#include "base/text.h"
#include "protocol/im2/cap.h"
#include "protocol/im2/record.h"
#include "protocol/v09/capability.h"
#include "tests/lib/protocol_env.h"

/* im2.json, records.capability and capability_withdrawn */
static const char CAP[] =
	"6d01010103203b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da290501070706fabffaa584330901780b38012b06"
	"01046368617423010a6c6c6d3a6c6c616d61330210df0ad6e43880f09c90ebf95f19110178040367707502097b22637075223a347d007372b0"
	"ef1b027dd5b7b095c741f9ab52105ab28b7f81a48eb70672d153bab81d5fc4de2f39d3da5a4b63c76a89977125054aa4af57f095dc1e4d72e7"
	"651fff0e";
static const char WITHDRAWN[] =
	"3701010103203b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da290501080706fabffaa584330901780b02010000"
	"53cc8e37a6a124aac67e537eadcfdba75da78e7702ef22569b8e2891bbb73410c3f88634d1e8da5ea163a7c115ac6431a58e8d0d8d2c27f31e"
	"c4e80e3ea73b0a";
static const char ED_S[] = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29";

static struct bytes unhex(const char *hex, uint8_t *room)
{
	size_t n = strlen(hex) / 2;

	assert_int_equal(hex_decode(bytes_str(hex), room, n), ERR_OK);
	return bytes_of(room, n);
}

static void a_record_is_read(void **state)
{
	uint8_t room[256];
	struct im2_record rec;
	struct bytes names[IM2_CAPS_MAX];
	size_t n;

	assert_int_equal(im2_record_parse(unhex(CAP, room), &rec), IM2_FINE);
	assert_int_equal(im2_cap_read(rec.body, names, &n), IM2_FINE);
	assert_int_equal(n, 2);
	assert_true(bytes_eq(names[0], BYTES_LIT("chat")));
	assert_true(bytes_eq(names[1], BYTES_LIT("llm:llama3")));
	assert_int_equal(im2_record_parse(unhex(WITHDRAWN, room), &rec), IM2_FINE);
	assert_int_equal(im2_cap_read(rec.body, names, &n), IM2_FINE);
	assert_int_equal(n, 0);
}

static void what_is_written_is_read(void **state)
{
	static const char *const given[] = { "llm:llama3", "a:b", "tool:zz", "llm:llama" };
	struct bytes in[IM2_CAPS_MAX + 1], out[IM2_CAPS_MAX];
	struct buf b;
	size_t n;

	for (size_t i = 0; i < 4; i++)
		in[i] = bytes_str(given[i]);
	buf_init(&b, 16000);
	assert_int_equal(im2_cap_write(in, 4, &b), IM2_FINE);
	assert_int_equal(im2_cap_read(buf_bytes(&b), out, &n), IM2_FINE);
	assert_int_equal(n, 4);
	/* Shorter elements first: their length is part of what is compared. */
	assert_true(bytes_eq(out[0], BYTES_LIT("a:b")));
	assert_true(bytes_eq(out[3], BYTES_LIT("llm:llama3")));
	buf_reset(&b);
	assert_int_equal(im2_cap_write(NULL, 0, &b), IM2_FINE);
	assert_int_equal(b.n, 2);
	assert_int_equal(im2_cap_read(buf_bytes(&b), out, &n), IM2_FINE);
	assert_int_equal(n, 0);
	in[0] = bytes_of("", 0);
	buf_reset(&b);
	assert_int_equal(im2_cap_write(in, 1, &b), IM2_E_LENGTH);
	assert_int_equal(im2_cap_write(in, IM2_CAPS_MAX + 1, &b), IM2_E_LIMIT);
	assert_int_equal(b.n, 0);
	buf_fini(&b);
}

/* Wire 11.8: what was signed by S for an origin of its own and with text beyond ASCII. */
static void an_announcement_verifies(void **state)
{
	static const char sig[] =
		"f88d98b6af0e89de628fb99444732c4e2524027d9c338ea2856fb483f5b3f5e08c9da22ef7c5bc6f0c1391bd986172a8c31f760f0531"
		"e1d0ee253e997a34330c";
	uint8_t raw[SIG_BYTES], ed[ED_BYTES];
	struct capability c;
	struct buf b;

	assert_int_equal(hex_decode(bytes_str(sig), raw, sizeof raw), ERR_OK);
	assert_int_equal(hex_decode(bytes_str(ED_S), ed, sizeof ed), ERR_OK);
	buf_init(&b, 4096);
	buf_add_str(&b, "{\"origin\":\"139e3940e64b5491722088d9a0d74162\",\"capabilities\":[\"llm:llama3\",7,\"\","
			"\"tool:caf\\u00e9\\ud83d\\ude00\"],\"announced_at\":1753500000.25,\"version\":1,\"signature\":\"");
	assert_int_equal(buf_add_base64(&b, BYTES_ARR(raw)), ERR_OK);
	buf_add_str(&b, "\"}");
	assert_int_equal(capability_read(buf_bytes(&b), &c), ERR_OK);
	assert_int_equal(c.n, 2); /* the number and the empty text do not count */
	assert_int_equal(c.announced_ms, 1753500000250);
	assert_true(c.is_signed);
	assert_true(capability_verify(&c, ed));
	c.n = 1;
	assert_false(capability_verify(&c, ed));
	c.n = 2;
	c.signature[5] ^= 1;
	assert_false(capability_verify(&c, ed));
	capability_free(&c);
	buf_fini(&b);
}

static void ours_verifies(void **state)
{
	static const char *const names[] = { "llm:llama3", "tool:caf\xc3\xa9" };
	struct keyring *k = keyring_number(7);
	struct capability c;
	struct buf b;

	buf_init(&b, 4096);
	assert_int_equal(capability_write(k, names, 2, 1753500000000, &b), ERR_OK);
	assert_non_null(strstr(buf_cstr(&b), "\"announced_at\":1753500000.0,"));
	assert_int_equal(capability_read(buf_bytes(&b), &c), ERR_OK);
	assert_true(capability_verify(&c, keyring_ed(k)));
	assert_string_equal(c.origin, keyring_id(k)->hex);
	assert_string_equal(c.names[1], names[1]);
	capability_free(&c);
	buf_fini(&b);
	keyring_free(k);
}

static void bad_ones_are_refused(void **state)
{
	static const char *const bad[] = {
		"", "[]", "{}", "{\"capabilities\":7}", "{\"capabilities\":[],\"origin\":\"alice\"}",
		"{\"capabilities\":[],\"signature\":\"AAAA\"}",
		"{\"capabilities\":[],\"signature\":\"AAAA\",\"announced_at\":1,\"version\":1}",
		"{\"capabilities\":[],\"capabilities\":[]}",
	};
	struct capability c;
	struct buf b;

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_not_equal(capability_read(bytes_str(bad[i]), &c), ERR_OK);
	assert_int_equal(capability_read(BYTES_LIT("{\"capabilities\":[\"a\"]}"), &c), ERR_OK);
	assert_false(c.is_signed);
	assert_string_equal(c.origin, "");
	capability_free(&c);
	buf_init(&b, 8192);
	buf_add_str(&b, "{\"capabilities\":[");
	for (int i = 0; i <= CAPABILITY_NAMES_MAX; i++)
		buf_add_str(&b, i ? ",\"x\"" : "\"x\"");
	buf_add_str(&b, "]}");
	assert_int_equal(capability_read(buf_bytes(&b), &c), ERR_LIMIT);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_is_read),    cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(an_announcement_verifies), cmocka_unit_test(ours_verifies),
		cmocka_unit_test(bad_ones_are_refused),
	};

	if (secret_init_library() != ERR_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
