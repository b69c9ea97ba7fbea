#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <dirent.h>
#include <sodium.h>
#include <unistd.h>

#include "base/secret.h"
#include "base/text.h"
#include "daemon/records_internal.h"
#include "protocol/im2/content.h"
#include "store/kv.h"
#include "transports/loopback.h"

/* Up to four nodes over the loopback transport, their databases and trust stores in files. */
#define SIDES 4
#define WORDS 64
#define WALL 1770000000000u
#define HOUR UINT64_C(3600000)

struct side {
	struct world *w;
	char name[16], address[16];
	struct keyring *keyring;
	struct pins *pins;
	struct store *store;
	struct audit *audit;
	struct policy policy;
	struct node *node;
	struct transport *tp;
	char words[WORDS][40]; /* of the audit */
	size_t words_n;
};

struct world {
	uint64_t now_ms;
	struct env env;
	struct loopnet *net;
	char dir[64];
	struct side side[SIDES];
	struct keyring *admin[3];
	uint8_t admins[3][ED_BYTES];
};

static uint64_t now_ms(void *ctx)
{
	return ((struct world *)ctx)->now_ms;
}

static uint64_t wall_ms(void *ctx)
{
	return WALL + now_ms(ctx);
}

static void chance(void *ctx, void *out, size_t n)
{
	(void)ctx;
	randombytes_buf(out, n);
}

static void heard(void *ctx, const char *event)
{
	struct side *s = ctx;

	if (s->words_n < WORDS)
		snprintf(s->words[s->words_n++], sizeof s->words[0], "%s", event);
}

static unsigned audited(const struct side *s, const char *word)
{
	unsigned k = 0;

	for (size_t i = 0; i < s->words_n; i++)
		k += strcmp(s->words[i], word) == 0;
	return k;
}

static const char *file_of(struct side *s, const char *what)
{
	static char path[128];

	snprintf(path, sizeof path, "%s/%s.%s", s->w->dir, s->name, what);
	return path;
}

static void side_start(struct side *s)
{
	static const uint8_t mesh_key[32] = { 7 };
	struct world *w = s->w;
	struct node_config nc = { .passphrase = BYTES_LIT("a passphrase of the mesh"), .policy = &s->policy,
				  .revoke_quorum = 2, .revoke_admins = w->admins, .revoke_admins_n = 3 };
	struct store_config sc = { .env = &w->env, .relaxed = true };
	struct node_parts parts = { .env = &w->env, .keyring = s->keyring };
	struct transport_sink sink;
	struct secret wrap;

	sc.path = file_of(s, "db");
	assert_int_equal(keyring_derive(s->keyring, DERIVE_DB_WRAP, &wrap), ERR_OK);
	sc.wrap_key = secret_bytes(&wrap);
	assert_int_equal(store_open(&sc, &s->store, NULL), ERR_OK);
	secret_free(&wrap);
	assert_int_equal(pins_load(file_of(s, "pins"), s->keyring, &w->env, &s->pins, NULL), ERR_OK);
	assert_int_equal(audit_open(NULL, s->keyring, &w->env, &s->audit, NULL), ERR_OK);
	audit_observe(s->audit, heard, s);
	policy_init(&s->policy);
	snprintf(nc.name, sizeof nc.name, "%s", s->name);
	nc.limits.connects_per_s = -1;
	parts.pins = s->pins;
	parts.store = s->store;
	parts.audit = s->audit;
	assert_int_equal(node_new(&nc, &parts, &s->node), ERR_OK);
	assert_int_equal(node_mesh_key(s->node, 0, BYTES_ARR(mesh_key)), ERR_OK);
	sink = node_sink(s->node);
	assert_int_equal(loopback_new(w->net, s->address, &sink, &s->tp), ERR_OK);
	node_attach(s->node, s->tp);
}

static void side_stop(struct side *s)
{
	if (!s->node)
		return;
	loopback_kill(s->tp);
	assert_int_equal(node_commit(s->node), ERR_OK);
	node_detach(s->node, s->tp);
	node_free(s->node);
	tp_free(s->tp);
	s->node = NULL;
	policy_fini(&s->policy);
	store_close(s->store);
	audit_close(s->audit);
	assert_int_equal(pins_flush(s->pins, NULL), ERR_OK);
	pins_free(s->pins);
}

static void turns(struct world *w)
{
	for (int i = 0; i < 64; i++) {
		timers_run(&w->env);
		for (int k = 0; k < SIDES; k++)
			for (int t = 0; t < 8 && w->side[k].node && node_wants_turn(w->side[k].node); t++)
				node_turn(w->side[k].node);
	}
}

static void pass(struct world *w, uint64_t ms)
{
	uint64_t end = w->now_ms + ms, step = ms > 120000 ? 20000 : 100;

	while (w->now_ms < end) {
		w->now_ms += step < end - w->now_ms ? step : end - w->now_ms;
		turns(w);
	}
}

static const struct node_id *id_of(const struct side *s)
{
	return keyring_id(s->keyring);
}

static void know(struct side *a, struct side *b)
{
	assert_int_equal(pins_pin(a->pins, keyring_ed(b->keyring), b->name, wall_ms(a->w), NULL), ERR_OK);
	assert_int_equal(pins_pin(b->pins, keyring_ed(a->keyring), a->name, wall_ms(a->w), NULL), ERR_OK);
	assert_int_equal(pins_flush(a->pins, NULL), ERR_OK);
	assert_int_equal(pins_flush(b->pins, NULL), ERR_OK);
}

static struct conn *conn_to(struct side *a, const struct side *b)
{
	struct peer *p = peer_find(a->node, id_of(b));

	return p ? p->conn : NULL;
}

static void meet(struct side *a, struct side *b)
{
	assert_int_equal(node_add_target(a->node, b->address, NULL), ERR_OK);
	node_dial_all(a->node);
	pass(a->w, 3000);
	assert_non_null(conn_to(a, b));
	assert_non_null(conn_to(b, a));
	assert_true(conn_to(a, b)->im2);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	assert_int_equal(secret_init_library(), ERR_OK);
	w->now_ms = 1000;
	w->env = (struct env){ .ctx = w, .now_ms = now_ms, .wall_ms = wall_ms, .random = chance };
	snprintf(w->dir, sizeof w->dir, "/tmp/ironmesh-records-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	w->net = loopnet_new(&w->env);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(keyring_generate(&w->env, &w->admin[i]), ERR_OK);
		memcpy(w->admins[i], keyring_ed(w->admin[i]), ED_BYTES);
	}
	for (int i = 0; i < SIDES; i++) {
		struct side *s = &w->side[i];

		s->w = w;
		snprintf(s->name, sizeof s->name, "n%d", i);
		snprintf(s->address, sizeof s->address, "n%d:1", i);
		assert_int_equal(keyring_generate(&w->env, &s->keyring), ERR_OK);
		side_start(s);
	}
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	DIR *dir = opendir(w->dir);
	struct dirent *d;
	char path[400];

	for (int i = 0; i < SIDES; i++) {
		side_stop(&w->side[i]);
		keyring_free(w->side[i].keyring);
	}
	for (int i = 0; i < 3; i++)
		keyring_free(w->admin[i]);
	loopnet_free(w->net);
	assert_int_equal(timers_next(&w->env), UINT64_MAX);
	timers_fini(&w->env);
	while ((d = readdir(dir))) {
		snprintf(path, sizeof path, "%s/%s", w->dir, d->d_name);
		if (d->d_name[0] != '.')
			unlink(path);
	}
	closedir(dir);
	rmdir(w->dir);
	free(w);
	return 0;
}

