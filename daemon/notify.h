/*
 * notify.h -- tells systemd how we are: one datagram to $NOTIFY_SOCKET, without libsystemd.
 */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

#include <stdint.h>

/* Lines such as "READY=1\nSTATUS=...". Does nothing when nobody asked, or nobody listens. */
void notify_manager(const char *lines);
/* How often WATCHDOG=1 is expected of us, halved; 0: never. */
uint64_t notify_watchdog_ms(void);

#endif
