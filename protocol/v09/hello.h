/*
 * hello.h -- stage 2 of the handshake: HELLO in both directions (wire 2.6).
 *
 * A HELLO is believed only whole: signed by the identity it shows, over our own channel binding,
 * with `from` equal to the id of that key. The Reticulum link binding is refused here: this build
 * has no link to bind to.
 */
#ifndef PROTOCOL_V09_HELLO_H
#define PROTOCOL_V09_HELLO_H

#include "base/json.h"
#include "base/text.h"
#include "protocol/session.h"
#include "trust/invite.h"

enum hello_scheme {
	HELLO_CONTEXT, /* >= 0.9: 64 bytes over prefix || canonical */
	HELLO_ATTACHED /* older: signature || canonical, no prefix */
};
enum hello_scheme hello_scheme_for(uint16_t version);

#define HELLO_TEXT_MAX 1024 /* bytes of name and version as received: 256 characters upstream */

/* What the signature covers, as the JSON strings that were sent (wire 2.6.1). */
struct hello_covered {
	struct bytes binding, ephemeral, identity, name, version;
};
void hello_canonical(struct buf *b, const struct hello_covered *c);

struct hello_offer {
	const struct keyring *keyring;
	const char *name, *version, *binding_hex;
	const uint8_t *ephemeral; /* X25519_BYTES */
	enum hello_scheme scheme;
	bool acks; /* announce that we confirm */
	const char *invite; /* a token (wire 9.9), or NULL */
};
/* Appends the whole message. Errors stay in b->err. */
void hello_write(struct buf *b, const struct hello_offer *o);

struct hello {
	struct node_id id;
	uint8_t ed[ED_BYTES];
	uint8_t ephemeral[X25519_BYTES];
	char name[NAME_MAX_CHARS + 1]; /* cleaned */
	uint16_t version;	       /* absent: 0.3 */
	uint8_t x25519[X25519_BYTES];
	bool has_x25519; /* advertised, and the binding verifies */
	bool acks;
	bool marked; /* the signed version ends in .im2 (im2.md 4.4) */
	bool has_invite;     /* something was there; outside the signature */
	struct bytes invite; /* borrowed from the JSON: printable ASCII of at most INVITE_TEXT_MAX bytes, else empty */
};

enum hello_verdict {
	HELLO_ACCEPTED,
	HELLO_OTHER_TYPE,
	HELLO_INCOMPLETE,
	HELLO_LINK_BINDING,
	HELLO_UNSIGNED,
	HELLO_ANONYMOUS,
	HELLO_BAD_SIGNATURE,
	HELLO_BAD_FROM,
	HELLO_VERDICTS
};

/* `out` is written only on HELLO_ACCEPTED. `binding_hex` is the nonce of this handshake. The
 * server's HELLO must repeat it (`binding_required`); the client's may leave it out, the signature
 * covers it. */
enum hello_verdict hello_read(const json_t *o, const char *binding_hex, bool binding_required,
			      struct hello *out) MUST_CHECK;

/* What a verdict means: for us, and in the ERROR reply (wire 2.10; error NULL: say nothing). */
struct hello_refusal {
	enum err err;
	enum session_blame blame;
	const char *word, *error, *code;
};
const struct hello_refusal *hello_refusal(enum hello_verdict v);
void error_write(struct buf *b, const char *error, const char *code);

#endif
