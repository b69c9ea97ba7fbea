/* What is known of a link, and which of the claimed addresses count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>

#include "transports/mdns/mdns_internal.h"

static uint64_t seed = 1;

static void chance(void *ctx, void *out, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		((uint8_t *)out)[i] = (uint8_t)(seed >> 56);
	}
}

static struct env env = { .random = chance };
static struct table table;

static struct row *add(const char *name, uint32_t ifindex)
{
	struct row *r = NULL;

	assert_int_equal(table_add(&table, 0, name, ifindex, &r), ERR_OK);
	r->seen = 1;
	return r;
}

static void fill(void)
{
	char name[20];

	for (unsigned i = 0; table.n < MDNS_SERVICES_MAX; i++) {
		snprintf(name, sizeof name, "s%u", i);
		add(name, 2);
	}
}

static int end(void **state)
{
	table_fini(&table);
	assert_int_equal(table.n, 0);
	return 0;
}

static void the_same_name_on_two_interfaces_is_two_rows(void **state)
{
	struct row *a = add("x", 2), *b = add("x", 3);

	assert_ptr_equal(table_find(&table, 0, "x", 2), a);
	assert_ptr_equal(table_find(&table, 0, "x", 3), b);
	assert_null(table_find(&table, 1, "x", 2));
	table_drop(&table, a);
	assert_null(table_find(&table, 0, "x", 2));
	assert_ptr_equal(table_find(&table, 0, "x", 3), b);
}

static void the_table_is_bounded(void **state)
{
	struct row *r;

	fill();
	assert_int_equal(table_add(&table, 0, "more", 2, &r), ERR_FULL);
}

static void only_who_is_of_no_use_makes_room(void **state)
{
	fill();
	assert_null(table_victim(&table, &env)); /* nobody was asked yet */
	for (size_t i = 0; i < table.n; i++) {
		table.rows[i]->state = ROW_READY;
		table.rows[i]->wanted = i != 77;
	}
	assert_ptr_equal(table_victim(&table, &env), table.rows[77]);
	/* One that answers nothing goes before one that answers and is of no use. */
	table.rows[5]->wanted = false;
	table.rows[5]->state = ROW_FAILED;
	table.rows[5]->failures = 2;
	assert_ptr_equal(table_victim(&table, &env), table.rows[5]);
	/* A member that is silent for a while stays. */
	table.rows[5]->wanted = table.rows[77]->wanted = true;
	assert_null(table_victim(&table, &env));
}

static void a_crowd_cannot_stay_in_front(void **state)
{
	struct row *late;
	unsigned hits = 0;

	fill();
	table_drop(&table, table.rows[0]);
	late = add("late", 2);
	for (unsigned i = 0; i < 20 * MDNS_SERVICES_MAX; i++)
		hits += table_next(&table, ANY, 0, &env) == late;
	assert_in_range(hits, 5, 60); /* 20 on average */
	assert_null(table_next(&table, WANTED, 0, &env));
	for (size_t i = 0; i < table.n; i++)
		table.rows[i]->state = table.rows[i] == late ? ROW_NEW : ROW_FAILED;
	assert_ptr_equal(table_next(&table, NEVER_ASKED, 0, &env), late);
	late->wanted = true;
	assert_ptr_equal(table_next(&table, WANTED, 0, &env), late);
	late->due_ms = 10;
	assert_null(table_next(&table, WANTED, 9, &env));
	late->due_ms = 0;
	table_doubt(&table, -1, 50);
	assert_null(table_next(&table, ANY, 10, &env)); /* nothing is asked that may be gone */
}

static void doubt_does_not_grow_older(void **state)
{
	struct row *r = add("x", 2);

	table_doubt(&table, 0, 100);
	assert_int_equal(r->seen, 0);
	assert_int_equal(r->gone_ms, 100);
	table_doubt(&table, -1, 500);
	assert_int_equal(r->gone_ms, 100);
	table_doubt(&table, -1, 50);
	assert_int_equal(r->gone_ms, 50);
	table_doubt(&table, 1, 20);
	assert_int_equal(r->gone_ms, 50); /* of another type */
}

/* --- addresses ------------------------------------------------------------------------------------------------- */

static struct ip ip(const char *text)
{
	struct ip a = { .v6 = strchr(text, ':') != NULL };

	assert_int_equal(inet_pton(a.v6 ? AF_INET6 : AF_INET, text, a.b), 1);
	return a;
}

static struct own_net nets[5];

