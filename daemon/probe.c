#include "daemon/probe.h"

#include <stdlib.h>

#include "base/text.h"
#include "daemon/node_internal.h"
#include "protocol/opening.h"

#define FIRST_AGAIN_MS 60000

struct probe {
	struct node *node;
	char address[ADDRESS_MAX + 1];
	link_id link;
	bool spoke;                /* a unit of ours has left */
	bool closing;              /* the link goes; its end says nothing more */
	struct im2_host *host;     /* NULL: im2 is off here */
	struct session *session;
	struct timer timer, tick;
	uint64_t at_ms;            /* of the last step */
	struct probe_report r;
	probe_done done;           /* NULL: nobody waits any more */
	void *ctx;
};

static void step(struct probe *p, const char *name)
{
	uint64_t now = env_now(p->node->env);

	if (p->r.n < PROBE_STEPS_MAX)
		p->r.steps[p->r.n++] = (struct probe_step){ .name = name, .took_ms = now - p->at_ms };
	p->at_ms = now;
}

/* --- trust that only answers ------------------------------------------------------------------------------ */
static bool known(const struct pin *pin, const uint8_t *x, struct im2_known *out)
{
	if (!pin || !x)
		return false;
	memcpy(out->ed, pin->ed, sizeof out->ed);
	memcpy(out->x, x, sizeof out->x);
	out->refused = pin->state == PIN_BLOCKED || pin->state == PIN_REVOKED;
	out->trusted = pin->state == PIN_TRUSTED;
	return true;
}

static const struct pin *pin_of(struct node *n, const uint8_t ed[static ED_BYTES])
{
	struct node_id id;
	const struct pin *pin;

	node_id_of(ed, &id);
	pin = pins_get(n->p.pins, &id);
	return pin && memcmp(pin->ed, ed, ED_BYTES) == 0 ? pin : NULL;
}

static bool by_x(void *ctx, const uint8_t x[static 32], struct im2_known *out)
{
	struct probe *p = ctx;

	return known(pins_by_x(p->node->p.pins, x, NULL), x, out);
}

static bool by_ed(void *ctx, const uint8_t ed[static 32], struct im2_known *out)
{
	struct probe *p = ctx;
	const struct pin *pin = pin_of(p->node, ed);

	return pin && known(pin, pins_ik_x(p->node->p.pins, pin), out);
}

static void psks_get(void *ctx, const uint8_t ed[static 32], struct psks *out)
{
	struct probe *p = ctx;
	const struct pin *pin = pin_of(p->node, ed);

	if (!pin || pins_get_psks(p->node->p.pins, &pin->id, out) != ERR_OK)
		memset(out, 0, sizeof *out);
}

/* Only after a decision, and none is made here. */
static enum err psks_put(void *ctx, const uint8_t ed[static 32], const struct psks *s, bool replaced)
{
	return ERR_DENIED;
}

static enum err prove(void *ctx, const uint8_t ed[static 32], const uint8_t x[static 32])
{
	return ERR_DENIED;
}

static enum err make_host(struct probe *p)
{
	struct node *n = p->node;
	struct im2_host_config hc = {
		.env = n->env,
		.keyring = n->p.keyring,
		.name = n->c.name,
		.trust = { .ctx = p, .by_x = by_x, .by_ed = by_ed, .psks_get = psks_get, .psks_put = psks_put, .prove = prove },
		.limits = { .sessions = 4, .pending = 1, .handshake_ms = 3 * n->c.handshake_ms },
	};
	uint16_t passgen = 0;
	struct bytes key;
	enum err e;

	if (!n->im2)
		return ERR_OK;
	e = im2_host_new(&hc, &p->host);
	key = im2_host_mesh(n->im2, &passgen);
	return e == ERR_OK && key.n ? im2_host_mesh_key(p->host, passgen, key) : e;
}

/* --- the end ---------------------------------------------------------------------------------------------------- */
static void probe_free(struct probe *p)
{
	timer_stop(p->node->env, &p->timer);
	timer_stop(p->node->env, &p->tick);
	session_free(p->session);
	im2_host_free(p->host);
	p->node->probe = NULL;
	free(p);
}

