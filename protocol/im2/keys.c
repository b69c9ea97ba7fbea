#include "protocol/im2/keys.h"

#include <sodium.h>

#include "base/hash.h"
#include "protocol/im2/enc.h"

/* Every label ends in its zero byte (im2.md 0). */
#define LABEL(name) bytes_of("ironmesh-im2/" name, sizeof("ironmesh-im2/" name))

#define MESH_OPS   3
#define MESH_BYTES 67108864
#define PWHASH_STACK 65536 /* more than crypto_pwhash() goes down */

_Static_assert(crypto_pwhash_SALTBYTES == 16, "mesh salt");

void im2_mesh_salt(struct bytes mesh_name, uint8_t out[static 16])
{
	uint8_t hash[HASH_BYTES];

	sha256_2(LABEL("mesh-salt"), mesh_name, hash);
	memcpy(out, hash, 16);
}

enum err im2_mesh_key(struct bytes passphrase, struct bytes mesh_name, struct secret *out)
{
	uint8_t salt[crypto_pwhash_SALTBYTES];
	struct secret key;
	enum err e = secret_new(&key, IM2_KEY);

	if (e != ERR_OK)
		return e;
	im2_mesh_salt(mesh_name, salt);
	if (crypto_pwhash(key.p, key.n, (const char *)passphrase.p, passphrase.n, salt, MESH_OPS,
			  MESH_BYTES, crypto_pwhash_ALG_ARGON2ID13) != 0) {
		secret_free(&key);
		e = ERR_NOMEM;
	}
	/* libsodium 1.0.18 leaves the key on its stack, and that of a worker thread rests for as long as we run. */
	sodium_stackzero(PWHASH_STACK);
	if (e == ERR_OK)
		*out = key;
	return e;
}

void im2_code_prs(const char digits[static 8], struct buf *out)
{
	buf_add(out, LABEL("pair-code"));
	buf_add(out, bytes_of(digits, 8));
}

void im2_ctx(struct buf *out, uint8_t mode, uint8_t transport, struct bytes chan, struct bytes cb)
{
	buf_add(out, bytes_of("ironmesh-im2", sizeof "ironmesh-im2"));
	buf_add_u8(out, mode);
	buf_add_u8(out, transport);
	im2_lv_add(out, chan);
	im2_lv_add(out, cb);
}

void im2_xx_psk(const uint8_t isk[static 64], struct bytes sid, uint8_t out[static 32])
{
	hkdf_sha256(bytes_of(isk, 64), sid, LABEL("xx-psk"), out, 32);
}

void im2_ik_psk(const uint8_t *pair_psk, const uint8_t ed_i[static 32], const uint8_t ed_r[static 32],
		struct bytes epoch_key, uint8_t out[static 32])
{
	static const uint8_t none[PSK_BYTES];
	uint8_t ikm[2 * ED_BYTES + 32];

	BUG_ON(epoch_key.n != 0 && epoch_key.n != 32);
	memcpy(ikm, ed_i, ED_BYTES);
	memcpy(ikm + ED_BYTES, ed_r, ED_BYTES);
	if (epoch_key.n)
		memcpy(ikm + 2 * ED_BYTES, epoch_key.p, epoch_key.n);
	hkdf_sha256(bytes_of(ikm, 2 * ED_BYTES + epoch_key.n),
		    bytes_of(pair_psk ? pair_psk : none, PSK_BYTES), LABEL("ik-psk"), out, 32);
	wipe(ikm, sizeof ikm);
}

void im2_secrets_of(struct im2_secrets *out, bool noise_initiator, const uint8_t k_i2r[static 32],
		    const uint8_t k_r2i[static 32], const uint8_t ck[static 32],
		    const uint8_t h[static 32])
{
	uint8_t id[HASH_BYTES];

	memcpy(out->tx, noise_initiator ? k_i2r : k_r2i, 32);
	memcpy(out->rx, noise_initiator ? k_r2i : k_i2r, 32);
	hmac_sha256_2(bytes_of(ck, 32), LABEL("exporter"), bytes_of(h, 32), out->exporter);
	sha256_2(LABEL("session-id"), bytes_of(h, 32), id);
	memcpy(out->session_id, id, sizeof out->session_id);
}

void im2_export(const uint8_t exporter[static 32], struct bytes label, struct bytes context,
		uint8_t *out, size_t n)
{
	struct buf info;

	buf_init(&info, 4096);
	buf_add(&info, LABEL("exp"));
	im2_lv_add(&info, label);
	im2_lv_add(&info, context);
	BUG_ON(info.err != ERR_OK); /* labels are ours and short */
	hkdf_expand_sha256(exporter, buf_bytes(&info), out, n);
	buf_wipe(&info); /* the context may be secret */
	buf_fini(&info);
}

void im2_pair_psk(const uint8_t exporter[static 32], uint8_t out[static 32])
{
	im2_export(exporter, BYTES_LIT("pair-psk"), bytes_of(NULL, 0), out, PSK_BYTES);
}
