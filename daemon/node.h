/*
 * node.h -- the conductor without the outside: peers, sessions, sending, receiving.
 *
 * Sans-I/O: time, chance and timers come from env, bytes from a transport through node_sink(), disk
 * through store/. The daemon runs it on libuv, the simulator in virtual time. Rooms inside:
 *
 *   conn.c       a link and its session: events, receipts, end
 *   admit.c      policy, proof of the key, pins, duplicate rule
 *   sink.c       what the transport tells: accepting, opened, unit, closed
 *   peer.c       an identity at run time: its online conn, budgets, its send queue
 *   dial.c       static peers: who is dialled when, with jittered back-off
 *   scheduler.c  what is sent next, per peer: priorities, window, retry, expiry
 *   item.c       one message of ours that is in memory
 *   node_outbox.c what a user sees of the outbox and may order
 *   native.c     what im2 asks of trust     marks.c   SEEN, SETTLED, receipts owed
 *   outbound.c   the straight line out    inbound.c  the straight line in
 *
 * Group commit: everything since the last node_turn() is one transaction. The owner calls node_turn()
 * once per loop turn, after input was taken. Only there are submissions answered, receipts sent
 * and messages handed to the scheduler.
 */
#ifndef DAEMON_NODE_H
#define DAEMON_NODE_H

#include "base/env.h"
#include "base/limit.h"
#include "daemon/discovery.h"
#include "daemon/routes.h"
#include "protocol/im2/im2.h"
#include "protocol/session.h"
#include "store/audit.h"
#include "store/inbox.h"
#include "store/outbox.h"
#include "transports/transport.h"
#include "trust/policy.h"

struct node;

struct node_limits {
	double peer_messages_per_s, peer_burst;  /* user messages taken from one peer; 10,000 and 2,000 */
	double peer_bytes_per_s;                 /* 64 MiB */
	double total_messages_per_s;             /* 20,000 */
	double connects_per_s, connects_burst;   /* accepted connections per source; 20 and 100; 0 = no limit */
	double old_peer_frames_per_s;            /* towards peers that do not confirm: 18 (wire 7) */
	double strangers_per_s, strangers_burst; /* unknown identities that are admitted; 5 and 60; < 0 = no limit */
	uint32_t sessions;                       /* 4,096 */
	uint32_t handshakes, handshakes_per_source; /* 64 and 16 */
	uint32_t window;                         /* unconfirmed messages per peer; 512 */
	uint32_t window_bytes;                   /* 4 MiB */
	uint64_t confirm_ms;                     /* no confirmation for so long: the session is restarted; 30,000 */
	uint64_t ping_ms;                        /* 30,000 */
	uint64_t offline_fail_ms;                /* reserved 0: messages wait until they expire */
};

struct node_config {
	char name[NAME_MAX_CHARS + 1];
	struct bytes passphrase;   /* borrowed */
	uint16_t min_version;
	uint64_t rekey_ms, handshake_ms, past_ms, future_ms;
	bool seal_direct;
	bool im2_pad, im2_sign_always; /* im2.md 7.8, 9.4; whether im2 runs at all is policy->im2 */
	struct im2_limits im2;     /* zero members: what follows from the other limits, then the defaults of im2.md */
	const char *mesh;          /* its name (im2.md 2.4); borrowed; NULL = "" */
	bool no_mesh_key;          /* none is given or computed: what a pairing brings is used (15.3) */
	bool tls_binding;          /* im2.md 5.1 cb: handshakes are bound to the TLS connection that carries them */
	enum routing_mode routing; /* routes.h */
	bool seal_refuse;          /* im2.md 11.3: without a prekey a message fails instead of going marked no-fs */
	bool no_seal_pad;          /* sealed objects as long as they are */
	enum discovery_scope discovery; /* discovery.h */
	bool cap_change_holds;     /* a trusted peer whose capabilities change is held until an operator accepts them */
	bool open_discovery;       /* whoever is found is dialled */
	bool rotate_keeps_verified; /* im2.md 13.4: a signed rotation moves what the operator verified too */
	struct policy *policy;     /* borrowed */
	struct node_limits limits; /* zero members take the defaults above, except connects_per_s < 0 = default */
	struct bytes tls_key;      /* unused by the core; shown in status */
	/* Who together may revoke any identity (im2.md 13.4): `revoke_quorum` of these keys; none = nobody. */
	unsigned revoke_quorum;
	const uint8_t (*revoke_admins)[ED_BYTES]; /* borrowed */
	size_t revoke_admins_n;    /* at most 16 */
};

