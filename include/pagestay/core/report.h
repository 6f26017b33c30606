/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A report: what one interval looked like, as an immutable snapshot that sinks write.
 *
 * Owned by the tracker that made it, valid until its next event. Rows are sorted by growth of
 * anonymous memory, then by its size: what keeps pages comes first. A process's routes are sorted
 * by kept pages, then by requests. A value that is not known is REPORT_UNKNOWN,
 * REPORT_DELTA_UNKNOWN or NAN and is written as null or `-`, never as 0.
 */
#ifndef PAGESTAY_CORE_REPORT_H
#define PAGESTAY_CORE_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pagestay/edge/event.h"
#include "pagestay/edge/heap.h"

#define REPORT_UNKNOWN       UINT64_MAX
#define REPORT_DELTA_UNKNOWN INT64_MIN

/*
 * A number of pages and its 95 % interval. With every page tracked the three are equal; with one in
 * 2^level they are estimates (core/estimate.h). REPORT_UNKNOWN, all three, where not known.
 */
struct report_pages {
	uint64_t value, low, high;
};

/* The ages of the survival curve, in seconds: 1, 10, 60, 600, 3600. */
#define REPORT_AGES 5
extern const unsigned report_ages_s[REPORT_AGES];

/*
 * Of the pages whose request ended at least this age ago, how many were still there this age after
 * it ended; since watching began. Pages that are in swap then are in neither number; lazily freed
 * ones are not kept. The ratio and its 95 % interval are NAN where no page is that old.
 */
struct report_survival {
	uint64_t touched_pages, kept_pages;
	double ratio, low, high;
};

/* What requests (of a process or of one of its routes) did with pages. */
struct report_retention {
	struct report_pages touched; /* in the interval, by faults inside windows */
	struct report_pages kept;    /* as of its end; neither swapped nor lazily freed */
	uint64_t swapped_pages;      /* as of its end: touched, and now in swap */
	uint64_t lazyfree_pages; /* as of its end: resident, but given back; from MADV_FREE calls,
				    scaled to what the kernel says of the whole process */
	struct report_survival survival[REPORT_AGES];
	double half_life_s;      /* NAN: not reached, or nothing known */
	double half_life_over_s; /* NAN unless not reached: the greatest age that is known */
	/* NAN without requests. Touched: of the interval. Kept: as of now, by all requests since
	 * watching began. */
	double touched_pages_per_request, kept_pages_per_request;
	int64_t growth_bytes; /* change over the interval of what is resident of it */
};

struct report_route {
	const char *text; /* normalised: method and path; `-` unknown; `other` beyond the top */
	uint64_t requests;
	struct report_retention retention; /* unknown below the detail level `pages` */
};

/* Where pages were touched in the interval, and what became of the process's resident memory. */
struct report_attribution {
	/* Pages at the detail level `pages`, page faults at `requests`. */
	uint64_t exclusive, overlapping, background;
	double exclusive_ratio, overlapping_ratio, background_ratio; /* NAN: nothing touched */
	/* These of pages only. Of exclusive: followed to the request that another thread received.
	 */
	uint64_t followed_pages;
	uint64_t copied_pages;          /* of all touched: copies of shared pages, no growth */
	uint64_t kernel_pages;          /* of all touched: by the kernel, as in read() */
	uint64_t huge_pages;            /* of all touched: in folios of more than one page */
	uint64_t background_kept_pages; /* as of the interval's end */
	const char *hint;               /* a sentence, or NULL */
};

/* The change of RSS, explained; the first five add up to rss_delta_bytes. */
struct report_growth {
	int64_t requests_bytes;    /* pages that requests touched */
	int64_t background_bytes;  /* pages touched outside requests */
	int64_t earlier_bytes;     /* pages that were there before watching began */
	int64_t files_bytes;       /* pages of files and shared memory */
	int64_t unexplained_bytes; /* the rest: pages that came without a fault, and error */
	uint64_t error_bytes;      /* how much of it sampling and the kernel's counters allow */
};

struct history;

