#include <setjmp.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/text.h"
#include "tests/lib/trust_pins.h"
#include "trust/pins_internal.h"

#define BOB	  "28fff9342c7030d3d899cc9e7bc11878"
#define BOB_KEY	  "AOHgeRjh99sSDDITSyRW6qKMPuT0gHPYfgBlqSDWfag="
#define CAROL	  "1ba145aa2ed6fa01ea237b28e569dbb6"
#define CAROL_KEY "mtqMfWa4zTVezJVMWjv0wOqTGXcvEkCpeg6Ob4teXHo="
#define SELF	  "139e3940e64b5491722088d9a0d74162"

/* wire 11.9 */
static const char inner_vector[] =
	"{\"peers\":{\"" BOB "\":{\"fingerprint\":\"" BOB "\",\"first_seen\":1753500000.0,"
	"\"last_seen\":1753500000.5,\"pubkey\":\"" BOB_KEY "\",\"trust_state\":\"trusted\"}},"
	"\"revoked\":{}}";
static const char file_vector[] =
	"{\"version\": 2, \"ciphertext\": "
	"\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXFpMcQWSaoGD3Zas1ys3PC+wWSOSYnZhW"
	"q3PZcWeq+WI1BET5bIjq6uimGDv4R53xQ5xwrL1Z9sf4aZscbSp8eQcBPEe44eQ6FKPP0LdoS5Q8my5/"
	"1sARoyapkNFLIX0bt6K+"
	"GJNvlq8XUlWnP5n1hg+V6KhhDVVmkS7W/"
	"P4IIIfNEaWJD8Cdo5ZDvmhY7tOGSoNwyC0vfaPkcv+VxesPh1NulXSf63iC0DcfV0kv"
	"N/wIYQ2WA3/XHhrW2+TCZsTDc2eh2w2zkgtrwrwRSg0SNoUvd4KcwPBkN0yojtCZZddWiJBvzY6UN/"
	"NJtyPpRimqNAqG0Yg7JdX5"
	"rVxe9R9LlUU=\", \"_mac\": "
	"\"aebb4f94de0c6be167fc2322fdc995c96d8d67b5e56157c515745cef864ddc21\"}";
static const char v1_vector[] =
	"{\"peers\":{},\"revoked\":{},\"_mac\":"
	"\"002b6e677fc625a1808a9232102f3217e19b9c56bfdc828f1018c3c57ae4e5e9\"}";

/* A store on disk, in a folder of its own. */
struct disk {
	struct world w; /* w.p is the loaded store */
	struct temp temp;
};

static void disk_make(struct disk *d)
{
	world_make(&d->w);
	temp_make(&d->temp, "known_peers.json");
}

static void disk_load(struct disk *d)
{
	pins_free(d->w.p);
	assert_int_equal(pins_load(d->temp.file, d->w.k, &d->w.t.env, &d->w.p, NULL), ERR_OK);
}

static void disk_put(struct disk *d, const char *text)
{
	write_file(d->temp.file, text, strlen(text));
	disk_load(d);
}

static void disk_free(struct disk *d)
{
	world_free(&d->w);
	temp_remove(&d->temp);
}

/* `inner` as a version 2 file of the zero identity; malloc'd. */
static char *sealed(const struct pins *p, const char *inner)
{
	size_t n = strlen(inner), blob_n = n + 40;
	uint8_t *blob = calloc(1, blob_n), mac[HASH_BYTES];
	char *text = malloc(BASE64_LEN(blob_n) + 1), *file = malloc(BASE64_LEN(blob_n) + 256);
	char hex[65];

	crypto_secretbox_easy(blob + 24, (const uint8_t *)inner, n, blob, p->box.p);
	base64_encode(bytes_of(blob, blob_n), text);
	hmac_sha256_2(secret_bytes(&p->mac), BYTES_LIT("v=2|c="), bytes_str(text), mac);
	hex_encode(BYTES_ARR(mac), hex);
	sprintf(file, "{\"version\":2,\"ciphertext\":\"%s\",\"_mac\":\"%s\"}", text, hex);
	free(blob);
	free(text);
	return file;
}

static void load_inner(struct disk *d, const char *inner)
{
	char *file = sealed(d->w.p, inner);

	disk_put(d, file);
	free(file);
}

static bool loads(struct disk *d, const char *inner)
{
	load_inner(d, inner);
	return !pins_read_only(d->w.p, NULL);
}

/* The inner text that would be written now. */
static void assert_inner(const struct pins *p, const char *want)
{
	struct buf b;

	buf_init(&b, PINS_FILE_MAX);
	assert_int_equal(pins_write_inner(p, &b), ERR_OK);
	assert_string_equal(buf_cstr(&b), want);
	buf_fini(&b);
}

