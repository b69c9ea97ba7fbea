#include "cli/message.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/text.h"

enum err message_body(const json_t *message, struct buf *b)
{
	struct bytes text;

	if (json_get_str(message, "body", &text) == ERR_OK) {
		buf_add(b, text);
		return b->err;
	}
	if (json_get_str(message, "body_b64", &text) == ERR_OK)
		return buf_add_base64_decoded(b, text);
	return ERR_NOTFOUND;
}

const char *message_preview(const json_t *message, char *buf, size_t cap)
{
	char line[512];
	struct bytes text;
	size_t n;

	if (json_get_str(message, "body", &text) != ERR_OK) {
		if (json_object_get(message, "body_b64"))
			snprintf(buf, cap, "(%" PRId64 " bytes, not text)", show_int(message, "size"));
		else
			snprintf(buf, cap, "-");
		return buf;
	}
	n = text.n < sizeof(line) ? text.n : sizeof(line);
	/* Not through the middle of a character. */
	while (n < text.n && n > 0 && (text.p[n] & 0xc0) == 0x80)
		n--;
	for (size_t i = 0; i < n; i++)
		line[i] = text.p[i] == '\n' || text.p[i] == '\r' || text.p[i] == '\t' ? ' ' :
										      (char)text.p[i];
	return text_safe(bytes_of(line, n), buf, cap);
}

static bool other_than(const char *text, const char *usual)
{
	return text && *text && strcmp(text, usual) != 0;
}

void message_fields(const struct cli *c, const json_t *m, bool full)
{
	const char *s;
	char when[40];

	if (other_than((s = json_str(m, "kind")), "message"))
		out_field(&c->out, "kind", s);
	if ((s = json_str(m, "conversation")) && *s)
		out_field(&c->out, "conversation", s);
	if ((s = json_str(m, "reply_to")) && *s)
		out_field(&c->out, "answers", s);
	if (show_int(m, "turn") || show_int(m, "max_turns"))
		out_fieldf(&c->out, "turn", show_int(m, "max_turns") ? "%" PRId64 " of %" PRId64 : "%" PRId64,
			   show_int(m, "turn"), show_int(m, "max_turns"));
	if (json_is_true(json_object_get(m, "expects_reply")))
		out_field(&c->out, "awaits", "an answer");
	if ((s = json_str(m, "end_reason")) && *s)
		out_field(&c->out, "ended by", s);
	if (other_than((s = json_str(m, "content_type")), "text/plain"))
		out_field(&c->out, "content", s);
	if (json_is_true(json_object_get(m, "signed")))
		out_field(&c->out, "signed", "by its author");
	if (json_is_true(json_object_get(m, "sealed"))) {
		const json_t *via = json_object_get(m, "via");
		char text[200], safe[100];

		s = json_str(via, "name");
		snprintf(text, sizeof(text), "%s%s",
			 text_safe(bytes_str(s && *s ? s : json_str(via, "id")), safe, sizeof(safe)),
			 json_is_true(json_object_get(m, "no_fs")) ? ", without forward secrecy" : "");
		out_field(&c->out, "through", text);
	}
	if (json_is_true(json_object_get(m, "no_receipt")))
		out_field(&c->out, "receipt", "none was asked for");
	/* Every message that came over im2 says when; one of ours has its own line. */
	if (full && json_object_get(m, "from") && show_int(m, "expires_ms"))
		out_field(&c->out, "expires",
			  time_text((uint64_t)show_int(m, "expires_ms"), when, sizeof(when)));
}

/* Line by line: the ends of lines are the only control characters that pass. */
static void print_text(struct bytes text)
{
	char *safe = malloc(text.n + 1);

	BUG_ON(!safe);
	while (text.n) {
		const uint8_t *end = memchr(text.p, '\n', text.n);
		size_t n = end ? (size_t)(end - text.p) : text.n;
		size_t skip = end ? n + 1 : n;

		if (n && text.p[n - 1] == '\r')
			n--;
		printf("%s\n", text_safe(bytes_of(text.p, n), safe, text.n + 1));
		text = bytes_of(text.p + skip, text.n - skip);
	}
	free(safe);
}

void message_print(const struct cli *c, const json_t *message, bool raw, bool full)
{
	struct buf b;
	char from[80], when[40], type[40], number[32] = "volatile";
	const char *word = json_str(message, "type");
	enum err e;

	buf_init(&b, CLIENT_LINE_MAX);
	e = message_body(message, &b);
	if (raw) {
		if (e == ERR_OK && b.n)
			fwrite(b.p, 1, b.n, stdout);
		buf_fini(&b);
		return;
	}
	if (show_int(message, "seq"))
		snprintf(number, sizeof(number), "#%" PRId64, show_int(message, "seq"));
	printf("%s%s%s  %s  %s%s%s  %" PRId64 " bytes\n", out_on(&c->out, STYLE_BOLD),
	       show_party(json_object_get(message, "from"), from, sizeof(from)),
	       out_off(&c->out, STYLE_BOLD),
	       time_text((uint64_t)show_int(message, "received_ms"), when, sizeof(when)), number, word && strcmp(word, "MSG") != 0 ? "  " : "",
	       word && strcmp(word, "MSG") != 0 ? text_safe(bytes_str(word), type, sizeof(type)) : "",
	       show_int(message, "size"));
	message_fields(c, message, full);
	if (e != ERR_OK)
		printf("(no body is kept)\n");
	else if (!json_object_get(message, "body"))
		printf("(not text; --raw writes the bytes)\n");
	else
		print_text(buf_bytes(&b));
	buf_fini(&b);
}

void message_table(const struct cli *c, const json_t *messages)
{
	static const char *const heads[] = { "SEQ", "RECEIVED", "FROM", "SIZE", "STATE", "TEXT", NULL };
	struct table *t = table_new(heads);
	char text[160];
	json_t *m;
	size_t i;

	json_array_foreach (messages, i, m) {
		table_cellf(t, "%" PRId64, show_int(m, "seq"));
		table_cell(t, STYLE_DIM,
			   time_text((uint64_t)show_int(m, "received_ms"), text, sizeof(text)));
		table_cell(t, STYLE_BOLD, show_party(json_object_get(m, "from"), text, sizeof(text)));
		table_cellf(t, "%" PRId64, show_int(m, "size"));
		table_cell(t, show_state(json_str(m, "state")), json_str(m, "state"));
		table_cell(t, STYLE_NONE, message_preview(m, text, sizeof(text)));
	}
	table_print(&c->out, t);
}

void message_timeline(const struct cli *c, const json_t *m)
{
	const json_t *list = json_object_get(m, "timeline"), *step;
	char when[40];
	size_t i;

	json_array_foreach (list, i, step) {
		const char *state = json_str(step, "state"), *via = json_str(step, "via"), *detail = json_str(step, "detail");

		out_fieldf(&c->out, i ? "" : "timeline", "%s  %s%s%s%s%s",
			   time_text((uint64_t)show_int(step, "at_ms"), when, sizeof when), state ? state : "?", via ? " by " : "",
			   via ? via : "", detail ? ": " : "", detail ? detail : "");
	}
}
