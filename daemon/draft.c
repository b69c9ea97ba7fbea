/* From the JSON of a message to the node: fields, the message that is answered, the brakes. */
#include "daemon/commands_internal.h"

#define TTL_DEFAULT_MS (7 * 86400000ull)
#define SAME_ID_MAX 8 /* of the inbox, by different authors, that are looked at */

enum err arg_recipient(struct call *c, const struct pin **out, struct node_id *was)
{
	const struct pin *named;
	enum err e;

	if (!arg_text(c, "to") == !arg_text(c, "capability"))
		return fault_set(c->f, ERR_USAGE, EXIT_USAGE, "a message needs exactly one of 'to' and 'capability'");
	e = arg_text(c, "to") ? arg_peer(c, "to", &named) : capability_recipient(c, &named);

	if (e != ERR_OK)
		return e;
	*was = (struct node_id){ 0 };
	*out = pins_current(c->cx->pins, &named->id);
	if (*out != named)
		*was = named->id;
	return ERR_OK;
}

void rotated_add(struct buf *b, const struct node_id *was)
{
	if (!was->hex[0])
		return;
	buf_add_str(b, ",\"rotated_from\":\"");
	buf_add_str(b, was->hex);
	buf_add_u8(b, '"');
}

void draft_init(struct draft *d, const struct node_id *to, bool is_volatile, bool agent)
{
	memset(d, 0, sizeof *d);
	d->m.to = *to;
	d->m.priority = PRIO_NORMAL;
	d->is_volatile = is_volatile;
	d->agent = agent;
	buf_init(&d->own, MSG_BODY_MAX);
}

void draft_fini(struct draft *d)
{
	buf_fini(&d->own);
}

/* --- fields ------------------------------------------------------------------------------------------ */

/* Text, or base64 decoded into `own`. */
static enum err read_body(struct call *c, struct draft *d)
{
	struct bytes text = arg_bytes(c, "body"), b64 = arg_bytes(c, "body_b64");
	enum err e;

	if (!text.p == !b64.p)
		return fault_set(c->f, ERR_USAGE, EXIT_USAGE, "a message needs exactly one of 'body' and 'body_b64'");
	d->m.body = text;
	if (text.p)
		return ERR_OK;
	e = buf_add_base64_decoded(&d->own, b64);
	if (e == ERR_NOMEM)
		return no_memory(c);
	if (e == ERR_LIMIT) {
		fault_set(c->f, e, EXIT_USAGE, "the body has about %zu bytes; one message carries at most %u",
			  b64.n / 4 * 3, MSG_BODY_MAX);
		fault_means(c->f, "larger content goes in parts, each a message of its own");
		fault_next(c->f, "split -b 1M FILE part-");
		return e;
	}
	if (e != ERR_OK)
		return bad_param(c, "body_b64", "base64 with padding and without spaces");
	d->m.body = buf_bytes(&d->own);
	return ERR_OK;
}

static enum err read_kind(struct call *c, struct draft *d)
{
	struct bytes kind = arg_bytes(c, "kind");
	uint8_t of_type = KIND_MESSAGE;

	d->m.type = arg_bytes(c, "type");
	/* The node says which words there are. */
	if (d->m.type.n && message_kind_of(d->m.type, &of_type) == ERR_OK)
		d->m.ext.kind = of_type;
	if (!kind.p)
		return ERR_OK;
	if (kind_parse(kind, &d->m.ext.kind) != ERR_OK)
		return bad_param(c, "kind", "message, request, response, notice, event, error or end");
	if (d->m.type.n && of_type != d->m.ext.kind)
		return fault_set(c->f, ERR_USAGE, EXIT_USAGE, "'kind' and 'type' contradict each other");
	if (!d->m.type.n)
		d->m.type = bytes_str(kind_type(d->m.ext.kind));
	return ERR_OK;
}

static enum err read_conversation(struct call *c, struct draft *d)
{
	struct message_ext *x = &d->m.ext;
	struct bytes conv = arg_bytes(c, "conversation");

