/* pairing_pin.c -- what a pairing changes here: the pin, its secret, the credential of the mesh (im2.md 6.2, 15.2, 15.3). */
#include "daemon/pairing_internal.h"

#include "base/text.h"
#include "daemon/discovery.h"
#include "daemon/records.h"
#include "protocol/im2/record.h"
#include "store/kv.h"

#define SPACE_MESH "meshkey"
#define MESH_KEY BYTES_LIT("mesh")
#define GRANT_RECORDS_MAX 60000
#define KEPT_HEAD 4

/* --- who it is ------------------------------------------------------------------------------------------------- */
static enum err put_secret(struct node *n, const struct node_id *id, const uint8_t psk[static PSK_BYTES], bool confirmed)
{
	struct psks all;
	bool replaced = false;
	enum err e = pins_get_psks(n->p.pins, id, &all);

	if (e == ERR_OK) {
		if (confirmed)
			(void)psks_confirm(&all, psk, &replaced);
		else
			(void)psks_candidate(&all, psk);
		e = pins_set_psks(n->p.pins, id, &all);
	}
	psks_wipe(&all);
	if (replaced)
		audit_note(n->p.audit, "PSK_REPLACED", bytes_str(id->hex), "peer_id", id->hex, NULL);
	return e;
}

static void key_changed(struct node *n, struct admit_result *r)
{
	struct node_event e = { .type = "peer.key_changed", .peer = r->alarm.now, .name = r->alarm.now_name, .alarm = &r->alarm };

	audit_note(n->p.audit, "TOFU_MISMATCH", bytes_str(r->alarm.now.hex), "subject", r->alarm.subject, "was",
		   r->alarm.was.hex, "now", r->alarm.now.hex, NULL);
	r->alarm.at_ms = env_wall(n->env);
	if (pins_alarm(n->p.pins, &r->alarm) == ERR_OK)
		node_pins_flush(n, "alarm");
	node_event(n, &e);
}

/* The same as before a session: a code is no way around a block, a revocation, or the name of somebody else. */
static enum im2_refusal judge(struct attempt *a, const struct im2_pair_event *e, struct fault *f)
{
	struct node *n = a->of->node;
	struct admit_request q = { .id = a->peer, .ed = e->peer->ed, .name = e->peer->name, .self = keyring_id(n->p.keyring),
				   .generation = "im2", .confirms = true, .x25519 = e->peer_x,
				   .revoked = records_dead(n, e->peer->ed) };
	struct admit_result r;

	policy_admit(n->c.policy, n->p.pins, &q, &r);
	if (r.verdict == ERR_OK)
		return IM2_FINE;
	*f = r.fault;
	if (r.verdict == ERR_KEY_CHANGED)
		key_changed(n, &r);
	return r.verdict == ERR_KEY_CHANGED || r.verdict == ERR_EXISTS ? IM2_E_KEY_CONFLICT : IM2_E_POLICY;
}

static enum err observe(struct attempt *a, const struct im2_pair_event *e)
{
	struct pin_update u = { .id = a->peer, .ed = e->peer->ed, .name = e->peer->name, .confirms = true, .state = PIN_PENDING,
				.via = a->compare ? "sas" : "code", .wall_ms = env_wall(a->of->node->env) };

	return pins_observe(a->of->node->p.pins, &u, NULL);
}

static enum err not_written(struct fault *f, enum err e)
{
	if (!f->what[0]) {
		fault_set(f, e, EXIT_GENERIC, "the trust store does not take the peer: %s", err_word(e));
		fault_next(f, "ironmesh doctor");
	}
	return e;
}

enum im2_refusal pairing_admit(struct attempt *a, const struct im2_pair_event *e, struct fault *f)
{
	struct node *n = a->of->node;
	uint8_t psk[PSK_BYTES];
	enum im2_refusal r = judge(a, e, f);
	enum err err;

	if (r != IM2_FINE)
		return r;
	if (a->compare) /* nothing is stored before both said yes */
		return im2_pair_admit(a->p, psk);
	err = observe(a, e);
	if (err != ERR_OK) {
		(void)not_written(f, err);
		return IM2_E_POLICY;
	}
	r = im2_pair_admit(a->p, psk);
	if (r != IM2_FINE)
		return r;
	err = put_secret(n, &a->peer, psk, !a->listener);
	wipe(psk, sizeof psk);
	if (err == ERR_OK)
		err = pins_flush(n->p.pins, f);
	if (err == ERR_OK)
		return IM2_FINE;
	a->mute = true;
	log_error("pairing-not-stored what=\"%s\" err=%s", f->what, err_word(not_written(f, err)));
	im2_pair_close(a->p);
	return IM2_E_LIMIT;
}

