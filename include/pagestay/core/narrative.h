/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A day in one summary: each report is folded into a struct of a fixed size and forgotten. Pure: no
 * I/O, no clock; which local day it is comes with each report, as a number like 20260102.
 *
 * The day is told when the first report of a later one comes, before that is folded. No day is told
 * twice: where the clock went back over midnight, what follows is told with the next day. A clock
 * that goes back by more than a day was wrong before, and the summary goes on under the new date.
 */
#ifndef PAGESTAY_CORE_NARRATIVE_H
#define PAGESTAY_CORE_NARRATIVE_H

#include "pagestay/core/episode.h"

#define NARRATIVE_SERVICES 64 /* when there are more, the one that matters least gives way */
#define NARRATIVE_TOP      10
#define NARRATIVE_SUBJECTS 1024 /* that are told apart in a report; more count as these */

/* All processes of the same subject together. */
struct narrative_service {
	char subject[EPISODE_SUBJECT_BYTES]; /* empty: the place is free */
	uint64_t requests;
	uint64_t returned_bytes; /* to the kernel, of address space */
	uint64_t asked_bytes;
	uint64_t kept_bytes; /* as of the last report: pages that requests keep, or held free */
	uint64_t peak_rss_bytes, first_rss_bytes, last_rss_bytes;
	uint64_t intervals;
};

struct narrative {
	unsigned day;      /* 0: nothing is folded yet */
	unsigned told_day; /* the last that was told; 0: none */
	uint64_t from_wall_ns, to_wall_ns;
	uint64_t observed_ns; /* sum of the intervals */
	uint64_t reports, incomplete_reports;
	uint64_t requests, returned_bytes, asked_bytes;
	uint64_t opened, closed, doubled, restarted;
	uint64_t most_processes;
	uint64_t left_out; /* services that had no place here, in the report that had the most */
	char worst_subject[EPISODE_SUBJECT_BYTES]; /* of the highest RSS; empty: none */
	uint64_t worst_rss_bytes;
	uint64_t worst_wall_ns;
	struct narrative_service services[NARRATIVE_SERVICES];
};

/* 0 or -errno. The summary is the caller's again when this returns. */
typedef int (*narrative_fn)(void *context, const struct narrative *narrative);

void narrative_init(struct narrative *narrative);

/* `tell` is called at most once. Its error, or 0; the report is folded in any case. */
int narrative_fold(struct narrative *narrative, const struct report *report, unsigned day,
	narrative_fn tell, void *context);

/* What happened counts for the day that is being folded; `restarts` as in the happening. */
void narrative_count(struct narrative *narrative, enum happening_kind kind, uint64_t restarts);

/* An earlier run has told this day. */
void narrative_told(struct narrative *narrative, unsigned day);

/*
 * The services that matter most, by what they keep, then by growth of RSS over the day, then by its
 * peak. Pointers into the summary; returns how many.
 */
size_t narrative_top(
	const struct narrative *narrative, const struct narrative_service *ret_top[NARRATIVE_TOP]);

#endif
