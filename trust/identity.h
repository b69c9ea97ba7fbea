/*
 * identity.h -- what an identity is called, and signatures with a context (wire 2.6.2, 9.1, 9.2).
 *
 * A node id is the first 32 lower-case hex characters of SHA-256 of the Ed25519 public key. Every
 * signature names its purpose: what is signed begins with a context prefix, except the forms that
 * the old wire signs bare; those have an entry of their own so that no call site signs "just bytes".
 */
#ifndef TRUST_IDENTITY_H
#define TRUST_IDENTITY_H

#include "base/wire.h"

#define ED_BYTES 32     /* Ed25519 public key */
#define SIG_BYTES 64
#define X25519_BYTES 32
#define NODE_ID_LEN 32  /* characters */

struct node_id {
	char hex[NODE_ID_LEN + 1];
};

void node_id_of(const uint8_t ed[static ED_BYTES], struct node_id *out);
/* 32 lower-case hex digits; ERR_MALFORMED otherwise. */
enum err node_id_parse(struct bytes text, struct node_id *out) MUST_CHECK;
static inline bool node_id_eq(const struct node_id *a, const struct node_id *b)
{
	return memcmp(a->hex, b->hex, NODE_ID_LEN) == 0;
}
/* For people: "139e 3940 e64b 5491 7220 88d9 a0d7 4162". */
#define FINGERPRINT_LEN 40
const char *fingerprint_text(const struct node_id *id, char out[static FINGERPRINT_LEN]);

enum sig_context {
	SIG_HELLO,            /* "ironmesh-sig-v1/hello\0" */
	SIG_CAPABILITY,
	SIG_TRUST_EXPORT,
	SIG_X25519_BINDING,
	SIG_FRAME_INNER,
	SIG_INVITE,
	SIG_AUDIT_HEAD,       /* ours, never on the wire: "ironmesh-sig-v1/audit-head\0" */
	SIG_AUDIT_EXPORT,     /* ours: "ironmesh-sig-v1/audit-export\0" */
	/* im2 2.3: "ironmesh-sig-v3/message\0" and so on. */
	SIG_V3_MESSAGE,
	SIG_V3_RECEIPT,
	SIG_V3_RECORD,
	SIG_V3_SENDER_KEY,
	SIG_V3_STREAM_OPEN,
	SIG_V3_STREAM_ACCEPT,
	SIG_BARE_OUTER,       /* wire 3.5: the `enc` bytes, which begin with 24 random bytes of ours */
	SIG_BARE_HELLO,       /* wire 2.6.2 attached form: canonical JSON, begins with '{' */
	SIG_BARE_REVOCATION,  /* wire 4.7: two node ids and decimal seconds, nothing else */
	SIG_CONTEXTS
};

/* The prefix with its NUL; empty for the bare ones. */
struct bytes sig_prefix(enum sig_context c);
/* `whole` begins as the contexts of every generation do, so no bare form may sign or verify it. */
bool sig_has_context(struct bytes whole);
/* `whole` is the text of a revocation: no other bare form may sign or verify that. */
bool sig_is_revocation(struct bytes whole);
/* `whole` may be signed in context `c`: it begins with its prefix, and a bare form is not the text of another one. */
bool sig_fits(enum sig_context c, struct bytes whole);
/* `whole` begins with the prefix of `c` (BUG otherwise: call sites build prefix || message). */
bool sig_verify(enum sig_context c, const uint8_t ed[static ED_BYTES], struct bytes whole,
		const uint8_t sig[static SIG_BYTES]);
/* wire 2.6.5: signature by `ed` over prefix || x25519. */
bool x25519_binding_verify(const uint8_t ed[static ED_BYTES], const uint8_t x[static X25519_BYTES],
			   const uint8_t sig[static SIG_BYTES]);
/* The Curve25519 image of an Ed25519 key (wire 3.7). ERR_MALFORMED for a bad point. */
enum err ed_to_x25519(const uint8_t ed[static ED_BYTES], uint8_t out[static X25519_BYTES]) MUST_CHECK;

#endif
