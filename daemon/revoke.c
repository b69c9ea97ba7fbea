/* revoke.c -- what one operator alone may say: a quarantine, and the end of our own key. */
#include "daemon/revoke.h"

#include "base/text.h"
#include "daemon/records_internal.h"
#include "daemon/revoke_internal.h"
#include "store/kv.h"

#define NOTE_MAX 256

bool revoke_is_admin(const struct node *n, const uint8_t ed[static ED_BYTES])
{
	for (size_t i = 0; i < n->c.revoke_admins_n; i++)
		if (memcmp(n->c.revoke_admins[i], ed, ED_BYTES) == 0)
			return true;
	return false;
}

enum err revoke_may(struct node *n, bool admin, struct fault *f)
{
	if (!n->records) {
		fault_set(f, ERR_UNSUPPORTED, EXIT_GENERIC, "im2 is off, and signed revocations are part of it");
		fault_next(f, "ironmesh trust revoke PEER --reason TEXT   (here alone)");
		return ERR_UNSUPPORTED;
	}
	if (!admin || revoke_is_admin(n, keyring_ed(n->p.keyring)))
		return ERR_OK;
	if (n->c.revoke_admins_n)
		fault_set(f, ERR_DENIED, EXIT_POLICY, "the key of this node is not among --revoke-admins");
	else
		fault_set(f, ERR_DENIED, EXIT_POLICY, "nobody may revoke others in this mesh: --revoke-admins is not set");
	fault_means(f, "other nodes would show what it says, and do nothing");
	fault_next(f, "ironmesh trust revoke PEER --reason TEXT   (here alone)");
	return ERR_DENIED;
}

/* Of the record that we make of this target: higher than the last, and on disk with it. */
enum err revoke_next_gen(struct node *n, const uint8_t target[static ED_BYTES], uint64_t *out)
{
	struct records *r = n->records;
	uint8_t place[RECORD_PLACE_MAX], value[8];
	struct bytes key = record_place(keyring_ed(n->p.keyring), IM2_REC_REVOKE_T, bytes_of(target, ED_BYTES), place);
	struct wr w = wr_init(value, sizeof value);
	uint64_t gen = 1;
	enum err e;

	buf_reset(&r->value);
	e = store_kv_get(n->p.store, SPACE_GENERATION, key, &r->value);
	if (e == ERR_OK) {
		struct rd rd = rd_init(r->value.p, r->value.n);

		gen = rd_u64(&rd) + 1;
		e = rd_end(&rd);
	}
	if (e != ERR_OK && e != ERR_NOTFOUND)
		return e;
	if (gen > IM2_GEN_MAX)
		return ERR_LIMIT;
	wr_u64(&w, gen);
	e = store_kv_put(n->p.store, SPACE_GENERATION, key, BYTES_ARR(value));
	if (e == ERR_STORE)
		node_store_failed(n);
	if (e == ERR_OK)
		*out = gen;
	return e;
}

void revoke_body(const uint8_t target[static ED_BYTES], unsigned reason, unsigned scope, const char *note,
		 const uint8_t *quorum, struct buf *out)
{
	struct im2_fields f = { .schema = &im2_revoke };
	char safe[NOTE_MAX + 1];

	im2_set_b(&f, IM2_REVOKE_TARGET, bytes_of(target, ED_BYTES));
	im2_set_u(&f, IM2_REVOKE_REASON, reason);
	im2_set_u(&f, IM2_REVOKE_SCOPE, scope);
	if (note && note[0])
		im2_set_b(&f, IM2_REVOKE_NOTE, bytes_str(text_safe(bytes_str(note), safe, sizeof safe)));
	if (quorum)
		im2_set_b(&f, IM2_REVOKE_QUORUM, bytes_of(quorum, 16));
	im2_write(&im2_revoke, &f, out);
}

uint64_t revoke_issued_ms(const struct node *n)
{
	return env_wall(n->env) >= CLOCK_PLAUSIBLE_MS ? env_wall(n->env) : 0;
}

