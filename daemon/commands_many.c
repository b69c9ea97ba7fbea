/* send_many: up to 1,024 messages of one request, answered together */
#include "daemon/commands_internal.h"

#include <stdlib.h>

#define ROOM_WAIT_MS 5000 /* for a link that takes no more, unless the program says otherwise */
#define ROOM_LOOK_MS 1

struct many {
	struct command_ctx *cx;
	struct request *request;
	struct node_id to, was;
	json_t *messages;
	size_t next;            /* of them; those before were accepted */
	size_t pending;         /* accepted and not committed */
	bool is_volatile, agent;
	bool stopped;           /* `messages[next]` was refused: `f` says why */
	enum err commit;
	struct fault f;
	struct buf ids;
	struct timer timer;
	uint64_t until_ms;
};

static void many_free(struct many *m)
{
	timer_stop(m->cx->env, &m->timer);
	if (m->pending)
		node_submit_forget(m->cx->node, m);
	json_decref(m->messages);
	buf_fini(&m->ids);
	free(m);
}

static void many_cancel(struct request *r)
{
	many_free(r->state);
}

static void add_refused(struct buf *b, const struct many *m)
{
	buf_printf(b, ",\"refused\":{\"index\":%zu,\"err\":\"%s\",\"exit\":%d,\"message\":", m->next,
		   err_word(m->f.err), (int)m->f.code);
	json_add_string(b, bytes_str(m->f.what));
	if (m->f.means[0]) {
		buf_add_str(b, ",\"means\":");
		json_add_string(b, bytes_str(m->f.means));
	}
	if (m->f.next[0]) {
		buf_add_str(b, ",\"next\":");
		json_add_string(b, bytes_str(m->f.next));
	}
	buf_add_u8(b, '}');
}

/* Frees `m`. None accepted, or none written: the request failed. */
static void many_answer(struct many *m)
{
	struct request *r = m->request;
	struct fault f = m->f;
	struct buf b;
	bool failed = m->next == 0;

	if (m->commit != ERR_OK) {
		failed = true;
		f = (struct fault){ 0 };
		fault_set(&f, m->commit, EXIT_RETRY, "the messages could not be written to disk; none is queued");
		fault_means(&f, "the disk may be full; nothing was sent");
	}
	buf_init(&b, RESULT_MAX);
	buf_add_str(&b, "{\"schema\":\"ironmesh.send_many/1\"");
	peer_add(&b, m->cx, &m->to);
	rotated_add(&b, &m->was);
	buf_printf(&b, ",\"state\":\"%s\",\"accepted\":%zu,\"msg_ids\":[",
		   outbox_state_word(m->is_volatile ? OUTBOX_SENT : OUTBOX_QUEUED), m->next);
	buf_add(&b, buf_bytes(&m->ids));
	buf_add_u8(&b, ']');
	if (m->stopped)
		add_refused(&b, m);
	buf_add_u8(&b, '}');
	if (!failed && (b.err != ERR_OK || m->ids.err != ERR_OK)) {
		failed = true;
		fault_set(&f, ERR_NOMEM, EXIT_RETRY, "the daemon has no memory for the answer; the messages were taken");
	}
	many_free(m);
	r->reply(r, buf_bytes(&b), failed ? &f : NULL);
	buf_fini(&b);
}

static void many_committed(void *ctx, const char *msg_id, enum err e)
{
	struct many *m = ctx;

	if (e != ERR_OK)
		m->commit = e;
	if (--m->pending == 0)
		many_answer(m);
}

/* On ERR_OK messages[next] was accepted. */
static enum err send_next(struct many *m)
{
	struct call c = { .cx = m->cx, .request = m->request, .f = &m->f,
			  .params = json_array_get(m->messages, m->next) };
	char id[MSG_ID_MAX + 1];
	struct draft d;
	enum err e = command_check_message(c.params, &m->f);

	if (e != ERR_OK)
		return e;
	draft_init(&d, &m->to, m->is_volatile, m->agent);
	e = draft_read(&c, &d);
	if (e == ERR_OK)
		e = draft_send(&c, &d, many_committed, m, id);
	draft_fini(&d);
	if (e != ERR_OK)
		return e;
	if (m->ids.n)
		buf_add_u8(&m->ids, ',');
	json_add_string(&m->ids, bytes_str(id));
	m->pending += !m->is_volatile;
	return ERR_OK;
}

/* Until all are accepted, one is refused, or the link takes no more and there is time to wait: then false. */
static bool send_all(struct many *m)
{
	size_t n = json_array_size(m->messages);
	enum err e = ERR_OK;

	for (; m->next < n; m->next++) {
		e = send_next(m);
		if (e != ERR_OK)
			break;
	}
	if (e == ERR_AGAIN && m->is_volatile && !m->agent && env_now(m->cx->env) < m->until_ms)
		return false;
	m->stopped = e != ERR_OK;
	return true;
}

static void many_look(void *ctx)
{
	struct many *m = ctx;

	if (send_all(m))
		many_answer(m);
	else
		timer_in(m->cx->env, &m->timer, ROOM_LOOK_MS);
}

enum err command_send_many(struct call *c)
{
	const struct pin *pin;
	struct node_id was;
	struct many *m;
	enum err e = arg_recipient(c, &pin, &was);

	if (e != ERR_OK)
		return e;
	m = calloc(1, sizeof *m);
	if (!m)
		return no_memory(c);
	m->cx = c->cx;
	m->request = c->request;
	m->to = pin->id;
	m->was = was;
	m->messages = json_incref(json_object_get(c->params, "messages"));
	m->is_volatile = arg_bool(c, "volatile", false);
	m->agent = arg_bool(c, "agent", false);
	m->until_ms = env_now(c->cx->env) + (uint64_t)arg_int(c, "wait_ms", ROOM_WAIT_MS);
	buf_init(&m->ids, SEND_MANY_MAX * (2 * MSG_ID_MAX + 3));
	timer_init(&m->timer, many_look, m);
	c->request->state = m;
	c->request->cancel = many_cancel;
	c->later = true;
	if (!send_all(m)) {
		c->request->blocking = true;
		timer_in(c->cx->env, &m->timer, ROOM_LOOK_MS);
		return ERR_OK;
	}
	c->request->short_lived = true;
	if (m->pending == 0)
		many_answer(m);
	return ERR_OK;
}
