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

/* --- who it is ------------------------------------------------------------------------------------------------- */
/* Its own name, unless another trusted peer has that. */
static void name_for(struct node *n, const struct im2_hello *peer, const struct node_id *id, char out[static NAME_MAX_CHARS + 1])
{
	const struct pin *other = peer->name[0] ? pins_by_name(n->p.pins, peer->name) : NULL;

	if (other && !node_id_eq(&other->id, id))
		snprintf(out, NAME_MAX_CHARS + 1, "%.50s-%.6s", peer->name, id->hex);
	else
		snprintf(out, NAME_MAX_CHARS + 1, "%s", peer->name);
}

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

enum im2_refusal pairing_admit(struct attempt *a, const struct im2_pair_event *e, char why[static 160])
{
	struct node *n = a->of->node;
	const struct im2_hello *peer = e->peer;
	struct pin_update u = { .ed = peer->ed, .version = 0, .confirms = true, .state = PIN_PENDING,
				.via = a->compare ? "sas" : "code", .wall_ms = env_wall(n->env) };
	char name[NAME_MAX_CHARS + 1];
	uint8_t psk[PSK_BYTES];
	const struct pin *pin;
	struct fault f = { 0 };
	enum im2_refusal r;
	enum err err;

	node_id_of(peer->ed, &u.id);
	a->peer = u.id;
	pin = pins_get(n->p.pins, &u.id);
	snprintf(why, 160, "the trust store took no secret");
	if (records_dead(n, peer->ed) || (pin && (pin->state == PIN_BLOCKED || pin->state == PIN_REVOKED))) {
		snprintf(why, 160, "%.40s is %s here: ironmesh peers show %.32s", pin ? peer_name(n, &u.id) : "this identity",
			 pin ? pin_state_word(pin->state) : "revoked", u.id.hex);
		return IM2_E_POLICY;
	}
	if (pin && memcmp(pin->ed, peer->ed, ED_BYTES) != 0)
		return IM2_E_KEY_CONFLICT;
	pin = pins_by_x(n->p.pins, e->peer_x, NULL);
	if (pin && pin->x_proven && !node_id_eq(&pin->id, &u.id)) {
		snprintf(why, 160, "its exchange key belongs to %s", peer_name(n, &pin->id));
		return IM2_E_KEY_CONFLICT;
	}
	if (a->compare) /* nothing is stored before both said yes */
		return im2_pair_admit(a->p, psk);
	name_for(n, peer, &u.id, name);
	u.name = name;
	err = pins_observe(n->p.pins, &u, NULL);
	if (err != ERR_OK) {
		snprintf(why, 160, "the trust store does not take it: %s", err_word(err));
		return IM2_E_POLICY;
	}
	r = im2_pair_admit(a->p, psk);
	if (r != IM2_FINE)
		return r;
	err = put_secret(n, &u.id, psk, !a->listener);
	wipe(psk, sizeof psk);
	if (err == ERR_OK)
		err = pins_flush(n->p.pins, &f);
	if (err == ERR_OK)
		return IM2_FINE;
	log_error("pairing-not-stored what=\"%s\" err=%s", f.what, err_word(err));
	return IM2_E_LIMIT;
}

enum err pairing_pin(struct attempt *a, const struct im2_pair_event *e, struct fault *f)
{
	struct node *n = a->of->node;
	struct pin_update u = { .ed = e->peer->ed, .confirms = true, .state = PIN_PENDING, .via = a->compare ? "sas" : "code",
				.wall_ms = env_wall(n->env) };
	char name[NAME_MAX_CHARS + 1];
	bool replaced = false;
	enum err err = ERR_OK;

