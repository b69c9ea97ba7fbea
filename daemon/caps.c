/* caps.c -- the registry: what others said they can do, and what we can. */
#include "daemon/caps_internal.h"

#include <fnmatch.h>
#include <stdlib.h>

#include "base/text.h"
#include "protocol/im2/cap.h"
#include "protocol/im2/record.h"
#include "store/kv.h"
#include "trust/pins_caps.h"

#define SPACE_CAPS "caps"
#define OWN_KEY BYTES_LIT("own")
#define OWN_MAX 14000 /* bytes together: with 5 more of each they fit a record, 256 of them too (im2.md 13.1) */

static int by_text(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	return strcmp(*x, *y);
}

size_t caps_sort(const char **names, size_t n)
{
	size_t kept = 0;

	if (n)
		qsort(names, n, sizeof *names, by_text);
	for (size_t i = 0; i < n; i++)
		if (!kept || strcmp(names[kept - 1], names[i]) != 0)
			names[kept++] = names[i];
	return kept;
}

uint64_t caps_source(const struct node_id *from)
{
	uint64_t v;

	memcpy(&v, from->hex, sizeof v);
	return v;
}

static void set_clear(struct caps *k, struct cap_set *s)
{
	k->bytes -= s->bytes + s->payload_n;
	free(s->text);
	free(s->payload);
	*s = (struct cap_set){ 0 };
}

static void evicted(void *ctx, struct bytes key, void *value)
{
	set_clear(ctx, value);
}

struct cap_set *caps_of(struct caps *k, const struct node_id *id)
{
	return map_peek(k->sets, bytes_of(id->hex, NODE_ID_LEN));
}

/* One piece of memory for all names. */
static bool set_fill(struct caps *k, struct cap_set *s, const char *const *names, size_t n)
{
	size_t bytes = 0, at = 0;
	char *text;

	for (size_t i = 0; i < n; i++)
		bytes += strlen(names[i]) + 1;
	if (k->bytes + bytes > CAPS_BYTES_MAX + s->bytes)
		return false;
	text = bytes ? malloc(bytes) : NULL;
	if (bytes && !text)
		return false;
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(names[i]) + 1;

		memcpy(text + at, names[i], len);
		at += len;
	}
	k->bytes = k->bytes - s->bytes + bytes;
	free(s->text);
	s->text = text;
	s->bytes = (uint32_t)bytes;
	s->n = (uint16_t)n;
	return true;
}

/* The trust store compares it with what the operator accepted. */
static void pinned(struct node *n, const struct node_id *id, const char *const *names, size_t count)
{
	enum caps_news news = CAPS_SAME;

	if (pins_caps_observe(n->p.pins, id, names, count, n->c.cap_change_holds, env_wall(n->env), &news) != ERR_OK ||
	    news == CAPS_SAME)
		return;
	node_pins_flush(n, "capabilities");
	if (news == CAPS_BASELINE) {
		audit_note(n->p.audit, "PEER_CAP_BASELINE", bytes_str(id->hex), "peer_id", id->hex, NULL);
		return;
	}
	if (news == CAPS_CHANGED)
		log_warn("peer-capabilities-changed peer=%s next=\"ironmesh trust cap-diff %s\"", id->hex, peer_name(n, id));
	audit_note(n->p.audit, "PEER_CAP_SET_CHANGED", bytes_str(id->hex), "peer_id", id->hex, "news",
		   news == CAPS_CHANGED ? "changed" : "back", NULL);
	node_simple_event(n, "peer.capabilities", id, news == CAPS_CHANGED ? "changed" : "as accepted");
}

bool caps_learn(struct caps *k, const struct node_id *id, const char *const *names, size_t n, uint64_t source,
		struct cap_set **out)
{
	struct node *node = k->node;
	bool created;
	struct cap_set *s;
	void *slot;

	if (map_put(k->sets, bytes_of(id->hex, NODE_ID_LEN), source, &slot, &created) != ERR_OK)
		return false;
	s = slot;
	if (!set_fill(k, s, names, n)) {
		if (created)
			map_del(k->sets, bytes_of(id->hex, NODE_ID_LEN));
		node->n.caps_refused++;
		return false;
	}
	s->expires_ms = env_now(node->env) + CAPS_LIFE_MS;
	if (!timer_armed(&k->sweep))
		timer_in(node->env, &k->sweep, CAPS_LIFE_MS + 1);
	node->n.caps_learned += created;
	pinned(node, id, names, n);
	*out = s;
	return true;
}