/* What the core stands on; all borrowed and outliving it. */
struct node_parts {
	struct env *env;
	const struct keyring *keyring;
	struct pins *pins;
	struct store *store;
	struct audit *audit;
};

/* Takes over from `c` what may change while sessions are open: min_version, rekey_ms, im2_pad, im2_sign_always, seal_refuse,
 * no_seal_pad, rotate_keeps_verified, cap_change_holds, open_discovery, the admin set of revocations, connects_per_s and strangers_per_s. What a session
 * agreed on at its start holds until its end. */
void node_reconfigure(struct node *n, const struct node_config *c);
enum err node_new(const struct node_config *c, const struct node_parts *p, struct node **out) MUST_CHECK;
void node_free(struct node *n); /* after its transports stopped; accepts NULL */
/* The sink to build a transport with, then attach it (one now; more kinds later). */
struct transport_sink node_sink(struct node *n);
void node_attach(struct node *n, struct transport *t);
void node_detach(struct node *n, struct transport *t);

/* End of a loop turn: commit, then answer, confirm, schedule. Never fails upward. */
void node_turn(struct node *n);
/* Commits what is open now, for a caller whose own answer must be true on disk (a message that was
 * marked read is handed out only after it). Answers waiting submissions as the turn does. ERR_STORE:
 * everything since the last commit was rolled back. */
enum err node_commit(struct node *n) MUST_CHECK;
/* True when node_turn has something to do. */
bool node_wants_turn(const struct node *n);
/* After node_turn(): the open group waits for one more look at the input before it commits, since
 * messages seldom come alone. The owner polls without sleeping, then calls node_turn() again. */
bool node_group_waits(const struct node *n);
/* Says GOODBYE to every online peer; the owner stops the transport next. */
void node_goodbye(struct node *n);

/* --- static peers ------------------------------------------------------------------------- */
/* "host:port" or "host:port#node-id". ERR_USAGE with fault, ERR_EXISTS, ERR_FULL (256). */
enum err node_add_target(struct node *n, const char *spec, struct fault *f) MUST_CHECK;
/* Dials it no more; a session that is online stays. What pairing made stays too. ERR_NOTFOUND. */
enum err node_remove_target(struct node *n, const char *spec) MUST_CHECK;
/* Starts dialling (after the transport is attached). */
void node_dial_all(struct node *n);

struct target_view {
	char address[ADDRESS_MAX + 1];
	bool has_id;
	struct node_id id;      /* expected, or learned on first contact */
	bool online, dialling;
	uint64_t next_dial_in_ms;
	uint32_t failures;
	char why[256];          /* why it is not connected; "" when it is */
};
size_t node_targets(struct node *n, struct target_view *out, size_t max);

/* --- sending -------------------------------------------------------------------------------- */
struct submit {
	struct node_id to;      /* one that the peer had before its rotation is as good */
	struct bytes id;        /* empty: a fresh UUID is made */
	struct bytes type;      /* empty: "MSG" */
	enum priority priority;
	uint64_t ttl_ms;        /* 0 = never expires */
	struct bytes body;
	struct message_ext ext; /* conversation, reply_to, flags, ...; ext.kind follows from type */
};
/* The straight line out, first half: policy -> limits -> outbox_put. `done` is called from
 * node_turn() with ERR_OK once committed, or ERR_STORE. ERR_UNTRUSTED, ERR_NOTFOUND, ERR_LIMIT, ERR_FULL,
 * ERR_EXISTS answer at once (fault filled) and `done` is not called. id_out gets the msg_id. */
