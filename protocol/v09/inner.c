#include "protocol/v09/inner.h"

static void add_part(struct buf *b, struct bytes x)
{
	uint8_t n[4] = {(uint8_t)(x.n >> 24), (uint8_t)(x.n >> 16), (uint8_t)(x.n >> 8),
			(uint8_t)x.n};

	buf_add(b, BYTES_ARR(n));
	buf_add(b, x);
}

enum err inner_input(const struct inner_covered *c, struct buf *scratch)
{
	struct bytes prefix = sig_prefix(SIG_FRAME_INNER);

	buf_reset(scratch);
	/* One allocation instead of a growing one; a failure stays in the buffer. */
	buf_reserve(scratch,
		    prefix.n + 16 + c->source.n + c->destination.n + c->id.n + c->payload.n);
	buf_add(scratch, prefix);
	add_part(scratch, c->source);
	add_part(scratch, c->destination);
	add_part(scratch, c->id);
	add_part(scratch, c->payload);
	return scratch->err;
}

enum err inner_sign(const struct keyring *k, const struct inner_covered *c, struct buf *scratch,
		    uint8_t sig[static SIG_BYTES])
{
	enum err e = inner_input(c, scratch);

	if (e == ERR_OK)
		keyring_sign(k, SIG_FRAME_INNER, buf_bytes(scratch), sig);
	return e;
}

bool inner_verify(const uint8_t ed[static ED_BYTES], enum inner_tag tag, bool v1_allowed,
		  const struct inner_covered *c, struct buf *scratch,
		  const uint8_t sig[static SIG_BYTES])
{
	if ((tag == INNER_V2 || tag == INNER_ABSENT) && inner_input(c, scratch) == ERR_OK &&
	    sig_verify(SIG_FRAME_INNER, ed, buf_bytes(scratch), sig))
		return true;
	/* v1 is a bare signature over the payload. Nobody signs like that any more, so it has no
	 * context of its own; the bare one refuses payloads that look like another context. */
	return (tag == INNER_V1 || tag == INNER_ABSENT) && v1_allowed &&
	       sig_verify(SIG_BARE_OUTER, ed, c->payload, sig);
}
