/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * When a heap is x-rayed again. What a busy process keeps is judged by several x-rays, so the first
 * PACE_EARLY of a process come PACE_EARLY_S apart at most, as long as all walks together take no
 * more than a tenth of one processor; from then on they come as often as was asked for. A process
 * is left alone for four times as long as its walk took.
 *
 * Pure: the time comes in.
 */
#ifndef PAGESTAY_SOURCE_PACE_H
#define PAGESTAY_SOURCE_PACE_H

#include <stdint.h>

#define PACE_EARLY   6
#define PACE_EARLY_S 60

/* What all walks took; zeros at the beginning. */
struct pace {
	uint64_t minute_ns;                 /* when the one under way began */
	uint64_t spent_ns, spent_before_ns; /* in it, and in the one before */
};

/*
 * A walk of a process ended at now_ns, its walks-th, and took walk_ns. How long to wait for the
 * next, which is asked for every interval_ns and should come every xray_ns.
 */
uint64_t pace_rest_ns(struct pace *pace, unsigned walks, uint64_t walk_ns, uint64_t now_ns,
	uint64_t xray_ns, uint64_t interval_ns);

#endif
