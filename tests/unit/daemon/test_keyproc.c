#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/keyproc_internal.h"
#include "daemon/loop.h"

/* A real key process and, beside it, the same keys in this one. */
static char dir[] = "/tmp/test-keyproc-XXXXXX", path[64];
static struct env env;
static const struct bytes words = { (const uint8_t *)"correct horse battery staple", 28 };

struct both {
	struct keyproc *k;
	struct ownkey there, here;
};

static void both_open(struct both *b, bool clear)
{
	struct fault f = { 0 };
	struct bytes none = { 0 };

	unlink(path);
	assert_int_equal(keyproc_start(&b->k, &f), ERR_OK);
	assert_int_equal(keyproc_open(b->k, path, clear ? none : words, "alice", clear, &b->there, &f), ERR_OK);
	assert_int_equal(ownkey_open(path, clear ? none : words, NULL, clear, &env, &b->here, &f), ERR_OK);
}

static void both_close(struct both *b)
{
	ownkey_close(&b->there);
	ownkey_close(&b->here);
	keyproc_end(b->k);
}

static void same_public(const struct keyring *a, const struct keyring *b)
{
	assert_memory_equal(keyring_ed(a), keyring_ed(b), ED_BYTES);
	assert_memory_equal(keyring_x25519(a), keyring_x25519(b), X25519_BYTES);
	assert_memory_equal(keyring_binding(a), keyring_binding(b), SIG_BYTES);
	assert_true(node_id_eq(keyring_id(a), keyring_id(b)));
}

static struct bytes text_of(enum sig_context c, uint8_t *room, size_t n)
{
	struct bytes prefix = sig_prefix(c);

	memset(room, 'x', n);
	if (prefix.n)
		memcpy(room, prefix.p, prefix.n);
	if (c == SIG_BARE_HELLO)
		room[0] = '{';
	if (c == SIG_BARE_REVOCATION) {
		memset(room, '0', 2 * NODE_ID_LEN + 5);
		n = 2 * NODE_ID_LEN + 5;
	}
	return bytes_of(room, n);
}

/* --- the verbs ------------------------------------------------------------------------------------------- */

static void every_verb_gives_what_it_gives_here(void **state)
{
	static uint8_t room[300000];
	uint8_t sig[SIG_BYTES], want[SIG_BYTES], dh[X25519_BYTES], dh_here[X25519_BYTES], zero[X25519_BYTES] = { 0 };
	struct both b;
	struct buf sealed, plain;

	both_open(&b, true);
	assert_true(b.there.made);
	assert_string_equal(b.there.name, "alice");
	assert_int_equal(b.there.info.version, 3);
	same_public(b.there.keyring, b.here.keyring);
	for (int c = 0; c < SIG_CONTEXTS; c++) {
		static const size_t sizes[] = { 100, 70000, sizeof room };

		for (size_t i = 0; i < 3; i++) {
			struct bytes text = text_of((enum sig_context)c, room, sizes[i]);

			keyring_sign(b.there.keyring, (enum sig_context)c, text, sig);
			keyring_sign(b.here.keyring, (enum sig_context)c, text, want);
			assert_memory_equal(sig, want, sizeof sig);
		}
	}
	for (int i = 0; i < DERIVE_COUNT; i++) {
		struct secret x, y;

		assert_int_equal(keyring_derive(b.there.keyring, (enum derived_key)i, &x), ERR_OK);
		assert_int_equal(keyring_derive(b.here.keyring, (enum derived_key)i, &y), ERR_OK);
		assert_int_equal(x.n, y.n);
		assert_memory_equal(x.p, y.p, x.n);
		secret_free(&x);
		secret_free(&y);
	}
	assert_int_equal(keyring_noise_dh(b.there.keyring, keyring_ed(b.here.keyring), dh), ERR_OK);
	assert_int_equal(keyring_noise_dh(b.here.keyring, keyring_ed(b.here.keyring), dh_here), ERR_OK);
	assert_memory_equal(dh, dh_here, sizeof dh);
	assert_int_equal(keyring_noise_dh(b.there.keyring, zero, dh), ERR_AUTH);
	assert_memory_equal(dh, dh_here, sizeof dh);

	buf_init(&sealed, 1000000);
	buf_init(&plain, 1000000);
	assert_int_equal(seal_for(&env, keyring_x25519(b.here.keyring), BYTES_ARR(room), &sealed), ERR_OK);
	assert_int_equal(keyring_open_sealed(b.there.keyring, buf_bytes(&sealed), &plain), ERR_OK);
	assert_true(bytes_eq(buf_bytes(&plain), BYTES_ARR(room)));
	sealed.p[sealed.n - 1] ^= 1;
	buf_reset(&plain);
	assert_int_equal(keyring_open_sealed(b.there.keyring, buf_bytes(&sealed), &plain), ERR_AUTH);
	assert_int_equal(plain.n, 0);
	assert_int_equal(keyring_open_sealed(b.there.keyring, bytes_of(room, 3), &plain), ERR_SHORT);
	buf_fini(&sealed);
	buf_fini(&plain);
	both_close(&b);
}

