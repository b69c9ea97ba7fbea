/*
 * pins.h -- who we know: the encrypted trust store known_peers.json (wire 9.5).
 *
 * Written as version 2 (SecretBox + HMAC under keys derived from our seed), version 1 readable. Our
 * own members (name, alias, version_floor, addresses, tls keys, alarms, what im2 remembers) are extra
 * keys that the old software ignores. Pins bind three things, so that a changed key is noticed: id -> key (which the
 * hash already says), name -> id, and dialled address -> id.
 *
 * Names bind when a peer becomes trusted; a pending or blocked peer only claims its name.
 * All mutations are in memory until pins_flush(); every state change must be flushed before it
 * is reported as done. Times are wall milliseconds.
 *
 * Damaged or foreign file: pins_load() succeeds with `read_only` set and the reason; the file is
 * never touched; mutations return ERR_DENIED; the daemon says so at start, in `status` and `doctor`.
 */
#ifndef TRUST_PINS_H
#define TRUST_PINS_H

#include "base/json.h"
#include "base/text.h"
#include "trust/keyring.h"
#include "trust/psks.h"

#define PINS_MAX 16384         /* records; a pending record may be evicted (oldest), others never */
#define PINS_PENDING_MAX 256
#define PINS_ADDRESSES_MAX 8   /* per record */
#define PINS_FILE_MAX (32u << 20)
#define ADDRESS_MAX 255
#define PINS_IM2_ADDRESSES_MAX 4096
#define PINS_ROTATED_KEEP_MS (30ull * 86400000u)

enum pin_state { PIN_PENDING, PIN_TRUSTED, PIN_BLOCKED, PIN_REVOKED, PIN_STATES };
const char *pin_state_word(enum pin_state s);                /* "pending", ... */
enum err pin_state_parse(struct bytes word, enum pin_state *out) MUST_CHECK;

struct pin;
/* For people and the file: as pin_state_word(), or "pending-cap-change". */
const char *pin_word(const struct pin *pin);
/* Whether what it sends is delivered: trusted, and no change of its capabilities waits for the operator. */
bool pin_admits(const struct pin *pin);

struct pin_address {
	char text[ADDRESS_MAX + 1]; /* "host:port" as dialled */
	uint8_t tls_key[32];        /* SHA-256 of the SubjectPublicKeyInfo seen there */
	bool has_tls_key;
};

struct pin {
	struct node_id id;
	uint8_t ed[ED_BYTES];
	enum pin_state state;
	bool cap_change;          /* trusted, but what it can do has changed: what it sends is held (pins_caps.h) */
	bool ignored;             /* pending or cap_change, and nobody wants to hear of it: what it sends is refused */
	bool verified;            /* a person compared the fingerprint (trust verify) */
	char name[NAME_MAX_CHARS + 1];
	char alias[NAME_MAX_CHARS + 1]; /* ours; empty = none */
	char via[16];             /* "tofu", "allow-list", "operator", "invite", "import", "rotate", "code", "sas" */
	uint64_t first_seen_ms, last_seen_ms;
	uint16_t version_floor;   /* major << 8 | minor: highest seen; less is refused */
	uint8_t x25519[X25519_BYTES];
	bool has_x25519;
	bool x_proven;            /* a handshake of im2 completed with x25519 (im2 2.2) */
	bool x_imported;          /* not proven, but came by a rotation or an import */
	uint64_t im2_since_ms;    /* 0: never spoke im2; else never less again (im2 4.3) */
	struct node_id successor; /* rotated to this identity at rotated_ms; empty: it was not */
	uint64_t rotated_ms;
	bool confirms;            /* has confirmed a message: never less again (policy.h) */
	/* Borrowed with the record: a copy of the pin must not outlive it. NULL when there are none; most
	 * peers dial us and have none, so they are not part of the struct. */
	struct pin_address *addresses;
	size_t address_count; /* at most PINS_ADDRESSES_MAX */
	char reason[96];          /* for blocked and revoked */
};

/* A key change that waits for the operator: `subject` (a name or an address) belonged to `was`. */
struct pin_alarm {
	char subject[ADDRESS_MAX + 1];
	bool is_address;
	struct node_id was, now;
	uint8_t now_ed[ED_BYTES];
	char now_name[NAME_MAX_CHARS + 1];
	uint64_t at_ms, count;
};
#define PINS_ALARMS_MAX 64