enum err revoke_issue(struct node *n, struct bytes raw, const char *kind, const struct node_id *target, struct fault *f)
{
	struct im2_record rec;
	char digest[33];
	uint8_t d[16];
	enum err e = im2_record_parse(raw, &rec) == IM2_FINE ? ERR_OK : ERR_MALFORMED;

	if (e == ERR_OK)
		e = notice_issue(n->records, &rec);
	if (e != ERR_OK)
		return fault_set(f, e, EXIT_RETRY, "the revocation could not be kept, and was not sent: %s", err_word(e));
	im2_record_digest(raw, d);
	hex_encode(BYTES_ARR(d), digest);
	log_warn("revocation-issued peer=%s kind=%s record=%s", target->hex, kind, digest);
	audit_note(n->p.audit, "REVOCATION_ISSUED", (struct bytes){ 0 }, "peer_id", target->hex, "kind", kind, "record", digest,
		   NULL);
	return ERR_OK;
}

/* --- one administrator ----------------------------------------------------------------------------------------- */
enum err revoke_quarantine(struct node *n, const struct node_id *target, const char *note, struct fault *f)
{
	const struct pin *pin = pins_get(n->p.pins, target);
	uint8_t ed[ED_BYTES];
	struct buf body, raw;
	uint64_t gen;
	enum err e = revoke_may(n, true, f);

	if (e != ERR_OK)
		return e;
	if (!pin)
		return fault_set(f, ERR_NOTFOUND, EXIT_PEER_UNKNOWN, "no peer has the id %s", target->hex);
	memcpy(ed, pin->ed, sizeof ed);
	buf_init(&body, 512);
	buf_init(&raw, IM2_RECORD_MAX);
	e = revoke_next_gen(n, ed, &gen);
	if (e == ERR_OK) {
		revoke_body(ed, 0, 1, note, NULL, &body);
		e = body.err;
	}
	if (e == ERR_OK) {
		im2_record_write(n->p.keyring, IM2_REC_REVOKE_T, gen, revoke_issued_ms(n), 0, buf_bytes(&body), &raw);
		e = raw.err;
	}
	if (e == ERR_OK)
		e = im2_records_own(n->records->cache, buf_bytes(&raw));
	if (e != ERR_OK)
		fault_set(f, e, EXIT_RETRY, "the revocation cannot be made: %s", err_word(e));
	else
		e = revoke_issue(n, buf_bytes(&raw), "quarantine", target, f);
	if (e == ERR_OK)
		revoke_tell_old(n, target, note);
	buf_fini(&body);
	buf_fini(&raw);
	return e;
}

/* --- our own key -------------------------------------------------------------------------------------------------- */
enum err revoke_self(struct node *n, unsigned reason, struct fault *f)
{
	const struct node_id self = *keyring_id(n->p.keyring);
	struct buf raw;
	uint64_t gen;
	enum err e = revoke_may(n, false, f);

	if (e != ERR_OK)
		return e;
	buf_init(&raw, IM2_RECORD_MAX);
	e = revoke_next_gen(n, keyring_ed(n->p.keyring), &gen);
	if (e == ERR_OK) {
		im2_revoke_self_write(n->p.keyring, gen, revoke_issued_ms(n), reason, &raw);
		e = raw.err;
	}
	if (e == ERR_OK)
		e = im2_records_own(n->records->cache, buf_bytes(&raw));
	/* The old wire first: a peer that hears it on im2 may pass it on, and nobody hears anything of us after that. */
	if (e == ERR_OK)
		revoke_tell_old(n, &self, "revoked by its own key");
	if (e != ERR_OK)
		fault_set(f, e, EXIT_RETRY, "the revocation cannot be made: %s", err_word(e));
	else
		e = revoke_issue(n, buf_bytes(&raw), "self", &self, f);
	buf_fini(&raw);
	return e;
}
