#include "base/json.h"
#include "base/text.h"
#include "protocol/session.h"
#include "protocol/v09/body.h"
#include "protocol/v09/scan.h"

/* Fixed text of a body plus the numbers; measured 250, rounded up. */
#define BODY_FIXED 384

bool type_is_user(struct bytes type)
{
	return bytes_eq(type, BYTES_LIT("MSG")) || bytes_eq(type, BYTES_LIT("REQ")) ||
	       bytes_eq(type, BYTES_LIT("RESP")) || bytes_eq(type, BYTES_LIT("CONV"));
}

size_t body_size_max(const struct body_out *o)
{
	/* An escape is at most six characters for one byte. */
	return BODY_FIXED + 6 * (o->type.n + o->id.n + 2 * o->source.n + o->destination.n) +
	       BASE64_LEN(o->payload.n) + BASE64_LEN(o->sealed.n) + BASE64_LEN(SIG_BYTES);
}

static void add_number(struct buf *b, uint64_t v)
{
	char text[20];
	size_t at = sizeof text;

	do
		text[--at] = (char)('0' + v % 10);
	while (v /= 10);
	buf_add(b, bytes_of(text + at, sizeof text - at));
}

static void add_base64(struct buf *b, struct bytes in)
{
	if (in.n && buf_add_base64(b, in) != ERR_OK && b->err == ERR_OK)
		b->err = ERR_NOMEM;
}

#define ADD(lit) buf_add(b, BYTES_LIT(lit))

void body_write(struct buf *b, const struct body_out *o)
{
	ADD("{\"type\":");
	json_add_string(b, o->type);
	ADD(",\"payload\":\"");
	add_base64(b, o->payload);
	ADD("\",\"msg_id\":");
	json_add_string(b, o->id);
	ADD(",\"source\":");
	json_add_string(b, o->source);
	ADD(",\"source_display\":");
	json_add_string(b, o->source);
	ADD(",\"destination\":");
	json_add_string(b, o->destination);
	ADD(",\"timestamp\":");
	json_add_double(b, o->time_s);
	ADD(",\"priority\":\"");
	buf_add_str(b, priority_word(o->priority));
	ADD("\",\"sequence\":");
	add_number(b, o->sequence);
	ADD(",\"retries\":0,\"routing\":{},\"ttl\":");
	add_number(b, o->ttl);
	ADD(",\"hops\":[]");
	if (o->signature) {
		ADD(",\"source_signature\":\"");
		add_base64(b, bytes_of(o->signature, SIG_BYTES));
		ADD("\",\"source_sig_scheme\":\"v2\"");
	}
	if (o->sealed.n) {
		ADD(",\"e2e_payload\":\"");
		add_base64(b, o->sealed);
		ADD("\"");
	}
	ADD("}");
}

bool body_passed(const struct body *b, const struct node_id *id)
{
	struct scan s = scan_init((uint8_t *)b->hops_json.p, b->hops_json.n);
	struct tok hop;

	if (!b->hops || !scan_char(&s, '['))
		return false;
	do {
		if (!scan_string(&s, &hop))
			return false;
		if (bytes_eq(bytes_of(hop.p, hop.n), bytes_of(id->hex, NODE_ID_LEN)))
			return true;
	} while (scan_try(&s, ','));
	return false;
}

static void add_json(struct buf *b, struct bytes json, const char *absent)
{
	if (json.n)
		buf_add(b, json);
	else
		buf_add_str(b, absent);
}

