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
	/* Of an x-ray that walked most of the heap. Live: of jemalloc, where allocated bytes are
	 * not known, its active pages. Held free: what of it is resident; of jemalloc its dirty
	 * pages. */
	uint64_t live_bytes, held_free_bytes;
	uint64_t requests; /* since watching began; REPORT_UNKNOWN: requests are not counted */
};

/*
 * Sums are over intervals in which the value was known, and REPORT_UNKNOWN (REPORT_DELTA_UNKNOWN)
 * as long as there was none. When the samples are full, the one goes that leaves the smallest gap,
 * those with an x-ray last, so that they stay spread over the whole time; the first and the newest
 * are always there.
 */
struct history {
	uint64_t observed_ns; /* sum of the intervals */
	uint64_t age_ns;      /* of the process, at the newest; 0: not known */
	uint64_t intervals;
	/* A busy interval is one with requests; of a process without any so far, one in which it
	 * used more than a fiftieth of a CPU. */
	uint64_t busy_ns;           /* sum of the busy intervals */
	uint64_t idle_ns;           /* since the last of them, or since watching began */
	uint64_t rss_at_idle_bytes; /* at the end of the last of them; REPORT_UNKNOWN: none */
	uint64_t rss_least_bytes, rss_most_bytes;
	uint64_t requests, accepts;
	uint64_t open_most; /* connections open at an interval's end */
	uint64_t asked_bytes, returned_bytes;
	uint64_t madvise_calls, madvise_dontneed_bytes, madvise_free_bytes, mprotect_calls;
	uint64_t touched_bytes; /* by requests, in pages */
	uint64_t faults;        /* page faults, or touched pages, wherever */
	uint64_t faults_overlapping;
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