enum err pairing_pin(struct attempt *a, const struct im2_pair_event *e, struct fault *f)
{
	struct node *n = a->of->node;
	bool replaced = false;
	enum err err;

	/* Digits may be compared for two minutes, and meanwhile it was blocked, revoked, or its name given to somebody else. */
	if (judge(a, e, f) != IM2_FINE) {
		n->n.pair_refused++;
		audit_note(n->p.audit, "PAIR_REFUSED", bytes_str(a->peer.hex), "peer_id", a->peer.hex, "reason", f->what, NULL);
		return ERR_DENIED;
	}
	err = pins_get(n->p.pins, &a->peer) ? ERR_OK : observe(a, e);
	if (err == ERR_OK)
		err = put_secret(n, &a->peer, e->pair_psk, true);
	if (err == ERR_OK)
		err = pins_prove_x(n->p.pins, &a->peer, e->peer_x, env_wall(n->env), &replaced);
	if (err == ERR_OK && a->address[0])
		err = pins_bind_address(n->p.pins, &a->peer, a->address, NULL);
	if (err != ERR_OK)
		return not_written(f, err);
	if (replaced)
		audit_note(n->p.audit, "EXCHANGE_KEY_REPLACED", bytes_str(a->peer.hex), "peer_id", a->peer.hex, NULL);
	err = node_peer_approve(n, &a->peer, f);
	if (err == ERR_OK)
		err = pins_set_paired(n->p.pins, &a->peer, a->compare);
	if (err == ERR_OK)
		err = pins_flush(n->p.pins, f);
	if (err != ERR_OK)
		return not_written(f, err);
	log_info("paired peer=%s name=%s via=%s", a->peer.hex, peer_name(n, &a->peer), a->compare ? "sas" : "code");
	audit_note(n->p.audit, "PEER_PAIRED", bytes_str(a->peer.hex), "peer_id", a->peer.hex, "via", a->compare ? "sas" : "code",
		   "name", peer_name(n, &a->peer), NULL);
	return ERR_OK;
}

/* --- giving ------------------------------------------------------------------------------------------------------ */
static void add_record(struct node *n, uint64_t type, struct buf *to)
{
	struct bytes record = records_get(n, keyring_ed(n->p.keyring), type);

	if (record.n)
		im2_lv_add(to, record);
}

bool pairing_grant(struct node *n, enum pairing_gives gives, struct grant_room *room, struct im2_grant_offer *out)
{
	bool words = gives == PAIRING_GIVES_PASSPHRASE && n->c.passphrase.n;
	uint16_t passgen = 0;
	struct bytes key = im2_host_mesh(n->im2, &passgen);

	memset(room, 0, sizeof *room);
	buf_init(&room->records, GRANT_RECORDS_MAX);
	if (gives == PAIRING_GIVES_NOTHING || secret_copy(&room->key, words ? n->c.passphrase : key) != ERR_OK)
		return false;
	*out = (struct im2_grant_offer){ .kind = words ? IM2_GRANT_PASSPHRASE : IM2_GRANT_MESH_KEY,
					 .mesh = bytes_str(n->c.mesh ? n->c.mesh : ""),
					 .secret = secret_bytes(&room->key), .passgen = passgen };
	if (discovery_key_ensure(n, room->disc) == ERR_OK)
		out->disc = BYTES_ARR(room->disc);
	add_record(n, IM2_REC_PREKEY_T, &room->records);
	add_record(n, IM2_REC_CARD_T, &room->records);
	if (room->records.err == ERR_OK)
		out->records = buf_bytes(&room->records);
	return true;
}

void grant_room_wipe(struct grant_room *room)
{
	wipe(room->disc, sizeof room->disc);
	secret_free(&room->key);
	buf_fini(&room->records);
}

