/* Receipts: by the session, or signed for an author who is not there (im2.md 10.1, 10.2). */
#include "protocol/im2/content_internal.h"

#define ENTRIES_MAX 256
#define ENTRY_BARE  (1 + IM2_ID)

enum status { HELD = 1, DELIVERED, READ, REJECTED };

static const char *const reasons[] = {
	[IM2_REASON_EXPIRED] = "expired",
	[IM2_REASON_POLICY] = "blocked or against policy",
	[IM2_REASON_OPERATOR] = "refused",
	[IM2_REASON_TOO_LARGE] = "too large",
	[IM2_REASON_UNSUPPORTED] = "not supported",
	[IM2_REASON_FULL] = "inbox full",
	[IM2_REASON_PREKEY] = "prekey gone",
	[IM2_REASON_SIGNATURE] = "bad signature",
	[IM2_REASON_CONFLICT] = "id conflict",
	[IM2_REASON_LOOP] = "loop limit",
	[IM2_REASON_MALFORMED] = "malformed",
	[IM2_REASON_SETTLED] = "settled earlier",
};
#define REASONS (sizeof reasons / sizeof reasons[0])

const char *im2_reason_word(uint64_t reason)
{
	return reason >= IM2_REASON_EXPIRED && reason < REASONS ? reasons[reason]
								: reasons[IM2_REASON_OPERATOR];
}

uint8_t im2_reason_of(struct bytes word)
{
	for (size_t i = IM2_REASON_EXPIRED; i < REASONS; i++)
		if (bytes_eq(word, bytes_str(reasons[i])))
			return (uint8_t)i;
	return IM2_REASON_OPERATOR;
}

/* --- RECEIPT
 * -------------------------------------------------------------------------------------- */

/* One entry, without its length. 0: not an id of im2. */
static size_t entry_of(const struct receipt *r, uint8_t out[static ENTRY_BARE + 2])
{
	uint8_t reason;

	if (hex_decode(r->id, out + 1, IM2_ID) != ERR_OK)
		return 0;
	switch (r->kind) {
	case RECEIPT_HELD:
		out[0] = HELD;
		return ENTRY_BARE;
	case RECEIPT_DELIVERED:
		out[0] = DELIVERED;
		return ENTRY_BARE;
	case RECEIPT_READ:
		out[0] = READ;
		return ENTRY_BARE;
	case RECEIPT_RETRY:
		reason = IM2_REASON_FULL;
		break;
	case RECEIPT_EXPIRED:
		reason = IM2_REASON_EXPIRED;
		break;
	case RECEIPT_UNKNOWN:
		reason = IM2_REASON_SETTLED;
		break;
	default:
		reason = r->code ? r->code : im2_reason_of(r->reason);
	}
	out[0] = REJECTED;
	return ENTRY_BARE + im2_varint_put(out + ENTRY_BARE, reason);
}

size_t im2_receipt_write(const struct receipt *r, size_t n, uint64_t at_ms, size_t room,
			 struct buf *out)
{
	bool at = at_ms > 0 && at_ms <= IM2_TIME_MAX;
	size_t at_bytes = at ? im2_item_size(2, im2_varint_size(at_ms)) : 0;
	size_t list = 0, entries = 0, taken = 0, k;
	uint8_t e[ENTRY_BARE + 2];

	if (room > IM2_RECEIPT_MAX)
		room = IM2_RECEIPT_MAX;
	for (; taken < n; taken++) {
		k = entry_of(&r[taken], e);
		if (k == 0)
			continue;
		if (entries == ENTRIES_MAX || im2_item_size(1, list + 1 + k) + at_bytes > room)
			break;
		list += 1 + k;
		entries++;
	}
	if (entries == 0)
		return taken;
	im2_varint_add(out, 1);
	im2_varint_add(out, list);
	for (size_t i = 0; i < taken; i++) {
		k = entry_of(&r[i], e);
		if (k)
			im2_lv_add(out, bytes_of(e, k));
	}
	if (at) {
		im2_varint_add(out, 2);
		im2_varint_add(out, im2_varint_size(at_ms));
		im2_varint_add(out, at_ms);
	}
	return taken;
}

enum im2_refusal im2_receipt_open(struct bytes value, struct im2_receipt_reader *out)
{
	struct im2_fields f;
	enum im2_refusal r = im2_parse(&im2_receipt, value, &f);

