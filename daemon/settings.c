/* Values of settings: checked, made canonical, kept with their origin. */
#include "daemon/settings.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/text.h"
#include "daemon/config.h"
#include "trust/identity.h"

#define LIST_FILE_MAX 262144
#define LIST_TEXT_MAX (512u << 10)

void settings_init(struct settings *st)
{
	memset(st, 0, sizeof *st);
}

void settings_fini(struct settings *st)
{
	for (size_t i = 0; i < st->n; i++) {
		free(st->v[i].text);
		free(st->v[i].name);
		free((char *)st->v[i].from.file);
	}
	for (size_t i = 0; i < st->files_n; i++)
		free(st->files[i]);
	for (size_t i = 0; i < st->lists_n; i++)
		free(st->lists[i]);
	free(st->lists);
	free(st->v);
	free(st->problems);
	settings_init(st);
}

const struct setting_value *settings_get(const struct settings *st, const struct setting *s, const char *name)
{
	for (size_t i = 0; i < st->n; i++)
		if (st->v[i].s == s && (!name || strcmp(st->v[i].name, name) == 0))
			return &st->v[i];
	return NULL;
}

const char *setting_where(struct setting_origin from, char *out, size_t cap)
{
	if (from.file)
		snprintf(out, cap, "%s:%u", from.file, from.line);
	else
		snprintf(out, cap, "%s", from.option ? from.option : "default");
	return out;
}

const char *setting_label(const struct setting *s, struct setting_origin from, char *out, size_t cap)
{
	if (from.option)
		snprintf(out, cap, "%s", from.option);
	else if (from.file || !s->option)
		snprintf(out, cap, "%s", s->key);
	else
		snprintf(out, cap, "%s", s->option);
	return out;
}

/* --- saying what is wrong -------------------------------------------------------------------------------- */
struct raw {
	const struct setting *s;
	struct setting_origin from;
	char label[64];
	struct fault *f;
};

static enum err refuse(const struct raw *r, const char *means, const char *fmt, ...) PRINTF_LIKE(3, 4);

static enum err refuse(const struct raw *r, const char *means, const char *fmt, ...)
{
	char text[240], safe[240];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	fault_set(r->f, ERR_USAGE, EXIT_USAGE, "%s", text_safe(bytes_str(text), safe, sizeof safe));
	if (means)
		fault_means(r->f, "%s", means);
	fault_next(r->f, "ironmesh run --help");
	return ERR_USAGE;
}

/* "a|b|c" as "a, b or c". */
static const char *words_text(const char *words, char *out, size_t cap)
{
	size_t n = 0;

	out[0] = '\0';
	while (*words && n + 1 < cap) {
		size_t len = strcspn(words, "|");
		const char *rest = words + len + (words[len] == '|');
		const char *gap = !n ? "" : strchr(rest, '|') || *rest ? ", " : " or ";

		n += (size_t)snprintf(out + n, cap - n, "%s%.*s", gap, (int)len, words);
		words = rest;
	}
	return out;
}

/* --- numbers ---------------------------------------------------------------------------------------------- */
/* Digits only: strtoull() takes "-1" and " 7". */
static bool number_parse(const char *s, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (!*s)
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9' || v > max / 10)
			return false;
		v = v * 10 + (uint64_t)(*s - '0');
		if (v > max)
			return false;
	}
	*out = v;
	return true;
}

static const struct unit {
	const char *word;
	uint64_t of;
} times[] = { { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 } };

/* In the largest unit that leaves no rest. */
static const char *time_text(uint64_t v, char *out, size_t cap)
{
	const struct unit *u = times;

	if (!v)
		snprintf(out, cap, "0");
	while (v && v % u->of)
		u++;
	if (v)
		snprintf(out, cap, "%llu%s", (unsigned long long)(v / u->of), u->word);
	return out;
}

const char *setting_range(const struct setting *s, char *out, size_t cap)
{
	const char *zero = s->flags & SETTING_ZERO ? " or 0" : "";
	char low[24], high[24];

	out[0] = '\0';
	switch (s->kind) {
	case SETTING_BOOL:
		snprintf(out, cap, "yes or no");
		break;
	case SETTING_INT:
	case SETTING_RATE:
		snprintf(out, cap, "%lld to %lld%s", (long long)s->min, (long long)s->max, zero);
		break;
	case SETTING_DURATION:
		snprintf(out, cap, "%s to %s%s", time_text((uint64_t)s->min, low, sizeof low),
			 time_text((uint64_t)s->max, high, sizeof high), zero);
		break;
	case SETTING_WORD:
		words_text(s->words, out, cap);
		break;
	case SETTING_TEXT:
		snprintf(out, cap, "%lld to %lld bytes", (long long)s->min, (long long)s->max);
		break;
	default:
		break;
	}
	return out;
}

