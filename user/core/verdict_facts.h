/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the parts of a verdict share: verdict_facts.c draws the facts from a report, verdict.c and
 * verdict_held.c judge them, verdict_evidence.c, verdict_remedies.c and verdict_symptoms.c put them
 * into words. Nobody else includes this.
 */
#ifndef PAGESTAY_CORE_VERDICT_FACTS_H
#define PAGESTAY_CORE_VERDICT_FACTS_H

#include "pagestay/core/history.h"
#include "pagestay/core/verdict.h"

#define KIB 1024ull
#define MIB (1024 * KIB)

/* No process has more: an address space is 2^56 bytes at most. What says so is not believed. */
#define FACTS_MOST_BYTES (1ull << 56)

/* glibc's defaults: of the thresholds before they ratchet, and of the pad left on a top. */
#define GLIBC_THRESHOLD_BYTES (128 * KIB)
#define GLIBC_PAD_BYTES       (128 * KIB)

/* glibc's own number of arenas that nobody need think about. */
#define FEW_ARENAS 2

/*
 * How a value of the history went over the second half of the watch; of its requests, if there were
 * many: a leak follows them, and a pause does not end it. The bounds are always of time.
 */
struct trend {
	bool by_requests;
	unsigned count;      /* of samples; below TREND_SAMPLES the rest is 0 */
	double growth_bytes; /* by a line of least squares; may be negative */
	double error_bytes;  /* its standard error */
	double late_share; /* of the growth, in the last quarter: 0.5 if it went on evenly, 0 if it
			      had stopped */
	uint64_t least_bytes, most_bytes; /* REPORT_UNKNOWN: no sample */
	uint64_t before_bytes;            /* the least of the first half; likewise */
};

#define TREND_SAMPLES 4

/*
 * Bytes are REPORT_UNKNOWN where not known, and FACTS_MOST_BYTES at most otherwise: sums of a few
 * cannot overflow.
 */
struct facts {
	const struct report_process *process;
	const struct history *history;
	const struct heap *heap;
	struct history no_history;    /* `history` if there is none: empty */
	struct heap no_heap;          /* `heap` if there was no x-ray, or long ago: all unknown */
	const struct allocator *main; /* the one that serves malloc; NULL: not known */
	enum allocator_name name;     /* of the x-ray's heap, or of `main` */
	bool xray_glibc, xray_jemalloc;
	double observed_s, idle_s;

	uint64_t rss_bytes, anon_bytes, lazyfree_bytes;
	uint64_t firm_bytes;     /* anonymous and not lazily freed */
	uint64_t material_bytes; /* what is worth a word */

	/* Of an x-ray. */
	uint64_t live_bytes, cached_bytes;
	uint64_t held_bytes;     /* free, resident */
	uint64_t interior_bytes; /* whole free pages between live chunks */
	uint64_t tops_bytes;     /* resident, of all arenas */
	uint64_t pinned_bytes;   /* on pages with live data */
	uint64_t active_bytes, dirty_bytes, muzzy_bytes;
	uint64_t fragment_bytes; /* jemalloc: active and not allocated */
	uint64_t excess_bytes;   /* jemalloc: firm, and in none of its counters */
	uint64_t huge_bytes;
	double coverage; /* share of the firm memory that the x-ray accounts for */
	double walked;   /* share of the heap that was not lost to the walk */

	/* Of the watch. */
	struct trend live, held, anon;
	uint64_t floor_bytes; /* the least that was held free at any x-ray of the second half */
	uint64_t idle_floor_bytes; /* the same since it is idle */
	uint64_t crest_bytes;      /* the most that was, at any x-ray */
	uint64_t asked_bytes, returned_bytes, madvised_bytes, touched_bytes, kept_bytes;
	uint64_t requests, madvise_calls;
	uint64_t fallen_bytes; /* of RSS, from its most */
	uint64_t risen_bytes;  /* of RSS, from the least that it fell to since */
	uint64_t range_bytes;  /* of RSS */
	/* Of the pages that requests touched, at the greatest age of at least 10 s that is known of
	 * enough pages; NAN. */
	double survival, survival_low, survival_high;
	unsigned survival_age_s;
	uint64_t survival_bytes; /* that it is known of */
};

void facts_of(const struct report_process *process, struct facts *ret_facts);

/* 0 for what is not known. */
static inline uint64_t known_or_0(uint64_t bytes)
{
	return bytes == REPORT_UNKNOWN ? 0 : bytes;
}

/* The NAME=value settings of the process hold this text. */
bool facts_setting(const struct facts *facts, const char *text);

/* The process has this allocator or runtime, in whatever place of its list. */
bool facts_has(const struct facts *facts, enum allocator_name name);

/* How many allocators serve memory in the process; runtimes do not count. */
unsigned facts_allocators(const struct facts *facts);

/* glibc: there are many arenas, and no setting limits them. */
bool facts_many_arenas(const struct facts *facts);

/* glibc: a block above the default was freed, and the thresholds rose to its size. */
bool facts_ratcheted(const struct facts *facts);

/* ... and it is of a size that explains what is held free. */
bool facts_ratchet_explains(const struct facts *facts);

/*
 * How many times its threshold memory grew over the second half of the watch: 1 or more, or 0 if it
 * did not, or not beyond noise, or had stopped.
 */
double trend_growth(const struct trend *trend);

/* It grew beyond noise and had not stopped, if by too little to judge it. */
bool trend_creeps(const struct trend *trend);

/* Huge pages are most of the anonymous memory. */
bool facts_mostly_huge(const struct facts *facts);

/* jemalloc has no thread that purges, and no setting asks for one. */
bool facts_no_purging_thread(const struct facts *facts);

/* jemalloc's decay is off, or longer than a pause that servers have. */
bool facts_decay_is_long(const struct facts *facts);

/* A text line of evidence, a reason: numbers as people read them. `out` needs 16 bytes. */
const char *bytes_text(uint64_t bytes, char out[16]);

void evidence_of(const struct facts *facts, struct verdict *verdict);
void remedies_of(const struct facts *facts, struct verdict *verdict);

#endif
