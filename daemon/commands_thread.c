/* conversations.*, messages.*: what was said with whom, and what became of it */
#include <inttypes.h>
#include <stdlib.h>

#include "daemon/commands_internal.h"
#include "daemon/rows.h"

#define BATCH 32
#define LOOKED_MAX 2000 /* rows of one answer that a filter leaves out */
#define PAGE_BYTES (1400u << 10)
#define BODY_SHOWN 2048

/* --- conversations ---------------------------------------------------------------------------------------------- */
/* "MS:ID" of the last one of the page before. */
static bool read_head_cursor(const char *text, uint64_t *ms, struct node_id *id)
{
	char *end;

	*ms = strtoull(text, &end, 10);
	if (end == text || *end != ':' || !hex_valid(bytes_str(end + 1), NODE_ID_LEN))
		return false;
	memcpy(id->hex, end + 1, NODE_ID_LEN + 1);
	return true;
}

enum err command_conversations_list(struct call *c)
{
	size_t limit = (size_t)arg_int(c, "limit", 100), n = 0, total = 0, i = 0;
	const char *after = arg_text(c, "after");
	bool preview = arg_bool(c, "preview", false);
	struct thread_head *heads;
	struct node_id before;
	uint64_t ms = UINT64_MAX;
	struct buf b;
	enum err e;

	if (after && !read_head_cursor(after, &ms, &before))
		return bad_param(c, "after", "the 'next' of the page before");
	heads = calloc(limit + 1, sizeof *heads);
	if (!heads)
		return no_memory(c);
	e = thread_list(c->cx->store, ms, after ? &before : NULL, heads, limit + 1, &n, &total);
	if (e != ERR_OK) {
		free(heads);
		return store_refused(c, e);
	}
	buf_init(&b, RESULT_MAX);
	buf_add_str(&b, "{\"schema\":\"ironmesh.conversations/1\",\"conversations\":[");
	for (; i < n && i < limit && b.n < PAGE_BYTES; i++) {
		if (i)
			buf_add_u8(&b, ',');
		row_conversation(&b, c->cx, &heads[i], preview);
	}
	row_uint(&b, "],\"total\":", total);
	if (i < n)
		buf_printf(&b, ",\"next\":\"%" PRIu64 ":%s\"", heads[i - 1].last_ms, heads[i - 1].peer.hex);
	else
		buf_add_str(&b, ",\"next\":null");
	free(heads);
	return result_written(c, &b);
}

/* --- one of them ------------------------------------------------------------------------------------------------- */
/* "OUT:IN" */
static bool read_mark(const char *text, struct thread_mark *m)
{
	char *end;

	m->out = strtoll(text, &end, 10);
	if (end == text || *end != ':' || m->out < 0)
		return false;
	text = end + 1;
	m->in = strtoll(text, &end, 10);
	return end != text && !*end && m->in >= 0;
}

struct wanted {
	const struct command_ctx *cx;
	const struct node_id *peer;
	uint8_t conv[16];
	bool has_conv, older;
	size_t limit, body_max;
};

static bool fits(const struct wanted *w, const struct thread_row *r)
{
	struct message_ext x;

	if (!w->has_conv)
		return true;
	fields_of_row(r->is_out ? bytes_of(r->out.meta, r->out.meta_len) : bytes_of(r->in.meta, r->in.meta_len),
		      r->is_out ? r->out.type : r->in.type, &x);
	return x.has_conv && memcmp(x.conv, w->conv, sizeof w->conv) == 0;
}

static void before_it(struct thread_mark *at, const struct thread_row *r, bool older)
{
	int64_t seq = r->is_out ? r->out.seq : r->in.seq;

	*(r->is_out ? &at->out : &at->in) = older ? seq + 1 : seq;
}

