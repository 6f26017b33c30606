/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Intervals of sampled numbers, against coverage worked out from the binomial distribution itself:
 * for each number of pages that there may be, how likely are the samples whose interval holds it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "pagestay/core/estimate.h"

static const double ratios[] = {1.0 / 2, 1.0 / 16, 1.0 / 256, 1.0 / 65536};

#define RATIOS (sizeof(ratios) / sizeof(ratios[0]))

static struct sampled once(int64_t pages)
{
	return (struct sampled){pages, (double)pages};
}

/* What is known of so many sampled pages. */
static struct report_pages estimate(int64_t sampled, double ratio)
{
	return estimate_pages(once((int64_t)((double)sampled / ratio)), ratio);
}

static double binomial(int64_t of, int64_t sampled, double ratio)
{
	return exp(lgamma((double)of + 1) - lgamma((double)sampled + 1) -
		   lgamma((double)(of - sampled) + 1) + (double)sampled * log(ratio) +
		   (double)(of - sampled) * log1p(-ratio));
}

/* The probability that the interval holds `of` pages. */
static double coverage_of_pages(int64_t of, double ratio)
{
	double coverage = 0;

	for (int64_t sampled = 0; sampled <= of; sampled++) {
		const struct report_pages pages = estimate(sampled, ratio);

		if ((int64_t)pages.low > of)
			break;
		if ((int64_t)pages.high >= of)
			coverage += binomial(of, sampled, ratio);
	}
	return coverage;
}

static void intervals_of_pages_hold_the_number_in_95_of_100(double ratio)
{
	double sum = 0, least = 1;
	int count = 0;

	for (double of = 0; of < 60 / ratio; of = floor(of * 1.07) + 1, count++) {
		double coverage = coverage_of_pages((int64_t)of, ratio);

		sum += coverage;
		least = fmin(least, coverage);
	}
	assert_true(sum / count >= 0.95);
	assert_true(least >= 0.94);
}

static void intervals_of_pages_are_as_wide_as_they_say_at_1_in_16(void **state)
{
	intervals_of_pages_hold_the_number_in_95_of_100(1.0 / 16);
}

static void intervals_of_pages_are_as_wide_as_they_say_at_1_in_256(void **state)
{
	intervals_of_pages_hold_the_number_in_95_of_100(1.0 / 256);
}

/* Of `touched` sampled touches each is kept by chance, as if sampling chose among infinitely many.
 */
static double coverage_of_share(int64_t touched, double share, double ratio)
{
	double coverage = 0;

	for (int64_t kept = 0; kept <= touched; kept++) {
		double value, low, high;

		estimate_share(once((int64_t)((double)kept / ratio)),
			once((int64_t)((double)touched / ratio)), ratio, &value, &low, &high);
		if (low <= share && share <= high)
			coverage += binomial(touched, kept, share);
	}
	return coverage;
}

static void intervals_of_shares_are_as_wide_as_they_say(void **state)
{
	double sum = 0;
	int count = 0;

	for (int64_t touched = 10; touched < 500; touched = touched * 3 / 2)
		for (double share = 0.01; share < 1; share += 0.02, count++)
			sum += coverage_of_share(touched, share, 1.0 / 256);
	assert_true(sum / count >= 0.95);
}

static void every_figure_is_exact_with_every_page(void **state)
{
	static const int64_t numbers[] = {0, 1, 1000, 1ll << 50};

	for (int i = 0; i < 4; i++) {
		const struct report_pages pages =
			estimate_pages((struct sampled){numbers[i], 7.0 * (double)numbers[i]}, 1);
		double share, low, high;

		assert_int_equal(pages.value, numbers[i]);
		assert_int_equal(pages.low, numbers[i]);
		assert_int_equal(pages.high, numbers[i]);
		estimate_share(once(numbers[i] / 2), once(1ll << 50), 1, &share, &low, &high);
		assert_true(share == (double)(numbers[i] / 2) / 0x1p50);
		assert_true(low == share && high == share);
	}
}

static void intervals_of_pages_rise_with_the_sample(void **state)
{
	for (size_t i = 0; i < RATIOS; i++)
		for (int64_t sampled = 0; sampled < 3000; sampled++) {
			const struct report_pages less = estimate(sampled, ratios[i]);
			const struct report_pages more = estimate(sampled + 1, ratios[i]);

			assert_true(less.low <= more.low);
			assert_true(less.value < more.value);
			assert_true(less.high < more.high);
		}
}

