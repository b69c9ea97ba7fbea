/* Transfers: items, credit, memory and hostile data (im2.md 7.6, 18.1). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/hash.h"
#include "tests/lib/protocol_transfer.h"

/* --- the vectors ------------------------------------------------------------------------------------- */
static size_t vector_object(uint8_t out[929])
{
	test_unhex("01100405060708090a0b0c0d0e0f101112130f06fabffaa58433218407", out, 29);
	for (unsigned i = 0; i < 900; i++)
		out[29 + i] = (uint8_t)i;
	return 929;
}

static void fragments_are_those_of_the_vectors(void **state)
{
	static const char open[] =
		"0101010302a10705010307204a17e83ab70c825cbbe2c0689ef1cf43cc370dc4429cf28b1f66e5e64c702076";
	static const char *const heads[] = {"0100", "01de02", "01bc05"};
	static const size_t sizes[] = {350, 350, 229};
	struct duo *d = duo_new(NULL);
	uint8_t object[929], want[400];
	uint32_t xfer;

	vector_object(object);
	assert_int_equal(im2_transfer_send(d->s[0].t, IM2_ITEM_MSG, BYTES_ARR(object), 65536, &xfer), ERR_OK);
	assert_int_equal(xfer, 1);
	assert_int_equal(im2_transfer_out_bytes(d->s[0].t), 929);
	assert_true(duo_say(&d->s[0], ROOM));
	test_unhex(open, want, sizeof open / 2);
	assert_int_equal(d->s[0].wire[0].n, sizeof open / 2);
	assert_memory_equal(d->s[0].wire[0].p, want, sizeof open / 2);
	for (size_t i = 0; i < 3; i++) {
		size_t head = strlen(heads[i]) / 2;
		struct item *x = &d->s[0].wire[1 + i];

		assert_true(duo_say(&d->s[0], im2_item_size(IM2_ITEM_FRAG, head + 350)));
		test_unhex(heads[i], want, head);
		assert_int_equal(x->n, head + sizes[i]);
		assert_memory_equal(x->p, want, head);
		assert_memory_equal(x->p + head, object + i * 350, sizes[i]);
	}
	duo_assert_quiet(&d->s[0]);
	duo_arrive(d, 0, 0, false);
	duo_assert_quiet(&d->s[1]); /* nothing to say about an XOPEN that is new */
	duo_arrive(d, 0, 1, false);
	duo_assert_says(&d->s[1], IM2_ITEM_XACK, "0101010301000502a107060504de02de02");
	duo_arrive(d, 0, 0, false);
	duo_arrive(d, 0, 0, false);
	assert_int_equal(d->s[1].got, 1);
	assert_int_equal(d->s[1].last_tag, IM2_ITEM_MSG);
	assert_int_equal(d->s[1].last_n, 929);
	duo_assert_says(&d->s[1], IM2_ITEM_XACK, "0101010302a1070502a107");
	duo_free(d);

	d = duo_new(&(struct im2_transfer_config){.bytes_total_max = 928});
	test_unhex(open, want, sizeof open / 2);
	duo_hear(&d->s[1], IM2_ITEM_XOPEN, bytes_of(want, sizeof open / 2));
	assert_int_equal(d->total[1], 0);
	duo_assert_says(&d->s[1], IM2_ITEM_XABORT, "010101030106");
	duo_free(d);
}

static void malformed_items_are_refused(void **state)
{
	static const struct {
		uint16_t tag;
		const char *hex;
		enum im2_refusal r;
	} rows[] = {
		{IM2_ITEM_XACK, "0101000301000501000603020005", IM2_E_RANGE},
		{IM2_ITEM_XACK, "0101000301000501000600", IM2_E_NONCANON},
		{IM2_ITEM_FRAG, "0100", IM2_E_SHORT},
		{IM2_ITEM_FRAG, "01", IM2_E_SHORT},
		{IM2_ITEM_XABORT, "0101010302ac02", IM2_E_RANGE},
		{IM2_ITEM_MSG, "00", IM2_E_CONTEXT},
	};
	struct duo *d = duo_new(NULL);
	uint8_t v[64];

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		test_unhex(rows[i].hex, v, strlen(rows[i].hex) / 2);
		assert_int_equal(im2_transfer_take(d->s[0].t, rows[i].tag,
						   bytes_of(v, strlen(rows[i].hex) / 2)),
				 rows[i].r);
	}
	/* Tags that never travel so, among them XOPEN itself. */
	static const uint16_t tags[] = {IM2_ITEM_RECEIPT, IM2_ITEM_XOPEN, IM2_ITEM_CHUNK, IM2_ITEM_CLOSE, 1000};
	struct buf b;
	buf_init(&b, 256);
	for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++) {
		uint32_t xfer;

		duo_hand_open(&b, 1, 100, tags[i], v);
		assert_int_equal(im2_transfer_take(d->s[0].t, IM2_ITEM_XOPEN, buf_bytes(&b)), IM2_E_CONTEXT);
		assert_int_equal(im2_transfer_send(d->s[0].t, tags[i], BYTES_ARR(v), 100, &xfer), ERR_LIMIT);
	}
	buf_fini(&b);
	duo_assert_quiet(&d->s[0]);
	duo_free(d);
}

