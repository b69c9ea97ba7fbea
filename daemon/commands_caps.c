/* caps.*, and who is meant by `capability` in `send` */
#include "daemon/commands_internal.h"

#include <stdlib.h>

#include "base/text.h"
#include "daemon/caps.h"
#include "daemon/routes.h"

#define SHOWN_MAX 10000

static enum err caps_off(struct call *c)
{
	return fault_set(c->f, ERR_UNSUPPORTED, EXIT_GENERIC, "capabilities are not served here");
}

/* --- ours -------------------------------------------------------------------------------------------- */
struct names {
	char text[CAPS_MAX + 1][CAP_TEXT_MAX + 1];
	const char *p[2 * CAPS_MAX];
	size_t n;
};

static bool own_name(void *ctx, const struct node_id *who, const char *name, uint64_t expires_in_ms)
{
	struct names *s = ctx;

	if (expires_in_ms != UINT64_MAX || s->n == CAPS_MAX)
		return false; /* ours come first */
	snprintf(s->text[s->n], sizeof s->text[0], "%s", name);
	s->p[s->n] = s->text[s->n];
	s->n++;
	return true;
}

static json_t *own_json(struct call *c)
{
	struct names *s = calloc(1, sizeof *s);
	json_t *list = s ? json_array() : NULL;

	if (s)
		caps_find(c->cx->node, NULL, own_name, s);
	for (size_t i = 0; list && i < s->n; i++)
		(void)json_array_append_new(list, json_string(s->text[i]));
	free(s);
	return list;
}

static bool named(const json_t *list, const char *name)
{
	size_t i;
	json_t *v;

	json_array_foreach (list, i, v)
		if (strcmp(json_string_value(v), name) == 0)
			return true;
	return false;
}

/* `how`: '=' these and no others, '+' these too, '-' without these. */
static enum err change(struct call *c, char how)
{
	const json_t *given = json_object_get(c->params, "capabilities");
	struct names *s = c->cx->node ? calloc(1, sizeof *s) : NULL;
	size_t i, kept = 0;
	json_t *v;
	enum err e;

	if (!s)
		return no_memory(c);
	json_array_foreach (given, i, v)
		if (!json_is_string(v)) {
			free(s);
			return bad_param(c, "capabilities", "a list of texts, each namespace:name");
		}
	if (how != '=')
		caps_find(c->cx->node, NULL, own_name, s);
	if (how == '-') {
		for (i = 0; i < s->n; i++)
			if (!named(given, s->p[i]))
				s->p[kept++] = s->p[i];
		s->n = kept;
	} else {
		json_array_foreach (given, i, v)
			if (s->n < 2 * CAPS_MAX)
				s->p[s->n++] = json_string_value(v);
	}
	e = caps_set(c->cx->node, s->p, s->n, c->f);
	free(s);
	if (e != ERR_OK)
		return e;
	return result_is(c, json_pack("{s:s, s:o}", "schema", "ironmesh.caps/1", "capabilities", own_json(c)));
}

enum err command_caps_set(struct call *c)
{
	return change(c, '=');
}

enum err command_caps_add(struct call *c)
{
	return change(c, '+');
}

enum err command_caps_remove(struct call *c)
{
	return change(c, '-');
}

/* --- what is known ----------------------------------------------------------------------------------- */
struct found {
	struct call *c;
	json_t *list;
	const struct node_id *only;
	bool more;
};

static bool found_one(void *ctx, const struct node_id *who, const char *name, uint64_t expires_in_ms)
{
	struct found *f = ctx;
	const struct pin *pin = pins_get(f->c->cx->pins, who);
	struct peer_view view = { 0 };
	bool self = expires_in_ms == UINT64_MAX;
	json_t *one;

	if (f->only && !node_id_eq(f->only, who))
		return true;
	if (json_array_size(f->list) == SHOWN_MAX) {
		f->more = true;
		return false;
	}
	if (!self)
		node_peer_view(f->c->cx->node, who, &view);
	one = json_pack("{s:o, s:s, s:b, s:b, s:b}", "peer",
			self ? json_pack("{s:s, s:s}", "id", who->hex, "name", f->c->cx->name) :
			       peer_ref(f->c->cx, who),
			"capability", name, "self", self, "trusted", self || (pin && pin->state == PIN_TRUSTED), "online", self || view.online);
	if (!self && one)
		(void)json_object_set_new(one, "expires_in_ms", json_integer((json_int_t)expires_in_ms));
	(void)json_array_append_new(f->list, one);
	return true;
}

enum err command_caps_find(struct call *c)
{
	const struct pin *pin = NULL;
	struct found f = { .c = c };
	enum err e = arg_text(c, "peer") ? arg_peer(c, "peer", &pin) : ERR_OK;

	if (e != ERR_OK)
		return e;
	if (!c->cx->node)
		return caps_off(c);
	f.list = json_array();
	f.only = pin ? &pin->id : NULL;
	caps_find(c->cx->node, arg_text(c, "glob"), found_one, &f);
	return result_is(c, json_pack("{s:s, s:o, s:b}", "schema", "ironmesh.caps_find/1", "found", f.list, "more", f.more));
}

/* --- one of them -------------------------------------------------------------------------------------- */
struct pick {
	struct call *c;
	bool random;
	uint64_t seen;             /* candidates */
	const struct pin *best;
	uint64_t best_cost;
};

/* Online before reachable before away; then by round trip. */
static uint64_t cost_of(struct node *n, const struct node_id *id)
{
	struct peer_view v;

	node_peer_view(n, id, &v);
	if (v.online)
		return v.rtt_ms >= 0 && v.rtt_ms < 1e6 ? (uint64_t)(v.rtt_ms * 1000) : 999999999;
	return routes_has(n, id) ? 1000000000 : 2000000000;
}

static bool pick_one(void *ctx, const struct node_id *who, const char *name, uint64_t expires_in_ms)
{
	struct pick *p = ctx;
	const struct pin *pin = pins_get(p->c->cx->pins, who);
	uint64_t cost;

	if (expires_in_ms == UINT64_MAX || !pin || pin->state != PIN_TRUSTED || pin == p->best)
		return true;
	p->seen++;
	if (p->random) {
		if (env_uniform(p->c->cx->env, p->seen) == 0)
			p->best = pin;
		return true;
	}
	cost = cost_of(p->c->cx->node, who);
	if (!p->best || cost < p->best_cost ||
	    (cost == p->best_cost && strcmp(who->hex, p->best->id.hex) < 0)) {
		p->best = pin;
		p->best_cost = cost;
	}
	return true;
}

enum err capability_recipient(struct call *c, const struct pin **out)
{
	const char *glob = arg_text(c, "capability"), *strategy = arg_text(c, "strategy");
	struct pick p = { .c = c, .random = strategy && strcmp(strategy, "random") == 0 };
	char safe[CAP_TEXT_MAX * 4];

	if (strategy && !p.random && strcmp(strategy, "first") != 0)
		return bad_param(c, "strategy", "first or random");
	if (!c->cx->node)
		return caps_off(c);
	caps_find(c->cx->node, glob, pick_one, &p);
	if (!p.best) {
		fault_set(c->f, ERR_NOTFOUND, EXIT_PEER_UNKNOWN, "no trusted peer says that it has '%s'",
			  text_safe(bytes_str(glob), safe, sizeof safe));
		fault_means(c->f, "capabilities are forgotten two minutes after a peer was last heard");
		fault_next(c->f, "ironmesh caps find '*'");
		return ERR_NOTFOUND;
	}
	*out = p.best;
	return ERR_OK;
}
