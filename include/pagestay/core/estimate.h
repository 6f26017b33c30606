/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a sample of pages says of all pages, with its error. Pure arithmetic.
 *
 * Pages are sampled by a hash of their number: each is in with probability `ratio`, independent of
 * the others. A page that is touched m times counts m times, or not at all: the variance of a total
 * is the sum of m^2 over all pages, times 1/ratio - 1 (Horvitz and Thompson 1952), which is itself
 * estimated from the sample. That sum goes with every number of touches; the design effect (Kish,
 * Survey Sampling, 1965) is its ratio to the number, 1 where no page repeats.
 *
 * A page's touch number n adds 2n - 1 to the sum, so that n touches make n^2. What becomes of a
 * touch takes its part along. For a share of touches that makes the variance too great rather than
 * too small, if what became of a page's touches differs, and right if it does not.
 *
 * Intervals are 95 % score intervals (Wilson 1927): they stay sound for small numbers, where value
 * +- 1.96 standard errors would not.
 */
#ifndef PAGESTAY_CORE_ESTIMATE_H
#define PAGESTAY_CORE_ESTIMATE_H

#include "pagestay/core/report.h"

/* A number of touches, all or an estimate of all: what was sampled, divided by the ratio. */
struct sampled {
	int64_t pages;
	double squares; /* the sum; equal to `pages` where no page repeats */
};

void sampled_add(struct sampled *sum, struct sampled more);
struct sampled sampled_minus(struct sampled left, struct sampled right);

/* `ratio` 1: every page is tracked, and every figure is exact. Negative numbers are 0. */
struct report_pages estimate_pages(struct sampled pages, double ratio);

/* The share `kept` of `touched`. All three are NAN if that is 0. */
void estimate_share(struct sampled kept, struct sampled touched, double ratio, double *ret_share,
	double *ret_low, double *ret_high);

#endif
