/* rooms: transports base */
/* The answer to an upgrade and the head of a frame, as whoever listens at an address sends them: nothing is read beyond the
 * input, and what is shown of it is one line of safe text. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "transports/ws/reach.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char says[REACH_SAYS_MAX];
	struct reach_frame f;

	memset(says, 'x', sizeof says);
	(void)!reach_answer_parse(bytes_of(data, n), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", says);
	if (!memchr(says, '\0', sizeof says) || !utf8_valid(bytes_str(says)) || strpbrk(says, "\n\r\t\x1b"))
		abort();
	if (reach_frame_parse(bytes_of(data, n), &f) != ERR_OK)
		return 0;
	if (f.head < 2 || f.head > n || f.body > REACH_FIRST_MAX || (f.opcode >= 8 && f.body > 125))
		abort();
	return 0;
}
