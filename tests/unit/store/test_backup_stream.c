#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/text.h"
#include "store/backup_stream.h"
#include "tests/lib/store_world.h"

#define PASS BYTES_LIT("correct horse battery")
#define TAG 17

static const struct backup_cost CHEAP = { .ops = 1, .mem_kib = BACKUP_MEM_MIN_KIB };
static struct world w;
static char path[128];

static int setup(void **state)
{
	world_init(&w);
	snprintf(path, sizeof path, "%s/file", w.dir);
	return 0;
}

static int teardown(void **state)
{
	world_fini(&w);
	return 0;
}

/* docs/backup-format.md shows these bytes. */
static const char HEADER[] = "49524f4e4d455348204241434b55500a" /* magic */
			     "0001" "01" "01"			/* version, Argon2id, secretstream */
			     "00000003" "00040000" "00010000"	/* passes, KiB, chunk */
			     "000102030405060708090a0b0c0d0e0f"
			     "202122232425262728292a2b2c2d2e2f3031323334353637"
			     "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f";

static void header(uint8_t out[static BACKUP_HEADER_BYTES])
{
	assert_int_equal(hex_decode(bytes_str(HEADER), out, BACKUP_HEADER_BYTES), ERR_OK);
}

static void header_of_known_bytes(void **state)
{
	uint8_t b[BACKUP_HEADER_BYTES + 1] = { 0 }, again[BACKUP_HEADER_BYTES];
	struct backup_header h;

	header(b);
	assert_int_equal(backup_header_parse(bytes_of(b, BACKUP_HEADER_BYTES), &h), ERR_OK);
	assert_int_equal(h.cost.ops, 3);
	assert_int_equal(h.cost.mem_kib, 262144);
	assert_int_equal(h.chunk, BACKUP_CHUNK);
	assert_int_equal(h.salt[15], 0x0f);
	assert_int_equal(h.stream[0], 0x20);
	assert_int_equal(h.mac[31], 0x5f);
	backup_header_write(&h, again);
	assert_memory_equal(again, b, sizeof again);
	for (size_t n = 0; n < BACKUP_HEADER_BYTES; n++)
		assert_int_equal(backup_header_parse(bytes_of(b, n), &h), ERR_MALFORMED);
	assert_int_equal(backup_header_parse(bytes_of(b, sizeof b), &h), ERR_MALFORMED);
}

static enum err with(size_t at, uint32_t v, unsigned bytes)
{
	uint8_t b[BACKUP_HEADER_BYTES];
	struct backup_header h;

	header(b);
	for (unsigned i = 0; i < bytes; i++)
		b[at + i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
	return backup_header_parse(BYTES_ARR(b), &h);
}

static void header_that_asks_for_too_much_is_refused(void **state)
{
	assert_int_equal(with(0, 'i', 1), ERR_MALFORMED);
	assert_int_equal(with(16, 2, 2), ERR_VERSION);
	assert_int_equal(with(16, 0, 2), ERR_VERSION);
	assert_int_equal(with(18, 2, 1), ERR_VERSION);
	assert_int_equal(with(19, 0, 1), ERR_VERSION);
	assert_int_equal(with(20, 0, 4), ERR_LIMIT);
	assert_int_equal(with(20, BACKUP_OPS_MAX, 4), ERR_OK);
	assert_int_equal(with(20, BACKUP_OPS_MAX + 1, 4), ERR_LIMIT);
	assert_int_equal(with(24, BACKUP_MEM_MIN_KIB - 1, 4), ERR_LIMIT);
	assert_int_equal(with(24, BACKUP_MEM_MAX_KIB, 4), ERR_OK);
	assert_int_equal(with(24, BACKUP_MEM_MAX_KIB + 1, 4), ERR_LIMIT);
	assert_int_equal(with(24, UINT32_MAX, 4), ERR_LIMIT);
	assert_int_equal(with(28, BACKUP_CHUNK_MIN - 1, 4), ERR_LIMIT);
	assert_int_equal(with(28, BACKUP_CHUNK_MAX + 1, 4), ERR_LIMIT);
}

/* `n` bytes that differ at each place, in pieces of `piece`. */
static void write_file(size_t n, size_t piece)
{
	FILE *f = fopen(path, "wb");
	struct backup_out *o;
	struct fault fault = { 0 };
	uint8_t *p = malloc(piece);

	assert_non_null(f);
	assert_int_equal(backup_out_new(fileno(f), PASS, CHEAP, &o, &fault), ERR_OK);
	for (size_t at = 0; at < n; at += piece) {
		size_t k = n - at < piece ? n - at : piece;

		for (size_t i = 0; i < k; i++)
			p[i] = (uint8_t)((at + i) * 2654435761u >> 13);
		assert_int_equal(backup_out_add(o, bytes_of(p, k)), ERR_OK);
	}
	assert_int_equal(backup_out_end(o), ERR_OK);
	assert_int_equal(backup_out_bytes(o), BACKUP_HEADER_BYTES + n + TAG * (n ? (n + BACKUP_CHUNK - 1) / BACKUP_CHUNK : 1));
	backup_out_free(o);
	free(p);
	fclose(f);
}

/* *got: how many bytes came before the end or the error. */
static enum err read_file(struct bytes passphrase, size_t *got)
{
	FILE *f = fopen(path, "rb");
	struct fault fault = { 0 };
	struct backup_in *in;
	struct bytes piece = { .n = 0 };
	enum err e = backup_in_new(fileno(f), passphrase, &in, &fault);

