#include "tests/lib/protocol_env.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "trust/keyring_internal.h"

static uint64_t now_ms(void *ctx)
{
	return ((struct penv *)ctx)->now_ms;
}

static uint64_t wall_ms(void *ctx)
{
	return ((struct penv *)ctx)->wall_ms;
}

static void fill(void *ctx, void *out, size_t n)
{
	struct penv *e = ctx;
	uint8_t *p = out;

	while (n && e->script_left) {
		*p++ = *e->script++;
		e->script_left--;
		n--;
	}
	while (n) {
		uint8_t block[HASH_BYTES];
		size_t k = n < sizeof block ? n : sizeof block;

		e->counter++;
		sha256(bytes_of(&e->counter, sizeof e->counter), block);
		memcpy(p, block, k);
		p += k;
		n -= k;
	}
}

void penv_init(struct penv *e)
{
	*e = (struct penv){.now_ms = 1000, .wall_ms = WALL_T};
	e->env = (struct env){.ctx = e, .now_ms = now_ms, .wall_ms = wall_ms, .random = fill};
}

void penv_pass(struct penv *e, uint64_t ms)
{
	e->now_ms += ms;
	e->wall_ms += ms;
}

void test_unhex(const char *hex, uint8_t *out, size_t n)
{
	BUG_ON(hex_decode(bytes_str(hex), out, n) != ERR_OK);
}

void test_count_up(uint8_t *out, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)i;
}

struct keyring *keyring_number(unsigned n)
{
	uint8_t seed[SEED_BYTES] = {0}, salt[HKDF_SALT_BYTES];
	struct keyring *k;

	for (size_t i = 0; i < sizeof salt; i++)
		salt[i] = (uint8_t)(i + 1);
	if (n) {
		memcpy(seed, &n, sizeof n);
		seed[31] = 0x77;
	}
	BUG_ON(keyring_from_seed(seed, salt, &k) != ERR_OK);
	return k;
}

/* --- one end --- */

void end_init(struct end *e, struct session *s)
{
	memset(e, 0, sizeof *e);
	e->s = s;
}

void end_forget(struct end *e)
{
	for (size_t i = 0; i < e->wire_n; i++)
		free(e->wire[i].p);
	e->wire_n = 0;
	e->log_n = 0;
}

void end_fini(struct end *e)
{
	session_free(e->s);
	e->s = NULL;
	end_forget(e);
	free(e->log);
	e->log = NULL;
	e->log_cap = 0;
}

static void copy_text(char *out, size_t cap, struct bytes in)
{
	size_t n = in.n < cap - 1 ? in.n : cap - 1;

	if (n)
		memcpy(out, in.p, n);
	out[n] = 0;
}

static void note(struct end *e, const struct session_event *ev)
{
	BUG_ON(e->log_n == SEEN_MAX);
	if (e->log_n == e->log_cap) {
		e->log_cap = e->log_cap ? 2 * e->log_cap : 16;
		e->log = realloc(e->log, e->log_cap * sizeof *e->log);
		BUG_ON(!e->log);
	}
	struct seen *x = &e->log[e->log_n++];

	memset(x, 0, sizeof *x);
	x->type = ev->type;
	x->err = ev->err;
	x->blame = ev->blame;
	x->kind = ev->receipt;
	x->rtt_ms = ev->rtt_ms;
	x->wait_ms = ev->wait_ms;
	memcpy(x->era, ev->era, sizeof x->era);
	x->seq = ev->seq;
	x->tag = ev->tag;
	copy_text(x->word, sizeof x->word, bytes_str(ev->word));
	if (ev->type == SESSION_EV_RECEIPT) {
		copy_text(x->id, sizeof x->id, ev->receipt_id);
		copy_text(x->reason, sizeof x->reason, ev->receipt_reason);
	}
	if (ev->type == SESSION_EV_MESSAGE) {
		const struct message *m = &ev->message;

		copy_text(x->id, sizeof x->id, m->id);
		copy_text(x->msg_type, sizeof x->msg_type, m->type);
		x->body_n = m->body.n;
		if (m->body.n)
			memcpy(x->body, m->body.p,
			       m->body.n < sizeof x->body ? m->body.n : sizeof x->body);
		x->proven = m->source_proven;
		x->sealed = m->was_sealed;
		x->created_ms = m->created_ms;
	}
}

