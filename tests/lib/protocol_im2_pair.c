#include "tests/lib/protocol_im2_pair.h"

#include <stdlib.h>

#include "base/hash.h"

static struct ipath *alive;

/* --- trust --- */

static struct ipin *pin_of(struct inode *n, const uint8_t *ed)
{
	for (unsigned i = 0; i < n->pins_n; i++)
		if (memcmp(n->pins[i].ed, ed, ED_BYTES) == 0)
			return &n->pins[i];
	return NULL;
}

static void known(const struct ipin *p, struct im2_known *out)
{
	memcpy(out->ed, p->ed, sizeof out->ed);
	memcpy(out->x, p->x, sizeof out->x);
	out->refused = p->refused;
	out->trusted = p->trusted;
}

static bool by_x(void *ctx, const uint8_t x[static 32], struct im2_known *out)
{
	struct inode *n = ctx;

	for (unsigned i = 0; i < n->pins_n; i++) {
		if (memcmp(n->pins[i].x, x, X25519_BYTES) != 0)
			continue;
		known(&n->pins[i], out);
		return true;
	}
	return false;
}

static bool by_ed(void *ctx, const uint8_t ed[static 32], struct im2_known *out)
{
	struct ipin *p = pin_of(ctx, ed);

	if (p)
		known(p, out);
	return p != NULL;
}

static void psks_get(void *ctx, const uint8_t ed[static 32], struct psks *out)
{
	struct ipin *p = pin_of(ctx, ed);

	if (p)
		*out = p->psks;
	else
		memset(out, 0, sizeof *out);
}

static enum err psks_put(void *ctx, const uint8_t ed[static 32], const struct psks *psks, bool replaced)
{
	struct inode *n = ctx;
	struct ipin *p = pin_of(n, ed);

	if (n->disk_broken)
		return ERR_STORE;
	BUG_ON(!p);
	p->psks = *psks;
	n->puts++;
	n->replaced += replaced;
	return ERR_OK;
}

static enum err prove(void *ctx, const uint8_t ed[static 32], const uint8_t x[static 32])
{
	struct inode *n = ctx;
	struct ipin *p = pin_of(n, ed);

	if (n->disk_broken)
		return ERR_STORE;
	for (unsigned i = 0; i < n->pins_n; i++)
		if (&n->pins[i] != p && n->pins[i].proven && memcmp(n->pins[i].x, x, X25519_BYTES) == 0)
			return ERR_EXISTS;
	if (!p) {
		BUG_ON(n->pins_n == IPINS_MAX);
		p = &n->pins[n->pins_n++];
		memset(p, 0, sizeof *p);
		memcpy(p->ed, ed, ED_BYTES);
	}
	memcpy(p->x, x, X25519_BYTES);
	p->proven = true;
	n->proofs++;
	return ERR_OK;
}

static uint32_t guess(void *ctx, void *owner)
{
	struct inode *n = ctx;

	if (!n->busy_s)
		n->guesses++;
	return n->busy_s;
}

static void guess_good(void *ctx, void *owner)
{
	((struct inode *)ctx)->good++;
}

static void guess_bad_dial(void *ctx, void *owner)
{
	((struct inode *)ctx)->bad_dials++;
}

/* --- nodes --- */

/* Argon2id has a test of its own; here a key is a key. */
void inode_mesh_key(struct inode *n, const char *word)
{
	uint8_t key[32];

	sha256(bytes_str(word), key);
	BUG_ON(im2_host_mesh_key(n->host, 0, BYTES_ARR(key)) != ERR_OK);
}

static void make_host(struct inode *n)
{
	BUG_ON(im2_host_new(&n->c, &n->host) != ERR_OK);
	inode_mesh_key(n, MESH_PASSPHRASE);
}

void inode_init(struct inode *n, struct penv *e, unsigned number, const struct im2_host_config *c)
{
	memset(n, 0, sizeof *n);
	n->e = e;
	n->k = keyring_number(number);
	if (c)
		n->c = *c;
	n->c.env = &e->env;
	n->c.keyring = n->k;
	if (!n->c.name)
		n->c.name = number ? "bob" : "alice";
	n->c.trust = (struct im2_trust){ n, by_x, by_ed, psks_get, psks_put, prove, guess, guess_good, guess_bad_dial };
	make_host(n);
}

void inode_fini(struct inode *n)
{
	struct ipath *p = alive, *next;

	for (; p; p = next) {
		next = p->next;
		if (p->na == n || p->nb == n)
			ipath_free(p);
	}
	im2_host_free(n->host);
	keyring_free(n->k);
	memset(n, 0, sizeof *n);
}

void inode_restart(struct inode *n)
{
	im2_host_free(n->host);
	make_host(n);
}

struct ipin *inode_pin(struct inode *n, const struct inode *who)
{
	return pin_of(n, keyring_ed(who->k));
}

