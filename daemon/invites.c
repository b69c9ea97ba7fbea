/* invites.c -- the ledger: what was made, spent and revoked. */
#include "daemon/invites_internal.h"

#include <stdlib.h>

#include "base/text.h"
#include "store/kv.h"

#define SPACE "invite"
#define ROW_VERSION 1
#define ROW_MAX 512
#define FLAG_TRUST 1
#define DROPS_MAX 256

static const char *const words[] = {
	[INVITE_OPEN] = "open", [INVITE_SPENT] = "spent", [INVITE_REVOKED] = "revoked", [INVITE_EXPIRED] = "expired"
};

const char *invite_state_word(enum invite_state s)
{
	return words[s];
}

enum invite_state invite_entry_state(const struct invite_entry *x, uint64_t wall_ms)
{
	return x->spent_ms ? INVITE_SPENT : x->revoked_ms ? INVITE_REVOKED :
	       wall_ms > x->expires_ms + INVITE_SKEW_MS ? INVITE_EXPIRED : INVITE_OPEN;
}

/* --- rows -------------------------------------------------------------------------------------------------- */
static void put_text(struct wr *w, const char *s)
{
	wr_u8(w, (uint8_t)strlen(s));
	wr_bytes(w, bytes_str(s));
}

static enum err row_put(struct store *s, const struct invite_entry *x)
{
	uint8_t row[ROW_MAX], by[NODE_ID_LEN / 2] = { 0 };
	struct wr w = wr_init(row, sizeof row);
	struct bytes whole;

	if (x->by.hex[0])
		BUG_ON(hex_decode(bytes_of(x->by.hex, NODE_ID_LEN), by, sizeof by) != ERR_OK);
	wr_u8(&w, ROW_VERSION);
	wr_u8(&w, x->trust ? FLAG_TRUST : 0);
	wr_u64(&w, x->issued_ms);
	wr_u64(&w, x->expires_ms);
	wr_u64(&w, x->spent_ms);
	wr_u64(&w, x->revoked_ms);
	wr_u8(&w, x->by.hex[0] != '\0');
	wr_bytes(&w, BYTES_ARR(by));
	put_text(&w, x->endpoint);
	put_text(&w, x->profile);
	BUG_ON(wr_end(&w, &whole) != ERR_OK);
	return store_kv_put(s, SPACE, BYTES_ARR(x->nonce), whole);
}

enum err invites_write(struct invites *v, const struct invite_entry *x)
{
	enum err e = row_put(v->node->p.store, x);

	if (e == ERR_STORE)
		node_store_failed(v->node);
	return e;
}

static bool get_text(struct rd *r, char *out, size_t cap)
{
	struct bytes b = rd_bytes(r, rd_u8(r));

	if (r->err != ERR_OK || b.n >= cap)
		return false;
	memcpy(out, b.p, b.n);
	out[b.n] = '\0';
	return true;
}

static bool row_read(struct bytes key, struct bytes value, struct invite_entry *x)
{
	struct rd r = rd_init(value.p, value.n);
	bool has_by, ok;
	struct bytes by;

	memset(x, 0, sizeof *x);
	if (key.n != INVITE_NONCE || rd_u8(&r) != ROW_VERSION)
		return false;
	memcpy(x->nonce, key.p, INVITE_NONCE);
	hex_encode(key, x->id);
	x->trust = rd_u8(&r) & FLAG_TRUST;
	x->issued_ms = rd_u64(&r);
	x->expires_ms = rd_u64(&r);
	x->spent_ms = rd_u64(&r);
	x->revoked_ms = rd_u64(&r);
	has_by = rd_u8(&r);
	by = rd_bytes(&r, NODE_ID_LEN / 2);
	ok = get_text(&r, x->endpoint, sizeof x->endpoint) && get_text(&r, x->profile, sizeof x->profile);
	if (!ok || rd_end(&r) != ERR_OK)
		return false;
	if (has_by)
		hex_encode(by, x->by.hex);
	return true;
}

struct closing {
	uint64_t wall_ms;
	struct invite_entry *open;
	size_t n;
	enum err err;
};