bool setting_number(const struct setting *s, const char *text, uint64_t *out)
{
	const char *w = s->words;

	switch (s->kind) {
	case SETTING_BOOL:
		*out = strcmp(text, "yes") == 0;
		return true;
	case SETTING_INT:
		return number_parse(text, (uint64_t)s->max, out);
	case SETTING_DURATION:
		return duration_parse(bytes_str(text), out) == ERR_OK;
	case SETTING_WORD:
		for (*out = 0; w; (*out)++) {
			size_t n = strcspn(w, "|");

			if (strlen(text) == n && memcmp(w, text, n) == 0)
				return n > 0;
			w = w[n] ? w + n + 1 : NULL;
		}
		return false;
	default:
		return false;
	}
}

/* --- one value, made canonical ------------------------------------------------------------------------------ */
static enum err take_bool(const struct raw *r, const char *v, char *out, size_t cap)
{
	static const char *const yes[] = { "yes", "on", "true", "1" }, *const no[] = { "no", "off", "false", "0" };
	char may[80];

	/* On the command line nothing but what the help says. */
	bool strict = r->from.option && r->s->arg;

	for (size_t i = 0; i < 4; i++) {
		if (strict && i != 1)
			continue;
		if (strcmp(v, yes[i]) == 0 || strcmp(v, no[i]) == 0) {
			snprintf(out, cap, "%s", strcmp(v, yes[i]) == 0 ? "yes" : "no");
			return ERR_OK;
		}
	}
	return refuse(r, NULL, "%s: '%s' is not %s", r->label, v, strict ? words_text(r->s->arg, may, sizeof may) : "yes or no");
}

static enum err take_number(const struct raw *r, const char *v, char *out, size_t cap)
{
	uint64_t n;

	if (!number_parse(v, (uint64_t)r->s->max, &n) || n < (uint64_t)r->s->min)
		return refuse(r, NULL, "%s: '%s' is not a number from %lld to %lld", r->label, v, (long long)r->s->min,
			      (long long)r->s->max);
	snprintf(out, cap, "%llu", (unsigned long long)n);
	return ERR_OK;
}

static enum err take_rate(const struct raw *r, const char *v, char *out, size_t cap)
{
	char *end;
	double d = *v >= '0' && *v <= '9' && v[strspn(v, "0123456789.e+-")] == '\0' ? strtod(v, &end) : -1;

	if (!(d >= 0 && d <= (double)r->s->max) || *end)
		return refuse(r, NULL, "%s: '%s' is not a number from 0 to %lld", r->label, v, (long long)r->s->max);
	snprintf(out, cap, "%.10g", d);
	return ERR_OK;
}

static enum err take_time(const struct raw *r, const char *v, char *out, size_t cap)
{
	char range[80];
	uint64_t n;

	if (duration_parse(bytes_str(v), &n) != ERR_OK)
		return refuse(r, NULL, "%s: '%s' is not a time such as 30m or 1800", r->label, v);
	if ((n < (uint64_t)r->s->min || n > (uint64_t)r->s->max) && !(n == 0 && r->s->flags & SETTING_ZERO)) {
		setting_range(r->s, range, sizeof range);
		return refuse(r, NULL, "%s: %s is not %s", r->label, v, range);
	}
	time_text(n, out, cap);
	return ERR_OK;
}

static enum err take_word(const struct raw *r, const char *v, char *out, size_t cap)
{
	const char *words = r->s->arg && strchr(r->s->arg, '|') ? r->s->arg : r->s->words;
	char may[120];
	uint64_t n;

	if (!setting_number(r->s, v, &n))
		return refuse(r, NULL, "%s: '%s' is not %s", r->label, v, words_text(words, may, sizeof may));
	snprintf(out, cap, "%s", v);
	return ERR_OK;
}

static bool plain(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return false;
	return true;
}

static enum err take_text(const struct raw *r, const char *v, char *out, size_t cap)
{
	char means[80];

