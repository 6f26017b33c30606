/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Two processes side by side: the reports of a stream are folded into a column a process, and two
 * columns make a table. Pure: no I/O, no clock. What is not known is REPORT_UNKNOWN in a column and
 * NAN in a table.
 */
#ifndef PAGESTAY_CORE_COMPARE_H
#define PAGESTAY_CORE_COMPARE_H

#include "pagestay/core/report.h"

#define COMPARE_TIME_MARKS    15
#define COMPARE_REQUEST_MARKS 22
#define COMPARE_MARKS         (COMPARE_TIME_MARKS + COMPARE_REQUEST_MARKS)
#define COMPARE_AGES          3 /* of the survival curve: report_ages_s[0] on */
#define COMPARE_ROWS          64
#define COMPARE_PROCESSES     8192 /* of a stream; others are not folded, but counted */
#define COMPARE_IDLE_NS       3000000000ull

/*
 * One process over all intervals that its stream has of it. Sums are of the intervals in which the
 * value was known, and saturate; "last" is of the last interval in which it was known.
 */
struct column {
	struct ps_proc_key key;
	char comm[PS_COMM_BYTES]; /* any bytes, terminated; last */
	enum allocator_name allocator;
	char allocator_version[ALLOCATOR_VERSION_BYTES];
	bool exited;
	bool requests_estimated; /* some were merged or encrypted */
	uint64_t intervals;
	uint64_t observed_ns;
	uint64_t page_bytes;
	double sample_ratio; /* of pages, last */

	uint64_t rss_start_bytes; /* where its first interval begins */
	uint64_t rss_peak_bytes;  /* the greatest at an interval's end, or at the start */
	uint64_t rss_end_bytes;   /* last */
	uint64_t rss_idle_bytes;  /* last, at least COMPARE_IDLE_NS after requests had stopped */
	uint64_t idle_ns;         /* how long after */
	/* At the interval's end nearest to each mark, if near enough (marks in compare.c). */
	uint64_t rss_at_marks[COMPARE_MARKS];
	uint64_t mark_distances[COMPARE_MARKS];

	/* Of the last x-ray that lost nothing, or the last if all did. Live: of jemalloc, which
	 * tells no more, whole pages with live allocations. Held free: what is resident of it; of
	 * jemalloc, dirty and muzzy pages. */
	uint64_t live_bytes;
	bool live_is_pages;
	uint64_t held_free_bytes;
	uint64_t heap_lost_bytes; /* that the x-ray could not walk; 0: it lost nothing */
	uint64_t heap_at_ns;      /* observed_ns at the end of its interval; 0: there was none */

	uint64_t asked_bytes, returned_bytes, madvise_calls;
	uint64_t faults, faults_of_requests;
	double kept_pages_per_request; /* last */
	double survival[COMPARE_AGES]; /* last */
	uint64_t cpu_ns;
	uint64_t requests;
	uint64_t busy_requests, busy_ns; /* of intervals with requests */
	double requests_per_s_peak;      /* of the busiest interval */
	uint64_t quiet_ns;               /* since the last interval with requests */
};

/* What is the same for all processes of a stream. */
struct columns_head {
	char host[EVENT_HOST_BYTES];     /* any bytes, terminated */
	char detail[EVENT_DETAIL_BYTES]; /* likewise; as of the last report */
	const char *source;              /* a word; NULL before the first report */
	bool complete;                   /* so were all reports */
	uint64_t lost[PS_LOSSES];
	uint64_t processes; /* folded */
	uint64_t unfolded;  /* rows of processes beyond COMPARE_PROCESSES, interval by interval */
};

/* All processes of one stream. */
struct columns;

int columns_new(struct columns **ret_columns);
void columns_free(struct columns *columns); /* takes NULL */

/* 0 or -ENOMEM. */
int columns_fold(struct columns *columns, const struct report *report);

const struct columns_head *columns_head(const struct columns *columns);

/* Which of the processes; of several that fit, the one with the most requests, then RSS. */
struct columns_choice {
	bool by_pid;
	uint32_t pid;
	const char *comm; /* NULL: any; not used if by_pid */
};

/* NULL if none fits. Belongs to `columns`. */
const struct column *columns_choose(
	const struct columns *columns, const struct columns_choice *choice, uint64_t *ret_fitting);

enum compare_unit {
	COMPARE_BYTES,
	COMPARE_COUNT,
	COMPARE_REAL, /* a real number of what the name says */
	COMPARE_SHARE,
	COMPARE_SECONDS,
};

/* One line of the table. */
struct compare_row {
	const char *name;  /* in JSON; NULL: a mark */
	const char *title; /* for people, at most 24 columns */
	uint64_t mark;     /* of a mark: seconds, or requests */
	enum compare_unit unit;
	double values[2]; /* NAN: not known */
};

struct comparison {
	const struct columns_head *heads[2];
	const struct column *columns[2];
	bool marks_by_requests;
	size_t row_count;
	struct compare_row rows[COMPARE_ROWS];
};

/* `heads` and `columns` must outlive it. Marks are as far as both columns reach. */
void compare(const struct columns_head *const heads[2], const struct column *const columns[2],
	bool marks_by_requests, struct comparison *ret_comparison);

/* B / A. NAN: one is not known, or A is 0. */
double compare_ratio(const struct compare_row *row);

/* B - A. NAN: one is not known. */
double compare_difference(const struct compare_row *row);

#endif
