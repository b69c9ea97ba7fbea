/*
 * bench.h -- shared by the files of the bench: clocks, samples, real daemons, a control client.
 *
 * Every row is measured on the machine it runs on, in one run, beside its ceiling. Nothing here decides
 * pass or fail, except that a row which cannot be measured ends the bench with exit 1.
 */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/json.h"

double now_us(void);
_Noreturn void die(const char *fmt, ...) PRINTF_LIKE(1, 2);

struct samples {
	double *v;
	size_t n, cap;
};
void sample(struct samples *s, double v);
double percentile(struct samples *s, double p); /* sorts */
void samples_free(struct samples *s);

void row(const char *name, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* A real daemon: `ironmesh run` of the binary given to the bench. */
struct daemon {
	pid_t pid;
	char home[160], name[16], id[33];
	int port;
	double start_ms; /* exec to READY */
};
extern const char *bench_binary, *bench_dir, *bench_passphrase;
/* Extra arguments: NULL-terminated list. The identity is made in clear before, so that no Argon2id
 * is in `start_ms`. */
void daemon_make(struct daemon *d, const char *name);
void daemon_start(struct daemon *d, const char *const extra[]);
void daemon_stop(struct daemon *d);
double daemon_cpu_s(const struct daemon *d);
long daemon_rss_kib(const struct daemon *d);
int free_port(void);

struct client {
	int fd;
	char *in;
	size_t in_n, in_cap, taken;
	unsigned next_id;
};
void client_open(struct client *c, const struct daemon *d);
void client_close(struct client *c);
void client_send(struct client *c, const char *line, size_t n);
/* The next line (without \n), borrowed until the next call. */
const char *client_line(struct client *c);
bool client_has_line(const struct client *c); /* client_line() would not read */
json_t *client_call(struct client *c, const char *method, const char *params);

/* bench_primitives.c */
struct ceilings {
	double sign_us, verify_us, secretbox_us, commit_p50_us, commit_p99_us;
	double aead_1k_us, aead_64k_us, dh_us, group_rows_per_s;
};
void bench_primitives(struct ceilings *out);
/* bench_messages.c */
struct pair {
	struct daemon alice, bob;
	struct client to_alice, to_bob;
};
void drain(struct client *bob);
void wait_online(struct client *c);
/* Whom the two below write to, from now on; borrowed. */
void messages_to(const char *name);
/* Closed loop with `window` requests in flight; messages a second. */
double flood(struct client *c, unsigned window, unsigned total, struct samples *lat);
/* Open loop at 500/s; latencies in us. */
void paced(struct client *c, unsigned total, struct samples *lat);
void bench_messages(const struct ceilings *c);
void bench_im2_messages(const struct ceilings *c);
/* bench_volatile.c: on a pair that speaks im2 */
void bench_volatile(struct pair *p, const struct ceilings *c);
void bench_flooder(struct pair *p);
/* bench_relay.c */
void bench_relay(const struct ceilings *c);
/* bench_sessions.c */
void bench_sessions(void);
/* bench_http.c */
void bench_http(void);

#endif
