/*
 * pair.h -- pairing of two nodes whose users are together (im2.md 15.1 to 15.4): by a code that one shows and
 * the other types (mode 2), or by comparing six digits (mode 3). And handing on the mesh key (GRANT).
 *
 * Sans-I/O: a `struct im2_pair` is one attempt over one connection of the path /im2/pair. Bytes go in with
 * im2_pair_take(); after every call the owner drains units and events until both are empty, and calls
 * im2_pair_tick() at the deadline. A unit or event is borrowed until the next call. Nothing here stores or
 * asks: the owner decides at PEER, shows digits at COMPARE, pins at PAIRED, stores at GRANT.
 */
#ifndef PROTOCOL_IM2_PAIR_H
#define PROTOCOL_IM2_PAIR_H

#include "base/secret.h"
#include "protocol/im2/handshake.h"

/* --- the code --------------------------------------------------------------------------------------- */
#define IM2_CODE_DIGITS 8
#define IM2_CODE_TEXT 11          /* "NN-DDD-DDD" and its NUL */
#define IM2_CODE_MS 120000
#define IM2_CODES_MAX 5           /* per command; then the users compare digits */

/* "42-307-915" or "42307915", nothing else. ERR_MALFORMED. */
enum err im2_code_parse(struct bytes text, char digits[static IM2_CODE_DIGITS]) MUST_CHECK;
/* The code a listener shows. It is good for one guess: the attempt that answers an X1 erases it. */
struct im2_offer {
	bool live;
	uint8_t drawn;                 /* codes of this command */
	char digits[IM2_CODE_DIGITS];
	uint64_t until_ms;
};
/* A new code instead of the old one. *o zeroed before the first. ERR_LIMIT after IM2_CODES_MAX. */
enum err im2_offer_draw(struct im2_offer *o, struct env *env) MUST_CHECK;
/* What to print; only while it is live. The first two digits are public. */
void im2_offer_text(const struct im2_offer *o, char out[static IM2_CODE_TEXT]);
void im2_offer_wipe(struct im2_offer *o);  /* used, old or not wanted any more; `drawn` stays */

/* --- the credential (15.3) -------------------------------------------------------------------------- */
enum im2_grant_kind { IM2_GRANT_MESH_KEY = 1, IM2_GRANT_PASSPHRASE = 2 };
struct im2_grant_offer {
	uint64_t kind;
	struct bytes mesh;             /* text; may be empty */
	struct bytes secret;           /* mesh key: 32 bytes */
	uint16_t passgen;
	struct bytes disc;             /* empty or 32 bytes */
	struct bytes records;          /* the list as on the wire, CARD and PREKEY; may be empty */
};
/* Into guarded memory. Records that do not fit `max` bytes are left out from the end; what then does not fit
 * is ERR_LIMIT. */
enum err im2_grant_write(const struct im2_grant_offer *g, size_t max, struct secret *out) MUST_CHECK;
enum im2_refusal im2_grant_read(struct bytes value, struct im2_grant_offer *out); /* borrowed */

/* --- short authentication string (15.4) --------------------------------------------------------------- */
#define IM2_SAS_NONCE 16
#define IM2_SAS_TEXT 8            /* "ddd ddd" and its NUL */
void im2_sas_commit(const uint8_t n_l[static IM2_SAS_NONCE], uint8_t out[static 32]);
void im2_sas_text(const uint8_t exporter[static 32], const uint8_t n_l[static IM2_SAS_NONCE],
		  const uint8_t n_d[static IM2_SAS_NONCE], char out[static IM2_SAS_TEXT]);

/* --- one attempt ------------------------------------------------------------------------------------- */
enum im2_pair_role { IM2_PAIR_PIN_ONLY = 0, IM2_PAIR_GRANTS = 1, IM2_PAIR_WANTS = 2 };

/* Units of a pairing session hold a whole GRANT: state this as max_unit, so that it needs no transfer. */
#define IM2_PAIR_UNIT_MAX (IM2_GRANT_MAX + 1024)

