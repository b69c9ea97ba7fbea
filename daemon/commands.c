/* The table, and what stands before every handler. */
#include <limits.h>

#include "daemon/commands_internal.h"

#include <limits.h>
#include "daemon/revoke.h"
#include "trust/invite.h"

#define TEXT(n, max_) { .name = n, .kind = PARAM_TEXT, .min = 0, .max = max_ }
#define MUST_TEXT(n, max_) { .name = n, .kind = PARAM_TEXT, .required = true, .min = 1, .max = max_ }
#define INT(n, lo, hi) { .name = n, .kind = PARAM_INT, .min = lo, .max = hi }
#define BOOL(n) { .name = n, .kind = PARAM_BOOL }
#define WHO 256        /* whatever names a peer or an address */
#define WAIT_MAX 86400000 /* a day */
#define TTL_MAX 3153600000000 /* a hundred years */
#define ANY_LONG CONTROL_REQUEST_MAX
#define OFF (CMD_OFFLINE | CMD_ONLINE)

/* What is said of a message itself, alone or among many. */
#define MESSAGE_PARAMS                                                                             \
	TEXT("body", ANY_LONG), TEXT("body_b64", ANY_LONG), TEXT("type", MSG_TYPE_MAX), TEXT("kind", 16), \
		TEXT("priority", 16), INT("ttl_ms", 0, TTL_MAX), TEXT("msg_id", MSG_ID_MAX),           \
		TEXT("conversation", 36), TEXT("reply_to", MSG_ID_MAX), BOOL("expects_reply"),         \
		BOOL("no_receipt"), BOOL("no_read_receipt"), INT("turn", 0, UINT16_MAX),               \
		INT("max_turns", 0, UINT16_MAX), TEXT("content_type", 127)

static const struct command MESSAGE = { .method = "a message", .params = { MESSAGE_PARAMS } };

