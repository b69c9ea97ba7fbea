/*
 * enc.h -- the encoding of im2 (im2.md 3): varint, lv, structures from tables, item lists.
 *
 * There is one encoding per value: what im2_parse() accepts, im2_write() gives back byte for byte.
 * All struct bytes are borrowed from the input. Nothing is allocated while reading.
 */
#ifndef PROTOCOL_IM2_ENC_H
#define PROTOCOL_IM2_ENC_H

#include "base/buf.h"
#include "base/wire.h"

/* Names of refusals (im2.md 18.4), for logs, counters and tests; never on the wire. */
#define IM2_REFUSALS(X)                                                                            \
	X(IM2_FINE, "fine", ERR_OK)                                                                \
	X(IM2_E_SHORT, "E_SHORT", ERR_SHORT)                                                       \
	X(IM2_E_TRAILING, "E_TRAILING", ERR_TRAILING)                                              \
	X(IM2_E_VARINT, "E_VARINT", ERR_MALFORMED)                                                 \
	X(IM2_E_NONCANON, "E_NONCANON", ERR_MALFORMED)                                             \
	X(IM2_E_TAG, "E_TAG", ERR_MALFORMED)                                                       \
	X(IM2_E_ORDER, "E_ORDER", ERR_MALFORMED)                                                   \
	X(IM2_E_CRITICAL, "E_CRITICAL", ERR_UNSUPPORTED)                                           \
	X(IM2_E_MISSING, "E_MISSING", ERR_MALFORMED)                                               \
	X(IM2_E_LENGTH, "E_LENGTH", ERR_MALFORMED)                                                 \
	X(IM2_E_RANGE, "E_RANGE", ERR_MALFORMED)                                                   \
	X(IM2_E_UTF8, "E_UTF8", ERR_MALFORMED)                                                     \
	X(IM2_E_LIMIT, "E_LIMIT", ERR_LIMIT)                                                       \
	X(IM2_E_CONTEXT, "E_CONTEXT", ERR_MALFORMED)                                               \
	X(IM2_E_PAD, "E_PAD", ERR_MALFORMED)                                                       \
	X(IM2_E_MALFORMED, "E_MALFORMED", ERR_MALFORMED)                                           \
	X(IM2_E_INDEX, "E_INDEX", ERR_NOTFOUND)                                                    \
	X(IM2_E_REPLAY, "E_REPLAY", ERR_REPLAY)                                                    \
	X(IM2_E_AEAD, "E_AEAD", ERR_AUTH)                                                          \
	X(IM2_E_DH, "E_DH", ERR_AUTH)                                                              \
	X(IM2_E_SIG, "E_SIG", ERR_AUTH)                                                            \
	X(IM2_E_SENDER, "E_SENDER", ERR_AUTH)                                                      \
	X(IM2_E_SELF, "E_SELF", ERR_SELF)                                                          \
	X(IM2_E_EXPECTED, "E_EXPECTED", ERR_KEY_CHANGED)                                           \
	X(IM2_E_KEY_CONFLICT, "E_KEY_CONFLICT", ERR_KEY_CHANGED)                                   \
	X(IM2_E_POLICY, "E_POLICY", ERR_DENIED)                                                    \
	X(IM2_E_DOWNGRADE, "E_DOWNGRADE", ERR_DOWNGRADE)                                           \
	X(IM2_E2E_REQUIRED, "E2E_REQUIRED", ERR_UNTRUSTED)

enum im2_refusal {
#define X(name, word, err) name,
	IM2_REFUSALS(X)
#undef X
	IM2_REFUSAL_COUNT
};
const char *im2_refusal_word(enum im2_refusal r);
enum err im2_refusal_err(enum im2_refusal r);

/* --- integers and byte strings (3.1) --------------------------------------------------------- */
#define IM2_VARINT_MAX_BYTES 9
/* Number of bytes of `v` (< 2^63). */
size_t im2_varint_size(uint64_t v);
/* Writes at most 9 bytes, returns how many. BUG when v >= 2^63. */
size_t im2_varint_put(uint8_t *p, uint64_t v);
/* Takes one varint from the front of *in. */
enum im2_refusal im2_varint_take(struct bytes *in, uint64_t *out);
enum im2_refusal im2_lv_take(struct bytes *in, struct bytes *out);
void im2_lv_add(struct buf *b, struct bytes x);     /* lv(x) */
void im2_varint_add(struct buf *b, uint64_t v);

