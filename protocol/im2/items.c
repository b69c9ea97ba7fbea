/* The tags of 8: their names, places and values; and the list of all structures. */
#include "protocol/im2/schema_internal.h"

enum { TAGS = 80, PING_BYTES = 8, GROUPMSG_LEAST = 8 + 4 + 16 }; /* skid, iter, tag of the AEAD */

static const struct {
	const char *name;
	unsigned places;
} items[TAGS] = {
#define X(id, tag, where) [tag] = {#id, where},
	IM2_ITEMS(X)
#undef X
};

const char *im2_item_name(uint16_t tag)
{
	return tag < TAGS ? items[tag].name : NULL;
}

unsigned im2_item_places(uint16_t tag)
{
	return tag < TAGS ? items[tag].places : 0;
}

static const struct im2_schema *const item_schemas[TAGS] = {
	[IM2_ITEM_MSG] = &im2_msg,
	[IM2_ITEM_SMSG] = &im2_smsg,
	[IM2_ITEM_RECEIPT] = &im2_receipt,
	[IM2_ITEM_SRECEIPT] = &im2_sreceipt,
	[IM2_ITEM_XOPEN] = &im2_xopen,
	[IM2_ITEM_XACK] = &im2_xack,
	[IM2_ITEM_XABORT] = &im2_xabort,
	[IM2_ITEM_ROUTED] = &im2_routed,
	[IM2_ITEM_ROUTEFB] = &im2_routefb,
	[IM2_ITEM_RECDIG] = &im2_recdig,
	[IM2_ITEM_RECREQ] = &im2_recreq,
	[IM2_ITEM_ROUTEADV] = &im2_routeadv,
	[IM2_ITEM_OPEN] = &im2_open,
	[IM2_ITEM_ACCEPT] = &im2_accept,
	[IM2_ITEM_END] = &im2_end,
	[IM2_ITEM_CREDIT] = &im2_credit,
	[IM2_ITEM_CANCEL] = &im2_cancel,
	[IM2_ITEM_RERR] = &im2_rerr,
	[IM2_ITEM_CLOSE] = &im2_close,
	[IM2_ITEM_INFO] = &im2_info,
	[IM2_ITEM_IDENT] = &im2_ident,
	[IM2_ITEM_SENDERKEY] = &im2_senderkey,
	[IM2_ITEM_SAS] = &im2_sas,
	[IM2_ITEM_GRANT] = &im2_grant,
	[IM2_ITEM_GRANTACK] = &im2_grantack,
	[IM2_ITEM_STAUTH] = &im2_stauth,
	[IM2_ITEM_STACK] = &im2_stack,
	[IM2_ITEM_ITEMERR] = &im2_itemerr,
	[IM2_ITEM_SETTLED] = &im2_settled,
	[IM2_ITEM_SKREQ] = &im2_skreq,
	[IM2_ITEM_SEEN] = &im2_seen,
};

const struct im2_schema *im2_item_schema(uint16_t tag)
{
	return tag < TAGS ? item_schemas[tag] : NULL;
}

enum im2_refusal im2_item_check(uint16_t tag, struct bytes value)
{
	const struct im2_schema *s = im2_item_schema(tag);
	struct im2_fields f;
	struct bytes data;
	uint64_t offset;
	uint32_t number;

	if (s)
		return im2_parse(s, value, &f);
	switch (tag) {
	case IM2_ITEM_FRAG:
	case IM2_ITEM_CHUNK: /* the same shape with a call in place of a transfer (14.1) */
		return im2_frag_take(value, &number, &offset, &data);
	case IM2_ITEM_PING:
	case IM2_ITEM_PONG:
		return value.n == PING_BYTES ? IM2_FINE : IM2_E_LENGTH;
	case IM2_ITEM_GROUPMSG:
		return value.n >= GROUPMSG_LEAST ? IM2_FINE : IM2_E_SHORT;
	case IM2_ITEM_RECORD:
		return im2_record_check(value);
	default:
		return tag & 1 ? IM2_E_CRITICAL : IM2_FINE;
	}
}

const struct im2_schema *const *im2_schemas(size_t *count)
{
	static const struct im2_schema *const all[] = {
		&im2_x1ext,   &im2_x2pay,     &im2_hs,	     &im2_msg,	  &im2_budget,
		&im2_smsg,    &im2_receipt,   &im2_sreceipt, &im2_xopen,  &im2_xack,
		&im2_xabort,  &im2_rt,	      &im2_routed,   &im2_routefb, &im2_record_t,
		&im2_cap,     &im2_capent,    &im2_prekey,   &im2_route,  &im2_revoke,
		&im2_rotate,  &im2_posture,   &im2_epoch,    &im2_group,  &im2_card,
		&im2_recdig,  &im2_recreq,    &im2_routeadv, &im2_open,	  &im2_accept,
		&im2_end,     &im2_credit,    &im2_cancel,   &im2_rerr,	  &im2_close,
		&im2_info,    &im2_ident,     &im2_senderkey, &im2_sas,	  &im2_grant,
		&im2_grantack, &im2_stauth,   &im2_stack,    &im2_itemerr, &im2_settled,
		&im2_seen,    &im2_skreq,
	};

	*count = sizeof all / sizeof all[0];
	return all;
}
