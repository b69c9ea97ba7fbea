/*
 * im2_tables.c -- prints the limits, items and structures of im2 as Markdown, from the tables that the program
 * reads with. The documentation takes them from here.
 */
#include <inttypes.h>
#include <stdio.h>

#include "tests/lib/protocol_rules.h"

static void limits(void)
{
	static const struct {
		const char *what;
		uint64_t value;
	} rows[] = {
#define X(name, value, what) {what, value},
		IM2_LIMITS(X)
#undef X
		{"items of a list", IM2_ITEMS_MAX},
		{"fields of a structure", IM2_STRUCT_FIELDS_MAX},
	};

	puts("| Limit | |\n|---|---|");
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		printf("| %s | %" PRIu64 " |\n", rows[i].what, rows[i].value);
}

static void items(void)
{
	static const char letters[] = "DESGP";

	puts("\n| Tag | Item | Where |\n|---|---|---|");
	for (uint16_t tag = 0; tag < 16384; tag++) {
		unsigned places = im2_item_places(tag);
		char where[16] = "", *p = where;

		if (!im2_item_name(tag))
			continue;
		for (unsigned i = 0; letters[i]; i++)
			if (places >> i & 1) {
				if (p != where)
					*p++ = ' ';
				*p++ = letters[i];
			}
		printf("| %u%s | %s | %s |\n", tag, tag & 1 ? "!" : "", im2_item_name(tag), where);
	}
	puts("\nD session frame, E sealed object, S stream, G group message, P pairing modes only; "
	     "`!` is critical.");
}

static void structure(const struct im2_schema *s, struct buf *b)
{
	printf("\n#### %s, at most %zu bytes\n\n", s->name, s->max_bytes);
	if (s->count == 0) {
		puts("No fields.");
		return;
	}
	puts("| Tag | Name | Kind |\n|---|---|---|");
	for (size_t i = 0; i < s->count; i++) {
		const struct im2_rule *r = &s->rules[i];

		buf_reset(b);
		rule_text(r, b);
		printf("| %u%s | %s | %s |\n", r->tag, r->tag & 1 ? "!" : "", r->name, buf_cstr(b));
	}
}

int main(void)
{
	size_t n;
	const struct im2_schema *const *all = im2_schemas(&n);
	struct buf b;

	buf_init(&b, 4096);
	puts("# The structures of im2\n\nPrinted by `make docs` from the tables that the parser runs on. A tag with `!` is critical.\n");
	limits();
	items();
	for (size_t i = 0; i < n; i++)
		structure(all[i], &b);
	puts("\n`bytes*`: elements with a shape of their own, given in the text.");
	buf_fini(&b);
	return 0;
}