/* Rows from `at` on, as many as are wanted and fit; `at` moves behind them. Each becomes a piece of `pieces`. */
static enum err walk(const struct wanted *w, struct thread_mark *at, struct buf *text, size_t *ends, size_t *n, bool *more)
{
	struct thread_row *rows = calloc(BATCH, sizeof *rows);
	size_t looked = 0, got = 0;
	enum err e = rows ? ERR_OK : ERR_NOMEM;

	*n = 0;
	*more = true;
	while (e == ERR_OK && *more && *n < w->limit && looked < LOOKED_MAX && text->n < PAGE_BYTES) {
		size_t want = w->limit - *n < BATCH && !w->has_conv ? w->limit - *n : BATCH;

		e = thread_page(w->cx->store, w->peer, w->older, at, rows, want, &got, more);
		looked += want;
		for (size_t i = 0; e == ERR_OK && i < got; i++) {
			if (!fits(w, &rows[i]))
				continue;
			if (*n == w->limit || text->n >= PAGE_BYTES) {
				/* Not this time: the next page begins with it, and with what came after. */
				for (size_t k = got; k-- > i;)
					before_it(at, &rows[k], w->older);
				*more = true;
				break;
			}
			if (rows[i].is_out)
				node_outbox_overlay(w->cx->node, &rows[i].out);
			row_message(text, w->cx, &rows[i], w->body_max);
			ends[(*n)++] = text->n;
		}
	}
	free(rows);
	return e == ERR_OK ? text->err : e;
}

static void add_pieces(struct buf *b, const struct buf *text, const size_t *ends, size_t n, bool backwards)
{
	for (size_t i = 0; i < n; i++) {
		size_t k = backwards ? n - 1 - i : i, from = k ? ends[k - 1] : 0;

		if (i)
			buf_add_u8(b, ',');
		buf_add(b, bytes_of(text->p + from, ends[k] - from));
	}
}

static void add_mark(struct buf *b, const char *name, bool is, const struct thread_mark *m)
{
	if (is)
		buf_printf(b, ",\"%s\":\"%" PRId64 ":%" PRId64 "\"", name, m->out, m->in);
	else
		buf_printf(b, ",\"%s\":null", name);
}

static enum err conversation_is(struct call *c, const struct wanted *w, struct thread_mark from, bool began)
{
	size_t *ends = calloc(w->limit + 1, sizeof *ends), n = 0;
	struct thread_mark to = from;
	struct buf text, b;
	enum err e = ERR_NOMEM;
	bool more = false;
	json_t *who;

	buf_init(&text, RESULT_MAX);
	if (ends)
		e = walk(w, &to, &text, ends, &n, &more);
	if (e == ERR_OK) {
		buf_init(&b, RESULT_MAX);
		buf_add_str(&b, "{\"schema\":\"ironmesh.conversation/1\",\"peer\":");
		who = peer_ref(c->cx, w->peer);
		(void)!json_write(&b, who, JSON_INSERTION);
		json_decref(who);
		buf_add_str(&b, ",\"messages\":[");
		add_pieces(&b, &text, ends, n, !w->older);
		buf_add_u8(&b, ']');
		/* Where the page lies: what is older than it, and what is newer. From the newest on, newer ones may come. */
		add_mark(&b, "older", w->older ? more : !began, w->older ? &to : &from);
		add_mark(&b, "newer", !w->older ? more : !began, w->older ? &from : &to);
		e = result_written(c, &b);
	} else {
		e = store_refused(c, e);
	}
	buf_wipe(&text);
	buf_fini(&text);
	free(ends);
	return e;
}

enum err command_conversations_show(struct call *c)
{
	const char *older = arg_text(c, "before"), *newer = arg_text(c, "after");
	struct bytes conv = arg_bytes(c, "conversation");
	struct thread_mark at = { INT64_MAX, INT64_MAX };
	struct wanted w = { .cx = c->cx, .older = !newer, .limit = (size_t)arg_int(c, "limit", 50), .has_conv = conv.p != NULL };
	const struct pin *pin;
	struct node_id id;
	enum err e;