static struct node_id id_of(const char *hex)
{
	struct node_id id;

	assert_int_equal(node_id_parse(bytes_str(hex), &id), ERR_OK);
	return id;
}

/* --- vectors ------------------------------------------------------------------------------- */

static void version_2_vector_loads(void **state)
{
	struct disk d;
	struct node_id bob = id_of(BOB);

	disk_make(&d);
	disk_put(&d, file_vector);
	assert_false(pins_read_only(d.w.p, NULL));
	assert_false(pins_dirty(d.w.p));
	assert_int_equal(pins_count(d.w.p), 1);
	const struct pin *pin = pin_of(&d.w, &bob);
	assert_int_equal(pin->state, PIN_TRUSTED);
	assert_int_equal(pin->first_seen_ms, 1753500000000ull);
	assert_int_equal(pin->last_seen_ms, 1753500000500ull);
	disk_free(&d);
}

static void version_2_vector_is_written_back_byte_for_byte(void **state)
{
	struct disk d;
	uint8_t nonce[24];
	char text[2048];

	disk_make(&d);
	disk_put(&d, file_vector);
	assert_inner(d.w.p, inner_vector);
	d.w.p->dirty = true;
	count_up(nonce, sizeof nonce, 0);
	test_env_script(&d.w.t, nonce, sizeof nonce);
	assert_int_equal(pins_flush(d.w.p, NULL), ERR_OK);
	read_file(d.temp.file, text, sizeof text);
	assert_string_equal(text, file_vector);
	disk_free(&d);
}

static void version_1_vector_loads_and_is_upgraded(void **state)
{
	struct disk d;
	char text[2048];

	disk_make(&d);
	disk_put(&d, v1_vector);
	assert_false(pins_read_only(d.w.p, NULL));
	assert_int_equal(pins_count(d.w.p), 0);
	assert_true(pins_dirty(d.w.p));
	assert_int_equal(pins_flush(d.w.p, NULL), ERR_OK);
	read_file(d.temp.file, text, sizeof text);
	assert_non_null(strstr(text, "\"version\": 2"));
	disk_load(&d);
	assert_false(pins_read_only(d.w.p, NULL));
	assert_false(pins_dirty(d.w.p));
	disk_free(&d);
}

static void version_1_records_load_under_their_mac(void **state)
{
	/* Not in canonical order: the MAC is over the canonical form all the same. */
	static const char records[] =
		"\"revoked\":{},\"peers\":{\"" BOB "\":{\"pubkey\":\"" BOB_KEY
		"\",\"trust_state\":\"blocked\","
		"\"last_seen\":1753500000.125,\"first_seen\":1753500000,\"note\":\"caf\\u00e9\"}}";
	static const char canonical[] =
		"{\"peers\":{\"" BOB "\":{\"first_seen\":1753500000,\"last_seen\":1753500000.125,"
		"\"note\":\"caf\\u00e9\",\"pubkey\":\"" BOB_KEY
		"\",\"trust_state\":\"blocked\"}},\"revoked\":{}}";
	struct disk d;
	uint8_t mac[HASH_BYTES];
	char hex[65], file[1024];
	struct node_id bob = id_of(BOB);

	disk_make(&d);
	hmac_sha256(secret_bytes(&d.w.p->mac), bytes_str(canonical), mac);
	hex_encode(BYTES_ARR(mac), hex);
	snprintf(file, sizeof file, "{%s,\"_mac\":\"%s\"}", records, hex);
	disk_put(&d, file);
	assert_false(pins_read_only(d.w.p, NULL));
	assert_int_equal(pin_of(&d.w, &bob)->state, PIN_BLOCKED);
	assert_int_equal(pin_of(&d.w, &bob)->last_seen_ms, 1753500000125ull);
	*strstr(file, "blocked") = 'B';
	disk_put(&d, file);
	assert_true(pins_read_only(d.w.p, NULL));
	disk_free(&d);
}

/* --- what must stay as it is --------------------------------------------------------------- */

