/* The disk refuses, or the power goes: every write of a scripted group, a file size limit, SIGKILL.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/log.h"
#include "base/text.h"
#include "store/kv.h"
#include "tests/lib/store_world.h"

static struct world w;
static const struct store_limits LIMITS = {.keep_ms = 1000, .outbox_per_peer = 12};

static void say_nothing(void *ctx, enum log_level level, const char *line)
{
}

static int setup(void **state)
{
	/* Hundreds of refused writes are expected here. */
	log_setup(&(struct log_config){.level = LOG_ERROR, .fd = 2, .tap = say_nothing});
	world_init(&w);
	return 0;
}

static int teardown(void **state)
{
	world_fini(&w);
	return 0;
}

static bool add_value(void *ctx, struct bytes key, struct bytes value)
{
	buf_add(ctx, key);
	buf_add(ctx, value);
	return true;
}

/* Everything that can be seen of a store, as text; eras are random and left out. */
static char *picture(struct store *s)
{
	struct outbox_filter of = {.state = -1};
	struct outbox_row out[64];
	struct inbox_row in[64];
	uint64_t n[OUTBOX_STATES], expiry;
	struct store_stats st;
	struct buf b, body;
	size_t rows;

	buf_init(&b, 1u << 20);
	buf_init(&body, 1u << 20);
	assert_int_equal(outbox_list(s, &of, out, 64, &rows), ERR_OK);
	for (size_t i = 0; i < rows; i++) {
		buf_reset(&body);
		buf_printf(&b, "out %lld %s %s %s p%u %s a%u c%llu e%llu x%llu n%u r=%s\n",
			   (long long)out[i].seq, hex_valid(bytes_str(out[i].id), 32) ? "-" : out[i].id, out[i].to.hex, out[i].type,
			   out[i].priority, outbox_state_word(out[i].state), out[i].attempts,
			   (unsigned long long)out[i].created_ms,
			   (unsigned long long)out[i].expires_ms,
			   (unsigned long long)out[i].changed_ms, out[i].body_len, out[i].reason);
		if (outbox_body(s, out[i].seq, &body) == ERR_OK)
			buf_add(&b, buf_bytes(&body));
	}
	for (int state = 0; state < INBOX_STATES; state++) {
		struct inbox_filter inf = {.state = state};
		assert_int_equal(inbox_list(s, &inf, in, 64, &rows), ERR_OK);
		for (size_t i = 0; i < rows; i++) {
			buf_reset(&body);
			buf_printf(&b, "in %lld %s %s %s %s t%llu %llu n%u\n", (long long)in[i].seq,
				   in[i].id, in[i].author.hex, in[i].type,
				   inbox_state_word(in[i].state),
				   (unsigned long long)in[i].received_ms,
				   (unsigned long long)in[i].read_ms, in[i].body_len);
			if (inbox_body(s, in[i].seq, &body) == ERR_OK)
				buf_add(&b, buf_bytes(&body));
		}
	}
	for (unsigned p = 0; p < 5; p++) {
		struct node_id peer = world_peer(p), via = world_peer(p + 1000);
		assert_int_equal(outbox_count(s, p ? &peer : NULL, n), ERR_OK);
		for (int i = 0; i < OUTBOX_STATES; i++)
			buf_printf(&b, " %llu", (unsigned long long)n[i]);
		assert_int_equal(inbox_count(s, p ? &peer : NULL, n), ERR_OK);
		for (int i = 0; i < INBOX_STATES; i++)
			buf_printf(&b, " %llu", (unsigned long long)n[i]);
		assert_int_equal(inbox_unreported(s, &via, in, 64, &rows), ERR_OK);
		buf_printf(&b, " unreported %zu\n", rows);
	}
	for (unsigned p = 1; p < 5; p++) {
		struct node_id peer = world_peer(p);
		struct outbox_mark m[4];
		uint8_t era[8];
		uint64_t seq = 0;
		/* The lowest that is unfinished; what is next is not undone by a rollback. */
		assert_int_equal(outbox_count(s, &peer, n), ERR_OK);
		assert_int_equal(outbox_settle(s, &peer, m, 4, &rows), ERR_OK);
		enum err e = inbox_seen(s, &peer, era, &seq);
		buf_printf(&b, "mark %llu seen %s %llu", p < 3 && n[OUTBOX_QUEUED] && rows ? (unsigned long long)m[rows - 1].seq : 0,
			   err_word(e), (unsigned long long)seq);
		assert_int_equal(inbox_receipts_due(s, &peer, 0, in, 64, &rows), ERR_OK);
		buf_printf(&b, " due %zu\n", rows);
	}
	struct inbox_table table;
	inbox_table(s, &table);
	buf_printf(&b, "table %zu %zu\n", table.eras, table.entries);
	assert_int_equal(store_kv_each(s, "prekey", add_value, &b), ERR_OK);
	assert_int_equal(outbox_next_expiry(s, &expiry), ERR_OK);
	store_stats(s, &st);
	buf_printf(&b, "expiry %llu bytes %llu %llu\n", (unsigned long long)expiry,
		   (unsigned long long)st.outbox_bytes, (unsigned long long)st.inbox_bytes);
	char *text = strdup(buf_cstr(&b));
	buf_fini(&b);
	buf_fini(&body);
	return text;
}

