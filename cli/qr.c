#include "cli/qr.h"

#include <errno.h>
#include <qrencode.h>
#include <stdbool.h>

#define QUIET 2

static bool dark(const QRcode *q, int x, int y)
{
	return x >= 0 && y >= 0 && x < q->width && y < q->width && q->data[y * q->width + x] & 1;
}

enum err qr_print(FILE *to, const char *text)
{
	/* Both modules light, the lower one dark, the upper one dark, both dark. */
	static const char *const blocks[] = { "\u2588", "\u2580", "\u2584", " " };
	QRcode *q = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_M);

	if (!q)
		return errno == ERANGE ? ERR_LIMIT : ERR_NOMEM;
	for (int y = -QUIET; y < q->width + QUIET; y += 2) {
		for (int x = -QUIET; x < q->width + QUIET; x++)
			fputs(blocks[(dark(q, x, y) ? 2 : 0) + (dark(q, x, y + 1) ? 1 : 0)], to);
		fputc('\n', to);
	}
	QRcode_free(q);
	return ERR_OK;
}
