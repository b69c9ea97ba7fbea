/* rooms: protocol trust base */
/*
 * The units of the handshake, both roles. The first byte chooses the role and how many honest units
 * go before the one under test: a puppet plays them, then the input is heard. Only an honest puppet
 * gets a session online, and a listener names itself only after the decision.
 */
#include "tests/lib/protocol_env.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct keyring *ours;

static void hear(struct end *e, const uint8_t *p, size_t n)
{
	end_take(e, p, n, true);
	BUG_ON(session_online(e->s));
	BUG_ON(end_count(e, SESSION_EV_ONLINE) != 0);
}

/* Honest unit number `step` of the puppet, as wire 2 has them. */
static void honest(struct puppet *p, struct end *e, int step)
{
	char proof[PROOF_HEX + 1];
	struct buf b;

	buf_init(&b, 65536);
	if (p->dials) {
		if (step == 0) {
			json_t *o = json_loadb((const char *)e->wire[0].p, e->wire[0].n, 0, NULL);
			struct challenge c;

			BUG_ON(!o || challenge_read(o, &c) != ERR_OK);
			json_decref(o);
			memcpy(p->nonce, c.nonce, sizeof p->nonce);
			proof_of_client(BYTES_LIT(MESH_PASSPHRASE), p->nonce, proof);
			proof_write(&b, keyring_id(p->k), proof);
		}
	} else if (step == 0) {
		challenge_write(&b, keyring_id(p->k), p->nonce, false);
	} else {
		proof_of_server(BYTES_LIT(MESH_PASSPHRASE), p->nonce, proof);
		verified_write(&b, keyring_id(p->k), proof);
	}
	BUG_ON(b.err != ERR_OK);
	end_take(e, b.p, b.n, true);
	buf_fini(&b);
	BUG_ON(session_over(e->s));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct end e;
	struct penv env;
	struct puppet p;
	struct session *s;
	bool listener;

	if (size < 1 || size > SESSION_HANDSHAKE_UNIT_MAX + 2)
		return 0;
	if (!ours)
		ours = keyring_number(0);
	listener = data[0] & 1;
	penv_init(&env);
	struct session_config c =
		test_config(&env, ours, listener ? SESSION_LISTENER : SESSION_DIALLER);
	BUG_ON(v09_session_new(&c, &s) != ERR_OK);
	end_init(&e, s);
	e.hold = true;
	session_start(s);
	end_drain(&e);
	puppet_init(&p, &env, 3, listener);
	int steps = (data[0] >> 1) % (listener ? 2 : 3);
	for (int i = 0; i < steps; i++)
		honest(&p, &e, i);
	size_t said = e.wire_n;
	hear(&e, data + 1, size - 1);
	/* No key of ours or of the puppet signed the input over this nonce. */
	BUG_ON(end_count(&e, SESSION_EV_IDENTIFIED) != 0);
	if (session_over(s)) {
		const struct seen *o = end_last(&e, SESSION_EV_OVER);

		BUG_ON(!o || o->err == ERR_OK || !o->word[0]);
		BUG_ON(e.wire_n > said + 1);
		if (!listener)
			BUG_ON(e.wire_n != said); /* a client fails silently */
	}
	end_fini(&e);
	puppet_fini(&p);
	return 0;
}
