#include "web/openmetrics.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

const char *om_type_word(enum om_type t)
{
	static const char *const words[] = { "gauge", "counter", "histogram", "info" };

	return words[t];
}

void om_begin(struct om *m, struct buf *out, bool openmetrics)
{
	*m = (struct om){ .out = out, .openmetrics = openmetrics };
}

/* What the older format calls it: it knows no families, and no type `info`. */
void om_family(struct om *m, const struct om_family *f)
{
	const char *more = m->openmetrics ? "" : f->type == OM_COUNTER ? "_total" : f->type == OM_INFO ? "_info" : "";

	m->f = f;
	buf_printf(m->out, "# TYPE %s%s %s\n", f->name, more, !m->openmetrics && f->type == OM_INFO ? "gauge" : om_type_word(f->type));
	if (f->unit && m->openmetrics)
		buf_printf(m->out, "# UNIT %s %s\n", f->name, f->unit);
	buf_printf(m->out, "# HELP %s%s %s\n", f->name, more, f->help);
}

static void label(struct buf *b, bool first, const char *key, const char *value)
{
	buf_printf(b, "%s%s=\"", first ? "{" : ",", key);
	for (; *value; value++) {
		if (*value == '\n')
			buf_add_str(b, "\\n");
		else if (*value == '"' || *value == '\\')
			buf_printf(b, "\\%c", *value);
		else
			buf_add_u8(b, (uint8_t)*value);
	}
	buf_add_u8(b, '"');
}

static void number(struct buf *b, double v)
{
	if (isnan(v))
		buf_add_str(b, "NaN");
	else if (v == floor(v) && fabs(v) < 9e15)
		buf_printf(b, "%.0f", v);
	else
		buf_printf(b, "%.15g", v);
}

void om_sample(struct om *m, double value, ...)
{
	const char *key, *more = m->f->type == OM_COUNTER ? "_total" : m->f->type == OM_INFO ? "_info" : "";
	bool first = true;
	va_list ap;

	buf_printf(m->out, "%s%s", m->f->name, more);
	va_start(ap, value);
	while ((key = va_arg(ap, const char *))) {
		label(m->out, first, key, va_arg(ap, const char *));
		first = false;
	}
	va_end(ap);
	buf_add_str(m->out, first ? " " : "} ");
	number(m->out, value);
	buf_add_u8(m->out, '\n');
}

void om_histogram(struct om *m, const double *bounds, const uint64_t *counts, size_t n, double sum)
{
	const char *name = m->f->name;
	uint64_t all = 0;

	for (size_t i = 0; i < n; i++) {
		all += counts[i];
		/* A bound is a float, and looks like one. */
		buf_printf(m->out, bounds[i] == floor(bounds[i]) ? "%s_bucket{le=\"%.1f\"} %llu\n" : "%s_bucket{le=\"%g\"} %llu\n", name,
			   bounds[i], (unsigned long long)all);
	}
	all += counts[n];
	buf_printf(m->out, "%s_bucket{le=\"+Inf\"} %llu\n%s_count %llu\n%s_sum ", name, (unsigned long long)all, name,
		   (unsigned long long)all, name);
	number(m->out, sum);
	buf_add_u8(m->out, '\n');
}

void om_end(struct om *m)
{
	if (m->openmetrics)
		buf_add_str(m->out, "# EOF\n");
}
