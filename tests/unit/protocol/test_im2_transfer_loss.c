/* Transfers: loss, silence, resume, turns and time (im2.md 7.6). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/hash.h"
#include "tests/lib/protocol_transfer.h"

/* --- loss ------------------------------------------------------------------------------------------------ */
static void a_gap_is_repeated_once_and_at_once(void **state)
{
	struct duo *d = duo_new(NULL);
	uint8_t digest[32];
	uint32_t xfer = duo_send(&d->s[0], IM2_ITEM_MSG, 10000, 5, 65536, digest);

	while (duo_say(&d->s[0], 1000))
		;
	assert_int_equal(d->s[0].frag_bytes, 10000);
	struct item lost = duo_pop(&d->s[0], 3);
	size_t lost_n = lost.n - 3; /* number, two bytes of offset */
	free(lost.p);
	while (d->s[0].wire_n) {
		duo_arrive(d, 0, 0, false);
		while (duo_say(&d->s[1], ROOM)) /* one XACK per piece behind the gap */
			duo_arrive(d, 1, 0, false);
	}
	while (duo_say(&d->s[0], 1000))
		;
	assert_int_equal(d->s[0].frag_bytes, 10000 + lost_n);
	assert_int_equal(d->s[0].wire_n, 1);
	duo_flush(d, 1000);
	assert_int_equal(d->s[1].got, 1);
	assert_memory_equal(d->s[1].last, digest, 32);
	duo_assert_end(&d->s[0], xfer, true, 0);
	duo_free(d);
}

static void silence_ends_after_eight_repetitions(void **state)
{
	struct duo *d = duo_new(NULL);
	uint32_t xfer = duo_send(&d->s[0], IM2_ITEM_MSG, 3000, 5, 65536, NULL);

	assert_int_equal(im2_transfers_deadline_ms(d->s[0].t), UINT64_MAX);
	for (unsigned i = 0; i <= 8; i++) {
		while (duo_say(&d->s[0], 1000))
			;
		assert_int_equal(d->s[0].opens, i + 1);
		assert_int_equal(d->s[0].frag_bytes, 3000 * (i + 1));
		assert_int_equal(im2_transfers_deadline_ms(d->s[0].t), d->e.now_ms + 5000);
		duo_pass(d, 4999);
		assert_false(duo_say(&d->s[0], 1000));
		duo_pass(d, 1);
	}
	duo_assert_end(&d->s[0], xfer, false, 11);
	duo_forget(&d->s[0]);
	duo_assert_says(&d->s[0], IM2_ITEM_XABORT, "01010103010b");
	duo_assert_quiet(&d->s[0]);
	assert_int_equal(im2_transfers_deadline_ms(d->s[0].t), UINT64_MAX);
	assert_int_equal(im2_transfer_out_bytes(d->s[0].t), 0);
	duo_free(d);
}

/* While the transport takes nothing, nothing is lost and nothing times out. */
static void back_pressure_is_not_silence(void **state)
{
	struct duo *d = duo_new(NULL);

	duo_send(&d->s[0], IM2_ITEM_MSG, 3000, 5, 65536, NULL);
	duo_pass(d, 3600000);
	assert_true(duo_say(&d->s[0], 1000));
	assert_true(duo_say(&d->s[0], 1000));
	duo_pass(d, 3600000);
	duo_assert_no_end(&d->s[0]);
	assert_int_equal(im2_transfers_deadline_ms(d->s[0].t), UINT64_MAX);
	duo_flush(d, 1000);
	assert_int_equal(d->s[1].got, 1);
	assert_int_equal(d->s[0].opens, 1);
	duo_free(d);
}

static void a_lost_last_ack_is_said_again(void **state)
{
	struct duo *d = duo_new(NULL);
	uint32_t xfer = duo_send(&d->s[0], IM2_ITEM_MSG, 3000, 5, 65536, NULL);

	while (duo_say(&d->s[0], ROOM))
		;
	while (d->s[0].wire_n)
		duo_arrive(d, 0, 0, false);
	assert_int_equal(d->s[1].got, 1);
	assert_true(duo_say(&d->s[1], ROOM));
	duo_forget(&d->s[1]);
	duo_pass(d, 5000);
	duo_flush(d, ROOM);
	duo_assert_end(&d->s[0], xfer, true, 0);
	assert_int_equal(d->s[1].got, 1); /* and not delivered twice */
	duo_free(d);
}

static uint32_t chance(struct duo *d, uint32_t below)
{
	return (uint32_t)env_uniform(&d->e.env, below);
}

