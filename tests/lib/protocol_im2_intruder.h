/*
 * protocol_im2_intruder.h -- somebody who runs the handshakes of im2 with tools of his own: he may lie in every
 * field, use another's words, and know or not know the passphrase.
 *
 * Made of the primitives (CPace, Noise) and not of handshake.h, so that what he says is what he wants.
 */
#ifndef TESTS_PROTOCOL_IM2_INTRUDER_H
#define TESTS_PROTOCOL_IM2_INTRUDER_H

#include "protocol/im2/handshake.h"
#include "tests/lib/protocol_env.h"

struct intruder {
	struct penv *e;
	const struct keyring *k;   /* his own identity: the static key he can really use */
	struct im2_binding b;      /* as he wants it to be */
	struct bytes prs;          /* his guess at the mesh key */
	bool listener;
	uint8_t nonce_c[16], scalar[32], yb[32];
	struct buf x1;
	struct noise noise;
};
void intruder_init(struct intruder *x, struct penv *e, const struct keyring *k, const struct im2_binding *b,
		   struct bytes prs);
void intruder_fini(struct intruder *x);

/* The payload of X3 and X4. Empty members stay out. */
struct intruder_says {
	struct bytes ed, binding, rx, more; /* more: appended as it is */
};
void intruder_payload(const struct intruder_says *s, struct buf *out);
struct intruder_says intruder_truth(const struct intruder *x); /* his own identity */

void intruder_x1(struct intruder *x, struct buf *out);
/* From the listener's X2; false when it does not open: another passphrase. */
bool intruder_take_x2(struct intruder *x, struct bytes x2);
void intruder_x3(struct intruder *x, const struct intruder_says *s, struct buf *out);
bool intruder_take_x4(struct intruder *x, struct bytes x4, struct im2_secrets *out);
/* Against a dialler. */
void intruder_x2(struct intruder *x, struct bytes x1, struct buf *out);
bool intruder_take_x3(struct intruder *x, struct bytes x3);
void intruder_x4(struct intruder *x, const struct intruder_says *s, struct buf *out, struct im2_secrets *secrets);

/* Does `needle` stand in `hay`? */
bool stands_in(struct bytes hay, struct bytes needle);

#endif
