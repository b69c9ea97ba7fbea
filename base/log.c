#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"

#define LINE_MAX_BYTES	2048
#define VALUE_MAX_BYTES 512
#define WORD_MAX_BYTES	40
#define WORDS		64

struct repeat {
	char word[WORD_MAX_BYTES];
	uint64_t start_ms;
	unsigned lines, suppressed;
	enum log_level level; /* of the last line that was held back */
};

static struct {
	struct log_config c;
	bool journal;
	struct repeat words[WORDS];
	unsigned holding; /* words with suppressed > 0 */
} sink = {.c = {.level = LOG_INFO, .fd = STDERR_FILENO}};
static atomic_int level_now = LOG_INFO;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const char *const level_words[] = {"error", "warn", "info", "debug"};
static const char *const format_words[] = {"text", "json"};

/* --- one line ----------------------------------------------------------------------------- */

struct line {
	char p[LINE_MAX_BYTES];
	size_t n;
	bool full;
};

static void add(struct line *l, const char *s, size_t n)
{
	if (l->full || n > sizeof(l->p) - 8 - l->n) { /* room for "...", a closing '"}' and '\n' */
		l->full = true;
		return;
	}
	memcpy(l->p + l->n, s, n);
	l->n += n;
}

static void add_str(struct line *l, const char *s)
{
	add(l, s, strlen(s));
}

static bool needs_quotes(const char *s)
{
	return *s == '\0' || strpbrk(s, " \"\\=") != NULL;
}

/* `s` went through text_safe(): only quote and backslash are left to escape. */
static void add_quoted(struct line *l, const char *s)
{
	char q[2 * VALUE_MAX_BYTES + 2];
	size_t n = 0;

	q[n++] = '"';
	for (; *s && n < sizeof(q) - 3; s++) {
		if (*s == '"' || *s == '\\')
			q[n++] = '\\';
		q[n++] = *s;
	}
	q[n++] = '"';
	add(l, q, n);
}

/* --- printf, one conversion at a time -------------------------------------------------------- */

/* The format is walked here, so that a value is known from the text around it: a space or a '='
 * that a stranger put into a value cannot make up another key. */
struct args {
	va_list ap;
};

/* Formats the conversion that starts at *fmt (a '%'), moves *fmt behind it. */
static size_t convert(const char **fmt, struct args *a, char *out, size_t cap, bool *number)
{
	char spec[32];
	size_t n = 0;
	const char *p = *fmt;
	int longs = 0, stars[2], star_n = 0, len = 0;
	bool is_size = false, bare;

	spec[n++] = *p++;
	for (; *p && strchr("-+ #0.*'123456789", *p) && n < sizeof(spec) - 5; p++) {
		if (*p == '*' && star_n < 2)
			stars[star_n++] = va_arg(a->ap, int);
		spec[n++] = *p;
	}
	bare = n == 1; /* "%05u" gives what JSON does not take for a number */
	for (; *p && strchr("lhzjt", *p) && n < sizeof(spec) - 2; p++) {
		longs += *p == 'l';
		is_size |= *p == 'z' || *p == 'j' || *p == 't';
		spec[n++] = *p;
	}
	spec[n++] = *p;
	spec[n] = '\0';
	*fmt = *p ? p + 1 : p;
	*number = bare && *p && strchr("diu", *p);

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#define PRINT(v)                                                                                   \
	(star_n == 0   ? snprintf(out, cap, spec, v)                                               \
	 : star_n == 1 ? snprintf(out, cap, spec, stars[0], v)                                     \
		       : snprintf(out, cap, spec, stars[0], stars[1], v))
	switch (*p) {
	case 'd':
	case 'i':
	case 'u':
	case 'x':
	case 'X':
	case 'o':
		/* Signed or not, the bits are the same; size_t and intmax_t are long on every
		 * system this builds for, and the assertion below says so. */
		if (longs >= 2)
			len = PRINT(va_arg(a->ap, long long));
		else if (longs == 1 || is_size)
			len = PRINT(va_arg(a->ap, long));
		else
			len = PRINT(va_arg(a->ap, int));
		break;
	case 'c':
		len = PRINT(va_arg(a->ap, int));
		break;
	case 's': {
		const char *s = va_arg(a->ap, const char *);

		len = PRINT(s ? s : "-");
		break;
	}
	case 'p':
		len = PRINT(va_arg(a->ap, void *));
		break;
	case 'e':
	case 'f':
	case 'g':
	case 'E':
	case 'F':
	case 'G':
		len = PRINT(va_arg(a->ap, double));
		break;
	case 'm':
		len = snprintf(out, cap, "%s", strerror(errno));
		break;
	case '%':
		len = snprintf(out, cap, "%%");
		break;
	default: /* the compiler checked the format; nothing else is in use */
		BUG_ON(true);
	}
#undef PRINT
#pragma GCC diagnostic pop
	_Static_assert(sizeof(size_t) <= sizeof(long) && sizeof(intmax_t) == sizeof(long long),
		       "%z is read as long");
	if (len < 0)
		len = 0;
	return (size_t)len < cap ? (size_t)len : cap - 1;
}