static void intervals_hold_their_value_and_what_was_sampled(void **state)
{
	for (size_t i = 0; i < RATIOS; i++)
		for (int64_t sampled = 0; sampled < 3000; sampled++) {
			const struct report_pages pages = estimate(sampled, ratios[i]);

			assert_true((int64_t)pages.low >= sampled);
			assert_true(pages.low <= pages.value);
			assert_true(pages.value <= pages.high);
		}
}

static void no_page_in_the_sample_does_not_mean_none(void **state)
{
	const struct report_pages pages = estimate(0, 1.0 / 256);

	assert_int_equal(pages.value, 0);
	assert_int_equal(pages.low, 0);
	assert_in_range(pages.high, 256 * 3, 256 * 6);
}

static void negative_numbers_are_none(void **state)
{
	const struct report_pages pages = estimate_pages((struct sampled){-5, -50}, 0.5);
	double share, low, high;

	assert_int_equal(pages.value, 0);
	assert_int_equal(pages.low, 0);
	estimate_share((struct sampled){-5, -50}, once(10), 1, &share, &low, &high);
	assert_true(share == 0 && low == 0 && high == 0);
	estimate_share(once(20), once(10), 1, &share, &low, &high);
	assert_true(share == 1 && low == 1 && high == 1);
}

static void share_of_nothing_is_not_known(void **state)
{
	double share, low, high;

	for (int i = 0; i < 2; i++) {
		estimate_share(once(0), once(0), i ? 1 : 0.5, &share, &low, &high);
		assert_true(isnan(share) && isnan(low) && isnan(high));
	}
}

static void shares_are_between_0_and_1(void **state)
{
	for (size_t i = 0; i < RATIOS; i++)
		for (int64_t touched = 1; touched < 200; touched++)
			for (int64_t kept = 0; kept <= touched; kept += 1 + touched / 10) {
				double share, low, high;

				estimate_share(once(kept * 65536), once(touched * 65536), ratios[i],
					&share, &low, &high);
				assert_true(0 <= low && low <= share);
				assert_true(share <= high && high <= 1);
				assert_true(high - low > 0);
			}
}

static void pages_that_repeat_make_intervals_wider(void **state)
{
	const struct report_pages single = estimate_pages(once(100000), 1.0 / 16);
	const struct report_pages repeated =
		estimate_pages((struct sampled){100000, 900000}, 1.0 / 16);
	double ratio = (double)(repeated.high - repeated.low) / (double)(single.high - single.low);

	assert_true(fabs(ratio - 3) < 0.1);
	assert_int_equal(repeated.value, 100000);
}

/* 10 pages of 100 touches and 1000 of one touch: it matters which of them are kept. */
static void share_is_as_uncertain_as_those_that_make_it(void **state)
{
	const struct sampled all = {2000 * 16, 101000 * 16}, singles = {1000 * 16, 1000 * 16};
	const struct sampled few_singles = {100 * 16, 100 * 16};
	double share, low, high, width;

	estimate_share(singles, all, 1.0 / 16, &share, &low, &high);
	width = high - low;
	assert_true(share == 0.5);
	/* Of the variance the repeated half makes nearly all. */
	assert_true(fabs(width / 2 - 2.17 * sqrt(0.25 * 101000 / 2000 / 2000)) < 0.1 * width);
	estimate_share(few_singles, all, 1.0 / 16, &share, &low, &high);
	assert_true(high - low < 0.5 * width);
}

static void great_numbers_do_no_harm(void **state)
{
	const struct report_pages pages =
		estimate_pages((struct sampled){INT64_MAX, 1e300}, 1.0 / (1 << 30));

	assert_true(pages.low <= pages.high);
	assert_true(pages.high <= (uint64_t)INT64_MAX);
	(void)estimate_pages((struct sampled){1, INFINITY}, 0.5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(intervals_of_pages_are_as_wide_as_they_say_at_1_in_16),
		cmocka_unit_test(intervals_of_pages_are_as_wide_as_they_say_at_1_in_256),
		cmocka_unit_test(intervals_of_shares_are_as_wide_as_they_say),
		cmocka_unit_test(every_figure_is_exact_with_every_page),
		cmocka_unit_test(intervals_of_pages_rise_with_the_sample),
		cmocka_unit_test(intervals_hold_their_value_and_what_was_sampled),
		cmocka_unit_test(no_page_in_the_sample_does_not_mean_none),
		cmocka_unit_test(negative_numbers_are_none),
		cmocka_unit_test(share_of_nothing_is_not_known),
		cmocka_unit_test(shares_are_between_0_and_1),
		cmocka_unit_test(pages_that_repeat_make_intervals_wider),
		cmocka_unit_test(share_is_as_uncertain_as_those_that_make_it),
		cmocka_unit_test(great_numbers_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
