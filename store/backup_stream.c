#include "store/backup_stream.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/secret.h"

#define MAGIC "IRONMESH BACKUP\n"
#define VERSION 1
#define KDF_ARGON2ID13 1
#define CIPHER_SECRETSTREAM 1
#define TAG crypto_secretstream_xchacha20poly1305_ABYTES
#define MAC_AT (BACKUP_HEADER_BYTES - HASH_BYTES)

_Static_assert(crypto_secretstream_xchacha20poly1305_HEADERBYTES == 24, "the header has room for it");
_Static_assert(crypto_pwhash_argon2id_SALTBYTES == 16, "the header has room for it");

const struct backup_cost BACKUP_COST = { .ops = 3, .mem_kib = 262144 };

enum err backup_header_parse(struct bytes in, struct backup_header *out)
{
	struct rd r = rd_init(in.p, in.n);
	struct backup_header h;
	struct bytes magic = rd_bytes(&r, sizeof(MAGIC) - 1);
	uint16_t version = rd_u16(&r);
	uint8_t kdf = rd_u8(&r), cipher = rd_u8(&r);
	enum err e;

	h.cost.ops = rd_u32(&r);
	h.cost.mem_kib = rd_u32(&r);
	h.chunk = rd_u32(&r);
	rd_copy(&r, h.salt, sizeof h.salt);
	rd_copy(&r, h.stream, sizeof h.stream);
	rd_copy(&r, h.mac, sizeof h.mac);
	e = rd_end(&r);
	if (e != ERR_OK || !bytes_eq(magic, BYTES_LIT(MAGIC)))
		return ERR_MALFORMED;
	if (version != VERSION || kdf != KDF_ARGON2ID13 || cipher != CIPHER_SECRETSTREAM)
		return ERR_VERSION;
	if (h.cost.ops < 1 || h.cost.ops > BACKUP_OPS_MAX || h.cost.mem_kib < BACKUP_MEM_MIN_KIB ||
	    h.cost.mem_kib > BACKUP_MEM_MAX_KIB || h.chunk < BACKUP_CHUNK_MIN || h.chunk > BACKUP_CHUNK_MAX)
		return ERR_LIMIT;
	*out = h;
	return ERR_OK;
}

void backup_header_write(const struct backup_header *h, uint8_t out[static BACKUP_HEADER_BYTES])
{
	struct wr w = wr_init(out, BACKUP_HEADER_BYTES);

	wr_bytes(&w, BYTES_LIT(MAGIC));
	wr_u16(&w, VERSION);
	wr_u8(&w, KDF_ARGON2ID13);
	wr_u8(&w, CIPHER_SECRETSTREAM);
	wr_u32(&w, h->cost.ops);
	wr_u32(&w, h->cost.mem_kib);
	wr_u32(&w, h->chunk);
	wr_bytes(&w, BYTES_ARR(h->salt));
	wr_bytes(&w, BYTES_ARR(h->stream));
	wr_bytes(&w, BYTES_ARR(h->mac));
	BUG_ON(w.err != ERR_OK || w.n != BACKUP_HEADER_BYTES);
}

/* Key of the stream (32) || key of the header's MAC (32). */
static enum err derive(const struct backup_header *h, struct bytes passphrase, struct secret *out)
{
	struct secret stretched;
	enum err e = secret_new(&stretched, 32);

	if (e != ERR_OK)
		return e;
	if (crypto_pwhash(stretched.p, stretched.n, (const char *)passphrase.p, passphrase.n, h->salt, h->cost.ops,
			  (size_t)h->cost.mem_kib * 1024, crypto_pwhash_ALG_ARGON2ID13) != 0)
		e = ERR_NOMEM;
	if (e == ERR_OK)
		e = secret_new(out, 64);
	if (e == ERR_OK)
		hkdf_sha256(secret_bytes(&stretched), BYTES_ARR(h->salt), BYTES_LIT("ironmesh-backup-v1"), out->p, out->n);
	secret_free(&stretched);
	return e;
}

static void mac_of(const struct secret *keys, const uint8_t header[static BACKUP_HEADER_BYTES],
		   uint8_t mac[static HASH_BYTES])
{
	hmac_sha256(bytes_of(keys->p + 32, 32), bytes_of(header, MAC_AT), mac);
}

static enum err no_key(struct fault *f, enum err e)
{
	fault_set(f, e, EXIT_RETRY, "no memory to make the key from the passphrase");
	fault_means(f, "it needs some 256 MiB for a second");
	return e;
}

/* --- out ------------------------------------------------------------------------------------------ */
struct backup_out {
	int fd;
	uint8_t header[BACKUP_HEADER_BYTES];
	crypto_secretstream_xchacha20poly1305_state state;
	uint8_t *clear, *sealed;
	size_t n;
	uint64_t bytes;
	enum err err;
};

