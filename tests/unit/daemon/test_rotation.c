#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "daemon/daemon.h"
#include "daemon/home.h"
#include "daemon/loop.h"
#include "daemon/rotation.h"
#include "store/kv.h"
#include "trust/keyfile.h"

/* A home folder with a clear key file, one pin, one queued message and some audit lines. */
static struct env env;
static char home[64], path[512];
static struct node_id old_id, peer;

static const char *in_home(const char *name)
{
	snprintf(path, sizeof path, "%s/%s", home, name);
	return path;
}

static bool there(const char *name)
{
	return access(in_home(name), F_OK) == 0;
}

static bool there_of(const char *name, const struct node_id *id)
{
	char whole[96];

	snprintf(whole, sizeof whole, "%s.%s", name, id->hex);
	return there(whole);
}

struct state {
	struct keyring *keys;
	struct pins *pins;
	struct store *store;
	struct audit *audit;
	struct command_ctx cx;
};

static struct keyring *load_keys(void)
{
	struct keyring *k;

	assert_int_equal(keyfile_load(in_home(HOME_KEYS), (struct bytes){ 0 }, &env, &k, NULL, NULL), ERR_OK);
	return k;
}

/* As the daemon opens it. */
static void open_home(struct state *s)
{
	struct store_config c = { .env = &env };
	struct secret wrap;

	s->keys = load_keys();
	assert_int_equal(rotation_finish(home, s->keys, &env, NULL), ERR_OK);
	assert_int_equal(pins_load(in_home(HOME_PINS), s->keys, &env, &s->pins, NULL), ERR_OK);
	assert_false(pins_read_only(s->pins, NULL));
	assert_int_equal(audit_open(in_home(HOME_AUDIT), s->keys, &env, &s->audit, NULL), ERR_OK);
	assert_int_equal(keyring_derive(s->keys, DERIVE_DB_WRAP, &wrap), ERR_OK);
	c.path = in_home(HOME_STORE);
	c.wrap_key = secret_bytes(&wrap);
	assert_int_equal(store_open(&c, &s->store, NULL), ERR_OK);
	secret_free(&wrap);
	s->cx = (struct command_ctx){ .env = &env, .keyring = s->keys, .pins = s->pins, .store = s->store,
				      .audit = s->audit, .home = home };
}

static void close_home(struct state *s)
{
	store_close(s->store);
	audit_close(s->audit);
	assert_int_equal(pins_flush(s->pins, NULL), ERR_OK);
	pins_free(s->pins);
	keyring_free(s->keys);
}

/* Everything that was there is there, and every file belongs to `id`. */
static void check_home(const struct node_id *id)
{
	struct outbox_row row;
	struct audit_report r;
	struct buf body;
	struct state s;

	open_home(&s);
	assert_true(node_id_eq(keyring_id(s.keys), id));
	assert_non_null(pins_get(s.pins, &peer));
	assert_int_equal(pins_get(s.pins, &peer)->state, PIN_TRUSTED);
	assert_int_equal(outbox_get(s.store, BYTES_LIT("m"), &row), ERR_OK);
	buf_init(&body, 100);
	assert_int_equal(outbox_body(s.store, row.seq, &body), ERR_OK);
	assert_true(bytes_eq(buf_bytes(&body), BYTES_LIT("carried")));
	buf_fini(&body);
	close_home(&s);
	struct keyring *k = load_keys();

	assert_int_equal(audit_verify(in_home(HOME_AUDIT), k, &r, NULL), ERR_OK);
	assert_true(r.ok);
	assert_true(r.entries > 0);
	keyring_free(k);
	assert_false(there("rotation"));
	assert_false(there_of(HOME_PINS, id));
}