static const struct command TABLE[] = {
	{ "version", command_version, OFF | CMD_READ },
	{ "status", command_status, CMD_ONLINE | CMD_READ },
	{ "send", command_send, CMD_ONLINE | CMD_CHANGES | CMD_SEND,
	  { { "to", PARAM_TEXT, false, 1, WHO }, { "capability", PARAM_TEXT, false, 1, 128 }, TEXT("strategy", 16), MESSAGE_PARAMS, BOOL("volatile"), BOOL("agent"), INT("wait_ms", 0, WAIT_MAX),
	    TEXT("wait_for", 16) } },
	{ "send_many", command_send_many, CMD_ONLINE | CMD_CHANGES | CMD_SEND,
	  { MUST_TEXT("to", WHO), { "messages", PARAM_LIST, true, 1, SEND_MANY_MAX }, BOOL("volatile"),
	    BOOL("agent"), INT("wait_ms", 0, WAIT_MAX) } },
	{ "wait", command_wait, CMD_ONLINE | CMD_READ,
	  { MUST_TEXT("msg_id", MSG_ID_MAX), { "wait_ms", PARAM_INT, true, 0, WAIT_MAX },
	    TEXT("wait_for", 16) } },
	{ "outbox.list", command_outbox_list, CMD_ONLINE | CMD_READ,
	  { TEXT("peer", WHO), TEXT("state", 16), INT("limit", 1, 1000), INT("before", 0, INT64_MAX) } },
	{ "outbox.show", command_outbox_show, CMD_ONLINE | CMD_READ, { MUST_TEXT("msg_id", MSG_ID_MAX) } },
	{ "outbox.cancel", command_outbox_cancel, CMD_ONLINE | CMD_CHANGES | CMD_SEND, { MUST_TEXT("msg_id", MSG_ID_MAX) } },
	{ "outbox.retry", command_outbox_retry, CMD_ONLINE | CMD_CHANGES | CMD_SEND, { MUST_TEXT("msg_id", MSG_ID_MAX) } },
	{ "inbox.list", command_inbox_list, CMD_ONLINE | CMD_READ,
	  { TEXT("from", WHO), TEXT("state", 16), INT("limit", 1, 1000), INT("after", 0, INT64_MAX),
	    BOOL("bodies") } },
	{ "inbox.take", command_inbox_take, CMD_ONLINE | CMD_CHANGES | CMD_SEND,
	  { TEXT("from", WHO), INT("limit", 1, 1000), INT("wait_ms", 0, WAIT_MAX), BOOL("ack") } },
	{ "inbox.ack", command_inbox_ack, CMD_ONLINE | CMD_CHANGES | CMD_SEND,
	  { INT("seq", 1, INT64_MAX), TEXT("msg_id", MSG_ID_MAX) } },
	{ "inbox.delete", command_inbox_delete, CMD_ONLINE | CMD_CHANGES | CMD_SEND,
	  { { "seq", PARAM_INT, true, 1, INT64_MAX } } },
	{ "conversations.list", command_conversations_list, CMD_ONLINE | CMD_READ,
	  { TEXT("after", 80), INT("limit", 1, 1000), BOOL("preview") } },
	{ "conversations.show", command_conversations_show, CMD_ONLINE | CMD_READ,
	  { MUST_TEXT("peer", WHO), TEXT("conversation", 36), TEXT("before", 48), TEXT("after", 48), INT("limit", 1, 500),
	    BOOL("bodies"), INT("body_max", 1, 65536) } },
	{ "messages.show", command_messages_show, CMD_ONLINE | CMD_READ, { MUST_TEXT("key", 32) } },
	{ "messages.body", command_messages_body, CMD_ONLINE | CMD_READ, { MUST_TEXT("key", 32) } },
	{ "queue.list", command_queue_list, CMD_ONLINE | CMD_READ, { TEXT("after", 80), INT("limit", 1, 1000) } },
	{ "attention.list", command_attention_list, CMD_ONLINE | CMD_READ },
	{ "attention.dismiss", command_attention_dismiss, CMD_ONLINE | CMD_ADMIN,
	  { MUST_TEXT("key", 95), INT("count", 0, INT64_MAX) } },
	{ "stats.history", command_stats_history, CMD_ONLINE | CMD_READ, { TEXT("range", 8), INT("after", 0, INT64_MAX) } },
	{ "mesh.graph", command_mesh_graph, CMD_ONLINE | CMD_READ },
	{ "feed.snapshot", command_feed_snapshot, CMD_ONLINE | CMD_READ,
	  { MUST_TEXT("section", 16), TEXT("after", 80), INT("limit", 1, 1000) } },
	{ "feed.subscribe", command_feed_subscribe, CMD_ONLINE, { INT("since", 0, INT64_MAX), TEXT("boot", 32) } },
	{ "feed.unsubscribe", command_feed_unsubscribe, CMD_ONLINE },
	{ "peers.list", command_peers_list, OFF | CMD_KEY | CMD_STATE | CMD_READ,
	  { TEXT("state", 16), TEXT("after", 80), INT("limit", 1, 1000) } },
	{ "peers.show", command_peers_show, OFF | CMD_KEY | CMD_STATE | CMD_READ, { MUST_TEXT("peer", WHO) } },
	{ "peers.approve", command_peers_approve, OFF | CMD_KEY | CMD_STATE | CMD_CHANGES | CMD_ADMIN,
	  { MUST_TEXT("peer", WHO) } },
	{ "peers.block", command_peers_block, OFF | CMD_KEY | CMD_STATE | CMD_CHANGES | CMD_ADMIN,
	  { MUST_TEXT("peer", WHO), TEXT("reason", 90) } },
	{ "peers.forget", command_peers_forget, OFF | CMD_KEY | CMD_STATE | CMD_CHANGES | CMD_ADMIN,
	  { MUST_TEXT("peer", WHO) } },
	{ "peers.alias", command_peers_alias, OFF | CMD_KEY | CMD_STATE | CMD_CHANGES | CMD_ADMIN,
	  { MUST_TEXT("peer", WHO), { "alias", PARAM_TEXT, true, 0, NAME_MAX_CHARS } } },
	{ "peers.pending", command_peers_pending, OFF | CMD_KEY | CMD_STATE | CMD_READ, { BOOL("all") } },
	{ "peers.ignore", command_peers_ignore, OFF | CMD_KEY | CMD_STATE | CMD_CHANGES | CMD_ADMIN, { MUST_TEXT("peer", WHO) } },
	{ "peers.refused", command_peers_refused, CMD_ONLINE | CMD_READ, { INT("limit", 1, 256) } },
	{ "ping", command_ping, CMD_ONLINE | CMD_SEND, { MUST_TEXT("peer", WHO), INT("timeout_ms", 1, 600000) } },
	{ "doctor.peer", command_doctor_peer, CMD_ONLINE | CMD_CHANGES,
	  { MUST_TEXT("address", ADDRESS_MAX), INT("timeout_ms", 1000, 60000) } },
	{ "keys.show", command_keys_show, OFF | CMD_KEY | CMD_READ },
	{ "keys.fingerprint", command_keys_fingerprint, OFF | CMD_READ },
	{ "keys.generate", command_keys_generate, CMD_OFFLINE,
	  { MUST_TEXT("name", NAME_MAX_CHARS), BOOL("clear") } },
	{ "keys.migrate", command_keys_migrate, CMD_OFFLINE | CMD_KEY },
	{ "keys.encrypt", command_keys_encrypt, CMD_OFFLINE | CMD_KEY },
	{ "keys.rotate", command_keys_rotate, OFF | CMD_KEY | CMD_STATE | CMD_CHANGES },
	{ "keys.revoke", command_keys_revoke, CMD_ONLINE | CMD_CHANGES, { INT("reason", 0, 255) } },
	{ "trust.list", command_trust_list, OFF | CMD_KEY | CMD_STATE | CMD_READ },
	{ "trust.show", command_trust_show, OFF | CMD_KEY | CMD_STATE | CMD_READ, { MUST_TEXT("peer", WHO) } },
	{ "trust.pin", command_trust_pin, OFF | CMD_KEY | CMD_STATE | CMD_CHANGES | CMD_ADMIN,
	  { MUST_TEXT("public_key", 64), MUST_TEXT("name", NAME_MAX_CHARS) } },
	{ "trust.verify", command_trust_verify, OFF | CMD_KEY | CMD_STATE | CMD_CHANGES | CMD_ADMIN,
	  { MUST_TEXT("peer", WHO), TEXT("fingerprint", 128), BOOL("confirm") } },
	{ "trust.set_state", command_trust_set_state, OFF | CMD_KEY | CMD_STATE | CMD_CHANGES | CMD_ADMIN,
	  { MUST_TEXT("peer", WHO), MUST_TEXT("state", 16), TEXT("reason", 90) } },
	{ "trust.revoke", command_trust_revoke, OFF | CMD_KEY | CMD_STATE | CMD_CHANGES | CMD_ADMIN,
	  { MUST_TEXT("peer", WHO), MUST_TEXT("reason", 90), BOOL("mesh") } },
	{ "trust.revoke_draft", command_trust_revoke_draft, CMD_ONLINE | CMD_CHANGES | CMD_ADMIN,
	  { MUST_TEXT("peer", WHO), INT("reason", 0, 255), INT("scope", 1, 3), TEXT("note", 200) } },
	{ "trust.revoke_show", command_trust_revoke_show, CMD_ONLINE | CMD_READ, { MUST_TEXT("text", REVOKE_FILE_MAX) } },
	{ "trust.revoke_sign", command_trust_revoke_sign, CMD_ONLINE | CMD_CHANGES | CMD_ADMIN, { MUST_TEXT("text", REVOKE_FILE_MAX) } },
	{ "trust.revoke_send", command_trust_revoke_send, CMD_ONLINE | CMD_CHANGES | CMD_ADMIN, { MUST_TEXT("text", REVOKE_FILE_MAX) } },
	{ "trust.repin", command_trust_repin, OFF | CMD_KEY | CMD_STATE | CMD_CHANGES | CMD_ADMIN,
	  { MUST_TEXT("subject", WHO), MUST_TEXT("id", 64) } },
	{ "trust.allow_downgrade", command_trust_allow_downgrade, OFF | CMD_KEY | CMD_STATE | CMD_CHANGES | CMD_ADMIN,
	  { MUST_TEXT("peer", WHO) } },
	{ "trust.export", command_trust_export, OFF | CMD_KEY | CMD_STATE | CMD_READ },
	{ "trust.cap_diff", command_trust_cap_diff, OFF | CMD_KEY | CMD_STATE | CMD_READ, { MUST_TEXT("peer", WHO) } },
	{ "trust.cap_accept", command_trust_cap_accept, OFF | CMD_KEY | CMD_STATE | CMD_CHANGES | CMD_ADMIN,
	  { MUST_TEXT("peer", WHO) } },
	{ "trust.cap_reject", command_trust_cap_reject, OFF | CMD_KEY | CMD_STATE | CMD_CHANGES | CMD_ADMIN,
	  { MUST_TEXT("peer", WHO) } },
	{ "invite.create", command_invite_create, CMD_ONLINE | CMD_CHANGES | CMD_ADMIN,
	  { TEXT("endpoint", ADDRESS_MAX), TEXT("profile", 15), INT("ttl_ms", 1000, INVITE_LIFE_MAX_MS), TEXT("allowed_peers", 1023),
	    BOOL("trust") } },
	{ "invite.list", command_invite_list, CMD_ONLINE | CMD_ADMIN },
	{ "invite.revoke", command_invite_revoke, CMD_ONLINE | CMD_CHANGES | CMD_ADMIN, { MUST_TEXT("id", 2 * INVITE_NONCE) } },
	{ "invite.accept", command_invite_accept, CMD_ONLINE | CMD_CHANGES | CMD_ADMIN, { MUST_TEXT("token", INVITE_TEXT_MAX) } },
	{ "audit.verify", command_audit_verify, OFF | CMD_KEY | CMD_READ },
	{ "audit.tail", command_audit_tail, OFF | CMD_READ, { INT("limit", 1, 10000) } },
	{ "audit.stats", command_audit_stats, OFF | CMD_READ },
	{ "audit.export", command_audit_export, OFF | CMD_KEY | CMD_ADMIN },
	{ "audit.verify_export", command_audit_verify_export, OFF | CMD_KEY | CMD_STATE | CMD_PEER_STATE | CMD_READ,
	  { MUST_TEXT("text", AUDIT_EXPORT_MAX), TEXT("public_key", 64), TEXT("peer", WHO) } },
	{ "backup.snapshot", command_backup_snapshot, CMD_ONLINE },
	{ "backup.release", command_backup_release, CMD_ONLINE,
	  { MUST_TEXT("folder", PATH_MAX), TEXT("file", PATH_MAX), INT("bytes", 0, INT64_MAX) } },
	{ "backup.now", command_backup_now, CMD_ONLINE | CMD_ADMIN },
	{ "backup.list", command_backup_list, OFF | CMD_READ },
	{ "pair.show", command_pair_show, CMD_ONLINE | CMD_CHANGES | CMD_ADMIN,
	  { BOOL("compare"), BOOL("pin_only"), BOOL("give_passphrase"), BOOL("again") } },
	{ "pair.type", command_pair_type, CMD_ONLINE | CMD_CHANGES | CMD_ADMIN,
	  { { "code", PARAM_TEXT, false, 1, 32 }, { "at", PARAM_TEXT, false, 1, 240 }, BOOL("compare"), BOOL("pin_only") } },
	{ "pair.verdict", command_pair_verdict, CMD_ONLINE | CMD_CHANGES | CMD_ADMIN, { { "same", PARAM_BOOL, true, 0, 0 } } },
	{ "pair.stop", command_pair_stop, CMD_ONLINE | CMD_ADMIN },
	{ "routes.list", command_routes_list, CMD_ONLINE | CMD_READ, { TEXT("to", WHO) } },
	{ "discovery.list", command_discovery_list, CMD_ONLINE | CMD_READ, { BOOL("all") } },
	{ "caps.find", command_caps_find, CMD_ONLINE | CMD_READ, { TEXT("glob", 128), TEXT("peer", WHO) } },
	{ "caps.set", command_caps_set, CMD_ONLINE | CMD_CHANGES | CMD_ADMIN,
	  { { "capabilities", PARAM_LIST, true, 0, 256 } } },
	{ "caps.add", command_caps_add, CMD_ONLINE | CMD_CHANGES | CMD_ADMIN,
	  { { "capabilities", PARAM_LIST, true, 1, 256 } } },
	{ "caps.remove", command_caps_remove, CMD_ONLINE | CMD_CHANGES | CMD_ADMIN,
	  { { "capabilities", PARAM_LIST, true, 1, 256 } } },
	{ "config.path", command_config_path, CMD_OFFLINE | CMD_LOCAL, { TEXT("file", PATH_MAX) } },
	{ "config.check", command_config_check, CMD_OFFLINE | CMD_LOCAL, { TEXT("file", PATH_MAX), TEXT("text", 65536) } },
	{ "config.show", command_config_show, OFF | CMD_LOCAL | CMD_READ, { BOOL("effective"), TEXT("file", PATH_MAX) } },
	{ "config.diff", command_config_diff, OFF | CMD_LOCAL | CMD_READ, { BOOL("defaults"), TEXT("file", PATH_MAX) } },
	{ "config.keys", command_config_keys, OFF | CMD_LOCAL | CMD_READ },
	{ "config.reload", command_config_reload, CMD_ONLINE | CMD_CHANGES | CMD_ADMIN },
	{ "http.code", command_http_code, CMD_ONLINE, { TEXT("role", 16) } },
	{ "http.status", command_http_status, CMD_ONLINE | CMD_READ },
	{ "http.close", command_http_close, CMD_ONLINE },
	{ "metrics", command_metrics, CMD_ONLINE | CMD_READ, { BOOL("openmetrics") } },
	{ "token.create", command_token_create, OFF,
	  { MUST_TEXT("role", 16), TEXT("name", NAME_MAX_CHARS), INT("life_ms", 0, TTL_MAX) } },
	{ "token.list", command_token_list, OFF },
	{ "token.revoke", command_token_revoke, OFF, { MUST_TEXT("token", NAME_MAX_CHARS) } },
	{ "events.subscribe", command_subscribe, CMD_ONLINE,
	  { { "types", PARAM_WORDS, false, 0, EVENT_TYPES_MAX } } },
};
#define TABLE_N (sizeof TABLE / sizeof TABLE[0])