typedef void (*submit_done)(void *ctx, const char *msg_id, enum err e);
enum err node_submit(struct node *n, const struct submit *s, submit_done done, void *ctx,
		     char id_out[static MSG_ID_MAX + 1], struct fault *f) MUST_CHECK;
/* The volatile class (im2.md 9.5): leaves at the end of this turn in one frame of the live session, touches no disk,
 * is never repeated and never confirmed. ERR_CLOSED without an im2 session, ERR_AGAIN when too much waits
 * (`writable` comes with the next turns), ERR_LIMIT over one frame, ERR_UNTRUSTED, ERR_NOTFOUND; fault filled. */
enum err node_send_volatile(struct node *n, const struct submit *s, char id_out[static MSG_ID_MAX + 1],
			    struct fault *f) MUST_CHECK;
/* Forgets callbacks with this ctx (its connection is gone). The messages stay. */
void node_submit_forget(struct node *n, void *ctx);

/* The state a user sees: the row of the store, overlaid with what is in flight ("sent"). */
enum err node_outbox_get(struct node *n, struct bytes id, struct outbox_row *out) MUST_CHECK;
enum err node_outbox_list(struct node *n, const struct outbox_filter *f, struct outbox_row *rows,
			  size_t max, size_t *count) MUST_CHECK;
/* The overlay alone, of a row that was read from the store. */
void node_outbox_overlay(struct node *n, struct outbox_row *r);
/* How a message is on its way just now; *stored: a relay says that it keeps it. False: it is not. */
bool node_outbox_way(struct node *n, const struct outbox_row *r, struct outbox_try *t, bool *stored);
enum err node_outbox_cancel(struct node *n, struct bytes id, struct fault *f) MUST_CHECK;
/* A dead letter goes again, under a new id unless its user chose one: id_out. */
enum err node_outbox_retry(struct node *n, struct bytes id, char id_out[static MSG_ID_MAX + 1],
			   struct fault *f) MUST_CHECK;

/* --- receiving ------------------------------------------------------------------------------ */
/* Marks read and queues the receipt. */
enum err node_inbox_read(struct node *n, int64_t seq, bool *changed) MUST_CHECK;
/* The same for a row that was just listed, as inbox_row_read(). */
enum err node_inbox_take(struct node *n, struct inbox_row *row, bool *changed) MUST_CHECK;

/* --- peers ---------------------------------------------------------------------------------- */
struct peer_view {
	bool online;
	char transport[16];
	char address[LINK_ADDRESS_MAX + 1];
	const char *generation;   /* the suite: "0.9", "im2"; "" when offline */
	uint64_t since_ms;        /* wall */
	uint64_t sent, received, dropped, rekeys;
	bool confirms;            /* this session */
	double rtt_ms;            /* < 0 = unknown */
	uint64_t waiting, in_flight;
};
void node_peer_view(struct node *n, const struct node_id *id, struct peer_view *out);
size_t node_online(const struct node *n);
/* State changes that touch sessions and held messages; pins are flushed before they return. */
enum err node_peer_approve(struct node *n, const struct node_id *id, struct fault *f) MUST_CHECK;
enum err node_peer_block(struct node *n, const struct node_id *id, const char *reason, struct fault *f) MUST_CHECK;
enum err node_peer_revoke(struct node *n, const struct node_id *id, const char *reason, struct fault *f) MUST_CHECK;
enum err node_peer_pending(struct node *n, const struct node_id *id, struct fault *f) MUST_CHECK;
enum err node_peer_forget(struct node *n, const struct node_id *id, struct fault *f) MUST_CHECK;
enum err node_peer_repin(struct node *n, const char *subject, const struct node_id *id, struct fault *f) MUST_CHECK;
/* No events of it, what it sends is refused, and what was held of it goes; it stays pending (pins_ignore()). */
enum err node_peer_ignore(struct node *n, const struct node_id *id, struct fault *f) MUST_CHECK;
/* A change of what it can do (pins_caps.h): accepted, and what was held is delivered; or rejected, and it goes. */
enum err node_caps_accept(struct node *n, const struct node_id *id, struct fault *f) MUST_CHECK;
enum err node_caps_reject(struct node *n, const struct node_id *id, struct fault *f) MUST_CHECK;
/* Who was refused, and why (refusals.h). */
const struct refusals *node_refusals(const struct node *n);
/* An alias or a name was changed: sessions that the list of allowed peers does not cover any more end. */
void node_review(struct node *n);
/* The list of allowed peers is another one: as node_review(), and whom the old one kept us from is dialled. */
void node_list_changed(struct node *n);
/* PING over the session; `done` with rtt_ms or an error. ERR_CLOSED when there is no session. */
typedef void (*ping_done)(void *ctx, enum err e, double rtt_ms);
enum err node_ping(struct node *n, const struct node_id *id, uint64_t timeout_ms, ping_done done, void *ctx) MUST_CHECK;
void node_ping_forget(struct node *n, void *ctx);
/* KEY_ROTATE to everybody online. */
void node_announce_rotation(struct node *n, const uint8_t new_ed[static ED_BYTES]);