static uint8_t sent[4][16];

static struct store *prepared(void)
{
	struct store *s = world_store(&w, &LIMITS);
	struct outbox_new brief = {.id = BYTES_LIT("brief"),
				   .to = world_peer(3),
				   .type = BYTES_LIT("REQ"),
				   .expires_ms = 55,
				   .body = BYTES_LIT("soon over")};
	bool changed;
	int64_t seq;

	assert_int_equal(outbox_put(s, &brief, &seq, (uint8_t[16]){0}), ERR_OK);
	for (unsigned i = 0; i < 8; i++) {
		char id[16];
		snprintf(id, sizeof(id), "old-%u", i);
		assert_true(world_out(s, &w, 1 + i % 2, id, i % 4, "an old body") > 0);
		assert_true(world_in(s, &w, 1 + i % 2, id, i % 4 == 3, "an old letter") > 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		uint8_t wire[16];
		assert_int_equal(world_send(s, &w, 1, "named by its wire id", sent[i], &seq), ERR_OK);
		world_wire(wire, 1, i + 1);
		assert_int_equal(world_take(s, &w, 4, wire, "a letter of im2"), ERR_OK);
	}
	assert_int_equal(store_kv_put(s, "prekey", BYTES_LIT("k1"), BYTES_LIT("old")), ERR_OK);
	assert_int_equal(store_kv_put(s, "prekey", BYTES_LIT("k2"), BYTES_LIT("old")), ERR_OK);
	assert_int_equal(outbox_move(s, 2, OUTBOX_READ, NULL, 1), ERR_OK);
	assert_int_equal(inbox_delete(s, 1), ERR_OK);
	assert_int_equal(inbox_mark_read(s, 2, w.wall_ms, &changed), ERR_OK);
	assert_int_equal(store_commit(s), ERR_OK);
	return s;
}

/* One of everything that writes. Answers of single calls do not matter here: after the first
 * refusal each is ERR_STORE, and the commit says the same for all. */
static enum err scripted_group(struct store *s)
{
	struct node_id one = world_peer(1), two = world_peer(2), three = world_peer(3);
	struct outbox_row out[4];
	struct inbox_row in[4];
	int64_t seq;
	unsigned deleted;
	bool changed;
	size_t n;
	enum err e[40], *at = e;
	uint8_t wire[16], era[8] = {1, 1, 1, 1, 1, 1, 1, 1};
	struct node_id four = world_peer(4);
	char hex[33];
	bool renewed;

