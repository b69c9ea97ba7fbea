/*
 * sink.c -- what the transport tells us: may this source connect, a link opened, a unit came, it closed.
 */
#include "daemon/invites.h"
#include "daemon/discovery.h"
#include "daemon/mesh09.h"
#include "daemon/node_internal.h"
#include "daemon/pairing.h"
#include "daemon/probe.h"

#include <stdlib.h>

#include "base/text.h"
#include "protocol/opening.h"

#define BAD_FRAMES_BURST 64
#define BAD_FRAMES_PER_S 1
#define SHAKING_FAIR_MS 1000

static unsigned shaking_from(struct node *n, const char *source)
{
	unsigned k = 0;

	for (struct list *l = n->shaking.next; l != &n->shaking; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);

		k += !c->dialled && !c->closing && strcmp(c->source, source) == 0;
	}
	return k;
}

/* Who has proven nothing for a second makes room, the oldest of the source that holds most: else a few who say
 * nothing, or anything but the passphrase, would keep everybody out. No stranger takes the place of a friend. */
static bool make_room(struct node *n, bool friendly, uint64_t now)
{
	struct conn *out = NULL;
	bool out_friendly = true;
	unsigned most = 0;

	for (struct list *l = n->shaking.next; l != &n->shaking; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);
		bool theirs;
		unsigned k;

		if (c->dialled || c->closing || now - c->opened_ms < SHAKING_FAIR_MS || session_proven(c->session))
			continue;
		theirs = native_friend(n, c->source);
		k = shaking_from(n, c->source);
		if (theirs ? !friendly || !out_friendly || k <= most : !out_friendly && k <= most)
			continue;
		out = c;
		out_friendly = theirs;
		most = k;
	}
	if (!out)
		return false;
	n->n.handshakes_failed++;
	conn_close(out, "too-many-handshakes");
	return true;
}

static bool sink_accepting(void *ctx, const char *source)
{
	struct node *n = ctx;
	uint64_t now = env_now(n->env);
	bool created, friendly = native_friend(n, source);
	uint32_t room = n->c.limits.handshakes;
	void *v;

	/* A ban stops first contacts and the old wire; whoever is known may share the address with the guilty one. */
	if (n->stopping || (ladder_wait_ms(n->by_source, bytes_str(source), now) && !friendly))
		goto refuse;
	if (n->c.limits.connects_per_s > 0) {
		if (map_put(n->connects, bytes_str(source), 0, &v, &created) != ERR_OK)
			goto refuse;
		if (created)
			bucket_init(v, n->c.limits.connects_per_s, n->c.limits.connects_burst, now);
		if (!bucket_take(v, 1, now))
			goto refuse;
	}
	/* A quarter is kept for the addresses of those whom we trust. */
	if (!friendly)
		room -= room / 4;
	if (n->handshaking >= room && !make_room(n, friendly, now))
		goto refuse;
	return true;
refuse:
	n->n.connections_refused++;
	return false;
}

static void resume_due(void *ctx)
{
	struct conn *c = ctx;

	c->paused = false;
	if (!c->closing)
		tp_pause(c->tp, c->id, false);
}

static void sink_opened(void *ctx, const struct link_info *info)
{
	struct node *n = ctx;
	struct target *t = NULL;
	const char *invite;
	struct conn *c;
	void *slot;

	if (info->pair) {
		pairing_opened(n, info);
		return;
	}
	if (probe_opened(n, info))
		return;
	for (size_t i = 0; info->dialled && i < n->target_count; i++)
		if (n->targets[i]->dialling == info->id)
			t = n->targets[i];
	if (t)
		t->dialling = 0;
	if (n->stopping || (!info->dialled && shaking_from(n, info->source) >= n->c.limits.handshakes_per_source)) {
		n->n.connections_refused++;
		tp_close(n->tp, info->id);
		return;
	}
	c = calloc(1, sizeof *c);
	if (!c || !(c->address = strdup(info->address)) ||
	    map_put(n->conns, bytes_of(&info->id, sizeof info->id), 0, &slot, &(bool){ false }) != ERR_OK) {
		if (c)
			free(c->address);
		free(c);
		n->n.connections_refused++;
		tp_close(n->tp, info->id);
		if (t)
			dial_conn_ended(n, t, false, "no room for another connection", 0);
		return;
	}
	memcpy(slot, &c, sizeof c);
	c->node = n;
	c->tp = n->tp;
	c->id = info->id;
	c->dialled = info->dialled;
	c->secure = info->secure;
	c->has_tls_key = info->has_tls_key;
	memcpy(c->tls_key, info->tls_key, sizeof c->tls_key);
	snprintf(c->source, sizeof c->source, "%s", info->source);
	c->target = t;
	c->opened_ms = env_now(n->env);
	c->under_ban = !info->dialled && ladder_wait_ms(n->by_source, bytes_str(c->source), c->opened_ms);
	c->heard_ms = c->opened_ms;
	list_init(&c->dirty);
	list_init(&c->pump);
	list_init(&c->reap);
	list_add_tail(&n->shaking, &c->link);
	timer_init(&c->timer, conn_session_due, c);
	timer_init(&c->resume, resume_due, c);
	timer_init(&c->proof, admit_proof_due, c);
	bucket_init(&c->bad, BAD_FRAMES_PER_S, BAD_FRAMES_BURST, c->opened_ms);
	if (t)
		t->conn = c;
	invite = invites_dialled(n, info);
	c->follows = invite != NULL;
	if (!(t && t->hint) && admit_tls_key_changed(n, info)) {
		if (t) {
			snprintf(t->why, sizeof t->why,
				 "another TLS key is shown there than before: ironmesh trust list");
			c->explained = true;
		}
		conn_close(c, "tls-key-changed");
		return;
	}
	struct session_config sc = {
		.env = n->env,
		.keyring = n->p.keyring,
		.passphrase = n->c.passphrase,
		.name = n->c.name,
		.role = info->dialled ? SESSION_DIALLER : SESSION_LISTENER,
		.min_version = n->c.min_version,
		.handshake_ms = n->c.handshake_ms,
		.rekey_ms = n->c.rekey_ms,
		.past_ms = n->c.past_ms,
		.future_ms = n->c.future_ms,
		.seal_direct = n->c.seal_direct,
		.author_key = n->mesh09 ? mesh09_author_key : NULL,
		.author_ctx = n,
		.invite = invite,
	};

	struct opening_config oc = {
		.v09 = sc,
		.im2 = invite ? NULL : n->im2, /* the token travels in the HELLO of the old wire (invites.h) */
		.require = n->im2 && (n->c.policy->im2 == IM2_REQUIRE || c->under_ban ||
				      (t && t->hint && discovery_dial_im2(t->hint))),
	};

	if (n->im2)
		native_link(n, c, info, &oc.link, &oc.pinned_im2);
	if (invite && oc.pinned_im2) { /* learned since it was decided to dial */
		conn_close(c, "downgrade-refused");
		return;
	}
	if (opening_new(&oc, &c->session) != ERR_OK) {
		conn_close(c, "no-memory");
		return;
	}
	n->handshaking++;
	c->counted = true;
	session_start(c->session);
	conn_pump(c);
}

