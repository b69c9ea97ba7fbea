/* rooms: protocol trust base */
/*
 * The first units of a connection: what a listener that offers im2 does with them, and what a dialler makes of
 * S1, JSON or binary. The input is a mode byte and units, each with a byte for text or binary and two for its
 * length. What must always hold: a dialler that must not speak 0.9 never says a text, no input makes
 * anybody known or online, and the look at a challenge agrees with the session that takes it.
 */
#include "tests/lib/protocol_env.c"
#include "tests/lib/protocol_im2_pair.c"

#include "protocol/opening.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
	static struct end end;
	struct penv e;
	struct inode node;
	struct session *s;
	bool listener, never_09;

	if (size < 1 || size > 8192)
		return 0;
	penv_init(&e);
	inode_init(&node, &e, 1, NULL); /* knows nobody */
	listener = data[0] & 1;
	never_09 = !listener && (data[0] & 2);
	struct opening_config c = {
		.v09 = test_config(&e, node.k, listener ? SESSION_LISTENER : SESSION_DIALLER),
		.im2 = node.host,
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
			looks_agree(&e, node.k, bytes_of(data + i, n));
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
	inode_fini(&node);
	return 0;
}
