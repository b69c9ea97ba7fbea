/* What the key process does with a request. It believes nothing of it: the daemon may be in other hands. */
#include "daemon/keyproc_internal.h"

#include <stdlib.h>

static const struct keyring *slot_of(const struct keyserver *s, uint8_t slot)
{
	if (!s->opened || slot >= KEY_SLOTS)
		return NULL;
	return slot == 0 ? s->key.keyring : s->next;
}

static enum err open_file(struct keyserver *s, struct bytes body, struct buf *answer, enum err *error)
{
	char path[KEY_PATH_MAX], name[NAME_MAX_CHARS + 1];
	struct fault f = { .err = ERR_INTERNAL, .code = EXIT_GENERIC };
	struct key_open o;
	enum err e = key_open_read(body, &o);

	if (e != ERR_OK || s->opened)
		return e != ERR_OK ? e : ERR_WRONG_STATE;
	memcpy(path, o.path.p, o.path.n);
	path[o.path.n] = '\0';
	if (o.name.n)
		memcpy(name, o.name.p, o.name.n);
	name[o.name.n] = '\0';
	e = ownkey_open(path, o.passphrase, o.name.n ? name : NULL, o.clear, s->env, &s->key, &f);
	/* A key file that is made anew later is encrypted as this one is. */
	if (e == ERR_OK && s->key.info.encrypted)
		e = secret_copy(&s->passphrase, o.passphrase);
	if (e == ERR_OK) {
		s->opened = true;
		key_opened_write(answer, &s->key);
	} else {
		if (!f.what[0])
			fault_set(&f, e, EXIT_RETRY, "no memory for the keys");
		key_fault_write(answer, &f);
	}
	*error = e;
	return answer->err;
}

static enum err sign(const struct keyring *k, uint16_t context, struct bytes whole, struct buf *answer)
{
	uint8_t sig[SIG_BYTES];

	if (!sig_fits((enum sig_context)context, whole))
		return ERR_DENIED;
	keyring_sign(k, (enum sig_context)context, whole, sig);
	buf_add(answer, BYTES_ARR(sig));
	return answer->err;
}

static enum err dh(const struct keyring *k, struct bytes their, struct buf *answer, enum err *error)
{
	uint8_t out[X25519_BYTES];

	if (their.n != X25519_BYTES)
		return ERR_MALFORMED;
	*error = keyring_noise_dh(k, their.p, out);
	if (*error == ERR_OK)
		buf_add(answer, BYTES_ARR(out));
	wipe(out, sizeof out);
	return answer->err;
}

static enum err derive(const struct keyring *k, uint16_t which, struct bytes body, struct buf *answer, enum err *error)
{
	struct secret key = { 0 };

	if (which >= DERIVE_COUNT || body.n)
		return ERR_MALFORMED;
	*error = keyring_derive(k, (enum derived_key)which, &key);
	if (*error == ERR_OK)
		buf_add(answer, secret_bytes(&key));
	secret_free(&key);
	return answer->err;
}

static enum err make_next(struct keyserver *s, struct bytes body, struct buf *answer, enum err *error)
{
	struct keyring *fresh = NULL;

	if (body.n || !s->opened)
		return ERR_MALFORMED;
	*error = keyring_generate(s->env, &fresh);
	if (*error == ERR_OK) {
		keyring_free(s->next);
		s->next = fresh;
		key_public_write(answer, fresh);
	}
	return answer->err;
}

static enum err write_file(const struct keyserver *s, const struct keyring *k, struct bytes body, struct buf *answer,
			   enum err *error)
{
	struct fault f = { 0 };

	if (body.n)
		return ERR_MALFORMED;
	*error = keyfile_write(k, s->key.info.name, secret_bytes(&s->passphrase), !s->key.info.encrypted, s->env, answer,
			       &f);
	if (*error != ERR_OK) {
		buf_reset(answer);
		key_fault_write(answer, &f);
	}
	return answer->err;
}

enum err keyserver_take(struct keyserver *s, const struct key_head *h, struct bytes body, struct buf *answer,
			enum err *error)
{
	const struct keyring *k = slot_of(s, h->slot);

	*error = ERR_OK;
	if (h->verb == KEY_OPEN)
		return h->slot || h->what ? ERR_MALFORMED : open_file(s, body, answer, error);
	if (!k && h->verb != KEY_NEXT)
		return ERR_WRONG_STATE;
	switch ((enum key_verb)h->verb) {
	case KEY_SIGN:
		return sign(k, h->what, body, answer);
	case KEY_UNSEAL:
		*error = keyring_open_sealed(k, body, answer);
		return answer->err;
	case KEY_DH:
		return dh(k, body, answer, error);
	case KEY_DERIVE:
		return derive(k, h->what, body, answer, error);
	case KEY_NEXT:
		return make_next(s, body, answer, error);
	case KEY_FILE:
		/* Of the identity that is there the file was read: there is no reason to have it. */
		return h->slot == 1 ? write_file(s, k, body, answer, error) : ERR_DENIED;
	case KEY_OPEN:
	case KEY_VERBS:
		break;
	}
	return ERR_UNSUPPORTED;
}

void keyserver_fini(struct keyserver *s)
{
	ownkey_close(&s->key);
	keyring_free(s->next);
	secret_free(&s->passphrase);
}
