/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What became of a process since watching began: its reports, folded one by one into a fixed size.
 */
#ifndef PAGESTAY_CORE_HISTORY_H
#define PAGESTAY_CORE_HISTORY_H

#include "pagestay/core/report.h"

#define HISTORY_SAMPLES 24

/* As of an interval's end; REPORT_UNKNOWN where not known. */
struct history_sample {
	uint64_t at_ns; /* since watching of the process began */
	uint64_t rss_bytes, anon_bytes;
	uint64_t live_bytes, held_free_bytes; /* of an x-ray */
	uint64_t requests; /* since watching began; REPORT_UNKNOWN: requests are not counted */
};

/*
 * Sums are over intervals in which the value was known. When the samples are full, every other one
 * goes, so that they stay spread over the whole time; the first and the newest are always there.
 */
struct history {
	uint64_t observed_ns; /* sum of the intervals */
	uint64_t age_ns;      /* of the process, at the newest; 0: not known */
	uint64_t intervals;
	uint64_t idle_ns; /* since the last interval with requests */
	uint64_t rss_at_idle_bytes; /* at the end of that one; REPORT_UNKNOWN: never had one */
	uint64_t rss_least_bytes, rss_most_bytes;
	uint64_t requests, accepts;
	uint64_t asked_bytes, returned_bytes;
	uint64_t madvise_calls, madvise_dontneed_bytes, madvise_free_bytes, mprotect_calls;
	uint64_t faults;
	int64_t growth_requests_bytes, growth_background_bytes, growth_earlier_bytes,
		growth_files_bytes, growth_unexplained_bytes;
	unsigned sample_count;
	struct history_sample samples[HISTORY_SAMPLES];
};

void history_init(struct history *history);

/* `age_ns` as in the struct. Sums saturate: events may be forged. */
void history_fold(struct history *history, const struct report_process *process,
	uint64_t interval_ns, uint64_t age_ns);

#endif