struct im2_pair_config {
	struct env *env;               /* all borrowed pointers outlive the attempt */
	const struct keyring *keyring;
	bool listener;
	bool sas;                      /* mode 3 is wanted: a dialler dials it, a listener takes it */
	struct im2_offer *offer;       /* listener: the code that is shown; NULL = none */
	char digits[IM2_CODE_DIGITS];  /* dialler, mode 2 */
	struct bytes cb;               /* tls binding, or empty; copied */
	struct im2_hello hello;        /* name, agent, features, max_unit, pair_role; rx is drawn here */
	/* pair_role 1: what to hand on. Copied. */
	const struct im2_grant_offer *grant;
};

enum im2_pair_event_type {
	IM2_PAIR_EV_PEER,     /* who it is; the owner answers im2_pair_admit() or im2_pair_refuse() */
	IM2_PAIR_EV_COMPARE,  /* show `digits`; the user answers im2_pair_verdict() */
	IM2_PAIR_EV_PAIRED,   /* pin as verified; pair_psk is confirmed now (6.2) */
	IM2_PAIR_EV_GRANT,    /* store `grant` durably, then im2_pair_grant_stored() */
	IM2_PAIR_EV_GRANTED,  /* the peer has stored what we gave */
	IM2_PAIR_EV_OVER      /* last; see `why`. Close the connection once the units are gone */
};
struct im2_pair_event {
	enum im2_pair_event_type type;
	const struct im2_hello *peer;  /* PEER, PAIRED */
	const uint8_t *peer_x;
	const char *digits;            /* COMPARE */
	const uint8_t *pair_psk;       /* PAIRED */
	const struct im2_grant_offer *grant; /* GRANT */
	/* OVER: ERR_OK = all was done that the roles ask for. Else, after PAIRED, only the credential did not
	 * arrive; before it nothing may be pinned. ERR_TIMEOUT, ERR_CLOSED (by the peer or the connection),
	 * ERR_DENIED (the user said no), or what `why` stands for. */
	enum err err;
	enum im2_refusal why;          /* OVER: what was refused; IM2_FINE = nothing */
	uint8_t code;                  /* OVER: of the ERR unit that came, 0 = none */
	bool guess_used;               /* OVER, listener, mode 2: the code is spent; draw another */
};

struct im2_pair;
/* A listener says S1 at once. ERR_USAGE: role 1 without a grant, or neither a code nor `sas`; ERR_LIMIT: the grant
 * is too large without its records. */
enum err im2_pair_new(const struct im2_pair_config *c, struct im2_pair **out) MUST_CHECK;
void im2_pair_free(struct im2_pair *p);              /* wipes; accepts NULL */
void im2_pair_take(struct im2_pair *p, struct bytes unit);
bool im2_pair_next_unit(struct im2_pair *p, struct bytes *unit);
bool im2_pair_next_event(struct im2_pair *p, struct im2_pair_event *out);
uint64_t im2_pair_deadline_ms(const struct im2_pair *p); /* monotonic; UINT64_MAX when over */
void im2_pair_tick(struct im2_pair *p);
/* After PEER. In mode 2 pair_psk[] takes the new pair psk, to be stored (listener: as a candidate, and the
 * identity pinned; dialler: as confirmed) before the units are drained (6.2); in mode 3 it is zeros, for nothing
 * is stored before both said yes. IM2_E_CONTEXT when nobody asked. */
enum im2_refusal im2_pair_admit(struct im2_pair *p, uint8_t pair_psk[static PSK_BYTES]);
void im2_pair_refuse(struct im2_pair *p, enum im2_refusal why); /* the peer hears ERR 5, if it is the dialler */
/* After COMPARE: are the digits the same? Nothing else is asked for. */
void im2_pair_verdict(struct im2_pair *p, bool yes);
void im2_pair_grant_stored(struct im2_pair *p);
void im2_pair_close(struct im2_pair *p);             /* the user gave up, or the connection went */

#endif