/* --- credit and memory --------------------------------------------------------------------------------- */
static void a_megabyte_crosses_within_its_credit(void **state)
{
	static const uint32_t windows[] = {1, 700, 65536, 262144, 4u << 20};

	for (size_t w = 0; w < sizeof windows / sizeof windows[0]; w++) {
		struct duo *d = duo_new(&(struct im2_transfer_config){.window = windows[w]});
		size_t n = w == 0 ? 300 : w == 1 ? 30000 : IM2_MSG_MAX;
		uint64_t limit = windows[w], ahead = 0;
		uint8_t digest[32];
		uint32_t xfer = duo_send(&d->s[0], IM2_ITEM_MSG, n, 1, windows[w], digest);
		bool busy = true;

		while (busy) {
			busy = duo_say(&d->s[0], ROOM);
			while (d->s[0].wire_n) {
				struct item *x = &d->s[0].wire[0];
				uint32_t number;
				uint64_t at;
				struct bytes data;

				if (x->tag == IM2_ITEM_FRAG) {
					assert_int_equal(im2_frag_take(bytes_of(x->p, x->n), &number, &at, &data),
							 IM2_FINE);
					assert_true(at + data.n <= limit);
				}
				duo_arrive(d, 0, 0, false);
				if (d->total[1] > ahead)
					ahead = d->total[1];
			}
			while (duo_say(&d->s[1], ROOM)) {
				struct im2_fields f;
				struct item *x = &d->s[1].wire[0];

				assert_int_equal(x->tag, IM2_ITEM_XACK);
				assert_int_equal(im2_parse(&im2_xack, bytes_of(x->p, x->n), &f), IM2_FINE);
				if (f.v[IM2_XACK_LIMIT].u > limit)
					limit = f.v[IM2_XACK_LIMIT].u;
				assert_true(f.v[IM2_XACK_LIMIT].u <= n);
				assert_int_equal(im2_has(&f, IM2_XACK_HAVE), false);
				duo_arrive(d, 1, 0, false);
				busy = true;
			}
		}
		assert_int_equal(d->s[1].got, 1);
		assert_memory_equal(d->s[1].last, digest, 32);
		duo_assert_end(&d->s[0], xfer, true, 0);
		assert_int_equal(d->s[0].frag_bytes, n); /* nothing twice */
		assert_int_equal(ahead, n);		 /* and nothing but the value in memory */
		/* One XACK each half window. */
		assert_true(d->s[1].acks <= 2 * n / windows[w] + 2);
		assert_int_equal(d->total[1], 0);
		duo_free(d);
	}
}

static void sender_stops_at_the_credit(void **state)
{
	struct duo *d = duo_new(NULL);

	duo_send(&d->s[0], IM2_ITEM_MSG, 100000, 1, 5000, NULL);
	while (duo_say(&d->s[0], 1000))
		;
	assert_int_equal(d->s[0].frag_bytes, 5000);
	assert_false(im2_transfer_waiting(d->s[0].t));
	duo_free(d);

	d = duo_new(NULL); /* no credit at all: XOPEN, then the peer says how much */
	duo_send(&d->s[0], IM2_ITEM_MSG, 100000, 1, 0, NULL);
	while (duo_say(&d->s[0], 1000))
		;
	assert_int_equal(d->s[0].wire_n, 1);
	uint8_t ack[] = {1, 1, 1, 3, 1, 0, 5, 1, 100};
	duo_hear(&d->s[0], IM2_ITEM_XACK, BYTES_ARR(ack));
	while (duo_say(&d->s[0], 1000))
		;
	assert_int_equal(d->s[0].frag_bytes, 100);
	duo_free(d);
}