struct token {
	char key[WORD_MAX_BYTES];    /* "" for a bare word */
	char value[VALUE_MAX_BYTES]; /* cleaned */
	bool number;		     /* the value is one integer conversion and nothing else */
};

/* The next blank-separated piece of the format with its arguments. False at the end. */
static bool next_token(const char **fmt, struct args *a, struct token *t)
{
	char raw[VALUE_MAX_BYTES];
	size_t n = 0;
	unsigned conversions = 0;
	bool literal = false, number = false, quoted = false;

	t->key[0] = '\0';
	while (**fmt == ' ')
		++*fmt;
	if (!**fmt)
		return false;
	while (**fmt && (quoted || **fmt != ' ')) {
		if (**fmt == '%') {
			n += convert(fmt, a, raw + n, sizeof(raw) - n, &number);
			conversions++;
		} else if (**fmt == '=' && !t->key[0] && conversions == 0 && n > 0 &&
			   n < sizeof(t->key)) {
			memcpy(t->key, raw, n);
			t->key[n] = '\0';
			n = 0;
			literal = false;
			++*fmt;
		} else {
			/* next="ironmesh peers approve %s" is one value. */
			if (**fmt == '"' && t->key[0])
				quoted = !quoted && n == 0;
			if (n < sizeof(raw) - 1)
				raw[n++] = **fmt;
			literal = true;
			++*fmt;
		}
	}
	/* reason="%s" in a format means the same as reason=%s. */
	bool in_quotes = t->key[0] && n >= 2 && raw[0] == '"' && raw[n - 1] == '"';

	t->number = number && conversions == 1 && !literal;
	text_safe(in_quotes ? bytes_of(raw + 1, n - 2) : bytes_of(raw, n), t->value, sizeof(t->value));
	return true;
}

static void add_head(struct line *l, enum log_level level, uint64_t now_ms)
{
	static const char prio[] = {'3', '4', '6', '7'};
	char when[RFC3339_LEN];

	if (sink.journal) {
		const char p[3] = {'<', prio[level], '>'};

		add(l, p, sizeof(p));
	}
	if (sink.c.format == LOG_JSON) {
		add_str(l, "{\"time\":\"");
		add_str(l, rfc3339(now_ms, when));
		add_str(l, "\",\"level\":\"");
		add_str(l, level_words[level]);
		add_str(l, "\",\"event\":");
	} else if (!sink.journal) {
		add_str(l, rfc3339(now_ms, when));
		add_str(l, " ");
		add_str(l, level_words[level]);
		add_str(l, " ");
	}
}

static void add_token(struct line *l, const struct token *t, unsigned index)
{
	size_t was = l->n;
	char key[24];

	if (sink.c.format == LOG_JSON) {
		/* A second bare word gets a name of its own: keys must not repeat. */
		snprintf(key, sizeof(key), "word%u", index);
		if (index) {
			add_str(l, ",");
			add_quoted(l, t->key[0] ? t->key : key);
			add_str(l, ":");
		}
		if (t->number)
			add_str(l, t->value);
		else
			add_quoted(l, t->value);
	} else {
		if (index)
			add_str(l, " ");
		if (t->key[0]) {
			add_str(l, t->key);
			add_str(l, "=");
		}
		if (needs_quotes(t->value))
			add_quoted(l, t->value);
		else
			add_str(l, t->value);
	}
	if (l->full)
		l->n = was; /* no half of a token */
}

