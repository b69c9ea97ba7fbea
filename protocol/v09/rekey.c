/*
 * rekey.c -- new session keys with overlap (wire 6.3, weakness 28).
 */
#include <sodium.h>

#include "base/hash.h"
#include "protocol/v09/v09_internal.h"

static bool we_initiate(const struct v09 *s)
{
	return memcmp(keyring_id(s->c.keyring)->hex, s->peer.id.hex, NODE_ID_LEN) < 0;
}

void v09_rekey_arm(struct v09 *s)
{
	bool ours = s->c.rekey_ms && !s->rekey_never && s->peer.version >= VERSION_OF(0, 5) && we_initiate(s);

	s->rekey_next_ms = ours ? v09_now(s) + s->c.rekey_ms : UINT64_MAX;
}

static void forget_pending(struct v09 *s)
{
	wipe(s->rekey_sk, sizeof s->rekey_sk);
	s->rekey_pending = false;
	s->pause_until_ms = 0;
}

/* Remembers `x`; true when it was there (wire 12, weakness 28). */
static bool seen_before(struct v09 *s, struct bytes x)
{
	uint8_t hash[HASH_BYTES];
	uint64_t tag;

	sha256(x, hash);
	memcpy(&tag, hash, sizeof tag);
	for (unsigned i = 0; i < REKEY_SEEN && i < s->rekey_seen_n; i++)
		if (s->rekey_seen[i] == tag)
			return true;
	s->rekey_seen[s->rekey_seen_n++ % REKEY_SEEN] = tag;
	return false;
}

static void switch_keys(struct v09 *s, const uint8_t fresh[static SESSION_KEY_BYTES])
{
	memcpy(s->old_key, s->key, SESSION_KEY_BYTES);
	s->old_replay = s->replay;
	s->old_until_ms = v09_now(s) + REKEY_GRACE_MS;
	memcpy(s->key, fresh, SESSION_KEY_BYTES);
	replay_reset(&s->replay);
	s->sequence = 0;
	s->switched = true;
	s->switched_ms = v09_now(s);
	s->new_key_seen = false;
	v09_rekey_arm(s);
	v09_event(s, &(struct session_event){ .type = SESSION_EV_REKEYED });
}

static enum err send_rekey(struct v09 *s, bool response, const uint8_t sk[static X25519_BYTES],
			   const char *id)
{
	uint8_t pk[X25519_BYTES];
	struct buf b;
	enum err e;

	crypto_scalarmult_base(pk, sk);
	buf_init(&b, CONTROL_MAX);
	rekey_write(&b, response, keyring_id(s->c.keyring), pk, bytes_str(id));
	e = b.err == ERR_OK ?
		    v09_send_control(s, response ? "REKEY_RESPONSE" : "REKEY_REQUEST", buf_bytes(&b), true) :
		    b.err;
	buf_fini(&b);
	return e;
}

enum err v09_rekey_start(struct v09 *s)
{
	uint8_t r[16];
	char hex[33];
	enum err e;

	if (s->peer.version < VERSION_OF(0, 5))
		return ERR_VERSION;
	if (s->rekey_pending)
		return ERR_WRONG_STATE;
	env_random(s->c.env, r, sizeof r);
	r[6] = (uint8_t)((r[6] & 0x0f) | 0x40);
	r[8] = (uint8_t)((r[8] & 0x3f) | 0x80);
	hex_encode(BYTES_ARR(r), hex);
	snprintf(s->rekey_id, sizeof s->rekey_id, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
		 hex + 20);
	env_random(s->c.env, s->rekey_sk, X25519_BYTES);
	e = send_rekey(s, false, s->rekey_sk, s->rekey_id);
	if (e != ERR_OK) {
		wipe(s->rekey_sk, sizeof s->rekey_sk);
		return e;
	}
	s->rekey_pending = true;
	s->rekey_sent_ms = v09_now(s);
	s->rekey_next_ms = UINT64_MAX;
	/* The oldest 0.9 software loses what is under way while it switches: wait for its answer. */
	s->pause_until_ms = v09_now(s) + REKEY_PAUSE_MS;
	return ERR_OK;
}

