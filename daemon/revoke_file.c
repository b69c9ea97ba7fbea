/* revoke_file.c -- a revocation that several administrators sign, as it travels between their machines. */
#include "daemon/revoke.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/text.h"
#include "daemon/records_internal.h"
#include "daemon/revoke_internal.h"
#include "protocol/im2/enc.h"

#define SCHEMA "ironmesh.revocation/1"

struct draft {
	struct buf t;
	struct buf fake; /* a record around t, so that it can be looked into */
	struct im2_record rec;
	uint8_t target[ED_BYTES];
	unsigned reason, scope;
	bool ours;       /* it names the set of administrators of this node */
	struct im2_signature s[IM2_SIGNERS_MAX];
	size_t n;
};

static void draft_begin(struct draft *d)
{
	memset(d, 0, sizeof *d);
	buf_init(&d->t, IM2_RECORD_MAX);
	buf_init(&d->fake, IM2_RECORD_MAX);
}

static void draft_end(struct draft *d)
{
	buf_fini(&d->t);
	buf_fini(&d->fake);
}

/* --- what is signed ---------------------------------------------------------------------------------------------- */
static enum err look(struct node *n, struct draft *d)
{
	static const uint8_t no_signature[1 + SIG_BYTES];
	struct im2_fields f;
	uint8_t quorum[16];

	buf_reset(&d->fake);
	im2_lv_add(&d->fake, buf_bytes(&d->t));
	buf_add(&d->fake, BYTES_ARR(no_signature));
	if (d->fake.err != ERR_OK || im2_record_parse(buf_bytes(&d->fake), &d->rec) != IM2_FINE || d->rec.type != IM2_REC_REVOKE_T ||
	    d->rec.life_s != 0 || im2_parse(&im2_revoke, d->rec.body, &f) != IM2_FINE)
		return ERR_MALFORMED;
	memcpy(d->target, f.v[IM2_REVOKE_TARGET].b.p, ED_BYTES);
	d->reason = (unsigned)f.v[IM2_REVOKE_REASON].u;
	d->scope = (unsigned)f.v[IM2_REVOKE_SCOPE].u;
	if (n->c.revoke_admins_n) {
		im2_quorum_id(n->c.revoke_quorum, n->c.revoke_admins, n->c.revoke_admins_n, quorum);
		d->ours = im2_has(&f, IM2_REVOKE_QUORUM) && memcmp(f.v[IM2_REVOKE_QUORUM].b.p, quorum, sizeof quorum) == 0;
	}
	return ERR_OK;
}

static bool holds(const struct draft *d, const struct im2_signature *s)
{
	struct buf in;
	bool ok;

	buf_init(&in, IM2_RECORD_MAX + 64);
	im2_record_input(buf_bytes(&d->t), &in);
	ok = in.err == ERR_OK && sig_verify(SIG_V3_RECORD, s->ed, buf_bytes(&in), s->sig);
	buf_fini(&in);
	return ok;
}

static enum err add_ours(struct node *n, struct draft *d)
{
	struct im2_signature *s = &d->s[d->n];
	struct buf in;
	enum err e;

	if (d->n == IM2_SIGNERS_MAX)
		return ERR_LIMIT;
	buf_init(&in, IM2_RECORD_MAX + 64);
	im2_record_input(buf_bytes(&d->t), &in);
	e = in.err;
	if (e == ERR_OK) {
		memcpy(s->ed, keyring_ed(n->p.keyring), ED_BYTES);
		keyring_sign(n->p.keyring, SIG_V3_RECORD, buf_bytes(&in), s->sig);
		d->n++;
	}
	buf_fini(&in);
	return e;
}

static const struct im2_signature *signed_by(const struct draft *d, const uint8_t ed[static ED_BYTES])
{
	for (size_t i = 0; i < d->n; i++)
		if (memcmp(d->s[i].ed, ed, ED_BYTES) == 0)
			return &d->s[i];
	return NULL;
}

