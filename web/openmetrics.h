/*
 * openmetrics.h -- numbers as text for a scraper: OpenMetrics 1.0, or the older text format 0.0.4.
 *
 *	om_begin(&m, out, true);
 *	om_family(&m, &family);
 *	om_sample(&m, 3, "state", "queued", NULL);
 *	om_end(&m);
 *
 * A family is written once with all its samples. Names follow from type and unit: a counter's samples end
 * in _total, an info's in _info, a histogram's in _bucket, _count and _sum.
 */
#ifndef WEB_OPENMETRICS_H
#define WEB_OPENMETRICS_H

#include "base/buf.h"

enum om_type { OM_GAUGE, OM_COUNTER, OM_HISTOGRAM, OM_INFO };
const char *om_type_word(enum om_type t);

struct om_family {
	const char *name;   /* with its unit, without what the type adds */
	enum om_type type;
	const char *unit;   /* "seconds", "bytes"; NULL */
	const char *labels; /* "dir, state"; NULL: none */
	const char *help;
};

struct om {
	struct buf *out;
	bool openmetrics;
	const struct om_family *f;
};

void om_begin(struct om *m, struct buf *out, bool openmetrics);
void om_family(struct om *m, const struct om_family *f);
/* Pairs of label and value, ended by NULL; a value is any UTF-8. */
void om_sample(struct om *m, double value, ...) __attribute__((sentinel));
/* `bounds` rise, in the unit; `counts[i]` is what fell at or below bounds[i] and above the one before, counts[n] what
 * was above all. */
void om_histogram(struct om *m, const double *bounds, const uint64_t *counts, size_t n, double sum);
void om_end(struct om *m);

#endif