void command_suggest(const char *typed, struct fault *f)
{
	unsigned distance = 4, d;
	const struct command *m;

	for (size_t i = 0; (m = command_at(i)); i++) {
		d = edit_distance(typed, m->method, 3);
		if (d < distance) {
			distance = d;
			fault_means(f, "did you mean '%s'?", m->method);
		}
	}
}

const struct command *command_at(size_t i)
{
	return i < TABLE_N ? &TABLE[i] : NULL;
}

const struct command *command_find(struct bytes method)
{
	for (size_t i = 0; i < TABLE_N; i++)
		if (bytes_eq(method, bytes_str(TABLE[i].method)))
			return &TABLE[i];
	return NULL;
}

/* --- parameters ------------------------------------------------------------------------------------ */
static const struct param *param_find(const struct command *m, const char *name)
{
	for (size_t i = 0; i < COMMAND_PARAMS && m->params[i].name; i++)
		if (strcmp(m->params[i].name, name) == 0)
			return &m->params[i];
	return NULL;
}

static bool fits(const struct param *p, const json_t *v)
{
	size_t i, n;
	json_t *word;

	switch (p->kind) {
	case PARAM_TEXT:
		n = json_is_string(v) ? json_string_length(v) : 0;
		return json_is_string(v) && n >= (size_t)p->min && n <= (size_t)p->max;
	case PARAM_INT:
		return json_is_integer(v) && json_integer_value(v) >= p->min &&
		       json_integer_value(v) <= p->max;
	case PARAM_BOOL:
		return json_is_boolean(v);
	case PARAM_WORDS:
		if (!json_is_array(v) || json_array_size(v) > (size_t)p->max)
			return false;
		json_array_foreach ((json_t *)v, i, word) {
			n = json_is_string(word) ? json_string_length(word) : 0;
			if (n < 1 || n > EVENT_TYPE_LEN)
				return false;
		}
		return true;
	case PARAM_LIST:
		n = json_array_size(v);
		return json_is_array(v) && n >= (size_t)p->min && n <= (size_t)p->max;
	case PARAM_NONE:
		break;
	}
	return false;
}