	if (!conv.p)
		return ERR_OK;
	x->has_conv = true;
	if (bytes_eq(conv, BYTES_LIT("new")))
		env_random(c->cx->env, x->conv, sizeof x->conv);
	else if (wire_id_parse(conv, x->conv) != ERR_OK)
		return bad_param(c, "conversation", "32 hex digits, or 'new'");
	return ERR_OK;
}

static enum err read_fields(struct call *c, struct draft *d)
{
	struct message_ext *x = &d->m.ext;
	struct bytes word = arg_bytes(c, "priority");
	enum err e;

	if (word.p && priority_parse(word, &d->m.priority) != ERR_OK)
		return bad_param(c, "priority", "low, normal, high or critical");
	d->m.id = arg_bytes(c, "msg_id");
	if (d->m.id.p && d->m.id.n == 0)
		return bad_param(c, "msg_id", "1 to 128 characters");
	if (d->m.id.p && d->is_volatile)
		return fault_set(c->f, ERR_USAGE, EXIT_USAGE,
				 "a volatile message is never repeated: an id of your own has no use");
	word = arg_bytes(c, "content_type");
	if (word.p && content_type_parse(word, x) != ERR_OK)
		return bad_param(c, "content_type", "a media type of 1 to 127 characters");
	e = read_kind(c, d);
	if (e == ERR_OK)
		e = read_conversation(c, d);
	if (e != ERR_OK)
		return e;
	if (arg_bool(c, "expects_reply", false))
		x->flags |= MSG_EXPECTS_REPLY;
	if (arg_bool(c, "no_receipt", false))
		x->flags |= MSG_NO_RECEIPT;
	else if (!d->is_volatile && !arg_bool(c, "no_read_receipt", false))
		x->flags |= MSG_WANTS_READ;
	x->turn = (uint16_t)arg_int(c, "turn", 0);
	x->max_turns = (uint16_t)arg_int(c, "max_turns", 0);
	d->m.ttl_ms = (uint64_t)arg_int(c, "ttl_ms", d->is_volatile ? 0 : TTL_DEFAULT_MS);
	return ERR_OK;
}

/* --- what is answered ---------------------------------------------------------------------------------- */

/* What the program did not say itself comes from the message that it answers. */
static void inherit(struct call *c, struct draft *d, const struct message_ext *from, bool answer)
{
	struct message_ext *x = &d->m.ext;

	if (!x->has_conv) {
		x->has_conv = from->has_conv;
		memcpy(x->conv, from->conv, sizeof x->conv);
	}
	if (!json_object_get(c->params, "turn"))
		x->turn = !answer ? from->turn : from->turn < UINT16_MAX ? (uint16_t)(from->turn + 1) : UINT16_MAX;
	if (!json_object_get(c->params, "max_turns"))
		x->max_turns = from->max_turns;
	if (answer && x->hop < from->hop)
		x->hop = from->hop;
	if (answer && from->kind == KIND_REQUEST && !d->m.type.n) {
		x->kind = KIND_RESPONSE;
		d->m.type = bytes_str(kind_type(KIND_RESPONSE));
	}
}

/* One in the inbox. *found: there is one with this id, by whomever. */
static enum err in_inbox(struct call *c, struct draft *d, struct bytes id, bool *found)
{
	struct inbox_row rows[SAME_ID_MAX];
	const struct inbox_row *r = NULL;
	struct brakes_parent *p = &d->parent;
	size_t n = 0;
	enum err e = inbox_find(c->cx->store, id, rows, SAME_ID_MAX, &n);

	if (e != ERR_OK && e != ERR_NOTFOUND)
		return store_refused(c, e);
	*found = n > 0;
	for (size_t i = 0; i < n && !r; i++)
		if (pins_same(c->cx->pins, &rows[i].author, &d->m.to))
			r = &rows[i];
	if (!r)
		return ERR_OK;
	if (r->has_wire)
		memcpy(p->id, r->wire_id, sizeof p->id);
	else if (wire_id_parse(bytes_str(r->id), p->id) != ERR_OK)
		return ERR_OK; /* the old wire: an id that the native one has no room for */
	p->author = r->author;
	fields_of_row(bytes_of(r->meta, r->meta_len), r->type, &p->ext);
	d->has_parent = true;
	return ERR_OK;
}

