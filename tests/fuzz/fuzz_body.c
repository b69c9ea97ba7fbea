/* rooms: protocol trust base */
/*
 * The scanner of frame bodies against jansson: what the scanner takes, jansson takes, and every
 * field is the same. The other way round is not asked: the scanner is stricter on purpose. And what goes
 * on to another node says the same again, with one hop more and one less to live.
 */
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/text.h"
#include "protocol/session.h"
#include "protocol/v09/body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_text(const json_t *o, const char *key, struct bytes got, struct bytes absent)
{
	const json_t *v = json_object_get(o, key);

	if (v) {
		BUG_ON(!json_is_string(v));
		absent = bytes_of(json_string_value(v), json_string_length(v));
	}
	BUG_ON(!bytes_eq(got, absent));
}

static void same_integer(const json_t *o, const char *key, int64_t got, int64_t absent)
{
	const json_t *v = json_object_get(o, key);

	BUG_ON(v && !json_is_integer(v));
	BUG_ON(got != (v ? json_integer_value(v) : absent));
}

static void goes_on(const struct body *b)
{
	static const struct node_id self = { "139e3940e64b5491722088d9a0d74162" };
	struct buf head, whole;
	struct body again;
	size_t cut;

	if (!b->ttl || b->hops_escaped || b->hops >= BODY_HOPS_MAX)
		return;
	buf_init(&head, 8u << 20);
	buf_init(&whole, 8u << 20);
	body_write_on(&head, b, &self, &cut);
	if (head.err == ERR_OK) {
		buf_add(&whole, bytes_of(head.p, cut));
		buf_add_str(&whole, "7");
		buf_add(&whole, bytes_of(head.p + cut, head.n - cut));
		BUG_ON(whole.err != ERR_OK);
		BUG_ON(body_read(whole.p, whole.n, &again) != ERR_OK);
		BUG_ON(!bytes_eq(again.type, b->type) || !bytes_eq(again.id, b->id) || !bytes_eq(again.source, b->source) ||
		       !bytes_eq(again.destination, b->destination) || !bytes_eq(again.display, b->display) ||
		       !bytes_eq(again.payload64, b->payload64) || !bytes_eq(again.sealed64, b->sealed64) ||
		       !bytes_eq(again.priority_word, b->priority_word) || !bytes_eq(again.scheme, b->scheme));
		BUG_ON(again.has_sealed != b->has_sealed || again.has_signature != b->has_signature || again.tag != b->tag ||
		       again.compressed != b->compressed || again.time_s != b->time_s);
		BUG_ON(b->has_signature && memcmp(again.signature, b->signature, SIG_BYTES) != 0);
		BUG_ON(again.ttl != b->ttl - 1 || again.hops != b->hops + 1 || again.sequence != 7);
		BUG_ON(!body_passed(&again, &self));
	}
	buf_fini(&head);
	buf_fini(&whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *text = malloc(size ? size : 1);
	struct body b;
	json_t *o;

	if (!text || size > SESSION_UNIT_MAX) {
		free(text);
		return 0;
	}
	if (size)
		memcpy(text, data, size);
	if (body_read(text, size, &b) == ERR_OK) {
		BUG_ON(json_load_strict(bytes_of(data, size), SESSION_UNIT_MAX, &o) != ERR_OK);
		BUG_ON(!json_is_object(o));
		same_text(o, "type", b.type, BYTES_LIT(""));
		same_text(o, "msg_id", b.id, BYTES_LIT(""));
		same_text(o, "source", b.source, BYTES_LIT("unknown"));
		same_text(o, "destination", b.destination, BYTES_LIT("*"));
		same_text(o, "payload", b.payload64, BYTES_LIT(""));
		same_text(o, "e2e_payload", b.sealed64, BYTES_LIT(""));
		same_integer(o, "sequence", (int64_t)b.sequence, 0);
		same_integer(o, "ttl", b.ttl, TTL_CONTROL);
		BUG_ON(b.type.n == 0 || b.id.n == 0 || b.id.n > MSG_ID_MAX);
		BUG_ON(b.has_sealed != !!json_object_get(o, "e2e_payload"));
		BUG_ON(b.has_signature != !!json_object_get(o, "source_signature"));
		BUG_ON(b.hops != json_array_size(json_object_get(o, "hops")) ||
		       b.hops > BODY_HOPS_MAX);
		const json_t *t = json_object_get(o, "timestamp");
		BUG_ON(!json_is_number(t) || !(b.time_s >= 0) || b.time_s > BODY_TIME_MAX);
		BUG_ON(b.time_s != json_number_value(t));
		json_decref(o);
		goes_on(&b);
	}
	free(text);
	return 0;
}