static bool find_open(void *ctx, struct bytes key, struct bytes value)
{
	struct closing *c = ctx;
	struct invite_entry x, *more;

	if (!row_read(key, value, &x) || invite_entry_state(&x, c->wall_ms) != INVITE_OPEN)
		return true;
	more = c->n < INVITES_MAX ? reallocarray(c->open, c->n + 1, sizeof *more) : NULL;
	if (!more) {
		c->err = c->n < INVITES_MAX ? ERR_NOMEM : ERR_OK;
		return false;
	}
	c->open = more;
	x.revoked_ms = c->wall_ms;
	c->open[c->n++] = x;
	return true;
}

enum err invites_close_open(struct store *s, uint64_t wall_ms, unsigned *closed)
{
	struct closing c = { .wall_ms = wall_ms };
	enum err e = store_kv_each(s, SPACE, find_open, &c);

	if (e == ERR_OK)
		e = c.err;
	for (size_t i = 0; e == ERR_OK && i < c.n; i++)
		e = row_put(s, &c.open[i]);
	free(c.open);
	if (e == ERR_OK)
		*closed = (unsigned)c.n;
	return e;
}

enum err invites_add_spent(struct store *s, const uint8_t nonce[static INVITE_NONCE], uint64_t spent_ms, uint64_t expires_ms)
{
	struct invite_entry x = { .spent_ms = spent_ms, .issued_ms = spent_ms, .expires_ms = expires_ms };

	memcpy(x.nonce, nonce, INVITE_NONCE);
	return row_put(s, &x);
}

/* --- the list ------------------------------------------------------------------------------------------------ */
struct invite_entry *invites_find(struct invites *v, const uint8_t nonce[static INVITE_NONCE])
{
	for (size_t i = 0; i < v->n; i++)
		if (memcmp(v->list[i]->nonce, nonce, INVITE_NONCE) == 0)
			return v->list[i];
	return NULL;
}

static struct invite_entry *insert(struct invites *v, const struct invite_entry *x)
{
	struct invite_entry *copy;
	size_t i = v->n;

	if (v->n == v->cap) {
		size_t cap = v->cap ? v->cap * 2 : 16;
		void *more = v->n < INVITES_MAX ? reallocarray(v->list, cap, sizeof v->list[0]) : NULL;

		if (!more)
			return NULL;
		v->list = more;
		v->cap = cap;
	}
	copy = malloc(sizeof *copy);
	if (!copy)
		return NULL;
	*copy = *x;
	for (; i > 0 && v->list[i - 1]->issued_ms > x->issued_ms; i--)
		v->list[i] = v->list[i - 1];
	v->list[i] = copy;
	v->n++;
	return copy;
}

static void drop(struct invites *v, const struct invite_entry *x)
{
	for (size_t i = 0; i < v->n; i++) {
		if (v->list[i] != x)
			continue;
		free(v->list[i]);
		memmove(&v->list[i], &v->list[i + 1], (--v->n - i) * sizeof v->list[0]);
		return;
	}
}

/* An hour beyond its expiry nobody asks any more: by then it is refused for its time. */
static void sweep(struct invites *v)
{
	uint64_t wall = env_wall(v->node->env);
	enum err e;

	if (wall < CLOCK_PLAUSIBLE_MS)
		return;
	for (size_t i = v->n; i-- > 0;) {
		struct invite_entry *x = v->list[i];

		if (wall <= x->expires_ms + INVITES_KEEP_MS)
			continue;
		e = store_kv_del(v->node->p.store, SPACE, BYTES_ARR(x->nonce));
		if (e == ERR_STORE)
			node_store_failed(v->node);
		else
			node_store_soft(v->node);
		drop(v, x);
	}
}

static bool load(void *ctx, struct bytes key, struct bytes value)
{
	struct invite_entry x;

	if (!row_read(key, value, &x) || !insert(ctx, &x))
		log_warn("invite-entry-left-out");
	return true;
}

/* The last life ended between its claim and the end: the pin tells which side of it (invites.h). */
static enum err recover(struct invites *v)
{
	struct node *n = v->node;
	enum err e = ERR_OK;

