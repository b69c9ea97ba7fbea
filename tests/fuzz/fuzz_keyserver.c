/* rooms: daemon web transports store protocol trust base */
/*
 * What a daemon in other hands may say to the key process: requests one after another, as they lie on its socket. The
 * key file was opened before, so nothing here opens a file. A signature that is given fits its context; nothing is
 * answered to what is no request; the answers are read as the daemon reads them.
 */
#include <stdlib.h>

#include "daemon/keyproc_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t clock_of(void *ctx)
{
	return 1753500000250u;
}

static void fill(void *ctx, void *out, size_t n)
{
	memset(out, 0x5a, n);
}

static struct env env = { .now_ms = clock_of, .wall_ms = clock_of, .random = fill };

static void look_at(const struct keyserver *s, const struct key_head *h, struct bytes body, struct bytes answer, enum err error)
{
	const struct keyring *k = h->slot ? s->next : s->key.keyring;

	if (h->verb == KEY_SIGN) {
		BUG_ON(error != ERR_OK || answer.n != SIG_BYTES || !sig_fits((enum sig_context)h->what, body));
		BUG_ON(!sig_verify((enum sig_context)h->what, keyring_ed(k), body, answer.p));
	} else if (error == ERR_OK && (h->verb == KEY_DH || h->verb == KEY_DERIVE)) {
		BUG_ON(answer.n != 32);
	} else if (h->verb == KEY_FILE) {
		BUG_ON(!h->slot);
	} else if (h->verb == KEY_NEXT) {
		BUG_ON(answer.n != KEY_PUBLIC);
	}
	BUG_ON(error != ERR_OK && h->verb != KEY_FILE && answer.n);
}

static void requests(const uint8_t *data, size_t size)
{
	struct keyserver s = { .env = &env };
	struct buf answer;

	BUG_ON(keyring_generate(&env, &s.key.keyring) != ERR_OK);
	memcpy(s.key.info.name, "node", 5);
	s.opened = true;
	buf_init(&answer, KEY_BODY_MAX);
	for (int i = 0; i < 8 && size >= KEY_HEAD; i++) {
		struct key_head h;
		enum err error;

		if (key_head_read(data, &h) != ERR_OK || h.n > size - KEY_HEAD)
			break;
		if (keyserver_take(&s, &h, bytes_of(data + KEY_HEAD, h.n), &answer, &error) != ERR_OK)
			break;
		look_at(&s, &h, bytes_of(data + KEY_HEAD, h.n), buf_bytes(&answer), error);
		buf_reset(&answer);
		data += KEY_HEAD + h.n;
		size -= KEY_HEAD + h.n;
	}
	buf_fini(&answer);
	keyserver_fini(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct keyring_public p;
	struct key_open o, again;
	struct ownkey k;
	struct fault f;
	struct buf b;

	BUG_ON(secret_init_library() != ERR_OK);
	if (size == 0)
		return 0;
	switch (*data++ % 4) {
	case 0:
		requests(data, size - 1);
		break;
	case 1:
		if (key_open_read(bytes_of(data, size - 1), &o) != ERR_OK)
			break;
		buf_init(&b, 16384);
		key_open_write(&b, &o);
		BUG_ON(key_open_read(buf_bytes(&b), &again) != ERR_OK || !bytes_eq(again.passphrase, o.passphrase));
		buf_fini(&b);
		break;
	case 2:
		(void)!key_opened_read(bytes_of(data, size - 1), &p, &k);
		break;
	default:
		(void)!key_fault_read(bytes_of(data, size - 1), ERR_AUTH, &f);
		break;
	}
	return 0;
}
