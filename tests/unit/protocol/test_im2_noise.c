#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <sodium.h>

#include "base/secret.h"
#include "protocol/im2/cpace.h"
#include "protocol/im2/noise.h"
#include "tests/lib/protocol_vectors.h"

#define MESSAGES_MAX 8

/* One published handshake. */
struct noise_case {
	const char *source, *pattern;
	struct bytes si, ei, sr, er, prologue, psk, h;
	struct {
		char kind; /* m, or i and r: a transport message of that side */
		struct bytes payload, message;
	} m[MESSAGES_MAX];
	size_t n;
};

static const char *const names[NOISE_PATTERNS] = {
	[NOISE_X] = "X",	   [NOISE_IK] = "IK",	      [NOISE_XX] = "XX",
	[NOISE_XXPSK0] = "XXpsk0", [NOISE_XXPSK3] = "XXpsk3", [NOISE_IKPSK1] = "IKpsk1",
	[NOISE_IKPSK2] = "IKpsk2",
};

static enum noise_pattern pattern_named(const char *name)
{
	for (unsigned i = 0; i < NOISE_PATTERNS; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	fail_msg("unknown pattern %s", name);
	return NOISE_PATTERNS;
}

/* Takes the case that begins at line *at. */
static bool next_case(const struct vectors *v, size_t *at, struct noise_case *c)
{
	if (*at == v->n)
		return false;
	assert_string_equal(v->line[*at].name, "case");
	*c = (struct noise_case){.source = v->line[*at].word[0], .pattern = v->line[*at].word[1]};
	for ((*at)++; *at < v->n && strcmp(v->line[*at].name, "case") != 0; (*at)++) {
		const struct vector_line *l = &v->line[*at];
		const struct {
			const char *name;
			struct bytes *to;
		} keys[] = {{"si", &c->si}, {"ei", &c->ei},		{"sr", &c->sr},
			    {"er", &c->er}, {"prologue", &c->prologue}, {"psk", &c->psk},
			    {"h", &c->h}};
		bool key = false;

		for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
			if (strcmp(l->name, keys[i].name) == 0) {
				*keys[i].to = l->bytes[0];
				key = true;
			}
		if (key)
			continue;
		assert_true(c->n < MESSAGES_MAX);
		c->m[c->n].kind = l->name[0];
		c->m[c->n].payload = l->bytes[0];
		c->m[c->n++].message = l->bytes[1];
	}
	return true;
}

struct side {
	struct noise noise;
	uint8_t s[32];
};

static void side_init(struct side *x, const struct noise_case *c, bool initiator)
{
	struct bytes s = initiator ? c->si : c->sr, e = initiator ? c->ei : c->er;
	struct noise_static key = {.dh = noise_raw_dh, .ctx = x->s};
	uint8_t rs[32];
	struct noise_opts o = {
		.pattern = pattern_named(c->pattern),
		.initiator = initiator,
		.prologue = c->prologue,
		.s = &key,
		.psk = c->psk.n ? c->psk.p : NULL,
	};

	assert_int_equal(s.n, 32);
	memcpy(x->s, s.p, 32);
	assert_int_equal(crypto_scalarmult_base(key.pub, x->s), 0);
	if (initiator && (o.pattern == NOISE_X || o.pattern == NOISE_IK ||
			  o.pattern == NOISE_IKPSK1 || o.pattern == NOISE_IKPSK2)) {
		assert_int_equal(crypto_scalarmult_base(rs, c->sr.p), 0);
		o.rs = rs;
	}
	noise_init(&x->noise, &o);
	if (e.n)
		noise_set_ephemeral(&x->noise, e.p);
}

static void assert_bytes(struct bytes is, struct bytes should)
{
	assert_int_equal(is.n, should.n);
	if (is.n)
		assert_memory_equal(is.p, should.p, is.n);
}

static bool is_ik(const struct noise_case *c)
{
	return strncmp(c->pattern, "IK", 2) == 0;
}

static enum err read_whole(struct noise *x, bool halves, struct bytes m, struct buf *out)
{
	struct bytes rest;
	enum err e;

