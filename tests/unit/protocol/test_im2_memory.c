#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "protocol/im2/cpace.h"
#include "protocol/im2/im2_internal.h"
#include "protocol/im2/seal.h"
#include "tests/lib/protocol_im2_pair.h"

/*
 * Secrets of im2 are gone from the process when their time is over: all memory that can be written (heap, freed heap,
 * stacks, globals, guarded pages) is searched for them. What is searched for is known because the test gives out the
 * chance and looks into the tables; it keeps it masked, so that it does not find itself.
 */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SCANS 0 /* shadow memory and a quarantine of freed blocks: nothing to be learned there */
#else
#define SCANS 1
#endif

#define SECRET 32
#define SECRETS_MAX 512
#define MASK(i) ((uint8_t)(0xa7 + 31 * (i)))

struct masked {
	uint8_t p[SECRET];
	const char *what;
};
static struct masked secrets[SECRETS_MAX];
static size_t secrets_n;

/* Not inlined and without locals that hold a secret: what is left on the stack would be found. */
__attribute__((noinline)) static void remember(const uint8_t *p, const char *what)
{
	assert_true(secrets_n < SECRETS_MAX);
	struct masked *m = &secrets[secrets_n++];

	m->what = what;
	for (size_t i = 0; i < SECRET; i++)
		m->p[i] = p[i] ^ MASK(i);
}

static bool is_secret(const uint8_t *at, const struct masked *m)
{
	for (size_t i = 0; i < SECRET; i++)
		if ((uint8_t)(at[i] ^ MASK(i)) != m->p[i])
			return false;
	return true;
}

struct region {
	const uint8_t *from, *to;
	char name[64];
};
static struct region regions[4096];

static size_t read_regions(void)
{
	char line[512];
	size_t n = 0;
	FILE *f = fopen("/proc/self/maps", "re");

	assert_non_null(f);
	while (n < sizeof regions / sizeof *regions && fgets(line, sizeof line, f)) {
		unsigned long from, to;
		char perms[8], name[256] = "";

		if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %255[^\n]", &from, &to, perms, name) < 3)
			continue;
		if (perms[0] != 'r' || perms[1] != 'w')
			continue;
		regions[n].from = (const uint8_t *)from;
		regions[n].to = (const uint8_t *)to;
		snprintf(regions[n].name, sizeof regions[n].name, "%.63s", name[0] ? name : "(anonymous)");
		n++;
	}
	fclose(f);
	return n;
}

/* How many secrets named `what` (NULL: any) stand in memory; says where. */
static size_t found(const char *what, bool say)
{
	size_t n = read_regions(), hits = 0;

	for (size_t r = 0; r < n; r++) {
		for (const uint8_t *p = regions[r].from; p + SECRET <= regions[r].to; p++) {
			for (size_t i = 0; i < secrets_n; i++) {
				const struct masked *m = &secrets[i];

				if ((uint8_t)(p[0] ^ MASK(0)) != m->p[0] || (uint8_t)(p[1] ^ MASK(1)) != m->p[1] ||
				    (what && m->what != what) || !is_secret(p, m))
					continue;
				hits++;
				if (say)
					printf("still there: %s #%zu at %p in %s\n", m->what, i, (const void *)p,
					       regions[r].name);
			}
		}
	}
	return hits;
}

static const char EPHEMERAL[] = "drawn by a handshake", SCALAR[] = "CPace scalar", SESSION_KEY[] = "session key", EXPORTER[] = "exporter",
		  PAIR[] = "pair secret", MESH[] = "mesh key", PREKEY[] = "prekey";

/* --- chance that is known --- */

static uint64_t chance_state;

/* Straight into `out`: nothing of it stays behind here. */
static void chance(void *ctx, void *out, size_t n)
{
	uint8_t *p = out;

	for (size_t i = 0; i < n; i++) {
		chance_state = chance_state * 6364136223846793005u + 1442695040888963407u;
		p[i] = (uint8_t)(chance_state >> 33);
	}
	/* Keys, scalars (of 64 bytes, reduced later) and ephemerals; nonces of S1 are public and come first. */
	if (n >= SECRET)
		remember(p, EPHEMERAL);
	if (n == 64) {
		uint8_t scalar[SECRET];

		cpace_scalar(p, scalar);
		remember(scalar, SCALAR);
		wipe(scalar, sizeof scalar);
	}
}