	node_id_of(e->peer->ed, &u.id);
	name_for(n, e->peer, &u.id, name);
	u.name = name;
	if (!pins_get(n->p.pins, &u.id))
		err = pins_observe(n->p.pins, &u, NULL);
	if (err == ERR_OK)
		err = put_secret(n, &u.id, e->pair_psk, true);
	if (err == ERR_OK)
		err = pins_prove_x(n->p.pins, &u.id, e->peer_x, u.wall_ms, &replaced);
	if (err == ERR_OK && a->address[0])
		err = pins_bind_address(n->p.pins, &u.id, a->address, NULL);
	if (err != ERR_OK)
		return fault_set(f, err, EXIT_GENERIC, "the trust store does not take the peer: %s", err_word(err));
	err = node_peer_approve(n, &u.id, f);
	if (err == ERR_OK)
		err = pins_set_verified(n->p.pins, &u.id, true);
	if (err == ERR_OK)
		err = pins_flush(n->p.pins, f);
	if (err != ERR_OK)
		return err;
	log_info("paired peer=%s name=%s via=%s", u.id.hex, peer_name(n, &u.id), u.via);
	audit_note(n->p.audit, "PEER_PAIRED", bytes_str(u.id.hex), "peer_id", u.id.hex, "via", u.via, "name",
		   peer_name(n, &u.id), NULL);
	return ERR_OK;
}

/* --- the credential ---------------------------------------------------------------------------------------------- */
bool pairing_grant(struct node *n, bool passphrase, struct grant_room *room, struct im2_grant_offer *out)
{
	struct bytes key, prekey;
	uint16_t passgen = 0;

	memset(room, 0, sizeof *room);
	buf_init(&room->records, GRANT_RECORDS_MAX);
	*out = (struct im2_grant_offer){ .kind = IM2_GRANT_MESH_KEY, .mesh = bytes_str(n->c.mesh ? n->c.mesh : "") };
	key = im2_host_mesh(n->im2, &passgen);
	if (passphrase && n->c.passphrase.n) {
		out->kind = IM2_GRANT_PASSPHRASE;
		key = n->c.passphrase;
	}
	if (!key.n || secret_copy(&room->key, key) != ERR_OK)
		return false;
	out->secret = secret_bytes(&room->key);
	out->passgen = passgen;
	if (discovery_key_ensure(n, room->disc) == ERR_OK)
		out->disc = BYTES_ARR(room->disc);
	prekey = records_get(n, keyring_ed(n->p.keyring), IM2_REC_PREKEY_T);
	if (prekey.n) {
		im2_lv_add(&room->records, prekey);
		if (room->records.err == ERR_OK)
			out->records = buf_bytes(&room->records);
	}
	return true;
}

void grant_room_wipe(struct grant_room *room)
{
	wipe(room->disc, sizeof room->disc);
	secret_free(&room->key);
	buf_fini(&room->records);
}

/* kind(1) || passgen u16 || name length(1) || name || secret */
static enum err keep(struct node *n, const struct im2_grant_offer *g)
{
	uint8_t head[4];
	struct buf b;
	enum err e;

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

enum err pairing_store(struct attempt *a, const struct im2_grant_offer *g)
{
	struct node *n = a->of->node;
	enum err e = keep(n, g);

	if (e == ERR_OK && g->disc.n == 32)
		e = discovery_key_set(n, g->disc.p);
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
	struct buf b;
	enum err e;

	buf_init(&b, KV_VALUE_MAX + 64);
	(void)!buf_reserve(&b, KV_VALUE_MAX + 64);
	e = store_kv_get(n->p.store, SPACE_MESH, MESH_KEY, &b);
	if (e == ERR_OK && b.n >= 4 && b.p[0] == IM2_GRANT_MESH_KEY && b.n == 4u + b.p[3] + 32)
		e = node_mesh_key(n, (uint16_t)(b.p[1] << 8 | b.p[2]), bytes_of(b.p + 4 + b.p[3], 32));
	buf_wipe(&b);
	buf_fini(&b);
	return e == ERR_NOTFOUND ? ERR_OK : e;
}

enum err pairing_passphrase(struct store *s, struct secret *out)
{
	struct buf b;
	enum err e;

	buf_init(&b, KV_VALUE_MAX + 64);
	(void)!buf_reserve(&b, KV_VALUE_MAX + 64);
	e = store_kv_get(s, SPACE_MESH, MESH_KEY, &b);
	if (e == ERR_OK && (b.n < 4 || b.p[0] != IM2_GRANT_PASSPHRASE || b.n <= 4u + b.p[3]))
		e = ERR_NOTFOUND;
	if (e == ERR_OK)
		e = secret_copy(out, bytes_of(b.p + 4 + b.p[3], b.n - 4 - b.p[3]));
	buf_wipe(&b);
	buf_fini(&b);
	return e;
}
