/*
 * im2.h -- the native generation: the host (what outlives connections) and its sessions behind session.h.
 *
 * A host holds the session keys, half-open handshakes, transfers and peers of one node. An im2 `struct
 * session` is one connection: it runs a handshake, resumes a live session of the host (7.7), or carries
 * frames as a path of the peer it found. Sending on it uses the peer's current keys; when it ends, the keys stay
 * in the host until REJECT (6.3), CLOSE or revocation. Everything is sans-I/O: bytes and env in, units and
 * events out, trust through the table below because 5.6 and 6.2 need answers between reading and writing.
 *
 * The files behind it are listed in im2_internal.h.
 *
 * Events: IDENTIFIED stops a handshake until session_admit() (first contact: at X3 / X4; known peer: at I1 / I2;
 * resume: at the first frame that opened on this connection). ONLINE comes when keys are confirmed for us: the
 * dialler after X4 or I2; the listener of a first contact when X4 is queued; the responder of IK with the first
 * frame that opened. So nothing needs proof after ONLINE.
 */
#ifndef PROTOCOL_IM2_IM2_H
#define PROTOCOL_IM2_IM2_H

#include "base/secret.h"
#include "protocol/im2/handshake.h"
#include "protocol/session.h"
#include "trust/psks.h"

struct im2_host;

struct im2_known {
	uint8_t ed[ED_BYTES];
	uint8_t x[X25519_BYTES];
	bool refused;              /* blocked or revoked */
	bool trusted;              /* which limits count before im2_link_trusted() says it */
};

/* Answers of the trust room. `owner` is the one of im2_link_config. All copy; the host wipes secrets. */
struct im2_trust {
	void *ctx;
	/* Pinned identity by static key: proven first, else unproven by ROTATE or import (2.2). */
	bool (*by_x)(void *ctx, const uint8_t x[static 32], struct im2_known *out);
	/* Pinned with an X that IK may use; false otherwise. */
	bool (*by_ed)(void *ctx, const uint8_t ed[static 32], struct im2_known *out);
	/* All zero when there are none. */
	void (*psks_get)(void *ctx, const uint8_t ed[static 32], struct psks *out);
	/* On disk when it returns ERR_OK. `replaced`: another psk was confirmed before (audit). */
	enum err (*psks_put)(void *ctx, const uint8_t ed[static 32], const struct psks *p, bool replaced);
	/* A handshake proved that ed holds x (pins.h pins_prove_x): on disk when ERR_OK. ERR_EXISTS: x is another's. */
	enum err (*prove)(void *ctx, const uint8_t ed[static 32], const uint8_t x[static 32]);
	/* First contact, before X2 leaves: 0 = go on and count one guess for this address, else wait so many seconds
	 * (ERR 4). And X3 opened: take the guess back. Dialler: an X2 that did not open. */
	uint32_t (*guess)(void *ctx, void *owner);
	void (*guess_good)(void *ctx, void *owner);
	void (*guess_bad_dial)(void *ctx, void *owner);
};

struct im2_limits {                /* zero members take the defaults of im2.md */
	uint64_t rekey_after_ms, reject_after_ms, overlap_ms;         /* 6.3: 1,800 s, 5,400 s, 60 s (radio: other) */
	uint64_t rekey_after_frames, reject_after_frames;             /* 2^31, 2^32 - 1 */
	uint64_t rekey_after_bytes;                                   /* 2^36 */
	uint64_t handshake_ms;                                        /* 5.8: 15,000 */
	uint32_t sessions, pending;                                   /* 4,096 and 64 */
	uint64_t transfer_bytes_total;                                /* 64 MiB */
};

struct im2_host_config {
	struct env *env;               /* all borrowed and outliving the host */
	const struct keyring *keyring;
	const char *name;
	struct im2_trust trust;
	struct im2_limits limits;
	uint32_t max_unit;             /* what we take in one unit on IP: 131,072 */
	uint64_t features;             /* IM2_FEATURE_RELAY, IM2_FEATURE_STORE; the others follow from what is below */
	uint32_t credit;               /* initial credit of a transfer towards us: 262,144 */
	bool require, pad, radio, sign_always;
	bool mesh_key_coming;          /* a worker computes it: until im2_host_mesh_key() a first contact is asked to wait 1 s */
	/* What happened on another connection of its peer concerns the link of this owner: look for its events and its
	 * deadline soon, not within the call. May be NULL. */
	void (*wake)(void *ctx, void *owner);
	void *wake_ctx;
};

enum err im2_host_new(const struct im2_host_config *c, struct im2_host **out) MUST_CHECK;
/* For what is sent from now on; peers hear of `pad` at their next handshake. rekey_after_ms 0: the default. */
void im2_host_configure(struct im2_host *h, bool pad, bool sign_always, uint64_t rekey_after_ms);
void im2_host_free(struct im2_host *h); /* after its links; wipes; accepts NULL */
/* The mesh key (2.4), when the worker is done; empty = first contact by passphrase is answered with ERR 6, and a
 * dialler waits (ERR_AGAIN). Two generations at most; `passgen` names each. The first is used to dial. Copies. */