static int setup(void **state)
{
	struct outbox_new m = { .id = BYTES_LIT("m"), .type = BYTES_LIT("MSG"), .body = BYTES_LIT("carried") };
	struct keyring *k, *other;
	struct state s;
	int64_t seq;

	snprintf(home, sizeof home, "/tmp/ironmesh-rotation-XXXXXX");
	assert_non_null(mkdtemp(home));
	assert_int_equal(secret_init_library(), ERR_OK);
	env_of_system(&env);
	assert_int_equal(keyring_generate(&env, &k), ERR_OK);
	old_id = *keyring_id(k);
	assert_int_equal(keyfile_create(in_home(HOME_KEYS), k, "me", (struct bytes){ 0 }, true, &env, NULL), ERR_OK);
	keyring_free(k);
	open_home(&s);
	assert_int_equal(keyring_generate(&env, &other), ERR_OK);
	peer = m.to = *keyring_id(other);
	assert_int_equal(pins_pin(s.pins, keyring_ed(other), "bob", 1, NULL), ERR_OK);
	keyring_free(other);
	assert_int_equal(outbox_put(s.store, &m, &seq, (uint8_t[16]){0}), ERR_OK);
	assert_int_equal(store_commit(s.store), ERR_OK);
	audit_note(s.audit, "STARTUP", (struct bytes){ 0 }, NULL);
	close_home(&s);
	return 0;
}

static int teardown(void **state)
{
	struct dirent *d;
	DIR *dir = opendir(home);

	while ((d = readdir(dir)))
		if (d->d_name[0] != '.')
			unlink(in_home(d->d_name));
	closedir(dir);
	timers_fini(&env);
	return rmdir(home);
}

/* Steps 1 to 4, then the end of the process. */
static struct node_id rotate(void)
{
	struct keyring *fresh;
	struct node_id id;
	struct state s;

	open_home(&s);
	assert_int_equal(rotation_begin(&s.cx, &fresh, NULL), ERR_OK);
	id = *keyring_id(fresh);
	keyring_free(fresh);
	close_home(&s);
	return id;
}

static void copy_file(const char *from, const char *to)
{
	char target[160];
	struct buf b;

	buf_init(&b, 1u << 20);
	assert_int_equal(file_read_secret(in_home(from), &b, NULL), ERR_OK);
	snprintf(target, sizeof target, "%s/%s", home, to);
	assert_int_equal(file_write_secret(target, buf_bytes(&b), NULL), ERR_OK);
	buf_fini(&b);
}

static void the_new_identity_has_all_that_the_old_one_had(void **state)
{
	struct node_id id = rotate();

	assert_false(node_id_eq(&id, &old_id));
	assert_true(there("rotation"));
	check_home(&id);
	assert_true(there_of(HOME_AUDIT, &old_id));
	check_home(&id);
}

static void the_new_log_begins_with_the_tail_of_the_old_one(void **state)
{
	struct node_id id = rotate();
	char name[96];
	json_t *old, *list, *first, *details;
	struct state s;

	open_home(&s);
	close_home(&s);
	assert_int_equal(audit_tail(in_home(HOME_AUDIT), 1000, &list, NULL), ERR_OK);
	first = json_array_get(list, 0);
	details = json_object_get(first, "details");
	assert_string_equal(json_str(first, "event"), "KEY_ROTATION");
	assert_string_equal(json_str(details, "old_peer_id"), old_id.hex);
	assert_string_equal(json_str(details, "new_peer_id"), id.hex);
	snprintf(name, sizeof name, HOME_AUDIT ".%s", old_id.hex);
	assert_int_equal(audit_tail(in_home(name), 1, &old, NULL), ERR_OK);
	assert_string_equal(json_str(details, "previous_tail_hmac"), json_str(json_array_get(old, 0), "hmac"));
	json_decref(old);
	json_decref(list);
}

static bool one_more(void *ctx, struct bytes key, struct bytes value)
{
	(void)key, (void)value;
	++*(unsigned *)ctx;
	return true;
}