/* What would have fitted. */
static const char *expected(const struct param *p, char out[static 96])
{
	long long min = p->min, max = p->max;

	if (p->kind == PARAM_TEXT)
		snprintf(out, 96, "a text of %lld to %lld bytes", min, max);
	else if (p->kind == PARAM_INT)
		snprintf(out, 96, "a whole number from %lld to %lld", min, max);
	else if (p->kind == PARAM_WORDS)
		snprintf(out, 96, "a list of at most %lld texts of 1 to %d bytes", max, EVENT_TYPE_LEN);
	else if (p->kind == PARAM_LIST)
		snprintf(out, 96, "a list of %lld to %lld", min, max);
	else
		snprintf(out, 96, "true or false");
	return out;
}

static void suggest_param(const struct command *m, const char *typed, struct fault *f)
{
	unsigned distance = 3, d;

	for (size_t i = 0; i < COMMAND_PARAMS && m->params[i].name; i++) {
		d = edit_distance(typed, m->params[i].name, 2);
		if (d < distance) {
			distance = d;
			fault_means(f, "did you mean '%s'?", m->params[i].name);
		}
	}
}

static enum err check_params(const struct command *m, const json_t *params, struct fault *f)
{
	const struct param *p;
	const char *name;
	char why[96], safe[64];
	json_t *v;