static void errors_are_told_as_here(void **state)
{
	struct fault f = { 0 }, g = { 0 };
	struct ownkey own;
	struct keyproc *k;
	struct both b;

	both_open(&b, false);
	assert_true(b.there.info.encrypted);
	both_close(&b);
	assert_int_equal(keyproc_start(&k, &f), ERR_OK);
	assert_int_equal(keyproc_open(k, path, BYTES_LIT("wrong horse battery staple"), NULL, false, &own, &f), ERR_AUTH);
	assert_int_equal(ownkey_open(path, BYTES_LIT("wrong horse battery staple"), NULL, false, &env, &own, &g), ERR_AUTH);
	assert_string_equal(f.what, g.what);
	assert_string_equal(f.means, g.means);
	assert_string_equal(f.next, g.next);
	assert_int_equal(f.code, g.code);
	keyproc_end(k);
}

/* --- a new identity ----------------------------------------------------------------------------------------- */

static void rotate(bool clear)
{
	struct both b;
	struct keyring *next, *read;
	struct keyfile_info info;
	struct fault f = { 0 };
	uint8_t sig[SIG_BYTES], room[200];
	struct bytes text = text_of(SIG_V3_RECORD, room, sizeof room), none = { 0 };
	char kept[128];

	both_open(&b, clear);
	assert_int_equal(keyring_next(b.there.keyring, &env, &next), ERR_OK);
	assert_false(node_id_eq(keyring_id(next), keyring_id(b.there.keyring)));
	/* both sign, each for itself */
	keyring_sign(next, SIG_V3_RECORD, text, sig);
	assert_true(sig_verify(SIG_V3_RECORD, keyring_ed(next), text, sig));
	keyring_sign(b.there.keyring, SIG_V3_RECORD, text, sig);
	assert_true(sig_verify(SIG_V3_RECORD, keyring_ed(b.here.keyring), text, sig));
	assert_int_equal(keyfile_rotate_to(path, none, &env, next, &f), ERR_OK);
	assert_int_equal(keyfile_load(path, clear ? none : words, &env, &read, &info, &f), ERR_OK);
	same_public(read, next);
	assert_string_equal(info.name, "alice");
	assert_int_equal(info.encrypted, !clear);
	keyring_free(read);
	snprintf(kept, sizeof kept, "%s.%s.bak", path, keyring_id(b.here.keyring)->hex);
	assert_int_equal(keyfile_load(kept, clear ? none : words, &env, &read, &info, &f), ERR_OK);
	same_public(read, b.here.keyring);
	keyring_free(read);
	keyring_free(next);
	both_close(&b);
}

static void a_new_identity_is_made_and_written(void **state)
{
	rotate(true);
	rotate(false);
}

/* --- what is no request ---------------------------------------------------------------------------------- */

static enum err asked(struct keyserver *s, uint8_t verb, uint8_t slot, uint16_t what, struct bytes body)
{
	struct buf answer;
	enum err error, e;

	buf_init(&answer, KEY_BODY_MAX);
	e = keyserver_take(s, &(struct key_head){ .n = (uint32_t)body.n, .verb = verb, .slot = slot, .what = what }, body, &answer,
			   &error);
	buf_fini(&answer);
	return e;
}