static void both_keys_have_signed_for_the_next_life(void **state)
{
	struct state s;
	unsigned n = 0;

	rotate();
	open_home(&s);
	assert_int_equal(store_kv_each(s.store, "rotate", one_more, &n), ERR_OK);
	assert_int_equal(n, 1);
	close_home(&s);
}

static void a_crash_before_the_key_file_leaves_the_old_identity(void **state)
{
	char backup[96];
	struct node_id id = rotate();

	/* As it would be had step 4 not happened. */
	snprintf(backup, sizeof backup, HOME_KEYS ".%s.bak", old_id.hex);
	copy_file(backup, HOME_KEYS);
	check_home(&old_id);
	assert_false(there_of(HOME_PINS, &id));
	assert_false(there_of(HOME_AUDIT, &old_id));
	/* And it can be done again. */
	unlink(in_home(backup));
	id = rotate();
	check_home(&id);
}

static void a_crash_inside_the_last_step_is_finished_later(void **state)
{
	struct node_id id = rotate();
	char text[96], from[160];
	struct keyring *k;

	/* The trust store has moved already. */
	snprintf(text, sizeof text, HOME_PINS ".%s", id.hex);
	snprintf(from, sizeof from, "%s/%s", home, text);
	assert_int_equal(rename(from, in_home(HOME_PINS)), 0);
	check_home(&id);
	/* All was done but the removal of the mark: nothing is done twice. */
	snprintf(text, sizeof text, "%s %s\n", old_id.hex, id.hex);
	assert_int_equal(file_write_secret(in_home("rotation"), bytes_str(text), NULL), ERR_OK);
	k = load_keys();
	assert_int_equal(rotation_finish(home, k, &env, NULL), ERR_OK);
	keyring_free(k);
	check_home(&id);
}

static void a_damaged_mark_stops_the_start_and_says_so(void **state)
{
	struct fault f = { 0 };
	struct keyring *k = load_keys();

	assert_int_equal(file_write_secret(in_home("rotation"), BYTES_LIT("what"), NULL), ERR_OK);
	assert_int_equal(rotation_finish(home, k, &env, &f), ERR_CORRUPT);
	assert_int_equal(f.code, EXIT_INTEGRITY);
	assert_true(f.next[0] != 0);
	keyring_free(k);
}

static void a_rotation_that_fails_leaves_no_trace(void **state)
{
	struct keyring *fresh;
	char backup[96];
	struct state s;

	/* Another file stands where the old key would be kept. */
	snprintf(backup, sizeof backup, HOME_KEYS ".%s.bak", old_id.hex);
	assert_int_equal(file_write_secret(in_home(backup), BYTES_LIT("{}"), NULL), ERR_OK);
	open_home(&s);
	assert_int_equal(rotation_begin(&s.cx, &fresh, NULL), ERR_EXISTS);
	store_fail_after(s.store, 1);
	assert_int_equal(rotation_begin(&s.cx, &fresh, NULL), ERR_STORE);
	close_home(&s);
	assert_false(there("rotation"));
	check_home(&old_id);
}

/* --- the door without a daemon --------------------------------------------------------------------------- */
static json_t *offline(const char *method, json_t *params)
{
	struct fault f = { 0 };
	json_t *r = NULL;
	enum err e = daemon_call_offline(home, (struct bytes){ 0 }, method, params, &r, &f);

	if (e != ERR_OK)
		print_error("%s: %s\n", method, f.what);
	assert_int_equal(e, ERR_OK);
	json_decref(params);
	return r;
}

static void offline_refused(const char *method, json_t *params, enum err want)
{
	struct fault f = { 0 };
	json_t *r = NULL;

	assert_int_equal(daemon_call_offline(home, (struct bytes){ 0 }, method, params, &r, &f), want);
	assert_int_equal(f.err, want);
	assert_true(f.what[0] != 0);
	assert_null(r);
	json_decref(params);
}

