#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/text.h"
#include "protocol/im2/frame.h"

#define KEY "a819452ffdbc011f4d0675cd389275d31155449271b2ab7acfcff3d757f2a1ed"
#define INDEX "d1d2d3d4"

struct row {
	uint32_t counter;
	const char *plain, *unit;
};

/* V:frames */
static const struct row rows[] = {
		{ /* confirm: empty frame */ 0u,
		  "",
		  "50d1d2d3d400000000d2e0067d1e592c8a5c2bd6d721056f41" },
		{ /* 16-byte text */ 1u,
		  "032c0110000102030405060708090a0b0c0d0e0f0f06fabffaa5843321106d656574206174206461776e2c20"
		  "6f6b",
		  "50d1d2d3d400000001422a9489c9f8cf7a3c0a135c3aff19d577a63383c6220498b939697544f72f2a61adf2"
		  "5313b9a7c69c754cd58d83e8b83eced1d3d1944fc5603dee57b540" },
		{ /* batch of two messages and a receipt */ 2u,
		  "032c0110000102030405060708090a0b0c0d0e0f0f06fabffaa5843321106d656574206174206461776e2c20"
		  "6f6b035301100102030405060708090a0b0c0d0e0f100810c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c00a100001"
		  "02030405060708090a0b0c0d0e0f0b01010f06e2c7faa584331201021301011401011601062104322b323f07"
		  "1401121102000102030405060708090a0b0c0d0e0f",
		  "50d1d2d3d400000002044b2e9f307547804a9ba40462be581a103ec7f8eaf5317aff64d1cc31e75ff8708bec"
		  "b309ffc5ede03c6373b2de50558d731e2a556079f52af0f39d43b743f462152440badf7568313ae4c551ddf1"
		  "164dafb7cbf24d8593ad2ff0b4a1a845fdc726a131abe99c3e6a842600ac0b0127e171abd40f6f53ed0d8621"
		  "11528321670f72c04e0490b6406c2423b8f7d938d62645a356216df5ac4cee92075ed2e468e3d9b71790fd7c"
		  "b4a6" },
		{ /* padded to 256 */ 3u,
		  "032c0110000102030405060708090a0b0c0d0e0f0f06fabffaa5843321106d656574206174206461776e2c20"
		  "6f6b000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
		  "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
		  "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
		  "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
		  "000000000000000000000000000000000000000000000000000000000000000000000000",
		  "50d1d2d3d400000003528cc82db5e9406e09a1440bc627a8d1cf7f45c6d3ded3b86eac2670e778608640bb5c"
		  "89c69ade9a04e4df7e79a309a0d54ee9a11b85d7555ed1a140832aa24a026e60033b758b247bde4921f65374"
		  "d066504188966c4d6117de2c60048641d8c1997b340cfe42b8ab15c5550e57a59d84ba46d59d5094a867c609"
		  "8b92202a546b5eb94e8e310284257f7de1b80f0b39c02f81849b30700a151bc731c76ae33d86061a0cd5b65c"
		  "17d411857fa131df7bbad461ce03b4052f8f403615c1cd839f7454b22cdf66cd9656bfb18b8b55b7274c528b"
		  "31cf5e8ce58230ed128d67802df76da93f1ecc4b284f742b004a3b57bb89b40deb45856f11a9fd1d0c3505d1"
		  "b9d2e6e9ce5cbd95ddaf663c832da737f4" },
		{ /* no items, counter 65536 */ 65536u,
		  "",
		  "50d1d2d3d40001000020c924993e98430ebf6a40afee9f1e08" },
		{ /* highest counter */ 4294967294u,
		  "032c0110000102030405060708090a0b0c0d0e0f0f06fabffaa5843321106d656574206174206461776e2c20"
		  "6f6b",
		  "50d1d2d3d4fffffffe6cbc7215ec6eff7806c812e3f8d32533a541be78aa230cccd7c243d3cacbbf7db07261"
		  "8cd2bdafd0665069daab396bf6c4f996f7293bab04c6a16fa87bd0" },
};

static void key_of(struct im2_tx *tx)
{
	assert_int_equal(hex_decode(bytes_str(KEY), tx->key, 32), ERR_OK);
	assert_int_equal(hex_decode(bytes_str(INDEX), tx->index, 4), ERR_OK);
}

static size_t unhex(const char *hex, uint8_t *out, size_t cap)
{
	size_t n = strlen(hex) / 2;

	assert_true(n <= cap);
	assert_int_equal(hex_decode(bytes_str(hex), out, n), ERR_OK);
	return n;
}

static void frames_are_the_published_bytes(void **state)
{
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint8_t plain[512], unit[512], back[512], index[4];
		size_t plain_n = unhex(rows[i].plain, plain, sizeof plain);
		size_t unit_n = unhex(rows[i].unit, unit, sizeof unit);
		struct im2_tx tx;
		uint32_t counter;
		struct buf out;

		key_of(&tx);
		tx.next = rows[i].counter;
		buf_init(&out, 1024);
		assert_int_equal(im2_frame_build(&tx, bytes_of(plain, plain_n), plain_n, &out), ERR_OK);
		assert_int_equal(out.n, unit_n);
		assert_memory_equal(out.p, unit, unit_n);
		assert_int_equal(tx.next, rows[i].counter + 1u);
		buf_fini(&out);
		assert_int_equal(im2_frame_head(bytes_of(unit, unit_n), index, &counter), IM2_FINE);
		assert_int_equal(counter, rows[i].counter);
		assert_memory_equal(index, tx.index, 4);
		assert_int_equal(im2_frame_open(tx.key, bytes_of(unit, unit_n), back), IM2_FINE);
		assert_memory_equal(back, plain, plain_n);
	}
}

