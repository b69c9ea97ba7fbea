#include "store/imb1.h"

#include <archive.h>
#include <archive_entry.h>
#include <sodium.h>
#include <stdlib.h>

#include "base/secret.h"

#define MAGIC "IMB1"
#define VERSION 1
#define SALT 16
#define OPS 3
#define MEM 268435456u
#define OVERHEAD (crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES)
#define SMALL_MAX 65536u
#define PINS_MAX (8u << 20)
#define AUDIT_MAX (4u << 20) /* a tail of 1 MB; a newer release may keep more */

void imb1_fini(struct imb1 *x)
{
	struct buf *all[] = { &x->manifest, &x->keys, &x->pins, &x->audit };

	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		buf_wipe(all[i]);
		buf_fini(all[i]);
	}
}

bool imb1_is(struct bytes file)
{
	return file.n > sizeof(MAGIC) - 1 && memcmp(file.p, MAGIC, sizeof(MAGIC) - 1) == 0;
}

static enum err bad(struct fault *f, enum err e, const char *what)
{
	fault_set(f, e, EXIT_INTEGRITY, "this IMB1 archive is not right: %s", what);
	fault_means(f, "nothing was changed");
	return e;
}

enum err imb1_unseal(struct bytes file, struct bytes passphrase, struct buf *plain, struct fault *f)
{
	struct rd r = rd_init(file.p, file.n);
	struct bytes magic = rd_bytes(&r, sizeof(MAGIC) - 1), salt, blob;
	uint8_t version = rd_u8(&r), *out;
	struct secret key;
	enum err e;

	salt = rd_bytes(&r, SALT);
	blob = rd_rest(&r);
	if (rd_end(&r) != ERR_OK || !bytes_eq(magic, BYTES_LIT(MAGIC)) || blob.n < OVERHEAD)
		return bad(f, ERR_MALFORMED, "it is too short, or something else");
	if (version != VERSION)
		return bad(f, ERR_VERSION, "it is of a version that this program does not know");
	out = buf_reserve(plain, blob.n - OVERHEAD + 1);
	if (!out)
		return bad(f, ERR_LIMIT, "it is too large");
	e = secret_new(&key, crypto_secretbox_KEYBYTES);
	if (e == ERR_OK && crypto_pwhash(key.p, key.n, (const char *)passphrase.p, passphrase.n, salt.p, OPS, MEM,
					 crypto_pwhash_ALG_ARGON2ID13) != 0) {
		secret_free(&key);
		e = ERR_NOMEM;
	}
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_RETRY, "no memory to make the key from the passphrase");
	if (crypto_secretbox_open_easy(out, blob.p + crypto_secretbox_NONCEBYTES, blob.n - crypto_secretbox_NONCEBYTES, blob.p, key.p) == 0)
		plain->n += blob.n - OVERHEAD;
	else
		e = bad(f, ERR_AUTH, "its passphrase is another one, or it was altered");
	secret_free(&key);
	return e;
}

static struct buf *member(struct imb1 *x, const char *name)
{
	return !name				       ? NULL :
	       strcmp(name, "manifest.json") == 0      ? &x->manifest :
	       strcmp(name, "keys.json") == 0	       ? &x->keys :
	       strcmp(name, "known_peers.json") == 0   ? &x->pins :
	       strcmp(name, "audit.log") == 0	       ? &x->audit :
							 NULL;
}

static enum err take(struct archive *a, struct archive_entry *x, struct imb1 *out, struct fault *f)
{
	struct buf *b = member(out, archive_entry_pathname(x));
	la_int64_t size = archive_entry_size(x);
	uint8_t *p;

	if (!b)
		return bad(f, ERR_MALFORMED, "a member has a name that none has");
	if (archive_entry_filetype(x) != AE_IFREG || archive_entry_hardlink(x) || archive_entry_symlink(x) ||
	    archive_entry_sparse_count(x) > 0)
		return bad(f, ERR_MALFORMED, "a member is a link, a device or a folder");
	if (b->n)
		return bad(f, ERR_MALFORMED, "a member is there twice");
	if (size < 0 || (uint64_t)size > b->max)
		return bad(f, ERR_LIMIT, "a member is larger than it can be");
	p = buf_reserve(b, (size_t)size);
	if (!p && size)
		return fault_set(f, b->err, EXIT_RETRY, "no memory to read the archive");
	if (archive_read_data(a, p, (size_t)size) != size)
		return bad(f, ERR_SHORT, "a member is cut off");
	b->n = (size_t)size;
	return ERR_OK;
}

enum err imb1_unpack(struct bytes plain, struct imb1 *out, struct fault *f)
{
	struct archive *a = archive_read_new();
	struct archive_entry *entry;
	struct imb1 x;
	int rc = ARCHIVE_FATAL;
	enum err e = ERR_OK;

	buf_init(&x.manifest, SMALL_MAX);
	buf_init(&x.keys, SMALL_MAX);
	buf_init(&x.pins, PINS_MAX);
	buf_init(&x.audit, AUDIT_MAX);
	if (!a || archive_read_support_filter_gzip(a) != ARCHIVE_OK || archive_read_support_format_tar(a) != ARCHIVE_OK)
		e = fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory to read the archive");
	else if (archive_read_open_memory(a, plain.p, plain.n) != ARCHIVE_OK)
		e = bad(f, ERR_MALFORMED, "there is no archive inside");
	while (e == ERR_OK && (rc = archive_read_next_header(a, &entry)) == ARCHIVE_OK)
		e = take(a, entry, &x, f);
	if (e == ERR_OK && rc != ARCHIVE_EOF)
		e = bad(f, ERR_MALFORMED, "the archive inside is damaged");
	if (e == ERR_OK && x.keys.n == 0)
		e = bad(f, ERR_NOTFOUND, "there is no keys.json in it");
	if (a)
		archive_read_free(a);
	if (e != ERR_OK) {
		imb1_fini(&x);
		return e;
	}
	*out = x;
	return ERR_OK;
}
