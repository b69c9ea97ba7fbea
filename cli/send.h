/*
 * send.h -- what became of a message, as an exit code.
 */
#ifndef CLI_SEND_H
#define CLI_SEND_H

#include "base/json.h"

/* Whether `state` (docs/control.md) is `wanted` or further: "sent" < "delivered" < "read". */
bool send_reached(const char *state, const char *wanted);
/* EXIT_DONE, EXIT_UNDELIVERED or EXIT_FAILED for a result of `send` or `wait`. */
enum exit_code send_outcome(const json_t *result, const char *wanted);

#endif