static void small_rooms_get_no_crumbs(void **state)
{
	struct duo *d = duo_new(NULL);

	duo_send(&d->s[0], IM2_ITEM_MSG, 3000, 1, 65536, NULL);
	assert_false(duo_say(&d->s[0], 40));
	assert_true(duo_say(&d->s[0], 64));
	assert_false(duo_say(&d->s[0], 30));
	assert_true(im2_transfer_waiting(d->s[0].t));
	for (size_t room = 64; room < 400; room++)
		duo_say(&d->s[0], room);
	while (d->s[0].wire_n)
		duo_arrive(d, 0, 0, false);
	assert_int_equal(d->s[1].got, 1);
	duo_free(d);
}

static void memory_is_bounded_before_anything_is_taken(void **state)
{
	struct duo *d = duo_new(&(struct im2_transfer_config){.bytes_max = 10000, .bytes_total_max = 15000});
	struct im2_transfers *other;
	struct im2_transfer_config c = {.env = &d->e.env, .bytes_total = &d->total[1]};
	struct side *s = &d->s[1];
	uint8_t digest[32] = {0};
	struct buf b;

	buf_init(&b, 256);
	/* Too large for the tag, or for us ever: 10. */
	duo_hand_open(&b, 1, IM2_RECORD_MAX + 1, IM2_ITEM_RECORD, digest);
	duo_hear(s, IM2_ITEM_XOPEN, buf_bytes(&b));
	duo_assert_says(s, IM2_ITEM_XABORT, "01010103010a");
	duo_hand_open(&b, 2, 10001, IM2_ITEM_MSG, digest);
	duo_hear(s, IM2_ITEM_XOPEN, buf_bytes(&b));
	duo_assert_says(s, IM2_ITEM_XABORT, "01010203010a");
	assert_int_equal(d->total[1], 0);
	/* Of one peer. */
	duo_hand_open(&b, 3, 6000, IM2_ITEM_MSG, digest);
	duo_hear(s, IM2_ITEM_XOPEN, buf_bytes(&b));
	duo_hand_open(&b, 4, 4001, IM2_ITEM_MSG, digest);
	duo_hear(s, IM2_ITEM_XOPEN, buf_bytes(&b));
	duo_assert_says(s, IM2_ITEM_XABORT, "010104030106");
	duo_hand_open(&b, 5, 4000, IM2_ITEM_MSG, digest);
	duo_hear(s, IM2_ITEM_XOPEN, buf_bytes(&b));
	duo_assert_quiet(s);
	assert_int_equal(im2_transfer_in_bytes(s->t), 10000);
	/* Of all peers. */
	c.bytes_max = 10000;
	c.bytes_total_max = 15000;
	assert_int_equal(im2_transfers_new(&c, &other), ERR_OK);
	duo_hand_open(&b, 1, 5001, IM2_ITEM_MSG, digest);
	assert_int_equal(im2_transfer_take(other, IM2_ITEM_XOPEN, buf_bytes(&b)), IM2_FINE);
	assert_int_equal(d->total[1], 10000);
	duo_hand_open(&b, 2, 5000, IM2_ITEM_MSG, digest);
	assert_int_equal(im2_transfer_take(other, IM2_ITEM_XOPEN, buf_bytes(&b)), IM2_FINE);
	assert_int_equal(d->total[1], 15000);
	im2_transfers_free(other);
	assert_int_equal(d->total[1], 10000);
	buf_fini(&b);
	duo_free(d);

	/* Eight at once, on either side. */
	d = duo_new(NULL);
	s = &d->s[0];
	uint8_t v[9][40];
	uint32_t xfer;
	for (unsigned i = 0; i < 9; i++) {
		memset(v[i], (int)i, sizeof v[i]);
		assert_int_equal(im2_transfer_send(s->t, IM2_ITEM_MSG, BYTES_ARR(v[i]), 100, &xfer),
				 i < 8 ? ERR_OK : ERR_AGAIN);
	}
	buf_init(&b, 256);
	for (unsigned i = 0; i < 9; i++) {
		memset(digest, (int)i, sizeof digest);
		duo_hand_open(&b, i, 40, IM2_ITEM_MSG, digest);
		duo_hear(&d->s[1], IM2_ITEM_XOPEN, buf_bytes(&b));
	}
	assert_int_equal(d->total[1], 8 * 40);
	duo_assert_says(&d->s[1], IM2_ITEM_XABORT, "010108030106");
	buf_fini(&b);
	duo_free(d);
}

