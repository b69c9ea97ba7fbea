#include "protocol/im2/noise.h"

#include <sodium.h>

#include "base/aead.h"
#include "base/hash.h"
#include "base/secret.h"

_Static_assert(NOISE_TAG == crypto_aead_chacha20poly1305_ietf_ABYTES, "tag");
_Static_assert(NOISE_KEY == crypto_aead_chacha20poly1305_ietf_KEYBYTES, "cipher key");
_Static_assert(NOISE_KEY == crypto_scalarmult_BYTES && NOISE_KEY == crypto_scalarmult_SCALARBYTES,
	       "X25519");

/* ee, es, se, ss: the first letter is the initiator's key, the second the responder's. */
enum token { END, E, S, EE, ES, SE, SS, PSK };
#define TOKENS_MAX 6

struct pattern {
	const char *name;
	bool knows_responder; /* its static key is a pre-message */
	bool psk;
	uint8_t messages;
	uint8_t token[3][TOKENS_MAX];
};

#define NAME(p) "Noise_" p "_25519_ChaChaPoly_SHA256"
static const struct pattern patterns[NOISE_PATTERNS] = {
	[NOISE_X] = { NAME("X"), true, false, 1, { { E, ES, S, SS } } },
	[NOISE_IK] = { NAME("IK"), true, false, 2, { { E, ES, S, SS }, { E, EE, SE } } },
	[NOISE_XX] = { NAME("XX"), false, false, 3, { { E }, { E, EE, S, ES }, { S, SE } } },
	[NOISE_XXPSK0] = { NAME("XXpsk0"), false, true, 3, { { PSK, E }, { E, EE, S, ES }, { S, SE } } },
	[NOISE_XXPSK3] = { NAME("XXpsk3"), false, true, 3, { { E }, { E, EE, S, ES }, { S, SE, PSK } } },
	[NOISE_IKPSK1] = { NAME("IKpsk1"), true, true, 2, { { E, ES, S, SS, PSK }, { E, EE, SE } } },
	[NOISE_IKPSK2] = { NAME("IKpsk2"), true, true, 2, { { E, ES, S, SS }, { E, EE, SE, PSK } } },
};

/* --- the cipher --- */

static void nonce_of(uint64_t n, uint8_t out[static crypto_aead_chacha20poly1305_ietf_NPUBBYTES])
{
	memset(out, 0, 4);
	for (unsigned i = 0; i < 8; i++)
		out[4 + i] = (uint8_t)(n >> 8 * i);
}

void im2_aead_seal(const uint8_t key[static 32], uint64_t n, struct bytes ad, struct bytes plain,
		   uint8_t *out)
{
	uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];

	BUG_ON(n == UINT64_MAX); /* a key is used up before its nonce repeats */
	nonce_of(n, nonce);
	if (plain.n >= AEAD_BULK) {
		if (aead_seal_bulk(key, nonce, ad, plain, out) == ERR_OK)
			return;
		BUG_ON(out == plain.p); /* the plaintext may be half overwritten */
	}
	crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, plain.p, plain.n, ad.p, ad.n, NULL,
						  nonce, key);
}

enum err im2_aead_open(const uint8_t key[static 32], uint64_t n, struct bytes ad, struct bytes cipher,
		       uint8_t *out)
{
	uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES];

	if (cipher.n < NOISE_TAG)
		return ERR_SHORT;
	nonce_of(n, nonce);
	if (cipher.n >= AEAD_BULK)
		return aead_open_bulk(key, nonce, ad, cipher, out);
	/* libsodium checks the tag before it writes. */
	return crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, cipher.p, cipher.n, ad.p,
							 ad.n, nonce, key) == 0
		       ? ERR_OK
		       : ERR_AUTH;
}

/* --- the symmetric state --- */

static void mix_hash(struct noise *x, struct bytes d)
{
	sha256_2(BYTES_ARR(x->h), d, x->h);
}

static void mix_key(struct noise *x, const uint8_t ikm[static 32])
{
	uint8_t o[64];

	hkdf_sha256(bytes_of(ikm, 32), BYTES_ARR(x->ck), bytes_of(NULL, 0), o, sizeof o);
	memcpy(x->ck, o, 32);
	memcpy(x->k, o + 32, 32);
	x->has_k = true;
	x->n = 0;
	wipe(o, sizeof o);
}

static void mix_psk(struct noise *x, const uint8_t psk[static 32])
{
	uint8_t o[96];

	hkdf_sha256(bytes_of(psk, 32), BYTES_ARR(x->ck), bytes_of(NULL, 0), o, sizeof o);
	memcpy(x->ck, o, 32);
	mix_hash(x, bytes_of(o + 32, 32));
	memcpy(x->k, o + 64, 32);
	x->has_k = true;
	x->n = 0;
	wipe(o, sizeof o);
}

