#include "trust/pins_internal.h"

#include "base/text.h"

static void drop_at(struct pins *p, size_t i)
{
	memmove(p->alarms + i, p->alarms + i + 1, (p->alarm_count - i - 1) * sizeof p->alarms[0]);
	p->alarm_count--;
}

static struct pin_alarm *find(struct pins *p, const char *subject, const struct node_id *now)
{
	for (size_t i = 0; i < p->alarm_count; i++) {
		struct pin_alarm *a = &p->alarms[i];

		if (strcmp(a->subject, subject) == 0 && (!now || node_id_eq(&a->now, now)))
			return a;
	}
	return NULL;
}

/* Somebody who makes up keys for one name only pushes out his own alarms. */
static void make_room(struct pins *p, const char *subject)
{
	size_t mine = 0, oldest_mine = 0, oldest = 0;

	for (size_t i = 0; i < p->alarm_count; i++) {
		if (p->alarms[i].at_ms < p->alarms[oldest].at_ms)
			oldest = i;
		if (strcmp(p->alarms[i].subject, subject) != 0)
			continue;
		if (mine == 0 || p->alarms[i].at_ms < p->alarms[oldest_mine].at_ms)
			oldest_mine = i;
		mine++;
	}
	if (mine >= PINS_ALARMS_PER_SUBJECT)
		drop_at(p, oldest_mine);
	else if (p->alarm_count == PINS_ALARMS_MAX)
		drop_at(p, oldest);
}

enum err pins_alarm(struct pins *p, const struct pin_alarm *a)
{
	struct pin_alarm x = {.is_address = a->is_address, .was = a->was, .now = a->now};
	struct node_id id;

	if (p->read_only)
		return ERR_DENIED;
	if (a->is_address ? !pins_address_valid(a->subject) : a->subject[0] == '\0')
		return ERR_MALFORMED;
	node_id_of(a->now_ed, &id);
	if (!node_id_eq(&id, &a->now))
		return ERR_MALFORMED;
	if (a->is_address)
		memcpy(x.subject, a->subject, sizeof x.subject);
	else
		text_safe(bytes_str(a->subject), x.subject, NAME_MAX_CHARS + 1);
	memcpy(x.now_ed, a->now_ed, sizeof x.now_ed);
	pins_clean_name(a->now_name, x.now_name);
	x.at_ms = a->at_ms < PINS_WALL_MAX_MS ? a->at_ms : PINS_WALL_MAX_MS;

	struct pin_alarm *known = find(p, x.subject, &x.now);
	if (known) {
		x.count = known->count < INT64_MAX ? known->count + 1 : known->count;
		*known = x;
		p->stale = true;
		return ERR_OK;
	}
	make_room(p, x.subject);
	x.count = 1;
	p->alarms[p->alarm_count++] = x;
	p->dirty = true;
	return ERR_OK;
}

size_t pins_alarms(const struct pins *p, const struct pin_alarm **list)
{
	if (list)
		*list = p->alarms;
	return p->alarm_count;
}

enum err pins_alarm_drop(struct pins *p, const char *subject)
{
	struct pin_alarm *a;
	enum err e = ERR_NOTFOUND;

	if (p->read_only)
		return ERR_DENIED;
	while ((a = find(p, subject, NULL)) != NULL) {
		drop_at(p, (size_t)(a - p->alarms));
		p->dirty = true;
		e = ERR_OK;
	}
	return e;
}

void pins_alarms_answered(struct pins *p, const struct node_id *now)
{
	for (size_t i = p->alarm_count; i-- > 0;)
		if (node_id_eq(&p->alarms[i].now, now) && !node_id_eq(&p->alarms[i].was, now)) {
			drop_at(p, i);
			p->dirty = true;
		}
}

/* --- repin --------------------------------------------------------------------------------- */

static enum err wrong_id(struct pins *p, const char *subject, const struct node_id *expect,
			 struct fault *f)
{
	const struct pin_alarm *a = find(p, subject, NULL);
	char word[SHELL_WORD_MAX];

	if (!a) {
		fault_set(f, ERR_NOTFOUND, EXIT_PEER_UNKNOWN, "no key change waits for %.80s",
			  subject);
		fault_means(f, "no identity %s has shown itself under it", expect->hex);
		fault_next(f, "ironmesh trust list");
		return ERR_NOTFOUND;
	}
	fault_set(f, ERR_KEY_CHANGED, EXIT_INTEGRITY, "%.80s shows the key %s, not %s", subject,
		  a->now.hex, expect->hex);
	fault_means(f, "nothing was changed; compare the fingerprint with its owner first");
	if (strlen(shell_word(subject, word)) <= 120)
		fault_next(f, "ironmesh trust repin %s %s", word, a->now.hex);
	else
		fault_next(f, "ironmesh trust list");
	return ERR_KEY_CHANGED;
}

/* The identity that becomes trusted: known already, or from the alarm. */
static enum err successor(struct pins *p, const struct pin_alarm *a, const struct node_id *expect,
			  uint64_t wall_ms, struct rec **out, struct fault *f)
{
	struct rec *r = pins_rec(p, expect);

	if (r && (r->pin.state == PIN_BLOCKED || r->pin.state == PIN_REVOKED)) {
		fault_set(f, ERR_UNTRUSTED, EXIT_PEER_UNTRUSTED, "%s is %s", expect->hex,
			  pin_state_word(r->pin.state));
		fault_means(f, "it cannot take over a name or an address");
		if (r->pin.state == PIN_BLOCKED)
			fault_next(f, "ironmesh peers approve %s", expect->hex);
		else
			fault_next(f, "ironmesh keys rotate   (on that node)");
		return ERR_UNTRUSTED;
	}
	if (r) {
		*out = r;
		return ERR_OK;
	}
	enum err e = pins_make_room(p, PIN_TRUSTED, NULL);
	if (e == ERR_OK) {
		r = pins_rec_new(a->now_ed, PIN_PENDING, "operator",
				 wall_ms < PINS_WALL_MAX_MS ? wall_ms : PINS_WALL_MAX_MS);
		e = r ? pins_insert(p, r) : ERR_NOMEM;
	}
	if (e != ERR_OK) {
		pins_rec_free(r);
		return fault_set(f, e, EXIT_RETRY, "the trust store has no room for another peer");
	}
	memcpy(r->pin.name, a->now_name, sizeof r->pin.name);
	*out = r;
	return ERR_OK;
}