/* `from` says this to `to`, whatever it is. */
static void say(struct side *from, struct side *to, uint16_t tag, struct bytes value)
{
	struct conn *c = conn_to(from, to);

	assert_non_null(c);
	assert_int_equal(im2_link_item(c->session, tag, value), ERR_OK);
	conn_pump(c);
	pass(from->w, 200);
}

/* What `s` holds of `whose`, copied. */
static size_t held(struct side *s, const struct side *whose, uint8_t out[static IM2_RECORD_MAX])
{
	struct im2_seal_to to;

	if (records_seal_to(s->node, id_of(whose), &to) != ERR_OK || !to.prekey_record.n)
		return 0;
	memcpy(out, to.prekey_record.p, to.prekey_record.n);
	return to.prekey_record.n;
}

static uint64_t held_generation(struct side *s, const struct side *whose)
{
	uint8_t raw[IM2_RECORD_MAX];
	size_t n = held(s, whose, raw);
	struct im2_record rec;

	return n && im2_record_parse(bytes_of(raw, n), &rec) == IM2_FINE ? rec.gen : 0;
}

static void prekey_by(struct side *author, uint64_t gen, uint8_t mark, struct buf *out)
{
	uint8_t id[4] = { mark, 1, 2, 3 }, x[32] = { 9, mark };
	struct im2_fields f = { .schema = &im2_prekey };
	struct buf body;

	buf_init(&body, 128);
	im2_set_b(&f, IM2_PREKEY_ID, BYTES_ARR(id));
	im2_set_b(&f, IM2_PREKEY_X25519, BYTES_ARR(x));
	im2_write(&im2_prekey, &f, &body);
	buf_init(out, IM2_RECORD_MAX);
	im2_record_write(author->keyring, IM2_REC_PREKEY_T, gen, wall_ms(author->w), 86400, buf_bytes(&body), out);
	assert_int_equal(out->err, ERR_OK);
	buf_fini(&body);
}

static const struct pin *pin_at(struct side *s, const struct node_id *id)
{
	return pins_get(s->pins, id);
}

/* --- prekeys --------------------------------------------------------------------------------------------- */
static void a_prekey_reaches_the_other_side_and_survives_both_restarts(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	uint8_t first[IM2_RECORD_MAX], again[IM2_RECORD_MAX];
	struct im2_prekey_said said;
	struct im2_record rec;
	size_t n;

	know(a, b);
	assert_int_equal(held(a, b, first), 0);
	meet(a, b);
	n = held(a, b, first);
	assert_true(n > 0);
	assert_true(held(b, a, again) > 0);
	assert_int_equal(im2_record_parse(bytes_of(first, n), &rec), IM2_FINE);
	assert_int_equal(im2_prekey_of(&rec, &said), IM2_FINE);
	side_stop(a);
	side_stop(b);
	side_start(a);
	side_start(b);
	assert_int_equal(held(a, b, again), n);
	assert_memory_equal(first, again, n);
	assert_non_null(im2_prekeys_find(records_prekeys(b->node), said.id));
	/* The same key is stated again, not a new one. */
	meet(a, b);
	assert_int_equal(held(a, b, again), n);
	assert_memory_equal(first, again, n);
	assert_int_equal(audited(a, "RECORD_EQUIVOCATION"), 0);
}

static bool who(void *ctx, const uint8_t x[static 32], uint8_t ed[static ED_BYTES])
{
	struct side *s = ctx;
	const struct pin *pin = pins_by_x(s->pins, x, NULL);

	if (pin)
		memcpy(ed, pin->ed, ED_BYTES);
	return pin != NULL;
}

struct object {
	struct buf rt, body;
};

static void seal(struct side *from, struct side *to, const char *text, struct object *o)
{
	struct message m = { .has_wire_id = true, .wire_id = { 1, 2, 3 }, .body = bytes_str(text),
			     .created_ms = wall_ms(from->w) };
	struct im2_seal_to st;
	struct im2_sealed sealed;
	struct buf smsg, items;

	buf_init(&smsg, 4096);
	buf_init(&items, 8192);
	buf_init(&o->rt, IM2_RT_MAX);
	buf_init(&o->body, IM2_ROUTED_BODY_MAX);
	assert_int_equal(im2_smsg_write(from->keyring, &m, 1, keyring_ed(to->keyring), &smsg), ERR_OK);
	im2_item_add(&items, IM2_ITEM_SMSG, buf_bytes(&smsg));
	assert_int_equal(records_seal_to(from->node, id_of(to), &st), ERR_OK);
	st.ttl_s = 3600;
	st.prio = 1;
	assert_int_equal(im2_seal(&from->w->env, from->keyring, &st, wall_ms(from->w), buf_bytes(&items), &o->rt,
				  &o->body, &sealed), IM2_FINE);
	assert_false(sealed.no_fs);
	buf_fini(&smsg);
	buf_fini(&items);
}

static enum im2_refusal open_at(struct side *to, const struct side *from, const struct object *o, const char *text)
{
	struct im2_opened opened;
	struct buf plain;
	enum im2_refusal why;

	buf_init(&plain, IM2_SEAL_PLAIN_MAX);
	why = im2_open_sealed(to->keyring, records_prekeys(to->node), buf_bytes(&o->rt), buf_bytes(&o->body), who, to,
			      &plain, &opened);
	if (why == IM2_FINE) {
		assert_memory_equal(opened.author_ed, keyring_ed(from->keyring), ED_BYTES);
		assert_non_null(memmem(opened.items.p, opened.items.n, text, strlen(text)));
	}
	buf_fini(&plain);
	return why;
}

static bool count_one(void *ctx, struct bytes key, struct bytes value)
{
	(void)key, (void)value;
	++*(unsigned *)ctx;
	return true;
}

static unsigned stored(struct side *s, const char *space)
{
	unsigned n = 0;

	assert_int_equal(store_kv_each(s->store, space, count_one, &n), ERR_OK);
	return n;
}

static void a_sealed_object_opens_until_its_prekey_is_erased(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	struct object o;
	uint64_t gen;

	know(a, b);
	meet(a, b);
	seal(a, b, "to who is not there", &o);
	gen = held_generation(a, b);
	assert_int_equal(open_at(b, a, &o, "to who is not there"), IM2_FINE);
	pass(w, 7 * HOUR);
	assert_true(held_generation(a, b) > gen);
	assert_int_equal(stored(b, SPACE_PREKEY), 2);
	assert_int_equal(open_at(b, a, &o, "to who is not there"), IM2_FINE);
	side_stop(b);
	side_start(b);
	assert_int_equal(open_at(b, a, &o, "to who is not there"), IM2_FINE);
	side_stop(a);
	pass(w, 42 * HOUR);
	assert_int_equal(open_at(b, a, &o, "to who is not there"), IM2_E_INDEX);
	side_stop(b);
	side_start(b);
	assert_int_equal(open_at(b, a, &o, "to who is not there"), IM2_E_INDEX);
	/* Nor is it on the disk: the routing header names it. */
	struct im2_rt rt;
	uint8_t place[RAW_ID + 4];
	struct buf secret;

	assert_int_equal(im2_rt_parse(buf_bytes(&o.rt), &rt), IM2_FINE);
	raw_id(id_of(b), place);
	memcpy(place + RAW_ID, rt.prekey, 4);
	buf_init(&secret, 256);
	assert_int_equal(store_kv_get(b->store, SPACE_PREKEY, BYTES_ARR(place), &secret), ERR_NOTFOUND);
	buf_fini(&secret);
	buf_fini(&o.rt);
	buf_fini(&o.body);
}