static int own(void **state)
{
	nets[0] = (struct own_net){ 1, ip("127.0.0.1"), 8, true };
	nets[1] = (struct own_net){ 1, ip("::1"), 128, true };
	nets[2] = (struct own_net){ 2, ip("192.0.2.9"), 25, false };
	nets[3] = (struct own_net){ 2, ip("2001:db8:1::9"), 64, false };
	nets[4] = (struct own_net){ 3, ip("198.51.100.1"), 24, false };
	return 0;
}

static unsigned rank(const char *address, uint32_t ifindex, const char *bind)
{
	struct bind_rule rule;
	struct ip a = ip(address);

	bind_rule_of(bind, nets, 5, &rule);
	return address_rank(&a, ifindex, nets, 5, &rule);
}

static void the_nearest_address_is_first(void **state)
{
	assert_int_equal(rank("192.0.2.7", 2, NULL), RANK_NET4);
	assert_int_equal(rank("192.0.2.200", 2, NULL), RANK_FAR); /* beyond /25 */
	assert_int_equal(rank("192.0.2.7", 3, NULL), RANK_FAR);   /* of another net */
	assert_int_equal(rank("2001:db8:1::7", 2, NULL), RANK_NET6);
	assert_int_equal(rank("2001:db8:2::7", 2, NULL), RANK_FAR);
	assert_int_equal(rank("fe80::7", 2, NULL), RANK_LINK6);
}

static void nobody_sends_us_to_ourselves_or_to_a_crowd(void **state)
{
	static const char *const never[] = { "127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "224.0.0.251", "255.255.255.255",
					     "ff02::fb", "::ffff:127.0.0.1", "::ffff:192.0.2.7", "::192.0.2.7", "0.1.2.3" };

	for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
		assert_int_equal(rank(never[i], 2, NULL), RANK_NEVER);
	assert_int_equal(rank("127.0.0.1", 1, NULL), RANK_NET4);
	assert_int_equal(rank("::1", 1, NULL), RANK_NET6);
}

static void a_bind_address_restricts(void **state)
{
	assert_int_equal(rank("192.0.2.7", 2, "192.0.2.9"), RANK_NET4);
	assert_int_equal(rank("192.0.2.7", 3, "192.0.2.9"), RANK_NEVER);
	assert_int_equal(rank("203.0.113.1", 2, "192.0.2.9"), RANK_NEVER);
	assert_int_equal(rank("fe80::7", 2, "192.0.2.9"), RANK_NEVER);
	assert_int_equal(rank("fe80::7", 2, "2001:db8:1::9"), RANK_LINK6);
	assert_int_equal(rank("192.0.2.7", 2, "127.0.0.1"), RANK_NEVER);
	assert_int_equal(rank("127.0.0.1", 1, "127.0.0.1"), RANK_NET4);
	assert_int_equal(rank("127.0.0.1", 1, "127.0.0.7"), RANK_NET4);
	assert_int_equal(rank("127.0.0.1", 1, "localhost"), RANK_NET4);
	assert_int_equal(rank("192.0.2.7", 2, "localhost"), RANK_NEVER);
	assert_int_equal(rank("192.0.2.7", 2, "0.0.0.0"), RANK_NET4);
	assert_int_equal(rank("fe80::7", 2, "::"), RANK_LINK6);
	assert_int_equal(rank("192.0.2.7", 2, "203.0.113.77"), RANK_NEVER); /* an address that nobody has */
}

static void a_link_local_address_has_its_scope(void **state)
{
	struct ip a = ip("fe80::1:2"), b = ip("192.0.2.7"), c = ip("2001:db8::1");
	char text[80];

	address_text(&a, 3, 8765, text);
	assert_string_equal(text, "[fe80::1:2%3]:8765");
	address_text(&b, 3, 1, text);
	assert_string_equal(text, "192.0.2.7:1");
	address_text(&c, 3, 65535, text);
	assert_string_equal(text, "[2001:db8::1]:65535");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(the_same_name_on_two_interfaces_is_two_rows, end),
		cmocka_unit_test_teardown(the_table_is_bounded, end),
		cmocka_unit_test_teardown(only_who_is_of_no_use_makes_room, end),
		cmocka_unit_test_teardown(a_crowd_cannot_stay_in_front, end),
		cmocka_unit_test_teardown(doubt_does_not_grow_older, end),
		cmocka_unit_test_setup(the_nearest_address_is_first, own),
		cmocka_unit_test_setup(nobody_sends_us_to_ourselves_or_to_a_crowd, own),
		cmocka_unit_test_setup(a_bind_address_restricts, own),
		cmocka_unit_test_setup(a_link_local_address_has_its_scope, own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
