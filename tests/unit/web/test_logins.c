#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/secret.h"
#include "base/text.h"
#include "web/tokens.h"

static uint64_t clock_ms = 1000000, chance;

static uint64_t now(void *ctx)
{
	return clock_ms;
}

static void draw(void *ctx, void *out, size_t n)
{
	uint8_t *p = out;

	for (size_t i = 0; i < n; i++) {
		chance = chance * 6364136223846793005u + 1442695040888963407u;
		p[i] = (uint8_t)(chance >> 56);
	}
}

static struct env env = { .now_ms = now, .wall_ms = now, .random = draw };
static struct logins l;
static char code[SECRET_HEX + 1], cookie[SECRET_HEX + 1], csrf[SECRET_HEX + 1];

static int setup(void **state)
{
	logins_init(&l, &env);
	return 0;
}

static struct login *sign_in(void)
{
	logins_code(&l, ROLE_SEND, code);
	return logins_open(&l, bytes_str(code), "127.0.0.1", cookie, csrf);
}

static void a_code_opens_one_session_once(void **state)
{
	struct login *x = sign_in();

	assert_non_null(x);
	assert_int_equal(x->role, ROLE_SEND);
	assert_ptr_equal(logins_find(&l, bytes_str(cookie)), x);
	assert_true(login_csrf_is(x, bytes_str(csrf)));
	assert_false(login_csrf_is(x, bytes_str(cookie)));
	assert_false(login_csrf_is(x, bytes_of(NULL, 0)));
	assert_null(logins_open(&l, bytes_str(code), "127.0.0.1", cookie, csrf));
}

static void a_code_is_old_after_a_minute(void **state)
{
	logins_code(&l, ROLE_ADMIN, code);
	clock_ms += CODE_MS;
	assert_null(logins_open(&l, bytes_str(code), "127.0.0.1", cookie, csrf));
}

static void nearly_the_code_is_not_the_code(void **state)
{
	logins_code(&l, ROLE_ADMIN, code);
	for (size_t i = 0; i < SECRET_HEX; i++)
		assert_null(logins_open(&l, bytes_of(code, i), "127.0.0.1", cookie, csrf));
	code[10] = code[10] == 'a' ? 'b' : 'a';
	assert_null(logins_open(&l, bytes_str(code), "127.0.0.1", cookie, csrf));
	assert_null(logins_open(&l, bytes_str("0000000000000000000000000000000000000000000000000000000000000000"), "x", cookie, csrf));
}

static void nothing_that_was_given_out_is_kept(void **state)
{
	const uint8_t *p = (const uint8_t *)&l;

	sign_in();
	for (size_t i = 0; i + SECRET_HEX <= sizeof l; i++) {
		assert_memory_not_equal(p + i, cookie, SECRET_HEX);
		assert_memory_not_equal(p + i, csrf, SECRET_HEX);
		assert_memory_not_equal(p + i, code, SECRET_HEX);
	}
}

static void a_session_ends_when_it_is_idle_and_when_its_day_is_over(void **state)
{
	struct login *x = sign_in();

	clock_ms += SESSION_IDLE_MS - 1;
	assert_non_null(logins_find(&l, bytes_str(cookie)));
	login_used(&l, x);
	for (int i = 0; i < 23; i++) {
		clock_ms += SESSION_IDLE_MS / 8;
		x = logins_find(&l, bytes_str(cookie));
		if (x)
			login_used(&l, x);
	}
	assert_null(logins_find(&l, bytes_str(cookie)));
	sign_in();
	clock_ms += SESSION_IDLE_MS;
	assert_null(logins_find(&l, bytes_str(cookie)));
}

static void the_least_recently_used_makes_room(void **state)
{
	char first[SECRET_HEX + 1];

	sign_in();
	memcpy(first, cookie, sizeof first);
	for (int i = 0; i < SESSIONS_MAX; i++) {
		clock_ms++;
		if (i == 5)
			login_used(&l, logins_find(&l, bytes_str(first)));
		assert_non_null(sign_in());
	}
	assert_non_null(logins_find(&l, bytes_str(first)));
	assert_non_null(logins_find(&l, bytes_str(cookie)));
}

static void an_ended_session_is_nobody(void **state)
{
	struct login *x = sign_in();
	char id[SESSION_ID + 1];

	memcpy(id, x->id, sizeof id);
	assert_ptr_equal(logins_by_id(&l, bytes_str(id)), x);
	login_end(x);
	assert_null(logins_find(&l, bytes_str(cookie)));
	assert_null(logins_by_id(&l, bytes_str(id)));
	assert_null(logins_by_id(&l, bytes_str("")));
}