static void assert_refused(struct disk *d, const char *text, size_t n, const char *reason)
{
	static char kept[PINS_FILE_MAX + 4096];
	uint8_t ed[ED_BYTES];
	struct pin_update u = {.ed = ed, .name = "eve", .version = V09, .state = PIN_TRUSTED};
	struct fault f = {0};
	const char *why = NULL;

	write_file(d->temp.file, text, n);
	disk_load(d);
	assert_true(pins_read_only(d->w.p, &why));
	assert_non_null(strstr(why, d->temp.file));
	if (!strstr(why, reason))
		fail_msg("\"%s\" does not say \"%s\"", why, reason);
	assert_int_equal(pins_count(d->w.p), 0);
	peer_key(1, ed, &u.id);
	assert_int_equal(pins_observe(d->w.p, &u, NULL), ERR_DENIED);
	assert_int_equal(pins_pin(d->w.p, ed, "eve", WALL_T, &f), ERR_DENIED);
	assert_helpful(&f, "read-only", "ironmesh doctor");
	assert_int_equal(pins_bind_address(d->w.p, &u.id, "h:1", NULL), ERR_DENIED);
	assert_int_equal(pins_set_state(d->w.p, &u.id, PIN_BLOCKED, NULL, &f), ERR_DENIED);
	assert_int_equal(pins_set_alias(d->w.p, &u.id, "x", &f), ERR_DENIED);
	assert_int_equal(pins_set_verified(d->w.p, &u.id, true), ERR_DENIED);
	assert_int_equal(pins_forget(d->w.p, &u.id), ERR_DENIED);
	assert_int_equal(pins_repin(d->w.p, "eve", &u.id, WALL_T, &f), ERR_DENIED);
	assert_int_equal(pins_alarm_drop(d->w.p, "eve"), ERR_DENIED);
	struct pin_alarm a = alarm_of("bob", false, &u.id, 1, "bob", WALL_T);
	assert_int_equal(pins_alarm(d->w.p, &a), ERR_DENIED);
	assert_false(pins_dirty(d->w.p));
	assert_int_equal(pins_flush(d->w.p, &f), ERR_OK);
	assert_int_equal(read_file(d->temp.file, kept, sizeof kept), n);
	assert_memory_equal(kept, text, n);
}

static void damaged_and_foreign_files_are_left_alone(void **state)
{
	struct disk d;
	char text[2048];
	size_t n = sizeof file_vector - 1;

	disk_make(&d);
	assert_refused(&d, "", 0, "not a JSON object");
	assert_refused(&d, "[1]", 3, "not a JSON object");
	assert_refused(&d, "{\"peers\":{},\"revoked\":{}}", 25, "no MAC");
	assert_refused(&d, "{\"_mac\":\"\",\"version\":2}", 23, "no ciphertext");
	assert_refused(&d, "{\"_mac\":\"\",\"version\":3}", 23, "version");
	assert_refused(&d, "{\"_mac\":\"\",\"version\":\"2\"}", 25, "version");

	memcpy(text, file_vector, n + 1);
	text[n - 10] = text[n - 10] == '0' ? '1' : '0';
	assert_refused(&d, text, n, "MAC does not verify");
	memcpy(text, file_vector, n + 1);
	text[100] = text[100] == 'A' ? 'B' : 'A';
	assert_refused(&d, text, n, "MAC does not verify");
	snprintf(text, sizeof text, "%s}", file_vector);
	assert_refused(&d, text, n + 1, "not a JSON object");
	memcpy(text, v1_vector, sizeof v1_vector);
	text[sizeof v1_vector - 5] ^= 1;
	assert_refused(&d, text, sizeof v1_vector - 1, "MAC does not verify");
	disk_free(&d);
}

static void every_shorter_prefix_is_refused(void **state)
{
	struct world w;
	char why[256];

	world_make(&w);
	for (size_t n = 0; n < sizeof file_vector - 1; n++)
		assert_int_not_equal(pins_read_file(w.p, bytes_of(file_vector, n), why, sizeof why),
				     ERR_OK);
	for (size_t n = 0; n < sizeof v1_vector - 1; n++)
		assert_int_not_equal(pins_read_file(w.p, bytes_of(v1_vector, n), why, sizeof why),
				     ERR_OK);
	assert_int_equal(pins_read_file(w.p, bytes_str(file_vector), why, sizeof why), ERR_OK);
	world_free(&w);
}

static void store_of_another_identity_is_foreign(void **state)
{
	struct disk d;
	struct test_env t;

	disk_make(&d);
	test_env_init(&t);
	keyring_free(d.w.k);
	assert_int_equal(keyring_generate(&t.env, &d.w.k), ERR_OK);
	assert_refused(&d, file_vector, sizeof file_vector - 1, "another identity");
	disk_free(&d);
}

static void unreadable_and_oversized_files_are_refused(void **state)
{
	struct disk d;
	const char *why;
	char *big = malloc(PINS_FILE_MAX + 1);

	disk_make(&d);
	write_file(d.temp.file, file_vector, sizeof file_vector - 1);
	assert_int_equal(chmod(d.temp.file, 0644), 0);
	disk_load(&d);
	assert_true(pins_read_only(d.w.p, &why));
	assert_non_null(strstr(why, "0644"));
	assert_int_equal(chmod(d.temp.file, 0600), 0);
	memset(big, ' ', PINS_FILE_MAX + 1);
	write_file(d.temp.file, big, PINS_FILE_MAX + 1);
	disk_load(&d);
	assert_true(pins_read_only(d.w.p, NULL));
	free(big);
	disk_free(&d);
}

