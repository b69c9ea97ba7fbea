/* From a folder to a file. */
#include "store/backup.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/secret.h"
#include "base/text.h"

#define PIECE (1u << 18)
#define LEVEL "3"

struct packing {
	struct backup_out *out;
	struct archive *tar;
	const struct backup_watch *watch;
	uint64_t done, all;
	uint8_t *piece;
};

static la_ssize_t give(struct archive *a, void *ctx, const void *p, size_t n)
{
	struct packing *k = ctx;

	if (backup_out_add(k->out, bytes_of(p, n)) == ERR_OK)
		return (la_ssize_t)n;
	archive_set_error(a, EIO, "not written");
	return -1;
}

static enum err begin(struct packing *k, struct fault *f)
{
	k->tar = archive_write_new();
	k->piece = malloc(PIECE);
	if (!k->tar || !k->piece || archive_write_set_format_pax_restricted(k->tar) != ARCHIVE_OK ||
	    archive_write_add_filter_zstd(k->tar) != ARCHIVE_OK ||
	    archive_write_set_filter_option(k->tar, "zstd", "compression-level", LEVEL) != ARCHIVE_OK ||
	    archive_write_set_bytes_per_block(k->tar, 0) != ARCHIVE_OK ||
	    archive_write_open(k->tar, k, NULL, give, NULL) != ARCHIVE_OK)
		return fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory for the backup");
	return ERR_OK;
}

/* Nothing of the machine goes in: no owner, no time, one mode. */
static enum err head(struct packing *k, const char *name, uint64_t bytes)
{
	struct archive_entry *x = archive_entry_new();
	int rc = ARCHIVE_FATAL;

	if (x) {
		archive_entry_set_pathname(x, name);
		archive_entry_set_size(x, (la_int64_t)bytes);
		archive_entry_set_filetype(x, AE_IFREG);
		archive_entry_set_perm(x, 0600);
		archive_entry_set_mtime(x, 0, 0);
		rc = archive_write_header(k->tar, x);
		archive_entry_free(x);
	}
	return rc == ARCHIVE_OK ? ERR_OK : ERR_IO;
}

static enum err data(struct packing *k, struct bytes in)
{
	return archive_write_data(k->tar, in.p, in.n) == (la_ssize_t)in.n ? ERR_OK : ERR_IO;
}

static enum err changed(const struct backup_file *x, struct fault *f)
{
	fault_set(f, ERR_AGAIN, EXIT_RETRY, "%s changed while it was packed", x->name);
	fault_means(f, "another program writes in this folder; no backup was made");
	return ERR_AGAIN;
}

static enum err pack_file(struct packing *k, const char *folder, const struct backup_file *x, struct fault *f)
{
	struct hash *h = hash_new();
	uint8_t digest[HASH_BYTES];
	uint64_t left = x->bytes;
	char path[4096];
	int fd = -1;
	enum err e = path_join(path, sizeof path, folder, x->name);

	if (e == ERR_OK && (fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)) < 0)
		e = fault_set(f, err_from_errno(errno), EXIT_GENERIC, "%s cannot be opened: %s", x->name, strerror(errno));
	if (e == ERR_OK)
		e = head(k, x->name, x->bytes);
	while (e == ERR_OK && left) {
		ssize_t n = read(fd, k->piece, left < PIECE ? (size_t)left : PIECE);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			e = changed(x, f);
			break;
		}
		hash_add(h, bytes_of(k->piece, (size_t)n));
		e = data(k, bytes_of(k->piece, (size_t)n));
		left -= (uint64_t)n;
		k->done += (uint64_t)n;
		if (e == ERR_OK && !backup_go_on(k->watch, "write", k->done, k->all))
			e = ERR_CLOSED;
	}
	hash_end(h, digest);
	if (e == ERR_OK && memcmp(digest, x->sha256, sizeof digest) != 0)
		e = changed(x, f);
	if (fd >= 0)
		close(fd);
	return e;
}

static enum err pack_all(struct packing *k, const char *folder, const struct backup_manifest *m, struct fault *f)
{
	struct buf text;
	enum err e;

	buf_init(&text, BACKUP_MANIFEST_MAX);
	e = backup_manifest_write(m, &text);
	if (e == ERR_OK)
		e = head(k, BACKUP_MANIFEST, text.n);
	if (e == ERR_OK)
		e = data(k, buf_bytes(&text));
	buf_fini(&text);
	for (size_t i = 0; e == ERR_OK && i < m->n; i++)
		e = pack_file(k, folder, &m->files[i], f);
	if (e == ERR_OK && archive_write_close(k->tar) != ARCHIVE_OK)
		e = ERR_IO;
	return e;
}

static enum err not_written(enum err e, struct fault *f)
{
	if (e == ERR_CLOSED)
		return fault_set(f, e, EXIT_GENERIC, "the backup was ended before it was whole; nothing was changed");
	fault_set(f, e, EXIT_GENERIC, e == ERR_STORE ? "the disk is full; no backup was made" :
				      "the backup cannot be written: %s", err_word(e));
	if (e == ERR_STORE)
		fault_next(f, "df -h   (then repeat the command with a place that has room)");
	return e;
}

enum err backup_pack(const char *folder, const struct backup_manifest *m, int fd, struct bytes passphrase,
		     struct backup_cost cost, const struct backup_watch *w, uint64_t *bytes, struct fault *f)
{
	struct packing k = { .watch = w, .all = m->bytes };
	struct fault local;
	enum err e;

	f = f ? f : &local;
	f->what[0] = '\0';
	e = backup_out_new(fd, passphrase, cost, &k.out, f);
	if (e == ERR_OK)
		e = begin(&k, f);
	if (e == ERR_OK)
		e = pack_all(&k, folder, m, f);
	/* What the disk said comes before what libarchive made of it. */
	if (e == ERR_IO && k.out && backup_out_add(k.out, (struct bytes){ 0 }) != ERR_OK)
		e = backup_out_add(k.out, (struct bytes){ 0 });
	if (k.tar)
		archive_write_free(k.tar);
	if (e == ERR_OK)
		e = backup_out_end(k.out);
	if (e == ERR_OK && fsync(fd) != 0)
		e = err_from_errno(errno);
	if (e == ERR_OK)
		*bytes = backup_out_bytes(k.out);
	else if (!f->what[0])
		not_written(e, f);
	if (k.piece)
		wipe(k.piece, PIECE);
	free(k.piece);
	backup_out_free(k.out);
	return e;
}
