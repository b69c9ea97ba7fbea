#include <sodium.h>

#include "base/hash.h"
#include "protocol/session.h"
#include "protocol/v09/frame.h"

#define NONCE crypto_secretbox_NONCEBYTES
#define MAC crypto_secretbox_MACBYTES

_Static_assert(NONCE + MAC == FRAME_ENC_MIN, "nonce || mac");

uint64_t frame_time_ms(double time_s)
{
	return (uint64_t)(time_s * 1000.0);
}

static void put_head(uint8_t *at, const struct frame_text *t, uint32_t enc_len)
{
	struct wr w = wr_init(at, FRAME_HEADER);

	wr_u16(&w, 0xe7f6);
	wr_u8(&w, FRAME_VERSION);
	wr_u8(&w, (uint8_t)(FRAME_ENCRYPTED | FRAME_SIGNED |
			    (t->priority == PRIO_HIGH	    ? FRAME_HIGH :
			     t->priority == PRIO_CRITICAL ? FRAME_CRITICAL : 0)));
	wr_u64(&w, t->sequence);
	wr_u64(&w, t->time_ms);
	wr_bytes(&w, BYTES_ARR(t->id_hash));
	wr_u32(&w, enc_len);
}

/* Room for the head; where it is. */
static bool begin(struct buf *out, const uint8_t nonce[static NONCE], size_t body_max)
{
	uint8_t *p = buf_reserve(out, FRAME_HEADER + FRAME_ENC_MIN + body_max + SIG_BYTES);

	if (!p)
		return false;
	memset(p, 0, FRAME_HEADER);
	memcpy(p + FRAME_HEADER, nonce, NONCE);
	memset(p + FRAME_HEADER + NONCE, 0, MAC);
	out->n += FRAME_HEADER + NONCE + MAC;
	return true;
}

static enum err failed(struct buf *out, size_t start)
{
	enum err e = out->err;

	out->err = ERR_OK;
	out->n = start;
	return e;
}

/* The body has been written behind the head. */
static enum err finish(struct buf *out, size_t start, const uint8_t key[static SESSION_KEY_BYTES],
		       const struct keyring *k, const uint8_t nonce[static NONCE], const struct frame_text *t)
{
	size_t text = start + FRAME_HEADER + NONCE + MAC;
	uint8_t *body, *p;

	if (out->err != ERR_OK)
		return failed(out, start);
	if (out->n - start + SIG_BYTES > SESSION_UNIT_MAX) {
		wipe(out->p + text, out->n - text);
		out->n = start;
		return ERR_LIMIT;
	}
	body = out->p + text;
	crypto_secretbox_detached(body, body - MAC, body, out->n - text, nonce, key);
	put_head(out->p + start, t, (uint32_t)(out->n - text + NONCE + MAC));
	p = buf_reserve(out, SIG_BYTES);
	if (!p)
		return failed(out, start);
	keyring_sign(k, SIG_BARE_OUTER, bytes_of(out->p + start + FRAME_HEADER, out->n - start - FRAME_HEADER), p);
	out->n += SIG_BYTES;
	return ERR_OK;
}

enum err frame_seal(struct buf *out, const uint8_t key[static SESSION_KEY_BYTES], const struct keyring *k,
		    const uint8_t nonce[static 24], const struct body_out *o)
{
	struct frame_text t = { .sequence = o->sequence, .time_ms = frame_time_ms(o->time_s), .priority = o->priority };
	uint8_t hash[HASH_BYTES];
	size_t start = out->n;

	sha256(o->id, hash);
	memcpy(t.id_hash, hash, sizeof t.id_hash);
	if (!begin(out, nonce, body_size_max(o)))
		return failed(out, start);
	body_write(out, o);
	return finish(out, start, key, k, nonce, &t);
}

enum err frame_seal_text(struct buf *out, const uint8_t key[static SESSION_KEY_BYTES], const struct keyring *k,
			 const uint8_t nonce[static 24], const struct frame_text *t)
{
	size_t start = out->n;

	BUG_ON(t->cut > t->body.n);
	if (!begin(out, nonce, t->body.n + 24))
		return failed(out, start);
	buf_add(out, bytes_of(t->body.p, t->cut));
	buf_printf(out, "%llu", (unsigned long long)t->sequence);
	buf_add(out, bytes_of(t->body.p + t->cut, t->body.n - t->cut));
	return finish(out, start, key, k, nonce, t);
}

enum err frame_shape(struct bytes unit, struct frame_head *head, struct bytes *enc, const uint8_t **sig)
{
	struct rd r = rd_init(unit.p, unit.n);
	struct frame_head h;
	struct bytes body, signature;

	if (rd_u16(&r) != 0xe7f6)
		rd_fail(&r, ERR_MALFORMED);
	h.version = rd_u8(&r);
	h.flags = rd_u8(&r);
	h.sequence = rd_u64(&r);
	h.time_ms = rd_u64(&r);
	rd_copy(&r, h.id_hash, sizeof h.id_hash);
	h.enc_len = rd_u32(&r);
	if ((h.version != 3 && h.version != 4) ||
	    (h.flags & (FRAME_ENCRYPTED | FRAME_SIGNED)) != (FRAME_ENCRYPTED | FRAME_SIGNED) ||
	    h.enc_len < FRAME_ENC_MIN || h.enc_len > FRAME_ENC_MAX)
		rd_fail(&r, ERR_MALFORMED);
	body = rd_bytes(&r, h.enc_len);
	signature = rd_bytes(&r, SIG_BYTES);
	enum err e = rd_end(&r);
	if (e != ERR_OK)
		return e;
	*head = h;
	*enc = body;
	*sig = signature.p;
	return ERR_OK;
}

enum err frame_open(struct bytes enc, const uint8_t *const keys[], size_t n_keys,
		    const uint8_t ed[static ED_BYTES], const uint8_t sig[static SIG_BYTES],
		    struct buf *plain, size_t *which, const char **word)
{
	size_t n = enc.n - FRAME_ENC_MIN, i;
	const uint8_t *nonce = enc.p, *mac = enc.p + NONCE, *cipher = enc.p + FRAME_ENC_MIN;
	uint8_t *p;

	BUG_ON(enc.n < FRAME_ENC_MIN);
	buf_reset(plain);
	p = buf_reserve(plain, n ? n : 1);
	if (!p) {
		*word = "no-memory";
		return plain->err;
	}
	for (i = 0; i < n_keys; i++)
		if (crypto_secretbox_open_detached(p, cipher, mac, n, nonce, keys[i]) == 0)
			break;
	if (i == n_keys) {
		*word = "decryption";
		return ERR_AUTH;
	}
	if (!sig_verify(SIG_BARE_OUTER, ed, enc, sig)) {
		*word = "outer-signature";
		return ERR_AUTH;
	}
	plain->n = n;
	*which = i;
	return ERR_OK;
}
