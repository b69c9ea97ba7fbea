#include "trust/psks.h"

#include "base/hash.h"
#include "base/secret.h"

#define NOT_FOUND (-1)

void psk_of(const uint8_t key[static PSK_BYTES], struct psk *out)
{
	static const char label[] = "ironmesh-im2/psk-id"; /* with its NUL */
	uint8_t digest[HASH_BYTES];

	sha256_2(BYTES_ARR(label), bytes_of(key, PSK_BYTES), digest);
	memmove(out->key, key, PSK_BYTES);
	memcpy(out->id, digest, PSK_ID);
}

static int find(const struct psks *p, const uint8_t key[static PSK_BYTES])
{
	for (int i = 0; i < p->candidates_n; i++) {
		if (ct_equal(p->candidates[i].key, key, PSK_BYTES))
			return i;
	}
	return NOT_FOUND;
}

static bool is_confirmed(const struct psks *p, const uint8_t key[static PSK_BYTES])
{
	return p->has_confirmed && ct_equal(p->confirmed.key, key, PSK_BYTES);
}

/* Puts `k` first; the one at `leaves` goes, or with a full list the oldest. */
static void put_first(struct psks *p, const struct psk *k, int leaves)
{
	size_t kept = leaves >= 0 ? (size_t)leaves : p->candidates_n;

	if (leaves < 0 && p->candidates_n < PSK_CANDIDATES)
		p->candidates_n++;
	if (kept >= PSK_CANDIDATES)
		kept = PSK_CANDIDATES - 1;
	memmove(p->candidates + 1, p->candidates, kept * sizeof p->candidates[0]);
	p->candidates[0] = *k;
}

static void take_out(struct psks *p, int at)
{
	size_t after = (size_t)(p->candidates_n - at - 1);

	memmove(p->candidates + at, p->candidates + at + 1, after * sizeof p->candidates[0]);
	wipe(&p->candidates[--p->candidates_n], sizeof p->candidates[0]);
}

bool psks_candidate(struct psks *p, const uint8_t key[static PSK_BYTES])
{
	struct psk k;

	if (is_confirmed(p, key) || find(p, key) != NOT_FOUND)
		return false;
	psk_of(key, &k);
	bool named = !is_zero(k.id, PSK_ID);
	if (named)
		put_first(p, &k, NOT_FOUND);
	wipe(&k, sizeof k);
	return named;
}

bool psks_confirm(struct psks *p, const uint8_t key[static PSK_BYTES], bool *replaced)
{
	struct psk k;
	int at = find(p, key);

	if (replaced)
		*replaced = false;
	psk_of(key, &k); /* before the list moves: `key` may lie in it */
	if (is_confirmed(p, key) || is_zero(k.id, PSK_ID)) {
		wipe(&k, sizeof k);
		return false;
	}
	if (replaced)
		*replaced = p->has_confirmed;
	if (p->has_confirmed)
		put_first(p, &p->confirmed, at);
	else if (at != NOT_FOUND)
		take_out(p, at);
	p->confirmed = k;
	p->has_confirmed = true;
	wipe(&k, sizeof k);
	return true;
}

const struct psk *psks_try(const struct psks *p, unsigned i, bool *none)
{
	*none = !p->has_confirmed && i == 0;
	if (i == 0)
		return p->has_confirmed ? &p->confirmed : NULL;
	return i <= p->candidates_n ? &p->candidates[i - 1] : NULL;
}

const struct psk *psks_accept(const struct psks *p, const uint8_t id[static PSK_ID], bool *none)
{
	*none = false;
	if (is_zero(id, PSK_ID)) {
		*none = !p->has_confirmed;
		return NULL;
	}
	if (p->has_confirmed && memcmp(p->confirmed.id, id, PSK_ID) == 0)
		return &p->confirmed;
	for (size_t i = 0; i < p->candidates_n; i++) {
		if (memcmp(p->candidates[i].id, id, PSK_ID) == 0)
			return &p->candidates[i];
	}
	return NULL;
}

void psks_wipe(struct psks *p)
{
	wipe(p, sizeof *p);
}
