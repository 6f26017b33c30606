/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a sample of pages says of all pages, with its error. Pure arithmetic.
 *
 * Pages are sampled by a hash of their number: each is in with probability `ratio`, independent of
 * the others. A page that is touched m times counts m times, or not at all; that clustering makes
 * totals less certain, by the design effect sum(m^2) / sum(m) over the sampled pages (Kish, Survey
 * Sampling, 1965), which is 1 when no page repeats.
 *
 * Intervals are 95 % score intervals (Wilson 1927): they stay sound for small numbers, where value
 * +- 1.96 standard errors would not.
 */
#ifndef PAGESTAY_CORE_ESTIMATE_H
#define PAGESTAY_CORE_ESTIMATE_H

#include "pagestay/core/report.h"

struct estimate_sample {
	double ratio;         /* 1: every page is tracked, and every figure is exact */
	double design_effect; /* at least 1 */
};

/* A number of pages: `value` is the estimate, what was sampled divided by the ratio. */
struct report_pages estimate_pages(uint64_t value, const struct estimate_sample *sample);

/* The share `kept` of `touched`, both estimates. All three are NAN if `touched` is 0. */
void estimate_share(uint64_t kept, uint64_t touched, const struct estimate_sample *sample,
	double *ret_share, double *ret_low, double *ret_high);

#endif
