/* rooms: protocol trust base */
/*
 * The first units of a connection: what a listener that offers im2 does with them, and what a dialler makes of
 * S1, JSON or binary. The input is a mode byte and units, each with a byte for text or binary and two for its
 * length. What must always hold: a dialler that must not speak 0.9 never says a text, no input makes
 * anybody known or online, and the look at a challenge agrees with the session that takes it.
 */
#include "tests/lib/protocol_env.c"

#include "protocol/opening.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool nobody(void *ctx, const uint8_t key[static 32], struct im2_known *out)
{
	return false;
}

static void no_psks(void *ctx, const uint8_t ed[static 32], struct psks *out)
{
	memset(out, 0, sizeof *out);
}

static enum err put_psks(void *ctx, const uint8_t ed[static 32], const struct psks *p, bool replaced)
{
	return ERR_OK;
}

static enum err prove(void *ctx, const uint8_t ed[static 32], const uint8_t x[static 32])
{
	return ERR_OK;
}

static uint32_t guess(void *ctx, void *owner)
{
	return 0;
}

static void guessed(void *ctx, void *owner)
{
}

static struct im2_host *host_new(struct penv *e, const struct keyring *k)
{
	struct im2_host_config c = {
		.env = &e->env,
		.keyring = k,
		.name = "fuzz",
		.trust = {.by_x = nobody, .by_ed = nobody, .psks_get = no_psks, .psks_put = put_psks, .prove = prove,
			  .guess = guess, .guess_good = guessed, .guess_bad_dial = guessed},
		.max_unit = 131072,
		.credit = 262144,
	};
	struct im2_host *h;
	uint8_t key[32] = {7};

	BUG_ON(im2_host_new(&c, &h) != ERR_OK || im2_host_mesh_key(h, 0, BYTES_ARR(key)) != ERR_OK);
	return h;
}

/* A challenge to the look is one to a session of 0.9, and the other way round. */
static void looks_agree(struct penv *e, const struct keyring *k, struct bytes unit)
{
	struct session_config c = test_config(e, k, SESSION_DIALLER);
	struct session_unit u;
	struct session *s;
	uint8_t nonce[32];
	bool offers, challenge = v09_challenge_peek(unit, nonce, &offers), answered;

	BUG_ON(v09_session_new(&c, &s) != ERR_OK);
	session_start(s);
	session_take(s, unit, true);
	answered = session_next_unit(s, &u);
	BUG_ON(answered && !challenge);
	/* The session also refuses palindromes and itself. */
	BUG_ON(challenge && !answered && !nonce_is_palindrome(nonce) && !memmem(unit.p, unit.n, "from", 4));
	session_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct keyring *k;
	static struct end end;
	struct penv e;
	struct im2_host *h;
	struct session *s;
	bool listener, never_09;

	if (size < 1 || size > 8192)
		return 0;
	penv_init(&e);
	if (!k)
		k = keyring_number(1);
	listener = data[0] & 1;
	never_09 = !listener && (data[0] & 2);
	h = host_new(&e, k);
	struct opening_config c = {
		.v09 = test_config(&e, k, listener ? SESSION_LISTENER : SESSION_DIALLER),
		.im2 = h,
		.pinned_im2 = never_09,
		.require = data[0] & 4,
		.link = {.transport = IM2_WEBSOCKET},
	};
	never_09 |= !listener && c.require;
	BUG_ON(opening_new(&c, &s) != ERR_OK);
	memset(&end, 0, sizeof end);
	end_init(&end, s);
	session_start(end.s);
	end_drain(&end);
	end_forget(&end);
	for (size_t i = 1; size - i >= 3 && i < size;) {
		bool text = data[i] & 1;
		size_t n = (size_t)data[i + 1] << 8 | data[i + 2];

		i += 3;
		if (n > size - i)
			n = size - i;
		if (i == 4)
			looks_agree(&e, k, bytes_of(data + i, n));
		if (data[i - 3] & 2) {
			penv_pass(&e, 1500);
			session_tick(end.s);
		}
		session_take(end.s, bytes_of(data + i, n), text);
		end.s = opening_settle(end.s);
		end_drain(&end);
		i += n;
		BUG_ON(session_online(end.s));
		BUG_ON(end_count(&end, SESSION_EV_IDENTIFIED) || end_count(&end, SESSION_EV_OVER) > 1);
		BUG_ON((end_count(&end, SESSION_EV_OVER) == 1) != session_over(end.s));
		for (size_t j = 0; j < end.wire_n; j++)
			BUG_ON(end.wire[j].text && never_09);
		while (end.wire_n)
			free(end_pop(&end).p);
	}
	end_fini(&end);
	im2_host_free(h);
	return 0;
}
