#include "base/text.h"
#include "protocol/v09/control.h"

static void open_object(struct buf *b, const char *type, const struct node_id *from)
{
	buf_add_str(b, "{\"type\":\"");
	buf_add_str(b, type);
	buf_add_str(b, "\",\"from\":\"");
	buf_add_str(b, from->hex);
	buf_add_str(b, "\"");
}

void control_write(struct buf *b, const char *type, const struct node_id *from)
{
	open_object(b, type, from);
	buf_add_str(b, "}");
}

void goodbye_write(struct buf *b, const struct node_id *from)
{
	open_object(b, "GOODBYE", from);
	buf_add_str(b, ",\"reason\":\"shutdown\"}");
}

void key_rotate_write(struct buf *b, const struct node_id *from, const uint8_t new_ed[static ED_BYTES],
		      uint64_t wall_ms)
{
	char key[BASE64_LEN(ED_BYTES) + 1];

	base64_encode(bytes_of(new_ed, ED_BYTES), key);
	open_object(b, "KEY_ROTATE", from);
	buf_printf(b, ",\"new_public_key\":\"%s\",\"rotated_at\":", key);
	json_add_double(b, (double)wall_ms / 1000.0);
	buf_add_str(b, "}");
}

void rekey_write(struct buf *b, bool response, const struct node_id *from,
		 const uint8_t ephemeral[static X25519_BYTES], struct bytes rekey_id)
{
	char key[BASE64_LEN(X25519_BYTES) + 1];

	base64_encode(bytes_of(ephemeral, X25519_BYTES), key);
	open_object(b, response ? "REKEY_RESPONSE" : "REKEY_REQUEST", from);
	buf_printf(b, ",\"new_ephemeral_public\":\"%s\",\"rekey_id\":", key);
	json_add_string(b, rekey_id);
	buf_add_str(b, "}");
}

enum err rekey_read(struct bytes payload, struct rekey *out)
{
	struct rekey k;
	struct bytes key, id;
	json_t *o;
	enum err e = json_load_strict(payload, CONTROL_MAX, &o);

	if (e != ERR_OK)
		return e;
	e = ERR_MALFORMED;
	if (json_is_object(o) && json_get_str(o, "new_ephemeral_public", &key) == ERR_OK &&
	    json_get_str(o, "rekey_id", &id) == ERR_OK && id.n >= 1 && id.n <= REKEY_ID_MAX &&
	    base64_decode_exact(key, k.ephemeral, X25519_BYTES) == ERR_OK) {
		memcpy(k.id, id.p, id.n);
		k.id[id.n] = 0;
		*out = k;
		e = ERR_OK;
	}
	json_decref(o);
	return e;
}

static const char *const lists[] = {
	[RECEIPT_DELIVERED] = "ack_msg_ids",
	[RECEIPT_READ] = "read_msg_ids",
	[RECEIPT_REJECTED] = "rejected",
	[RECEIPT_HELD] = "held_msg_ids",
};
#define LISTS (sizeof lists / sizeof *lists)

static bool printable(struct bytes text, size_t max)
{
	if (text.n > max)
		return false;
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] < 0x20 || text.p[i] > 0x7e)
			return false;
	return true;
}

bool msg_id_valid(struct bytes id)
{
	return id.n && printable(id, MSG_ID_MAX);
}

bool receipt_valid(const struct receipt *r)
{
	return (unsigned)r->kind < LISTS && msg_id_valid(r->id) &&
	       (r->kind != RECEIPT_REJECTED || printable(r->reason, ACK_REASON_MAX));
}