	if (!*v && r->s->min)
		return refuse(r, NULL, "%s: a value is needed", r->label);
	if (strlen(v) < (size_t)r->s->min || strlen(v) > (size_t)r->s->max || !utf8_valid(bytes_str(v)) || !plain(v)) {
		snprintf(means, sizeof means, "It has %lld to %lld bytes and no control characters.", (long long)r->s->min,
			 (long long)r->s->max);
		return refuse(r, means, "%s: '%s' cannot be taken", r->label, v);
	}
	snprintf(out, cap, "%s", v);
	return ERR_OK;
}

static enum err in_folder_of(const char *file, const char *path, char *out, size_t cap)
{
	const char *slash = file && path[0] != '/' ? strrchr(file, '/') : NULL;
	int n = slash ? snprintf(out, cap, "%.*s/%s", (int)(slash - file), file, path) : snprintf(out, cap, "%s", path);

	return n >= 0 && (size_t)n < cap ? ERR_OK : ERR_LIMIT;
}

static enum err take_path(const struct raw *r, const char *v, char *out, size_t cap)
{
	if (!*v)
		return refuse(r, NULL, "%s: a path is needed", r->label);
	if (in_folder_of(r->from.file, v, out, cap) != ERR_OK)
		return refuse(r, NULL, "%s: the path is too long", r->label);
	return ERR_OK;
}

/* What the transport needs of it is asked by node_add_target(); --peer brings its id behind a '#'. */
static enum err take_address(const struct raw *r, const char *v, char *out, size_t cap)
{
	const char *hash = strchr(v, '#'), *colon;
	size_t len = hash ? (size_t)(hash - v) : strlen(v);
	uint64_t port;

	colon = len ? memrchr(v, ':', len) : NULL;
	if (r->from.option && r->s->flags & SETTING_EACH) {
		snprintf(out, cap, "%s", v); /* as ever: looked at when it is dialled */
		return strlen(v) < cap ? ERR_OK : refuse(r, NULL, "%s: the address is too long", r->label);
	}
	if (hash)
		return refuse(r, "In a file the id stands beside it: id = ...", "%s: '%s' holds a '#'", r->label, v);
	if (!colon || colon == v || len >= 256 || !number_parse(colon + 1, 65535, &port) || !port || strpbrk(v, " \t,"))
		return refuse(r, NULL, "%s: '%s' is not HOST:PORT", r->label, v);
	snprintf(out, cap, "%s", v);
	return ERR_OK;
}

static enum err take_id(const struct raw *r, const char *v, char *out, size_t cap)
{
	struct node_id id;

	if (node_id_parse(bytes_str(v), &id) != ERR_OK)
		return refuse(r, "It is the 32 digits that `ironmesh keys fingerprint` prints there.", "%s: '%s' is not a node id",
			      r->label, v);
	snprintf(out, cap, "%s", id.hex);
	return ERR_OK;
}

static enum err take_version(const struct raw *r, const char *v, char *out, size_t cap)
{
	uint16_t version;
	enum err e = protocol_version_parse(v, &version);

	if (e == ERR_UNSUPPORTED)
		return refuse(r, "Nobody could connect: this program speaks ironmesh/0.9.", "%s: %s is too new", r->label, v);
	if (e != ERR_OK)
		return refuse(r, NULL, "%s: '%s' is not a version such as 0.9", r->label, v);
	snprintf(out, cap, "%u.%u", version >> 8, version & 0xffu);
	return ERR_OK;
}

static enum err take_one(const struct raw *r, const char *v, char *out, size_t cap)
{
	switch (r->s->kind) {
	case SETTING_BOOL:
		return take_bool(r, v, out, cap);
	case SETTING_INT:
		return take_number(r, v, out, cap);
	case SETTING_RATE:
		return take_rate(r, v, out, cap);
	case SETTING_DURATION:
		return take_time(r, v, out, cap);
	case SETTING_WORD:
		return take_word(r, v, out, cap);
	case SETTING_NAME:
		if (!name_valid(bytes_str(v)))
			return refuse(r, "A name has 1 to 64 letters, digits, '.', '_' and '-', and does not begin with '-'.",
				      "%s: '%s' cannot be a name", r->label, v);
		snprintf(out, cap, "%s", v);
		return ERR_OK;
	case SETTING_TEXT:
		return take_text(r, v, out, cap);
	case SETTING_PATH:
		return take_path(r, v, out, cap);
	case SETTING_ADDRESS:
		return take_address(r, v, out, cap);
	case SETTING_ID:
		return take_id(r, v, out, cap);
	case SETTING_VERSION:
		return take_version(r, v, out, cap);
	case SETTING_PEERS:
	case SETTING_KEYS:
	case SETTING_WORDS:
		break;
	}
	BUG_ON(true);
}