static void what_is_no_request_has_no_answer(void **state)
{
	struct keyserver s = { .env = &env };
	uint8_t room[200], head[KEY_HEAD];
	struct key_head h;
	struct bytes text = text_of(SIG_V3_MESSAGE, room, sizeof room), none = { 0 };

	for (uint8_t verb = 0; verb < 20; verb++)
		assert_int_not_equal(asked(&s, verb, 0, 0, verb == KEY_OPEN ? none : text), ERR_OK);
	assert_int_equal(keyring_generate(&env, &s.key.keyring), ERR_OK);
	s.opened = true;
	assert_int_equal(asked(&s, KEY_SIGN, 0, SIG_V3_MESSAGE, text), ERR_OK);
	/* out of its context: another one's prefix, text of a context signed as bare, no context at all */
	assert_int_equal(asked(&s, KEY_SIGN, 0, SIG_V3_RECEIPT, text), ERR_DENIED);
	assert_int_equal(asked(&s, KEY_SIGN, 0, SIG_BARE_OUTER, text), ERR_DENIED);
	assert_int_equal(asked(&s, KEY_SIGN, 0, SIG_BARE_HELLO, text), ERR_DENIED);
	assert_int_equal(asked(&s, KEY_SIGN, 0, SIG_BARE_REVOCATION, text), ERR_DENIED);
	assert_int_equal(asked(&s, KEY_SIGN, 0, SIG_CONTEXTS, text), ERR_DENIED);
	assert_int_equal(asked(&s, KEY_SIGN, 0, 0xffff, text), ERR_DENIED);
	assert_int_equal(asked(&s, KEY_SIGN, 0, SIG_V3_MESSAGE, bytes_of(room, sig_prefix(SIG_V3_MESSAGE).n - 1)), ERR_DENIED);
	assert_int_equal(asked(&s, KEY_SIGN, 1, SIG_V3_MESSAGE, text), ERR_WRONG_STATE);
	assert_int_equal(asked(&s, KEY_SIGN, 2, SIG_V3_MESSAGE, text), ERR_WRONG_STATE);
	assert_int_equal(asked(&s, KEY_DH, 0, 0, bytes_of(room, X25519_BYTES - 1)), ERR_MALFORMED);
	assert_int_equal(asked(&s, KEY_DH, 0, 0, bytes_of(room, X25519_BYTES + 1)), ERR_MALFORMED);
	assert_int_equal(asked(&s, KEY_DERIVE, 0, DERIVE_COUNT, none), ERR_MALFORMED);
	assert_int_equal(asked(&s, KEY_DERIVE, 0, 0, text), ERR_MALFORMED);
	/* the text of a key file of the identity that is there is never needed; a clear one would be its seed */
	assert_int_equal(asked(&s, KEY_FILE, 0, 0, none), ERR_DENIED);
	assert_int_equal(asked(&s, KEY_FILE, 1, 0, none), ERR_WRONG_STATE);
	assert_int_equal(asked(&s, KEY_NEXT, 0, 0, none), ERR_OK);
	assert_int_equal(asked(&s, KEY_FILE, 1, 0, none), ERR_OK);
	assert_int_equal(asked(&s, KEY_FILE, 1, 0, text), ERR_MALFORMED);
	assert_int_equal(asked(&s, KEY_FILE, 0, 0, none), ERR_DENIED);
	assert_int_equal(asked(&s, KEY_VERBS, 0, 0, none), ERR_UNSUPPORTED);
	assert_int_equal(asked(&s, KEY_OPEN, 0, 0, text), ERR_MALFORMED);
	keyserver_fini(&s);
	key_head_write(&(struct key_head){ .n = KEY_BODY_MAX + 1, .verb = KEY_SIGN }, head);
	assert_int_equal(key_head_read(head, &h), ERR_LIMIT);
	key_head_write(&(struct key_head){ .n = KEY_BODY_MAX, .verb = KEY_SIGN, .slot = 1, .what = 7 }, head);
	assert_int_equal(key_head_read(head, &h), ERR_OK);
	assert_int_equal(h.n, KEY_BODY_MAX);
	assert_int_equal(h.what, 7);
}

