/* Opening sealed objects, and who may be heard in them (im2.md 11.3). */
#include "protocol/im2/seal_internal.h"

#include "base/secret.h"

static enum im2_refusal decrypt(const struct keyring *k, const struct im2_prekey *prekey,
				struct bytes rt, struct bytes body, struct buf *plain,
				uint8_t sender_x[static NOISE_KEY])
{
	uint8_t room[IM2_SEAL_PROLOGUE_MAX];
	struct noise_static own;
	struct noise x;
	enum im2_refusal r;

	if (prekey) {
		memcpy(own.pub, prekey->pub, sizeof own.pub);
		own.dh = noise_raw_dh;
		own.ctx = (void *)prekey->secret;
	} else {
		im2_seal_static(k, &own);
	}
	noise_init(&x, &(struct noise_opts){.pattern = NOISE_X,
					    .prologue = im2_seal_prologue(keyring_ed(k), rt, room),
					    .s = &own});
	r = im2_seal_refusal(noise_read(&x, body, plain), &x);
	if (r == IM2_FINE)
		memcpy(sender_x, x.rs, NOISE_KEY);
	noise_wipe(&x);
	return r;
}

/* Every item has its place, IDENT only in front. */
static enum im2_refusal places(struct bytes list)
{
	enum im2_refusal r = im2_items_check(list, NULL);
	struct bytes value;
	uint16_t tag;

	if (r != IM2_FINE)
		return r;
	for (bool first = true; im2_item_next(&list, &tag, &value); first = false) {
		if (!im2_item_name(tag))
			continue; /* of a later version: skipped (3.3) */
		if (!(im2_item_places(tag) & IM2_IN_E) || (tag == IM2_ITEM_IDENT && !first))
			return IM2_E_CONTEXT;
		r = im2_item_check(tag, value);
		if (r != IM2_FINE)
			return r;
	}
	return IM2_FINE;
}

/* Takes IDENT off the front, if it is there. */
static enum im2_refusal ident(const struct keyring *self, struct im2_opened *o)
{
	struct bytes rest = o->items, value;
	struct im2_fields f;
	uint16_t tag;

	if (!im2_item_next(&rest, &tag, &value) || tag != IM2_ITEM_IDENT)
		return IM2_FINE;
	BUG_ON(im2_parse(&im2_ident, value, &f) != IM2_FINE);
	const uint8_t *ed = f.v[IM2_IDENT_ED].b.p, *x = f.v[IM2_IDENT_X25519].b.p;
	struct bytes name = f.v[IM2_IDENT_NAME].b;

	if (memcmp(x, o->sender_x, X25519_BYTES) != 0)
		return IM2_E_SENDER;
	if (memcmp(ed, keyring_ed(self), ED_BYTES) == 0)
		return IM2_E_SELF;
	if (!x25519_binding_verify(ed, x, f.v[IM2_IDENT_BINDING].b.p))
		return IM2_E_SIG;
	memcpy(o->author_ed, ed, ED_BYTES);
	if (name.n)
		memcpy(o->author_name, name.p, name.n);
	o->author_name[name.n] = '\0';
	o->introduced = true;
	o->items = rest;
	return IM2_FINE;
}

/* 9.3 and 10.2 for everything inside, all by one author. *signed: there was something. */
static enum im2_refusal signatures(const struct keyring *self, const struct im2_opened *o,
				   bool *any)
{
	struct bytes list = o->items, value, receipt;
	struct im2_smsg_reader smsg;
	enum im2_refusal r = IM2_FINE;
	uint16_t tag;

	*any = false;
	while (r == IM2_FINE && im2_item_next(&list, &tag, &value)) {
		if (tag == IM2_ITEM_SMSG) {
			r = im2_smsg_open(value, o->author_ed, self, &smsg);
			if (r == IM2_FINE)
				r = im2_seal_no_volatile(value);
		} else if (tag == IM2_ITEM_SRECEIPT) {
			r = im2_sreceipt_open(value, o->author_ed, self, &receipt);
		} else {
			continue;
		}
		*any = true;
	}
	return r;
}

static enum im2_refusal judge(const struct keyring *self, im2_who who, void *ctx,
			      struct im2_opened *o)
{
	uint8_t pinned[ED_BYTES];
	bool known, any;
	enum im2_refusal r = places(o->items);

	if (r == IM2_FINE)
		r = ident(self, o);
	if (r != IM2_FINE)
		return r;
	known = who(ctx, o->sender_x, pinned);
	if (known && o->introduced && memcmp(pinned, o->author_ed, ED_BYTES) != 0)
		return IM2_E_KEY_CONFLICT; /* two identities never share an X (2.2) */
	if (known) {
		memcpy(o->author_ed, pinned, ED_BYTES);
		o->introduced = false;
	} else if (!o->introduced) {
		return IM2_E_SENDER;
	}
	r = signatures(self, o, &any);
	if (r != IM2_FINE)
		return r;
	/* An introduction alone gives nobody a voice: what is not signed counts from who is pinned.
	 */
	return any || known ? IM2_FINE : IM2_E_SENDER;
}

enum im2_refusal im2_open_sealed(const struct keyring *k, const struct im2_prekeys *p,
				 struct bytes rt, struct bytes body, im2_who who, void *ctx,
				 struct buf *plain, struct im2_opened *out)
{
	const struct im2_prekey *prekey = NULL;
	size_t before = plain->n;
	struct im2_opened o = {0};
	uint8_t me[IM2_ID];
	struct im2_rt head;
	enum im2_refusal r = im2_rt_parse(rt, &head);

	if (r != IM2_FINE)
		return r;
	im2_id_of(keyring_id(k), me);
	if (memcmp(head.to, me, sizeof me) != 0)
		return IM2_E_CONTEXT;
	if (body.n > IM2_ROUTED_BODY_MAX)
		return IM2_E_LIMIT;
	o.no_fs = is_zero(head.prekey, sizeof head.prekey);
	if (!o.no_fs) {
		prekey = im2_prekeys_find(p, head.prekey);
		if (!prekey)
			return IM2_E_INDEX;
		o.prekey_erase_ms = prekey->erase_ms;
	}
	r = decrypt(k, prekey, rt, body, plain, o.sender_x);
	if (r == IM2_FINE) {
		o.items = bytes_of(plain->p + before, plain->n - before);
		r = judge(k, who, ctx, &o);
		if (r != IM2_FINE) {
			wipe(plain->p + before, plain->n - before);
			plain->n = before;
		}
	}
	if (r == IM2_FINE)
		*out = o;
	return r;
}
