#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/text.h"
#include "protocol/im2/content.h"
#include "tests/lib/protocol_env.h"
#include "trust/keyring_internal.h"

/* V:messages, V:receipts, V:settled */
#define TEXT_MSG                                                                                   \
	"0110000102030405060708090a0b0c0d0e0f0f06fabffaa5843321106d656574206174206461776e2c206f6b"
#define CONV_MSG                                                                                   \
	"01100102030405060708090a0b0c0d0e0f100810c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c00a10000102030405" \
	"060708090a0b0c0d0e0f0b01010f06e2c7faa584331201021301011401011601062104322b323f"
#define FULL_MSG                                                                                   \
	"011002030405060708090a0b0c0d0e0f10110310139e3940e64b5491722088d9a0d74162051034750f98bd59" \
	"fcfc946da45aaabe933b0810c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c00a10000102030405060708090a0b0c0d" \
	"0e0f0b01010c01020f06fabffaa584331102901c1201031301031401021601061801011c090203e0d4030402" \
	"f4032003b0ea0121077b2261223a317d"
#define WRITTEN_MSG                                                                                \
	"0110000102030405060708090a0b0c0d0e0f0310139e3940e64b5491722088d9a0d74162051034750f98bd59" \
	"fcfc946da45aaabe933b0f06fabffaa5843321106d656574206174206461776e2c206f6b"
#define ONE_SMSG                                                                                   \
	"0151500110000102030405060708090a0b0c0d0e0f0310139e3940e64b5491722088d9a0d74162051034750f" \
	"98bd59fcfc946da45aaabe933b0f06fabffaa5843321106d656574206174206461776e2c206f6b0340f470ca" \
	"a20a1dec983fb595ce0f414ad5f8fe6af956654442a0cffc8f12466e5b15ccb59286c4908f2a59d83a4f3dd5" \
	"981543648f8db4155b1f9fc077df92d003"
#define TWO_SMSG                                                                                   \
	"019e01500110000102030405060708090a0b0c0d0e0f0310139e3940e64b5491722088d9a0d7416205103475" \
	"0f98bd59fcfc946da45aaabe933b0f06fabffaa5843321106d656574206174206461776e2c206f6b4c011003" \
	"0405060708090a0b0c0d0e0f1011120310139e3940e64b5491722088d9a0d74162051034750f98bd59fcfc94" \
	"6da45aaabe933b0b01030f06ffbffaa5843321067365636f6e6422010303408ad760cef48d573be84b7c44cb" \
	"812e1b3bec0334949d5832e725c9465f3ae594dfe98c1398fc4af4b1ba25fa2169e75204c79baedb4d18745f" \
	"1f41a949396c0b"
#define DIGEST	     "4e6c7e1ea91019dc08eb74606cf9323f"
#define ONE_RECEIPT  "01121102000102030405060708090a0b0c0d0e0f"
#define HELD_RECEIPT "01121101000102030405060708090a0b0c0d0e0f"
#define THREE_RECEIPT                                                                              \
	"01371102000102030405060708090a0b0c0d0e0f11030102030405060708090a0b0c0d0e0f10120402030405" \
	"060708090a0b0c0d0e0f10110a0206ddc0faa58433"
#define SIGNED_RECEIPT                                                                             \
	"011034750f98bd59fcfc946da45aaabe933b0310139e3940e64b5491722088d9a0d74162054"              \
	"1" THREE_RECEIPT                                                                          \
	"0740086d193225f4ce2ebfca3a7d406c34bb31637f85fc8a68deb3dd33dce1fd9d704d70dc76077fd2cef218" \
	"7c539d3ad06b1a13ea8a98672cc25fe81b79d1275407"

struct value {
	uint8_t p[2048];
	size_t n;
};

static struct value of_hex(const char *hex)
{
	struct value v = {.n = strlen(hex) / 2};

	assert_true(v.n <= sizeof v.p);
	assert_int_equal(hex_decode(bytes_str(hex), v.p, v.n), ERR_OK);
	return v;
}

static struct bytes all(const struct value *v)
{
	return bytes_of(v->p, v->n);
}

static void is_hex(struct bytes got, const char *want)
{
	char *hex = malloc(2 * got.n + 1);

	hex_encode(got, hex);
	assert_string_equal(hex, want);
	free(hex);
}

/* alice, bob, carol, dave of the vectors: seeds 00.., 01.., 02.., 03.. */
static struct keyring *who(uint8_t n)
{
	uint8_t seed[SEED_BYTES], salt[HKDF_SALT_BYTES];
	struct keyring *k;

