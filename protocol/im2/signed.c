/* Signed messages: one signature for a batch from one author to one recipient (im2.md 9.3). */
#include "protocol/im2/content_internal.h"

#include "base/hash.h"

#define SMSG_MESSAGES_MAX 256

struct bytes im2_parties_input(enum sig_context c, const uint8_t from[static ED_BYTES],
			       const uint8_t to[static ED_BYTES], struct bytes what,
			       uint8_t out[static IM2_PARTIES_INPUT])
{
	struct wr w = wr_init(out, IM2_PARTIES_INPUT);
	uint8_t hash[HASH_BYTES];
	struct bytes whole;

	sha256(what, hash);
	wr_bytes(&w, sig_prefix(c));
	wr_bytes(&w, bytes_of(from, ED_BYTES));
	wr_bytes(&w, bytes_of(to, ED_BYTES));
	wr_bytes(&w, BYTES_ARR(hash));
	BUG_ON(wr_end(&w, &whole) != ERR_OK || whole.n != IM2_PARTIES_INPUT);
	return whole;
}

enum err im2_smsg_write(const struct keyring *k, const struct message *m, size_t n,
			const uint8_t to_ed[static ED_BYTES], struct buf *out)
{
	uint8_t from[IM2_ID], to[IM2_ID], input[IM2_PARTIES_INPUT], sig[SIG_BYTES];
	size_t before = out->n, list = 0, size, at;
	struct node_id to_id;
	struct im2_draft d;
	enum err e;

	if (n == 0 || n > SMSG_MESSAGES_MAX)
		return ERR_LIMIT;
	node_id_of(to_ed, &to_id);
	im2_id_of(keyring_id(k), from);
	im2_id_of(&to_id, to);
	for (size_t i = 0; i < n; i++) {
		e = im2_draft_of(&m[i], from, to, &d);
		if (e != ERR_OK)
			return e;
		size = im2_draft_size(&d);
		list += im2_varint_size(size) + size;
	}
	if (im2_item_size(1, list) + im2_item_size(3, SIG_BYTES) > IM2_SMSG_MAX)
		return ERR_LIMIT;
	im2_varint_add(out, 1);
	im2_varint_add(out, list);
	at = out->n;
	for (size_t i = 0; i < n; i++) {
		BUG_ON(im2_draft_of(&m[i], from, to, &d) != ERR_OK);
		im2_varint_add(out, im2_draft_size(&d));
		im2_write(&im2_msg, &d.f, out);
	}
	if (out->err == ERR_OK) {
		BUG_ON(out->n - at != list);
		keyring_sign(k, SIG_V3_MESSAGE,
			     im2_parties_input(SIG_V3_MESSAGE, keyring_ed(k), to_ed,
					       bytes_of(out->p + at, list), input),
			     sig);
		im2_item_add(out, 3, BYTES_ARR(sig));
	}
	if (out->err != ERR_OK)
		out->n = before;
	return out->err;
}

enum im2_refusal im2_smsg_author(struct bytes value, struct node_id *out)
{
	struct im2_fields f, m;
	struct bytes list, first;
	enum im2_refusal r = im2_parse(&im2_smsg, value, &f);

	if (r != IM2_FINE)
		return r;
	list = f.v[IM2_SMSG_MSGS].b;
	BUG_ON(im2_lv_take(&list, &first) != IM2_FINE);
	r = im2_parse(&im2_msg, first, &m);
	if (r != IM2_FINE)
		return r;
	if (!im2_has(&m, IM2_MSG_FROM))
		return IM2_E_CONTEXT;
	im2_id_text(m.v[IM2_MSG_FROM].b, out);
	return IM2_FINE;
}

/* From this author to us and nobody else. */
static enum im2_refusal member(struct bytes msg, const uint8_t author[static IM2_ID],
			       const uint8_t self[static IM2_ID])
{
	struct im2_fields f;
	enum im2_refusal r = im2_parse(&im2_msg, msg, &f);

	if (r != IM2_FINE)
		return r;
	if (!im2_has(&f, IM2_MSG_FROM) || !im2_has(&f, IM2_MSG_TO))
		return IM2_E_CONTEXT;
	if (memcmp(f.v[IM2_MSG_FROM].b.p, author, IM2_ID) != 0)
		return IM2_E_SENDER;
	return memcmp(f.v[IM2_MSG_TO].b.p, self, IM2_ID) == 0 ? IM2_FINE : IM2_E_CONTEXT;
}

enum im2_refusal im2_smsg_open(struct bytes value, const uint8_t author_ed[static ED_BYTES],
			       const struct keyring *self, struct im2_smsg_reader *out)
{
	uint8_t from[IM2_ID], to[IM2_ID], input[IM2_PARTIES_INPUT];
	struct node_id author;
	struct bytes list, msg;
	struct im2_fields f;
	enum im2_refusal r = im2_parse(&im2_smsg, value, &f);

	if (r != IM2_FINE)
		return r;
	node_id_of(author_ed, &author);
	im2_id_of(&author, from);
	im2_id_of(keyring_id(self), to);
	list = f.v[IM2_SMSG_MSGS].b;
	while (list.n > 0) {
		BUG_ON(im2_lv_take(&list, &msg) != IM2_FINE);
		r = member(msg, from, to);
		if (r != IM2_FINE)
			return r;
	}
	list = f.v[IM2_SMSG_MSGS].b;
	if (!sig_verify(SIG_V3_MESSAGE, author_ed,
			im2_parties_input(SIG_V3_MESSAGE, author_ed, keyring_ed(self), list, input),
			f.v[IM2_SMSG_SIG].b.p))
		return IM2_E_SIG;
	*out = (struct im2_smsg_reader){.msgs = list, .author = author, .self = *keyring_id(self)};
	return IM2_FINE;
}

void im2_smsg_opened(struct bytes value, const uint8_t author_ed[static ED_BYTES], const struct keyring *self,
		     struct im2_smsg_reader *out)
{
	struct im2_fields f;

	BUG_ON(im2_parse(&im2_smsg, value, &f) != IM2_FINE);
	*out = (struct im2_smsg_reader){.msgs = f.v[IM2_SMSG_MSGS].b, .self = *keyring_id(self)};
	node_id_of(author_ed, &out->author);
}

bool im2_smsg_next(struct im2_smsg_reader *r, struct message *out, char id_text[static 33],
		   char type_text[static MSG_TYPE_MAX + 1])
{
	struct im2_fields f;
	struct bytes msg;

	if (r->msgs.n == 0)
		return false;
	BUG_ON(im2_lv_take(&r->msgs, &msg) != IM2_FINE || im2_parse(&im2_msg, msg, &f) != IM2_FINE);
	im2_message_fill(&f, &r->author, &r->self, out, id_text, type_text);
	out->source_proven = true;
	out->settled = f.v[IM2_MSG_SETTLED].u;
	return true;
}
