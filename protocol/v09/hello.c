#include "protocol/v09/hello.h"
#include "protocol/v09/v09.h"

/* Longest canonical form: two long texts, every byte escaped to six, and the fixed parts. */
#define CANONICAL_MAX (12 * HELLO_TEXT_MAX + 512)

enum hello_scheme hello_scheme_for(uint16_t version)
{
	return version >= VERSION_OF(0, 9) ? HELLO_CONTEXT : HELLO_ATTACHED;
}

void hello_canonical(struct buf *b, const struct hello_covered *c)
{
	buf_add_str(b, "{\"channel_binding\":");
	json_add_string(b, c->binding);
	buf_add_str(b, ",\"ephemeral_public\":");
	json_add_string(b, c->ephemeral);
	buf_add_str(b, ",\"identity_public\":");
	json_add_string(b, c->identity);
	buf_add_str(b, ",\"name\":");
	json_add_string(b, c->name);
	buf_add_str(b, ",\"protocol_version\":");
	json_add_string(b, c->version);
	buf_add_str(b, "}");
}

/* The base64 of `in` as a JSON member of a J-default object. */
static void add_base64(struct buf *b, const char *key, struct bytes in)
{
	buf_printf(b, ", \"%s\": \"", key);
	if (buf_add_base64(b, in) != ERR_OK && b->err == ERR_OK)
		b->err = ERR_NOMEM;
	buf_add_str(b, "\"");
}

void hello_write(struct buf *b, const struct hello_offer *o)
{
	char ephemeral[BASE64_LEN(X25519_BYTES) + 1], identity[BASE64_LEN(ED_BYTES) + 1];
	enum sig_context ctx = o->scheme == HELLO_CONTEXT ? SIG_HELLO : SIG_BARE_HELLO;
	struct buf whole, attached;
	uint8_t sig[SIG_BYTES];
	size_t prefix = sig_prefix(ctx).n;

	base64_encode(bytes_of(o->ephemeral, X25519_BYTES), ephemeral);
	base64_encode(bytes_of(keyring_ed(o->keyring), ED_BYTES), identity);
	buf_init(&whole, CANONICAL_MAX);
	buf_init(&attached, CANONICAL_MAX);
	buf_add(&whole, sig_prefix(ctx));
	hello_canonical(&whole, &(struct hello_covered){
					.binding = bytes_str(o->binding_hex),
					.ephemeral = bytes_str(ephemeral),
					.identity = bytes_str(identity),
					.name = bytes_str(o->name),
					.version = bytes_str(o->version),
				});
	if (whole.err != ERR_OK) {
		b->err = whole.err;
		goto out;
	}
	keyring_sign(o->keyring, ctx, buf_bytes(&whole), sig);
	buf_add(&attached, BYTES_ARR(sig));
	if (o->scheme == HELLO_ATTACHED)
		buf_add(&attached, bytes_of(whole.p + prefix, whole.n - prefix));

	buf_printf(b, "{\"type\": \"HELLO\", \"from\": \"%s\", \"name\": ",
		   keyring_id(o->keyring)->hex);
	json_add_string(b, bytes_str(o->name));
	buf_printf(b, ", \"ephemeral_public\": \"%s\", \"identity_public\": \"%s\"", ephemeral,
		   identity);
	buf_add_str(b, ", \"protocol_version\": ");
	json_add_string(b, bytes_str(o->version));
	buf_printf(b, ", \"channel_binding\": \"%s\"", o->binding_hex);
	add_base64(b, "signature", buf_bytes(&attached));
	if (o->invite) {
		buf_add_str(b, ", \"invite_token\": ");
		json_add_string(b, bytes_str(o->invite));
	}
	add_base64(b, "x25519_public_b64", bytes_of(keyring_x25519(o->keyring), X25519_BYTES));
	add_base64(b, "x25519_binding_signature_b64",
		   bytes_of(keyring_binding(o->keyring), SIG_BYTES));
	if (o->acks)
		buf_add_str(b, ", \"acks\": 1");
	buf_add_str(b, "}");
	if (attached.err != ERR_OK)
		b->err = attached.err;
out:
	buf_fini(&whole);
	buf_fini(&attached);
}