	if (!halves)
		return noise_read(x, m, out);
	e = noise_read_static(x, m, &rest);
	return e == ERR_OK ? noise_read_payload(x, rest, out) : e;
}

static void run_case(const struct noise_case *c, bool halves)
{
	struct side side[2];
	uint8_t k[2][2][32];
	uint64_t n[2] = {0, 0};
	struct buf b;

	buf_init(&b, 65535);
	side_init(&side[0], c, true);
	side_init(&side[1], c, false);
	for (size_t i = 0; i < c->n; i++) {
		struct noise *w = &side[i % 2].noise, *r = &side[!(i % 2)].noise;

		buf_reset(&b);
		if (c->m[i].kind == 'm') {
			assert_int_equal(noise_write(w, c->m[i].payload, &b), ERR_OK);
			assert_bytes(buf_bytes(&b), c->m[i].message);
			buf_reset(&b);
			assert_int_equal(read_whole(r, halves && i == 0 && is_ik(c),
						    c->m[i].message, &b),
					 ERR_OK);
			assert_bytes(buf_bytes(&b), c->m[i].payload);
			continue;
		}
		assert_true(noise_done(w) && noise_done(r));
		for (int s = 0; s < 2; s++)
			noise_split(&side[s].noise, k[s][0], k[s][1]);
		assert_memory_equal(k[0], k[1], sizeof k[0]);
		int from = c->m[i].kind == 'r';
		uint8_t *p = buf_reserve(&b, c->m[i].message.n + 1);
		im2_aead_seal(k[0][from], n[from], bytes_of(NULL, 0), c->m[i].payload, p);
		assert_memory_equal(p, c->m[i].message.p, c->m[i].message.n);
		assert_int_equal(im2_aead_open(k[1][from], n[from]++, bytes_of(NULL, 0),
					       c->m[i].message, p),
				 ERR_OK);
		assert_memory_equal(p, c->m[i].payload.p, c->m[i].payload.n);
	}
	if (c->h.n) {
		assert_memory_equal(side[0].noise.h, c->h.p, 32);
		assert_memory_equal(side[1].noise.h, c->h.p, 32);
	}
	/* What is left of the handshake has no ephemeral secret and no psk. */
	assert_true(is_zero(side[0].noise.e_sk, 32) && is_zero(side[0].noise.psk, 32));
	assert_true(is_zero(side[1].noise.e_sk, 32) && is_zero(side[1].noise.psk, 32));
	noise_wipe(&side[0].noise);
	assert_true(is_zero(&side[0].noise.h, 96));
	noise_wipe(&side[1].noise);
	buf_fini(&b);
}

static void handshakes_match_the_published_vectors(void **state)
{
	size_t seen[NOISE_PATTERNS] = {0}, at = 0, ran = 0;
	struct noise_case c;
	struct vectors v;

	vectors_load(&v, "tests/vectors/noise.txt");
	for (; next_case(&v, &at, &c); ran++) {
		seen[pattern_named(c.pattern)]++;
		run_case(&c, false);
		if (is_ik(&c))
			run_case(&c, true);
	}
	assert_int_equal(ran, 37);
	for (unsigned i = 0; i < NOISE_PATTERNS; i++)
		assert_true(seen[i] >= 4);
	vectors_free(&v);
}

/* Both ends just before message `upto` of the case. */
static void play(const struct noise_case *c, struct side side[2], size_t upto)
{
	struct buf b;

	buf_init(&b, 65535);
	side_init(&side[0], c, true);
	side_init(&side[1], c, false);
	for (size_t i = 0; i < upto; i++) {
		assert_int_equal(noise_write(&side[i % 2].noise, c->m[i].payload, &b), ERR_OK);
		assert_int_equal(noise_read(&side[!(i % 2)].noise, c->m[i].message, &b), ERR_OK);
	}
	buf_fini(&b);
}

/* What no key protects yet passes; the transcript then differs, and the next message does not open. */
static bool refused_now_or_next(const struct noise_case *c, const struct side before[2], size_t i,
				struct bytes message)
{
	struct side s[2];
	struct buf b, next;
	bool refused;