static void the_commands_without_a_daemon_work_on_the_folder(void **state)
{
	json_t *r = offline("keys.show", NULL);

	assert_string_equal(json_str(r, "id"), old_id.hex);
	json_decref(r);
	json_decref(offline("trust.list", NULL));
	r = offline("peers.block", json_pack("{s:s}", "peer", "bob"));
	assert_string_equal(json_str(r, "state"), "blocked");
	json_decref(r);
	r = offline("peers.show", json_pack("{s:s}", "peer", "bob"));
	assert_string_equal(json_str(r, "state"), "blocked");
	json_decref(r);
	r = offline("peers.approve", json_pack("{s:s}", "peer", "bob"));
	json_decref(r);
	r = offline("keys.rotate", NULL);
	assert_string_equal(json_str(r, "old_id"), old_id.hex);
	struct node_id id;

	assert_int_equal(node_id_parse(bytes_str(json_str(r, "id")), &id), ERR_OK);
	json_decref(r);
	r = offline("audit.verify", NULL);
	assert_true(json_is_true(json_object_get(r, "ok")));
	json_decref(r);
	check_home(&id);
	offline_refused("keys.generate", json_pack("{s:s, s:b}", "name", "x", "clear", 1), ERR_EXISTS);
	offline_refused("keys.migrate", NULL, ERR_WRONG_STATE);
	offline_refused("status", NULL, ERR_UNSUPPORTED);
	offline_refused("nothing", NULL, ERR_UNSUPPORTED);
	offline_refused("peers.show", json_pack("{s:s}", "peer", "zed"), ERR_NOTFOUND);
	offline_refused("peers.show", json_pack("{s:s, s:i}", "peer", "bob", "x", 1), ERR_USAGE);
}

static void a_locked_folder_is_left_alone(void **state)
{
	bool key;
	int fd;

	assert_int_equal(home_lock(home, &fd, NULL), ERR_OK);
	offline_refused("trust.list", NULL, ERR_WRONG_STATE);
	offline_refused("keys.rotate", NULL, ERR_WRONG_STATE);
	json_decref(offline("keys.fingerprint", NULL)); /* reads a public part only */
	close(fd);
	json_decref(offline("trust.list", NULL));
	assert_true(daemon_offline("trust.list", &key));
	assert_true(key);
	assert_true(daemon_offline("version", &key));
	assert_false(key);
	assert_false(daemon_offline("send", &key));
	assert_false(daemon_offline("nothing", &key));
}

static void every_word_of_the_table_that_works_offline_does(void **state)
{
	const struct command *m;
	struct fault f;
	json_t *r;
	bool key;

	for (size_t i = 0; (m = command_at(i)); i++) {
		json_t *p = json_object();

		if (!daemon_offline(m->method, &key) || strcmp(m->method, "keys.rotate") == 0)
			goto next;
		for (size_t k = 0; k < COMMAND_PARAMS && m->params[k].name; k++)
			if (m->params[k].required)
				json_object_set_new(p, m->params[k].name, json_string("bob"));
		memset(&f, 0, sizeof f);
		r = NULL;
		enum err e = daemon_call_offline(home, (struct bytes){ 0 }, m->method, p, &r, &f);

		/* Carried out, or refused with a reason: never a crash for want of a node. */
		assert_true((e == ERR_OK) == (r != NULL));
		assert_true(e == ERR_OK || f.what[0] != 0);
		json_decref(r);
next:
		json_decref(p);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(the_new_identity_has_all_that_the_old_one_had),
		T(the_new_log_begins_with_the_tail_of_the_old_one),
		T(both_keys_have_signed_for_the_next_life),
		T(a_crash_before_the_key_file_leaves_the_old_identity),
		T(a_crash_inside_the_last_step_is_finished_later),
		T(a_damaged_mark_stops_the_start_and_says_so),
		T(a_rotation_that_fails_leaves_no_trace),
		T(the_commands_without_a_daemon_work_on_the_folder),
		T(a_locked_folder_is_left_alone),
		T(every_word_of_the_table_that_works_offline_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
