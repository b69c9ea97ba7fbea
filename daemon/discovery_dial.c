/*
 * discovery_dial.c -- dials of hints: which address of whom comes next, and what became of it.
 *
 * Happy eyeballs: addresses of one identity, whatever hint they are from, begin a stagger apart, or at once when the one
 * before has failed. What an attacker cannot write (addresses dialled before, signed cards) comes first, what never
 * failed before what did.
 */
#include "daemon/discovery_internal.h"

#include "base/text.h"
#include "daemon/dial.h"

#define BACKOFF_FIRST_MS 5000
#define BACKOFF_MAX_MS 300000
#define JITTER_MS 2000
#define WRONG_WAIT_MS 600000
#define BAD_WAIT_MS HOUR_MS      /* im2.md 18.2 */
#define BAD_DIALS 10
#define COURTESY_MS 2000         /* between our own daemons */
#define COURTESY_OLD_MS 4000     /* to the smaller name (wire 1.4), which may find us a little later */
#define LOOK_AGAIN_MS 1000
#define TICK_MS 10000            /* somebody may be known by now, or the hour another one */
#define TARGET_TRIES 2           /* so often the owner of a configured address goes alone */

void hint_dial_soon(struct discovery *d)
{
	if (d->node->dialling_started && !d->node->stopping)
		timer_in(d->node->env, &d->dial_timer, 0);
}

uint64_t hint_courtesy_ms(struct discovery *d, const struct hint *h)
{
	struct node *n = d->node;
	const struct pin *pin = h->has_id ? pins_get(n->p.pins, &h->id) : NULL;

	if (h->has_id && (h->fleet || (pin && pin->im2_since_ms) || h->source == HINT_CARD))
		return memcmp(keyring_id(n->p.keyring)->hex, h->id.hex, NODE_ID_LEN) < 0 ?
			       0 : COURTESY_MS + env_uniform(n->env, JITTER_MS);
	if (h->source == HINT_MDNS && !h->fleet && h->name[0] && strcmp(n->c.name, h->name) >= 0)
		return COURTESY_OLD_MS + env_uniform(n->env, JITTER_MS);
	return 0;
}

/* --- which one --------------------------------------------------------------------------------------------- */
static bool same_party(const struct hint_dial *a, const struct hint *h)
{
	return a->hint == h || (a->has_expected && h->has_id && node_id_eq(&a->expected, &h->id));
}

/* Whoever configured an address goes first; his dial would only meet ours. */
static bool target_goes(const struct node *n, const struct hint *h)
{
	for (size_t i = 0; h->has_id && i < n->target_count; i++) {
		const struct target *t = n->targets[i];

		if (!t->hint && t->has_known && node_id_eq(&t->known, &h->id) &&
		    (t->dialling || t->conn || (t->failures < TARGET_TRIES && timer_armed(&t->timer))))
			return true;
	}
	return false;
}

/* Somebody from there is about to come in (wire 2.9). */
static bool comes_from(struct node *n, const char *address)
{
	char source[64];

	source_of_address(address, source);
	for (struct list *l = n->shaking.next; l != &n->shaking; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);

		if (!c->dialled && !c->closing && strcmp(c->source, source) == 0)
			return true;
	}
	return false;
}

static bool has_ik(const struct node *n, const struct hint *h)
{
	const struct pin *pin = h->has_id ? pins_get(n->p.pins, &h->id) : NULL;

	return n->im2 && pin && pins_ik_x(n->p.pins, pin);
}

/* When the next dial for this hint may begin, by what runs already. */
static uint64_t turn_of(const struct discovery *d, const struct hint *h)
{
	uint64_t at = h->not_before_ms;
	unsigned running = 0;

	for (size_t i = 0; i < HINT_DIALS_MAX; i++) {
		const struct hint_dial *r = &d->dials[i];

		if (!r->hint || !same_party(r, h))
			continue;
		running++;
		if (r->began_ms + HINT_STAGGER_MS > at)
			at = r->began_ms + HINT_STAGGER_MS;
	}
	return running < HINT_DIALS_OF_ONE ? at : UINT64_MAX;
}

struct choice {
	struct hint *hint;
	struct hint_at *at;
	uint64_t next_ms;          /* when to look again */
};

static void sooner(struct choice *c, uint64_t at)
{
	if (at < c->next_ms)
		c->next_ms = at;
}

static bool better(const struct hint *h, const struct hint_at *a, const struct choice *c)
{
	if (!c->at)
		return true;
	if (a->failures != c->at->failures)
		return a->failures < c->at->failures;
	if ((h->source == HINT_MDNS) != (c->hint->source == HINT_MDNS))
		return h->source != HINT_MDNS;
	return a->tried_ms < c->at->tried_ms;
}