	if (r == IM2_FINE)
		out->entries = f.v[IM2_RECEIPT_ENTRIES].b;
	return r;
}

bool im2_receipt_next(struct im2_receipt_reader *r, enum receipt_kind *kind,
		      char id_text[static 33], struct bytes *reason)
{
	static const enum receipt_kind kinds[] = {[HELD] = RECEIPT_HELD,
						  [DELIVERED] = RECEIPT_DELIVERED,
						  [READ] = RECEIPT_READ,
						  [REJECTED] = RECEIPT_REJECTED};
	struct bytes e, tail;
	uint64_t code;

	if (r->entries.n == 0)
		return false;
	BUG_ON(im2_lv_take(&r->entries, &e) != IM2_FINE || e.n < ENTRY_BARE);
	*kind = kinds[e.p[0]];
	*reason = bytes_of(NULL, 0);
	hex_encode(bytes_of(e.p + 1, IM2_ID), id_text);
	if (*kind != RECEIPT_REJECTED)
		return true;
	tail = bytes_of(e.p + ENTRY_BARE, e.n - ENTRY_BARE);
	BUG_ON(im2_varint_take(&tail, &code) != IM2_FINE);
	*reason = bytes_str(im2_reason_word(code));
	if (code == IM2_REASON_FULL)
		*kind = RECEIPT_RETRY;
	else if (code == IM2_REASON_EXPIRED)
		*kind = RECEIPT_EXPIRED;
	else if (code == IM2_REASON_SETTLED)
		*kind = RECEIPT_UNKNOWN;
	return true;
}

/* --- SRECEIPT
 * ------------------------------------------------------------------------------------- */

void im2_sreceipt_write(const struct keyring *k, const uint8_t author_ed[static ED_BYTES],
			struct bytes receipt, struct buf *out)
{
	uint8_t from[IM2_ID], to[IM2_ID], input[IM2_PARTIES_INPUT], sig[SIG_BYTES];
	struct im2_fields f = {.schema = &im2_sreceipt};
	struct node_id author;

	node_id_of(author_ed, &author);
	im2_id_of(keyring_id(k), from);
	im2_id_of(&author, to);
	keyring_sign(k, SIG_V3_RECEIPT,
		     im2_parties_input(SIG_V3_RECEIPT, keyring_ed(k), author_ed, receipt, input),
		     sig);
	im2_set_b(&f, IM2_SRECEIPT_FROM, BYTES_ARR(from));
	im2_set_b(&f, IM2_SRECEIPT_TO, BYTES_ARR(to));
	im2_set_b(&f, IM2_SRECEIPT_RECEIPT, receipt);
	im2_set_b(&f, IM2_SRECEIPT_SIG, BYTES_ARR(sig));
	im2_write(&im2_sreceipt, &f, out);
}

enum im2_refusal im2_sreceipt_open(struct bytes value, const uint8_t from_ed[static ED_BYTES],
				   const struct keyring *self, struct bytes *receipt)
{
	struct im2_receipt_reader entries;
	uint8_t input[IM2_PARTIES_INPUT];
	struct im2_fields f;
	struct bytes inner;
	enum im2_refusal r = im2_parse(&im2_sreceipt, value, &f);

	if (r != IM2_FINE)
		return r;
	inner = f.v[IM2_SRECEIPT_RECEIPT].b;
	if (!im2_id_fits(f.v[IM2_SRECEIPT_FROM].b, from_ed))
		return IM2_E_SENDER;
	if (!im2_id_fits(f.v[IM2_SRECEIPT_TO].b, keyring_ed(self)))
		return IM2_E_CONTEXT;
	r = im2_receipt_open(inner, &entries);
	if (r != IM2_FINE)
		return r;
	if (!sig_verify(SIG_V3_RECEIPT, from_ed,
			im2_parties_input(SIG_V3_RECEIPT, from_ed, keyring_ed(self), inner, input),
			f.v[IM2_SRECEIPT_SIG].b.p))
		return IM2_E_SIG;
	*receipt = inner;
	return IM2_FINE;
}

enum im2_refusal im2_sreceipt_from(struct bytes value, struct node_id *out)
{
	struct im2_fields f;
	enum im2_refusal r = im2_parse(&im2_sreceipt, value, &f);

	if (r == IM2_FINE)
		im2_id_text(f.v[IM2_SRECEIPT_FROM].b, out);
	return r;
}
