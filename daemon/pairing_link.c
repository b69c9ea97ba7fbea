/* pairing_link.c -- attempts: one link of the pairing path each, from its opening to its end (im2.md 5.3, 15.1 to 15.4). */
#include "daemon/pairing_internal.h"

#include <stdlib.h>

#include "base/text.h"

#define AGENT "ironmesh"

_Static_assert(IM2_PAIR_UNIT_MAX == LINK_PAIR_UNIT_MAX, "a transport takes what a pairing says");

static struct attempt *find(struct pairing *g, link_id id)
{
	for (struct list *l = g->attempts.next; l != &g->attempts; l = l->next) {
		struct attempt *a = list_entry(l, struct attempt, link);

		if (a->id == id)
			return a;
	}
	return NULL;
}

struct attempt *pairing_comparing(struct pairing *g)
{
	for (struct list *l = g->attempts.next; l != &g->attempts; l = l->next) {
		struct attempt *a = list_entry(l, struct attempt, link);

		if (a->compare && a->known && !a->over)
			return a;
	}
	return NULL;
}

static void attempt_free(struct attempt *a)
{
	struct pairing *g = a->of;

	timer_stop(g->node->env, &a->timer);
	list_del(&a->link);
	g->attempts_n--;
	im2_pair_free(a->p);
	free(a);
}

/* --- the end ------------------------------------------------------------------------------------------------------- */
static const char *why_typing(const struct attempt *a, const struct im2_pair_event *e)
{
	if (e->why == IM2_E_AEAD && a->compare && a->known)
		return "the other side chose its digits after it saw ours: somebody stands between";
	if (e->why == IM2_E_AEAD || e->why == IM2_E_DH)
		return a->of->node->c.tls_binding ? "the code is wrong, or --tls-binding is off there" :
						    "the code is wrong, or --tls-binding is on there";
	switch (e->code) {
	case IM2_ERR_CODE_USED:
		return "the code is used up there, or too old";
	case IM2_ERR_BAD_MODE:
		return a->compare ? "that machine shows a code and compares no digits" : "that machine compares digits and shows no code";
	case IM2_ERR_DENIED:
		return "that machine does not take this one, and says there why";
	case IM2_ERR_BUSY:
		return "that machine has no time now";
	default:
		break;
	}
	if (!a->heard)
		return "no machine shows a code there";
	if (e->err == ERR_DENIED)
		return "the digits differ: somebody may stand between the two machines";
	if (e->err == ERR_TIMEOUT)
		return "the other side did not answer in time";
	if (e->err == ERR_CLOSED)
		return a->compare ? "the other side said no, or went away" : "the other side went away";
	return e->why != IM2_FINE ? im2_refusal_word(e->why) : err_word(e->err);
}

static const char *why_showing(const struct attempt *a, const struct im2_pair_event *e)
{
	if (!a->known && e->err == ERR_TIMEOUT)
		return "somebody used the code and said nothing more; the code is used up";
	if (!a->known)
		return "somebody typed a wrong code; the code is used up";
	if (a->compare && e->err == ERR_DENIED)
		return "the digits differ: somebody may stand between the two machines";
	if (e->err == ERR_TIMEOUT)
		return "the other side did not answer in time";
	if (e->err == ERR_CLOSED)
		return a->compare ? "the other side said no, or went away" : "the other side went away, or did not take this machine";
	return e->why != IM2_FINE ? im2_refusal_word(e->why) : err_word(e->err);
}

static const char *next_of(const struct attempt *a)
{
	if (a->compare)
		return a->listener ? "ironmesh pair --compare" : "ironmesh pair --compare   (there, and once more here)";
	return a->listener ? "ironmesh pair" : "ironmesh pair   (there, for a new code)";
}

/* X2 let it test one guess, and it did not show that it was the right one. */
static void blame(struct attempt *a)
{
	struct node *n = a->of->node;

	n->n.pair_guesses++;
	audit_note(n->p.audit, "PAIR_GUESS", bytes_str(a->source), "source", a->source, NULL);
	conn_blame(n, a->source, "wrong-code");
}

