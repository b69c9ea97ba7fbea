/* Our prekeys: made, stated, kept for a while, erased (im2.md 11.3, 13.2). */
#include "protocol/im2/seal.h"

#include <sodium.h>
#include <stdlib.h>

#include "base/secret.h"

#define RETRY_MS 60000

struct times {
	uint64_t every_ms, life_s, delay_ms;
};

static const struct times ip = {21600000, 86400, 86400000};
static const struct times radio = {86400000, 604800, 604800000};

struct im2_prekeys {
	struct im2_prekeys_config c;
	const struct times *t;
	struct secret room; /* IM2_PREKEYS_MAX keys; the newest generation first */
	size_t n;
	struct buf record;
	uint64_t top_gen;
	uint64_t retry_ms; /* monotonic: not before, after the disk refused */
};

static struct im2_prekey *keys(const struct im2_prekeys *p)
{
	return (struct im2_prekey *)p->room.p;
}

static uint64_t running(const struct im2_prekeys *p)
{
	return p->c.running_ms ? p->c.running_ms(p->c.ctx) : env_wall(p->c.env);
}

/* By hand: qsort() would copy secrets to memory that nobody wipes. */
static void sort(struct im2_prekey *k, size_t n)
{
	struct im2_prekey swap;

	for (size_t i = 0; i + 1 < n; i++)
		for (size_t j = i + 1; j < n; j++)
			if (k[j].gen > k[i].gen) {
				swap = k[i];
				k[i] = k[j];
				k[j] = swap;
			}
	wipe(&swap, sizeof swap);
}

enum err im2_prekeys_new(const struct im2_prekeys_config *c, const struct im2_prekey *have,
			 size_t n, struct im2_prekeys **out)
{
	struct im2_prekeys *p;
	enum err e;

	if (n > IM2_PREKEYS_MAX)
		return ERR_LIMIT;
	p = calloc(1, sizeof *p);
	if (!p)
		return ERR_NOMEM;
	e = secret_new(&p->room, IM2_PREKEYS_MAX * sizeof(struct im2_prekey));
	if (e != ERR_OK) {
		free(p);
		return e;
	}
	p->c = *c;
	p->t = c->radio ? &radio : &ip;
	buf_init(&p->record, 512);
	if (n)
		memcpy(keys(p), have, n * sizeof *have);
	p->n = n;
	sort(keys(p), n);
	p->top_gen = n ? keys(p)[0].gen : 0;
	*out = p;
	return ERR_OK;
}

void im2_prekeys_free(struct im2_prekeys *p)
{
	if (!p)
		return;
	secret_free(&p->room);
	buf_fini(&p->record);
	free(p);
}

/* When the newest one was made. */
static uint64_t made_ms(const struct im2_prekeys *p)
{
	const struct im2_prekey *k = &keys(p)[0];
	uint64_t kept = k->life_s * 1000 + p->t->delay_ms;

	return k->erase_ms > kept ? k->erase_ms - kept : 0;
}

/* A key from the future was made by another clock, or under the other profile. */
static bool due(const struct im2_prekeys *p)
{
	uint64_t now = running(p), made;

	if (p->top_gen >= IM2_GEN_MAX)
		return false;
	if (p->n == 0 || keys(p)[0].erase_ms <= now || keys(p)[0].life_s != p->t->life_s)
		return true;
	made = made_ms(p);
	return made > now || now - made >= p->t->every_ms;
}

static bool taken(const struct im2_prekey *k, size_t n, const uint8_t id[static 4])
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(k[i].id, id, 4) == 0)
			return true;
	return false;
}

/* `gen` of an identity that remembers none begins at the time: a lost database then rarely falls
 * behind. */
static void make(const struct im2_prekeys *p, uint64_t gen, struct im2_prekey *k, size_t others)
{
	uint64_t wall = env_wall(p->c.env);
	bool plausible = wall >= p->c.build_ms && wall <= IM2_TIME_MAX;

	do {
		env_random(p->c.env, k->id, sizeof k->id);
	} while (is_zero(k->id, sizeof k->id) || taken(k + 1, others, k->id));
	env_random(p->c.env, k->secret, sizeof k->secret);
	BUG_ON(crypto_scalarmult_base(k->pub, k->secret) != 0);
	k->gen = gen ? gen : plausible && wall / 1000 > 0 ? wall / 1000 : 1;
	k->issued_ms = plausible ? wall : 0;
	k->life_s = p->t->life_s;
	k->erase_ms = running(p) + p->t->life_s * 1000 + p->t->delay_ms;
}

