#include "daemon/fields.h"

#include "base/text.h"

static const struct {
	const char *word, *type;
} kinds[] = {
	[KIND_MESSAGE] = { "message", "MSG" },   [KIND_REQUEST] = { "request", "REQ" },
	[KIND_RESPONSE] = { "response", "RESP" }, [KIND_NOTICE] = { "notice", "NOTICE" },
	[KIND_EVENT] = { "event", "EVENT" },     [KIND_ERROR] = { "error", "ERROR" },
	[KIND_END] = { "end", "END" },
};
#define KINDS (sizeof kinds / sizeof kinds[0])

const char *kind_word(uint8_t kind, char out[static KIND_WORD_MAX])
{
	if (kind < KINDS)
		return kinds[kind].word;
	snprintf(out, KIND_WORD_MAX, "kind-%u", kind);
	return out;
}

enum err kind_parse(struct bytes word, uint8_t *out)
{
	for (size_t i = 0; i < KINDS; i++)
		if (bytes_eq(word, bytes_str(kinds[i].word))) {
			*out = (uint8_t)i;
			return ERR_OK;
		}
	return ERR_MALFORMED;
}

const char *kind_type(uint8_t kind)
{
	return kinds[kind < KINDS ? kind : KIND_MESSAGE].type;
}

const char *priority_text(uint8_t p)
{
	static const char *const words[PRIO_COUNT] = { "low", "normal", "high", "critical" };

	return p < PRIO_COUNT ? words[p] : "normal";
}

/* --- media types ------------------------------------------------------------------------------------ */
static const char *const ctypes[] = {
	"text/plain",       "application/octet-stream",        "application/json",
	"text/markdown",    "application/cbor",                "application/x-ironmesh-files",
	"application/json-rpc",
};
#define CTYPES (sizeof ctypes / sizeof ctypes[0])

const char *content_type_text(const struct message_ext *x, char *out, size_t cap)
{
	if (x->ctype_text[0])
		return text_safe(bytes_of(x->ctype_text, strnlen(x->ctype_text, sizeof x->ctype_text - 1)), out, cap);
	if (x->ctype < CTYPES)
		return ctypes[x->ctype];
	snprintf(out, cap, "type-%u", x->ctype);
	return out;
}

enum err content_type_parse(struct bytes text, struct message_ext *x)
{
	char safe[2 * CONTENT_TYPE_MAX];

	if (text.n == 0 || text.n > CONTENT_TYPE_MAX)
		return ERR_MALFORMED;
	for (size_t i = 0; i < CTYPES; i++)
		if (bytes_eq(text, bytes_str(ctypes[i]))) {
			x->ctype = (uint8_t)i;
			x->ctype_text[0] = 0;
			return ERR_OK;
		}
	/* Whatever would have to be cleaned to be shown is not sent either. */
	if (!bytes_eq(bytes_str(text_safe(text, safe, sizeof safe)), text))
		return ERR_MALFORMED;
	x->ctype = 0;
	memcpy(x->ctype_text, text.p, text.n);
	x->ctype_text[text.n] = 0;
	return ERR_OK;
}

/* --- ids -------------------------------------------------------------------------------------------- */
enum err wire_id_parse(struct bytes text, uint8_t out[static MSG_WIRE_ID])
{
	char hex[32];
	size_t n = 0;

	if (text.n != 32 && text.n != 36)
		return ERR_MALFORMED;
	for (size_t i = 0; i < text.n; i++) {
		bool dash = text.n == 36 && (i == 8 || i == 13 || i == 18 || i == 23);

		if (dash != (text.p[i] == '-'))
			return ERR_MALFORMED;
		if (!dash)
			hex[n++] = text.p[i] >= 'A' && text.p[i] <= 'F' ? (char)(text.p[i] - 'A' + 'a') :
									  (char)text.p[i];
	}
	return hex_decode(bytes_of(hex, n), out, MSG_WIRE_ID);
}

/* --- out -------------------------------------------------------------------------------------------- */
static const char *end_reason(uint8_t r)
{
	static const char *const words[] = { "", "turn-limit", "goal", "budget", "error", "operator" };

	return r < sizeof words / sizeof words[0] ? words[r] : "other";
}

void fields_of_row(struct bytes meta, const char *type, struct message_ext *out)
{
	struct message_ext x = { 0 };
	uint8_t kind;

	if (meta.n == 0 || message_meta_read(meta, &x) != ERR_OK)
		x = (struct message_ext){ 0 };
	if (x.kind == KIND_MESSAGE && message_kind_of(bytes_str(type), &kind) == ERR_OK)
		x.kind = kind;
	*out = x;
}