static void emit(enum log_level level, struct line *l)
{
	size_t at = 0;

	if (sink.c.format == LOG_JSON)
		l->p[l->n++] = '}';
	else if (l->full)
		l->n += (size_t)snprintf(l->p + l->n, 5, " ...");
	l->p[l->n] = '\0';
	if (sink.c.tap)
		sink.c.tap(sink.c.tap_ctx, level, l->p);
	if (sink.c.fd < 0)
		return;
	l->p[l->n++] = '\n';
	while (at < l->n) {
		ssize_t n = write(sink.c.fd, l->p + at, l->n - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* nowhere to complain to */
		at += (size_t)n;
	}
}

/* --- repetition ------------------------------------------------------------------------------- */

static void summarize(struct repeat *r, uint64_t now_ms)
{
	struct line l = {.n = 0};
	struct token t = {.value = "log-suppressed"};

	add_head(&l, r->level, now_ms);
	add_token(&l, &t, 0);
	strcpy(t.key, "event");
	strcpy(t.value, r->word);
	add_token(&l, &t, 1);
	strcpy(t.key, "count");
	snprintf(t.value, sizeof(t.value), "%u", r->suppressed);
	t.number = true;
	add_token(&l, &t, 2);
	emit(r->level, &l);
	r->suppressed = 0;
	sink.holding--;
}

static bool window_over(const struct repeat *r, uint64_t now_ms)
{
	return now_ms < r->start_ms || now_ms - r->start_ms >= LOG_WINDOW_MS;
}

/* True if the line may go out. */
static bool admit(const char *event, enum log_level level, uint64_t now_ms)
{
	struct repeat *r = NULL, *oldest = &sink.words[0];
	char word[WORD_MAX_BYTES];

	if (sink.holding)
		for (size_t i = 0; i < WORDS; i++)
			if (sink.words[i].suppressed && window_over(&sink.words[i], now_ms))
				summarize(&sink.words[i], now_ms);
	if (level == LOG_ERROR)
		return true;
	snprintf(word, sizeof(word), "%.*s", (int)sizeof(word) - 1, event);
	for (size_t i = 0; i < WORDS && !r; i++) {
		if (strcmp(sink.words[i].word, word) == 0)
			r = &sink.words[i];
		else if (sink.words[i].start_ms < oldest->start_ms)
			oldest = &sink.words[i];
	}
	if (!r) {
		r = oldest;
		if (r->suppressed)
			summarize(r, now_ms);
		memcpy(r->word, word, sizeof(r->word));
		r->lines = 0;
		r->start_ms = now_ms;
	} else if (window_over(r, now_ms)) {
		r->lines = 0;
		r->start_ms = now_ms;
	}
	if (r->lines < LOG_BURST) {
		r->lines++;
		return true;
	}
	if (r->suppressed++ == 0)
		sink.holding++;
	r->level = level;
	return false;
}

/* --- public ----------------------------------------------------------------------------------- */

static uint64_t wall(void)
{
	struct timespec ts;

	if (sink.c.wall_ms)
		return sink.c.wall_ms(sink.c.ctx);
	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* systemd names the stream it gave us by device and inode; a redirected stderr is another one. */
static bool is_journal(int fd)
{
	const char *v = secure_getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return v && sscanf(v, "%llu:%llu", &dev, &ino) == 2 && fstat(fd, &st) == 0 &&
	       st.st_dev == dev && st.st_ino == ino;
}

static void flush_locked(void)
{
	uint64_t now_ms = sink.holding ? wall() : 0;

	for (size_t i = 0; sink.holding && i < WORDS; i++)
		if (sink.words[i].suppressed)
			summarize(&sink.words[i], now_ms);
}

void log_setup(const struct log_config *c)
{
	pthread_mutex_lock(&lock);
	flush_locked();
	memset(sink.words, 0, sizeof(sink.words));
	sink.c = *c;
	if (sink.c.fd == 0)
		sink.c.fd = STDERR_FILENO;
	sink.journal = sink.c.fd > 0 && is_journal(sink.c.fd);
	atomic_store_explicit(&level_now, (int)c->level, memory_order_relaxed);
	pthread_mutex_unlock(&lock);
}

void log_flush(void)
{
	pthread_mutex_lock(&lock);
	flush_locked();
	pthread_mutex_unlock(&lock);
}

bool log_wants(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&level_now, memory_order_relaxed);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	int saved = errno; /* for %m, and so that a log call changes nothing for its caller */
	struct line l = {.n = 0};
	struct token t;
	struct args a;
	uint64_t now_ms;

	if (!log_wants(level))
		return;
	va_start(a.ap, fmt);
	pthread_mutex_lock(&lock);
	now_ms = wall();
	errno = saved;
	if (next_token(&fmt, &a, &t) && admit(t.value, level, now_ms)) {
		add_head(&l, level, now_ms);
		add_token(&l, &t, 0);
		errno = saved;
		for (unsigned i = 1; next_token(&fmt, &a, &t); i++)
			add_token(&l, &t, i);
		emit(level, &l);
	}
	pthread_mutex_unlock(&lock);
	va_end(a.ap);
	errno = saved;
}

enum err log_level_parse(const char *s, enum log_level *out)
{
	for (unsigned i = 0; i < sizeof(level_words) / sizeof(level_words[0]); i++)
		if (strcmp(s, level_words[i]) == 0) {
			*out = (enum log_level)i;
			return ERR_OK;
		}
	return ERR_USAGE;
}

enum err log_format_parse(const char *s, enum log_format *out)
{
	for (unsigned i = 0; i < sizeof(format_words) / sizeof(format_words[0]); i++)
		if (strcmp(s, format_words[i]) == 0) {
			*out = (enum log_format)i;
			return ERR_OK;
		}
	return ERR_USAGE;
}