void end_drain(struct end *e)
{
	struct session_unit u;
	struct session_event ev;
	bool more = true;

	while (more) {
		while (session_next_unit(e->s, &u)) {
			BUG_ON(e->wire_n == WIRE_MAX);
			struct said *w = &e->wire[e->wire_n++];
			w->p = malloc(u.bytes.n ? u.bytes.n : 1);
			BUG_ON(!w->p);
			memcpy(w->p, u.bytes.p, u.bytes.n);
			w->n = u.bytes.n;
			w->text = u.text;
		}
		more = session_next_event(e->s, &ev);
		if (!more)
			break;
		note(e, &ev);
		if (ev.type == SESSION_EV_IDENTIFIED && e->refuse)
			session_refuse(e->s, e->refuse_err != ERR_OK ? e->refuse_err : ERR_UNTRUSTED, "blocked");
		else if (ev.type == SESSION_EV_IDENTIFIED && !e->hold)
			session_admit(e->s);
	}
}

/* Through an exact copy on the heap, so that the address sanitizer sees a read past the end. */
void end_take(struct end *e, const void *p, size_t n, bool text)
{
	uint8_t *copy = malloc(n ? n : 1);

	BUG_ON(!copy);
	if (n)
		memcpy(copy, p, n);
	session_take(e->s, bytes_of(copy, n), text);
	free(copy);
	end_drain(e);
}

struct said end_pop(struct end *e)
{
	BUG_ON(e->wire_n == 0);
	struct said u = e->wire[0];

	memmove(e->wire, e->wire + 1, --e->wire_n * sizeof u);
	return u;
}

const struct seen *end_last(const struct end *e, enum session_event_type t)
{
	for (size_t i = e->log_n; i-- > 0;)
		if (e->log[i].type == t)
			return &e->log[i];
	return NULL;
}

size_t end_count(const struct end *e, enum session_event_type t)
{
	size_t n = 0;

	for (size_t i = 0; i < e->log_n; i++)
		n += e->log[i].type == t;
	return n;
}

/* --- two sessions --- */

struct session_config test_config(struct penv *e, const struct keyring *k, enum session_role role)
{
	return (struct session_config){
		.env = &e->env,
		.keyring = k,
		.passphrase = BYTES_LIT(MESH_PASSPHRASE),
		.name = role == SESSION_DIALLER ? "alice" : "bob",
		.role = role,
		.min_version = VERSION_OF(0, 3),
		.handshake_ms = 5000,
		.rekey_ms = 1800000,
		.past_ms = 30000,
		.future_ms = 5000,
	};
}

struct pair *pair_new(unsigned a, unsigned b)
{
	struct pair *p = calloc(1, sizeof *p);
	struct session_config c;
	struct session *s;

	BUG_ON(!p);
	penv_init(&p->e);
	p->ka = keyring_number(a);
	p->kb = keyring_number(b);
	c = test_config(&p->e, p->ka, SESSION_DIALLER);
	BUG_ON(v09_session_new(&c, &s) != ERR_OK);
	end_init(&p->a, s);
	c = test_config(&p->e, p->kb, SESSION_LISTENER);
	BUG_ON(v09_session_new(&c, &s) != ERR_OK);
	end_init(&p->b, s);
	return p;
}

void pair_free(struct pair *p)
{
	end_fini(&p->a);
	end_fini(&p->b);
	keyring_free(p->ka);
	keyring_free(p->kb);
	free(p);
}

void pair_flush(struct pair *p)
{
	end_drain(&p->a);
	end_drain(&p->b);
	while (p->a.wire_n || p->b.wire_n) {
		struct end *from = p->a.wire_n ? &p->a : &p->b;
		struct said u = end_pop(from);

		end_take(from == &p->a ? &p->b : &p->a, u.p, u.n, u.text);
		free(u.p);
	}
}

struct pair *pair_online(unsigned a, unsigned b)
{
	struct pair *p = pair_new(a, b);

	session_start(p->a.s);
	session_start(p->b.s);
	pair_flush(p);
	BUG_ON(!session_online(p->a.s) || !session_online(p->b.s));
	end_forget(&p->a);
	end_forget(&p->b);
	return p;
}

struct message test_message(const char *id, const char *body)
{
	return (struct message){
		.type = BYTES_LIT("MSG"),
		.id = bytes_str(id),
		.priority = PRIO_NORMAL,
		.body = bytes_str(body),
	};
}

