#include "store/backup_manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/secret.h"
#include "base/text.h"
#include "trust/keyfile.h"

#define FORMAT "ironmesh-backup/1"

void backup_manifest_fini(struct backup_manifest *m)
{
	free(m->files);
	*m = (struct backup_manifest){ 0 };
}

/* --- reading ----------------------------------------------------------------------------------------- */
static enum err bad(struct fault *f, enum err e, const char *what)
{
	fault_set(f, e, EXIT_INTEGRITY, "the list of contents of this backup is not right: %s", what);
	fault_means(f, "it was not made by this program; nothing was changed");
	return e;
}

static enum err add(struct backup_manifest *m, const struct backup_file *x)
{
	struct backup_file *more = NULL;

	if (m->n == STATE_MEMBERS_MAX)
		return ERR_LIMIT;
	if (m->n % 32 == 0) {
		more = reallocarray(m->files, m->n + 32, sizeof *more);
		if (!more)
			return ERR_NOMEM;
		m->files = more;
	}
	m->files[m->n++] = *x;
	m->bytes += x->bytes;
	return ERR_OK;
}

static enum err read_file_row(const json_t *v, struct backup_manifest *m, struct fault *f)
{
	struct backup_file x = { .row = NULL };
	struct bytes name, digest;
	int64_t bytes;
	enum err e;

	if (json_get_str(v, "name", &name) != ERR_OK || json_get_int(v, "bytes", 0, INT64_MAX, &bytes) != ERR_OK ||
	    json_get_str(v, "sha256", &digest) != ERR_OK || hex_decode(digest, x.sha256, sizeof x.sha256) != ERR_OK)
		return bad(f, ERR_MALFORMED, "a file lacks its name, size or hash");
	x.row = state_find(name);
	if (!x.row || x.row->how == STATE_NOT)
		return bad(f, ERR_MALFORMED, "it names a file that no backup holds");
	memcpy(x.name, name.p, name.n); /* state_find() refuses what does not fit */
	x.bytes = (uint64_t)bytes;
	if (x.bytes > x.row->max_bytes)
		return bad(f, ERR_LIMIT, "a file is larger than it can be");
	for (size_t i = 0; i < m->n; i++)
		if (strcmp(m->files[i].name, x.name) == 0)
			return bad(f, ERR_MALFORMED, "a file is named twice");
	e = add(m, &x);
	return e == ERR_LIMIT ? bad(f, e, "there are too many files") :
	       e != ERR_OK    ? fault_set(f, e, EXIT_RETRY, "no memory for the backup") :
				e;
}

static enum err complete(const struct backup_manifest *m, struct fault *f)
{
	const struct state_row *r;

	for (size_t i = 0; (r = state_at(i)); i++) {
		bool there = !r->required;

		for (size_t k = 0; k < m->n && !there; k++)
			there = m->files[k].row == r;
		if (!there) {
			fault_set(f, ERR_NOTFOUND, EXIT_INTEGRITY, "there is no %s", r->name);
			fault_means(f, "it is %s: without it this is no backup", r->why);
			return ERR_NOTFOUND;
		}
	}
	return ERR_OK;
}

static enum err parse(const json_t *root, struct backup_manifest *m, struct fault *f)
{
	const char *format = json_str(root, "format"), *program = json_str(root, "program"), *name = json_str(root, "name");
	const json_t *files = json_object_get(root, "files"), *v;
	struct bytes id;
	int64_t created;
	enum err e = ERR_OK;
	size_t i;

	if (!format || strcmp(format, FORMAT) != 0)
		return bad(f, ERR_VERSION, "it is of another format");
	if (json_get_int(root, "created_ms", 0, INT64_MAX, &created) != ERR_OK || json_get_str(root, "id", &id) != ERR_OK ||
	    node_id_parse(id, &m->id) != ERR_OK || !program || !name || !json_is_array(files))
		return bad(f, ERR_MALFORMED, "something is missing");
	m->created_ms = (uint64_t)created;
	text_safe(bytes_str(program), m->program, sizeof m->program);
	text_safe(bytes_str(name), m->name, sizeof m->name);
	json_array_foreach ((json_t *)files, i, v) {
		e = read_file_row(v, m, f);
		if (e != ERR_OK)
			return e;
	}
	return complete(m, f);
}

enum err backup_manifest_parse(struct bytes json, struct backup_manifest *out, struct fault *f)
{
	struct backup_manifest m = { 0 };
	json_t *root;
	enum err e = json_load_strict(json, BACKUP_MANIFEST_MAX, &root);

	if (e != ERR_OK)
		return bad(f, e, "it is not JSON");
	e = parse(root, &m, f);
	json_decref(root);
	if (e != ERR_OK) {
		backup_manifest_fini(&m);
		return e;
	}
	*out = m;
	return ERR_OK;
}