/* --- taking: kind(1) || passgen(2) || length of the mesh name(1) || mesh name || secret ---------------------------- */
static enum err keep(struct node *n, const struct im2_grant_offer *g)
{
	uint8_t head[KEPT_HEAD];
	struct buf b;
	enum err e;

	if (g->mesh.n > PAIRING_MESH_MAX)
		return ERR_LIMIT;
	buf_init(&b, 1024);
	(void)!buf_reserve(&b, 1024); /* it does not move: nothing of the secret is left elsewhere */
	head[0] = (uint8_t)g->kind;
	head[1] = (uint8_t)(g->passgen >> 8);
	head[2] = (uint8_t)g->passgen;
	head[3] = (uint8_t)g->mesh.n;
	buf_add(&b, BYTES_ARR(head));
	buf_add(&b, g->mesh);
	buf_add(&b, g->secret);
	e = b.err == ERR_OK ? store_kv_put(n->p.store, SPACE_MESH, MESH_KEY, buf_bytes(&b)) : b.err;
	buf_wipe(&b);
	buf_fini(&b);
	if (e == ERR_STORE)
		node_store_failed(n);
	return e;
}

/* `out` borrows from `room`, which the caller wipes. ERR_NOTFOUND. */
static enum err kept(struct store *s, struct buf *room, struct im2_grant_offer *out)
{
	enum err e;
	size_t name;

	buf_init(room, KV_VALUE_MAX + 64);
	(void)!buf_reserve(room, KV_VALUE_MAX + 64);
	e = store_kv_get(s, SPACE_MESH, MESH_KEY, room);
	if (e != ERR_OK)
		return e;
	name = room->n >= KEPT_HEAD ? room->p[3] : 0;
	if (room->n <= KEPT_HEAD + name || name > PAIRING_MESH_MAX)
		return ERR_CORRUPT;
	*out = (struct im2_grant_offer){ .kind = room->p[0], .passgen = (uint16_t)(room->p[1] << 8 | room->p[2]),
					 .mesh = bytes_of(room->p + KEPT_HEAD, name),
					 .secret = bytes_of(room->p + KEPT_HEAD + name, room->n - KEPT_HEAD - name) };
	return ERR_OK;
}

static void kept_wipe(struct buf *room)
{
	buf_wipe(room);
	buf_fini(room);
}

enum err pairing_store(struct attempt *a, const struct im2_grant_offer *g)
{
	struct node *n = a->of->node;
	struct bytes rest = g->records, one;
	enum err e = keep(n, g);

	if (e == ERR_OK && g->disc.n == IM2_DISC_BYTES)
		e = discovery_key_set(n, g->disc.p);
	while (e == ERR_OK && rest.n && im2_lv_take(&rest, &one) == IM2_FINE)
		records_granted(n, &a->peer, one);
	if (e == ERR_OK)
		e = node_commit(n);
	if (e != ERR_OK)
		return e;
	audit_note(n->p.audit, "CREDENTIAL_RECEIVED", bytes_str(a->peer.hex), "peer_id", a->peer.hex, "kind",
		   g->kind == IM2_GRANT_MESH_KEY ? "mesh-key" : "passphrase", NULL);
	return g->kind == IM2_GRANT_MESH_KEY ? node_mesh_key(n, g->passgen, g->secret) : ERR_OK;
}

enum err pairing_load(struct node *n)
{
	struct im2_grant_offer g;
	struct buf room;
	enum err e = kept(n->p.store, &room, &g);

	if (e == ERR_OK && g.kind == IM2_GRANT_MESH_KEY)
		e = node_mesh_key(n, g.passgen, g.secret);
	kept_wipe(&room);
	return e == ERR_NOTFOUND ? ERR_OK : e;
}

enum err pairing_passphrase(struct store *s, struct pairing_passphrase *out)
{
	struct im2_grant_offer g;
	struct buf room;
	enum err e = kept(s, &room, &g);

	if (e == ERR_OK && g.kind != IM2_GRANT_PASSPHRASE)
		e = ERR_NOTFOUND;
	if (e == ERR_OK) {
		*out = (struct pairing_passphrase){ .passgen = g.passgen };
		snprintf(out->mesh, sizeof out->mesh, "%.*s", (int)g.mesh.n, (const char *)g.mesh.p);
		e = secret_copy(&out->words, g.secret);
	}
	kept_wipe(&room);
	return e;
}