/* --- a record ------------------------------------------------------------------------------------------ */
void caps_record(struct conn *c, const struct im2_record *rec)
{
	struct node *n = c->node;
	struct caps *k = n->caps;
	struct bytes in[IM2_CAPS_MAX];
	const char *names[IM2_CAPS_MAX];
	struct node_id author;
	struct cap_set *s;
	struct buf text;
	size_t count;

	node_id_of(rec->author, &author);
	if (!k || node_id_eq(&author, keyring_id(n->p.keyring)) || im2_cap_read(rec->body, in, &count) != IM2_FINE)
		return;
	buf_init(&text, IM2_CAPS_MAX * (IM2_CAP_TEXT_MAX + 1));
	(void)!buf_reserve(&text, IM2_CAPS_MAX * (IM2_CAP_TEXT_MAX + 1));
	for (size_t i = 0; text.err == ERR_OK && i < count; i++) {
		names[i] = (const char *)text.p + text.n;
		buf_add(&text, in[i]);
		buf_add_u8(&text, 0);
	}
	if (text.err == ERR_OK) {
		count = caps_sort(names, count);
		if (caps_learn(k, &author, names, count, caps_source(&c->peer->id), &s))
			s->gen = rec->gen;
		caps_pass(c, rec);
	}
	buf_fini(&text);
}

/* --- ours ------------------------------------------------------------------------------------------------ */
static enum err bad_name(const char *name, struct fault *f)
{
	char safe[CAP_TEXT_MAX * 4];

	fault_set(f, ERR_USAGE, EXIT_USAGE, "'%s' is not a capability", text_safe(bytes_str(name), safe, sizeof safe));
	fault_means(f, "a capability is namespace:name, 3 to %d bytes of UTF-8 without spaces or control characters",
		    CAP_TEXT_MAX);
	fault_next(f, "ironmesh caps add llm:llama3");
	return ERR_USAGE;
}

/* Characters that a shell pattern, a list or a terminal would take for something else are kept out of names. */
static bool name_fine(const char *name)
{
	const char *colon = strchr(name, ':');
	size_t len = strlen(name);

	if (!colon || colon == name || !colon[1] || len > CAP_TEXT_MAX || !utf8_valid(bytes_str(name)))
		return false;
	for (const unsigned char *p = (const unsigned char *)name; *p; p++)
		if (*p <= ' ' || *p == 0x7f || *p == ',' || *p == '*' || *p == '?' || *p == '[' || *p == ']')
			return false;
	return true;
}

enum err caps_set(struct node *n, const char *const *given, size_t count, struct fault *f)
{
	struct caps *k = n->caps;
	const char *names[2 * CAPS_MAX];
	struct buf text;
	size_t kept;
	enum err e;

	if (count > 2 * CAPS_MAX)
		return fault_set(f, ERR_LIMIT, EXIT_USAGE, "a node has at most %d capabilities", CAPS_MAX);
	for (size_t i = 0; i < count; i++)
		if (!name_fine(given[i]))
			return bad_name(given[i], f);
	if (count) /* none: given may be NULL */
		memcpy(names, given, count * sizeof *names);
	kept = caps_sort(names, count);
	if (kept > CAPS_MAX)
		return fault_set(f, ERR_LIMIT, EXIT_USAGE, "a node has at most %d capabilities", CAPS_MAX);
	buf_init(&text, OWN_MAX);
	for (size_t i = 0; i < kept; i++) {
		if (i)
			buf_add_u8(&text, '\n');
		buf_add_str(&text, names[i]);
	}
	if (text.err != ERR_OK) {
		e = fault_set(f, ERR_LIMIT, EXIT_USAGE, "the capabilities are longer than %d bytes together", OWN_MAX);
	} else {
		e = store_kv_put(n->p.store, SPACE_CAPS, OWN_KEY, buf_bytes(&text));
		if (e == ERR_OK)
			e = node_commit(n);
		else if (e == ERR_STORE)
			node_store_failed(n);
		if (e == ERR_LIMIT)
			fault_set(f, e, EXIT_USAGE, "the capabilities are longer than %d bytes together", OWN_MAX);
		else if (e != ERR_OK)
			fault_set(f, e, EXIT_RETRY, "the capabilities could not be written to disk; nothing changed");
	}
	if (e == ERR_OK && set_fill(k, &k->own, names, kept))
		caps_changed(k);
	buf_fini(&text);
	return e;
}

static enum err load_own(struct caps *k)
{
	const char *names[CAPS_MAX];
	size_t n = 0;
	struct buf text;
	char *p;
	enum err e;