/* --- lists ---------------------------------------------------------------------------------------------------- */
static const char gaps[] = ", \t\r\n";

/* Entries between commas or white space, as "a, b, c" behind what is in `list`. */
static void list_add(struct buf *list, const char *text)
{
	for (const char *s = text + strspn(text, gaps); *s; s += strspn(s, gaps)) {
		size_t n = strcspn(s, gaps);

		if (list->n)
			buf_add_str(list, ", ");
		buf_add(list, bytes_of(s, n));
		s += n;
	}
}

/* What is refused at the start is refused here: an entry that is none, a key twice, too many. */
static enum err list_check(const struct raw *r, const char *list)
{
	struct policy policy;
	struct admins admins = { .n = 0 };
	enum err e = ERR_OK;

	if (r->s->kind == SETTING_KEYS)
		e = admins_add(&admins, list, r->f);
	if (r->s->kind == SETTING_PEERS) {
		policy_init(&policy);
		e = policy_allow(&policy, list, r->f);
		policy_fini(&policy);
	}
	if (e != ERR_OK && r->f && !r->f->next[0])
		fault_next(r->f, "ironmesh run --help");
	return e;
}

static void remember_list(struct settings *st, const char *path)
{
	void *more = reallocarray(st->lists, st->lists_n + 1, sizeof *st->lists);

	BUG_ON(!more);
	st->lists = more;
	st->lists[st->lists_n] = strdup(path);
	BUG_ON(!st->lists[st->lists_n++]);
}

/* A list as typed, or in @FILE: one or more entries a line, '#' begins a comment. No entry but a public key holds a '/', so
 * that the path of a file of names needs no '@'. */
static enum err take_list(struct settings *st, const struct raw *r, const char *v, struct buf *out)
{
	bool is_path = v[0] == '@' || (r->s->kind == SETTING_PEERS && strchr(v, '/'));
	size_t before = out->n;
	char path[PATH_MAX];
	struct buf b;
	enum err e = ERR_OK;

	buf_init(&b, LIST_FILE_MAX);
	if (is_path && in_folder_of(r->from.file, v + (v[0] == '@'), path, sizeof path) != ERR_OK)
		e = refuse(r, NULL, "%s: the path is too long", r->label);
	else if (is_path)
		e = file_read_trusted(path, &b, r->f);
	if (e == ERR_OK && is_path)
		remember_list(st, path);
	if (e == ERR_OK && is_path && memchr(b.p ? b.p : (const uint8_t *)"", 0, b.n))
		e = refuse(r, NULL, "%s is not a text file", path);
	if (e == ERR_OK && is_path) {
		char *text = (char *)(uintptr_t)buf_cstr(&b);

		for (char *s = text; (s = strchr(s, '#'));)
			while (*s && *s != '\n')
				*s++ = ' ';
		list_add(out, text);
	} else if (e == ERR_OK) {
		list_add(out, v);
	}
	buf_fini(&b);
	if (e == ERR_OK && out->err != ERR_OK)
		e = refuse(r, NULL, "%s: the list is too long", r->label);
	/* No entry would mean no list, and that everybody may come. */
	if (e == ERR_OK && out->n == before && r->s->kind == SETTING_PEERS)
		e = refuse(r, "Who wants to talk to nobody runs no daemon.", "%s: %s names nobody", r->label, *v ? v : "''");
	if (e == ERR_OK)
		e = list_check(r, buf_cstr(out));
	if (e != ERR_OK && r->f)
		r->f->code = EXIT_USAGE;
	return e;
}

/* --- keeping them ------------------------------------------------------------------------------------------------ */
static bool is_list(const struct setting *s)
{
	return s->kind == SETTING_PEERS || s->kind == SETTING_KEYS || s->kind == SETTING_WORDS;
}

static struct setting_value *slot(struct settings *st, const struct setting *s, const char *name)
{
	struct setting_value *v = (struct setting_value *)settings_get(st, s, name);

