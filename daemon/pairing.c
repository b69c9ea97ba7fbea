#include "daemon/pairing_internal.h"

#include <stdlib.h>

#include "base/text.h"

#define FIND_MS 60000
#define AGENT "ironmesh"

/* --- telling ----------------------------------------------------------------------------------------------------- */
static void tell(struct node *n, const char *type, const struct node_id *peer, const char *reason)
{
	struct node_event e = { .type = type, .reason = reason };

	if (peer) {
		e.peer = *peer;
		e.name = peer_name(n, peer);
	}
	node_event(n, &e);
}

static void changed(struct pairing *g)
{
	if (g->changed)
		g->changed(g->changed_ctx);
}

static void hide(struct pairing *g)
{
	g->showing = false;
	im2_offer_wipe(&g->offer);
	timer_stop(g->node->env, &g->offer_timer);
	changed(g);
}

static void forget_type(struct pairing *g)
{
	g->typing = false;
	wipe(g->type.digits, sizeof g->type.digits);
	timer_stop(g->node->env, &g->find_timer);
	changed(g);
}

/* --- attempts ------------------------------------------------------------------------------------------------------ */
static struct attempt *find(struct pairing *g, link_id id)
{
	for (struct list *l = g->attempts.next; l != &g->attempts; l = l->next) {
		struct attempt *a = list_entry(l, struct attempt, link);

		if (a->id == id)
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

static void over(struct attempt *a, const struct im2_pair_event *e)
{
	struct pairing *g = a->of;
	struct node *n = g->node;
	const char *why = e->why != IM2_FINE ? im2_refusal_word(e->why) : err_word(e->err);

	log_info("pairing-over listener=%d err=%s why=%s code=%u", a->listener, err_word(e->err), why, e->code);
	if (e->err == ERR_OK) {
		tell(n, "pair.over", &a->peer, NULL);
	} else if (a->paired) {
		tell(n, "pair.over", &a->peer, "paired, but the mesh key did not get across");
	} else if (!a->listener || e->guess_used || a->compare) {
		if (e->guess_used)
			audit_note(n->p.audit, "PAIR_GUESS", bytes_str(a->address), "result", "wrong", NULL);
		tell(n, "pair.failed", NULL,
		     e->guess_used || e->why == IM2_E_AEAD ? "the code was wrong; it is used up" :
		     e->code == 10	      ? "nobody shows a code there, or it was used up" :
		     e->err == ERR_DENIED     ? "the digits differ: somebody may stand between" :
		     e->err == ERR_TIMEOUT    ? "the other side did not answer in time" :
						why);
	}
	if (a->listener && e->guess_used && !a->paired)
		hide(g);
	if (a->listener && a->paired)
		hide(g);
	if (!a->listener)
		forget_type(g);
}

static void attempt_due(void *ctx);

/* Units and events until both are empty. Frees the attempt when it is over. */
static void drain(struct attempt *a)
{
	struct node *n = a->of->node;
	struct im2_pair_event e;
	struct bytes unit;
	bool more = true, ended = false;

	while (more) {
		more = false;
		while (im2_pair_next_event(a->p, &e)) {
			char why[160] = "";
			struct fault f = { 0 };
			enum im2_refusal r;

			more = true;
			switch (e.type) {
			case IM2_PAIR_EV_PEER:
				r = pairing_admit(a, &e, why);
				if (r != IM2_FINE) {
					log_warn("pairing-refused peer=%s why=\"%s\"", a->peer.hex, why);
					tell(n, "pair.failed", NULL, why);
					im2_pair_refuse(a->p, r);
				}
				break;
			case IM2_PAIR_EV_COMPARE:
				tell(n, "pair.compare", &a->peer, e.digits);
				break;
			case IM2_PAIR_EV_PAIRED:
				if (pairing_pin(a, &e, &f) != ERR_OK) {
					tell(n, "pair.failed", NULL, f.what);
					im2_pair_close(a->p);
					break;
				}
				a->paired = true;
				tell(n, "pair.paired", &a->peer, a->compare ? "the digits were compared" : "the code was right");
				break;
			case IM2_PAIR_EV_GRANT:
				if (pairing_store(a, e.grant) == ERR_OK) {
					im2_pair_grant_stored(a->p);
					tell(n, "pair.granted", &a->peer, "the mesh key has come");
				} else {
					log_error("credential-not-stored peer=%s", a->peer.hex);
				}
				break;
			case IM2_PAIR_EV_GRANTED:
				tell(n, "pair.granted", &a->peer, "the mesh key was taken");
				break;
			case IM2_PAIR_EV_OVER:
				over(a, &e);
				ended = true;
				break;
			}
		}
		while (im2_pair_next_unit(a->p, &unit)) {
			more = true;
			if (n->tp && tp_send(n->tp, a->id, unit, false) != ERR_OK)
				im2_pair_close(a->p);
		}
	}
	if (!ended) {
		timer_at(n->env, &a->timer, im2_pair_deadline_ms(a->p));
		return;
	}
	if (a->paired && !a->listener && a->address[0]) {
		char spec[LINK_ADDRESS_MAX + NODE_ID_LEN + 2];

		/* From here on an ordinary session. */
		snprintf(spec, sizeof spec, "%s#%s", a->address, a->peer.hex);
		if (node_add_target(n, spec, NULL) == ERR_EXISTS)
			dial_peer_offline(n, &a->peer);
	}
	if (n->tp)
		tp_close(n->tp, a->id);
	attempt_free(a);
}

static void attempt_due(void *ctx)
{
	struct attempt *a = ctx;

	im2_pair_tick(a->p);
	drain(a);
}

static void hello_of(struct node *n, uint8_t role, struct im2_hello *out)
{
	*out = (struct im2_hello){ .max_unit = IM2_PAIR_UNIT_MAX, .pair_role = role };
	snprintf(out->name, sizeof out->name, "%s", n->c.name);
	snprintf(out->agent, sizeof out->agent, "%s", AGENT);
}

void pairing_opened(struct node *n, const struct link_info *info)
{
	struct pairing *g = n->pairing;
	struct im2_pair_config c = { .env = n->env, .keyring = n->p.keyring, .listener = !info->dialled };
	bool wanted = g && !n->stopping && g->attempts_n < ATTEMPTS_MAX &&
		      (info->dialled ? g->typing && g->dialling == info->id : g->showing);
	struct grant_room room = { 0 };
	struct im2_grant_offer grant;
	struct attempt *a = wanted ? calloc(1, sizeof *a) : NULL;
	bool grants = false;

	if (g && info->dialled && g->dialling == info->id)
		g->dialling = 0;
	if (!a) {
		n->n.connections_refused++;
		if (!info->dialled)
			conn_blame(n, info->source, "nobody-pairs");
		tp_close(n->tp, info->id);
		return;
	}
	a->of = g;
	a->id = info->id;
	a->listener = !info->dialled;
	list_init(&a->link);
	timer_init(&a->timer, attempt_due, a);
	list_add_tail(&g->attempts, &a->link);
	g->attempts_n++;
	if (a->listener) {
		a->compare = g->show.compare;
		c.offer = g->show.compare ? NULL : &g->offer;
		if (!g->show.pin_only)
			grants = pairing_grant(n, g->show.give_passphrase, &room, &grant);
		c.grant = grants ? &grant : NULL;
		hello_of(n, grants ? IM2_PAIR_GRANTS : IM2_PAIR_PIN_ONLY, &c.hello);
	} else {
		uint16_t passgen;
		bool has_key = im2_host_mesh(n->im2, &passgen).n > 0;

		a->compare = g->type.compare;
		memcpy(c.digits, g->type.digits, sizeof c.digits);
		snprintf(a->address, sizeof a->address, "%s", info->address);
		hello_of(n, has_key || g->type.pin_only ? IM2_PAIR_PIN_ONLY : IM2_PAIR_WANTS, &c.hello);
	}
	c.sas = a->compare;
	if (n->c.tls_binding && info->has_binding)
		c.cb = BYTES_ARR(info->binding);
	if (im2_pair_new(&c, &a->p) != ERR_OK) {
		tell(n, "pair.failed", NULL, "no memory for the attempt");
		tp_close(n->tp, info->id);
		attempt_free(a);
	} else {
		drain(a);
	}
	wipe(c.digits, sizeof c.digits);
	if (grants || room.key.p)
		grant_room_wipe(&room);
}

bool pairing_unit(struct node *n, link_id id, struct bytes unit)
{
	struct attempt *a = n->pairing ? find(n->pairing, id) : NULL;

	if (!a)
		return false;
	im2_pair_take(a->p, unit);
	drain(a);
	return true;
}

bool pairing_closed(struct node *n, link_id id, enum link_end why, const char *detail)
{
	struct pairing *g = n->pairing;
	struct attempt *a = g ? find(g, id) : NULL;
	char text[400];

	if (a) {
		im2_pair_close(a->p);
		drain(a);
		return true;
	}
	if (!g || g->dialling != id || !id)
		return false;
	g->dialling = 0;
	snprintf(text, sizeof text, "%.200s does not answer: %s%s%.100s", g->type.address[0] ? g->type.address : g->found_address,
		 link_end_word(why), detail && *detail ? ", " : "", detail ? detail : "");
	forget_type(g);
	tell(n, "pair.failed", NULL, text);
	return true;
}

/* --- commands ------------------------------------------------------------------------------------------------------- */
static enum err no_im2(struct fault *f)
{
	fault_set(f, ERR_UNSUPPORTED, EXIT_GENERIC, "im2 is off, and pairing is part of it");
	fault_next(f, "ironmesh run --im2 on");
	return ERR_UNSUPPORTED;
}

static void offer_due(void *ctx)
{
	struct pairing *g = ctx;

	hide(g);
	tell(g->node, "pair.failed", NULL, "nobody used the code in time");
}

enum err pairing_show(struct node *n, const struct pairing_show *s, char code[static IM2_CODE_TEXT], uint64_t *until_ms,
		      struct fault *f)
{
	struct pairing *g = n->pairing;
	uint8_t raw[4];
	enum err e;

	if (!g)
		return no_im2(f);
	if (s->give_passphrase && !n->c.passphrase.n) {
		fault_set(f, ERR_USAGE, EXIT_USAGE, "this node has no passphrase to give");
		fault_means(f, "it runs with the mesh key alone; peers of the old software cannot use that");
		fault_next(f, "ironmesh pair");
		return ERR_USAGE;
	}
	if (!s->again)
		g->offer.drawn = 0;
	g->show = *s;
	if (s->compare) {
		im2_offer_wipe(&g->offer);
		g->offer.until_ms = env_now(n->env) + IM2_CODE_MS;
		code[0] = '\0';
	} else {
		e = im2_offer_draw(&g->offer, n->env);
		if (e != ERR_OK) {
			hide(g);
			fault_set(f, e, EXIT_RETRY, "%d codes were used up", IM2_CODES_MAX);
			fault_means(f, "somebody else may be guessing; comparing digits needs no code");
			fault_next(f, "ironmesh pair --compare");
			return e;
		}
		im2_offer_text(&g->offer, code);
	}
	env_random(n->env, raw, sizeof raw);
	hex_encode(BYTES_ARR(raw), g->instance);
	g->showing = true;
	*until_ms = g->offer.until_ms;
	timer_at(n->env, &g->offer_timer, g->offer.until_ms);
	audit_note(n->p.audit, "PAIR_SHOWN", (struct bytes){ 0 }, "how", s->compare ? "compare" : "code", NULL);
	changed(g);
	return ERR_OK;
}

static enum err dial(struct pairing *g, const char *address, struct fault *f)
{
	struct node *n = g->node;
	char path[LINK_ADDRESS_MAX + sizeof LINK_PAIR_PATH];
	enum err e = n->tp ? ERR_OK : ERR_CLOSED;

	snprintf(path, sizeof path, "%s%s", address, LINK_PAIR_PATH);
	if (e == ERR_OK)
		e = tp_dial(n->tp, path, &g->dialling);
	if (e == ERR_OK)
		return e;
	g->dialling = 0;
	fault_set(f, e, e == ERR_USAGE ? EXIT_USAGE : EXIT_RETRY, e == ERR_USAGE ? "'%s' is not host:port" : "%s cannot be dialled",
		  address);
	fault_next(f, "ironmesh pair CODE --at 192.0.2.7:8765");
	return e;
}

static void find_due(void *ctx)
{
	struct pairing *g = ctx;

	forget_type(g);
	tell(g->node, "pair.failed", NULL,
	     "no machine with this code was found on the network; give its address with --at HOST:PORT");
}

enum err pairing_type(struct node *n, const struct pairing_type *t, struct fault *f)
{
	struct pairing *g = n->pairing;
	enum err e;

	if (!g)
		return no_im2(f);
	if (g->typing) {
		fault_set(f, ERR_AGAIN, EXIT_RETRY, "another pairing is under way");
		fault_next(f, "ironmesh pair --stop");
		return ERR_AGAIN;
	}
	g->type = *t;
	g->typing = true;
	g->found[0] = '\0';
	if (t->address[0]) {
		e = dial(g, t->address, f);
		if (e != ERR_OK)
			forget_type(g);
		return e;
	}
	timer_in(n->env, &g->find_timer, FIND_MS);
	changed(g);
	return ERR_OK;
}

enum err pairing_verdict(struct node *n, bool yes, struct fault *f)
{
	struct pairing *g = n->pairing;
	struct list *next;
	unsigned asked = 0;

	for (struct list *l = g ? g->attempts.next : NULL; l && l != &g->attempts; l = next) {
		struct attempt *a = list_entry(l, struct attempt, link);

		next = l->next;
		if (!a->compare)
			continue;
		asked++;
		im2_pair_verdict(a->p, yes);
		drain(a);
	}
	if (asked)
		return ERR_OK;
	return fault_set(f, ERR_WRONG_STATE, EXIT_GENERIC, "nothing waits to be compared");
}

void pairing_stop(struct node *n)
{
	struct pairing *g = n->pairing;

	if (!g)
		return;
	if (g->showing)
		hide(g);
	if (g->dialling && n->tp)
		tp_close(n->tp, g->dialling);
	g->dialling = 0;
	if (g->typing)
		forget_type(g);
	while (!list_empty(&g->attempts)) {
		struct attempt *a = list_entry(g->attempts.next, struct attempt, link);

		if (n->tp)
			tp_close(n->tp, a->id);
		attempt_free(a);
	}
}

/* --- mDNS -------------------------------------------------------------------------------------------------------------- */
bool pairing_publication(struct node *n, char instance[static 9], char plate[static 3])
{
	struct pairing *g = n->pairing;

	if (!g || !g->showing)
		return false;
	memcpy(instance, g->instance, sizeof g->instance);
	if (g->show.compare)
		snprintf(plate, 3, "--");
	else
		snprintf(plate, 3, "%.2s", g->offer.digits);
	return true;
}

bool pairing_browses(struct node *n)
{
	return n->pairing && n->pairing->typing && !n->pairing->type.address[0];
}

void pairing_found(struct node *n, const char *instance, const char *plate, const char (*addresses)[80], size_t count)
{
	struct pairing *g = n->pairing;
	struct fault f = { 0 };
	char wanted[3] = "--";

	if (!g || !g->typing || g->type.address[0] || !count)
		return;
	if (!g->type.compare)
		snprintf(wanted, sizeof wanted, "%.2s", g->type.digits);
	if (strcmp(plate, wanted) != 0)
		return;
	/* Two with one plate: one of them may be somebody who saw it on the air (15.1). */
	if (g->found[0] && strncmp(g->found, instance, 8) != 0) {
		pairing_stop(n);
		tell(n, "pair.failed", NULL, "two machines show this number; ask for a new code");
		return;
	}
	if (g->found[0])
		return;
	snprintf(g->found, sizeof g->found, "%.8s", instance);
	snprintf(g->found_address, sizeof g->found_address, "%s", addresses[0]);
	timer_stop(n->env, &g->find_timer);
	if (dial(g, g->found_address, &f) != ERR_OK) {
		forget_type(g);
		tell(n, "pair.failed", NULL, f.what);
	}
}

void pairing_watch(struct node *n, void (*fn)(void *ctx), void *ctx)
{
	if (!n->pairing)
		return;
	n->pairing->changed = fn;
	n->pairing->changed_ctx = ctx;
}

/* --- birth, end ---------------------------------------------------------------------------------------------------------- */
enum err pairing_new(struct node *n)
{
	struct pairing *g;

	if (!n->im2)
		return ERR_OK;
	g = calloc(1, sizeof *g);
	if (!g)
		return ERR_NOMEM;
	n->pairing = g;
	g->node = n;
	list_init(&g->attempts);
	timer_init(&g->offer_timer, offer_due, g);
	timer_init(&g->find_timer, find_due, g);
	return pairing_load(n);
}

void pairing_free(struct node *n)
{
	struct pairing *g = n->pairing;

	if (!g)
		return;
	g->changed = NULL;
	pairing_stop(n);
	im2_offer_wipe(&g->offer);
	free(g);
	n->pairing = NULL;
}