/* A value with its first byte, so that it is kept. */
static enum im2_refusal begun(struct im2_transfers *t, uint8_t number, uint64_t len)
{
	uint8_t digest[32] = {number}, frag[3] = {number, 0, 7};
	enum im2_refusal r;
	struct buf b;

	buf_init(&b, 256);
	duo_hand_open(&b, number, len, IM2_ITEM_MSG, digest);
	r = im2_transfer_take(t, IM2_ITEM_XOPEN, buf_bytes(&b));
	buf_fini(&b);
	return r == IM2_FINE ? im2_transfer_take(t, IM2_ITEM_FRAG, BYTES_ARR(frag)) : r;
}

static void strangers_share_an_eighth(void **state)
{
	struct im2_transfer_pool pool = {0};
	struct im2_transfers *t[5];
	struct penv e;
	uint64_t total = 0;

	penv_init(&e);
	for (unsigned i = 0; i < 5; i++) {
		struct im2_transfer_config c = {.env = &e.env, .bytes_total = &total, .bytes_total_max = 6u << 20,
						.pool = &pool, .stranger = i < 4};

		assert_int_equal(im2_transfers_new(&c, &t[i]), ERR_OK);
	}
	/* 256 KiB each. */
	assert_int_equal(begun(t[0], 1, (256 << 10) + 1), IM2_FINE);
	assert_int_equal(total, 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(begun(t[i], 2, 200 << 10), IM2_FINE);
		assert_int_equal(begun(t[i], 3, 56 << 10), IM2_FINE);
		assert_int_equal(begun(t[i], 4, 1), IM2_FINE);
		assert_int_equal(im2_transfer_in_bytes(t[i]), i < 3 ? 256 << 10 : 0);
	}
	assert_int_equal(pool.strangers, (6 << 20) / 8);
	/* Friends have the rest, and who becomes one leaves the share. */
	assert_int_equal(begun(t[4], 5, 1000000), IM2_FINE);
	assert_int_equal(im2_transfer_in_bytes(t[4]), 1000000);
	im2_transfers_stranger(t[0], false);
	assert_int_equal(pool.strangers, 512 << 10);
	assert_int_equal(begun(t[0], 6, 1000000), IM2_FINE);
	assert_int_equal(im2_transfer_in_bytes(t[0]), 1000000 + (256 << 10));
	assert_int_equal(begun(t[3], 7, 100), IM2_FINE);
	assert_int_equal(im2_transfer_in_bytes(t[3]), 100);
	/* Who leaves takes it all with him. */
	for (unsigned i = 1; i < 4; i++)
		im2_transfers_rest(t[i]);
	assert_int_equal(pool.strangers, 0);
	assert_int_equal(total, 2000000 + (256 << 10));
	for (unsigned i = 0; i < 5; i++)
		im2_transfers_free(t[i]);
	assert_int_equal(total, 0);
	assert_null(pool.first);
	assert_null(pool.last);
}

static void who_has_no_path_makes_room(void **state)
{
	struct im2_transfer_pool pool = {0};
	struct im2_transfers *t[4];
	struct penv e;
	uint64_t total = 0;

	penv_init(&e);
	for (unsigned i = 0; i < 4; i++) {
		struct im2_transfer_config c = {.env = &e.env, .bytes_total = &total, .bytes_total_max = 3000000,
						.pool = &pool};

		assert_int_equal(im2_transfers_new(&c, &t[i]), ERR_OK);
		if (i < 3)
			assert_int_equal(begun(t[i], 1, 1000000), IM2_FINE);
	}
	/* All are here: nobody loses anything. */
	assert_int_equal(begun(t[3], 1, 1000000), IM2_FINE);
	assert_int_equal(im2_transfer_in_bytes(t[3]), 0);
	im2_transfers_rest(t[2]);
	im2_transfers_rest(t[0]);
	im2_transfers_rest(t[1]);
	im2_transfers_rest(t[2]);
	im2_transfers_wake(t[0]);
	assert_int_equal(begun(t[3], 2, 1000000), IM2_FINE);
	assert_int_equal(im2_transfer_in_bytes(t[2]), 0);
	assert_int_equal(im2_transfer_in_bytes(t[3]), 1000000);
	assert_int_equal(begun(t[3], 3, 1000000), IM2_FINE);
	assert_int_equal(im2_transfer_in_bytes(t[1]), 0);
	assert_int_equal(begun(t[3], 4, 1000000), IM2_FINE);
	assert_int_equal(im2_transfer_in_bytes(t[0]), 1000000);
	assert_int_equal(total, 3000000);
	for (unsigned i = 0; i < 4; i++)
		im2_transfers_free(t[i]);
	assert_int_equal(total, 0);
}