static void a_generation_is_on_disk_before_its_record_leaves(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	uint8_t raw[IM2_RECORD_MAX];

	know(a, b);
	assert_int_equal(node_add_target(a->node, b->address, NULL), ERR_OK);
	node_dial_all(a->node);
	for (int i = 0; i < 100 && !held(a, b, raw); i++)
		pass(w, 100);
	/* B crashes now: what it said is what it has. */
	loopback_kill(b->tp);
	node_detach(b->node, b->tp);
	store_abandon(b->store);
	b->store = NULL;
	assert_true(held(a, b, raw) > 0);
	struct store_config sc = { .env = &w->env, .relaxed = true, .path = file_of(b, "db") };
	struct secret wrap;

	assert_int_equal(keyring_derive(b->keyring, DERIVE_DB_WRAP, &wrap), ERR_OK);
	sc.wrap_key = secret_bytes(&wrap);
	assert_int_equal(store_open(&sc, &b->store, NULL), ERR_OK);
	secret_free(&wrap);
	assert_int_equal(stored(b, SPACE_PREKEY), 1);
	assert_int_equal(stored(b, SPACE_GENERATION), 1);
	tp_free(b->tp);
	node_free(b->node);
	b->node = NULL;
	policy_fini(&b->policy);
	store_close(b->store);
	audit_close(b->audit);
	pins_free(b->pins);
}

static void an_older_generation_is_ignored(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	uint8_t first[IM2_RECORD_MAX];
	uint64_t gen;
	size_t n;

	know(a, b);
	meet(a, b);
	n = held(a, b, first);
	pass(w, 7 * HOUR);
	gen = held_generation(a, b);
	say(b, a, IM2_ITEM_RECORD, bytes_of(first, n));
	assert_int_equal(held_generation(a, b), gen);
	assert_int_equal(audited(a, "RECORD_EQUIVOCATION"), 0);
}

static void two_records_of_one_generation_are_kept_as_evidence(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	uint8_t first[IM2_RECORD_MAX], after[IM2_RECORD_MAX];
	struct buf other;
	size_t n;

	know(a, b);
	meet(a, b);
	n = held(a, b, first);
	prekey_by(b, held_generation(a, b), 5, &other);
	say(b, a, IM2_ITEM_RECORD, buf_bytes(&other));
	assert_int_equal(held(a, b, after), n);
	assert_memory_equal(first, after, n);
	assert_int_equal(audited(a, "RECORD_EQUIVOCATION"), 1);
	assert_int_equal(stored(a, SPACE_EVIDENCE), 2);
	buf_fini(&other);
}

static void what_another_life_of_ours_said_is_outbid(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	uint64_t gen;
	struct buf other;

	know(a, b);
	meet(a, b);
	gen = held_generation(b, a) + 1000;
	prekey_by(a, gen, 5, &other);
	say(b, a, IM2_ITEM_RECORD, buf_bytes(&other));
	pass(w, 2000);
	assert_int_equal(held_generation(b, a), gen + 1);
	assert_int_equal(audited(a, "OWN_RECORD_BEHIND"), 1);
	buf_fini(&other);
}

static void who_lacks_a_prekey_asks_for_it(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	uint8_t raw[IM2_RECORD_MAX];
	struct buf ask;

	know(a, b);
	know(a, c);
	assert_int_equal(pins_pin(c->pins, keyring_ed(b->keyring), b->name, wall_ms(w), NULL), ERR_OK);
	/* C can only seal when it knows the exchange key too, as it would from an earlier session. */
	assert_int_equal(pins_prove_x(c->pins, id_of(b), keyring_x25519(b->keyring), wall_ms(w), NULL), ERR_OK);
	meet(a, b);
	meet(a, c);
	assert_int_equal(held(c, b, raw), 0);
	buf_init(&ask, 128);
	im2_recreq_write(id_of(b), IM2_REC_PREKEY_T, (struct bytes){ 0 }, 0, &ask);
	/* A stranger does not learn from us what others said. */
	assert_int_equal(node_peer_pending(a->node, id_of(c), NULL), ERR_OK);
	say(c, a, IM2_ITEM_RECREQ, buf_bytes(&ask));
	assert_int_equal(held(c, b, raw), 0);
	assert_int_equal(node_peer_approve(a->node, id_of(c), NULL), ERR_OK);
	say(c, a, IM2_ITEM_RECREQ, buf_bytes(&ask));
	assert_true(held(c, b, raw) > 0);
	/* Lost on the way, it is asked for by itself. */
	im2_records_drop(b->node->records->cache, keyring_ed(a->keyring));
	assert_int_equal(held(b, a, raw), 0);
	records_peer(b->node->records, id_of(a))->ask_ms = w->now_ms;
	records_wake(b->node->records, w->now_ms);
	pass(w, 2000);
	assert_true(held(b, a, raw) > 0);
	buf_fini(&ask);
}

/* --- who pays ------------------------------------------------------------------------------------------------ */
static void who_brings_bad_records_pays_and_not_whom_they_name(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	uint64_t gen;
	struct buf forged, good;

	know(a, b);
	know(a, c);
	meet(a, b);
	meet(a, c);
	gen = held_generation(a, b);
	prekey_by(b, gen + 5, 5, &forged);
	forged.p[forged.n - 1] ^= 1;
	double c_had = records_peer(a->node->records, id_of(c))->records.tokens;
	double b_had = records_peer(a->node->records, id_of(b))->records.tokens;

	say(c, a, IM2_ITEM_RECORD, buf_bytes(&forged));
	assert_int_equal(node_counters(a->node)->records_refused, 1);
	assert_int_equal(held_generation(a, b), gen);
	assert_true(records_peer(a->node->records, id_of(c))->records.tokens < c_had - 8);
	assert_true(records_peer(a->node->records, id_of(b))->records.tokens >= b_had);
	assert_non_null(conn_to(a, c));
	prekey_by(b, gen + 1, 6, &good);
	say(b, a, IM2_ITEM_RECORD, buf_bytes(&good));
	assert_int_equal(held_generation(a, b), gen + 1);
	buf_fini(&forged);
	buf_fini(&good);
}

static void a_neighbour_that_floods_fills_nothing(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *c = &w->side[2], *x = &w->side[3];
	struct keyring *own = x->keyring;
	struct buf raw;

	know(a, c);
	meet(a, c);
	size_t before = im2_records_count(a->node->records->cache);

	for (int i = 0; i < 150; i++) {
		assert_int_equal(keyring_generate(&w->env, &x->keyring), ERR_OK);
		prekey_by(x, 1, 1, &raw);
		assert_int_equal(im2_link_item(conn_to(c, a)->session, IM2_ITEM_RECORD, buf_bytes(&raw)), ERR_OK);
		buf_fini(&raw);
		keyring_free(x->keyring);
	}
	x->keyring = own;
	conn_pump(conn_to(c, a));
	pass(w, 1000);
	assert_true(im2_records_count(a->node->records->cache) - before <= 45);
	/* Nothing of strangers goes to the disk. */
	assert_int_equal(stored(a, SPACE_RECORD), 1);
	assert_non_null(conn_to(a, c));
}

