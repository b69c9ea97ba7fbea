/*
 * MB/s of a backup and of its parts, on one state in one run: the copy of a moment, packing, reading back, and the whole of
 * `backup_make`; beside the ceilings of the same bytes: zstd alone, secretstream alone, SHA-256 alone. The passphrase costs what it
 * costs (Argon2id, 3 passes over 256 MiB) and is shown by itself.
 *
 *	bench_backup [folder] [MB]
 */
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/secret.h"
#include "store/inbox.h"
#include "store/snapshot.h"
#include "trust/keyfile.h"

#define PASS BYTES_LIT("correct horse battery staple")
#define PIECE 65536

static const struct backup_cost CHEAP = { .ops = 1, .mem_kib = BACKUP_MEM_MIN_KIB };

static uint64_t clock_ms(void *ctx)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void fill(void *ctx, void *out, size_t n)
{
	randombytes_buf(out, n);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static struct env env = { .now_ms = clock_ms, .wall_ms = clock_ms, .random = fill };
static char home[200], copy[260], file[260], packed[300];

static void must(enum err e, const struct fault *f, const char *what)
{
	if (e == ERR_OK)
		return;
	fprintf(stderr, "%s: %s %s\n", what, err_word(e), f ? f->what : "");
	exit(1);
}

static void row(const char *name, double mb, double s, const char *note)
{
	printf("  %-44s %8.0f MB/s  %s\n", name, mb / s, note);
}

/* Messages of 8 KiB: their bodies are sealed, so they do not compress, as in life. */
static void make_state(unsigned mb)
{
	struct store_config c = { .env = &env, .limits = { .inbox_per_peer = 1000000, .inbox_total = 1000000, .inbox_bytes = 1ull << 40 } };
	struct keyring *k;
	struct secret wrap;
	struct store *s;
	struct fault f = { 0 };
	char path[260];
	static uint8_t body[8192];

	must(keyring_generate(&env, &k), NULL, "keys");
	snprintf(path, sizeof path, "%s/keys.json", home);
	must(keyfile_create(path, k, "bench", (struct bytes){ 0 }, true, &env, &f), &f, "key file");
	must(keyring_derive(k, DERIVE_DB_WRAP, &wrap), NULL, "wrap");
	snprintf(path, sizeof path, "%s/ironmesh.db", home);
	c.path = path;
	c.wrap_key = secret_bytes(&wrap);
	must(store_open(&c, &s, &f), &f, "store");
	for (unsigned i = 0; i < mb * 128; i++) {
		char id[24];
		struct inbox_new m = { .type = BYTES_LIT("MSG"), .priority = 1, .created_ms = 1, .received_ms = 1, .body = BYTES_ARR(body) };
		enum inbox_state state;
		int64_t seq;

		snprintf(m.author.hex, sizeof m.author.hex, "%032x", 1);
		m.via = m.author;
		m.id = bytes_of(id, (size_t)snprintf(id, sizeof id, "m-%u", i));
		must(inbox_put(s, &m, &seq, &state), NULL, "message");
		if (i % 200 == 199)
			must(store_commit(s), NULL, "commit");
	}
	must(store_commit(s), NULL, "commit");
	store_close(s);
	secret_free(&wrap);
	keyring_free(k);
}

static la_ssize_t nowhere(struct archive *a, void *ctx, const void *p, size_t n)
{
	return (la_ssize_t)n;
}

/* Each reads the database file from the page cache, as packing does. */
static double each_piece(void (*fn)(void *ctx, const uint8_t *p, size_t n), void *ctx)
{
	static uint8_t piece[PIECE];
	char path[300];
	int fd;
	ssize_t n;
	double began = now_s();

	snprintf(path, sizeof path, "%s/ironmesh.db", copy);
	fd = open(path, O_RDONLY);
	while ((n = read(fd, piece, sizeof piece)) > 0)
		fn(ctx, piece, (size_t)n);
	close(fd);
	return now_s() - began;
}

static void to_archive(void *ctx, const uint8_t *p, size_t n)
{
	(void)!archive_write_data(ctx, p, n);
}

static void to_hash(void *ctx, const uint8_t *p, size_t n)
{
	hash_add(ctx, bytes_of(p, n));
}

static void to_stream(void *ctx, const uint8_t *p, size_t n)
{
	static uint8_t out[PIECE + crypto_secretstream_xchacha20poly1305_ABYTES];

	crypto_secretstream_xchacha20poly1305_push(ctx, out, NULL, p, n, NULL, 0, 0);
}

static double zstd_alone(uint64_t bytes)
{
	struct archive *a = archive_write_new();
	struct archive_entry *x = archive_entry_new();
	double s;

	archive_write_set_format_raw(a);
	archive_write_add_filter_zstd(a);
	archive_write_set_filter_option(a, "zstd", "compression-level", "3");
	archive_write_open(a, NULL, NULL, nowhere, NULL);
	archive_entry_set_filetype(x, AE_IFREG);
	archive_entry_set_size(x, (la_int64_t)bytes);
	archive_write_header(a, x);
	s = each_piece(to_archive, a);
	archive_write_close(a);
	archive_write_free(a);
	archive_entry_free(x);
	return s;
}

static double stream_alone(void)
{
	uint8_t key[32], head[24];
	crypto_secretstream_xchacha20poly1305_state state;

	crypto_secretstream_xchacha20poly1305_keygen(key);
	crypto_secretstream_xchacha20poly1305_init_push(&state, head, key);
	return each_piece(to_stream, &state);
}

static double hash_alone(void)
{
	struct hash *h = hash_new();
	double s = each_piece(to_hash, h);

	hash_end(h, NULL);
	return s;
}

static void measure(void)
{
	struct snapshot *snap;
	struct backup_made made;
	struct backup_manifest m;
	struct backup *b;
	struct fault f = { 0 };
	uint64_t bytes;
	double began, moment, mb, s;
	int fd;

	began = now_s();
	must(snapshot_begin(home, NULL, &snap, &f), &f, "snapshot");
	moment = now_s() - began;
	began = now_s();
	must(snapshot_copy(snap, copy, NULL, &f), &f, "copy");
	s = now_s() - began;
	snapshot_free(snap);
	must(backup_manifest_of(copy, 1, &m, &f), &f, "manifest");
	mb = (double)m.bytes / 1e6;
	printf("a backup of %.0f MB (the moment itself: %.1f ms on the loop)\n", mb, moment * 1000);
	row("copy of the state (SQLite, on the pool)", mb, s, "");
	fd = open(packed, O_RDWR | O_CREAT | O_TRUNC, 0600);
	began = now_s();
	must(backup_pack(copy, &m, fd, PASS, CHEAP, NULL, &bytes, &f), &f, "pack");
	row("pack: hash, tar, zstd, secretstream, fsync", mb, now_s() - began, "");
	close(fd);
	must(backup_open(packed, PASS, &b, &f), &f, "open");
	began = now_s();
	must(backup_unpack(b, NULL, NULL, &f), &f, "read back");
	row("read back: open, unzstd, hash", mb, now_s() - began, "");
	backup_close(b);
	began = now_s();
	must(backup_make(copy, file, PASS, CHEAP, true, 1, NULL, &made, &f), &f, "make");
	row("the whole: hashed, packed, flushed, read back", mb, now_s() - began, "");
	backup_manifest_fini(&made.manifest);
	row("  zstd alone (level 3)", mb, zstd_alone(m.bytes), "ceiling");
	row("  secretstream alone", mb, stream_alone(), "ceiling");
	row("  SHA-256 alone", mb, hash_alone(), "ceiling");
	fd = open("/dev/null", O_WRONLY);
	began = now_s();
	{
		struct backup_out *o;

		must(backup_out_new(fd, PASS, BACKUP_COST, &o, &f), &f, "key");
		printf("  %-44s %8.0f ms    twice in a backup\n", "the passphrase (Argon2id)", (now_s() - began) * 1000);
		backup_out_free(o);
	}
	close(fd);
	backup_manifest_fini(&m);
}

int main(int argc, char **argv)
{
	char base[128];
	unsigned mb = argc > 2 ? (unsigned)atoi(argv[2]) : 200;

	must(secret_init_library(), NULL, "libsodium");
	log_setup(&(struct log_config){ .level = LOG_ERROR, .fd = 2 });
	snprintf(base, sizeof base, "%s/ironmesh-bench-XXXXXX", argc > 1 ? argv[1] : "/tmp");
	if (!mkdtemp(base))
		return 1;
	snprintf(home, sizeof home, "%s/home", base);
	snprintf(copy, sizeof copy, "%s/.backup-0011223344556677", home);
	snprintf(file, sizeof file, "%s/bench.backup", base);
	snprintf(packed, sizeof packed, "%s/bench.packed", base);
	if (mkdir(home, 0700) != 0)
		return 1;
	make_state(mb);
	measure();
	snapshot_remove(copy);
	snapshot_remove(home);
	unlink(file);
	unlink(packed);
	rmdir(base);
	return 0;
}