void body_write_on(struct buf *b, const struct body *in, const struct node_id *self, size_t *cut)
{
	ADD("{\"type\":");
	json_add_string(b, in->type);
	/* Nobody has looked into these two yet: they are text, no base64. */
	ADD(",\"payload\":");
	json_add_string(b, in->payload64);
	ADD(",\"msg_id\":");
	json_add_string(b, in->id);
	ADD(",\"source\":");
	json_add_string(b, in->source);
	ADD(",\"source_display\":");
	json_add_string(b, in->display);
	ADD(",\"destination\":");
	json_add_string(b, in->destination);
	ADD(",\"timestamp\":");
	add_json(b, in->time_json, "0.0");
	ADD(",\"priority\":");
	json_add_string(b, in->priority_word);
	ADD(",\"sequence\":");
	*cut = b->n;
	ADD(",\"retries\":");
	add_json(b, in->retries_json, "0");
	ADD(",\"routing\":");
	add_json(b, in->routing_json, "{}");
	ADD(",\"ttl\":");
	add_number(b, in->ttl - 1u);
	ADD(",\"hops\":[");
	if (in->hops) {
		size_t n = in->hops_json.n - 1; /* without the bracket */

		buf_add(b, bytes_of(in->hops_json.p + 1, n - 1));
		ADD(",");
	}
	json_add_string(b, bytes_of(self->hex, NODE_ID_LEN));
	ADD("]");
	if (in->has_signature) {
		ADD(",\"source_signature\":");
		json_add_string(b, in->signature64);
	}
	if (in->has_scheme) {
		ADD(",\"source_sig_scheme\":");
		json_add_string(b, in->scheme);
	}
	if (in->has_sealed) {
		ADD(",\"e2e_payload\":");
		json_add_string(b, in->sealed64);
	}
	ADD("}");
}

enum key {
	KEY_TYPE,
	KEY_PAYLOAD,
	KEY_ID,
	KEY_SOURCE,
	KEY_DISPLAY,
	KEY_DESTINATION,
	KEY_TIMESTAMP,
	KEY_PRIORITY,
	KEY_SEQUENCE,
	KEY_RETRIES,
	KEY_ROUTING,
	KEY_TTL,
	KEY_HOPS,
	KEY_SIGNATURE,
	KEY_SCHEME,
	KEY_SEALED,
	KEYS
};

static const struct {
	const char *name;
	uint8_t n;
} keys[KEYS] = {
#define K(i, text) [i] = {text, sizeof text - 1}
	K(KEY_TYPE, "type"),
	K(KEY_PAYLOAD, "payload"),
	K(KEY_ID, "msg_id"),
	K(KEY_SOURCE, "source"),
	K(KEY_DISPLAY, "source_display"),
	K(KEY_DESTINATION, "destination"),
	K(KEY_TIMESTAMP, "timestamp"),
	K(KEY_PRIORITY, "priority"),
	K(KEY_SEQUENCE, "sequence"),
	K(KEY_RETRIES, "retries"),
	K(KEY_ROUTING, "routing"),
	K(KEY_TTL, "ttl"),
	K(KEY_HOPS, "hops"),
	K(KEY_SIGNATURE, "source_signature"),
	K(KEY_SCHEME, "source_sig_scheme"),
	K(KEY_SEALED, "e2e_payload"),
#undef K
};

/* `hint` is the key that the emission order would bring now: one comparison for honest bodies. */
static unsigned key_of(struct bytes text, unsigned hint)
{
	for (unsigned i = 0; i < KEYS; i++) {
		unsigned k = (hint + i) % KEYS;
		if (text.n == keys[k].n && memcmp(text.p, keys[k].name, text.n) == 0)
			return k;
	}
	return KEYS;
}

struct parts {
	struct tok at[KEYS];
	unsigned unknown;
	size_t odd_bytes; /* of values that may hide duplicate keys */
	bool odd;
};

/* First pass: find the values and change no byte, since odd bodies are read again by jansson. */
static enum err collect(uint8_t *text, size_t n, struct parts *out)
{
	struct scan s = scan_init(text, n);
	struct tok key, value;