static void over(struct attempt *a, const struct im2_pair_event *e)
{
	struct pairing *g = a->of;
	struct node *n = g->node;
	bool ours = !a->listener || a->known || e->guess_used; /* else a stranger who only connected */

	a->over = true;
	log_info("pairing-over role=%s err=%s why=%s code=%u guess=%d", a->listener ? "shows" : "types", err_word(e->err),
		 e->why != IM2_FINE ? im2_refusal_word(e->why) : "-", e->code, e->guess_used);
	if (a->listener && e->guess_used && !a->known)
		blame(a);
	if (!ours)
		return;
	if (a->listener)
		pairing_hide(g);
	else
		pairing_type_over(g);
	if (a->paired && e->err == ERR_OK)
		pairing_tell(n, "pair.over", &a->peer, a->wants && !a->got ? "that machine handed on no key of the mesh" : NULL, NULL);
	else if (a->paired && !a->told)
		pairing_tell(n, "pair.failed", &a->peer, "the other machine is trusted, but the key of the mesh did not get across",
			     "ironmesh pair");
	else if (!a->told && a->listener && !a->known)
		pairing_tell(n, "pair.used", NULL, why_showing(a, e), NULL);
	else if (!a->told)
		pairing_tell(n, "pair.failed", NULL, a->listener ? why_showing(a, e) : why_typing(a, e), next_of(a));
}

/* Whoever was paired at this address before has left it, and another one has just proven himself there. */
static void expect_here(struct attempt *a)
{
	struct node *n = a->of->node;

	for (size_t i = 0; i < n->target_count; i++) {
		struct target *t = n->targets[i];

		if (t->hint || !t->paired || strcmp(t->address, a->address) != 0)
			continue;
		t->expected = t->known = a->peer;
		t->has_expected = t->has_known = true;
	}
}

/* From here on an ordinary session. */
static void keep_in_touch(struct attempt *a)
{
	struct node *n = a->of->node;
	char spec[LINK_ADDRESS_MAX + NODE_ID_LEN + 2];

	snprintf(spec, sizeof spec, "%s#%s", a->address, a->peer.hex);
	switch (node_add_target(n, spec, NULL)) {
	case ERR_OK:
		n->targets[n->target_count - 1]->paired = true;
		break;
	case ERR_EXISTS:
		expect_here(a);
		dial_retry(n);
		break;
	default:
		log_warn("paired-peer-not-dialled address=%s", a->address);
	}
}

void pairing_attempt_end(struct attempt *a)
{
	struct transport *tp = a->of->node->tp;
	struct im2_pair_event e;
	struct bytes unit;

	a->over = true;
	im2_pair_close(a->p);
	while (im2_pair_next_event(a->p, &e))
		;
	while (im2_pair_next_unit(a->p, &unit))
		if (tp)
			(void)!tp_send(tp, a->id, unit, false);
	if (tp)
		tp_close(tp, a->id);
	attempt_free(a);
}

/* --- its course ------------------------------------------------------------------------------------------------------ */
static void refused(struct attempt *a, enum im2_refusal why, const struct fault *f)
{
	struct node *n = a->of->node;

	n->n.pair_refused++;
	log_warn("pairing-refused peer=%s what=\"%s\" next=\"%s\"", a->peer.hex, f->what, f->next);
	audit_note(n->p.audit, "PAIR_REFUSED", bytes_str(a->peer.hex), "peer_id", a->peer.hex, "reason", f->what, NULL);
	a->told = true;
	pairing_tell(n, "pair.failed", NULL, f->what, f->next);
	im2_pair_refuse(a->p, why);
}

static void peer_came(struct attempt *a, const struct im2_pair_event *e)
{
	struct fault f = { 0 };
	enum im2_refusal r;

	node_id_of(e->peer->ed, &a->peer);
	/* One at a time: two pairs of digits would be a riddle. */
	if (a->compare && a->listener && pairing_comparing(a->of)) {
		im2_pair_refuse(a->p, IM2_E_LIMIT);
		return;
	}
	a->known = true;
	r = pairing_admit(a, e, &f);
	if (r != IM2_FINE)
		refused(a, r, &f);
	else if (a->compare)
		pairing_changed(a->of);
}

