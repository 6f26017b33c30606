/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Intervals for sampled numbers. Owns nothing; called to fill reports. */
#include "pagestay/core/estimate.h"

#include <math.h>

#define Z 1.96

static uint64_t whole(double value)
{
	return value <= 0 ? 0 : value >= 9e18 ? (uint64_t)9e18 : (uint64_t)(value + 0.5);
}

/*
 * All N pages that make sampled = N * ratio plausible: (sampled - N ratio)^2 <= Z^2 N ratio
 * (1 - ratio), solved for N, in clusters of as many pages as the design effect says.
 */
struct report_pages estimate_pages(uint64_t value, const struct estimate_sample *sample)
{
	double clusters = (double)value * sample->ratio / sample->design_effect;
	double spread = Z * Z * (1 - sample->ratio);
	double centre = clusters + spread / 2;
	double half = sqrt(spread * (spread / 4 + clusters));
	double scale = sample->design_effect / sample->ratio;

	if (sample->ratio >= 1)
		return (struct report_pages){value, value, value};
	return (struct report_pages){
		.value = value,
		.low = whole((centre - half) * scale),
		.high = whole((centre + half) * scale),
	};
}

/* Wilson's interval for a share, with the finite population's correction: 1 - ratio is unseen. */
void estimate_share(uint64_t kept, uint64_t touched, const struct estimate_sample *sample,
	double *ret_share, double *ret_low, double *ret_high)
{
	double share = touched ? fmin((double)kept / (double)touched, 1) : NAN;
	double sampled = (double)touched * sample->ratio / sample->design_effect;
	double spread = Z * Z * (1 - sample->ratio) / sampled;
	double centre = (share + spread / 2) / (1 + spread);
	double half = sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread);

	*ret_share = share;
	*ret_low = *ret_high = share;
	if (!touched || sample->ratio >= 1)
		return;
	*ret_low = fmax(centre - half, 0);
	*ret_high = fmin(centre + half, 1);
}
