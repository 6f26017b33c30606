/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the account of what walks take. Called by live_heaps.c for each walk that ended.
 */
#include "pagestay/source/pace.h"

#include <stdbool.h>

#include "pagestay/base/clock.h"

#define WALK_REST 4 /* times as long as a walk took, nobody walks there again */
#define EARLY_NS  (PACE_EARLY_S * NS_PER_S)
#define SHARE_NS  (EARLY_NS / 10)

static bool is_affordable(struct pace *pace, uint64_t walk_ns, uint64_t now_ns)
{
	const uint64_t age_ns = now_ns - pace->minute_ns;

	if (age_ns >= EARLY_NS) {
		pace->spent_before_ns = age_ns < 2 * EARLY_NS ? pace->spent_ns : 0;
		pace->spent_ns = 0;
		pace->minute_ns = now_ns;
	}
	pace->spent_ns += walk_ns;
	return pace->spent_ns <= SHARE_NS && pace->spent_before_ns <= SHARE_NS;
}

uint64_t pace_rest_ns(struct pace *pace, unsigned walks, uint64_t walk_ns, uint64_t now_ns,
	uint64_t xray_ns, uint64_t interval_ns)
{
	const bool is_early = is_affordable(pace, walk_ns, now_ns) && walks < PACE_EARLY;
	const uint64_t period_ns = is_early && xray_ns > EARLY_NS ? EARLY_NS : xray_ns;
	const uint64_t rest_ns = WALK_REST * walk_ns;

	/* One that comes an instant before its time in an interval is not put off to the next. */
	return interval_ns < period_ns && rest_ns < period_ns ? period_ns - interval_ns / 2
							      : rest_ns;
}