	if (params && !json_is_object(params))
		return fault_set(f, ERR_USAGE, EXIT_USAGE, "the parameters of %s must be an object", m->method);
	json_object_foreach ((json_t *)params, name, v) {
		p = param_find(m, name);
		if (!p) {
			text_safe(bytes_str(name), safe, sizeof safe);
			fault_set(f, ERR_USAGE, EXIT_USAGE, "%s has no parameter '%s'", m->method, safe);
			suggest_param(m, safe, f);
			return ERR_USAGE;
		}
		if (!fits(p, v))
			return fault_set(f, ERR_USAGE, EXIT_USAGE, "'%s' of %s must be %s", p->name, m->method,
					 expected(p, why));
	}
	for (size_t i = 0; i < COMMAND_PARAMS && m->params[i].name; i++)
		if (m->params[i].required && !json_object_get(params, m->params[i].name))
			return fault_set(f, ERR_USAGE, EXIT_USAGE, "%s needs the parameter '%s'", m->method,
					 m->params[i].name);
	return ERR_OK;
}

enum err command_check_message(const json_t *message, struct fault *f)
{
	return json_is_string(message) ? ERR_OK : check_params(&MESSAGE, message, f);
}

enum err command_run(const struct command *m, struct call *c, const json_t *params)
{
	enum err e = check_params(m, params, c->f);