/* --- revocation ------------------------------------------------------------------------------------------------ */
static void a_self_revocation_ends_the_identity_everywhere(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	uint8_t raw[IM2_RECORD_MAX];
	struct buf revoke;

	know(a, b);
	know(a, c);
	know(b, c);
	meet(a, b);
	meet(a, c);
	buf_init(&revoke, IM2_RECORD_MAX);
	im2_revoke_self_write(b->keyring, 1, wall_ms(w), 1, &revoke);
	say(b, a, IM2_ITEM_RECORD, buf_bytes(&revoke));
	pass(w, 1000);
	assert_int_equal(pin_at(a, id_of(b))->state, PIN_REVOKED);
	assert_int_equal(audited(a, "PEER_REVOKED_SIGNED"), 1);
	assert_null(conn_to(a, b));
	assert_int_equal(held(a, b, raw), 0);
	/* A tells C, who trusts it: C never had a session with B. */
	pass(w, 2000);
	assert_int_equal(pin_at(c, id_of(b))->state, PIN_REVOKED);
	/* And C has said so: nothing is repeated. */
	assert_false(notices_open(a->node->records, conn_to(a, c), records_peer(a->node->records, id_of(c))));
	/* No handshake, now and after a restart. */
	pass(w, 60000);
	assert_null(conn_to(a, b));
	side_stop(a);
	side_start(a);
	assert_int_equal(node_add_target(b->node, a->address, NULL), ERR_OK);
	node_dial_all(b->node);
	pass(w, 30000);
	assert_null(conn_to(a, b));
	assert_int_equal(node_im2_counters(a->node)->handshakes_known, 0);
	assert_int_equal(audited(a, "PEER_REVOKED_SIGNED"), 1);
	assert_int_equal(stored(a, SPACE_RECORD), 2); /* the revocation, and the prekey of C */
	buf_fini(&revoke);
}

/* It is told why, writes nothing down here, and the unit that would name us does not come. */
static void is_kept_out(struct side *s, struct side *stranger)
{
	uint64_t first = node_im2_counters(stranger->node)->handshakes_first;
	uint64_t refused = node_counters(s->node)->admission_refused;
	struct target_view v;

	assert_int_equal(node_add_target(stranger->node, s->address, NULL), ERR_OK);
	node_dial_all(stranger->node);
	pass(s->w, 5000);
	assert_null(conn_to(s, stranger));
	assert_null(pin_at(s, id_of(stranger)));
	assert_true(node_counters(s->node)->admission_refused > refused);
	assert_int_equal(node_im2_counters(stranger->node)->handshakes_first, first);
	assert_null(pin_at(stranger, id_of(s)));
	assert_int_equal(node_targets(stranger->node, &v, 1), 1);
	assert_non_null(strstr(v.why, "denied"));
	assert_true(audited(s, "PEER_REFUSED") > 0);
}

static void a_stranger_that_was_revoked_is_kept_out(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	struct buf revoke;

	know(a, c);
	meet(a, c);
	buf_init(&revoke, IM2_RECORD_MAX);
	im2_revoke_self_write(b->keyring, 1, wall_ms(w), 1, &revoke);
	say(c, a, IM2_ITEM_RECORD, buf_bytes(&revoke));
	pass(w, 2000);
	assert_int_equal(stored(a, SPACE_REVOKED), 1);
	is_kept_out(a, b);
	side_stop(b);
	side_stop(a);
	side_start(a);
	side_start(b);
	is_kept_out(a, b);
	/* Nor does the word of the operator bring it back. */
	know(a, b);
	node_dial_all(b->node);
	pass(w, 5000);
	assert_null(conn_to(a, b));
	buf_fini(&revoke);
}

static void a_stranger_may_come_until_its_revocation_takes_effect(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	struct im2_fields f = { .schema = &im2_revoke };
	struct buf body, raw;

	know(a, c);
	meet(a, c);
	buf_init(&body, 256);
	buf_init(&raw, IM2_RECORD_MAX);
	im2_set_b(&f, IM2_REVOKE_TARGET, bytes_of(keyring_ed(b->keyring), ED_BYTES));
	im2_set_u(&f, IM2_REVOKE_REASON, 1);
	im2_set_u(&f, IM2_REVOKE_SCOPE, 1);
	im2_set_u(&f, IM2_REVOKE_EFFECTIVE, wall_ms(w) + HOUR);
	im2_write(&im2_revoke, &f, &body);
	im2_record_write(b->keyring, IM2_REC_REVOKE_T, 1, wall_ms(w), 0, buf_bytes(&body), &raw);
	say(c, a, IM2_ITEM_RECORD, buf_bytes(&raw));
	pass(w, 2000);
	side_stop(a);
	side_start(a);
	meet(b, a);
	pass(w, HOUR);
	assert_null(conn_to(a, b));
	assert_int_equal(pin_at(a, id_of(b))->state, PIN_REVOKED);
	assert_int_equal(audited(a, "PEER_REVOKED_SIGNED"), 1);
	buf_fini(&body);
	buf_fini(&raw);
}

static void strangers_cannot_crowd_out_what_is_revoked(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	struct records *r = a->node->records;
	struct im2_record rec = { .type = IM2_REC_REVOKE_T };
	struct im2_revocation v = { .scope = 1, .self = true }, quorum = { .scope = 1, .by_quorum = true };
	uint8_t first[ED_BYTES] = { 0 };

	memset(quorum.target, 0x77, sizeof quorum.target);
	revoked_add(r, &rec, &quorum, id_of(c));
	revoked_add(r, &rec, &v, id_of(b));
	for (int i = 1; i <= 2 * REVOKED_MAX; i++) {
		memcpy(v.target, &i, sizeof i);
		revoked_add(r, &rec, &v, id_of(c));
	}
	/* An eighth is what C may fill; the oldest of C went, and none of anybody else. */
	assert_int_equal(stored(a, SPACE_REVOKED), REVOKED_MAX / 8 + 2);
	assert_true(records_dead(a->node, v.target));
	assert_true(records_dead(a->node, first));
	assert_true(records_dead(a->node, quorum.target));
	side_stop(a);
	side_start(a);
	memset(v.target, 0x55, sizeof v.target);
	revoked_add(a->node->records, &rec, &v, id_of(c));
	assert_int_equal(stored(a, SPACE_REVOKED), REVOKED_MAX / 8 + 2);
	assert_true(records_dead(a->node, first));
	assert_true(records_dead(a->node, quorum.target));
}

static void revocation_of(struct world *w, struct side *target, const struct keyring *const *by, size_t n, uint64_t gen,
			  struct buf *out)
{
	struct im2_fields f = { .schema = &im2_revoke };
	uint8_t quorum[16];
	struct buf body, t, input;
	struct im2_signature s[3];

	buf_init(&body, 256);
	buf_init(&t, 512);
	buf_init(out, IM2_RECORD_MAX);
	im2_quorum_id(2, w->admins, 3, quorum);
	im2_set_b(&f, IM2_REVOKE_TARGET, bytes_of(keyring_ed(target->keyring), ED_BYTES));
	im2_set_u(&f, IM2_REVOKE_REASON, 2);
	im2_set_u(&f, IM2_REVOKE_SCOPE, 1);
	im2_set_b(&f, IM2_REVOKE_QUORUM, BYTES_ARR(quorum));
	im2_write(&im2_revoke, &f, &body);
	if (n == 1) {
		im2_record_write(by[0], IM2_REC_REVOKE_T, gen, wall_ms(w), 0, buf_bytes(&body), out);
	} else {
		im2_record_t_write(IM2_REC_REVOKE_T, keyring_ed(by[0]), gen, wall_ms(w), 0, buf_bytes(&body), &t);
		for (size_t i = 0; i < n; i++) {
			buf_init(&input, 1024);
			im2_record_input(buf_bytes(&t), &input);
			memcpy(s[i].ed, keyring_ed(by[i]), ED_BYTES);
			keyring_sign(by[i], SIG_V3_RECORD, buf_bytes(&input), s[i].sig);
			buf_fini(&input);
		}
		im2_record_join(buf_bytes(&t), s, n, out);
	}
	assert_int_equal(out->err, ERR_OK);
	buf_fini(&body);
	buf_fini(&t);
}

