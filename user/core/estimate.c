/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Intervals for sampled numbers. Owns nothing; called to keep sums and to fill reports. */
#include "pagestay/core/estimate.h"

#include <math.h>

/*
 * 1.96 would do if variances were known. They are estimated, of skewed sums: with 1.96, between 92
 * and 95 % of the intervals of replayed histories held the truth; with this, 96 and more.
 */
#define Z    2.17
#define MOST 9e18 /* pages: what fits everywhere */

/* Forged numbers may be too large: they wrap, and nothing depends on it. */
void sampled_add(struct sampled *sum, struct sampled more)
{
	sum->pages = (int64_t)((uint64_t)sum->pages + (uint64_t)more.pages);
	sum->squares += more.squares;
}

struct sampled sampled_minus(struct sampled left, struct sampled right)
{
	return (struct sampled){(int64_t)((uint64_t)left.pages - (uint64_t)right.pages),
		left.squares - right.squares};
}

static uint64_t whole(double value)
{
	return value <= 0 ? 0 : value >= MOST ? (uint64_t)MOST : (uint64_t)value;
}

static double design_effect(struct sampled pages)
{
	return pages.pages > 0 ? fmax(pages.squares / (double)pages.pages, 1) : 1;
}

/*
 * A bound of N, the pages that make a number of sampled clusters plausible:
 * (clusters - N ratio)^2 <= Z^2 N ratio (1 - ratio), solved for N ratio.
 */
static double score_bound(double clusters, double ratio, int sign)
{
	double spread = Z * Z * (1 - ratio);

	return clusters + spread / 2 + sign * sqrt(spread * (spread / 4 + clusters));
}

/*
 * In clusters of as many pages as the design effect says. The lower bound is of half a cluster
 * less: numbers are whole, and where one page was seen there may be no other.
 */
struct report_pages estimate_pages(struct sampled pages, double ratio)
{
	uint64_t value = pages.pages > 0 ? pages.pages : 0;
	double effect = design_effect(pages);
	double clusters = (double)value * ratio / effect;
	double low = score_bound(fmax(clusters - 0.5, 0), ratio, -1) * effect / ratio;
	double high = score_bound(clusters, ratio, 1) * effect / ratio;

	if (ratio >= 1)
		return (struct report_pages){value, value, value};
	return (struct report_pages){
		.value = value,
		/* What was sampled is there. */
		.low = whole(fmax(ceil(low), (double)value * ratio)),
		.high = whole(fmax(high, (double)value)),
	};
}

/* Of the share: what each touch adds is its distance from it, in the share's own units. */
static double share_design_effect(struct sampled kept, struct sampled touched, double share)
{
	const struct sampled gone = sampled_minus(touched, kept);
	double variance = (1 - share) * (1 - share) * fmax(kept.squares, 0) +
			  share * share * fmax(gone.squares, 0);

	if (share <= 0 || share >= 1)
		return design_effect(touched);
	return fmax(variance / (share * (1 - share) * (double)touched.pages), 1);
}

/* Wilson's interval for a share, with the finite population's correction: 1 - ratio is unseen. */
void estimate_share(struct sampled kept, struct sampled touched, double ratio, double *ret_share,
	double *ret_low, double *ret_high)
{
	double share, seen, spread, centre, half;

	*ret_share = *ret_low = *ret_high = NAN;
	if (touched.pages <= 0)
		return;
	share = fmin(fmax((double)kept.pages / (double)touched.pages, 0), 1);
	*ret_share = *ret_low = *ret_high = share;
	if (ratio >= 1)
		return;
	seen = (double)touched.pages * ratio / share_design_effect(kept, touched, share);
	spread = Z * Z * (1 - ratio) / seen;
	centre = (share + spread / 2) / (1 + spread);
	half = sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread);
	*ret_low = fmax(fmin(centre - half, share), 0);
	*ret_high = fmin(fmax(centre + half, share), 1);
}