/* The mesh key of im2 (im2.md 2.4), once the worker has it. Copies. Until then no first contact over im2 begins. */
enum err node_mesh_key(struct node *n, uint16_t passgen, struct bytes key) MUST_CHECK;
bool node_has_mesh_key(const struct node *n);
/* Clears what makes 0.9 with this identity a downgrade: the operator says so. */
enum err node_peer_allow_downgrade(struct node *n, const struct node_id *id, struct fault *f) MUST_CHECK;

/* --- events --------------------------------------------------------------------------------- */
/* One observer (daemon/events.c). Called from node_turn() or the call that caused it. */
struct node_event {
	const char *type;          /* "message.delivered", ... docs/control.md */
	struct node_id peer;       /* hex[0] == 0: none */
	const char *msg_id;        /* or NULL */
	const char *reason;        /* or NULL */
	const char *name;          /* or NULL, cleaned */
	const char *via;           /* transport, or NULL */
	int64_t seq;               /* inbox.new; 0 = none */
	uint64_t size;
	uint64_t in_ms;            /* message.delivered: since the submission */
	/* "message.volatile": what came and is nowhere else; borrowed during the call. NULL otherwise. */
	const struct message *message;
	const struct pin_alarm *alarm;
	const char *address, *next; /* peer.refused: from where, the command that would allow it; or NULL */
};
void node_observe(struct node *n, void (*fn)(void *ctx, const struct node_event *e), void *ctx);

/* One watcher of what no event tells: a message of the inbox was read by its user. Not called in the middle of a write. */
void node_watch(struct node *n, void (*fn)(void *ctx, const struct node_id *author, int64_t inbox_seq), void *ctx);