static void what_others_said_is_for_those_we_trust(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	struct buf revoke;

	know(a, b);
	know(a, c);
	know(b, c);
	meet(a, b);
	meet(a, c);
	assert_int_equal(node_peer_pending(a->node, id_of(c), NULL), ERR_OK);
	buf_init(&revoke, IM2_RECORD_MAX);
	im2_revoke_self_write(b->keyring, 1, wall_ms(w), 1, &revoke);
	say(b, a, IM2_ITEM_RECORD, buf_bytes(&revoke));
	pass(w, 30000);
	assert_int_equal(pin_at(a, id_of(b))->state, PIN_REVOKED);
	assert_int_equal(pin_at(c, id_of(b))->state, PIN_TRUSTED);
	assert_int_equal(node_peer_approve(a->node, id_of(c), NULL), ERR_OK);
	pass(w, 2000);
	assert_int_equal(pin_at(c, id_of(b))->state, PIN_REVOKED);
	buf_fini(&revoke);
}

static void a_quorum_revokes_and_one_stranger_does_not(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	const struct keyring *stranger = c->keyring, *two[2] = { w->admin[2], w->admin[0] };
	struct buf raw;

	know(a, b);
	know(a, c);
	meet(a, b);
	meet(a, c);
	revocation_of(w, b, &stranger, 1, 1, &raw);
	say(c, a, IM2_ITEM_RECORD, buf_bytes(&raw));
	pass(w, 2000);
	assert_int_equal(pin_at(a, id_of(b))->state, PIN_TRUSTED);
	assert_int_equal(audited(a, "REVOCATION_SHOWN"), 1);
	assert_non_null(conn_to(a, b));
	buf_fini(&raw);
	revocation_of(w, b, two, 2, 1, &raw);
	say(c, a, IM2_ITEM_RECORD, buf_bytes(&raw));
	pass(w, 1000);
	assert_int_equal(pin_at(a, id_of(b))->state, PIN_REVOKED);
	assert_int_equal(audited(a, "PEER_REVOKED_SIGNED"), 1);
	assert_null(conn_to(a, b));
	buf_fini(&raw);
}

static void what_a_quorum_says_reaches_those_it_matters_to(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2], *d = &w->side[3];
	const struct keyring *two[2] = { w->admin[2], w->admin[0] };
	struct buf raw;

	know(a, c);
	know(a, d);
	know(d, b);
	meet(a, c);
	revocation_of(w, b, two, 2, 1, &raw);
	say(c, a, IM2_ITEM_RECORD, buf_bytes(&raw));
	pass(w, 2000);
	side_stop(a);
	side_start(a);
	is_kept_out(a, b);
	/* D knows B, and A does not. */
	meet(a, d);
	assert_int_equal(pin_at(d, id_of(b))->state, PIN_REVOKED);
	buf_fini(&raw);
}

static void word_of_our_own_end_is_shown(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *c = &w->side[2];
	const struct keyring *two[2] = { w->admin[1], w->admin[0] };
	struct buf raw;

	know(a, c);
	meet(a, c);
	revocation_of(w, a, two, 2, 1, &raw);
	say(c, a, IM2_ITEM_RECORD, buf_bytes(&raw));
	assert_int_equal(audited(a, "OWN_KEY_REVOKED"), 1);
	assert_non_null(conn_to(a, c)); /* the others decide about us, not we */
	buf_reset(&raw);
	im2_revoke_self_write(a->keyring, 1, wall_ms(w), 1, &raw);
	say(c, a, IM2_ITEM_RECORD, buf_bytes(&raw));
	assert_int_equal(audited(a, "OWN_KEY_REVOKED"), 2);
	buf_fini(&raw);
}

static void a_notice_is_repeated_until_it_is_answered(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	struct record_peer *p;
	uint64_t due;
	struct buf raw;

	know(a, b);
	know(a, c);
	know(b, c);
	meet(a, b);
	buf_init(&raw, IM2_RECORD_MAX);
	im2_revoke_self_write(b->keyring, 1, wall_ms(w), 1, &raw);
	say(b, a, IM2_ITEM_RECORD, buf_bytes(&raw));
	pass(w, 2000);
	/* C was away, and so was A since. */
	side_stop(a);
	side_start(a);
	meet(a, c);
	assert_int_equal(pin_at(c, id_of(b))->state, PIN_REVOKED);
	p = records_peer(a->node->records, id_of(c));
	pass(w, 2000);
	assert_false(notices_open(a->node->records, conn_to(a, c), p));
	assert_true(p->due_ms == UINT64_MAX || p->due_ms > w->now_ms);
	/* As if the answers had been lost. */
	memset(p->answered, 0, sizeof p->answered);
	p->due_ms = w->now_ms;
	p->tries = 0;
	bucket_init(&records_peer(c->node->records, id_of(a))->notices, 1, 0, w->now_ms);
	records_wake(a->node->records, w->now_ms);
	turns(w);
	assert_true(notices_open(a->node->records, conn_to(a, c), p));
	due = p->due_ms - w->now_ms;
	assert_in_range(due, 8000, 12000);
	bucket_init(&records_peer(c->node->records, id_of(a))->notices, 1, 10, w->now_ms);
	pass(w, 13000);
	assert_false(notices_open(a->node->records, conn_to(a, c), p));
	buf_fini(&raw);
}

static void one_admin_quarantines_for_a_day(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	const struct keyring *one = w->admin[1];
	struct buf raw;

	know(a, b);
	know(a, c);
	meet(a, c);
	revocation_of(w, b, &one, 1, 1, &raw);
	say(c, a, IM2_ITEM_RECORD, buf_bytes(&raw));
	pass(w, 2000);
	assert_int_equal(pin_at(a, id_of(b))->state, PIN_PENDING);
	assert_int_equal(audited(a, "PEER_QUARANTINED"), 1);
	pass(w, 12 * HOUR);
	side_stop(a);
	side_start(a);
	pass(w, 11 * HOUR);
	assert_int_equal(pin_at(a, id_of(b))->state, PIN_PENDING);
	pass(w, 2 * HOUR);
	assert_int_equal(pin_at(a, id_of(b))->state, PIN_TRUSTED);
	assert_int_equal(audited(a, "PEER_QUARANTINE_ENDED"), 1);
	assert_int_equal(stored(a, SPACE_QUARANTINE), 0);
	/* The same record again is no news. */
	meet(a, c);
	say(c, a, IM2_ITEM_RECORD, buf_bytes(&raw));
	pass(w, 2000);
	assert_int_equal(pin_at(a, id_of(b))->state, PIN_TRUSTED);
	buf_fini(&raw);
}

static void the_operator_ends_a_quarantine_either_way(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	const struct keyring *one = w->admin[1];
	struct buf raw;

	know(a, b);
	know(a, c);
	meet(a, c);
	revocation_of(w, b, &one, 1, 1, &raw);
	say(c, a, IM2_ITEM_RECORD, buf_bytes(&raw));
	pass(w, 2000);
	assert_int_equal(node_peer_approve(a->node, id_of(b), NULL), ERR_OK);
	assert_int_equal(stored(a, SPACE_QUARANTINE), 0);
	assert_int_equal(node_peer_pending(a->node, id_of(b), NULL), ERR_OK);
	pass(w, 30 * HOUR);
	assert_int_equal(pin_at(a, id_of(b))->state, PIN_PENDING);
	buf_fini(&raw);
}

static void accepted(void *ctx, const char *msg_id, enum err e)
{
	(void)msg_id;
	*(enum err *)ctx = e;
}

static void submit(struct side *from, const struct node_id *to, char id[static MSG_ID_MAX + 1])
{
	struct submit s = { .to = *to, .body = BYTES_LIT("hello"), .priority = PRIO_NORMAL };
	enum err e = ERR_INTERNAL;

	assert_int_equal(node_submit(from->node, &s, accepted, &e, id, NULL), ERR_OK);
	pass(from->w, 200);
	assert_int_equal(e, ERR_OK);
}