/* Says what came of it; the link, if it is there, closes, and then everything is freed. */
static void end(struct probe *p, enum probe_end how, enum err e, const char *word)
{
	probe_done done = p->done;

	if (p->closing)
		return;
	p->closing = true;
	p->r.end = how;
	p->r.err = e;
	snprintf(p->r.word, sizeof p->r.word, "%s", word);
	timer_stop(p->node->env, &p->timer);
	timer_stop(p->node->env, &p->tick);
	p->done = NULL;
	if (p->link)
		tp_close(p->node->tp, p->link);
	if (done)
		done(p->ctx, &p->r);
}

static void too_late(void *ctx)
{
	struct probe *p = ctx;

	end(p, p->session ? PROBE_REFUSED : PROBE_NO_LINK, ERR_TIMEOUT, "no answer in time");
}

/* --- units and events ------------------------------------------------------------------------------------------- */
/* False: this one does not leave, since it would mean something. */
static bool let_out(struct probe *p, const struct session_unit *u)
{
	struct node *n = p->node;

	if (u->text) {
		end(p, PROBE_OLD, ERR_OK, "");
		return false;
	}
	switch (u->bytes.n ? u->bytes.p[0] : 0) {
	case IM2_UNIT_I1:
		step(p, p->spoke ? "I1-refused" : "challenge");
		p->spoke = true;
		return true;
	case IM2_UNIT_X1:
		if (n->probe_first_ms && env_now(n->env) - n->probe_first_ms < FIRST_AGAIN_MS) {
			end(p, PROBE_REFUSED, ERR_AGAIN, "once-a-minute");
			return false;
		}
		n->probe_first_ms = env_now(n->env);
		step(p, p->spoke ? "I1-refused" : "challenge");
		p->spoke = true;
		return true;
	case IM2_UNIT_X3:
		step(p, "X2");
		end(p, PROBE_MESH, ERR_OK, "");
		return false;
	default:
		end(p, PROBE_REFUSED, ERR_INTERNAL, "an unexpected step");
		return false;
	}
}

static void on_event(struct probe *p, const struct session_event *e)
{
	const struct session_peer *peer;

	if (e->type == SESSION_EV_IDENTIFIED) {
		peer = session_peer(p->session);
		p->r.has_id = true;
		p->r.id = peer->id;
		step(p, "I2");
		end(p, PROBE_KNOWN, ERR_OK, "");
	} else if (e->type == SESSION_EV_OVER) {
		p->r.remote = e->blame == BLAME_REMOTE;
		end(p, PROBE_REFUSED, e->err, e->word ? e->word : err_word(e->err));
	}
}

static void pump(struct probe *p)
{
	struct node *n = p->node;
	struct session_unit u;
	struct session_event e;
	bool more = true;
	uint64_t at;

	while (more && !p->closing) {
		more = false;
		while (!p->closing && session_next_unit(p->session, &u)) {
			more = true;
			if (let_out(p, &u) && tp_send(n->tp, p->link, u.bytes, u.text) != ERR_OK)
				end(p, PROBE_REFUSED, ERR_CLOSED, "the link was lost");
		}
		if (!p->closing && session_next_event(p->session, &e)) {
			more = true;
			on_event(p, &e);
		}
	}
	if (p->closing)
		return;
	at = session_deadline_ms(p->session);
	if (at == UINT64_MAX)
		timer_stop(n->env, &p->tick);
	else
		timer_at(n->env, &p->tick, at);
}

static void tick(void *ctx)
{
	struct probe *p = ctx;

	session_tick(p->session);
	pump(p);
}