static void paired(struct attempt *a, const struct im2_pair_event *e)
{
	struct node *n = a->of->node;
	struct fault f = { 0 };

	if (pairing_pin(a, e, &f) != ERR_OK) {
		log_error("paired-peer-not-pinned peer=%s what=\"%s\"", a->peer.hex, f.what);
		a->told = a->mute = true;
		pairing_tell(n, "pair.failed", NULL, f.what, f.next);
		im2_pair_close(a->p);
		return;
	}
	a->paired = true;
	n->n.paired++;
	pairing_tell(n, "pair.paired", &a->peer, a->compare ? "the digits were compared" : "the code was right", NULL);
}

static void grant_came(struct attempt *a, const struct im2_grant_offer *g)
{
	struct pairing *all = a->of;
	bool words = g->kind == IM2_GRANT_PASSPHRASE;

	if (pairing_store(a, g) != ERR_OK) {
		log_error("credential-not-stored peer=%s", a->peer.hex);
		return; /* the giver hears nothing, and says so there */
	}
	a->got = true;
	im2_pair_grant_stored(a->p);
	pairing_tell(all->node, "pair.granted", &a->peer,
		     words ? "the passphrase of the mesh has come; peers of the old software are met after the next start" :
			     "the key of the mesh has come",
		     NULL);
	if (all->came)
		all->came(all->came_ctx, words);
}

static void granted(struct attempt *a)
{
	struct node *n = a->of->node;
	bool words = a->of->show.give_passphrase;

	audit_note(n->p.audit, "CREDENTIAL_GIVEN", bytes_str(a->peer.hex), "peer_id", a->peer.hex, "kind",
		   words ? "passphrase" : "mesh-key", NULL);
	pairing_tell(n, "pair.granted", &a->peer,
		     words ? "the passphrase of the mesh was handed on" : "the key of the mesh was handed on", NULL);
}

static void happened(struct attempt *a, const struct im2_pair_event *e)
{
	switch (e->type) {
	case IM2_PAIR_EV_PEER:
		peer_came(a, e);
		break;
	case IM2_PAIR_EV_COMPARE:
		a->asked = true;
		pairing_tell(a->of->node, "pair.compare", &a->peer, e->digits, NULL);
		break;
	case IM2_PAIR_EV_PAIRED:
		paired(a, e);
		break;
	case IM2_PAIR_EV_GRANT:
		grant_came(a, e->grant);
		break;
	case IM2_PAIR_EV_GRANTED:
		granted(a);
		break;
	case IM2_PAIR_EV_OVER:
		over(a, e);
		break;
	}
}

/* Events first: what they store is on disk before a unit leaves (6.2). */
void pairing_drain(struct attempt *a)
{
	struct node *n = a->of->node;
	struct im2_pair_event e;
	struct bytes unit;
	bool more = true;

	while (more) {
		more = false;
		while (im2_pair_next_event(a->p, &e)) {
			more = true;
			happened(a, &e);
		}
		while (im2_pair_next_unit(a->p, &unit)) {
			more = true;
			if (n->tp && !a->mute && tp_send(n->tp, a->id, unit, false) != ERR_OK)
				im2_pair_close(a->p);
		}
	}
	if (!a->over) {
		timer_at(n->env, &a->timer, im2_pair_deadline_ms(a->p));
		return;
	}
	if (a->paired && a->address[0])
		keep_in_touch(a);
	if (n->tp)
		tp_close(n->tp, a->id);
	attempt_free(a);
}

static void attempt_due(void *ctx)
{
	struct attempt *a = ctx;

	im2_pair_tick(a->p);
	pairing_drain(a);
}

/* --- links -------------------------------------------------------------------------------------------------------------- */
static bool wanted(const struct pairing *g, const struct link_info *info)
{
	size_t same = 0;

	if (info->dialled)
		return g->typing && g->dialling == info->id;
	for (const struct list *l = g->attempts.next; l != &g->attempts; l = l->next)
		same += strcmp(list_entry(l, const struct attempt, link)->source, info->source) == 0;
	return g->showing && g->attempts_n < ATTEMPTS_MAX && same < ATTEMPTS_PER_SOURCE;
}

static void close_unwanted(struct node *n, const struct link_info *info)
{
	if (!info->dialled) {
		n->n.connections_refused++;
		conn_blame(n, info->source, "nobody-pairs");
	}
	tp_close(n->tp, info->id);
}

static void hello_of(struct node *n, uint8_t role, struct im2_hello *out)
{
	*out = (struct im2_hello){ .max_unit = IM2_PAIR_UNIT_MAX, .pair_role = role };
	snprintf(out->name, sizeof out->name, "%s", n->c.name);
	snprintf(out->agent, sizeof out->agent, "%s", AGENT);
}