	if (e != ERR_OK)
		return e;
	if (c->cx->rotated && (m->flags & CMD_CHANGES)) {
		fault_set(c->f, ERR_WRONG_STATE, EXIT_RETRY, "the daemon has a new identity and is stopping");
		fault_next(c->f, "start it again, then repeat the command");
		return ERR_WRONG_STATE;
	}
	c->params = params;
	c->result = NULL;
	c->later = false;
	e = m->run(c);
	if (e != ERR_OK && c->f && c->f->err == ERR_OK)
		fault_set(c->f, e, EXIT_GENERIC, "%s failed: %s", m->method, err_word(e));
	BUG_ON(e == ERR_OK && !c->result && !c->later);
	return e;
}

/* --- for the handlers -------------------------------------------------------------------------------- */
const char *arg_text(const struct call *c, const char *name)
{
	return json_string_value(json_object_get(c->params, name));
}

struct bytes arg_bytes(const struct call *c, const char *name)
{
	const json_t *v = json_object_get(c->params, name);

	return bytes_of(json_string_value(v), json_string_length(v));
}

int64_t arg_int(const struct call *c, const char *name, int64_t absent)
{
	const json_t *v = json_object_get(c->params, name);

	return v ? json_integer_value(v) : absent;
}

bool arg_bool(const struct call *c, const char *name, bool absent)
{
	const json_t *v = json_object_get(c->params, name);

	return v ? json_is_true(v) : absent;
}

enum err bad_param(struct call *c, const char *param, const char *expected)
{
	return fault_set(c->f, ERR_USAGE, EXIT_USAGE, "'%s' must be %s", param, expected);
}

enum err no_memory(struct call *c)
{
	return fault_set(c->f, ERR_NOMEM, EXIT_RETRY, "the daemon has no memory for this");
}

