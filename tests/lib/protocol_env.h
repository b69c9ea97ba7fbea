/*
 * protocol_env.h -- what the tests and fuzz targets of protocol/ share: a virtual clock, chance
 * from a seed, two sessions that talk in memory, and a puppet: a peer made by hand that can say
 * things no build of ours would.
 *
 * Needs no cmocka; a broken expectation of the helpers themselves is a BUG_ON.
 */
#ifndef TESTS_PROTOCOL_ENV_H
#define TESTS_PROTOCOL_ENV_H

#include "protocol/v09/body.h"
#include "protocol/v09/frame.h"
#include "protocol/v09/hello.h"
#include "protocol/v09/proof.h"
#include "protocol/v09/replay.h"
#include "protocol/v09/v09.h"

#define WALL_T		1753500000250ull /* the time of the vectors (wire 11) */
#define MESH_PASSPHRASE "testpassphrase1234"

struct penv {
	struct env env;
	uint64_t now_ms, wall_ms;
	uint64_t counter;      /* of SHA-256 blocks given out */
	const uint8_t *script; /* given out before them */
	size_t script_left;
};
void penv_init(struct penv *e);
void penv_pass(struct penv *e, uint64_t ms); /* both clocks */

/* Key pair number n; n = 0 is the node of the vectors: seed of zeros, salt 01..10. */
struct keyring *keyring_number(unsigned n);
void test_unhex(const char *hex, uint8_t *out, size_t n);
void test_count_up(uint8_t *out, size_t n);

/* --- one end of a conversation --- */

struct seen {
	enum session_event_type type;
	enum err err;
	enum session_blame blame;
	char word[128];
	enum receipt_kind kind;
	char id[MSG_ID_MAX + 1]; /* of the message or receipt */
	char reason[80];
	uint8_t body[256]; /* its beginning */
	size_t body_n;
	char msg_type[16];
	bool proven, sealed;
	uint64_t rtt_ms, created_ms, wait_ms;
	uint8_t era[8]; /* im2: marks and items */
	uint64_t seq;
	uint16_t tag;
};
#define SEEN_MAX 4096
#define WIRE_MAX 512

struct said {
	uint8_t *p;
	size_t n;
	bool text;
};

struct end {
	struct session *s;
	bool hold; /* do not answer IDENTIFIED */
	bool refuse;
	enum err refuse_err; /* ERR_OK: ERR_UNTRUSTED */
	struct seen *log; /* moves when it grows: a pointer into it lives until the next drain */
	size_t log_n, log_cap;
	struct said wire[WIRE_MAX]; /* said and not yet delivered */
	size_t wire_n;
};

void end_init(struct end *e, struct session *s);
void end_fini(struct end *e);
void end_drain(struct end *e);
void end_take(struct end *e, const void *p, size_t n, bool text); /* and drain */
/* Takes the oldest unit off the wire; the caller frees p. */
struct said end_pop(struct end *e);
void end_forget(struct end *e); /* clears log and wire */
const struct seen *end_last(const struct end *e, enum session_event_type t); /* NULL */
size_t end_count(const struct end *e, enum session_event_type t);

/* --- two sessions --- */

struct pair {
	struct penv e;
	struct keyring *ka, *kb;
	struct end a, b; /* a dials */
};
struct session_config test_config(struct penv *e, const struct keyring *k, enum session_role role);
struct pair *pair_new(unsigned a, unsigned b);
void pair_free(struct pair *p);
void pair_flush(struct pair *p); /* moves units until both are quiet */
struct pair *pair_online(unsigned a, unsigned b);
struct message test_message(const char *id, const char *body);

/* --- a peer made by hand --- */

struct puppet {
	struct penv *e;
	struct keyring *k;
	bool dials;
	const char *version;	   /* what its HELLO declares; NULL: no key */
	const char *first_version; /* what its challenge declares; NULL: no key */
	int scheme;		   /* enum hello_scheme, or -1: as `version` asks */
	bool acks;
	const char *name;
	void (*edit)(json_t *hello, void *ctx); /* after signing; may be NULL */
	void *edit_ctx;
	uint8_t nonce[NONCE_BYTES], secret[X25519_BYTES], public[X25519_BYTES];
	uint8_t key[SESSION_KEY_BYTES];
	uint64_t sequence;
};
void puppet_init(struct puppet *p, struct penv *e, unsigned number, bool dials);
void puppet_fini(struct puppet *p);
/* The puppet's side of the whole handshake with `e`, which has been started and drained. False when
 * `e` ended it. Units that `e` said last stay on its wire. */
bool puppet_handshake(struct puppet *p, struct end *e);
char *puppet_hello(struct puppet *p); /* caller frees */
/* A frame around any body text; header fields as given. Caller frees *out. */
size_t puppet_seal(struct puppet *p, const char *body, uint64_t sequence, uint64_t time_ms,
		   uint8_t **out);
/* A body with our own fields; `extra` is spliced in before the closing brace (",\"x\":1"). */
char *puppet_body(struct puppet *p, const char *type, const char *id, const char *dest,
		  const char *payload64, uint64_t sequence, const char *extra);
/* Sends one user or control frame with the next sequence. */
void puppet_say(struct puppet *p, struct end *e, const char *type, const char *id, const char *dest,
		const char *payload64, const char *extra);
/* Opens what `e` said last; caller frees. NULL when it does not open. */
char *puppet_open(struct puppet *p, const struct said *u);

#endif
