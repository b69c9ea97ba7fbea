#include "tests/lib/store_world.h"

#include <ftw.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trust/keyring_internal.h"

static uint64_t now_of(void *ctx)
{
	return ((struct world *)ctx)->now_ms;
}

static uint64_t wall_of(void *ctx)
{
	return ((struct world *)ctx)->wall_ms;
}

static void random_of(void *ctx, void *out, size_t n)
{
	randombytes_buf(out, n);
}

void world_init(struct world *w)
{
	BUG_ON(secret_init_library() != ERR_OK);
	*w = (struct world){.now_ms = 1000000, .wall_ms = 1753500000250};
	w->env = (struct env){.ctx = w, .now_ms = now_of, .wall_ms = wall_of, .random = random_of};
	memset(w->wrap, 0x5a, sizeof(w->wrap));
	snprintf(w->dir, sizeof(w->dir), "/tmp/ironmesh-store-XXXXXX");
	BUG_ON(!mkdtemp(w->dir));
	snprintf(w->db, sizeof(w->db), "%s/ironmesh.db", w->dir);
	snprintf(w->log, sizeof(w->log), "%s/audit.log", w->dir);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

void world_fini(struct world *w)
{
	nftw(w->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

struct node_id world_peer(unsigned n)
{
	struct node_id id;

	snprintf(id.hex, sizeof(id.hex), "%08x%08x%08x%08x", n, n * 2654435761u, ~n, n ^ 0xabcdefu);
	return id;
}

enum err world_store_try(struct world *w, struct store **out, struct fault *f)
{
	struct store_config c = {
		.path = w->db,
		.wrap_key = BYTES_ARR(w->wrap),
		.env = &w->env,
	};

	return store_open(&c, out, f);
}

struct store *world_store(struct world *w, const struct store_limits *limits)
{
	struct store_config c = {
		.path = w->db,
		.wrap_key = BYTES_ARR(w->wrap),
		.env = &w->env,
	};
	struct fault f = {0};
	struct store *s = NULL;

	if (limits)
		c.limits = *limits;
	if (store_open(&c, &s, &f) != ERR_OK) {
		fprintf(stderr, "store_open: %s\n", f.what);
		abort();
	}
	return s;
}

int64_t world_out(struct store *s, const struct world *w, unsigned peer, const char *id,
		  unsigned priority, const char *body)
{
	struct outbox_new m = {
		.id = bytes_str(id),
		.to = world_peer(peer),
		.type = BYTES_LIT("MSG"),
		.priority = (uint8_t)priority,
		.created_ms = w->wall_ms,
		.body = bytes_str(body),
	};
	int64_t seq = -1;

	return outbox_put(s, &m, &seq, (uint8_t[16]){0}) == ERR_OK ? seq : -1;
}

int64_t world_in(struct store *s, const struct world *w, unsigned author, const char *id, bool held,
		 const char *body)
{
	struct inbox_new m = {
		.author = world_peer(author),
		.via = world_peer(author + 1000),
		.id = bytes_str(id),
		.type = BYTES_LIT("MSG"),
		.priority = 1,
		.created_ms = w->wall_ms - 5,
		.received_ms = w->wall_ms,
		.held = held,
		.proven = true,
		.body = bytes_str(body),
	};
	enum inbox_state state;
	int64_t seq = -1;

	return inbox_put(s, &m, &seq, &state) == ERR_OK ? seq : -1;
}

enum err world_send(struct store *s, const struct world *w, unsigned peer, const char *body,
		    uint8_t wire_id[static 16], int64_t *seq)
{
	struct outbox_new m = {
		.to = world_peer(peer),
		.type = BYTES_LIT("MSG"),
		.priority = 1,
		.created_ms = w->wall_ms,
		.expires_ms = w->wall_ms + 86400000,
		.body = bytes_str(body),
	};

	return outbox_put(s, &m, seq, wire_id);
}

struct inbox_new world_letter(const struct world *w, unsigned author, const uint8_t wire_id[static 16],
			      const char *body)
{
	struct inbox_new m = {
		.author = world_peer(author),
		.via = world_peer(author),
		.type = BYTES_LIT("MSG"),
		.priority = 1,
		.created_ms = w->wall_ms - 5,
		.received_ms = w->wall_ms,
		.body = bytes_str(body),
		.has_wire = true,
		.ttl_s = 86400,
		.clock_plausible = true,
	};

	memcpy(m.wire_id, wire_id, sizeof(m.wire_id));
	for (size_t i = 0; i < m.body.n; i++)
		m.digest[i % 16] = (uint8_t)(m.digest[i % 16] * 31 + m.body.p[i]);
	return m;
}

enum err world_take(struct store *s, const struct world *w, unsigned author,
		    const uint8_t wire_id[static 16], const char *body)
{
	struct inbox_new m = world_letter(w, author, wire_id, body);
	enum inbox_state state;
	int64_t seq;

	return inbox_put(s, &m, &seq, &state);
}

void world_wire(uint8_t out[static 16], uint8_t era, uint64_t number)
{
	struct wr w = wr_init(out + 8, 8);

	memset(out, era, 8);
	wr_u64(&w, number);
}

void world_copy(const char *from, const char *to)
{
	size_t n;
	char *p = world_read(from, &n);

	BUG_ON(!p);
	world_write(to, p, n);
	free(p);
}

static struct keyring *keys_of(uint8_t fill)
{
	uint8_t seed[SEED_BYTES], salt[HKDF_SALT_BYTES];
	struct keyring *k;

	memset(seed, fill, sizeof(seed));
	for (unsigned i = 0; i < sizeof(salt); i++)
		salt[i] = (uint8_t)(i + 1);
	BUG_ON(keyring_from_seed(seed, salt, &k) != ERR_OK);
	return k;
}

struct keyring *world_keys(struct world *w)
{
	return keys_of(0);
}

struct keyring *world_other_keys(struct world *w)
{
	return keys_of(7);
}

char *world_read(const char *path, size_t *n)
{
	FILE *f = fopen(path, "rb");
	struct stat st;

	*n = 0;
	if (!f)
		return NULL;
	BUG_ON(fstat(fileno(f), &st) != 0);
	char *p = malloc((size_t)st.st_size + 1);
	BUG_ON(!p);
	*n = fread(p, 1, (size_t)st.st_size, f);
	p[*n] = 0;
	fclose(f);
	return p;
}

void world_write(const char *path, const void *p, size_t n)
{
	FILE *f = fopen(path, "wb");

	BUG_ON(!f || fwrite(p, 1, n, f) != n || fclose(f) != 0);
	BUG_ON(chmod(path, 0600) != 0);
}
