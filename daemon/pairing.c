/* pairing.c -- the two commands, what mDNS shows of them, birth and end (im2.md 15.1, 15.4). */
#include "daemon/pairing_internal.h"

#include <stdlib.h>

#include "base/text.h"

#define FIND_MS 60000
#define TWINS_MS 1000 /* so long a second service with our number plate is waited for */

void pairing_tell(struct node *n, const char *type, const struct node_id *peer, const char *reason, const char *next)
{
	struct node_event e = { .type = type, .reason = reason, .next = next && *next ? next : NULL };

	if (peer) {
		e.peer = *peer;
		e.name = peer_name(n, peer);
	}
	node_event(n, &e);
}

static void failed(struct node *n, const char *reason, const char *next)
{
	pairing_tell(n, "pair.failed", NULL, reason, next);
}

void pairing_changed(struct pairing *g)
{
	if (g->changed)
		g->changed(g->changed_ctx);
}

void pairing_hide(struct pairing *g)
{
	struct list *l, *next;

	g->showing = false;
	im2_offer_wipe(&g->offer);
	timer_stop(g->node->env, &g->offer_timer);
	for (l = g->attempts.next; l != &g->attempts; l = next) {
		struct attempt *a = list_entry(l, struct attempt, link);

		next = l->next;
		if (a->listener && !a->over && !a->known)
			pairing_attempt_end(a);
	}
	pairing_changed(g);
}

void pairing_type_over(struct pairing *g)
{
	g->typing = false;
	wipe(g->type.digits, sizeof g->type.digits);
	timer_stop(g->node->env, &g->find_timer);
	pairing_changed(g);
}

/* --- commands ------------------------------------------------------------------------------------------------------- */
/* Whoever has only connected has no part in anything yet. */
static bool someone_known(const struct pairing *g)
{
	for (const struct list *l = g->attempts.next; l != &g->attempts; l = l->next)
		if (list_entry(l, const struct attempt, link)->known)
			return true;
	return false;
}

static enum err may_begin(struct node *n, const void *owner, struct fault *f)
{
	struct pairing *g = n->pairing;

	if (!g) {
		fault_set(f, ERR_UNSUPPORTED, EXIT_GENERIC, "im2 is off, and pairing is part of it");
		fault_next(f, "ironmesh run --im2 on");
		return ERR_UNSUPPORTED;
	}
	if (g->typing || someone_known(g) || (g->showing && g->owner != owner)) {
		fault_set(f, ERR_AGAIN, EXIT_RETRY, "another pairing is under way");
		fault_next(f, "ironmesh pair --stop");
		return ERR_AGAIN;
	}
	g->owner = owner;
	return ERR_OK;
}

enum pairing_gives pairing_gives(const struct node *n, const struct pairing_show *s)
{
	if (s->pin_only || !node_has_mesh_key(n))
		return PAIRING_GIVES_NOTHING;
	return s->give_passphrase ? PAIRING_GIVES_PASSPHRASE : PAIRING_GIVES_KEY;
}

static enum err may_show(struct node *n, const struct pairing_show *s, struct fault *f)
{
	if (s->give_passphrase && !n->c.passphrase.n) {
		fault_set(f, ERR_USAGE, EXIT_USAGE, "this node has no passphrase to give");
		fault_means(f, n->c.no_mesh_key ? "it was paired with the mesh key alone, which peers of the old software cannot use" :
						  "it speaks im2 alone, and forgets the passphrase once it has the mesh key");
		fault_next(f, "ironmesh pair");
		return ERR_USAGE;
	}
	/* A moment after the start. */
	if (!s->pin_only && !n->c.no_mesh_key && !node_has_mesh_key(n)) {
		fault_set(f, ERR_AGAIN, EXIT_RETRY, "the mesh key, which is to be handed on, is not computed yet");
		fault_next(f, "ironmesh pair   (in a second)   or   ironmesh pair --pin-only");
		return ERR_AGAIN;
	}
	return ERR_OK;
}