/* --- the puppet --- */

void puppet_init(struct puppet *p, struct penv *e, unsigned number, bool dials)
{
	*p = (struct puppet){
		.e = e,
		.k = keyring_number(number),
		.dials = dials,
		.version = V09_VERSION_TEXT,
		.first_version = V09_VERSION_TEXT,
		.scheme = -1,
		.name = "puppet",
		.sequence = 1,
	};
	env_random(&e->env, p->nonce, sizeof p->nonce);
	env_random(&e->env, p->secret, sizeof p->secret);
	BUG_ON(crypto_scalarmult_base(p->public, p->secret) != 0);
}

void puppet_fini(struct puppet *p)
{
	keyring_free(p->k);
	p->k = NULL;
}

char *puppet_hello(struct puppet *p)
{
	char binding[2 * NONCE_BYTES + 1];
	struct buf b;
	json_t *o;
	int scheme = p->scheme >= 0
			     ? p->scheme
			     : (int)hello_scheme_for(v09_version_parse(bytes_str(p->version)));

	hex_encode(BYTES_ARR(p->nonce), binding);
	buf_init(&b, 1 << 16);
	/* An absent version is the empty text in what is signed (wire 2.6). */
	hello_write(&b, &(struct hello_offer){.keyring = p->k,
					      .name = p->name,
					      .version = p->version ? p->version : "",
					      .binding_hex = binding,
					      .ephemeral = p->public,
					      .scheme = (enum hello_scheme)scheme,
					      .acks = p->acks});
	BUG_ON(b.err != ERR_OK);
	o = json_loadb((const char *)b.p, b.n, 0, NULL);
	BUG_ON(!o);
	buf_fini(&b);
	if (!p->version)
		json_object_del(o, "protocol_version");
	if (p->edit)
		p->edit(o, p->edit_ctx);
	char *text = json_dumps(o, JSON_ENSURE_ASCII);
	json_decref(o);
	BUG_ON(!text);
	return text;
}

static void say_buf(struct end *e, struct buf *b)
{
	BUG_ON(b->err != ERR_OK);
	end_take(e, b->p, b->n, true);
	buf_reset(b);
}

static bool derive(struct puppet *p, const struct said *hello)
{
	json_t *o = json_loadb((const char *)hello->p, hello->n, 0, NULL);
	uint8_t theirs[X25519_BYTES];
	struct bytes text;
	bool ok = o && json_get_str(o, "ephemeral_public", &text) == ERR_OK &&
		  base64_decode_exact(text, theirs, sizeof theirs) == ERR_OK &&
		  session_key_of(p->secret, theirs, p->key) == ERR_OK;

	json_decref(o);
	return ok;
}

static bool puppet_listens(struct puppet *p, struct end *e)
{
	char proof[PROOF_HEX + 1];
	struct buf b;

	buf_init(&b, 1 << 16);
	challenge_write(&b, keyring_id(p->k), p->nonce, false);
	json_t *o = json_loadb((const char *)b.p, b.n, 0, NULL);
	if (p->first_version)
		json_object_set_new(o, "protocol_version", json_string(p->first_version));
	else
		json_object_del(o, "protocol_version");
	char *text = json_dumps(o, 0);
	json_decref(o);
	end_take(e, text, strlen(text), true);
	free(text);
	buf_reset(&b);
	if (!e->wire_n) {
		buf_fini(&b);
		return false;
	}
	free(end_pop(e).p);
	proof_of_server(BYTES_LIT(MESH_PASSPHRASE), p->nonce, proof);
	verified_write(&b, keyring_id(p->k), proof);
	say_buf(e, &b);
	buf_fini(&b);
	if (!e->wire_n)
		return false;
	struct said hello = end_pop(e);
	bool ok = derive(p, &hello);
	free(hello.p);
	text = puppet_hello(p);
	end_take(e, text, strlen(text), true);
	free(text);
	return ok && session_online(e->s);
}

