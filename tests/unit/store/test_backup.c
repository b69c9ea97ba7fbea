#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "store/audit.h"
#include "store/restore.h"
#include "store/snapshot.h"
#include "store/state_check.h"
#include "tests/lib/store_world.h"
#include "trust/keyfile.h"
#include "trust/pins.h"

#define PASS BYTES_LIT("correct horse battery")

static const struct backup_cost CHEAP = { .ops = 1, .mem_kib = BACKUP_MEM_MIN_KIB };
static struct world w;
static struct keyring *keys;
static struct store *store;
static char home[80], copy[120], file[120];

static void in(char out[static 256], const char *folder, const char *name)
{
	assert_int_equal(path_join(out, 256, folder, name), ERR_OK);
}

static struct store *open_store(void)
{
	struct store_config c = { .env = &w.env };
	struct secret wrap;
	struct store *s;
	char path[256];
	struct fault f = { 0 };

	in(path, home, "ironmesh.db");
	assert_int_equal(keyring_derive(keys, DERIVE_DB_WRAP, &wrap), ERR_OK);
	c.path = path;
	c.wrap_key = secret_bytes(&wrap);
	if (store_open(&c, &s, &f) != ERR_OK)
		fail_msg("%s", f.what);
	secret_free(&wrap);
	return s;
}

/* A home folder as a daemon has it, with its database open. */
static int setup(void **state)
{
	struct fault f = { 0 };
	struct audit *a;
	struct pins *p;
	char path[256];

	log_setup(&(struct log_config){ .level = LOG_ERROR, .fd = 2 });
	world_init(&w);
	keys = world_keys(&w);
	snprintf(home, sizeof home, "%s/home", w.dir);
	snprintf(copy, sizeof copy, "%s/.backup-0011223344556677", home);
	snprintf(file, sizeof file, "%s/out.backup", w.dir);
	assert_int_equal(mkdir(home, 0700), 0);
	in(path, home, "keys.json");
	assert_int_equal(keyfile_create(path, keys, "alice", (struct bytes){ 0 }, true, &w.env, &f), ERR_OK);
	in(path, home, "known_peers.json");
	assert_int_equal(pins_load(path, keys, &w.env, &p, &f), ERR_OK);
	pins_free(p);
	in(path, home, "audit.log");
	assert_int_equal(audit_open(path, keys, &w.env, &a, &f), ERR_OK);
	audit_note(a, "STARTUP", (struct bytes){ 0 }, "name", "alice", NULL);
	audit_close(a);
	in(path, home, "conf.d");
	assert_int_equal(mkdir(path, 0700), 0);
	in(path, home, "conf.d/a.conf");
	world_write(path, "[log]\n", 6);
	in(path, home, "notes");
	world_write(path, "mine", 4);
	store = open_store();
	return 0;
}

static int teardown(void **state)
{
	store_close(store);
	store = NULL;
	keyring_free(keys);
	world_fini(&w);
	return 0;
}

static void put(const char *id, size_t n)
{
	char *body = malloc(n + 1);
	int64_t seq;
	uint8_t wire[16];
	struct outbox_new m = { .id = bytes_str(id), .to = world_peer(1), .type = BYTES_LIT("MSG"), .priority = 1, .created_ms = w.wall_ms };

	memset(body, 'x', n);
	m.body = bytes_of(body, n);
	assert_int_equal(outbox_put(store, &m, &seq, wire), ERR_OK);
	free(body);
}

static struct snapshot *begin(void)
{
	struct snapshot *s;
	struct fault f = { 0 };

	if (snapshot_begin(home, NULL, &s, &f) != ERR_OK)
		fail_msg("%s", f.what);
	return s;
}

static void take(void)
{
	struct snapshot *s = begin();
	struct fault f = { 0 };

	if (snapshot_copy(s, copy, NULL, &f) != ERR_OK)
		fail_msg("%s", f.what);
	snapshot_free(s);
}

static struct state_report checked(const char *folder)
{
	struct state_keys k;
	struct state_report r;
	struct fault f = { 0 };

	assert_int_equal(state_keys_of(keys, &k), ERR_OK);
	if (state_check(folder, &k, &w.env, &r, &f) != ERR_OK)
		fail_msg("%s", f.what);
	state_keys_fini(&k);
	return r;
}