static void view_of(struct node *n, const struct draft *d, struct revoke_view *out)
{
	*out = (struct revoke_view){ .reason = d->reason, .scope = d->scope, .needed = n->c.revoke_quorum };
	memcpy(out->target_ed, d->target, sizeof out->target_ed);
	node_id_of(d->target, &out->target);
	node_id_of(d->rec.author, &out->author);
	for (size_t i = 0; i < d->n; i++)
		out->signatures += revoke_is_admin(n, d->s[i].ed);
}

/* --- the file ------------------------------------------------------------------------------------------------------ */
static json_t *base64_text(struct bytes b)
{
	struct buf text;
	json_t *v = NULL;

	buf_init(&text, BASE64_LEN(b.n) + 1);
	if (buf_add_base64(&text, b) == ERR_OK)
		v = json_stringn((const char *)text.p, text.n);
	buf_fini(&text);
	return v;
}

static int into_buf(const char *text, size_t n, void *ctx)
{
	struct buf *b = ctx;

	buf_add(b, bytes_of(text, n));
	return b->err == ERR_OK ? 0 : -1;
}

static enum err file_write(struct node *n, const struct draft *d, struct buf *out)
{
	static const char *const scopes[] = { "", "identity", "membership", "prekeys and older sessions" };
	json_t *list = json_array(), *o;
	struct node_id target, author;
	char when[RFC3339_LEN];
	enum err e = ERR_NOMEM;

	for (size_t i = 0; i < d->n; i++)
		(void)json_array_append_new(list, json_pack("{s:o, s:o}", "key", base64_text(BYTES_ARR(d->s[i].ed)), "signature",
							    base64_text(BYTES_ARR(d->s[i].sig))));
	node_id_of(d->target, &target);
	node_id_of(d->rec.author, &author);
	o = json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:s, s:o, s:o}", "schema", SCHEMA, "target", target.hex, "name",
		      peer_name(n, &target), "scope", scopes[d->scope], "reason", (int)d->reason, "by", author.hex, "issued",
		      d->rec.issued_ms ? rfc3339(d->rec.issued_ms, when) : "", "t", base64_text(buf_bytes(&d->t)), "signatures",
		      list);
	if (o && json_dump_callback(o, into_buf, out, JSON_INDENT(1)) == 0) {
		buf_add_u8(out, '\n');
		e = out->err;
	}
	json_decref(o);
	return e;
}

static enum err take_signature(struct draft *d, const json_t *v)
{
	struct im2_signature s;
	struct bytes key, sig;

	if (json_get_str(v, "key", &key) != ERR_OK || json_get_str(v, "signature", &sig) != ERR_OK ||
	    base64_decode_exact(key, s.ed, sizeof s.ed) != ERR_OK || base64_decode_exact(sig, s.sig, sizeof s.sig) != ERR_OK ||
	    d->n == IM2_SIGNERS_MAX || signed_by(d, s.ed))
		return ERR_MALFORMED;
	if (!holds(d, &s))
		return ERR_AUTH;
	d->s[d->n++] = s;
	return ERR_OK;
}

static enum err file_read(struct node *n, struct bytes file, struct draft *d)
{
	json_t *o, *list, *v;
	struct bytes t, schema;
	size_t i;
	enum err e = json_load_strict(file, REVOKE_FILE_MAX, &o);

	if (e != ERR_OK)
		return e;
	list = json_object_get(o, "signatures");
	if (json_get_str(o, "schema", &schema) != ERR_OK || !bytes_eq(schema, BYTES_LIT(SCHEMA)) ||
	    json_get_str(o, "t", &t) != ERR_OK || !json_is_array(list))
		e = ERR_MALFORMED;
	if (e == ERR_OK)
		e = buf_add_base64_decoded(&d->t, t);
	if (e == ERR_OK)
		e = look(n, d);
	json_array_foreach (list, i, v)
		if (e == ERR_OK)
			e = take_signature(d, v);
	json_decref(o);
	return e;
}