/* --- inner content ------------------------------------------------------------------------- */

#define PEER(members)                                                                              \
	"{\"peers\":{\"" BOB "\":{\"pubkey\":\"" BOB_KEY "\"" members "}},\"revoked\":{}}"

static void malformed_records_refuse_the_whole_store(void **state)
{
	static const char *const bad[] = {
		"[]",
		"{}",
		"{\"peers\":[]}",
		"{\"peers\":{},\"revoked\":[]}",
		"{\"peers\":{\"" BOB "\":{}},\"revoked\":{}}",
		"{\"peers\":{\"" BOB "\":[]},\"revoked\":{}}",
		"{\"peers\":{\"" CAROL "\":{\"pubkey\":\"" BOB_KEY "\"}},\"revoked\":{}}",
		"{\"peers\":{\"bob\":{\"pubkey\":\"" BOB_KEY "\"}},\"revoked\":{}}",
		"{\"peers\":{},\"revoked\":{\"bob\":{}}}",
		"{\"peers\":{},\"revoked\":{\"" CAROL "\":{\"pubkey\":\"" BOB_KEY "\"}}}",
		"{\"peers\":{},\"revoked\":{},\"alarms\":{}}",
		"{\"peers\":{},\"revoked\":{},\"alarms\":[1]}",
		"{\"peers\":{},\"revoked\":{},\"alarms\":[{\"subject\":\"bob\",\"was\":\"" BOB
		"\",\"now\":\"" CAROL "\",\"now_key\":\"" BOB_KEY "\"}]}",
		PEER(",\"fingerprint\":\"" CAROL "\""),
		PEER(",\"trust_state\":\"Trusted\""),
		PEER(",\"trust_state\":\"revoked\""),
		PEER(",\"trust_state\":1"),
		PEER(",\"first_seen\":-1.0"),
		PEER(",\"first_seen\":\"now\""),
		PEER(",\"last_seen\":1e300"),
		PEER(",\"name\":7"),
		PEER(",\"name\":"
		     "\"0123456789012345678901234567890123456789012345678901234567890123x\""),
		PEER(",\"alias\":\"a b\""),
		PEER(",\"verified\":1"),
		PEER(",\"version_floor\":65536"),
		PEER(",\"version_floor\":1.5"),
		PEER(",\"x25519\":\"AAAA\""),
		PEER(",\"addresses\":{}"),
		PEER(",\"addresses\":[{}]"),
		PEER(",\"addresses\":[{\"address\":\"h:1\",\"tls_key\":\"00\"}]"),
		PEER(",\"addresses\":[{\"address\":\"h\\n:1\"}]"),
		PEER(",\"addresses\":[{\"address\":\"1\"},{\"address\":\"2\"},{\"address\":\"3\"},{"
		     "\"address\":\"4\"},"
		     "{\"address\":\"5\"},{\"address\":\"6\"},{\"address\":\"7\"},{\"address\":"
		     "\"8\"},{\"address\":\"9\"}]"),
	};
	struct disk d;

	disk_make(&d);
	assert_true(loads(&d, PEER("")));
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		if (loads(&d, bad[i]))
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(pins_count(d.w.p), 0);
	}
	disk_free(&d);
}

static void record_without_a_state_is_pending(void **state)
{
	struct disk d;
	struct node_id bob = id_of(BOB);

	disk_make(&d);
	assert_true(loads(&d, PEER("")));
	assert_int_equal(pin_of(&d.w, &bob)->state, PIN_PENDING);
	disk_free(&d);
}