static void defaults_are_those_of_the_section(void **state)
{
	for (int radio = 0; radio < 2; radio++) {
		struct duo *d = duo_new(&(struct im2_transfer_config){.radio = radio});
		uint8_t digest[32] = {0};
		struct buf b;
		unsigned n = 0;

		buf_init(&b, 256);
		for (; n < 8; n++) {
			digest[0] = (uint8_t)n;
			duo_hand_open(&b, n, radio ? 16384 : 1 << 20, IM2_ITEM_MSG, digest);
			duo_hear(&d->s[1], IM2_ITEM_XOPEN, buf_bytes(&b));
		}
		assert_int_equal(d->total[1], radio ? 64u << 10 : 4u << 20);
		assert_int_equal(im2_transfer_max(IM2_ITEM_MSG), 1049600);
		assert_int_equal(im2_transfer_max(IM2_ITEM_SMSG), 1114112);
		assert_int_equal(im2_transfer_max(IM2_ITEM_ROUTED), 1180672);
		assert_int_equal(im2_transfer_max(IM2_ITEM_GRANT), 262144);
		buf_fini(&b);
		duo_free(d);
	}
}

static void send_refuses_what_cannot_travel(void **state)
{
	struct duo *d = duo_new(NULL);
	uint8_t *p = calloc(1, IM2_TRANSFER_MAX + 1);
	uint32_t xfer = 77;

	assert_int_equal(im2_transfer_send(d->s[0].t, IM2_ITEM_MSG, bytes_of(p, 0), 9, &xfer), ERR_LIMIT);
	assert_int_equal(im2_transfer_send(d->s[0].t, IM2_ITEM_MSG, bytes_of(p, IM2_MSG_MAX + 1), 9, &xfer), ERR_LIMIT);
	assert_int_equal(im2_transfer_send(d->s[0].t, IM2_ITEM_ROUTED, bytes_of(p, IM2_TRANSFER_MAX + 1), 9, &xfer),
			 ERR_LIMIT);
	assert_int_equal(xfer, 77);
	assert_int_equal(im2_transfer_send(d->s[0].t, IM2_ITEM_ROUTED, bytes_of(p, IM2_TRANSFER_MAX), 9, &xfer), ERR_OK);
	/* To the peer the same value again would be the same transfer. */
	uint32_t first = xfer;
	assert_int_equal(im2_transfer_send(d->s[0].t, IM2_ITEM_ROUTED, bytes_of(p, IM2_TRANSFER_MAX), 9, &xfer),
			 ERR_EXISTS);
	assert_int_equal(xfer, first);
	free(p);
	duo_free(d);
}