static void sink_unit(void *ctx, link_id id, struct bytes unit, bool text)
{
	struct node *n = ctx;
	struct conn *c = conn_find(n, id);
	uint64_t received, receipts = n->n.receipts_received, unknown = n->n.receipts_unknown;
	bool could_send;

	if (!c && (pairing_unit(n, id, unit) || probe_unit(n, id, unit, text)))
		return;
	if (!c || c->closing || !c->session)
		return;
	c->heard_ms = env_now(n->env);
	received = c->received;
	could_send = session_can_send(c->session);
	session_take(c->session, unit, text);
	c->session = opening_settle(c->session);
	conn_pump(c);
	receipts = n->n.receipts_received - receipts;
	unknown = n->n.receipts_unknown - unknown;
	/* Confirmations of what we sent are free. All else that is no message costs as much as one: a
	 * stranger who waits for approval may not keep us busy with questions. */
	if (c->online && !c->im2 && c->received == received && (!receipts || unknown))
		inbound_budget(c, unknown ? (double)unknown : 1, unit.n);
	/* The first frame under a new key ends the pause of a rekey, without an event. */
	if (!could_send && !c->closing && c->peer && session_can_send(c->session))
		sched_wake(c->peer);
}

static void sink_writable(void *ctx, link_id id)
{
	struct conn *c = conn_find(ctx, id);

	if (c && !c->closing && c->peer)
		sched_wake(c->peer);
}

static void sink_closed(void *ctx, link_id id, enum link_end why, const char *detail)
{
	struct node *n = ctx;
	struct conn *c = conn_find(n, id);

	if (!c && (pairing_closed(n, id, why, detail) || probe_closed(n, id, why, detail)))
		return;
	if (!c) { /* a dial that never opened */
		char what[160];

		snprintf(what, sizeof what, "%s%s%s", link_end_word(why), detail && *detail ? ": " : "", detail ? detail : "");
		if (invites_not_opened(n, id, what)) {
			n->n.dial_failures++;
			return;
		}
		for (size_t i = 0; i < n->target_count; i++) {
			struct target *t = n->targets[i];

			if (t->dialling != id)
				continue;
			t->dialling = 0;
			n->n.dial_failures++;
			dial_conn_ended(n, t, false, what, 0);
		}
		return;
	}
	if (!c->closing) {
		if (!c->online) {
			n->n.handshakes_failed++;
			if (!c->dialled && (why == LINK_END_PROTOCOL || why == LINK_END_TIMEOUT))
				conn_blame(n, c->source, link_end_word(why));
		}
		c->closing = true;
		conn_end(c, link_end_word(why), 0);
	}
	conn_free(c);
}

static void sink_strange(void *ctx, const char *source, enum link_end why)
{
	struct node *n = ctx;

	n->n.strangers++;
	log_info("stranger source=%s why=%s", source, link_end_word(why));
	audit_note(n->p.audit, "STRANGER_REFUSED", bytes_str(source), "source", source, "reason",
		   link_end_word(why), NULL);
	conn_blame(n, source, link_end_word(why));
}

struct transport_sink node_sink(struct node *n)
{
	return (struct transport_sink){
		.ctx = n,
		.accepting = sink_accepting,
		.opened = sink_opened,
		.unit = sink_unit,
		.writable = sink_writable,
		.closed = sink_closed,
		.strange = sink_strange,
	};
}