struct ipin *inode_know(struct inode *n, const struct inode *who)
{
	struct ipin *p = inode_pin(n, who);

	if (!p) {
		BUG_ON(n->pins_n == IPINS_MAX);
		p = &n->pins[n->pins_n++];
		memset(p, 0, sizeof *p);
		memcpy(p->ed, keyring_ed(who->k), ED_BYTES);
	}
	memcpy(p->x, keyring_x25519(who->k), X25519_BYTES);
	return p;
}

/* --- connections --- */

static struct session *link_of(struct inode *n, const struct ipath_opts *o, enum session_role role, const uint8_t *expected,
			       struct bytes s1, const uint8_t *nonce)
{
	static const uint8_t link_id[16] = { 1, 2, 3 };
	struct im2_link_config c = { .role = role, .owner = n, .transport = o->transport, .pair_path = o->pair_path,
				     .s1 = s1, .source = bytes_str(o->source ? o->source : "") };
	struct session *s;

	if (o->transport == IM2_RNS_LINK || o->transport == IM2_RNS_PACKET)
		c.chan = BYTES_ARR(link_id);
	if (expected) {
		c.has_expected = true;
		memcpy(c.expected, expected, ED_BYTES);
		c.owner_compares = o->owner_compares;
	}
	memcpy(c.nonce_s, nonce, sizeof c.nonce_s);
	BUG_ON(im2_link_new(n->host, &c, &s) != ERR_OK);
	return s;
}

struct ipath *ipath_new(struct inode *a, struct inode *b, const struct ipath_opts *o)
{
	static const struct ipath_opts plain = { .transport = IM2_WEBSOCKET };
	struct ipath *p = calloc(1, sizeof *p);
	const uint8_t *expected;
	struct bytes s1 = { 0 };
	uint8_t nonce[32] = { 0 };

	BUG_ON(!p);
	o = o ? o : &plain;
	if (o->text_s1) {
		s1 = BYTES_LIT("{\"suites\": [\"im2\"]}");
		env_random(&a->e->env, nonce, sizeof nonce);
	}
	expected = o->expected ? o->expected : o->expect ? keyring_ed(b->k) : NULL;
	p->na = a;
	p->nb = b;
	p->next = alive;
	alive = p;
	end_init(&p->a, link_of(a, o, SESSION_DIALLER, expected, s1, nonce));
	end_init(&p->b, link_of(b, o, SESSION_LISTENER, NULL, s1, nonce));
	return p;
}

void ipath_free(struct ipath *p)
{
	if (!p)
		return;
	for (struct ipath **at = &alive; *at; at = &(*at)->next) {
		if (*at != p)
			continue;
		*at = p->next;
		break;
	}
	end_fini(&p->a);
	end_fini(&p->b);
	free(p);
}

void ipath_start(struct ipath *p)
{
	session_start(p->b.s);
	end_drain(&p->b);
	session_start(p->a.s);
	end_drain(&p->a);
}

void ipath_move(struct ipath *p, struct end *from, size_t n)
{
	struct end *to = from == &p->a ? &p->b : &p->a;

	while (n-- && from->wire_n) {
		struct said u = end_pop(from);

		end_take(to, u.p, u.n, u.text);
		free(u.p);
	}
}

void ipath_flush(struct ipath *p)
{
	end_drain(&p->a);
	end_drain(&p->b);
	while (p->a.wire_n || p->b.wire_n)
		ipath_move(p, p->a.wire_n ? &p->a : &p->b, 1);
}

void ipath_lose(struct ipath *p)
{
	while (p->a.wire_n)
		free(end_pop(&p->a).p);
	while (p->b.wire_n)
		free(end_pop(&p->b).p);
}

struct ipath *ipath_online(struct inode *a, struct inode *b, const struct ipath_opts *o)
{
	struct ipath *p = ipath_new(a, b, o);

	ipath_start(p);
	ipath_flush(p);
	BUG_ON(!session_online(p->a.s) || !session_online(p->b.s));
	end_forget(&p->a);
	end_forget(&p->b);
	return p;
}

void ipath_tick(struct ipath *p, uint64_t ms)
{
	penv_pass(p->na->e, ms);
	session_tick(p->a.s);
	end_drain(&p->a);
	session_tick(p->b.s);
	end_drain(&p->b);
	im2_host_tick(p->na->host);
	im2_host_tick(p->nb->host);
	end_drain(&p->a);
	end_drain(&p->b);
}

struct message imessage(uint64_t seq, const char *body)
{
	struct message m = { .type = BYTES_LIT("MSG"), .priority = PRIO_NORMAL, .body = bytes_str(body),
			     .has_wire_id = true, .created_ms = WALL_T };

	memset(m.wire_id, 0xe5, 8);
	for (int i = 0; i < 8; i++)
		m.wire_id[8 + i] = (uint8_t)(seq >> (56 - 8 * i));
	return m;
}