static void offer_due(void *ctx)
{
	struct pairing *g = ctx;

	for (struct list *l = g->attempts.next; l != &g->attempts; l = l->next) {
		struct attempt *a = list_entry(l, struct attempt, link);

		if (a->listener && (a->known || a->guess))
			return; /* its end says what becomes of the command */
	}
	pairing_hide(g);
	failed(g->node, g->show.compare ? "nobody came in time" : "nobody used the code in time",
	       g->show.compare ? "ironmesh pair --compare" : "ironmesh pair");
}

static enum err draw(struct pairing *g, struct pairing_shown *out, struct fault *f)
{
	enum err e = im2_offer_draw(&g->offer, g->node->env);

	if (e == ERR_OK) {
		im2_offer_text(&g->offer, out->code);
		g->show_until_ms = g->offer.until_ms;
		return ERR_OK;
	}
	pairing_hide(g);
	fault_set(f, e, EXIT_RETRY, "%d codes were used up", IM2_CODES_MAX);
	fault_means(f, "Somebody may be guessing. Nothing was pinned; comparing digits needs no code.");
	fault_next(f, "ironmesh pair --compare");
	return e;
}

enum err pairing_show(struct node *n, const struct pairing_show *s, struct pairing_shown *out, struct fault *f)
{
	struct pairing *g = n->pairing;
	enum err e = may_begin(n, s->owner, f);
	uint8_t raw[4];

	if (e == ERR_OK)
		e = may_show(n, s, f);
	if (e != ERR_OK)
		return e;
	if (!s->again)
		g->offer.drawn = 0;
	g->show = *s;
	*out = (struct pairing_shown){ .gives = pairing_gives(n, s) };
	if (s->compare) {
		im2_offer_wipe(&g->offer);
		g->show_until_ms = env_now(n->env) + IM2_CODE_MS;
	} else {
		e = draw(g, out, f);
		if (e != ERR_OK)
			return e;
	}
	env_random(n->env, raw, sizeof raw);
	hex_encode(BYTES_ARR(raw), g->instance);
	g->showing = true;
	out->until_ms = g->show_until_ms;
	timer_at(n->env, &g->offer_timer, g->show_until_ms);
	audit_note(n->p.audit, "PAIR_SHOWN", (struct bytes){ 0 }, "how", s->compare ? "compare" : "code", NULL);
	pairing_changed(g);
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

bool pairing_dial_next(struct pairing *g)
{
	struct fault f = { 0 };

	while (g->address_at < g->addresses_n)
		if (dial(g, g->addresses[g->address_at++], &f) == ERR_OK)
			return true;
	return false;
}

static void find_due(void *ctx)
{
	struct pairing *g = ctx;

	if (g->found[0] && pairing_dial_next(g))
		return;
	pairing_type_over(g);
	failed(g->node,
	       g->found[0] ? "the machine that was found cannot be dialled" : "no machine that shows this was found on the network",
	       g->type.compare ? "ironmesh pair --compare --at HOST:PORT" : "ironmesh pair CODE --at HOST:PORT");
}

enum err pairing_type(struct node *n, const struct pairing_type *t, struct fault *f)
{
	struct pairing *g = n->pairing;
	enum err e = may_begin(n, t->owner, f);

	if (e != ERR_OK)
		return e;
	if (g->showing)
		pairing_hide(g);
	g->type = *t;
	g->typing = true;
	g->found[0] = '\0';
	g->addresses_n = g->address_at = 0;
	if (t->address[0]) {
		e = dial(g, t->address, f);
		if (e != ERR_OK)
			pairing_type_over(g);
		return e;
	}
	timer_in(n->env, &g->find_timer, FIND_MS);
	pairing_changed(g);
	return ERR_OK;
}

enum err pairing_verdict(struct node *n, bool yes, struct fault *f)
{
	struct attempt *a = n->pairing ? pairing_comparing(n->pairing) : NULL;