static json_t *hex_or_null(bool has, const uint8_t id[static 16])
{
	char hex[33];

	if (!has)
		return json_null();
	hex_encode(bytes_of(id, 16), hex);
	return json_stringn_nocheck(hex, 32);
}

void fields_json(json_t *o, const struct message_ext *x)
{
	char word[KIND_WORD_MAX], type[256];

	(void)json_object_set_new(o, "kind", json_string(kind_word(x->kind, word)));
	(void)json_object_set_new(o, "conversation", hex_or_null(x->has_conv, x->conv));
	(void)json_object_set_new(o, "reply_to", hex_or_null(x->has_reply_to, x->reply_to));
	(void)json_object_set_new(o, "expects_reply", json_boolean(x->flags & MSG_EXPECTS_REPLY));
	(void)json_object_set_new(o, "turn", json_integer(x->turn));
	(void)json_object_set_new(o, "max_turns", json_integer(x->max_turns));
	(void)json_object_set_new(o, "content_type", json_string(content_type_text(x, type, sizeof type)));
	if (x->end_reason)
		(void)json_object_set_new(o, "end_reason", json_string(end_reason(x->end_reason)));
}

static void add_hex(struct buf *b, const char *name, const uint8_t id[static 16])
{
	char hex[33];

	hex_encode(bytes_of(id, 16), hex);
	buf_printf(b, ",\"%s\":\"%s\"", name, hex);
}

void fields_add_all(struct buf *b, const struct message_ext *x)
{
	char word[KIND_WORD_MAX], type[256];

	buf_add_str(b, ",\"kind\":\"");
	buf_add_str(b, kind_word(x->kind, word));
	buf_add_u8(b, '"');
	if (x->has_conv)
		add_hex(b, "conversation", x->conv);
	else
		buf_add_str(b, ",\"conversation\":null");
	if (x->has_reply_to)
		add_hex(b, "reply_to", x->reply_to);
	else
		buf_add_str(b, ",\"reply_to\":null");
	buf_add_str(b, x->flags & MSG_EXPECTS_REPLY ? ",\"expects_reply\":true" : ",\"expects_reply\":false");
	buf_add_str(b, ",\"turn\":");
	buf_add_uint(b, x->turn);
	buf_add_str(b, ",\"max_turns\":");
	buf_add_uint(b, x->max_turns);
	buf_add_str(b, ",\"content_type\":");
	json_add_text(b, bytes_str(content_type_text(x, type, sizeof type)));
	if (x->end_reason)
		buf_printf(b, ",\"end_reason\":\"%s\"", end_reason(x->end_reason));
}

void fields_add(struct buf *b, const struct message_ext *x)
{
	char word[KIND_WORD_MAX], type[256];

	if (x->kind)
		buf_printf(b, ",\"kind\":\"%s\"", kind_word(x->kind, word));
	if (x->has_conv)
		add_hex(b, "conversation", x->conv);
	if (x->has_reply_to)
		add_hex(b, "reply_to", x->reply_to);
	if (x->flags & MSG_EXPECTS_REPLY)
		buf_add_str(b, ",\"expects_reply\":true");
	if (x->turn)
		buf_printf(b, ",\"turn\":%u", x->turn);
	if (x->max_turns)
		buf_printf(b, ",\"max_turns\":%u", x->max_turns);
	if (x->ctype || x->ctype_text[0]) {
		buf_add_str(b, ",\"content_type\":");
		json_add_string(b, bytes_str(content_type_text(x, type, sizeof type)));
	}
	if (x->end_reason)
		buf_printf(b, ",\"end_reason\":\"%s\"", end_reason(x->end_reason));
}

/* Bytes that grow in a JSON string of ASCII: a control character sixfold, others up to three times. */
static bool worth_text(struct bytes body)
{
	size_t grows = 0;

	if (body.n < 4096)
		return true;
	for (size_t i = 0; i < body.n; i++)
		grows += body.p[i] < 0x20 || body.p[i] >= 0x7f || body.p[i] == '"' || body.p[i] == '\\';
	return grows <= body.n / 8;
}

void fields_add_body(struct buf *b, struct bytes body)
{
	if (utf8_valid(body) && (!body.n || !memchr(body.p, 0, body.n)) && worth_text(body)) {
		buf_add_str(b, ",\"body\":");
		json_add_string(b, body);
		return;
	}
	buf_add_str(b, ",\"body_b64\":\"");
	(void)!buf_add_base64(b, body);
	buf_add_u8(b, '"');
}