static enum err enc(struct noise *x, struct bytes plain, struct buf *out)
{
	size_t n = plain.n + (x->has_k ? NOISE_TAG : 0);

	if (plain.n > SIZE_MAX - NOISE_TAG)
		return ERR_LIMIT;
	uint8_t *p = buf_reserve(out, n ? n : 1);

	if (!p)
		return out->err;
	if (x->has_k)
		im2_aead_seal(x->k, x->n++, BYTES_ARR(x->h), plain, p);
	else if (n)
		memcpy(p, plain.p, n);
	out->n += n;
	mix_hash(x, bytes_of(p, n));
	return ERR_OK;
}

/* Room for cipher.n bytes, less the tag once there is a key. */
static enum err dec(struct noise *x, struct bytes cipher, uint8_t *out)
{
	if (x->has_k) {
		enum err e = im2_aead_open(x->k, x->n, BYTES_ARR(x->h), cipher, out);

		if (e != ERR_OK)
			return e;
		x->n++;
	} else if (cipher.n) {
		memcpy(out, cipher.p, cipher.n);
	}
	mix_hash(x, cipher);
	return ERR_OK;
}

/* --- tokens --- */

enum err noise_raw_dh(void *ctx, const uint8_t their[static NOISE_KEY], uint8_t out[static NOISE_KEY])
{
	return crypto_scalarmult(out, ctx, their) == 0 ? ERR_OK : ERR_AUTH;
}

static enum err mix_dh(struct noise *x, enum token t)
{
	bool mine_e = x->initiator ? t == EE || t == ES : t == EE || t == SE;
	bool their_e = x->initiator ? t == EE || t == SE : t == EE || t == ES;
	const uint8_t *their = their_e ? x->re : x->rs;
	uint8_t secret[NOISE_KEY];
	enum err e;

	BUG_ON(their_e ? !x->has_re : !x->has_rs);
	BUG_ON(mine_e ? !x->has_e : !x->s.dh);
	e = mine_e ? noise_raw_dh(x->e_sk, their, secret) : x->s.dh(x->s.ctx, their, secret);
	if (e == ERR_OK)
		mix_key(x, secret);
	else if (e == ERR_AUTH)
		x->zero_dh = true;
	wipe(secret, sizeof secret);
	return e;
}

static void mix_ephemeral(struct noise *x, const uint8_t e[static 32])
{
	mix_hash(x, bytes_of(e, 32));
	if (patterns[x->pattern].psk)
		mix_key(x, e);
}

/* The psk is looked at only now: a responder may have learned it between two messages. */
static void take_psk(struct noise *x)
{
	BUG_ON(!x->has_psk);
	mix_psk(x, x->psk);
}

static enum err write_token(struct noise *x, enum token t, struct buf *out)
{
	switch (t) {
	case E:
		BUG_ON(!x->has_e);
		buf_add(out, BYTES_ARR(x->e));
		mix_ephemeral(x, x->e);
		return out->err;
	case S:
		BUG_ON(!x->s.dh);
		return enc(x, BYTES_ARR(x->s.pub), out);
	case PSK:
		take_psk(x);
		return ERR_OK;
	default:
		return mix_dh(x, t);
	}
}

static enum err read_token(struct noise *x, enum token t, struct bytes *in)
{
	size_t n = t == S && x->has_k ? NOISE_KEY + NOISE_TAG : NOISE_KEY;
	struct bytes part = bytes_of(in->p, n);
	enum err e;

	if (t == PSK) {
		take_psk(x);
		return ERR_OK;
	}
	if (t != E && t != S)
		return mix_dh(x, t);
	if (in->n < n)
		return ERR_SHORT;
	*in = bytes_of(in->p + n, in->n - n);
	if (t == E) {
		memcpy(x->re, part.p, n);
		x->has_re = true;
		mix_ephemeral(x, x->re);
		return ERR_OK;
	}
	e = dec(x, part, x->rs);
	x->has_rs = e == ERR_OK;
	return e;
}

/* --- messages --- */

static enum err fail(struct noise *x, enum err e)
{
	bool zero_dh = x->zero_dh;

	noise_wipe(x);
	x->zero_dh = zero_dh;
	return e;
}

static const uint8_t *turn(const struct noise *x, bool writes)
{
	const struct pattern *p = &patterns[x->pattern];

	BUG_ON(x->step >= p->messages);
	BUG_ON((x->step % 2 == 0) != (x->initiator == writes));
	return p->token[x->step];
}