	memset(seed, n, sizeof seed);
	for (size_t i = 0; i < sizeof salt; i++)
		salt[i] = (uint8_t)(16 * n + i + 1);
	assert_int_equal(keyring_from_seed(seed, salt, &k), ERR_OK);
	return k;
}

struct world {
	struct keyring *alice, *bob, *carol;
	struct buf out;
	struct message m;
	char id[33], type[MSG_TYPE_MAX + 1];
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	w->alice = who(0);
	w->bob = who(1);
	w->carol = who(2);
	buf_init(&w->out, 2 * IM2_SMSG_MAX);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	keyring_free(w->alice);
	keyring_free(w->bob);
	keyring_free(w->carol);
	buf_fini(&w->out);
	free(w);
	return 0;
}

static struct message text_message(void)
{
	struct message m = {.type = BYTES_LIT("MSG"),
			    .created_ms = WALL_T,
			    .priority = PRIO_NORMAL,
			    .body = BYTES_LIT("meet at dawn, ok"),
			    .has_wire_id = true};

	for (uint8_t i = 0; i < MSG_WIRE_ID; i++)
		m.wire_id[i] = i;
	return m;
}

static struct message conv_message(void)
{
	struct message m = {.created_ms = WALL_T + 1000,
			    .priority = PRIO_HIGH,
			    .body = BYTES_LIT("2+2?"),
			    .has_wire_id = true,
			    .ext = {.kind = KIND_REQUEST,
				    .flags = MSG_EXPECTS_REPLY,
				    .turn = 1,
				    .max_turns = 6,
				    .has_conv = true,
				    .has_reply_to = true}};

	for (uint8_t i = 0; i < MSG_WIRE_ID; i++) {
		m.wire_id[i] = (uint8_t)(i + 1);
		m.ext.conv[i] = 0xc0;
		m.ext.reply_to[i] = i;
	}
	return m;
}

static enum im2_refusal read_by_bob(struct world *w, struct bytes in)
{
	return im2_message_read(in, keyring_id(w->alice), keyring_id(w->bob), &w->m, w->id,
				w->type);
}

/* --- messages --- */

static void messages_are_written_as_the_vectors(void **state)
{
	struct world *w = *state;
	struct message m = text_message();

	assert_int_equal(im2_message_write(&m, &w->out), ERR_OK);
	is_hex(buf_bytes(&w->out), TEXT_MSG);
	assert_int_equal(im2_message_size(&m), w->out.n);
	m.ext.ttl_s = MSG_TTL_DEFAULT_S; /* the default has one encoding */
	m.settled = 9;			 /* counts only where it is signed */
	buf_reset(&w->out);
	assert_int_equal(im2_message_write(&m, &w->out), ERR_OK);
	is_hex(buf_bytes(&w->out), TEXT_MSG);
	m = conv_message();
	buf_reset(&w->out);
	assert_int_equal(im2_message_write(&m, &w->out), ERR_OK);
	is_hex(buf_bytes(&w->out), CONV_MSG);
	assert_int_equal(im2_message_size(&m), w->out.n);
}

static void messages_are_read_as_the_vectors(void **state)
{
	struct world *w = *state;
	struct value text = of_hex(TEXT_MSG), conv = of_hex(CONV_MSG);
	struct message want = conv_message();

	assert_int_equal(read_by_bob(w, all(&text)), IM2_FINE);
	assert_string_equal(w->id, "000102030405060708090a0b0c0d0e0f");
	assert_true(bytes_eq(w->m.id, bytes_str(w->id)));
	assert_string_equal(w->type, "MSG");
	assert_true(node_id_eq(&w->m.source, keyring_id(w->alice)));
	assert_true(node_id_eq(&w->m.destination, keyring_id(w->bob)));
	assert_true(bytes_eq(w->m.body, BYTES_LIT("meet at dawn, ok")));
	assert_int_equal(w->m.created_ms, WALL_T);
	assert_int_equal(w->m.priority, PRIO_NORMAL);
	assert_int_equal(w->m.ext.ttl_s, MSG_TTL_DEFAULT_S);
	assert_false(w->m.source_proven);
	is_hex(BYTES_ARR(w->m.digest), DIGEST);

	assert_int_equal(read_by_bob(w, all(&conv)), IM2_FINE);
	assert_string_equal(w->type, "REQ");
	assert_int_equal(w->m.priority, PRIO_HIGH);
	assert_int_equal(w->m.ext.turn, 1);
	assert_int_equal(w->m.ext.max_turns, 6);
	assert_int_equal(w->m.ext.flags, MSG_EXPECTS_REPLY);
	assert_true(w->m.ext.has_conv && w->m.ext.has_reply_to);
	assert_memory_equal(w->m.ext.conv, want.ext.conv, 16);
	assert_memory_equal(w->m.ext.reply_to, want.ext.reply_to, 16);
}

