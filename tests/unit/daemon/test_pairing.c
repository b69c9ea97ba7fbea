#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/pairing_internal.h"
#include "daemon/records.h"
#include "protocol/im2/record.h"
#include "store/kv.h"
#include "tests/lib/daemon_world.h"
#include "transports/loopback.h"

/*
 * n0 shows, n1 types; n1 has no key of the mesh. n2 types too, or is somebody else. A wolf has an endpoint of its own and
 * speaks the pairing path as it likes.
 */
static struct world *w;
static struct side *p, *q, *other;

#define HEARD 64
struct heard {
	char what[HEARD][360]; /* "type: reason" */
	size_t n;
};
static struct heard heard[SIDES];

static void hear(void *ctx, const struct node_event *e)
{
	struct heard *h = ctx;

	if (strncmp(e->type, "pair.", 5) == 0 && h->n < HEARD)
		snprintf(h->what[h->n++], sizeof h->what[0], "%s: %s", e->type, e->reason ? e->reason : "");
}

static unsigned said(const struct side *s, const char *part)
{
	const struct heard *h = &heard[s - w->side];
	unsigned k = 0;

	for (size_t i = 0; i < h->n; i++)
		k += strstr(h->what[i], part) != NULL;
	return k;
}

/* What follows the last "pair.compare: ". */
static const char *digits_of(const struct side *s)
{
	const struct heard *h = &heard[s - w->side];

	for (size_t i = h->n; i-- > 0;)
		if (strncmp(h->what[i], "pair.compare: ", 14) == 0)
			return h->what[i] + 14;
	return "";
}

static void again(struct side *s)
{
	side_stop(s);
	side_start(s);
	node_observe(s->node, hear, &heard[s - w->side]);
	node_dial_all(s->node);
}

static int setup(void **state)
{
	int e = world_setup((void **)&w);

	p = &w->side[0];
	q = &w->side[1];
	other = &w->side[2];
	memset(heard, 0, sizeof heard);
	q->no_mesh = true;
	again(q);
	for (int i = 0; i < SIDES; i++) {
		node_observe(w->side[i].node, hear, &heard[i]);
		node_dial_all(w->side[i].node);
	}
	*state = w;
	return e;
}

static int teardown(void **state)
{
	*state = w;
	return world_teardown(state);
}

/* --- short forms --- */

static void show_so(struct side *s, struct pairing_show how, struct pairing_shown *out)
{
	struct fault f = { 0 };

	assert_int_equal(pairing_show(s->node, &how, out, &f), ERR_OK);
}

static struct pairing_shown show(struct side *s)
{
	struct pairing_shown shown;

	show_so(s, (struct pairing_show){ 0 }, &shown);
	return shown;
}

static struct pairing_type typed(const char *code, const char *address)
{
	struct pairing_type t = { .compare = !code };

	if (code)
		assert_int_equal(im2_code_parse(bytes_str(code), t.digits), ERR_OK);
	snprintf(t.address, sizeof t.address, "%s", address);
	return t;
}

static void type(struct side *s, const char *code, const char *address)
{
	struct pairing_type t = typed(code, address);
	struct fault f = { 0 };

	assert_int_equal(pairing_type(s->node, &t, &f), ERR_OK);
}

/* The same number plate, another secret. */
static const char *wrong(const char *code)
{
	static char text[IM2_CODE_TEXT];

	snprintf(text, sizeof text, "%s", code);
	text[9] = (char)(text[9] == '9' ? '0' : text[9] + 1);
	return text;
}

static const struct pin *pin_of(struct side *s, const struct side *whom)
{
	return pins_get(s->pins, side_id(whom));
}

static void assert_paired(struct side *a, struct side *b, const char *via)
{
	const struct pin *pin = pin_of(a, b);
	struct psks psks;

	assert_non_null(pin);
	assert_int_equal(pin->state, PIN_TRUSTED);
	assert_true(pin->verified);
	assert_string_equal(pin->via, via);
	assert_true(pin->im2_since_ms);
	assert_int_equal(pins_get_psks(a->pins, side_id(b), &psks), ERR_OK);
	assert_true(psks.has_confirmed);
	psks_wipe(&psks);
}

static void assert_pinned_nobody(struct side *s)
{
	assert_int_equal(pins_count(s->pins), 0);
}

static void pair_up(struct side *shows, struct side *types)
{
	type(types, show(shows).code, shows->address);
	world_pass(w, 1000);
}

/* --- the code --- */

