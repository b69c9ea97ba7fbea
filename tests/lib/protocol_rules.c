#include "tests/lib/protocol_rules.h"

#include <inttypes.h>

static const char *const kinds[] = {
	[IM2_UINT] = "uint", [IM2_BYTES] = "bytes", [IM2_TEXT] = "text",    [IM2_NAME] = "name",
	[IM2_FLAG] = "flag", [IM2_LIST] = "list",   [IM2_STRUCT] = "struct",
};

static void range(enum im2_kind kind, uint64_t lo, uint64_t hi, struct buf *out)
{
	buf_add_str(out, kinds[kind]);
	if (kind == IM2_FLAG)
		return;
	if (kind == IM2_UINT && hi == INT64_MAX) {
		if (lo > 0)
			buf_printf(out, " >= %" PRIu64, lo);
	} else if (lo == hi) {
		buf_printf(out, " %" PRIu64, lo);
	} else {
		buf_printf(out, " %" PRIu64 "..%" PRIu64, lo, hi);
	}
}

void rule_text(const struct im2_rule *r, struct buf *out)
{
	if (r->kind == IM2_STRUCT) {
		buf_add_str(out, r->of->name);
	} else if (r->kind == IM2_LIST) {
		buf_printf(out, "list of %" PRIu64 "..%" PRIu64, r->lo, r->hi);
		if (r->max_bytes)
			buf_printf(out, " in %u bytes", (unsigned)r->max_bytes);
		buf_printf(out, "%s: ", r->ascending ? ", ascending" : "");
		if (r->elem == IM2_STRUCT)
			buf_add_str(out, r->of->name);
		else if (r->check)
			buf_add_str(out, "bytes*");
		else
			range(r->elem, r->elem_lo, r->elem_hi, out);
	} else {
		range(r->kind, r->lo, r->hi, out);
	}
	if (r->has_default && r->kind == IM2_UINT)
		buf_printf(out, ", default %" PRIu64, r->dflt);
	else if (r->has_default)
		buf_add_str(out, ", default empty");
	if (r->required)
		buf_add_str(out, ", required");
}