static void every_member_comes_back(void **state)
{
	struct world *w = *state;
	struct message m = conv_message();

	m.ext.kind = 200;
	m.ext.hop = 16;
	m.ext.flags = 31;
	m.ext.end_reason = 5;
	m.ext.ttl_s = 1;
	m.ext.deadline_ms = 30000;
	m.ext.budget_ms = 60000;
	m.ext.budget_tokens = INT64_MAX;
	m.ext.budget_bytes = 1;
	m.priority = PRIO_CRITICAL;
	memset(m.ext.ctype_text, 'x', sizeof m.ext.ctype_text - 1);
	assert_int_equal(im2_message_write(&m, &w->out), ERR_OK);
	assert_int_equal(w->out.n, im2_message_size(&m));
	assert_int_equal(read_by_bob(w, buf_bytes(&w->out)), IM2_FINE);
	assert_string_equal(w->type, "KIND-200");
	assert_memory_equal(&w->m.ext, &m.ext, sizeof m.ext);
	assert_int_equal(w->m.priority, PRIO_CRITICAL);
	assert_true(is_zero(w->m.digest, sizeof w->m.digest)); /* volatile: nobody asks */
}

static void what_9_1_forbids_is_not_written(void **state)
{
	struct world *w = *state;
	struct message base = conv_message(), m;

#define REFUSED(change)                                                                            \
	do {                                                                                       \
		m = base;                                                                          \
		change;                                                                            \
		assert_int_equal(im2_message_write(&m, &w->out), ERR_MALFORMED);                   \
		assert_int_equal(im2_message_size(&m), 0);                                         \
		assert_int_equal(w->out.n, 0);                                                     \
	} while (0)
	REFUSED(m.has_wire_id = false);
	REFUSED(m.created_ms = IM2_TIME_MAX + 1);
	REFUSED(m.ext.flags = MSG_VOLATILE);
	REFUSED(m.ext.flags = 32);
	REFUSED(m.ext.ttl_s = MSG_TTL_MAX_S + 1);
	REFUSED(m.ext.hop = 17);
	REFUSED(m.ext.ctype = 2; m.ext.ctype_text[0] = 'a');
	REFUSED(m.ext.ctype_text[0] = '\n');
	REFUSED(m.ext.ctype_text[0] = '\xff');
	REFUSED(m.ext.budget_tokens = UINT64_MAX);
	REFUSED(m.ext.deadline_ms = UINT64_MAX);
	REFUSED(m.priority = PRIO_COUNT);
#undef REFUSED
	uint8_t *big = calloc(1, IM2_BODY_MAX + 1);
	m = base;
	m.body = bytes_of(big, IM2_BODY_MAX + 1);
	assert_int_equal(im2_message_write(&m, &w->out), ERR_LIMIT);
	m.body.n--;
	assert_int_equal(im2_message_write(&m, &w->out), ERR_OK);
	assert_true(w->out.n <= IM2_MSG_MAX);
	assert_int_equal(read_by_bob(w, buf_bytes(&w->out)), IM2_FINE);
	free(big);
}

static void a_message_for_a_session_names_nobody(void **state)
{
	struct world *w = *state;
	struct value written = of_hex(WRITTEN_MSG), full = of_hex(FULL_MSG);

	assert_int_equal(read_by_bob(w, all(&written)), IM2_E_CONTEXT);
	assert_int_equal(read_by_bob(w, all(&full)), IM2_E_CONTEXT);
	/* `to` alone, and a group: both are the place of a signature too */
	struct value to = of_hex("0110000102030405060708090a0b0c0d0e0f"
				 "051034750f98bd59fcfc946da45aaabe933b0f0100");
	assert_int_equal(read_by_bob(w, all(&to)), IM2_E_CONTEXT);
	to.p[18] = 7;
	assert_int_equal(read_by_bob(w, all(&to)), IM2_E_CONTEXT);
}

