#include "trust/identity.h"

#include <sodium.h>

#include "base/hash.h"
#include "base/text.h"

#define PREFIX_MAX 64
/* What every generation of contexts begins with. */
#define CONTEXT_START "ironmesh-sig-v"

_Static_assert(ED_BYTES == crypto_sign_PUBLICKEYBYTES, "Ed25519 public key");
_Static_assert(SIG_BYTES == crypto_sign_BYTES, "Ed25519 signature");
_Static_assert(X25519_BYTES == crypto_scalarmult_BYTES, "X25519 public key");

/* sizeof counts the closing NUL, and the NUL is part of the prefix (wire 9.2). */
#define PREFIX(text)                                                                               \
	{                                                                                          \
		(const uint8_t *)text, sizeof(text)                                                \
	}
#define V1(name) PREFIX(CONTEXT_START "1/" name)
#define V3(name) PREFIX(CONTEXT_START "3/" name)
static const struct bytes prefixes[SIG_CONTEXTS] = {
	[SIG_HELLO] = V1("hello"),
	[SIG_CAPABILITY] = V1("capability-announce"),
	[SIG_TRUST_EXPORT] = V1("trust-pin-export"),
	[SIG_X25519_BINDING] = V1("x25519-identity-binding"),
	[SIG_FRAME_INNER] = V1("frame-inner-source"),
	[SIG_INVITE] = V1("invite"),
	[SIG_AUDIT_HEAD] = V1("audit-head"),
	[SIG_AUDIT_EXPORT] = V1("audit-export"),
	[SIG_V3_MESSAGE] = V3("message"),
	[SIG_V3_RECEIPT] = V3("receipt"),
	[SIG_V3_RECORD] = V3("record"),
	[SIG_V3_SENDER_KEY] = V3("sender-key"),
	[SIG_V3_STREAM_OPEN] = V3("stream-open"),
	[SIG_V3_STREAM_ACCEPT] = V3("stream-accept"),
	[SIG_BARE_OUTER] = {(const uint8_t *)"", 0},
	[SIG_BARE_HELLO] = {(const uint8_t *)"", 0},
	[SIG_BARE_REVOCATION] = {(const uint8_t *)"", 0},
};
#undef V3
#undef V1
#undef PREFIX

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

bool sig_has_context(struct bytes whole)
{
	return starts_with(whole, BYTES_LIT(CONTEXT_START));
}

bool sig_is_revocation(struct bytes whole)
{
	size_t ids = 2 * NODE_ID_LEN;

	if (whole.n <= ids || whole.n > ids + 11 || !hex_valid(bytes_of(whole.p, ids), ids))
		return false;
	for (size_t i = ids; i < whole.n; i++)
		if (whole.p[i] < '0' || whole.p[i] > '9')
			return false;
	return true;
}

bool sig_fits(enum sig_context c, struct bytes whole)
{
	if ((unsigned)c >= SIG_CONTEXTS || !starts_with(whole, prefixes[c]))
		return false;
	/* The bare forms share one signing space with the contexts; what belongs to a context
	 * is never signed as bare, nor verifies so, and the attached HELLO is JSON and nothing else. */
	if (c == SIG_BARE_HELLO)
		return whole.n != 0 && whole.p[0] == '{';
	if (c == SIG_BARE_OUTER)
		return !sig_has_context(whole) && !sig_is_revocation(whole);
	return c != SIG_BARE_REVOCATION || sig_is_revocation(whole);
}

bool sig_verify(enum sig_context c, const uint8_t ed[static ED_BYTES], struct bytes whole,
		const uint8_t sig[static SIG_BYTES])
{
	BUG_ON(!starts_with(whole, sig_prefix(c)));
	return sig_fits(c, whole) && crypto_sign_verify_detached(sig, whole.p, whole.n, ed) == 0;
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
