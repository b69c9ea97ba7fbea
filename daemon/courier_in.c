/*
 * courier_in.c -- sealed objects that are for us: opened, their author judged like anybody who comes for the first time, and
 * handed to the straight line in (im2.md 11.3). And sealed PINGs, which measure a way.
 */
#include "daemon/courier_internal.h"

#include <stdlib.h>

#include "base/text.h"
#include "daemon/inbound.h"
#include "daemon/refusals.h"
#include "protocol/im2/content.h"

#define MIB (1024.0 * 1024)
#define STRANGERS_RATE 1           /* whom one neighbour brings (18.3) */
#define STRANGERS_BURST 10
#define STRANGERS_MAX 256          /* pending, in all */
#define CLAIMS_MAX 4               /* identities that claim one key: so many are tried */
#define ECHO_TTL_S 600
#define PROBE_MS 60000
#define NO_FS_KEEP_S (400u * 86400u)

/* --- what a neighbour may bring ---------------------------------------------------------------------------------- */
static struct giver *giver_of(struct courier *k, const struct conn *from)
{
	struct node *n = k->node;
	const struct pin *pin = pins_get(n->p.pins, &from->peer->id);
	bool trusted = pin && pin->state == PIN_TRUSTED, created;
	uint64_t now = env_now(n->env);
	struct giver *g;
	void *v;

	if (map_put(k->givers, bytes_of(from->peer->id.hex, NODE_ID_LEN), 0, &v, &created) != ERR_OK)
		return NULL;
	g = v;
	if (created)
		bucket_init(&g->strangers, STRANGERS_RATE, STRANGERS_BURST, now);
	if (created || g->trusted != trusted) {
		g->trusted = trusted;
		bucket_init(&g->objects, trusted ? 500 : 50, trusted ? 2000 : 200, now);
		bucket_init(&g->bytes, trusted ? 16 * MIB : MIB, trusted ? 32 * MIB : 4 * MIB, now);
	}
	return g;
}

/* --- who is it? -------------------------------------------------------------------------------------------------- */
/* Whoever is pinned with this key, proven or not. A key that nobody has proven may be claimed by several: `skip` of them
 * were tried. */
struct search {
	struct node *n;
	const uint8_t *x;
	unsigned skip, seen;
	const struct pin *found;
};

static bool has_key(void *ctx, const struct pin *pin)
{
	struct search *s = ctx;

	if (!pin->has_x25519 || pin->x_proven || memcmp(pin->x25519, s->x, X25519_BYTES) != 0)
		return true;
	if (s->seen++ == s->skip)
		s->found = pin;
	return true;
}

static bool who(void *ctx, const uint8_t x[static 32], uint8_t ed[static ED_BYTES])
{
	struct search *s = ctx;
	const struct pin *pin = s->skip ? NULL : pins_by_x(s->n->p.pins, x, NULL);

	s->x = x;
	s->seen = 0;
	s->found = pin;
	if (!pin)
		pins_each(s->n->p.pins, has_key, s);
	if (s->found)
		memcpy(ed, s->found->ed, ED_BYTES);
	return s->found != NULL;
}

static enum im2_refusal open_sealed(struct courier *k, struct bytes rt, struct bytes body, struct im2_opened *o)
{
	struct node *n = k->node;
	struct search s = { .n = n };
	enum im2_refusal why;

	do {
		buf_wipe(&k->plain);
		why = im2_open_sealed(n->p.keyring, records_prekeys(n), rt, body, who, &s, &k->plain, o);
	} while (why != IM2_FINE && s.seen > s.skip + 1 && ++s.skip < CLAIMS_MAX);
	return why;
}

static bool has_message(struct bytes items)
{
	struct bytes value;
	uint16_t tag;

	while (im2_item_next(&items, &tag, &value))
		if (tag == IM2_ITEM_SMSG)
			return true;
	return false;
}

/* A stranger who came with his name and key: pinned as pending, under the rules and the rate of a first contact. Whoever is
 * pinned by his key alone is known now by his X25519 key too. */