struct world {
	struct penv e;
	struct inode a, b;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	if (!w || secret_init_library() != ERR_OK)
		return -1;
	secrets_n = 0;
	chance_state = 12345;
	penv_init(&w->e);
	w->e.env.random = chance;
	inode_init(&w->a, &w->e, 0, NULL);
	inode_init(&w->b, &w->e, 1, NULL);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	if (w->a.host)
		inode_fini(&w->a);
	if (w->b.host)
		inode_fini(&w->b);
	free(w);
	return 0;
}

static void remember_session(const struct im2_session *s)
{
	if (!s)
		return;
	remember(s->tx.key, SESSION_KEY);
	remember(s->rx, SESSION_KEY);
	remember(s->exporter, EXPORTER);
}

static void remember_current(struct world *w)
{
	remember_session(im2_peer_find(w->a.host, keyring_ed(w->b.k))->current);
	remember_session(im2_peer_find(w->b.host, keyring_ed(w->a.k))->current);
}

static void talk(struct ipath *p)
{
	struct message m = imessage(1, "some words");

	for (unsigned i = 0; i < 3; i++) {
		m.wire_id[15] = (uint8_t)(m.wire_id[15] + 1);
		assert_int_equal(session_send(p->a.s, &m), ERR_OK);
		assert_int_equal(session_send(p->b.s, &m), ERR_OK);
		ipath_flush(p);
		end_forget(&p->a);
		end_forget(&p->b);
	}
}

/* S1 is said by the listener and public: not a secret. */
static void forget_s1(void)
{
	for (size_t i = 0; i < secrets_n; i++)
		if (secrets[i].what == EPHEMERAL) {
			memmove(&secrets[i], &secrets[i + 1], (secrets_n - i - 1) * sizeof secrets[0]);
			secrets_n--;
			return;
		}
}

static struct ipath *online(struct world *w, bool known)
{
	struct ipath_opts o = {.transport = IM2_WEBSOCKET, .expect = known};
	size_t before = secrets_n;
	struct ipath *p = ipath_online(&w->a, &w->b, &o);

	assert_true(secrets_n > before);
	if (before == 0)
		forget_s1();
	return p;
}

static void assert_gone(const char *what)
{
	if (SCANS)
		assert_int_equal(found(what, true), 0);
}

static void assert_there(const char *what)
{
	if (SCANS)
		assert_true(found(what, false) > 0);
}

static void the_search_finds_what_is_there(void **state)
{
	uint8_t *p = malloc(100);

	assert_non_null(p);
	chance_state = 99;
	secrets_n = 0;
	for (size_t i = 0; i < 100; i++)
		p[i] = (uint8_t)(i * i + 7);
	remember(p + 33, PREKEY);
	assert_there(PREKEY);
	wipe(p, 100);
	assert_gone(PREKEY);
	free(p);
}

static void a_handshake_leaves_nothing_but_its_session(void **state)
{
	struct world *w = *state;
	struct ipath *p = ipath_new(&w->a, &w->b, NULL);

	/* The scalars as they were drawn and as they are used, and the ephemerals of both ends. */
	ipath_start(p);
	forget_s1();
	ipath_move(p, &p->b, 1);
	assert_there(SCALAR);
	assert_there(EPHEMERAL);
	ipath_move(p, &p->a, 1);
	ipath_move(p, &p->b, 1);
	assert_gone(SCALAR);
	assert_there(EPHEMERAL);
	ipath_flush(p);
	assert_true(session_online(p->a.s) && session_online(p->b.s));
	talk(p);
	assert_gone(EPHEMERAL);
	assert_gone(SCALAR);
	/* The search would find the keys of the session, which it needs. */
	remember_current(w);
	assert_there(SESSION_KEY);
	/* The pair secret is the trust store's; the session keeps no copy once it is confirmed. */
	for (unsigned i = 0; i < 2; i++) {
		struct ipin *pin = i ? inode_pin(&w->b, &w->a) : inode_pin(&w->a, &w->b);

		assert_true(pin->psks.has_confirmed);
		remember(pin->psks.confirmed.key, PAIR);
		assert_there(PAIR);
		psks_wipe(&pin->psks);
	}
	assert_gone(PAIR);
	ipath_free(p);
}