static void the_right_code_pins_both_and_moves_the_key(void **state)
{
	struct pairing_shown shown = show(p);
	uint8_t mine[IM2_DISC_BYTES], theirs[IM2_DISC_BYTES];
	uint16_t passgen;
	struct bytes a, b;

	assert_int_equal(shown.gives, PAIRING_GIVES_KEY);
	assert_int_equal(shown.until_ms, w->now_ms + IM2_CODE_MS);
	assert_false(node_has_mesh_key(q->node));
	type(q, shown.code, p->address);
	world_pass(w, 300);
	assert_paired(p, q, "code");
	assert_paired(q, p, "code");
	assert_string_equal(pin_of(q, p)->addresses[0].text, p->address);
	assert_int_equal(said(p, "pair.paired"), 1);
	assert_int_equal(said(p, "pair.granted: the key of the mesh was handed on"), 1);
	assert_int_equal(said(p, "pair.over"), 1);
	assert_int_equal(said(q, "pair.granted: the key of the mesh has come"), 1);
	assert_int_equal(said(q, "pair.over: "), 1);
	assert_int_equal(said(p, "pair.failed") + said(q, "pair.failed"), 0);
	assert_int_equal(side_audited(p, "CREDENTIAL_GIVEN"), 1);
	assert_int_equal(side_audited(q, "CREDENTIAL_RECEIVED"), 1);
	assert_int_equal(side_audited(p, "PEER_PAIRED") + side_audited(q, "PEER_PAIRED"), 2);
	assert_int_equal(p->node->n.paired + q->node->n.paired, 2);
	a = im2_host_mesh(p->node->im2, &passgen);
	b = im2_host_mesh(q->node->im2, &passgen);
	assert_true(a.n == 32 && bytes_eq(a, b));
	assert_int_equal(discovery_key_get(p->node, mine), ERR_OK);
	assert_int_equal(discovery_key_get(q->node, theirs), ERR_OK);
	assert_memory_equal(mine, theirs, sizeof mine);
	/* Over an ordinary session of a known peer from here on. */
	world_pass(w, 2000);
	assert_non_null(side_conn(q, p));
	assert_non_null(side_conn(p, q));
	assert_true(records_get(q->node, keyring_ed(p->keyring), IM2_REC_PREKEY_T).n > 0);
}

static void what_came_is_there_after_a_restart(void **state)
{
	uint8_t disc[IM2_DISC_BYTES];
	struct buf raw;

	pair_up(p, q);
	again(q);
	assert_true(node_has_mesh_key(q->node));
	assert_int_equal(discovery_key_get(q->node, disc), ERR_OK);
	assert_paired(q, p, "code");
	/* What is kept is sealed; another space or key does not open it. */
	buf_init(&raw, KV_VALUE_MAX);
	assert_int_equal(store_kv_get(q->store, "meshkey", BYTES_LIT("mesh"), &raw), ERR_OK);
	assert_true(raw.n > 32);
	buf_wipe(&raw);
	buf_fini(&raw);
	/* And it opens a first contact with a node of the mesh. */
	assert_int_equal(node_add_target(q->node, other->address, NULL), ERR_OK);
	node_dial_all(q->node);
	world_pass(w, 3000);
	assert_non_null(pin_of(other, q));
	assert_non_null(side_conn(q, other));
}

static void a_node_with_a_key_of_its_own_keeps_it(void **state)
{
	static const uint8_t mine[32] = { 9 };
	uint16_t passgen;

	/* What an earlier life got by pairing does not count beside a passphrase that is given. */
	pair_up(p, q);
	q->no_mesh = false;
	again(q);
	assert_int_equal(node_mesh_key(q->node, 0, BYTES_ARR(mine)), ERR_OK);
	type(q, show(p).code, p->address);
	world_pass(w, 1000);
	assert_int_equal(said(q, "pair.over: "), 2);
	assert_int_equal(said(q, "pair.granted"), 1);
	assert_true(bytes_eq(im2_host_mesh(q->node->im2, &passgen), BYTES_ARR(mine)));
}

static void a_wrong_code_is_used_up(void **state)
{
	struct pairing_shown first = show(p), second;

	type(q, wrong(first.code), p->address);
	world_pass(w, 1000);
	assert_int_equal(said(q, "pair.failed: the code is wrong"), 1);
	assert_int_equal(said(p, "pair.used: somebody typed a wrong code"), 1);
	assert_int_equal(said(p, "pair.failed"), 0);
	assert_int_equal(side_audited(p, "PAIR_GUESS"), 1);
	assert_int_equal(p->node->n.pair_guesses, 1);
	assert_false(p->node->pairing->showing);
	/* Even the right one is worth nothing now. */
	type(q, first.code, p->address);
	world_pass(w, 1000);
	assert_int_equal(said(q, "pair.failed: no machine shows a code there"), 1);
	assert_pinned_nobody(p);
	assert_pinned_nobody(q);
	world_pass(w, 10000);
	show_so(p, (struct pairing_show){ .again = true }, &second);
	assert_string_not_equal(first.code, second.code);
	type(q, second.code, p->address);
	world_pass(w, 1000);
	assert_paired(p, q, "code");
}