struct report_process {
	struct ps_proc_key key;
	const char *comm;      /* any bytes, terminated */
	const char *exe;       /* any bytes, terminated; NULL: unknown */
	const char *unit;      /* of systemd, any bytes; NULL: in none, or unknown */
	const char *container; /* its id, cut to 12 hexadecimal digits; NULL: in none, or unknown */
	bool exited;
	uint64_t counters[PS_COUNTERS]; /* of this interval, by enum ps_counter */
	uint64_t open;                  /* as of its end */
	uint64_t closed;
	uint64_t faults_background;
	uint64_t rss_bytes, anon_bytes, lazyfree_bytes, swap_bytes;
	int64_t rss_delta_bytes, anon_delta_bytes;
	const struct report_route *routes; /* see below; `other`, if any, last */
	size_t route_count;
	struct report_retention retention; /* of all its requests */
	struct report_attribution attribution;
	struct report_growth growth;
	double sample_ratio;                 /* of pages; NAN: no page is tracked */
	uint64_t page_bytes;                 /* the size of a base page */
	uint64_t cpu_ns;                     /* user and system time, of the interval */
	const struct allocators *allocators; /* NULL: not looked at, or not yet settled */
	const struct heap *heap;             /* of the newest x-ray; NULL: there was none */
	double heap_age_s; /* since the end of its interval; 0: it is of this one. NAN: none */
	const struct history *history; /* of all intervals up to and including this one */
};

struct report {
	uint64_t wall_ns;
	uint64_t interval_ns;
	const char *host;
	const char *source;
	const char *detail;
	bool routes;   /* routes were counted */
	bool complete; /* nothing was lost or damaged */
	uint64_t lost[PS_LOSSES];
	const char *const *notes;
	size_t note_count;
	const struct report_process *processes;
	size_t process_count;
	uint64_t self_rss_bytes;
	/* In this interval; of user space, and of the BPF programs. REPORT_UNKNOWN: the kernel did
	 * not keep account all the time (kernel.bpf_stats_enabled). */
	uint64_t self_cpu_ns;
	uint64_t self_bpf_ns, self_bpf_runs;
};

/* How a field's value is to be read; decides its text form and Prometheus type. */
enum field_kind {
	FIELD_COUNTER, /* of the interval */
	FIELD_GAUGE,   /* as of the interval's end */
	FIELD_DELTA,   /* signed change over the interval */
};

enum field_unit {
	FIELD_COUNT,
	FIELD_BYTES,
	FIELD_PAGES,
	FIELD_RATIO,   /* a real number: 0 to 1 */
	FIELD_SECONDS, /* a real number */
	FIELD_NANOSECONDS,
	FIELD_AVERAGE, /* a real number: of the unit that the name says, a request */
};

/*
 * One number of a process. The table feeds text, JSON and Prometheus, so that a number is named and
 * described once. `name` is the path in the JSON object, dots between objects.
 */
struct field {
	const char *name;
	enum field_unit unit;
	enum field_kind kind;
	const char *help;
	/* False: not known. Deltas are signed; the others are never negative. Of the two getters
	 * one is NULL. */
	bool (*get)(const struct report_process *process, int argument, int64_t *ret_value);
	int argument;
	bool (*get_real)(const struct report_process *process, int argument, double *ret_value);
};

extern const struct field report_fields[];
extern const size_t report_field_count;

/* What is known of a row at no detail level that tracks pages. */
void report_retention_unknown(struct report_retention *ret_retention);

/* NULL if there is none of that name. */
const struct field *report_field(const char *name);

/*
 * Bytes asked of the kernel and given back in the interval: the ledger's two sums, of address
 * space. Asked: growth by brk and mremap, private anonymous mmap but for reservations without
 * access, mprotect to writable. Given back: shrinking by brk and mremap, munmap but for
 * reservations, mprotect to none, madvise's DONTNEED and FREE. REPORT_UNKNOWN if a part is.
 */
uint64_t report_asked_bytes(const struct report_process *process);
uint64_t report_returned_bytes(const struct report_process *process);

#endif
