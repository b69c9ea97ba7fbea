/* What a node says of itself on the local network: im2.json, discovery_tags. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/text.h"
#include "protocol/im2/tags.h"

#define HOUR 487083
static const char DISC[] = "8f0a5e24c9d43a307c7a424805afad0d1ba9eab53b6134c052787d54437a850f";
static const char INSTANCE[] = "0102030405060708";
static const char BOB[] = "34750f98bd59fcfc946da45aaabe933b";

static void read(uint8_t disc[static IM2_DISC_BYTES], uint8_t i[static IM2_INSTANCE_BYTES], struct node_id *bob)
{
	assert_int_equal(hex_decode(bytes_str(DISC), disc, IM2_DISC_BYTES), ERR_OK);
	assert_int_equal(hex_decode(bytes_str(INSTANCE), i, IM2_INSTANCE_BYTES), ERR_OK);
	assert_int_equal(node_id_parse(bytes_str(BOB), bob), ERR_OK);
}

static void the_vectors(void **state)
{
	uint8_t disc[IM2_DISC_BYTES], i[IM2_INSTANCE_BYTES], tag[IM2_TAG_BYTES];
	char hex[2 * IM2_TAG_BYTES + 1];
	struct node_id bob;

	(void)state;
	read(disc, i, &bob);
	im2_tag_mesh(disc, i, HOUR, tag);
	hex_encode(BYTES_ARR(tag), hex);
	assert_string_equal(hex, "a3764c6a730d82c4");
	im2_tag_node(disc, &bob, HOUR, tag);
	hex_encode(BYTES_ARR(tag), hex);
	assert_string_equal(hex, "071e338fe49f267a");
}

static void another_hour_another_key(void **state)
{
	uint8_t disc[IM2_DISC_BYTES], i[IM2_INSTANCE_BYTES], one[IM2_TAG_BYTES], two[IM2_TAG_BYTES];
	struct node_id bob;

	(void)state;
	read(disc, i, &bob);
	im2_tag_node(disc, &bob, HOUR, one);
	im2_tag_node(disc, &bob, HOUR + 1, two);
	assert_memory_not_equal(one, two, sizeof one);
	disc[31] ^= 1;
	im2_tag_node(disc, &bob, HOUR, two);
	assert_memory_not_equal(one, two, sizeof one);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_vectors),
		cmocka_unit_test(another_hour_another_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
