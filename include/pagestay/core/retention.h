/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Retention: whose each anonymous page of one process is, and what became of it.
 *
 * Every page that is resident belongs to a holder: a route's requests, requests of threads that had
 * several open, the background, what was there before (earlier), or nobody known (it came without a
 * fault: unexplained). Page records say who touched what and what was given back; passes say what
 * is really there, and have the last word. With every page tracked the numbers are exact; where
 * sampling is on, one page in 2^level is tracked and numbers are estimates, each page standing for
 * 2^level.
 *
 * Events are not trusted. Pure: no I/O, no clock.
 */
#ifndef PAGESTAY_CORE_RETENTION_H
#define PAGESTAY_CORE_RETENTION_H

#include "pagestay/core/curve.h"
#include "pagestay/core/report.h"

struct retention;

struct retention_options {
	uint64_t page_seed;
	size_t max_pages;  /* tracked at once: beyond, the level rises */
	size_t max_routes; /* with numbers of their own: beyond, the least become `other` */
	/* What events may still cost, about a nanosecond each; shared by all that an owner has, who
	 * renews it with each interval. Events beyond are passed over: only forged ones are. NULL:
	 * no bound. */
	uint64_t *steps;
};

/* What one or several holders add up to. */
struct tally {
	struct sampled touched; /* in the interval */
	uint64_t resident;      /* as of now, without freed */
	uint64_t freed;         /* resident, but given back lazily */
	uint64_t swapped;
	int64_t growth;    /* change of what is resident, freed or not, over the interval */
	uint64_t requests; /* since the beginning */
	struct curve_sums curve;
};

struct retention_route {
	const char *text; /* normalised; NULL: `other` */
	struct tally tally;
};

/* NULL when out of memory. */
struct retention *retention_new(const struct retention_options *options);
void retention_free(struct retention *retention); /* takes NULL */

/* Fold an event. 0 or -ENOMEM. */
int retention_page(struct retention *retention, const struct ps_page *event);
int retention_resident(struct retention *retention, const struct event_resident *event);
int retention_level(struct retention *retention, uint64_t level);
/* `text` is normalised. */
int retention_route(
	struct retention *retention, uint64_t hash, const char *text, uint64_t requests);

/*
 * The interval is over: ages are as of `now_ns`. `requests` is how many the process had in it.
 * Numbers of the interval stand until retention_begin.
 */
void retention_end(struct retention *retention, uint64_t now_ns, uint64_t requests);
void retention_begin(struct retention *retention);

/* All requests of the process, and each of its routes (in no order): valid until the next event. */
void retention_requests(const struct retention *retention, struct tally *ret_tally);
size_t retention_route_count(const struct retention *retention);
void retention_routes(const struct retention *retention, struct retention_route *ret_routes);

void tally_add(struct tally *tally, const struct tally *more);

/*
 * Fill a report's part from a tally. `requests` is of the interval. `kernel_freed_pages` is what
 * the kernel counts as lazily freed in the whole process, or REPORT_UNKNOWN: pages that were
 * written again after MADV_FREE are no longer free, and nobody told.
 */
void retention_report(const struct retention *retention, const struct tally *tally,
	uint64_t requests, uint64_t kernel_freed_pages, uint64_t page_bytes,
	struct report_retention *ret_report);

/* Where pages were touched in the interval, and the parts of growth that pages explain. */
void retention_attribution(const struct retention *retention, uint64_t requests,
	struct report_attribution *ret_attribution);
void retention_growth(
	const struct retention *retention, uint64_t page_bytes, struct report_growth *ret_growth);

double retention_sample_ratio(const struct retention *retention);

/* A pass had looked up everything before the interval began: its growth is known. */
bool retention_growth_known(const struct retention *retention);

#endif
