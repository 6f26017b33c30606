/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The verdict on a process: what its memory does, why, how sure that is, and what to do, ranked by
 * how many bytes each remedy would give back. From its report alone: retention, x-ray, ledger and
 * history together. Pure.
 */
#ifndef PAGESTAY_CORE_VERDICT_H
#define PAGESTAY_CORE_VERDICT_H

#include "pagestay/core/report.h"

#define VERDICT_LINES      8
#define VERDICT_LINE_BYTES 240
#define VERDICT_REMEDIES   6
#define VERDICT_SYMPTOMS   6

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
	CAUSE_TRIMMABLE_INTERIOR,  /* glibc keeps free whole pages that a trim would return */
	CAUSE_HOARDED_TOP,         /* at the top of arenas: thresholds that ratcheted up, a pad */
	CAUSE_MANY_ARENAS,         /* an arena a thread, each with its own peak */
	CAUSE_PAGE_PINNED,         /* free bytes on pages with live data */
	CAUSE_MMAP_THRESHOLD,      /* large blocks come from the heap since the threshold rose */
	CAUSE_NO_BACKGROUND_THREAD, /* jemalloc: idle threads never purge */
	CAUSE_DECAY_SETTINGS,      /* jemalloc: decay never, or longer than the traffic's pauses */
	CAUSE_ACTIVE_FRAGMENTATION, /* jemalloc: decay ran, fragmentation pins the pages */
	CAUSE_HUGE_PAGES,          /* huge pages refill what was returned */
	CAUSE_LAZY_FREE,           /* given back lazily: RSS overstates */
	CAUSE_LIVE_MEMORY,         /* allocated and not freed: a leak or a cache */
	CAUSE_RUNTIME_HEAP,        /* a garbage collector's heap: its own settings */
	CAUSES,
};

extern const char *const verdict_code_names[VERDICT_CODES];   /* "unknown", "steady", ... */
extern const char *const verdict_cause_names[CAUSES]; /* "trimmable_interior", ... */

struct verdict_remedy {
	enum verdict_cause cause;
	uint64_t forecast_bytes;            /* what it would give back; REPORT_UNKNOWN */
	char text[VERDICT_LINE_BYTES];      /* what to do, one sentence */
	char setting[VERDICT_LINE_BYTES];   /* the line to try, or for a manifest; "" if none */
	char caveat[VERDICT_LINE_BYTES];    /* what it costs; "" if nothing is known */
};

/* Texts are made of numbers and of the project's own words, and of escaped routes. */
struct verdict {
	enum verdict_code code;
	enum verdict_cause cause;
	double confidence; /* 0 to 1; of UNKNOWN 0 */
	unsigned evidence_count;
	char evidence[VERDICT_LINES][VERDICT_LINE_BYTES];
	unsigned remedy_count; /* by forecast, greatest first; unknown forecasts last */
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