/* --- rotation ---------------------------------------------------------------------------------------------------- */
/* As `keys rotate` does, and the next life. */
static void rotate(struct side *s)
{
	struct keyring *fresh;
	struct secret wrap;
	char pins[128];

	assert_int_equal(keyring_generate(&s->w->env, &fresh), ERR_OK);
	assert_int_equal(keyring_derive(fresh, DERIVE_DB_WRAP, &wrap), ERR_OK);
	assert_int_equal(store_prepare_key(s->store, secret_bytes(&wrap)), ERR_OK);
	secret_free(&wrap);
	assert_int_equal(records_keep_rotation(s->store, s->keyring, fresh, wall_ms(s->w)), ERR_OK);
	assert_int_equal(node_commit(s->node), ERR_OK);
	snprintf(pins, sizeof pins, "%s", file_of(s, "next"));
	assert_int_equal(pins_save_as(s->pins, fresh, pins, NULL), ERR_OK);
	node_announce_rotation(s->node, keyring_ed(fresh));
	pass(s->w, 1000);
	side_stop(s);
	assert_int_equal(rename(pins, file_of(s, "pins")), 0);
	keyring_free(s->keyring);
	s->keyring = fresh;
	side_start(s);
}

static void verified_may_survive_a_rotation(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];

	know(a, b);
	meet(b, a);
	a->node->c.rotate_keeps_verified = true;
	assert_int_equal(pins_set_verified(a->pins, id_of(b), true), ERR_OK);
	rotate(b);
	assert_int_equal(audited(a, "KEY_ROTATION_SIGNED"), 1);
	assert_int_equal(pin_at(a, id_of(b))->state, PIN_TRUSTED);
	assert_true(pin_at(a, id_of(b))->verified);
}

static void a_rotation_moves_the_pin_and_the_new_identity_is_known(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	struct node_id was;

	know(a, b);
	know(a, c);
	know(b, c);
	meet(b, a);
	meet(a, c);
	assert_int_equal(pins_set_verified(a->pins, id_of(b), true), ERR_OK);
	was = *id_of(b);
	rotate(b);
	assert_int_equal(audited(a, "KEY_ROTATION_SIGNED"), 1);
	assert_non_null(pin_at(a, id_of(b)));
	assert_int_equal(pin_at(a, id_of(b))->state, PIN_TRUSTED);
	assert_false(pin_at(a, id_of(b))->verified);
	assert_string_equal(pin_at(a, &was)->successor.hex, id_of(b)->hex);
	assert_string_equal(pins_current(a->pins, &was)->id.hex, id_of(b)->hex);
	/* C heard it from A. */
	pass(w, 2000);
	assert_string_equal(pin_at(c, &was)->successor.hex, id_of(b)->hex);
	/* No first contact: the key that came with the rotation is enough. */
	uint64_t known = node_im2_counters(a->node)->handshakes_known, first = node_im2_counters(a->node)->handshakes_first;

	meet(b, a);
	assert_int_equal(node_im2_counters(a->node)->handshakes_known, known + 1);
	assert_int_equal(node_im2_counters(a->node)->handshakes_first, first);
	assert_true(pin_at(a, id_of(b))->x_proven);
	/* B repeats it in this life too, until A says that it has it. */
	assert_int_equal(stored(b, SPACE_ROTATE), 1);
	assert_false(notices_open(b->node->records, conn_to(b, a), records_peer(b->node->records, id_of(a))));
	assert_int_equal(audited(a, "KEY_ROTATION_SIGNED"), 1);
	assert_int_equal(audited(b, "OWN_KEY_ROTATED"), 0);
	/* The prekeys of the old identity are of no use to the new one. */
	uint8_t raw[IM2_RECORD_MAX];

	pass(w, 2000);
	assert_true(held(a, b, raw) > 0);
	assert_int_equal(stored(b, SPACE_PREKEY), 1);
}

static void what_waits_follows_to_the_new_identity(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	char id[MSG_ID_MAX + 1];
	struct outbox_row row;
	uint64_t boxes[INBOX_STATES];

	know(a, b);
	know(a, c);
	know(b, c);
	meet(b, a);
	meet(a, c);
	submit(c, id_of(b), id);
	rotate(b);
	pass(w, 3000);
	assert_int_equal(outbox_get(c->store, bytes_str(id), &row), ERR_OK);
	assert_string_equal(row.to.hex, id_of(b)->hex);
	assert_int_equal(row.state, OUTBOX_QUEUED);
	meet(b, c);
	assert_int_equal(outbox_get(c->store, bytes_str(id), &row), ERR_OK);
	assert_int_equal(row.state, OUTBOX_DELIVERED);
	assert_int_equal(inbox_count(b->store, id_of(c), boxes), ERR_OK);
	assert_int_equal(boxes[INBOX_NEW], 1);
}

static uint64_t kept(struct side *s, const struct node_id *author)
{
	uint64_t boxes[INBOX_STATES], n = 0;

	assert_int_equal(inbox_count(s->store, author, boxes), ERR_OK);
	for (int i = 0; i < INBOX_STATES; i++)
		n += boxes[i];
	return n;
}

static enum outbox_state state_of(struct side *s, const char *id)
{
	struct outbox_row row;

	assert_int_equal(outbox_get(s->store, bytes_str(id), &row), ERR_OK);
	return row.state;
}

/* `from` does not hear any more what `to` says: a receipt that was sent is lost with the session. */
static void deaf(struct side *from, struct side *to)
{
	tp_pause(from->tp, conn_to(from, to)->id, true);
}

static void a_message_without_receipt_comes_again_by_the_new_identity_of_its_author(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	char id[MSG_ID_MAX + 1], next[MSG_ID_MAX + 1];
	struct node_id was = *id_of(a);
	uint64_t repeated;

	know(a, b);
	meet(a, b);
	deaf(a, b);
	submit(a, id_of(b), id);
	assert_int_equal(state_of(a, id), OUTBOX_QUEUED);
	assert_int_equal(kept(b, &was), 1);
	rotate(a);
	assert_string_equal(pin_at(b, &was)->successor.hex, id_of(a)->hex);
	repeated = node_counters(b->node)->messages_repeated;
	meet(a, b);
	pass(w, 1000);
	assert_int_equal(state_of(a, id), OUTBOX_DELIVERED);
	assert_int_equal(node_counters(b->node)->messages_repeated, repeated + 1);
	assert_int_equal(kept(b, &was), 1);
	assert_int_equal(kept(b, id_of(a)), 0);
	assert_int_equal(node_counters(b->node)->id_conflicts, 0);
	/* The numbers of the era go on, and what is new is new. */
	submit(a, id_of(b), next);
	assert_memory_equal(id, next, 16);
	assert_int_equal(state_of(a, next), OUTBOX_DELIVERED);
	assert_int_equal(kept(b, id_of(a)), 1);
	assert_int_equal(node_counters(a->node)->eras_renewed, 0);
}

static void a_message_without_receipt_comes_again_to_the_new_identity_of_its_recipient(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	char id[MSG_ID_MAX + 1];

	know(a, b);
	know(a, c);
	know(b, c);
	meet(c, a);
	meet(c, b);
	meet(a, b);
	deaf(a, b);
	submit(a, id_of(b), id);
	assert_int_equal(kept(b, id_of(a)), 1);
	assert_int_equal(state_of(a, id), OUTBOX_QUEUED);
	rotate(b);
	pass(w, 20000); /* A hears of it from C, and dials again */
	assert_non_null(conn_to(a, b));
	assert_int_equal(state_of(a, id), OUTBOX_DELIVERED);
	assert_int_equal(node_counters(b->node)->messages_repeated, 1);
	assert_int_equal(kept(b, id_of(a)), 1);
	assert_int_equal(node_counters(b->node)->id_conflicts, 0);
}

