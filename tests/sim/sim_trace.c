/* The last events of a run: what the program logged and what the simulator did, with virtual times. */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/sim/sim.h"

#define LINES 80
#define LINE_MAX_CHARS 300

static enum trace_mode mode_now;
static const struct world *world_now;
static char ring[LINES][LINE_MAX_CHARS];
static size_t ring_n;

static void put(const char *text)
{
	unsigned long long ms = world_now ? world_now->now_ms : 0, step = world_now ? world_now->step : 0;

	if (mode_now == TRACE_PRINT) {
		printf("%9llu #%-6llu %s\n", ms, step, text);
		return;
	}
	snprintf(ring[ring_n++ % LINES], LINE_MAX_CHARS, "    %9llu #%-6llu %.*s\n", ms, step,
		 LINE_MAX_CHARS - 40, text);
}

static void log_tap(void *ctx, enum log_level level, const char *line)
{
	put(line);
}

static uint64_t log_wall(void *ctx)
{
	/* Standing still: what is logged must not depend on how many lines a second holds. */
	return world_now ? SIM_EPOCH_MS + world_now->now_ms : SIM_EPOCH_MS;
}

void trace_setup(enum trace_mode mode)
{
	struct log_config c = {
		.level = mode == TRACE_OFF ? LOG_ERROR : LOG_DEBUG,
		.fd = -1,
		.wall_ms = log_wall,
		.tap = mode == TRACE_OFF ? NULL : log_tap,
	};

	mode_now = mode;
	ring_n = 0;
	log_setup(&c);
}

void trace_begin(struct world *w)
{
	world_now = w;
	if (w)
		ring_n = 0;
}

bool trace_on(void)
{
	return mode_now != TRACE_OFF;
}

void trace(const char *fmt, ...)
{
	char line[LINE_MAX_CHARS];
	va_list ap;

	if (mode_now == TRACE_OFF)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	put(line);
}

void trace_dump(int fd)
{
	size_t first = ring_n > LINES ? ring_n - LINES : 0;

	for (size_t i = first; i < ring_n; i++) {
		const char *line = ring[i % LINES];

		if (write(fd, line, strnlen(line, LINE_MAX_CHARS)) < 0)
			return;
	}
}