static void members_of_other_software_survive_a_rewrite(void **state)
{
	static const char inner[] =
		"{\"extra\":[1,{\"a\":null}],\"peers\":{\"" BOB
		"\":{\"cap_accepted_at\":1753500000.25,"
		"\"capability_hash\":\"a170\",\"capability_hash_pending\":\"c3ef\","
		"\"capability_set\":[\"chat\",\"embed\"],\"capability_set_pending\":[\"chat\",\"draw\"],"
		"\"fingerprint\":\"" BOB
		"\",\"first_seen\":1753500000.0,"
		"\"last_seen\":1753500000.5,\"pinned_via\":\"invite\",\"pubkey\":\"" BOB_KEY "\","
		"\"trust_state\":\"pending-cap-change\"}},\"revoked\":{\"" CAROL
		"\":{\"reason\":\"compromised\","
		"\"revoker\":\"" SELF "\",\"timestamp\":1753500000}}}";
	struct disk d;
	struct node_id bob = id_of(BOB), carol = id_of(CAROL);

	disk_make(&d);
	assert_true(loads(&d, inner));
	assert_int_equal(pin_of(&d.w, &bob)->state, PIN_TRUSTED);
	assert_true(pin_of(&d.w, &bob)->cap_change);
	assert_false(pin_admits(pin_of(&d.w, &bob)));
	assert_string_equal(pin_of(&d.w, &bob)->via, "invite");
	assert_int_equal(pin_of(&d.w, &carol)->state, PIN_REVOKED);
	assert_string_equal(pin_of(&d.w, &carol)->reason, "compromised");
	assert_inner(d.w.p, inner);
	/* A decision of the operator ends the pending change; the rest stays. */
	assert_int_equal(pins_set_state(d.w.p, &bob, PIN_TRUSTED, NULL, NULL), ERR_OK);
	assert_int_equal(pins_flush(d.w.p, NULL), ERR_OK);
	disk_load(&d);
	struct buf b;
	buf_init(&b, PINS_FILE_MAX);
	assert_int_equal(pins_write_inner(d.w.p, &b), ERR_OK);
	assert_non_null(strstr(buf_cstr(&b), "\"trust_state\":\"trusted\""));
	assert_non_null(strstr(buf_cstr(&b), "\"capability_hash\":\"c3ef\",\"capability_set\":[\"chat\",\"draw\"]"));
	assert_null(strstr(buf_cstr(&b), "_pending"));
	assert_non_null(strstr(buf_cstr(&b), "\"pinned_via\":\"invite\""));
	assert_non_null(strstr(buf_cstr(&b), "\"extra\":[1,{\"a\":null}]"));
	buf_fini(&b);
	disk_free(&d);
}

static void revocation_wins_over_a_peer_record(void **state)
{
	struct disk d;
	struct node_id bob = id_of(BOB);

	disk_make(&d);
	assert_true(loads(&d, "{\"peers\":{\"" BOB "\":{\"pubkey\":\"" BOB_KEY
			      "\",\"trust_state\":\"trusted\"}},"
			      "\"revoked\":{\"" BOB "\":{\"reason\":\"lost\"}}}"));
	assert_int_equal(pins_count(d.w.p), 1);
	assert_int_equal(pin_of(&d.w, &bob)->state, PIN_REVOKED);
	disk_free(&d);
}

static void revoked_peer_is_written_where_upstream_looks(void **state)
{
	struct disk d;
	struct node_id bob = id_of(BOB);

	disk_make(&d);
	disk_put(&d, file_vector);
	assert_int_equal(pins_set_state(d.w.p, &bob, PIN_REVOKED, "lost", NULL), ERR_OK);
	assert_inner(d.w.p,
		     "{\"peers\":{},\"revoked\":{\"" BOB "\":{\"first_seen\":1753500000.0,"
		     "\"last_seen\":1753500000.5,\"pubkey\":\"" BOB_KEY "\",\"reason\":\"lost\","
		     "\"revoker\":\"" SELF "\",\"timestamp\":1753500000}}}");
	disk_free(&d);
}