static void a_command_has_five_codes(void **state)
{
	struct pairing_shown shown = show(p);
	struct pairing_show more = { .again = true };
	struct fault f = { 0 };

	for (int i = 1; i < IM2_CODES_MAX; i++) {
		/* From many addresses: no ladder of one would stop it. */
		type(i % 2 ? q : other, wrong(shown.code), p->address);
		world_pass(w, 20000);
		show_so(p, more, &shown);
	}
	assert_int_equal(p->node->n.pair_guesses, IM2_CODES_MAX - 1);
	assert_int_equal(pairing_show(p->node, &more, &shown, &f), ERR_LIMIT);
	assert_int_equal(f.code, EXIT_RETRY);
	assert_false(p->node->pairing->showing);
	assert_pinned_nobody(p);
}

static void guesses_lead_to_a_ban(void **state)
{
	struct pairing_shown shown = show(p);

	for (int i = 0; i < 6; i++) {
		type(q, wrong(shown.code), p->address);
		world_pass(w, 10000);
		show_so(p, (struct pairing_show){ .again = i % 4 != 0 }, &shown);
	}
	assert_int_equal(p->node->n.bans, 1);
	type(q, shown.code, p->address);
	world_pass(w, 1000);
	assert_int_equal(said(q, "does not answer"), 1);
	assert_pinned_nobody(p);
}

static void two_type_and_one_guess_is_taken(void **state)
{
	struct pairing_shown shown = show(p);

	/* The wrong one is first; the right one comes while it is under way. */
	type(other, wrong(shown.code), p->address);
	type(q, shown.code, p->address);
	world_pass(w, 1000);
	assert_int_equal(said(other, "pair.failed: the code is wrong"), 1);
	assert_int_equal(said(q, "pair.failed"), 1);
	assert_int_equal(p->node->n.pair_guesses, 1);
	assert_pinned_nobody(p);
	assert_pinned_nobody(q);
	assert_pinned_nobody(other);
}

static void a_code_lives_two_minutes(void **state)
{
	struct pairing_shown shown = show(p);

	world_pass(w, IM2_CODE_MS - 1000);
	assert_true(p->node->pairing->showing);
	world_pass(w, 2000);
	assert_false(p->node->pairing->showing);
	assert_int_equal(said(p, "pair.failed: nobody used the code in time"), 1);
	type(q, shown.code, p->address);
	world_pass(w, 1000);
	assert_int_equal(said(q, "pair.failed: no machine shows a code there"), 1);
	assert_pinned_nobody(p);
	assert_pinned_nobody(q);
}

static void nobody_shows(void **state)
{
	type(q, "42-307-915", p->address);
	world_pass(w, 1000);
	assert_int_equal(p->node->n.connections_refused, 1);
	assert_int_equal(said(q, "pair.failed: no machine shows a code there"), 1);
	type(q, "42-307-915", "nowhere:1");
	world_pass(w, 20000);
	assert_int_equal(said(q, "nowhere:1 does not answer"), 1);
	/* Again and again it is a ban. */
	for (int i = 0; i < 6; i++) {
		type(q, "42-307-915", p->address);
		world_pass(w, 10000);
	}
	assert_int_equal(p->node->n.bans, 1);
	assert_int_equal(p->node->pairing->attempts_n + q->node->pairing->attempts_n, 0);
}

static void pin_only_moves_nothing(void **state)
{
	struct pairing_shown shown;
	struct pairing_type t;
	struct fault f = { 0 };

	show_so(p, (struct pairing_show){ .pin_only = true }, &shown);
	assert_int_equal(shown.gives, PAIRING_GIVES_NOTHING);
	type(q, shown.code, p->address);
	world_pass(w, 1000);
	assert_paired(p, q, "code");
	assert_paired(q, p, "code");
	assert_int_equal(said(q, "pair.over: that machine handed on no key"), 1);
	assert_false(node_has_mesh_key(q->node));
	/* The one that types can refuse it as well. */
	world_pass(w, 1000);
	t = typed(show(p).code, p->address);
	t.pin_only = true;
	assert_int_equal(pairing_type(q->node, &t, &f), ERR_OK);
	world_pass(w, 1000);
	assert_false(node_has_mesh_key(q->node));
	assert_int_equal(said(p, "pair.granted"), 0);
	/* The pair secret is a way to each other, without any key of a mesh. */
	world_pass(w, 3000);
	assert_non_null(side_conn(q, p));
}

static void a_passphrase_is_given_when_there_is_one(void **state)
{
	struct pairing_show how = { .give_passphrase = true };
	struct pairing_passphrase got;
	struct pairing_shown shown;
	struct fault f = { 0 };

	show_so(p, how, &shown);
	assert_int_equal(shown.gives, PAIRING_GIVES_PASSPHRASE);
	assert_int_equal(pairing_passphrase(q->store, &got), ERR_NOTFOUND);
	type(q, shown.code, p->address);
	world_pass(w, 1000);
	assert_int_equal(said(q, "pair.granted: the passphrase"), 1);
	assert_int_equal(pairing_passphrase(q->store, &got), ERR_OK);
	assert_true(bytes_eq(secret_bytes(&got.words), BYTES_LIT("a passphrase of the mesh")));
	secret_free(&got.words);
	assert_int_equal(pairing_show(q->node, &how, &shown, &f), ERR_USAGE);
}