static bool has(const char *folder, const char *name)
{
	char path[256];

	in(path, folder, name);
	return access(path, F_OK) == 0;
}

static void a_snapshot_is_of_one_moment(void **state)
{
	struct snapshot *s;
	struct fault f = { 0 };
	struct store *was;
	struct outbox_row row;
	struct audit *a;
	char left[200], path[256], from[256], to[256];

	put("before", 100);
	assert_int_equal(store_commit(store), ERR_OK);
	s = begin();
	assert_int_equal(snapshot_left_out(s, left, sizeof left), 1);
	assert_string_equal(left, "notes");
	/* What comes after the moment is not in it: messages, audit entries, a replaced file. */
	for (int i = 0; i < 300; i++) {
		char id[24];

		snprintf(id, sizeof id, "after-%d", i);
		put(id, 2000);
	}
	assert_int_equal(store_commit(store), ERR_OK);
	(void)!store_checkpoint(store);
	in(path, home, "audit.log");
	assert_int_equal(audit_open(path, keys, &w.env, &a, &f), ERR_OK);
	audit_note(a, "SHUTDOWN", (struct bytes){ 0 }, NULL);
	audit_close(a);
	in(from, home, "conf.d/a.conf");
	assert_int_equal(file_write_secret(from, BYTES_LIT("[changed]\n"), &f), ERR_OK);
	assert_int_equal(snapshot_copy(s, copy, NULL, &f), ERR_OK);
	snapshot_free(s);
	assert_int_equal(checked(copy).audit_entries, 1);
	assert_true(has(copy, "conf.d/a.conf") && has(copy, "keys.json") && !has(copy, "notes") && !has(copy, "ironmesh.db-wal"));
	store_close(store);
	in(to, home, "ironmesh.db");
	in(from, copy, "ironmesh.db");
	world_copy(from, to);
	was = open_store();
	assert_int_equal(outbox_get(was, BYTES_LIT("before"), &row), ERR_OK);
	assert_int_equal(outbox_get(was, BYTES_LIT("after-1"), &row), ERR_NOTFOUND);
	store = was;
	snapshot_remove(copy);
	assert_false(has(copy, ""));
}

static void there_and_back(void **state)
{
	struct backup_made made;
	struct backup *b;
	struct fault f = { 0 };
	struct stat st;
	char out[120];

	put("one", 5000);
	assert_int_equal(store_commit(store), ERR_OK);
	take();
	if (backup_make(copy, file, PASS, CHEAP, false, w.wall_ms, NULL, &made, &f) != ERR_OK)
		fail_msg("%s", f.what);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal((uint64_t)st.st_size, made.bytes);
	assert_string_equal(made.manifest.name, "alice");
	/* Never over another one. */
	{
		struct backup_made again;

		assert_int_equal(backup_make(copy, file, PASS, CHEAP, false, w.wall_ms, NULL, &again, &f), ERR_EXISTS);
		assert_int_equal(backup_make(copy, file, PASS, CHEAP, true, w.wall_ms, NULL, &again, &f), ERR_OK);
		backup_manifest_fini(&again.manifest);
	}
	assert_int_equal(backup_open(file, PASS, &b, &f), ERR_OK);
	assert_int_equal(backup_manifest(b)->n, made.manifest.n);
	snprintf(out, sizeof out, "%s/out", w.dir);
	assert_int_equal(mkdir(out, 0700), 0);
	if (backup_unpack(b, out, NULL, &f) != ERR_OK)
		fail_msg("%s", f.what);
	backup_close(b);
	for (size_t i = 0; i < made.manifest.n; i++) {
		char one[256], two[256], *p, *q;
		size_t n, k;

		in(one, copy, made.manifest.files[i].name);
		in(two, out, made.manifest.files[i].name);
		p = world_read(one, &n);
		q = world_read(two, &k);
		assert_int_equal(n, k);
		assert_memory_equal(p, q, n);
		free(p);
		free(q);
	}
	assert_true(checked(out).database);
	backup_manifest_fini(&made.manifest);
	snapshot_remove(copy);
}