/* What A' says again, word for word, or with another body. */
static void repeat(struct side *from, struct side *to, const char *id, const char *body)
{
	struct conn *c = conn_to(from, to);
	struct outbox_row row;
	struct message m = { .type = BYTES_LIT("MSG"), .id = bytes_str(id), .source = *id_of(from),
			     .destination = *id_of(to), .priority = PRIO_NORMAL, .body = bytes_str(body),
			     .has_wire_id = true, .ext.ttl_s = MSG_TTL_MAX_S };

	assert_int_equal(outbox_get(from->store, bytes_str(id), &row), ERR_OK);
	memcpy(m.wire_id, row.wire_id, sizeof m.wire_id);
	m.created_ms = row.created_ms;
	assert_int_equal(session_send(c->session, &m), ERR_OK);
	conn_pump(c);
	pass(from->w, 200);
}

static void the_era_goes_over_with_its_marks(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	char ids[4][MSG_ID_MAX + 1];
	struct node_id was = *id_of(a);
	struct node_counters before;
	struct inbox_table table;
	uint8_t era[8];
	uint64_t seq, high;

	know(a, b);
	meet(a, b);
	for (int i = 0; i < 3; i++)
		submit(a, id_of(b), ids[i]);
	assert_int_equal(state_of(a, ids[2]), OUTBOX_DELIVERED);
	rotate(a);
	meet(a, b);
	/* SETTLED of the first session of the new identity empties the table of the old one. */
	pass(w, 120000);
	inbox_table(b->store, &table);
	assert_int_equal(table.entries, 0);
	/* The numbers that a life did not use up are not used by the next one. */
	assert_int_equal(inbox_seen(b->store, &was, era, &seq), ERR_OK);
	assert_true(seq >= 3);
	high = seq;
	before = *node_counters(b->node);
	repeat(a, b, ids[1], "hello");
	repeat(a, b, ids[1], "something else");
	assert_int_equal(kept(b, id_of(a)), 0);
	assert_int_equal(kept(b, &was), 3);
	assert_int_equal(node_counters(b->node)->messages_received, before.messages_received);
	/* And its own newer numbers stand under the new one. */
	submit(a, id_of(b), ids[3]);
	assert_int_equal(kept(b, id_of(a)), 1);
	assert_int_equal(inbox_seen(b->store, id_of(a), era, &seq), ERR_OK);
	assert_int_equal(seq, high + 1);
}

static void another_content_under_an_id_of_the_old_identity_is_a_conflict(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	char id[MSG_ID_MAX + 1];
	struct node_id was = *id_of(a);

	know(a, b);
	meet(a, b);
	deaf(a, b);
	submit(a, id_of(b), id);
	rotate(a);
	meet(a, b);
	deaf(a, b); /* nothing is settled meanwhile */
	repeat(a, b, id, "hello");
	assert_int_equal(node_counters(b->node)->id_conflicts, 0);
	repeat(a, b, id, "hollo");
	assert_int_equal(node_counters(b->node)->id_conflicts, 1);
	assert_int_equal(kept(b, &was), 1);
	assert_int_equal(kept(b, id_of(a)), 0);
}

static void what_was_held_is_released_with_the_new_identity(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	char id[MSG_ID_MAX + 1];
	struct node_id was = *id_of(a);
	uint64_t boxes[INBOX_STATES];

	know(a, b);
	assert_int_equal(node_peer_pending(b->node, &was, NULL), ERR_OK);
	meet(a, b);
	submit(a, id_of(b), id);
	pass(w, 1000);
	assert_int_equal(inbox_count(b->store, &was, boxes), ERR_OK);
	assert_int_equal(boxes[INBOX_HELD], 1);
	rotate(a);
	meet(a, b);
	pass(w, 1000);
	assert_int_equal(kept(b, id_of(a)), 0);
	assert_int_equal(pin_at(b, id_of(a))->state, PIN_PENDING);
	assert_int_equal(node_peer_approve(b->node, id_of(a), NULL), ERR_OK);
	pass(w, 1000);
	assert_int_equal(inbox_count(b->store, &was, boxes), ERR_OK);
	assert_int_equal(boxes[INBOX_NEW], 1);
	assert_int_equal(boxes[INBOX_HELD], 0);
	assert_int_equal(state_of(a, id), OUTBOX_DELIVERED);
}

static void a_peer_given_by_an_old_id_is_met_as_who_it_is(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	char spec[80];

	know(a, b);
	meet(a, b);
	snprintf(spec, sizeof spec, "%s#%s", b->address, id_of(b)->hex);
	rotate(b);
	side_stop(a);
	side_start(a);
	assert_int_equal(node_add_target(a->node, spec, NULL), ERR_OK);
	node_dial_all(a->node);
	pass(w, 3000);
	assert_non_null(conn_to(a, b));
}

static void reply(struct side *from, struct side *to, const char *parent, char id[static MSG_ID_MAX + 1])
{
	struct submit s = { .to = *id_of(to), .body = BYTES_LIT("re"), .priority = PRIO_NORMAL, .ext.has_reply_to = true };
	enum err e = ERR_INTERNAL;

	assert_int_equal(hex_decode(bytes_str(parent), s.ext.reply_to, 16), ERR_OK);
	assert_int_equal(node_submit(from->node, &s, accepted, &e, id, NULL), ERR_OK);
	pass(from->w, 400);
	assert_int_equal(state_of(from, id), OUTBOX_DELIVERED);
}

static bool linked(struct side *at, const struct side *by, const char *id)
{
	struct inbox_row rows[8];
	struct message_ext x;
	size_t n;

	assert_int_equal(inbox_find(at->store, bytes_str(id), rows, 8, &n), ERR_OK);
	assert_int_equal(n, 1);
	assert_true(node_id_eq(&rows[0].author, id_of(by)));
	assert_int_equal(message_meta_read(bytes_of(rows[0].meta, rows[0].meta_len), &x), ERR_OK);
	return x.has_reply_to;
}

static void a_link_into_another_peers_conversation_is_left_out(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	char from_b[MSG_ID_MAX + 1], to_b[MSG_ID_MAX + 1], from_c[MSG_ID_MAX + 1], to_c[MSG_ID_MAX + 1], id[MSG_ID_MAX + 1];

	know(a, b);
	know(a, c);
	meet(a, b);
	meet(a, c);
	submit(b, id_of(a), from_b);
	submit(a, id_of(b), to_b);
	submit(c, id_of(a), from_c);
	submit(a, id_of(c), to_c);
	reply(b, a, to_b, id);
	assert_true(linked(a, b, id));
	reply(b, a, from_b, id); /* one more to one's own */
	assert_true(linked(a, b, id));
	reply(b, a, to_c, id);
	assert_false(linked(a, b, id));
	reply(b, a, from_c, id);
	assert_false(linked(a, b, id));
	reply(b, a, "000102030405060708090a0b0c0d0e0f", id); /* pruned, or volatile */
	assert_true(linked(a, b, id));
	/* Who it was before is the same peer. */
	rotate(b);
	meet(b, a);
	reply(b, a, to_b, id);
	assert_true(linked(a, b, id));
	reply(b, a, to_c, id);
	assert_false(linked(a, b, id));
}

