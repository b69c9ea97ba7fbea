/* rooms: protocol trust base */
/*
 * First byte: the door. 0: the bytes are a frame as it arrives, and nothing forged may open. 1: the
 * bytes are a body that the other end really sealed and signed, so that everything behind the
 * cryptography is reached. Whatever comes, the session stays or ends in order, and what it delivers
 * is what the body said.
 */
#include "tests/lib/protocol_env.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct penv env;
static struct keyring *ours;

static struct session *new_session(void)
{
	struct session *s;
	struct session_config c;

	if (!ours)
		ours = keyring_number(0);
	penv_init(&env);
	c = test_config(&env, ours, SESSION_LISTENER);
	BUG_ON(v09_session_new(&c, &s) != ERR_OK);
	session_start(s);
	return s;
}

static void check(const struct end *e, const char *body, bool real)
{
	for (size_t i = 0; i < e->log_n; i++) {
		const struct seen *x = &e->log[i];

		BUG_ON(x->type == SESSION_EV_IDENTIFIED || x->type == SESSION_EV_ONLINE);
		if (!real)
			BUG_ON(x->type != SESSION_EV_DROPPED);
		if (x->type == SESSION_EV_DROPPED || x->type == SESSION_EV_OVER)
			BUG_ON(x->err == ERR_OK || !x->word[0]);
		if (x->type == SESSION_EV_MESSAGE) {
			BUG_ON(!x->id[0]);
			BUG_ON(!strstr(body, "sequence")); /* a peer of 0.9 without it is refused */
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct end e; /* large; one at a time */
	struct puppet p;

	if (size < 1 || size > 65536)
		return 0;
	end_init(&e, new_session());
	puppet_init(&p, &env, 3, true);
	p.acks = data[0] & 2;
	end_drain(&e);
	BUG_ON(!puppet_handshake(&p, &e));
	end_forget(&e);
	if (!(data[0] & 1)) {
		end_take(&e, data + 1, size - 1, data[0] & 4);
		check(&e, "", false);
	} else {
		char *body = malloc(size);
		uint8_t *f;

		memcpy(body, data + 1, size - 1);
		body[size - 1] = 0;
		/* The sequence and time that the seeds use. */
		size_t n = puppet_seal(&p, body, 1, WALL_T, &f);
		end_take(&e, f, n, false);
		end_take(&e, f, n, false);
		BUG_ON(end_count(&e, SESSION_EV_MESSAGE) > 1);
		check(&e, body, true);
		free(f);
		free(body);
	}
	end_fini(&e);
	puppet_fini(&p);
	return 0;
}