static bool admit_author(struct courier *k, struct giver *from, const struct im2_opened *o, const struct node_id *id)
{
	struct node *n = k->node;
	const struct pin *pin = pins_get(n->p.pins, id);
	struct admit_request rq = { .id = *id, .ed = o->author_ed, .name = o->author_name, .self = keyring_id(n->p.keyring),
				    .generation = "im2", .x25519 = o->sender_x, .revoked = records_dead(n, o->author_ed) };
	struct admit_result rs = { 0 };
	struct pin_update u = { .id = *id, .ed = o->author_ed, .name = o->author_name, .x25519 = o->sender_x, .confirms = true,
				.state = PIN_PENDING, .via = "relay", .wall_ms = env_wall(n->env) };
	bool created = false;

	if (pin && pin->has_x25519 && memcmp(pin->x25519, o->sender_x, X25519_BYTES) != 0) {
		audit_note(n->p.audit, "SEALED_KEY_CONFLICT", bytes_str(id->hex), "peer_id", id->hex, NULL);
		return false;
	}
	policy_admit(n->c.policy, n->p.pins, &rq, &rs);
	if (rs.verdict != ERR_OK) {
		n->n.admission_refused++;
		refuse_contact(n, id, o->author_name, "a relay", id->hex, false, err_word(rs.verdict), &rs.fault, true);
		log_info("sealed-author-refused peer=%s what=\"%s\"", id->hex, rs.fault.what);
		return false;
	}
	/* Who only confirms something was never written to by us. */
	if (!pin && (!has_message(o->items) || pins_count_state(n->p.pins, PIN_PENDING) >= STRANGERS_MAX ||
		     !bucket_take(&from->strangers, 1, env_now(n->env)) ||
		     (n->c.limits.strangers_per_s >= 0 && !bucket_take(&n->strangers, 1, env_now(n->env)))))
		return false;
	if (!pin && rs.via && strcmp(rs.via, "allow-list") == 0)
		u.state = rs.state;
	if (pins_observe(n->p.pins, &u, &created) != ERR_OK)
		return false;
	node_pins_flush(n, "an author behind relays");
	if (created) {
		n->n.strangers++;
		audit_note(n->p.audit, "TOFU_NEW_PEER", bytes_str(id->hex), "peer_id", id->hex, "via", "relay", NULL);
		node_simple_event(n, "peer.pending", id, "came through a relay");
	}
	return true;
}

/* --- what it says ------------------------------------------------------------------------------------------- */
static void take_messages(struct courier *k, struct conn *from, const struct im2_opened *o, struct bytes value, uint32_t age_s)
{
	struct node *n = k->node;
	uint64_t running = store_running_ms(n->p.store);
	struct inbound_sealed s = { .age_s = age_s, .no_fs = o->no_fs, .keep_s = NO_FS_KEEP_S };
	char id[33], type[MSG_TYPE_MAX + 1];
	struct im2_smsg_reader rd;
	struct message m;

	if (!o->no_fs)
		s.keep_s = o->prekey_erase_ms > running ? (o->prekey_erase_ms - running) / 1000 + 1 : 1;
	im2_smsg_opened(value, o->author_ed, n->p.keyring, &rd);
	while (im2_smsg_next(&rd, &m, id, type)) {
		m.was_sealed = true;
		n->n.sealed_received++;
		inbound_sealed_message(from, &m, &s);
		if (n->group_failed || from->closing)
			return;
		if (m.settled)
			marks_settled_of(n, &m.source, m.wire_id, m.settled);
	}
}

/* --- probes ------------------------------------------------------------------------------------------------------ */
/* It looks like a short message to relays. */
static bool echo(struct courier *k, const struct node_id *to, struct conn *next, uint16_t tag, struct bytes word)
{
	const struct destination *d = courier_find(k, to);
	struct buf items, rt, body;
	struct im2_sealed sealed;
	bool sent;

	buf_init(&items, 64);
	buf_init(&rt, IM2_RT_MAX);
	buf_init(&body, 4096);
	im2_item_add(&items, tag, word);
	sent = items.err == ERR_OK &&
	       courier_wrap(k, to, buf_bytes(&items), ECHO_TTL_S, PRIO_NORMAL, !d || !d->introduced, &rt, &body, &sealed) ==
		       ERR_OK &&
	       relay_send(next, buf_bytes(&rt), buf_bytes(&body), RELAY_HOPS, 0) == ERR_OK;
	buf_fini(&items);
	buf_fini(&rt);
	buf_fini(&body);
	return sent;
}