/* Everything that can happen on the way, from seeds; eight transfers, both ways at once. */
static void everything_arrives_through_loss_reorder_and_repetition(void **state)
{
	for (unsigned seed = 1; seed <= 40; seed++) {
		struct duo *d = duo_new(&(struct im2_transfer_config){.window = 2000 + seed * 500, .radio = seed % 2,
								       .bytes_max = 1u << 20});
		unsigned want[2] = {0, 0}, ended[2] = {0, 0};
		struct im2_transfer_end end;
		uint64_t steps = 0;

		for (unsigned i = 0; i < seed; i++)
			chance(d, 2);
		for (unsigned i = 0; i < 6; i++) {
			int who = (int)(i & 1);
			duo_send(&d->s[who], i < 3 ? IM2_ITEM_MSG : IM2_ITEM_SMSG, 1 + chance(d, 30000), seed * 10 + i,
				     2000 + seed * 500, NULL);
			want[who]++;
		}
		while (ended[0] < want[0] || ended[1] < want[1]) {
			int who = (int)chance(d, 2);
			struct side *s = &d->s[who];

			assert_true(++steps < 200000);
			switch (chance(d, 10)) {
			case 0:
			case 1:
			case 2:
			case 3:
				if (s->wire_n < 200 && !duo_say(s, 100 + chance(d, 2000)) && s->wire_n == 0)
					duo_pass(d, 500);
				break;
			case 4:
			case 5:
			case 6:
				if (s->wire_n)
					duo_arrive(d, who, 0, false);
				break;
			case 7: /* out of order */
				if (s->wire_n)
					duo_arrive(d, who, chance(d, (uint32_t)s->wire_n), false);
				break;
			case 8: /* twice */
				if (s->wire_n)
					duo_arrive(d, who, chance(d, (uint32_t)s->wire_n), true);
				break;
			case 9:
				if (s->wire_n && chance(d, 3) == 0)
					free(duo_pop(s, chance(d, (uint32_t)s->wire_n)).p);
				break;
			}
			for (int i = 0; i < 2; i++)
				while (im2_transfer_ended(d->s[i].t, &end)) {
					assert_true(end.delivered);
					ended[i]++;
				}
			assert_true(d->total[0] <= 1u << 20 && d->total[1] <= 1u << 20);
		}
		assert_int_equal(d->s[0].got, want[1]);
		assert_int_equal(d->s[1].got, want[0]);
		duo_free(d);
	}
}

/* --- resume, turns, time ------------------------------------------------------------------------------------ */
static void a_new_session_goes_on_where_the_old_one_was_cut(void **state)
{
	struct duo *d = duo_new(&(struct im2_transfer_config){.window = 20000});
	uint8_t digest[32];
	uint32_t xfer = duo_send(&d->s[0], IM2_ITEM_MSG, 200000, 5, 20000, digest);
	size_t before;

	while (d->s[0].frag_bytes < 150000) {
		duo_say(&d->s[0], 1000);
		while (d->s[0].wire_n)
			duo_arrive(d, 0, 0, false);
		while (duo_say(&d->s[1], ROOM))
			duo_arrive(d, 1, 0, false);
	}
	for (int i = 0; i < 2; i++) {
		im2_transfers_session(d->s[i].t);
		duo_forget(&d->s[i]);
	}
	assert_int_equal(d->total[1], 200000);
	duo_pass(d, 599999); /* a second less than ten minutes */
	im2_transfers_credit(d->s[0].t, 20000);
	before = d->s[0].frag_bytes;
	assert_true(duo_say(&d->s[0], 1000));
	duo_arrive(d, 0, 0, false);
	duo_flush(d, 1000);
	assert_int_equal(d->s[1].got, 1);
	assert_memory_equal(d->s[1].last, digest, 32);
	duo_assert_end(&d->s[0], xfer, true, 0);
	assert_true(d->s[0].frag_bytes - before <= 200000 - 150000 + 2000);
	duo_free(d);
}

static void partial_data_goes_after_its_time(void **state)
{
	uint8_t v[1000], digest[32];
	struct duo *d = duo_opened(v, 4096);
	struct side *s = &d->s[1];
	struct buf b;

	/* Opened and silent: not even its memory stays long. */
	assert_int_equal(d->total[1], 1000);
	duo_pass(d, 50000);
	assert_int_equal(d->total[1], 0);
	duo_assert_says(s, IM2_ITEM_XABORT, "010101030106");
	duo_free(d);

	d = duo_opened(v, 4096); /* the same at the end of a session */
	im2_transfers_session(d->s[1].t);
	assert_int_equal(d->total[1], 0);
	duo_free(d);

	d = duo_opened(v, 4096);
	s = &d->s[1];
	assert_int_equal(duo_hand_frag(s, 1, 0, v, 100), IM2_FINE);
	im2_transfers_session(s->t);
	assert_int_equal(im2_transfers_deadline_ms(s->t), d->e.now_ms + 600000);
	duo_pass(d, 599999);
	assert_int_equal(d->total[1], 1000);
	sha256(BYTES_ARR(v), digest);
	buf_init(&b, 256);
	duo_hand_open(&b, 7, 1000, IM2_ITEM_SMSG, digest); /* another tag: another value */
	duo_hear(s, IM2_ITEM_XOPEN, buf_bytes(&b));
	assert_int_equal(d->total[1], 2000);
	duo_assert_quiet(s);
	duo_hand_open(&b, 8, 1000, IM2_ITEM_MSG, digest);
	duo_hear(s, IM2_ITEM_XOPEN, buf_bytes(&b));
	duo_assert_says(s, IM2_ITEM_XACK, "0101080301640502e807");
	im2_transfers_session(s->t);
	duo_pass(d, 600000);
	assert_int_equal(d->total[1], 0);
	assert_int_equal(im2_transfers_deadline_ms(s->t), UINT64_MAX);
	buf_fini(&b);
	duo_free(d);
}

