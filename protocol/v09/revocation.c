#include "protocol/v09/revocation.h"

#include "base/text.h"

#define SECONDS_MAX INT64_C(99999999999)
#define INPUT_MAX 96

static struct bytes input(const struct node_id *target, const struct node_id *revoker, uint64_t at_s, char out[static INPUT_MAX])
{
	int n = snprintf(out, INPUT_MAX, "%s%s%llu", target->hex, revoker->hex, (unsigned long long)at_s);

	return bytes_of(out, (size_t)n);
}

enum err revocation_write(const struct keyring *k, const struct node_id *target, const char *reason, uint64_t wall_ms,
			  struct buf *out)
{
	char text[INPUT_MAX], sig_text[BASE64_LEN(SIG_BYTES) + 1], safe[REVOCATION_REASON_MAX + 1];
	const struct node_id *self = keyring_id(k);
	uint64_t at_s = wall_ms / 1000;
	uint8_t sig[SIG_BYTES];
	json_t *o;
	enum err e;

	keyring_sign(k, SIG_BARE_REVOCATION, input(target, self, at_s, text), sig);
	base64_encode(BYTES_ARR(sig), sig_text);
	text_safe(bytes_str(reason ? reason : ""), safe, sizeof safe);
	o = json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:s}", "type", "REVOCATION", "from", self->hex, "target_node_id", target->hex,
		      "revoker_node_id", self->hex, "timestamp", (json_int_t)at_s, "reason", safe, "signature", sig_text);
	e = o ? json_write(out, o, JSON_INSERTION) : ERR_NOMEM;
	json_decref(o);
	return e;
}

enum err revocation_read(struct bytes payload, struct revocation *out)
{
	struct bytes target, revoker, sig, reason = { 0 };
	struct revocation r = { 0 };
	int64_t at;
	json_t *o;
	enum err e = json_load_strict(payload, REVOCATION_PAYLOAD_MAX, &o);

	if (e != ERR_OK)
		return e;
	e = ERR_MALFORMED;
	if (json_get_str(o, "target_node_id", &target) == ERR_OK && node_id_parse(target, &r.target) == ERR_OK &&
	    json_get_str(o, "revoker_node_id", &revoker) == ERR_OK && node_id_parse(revoker, &r.revoker) == ERR_OK &&
	    json_get_int(o, "timestamp", 0, SECONDS_MAX, &at) == ERR_OK && json_get_str(o, "signature", &sig) == ERR_OK &&
	    base64_decode_exact(sig, r.signature, sizeof r.signature) == ERR_OK) {
		r.at_s = (uint64_t)at;
		if (json_get_str(o, "reason", &reason) == ERR_OK)
			text_safe(reason, r.reason, sizeof r.reason);
		*out = r;
		e = ERR_OK;
	}
	json_decref(o);
	return e;
}

bool revocation_verify(const struct revocation *r, const uint8_t ed[static ED_BYTES])
{
	char text[INPUT_MAX];

	return sig_verify(SIG_BARE_REVOCATION, ed, input(&r->target, &r->revoker, r->at_s, text), r->signature);
}

enum err revocation_fresh(const struct revocation *r, uint64_t wall_ms)
{
	uint64_t at = r->at_s * 1000;

	if (at > wall_ms + REVOCATION_FUTURE_MS)
		return ERR_AGAIN;
	return at + REVOCATION_OLD_MS < wall_ms ? ERR_EXPIRED : ERR_OK;
}