static enum err begin(struct attempt *a, const struct link_info *info)
{
	struct pairing *g = a->of;
	struct node *n = g->node;
	struct im2_pair_config c = { .env = n->env, .keyring = n->p.keyring, .listener = a->listener };
	struct grant_room room = { 0 };
	struct im2_grant_offer grant;
	bool gives;
	enum err e;

	if (a->listener) {
		gives = pairing_grant(n, pairing_gives(n, &g->show), &room, &grant);
		a->compare = g->show.compare;
		c.offer = a->compare ? NULL : &g->offer;
		c.grant = gives ? &grant : NULL;
		hello_of(n, gives ? IM2_PAIR_GRANTS : IM2_PAIR_PIN_ONLY, &c.hello);
	} else {
		a->wants = n->c.no_mesh_key && !node_has_mesh_key(n) && !g->type.pin_only;
		a->compare = g->type.compare;
		memcpy(c.digits, g->type.digits, sizeof c.digits);
		snprintf(a->address, sizeof a->address, "%s", info->address);
		hello_of(n, a->wants ? IM2_PAIR_WANTS : IM2_PAIR_PIN_ONLY, &c.hello);
	}
	c.sas = a->compare;
	if (n->c.tls_binding && info->has_binding)
		c.cb = BYTES_ARR(info->binding);
	e = im2_pair_new(&c, &a->p);
	wipe(c.digits, sizeof c.digits);
	if (a->listener)
		grant_room_wipe(&room);
	return e;
}

void pairing_opened(struct node *n, const struct link_info *info)
{
	struct pairing *g = n->pairing;
	bool take = g && !n->stopping && wanted(g, info);
	struct attempt *a = take ? calloc(1, sizeof *a) : NULL;

	if (g && info->dialled && g->dialling == info->id)
		g->dialling = 0;
	if (!a) {
		close_unwanted(n, info);
		return;
	}
	a->of = g;
	a->id = info->id;
	a->listener = !info->dialled;
	snprintf(a->source, sizeof a->source, "%s", info->source);
	list_init(&a->link);
	timer_init(&a->timer, attempt_due, a);
	list_add_tail(&g->attempts, &a->link);
	g->attempts_n++;
	if (begin(a, info) == ERR_OK) {
		pairing_drain(a);
		return;
	}
	if (!a->listener)
		pairing_type_over(g);
	tp_close(n->tp, a->id);
	attempt_free(a);
	pairing_tell(n, "pair.failed", NULL, "no memory for this", NULL);
}

bool pairing_unit(struct node *n, link_id id, struct bytes unit)
{
	struct pairing *g = n->pairing;
	struct attempt *a = g ? find(g, id) : NULL;
	bool live;

	if (!a)
		return false;
	a->heard = true;
	if (unit.n > IM2_PAIR_UNIT_MAX) {
		im2_pair_close(a->p);
		pairing_drain(a);
		return true;
	}
	live = g->offer.live;
	im2_pair_take(a->p, unit);
	if (a->listener && live && !g->offer.live && env_now(n->env) < g->show_until_ms) {
		a->guess = true;
		pairing_changed(g); /* it is not published any more */
	}
	pairing_drain(a);
	return true;
}

bool pairing_closed(struct node *n, link_id id, enum link_end why, const char *detail)
{
	struct pairing *g = n->pairing;
	struct attempt *a = g ? find(g, id) : NULL;
	char text[400];

	if (a) {
		im2_pair_close(a->p);
		pairing_drain(a);
		return true;
	}
	if (!g || g->dialling != id || !id)
		return false;
	g->dialling = 0;
	if (pairing_dial_next(g))
		return true;
	snprintf(text, sizeof text, "%.200s does not answer: %s%s%.100s",
		 g->type.address[0] ? g->type.address : g->address_at ? g->addresses[g->address_at - 1] : "it",
		 link_end_word(why), detail && *detail ? ", " : "", detail ? detail : "");
	pairing_type_over(g);
	pairing_tell(n, "pair.failed", NULL, text,
		     g->type.compare ? "ironmesh pair --compare --at HOST:PORT" : "ironmesh pair CODE --at HOST:PORT");
	return true;
}
