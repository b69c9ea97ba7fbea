#include "daemon/rows.h"

#include "base/hash.h"
#include "base/text.h"
#include "daemon/commands_internal.h"
#include "daemon/courier.h"

#define PREVIEW_CHARS 160
#define PREVIEW_BODY (64u << 10)

const char *row_label(const struct command_ctx *cx, const struct node_id *id)
{
	const struct pin *pin = pins_get(cx->pins, id);

	return !pin ? id->hex : pin->alias[0] ? pin->alias : pin->name[0] ? pin->name : id->hex;
}

void row_text(struct buf *b, const char *name, const char *value)
{
	char safe[1024];

	buf_add_str(b, name);
	if (value && value[0])
		json_add_text(b, bytes_str(text_safe(bytes_str(value), safe, sizeof safe)));
	else
		buf_add_str(b, "null");
}

void row_uint(struct buf *b, const char *name, uint64_t v)
{
	buf_add_str(b, name);
	buf_add_uint(b, v);
}

static void row_bool(struct buf *b, const char *name, bool v)
{
	buf_add_str(b, name);
	buf_add_str(b, v ? "true" : "false");
}

static uint64_t bad_of(const uint64_t out[static OUTBOX_STATES])
{
	return out[OUTBOX_FAILED] + out[OUTBOX_EXPIRED] + out[OUTBOX_REJECTED] + out[OUTBOX_UNKNOWN];
}

/* --- peers ---------------------------------------------------------------------------------------------- */
static void add_rtt(struct buf *b, double rtt_ms)
{
	if (rtt_ms < 0)
		buf_add_str(b, ",\"rtt_ms\":null");
	else
		buf_printf(b, ",\"rtt_ms\":%.1f", rtt_ms);
}

static const struct target_view *target_of(const struct target_view *list, size_t n, const struct node_id *id)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].has_id && node_id_eq(&list[i].id, id))
			return &list[i];
	return NULL;
}

static const char *why_of(const struct target_view *t)
{
	return !t ? NULL : t->dialling && !t->why[0] ? "dialling" : t->why;
}

static uint64_t next_dial(const struct command_ctx *cx, const struct target_view *t)
{
	uint64_t at = t && t->next_dial_in_ms ? env_wall(cx->env) + t->next_dial_in_ms : 0;

	return at / 1000 * 1000; /* the same each time it is asked, but for the last second */
}

void row_peer(struct buf *b, const struct command_ctx *cx, const struct pin *pin, const struct likeness *l,
	      const struct target_view *targets, size_t targets_n)
{
	struct peer_view v = { .generation = "", .rtt_ms = -1 };
	uint64_t out[OUTBOX_STATES] = { 0 }, in[INBOX_STATES] = { 0 };
	const struct pin *like = l ? likeness_other(l, cx->pins, pin) : NULL;
	const struct target_view *t = target_of(targets, targets_n, &pin->id);
	char fp[FINGERPRINT_LEN];

	node_peer_view(cx->node, &pin->id, &v);
	if (outbox_count(cx->store, &pin->id, out) != ERR_OK || inbox_count(cx->store, &pin->id, in) != ERR_OK)
		log_warn("peer-counts-failed peer=%s", pin->id.hex);
	buf_add_str(b, "{\"key\":\"");
	buf_add_str(b, pin->id.hex);
	buf_add_str(b, "\",\"id\":\"");
	buf_add_str(b, pin->id.hex);
	buf_add_str(b, "\",\"fingerprint\":\"");
	buf_add_str(b, fingerprint_text(&pin->id, fp));
	buf_add_u8(b, '"');
	row_text(b, ",\"name\":", pin->name);
	row_text(b, ",\"alias\":", pin->alias);
	row_text(b, ",\"label\":", row_label(cx, &pin->id));
	row_bool(b, ",\"name_safe\":", !like && row_name_plain(pin));
	row_text(b, ",\"confusable_with\":", like ? like->id.hex : NULL);
	row_text(b, ",\"state\":", pin_word(pin));
	row_bool(b, ",\"ignored\":", pin->ignored);
	row_bool(b, ",\"verified\":", pin->verified);
	row_bool(b, ",\"online\":", v.online);
	row_text(b, ",\"transport\":", v.online ? v.transport : NULL);
	row_text(b, ",\"suite\":", v.online ? v.generation : pin->im2_since_ms ? "im2" : NULL);
	row_text(b, ",\"address\":", v.online ? v.address : NULL);
	row_bool(b, ",\"static\":", t != NULL);
	row_uint(b, ",\"first_seen_ms\":", pin->first_seen_ms);
	row_uint(b, ",\"last_seen_ms\":", pin->last_seen_ms);
	row_uint(b, ",\"online_since_ms\":", v.online ? v.since_ms : 0);
	add_rtt(b, v.rtt_ms);
	row_uint(b, ",\"queued\":", out[OUTBOX_QUEUED]);
	row_uint(b, ",\"unread\":", in[INBOX_NEW]);
	row_uint(b, ",\"held\":", in[INBOX_HELD]);
	row_uint(b, ",\"failed\":", bad_of(out));
	row_uint(b, ",\"sent\":", v.sent);
	row_uint(b, ",\"received\":", v.received);
	row_text(b, ",\"why\":", v.online ? NULL : why_of(t));
	row_uint(b, ",\"next_dial_ms\":", v.online ? 0 : next_dial(cx, t));
	buf_add_u8(b, '}');
}