	world_out(s, &w, 3, "new-1", 3, "first new body");
	world_out(s, &w, 3, "new-2", 0, "second new body");
	world_in(s, &w, 4, "new-1", false, "first new letter");
	world_in(s, &w, 4, "new-2", true, "second new letter");
	*at++ = outbox_receipt(s, &one, BYTES_LIT("old-2"), OUTBOX_DELIVERED, NULL, 50, NULL, &seq);
	*at++ = outbox_receipt(s, &three, BYTES_LIT("new-2"), OUTBOX_REJECTED, "not wanted", 51, NULL,
			       &seq);
	*at++ = outbox_move(s, 3, OUTBOX_FAILED, "gave up", 52);
	*at++ = outbox_requeue(s, 3, 54, (char[129]){0});
	for (unsigned i = 0; i < 3; i++) {
		hex_encode(BYTES_ARR(sent[i]), hex);
		*at++ = outbox_receipt(s, &one, bytes_of(hex, 32), i < 2 ? OUTBOX_DELIVERED : OUTBOX_READ,
				       NULL, 52, NULL, &seq);
	}
	*at++ = world_send(s, &w, 1, "one more", wire, &seq);
	*at++ = outbox_seen(s, &one, sent[0], 1u << 20, &renewed);
	*at++ = world_send(s, &w, 1, "in the new era", wire, &seq);
	*at++ = outbox_new_eras(s);
	world_wire(wire, 1, 9);
	*at++ = world_take(s, &w, 4, wire, "nine");
	world_wire(wire, 2, 1);
	*at++ = world_take(s, &w, 4, wire, "of another era");
	*at++ = inbox_settled(s, &four, era, 3);
	*at++ = store_kv_put(s, "prekey", BYTES_LIT("k1"), BYTES_LIT("new"));
	*at++ = store_kv_del(s, "prekey", BYTES_LIT("k2"));
	*at++ = outbox_attempt(s, 5, NULL);
	*at++ = outbox_expire(s, 60, out, 4, &n);
	*at++ = inbox_mark_read(s, 3, 53, &changed);
	*at++ = inbox_mark_reported(s, 2);
	*at++ = inbox_release(s, &two, true, in, 4, &n);
	*at++ = inbox_delete(s, 5);
	*at++ = store_prune(s, w.wall_ms + 500, 50, &deleted);
	enum err e_commit = store_commit(s);
	for (enum err *p = e; p < at && e_commit == ERR_OK; p++)
		assert_int_equal(*p, ERR_OK);
	return e_commit;
}

static void every_refused_write_undoes_the_whole_group(void **state)
{
	char *before = NULL, *after = NULL;
	bool done = false;
	unsigned n;

	for (n = 1; !done; n++) {
		assert_true(n < 200);
		world_fini(&w);
		world_init(&w);
		struct store *s = prepared();
		char *was = picture(s);
		store_fail_after(s, n);
		enum err e = scripted_group(s);
		char *is = picture(s);
		if (e == ERR_OK) {
			done = true; /* there is no n-th write */
			after = strdup(is);
			assert_string_not_equal(was, is);
		} else {
			struct store_stats st;
			assert_int_equal(e, ERR_STORE);
			assert_string_equal(was, is);
			assert_false(store_dirty(s));
			store_stats(s, &st);
			assert_int_equal(st.failures, 1);
			/* What memory says is what the file says. */
			store_close(s);
			s = world_store(&w, &LIMITS);
			char *read = picture(s);
			assert_string_equal(was, read);
			free(read);
			/* And the same group goes through now. */
			store_fail_after(s, 0);
			assert_int_equal(scripted_group(s), ERR_OK);
			char *now = picture(s);
			if (before)
				assert_string_equal(before, now);
			else
				before = strdup(now);
			free(now);
			assert_int_equal(store_integrity(s, NULL), ERR_OK);
		}
		store_close(s);
		if (done) {
			s = world_store(&w, &LIMITS);
			char *read = picture(s);
			assert_string_equal(is, read);
			free(read);
			store_close(s);
		}
		free(was);
		free(is);
	}
	assert_true(n > 25); /* the script really writes */
	assert_string_equal(before, after);
	free(before);
	free(after);
}

static void after_a_refusal_the_group_takes_nothing_more(void **state)
{
	struct store *s = world_store(&w, NULL);
	struct outbox_new m = {.id = BYTES_LIT("b"), .to = world_peer(1), .type = BYTES_LIT("MSG")};
	struct outbox_row r;
	int64_t seq;

	assert_true(world_out(s, &w, 1, "a", 0, "x") > 0);
	store_fail_after(s, 2); /* the row is written, its body is not */
	assert_int_equal(outbox_put(s, &m, &seq, (uint8_t[16]){0}), ERR_STORE);
	assert_true(store_dirty(s));
	m.id = BYTES_LIT("c");
	assert_int_equal(outbox_put(s, &m, &seq, (uint8_t[16]){0}), ERR_STORE);
	assert_int_equal(outbox_get(s, BYTES_LIT("a"), &r), ERR_NOTFOUND); /* died with the group */
	assert_int_equal(store_commit(s), ERR_STORE);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(outbox_put(s, &m, &seq, (uint8_t[16]){0}), ERR_OK);
	assert_int_equal(seq, 1);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(outbox_get(s, BYTES_LIT("c"), &r), ERR_OK);
	store_close(s);
}

static void file_size_limit_loses_nothing_that_was_committed(void **state)
{
	struct store *s = world_store(&w, NULL);
	struct rlimit was, small = {.rlim_cur = 300000, .rlim_max = RLIM_INFINITY};
	unsigned kept = 0, refused = 0;
	char body[5000], id[16];
	struct outbox_row r;

	memset(body, 'b', sizeof(body) - 1);
	body[sizeof(body) - 1] = 0;
	void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	small.rlim_max = was.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	while (refused < 3) {
		for (unsigned i = 0; i < 4; i++) {
			snprintf(id, sizeof(id), "m%u", kept + i);
			world_out(s, &w, 1, id, 0, body);
		}
		if (store_commit(s) == ERR_OK)
			kept += 4;
		else
			refused++;
		assert_true(kept < 400);
	}
	assert_true(kept > 8);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	signal(SIGXFSZ, handler);
	/* There is room again. */
	snprintf(id, sizeof(id), "m%u", kept);
	assert_true(world_out(s, &w, 1, id, 0, body) > 0);
	assert_int_equal(store_commit(s), ERR_OK);
	assert_int_equal(store_integrity(s, NULL), ERR_OK);
	store_close(s);
	s = world_store(&w, NULL);
	for (unsigned i = 0; i <= kept; i++) {
		snprintf(id, sizeof(id), "m%u", i);
		assert_int_equal(outbox_get(s, bytes_str(id), &r), ERR_OK);
	}
	snprintf(id, sizeof(id), "m%u", kept + 1);
	assert_int_equal(outbox_get(s, bytes_str(id), &r), ERR_NOTFOUND);
	store_close(s);
}

/* Puts until it is killed; tells each number over the pipe after the commit that holds it. */
static void child(int fd, unsigned from)
{
	struct store *s = world_store(&w, NULL);
	char id[16];

	for (unsigned i = from;; i++) {
		snprintf(id, sizeof(id), "k%u", i);
		if (world_out(s, &w, 1 + i % 3, id, i % 4, "a body that must not be lost") < 0 ||
		    world_in(s, &w, 1 + i % 3, id, false, "a letter that must not be lost") < 0)
			_exit(3);
		if (i % 5 != 4)
			continue;
		if (store_commit(s) != ERR_OK)
			_exit(4);
		if (i % 50 == 49)
			(void)store_checkpoint(s);
		unsigned done = i + 1;
		if (write(fd, &done, sizeof(done)) != sizeof(done))
			_exit(5);
	}
}

static void killed_process_loses_nothing_that_was_committed(void **state)
{
	unsigned from = 0;

	store_close(world_store(&w, NULL));
	for (unsigned round = 0; round < 12; round++) {
		unsigned done = from, got;
		int fds[2], status;

		assert_int_equal(pipe(fds), 0);
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			close(fds[0]);
			child(fds[1], from);
		}
		close(fds[1]);
		usleep(3000 + randombytes_uniform(30000));
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		while (read(fds[0], &got, sizeof(got)) == sizeof(got))
			done = got;
		close(fds[0]);

		struct store *s = world_store(&w, NULL);
		uint64_t out_n[OUTBOX_STATES], in_n[INBOX_STATES];
		struct outbox_row r;
		struct inbox_row in;
		struct buf b;
		size_t n;
		char id[16];

		buf_init(&b, 4096);
		for (unsigned i = from; i < done; i++) {
			snprintf(id, sizeof(id), "k%u", i);
			assert_int_equal(outbox_get(s, bytes_str(id), &r), ERR_OK);
			assert_int_equal(inbox_find(s, bytes_str(id), &in, 1, &n), ERR_OK);
			assert_int_equal(n, 1);
			buf_reset(&b);
			assert_int_equal(outbox_body(s, r.seq, &b), ERR_OK);
			assert_int_equal(inbox_body(s, in.seq, &b), ERR_OK);
		}
		buf_fini(&b);
		/* The last group may have been committed before the pipe heard of it: whole or not
		 * at all. */
		assert_int_equal(outbox_count(s, NULL, out_n), ERR_OK);
		assert_int_equal(inbox_count(s, NULL, in_n), ERR_OK);
		assert_int_equal(out_n[OUTBOX_QUEUED], in_n[INBOX_NEW]);
		assert_int_equal(out_n[OUTBOX_QUEUED] % 5, 0);
		assert_true(out_n[OUTBOX_QUEUED] == done || out_n[OUTBOX_QUEUED] == done + 5);
		from = (unsigned)out_n[OUTBOX_QUEUED];
		assert_int_equal(store_integrity(s, NULL), ERR_OK);
		store_close(s);
	}
	assert_true(from > 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(every_refused_write_undoes_the_whole_group),
		T(after_a_refusal_the_group_takes_nothing_more),
		T(file_size_limit_loses_nothing_that_was_committed),
		T(killed_process_loses_nothing_that_was_committed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
