#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "base/secret.h"
#include "daemon/invites.h"
#include "daemon/loop.h"
#include "daemon/records_internal.h"
#include "daemon/restored.h"
#include "store/kv.h"
#include "store/outbox.h"
#include "store/restore.h"
#include "trust/keyring.h"

static char dir[64], path[128];
static struct env env;
static struct keyring *keys;
static struct store *store;
static struct audit *audit;

static struct store *open_store(void)
{
	struct secret wrap;
	struct store_config c = { .env = &env, .path = path };
	struct fault f = { 0 };
	struct store *s;

	assert_int_equal(keyring_derive(keys, DERIVE_DB_WRAP, &wrap), ERR_OK);
	c.wrap_key = secret_bytes(&wrap);
	if (store_open(&c, &s, &f) != ERR_OK)
		fail_msg("%s", f.what);
	secret_free(&wrap);
	return s;
}

static int setup(void **state)
{
	struct fault f = { 0 };
	char log[128];

	log_setup(&(struct log_config){ .level = LOG_ERROR, .fd = 2 });
	assert_int_equal(secret_init_library(), ERR_OK);
	env_of_system(&env);
	snprintf(dir, sizeof dir, "/tmp/ironmesh-restored-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/ironmesh.db", dir);
	snprintf(log, sizeof log, "%s/audit.log", dir);
	assert_int_equal(keyring_generate(&env, &keys), ERR_OK);
	assert_int_equal(audit_open(log, keys, &env, &audit, &f), ERR_OK);
	store = open_store();
	return 0;
}

static int remove_one(const char *p, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(p);
}

static int teardown(void **state)
{
	store_close(store);
	audit_close(audit);
	keyring_free(keys);
	timers_fini(&env);
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	return 0;
}

static void mark(void)
{
	char name[128];
	struct fault f = { 0 };

	snprintf(name, sizeof name, "%s/" RESTORED_MARK, dir);
	assert_int_equal(file_write_secret(name, BYTES_LIT("{\"archive_ms\":1753500000250,\"restored_ms\":1}"), &f), ERR_OK);
}

static bool marked(void)
{
	char name[128];

	snprintf(name, sizeof name, "%s/" RESTORED_MARK, dir);
	return access(name, F_OK) == 0;
}

static void put_gen(const char *key, uint64_t gen)
{
	uint8_t value[8];
	struct wr wr = wr_init(value, sizeof value);

	wr_u64(&wr, gen);
	assert_int_equal(store_kv_put(store, SPACE_GENERATION, bytes_str(key), BYTES_ARR(value)), ERR_OK);
}

static uint64_t gen(const char *key)
{
	struct buf b;
	struct rd r;
	uint64_t v;

	buf_init(&b, 64);
	assert_int_equal(store_kv_get(store, SPACE_GENERATION, bytes_str(key), &b), ERR_OK);
	r = rd_init(b.p, b.n);
	v = rd_u64(&r);
	assert_int_equal(rd_end(&r), ERR_OK);
	buf_fini(&b);
	return v;
}

static void send_one(uint8_t wire[static 16])
{
	struct outbox_new m = { .type = BYTES_LIT("MSG"), .priority = 1, .created_ms = env_wall(&env), .body = BYTES_LIT("x") };
	int64_t seq;

	memset(m.to.hex, 'a', NODE_ID_LEN);
	assert_int_equal(outbox_put(store, &m, &seq, wire), ERR_OK);
	assert_int_equal(store_commit(store), ERR_OK);
}

static enum err finish(void)
{
	struct fault f = { 0 };

	return restored_finish(dir, store, audit, &env, &f);
}

static void without_the_mark_nothing_changes(void **state)
{
	uint8_t one[16], two[16];

	put_gen("cap", 7);
	send_one(one);
	assert_int_equal(finish(), ERR_OK);
	send_one(two);
	assert_memory_equal(one, two, 8);
	assert_int_equal(gen("cap"), 7);
	assert_int_equal(audit_entries(audit), 0);
}

static void a_restored_copy_begins_a_new_life(void **state)
{
	uint8_t one[16], two[16], nonce[INVITE_NONCE] = { 1 };
	unsigned closed = 0;
	uint64_t first;
	struct buf b;

	put_gen("cap", 7);
	put_gen("highest", IM2_GEN_MAX - 1);
	assert_int_equal(store_kv_put(store, SPACE_PREKEY, BYTES_LIT("a prekey"), BYTES_LIT("secret")), ERR_OK);
	assert_int_equal(invites_add_spent(store, nonce, 0, env_wall(&env) + 600000), ERR_OK); /* not spent: open */
	send_one(one);
	mark();
	assert_int_equal(finish(), ERR_OK);
	assert_false(marked());
	send_one(two);
	assert_memory_not_equal(one, two, 8);
	first = gen("cap");
	assert_true(first > 7 + (1u << 24));
	assert_true(gen("highest") == IM2_GEN_MAX);
	buf_init(&b, 64);
	assert_int_equal(store_kv_get(store, SPACE_PREKEY, BYTES_LIT("a prekey"), &b), ERR_NOTFOUND);
	buf_fini(&b);
	assert_int_equal(invites_close_open(store, env_wall(&env), &closed), ERR_OK);
	assert_int_equal(closed, 0);
	assert_int_equal(audit_entries(audit), 1);
	/* It holds over a restart, and once is enough. */
	store_close(store);
	store = open_store();
	assert_true(gen("cap") == first);
	assert_int_equal(finish(), ERR_OK);
	assert_true(gen("cap") == first);
}

static void what_the_disk_refuses_is_done_at_the_next_start(void **state)
{
	put_gen("cap", 7);
	assert_int_equal(store_commit(store), ERR_OK);
	mark();
	store_fail_after(store, 1);
	assert_int_not_equal(finish(), ERR_OK);
	store_fail_after(store, 0);
	assert_true(marked());
	(void)!store_commit(store);
	assert_int_equal(gen("cap"), 7);
	assert_int_equal(finish(), ERR_OK);
	assert_true(gen("cap") > 7);
	assert_false(marked());
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(without_the_mark_nothing_changes),
		T(a_restored_copy_begins_a_new_life),
		T(what_the_disk_refuses_is_done_at_the_next_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