enum err im2_host_mesh_key(struct im2_host *h, uint16_t passgen, struct bytes key) MUST_CHECK;
bool im2_host_has_mesh_key(const struct im2_host *h);
/* The first one, borrowed, to hand it on (15.3); empty: none. */
struct bytes im2_host_mesh(const struct im2_host *h, uint16_t *passgen);
/* Trust changed: sessions of this identity are erased, with CLOSE 4 on its paths. */
void im2_host_revoke(struct im2_host *h, const uint8_t ed[static ED_BYTES]);
/* Erases what is over: call at the deadline, and at least once a minute. */
uint64_t im2_host_deadline_ms(const struct im2_host *h);
void im2_host_tick(struct im2_host *h);

/* X(member, "name"): counters of everything that was refused or repaired. */
#define IM2_COUNTERS(X)                                                                            \
	X(units_refused, "im2_units_refused")                                                      \
	X(frames_replayed, "im2_frames_replayed")                                                  \
	X(frames_forged, "im2_frames_forged")                                                      \
	X(frames_unknown, "im2_frames_unknown")                                                    \
	X(items_refused, "im2_items_refused")                                                      \
	X(handshakes_first, "im2_handshakes_first")                                                \
	X(handshakes_known, "im2_handshakes_known")                                                \
	X(resumes, "im2_resumes")                                                                  \
	X(rekeys, "im2_rekeys")                                                                    \
	X(errs_sent, "im2_errs_sent")                                                              \
	X(errs_received, "im2_errs_received")                                                      \
	X(psk_fallbacks, "im2_psk_fallbacks")                                                      \
	X(transfers_in, "im2_transfers_in")                                                        \
	X(transfers_out, "im2_transfers_out")                                                      \
	X(transfers_aborted, "im2_transfers_aborted")                                              \
	X(sessions_erased, "im2_sessions_erased")
struct im2_counters {
#define X(member, name) uint64_t member;
	IM2_COUNTERS(X)
#undef X
};
const struct im2_counters *im2_host_counters(const struct im2_host *h);
/* Memory of tables and sessions, for the bench. */
size_t im2_host_bytes(const struct im2_host *h);

#define IM2_SOURCE_MAX 64
struct im2_link_config {
	enum session_role role;
	void *owner;                   /* handed to the guess calls */
	uint8_t transport;             /* enum im2_transport */
	bool pair_path;
	struct bytes chan, cb;         /* copied; chan empty = "/" on WebSocket */
	struct bytes source;           /* copied, at most IM2_SOURCE_MAX: the address that shares a rate of ERR (5.9);
					* empty: nobody's */
	bool has_expected;
	uint8_t expected[ED_BYTES];    /* dialler: IK when by_ed() knows it, and nobody else is accepted */
	bool owner_compares;           /* whom first contact proves instead of `expected` is IDENTIFIED all the same: the
					* owner may know that it moved there, or wants to show both keys */
	bool known_only;               /* dialler: no first contact begins (18.2); who does not take IK is left */
	/* WebSocket: the exact S1 that was sent (listener) or received (dialler) and its nonce. Empty: a listener
	 * sends the binary S1 at start, a dialler takes it as its first unit. */
	struct bytes s1;
	uint8_t nonce_s[32];
};
enum err im2_link_new(struct im2_host *h, const struct im2_link_config *c, struct session **out) MUST_CHECK;
bool im2_is_link(const struct session *s);

/* --- beyond session.h; `s` is an im2 link that is online ------------------------------------------- */
/* Whether its identity is trusted: decides which limits of 18.3 count, and who makes room for whom. Of the peer,
 * until it is said again; a new peer is what by_ed() says. */
void im2_link_trusted(struct session *s, bool trusted);
/* Queues one item (RECORD, RECDIG, RECREQ, SRECEIPT, ...) behind what waits. ERR_LIMIT, ERR_AGAIN, ERR_WRONG_STATE. */
enum err im2_link_item(struct session *s, uint16_t tag, struct bytes value) MUST_CHECK;
/* A message that does not fit a frame travels in pieces (7.6). TAKEN: the peer has every byte. FAILED: it was given up,
 * or refused; send it again later. NONE: it went in a frame, or this was longer ago than sixteen others. */
enum im2_carry { IM2_CARRY_NONE, IM2_CARRY_OUT, IM2_CARRY_TAKEN, IM2_CARRY_FAILED };
enum im2_carry im2_link_carry(const struct session *s, const uint8_t wire_id[static 16]);
/* Every message that session_send() took has left in a unit, or travels in pieces. */
bool im2_link_drained(const struct session *s);
/* Bytes that wait in the batch and in transfers of this peer. */
size_t im2_link_waiting(const struct session *s);
/* Channel binding for applications (6.1). */
void im2_link_session_id(const struct session *s, uint8_t out[static 16]);
/* The features the peer stated. */
uint64_t im2_link_features(const struct session *s);

#endif