static bool puppet_dials(struct puppet *p, struct end *e)
{
	char proof[PROOF_HEX + 1];
	struct said u = end_pop(e);
	json_t *o = json_loadb((const char *)u.p, u.n, 0, NULL);
	struct challenge c;
	struct buf b;

	BUG_ON(!o || challenge_read(o, &c) != ERR_OK);
	json_decref(o);
	free(u.p);
	memcpy(p->nonce, c.nonce, sizeof p->nonce);
	proof_of_client(BYTES_LIT(MESH_PASSPHRASE), p->nonce, proof);
	buf_init(&b, 1 << 16);
	proof_write(&b, keyring_id(p->k), proof);
	say_buf(e, &b);
	buf_fini(&b);
	if (!e->wire_n)
		return false;
	free(end_pop(e).p);
	char *text = puppet_hello(p);
	end_take(e, text, strlen(text), true);
	free(text);
	if (!session_online(e->s))
		return false;
	BUG_ON(e->wire_n == 0);
	return derive(p, &e->wire[0]);
}

bool puppet_handshake(struct puppet *p, struct end *e)
{
	return p->dials ? puppet_dials(p, e) : puppet_listens(p, e);
}

size_t puppet_seal(struct puppet *p, const char *body, uint64_t sequence, uint64_t time_ms,
		   uint8_t **out)
{
	size_t text_n = strlen(body), enc_n = FRAME_ENC_MIN + text_n;
	uint8_t *f = malloc(FRAME_HEADER + enc_n + SIG_BYTES), *nonce = f + FRAME_HEADER;
	uint8_t *mac = nonce + crypto_secretbox_NONCEBYTES, *text = mac + crypto_secretbox_MACBYTES;

	BUG_ON(!f);
	struct wr w = wr_init(f, FRAME_HEADER);
	wr_u16(&w, 0xe7f6);
	wr_u8(&w, FRAME_VERSION);
	wr_u8(&w, FRAME_ENCRYPTED | FRAME_SIGNED);
	wr_u64(&w, sequence);
	wr_u64(&w, time_ms);
	wr_u64(&w, 0); /* id hash: receivers ignore it */
	wr_u32(&w, (uint32_t)enc_n);
	env_random(&p->e->env, nonce, crypto_secretbox_NONCEBYTES);
	memcpy(text, body, text_n);
	crypto_secretbox_detached(text, mac, text, text_n, nonce, p->key);
	keyring_sign(p->k, SIG_BARE_OUTER, bytes_of(nonce, enc_n), text + text_n);
	*out = f;
	return FRAME_HEADER + enc_n + SIG_BYTES;
}

char *puppet_body(struct puppet *p, const char *type, const char *id, const char *dest,
		  const char *payload64, uint64_t sequence, const char *extra)
{
	const char *self = keyring_id(p->k)->hex;
	char *text;

	BUG_ON(asprintf(&text,
			"{\"type\":\"%s\",\"payload\":\"%s\",\"msg_id\":\"%s\",\"source\":\"%s\","
			"\"source_display\":\"%s\",\"destination\":\"%s\",\"timestamp\":%llu.%03u,"
			"\"priority\":\"NORMAL\",\"sequence\":%llu,\"retries\":0,\"routing\":{},"
			"\"ttl\":5,\"hops\":[]%s}",
			type, payload64, id, self, self, dest,
			(unsigned long long)(p->e->wall_ms / 1000),
			(unsigned)(p->e->wall_ms % 1000), (unsigned long long)sequence,
			extra ? extra : "") < 0);
	return text;
}

void puppet_say(struct puppet *p, struct end *e, const char *type, const char *id, const char *dest,
		const char *payload64, const char *extra)
{
	char *body = puppet_body(p, type, id, dest, payload64, p->sequence, extra);
	uint8_t *frame;
	size_t n = puppet_seal(p, body, p->sequence++, p->e->wall_ms, &frame);

	end_take(e, frame, n, false);
	free(frame);
	free(body);
}

char *puppet_open(struct puppet *p, const struct said *u)
{
	const uint8_t *sig;
	struct frame_head head;
	struct bytes enc;
	size_t n;

	if (frame_shape(bytes_of(u->p, u->n), &head, &enc, &sig) != ERR_OK)
		return NULL;
	n = enc.n - FRAME_ENC_MIN;
	char *text = malloc(n + 1);
	BUG_ON(!text);
	if (crypto_secretbox_open_detached((uint8_t *)text, enc.p + FRAME_ENC_MIN,
					   enc.p + crypto_secretbox_NONCEBYTES, n, enc.p,
					   p->key) != 0) {
		free(text);
		return NULL;
	}
	text[n] = 0;
	return text;
}
