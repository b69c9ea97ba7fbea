#include "cli/textfile.h"

#include <errno.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"

enum err text_export(const struct cli *c, const json_t *result, const char *path, struct fault *f)
{
	struct bytes text;
	char safe[160];

	if (json_get_str(result, "text", &text) != ERR_OK)
		return fault_set(f, ERR_MALFORMED, EXIT_GENERIC, "the daemon sent no text");
	if (path) {
		enum err e = file_create_secret(path, text, f);

		if (e == ERR_OK)
			out_note(&c->out, "written to %s", text_safe(bytes_str(path), safe, sizeof(safe)));
		return e;
	}
	fwrite(text.p, 1, text.n, stdout);
	if (text.n == 0 || text.p[text.n - 1] != '\n')
		putchar('\n');
	return ERR_OK;
}

enum err text_import(const char *path, struct buf *b, struct fault *f)
{
	if (strcmp(path, "-") != 0)
		return file_read(path, b, f);
	for (;;) {
		size_t room = b->max - b->n;
		uint8_t *p = buf_reserve(b, room < 65536 ? room : 65536), extra;
		ssize_t n;

		if (!p)
			return fault_set(f, b->err, EXIT_GENERIC, "no memory for the text");
		n = read(STDIN_FILENO, room ? p : &extra, room < 65536 ? (room ? room : 1) : 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fault_set(f, err_from_errno(errno), EXIT_GENERIC, "cannot read stdin: %s",
					 strerror(errno));
		if (n == 0)
			return ERR_OK;
		if (room == 0)
			return fault_set(f, ERR_LIMIT, EXIT_USAGE, "the text is larger than %zu bytes",
					 b->max);
		b->n += (size_t)n;
	}
}