	for (size_t i = 0; i < v->n && e == ERR_OK; i++) {
		struct invite_entry *x = v->list[i];
		const struct pin *pin = x->by.hex[0] && !x->spent_ms ? pins_get(n->p.pins, &x->by) : NULL;

		if (!x->by.hex[0] || x->spent_ms)
			continue;
		if (pin && strcmp(pin->via, "invite") == 0)
			x->spent_ms = env_wall(n->env) ? env_wall(n->env) : 1;
		else
			x->by.hex[0] = '\0';
		log_info("invite-claim-settled invite=%.8s spent=%d", x->id, x->spent_ms != 0);
		e = invites_write(v, x);
	}
	if (e == ERR_OK && v->n)
		node_store_soft(n);
	return e;
}

enum err invites_new(struct node *n)
{
	struct invites *v = calloc(1, sizeof *v);
	enum err e;

	if (!v)
		return ERR_NOMEM;
	v->node = n;
	n->invites = v;
	invites_timers(v);
	e = store_kv_each(n->p.store, SPACE, load, v);
	if (e == ERR_OK)
		e = recover(v);
	if (e == ERR_OK)
		sweep(v);
	return e;
}

void invites_free(struct node *n)
{
	struct invites *v = n->invites;

	if (!v)
		return;
	invites_stop_following(v);
	while (v->n)
		free(v->list[--v->n]);
	free(v->list);
	free(v);
	n->invites = NULL;
}

size_t invites_count(const struct node *n)
{
	return n->invites ? n->invites->n : 0;
}

const struct invite_entry *invites_at(const struct node *n, size_t i)
{
	return n->invites && i < n->invites->n ? n->invites->list[i] : NULL;
}

/* --- making and revoking -------------------------------------------------------------------------------------- */
static enum err refuse_wish(struct node *n, const struct invite_wish *w, struct fault *f)
{
	if (n->c.policy->im2 == IM2_REQUIRE) {
		fault_set(f, ERR_WRONG_STATE, EXIT_POLICY, "this node requires im2, and an invite travels over the old wire");
		fault_means(f, "nobody could use it here");
		fault_next(f, "ironmesh pair");
		return ERR_WRONG_STATE;
	}
	if (!invite_endpoint_valid(w->endpoint) || strncmp(w->endpoint, "rns:", 4) == 0) {
		char safe[80];

		fault_set(f, ERR_USAGE, EXIT_USAGE, "'%s' is not host:port", text_safe(bytes_str(w->endpoint), safe, sizeof safe));
		fault_means(f, "it is where the other machine reaches this one");
		fault_next(f, "ironmesh invite create --endpoint 192.0.2.7:8765");
		return ERR_USAGE;
	}
	if (!invite_profile_valid(w->profile)) {
		fault_set(f, ERR_USAGE, EXIT_USAGE, "the profile is one of lan, homelab, lora, offline, tactical");
		fault_next(f, "ironmesh invite create --profile lan");
		return ERR_USAGE;
	}
	if (w->ttl_ms > INVITE_LIFE_MAX_MS || (w->ttl_ms && w->ttl_ms < 1000)) {
		fault_set(f, ERR_USAGE, EXIT_USAGE, "an invite lives from a second to a day");
		fault_next(f, "ironmesh invite create --ttl 15m");
		return ERR_USAGE;
	}
	if (env_wall(n->env) < CLOCK_PLAUSIBLE_MS) {
		fault_set(f, ERR_WRONG_STATE, EXIT_RETRY, "the clock of this machine is wrong, and an invite has an expiry");
		fault_next(f, "set the clock, then repeat the command");
		return ERR_WRONG_STATE;
	}
	if (n->invites->n >= INVITES_MAX) {
		fault_set(f, ERR_FULL, EXIT_RETRY, "there are %d invites already", INVITES_MAX);
		fault_means(f, "each is kept for an hour after its expiry");
		fault_next(f, "ironmesh invite list");
		return ERR_FULL;
	}
	return ERR_OK;
}

static enum err committed(struct node *n, enum err e, struct fault *f)
{
	if (e == ERR_OK)
		e = node_commit(n);
	if (e != ERR_OK)
		fault_set(f, e, EXIT_RETRY, "the ledger of invites cannot be written: %s", err_word(e));
	return e;
}