static void look_at(struct discovery *d, struct hint *h, struct choice *c)
{
	struct node *n = d->node;
	uint64_t now = env_now(n->env), turn;

	if (h->gone || !h->n || hint_online(d, h) || !hint_wanted(d, h, NULL))
		return;
	turn = turn_of(d, h);
	if (target_goes(n, h) && turn <= now)
		turn = now + LOOK_AGAIN_MS;
	if (now < d->no_first_until_ms && !has_ik(n, h) && turn < d->no_first_until_ms)
		turn = d->no_first_until_ms;
	if (turn == UINT64_MAX)
		return;
	for (size_t i = 0; i < h->n; i++) {
		struct hint_at *a = &h->at[i];
		uint64_t at = a->next_ms > turn ? a->next_ms : turn;

		if (a->self || dial_runs(n, a->text) || hint_same_place(d, a->text))
			continue;
		if (at <= now && comes_from(n, a->text))
			at = now + LOOK_AGAIN_MS;
		if (at > now)
			sooner(c, at);
		else if (better(h, a, c)) {
			c->hint = h;
			c->at = a;
		}
	}
}

/* --- one dial -------------------------------------------------------------------------------------------------- */
static void dial(struct discovery *d, struct hint *h, struct hint_at *a)
{
	struct node *n = d->node;
	const struct pin *pin = h->has_id ? pins_get(n->p.pins, &h->id) : NULL;
	struct hint_dial *s = NULL;

	for (size_t i = 0; i < HINT_DIALS_MAX && !s; i++)
		if (!d->dials[i].hint)
			s = &d->dials[i];
	BUG_ON(!s);
	*s = (struct hint_dial){ .of = d, .hint = h, .began_ms = env_now(n->env), .has_expected = h->has_id,
				 .expected = h->id, .known_only = env_now(n->env) < d->no_first_until_ms };
	s->im2_only = h->fleet || h->source == HINT_CARD || s->known_only || (pin && pin->im2_since_ms);
	snprintf(s->address, sizeof s->address, "%s", a->text);
	snprintf(s->idhash, sizeof s->idhash, "%s", h->idhash);
	a->tried_ms = s->began_ms + 1;
	h->dials++;
	n->n.hints_dialled++;
	log_debug("hint-dial address=%s peer=%s source=%d", a->text, h->has_id ? h->id.hex : "-", (int)h->source);
	s->target = dial_hint(n, s->address, s->has_expected ? &s->expected : NULL, s);
	if (!s->target)
		discovery_dial_ended(s, "it cannot be dialled now", 0);
}

void hint_dial_due(void *ctx)
{
	struct discovery *d = ctx;
	struct node *n = d->node;
	uint64_t now = env_now(n->env);
	struct choice c;
	unsigned running;

	if (n->stopping || !n->tp || !n->dialling_started || discovery_off(d))
		return;
	hints_match_due(d);
	hints_known(d);
	do {
		running = 0;
		for (size_t i = 0; i < HINT_DIALS_MAX; i++)
			running += d->dials[i].hint != NULL;
		c = (struct choice){ .next_ms = now + TICK_MS };
		if (running == HINT_DIALS_MAX)
			return; /* the end of one looks again */
		for (size_t i = 0; i < d->hints_n; i++)
			look_at(d, d->hints[i], &c);
		if (c.at && !bucket_take(&d->rate, 1, now)) {
			sooner(&c, now + bucket_wait_ms(&d->rate, 1, now) + 1);
			c.at = NULL;
		}
		if (c.at)
			dial(d, c.hint, c.at);
	} while (c.at);
	timer_at(n->env, &d->dial_timer, c.next_ms > now ? c.next_ms : now + 1);
}

/* --- what became of it ------------------------------------------------------------------------------------------ */
static void waits(struct discovery *d, struct hint_at *a, uint64_t wait)
{
	a->next_ms = env_now(d->node->env) + wait + env_uniform(d->node->env, JITTER_MS + 1);
}

static void failed(struct hint_dial *s, struct hint_at *a, uint64_t min_wait_ms)
{
	struct discovery *d = s->of;
	uint64_t wait = BACKOFF_FIRST_MS;

	d->node->n.hints_failed++;
	if (a->failures < UINT8_MAX)
		a->failures++;
	for (unsigned i = 1; i < a->failures && wait < BACKOFF_MAX_MS; i++)
		wait *= 2;
	wait = wait < BACKOFF_MAX_MS ? wait : BACKOFF_MAX_MS;
	if (s->wrong)
		wait = WRONG_WAIT_MS;
	else if (s->bad)
		wait = BAD_WAIT_MS;
	waits(d, a, wait > min_wait_ms ? wait : min_wait_ms);
}