struct pins;

/* path NULL: memory only (tests, simulator). A missing file is an empty store. */
enum err pins_load(const char *path, const struct keyring *k, struct env *env, struct pins **out,
		   struct fault *f) MUST_CHECK;
/* The store of the old software at `from`, to become ours at `path` with the next pins_flush(); `from` is left as it is. *authentic:
 * its MAC is of this identity. Forms without such a MAC (version 1 bound to a folder, or none at all: anybody can have written
 * them) are read with `unverified` only. ERR_AUTH, ERR_MALFORMED, ERR_NOTFOUND, ... with fault. */
enum err pins_import(const char *from, const char *path, const struct keyring *k, struct env *env, bool unverified,
		     struct pins **out, bool *authentic, struct fault *f) MUST_CHECK;
/* Whether pins_load() of this file would find it good, and how many records it has. Without a keyring, so on any thread: `mac` and
 * `box` are what it derives for DERIVE_TRUST_MAC and DERIVE_TRUST_BOX. ERR_NOTFOUND; ERR_AUTH, ERR_MALFORMED, ... with fault. */
enum err pins_check(const char *path, const struct node_id *self, struct bytes mac, struct bytes box, struct env *env,
		    size_t *count, struct fault *f) MUST_CHECK;
void pins_free(struct pins *p);
bool pins_read_only(const struct pins *p, const char **why); /* why: for people */
/* Something differs from the disk. The caller flushes at once when pins_state_dirty() says that it
 * is a decision or a new fact; else (last_seen, a stranger's changed name, a repeated alarm, a
 * version 1 file waiting for its upgrade) every minute or so is enough. */
bool pins_dirty(const struct pins *p);
bool pins_state_dirty(const struct pins *p);
/* No-op when clean. On failure everything stays dirty and the old file stays whole. */
enum err pins_flush(struct pins *p, struct fault *f) MUST_CHECK;
/* A decision is on disk or has not been made: pins_copy(), then the change, then pins_settle() with how
 * the change went. It flushes, or goes back to the copy; and frees it. */
struct pins_copy;
enum err pins_copy(const struct pins *p, struct pins_copy **out) MUST_CHECK;
enum err pins_settle(struct pins *p, struct pins_copy *was, enum err e, struct fault *f) MUST_CHECK;
void pins_copy_free(struct pins_copy *c); /* accepts NULL */
/* Writes what is in memory to another file, under the keys of `k`: for a new identity. The store
 * itself stays as it is. ERR_DENIED when it is read-only. */
enum err pins_save_as(const struct pins *p, const struct keyring *k, const char *path,
		      struct fault *f) MUST_CHECK;

size_t pins_count(const struct pins *p);
size_t pins_count_state(const struct pins *p, enum pin_state s);
const struct pin *pins_get(const struct pins *p, const struct node_id *id);
const struct pin *pins_by_name(const struct pins *p, const char *name);       /* bound names only */
const struct pin *pins_by_address(const struct pins *p, const char *address);
/* Visits in order of first_seen. The callback returns false to stop. No mutation inside. */
void pins_each(const struct pins *p, bool (*fn)(void *ctx, const struct pin *pin), void *ctx);
/* What a user types: a whole id, then alias, bound name, claimed name, id prefix of >= 4 digits. A
 * name that is only claimed never wins over an id prefix: then it is ambiguous. ERR_NOTFOUND (fault suggests the nearest name), ERR_AMBIGUOUS (fault lists the candidates). */
enum err pins_find(const struct pins *p, const char *who, const struct pin **out, struct fault *f) MUST_CHECK;

/* First contact, or an update of a known record: name, version (raises the floor), x25519, confirms,
 * last_seen. An X25519 key that is proven, or came by a rotation or an import, stays as it is. A new record starts in `state`. Binds the name when trusted and the name is free; a
 * trusted peer that asks for a taken name keeps its own. Names are stored through text_safe().
 * ERR_FULL, ERR_DENIED (read-only), ERR_KEY_CHANGED (same id, other key: im2 2.2 rule 2),
 * ERR_UNTRUSTED (blocked or revoked: nothing is updated). */
