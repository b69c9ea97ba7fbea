#include "protocol/im2/pair.h"

#include <stdio.h>

#include "base/hash.h"

/* --- the code --- */

enum err im2_code_parse(struct bytes text, char digits[static IM2_CODE_DIGITS])
{
	bool dashes = text.n == IM2_CODE_TEXT - 1;
	char d[IM2_CODE_DIGITS];
	size_t n = 0;

	if (!dashes && text.n != IM2_CODE_DIGITS)
		return ERR_MALFORMED;
	for (size_t i = 0; i < text.n; i++) {
		uint8_t c = text.p[i];

		if (dashes && (i == 2 || i == 6)) {
			if (c != '-')
				return ERR_MALFORMED;
			continue;
		}
		if (c < '0' || c > '9')
			return ERR_MALFORMED;
		d[n++] = (char)c;
	}
	memcpy(digits, d, sizeof d);
	wipe(d, sizeof d);
	return ERR_OK;
}

enum err im2_offer_draw(struct im2_offer *o, struct env *env)
{
	im2_offer_wipe(o);
	if (o->drawn >= IM2_CODES_MAX)
		return ERR_LIMIT;
	o->drawn++;
	uint64_t code = env_uniform(env, 100000000);
	for (size_t i = sizeof o->digits; i-- > 0; code /= 10)
		o->digits[i] = (char)('0' + code % 10);
	o->until_ms = env_now(env) + IM2_CODE_MS;
	o->live = true;
	return ERR_OK;
}

void im2_offer_text(const struct im2_offer *o, char out[static IM2_CODE_TEXT])
{
	const char *d = o->digits;

	BUG_ON(!o->live);
	snprintf(out, IM2_CODE_TEXT, "%.2s-%.3s-%.3s", d, d + 2, d + 5);
}

void im2_offer_wipe(struct im2_offer *o)
{
	wipe(o->digits, sizeof o->digits);
	o->live = false;
}

/* --- the credential --- */

#define GRANT_SECRET_MAX 256
#define GRANT_RECORDS 64
#define GRANT_RECORDS_TAG 8

/* The longest front of the list that takes at most `max` bytes as a field and ends with an element. */
static struct bytes records_that_fit(struct bytes list, size_t max)
{
	struct bytes rest = list, one;
	size_t n = 0;

	for (unsigned i = 0; i < GRANT_RECORDS && rest.n; i++) {
		if (im2_lv_take(&rest, &one) != IM2_FINE ||
		    im2_item_size(GRANT_RECORDS_TAG, list.n - rest.n) > max)
			break;
		n = list.n - rest.n;
	}
	return bytes_of(list.p, n);
}

static void set_if_any(struct im2_fields *f, unsigned i, struct bytes b)
{
	if (b.n)
		im2_set_b(f, i, b);
}

enum err im2_grant_write(const struct im2_grant_offer *g, size_t max, struct secret *out)
{
	struct im2_fields f = {0};
	struct buf b;
	enum err e;

	if (g->kind == IM2_GRANT_MESH_KEY ? g->secret.n != IM2_KEY
					  : g->kind != IM2_GRANT_PASSPHRASE || g->secret.n == 0 ||
						    g->secret.n > GRANT_SECRET_MAX)
		return ERR_USAGE;
	if (max > IM2_GRANT_MAX)
		max = IM2_GRANT_MAX;
	im2_set_u(&f, IM2_GRANT_KIND, g->kind);
	set_if_any(&f, IM2_GRANT_MESH, g->mesh);
	im2_set_b(&f, IM2_GRANT_SECRET, g->secret);
	im2_set_u(&f, IM2_GRANT_PASSGEN, g->passgen);
	set_if_any(&f, IM2_GRANT_DISC, g->disc);
	buf_init(&b, IM2_GRANT_MAX);
	/* All at once: a buffer that grows leaves copies of the secret behind. */
	buf_reserve(&b, g->records.n < IM2_GRANT_MAX / 2 ? g->records.n + 1024 : IM2_GRANT_MAX);
	im2_write(&im2_grant, &f, &b);
	if (b.err == ERR_OK && b.n <= max) {
		set_if_any(&f, IM2_GRANT_RECORDS, records_that_fit(g->records, max - b.n));
		buf_wipe(&b);
		im2_write(&im2_grant, &f, &b);
	}
	e = b.err != ERR_OK ? b.err : b.n > max ? ERR_LIMIT : secret_copy(out, buf_bytes(&b));
	buf_wipe(&b);
	buf_fini(&b);
	return e;
}

enum im2_refusal im2_grant_read(struct bytes value, struct im2_grant_offer *out)
{
	struct im2_fields f;
	enum im2_refusal why = im2_parse(&im2_grant, value, &f);

	if (why != IM2_FINE)
		return why;
	struct im2_grant_offer g = {
		.kind = f.v[IM2_GRANT_KIND].u,
		.secret = f.v[IM2_GRANT_SECRET].b,
		.passgen = (uint16_t)f.v[IM2_GRANT_PASSGEN].u,
	};
	if (im2_has(&f, IM2_GRANT_MESH))
		g.mesh = f.v[IM2_GRANT_MESH].b;
	if (im2_has(&f, IM2_GRANT_DISC))
		g.disc = f.v[IM2_GRANT_DISC].b;
	if (im2_has(&f, IM2_GRANT_RECORDS))
		g.records = f.v[IM2_GRANT_RECORDS].b;
	/* A mesh key of another length would never open anything. */
	if (g.kind == IM2_GRANT_MESH_KEY && g.secret.n != IM2_KEY)
		return IM2_E_LENGTH;
	*out = g;
	return IM2_FINE;
}

/* --- digits to compare --- */

void im2_sas_commit(const uint8_t n_l[static IM2_SAS_NONCE], uint8_t out[static 32])
{
	static const char label[] = "ironmesh-im2/sas-commit"; /* with its zero byte */

	sha256_2(BYTES_ARR(label), bytes_of(n_l, IM2_SAS_NONCE), out);
}

void im2_sas_text(const uint8_t exporter[static 32], const uint8_t n_l[static IM2_SAS_NONCE],
		  const uint8_t n_d[static IM2_SAS_NONCE], char out[static IM2_SAS_TEXT])
{
	uint8_t both[2 * IM2_SAS_NONCE], value[8];

	memcpy(both, n_l, IM2_SAS_NONCE);
	memcpy(both + IM2_SAS_NONCE, n_d, IM2_SAS_NONCE);
	im2_export(exporter, BYTES_LIT("sas"), BYTES_ARR(both), value, sizeof value);
	struct rd r = rd_init(value, sizeof value);
	unsigned n = (unsigned)(rd_u64(&r) % 1000000);
	snprintf(out, IM2_SAS_TEXT, "%03u %03u", n / 1000, n % 1000);
	wipe(both, sizeof both);
	wipe(value, sizeof value);
}