/* --- writing ----------------------------------------------------------------------------------------- */
enum err backup_manifest_write(const struct backup_manifest *m, struct buf *out)
{
	char digest[2 * HASH_BYTES + 1];

	buf_add_str(out, "{\"format\":\"" FORMAT "\",\"created_ms\":");
	buf_add_uint(out, m->created_ms);
	buf_add_str(out, ",\"program\":");
	json_add_string(out, bytes_str(m->program));
	buf_printf(out, ",\"id\":\"%s\",\"name\":", m->id.hex);
	json_add_string(out, bytes_str(m->name));
	buf_add_str(out, ",\"files\":[");
	for (size_t i = 0; i < m->n; i++) {
		const struct backup_file *x = &m->files[i];

		hex_encode(BYTES_ARR(x->sha256), digest);
		buf_printf(out, "%s\n{\"name\":\"%s\",\"bytes\":%llu,\"sha256\":\"%s\"}", i ? "," : "", x->name,
			   (unsigned long long)x->bytes, digest);
	}
	buf_add_str(out, "]}\n");
	return out->err;
}

struct gathering {
	struct backup_manifest *m;
	const char *folder;
	struct fault *f;
	enum err err;
};

static enum err hash_file(const char *path, struct backup_file *x, struct fault *f)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	struct hash *h = hash_new();
	uint8_t *piece = malloc(1u << 18);
	struct stat st;
	ssize_t n = -1;

	if (fd >= 0 && piece && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		while ((n = read(fd, piece, 1u << 18)) > 0 || (n < 0 && errno == EINTR))
			if (n > 0) {
				hash_add(h, bytes_of(piece, (size_t)n));
				x->bytes += (uint64_t)n;
			}
	hash_end(h, n == 0 ? x->sha256 : NULL);
	if (fd >= 0)
		close(fd);
	if (piece)
		wipe(piece, 1u << 18);
	free(piece);
	if (n != 0)
		return fault_set(f, ERR_IO, EXIT_GENERIC, "%s cannot be read", x->name);
	if (x->bytes > x->row->max_bytes) {
		fault_set(f, ERR_LIMIT, EXIT_INTEGRITY, "%s has %llu bytes; at most %llu are backed up", x->name,
			  (unsigned long long)x->bytes, (unsigned long long)x->row->max_bytes);
		return ERR_LIMIT;
	}
	return ERR_OK;
}

static bool gather(void *ctx, const char *name, const struct state_row *row)
{
	struct gathering *g = ctx;
	struct backup_file x = { .row = row };
	char path[4096];

	if (!row || row->how == STATE_NOT)
		return true;
	snprintf(x.name, sizeof x.name, "%s", name);
	g->err = path_join(path, sizeof path, g->folder, name);
	if (g->err == ERR_OK)
		g->err = hash_file(path, &x, g->f);
	if (g->err == ERR_OK)
		g->err = add(g->m, &x);
	if (g->err == ERR_LIMIT && g->f && !g->f->what[0])
		fault_set(g->f, g->err, EXIT_INTEGRITY, "there are too many files in %s", g->folder);
	return g->err == ERR_OK;
}

static enum err whose(const char *folder, struct backup_manifest *m, struct fault *f)
{
	struct keyfile_info info;
	struct buf b;
	char path[4096];
	enum err e = path_join(path, sizeof path, folder, "keys.json");

	buf_init(&b, KEYFILE_MAX_BYTES);
	if (e == ERR_OK)
		e = file_read(path, &b, f);
	if (e == ERR_OK)
		e = keyfile_peek(buf_bytes(&b), &info, f);
	if (e == ERR_OK) {
		m->id = info.id;
		snprintf(m->name, sizeof m->name, "%s", info.name);
	}
	buf_wipe(&b);
	buf_fini(&b);
	return e;
}

enum err backup_manifest_of(const char *folder, uint64_t wall_ms, struct backup_manifest *out, struct fault *f)
{
	struct backup_manifest m = { .created_ms = wall_ms };
	struct fault local = { 0 };
	struct gathering g = { .m = &m, .folder = folder, .f = f ? f : &local, .err = ERR_OK };
	enum err e;

	g.f->what[0] = '\0';
	snprintf(m.program, sizeof m.program, "%s", IRONMESH_VERSION);
	e = state_each(folder, gather, &g, g.f);
	if (e == ERR_OK)
		e = g.err;
	if (e == ERR_OK)
		e = complete(&m, g.f);
	if (e == ERR_OK)
		e = whose(folder, &m, g.f);
	if (e != ERR_OK) {
		if (!g.f->what[0])
			fault_set(g.f, e, EXIT_GENERIC, "the backup cannot be made: %s", err_word(e));
		backup_manifest_fini(&m);
		return e;
	}
	*out = m;
	return ERR_OK;
}