struct pin_update {
	struct node_id id;
	const uint8_t *ed;
	const char *name;
	uint16_t version;
	const uint8_t *x25519; /* may be NULL */
	bool confirms;
	enum pin_state state;  /* for a new record */
	const char *via;
	uint64_t wall_ms;
};
/* `created` may be NULL. */
enum err pins_observe(struct pins *p, const struct pin_update *u, bool *created) MUST_CHECK;
/* Binds a dialled address (and the TLS key seen there, may be NULL) to `id`; moves it from another
 * record if need be: the policy has agreed before. */
enum err pins_bind_address(struct pins *p, const struct node_id *id, const char *address,
			   const uint8_t *tls_key) MUST_CHECK;
/* approve, block, revoke, back to pending. Revoked is final: ERR_WRONG_STATE, here and in
 * pins_forget(). Approval binds the name; ERR_EXISTS when that name
 * belongs to another trusted peer (fault names `trust repin`). */
enum err pins_set_state(struct pins *p, const struct node_id *id, enum pin_state s, const char *reason,
			struct fault *f) MUST_CHECK;
/* A pending peer, or one with changed capabilities, of which nobody wants to hear: no events, what it sends is refused.
 * Any decision about its state ends that. ERR_WRONG_STATE when it is neither. */
enum err pins_ignore(struct pins *p, const struct node_id *id, struct fault *f) MUST_CHECK;
/* It came by an invite, whatever brought it here first. ERR_NOTFOUND, ERR_DENIED (read-only), ERR_UNTRUSTED (blocked or
 * revoked). */
enum err pins_set_invited(struct pins *p, const struct node_id *id) MUST_CHECK;
/* It was paired (im2 15.2): by a code, or by digits that two people compared. It is verified, and came by "code" or "sas". As
 * above. */
enum err pins_set_paired(struct pins *p, const struct node_id *id, bool by_digits) MUST_CHECK;
enum err pins_set_alias(struct pins *p, const struct node_id *id, const char *alias, struct fault *f) MUST_CHECK;
enum err pins_set_verified(struct pins *p, const struct node_id *id, bool verified) MUST_CHECK;
enum err pins_forget(struct pins *p, const struct node_id *id) MUST_CHECK;
/* Pins a key by hand before any contact. */
enum err pins_pin(struct pins *p, const uint8_t ed[static ED_BYTES], const char *name, uint64_t wall_ms,
		  struct fault *f) MUST_CHECK;

/* Alarms: recorded by the daemon when policy says ERR_KEY_CHANGED; bounded, the oldest goes. One
 * subject has at most 4, so that made-up keys for one name do not push out the others. */
enum err pins_alarm(struct pins *p, const struct pin_alarm *a) MUST_CHECK;
size_t pins_alarms(const struct pins *p, const struct pin_alarm **list);
/* Accepts the change for `subject`: the old identity becomes revoked ("replaced"), the new one is
 * trusted and takes the name (and then the old one's addresses) or the address, and our alias. `expect` must equal alarm.now (the operator
 * typed it), or be a known peer that claims the name. ERR_NOTFOUND: no such change waits;
 * ERR_KEY_CHANGED: it is another key that waits; ERR_UNTRUSTED: `expect` is blocked or revoked;
 * ERR_WRONG_STATE: the subject has moved to a peer the alarm was not about. */
enum err pins_repin(struct pins *p, const char *subject, const struct node_id *expect, uint64_t wall_ms,
		    struct fault *f) MUST_CHECK;
enum err pins_alarm_drop(struct pins *p, const char *subject) MUST_CHECK;

/* --- what im2 remembers (im2 2.2, 4.3, 6.2, 13.4) ---------------------------------------------- */

/* Whose handshake is it that shows the static key `x`? The record that has proven it; else the one
 * that got it by a rotation or an import. NULL when nobody, or when two got it: then *conflict (may
 * be NULL). The caller looks at the state: a blocked or revoked record is found too. */
const struct pin *pins_by_x(const struct pins *p, const uint8_t x[static X25519_BYTES], bool *conflict);
/* The static key to begin an IK with this peer: proven, or by rotation or import and proven by nobody
 * else. NULL: first contact is the way. Borrowed with the record. */