/* --- who it is --- */

static void a_known_peer_becomes_verified(void **state)
{
	side_know(p, q);
	assert_false(pin_of(p, q)->verified);
	pair_up(p, q);
	assert_paired(p, q, "code");
	assert_paired(q, p, "code");
	assert_int_equal(pins_count(p->pins), 1);
	/* Once more changes nothing. */
	world_pass(w, 1000);
	pair_up(p, q);
	assert_paired(p, q, "code");
	assert_int_equal(said(p, "pair.over: "), 2);
}

static void who_is_forgotten_is_not_dialled(void **state)
{
	pair_up(p, q);
	world_pass(w, 3000);
	assert_non_null(side_conn(q, p));
	assert_int_equal(node_peer_forget(q->node, side_id(p), NULL), ERR_OK);
	world_pass(w, 120000);
	assert_pinned_nobody(q);
	assert_null(side_conn(q, p));
	/* Until it is paired again. */
	pair_up(p, q);
	world_pass(w, 3000);
	assert_paired(q, p, "code");
	assert_non_null(side_conn(q, p));
}

static void refused_at_p(const char *what)
{
	pair_up(p, q);
	assert_int_equal(said(p, what), 1);
	assert_int_equal(said(p, "pair.failed"), 1);
	assert_int_equal(said(p, "pair.used"), 0);
	assert_int_equal(said(q, "pair.failed: that machine does not take this one"), 1);
	assert_int_equal(said(p, "pair.paired") + said(q, "pair.paired"), 0);
	assert_int_equal(side_audited(p, "PAIR_REFUSED"), 1);
	assert_int_equal(p->node->n.pair_refused, 1);
	assert_int_equal(p->node->n.pair_guesses, 0);
	assert_pinned_nobody(q);
	assert_false(p->node->pairing->showing);
}

static void who_is_revoked_is_not_paired(void **state)
{
	side_know(p, q);
	assert_int_equal(pins_forget(q->pins, side_id(p)), ERR_OK);
	assert_int_equal(node_peer_revoke(p->node, side_id(q), "lost", NULL), ERR_OK);
	refused_at_p("is revoked: lost");
	assert_int_equal(pin_of(p, q)->state, PIN_REVOKED);
}

static void who_is_blocked_is_not_paired(void **state)
{
	side_know(p, q);
	assert_int_equal(pins_forget(q->pins, side_id(p)), ERR_OK);
	assert_int_equal(node_peer_block(p->node, side_id(q), NULL, NULL), ERR_OK);
	refused_at_p("is blocked");
	assert_int_equal(pin_of(p, q)->state, PIN_BLOCKED);
}

static void a_name_stays_with_its_key(void **state)
{
	assert_int_equal(pins_pin(p->pins, keyring_ed(other->keyring), "n1", world_wall_ms(w), NULL), ERR_OK);
	refused_at_p("n1 (bound to");
	assert_null(pin_of(p, q));
	assert_int_equal(pins_alarms(p->pins, &(const struct pin_alarm *){ NULL }), 1);
	/* A stranger who only claims the name is no obstacle. */
	assert_int_equal(pins_forget(p->pins, side_id(other)), ERR_OK);
	world_pass(w, 1000);
	pair_up(p, q);
	assert_paired(p, q, "code");
}

static void the_list_of_allowed_peers_holds(void **state)
{
	assert_int_equal(policy_allow(&p->policy, "n3", NULL), ERR_OK);
	refused_at_p("allowed");
	assert_null(pin_of(p, q));
	assert_int_equal(policy_allow(&p->policy, "n1", NULL), ERR_OK);
	world_pass(w, 1000);
	pair_up(p, q);
	assert_paired(p, q, "code");
}

static void whom_the_typing_side_refuses_pins_nobody_as_trusted(void **state)
{
	assert_int_equal(pins_pin(q->pins, keyring_ed(p->keyring), "n0", world_wall_ms(w), NULL), ERR_OK);
	assert_int_equal(node_peer_block(q->node, side_id(p), NULL, NULL), ERR_OK);
	pair_up(p, q);
	assert_int_equal(said(q, "is blocked"), 1);
	assert_int_equal(said(q, "pair.failed"), 1);
	assert_int_equal(said(p, "pair.paired"), 0);
	assert_int_equal(said(p, "pair.failed: the other side went away, or did not take this machine"), 1);
	assert_true(!pin_of(p, q) || pin_of(p, q)->state == PIN_PENDING);
	assert_int_equal(pin_of(q, p)->state, PIN_BLOCKED);
}

/* --- a link that breaks, a node that restarts --- */

