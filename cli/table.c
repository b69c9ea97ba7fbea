#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/output.h"

#define COLUMNS_MAX 12
#define CELL_MAX    512
#define GAP         2

struct cell {
	char *text;
	size_t width;
	enum style style;
};

struct table {
	const char *const *heads;
	size_t columns, n, cap;
	struct cell *cells;
	size_t width[COLUMNS_MAX];
};

struct table *table_new(const char *const *heads)
{
	struct table *t = calloc(1, sizeof(*t));

	BUG_ON(!t);
	t->heads = heads;
	while (heads[t->columns]) {
		BUG_ON(t->columns >= COLUMNS_MAX);
		t->width[t->columns] = strlen(heads[t->columns]);
		t->columns++;
	}
	return t;
}

void table_cell(struct table *t, enum style s, const char *text)
{
	char safe[CELL_MAX];
	struct cell *c;

	if (t->n == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 64;

		c = realloc(t->cells, cap * sizeof(*c));
		BUG_ON(!c);
		t->cells = c;
		t->cap = cap;
	}
	c = &t->cells[t->n];
	c->text = strdup(text && *text ? text_safe(bytes_str(text), safe, sizeof(safe)) : "-");
	BUG_ON(!c->text);
	c->width = utf8_count(bytes_str(c->text));
	c->style = s;
	if (c->width > t->width[t->n % t->columns])
		t->width[t->n % t->columns] = c->width;
	t->n++;
}

void table_cellf(struct table *t, const char *fmt, ...)
{
	char text[CELL_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	table_cell(t, STYLE_NONE, text);
}

/* Columns of the terminal that stdout is; SIZE_MAX when it is none. */
static size_t terminal_width(void)
{
	struct winsize w;

	if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) != 0 || w.ws_col < 20)
		return SIZE_MAX;
	return w.ws_col;
}

/* The bytes of the first `width` characters. */
static size_t cut(const char *text, size_t width)
{
	size_t i = 0;

	while (text[i]) {
		if ((text[i] & 0xc0) != 0x80 && width-- == 0)
			break;
		i++;
	}
	return i;
}

static void print_cell(const struct out *o, const struct table *t, size_t column,
		       const struct cell *c, size_t room)
{
	bool last = column + 1 == t->columns;
	size_t width = last && c->width > room ? room : c->width;

	printf("%s%.*s%s", out_on(o, c->style), (int)cut(c->text, width), c->text,
	       out_off(o, c->style));
	if (!last)
		printf("%*s", (int)(t->width[column] - c->width + GAP), "");
	else
		putchar('\n');
}

void table_print(const struct out *o, struct table *t)
{
	size_t used = 0, width = terminal_width(), room;

	BUG_ON(t->n % t->columns != 0);
	for (size_t i = 0; i + 1 < t->columns; i++)
		used += t->width[i] + GAP;
	room = width == SIZE_MAX ? SIZE_MAX : width > used + 8 ? width - used : 8;
	for (size_t i = 0; i < t->columns; i++) {
		struct cell head = { (char *)t->heads[i], strlen(t->heads[i]), STYLE_BOLD };

		print_cell(o, t, i, &head, room);
	}
	for (size_t i = 0; i < t->n; i++) {
		print_cell(o, t, i % t->columns, &t->cells[i], room);
		free(t->cells[i].text);
	}
	free(t->cells);
	free(t);
}