static void everything_we_know_survives_a_restart(void **state)
{
	struct disk d;
	uint8_t ed[ED_BYTES], x[X25519_BYTES] = {5}, tls[32] = {6};
	struct pin_update u = {.ed = ed,
			       .name = "bob",
			       .version = 0x000a,
			       .x25519 = x,
			       .confirms = true,
			       .state = PIN_TRUSTED,
			       .via = "allow-list",
			       .wall_ms = WALL_T};
	const struct pin_alarm *list;

	disk_make(&d);
	disk_load(&d);
	assert_false(pins_read_only(d.w.p, NULL)); /* a missing file is an empty store */
	peer_key(1, ed, &u.id);
	assert_int_equal(pins_observe(d.w.p, &u, NULL), ERR_OK);
	assert_int_equal(pins_bind_address(d.w.p, &u.id, "192.0.2.1:8765", tls), ERR_OK);
	assert_int_equal(pins_bind_address(d.w.p, &u.id, "bob.example:1", NULL), ERR_OK);
	assert_int_equal(pins_set_alias(d.w.p, &u.id, "b1", NULL), ERR_OK);
	assert_int_equal(pins_set_verified(d.w.p, &u.id, true), ERR_OK);
	struct node_id rival = meet(&d.w, 2, "bob", PIN_TRUSTED);
	struct node_id blocked = meet(&d.w, 3, "caf\xc3\xa9 \xf0\x9f\x98\x80", PIN_PENDING);
	assert_int_equal(pins_set_state(d.w.p, &blocked, PIN_BLOCKED, "spam", NULL), ERR_OK);
	struct pin_alarm a = alarm_of("192.0.2.1:8765", true, &u.id, 4, "bob", WALL_T + 7);
	assert_int_equal(pins_alarm(d.w.p, &a), ERR_OK);
	assert_int_equal(pins_alarm(d.w.p, &a), ERR_OK);
	struct pin before = *pin_of(&d.w, &u.id);
	assert_int_equal(pins_flush(d.w.p, NULL), ERR_OK);
	assert_false(pins_dirty(d.w.p));

	disk_load(&d);
	assert_false(pins_read_only(d.w.p, NULL));
	assert_int_equal(pins_count(d.w.p), 3);
	const struct pin *pin = pin_of(&d.w, &u.id);
	assert_memory_equal(pin->ed, before.ed, ED_BYTES);
	assert_int_equal(pin->state, PIN_TRUSTED);
	assert_true(pin->verified && pin->confirms && pin->has_x25519);
	assert_string_equal(pin->name, "bob");
	assert_string_equal(pin->alias, "b1");
	assert_string_equal(pin->via, "allow-list");
	assert_int_equal(pin->first_seen_ms, WALL_T);
	assert_int_equal(pin->last_seen_ms, WALL_T);
	assert_int_equal(pin->version_floor, 0x000a);
	assert_memory_equal(pin->x25519, x, sizeof x);
	assert_int_equal(pin->address_count, 2);
	assert_string_equal(pin->addresses[0].text, "192.0.2.1:8765");
	assert_true(pin->addresses[0].has_tls_key && !pin->addresses[1].has_tls_key);
	assert_memory_equal(pin->addresses[0].tls_key, tls, sizeof tls);
	assert_true(node_id_eq(&pins_by_name(d.w.p, "bob")->id, &u.id));
	assert_string_equal(pin_of(&d.w, &rival)->name, "bob");
	assert_string_equal(pin_of(&d.w, &blocked)->name, "caf\xc3\xa9 \xf0\x9f\x98\x80");
	assert_string_equal(pin_of(&d.w, &blocked)->reason, "spam");
	assert_int_equal(pins_alarms(d.w.p, &list), 1);
	assert_string_equal(list[0].subject, "192.0.2.1:8765");
	assert_true(list[0].is_address && node_id_eq(&list[0].was, &u.id) &&
		    node_id_eq(&list[0].now, &a.now));
	assert_memory_equal(list[0].now_ed, a.now_ed, ED_BYTES);
	assert_int_equal(list[0].at_ms, WALL_T + 7);
	assert_int_equal(list[0].count, 2);
	disk_free(&d);
}

static void milliseconds_survive_float_seconds(void **state)
{
	struct disk d;

	disk_make(&d);
	disk_load(&d);
	for (unsigned i = 0; i < 200; i++) {
		d.w.t.wall_ms = WALL_T + i * 999983ull;
		meet(&d.w, i, "", PIN_TRUSTED);
	}
	d.w.t.wall_ms = UINT64_MAX; /* a clock gone mad is cut, not wrapped */
	struct node_id mad = meet(&d.w, 200, "", PIN_TRUSTED);
	assert_int_equal(pins_flush(d.w.p, NULL), ERR_OK);
	disk_load(&d);
	for (unsigned i = 0; i < 200; i++) {
		uint8_t ed[ED_BYTES];
		struct node_id id;

		peer_key(i, ed, &id);
		assert_int_equal(pin_of(&d.w, &id)->first_seen_ms, WALL_T + i * 999983ull);
	}
	assert_int_equal(pin_of(&d.w, &mad)->first_seen_ms, PINS_WALL_MAX_MS);
	disk_free(&d);
}

static void too_many_records_are_refused_before_any_is_made(void **state)
{
	struct disk d;
	struct buf b;

	disk_make(&d);
	buf_init(&b, PINS_FILE_MAX);
	buf_add_str(&b, "{\"peers\":{},\"revoked\":{");
	for (unsigned i = 0; i <= PINS_MAX; i++)
		buf_printf(&b, "%s\"%032x\":{}", i ? "," : "", i);
	buf_add_str(&b, "}}");
	assert_false(loads(&d, buf_cstr(&b)));
	buf_reset(&b);
	buf_add_str(&b, "{\"peers\":{},\"revoked\":{");
	for (unsigned i = 0; i < PINS_MAX; i++)
		buf_printf(&b, "%s\"%032x\":{}", i ? "," : "", i);
	buf_add_str(&b, "}}");
	assert_true(loads(&d, buf_cstr(&b)));
	assert_int_equal(pins_count(d.w.p), PINS_MAX);
	buf_fini(&b);
	disk_free(&d);
}