static unsigned from_p, cut_at;

static struct loop_fate fate(void *ctx, const char *from, const char *to, struct bytes unit)
{
	struct loop_fate f = { .copies = 1 };

	if (unit.n && strcmp(from, p->address) == 0 && strcmp(to, q->address) == 0 && ++from_p == cut_at)
		f.cut = true;
	return f;
}

/* S1, X2, X4, GRANT */
static void cut(unsigned at)
{
	from_p = 0;
	cut_at = at;
	loopnet_set_fate(w->net, fate, NULL);
}

static void a_key_that_did_not_get_across_is_asked_for_again(void **state)
{
	cut(4);
	pair_up(p, q);
	cut(0);
	assert_paired(p, q, "code");
	assert_paired(q, p, "code");
	assert_int_equal(said(p, "pair.failed: the other machine is trusted, but the key"), 1);
	assert_int_equal(said(q, "pair.failed: the other machine is trusted, but the key"), 1);
	assert_false(node_has_mesh_key(q->node));
	again(q);
	world_pass(w, 5000);
	pair_up(p, q);
	assert_true(node_has_mesh_key(q->node));
	assert_int_equal(said(q, "pair.over: "), 1);
}

static void whoever_never_heard_the_answer_pairs_again(void **state)
{
	cut(3);
	pair_up(p, q);
	cut(0);
	/* The secret is on disk before X4 leaves: pending, not trusted. */
	assert_int_equal(pin_of(p, q)->state, PIN_PENDING);
	assert_pinned_nobody(q);
	assert_int_equal(said(p, "pair.failed"), 1);
	assert_int_equal(said(q, "pair.failed"), 1);
	again(p);
	again(q);
	world_pass(w, 1000);
	pair_up(p, q);
	assert_paired(p, q, "code");
	assert_paired(q, p, "code");
}

static void a_goodbye_ends_a_pairing(void **state)
{
	struct pairing_shown shown = show(p);

	type(q, shown.code, p->address);
	node_goodbye(q->node);
	world_pass(w, 1000);
	assert_pinned_nobody(p);
	node_goodbye(p->node);
	assert_false(p->node->pairing->showing);
}

/* --- a wolf --- */

struct wolf {
	struct transport *tp;
	struct keyring *keyring;
	struct im2_offer offer;     /* as a listener: the digits that it guessed */
	char guess[IM2_CODE_DIGITS]; /* as a dialler */
	bool silent;                /* says X1 and nothing more */
	struct {
		link_id id;
		struct im2_pair *p;
		unsigned said;
	} link[8];
	unsigned links, closed;
	bool paired;
};

static void wolf_drain(struct wolf *f, unsigned i)
{
	struct im2_pair_event e;
	uint8_t psk[PSK_BYTES];
	struct bytes unit;
	bool over = false;

	while (im2_pair_next_event(f->link[i].p, &e)) {
		if (e.type == IM2_PAIR_EV_PEER)
			(void)!im2_pair_admit(f->link[i].p, psk);
		f->paired |= e.type == IM2_PAIR_EV_PAIRED;
		over |= e.type == IM2_PAIR_EV_OVER;
	}
	while (im2_pair_next_unit(f->link[i].p, &unit))
		if (!f->silent || f->link[i].said++ == 0)
			(void)!tp_send(f->tp, f->link[i].id, unit, false);
	if (over && !f->silent)
		tp_close(f->tp, f->link[i].id);
}

static void wolf_opened(void *ctx, const struct link_info *info)
{
	struct wolf *f = ctx;
	struct im2_pair_config c = { .env = &w->env, .keyring = f->keyring, .listener = !info->dialled,
				     .hello = { .name = "wolf", .max_unit = IM2_PAIR_UNIT_MAX } };
	unsigned i = f->links++;

	assert_true(i < 8 && info->pair);
	f->link[i].id = info->id;
	c.offer = info->dialled ? NULL : &f->offer;
	memcpy(c.digits, f->guess, sizeof c.digits);
	assert_int_equal(im2_pair_new(&c, &f->link[i].p), ERR_OK);
	wolf_drain(f, i);
}

static void wolf_unit(void *ctx, link_id id, struct bytes unit, bool text)
{
	struct wolf *f = ctx;

	for (unsigned i = 0; i < f->links; i++)
		if (f->link[i].id == id) {
			im2_pair_take(f->link[i].p, unit);
			wolf_drain(f, i);
		}
}

static void wolf_closed(void *ctx, link_id id, enum link_end why, const char *detail)
{
	((struct wolf *)ctx)->closed++;
}

static void wolf_new(struct wolf *f, const char *address)
{
	struct transport_sink sink = { .ctx = f, .opened = wolf_opened, .unit = wolf_unit, .closed = wolf_closed };

	*f = (struct wolf){ 0 };
	assert_int_equal(keyring_generate(&w->env, &f->keyring), ERR_OK);
	assert_int_equal(loopback_new(w->net, address, &sink, &f->tp), ERR_OK);
}