static enum err write_all(struct backup_out *o, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t done = write(o->fd, p, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? err_from_errno(errno) : ERR_IO;
		p += done;
		n -= (size_t)done;
		o->bytes += (uint64_t)done;
	}
	return ERR_OK;
}

enum err backup_out_new(int fd, struct bytes passphrase, struct backup_cost cost, struct backup_out **out, struct fault *f)
{
	struct backup_header h = { .cost = cost, .chunk = BACKUP_CHUNK };
	struct backup_out *o = calloc(1, sizeof *o);
	struct secret keys = { 0 };
	enum err e;

	if (!o || !(o->clear = malloc(BACKUP_CHUNK)) || !(o->sealed = malloc(BACKUP_CHUNK + TAG))) {
		backup_out_free(o);
		return fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory for the backup");
	}
	o->fd = fd;
	randombytes_buf(h.salt, sizeof h.salt);
	e = derive(&h, passphrase, &keys);
	if (e != ERR_OK) {
		backup_out_free(o);
		return no_key(f, e);
	}
	crypto_secretstream_xchacha20poly1305_init_push(&o->state, h.stream, keys.p);
	backup_header_write(&h, o->header);
	mac_of(&keys, o->header, h.mac);
	secret_free(&keys);
	backup_header_write(&h, o->header);
	e = o->err = write_all(o, o->header, sizeof o->header);
	if (e != ERR_OK) {
		backup_out_free(o);
		return fault_set(f, e, EXIT_GENERIC, "the backup cannot be written: %s", err_word(e));
	}
	*out = o;
	return ERR_OK;
}

static enum err push(struct backup_out *o, bool last)
{
	crypto_secretstream_xchacha20poly1305_push(&o->state, o->sealed, NULL, o->clear, o->n, o->header, sizeof o->header,
						   last ? crypto_secretstream_xchacha20poly1305_TAG_FINAL : 0);
	o->err = write_all(o, o->sealed, o->n + TAG);
	o->n = 0;
	return o->err;
}

enum err backup_out_add(struct backup_out *o, struct bytes in)
{
	while (o->err == ERR_OK && in.n) {
		size_t n;

		/* A full chunk waits until it is known not to be the last. */
		if (o->n == BACKUP_CHUNK && push(o, false) != ERR_OK)
			break;
		n = BACKUP_CHUNK - o->n < in.n ? BACKUP_CHUNK - o->n : in.n;
		memcpy(o->clear + o->n, in.p, n);
		o->n += n;
		in = bytes_of(in.p + n, in.n - n);
	}
	return o->err;
}

enum err backup_out_end(struct backup_out *o)
{
	return o->err == ERR_OK ? push(o, true) : o->err;
}

uint64_t backup_out_bytes(const struct backup_out *o)
{
	return o->bytes;
}

void backup_out_free(struct backup_out *o)
{
	if (!o)
		return;
	wipe(&o->state, sizeof o->state);
	if (o->clear)
		wipe(o->clear, BACKUP_CHUNK);
	free(o->clear);
	free(o->sealed);
	free(o);
}

/* --- in ------------------------------------------------------------------------------------------- */
struct backup_in {
	int fd;
	uint8_t header[BACKUP_HEADER_BYTES];
	uint32_t chunk;
	crypto_secretstream_xchacha20poly1305_state state;
	uint8_t *clear, *sealed;
	uint64_t bytes;
	bool over;
	enum err err;
};

/* Up to n bytes; less only at the end of the file. */
static enum err read_some(struct backup_in *in, uint8_t *p, size_t n, size_t *got)
{
	*got = 0;
	while (*got < n) {
		ssize_t r = read(in->fd, p + *got, n - *got);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_from_errno(errno);
		if (r == 0)
			break;
		*got += (size_t)r;
		in->bytes += (uint64_t)r;
	}
	return ERR_OK;
}

static enum err not_ours(enum err e, struct fault *f)
{
	if (e == ERR_VERSION) {
		fault_set(f, e, EXIT_INTEGRITY, "this backup was made by a newer version of the program");
		fault_means(f, "nothing was changed");
		fault_next(f, "install the newer version, then repeat the command");
	} else if (e == ERR_LIMIT) {
		fault_set(f, e, EXIT_INTEGRITY, "this backup asks for more memory or time than any that this program makes");
		fault_means(f, "its header was altered, or somebody made it to do harm; nothing was changed");
	} else {
		fault_set(f, e, EXIT_INTEGRITY, "this file is not a backup of ironmesh");
		fault_means(f, "nothing was changed");
	}
	return e;
}

