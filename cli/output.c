#include "cli/output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"

#define LINE_MAX_BYTES 1024

static bool set_env(const char *name)
{
	const char *v = getenv(name);

	return v && *v;
}

static bool stream_colored(int fd, bool no_color)
{
	const char *force = getenv("CLICOLOR_FORCE"), *term = getenv("TERM");

	if (no_color || set_env("NO_COLOR"))
		return false;
	if (force && *force && strcmp(force, "0") != 0)
		return true;
	return isatty(fd) && term && *term && strcmp(term, "dumb") != 0;
}

void out_colors(struct out *o, bool no_color)
{
	o->color_out = !o->json && stream_colored(STDOUT_FILENO, no_color);
	o->color_err = stream_colored(STDERR_FILENO, no_color);
}

static const char *escape_of(enum style s)
{
	switch (s) {
	case STYLE_BOLD:
		return "\033[1m";
	case STYLE_DIM:
		return "\033[2m";
	case STYLE_GOOD:
		return "\033[32m";
	case STYLE_WARN:
		return "\033[33m";
	case STYLE_BAD:
		return "\033[31m";
	case STYLE_NONE:
		break;
	}
	return "";
}

const char *out_on(const struct out *o, enum style s)
{
	return o->color_out ? escape_of(s) : "";
}

const char *out_off(const struct out *o, enum style s)
{
	return o->color_out && s != STYLE_NONE ? "\033[0m" : "";
}

void out_json(const struct out *o, const json_t *v)
{
	struct buf b;

	buf_init(&b, SIZE_MAX / 2);
	if (json_write(&b, v, JSON_INSERTION) == ERR_OK) {
		fwrite(b.p, 1, b.n, stdout);
		putchar('\n');
	} else {
		fprintf(stderr, "ironmesh: no memory to print the result\n");
	}
	buf_fini(&b);
}

/* --- commands for a shell ----------------------------------------------------------------- */

/* What the user types on another machine: the folder of this one is none of its business. */
static bool elsewhere(const char *command)
{
	static const char *const signs[] = { "   (there", "   (on the other machine", "   (on that node" };

	for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
		if (strstr(command, signs[i]))
			return true;
	return false;
}

/* Where one more command of the same line begins. */
static bool begins_command(const char *line, const char *at)
{
	static const char *const before[] = { "   or   ", ", ", "; ", "&& " };

	for (size_t i = 0; i < sizeof before / sizeof before[0]; i++) {
		size_t n = strlen(before[i]);

		if ((size_t)(at - line) >= n && memcmp(at - n, before[i], n) == 0)
			return true;
	}
	return at == line;
}

const char *out_command(const struct out *o, const char *command, char *buf, size_t cap)
{
	static const char name[] = "ironmesh ";
	char home[512];
	const char *from = command, *at;
	size_t n = 0;

	if (!o->home || strstr(command, "--home") || elsewhere(command)) {
		snprintf(buf, cap, "%s", command);
		return buf;
	}
	word_for_shell(o->home, home, sizeof(home));
	for (at = command; (at = strstr(at, name)); at += sizeof(name) - 1) {
		if (!begins_command(command, at))
			continue;
		n += (size_t)snprintf(buf + n, cap - n, "%.*sironmesh --home %s ", (int)(at - from), from, home);
		from = at + sizeof(name) - 1;
		if (n >= cap)
			return buf;
	}
	snprintf(buf + n, cap - n, "%s", from);
	return buf;
}

/* --- stderr ------------------------------------------------------------------------------- */

static void print_fault(const struct out *o, const struct fault *f)
{
	char line[LINE_MAX_BYTES];
	const char *red = o->color_err ? escape_of(STYLE_BAD) : "",
		   *off = o->color_err ? "\033[0m" : "";

	fflush(stdout);
	fprintf(stderr, "%sironmesh:%s %s\n", red, off, f->what);
	if (f->means[0])
		fprintf(stderr, "  %s\n", f->means);
	if (f->next[0])
		fprintf(stderr, "  next: %s\n", out_command(o, f->next, line, sizeof(line)));
}

int out_outcome(const struct out *o, const struct fault *f)
{
	print_fault(o, f);
	return (int)f->code;
}