	buf_init(&text, KV_VALUE_MAX + 1);
	e = store_kv_get(k->node->p.store, SPACE_CAPS, OWN_KEY, &text);
	if (e == ERR_OK && text.n) {
		p = (char *)(uintptr_t)buf_cstr(&text);
		for (char *next; p && n < CAPS_MAX; p = next) {
			next = strchr(p, '\n');
			if (next)
				*next++ = 0;
			names[n++] = p;
		}
		if (set_fill(k, &k->own, names, n))
			caps_changed(k);
	}
	buf_fini(&text);
	return e == ERR_NOTFOUND ? ERR_OK : e;
}

/* --- finding --------------------------------------------------------------------------------------------- */
struct look {
	struct caps *k;
	const char *glob;
	caps_fn fn;
	void *ctx;
	uint64_t now;
	bool over;
};

static void look_in(struct look *l, const struct node_id *who, const struct cap_set *s)
{
	uint64_t left = s->expires_ms == UINT64_MAX ? UINT64_MAX : s->expires_ms - l->now;
	const char *p = s->text;

	for (unsigned i = 0; i < s->n && !l->over; i++, p += strlen(p) + 1)
		if (!l->glob || fnmatch(l->glob, p, FNM_NOESCAPE) == 0)
			l->over = !l->fn(l->ctx, who, p, left);
}

static bool look_at(void *ctx, struct bytes key, void *value)
{
	struct look *l = ctx;
	const struct cap_set *s = value;
	struct node_id who = { 0 };

	memcpy(who.hex, key.p, NODE_ID_LEN);
	if (!l->over && s->expires_ms > l->now)
		look_in(l, &who, s);
	return true;
}

void caps_find(struct node *n, const char *glob, caps_fn fn, void *ctx)
{
	struct caps *k = n->caps;
	struct look l = { .k = k, .glob = glob, .fn = fn, .ctx = ctx, .now = env_now(n->env) };

	if (!k)
		return;
	look_in(&l, keyring_id(n->p.keyring), &k->own);
	map_each(k->sets, look_at, &l);
}

size_t caps_bytes(const struct node *n)
{
	return n->caps ? n->caps->bytes + map_count(n->caps->sets) * (sizeof(struct cap_set) + NODE_ID_LEN) : 0;
}

/* --- birth, end, time -------------------------------------------------------------------------------------- */
static bool sweep_one(void *ctx, struct bytes key, void *value)
{
	struct caps *k = ctx;
	struct cap_set *s = value;

	if (s->expires_ms > env_now(k->node->env))
		return true;
	k->node->n.caps_expired++;
	set_clear(k, s);
	return false;
}

static void sweep_due(void *ctx)
{
	struct caps *k = ctx;

	map_each(k->sets, sweep_one, k);
	if (map_count(k->sets))
		timer_in(k->node->env, &k->sweep, CAPS_LIFE_MS / 4);
}

enum err caps_new(struct node *n)
{
	struct map_opts mo = { .capacity = CAPS_AUTHORS_MAX, .per_source = CAPS_AUTHORS_MAX / CAPS_SHARE,
			       .policy = MAP_EVICT_LRU, .value_size = sizeof(struct cap_set), .evicted = evicted };
	struct caps *k = calloc(1, sizeof *k);

	if (!k)
		return ERR_NOMEM;
	n->caps = k;
	k->node = n;
	k->own.expires_ms = UINT64_MAX;
	timer_init(&k->timer, caps_due, k);
	timer_init(&k->sweep, sweep_due, k);
	buf_init(&k->record, IM2_RECORD_MAX);
	bucket_init(&k->passes, CAPS_PASS_PER_S, CAPS_PASS_BURST, env_now(n->env));
	env_random(n->env, mo.hash_key, sizeof mo.hash_key);
	mo.ctx = k;
	k->sets = map_new(&mo);
	return k->sets ? load_own(k) : ERR_NOMEM;
}

static bool drop_one(void *ctx, struct bytes key, void *value)
{
	set_clear(ctx, value);
	return false;
}

void caps_free(struct node *n)
{
	struct caps *k = n->caps;

	if (!k)
		return;
	timer_stop(n->env, &k->timer);
	timer_stop(n->env, &k->sweep);
	if (k->sets)
		map_each(k->sets, drop_one, k);
	map_free(k->sets);
	set_clear(k, &k->own);
	buf_fini(&k->record);
	free(k);
	n->caps = NULL;
}
