/*
 * courier_in.c -- sealed objects that are for us: opened, their author judged like anybody who comes for the first time, and
 * handed to the straight line in; and receipts on their way back to authors who have no session with us.
 */
#include "daemon/courier_internal.h"

#include <stdlib.h>

#include "base/text.h"
#include "daemon/inbound.h"
#include "daemon/refusals.h"
#include "protocol/im2/content.h"

#define RECEIPT_WAIT_MS 200        /* for company; at most 5 s by 10.2 */
#define RECEIPT_TTL_S 86400
#define ECHO_TTL_S 600
#define RECEIPT_AGAIN_MS 5000
#define NO_FS_KEEP_S (400u * 86400u)

/* --- who is it? --------------------------------------------------------------------------------------------- */
static bool who(void *ctx, const uint8_t x[static 32], uint8_t ed[static ED_BYTES])
{
	struct node *n = ctx;
	const struct pin *pin = pins_by_x(n->p.pins, x, NULL);

	if (!pin)
		return false;
	memcpy(ed, pin->ed, ED_BYTES);
	return true;
}

/* A stranger who came with his name and key: pinned as pending, under the rules and the rate of a first contact. Whoever is
 * pinned by his key alone is known now by his X25519 key too. */
static bool admit_author(struct courier *k, const struct im2_opened *o, const struct node_id *id)
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
	if (!pin && n->c.limits.strangers_per_s >= 0 && !bucket_take(&n->strangers, 1, env_now(n->env)))
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
	if (im2_smsg_open(value, o->author_ed, n->p.keyring, &rd) != IM2_FINE)
		return;
	while (im2_smsg_next(&rd, &m, id, type)) {
		m.was_sealed = true;
		n->n.sealed_received++;
		inbound_sealed_message(from, &m, &s);
		if (from->closing)
			return;
	}
}

/* One PING or PONG, which looks like a short message to relays. */
static bool send_echo(struct courier *k, const struct node_id *to, struct conn *next, uint16_t tag, struct bytes value)
{
	struct buf items, rt, body;
	struct im2_sealed sealed;
	bool good;

	buf_init(&items, 64);
	buf_init(&rt, IM2_RT_MAX);
	buf_init(&body, 4096);
	im2_item_add(&items, tag, value);
	good = next && items.err == ERR_OK &&
	       courier_wrap(k, to, buf_bytes(&items), ECHO_TTL_S, PRIO_NORMAL, true, &rt, &body, &sealed) == ERR_OK &&
	       relay_send(next, buf_bytes(&rt), buf_bytes(&body), RELAY_HOPS, 0) == ERR_OK;
	buf_fini(&items);
	buf_fini(&rt);
	buf_fini(&body);
	return good;
}

bool courier_probe(struct node *n, const struct node_id *to, struct conn *via, const uint8_t nonce[static 8])
{
	return n->courier && send_echo(n->courier, to, via, IM2_ITEM_PING, bytes_of(nonce, 8));
}

void courier_arrived(struct conn *from, const uint8_t rid[static 16], struct bytes rt, struct bytes body, uint32_t age_s)
{
	struct node *n = from->node;
	struct courier *k = n->courier;
	struct im2_opened o;
	struct bytes items, value;
	enum im2_refusal why;
	struct node_id author;
	const struct pin *pin;
	uint8_t id[16];
	uint16_t tag;

	memcpy(id, rid, sizeof id);
	if (!k || !records_prekeys(n))
		return;
	buf_wipe(&k->plain);
	why = im2_open_sealed(n->p.keyring, records_prekeys(n), rt, body, who, n, &k->plain, &o);
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
	if (o.introduced && !admit_author(k, &o, &author)) {
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
		else if (tag == IM2_ITEM_PING && pin->state == PIN_TRUSTED)
			(void)send_echo(k, &author, routes_next(n, &author, NULL), IM2_ITEM_PONG, value);
		else if (tag == IM2_ITEM_PONG)
			routes_probe_answered(n, &author, value);
	}
	buf_wipe(&k->plain);
}

/* --- receipts back ------------------------------------------------------------------------------------------- */
static struct owed *owed_find(struct courier *k, const struct node_id *author)
{
	void *v = map_peek(k->owed, bytes_of(author->hex, NODE_ID_LEN));
	struct owed *o = NULL;

	if (v)
		memcpy(&o, v, sizeof o);
	return o;
}

static struct owed *owed_get(struct courier *k, const struct node_id *author)
{
	struct owed *o = owed_find(k, author);
	bool created;
	void *v;