const uint8_t *pins_ik_x(const struct pins *p, const struct pin *pin);
/* A handshake of mode 1, 2 or IK completed: `x` is proven for `id`, which has spoken im2 from now on.
 * *replaced (may be NULL): another key was there before, for the audit. ERR_EXISTS: another identity has
 * proven it, nothing is changed. ERR_DENIED, ERR_NOTFOUND, ERR_UNTRUSTED (blocked or revoked). */
enum err pins_prove_x(struct pins *p, const struct node_id *id, const uint8_t x[static X25519_BYTES],
		      uint64_t wall_ms, bool *replaced) MUST_CHECK;
/* The pair secrets of a peer. get: an empty set for a peer that has none; ERR_NOTFOUND. The caller
 * wipes *out. set: ERR_DENIED, ERR_NOTFOUND, ERR_UNTRUSTED (revoked; its secrets are gone). */
enum err pins_get_psks(const struct pins *p, const struct node_id *id, struct psks *out) MUST_CHECK;
enum err pins_set_psks(struct pins *p, const struct node_id *id, const struct psks *psks) MUST_CHECK;
/* The set of addresses, as dialled, behind which im2 was spoken, and by whom. They outlive an evicted
 * record. ERR_FULL when it is full: the identity still is protected by its record. */
enum err pins_im2_address_add(struct pins *p, const char *address, const struct node_id *owner) MUST_CHECK;
bool pins_im2_address_has(const struct pins *p, const char *address, struct node_id *owner); /* owner may be NULL */
enum err pins_im2_address_remove(struct pins *p, const char *address) MUST_CHECK;
size_t pins_im2_addresses(const struct pins *p);
/* Forgets that `id` spoke im2, with all its im2 addresses: the operator allows it to go back. Its
 * secrets and its X stay. ERR_NOTFOUND: there was nothing to forget. ERR_DENIED. */
enum err pins_forget_im2(struct pins *p, const struct node_id *id) MUST_CHECK;
/* A ROTATE record whose two signatures verify. State, alias, name, addresses, pair secrets and im2 pins
 * move to the new identity; `new_x` is imported. `verified` goes along only with keep_verified. The
 * old record stays for PINS_ROTATED_KEEP_MS and names its successor; when it is revoked meanwhile, the
 * rotation is void: the successor is pending again unless an operator approved or verified it.
 * Again the same: ERR_OK, no change. ERR_NOTFOUND; ERR_SELF; ERR_MALFORMED (no key, or the same);
 * ERR_UNTRUSTED (old revoked, or new blocked or revoked); ERR_EXISTS (rotated to another one already);
 * ERR_WRONG_STATE (new itself was rotated away); ERR_FULL; ERR_DENIED. */
enum err pins_rotate(struct pins *p, const struct node_id *old_id, const uint8_t new_ed[static ED_BYTES],
		     const uint8_t new_x[static X25519_BYTES], uint64_t wall_ms, bool keep_verified) MUST_CHECK;
/* The identity that `id` is now: the end of its rotations, itself when there were none. NULL: unknown. */
const struct pin *pins_current(const struct pins *p, const struct node_id *id);
/* Whether both are one peer, by what is known of rotations. */
bool pins_same(const struct pins *p, const struct node_id *a, const struct node_id *b);
/* The identities that became `id`, the nearest first, at most `max`. Looks at every record. */
size_t pins_former(const struct pins *p, const struct node_id *id, struct node_id *out, size_t max);
/* Drops the old records whose time is over; blocked and revoked ones stay. How many went. */
size_t pins_expire_rotated(struct pins *p, uint64_t wall_ms);
/* The same, but for those that `keep` wants: of whom an old id is still written down somewhere, and would be a stranger. */
size_t pins_expire_rotated_but(struct pins *p, uint64_t wall_ms, bool (*keep)(const void *ctx, const struct node_id *id),
			       const void *ctx);

/* The trust export: canonical JSON of trusted pins signed under SIG_TRUST_EXPORT. */
enum err pins_export(const struct pins *p, const struct keyring *k, uint64_t wall_ms, struct buf *out) MUST_CHECK;

#endif
