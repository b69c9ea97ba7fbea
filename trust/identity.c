#include "trust/identity.h"

#include <sodium.h>

#include "base/hash.h"
#include "base/text.h"

#define PREFIX_MAX    64
#define CONTEXT_START "ironmesh-sig-v1/"

_Static_assert(ED_BYTES == crypto_sign_PUBLICKEYBYTES, "Ed25519 public key");
_Static_assert(SIG_BYTES == crypto_sign_BYTES, "Ed25519 signature");
_Static_assert(X25519_BYTES == crypto_scalarmult_BYTES, "X25519 public key");

/* sizeof counts the closing NUL, and the NUL is part of the prefix (wire 9.2). */
#define CONTEXT(name)                                                                              \
	{                                                                                          \
		(const uint8_t *)CONTEXT_START name, sizeof(CONTEXT_START name)                    \
	}
static const struct bytes prefixes[SIG_CONTEXTS] = {
	[SIG_HELLO] = CONTEXT("hello"),
	[SIG_CAPABILITY] = CONTEXT("capability-announce"),
	[SIG_TRUST_EXPORT] = CONTEXT("trust-pin-export"),
	[SIG_X25519_BINDING] = CONTEXT("x25519-identity-binding"),
	[SIG_FRAME_INNER] = CONTEXT("frame-inner-source"),
	[SIG_INVITE] = CONTEXT("invite"),
	[SIG_AUDIT_HEAD] = CONTEXT("audit-head"),
	[SIG_AUDIT_EXPORT] = CONTEXT("audit-export"),
	[SIG_BARE_OUTER] = {(const uint8_t *)"", 0},
	[SIG_BARE_HELLO] = {(const uint8_t *)"", 0},
};
#undef CONTEXT

static bool starts_with(struct bytes whole, struct bytes prefix)
{
	return whole.n >= prefix.n && (prefix.n == 0 || memcmp(whole.p, prefix.p, prefix.n) == 0);
}

void node_id_of(const uint8_t ed[static ED_BYTES], struct node_id *out)
{
	uint8_t digest[HASH_BYTES];
	char hex[2 * HASH_BYTES + 1];

	sha256(bytes_of(ed, ED_BYTES), digest);
	hex_encode(BYTES_ARR(digest), hex);
	memcpy(out->hex, hex, NODE_ID_LEN);
	out->hex[NODE_ID_LEN] = '\0';
}

enum err node_id_parse(struct bytes text, struct node_id *out)
{
	if (!hex_valid(text, NODE_ID_LEN))
		return ERR_MALFORMED;
	memcpy(out->hex, text.p, NODE_ID_LEN);
	out->hex[NODE_ID_LEN] = '\0';
	return ERR_OK;
}

const char *fingerprint_text(const struct node_id *id, char out[static FINGERPRINT_LEN])
{
	char *o = out;

	for (size_t i = 0; i < NODE_ID_LEN; i++) {
		if (i != 0 && i % 4 == 0)
			*o++ = ' ';
		*o++ = id->hex[i];
	}
	*o = '\0';
	return out;
}

struct bytes sig_prefix(enum sig_context c)
{
	BUG_ON((unsigned)c >= SIG_CONTEXTS);
	return prefixes[c];
}

bool sig_verify(enum sig_context c, const uint8_t ed[static ED_BYTES], struct bytes whole,
		const uint8_t sig[static SIG_BYTES])
{
	BUG_ON(!starts_with(whole, sig_prefix(c)));
	/* The bare forms share one signing space with the contexts; what belongs to a context
	 * never verifies as bare, and the attached HELLO is JSON and nothing else. */
	if (c == SIG_BARE_HELLO && (whole.n == 0 || whole.p[0] != '{'))
		return false;
	if (c == SIG_BARE_OUTER && starts_with(whole, BYTES_LIT(CONTEXT_START)))
		return false;
	return crypto_sign_verify_detached(sig, whole.p, whole.n, ed) == 0;
}

bool x25519_binding_verify(const uint8_t ed[static ED_BYTES], const uint8_t x[static X25519_BYTES],
			   const uint8_t sig[static SIG_BYTES])
{
	uint8_t message[PREFIX_MAX + X25519_BYTES];
	struct wr w = wr_init(message, sizeof message);
	struct bytes whole;

	wr_bytes(&w, sig_prefix(SIG_X25519_BINDING));
	wr_bytes(&w, bytes_of(x, X25519_BYTES));
	return wr_end(&w, &whole) == ERR_OK && sig_verify(SIG_X25519_BINDING, ed, whole, sig);
}

enum err ed_to_x25519(const uint8_t ed[static ED_BYTES], uint8_t out[static X25519_BYTES])
{
	uint8_t x[X25519_BYTES];

	if (crypto_sign_ed25519_pk_to_curve25519(x, ed) != 0)
		return ERR_MALFORMED;
	memcpy(out, x, sizeof x);
	return ERR_OK;
}
