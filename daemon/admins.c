#include "daemon/admins.h"

#include <stdio.h>

#include "base/text.h"

#define QUORUM_MIN 2 /* one signature is a quarantine */

static enum err key_parse(struct bytes word, uint8_t ed[static ED_BYTES], struct fault *f)
{
	uint8_t image[X25519_BYTES];
	char safe[80];
	enum err e = word.n == 2 * ED_BYTES ? hex_decode(word, ed, ED_BYTES) : base64_decode_exact(word, ed, ED_BYTES);

	if (e == ERR_OK && ed_to_x25519(ed, image) == ERR_OK)
		return ERR_OK;
	fault_set(f, ERR_USAGE, EXIT_USAGE, "--revoke-admins: '%s' is not a public key", text_safe(word, safe, sizeof safe));
	fault_means(f, "An entry is the public key that `ironmesh keys show` prints (base64), or its 64 hex digits; a "
		       "fingerprint is too short.");
	return ERR_USAGE;
}

enum err admins_add(struct admins *a, const char *list, struct fault *f)
{
	static const char gaps[] = ", \t\r\n";
	size_t before = a->n;
	enum err e = ERR_OK;

	for (const char *s = list + strspn(list, gaps); e == ERR_OK && *s; s += strspn(s, gaps)) {
		size_t n = strcspn(s, gaps);
		uint8_t ed[ED_BYTES];

		e = key_parse(bytes_of(s, n), ed, f);
		for (size_t i = 0; e == ERR_OK && i < a->n; i++)
			if (memcmp(a->ed[i], ed, ED_BYTES) == 0)
				e = fault_set(f, ERR_USAGE, EXIT_USAGE, "--revoke-admins names %.*s twice", (int)n, s);
		if (e == ERR_OK && a->n == ADMINS_MAX)
			e = fault_set(f, ERR_USAGE, EXIT_USAGE, "--revoke-admins names more than %d keys", ADMINS_MAX);
		if (e == ERR_OK)
			memcpy(a->ed[a->n++], ed, ED_BYTES);
		s += n;
	}
	if (e != ERR_OK)
		a->n = before;
	return e;
}

enum err admins_settle(struct admins *a, struct fault *f)
{
	if (a->n == 0 && a->quorum)
		return fault_set(f, ERR_USAGE, EXIT_USAGE, "--revoke-quorum needs --revoke-admins");
	if (a->n == 0)
		return ERR_OK;
	if (a->n < QUORUM_MIN) {
		fault_set(f, ERR_USAGE, EXIT_USAGE, "--revoke-admins needs at least %d keys", QUORUM_MIN);
		fault_means(f, "One signature alone only sets an identity aside for a day.");
		return ERR_USAGE;
	}
	if (!a->quorum)
		a->quorum = (unsigned)a->n / 2 + 1;
	if (a->quorum < QUORUM_MIN || a->quorum > a->n) {
		fault_set(f, ERR_USAGE, EXIT_USAGE, "--revoke-quorum: %u is not between %d and the %zu keys of --revoke-admins",
			  a->quorum, QUORUM_MIN, a->n);
		return ERR_USAGE;
	}
	return ERR_OK;
}