	if (!scan_char(&s, '{'))
		return s.err;
	if (!scan_try(&s, '}')) {
		unsigned hint = 0;
		do {
			if (!scan_string(&s, &key) || !scan_char(&s, ':') ||
			    !scan_value(&s, 1, &value))
				return s.err;
			/* A known key spelled with escapes is one that only a trickster writes. */
			unsigned k = key.escaped ? KEYS : key_of(bytes_of(key.p, key.n), hint);
			if (k < KEYS && out->at[k].kind != TOK_NONE)
				return ERR_MALFORMED;
			if (k < KEYS) {
				out->at[k] = value;
				hint = k + 1;
			}
			if (k == KEYS || (k == KEY_ROUTING && value.n > 2)) {
				out->odd = true;
				out->odd_bytes += key.n + value.n;
				if (++out->unknown > BODY_UNKNOWN_MAX ||
				    out->odd_bytes > BODY_ODD_BYTES_MAX)
					return ERR_LIMIT;
			}
		} while (scan_try(&s, ','));
		if (!scan_char(&s, '}'))
			return s.err;
	}
	return scan_end(&s);
}

/* Bodies with unknown keys or a filled `routing`: let jansson look for duplicates everywhere and
 * for known keys spelled with escapes. */
static enum err odd_check(const uint8_t *text, size_t n, struct parts *parts, struct body *b)
{
	json_t *root;
	enum err e = json_load_strict(bytes_of(text, n), SESSION_UNIT_MAX, &root);

	if (e != ERR_OK)
		return e;
	for (unsigned k = 0; k < KEYS && e == ERR_OK; k++)
		if (parts->at[k].kind == TOK_NONE && json_object_get(root, keys[k].name))
			e = ERR_MALFORMED;
	/* Upstream asks whether it is truthy; any spelling of "yes" counts. */
	const json_t *flag = json_object_get(json_object_get(root, "routing"), "compressed");
	b->compressed = flag && !json_is_false(flag) && !json_is_null(flag) &&
			!(json_is_integer(flag) && json_integer_value(flag) == 0);
	json_decref(root);
	return e;
}

/* A string of min..max bytes of text; `absent` when the key is missing. */
static enum err take_text(struct tok *t, size_t min, size_t max, struct bytes absent,
			  struct bytes *out)
{
	struct bytes text = absent;

	if (t->kind != TOK_NONE) {
		if (t->kind != TOK_STRING)
			return ERR_MALFORMED;
		text = tok_text(t);
	}
	if (text.n < min || text.n > max)
		return ERR_MALFORMED;
	*out = text;
	return ERR_OK;
}

static enum err take_integer(const struct tok *t, int64_t min, int64_t max, int64_t absent,
			     int64_t *out)
{
	*out = absent;
	return t->kind == TOK_NONE ? ERR_OK : tok_integer(t, min, max, out);
}

static enum err take_hops(const struct tok *t, unsigned *out, bool *escaped)
{
	struct tok hop;
	unsigned n = 0;

	*out = 0;
	if (t->kind == TOK_NONE)
		return ERR_OK;
	if (t->kind != TOK_ARRAY)
		return ERR_MALFORMED;
	struct scan s = scan_init(t->p, t->n);
	if (!scan_char(&s, '['))
		return s.err;
	if (scan_try(&s, ']'))
		return ERR_OK;
	do {
		if (!scan_string(&s, &hop))
			return ERR_MALFORMED;
		*escaped |= hop.escaped;
		if (++n > BODY_HOPS_MAX || tok_text(&hop).n > BODY_STRING_MAX)
			return ERR_LIMIT;
	} while (scan_try(&s, ','));
	*out = n;
	return ERR_OK;
}

static enum err take_signature(struct parts *p, struct body *b)
{
	struct bytes text, scheme;

	if (p->at[KEY_SCHEME].kind != TOK_NONE) {
		if (take_text(&p->at[KEY_SCHEME], 0, BODY_STRING_MAX, BYTES_LIT(""), &scheme) !=
		    ERR_OK)
			return ERR_MALFORMED;
		b->scheme = scheme;
		b->has_scheme = true;
		b->tag = bytes_eq(scheme, BYTES_LIT("v2"))   ? INNER_V2
			 : bytes_eq(scheme, BYTES_LIT("v1")) ? INNER_V1
							     : INNER_OTHER;
	}
	if (p->at[KEY_SIGNATURE].kind == TOK_NONE)
		return ERR_OK;
	b->has_signature = true;
	if (take_text(&p->at[KEY_SIGNATURE], 0, BODY_STRING_MAX, BYTES_LIT(""), &text) != ERR_OK)
		return ERR_MALFORMED;
	b->signature64 = text;
	return base64_decode_exact(text, b->signature, SIG_BYTES);
}