static void cut_or_longer_messages_are_refused(void **state)
{
	struct world *w = *state;
	struct value v = of_hex(CONV_MSG);

	for (size_t n = 0; n < v.n; n++) {
		/* cut between two fields behind the last required one it is another message */
		if (read_by_bob(w, bytes_of(v.p, n)) == IM2_FINE)
			assert_true(n >= v.n - 6 - 4 * 3);
	}
	v.p[v.n] = 0;
	assert_int_not_equal(read_by_bob(w, bytes_of(v.p, v.n + 1)), IM2_FINE);
}

/* --- digest (9.5) --- */

static void the_digest_is_the_same_signed_or_not(void **state)
{
	static const char *const same[] = {
		TEXT_MSG,
		WRITTEN_MSG,
		WRITTEN_MSG "220109",
		TEXT_MSG "2209ffffffffffffffff7f",
	};
	struct world *w = *state;
	struct im2_fields f;
	uint8_t digest[16];

	for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
		struct value v = of_hex(same[i]);

		assert_int_equal(im2_parse(&im2_msg, all(&v), &f), IM2_FINE);
		im2_content_digest(&f, keyring_id(w->alice), keyring_id(w->bob), digest);
		is_hex(BYTES_ARR(digest), DIGEST);
	}
}

static void the_digest_of_a_neutral_message_is_the_same(void **state)
{
	struct world *w = *state;
	struct value v = of_hex(TEXT_MSG);
	uint8_t digest[16];

	assert_int_equal(read_by_bob(w, all(&v)), IM2_FINE);
	w->m.settled = 9;
	assert_int_equal(im2_message_digest(&w->m, keyring_id(w->alice), keyring_id(w->bob), digest), ERR_OK);
	is_hex(BYTES_ARR(digest), DIGEST);
	assert_int_equal(im2_message_digest(&w->m, keyring_id(w->alice), keyring_id(w->carol), digest), ERR_OK);
	assert_memory_not_equal(digest, w->m.digest, 16);
	assert_int_equal(im2_message_digest(&w->m, keyring_id(w->carol), keyring_id(w->bob), digest), ERR_OK);
	assert_memory_not_equal(digest, w->m.digest, 16);
	w->m.has_wire_id = false;
	assert_int_equal(im2_message_digest(&w->m, keyring_id(w->alice), keyring_id(w->bob), digest), ERR_MALFORMED);
}

static void the_digest_covers_everything_else(void **state)
{
	struct world *w = *state;
	struct value text = of_hex(TEXT_MSG), v;
	uint8_t base[16], digest[16];
	struct im2_fields f;

	assert_int_equal(im2_parse(&im2_msg, all(&text), &f), IM2_FINE);
	im2_content_digest(&f, keyring_id(w->alice), keyring_id(w->bob), base);
	im2_content_digest(&f, keyring_id(w->bob), keyring_id(w->alice), digest);
	assert_memory_not_equal(base, digest, 16);
	im2_content_digest(&f, keyring_id(w->alice), keyring_id(w->carol), digest);
	assert_memory_not_equal(base, digest, 16);
	for (size_t i = 0; i < text.n; i++) {
		v = text;
		v.p[i] ^= 1;
		if (im2_parse(&im2_msg, all(&v), &f) != IM2_FINE)
			continue;
		im2_content_digest(&f, keyring_id(w->alice), keyring_id(w->bob), digest);
		assert_memory_not_equal(base, digest, 16);
	}
	/* V:messages.with_unknown_ignorable_field: other content; and with settled before it */
	v = of_hex(TEXT_MSG "2806667574757265");
	assert_int_equal(im2_parse(&im2_msg, all(&v), &f), IM2_FINE);
	im2_content_digest(&f, keyring_id(w->alice), keyring_id(w->bob), base);
	v = of_hex(TEXT_MSG "2201032806667574757265");
	assert_int_equal(im2_parse(&im2_msg, all(&v), &f), IM2_FINE);
	im2_content_digest(&f, keyring_id(w->alice), keyring_id(w->bob), digest);
	assert_memory_equal(base, digest, 16);
	v = of_hex(TEXT_MSG);
	assert_int_equal(im2_parse(&im2_msg, all(&v), &f), IM2_FINE);
	im2_content_digest(&f, keyring_id(w->alice), keyring_id(w->bob), digest);
	assert_memory_not_equal(base, digest, 16);
}

/* Unknown fields below 3, between 3 and 5, and behind: the written-out form keeps the order of
 * tags. */