enum err store_refused(struct call *c, enum err e)
{
	if (e == ERR_NOMEM)
		return no_memory(c);
	fault_set(c->f, e, e == ERR_CORRUPT ? EXIT_INTEGRITY : EXIT_RETRY, "the database refuses: %s",
		  err_word(e));
	if (e == ERR_STORE)
		fault_means(c->f, "the disk may be full, or not writable");
	return e;
}

enum err result_is(struct call *c, json_t *result)
{
	if (!result)
		return no_memory(c);
	c->result = result;
	return ERR_OK;
}

enum err arg_peer(struct call *c, const char *param, const struct pin **out)
{
	return pins_find(c->cx->pins, arg_text(c, param), out, c->f);
}

json_t *text_or_null(const char *text)
{
	char safe[1024];

	if (!text || !text[0])
		return json_null();
	return json_string(text_safe(bytes_str(text), safe, sizeof safe));
}

json_t *base64_json(struct bytes b)
{
	struct buf text;
	json_t *v = NULL;

	buf_init(&text, BASE64_LEN(b.n) + 1);
	if (buf_add_base64(&text, b) == ERR_OK)
		v = json_stringn((const char *)text.p, text.n);
	buf_fini(&text);
	return v;
}

json_t *peer_ref(const struct command_ctx *cx, const struct node_id *id)
{
	const struct pin *pin = pins_get(cx->pins, id);
	const char *name = !pin ? NULL : pin->alias[0] ? pin->alias : pin->name;

	return json_pack("{s:s, s:o}", "id", id->hex, "name", text_or_null(name));
}

void peer_add(struct buf *b, const struct command_ctx *cx, const struct node_id *id)
{
	const struct pin *pin = pins_get(cx->pins, id);
	const char *name = !pin ? "" : pin->alias[0] ? pin->alias : pin->name;
	char safe[256];

	buf_add_str(b, ",\"to\":{\"id\":\"");
	buf_add_str(b, id->hex);
	buf_add_str(b, "\",\"name\":");
	if (name[0])
		json_add_string(b, bytes_str(text_safe(bytes_str(name), safe, sizeof safe)));
	else
		buf_add_str(b, "null");
	buf_add_u8(b, '}');
}

void command_audit(struct command_ctx *cx, const char *event, const char *peer_id, const char *state)
{
	if (!cx->audit)
		return;
	if (peer_id)
		audit_note(cx->audit, event, (struct bytes){ 0 }, "peer_id", peer_id, "trust_state", state, NULL);
	else
		audit_note(cx->audit, event, (struct bytes){ 0 }, NULL);
}

enum err pins_written(struct call *c)
{
	return pins_flush(c->cx->pins, c->f);
}

/* --- answers ------------------------------------------------------------------------------------------- */
static int into_buf(const char *text, size_t n, void *ctx)
{
	struct buf *b = ctx;

	buf_add(b, bytes_of(text, n));
	return b->err == ERR_OK ? 0 : -1;
}

void request_answer(struct request *r, json_t *result)
{
	struct fault f = { 0 };
	struct buf b;

	buf_init(&b, RESULT_MAX);
	if (!result) {
		fault_set(&f, ERR_NOMEM, EXIT_RETRY, "the daemon has no memory for this");
	} else if (json_dump_callback(result, into_buf, &b, JSON_COMPACT) != 0) {
		fault_set(&f, b.err == ERR_NOMEM ? ERR_NOMEM : ERR_LIMIT, EXIT_GENERIC,
			  "the answer does not fit one line of %u bytes", CONTROL_LINE_MAX);
		fault_means(&f, "without a running daemon the same command has no such limit");
		fault_next(&f, "stop the daemon, then repeat the command");
	}
	json_decref(result);
	r->reply(r, buf_bytes(&b), f.err == ERR_OK ? NULL : &f);
	buf_fini(&b);
}

void request_fail(struct request *r, const struct fault *f)
{
	r->reply(r, (struct bytes){ 0 }, f);
}

/* --- version, status ------------------------------------------------------------------------------------- */
enum err command_version(struct call *c)
{
	return result_is(c, json_pack("{s:s, s:s, s:i, s:s, s:[s, s]}", "schema", "ironmesh.version/1", "version",
				      IRONMESH_VERSION, "api", CONTROL_API, "protocol", "ironmesh/0.9", "suites", "im2", "0.9"));
}