void row_target_key(const struct target_view *t, char out[static TARGET_KEY])
{
	uint8_t hash[HASH_BYTES];
	char hex[17];

	if ((size_t)snprintf(out, TARGET_KEY, "static:%s", t->address) < TARGET_KEY)
		return;
	sha256(bytes_str(t->address), hash);
	hex_encode(bytes_of(hash, 8), hex);
	snprintf(out, TARGET_KEY, "static:%.100s~%s", t->address, hex);
}

void row_target(struct buf *b, const struct command_ctx *cx, const struct target_view *t)
{
	char key[TARGET_KEY];

	row_target_key(t, key);
	row_text(b, "{\"key\":", key);
	row_text(b, ",\"id\":", t->has_id ? t->id.hex : NULL);
	row_text(b, ",\"fingerprint\":null,\"name\":null,\"alias\":null,\"label\":", t->address);
	buf_add_str(b, ",\"name_safe\":true,\"confusable_with\":null,\"state\":\"unknown\",\"ignored\":false,\"verified\":false");
	row_bool(b, ",\"online\":", t->online);
	row_text(b, ",\"transport\":null,\"suite\":null,\"address\":", t->address);
	buf_add_str(b, ",\"static\":true,\"first_seen_ms\":0,\"last_seen_ms\":0,\"online_since_ms\":0,\"rtt_ms\":null,\"queued\":0,"
		       "\"unread\":0,\"held\":0,\"failed\":0,\"sent\":0,\"received\":0");
	row_text(b, ",\"why\":", why_of(t));
	row_uint(b, ",\"next_dial_ms\":", next_dial(cx, t));
	buf_add_u8(b, '}');
}

/* --- conversations, queue ---------------------------------------------------------------------------------- */
static enum err last_row(const struct command_ctx *cx, const struct thread_head *h, struct thread_row *r)
{
	struct thread_mark at = { INT64_MAX, INT64_MAX };
	size_t n;
	bool more;
	enum err e = thread_page(cx->store, &h->peer, true, &at, r, 1, &n, &more);

	return e == ERR_OK && n == 0 ? ERR_NOTFOUND : e;
}