/* What is only kept makes room for what comes. */
static void kept_data_gives_way(void **state)
{
	struct duo *d = duo_new(&(struct im2_transfer_config){.bytes_max = 10000});
	struct side *s = &d->s[1];
	uint8_t digest[32] = {0};
	struct buf b;

	buf_init(&b, 256);
	for (unsigned i = 0; i < 2; i++) {
		digest[0] = (uint8_t)i;
		duo_hand_open(&b, i, 5000, IM2_ITEM_MSG, digest);
		duo_hear(s, IM2_ITEM_XOPEN, buf_bytes(&b));
		assert_int_equal(duo_hand_frag(s, i, 0, digest, 32), IM2_FINE);
		duo_pass(d, 1000);
	}
	im2_transfers_session(s->t);
	assert_int_equal(d->total[1], 10000);
	digest[0] = 9;
	duo_hand_open(&b, 3, 5000, IM2_ITEM_MSG, digest);
	duo_hear(s, IM2_ITEM_XOPEN, buf_bytes(&b));
	assert_int_equal(d->total[1], 10000);
	duo_assert_quiet(s);
	digest[0] = 1; /* the younger one is still here */
	duo_hand_open(&b, 4, 5000, IM2_ITEM_MSG, digest);
	duo_hear(s, IM2_ITEM_XOPEN, buf_bytes(&b));
	duo_assert_says(s, IM2_ITEM_XACK, "01010403012005028827");
	buf_fini(&b);
	duo_free(d);
}

static void transfers_take_turns(void **state)
{
	struct duo *d = duo_new(NULL);
	unsigned seen[4] = {0};

	for (unsigned i = 0; i < 3; i++)
		duo_send(&d->s[0], IM2_ITEM_MSG, 30000, i, 65536, NULL);
	for (unsigned i = 0; i < 33; i++)
		assert_true(duo_say(&d->s[0], 1000));
	for (size_t i = 0; i < d->s[0].wire_n; i++) {
		uint32_t xfer;
		uint64_t at;
		struct bytes data;

		if (d->s[0].wire[i].tag == IM2_ITEM_FRAG) {
			assert_int_equal(im2_frag_take(bytes_of(d->s[0].wire[i].p, d->s[0].wire[i].n), &xfer, &at, &data),
					 IM2_FINE);
			seen[xfer]++;
		}
	}
	assert_int_equal(seen[1], 10);
	assert_int_equal(seen[2], 10);
	assert_int_equal(seen[3], 10);
	duo_free(d);
}

/* On radio an XACK tells what came when nothing more comes. */
static void radio_says_what_it_has_after_two_seconds(void **state)
{
	for (int radio = 0; radio < 2; radio++) {
		struct duo *d = duo_new(&(struct im2_transfer_config){.radio = radio, .window = 2048});

		duo_send(&d->s[0], IM2_ITEM_MSG, 5000, 5, 2048, NULL);
		assert_true(duo_say(&d->s[0], 400));
		assert_true(duo_say(&d->s[0], 400));
		while (d->s[0].wire_n)
			duo_arrive(d, 0, 0, false);
		duo_pass(d, 1999);
		duo_assert_quiet(&d->s[1]);
		duo_pass(d, 1);
		assert_int_equal(duo_say(&d->s[1], ROOM), radio);
		duo_pass(d, 2000);
		duo_assert_quiet(&d->s[1]);
		duo_free(d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_gap_is_repeated_once_and_at_once),
		cmocka_unit_test(silence_ends_after_eight_repetitions),
		cmocka_unit_test(back_pressure_is_not_silence),
		cmocka_unit_test(a_lost_last_ack_is_said_again),
		cmocka_unit_test(everything_arrives_through_loss_reorder_and_repetition),
		cmocka_unit_test(a_new_session_goes_on_where_the_old_one_was_cut),
		cmocka_unit_test(partial_data_goes_after_its_time),
		cmocka_unit_test(kept_data_gives_way),
		cmocka_unit_test(transfers_take_turns),
		cmocka_unit_test(radio_says_what_it_has_after_two_seconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