	memcpy(s, before, sizeof s);
	s[0].noise.s.ctx = s[0].s;
	s[1].noise.s.ctx = s[1].s;
	buf_init(&b, 65535);
	buf_init(&next, 65535);
	enum err e = noise_read(&s[!(i % 2)].noise, message, &b);
	if (e != ERR_OK) {
		refused = true;
		assert_true(e == ERR_AUTH || e == ERR_SHORT);
		assert_int_equal(b.n, 0);
		assert_true(is_zero(s[!(i % 2)].noise.ck, 32));
		assert_int_equal(noise_read(&s[!(i % 2)].noise, message, &b), ERR_WRONG_STATE);
		assert_int_equal(noise_write(&s[!(i % 2)].noise, message, &b), ERR_WRONG_STATE);
	} else if (c->m[i + 1].kind != 'm') {
		refused = false;
	} else {
		buf_reset(&b);
		assert_int_equal(noise_write(&s[i % 2].noise, c->m[i].payload, &b), ERR_OK);
		assert_int_equal(noise_write(&s[!(i % 2)].noise, c->m[i + 1].payload, &next),
				 ERR_OK);
		buf_reset(&b);
		refused = noise_read(&s[i % 2].noise, buf_bytes(&next), &b) == ERR_AUTH;
	}
	buf_fini(&b);
	buf_fini(&next);
	return refused;
}

static void every_changed_message_is_refused(void **state)
{
	size_t at = 0;
	struct noise_case c;
	struct vectors v;

	vectors_load(&v, "tests/vectors/noise.txt");
	while (next_case(&v, &at, &c)) {
		struct side side[2];
		uint8_t m[512];

		if (strcmp(c.source, "cacophony") != 0 && strcmp(c.pattern, "XXpsk0") != 0)
			continue;
		for (size_t i = 0; i < c.n && c.m[i].kind == 'm'; i++) {
			size_t n = c.m[i].message.n;

			play(&c, side, i);
			assert_true(n < sizeof m);
			memcpy(m, c.m[i].message.p, n);
			m[n] = 0;
			assert_true(refused_now_or_next(&c, side, i, bytes_of(m, n + 1)));
			for (size_t short_n = 0; short_n < n; short_n++)
				assert_true(refused_now_or_next(&c, side, i, bytes_of(m, short_n)));
			for (size_t bit = 0; bit < 8 * n; bit++) {
				/* X25519 ignores the top bit of a key, the transcript does not. */
				m[bit / 8] ^= (uint8_t)(1u << bit % 8);
				assert_true(refused_now_or_next(&c, side, i, bytes_of(m, n)));
				m[bit / 8] ^= (uint8_t)(1u << bit % 8);
			}
		}
	}
	vectors_free(&v);
}

static void points_of_small_order_end_the_handshake(void **state)
{
	static const uint8_t low[3][32] = {{0}, {1}, {0xec, 0xff}};
	struct vectors v;
	struct noise_case c;
	size_t at = 0;

	vectors_load(&v, "tests/vectors/noise.txt");
	assert_true(next_case(&v, &at, &c) && is_ik(&c));
	for (int i = 0; i < 3; i++) {
		uint8_t m[128] = {0};
		struct side side[2];
		struct bytes rest;

		memcpy(m, low[i], 32);
		if (i == 2) { /* p - 1 */
			memset(m + 1, 0xff, 30);
			m[31] = 0x7f;
		}
		play(&c, side, 0);
		assert_int_equal(noise_read_static(&side[1].noise, BYTES_ARR(m), &rest), ERR_AUTH);
		assert_true(side[1].noise.zero_dh && side[1].noise.failed);
	}
	vectors_free(&v);
}

/* A buffer that is too small fails like everything else: no state and nothing appended. */
static void a_full_buffer_ends_the_handshake(void **state)
{
	struct vectors v;
	struct noise_case c;
	size_t at = 0;

	vectors_load(&v, "tests/vectors/noise.txt");
	assert_true(next_case(&v, &at, &c));
	for (size_t max = 1; max < c.m[0].message.n; max++) {
		struct side side[2];
		struct buf b;

		play(&c, side, 0);
		buf_init(&b, max);
		assert_int_equal(noise_write(&side[0].noise, c.m[0].payload, &b), ERR_LIMIT);
		assert_int_equal(b.n, 0);
		assert_true(side[0].noise.failed && is_zero(side[0].noise.ck, 32));
		buf_fini(&b);
	}
	vectors_free(&v);
}

static void cpace_matches_the_published_vector(void **state)
{
	uint8_t g[CPACE_POINT], y[CPACE_POINT], isk[CPACE_ISK];
	struct vectors v;
	struct buf b;
#define V(name) vector(&v, "", name)

	vectors_load(&v, "tests/vectors/cpace.txt");
	buf_init(&b, 4096);
	cpace_generator_string(V("prs"), V("ci"), V("sid"), &b);
	assert_bytes(buf_bytes(&b), V("generator_string"));
	cpace_generator(V("prs"), V("ci"), V("sid"), g);
	assert_memory_equal(g, V("g").p, sizeof g);
	assert_int_equal(cpace_share(V("ya").p, g, y), ERR_OK);
	assert_memory_equal(y, V("Ya").p, sizeof y);
	assert_int_equal(cpace_share(V("yb").p, g, y), ERR_OK);
	assert_memory_equal(y, V("Yb").p, sizeof y);
	assert_int_equal(cpace_share(V("ya").p, V("Yb").p, y), ERR_OK);
	assert_memory_equal(y, V("K").p, sizeof y);
	assert_int_equal(cpace_finish(V("ya").p, V("Yb").p, V("sid"), V("Ya"), V("ada"), V("Yb"),
				      V("adb"), isk),
			 ERR_OK);
	assert_memory_equal(isk, V("isk").p, sizeof isk);
	assert_int_equal(cpace_finish(V("yb").p, V("Ya").p, V("sid"), V("Ya"), V("ada"), V("Yb"),
				      V("adb"), isk),
			 ERR_OK);
	assert_memory_equal(isk, V("isk").p, sizeof isk);

	assert_int_equal(cpace_share(V("valid_s").p, V("valid_X").p, y), ERR_OK);
	assert_memory_equal(y, V("valid_product").p, sizeof y);
	buf_fini(&b);
	vectors_free(&v);
}

static void cpace_refuses_bad_points(void **state)
{
	uint8_t isk[CPACE_ISK], y[CPACE_POINT];
	struct vectors v;
	struct bytes none = bytes_of(NULL, 0);

	vectors_load(&v, "tests/vectors/cpace.txt");
	const char *const bad[] = {"invalid_1", "invalid_2"};
	for (int i = 0; i < 2; i++) {
		memset(isk, 0xaa, sizeof isk);
		assert_int_equal(cpace_finish(V("valid_s").p, V(bad[i]).p, V("sid"), none, none,
					      none, none, isk),
				 ERR_AUTH);
		for (size_t j = 0; j < sizeof isk; j++)
			assert_int_equal(isk[j], 0xaa);
	}
	/* An encoding that is not reduced: p + 2 has the value of a point that is fine. */
	memset(y, 0xff, sizeof y);
	y[0] = 0xef;
	y[31] = 0x7f;
	assert_int_equal(
		cpace_finish(V("valid_s").p, y, V("sid"), none, none, none, none, isk), ERR_AUTH);
	/* The sign bit of an encoding is always clear. */
	memcpy(y, V("valid_X").p, sizeof y);
	y[31] |= 0x80;
	assert_int_equal(
		cpace_finish(V("valid_s").p, y, V("sid"), none, none, none, none, isk), ERR_AUTH);
	vectors_free(&v);
}

static void scalars_are_reduced_and_never_zero(void **state)
{
	/* The order of the group: zero after the reduction. */
	static const uint8_t order[64] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,
					  0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
					  [31] = 0x10};
	uint8_t in[64] = {0}, out[32], one[32] = {1};

	cpace_scalar(in, out);
	assert_memory_equal(out, one, 32);
	cpace_scalar(order, out);
	assert_memory_equal(out, one, 32);
	memset(in, 0xff, sizeof in);
	cpace_scalar(in, out);
	assert_true(out[31] <= 0x10);
	in[0] = 7;
	memset(in + 1, 0, 63);
	cpace_scalar(in, out);
	one[0] = 7;
	assert_memory_equal(out, one, 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handshakes_match_the_published_vectors),
		cmocka_unit_test(every_changed_message_is_refused),
		cmocka_unit_test(points_of_small_order_end_the_handshake),
		cmocka_unit_test(a_full_buffer_ends_the_handshake),
		cmocka_unit_test(cpace_matches_the_published_vector),
		cmocka_unit_test(cpace_refuses_bad_points),
		cmocka_unit_test(scalars_are_reduced_and_never_zero),
	};

	if (secret_init_library() != ERR_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