/* --- tokens ---------------------------------------------------------------------------------------------- */
static void tokens_are_written_and_read_and_found(void **state)
{
	char path[] = "/tmp/ironmesh-tokens-XXXXXX", text[TOKEN_TEXT + 1], other[TOKEN_TEXT + 1];
	const struct token *made;
	struct tokens t = { 0 }, back;
	struct token was;
	struct fault f;
	struct buf b;
	int fd = mkstemp(path);

	close(fd);
	unlink(path);
	assert_int_equal(tokens_load(path, &back, &f), ERR_OK);
	assert_int_equal(back.n, 0);
	assert_int_equal(tokens_add(&t, &env, ROLE_READ, "grafana", 0, text, &made, &f), ERR_OK);
	assert_int_equal(tokens_add(&t, &env, ROLE_METRICS, "", 1000, other, &made, &f), ERR_OK);
	assert_int_equal(tokens_add(&t, &env, ROLE_READ, "grafana", 0, text + 0, &made, &f), ERR_EXISTS);
	assert_int_equal(tokens_save(path, &t, &f), ERR_OK);
	assert_int_equal(tokens_load(path, &back, &f), ERR_OK);
	assert_int_equal(back.n, 2);
	assert_int_equal(tokens_find(&back, bytes_str(text), clock_ms)->role, ROLE_READ);
	assert_non_null(tokens_find(&back, bytes_str(other), clock_ms + 999));
	assert_null(tokens_find(&back, bytes_str(other), clock_ms + 1000));
	for (size_t i = 0; i < TOKEN_TEXT; i++)
		assert_null(tokens_find(&back, bytes_of(text, i), clock_ms));
	buf_init(&b, 65536);
	assert_int_equal(file_read_secret(path, &b, &f), ERR_OK);
	assert_null(strstr(buf_cstr(&b), text));
	assert_null(strstr(buf_cstr(&b), text + 4));
	for (size_t i = 0; i + 3 < b.n; i++) /* whatever is cut off, nobody is admitted */
		assert_int_equal(tokens_parse(bytes_of(b.p, i), &back), ERR_MALFORMED);
	assert_int_equal(back.n, 0);
	buf_fini(&b);
	assert_int_equal(tokens_remove(&t, "grafana", &was, &f), ERR_OK);
	assert_int_equal(tokens_remove(&t, "grafana", &was, &f), ERR_NOTFOUND);
	assert_null(tokens_find(&t, bytes_str(text), clock_ms));
	unlink(path);
}

static void a_damaged_file_admits_nobody_and_stays(void **state)
{
	char path[] = "/tmp/ironmesh-tokens-XXXXXX";
	struct tokens t;
	struct fault f;
	int fd = mkstemp(path);

	assert_int_equal(write(fd, "{\"version\":1,\"tokens\":[{}]}", 27), 27);
	close(fd);
	assert_int_equal(tokens_load(path, &t, &f), ERR_CORRUPT);
	assert_int_equal(f.code, EXIT_INTEGRITY);
	assert_int_equal(t.n, 0);
	assert_int_equal(access(path, F_OK), 0);
	unlink(path);
}

static void there_are_so_many_tokens_and_no_more(void **state)
{
	char text[TOKEN_TEXT + 1];
	const struct token *made;
	struct tokens t = { 0 };
	struct fault f;

	for (int i = 0; i < TOKENS_MAX; i++)
		assert_int_equal(tokens_add(&t, &env, ROLE_ADMIN, "", 0, text, &made, &f), ERR_OK);
	assert_int_equal(tokens_add(&t, &env, ROLE_ADMIN, "", 0, text, &made, &f), ERR_FULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_code_opens_one_session_once, setup),
		cmocka_unit_test_setup(a_code_is_old_after_a_minute, setup),
		cmocka_unit_test_setup(nearly_the_code_is_not_the_code, setup),
		cmocka_unit_test_setup(nothing_that_was_given_out_is_kept, setup),
		cmocka_unit_test_setup(a_session_ends_when_it_is_idle_and_when_its_day_is_over, setup),
		cmocka_unit_test_setup(the_least_recently_used_makes_room, setup),
		cmocka_unit_test_setup(an_ended_session_is_nobody, setup),
		cmocka_unit_test(tokens_are_written_and_read_and_found),
		cmocka_unit_test(a_damaged_file_admits_nobody_and_stays),
		cmocka_unit_test(there_are_so_many_tokens_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
