/*
 * pins_caps.h -- what a trusted peer says it can do, pinned: the set the operator accepted, and one that differs and waits
 * (wire 9.5).
 *
 * The first set that a trusted peer announces is its baseline. A later one that differs is kept beside it until the operator
 * accepts or rejects it. By policy it also demotes: the peer is `pending-cap-change`, what it sends is held (pin_admits()),
 * its sessions stay, and so do its name and its place on the allow-list. Going back to the baseline lifts nothing: that is
 * for the operator. Sets of peers that are not trusted are not looked at.
 *
 * A set is a list of names `namespace:name`, in any order, with doubles or white space around; it is compared by its digest.
 * At most PINS_CAPS_MAX names of 1 to PINS_CAP_TEXT_MAX bytes. The names are kept while all sets of all peers fit
 * PINS_CAPS_BYTES_MAX; beyond that only the digest is.
 */
#ifndef TRUST_PINS_CAPS_H
#define TRUST_PINS_CAPS_H

#include "trust/pins.h"

#define PINS_CAPS_MAX 256
#define PINS_CAP_TEXT_MAX 128
#define PINS_CAPS_BYTES_MAX (2u << 20)
#define CAPS_DIGEST_BYTES 32

enum caps_news {
	CAPS_SAME,     /* as accepted, or as already known to wait; or of nobody we trust */
	CAPS_BASELINE, /* its first set is pinned */
	CAPS_CHANGED,  /* another set waits now */
	CAPS_BACK,     /* what waited is withdrawn: it announces what was accepted */
};

/* hex SHA-256("ironmesh-cap-hash-v1:" || names sorted, unique, stripped, joined with '\n'). ERR_LIMIT, ERR_MALFORMED. */
enum err caps_digest(const char *const caps[], size_t n, uint8_t out[static CAPS_DIGEST_BYTES]) MUST_CHECK;

/* `id` announced this set over an authenticated way. `demote`: CAPS_CHANGED makes it `pending-cap-change`. *news is written on
 * ERR_OK alone; anything but CAPS_SAME is to be flushed. ERR_NOTFOUND, ERR_DENIED (read-only), ERR_LIMIT, ERR_MALFORMED,
 * ERR_NOMEM. */
enum err pins_caps_observe(struct pins *p, const struct node_id *id, const char *const caps[], size_t n, bool demote,
			   uint64_t wall_ms, enum caps_news *news) MUST_CHECK;
/* What waits becomes the baseline, and what it sends is delivered again. ERR_WRONG_STATE: nothing waits. */
enum err pins_caps_accept(struct pins *p, const struct node_id *id, uint64_t wall_ms, struct fault *f) MUST_CHECK;
/* The baseline stays, and the peer is `pending-cap-change` and ignored until it is accepted or approved. ERR_WRONG_STATE. */
enum err pins_caps_reject(struct pins *p, const struct node_id *id, struct fault *f) MUST_CHECK;

struct caps_view {
	bool has_baseline, has_pending;
	bool names_known; /* false: of one of the sets only the digest was kept */
	uint8_t baseline[CAPS_DIGEST_BYTES], pending[CAPS_DIGEST_BYTES];
	uint64_t first_observed_ms, accepted_ms; /* 0: not yet */
};
/* Visits both sets, sorted: sign '+' only in what waits, '-' only in the baseline, ' ' in both. `fn` may be NULL.
 * ERR_NOTFOUND. */
typedef void (*caps_diff_fn)(void *ctx, char sign, const char *name);
enum err pins_caps_diff(const struct pins *p, const struct node_id *id, struct caps_view *view, caps_diff_fn fn,
			void *ctx) MUST_CHECK;

#endif
