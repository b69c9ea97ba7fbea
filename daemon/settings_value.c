/* One value of a setting: its range, and its canonical text. */
#include "daemon/settings_internal.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "daemon/config.h"
#include "trust/identity.h"

/* --- saying what is wrong -------------------------------------------------------------------------------- */
enum err setting_refuse(const struct raw *r, const char *means, const char *fmt, ...)
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
	return setting_refuse(r, NULL, "%s: '%s' is not %s", r->label, v, strict ? words_text(r->s->arg, may, sizeof may) : "yes or no");
}

static enum err take_number(const struct raw *r, const char *v, char *out, size_t cap)
{
	uint64_t n;

	if (!number_parse(v, (uint64_t)r->s->max, &n) || n < (uint64_t)r->s->min)
		return setting_refuse(r, NULL, "%s: '%s' is not a number from %lld to %lld", r->label, v, (long long)r->s->min,
			      (long long)r->s->max);
	snprintf(out, cap, "%llu", (unsigned long long)n);
	return ERR_OK;
}

static enum err take_rate(const struct raw *r, const char *v, char *out, size_t cap)
{
	char *end;
	double d = *v >= '0' && *v <= '9' && v[strspn(v, "0123456789.e+-")] == '\0' ? strtod(v, &end) : -1;

	if (!(d >= 0 && d <= (double)r->s->max) || *end)
		return setting_refuse(r, NULL, "%s: '%s' is not a number from 0 to %lld", r->label, v, (long long)r->s->max);
	snprintf(out, cap, "%.10g", d);
	return ERR_OK;
}

static enum err take_time(const struct raw *r, const char *v, char *out, size_t cap)
{
	char range[80];
	uint64_t n;

	if (duration_parse(bytes_str(v), &n) != ERR_OK)
		return setting_refuse(r, NULL, "%s: '%s' is not a time such as 30m or 1800", r->label, v);
	if ((n < (uint64_t)r->s->min || n > (uint64_t)r->s->max) && !(n == 0 && r->s->flags & SETTING_ZERO)) {
		setting_range(r->s, range, sizeof range);
		return setting_refuse(r, NULL, "%s: %s is not %s", r->label, v, range);
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
		return setting_refuse(r, NULL, "%s: '%s' is not %s", r->label, v, words_text(words, may, sizeof may));
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
		return setting_refuse(r, NULL, "%s: a value is needed", r->label);
	if (strlen(v) < (size_t)r->s->min || strlen(v) > (size_t)r->s->max || !utf8_valid(bytes_str(v)) || !plain(v)) {
		snprintf(means, sizeof means, "It has %lld to %lld bytes and no control characters.", (long long)r->s->min,
			 (long long)r->s->max);
		return setting_refuse(r, means, "%s: '%s' cannot be taken", r->label, v);
	}
	snprintf(out, cap, "%s", v);
	return ERR_OK;
}

enum err setting_path_in(const char *file, const char *path, char *out, size_t cap)
{
	const char *slash = file && path[0] != '/' ? strrchr(file, '/') : NULL;
	int n = slash ? snprintf(out, cap, "%.*s/%s", (int)(slash - file), file, path) : snprintf(out, cap, "%s", path);

	return n >= 0 && (size_t)n < cap ? ERR_OK : ERR_LIMIT;
}

static enum err take_path(const struct raw *r, const char *v, char *out, size_t cap)
{
	if (!*v)
		return setting_refuse(r, NULL, "%s: a path is needed", r->label);
	if (setting_path_in(r->from.file, v, out, cap) != ERR_OK)
		return setting_refuse(r, NULL, "%s: the path is too long", r->label);
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
		return strlen(v) < cap ? ERR_OK : setting_refuse(r, NULL, "%s: the address is too long", r->label);
	}
	if (hash)
		return setting_refuse(r, "In a file the id stands beside it: id = ...", "%s: '%s' holds a '#'", r->label, v);
	if (!colon || colon == v || len >= 256 || !number_parse(colon + 1, 65535, &port) || !port || strpbrk(v, " \t,"))
		return setting_refuse(r, NULL, "%s: '%s' is not HOST:PORT", r->label, v);
	snprintf(out, cap, "%s", v);
	return ERR_OK;
}

static enum err take_id(const struct raw *r, const char *v, char *out, size_t cap)
{
	struct node_id id;

	if (node_id_parse(bytes_str(v), &id) != ERR_OK)
		return setting_refuse(r, "It is the 32 digits that `ironmesh keys fingerprint` prints there.", "%s: '%s' is not a node id",
			      r->label, v);
	snprintf(out, cap, "%s", id.hex);
	return ERR_OK;
}

static enum err take_version(const struct raw *r, const char *v, char *out, size_t cap)
{
	uint16_t version;
	enum err e = protocol_version_parse(v, &version);

	if (e == ERR_UNSUPPORTED)
		return setting_refuse(r, "Nobody could connect: this program speaks ironmesh/0.9.", "%s: %s is too new", r->label, v);
	if (e != ERR_OK)
		return setting_refuse(r, NULL, "%s: '%s' is not a version such as 0.9", r->label, v);
	snprintf(out, cap, "%u.%u", version >> 8, version & 0xffu);
	return ERR_OK;
}

enum err setting_take(const struct raw *r, const char *v, char *out, size_t cap)
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
			return setting_refuse(r, "A name has 1 to 64 letters, digits, '.', '_' and '-', and does not begin with '-'.",
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
