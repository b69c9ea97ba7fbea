/*
 * v09.h -- the compatible wire, ironmesh/0.9, behind session.h.
 *
 * Both roles of the handshake (wire 2), frame version 4 (wire 3), replay rules and rekey (wire 6),
 * with every hardening that wire 12 marks as local: no palindromic nonce, server proof required and
 * different from our own, own channel binding required, no unsigned HELLO, SIGNED required, header
 * equals body for peers >= 0.9, no legacy JSON path, own source refused, strict base64, finite
 * time stamps, `from` equals the key's id.
 */
#ifndef PROTOCOL_V09_V09_H
#define PROTOCOL_V09_V09_H

#include "protocol/session.h"

#define V09_VERSION_TEXT "ironmesh/0.9"
/* What a node that also speaks im2 declares (im2.md 4.4); old parsers read 0.9. */
#define V09_MARK ".im2"
#define V09_MARKED_TEXT V09_VERSION_TEXT V09_MARK

/* Copies the config. ERR_NOMEM. */
enum err v09_session_new(const struct session_config *c, struct session **out) MUST_CHECK;

/* A frame between daemons (wire 4.1): ROUTE_ANNOUNCE, CAPABILITY_ANNOUNCE, ... `to` NULL: "*". `s` is an online session of
 * 0.9. ERR_WRONG_STATE, ERR_LIMIT (64 KiB), ERR_FULL. */
enum err v09_control(struct session *s, const char *type, const struct node_id *to, struct bytes payload) MUST_CHECK;

/* "ironmesh/0.9" -> VERSION_OF(0, 9); anything else parses as wire 2.7.1 and 11.3 say (0 on failure;
 * parts above 255 saturate). */
uint16_t v09_version_parse(struct bytes text);

/* Is this unit the challenge that opens a handshake (wire 2.3)? Then its nonce, and whether its `suites`
 * name im2 (im2.md 4.1). The parser is the one of the session, so both see the same. */
bool v09_challenge_peek(struct bytes text, uint8_t nonce[static 32], bool *offers_im2);

#endif
