/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The verdict on a process: what its memory does, why, how sure that is, and what to do, ranked by
 * how many bytes each remedy would give back. From its report alone: retention, x-ray, ledger and
 * history together. Pure.
 *
 * Rules are tried in an order, and the first that holds gives code and cause (user/core/verdict.c).
 *
 *   confidence = ceiling x margin x time x complete
 *
 * ceiling   what the kind of evidence is good for: 0.9 a walked glibc heap or all of jemalloc's
 *           counters, 0.8 pages seen to go by the kernel, 0.6 jemalloc's active pages for its live
 *           bytes, one or two x-rays, a process of 16 MiB at most that has none; 0.4 where the
 *           kernel alone is asked what an allocator holds, and growth that ended with its requests
 * margin    0.5 at a rule's threshold, 1 at twice (or half) of it
 * time      0.6 after VERDICT_WATCH_S, 1 after VERDICT_WATCHED_S
 * complete  the share of the heap that was not lost to the walk; of `steady` also the share of
 *           anonymous memory that the x-ray accounts for; 0.5 if memory is both held and growing
 */
#ifndef PAGESTAY_CORE_VERDICT_H
#define PAGESTAY_CORE_VERDICT_H

#include "pagestay/core/report.h"

#define VERDICT_LINES      10
#define VERDICT_LINE_BYTES 240
#define VERDICT_REMEDIES   8
#define VERDICT_SYMPTOMS   6

/* Below these there is no verdict. */
#define VERDICT_WATCH_S   20 /* twice the time in which jemalloc's decay goes down to nothing */
#define VERDICT_INTERVALS 2
#define VERDICT_AGE_S     30 /* programs load, warm up and fill their pools */

#define VERDICT_WATCHED_S 60

#define VERDICT_XRAY_AGE_S 60 /* an x-ray that is older says nothing of now */

enum verdict_code {
	VERDICT_UNKNOWN,   /* the evidence says what to wait for */
	VERDICT_STEADY,    /* memory does not grow, and little of it is free */
	VERDICT_RETURNING, /* what requests take goes back */
	VERDICT_RETAINING, /* the allocator, or the kernel, keeps what the program has freed */
	VERDICT_GROWING,   /* the program itself holds more and more */
	VERDICT_CODES,
};

/* Also the causes by which advice is given. Names are in verdict_cause_names. */
enum verdict_cause {
	CAUSE_NONE,
	CAUSE_TRIMMABLE_INTERIOR,   /* glibc keeps free whole pages that a trim would return */
	CAUSE_HOARDED_TOP,          /* at the top of arenas: thresholds that ratcheted up, a pad */
	CAUSE_MANY_ARENAS,          /* an arena a thread, each with its own peak */
	CAUSE_PAGE_PINNED,          /* free bytes on pages with live data */
	CAUSE_MMAP_THRESHOLD,       /* large blocks come from the heap since the threshold rose */
	CAUSE_NO_BACKGROUND_THREAD, /* jemalloc: idle threads never purge */
	CAUSE_DECAY_SETTINGS,       /* decay never, or longer than the traffic's pauses */
	CAUSE_ACTIVE_FRAGMENTATION, /* jemalloc: decay ran, fragmentation pins the pages */
	CAUSE_HUGE_PAGES,           /* huge pages refill what was returned */
	CAUSE_LAZY_FREE,            /* given back lazily: RSS overstates */
	CAUSE_LIVE_MEMORY,          /* allocated and not freed: a leak or a cache */
	CAUSE_RUNTIME_HEAP,         /* a garbage collector's heap: its own settings */
	CAUSES,
};

extern const char *const verdict_code_names[VERDICT_CODES]; /* "unknown", "steady", ... */
extern const char *const verdict_cause_names[CAUSES];       /* "none", "trimmable_interior", ... */

struct verdict_remedy {
	enum verdict_cause cause;
	uint64_t forecast_bytes;       /* of its cause, what it would give back; REPORT_UNKNOWN */
	char text[VERDICT_LINE_BYTES]; /* what to do, one sentence */
	char setting[VERDICT_LINE_BYTES]; /* the line to try, or for a manifest; "" if none */
	char caveat[VERDICT_LINE_BYTES];  /* what it costs; "" if nothing is known */
};

/* Texts are made of numbers and of the project's own words, and of escaped routes. */
struct verdict {
	enum verdict_code code;
	/* Of UNKNOWN: what is suspected. NONE also for STEADY, and for RETURNING but lazily. */
	enum verdict_cause cause;
	double confidence; /* 0 to 1; of UNKNOWN 0 */
	unsigned evidence_count;
	/* The first is what was decided by, or what to wait for. */
	char evidence[VERDICT_LINES][VERDICT_LINE_BYTES];
	/* By forecast, greatest first, the verdict's own cause first among equals; unknown
	 * forecasts last. More than there is room for: the last ones are left out. */
	unsigned remedy_count;
	struct verdict_remedy remedies[VERDICT_REMEDIES];
};

void verdict_reach(const struct report_process *process, struct verdict *ret_verdict);

enum verdict_answer { ANSWER_UNKNOWN, ANSWER_YES, ANSWER_NO };

/* The symptoms that people come with, each answered for this process. */
struct verdict_symptom {
	const char *symptom; /* "RSS grows", "no leak is found", ... */
	enum verdict_answer answer;
	char text[VERDICT_LINE_BYTES]; /* the numbers, one sentence */
};

void verdict_symptoms(const struct report_process *process, const struct verdict *verdict,
	struct verdict_symptom ret_symptoms[VERDICT_SYMPTOMS]);

#endif