/* --- faults -------------------------------------------------------------------------------- */

static void flush_into_a_missing_folder_fails_and_stays_dirty(void **state)
{
	struct disk d;
	char path[160], folder[128];
	struct fault f = {0};

	disk_make(&d);
	snprintf(folder, sizeof folder, "%s/sub", d.temp.dir);
	snprintf(path, sizeof path, "%s/known_peers.json", folder);
	pins_free(d.w.p);
	assert_int_equal(pins_load(path, d.w.k, &d.w.t.env, &d.w.p, NULL), ERR_OK);
	assert_false(pins_read_only(d.w.p, NULL));
	meet(&d.w, 1, "bob", PIN_TRUSTED);
	assert_int_not_equal(pins_flush(d.w.p, &f), ERR_OK);
	assert_true(f.what[0] != '\0');
	assert_true(pins_state_dirty(d.w.p));
	assert_int_equal(mkdir(folder, 0700), 0);
	assert_int_equal(pins_flush(d.w.p, &f), ERR_OK);
	assert_false(pins_dirty(d.w.p));
	assert_int_equal(unlink(path), 0);
	disk_free(&d);
}

static void flush_to_a_full_disk_keeps_the_old_file(void **state)
{
	struct disk d;
	struct rlimit old, none;
	char text[2048];
	struct fault f = {0};

	disk_make(&d);
	disk_put(&d, file_vector);
	meet(&d.w, 1, "bob", PIN_TRUSTED);
	/* A file that may not grow behaves as a disk that is full. */
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	none = old;
	none.rlim_cur = 64;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	enum err e = pins_flush(d.w.p, &f);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_not_equal(e, ERR_OK);
	assert_true(pins_state_dirty(d.w.p));
	read_file(d.temp.file, text, sizeof text);
	assert_string_equal(text, file_vector);
	assert_int_equal(pins_flush(d.w.p, &f), ERR_OK);
	disk_load(&d);
	assert_int_equal(pins_count(d.w.p), 2);
	disk_free(&d);
}

static void clean_store_is_not_written(void **state)
{
	struct disk d;

	disk_make(&d);
	disk_load(&d);
	assert_int_equal(pins_flush(d.w.p, NULL), ERR_OK);
	assert_int_not_equal(access(d.temp.file, F_OK), 0);
	disk_free(&d);
}

/* --- export -------------------------------------------------------------------------------- */

static void export_holds_the_trusted_and_verifies(void **state)
{
	struct world w;
	struct buf out, whole;
	uint8_t sig[SIG_BYTES];
	json_t *root;

	world_make(&w);
	struct node_id bob = meet(&w, 1, "bob", PIN_TRUSTED);
	meet(&w, 2, "eve", PIN_PENDING);
	buf_init(&out, PINS_FILE_MAX);
	buf_init(&whole, PINS_FILE_MAX);
	assert_int_equal(pins_export(w.p, w.k, WALL_T, &out), ERR_OK);
	assert_int_equal(json_load_strict(buf_bytes(&out), PINS_FILE_MAX, &root), ERR_OK);
	json_t *pins = json_object_get(root, "pins");
	assert_int_equal(json_array_size(pins), 1);
	assert_string_equal(json_str(json_array_get(pins, 0), "fingerprint"), bob.hex);
	assert_string_equal(json_str(json_array_get(pins, 0), "name"), "bob");
	assert_string_equal(json_str(root, "exporter"), SELF);
	assert_int_equal(
		base64_decode_exact(bytes_str(json_str(root, "signature")), sig, sizeof sig),
		ERR_OK);
	json_object_del(root, "signature");
	buf_add(&whole, sig_prefix(SIG_TRUST_EXPORT));
	assert_int_equal(json_write(&whole, root, JSON_SORTED), ERR_OK);
	assert_true(sig_verify(SIG_TRUST_EXPORT, keyring_ed(w.k), buf_bytes(&whole), sig));
	whole.p[whole.n - 2] ^= 1;
	assert_false(sig_verify(SIG_TRUST_EXPORT, keyring_ed(w.k), buf_bytes(&whole), sig));
	json_decref(root);
	buf_fini(&out);
	buf_fini(&whole);
	world_free(&w);
}

