#include "store/audit_internal.h"

#include <stdlib.h>

#include "base/secret.h"

struct walk {
	struct bytes key;
	struct audit_scan *s;
	uint64_t lines;
	char at_head[AUDIT_HMAC_LEN + 1]; /* of the entry that the signed head names */
};

static void first_entry(struct audit_scan *s, const struct audit_line *l)
{
	struct bytes tail;
	int64_t rotation;

	if (strcmp(l->event, "LOG_ROTATED") != 0)
		return;
	if (json_get_int(l->details, "rotation", 0, INT64_MAX, &rotation) == ERR_OK)
		s->rotation = (uint64_t)rotation;
	const char *file = json_str(l->details, "previous_file");
	if (json_get_str(l->details, "previous_tail_hmac", &tail) == ERR_OK &&
	    tail.n == AUDIT_HMAC_LEN) {
		memcpy(s->previous, tail.p, tail.n);
		s->follows = !file || !strstr(file, ".broken-");
	}
}

static bool check_line(void *ctx, struct bytes line, enum line_end end, uint64_t offset)
{
	struct walk *w = ctx;
	struct audit_scan *s = w->s;
	char want[AUDIT_HMAC_LEN + 1];
	struct audit_line l = {0};

	w->lines++;
	if (end == LINE_LONG || audit_line_parse(line, &l) != ERR_OK) {
		s->bad_line = w->lines;
		s->torn = end == LINE_TORN;
		snprintf(s->why, sizeof(s->why),
			 s->torn ? "line %llu, the last, is torn: it was not written whole or was "
				   "cut"
				 : "line %llu is not a line of an audit log",
			 (unsigned long long)w->lines);
		return false;
	}
	audit_line_hmac(w->key, s->hmac, l.before, l.after, want);
	if (!ct_equal(want, l.hmac.p, AUDIT_HMAC_LEN)) {
		s->bad_line = w->lines;
		snprintf(
			s->why, sizeof(s->why),
			"line %llu does not follow from the one before: a line was changed, added, "
			"removed or moved",
			(unsigned long long)w->lines);
		audit_line_fini(&l);
		return false;
	}
	memcpy(s->hmac, want, sizeof(want));
	s->entries++;
	s->good_bytes = offset;
	s->open_end = end == LINE_TORN;
	if (s->entries == 1)
		first_entry(s, &l);
	if (s->entries == s->signed_head.entries)
		memcpy(w->at_head, want, sizeof(want));
	audit_line_fini(&l);
	return true;
}

static enum head_verdict judge_head(const struct walk *w)
{
	const struct audit_scan *s = w->s;
	const struct audit_head *h = &s->signed_head;

	if (!h->present)
		return HEAD_NONE;
	if (!h->signature_ok)
		return HEAD_FORGED;
	if (h->rotation < s->rotation)
		return HEAD_EARLIER;
	if (h->rotation > s->rotation || h->entries > s->entries)
		return HEAD_CUT;
	if (h->entries && strcmp(w->at_head, h->hmac) != 0)
		return HEAD_DIFFERS;
	return HEAD_COVERS;
}

enum err audit_scan(const char *path, const uint8_t ed[static ED_BYTES], struct bytes audit_key, struct audit_scan *out,
		    struct fault *f)
{
	struct audit_scan s = {.exists = true};
	struct walk w = {.key = audit_key, .s = &s};

	memcpy(s.hmac, AUDIT_GENESIS, sizeof(s.hmac));
	/* The head first: when a daemon goes on writing, the log can then only be longer. */
	audit_head_load(path, ed, &s.signed_head);
	enum err e = audit_each_line(path, check_line, &w, f);
	if (e == ERR_NOTFOUND)
		s.exists = false;
	else if (e != ERR_OK)
		return e;
	s.head = judge_head(&w);
	if (!s.bad_line && s.head == HEAD_CUT)
		snprintf(s.why, sizeof(s.why),
			 "the log ends after %llu entries, but %llu were signed: its end was cut "
			 "off",
			 (unsigned long long)s.entries, (unsigned long long)s.signed_head.entries);
	else if (!s.bad_line && s.head == HEAD_DIFFERS)
		snprintf(s.why, sizeof(s.why), "entry %llu is not the one that was signed",
			 (unsigned long long)s.signed_head.entries);
	*out = s;
	return ERR_OK;
}

struct last {
	uint64_t lines, rotation;
	bool found;
	char hmac[AUDIT_HMAC_LEN + 1];
	struct audit_scan first;
};

static bool take_last(void *ctx, struct bytes line, enum line_end end, uint64_t offset)
{
	struct last *x = ctx;
	struct audit_line l;

	x->lines++;
	if (end == LINE_LONG || audit_line_parse(line, &l) != ERR_OK)
		return true;
	if (x->lines == 1)
		first_entry(&x->first, &l);
	memcpy(x->hmac, l.hmac.p, AUDIT_HMAC_LEN);
	x->found = true;
	audit_line_fini(&l);
	return true;
}

enum err audit_last_hmac(const char *path, char hmac[static AUDIT_HMAC_LEN + 1], uint64_t *rotation)
{
	struct last x = {0};
	enum err e = audit_each_line(path, take_last, &x, NULL);

	if (e != ERR_OK)
		return e;
	if (!x.found)
		return ERR_CORRUPT;
	memcpy(hmac, x.hmac, sizeof(x.hmac));
	*rotation = x.first.rotation;
	return ERR_OK;
}