static void wolf_free(struct wolf *f)
{
	loopback_kill(f->tp);
	tp_free(f->tp);
	for (unsigned i = 0; i < f->links; i++)
		im2_pair_free(f->link[i].p);
	keyring_free(f->keyring);
}

static void wolf_guesses(struct wolf *f, const char *code)
{
	link_id id;

	assert_int_equal(im2_code_parse(bytes_str(code), f->guess), ERR_OK);
	assert_int_equal(tp_dial(f->tp, "n0:1" LINK_PAIR_PATH, &id), ERR_OK);
	world_pass(w, 300);
}

static void in_the_middle_there_is_one_guess_at_each_end(void **state)
{
	struct pairing_shown shown = show(p);
	struct wolf wolf;

	wolf_new(&wolf, "wolf:1");
	wolf.offer = (struct im2_offer){ .live = true, .until_ms = UINT64_MAX };
	assert_int_equal(im2_code_parse(bytes_str(wrong(shown.code)), wolf.offer.digits), ERR_OK);
	type(q, shown.code, "wolf:1"); /* led astray */
	wolf_guesses(&wolf, wrong(shown.code));
	world_pass(w, 1000);
	assert_false(wolf.paired);
	assert_int_equal(said(q, "pair.failed: the code is wrong"), 1);
	assert_int_equal(said(p, "pair.used"), 1);
	assert_pinned_nobody(p);
	assert_pinned_nobody(q);
	/* There is no second one, on either side. */
	wolf_guesses(&wolf, shown.code);
	assert_false(wolf.paired);
	assert_false(q->node->pairing->typing);
	assert_pinned_nobody(p);
	wolf_free(&wolf);
}

static void a_second_guess_at_the_same_time_hears_that_it_is_used(void **state)
{
	struct pairing_shown shown = show(p);
	struct wolf wolf;

	wolf_new(&wolf, "wolf:1");
	wolf.silent = true; /* X1, and then it thinks */
	wolf_guesses(&wolf, wrong(shown.code));
	assert_true(p->node->pairing->attempts_n == 1 && p->node->pairing->showing);
	type(q, shown.code, p->address);
	world_pass(w, 500);
	assert_int_equal(said(q, "pair.failed: the code is used up there"), 1);
	assert_int_equal(said(p, "pair."), 0);
	/* Its time is short. */
	world_pass(w, 20000);
	assert_int_equal(said(p, "pair.used: somebody used the code and said nothing more"), 1);
	assert_int_equal(p->node->n.pair_guesses, 1);
	assert_pinned_nobody(p);
	wolf_free(&wolf);
}

static void whoever_only_connects_keeps_nobody_out(void **state)
{
	struct pairing_shown shown = show(p);
	struct wolf wolf;
	link_id id;

	wolf_new(&wolf, "wolf:1");
	wolf.silent = true;
	wolf.link[0].said = wolf.link[1].said = wolf.link[2].said = wolf.link[3].said = 1; /* not even X1 */
	for (int i = 0; i < 4; i++)
		assert_int_equal(tp_dial(wolf.tp, "n0:1" LINK_PAIR_PATH, &id), ERR_OK);
	world_pass(w, 100);
	assert_int_equal(p->node->pairing->attempts_n, ATTEMPTS_PER_SOURCE);
	assert_int_equal(wolf.closed, 4 - ATTEMPTS_PER_SOURCE);
	type(q, shown.code, p->address);
	world_pass(w, 300);
	assert_paired(p, q, "code");
	assert_int_equal(said(p, "pair.used") + said(p, "pair.failed"), 0);
	/* They go with the code. */
	world_pass(w, 1000);
	assert_int_equal(p->node->pairing->attempts_n, 0);
	assert_int_equal(wolf.closed, 4);
	wolf_free(&wolf);
}

/* --- digits --- */

static void compare(struct side *a, struct side *b)
{
	struct pairing_shown shown;

	show_so(a, (struct pairing_show){ .compare = true }, &shown);
	assert_string_equal(shown.code, "");
	type(b, NULL, a->address);
	world_pass(w, 300);
	assert_int_equal(said(a, "pair.compare") > 0, 1);
	assert_string_equal(digits_of(a), digits_of(b));
	assert_int_equal(strlen(digits_of(a)), 7);
	assert_pinned_nobody(a);
	assert_pinned_nobody(b);
}

static void both_say_yes(void **state)
{
	struct fault f = { 0 };

	compare(p, q);
	assert_int_equal(pairing_verdict(p->node, true, &f), ERR_OK);
	world_pass(w, 300);
	assert_pinned_nobody(p);
	assert_pinned_nobody(q);
	assert_int_equal(pairing_verdict(q->node, true, &f), ERR_OK);
	world_pass(w, 1000);
	assert_paired(p, q, "sas");
	assert_paired(q, p, "sas");
	assert_true(node_has_mesh_key(q->node));
	assert_int_equal(pairing_verdict(q->node, true, &f), ERR_WRONG_STATE);
	world_pass(w, 2000);
	assert_non_null(side_conn(q, p));
}

