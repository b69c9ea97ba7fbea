/*
 * reach.h -- one connection to whoever listens at an address, step by step and timed, for `doctor`: name, TCP, TLS,
 * WebSocket, the first message. Then it is closed.
 *
 * Blocks, at most `step_ms` a step (a name as long as the system's resolver takes). Says nothing but the request of the
 * upgrade, and verifies no certificate: who is there is seen from its key. What the other side says is bounded.
 */
#ifndef TRANSPORTS_WS_REACH_H
#define TRANSPORTS_WS_REACH_H

#include "base/buf.h"

enum reach_step { REACH_RESOLVE, REACH_TCP, REACH_TLS, REACH_UPGRADE, REACH_FIRST, REACH_STEPS };
const char *reach_step_word(enum reach_step s);

#define REACH_FIRST_MAX 65536
#define REACH_SAYS_MAX 80

struct reach {
	enum reach_step failed;         /* REACH_STEPS: none */
	uint64_t took_us[REACH_STEPS];
	enum err err;                   /* of the step that failed */
	char detail[160];               /* what was found there, or why it failed; safe text */
	char address[64];               /* the one that was tried last */
	bool plain;                     /* TLS failed, and it speaks WebSocket without */
	char says[REACH_SAYS_MAX];      /* the first line of what answered and is no WebSocket; safe text, or "" */
	char tls[16];                   /* "TLSv1.3" */
	bool has_tls_key;
	uint8_t tls_key[32];            /* SHA-256 of its SubjectPublicKeyInfo */
	bool first_text;
	struct buf first;               /* the first message */
};

/* ERR_USAGE with fault: `address` is none. Else ERR_OK, whatever came of it. */
enum err reach_try(const char *address, uint32_t step_ms, struct reach *out, struct fault *f) MUST_CHECK;
void reach_fini(struct reach *r);

/* The head of a frame from a server (RFC 6455 5.2). ERR_SHORT: more bytes are needed; ERR_MALFORMED: masked, reserved
 * bits, a control frame that is too long, or no whole message; ERR_LIMIT: over REACH_FIRST_MAX. */
struct reach_frame {
	uint8_t opcode;
	size_t head, body;
};
enum err reach_frame_parse(struct bytes in, struct reach_frame *out) MUST_CHECK;
/* The answer to the upgrade, without its end: ERR_OK for "101"; else *says has its first line. */
enum err reach_answer_parse(struct bytes head, const char *accept, char says[static REACH_SAYS_MAX]) MUST_CHECK;

#endif