	if (older && newer)
		return fault_set(c->f, ERR_USAGE, EXIT_USAGE, "conversations.show takes one of 'before' and 'after'");
	if ((older || newer) && !read_mark(older ? older : newer, &at))
		return bad_param(c, older ? "before" : "after", "the 'older' or 'newer' of another page");
	if (conv.p && wire_id_parse(conv, w.conv) != ERR_OK)
		return bad_param(c, "conversation", "32 hex digits");
	/* Messages outlive a pin that was forgotten: a whole id will do. */
	if (node_id_parse(arg_bytes(c, "peer"), &id) != ERR_OK) {
		e = arg_peer(c, "peer", &pin);
		if (e != ERR_OK)
			return e;
		id = pin->id;
	}
	w.peer = &id;
	if (arg_bool(c, "bodies", false))
		w.body_max = (size_t)arg_int(c, "body_max", BODY_SHOWN);
	return conversation_is(c, &w, at, !older && !newer);
}

/* --- one message --------------------------------------------------------------------------------------------------- */
/* "out:SEQ" or "in:SEQ" */
static enum err row_of_key(struct call *c, struct thread_row *r)
{
	const char *key = arg_text(c, "key"), *colon = strchr(key, ':');
	int64_t seq;
	char *end;
	enum err e;

	r->is_out = strncmp(key, "out:", 4) == 0;
	if (!colon || (!r->is_out && strncmp(key, "in:", 3) != 0) || (seq = strtoll(colon + 1, &end, 10)) < 1 || *end)
		return bad_param(c, "key", "the key of a message, as out:7 or in:7");
	if (r->is_out) {
		e = outbox_by_seq(c->cx->store, seq, &r->out);
		if (e == ERR_OK)
			node_outbox_overlay(c->cx->node, &r->out);
	} else {
		e = inbox_get(c->cx->store, seq, &r->in);
	}
	if (e == ERR_OK)
		return ERR_OK;
	if (e != ERR_NOTFOUND)
		return store_refused(c, e);
	fault_set(c->f, e, EXIT_GENERIC, "there is no such message any more");
	fault_next(c->f, "ironmesh conversations");
	return e;
}

enum err command_messages_show(struct call *c)
{
	struct thread_row r;
	struct buf b;
	enum err e = row_of_key(c, &r);

	if (e != ERR_OK)
		return e;
	buf_init(&b, RESULT_MAX);
	row_message(&b, c->cx, &r, 0);
	b.n--; /* its end */
	buf_add_str(&b, ",\"schema\":\"ironmesh.message/1\"");
	e = row_timeline(&b, c->cx, &r);
	if (e == ERR_OK)
		return result_written(c, &b);
	buf_fini(&b);
	return store_refused(c, e);
}

enum err command_messages_body(struct call *c)
{
	struct thread_row r;
	struct buf b, body;
	enum err e = row_of_key(c, &r);

	if (e != ERR_OK)
		return e;
	buf_init(&body, STORE_BODY_MAX);
	e = r.is_out ? outbox_kept_body(c->cx->store, r.out.seq, &body) : inbox_row_body(c->cx->store, &r.in, &body);
	buf_init(&b, RESULT_MAX);
	row_text(&b, "{\"schema\":\"ironmesh.message.body/1\",\"key\":", arg_text(c, "key"));
	row_uint(&b, ",\"size\":", r.is_out ? r.out.body_len : r.in.body_len);
	if (e == ERR_OK)
		fields_add_body(&b, buf_bytes(&body));
	else
		buf_add_str(&b, ",\"body\":null");
	buf_wipe(&body);
	buf_fini(&body);
	if (e == ERR_OK || e == ERR_NOTFOUND || e == ERR_WRONG_STATE)
		return result_written(c, &b);
	buf_fini(&b);
	return store_refused(c, e);
}