	if (v && !(s->flags & SETTING_EACH))
		return v;
	if (st->n == st->cap) {
		size_t cap = st->cap ? st->cap * 2 : 32;
		void *more = reallocarray(st->v, cap, sizeof *st->v);

		BUG_ON(!more);
		st->v = more;
		st->cap = cap;
	}
	v = &st->v[st->n++];
	*v = (struct setting_value){ .s = s };
	if (name) {
		v->name = strdup(name);
		BUG_ON(!v->name);
	}
	return v;
}

static void settle(struct setting_value *v, char *text, struct setting_origin from, unsigned source)
{
	char *file = from.file ? strdup(from.file) : NULL;

	BUG_ON(from.file && !file);
	free(v->text);
	free((char *)v->from.file);
	v->text = text;
	v->from = from;
	v->from.file = file;
	v->source = source;
}

/* Where it stands first: "FILE:12: ". */
static void say_where(struct fault *f, struct setting_origin from)
{
	char what[sizeof f->what], means[sizeof f->means], safe[120];

	if (!f || !from.file)
		return;
	snprintf(what, sizeof what, "%s", f->what);
	snprintf(means, sizeof means, "%s", f->means);
	fault_set(f, f->err, EXIT_CONFIG, "%s:%u: %.110s", text_safe(bytes_str(from.file), safe, sizeof safe), from.line, what);
	fault_means(f, "%s", means);
	fault_next(f, "ironmesh config check");
}

enum err settings_put(struct settings *st, const struct setting *s, const char *name, const char *raw,
		      struct setting_origin from, unsigned source, struct fault *f)
{
	struct raw r = { .s = s, .from = from, .f = f };
	const struct setting_value *old = s->flags & SETTING_EACH ? NULL : settings_get(st, s, name);
	struct setting_value *v;
	char one[PATH_MAX];
	struct buf list;
	char *text;
	enum err e;

	setting_label(s, from, r.label, sizeof r.label);
	buf_init(&list, LIST_TEXT_MAX);
	if (old && old->source == source && from.file && !(s->flags & SETTING_LIST)) {
		e = refuse(&r, NULL, "%s is given twice, first in line %u", r.label, old->from.line);
	} else if (is_list(s)) {
		if (old && old->source == source)
			buf_add_str(&list, old->text);
		e = take_list(st, &r, raw, &list);
	} else {
		e = take_one(&r, raw, one, sizeof one);
	}
	if (e == ERR_OK) {
		text = strdup(is_list(s) ? buf_cstr(&list) : one);
		BUG_ON(!text);
		v = slot(st, s, name);
		settle(v, text, from, source);
	} else {
		say_where(f, from);
	}
	buf_fini(&list);
	return e;
}

void settings_copy(struct settings *st, const struct setting_value *v)
{
	char *text = strdup(v->text);

	BUG_ON(!text);
	settle(slot(st, v->s, v->name), text, v->from, v->source);
}

/* --- what differs -------------------------------------------------------------------------------------------------- */
const char *setting_path(const struct setting *s, const char *name, char *out, size_t cap)
{
	if (name)
		snprintf(out, cap, "%s \"%s\".%s", s->section, name, s->key);
	else
		snprintf(out, cap, "%s.%s", s->section, s->key);
	return out;
}

static void compare(const struct settings *was, const struct settings *now, const struct setting *s, const char *name,
		    void (*each)(void *ctx, const struct setting_change *c), void *ctx)
{
	const struct setting_value *before = settings_get(was, s, name), *after = settings_get(now, s, name);
	struct setting_change c = { .s = s, .name = name, .was = before ? before->text : s->standard,
				    .now = after ? after->text : s->standard, .value = after };

	if (c.was == c.now || (c.was && c.now && strcmp(c.was, c.now) == 0))
		return;
	each(ctx, &c);
}

void settings_diff(const struct settings *was, const struct settings *now, void (*each)(void *ctx, const struct setting_change *c),
		   void *ctx)
{
	const struct setting *s;

	for (size_t i = 0; (s = setting_at(i)); i++) {
		if (!s->key)
			continue;
		if (!(s->flags & SETTING_NAMED)) {
			compare(was, now, s, NULL, each, ctx);
			continue;
		}
		for (size_t k = 0; k < was->n; k++)
			if (was->v[k].s == s)
				compare(was, now, s, was->v[k].name, each, ctx);
		for (size_t k = 0; k < now->n; k++)
			if (now->v[k].s == s && !settings_get(was, s, now->v[k].name))
				compare(was, now, s, now->v[k].name, each, ctx);
	}
}