/* Whatever was decided, without its disk it has not been. */
static void a_decision_that_cannot_be_written_is_not_made(void **state)
{
	struct fault f = {0};
	struct disk d;
	uint8_t ed[ED_BYTES];
	struct node_id fresh;
	struct buf was;

	disk_make(&d);
	disk_load(&d);
	struct node_id bob = meet(&d.w, 1, "bob", PIN_TRUSTED);
	struct node_id amy = meet(&d.w, 2, "amy", PIN_PENDING);
	struct pin_alarm a = alarm_of("bob", false, &bob, 3, "bob", WALL_T);
	const struct pin *pin = pin_of(&d.w, &bob);

	peer_key(4, ed, &fresh);
	assert_int_equal(pins_bind_address(d.w.p, &bob, "192.0.2.7:8765", NULL), ERR_OK);
	assert_int_equal(pins_alarm(d.w.p, &a), ERR_OK);
	assert_int_equal(pins_flush(d.w.p, NULL), ERR_OK);
	buf_init(&was, PINS_FILE_MAX);
	assert_int_equal(pins_write_inner(d.w.p, &was), ERR_OK);
	char *path = d.w.p->path;

	d.w.p->path = (char[]){"/nonexistent/known_peers.json"};
	for (int i = 0; i < 6; i++) {
		struct pins_copy *before;
		enum err e = pins_copy(d.w.p, &before);

		assert_int_equal(e, ERR_OK);
		e = i == 0 ? pins_set_state(d.w.p, &bob, PIN_REVOKED, "lost", &f) :
		    i == 1 ? pins_set_state(d.w.p, &amy, PIN_TRUSTED, NULL, &f) :
		    i == 2 ? pins_forget(d.w.p, &bob) :
		    i == 3 ? pins_set_alias(d.w.p, &bob, "bobby", &f) :
		    i == 4 ? pins_repin(d.w.p, "bob", &a.now, WALL_T, &f) :
			     pins_pin(d.w.p, ed, "new", WALL_T, &f);
		assert_int_equal(e, ERR_OK);
		assert_true(pins_state_dirty(d.w.p));
		assert_int_equal(pins_settle(d.w.p, before, e, &f), ERR_NOTFOUND);
		assert_string_equal(f.means, "nothing was changed");
		assert_inner(d.w.p, buf_cstr(&was));
		assert_null(pins_get(d.w.p, &fresh));
		if (i < 2)
			assert_ptr_equal(pin_of(&d.w, &bob), pin);
	}
	d.w.p->path = path;
	/* Nor is a change that was refused; one that can be written stays. */
	struct pins_copy *before;

	assert_int_equal(pins_copy(d.w.p, &before), ERR_OK);
	assert_int_equal(pins_settle(d.w.p, before, ERR_EXISTS, &f), ERR_EXISTS);
	assert_int_equal(pins_copy(d.w.p, &before), ERR_OK);
	assert_int_equal(pins_settle(d.w.p, before, pins_set_state(d.w.p, &amy, PIN_BLOCKED, NULL, &f), &f),
			 ERR_OK);
	disk_load(&d);
	assert_int_equal(pin_of(&d.w, &amy)->state, PIN_BLOCKED);
	assert_int_equal(pin_of(&d.w, &bob)->state, PIN_TRUSTED);
	buf_fini(&was);
	disk_free(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(version_2_vector_loads),
		cmocka_unit_test(version_2_vector_is_written_back_byte_for_byte),
		cmocka_unit_test(version_1_vector_loads_and_is_upgraded),
		cmocka_unit_test(version_1_records_load_under_their_mac),
		cmocka_unit_test(damaged_and_foreign_files_are_left_alone),
		cmocka_unit_test(every_shorter_prefix_is_refused),
		cmocka_unit_test(store_of_another_identity_is_foreign),
		cmocka_unit_test(unreadable_and_oversized_files_are_refused),
		cmocka_unit_test(malformed_records_refuse_the_whole_store),
		cmocka_unit_test(record_without_a_state_is_pending),
		cmocka_unit_test(members_of_other_software_survive_a_rewrite),
		cmocka_unit_test(revocation_wins_over_a_peer_record),
		cmocka_unit_test(revoked_peer_is_written_where_upstream_looks),
		cmocka_unit_test(everything_we_know_survives_a_restart),
		cmocka_unit_test(milliseconds_survive_float_seconds),
		cmocka_unit_test(too_many_records_are_refused_before_any_is_made),
		cmocka_unit_test(flush_into_a_missing_folder_fails_and_stays_dirty),
		cmocka_unit_test(flush_to_a_full_disk_keeps_the_old_file),
		cmocka_unit_test(a_decision_that_cannot_be_written_is_not_made),
		cmocka_unit_test(clean_store_is_not_written),
		cmocka_unit_test(export_holds_the_trusted_and_verifies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