static void add_preview(struct buf *b, const struct command_ctx *cx, const struct thread_row *r)
{
	char safe[4 * PREVIEW_CHARS + 4];
	struct buf body;
	enum err e = ERR_LIMIT;

	buf_init(&body, STORE_BODY_MAX);
	if ((r->is_out ? r->out.body_len : r->in.body_len) <= PREVIEW_BODY)
		e = r->is_out ? outbox_kept_body(cx->store, r->out.seq, &body) : inbox_row_body(cx->store, &r->in, &body);
	if (e == ERR_OK && utf8_valid(buf_bytes(&body)))
		row_text(b, ",\"preview\":", text_safe(bytes_of(body.p, body.n < PREVIEW_CHARS ? body.n : PREVIEW_CHARS), safe, sizeof safe));
	else
		buf_add_str(b, ",\"preview\":null");
	buf_wipe(&body);
	buf_fini(&body);
}

void row_conversation(struct buf *b, const struct command_ctx *cx, const struct thread_head *h, bool preview)
{
	char kind[KIND_WORD_MAX];
	struct message_ext x;
	struct thread_row r;
	bool has = last_row(cx, h, &r) == ERR_OK;

	buf_add_str(b, "{\"key\":\"");
	buf_add_str(b, h->peer.hex);
	buf_add_str(b, "\",\"peer\":\"");
	buf_add_str(b, h->peer.hex);
	buf_add_u8(b, '"');
	row_text(b, ",\"label\":", row_label(cx, &h->peer));
	row_uint(b, ",\"last_ms\":", h->last_ms);
	if (has && r.is_out)
		node_outbox_overlay(cx->node, &r.out);
	row_text(b, ",\"last_dir\":", !has ? NULL : r.is_out ? "out" : "in");
	row_text(b, ",\"last_state\":", !has ? NULL : r.is_out ? outbox_shown(&r.out) : inbox_state_word(r.in.state));
	row_text(b, ",\"last_msg_id\":", !has ? NULL : r.is_out ? r.out.id : r.in.id);
	if (has)
		fields_of_row(r.is_out ? bytes_of(r.out.meta, r.out.meta_len) : bytes_of(r.in.meta, r.in.meta_len),
			      r.is_out ? r.out.type : r.in.type, &x);
	row_text(b, ",\"last_kind\":", has ? kind_word(x.kind, kind) : NULL);
	row_uint(b, ",\"unread\":", h->in_states[INBOX_NEW]);
	row_uint(b, ",\"held\":", h->in_states[INBOX_HELD]);
	row_uint(b, ",\"queued\":", h->out_states[OUTBOX_QUEUED]);
	row_uint(b, ",\"failed\":", (uint64_t)h->out_states[OUTBOX_FAILED] + h->out_states[OUTBOX_EXPIRED] +
					     h->out_states[OUTBOX_REJECTED] + h->out_states[OUTBOX_UNKNOWN]);
	row_uint(b, ",\"total\":", h->out + h->in - h->in_states[INBOX_DROPPED]);
	if (preview && has)
		add_preview(b, cx, &r);
	buf_add_u8(b, '}');
}

bool row_queue(struct buf *b, const struct command_ctx *cx, const struct node_id *peer, const struct target_view *targets,
	       size_t targets_n)
{
	const struct target_view *t = target_of(targets, targets_n, peer);
	struct queue_view q;
	struct peer_view v;

	if (outbox_queue_of(cx->store, peer, &q) != ERR_OK || !q.count)
		return false;
	node_peer_view(cx->node, peer, &v);
	buf_add_str(b, "{\"key\":\"");
	buf_add_str(b, peer->hex);
	buf_add_str(b, "\",\"peer\":\"");
	buf_add_str(b, peer->hex);
	buf_add_u8(b, '"');
	row_text(b, ",\"label\":", row_label(cx, peer));
	row_uint(b, ",\"queued\":", q.count);
	row_uint(b, ",\"bytes\":", q.bytes);
	row_uint(b, ",\"in_flight\":", v.in_flight);
	row_uint(b, ",\"oldest_ms\":", q.oldest_ms);
	row_bool(b, ",\"online\":", v.online);
	row_text(b, ",\"way\":", v.online ? "direct" : routes_has(cx->node, peer) ? "relay" : "none");
	row_uint(b, ",\"next_try_ms\":", v.online ? 0 : next_dial(cx, t));
	row_text(b, ",\"why\":", v.online ? NULL : why_of(t));
	buf_add_u8(b, '}');
	return true;
}

