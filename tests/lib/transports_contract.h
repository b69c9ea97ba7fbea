/*
 * transports_contract.h -- what every transport promises, as cmocka tests.
 *
 * A test program describes its transport in a `struct contract_medium`, points contract_medium at it
 * and runs CONTRACT_TESTS. Each test opens two endpoints and stops them again.
 */
#ifndef TESTS_LIB_TRANSPORTS_CONTRACT_H
#define TESTS_LIB_TRANSPORTS_CONTRACT_H

#include "transports/transport.h"

struct contract_medium {
	void *ctx;
	void (*begin)(void *ctx); /* before each test */
	void (*end)(void *ctx);	  /* after both endpoints are freed: nothing may be left */
	/* address[LINK_ADDRESS_MAX + 1]: what others dial to reach it. */
	struct transport *(*open)(void *ctx, const struct transport_sink *sink, char *address);
	void (*turn)(void *ctx);      /* lets some time pass and callbacks run */
	uint64_t (*now_ms)(void *ctx); /* for bounds only */
	const char *nowhere;	      /* an address where nobody listens */
	const char *unparsable;
};
extern struct contract_medium *contract_medium;

int contract_setup(void **state);
int contract_teardown(void **state);
void opens_at_both_ends_and_says_who(void **state);
void pairing_links_say_so_at_both_ends(void **state);
void delivers_text_and_binary_in_order(void **state);
void delivers_every_size_up_to_the_maximum(void **state);
void refuses_empty_and_oversize_units(void **state);
void full_queue_refuses_until_writable(void **state);
void pause_holds_units_back(void **state);
void close_by_the_dialler_ends_both_sides_once(void **state);
void close_by_the_acceptor_ends_both_sides_once(void **state);
void close_flushes_what_is_queued(void **state);
void close_by_both_at_once_ends_both_sides_once(void **state);
void close_after_pause_ends(void **state);
void dial_to_nowhere_closes_once(void **state);
void dial_refuses_what_it_cannot_parse(void **state);
void closed_dial_never_opens(void **state);
void unwelcome_source_never_opens(void **state);
void close_inside_opened_is_safe(void **state);
void close_inside_unit_is_safe(void **state);
void echo_inside_unit_is_delivered(void **state);
void close_inside_writable_is_safe(void **state);
void stop_inside_unit_is_safe(void **state);
void stop_closes_every_link_then_is_done_once(void **state);
void stop_while_dialling_closes_the_dial(void **state);
void unknown_ids_are_harmless(void **state);
void ids_are_not_reused(void **state);
void many_links_keep_their_units_apart(void **state);
void stats_count_what_happened(void **state);

#define CONTRACT_TEST(f) cmocka_unit_test_setup_teardown(f, contract_setup, contract_teardown)
#define CONTRACT_TESTS                                                                             \
	CONTRACT_TEST(opens_at_both_ends_and_says_who),                                            \
		CONTRACT_TEST(pairing_links_say_so_at_both_ends),                                  \
		CONTRACT_TEST(delivers_text_and_binary_in_order),                                  \
		CONTRACT_TEST(delivers_every_size_up_to_the_maximum),                              \
		CONTRACT_TEST(refuses_empty_and_oversize_units),                                   \
		CONTRACT_TEST(full_queue_refuses_until_writable),                                  \
		CONTRACT_TEST(pause_holds_units_back),                                             \
		CONTRACT_TEST(close_by_the_dialler_ends_both_sides_once),                          \
		CONTRACT_TEST(close_by_the_acceptor_ends_both_sides_once),                         \
		CONTRACT_TEST(close_flushes_what_is_queued),                                       \
		CONTRACT_TEST(close_by_both_at_once_ends_both_sides_once),                         \
		CONTRACT_TEST(close_after_pause_ends), CONTRACT_TEST(dial_to_nowhere_closes_once), \
		CONTRACT_TEST(dial_refuses_what_it_cannot_parse),                                  \
		CONTRACT_TEST(closed_dial_never_opens),                                            \
		CONTRACT_TEST(unwelcome_source_never_opens),                                       \
		CONTRACT_TEST(close_inside_opened_is_safe),                                        \
		CONTRACT_TEST(close_inside_unit_is_safe),                                          \
		CONTRACT_TEST(echo_inside_unit_is_delivered),                                      \
		CONTRACT_TEST(close_inside_writable_is_safe),                                      \
		CONTRACT_TEST(stop_inside_unit_is_safe),                                           \
		CONTRACT_TEST(stop_closes_every_link_then_is_done_once),                           \
		CONTRACT_TEST(stop_while_dialling_closes_the_dial),                                \
		CONTRACT_TEST(unknown_ids_are_harmless), CONTRACT_TEST(ids_are_not_reused),        \
		CONTRACT_TEST(many_links_keep_their_units_apart),                                  \
		CONTRACT_TEST(stats_count_what_happened)

#endif
