/*
 * pins_internal.h -- the inside of the trust store, shared by the pins_*.c files.
 *
 * Two kinds of dirty: `dirty` is a change that must be on disk before anybody is told it is done;
 * `stale` is what may be lost in a crash (last_seen, a repeated alarm, a stranger's new name).
 */
#ifndef TRUST_PINS_INTERNAL_H
#define TRUST_PINS_INTERNAL_H

#include "base/map.h"
#include "trust/pins.h"

#define PINS_WALL_MAX_MS 100000000000000ull /* year 5138; exact as double seconds */
#define PINS_ALARMS_PER_SUBJECT 4

struct rec {
	struct pin pin;
	bool has_ed;     /* false only for a revocation that came without the key */
	bool name_bound; /* trusted, and the name is this identity's */
	struct psks *psks; /* secret; NULL when there are none, as for most; wiped when freed */
	json_t *extra;   /* members of other software, kept when we write; may be NULL */
};

struct im2_address {
	char *text; /* heap */
	struct node_id owner;
};
/* Sorted by text. */
struct im2_set {
	struct im2_address *list;
	size_t n, cap;
};

struct pins {
	struct env *env;
	char *path; /* NULL: memory only */
	struct node_id self;
	struct secret mac, box;
	struct rec **recs; /* by first_seen, then id */
	size_t n, cap;
	struct map *by_id; /* id text -> struct rec * */
	struct pin_alarm alarms[PINS_ALARMS_MAX];
	size_t alarm_count;
	struct im2_set im2;
	json_t *extra; /* members of the store that are not ours; may be NULL */
	bool read_only;
	bool dirty, stale;
	char why[512];
};

/* An empty store with its keys. */
enum err pins_new(const char *path, const struct keyring *k, struct env *env, struct pins **out) MUST_CHECK;
/* With keys that were derived before, for a store that is only looked at. */
enum err pins_new_with(const struct node_id *self, struct bytes mac, struct bytes box, struct env *env,
		       struct pins **out) MUST_CHECK;
/* A person has proven that `now` is who it should be: what asked for that has its answer. Another TLS key of the same
 * identity is another question. */
void pins_alarms_answered(struct pins *p, const struct node_id *now);
/* Forgets every record and alarm. */
void pins_clear(struct pins *p);

struct rec *pins_rec(const struct pins *p, const struct node_id *id);
struct rec *pins_name_holder(const struct pins *p, const char *cleaned);
struct rec *pins_address_holder(const struct pins *p, const char *address);
/* Takes `r` (heap) on success. ERR_EXISTS, ERR_FULL at PINS_MAX, ERR_NOMEM. */
enum err pins_insert(struct pins *p, struct rec *r) MUST_CHECK;
void pins_remove(struct pins *p, struct rec *r);
/* Room for a new record in state `s`: now, or by evicting a pending one. */
bool pins_has_room(const struct pins *p, enum pin_state s);
/* Makes that room; never by evicting `keep`, which may be NULL. ERR_FULL. */
enum err pins_make_room(struct pins *p, enum pin_state s, const struct rec *keep) MUST_CHECK;
/* Zeroed record of `ed`, not inserted. */
struct rec *pins_rec_new(const uint8_t ed[static ED_BYTES], enum pin_state s, const char *via,
			 uint64_t wall_ms);
void pins_rec_free(struct rec *r);

/* The one function that moves a state; binds or frees the name. `reason` may be NULL. */
void pins_move(struct pins *p, struct rec *r, enum pin_state s, const char *reason);
/* The record now claims `name`; binds it when trusted and free. */
void pins_claim_name(struct pins *p, struct rec *r, const char *name);
/* How a name is stored and compared: text_safe(), at most NAME_MAX_CHARS bytes. */
const char *pins_clean_name(const char *name, char out[static NAME_MAX_CHARS + 1]);
bool pins_address_valid(const char *address);
void pins_drop_address(struct pins *p, struct rec *r, size_t i);
/* The record that has proven `x`; NULL: nobody. */
struct rec *pins_x_holder(const struct pins *p, const uint8_t x[static X25519_BYTES]);
void pins_drop_psks(struct rec *r);
/* `r` was revoked: what it rotated to loses what it had by that. */
void pins_void_rotation(struct pins *p, struct rec *r);
enum err im2_set_put(struct im2_set *s, const char *address, const struct node_id *owner, bool *changed) MUST_CHECK;
enum err im2_set_copy(const struct im2_set *from, struct im2_set *out) MUST_CHECK;
/* Every entry of `owner` goes to `to`, or goes when that is NULL. Whether there were any. */
bool im2_set_move(struct im2_set *s, const struct node_id *owner, const struct node_id *to);
void im2_set_clear(struct im2_set *s);
/* What waits becomes the baseline; nothing when nothing waits. */
enum err pins_caps_settle(struct pins *p, struct rec *r, uint64_t wall_ms) MUST_CHECK;
/* A new identity of who announced `from` has the same baseline. False without memory. */
bool pins_caps_move(const struct rec *from, struct rec *to) MUST_CHECK;
enum err pins_refuse_read_only(const struct pins *p, struct fault *f);
/* `word` as one word of a shell command that a person may paste. */
#define SHELL_WORD_MAX (4 * ADDRESS_MAX + 3)
const char *shell_word(const char *word, char out[static SHELL_WORD_MAX]);

/* {"peers":{...},"revoked":{...}} in and out. On error the store is empty again. */
enum err pins_read_inner(struct pins *p, const json_t *inner) MUST_CHECK;
enum err pins_write_inner(const struct pins *p, struct buf *out) MUST_CHECK;
/* Overwrites the secrets in such an object, before it goes back to the heap. */
void pins_wipe_json(json_t *inner);
/* The whole file. Anything but ERR_OK leaves the store empty and says why in `why`. */
enum err pins_read_file(struct pins *p, struct bytes file, char *why, size_t cap) MUST_CHECK;
enum err pins_write_file(const struct pins *p, struct buf *out) MUST_CHECK;

#endif