/* audit.log -> audit.log.1, audit.log.2 -> audit.log.3 */
static bool predecessor(const char *path, char *out, size_t cap)
{
	const char *dot = strrchr(path, '.');
	char *end;
	unsigned long n = 0;
	int len = (int)strlen(path);

	if (dot && dot[1] >= '1' && dot[1] <= '9') {
		n = strtoul(dot + 1, &end, 10);
		if (*end == 0 && n < AUDIT_KEEP)
			len = (int)(dot - path);
		else
			return false;
	}
	int wrote = snprintf(out, cap, "%.*s.%lu", len, path, n + 1);
	return wrote > 0 && (size_t)wrote < cap;
}

/* The file before this one, when it is still there, must end where this one says it did. */
static void check_predecessor(const char *path, const struct audit_scan *s, struct audit_report *r)
{
	char before[AUDIT_PATH_MAX], tail[AUDIT_HMAC_LEN + 1];
	uint64_t rotation;

	if (!s->follows || !predecessor(path, before, sizeof(before)))
		return;
	enum err e = audit_last_hmac(before, tail, &rotation);
	if (e == ERR_NOTFOUND || (e == ERR_OK && strcmp(tail, s->previous) == 0))
		return;
	r->ok = false;
	snprintf(r->why, sizeof(r->why),
		 "the file before this one does not end as the first entry says");
}

enum err audit_verify(const char *path, const struct keyring *k, struct audit_report *out,
		      struct fault *f)
{
	struct secret key;
	enum err e = keyring_derive(k, DERIVE_AUDIT, &key);

	if (e != ERR_OK)
		return e;
	e = audit_verify_with(path, keyring_ed(k), secret_bytes(&key), out, f);
	secret_free(&key);
	return e;
}

enum err audit_verify_with(const char *path, const uint8_t ed[static ED_BYTES], struct bytes audit_key,
			   struct audit_report *out, struct fault *f)
{
	struct audit_scan s;
	struct audit_report r = {0};

	enum err e = audit_scan(path, ed, audit_key, &s, f);
	if (e != ERR_OK)
		return e;
	if (!s.exists && !s.signed_head.present)
		return ERR_NOTFOUND;
	r.entries = s.entries;
	r.bad_line = s.bad_line;
	r.head_present = s.signed_head.present;
	r.head_ok = s.head == HEAD_COVERS || s.head == HEAD_EARLIER;
	r.head_entries = s.head == HEAD_COVERS ? s.signed_head.entries : 0;
	r.tail_cut = s.head == HEAD_CUT;
	r.ok = s.bad_line == 0 && (r.head_ok || s.head == HEAD_NONE);
	memcpy(r.head, s.hmac, sizeof(r.head));
	memcpy(r.why, s.why, sizeof(r.why));
	if (!r.ok && !*r.why)
		snprintf(r.why, sizeof(r.why), "the head file is not signed by this identity");
	if (!s.exists)
		snprintf(r.why, sizeof(r.why), "the log is missing, but %llu entries were signed",
			 (unsigned long long)s.signed_head.entries);
	if (r.ok)
		check_predecessor(path, &s, &r);
	*out = r;
	return ERR_OK;
}

struct tail {
	json_t *list;
	size_t skip_to;
	uint64_t n;
};

static bool tail_line(void *ctx, struct bytes line, enum line_end end, uint64_t offset)
{
	struct tail *t = ctx;
	struct audit_line l;

	if (t->n++ < t->skip_to || end == LINE_LONG || audit_line_parse(line, &l) != ERR_OK)
		return true;
	json_array_append(t->list, l.json);
	audit_line_fini(&l);
	return true;
}

static bool count_line(void *ctx, struct bytes line, enum line_end end, uint64_t offset)
{
	++*(uint64_t *)ctx;
	return true;
}

enum err audit_tail(const char *path, size_t n, json_t **out, struct fault *f)
{
	uint64_t lines = 0;
	struct tail t = {0};

	/* Counted first, so that only what is shown is parsed and held. */
	enum err e = audit_each_line(path, count_line, &lines, f);
	if (e != ERR_OK)
		return e;
	t.skip_to = lines > n ? (size_t)(lines - n) : 0;
	t.list = json_array();
	if (!t.list)
		return ERR_NOMEM;
	e = audit_each_line(path, tail_line, &t, f);
	while (json_array_size(t.list) > n)
		json_array_remove(t.list, 0);
	if (e != ERR_OK) {
		json_decref(t.list);
		return e;
	}
	*out = t.list;
	return ERR_OK;
}

struct stats {
	json_t *events;
	uint64_t entries, unreadable;
	double first, last;
};

static bool stats_line(void *ctx, struct bytes line, enum line_end end, uint64_t offset)
{
	struct stats *x = ctx;
	struct audit_line l;

	if (end == LINE_LONG || audit_line_parse(line, &l) != ERR_OK) {
		x->unreadable++;
		return true;
	}
	json_t *n = json_object_get(x->events, l.event);
	if (n)
		json_integer_set(n, json_integer_value(n) + 1);
	else
		json_object_set_new(x->events, l.event, json_integer(1));
	if (x->entries++ == 0)
		x->first = l.timestamp;
	x->last = l.timestamp;
	audit_line_fini(&l);
	return true;
}

enum err audit_stats(const char *path, json_t **out, struct fault *f)
{
	struct stats x = {.events = json_object()};

	if (!x.events)
		return ERR_NOMEM;
	enum err e = audit_each_line(path, stats_line, &x, f);
	if (e != ERR_OK) {
		json_decref(x.events);
		return e;
	}
	json_t *j = json_pack("{s:I, s:I, s:o}", "entries", (json_int_t)x.entries, "unreadable",
			      (json_int_t)x.unreadable, "events", x.events);
	if (!j)
		return ERR_NOMEM;
	if (x.entries) {
		json_object_set_new(j, "first", json_real(x.first));
		json_object_set_new(j, "last", json_real(x.last));
	}
	*out = j;
	return ERR_OK;
}