static void padding_is_zeros_of_the_plaintext(void **state)
{
	uint8_t plain[512], back[512];
	size_t n = unhex(rows[1].plain, plain, sizeof plain), padded = unhex(rows[3].unit, back, sizeof back);
	struct im2_tx tx;
	struct buf out;

	key_of(&tx);
	tx.next = rows[3].counter;
	buf_init(&out, 1024);
	assert_int_equal(im2_frame_build(&tx, bytes_of(plain, n), im2_bucket(n), &out), ERR_OK);
	assert_int_equal(out.n, padded);
	assert_memory_equal(out.p, back, padded);
	buf_fini(&out);
}

static void the_last_counter_is_never_used(void **state)
{
	struct im2_tx tx;
	struct buf out;

	key_of(&tx);
	tx.next = IM2_COUNTER_END - 1;
	buf_init(&out, 1024);
	assert_int_equal(im2_frame_build(&tx, bytes_of("x", 1), 1, &out), ERR_OK);
	size_t n = out.n;
	for (int i = 0; i < 3; i++)
		assert_int_equal(im2_frame_build(&tx, bytes_of("x", 1), 1, &out), ERR_LIMIT);
	assert_int_equal(out.n, n);
	buf_fini(&out);
}

/* A frame that does not fit uses up no counter and leaves nothing behind. */
static void a_full_buffer_takes_no_counter(void **state)
{
	struct im2_tx tx;
	struct buf out;

	key_of(&tx);
	tx.next = 7;
	buf_init(&out, 30);
	assert_int_equal(im2_frame_build(&tx, bytes_of("123456", 6), 6, &out), ERR_LIMIT);
	assert_int_equal(tx.next, 7);
	assert_int_equal(out.n, 0);
	buf_fini(&out);
}

static void every_flipped_bit_and_every_prefix_is_refused(void **state)
{
	uint8_t unit[512], back[512];
	size_t n = unhex(rows[1].unit, unit, sizeof unit);
	struct im2_tx tx;

	key_of(&tx);
	for (size_t bit = 0; bit < 8 * n; bit++) {
		unit[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_not_equal(im2_frame_open(tx.key, bytes_of(unit, n), back), IM2_FINE);
		unit[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (size_t k = 0; k < n; k++) {
		uint8_t *exact = malloc(k ? k : 1);

		assert_non_null(exact);
		memcpy(exact, unit, k);
		assert_int_equal(im2_frame_open(tx.key, bytes_of(exact, k), back),
				 k < IM2_FRAME_OVERHEAD ? IM2_E_MALFORMED : IM2_E_AEAD);
		free(exact);
	}
	unit[n] = 0;
	assert_int_equal(im2_frame_open(tx.key, bytes_of(unit, n + 1), back), IM2_E_AEAD);
}

/* V:replay_window, in its order. */
static void the_window_decides_as_published(void **state)
{
	static const struct {
		uint32_t counter;
		bool accept;
	} steps[] = {
		{ 0u, true },
		{ 1u, true },
		{ 1u, false },
		{ 5u, true },
		{ 3u, true },
		{ 3u, false },
		{ 2047u, true },
		{ 2048u, true },
		{ 2049u, true },
		{ 1u, false },
		{ 2u, true },
		{ 4100u, true },
		{ 2052u, false },
		{ 2053u, true },
		{ 4294967294u, true },
		{ 4294967295u, false },
		{ 4101u, false },
	};
	struct im2_window w = { 0 };

	for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
		assert_int_equal(im2_window_fresh(&w, steps[i].counter), steps[i].accept);
		if (steps[i].accept)
			im2_window_mark(&w, steps[i].counter);
	}
}

/* Against a list of everything that was accepted: jumps of every size around the window and its words. */
static void the_window_agrees_with_a_list(void **state)
{
	enum { SPAN = 1 << 16 };
	uint8_t *seen = calloc(SPAN, 1);
	struct im2_window w = { 0 };
	uint32_t top = 0, x = 12345;
	bool any = false;

	assert_non_null(seen);
	for (int i = 0; i < 200000; i++) {
		x = x * 1664525u + 1013904223u;
		uint32_t jump = x >> 16 & 7, c;

		if (jump == 0)
			c = top + (x >> 8) % 5000;
		else if (jump == 1)
			c = top + (x >> 8) % 70;
		else
			c = top - (x >> 8) % 2100;
		if (c >= SPAN) {
			if (c > UINT32_MAX / 2)
				continue;
			memset(seen, 0, SPAN);
			memset(&w, 0, sizeof w);
			any = false;
			top = 0;
			continue;
		}
		bool want = !any || c > top || (top - c < IM2_WINDOW && !seen[c]);
		assert_int_equal(im2_window_fresh(&w, c), want);
		if (!want)
			continue;
		im2_window_mark(&w, c);
		seen[c] = 1;
		top = !any || c > top ? c : top;
		any = true;
	}
	free(seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_are_the_published_bytes),
		cmocka_unit_test(padding_is_zeros_of_the_plaintext),
		cmocka_unit_test(the_last_counter_is_never_used),
		cmocka_unit_test(a_full_buffer_takes_no_counter),
		cmocka_unit_test(every_flipped_bit_and_every_prefix_is_refused),
		cmocka_unit_test(the_window_decides_as_published),
		cmocka_unit_test(the_window_agrees_with_a_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