bool courier_probe(struct node *n, const struct node_id *to, struct conn *via)
{
	struct courier *k = n->courier;
	uint64_t now = env_now(n->env);
	struct probe *p = k ? &k->probes[0] : NULL;

	if (!k)
		return false;
	for (int i = 0; i < COURIER_PROBES; i++) {
		struct probe *q = &k->probes[i];

		if (now + 1 - q->sent_ms > PROBE_MS || (node_id_eq(&q->to, to) && node_id_eq(&q->via, &via->peer->id)))
			q->sent_ms = 0;
		p = q->sent_ms < p->sent_ms ? q : p;
	}
	env_random(n->env, p->word, sizeof p->word);
	p->to = *to;
	p->via = via->peer->id;
	if (!echo(k, to, via, IM2_ITEM_PING, BYTES_ARR(p->word)))
		return false;
	p->sent_ms = now + 1;
	return true;
}

/* Only the answer to a question of ours measures anything. */
static void answered(struct courier *k, const struct node_id *author, struct bytes word)
{
	struct node *n = k->node;

	for (int i = 0; i < COURIER_PROBES; i++) {
		struct probe *p = &k->probes[i];

		if (!p->sent_ms || !node_id_eq(&p->to, author) || !bytes_eq(word, BYTES_ARR(p->word)))
			continue;
		routes_probed(n, author, &p->via, (double)(env_now(n->env) + 1 - p->sent_ms));
		p->sent_ms = 0;
		return;
	}
}

static void asked(struct courier *k, const struct node_id *author, struct bytes word)
{
	struct conn *next = routes_next(k->node, author, NULL);

	if (next)
		(void)!echo(k, author, next, IM2_ITEM_PONG, word);
}

/* --- arrival ------------------------------------------------------------------------------------------------------ */
void courier_arrived(struct conn *from, const uint8_t rid[static 16], struct bytes rt, struct bytes body, uint32_t age_s)
{
	struct node *n = from->node;
	struct courier *k = n->courier;
	struct im2_opened o;
	struct bytes items, value;
	enum im2_refusal why;
	struct node_id author;
	const struct pin *pin;
	bool echoed = false;
	struct giver *g;
	uint8_t id[16];
	uint16_t tag;

	memcpy(id, rid, sizeof id);
	if (!k || !records_prekeys(n) || !(g = giver_of(k, from)))
		return;
	if (!bucket_take(&g->objects, 1, env_now(n->env)) ||
	    !bucket_take(&g->bytes, (double)(rt.n + body.n), env_now(n->env))) {
		n->n.sealed_refused++;
		relay_feedback(from, id, ROUTEFB_QUOTA, 1);
		return;
	}
	why = open_sealed(k, rt, body, &o);
	if (why != IM2_FINE) {
		n->n.sealed_refused++;
		log_info("sealed-refused from=%s why=%s", from->peer->id.hex, im2_refusal_word(why));
		audit_note(n->p.audit, "E2E_DECRYPT_FAILURE", bytes_str(from->peer->id.hex), "delivered_by", from->peer->id.hex,
			   "reason", im2_refusal_word(why), NULL);
		if (why == IM2_E_INDEX)
			relay_feedback(from, id, ROUTEFB_NO_PREKEY, 0);
		else if (why == IM2_E_AEAD)
			relay_feedback(from, id, ROUTEFB_CANNOT_OPEN, 0);
		return;
	}
	node_id_of(o.author_ed, &author);
	if (o.introduced && !admit_author(k, g, &o, &author)) {
		n->n.sealed_refused++;
		buf_wipe(&k->plain);
		return;
	}
	pin = pins_get(n->p.pins, &author);
	if (!pin || pin->state == PIN_BLOCKED || pin->state == PIN_REVOKED || !admit_relayed(from, &author)) {
		n->n.sealed_refused++;
		buf_wipe(&k->plain);
		return;
	}
	items = o.items;
	while (!from->closing && im2_item_next(&items, &tag, &value)) {
		if (tag == IM2_ITEM_SMSG)
			take_messages(k, from, &o, value, age_s);
		else if (tag == IM2_ITEM_SRECEIPT)
			records_receipt(n, value);
		else if (tag == IM2_ITEM_PING && pin->state == PIN_TRUSTED && !echoed) {
			/* Once for an object: each answer is a sealed one, and 256 questions fit into one. */
			echoed = true;
			asked(k, &author, value);
		} else if (tag == IM2_ITEM_PONG)
			answered(k, &author, value);
	}
	buf_wipe(&k->plain);
}
