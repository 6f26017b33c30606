/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The tracker: folds a stream of events into one report an interval. Pure: no I/O, no clock.
 */
#ifndef PAGESTAY_CORE_TRACK_H
#define PAGESTAY_CORE_TRACK_H

#include <stdbool.h>

#include "pagestay/core/report.h"

struct track;

struct track_options {
	const char *source; /* the report's `source`; must outlive the tracker */
	unsigned top;       /* routes a process lists before `other`; 0: all */
	/* Caps against hostile input. What finds them full is lost.map_full. */
	unsigned max_processes;
	unsigned max_routes; /* of one process in one interval */
	unsigned max_pages;  /* tracked of one process: beyond, they are sampled */
};

int track_new(const struct track_options *options, struct track **ret_track);
void track_free(struct track *track); /* takes NULL */

/*
 * An event_fn. 1 as soon as a TICK has completed a report, else 0 or -ENOMEM. The next event after
 * a report begins the next interval.
 */
int track_event(struct track *track, const struct event *event);

/* The report that the last TICK completed; NULL before the first. Valid until the next event. */
const struct report *track_report(const struct track *track);

/* The stream is damaged: reports from now on are not complete. */
void track_damaged(struct track *track);

#endif