/* --- hostile data -------------------------------------------------------------------------------------- */
static void overlap_with_other_bytes_ends_it(void **state)
{
	/* Where the two pieces lie, and which byte of the second one differs. */
	static const struct {
		unsigned a, an, b, bn, bad;
	} rows[] = {
		{0, 100, 50, 100, 99},	 {0, 100, 0, 100, 0},	{200, 100, 150, 100, 200},
		{200, 100, 250, 100, 299}, {200, 100, 150, 200, 250}, {200, 300, 220, 10, 229},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		for (int bad = 0; bad < 2; bad++) {
			uint8_t v[1000];
			struct duo *d = duo_opened(v, 4096);
			struct side *s = &d->s[1];

			assert_int_equal(duo_hand_frag(s, 1, rows[i].a, v + rows[i].a, rows[i].an), IM2_FINE);
			duo_forget(s);
			while (duo_say(s, ROOM))
				;
			v[rows[i].bad] ^= (uint8_t)bad;
			assert_int_equal(duo_hand_frag(s, 1, rows[i].b, v + rows[i].b, rows[i].bn), IM2_FINE);
			v[rows[i].bad] ^= (uint8_t)bad;
			if (bad) {
				duo_assert_says(s, IM2_ITEM_XABORT, "010101030107");
				assert_int_equal(d->total[1], 0);
			} else {
				assert_int_equal(duo_hand_frag(s, 1, 0, v, 500), IM2_FINE);
				assert_int_equal(duo_hand_frag(s, 1, 500, v + 500, 500), IM2_FINE);
				struct bytes got;
				uint16_t tag;
				assert_true(im2_transfer_complete(s->t, &tag, &got));
				assert_true(bytes_eq(got, BYTES_ARR(v)));
			}
			duo_free(d);
		}
}

static void data_outside_or_over_the_credit_ends_it(void **state)
{
	static const struct {
		uint64_t at;
		size_t n;
	} rows[] = {{1000, 1}, {999, 2}, {0, 301}, {300, 1}, {INT64_MAX, 1}, {(uint64_t)INT64_MAX - 1, 2}};
	uint8_t v[1000];

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct duo *d = duo_opened(v, 300);

		assert_int_equal(duo_hand_frag(&d->s[1], 1, rows[i].at, v, rows[i].n), IM2_FINE);
		duo_assert_says(&d->s[1], IM2_ITEM_XABORT, "010101030107");
		/* The rest that was under way is answered alike, once per look. */
		assert_int_equal(duo_hand_frag(&d->s[1], 1, 0, v, 10), IM2_FINE);
		assert_int_equal(duo_hand_frag(&d->s[1], 1, 10, v, 10), IM2_FINE);
		duo_assert_says(&d->s[1], IM2_ITEM_XABORT, "010101030107");
		duo_assert_quiet(&d->s[1]);
		/* A number that never was: nothing. */
		assert_int_equal(duo_hand_frag(&d->s[1], 9, 0, v, 10), IM2_FINE);
		duo_assert_quiet(&d->s[1]);
		duo_free(d);
	}
}

static void another_digest_is_not_delivered(void **state)
{
	uint8_t v[1000];
	struct duo *d = duo_opened(v, 4096);
	struct bytes got;
	uint16_t tag;

	v[500] ^= 1;
	assert_int_equal(duo_hand_frag(&d->s[1], 1, 0, v, 1000), IM2_FINE);
	assert_false(im2_transfer_complete(d->s[1].t, &tag, &got));
	duo_assert_says(&d->s[1], IM2_ITEM_XABORT, "010101030109");
	assert_int_equal(d->total[1], 0);
	duo_free(d);
}

/* More holes than an XACK can name: the piece is dropped and comes again. */
static void the_seventeenth_hole_is_not_kept(void **state)
{
	uint8_t v[1000];
	struct duo *d = duo_opened(v, 4096);
	struct side *s = &d->s[1];
	struct im2_fields f;

	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(duo_hand_frag(s, 1, 10 + 20 * i, v + 10 + 20 * i, 10), IM2_FINE);
	assert_true(duo_say(s, ROOM));
	assert_int_equal(im2_parse(&im2_xack, bytes_of(s->wire[0].p, s->wire[0].n), &f), IM2_FINE);
	assert_int_equal(f.v[IM2_XACK_HAVE].u, 16);
	/* In a small room it says less, and is still whole. */
	assert_int_equal(duo_hand_frag(s, 1, 10, v + 10, 10), IM2_FINE);
	assert_true(duo_say(s, 64));
	assert_int_equal(im2_parse(&im2_xack, bytes_of(s->wire[1].p, s->wire[1].n), &f), IM2_FINE);
	assert_true(f.v[IM2_XACK_HAVE].u < 16);
	for (unsigned i = 0; i < 1000; i += 10)
		assert_int_equal(duo_hand_frag(s, 1, i, v + i, 10), IM2_FINE);
	struct bytes got;
	uint16_t tag;
	assert_true(im2_transfer_complete(s->t, &tag, &got));
	assert_true(bytes_eq(got, BYTES_ARR(v)));
	duo_free(d);
}

