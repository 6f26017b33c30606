/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the two halves of the tracker share: track.c folds events into this, track_report.c makes
 * the report of it. Nobody else includes this.
 */
#ifndef PAGESTAY_CORE_TRACK_STATE_H
#define PAGESTAY_CORE_TRACK_STATE_H

#include "pagestay/base/table.h"
#include "pagestay/edge/cgroup.h"
#include "pagestay/core/history.h"
#include "pagestay/core/retention.h"
#include "pagestay/core/track.h"

#define MAX_NOTES 16

struct tracked_route {
	char text[PS_ROUTE_BYTES];
	uint64_t requests;
	UT_hash_handle hh;
};

struct tracked_process {
	struct ps_proc_key key;
	struct event_process identity;
	char unit[CGROUP_UNIT_BYTES];
	char container[CGROUP_CONTAINER_BYTES];
	struct {
		uint64_t counters[PS_COUNTERS];
		struct tracked_route *routes;
		struct event_memory before; /* as of its beginning */
	} interval;
	struct event_memory memory;
	bool exited;
	uint64_t open;
	uint64_t opened_total; /* with those that were open before */
	uint64_t closed_total; /* as reported */
	int64_t unrouted;      /* requests that no route was read for yet; negative: the reverse */
	uint64_t attributed_total; /* faults in windows since `faults_base` was read */
	uint64_t faults_base;
	uint64_t background_total;     /* as reported */
	struct retention *retention;   /* at the detail level `pages` */
	struct allocators *allocators; /* NULL: not told */
	struct heap *heap;             /* the last x-ray; NULL: there was none */
	uint64_t heap_age_ns;          /* since the end of its interval */
	struct history history;
	UT_hash_handle hh;
};

/* A route with the tally that its report is made of. */
struct route_row {
	const char *text;
	uint64_t requests;
	struct tally tally;
};

struct track {
	struct track_options options;
	struct event_stream stream;
	char notes[MAX_NOTES][EVENT_NOTE_BYTES];
	const char *note_texts[MAX_NOTES];
	size_t note_count;
	struct tracked_process *processes;
	bool started;
	bool damaged;
	uint64_t lost[PS_LOSSES];
	struct event_tick before; /* START or the last TICK */
	uint64_t steps;           /* that page events of the interval may still cost */
	bool reported;            /* the report stands; the next event begins the next interval */
	struct report report;
	struct report_process *rows;
	struct report_route *routes;  /* of all rows, one after the other */
	struct route_row *route_rows; /* room to work out those of one process */
};

/* Of track_report.c. 1 with the report complete, or -ENOMEM. */
int track_make_report(struct track *track, const struct event_tick *tick);

#endif
