/*
 * ws.h -- WebSocket over TCP and TLS (wire 1.1, 1.2, 1.5): libwebsockets as a guest on a libuv loop.
 *
 * One port serves TLS and, when allowed, plain: we accept, check limits and bans, wait at most
 * first_byte_ms for the first byte, and hand the socket to libwebsockets as TLS (0x16) or plain
 * ('G'). Nothing is spent on a banned or over-limit source. Dialling is wss first; ws only with
 * allow_plaintext, after wss failed. Names are resolved by libuv.
 *
 * Addresses: "host:port", "[v6]:port". A text message is handshake JSON, a binary message a frame;
 * an empty message is dropped. Fragments are put together, compression is declined, text is not
 * checked for UTF-8 here.
 *
 * A paused link does not see pings either: the far side may give it up after 20 + 10 s.
 * tp_close() and tp_stop() take at most 5 s for what is queued and the close handshake; tp_stop()
 * also waits for a name that is being resolved. `done` comes when nothing is left on the loop.
 */
#ifndef TRANSPORTS_WS_WS_H
#define TRANSPORTS_WS_WS_H

#include <uv.h>

#include "transports/transport.h"

#define WS_UNIT_MAX 1048576

struct ws_config {
	uv_loop_t *loop;
	const char *bind;            /* "127.0.0.1", "0.0.0.0", "::1"; NULL = do not listen */
	uint16_t port;               /* 0 = the system picks; ws_port() tells */
	int listening;               /* > 0: this socket, which is bound and listens already; taken. `bind` says that we listen */
	bool allow_plaintext;
	const char *cert_path, *key_path; /* PEM; made by tls_ensure(); required to listen, unless plain */
	bool dial_plain;             /* dialling: skip the wss turn (needs allow_plaintext) */
	bool tls13;                  /* TLS 1.3 or nothing, both ways; else 1.2 too */
	bool strict_tls;             /* dialling: verify chain and host name */
	const char *pinned_ca;       /* PEM bundle for strict_tls; NULL = system store */
	/* 0 takes the default, given here. */
	uint32_t max_links;          /* 4,096, half-open ones and dials included */
	uint32_t max_half_open;      /* accepted, not yet upgraded: 64; dials have 64 of their own */
	uint32_t max_half_open_per_source; /* 16 */
	uint32_t first_byte_ms;      /* 1,000 */
	uint32_t upgrade_ms;         /* first byte to WebSocket open: 5,000 */
	uint32_t dial_ms;            /* each of wss and ws: 10,000 */
	uint32_t keepalive_ms;       /* WebSocket ping every 20,000; closed after 10,000 without an answer */
};

/* Listens (when bind is set) before it returns: ERR_EXISTS when the port is busy (fault says which).
 * Copies its configuration. Ignores SIGPIPE, as libwebsockets does, and sends the log of libwebsockets
 * to log_debug(). On failure the loop may have turned some times. */
enum err ws_new(const struct ws_config *c, const struct transport_sink *sink, struct transport **out,
		struct fault *f) MUST_CHECK;
uint16_t ws_port(const struct transport *t);

/* transports/ws/tls.c: a self-signed EC P-256 certificate at cert_path/key_path, made when absent,
 * made again (same key) when less than 30 days are left. The name is its CN and its one alternative
 * name, as an address when it is a literal one. tls_key_of() is the SHA-256 of its SPKI.
 * ERR_CORRUPT for a file that holds something else, ERR_DENIED for a key that others can read. */
enum err tls_ensure(const char *cert_path, const char *key_path, const char *common_name,
		    struct fault *f) MUST_CHECK;
/* Whether both are whole and belong together, and how many seconds the certificate is still good (less than 0: no more). */
enum err tls_look(const char *cert_path, const char *key_path, int64_t *left_s, struct fault *f) MUST_CHECK;
enum err tls_key_of(const char *cert_path, uint8_t out[static 32], struct fault *f) MUST_CHECK;

#endif