	*got = 0;
	if (e == ERR_OK) {
		while ((e = backup_in_next(in, &piece, &fault)) == ERR_OK && piece.n) {
			for (size_t i = 0; i < piece.n; i++)
				assert_int_equal(piece.p[i], (uint8_t)((*got + i) * 2654435761u >> 13));
			*got += piece.n;
		}
		if (e != ERR_OK)
			assert_int_equal(backup_in_next(in, &piece, &fault), e);
		backup_in_free(in);
	}
	if (e != ERR_OK)
		assert_true(fault.what[0] != '\0');
	fclose(f);
	return e;
}

static void what_goes_in_comes_out(void **state)
{
	static const size_t sizes[] = { 0, 1, BACKUP_CHUNK - 1, BACKUP_CHUNK, BACKUP_CHUNK + 1, 3 * BACKUP_CHUNK, 200001 };
	size_t got;

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		write_file(sizes[i], i % 2 ? 1 << 20 : 4097);
		assert_int_equal(read_file(PASS, &got), ERR_OK);
		assert_int_equal(got, sizes[i]);
	}
}

static void another_passphrase_opens_nothing(void **state)
{
	size_t got;

	write_file(1000, 100);
	assert_int_equal(read_file(BYTES_LIT("correct horse batterz"), &got), ERR_AUTH);
	assert_int_equal(read_file(BYTES_LIT(""), &got), ERR_AUTH);
	assert_int_equal(got, 0);
}

static void altered_bytes_are_noticed_before_they_are_used(void **state)
{
	size_t n, got;
	char *whole;

	write_file(2 * BACKUP_CHUNK + 100, 65536);
	whole = world_read(path, &n);
	for (size_t at = 0; at < n; at += at < BACKUP_HEADER_BYTES ? 7 : 6007) {
		enum err e;

		whole[at] ^= 0x10;
		world_write(path, whole, n);
		whole[at] ^= 0x10;
		e = read_file(PASS, &got);
		assert_int_not_equal(e, ERR_OK);
		assert_true(got <= at);
	}
	free(whole);
}

static void every_end_but_the_right_one_is_refused(void **state)
{
	static const size_t more[] = { 1, TAG, BACKUP_CHUNK + TAG };
	size_t n, got;
	char *whole, *longer;

	write_file(2 * BACKUP_CHUNK, 65536);
	whole = world_read(path, &n);
	for (size_t cut = 0; cut < n; cut += cut < 300 ? 1 : 4001) {
		world_write(path, whole, cut);
		assert_int_not_equal(read_file(PASS, &got), ERR_OK);
	}
	/* At a border of chunks the file looks whole, but nothing says that it is. */
	world_write(path, whole, BACKUP_HEADER_BYTES + BACKUP_CHUNK + TAG);
	assert_int_equal(read_file(PASS, &got), ERR_SHORT);
	longer = calloc(1, n + BACKUP_CHUNK + TAG);
	memcpy(longer, whole, n);
	for (size_t i = 0; i < 3; i++) {
		world_write(path, longer, n + more[i]);
		assert_int_equal(read_file(PASS, &got), ERR_TRAILING);
	}
	free(longer);
	free(whole);
}

static void chunks_stay_in_their_order(void **state)
{
	size_t n, got, chunk = BACKUP_CHUNK + TAG;
	char *whole, *mixed;

	write_file(3 * BACKUP_CHUNK, 65536);
	whole = world_read(path, &n);
	mixed = malloc(n);
	memcpy(mixed, whole, n);
	memcpy(mixed + BACKUP_HEADER_BYTES, whole + BACKUP_HEADER_BYTES + chunk, chunk);
	memcpy(mixed + BACKUP_HEADER_BYTES + chunk, whole + BACKUP_HEADER_BYTES, chunk);
	world_write(path, mixed, n);
	assert_int_equal(read_file(PASS, &got), ERR_CORRUPT);
	/* One left out. */
	memcpy(mixed, whole, n);
	memmove(mixed + BACKUP_HEADER_BYTES + chunk, whole + BACKUP_HEADER_BYTES + 2 * chunk, chunk);
	world_write(path, mixed, n - chunk);
	assert_int_equal(read_file(PASS, &got), ERR_CORRUPT);
	free(mixed);
	free(whole);
}

static void a_full_disk_is_an_error_of_the_writer(void **state)
{
	FILE *f = fopen("/dev/full", "wb");
	struct fault fault = { 0 };
	struct backup_out *o;

	assert_non_null(f);
	assert_int_equal(backup_out_new(fileno(f), PASS, CHEAP, &o, &fault), ERR_STORE);
	fclose(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_of_known_bytes),
		cmocka_unit_test(header_that_asks_for_too_much_is_refused),
		cmocka_unit_test_setup_teardown(what_goes_in_comes_out, setup, teardown),
		cmocka_unit_test_setup_teardown(another_passphrase_opens_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(altered_bytes_are_noticed_before_they_are_used, setup, teardown),
		cmocka_unit_test_setup_teardown(every_end_but_the_right_one_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(chunks_stay_in_their_order, setup, teardown),
		cmocka_unit_test_setup_teardown(a_full_disk_is_an_error_of_the_writer, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
