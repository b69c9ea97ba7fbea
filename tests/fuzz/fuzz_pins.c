/* rooms: trust base */
/*
 * known_peers.json. The first byte chooses the door: the file as it comes, the decrypted inner
 * JSON, or a version 1 file that gets a valid MAC. What loads is written and read again, and the
 * second text must equal the first.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/secret.h"
#include "base/text.h"
#include "trust/keyring_internal.h"
#include "trust/pins_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t clock_of(void *ctx)
{
	return 1753500000250u;
}

static void fill(void *ctx, void *out, size_t n)
{
	memset(out, 0x5a, n);
}

static struct env env = {.now_ms = clock_of, .wall_ms = clock_of, .random = fill};

static struct pins *fresh(void)
{
	static const uint8_t seed[SEED_BYTES], salt[HKDF_SALT_BYTES];
	static struct keyring *k;
	struct pins *p;

	if (!k)
		BUG_ON(keyring_from_seed(seed, salt, &k) != ERR_OK);
	BUG_ON(pins_load(NULL, k, &env, &p, NULL) != ERR_OK);
	return p;
}

static void invariants_im2(const struct pins *p, const struct rec *r)
{
	const struct pin *pin = &r->pin;

	BUG_ON((pin->x_proven || pin->x_imported) && !pin->has_x25519);
	BUG_ON(pin->x_proven && (pin->x_imported || pins_by_x(p, pin->x25519, NULL) != pin));
	BUG_ON(node_id_eq(&pin->successor, &pin->id) || !pins_current(p, &pin->id));
	BUG_ON(r->psks && (r->psks->candidates_n > PSK_CANDIDATES ||
			   (!r->psks->has_confirmed && r->psks->candidates_n == 0)));
	for (size_t i = 0; r->psks && i < r->psks->candidates_n; i++) {
		bool none;

		BUG_ON(is_zero(r->psks->candidates[i].id, PSK_ID));
		BUG_ON(!psks_accept(r->psks, r->psks->candidates[i].id, &none) || none);
	}
}

static void invariants(const struct pins *p)
{
	size_t sum = 0;

	for (int s = 0; s < PIN_STATES; s++)
		sum += pins_count_state(p, s);
	BUG_ON(sum != pins_count(p) || sum > PINS_MAX || p->alarm_count > PINS_ALARMS_MAX);
	for (size_t i = 0; i < p->n; i++) {
		const struct rec *r = p->recs[i];

		BUG_ON(pins_rec(p, &r->pin.id) != r);
		BUG_ON(r->name_bound && (r->pin.state != PIN_TRUSTED || r->pin.name[0] == '\0'));
		BUG_ON(r->name_bound && pins_name_holder(p, r->pin.name) != r);
		BUG_ON(r->pin.address_count > PINS_ADDRESSES_MAX);
		invariants_im2(p, r);
	}
	BUG_ON(p->im2.n > PINS_IM2_ADDRESSES_MAX);
	for (size_t i = 0; i < p->im2.n; i++) {
		BUG_ON(i != 0 && strcmp(p->im2.list[i - 1].text, p->im2.list[i].text) >= 0);
		BUG_ON(!pins_im2_address_has(p, p->im2.list[i].text, NULL));
	}
}

static void round_trip(const struct pins *p)
{
	struct pins *again = fresh();
	struct buf first, second;
	json_t *inner;

	buf_init(&first, PINS_FILE_MAX);
	buf_init(&second, PINS_FILE_MAX);
	BUG_ON(pins_write_inner(p, &first) != ERR_OK);
	BUG_ON(json_load_strict(buf_bytes(&first), PINS_FILE_MAX, &inner) != ERR_OK);
	BUG_ON(pins_read_inner(again, inner) != ERR_OK);
	invariants(again);
	BUG_ON(pins_write_inner(again, &second) != ERR_OK);
	BUG_ON(!bytes_eq(buf_bytes(&first), buf_bytes(&second)));
	json_decref(inner);
	buf_fini(&first);
	buf_fini(&second);
	pins_free(again);
}

/* Whatever was loaded, a rotation and its undoing leave a store that can be written. */
static void rotate_first(struct pins *p)
{
	static const uint8_t x[X25519_BYTES] = {9}, seed[SEED_BYTES] = {7};
	uint8_t ed[ED_BYTES], sk[crypto_sign_SECRETKEYBYTES];
	struct node_id old;

	if (p->n == 0)
		return;
	old = p->recs[0]->pin.id;
	BUG_ON(crypto_sign_seed_keypair(ed, sk, seed) != 0);
	if (pins_rotate(p, &old, ed, x, 1753500000250u, true) != ERR_OK)
		return;
	invariants(p);
	round_trip(p);
	BUG_ON(pins_set_state(p, &old, PIN_REVOKED, "gone", NULL) != ERR_OK);
	pins_expire_rotated(p, UINT64_MAX);
	invariants(p);
	round_trip(p);
}

static enum err from_inner(struct pins *p, struct bytes in)
{
	json_t *inner;
	enum err e = json_load_strict(in, PINS_FILE_MAX, &inner);

	if (e != ERR_OK)
		return e;
	e = pins_read_inner(p, inner);
	json_decref(inner);
	return e;
}

static enum err from_version_1(struct pins *p, struct bytes in)
{
	uint8_t mac[HASH_BYTES];
	char why[256], hex[2 * HASH_BYTES + 1];
	struct buf text;
	json_t *root;
	enum err e = json_load_strict(in, PINS_FILE_MAX, &root);

	if (e != ERR_OK)
		return e;
	buf_init(&text, PINS_FILE_MAX);
	json_object_del(root, "_mac");
	e = json_write(&text, root, JSON_SORTED);
	if (e == ERR_OK && json_is_object(root)) {
		hmac_sha256(secret_bytes(&p->mac), buf_bytes(&text), mac);
		hex_encode(BYTES_ARR(mac), hex);
		json_object_set_new(root, "_mac", json_string(hex));
		buf_reset(&text);
		e = json_write(&text, root, JSON_INSERTION);
	}
	if (e == ERR_OK)
		e = pins_read_file(p, buf_bytes(&text), why, sizeof why);
	json_decref(root);
	buf_fini(&text);
	return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char why[256] = "";
	enum err e;

	if (size == 0)
		return 0;
	struct pins *p = fresh();
	struct bytes rest = bytes_of(data + 1, size - 1);
	if (data[0] == 'f')
		e = pins_read_file(p, rest, why, sizeof why);
	else if (data[0] == '1')
		e = from_version_1(p, rest);
	else
		e = from_inner(p, rest);
	if (e == ERR_OK) {
		invariants(p);
		round_trip(p);
		rotate_first(p);
	} else {
		BUG_ON(pins_count(p) != 0 || (data[0] == 'f' && why[0] == '\0'));
	}
	pins_free(p);
	return 0;
}