static void two_backups_of_one_folder_hold_the_same(void **state)
{
	struct backup_manifest one, two;
	struct fault f = { 0 };
	struct buf a, b;

	take();
	assert_int_equal(backup_manifest_of(copy, 7, &one, &f), ERR_OK);
	assert_int_equal(backup_manifest_of(copy, 7, &two, &f), ERR_OK);
	buf_init(&a, BACKUP_MANIFEST_MAX);
	buf_init(&b, BACKUP_MANIFEST_MAX);
	assert_int_equal(backup_manifest_write(&one, &a), ERR_OK);
	assert_int_equal(backup_manifest_write(&two, &b), ERR_OK);
	assert_true(bytes_eq(buf_bytes(&a), buf_bytes(&b)));
	backup_manifest_fini(&two);
	assert_int_equal(backup_manifest_parse(buf_bytes(&a), &two, &f), ERR_OK);
	assert_int_equal(two.n, one.n);
	assert_int_equal(two.bytes, one.bytes);
	backup_manifest_fini(&one);
	backup_manifest_fini(&two);
	buf_fini(&a);
	buf_fini(&b);
}

static bool until(void *ctx, const char *phase, uint64_t done, uint64_t all)
{
	const char *stop_at = ctx;

	return strcmp(phase, stop_at) != 0;
}

static unsigned temporary(const char *folder)
{
	DIR *d = opendir(folder);
	struct dirent *e;
	unsigned n = 0;

	while ((e = readdir(d)))
		n += strstr(e->d_name, ".tmp") != NULL;
	closedir(d);
	return n;
}

static void an_end_by_the_watch_leaves_nothing(void **state)
{
	static const char *const phases[] = { "write", "check" };
	struct backup_watch watch = { .fn = until };
	struct snapshot *s = begin();
	struct backup_made made;
	struct fault f = { 0 };

	watch.ctx = (void *)"copy";
	assert_int_equal(snapshot_copy(s, copy, &watch, &f), ERR_CLOSED);
	snapshot_free(s);
	snapshot_remove(copy);
	take();
	for (int i = 0; i < 2; i++) {
		watch.ctx = (void *)phases[i];
		assert_int_equal(backup_make(copy, file, PASS, CHEAP, false, 1, &watch, &made, &f), ERR_CLOSED);
		assert_int_not_equal(access(file, F_OK), 0);
		assert_int_equal(temporary(w.dir), 0);
	}
	/* What a crash left goes with the next one; what another file left stays. */
	{
		char path[256];

		in(path, w.dir, ".out.backup.0123456789abcdef.tmp");
		world_write(path, "x", 1);
		in(path, w.dir, ".other.backup.0123456789abcdef.tmp");
		world_write(path, "x", 1);
	}
	assert_int_equal(backup_make(copy, file, PASS, CHEAP, false, 1, NULL, &made, &f), ERR_OK);
	assert_int_equal(temporary(w.dir), 1);
	backup_manifest_fini(&made.manifest);
	/* One that another user has there is his. */
	if (geteuid() == 0) {
		assert_int_equal(chown(copy, 4242, 4242), 0);
		snapshot_sweep(home);
		assert_int_equal(access(copy, F_OK), 0);
		assert_int_equal(chown(copy, 0, 0), 0);
	}
	snapshot_sweep(home);
	assert_int_not_equal(access(copy, F_OK), 0);
}