static bool signature_holds(const struct hello_covered *c, uint16_t version,
			    const uint8_t ed[static ED_BYTES], struct bytes signature)
{
	enum hello_scheme scheme = hello_scheme_for(version);
	enum sig_context ctx = scheme == HELLO_CONTEXT ? SIG_HELLO : SIG_BARE_HELLO;
	struct buf whole, raw;
	bool ok = false;

	buf_init(&whole, CANONICAL_MAX);
	buf_init(&raw, CANONICAL_MAX);
	buf_add(&whole, sig_prefix(ctx));
	hello_canonical(&whole, c);
	/* One scheme per declared version, never "try both" (wire 2.6.2). */
	if (whole.err != ERR_OK || buf_add_base64_decoded(&raw, signature) != ERR_OK ||
	    raw.n < SIG_BYTES)
		goto out;
	struct bytes tail = bytes_of(raw.p + SIG_BYTES, raw.n - SIG_BYTES);
	if (scheme == HELLO_CONTEXT ? tail.n != 0 : !bytes_eq(tail, buf_bytes(&whole)))
		goto out;
	ok = sig_verify(ctx, ed, buf_bytes(&whole), raw.p);
out:
	buf_fini(&whole);
	buf_fini(&raw);
	return ok;
}

/* A failure anywhere means that nothing was advertised (wire 2.6.5). */
static void read_x25519(const json_t *o, struct hello *h)
{
	struct bytes key, binding;
	uint8_t x[X25519_BYTES], sig[SIG_BYTES];

	if (json_get_str(o, "x25519_public_b64", &key) != ERR_OK ||
	    json_get_str(o, "x25519_binding_signature_b64", &binding) != ERR_OK ||
	    base64_decode_exact(key, x, sizeof x) != ERR_OK ||
	    base64_decode_exact(binding, sig, sizeof sig) != ERR_OK ||
	    !x25519_binding_verify(h->ed, x, sig))
		return;
	memcpy(h->x25519, x, sizeof x);
	h->has_x25519 = true;
}

static bool optional_text(const json_t *o, const char *key, struct bytes absent, struct bytes *out)
{
	*out = absent;
	if (!json_object_get(o, key))
		return true;
	return json_get_str(o, key, out) == ERR_OK && out->n <= HELLO_TEXT_MAX;
}

/* What is no token is no reason to end the handshake: whoever wants one refuses it. */
static void read_invite(const json_t *o, struct hello *h)
{
	const json_t *v = json_object_get(o, "invite_token");
	struct bytes text;

	h->has_invite = v && !json_is_null(v);
	if (!h->has_invite || json_get_str(o, "invite_token", &text) != ERR_OK || text.n > INVITE_TEXT_MAX)
		return;
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] <= ' ' || text.p[i] > '~')
			return;
	h->invite = text;
}

static bool ends_in_mark(struct bytes version)
{
	struct bytes mark = BYTES_LIT(V09_MARK);

	return version.n >= mark.n &&
	       bytes_eq(bytes_of(version.p + version.n - mark.n, mark.n), mark);
}

enum hello_verdict hello_read(const json_t *o, const char *binding_hex, bool binding_required,
			      struct hello *out)
{
	struct hello h = {0};
	struct hello_covered c;
	struct bytes type, from, signature, binding;
	struct node_id claimed;