	if (o)
		return o;
	o = calloc(1, sizeof *o);
	if (!o || map_put(k->owed, bytes_of(author->hex, NODE_ID_LEN), 0, &v, &created) != ERR_OK) {
		free(o);
		return NULL;
	}
	memcpy(v, &o, sizeof o);
	o->author = *author;
	return o;
}

/* One SRECEIPT of all, sealed. False: there is no way, or no key, now. */
static bool flush(struct courier *k, struct owed *o)
{
	struct node *n = k->node;
	const struct pin *pin = pins_get(n->p.pins, &o->author);
	struct conn *next = routes_next(n, &o->author, NULL);
	struct receipt r[COURIER_RECEIPTS];
	struct buf receipt, signed_, items, rt, body;
	struct im2_sealed sealed;
	bool done = false;

	if (!pin || !next)
		return false;
	for (size_t i = 0; i < o->n; i++)
		r[i] = (struct receipt){ .kind = o->r[i].kind, .id = bytes_str(o->r[i].id), .code = o->r[i].code };
	buf_init(&receipt, IM2_RECEIPT_MAX);
	buf_init(&signed_, IM2_SRECEIPT_MAX);
	buf_init(&items, IM2_SRECEIPT_MAX + 16);
	buf_init(&rt, IM2_RT_MAX);
	buf_init(&body, 65536);
	if (im2_receipt_write(r, o->n, 0, IM2_RECEIPT_MAX, &receipt) == o->n && receipt.err == ERR_OK) {
		im2_sreceipt_write(n->p.keyring, pin->ed, buf_bytes(&receipt), &signed_);
		im2_item_add(&items, IM2_ITEM_SRECEIPT, buf_bytes(&signed_));
		done = signed_.err == ERR_OK && items.err == ERR_OK &&
		       courier_wrap(k, &o->author, buf_bytes(&items), RECEIPT_TTL_S, PRIO_NORMAL, !pin->x_proven, &rt, &body,
				    &sealed) == ERR_OK &&
		       relay_send(next, buf_bytes(&rt), buf_bytes(&body), RELAY_HOPS, 0) == ERR_OK;
	}
	if (!done)
		records_want(next, &o->author, IM2_REC_PREKEY_T);
	for (size_t i = 0; done && i < o->n; i++) {
		n->n.receipts_sent++;
		if (o->r[i].inbox_seq && inbox_mark_reported(n->p.store, o->r[i].inbox_seq) == ERR_STORE) {
			node_store_failed(n);
			break;
		}
		node_store_soft(n);
	}
	buf_fini(&receipt);
	buf_fini(&signed_);
	buf_fini(&items);
	buf_fini(&rt);
	buf_fini(&body);
	return done;
}

struct flushing {
	struct courier *k;
	uint64_t now, next;
	bool all;
};

static bool flush_one(void *ctx, struct bytes key, void *value)
{
	struct flushing *f = ctx;
	struct owed *o;

	memcpy(&o, value, sizeof o);
	if (f->all || o->due_ms <= f->now) {
		if (flush(f->k, o)) {
			free(o);
			return false;
		}
		o->due_ms = f->now + RECEIPT_AGAIN_MS;
	}
	f->next = o->due_ms < f->next ? o->due_ms : f->next;
	return true;
}

uint64_t courier_receipts_due(struct courier *k, bool all)
{
	struct flushing f = { .k = k, .now = env_now(k->node->env), .next = UINT64_MAX, .all = all };

	if (map_count(k->owed))
		map_each(k->owed, flush_one, &f);
	return f.next;
}

void courier_receipt(struct node *n, const struct node_id *author, const struct pending_receipt *r)
{
	struct courier *k = n->courier;
	struct peer *p = peer_now(n, author);
	struct owed *o;

	if (p && p->conn && p->conn->im2) {
		conn_receipt(p->conn, r);
		return;
	}
	if (r->silent || strlen(r->id) != 32)
		return;
	o = k ? owed_get(k, author) : NULL;
	if (!o)
		return; /* he sends it again, and is answered then */
	/* The newest word on a message is the one that counts. */
	size_t at = 0;

	while (at < o->n && strcmp(o->r[at].id, r->id) != 0)
		at++;
	if (at == COURIER_RECEIPTS) {
		if (!flush(k, o))
			return;
		o->n = at = 0;
	}
	o->r[at].kind = r->kind;
	o->r[at].code = r->code;
	o->r[at].inbox_seq = r->kind == RECEIPT_READ ? r->inbox_seq : 0;
	memcpy(o->r[at].id, r->id, 33);
	if (at == o->n)
		o->n++;
	if (o->n == 1)
		o->due_ms = env_now(n->env) + RECEIPT_WAIT_MS;
	courier_wake_at(k, o->due_ms);
}