/* --- structures (3.2) -------------------------------------------------------------------------- */
enum im2_kind { IM2_UINT, IM2_BYTES, IM2_TEXT, IM2_NAME, IM2_FLAG, IM2_LIST, IM2_STRUCT };
struct im2_schema;
struct im2_fields;

struct im2_rule {
	uint16_t tag;              /* as on the wire: odd = critical */
	enum im2_kind kind;
	bool required, has_default;
	uint64_t lo, hi;           /* UINT: range; BYTES, TEXT, NAME: length; LIST: elements (lo 0 = may be empty) */
	uint64_t dflt;             /* UINT: never written */
	/* LIST: kind and length of an element (BYTES, TEXT: elem_lo..elem_hi; STRUCT: `of`). */
	enum im2_kind elem;
	uint32_t elem_lo, elem_hi;
	uint32_t max_bytes;        /* LIST: of the whole value; 0 = that of the structure */
	bool ascending;
	const struct im2_schema *of; /* STRUCT, and LIST of STRUCT */
	/* More than the kind says (receipt entries, headers, ranges of XACK): of the value, in a LIST of
	 * each element. May be NULL. */
	enum im2_refusal (*check)(struct bytes value);
	const char *name;          /* for the generated documentation */
};
#define IM2_FIELDS_MAX 24         /* rules of one structure */
#define IM2_STRUCT_FIELDS_MAX 64  /* on the wire, unknown ones included */

struct im2_schema {
	const char *name;
	const struct im2_rule *rules; /* ascending tags; the index is the field number in im2_fields */
	size_t count;
	size_t max_bytes;
	enum im2_refusal (*across)(const struct im2_fields *f); /* rules across fields; may be NULL */
};

struct im2_value {
	struct bytes b; /* the value bytes; for a list or structure its encoding */
	uint64_t u;     /* UINT; the default when absent; LIST: number of elements */
};
struct im2_fields {
	const struct im2_schema *schema;
	struct bytes raw;                     /* the whole structure as received */
	uint32_t present;                     /* bit i: rule i was on the wire */
	uint32_t unknown;                     /* unknown even tags that were kept */
	uint16_t last_tag;                    /* of the last field on the wire, known or not */
	struct im2_value v[IM2_FIELDS_MAX];
};
static inline bool im2_has(const struct im2_fields *f, unsigned i)
{
	return f->present >> i & 1;
}

/* Checks everything 3.2 demands, nested structures and lists too. Fields point into `in`. What `out` holds
 * after a refusal means nothing. */
enum im2_refusal im2_parse(const struct im2_schema *s, struct bytes in, struct im2_fields *out);
/* Writes the present fields in tag order; values equal to their default and empty optional lists and
 * structures are left out. For UINT `u` counts, for all else `b`. BUG on a value that the schema refuses
 * (callers checked it before). Unknown fields of `raw` are not written. */
void im2_write(const struct im2_schema *s, const struct im2_fields *f, struct buf *out);
/* Convenience for writers: mark and set. */
static inline void im2_set_u(struct im2_fields *f, unsigned i, uint64_t u)
{
	f->present |= 1u << i;
	f->v[i].u = u;
}
static inline void im2_set_b(struct im2_fields *f, unsigned i, struct bytes b)
{
	f->present |= 1u << i;
	f->v[i].b = b;
}
/* Parses, and writes every field anew (unknown ones copied): must give `in` back. For tests and fuzzers. */
enum im2_refusal im2_reencode(const struct im2_schema *s, struct bytes in, struct buf *out);

/* --- item lists (3.3) ---------------------------------------------------------------------------- */
#define IM2_ITEMS_MAX 256
/* Checks the whole list, padding included, without looking into values. *count may be NULL. */
enum im2_refusal im2_items_check(struct bytes list, size_t *count);
/* After im2_items_check(): takes the next item; false at the end or at the padding. */
bool im2_item_next(struct bytes *list, uint16_t *tag, struct bytes *value);
void im2_item_add(struct buf *b, uint16_t tag, struct bytes value);
/* Bytes an item of a value of n bytes takes. */
size_t im2_item_size(uint16_t tag, size_t n);
/* Length after padding by 7.8 (`bucket`). */
size_t im2_bucket(size_t n);

#endif
