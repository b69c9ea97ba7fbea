/*
 * backup_stream.h -- bytes in a file that only a passphrase opens (docs/backup-format.md, part 1).
 *
 *   header (BACKUP_HEADER_BYTES, in clear, authenticated) || chunks
 *
 * The key comes from the passphrase by Argon2id; its cost stands in the header and is held against limits before any memory
 * is taken. Each chunk is one message of libsodium's secretstream (XChaCha20-Poly1305) with the header as associated data:
 * chunks cannot be changed, reordered, left out or repeated, and the last one says that it is the last. A file that ends
 * without it, or goes on behind it, is refused.
 *
 * A wrong passphrase is told from a damaged file by the MAC of the header.
 */
#ifndef STORE_BACKUP_STREAM_H
#define STORE_BACKUP_STREAM_H

#include "base/wire.h"

#define BACKUP_HEADER_BYTES 104
#define BACKUP_CHUNK 65536u
#define BACKUP_CHUNK_MIN 4096u
#define BACKUP_CHUNK_MAX (1u << 20)
#define BACKUP_OPS_MAX 16u
#define BACKUP_MEM_MIN_KIB 8192u
#define BACKUP_MEM_MAX_KIB (1u << 20)

struct backup_cost {
	uint32_t ops, mem_kib;
};
extern const struct backup_cost BACKUP_COST; /* as the key file: 3 passes over 256 MiB */

struct backup_header {
	struct backup_cost cost;
	uint32_t chunk;
	uint8_t salt[16], stream[24], mac[32];
};
/* Exactly BACKUP_HEADER_BYTES. ERR_MALFORMED: no backup of ours; ERR_VERSION: of a newer program; ERR_LIMIT: asks for more than is
 * allowed. `mac` is not looked at. */
enum err backup_header_parse(struct bytes in, struct backup_header *out) MUST_CHECK;
void backup_header_write(const struct backup_header *h, uint8_t out[static BACKUP_HEADER_BYTES]);

/* --- out ------------------------------------------------------------------------------------------ */
struct backup_out;
/* Derives the key and writes the header. `fd` stays the caller's. ERR_NOMEM, ERR_STORE (disk full), ERR_IO. */
enum err backup_out_new(int fd, struct bytes passphrase, struct backup_cost cost, struct backup_out **out,
			struct fault *f) MUST_CHECK;
/* The first error stays. */
enum err backup_out_add(struct backup_out *o, struct bytes in) MUST_CHECK;
/* The last chunk; nothing is added any more. */
enum err backup_out_end(struct backup_out *o) MUST_CHECK;
uint64_t backup_out_bytes(const struct backup_out *o); /* written to the file */
void backup_out_free(struct backup_out *o);            /* wipes; accepts NULL */

/* --- in ------------------------------------------------------------------------------------------- */
struct backup_in;
/* Reads and checks the header, derives the key. ERR_MALFORMED, ERR_VERSION, ERR_LIMIT; ERR_AUTH: another passphrase (or the header was
 * altered); ERR_SHORT, ERR_IO, ERR_NOMEM. */
enum err backup_in_new(int fd, struct bytes passphrase, struct backup_in **out, struct fault *f) MUST_CHECK;
/* The next chunk, borrowed until the next call; empty behind the last one. ERR_CORRUPT: altered; ERR_SHORT: the file ends
 * before its end; ERR_TRAILING: it goes on behind it. The first error stays. */
enum err backup_in_next(struct backup_in *in, struct bytes *out, struct fault *f) MUST_CHECK;
uint64_t backup_in_bytes(const struct backup_in *in); /* read from the file */
void backup_in_free(struct backup_in *in);

#endif