static enum err restate(struct im2_prekeys *p)
{
	struct im2_fields f = {.schema = &im2_prekey};
	const struct im2_prekey *k = &keys(p)[0];
	struct buf body;

	buf_init(&body, 64);
	im2_set_b(&f, IM2_PREKEY_ID, BYTES_ARR(k->id));
	im2_set_b(&f, IM2_PREKEY_X25519, BYTES_ARR(k->pub));
	im2_write(&im2_prekey, &f, &body);
	buf_reset(&p->record);
	if (body.err == ERR_OK)
		im2_record_write(p->c.keyring, IM2_REC_PREKEY_T, k->gen, k->issued_ms, k->life_s,
				 buf_bytes(&body), &p->record);
	enum err e = body.err != ERR_OK ? body.err : p->record.err;
	if (e != ERR_OK)
		buf_reset(&p->record);
	buf_fini(&body);
	return e;
}

/* The next set: without what is over, with a new key of `gen` if `fresh`. On disk before anything
 * of it counts. */
static enum err renew(struct im2_prekeys *p, bool fresh, uint64_t gen)
{
	uint64_t now = running(p);
	struct secret next;
	struct im2_prekey *k;
	size_t n = fresh;
	enum err e = secret_new(&next, p->room.n);

	if (e != ERR_OK)
		return e;
	k = (struct im2_prekey *)next.p;
	for (size_t i = 0; i < p->n && n < IM2_PREKEYS_MAX; i++)
		if (keys(p)[i].erase_ms > now)
			k[n++] = keys(p)[i];
	if (fresh)
		make(p, gen, k, n - 1);
	e = p->c.save(p->c.ctx, k, n);
	if (e != ERR_OK) {
		secret_free(&next);
		return e;
	}
	secret_free(&p->room);
	p->room = next;
	p->n = n;
	if (fresh)
		p->top_gen = k[0].gen;
	return ERR_OK;
}

static bool something_over(const struct im2_prekeys *p)
{
	uint64_t now = running(p);

	for (size_t i = 0; i < p->n; i++)
		if (keys(p)[i].erase_ms <= now)
			return true;
	return false;
}

enum err im2_prekeys_tick(struct im2_prekeys *p, bool *changed)
{
	bool fresh = due(p);
	enum err e = ERR_OK;

	*changed = false;
	if (fresh || something_over(p))
		e = renew(p, fresh, p->top_gen ? p->top_gen + 1 : 0);
	if (e == ERR_OK && p->n && (fresh || p->record.n == 0)) {
		e = restate(p);
		*changed = e == ERR_OK;
	}
	if (e != ERR_OK)
		p->retry_ms = env_now(p->c.env) + RETRY_MS;
	return e;
}

enum err im2_prekeys_behind(struct im2_prekeys *p, uint64_t gen)
{
	enum err e;

	if (gen < p->top_gen)
		return ERR_OK;
	if (gen >= IM2_GEN_MAX)
		return ERR_LIMIT;
	e = renew(p, true, gen + 1);
	return e == ERR_OK ? restate(p) : e;
}

uint64_t im2_prekeys_deadline_ms(const struct im2_prekeys *p)
{
	uint64_t now = running(p), next = UINT64_MAX, at;

	if (due(p) || (p->n && p->record.n == 0))
		next = now;
	else if (p->n && p->top_gen < IM2_GEN_MAX)
		next = made_ms(p) + p->t->every_ms;
	for (size_t i = 0; i < p->n; i++)
		if (keys(p)[i].erase_ms < next)
			next = keys(p)[i].erase_ms;
	if (next == UINT64_MAX)
		return next;
	at = env_now(p->c.env) + (next > now ? next - now : 0);
	return at > p->retry_ms ? at : p->retry_ms;
}

struct bytes im2_prekeys_record(const struct im2_prekeys *p)
{
	return buf_bytes(&p->record);
}

const struct im2_prekey *im2_prekeys_find(const struct im2_prekeys *p, const uint8_t id[static 4])
{
	for (size_t i = 0; i < p->n; i++)
		if (memcmp(keys(p)[i].id, id, 4) == 0)
			return keys(p)[i].erase_ms > running(p) ? &keys(p)[i] : NULL;
	return NULL;
}