size_t ack_write(struct buf *b, const struct node_id *from, const struct receipt *r, size_t n)
{
	size_t fit = 0, bytes = 0;

	/* Printable text: a quote or backslash doubles. `{"id":"","reason":""},` is 22. */
	while (fit < n && fit < ACK_IDS_MAX) {
		bytes += 2 * (r[fit].id.n + r[fit].reason.n) + 24;
		if (bytes > CONTROL_MAX - 256)
			break;
		fit++;
	}
	open_object(b, "ACK", from);
	for (unsigned kind = 0; kind < LISTS; kind++) {
		bool first = true;

		for (size_t i = 0; i < fit; i++) {
			if ((unsigned)r[i].kind != kind)
				continue;
			if (first) {
				buf_add_str(b, ",\"");
				buf_add_str(b, lists[kind]);
				buf_add_str(b, "\":[");
			} else {
				buf_add_str(b, ",");
			}
			first = false;
			if (kind == RECEIPT_REJECTED) {
				buf_add_str(b, "{\"id\":");
				json_add_string(b, r[i].id);
				buf_add_str(b, ",\"reason\":");
				json_add_string(b, r[i].reason);
				buf_add_str(b, "}");
			} else {
				json_add_string(b, r[i].id);
			}
		}
		if (!first)
			buf_add_str(b, "]");
	}
	buf_add_str(b, "}");
	return fit;
}

static bool id_ok(const json_t *v)
{
	return json_is_string(v) && msg_id_valid(bytes_of(json_string_value(v), json_string_length(v)));
}

static bool rejected_ok(const json_t *v)
{
	struct bytes reason = { 0 };

	return json_is_object(v) && id_ok(json_object_get(v, "id")) &&
	       (!json_object_get(v, "reason") ||
		(json_get_str(v, "reason", &reason) == ERR_OK && printable(reason, ACK_REASON_MAX)));
}

enum err ack_read(struct bytes payload, struct ack *out)
{
	json_t *o;
	size_t total = 0;
	enum err e = json_load_strict(payload, CONTROL_MAX, &o);

	if (e != ERR_OK)
		return e;
	if (!json_is_object(o))
		goto bad;
	for (unsigned kind = 0; kind < LISTS; kind++) {
		const json_t *list = json_object_get(o, lists[kind]);

		if (!list)
			continue;
		if (!json_is_array(list))
			goto bad;
		total += json_array_size(list);
		if (total > ACK_IDS_MAX)
			goto bad;
		for (size_t i = 0; i < json_array_size(list); i++) {
			const json_t *v = json_array_get(list, i);

			if (kind == RECEIPT_REJECTED ? !rejected_ok(v) : !id_ok(v))
				goto bad;
		}
	}
	if (json_object_get(o, "ack_msg_id")) {
		if (!id_ok(json_object_get(o, "ack_msg_id")))
			goto bad;
		total++;
	}
	if (total == 0)
		goto bad;
	*out = (struct ack){ .root = o };
	return ERR_OK;
bad:
	json_decref(o);
	return ERR_MALFORMED;
}

static struct bytes text_of(const json_t *v)
{
	return v ? bytes_of(json_string_value(v), json_string_length(v)) : (struct bytes){ 0 };
}

bool ack_next(struct ack *a, struct receipt *out)
{
	while (a->root && a->part < LISTS) {
		const json_t *v = json_array_get(json_object_get(a->root, lists[a->part]), a->at);

		if (!v) {
			a->part++;
			a->at = 0;
			continue;
		}
		a->at++;
		*out = (struct receipt){ .kind = (enum receipt_kind)a->part, .id = text_of(v) };
		if (a->part == RECEIPT_REJECTED) {
			out->id = text_of(json_object_get(v, "id"));
			out->reason = text_of(json_object_get(v, "reason"));
		}
		return true;
	}
	if (a->root && a->part == LISTS) {
		a->part++;
		if (json_object_get(a->root, "ack_msg_id")) {
			*out = (struct receipt){ .kind = RECEIPT_DELIVERED,
						 .id = text_of(json_object_get(a->root, "ack_msg_id")) };
			return true;
		}
	}
	ack_free(a);
	return false;
}

void ack_free(struct ack *a)
{
	json_decref(a->root);
	*a = (struct ack){ 0 };
}