static void damaged_state_is_found(void **state)
{
	static const char *const names[] = { "ironmesh.db", "known_peers.json", "audit.log", "keys.json" };
	struct state_keys k;
	struct state_report r;
	char path[256];

	{
		struct pins *p;
		struct fault f = { 0 };
		struct keyring *other = world_other_keys(&w);

		in(path, home, "known_peers.json");
		assert_int_equal(pins_load(path, keys, &w.env, &p, &f), ERR_OK);
		assert_int_equal(pins_pin(p, keyring_ed(other), "bob", 1, &f), ERR_OK);
		assert_int_equal(pins_flush(p, &f), ERR_OK);
		pins_free(p);
		keyring_free(other);
	}
	take();
	assert_int_equal(checked(copy).pins, 1);
	assert_int_equal(state_keys_of(keys, &k), ERR_OK);
	for (size_t i = 0; i < 4; i++) {
		struct fault f = { 0 };
		size_t n;
		char *p;

		in(path, copy, names[i]);
		p = world_read(path, &n);
		for (size_t at = n / 3; at < n / 3 + 40; at++)
			p[at] ^= 0x55;
		world_write(path, p, n);
		if (state_check(copy, &k, &w.env, &r, &f) == ERR_OK && i != 0)
			fail_msg("%s was damaged, and nobody noticed", names[i]);
		for (size_t at = n / 3; at < n / 3 + 40; at++)
			p[at] ^= 0x55;
		world_write(path, p, n);
		free(p);
		checked(copy);
	}
	/* Without the keys it is asked what can be asked without them. */
	{
		struct fault f = { 0 };

		assert_int_equal(state_check(copy, NULL, &w.env, &r, &f), ERR_OK);
		assert_false(r.with_keys);
	}
	state_keys_fini(&k);
	/* The database of somebody else. */
	{
		struct keyring *other = world_other_keys(&w);
		struct fault f = { 0 };

		assert_int_equal(state_keys_of(other, &k), ERR_OK);
		assert_int_equal(state_check(copy, &k, &w.env, &r, &f), ERR_CORRUPT);
		state_keys_fini(&k);
		keyring_free(other);
	}
}

static void the_exchange_is_one_step(void **state)
{
	enum restore_target target;
	char staged[4096], kept[4096], target_home[120], path[256];
	struct fault f = { 0 };
	int lock;

	snprintf(target_home, sizeof target_home, "%s/node", w.dir);
	/* Nothing there. */
	assert_int_equal(restore_look(target_home, &target, &f), ERR_OK);
	assert_int_equal(target, RESTORE_ABSENT);
	assert_int_equal(restore_stage(target_home, staged, &lock, &f), ERR_OK);
	in(path, staged, "keys.json");
	world_write(path, "one", 3);
	assert_int_equal(restore_finish(target_home, staged, true, 5, 6, &f), ERR_OK);
	assert_int_equal(restore_swap(target_home, staged, RESTORE_ABSENT, 1753500000250, kept, &f), ERR_OK);
	close(lock);
	assert_string_equal(kept, "");
	assert_true(has(target_home, "keys.json") && has(target_home, "restored"));
	/* In place of it, twice in one second. */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(restore_stage(target_home, staged, &lock, &f), ERR_OK);
		in(path, staged, "keys.json");
		world_write(path, i ? "three" : "two", i ? 5 : 3);
		/* One that nobody has locked is not replaced. */
		assert_int_equal(restore_swap(target_home, staged, RESTORE_ABSENT, 1753500000250, kept, &f), ERR_EXISTS);
		assert_int_equal(restore_swap(target_home, staged, RESTORE_EMPTY, 1753500000250, kept, &f), ERR_EXISTS);
		assert_true(has(staged, "keys.json"));
		assert_int_equal(restore_swap(target_home, staged, RESTORE_USED, 1753500000250, kept, &f), ERR_OK);
		close(lock);
		assert_true(strstr(kept, i ? ".before-restore-20250726T032000Z-1" : ".before-restore-20250726T032000Z"));
		assert_true(has(kept, "keys.json"));
		assert_false(has(target_home, "restored"));
	}
	/* What an interrupted one left goes with the next, a folder without a file too; what another one fills stays. */
	assert_int_equal(restore_stage(target_home, staged, &lock, &f), ERR_OK);
	{
		char second[4096], third[4096];
		int lock2, lock3;

		assert_int_equal(restore_stage(target_home, second, &lock2, &f), ERR_OK);
		assert_true(has(staged, ""));
		in(path, second, "conf.d");
		assert_int_equal(mkdir(path, 0700), 0);
		close(lock2);
		assert_int_equal(restore_stage(target_home, third, &lock3, &f), ERR_OK);
		assert_false(has(second, ""));
		assert_true(has(staged, ""));
		close(lock3);
	}
	close(lock);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_snapshot_is_of_one_moment), T(there_and_back), T(two_backups_of_one_folder_hold_the_same),
		T(an_end_by_the_watch_leaves_nothing), T(damaged_state_is_found), T(the_exchange_is_one_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