/* --- the three steps ------------------------------------------------------------------------------------------------ */
static enum err unreadable(enum err e, struct fault *f)
{
	if (e == ERR_AUTH) {
		fault_set(f, e, EXIT_INTEGRITY, "a signature in this file does not verify");
		fault_means(f, "what it says was changed after it was signed, or the signature was");
	} else if (e == ERR_NOMEM) {
		fault_set(f, e, EXIT_RETRY, "no memory for this");
	} else {
		fault_set(f, e, EXIT_USAGE, "this is not a revocation to sign");
		fault_means(f, "it is the file that `ironmesh trust revoke-draft` writes, of at most %d bytes", REVOKE_FILE_MAX);
	}
	return e;
}

static enum err another_set(struct fault *f)
{
	fault_set(f, ERR_DENIED, EXIT_POLICY, "this file names another set of administrators than this node has");
	fault_means(f, "--revoke-admins and --revoke-quorum must be the same on every node of the mesh");
	fault_next(f, "ironmesh status --json   (\"revocation\" shows the set)");
	return ERR_DENIED;
}

enum err revoke_draft(struct node *n, const struct revoke_wish *w, struct buf *file, struct revoke_view *out, struct fault *f)
{
	const struct pin *pin = pins_get(n->p.pins, &w->target);
	uint8_t quorum[16], ed[ED_BYTES];
	struct draft d;
	struct buf body;
	uint64_t gen;
	enum err e = revoke_may(n, true, f);

	if (e != ERR_OK)
		return e;
	if (!pin)
		return fault_set(f, ERR_NOTFOUND, EXIT_PEER_UNKNOWN, "no peer has the id %s", w->target.hex);
	memcpy(ed, pin->ed, sizeof ed);
	draft_begin(&d);
	buf_init(&body, 512);
	im2_quorum_id(n->c.revoke_quorum, n->c.revoke_admins, n->c.revoke_admins_n, quorum);
	e = revoke_next_gen(n, ed, &gen);
	if (e == ERR_OK)
		e = node_commit(n);
	if (e == ERR_OK) {
		revoke_body(ed, w->reason, w->scope, w->note, quorum, &body);
		e = body.err;
	}
	if (e == ERR_OK) {
		im2_record_t_write(IM2_REC_REVOKE_T, keyring_ed(n->p.keyring), gen, revoke_issued_ms(n), 0, buf_bytes(&body), &d.t);
		e = d.t.err;
	}
	if (e == ERR_OK)
		e = look(n, &d);
	if (e == ERR_OK)
		e = add_ours(n, &d);
	if (e == ERR_OK)
		e = file_write(n, &d, file);
	if (e == ERR_OK) {
		view_of(n, &d, out);
		audit_note(n->p.audit, "REVOCATION_SIGNED", (struct bytes){ 0 }, "peer_id", out->target.hex, NULL);
	} else {
		fault_set(f, e, EXIT_RETRY, "the draft cannot be made: %s", err_word(e));
	}
	buf_fini(&body);
	draft_end(&d);
	return e;
}

enum err revoke_show(struct node *n, struct bytes file, struct revoke_view *out, struct fault *f)
{
	struct draft d;
	enum err e = revoke_may(n, false, f);

	if (e != ERR_OK)
		return e;
	draft_begin(&d);
	e = file_read(n, file, &d);
	if (e != ERR_OK)
		e = unreadable(e, f);
	else if (!d.ours)
		e = another_set(f);
	else
		view_of(n, &d, out);
	draft_end(&d);
	return e;
}

enum err revoke_sign(struct node *n, struct bytes file, struct buf *out, struct revoke_view *view, struct fault *f)
{
	struct draft d;
	enum err e = revoke_may(n, true, f);