static void who_was_away_hears_of_a_rotation_from_a_third(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	struct node_id was = *id_of(a);

	know(a, b);
	know(a, c);
	know(b, c);
	meet(a, b);
	meet(a, c);
	side_stop(b);
	rotate(a);
	pass(w, 3000);
	assert_string_equal(pin_at(c, &was)->successor.hex, id_of(a)->hex);
	side_start(b);
	/* Under the name of another key nobody gets in, and so cannot tell that it is his own. */
	assert_int_equal(node_add_target(b->node, a->address, NULL), ERR_OK);
	node_dial_all(b->node);
	pass(w, 3000);
	assert_null(conn_to(b, a));
	assert_true(audited(b, "TOFU_MISMATCH") > 0);
	assert_int_equal(pins_alarms(b->pins, NULL), 1);
	assert_null(pin_at(b, id_of(a)));
	/* C tells, and then A is who it was. */
	meet(b, c);
	assert_string_equal(pin_at(b, &was)->successor.hex, id_of(a)->hex);
	assert_int_equal(pin_at(b, id_of(a))->state, PIN_TRUSTED);
	assert_int_equal(pins_alarms(b->pins, NULL), 0);
	pass(w, 60000); /* until B dials again */
	assert_non_null(conn_to(b, a));
	assert_non_null(conn_to(a, b));
}

static void what_is_over_is_swept_every_hour(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	struct node_id was = *id_of(b);
	size_t before;

	know(a, b);
	know(a, c);
	meet(b, a);
	meet(a, c);
	rotate(b);
	side_stop(c);
	side_stop(b);
	before = im2_records_count(a->node->records->cache);
	assert_non_null(pin_at(a, &was));
	/* Of the prekeys of C and of who B was: they live for a day, their generations for one more. */
	w->now_ms += 46 * HOUR;
	pass(w, HOUR);
	assert_int_equal(im2_records_count(a->node->records->cache), before);
	pass(w, 2 * HOUR + 60000);
	assert_int_equal(im2_records_count(a->node->records->cache), before - 2);
	assert_non_null(pin_at(a, &was));
	w->now_ms += 27 * 24 * HOUR;
	pass(w, 2 * HOUR);
	assert_non_null(pin_at(a, &was));
	w->now_ms += 24 * HOUR;
	pass(w, 2 * HOUR);
	assert_null(pin_at(a, &was));
	assert_non_null(pin_at(a, id_of(b)));
}

static void a_rotation_that_did_not_come_to_be_is_dropped(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1];
	struct keyring *fresh;

	know(a, b);
	assert_int_equal(keyring_generate(&w->env, &fresh), ERR_OK);
	assert_int_equal(records_keep_rotation(b->store, b->keyring, fresh, wall_ms(w)), ERR_OK);
	assert_int_equal(node_commit(b->node), ERR_OK);
	side_stop(b);
	side_start(b);
	assert_int_equal(stored(b, SPACE_ROTATE), 0);
	meet(b, a);
	assert_null(pin_at(a, keyring_id(fresh)));
	keyring_free(fresh);
}

static void a_rotation_of_a_revoked_key_is_void(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	struct keyring *thief;
	struct buf raw;

	know(a, b);
	know(a, c);
	meet(a, b);
	meet(a, c);
	assert_int_equal(keyring_generate(&w->env, &thief), ERR_OK);
	buf_init(&raw, IM2_RECORD_MAX);
	im2_rotate_write(b->keyring, thief, 1, wall_ms(w), 0, &raw);
	say(c, a, IM2_ITEM_RECORD, buf_bytes(&raw));
	pass(w, 2000);
	assert_int_equal(pin_at(a, keyring_id(thief))->state, PIN_TRUSTED);
	buf_reset(&raw);
	im2_revoke_self_write(b->keyring, 1, wall_ms(w), 1, &raw);
	say(c, a, IM2_ITEM_RECORD, buf_bytes(&raw));
	pass(w, 2000);
	assert_int_equal(pin_at(a, id_of(b))->state, PIN_REVOKED);
	assert_int_equal(pin_at(a, keyring_id(thief))->state, PIN_PENDING);
	buf_fini(&raw);
	keyring_free(thief);
}

/* --- signed receipts ------------------------------------------------------------------------------------------------ */
static void a_signed_receipt_counts_whoever_brings_it(void **state)
{
	struct world *w = *state;
	struct side *a = &w->side[0], *b = &w->side[1], *c = &w->side[2];
	char id[MSG_ID_MAX + 1];
	struct outbox_row row;
	struct receipt r = { .kind = RECEIPT_DELIVERED };
	struct buf inner, outer;

	know(a, b);
	know(a, c);
	meet(a, c);
	submit(a, id_of(b), id);
	r.id = bytes_str(id);
	buf_init(&inner, IM2_RECEIPT_MAX);
	buf_init(&outer, IM2_SRECEIPT_MAX);
	assert_int_equal(im2_receipt_write(&r, 1, wall_ms(w), IM2_RECEIPT_MAX, &inner), 1);
	/* C received nothing of that kind. */
	im2_sreceipt_write(c->keyring, keyring_ed(a->keyring), buf_bytes(&inner), &outer);
	say(c, a, IM2_ITEM_SRECEIPT, buf_bytes(&outer));
	assert_int_equal(outbox_get(a->store, r.id, &row), ERR_OK);
	assert_int_equal(row.state, OUTBOX_QUEUED);
	buf_reset(&outer);
	im2_sreceipt_write(b->keyring, keyring_ed(a->keyring), buf_bytes(&inner), &outer);
	say(c, a, IM2_ITEM_SRECEIPT, buf_bytes(&outer));
	assert_int_equal(outbox_get(a->store, r.id, &row), ERR_OK);
	assert_int_equal(row.state, OUTBOX_DELIVERED);
	buf_fini(&inner);
	buf_fini(&outer);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_prekey_reaches_the_other_side_and_survives_both_restarts),
		T(a_sealed_object_opens_until_its_prekey_is_erased),
		T(a_generation_is_on_disk_before_its_record_leaves),
		T(an_older_generation_is_ignored),
		T(two_records_of_one_generation_are_kept_as_evidence),
		T(what_another_life_of_ours_said_is_outbid),
		T(who_lacks_a_prekey_asks_for_it),
		T(who_brings_bad_records_pays_and_not_whom_they_name),
		T(a_neighbour_that_floods_fills_nothing),
		T(a_self_revocation_ends_the_identity_everywhere),
		T(a_stranger_that_was_revoked_is_kept_out),
		T(a_stranger_may_come_until_its_revocation_takes_effect),
		T(strangers_cannot_crowd_out_what_is_revoked),
		T(what_others_said_is_for_those_we_trust),
		T(a_quorum_revokes_and_one_stranger_does_not),
		T(what_a_quorum_says_reaches_those_it_matters_to),
		T(word_of_our_own_end_is_shown),
		T(a_notice_is_repeated_until_it_is_answered),
		T(one_admin_quarantines_for_a_day),
		T(the_operator_ends_a_quarantine_either_way),
		T(verified_may_survive_a_rotation),
		T(a_rotation_moves_the_pin_and_the_new_identity_is_known),
		T(what_waits_follows_to_the_new_identity),
		T(a_message_without_receipt_comes_again_by_the_new_identity_of_its_author),
		T(a_message_without_receipt_comes_again_to_the_new_identity_of_its_recipient),
		T(the_era_goes_over_with_its_marks),
		T(another_content_under_an_id_of_the_old_identity_is_a_conflict),
		T(what_was_held_is_released_with_the_new_identity),
		T(a_peer_given_by_an_old_id_is_met_as_who_it_is),
		T(a_link_into_another_peers_conversation_is_left_out),
		T(who_was_away_hears_of_a_rotation_from_a_third),
		T(what_is_over_is_swept_every_hour),
		T(a_rotation_that_did_not_come_to_be_is_dropped),
		T(a_rotation_of_a_revoked_key_is_void),
		T(a_signed_receipt_counts_whoever_brings_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