void discovery_dial_ended(struct hint_dial *s, const char *why, uint64_t min_wait_ms)
{
	struct discovery *d = s->of;
	struct hint *h = s->hint;
	struct hint_at *a = hint_at_find(h, s->address);
	bool met = s->met;

	if (a && met)
		a->failures = 0, a->next_ms = 0;
	else if (a && s->self)
		a->self = true;
	else if (a && !s->dropped)
		failed(s, a, min_wait_ms);
	if (met)
		h->why[0] = 0;
	else if (!s->dropped)
		snprintf(h->why, sizeof h->why, "%.110s", s->wrong ? "somebody else answers there" : why);
	s->hint = NULL;
	s->target = NULL;
	h->dials--;
	if (h->gone && !h->dials)
		hint_drop(d, h);
	else if (s->wrong && h->met) {
		h->met = false;
		hint_match(d, h);
	}
	if (!d->node->stopping)
		hint_dial_soon(d);
}

bool discovery_dial_im2(const struct hint_dial *s)
{
	return s->im2_only;
}

bool discovery_dial_known(const struct hint_dial *s)
{
	return s->known_only;
}

bool discovery_dial_wrong(struct hint_dial *s, const struct node_id *id)
{
	struct node *n = s->of->node;

	if (s->has_expected ? pins_same(n->p.pins, &s->expected, id) :
			      !s->idhash[0] || memcmp(s->idhash, id->hex, HINT_PREFIX) == 0)
		return false;
	s->wrong = true;
	n->n.hints_wrong++;
	log_info("hint-wrong address=%s peer=%s expected=%s", s->address, id->hex,
		 s->has_expected ? s->expected.hex : s->idhash);
	return true;
}

/* Whoever publishes addresses could have us try the passphrase on him again and again: 18.2. */
static void bad(struct hint_dial *s)
{
	struct discovery *d = s->of;
	uint64_t now = env_now(d->node->env);

	if (s->bad)
		return;
	s->bad = true;
	if (!d->bad_n || now - d->bad_since_ms > HOUR_MS) {
		d->bad_n = 0;
		d->bad_since_ms = now;
	}
	if (++d->bad_n < BAD_DIALS)
		return;
	d->bad_n = 0;
	d->no_first_until_ms = now + HOUR_MS;
	log_warn("hints-no-first-contact for_s=%u why=\"%d addresses that were found did not prove the passphrase\"",
		 (unsigned)(HOUR_MS / 1000), BAD_DIALS);
}

void discovery_dial_over(struct hint_dial *s, enum err e, bool auth)
{
	if (e == ERR_SELF)
		s->self = true;
	else if (auth)
		bad(s);
	else if (e == ERR_KEY_CHANGED && !s->wrong) {
		s->wrong = true;
		s->of->node->n.hints_wrong++;
	}
}

static void drop(struct discovery *d, struct hint_dial *s)
{
	s->dropped = true;
	if (s->target)
		dial_drop(d->node, s->target);
}

void hint_dials_stop(struct discovery *d, const struct node_id *id, const struct hint_dial *but)
{
	for (size_t i = 0; i < HINT_DIALS_MAX; i++) {
		struct hint_dial *s = &d->dials[i];

		if (s->hint && s != but && !s->met && !s->dropped &&
		    ((s->has_expected && node_id_eq(&s->expected, id)) || (but && s->hint == but->hint)))
			drop(d, s);
	}
}

void discovery_dial_met(struct hint_dial *s, const struct node_id *id)
{
	struct hint *h = s->hint;

	s->met = true;
	h->met = true;
	h->has_id = true;
	h->id = *id;
	hint_dials_stop(s->of, id, s);
	discovery_dial_ended(s, "", 0);
}

void discovery_dial_retry(struct node *n)
{
	struct discovery *d = n->discovery;

	for (size_t i = 0; d && i < d->hints_n; i++)
		for (size_t k = 0; k < d->hints[i]->n; k++) {
			struct hint_at *a = &d->hints[i]->at[k];

			/* What answered as somebody else, or did not prove itself, waits for its time. */
			if (a->next_ms < env_now(n->env) + BACKOFF_MAX_MS) {
				a->failures = 0;
				a->next_ms = 0;
			}
		}
	if (d) {
		d->known_due = true;
		hint_dial_soon(d);
	}
}