/* --- messages ---------------------------------------------------------------------------------------------------- */
static void add_body(struct buf *b, const struct command_ctx *cx, const struct thread_row *r, size_t max)
{
	struct buf body;
	struct bytes text;
	enum err e;

	buf_init(&body, STORE_BODY_MAX);
	e = r->is_out ? outbox_kept_body(cx->store, r->out.seq, &body) : inbox_row_body(cx->store, &r->in, &body);
	if (e == ERR_CORRUPT) {
		buf_add_str(b, ",\"damaged\":true");
	} else if (e == ERR_OK) {
		text = buf_bytes(&body);
		row_bool(b, ",\"truncated\":", text.n > max);
		if (text.n > max) {
			/* No character is cut in half, or what was text would be none. */
			text.n = max;
			while (text.n && text.n + 4 > max && !utf8_valid(text))
				text.n--;
			text.n = text.n && utf8_valid(text) ? text.n : max;
		}
		fields_add_body(b, text);
	} else {
		buf_add_str(b, ",\"body\":null");
	}
	buf_wipe(&body);
	buf_fini(&body);
}

static void add_out(struct buf *b, const struct command_ctx *cx, const struct outbox_row *r)
{
	row_uint(b, "{\"key\":\"out:", (uint64_t)r->seq);
	row_uint(b, "\",\"dir\":\"out\",\"seq\":", (uint64_t)r->seq);
	row_text(b, ",\"msg_id\":", r->id);
	row_text(b, ",\"peer\":", r->to.hex);
	row_uint(b, ",\"at_ms\":", r->created_ms);
	row_text(b, ",\"state\":", outbox_shown(r));
	row_uint(b, ",\"changed_ms\":", r->changed_ms);
	row_uint(b, ",\"expires_ms\":", r->expires_ms);
	row_uint(b, ",\"attempts\":", r->attempts);
	row_text(b, ",\"reason\":", r->reason);
	row_text(b, ",\"type\":", r->type);
	row_text(b, ",\"priority\":", priority_text(r->priority));
	row_uint(b, ",\"size\":", r->body_len);
}

static void add_in(struct buf *b, const struct command_ctx *cx, const struct inbox_row *r)
{
	row_uint(b, "{\"key\":\"in:", (uint64_t)r->seq);
	row_uint(b, "\",\"dir\":\"in\",\"seq\":", (uint64_t)r->seq);
	row_text(b, ",\"msg_id\":", r->id);
	row_text(b, ",\"peer\":", r->author.hex);
	row_uint(b, ",\"at_ms\":", r->received_ms);
	row_text(b, ",\"state\":", inbox_state_word(r->state));
	row_uint(b, ",\"changed_ms\":", r->read_ms ? r->read_ms : r->received_ms);
	row_uint(b, ",\"created_ms\":", r->created_ms);
	row_text(b, ",\"via\":", node_id_eq(&r->author, &r->via) ? NULL : r->via.hex);
	row_bool(b, ",\"sealed\":", r->sealed != INBOX_OPEN);
	row_bool(b, ",\"signed\":", r->proven);
	row_text(b, ",\"type\":", r->type);
	row_text(b, ",\"priority\":", priority_text(r->priority));
	row_uint(b, ",\"size\":", r->body_len);
}

void row_message(struct buf *b, const struct command_ctx *cx, const struct thread_row *r, size_t body_max)
{
	struct message_ext x;

	if (r->is_out)
		add_out(b, cx, &r->out);
	else
		add_in(b, cx, &r->in);
	fields_of_row(r->is_out ? bytes_of(r->out.meta, r->out.meta_len) : bytes_of(r->in.meta, r->in.meta_len),
		      r->is_out ? r->out.type : r->in.type, &x);
	fields_add_all(b, &x);
	if (body_max)
		add_body(b, cx, r, body_max);
	buf_add_u8(b, '}');
}