enum err invites_create(struct node *n, const struct invite_wish *w, struct buf *token, struct invite_entry *out, struct fault *f)
{
	struct invites *v = n->invites;
	struct invite_entry x = { .trust = w->trust }, *kept;
	struct invite t = { 0 };
	size_t before = token->n;
	enum err e;

	sweep(v);
	e = refuse_wish(n, w, f);
	if (e != ERR_OK)
		return e;
	env_random(n->env, x.nonce, sizeof x.nonce);
	memcpy(t.nonce, x.nonce, sizeof t.nonce);
	hex_encode(BYTES_ARR(x.nonce), x.id);
	t.issued_ms = x.issued_ms = env_wall(n->env);
	t.expires_ms = x.expires_ms = x.issued_ms + (w->ttl_ms ? w->ttl_ms : invite_life_ms(w->profile));
	snprintf(x.endpoint, sizeof x.endpoint, "%s", w->endpoint);
	snprintf(x.profile, sizeof x.profile, "%s", w->profile);
	snprintf(t.endpoint, sizeof t.endpoint, "%s", w->endpoint);
	snprintf(t.profile, sizeof t.profile, "%s", w->profile);
	if (strlen(w->allowed_peers) >= sizeof t.allowed_peers)
		return fault_set(f, ERR_USAGE, EXIT_USAGE, "the list of allowed peers is longer than %zu characters",
				 sizeof t.allowed_peers - 1);
	snprintf(t.allowed_peers, sizeof t.allowed_peers, "%s", w->allowed_peers);
	e = invite_write(n->p.keyring, &t, token);
	if (e == ERR_MALFORMED) {
		fault_set(f, ERR_USAGE, EXIT_USAGE, "the list of allowed peers is no list of names between commas");
		fault_next(f, "ironmesh invite create --allow alice,bob");
		return ERR_USAGE;
	}
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_RETRY, "the invite cannot be made: %s", err_word(e));
	kept = insert(v, &x);
	e = kept ? committed(n, invites_write(v, kept), f) : fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory for an invite");
	if (e != ERR_OK) {
		if (kept)
			drop(v, kept);
		wipe(token->p + before, token->n - before);
		token->n = before;
		return e;
	}
	log_info("invite-created invite=%.8s for_s=%llu trust=%d", x.id,
		 (unsigned long long)((x.expires_ms - x.issued_ms) / 1000), x.trust);
	audit_note(n->p.audit, "INVITE_CREATED", (struct bytes){ 0 }, "invite", x.id, "trust", x.trust ? "yes" : "no", NULL);
	if (out)
		*out = x;
	return ERR_OK;
}

enum err invites_revoke(struct node *n, const char *id, struct invite_entry *out, struct fault *f)
{
	struct invites *v = n->invites;
	struct invite_entry *x = NULL;
	size_t len = strlen(id), hits = 0;
	enum err e;

	for (size_t i = 0; i < v->n && len >= 4; i++)
		if (strncmp(v->list[i]->id, id, len) == 0) {
			x = v->list[i];
			hits++;
		}
	if (hits != 1) {
		char safe[80];

		fault_set(f, hits ? ERR_AMBIGUOUS : ERR_NOTFOUND, EXIT_USAGE, hits ? "more than one invite begins with %s" :
			  "there is no invite %s", text_safe(bytes_str(id), safe, sizeof safe));
		fault_means(f, "its id is the 32 digits that the list shows, or at least the first 4");
		fault_next(f, "ironmesh invite list");
		return hits ? ERR_AMBIGUOUS : ERR_NOTFOUND;
	}
	if (x->spent_ms) {
		fault_set(f, ERR_WRONG_STATE, EXIT_GENERIC, "it was used already, by %s", x->by.hex);
		fault_next(f, "ironmesh peers block %s", x->by.hex);
		return ERR_WRONG_STATE;
	}
	if (!x->revoked_ms) {
		x->revoked_ms = env_wall(n->env);
		e = committed(n, invites_write(v, x), f);
		if (e != ERR_OK) {
			x->revoked_ms = 0;
			return e;
		}
		log_info("invite-revoked invite=%.8s", x->id);
		audit_note(n->p.audit, "INVITE_REVOKED", (struct bytes){ 0 }, "invite", x->id, NULL);
	}
	*out = *x;
	return ERR_OK;
}