static void the_digest_puts_the_parties_where_they_belong(void **state)
{
#define ID   "0110000102030405060708090a0b0c0d0e0f"
#define FROM "0310139e3940e64b5491722088d9a0d74162"
#define TO   "051034750f98bd59fcfc946da45aaabe933b"
#define REST "0f0100"
	static const char *const pairs[][2] = {
		{ID "0201aa" REST, ID "0201aa" FROM TO REST},
		{ID "0401aa" REST, ID FROM "0401aa" TO REST},
		{ID "0201aa0401bb" REST, ID "0201aa" FROM "0401bb" TO REST},
		{ID "0601aa" REST, ID FROM TO "0601aa" REST},
		{ID "0201aa0401bb0601cc" REST "2201052401dd",
		 ID "0201aa" FROM "0401bb" TO "0601cc" REST "2401dd"},
	};
	struct world *w = *state;
	struct im2_fields f;
	uint8_t bare[16], written[16];

	for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
		struct value a = of_hex(pairs[i][0]), b = of_hex(pairs[i][1]);

		assert_int_equal(im2_parse(&im2_msg, all(&a), &f), IM2_FINE);
		im2_content_digest(&f, keyring_id(w->alice), keyring_id(w->bob), bare);
		assert_int_equal(im2_parse(&im2_msg, all(&b), &f), IM2_FINE);
		im2_content_digest(&f, keyring_id(w->carol), keyring_id(w->carol), written);
		assert_memory_equal(bare, written, 16);
	}
}

/* --- signed messages (9.3) --- */

static void signed_messages_are_written_as_the_vectors(void **state)
{
	struct world *w = *state;
	struct message m[2] = {text_message(), text_message()};

	assert_int_equal(im2_smsg_write(w->alice, m, 1, keyring_ed(w->bob), &w->out), ERR_OK);
	is_hex(buf_bytes(&w->out), ONE_SMSG);
	m[1].ext.kind = KIND_NOTICE;
	m[1].created_ms += 5;
	m[1].body = BYTES_LIT("second");
	m[1].settled = 3;
	for (uint8_t i = 0; i < MSG_WIRE_ID; i++)
		m[1].wire_id[i] = (uint8_t)(i + 3);
	buf_reset(&w->out);
	assert_int_equal(im2_smsg_write(w->alice, m, 2, keyring_ed(w->bob), &w->out), ERR_OK);
	is_hex(buf_bytes(&w->out), TWO_SMSG);
}

static void signed_messages_open_for_their_recipient(void **state)
{
	struct world *w = *state;
	struct value v = of_hex(TWO_SMSG);
	struct im2_smsg_reader r;
	struct node_id author;

	assert_int_equal(im2_smsg_author(all(&v), &author), IM2_FINE);
	assert_true(node_id_eq(&author, keyring_id(w->alice)));
	assert_int_equal(im2_smsg_open(all(&v), keyring_ed(w->alice), w->bob, &r), IM2_FINE);
	assert_true(im2_smsg_next(&r, &w->m, w->id, w->type));
	assert_string_equal(w->id, "000102030405060708090a0b0c0d0e0f");
	assert_true(w->m.source_proven);
	assert_int_equal(w->m.settled, 0);
	is_hex(BYTES_ARR(w->m.digest), DIGEST);
	assert_true(im2_smsg_next(&r, &w->m, w->id, w->type));
	assert_string_equal(w->type, "NOTICE");
	assert_true(bytes_eq(w->m.body, BYTES_LIT("second")));
	assert_true(node_id_eq(&w->m.source, keyring_id(w->alice)));
	assert_true(node_id_eq(&w->m.destination, keyring_id(w->bob)));
	assert_int_equal(w->m.settled, 3);
	assert_false(im2_smsg_next(&r, &w->m, w->id, w->type));
}

static void signed_messages_open_for_nobody_else(void **state)
{
	struct world *w = *state;
	struct value v = of_hex(ONE_SMSG);
	struct im2_smsg_reader r;

	assert_int_equal(im2_smsg_open(all(&v), keyring_ed(w->alice), w->carol, &r), IM2_E_CONTEXT);
	assert_int_equal(im2_smsg_open(all(&v), keyring_ed(w->carol), w->bob, &r), IM2_E_SENDER);
	/* carol signs what names alice as its author */
	struct message m = text_message();
	struct im2_fields f;
	assert_int_equal(im2_smsg_write(w->carol, &m, 1, keyring_ed(w->bob), &w->out), ERR_OK);
	assert_int_equal(im2_parse(&im2_smsg, buf_bytes(&w->out), &f), IM2_FINE);
	memcpy(v.p + v.n - SIG_BYTES, f.v[IM2_SMSG_SIG].b.p, SIG_BYTES);
	assert_int_equal(im2_smsg_open(all(&v), keyring_ed(w->alice), w->bob, &r), IM2_E_SIG);
	assert_int_equal(im2_smsg_open(all(&v), keyring_ed(w->carol), w->bob, &r), IM2_E_SENDER);
}