	if (json_get_str(o, "type", &type) != ERR_OK || !bytes_eq(type, BYTES_LIT("HELLO")))
		return HELLO_OTHER_TYPE;
	if (json_get_str(o, "from", &from) != ERR_OK || from.n > HELLO_TEXT_MAX ||
	    json_get_str(o, "ephemeral_public", &c.ephemeral) != ERR_OK)
		return HELLO_INCOMPLETE;
	if (json_object_get(o, "rns_link_id"))
		return HELLO_LINK_BINDING;
	if (!json_object_get(o, "identity_public"))
		return HELLO_ANONYMOUS;
	if (!json_object_get(o, "signature"))
		return HELLO_UNSIGNED;
	if (json_get_str(o, "identity_public", &c.identity) != ERR_OK ||
	    json_get_str(o, "signature", &signature) != ERR_OK ||
	    base64_decode_exact(c.identity, h.ed, ED_BYTES) != ERR_OK)
		return HELLO_BAD_SIGNATURE;
	if (base64_decode_exact(c.ephemeral, h.ephemeral, X25519_BYTES) != ERR_OK ||
	    !optional_text(o, "name", from, &c.name) ||
	    !optional_text(o, "protocol_version", BYTES_LIT(""), &c.version) ||
	    !optional_text(o, "channel_binding", BYTES_LIT(""), &binding))
		return HELLO_INCOMPLETE;
	c.binding = bytes_str(binding_hex);
	if ((binding_required || binding.n) && !bytes_eq(binding, c.binding))
		return HELLO_BAD_SIGNATURE;
	h.version = v09_version_parse(c.version);
	if (!signature_holds(&c, h.version, h.ed, signature))
		return HELLO_BAD_SIGNATURE;
	if (c.version.n == 0)
		h.version = VERSION_OF(0, 3);

	node_id_of(h.ed, &h.id);
	if (node_id_parse(from, &claimed) != ERR_OK || !node_id_eq(&claimed, &h.id))
		return HELLO_BAD_FROM;
	text_safe(c.name, h.name, sizeof h.name);
	read_x25519(o, &h);
	const json_t *acks = json_object_get(o, "acks");
	h.acks = json_is_integer(acks) && json_integer_value(acks) == 1;
	h.marked = ends_in_mark(c.version);
	read_invite(o, &h);
	*out = h;
	return HELLO_ACCEPTED;
}

const struct hello_refusal *hello_refusal(enum hello_verdict v)
{
	static const struct hello_refusal rows[HELLO_VERDICTS] = {
		[HELLO_OTHER_TYPE] = {ERR_MALFORMED, BLAME_GARBAGE, "not-hello", NULL, NULL},
		[HELLO_INCOMPLETE] = {ERR_MALFORMED, BLAME_GARBAGE, "hello-incomplete",
				      "Invalid HELLO: missing ephemeral_public", "INVALID_FRAME"},
		[HELLO_LINK_BINDING] = {ERR_AUTH, BLAME_AUTH, "hello-link-binding",
					"HELLO link binding rejected: rns_link_id is only valid on "
					"the Reticulum transport",
					"AUTH_FAILED"},
		[HELLO_UNSIGNED] = {ERR_AUTH, BLAME_AUTH, "hello-unsigned",
				    "HELLO signature required when identity_public is provided",
				    "AUTH_FAILED"},
		/* Upstream accepts this one as whatever id it claims (wire 12, weakness 5). */
		[HELLO_ANONYMOUS] = {ERR_AUTH, BLAME_AUTH, "hello-anonymous",
				     "HELLO identity_public and signature required", "AUTH_FAILED"},
		[HELLO_BAD_SIGNATURE] = {ERR_AUTH, BLAME_AUTH, "hello-signature",
					 "HELLO signature verification failed", "AUTH_FAILED"},
		[HELLO_BAD_FROM] = {ERR_AUTH, BLAME_AUTH, "hello-from",
				    "HELLO from does not belong to identity_public", "AUTH_FAILED"},
	};

	BUG_ON((unsigned)v >= HELLO_VERDICTS || v == HELLO_ACCEPTED);
	return &rows[v];
}

void error_write(struct buf *b, const char *error, const char *code)
{
	buf_add_str(b, "{\"type\": \"ERROR\", \"error\": ");
	json_add_string(b, bytes_str(error));
	buf_printf(b, ", \"code\": \"%s\"}", code);
}
