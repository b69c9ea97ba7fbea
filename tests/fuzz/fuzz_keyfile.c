/* rooms: trust base */
/*
 * keys.json. No passphrase is given, so Argon2id never runs: an encrypted file ends in ERR_DENIED
 * after its shape was checked. What loads is written again as version 3 and must load as the same
 * keys.
 */
#include <stdlib.h>

#include "trust/keyfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t clock_of(void *ctx)
{
	return 1753500000250u;
}

static void fill(void *ctx, void *out, size_t n)
{
	memset(out, 0x5a, n);
}

static void round_trip(const struct keyring *k, const char *name, struct env *env)
{
	struct keyfile_info i;
	struct keyring *again;
	struct buf text;

	buf_init(&text, KEYFILE_MAX_BYTES);
	BUG_ON(keyfile_write(k, name, bytes_of("", 0), true, env, &text, NULL) != ERR_OK);
	BUG_ON(keyfile_parse(buf_bytes(&text), bytes_of("", 0), env, &again, &i, NULL) != ERR_OK);
	BUG_ON(i.version != 3 || i.migrated || strcmp(i.name, name) != 0);
	BUG_ON(!node_id_eq(keyring_id(k), keyring_id(again)));
	BUG_ON(memcmp(keyring_x25519(k), keyring_x25519(again), X25519_BYTES) != 0);
	keyring_free(again);
	buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct env env = {.now_ms = clock_of, .wall_ms = clock_of, .random = fill};
	struct keyfile_info peeked, i;
	struct keyring *k;
	struct fault f;
	enum err seen = keyfile_peek(bytes_of(data, size), &peeked, &f);
	enum err e = keyfile_parse(bytes_of(data, size), bytes_of("", 0), &env, &k, &i, &f);

	if (e != ERR_OK) {
		BUG_ON(e == ERR_DENIED && (seen != ERR_OK || !peeked.encrypted));
		return 0;
	}
	BUG_ON(seen != ERR_OK || !node_id_eq(&peeked.id, keyring_id(k)));
	round_trip(k, i.name, &env);
	keyring_free(k);
	return 0;
}