static enum err open_header(struct backup_in *in, struct bytes passphrase, struct fault *f)
{
	struct backup_header h;
	struct secret keys = { 0 };
	uint8_t mac[HASH_BYTES];
	size_t got;
	enum err e = read_some(in, in->header, sizeof in->header, &got);

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "the backup cannot be read: %s", err_word(e));
	e = got == sizeof in->header ? backup_header_parse(BYTES_ARR(in->header), &h) : ERR_MALFORMED;
	if (e != ERR_OK)
		return not_ours(e, f);
	e = derive(&h, passphrase, &keys);
	if (e != ERR_OK)
		return no_key(f, e);
	mac_of(&keys, in->header, mac);
	if (!ct_equal(mac, h.mac, sizeof mac)) {
		e = ERR_AUTH;
		fault_set(f, e, EXIT_INTEGRITY, "this passphrase does not open the backup");
		fault_means(f, "it was made with another passphrase, or its first %d bytes were altered; nothing was changed",
			    BACKUP_HEADER_BYTES);
	}
	if (e == ERR_OK && crypto_secretstream_xchacha20poly1305_init_pull(&in->state, h.stream, keys.p) != 0)
		e = not_ours(ERR_MALFORMED, f);
	secret_free(&keys);
	in->chunk = h.chunk;
	if (e == ERR_OK && (!(in->clear = malloc(in->chunk)) || !(in->sealed = malloc(in->chunk + TAG))))
		e = fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory to read the backup");
	return e;
}

enum err backup_in_new(int fd, struct bytes passphrase, struct backup_in **out, struct fault *f)
{
	struct backup_in *in = calloc(1, sizeof *in);
	enum err e;

	if (!in)
		return fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory to read the backup");
	in->fd = fd;
	e = open_header(in, passphrase, f);
	if (e != ERR_OK) {
		backup_in_free(in);
		return e;
	}
	*out = in;
	return ERR_OK;
}

static enum err bad(struct backup_in *in, enum err e, struct fault *f)
{
	in->err = e;
	if (e == ERR_SHORT)
		fault_set(f, e, EXIT_INTEGRITY, "this backup is cut off, or altered at its end, at byte %llu", (unsigned long long)in->bytes);
	else if (e == ERR_TRAILING)
		fault_set(f, e, EXIT_INTEGRITY, "something stands behind the end of this backup");
	else if (e == ERR_CORRUPT)
		fault_set(f, e, EXIT_INTEGRITY, "this backup is damaged within the %u bytes before byte %llu",
			  in->chunk + TAG, (unsigned long long)in->bytes);
	else
		return fault_set(f, e, EXIT_GENERIC, "the backup cannot be read: %s", err_word(e));
	fault_means(f, "it is not what was written; nothing was changed");
	fault_next(f, "ironmesh backup list   (take another one)");
	return e;
}

enum err backup_in_next(struct backup_in *in, struct bytes *out, struct fault *f)
{
	unsigned long long n = 0;
	uint8_t tag = 0, more;
	size_t got, extra;
	enum err e;

	if (in->err != ERR_OK)
		return bad(in, in->err, f);
	*out = bytes_of(in->clear, 0);
	if (in->over)
		return ERR_OK;
	e = read_some(in, in->sealed, in->chunk + TAG, &got);
	if (e != ERR_OK)
		return bad(in, e, f);
	if (got < TAG)
		return bad(in, ERR_SHORT, f);
	/* What was cut in a chunk does not open either: which of both it is, the length tells. */
	if (crypto_secretstream_xchacha20poly1305_pull(&in->state, in->clear, &n, &tag, in->sealed, got, in->header,
						       sizeof in->header) != 0)
		return bad(in, got < in->chunk + TAG ? ERR_SHORT : ERR_CORRUPT, f);
	if (tag == crypto_secretstream_xchacha20poly1305_TAG_FINAL) {
		in->over = true;
		e = read_some(in, &more, 1, &extra);
		if (e != ERR_OK || extra)
			return bad(in, e != ERR_OK ? e : ERR_TRAILING, f);
	} else if (tag != crypto_secretstream_xchacha20poly1305_TAG_MESSAGE) {
		return bad(in, ERR_CORRUPT, f);
	} else if (got < in->chunk + TAG) {
		return bad(in, ERR_SHORT, f);
	}
	*out = bytes_of(in->clear, (size_t)n);
	return ERR_OK;
}

uint64_t backup_in_bytes(const struct backup_in *in)
{
	return in->bytes;
}

void backup_in_free(struct backup_in *in)
{
	if (!in)
		return;
	wipe(&in->state, sizeof in->state);
	if (in->clear)
		wipe(in->clear, in->chunk);
	free(in->clear);
	free(in->sealed);
	free(in);
}