static void one_says_no(void **state)
{
	struct fault f = { 0 };

	compare(p, q);
	assert_int_equal(pairing_verdict(p->node, true, &f), ERR_OK);
	assert_int_equal(pairing_verdict(q->node, false, &f), ERR_OK);
	world_pass(w, 1000);
	assert_int_equal(said(q, "pair.failed: the digits differ"), 1);
	assert_int_equal(said(p, "pair.failed: the other side said no"), 1);
	assert_pinned_nobody(p);
	assert_pinned_nobody(q);
	assert_false(p->node->pairing->showing);
}

static void nobody_says_anything(void **state)
{
	compare(p, q);
	world_pass(w, 119000);
	assert_int_equal(said(p, "pair.failed") + said(q, "pair.failed"), 0);
	world_pass(w, 4000);
	assert_int_equal(said(p, "pair.failed"), 1);
	assert_int_equal(said(q, "pair.failed"), 1);
	assert_pinned_nobody(p);
	assert_pinned_nobody(q);
	assert_int_equal(p->node->pairing->attempts_n + q->node->pairing->attempts_n, 0);
}

static void a_third_one_does_not_get_in_between(void **state)
{
	struct fault f = { 0 };
	char plate[3], instance[9];

	compare(p, q);
	assert_false(pairing_publication(p->node, instance, plate));
	type(other, NULL, p->address);
	world_pass(w, 500);
	assert_int_equal(said(other, "pair.failed"), 1);
	assert_int_equal(said(p, "pair.failed"), 0);
	assert_int_equal(said(p, "pair.compare"), 1);
	assert_int_equal(pairing_verdict(p->node, true, &f), ERR_OK);
	assert_int_equal(pairing_verdict(q->node, true, &f), ERR_OK);
	world_pass(w, 1000);
	assert_paired(p, q, "sas");
	assert_null(pin_of(p, other));
}

static void a_code_and_digits_do_not_mix(void **state)
{
	struct pairing_shown shown;

	show_so(p, (struct pairing_show){ .compare = true }, &shown);
	type(q, "42-307-915", p->address);
	world_pass(w, 500);
	assert_int_equal(said(q, "pair.failed: that machine compares digits"), 1);
	assert_true(p->node->pairing->showing);
	pairing_stop(p->node);
	shown = show(p);
	type(q, NULL, p->address);
	world_pass(w, 500);
	assert_int_equal(said(q, "pair.failed: that machine shows a code"), 1);
	assert_true(p->node->pairing->offer.live);
	assert_int_equal(said(p, "pair."), 0);
}

/* --- mDNS --- */

static unsigned changes;

static void changed(void *ctx)
{
	changes++;
}

static void found(struct side *s, const char *instance, const char *plate, const char *address)
{
	char addresses[2][80] = { "nowhere:1" };

	snprintf(addresses[1], sizeof addresses[1], "%s", address);
	pairing_found(s->node, instance, plate, (const char(*)[80])addresses, 2);
}

static void a_code_is_found_by_its_plate(void **state)
{
	char instance[9], plate[3], unlike[3];
	struct pairing_shown shown;

	changes = 0;
	pairing_watch(p->node, changed, NULL);
	assert_false(pairing_publication(p->node, instance, plate));
	shown = show(p);
	assert_int_equal(changes, 1);
	assert_true(pairing_publication(p->node, instance, plate));
	assert_int_equal(strspn(instance, "0123456789abcdef"), 8);
	assert_true(strncmp(plate, shown.code, 2) == 0);
	assert_false(pairing_browses(q->node));
	found(q, "00000000", plate, p->address); /* nobody asked */
	type(q, shown.code, "");
	assert_true(pairing_browses(q->node));
	snprintf(unlike, sizeof unlike, "%c%c", plate[0], plate[1] == '9' ? '0' : plate[1] + 1);
	found(q, "11111111", unlike, "n2:1");
	world_pass(w, 3000);
	assert_int_equal(q->node->pairing->attempts_n, 0);
	/* The second address answers. */
	found(q, instance, plate, p->address);
	found(q, instance, plate, p->address);
	world_pass(w, 15000);
	assert_paired(q, p, "code");
	assert_string_equal(pin_of(q, p)->addresses[0].text, p->address);
	assert_false(pairing_browses(q->node));
	assert_false(pairing_publication(p->node, instance, plate));
	assert_true(changes >= 2);
	pairing_watch(p->node, NULL, NULL);
}