static void every_shorter_and_longer_open_is_refused(void **state)
{
	struct key_open o = { .clear = true, .path = BYTES_LIT("/home/keys.json"), .name = BYTES_LIT("alice"), .passphrase = words },
			got;
	struct buf b;

	buf_init(&b, 10000);
	key_open_write(&b, &o);
	assert_int_equal(key_open_read(buf_bytes(&b), &got), ERR_OK);
	assert_true(got.clear && bytes_eq(got.path, o.path) && bytes_eq(got.name, o.name) &&
		    bytes_eq(got.passphrase, o.passphrase));
	for (size_t n = 0; n < b.n; n++)
		assert_int_not_equal(key_open_read(bytes_of(b.p, n), &got), ERR_OK);
	buf_add_u8(&b, 0);
	assert_int_equal(key_open_read(buf_bytes(&b), &got), ERR_TRAILING);
	buf_fini(&b);
}

/* --- its end ------------------------------------------------------------------------------------------------- */

/* How a process ends that does `f` with a key process of its own. */
static int ends(void (*f)(struct both *b))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct both b;

		alarm(20);
		both_open(&b, true);
		f(&b);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void sign_after_its_death(struct both *b)
{
	uint8_t room[100], sig[SIG_BYTES];

	kill(keyproc_pid(b->k), SIGKILL);
	keyring_sign(b->there.keyring, SIG_V3_MESSAGE, text_of(SIG_V3_MESSAGE, room, sizeof room), sig);
}

static void open_twice(struct both *b)
{
	struct fault f = { 0 };
	struct ownkey again;

	(void)!keyproc_open(b->k, path, (struct bytes){ 0 }, NULL, true, &again, &f);
}

static void too_late(uv_timer_t *t)
{
	uv_stop(t->loop);
}

static void run_the_loop(struct both *b)
{
	uv_timer_t soon;
	uv_loop_t loop;

	uv_loop_init(&loop);
	uv_timer_init(&loop, &soon);
	uv_timer_start(&soon, too_late, 15000, 0);
	keyproc_watch(b->k, &loop);
	kill(keyproc_pid(b->k), SIGKILL); /* cmocka would take another */
	uv_run(&loop, UV_RUN_DEFAULT);
}

static void without_it_nothing_goes_on(void **state)
{
	assert_int_equal(ends(sign_after_its_death), EXIT_GENERIC << 8);
	assert_int_equal(ends(open_twice), EXIT_GENERIC << 8);
	assert_int_equal(ends(run_the_loop), EXIT_GENERIC << 8);
}

static void it_ends_with_whom_it_serves(void **state)
{
	int fd[2];
	char c;
	pid_t pid;

	assert_int_equal(pipe(fd), 0);
	pid = fork();
	if (pid == 0) {
		struct both b;

		both_open(&b, true);
		dprintf(fd[1], "%d\n", (int)keyproc_pid(b.k));
		pause();
	}
	char line[32] = "";
	for (size_t i = 0; i < sizeof line - 1 && read(fd[0], line + i, 1) == 1 && line[i] != '\n'; i++)
		;
	pid_t keys = (pid_t)strtol(line, NULL, 10);
	assert_true(keys > 1);
	assert_int_equal(kill(keys, SIGTERM), 0); /* it does not listen to that */
	assert_int_equal(kill(keys, 0), 0);
	close(fd[1]);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	/* it closed its end of the pipe with everything else, so this does not wait for it */
	assert_int_equal(read(fd[0], &c, 1), 0);
	for (int i = 0; i < 500 && kill(keys, 0) == 0; i++)
		usleep(10000);
	assert_int_not_equal(kill(keys, 0), 0);
	close(fd[0]);
}

static int set_up(void **state)
{
	log_setup(&(struct log_config){ .level = LOG_ERROR, .fd = -1 });
	env_of_system(&env);
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/keys.json", dir);
	return 0;
}

static int tear_down(void **state)
{
	char command[100];

	snprintf(command, sizeof command, "rm -rf '%s'", dir);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_verb_gives_what_it_gives_here),
		cmocka_unit_test(errors_are_told_as_here),
		cmocka_unit_test(a_new_identity_is_made_and_written),
		cmocka_unit_test(what_is_no_request_has_no_answer),
		cmocka_unit_test(every_shorter_and_longer_open_is_refused),
		cmocka_unit_test(without_it_nothing_goes_on),
		cmocka_unit_test(it_ends_with_whom_it_serves),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