static bool printable(struct bytes text)
{
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] < 0x20 || text.p[i] > 0x7e)
			return false;
	return true;
}

static struct bytes json_of(const struct tok *t)
{
	return t->kind == TOK_NONE ? (struct bytes){ 0 } : bytes_of(t->p, t->n);
}

static enum err interpret(struct parts *p, struct body *b)
{
	struct bytes priority;
	int64_t sequence, ttl, retries;
	struct tok *at = p->at;
	enum err e;

	if ((e = take_text(&at[KEY_TYPE], 1, BODY_STRING_MAX, BYTES_LIT(""), &b->type)) != ERR_OK ||
	    (e = take_text(&at[KEY_ID], 1, MSG_ID_MAX, BYTES_LIT(""), &b->id)) != ERR_OK ||
	    (e = take_text(&at[KEY_SOURCE], 0, BODY_STRING_MAX, BYTES_LIT("unknown"),
			   &b->source)) != ERR_OK ||
	    (e = take_text(&at[KEY_DISPLAY], 0, BODY_STRING_MAX, b->source, &b->display)) != ERR_OK ||
	    (e = take_text(&at[KEY_DESTINATION], 0, BODY_STRING_MAX, BYTES_LIT("*"),
			   &b->destination)) != ERR_OK ||
	    (e = take_text(&at[KEY_PRIORITY], 0, BODY_STRING_MAX, BYTES_LIT("NORMAL"),
			   &priority)) != ERR_OK ||
	    (e = take_text(&at[KEY_PAYLOAD], 0, SESSION_UNIT_MAX, BYTES_LIT(""), &b->payload64)) !=
		    ERR_OK ||
	    (e = take_text(&at[KEY_SEALED], 0, SESSION_UNIT_MAX, BYTES_LIT(""), &b->sealed64)) !=
		    ERR_OK ||
	    (e = take_integer(&at[KEY_SEQUENCE], 0, INT64_MAX, 0, &sequence)) != ERR_OK ||
	    (e = take_integer(&at[KEY_TTL], 0, 255, TTL_CONTROL, &ttl)) != ERR_OK ||
	    (e = take_integer(&at[KEY_RETRIES], 0, INT32_MAX, 0, &retries)) != ERR_OK ||
	    (e = take_hops(&at[KEY_HOPS], &b->hops, &b->hops_escaped)) != ERR_OK ||
	    (e = tok_number(&at[KEY_TIMESTAMP], &b->time_s)) != ERR_OK ||
	    (e = take_signature(p, b)) != ERR_OK)
		return e;
	if (!printable(b->id) || b->time_s < 0 || b->time_s > BODY_TIME_MAX)
		return ERR_MALFORMED;
	if (at[KEY_ROUTING].kind != TOK_NONE && at[KEY_ROUTING].kind != TOK_OBJECT)
		return ERR_MALFORMED;
	b->priority_word = priority;
	b->time_json = json_of(&at[KEY_TIMESTAMP]);
	b->retries_json = json_of(&at[KEY_RETRIES]);
	b->routing_json = json_of(&at[KEY_ROUTING]);
	b->hops_json = json_of(&at[KEY_HOPS]);
	b->has_sealed = at[KEY_SEALED].kind != TOK_NONE;
	b->sequence = (uint64_t)sequence;
	b->ttl = (uint8_t)ttl;
	if (priority_parse(priority, &b->priority) != ERR_OK)
		b->priority = PRIO_NORMAL;
	return ERR_OK;
}

enum err body_read(uint8_t *text, size_t n, struct body *out)
{
	struct parts parts = {0};
	struct body b = {0};
	enum err e = collect(text, n, &parts);

	if (e == ERR_OK && parts.odd)
		e = odd_check(text, n, &parts, &b);
	if (e == ERR_OK)
		e = interpret(&parts, &b);
	if (e == ERR_OK)
		*out = b;
	return e;
}