static void take_over(struct pins *p, struct rec *old, struct rec *r)
{
	if (r->pin.alias[0] == '\0') /* what the operator calls it stays with whom he means */
		memcpy(r->pin.alias, old->pin.alias, sizeof r->pin.alias);
	old->pin.alias[0] = '\0';
	pins_move(p, old, PIN_REVOKED, "replaced");
}

/* Where it was dialled it is dialled as who it is now, and never with less than it spoke. */
static void move_in(struct pins *p, struct rec *old, struct rec *r)
{
	while (old->pin.address_count) {
		struct pin_address at = old->pin.addresses[0];

		/* Gone from `old` either way. */
		if (pins_bind_address(p, &r->pin.id, at.text, at.has_tls_key ? at.tls_key : NULL) != ERR_OK)
			break;
	}
	im2_set_move(&p->im2, &old->pin.id, &r->pin.id);
}

/* The change is decided: what asked about it, or was measured against `old`, is moot. */
static void settle(struct pins *p, const char *subject, const struct node_id *old)
{
	size_t kept = 0;

	for (size_t i = 0; i < p->alarm_count; i++) {
		const struct pin_alarm *a = &p->alarms[i];

		if (strcmp(a->subject, subject) != 0 && !(old && node_id_eq(&a->was, old)))
			p->alarms[kept++] = *a;
	}
	p->alarm_count = kept;
}

/* Who accepts what an address shows now accepts its TLS key too: the next contact pins it anew. */
static void forget_tls_key(struct pins *p, struct rec *r, const char *address)
{
	for (size_t i = 0; i < r->pin.address_count; i++) {
		struct pin_address *at = &r->pin.addresses[i];

		if (strcmp(at->text, address) == 0 && at->has_tls_key) {
			memset(at->tls_key, 0, sizeof at->tls_key);
			at->has_tls_key = false;
			p->dirty = true;
		}
	}
}

static enum err other_holder(const struct rec *holder, const char *subject, struct fault *f)
{
	fault_set(f, ERR_WRONG_STATE, EXIT_PEER_UNTRUSTED,
		  "%.80s belongs to %s by now, not to the one "
		  "the alarm was about",
		  subject, holder->pin.id.hex);
	fault_means(f, "accepting would revoke a peer that nobody doubted; nothing was changed");
	fault_next(f, "ironmesh trust list");
	return ERR_WRONG_STATE;
}

static enum err third_party(const struct rec *third, const char *claims,
			    const struct node_id *expect, struct fault *f)
{
	char word[SHELL_WORD_MAX];

	fault_set(f, ERR_EXISTS, EXIT_INTEGRITY, "%s also claims the name %s, which is bound to %s",
		  expect->hex, claims, third->pin.id.hex);
	fault_means(f, "decide about the name first");
	fault_next(f, "ironmesh trust repin %s %s", shell_word(claims, word), expect->hex);
	return ERR_EXISTS;
}

enum err pins_repin(struct pins *p, const char *subject, const struct node_id *expect,
		    uint64_t wall_ms, struct fault *f)
{
	char name[NAME_MAX_CHARS + 1], key[ADDRESS_MAX + 1], claims[NAME_MAX_CHARS + 1];
	struct rec *r = pins_rec(p, expect);

	if (p->read_only)
		return pins_refuse_read_only(p, f);
	pins_clean_name(subject, name);
	snprintf(key, sizeof key, "%s", subject);
	const struct pin_alarm *a = find(p, key, expect);
	/* Two pending peers of one name: the second one raised no alarm, it is simply known. */
	if (!a && !(r && r->pin.name[0] != '\0' && strcmp(r->pin.name, name) == 0))
		return wrong_id(p, key, expect, f);

	bool is_address = a && a->is_address;
	struct rec *old = is_address ? pins_address_holder(p, key) : pins_name_holder(p, name);
	if (old && (old == r || old->pin.state != PIN_TRUSTED))
		old = NULL;
	if (a && old && !node_id_eq(&old->pin.id, &a->was))
		return other_holder(old, key, f);
	/* The name it shows beside an address may belong to a third one, which keeps it. */
	snprintf(claims, sizeof claims, "%s", !is_address ? name : r ? r->pin.name : a->now_name);
	const struct rec *third = pins_name_holder(p, claims);
	if (third && third != old && third != r)
		return third_party(third, claims, expect, f);

	/* Nothing was changed up to here, and nothing is refused after this. */
	enum err e = successor(p, a, expect, wall_ms, &r, f);
	if (e != ERR_OK)
		return e;
	if (old)
		take_over(p, old, r);
	snprintf(r->pin.via, sizeof r->pin.via, "operator");
	pins_move(p, r, PIN_TRUSTED, NULL);
	pins_claim_name(p, r, claims);
	if (old && !is_address)
		move_in(p, old, r);
	if (is_address) {
		e = pins_bind_address(p, expect, key, NULL);
		forget_tls_key(p, r, key);
	}
	settle(p, key, old ? &old->pin.id : NULL);
	return e;
}