static void take_request(struct v09 *s, const struct rekey *k)
{
	uint8_t sk[X25519_BYTES], fresh[SESSION_KEY_BYTES];

	if (!bucket_take(&s->rekeys, 1, v09_now(s))) {
		v09_dropped(s, ERR_LIMIT, "rekey-rate");
		return;
	}
	bool again = seen_before(s, BYTES_ARR(k->ephemeral));
	again |= seen_before(s, bytes_str(k->id));
	if (again) {
		v09_dropped(s, ERR_REPLAY, "rekey-repeated");
		return;
	}
	if (s->rekey_pending) {
		if (we_initiate(s)) {
			/* Both asked: the request of the smaller id stands. */
			v09_dropped(s, ERR_EXISTS, "rekey-collision");
			return;
		}
		forget_pending(s);
	}
	env_random(s->c.env, sk, sizeof sk);
	if (session_key_of(sk, k->ephemeral, fresh) != ERR_OK)
		v09_dropped(s, ERR_AUTH, "rekey-low-order");
	else if (send_rekey(s, true, sk, k->id) != ERR_OK)
		v09_over(s, ERR_FULL, BLAME_NONE, "rekey-failed");
	else {
		switch_keys(s, fresh); /* the response left under the old key; all later ones under the new */
		s->pause_until_ms = v09_now(s) + REKEY_PAUSE_MS;
	}
	wipe(sk, sizeof sk);
	wipe(fresh, sizeof fresh);
}

static void take_response(struct v09 *s, const struct rekey *k)
{
	uint8_t fresh[SESSION_KEY_BYTES];

	if (!s->rekey_pending || strcmp(k->id, s->rekey_id) != 0) {
		v09_dropped(s, ERR_WRONG_STATE, "rekey-unasked");
		return;
	}
	if (session_key_of(s->rekey_sk, k->ephemeral, fresh) != ERR_OK) {
		v09_over(s, ERR_AUTH, BLAME_AUTH, "rekey-low-order");
		return;
	}
	forget_pending(s);
	switch_keys(s, fresh);
	wipe(fresh, sizeof fresh);
	/* The other side holds its messages back until something comes under the new key. */
	enum err e = v09_send_ping(s);
	if (e != ERR_OK)
		v09_dropped(s, e, "rekey-ping");
}

void v09_rekey_take(struct v09 *s, struct bytes payload, bool response)
{
	struct rekey k;
	enum err e = rekey_read(payload, &k);

	if (e != ERR_OK)
		v09_dropped(s, e, "rekey-malformed");
	else if (response)
		take_response(s, &k);
	else
		take_request(s, &k);
}

size_t v09_rekey_keys(struct v09 *s, const uint8_t *keys[static 2])
{
	if (s->old_until_ms && v09_now(s) >= s->old_until_ms) {
		wipe(s->old_key, sizeof s->old_key);
		s->old_until_ms = 0;
	}
	keys[0] = s->key;
	keys[1] = s->old_key;
	return s->old_until_ms ? 2 : 1;
}

void v09_rekey_opened(struct v09 *s, size_t which)
{
	if (which != 0 || s->new_key_seen)
		return;
	s->new_key_seen = true;
	if (s->switched && !s->rekey_pending)
		s->pause_until_ms = 0;
}

/* The answer to a request may have been lost: then the other side stays on the old key for ever.
 * Only its signature tells its frames from what anybody may throw at us. */
void v09_rekey_unopened(struct v09 *s, struct bytes enc, const uint8_t sig[static SIG_BYTES])
{
	if (s->switched && !s->new_key_seen && v09_now(s) - s->switched_ms > REKEY_LOST_MS &&
	    sig_verify(SIG_BARE_OUTER, s->peer.ed, enc, sig))
		v09_over(s, ERR_TIMEOUT, BLAME_NONE, "rekey-lost");
}

uint64_t v09_rekey_deadline(const struct v09 *s)
{
	uint64_t at = s->rekey_pending ? s->rekey_sent_ms + REKEY_ANSWER_MS : s->rekey_next_ms;

	if (s->old_until_ms && s->old_until_ms < at)
		at = s->old_until_ms;
	if (s->pause_until_ms > v09_now(s) && s->pause_until_ms < at)
		at = s->pause_until_ms;
	return at;
}

void v09_rekey_tick(struct v09 *s)
{
	const uint8_t *keys[2];
	uint64_t now = v09_now(s);

	(void)v09_rekey_keys(s, keys);
	if (s->rekey_pending && now - s->rekey_sent_ms >= REKEY_ANSWER_MS) {
		forget_pending(s);
		if (s->peer.version >= VERSION_OF(0, 9)) {
			v09_over(s, ERR_TIMEOUT, BLAME_NONE, "rekey-timeout");
			return;
		}
		s->rekey_never = true; /* such a peer never answers (wire 2.11) */
	} else if (!s->rekey_pending && now >= s->rekey_next_ms) {
		enum err e = v09_rekey_start(s);

		/* A full queue or no memory: the old key is good for another period. */
		if (e != ERR_OK) {
			v09_rekey_arm(s);
			v09_dropped(s, e, "rekey-start");
		}
	}
}