static void acknowledgements_that_lie_are_refused(void **state)
{
	/* cum, limit, gap, length over a value of 1000 of which all is sent. */
	static const struct {
		uint64_t cum, limit, gap, len;
		enum im2_refusal r;
	} rows[] = {
		{1001, 1000, 0, 0, IM2_E_RANGE},     {0, 1001, 0, 0, IM2_E_RANGE},
		{0, 1000, 1000, 1, IM2_E_RANGE},     {0, 1000, 999, 2, IM2_E_RANGE},
		{0, 1000, INT64_MAX, 1, IM2_E_RANGE}, {0, 1000, 1, INT64_MAX, IM2_E_RANGE},
		{0, 1000, 999, 1, IM2_FINE},	     {10, 5, 0, 0, IM2_FINE},
	};
	struct duo *d = duo_new(NULL);
	uint32_t xfer = duo_send(&d->s[0], IM2_ITEM_MSG, 1000, 1, 65536, NULL);

	while (duo_say(&d->s[0], ROOM))
		;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct im2_fields f = {.schema = &im2_xack};
		uint8_t have[32];
		size_t n = 0;
		struct buf b;

		im2_set_u(&f, IM2_XACK_XFER, xfer);
		im2_set_u(&f, IM2_XACK_CUM, rows[i].cum);
		im2_set_u(&f, IM2_XACK_LIMIT, rows[i].limit);
		if (rows[i].gap) {
			have[n++] = (uint8_t)(im2_varint_size(rows[i].gap) + im2_varint_size(rows[i].len));
			n += im2_varint_put(have + n, rows[i].gap);
			n += im2_varint_put(have + n, rows[i].len);
			im2_set_b(&f, IM2_XACK_HAVE, bytes_of(have, n));
		}
		buf_init(&b, 256);
		im2_write(&im2_xack, &f, &b);
		assert_int_equal(im2_transfer_take(d->s[0].t, IM2_ITEM_XACK, buf_bytes(&b)), rows[i].r);
		buf_fini(&b);
	}
	duo_assert_no_end(&d->s[0]);
	duo_free(d);
}

/* Each side numbers its own: the code of an XABORT tells whose transfer it ends. */
static void an_abort_ends_the_transfer_it_means(void **state)
{
	static const struct {
		uint8_t code;
		bool mine; /* the one that the hearer sends */
	} rows[] = {{6, true}, {7, true}, {8, false}, {9, true}, {10, true}, {11, false}, {200, true}};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint8_t v[1000];
		struct duo *d = duo_opened(v, 4096);
		struct side *s = &d->s[1];
		uint32_t xfer = duo_send(s, IM2_ITEM_MSG, 1000, 3, 65536, NULL);
		uint8_t abort[8];

		assert_int_equal(xfer, 1);
		assert_true(duo_say(s, ROOM));
		test_unhex("010101030100", abort, 6);
		abort[5] = rows[i].code;
		size_t n = 6;
		if (rows[i].code > 127) {
			abort[4] = 2;
			abort[6] = 1;
			n = 7;
		}
		duo_hear(s, IM2_ITEM_XABORT, bytes_of(abort, n));
		if (rows[i].mine)
			duo_assert_end(s, xfer, false, rows[i].code);
		else
			duo_assert_no_end(s);
		assert_int_equal(im2_transfer_in_bytes(s->t), rows[i].mine ? 1000 : 0);
		duo_free(d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fragments_are_those_of_the_vectors),
		cmocka_unit_test(malformed_items_are_refused),
		cmocka_unit_test(a_megabyte_crosses_within_its_credit),
		cmocka_unit_test(sender_stops_at_the_credit),
		cmocka_unit_test(small_rooms_get_no_crumbs),
		cmocka_unit_test(memory_is_bounded_before_anything_is_taken),
		cmocka_unit_test(strangers_share_an_eighth),
		cmocka_unit_test(who_has_no_path_makes_room),
		cmocka_unit_test(defaults_are_those_of_the_section),
		cmocka_unit_test(send_refuses_what_cannot_travel),
		cmocka_unit_test(overlap_with_other_bytes_ends_it),
		cmocka_unit_test(data_outside_or_over_the_credit_ends_it),
		cmocka_unit_test(another_digest_is_not_delivered),
		cmocka_unit_test(the_seventeenth_hole_is_not_kept),
		cmocka_unit_test(acknowledgements_that_lie_are_refused),
		cmocka_unit_test(an_abort_ends_the_transfer_it_means),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
