/*
 * endpoints.h -- where this machine can be reached, as its interfaces say now.
 */
#ifndef DAEMON_ENDPOINTS_H
#define DAEMON_ENDPOINTS_H

#include <stddef.h>
#include <stdint.h>

#define ENDPOINTS_MAX 8
#define ENDPOINT_LEN 80

/* Of a listener bound to `bind`: that address, or, for "0.0.0.0" and "::", those of the interfaces that are up, without
 * loopback and link-local ones, which mean another machine elsewhere. "192.0.2.7:8765", "[2001:db8::7]:8765". */
size_t endpoints_now(const char *bind, uint16_t port, char out[static ENDPOINTS_MAX][ENDPOINT_LEN]);

#endif