	if (e != ERR_OK)
		return e;
	draft_begin(&d);
	e = file_read(n, file, &d);
	if (e != ERR_OK) {
		e = unreadable(e, f);
	} else if (!d.ours) {
		e = another_set(f);
	} else if (signed_by(&d, keyring_ed(n->p.keyring))) {
		view_of(n, &d, view);
		e = fault_set(f, ERR_EXISTS, EXIT_GENERIC, "this node has signed it already; it has %zu of %u signatures",
			      view->signatures, view->needed);
		fault_next(f, view->signatures >= view->needed ? "ironmesh trust revoke-send FILE" :
								 "ironmesh trust revoke-sign FILE   (on the machine of another administrator)");
	} else {
		e = add_ours(n, &d);
		if (e == ERR_OK)
			e = file_write(n, &d, out);
		if (e != ERR_OK)
			fault_set(f, e, EXIT_RETRY, "it cannot be signed: %s", err_word(e));
	}
	if (e == ERR_OK) {
		view_of(n, &d, view);
		log_warn("revocation-signed peer=%s by=%s signatures=%zu needed=%u", view->target.hex, view->author.hex,
			 view->signatures, view->needed);
		audit_note(n->p.audit, "REVOCATION_SIGNED", (struct bytes){ 0 }, "peer_id", view->target.hex, NULL);
	}
	draft_end(&d);
	return e;
}

/* Only the signatures of administrators, so that nobody's count is made up. The author is one of them. */
static enum err join(struct node *n, const struct draft *d, struct buf *out)
{
	struct im2_signature s[IM2_SIGNERS_MAX];
	struct im2_record rec;
	size_t k = 0;

	for (size_t i = 0; i < d->n; i++)
		if (revoke_is_admin(n, d->s[i].ed))
			s[k++] = d->s[i];
	if (!signed_by(d, d->rec.author) || !revoke_is_admin(n, d->rec.author))
		return ERR_AUTH;
	im2_record_join(buf_bytes(&d->t), s, k, out);
	if (out->err != ERR_OK)
		return out->err;
	return im2_record_parse(buf_bytes(out), &rec) == IM2_FINE && im2_record_verify(&rec) == IM2_FINE ? ERR_OK : ERR_AUTH;
}

/* Into the cache, where every node's records are: as our own, or as one that was brought by this operator. */
static enum err take(struct node *n, struct bytes raw, const struct draft *d)
{
	enum im2_record_verdict v;
	struct im2_record rec;
	enum im2_refusal why;

	if (memcmp(d->rec.author, keyring_ed(n->p.keyring), ED_BYTES) == 0)
		return im2_records_own(n->records->cache, raw);
	v = im2_records_take(n->records->cache, raw, keyring_id(n->p.keyring), &rec, &why);
	return v == IM2_REC_REFUSED ? ERR_DENIED : ERR_OK;
}

enum err revoke_send(struct node *n, struct bytes file, struct revoke_view *view, struct fault *f)
{
	struct draft d;
	struct buf raw;
	enum err e = revoke_may(n, false, f);

	if (e != ERR_OK)
		return e;
	draft_begin(&d);
	buf_init(&raw, IM2_RECORD_MAX);
	e = file_read(n, file, &d);
	if (e != ERR_OK) {
		e = unreadable(e, f);
		goto out;
	}
	view_of(n, &d, view);
	if (!d.ours) {
		e = another_set(f);
		goto out;
	}
	if (view->signatures < view->needed) {
		e = fault_set(f, ERR_AGAIN, EXIT_POLICY, "it has %zu of the %u signatures that are needed", view->signatures,
			      view->needed);
		fault_means(f, "each comes from the machine of another administrator");
		fault_next(f, "ironmesh trust revoke-sign FILE   (there)");
		goto out;
	}
	e = join(n, &d, &raw);
	if (e == ERR_OK)
		e = take(n, buf_bytes(&raw), &d);
	if (e != ERR_OK)
		fault_set(f, e, EXIT_INTEGRITY, "the signatures do not make a revocation: %s", err_word(e));
	else
		e = revoke_issue(n, buf_bytes(&raw), "quorum", &view->target, f);
	if (e == ERR_OK && d.scope != 3)
		revoke_tell_old(n, &view->target, "revoked by the administrators of the mesh");
out:
	buf_fini(&raw);
	draft_end(&d);
	return e;
}
