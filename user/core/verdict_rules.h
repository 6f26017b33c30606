/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the rules of verdicts share: verdict.c has their order and most of them, verdict_held.c
 * those of free memory that stays. Nobody else includes this.
 */
#ifndef PAGESTAY_CORE_VERDICT_RULES_H
#define PAGESTAY_CORE_VERDICT_RULES_H

#include <math.h>

#include "pagestay/base/line.h"
#include "verdict_facts.h"

#define HELD_SHARE 0.25 /* of firm memory: less is what any allocator works with */

/* With so many x-rays of the second half, what was free at all of them is needed by nobody. */
#define FLOOR_XRAYS 3
#define IDLE_S      10.0

#define RETURNED_SHARE 0.5 /* of what was asked for, or of RSS's range */

/* Shares of touched pages that are still there. Even a good allocator keeps some to work with. */
#define SURVIVED_LITTLE 0.3
#define SURVIVED_HALF   0.5
#define SURVIVED_MUCH   0.7
#define SURVIVED_ALL    0.9

/* What threads' stacks and buffers of requests under way move memory by; or a part of memory. */
#define FLAT_BYTES (4 * MIB)
#define FLAT_PART  20

#define CEILING_XRAY     0.9
#define CEILING_KERNEL   0.8
#define CEILING_INDIRECT 0.6 /* active pages for live bytes, one x-ray or two, a small process */
#define CEILING_GUESS    0.4 /* right more often than not, and never relied on */
#define BOTH             0.5 /* memory is held and live memory grows: one of them was chosen */

/* What a rule that holds says. A rule that does not may leave anything in it. */
struct finding {
	enum verdict_cause cause;
	double ceiling, margin, complete;
	char why[VERDICT_LINE_BYTES];
};

#define WHY(finding, ...) line_add((finding)->why, sizeof((finding)->why), __VA_ARGS__)

static inline double clamped(double value)
{
	return value > 0 ? (value < 1 ? value : 1) : 0;
}

/* 0.5 where the value is at its threshold (a ratio of 1), 1 where it is twice as great. */
static inline double margin_above(double ratio)
{
	return clamped(ratio / 2);
}

/* 0.5 at the threshold, 1 where the value is half of it. */
static inline double margin_below(double ratio)
{
	return clamped(1.5 - ratio);
}

static inline double share_of(uint64_t part, uint64_t all)
{
	return all && all != REPORT_UNKNOWN && part != REPORT_UNKNOWN ? (double)part / (double)all
								      : 0;
}

/* What is held, against what makes it a verdict: 1 and more does. */
static inline double held_ratio(const struct facts *facts, uint64_t bytes)
{
	double by_share = share_of(bytes, facts->firm_bytes) / HELD_SHARE;

	return fmin(by_share, share_of(bytes, facts->material_bytes));
}

static inline bool is_flat(const struct facts *facts)
{
	uint64_t most = facts->anon.most_bytes, moved = most - facts->anon.least_bytes;

	if (facts->anon.count < 2 || most == REPORT_UNKNOWN)
		return false;
	return moved <= FLAT_BYTES || moved <= most / FLAT_PART;
}

static inline unsigned percent(double share)
{
	return (unsigned)(100 * clamped(share) + 0.5);
}

static inline unsigned seconds(double value)
{
	return value < 1e9 ? (unsigned)value : 1000000000;
}

/* How long jemalloc must be idle until its dirty pages should be gone. */
double purge_wait_s(const struct facts *facts);

/* Rules of verdict_held.c. */
bool huge_pages_refill(const struct facts *facts, struct finding *finding);
bool glibc_holds(const struct facts *facts, struct finding *finding);
bool jemalloc_is_fragmented(const struct facts *facts, struct finding *finding);
bool jemalloc_holds(const struct facts *facts, struct finding *finding);
bool jemalloc_never_purged(const struct facts *facts, struct finding *finding);

#endif