/* --- what the transport tells -------------------------------------------------------------------------------------- */
bool probe_opened(struct node *n, const struct link_info *info)
{
	struct probe *p = n->probe;
	const struct pin *pin;

	if (!p || p->link != info->id)
		return false;
	step(p, "connect");
	struct opening_config oc = {
		.v09 = { .env = n->env, .keyring = n->p.keyring, .passphrase = n->c.passphrase, .name = n->c.name,
			 .role = SESSION_DIALLER, .min_version = n->c.min_version, .handshake_ms = n->c.handshake_ms,
			 .past_ms = n->c.past_ms, .future_ms = n->c.future_ms },
		.im2 = p->host,
		.require = p->host && n->c.policy->im2 == IM2_REQUIRE,
		.link = { .owner = p, .transport = IM2_WEBSOCKET, .source = bytes_str(info->source) },
	};

	if (n->c.tls_binding && info->has_binding)
		oc.link.cb = BYTES_ARR(info->binding);
	pin = pins_by_address(n->p.pins, p->address);
	if (pin) {
		p->r.has_id = true;
		p->r.id = pin->id;
		oc.pinned_im2 = pin->im2_since_ms != 0;
	}
	oc.pinned_im2 |= pins_im2_address_has(n->p.pins, p->address, NULL);
	if (pin && pins_ik_x(n->p.pins, pin)) {
		oc.link.has_expected = oc.link.owner_compares = true;
		memcpy(oc.link.expected, pin->ed, sizeof oc.link.expected);
	}
	if (opening_new(&oc, &p->session) != ERR_OK) {
		end(p, PROBE_REFUSED, ERR_NOMEM, "no memory");
		return true;
	}
	session_start(p->session);
	pump(p);
	return true;
}

bool probe_unit(struct node *n, link_id id, struct bytes unit, bool text)
{
	struct probe *p = n->probe;

	if (!p || p->link != id)
		return false;
	if (p->closing || !p->session)
		return true;
	session_take(p->session, unit, text);
	p->session = opening_settle(p->session);
	pump(p);
	return true;
}

bool probe_closed(struct node *n, link_id id, enum link_end why, const char *detail)
{
	struct probe *p = n->probe;
	char word[160];

	if (!p || p->link != id)
		return false;
	p->link = 0;
	snprintf(word, sizeof word, "%s%s%s", link_end_word(why), detail && *detail ? ": " : "", detail ? detail : "");
	end(p, p->session ? PROBE_REFUSED : PROBE_NO_LINK, ERR_CLOSED, word);
	probe_free(p);
	return true;
}

void probe_stop(struct node *n)
{
	struct probe *p = n->probe;

	if (!p)
		return;
	p->done = NULL;
	if (p->link)
		end(p, PROBE_NO_LINK, ERR_CLOSED, "");
	else
		probe_free(p);
}

void probe_gone(struct node *n)
{
	if (n->probe)
		probe_free(n->probe);
}

enum err node_probe(struct node *n, const char *address, uint64_t timeout_ms, probe_done done, void *ctx, struct fault *f)
{
	struct probe *p;
	enum err e;

	if (n->probe) {
		fault_set(f, ERR_AGAIN, EXIT_RETRY, "another peer is being looked at");
		return ERR_AGAIN;
	}
	if (strlen(address) > ADDRESS_MAX || n->stopping || !n->tp)
		return fault_set(f, ERR_USAGE, EXIT_USAGE, "nothing can be dialled there");
	p = calloc(1, sizeof *p);
	if (!p)
		return fault_set(f, ERR_NOMEM, EXIT_RETRY, "no memory");
	p->node = n;
	p->done = done;
	p->ctx = ctx;
	p->at_ms = env_now(n->env);
	snprintf(p->address, sizeof p->address, "%s", address);
	timer_init(&p->timer, too_late, p);
	timer_init(&p->tick, tick, p);
	n->probe = p;
	e = make_host(p);
	if (e == ERR_OK)
		e = tp_dial(n->tp, address, &p->link);
	if (e != ERR_OK) {
		probe_free(p);
		fault_set(f, e, e == ERR_USAGE ? EXIT_USAGE : EXIT_RETRY, "%.100s cannot be dialled: %s", address, err_word(e));
		return e;
	}
	timer_in(n->env, &p->timer, timeout_ms);
	return ERR_OK;
}

void node_probe_cancel(struct node *n, void *ctx)
{
	if (n->probe && n->probe->ctx == ctx)
		n->probe->done = NULL;
}