static void each_bit_of_a_signed_message_counts(void **state)
{
	struct world *w = *state;
	struct value v = of_hex(ONE_SMSG);
	struct im2_smsg_reader r;

	for (size_t i = 0; i < 8 * v.n; i++) {
		v.p[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_not_equal(im2_smsg_open(all(&v), keyring_ed(w->alice), w->bob, &r),
				     IM2_FINE);
		v.p[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	for (size_t n = 0; n < v.n; n++)
		assert_int_not_equal(
			im2_smsg_open(bytes_of(v.p, n), keyring_ed(w->alice), w->bob, &r),
			IM2_FINE);
}

/* One member with another addressee voids the batch, signature or not. */
static void a_batch_has_one_author_and_one_recipient(void **state)
{
	struct world *w = *state;
	struct value bare = of_hex(TEXT_MSG), to_bob = of_hex(WRITTEN_MSG);
	struct im2_smsg_reader r;
	struct message m = text_message();
	struct im2_fields f;
	uint8_t other[16];

	assert_int_equal(im2_smsg_write(w->alice, &m, 1, keyring_ed(w->carol), &w->out), ERR_OK);
	assert_int_equal(im2_parse(&im2_smsg, buf_bytes(&w->out), &f), IM2_FINE);
	assert_int_equal(hex_decode(bytes_str(keyring_id(w->carol)->hex), other, 16), ERR_OK);

	struct value rows[3] = {to_bob, to_bob, bare};
	memcpy(rows[0].p + 38, other, 16); /* to carol */
	memcpy(rows[1].p + 20, other, 16); /* from carol */
	static const enum im2_refusal want[3] = {IM2_E_CONTEXT, IM2_E_SENDER, IM2_E_CONTEXT};
	for (size_t i = 0; i < 3; i++) {
		struct buf list, whole;
		uint8_t sig[SIG_BYTES] = {0};

		buf_init(&list, 4096);
		buf_init(&whole, 4096);
		im2_lv_add(&list, all(&to_bob));
		im2_lv_add(&list, all(&rows[i]));
		im2_item_add(&whole, 1, buf_bytes(&list));
		im2_item_add(&whole, 3, BYTES_ARR(sig));
		assert_int_equal(im2_smsg_open(buf_bytes(&whole), keyring_ed(w->alice), w->bob, &r),
				 want[i]);
		buf_fini(&list);
		buf_fini(&whole);
	}
}

static void batches_have_a_limit(void **state)
{
	struct world *w = *state;
	struct message *m = calloc(257, sizeof *m);
	uint8_t *body = calloc(1, 600000);

	for (size_t i = 0; i < 257; i++)
		m[i] = text_message();
	assert_int_equal(im2_smsg_write(w->alice, m, 0, keyring_ed(w->bob), &w->out), ERR_LIMIT);
	assert_int_equal(im2_smsg_write(w->alice, m, 257, keyring_ed(w->bob), &w->out), ERR_LIMIT);
	assert_int_equal(im2_smsg_write(w->alice, m, 256, keyring_ed(w->bob), &w->out), ERR_OK);
	buf_reset(&w->out);
	m[0].body = m[1].body = bytes_of(body, 600000);
	assert_int_equal(im2_smsg_write(w->alice, m, 2, keyring_ed(w->bob), &w->out), ERR_LIMIT);
	m[1].has_wire_id = false;
	m[1].body.n = 0;
	assert_int_equal(im2_smsg_write(w->alice, m, 2, keyring_ed(w->bob), &w->out),
			 ERR_MALFORMED);
	assert_int_equal(w->out.n, 0);
	free(m);
	free(body);
}

/* --- receipts (10.1, 10.2) --- */

static const struct receipt three[] = {
	{.kind = RECEIPT_DELIVERED,
	 .id = {(const uint8_t *)"000102030405060708090a0b0c0d0e0f", 32}},
	{.kind = RECEIPT_READ, .id = {(const uint8_t *)"0102030405060708090a0b0c0d0e0f10", 32}},
	{.kind = RECEIPT_REJECTED,
	 .id = {(const uint8_t *)"02030405060708090a0b0c0d0e0f1011", 32},
	 .code = 10},
};

static void receipts_are_written_as_the_vectors(void **state)
{
	struct world *w = *state;
	struct receipt r = three[0];

	assert_int_equal(im2_receipt_write(&r, 1, 0, SIZE_MAX, &w->out), 1);
	is_hex(buf_bytes(&w->out), ONE_RECEIPT);
	buf_reset(&w->out);
	r.kind = RECEIPT_HELD;
	assert_int_equal(im2_receipt_write(&r, 1, 0, SIZE_MAX, &w->out), 1);
	is_hex(buf_bytes(&w->out), HELD_RECEIPT);
	buf_reset(&w->out);
	assert_int_equal(im2_receipt_write(three, 3, WALL_T + 99, SIZE_MAX, &w->out), 3);
	is_hex(buf_bytes(&w->out), THREE_RECEIPT);
}

static void receipts_are_read_as_the_vectors(void **state)
{
	struct value v = of_hex(THREE_RECEIPT);
	struct im2_receipt_reader r;
	enum receipt_kind kind;
	struct bytes reason;
	char id[33];

	assert_int_equal(im2_receipt_open(all(&v), &r), IM2_FINE);
	for (size_t i = 0; i < 3; i++) {
		assert_true(im2_receipt_next(&r, &kind, id, &reason));
		assert_int_equal(kind, three[i].kind);
		assert_true(bytes_eq(bytes_str(id), three[i].id));
	}
	assert_true(bytes_eq(reason, BYTES_LIT("loop limit")));
	assert_false(im2_receipt_next(&r, &kind, id, &reason));
	for (size_t n = 0; n < v.n; n++)
		if (n != v.n - 8) /* without `at` */
			assert_int_not_equal(im2_receipt_open(bytes_of(v.p, n), &r), IM2_FINE);
}

static void reasons_that_are_no_rejection_say_so(void **state)
{
	struct world *w = *state;
	struct receipt r[4] = {three[0], three[0], three[0], three[0]};
	struct im2_receipt_reader in;
	enum receipt_kind kind;
	struct bytes reason;
	char id[33];

	r[0].kind = RECEIPT_RETRY;
	r[1].kind = RECEIPT_UNKNOWN;
	r[2].kind = RECEIPT_REJECTED;
	r[2].code = 200; /* of a later version */
	r[3].kind = RECEIPT_EXPIRED;
	assert_int_equal(im2_receipt_write(r, 4, 0, SIZE_MAX, &w->out), 4);
	assert_int_equal(im2_receipt_open(buf_bytes(&w->out), &in), IM2_FINE);
	assert_true(im2_receipt_next(&in, &kind, id, &reason));
	assert_int_equal(kind, RECEIPT_RETRY);
	assert_true(bytes_eq(reason, BYTES_LIT("inbox full")));
	assert_true(im2_receipt_next(&in, &kind, id, &reason));
	assert_int_equal(kind, RECEIPT_UNKNOWN);
	assert_true(im2_receipt_next(&in, &kind, id, &reason));
	assert_int_equal(kind, RECEIPT_REJECTED);
	assert_true(bytes_eq(reason, BYTES_LIT("refused")));
	assert_true(im2_receipt_next(&in, &kind, id, &reason));
	assert_int_equal(kind, RECEIPT_EXPIRED);
	assert_true(bytes_eq(reason, BYTES_LIT("expired")));
}

static void reason_words_name_one_reason_each(void **state)
{
	for (uint64_t i = IM2_REASON_EXPIRED; i <= IM2_REASON_SETTLED; i++)
		assert_int_equal(im2_reason_of(bytes_str(im2_reason_word(i))), i);
	assert_int_equal(im2_reason_of(BYTES_LIT("no such word")), IM2_REASON_OPERATOR);
	assert_int_equal(im2_reason_of(BYTES_LIT("")), IM2_REASON_OPERATOR);
	assert_string_equal(im2_reason_word(0), "refused");
	assert_string_equal(im2_reason_word(UINT64_MAX), "refused");
}

static void receipts_come_in_bites_that_fit(void **state)
{
	struct world *w = *state;
	struct receipt *r = calloc(600, sizeof *r);
	struct im2_receipt_reader in;
	enum receipt_kind kind;
	struct bytes reason;
	size_t done = 0, seen = 0;
	char id[33];

	for (size_t i = 0; i < 600; i++) {
		r[i] = three[i % 3];
		if (i % 7 == 0)
			r[i].id = BYTES_LIT("an id of the old wire");
	}
	while (done < 600) {
		size_t n, room = done == 0 ? 100 : SIZE_MAX;

		buf_reset(&w->out);
		n = im2_receipt_write(r + done, 600 - done, WALL_T, room, &w->out);
		assert_true(n > 0 && w->out.n <= 8192 && w->out.n <= room);
		done += n;
		assert_int_equal(im2_receipt_open(buf_bytes(&w->out), &in), IM2_FINE);
		while (im2_receipt_next(&in, &kind, id, &reason))
			seen++;
	}
	assert_int_equal(seen, 600 - 86);
	buf_reset(&w->out);
	assert_int_equal(im2_receipt_write(r, 1, 0, SIZE_MAX, &w->out), 1); /* nothing to write */
	assert_int_equal(w->out.n, 0);
	assert_int_equal(im2_receipt_write(r + 1, 1, 0, 19, &w->out), 0);
	assert_int_equal(w->out.n, 0);
	free(r);
}

static void signed_receipts_are_those_of_the_vectors(void **state)
{
	struct world *w = *state;
	struct value receipt = of_hex(THREE_RECEIPT);
	struct bytes inner;
	struct node_id from;

	im2_sreceipt_write(w->bob, keyring_ed(w->alice), all(&receipt), &w->out);
	is_hex(buf_bytes(&w->out), SIGNED_RECEIPT);
	assert_int_equal(im2_sreceipt_from(buf_bytes(&w->out), &from), IM2_FINE);
	assert_true(node_id_eq(&from, keyring_id(w->bob)));
	assert_int_equal(
		im2_sreceipt_open(buf_bytes(&w->out), keyring_ed(w->bob), w->alice, &inner),
		IM2_FINE);
	is_hex(inner, THREE_RECEIPT);
	assert_int_equal(
		im2_sreceipt_open(buf_bytes(&w->out), keyring_ed(w->carol), w->alice, &inner),
		IM2_E_SENDER);
	assert_int_equal(
		im2_sreceipt_open(buf_bytes(&w->out), keyring_ed(w->bob), w->carol, &inner),
		IM2_E_CONTEXT);
}

static void each_bit_of_a_signed_receipt_counts(void **state)
{
	struct world *w = *state;
	struct value v = of_hex(SIGNED_RECEIPT);
	struct bytes inner;

	for (size_t i = 0; i < 8 * v.n; i++) {
		v.p[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_not_equal(
			im2_sreceipt_open(all(&v), keyring_ed(w->bob), w->alice, &inner), IM2_FINE);
		v.p[i / 8] ^= (uint8_t)(1 << i % 8);
	}
}

static void marks_are_those_of_the_vectors(void **state)
{
	struct world *w = *state;
	struct im2_fields f = {.schema = &im2_settled};
	static const uint8_t era[8] = {0, 1, 2, 3, 4, 5, 6, 7};

	im2_set_b(&f, IM2_MARK_ERA, BYTES_ARR(era));
	im2_set_u(&f, IM2_MARK_SEQ, 300);
	im2_write(&im2_settled, &f, &w->out);
	is_hex(buf_bytes(&w->out), "010800010203040506070302ac02");
	buf_reset(&w->out);
	im2_set_u(&f, IM2_MARK_SEQ, 299);
	im2_write(&im2_seen, &f, &w->out);
	is_hex(buf_bytes(&w->out), "010800010203040506070302ab02");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(messages_are_written_as_the_vectors),
		TEST(messages_are_read_as_the_vectors),
		TEST(every_member_comes_back),
		TEST(what_9_1_forbids_is_not_written),
		TEST(a_message_for_a_session_names_nobody),
		TEST(cut_or_longer_messages_are_refused),
		TEST(the_digest_is_the_same_signed_or_not),
		TEST(the_digest_of_a_neutral_message_is_the_same),
		TEST(the_digest_covers_everything_else),
		TEST(the_digest_puts_the_parties_where_they_belong),
		TEST(signed_messages_are_written_as_the_vectors),
		TEST(signed_messages_open_for_their_recipient),
		TEST(signed_messages_open_for_nobody_else),
		TEST(each_bit_of_a_signed_message_counts),
		TEST(a_batch_has_one_author_and_one_recipient),
		TEST(batches_have_a_limit),
		TEST(receipts_are_written_as_the_vectors),
		TEST(receipts_are_read_as_the_vectors),
		TEST(reasons_that_are_no_rejection_say_so),
		TEST(reason_words_name_one_reason_each),
		TEST(receipts_come_in_bites_that_fit),
		TEST(signed_receipts_are_those_of_the_vectors),
		TEST(each_bit_of_a_signed_receipt_counts),
		TEST(marks_are_those_of_the_vectors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