static void twins_are_not_dialled(void **state)
{
	struct pairing_shown shown = show(p);
	char plate[3];

	snprintf(plate, sizeof plate, "%.2s", shown.code);
	type(q, shown.code, "");
	found(q, "00000000", plate, "n2:1");
	found(q, "11111111", plate, p->address);
	world_pass(w, 3000);
	assert_int_equal(said(q, "pair.failed: two machines show this number"), 1);
	assert_int_equal(q->node->n.dials, 0);
	assert_true(p->node->pairing->offer.live);
	assert_pinned_nobody(q);
}

static void nobody_is_found(void **state)
{
	type(q, "42-307-915", "");
	world_pass(w, 59000);
	assert_int_equal(said(q, "pair."), 0);
	world_pass(w, 2000);
	assert_int_equal(said(q, "pair.failed: no machine that shows this was found"), 1);
	assert_false(pairing_browses(q->node));
}

/* --- commands --- */

static void one_command_at_a_time(void **state)
{
	static const int mine, yours;
	struct pairing_show how = { .owner = &mine };
	struct pairing_type t = typed("42-307-915", "n2:1");
	struct pairing_shown shown;
	struct fault f = { 0 };

	show_so(p, how, &shown);
	how.owner = t.owner = &yours;
	assert_int_equal(pairing_show(p->node, &how, &shown, &f), ERR_AGAIN);
	assert_int_equal(pairing_type(p->node, &t, &f), ERR_AGAIN);
	pairing_owner_gone(p->node, &yours);
	assert_true(p->node->pairing->showing);
	pairing_owner_gone(p->node, &mine);
	assert_false(p->node->pairing->showing);
	show_so(p, how, &shown);
	/* Its end is the end of what was shown, in the middle of it too. */
	type(q, shown.code, p->address);
	timers_run(&w->env);
	pairing_cancel(p->node);
	world_pass(w, 1000);
	assert_int_equal(said(p, "pair.failed: it was stopped"), 1);
	assert_int_equal(said(q, "pair.failed"), 1);
	assert_pinned_nobody(p);
	assert_pinned_nobody(q);
}

static void a_key_that_is_not_there_yet_is_waited_for(void **state)
{
	struct pairing_show how = { 0 };
	struct pairing_shown shown;

	show_so(q, how, &shown);
	assert_int_equal(shown.gives, PAIRING_GIVES_NOTHING);
	type(p, shown.code, q->address);
	world_pass(w, 1000);
	assert_paired(p, q, "code");
	assert_int_equal(said(p, "pair.over: "), 1);
	assert_false(node_has_mesh_key(q->node));
	/* What it does not have it can get from whoever shows. */
	pair_up(p, q);
	assert_true(node_has_mesh_key(q->node));
	/* And hand on. */
	other->no_mesh = true;
	again(other);
	pair_up(q, other);
	assert_true(node_has_mesh_key(other->node));
}

static void without_im2_there_is_no_pairing(void **state)
{
	struct pairing_show how = { 0 };
	struct pairing_shown shown;
	struct fault f = { 0 };

	p->old = true;
	again(p);
	assert_int_equal(pairing_show(p->node, &how, &shown, &f), ERR_UNSUPPORTED);
	type(q, "42-307-915", p->address);
	world_pass(w, 1000);
	assert_int_equal(said(q, "pair.failed: no machine shows a code there"), 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_right_code_pins_both_and_moves_the_key),
		T(what_came_is_there_after_a_restart),
		T(a_node_with_a_key_of_its_own_keeps_it),
		T(a_wrong_code_is_used_up),
		T(a_command_has_five_codes),
		T(guesses_lead_to_a_ban),
		T(two_type_and_one_guess_is_taken),
		T(a_code_lives_two_minutes),
		T(nobody_shows),
		T(pin_only_moves_nothing),
		T(a_passphrase_is_given_when_there_is_one),
		T(a_known_peer_becomes_verified),
		T(who_is_forgotten_is_not_dialled),
		T(who_is_revoked_is_not_paired),
		T(who_is_blocked_is_not_paired),
		T(a_name_stays_with_its_key),
		T(the_list_of_allowed_peers_holds),
		T(whom_the_typing_side_refuses_pins_nobody_as_trusted),
		T(a_key_that_did_not_get_across_is_asked_for_again),
		T(whoever_never_heard_the_answer_pairs_again),
		T(a_goodbye_ends_a_pairing),
		T(in_the_middle_there_is_one_guess_at_each_end),
		T(a_second_guess_at_the_same_time_hears_that_it_is_used),
		T(whoever_only_connects_keeps_nobody_out),
		T(both_say_yes),
		T(one_says_no),
		T(nobody_says_anything),
		T(a_third_one_does_not_get_in_between),
		T(a_code_and_digits_do_not_mix),
		T(a_code_is_found_by_its_plate),
		T(twins_are_not_dialled),
		T(nobody_is_found),
		T(one_command_at_a_time),
		T(a_key_that_is_not_there_yet_is_waited_for),
		T(without_im2_there_is_no_pairing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