static void the_keys_of_a_session_go_with_it(void **state)
{
	struct world *w = *state;
	struct ipath *p = online(w, false);

	talk(p);
	remember_current(w);
	assert_there(SESSION_KEY);
	assert_int_equal(session_goodbye(p->a.s), ERR_OK);
	ipath_flush(p);
	ipath_free(p);
	im2_host_tick(w->a.host);
	im2_host_tick(w->b.host);
	assert_gone(SESSION_KEY);
	assert_gone(EXPORTER);
}

static void an_overlap_ends(void **state)
{
	struct world *w = *state;
	struct ipath *p = online(w, true);

	talk(p);
	remember_current(w);
	assert_int_equal(session_rekey(p->a.s), ERR_OK);
	ipath_flush(p);
	talk(p);
	/* Until its end the former session still opens what is under way. */
	assert_there(SESSION_KEY);
	for (unsigned i = 0; i < 7; i++) {
		ipath_tick(p, 10000);
		ipath_flush(p);
	}
	talk(p);
	assert_gone(SESSION_KEY);
	assert_gone(EXPORTER);
	assert_gone(EPHEMERAL);
	ipath_free(p);
}

static void a_handshake_that_fails_leaves_nothing(void **state)
{
	struct world *w = *state;

	/* Another passphrase; an end between X2 and X3; an I1 without an answer. */
	inode_mesh_key(&w->b, "another");
	struct ipath *p = ipath_new(&w->a, &w->b, NULL);
	ipath_start(p);
	forget_s1();
	ipath_flush(p);
	ipath_free(p);
	assert_gone(EPHEMERAL);
	assert_gone(SCALAR);
	inode_mesh_key(&w->b, MESH_PASSPHRASE);
	p = ipath_new(&w->a, &w->b, &(struct ipath_opts){.transport = IM2_SERIAL});
	ipath_start(p);
	ipath_move(p, &p->a, 1);
	ipath_free(p);
	assert_gone(EPHEMERAL);
	assert_gone(SCALAR);
	inode_know(&w->a, &w->b);
	p = ipath_new(&w->a, &w->b, &(struct ipath_opts){.transport = IM2_SERIAL, .expect = true});
	ipath_start(p);
	ipath_free(p);
	assert_gone(EPHEMERAL);
}

static void a_host_takes_everything_along(void **state)
{
	struct world *w = *state;
	struct ipath *p = online(w, false);
	struct bytes mesh = im2_host_prs(w->a.host, 0);

	remember(mesh.p, MESH);
	talk(p);
	remember_current(w);
	ipath_free(p);
	assert_there(SESSION_KEY); /* a session outlives its connection (7.7) */
	assert_there(MESH);
	inode_fini(&w->a);
	inode_fini(&w->b);
	assert_gone(NULL);
}

static enum err save_nowhere(void *ctx, const struct im2_prekey *keys, size_t n)
{
	return ERR_OK;
}

static void an_erased_prekey_is_nowhere(void **state)
{
	struct world *w = *state;
	struct im2_prekeys_config c = {.env = &w->e.env, .keyring = w->a.k, .save = save_nowhere};
	struct im2_prekeys *p;
	const struct im2_prekey *k;
	uint8_t id[4];
	struct bytes record;
	struct im2_record r;
	struct im2_prekey_said said;
	bool changed;

	assert_int_equal(im2_prekeys_new(&c, NULL, 0, &p), ERR_OK);
	secrets_n = 0;
	assert_int_equal(im2_prekeys_tick(p, &changed), ERR_OK);
	record = im2_prekeys_record(p);
	assert_int_equal(im2_record_parse(record, &r), IM2_FINE);
	assert_int_equal(im2_prekey_of(&r, &said), IM2_FINE);
	memcpy(id, said.id, sizeof id);
	k = im2_prekeys_find(p, id);
	assert_non_null(k);
	secrets_n = 0;
	remember(k->secret, PREKEY);
	assert_there(PREKEY);
	for (unsigned i = 0; i < 12; i++) {
		penv_pass(&w->e, 6 * 3600000);
		assert_int_equal(im2_prekeys_tick(p, &changed), ERR_OK);
	}
	assert_null(im2_prekeys_find(p, id));
	assert_gone(PREKEY);
	im2_prekeys_free(p);
	assert_gone(NULL);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(the_search_finds_what_is_there),
		T(a_handshake_leaves_nothing_but_its_session),
		T(the_keys_of_a_session_go_with_it),
		T(an_overlap_ends),
		T(a_handshake_that_fails_leaves_nothing),
		T(a_host_takes_everything_along),
		T(an_erased_prekey_is_nowhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