static void message_over(struct noise *x)
{
	x->at = 0;
	x->step++;
	if (!noise_done(x))
		return;
	wipe(x->e_sk, sizeof x->e_sk);
	wipe(x->psk, sizeof x->psk);
	wipe(x->k, sizeof x->k);
	x->has_e = x->has_k = x->has_psk = false;
}

enum err noise_write(struct noise *x, struct bytes payload, struct buf *out)
{
	if (x->failed)
		return ERR_WRONG_STATE;
	const uint8_t *t = turn(x, true);
	size_t before = out->n;
	enum err e = out->err;

	for (size_t i = 0; e == ERR_OK && i < TOKENS_MAX && t[i] != END; i++)
		e = write_token(x, t[i], out);
	if (e == ERR_OK)
		e = enc(x, payload, out);
	if (e != ERR_OK) {
		out->n = before;
		return fail(x, e);
	}
	message_over(x);
	return ERR_OK;
}

static enum err read_tokens(struct noise *x, struct bytes *in, enum token stop_after)
{
	const uint8_t *t = turn(x, false);
	enum token last = END;
	enum err e = ERR_OK;

	while (e == ERR_OK && x->at < TOKENS_MAX && t[x->at] != END &&
	       (last == END || last != stop_after)) {
		last = t[x->at++];
		e = read_token(x, last, in);
	}
	return e;
}

enum err noise_read_static(struct noise *x, struct bytes message, struct bytes *rest)
{
	if (x->failed)
		return ERR_WRONG_STATE;
	BUG_ON(x->at);
	enum err e = read_tokens(x, &message, S);

	if (e != ERR_OK)
		return fail(x, e);
	*rest = message;
	return ERR_OK;
}

enum err noise_read_payload(struct noise *x, struct bytes rest, struct buf *out)
{
	if (x->failed)
		return ERR_WRONG_STATE;
	enum err e = read_tokens(x, &rest, END);
	size_t tag = x->has_k ? NOISE_TAG : 0;
	uint8_t *p;

	if (e != ERR_OK)
		return fail(x, e);
	if (rest.n < tag)
		return fail(x, ERR_SHORT);
	p = buf_reserve(out, rest.n > tag ? rest.n - tag : 1);
	if (!p)
		return fail(x, out->err);
	e = dec(x, rest, p);
	if (e != ERR_OK)
		return fail(x, e);
	out->n += rest.n - tag;
	message_over(x);
	return ERR_OK;
}

enum err noise_read(struct noise *x, struct bytes message, struct buf *out)
{
	BUG_ON(x->at);
	return noise_read_payload(x, message, out);
}

/* --- begin and end --- */

void noise_init(struct noise *x, const struct noise_opts *o)
{
	const struct pattern *p = &patterns[o->pattern];
	struct bytes name = bytes_str(p->name);

	memset(x, 0, sizeof *x);
	x->pattern = (uint8_t)o->pattern;
	x->initiator = o->initiator;
	if (name.n <= sizeof x->h)
		memcpy(x->h, name.p, name.n);
	else
		sha256(name, x->h);
	memcpy(x->ck, x->h, sizeof x->ck);
	mix_hash(x, o->prologue);
	if (o->s)
		x->s = *o->s;
	if (o->rs) {
		memcpy(x->rs, o->rs, sizeof x->rs);
		x->has_rs = true;
	}
	if (o->psk)
		noise_set_psk(x, o->psk);
	if (p->knows_responder) {
		BUG_ON(o->initiator ? !o->rs : !o->s);
		mix_hash(x, o->initiator ? BYTES_ARR(x->rs) : BYTES_ARR(x->s.pub));
	}
}

void noise_set_psk(struct noise *x, const uint8_t psk[static 32])
{
	memcpy(x->psk, psk, 32);
	x->has_psk = true;
}

void noise_set_ephemeral(struct noise *x, const uint8_t secret[static 32])
{
	memcpy(x->e_sk, secret, sizeof x->e_sk);
	BUG_ON(crypto_scalarmult_base(x->e, x->e_sk) != 0);
	x->has_e = true;
}

bool noise_done(const struct noise *x)
{
	return !x->failed && x->step == patterns[x->pattern].messages;
}

void noise_split(const struct noise *x, uint8_t k1[static 32], uint8_t k2[static 32])
{
	uint8_t o[64];

	BUG_ON(!noise_done(x));
	hkdf_sha256(bytes_of(NULL, 0), BYTES_ARR(x->ck), bytes_of(NULL, 0), o, sizeof o);
	memcpy(k1, o, 32);
	memcpy(k2, o + 32, 32);
	wipe(o, sizeof o);
}

void noise_wipe(struct noise *x)
{
	wipe(x, sizeof *x);
	x->failed = true;
}