int out_fault(const struct out *o, const struct fault *f)
{
	char line[LINE_MAX_BYTES], safe[3][LINE_MAX_BYTES];
	json_t *v;

	print_fault(o, f);
	if (!o->json)
		return (int)f->code;
	/* A fault may quote an argument that is not UTF-8, which JSON cannot hold. */
	v = json_pack("{s:s, s:{s:s, s:i, s:s, s:s, s:s}}", "schema", "ironmesh.error/1", "error", "err",
		      err_word(f->err), "exit", (int)f->code, "what",
		      text_safe(bytes_str(f->what), safe[0], sizeof(safe[0])), "means",
		      text_safe(bytes_str(f->means), safe[1], sizeof(safe[1])), "next",
		      text_safe(bytes_str(out_command(o, f->next, line, sizeof(line))), safe[2],
				sizeof(safe[2])));
	out_json(o, v);
	json_decref(v);
	return (int)f->code;
}

void out_hint(const struct out *o, const char *fmt, ...)
{
	char text[LINE_MAX_BYTES], line[LINE_MAX_BYTES];
	va_list ap;

	if (o->quiet || o->json)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fflush(stdout);
	fprintf(stderr, "%snext: %s%s\n", o->color_err ? escape_of(STYLE_DIM) : "",
		out_command(o, text, line, sizeof(line)), o->color_err ? "\033[0m" : "");
}

void out_note(const struct out *o, const char *fmt, ...)
{
	va_list ap;

	if (o->quiet)
		return;
	fflush(stdout);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void out_detail(const struct out *o, const char *fmt, ...)
{
	va_list ap;

	if (!o->verbose)
		return;
	fflush(stdout);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

int out_finish(int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	if (errno == EPIPE)
		_exit(128 + 13);
	fprintf(stderr, "ironmesh: cannot write the output: %s\n", strerror(errno));
	return code == EXIT_DONE ? EXIT_GENERIC : code;
}

/* --- values ------------------------------------------------------------------------------- */

const char *time_text(uint64_t wall_ms, char *buf, size_t cap)
{
	time_t s = (time_t)(wall_ms / 1000);
	struct tm tm;

	if (wall_ms == 0 || !localtime_r(&s, &tm) || strftime(buf, cap, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		snprintf(buf, cap, "-");
	return buf;
}

const char *duration_text(uint64_t ms, char *buf, size_t cap)
{
	const uint64_t s = ms / 1000;

	if (ms < 1000)
		snprintf(buf, cap, "%u ms", (unsigned)ms);
	else if (ms < 60000 && ms % 1000)
		snprintf(buf, cap, "%u.%u s", (unsigned)s, (unsigned)(ms % 1000 / 100));
	else if (ms < 60000)
		snprintf(buf, cap, "%u s", (unsigned)s);
	else if (s < 3600)
		snprintf(buf, cap, "%u min %u s", (unsigned)(s / 60), (unsigned)(s % 60));
	else if (s < 86400)
		snprintf(buf, cap, "%u h %u min", (unsigned)(s / 3600), (unsigned)(s / 60 % 60));
	else
		snprintf(buf, cap, "%llu d %u h", (unsigned long long)(s / 86400),
			 (unsigned)(s / 3600 % 24));
	return buf;
}

const char *fingerprint_groups(const char *fp, char *buf, size_t cap)
{
	char safe[160];
	size_t n = 0;

	text_safe(bytes_str(fp ? fp : "-"), safe, sizeof(safe));
	if (strchr(safe, ' ') || strlen(safe) < 16) {
		snprintf(buf, cap, "%s", safe);
		return buf;
	}
	for (size_t i = 0; safe[i] && n + 3 < cap; i++) {
		if (i && i % 4 == 0)
			buf[n++] = ' ';
		buf[n++] = safe[i];
	}
	buf[n] = '\0';
	return buf;
}

#define LABEL_WIDTH 14

void out_field(const struct out *o, const char *label, const char *value)
{
	char safe[2048];
	size_t n = strlen(label);

	if (!value)
		return;
	printf("%s%s%s%*s%s\n", out_on(o, STYLE_DIM), label, out_off(o, STYLE_DIM),
	       n < LABEL_WIDTH ? (int)(LABEL_WIDTH - n) : 1, "",
	       text_safe(bytes_str(value), safe, sizeof(safe)));
}

void out_fieldf(const struct out *o, const char *label, const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	out_field(o, label, text);
}
