/* outbox.* */
#include "daemon/commands_internal.h"

#include <stdlib.h>

#include "daemon/rows.h"

enum err message_row(struct call *c, struct outbox_row *row)
{
	struct bytes id = arg_bytes(c, "msg_id");
	char safe[MSG_ID_MAX + 1];
	enum err e = node_outbox_get(c->cx->node, id, row);

	if (e == ERR_OK)
		return e;
	if (e != ERR_NOTFOUND)
		return store_refused(c, e);
	fault_set(c->f, e, EXIT_GENERIC, "no message has the id %s", text_safe(id, safe, sizeof safe));
	fault_next(c->f, "ironmesh outbox list");
	return e;
}

static json_t *outbox_json(const struct command_ctx *cx, const struct outbox_row *r)
{
	struct message_ext x;
	char wire[2 * MSG_WIRE_ID + 1];
	json_t *o = json_pack("{s:I, s:o, s:o, s:o, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "seq",
			 (json_int_t)r->seq, "msg_id", text_or_null(r->id), "to", peer_ref(cx, &r->to), "type",
			 text_or_null(r->type), "priority", priority_text(r->priority), "state",
			 outbox_shown(r), "attempts", (json_int_t)r->attempts, "created_ms",
			 (json_int_t)r->created_ms, "changed_ms", (json_int_t)r->changed_ms, "expires_ms",
			 (json_int_t)r->expires_ms, "size", (json_int_t)r->body_len, "reason",
			 text_or_null(r->reason));

	if (!o)
		return NULL;
	fields_of_row(bytes_of(r->meta, r->meta_len), r->type, &x);
	fields_json(o, &x);
	(void)json_object_set_new(o, "no_receipt", json_boolean(r->no_receipt));
	hex_encode(BYTES_ARR(r->wire_id), wire);
	(void)json_object_set_new(o, "wire_id", r->has_wire ? json_string(wire) : json_null());
	return o;
}

#define OUTBOX_BATCH 256

enum err command_outbox_list(struct call *c)
{
	struct outbox_filter filter = { .state = -1, .before_seq = arg_int(c, "before", 0) };
	size_t limit = (size_t)arg_int(c, "limit", 100), got = 0, batch = limit;
	struct bytes state = arg_bytes(c, "state");
	enum outbox_state s;
	bool overlaid;
	const struct pin *pin = NULL;
	struct outbox_row *rows;
	json_t *list;
	enum err e = ERR_OK;

	if (arg_text(c, "peer"))
		e = arg_peer(c, "peer", &pin);
	if (e != ERR_OK)
		return e;
	filter.peer = pin ? &pin->id : NULL;
	if (state.p && outbox_state_parse(state, &s) != ERR_OK)
		return bad_param(c, "state", "queued, sent, delivered, read, failed, expired, rejected, cancelled or unknown");
	/* What is in flight is "queued" on disk and shows as "sent": the filter looks at what shows. */
	overlaid = state.p && (s == OUTBOX_SENT || s == OUTBOX_QUEUED);
	if (state.p && s != OUTBOX_SENT)
		filter.state = (int)s;
	if (overlaid && batch < OUTBOX_BATCH)
		batch = OUTBOX_BATCH;
	rows = calloc(batch, sizeof *rows);
	list = json_array();
	if (!rows || !list)
		e = no_memory(c);
	while (e == ERR_OK && json_array_size(list) < limit) {
		e = node_outbox_list(c->cx->node, &filter, rows, batch, &got);
		if (e != ERR_OK) {
			e = store_refused(c, e);
			break;
		}
		for (size_t i = 0; i < got && json_array_size(list) < limit; i++)
			if (!state.p || rows[i].state == s)
				(void)json_array_append_new(list, outbox_json(c->cx, &rows[i]));
		if (got < batch || !overlaid)
			break;
		filter.before_seq = rows[got - 1].seq;
	}
	free(rows);
	if (e != ERR_OK) {
		json_decref(list);
		return e;
	}
	return result_is(c, json_pack("{s:s, s:o}", "schema", "ironmesh.outbox/1", "messages", list));
}

static json_t *timeline_json(const struct command_ctx *cx, const struct outbox_row *row)
{
	struct thread_row r = { .is_out = true, .out = *row };
	json_t *o = NULL, *list = NULL;
	struct buf b;

	buf_init(&b, 65536);
	buf_add_str(&b, "{\"schema\":\"\"");
	if (row_timeline(&b, cx, &r) == ERR_OK) {
		buf_add_u8(&b, '}');
		if (json_load_strict(buf_bytes(&b), 65536, &o) == ERR_OK)
			list = json_incref(json_object_get(o, "timeline"));
	}
	json_decref(o);
	buf_fini(&b);
	return list ? list : json_array();
}

static enum err show_row(struct call *c, const struct outbox_row *row)
{
	json_t *o = outbox_json(c->cx, row);

	if (o) {
		(void)json_object_set_new(o, "schema", json_string("ironmesh.outbox.message/1"));
		(void)json_object_set_new(o, "timeline", timeline_json(c->cx, row));
	}
	return result_is(c, o);
}

static enum err show_message(struct call *c)
{
	struct outbox_row row;
	enum err e = message_row(c, &row);

	return e == ERR_OK ? show_row(c, &row) : e;
}

enum err command_outbox_show(struct call *c)
{
	return show_message(c);
}

enum err command_outbox_cancel(struct call *c)
{
	enum err e = node_outbox_cancel(c->cx->node, arg_bytes(c, "msg_id"), c->f);

	return e == ERR_OK ? show_message(c) : e;
}

enum err command_outbox_retry(struct call *c)
{
	struct outbox_row row;
	char id[MSG_ID_MAX + 1];
	enum err e = node_outbox_retry(c->cx->node, arg_bytes(c, "msg_id"), id, c->f);

	if (e == ERR_OK)
		e = node_outbox_get(c->cx->node, bytes_str(id), &row);
	return e == ERR_OK ? show_row(c, &row) : e;
}