/* --- counters ------------------------------------------------------------------------------- */
/* X(member, "name"): every name appears in `status` and docs/counters.md. */
#define NODE_COUNTERS(X)                                                                           \
	X(connections_refused, "connections_refused")                                              \
	X(handshakes_ok, "handshakes_ok")                                                          \
	X(handshakes_failed, "handshakes_failed")                                                  \
	X(handshake_auth_failures, "handshake_auth_failures")                                      \
	X(handshake_timeouts, "handshake_timeouts")                                                \
	X(admission_refused, "admission_refused")                                                  \
	X(contacts_refused, "contacts_refused")                                                    \
	X(duplicate_sessions, "duplicate_sessions")                                                \
	X(bans, "bans")                                                                            \
	X(strangers, "strangers")                                                                  \
	X(frames_dropped, "frames_dropped")                                                        \
	X(sessions_closed_for_bad_frames, "sessions_closed_for_bad_frames")                        \
	X(messages_submitted, "messages_submitted")                                                \
	X(messages_sent, "messages_sent")                                                          \
	X(messages_resent, "messages_resent")                                                      \
	X(messages_delivered, "messages_delivered")                                                \
	X(messages_received, "messages_received")                                                  \
	X(messages_repeated, "messages_repeated")                                                  \
	X(messages_held, "messages_held")                                                          \
	X(messages_not_for_us, "messages_not_for_us")                                              \
	X(messages_refused, "messages_refused")                                                    \
	X(messages_expired, "messages_expired")                                                    \
	X(receipts_sent, "receipts_sent")                                                          \
	X(receipts_received, "receipts_received")                                                  \
	X(receipts_unknown, "receipts_unknown")                                                    \
	X(control_frames, "control_frames")                                                        \
	X(rekeys, "rekeys")                                                                        \
	X(volatile_sent, "volatile_sent")                                                          \
	X(volatile_received, "volatile_received")                                                  \
	X(volatile_dropped, "volatile_dropped")                                                    \
	X(id_conflicts, "id_conflicts")                                                            \
	X(settled_repeats, "settled_repeats")                                                      \
	X(eras_renewed, "eras_renewed")                                                            \
	X(downgrades_refused, "downgrades_refused")                                                \
	X(records_taken, "records_taken")                                                          \
	X(records_refused, "records_refused")                                                      \
	X(records_limited, "records_limited")                                                      \
	X(routes_taken, "routes_taken")                                                            \
	X(routes_refused, "routes_refused")                                                        \
	X(routes_changed, "routes_changed")                                                        \
	X(routes_penalised, "routes_penalised")                                                    \
	X(relay_forwarded, "relay_forwarded")                                                      \
	X(relay_again, "relay_again")                                                              \
	X(relay_stored, "relay_stored")                                                            \
	X(relay_repeated, "relay_repeated")                                                        \
	X(relay_expired, "relay_expired")                                                          \
	X(relay_hops, "relay_hops")                                                                \
	X(relay_no_route, "relay_no_route")                                                        \
	X(relay_quota, "relay_quota")                                                              \
	X(relay_refused, "relay_refused")                                                          \
	X(relay_malformed, "relay_malformed")                                                      \
	X(sealed_sent, "sealed_sent")                                                              \
	X(sealed_received, "sealed_received")                                                      \
	X(sealed_refused, "sealed_refused")                                                        \
	X(sealed_no_fs, "sealed_no_fs")                                                            \
	X(old_sent, "old_sent")                                                                    \
	X(old_relayed, "old_relayed")                                                              \
	X(old_dropped, "old_dropped")                                                              \
	X(old_unreachable, "old_unreachable")                                                      \
	X(old_unreachable_sent, "old_unreachable_sent")                                            \
	X(caps_learned, "caps_learned")                                                            \
	X(caps_refused, "caps_refused")                                                            \
	X(caps_expired, "caps_expired")                                                            \
	X(invites_accepted, "invites_accepted")                                                    \
	X(invites_rejected, "invites_rejected")                                                    \
	X(revocations_shown, "revocations_shown")                                                  \
	X(hints_found, "hints_found")                                                              \
	X(hints_dropped, "hints_dropped")                                                          \
	X(hints_dialled, "hints_dialled")                                                          \
	X(hints_failed, "hints_failed")                                                            \
	X(hints_wrong, "hints_wrong")                                                              \
	X(paired, "paired")                                                                        \
	X(pair_guesses, "pair_guesses")                                                            \
	X(pair_refused, "pair_refused")                                                            \
	X(pauses, "pauses")                                                                        \
	X(store_failures, "store_failures")                                                        \
	X(dials, "dials")                                                                          \
	X(dial_failures, "dial_failures")

struct node_counters {
#define X(member, name) uint64_t member;
	NODE_COUNTERS(X)
#undef X
};
const struct node_counters *node_counters(const struct node *n);
/* NULL when im2 is off. */
const struct im2_counters *node_im2_counters(const struct node *n);
size_t node_banned(struct node *n);
/* What the transport counts by itself: refusals before we are asked, and why links ended. Zeros without one. */
void node_transport_stats(struct node *n, struct transport_stats *out);
/* Accessors for the command table. */
struct pins *node_pins(struct node *n);
struct store *node_store(struct node *n);
struct audit *node_audit(struct node *n);
const struct keyring *node_keyring(struct node *n);
const char *node_name(const struct node *n);

#endif