	if (!a || !a->asked) {
		fault_set(f, ERR_WRONG_STATE, EXIT_GENERIC, "nothing waits to be compared");
		fault_next(f, "ironmesh pair --compare");
		return ERR_WRONG_STATE;
	}
	im2_pair_verdict(a->p, yes);
	pairing_drain(a);
	return ERR_OK;
}

void pairing_stop(struct node *n)
{
	struct pairing *g = n->pairing;

	if (!g)
		return;
	if (g->dialling && n->tp)
		tp_close(n->tp, g->dialling);
	g->dialling = 0;
	while (!list_empty(&g->attempts))
		pairing_attempt_end(list_entry(g->attempts.next, struct attempt, link));
	if (g->showing)
		pairing_hide(g);
	if (g->typing)
		pairing_type_over(g);
	g->owner = NULL;
}

void pairing_cancel(struct node *n)
{
	struct pairing *g = n->pairing;

	if (!g || (!g->showing && !g->typing && !g->attempts_n))
		return;
	pairing_stop(n);
	failed(n, "it was stopped", "ironmesh pair");
}

void pairing_owner_gone(struct node *n, const void *owner)
{
	if (n->pairing && owner && n->pairing->owner == owner)
		pairing_stop(n);
}

/* --- mDNS -------------------------------------------------------------------------------------------------------------- */
bool pairing_publication(struct node *n, char instance[static 9], char plate[static 3])
{
	struct pairing *g = n->pairing;

	if (!g || !g->showing || (g->show.compare ? pairing_comparing(g) != NULL : !g->offer.live))
		return false;
	memcpy(instance, g->instance, sizeof g->instance);
	if (g->show.compare)
		snprintf(plate, 3, PAIR_NO_PLATE);
	else
		snprintf(plate, 3, "%.2s", g->offer.digits);
	return true;
}

bool pairing_browses(struct node *n)
{
	return n->pairing && n->pairing->typing && !n->pairing->type.address[0];
}

static bool has_paired(const struct pairing *g)
{
	for (const struct list *l = g->attempts.next; l != &g->attempts; l = l->next)
		if (list_entry(l, const struct attempt, link)->paired)
			return true;
	return false;
}

void pairing_found(struct node *n, const char *instance, const char *plate, const char (*addresses)[80], size_t count)
{
	struct pairing *g = n->pairing;
	char wanted[3] = PAIR_NO_PLATE;

	if (!pairing_browses(n) || !count || has_paired(g))
		return;
	if (!g->type.compare)
		snprintf(wanted, sizeof wanted, "%.2s", g->type.digits);
	if (strcmp(plate, wanted) != 0)
		return;
	/* Two with one plate: one of them may be somebody who saw it on the air (15.1). */
	if (g->found[0] && strncmp(g->found, instance, 8) != 0) {
		pairing_stop(n);
		failed(n, g->type.compare ? "two machines wait to be compared" : "two machines show this number",
		       g->type.compare ? "ironmesh pair --compare --at HOST:PORT" : "ironmesh pair   (there, for a new code)");
		return;
	}
	if (g->found[0])
		return;
	snprintf(g->found, sizeof g->found, "%.8s", instance);
	for (size_t i = 0; i < count && g->addresses_n < FOUND_ADDRESSES; i++)
		snprintf(g->addresses[g->addresses_n++], sizeof g->addresses[0], "%s", addresses[i]);
	timer_in(n->env, &g->find_timer, TWINS_MS);
}

void pairing_watch(struct node *n, void (*fn)(void *ctx), void *ctx)
{
	if (!n->pairing)
		return;
	n->pairing->changed = fn;
	n->pairing->changed_ctx = ctx;
}

/* --- birth, end ---------------------------------------------------------------------------------------------------------- */
void pairing_on_credential(struct node *n, void (*came)(void *ctx, bool passphrase), void *ctx)
{
	if (!n->pairing)
		return;
	n->pairing->came = came;
	n->pairing->came_ctx = ctx;
}

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
	return n->c.no_mesh_key ? pairing_load(n) : ERR_OK;
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