/* reply_to names a message of this peer, or one of ours to it. One of another peer's conversation is sent
 * without the link (im2.md 9.2, rule 5). */
static enum err read_reply(struct call *c, struct draft *d)
{
	struct message_ext *x = &d->m.ext, mine;
	struct bytes id = arg_bytes(c, "reply_to");
	struct outbox_row row;
	char safe[MSG_ID_MAX + 1];
	bool found = false;
	enum err e;

	if (!id.p)
		return ERR_OK;
	e = in_inbox(c, d, id, &found);
	if (e != ERR_OK)
		return e;
	x->has_reply_to = true;
	if (d->has_parent) {
		memcpy(x->reply_to, d->parent.id, sizeof x->reply_to);
		inherit(c, d, &d->parent.ext, true);
		return ERR_OK;
	}
	if (!found && node_outbox_get(c->cx->node, id, &row) == ERR_OK) {
		found = true;
		if (pins_same(c->cx->pins, &row.to, &d->m.to) && row.has_wire) {
			memcpy(x->reply_to, row.wire_id, sizeof x->reply_to);
			fields_of_row(bytes_of(row.meta, row.meta_len), row.type, &mine);
			inherit(c, d, &mine, false);
			return ERR_OK;
		}
	}
	if (found) {
		x->has_reply_to = false;
		d->unlinked = true;
		return ERR_OK;
	}
	/* Nothing here knows it: a volatile one, or one that was pruned. */
	if (wire_id_parse(id, x->reply_to) == ERR_OK)
		return ERR_OK;
	fault_set(c->f, ERR_NOTFOUND, EXIT_GENERIC, "no message has the id %s", text_safe(id, safe, sizeof safe));
	fault_means(c->f, "an answer names the message that it answers; nothing was sent");
	fault_next(c->f, "ironmesh inbox list");
	return ERR_NOTFOUND;
}

enum err draft_read(struct call *c, struct draft *d)
{
	enum err e;

	if (json_is_string(c->params)) {
		d->m.body = bytes_of(json_string_value(c->params), json_string_length(c->params));
		d->m.ttl_ms = d->is_volatile ? 0 : TTL_DEFAULT_MS;
		return ERR_OK;
	}
	e = read_body(c, d);
	/* A body and nothing else, as telemetry comes: no word is looked for. */
	if (e == ERR_OK && json_object_size(c->params) == 1)
		d->m.ttl_ms = d->is_volatile ? 0 : TTL_DEFAULT_MS;
	else if (e == ERR_OK)
		e = read_fields(c, d);
	if (e == ERR_OK)
		e = read_reply(c, d);
	/* What is no text does not say that it is. */
	if (e == ERR_OK && d->own.n && !d->m.ext.ctype && !d->m.ext.ctype_text[0] && !utf8_valid(d->m.body))
		d->m.ext.ctype = 1;
	return e;
}

/* --- the node ------------------------------------------------------------------------------------------ */

static enum err braked(struct call *c, struct draft *d)
{
	uint8_t key[16];

	if (!c->cx->brakes) {
		env_random(c->cx->env, key, sizeof key);
		c->cx->brakes = brakes_new(key);
	}
	if (!c->cx->brakes)
		return no_memory(c);
	return brakes_check(c->cx->brakes, &d->m.to, d->has_parent ? &d->parent : NULL, &d->m.ext,
			    env_now(c->cx->env), c->f);
}

enum err draft_send(struct call *c, struct draft *d, submit_done done, void *ctx, char id[static MSG_ID_MAX + 1])
{
	enum err e = d->agent ? braked(c, d) : ERR_OK;

	if (e == ERR_OK)
		e = d->is_volatile ? node_send_volatile(c->cx->node, &d->m, id, c->f) :
				     node_submit(c->cx->node, &d->m, done, ctx, id, c->f);
	if (e == ERR_OK && d->agent)
		brakes_sent(c->cx->brakes, &d->m.to, d->has_parent ? &d->parent : NULL, &d->m.ext,
			    env_now(c->cx->env));
	return e;
}
